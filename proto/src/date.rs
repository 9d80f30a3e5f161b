//! Dates as people and other programs write them.

use chrono::{Datelike as _, NaiveDate};

/// What was written is no date that a school can have meant. Does not repeat it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a date is written YYYY-MM-DD, from 1900-01-01 to 2199-12-31")]
pub struct DateUnreadable;

/// A date that a school can have meant, written in full; every store holds it. chrono alone takes `26-09-01` for a day of the
/// year 26.
///
/// # Errors
/// It is not exactly `YYYY-MM-DD`, is no day of the calendar, or its year is not one from 1900 to 2199.
pub fn parse(text: &str) -> Result<NaiveDate, DateUnreadable> {
    let is_written_so = text.len() == "YYYY-MM-DD".len()
        && text
            .bytes()
            .enumerate()
            .all(|(at, byte)| if matches!(at, 4 | 7) { byte == b'-' } else { byte.is_ascii_digit() });
    let date = is_written_so.then(|| text.parse::<NaiveDate>().ok()).flatten();
    date.filter(|date| (1900..=2199).contains(&date.year())).ok_or(DateUnreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_written_in_full_and_within_reach() {
        for good in ["1900-01-01", "2026-09-01", "2028-02-29", "2199-12-31"] {
            assert_eq!(parse(good).unwrap().to_string(), good);
        }
        for bad in [
            "",
            "26-09-01",
            "0026-09-01",
            "0206-09-01",
            "2026-9-1",
            " 2026-9-1",
            "2026-09-01 ",
            " 026-09-01",
            "+2026-9-01",
            "+026-09-01",
            "2026-9-010",
            "20260-9-01",
            "1899-12-31",
            "2200-01-01",
            "2026-02-29",
            "2026-13-01",
            "2026/09/01",
            "09-01-2026",
            "2026-09-01T00",
            "２026-09-1",
        ] {
            assert_eq!(parse(bad), Err(DateUnreadable), "{bad}");
        }
    }
}
