//! Where a student is who has enrollments at two campuses, told on incomplete evidence.

use rollcall_proto::{
    id::{ListingNo, PageNo},
    roster::Status,
};
use serde_json::json;

use super::{super::*, codes, night};
use crate::testing::{ENTITY_YEAR, Roster, SPELL, STUDENT, Sis, events};

/// Three students, of whom the first is at two campuses.
fn two_campuses() -> Sis {
    let mut sis = Sis::with_students(3);
    sis.enroll_elsewhere();
    sis
}

/// School, grade and homeroom as they are stored.
fn place(roster: &Roster, id: i64) -> [Option<String>; 3] {
    let record = roster.record(id);
    [record.school.clone(), record.grade.clone(), record.homeroom.clone()]
}

fn at(school: &str, grade: &str, homeroom: Option<&str>) -> [Option<String>; 3] {
    [Some(school.to_owned()), Some(grade.to_owned()), homeroom.map(str::to_owned)]
}

/// Takes the page of enrollments with this number away, as one that cannot be read.
fn lose_page(facts: &mut PlanFacts, number: u32) {
    let listings = &facts.pulls[0].board.as_ref().unwrap().listings;
    let listing = listings.iter().position(|listing| listing.ask.resource == SPELL).unwrap();
    let (listing, page) = (ListingNo(listing as u32), PageNo(number));
    let lost = facts.pages.iter_mut().find(|row| row.listing == listing && row.page == page).unwrap();
    (lost.error, lost.rows) = (Some("cut".to_owned()), 0);
    facts.pulls[0].fragments.retain(|of| of.listing != listing || of.page != page);
}

/// Without the flags the later enrollment would decide.
#[test]
fn a_default_entity_no_longer_granted_moves_nobody() {
    let mut sis = two_campuses();
    let mut roster = Roster::of(&sis);
    assert_eq!(place(&roster, 1), at("041", "05", Some("R5")));
    for row in sis.rows.get_mut(SPELL).unwrap() {
        row.as_object_mut().unwrap().remove("IsDefaultEntity");
    }
    let facts = |sis: &Sis| {
        let mut facts = sis.facts();
        let discovery = facts.pulls[0].pull.discovery.as_mut().unwrap();
        discovery.refused.insert(SPELL.to_owned(), vec!["IsDefaultEntity".to_owned()]);
        facts
    };
    for night in 0..2 {
        let plan = roster.plan(facts(&sis));
        assert_eq!((plan.counts.changed, plan.counts.unchanged), (0, 3), "night {night}");
        roster.apply(&plan);
    }
    // What is told beside it is taken over, and the place stays.
    sis.row(STUDENT, 1)["StudentNumber"] = json!("other");
    roster.apply(&roster.plan(facts(&sis)));
    assert_eq!((place(&roster, 1), roster.record(1).local_id.as_deref()), (at("041", "05", Some("R5")), Some("other")));
    // Who has left the campus at home is at the other one.
    sis.withdraw(1, "2025-10-01", 92);
    roster.apply(&roster.plan(facts(&sis)));
    assert_eq!(place(&roster, 1), at("042", "06", None));
    let flags: Vec<bool> = roster.record(1).enrollments.iter().map(|own| own.default_entity).collect();
    assert_eq!(flags, [true, false]);
}

/// The enrollment at home may be there all the same.
#[test]
fn a_page_that_cannot_be_read_moves_nobody_to_another_campus() {
    let mut sis = two_campuses();
    sis.page_size = 1;
    let mut roster = Roster::of(&sis);
    let mut facts = sis.facts();
    lose_page(&mut facts, 1);
    let plan = roster.plan(facts);
    assert_eq!((plan.counts.changed, plan.counts.unchanged), (0, 3));
    roster.apply(&plan);
    assert_eq!(place(&roster, 1), at("041", "05", Some("R5")));
    // Whose enrollment at home is shown and over has moved, whatever else cannot be read.
    sis.withdraw(1, "2025-10-01", 92);
    let mut facts = sis.facts();
    lose_page(&mut facts, 2);
    roster.apply(&roster.plan(facts));
    assert_eq!(place(&roster, 1)[..2], at("042", "06", None)[..2]);
}

/// As is one that had ended before the other began; not one that ended on that day.
#[test]
fn an_enrollment_that_was_over_when_the_next_began_keeps_nobody() {
    for (over, stays_at) in [("2025-11-20", "042"), ("2025-11-21", "041")] {
        let mut sis = two_campuses();
        sis.page_size = 1;
        sis.withdraw(1, over, 92);
        sis.row(SPELL, 50)["StartDate"] = json!("2025-11-21");
        let mut roster = Roster::of(&sis);
        assert_eq!(place(&roster, 1)[0].as_deref(), Some("041"));
        let mut facts = sis.facts();
        facts.run.as_of = chrono::NaiveDate::from_ymd_opt(2025, 11, 24).unwrap();
        lose_page(&mut facts, 1);
        roster.apply(&roster.plan(facts));
        assert_eq!(place(&roster, 1)[0].as_deref(), Some(stays_at), "over on {over}");
    }
}

/// A row that moved while the table was listed, with totals and pages in order: the row of the year and entity is still there.
#[test]
fn an_enrollment_whose_year_is_listed_is_no_end_of_it() {
    let sis = two_campuses();
    let mut roster = Roster::of(&sis);
    let before = roster.clone();
    let plan = roster.plan(sis.without(SPELL, 1).facts());
    assert_eq!((plan.counts.changed, plan.counts.unchanged, codes(&plan)), (0, 3, vec!["row-missing"]));
    let said = &plan.findings[0].message;
    assert!(said.starts_with("Enrollment/EntryWithdrawal: ") && said.contains("StudentID 1)"), "{said}");
    roster.apply(&plan);
    assert_eq!(roster.record(1), before.record(1));
    // On the next night that is believed.
    let plan = roster.plan(sis.without(SPELL, 1).facts());
    assert_eq!((plan.counts.changed, codes(&plan)), (1, vec!["key-dangling"]));
    roster.apply(&plan);
    assert_eq!(place(&roster, 1), at("042", "06", None));
    // So is the one at the other campus.
    let plan = before.plan(sis.without(SPELL, 50).facts());
    assert_eq!((plan.counts.changed, codes(&plan)), (0, vec!["row-missing"]));
    // With its year it is gone.
    let plan = before.plan(sis.without(SPELL, 50).without(ENTITY_YEAR, 50).facts());
    assert_eq!((plan.counts.changed, codes(&plan), events(&plan)[0].to), (1, vec![], Status::Enrolled));
    // Who leaves is looked at again, as ever: the second look shows the row.
    let plan = night(&before, &sis.without(SPELL, 2));
    assert_eq!((plan.counts.removed, plan.counts.changed), (1, 0));
}
