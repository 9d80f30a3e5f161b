//! Which enrollment status a student has today: the rules of `docs/STATUS.md`, and nothing else.
//!
//! Role: a pure function from one student's enrollments, the district's policy and its local date to a status with its
//! evidence. Neighbours: the planner calls it once for every student and run, with codes and years already resolved.
//!
//! Invariants: same facts, same answer, whatever their order; an enrollment that could count and cannot be read
//! withholds its student rather than being left out; ids are the only facts that an answer or an error repeats.
//!
//! Deliberately absent: a student gone from the SIS's listing (the planner's removal), comparing with what is stored.

mod calendar;

use std::{cmp::Ordering, fmt};

use calendar::{Calendar, Place, Time, on};
use chrono::NaiveDate;
use rollcall_proto::roster::{Rule, Status};
use rollcall_store::district::StatusPolicy;

/// All that a student's status rests on.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The district's local date.
    pub today: NaiveDate,
    /// The district's reading of dates and codes.
    pub policy: &'a StatusPolicy,
    /// Status stored by an earlier run; absent for a student never seen.
    pub known: Option<Status>,
    /// The student's enrollments, listed and remembered, each once, in any order.
    pub enrollments: &'a [EnrollmentFact<'a>],
}

/// One enrollment, as far as it bears on status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnrollmentFact<'a> {
    /// The SIS's id.
    pub id: &'a str,
    /// Its school year, against its own entity's current one (entities flip years one by one).
    pub year: YearFact,
    /// Belongs to the student's default entity.
    pub default_entity: bool,
    /// First day. Absent is legible only where the SIS gives no school year (OneRoster: in force from always).
    pub entry: DateFact,
    /// The SIS's withdrawal date, to be read under the policy.
    pub withdrawal: DateFact,
    /// Withdrawal code, resolved through its own year's table.
    pub code: CodeFact<'a>,
    /// Whether this pull showed it.
    pub seen: Seen,
}

/// A date as the SIS gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DateFact {
    /// Not given.
    Absent,
    /// This day.
    On(NaiveDate),
    /// Given, and no date.
    Unreadable,
}

impl From<Option<NaiveDate>> for DateFact {
    fn from(date: Option<NaiveDate>) -> Self {
        date.map_or(Self::Absent, Self::On)
    }
}

/// A withdrawal code as resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CodeFact<'a> {
    /// None given.
    Absent,
    /// The code's text; blanks around it do not matter.
    Code(&'a str),
    /// An id that its year's code table does not hold.
    Unresolved,
}

/// The school year of an enrollment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum YearFact {
    /// The SIS knows none (OneRoster roles).
    NotGiven,
    /// Ending years, 2026 for 2025-26: of the enrollment, and the current one of its entity.
    Ending {
        /// Of the enrollment.
        of: i32,
        /// Current for its entity.
        current: i32,
    },
    /// An id that the year tables do not hold, or an entity whose current year is unknown.
    Unresolved,
}

/// Whether an enrollment was in this pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Seen {
    /// Listed now.
    Listed,
    /// Stored by an earlier run and not listed any more, by a source that serves only its active year.
    Remembered {
        /// Where it has no withdrawal date of its own: the day before the first complete run that did not show it.
        assumed_end: NaiveDate,
    },
}

/// What the rules say of a student.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome<'a> {
    /// The answer.
    pub verdict: Verdict<'a>,
    /// What a person at the district should mend in the SIS; by enrollment id.
    pub warnings: Vec<Warning<'a>>,
}

/// See [`Outcome::verdict`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// A status.
    Decided(Decision<'a>),
    /// Rule 7: nothing counts and nobody knows the student; skipped as [`NO_ENROLLMENT_IN_WINDOW`].
    NotImported,
}

/// Reason code of a student who is not imported.
pub const NO_ENROLLMENT_IN_WINDOW: &str = "no-enrollment-in-window";

/// A status and what it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision<'a> {
    /// The status.
    pub status: Status,
    /// The rule that fitted first.
    pub rule: Rule,
    /// Ids of the enrollments it rests on, in the order of [`compare_ids`]. Rules 4 and 5 rest on the most recent past
    /// one, rule 3 on all that count, rule 6 on none.
    pub evidence: Vec<&'a str>,
    /// Index in [`Facts::enrollments`] of the one that gives school and grade: of the evidence, one of the default
    /// entity first, then the latest entry date, then the greater id. None under rule 6.
    pub deciding: Option<usize>,
}

/// A data-quality warning. It changes no status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Warning<'a> {
    /// Id of the enrollment.
    pub enrollment: &'a str,
    /// What is odd about it.
    pub code: WarningCode,
}

/// See [`Warning`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WarningCode {
    /// It ends before it begins, and was never in force.
    WithdrawalBeforeEntry,
    /// Its school year is over and it has no withdrawal date.
    OpenEnrollmentOfEarlierYear,
    /// In force today in a year that has not begun for its entity: does not count. The entity's current year may not
    /// have been moved on.
    InForceInLaterYear,
}

impl WarningCode {
    /// The code as findings spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WithdrawalBeforeEntry => "withdrawal-before-entry",
            Self::OpenEnrollmentOfEarlierYear => "open-enrollment-of-earlier-year",
            Self::InForceInLaterYear => "in-force-in-later-year",
        }
    }
}

/// The student cannot be judged: an error, and the stored state stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Withheld<'a> {
    /// Id of the enrollment that cannot be read; the least one where there are several.
    pub enrollment: &'a str,
    /// What about it.
    pub illegible: Illegible,
}

/// What cannot be read of an enrollment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Illegible {
    /// The entry date is no date.
    EntryDate,
    /// There is no entry date, in a SIS where each enrollment has one.
    EntryDateMissing,
    /// The withdrawal date is no date.
    WithdrawalDate,
    /// The withdrawal code's id is in no table of its year.
    WithdrawalCode,
    /// The school year, or the entity's current one, is unknown, and it matters here.
    SchoolYear,
}

impl Illegible {
    /// Reason code of the skipped student.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::EntryDate | Self::EntryDateMissing | Self::WithdrawalDate => "date-unreadable",
            Self::WithdrawalCode => "code-unresolved",
            Self::SchoolYear => "school-year-unresolved",
        }
    }
}

impl fmt::Display for Withheld<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.illegible {
            Illegible::EntryDate => "its entry date is no date",
            Illegible::EntryDateMissing => "it has no entry date",
            Illegible::WithdrawalDate => "its withdrawal date is no date",
            Illegible::WithdrawalCode => "its withdrawal code is not in the code table of its school year",
            Illegible::SchoolYear => "its school year, or its entity's current one, is not among the school years",
        };
        write!(f, "enrollment {}: {what}", self.enrollment)
    }
}

impl std::error::Error for Withheld<'_> {}

/// Decides a student's status.
pub fn decide<'a>(facts: &Facts<'a>) -> Result<Outcome<'a>, Withheld<'a>> {
    let calendar = Calendar::of(facts);
    let mut counted = Vec::with_capacity(facts.enrollments.len());
    let mut warnings = Vec::new();
    let mut withheld: Option<Withheld<'a>> = None;
    for (index, enrollment) in facts.enrollments.iter().enumerate() {
        if calendar.ignores(enrollment.code) {
            continue;
        }
        match calendar.read(enrollment) {
            Err(illegible) => least(&mut withheld, Withheld { enrollment: enrollment.id, illegible }),
            Ok(Place::Counts(time)) => counted.push(Counted { index, time, enrollment }),
            Ok(Place::Odd(code)) => warnings.push(Warning { enrollment: enrollment.id, code }),
            Ok(Place::Outside) => {}
        }
    }
    if let Some(withheld) = withheld {
        return Err(withheld);
    }
    warnings.sort_by(|a, b| compare_ids(a.enrollment, b.enrollment).then(a.code.cmp(&b.code)));
    let verdict = judge(&counted, facts).map_or(Verdict::NotImported, Verdict::Decided);
    Ok(Outcome { verdict, warnings })
}

/// Orders enrollment ids: numbers by value, then everything else by text. (Comparing number with text as text would
/// not be an order: `9` < `10` < `1a` < `9`.)
pub fn compare_ids(a: &str, b: &str) -> Ordering {
    match (significant_digits(a), significant_digits(b)) {
        (Some(x), Some(y)) => x.len().cmp(&y.len()).then_with(|| x.cmp(y)).then_with(|| a.cmp(b)),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

/// The digits of a whole number without leading zeros; ids may be longer than any integer type.
fn significant_digits(text: &str) -> Option<&str> {
    let numeric = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    numeric.then(|| text.trim_start_matches('0'))
}

/// Keeps the withheld enrollment with the least id, so that the answer does not depend on order.
fn least<'a>(kept: &mut Option<Withheld<'a>>, found: Withheld<'a>) {
    let order = |a: &Withheld<'_>, b: &Withheld<'_>| {
        compare_ids(a.enrollment, b.enrollment).then(a.illegible.cmp(&b.illegible))
    };
    if kept.as_ref().is_none_or(|kept| order(&found, kept).is_lt()) {
        *kept = Some(found);
    }
}

/// An enrollment that counts.
#[derive(Debug, Clone, Copy)]
struct Counted<'f, 'a> {
    index: usize,
    time: Time,
    enrollment: &'f EnrollmentFact<'a>,
}

/// Rules 1 to 7 over the enrollments that count.
fn judge<'a>(counted: &[Counted<'_, 'a>], facts: &Facts<'a>) -> Option<Decision<'a>> {
    let some = |time| counted.iter().any(|one| one.time == time);
    let (status, rule) = match (some(Time::Current), some(Time::Future), some(Time::Past)) {
        (true, _, _) => (Status::Enrolled, Rule::Current),
        (false, true, false) => (Status::PreEnrolled, Rule::FutureOnly),
        (false, true, true) => (Status::Enrolled, Rule::FutureAfterPast),
        (false, false, true) => return most_recent_past(counted).map(|last| ended(last, facts.policy)),
        (false, false, false) => return facts.known.map(nothing_counts),
    };
    let rests_on = |one: &&Counted<'_, '_>| rule == Rule::FutureAfterPast || one.time == time_of(rule);
    Some(Decision {
        status,
        rule,
        evidence: evidence(counted.iter().filter(rests_on)),
        deciding: counted.iter().filter(rests_on).max_by(|a, b| a.decides_before(b)).map(|one| one.index),
    })
}

/// The time that rules 1 and 2 look for.
const fn time_of(rule: Rule) -> Time {
    if matches!(rule, Rule::Current) { Time::Current } else { Time::Future }
}

/// Rules 4 and 5.
fn ended<'a>(last: &Counted<'_, 'a>, policy: &StatusPolicy) -> Decision<'a> {
    let graduated = match last.enrollment.code {
        CodeFact::Code(code) if !code.trim().is_empty() => {
            policy.graduated_withdrawal_codes.iter().any(|known| known.trim() == code.trim())
        }
        _ => false,
    };
    let (status, rule) =
        if graduated { (Status::Graduated, Rule::GraduationCode) } else { (Status::Inactive, Rule::PastOnly) };
    Decision { status, rule, evidence: vec![last.enrollment.id], deciding: Some(last.index) }
}

/// Rule 6.
const fn nothing_counts<'a>(known: Status) -> Decision<'a> {
    let status = if matches!(known, Status::Graduated) { Status::Graduated } else { Status::Inactive };
    Decision { status, rule: Rule::NothingCounts, evidence: Vec::new(), deciding: None }
}

fn evidence<'f, 'a: 'f>(rests_on: impl Iterator<Item = &'f Counted<'f, 'a>>) -> Vec<&'a str> {
    let mut ids: Vec<&'a str> = rests_on.map(|one| one.enrollment.id).collect();
    ids.sort_by(|a, b| compare_ids(a, b));
    ids.dedup();
    ids
}

fn most_recent_past<'c, 'f, 'a>(counted: &'c [Counted<'f, 'a>]) -> Option<&'c Counted<'f, 'a>> {
    let past = counted.iter().filter(|one| one.time == Time::Past);
    past.max_by(|a, b| a.end().cmp(&b.end()).then_with(|| a.by_entry_and_id(b)))
}

impl Counted<'_, '_> {
    fn end(&self) -> Option<NaiveDate> {
        match self.enrollment.seen {
            Seen::Remembered { assumed_end } => on(self.enrollment.withdrawal).or(Some(assumed_end)),
            Seen::Listed => on(self.enrollment.withdrawal),
        }
    }

    fn by_entry_and_id(&self, other: &Self) -> Ordering {
        let (this, that) = (self.enrollment, other.enrollment);
        on(this.entry).cmp(&on(that.entry)).then_with(|| compare_ids(this.id, that.id))
    }

    fn decides_before(&self, other: &Self) -> Ordering {
        let by_entity = self.enrollment.default_entity.cmp(&other.enrollment.default_entity);
        by_entity.then_with(|| self.by_entry_and_id(other))
    }
}
