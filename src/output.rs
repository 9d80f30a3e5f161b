//! How listings are printed: a table for people, one JSON document, or CSV. Nothing else goes to standard output.

use std::{
    error::Error,
    fmt,
    io::{self, Write},
};

use anyhow::bail;
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Map, Value};

use crate::cli::Format;

/// Nobody reads standard output any more. The way to tell it from a connection to a server that breaks while it is written to:
/// the system has one error for both.
#[derive(Debug)]
struct NobodyReads;

impl fmt::Display for NobodyReads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nobody reads the output any more")
    }
}

impl Error for NobodyReads {}

/// Standard output, whose reader may go away: [`nobody_reads`] knows its errors.
#[derive(Debug)]
pub(crate) struct Output<W>(W);

impl Output<io::StdoutLock<'static>> {
    /// Standard output, for this thread alone.
    pub(crate) fn standard() -> Self {
        Self(io::stdout().lock())
    }
}

impl<W: Write> Write for Output<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(marked)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(marked)
    }
}

fn marked(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe => io::Error::new(io::ErrorKind::BrokenPipe, NobodyReads),
        _ => error,
    }
}

/// Whether a command failed for its output alone: `rollcall … | head` is not a failure.
pub(crate) fn nobody_reads(error: &anyhow::Error) -> bool {
    let io = |cause: &(dyn Error + 'static)| {
        cause.downcast_ref::<io::Error>()?.get_ref().map(|inner| inner.is::<NobodyReads>())
    };
    error.chain().any(|cause| io(cause) == Some(true))
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
        self.write(format, Output::standard())
    }

    fn write(&self, format: Format, mut out: impl Write) -> anyhow::Result<()> {
        match format {
            Format::Table => writeln!(out, "{}", self.table())?,
            Format::Json => {
                serde_json::to_writer_pretty(&mut out, &self.objects()).map_err(io::Error::from)?;
                writeln!(out)?;
            }
            Format::Csv => self.csv(&mut out)?,
            Format::Html | Format::Svg => {
                bail!("--format html and svg are for `runs trace`; this prints table, json or csv")
            }
        }
        Ok(out.flush()?)
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
    pub(crate) fn csv(&self, out: impl Write) -> anyhow::Result<()> {
        let mut writer = csv::Writer::from_writer(out);
        writer.write_record(&self.columns)?;
        for row in &self.rows {
            writer.write_record(row.iter().map(text))?;
        }
        Ok(writer.flush()?)
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

    /// A pipe whose reader is gone.
    struct Gone;

    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn only_an_output_that_nobody_reads_is_no_failure() {
        let mut listing = Listing::new(&["id"]);
        listing.push(vec![1.into()]);
        for format in [Format::Table, Format::Json, Format::Csv] {
            let error = listing.write(format, Output(Gone)).unwrap_err();
            assert!(nobody_reads(&error.context("of a command")), "{format:?}");
        }
        let database = io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(!nobody_reads(&anyhow::Error::new(database).context("asking the database")));
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
