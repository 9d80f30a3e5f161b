//! Which enrollments count, and when they are, seen from today: the window, and what must not be left out unread.

use chrono::{Months, NaiveDate};
use rollcall_store::district::{SchoolYears, StatusPolicy, WithdrawalDateIs};

use super::{CodeFact, DateFact, EnrollmentFact, Facts, Illegible, Seen, WarningCode, YearFact};

/// When an enrollment is, seen from today.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Time {
    Past,
    Current,
    Future,
}

/// What the window makes of an enrollment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
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

/// Today and the policy.
#[derive(Debug, Clone, Copy)]
pub(super) struct Calendar<'a> {
    today: NaiveDate,
    window_start: NaiveDate,
    policy: &'a StatusPolicy,
}

impl<'a> Calendar<'a> {
    pub(super) fn of(facts: &Facts<'a>) -> Self {
        // Counts 29 February back to 28 February.
        let window_start = facts.today.checked_sub_months(Months::new(12)).unwrap_or(NaiveDate::MIN);
        Self { today: facts.today, window_start, policy: facts.policy }
    }

    /// A course at another campus: ignored altogether, legible or not.
    pub(super) fn ignores(&self, code: CodeFact<'_>) -> bool {
        let CodeFact::Code(code) = code else { return false };
        let code = code.trim();
        !code.is_empty()
            && self.policy.ignore_withdrawal_codes.iter().any(|ignored| same_any_case(ignored.trim(), code))
    }

    /// Places an enrollment, or says why it must not be left out though it cannot be read.
    pub(super) fn read(&self, enrollment: &EnrollmentFact<'_>) -> Result<Place, Illegible> {
        if let Some(illegible) = illegible_date(enrollment) {
            let counts = self.could_count(enrollment);
            return if counts { Err(illegible) } else { Ok(Self::unread_place(enrollment)) };
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
    fn unread_place(enrollment: &EnrollmentFact<'_>) -> Place {
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
        match self.policy.withdrawal_date_is.unwrap_or_default() {
            WithdrawalDateIs::LastDayEnrolled => end < entry,
            WithdrawalDateIs::FirstDayNotEnrolled => end <= entry,
        }
    }

    /// Of a spell that was or will be in force.
    fn time(&self, spell: Spell) -> Time {
        let ended = spell.end.is_some_and(|end| match self.policy.withdrawal_date_is.unwrap_or_default() {
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

pub(super) fn on(date: DateFact) -> Option<NaiveDate> {
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
