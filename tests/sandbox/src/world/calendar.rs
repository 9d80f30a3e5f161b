//! School years: they change on 1 July; pupils come from 12 August to 28 May.

use chrono::{Datelike, NaiveDate};

/// A school year by its place: 0 two years back, 1 the previous, 2 the current, 3 the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Year(pub(crate) u8);

impl Year {
    pub(crate) const PREVIOUS: Self = Self(1);
    pub(crate) const CURRENT: Self = Self(2);
    pub(crate) const NEXT: Self = Self(3);
    /// All four.
    pub(crate) const ALL: [Self; 4] = [Self(0), Self::PREVIOUS, Self::CURRENT, Self::NEXT];
}

fn ending(date: NaiveDate) -> i32 {
    date.year() + i32::from(date.month() >= 7)
}

/// The calendar year in which the school year ends.
pub(crate) fn ending_year(today: NaiveDate, year: Year) -> i32 {
    ending(today) + i32::from(year.0) - i32::from(Year::CURRENT.0)
}

/// The school year a date falls in, or the nearest one served.
pub(crate) fn year_of(today: NaiveDate, date: NaiveDate) -> Year {
    let place = ending(date) - ending(today) + i32::from(Year::CURRENT.0);
    Year(place.clamp(0, 3) as u8)
}

/// The first day of school.
pub(crate) fn first_day(today: NaiveDate, year: Year) -> NaiveDate {
    NaiveDate::from_ymd_opt(ending_year(today, year) - 1, 8, 12).unwrap_or(today)
}

/// The last day of school.
pub(crate) fn last_day(today: NaiveDate, year: Year) -> NaiveDate {
    NaiveDate::from_ymd_opt(ending_year(today, year), 5, 28).unwrap_or(today)
}
