//! Flags that are not to be pushed now, or not any more.

use super::*;

#[test]
fn one_kept_back_is_listed_and_one_that_is_right_stays() {
    let kept = |ends: Option<i64>| Wish::KeptBack {
        dates: Dates { starts_on: day(10), ends_on: ends.map(day) },
        sis_id: Some("GUID-NOW".to_owned()),
        state: FlagState::Failed,
        reason: "flag-missing".to_owned(),
    };
    let fresh = run(None, kept(None), Seen::NotAsked, OnDrift::Report).flag.unwrap();
    assert_eq!((fresh.state, fresh.due, fresh.reason.as_deref()), (FlagState::Failed, false, Some("flag-missing")));
    assert_eq!(fresh.sis_id.as_deref(), Some("GUID-NOW"), "known, whether or not it was pushed");
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

/// Of one kept back, only what the SIS has accepted with the dates wished now is left alone.
#[test]
fn one_kept_back_is_right_only_with_both_dates_and_once_accepted() {
    let kept = |starts: i64, ends: i64| Wish::KeptBack {
        dates: Dates { starts_on: day(starts), ends_on: Some(day(ends)) },
        sis_id: None,
        state: FlagState::Failed,
        reason: "flag-missing".to_owned(),
    };
    let right = pushed(Some(30));
    let sent = accepted(&right, &target(Some(30)));
    let unsent = Flag { pushed: None, ..right.clone() };
    let unsettled = Flag { state: FlagState::Wanted, ..right.clone() };
    for (what, stored, wish, left_alone) in [
        ("read back", &right, kept(10, 30), true),
        ("accepted", &sent, kept(10, 30), true),
        ("another start", &right, kept(11, 30), false),
        ("another end", &right, kept(10, 31), false),
        ("never sent", &unsent, kept(10, 30), false),
        ("not settled", &unsettled, kept(10, 30), false),
    ] {
        let flag = run(Some(stored), wish, Seen::NotAsked, OnDrift::Report).flag.unwrap();
        assert_eq!(flag.state != FlagState::Failed, left_alone, "{what}");
    }
}

#[test]
fn one_that_never_was_is_not_stored_and_one_withdrawn_is_not_due() {
    assert_eq!(run(None, Wish::None, Seen::NotAsked, OnDrift::Report).flag, None);
    let due = run(None, wish(None), Seen::Nothing, OnDrift::Report).flag.unwrap();
    let gone = run(Some(&due), Wish::None, Seen::NotAsked, OnDrift::Report).flag.unwrap();
    assert_eq!((gone.due, gone.reason.as_deref()), (false, Some("withdrawn")));
}
