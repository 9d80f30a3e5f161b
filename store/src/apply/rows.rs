//! Rows to write as columns: which field goes where. The mirror of `roster/load.rs`.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use rollcall_proto::{
    id::{DistrictId, RunId},
    roster::{Person, Status},
};

use super::{
    bulk::{Bulk, Column, json},
    change::{ContactWrite, EnrollmentWrite, HistoryWrite, RunFacts, StudentWrite, Writes},
};
use crate::StoreError;

type Columns<'a> = Vec<(&'static str, Column<'a>)>;

fn text<'a, T: 'a>(rows: &'a [T], get: impl Fn(&'a T) -> &'a str) -> Column<'a> {
    Column::Text(rows.iter().map(|row| Some(get(row))).collect())
}

fn maybe<'a, T: 'a>(rows: &'a [T], get: impl Fn(&'a T) -> &'a Option<String>) -> Column<'a> {
    Column::Text(rows.iter().map(|row| get(row).as_deref()).collect())
}

fn lists<'a, T: 'a>(
    rows: &'a [T],
    get: impl Fn(&'a T) -> Result<Cow<'static, str>, StoreError>,
) -> Result<Column<'a>, StoreError> {
    Ok(Column::Json(rows.iter().map(get).collect::<Result<_, _>>()?))
}

/// The columns of a person, which students, contacts and staff share.
pub(crate) fn person_columns<'a, T: 'a>(
    rows: &'a [T],
    person: impl Fn(&'a T) -> &'a Person + Copy,
) -> Result<Columns<'a>, StoreError> {
    Ok(vec![
        ("name_id", text(rows, move |row| person(row).name_id.as_str())),
        ("first_name", maybe(rows, move |row| &person(row).first_name)),
        ("middle_name", maybe(rows, move |row| &person(row).middle_name)),
        ("last_name", maybe(rows, move |row| &person(row).last_name)),
        ("phones", lists(rows, move |row| json(&person(row).phones))?),
        ("emails", lists(rows, move |row| json(&person(row).emails))?),
        ("addresses", lists(rows, move |row| json(&person(row).addresses))?),
    ])
}

/// Rows of `student`.
pub(crate) fn students<'a>(district: &'a DistrictId, rows: &'a [StudentWrite<'a>]) -> Result<Bulk<'a>, StoreError> {
    let mut columns = vec![
        ("district", Column::SameText(Some(district.as_str()))),
        ("student_id", text(rows, |row| row.record.id.0.as_str())),
        ("connection", Column::Int(rows.iter().map(|row| Some(i32::from(row.record.connection))).collect()).united()),
        ("local_id", maybe(rows, |row| &row.record.local_id)),
        ("state_id", maybe(rows, |row| &row.record.state_id)),
        ("birth_date", Column::Date(rows.iter().map(|row| row.record.birth_date).collect())),
        ("gender", maybe(rows, |row| &row.record.gender)),
        ("grade", maybe(rows, |row| &row.record.grade)),
        ("school", maybe(rows, |row| &row.record.school)),
        ("graduation_year", Column::Int(rows.iter().map(|row| row.record.graduation_year).collect())),
        ("homeroom", maybe(rows, |row| &row.record.homeroom)),
        ("sis_id", maybe(rows, |row| &row.record.sis_id)),
    ];
    columns.extend(person_columns(rows, |row| &row.record.person)?);
    columns.extend(state_columns(rows)?);
    Ok(Bulk { table: "student", key: &["district", "student_id"], rows: rows.len(), columns })
}

fn state_columns<'a>(rows: &'a [StudentWrite<'a>]) -> Result<Columns<'a>, StoreError> {
    Ok(vec![
        ("status", text(rows, |row| row.state.status.as_str()).united()),
        ("status_since", Column::Date(rows.iter().map(|row| Some(row.state.status_since)).collect()).united()),
        ("status_run", Column::Uuid(rows.iter().map(|row| Some(row.state.status_run.0)).collect()).united()),
        ("run_seq", Column::Big(rows.iter().map(|row| row.state.run_seq).collect()).united()),
        ("run", Column::Uuid(rows.iter().map(|row| Some(row.state.run.0)).collect()).united()),
        ("fingerprint", Column::Bytes(rows.iter().map(|row| row.state.fingerprint.0.as_slice()).collect())),
        ("rule", text(rows, |row| row.state.rule.as_str())),
        ("evidence", lists(rows, |row| json(&row.state.evidence))?),
        ("missing_since", Column::Date(rows.iter().map(|row| row.state.missing_since).collect()).united()),
    ])
}

/// Rows of `contact`.
pub(crate) fn contacts<'a>(
    district: &'a DistrictId,
    run: &RunFacts,
    rows: &'a [ContactWrite<'a>],
) -> Result<Bulk<'a>, StoreError> {
    let ended = |row: &ContactWrite<'_>| row.ended;
    let mut columns = vec![
        ("district", Column::SameText(Some(district.as_str()))),
        ("student_id", text(rows, |row| row.student.0.as_str())),
        ("kind", text(rows, |row| row.contact.kind.as_str()).united()),
        ("contact_id", text(rows, |row| row.contact.id.as_str())),
        ("position", Column::Int(rows.iter().map(|row| Some(row.position as i32)).collect())),
        ("rank", Column::Int(rows.iter().map(|row| row.contact.rank).collect())),
        ("relationship", maybe(rows, |row| &row.contact.relationship)),
        ("custodial", Column::Bool(rows.iter().map(|row| row.contact.custodial).collect())),
        ("may_pick_up", Column::Bool(rows.iter().map(|row| row.contact.may_pick_up).collect())),
        ("ended_on", Column::Date(rows.iter().map(|row| ended(row).then_some(run.as_of)).collect()).united()),
        ("ended_run", Column::Uuid(rows.iter().map(|row| ended(row).then_some(run.run.0)).collect()).united()),
    ];
    columns.extend(person_columns(rows, |row| &row.contact.person)?);
    let key = &["district", "student_id", "kind", "contact_id"];
    Ok(Bulk { table: "contact", key, rows: rows.len(), columns })
}

/// Rows of `enrollment`.
pub(crate) fn enrollments<'a>(district: &'a DistrictId, rows: &'a [EnrollmentWrite<'a>]) -> Bulk<'a> {
    let columns = vec![
        ("district", Column::SameText(Some(district.as_str()))),
        ("student_id", text(rows, |row| row.student.0.as_str())),
        ("enrollment_id", text(rows, |row| row.enrollment.id.as_str())),
        ("position", Column::Int(rows.iter().map(|row| Some(row.position as i32)).collect())),
        ("entity", text(rows, |row| row.enrollment.entity.as_str())),
        ("school", maybe(rows, |row| &row.enrollment.school)),
        ("school_year", Column::Int(rows.iter().map(|row| row.enrollment.school_year).collect())),
        ("entry_date", Column::Date(rows.iter().map(|row| row.enrollment.entry_date).collect())),
        ("withdrawal_date", Column::Date(rows.iter().map(|row| row.enrollment.withdrawal_date).collect())),
        ("entry_code", maybe(rows, |row| &row.enrollment.entry_code)),
        ("withdrawal_code", maybe(rows, |row| &row.enrollment.withdrawal_code)),
        ("default_entity", Column::Bool(rows.iter().map(|row| Some(row.enrollment.default_entity)).collect())),
        ("no_show", Column::Bool(rows.iter().map(|row| Some(row.enrollment.no_show)).collect()).united()),
        ("listed", Column::Bool(rows.iter().map(|row| Some(row.unlisted_since.is_none())).collect()).united()),
        ("unlisted_since", Column::Date(rows.iter().map(|row| row.unlisted_since).collect()).united()),
    ];
    Bulk { table: "enrollment", key: &["district", "student_id", "enrollment_id"], rows: rows.len(), columns }
}

/// Rows of `history`.
pub(crate) fn history<'a>(
    district: &'a DistrictId,
    run: &RunFacts,
    actor: &'a str,
    at: DateTime<Utc>,
    rows: &'a [HistoryWrite<'a>],
) -> Result<Bulk<'a>, StoreError> {
    let columns = vec![
        ("district", Column::SameText(Some(district.as_str()))),
        ("student_id", text(rows, |row| row.event.student_id.0.as_str())),
        ("run_seq", Column::SameBig(run.run_seq)),
        ("run", Column::SameUuid(Some(run.run.0))),
        ("at", Column::SameTime(at)),
        ("as_of", Column::SameDate(Some(run.as_of))),
        ("actor", Column::SameText(Some(actor))),
        ("change", text(rows, |row| row.event.change.as_str()).united()),
        ("from_status", Column::Text(rows.iter().map(|row| row.event.from.map(Status::as_str)).collect()).united()),
        ("to_status", text(rows, |row| row.event.to.as_str()).united()),
        ("rule", text(rows, |row| row.event.rule.as_str())),
        ("enrollments", lists(rows, |row| json(&row.event.enrollments))?),
        ("parts", lists(rows, |row| json(&row.parts))?),
    ];
    Ok(Bulk { table: "history", key: &["district", "student_id", "run_seq"], rows: rows.len(), columns })
}

/// All rows of `writes`, table by table in one fixed order, so that two writers never wait for each other.
pub(crate) fn all<'a>(
    district: &'a DistrictId,
    run: &RunFacts,
    actor: &'a str,
    at: DateTime<Utc>,
    writes: &'a Writes<'a>,
) -> Result<[Bulk<'a>; 4], StoreError> {
    Ok([
        students(district, &writes.students)?,
        contacts(district, run, &writes.contacts)?,
        enrollments(district, &writes.enrollments),
        history(district, run, actor, at, &writes.history)?,
    ])
}

/// A run's id as a column for all rows.
pub(crate) const fn run_column<'a>(run: RunId) -> (&'static str, Column<'a>) {
    ("run", Column::SameUuid(Some(run.0)))
}
