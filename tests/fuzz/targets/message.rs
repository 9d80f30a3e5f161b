//! What comes over the bus: any bytes are a message or a reason; a message survives being encoded again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rollcall_proto::codec::{decode, encode};

fuzz_target!(|bytes: &[u8]| {
    let Ok(message) = decode(bytes) else { return };
    let again = encode(&message).expect("what was decoded can be encoded");
    let message_again = decode(&again).expect("what was encoded can be decoded");
    assert_eq!(message, message_again);
});
