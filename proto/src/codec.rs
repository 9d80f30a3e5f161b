//! Messages to bytes and back.
//!
//! Role: the envelope as a MessagePack map with named fields, `body` last, and the transport compression around it.
//! Neighbours: both buses; `asyncapi.yaml` describes what is written here, and a test holds the two equal.
//!
//! Invariants: what was once written can be read for ever (`tests/golden`); unknown fields are ignored; an error tells
//! class and position, never content; unpacking is bounded.
//!
//! Deliberately absent: migration between versions of a kind. There is one version of each so far.

mod envelope;
mod wire;

use bytes::Bytes;
use serde::de::DeserializeSeed as _;

use crate::{
    bus::Unreadable,
    message::{Body, Message},
    packed,
};

pub use envelope::FIELDS;
pub(crate) use wire::Encoding;
pub use wire::Wire;

/// Reason code of bytes that are no message.
pub const UNDECODABLE: &str = "undecodable";
/// Reason code of a message of a kind that this program does not know.
pub const UNKNOWN_KIND: &str = "unknown-kind";
/// Reason code of a message of a known kind in a version that this program does not know.
pub const UNKNOWN_VERSION: &str = "unknown-version";

/// Why a message could not be written.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// A value that MessagePack cannot express.
    #[error("the message could not be written as MessagePack")]
    Encode(#[from] rmp_serde::encode::Error),
    /// The compressor failed.
    #[error("the message could not be compressed")]
    Compress(#[source] std::io::Error),
}

/// A kind of message as it stands in the envelope and in the AMQP property `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// [`Body::Discover`].
    Discover,
    /// [`Body::Fetch`].
    Fetch,
    /// [`Body::Page`].
    Page,
    /// [`Body::Plan`].
    Plan,
    /// [`Body::Release`].
    Release,
    /// [`Body::Students`], and [`Body::Planned`].
    Students,
    /// [`Body::Applied`].
    Applied,
    /// [`Body::FlagSync`].
    FlagSync,
    /// [`Body::FlagPush`].
    FlagPush,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Discover,
        Self::Fetch,
        Self::Page,
        Self::Plan,
        Self::Release,
        Self::Students,
        Self::Applied,
        Self::FlagSync,
        Self::FlagPush,
    ];

    /// The kind of a body.
    pub const fn of(body: &Body) -> Self {
        match body {
            Body::Discover(_) => Self::Discover,
            Body::Fetch(_) => Self::Fetch,
            Body::Page(_) => Self::Page,
            Body::Plan(_) => Self::Plan,
            Body::Release(_) => Self::Release,
            Body::Students(_) | Body::Planned(_) => Self::Students,
            Body::Applied(_) => Self::Applied,
            Body::FlagSync(_) => Self::FlagSync,
            Body::FlagPush(_) => Self::FlagPush,
        }
    }

    /// As written in the envelope.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Discover => "fetch.connection",
            Self::Fetch => "fetch.page",
            Self::Page => "page.raw",
            Self::Plan => "run.classify",
            Self::Release => "run.release",
            Self::Students => "student.events",
            Self::Applied => "run.applied",
            Self::FlagSync => "flag.sync",
            Self::FlagPush => "flag.push",
        }
    }

    /// The version that this program writes, and the newest it reads.
    pub const fn version(self) -> u32 {
        match self {
            Self::Discover
            | Self::Fetch
            | Self::Page
            | Self::Plan
            | Self::Release
            | Self::Students
            | Self::Applied
            | Self::FlagSync
            | Self::FlagPush => 1,
        }
    }

    /// Reads what [`Kind::as_str`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// Writes a message.
pub fn encode(message: &Message) -> Result<Bytes, CodecError> {
    let Body::Planned(planned) = &message.body else {
        return Ok(rmp_serde::to_vec_named(&envelope::Written(message))?.into());
    };
    let body = packed::decompress(&planned.packed, wire::LARGEST).map_err(CodecError::Compress)?;
    Ok([encode_head(message)?, body].concat().into())
}

/// The envelope of a message whose body is written already, up to that body: it is the last field.
fn encode_head(message: &Message) -> Result<Vec<u8>, CodecError> {
    let mut bytes = rmp_serde::to_vec_named(&envelope::Written(message))?;
    bytes.pop();
    Ok(bytes)
}

/// Reads a message.
pub fn decode(bytes: &[u8]) -> Result<Message, Unreadable> {
    let mut reader = rmp_serde::Deserializer::from_read_ref(bytes);
    match envelope::ReadEnvelope.deserialize(&mut reader) {
        Ok(read) => read.into_message(bytes),
        Err(_) => Err(locate(bytes)),
    }
}

/// Where and of what class the first error is. Reads again, byte by byte, since only that way of reading can tell.
fn locate(bytes: &[u8]) -> Unreadable {
    let mut reader = rmp_serde::Deserializer::new(std::io::Cursor::new(bytes));
    let class = match envelope::ReadEnvelope.deserialize(&mut reader) {
        Err(error) => class(&error),
        Ok(_) => "unknown",
    };
    undecodable(format!("{class} error at byte {} of {}", reader.position(), bytes.len()))
}

/// The class of an error. Its text may repeat a value, so it is never shown.
const fn class(error: &rmp_serde::decode::Error) -> &'static str {
    use rmp_serde::decode::Error;
    match error {
        Error::InvalidMarkerRead(_) | Error::InvalidDataRead(_) => "end of data",
        Error::TypeMismatch(_) => "type",
        Error::OutOfRange => "range",
        Error::LengthMismatch(_) => "length",
        Error::Utf8Error(_) => "UTF-8",
        Error::DepthLimitExceeded => "depth",
        Error::Uncategorized(_) | Error::Syntax(_) => "data",
    }
}

fn undecodable(detail: String) -> Unreadable {
    Unreadable { reason: UNDECODABLE, detail }
}

#[cfg(test)]
mod tests;
