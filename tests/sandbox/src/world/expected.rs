//! What a run must come to, by the stories alone: the oracle of the tests.
//!
//! It holds for a client with the default status settings that ran on the nights before (1, then 2, and so on) and
//! whose removals were let through.

use std::collections::BTreeMap;

use serde::Serialize;

use super::scenario::{Change, Scenario};
use super::{STUDENT_BASE, View};

/// What must be known of one student.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ExpectedStudent {
    /// The status, or [`crate::SKIPPED`] for a student who is not imported.
    pub status: &'static str,
    /// The student's story.
    pub scenario: Scenario,
    /// Whether the SIS lists the student this night.
    pub listed: bool,
    /// What changed since the night before; on night 3 and 4, what changed since night 1.
    pub change: Option<Change>,
}

/// Counts of a night.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Expected {
    /// Students the SIS lists.
    pub listed: u64,
    /// Students per status, those not imported among them as [`crate::SKIPPED`]. Gone students are counted.
    pub statuses: BTreeMap<&'static str, u64>,
    /// Students per story, gone ones among them.
    pub scenarios: BTreeMap<Scenario, u64>,
    /// Students per change.
    pub changes: BTreeMap<Change, u64>,
}

impl View<'_> {
    fn expected_student(&self, index: u32) -> Option<ExpectedStudent> {
        let state = self.state(index)?;
        let change = state.last_change.filter(|(generation, _)| *generation == self.generation());
        Some(ExpectedStudent {
            status: state.status(state.gone),
            scenario: state.scenario,
            listed: !state.gone,
            change: change.map(|(_, change)| change),
        })
    }

    /// Every student known by now.
    pub(crate) fn expected_students(&self) -> BTreeMap<i64, ExpectedStudent> {
        let student = |index| Some((STUDENT_BASE + i64::from(index), self.expected_student(index)?));
        (0..self.students()).filter_map(student).collect()
    }

    /// Counts, without a map of all students.
    pub(crate) fn expected(&self) -> Expected {
        let mut counts = Expected::default();
        for student in (0..self.students()).filter_map(|index| self.expected_student(index)) {
            counts.listed += u64::from(student.listed);
            *counts.statuses.entry(student.status).or_default() += 1;
            *counts.scenarios.entry(student.scenario).or_default() += 1;
            if let Some(change) = student.change {
                *counts.changes.entry(change).or_default() += 1;
            }
        }
        counts
    }
}
