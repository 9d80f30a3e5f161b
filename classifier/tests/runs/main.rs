//! Whole runs over an embedded store: handlers as they are, a bus that keeps what is published, a fetcher and a writer of a
//! few lines. Every message is handled twice, as a redelivery would have it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod acceptance;
mod ageing;
mod night;
mod nights;
mod one_roster;
mod planners;
mod replays;
