//! flag-sync against a Campus over real HTTP, on both engines: whatever goes wrong on the way, flags end as participations
//! want them, and none is doubled.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod campuses;
#[path = "../../../store/tests/common/mod.rs"]
mod common;
mod connections;
mod corrections;
mod faults;
#[path = "../house/mod.rs"]
mod house;
mod lists;
mod nameless;
mod pieces;
mod reconciler;
#[path = "../../../store/tests/roster_support/mod.rs"]
mod roster_support;
mod turns;
mod units;
mod wishes;
mod workers;
