//! What has been kept long enough: plans, parked students, the audit trail and the access log. Pages age out in `pages`,
//! parked messages on the bus.
//!
//! Invariants: what cannot be deleted of one district keeps no other's; the plan of a run that has not ended is never touched,
//! a held one above all, nor is what such a run has parked; a run's row, counts, findings and history stay for good. A parked
//! student leaves an entry of the audit trail, and aged entries of the trail leave one that counts them. The database itself
//! refuses to give up the trail of the last 365 days, whatever a worker asks.

use chrono::{DateTime, Utc};
use rollcall_proto::{
    id::{DistrictId, RunId},
    telemetry::metric,
    topology::Queue,
};

use crate::{
    Store, StoreError,
    audit::{AuditEntry, RETENTION},
    passed_over::{Chore, PassedOver},
    plan::pack,
    planning::Side,
    sql::{Row, Tx, args},
    trail,
};

type Result<T> = std::result::Result<T, StoreError>;

const OPERATION: &str = "forget old plans";
const FORGET_PARKED: &str = "forget what was parked long ago";
const FORGET_TRAIL: &str = "forget what the audit trail has kept long enough";

const BATCHES: &str = "\
DELETE FROM plan_batch WHERE district = $1 AND run IN (SELECT id FROM run WHERE district = $1 AND ended_at < $2)";

const SIDES: &str = "\
UPDATE plan SET side = $3, candidates = NULL
WHERE district = $1 AND side <> $3 AND run IN (SELECT id FROM run WHERE district = $1 AND ended_at < $2)";

const REPLAYED: &str = "DELETE FROM parked_event WHERE district = $1 AND replayed_at < $2";

/// Oldest run first: a newer event of a student keeps an older one from being replayed.
const PARKED: &str = "\
SELECT run, batch, position, student_id, reason FROM parked_event
WHERE district = $1 AND replayed_at IS NULL AND at < $2 AND run IN (SELECT id FROM run WHERE district = $1 AND ended_at < $2)
ORDER BY run_seq, batch, position LIMIT $3";

const PARKED_ONE: &str = "\
DELETE FROM parked_event WHERE district = $1 AND run = $2 AND batch = $3 AND position = $4 AND replayed_at IS NULL";

/// Parked students forgotten in one transaction.
const TOGETHER: i64 = 200;

/// What was deleted of the records of who did and saw what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ForgottenTrail {
    /// Entries of the audit trail.
    pub entries: u64,
    /// Entries of the access log of documents.
    pub views: u64,
}

impl Store {
    /// Deletes what runs ended before `before` had planned (batches, skips, staff), and parked events replayed before it.
    /// Returns how many batches.
    pub async fn forget_plans(&self, before: DateTime<Utc>) -> Result<u64> {
        let nothing = pack(&Side::default())?;
        let mut each = EachDistrict::default();
        for (district, _) in self.all_districts().await? {
            each.add(&district, self.forget_plans_of(&district, before, &nothing).await)?;
        }
        each.end()
    }

    async fn forget_plans_of(&self, district: &DistrictId, before: DateTime<Utc>, nothing: &[u8]) -> Result<u64> {
        let mut tx = self.begin(district, OPERATION).await?;
        let forgotten = tx.execute(OPERATION, BATCHES, args![district, before]).await?;
        tx.execute(OPERATION, SIDES, args![district, before, nothing]).await?;
        tx.execute(OPERATION, REPLAYED, args![district, before]).await?;
        tx.commit(OPERATION).await?;
        Ok(forgotten)
    }

    /// Deletes students' events that were parked before `before` and never replayed, of runs ended before it; each leaves an
    /// entry of the audit trail. Returns how many.
    pub async fn forget_parked(&self, before: DateTime<Utc>, now: DateTime<Utc>) -> Result<u64> {
        let mut each = EachDistrict::default();
        for (district, _) in self.all_districts().await? {
            each.add(&district, self.forget_parked_of(&district, before, now).await)?;
        }
        each.end()
    }

    async fn forget_parked_of(&self, district: &DistrictId, before: DateTime<Utc>, now: DateTime<Utc>) -> Result<u64> {
        let mut forgotten = 0;
        while let done @ 1.. = self.forget_some_parked(district, before, now).await? {
            metrics::counter!(metric::PARKED_EXPIRED, "queue" => Queue::Write.word()).increment(done);
            forgotten += done;
        }
        Ok(forgotten)
    }

    async fn forget_some_parked(
        &self,
        district: &DistrictId,
        before: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<u64> {
        let mut tx = self.begin(district, FORGET_PARKED).await?;
        let mut forgotten = 0;
        for row in tx.rows(FORGET_PARKED, PARKED, args![district, before, TOGETHER]).await? {
            forgotten += forget_one_parked(&mut tx, district, &row, now).await?;
        }
        tx.commit(FORGET_PARKED).await?;
        Ok(forgotten)
    }

    /// Deletes entries of the audit trail and of the access log of documents made before `before`, and leaves one entry that
    /// says how many.
    ///
    /// # Errors
    /// Where `before` lies within the last 365 days of the database's own clock and there is something to delete.
    pub async fn forget_trail(&self, before: DateTime<Utc>, now: DateTime<Utc>) -> Result<ForgottenTrail> {
        let mut each = EachDistrict::default();
        let districts = self.all_districts().await?.into_iter().map(|(district, _)| district);
        for district in districts.chain([DistrictId::installation()]) {
            each.add(&district, self.forget_trail_of(&district, before, now).await)?;
        }
        each.end()
    }

    async fn forget_trail_of(
        &self,
        district: &DistrictId,
        before: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<ForgottenTrail> {
        let mut tx = self.begin(district, FORGET_TRAIL).await?;
        let forgotten = forget_trail_in(&mut tx, district, before).await?;
        let ForgottenTrail { entries, views } = forgotten;
        if entries + views > 0 {
            let detail = format!("entries={entries} views={views} before={}", before.date_naive());
            let entry = AuditEntry::new(district, now, RETENTION, "audit.expired", detail);
            trail::write(&mut tx, &entry).await?;
        }
        tx.commit(FORGET_TRAIL).await?;
        Ok(forgotten)
    }
}

/// What was done district by district, and the first error. Where one's rows cannot be deleted, the others' are; that there
/// was one is told at the end.
#[derive(Debug)]
pub(crate) struct EachDistrict<T> {
    done: T,
    passed: PassedOver,
    first: Option<StoreError>,
}

impl<T: Default> Default for EachDistrict<T> {
    fn default() -> Self {
        Self { done: T::default(), passed: PassedOver::none(Chore::Retention), first: None }
    }
}

impl<T: std::ops::AddAssign> EachDistrict<T> {
    /// Takes in what came of one district; an error where that is everybody's.
    pub(crate) fn add(&mut self, district: &DistrictId, outcome: Result<T>) -> Result<()> {
        match outcome {
            Ok(done) => {
                self.passed.looked_after();
                self.done += done;
            }
            Err(error) => {
                let is_transient = error.is_transient();
                let error = self.passed.note((district, None), error, is_transient)?;
                self.first.get_or_insert(error);
            }
        }
        Ok(())
    }

    /// All of it, or the first error.
    pub(crate) fn end(self) -> Result<T> {
        self.first.map_or(Ok(self.done), Err)
    }
}

impl std::ops::AddAssign for ForgottenTrail {
    fn add_assign(&mut self, other: Self) {
        self.entries += other.entries;
        self.views += other.views;
    }
}

/// None where another process was faster.
async fn forget_one_parked(tx: &mut Tx, district: &DistrictId, row: &Row, now: DateTime<Utc>) -> Result<u64> {
    let (run, batch, position) = (RunId(row.get(0)?), row.get::<i64>(1)?, row.get::<i64>(2)?);
    let gone = tx.execute(FORGET_PARKED, PARKED_ONE, args![district, run, batch, position]).await?;
    if gone > 0 {
        let (student, reason) = (row.get::<String>(3)?, row.get::<String>(4)?);
        let detail = format!("student {student}, reason {reason}");
        let entry = AuditEntry::new(district, now, RETENTION, "parked.expired", detail).of(Some(run));
        trail::write(tx, &entry).await?;
    }
    Ok(gone)
}

async fn forget_trail_in(tx: &mut Tx, district: &DistrictId, before: DateTime<Utc>) -> Result<ForgottenTrail> {
    if tx.is_postgres() {
        let sql = "SELECT entries, views FROM rollcall_forget_trail($1)";
        let row = tx.row(FORGET_TRAIL, sql, args![before]).await?;
        return row.map_or(Ok(ForgottenTrail::default()), |row| {
            Ok(ForgottenTrail { entries: row.get::<i64>(0)?.unsigned_abs(), views: row.get::<i64>(1)?.unsigned_abs() })
        });
    }
    let (entries, views) = (
        "DELETE FROM audit WHERE district = $1 AND at < $2",
        "DELETE FROM document_view WHERE district = $1 AND at < $2",
    );
    Ok(ForgottenTrail {
        entries: tx.execute(FORGET_TRAIL, entries, args![district, before]).await?,
        views: tx.execute(FORGET_TRAIL, views, args![district, before]).await?,
    })
}
