//! A student as the tables hold it: the record, and what Rollcall decided about it.

use chrono::NaiveDate;
use rollcall_proto::{
    id::RunId,
    message::Fingerprint,
    roster::{Rule, Status, Student},
};

/// A student's record with its state.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stored {
    /// What the source said last. Contacts that ended and enrollments no longer listed are not part of it.
    pub(crate) record: Student,
    /// What was decided.
    pub(crate) state: State,
}

/// What Rollcall decided about a student, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    /// Status.
    pub(crate) status: Status,
    /// `as_of` of the run that set the status.
    pub(crate) status_since: NaiveDate,
    /// The run that set the status.
    pub(crate) status_run: RunId,
    /// Number of the run that wrote last: an older one never overwrites it.
    pub(crate) run_seq: i64,
    /// The run that wrote last.
    pub(crate) run: RunId,
    /// Digest of record and status.
    pub(crate) fingerprint: Fingerprint,
    /// The rule that decided the status.
    pub(crate) rule: Rule,
    /// Ids of the enrollments it rests on.
    pub(crate) evidence: Vec<String>,
    /// First day on which the source did not list the student any more.
    pub(crate) missing_since: Option<NaiveDate>,
}
