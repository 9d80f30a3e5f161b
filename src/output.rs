//! How listings are printed: a table for people, one JSON document, or CSV. Nothing else goes to standard output.

use std::{
    fmt,
    io::{self, Write},
};

use anyhow::{Context as _, bail};
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Map, Value};

use crate::cli::Format;

/// Standard output. A reader that went away is none of a command's business: `rollcall … | head` does its work to the end, and
/// its exit code is its own. Whatever else cannot be written (the disk is full) is an error, see [`Unwritten`].
#[derive(Debug)]
struct Output<W>(W);

/// What standard output could not take.
#[derive(Debug)]
struct Unwritten;

impl fmt::Display for Unwritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the output could not be written")
    }
}

impl<W: Write> Write for Output<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        unless_gone(self.0.write(bytes), bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        unless_gone(self.0.flush(), ())
    }
}

fn unless_gone<T>(written: io::Result<T>, all: T) -> io::Result<T> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(all),
        other => other,
    }
}

/// Has `write` write to standard output, all of it: what stays in the buffer would be lost without a word.
fn print_with(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> anyhow::Result<()> {
    let mut out = Output(io::stdout().lock());
    write(&mut out).and_then(|()| out.flush()).context(Unwritten)
}

/// A number of things, in words that go with it.
pub(crate) fn counted(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// Prints bytes as they are.
pub(crate) fn print(bytes: &[u8]) -> anyhow::Result<()> {
    print_with(|out| out.write_all(bytes))
}

/// Prints a line, for [`say!`].
pub(crate) fn line(text: fmt::Arguments<'_>) -> anyhow::Result<()> {
    print_with(|out| writeln!(out, "{text}"))
}

/// Prints a line on standard output, as `println!` does, which panics where nobody reads it.
macro_rules! say {
    ($($text:tt)*) => { $crate::output::line(format_args!($($text)*)) };
}
pub(crate) use say;

/// Says a line on standard error. Where nobody hears it, there is nobody to tell.
pub(crate) fn tell(text: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// A listing: named columns and rows of values in their order.
#[derive(Debug)]
pub(crate) struct Listing {
    columns: Vec<&'static str>,
    rows: Vec<Vec<Value>>,
}

impl Listing {
    /// An empty one.
    pub(crate) fn new(columns: &[&'static str]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row, as long as there are columns.
    pub(crate) fn push(&mut self, row: Vec<Value>) {
        debug_assert_eq!(row.len(), self.columns.len());
        self.rows.push(row);
    }

    /// Prints it.
    pub(crate) fn print(&self, format: Format) -> anyhow::Result<()> {
        if matches!(format, Format::Html | Format::Svg) {
            bail!("--format html and svg are for `runs trace`; this prints table, json or csv");
        }
        print_with(|out| self.write(format, out))
    }

    /// As [`Listing::print`], for what is not shown again: an error too where nobody reads it.
    pub(crate) fn hand_over(&self, format: Format) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        self.write(format, &mut out).and_then(|()| out.flush()).context(Unwritten)
    }

    fn write(&self, format: Format, mut out: impl Write) -> io::Result<()> {
        match format {
            Format::Json => {
                serde_json::to_writer_pretty(&mut out, &self.objects())?;
                writeln!(out)
            }
            Format::Csv => self.csv(&mut out),
            Format::Table | Format::Html | Format::Svg => writeln!(out, "{}", self.table()),
        }
    }

    fn objects(&self) -> Vec<Map<String, Value>> {
        let object = |row: &Vec<Value>| self.columns.iter().map(ToString::to_string).zip(row.iter().cloned()).collect();
        self.rows.iter().map(object).collect()
    }

    /// As people read it.
    pub(crate) fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(&self.columns);
        for row in &self.rows {
            table.add_row(row.iter().map(|value| printable(&readable(&text(value)))));
        }
        table
    }

    /// As programs read it.
    pub(crate) fn csv(&self, out: impl Write) -> io::Result<()> {
        let mut writer = csv::Writer::from_writer(out);
        writer.write_record(&self.columns).map_err(as_io)?;
        for row in &self.rows {
            writer.write_record(row.iter().map(text)).map_err(as_io)?;
        }
        writer.flush()
    }
}

/// The system's own error, where there is one: the library's conversion hides what kind it is of.
fn as_io(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}

/// A document as rows of `key,value`, for `--format csv`: a key is the way to its value, places of a list counted from one
/// (`connection.1.kind`); a list of plain values is one value.
pub(crate) fn flat(document: &Value) -> Listing {
    let mut listing = Listing::new(&["key", "value"]);
    flatten(String::new(), document, &mut listing);
    listing
}

fn flatten(key: String, value: &Value, listing: &mut Listing) {
    let below = |name: &str| if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| flatten(below(name), value, listing)),
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            (1..).zip(items).for_each(|(place, item): (usize, _)| flatten(below(&place.to_string()), item, listing));
        }
        plain => listing.push(vec![Value::from(key), plain.clone()]),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

/// A time of day to the second: people do not read microseconds. JSON and CSV keep them.
fn readable(text: &str) -> String {
    match chrono::DateTime::parse_from_rfc3339(text) {
        Ok(time) => time.format("%Y-%m-%d %H:%M:%SZ").to_string(),
        Err(_) => text.to_owned(),
    }
}

/// Names come from outside: a control character must not steer the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\nc"), "a\u{fffd}[2Jb\u{fffd}c");
    }

    /// A place that nothing can be written to.
    struct Shut(io::ErrorKind);

    impl Write for Shut {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(self.0.into())
        }
    }

    #[test]
    fn only_an_output_that_nobody_reads_is_no_failure() {
        let mut listing = Listing::new(&["id"]);
        listing.push(vec![1.into()]);
        for format in [Format::Table, Format::Json, Format::Csv] {
            let mut gone = Output(Shut(io::ErrorKind::BrokenPipe));
            assert!(listing.write(format, &mut gone).and_then(|()| gone.flush()).is_ok(), "{format:?}");
            let full = listing.write(format, Output(Shut(io::ErrorKind::StorageFull))).unwrap_err();
            assert_eq!(full.kind(), io::ErrorKind::StorageFull, "{format:?}");
        }
    }

    #[test]
    fn csv_has_a_header_and_quotes_what_needs_it() {
        let mut listing = Listing::new(&["id", "name"]);
        listing.push(vec!["1".into(), "O'Brien, \"Bo\"".into()]);
        listing.push(vec![2.into(), Value::Null]);
        let mut out = Vec::new();
        listing.csv(&mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "id,name\n1,\"O'Brien, \"\"Bo\"\"\"\n2,\n");
    }

    #[test]
    fn a_document_becomes_rows_of_key_and_value() {
        let document = serde_json::json!({
            "id": "a", "none": null, "entities": [1, 2], "no": [], "connection": [{"lanes": 4}, {"lanes": 2, "in": {"b": true}}],
        });
        let mut out = Vec::new();
        flat(&document).csv(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let mut lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.remove(0), "key,value");
        lines.sort_unstable();
        let expected =
            ["connection.1.lanes,4", "connection.2.in.b,true", "connection.2.lanes,2", "entities,1 2", "id,a"];
        assert_eq!(lines, [&expected[..], &["no,", "none,"]].concat());
    }
}
