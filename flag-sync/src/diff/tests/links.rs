//! Where a click on a flag leads.

use super::*;

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
    // By the district's day: where it is evening, UTC has tomorrow.
    for (today, due) in [(29, true), (30, true), (31, false)] {
        let over = |link: &str| PushedFlag { link: Some(link.to_owned()), ..target(Some(30)) };
        let ended = Flag { pushed: Some(over("a")), ..self::pushed(Some(30)) };
        let seen = ActualFlag { link: to("a"), ..shown(&target(Some(30))) };
        let (wish, at) = (Wish::Shown(over("b")), Moment { today: day(today), ..at() });
        let decision = decide(ended.id, &participation(), Some(&ended), wish, Seen::There(&seen), OnDrift::Report, at);
        assert_eq!(decision.flag.unwrap().due, due, "on day {today}");
    }
    let anew = PushedFlag { program_sis_id: "other".to_owned(), ..target(None) };
    let decision = run(Some(&self::pushed(None)), Wish::Shown(anew), Seen::Nothing, OnDrift::Report);
    assert_eq!((decision.flag.unwrap().due, decision.drift), (true, None));
    let edited = ActualFlag { ends_on: Some(day(99)), ..there(ShownLink::Nothing) };
    let decision = run(Some(&before(None)), Wish::Shown(link(Some("a"))), Seen::There(&edited), OnDrift::Report);
    assert_eq!((decision.flag.unwrap().due, decision.drift.as_deref()), (false, Some("edited end")));
}
