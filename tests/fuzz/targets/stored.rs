//! What the store gives back, should a disk or a hand have changed it: fragments, batches of a plan.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rollcall_classifier::fragment::Page;
use rollcall_proto::packed;
use rollcall_store::plan::decode_batch;

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, rest)) = bytes.split_first() else { return };
    // Compressed here: libFuzzer would hardly ever find a zstd frame by itself.
    let packed = if choice & 1 == 0 { rest.to_vec() } else { packed::compress(rest).expect("anything can be compressed") };
    if choice & 2 == 0 {
        let Ok(view) = Page::open(&packed) else { return };
        for offset in view.offsets() {
            let row = view.row(offset);
            assert!(row.same(row));
            for place in 0..64 {
                let _ = row.text_at(place);
            }
        }
    } else {
        let _ = decode_batch(&packed);
    }
});
