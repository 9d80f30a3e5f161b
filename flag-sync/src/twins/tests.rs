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

fn decided(target_days: &str, there: Option<&ActualFlag>, others: &[&str]) -> String {
    let others: Vec<_> =
        others.iter().enumerate().map(|(at, text)| (StudentId(format!("s{at}")), parse(text))).collect();
    match clear(target(target_days), there, &others, day(TODAY)) {
        Clear::Of(flag) => {
            format!("{}..{}", flag.starts_on, flag.ends_on.map(|end| end.to_string()).unwrap_or_default())
        }
        Clear::Taken(student) => student.0,
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
    let table: [(&str, &str, &str, &str, &str); 9] = [
        ("as it is", "2026-09-01..", "2026-09-01..", "2026-09-01..", "2026-09-01.."),
        ("shorter", "2026-09-01..2026-10-31", "2026-09-01..", "2026-09-01..", "2026-09-01..2026-10-31"),
        ("longer", "2026-09-01..", "2026-09-01..2026-10-31", "2026-11-01..", "s0"),
        (
            "longer, up to the other",
            "2026-09-01..2026-10-31",
            "2026-09-01..2026-09-30",
            "2026-11-01..",
            "2026-09-01..2026-10-31",
        ),
        ("earlier, in the past", "2026-08-01..", "2026-09-01..", "2026-08-01..", "2026-08-01.."),
        ("earlier, from today on", "2026-09-20..", "2026-10-01..", "2026-08-01..2026-09-30", "s0"),
        ("later", "2026-12-01..", "2026-10-01..", "2026-08-01..", "2026-12-01.."),
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
            "s0",
        ),
    ];
    for (what, wanted, there, other, expected) in table {
        assert_eq!(decided(wanted, Some(&shown("GUID-A", there)), &[other]), expected, "{what}");
    }
}

#[test]
fn a_flag_of_somebody_else_had_no_day_of_this_person() {
    let there = shown("guid-b", "2026-09-01..");
    assert_eq!(decided("2026-09-01..", Some(&there), &["2026-10-01.."]), "2026-09-01..2026-09-30");
    assert_eq!(decided("2026-09-01..", Some(&there), &["2026-09-01.."]), "s0");
}

#[test]
fn days_that_cannot_be_read_may_be_any() {
    let undated = ActualFlag { is_undated: true, ..shown("guid-a", "2026-09-01..2026-09-02") };
    assert_eq!(days(&undated), (NaiveDate::MIN, None));
    assert_eq!(days(&ActualFlag { starts_on: None, ..shown("guid-a", "2026-09-01..") }), (NaiveDate::MIN, None));
    let others = [(StudentId("s".to_owned()), days(&undated))];
    assert_eq!(clear(target("2026-12-01.."), None, &others, day(TODAY)), Clear::Taken(StudentId("s".to_owned())));
    assert_eq!(clear(target("2026-12-01.."), Some(&undated), &others, day(TODAY)), Clear::Of(target("2026-12-01..")));
}
