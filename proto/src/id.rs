//! Identifiers, each a type of its own so that one cannot stand in for another.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why a text is not an identifier. Carries no part of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not 1 to 63 of `a-z`, `0-9` and `-`, beginning and ending with a letter or digit.
    #[error("a district id is 1 to 63 characters of a-z, 0-9 and '-', with a letter or digit at both ends")]
    District,
    /// Not a UUID.
    #[error("a run id is a UUID, as `rollcall runs list` shows it")]
    Run,
}

/// A district, the tenant. 1 to 63 characters of `a-z`, `0-9` and `-`: safe in routing keys, file names and URLs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DistrictId(String);

impl DistrictId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whose is what belongs to no district, such as the audit trail's word on a message that nobody can read. No district
    /// may have this id.
    pub fn installation() -> Self {
        Self("rollcall-installation".to_owned())
    }
}

impl TryFrom<String> for DistrictId {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = text.as_bytes();
        let legal = bytes.len() <= 63
            && edge(bytes.first())
            && edge(bytes.last())
            && bytes.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-');
        if legal { Ok(Self(text)) } else { Err(IdError::District) }
    }
}

impl FromStr for DistrictId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::try_from(text.to_owned())
    }
}

impl From<DistrictId> for String {
    fn from(id: DistrictId) -> Self {
        id.0
    }
}

impl fmt::Display for DistrictId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One sync of one district. A UUID of version 7, so that ids sort by time; its 16 bytes are also the run's trace id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub Uuid);

impl FromStr for RunId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Uuid::parse_str(text).map(Self).map_err(|_| IdError::Run)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// The SIS's own id of a student as text, after the connection's `id_prefix`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StudentId(pub String);

impl fmt::Display for StudentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Position of a connection in the district's file, from 0. People count from 1: that is how it is displayed. What is stored, sent
/// or bound to it holds the position itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConnectionNo(pub u16);

impl fmt::Display for ConnectionNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (u32::from(self.0) + 1).fmt(f)
    }
}

/// Position of a listing in its connection's pull, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ListingNo(pub u32);

/// A page of a listing, from 1 as the SIS counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PageNo(pub u32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_count_connections_from_1() {
        assert_eq!(ConnectionNo(0).to_string(), "1");
        assert_eq!(format!("{}", ConnectionNo(u16::MAX)), "65536");
    }

    #[test]
    fn district_ids_are_safe_in_routing_keys() {
        for legal in ["a", "lone-star-isd", "0", "isd-623"] {
            assert_eq!(legal.parse::<DistrictId>().map(String::from), Ok(legal.to_owned()));
        }
        let installation = DistrictId::installation();
        assert_eq!(installation.as_str().parse(), Ok(installation), "it can be read back");
        for illegal in ["", "-a", "a-", "A", "a.b", "a b", "ü", "a/b", "a#", &"a".repeat(64)] {
            assert_eq!(illegal.parse::<DistrictId>(), Err(IdError::District), "{illegal}");
        }
    }
}
