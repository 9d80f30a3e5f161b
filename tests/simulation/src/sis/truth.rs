//! What is true of a district's students on a day, and the statuses that follow from it: the oracle.
//!
//! The oracle is written from the words of docs/STATUS.md for the few stories told here, and shares no code with the
//! classifier.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use rollcall_proto::roster::Status;

/// Code of a graduate's withdrawal.
pub(crate) const GRADUATED: i64 = 121;
/// Code of any other withdrawal.
pub(crate) const MOVED_AWAY: i64 = 122;

/// An enrollment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spell {
    pub(crate) id: i64,
    pub(crate) start: NaiveDate,
    /// Last day enrolled.
    pub(crate) end: Option<NaiveDate>,
    /// Withdrawal code.
    pub(crate) code: Option<i64>,
    pub(crate) school: i64,
}

impl Spell {
    fn is_over(&self, today: NaiveDate) -> bool {
        self.end.is_some_and(|end| end < today)
    }

    fn is_current(&self, today: NaiveDate) -> bool {
        self.start <= today && !self.is_over(today)
    }
}

/// A student.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pupil {
    /// How often the name has changed.
    pub(crate) names: u32,
    /// How often the guardian's phone has changed.
    pub(crate) phones: u32,
    /// Whether a guardian is on file.
    pub(crate) guardian: bool,
    /// Whether the SIS lists the student.
    pub(crate) listed: bool,
    pub(crate) spells: Vec<Spell>,
}

impl Pupil {
    /// The status on a day, of a student who is listed and has a spell.
    pub(crate) fn status(&self, today: NaiveDate) -> Status {
        let some = |is: &dyn Fn(&Spell) -> bool| self.spells.iter().any(is);
        if some(&|spell| spell.is_current(today)) {
            return Status::Enrolled;
        }
        let past = self.spells.iter().filter(|spell| spell.is_over(today)).max_by_key(|spell| spell.end);
        let upcoming = some(&|spell| spell.start > today);
        match past {
            None => Status::PreEnrolled,
            Some(_) if upcoming => Status::Enrolled,
            Some(last) if last.code == Some(GRADUATED) => Status::Graduated,
            Some(_) => Status::Inactive,
        }
    }

    /// Whether nothing may take the student out on this day.
    pub(crate) fn is_in(&self, today: NaiveDate) -> bool {
        self.listed && matches!(self.status(today), Status::Enrolled | Status::PreEnrolled)
    }
}

/// A district's students on a day, by `StudentID`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Truth {
    pub(crate) pupils: BTreeMap<i64, Pupil>,
}

impl Truth {
    pub(crate) fn listed(&self) -> impl Iterator<Item = (i64, &Pupil)> {
        self.pupils.iter().filter(|(_, pupil)| pupil.listed).map(|(id, pupil)| (*id, pupil))
    }
}
