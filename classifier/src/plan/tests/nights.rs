//! Nights in which students come, change, or stay as they are.

use rollcall_proto::{message::Change, roster::Status};
use serde_json::json;

use super::{
    super::*,
    night,
    properties::{Edit, apply},
};
use crate::testing::{NAME, PHONE, Roster, Sis, events};

#[test]
fn a_first_night_adds_everybody_and_the_next_changes_nobody() {
    let sis = Sis::with_students(20);
    let mut roster = Roster::default();
    let first = roster.plan(sis.facts());
    assert_eq!((first.counts.added, first.counts.listed, first.verdict.clone()), (20, 20, Verdict::Release));
    roster.apply(&first);
    let again = roster.plan(sis.facts());
    assert_eq!((again.counts.unchanged, again.verdict), (20, Verdict::Nothing));
    let record = roster.record(7);
    assert_eq!(record.person.first_name.as_deref(), Some("Ana7"));
    assert_eq!((record.grade.as_deref(), record.school.as_deref()), (Some("05"), Some("041")));
    assert_eq!((record.homeroom.as_deref(), record.graduation_year), (Some("R5"), Some(2033)));
    let guardian = &record.contacts[0];
    assert_eq!(guardian.relationship.as_deref(), Some("Mother"));
    assert_eq!(guardian.person.phones[0].kind.as_deref(), Some("Cell"));
    assert_eq!(record.enrollments[0].school_year, Some(2026));
    assert_eq!(record.enrollments[0].entry_code.as_deref(), Some("E"));
}

#[test]
fn a_change_is_an_update_and_needs_no_second_look() {
    let mut sis = Sis::with_students(5);
    let roster = Roster::of(&sis);
    sis.row(NAME, 6)["LastName"] = json!("Lopez");
    sis.row(PHONE, 4)["PhoneNumber"] = json!("000");
    let plan = roster.plan(sis.facts());
    let changed: Vec<_> = events(&plan).into_iter().map(|event| (event.student_id.0, event.change)).collect();
    assert_eq!(changed, [("3".to_owned(), Change::Changed), ("4".to_owned(), Change::Changed)]);
    assert_eq!(plan.verdict, Verdict::Release);
}

/// However many come, change and go: what is done and undone in one night is no empty plan.
#[test]
fn a_plan_is_empty_where_nobody_comes_changes_or_goes() {
    let roster = Roster::of(&Sis::with_students(5));
    for edits in [
        vec![Edit::Enroll(20), Edit::Rename(1)],
        vec![Edit::Rename(1), Edit::Forget(2)],
        vec![Edit::Enroll(20), Edit::Forget(2)],
        vec![Edit::Enroll(20), Edit::Rename(1), Edit::Forget(2), Edit::Forget(3)],
    ] {
        let mut sis = Sis::with_students(5);
        for edit in &edits {
            apply(&mut sis, edit);
        }
        assert_eq!(night(&roster, &sis).verdict, Verdict::Release, "{edits:?}");
    }
    assert_eq!(night(&roster, &Sis::with_students(5)).verdict, Verdict::Nothing);
}

#[test]
fn who_left_within_the_year_is_added_by_a_complete_pull() {
    let mut sis = Sis::with_students(3);
    sis.withdraw(2, "2025-10-01", 91);
    sis.withdraw(3, "2025-10-01", 92);
    let plan = Roster::default().plan(sis.facts());
    let what: Vec<_> = events(&plan).into_iter().map(|event| (event.change, event.to)).collect();
    let added = [Status::Enrolled, Status::Graduated, Status::Inactive].map(|status| (Change::Added, status));
    assert_eq!((what, plan.skips.len()), (added.to_vec(), 0));
}
