//! Flags field by field.

use rollcall_store::flag::{Failing, RefusedFlag};

use super::*;

/// A stored flag that has something in every field, nothing of which is what the next decision would put there.
fn eventful() -> Flag {
    Flag {
        id: Uuid::from_u128(8),
        participation: Uuid::from_u128(9),
        student: StudentId("2".to_owned()),
        program: "Q".to_owned(),
        sis_id: Some("GUID-old".to_owned()),
        starts_on: day(1),
        ends_on: Some(day(2)),
        state: FlagState::NoSisId,
        reason: Some("before".to_owned()),
        due: true,
        why: Some("before".to_owned()),
        pushed: Some(PushedFlag { starts_on: day(1), ..target(Some(2)) }),
        verified_at: Some(earlier()),
        refused: Some(RefusedFlag { status: 409, sent: PushedFlag { starts_on: day(3), ..target(Some(2)) } }),
        failing: Some(Failing { failures: 2, retry_at: earlier(), answer: "500".to_owned() }),
    }
}

fn earlier() -> DateTime<Utc> {
    now() - chrono::TimeDelta::days(1)
}

/// The whole flag each time: what a decision does not speak of stays as it was.
#[test]
#[allow(clippy::too_many_lines, reason = "one table")]
fn a_decision_settles_every_field_it_speaks_of_and_no_other() {
    let (old, target, there) = (eventful(), target(Some(30)), shown(&target(Some(30))));
    let edited = ActualFlag { ends_on: None, ..there.clone() };
    let aimed = Flag {
        sis_id: Some(target.sis_id.clone()),
        starts_on: target.starts_on,
        ends_on: target.ends_on,
        ..old.clone()
    };
    let settled = Flag { pushed: Some(target.clone()), ..aimed.clone() };
    let refusal = Some(RefusedFlag { status: 422, sent: target.clone() });
    let wanted = |why: &str| Flag {
        state: FlagState::Wanted,
        reason: None,
        due: true,
        why: Some(why.to_owned()),
        verified_at: None,
        refused: None,
        ..aimed.clone()
    };
    let drift = |due: bool| Flag {
        state: FlagState::Drift,
        reason: Some("edited end".to_owned()),
        due,
        why: due.then(|| "restore".to_owned()),
        ..settled.clone()
    };
    let read_back = |verified_at| Flag {
        state: FlagState::Pushed,
        reason: None,
        due: false,
        why: None,
        pushed: Some(target.clone()),
        verified_at: Some(verified_at),
        refused: None,
        ..aimed.clone()
    };
    let unsent = Flag { pushed: None, ..old.clone() };
    let turned_down = Flag { refused: refusal.clone(), ..old.clone() };
    let unread = Flag { state: FlagState::Accepted, verified_at: None, ..settled.clone() };
    let unread_twice = Flag { why: Some(NOT_READ_BACK.to_owned()), ..unread.clone() };
    let shown_as = Wish::Shown(target.clone());
    let kept_back = Wish::KeptBack {
        sis_id: None,
        dates: Dates { starts_on: day(10), ends_on: Some(day(30)) },
        state: FlagState::Failed,
        reason: "flag-missing".to_owned(),
    };
    let (report, restore) = (OnDrift::Report, OnDrift::Restore);
    let table = [
        (
            "withdrawn",
            &old,
            Wish::None,
            Seen::NotAsked,
            report,
            Flag {
                state: FlagState::Wanted,
                reason: Some("withdrawn".to_owned()),
                due: false,
                why: None,
                ..old.clone()
            },
        ),
        (
            "kept back",
            &old,
            kept_back.clone(),
            Seen::NotAsked,
            report,
            Flag {
                starts_on: day(10),
                ends_on: Some(day(30)),
                state: FlagState::Failed,
                reason: Some("flag-missing".to_owned()),
                due: false,
                why: None,
                ..old.clone()
            },
        ),
        (
            "kept back as it should be",
            &Flag { state: FlagState::Drift, ..settled.clone() },
            kept_back,
            Seen::NotAsked,
            report,
            Flag { state: FlagState::Drift, due: false, ..settled.clone() },
        ),
        ("changed", &old, shown_as.clone(), Seen::NotAsked, report, wanted("participation-changed")),
        (
            "never sent",
            &unsent,
            shown_as.clone(),
            Seen::Nothing,
            report,
            Flag { pushed: None, ..wanted("participation") },
        ),
        ("found as wished", &old, shown_as.clone(), Seen::There(&there), report, read_back(now())),
        ("found as wished again", &settled, shown_as.clone(), Seen::There(&there), report, read_back(earlier())),
        (
            "refused",
            &turned_down,
            shown_as.clone(),
            Seen::Nothing,
            report,
            Flag {
                state: FlagState::Failed,
                reason: Some("campus-422".to_owned()),
                due: false,
                why: None,
                refused: refusal,
                ..aimed.clone()
            },
        ),
        (
            "refused and there all the same",
            &turned_down,
            shown_as.clone(),
            Seen::There(&there),
            report,
            read_back(now()),
        ),
        ("not asked", &settled, shown_as.clone(), Seen::NotAsked, restore, settled.clone()),
        ("edited", &settled, shown_as.clone(), Seen::There(&edited), report, drift(false)),
        ("edited, to be restored", &settled, shown_as.clone(), Seen::There(&edited), restore, drift(true)),
        (
            "accepted and otherwise",
            &unread,
            shown_as.clone(),
            Seen::There(&edited),
            report,
            Flag { pushed: settled.pushed.clone(), ..wanted(NOT_READ_BACK) },
        ),
        (
            "accepted and gone",
            &unread,
            shown_as.clone(),
            Seen::Nothing,
            report,
            Flag { reason: Some("deleted".to_owned()), verified_at: None, ..drift(false) },
        ),
        (
            "accepted and gone, to be restored",
            &unread,
            shown_as.clone(),
            Seen::Nothing,
            restore,
            Flag {
                reason: Some("deleted".to_owned()),
                why: Some(NOT_READ_BACK.to_owned()),
                verified_at: None,
                ..drift(true)
            },
        ),
        (
            "accepted twice and otherwise",
            &unread_twice,
            shown_as,
            Seen::There(&edited),
            report,
            Flag {
                state: FlagState::Failed,
                reason: Some(NOT_READ_BACK.to_owned()),
                due: false,
                why: None,
                ..unread_twice.clone()
            },
        ),
    ];
    for (what, stored, wish, seen, on_drift, expected) in table {
        assert_eq!(run(Some(stored), wish, seen, on_drift).flag, Some(expected), "{what}");
    }
}

#[test]
fn a_new_flag_is_that_of_its_participation() {
    let flag = run(None, wish(Some(30)), Seen::NotAsked, OnDrift::Report).flag.unwrap();
    let expected = Flag {
        id: Uuid::from_u128(7),
        participation: participation().id,
        student: participation().student,
        program: participation().program,
        sis_id: Some("GUID-a".to_owned()),
        starts_on: day(10),
        ends_on: Some(day(30)),
        state: FlagState::Wanted,
        reason: None,
        due: true,
        why: Some("participation".to_owned()),
        pushed: None,
        verified_at: None,
        refused: None,
        failing: None,
    };
    assert_eq!(flag, expected);
}
