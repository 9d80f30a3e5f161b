//! OneRoster ids: how two spellings of one are told to be the same, and the number they are looked up by.
//!
//! A `sourcedId` is opaque, but where it has the form of a UUID its letters mean the same in either case, and nobody has
//! written down in which case Campus sends them (wire page 2.3). So a UUID is kept in small letters, and the spelling
//! given is kept beside it, for writing back.

use std::borrow::Cow;

/// The id as Rollcall spells it: without blanks around it, a UUID in small letters, anything else as given.
pub fn canonical(id: &str) -> Cow<'_, str> {
    let id = id.trim();
    if is_uuid(id) && id.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(id.to_ascii_lowercase())
    } else {
        Cow::Borrowed(id)
    }
}

/// Whether it has the form of a UUID.
pub fn is_uuid(id: &str) -> bool {
    id.len() == 36
        && id.bytes().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// The number by which rows of an id are found, never negative. Two ids may share one (once in many districts' lives), so
/// whoever looks up compares the whole id too.
pub fn lookup_key(canonical: &str) -> i64 {
    let hash = blake3::hash(canonical.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hash.as_bytes()[..8]);
    i64::from_le_bytes(first) & i64::MAX
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_uuids_lose_their_capitals() {
        for (given, kept) in [
            ("0F6B1C2D-AB12-4CDE-8f00-0123456789AB", "0f6b1c2d-ab12-4cde-8f00-0123456789ab"),
            (" Student_12 ", "Student_12"),
            ("s123456", "s123456"),
            ("0F6B1C2D-AB12-4CDE-8f00-0123456789AG", "0F6B1C2D-AB12-4CDE-8f00-0123456789AG"),
            ("", ""),
        ] {
            assert_eq!(canonical(given), kept, "{given}");
        }
    }

    proptest! {
        #[test]
        fn a_canonical_id_stays(id in "\\PC{0,40}") {
            let once = canonical(&id).into_owned();
            prop_assert_eq!(canonical(&once), once.as_str());
            prop_assert!(lookup_key(&once) >= 0);
            // Two that share one are told apart, and looked through one by one.
            prop_assert_ne!(lookup_key(&once), lookup_key(&format!("{once}+")));
        }
    }
}
