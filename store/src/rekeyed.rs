//! Students under ids that they once had, and in other spellings: a SIS that moves from OneRoster 1.1 to 1.2 gives every person
//! another id, and a UUID, which is kept in small letters, may be shown in capitals.
//!
//! Role: whoever names a student from outside (an integration, a file of documents, a launch, an administrator's list)
//! may name an id of before the move, and means the same person. Neighbour: `apply::rekey` moves what is stored and notes
//! where it went; what nobody edits (history, ledgers, the access log) stays under the old id and is found from here.
//!
//! Invariant: an id that a student has today means that student, whoever had it once.

use std::collections::BTreeSet;

use rollcall_proto::id::{DistrictId, StudentId};

use crate::{
    StoreError, districts,
    sql::{Tx, args},
};

type Result<T> = std::result::Result<T, StoreError>;

const OPERATION: &str = "find a student by an earlier id";

const NOW: &str = "\
SELECT new_id FROM student_rekey WHERE district = $1 AND old_id = $2
AND NOT EXISTS (SELECT 1 FROM student WHERE district = $1 AND student_id = $2)";

const KNOWN: &str = "\
SELECT COALESCE((SELECT student_id FROM student WHERE district = $1 AND student_id = $2),
                (SELECT new_id FROM student_rekey WHERE district = $1 AND old_id = $2))";

const EARLIER: &str = "\
SELECT old_id FROM student_rekey WHERE district = $1 AND new_id = $2
AND NOT EXISTS (SELECT 1 FROM student s WHERE s.district = $1 AND s.student_id = old_id) ORDER BY old_id";

/// The id that the student has today; the same one where it was never another, or is nobody's.
pub(crate) async fn today(tx: &mut Tx, district: &DistrictId, student: &StudentId) -> Result<StudentId> {
    let row = tx.row(OPERATION, NOW, args![district, student]).await?;
    row.map_or_else(|| Ok(student.clone()), |row| row.get(0).map(StudentId))
}

/// The student whom a person or a program from outside means: by today's id, by one of before, or as the SIS itself spells
/// it: with a UUID's letters in either case and, in a district with one connection, without its prefix. The same id where it
/// is nobody's, or two students'.
pub(crate) async fn meant(tx: &mut Tx, district: &DistrictId, student: &StudentId) -> Result<StudentId> {
    if let Some(found) = known(tx, district, &student.0).await? {
        return Ok(found);
    }
    let Some(config) = districts::config(tx, district, OPERATION).await? else { return Ok(student.clone()) };
    let given = student.0.trim();
    let spelled = [given.to_owned(), small_uuid(given)];
    // Of several sources, an id without a prefix may be that of a child who is not in the roster yet.
    let connections = config.connections.iter().filter(|_| config.connections.len() == 1);
    let prefixes = connections.filter_map(|connection| connection.id_prefix.as_deref());
    let mut found = BTreeSet::new();
    for prefix in std::iter::once("").chain(prefixes) {
        for spelled in &spelled {
            found.extend(known(tx, district, &format!("{prefix}{spelled}")).await?);
        }
    }
    let one = found.pop_first().filter(|_| found.is_empty());
    Ok(one.unwrap_or_else(|| student.clone()))
}

/// The student with this id, today or before.
async fn known(tx: &mut Tx, district: &DistrictId, id: &str) -> Result<Option<StudentId>> {
    let row = tx.row(OPERATION, KNOWN, args![district, id]).await?;
    let id: Option<String> = row.map(|row| row.get(0)).transpose()?.flatten();
    Ok(id.map(StudentId))
}

/// The id with the UUID at its end, if there is one, in small letters.
fn small_uuid(id: &str) -> String {
    let at = id.len().checked_sub(uuid::fmt::Hyphenated::LENGTH);
    match at.and_then(|at| id.split_at_checked(at)).map(|(prefix, uuid)| (prefix, uuid::Uuid::try_parse(uuid))) {
        Some((prefix, Ok(uuid))) => format!("{prefix}{}", uuid.hyphenated()),
        _ => id.to_owned(),
    }
}

/// As [`meant`], for a filter.
pub(crate) async fn meant_of(
    tx: &mut Tx,
    district: &DistrictId,
    student: Option<&StudentId>,
) -> Result<Option<StudentId>> {
    match student {
        Some(student) => meant(tx, district, student).await.map(Some),
        None => Ok(None),
    }
}

/// The ids that the student of today's id once had.
pub(crate) async fn earlier(tx: &mut Tx, district: &DistrictId, student: &StudentId) -> Result<Vec<StudentId>> {
    let rows = tx.rows(OPERATION, EARLIER, args![district, student]).await?;
    rows.iter().map(|row| row.get(0).map(StudentId)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_spelled_small_and_nothing_else_is() {
        for (given, small) in [
            ("0F6B1C2D-AB12-4CDE-8F00-0123456789AB", "0f6b1c2d-ab12-4cde-8f00-0123456789ab"),
            ("North-0F6B1C2D-AB12-4CDE-8f00-0123456789AB", "North-0f6b1c2d-ab12-4cde-8f00-0123456789ab"),
            ("S123456", "S123456"),
            ("0F6B1C2DAB124CDE8F000123456789AB", "0F6B1C2DAB124CDE8F000123456789AB"),
            ("ÄÖÜ0F6B1C2D-AB12-4CDE-8F00-0123456789AG", "ÄÖÜ0F6B1C2D-AB12-4CDE-8F00-0123456789AG"),
            ("", ""),
        ] {
            assert_eq!(small_uuid(given), small, "{given}");
        }
    }
}
