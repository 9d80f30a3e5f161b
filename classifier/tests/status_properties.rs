//! The status rules against a slow reference written day by day, and what must hold whatever the enrollments.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;

use chrono::{Datelike, Days, NaiveDate, TimeDelta};
use proptest::{prelude::*, sample::select};
use rollcall_classifier::status::{
    CodeFact, DateFact, Decision, EnrollmentFact, Facts, Illegible, Seen, Verdict, YearFact, compare_ids, decide,
};
use rollcall_proto::roster::{Rule, Status};
use rollcall_store::district::{SchoolYears, StatusPolicy, WithdrawalDateIs};

const TODAYS: [(i32, u32, u32); 4] = [(2026, 3, 10), (2024, 2, 29), (2025, 2, 28), (2026, 8, 1)];
/// Days from today that lie on, beside and far from every boundary.
const OFFSETS: [i64; 19] =
    [-900, -400, -367, -366, -365, -364, -200, -2, -1, 0, 1, 2, 30, 200, 364, 365, 366, 400, 900];
const IDS: [&str; 8] = ["9", "10", "1a", "b", "007", "8", "12345678901234567890123", "x-1"];

/// A student as generated.
#[derive(Debug, Clone)]
struct Case {
    today: NaiveDate,
    policy: StatusPolicy,
    known: Option<Status>,
    enrollments: Vec<EnrollmentFact<'static>>,
}

impl Case {
    fn facts(&self) -> Facts<'_> {
        Facts { today: self.today, policy: &self.policy, known: self.known, enrollments: &self.enrollments }
    }

    fn with(&self, more: EnrollmentFact<'static>) -> Self {
        let mut case = self.clone();
        case.enrollments.push(more);
        case
    }
}

fn date_fact(today: NaiveDate) -> impl Strategy<Value = DateFact> {
    prop_oneof![
        2 => Just(DateFact::Absent),
        12 => select(&OFFSETS[..]).prop_map(move |days| DateFact::On(today + TimeDelta::days(days))),
        1 => Just(DateFact::Unreadable),
    ]
}

fn year_fact() -> impl Strategy<Value = YearFact> {
    prop_oneof![
        2 => Just(YearFact::NotGiven),
        12 => select(&[2024, 2025, 2026, 2026, 2026, 2027, 2028][..])
            .prop_map(|of| YearFact::Ending { of, current: 2026 }),
        1 => Just(YearFact::Unresolved),
    ]
}

fn code_fact() -> impl Strategy<Value = CodeFact<'static>> {
    let codes = select(&["CECS", " cecs ", "01", "01 ", "80", "", "w9", "W9"][..]).prop_map(CodeFact::Code);
    prop_oneof![4 => Just(CodeFact::Absent), 8 => codes, 1 => Just(CodeFact::Unresolved)]
}

fn seen(today: NaiveDate) -> impl Strategy<Value = Seen> {
    let ends =
        select(&OFFSETS[..10]).prop_map(move |days| Seen::Remembered { assumed_end: today + TimeDelta::days(days) });
    prop_oneof![6 => Just(Seen::Listed), 1 => ends]
}

fn enrollment(today: NaiveDate, id: &'static str) -> impl Strategy<Value = EnrollmentFact<'static>> {
    let dates = (date_fact(today), date_fact(today));
    (year_fact(), any::<bool>(), dates, code_fact(), seen(today)).prop_map(
        move |(year, default_entity, (entry, withdrawal), code, seen)| EnrollmentFact {
            id,
            year,
            default_entity,
            entry,
            withdrawal,
            code,
            seen,
        },
    )
}

fn policy() -> impl Strategy<Value = StatusPolicy> {
    let is = select(&[WithdrawalDateIs::LastDayEnrolled, WithdrawalDateIs::FirstDayNotEnrolled][..]);
    let years = select(&[SchoolYears::Current, SchoolYears::CurrentAndNext][..]);
    (is, years, any::<bool>()).prop_map(|(withdrawal_date_is, school_years, more_codes)| StatusPolicy {
        withdrawal_date_is: Some(withdrawal_date_is),
        school_years,
        graduated_withdrawal_codes: if more_codes { vec![" 01".into(), "W9".into()] } else { vec!["01".into()] },
        ..StatusPolicy::default()
    })
}

fn known() -> impl Strategy<Value = Option<Status>> {
    prop::option::of(select(&Status::ALL[..]))
}

fn case_of(most: usize) -> impl Strategy<Value = Case> {
    let ids = Just(IDS.to_vec()).prop_shuffle();
    (select(&TODAYS[..]), policy(), known(), ids, 0..=most).prop_flat_map(|((y, m, d), policy, known, ids, count)| {
        let today = NaiveDate::from_ymd_opt(y, m, d).unwrap();
        let enrollments: Vec<_> = ids.into_iter().take(count).map(|id| enrollment(today, id)).collect();
        (Just((today, policy, known)), enrollments).prop_map(|((today, policy, known), enrollments)| Case {
            today,
            policy,
            known,
            enrollments,
        })
    })
}

/// An answer that does not depend on positions.
#[derive(Debug, Clone, PartialEq)]
enum Answer {
    Withheld(String, Illegible),
    NotImported,
    Decided { status: Status, rule: Rule, evidence: Vec<String>, deciding: Option<String> },
}

fn answer(case: &Case) -> Answer {
    match decide(&case.facts()) {
        Err(withheld) => Answer::Withheld(withheld.enrollment.to_owned(), withheld.illegible),
        Ok(outcome) => match outcome.verdict {
            Verdict::NotImported => Answer::NotImported,
            Verdict::Decided(Decision { status, rule, evidence, deciding }) => Answer::Decided {
                status,
                rule,
                evidence: evidence.into_iter().map(str::to_owned).collect(),
                deciding: deciding.map(|index| case.enrollments[index].id.to_owned()),
            },
        },
    }
}

/// The reference: sets of days instead of comparisons, trying dates instead of reasoning about them.
mod reference {
    use super::*;

    /// Days that a spell is in force, as far as anything here can see.
    fn days_in_force(case: &Case, entry: Option<NaiveDate>, withdrawal: Option<NaiveDate>) -> BTreeSet<i64> {
        let day_of = |offset: i64| case.today + TimeDelta::days(offset);
        let texas = case.policy.withdrawal_date_is == Some(WithdrawalDateIs::FirstDayNotEnrolled);
        (-1000..=1000)
            .filter(|offset| entry.is_none_or(|entry| day_of(*offset) >= entry))
            .filter(|offset| withdrawal.is_none_or(|end| day_of(*offset) < end || (!texas && day_of(*offset) == end)))
            .collect()
    }

    fn year_ago(today: NaiveDate) -> NaiveDate {
        let year = today.year() - 1;
        NaiveDate::from_ymd_opt(year, today.month(), today.day())
            .unwrap_or_else(|| NaiveDate::from_ymd_opt(year, today.month(), today.day() - 1).unwrap())
    }

    /// -1 past, 0 current, 1 future; none does not count.
    fn counts(
        case: &Case,
        of: Option<i32>,
        fact: &EnrollmentFact<'_>,
        entry: Option<NaiveDate>,
        withdrawal: Option<NaiveDate>,
    ) -> Option<i8> {
        if let Seen::Remembered { assumed_end } = fact.seen {
            let end = withdrawal.unwrap_or(assumed_end);
            let real = !days_in_force(case, entry, Some(end)).is_empty() || entry.is_none();
            return (real && end >= year_ago(case.today)).then_some(-1);
        }
        let days = days_in_force(case, entry, withdrawal);
        let time = match (days.first()?, days.contains(&0), days.last()?) {
            (_, true, _) => 0,
            (first, ..) if *first > 0 => 1,
            _ => -1,
        };
        let mut window = year_ago(case.today).iter_days().take_while(|day| *day <= case.today);
        if withdrawal.is_some_and(|end| window.any(|day| day == end)) {
            return Some(time);
        }
        let next = case.policy.school_years == SchoolYears::CurrentAndNext;
        let admitted = match (of, time) {
            (None | Some(2026), 0 | 1) => true,
            (Some(2024 | 2025), 0) => withdrawal.is_some(),
            (Some(2027), 1) => next,
            _ => false,
        };
        admitted.then_some(time)
    }

    fn plain(date: DateFact, tries: &[NaiveDate]) -> Vec<Option<NaiveDate>> {
        match date {
            DateFact::Absent => vec![None],
            DateFact::On(date) => vec![Some(date)],
            DateFact::Unreadable => tries.iter().copied().map(Some).collect(),
        }
    }

    fn possible_years(year: YearFact) -> Vec<Option<i32>> {
        match year {
            YearFact::NotGiven => vec![None],
            YearFact::Ending { of, .. } => vec![Some(of)],
            YearFact::Unresolved => vec![Some(2025), Some(2026), Some(2027), Some(2028)],
        }
    }

    /// Every way in which the enrollment might count, over all readings of what is illegible.
    fn readings(case: &Case, fact: &EnrollmentFact<'_>) -> BTreeSet<Option<i8>> {
        let tries: Vec<_> =
            [-950, -370, -2, -1, 0, 1, 2, 370, 950].map(|days| case.today + TimeDelta::days(days)).into();
        let entries = if entry_missing(fact) { plain(DateFact::Unreadable, &tries) } else { plain(fact.entry, &tries) };
        let mut found = BTreeSet::new();
        for of in possible_years(fact.year) {
            for entry in &entries {
                for withdrawal in plain(fact.withdrawal, &tries) {
                    found.insert(counts(case, of, fact, *entry, withdrawal));
                }
            }
        }
        found
    }

    fn entry_missing(fact: &EnrollmentFact<'_>) -> bool {
        fact.entry == DateFact::Absent && fact.year != YearFact::NotGiven && fact.seen == Seen::Listed
    }

    fn problem(fact: &EnrollmentFact<'_>, readings: &BTreeSet<Option<i8>>) -> Option<Illegible> {
        let might_count = readings.iter().any(Option::is_some);
        let dates = [
            (fact.entry == DateFact::Unreadable, Illegible::EntryDate),
            (entry_missing(fact), Illegible::EntryDateMissing),
            (fact.withdrawal == DateFact::Unreadable, Illegible::WithdrawalDate),
        ];
        let date = dates.into_iter().find(|(is, _)| *is && might_count).map(|(_, illegible)| illegible);
        date.or((fact.year == YearFact::Unresolved && readings.len() > 1).then_some(Illegible::SchoolYear)).or((fact
            .code
            == CodeFact::Unresolved
            && might_count)
            .then_some(Illegible::WithdrawalCode))
    }

    fn code<'a>(fact: &EnrollmentFact<'a>) -> &'a str {
        if let CodeFact::Code(code) = fact.code { code.trim() } else { "" }
    }

    /// Numbers first, padded to one length, then texts.
    fn id_key(id: &str) -> (bool, String, String) {
        let number = id.chars().all(|c| c.is_ascii_digit());
        (!number, if number { format!("{id:0>40}") } else { id.to_owned() }, id.to_owned())
    }

    fn some_date(date: DateFact) -> Option<NaiveDate> {
        if let DateFact::On(date) = date { Some(date) } else { None }
    }

    fn end_of(fact: &EnrollmentFact<'_>) -> Option<NaiveDate> {
        some_date(fact.withdrawal).or(match fact.seen {
            Seen::Remembered { assumed_end } => Some(assumed_end),
            Seen::Listed => None,
        })
    }

    pub(super) fn answer(case: &Case) -> Answer {
        let mut ordered: Vec<_> =
            case.enrollments.iter().filter(|fact| !code(fact).eq_ignore_ascii_case("CECS")).collect();
        ordered.sort_by_key(|fact| id_key(fact.id));
        let mut of_time: [Vec<&EnrollmentFact<'_>>; 3] = Default::default();
        for fact in ordered {
            let readings = readings(case, fact);
            if let Some(illegible) = problem(fact, &readings) {
                return Answer::Withheld(fact.id.to_owned(), illegible);
            }
            if let Some(time) = readings.iter().flatten().next() {
                of_time[(time + 1) as usize].push(fact);
            }
        }
        let [past, current, future] = of_time;
        if !current.is_empty() {
            return decided(Status::Enrolled, Rule::Current, current);
        }
        match (past.is_empty(), future.is_empty(), case.known) {
            (true, false, _) => decided(Status::PreEnrolled, Rule::FutureOnly, future),
            (false, false, _) => decided(Status::Enrolled, Rule::FutureAfterPast, [past, future].concat()),
            (false, true, _) => left(case, past),
            (true, true, Some(Status::Graduated)) => decided(Status::Graduated, Rule::NothingCounts, vec![]),
            (true, true, Some(_)) => decided(Status::Inactive, Rule::NothingCounts, vec![]),
            (true, true, None) => Answer::NotImported,
        }
    }

    fn left(case: &Case, mut past: Vec<&EnrollmentFact<'_>>) -> Answer {
        past.sort_by_key(|fact| (end_of(fact), some_date(fact.entry), id_key(fact.id)));
        let last = past.pop().unwrap();
        let graduated = case.policy.graduated_withdrawal_codes.iter().any(|known| known.trim() == code(last));
        let (status, rule) =
            if graduated { (Status::Graduated, Rule::GraduationCode) } else { (Status::Inactive, Rule::PastOnly) };
        decided(status, rule, vec![last])
    }

    fn decided(status: Status, rule: Rule, mut on: Vec<&EnrollmentFact<'_>>) -> Answer {
        on.sort_by_key(|fact| (fact.default_entity, some_date(fact.entry), id_key(fact.id)));
        let deciding = on.last().map(|fact| fact.id.to_owned());
        on.sort_by_key(|fact| id_key(fact.id));
        Answer::Decided { status, rule, evidence: on.iter().map(|fact| fact.id.to_owned()).collect(), deciding }
    }
}

fn plain_enrollment(id: &'static str, entry: NaiveDate, withdrawal: Option<NaiveDate>) -> EnrollmentFact<'static> {
    EnrollmentFact {
        id,
        year: YearFact::NotGiven,
        default_entity: true,
        entry: DateFact::On(entry),
        withdrawal: withdrawal.into(),
        code: CodeFact::Absent,
        seen: Seen::Listed,
    }
}

fn status_of(answer: &Answer) -> Option<Status> {
    if let Answer::Decided { status, .. } = answer { Some(*status) } else { None }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_reference_agrees(case in case_of(4)) {
        prop_assert_eq!(answer(&case), reference::answer(&case));
    }

    #[test]
    fn the_reference_agrees_on_a_single_enrollment(case in case_of(1)) {
        prop_assert_eq!(answer(&case), reference::answer(&case));
    }

    #[test]
    fn order_does_not_matter((case, shuffled) in case_of(6).prop_flat_map(|case| {
        let shuffled = Just(case.enrollments.clone()).prop_shuffle();
        (Just(case), shuffled)
    })) {
        let other = Case { enrollments: shuffled, ..case.clone() };
        prop_assert_eq!(answer(&case), answer(&other));
        let warnings = |case: &Case| decide(&case.facts()).map(|outcome| format!("{:?}", outcome.warnings)).ok();
        prop_assert_eq!(warnings(&case), warnings(&other));
    }

    #[test]
    fn an_ignored_enrollment_changes_nothing(case in case_of(5), extra in enrollment(NaiveDate::MIN + Days::new(9000), "zz")) {
        let ignored = EnrollmentFact { code: CodeFact::Code(" CeCs"), ..extra };
        prop_assert_eq!(answer(&case.with(ignored)), answer(&case));
    }

    #[test]
    fn a_current_enrollment_enrolls(case in case_of(5)) {
        let after = answer(&case.with(plain_enrollment("zz", case.today, None)));
        if let Answer::Withheld(..) = answer(&case) {
            prop_assert!(matches!(after, Answer::Withheld(..)));
        } else {
            prop_assert_eq!(status_of(&after), Some(Status::Enrolled));
        }
    }

    #[test]
    fn a_past_enrollment_takes_nobody_out(case in case_of(5)) {
        let past = plain_enrollment("zz", case.today - Days::new(90), Some(case.today - Days::new(10)));
        let after = status_of(&answer(&case.with(past)));
        if let Some(Status::Enrolled | Status::PreEnrolled) = status_of(&answer(&case)) {
            prop_assert_eq!(after, Some(Status::Enrolled));
        }
    }

    #[test]
    fn what_was_known_matters_only_where_nothing_counts(case in case_of(5), other in known()) {
        let before = answer(&case);
        let after = answer(&Case { known: other, ..case });
        let counts = !matches!(before, Answer::NotImported | Answer::Decided { rule: Rule::NothingCounts, .. });
        prop_assert!(!counts || before == after);
    }

    #[test]
    fn a_student_known_to_us_is_never_dropped(case in case_of(5), known in select(&Status::ALL[..])) {
        prop_assert_ne!(answer(&Case { known: Some(known), ..case }), Answer::NotImported);
    }

    #[test]
    fn evidence_is_sorted_and_holds_the_deciding_enrollment(case in case_of(6)) {
        if let Answer::Decided { rule, evidence, deciding, .. } = answer(&case) {
            prop_assert!(evidence.is_sorted_by(|a, b| compare_ids(a, b).is_lt()));
            prop_assert_eq!(evidence.is_empty(), rule == Rule::NothingCounts);
            prop_assert_eq!(deciding.is_none(), evidence.is_empty());
            prop_assert!(deciding.is_none_or(|id| evidence.contains(&id)));
        }
    }

    #[test]
    fn ids_form_an_order(a in "[0-9a]{0,4}", b in "[0-9a]{0,4}", c in "[0-9a]{0,4}") {
        prop_assert_eq!(compare_ids(&a, &b), compare_ids(&b, &a).reverse());
        prop_assert_eq!(compare_ids(&a, &b).is_eq(), a == b);
        if compare_ids(&a, &b).is_le() && compare_ids(&b, &c).is_le() {
            prop_assert!(compare_ids(&a, &c).is_le());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// One spell, seen night after night: ahead, in, out, and never back.
    #[test]
    fn nights_of_one_spell_only_go_forward(policy in policy(), lead in 1_u64..60, length in 1_u64..300, graduates in any::<bool>()) {
        let first = NaiveDate::from_ymd_opt(2025, 1, 1).unwrap();
        let entry = first + Days::new(lead);
        let spell = EnrollmentFact {
            code: if graduates { CodeFact::Code("01") } else { CodeFact::Code("80") },
            ..plain_enrollment("1", entry, Some(entry + Days::new(length)))
        };
        let mut case = Case { today: first, policy, known: None, enrollments: vec![spell] };
        let mut seen = Vec::new();
        for _ in 0..(lead + length + 400) {
            case.known = status_of(&answer(&case));
            seen.push(case.known.expect("a status every night"));
            case.today = case.today + Days::new(1);
        }
        seen.dedup();
        let end = if graduates { Status::Graduated } else { Status::Inactive };
        prop_assert_eq!(seen, vec![Status::PreEnrolled, Status::Enrolled, end]);
    }
}
