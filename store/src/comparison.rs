//! Comparing a district's flags in pieces: students in the order of their ids, and what a comparison that is not finished keeps.
//!
//! Role: what flags follow from, so many students at a time; how far a comparison is, under the district's lease. Neighbour:
//! `flags` reads and writes the same rows of one student or of all.
//!
//! Invariants: a piece is of one moment, and holds everything of its students, their marks included; whoever has lost the lease
//! keeps nothing.

use chrono::{DateTime, Utc};
use rollcall_proto::id::{DistrictId, StudentId};
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::{
    Store, StoreError, districts, documents,
    flag::{FlagFacts, FlagPiece},
    flag_work::{self, read_pending},
    flags::{flags_within, read_participation, read_student},
    plan::{pack, unpack},
    sql::args,
};

type Result<T> = std::result::Result<T, StoreError>;

/// Each table is asked for no more than is wanted of all: else what lies ahead would be sorted for each piece.
macro_rules! first_of {
    ($table:literal, $condition:literal) => {
        concat!(
            "SELECT * FROM (SELECT DISTINCT student_id FROM ",
            $table,
            " WHERE district = $1 AND student_id > $2",
            $condition,
            " ORDER BY student_id LIMIT $3) AS ",
            $table
        )
    };
}

const STUDENTS: &str = concat!(
    "SELECT student_id FROM (",
    first_of!("document", " AND status = 'completed'"),
    " UNION ",
    first_of!("participation", ""),
    " UNION ",
    first_of!("flag_pending", ""),
    ") AS found ORDER BY student_id LIMIT $3"
);

const PARTICIPATIONS: &str = "\
SELECT participation, student_id, program, starts_on, ends_on, void_on, documents FROM participation
WHERE district = $1 AND student_id > $2 AND student_id <= $3 ORDER BY student_id, program, starts_on, participation";

/// Of those who have documents or participations: there may be many others between them.
const ROSTER: &str = "\
SELECT student_id, status, connection, sis_id FROM student WHERE district = $1 AND student_id IN (
    SELECT student_id FROM participation WHERE district = $1 AND student_id > $2 AND student_id <= $3
    UNION SELECT student_id FROM document
    WHERE district = $1 AND status = 'completed' AND student_id > $2 AND student_id <= $3)
ORDER BY student_id";

const PENDING: &str = "\
SELECT student_id, since, mark, failures FROM flag_pending
WHERE district = $1 AND student_id > $2 AND student_id <= $3 ORDER BY student_id";

impl Store {
    /// The next students, `most` of them at most, by their ids: what the wishes for their flags follow from, as of one moment.
    /// Flags of one program where asked for. `None`: there are no more students.
    pub async fn flag_piece(
        &self,
        district: &DistrictId,
        after: Option<&StudentId>,
        program: Option<&str>,
        most: u32,
    ) -> Result<Option<FlagPiece>> {
        let operation = "read what some students' flags follow from";
        let after = after.map_or("", |student| student.0.as_str());
        let mut tx = self.read_moment(district, operation).await?;
        let found = tx.rows(operation, STUDENTS, args![district, after, i64::from(most)]).await?;
        let Some(last) = found.last() else {
            tx.commit(operation).await?;
            return Ok(None);
        };
        let last = StudentId(last.get(0)?);
        let within = (after, &last);
        let documents = documents::completed_within(&mut tx, district, within).await?;
        let rows = tx.rows("read participations", PARTICIPATIONS, args![district, after, &last]).await?;
        let participations = rows.iter().map(read_participation).collect::<Result<_>>()?;
        let flags = flags_within(&mut tx, district, within, program).await?;
        let rows = tx.rows("read the students of flags", ROSTER, args![district, after, &last]).await?;
        let students = rows.iter().map(read_student).collect::<Result<_>>()?;
        let rows = tx.rows("read whose flags are pending", PENDING, args![district, after, &last]).await?;
        let pending = rows.iter().map(read_pending).collect::<Result<_>>()?;
        tx.commit(operation).await?;
        let facts = FlagFacts { documents, participations, flags, students };
        Ok(Some(FlagPiece { facts, pending, last }))
    }

    /// How many students got other ids, and when the last did: whoever goes through students by their ids misses some where that
    /// changes meanwhile.
    pub async fn students_moved(&self, district: &DistrictId) -> Result<(i64, Option<DateTime<Utc>>)> {
        let operation = "read when students got other ids";
        let sql = "SELECT count(*), max(at) FROM student_rekey WHERE district = $1";
        let mut tx = self.read(district, operation).await?;
        let row = tx.row(operation, sql, args![district]).await?;
        tx.commit(operation).await?;
        row.map_or(Ok((0, None)), |row| Ok((row.get(0)?, row.get(1)?)))
    }

    /// A comparison that is not finished: how far it is, and what the SIS has shown; neither where another version kept it and this
    /// one cannot read it. `None`: there is none.
    pub async fn comparison<P: DeserializeOwned, S: DeserializeOwned>(
        &self,
        district: &DistrictId,
    ) -> Result<Option<Option<(P, S)>>> {
        let operation = "read how far a comparison is";
        let sql = "SELECT progress, shown FROM flag_comparison WHERE district = $1";
        let mut tx = self.read(district, operation).await?;
        let row = tx.row(operation, sql, args![district]).await?;
        tx.commit(operation).await?;
        let Some(row) = row else { return Ok(None) };
        let (progress, shown) = (row.get::<Vec<u8>>(0)?, row.get::<Vec<u8>>(1)?);
        Ok(Some(unpack(&progress).ok().zip(unpack(&shown).ok())))
    }

    /// Keeps how far a comparison is, and what the SIS has shown where that is more than before. False, and nothing is kept: the
    /// lease is not this worker's any more.
    pub async fn keep_comparison<P: Serialize + Sync, S: Serialize + Sync>(
        &self,
        district: &DistrictId,
        worker: Uuid,
        progress: &P,
        shown: Option<&S>,
    ) -> Result<bool> {
        let operation = "keep how far a comparison is";
        let progress = pack(progress)?;
        let shown = shown.map(pack).transpose()?;
        let mut tx = self.begin(district, operation).await?;
        // In the order of whoever erases the district.
        districts::hold(&mut tx, district).await?;
        if !flag_work::holds(&mut tx, district, worker).await? {
            return Ok(false);
        }
        if let Some(shown) = shown {
            let sql = "INSERT INTO flag_comparison (district, progress, shown) VALUES ($1, $2, $3) \
                       ON CONFLICT (district) DO UPDATE SET progress = excluded.progress, shown = excluded.shown";
            tx.execute(operation, sql, args![district, progress, shown]).await?;
        } else {
            let sql = "UPDATE flag_comparison SET progress = $2 WHERE district = $1";
            tx.execute(operation, sql, args![district, progress]).await?;
        }
        tx.commit(operation).await?;
        Ok(true)
    }

    /// A comparison is over, or was overtaken. False: the lease is not this worker's any more.
    pub async fn forget_comparison(&self, district: &DistrictId, worker: Uuid) -> Result<bool> {
        let operation = "forget a comparison that is over";
        let mut tx = self.begin(district, operation).await?;
        if !flag_work::holds(&mut tx, district, worker).await? {
            return Ok(false);
        }
        tx.execute(operation, "DELETE FROM flag_comparison WHERE district = $1", args![district]).await?;
        tx.commit(operation).await?;
        Ok(true)
    }
}
