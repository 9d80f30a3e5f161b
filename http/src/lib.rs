//! HTTP to a student information system: guarded, authenticated, bounded.
//!
//! Role: what every service needs that speaks to a SIS. [`net`] sends, [`auth`] holds tokens, [`limits`] says how soon to
//! ask again, [`gate`] keeps to it, [`session`] puts them together, [`error`] says what went wrong and how to mend it.
//!
//! Neighbours: the fetcher pulls pages through it, flag-sync pushes flags.
//!
//! Invariants: an address that is not public is refused unless the process allows it; nothing is followed; no student
//! fact, secret or token in a log line or an error.
//!
//! Deliberately absent: what is asked for, and what an answer means.

pub mod auth;
pub mod error;
pub mod gate;
pub mod limits;
pub mod net;
pub mod session;
mod status_info;
pub mod telemetry;
pub mod urls;
