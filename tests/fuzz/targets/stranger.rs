//! What strangers and people write: a token of an LTI launch, a `Retry-After`, a district's file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rollcall_http::limits::retry_after;
use rollcall_store::district::District;
use rollcall_web::lti::id_token::Unverified;

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, rest)) = bytes.split_first() else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    match choice % 3 {
        0 => drop(Unverified::parse(text)),
        1 => {
            let now = chrono::DateTime::from_timestamp(1_800_000_000, 0).expect("a moment");
            let _ = retry_after(Some(text), now);
        }
        _ => {
            if let Ok(district) = toml::from_str::<District>(text) {
                let again = toml::to_string(&district).expect("a district can be written");
                assert_eq!(toml::from_str::<District>(&again).expect("and read back"), district);
            }
        }
    }
});
