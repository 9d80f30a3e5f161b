//! What both engines must do alike, subject by subject: each test runs on a SQLite and on a PostgreSQL of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../roster_support/mod.rs"]
mod roster_support;

mod approvals;
mod audit;
mod batches;
mod changes;
mod comparisons;
mod districts;
mod documents;
mod earlier_ids;
mod flags;
mod ids;
mod lanes;
mod parked;
mod people;
mod plans;
mod pulls;
mod replays;
mod runs;
mod staff;
mod students;
mod support;
mod unchanged;
mod web;
