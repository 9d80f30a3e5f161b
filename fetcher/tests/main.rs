//! The fetcher against stand-ins of each SIS, and its schedule: one program with a module for each subject.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod cut;
mod oneroster;
mod patience;
mod pull;
mod schedule;
mod schedule_tick;
mod slow;
mod support;
