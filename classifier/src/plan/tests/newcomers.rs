//! New students who would not attend, though the pull shows a row of the current year of theirs.

use rollcall_proto::roster::Status;
use rollcall_store::run::FindingWeight;

use super::{super::*, candidates_of, codes, identity, ids};
use crate::{
    diff::NOT_CONFIRMED,
    status::NO_ENROLLMENT_IN_WINDOW,
    testing::{Roster, SPELL, Sis},
};

/// Three students; the first was here last year too.
fn whole() -> Sis {
    let mut sis = Sis::with_students(3);
    sis.enroll_last_year();
    sis
}

/// Without the current enrollments of the first two.
fn less() -> Sis {
    let mut less = whole();
    less.rows.get_mut(SPELL).unwrap().retain(|row| row["EntryWithdrawalID"].as_i64() > Some(2));
    less
}

fn status(roster: &Roster, id: i64) -> Option<Status> {
    roster.students.get(&StudentId(id.to_string())).map(|(stored, _)| stored.status)
}

#[test]
fn an_enrollment_that_is_on_no_page_makes_nobody_inactive_who_is_new() {
    let less = less();
    let first = Roster::default().plan(less.facts());
    assert_eq!((ids(&first), candidates_of(&first).removed), (vec!["1".to_owned(), "2".to_owned()], 0));
    assert!(identity(&first.counts), "{:?}", first.counts);
    let mut roster = Roster::default();
    let mut facts = less.facts();
    whole().look_again(&mut facts, candidates_of(&first), false);
    let plan = roster.plan(facts);
    assert_eq!((plan.counts.added, plan.counts.skipped, codes(&plan)), (3, 0, vec![]));
    roster.apply(&plan);
    assert_eq!([1, 2, 3].map(|id| status(&roster, id)), [Some(Status::Enrolled); 3]);
    assert_eq!(roster.record(1).enrollments.len(), 2);
    let plan = roster.plan(whole().facts());
    assert_eq!((plan.counts.unchanged, plan.verdict), (3, Verdict::Nothing));
}

#[test]
fn what_the_second_look_shows_no_more_is_believed_and_not_asked_again() {
    let less = less();
    let mut roster = Roster::default();
    let mut facts = less.facts();
    less.look_again(&mut facts, candidates_of(&roster.plan(less.facts())), false);
    let plan = roster.plan(facts);
    let skipped: Vec<_> = plan.skips.iter().map(|skip| (skip.student_id.0.as_str(), skip.reason.as_str())).collect();
    assert_eq!((plan.counts.added, skipped, codes(&plan)), (2, vec![("2", NO_ENROLLMENT_IN_WINDOW)], vec![]));
    assert_eq!(plan.verdict, Verdict::Release);
    roster.apply(&plan);
    assert_eq!([1, 2, 3].map(|id| status(&roster, id)), [Some(Status::Inactive), None, Some(Status::Enrolled)]);
    for _ in 0..2 {
        let plan = roster.plan(less.facts());
        assert_eq!((plan.counts.unchanged, plan.counts.skipped, &plan.verdict), (2, 1, &Verdict::Nothing));
        assert_eq!(codes(&plan), [""; 0]);
        roster.apply(&plan);
    }
    // Once there, and gone again, it is news.
    roster.apply(&roster.plan(whole().facts()));
    assert_eq!(ids(&roster.plan(less.facts())), ["1", "2"]);
}

/// As a version before noted them, which did not say where they lack an enrollment.
#[test]
fn whom_a_version_before_looked_at_again_is_not_asked_for_anew() {
    let less = less();
    let mut roster = Roster::default();
    let mut facts = less.facts();
    less.look_again(&mut facts, candidates_of(&roster.plan(less.facts())), false);
    roster.apply(&roster.plan(facts));
    let baseline = roster.baseline.as_mut().unwrap();
    let noted = std::mem::take(&mut baseline.dangling_places);
    baseline.dangling = [(SPELL.to_owned(), [1, 2].into())].into();
    for _ in 0..2 {
        let plan = roster.plan(less.facts());
        assert_eq!((plan.counts.unchanged, plan.counts.skipped, &plan.verdict), (2, 1, &Verdict::Nothing));
        roster.apply(&plan);
        let baseline = roster.baseline.as_ref().unwrap();
        assert!(baseline.dangling.is_empty(), "{baseline:?}");
        let of_new = |place: &&RowPlace| place.student == 2;
        let [noted, now] = [&noted, &baseline.dangling_places].map(|places| places[SPELL].iter().find(of_new));
        assert_eq!(noted, now);
    }
    // Once there, and gone again, it is news.
    roster.apply(&roster.plan(whole().facts()));
    assert_eq!(ids(&roster.plan(less.facts())), ["1", "2"]);
}

#[test]
fn nobody_is_added_so_before_the_second_look_has_answered() {
    let less = less();
    let roster = Roster::default();
    let mut facts = less.facts();
    whole().look_again(&mut facts, candidates_of(&roster.plan(less.facts())), false);
    for page in facts.pages.iter_mut().rev().take(1) {
        page.error = Some("status 503".to_owned());
    }
    let plan = roster.plan(facts);
    let skipped: Vec<_> = plan.skips.iter().map(|skip| (skip.student_id.0.as_str(), skip.reason.as_str())).collect();
    assert_eq!((plan.counts.added, skipped), (1, vec![("1", NOT_CONFIRMED), ("2", NOT_CONFIRMED)]));
    assert_eq!((codes(&plan), plan.findings[0].weight), (vec![NOT_CONFIRMED], FindingWeight::Partial));
}

/// Where the SIS has many such students, that is no row lost, and it is not asked for each of them.
#[test]
fn a_sis_with_many_such_students_is_not_asked_for_them() {
    let mut sis = Sis::with_students(101);
    sis.rows.get_mut(SPELL).unwrap().retain(|row| row["EntryWithdrawalID"].as_i64() > Some(100));
    assert_eq!(ids(&Roster::default().plan(sis.facts())).len(), 100);
    sis.enroll(102);
    sis.rows.get_mut(SPELL).unwrap().retain(|row| row["EntryWithdrawalID"].as_i64() > Some(101));
    let plan = Roster::default().plan(sis.facts());
    assert_eq!((plan.counts.added, plan.counts.skipped, plan.verdict), (1, 101, Verdict::Release));
}
