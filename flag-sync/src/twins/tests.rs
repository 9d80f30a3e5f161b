use crate::diff::ShownLink;

use super::*;

const TODAY: &str = "2026-09-10";

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

/// `2026-09-01..2026-10-31`, or without its last day.
fn parse(text: &str) -> Days {
    let (first, last) = text.split_once("..").unwrap();
    (day(first), (!last.is_empty()).then(|| day(last)))
}

fn target(text: &str) -> PushedFlag {
    let (starts_on, ends_on) = parse(text);
    PushedFlag { starts_on, ends_on, sis_id: "guid-a".to_owned(), program_sis_id: "101".to_owned(), link: None }
}

fn shown(sis_id: &str, text: &str) -> ActualFlag {
    let (starts_on, ends_on) = parse(text);
    ActualFlag {
        id: "f".to_owned(),
        sis_id: sis_id.to_owned(),
        program_sis_id: "101".to_owned(),
        starts_on: Some(starts_on),
        ends_on,
        is_undated: false,
        link: ShownLink::Nothing,
    }
}

/// `there`: as it was pushed.
fn decided(target_days: &str, there: Option<&ActualFlag>, others: &[&str]) -> String {
    let others: Vec<_> =
        others.iter().enumerate().map(|(at, text)| (StudentId(format!("s{at}")), parse(text))).collect();
    let pushed = there.map(|there| PushedFlag {
        starts_on: there.starts_on.unwrap(),
        ends_on: there.ends_on,
        sis_id: there.sis_id.clone(),
        ..target(target_days)
    });
    match clear(target(target_days), pushed.as_ref(), there, &others, day(TODAY)) {
        Clear::Of(flag) => {
            format!("{}..{}", flag.starts_on, flag.ends_on.map(|end| end.to_string()).unwrap_or_default())
        }
        Clear::Taken(Taken { by, is_there: false }) => by.0,
        Clear::Taken(Taken { by, is_there: true }) => format!("{by}, and there"),
    }
}

#[test]
fn a_new_flag_comes_up_to_the_first_day_of_another_students() {
    let table: [(&str, &str, &[&str], &str); 12] = [
        ("nobody else", "2026-09-01..", &[], "2026-09-01.."),
        ("there today", "2026-09-01..", &["2026-08-01.."], "s0"),
        ("there from tomorrow on", "2026-09-01..", &["2026-09-11.."], "2026-09-01..2026-09-10"),
        ("ends today", "2026-09-01..", &["2026-08-01..2026-09-10"], "s0"),
        ("ended yesterday", "2026-09-01..", &["2026-08-01..2026-09-09"], "2026-09-01.."),
        ("begins with it, later", "2026-10-01..", &["2026-08-01.."], "s0"),
        ("over before it begins", "2026-10-01..", &["2026-08-01..2026-09-30"], "2026-10-01.."),
        ("ends on its first day", "2026-10-01..", &["2026-08-01..2026-10-01"], "s0"),
        ("begins behind it", "2026-09-01..2026-12-31", &["2027-01-01.."], "2026-09-01..2026-12-31"),
        ("begins on its last day", "2026-09-01..2026-12-31", &["2026-12-31.."], "2026-09-01..2026-12-30"),
        ("the first of several", "2026-09-01..", &["2027-01-01..", "2026-11-01..2026-11-30"], "2026-09-01..2026-10-31"),
        ("only days that are past", "2026-08-01..2026-09-09", &["2026-08-01.."], "2026-08-01..2026-09-09"),
    ];
    for (what, wanted, others, expected) in table {
        assert_eq!(decided(wanted, None, others), expected, "{what}");
    }
}

#[test]
fn a_flag_that_is_there_gets_no_day_of_another_students() {
    let kept = "s0, and there";
    let table: [(&str, &str, &str, &str, &str); 15] = [
        ("as it is", "2026-09-01..", "2026-09-01..", "2026-09-01..", "2026-09-01.."),
        ("shorter", "2026-09-01..2026-10-31", "2026-09-01..", "2026-09-01..", "2026-09-01..2026-10-31"),
        ("longer, and the other is right behind", "2026-09-01..", "2026-09-01..2026-10-31", "2026-11-01..", kept),
        ("longer, up to the other", "2026-09-01..", "2026-09-01..2026-10-31", "2026-12-01..", "2026-09-01..2026-11-30"),
        (
            "longer, before the other",
            "2026-09-01..2026-10-31",
            "2026-09-01..2026-09-30",
            "2026-11-01..",
            "2026-09-01..2026-10-31",
        ),
        ("longer, and it was over", "2026-08-01..", "2026-08-01..2026-08-31", "2026-09-05..", kept),
        (
            "longer, and it was over, up to the other",
            "2026-08-01..",
            "2026-08-01..2026-08-31",
            "2027-01-01..",
            "2026-08-01..2026-12-31",
        ),
        ("earlier, in the past", "2026-08-01..", "2026-09-01..", "2026-08-01..", "2026-08-01.."),
        ("earlier, from today on", "2026-09-20..", "2026-10-01..", "2026-08-01..2026-09-30", kept),
        (
            "earlier, and shorter",
            "2026-09-20..2026-12-31",
            "2026-10-01..",
            "2026-08-01..2026-09-30",
            "2026-10-01..2026-12-31",
        ),
        ("later", "2026-12-01..", "2026-10-01..", "2026-08-01..", "2026-12-01.."),
        (
            "later and longer, where the other is",
            "2026-12-01..2027-06-30",
            "2026-10-01..2026-11-30",
            "2026-12-01..",
            "s0",
        ),
        (
            "later and longer, up to the other",
            "2026-11-01..2027-06-30",
            "2026-10-01..2026-11-30",
            "2027-01-01..",
            "2026-11-01..2026-12-31",
        ),
        (
            "at both ends, and the other in its middle",
            "2026-09-15..2026-12-31",
            "2026-10-01..2026-11-30",
            "2026-10-15..2026-10-20",
            "2026-09-15..2026-12-31",
        ),
        (
            "at both ends, and the other at its end",
            "2026-09-15..2026-12-31",
            "2026-10-01..2026-11-30",
            "2026-12-31..",
            "2026-09-15..2026-12-30",
        ),
    ];
    for (what, wanted, there, other, expected) in table {
        assert_eq!(decided(wanted, Some(&shown("GUID-A", there)), &[other]), expected, "{what}");
    }
}

#[test]
fn what_is_there_otherwise_than_it_was_pushed_or_is_to_be_is_written() {
    let (there, others) =
        (shown("guid-a", "2026-09-01..2026-10-31"), [(StudentId("s".to_owned()), parse("2026-11-01.."))]);
    let (wanted, left) = (target("2026-09-01.."), target("2026-09-01..2026-10-31"));
    let decided =
        |pushed: &PushedFlag, there: &ActualFlag| clear(wanted.clone(), Some(pushed), Some(there), &others, day(TODAY));
    assert_eq!(decided(&left, &there), Clear::Taken(Taken { by: others[0].0.clone(), is_there: true }));
    assert_eq!(decided(&left, &shown("guid-a", "2026-09-01..2026-09-15")), Clear::Of(left.clone()), "staff cut it off");
    let other_program = PushedFlag { program_sis_id: "102".to_owned(), ..left.clone() };
    assert_eq!(decided(&other_program, &there), Clear::Of(left.clone()));
    let linked = PushedFlag { link: Some("https://rollcall.example/".to_owned()), ..wanted.clone() };
    let expected = PushedFlag { ends_on: left.ends_on, ..linked.clone() };
    assert_eq!(clear(linked, Some(&left), Some(&there), &others, day(TODAY)), Clear::Of(expected), "another link");
}

#[test]
fn a_flag_of_somebody_else_goes_to_whose_it_is() {
    let table = [
        ("up to the other", "2026-09-01..", "2026-10-01..", "2026-09-01..2026-09-30"),
        ("for what is over", "2026-09-01..", "2026-08-01..", "2026-09-01..2026-09-09"),
        ("for its first day", "2026-10-01..", "2026-08-01..", "2026-10-01..2026-10-01"),
    ];
    for (what, wanted, other, expected) in table {
        assert_eq!(decided(wanted, Some(&shown("guid-b", "2026-09-01..")), &[other]), expected, "{what}");
    }
}

#[test]
fn a_flag_that_was_kept_back_is_kept_back_the_next_night() {
    // What is written once is there, and nothing more is written, whatever day it is by then.
    let other = [(StudentId("s".to_owned()), parse("2026-08-01.."))];
    let wanted = target("2026-09-01..");
    let Clear::Of(moved) = clear(wanted.clone(), None, Some(&shown("guid-b", "2026-09-01..")), &other, day(TODAY))
    else {
        panic!("it is not moved");
    };
    for today in ["2026-09-11", "2026-12-24", "2027-08-01"] {
        let there = shown("guid-a", "2026-09-01..2026-09-09");
        let again = clear(wanted.clone(), Some(&moved), Some(&there), &other, day(today));
        assert_eq!(again, Clear::Taken(Taken { by: other[0].0.clone(), is_there: true }), "{today}");
    }
}

#[test]
fn days_that_cannot_be_read_may_be_any() {
    let undated = ActualFlag { is_undated: true, ..shown("guid-a", "2026-09-01..2026-09-02") };
    assert_eq!(days(&undated), (NaiveDate::MIN, None));
    assert_eq!(days(&ActualFlag { starts_on: None, ..shown("guid-a", "2026-09-01..") }), (NaiveDate::MIN, None));
    let others = [(StudentId("s".to_owned()), days(&undated))];
    let taken = Clear::Taken(Taken { by: others[0].0.clone(), is_there: false });
    assert_eq!(clear(target("2026-12-01.."), None, None, &others, day(TODAY)), taken);
    let own = clear(target("2026-12-01.."), None, Some(&undated), &others, day(TODAY));
    assert_eq!(own, Clear::Of(target("2026-12-01..")));
}
