//! Gives any bytes to [`rollcall_fuzz::stored`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rollcall_fuzz::stored(bytes));
