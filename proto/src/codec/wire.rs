//! What travels: a written message, compressed where that pays.
//!
//! Only student events are compressed: 256 records repeat their field names 256 times, and shrink about tenfold. Those of
//! a plan were packed when it was made: the envelope goes before them in a zstd frame of its own. The body of a page is
//! compressed before it becomes a message; all else is small.

use bytes::Bytes;

use super::{CodecError, decode, encode, encode_head, undecodable};
use crate::{
    bus::Unreadable,
    message::{Body, Message},
    packed,
};

/// Student events shorter than this stay as they are: a frame on the broker holds them anyway.
const WORTH_COMPRESSING: usize = 8 * 1024;

/// No message is larger than this once unpacked: 256 students of 256 KiB each.
pub(super) const LARGEST: usize = 64 * 1024 * 1024;

/// How the bytes are to be read: the AMQP property `content-encoding`, a column of the embedded bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// MessagePack as it is.
    Identity,
    /// MessagePack within one zstd frame.
    Zstd,
    /// Neither of them.
    Unknown,
}

impl Encoding {
    /// The name, as in HTTP; nothing for [`Encoding::Identity`].
    pub(crate) const fn name(self) -> Option<&'static str> {
        match self {
            Self::Identity => None,
            Self::Zstd => Some("zstd"),
            Self::Unknown => Some("unknown"),
        }
    }

    /// Reads what [`Encoding::name`] wrote.
    pub(crate) fn parse(name: Option<&str>) -> Self {
        match name {
            None | Some("" | "identity") => Self::Identity,
            Some("zstd") => Self::Zstd,
            Some(_) => Self::Unknown,
        }
    }
}

/// A message as it travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wire {
    pub(crate) bytes: Bytes,
    pub(crate) encoding: Encoding,
}

impl Wire {
    /// Writes a message, and compresses it where that pays.
    pub fn pack(message: &Message) -> Result<Self, CodecError> {
        if let Body::Planned(planned) = &message.body {
            let head = packed::compress(&encode_head(message)?).map_err(CodecError::Compress)?;
            let bytes = [head.as_slice(), &planned.packed].concat().into();
            return Ok(Self { bytes, encoding: Encoding::Zstd });
        }
        let plain = encode(message)?;
        if !matches!(message.body, Body::Students(_)) || plain.len() < WORTH_COMPRESSING {
            return Ok(Self { bytes: plain, encoding: Encoding::Identity });
        }
        let packed = packed::compress(&plain).map_err(CodecError::Compress)?;
        Ok(Self { bytes: packed.into(), encoding: Encoding::Zstd })
    }

    /// Reads the message back.
    pub fn unpack(&self) -> Result<Message, Unreadable> {
        match self.encoding {
            Encoding::Identity => decode(&self.bytes),
            Encoding::Zstd => {
                let damaged = |_| undecodable(format!("a damaged zstd frame, or one above {LARGEST} bytes"));
                decode(&packed::decompress(&self.bytes, LARGEST).map_err(damaged)?)
            }
            Encoding::Unknown => Err(undecodable("a content-encoding that this program does not know".to_owned())),
        }
    }

    /// Number of bytes that travel.
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing would travel.
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}
