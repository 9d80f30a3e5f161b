//! Flags that somebody edited or deleted in the SIS.

use super::*;

/// The SIS took it: whoever reads nothing has an edit before him, which the district wants reported, or restored, once.
#[test]
fn what_was_accepted_and_is_gone_was_deleted() {
    let sent = accepted(&run(None, wish(None), Seen::Nothing, OnDrift::Report).flag.unwrap(), &target(None));
    let look = |flag: &Flag, on_drift| run(Some(flag), wish(None), Seen::Nothing, on_drift);
    let gone = look(&sent, OnDrift::Report);
    assert_eq!(gone.drift.as_deref(), Some("deleted"));
    let gone = gone.flag.unwrap();
    assert_eq!((gone.state, gone.due, gone.reason.as_deref()), (FlagState::Drift, false, Some("deleted")));
    assert_eq!(look(&gone, OnDrift::Report), Decision { flag: Some(gone.clone()), drift: None }, "told once");
    let there = shown(&target(None));
    let late = run(Some(&gone), wish(None), Seen::There(&there), OnDrift::Report).flag.unwrap();
    assert_eq!(late.state, FlagState::Pushed, "it was only slow");
    let restored = look(&gone, OnDrift::Restore).flag.unwrap();
    assert_eq!((restored.due, restored.why.as_deref()), (true, Some("restore")), "by another choice of the district");

    let restored = look(&sent, OnDrift::Restore);
    assert_eq!(restored.drift.as_deref(), Some("deleted"));
    let restored = restored.flag.unwrap();
    assert_eq!((restored.state, restored.due, restored.why.as_deref()), (FlagState::Drift, true, Some(NOT_READ_BACK)));
    let failed = look(&accepted(&restored, &target(None)), OnDrift::Restore);
    assert_eq!(failed.drift, None);
    let failed = failed.flag.unwrap();
    assert_eq!((failed.state, failed.due, failed.reason.as_deref()), (FlagState::Failed, false, Some(NOT_READ_BACK)));
    assert_eq!(look(&failed, OnDrift::Restore).flag.unwrap(), failed, "it does not go on for ever");
    let reported = look(&accepted(&restored, &target(None)), OnDrift::Report).flag.unwrap();
    assert_eq!((reported.state, reported.due), (FlagState::Drift, false), "a district that does not restore is told");
    // Of a student who left, it is only told.
    let kept = look(&sent, OnDrift::Restore).not_made();
    assert_eq!(kept.drift.as_deref(), Some("deleted"));
    let kept = kept.flag.unwrap();
    assert_eq!((kept.state, kept.due, kept.reason.as_deref()), (FlagState::Drift, false, Some("deleted")));
    let due = run(Some(&sent), wish(Some(30)), Seen::NotAsked, OnDrift::Report);
    assert!(due.flag.as_ref().unwrap().why.is_some());
    let kept = due.not_made().flag.unwrap();
    assert_eq!((kept.due, kept.why, kept.reason.as_deref()), (false, None, Some(NOT_ENROLLED)));
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

/// A flag is due, and whoever writes it looks at it just before.
#[test]
fn what_a_write_would_replace_is_told() {
    let (before, wished) = (target(None), target(Some(30)));
    let due = run(Some(&pushed(None)), wish(Some(30)), Seen::NotAsked, OnDrift::Report).flag.unwrap();
    assert_eq!((due.due, due.verified_at), (true, None));
    let ends = |day_of: i64| ActualFlag { ends_on: Some(day(day_of)), ..shown(&before) };
    let edited = Some("edited end".to_owned());
    let table = [
        ("as it was pushed", Some(shown(&before)), None),
        ("as it is to be", Some(shown(&wished)), None),
        ("otherwise", Some(ends(99)), edited.clone()),
        ("not at all", None, Some("deleted".to_owned())),
    ];
    for (what, actual, told) in table {
        assert_eq!(written_over(&due, &wished, actual.as_ref()), told, "{what}");
    }
    let new = Flag { pushed: None, ..due.clone() };
    assert_eq!(written_over(&new, &wished, None), None, "it never was there");
    let unread = Flag { why: Some(NOT_READ_BACK.to_owned()), ..due.clone() };
    assert_eq!(written_over(&unread, &wished, Some(&ends(99))), None, "that may be the SIS's own doing");
    let known = Flag { state: FlagState::Drift, reason: edited, ..due.clone() };
    assert_eq!(written_over(&known, &wished, Some(&ends(99))), None, "it was told");
    let anew = PushedFlag { program_sis_id: "OTHER".to_owned(), ..wished };
    assert_eq!(written_over(&due, &anew, None), None, "a program made anew has none of the old one's");
}

#[test]
fn another_edit_is_told_again() {
    let edited = ActualFlag { ends_on: Some(day(99)), ..shown(&target(None)) };
    let flag = run(Some(&pushed(None)), wish(None), Seen::There(&edited), OnDrift::Report).flag.unwrap();
    let table = [
        (ActualFlag { sis_id: "other".to_owned(), ..shown(&target(None)) }, "edited student"),
        (ActualFlag { program_sis_id: "other".to_owned(), ..shown(&target(None)) }, "edited program"),
        (ActualFlag { starts_on: Some(day(11)), ..shown(&target(None)) }, "edited start"),
        (ActualFlag { starts_on: None, ..edited }, "edited start end"),
    ];
    for (actual, told) in table {
        let decision = run(Some(&flag), wish(None), Seen::There(&actual), OnDrift::Report);
        assert_eq!(decision.drift.as_deref(), Some(told));
    }
    assert_eq!(run(Some(&flag), wish(None), Seen::Nothing, OnDrift::Report).drift.as_deref(), Some("deleted"));
}
