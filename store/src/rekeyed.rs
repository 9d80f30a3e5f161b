//! Students under ids that they once had: a SIS that moves from OneRoster 1.1 to 1.2 gives every person another.
//!
//! Role: whoever names a student from outside (an integration, a file of documents, a launch, an administrator's list)
//! may name an id of before the move, and means the same person. Neighbour: `apply::rekey` moves what is stored and notes
//! where it went; what nobody edits (history, ledgers, the access log) stays under the old id and is found from here.
//!
//! Invariant: an id that a student has today means that student, whoever had it once.

use rollcall_proto::id::{DistrictId, StudentId};

use crate::{
    StoreError,
    sql::{Tx, args},
};

type Result<T> = std::result::Result<T, StoreError>;

const OPERATION: &str = "find a student by an earlier id";

const NOW: &str = "\
SELECT new_id FROM student_rekey WHERE district = $1 AND old_id = $2
AND NOT EXISTS (SELECT 1 FROM student WHERE district = $1 AND student_id = $2)";

const EARLIER: &str = "\
SELECT old_id FROM student_rekey WHERE district = $1 AND new_id = $2
AND NOT EXISTS (SELECT 1 FROM student s WHERE s.district = $1 AND s.student_id = old_id) ORDER BY old_id";

/// The id that the student has today; the same one where it was never another, or is nobody's.
pub(crate) async fn today(tx: &mut Tx, district: &DistrictId, student: &StudentId) -> Result<StudentId> {
    let row = tx.row(OPERATION, NOW, args![district, student]).await?;
    row.map_or_else(|| Ok(student.clone()), |row| row.get(0).map(StudentId))
}

/// As [`today`], for a filter.
pub(crate) async fn today_of(
    tx: &mut Tx,
    district: &DistrictId,
    student: Option<&StudentId>,
) -> Result<Option<StudentId>> {
    match student {
        Some(student) => today(tx, district, student).await.map(Some),
        None => Ok(None),
    }
}

/// The ids that the student of today's id once had.
pub(crate) async fn earlier(tx: &mut Tx, district: &DistrictId, student: &StudentId) -> Result<Vec<StudentId>> {
    let rows = tx.rows(OPERATION, EARLIER, args![district, student]).await?;
    rows.iter().map(|row| row.get(0).map(StudentId)).collect()
}
