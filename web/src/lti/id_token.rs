//! A token's form and signature. What it claims is judged in [`super::claims`].
//!
//! RS256 only, whatever the token says; of the header `alg`, `kid`, `typ` and `crit` are looked at, and pointers to
//! other keys (`jku`, `x5u`, `jwk`, `x5c`) are not.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, crypto};
use serde_json::{Map, Value};

use super::{platform_keys::PlatformKey, strict_json};
use crate::refusal::Refusal;

/// Largest token, in bytes.
const LIMIT: usize = 64 << 10;
/// Longest key id.
const KID_LIMIT: usize = 512;

/// A token whose form is right and whose signature has not been looked at.
#[derive(Debug)]
pub struct Unverified<'a> {
    token: &'a str,
    /// Which key signed it, as it says itself.
    kid: String,
    /// Header and payload with the dot between: what is signed.
    signed: usize,
}

impl<'a> Unverified<'a> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// [`Refusal::TokenForm`] and [`Refusal::Algorithm`].
    pub fn parse(token: &'a str) -> Result<Self, Refusal> {
        let segments: Vec<&str> = token.split('.').collect();
        let [header, payload, signature] = segments[..] else { return Err(Refusal::TokenForm) };
        if token.len() > LIMIT || payload.is_empty() || signature.is_empty() {
            return Err(Refusal::TokenForm);
        }
        let header = segment(header).and_then(|bytes| strict_json::object(&bytes)).ok_or(Refusal::TokenForm)?;
        if header.get("alg").and_then(Value::as_str) != Some("RS256") {
            return Err(Refusal::Algorithm);
        }
        let typ_fits = header.get("typ").is_none_or(|typ| typ.as_str() == Some("JWT"));
        if !typ_fits || header.contains_key("crit") {
            return Err(Refusal::TokenForm);
        }
        let kid = header.get("kid").and_then(Value::as_str).filter(|kid| !kid.is_empty() && kid.len() <= KID_LIMIT);
        let kid = kid.ok_or(Refusal::TokenForm)?.to_owned();
        Ok(Self { token, kid, signed: token.len() - signature.len() - 1 })
    }

    /// The key that it says it was signed with.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The claims, if `key` signed them.
    ///
    /// # Errors
    /// [`Refusal::Signature`], and [`Refusal::TokenForm`] when the signed part is no JSON object.
    pub fn verify(&self, key: &PlatformKey) -> Result<Map<String, Value>, Refusal> {
        let (signed, signature) = self.token.split_at(self.signed);
        let genuine = crypto::verify(&signature[1..], signed.as_bytes(), key.decoding(), Algorithm::RS256);
        if !genuine.unwrap_or(false) {
            return Err(Refusal::Signature);
        }
        let payload = signed.split_once('.').and_then(|(_, payload)| segment(payload));
        payload.and_then(|bytes| strict_json::object(&bytes)).ok_or(Refusal::TokenForm)
    }
}

/// base64 for URLs, without padding.
fn segment(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}
