//! What is not proved takes nobody out: what comes in empty where no complete run came before, an entity that does not tell its
//! own current year, a graduate whose row was lost, a second look that sees nothing.
#![allow(clippy::unwrap_used, clippy::panic)]

use rollcall_proto::{id::StudentId, message::Change, roster::Status};
use rollcall_store::board::Progress;
use serde_json::{Value, json};

use super::*;
use crate::{
    diff::NOT_CONFIRMED,
    testing::{self, ENTITY_YEAR, PHONE, Roster, SPELL, STUDENT, Sis, events},
};

fn codes(plan: &NewPlan) -> Vec<&str> {
    plan.findings.iter().map(|finding| finding.code.as_str()).collect()
}

fn candidates_of(plan: &NewPlan) -> Candidates {
    let Verdict::Recheck(bytes) = &plan.verdict else { panic!("no second look: {:?}", plan.verdict) };
    Candidates::decode(bytes).unwrap()
}

fn ids(candidates: &Candidates) -> Vec<&str> {
    candidates.students.iter().map(|(_, id)| id.0.as_str()).collect()
}

/// A night on which the phones could not be had.
fn torn(sis: &Sis) -> PlanFacts {
    let mut facts = sis.facts();
    let listings = &mut facts.pulls[0].board.as_mut().unwrap().listings;
    let phones = listings.iter_mut().find(|listing| listing.ask.resource == PHONE).unwrap();
    phones.progress = Progress::Failed("status 404".to_owned());
    facts
}

#[test]
fn a_listing_that_came_in_on_torn_nights_alone_is_not_believed_to_be_empty() {
    let sis = Sis::with_students(6);
    for emptied in [STUDENT, SPELL, ENTITY_YEAR, "District/SchoolYear", "District/Entity", testing::WITHDRAWAL_CODE] {
        let mut roster = Roster::default();
        let first = roster.plan(torn(&sis));
        assert_eq!((first.counts.added, codes(&first)), (6, vec!["listing-failed"]));
        roster.apply(&first);
        assert!(roster.baseline.as_ref().is_some_and(|last| !last.is_of_complete()));
        let mut empty = sis.clone();
        empty.rows.insert(emptied, Vec::new());
        // A second such night is no other.
        for _ in 0..2 {
            let plan = roster.plan(empty.facts());
            assert!(codes(&plan).contains(&"listing-empty"), "{emptied}: {:?}", plan.findings);
            assert!(!matches!(plan.verdict, Verdict::Recheck(_)), "{emptied}: {:?}", plan.verdict);
            assert_eq!(plan.counts.removed, 0, "{emptied}");
            roster.apply(&plan);
        }
        let whole = roster.plan(sis.facts());
        assert_eq!((codes(&whole), &whole.verdict), (Vec::new(), &Verdict::Nothing), "{emptied}: a whole night");
    }
}

#[test]
fn without_any_measure_who_is_stored_is_not_taken_out_by_an_empty_listing() {
    let sis = Sis::with_students(6);
    let mut roster = Roster::of(&sis);
    roster.baseline = None;
    let mut empty = sis.clone();
    empty.rows.insert(STUDENT, Vec::new());
    let plan = roster.plan(empty.facts());
    assert_eq!((codes(&plan), plan.counts.unchanged), (vec!["listing-empty"], 6), "{:?}", plan.verdict);
    // Those of another connection are no measure.
    roster.students.values_mut().for_each(|(stored, _)| stored.connection = 1);
    let plan = roster.plan(empty.facts());
    assert!(!codes(&plan).contains(&"listing-empty"), "{:?}", plan.findings);
}

#[test]
fn an_entity_that_is_not_listed_any_more_is_not_judged_by_the_year_of_others() {
    let mut sis = Sis::with_students(3);
    // This one has not moved on yet.
    sis.add("District/Entity", json!({"EntityID": 42, "Code": "042", "SchoolYearIDCurrent": 8}));
    (sis.row(SPELL, 2)["EntityID"], sis.row(SPELL, 2)["SchoolYearID"]) = (json!(42), json!(8));
    // Over, and of one that was never listed: whatever its year, it ended when it did.
    sis.row(SPELL, 3)["EntityID"] = json!(43);
    sis.row(ENTITY_YEAR, 3)["EntityID"] = json!(43);
    sis.withdraw(3, "2025-10-01", 92);
    let roster = Roster::of(&sis);
    let status = |id: &str| roster.students[&StudentId(id.to_owned())].0.status;
    assert_eq!([status("1"), status("2"), status("3")], [Status::Enrolled, Status::Enrolled, Status::Inactive]);
    sis.rows.get_mut("District/Entity").unwrap().retain(|row| row["EntityID"] != json!(42));
    let plan = roster.plan(sis.facts());
    let skipped: Vec<_> = plan.skips.iter().map(|skip| (skip.student_id.0.as_str(), skip.reason.as_str())).collect();
    assert_eq!((skipped, plan.verdict), (vec![("2", "school-year-unresolved")], Verdict::Nothing));
}

/// A graduate with an earlier enrollment that ended otherwise.
fn graduate() -> Sis {
    let mut sis = Sis::with_students(2);
    sis.enroll_last_year();
    sis.withdraw(1, "2025-10-01", 91);
    sis
}

/// The plan where a row is gone for good. Where it was only lost while the listing was paged, the second look shows it, and nothing
/// is done.
fn lost_and_gone(roster: &Roster, sis: &Sis, without: &Sis, candidates: Candidates) -> NewPlan {
    let mut lost = without.facts();
    sis.look_again(&mut lost, candidates.clone(), false);
    let plan = roster.plan(lost);
    assert_eq!((plan.verdict.clone(), plan.skips[0].reason.as_str()), (Verdict::Nothing, NOT_CONFIRMED));
    let mut gone = without.facts();
    without.look_again(&mut gone, candidates, false);
    roster.plan(gone)
}

#[test]
fn a_graduate_is_looked_at_twice_before_he_is_none_any_more() {
    let sis = graduate();
    let roster = Roster::of(&sis);
    assert_eq!(roster.students[&StudentId("1".to_owned())].0.status, Status::Graduated);
    let without = sis.without(SPELL, 1);
    let first = roster.plan(without.facts());
    let candidates = candidates_of(&first);
    assert_eq!((ids(&candidates), candidates.removed), (vec!["1"], 0), "and he is none of those removed");
    let plan = lost_and_gone(&roster, &sis, &without, candidates);
    let what: Vec<_> = events(&plan).into_iter().map(|event| (event.student_id.0, event.change, event.to)).collect();
    assert_eq!(what, [("1".to_owned(), Change::Changed, Status::Inactive)]);
    assert_eq!((plan.counts.removed, plan.counts.changed, codes(&plan)), (0, 1, Vec::new()));
}

/// Somebody who has left is no graduate because a later row was lost.
#[test]
fn who_has_left_is_looked_at_again_before_he_graduates() {
    let mut sis = Sis::with_students(2);
    sis.withdraw(1, "2025-09-01", 91);
    sis.add(
        SPELL,
        json!({"EntryWithdrawalID": 10, "StudentID": 1, "EntityID": 41, "SchoolYearID": 9, "SchoolID": 90,
            "StartDate": "2025-09-08", "EndDate": "2025-10-01", "WithdrawalCodeID": 92, "IsDefaultEntity": true}),
    );
    let roster = Roster::of(&sis);
    assert_eq!(roster.students[&StudentId("1".to_owned())].0.status, Status::Inactive);
    let without = sis.without(SPELL, 10);
    let candidates = candidates_of(&roster.plan(without.facts()));
    assert_eq!((ids(&candidates), candidates.removed), (vec!["1"], 0));
    let plan = lost_and_gone(&roster, &sis, &without, candidates);
    assert_eq!((events(&plan)[0].to, plan.counts.removed, plan.counts.changed), (Status::Graduated, 0, 1));
}

/// What a listing serves of the second look's questions, by id and row.
type Serve<'a> = &'a dyn Fn(&str, &Value) -> bool;

#[test]
fn a_second_look_that_does_not_see_those_who_are_there_confirms_nobody() {
    let mut sis = Sis::with_students(7);
    let roster = Roster::of(&sis);
    sis.forget(5);
    sis.withdraw(6, "2025-10-01", 92);
    let candidates = candidates_of(&roster.plan(sis.facts()));
    assert_eq!(ids(&candidates), ["5", "6"]);
    assert_eq!(candidates.controls.len(), 6, "two of each of three listings: {:?}", candidates.controls);
    assert!(candidates.controls.iter().all(|control| !["5", "6"].contains(&control.student.0.as_str())));
    // One of those who are asked for beside them may go in between, and 6 is there himself.
    let first_control = candidates.controls[0].student.0.clone();
    let is_of = |row: &Value, id: &str| row["StudentID"].as_i64() == id.parse().ok();
    let cases: [(&str, Serve<'_>, i64); 7] = [
        ("everything", &|_, _| true, 2),
        ("as much as those who would leave, then cut off", &|_, row| is_of(row, "5") || is_of(row, "6"), 0),
        ("without one of them", &|_, row| !is_of(row, &first_control), 2),
        ("nothing", &|_, _| false, 0),
        ("no students", &|resource, _| resource != STUDENT, 0),
        ("no enrollments", &|resource, _| resource != SPELL, 0),
        ("no years", &|resource, _| resource != ENTITY_YEAR, 0),
    ];
    for (what, serve, removed) in cases {
        let mut facts = sis.facts();
        sis.look_again_as(&mut facts, (candidates.clone(), false), serve);
        let plan = roster.plan(facts);
        assert_eq!(plan.counts.removed, removed, "{what}: {:?}", plan.findings);
        assert_eq!(codes(&plan).contains(&NOT_CONFIRMED), removed == 0, "{what}");
    }
}

/// Where whoever is left leaves, those who leave are all that there is to be seen.
#[test]
fn whoever_leaves_by_the_rules_is_seen_again_too() {
    let mut sis = Sis::with_students(3);
    let roster = Roster::of(&sis);
    sis.forget(1);
    (2..=3).for_each(|id| sis.withdraw(id, "2025-10-01", 92));
    let candidates = candidates_of(&roster.plan(sis.facts()));
    assert_eq!((ids(&candidates), candidates.controls.len()), (vec!["1", "2", "3"], 0));
    for (seen, removed) in [(true, 3), (false, 0)] {
        let mut facts = sis.facts();
        sis.look_again_as(&mut facts, (candidates.clone(), false), |_, _| seen);
        assert_eq!(roster.plan(facts).counts.removed, removed);
    }
}
