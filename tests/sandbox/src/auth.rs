//! The token endpoint and the tokens it gave: OAuth 2.0 client credentials (RFC 6749, section 4.4) in the three ways
//! clients have been seen to ask a Qmlativ.

use std::collections::HashMap;

use axum::http::{HeaderMap, Method, StatusCode, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tokio::time::{Duration, Instant};
use url::form_urlencoded;

use crate::answer::Answer;
use crate::config::SandboxConfig;
use crate::quirks::{AuthQuirks, Placement, RetryAfter};

/// A token in use.
#[derive(Debug)]
struct Token {
    issued: Instant,
    calls: u32,
    /// Given for a secret that counts no more.
    revoked: bool,
}

/// The tokens given so far.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    known: HashMap<String, Token>,
    issued: u64,
    /// The secret that counts, where it is no longer the one of the beginning.
    secret: Option<String>,
}

/// What a bearer token is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Worth {
    Good,
    Expired,
    Unknown,
}

impl Tokens {
    fn issue(&mut self, seed: u64) -> String {
        self.issued += 1;
        let token = format!("sbx-{:016x}-{}", fastrand::Rng::with_seed(seed ^ self.issued).u64(..), self.issued);
        self.known.insert(token.clone(), Token { issued: Instant::now(), calls: 0, revoked: false });
        token
    }

    /// From now on this secret is asked for, and tokens given before are good no more.
    pub(crate) fn rotate_secret(&mut self, secret: String) {
        self.secret = Some(secret);
        self.known.values_mut().for_each(|token| token.revoked = true);
    }

    /// All that were given.
    pub(crate) fn given(&self) -> Vec<String> {
        self.known.keys().cloned().collect()
    }

    /// Judges the token of a call, and counts the call.
    pub(crate) fn judge(&mut self, headers: &HeaderMap, lifetime: Duration, quirks: &AuthQuirks) -> Worth {
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = bearer.and_then(|text| text.strip_prefix("Bearer "));
        let Some(token) = token.and_then(|token| self.known.get_mut(token)) else { return Worth::Unknown };
        token.calls += 1;
        let is_worn = quirks.token_expires_after_requests.is_some_and(|most| token.calls > most);
        if token.revoked || is_worn || token.issued.elapsed() >= lifetime { Worth::Expired } else { Worth::Good }
    }
}

/// A token call.
pub(crate) struct TokenCall<'a> {
    pub(crate) method: &'a Method,
    pub(crate) query: &'a str,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
}

impl TokenCall<'_> {
    /// A parameter of the query (GET) or of the form (POST, where the query counts too).
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        let form: &[u8] = if *self.method == Method::POST { self.body } else { b"" };
        let pairs = form_urlencoded::parse(form).chain(form_urlencoded::parse(self.query.as_bytes()));
        pairs.into_iter().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    }

    /// Key and secret: from the Basic header, as they are in a POST and URL-encoded in a GET, or from the form.
    fn has_credentials(&self, config: &SandboxConfig, rotated: Option<&str>) -> bool {
        let own = (config.client_id.as_str(), rotated.unwrap_or(&config.client_secret));
        if let Some((id, secret)) = self.basic() {
            let (id, secret) =
                if *self.method == Method::GET { (decoded(&id), decoded(&secret)) } else { (id, secret) };
            return (id.as_str(), secret.as_str()) == own;
        }
        let (id, secret) = (self.parameter("client_id"), self.parameter("client_secret"));
        *self.method == Method::POST && (id.as_deref(), secret.as_deref()) == (Some(own.0), Some(own.1))
    }

    fn basic(&self) -> Option<(String, String)> {
        let header = self.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let bytes = STANDARD.decode(header.strip_prefix("Basic ")?.trim()).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let (id, secret) = text.split_once(':')?;
        Some((id.to_owned(), secret.to_owned()))
    }

    fn has_extra(&self, quirks: &AuthQuirks) -> bool {
        let Some(extra) = &quirks.extra else { return true };
        match extra.placement {
            Placement::Parameter => self.parameter(&extra.name).as_deref() == Some(extra.value.as_str()),
            Placement::Header => {
                let value = self.headers.get(extra.name.as_str());
                value.is_some_and(|value| value.as_bytes() == extra.value.as_bytes())
            }
        }
    }

    /// Gives a token or says why not.
    pub(crate) fn answer(&self, config: &SandboxConfig, quirks: &AuthQuirks, tokens: &mut Tokens) -> Answer {
        let bad = |error, why| Answer::oauth_error(StatusCode::BAD_REQUEST, error, why);
        if *self.method != Method::GET && *self.method != Method::POST {
            return Answer::error(StatusCode::METHOD_NOT_ALLOWED, "the token endpoint takes GET and POST");
        }
        if quirks.endpoint_down {
            return Answer::refusal(StatusCode::SERVICE_UNAVAILABLE, RetryAfter::Absent);
        }
        if self.parameter("grant_type").as_deref() != Some("client_credentials") {
            return bad("unsupported_grant_type", "grant_type must be client_credentials");
        }
        if quirks.wrong_secret || !self.has_credentials(config, tokens.secret.as_deref()) {
            return Answer::oauth_error(StatusCode::UNAUTHORIZED, "invalid_client", "key or secret is wrong");
        }
        if quirks.access_expired {
            return bad("unauthorized_client", "the integration access has expired");
        }
        if !self.has_extra(quirks) {
            return bad("invalid_request", "a required value is missing");
        }
        let token = tokens.issue(config.seed);
        let lifetime = config.token_lifetime_seconds;
        Answer::value(&json!({ "access_token": token, "token_type": "bearer", "expires_in": lifetime }))
    }
}

fn decoded(text: &str) -> String {
    let pair = format!("v={text}");
    form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}
