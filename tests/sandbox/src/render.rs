//! Rows as JSON, written straight into the answer's buffer: no tree in between.

use chrono::{Datelike, NaiveDate};

use crate::catalog::{Object, Value};
use crate::edits::Rows;
use crate::quirks::{DataQuirks, DateStyle, OnDeniedField, Quirks};

/// The columns of an answer.
#[derive(Debug)]
pub(crate) struct Columns {
    /// `"Name":` of each, quoted.
    keys: Vec<String>,
    fields: Vec<usize>,
    /// Keys that are always null.
    nulls: Vec<String>,
}

/// Why columns are refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the field {field} of {object} is not available")]
pub(crate) struct DeniedField {
    pub(crate) object: &'static str,
    pub(crate) field: String,
    pub(crate) forbidden: bool,
}

impl Columns {
    /// Resolves the requested names; without any, the primary key alone.
    pub(crate) fn resolve(
        (object, entity): (&dyn Object, i64),
        names: &[String],
        quirks: &Quirks,
    ) -> Result<Self, DeniedField> {
        let mut columns = Self { keys: Vec::new(), fields: Vec::new(), nulls: Vec::new() };
        if names.is_empty() {
            columns.add(object, 0);
        }
        for name in names {
            let granted = |field: &usize| quirks.grants.allows_field(object.name(), object.info(*field).name, entity);
            match object.field(name).filter(granted) {
                Some(field) => columns.add(object, field),
                None => columns.deny(object, name, quirks.grants.on_denied_field)?,
            }
        }
        Ok(columns)
    }

    fn add(&mut self, object: &dyn Object, field: usize) {
        if !self.fields.contains(&field) {
            self.keys.push(format!("\"{}\":", object.info(field).name));
            self.fields.push(field);
        }
    }

    fn deny(&mut self, object: &dyn Object, name: &str, how: OnDeniedField) -> Result<(), DeniedField> {
        let forbidden = match how {
            OnDeniedField::Omitted => return Ok(()),
            OnDeniedField::Null => {
                self.nulls.push(format!("{}:null", serde_json::Value::from(name)));
                return Ok(());
            }
            OnDeniedField::BadRequest => false,
            OnDeniedField::Forbidden => true,
        };
        Err(DeniedField { object: object.name(), field: name.to_owned(), forbidden })
    }
}

/// Writes one row as a flat object.
pub(crate) fn row(out: &mut Vec<u8>, rows: &Rows<'_>, slot: u32, columns: &Columns) {
    let data = &rows.view.quirks.data;
    out.push(b'{');
    let begin = out.len();
    rows.values(slot, &columns.fields, &mut |place, found| {
        if out.len() > begin {
            out.push(b',');
        }
        out.extend_from_slice(columns.keys[place].as_bytes());
        value(out, &found, data);
    });
    for null in &columns.nulls {
        if out.len() > begin {
            out.push(b',');
        }
        out.extend_from_slice(null.as_bytes());
    }
    out.push(b'}');
}

fn value(out: &mut Vec<u8>, value: &Value, data: &DataQuirks) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Int(number) => integer(out, *number),
        Value::Bool(flag) => boolean(out, *flag, data.booleans_as_strings),
        Value::Str(text) => string(out, text),
        Value::Text(text) => string(out, text),
        Value::Date(day) => date(out, *day, data.dates),
    }
}

fn boolean(out: &mut Vec<u8>, flag: bool, quoted: bool) {
    let word: &[u8] = match (flag, quoted) {
        (true, false) => b"true",
        (false, false) => b"false",
        (true, true) => b"\"true\"",
        (false, true) => b"\"false\"",
    };
    out.extend_from_slice(word);
}

fn integer(out: &mut Vec<u8>, number: i64) {
    let mut digits = [0_u8; 20];
    let mut place = digits.len();
    let mut left = number.unsigned_abs();
    loop {
        place -= 1;
        digits[place] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    if number < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[place..]);
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    if text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
        out.extend_from_slice(text.as_bytes());
    } else {
        text.chars().for_each(|character| escaped(out, character));
    }
    out.push(b'"');
}

fn escaped(out: &mut Vec<u8>, character: char) {
    match character {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        control if control < ' ' => out.extend_from_slice(format!("\\u{:04x}", control as u32).as_bytes()),
        other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

fn date(out: &mut Vec<u8>, day: NaiveDate, style: DateStyle) {
    let (year, month, of_month) = (day.year().unsigned_abs(), day.month(), day.day());
    out.push(b'"');
    if style == DateStyle::UnitedStates {
        padded(out, month, 2);
        out.push(b'/');
        padded(out, of_month, 2);
        out.push(b'/');
        padded(out, year, 4);
    } else {
        padded(out, year, 4);
        out.push(b'-');
        padded(out, month, 2);
        out.push(b'-');
        padded(out, of_month, 2);
    }
    let time: &[u8] = match style {
        DateStyle::IsoMidnight => b"T00:00:00",
        DateStyle::Space => b" 00:00:00",
        DateStyle::IsoZulu => b"T00:00:00.000Z",
        DateStyle::Iso | DateStyle::UnitedStates => b"",
    };
    out.extend_from_slice(time);
    out.push(b'"');
}

fn padded(out: &mut Vec<u8>, number: u32, width: u32) {
    for place in (0..width).rev() {
        out.push(b'0' + (number / 10_u32.pow(place) % 10) as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value_of: &Value, data: &DataQuirks) -> String {
        let mut out = Vec::new();
        value(&mut out, value_of, data);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_are_valid_json() {
        let data = DataQuirks::default();
        for text in ["plain", "O'Brien \"the\" \\ one", "nul\0", "tab\t", "小雨 يوسف"] {
            let json = written(&Value::Text(text.into()), &data);
            assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }
        for number in [0, 7, -12, i64::MAX, i64::MIN] {
            assert_eq!(written(&Value::Int(number), &data), number.to_string());
        }
    }

    #[test]
    fn dates_come_in_each_style() {
        let day = Value::Date(NaiveDate::from_ymd_opt(2026, 8, 2).unwrap());
        let in_style = |dates| written(&day, &DataQuirks { dates, ..DataQuirks::default() });
        assert_eq!(in_style(DateStyle::IsoMidnight), "\"2026-08-02T00:00:00\"");
        assert_eq!(in_style(DateStyle::Iso), "\"2026-08-02\"");
        assert_eq!(in_style(DateStyle::Space), "\"2026-08-02 00:00:00\"");
        assert_eq!(in_style(DateStyle::UnitedStates), "\"08/02/2026\"");
        assert_eq!(in_style(DateStyle::IsoZulu), "\"2026-08-02T00:00:00.000Z\"");
    }
}
