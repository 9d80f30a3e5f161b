//! Tokens, right and wrong.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use url::form_urlencoded;

use super::attack::SCRIPT;
use super::keys::SigningKey;
use super::{Attack, LtiPlatformConfig};
use crate::clock;

/// What matters of an authentication request.
pub(super) struct AuthenticationRequest {
    pub(super) nonce: String,
    /// Our own: the query of the target link.
    pub(super) message_hint: String,
}

macro_rules! claim {
    ($name:literal) => {
        concat!("https://purl.imsglobal.org/spec/lti/claim/", $name)
    };
}

/// Another platform's client id.
const ATTACKER: &str = "attacker-client";

/// A token for a launch.
pub(super) fn mint(
    config: &LtiPlatformConfig,
    issuer: &str,
    key: &SigningKey,
    request: &AuthenticationRequest,
    attack: &Attack,
) -> String {
    let mut claims = claims(config, issuer, request);
    spoil(&mut claims, attack);
    let payload = match attack {
        Attack::DuplicateClaim => claims.to_string().replacen('{', r#"{"iss":"https://elsewhere.example","#, 1),
        Attack::Deep => {
            let deep = format!("{}{}", "[".repeat(1_000), "]".repeat(1_000));
            claims.to_string().replacen('{', &format!(r#"{{"deep":{deep},"#), 1)
        }
        _ => claims.to_string(),
    };
    signed(&payload, key, attack)
}

fn claims(config: &LtiPlatformConfig, issuer: &str, request: &AuthenticationRequest) -> Value {
    let now = clock::now().timestamp();
    let (manners, user) = (&config.manners, &config.user);
    let life = if manners.token_life_seconds == 0 { 300 } else { manners.token_life_seconds };
    let mut target = config.tool_launch_url.clone();
    target.set_query(Some(&request.message_hint));
    let audience = if manners.audience_list { json!([config.client_id]) } else { json!(config.client_id) };
    let mut claims = json!({
        "iss": issuer, "aud": audience, "sub": user.subject, "name": user.name,
        "iat": now, "exp": now + life, "nonce": request.nonce,
        claim!("message_type"): "LtiResourceLinkRequest",
        claim!("version"): "1.3.0",
        claim!("deployment_id"): config.deployment_id,
        claim!("target_link_uri"): target.as_str(),
        claim!("resource_link"): { "id": "flag-1", "title": "Flag" },
        claim!("roles"): user.roles,
    });
    if manners.sends_azp {
        claims["azp"] = json!(config.client_id);
    }
    if !manners.no_custom {
        claims[claim!("custom")] = custom(&request.message_hint);
        claims[claim!("lis")] = json!({ "person_sourcedid": user.sourced_id });
    }
    claims
}

fn custom(hint: &str) -> Value {
    let find = |name: &str| {
        form_urlencoded::parse(hint.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    };
    let pairs = [("student_sourced_id", find("sid")), ("program", find("program"))];
    pairs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), Value::from(value?)))).collect()
}

fn spoil(claims: &mut Value, attack: &Attack) {
    let now = clock::now().timestamp();
    let mut set = |name: &str, value: Value| claims[name] = value;
    match attack {
        Attack::ExtraAudience => {
            let ours = claims["aud"].clone();
            claims["aud"] = json!([ours, ATTACKER]);
            claims["azp"] = ours;
        }
        Attack::OtherAudience => set("aud", json!(ATTACKER)),
        Attack::OtherParty => set("azp", json!(ATTACKER)),
        Attack::OtherDeployment => set(claim!("deployment_id"), json!("another-deployment")),
        Attack::OtherIssuer => set("iss", json!("https://elsewhere.example")),
        Attack::OtherTarget(target) => set(claim!("target_link_uri"), json!(target)),
        Attack::OtherNonce => set("nonce", json!("another-nonce")),
        Attack::Expired => {
            set("iat", json!(now - 400));
            set("exp", json!(now - 120));
        }
        Attack::FromTheFuture => {
            set("iat", json!(now + 600));
            set("exp", json!(now + 900));
        }
        Attack::Old => {
            set("iat", json!(now - 3_600));
            set("exp", json!(now + 3_600));
        }
        Attack::NoExpiry => {
            claims.as_object_mut().map(|claims| claims.remove("exp"));
        }
        Attack::ExpiryString => set("exp", json!((now + 300).to_string())),
        Attack::ExpiryFraction => set("exp", json!(now as f64 + 300.5)),
        Attack::NotYet => set("nbf", json!(now + 600)),
        Attack::OtherMessage => set(claim!("message_type"), json!("LtiDeepLinkingRequest")),
        Attack::OtherVersion => set(claim!("version"), json!("1.1.0")),
        Attack::Anonymous => {
            claims.as_object_mut().map(|claims| claims.remove("sub"));
        }
        Attack::Script => {
            set("name", json!(SCRIPT));
            set(claim!("resource_link"), json!({ "id": "flag-1", "title": SCRIPT }));
            set(claim!("custom"), json!({ "student_sourced_id": SCRIPT, "program": SCRIPT }));
        }
        Attack::Padded(bytes) => set("padding", json!("x".repeat(*bytes))),
        Attack::UnfilledVariable => set(claim!("custom"), json!({ "student_sourced_id": "$Person.sourcedId" })),
        Attack::OtherStudent(student) => {
            set(claim!("custom"), json!({ "student_sourced_id": student, "program": "Special Education" }));
        }
        _ => {}
    }
}

fn signed(payload: &str, key: &SigningKey, attack: &Attack) -> String {
    let attacker = matches!(attack, Attack::ForeignKey | Attack::KeyInHeader).then(|| SigningKey::generate(&key.kid));
    let signer = attacker.as_ref().and_then(|made| made.as_ref().ok()).unwrap_or(key);
    let message = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header(key, signer, attack).to_string()),
        URL_SAFE_NO_PAD.encode(payload)
    );
    let signature = match attack {
        Attack::Unsigned(_) | Attack::EmptySignature => Vec::new(),
        Attack::PublicKeyAsSecret => {
            let secret = hmac::Key::new(hmac::HMAC_SHA256, &key.modulus());
            hmac::sign(&secret, message.as_bytes()).as_ref().to_vec()
        }
        _ => signer.sign(message.as_bytes()),
    };
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn header(key: &SigningKey, signer: &SigningKey, attack: &Attack) -> Value {
    let mut header = json!({ "alg": "RS256", "typ": "JWT", "kid": key.kid });
    match attack {
        Attack::Unsigned(alg) => header["alg"] = json!(alg),
        Attack::PublicKeyAsSecret => header["alg"] = json!("HS256"),
        Attack::KeyId(kid) => header["kid"] = json!(kid),
        Attack::Critical => header["crit"] = json!(["exp"]),
        Attack::KeyInHeader => {
            header["jku"] = json!("http://127.0.0.1:9/attacker/jwks");
            header["x5u"] = json!("http://127.0.0.1:9/attacker/x5u");
            header["x5c"] = json!([STANDARD.encode(signer.modulus())]);
            header["jwk"] = signer.jwk(true);
        }
        _ => {}
    }
    header
}
