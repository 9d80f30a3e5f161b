//! What an event means for the rows of its student: pure, from the event and what is stored.
//!
//! Invariants: an older run changes nothing; what the source no longer lists is marked, never dropped; only rows that
//! differ are written.

use chrono::NaiveDate;
use rollcall_proto::{
    id::{RunId, StudentId},
    message::StudentEvent,
    roster::{Contact, Enrollment, Student},
};

use crate::roster::stored::{State, Stored};

/// The run that events are applied for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RunFacts {
    /// The run.
    pub(crate) run: RunId,
    /// Its number.
    pub(crate) run_seq: i64,
    /// Its date.
    pub(crate) as_of: NaiveDate,
}

/// Rows to write.
#[derive(Debug, Default)]
pub(crate) struct Writes<'a> {
    pub(crate) students: Vec<StudentWrite<'a>>,
    pub(crate) contacts: Vec<ContactWrite<'a>>,
    pub(crate) enrollments: Vec<EnrollmentWrite<'a>>,
    pub(crate) history: Vec<HistoryWrite<'a>>,
}

/// A row of `student`.
#[derive(Debug)]
pub(crate) struct StudentWrite<'a> {
    pub(crate) record: &'a Student,
    pub(crate) state: State,
}

/// A row of `contact`.
#[derive(Debug)]
pub(crate) struct ContactWrite<'a> {
    pub(crate) student: &'a StudentId,
    pub(crate) contact: &'a Contact,
    pub(crate) position: usize,
    /// The source does not list the link any more.
    pub(crate) ended: bool,
}

/// A row of `enrollment`.
#[derive(Debug)]
pub(crate) struct EnrollmentWrite<'a> {
    pub(crate) student: &'a StudentId,
    pub(crate) enrollment: &'a Enrollment,
    pub(crate) position: usize,
    /// The day since when the source does not show it. `None`: it does.
    pub(crate) unlisted_since: Option<NaiveDate>,
}

/// A row of `history`.
#[derive(Debug)]
pub(crate) struct HistoryWrite<'a> {
    pub(crate) event: &'a StudentEvent,
    pub(crate) parts: Vec<&'static str>,
}

/// What becomes of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Its rows are among the writes.
    Applied,
    /// A newer run has written the student.
    Superseded,
    /// It carries no record, and none is stored.
    NotStored,
}

impl<'a> Writes<'a> {
    /// Adds what `event` asks for.
    pub(crate) fn take(&mut self, event: &'a StudentEvent, stored: Option<&'a Stored>, run: &RunFacts) -> Decision {
        if stored.is_some_and(|stored| stored.state.run_seq > run.run_seq) {
            return Decision::Superseded;
        }
        let old = stored.map(|stored| &stored.record);
        let Some(record) = event.record.as_deref().or(old) else {
            return Decision::NotStored;
        };
        let state = state_after(event, stored.map(|stored| &stored.state), run);
        self.history.push(HistoryWrite { event, parts: parts(event, stored, record) });
        self.students.push(StudentWrite { record, state });
        if event.record.is_some() {
            self.take_contacts(record, old);
            let since = stored.and_then(|stored| stored.state.missing_since).unwrap_or(run.as_of);
            self.take_enrollments(record, old, since);
        }
        Decision::Applied
    }

    fn take_contacts(&mut self, new: &'a Student, old: Option<&'a Student>) {
        let old = old.map_or(&[][..], |old| &old.contacts);
        let write = |position, contact, ended| ContactWrite { student: &new.id, contact, position, ended };
        let listed = new.contacts.iter().enumerate().filter(|(position, contact)| old.get(*position) != Some(contact));
        self.contacts.extend(listed.map(|(position, contact)| write(position, contact, false)));
        let same_link = |a: &Contact, b: &Contact| a.kind == b.kind && a.id == b.id;
        let gone = old.iter().enumerate().filter(|(_, was)| !new.contacts.iter().any(|is| same_link(is, was)));
        self.contacts.extend(gone.map(|(position, contact)| write(position, contact, true)));
    }

    /// `since`: when those ended that the source does not show any more. Of a student who comes back, that is when he was missed.
    fn take_enrollments(&mut self, new: &'a Student, old: Option<&'a Student>, since: NaiveDate) {
        let old = old.map_or(&[][..], |old| &old.enrollments);
        let write = |position, enrollment, unlisted_since| EnrollmentWrite {
            student: &new.id,
            enrollment,
            position,
            unlisted_since,
        };
        let differing = new.enrollments.iter().enumerate().filter(|(position, is)| old.get(*position) != Some(is));
        self.enrollments.extend(differing.map(|(position, is)| write(position, is, None)));
        let gone = old.iter().enumerate().filter(|(_, was)| !new.enrollments.iter().any(|is| is.id == was.id));
        self.enrollments.extend(gone.map(|(position, was)| write(position, was, Some(since))));
    }
}

fn state_after(event: &StudentEvent, before: Option<&State>, run: &RunFacts) -> State {
    let kept = before.filter(|before| before.status == event.to);
    let missing_before = before.and_then(|before| before.missing_since);
    State {
        status: event.to,
        status_since: kept.map_or(run.as_of, |kept| kept.status_since),
        status_run: kept.map_or(run.run, |kept| kept.status_run),
        run_seq: run.run_seq,
        run: run.run,
        fingerprint: event.fingerprint,
        rule: event.rule,
        evidence: event.enrollments.clone(),
        missing_since: if event.record.is_some() { None } else { missing_before.or(Some(run.as_of)) },
    }
}

/// Which parts of the student differ from what is stored. An added student has none: all is new.
fn parts(event: &StudentEvent, stored: Option<&Stored>, new: &Student) -> Vec<&'static str> {
    let Some(Stored { record: old, state }) = stored else {
        return Vec::new();
    };
    let name = |student: &Student| {
        let person = &student.person;
        [&person.first_name, &person.middle_name, &person.last_name].map(Clone::clone)
    };
    [
        ("status", state.status != event.to),
        ("missing", state.missing_since.is_some() == event.record.is_some()),
        ("connection", old.connection != new.connection),
        ("student_id", event.rekeyed_from.is_some()),
        ("sis_id", old.sis_id != new.sis_id),
        ("local_id", old.local_id != new.local_id),
        ("state_id", old.state_id != new.state_id),
        ("person", old.person.name_id != new.person.name_id),
        ("name", name(old) != name(new)),
        ("birth_date", old.birth_date != new.birth_date),
        ("gender", old.gender != new.gender),
        ("grade", old.grade != new.grade),
        ("school", old.school != new.school),
        ("graduation_year", old.graduation_year != new.graduation_year),
        ("homeroom", old.homeroom != new.homeroom),
        ("phones", old.person.phones != new.person.phones),
        ("emails", old.person.emails != new.person.emails),
        ("addresses", old.person.addresses != new.person.addresses),
        ("contacts", old.contacts != new.contacts),
        ("enrollments", old.enrollments != new.enrollments),
    ]
    .into_iter()
    .filter_map(|(part, differs)| differs.then_some(part))
    .collect()
}

#[cfg(test)]
mod tests {
    use rollcall_proto::{
        message::{Change, Fingerprint},
        roster::{ContactKind, Person, Rule, Status},
    };
    use uuid::Uuid;

    use super::*;

    fn facts(run_seq: i64) -> RunFacts {
        RunFacts { run: RunId(Uuid::from_u128(run_seq as u128)), run_seq, as_of: day(run_seq) }
    }

    fn day(number: i64) -> NaiveDate {
        NaiveDate::from_yo_opt(2026, 1 + number as u32).unwrap()
    }

    fn contact(id: &str) -> Contact {
        Contact {
            id: id.to_owned(),
            kind: ContactKind::Guardian,
            rank: None,
            relationship: None,
            custodial: None,
            may_pick_up: None,
            person: Person::default(),
        }
    }

    fn record() -> Student {
        Student {
            id: StudentId("1".to_owned()),
            connection: 0,
            sis_id: None,
            local_id: None,
            state_id: None,
            person: Person::default(),
            birth_date: None,
            gender: None,
            grade: None,
            school: None,
            graduation_year: None,
            homeroom: None,
            contacts: vec![contact("a"), contact("b")],
            enrollments: vec![Enrollment { id: "e".to_owned(), ..Enrollment::default() }],
        }
    }

    fn event(to: Status, record: Option<Student>) -> StudentEvent {
        StudentEvent {
            student_id: StudentId("1".to_owned()),
            change: Change::Changed,
            from: None,
            to,
            rule: Rule::Current,
            enrollments: Vec::new(),
            fingerprint: Fingerprint::default(),
            record: record.map(Box::new),
            rekeyed_from: None,
        }
    }

    /// As run 1 left the student: enrolled.
    fn stored() -> Stored {
        let event = event(Status::Enrolled, Some(record()));
        Stored { record: record(), state: state_after(&event, None, &facts(1)) }
    }

    fn links(writes: &Writes<'_>) -> Vec<(String, usize, bool)> {
        writes.contacts.iter().map(|write| (write.contact.id.clone(), write.position, write.ended)).collect()
    }

    #[test]
    fn an_older_run_writes_nothing() {
        let (event, newer) = (event(Status::Inactive, Some(record())), stored());
        let mut writes = Writes::default();
        assert_eq!(writes.take(&event, Some(&newer), &facts(0)), Decision::Superseded);
        assert!(writes.students.is_empty() && writes.contacts.is_empty() && writes.history.is_empty());
    }

    #[test]
    fn the_same_run_may_write_again() {
        let (event, stored) = (event(Status::Inactive, Some(record())), stored());
        assert_eq!(Writes::default().take(&event, Some(&stored), &facts(1)), Decision::Applied);
    }

    #[test]
    fn rows_that_are_stored_alike_are_not_written() {
        let (event, stored) = (event(Status::Enrolled, Some(record())), stored());
        let mut writes = Writes::default();
        assert_eq!(writes.take(&event, Some(&stored), &facts(2)), Decision::Applied);
        assert_eq!((writes.students.len(), writes.contacts.len(), writes.enrollments.len()), (1, 0, 0));
        assert!(writes.history[0].parts.is_empty());
    }

    #[test]
    fn a_link_that_is_gone_ends_and_the_rest_moves_up() {
        let mut new = record();
        new.contacts.remove(0);
        let (event, stored) = (event(Status::Enrolled, Some(new)), stored());
        let mut writes = Writes::default();
        writes.take(&event, Some(&stored), &facts(2));
        assert_eq!(links(&writes), [("b".to_owned(), 0, false), ("a".to_owned(), 0, true)]);
        assert_eq!(writes.history[0].parts, ["contacts"]);
    }

    #[test]
    fn the_same_id_of_another_kind_is_another_link() {
        let mut new = record();
        new.contacts[0].kind = ContactKind::Emergency;
        let (event, stored) = (event(Status::Enrolled, Some(new)), stored());
        let mut writes = Writes::default();
        writes.take(&event, Some(&stored), &facts(2));
        assert_eq!(links(&writes), [("a".to_owned(), 0, false), ("a".to_owned(), 0, true)]);
    }

    #[test]
    fn a_status_keeps_its_date_until_it_changes() {
        let before = stored().state;
        let same = state_after(&event(Status::Enrolled, Some(record())), Some(&before), &facts(5));
        assert_eq!((same.status_since, same.status_run, same.run_seq), (day(1), facts(1).run, 5));
        let other = state_after(&event(Status::Graduated, Some(record())), Some(&before), &facts(5));
        assert_eq!((other.status_since, other.status_run), (day(5), facts(5).run));
    }

    #[test]
    fn a_missing_student_is_missing_since_the_first_day() {
        let first = state_after(&event(Status::Inactive, None), Some(&stored().state), &facts(5));
        assert_eq!(first.missing_since, Some(day(5)));
        let second = state_after(&event(Status::Inactive, None), Some(&first), &facts(6));
        assert_eq!(second.missing_since, Some(day(5)));
        let back = state_after(&event(Status::Enrolled, Some(record())), Some(&second), &facts(7));
        assert_eq!(back.missing_since, None);
    }

    #[test]
    fn without_a_record_only_the_status_is_written() {
        let (event, stored) = (event(Status::Inactive, None), stored());
        let mut writes = Writes::default();
        assert_eq!(writes.take(&event, Some(&stored), &facts(2)), Decision::Applied);
        assert_eq!((writes.students.len(), writes.contacts.len(), writes.enrollments.len()), (1, 0, 0));
        assert_eq!(writes.history[0].parts, ["status", "missing"]);
        assert_eq!(Writes::default().take(&event, None, &facts(2)), Decision::NotStored);
    }
}
