//! What travels: a written message, compressed where that pays.
//!
//! Only student events are compressed: 256 records repeat their field names 256 times, and shrink about tenfold. The
//! body of a page is compressed before it becomes a message; all else is small.

use bytes::Bytes;

use super::{CodecError, decode, encode, undecodable};
use crate::{
    bus::Unreadable,
    message::{Body, Message},
};

/// Student events shorter than this stay as they are: a frame on the broker holds them anyway.
const WORTH_COMPRESSING: usize = 8 * 1024;

/// No message is larger than this once unpacked: 256 students of 256 KiB each.
const LARGEST: usize = 64 * 1024 * 1024;

/// Fast, and within a few percent of the next levels on records with repeating names.
const LEVEL: i32 = 1;

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
        let plain = encode(message)?;
        if !matches!(message.body, Body::Students(_)) || plain.len() < WORTH_COMPRESSING {
            return Ok(Self { bytes: plain, encoding: Encoding::Identity });
        }
        let packed = zstd::bulk::compress(&plain, LEVEL).map_err(CodecError::Compress)?;
        Ok(Self { bytes: packed.into(), encoding: Encoding::Zstd })
    }

    /// Reads the message back.
    pub fn unpack(&self) -> Result<Message, Unreadable> {
        match self.encoding {
            Encoding::Identity => decode(&self.bytes),
            Encoding::Zstd => decode(&decompress(&self.bytes)?),
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

/// The frame names its size, so a frame that claims too much is refused before anything is allocated for it.
fn decompress(bytes: &[u8]) -> Result<Vec<u8>, Unreadable> {
    let size = zstd::zstd_safe::get_frame_content_size(bytes).ok().flatten();
    let size = size.and_then(|size| usize::try_from(size).ok()).filter(|size| *size <= LARGEST);
    let Some(size) = size else {
        return Err(undecodable(format!("a zstd frame without a size, or above {LARGEST} bytes")));
    };
    zstd::bulk::decompress(bytes, size).map_err(|_| undecodable("a damaged zstd frame".to_owned()))
}
