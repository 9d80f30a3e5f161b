//! The CSV of an import, read: rows that read well, and what is wrong with the others by line and column.
//!
//! Role: text only, neither store nor files. Neighbours: [`super`] looks at rows beside the store, and takes them in; the fuzzing
//! target `stranger` includes this file.

use std::{
    collections::BTreeSet,
    path::{Component, Path, PathBuf},
};

use anyhow::Context as _;
use rollcall_proto::{date, id::StudentId};
use rollcall_store::document::{DocumentId, NewDocument};

/// Columns of the CSV, in any order; `end` and `file` may be empty.
const COLUMNS: [&str; 8] = ["document_id", "student_id", "program", "kind", "status", "start", "end", "file"];

/// What is wrong with a cell. Never repeats the cell.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bad {
    pub(super) line: u64,
    pub(super) column: &'static str,
    pub(super) code: &'static str,
    pub(super) problem: String,
}

/// A row that reads well, with its file still on disk.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) line: u64,
    pub(super) document: NewDocument,
    pub(super) file: Option<PathBuf>,
}

/// Rows that read well, and what is wrong with the others.
pub(super) fn read(text: &[u8], folder: &Path) -> anyhow::Result<(Vec<Row>, Vec<Bad>)> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text);
    let places = places(reader.headers().context("the first line is no header")?)?;
    let (mut rows, mut bad, mut ids) = (Vec::new(), Vec::new(), BTreeSet::new());
    let mut record = csv::StringRecord::new();
    loop {
        match reader.read_record(&mut record) {
            Ok(false) => return Ok((rows, bad)),
            Ok(true) => {}
            Err(error) => {
                let line = error.position().map_or(0, csv::Position::line);
                let problem = "the row has more or fewer cells than the header, or is not UTF-8".to_owned();
                bad.push(Bad { line, column: "-", code: "row-unreadable", problem });
                continue;
            }
        }
        let line = record.position().map_or(0, csv::Position::line);
        let cell = |column: usize| record.get(places[column]).unwrap_or_default();
        match row(line, &cell, folder) {
            Ok(row) if !ids.insert(row.document.id.clone()) => {
                let problem = "an earlier line has the same document_id".to_owned();
                bad.push(Bad { line, column: "document_id", code: "document-twice", problem });
            }
            Ok(row) => rows.push(row),
            Err(found) => bad.extend(found),
        }
    }
}

/// Where each column stands.
fn places(header: &csv::StringRecord) -> anyhow::Result<[usize; 8]> {
    let stranger = header.iter().find(|name| !COLUMNS.contains(name));
    anyhow::ensure!(stranger.is_none(), "unknown column; the columns are {}", COLUMNS.join(","));
    let mut places = [0; 8];
    for (place, column) in places.iter_mut().zip(COLUMNS) {
        let found = header.iter().position(|name| name == column);
        *place =
            found.with_context(|| format!("the column {column} is missing; the columns are {}", COLUMNS.join(",")))?;
    }
    Ok(places)
}

fn row<'a>(line: u64, cell: &impl Fn(usize) -> &'a str, folder: &Path) -> Result<Row, Vec<Bad>> {
    let mut bad = Vec::new();
    let mut wrong = |column: usize, code, problem: &str| {
        bad.push(Bad { line, column: COLUMNS[column], code, problem: problem.to_owned() });
    };
    let id = cell(0).parse::<DocumentId>();
    if let Err(error) = &id {
        wrong(0, "id-unusable", &error.to_string());
    }
    for column in [1, 2, 3] {
        if cell(column).is_empty() {
            wrong(column, "cell-empty", "the cell is empty");
        }
    }
    let completed = match cell(4) {
        "draft" => false,
        "completed" => true,
        _ => {
            wrong(4, "status-unknown", "a status is draft or completed");
            false
        }
    };
    let start = date::parse(cell(5));
    if let Err(error) = &start {
        wrong(5, "date-unreadable", &error.to_string());
    }
    let end = Some(cell(6)).filter(|cell| !cell.is_empty()).map(date::parse).transpose();
    if let Err(error) = &end {
        wrong(6, "date-unreadable", &format!("{error}, or left empty"));
    }
    if !is_below(Path::new(cell(7))) {
        wrong(7, "file-elsewhere", "a file is named relative to the CSV, and lies in its folder or below");
    }
    let file = (!cell(7).is_empty()).then(|| folder.join(cell(7)));
    match (id, start, end) {
        (Ok(id), Ok(starts_on), Ok(ends_on)) if bad.is_empty() => {
            let document = NewDocument {
                id,
                student: StudentId(cell(1).to_owned()),
                program: cell(2).to_owned(),
                kind: cell(3).to_owned(),
                completed,
                starts_on,
                ends_on,
                data: None,
                file: None,
            };
            Ok(Row { line, document, file })
        }
        _ => Err(bad),
    }
}

/// Whether a path, joined to a folder, does not lead out of it; where links on the way lead is not looked at.
fn is_below(path: &Path) -> bool {
    path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "document_id,student_id,program,kind,status,start,end,file\n";

    fn codes(rows: &str) -> Vec<(u64, &'static str, &'static str)> {
        let (_, bad) = read(format!("{HEADER}{rows}").as_bytes(), Path::new("/x")).unwrap();
        bad.into_iter().map(|bad| (bad.line, bad.column, bad.code)).collect()
    }

    #[test]
    fn good_rows_are_read() {
        let text = format!(
            "\u{feff}{HEADER}d1,7,Special Education,\"IEP, annual\",completed,2026-08-15,2027-08-14,a/b.pdf\n\nd2, 8 ,Section 504,504,draft,2026-08-15,,\n"
        );
        let (rows, bad) = read(text.as_bytes(), Path::new("/x")).unwrap();
        assert_eq!(bad, []);
        assert_eq!(rows[0].document.kind, "IEP, annual");
        assert_eq!(rows[0].file.as_deref(), Some(Path::new("/x/a/b.pdf")));
        assert_eq!((rows[1].document.student.0.as_str(), rows[1].document.ends_on), ("8", None));
        assert!(rows[0].document.completed && !rows[1].document.completed);
    }

    #[test]
    fn bad_cells_are_told_by_line_and_column() {
        assert_eq!(codes("d1,7,P,K,completed,15.8.2026,,\n"), [(2, "start", "date-unreadable")]);
        for date in ["26-09-01", "0026-09-01", "0206-09-01", "2026-9-1", "+2026-09-01", "1899-12-31", "2200-01-01"] {
            assert_eq!(codes(&format!("d1,7,P,K,draft,{date},,\n")), [(2, "start", "date-unreadable")], "{date}");
            let ends = format!("d1,7,P,K,draft,1900-01-01,{date},\n");
            assert_eq!(codes(&ends), [(2, "end", "date-unreadable")], "{date}");
        }
        assert_eq!(codes("d1,7,P,K,done,2026-02-30,x,\n").len(), 3);
        assert_eq!(codes(",7,P,K,draft,2026-08-15,,\n"), [(2, "document_id", "id-unusable")]);
        assert_eq!(
            codes("d1,,,K,draft,2026-08-15,,\n"),
            [(2, "student_id", "cell-empty"), (2, "program", "cell-empty")]
        );
        let twice = "d1,7,P,K,draft,2026-08-15,,\nd2,7,P,K,draft,2026-08-15,,\nd1,8,P,K,draft,2026-08-15,,\n";
        assert_eq!(codes(twice), [(4, "document_id", "document-twice")]);
        for file in ["/etc/hostname", "../elsewhere/o.html", "a/../../o.html", "a/../o.html", "..", "/"] {
            let row = format!("d1,7,P,K,draft,2026-08-15,,{file}\n");
            assert_eq!(codes(&row), [(2, "file", "file-elsewhere")], "{file}");
        }
        assert_eq!(codes("d1,7,P,K,draft,2026-08-15,,./a/..b.html\n"), []);
        assert_eq!(codes("d1,7,P\nd2,7,P,K,draft,2026-08-15,,\n"), [(2, "-", "row-unreadable")]);
    }

    #[test]
    fn a_missing_or_unknown_column_is_named() {
        let error = |header: &str| format!("{:#}", read(header.as_bytes(), Path::new("/x")).err().unwrap());
        assert!(error("document_id,student_id\n").contains("program"), "{}", error("document_id,student_id\n"));
        assert!(error(&HEADER.replace("kind", "sort")).contains("unknown column"));
    }
}
