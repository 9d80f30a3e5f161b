//! Which enrollment status a student has today: the rules of `docs/STATUS.md`, and nothing else.
//!
//! Role: a pure function from one student's enrollments, the district's policy and its local date to a status with its
//! evidence. Neighbours: the planner calls it once for every student and run, with codes and years already resolved.
//!
//! Invariants: same facts, same answer, whatever their order; an enrollment that could count and cannot be read
//! withholds its student rather than being left out; ids are the only facts that an answer or an error repeats.
//!
//! Deliberately absent: a student gone from the SIS's listing (the planner's removal), comparing with what is stored.

use std::{cmp::Ordering, fmt};

use chrono::{Months, NaiveDate};
use rollcall_proto::roster::{Rule, Status};
use rollcall_store::district::{SchoolYears, StatusPolicy, WithdrawalDateIs};

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

/// When an enrollment is, seen from today.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Time {
    Past,
    Current,
    Future,
}

/// What the window makes of an enrollment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Counts(Time),
    Outside,
    /// Does not count, and is reported.
    Odd(WarningCode),
}

/// An enrollment's year against its entity's current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Year {
    NotGiven,
    Earlier,
    Current,
    Next,
    Later,
}

/// From when to when: no first day is "from always", no end is "until further notice".
#[derive(Debug, Clone, Copy)]
struct Spell {
    entry: Option<NaiveDate>,
    end: Option<NaiveDate>,
}

/// An enrollment that counts.
#[derive(Debug, Clone, Copy)]
struct Counted<'f, 'a> {
    index: usize,
    time: Time,
    enrollment: &'f EnrollmentFact<'a>,
}

/// Today and the policy.
#[derive(Debug, Clone, Copy)]
struct Calendar<'a> {
    today: NaiveDate,
    window_start: NaiveDate,
    policy: &'a StatusPolicy,
}

impl<'a> Calendar<'a> {
    fn of(facts: &Facts<'a>) -> Self {
        // Counts 29 February back to 28 February.
        let window_start = facts.today.checked_sub_months(Months::new(12)).unwrap_or(NaiveDate::MIN);
        Self { today: facts.today, window_start, policy: facts.policy }
    }

    /// A course at another campus: ignored altogether, legible or not.
    fn ignores(&self, code: CodeFact<'_>) -> bool {
        let CodeFact::Code(code) = code else { return false };
        let code = code.trim();
        !code.is_empty()
            && self.policy.ignore_withdrawal_codes.iter().any(|ignored| same_any_case(ignored.trim(), code))
    }

    /// Places an enrollment, or says why it must not be left out though it cannot be read.
    fn read(&self, enrollment: &EnrollmentFact<'_>) -> Result<Place, Illegible> {
        if let Some(illegible) = illegible_date(enrollment) {
            let counts = self.could_count(enrollment);
            return if counts { Err(illegible) } else { Ok(self.unread_place(enrollment)) };
        }
        let spell = Spell { entry: on(enrollment.entry), end: on(enrollment.withdrawal) };
        let place = self.place_in_any_year(enrollment, spell)?;
        let unresolved = enrollment.code == CodeFact::Unresolved && matches!(place, Place::Counts(_));
        if unresolved { Err(Illegible::WithdrawalCode) } else { Ok(place) }
    }

    /// Whether some date in place of what cannot be read would make it count. The dates tried stand for all others:
    /// an entry long ago or tomorrow, an end today or never.
    fn could_count(&self, enrollment: &EnrollmentFact<'_>) -> bool {
        let tomorrow = self.today.succ_opt().unwrap_or(NaiveDate::MAX);
        let entries = [NaiveDate::MIN, tomorrow];
        let ends = [self.today, NaiveDate::MAX];
        entries.iter().flat_map(|entry| ends.iter().map(move |end| (*entry, *end))).any(|(entry, end)| {
            let spell = Spell {
                entry: on(enrollment.entry).or(Some(entry)),
                end: match enrollment.withdrawal {
                    DateFact::Unreadable => Some(end),
                    known => on(known),
                },
            };
            years(enrollment.year).iter().any(|year| matches!(self.place(enrollment, *year, spell), Place::Counts(_)))
        })
    }

    /// Where an enrollment belongs that counts whatever its unreadable date: its year may be over all the same.
    fn unread_place(&self, enrollment: &EnrollmentFact<'_>) -> Place {
        let over = years(enrollment.year) == [Year::Earlier];
        if over && enrollment.withdrawal == DateFact::Absent && enrollment.seen == Seen::Listed {
            Place::Odd(WarningCode::OpenEnrollmentOfEarlierYear)
        } else {
            Place::Outside
        }
    }

    /// An unresolved year is harmless where every year gives the same place.
    fn place_in_any_year(&self, enrollment: &EnrollmentFact<'_>, spell: Spell) -> Result<Place, Illegible> {
        let mut places = years(enrollment.year).iter().map(|year| self.place(enrollment, *year, spell));
        let first = places.next().unwrap_or(Place::Outside);
        if places.all(|place| place == first) { Ok(first) } else { Err(Illegible::SchoolYear) }
    }

    fn place(&self, enrollment: &EnrollmentFact<'_>, year: Year, spell: Spell) -> Place {
        match enrollment.seen {
            Seen::Listed => self.place_listed(year, spell),
            Seen::Remembered { assumed_end } => self.place_remembered(spell, assumed_end),
        }
    }

    fn place_listed(&self, year: Year, spell: Spell) -> Place {
        if self.never_in_force(spell) {
            return Place::Odd(WarningCode::WithdrawalBeforeEntry);
        }
        let withdrew = spell.end.is_some_and(|end| (self.window_start..=self.today).contains(&end));
        match self.time(spell) {
            time if withdrew => Place::Counts(time),
            Time::Past => Place::Outside,
            Time::Current => Self::place_current(year, spell),
            Time::Future => self.place_future(year, spell),
        }
    }

    fn place_current(year: Year, spell: Spell) -> Place {
        match year {
            Year::NotGiven | Year::Current => Place::Counts(Time::Current),
            Year::Earlier if spell.end.is_some() => Place::Counts(Time::Current),
            Year::Earlier => Place::Odd(WarningCode::OpenEnrollmentOfEarlierYear),
            Year::Next | Year::Later => Place::Odd(WarningCode::InForceInLaterYear),
        }
    }

    fn place_future(&self, year: Year, spell: Spell) -> Place {
        match year {
            Year::NotGiven | Year::Current => Place::Counts(Time::Future),
            Year::Next if self.policy.school_years == SchoolYears::CurrentAndNext => Place::Counts(Time::Future),
            Year::Earlier if spell.end.is_none() => Place::Odd(WarningCode::OpenEnrollmentOfEarlierYear),
            Year::Earlier | Year::Next | Year::Later => Place::Outside,
        }
    }

    /// Past, even where its stored end lies ahead: the SIS shows it no more. Ages out by the same window.
    fn place_remembered(&self, spell: Spell, assumed_end: NaiveDate) -> Place {
        let ended = Spell { end: Some(spell.end.unwrap_or(assumed_end)), ..spell };
        if self.never_in_force(ended) {
            // An assumed end before the entry is a pre-enrollment taken back, which is nobody's mistake.
            return if spell.end.is_some() { Place::Odd(WarningCode::WithdrawalBeforeEntry) } else { Place::Outside };
        }
        let aged_out = ended.end.is_some_and(|end| end < self.window_start);
        if aged_out { Place::Outside } else { Place::Counts(Time::Past) }
    }

    fn never_in_force(&self, spell: Spell) -> bool {
        let (Some(entry), Some(end)) = (spell.entry, spell.end) else { return false };
        match self.policy.withdrawal_date_is {
            WithdrawalDateIs::LastDayEnrolled => end < entry,
            WithdrawalDateIs::FirstDayNotEnrolled => end <= entry,
        }
    }

    /// Of a spell that was or will be in force.
    fn time(&self, spell: Spell) -> Time {
        let ended = spell.end.is_some_and(|end| match self.policy.withdrawal_date_is {
            WithdrawalDateIs::LastDayEnrolled => end < self.today,
            WithdrawalDateIs::FirstDayNotEnrolled => end <= self.today,
        });
        if ended {
            Time::Past
        } else if spell.entry.is_some_and(|entry| entry > self.today) {
            Time::Future
        } else {
            Time::Current
        }
    }
}

fn on(date: DateFact) -> Option<NaiveDate> {
    match date {
        DateFact::On(date) => Some(date),
        DateFact::Absent | DateFact::Unreadable => None,
    }
}

fn illegible_date(enrollment: &EnrollmentFact<'_>) -> Option<Illegible> {
    let entry_expected = enrollment.year != YearFact::NotGiven && enrollment.seen == Seen::Listed;
    match (enrollment.entry, enrollment.withdrawal) {
        (DateFact::Unreadable, _) => Some(Illegible::EntryDate),
        (DateFact::Absent, _) if entry_expected => Some(Illegible::EntryDateMissing),
        (_, DateFact::Unreadable) => Some(Illegible::WithdrawalDate),
        _ => None,
    }
}

/// The years that an enrollment may be of.
const fn years(year: YearFact) -> &'static [Year] {
    match year {
        YearFact::NotGiven => &[Year::NotGiven],
        YearFact::Unresolved => &[Year::Earlier, Year::Current, Year::Next, Year::Later],
        YearFact::Ending { of, current } if of < current => &[Year::Earlier],
        YearFact::Ending { of, current } if of == current => &[Year::Current],
        YearFact::Ending { of, current } if of == current.saturating_add(1) => &[Year::Next],
        YearFact::Ending { .. } => &[Year::Later],
    }
}

fn same_any_case(a: &str, b: &str) -> bool {
    a.chars().flat_map(char::to_lowercase).eq(b.chars().flat_map(char::to_lowercase))
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
