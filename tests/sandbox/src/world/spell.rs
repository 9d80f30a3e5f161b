//! The enrollments of a student: dates, years, schools and codes that fit the story of [`super::scenario`].
//!
//! Whatever is meant to be past ended, and whatever is upcoming begins, at least two days from today (the edge stories
//! excepted), so that a run a little before or after midnight comes to the same statuses.

use chrono::{Datelike, Days, Months, NaiveDate};

use super::calendar::{self, Year};
use super::scenario::{Leaving, Scenario, State};

/// One spell of enrollment at one school.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spell {
    pub(crate) year: Year,
    /// Index of the school.
    pub(crate) school: u16,
    pub(crate) start: NaiveDate,
    pub(crate) end: Option<NaiveDate>,
    /// Withdrawal code.
    pub(crate) code: Option<&'static str>,
    /// Entry code.
    pub(crate) entry: &'static str,
    /// False for a course at a school other than the student's own.
    pub(crate) home: bool,
    pub(crate) no_show: bool,
}

/// Up to three spells, in order of id.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spells {
    rows: [Spell; Spells::MOST],
    len: usize,
}

impl Spells {
    /// Most spells one student can have: the ids leave room for as many.
    pub(crate) const MOST: usize = 3;

    fn push(&mut self, spell: Spell) {
        if let Some(place) = self.rows.get_mut(self.len) {
            *place = spell;
            self.len += 1;
        }
    }

    pub(crate) fn as_slice(&self) -> &[Spell] {
        &self.rows[..self.len]
    }
}

/// What the spells of one student are made from.
pub(crate) struct Maker {
    pub(crate) today: NaiveDate,
    pub(crate) hash: u64,
    pub(crate) home: u16,
    pub(crate) other: u16,
}

const LEAVER_CODES: [&str; 8] = ["81", "82", "60", "80", "98", "24", "16", "78"];

impl Maker {
    /// The student's enrollments.
    pub(crate) fn spells(&self, state: &State) -> Spells {
        let mut spells = Spells::default();
        for spell in self.story(state.scenario).into_iter().flatten() {
            spells.push(spell);
        }
        self.leave(&mut spells, state.left);
        if state.moved {
            self.change_school(&mut spells);
        }
        spells
    }

    fn story(&self, scenario: Scenario) -> [Option<Spell>; 2] {
        let one = |spell| [Some(spell), None];
        let two = |first, second| [Some(first), Some(second)];
        match scenario {
            Scenario::Current => one(self.open()),
            Scenario::CurrentWithHistory => two(self.last_year(), self.open()),
            Scenario::ChangedSchool => {
                two(self.away(self.ended(20, 21, "33", self.back(60, 40))), self.from(self.back(18, 2)))
            }
            Scenario::CourseElsewhere => two(self.open(), self.course()),
            Scenario::CurrentAndNext => two(self.open(), self.next_year()),
            Scenario::OldYearStillInForce => {
                one(Spell { year: Year::PREVIOUS, end: Some(self.ahead(30, 10)), code: Some("98"), ..self.last_year() })
            }
            Scenario::FutureOnly | Scenario::NewcomerFuture => one(self.upcoming()),
            Scenario::PastAndFuture => two(self.ended(10, 50, "98", self.back(200, 50)), self.upcoming()),
            Scenario::Graduated => one(self.ended(5, 300, "01", self.back(700, 30))),
            Scenario::GraduatedThenLeft => two(
                self.ended(200, 60, "01", self.back(290, 20)),
                self.ended(10, 60, self.leaver_code(), self.back(150, 20)),
            ),
            Scenario::Withdrawn => one(self.ended(5, 300, self.leaver_code(), self.back(400, 90))),
            Scenario::WithdrawnWithCourseElsewhere => {
                two(self.ended(5, 40, self.leaver_code(), self.back(80, 20)), self.course())
            }
            Scenario::NoShow => one(self.no_show()),
            Scenario::LongGone => one(self.ended(400, 150, self.leaver_code(), self.back(600, 30))),
            Scenario::NoEnrollment => [None, None],
            Scenario::OldYearLeftOpen => one(Spell { end: None, code: None, ..self.last_year() }),
            Scenario::NextYearOnly => one(self.next_year()),
            Scenario::Newcomer => one(self.from(self.back(1, 1))),
            Scenario::EntersToday => one(self.from(self.today)),
            Scenario::EntersTomorrow => one(self.from(self.ahead(1, 1))),
            Scenario::LeavesToday => one(self.ended(0, 1, self.leaver_code(), self.back(60, 9))),
            Scenario::LeftAYearAgo => one(self.left_on(self.a_year_ago())),
            Scenario::LeftAYearAndADayAgo => one(self.left_on(self.a_year_ago() - Days::new(1))),
        }
    }

    /// `base` to `base + spread - 1` days before today.
    fn back(&self, base: u64, spread: u64) -> NaiveDate {
        self.today - Days::new(base + self.hash % spread)
    }

    /// `base` to `base + spread - 1` days after today.
    fn ahead(&self, base: u64, spread: u64) -> NaiveDate {
        self.today + Days::new(base + self.hash % spread)
    }

    fn a_year_ago(&self) -> NaiveDate {
        self.today - Months::new(12)
    }

    fn leaver_code(&self) -> &'static str {
        LEAVER_CODES[(self.hash >> 12) as usize % LEAVER_CODES.len()]
    }

    fn year_of(&self, date: NaiveDate) -> Year {
        calendar::year_of(self.today, date)
    }

    /// Open, in this year, from a date on.
    fn from(&self, start: NaiveDate) -> Spell {
        Spell {
            year: Year::CURRENT,
            school: self.home,
            start,
            end: None,
            code: None,
            entry: "E1",
            home: true,
            no_show: false,
        }
    }

    /// Open since this year's first day, or for some days where the year has only begun.
    fn open(&self) -> Spell {
        let first_day = calendar::first_day(self.today, Year::CURRENT);
        self.from(first_day.min(self.back(6, 4)))
    }

    fn ended(&self, base: u64, spread: u64, code: &'static str, start: NaiveDate) -> Spell {
        let end = self.back(base, spread);
        Spell { end: Some(end), code: Some(code), year: self.year_of(end), ..self.from(start) }
    }

    fn left_on(&self, end: NaiveDate) -> Spell {
        let start = end - Days::new(90);
        Spell { end: Some(end), code: Some(self.leaver_code()), year: self.year_of(end), ..self.from(start) }
    }

    /// From last year's first day to its last, or to some days ago where that is not over yet.
    fn last_year(&self) -> Spell {
        let last_day = calendar::last_day(self.today, Year::PREVIOUS);
        let end = last_day.min(self.back(10, 5));
        Spell { year: Year::PREVIOUS, end: Some(end), ..self.from(calendar::first_day(self.today, Year::PREVIOUS)) }
    }

    fn next_year(&self) -> Spell {
        Spell { year: Year::NEXT, ..self.from(calendar::first_day(self.today, Year::NEXT).max(self.ahead(5, 3))) }
    }

    /// Begins with this year's first day, or in some weeks where that is over.
    fn upcoming(&self) -> Spell {
        let first_day = calendar::first_day(self.today, Year::CURRENT);
        self.from(first_day.max(self.ahead(2, 28)))
    }

    fn no_show(&self) -> Spell {
        let start = self.back(40, 20);
        Spell { no_show: true, end: Some(start + Days::new(3)), ..self.ended(37, 1, "44", start) }
    }

    fn away(&self, spell: Spell) -> Spell {
        Spell { school: self.other, ..spell }
    }

    fn course(&self) -> Spell {
        let course = Spell { end: Some(self.ahead(40, 20)), code: Some("CECS"), ..self.from(self.back(12, 9)) };
        Spell { home: false, entry: "CE", ..self.away(course) }
    }

    fn leave(&self, spells: &mut Spells, left: Option<Leaving>) {
        let code = match left {
            None => return,
            Some(Leaving::Withdrawn) => self.leaver_code(),
            Some(Leaving::Graduated) => "01",
        };
        if let Some(spell) = self.last_open(spells) {
            spell.end = Some(self.today - Days::new(2)).max(Some(spell.start));
            spell.code = Some(code);
        }
    }

    fn change_school(&self, spells: &mut Spells) {
        let until = self.today - Days::new(2);
        let Some(spell) = self.last_open(spells) else { return };
        spell.end = Some(until.max(spell.start));
        spell.code = Some("33");
        let entered = Spell { school: self.other, entry: "E2", ..self.from(until.max(spell.start) + Days::new(1)) };
        spells.push(entered);
    }

    fn last_open<'a>(&self, spells: &'a mut Spells) -> Option<&'a mut Spell> {
        let len = spells.len;
        spells.rows[..len].iter_mut().rev().find(|spell| spell.end.is_none() && spell.start <= self.today)
    }
}

/// `NumericYear`, the year a school year ends in.
pub(crate) fn numeric_year(today: NaiveDate, year: Year) -> i64 {
    i64::from(calendar::ending_year(today, year))
}

/// A birth date that fits a grade from -1 (pre-kindergarten) to 12.
pub(crate) fn birth_date(today: NaiveDate, grade: i64, hash: u64) -> NaiveDate {
    let year = today.year() - 6 - grade as i32;
    NaiveDate::from_ymd_opt(year, 1 + (hash % 12) as u32, 1 + (hash / 12 % 28) as u32).unwrap_or(today)
}
