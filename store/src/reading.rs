//! Reading the roster.

use std::collections::BTreeMap;

use rollcall_proto::{
    id::{DistrictId, RunId, StudentId},
    roster::Status,
};

use crate::{
    Store, StoreError, rekeyed,
    roster::{
        HistoryRow, StudentDetail, StudentFilter, StudentRow,
        load::{self, Intent, read_json, read_rule, read_status},
        stored::Stored,
    },
    sql::{Row, Tx, args},
};

type Result<T> = std::result::Result<T, StoreError>;

/// Each of the three by an index of its own.
macro_rules! find {
    () => {
        "SELECT student_id FROM \
         (SELECT 0 AS place, student_id FROM student WHERE district = $1 AND student_id = $2 \
          UNION ALL SELECT 1, student_id FROM student WHERE district = $1 AND local_id = $2 \
          UNION ALL SELECT 2, student_id FROM student WHERE district = $1 AND state_id = $2) AS found \
         ORDER BY place, student_id LIMIT 1"
    };
}

const FIND: &str = find!();

/// Students whose ids are read in one statement.
const SIS_IDS: usize = 5_000;

impl Store {
    /// Students by id, as the filter asks.
    pub async fn students(&self, district: &DistrictId, filter: &StudentFilter) -> Result<Vec<StudentRow>> {
        let mut tx = self.read(district, "list students").await?;
        let sql = "SELECT student_id, local_id, state_id, last_name, first_name, grade, school, status, status_since, \
                   run FROM student WHERE district = $1 AND student_id > $2 \
                   AND (CAST($3 AS text) IS NULL OR status = $3) AND (CAST($4 AS text) IS NULL OR school = $4) \
                   ORDER BY student_id LIMIT $5";
        // No id is empty: every one is greater.
        let after = filter.after.as_ref().map_or("", |after| after.0.as_str());
        let status = filter.status.map(Status::as_str);
        let limit = filter.limit.unwrap_or(i64::MAX);
        let args = args![district, after, status, filter.school.clone(), limit];
        tx.rows("list students", sql, args).await?.iter().map(read_student_row).collect()
    }

    /// Found by student id, local id or state id, in this order.
    pub async fn student(&self, district: &DistrictId, id: &str) -> Result<Option<StudentDetail>> {
        let mut tx = self.read(district, "show a student").await?;
        let Some(id) = find(&mut tx, district, id).await? else {
            return Ok(None);
        };
        let stored = load::load(&mut tx, district, &[&id], Intent::Look).await?.pop();
        let history = history(&mut tx, district, &id).await?;
        Ok(stored.map(|stored| detail(stored, history)))
    }

    /// A student's changes, newest first.
    pub async fn history(&self, district: &DistrictId, student: &StudentId) -> Result<Vec<HistoryRow>> {
        let mut tx = self.read(district, "show a student").await?;
        history(&mut tx, district, student).await
    }

    /// The ids by which the SIS takes writes about these students, spelled as it gave them. A student of a source
    /// without such ids, or not stored at all, is not among them.
    pub async fn sis_ids(&self, district: &DistrictId, students: &[StudentId]) -> Result<BTreeMap<StudentId, String>> {
        let operation = "read the SIS's ids";
        let mut tx = self.read(district, operation).await?;
        let sql = if tx.is_postgres() {
            "SELECT student_id, sis_id FROM student \
             WHERE district = $1 AND student_id = ANY($2) AND sis_id IS NOT NULL"
        } else {
            "SELECT student_id, sis_id FROM student WHERE district = $1 \
             AND student_id IN (SELECT value FROM json_each($2)) AND sis_id IS NOT NULL"
        };
        let mut found = BTreeMap::new();
        for part in students.chunks(SIS_IDS) {
            let ids: Vec<String> = part.iter().map(|id| id.0.clone()).collect();
            for row in tx.rows(operation, sql, args![district, ids]).await? {
                found.insert(StudentId(row.get(0)?), row.get(1)?);
            }
        }
        Ok(found)
    }

    /// How many students have each status; every status is there, in the order people read them.
    pub async fn status_counts(&self, district: &DistrictId) -> Result<Vec<(Status, i64)>> {
        let mut tx = self.read(district, "count students").await?;
        let sql = "SELECT status, count(*) FROM student WHERE district = $1 GROUP BY status";
        let rows = tx.rows("count students", sql, args![district]).await?;
        let mut counts = Status::ALL.map(|status| (status, 0));
        for row in &rows {
            let status = read_status(row, 0)?;
            for count in counts.iter_mut().filter(|count| count.0 == status) {
                count.1 = row.get(1)?;
            }
        }
        Ok(counts.to_vec())
    }
}

fn read_student_row(row: &Row) -> Result<StudentRow> {
    Ok(StudentRow {
        student_id: StudentId(row.get(0)?),
        local_id: row.get(1)?,
        state_id: row.get(2)?,
        last_name: row.get(3)?,
        first_name: row.get(4)?,
        grade: row.get(5)?,
        school: row.get(6)?,
        status: read_status(row, 7)?,
        status_since: row.get(8)?,
        run: RunId(row.get(9)?),
    })
}

/// The student whom a person means by `id`. A local or state id that two students share finds the lesser student id; an
/// id from before the SIS gave its people other ids, or as the SIS spells it, is the last resort.
async fn find(tx: &mut Tx, district: &DistrictId, id: &str) -> Result<Option<StudentId>> {
    if let Some(row) = tx.row("show a student", FIND, args![district, id]).await? {
        return row.get(0).map(|id| Some(StudentId(id)));
    }
    let given = StudentId(id.to_owned());
    let meant = rekeyed::meant(tx, district, &given).await?;
    Ok((meant != given).then_some(meant))
}

fn detail(stored: Stored, history: Vec<HistoryRow>) -> StudentDetail {
    let Stored { record, state } = stored;
    let row = StudentRow {
        student_id: record.id.clone(),
        local_id: record.local_id.clone(),
        state_id: record.state_id.clone(),
        last_name: record.person.last_name.clone(),
        first_name: record.person.first_name.clone(),
        grade: record.grade.clone(),
        school: record.school.clone(),
        status: state.status,
        status_since: state.status_since,
        run: state.run,
    };
    StudentDetail { row, rule: state.rule, evidence: state.evidence, record, history }
}

async fn history(tx: &mut Tx, district: &DistrictId, student: &StudentId) -> Result<Vec<HistoryRow>> {
    // Nobody edits history: what was written under an earlier id stays there.
    let sql = "SELECT at, run, as_of, actor, change, from_status, to_status, rule, CAST(enrollments AS text), \
               CAST(parts AS text) FROM history WHERE district = $1 AND (student_id = $2 OR student_id IN \
               (SELECT old_id FROM student_rekey WHERE district = $1 AND new_id = $2)) ORDER BY run_seq DESC";
    tx.rows("show a student", sql, args![district, student]).await?.iter().map(read_history).collect()
}

fn read_history(row: &Row) -> Result<HistoryRow> {
    let from = row.get::<Option<String>>(5)?.map(|_| read_status(row, 5)).transpose()?;
    Ok(HistoryRow {
        at: row.get(0)?,
        run: RunId(row.get(1)?),
        as_of: row.get(2)?,
        actor: row.get(3)?,
        change: row.get(4)?,
        from,
        to: read_status(row, 6)?,
        rule: read_rule(row, 7)?,
        enrollments: read_json(row, 8)?,
        parts: read_json(row, 9)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Keyring;

    /// PostgreSQL's side of this is in `tests/store_postgres.rs`.
    #[tokio::test]
    async fn a_student_is_found_by_index() {
        let dir = tempfile::tempdir().unwrap();
        let key = Keyring::open_or_create(&dir.path().join("key")).unwrap();
        let store = Store::open_embedded(dir.path(), key).await.unwrap();
        let district: DistrictId = "oak".parse().unwrap();
        let mut tx = store.read(&district, "explain").await.unwrap();
        let plan = tx.rows("explain", concat!("EXPLAIN QUERY PLAN ", find!()), args![&district, "7"]).await.unwrap();
        let steps: Vec<String> = plan.iter().map(|row| row.get(3).unwrap()).collect();
        let looked_up = |index: &str| steps.iter().any(|step| step.contains("SEARCH student") && step.contains(index));
        assert!(looked_up("student_by_local_id") && looked_up("student_by_state_id"), "{steps:?}");
        assert!(!steps.iter().any(|step| step.contains("SCAN student")), "{steps:?}");
    }
}
