//! Random values that others hold, and what they are checked with.

use aws_lc_rs::{constant_time, rand};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rollcall_store::lti::Digest;

/// The operating system gives no randomness: nothing can be promised any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gives no random numbers")]
pub struct NoRandomness;

/// 256 random bits, in base64 for URLs: 43 characters.
pub fn token() -> Result<String, NoRandomness> {
    let mut bytes = [0_u8; 32];
    rand::fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// A short id that nobody else has, to tell people and to find in the log.
pub(crate) fn correlation() -> String {
    uuid::Uuid::new_v4().simple().to_string()[..12].to_owned()
}

/// Whether two digests are equal, in a time that does not tell how much of them is.
pub(crate) fn same(one: Digest, other: Digest) -> bool {
    constant_time::verify_slices_are_equal(&one.0, &other.0).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_long_and_differ() {
        let (one, other) = (token().unwrap(), token().unwrap());
        assert_eq!(one.len(), 43);
        assert_ne!(one, other);
        assert!(same(Digest::of(&one), Digest::of(&one)) && !same(Digest::of(&one), Digest::of(&other)));
    }
}
