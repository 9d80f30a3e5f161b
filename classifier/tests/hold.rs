//! Holds, exactly at their limits.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;
use rollcall_classifier::hold::{
    Before, Changes, HoldReason, Share, Stop, beside_preview, join, judge, judge_limits, judge_shares,
};
use rollcall_proto::id::ConnectionNo;
use rollcall_store::district::HoldPolicy;

fn limits(max_removed_percent: f64, max_changed_percent: f64) -> HoldPolicy {
    HoldPolicy { preview: false, max_removed_percent, max_changed_percent }
}

fn before(stored: u64, attending: u64) -> Before {
    Before { stored, attending }
}

fn removed(removed: u64) -> Changes {
    Changes { removed, changed: 0 }
}

fn changed(changed: u64) -> Changes {
    Changes { removed: 0, changed }
}

/// The reasons under `limits`, as people read them.
fn reasons(before: Before, changes: Changes, limits: &HoldPolicy) -> String {
    join(&judge(before, changes, limits, Stop::Never))
}

#[test]
fn at_the_limit_a_plan_goes_on_and_above_it_waits() {
    let policy = HoldPolicy::default();
    assert_eq!(reasons(before(1200, 1000), removed(100), &policy), "");
    assert_eq!(
        reasons(before(1200, 1000), removed(101), &policy),
        "removed 101 of 1000 (10.1 %) is above the limit of 10 %"
    );
    assert_eq!(reasons(before(1200, 1000), changed(900), &policy), "");
    assert_eq!(
        reasons(before(1200, 1000), changed(901), &policy),
        "changed 901 of 1200 (75.1 %) is above the limit of 75 %"
    );
}

#[test]
fn removals_are_measured_against_those_attending() {
    assert_eq!(reasons(before(10_000, 10), removed(1), &limits(10.0, 75.0)), "");
    assert_ne!(reasons(before(10_000, 10), removed(2), &limits(10.0, 75.0)), "");
}

#[test]
fn half_a_district_gone() {
    assert_eq!(
        reasons(before(1000, 1000), removed(512), &HoldPolicy::default()),
        "removed 512 of 1000 (51.2 %) is above the limit of 10 %"
    );
}

#[test]
fn as_many_decimals_as_it_takes_to_see_why() {
    for (part, shown) in [(10_004, "10.004"), (10_040, "10.04"), (10_400, "10.4")] {
        let said = format!("removed {part} of 100000 ({shown} %) is above the limit of 10 %");
        assert_eq!(reasons(before(100_000, 100_000), removed(part), &HoldPolicy::default()), said);
    }
}

#[test]
fn both_limits_are_named() {
    let both = Changes { removed: 2, changed: 8 };
    assert_eq!(
        reasons(before(10, 10), both, &limits(10.0, 75.0)),
        "removed 2 of 10 (20.0 %) is above the limit of 10 %; changed 8 of 10 (80.0 %) is above the limit of 75 %"
    );
}

#[test]
fn limits_mean_what_they_say_and_not_the_nearest_double() {
    assert_eq!(reasons(before(1000, 1000), removed(1), &limits(0.1, 75.0)), "");
    assert_ne!(reasons(before(1000, 1000), removed(2), &limits(0.1, 75.0)), "");
    assert_eq!(reasons(before(1000, 1000), removed(3), &limits(0.3, 75.0)), "");
    assert_eq!(reasons(before(1000, 1000), removed(7), &limits(0.7, 75.0)), "");
    assert_eq!(reasons(before(1000, 1000), removed(29), &limits(2.9, 75.0)), "");
    assert_eq!(reasons(before(1_000_000, 1_000_000), removed(123_456), &limits(12.3456, 75.0)), "");
    assert_ne!(reasons(before(1_000_000, 1_000_000), removed(123_457), &limits(12.3456, 75.0)), "");
}

#[test]
fn the_number_shown_is_above_the_limit_shown() {
    assert_eq!(
        reasons(before(200_000, 200_000), removed(20_001), &limits(10.0, 75.0)),
        "removed 20001 of 200000 (10.001 %) is above the limit of 10 %"
    );
    assert_eq!(
        reasons(before(200_000, 200_000), removed(25_001), &limits(12.5, 75.0)),
        "removed 25001 of 200000 (12.501 %) is above the limit of 12.5 %"
    );
    // As a limit is compared: to the millionth of a percent.
    for limit in [3.333_333, 3.333_333_34] {
        assert_eq!(
            reasons(before(30, 30), removed(1), &limits(limit, 75.0)),
            "removed 1 of 30 (3.3333333 %) is above the limit of 3.333333 %"
        );
    }
}

#[test]
fn a_limit_of_none_holds_the_first_and_of_all_holds_nothing() {
    assert_eq!(reasons(before(1000, 1000), removed(0), &limits(0.0, 0.0)), "");
    assert_ne!(reasons(before(1000, 1000), removed(1), &limits(0.0, 0.0)), "");
    assert_ne!(reasons(before(1000, 1000), changed(1), &limits(0.0, 0.0)), "");
    assert_eq!(reasons(before(1000, 1000), Changes { removed: 1000, changed: 1000 }, &limits(100.0, 100.0)), "");
}

#[test]
fn a_limit_that_is_no_number_is_the_strictest() {
    assert_ne!(reasons(before(1000, 1000), removed(1), &limits(f64::NAN, 75.0)), "");
    assert_ne!(reasons(before(1000, 1000), removed(1), &limits(-5.0, 75.0)), "");
}

#[test]
fn a_first_run_is_never_held_for_what_it_changes() {
    let everything = Changes { removed: 7, changed: 7 };
    assert_eq!(judge(before(0, 0), everything, &limits(0.0, 0.0), Stop::Never), []);
}

#[test]
fn a_preview_waits_whatever_it_changes() {
    let preview = HoldPolicy { preview: true, ..HoldPolicy::default() };
    assert_eq!(judge(before(0, 0), removed(0), &preview, Stop::Never), [HoldReason::Preview]);
    assert_eq!(judge(before(0, 0), removed(0), &HoldPolicy::default(), Stop::AtPlan), [HoldReason::Preview]);
    assert_eq!(judge(before(9, 9), removed(0), &preview, Stop::AtPlan), [HoldReason::Preview]);
}

/// Programs compare a run's reason; what is above the limits is told beside it.
#[test]
fn a_previews_reason_is_that_it_is_one() {
    let preview = HoldPolicy { preview: true, ..HoldPolicy::default() };
    let told = |stop, policy: &HoldPolicy, part| {
        let reasons = judge(before(10, 10), removed(part), policy, stop);
        (join(&reasons), beside_preview(&reasons))
    };
    let above = "removed 5 of 10 (50.0 %) is above the limit of 10 %".to_owned();
    for (stop, policy) in [(Stop::Never, &preview), (Stop::AtPlan, &HoldPolicy::default())] {
        assert_eq!(told(stop, policy, 5), ("preview".to_owned(), Some(above.clone())));
        assert_eq!(told(stop, policy, 1), ("preview".to_owned(), None));
    }
    assert_eq!(told(Stop::Never, &HoldPolicy::default(), 5), (above, None));
}

#[test]
fn the_second_look_is_put_off_by_the_limits_only() {
    let preview = HoldPolicy { preview: true, ..HoldPolicy::default() };
    assert_eq!(judge_limits(before(10, 10), removed(1), &preview), []);
    let codes: Vec<_> = judge_limits(before(10, 10), removed(2), &preview).into_iter().map(HoldReason::code).collect();
    assert_eq!(codes, ["removed-above-limit"]);
}

/// Connections by attending students and how many of them are removed, from the first on.
fn shares(of_each: &[(u64, u64)]) -> Vec<Share> {
    let share = |(number, (attending, removed)): (u16, &(u64, u64))| Share {
        connection: ConnectionNo(number),
        attending: *attending,
        removed: *removed,
    };
    (0..).zip(of_each).map(share).collect()
}

fn of_each(of_each: &[(u64, u64)], max_removed_percent: f64) -> String {
    join(&judge_shares(&shares(of_each), &limits(max_removed_percent, 0.0)))
}

/// A source of 500 beside one of 9,500 may lose nearly all its students within the run's own limit.
#[test]
fn a_small_connection_is_held_for_what_is_little_of_the_district() {
    let policy = HoldPolicy::default();
    assert_eq!(reasons(before(10_000, 10_000), removed(490), &policy), "");
    assert_eq!(
        of_each(&[(9_500, 0), (500, 490)], 10.0),
        "connection 2: removed 490 of 500 (98.0 %) is above the limit of 10 %"
    );
}

#[test]
fn each_connection_is_judged_exactly_at_the_limit() {
    assert_eq!(of_each(&[(9_500, 950), (500, 50)], 10.0), "");
    assert_eq!(
        of_each(&[(9_500, 950), (500, 51)], 10.0),
        "connection 2: removed 51 of 500 (10.2 %) is above the limit of 10 %"
    );
    assert_eq!(
        of_each(&[(1_000, 101), (500, 0), (200, 21)], 10.0),
        "connection 1: removed 101 of 1000 (10.1 %) is above the limit of 10 %; \
         connection 3: removed 21 of 200 (10.5 %) is above the limit of 10 %"
    );
    assert_eq!(of_each(&[(9_500, 9_500), (500, 500)], 100.0), "");
}

#[test]
fn nine_of_a_connection_are_none_too_many_by_themselves() {
    for limit in [0.0, 10.0, f64::NAN] {
        assert_eq!(of_each(&[(1_000, 0), (9, 9)], limit), "");
        assert_ne!(of_each(&[(1_000, 0), (10, 10)], limit), "");
    }
}

#[test]
fn the_only_connection_with_students_is_the_run_itself() {
    assert_eq!(of_each(&[(500, 490)], 10.0), "");
    assert_eq!(of_each(&[], 10.0), "");
}

#[test]
fn what_a_connection_loses_has_the_code_of_what_the_run_loses() {
    let reasons = judge_shares(&shares(&[(500, 0), (500, 51)]), &HoldPolicy::default());
    assert_eq!(reasons.iter().map(|reason| reason.code()).collect::<Vec<_>>(), ["removed-above-limit"]);
}

proptest! {
    #[test]
    fn agrees_with_whole_percents(whole in 1_u64..2_000_000, part in 0_u64..2_000_000, limit in 0_u32..=100) {
        let held = !judge_limits(before(whole, whole), removed(part), &limits(f64::from(limit), 100.0)).is_empty();
        prop_assert_eq!(held, part * 100 > whole * u64::from(limit));
    }

    #[test]
    fn more_removed_is_never_held_less(whole in 1_u64..5000, part in 0_u64..5000, limit in 0.0_f64..=100.0) {
        let held = |part| !judge_limits(before(whole, whole), removed(part), &limits(limit, 100.0)).is_empty();
        prop_assert!(!held(part) || held(part + 1));
    }
}
