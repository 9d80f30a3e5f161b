//! `rollcall documents`.
//!
//! An import is checked whole before anything of it is taken in: where a row is bad, nothing goes in, and every bad row is
//! told by line and column. What goes in goes in document by document; an import that was interrupted is simply started
//! again, since a document that is as before changes nothing.

mod beside;
mod sheet;

use std::{path::Path, process::ExitCode};

use anyhow::Context as _;
use rollcall_proto::id::{DistrictId, StudentId};
use rollcall_store::document::{Author, Document, DocumentFilter, DocumentRefused, SaveMode};
use serde_json::json;

use self::{
    beside::Folder,
    sheet::{Bad, Row},
};
use super::{flags::hurry, run, views};
use crate::{
    cli::DocumentsVerb,
    config,
    context::Context,
    district_file::unreadable,
    output::{Listing, counted},
};

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

async fn import(context: &Context, district: &DistrictId, path: &Path) -> anyhow::Result<ExitCode> {
    context.store.district(district).await?;
    let text = std::fs::read(path).with_context(|| unreadable(path, "docs/DOCUMENTS.md says what stands in it"))?;
    let folder = Folder::of(path).with_context(|| format!("looking for the folder of {}", path.display()))?;
    let (rows, mut bad) = sheet::read(&text, folder.path()).with_context(|| format!("in {}", path.display()))?;
    for row in &rows {
        bad.extend(check(context, district, &folder, row).await?);
    }
    if !bad.is_empty() {
        return refuse(context, bad);
    }
    let done = take_in(context, district, &folder, rows).await?;
    let all = counted(done.all, "document", "documents");
    eprintln!("{all}: {} new, {} changed, {} as before", done.created, done.changed, done.same());
    if done.hurried {
        run::hint_host(context)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn refuse(context: &Context, mut bad: Vec<Bad>) -> anyhow::Result<ExitCode> {
    bad.sort_by_key(|bad| (bad.line, sheet::place(bad.column)));
    let mut listing = Listing::new(&["line", "column", "code", "problem"]);
    for one in bad.iter().take(MOST_SHOWN) {
        listing.push(vec![json!(one.line), json!(one.column), json!(one.code), json!(one.problem)]);
    }
    listing.print(context.format)?;
    let bad = counted(bad.len(), "cell is bad; correct it", "cells are bad; correct them");
    eprintln!("rollcall: nothing was taken in: {bad} and import the file again");
    Ok(ExitCode::FAILURE)
}

/// What an import came to.
#[derive(Debug, Default)]
struct Done {
    all: usize,
    created: usize,
    changed: usize,
    /// Flags are to be looked at.
    hurried: bool,
}

impl Done {
    const fn same(&self) -> usize {
        self.all - self.created - self.changed
    }
}

async fn take_in(context: &Context, district: &DistrictId, folder: &Folder, rows: Vec<Row>) -> anyhow::Result<Done> {
    let (actor, mut done, mut due) = (config::actor(), Done::default(), None);
    for row in rows {
        let file = row.file.as_deref().map(|file| folder.load(file)).transpose().map_err(|refused| {
            let problem = refused.problem;
            anyhow::anyhow!("line {}: {problem}; the file changed while it was taken in; import again", row.line)
        })?;
        let line = row.line;
        let document = row.document(file).with_context(|| format!("line {line}: a cell is bad"))?;
        let author = Author { actor: &actor, key: None, at: context.clock.now() };
        let saved = context.store.save_document(district, &document, SaveMode::Upsert, author).await?;
        let saved = saved.map_err(|refused| {
            anyhow::anyhow!("line {line}: {refused}; the lines before it are in; correct it and import again")
        })?;
        done.all += 1;
        done.created += usize::from(saved.created);
        done.changed += usize::from(saved.changed && !saved.created);
        due = due.or_else(|| saved.flags_due.then(|| saved.document.student.clone()));
    }
    if let Some(student) = due {
        done.hurried = hurry(context, district, Some(student)).await?;
    }
    Ok(done)
}

/// A row beside the store and its file: all that is wrong with what could be read of it.
async fn check(context: &Context, district: &DistrictId, folder: &Folder, row: &Row) -> anyhow::Result<Vec<Bad>> {
    let bad = |column, code, problem| Bad { line: row.line, column, code, problem };
    let file = row.file.as_deref().and_then(|file| folder.load(file).err());
    let mut found: Vec<Bad> = file.map(|refused| bad("file", refused.code, refused.problem)).into_iter().collect();
    for refused in context.store.check_document(district, &row.parts(), SaveMode::Upsert).await? {
        let problem = match refused {
            DocumentRefused::NoProgram => no_program(&context.store.programs(district).await?),
            _ => refused.to_string(),
        };
        found.push(bad(column_of(refused), refused.code(), problem));
    }
    Ok(found)
}

/// What is said where a program is none of the district's.
pub(super) fn no_program(programs: &[String]) -> String {
    format!("{}; those there are: {}", DocumentRefused::NoProgram, programs.join(", "))
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
