//! `rollcall students`.

use std::process::ExitCode;

use anyhow::Context as _;
use rollcall_proto::{
    id::{DistrictId, StudentId},
    roster::{Contact, Person},
};
use rollcall_store::roster::{HistoryRow, StudentDetail, StudentFilter, StudentRow};
use serde_json::{Value, json};

use crate::{
    cli::{Format, StudentsVerb},
    context::Context,
    output::{Listing, flat, printable, say},
};

/// Columns of the listing, as docs and other programs rely on them.
const COLUMNS: [&str; 10] = [
    "student_id",
    "local_id",
    "state_id",
    "last_name",
    "first_name",
    "grade",
    "school",
    "status",
    "status_since",
    "run",
];

/// Rows read at a time.
const CHUNK: i64 = 10_000;

/// Does what the verb says.
pub(crate) async fn dispatch(context: &Context, verb: StudentsVerb) -> anyhow::Result<ExitCode> {
    match verb {
        StudentsVerb::List { district, status, school, limit } => {
            let filter = StudentFilter { status, school, limit, after: None };
            list(context, &district, filter).await
        }
        StudentsVerb::Show { district, student } => show(context, &district, &student).await,
    }
}

async fn list(context: &Context, district: &DistrictId, mut filter: StudentFilter) -> anyhow::Result<ExitCode> {
    context.store.district(district).await?;
    let mut listing = Listing::new(&COLUMNS);
    let mut left = filter.limit.unwrap_or(i64::MAX);
    while left > 0 {
        filter.limit = Some(left.min(CHUNK));
        let rows = context.store.students(district, &filter).await?;
        let Some(last) = rows.last() else { break };
        filter.after = Some(last.student_id.clone());
        left -= rows.len() as i64;
        for row in &rows {
            listing.push(cells(row));
        }
    }
    listing.print(context.format)?;
    Ok(ExitCode::SUCCESS)
}

fn cells(row: &StudentRow) -> Vec<Value> {
    vec![
        json!(row.student_id),
        json!(row.local_id),
        json!(row.state_id),
        json!(row.last_name),
        json!(row.first_name),
        json!(row.grade),
        json!(row.school),
        json!(row.status),
        json!(row.status_since),
        json!(row.run),
    ]
}

async fn show(context: &Context, district: &DistrictId, student: &str) -> anyhow::Result<ExitCode> {
    let StudentId(wanted) = StudentId(student.to_owned());
    let detail = context.store.student(district, &wanted).await?.with_context(|| {
        format!("{district} has no student with this student id, local id or state id; `rollcall students list --district {district}` shows all")
    })?;
    match context.format {
        Format::Table => print(&detail)?,
        Format::Json => say!("{}", serde_json::to_string_pretty(&[document(&detail)])?)?,
        other @ (Format::Csv | Format::Html | Format::Svg) => flat(&document(&detail)).print(other)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn document(detail: &StudentDetail) -> Value {
    let row = COLUMNS.iter().map(ToString::to_string).zip(cells(&detail.row));
    let mut object: serde_json::Map<String, Value> = row.collect();
    object.insert("rule".to_owned(), json!(detail.rule.as_str()));
    object.insert("evidence".to_owned(), json!(detail.evidence));
    object.insert("record".to_owned(), json!(detail.record));
    object.insert("history".to_owned(), detail.history.iter().map(history).collect());
    Value::Object(object)
}

fn history(row: &HistoryRow) -> Value {
    json!({
        "at": row.at, "run": row.run, "as_of": row.as_of, "actor": row.actor, "change": row.change,
        "from": row.from, "to": row.to, "rule": row.rule.as_str(), "enrollments": row.enrollments, "parts": row.parts,
    })
}

fn print(detail: &StudentDetail) -> anyhow::Result<()> {
    let record = &detail.record;
    say!("{}  {}", detail.row.student_id, name(&record.person))?;
    say!(
        "  {} since {} (rule {}, enrollments {})",
        detail.row.status.as_str(),
        detail.row.status_since,
        detail.rule.as_str(),
        detail.evidence.join(" ")
    )?;
    say!(
        "  grade {}, school {}, local id {}, state id {}",
        dash(record.grade.as_deref()),
        dash(record.school.as_deref()),
        dash(record.local_id.as_deref()),
        dash(record.state_id.as_deref())
    )?;
    person(&record.person, "  ")?;
    record.contacts.iter().try_for_each(contact)?;
    say!("  enrollments")?;
    for enrollment in &record.enrollments {
        say!(
            "    {:>12}  school {}  year {}  {} to {}  {}",
            enrollment.id,
            dash(enrollment.school.as_deref()),
            enrollment.school_year.map_or_else(|| "-".to_owned(), |year| year.to_string()),
            enrollment.entry_date.map_or_else(|| "-".to_owned(), |date| date.to_string()),
            enrollment.withdrawal_date.map_or_else(|| "open".to_owned(), |date| date.to_string()),
            enrollment.withdrawal_code.as_deref().map(printable).unwrap_or_default()
        )?;
    }
    say!("  history")?;
    detail.history.iter().try_for_each(|row| say!("    {}", history_line(row)))
}

/// A line of a student's history.
pub(crate) fn history_line(row: &HistoryRow) -> String {
    format!(
        "{}  {:<8} {:>12} -> {:<12} rule {:<2} by {}, run {}{}",
        row.as_of,
        row.change,
        row.from.map_or("-", rollcall_proto::roster::Status::as_str),
        row.to.as_str(),
        row.rule.as_str(),
        row.actor,
        row.run,
        if row.parts.is_empty() { String::new() } else { format!("  ({})", row.parts.join(", ")) }
    )
}

fn contact(contact: &Contact) -> anyhow::Result<()> {
    say!(
        "  {}: {} ({}){}",
        contact.kind.as_str(),
        name(&contact.person),
        dash(contact.relationship.as_deref()),
        if contact.custodial == Some(true) { ", custodial" } else { "" }
    )?;
    person(&contact.person, "    ")
}

fn person(person: &Person, indent: &str) -> anyhow::Result<()> {
    for phone in &person.phones {
        say!("{indent}phone {} {}", printable(&phone.number), dash(phone.kind.as_deref()))?;
    }
    for email in &person.emails {
        say!("{indent}e-mail {}", printable(&email.address))?;
    }
    for address in &person.addresses {
        let parts = [&address.line1, &address.line2, &address.city, &address.state, &address.zip];
        let line: Vec<_> = parts.into_iter().flatten().map(|part| printable(part)).collect();
        say!("{indent}address {}", line.join(", "))?;
    }
    Ok(())
}

fn name(person: &Person) -> String {
    let parts = [&person.first_name, &person.middle_name, &person.last_name];
    parts.into_iter().flatten().map(|part| printable(part)).collect::<Vec<_>>().join(" ")
}

fn dash(text: Option<&str>) -> String {
    text.map_or_else(|| "-".to_owned(), printable)
}
