//! Packing bytes with zstd: pages, fragments, batches, messages.
//!
//! Role: one place for level and limits. A compressor's tables are larger than most of what it packs, so each thread keeps
//! its own.
//!
//! Invariants: what [`compress`] made names its size; [`decompress`] never allocates more than it is allowed, whatever a
//! frame claims. Frames may stand one behind another: their contents are then one.

use std::{
    cell::RefCell,
    io::{self, Read as _},
};

use zstd::bulk::{Compressor, Decompressor};

/// Fast, and within a few percent of the next levels on records with repeating names.
const LEVEL: i32 = 1;

thread_local! {
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Packs `plain` into one frame.
pub fn compress(plain: &[u8]) -> io::Result<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|kept| {
        let compressor = match kept {
            Some(compressor) => compressor,
            None => kept.insert(Compressor::new(LEVEL)?),
        };
        compressor.compress(plain)
    })
}

/// Unpacks a frame of at most `limit` bytes.
///
/// # Errors
/// Not zstd, cut short, or larger than `limit`.
pub fn decompress(packed: &[u8], limit: usize) -> io::Result<Vec<u8>> {
    let Some(size) = named_size(packed)? else { return decompress_unsized(packed, limit) };
    let size = usize::try_from(size).ok().filter(|size| *size <= limit).ok_or_else(too_large)?;
    DECOMPRESSOR.with_borrow_mut(|kept| {
        let decompressor = match kept {
            Some(decompressor) => decompressor,
            None => kept.insert(Decompressor::new()?),
        };
        decompressor.decompress(packed, size)
    })
}

/// What all frames together claim to hold; `None` where one of them does not say.
fn named_size(mut packed: &[u8]) -> io::Result<Option<u64>> {
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "a damaged frame");
    let mut sum = 0_u64;
    while !packed.is_empty() {
        let Some(size) = zstd::zstd_safe::get_frame_content_size(packed).map_err(|_| damaged())? else {
            return Ok(None);
        };
        let length = zstd::zstd_safe::find_frame_compressed_size(packed).map_err(|_| damaged())?;
        sum = sum.saturating_add(size);
        packed = packed.get(length..).ok_or_else(damaged)?;
    }
    Ok(Some(sum))
}

/// A frame that does not name its size, as a stream writes it.
fn decompress_unsized(packed: &[u8], limit: usize) -> io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    zstd::stream::Decoder::new(packed)?.take(limit as u64 + 1).read_to_end(&mut plain)?;
    if plain.len() > limit { Err(too_large()) } else { Ok(plain) }
}

fn too_large() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the frame is larger than it may be")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_packed_comes_back() {
        for plain in [Vec::new(), b"a".to_vec(), vec![7; 100_000]] {
            assert_eq!(decompress(&compress(&plain).unwrap(), plain.len()).unwrap(), plain);
        }
    }

    #[test]
    fn frames_one_behind_another_are_one() {
        let both = [compress(b"one").unwrap(), compress(b"two").unwrap()].concat();
        assert_eq!(decompress(&both, 6).unwrap(), b"onetwo");
        assert!(decompress(&both, 5).is_err());
    }

    #[test]
    fn a_frame_larger_than_allowed_is_refused_whether_it_names_its_size_or_not() {
        let named = compress(&[0; 1_000]).unwrap();
        let mut stream = zstd::stream::Encoder::new(Vec::new(), LEVEL).unwrap();
        io::Write::write_all(&mut stream, &[0; 1_000]).unwrap();
        let unnamed = stream.finish().unwrap();
        for packed in [named, unnamed] {
            assert!(decompress(&packed, 999).is_err());
            assert_eq!(decompress(&packed, 1_000).unwrap(), [0; 1_000]);
        }
    }

    #[test]
    fn damage_is_an_error() {
        let mut packed = compress(&[7; 1_000]).unwrap();
        packed.truncate(packed.len() - 1);
        assert!(decompress(&packed, 1_000).is_err());
        assert!(decompress(b"not zstd", 1_000).is_err());
    }
}
