//! Gives any bytes to [`rollcall_fuzz::page`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rollcall_fuzz::page(bytes));
