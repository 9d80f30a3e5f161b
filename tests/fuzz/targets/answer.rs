//! Gives any bytes to [`rollcall_fuzz::answer`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rollcall_fuzz::answer(bytes));
