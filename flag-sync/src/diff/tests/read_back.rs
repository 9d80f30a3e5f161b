//! What the SIS accepted, and whether it shows it.

use super::*;

#[test]
fn an_answer_that_was_lost_is_found_when_reading() {
    let first = run(None, wish(None), Seen::Nothing, OnDrift::Report).flag.unwrap();
    let there = shown(&target(None));
    let found = run(Some(&first), wish(None), Seen::There(&there), OnDrift::Report).flag.unwrap();
    assert_eq!((found.state, found.due), (FlagState::Pushed, false));
}

#[test]
fn what_was_accepted_and_is_otherwise_is_pushed_once_more_then_fails() {
    let sent = accepted(&run(None, wish(None), Seen::Nothing, OnDrift::Report).flag.unwrap(), &target(None));
    let other = ActualFlag { ends_on: Some(day(99)), ..shown(&target(None)) };
    let again = run(Some(&sent), wish(None), Seen::There(&other), OnDrift::Report);
    assert_eq!(again.drift, None, "nobody edited what was never read back");
    let again = again.flag.unwrap();
    assert_eq!((again.due, again.why.as_deref()), (true, Some("not-read-back")));
    let sent = accepted(&again, &target(None));
    let failed = run(Some(&sent), wish(None), Seen::There(&other), OnDrift::Report).flag.unwrap();
    assert_eq!((failed.state, failed.due, failed.reason.as_deref()), (FlagState::Failed, false, Some("not-read-back")));
    let there = shown(&target(None));
    let late = run(Some(&failed), wish(None), Seen::There(&there), OnDrift::Report).flag.unwrap();
    assert_eq!(late.state, FlagState::Pushed, "it was only slow");
}

#[test]
fn a_second_push_that_was_cut_off_is_made_and_its_failure_stays_a_failure() {
    let sent = accepted(&run(None, wish(None), Seen::Nothing, OnDrift::Report).flag.unwrap(), &target(None));
    let other = ActualFlag { ends_on: Some(day(99)), ..shown(&target(None)) };
    let look = |flag: &Flag| run(Some(flag), wish(None), Seen::There(&other), OnDrift::Report).flag.unwrap();
    let still = look(&look(&sent));
    assert_eq!((still.state, still.due), (FlagState::Wanted, true), "it was never sent a second time");
    let failed = look(&accepted(&still, &target(None)));
    assert_eq!((failed.state, failed.due), (FlagState::Failed, false));
    assert_eq!(look(&failed), failed);
}

#[test]
fn what_a_look_alone_settles_is_told() {
    let right = pushed(None);
    let state = |state| Flag { state, ..right.clone() };
    let other = Flag { pushed: Some(target(Some(30))), ..right.clone() };
    let old = Flag { pushed: Some(PushedFlag { link: None, ..target(None) }), ..right.clone() };
    let unsent = Flag { pushed: None, due: true, ..state(FlagState::Wanted) };
    let table = [
        ("as before", Some(right.clone()), None),
        ("but for a link that was not kept", Some(old), None),
        ("accepted, and not read back", Some(state(FlagState::Accepted)), Some("read-back")),
        ("an answer was lost", Some(unsent), Some("found")),
        ("the answer to a change was lost", Some(state(FlagState::Wanted)), Some("found")),
        ("somebody was before us", Some(other), Some("found")),
        ("put back", Some(state(FlagState::Drift)), Some("found")),
        ("it was only slow", Some(state(FlagState::Failed)), Some("found")),
        ("never stored", None, Some("found")),
    ];
    for (what, before, action) in table {
        assert_eq!(seen_as_wished(before.as_ref(), &right).map(|(action, _)| action), action, "{what}");
    }
    assert_eq!(seen_as_wished(None, &state(FlagState::Wanted)), None, "nothing is settled");
    // Why, by whether it was this that was sent.
    let why = |state, ends| {
        let before = Flag { state, pushed: Some(target(ends)), ..right.clone() };
        seen_as_wished(Some(&before), &right).map(|(_, why)| why)
    };
    let unknown = Some("the SIS has it: an answer was lost, or somebody was before us");
    assert_eq!([None, Some(30)].map(|ends| why(FlagState::Accepted, ends)), [Some("accepted before"), unknown]);
    let again = Some("the SIS shows it again as it was pushed");
    assert_eq!([None, Some(30)].map(|ends| why(FlagState::Drift, ends)), [again, unknown]);
}

#[test]
fn what_was_accepted_is_read_again_by_what_was_sent() {
    let sent = accepted(&run(None, wish(None), Seen::Nothing, OnDrift::Report).flag.unwrap(), &target(None));
    let there = shown(&target(None));
    let read = |flag: &Flag, seen| read_again(flag, seen, OnDrift::Report, at());
    let right = read(&sent, Seen::There(&there)).flag.unwrap();
    assert_eq!((right.state, right.verified_at), (FlagState::Pushed, Some(now())));
    let other = ActualFlag { ends_on: Some(day(99)), ..there.clone() };
    let missed = read(&sent, Seen::There(&other)).flag.unwrap();
    assert_eq!((missed.due, missed.why.as_deref()), (true, Some(NOT_READ_BACK)));
    assert_eq!(read(&sent, Seen::Nothing).drift.as_deref(), Some("deleted"));
    assert!(read_again(&sent, Seen::Nothing, OnDrift::Restore, at()).flag.unwrap().due);
    let unsent = Flag { pushed: None, ..sent };
    let nothing = Decision { flag: Some(unsent.clone()), drift: None };
    assert_eq!(read(&unsent, Seen::There(&there)), nothing, "nothing was sent that could be read");
}
