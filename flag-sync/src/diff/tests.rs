//! What a decision is, and what most decisions are tested with; by theme below.

mod drift;
mod every_field;
mod kept_back;
mod links;
mod read_back;
mod whatever_happens;

use rollcall_proto::id::StudentId;

use super::*;
use crate::desired::Dates;

fn day(number: i64) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 8, 1).unwrap() + chrono::TimeDelta::days(number)
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

fn at() -> Moment {
    Moment { now: now(), today: now().date_naive() }
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
        link: Some("https://rollcall.example/launch".to_owned()),
    }
}

fn shown(target: &PushedFlag) -> ActualFlag {
    ActualFlag {
        id: "x".to_owned(),
        sis_id: target.sis_id.to_ascii_uppercase(),
        program_sis_id: target.program_sis_id.clone(),
        starts_on: Some(target.starts_on),
        ends_on: target.ends_on,
        is_undated: false,
        link: target.link.clone().into(),
    }
}

fn run(stored: Option<&Flag>, wish: Wish, seen: Seen<'_>, on_drift: OnDrift) -> Decision {
    decide(Uuid::from_u128(7), &participation(), stored, wish, seen, on_drift, at())
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
fn a_changed_participation_is_pushed_even_over_an_edit() {
    let edited = ActualFlag { ends_on: Some(day(99)), ..shown(&target(None)) };
    let decision = run(Some(&pushed(None)), wish(Some(30)), Seen::There(&edited), OnDrift::Report);
    assert_eq!(decision.drift.as_deref(), Some("edited end"), "what is written over is told");
    let flag = decision.flag.unwrap();
    assert_eq!((flag.state, flag.due, flag.why.as_deref()), (FlagState::Wanted, true, Some("participation-changed")));
    let again = run(Some(&flag), wish(Some(30)), Seen::There(&edited), OnDrift::Report);
    assert_eq!((again.drift, again.flag.unwrap().due), (None, true), "once");
    let gone = run(Some(&pushed(None)), wish(Some(30)), Seen::Nothing, OnDrift::Report);
    assert_eq!(gone.drift.as_deref(), Some("deleted"));
    let known = run(Some(&pushed(None)), wish(None), Seen::There(&edited), OnDrift::Report).flag.unwrap();
    let changed = run(Some(&known), wish(Some(30)), Seen::There(&edited), OnDrift::Report);
    assert_eq!((changed.drift, changed.flag.unwrap().due), (None, true), "it was told before");
}

/// Of what was pushed, each thing that is wished otherwise makes it due; the case of the SIS's ids is nothing.
#[test]
fn what_is_wished_otherwise_is_pushed() {
    let stored = pushed(Some(30));
    let target = target(Some(30));
    let table = [
        (target.clone(), false),
        (PushedFlag { sis_id: "guid-A".to_owned(), ..target.clone() }, false),
        (PushedFlag { program_sis_id: "program".to_owned(), ..target.clone() }, false),
        (PushedFlag { sis_id: "GUID-b".to_owned(), ..target.clone() }, true),
        (PushedFlag { program_sis_id: "OTHER".to_owned(), ..target.clone() }, true),
        (PushedFlag { starts_on: day(11), ..target.clone() }, true),
        (PushedFlag { ends_on: None, ..target }, true),
    ];
    for (wished, due) in table {
        let flag = run(Some(&stored), Wish::Shown(wished.clone()), Seen::NotAsked, OnDrift::Report).flag.unwrap();
        assert_eq!(flag.due, due, "{wished:?}");
    }
}
