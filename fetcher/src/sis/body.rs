//! Looking into an answer as far as paging needs, whatever the SIS. Pure.

use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{error::SisError, net::Reply};

/// The body, if it looks like JSON at all.
pub(super) fn json_of<'a>(what: &str, reply: &'a Reply) -> Result<&'a [u8], SisError> {
    let body = reply.body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&reply.body);
    if let Some(b'{' | b'[') = body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        return Ok(body);
    }
    let content_type = reply.content_type.as_deref().unwrap_or("none");
    let content_type = content_type.split(';').next().unwrap_or_default().trim().chars().take(60).collect();
    Err(SisError::NotJson { what: what.to_owned(), content_type })
}

/// Class and position only: the library's text repeats values.
pub(super) fn unreadable(what: &str, error: &serde_json::Error) -> SisError {
    use serde_json::error::Category;
    let problem = match error.classify() {
        Category::Eof => "it breaks off",
        Category::Syntax => "it is not JSON",
        Category::Data => "it has not the form of an answer",
        Category::Io => "it could not be read",
    };
    SisError::Unreadable { what: what.to_owned(), problem, line: error.line(), column: error.column() }
}

/// Digest of rows, to tell a page that is served twice.
pub(super) fn digest(raw: &str) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(raw.as_bytes());
    first_eight(&hasher)
}

fn first_eight(hasher: &blake3::Hasher) -> u64 {
    let mut digest = [0; 8];
    hasher.finalize_xof().fill(&mut digest);
    u64::from_le_bytes(digest)
}

/// The rows of an array, none of them read: how many, and where they stand.
#[derive(Default)]
pub(super) struct Rows<'a> {
    pub(super) number: u32,
    first: &'a str,
    last: &'a str,
}

impl Rows<'_> {
    /// Digest of all rows as they stand in `text`, out of which they were read. In one piece: digests of many short ones
    /// cost several times as much.
    pub(super) fn digest(&self, text: &[u8]) -> u64 {
        let offset = |address: usize| address.wrapping_sub(text.as_ptr().addr());
        let span = offset(self.first.as_ptr().addr())..offset(self.last.as_ptr().addr() + self.last.len());
        let mut hasher = blake3::Hasher::new();
        hasher.update(text.get(span).unwrap_or_default());
        first_eight(&hasher)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Rows<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Look)
    }
}

struct Look;

impl<'de> Visitor<'de> for Look {
    type Value = Rows<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array of rows")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Rows<'de>, A::Error> {
        let mut found = Rows::default();
        while let Some(row) = array.next_element::<&'de RawValue>()? {
            if found.number == 0 {
                found.first = row.get();
            }
            found.last = row.get();
            found.number += 1;
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_of_the_rows_and_nothing_around_them() {
        let digest = |text: &str| serde_json::from_str::<Rows<'_>>(text).unwrap().digest(text.as_bytes());
        assert_eq!(digest(r#"[{"a":1},{"b":2}]"#), digest(r#" [ {"a":1},{"b":2} ]"#));
        assert_ne!(digest(r#"[{"a":1},{"b":2}]"#), digest(r#"[{"a":1},{"b":3}]"#));
        assert_ne!(digest(r#"[{"a":1},{"b":2}]"#), digest(r#"[{"c":1},{"b":2}]"#));
        assert_eq!(serde_json::from_str::<Rows<'_>>(" []").unwrap().number, 0);
    }
}
