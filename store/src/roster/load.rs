//! Stored students, read back whole. The mirror of `apply/rows.rs`.
//!
//! Three statements for any number of students (students, contacts, enrollments), merged by student id: all three are
//! sorted by it, bytewise on both engines.

use rollcall_proto::{
    id::{DistrictId, RunId, StudentId},
    message::Fingerprint,
    roster::{Contact, ContactKind, Enrollment, Person, Rule, Staff, Status, Student},
};
use serde::de::DeserializeOwned;

use super::stored::{State, Stored};
use crate::{
    StoreError,
    apply::bulk::corrupt_json,
    sql::{Row, Tx, args},
};

type Result<T> = std::result::Result<T, StoreError>;

/// What a statement is for, in errors.
const OPERATION: &str = "read students";

/// Whether rows are read to be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Intent {
    /// Just to look.
    Look,
    /// To be changed by this transaction: locked against others, in key order.
    Change,
}

/// A PostgreSQL text and an SQLite text of one statement over the students in `$2`.
macro_rules! by_ids {
    ($columns:literal, $from:literal, $rest:literal, $order:literal, $pg_lock:literal) => {
        (
            concat!(
                "SELECT ",
                $columns,
                " FROM ",
                $from,
                " WHERE district = $1 AND student_id = ANY($2)",
                $rest,
                " ORDER BY ",
                $order,
                $pg_lock
            ),
            concat!(
                "SELECT ",
                $columns,
                " FROM ",
                $from,
                " WHERE district = $1 AND student_id IN (SELECT value FROM json_each($2))",
                $rest,
                " ORDER BY ",
                $order
            ),
        )
    };
}

macro_rules! students_sql {
    ($pg_lock:literal) => {
        by_ids!(
            "student_id, connection, local_id, state_id, birth_date, gender, grade, school, graduation_year, homeroom, \
             name_id, first_name, middle_name, last_name, CAST(phones AS text), CAST(emails AS text), \
             CAST(addresses AS text), status, status_since, status_run, run_seq, run, fingerprint, rule, \
             CAST(evidence AS text), missing_since, sis_id",
            "student",
            "",
            "student_id",
            $pg_lock
        )
    };
}

const STUDENTS: (&str, &str) = students_sql!("");
const STUDENTS_LOCKED: (&str, &str) = students_sql!(" FOR UPDATE");

const CONTACTS: (&str, &str) = by_ids!(
    "student_id, contact_id, kind, rank, relationship, custodial, may_pick_up, name_id, first_name, middle_name, \
     last_name, CAST(phones AS text), CAST(emails AS text), CAST(addresses AS text)",
    "contact",
    " AND ended_on IS NULL",
    "student_id, position",
    ""
);

const ENROLLMENTS: (&str, &str) = by_ids!(
    "student_id, enrollment_id, entity, school, school_year, entry_date, withdrawal_date, entry_code, \
     withdrawal_code, default_entity, no_show",
    "enrollment",
    " AND listed",
    "student_id, position",
    ""
);

/// The students among `ids` that are stored, sorted by id.
pub(crate) async fn load(
    tx: &mut Tx,
    district: &DistrictId,
    ids: &[&StudentId],
    intent: Intent,
) -> Result<Vec<Stored>> {
    let students = if intent == Intent::Change { STUDENTS_LOCKED } else { STUDENTS };
    let rows = by_ids(tx, students, district, ids).await?;
    let mut stored = rows.iter().map(read_stored).collect::<Result<Vec<_>>>()?;
    if stored.is_empty() {
        return Ok(stored);
    }
    for row in by_ids(tx, CONTACTS, district, ids).await? {
        let contact = read_contact(&row)?;
        owner(&mut stored, &row)?.contacts.push(contact);
    }
    for row in by_ids(tx, ENROLLMENTS, district, ids).await? {
        let enrollment = read_enrollment(&row)?;
        owner(&mut stored, &row)?.enrollments.push(enrollment);
    }
    Ok(stored)
}

async fn by_ids(
    tx: &mut Tx,
    (postgres, sqlite): (&'static str, &'static str),
    district: &DistrictId,
    ids: &[&StudentId],
) -> Result<Vec<Row>> {
    let ids: Vec<String> = ids.iter().map(|id| id.0.clone()).collect();
    tx.rows(OPERATION, if tx.is_postgres() { postgres } else { sqlite }, args![district, ids]).await
}

fn owner<'a>(stored: &'a mut [Stored], row: &Row) -> Result<&'a mut Student> {
    let id: String = row.get(0)?;
    let found = stored.binary_search_by(|student| student.record.id.0.as_str().cmp(&id));
    let corrupt =
        |_| StoreError::Corrupt { what: "contact or enrollment", detail: "its student is missing".to_owned() };
    found.map(|index| &mut stored[index].record).map_err(corrupt)
}

fn read_stored(row: &Row) -> Result<Stored> {
    Ok(Stored { record: read_student(row)?, state: read_state(row)? })
}

fn read_student(row: &Row) -> Result<Student> {
    Ok(Student {
        id: StudentId(row.get(0)?),
        connection: row.get(1)?,
        sis_id: row.get(26)?,
        local_id: row.get(2)?,
        state_id: row.get(3)?,
        birth_date: row.get(4)?,
        gender: row.get(5)?,
        grade: row.get(6)?,
        school: row.get(7)?,
        graduation_year: row.get(8)?,
        homeroom: row.get(9)?,
        person: read_person(row, 10)?,
        contacts: Vec::new(),
        enrollments: Vec::new(),
    })
}

fn read_state(row: &Row) -> Result<State> {
    Ok(State {
        status: read_status(row, 17)?,
        status_since: row.get(18)?,
        status_run: RunId(row.get(19)?),
        run_seq: row.get(20)?,
        run: RunId(row.get(21)?),
        fingerprint: read_fingerprint(row, 22)?,
        rule: read_rule(row, 23)?,
        evidence: read_json(row, 24)?,
        missing_since: row.get(25)?,
    })
}

fn read_person(row: &Row, first: usize) -> Result<Person> {
    Ok(Person {
        name_id: row.get(first)?,
        first_name: row.get(first + 1)?,
        middle_name: row.get(first + 2)?,
        last_name: row.get(first + 3)?,
        phones: read_json(row, first + 4)?,
        emails: read_json(row, first + 5)?,
        addresses: read_json(row, first + 6)?,
    })
}

fn read_contact(row: &Row) -> Result<Contact> {
    let kind: String = row.get(2)?;
    Ok(Contact {
        id: row.get(1)?,
        kind: ContactKind::parse(&kind).ok_or_else(|| unknown("contact kind"))?,
        rank: row.get(3)?,
        relationship: row.get(4)?,
        custodial: row.get(5)?,
        may_pick_up: row.get(6)?,
        person: read_person(row, 7)?,
    })
}

/// All staff, by id.
pub(crate) async fn staff(tx: &mut Tx, district: &DistrictId) -> Result<Vec<Staff>> {
    let sql = "SELECT staff_id, number, teacher, CAST(entities AS text), name_id, first_name, middle_name, last_name, \
               CAST(phones AS text), CAST(emails AS text), CAST(addresses AS text), connection \
               FROM staff WHERE district = $1 ORDER BY staff_id";
    tx.rows("read the staff", sql, args![district]).await?.iter().map(read_staff).collect()
}

fn read_staff(row: &Row) -> Result<Staff> {
    Ok(Staff {
        id: row.get(0)?,
        number: row.get(1)?,
        teacher: row.get(2)?,
        entities: read_json(row, 3)?,
        person: read_person(row, 4)?,
        connection: row.get(11)?,
    })
}

/// Columns of `enrollment`, from the second on.
pub(crate) fn read_enrollment(row: &Row) -> Result<Enrollment> {
    Ok(Enrollment {
        id: row.get(1)?,
        entity: row.get(2)?,
        school: row.get(3)?,
        school_year: row.get(4)?,
        entry_date: row.get(5)?,
        withdrawal_date: row.get(6)?,
        entry_code: row.get(7)?,
        withdrawal_code: row.get(8)?,
        default_entity: row.get(9)?,
        no_show: row.get(10)?,
    })
}

/// A status column.
pub(crate) fn read_status(row: &Row, column: usize) -> Result<Status> {
    Status::parse(&row.get::<String>(column)?).ok_or_else(|| unknown("status"))
}

/// A rule column.
pub(crate) fn read_rule(row: &Row, column: usize) -> Result<Rule> {
    Rule::parse(&row.get::<String>(column)?).ok_or_else(|| unknown("rule"))
}

/// A fingerprint column.
pub(crate) fn read_fingerprint(row: &Row, column: usize) -> Result<Fingerprint> {
    let bytes: Vec<u8> = row.get(column)?;
    bytes.try_into().map(Fingerprint).map_err(|_| unknown("fingerprint"))
}

/// A column that holds a JSON list, selected as text.
pub(crate) fn read_json<T: DeserializeOwned>(row: &Row, column: usize) -> Result<Vec<T>> {
    let text: String = row.get(column)?;
    if text == "[]" {
        return Ok(Vec::new());
    }
    serde_json::from_str(&text).map_err(|error| corrupt_json(&error))
}

fn unknown(what: &'static str) -> StoreError {
    StoreError::Corrupt { what, detail: "not one that this program knows".to_owned() }
}
