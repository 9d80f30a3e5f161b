use proptest::prelude::*;
use rollcall_proto::id::StudentId;

use super::*;
use crate::desired::Dates;

fn day(number: i64) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 8, 1).unwrap() + chrono::TimeDelta::days(number)
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

fn participation() -> Participation {
    Participation {
        id: Uuid::from_u128(1),
        student: StudentId("1".to_owned()),
        program: "P".to_owned(),
        starts_on: day(0),
        ends_on: None,
        void_on: None,
        documents: vec!["d".to_owned()],
    }
}

fn target(ends: Option<i64>) -> PushedFlag {
    PushedFlag {
        starts_on: day(10),
        ends_on: ends.map(day),
        sis_id: "GUID-a".to_owned(),
        program_sis_id: "PROGRAM".to_owned(),
    }
}

fn shown(target: &PushedFlag) -> ActualFlag {
    ActualFlag {
        id: "x".to_owned(),
        sis_id: target.sis_id.to_ascii_uppercase(),
        program_sis_id: target.program_sis_id.clone(),
        starts_on: Some(target.starts_on),
        ends_on: target.ends_on,
    }
}

fn run(stored: Option<&Flag>, wish: Wish, seen: Seen<'_>, on_drift: OnDrift) -> Decision {
    decide(Uuid::from_u128(7), &participation(), stored, wish, seen, on_drift, now())
}

/// As the worker notes that a push was accepted.
fn accepted(flag: &Flag, target: &PushedFlag) -> Flag {
    Flag {
        state: FlagState::Accepted,
        reason: None,
        due: false,
        pushed: Some(target.clone()),
        verified_at: None,
        ..flag.clone()
    }
}

fn wish(ends: Option<i64>) -> Wish {
    Wish::Shown(target(ends))
}

fn pushed(ends: Option<i64>) -> Flag {
    let target = target(ends);
    let there = shown(&target);
    run(None, Wish::Shown(target), Seen::There(&there), OnDrift::Report).flag.unwrap()
}

#[test]
fn a_new_one_is_pushed_and_read_back() {
    let first = run(None, wish(None), Seen::Nothing, OnDrift::Report).flag.unwrap();
    assert_eq!((first.state, first.due, first.why.as_deref()), (FlagState::Wanted, true, Some("participation")));
    let sent = accepted(&first, &target(None));
    let there = shown(&target(None));
    let read = run(Some(&sent), wish(None), Seen::There(&there), OnDrift::Report).flag.unwrap();
    assert_eq!((read.state, read.due, read.verified_at), (FlagState::Pushed, false, Some(now())));
    let again = run(Some(&read), wish(None), Seen::There(&there), OnDrift::Report);
    assert_eq!(again, Decision { flag: Some(read), drift: None }, "an unchanged night changes nothing");
}

#[test]
fn an_answer_that_was_lost_is_found_when_reading() {
    let first = run(None, wish(None), Seen::Nothing, OnDrift::Report).flag.unwrap();
    let there = shown(&target(None));
    let found = run(Some(&first), wish(None), Seen::There(&there), OnDrift::Report).flag.unwrap();
    assert_eq!((found.state, found.due), (FlagState::Pushed, false));
}

#[test]
fn what_was_accepted_and_is_not_there_is_pushed_once_more_then_fails() {
    let sent = accepted(&run(None, wish(None), Seen::Nothing, OnDrift::Report).flag.unwrap(), &target(None));
    let again = run(Some(&sent), wish(None), Seen::Nothing, OnDrift::Report).flag.unwrap();
    assert_eq!((again.due, again.why.as_deref()), (true, Some("not-read-back")));
    let failed = run(Some(&accepted(&again, &target(None))), wish(None), Seen::Nothing, OnDrift::Report).flag.unwrap();
    assert_eq!((failed.state, failed.due, failed.reason.as_deref()), (FlagState::Failed, false, Some("not-read-back")));
    let there = shown(&target(None));
    let late = run(Some(&failed), wish(None), Seen::There(&there), OnDrift::Report).flag.unwrap();
    assert_eq!(late.state, FlagState::Pushed, "it was only slow");
}

#[test]
fn a_changed_participation_is_pushed_even_over_an_edit() {
    let edited = ActualFlag { ends_on: Some(day(99)), ..shown(&target(None)) };
    let decision = run(Some(&pushed(None)), wish(Some(30)), Seen::There(&edited), OnDrift::Report);
    let flag = decision.flag.unwrap();
    assert_eq!((flag.state, flag.due, flag.why.as_deref()), (FlagState::Wanted, true, Some("participation-changed")));
}

#[test]
fn an_edit_is_reported_once_or_restored() {
    let edited = ActualFlag { ends_on: Some(day(99)), starts_on: None, ..shown(&target(None)) };
    let reported = run(Some(&pushed(None)), wish(None), Seen::There(&edited), OnDrift::Report);
    assert_eq!(reported.drift.as_deref(), Some("edited start end"));
    let flag = reported.flag.unwrap();
    assert_eq!((flag.state, flag.due, flag.reason.as_deref()), (FlagState::Drift, false, Some("edited start end")));
    let again = run(Some(&flag), wish(None), Seen::There(&edited), OnDrift::Report);
    assert_eq!((again.flag.as_ref(), again.drift), (Some(&flag), None), "told once");
    let restored = run(Some(&flag), wish(None), Seen::There(&edited), OnDrift::Restore).flag.unwrap();
    assert_eq!((restored.due, restored.why.as_deref()), (true, Some("restore")));
    let there = shown(&target(None));
    let mended = run(Some(&flag), wish(None), Seen::There(&there), OnDrift::Report).flag.unwrap();
    assert_eq!(mended.state, FlagState::Pushed, "somebody put it back");
    let deleted = run(Some(&pushed(None)), wish(None), Seen::Nothing, OnDrift::Report);
    assert_eq!((deleted.drift.as_deref(), deleted.flag.unwrap().due), (Some("deleted"), false));
}

#[test]
fn one_kept_back_is_listed_and_one_that_is_right_stays() {
    let kept = |ends: Option<i64>| Wish::KeptBack {
        dates: Dates { starts_on: day(10), ends_on: ends.map(day) },
        state: FlagState::Failed,
        reason: "flag-missing".to_owned(),
    };
    let fresh = run(None, kept(None), Seen::NotAsked, OnDrift::Report).flag.unwrap();
    assert_eq!((fresh.state, fresh.due, fresh.reason.as_deref()), (FlagState::Failed, false, Some("flag-missing")));
    let right = pushed(None);
    assert_eq!(run(Some(&right), kept(None), Seen::NotAsked, OnDrift::Report).flag, Some(right.clone()));
    let behind = run(Some(&right), kept(Some(20)), Seen::NotAsked, OnDrift::Report).flag.unwrap();
    assert_eq!(
        (behind.state, behind.pushed),
        (FlagState::Failed, right.pushed.clone()),
        "what was pushed is remembered"
    );
    let due = run(None, wish(None), Seen::Nothing, OnDrift::Report).flag.unwrap();
    assert!(!run(Some(&due), kept(None), Seen::NotAsked, OnDrift::Report).flag.unwrap().due, "the switch is a switch");
}

#[test]
fn one_that_never_was_is_not_stored_and_one_withdrawn_is_not_due() {
    assert_eq!(run(None, Wish::None, Seen::NotAsked, OnDrift::Report).flag, None);
    let due = run(None, wish(None), Seen::Nothing, OnDrift::Report).flag.unwrap();
    let gone = run(Some(&due), Wish::None, Seen::NotAsked, OnDrift::Report).flag.unwrap();
    assert_eq!((gone.due, gone.reason.as_deref()), (false, Some("withdrawn")));
}

/// A SIS of one flag, its worker, and what may go wrong between them.
#[derive(Debug, Clone, Copy)]
enum Step {
    Wish(Option<i64>),
    /// Compare, and push what is due.
    Sync {
        answer_lost: bool,
        crash: bool,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let wish = proptest::option::of(20_i64..25).prop_map(Step::Wish);
    let sync = (any::<bool>(), any::<bool>()).prop_map(|(answer_lost, crash)| Step::Sync { answer_lost, crash });
    proptest::collection::vec(prop_oneof![wish, sync], 0..12)
}

proptest! {
    #[test]
    fn the_sis_ends_as_wished_whatever_was_lost_on_the_way(steps in steps()) {
        let (mut stored, mut sis, mut wanted): (Option<Flag>, Option<ActualFlag>, _) = (None, None, None);
        let calm = Step::Sync { answer_lost: false, crash: false };
        for step in steps.into_iter().chain([calm, calm]) {
            let Step::Sync { answer_lost, crash } = step else {
                if let Step::Wish(ends) = step { wanted = ends }
                continue;
            };
            let seen = sis.as_ref().map_or(Seen::Nothing, Seen::There);
            let flag = run(stored.as_ref(), wish(wanted), seen, OnDrift::Report).flag.unwrap();
            // What is decided is stored before anything is sent.
            stored = Some(flag.clone());
            if flag.due && !crash {
                sis = Some(shown(&target(wanted)));
                if !answer_lost {
                    stored = Some(accepted(&flag, &target(wanted)));
                }
            }
        }
        prop_assert_eq!(sis.unwrap().ends_on, wanted.map(day));
        let stored = stored.unwrap();
        prop_assert_eq!(stored.state, FlagState::Pushed);
        prop_assert!(!stored.due);
    }
}
