//! The status rules row by row: every rule, boundary and trap of docs/STATUS.md.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use chrono::NaiveDate;
use rollcall_classifier::status::{
    CodeFact, DateFact, EnrollmentFact, Facts, Illegible, Outcome, Seen, Verdict, WarningCode, Withheld, YearFact,
    compare_ids, decide,
};
use rollcall_proto::roster::{Rule, Status};
use rollcall_store::district::{SchoolYears, StatusPolicy, WithdrawalDateIs};

const TODAY: &str = "2026-03-10";
const LAST_DAY: WithdrawalDateIs = WithdrawalDateIs::LastDayEnrolled;
const FIRST_DAY: WithdrawalDateIs = WithdrawalDateIs::FirstDayNotEnrolled;

fn day(text: &str) -> NaiveDate {
    text.parse().expect("a date")
}

/// `""` is absent, `"?"` unreadable.
fn date(text: &str) -> DateFact {
    match text {
        "" => DateFact::Absent,
        "?" => DateFact::Unreadable,
        date => DateFact::On(day(date)),
    }
}

const fn year(of: i32) -> YearFact {
    YearFact::Ending { of, current: 2026 }
}

/// An enrollment of the current year; `entry` and `withdrawal` as [`date`] reads them, `"?"` an unresolved code.
fn enrolled<'a>(id: &'a str, entry: &str, withdrawal: &str, code: &'a str) -> EnrollmentFact<'a> {
    EnrollmentFact {
        id,
        year: year(2026),
        default_entity: true,
        entry: date(entry),
        withdrawal: date(withdrawal),
        code: match code {
            "" => CodeFact::Absent,
            "?" => CodeFact::Unresolved,
            code => CodeFact::Code(code),
        },
        seen: Seen::Listed,
    }
}

fn of_year(of: i32, enrollment: EnrollmentFact<'_>) -> EnrollmentFact<'_> {
    EnrollmentFact { year: year(of), ..enrollment }
}

fn without_year(enrollment: EnrollmentFact<'_>) -> EnrollmentFact<'_> {
    EnrollmentFact { year: YearFact::NotGiven, ..enrollment }
}

fn remembered<'a>(assumed_end: &str, enrollment: EnrollmentFact<'a>) -> EnrollmentFact<'a> {
    EnrollmentFact { seen: Seen::Remembered { assumed_end: day(assumed_end) }, ..without_year(enrollment) }
}

fn elsewhere(enrollment: EnrollmentFact<'_>) -> EnrollmentFact<'_> {
    EnrollmentFact { default_entity: false, ..enrollment }
}

/// A question, with the defaults of a district file.
struct Question {
    today: NaiveDate,
    policy: StatusPolicy,
    known: Option<Status>,
}

fn ask() -> Question {
    Question { today: day(TODAY), policy: StatusPolicy::default(), known: None }
}

impl Question {
    fn on(self, today: &str) -> Self {
        Self { today: day(today), ..self }
    }

    fn known(self, status: Status) -> Self {
        Self { known: Some(status), ..self }
    }

    fn reading(mut self, is: WithdrawalDateIs) -> Self {
        self.policy.withdrawal_date_is = Some(is);
        self
    }

    fn with_next_year(mut self) -> Self {
        self.policy.school_years = SchoolYears::CurrentAndNext;
        self
    }

    fn graduating(mut self, codes: &[&str]) -> Self {
        self.policy.graduated_withdrawal_codes = codes.iter().map(ToString::to_string).collect();
        self
    }

    fn ignoring(mut self, codes: &[&str]) -> Self {
        self.policy.ignore_withdrawal_codes = codes.iter().map(ToString::to_string).collect();
        self
    }

    fn of<'a>(&'a self, enrollments: &'a [EnrollmentFact<'a>]) -> Result<Outcome<'a>, Withheld<'a>> {
        decide(&Facts { today: self.today, policy: &self.policy, known: self.known, enrollments })
    }

    /// `RULE STATUS evidence,… deciding` or `7`, then the warnings; or what withholds.
    fn answer(&self, enrollments: &[EnrollmentFact<'_>]) -> String {
        match self.of(enrollments) {
            Err(withheld) => format!("{} {:?}", withheld.enrollment, withheld.illegible),
            Ok(outcome) => {
                let verdict = match outcome.verdict {
                    Verdict::NotImported => "7".to_owned(),
                    Verdict::Decided(decision) => format!(
                        "{} {} {} {}",
                        decision.rule.as_str(),
                        decision.status.as_str(),
                        decision.evidence.join(","),
                        decision.deciding.map_or("-", |index| enrollments[index].id)
                    ),
                };
                let warnings = outcome.warnings.iter().map(|one| format!(" !{} {}", one.enrollment, one.code.as_str()));
                verdict + &warnings.collect::<String>()
            }
        }
    }
}

#[track_caller]
fn check(question: &Question, enrollments: &[EnrollmentFact<'_>], expected: &str) {
    assert_eq!(question.answer(enrollments), expected);
    let backwards: Vec<_> = enrollments.iter().rev().copied().collect();
    assert_eq!(question.answer(&backwards), expected, "in reverse order");
}

#[test]
fn rule_1_some_enrollment_is_current() {
    let open = enrolled("1", "2025-08-20", "", "");
    let gone = enrolled("2", "2025-08-20", "2025-12-01", "01");
    let ahead = enrolled("3", "2026-04-01", "", "");
    check(&ask(), &[open], "1 ENROLLED 1 1");
    check(&ask(), &[open, gone, ahead], "1 ENROLLED 1 1");
    check(&ask().known(Status::Graduated), &[open], "1 ENROLLED 1 1");
    check(&ask(), &[enrolled("4", "2025-08-20", "2026-05-28", "")], "1 ENROLLED 4 4");
}

#[test]
fn rule_1_the_first_day_counts() {
    check(&ask(), &[enrolled("1", TODAY, "", "")], "1 ENROLLED 1 1");
    check(&ask(), &[enrolled("1", "2026-03-11", "", "")], "2 PRE_ENROLLED 1 1");
}

#[test]
fn rule_2_some_is_future_and_none_is_past() {
    check(&ask(), &[enrolled("1", "2026-08-20", "", "")], "2 PRE_ENROLLED 1 1");
    check(&ask(), &[enrolled("1", "2026-08-20", "2026-12-18", "")], "2 PRE_ENROLLED 1 1");
    let long_gone = of_year(2024, enrolled("2", "2023-08-20", "2024-05-20", "02"));
    check(&ask(), &[enrolled("1", "2026-08-20", "", ""), long_gone], "2 PRE_ENROLLED 1 1");
}

#[test]
fn rule_3_over_the_summer() {
    let last_year = of_year(2025, enrolled("9", "2024-08-20", "2025-05-28", ""));
    let this_year = enrolled("10", "2025-08-20", "", "");
    check(&ask().on("2025-07-01"), &[last_year, this_year], "3 ENROLLED 9,10 10");
}

#[test]
fn rule_3_holds_after_a_graduation_code() {
    let graduated = enrolled("1", "2025-08-20", "2026-01-10", "01");
    check(&ask(), &[graduated, enrolled("2", "2026-08-20", "", "")], "3 ENROLLED 1,2 2");
}

#[test]
fn rule_4_the_most_recent_past_one_has_a_graduation_code() {
    check(&ask(), &[enrolled("1", "2025-08-20", "2025-12-19", "01")], "4 GRADUATED 1 1");
    check(&ask(), &[enrolled("1", "2025-08-20", "2025-12-19", "  01 ")], "4 GRADUATED 1 1");
    check(&ask().graduating(&[" 01 "]), &[enrolled("1", "2025-08-20", "2025-12-19", "01")], "4 GRADUATED 1 1");
    check(&ask().graduating(&["14", "W9"]), &[enrolled("1", "2025-08-20", "2025-12-19", "W9")], "4 GRADUATED 1 1");
}

#[test]
fn rule_4_codes_are_the_districts_and_exact() {
    check(&ask().graduating(&["14"]), &[enrolled("1", "2025-08-20", "2025-12-19", "01")], "5 INACTIVE 1 1");
    check(&ask().graduating(&["W9"]), &[enrolled("1", "2025-08-20", "2025-12-19", "w9")], "5 INACTIVE 1 1");
    check(&ask(), &[enrolled("1", "2025-08-20", "2025-12-19", "1")], "5 INACTIVE 1 1");
    check(&ask().graduating(&[]), &[enrolled("1", "2025-08-20", "2025-12-19", "01")], "5 INACTIVE 1 1");
    check(&ask().graduating(&["", "  "]), &[enrolled("1", "2025-08-20", "2025-12-19", "  ")], "5 INACTIVE 1 1");
}

#[test]
fn rule_5_left_without_graduating() {
    check(&ask(), &[enrolled("1", "2025-08-20", "2025-12-19", "80")], "5 INACTIVE 1 1");
    check(&ask(), &[enrolled("1", "2025-08-20", "2025-12-19", "")], "5 INACTIVE 1 1");
    check(&ask().known(Status::Graduated), &[enrolled("1", "2025-08-20", "2025-12-19", "80")], "5 INACTIVE 1 1");
}

#[test]
fn most_recent_past_by_withdrawal_then_entry_then_id() {
    let graduated = enrolled("5", "2025-08-20", "2025-12-19", "01");
    check(&ask(), &[graduated, enrolled("9", "2025-09-01", "2025-12-18", "80")], "4 GRADUATED 5 5");
    check(&ask(), &[graduated, enrolled("1", "2025-08-01", "2025-12-20", "80")], "5 INACTIVE 1 1");
    check(&ask(), &[graduated, enrolled("1", "2025-08-21", "2025-12-19", "80")], "5 INACTIVE 1 1");
    check(&ask(), &[graduated, enrolled("10", "2025-08-20", "2025-12-19", "80")], "5 INACTIVE 10 10");
    check(&ask(), &[graduated, enrolled("4", "2025-08-20", "2025-12-19", "80")], "4 GRADUATED 5 5");
    check(&ask(), &[graduated, enrolled("005", "2025-08-20", "2025-12-19", "80")], "4 GRADUATED 5 5");
    check(&ask(), &[graduated, enrolled("5a", "2025-08-20", "2025-12-19", "80")], "5 INACTIVE 5a 5a");
}

#[test]
fn rule_6_nothing_counts_of_a_known_student() {
    let old = of_year(2024, enrolled("1", "2023-08-20", "2024-05-20", "80"));
    for (known, expected) in [
        (Status::Graduated, "6 GRADUATED  -"),
        (Status::Inactive, "6 INACTIVE  -"),
        (Status::Enrolled, "6 INACTIVE  -"),
        (Status::PreEnrolled, "6 INACTIVE  -"),
    ] {
        check(&ask().known(known), &[], expected);
        check(&ask().known(known), &[old], expected);
        check(&ask().known(known), &[enrolled("2", "2025-08-20", "", "CECS")], expected);
    }
}

#[test]
fn rule_7_nothing_counts_of_a_stranger() {
    check(&ask(), &[], "7");
    check(&ask(), &[of_year(2024, enrolled("1", "2023-08-20", "2024-05-20", "01"))], "7");
    check(&ask(), &[enrolled("1", "2025-08-20", "", "cecs")], "7");
}

#[test]
fn last_day_enrolled_is_in_force_through_it() {
    check(&ask(), &[enrolled("1", "2025-08-20", TODAY, "80")], "1 ENROLLED 1 1");
    check(&ask().on("2026-03-11"), &[enrolled("1", "2025-08-20", TODAY, "80")], "5 INACTIVE 1 1");
}

#[test]
fn first_day_not_enrolled_is_not_in_force_on_it() {
    let texas = || ask().reading(FIRST_DAY);
    check(&texas(), &[enrolled("1", "2025-08-20", "2026-03-11", "80")], "1 ENROLLED 1 1");
    check(&texas(), &[enrolled("1", "2025-08-20", TODAY, "80")], "5 INACTIVE 1 1");
}

#[test]
fn equal_dates() {
    let one_day = enrolled("1", TODAY, TODAY, "80");
    check(&ask().reading(LAST_DAY), &[one_day], "1 ENROLLED 1 1");
    check(&ask().reading(FIRST_DAY), &[one_day], "7 !1 withdrawal-before-entry");
    let tomorrow = enrolled("1", "2026-03-11", "2026-03-11", "80");
    check(&ask().reading(LAST_DAY), &[tomorrow], "2 PRE_ENROLLED 1 1");
    check(&ask().reading(FIRST_DAY), &[tomorrow], "7 !1 withdrawal-before-entry");
    let yesterday = enrolled("1", "2026-03-09", "2026-03-09", "01");
    check(&ask().reading(LAST_DAY), &[yesterday], "4 GRADUATED 1 1");
    check(&ask().reading(FIRST_DAY), &[yesterday], "7 !1 withdrawal-before-entry");
}

#[test]
fn withdrawal_before_entry_was_never_in_force() {
    let never = enrolled("1", "2026-03-09", "2026-03-08", "80");
    check(&ask(), &[never], "7 !1 withdrawal-before-entry");
    check(&ask().known(Status::Enrolled), &[never], "6 INACTIVE  - !1 withdrawal-before-entry");
    let cancelled_ahead = enrolled("2", "2026-08-20", "2026-08-01", "");
    check(&ask(), &[never, cancelled_ahead], "7 !1 withdrawal-before-entry !2 withdrawal-before-entry");
    let ahead = enrolled("3", "2026-08-20", "", "");
    check(&ask(), &[never, ahead], "2 PRE_ENROLLED 3 3 !1 withdrawal-before-entry");
}

#[test]
fn an_enrollment_never_in_force_withholds_nobody() {
    check(&ask(), &[enrolled("1", "2026-03-09", "2026-03-08", "?")], "7 !1 withdrawal-before-entry");
}

#[test]
fn the_window_begins_a_year_ago() {
    let ended = |on: &'static str| of_year(2025, enrolled("1", "2024-08-20", on, "01"));
    check(&ask(), &[ended("2025-03-10")], "4 GRADUATED 1 1");
    check(&ask(), &[ended("2025-03-09")], "7");
    check(&ask().reading(FIRST_DAY), &[ended("2025-03-10")], "4 GRADUATED 1 1");
    check(&ask().reading(FIRST_DAY), &[ended("2025-03-09")], "7");
}

#[test]
fn the_window_ends_today() {
    let next = of_year(2027, enrolled("1", "2026-03-01", TODAY, "80"));
    check(&ask().reading(FIRST_DAY), &[next], "5 INACTIVE 1 1");
    check(&ask().reading(LAST_DAY), &[next], "1 ENROLLED 1 1");
    let next = of_year(2027, enrolled("1", "2026-03-01", "2026-03-11", "80"));
    check(&ask().reading(LAST_DAY), &[next], "7 !1 in-force-in-later-year");
}

#[test]
fn leap_day_counts_back_to_the_28th() {
    let ended = |on: &'static str| of_year(2023, enrolled("1", "2022-08-20", on, ""));
    check(&ask().on("2024-02-29"), &[ended("2023-02-28")], "5 INACTIVE 1 1");
    check(&ask().on("2024-02-29"), &[ended("2023-02-27")], "7");
    check(&ask().on("2024-02-28"), &[ended("2023-02-28")], "5 INACTIVE 1 1");
    check(&ask().on("2024-03-01"), &[ended("2023-02-28")], "7");
    let leap = of_year(2024, enrolled("1", "2023-08-20", "2024-02-29", ""));
    check(&ask().on("2025-02-28"), &[leap], "5 INACTIVE 1 1");
    check(&ask().on("2025-03-01"), &[leap], "7");
}

#[test]
fn ended_before_the_window_in_the_current_year() {
    check(&ask(), &[enrolled("1", "2024-08-20", "2025-03-09", "01")], "7");
}

#[test]
fn upcoming_of_the_next_year() {
    let next = of_year(2027, enrolled("2", "2026-08-20", "", ""));
    let gone = enrolled("1", "2025-08-20", "2026-01-10", "80");
    check(&ask(), &[next], "7");
    check(&ask(), &[next, gone], "5 INACTIVE 1 1");
    check(&ask().with_next_year(), &[next], "2 PRE_ENROLLED 2 2");
    check(&ask().with_next_year(), &[next, gone], "3 ENROLLED 1,2 2");
}

#[test]
fn years_beyond_the_next_do_not_count() {
    let far = of_year(2028, enrolled("1", "2027-08-20", "", ""));
    check(&ask().with_next_year(), &[far], "7");
}

#[test]
fn in_force_in_a_year_that_has_not_begun_is_reported() {
    let early = of_year(2027, enrolled("1", "2026-03-01", "", ""));
    check(&ask(), &[early], "7 !1 in-force-in-later-year");
    check(&ask().with_next_year(), &[early], "7 !1 in-force-in-later-year");
}

#[test]
fn an_earlier_year_in_force_today_counts_while_it_has_an_end() {
    let earlier = |withdrawal: &'static str| of_year(2025, enrolled("1", "2024-08-20", withdrawal, ""));
    check(&ask(), &[earlier("2026-03-20")], "1 ENROLLED 1 1");
    check(&ask(), &[earlier(TODAY)], "1 ENROLLED 1 1");
    check(&ask(), &[earlier("2026-03-09")], "5 INACTIVE 1 1");
    check(&ask().reading(FIRST_DAY), &[earlier("2026-03-11")], "1 ENROLLED 1 1");
    check(&ask().reading(FIRST_DAY), &[earlier(TODAY)], "5 INACTIVE 1 1");
    check(&ask(), &[earlier("")], "7 !1 open-enrollment-of-earlier-year");
    check(&ask().known(Status::Enrolled), &[earlier("")], "6 INACTIVE  - !1 open-enrollment-of-earlier-year");
}

#[test]
fn an_earlier_year_that_has_yet_to_begin_does_not_count() {
    check(&ask(), &[of_year(2025, enrolled("1", "2026-04-01", "2026-05-01", ""))], "7");
    let open = of_year(2025, enrolled("1", "2026-04-01", "", ""));
    check(&ask(), &[open], "7 !1 open-enrollment-of-earlier-year");
}

#[test]
fn years_are_judged_against_their_own_entity() {
    let flipped =
        EnrollmentFact { year: YearFact::Ending { of: 2027, current: 2027 }, ..enrolled("1", "2026-08-20", "", "") };
    check(&ask(), &[flipped], "2 PRE_ENROLLED 1 1");
}

#[test]
fn ignored_codes_trimmed_in_any_case() {
    for code in ["CECS", "cecs", " CeCs ", "\tcecs\n"] {
        check(&ask(), &[enrolled("1", "2025-08-20", "", code)], "7");
        check(&ask(), &[enrolled("1", "2025-08-20", "2025-12-01", code)], "7");
    }
    check(&ask().ignoring(&[" cecs "]), &[enrolled("1", "2025-08-20", "", "CECS")], "7");
    check(&ask().ignoring(&["Été"]), &[enrolled("1", "2025-08-20", "", "éTÉ")], "7");
    check(&ask(), &[enrolled("1", "2025-08-20", "", "CECSX")], "1 ENROLLED 1 1");
    check(&ask().ignoring(&[]), &[enrolled("1", "2025-08-20", "", "CECS")], "1 ENROLLED 1 1");
    check(&ask().ignoring(&[""]), &[enrolled("1", "2025-08-20", "", " ")], "1 ENROLLED 1 1");
}

#[test]
fn a_course_elsewhere_leaves_the_home_campus_alone() {
    let home = enrolled("1", "2025-08-20", "2025-12-19", "01");
    let course = elsewhere(enrolled("2", "2025-08-20", "2026-02-01", "CECS"));
    check(&ask(), &[home, course], "4 GRADUATED 1 1");
    let course_to_come = elsewhere(enrolled("2", "2026-08-20", "", "CECS"));
    check(&ask(), &[home, course_to_come], "4 GRADUATED 1 1");
}

#[test]
fn an_ignored_enrollment_is_ignored_though_illegible_or_odd() {
    check(&ask(), &[enrolled("1", "?", "?", "CECS")], "7");
    check(&ask(), &[enrolled("1", "2026-03-09", "2026-03-08", "CECS")], "7");
    check(&ask(), &[of_year(2025, enrolled("1", "2024-08-20", "", "CECS"))], "7");
}

#[test]
fn an_ignored_code_wins_over_a_graduation_code() {
    let both = ask().ignoring(&["01"]).graduating(&["01"]);
    check(&both, &[enrolled("1", "2025-08-20", "2025-12-19", "01")], "7");
}

#[test]
fn an_unresolved_code_withholds_where_the_enrollment_could_count() {
    for (entry, withdrawal) in
        [("2025-08-20", "2025-12-19"), ("2025-08-20", ""), ("2025-08-20", TODAY), ("2026-08-20", "")]
    {
        check(&ask(), &[enrolled("1", entry, withdrawal, "?")], "1 WithdrawalCode");
    }
    let sound = enrolled("2", "2025-08-20", "", "");
    check(&ask().known(Status::Enrolled), &[sound, enrolled("1", "2025-08-20", "2025-09-01", "?")], "1 WithdrawalCode");
    check(&ask(), &[of_year(2025, enrolled("1", "2024-08-20", "2025-03-10", "?"))], "1 WithdrawalCode");
}

#[test]
fn an_unresolved_code_is_ignored_where_it_cannot_count() {
    check(&ask(), &[of_year(2025, enrolled("1", "2024-08-20", "2025-03-09", "?"))], "7");
    check(&ask(), &[of_year(2027, enrolled("1", "2026-08-20", "", "?"))], "7");
    check(&ask().with_next_year(), &[of_year(2027, enrolled("1", "2026-08-20", "", "?"))], "1 WithdrawalCode");
    let open = of_year(2025, enrolled("1", "2024-08-20", "", "?"));
    check(&ask(), &[open], "7 !1 open-enrollment-of-earlier-year");
}

#[test]
fn an_unreadable_date_withholds_where_the_enrollment_could_count() {
    check(&ask(), &[enrolled("1", "?", "", "")], "1 EntryDate");
    check(&ask(), &[enrolled("1", "?", "2025-12-19", "")], "1 EntryDate");
    check(&ask(), &[enrolled("1", "2025-08-20", "?", "")], "1 WithdrawalDate");
    check(&ask(), &[enrolled("1", "2026-08-20", "?", "")], "1 WithdrawalDate");
    check(&ask(), &[enrolled("1", "?", "?", "?")], "1 EntryDate");
    check(&ask(), &[of_year(2024, enrolled("1", "2023-08-20", "?", ""))], "1 WithdrawalDate");
    check(&ask(), &[of_year(2025, enrolled("1", "?", "2026-05-01", ""))], "1 EntryDate");
    check(&ask().with_next_year(), &[of_year(2027, enrolled("1", "?", "", ""))], "1 EntryDate");
    check(&ask(), &[without_year(enrolled("1", "?", "", ""))], "1 EntryDate");
}

#[test]
fn an_unreadable_date_is_passed_over_where_no_date_would_count() {
    check(&ask(), &[enrolled("1", "?", "2025-03-09", "")], "7");
    check(&ask(), &[of_year(2025, enrolled("1", "?", "", ""))], "7 !1 open-enrollment-of-earlier-year");
    check(&ask(), &[of_year(2027, enrolled("1", "?", "", ""))], "7");
    check(&ask(), &[of_year(2027, enrolled("1", "2026-08-20", "?", ""))], "7");
    check(&ask().reading(FIRST_DAY), &[of_year(2027, enrolled("1", TODAY, "?", ""))], "7");
    check(&ask().reading(FIRST_DAY), &[of_year(2027, enrolled("1", "2026-03-09", "?", ""))], "1 WithdrawalDate");
}

#[test]
fn a_missing_entry_date_is_legible_only_without_school_years() {
    check(&ask(), &[enrolled("1", "", "", "")], "1 EntryDateMissing");
    check(&ask(), &[enrolled("1", "", "2025-03-09", "")], "7");
    check(&ask(), &[without_year(enrolled("1", "", "", ""))], "1 ENROLLED 1 1");
    check(&ask(), &[without_year(enrolled("1", "", "2026-01-10", ""))], "5 INACTIVE 1 1");
}

#[test]
fn an_unresolved_year_withholds_only_where_it_matters() {
    let unresolved =
        |entry, withdrawal| EnrollmentFact { year: YearFact::Unresolved, ..enrolled("1", entry, withdrawal, "80") };
    check(&ask(), &[unresolved("2025-08-20", "")], "1 SchoolYear");
    check(&ask(), &[unresolved("2025-08-20", "2026-05-01")], "1 SchoolYear");
    check(&ask(), &[unresolved("2026-08-20", "")], "1 SchoolYear");
    check(&ask(), &[unresolved("2025-08-20", "2026-01-10")], "5 INACTIVE 1 1");
    check(&ask(), &[unresolved("2025-08-20", TODAY)], "1 ENROLLED 1 1");
    check(&ask(), &[unresolved("2023-08-20", "2024-05-10")], "7");
}

#[test]
fn the_least_illegible_enrollment_is_named() {
    let all = [enrolled("10", "2025-08-20", "", "?"), enrolled("9", "2025-08-20", "", "?"), enrolled("a", "?", "", "")];
    check(&ask(), &all, "9 WithdrawalCode");
}

#[test]
fn without_school_years_every_current_or_upcoming_one_counts() {
    check(&ask(), &[without_year(enrolled("1", "2015-08-20", "", ""))], "1 ENROLLED 1 1");
    check(&ask(), &[without_year(enrolled("1", "2029-08-20", "", ""))], "2 PRE_ENROLLED 1 1");
    check(&ask(), &[without_year(enrolled("1", "2024-08-20", "2025-03-09", ""))], "7");
}

#[test]
fn remembered_enrollments_are_past() {
    let stored = |withdrawal| remembered("2026-03-01", enrolled("1", "2025-08-20", withdrawal, ""));
    check(&ask(), &[stored("")], "5 INACTIVE 1 1");
    check(&ask(), &[stored("2025-12-01")], "5 INACTIVE 1 1");
    check(&ask(), &[stored("2026-06-01")], "5 INACTIVE 1 1");
    let upcoming = without_year(enrolled("2", "2026-08-20", "", ""));
    check(&ask(), &[stored(""), upcoming], "3 ENROLLED 1,2 2");
    check(&ask(), &[stored(""), without_year(enrolled("2", "2026-03-02", "", ""))], "1 ENROLLED 2 2");
}

#[test]
fn remembered_enrollments_age_out() {
    let assumed = |end| remembered(end, enrolled("1", "2024-08-20", "", ""));
    check(&ask(), &[assumed("2025-03-10")], "5 INACTIVE 1 1");
    check(&ask(), &[assumed("2025-03-09")], "7");
    let stored = |end: &'static str| remembered("2026-03-01", enrolled("1", "2024-08-20", end, ""));
    check(&ask(), &[stored("2025-03-10")], "5 INACTIVE 1 1");
    check(&ask(), &[stored("2025-03-09")], "7");
}

#[test]
fn the_most_recent_past_one_may_be_remembered() {
    let graduated = without_year(enrolled("1", "2025-08-20", "2026-02-01", "01"));
    check(&ask(), &[graduated, remembered("2026-02-02", enrolled("2", "2025-08-20", "", ""))], "5 INACTIVE 2 2");
    check(&ask(), &[graduated, remembered("2026-01-31", enrolled("2", "2025-08-20", "", ""))], "4 GRADUATED 1 1");
}

#[test]
fn a_pre_enrollment_taken_back_is_not_past() {
    let taken_back = remembered("2026-03-01", enrolled("1", "2026-08-20", "", ""));
    check(&ask(), &[taken_back], "7");
    let never = remembered("2026-03-01", enrolled("1", "2026-01-20", "2026-01-10", ""));
    check(&ask(), &[never], "7 !1 withdrawal-before-entry");
}

#[test]
fn the_deciding_enrollment_is_of_the_default_entity_then_latest_then_greatest() {
    let home = enrolled("1", "2025-08-20", "", "");
    let other = elsewhere(enrolled("2", "2025-09-20", "", ""));
    check(&ask(), &[home, other], "1 ENROLLED 1,2 1");
    check(&ask(), &[elsewhere(home), other], "1 ENROLLED 1,2 2");
    check(
        &ask(),
        &[home, enrolled("9", "2025-09-20", "", ""), enrolled("10", "2025-09-20", "", "")],
        "1 ENROLLED 1,9,10 10",
    );
}

#[test]
fn ids_compare_as_numbers_and_form_an_order() {
    let ascending =
        ["0", "00", "1", "9", "010", "10", "99999999999999999999999999999999999999999", "", "-1", "1a", "a"];
    for (i, a) in ascending.iter().enumerate() {
        for (j, b) in ascending.iter().enumerate() {
            assert_eq!(compare_ids(a, b), i.cmp(&j), "{a} and {b}");
        }
    }
}

#[test]
fn reasons_and_details_name_the_enrollment_and_the_field_only() {
    let unreadable = [enrolled("77", "2025-08-20", "?", "80")];
    let question = ask();
    let withheld = question.of(&unreadable).expect_err("withheld");
    assert_eq!(withheld.illegible.reason(), "date-unreadable");
    assert_eq!(withheld.to_string(), "enrollment 77: its withdrawal date is no date");
    assert_eq!(Illegible::WithdrawalCode.reason(), "code-unresolved");
    assert_eq!(Illegible::SchoolYear.reason(), "school-year-unresolved");
    assert_eq!(WarningCode::WithdrawalBeforeEntry.as_str(), "withdrawal-before-entry");
}

#[test]
fn dates_at_the_ends_of_the_calendar_do_no_harm() {
    let extreme = EnrollmentFact {
        entry: DateFact::On(NaiveDate::MIN),
        withdrawal: DateFact::On(NaiveDate::MAX),
        ..enrolled("1", "", "", "")
    };
    for today in [NaiveDate::MIN, NaiveDate::MAX] {
        let question = Question { today, ..ask() };
        let outcome = question.of(std::slice::from_ref(&extreme)).map(|outcome| outcome.verdict);
        assert!(matches!(outcome, Ok(Verdict::Decided(decision)) if decision.rule == Rule::Current));
        let unread = EnrollmentFact { entry: DateFact::Unreadable, ..extreme };
        assert!(question.of(&[unread]).is_err());
    }
}
