//! The HTTP side of Rollcall: the LTI 1.3 document viewer and the JSON API for documents.
//!
//! Role: lets a person who clicks a flag in the SIS see the student's newest plan document, and lets programs hand
//! documents in. Neighbours: reads and writes the store; asks flag-sync over the bus to look at a student at once.
//!
//! Invariants: nothing is believed of a launch before its token is verified (`lti`); who may see which student is decided
//! here, from the store, and a role in a token may only narrow it (`access`); no look at a document without a line in
//! the access log; a stored document never runs script in our origin; no state in a process, so that any number of them
//! serve one site; no student fact, token or secret in a log line.
//!
//! Deliberately absent: TLS, which a proxy in front ends; sessions: a launch shows one document and is over; Deep
//! Linking, grade and roster services of LTI.

pub mod access;
pub mod api;
pub mod config;
mod contents;
mod fields;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod headers;
mod health;
pub mod lti;
mod pages;
pub mod random;
mod refusal;
mod server;
mod take_overs;

pub use self::{
    config::{ConfigError, WebConfig},
    server::{Resources, run, run_with_probes},
    take_overs::{TakeOverError, TakeOvers},
};
