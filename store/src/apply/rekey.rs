//! Moving students to the ids their SIS has given them, before a batch is compared with what is stored.
//!
//! A SIS that moves from OneRoster 1.1 to 1.2 gives every person another id. The student, contacts, enrollments, documents,
//! participations, flags, what is due of them, and administrators' lists of students move; history and ledgers, which nobody
//! edits, stay under the old id, and `student_rekey` leads from one to the other.
//!
//! Invariants: an older run moves nobody whom a newer one has written; done twice, nothing more happens. An id that is
//! taken already is refused by the database, and the student is parked alone like any other.

use chrono::{DateTime, Utc};
use rollcall_proto::id::{DistrictId, StudentId};

use super::{OPERATION, Placed, Result, settle::Head};
use crate::{
    lti,
    sql::{Tx, args},
};

/// A PostgreSQL text and an SQLite text of one update over pairs of old and new ids, `$2` and `$3`.
macro_rules! over_pairs {
    ($table:literal, $guard:literal) => {
        (
            concat!(
                "UPDATE ",
                $table,
                " AS t SET student_id = m.new_id FROM unnest($2::text[], $3::text[]) AS m (old_id, new_id) \
                 WHERE t.district = $1 AND t.student_id = m.old_id AND ",
                $guard
            ),
            concat!(
                "UPDATE ",
                $table,
                " AS t SET student_id = m.new_id FROM (SELECT o.value AS old_id, n.value AS new_id \
                 FROM json_each($2) AS o JOIN json_each($3) AS n ON n.key = o.key) AS m \
                 WHERE t.district = $1 AND t.student_id = m.old_id AND ",
                $guard
            ),
        )
    };
}

/// Only where the student has moved.
macro_rules! of_moved {
    ($table:literal) => {
        over_pairs!(
            $table,
            "EXISTS (SELECT 1 FROM student AS s WHERE s.district = $1 AND s.student_id = m.new_id) \
             AND NOT EXISTS (SELECT 1 FROM student AS s WHERE s.district = $1 AND s.student_id = m.old_id)"
        )
    };
}

const STUDENT: (&str, &str) = over_pairs!("student", "t.run_seq <= $4");
const FOLLOWERS: [(&str, &str); 5] = [
    of_moved!("contact"),
    of_moved!("enrollment"),
    of_moved!("document"),
    of_moved!("participation"),
    of_moved!("flag"),
];

/// Whose flags are due: of the moved ones under the new id, by the mark of the old one and the later moment of the two.
const PENDING: (&str, &str) = (
    "INSERT INTO flag_pending (district, student_id, since, mark) SELECT $1, m.new_id, p.since, p.mark \
     FROM unnest($2::text[], $3::text[]) AS m (old_id, new_id) \
     JOIN flag_pending p ON p.district = $1 AND p.student_id = m.old_id \
     WHERE EXISTS (SELECT 1 FROM student AS s WHERE s.district = $1 AND s.student_id = m.new_id) \
     AND NOT EXISTS (SELECT 1 FROM student AS s WHERE s.district = $1 AND s.student_id = m.old_id) \
     ON CONFLICT (district, student_id) DO UPDATE SET mark = excluded.mark, \
     since = CASE WHEN flag_pending.since < excluded.since THEN excluded.since ELSE flag_pending.since END",
    "INSERT INTO flag_pending (district, student_id, since, mark) SELECT $1, n.value, p.since, p.mark \
     FROM json_each($2) AS o JOIN json_each($3) AS n ON n.key = o.key \
     JOIN flag_pending p ON p.district = $1 AND p.student_id = o.value \
     WHERE EXISTS (SELECT 1 FROM student AS s WHERE s.district = $1 AND s.student_id = n.value) \
     AND NOT EXISTS (SELECT 1 FROM student AS s WHERE s.district = $1 AND s.student_id = o.value) \
     ON CONFLICT (district, student_id) DO UPDATE SET mark = excluded.mark, \
     since = CASE WHEN flag_pending.since < excluded.since THEN excluded.since ELSE flag_pending.since END",
);
const NOT_PENDING: (&str, &str) = (
    "DELETE FROM flag_pending WHERE district = $1 AND student_id IN (SELECT m.old_id \
     FROM unnest($2::text[], $3::text[]) AS m (old_id, new_id) \
     JOIN flag_pending p ON p.district = $1 AND p.student_id = m.new_id) \
     AND NOT EXISTS (SELECT 1 FROM student AS s WHERE s.district = $1 AND s.student_id = flag_pending.student_id)",
    "DELETE FROM flag_pending WHERE district = $1 AND student_id IN (SELECT o.value \
     FROM json_each($2) AS o JOIN json_each($3) AS n ON n.key = o.key \
     JOIN flag_pending p ON p.district = $1 AND p.student_id = n.value) \
     AND NOT EXISTS (SELECT 1 FROM student AS s WHERE s.district = $1 AND s.student_id = flag_pending.student_id)",
);

/// An id that was itself given in an earlier move leads to the newest one.
const CHAIN: (&str, &str) = (
    "UPDATE student_rekey AS k SET new_id = m.new_id FROM unnest($2::text[], $3::text[]) AS m (old_id, new_id) \
     WHERE k.district = $1 AND k.new_id = m.old_id",
    "UPDATE student_rekey AS k SET new_id = m.new_id FROM (SELECT o.value AS old_id, n.value AS new_id \
     FROM json_each($2) AS o JOIN json_each($3) AS n ON n.key = o.key) AS m \
     WHERE k.district = $1 AND k.new_id = m.old_id",
);

const NOTE: (&str, &str) = (
    "INSERT INTO student_rekey (district, old_id, new_id, run, at) SELECT $1, m.old_id, m.new_id, $4, $5 \
     FROM unnest($2::text[], $3::text[]) AS m (old_id, new_id) \
     WHERE EXISTS (SELECT 1 FROM student AS s WHERE s.district = $1 AND s.student_id = m.new_id) \
     ON CONFLICT (district, old_id) DO NOTHING",
    "INSERT INTO student_rekey (district, old_id, new_id, run, at) SELECT $1, o.value, n.value, $4, $5 \
     FROM json_each($2) AS o JOIN json_each($3) AS n ON n.key = o.key \
     WHERE EXISTS (SELECT 1 FROM student AS s WHERE s.district = $1 AND s.student_id = n.value) \
     ON CONFLICT (district, old_id) DO NOTHING",
);

/// Moves the students of `events` that are stored under another id.
pub(super) async fn rekey(
    tx: &mut Tx,
    district: &DistrictId,
    head: &Head,
    now: DateTime<Utc>,
    events: &[Placed<'_>],
) -> Result<()> {
    let pairs = events.iter().filter_map(|placed| {
        let StudentId(old) = placed.event.rekeyed_from.as_ref()?;
        Some((old.clone(), placed.event.student_id.0.clone()))
    });
    let (old, new): (Vec<String>, Vec<String>) = pairs.unzip();
    if old.is_empty() {
        return Ok(());
    }
    let text = |texts: (&'static str, &'static str), tx: &Tx| if tx.is_postgres() { texts.0 } else { texts.1 };
    let sql = text(STUDENT, tx);
    tx.execute(OPERATION, sql, args![district, old.clone(), new.clone(), head.run.run_seq]).await?;
    for follower in FOLLOWERS.into_iter().chain([PENDING, NOT_PENDING]) {
        let sql = text(follower, tx);
        tx.execute(OPERATION, sql, args![district, old.clone(), new.clone()]).await?;
    }
    let sql = text(CHAIN, tx);
    tx.execute(OPERATION, sql, args![district, old.clone(), new.clone()]).await?;
    let sql = text(NOTE, tx);
    tx.execute(OPERATION, sql, args![district, old.clone(), new.clone(), head.run.run, now]).await?;
    lti::follow(tx, district, &old, &new).await
}
