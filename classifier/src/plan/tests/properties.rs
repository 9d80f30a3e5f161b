//! Whatever happens to a district in a night: everybody is accounted for, and nobody taken out by a torn pull.

use proptest::prelude::*;
use serde_json::json;

use super::{
    super::{plan as plan_of, *},
    identity, night,
};
use crate::testing::{ENTITY_YEAR, NAME, Roster, SPELL, STUDENT, Sis, WITHDRAWAL_CODE, events};

#[derive(Debug, Clone)]
pub(super) enum Edit {
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

pub(super) fn apply(sis: &mut Sis, edit: &Edit) {
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
