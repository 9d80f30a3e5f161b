//! Everything SQL of Rollcall: schema, migrations, queries, and secrets at rest.
//!
//! Role: the one place that knows tables. PostgreSQL and SQLite behind one [`Store`]; SQL is written once where both
//! agree and apart where they don't (bulk statements, locks, row-level security).
//!
//! Neighbours: the services and the command line call it; it knows `proto`'s records and nothing of the bus.
//!
//! Invariants: every tenant row carries its district, and every transaction names the district it works for
//! (PostgreSQL's row-level security then enforces it); removal is a status with a date, never a delete; an older
//! `run_seq` never overwrites a newer; secrets and raw pages lie encrypted.
//!
//! Deliberately absent: decisions about students. Pure bookkeeping of a pull lives in [`board`].

pub mod audit;
pub mod board;
pub mod delta;
pub mod district;
pub mod document;
pub mod erasure;
pub mod error;
pub mod figures;
pub mod flag;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod integrations;
pub mod lti;
pub mod page;
pub mod plan;
pub mod replay;
pub mod roster;
pub mod run;
pub mod secret;

mod apply;
mod baselines;
pub mod chores;
mod closing;
mod comparison;
mod districts;
mod documents;
mod findings;
mod flag_work;
mod flags;
mod lanes;
mod pages;
mod passed_over;
mod planning;
mod pulls;
mod reading;
mod rekeyed;
mod release;
mod releasing;
mod remembered;
mod replaying;
mod retention;
mod runs;
mod sealing;
mod sql;
mod store;
mod telling;
mod trail;
mod unchanged;

pub use apply::{ParkedStudent, ParkedStudents, ReplayRefused, Replayed};
pub use districts::Removed;
pub use error::{FileTrouble, StoreError, TurnedAway};
pub use lanes::{Claim, Lanes, Wait};
pub use passed_over::{Chore, PassedOver};
pub use release::RELEASE_WINDOW;
pub use retention::ForgottenTrail;
pub use sealing::{Lost, Sealed};
pub use sql::{CommitGate, is_this_machine};
pub use store::{OpenRun, ScheduledDistrict, Store};
pub use unchanged::{Earlier, HandedIn, PageDigester, READING, Unchanged};
