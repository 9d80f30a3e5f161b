//! Removals of a district's sources, each by itself.

use rollcall_proto::id::StudentId;

use super::{super::*, candidates_of, codes, identity};
use crate::testing::{Roster, SPELL, Sis, events};

/// Students of the small source.
const FEW: i64 = 20;

/// Students of the large one: what the small one loses is within the limit of the run.
const MANY: i64 = 300;

/// What a small source that has lost so many comes to.
fn said(lost: i64) -> String {
    let percent = lost * 100 / FEW;
    format!("connection 1: removed {lost} of {FEW} ({percent}.0 %) is above the limit of 10 %")
}

/// The small source, and beside it the large one, whose students have a prefix.
fn facts(few: &Sis) -> PlanFacts {
    let mut facts = few.facts();
    facts.add_connection(Sis::with_students(MANY).facts(), "L-");
    facts.district.hold.max_removed_percent = 10.0;
    facts
}

/// A roster of both, and the small one after it has lost so many.
fn narrowed(lost: i64) -> (Roster, Sis) {
    let mut few = Sis::with_students(FEW);
    let mut roster = Roster::default();
    let first = roster.plan(facts(&few));
    assert_eq!(first.counts.added, FEW + MANY);
    roster.apply(&first);
    (1..=lost).for_each(|id| few.forget(id));
    (roster, few)
}

#[test]
fn a_small_source_that_loses_its_students_waits_before_the_second_look_and_after_it() {
    let (roster, few) = narrowed(15);
    let held = roster.plan(facts(&few));
    assert_eq!((&held.verdict, held.counts.removed), (&Verdict::Hold(said(15)), 15));
    assert!(identity(&held.counts) && codes(&held).is_empty());
    let again = |candidates: Candidates, approved: bool| {
        let mut facts = facts(&few);
        few.look_again(&mut facts, candidates, approved);
        roster.plan(facts).verdict
    };
    let candidates = candidates_of(&held);
    assert_eq!(candidates.removed_of, Some([(0, 15)].into()));
    assert_eq!(again(candidates.clone(), true), Verdict::Release);
    assert_eq!(again(candidates.clone(), false), Verdict::Hold(said(15)));
    // An approval covers no more of a source either than it admitted. A version before did not note it.
    let admitted = |of: Option<&[(u16, u64)]>| {
        let removed_of = of.map(|of| of.iter().copied().collect());
        again(Candidates { removed_of, ..candidates.clone() }, true)
    };
    assert_eq!(admitted(Some(&[(0, 14), (1, 1)])), Verdict::Hold(said(15)));
    assert_eq!(admitted(Some(&[(1, 15)])), Verdict::Hold(said(15)));
    assert_eq!(admitted(Some(&[(0, 15), (1, 0)])), Verdict::Release);
    assert_eq!(admitted(None), Verdict::Release);
}

#[test]
fn few_of_a_small_source_are_looked_at_again_without_a_person() {
    let (roster, few) = narrowed(9);
    let first = roster.plan(facts(&few));
    assert!(matches!(first.verdict, Verdict::Recheck(_)), "{:?}", first.verdict);
    let mut second = facts(&few);
    few.look_again(&mut second, candidates_of(&first), false);
    let second = roster.plan(second);
    assert_eq!((second.verdict, second.counts.removed), (Verdict::Release, 9));
}

#[test]
fn a_preview_says_what_its_sources_lose() {
    let (roster, few) = narrowed(15);
    for dated in [false, true] {
        let mut preview = facts(&few);
        (preview.run.plan_only, preview.run.as_of_given) = (true, dated);
        let plan = roster.plan(preview);
        assert_eq!((&plan.verdict, codes(&plan)), (&Verdict::Hold("preview".to_owned()), vec!["would-be-held"]));
        assert!(plan.findings[0].message.ends_with(&said(15)), "{}", plan.findings[0].message);
        assert_eq!(plan.recheck_on_approval.is_some(), !dated);
    }
}

/// Leaving by the rules is a removal like any other.
#[test]
fn who_withdraws_counts_for_the_source_too() {
    let (roster, mut few) = narrowed(5);
    (6..=15).for_each(|id| few.withdraw(id, "2025-10-01", 92));
    assert_eq!(roster.plan(facts(&few)).verdict, Verdict::Hold(said(15)));
    few.row(SPELL, 15)["EndDate"] = serde_json::Value::Null;
    assert_eq!(roster.plan(facts(&few)).verdict, Verdict::Hold(said(14)));
}

/// Students of one source, by ids that both have in common: who is listed by the other one has not left.
#[test]
fn who_moves_to_another_source_is_not_removed() {
    let of = |ids: std::ops::RangeInclusive<i64>| {
        let mut sis = Sis::empty();
        ids.for_each(|id| sis.enroll(id));
        sis
    };
    let facts = |few: &Sis, many: &Sis| {
        let mut facts = few.facts();
        facts.add_connection(many.facts(), "");
        facts.district.hold.max_removed_percent = 10.0;
        facts
    };
    let mut roster = Roster::default();
    let first = roster.plan(facts(&of(1..=FEW), &of(FEW + 1..=MANY)));
    roster.apply(&first);
    let (stays, mut moved) = (of(16..=FEW), of(FEW + 1..=MANY));
    (1..=15).for_each(|id| moved.enroll(id));
    let plan = roster.plan(facts(&stays, &moved));
    assert_eq!((&plan.verdict, plan.counts.removed, plan.counts.missing), (&Verdict::Release, 0, 0));
    assert!(events(&plan).iter().all(|event| event.record.as_ref().is_some_and(|record| record.connection == 1)));
    // Nor is he lost to the source that he came to: where he leaves, it is the one that he is stored under that loses him.
    (1..=15).for_each(|id| moved.withdraw(id, "2025-10-01", 92));
    assert_eq!(roster.plan(facts(&stays, &moved)).verdict, Verdict::Hold(said(15)));
    roster.apply(&plan);
    assert_eq!(roster.students[&StudentId("1".to_owned())].0.connection, 1);
    let Verdict::Recheck(_) = roster.plan(facts(&stays, &moved)).verdict else { panic!("15 of 295 are few") };
}
