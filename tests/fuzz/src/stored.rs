//! What the store gives back, should a disk or a hand have changed it: fragments, boards, batches and all else that a row
//! holds in an encoding of ours. The first byte says which; every second time the rest is compressed here, since libFuzzer
//! would hardly ever find a zstd frame by itself.

use rollcall_classifier::{fragment::Page, recheck::Candidates};
use rollcall_proto::packed;
use rollcall_store::fuzzing::READERS;

/// The target of this name: panics where its promise is broken.
pub fn stored(bytes: &[u8]) {
    let Some((choice, rest)) = bytes.split_first() else { return };
    let bytes =
        if choice & 0x80 == 0 { rest.to_vec() } else { packed::compress(rest).expect("anything can be compressed") };
    match usize::from(choice & 0x7f) % (READERS.len() + 2) {
        0 => fragments(&bytes),
        1 => drop(Candidates::decode(&bytes)),
        other => {
            let (_, read) = READERS[other - 2];
            if let Err(error) = read(&bytes) {
                assert!(error.to_string().len() < 500, "an error repeats content");
            }
        }
    }
}

fn fragments(bytes: &[u8]) {
    let Ok(view) = Page::open(bytes) else { return };
    for offset in view.offsets() {
        let row = view.row(offset);
        assert!(row.same(row));
        for place in 0..64 {
            let _ = row.text_at(place);
        }
    }
}
