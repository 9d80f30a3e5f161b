use proptest::prelude::*;
use rollcall_proto::id::StudentId;
use rollcall_store::flag::RefusedFlag;

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
        link: target.link.clone().into(),
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
    // Of a student who left, it is only told.
    let kept = look(&sent, OnDrift::Restore).not_made();
    assert_eq!(kept.drift.as_deref(), Some("deleted"));
    let kept = kept.flag.unwrap();
    assert_eq!((kept.state, kept.due, kept.reason.as_deref()), (FlagState::Drift, false, Some("deleted")));
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

/// Another link is pushed, over nobody's edit; one that the SIS shows already is not.
#[test]
fn a_link_is_pushed_where_the_sis_does_not_show_it() {
    let link = |link: Option<&str>| PushedFlag { link: link.map(str::to_owned), ..target(None) };
    let before = |sent: Option<&str>| Flag { pushed: Some(link(sent)), ..pushed(None) };
    let there = |shown: ShownLink| ActualFlag { link: shown, ..self::shown(&target(None)) };
    let to = |text: &str| ShownLink::To(text.to_owned());
    // What was sent, what is wished, what the SIS shows; then: the state, and what is told.
    let (pushed, due, drift) = (FlagState::Pushed, FlagState::Wanted, FlagState::Drift);
    let table = [
        ("older than links, and right", None, Some("a"), to("a"), pushed, None),
        ("older than links, and without", None, Some("a"), ShownLink::Nothing, due, None),
        ("older than links, in a SIS that tells none", None, Some("a"), ShownLink::NotTold, due, None),
        ("sent to a SIS that tells none", Some("a"), Some("a"), ShownLink::NotTold, pushed, None),
        ("another in a SIS that tells none", Some("a"), Some("b"), ShownLink::NotTold, due, None),
        ("another one", Some("a"), Some("b"), to("a"), due, None),
        (
            "another one to the same flag",
            Some("http://a/l?flag=F1"),
            Some("http://b/l?flag=F1"),
            to("http://a/l?flag=F1"),
            due,
            None,
        ),
        ("not shown", Some("a"), Some("a"), ShownLink::Nothing, pushed, None),
        (
            "spelled otherwise",
            Some("http://a/l?flag=F1"),
            Some("http://a/l?flag=F1"),
            to("HTTP://A/l/f1"),
            pushed,
            None,
        ),
        (
            "of another",
            Some("http://a/l?flag=F1"),
            Some("http://a/l?flag=F1"),
            to("http://a/2"),
            drift,
            Some("edited link"),
        ),
        ("replaced", Some("a"), Some("a"), to("c"), drift, Some("edited link")),
        ("none is wished", Some("a"), None, to("a"), pushed, None),
    ];
    for (what, sent, wished, shown, state, told) in table {
        let decision = run(Some(&before(sent)), Wish::Shown(link(wished)), Seen::There(&there(shown)), OnDrift::Report);
        let flag = decision.flag.unwrap();
        assert_eq!((flag.state, flag.due, decision.drift.as_deref()), (state, state == due, told), "{what}");
        let why = (state == due).then_some("launch-link");
        assert_eq!(flag.why.as_deref(), why, "{what}");
    }
    // What is over is not pushed anew for its link, and a program made anew is nobody's edit.
    let today = (now().date_naive() - day(0)).num_days();
    for (end, due) in [(20, false), (today - 1, false), (today, true)] {
        let over = |link: &str| PushedFlag { link: Some(link.to_owned()), ..target(Some(end)) };
        let ended = Flag { pushed: Some(over("a")), ..self::pushed(Some(end)) };
        let seen = ActualFlag { link: to("a"), ..shown(&target(Some(end))) };
        let decision = run(Some(&ended), Wish::Shown(over("b")), Seen::There(&seen), OnDrift::Report);
        assert_eq!((decision.flag.unwrap().due, decision.drift), (due, None), "ends on day {end} of {today}");
    }
    let anew = PushedFlag { program_sis_id: "other".to_owned(), ..target(None) };
    let decision = run(Some(&self::pushed(None)), Wish::Shown(anew), Seen::Nothing, OnDrift::Report);
    assert_eq!((decision.flag.unwrap().due, decision.drift), (true, None));
    let edited = ActualFlag { ends_on: Some(day(99)), ..there(ShownLink::Nothing) };
    let decision = run(Some(&before(None)), Wish::Shown(link(Some("a"))), Seen::There(&edited), OnDrift::Report);
    assert_eq!((decision.flag.unwrap().due, decision.drift.as_deref()), (false, Some("edited end")));
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
    };
    assert_eq!(flag, expected);
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

/// Of one kept back, only what the SIS has accepted with the dates wished now is left alone.
#[test]
fn one_kept_back_is_right_only_with_both_dates_and_once_accepted() {
    let kept = |starts: i64, ends: i64| Wish::KeptBack {
        dates: Dates { starts_on: day(starts), ends_on: Some(day(ends)) },
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
fn what_was_accepted_is_read_again_by_what_was_sent() {
    let sent = accepted(&run(None, wish(None), Seen::Nothing, OnDrift::Report).flag.unwrap(), &target(None));
    let there = shown(&target(None));
    let read = |flag: &Flag, seen| read_again(flag, seen, OnDrift::Report, now());
    let right = read(&sent, Seen::There(&there)).flag.unwrap();
    assert_eq!((right.state, right.verified_at), (FlagState::Pushed, Some(now())));
    let other = ActualFlag { ends_on: Some(day(99)), ..there.clone() };
    let missed = read(&sent, Seen::There(&other)).flag.unwrap();
    assert_eq!((missed.due, missed.why.as_deref()), (true, Some(NOT_READ_BACK)));
    assert_eq!(read(&sent, Seen::Nothing).drift.as_deref(), Some("deleted"));
    assert!(read_again(&sent, Seen::Nothing, OnDrift::Restore, now()).flag.unwrap().due);
    let unsent = Flag { pushed: None, ..sent };
    let nothing = Decision { flag: Some(unsent.clone()), drift: None };
    assert_eq!(read(&unsent, Seen::There(&there)), nothing, "nothing was sent that could be read");
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
