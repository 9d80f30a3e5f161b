#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;
use rollcall_proto::{
    id::StudentId,
    message::Change,
    roster::{Rule, Status},
};
use rollcall_store::{
    board::Progress,
    run::{Counts, FindingWeight},
};
use serde_json::json;

use super::{plan as plan_of, *};
use crate::{
    diff::NOT_CONFIRMED,
    status::NO_ENROLLMENT_IN_WINDOW,
    testing::{ENTITY_YEAR, NAME, PHONE, Roster, SPELL, STUDENT, Sis, WITHDRAWAL_CODE, events},
};

fn identity(counts: &Counts) -> bool {
    counts.listed + counts.missing == counts.added + counts.changed + counts.removed + counts.unchanged + counts.skipped
}

fn candidates_of(plan: &NewPlan) -> Candidates {
    let bytes = match (&plan.verdict, &plan.recheck_on_approval) {
        (Verdict::Recheck(bytes), _) | (_, Some(bytes)) => bytes,
        other => panic!("no candidates: {other:?}"),
    };
    Candidates::decode(bytes).unwrap()
}

/// Plans, looks again if the plan wants that, and plans again, all over one SIS.
fn night(roster: &Roster, sis: &Sis) -> NewPlan {
    let plan = roster.plan(sis.facts());
    let Verdict::Recheck(_) = plan.verdict else { return plan };
    let mut facts = sis.facts();
    sis.look_again(&mut facts, candidates_of(&plan), false);
    roster.plan(facts)
}

fn ids(plan: &NewPlan) -> Vec<String> {
    candidates_of(plan).students.into_iter().map(|(_, id)| id.0).collect()
}

fn codes(plan: &NewPlan) -> Vec<&str> {
    plan.findings.iter().map(|finding| finding.code.as_str()).collect()
}

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
fn what_is_odd_about_a_student_is_said_of_the_unchanged_too() {
    let mut sis = Sis::with_students(2);
    sis.row(SPELL, 1)["EndDate"] = json!("2026-05-20");
    sis.row(SPELL, 1)["WithdrawalDate"] = json!("2026-05-21");
    let roster = Roster::of(&sis);
    for (changed, unchanged) in [(0, 2), (1, 1)] {
        let plan = roster.plan(sis.facts());
        assert_eq!((plan.counts.changed, plan.counts.unchanged), (changed, unchanged));
        let said: Vec<_> = plan.findings.iter().map(|finding| (finding.code.as_str(), finding.count)).collect();
        assert_eq!(said, [("withdrawal-dates-differ", 1)]);
        sis.row(NAME, 2)["LastName"] = json!("Lopez");
    }
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
fn who_left_within_the_year_is_added_by_a_complete_pull() {
    let mut sis = Sis::with_students(3);
    sis.withdraw(2, "2025-10-01", 91);
    sis.withdraw(3, "2025-10-01", 92);
    let plan = Roster::default().plan(sis.facts());
    let what: Vec<_> = events(&plan).into_iter().map(|event| (event.change, event.to)).collect();
    let added = [Status::Enrolled, Status::Graduated, Status::Inactive].map(|status| (Change::Added, status));
    assert_eq!((what, plan.skips.len()), (added.to_vec(), 0));
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

#[test]
fn an_empty_supporting_listing_keeps_what_is_stored() {
    let mut sis = Sis::with_students(4);
    let roster = Roster::of(&sis);
    sis.rows.insert(PHONE, Vec::new());
    sis.withdraw(2, "2025-10-01", 92);
    let plan = night(&roster, &sis);
    let what = events(&plan);
    assert_eq!(what.len(), 1, "only the one who left: {:?}", plan.counts);
    assert_eq!(plan.counts.unchanged, 3);
    let record = what[0].record.as_ref().unwrap();
    assert_eq!(record.contacts[0].person.phones, roster.record(2).contacts[0].person.phones);
}

#[test]
fn a_column_no_longer_granted_is_unknown_and_not_null() {
    let mut sis = Sis::with_students(3);
    let mut roster = Roster::of(&sis);
    for row in sis.rows.get_mut(NAME).unwrap() {
        row.as_object_mut().unwrap().remove("BirthDate");
    }
    sis.row(NAME, 4)["FirstName"] = json!("Anna");
    // Refused for good: the value stays night after night.
    for night in 0..3 {
        let mut facts = sis.facts();
        let discovery = facts.pulls[0].pull.discovery.as_mut().unwrap();
        discovery.refused.insert(NAME.to_owned(), vec!["BirthDate".to_owned()]);
        let plan = roster.plan(facts);
        assert_eq!(plan.counts.changed, i64::from(night == 0));
        roster.apply(&plan);
        assert!(roster.record(2).birth_date.is_some() && roster.record(1).birth_date.is_some());
    }
    assert_eq!(roster.record(2).person.first_name.as_deref(), Some("Anna"));
}

#[test]
fn rows_with_odd_values_are_named_five_at_most_with_the_mend() {
    let mut sis = Sis::with_students(9);
    sis.row(NAME, 4)["LastName"] = json!("Lo\u{0}pez");
    sis.row(NAME, 4)["FirstName"] = json!("An\u{0}na");
    for id in 3..=9 {
        sis.row(NAME, id * 2)["BirthDate"] = json!("soon");
    }
    sis.row(PHONE, 2)["Rank"] = json!("first");
    let plan = Roster::default().plan(sis.facts());
    assert_eq!(plan.counts.added, 9, "what is odd is left out, and nobody with it");
    let odd = ["control-characters", "value-unreadable"];
    let said = plan.findings.iter().filter(|finding| odd.contains(&finding.code.as_str()));
    let said: Vec<_> = said.map(|finding| (finding.message.as_str(), finding.count)).collect();
    assert_eq!(
        said,
        [
            ("Demographics/Name: texts from which control characters were taken; correct it in the SIS: NameID 4", 2),
            (
                "Demographics/Name: values that are no date, number or flag, and were left out; correct it in the SIS: \
                 BirthDate of NameID 6, BirthDate of NameID 8, BirthDate of NameID 10, BirthDate of NameID 12, BirthDate of \
                 NameID 14 and others",
                7
            ),
            (
                "Demographics/NamePhone: values that are no date, number or flag, and were left out; correct it in the SIS: \
                 Rank of NamePhoneID 2",
                1
            ),
        ]
    );
}

/// As many students as have a gender would change in one night.
#[test]
fn a_code_no_longer_granted_is_not_replaced_by_its_word() {
    let mut sis = Sis::with_students(3);
    for id in [2, 4, 6] {
        sis.row(NAME, id)["Gender"] = json!("Female");
        sis.row(NAME, id)["GenderCode"] = json!("F");
    }
    let granting = |sis: &Sis, fields: &[&str]| {
        let mut facts = sis.facts();
        let discovery = facts.pulls[0].pull.discovery.as_mut().unwrap();
        let fields: Vec<String> = fields.iter().map(|field| (*field).to_owned()).collect();
        if !fields.contains(&"GenderCode".to_owned()) {
            discovery.refused.insert(NAME.to_owned(), vec!["GenderCode".to_owned()]);
        }
        discovery.granted.insert(NAME.to_owned(), fields);
        facts
    };
    let mut roster = Roster::default();
    roster.apply(&roster.plan(granting(&sis, &["NameID", "Gender", "GenderCode"])));
    assert_eq!(roster.record(1).gender.as_deref(), Some("F"));
    for row in sis.rows.get_mut(NAME).unwrap() {
        row.as_object_mut().unwrap().remove("GenderCode");
    }
    sis.row(NAME, 4)["FirstName"] = json!("Anna");
    // Lost for good, and told of on the first night alone: it stays all the same.
    for night in 0..3 {
        let plan = roster.plan(granting(&sis, &["NameID", "Gender"]));
        assert_eq!(plan.counts.changed, i64::from(night == 0), "night {night}");
        assert_eq!(codes(&plan).contains(&"grant-lost"), night == 0);
        roster.apply(&plan);
        let genders = [1, 2, 3].map(|id| roster.record(id).gender.clone());
        assert_eq!(genders, [1, 2, 3].map(|_| Some("F".to_owned())), "night {night}");
    }
    for row in sis.rows.get_mut(NAME).unwrap() {
        row["GenderCode"] = json!("X");
    }
    let again = roster.plan(granting(&sis, &["NameID", "Gender", "GenderCode"]));
    assert_eq!(again.counts.changed, 3, "granted again, it is told");
}

#[test]
fn an_unresolved_code_withholds_its_student_alone() {
    let mut sis = Sis::with_students(3);
    let roster = Roster::of(&sis);
    // 82 is a code of the year before: in this year's table it is nothing.
    sis.withdraw(1, "2025-10-01", 82);
    sis.row(SPELL, 3)["EndDate"] = json!("soon");
    let plan = roster.plan(sis.facts());
    let reasons: Vec<_> = plan.skips.iter().map(|skip| (skip.student_id.0.as_str(), skip.reason.as_str())).collect();
    assert_eq!(reasons, [("1", "code-unresolved"), ("3", "date-unreadable")]);
    assert_eq!((plan.counts.skipped, plan.counts.unchanged), (2, 1));
    let said = plan.findings.iter().find(|finding| finding.code == "students-withheld").unwrap();
    assert_eq!(
        said.message,
        "left as they are stored, see `rollcall runs plan RUN --skipped` for each (student 1: code-unresolved, enrollment 1: \
         its withdrawal code is not in the code table of its school year; correct it in the SIS): students 1, 3"
    );
}

#[test]
fn who_never_attended_within_the_window_is_skipped_and_not_partial() {
    let mut sis = Sis::with_students(1);
    sis.enroll(2);
    sis.withdraw(2, "2020-05-20", 92);
    sis.row(SPELL, 2)["StartDate"] = json!("2019-08-20");
    let plan = Roster::default().plan(sis.facts());
    assert_eq!((plan.counts.added, plan.counts.skipped), (1, 1));
    assert_eq!(plan.skips[0].reason, NO_ENROLLMENT_IN_WINDOW);
    assert!(plan.findings.iter().all(|finding| finding.weight == FindingWeight::Warning), "{:?}", plan.findings);
}

/// Rows in the same words on two pages are no mistake of the SIS's: what comes while they are listed moves them.
#[test]
fn a_student_told_of_twice_is_listed_once() {
    let mut sis = Sis::with_students(4);
    sis.page_size = 8;
    let rows = sis.rows.get_mut(STUDENT).unwrap();
    let mut other = rows[1].clone();
    other["StudentNumber"] = json!("later");
    rows.extend([rows[0].clone(), other]);
    // The second page begins with a third row of the first student, and the only other one of the last.
    let moved = [rows[2].clone(), rows[2].clone(), rows[0].clone(), rows[3].clone()];
    rows.extend(moved);
    let plan = Roster::default().plan(sis.facts());
    assert_eq!((plan.counts.listed, plan.counts.added), (4, 4));
    let said = |code: &str| {
        let findings: Vec<_> = plan.findings.iter().filter(|finding| finding.code == code).collect();
        assert!(findings.iter().all(|finding| finding.weight == FindingWeight::Warning));
        findings.iter().map(|finding| (finding.message.clone(), finding.count)).collect::<Vec<_>>()
    };
    let differing =
        "listed twice with differing facts, the later page counts; merge or delete one in the SIS: students 2";
    assert_eq!(said("duplicate-student"), [(differing.to_owned(), 1)]);
    let repeated = "listed twice on one page with the same facts, and counted once; merge or delete one in the SIS, if there \
                    are two: students 1, 3";
    assert_eq!(said("student-repeated"), [(repeated.to_owned(), 2)]);
    assert_eq!(events(&plan)[1].record.as_ref().unwrap().local_id.as_deref(), Some("later"));
}

#[test]
fn too_many_removals_wait_before_the_second_look_and_approval_covers_no_more() {
    let mut sis = Sis::with_students(10);
    let roster = Roster::of(&sis);
    for id in 1..=5 {
        sis.forget(id);
    }
    let limit = |mut facts: PlanFacts| {
        facts.district.hold.max_removed_percent = 10.0;
        facts
    };
    let held = roster.plan(limit(sis.facts()));
    let Verdict::Hold(reason) = &held.verdict else { panic!("{:?}", held.verdict) };
    assert!(reason.contains("removed"), "{reason}");
    assert_eq!(held.counts.removed, 5);
    assert!(!held.batches.is_empty(), "people can look at it");
    let again = |candidates: Candidates, approved: bool| {
        let mut facts = limit(sis.facts());
        sis.look_again(&mut facts, candidates, approved);
        roster.plan(facts).verdict
    };
    let candidates = candidates_of(&held);
    assert_eq!(again(candidates.clone(), true), Verdict::Release);
    assert!(matches!(again(candidates.clone(), false), Verdict::Hold(_)));
    assert!(matches!(again(Candidates { removed: 4, ..candidates }, true), Verdict::Hold(_)), "more than was approved");
}

#[test]
fn previews_wait_after_the_second_look() {
    let mut sis = Sis::with_students(10);
    let roster = Roster::of(&sis);
    let empty = |change: fn(&mut PlanFacts)| {
        let mut facts = sis.facts();
        change(&mut facts);
        roster.plan(facts).verdict
    };
    assert_eq!(empty(|facts| facts.run.plan_only = true), Verdict::Hold("preview".to_owned()));
    assert_eq!(empty(|facts| facts.district.hold.preview = true), Verdict::Nothing);
    sis.forget(3);
    let mut facts = sis.facts();
    facts.district.hold.preview = true;
    let first = roster.plan(facts);
    assert!(matches!(first.verdict, Verdict::Recheck(_)));
    let mut facts = sis.facts();
    facts.district.hold.preview = true;
    sis.look_again(&mut facts, candidates_of(&first), false);
    let second = roster.plan(facts);
    assert_eq!((second.verdict, second.recheck_on_approval), (Verdict::Hold("preview".to_owned()), None));
    let mut facts = sis.facts();
    (facts.run.plan_only, facts.run.as_of_given) = (true, true);
    let other_date = roster.plan(facts);
    assert_eq!((other_date.verdict, other_date.recheck_on_approval), (Verdict::Hold("preview".to_owned()), None));
}

#[test]
fn a_run_without_a_source_or_a_grant_fails_and_says_which() {
    let sis = Sis::with_students(2);
    let roster = Roster::of(&sis);
    let mut facts = sis.facts();
    facts.pulls[0].pull.state = PullState::Failed;
    facts.pulls[0].pull.reason = Some("host not found".to_owned());
    let failed = roster.plan(facts);
    assert_eq!(failed.verdict, Verdict::Fail("connection-failed: host not found".to_owned()));
    assert_eq!(failed.roster_version, 1, "by which it is known what the plan was made from");
    let mut facts = sis.facts();
    facts.pulls[0].pull.discovery.as_mut().unwrap().fatal = vec!["Student/Student.NameID".to_owned()];
    let Verdict::Fail(reason) = roster.plan(facts).verdict else { panic!("must fail") };
    assert!(reason.contains("Student/Student.NameID"), "{reason}");
}

/// The kinds of people and values that listings of OneRoster hold are counted of those alone.
#[test]
fn what_is_counted_of_oneroster_is_not_looked_for_elsewhere() {
    let mut facts = two_connections(&Sis::with_students(2), &Sis::with_students(2));
    let rows =
        |plan: &NewPlan| plan.baselines.iter().flat_map(|(_, last)| last.rows.clone().into_keys()).collect::<Vec<_>>();
    let plan = Roster::default().plan(two_connections(&Sis::with_students(2), &Sis::with_students(2)));
    assert!(!rows(&plan).is_empty() && rows(&plan).iter().all(|name| !name.starts_with("users")), "{:?}", rows(&plan));
    // One that failed has nothing to count: that it failed is all that is said of it.
    facts.district.connections[1].kind = SisKind::OneRoster;
    facts.pulls[1].pull.state = PullState::Failed;
    let baseline = Baseline { rows: [("users/students".to_owned(), 2)].into(), ..Baseline::default() };
    facts.pulls[1].baseline = Some(baseline);
    let plan = plan_of(facts, &mut Roster::default()).unwrap();
    assert_eq!(codes(&plan), ["connection-failed"]);
}

/// Two connections: the second one's students have a prefix.
fn two_connections(first: &Sis, second: &Sis) -> PlanFacts {
    let mut facts = first.facts();
    facts.add_connection(second.facts(), "B-");
    facts
}

#[test]
fn students_of_a_failed_connection_stay_and_the_others_go_on() {
    let (one, mut two) = (Sis::with_students(3), Sis::with_students(3));
    let mut roster = Roster::default();
    let first = roster.plan(two_connections(&one, &two));
    assert_eq!(first.counts.added, 6);
    roster.apply(&first);
    two.row(NAME, 2)["LastName"] = json!("Lopez");
    let mut facts = two_connections(&one, &two);
    facts.pulls[0].pull.state = PullState::Failed;
    let plan = roster.plan(facts);
    assert_eq!((plan.counts.unchanged, plan.counts.changed, plan.counts.removed), (5, 1, 0));
    assert_eq!(events(&plan)[0].student_id, StudentId("B-1".to_owned()));
    assert!(codes(&plan).contains(&"connection-failed"));
    assert!(identity(&plan.counts));
}

#[test]
fn students_of_a_connection_that_is_gone_stay_and_are_told_of() {
    let mut roster = Roster::default();
    let first = roster.plan(two_connections(&Sis::with_students(3), &Sis::with_students(2)));
    roster.apply(&first);
    let plan = roster.plan(Sis::with_students(3).facts());
    assert_eq!((plan.counts.unchanged, plan.counts.removed), (5, 0));
    let said = plan.findings.iter().find(|finding| finding.code == "connection-removed").unwrap();
    assert_eq!((said.count, said.weight), (2, FindingWeight::Warning));
    assert!(!codes(&first).contains(&"connection-removed"));
}

#[test]
fn one_id_in_two_connections_is_counted_and_skipped() {
    let mut facts = two_connections(&Sis::with_students(2), &Sis::with_students(2));
    facts.district.connections[1].id_prefix = None;
    let plan = Roster::default().plan(facts);
    assert_eq!((plan.counts.listed, plan.counts.added, plan.counts.skipped), (4, 2, 2));
    assert!(plan.skips.iter().all(|skip| skip.reason == diff::DUPLICATE));
}

#[derive(Debug, Clone)]
enum Edit {
    Enroll(i64),
    Withdraw(i64, bool),
    Forget(i64),
    Rename(i64),
    SpoilDate(i64),
    NextYear(i64),
}

fn edit() -> impl Strategy<Value = Edit> {
    let id = 1..16_i64;
    prop_oneof![
        (16..30_i64).prop_map(Edit::Enroll),
        (id.clone(), any::<bool>()).prop_map(|(id, graduates)| Edit::Withdraw(id, graduates)),
        id.clone().prop_map(Edit::Forget),
        id.clone().prop_map(Edit::Rename),
        id.clone().prop_map(Edit::SpoilDate),
        id.prop_map(Edit::NextYear),
    ]
}

fn apply(sis: &mut Sis, edit: &Edit) {
    let there = |sis: &Sis, id: i64| sis.rows[SPELL].iter().any(|row| row["EntryWithdrawalID"] == json!(id));
    match edit {
        Edit::Enroll(id) if !there(sis, *id) => sis.enroll(*id),
        Edit::Withdraw(id, graduates) if there(sis, *id) => {
            sis.withdraw(*id, "2025-10-01", if *graduates { 91 } else { 92 });
        }
        Edit::Forget(id) => sis.forget(*id),
        Edit::Rename(id) => sis.row(NAME, id * 2)["LastName"] = json!("Lopez"),
        Edit::SpoilDate(id) if there(sis, *id) => sis.row(SPELL, *id)["StartDate"] = json!("31.12.2025"),
        Edit::NextYear(id) if there(sis, *id) => sis.row(SPELL, *id)["StartDate"] = json!("2026-01-07"),
        _ => {}
    }
}

fn shuffle(facts: &mut PlanFacts, seed: u64) {
    let order = |n: u32| (u64::from(n) + 1).wrapping_mul(seed | 1).rotate_left(17);
    facts.pages.sort_by_key(|page| order(page.listing.0 * 1000 + page.page.0));
    facts.stored.reverse();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_student_is_accounted_for_once(edits in prop::collection::vec(edit(), 0..14), seed in any::<u64>()) {
        let mut sis = Sis::with_students(15);
        let mut roster = Roster::of(&sis);
        for edit in &edits {
            apply(&mut sis, edit);
        }
        let plan = night(&roster, &sis);
        prop_assert!(identity(&plan.counts), "{:?}", plan.counts);
        prop_assert_eq!(plan.counts.listed, sis.rows[STUDENT].len() as i64);
        let planned = plan.counts.added + plan.counts.changed + plan.counts.removed;
        prop_assert_eq!(events(&plan).len() as i64, planned);
        prop_assert_eq!(plan.skips.len() as i64, plan.counts.skipped);
        for batch in &plan.batches {
            prop_assert!(batch.events <= 256);
        }
        // Equal facts, equal plan: whatever order pages were collected in, whatever their size, and whatever order what is
        // stored was read in.
        let mut facts = roster.beside(sis.facts());
        shuffle(&mut facts, seed);
        let first = roster.plan(sis.facts());
        let shuffled = plan_of(facts, &mut roster.clone()).unwrap();
        prop_assert_eq!((first.hash, &first.verdict), (shuffled.hash, &shuffled.verdict));
        let larger = roster.plan(Sis { page_size: 50, ..sis.clone() }.facts());
        prop_assert_eq!(first.hash, larger.hash);
        // Applied, nothing is left to do.
        roster.apply(&plan);
        let after = roster.plan(sis.facts());
        prop_assert_eq!(after.counts.added + after.counts.changed + after.counts.removed, 0, "{:?}", after.counts);
    }

    #[test]
    fn an_incomplete_pull_takes_nobody_out(
        edits in prop::collection::vec(edit(), 0..14), resource in 0..4_usize, page in 1..5_u32,
    ) {
        let mut sis = Sis::with_students(15);
        let mut roster = Roster::of(&sis);
        for edit in &edits {
            apply(&mut sis, edit);
        }
        let before = roster.clone();
        let mut facts = sis.facts();
        let resource = [STUDENT, SPELL, ENTITY_YEAR, WITHDRAWAL_CODE][resource];
        let board = facts.pulls[0].board.as_ref().unwrap();
        let number = board.listings.iter().position(|listing| listing.ask.resource == resource).unwrap();
        let page = page.min(board.listings[number].last_page.unwrap());
        let lost = (number as u32, page);
        facts.pages.retain(|row| (row.listing.0, row.page.0) != lost);
        facts.pulls[0].fragments.retain(|row| (row.listing.0, row.page.0) != lost);
        let plan = roster.plan(facts);
        prop_assert!(identity(&plan.counts));
        prop_assert_eq!(plan.counts.removed, 0);
        roster.apply(&plan);
        for (id, (stored, _)) in &before.students {
            let after = roster.students[id].0.status;
            prop_assert!(after == stored.status || after.is_attending());
        }
    }
}
