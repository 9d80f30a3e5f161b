//! One value of a row: a tag byte, then what the tag says. The only code that knows these bytes.

use chrono::{Datelike, NaiveDate};

/// A value in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell<'a> {
    /// Null, or not there at all.
    Null,
    /// There, and of no use: a date that is no date, a number that is none.
    Unreadable,
    /// Yes or no.
    Flag(bool),
    /// A whole number.
    Number(i64),
    /// A date.
    Date(NaiveDate),
    /// Text.
    Text(&'a str),
}

impl<'a> Cell<'a> {
    /// The text, where it is one.
    pub const fn text(self) -> Option<&'a str> {
        if let Cell::Text(text) = self { Some(text) } else { None }
    }

    /// The number, where it is one.
    pub const fn number(self) -> Option<i64> {
        if let Cell::Number(number) = self { Some(number) } else { None }
    }

    /// The flag, where it is one.
    pub const fn flag(self) -> Option<bool> {
        if let Cell::Flag(flag) = self { Some(flag) } else { None }
    }

    /// The date, where it is one.
    pub const fn date(self) -> Option<NaiveDate> {
        if let Cell::Date(date) = self { Some(date) } else { None }
    }
}

const NULL: u8 = 0;
const UNREADABLE: u8 = 1;
const NO: u8 = 2;
const YES: u8 = 3;
const NUMBER: u8 = 4;
const DATE: u8 = 5;
const LONG_TEXT: u8 = 6;
/// Text of `tag - SHORT_TEXT` bytes.
const SHORT_TEXT: u8 = 7;
const LONGEST_SHORT: usize = (u8::MAX - SHORT_TEXT) as usize;

/// Appends a value.
pub fn write(to: &mut Vec<u8>, cell: Cell<'_>) {
    match cell {
        Cell::Null => to.push(NULL),
        Cell::Unreadable => to.push(UNREADABLE),
        Cell::Flag(false) => to.push(NO),
        Cell::Flag(true) => to.push(YES),
        Cell::Number(number) => {
            to.push(NUMBER);
            write_varint(to, zigzag(number));
        }
        Cell::Date(date) => {
            to.push(DATE);
            write_varint(to, zigzag(i64::from(date.num_days_from_ce())));
        }
        Cell::Text(text) => write_text(to, text),
    }
}

fn write_text(to: &mut Vec<u8>, text: &str) {
    match u8::try_from(text.len()) {
        Ok(length) if text.len() <= LONGEST_SHORT => to.push(SHORT_TEXT + length),
        _ => {
            to.push(LONG_TEXT);
            write_varint(to, text.len() as u64);
        }
    }
    to.extend_from_slice(text.as_bytes());
}

/// Appends a number, seven bits a byte, lowest first.
pub fn write_varint(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push((number as u8) | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

/// Reads what [`write_varint`] wrote, and where it ends.
pub fn read_varint(bytes: &[u8], mut at: usize) -> Option<(u64, usize)> {
    let (mut number, mut shift) = (0_u64, 0_u32);
    loop {
        let byte = *bytes.get(at)?;
        at += 1;
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some((number, at));
        }
        shift += 7;
    }
}

const fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

const fn unzigzag(number: u64) -> i64 {
    ((number >> 1) as i64) ^ -((number & 1) as i64)
}

/// Reads the value at `at`, and where the next begins. `None`: the bytes end too early, or are no value.
pub fn read(bytes: &[u8], at: usize) -> Option<(Cell<'_>, usize)> {
    let tag = *bytes.get(at)?;
    let next = at + 1;
    Some(match tag {
        NULL => (Cell::Null, next),
        UNREADABLE => (Cell::Unreadable, next),
        NO => (Cell::Flag(false), next),
        YES => (Cell::Flag(true), next),
        NUMBER => {
            let (number, end) = read_varint(bytes, next)?;
            (Cell::Number(unzigzag(number)), end)
        }
        DATE => {
            let (days, end) = read_varint(bytes, next)?;
            (Cell::Date(NaiveDate::from_num_days_from_ce_opt(unzigzag(days).try_into().ok()?)?), end)
        }
        _ => {
            let (length, start) = text_span(bytes, tag, next)?;
            let end = start.checked_add(length)?;
            (Cell::Text(std::str::from_utf8(bytes.get(start..end)?).ok()?), end)
        }
    })
}

/// Where the value after the one at `at` begins.
pub fn skip(bytes: &[u8], at: usize) -> Option<usize> {
    let tag = *bytes.get(at)?;
    match tag {
        NULL | UNREADABLE | NO | YES => Some(at + 1),
        NUMBER | DATE => read_varint(bytes, at + 1).map(|(_, end)| end),
        _ => {
            let (length, start) = text_span(bytes, tag, at + 1)?;
            start.checked_add(length)
        }
    }
}

fn text_span(bytes: &[u8], tag: u8, at: usize) -> Option<(usize, usize)> {
    if tag == LONG_TEXT {
        let (length, start) = read_varint(bytes, at)?;
        Some((usize::try_from(length).ok()?, start))
    } else {
        Some((usize::from(tag - SHORT_TEXT), at))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn round(cell: Cell<'_>) {
        let mut bytes = vec![0xAA];
        write(&mut bytes, cell);
        assert_eq!(read(&bytes, 1), Some((cell, bytes.len())));
        assert_eq!(skip(&bytes, 1), Some(bytes.len()));
        for end in 1..bytes.len() {
            assert_eq!(read(&bytes[..end], 1), None, "a cut value is no value");
        }
    }

    proptest! {
        #[test]
        fn any_value_comes_back(number in any::<i64>(), text in ".{0,400}", days in -700_000..3_000_000_i32) {
            round(Cell::Number(number));
            round(Cell::Text(&text));
            round(Cell::Date(NaiveDate::from_num_days_from_ce_opt(days).unwrap()));
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = read(&bytes, 0);
            let _ = skip(&bytes, 0);
        }
    }

    #[test]
    fn small_values_take_one_byte() {
        for cell in [Cell::Null, Cell::Unreadable, Cell::Flag(true), Cell::Flag(false), Cell::Text("")] {
            round(cell);
        }
        let mut bytes = Vec::new();
        write(&mut bytes, Cell::Null);
        assert_eq!(bytes.len(), 1);
    }
}
