//! The CSV of an import, read: its rows as far as they read, and what is wrong with their cells by line and column.
//!
//! Role: text only, neither store nor files. Neighbours: [`super`] looks at rows beside the store, and takes them in; the fuzzing
//! target `stranger` includes this file.

use std::{
    collections::BTreeSet,
    path::{Component, Path, PathBuf},
};

use anyhow::{Context as _, bail, ensure};
use chrono::NaiveDate;
use rollcall_proto::{date, id::StudentId};
use rollcall_store::document::{DocumentFile, DocumentId, DocumentParts, KIND_LIMIT, NewDocument, is_name};

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

/// A row as far as it reads: a cell that is bad is left out, so that the others can be looked at all the same.
#[derive(Debug, Default)]
pub(super) struct Row {
    pub(super) line: u64,
    pub(super) id: Option<DocumentId>,
    pub(super) student: Option<StudentId>,
    pub(super) program: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) completed: Option<bool>,
    pub(super) starts_on: Option<NaiveDate>,
    pub(super) ends_on: Option<NaiveDate>,
    /// Still on disk.
    pub(super) file: Option<PathBuf>,
}

impl Row {
    /// What the other cells are looked at beside.
    pub(super) fn parts(&self) -> DocumentParts<'_> {
        DocumentParts {
            id: self.id.as_ref(),
            student: self.student.as_ref(),
            program: self.program.as_deref(),
            completed: self.completed,
            starts_on: self.starts_on,
            ends_on: self.ends_on,
            data: None,
        }
    }

    /// The document, unless a cell that it needs is bad.
    pub(super) fn document(self, file: Option<DocumentFile>) -> Option<NewDocument> {
        Some(NewDocument {
            id: self.id?,
            student: self.student?,
            program: self.program?,
            kind: self.kind?,
            completed: self.completed?,
            starts_on: self.starts_on?,
            ends_on: self.ends_on,
            data: None,
            file,
        })
    }
}

/// All rows, and what is wrong with their cells.
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
        let row = row(line, &cell, folder, &mut bad);
        if row.id.as_ref().is_some_and(|id| !ids.insert(id.clone())) {
            let problem = "an earlier line has the same document_id".to_owned();
            bad.push(Bad { line, column: "document_id", code: "document-twice", problem });
        }
        rows.push(row);
    }
}

/// Where a column stands in the list of them; a whole row, before all.
pub(super) fn place(column: &str) -> Option<usize> {
    COLUMNS.iter().position(|known| *known == column)
}

/// Where each column stands.
fn places(header: &csv::StringRecord) -> anyhow::Result<[usize; 8]> {
    let columns = COLUMNS.join(",");
    if let Some(stranger) = header.iter().find(|name| !COLUMNS.contains(name)) {
        let apart = [(';', "semicolons"), ('\t', "tabs")].into_iter().find(|(mark, _)| stranger.contains(*mark));
        if let Some((_, marks)) = apart {
            bail!("its cells are separated by {marks}: save it as a CSV with commas; the columns are {columns}");
        }
        // Without a header the first row is somebody's.
        ensure!(
            header.iter().any(|name| COLUMNS.contains(&name)),
            "the first line is no header; the columns are {columns}"
        );
        let shown: String = stranger.chars().take(LONGEST_SHOWN).collect();
        bail!("unknown column {shown:?}; the columns are {columns}");
    }
    let mut places = [0; 8];
    for (place, column) in places.iter_mut().zip(COLUMNS) {
        let mut found = (0..header.len()).filter(|at| header.get(*at) == Some(column));
        *place = found.next().with_context(|| format!("the column {column} is missing; the columns are {columns}"))?;
        ensure!(found.next().is_none(), "the column {column} stands there twice");
    }
    Ok(places)
}

/// Characters of a column's name that are told.
const LONGEST_SHOWN: usize = 60;

/// A row, as far as it reads; what is wrong with it goes to `bad`.
fn row<'a>(line: u64, cell: &impl Fn(usize) -> &'a str, folder: &Path, bad: &mut Vec<Bad>) -> Row {
    let mut wrong = |column: usize, code, problem: &str| {
        bad.push(Bad { line, column: COLUMNS[column], code, problem: problem.to_owned() });
    };
    let id = cell(0).parse::<DocumentId>().map_err(|error| wrong(0, "id-unusable", &error.to_string())).ok();
    let [student, program, kind] = [1, 2, 3].map(|column| {
        let given = cell(column);
        if given.is_empty() {
            wrong(column, "cell-empty", "the cell is empty");
        } else if !is_name(given) {
            wrong(column, "cell-unusable", "the cell has a control character");
        } else if COLUMNS[column] == "kind" && given.chars().count() > KIND_LIMIT {
            wrong(column, "cell-unusable", "a kind is at most 200 characters");
        } else {
            return Some(given.to_owned());
        }
        None
    });
    let completed = match cell(4) {
        "draft" => Some(false),
        "completed" => Some(true),
        _ => {
            wrong(4, "status-unknown", "a status is draft or completed");
            None
        }
    };
    let starts_on = date::parse(cell(5)).map_err(|error| wrong(5, "date-unreadable", &error.to_string())).ok();
    let end = Some(cell(6)).filter(|cell| !cell.is_empty()).map(date::parse).transpose();
    let ends_on = end.map_err(|error| wrong(6, "date-unreadable", &format!("{error}, or left empty"))).ok().flatten();
    let is_here = is_below(Path::new(cell(7)));
    if !is_here {
        wrong(7, "file-elsewhere", "a file is named relative to the CSV, and lies in its folder or below");
    }
    let file = (is_here && !cell(7).is_empty()).then(|| folder.join(cell(7)));
    Row { line, id, student: student.map(StudentId), program, kind, completed, starts_on, ends_on, file }
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
        assert_eq!(rows[0].kind.as_deref(), Some("IEP, annual"));
        assert_eq!(rows[0].file.as_deref(), Some(Path::new("/x/a/b.pdf")));
        assert_eq!((rows[1].student.clone(), rows[1].ends_on), (Some(StudentId("8".to_owned())), None));
        assert_eq!((rows[0].completed, rows[1].completed), (Some(true), Some(false)));
        assert!(rows.into_iter().all(|row| row.document(None).is_some()));
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
        for row in ["d1,7\0,P,K,draft,2026-08-15,,\n", "d1,\u{7}7,P,K,draft,2026-08-15,,\n"] {
            assert_eq!(codes(row), [(2, "student_id", "cell-unusable")], "{row:?}");
        }
        assert_eq!(codes("d1,7,P,\"K\0\",draft,2026-08-15,,\n"), [(2, "kind", "cell-unusable")]);
        let kind = |letters: usize| codes(&format!("d1,7,P,{},draft,2026-08-15,,\n", "é".repeat(letters)));
        assert_eq!((kind(200), kind(201)), (vec![], vec![(2, "kind", "cell-unusable")]));
        let twice = "d1,7,P,K,draft,2026-08-15,,\nd2,7,P,K,draft,2026-08-15,,\nd1,8,P,K,draft,2026-08-15,,\n";
        assert_eq!(codes(twice), [(4, "document_id", "document-twice")]);
        let first_is_bad = "d1,7,P,K,done,2026-08-15,,\nd1,8,P,K,draft,2026-08-15,,\n";
        assert_eq!(codes(first_is_bad), [(2, "status", "status-unknown"), (3, "document_id", "document-twice")]);
        for file in ["/etc/hostname", "../elsewhere/o.html", "a/../../o.html", "a/../o.html", "..", "/"] {
            let row = format!("d1,7,P,K,draft,2026-08-15,,{file}\n");
            assert_eq!(codes(&row), [(2, "file", "file-elsewhere")], "{file}");
        }
        assert_eq!(codes("d1,7,P,K,draft,2026-08-15,,./a/..b.html\n"), []);
        assert_eq!(codes("d1,7,P\nd2,7,P,K,draft,2026-08-15,,\n"), [(2, "-", "row-unreadable")]);
    }

    #[test]
    fn a_bad_cell_hides_no_other_of_its_row() {
        let text =
            format!("{HEADER}d1,7,P,K,complete,2026-08-15,2026-08-14,a.pdf\n,8,P,,draft,26-08-15,2026-08-14,../a\n");
        let (rows, bad) = read(text.as_bytes(), Path::new("/x")).unwrap();
        assert_eq!(bad.len(), 5, "{bad:?}");
        let parts = rows[0].parts();
        assert!(parts.id.is_some() && parts.student.is_some() && parts.program == Some("P"));
        assert!(parts.starts_on > parts.ends_on && parts.completed.is_none());
        assert_eq!(rows[0].file.as_deref(), Some(Path::new("/x/a.pdf")));
        assert!(rows[1].student.is_some() && rows[1].ends_on.is_some() && rows[1].file.is_none());
        assert!(rows.into_iter().all(|row| row.document(None).is_none()));
    }

    #[test]
    fn a_missing_or_unknown_column_is_named() {
        let error = |header: &str| format!("{:#}", read(header.as_bytes(), Path::new("/x")).err().unwrap());
        assert!(error("document_id,student_id\n").contains("program"), "{}", error("document_id,student_id\n"));
        let stranger = error(&HEADER.replace("kind", "sort"));
        assert!(stranger.contains("unknown column \"sort\""), "{stranger}");
        let semicolons = error(&HEADER.replace(',', ";"));
        assert!(semicolons.contains("separated by semicolons"), "{semicolons}");
        let twice = error(&HEADER.replace("kind", "program,kind"));
        assert!(twice.contains("program stands there twice"), "{twice}");
    }
}
