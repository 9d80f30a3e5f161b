//! Events that the database refused: kept beside the roster, listed, and replayed one by one.
//!
//! Invariants: the event is kept whole, whatever its text; a replay corrects the counts of its run exactly once, and is
//! refused where a newer run has written or planned the student, also where it left them as they were. That is decided with
//! the district locked, as plans are saved: so no plan comes in between.

use std::panic::AssertUnwindSafe;

use chrono::{DateTime, SubsecRound, Utc};
use futures_util::FutureExt as _;
use rollcall_proto::{
    id::{DistrictId, RunId, StudentId},
    message::StudentEvent,
};

use super::{
    Batch, Placed,
    alone::Blame,
    compare_in_savepoint,
    settle::{Head, Parked},
};
use crate::{
    Store, StoreError, closing, districts,
    plan::{ParkedEvent, pack, unpack},
    sql::{Row, Tx, args},
};

type Result<T> = std::result::Result<T, StoreError>;

const OPERATION: &str = "replay parked events";

const LIST: &str = "list parked events";

const PARKED: &str = "\
SELECT student_id, reason, detail, at, run FROM parked_event
WHERE district = $1 AND replayed_at IS NULL AND ($2 IS NULL OR run = $2) AND ($3 IS NULL OR reason = $3)
AND ($4 IS NULL OR at < $4) AND ($5 IS NULL OR at >= $5)
ORDER BY run_seq, batch, position LIMIT $6";

/// A newer run that has judged the student: it has planned with the pages of their connection, of any one where it is not known
/// whose they are. Whether it changed them does not matter: one whom it found as they are stored is in no event of it. What was
/// thrown away has judged nobody.
///
/// One that has yet to plan does not count. The replay makes the roster another one, so that it compares with what is written
/// now.
const JUDGED: &str = "\
SELECT 1 FROM run newer JOIN pull p ON p.district = newer.district AND p.run = newer.id
WHERE newer.district = $1 AND newer.seq > $2 AND newer.planned_at IS NOT NULL AND NOT newer.as_of_given
  AND newer.state NOT IN ('failed', 'cancelled', 'discarded') AND p.state <> 'failed'
  AND (p.connection = $3
       OR p.connection IN (SELECT connection FROM student WHERE district = $1 AND student_id IN ($4, $5))
       OR ($3 IS NULL AND NOT EXISTS (SELECT 1 FROM student WHERE district = $1 AND student_id IN ($4, $5))))
LIMIT 1";

/// What a replay of parked events did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Replayed {
    /// Written now.
    pub replayed: Vec<StudentId>,
    /// Still parked, and why.
    pub refused: Vec<(StudentId, ReplayRefused)>,
}

/// Why an event stays parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplayRefused {
    /// A newer run has written the student.
    #[error("a newer run has written the student")]
    Written,
    /// A newer run has planned the student, or has found that there is nothing to change.
    #[error("a newer run has planned the student, or left them as they are")]
    Planned,
    /// The database refuses it still.
    #[error("the database refuses it still")]
    Database,
    /// This program panics over it, as the one that parked it did.
    #[error("this program panics over it")]
    Program,
    /// The event carries no record, and none is stored.
    #[error("the student is not stored, and the event carries no record")]
    NotStored,
}

/// Keeps the events aside.
pub(super) async fn park(tx: &mut Tx, batch: &Batch<'_>, parked: &[Parked<'_>]) -> Result<()> {
    let sql = "INSERT INTO parked_event (district, run, batch, position, run_seq, student_id, reason, detail, event, at) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    for Parked { placed, reason, detail } in parked {
        let key = (batch.district, batch.run, batch.message.batch, placed.position as i64, batch.message.run_seq);
        let shown = showable(&placed.event.student_id);
        let event = pack(placed.event)?;
        let args = args![key.0, key.1, key.2, key.3, key.4, shown, *reason, detail, event, batch.now];
        tx.execute(super::OPERATION, sql, args).await?;
    }
    Ok(())
}

/// The id without what a text column refuses, which may be why the event is here.
fn showable(id: &StudentId) -> String {
    id.0.replace('\0', "\u{fffd}")
}

/// A parked event, with the run that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedStudent {
    /// Whose.
    pub district: DistrictId,
    /// Which run planned it.
    pub run: RunId,
    /// The event, without its content.
    pub event: ParkedEvent,
}

/// Which parked events are meant; all of them where nothing is said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParkedStudents {
    /// Only of this district.
    pub district: Option<DistrictId>,
    /// Only of this run.
    pub run: Option<RunId>,
    /// Only with this reason code.
    pub reason: Option<String>,
    /// Only what was parked before this moment.
    pub before: Option<DateTime<Utc>>,
    /// Only what was parked at this moment or after it.
    pub since: Option<DateTime<Utc>>,
    /// At most so many.
    pub limit: Option<i64>,
}

impl Store {
    /// Events that the database refused and that were not replayed since: by district, then in the order of runs and plans.
    pub async fn parked_students(&self, wanted: &ParkedStudents) -> Result<Vec<ParkedStudent>> {
        let districts = match &wanted.district {
            Some(district) => vec![district.clone()],
            None => self.all_districts().await?.into_iter().map(|(district, _)| district).collect(),
        };
        let limit = wanted.limit.unwrap_or(i64::MAX);
        let mut found = Vec::new();
        for district in districts {
            let mut tx = self.read(&district, LIST).await?;
            let left = limit - found.len() as i64;
            let args = args![&district, wanted.run, wanted.reason.as_deref(), wanted.before, wanted.since, left];
            for row in tx.rows(LIST, PARKED, args).await? {
                let event = read_listed(&row)?;
                found.push(ParkedStudent { district: district.clone(), run: RunId(row.get(4)?), event });
            }
        }
        Ok(found)
    }

    /// Events of a run that the database refused and that were not replayed since, in the order of the plan.
    pub async fn parked_events(&self, district: &DistrictId, run: RunId) -> Result<Vec<ParkedEvent>> {
        let mut tx = self.read(district, LIST).await?;
        let rows = tx
            .rows(
                LIST,
                PARKED,
                args![district, run, None::<&str>, None::<DateTime<Utc>>, None::<DateTime<Utc>>, i64::MAX],
            )
            .await?;
        rows.iter().map(read_listed).collect()
    }

    /// Writes the wanted parked events of a run after all, each in a transaction of its own, in the order of the plan.
    pub async fn replay_parked(
        &self,
        district: &DistrictId,
        run: RunId,
        wanted: &ParkedStudents,
        now: DateTime<Utc>,
    ) -> Result<Replayed> {
        let now = now.trunc_subsecs(6);
        let kept = self.kept_events(district, run, wanted).await?;
        let mut done = Replayed::default();
        for event in &kept {
            match self.replay(district, run, event, now).await? {
                Ok(()) => done.replayed.push(event.event.student_id.clone()),
                Err(why) => done.refused.push((event.event.student_id.clone(), why)),
            }
        }
        Ok(done)
    }

    async fn kept_events(&self, district: &DistrictId, run: RunId, wanted: &ParkedStudents) -> Result<Vec<Kept>> {
        let mut tx = self.read(district, OPERATION).await?;
        let sql = "SELECT batch, position, run_seq, event FROM parked_event \
                   WHERE district = $1 AND run = $2 AND replayed_at IS NULL \
                   AND ($3 IS NULL OR reason = $3) AND ($4 IS NULL OR at < $4) AND ($5 IS NULL OR at >= $5) \
                   ORDER BY batch, position LIMIT $6";
        let limit = wanted.limit.unwrap_or(i64::MAX);
        let args = args![district, run, wanted.reason.as_deref(), wanted.before, wanted.since, limit];
        let rows = tx.rows(OPERATION, sql, args).await?;
        rows.iter().map(Kept::read).collect()
    }

    async fn replay(
        &self,
        district: &DistrictId,
        run: RunId,
        kept: &Kept,
        now: DateTime<Utc>,
    ) -> Result<std::result::Result<(), ReplayRefused>> {
        let mut tx = self.begin(district, OPERATION).await?;
        // The district's row first: whoever takes both locks it before the run's. Whoever saves a plan waits.
        districts::lock(&mut tx, district).await?;
        if is_judged(&mut tx, district, kept).await? {
            return Ok(Err(ReplayRefused::Planned));
        }
        if !claim(&mut tx, district, run, kept, now).await? {
            return Ok(Ok(()));
        }
        let head = Head::of_run(&mut tx, district, run).await?;
        let event = [Placed { position: kept.position as usize, event: &kept.event }];
        let written =
            AssertUnwindSafe(compare_in_savepoint(&mut tx, district, &head, now, &event)).catch_unwind().await;
        let tally = match written {
            Ok(Ok(tally)) => tally,
            // The error itself where the student is not to blame.
            Ok(Err(error)) => return Blame::of(error).map(|_| Err(ReplayRefused::Database)),
            Err(_) => return Ok(Err(ReplayRefused::Program)),
        };
        if tally.superseded > 0 {
            return Ok(Err(ReplayRefused::Written));
        }
        if tally.applied == 0 {
            return Ok(Err(ReplayRefused::NotStored));
        }
        correct_counts(&mut tx, district, run, kept.batch, now).await?;
        closing::restate(&mut tx, district, run).await?;
        tx.commit(OPERATION).await?;
        Ok(Ok(()))
    }
}

fn read_listed(row: &Row) -> Result<ParkedEvent> {
    Ok(ParkedEvent { student_id: StudentId(row.get(0)?), reason: row.get(1)?, detail: row.get(2)?, at: row.get(3)? })
}

/// A parked event, whole.
struct Kept {
    batch: i64,
    position: i64,
    run_seq: i64,
    event: StudentEvent,
}

impl Kept {
    fn read(row: &Row) -> Result<Self> {
        let event = unpack(&row.get::<Vec<u8>>(3)?)?;
        Ok(Self { batch: row.get(0)?, position: row.get(1)?, run_seq: row.get(2)?, event })
    }
}

/// Whether a newer run has judged the student.
async fn is_judged(tx: &mut Tx, district: &DistrictId, kept: &Kept) -> Result<bool> {
    let event = &kept.event;
    let connection = event.record.as_ref().map(|record| record.connection);
    // Stored under the id from before, where the SIS has given everybody another one.
    let before = event.rekeyed_from.as_ref().unwrap_or(&event.student_id);
    let (id, before) = (showable(&event.student_id), showable(before));
    let args = args![district, kept.run_seq, connection, id, before];
    Ok(tx.row(OPERATION, JUDGED, args).await?.is_some())
}

/// Marks the event replayed, for this transaction alone. False: somebody else has replayed it.
async fn claim(tx: &mut Tx, district: &DistrictId, run: RunId, kept: &Kept, now: DateTime<Utc>) -> Result<bool> {
    let sql = "UPDATE parked_event SET replayed_at = $5 WHERE district = $1 AND run = $2 AND batch = $3 \
               AND position = $4 AND replayed_at IS NULL";
    Ok(tx.execute(OPERATION, sql, args![district, run, kept.batch, kept.position, now]).await? == 1)
}

/// The event is applied and not parked; and whatever was planned before this does not fit the roster any more.
async fn correct_counts(tx: &mut Tx, district: &DistrictId, run: RunId, batch: i64, now: DateTime<Utc>) -> Result<()> {
    let sql = "UPDATE district SET roster_version = roster_version + 1 WHERE district = $1";
    tx.execute(OPERATION, sql, args![district]).await?;
    let sql = "UPDATE plan_batch SET applied = applied + 1, parked = parked - 1 \
               WHERE district = $1 AND run = $2 AND batch = $3";
    tx.execute(OPERATION, sql, args![district, run, batch]).await?;
    let sql = "UPDATE run SET applied = applied + 1, parked = parked - 1, touched_at = $3 \
               WHERE district = $1 AND id = $2";
    tx.execute(OPERATION, sql, args![district, run, now]).await.map(drop)
}
