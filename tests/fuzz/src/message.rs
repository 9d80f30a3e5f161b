//! What comes over the bus: any bytes are a message or a reason; a message survives being encoded again, and being packed.
//! Its trace context is any text, and one that is read is written the same.

use rollcall_proto::{
    codec::{Wire, decode, encode},
    trace::TraceContext,
};

/// The target of this name: panics where its promise is broken.
pub fn message(bytes: &[u8]) {
    if let Some(context) = std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<TraceContext>().ok()) {
        assert_eq!(context.to_string().parse(), Ok(context));
    }
    let Ok(message) = decode(bytes) else { return };
    let again = encode(&message).expect("what was decoded can be encoded");
    assert_eq!(decode(&again).expect("what was encoded can be decoded"), message);
    let wire = Wire::pack(&message).expect("what was decoded can be packed");
    assert_eq!(wire.unpack().expect("what was packed can be unpacked"), message);
}
