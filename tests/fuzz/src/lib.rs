//! What the fuzzing targets do with any bytes, each in a module of its name.
//!
//! Plain functions: a target (`targets/`) gives them what libFuzzer thinks of, and a test the kept corpus (`tests/corpus.rs`).
#![allow(clippy::expect_used, clippy::missing_panics_doc, reason = "a target tells by panicking")]

mod answer;
mod message;
mod page;
mod stored;
mod stranger;

pub use answer::answer;
pub use message::message;
pub use page::page;
pub use stored::stored;
pub use stranger::stranger;

/// A target's function.
pub type Target = fn(&[u8]);

/// All of them, by name.
pub const TARGETS: [(&str, Target); 5] =
    [("answer", answer), ("message", message), ("page", page), ("stored", stored), ("stranger", stranger)];

/// Stands in for the program's own: every variable is set.
mod config {
    use secrecy::SecretString;

    #[allow(clippy::unnecessary_wraps, reason = "as the program's own")]
    pub(crate) fn environment(_: &str) -> Option<SecretString> {
        Some(SecretString::from("s"))
    }
}
