//! `rollcall documents`.
//!
//! An import is checked whole before anything of it is taken in: where a row is bad, nothing goes in, and every bad row is
//! told by line and column. What goes in goes in document by document; an import that was interrupted is simply started
//! again, since a document that is as before changes nothing.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use chrono::NaiveDate;
use rollcall_proto::{
    id::{DistrictId, StudentId},
    message::Message,
};
use rollcall_store::document::{
    Author, Document, DocumentFile, DocumentFilter, DocumentId, DocumentRefused, NewDocument, SaveMode,
};
use serde_json::json;

use super::views;
use crate::{cli::DocumentsVerb, config, context::Context, output::Listing};

/// Columns of the CSV, in any order; `end` and `file` may be empty.
const COLUMNS: [&str; 8] = ["document_id", "student_id", "program", "kind", "status", "start", "end", "file"];

/// Bad rows shown at most.
const MOST_SHOWN: usize = 200;

/// Does what the verb says.
pub(crate) async fn dispatch(context: &Context, verb: DocumentsVerb) -> anyhow::Result<ExitCode> {
    match verb {
        DocumentsVerb::Views { district, student, limit } => views::list(context, &district, student, limit).await,
        DocumentsVerb::Import { district, file } => import(context, &district, &file).await,
        DocumentsVerb::List { district, student, program, status } => {
            let student = student.map(StudentId);
            list(context, &district, DocumentFilter { student, program, status, ..DocumentFilter::default() }).await
        }
    }
}

/// What is wrong with a cell. Never repeats the cell.
#[derive(Debug, PartialEq, Eq)]
struct Bad {
    line: u64,
    column: &'static str,
    code: &'static str,
    problem: String,
}

/// A row that reads well, with its file still on disk.
#[derive(Debug)]
struct Row {
    line: u64,
    document: NewDocument,
    file: Option<PathBuf>,
}

async fn import(context: &Context, district: &DistrictId, path: &Path) -> anyhow::Result<ExitCode> {
    context.store.district(district).await?;
    let text = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    let (rows, mut bad) = read(&text, folder).with_context(|| format!("in {}", path.display()))?;
    for row in &rows {
        if let Err(found) = check(context, district, row).await? {
            bad.push(found);
        }
    }
    if !bad.is_empty() {
        return refuse(context, bad);
    }
    let done = take_in(context, district, rows).await?;
    eprintln!("{} documents: {} new, {} changed, {} as before", done.all, done.created, done.changed, done.same());
    Ok(ExitCode::SUCCESS)
}

fn refuse(context: &Context, mut bad: Vec<Bad>) -> anyhow::Result<ExitCode> {
    bad.sort_by_key(|bad| bad.line);
    let mut listing = Listing::new(&["line", "column", "code", "problem"]);
    for one in bad.iter().take(MOST_SHOWN) {
        listing.push(vec![json!(one.line), json!(one.column), json!(one.code), json!(one.problem)]);
    }
    listing.print(context.format)?;
    eprintln!("rollcall: nothing was taken in: {} cells are bad; correct them and import the file again", bad.len());
    Ok(ExitCode::FAILURE)
}

/// What an import came to.
#[derive(Debug, Default)]
struct Done {
    all: usize,
    created: usize,
    changed: usize,
}

impl Done {
    const fn same(&self) -> usize {
        self.all - self.created - self.changed
    }
}

async fn take_in(context: &Context, district: &DistrictId, rows: Vec<Row>) -> anyhow::Result<Done> {
    let (actor, mut done, mut due) = (config::actor(), Done::default(), None);
    for row in rows {
        let file = row.file.as_deref().map(load).transpose().map_err(|(_, problem)| {
            anyhow::anyhow!("line {}: {problem}; the file changed while it was taken in; import again", row.line)
        })?;
        let document = NewDocument { file, ..row.document };
        let author = Author { actor: &actor, key: None, at: context.clock.now() };
        let saved = context.store.save_document(district, &document, SaveMode::Upsert, author).await?;
        let saved = saved.map_err(|refused| {
            anyhow::anyhow!("line {}: {refused}; the lines before it are in; correct it and import again", row.line)
        })?;
        done.all += 1;
        done.created += usize::from(saved.created);
        done.changed += usize::from(saved.changed && !saved.created);
        due = due.or_else(|| saved.flags_due.then(|| saved.document.student.clone()));
    }
    if let Some(student) = due {
        hurry(context, district, student).await?;
    }
    Ok(done)
}

/// Has flags looked at now. The store remembers whose are due, so nothing is lost where this fails.
async fn hurry(context: &Context, district: &DistrictId, student: StudentId) -> anyhow::Result<()> {
    if context.store.district(district).await?.has_flags() {
        let message = Message::flag_sync(district.clone(), Some(student), context.clock.now());
        if let Err(error) = context.bus.publish(&[message]).await {
            tracing::warn!(%error, "flag-sync could not be told; it will find out");
        }
    }
    Ok(())
}

/// Rows that read well, and what is wrong with the others.
fn read(text: &[u8], folder: &Path) -> anyhow::Result<(Vec<Row>, Vec<Bad>)> {
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
    let start = date(cell(5));
    if start.is_none() {
        wrong(5, "date-unreadable", "a date is written YYYY-MM-DD");
    }
    let end = date(cell(6));
    if end.is_none() && !cell(6).is_empty() {
        wrong(6, "date-unreadable", "a date is written YYYY-MM-DD, or left empty");
    }
    let file = (!cell(7).is_empty()).then(|| folder.join(cell(7)));
    match (id, start) {
        (Ok(id), Some(starts_on)) if bad.is_empty() => {
            let document = NewDocument {
                id,
                student: StudentId(cell(1).to_owned()),
                program: cell(2).to_owned(),
                kind: cell(3).to_owned(),
                completed,
                starts_on,
                ends_on: end,
                data: None,
                file: None,
            };
            Ok(Row { line, document, file })
        }
        _ => Err(bad),
    }
}

fn date(text: &str) -> Option<NaiveDate> {
    NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()
}

/// A row beside the store and its file.
async fn check(context: &Context, district: &DistrictId, row: &Row) -> anyhow::Result<Result<(), Bad>> {
    let bad = |column, code, problem| Err(Bad { line: row.line, column, code, problem });
    if let Some(Err((code, problem))) = row.file.as_deref().map(load) {
        return Ok(bad("file", code, problem));
    }
    Ok(match context.store.check_document(district, &row.document, SaveMode::Upsert).await? {
        Ok(()) => Ok(()),
        Err(refused) => bad(column_of(refused), refused.code(), refused.to_string()),
    })
}

const fn column_of(refused: DocumentRefused) -> &'static str {
    match refused {
        DocumentRefused::NoStudent | DocumentRefused::OtherOwner => "student_id",
        DocumentRefused::NoProgram => "program",
        DocumentRefused::Withdrawn | DocumentRefused::Completed => "status",
        DocumentRefused::DatesReversed => "end",
        _ => "document_id",
    }
}

/// Reads and checks a file. The error is a reason code and words; the file's own name is the CSV's to tell.
fn load(path: &Path) -> Result<DocumentFile, (&'static str, String)> {
    let bytes = std::fs::read(path)
        .map_err(|error| ("file-unreadable", format!("the file cannot be read ({})", error.kind())))?;
    DocumentFile::check(bytes).map_err(|refused| (refused.code(), refused.to_string()))
}

async fn list(context: &Context, district: &DistrictId, filter: DocumentFilter) -> anyhow::Result<ExitCode> {
    context.store.district(district).await?;
    let mut listing = Listing::new(&[
        "document_id",
        "student_id",
        "program",
        "kind",
        "status",
        "start",
        "end",
        "file",
        "version",
        "updated",
    ]);
    for document in context.store.documents(district, &filter).await? {
        listing.push(cells(&document));
    }
    listing.print(context.format)?;
    Ok(ExitCode::SUCCESS)
}

fn cells(document: &Document) -> Vec<serde_json::Value> {
    vec![
        json!(document.id),
        json!(document.student),
        json!(document.program),
        json!(document.kind),
        json!(document.status),
        json!(document.starts_on),
        json!(document.ends_on),
        json!(document.file.map(|file| file.kind)),
        json!(document.version),
        json!(document.updated_at),
    ]
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
        assert_eq!(codes("d1,7,P,K,done,2026-02-30,x,\n").len(), 3);
        assert_eq!(codes(",7,P,K,draft,2026-08-15,,\n"), [(2, "document_id", "id-unusable")]);
        assert_eq!(
            codes("d1,,,K,draft,2026-08-15,,\n"),
            [(2, "student_id", "cell-empty"), (2, "program", "cell-empty")]
        );
        let twice = "d1,7,P,K,draft,2026-08-15,,\nd2,7,P,K,draft,2026-08-15,,\nd1,8,P,K,draft,2026-08-15,,\n";
        assert_eq!(codes(twice), [(4, "document_id", "document-twice")]);
        assert_eq!(codes("d1,7,P\nd2,7,P,K,draft,2026-08-15,,\n"), [(2, "-", "row-unreadable")]);
    }

    #[test]
    fn a_missing_or_unknown_column_is_named() {
        let error = |header: &str| format!("{:#}", read(header.as_bytes(), Path::new("/x")).err().unwrap());
        assert!(error("document_id,student_id\n").contains("program"), "{}", error("document_id,student_id\n"));
        assert!(error(&HEADER.replace("kind", "sort")).contains("unknown column"));
    }
}
