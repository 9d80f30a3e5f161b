//! Plans that wait for a person.

use super::{super::*, candidates_of, codes};
use crate::testing::{Roster, Sis};

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

/// Judged, looked at again and approved as if it were none.
#[test]
fn what_would_hold_a_preview_too_is_said_beside_it() {
    let mut sis = Sis::with_students(10);
    let roster = Roster::of(&sis);
    for id in 1..=5 {
        sis.forget(id);
    }
    let preview = || {
        let mut facts = sis.facts();
        (facts.run.plan_only, facts.district.hold.max_removed_percent) = (true, 10.0);
        facts
    };
    let first = roster.plan(preview());
    let held = Verdict::Hold("preview".to_owned());
    assert_eq!((&first.verdict, codes(&first)), (&held, vec!["would-be-held"]));
    let said = "would also be held if it were no preview: removed 5 of 10 (50.0 %) is above the limit of 10 %";
    assert_eq!(first.findings[0].message, said);
    assert!(first.recheck_on_approval.is_some(), "nobody has been asked yet");
    let again = |approved: bool| {
        let mut facts = preview();
        sis.look_again(&mut facts, candidates_of(&first), approved);
        roster.plan(facts)
    };
    let (approved, not_yet) = (again(true), again(false));
    assert_eq!((&approved.verdict, codes(&approved)), (&Verdict::Release, vec![]));
    assert_eq!((&not_yet.verdict, codes(&not_yet)), (&held, vec!["would-be-held"]));
}
