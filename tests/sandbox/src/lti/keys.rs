//! The platform's signing key.

use std::io;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// An RSA key with a name.
#[derive(Debug)]
pub(super) struct SigningKey {
    pub(super) kid: String,
    pair: KeyPair,
}

impl SigningKey {
    pub(super) fn generate(kid: &str) -> io::Result<Self> {
        let pair = KeyPair::generate(KeySize::Rsa2048).map_err(|_| io::Error::other("no RSA key can be made"))?;
        Ok(Self { kid: kid.to_owned(), pair })
    }

    /// RS256.
    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        let signed = self.pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature);
        if signed.is_err() {
            signature.clear();
        }
        signature
    }

    /// The modulus, big-endian: what an attacker takes for the secret of an HMAC.
    pub(super) fn modulus(&self) -> Vec<u8> {
        self.pair.public_key().modulus().big_endian_without_leading_zero().to_vec()
    }

    /// As a JSON Web Key.
    pub(super) fn jwk(&self, bare: bool) -> Value {
        let n = URL_SAFE_NO_PAD.encode(self.modulus());
        let e = URL_SAFE_NO_PAD.encode(self.pair.public_key().exponent().big_endian_without_leading_zero());
        let mut jwk = json!({ "kty": "RSA", "kid": self.kid, "n": n, "e": e });
        if !bare {
            jwk["use"] = json!("sig");
            jwk["alg"] = json!("RS256");
        }
        jwk
    }
}
