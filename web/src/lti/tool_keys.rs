//! The tool's own keys: one set for each district, made and rotated by the command line, published here.
//!
//! A plain launch uses none; platforms ask for the URL when they register a tool.

use aws_lc_rs::{
    digest,
    encoding::AsDer as _,
    rsa::{KeyPair, KeySize},
    signature::KeyPair as _,
};
use axum::{
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta, Utc};
use rollcall_proto::id::DistrictId;
use rollcall_store::{Store, StoreError, lti::ToolKey};
use serde_json::json;
use zeroize::Zeroizing;

use crate::server::App;

/// How long others may keep the published set: a new key signs after one such time, an old one goes after another.
const CACHED_FOR: TimeDelta = TimeDelta::hours(1);

/// A key could not be made or kept.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The cryptography library failed.
    #[error("a key for the LTI tool could not be made")]
    Generate,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Makes a district's first key, where it has none: it signs at once, since nobody has cached anything.
pub async fn ensure(store: &Store, district: &DistrictId, actor: &str, now: DateTime<Utc>) -> Result<(), KeyError> {
    if store.published_tool_keys(district, now).await?.is_empty() {
        add(store, district, now, now, actor, now).await?;
    }
    Ok(())
}

/// Makes a new key, which signs in an hour; those before are published an hour longer than that. Returns its id.
pub async fn rotate(store: &Store, district: &DistrictId, actor: &str, now: DateTime<Utc>) -> Result<String, KeyError> {
    let signs_from = now + CACHED_FOR;
    add(store, district, signs_from, signs_from + CACHED_FOR, actor, now).await
}

async fn add(
    store: &Store,
    district: &DistrictId,
    signs_from: DateTime<Utc>,
    others_retire_at: DateTime<Utc>,
    actor: &str,
    now: DateTime<Utc>,
) -> Result<String, KeyError> {
    let key = tokio::task::spawn_blocking(move || generate(signs_from)).await.map_err(|_| KeyError::Generate)??;
    store.add_tool_key(district, &key, others_retire_at, actor, now).await?;
    Ok(key.kid)
}

fn generate(signs_from: DateTime<Utc>) -> Result<ToolKey, KeyError> {
    let pair = KeyPair::generate(KeySize::Rsa2048).map_err(|_| KeyError::Generate)?;
    let private_key = Zeroizing::new(pair.as_der().map_err(|_| KeyError::Generate)?.as_ref().to_vec());
    let public = pair.public_key();
    let n = URL_SAFE_NO_PAD.encode(public.modulus().big_endian_without_leading_zero());
    let e = URL_SAFE_NO_PAD.encode(public.exponent().big_endian_without_leading_zero());
    // RFC 7638: the required members, in the order of the alphabet, without white space.
    let thumbprint = digest::digest(&digest::SHA256, format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#).as_bytes());
    let kid = URL_SAFE_NO_PAD.encode(thumbprint);
    let jwk = json!({ "kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": n, "e": e });
    Ok(ToolKey { kid, public_key: jwk.to_string(), private_key, signs_from })
}

/// Serves the set.
pub(crate) async fn publish(State(app): State<App>, Path(district): Path<String>) -> Response {
    let Ok(district) = district.parse::<DistrictId>() else { return StatusCode::NOT_FOUND.into_response() };
    match app.store.published_tool_keys(&district, app.clock.now()).await {
        Ok(keys) if keys.is_empty() => StatusCode::NOT_FOUND.into_response(),
        Ok(keys) => {
            let all: Vec<_> = keys.into_iter().map(|key| key.public_key).collect();
            let headers = [
                (header::CONTENT_TYPE, "application/json".to_owned()),
                (header::CACHE_CONTROL, format!("public, max-age={}", CACHED_FOR.num_seconds())),
            ];
            (headers, format!(r#"{{"keys":[{}]}}"#, all.join(","))).into_response()
        }
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "the tool's key set cannot be read");
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{Algorithm, DecodingKey, crypto};

    use super::*;

    #[test]
    fn a_key_is_published_without_its_private_part_and_named_by_its_thumbprint() {
        let key = generate(DateTime::UNIX_EPOCH).unwrap();
        let jwk: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&key.public_key).unwrap();
        let mut members: Vec<_> = jwk.keys().map(String::as_str).collect();
        members.sort_unstable();
        assert_eq!(members, ["alg", "e", "kid", "kty", "n", "use"]);
        assert_eq!((jwk["kid"].as_str(), key.kid.len()), (Some(key.kid.as_str()), 43));
        assert_ne!(generate(DateTime::UNIX_EPOCH).unwrap().kid, key.kid);
    }

    #[test]
    fn what_the_private_part_signs_the_published_part_verifies() {
        let key = generate(DateTime::UNIX_EPOCH).unwrap();
        let pair = KeyPair::from_pkcs8(&key.private_key).unwrap();
        let mut signature = vec![0; pair.public_modulus_len()];
        let padding = &aws_lc_rs::signature::RSA_PKCS1_SHA256;
        pair.sign(padding, &aws_lc_rs::rand::SystemRandom::new(), b"message", &mut signature).unwrap();
        let jwk: serde_json::Value = serde_json::from_str(&key.public_key).unwrap();
        let public = DecodingKey::from_rsa_components(jwk["n"].as_str().unwrap(), jwk["e"].as_str().unwrap()).unwrap();
        let signature = URL_SAFE_NO_PAD.encode(signature);
        assert!(crypto::verify(&signature, b"message", &public, Algorithm::RS256).unwrap());
        assert!(!crypto::verify(&signature, b"massage", &public, Algorithm::RS256).unwrap());
    }
}
