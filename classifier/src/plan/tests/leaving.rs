//! Who is taken out, who is looked at again, and what keeps everybody.

use rollcall_proto::{
    message::Change,
    roster::{Rule, Status},
};
use rollcall_store::{board::Progress, district::StaffScope, run::FindingWeight};
use serde_json::json;

use super::{super::*, candidates_of, codes, identity, ids, night};
use crate::{
    diff::NOT_CONFIRMED,
    testing::{GUARDIAN, NAME, PHONE, Roster, SPELL, STUDENT, Sis, WITHDRAWAL_CODE, events},
};

#[test]
fn whoever_leaves_or_is_gone_is_looked_at_twice() {
    let mut sis = Sis::with_students(6);
    let roster = Roster::of(&sis);
    sis.withdraw(2, "2025-10-01", 92);
    sis.withdraw(3, "2025-10-01", 91);
    sis.forget(5);
    let first = roster.plan(sis.facts());
    assert!(matches!(first.verdict, Verdict::Recheck(_)) && first.batches.is_empty());
    assert_eq!(ids(&first), ["2", "3", "5"]);
    let second = night(&roster, &sis);
    assert_eq!(second.verdict, Verdict::Release);
    let what: Vec<_> = events(&second).into_iter().map(|e| (e.student_id.0, e.change, e.to, e.rule)).collect();
    assert_eq!(
        what,
        [
            ("2".to_owned(), Change::Removed, Status::Inactive, Rule::PastOnly),
            ("3".to_owned(), Change::Changed, Status::Graduated, Rule::GraduationCode),
            ("5".to_owned(), Change::Removed, Status::Inactive, Rule::MissingFromSource),
        ]
    );
    assert_eq!((second.counts.removed, second.counts.changed, second.counts.missing), (2, 1, 1));
}

#[test]
fn what_the_second_look_does_not_confirm_stays() {
    let whole = Sis::with_students(6);
    let roster = Roster::of(&whole);
    let mut torn = whole.clone();
    // Paging over a live SIS dropped a student, and another one's enrollment.
    torn.rows.get_mut(STUDENT).unwrap().retain(|row| row["StudentID"] != json!(4));
    torn.rows.get_mut(SPELL).unwrap().retain(|row| row["StudentID"] != json!(2));
    let first = roster.plan(torn.facts());
    assert_eq!(ids(&first), ["2", "4"]);
    let mut facts = torn.facts();
    whole.look_again(&mut facts, candidates_of(&first), false);
    let second = roster.plan(facts);
    assert!(events(&second).is_empty(), "nobody is taken out");
    assert_eq!((second.counts.skipped, second.counts.removed), (2, 0));
    assert!(codes(&second).contains(&NOT_CONFIRMED));
    assert!(identity(&second.counts));
}

#[test]
fn a_second_look_that_is_not_whole_confirms_nobody() {
    let mut sis = Sis::with_students(3);
    let roster = Roster::of(&sis);
    sis.withdraw(2, "2025-10-01", 92);
    let first = roster.plan(sis.facts());
    let mut facts = sis.facts();
    sis.look_again(&mut facts, candidates_of(&first), false);
    let board = facts.pulls[0].board.as_mut().unwrap();
    let last = board.listings.len() - 1;
    board.listings[last].progress = Progress::Failed("status 503".to_owned());
    let second = roster.plan(facts);
    assert_eq!((second.counts.removed, second.counts.skipped), (0, 1));
}

#[test]
fn a_listing_that_lost_a_page_takes_nobody_out() {
    let mut sis = Sis::with_students(9);
    let roster = Roster::of(&sis);
    sis.enroll(10);
    sis.enroll(11);
    sis.withdraw(11, "2025-10-01", 92);
    sis.withdraw(3, "2025-10-01", 92);
    sis.row(NAME, 8)["LastName"] = json!("Lopez");
    for resource in [STUDENT, SPELL] {
        let mut facts = sis.facts();
        let number = facts.pulls[0].board.as_ref().unwrap().listings.iter().position(|l| l.ask.resource == resource);
        let lost = (number.unwrap() as u32, 3);
        facts.pages.retain(|page| (page.listing.0, page.page.0) != lost);
        facts.pulls[0].fragments.retain(|page| (page.listing.0, page.page.0) != lost);
        let plan = roster.plan(facts);
        assert_eq!(plan.counts.removed, 0, "{resource}");
        assert!(identity(&plan.counts), "{resource}");
        assert!(plan.findings.iter().any(|finding| finding.weight == FindingWeight::Partial));
        let counted = |last: &Baseline| last.rows[resource];
        let before = roster.baseline.as_ref().map(counted).unwrap();
        assert!(counted(&plan.baselines[0].1) >= before, "a torn listing is no measure for the next");
        let what: Vec<_> = events(&plan).into_iter().map(|e| (e.student_id.0, e.to)).collect();
        assert!(what.contains(&("4".to_owned(), Status::Enrolled)), "updates go on: {what:?}");
        assert!(what.contains(&("10".to_owned(), Status::Enrolled)), "and so do adds: {what:?}");
        assert!(what.iter().all(|(_, to)| *to == Status::Enrolled));
    }
}

#[test]
fn an_empty_listing_where_there_was_one_takes_nobody_out() {
    let mut sis = Sis::with_students(4);
    let roster = Roster::of(&sis);
    for resource in [STUDENT, SPELL, WITHDRAWAL_CODE] {
        let rows = sis.rows.insert(resource, Vec::new()).unwrap();
        let plan = roster.plan(sis.facts());
        assert_eq!((plan.counts.removed, plan.counts.changed), (0, 0), "{resource}");
        assert!(plan.findings.iter().any(|finding| finding.weight == FindingWeight::Partial), "{resource}");
        sis.rows.insert(resource, rows);
    }
}

/// A listing that another one does not need may fail for ever: staff who are listed no more have left all the same.
#[test]
fn staff_leave_where_their_own_listings_are_whole() {
    const STAFF: &str = "Staff/Staff";
    const STAFF_YEAR: &str = "Staff/StaffEntityYear";
    let mut sis = Sis::with_students(4);
    sis.add(STAFF, json!({"StaffID": 1, "NameID": 2, "StaffNumber": "T1"}));
    sis.add(
        STAFF_YEAR,
        json!({"StaffEntityYearID": 1, "StaffID": 1, "EntityID": 41, "SchoolYearID": 9, "IsActive": true}),
    );
    let roster = Roster::of(&sis);
    sis.withdraw(2, "2025-10-01", 92);
    let failing = |resource: &str| {
        let mut facts = sis.facts();
        facts.district.connections[0].staff = StaffScope::Active;
        let listings = &mut facts.pulls[0].board.as_mut().unwrap().listings;
        let listing = listings.iter_mut().find(|listing| listing.ask.resource == resource);
        if let Some(listing) = listing {
            listing.progress = Progress::Failed("status 503".to_owned());
        }
        roster.plan(facts)
    };
    for (resource, tells) in [
        ("none", true),
        (PHONE, true),
        (GUARDIAN, true),
        ("Demographics/Relationship", true),
        (STAFF, false),
        (STAFF_YEAR, false),
        (SPELL, false),
        ("District/Entity", false),
    ] {
        let plan = failing(resource);
        assert_eq!((plan.staff_whole, plan.staff_whole_of.len()), (tells, usize::from(tells)), "{resource}");
        let all_in = resource == "none";
        assert_eq!((plan.counts.removed, plan.findings.is_empty()), (i64::from(all_in), all_in), "{resource}");
    }
}
