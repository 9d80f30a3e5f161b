//! The roster as people and other programs read it.

pub(crate) mod load;
pub(crate) mod stored;

use chrono::{DateTime, NaiveDate, Utc};
use rollcall_proto::{
    id::{RunId, StudentId},
    roster::{Enrollment, Rule, Status, Student},
};

/// A row of `rollcall students list`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StudentRow {
    /// The SIS's id.
    pub student_id: StudentId,
    /// Student number.
    pub local_id: Option<String>,
    /// State id.
    pub state_id: Option<String>,
    /// Family name.
    pub last_name: Option<String>,
    /// Given name.
    pub first_name: Option<String>,
    /// Grade.
    pub grade: Option<String>,
    /// School code.
    pub school: Option<String>,
    /// Status.
    pub status: Status,
    /// The date the status is valid since: `as_of` of the run that set it.
    pub status_since: NaiveDate,
    /// The run that wrote the row last.
    pub run: RunId,
}

/// A student with all that is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct StudentDetail {
    /// The row.
    pub row: StudentRow,
    /// The rule that decided the status.
    pub rule: Rule,
    /// The enrollments that it rests on.
    pub evidence: Vec<String>,
    /// The record.
    pub record: Student,
    /// History, newest first.
    pub history: Vec<HistoryRow>,
}

/// One change of one student.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryRow {
    /// When it was written.
    pub at: DateTime<Utc>,
    /// The run.
    pub run: RunId,
    /// The run's date.
    pub as_of: NaiveDate,
    /// Who: `schedule`, or the person who started or approved the run.
    pub actor: String,
    /// `added`, `changed` or `removed`.
    pub change: String,
    /// Status before.
    pub from: Option<Status>,
    /// Status after.
    pub to: Status,
    /// Rule.
    pub rule: Rule,
    /// Enrollments it rests on.
    pub enrollments: Vec<String>,
    /// Which parts of the record changed: `name`, `phones`, `contacts`, `enrollments`, …; no values.
    pub parts: Vec<String>,
}

/// An enrollment as it is stored, whether the last pull showed it or not: for sources that serve only their active year.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEnrollment {
    /// Whose.
    pub student: StudentId,
    /// The enrollment.
    pub enrollment: Enrollment,
    /// First day on which the source did not show it, or its student, any more.
    pub unlisted_since: Option<NaiveDate>,
}

/// Which students to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StudentFilter {
    /// Only with this status.
    pub status: Option<Status>,
    /// Only of this school.
    pub school: Option<String>,
    /// At most so many, by student id.
    pub limit: Option<i64>,
    /// Only those with an id greater than this.
    pub after: Option<StudentId>,
}
