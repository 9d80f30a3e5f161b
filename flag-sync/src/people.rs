//! Students as Campus knows them: who of the roster it is, and whose flags can be sent.
//!
//! Role: an id to send a flag with, or why there is none; students by Campus's ids; and those who are to have a flag and cannot be named
//! to Campus. Neighbours: [`crate::desired`] decides by it, [`crate::cutover`] and [`crate::takeover`] leave their old flags.
//!
//! Invariants: a student of any connection to the Campus that flags go to is known there by the SIS's own id, without the connection's
//! prefix; an id of OneRoster 1.1 says nothing to it (wire/oneroster-campus.md 2.3), and neither does another SIS's.

use std::collections::{BTreeMap, BTreeSet};

use rollcall_http::urls::{is_same_campus, profile, version};
use rollcall_proto::id::{ConnectionNo, StudentId};
use rollcall_store::{
    district::{Connection, OneRosterProfile, OneRosterVersion},
    flag::FlagStudent,
};

use crate::{context::Work, desired::StudentFacts, error::FlagError};

/// The SIS told no id.
const NO_ID: &str = "no-sis-id";

/// The student comes in over a connection that leads to no Campus, or to another one; another application counts as one.
const OF_ANOTHER_SIS: &str = "no-sis-id the student comes from another SIS than flags go to, or over another application of it; use one for all schools";

/// The roster has not moved to OneRoster 1.2, or this connection has not.
const OF_1_1: &str = "no-sis-id the student's id is of OneRoster 1.1, by which Campus knows no flags";

/// Students of whom one is to have a flag, and who cannot be named to Campus.
#[derive(Debug, Default)]
pub(crate) struct Nameless {
    /// Who.
    pub(crate) students: BTreeSet<StudentId>,
    /// Of these, those whose ids Campus may know all the same, by these, in lower case.
    pub(crate) by_sis_id: BTreeMap<String, StudentId>,
}

impl Work {
    /// The id that a student's flags are sent with, or why there is none.
    pub(crate) fn sis_id(&self, student: &FlagStudent) -> Result<String, &'static str> {
        let connection = self.to_campus(student.connection).ok_or(OF_ANOTHER_SIS)?;
        let id = student.sis_id.as_ref().ok_or(NO_ID)?;
        if is_of_1_1(connection, id) { Err(OF_1_1) } else { Ok(id.clone()) }
    }

    /// The student is known by an id of OneRoster 1.1 although the connection is of 1.2: the roster is still to move.
    pub(crate) fn is_to_move(&self, student: &FlagStudent) -> bool {
        let connection = self.to_campus(student.connection).filter(|one| version(one) == OneRosterVersion::V1p2);
        connection.zip(student.sis_id.as_ref()).is_some_and(|(connection, id)| is_of_1_1(connection, id))
    }

    /// A connection to the Campus that flags go to.
    fn to_campus(&self, number: u16) -> Option<&Connection> {
        let (_, of_flags) = self.district.flag_connection()?;
        self.district.connection(ConnectionNo(number)).filter(|one| is_same_campus(one, of_flags))
    }

    pub(crate) async fn students(
        &self,
        student: Option<&StudentId>,
    ) -> Result<BTreeMap<StudentId, StudentFacts>, FlagError> {
        Ok(self.facts_of(&self.store().flag_students(self.id(), student).await?))
    }

    pub(crate) fn facts_of(&self, students: &[FlagStudent]) -> BTreeMap<StudentId, StudentFacts> {
        let facts = students.iter().map(|one| {
            let facts = StudentFacts { attending: one.status.is_attending(), sis_id: self.sis_id(one) };
            (one.student.clone(), facts)
        });
        facts.collect()
    }

    /// Students of Campus's connections by the SIS's ids, in lower case; of two who have one, that of the flags' own connection.
    pub(crate) async fn roster(&self) -> Result<BTreeMap<String, StudentId>, FlagError> {
        let mut roster = BTreeMap::new();
        let own = self.district.flag_connection().map(|(number, _)| number.0);
        let numbers = 0..u16::try_from(self.district.connections.len()).unwrap_or(u16::MAX);
        let others = numbers.filter(|number| Some(*number) != own && self.to_campus(*number).is_some());
        for number in own.into_iter().chain(others) {
            for (id, student) in self.store().students_by_sis_id(self.id(), number).await? {
                roster.entry(id).or_insert(student);
            }
        }
        Ok(roster)
    }

    /// The SIS's ids of students in Campus, in lower case, as far as Campus may know them by these. `roster`: students of Campus's
    /// connections.
    pub(crate) fn ids_in_campus(
        &self,
        students: &BTreeSet<StudentId>,
        all: &[FlagStudent],
        roster: &BTreeMap<String, StudentId>,
    ) -> BTreeMap<String, StudentId> {
        let meant = all.iter().filter(|one| students.contains(&one.student));
        let known = meant.filter_map(|one| {
            let id = one.sis_id.as_ref()?.to_ascii_lowercase();
            // Another SIS's id that somebody else has in Campus is of that one there.
            let is_own = self.to_campus(one.connection).is_some() || !roster.contains_key(&id);
            is_own.then(|| (id, one.student.clone()))
        });
        known.collect()
    }
}

/// A letter and a number are an id of 1.1 in Campus; those of 1.2 are GUIDs.
fn is_of_1_1(connection: &Connection, id: &str) -> bool {
    if version(connection) == OneRosterVersion::V1p1 {
        return true;
    }
    let number = id.strip_prefix(['s', 'S']).unwrap_or_default();
    profile(connection) == OneRosterProfile::Campus
        && !number.is_empty()
        && number.bytes().all(|letter| letter.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_and_a_number_are_of_1_1() {
        let connection = |extra: serde_json::Value| -> Connection {
            let mut json =
                serde_json::json!({"kind": "oneroster", "base_url": "https://d.example/campus", "client_id": "c"});
            json.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            serde_json::from_value(json).unwrap()
        };
        let (new, plain) = (connection(serde_json::json!({})), connection(serde_json::json!({"profile": "plain"})));
        let table = [
            ("s123456", true),
            ("S1", true),
            ("s", false),
            ("123456", false),
            ("t12", false),
            ("s12-3", false),
            ("0f6b2b06-5c1e-4f0a-9a51-0d5a6c2f1b3e", false),
        ];
        for (id, is_old) in table {
            assert_eq!((is_of_1_1(&new, id), is_of_1_1(&plain, id)), (is_old, false), "{id}");
        }
        let old = connection(serde_json::json!({"version": "1.1"}));
        assert!(is_of_1_1(&old, "0f6b2b06-5c1e-4f0a-9a51-0d5a6c2f1b3e"));
    }
}
