//! Reading a page of a SIS into fragments. One file per SIS; this one chooses, and says what can go wrong.
//!
//! Neighbours: [`crate::collect`] calls, [`crate::fragment`] is written.
//!
//! Invariants: total: any bytes end in a page or an error, never a panic; an error says class, line and column, and never
//! what stands there.

pub mod oneroster;
pub mod qmlativ;
mod surrogates;
pub mod value;

use std::fmt;

use rollcall_store::district::SisKind;

use crate::fragment::{Kind, Tally};

/// A decoded page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// The fragments, compressed.
    pub fragments: Vec<u8>,
    /// Rows and findings.
    pub tally: Tally,
    /// Digest of the rows.
    pub digest: [u8; 16],
    /// Total rows of the listing, where the page claims one.
    pub claimed_total: Option<i64>,
}

/// Why a page could not be decoded. Says where, never what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub struct DecodeError {
    /// What kind of failure.
    pub class: DecodeClass,
    /// Line, from 1; 0 where the page as a whole is meant.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
}

/// What kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeClass {
    /// The SIS answered with another status than success.
    Status(u16),
    /// No bytes.
    Empty,
    /// A web page: an error page, a login page, or a proxy in between.
    Html,
    /// Ends in the middle.
    Truncated,
    /// Not JSON.
    Syntax,
    /// JSON, but not a listing.
    Shape,
    /// A row without a readable key.
    RowWithoutKey,
    /// A listing that this program does not read.
    UnknownResource,
    /// Larger than it may be once decompressed, or not decompressible.
    Compression,
}

impl DecodeError {
    /// The page as a whole.
    pub const fn whole(class: DecodeClass) -> Self {
        Self { class, line: 0, column: 0 }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.class {
            DecodeClass::Status(status) => write!(f, "the SIS answered with status {status}")?,
            DecodeClass::Empty => f.write_str("the answer is empty")?,
            DecodeClass::Html => f.write_str("the answer is a web page, not JSON: is the base URL right?")?,
            DecodeClass::Truncated => f.write_str("the answer ends in the middle")?,
            DecodeClass::Syntax => f.write_str("the answer is not JSON")?,
            DecodeClass::Shape => f.write_str("the answer is JSON but not a listing of what was asked for")?,
            DecodeClass::RowWithoutKey => f.write_str("a row has no readable key")?,
            DecodeClass::UnknownResource => f.write_str("this program does not read this listing")?,
            DecodeClass::Compression => f.write_str("the answer cannot be decompressed")?,
        }
        if self.line > 0 { write!(f, ", line {}, column {}", self.line, self.column) } else { Ok(()) }
    }
}

impl Decoded {
    /// The answer that a row asked for by its id is not there (any more).
    pub fn nothing() -> Self {
        Self { fragments: Vec::new(), tally: Tally::default(), digest: [0; 16], claimed_total: None }
    }
}

/// Decodes the body of a page of `resource` that was asked for `fields`.
pub fn decode(sis: SisKind, resource: &str, fields: &[String], body: &[u8]) -> Result<Decoded, DecodeError> {
    let kind = Kind::of_resource(resource).ok_or(DecodeError::whole(DecodeClass::UnknownResource))?;
    let read = |body: &[u8]| match sis {
        SisKind::SkywardQmlativ => qmlativ::decode(kind, kind.named_date(fields), body),
        SisKind::OneRoster => oneroster::decode(kind, body),
        SisKind::SkywardSms2 => Err(DecodeError::whole(DecodeClass::UnknownResource)),
    };
    match read(body) {
        Err(error) if error.class == DecodeClass::Syntax => {
            surrogates::replaced(body).map_or(Err(error), |replaced| read(&replaced))
        }
        read => read,
    }
}

#[cfg(test)]
mod reading_tests;
