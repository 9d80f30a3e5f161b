//! One JSON value, read leniently into a cell.
//!
//! Real servers differ in how they spell a value (wire facts: ids as numbers or text, booleans as `true`, `"True"` or 1,
//! dates in four spellings). What is there but makes no sense becomes [`Cell::Unreadable`], so that the rules can withhold
//! the one student it concerns instead of losing the page.

use std::borrow::Cow;

use chrono::NaiveDate;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{DecodeClass, DecodeError};
use crate::fragment::{Cell, Form};

/// A scalar as JSON has it, borrowed where the text needs no unescaping.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Raw<'de> {
    /// Not there.
    #[default]
    Absent,
    /// `null`.
    Null,
    /// A boolean.
    Flag(bool),
    /// A whole number.
    Number(i64),
    /// A number with a fraction, or too large.
    Float(f64),
    /// A string.
    Text(Cow<'de, str>),
    /// An object or an array.
    Nested,
}

impl<'de: 'a, 'a> Deserialize<'de> for Raw<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Raw<'de>, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Raw<'de>, E> {
        Ok(Raw::Flag(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Raw<'de>, E> {
        Ok(Raw::Number(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Raw<'de>, E> {
        Ok(i64::try_from(number).map_or(Raw::Float(number as f64), Raw::Number))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Raw<'de>, E> {
        Ok(Raw::Float(number))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Raw<'de>, E> {
        Ok(Raw::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw<'de>, E> {
        Ok(Raw::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw<'de>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Raw::Nested)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw<'de>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Raw::Nested)
    }
}

/// What can be told of a body without a parser.
pub(super) fn first_look(body: &[u8]) -> Result<(), DecodeError> {
    let Some(at) = body.iter().position(|byte| !byte.is_ascii_whitespace()) else {
        return Err(DecodeError::whole(DecodeClass::Empty));
    };
    if body[at] != b'<' {
        return Ok(());
    }
    let line = body[..at].split(|byte| *byte == b'\n').count();
    let column = body[..at].iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
    Err(DecodeError { class: DecodeClass::Html, line, column })
}

/// A cell with text that may have had to be changed.
#[derive(Debug, PartialEq, Eq)]
pub enum Read<'a> {
    /// As it stood.
    Cell(Cell<'a>),
    /// Text made from something else than text.
    Made(String),
    /// Text from which control characters were taken.
    Cleaned(String),
}

/// Reads a scalar as `form` wants it.
pub fn read<'a>(raw: &'a Raw<'_>, form: Form) -> Read<'a> {
    let cell = match (raw, form) {
        (Raw::Absent | Raw::Null, _) => Cell::Null,
        (_, Form::Text) => return text(raw),
        (_, Form::Number) => number(raw),
        (_, Form::Flag) => flag(raw),
        (Raw::Text(text), Form::Date) => date(text),
        (_, Form::Date) => Cell::Unreadable,
    };
    Read::Cell(cell)
}

fn number(raw: &Raw<'_>) -> Cell<'static> {
    match raw {
        Raw::Number(number) => Cell::Number(*number),
        #[expect(clippy::float_cmp, reason = "asks whether the number is whole")]
        Raw::Float(number) if number.trunc() == *number && number.abs() < 9e15 => Cell::Number(*number as i64),
        Raw::Text(text) => match text.trim() {
            "" => Cell::Null,
            digits => digits.parse().map_or(Cell::Unreadable, Cell::Number),
        },
        _ => Cell::Unreadable,
    }
}

fn flag(raw: &Raw<'_>) -> Cell<'static> {
    match raw {
        Raw::Flag(flag) => Cell::Flag(*flag),
        Raw::Number(0) => Cell::Flag(false),
        Raw::Number(1) => Cell::Flag(true),
        Raw::Text(text) => match text.trim() {
            "" => Cell::Null,
            word if ["true", "1", "yes", "y"].iter().any(|yes| word.eq_ignore_ascii_case(yes)) => Cell::Flag(true),
            word if ["false", "0", "no", "n"].iter().any(|no| word.eq_ignore_ascii_case(no)) => Cell::Flag(false),
            _ => Cell::Unreadable,
        },
        _ => Cell::Unreadable,
    }
}

fn text<'a>(raw: &'a Raw<'_>) -> Read<'a> {
    match raw {
        Raw::Text(text) if needs_cleaning(text) => clean(text),
        Raw::Text(text) => Read::Cell(non_empty(text)),
        Raw::Number(number) => Read::Made(number.to_string()),
        Raw::Float(number) => Read::Made(number.to_string()),
        Raw::Flag(flag) => Read::Cell(Cell::Text(if *flag { "true" } else { "false" })),
        _ => Read::Cell(Cell::Unreadable),
    }
}

fn non_empty(text: &str) -> Cell<'_> {
    match text.trim() {
        "" => Cell::Null,
        text => Cell::Text(text),
    }
}

/// Control characters are below U+0020, U+007F, or U+0080 to U+009F (which begin with byte 0xC2).
fn needs_cleaning(text: &str) -> bool {
    text.bytes().any(|byte| byte < 0x20 || byte == 0x7f || byte == 0xc2) && text.chars().any(char::is_control)
}

/// Takes control characters out (PostgreSQL refuses NUL in text); a tab or line break parts words, so it becomes a space.
fn clean(text: &str) -> Read<'static> {
    let spaced = |letter: char| if matches!(letter, '\t' | '\n' | '\r') { ' ' } else { letter };
    let kept: String = text.chars().map(spaced).filter(|letter| !letter.is_control()).collect();
    match kept.trim() {
        "" => Read::Cell(Cell::Null),
        kept => Read::Cleaned(kept.to_owned()),
    }
}

/// Reads a date in one of the spellings seen: `yyyy-MM-dd` or `MM/dd/yyyy`, with or without a time behind, which is let go:
/// a day is meant, and the SIS's own offset must not move it.
fn date(text: &str) -> Cell<'static> {
    let text = text.trim();
    if text.is_empty() {
        return Cell::Null;
    }
    let split = text.find(['T', ' ']).unwrap_or(text.len());
    let (day, time) = text.split_at(split);
    let date = calendar_day(day.as_bytes()).filter(|_| time.is_empty() || is_time(&time[1..]));
    match date {
        // .NET's "no date": DateTime.MinValue.
        Some((1, 1, 1)) => Cell::Null,
        Some((year, month, day)) => NaiveDate::from_ymd_opt(year, month, day).map_or(Cell::Unreadable, Cell::Date),
        None => Cell::Unreadable,
    }
}

fn calendar_day(day: &[u8]) -> Option<(i32, u32, u32)> {
    if let [_, _, _, _, b'-', _, _, b'-', _, _] = day {
        return Some((digits(&day[..4])? as i32, digits(&day[5..7])?, digits(&day[8..])?));
    }
    let mut parts = day.split(|byte| *byte == b'/');
    let (month, date, year) = (parts.next()?, parts.next()?, parts.next()?);
    let fits = parts.next().is_none() && month.len() <= 2 && date.len() <= 2 && year.len() == 4;
    if fits { Some((digits(year)? as i32, digits(month)?, digits(date)?)) } else { None }
}

fn digits(bytes: &[u8]) -> Option<u32> {
    let add = |sum: u32, byte: &u8| {
        let digit = byte.is_ascii_digit().then(|| u32::from(byte - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    };
    bytes.iter().try_fold(0_u32, add).filter(|_| !bytes.is_empty())
}

/// Something that looks like a time of day: `hh:mm`, then whatever of digits, signs and AM/PM servers add.
fn is_time(text: &str) -> bool {
    let mut parts = text.trim_start().split(':');
    let hour = parts.next().and_then(|hour| digits(hour.as_bytes()));
    let legal = |byte: u8| byte.is_ascii_digit() || b":.+-Z APMapm".contains(&byte);
    hour.is_some_and(|hour| hour < 25) && parts.next().is_some() && text.bytes().all(legal)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn cell_of(json: &str, form: Form) -> String {
        let raw: Raw<'_> = serde_json::from_str(json).unwrap();
        format!("{:?}", read(&raw, form))
    }

    /// Found by fuzzing.
    #[test]
    fn an_hour_of_many_digits_is_no_time() {
        for time in ["T4294967295:00", "T42949672950:00", " 99999999999999999999:00"] {
            let text = format!("\"2026-02-09{time}\"");
            assert_eq!(cell_of(&text, Form::Date), format!("{:?}", Read::Cell(Cell::Unreadable)), "{time}");
        }
    }

    #[test]
    fn dates_are_read_in_every_spelling_seen() {
        let right = format!("{:?}", Read::Cell(Cell::Date(NaiveDate::from_ymd_opt(2026, 2, 9).unwrap())));
        for text in [
            "2026-02-09",
            "2026-02-09T00:00:00",
            "2026-02-09T23:59:59.123",
            "2026-02-09T00:00:00Z",
            "02/09/2026",
            "2026-02-09T00:00:00.000-06:00",
            "2026-02-09 00:00:00",
            "02/09/2026 00:00:00",
            "2/9/2026",
            " 2026-02-09 ",
            "2/9/2026 12:00:00 AM",
        ] {
            assert_eq!(cell_of(&format!("{text:?}"), Form::Date), right, "{text}");
        }
        for text in [
            "2026-02-30",
            "2026-13-01",
            "soon",
            "09.02.2026",
            "2026-02-09x",
            "20260209",
            "2026-02-09Tnoon",
            "0000-00-00",
            "1/2/26",
            "//",
            "-",
            "2026-2-9",
            "²/2/2026",
        ] {
            assert_eq!(cell_of(&format!("{text:?}"), Form::Date), "Cell(Unreadable)", "{text}");
        }
        for json in ["null", "\"\"", "\"  \"", "\"0001-01-01T00:00:00\""] {
            assert_eq!(cell_of(json, Form::Date), "Cell(Null)", "{json}");
        }
        assert_eq!(cell_of("20260209", Form::Date), "Cell(Unreadable)");
    }

    #[test]
    fn numbers_come_as_numbers_or_text() {
        for (json, cell) in [
            ("25", "Cell(Number(25))"),
            ("\"25\"", "Cell(Number(25))"),
            ("25.0", "Cell(Number(25))"),
            ("\" 25 \"", "Cell(Number(25))"),
            ("\"\"", "Cell(Null)"),
            ("null", "Cell(Null)"),
            ("25.5", "Cell(Unreadable)"),
            ("\"A7\"", "Cell(Unreadable)"),
            ("true", "Cell(Unreadable)"),
            ("[]", "Cell(Unreadable)"),
            ("1e300", "Cell(Unreadable)"),
            ("9223372036854775807", "Cell(Number(9223372036854775807))"),
            ("18446744073709551615", "Cell(Unreadable)"),
        ] {
            assert_eq!(cell_of(json, Form::Number), cell, "{json}");
        }
    }

    #[test]
    fn flags_come_as_booleans_words_or_digits() {
        for json in ["true", "\"true\"", "\"True\"", "1", "\"1\"", "\"Y\""] {
            assert_eq!(cell_of(json, Form::Flag), "Cell(Flag(true))", "{json}");
        }
        for json in ["false", "\"False\"", "0", "\"0\"", "\"no\""] {
            assert_eq!(cell_of(json, Form::Flag), "Cell(Flag(false))", "{json}");
        }
        for json in ["2", "\"maybe\"", "{}", "1.5"] {
            assert_eq!(cell_of(json, Form::Flag), "Cell(Unreadable)", "{json}");
        }
    }

    #[test]
    fn text_keeps_every_script_and_loses_control_characters() {
        for (json, cell) in [
            ("\"José\"", "Cell(Text(\"José\"))"),
            ("\"Nguyễn Văn\"", "Cell(Text(\"Nguyễn Văn\"))"),
            ("\"محمد\"", "Cell(Text(\"محمد\"))"),
            ("\"\\u674e\"", "Cell(Text(\"李\"))"),
            ("\"Ana\\u0000\"", "Cleaned(\"Ana\")"),
            ("\"A\\tB\"", "Cleaned(\"A B\")"),
            ("\"A\\u0085B\"", "Cleaned(\"AB\")"),
            ("\"\\u0000\"", "Cell(Null)"),
            ("\"Â£\"", "Cell(Text(\"Â£\"))"),
            ("\"  \"", "Cell(Null)"),
            ("7", "Made(\"7\")"),
            ("true", "Cell(Text(\"true\"))"),
            ("{\"a\":[1]}", "Cell(Unreadable)"),
        ] {
            assert_eq!(cell_of(json, Form::Text), cell, "{json}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_somehow(text in "\\PC{0,40}") {
            let raw = Raw::Text(Cow::Borrowed(&text));
            for form in [Form::Number, Form::Text, Form::Flag, Form::Date] {
                let _ = read(&raw, form);
            }
        }

        #[test]
        fn any_day_comes_back(year in 1900..2200_i32, month in 1..13_u32, day in 1..29_u32) {
            let right = Cell::Date(NaiveDate::from_ymd_opt(year, month, day).unwrap());
            prop_assert_eq!(date(&format!("{year:04}-{month:02}-{day:02}T00:00:00")), right);
            prop_assert_eq!(date(&format!("{month}/{day}/{year}")), right);
        }
    }
}
