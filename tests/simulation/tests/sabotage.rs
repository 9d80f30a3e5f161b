//! The simulation can fail: a piece that is broken on purpose is found out within sixteen seeds.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use rollcall_simulation::{Sabotage, Settings, simulate};

/// Seeds within which every sabotage must be found out.
const SEEDS: u64 = 16;

#[track_caller]
fn is_found_out(sabotage: Sabotage, by: &str) {
    is_found_out_in(Settings::new, sabotage, by);
}

#[track_caller]
fn is_found_out_in(of: fn(u64) -> Settings, sabotage: Sabotage, by: &str) {
    for seed in 1..=SEEDS {
        let settings = Settings { sabotage: Some(sabotage), ..of(seed) };
        let Err(error) = simulate(settings) else { continue };
        let error = format!("{error:#}");
        assert!(error.contains(by), "seed {seed}: {error}");
        println!("{sabotage:?} is found out by seed {seed}: {error}");
        return;
    }
    panic!("{sabotage:?} is not found out within {SEEDS} seeds");
}

#[test]
fn a_store_that_forgets_that_a_batch_was_written() {
    is_found_out(Sabotage::SettlingForgotten, "settled");
}

#[test]
fn a_plan_that_is_never_held() {
    is_found_out(Sabotage::NothingIsHeld, "was taken out and never left");
}

#[test]
fn nobody_who_looks_after_what_was_lost() {
    is_found_out(Sabotage::NobodyReconciles, "the night does not end");
}

#[test]
fn enrolled_students_who_are_about_to_come() {
    is_found_out(Sabotage::EnrolledGoBack, "was ENROLLED and is PRE_ENROLLED");
}

#[test]
fn students_who_left_and_are_deleted() {
    is_found_out(Sabotage::WhoLeftIsDeleted, "is gone");
}

#[test]
fn an_edit_by_hand_that_is_written_over() {
    is_found_out_in(Settings::of_flags, Sabotage::EditsAreWrittenOver, "an edit by hand is written over");
}

#[test]
fn nobody_who_looks_after_flags() {
    is_found_out_in(Settings::of_flags, Sabotage::NobodyReconciles, "the night does not end");
}
