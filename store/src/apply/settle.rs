//! Accounting for a batch: it is settled once, and the run's counters move with it.
//!
//! The run's and the plan's rows are touched last, just before the commit: many writers pass through them.

use chrono::{DateTime, SubsecRound as _, Utc};
use rollcall_proto::id::{DistrictId, RunId, StudentId};

use super::{Batch, OPERATION, Placed, change::RunFacts, parked};
use crate::{
    StoreError,
    plan::{BatchOutcome, ParkedEvent},
    release::RELEASE_WINDOW,
    sql::{Tx, args},
};

type Result<T> = std::result::Result<T, StoreError>;

/// What a transaction needs to know of its run.
pub(super) struct Head {
    /// The run.
    pub(super) run: RunFacts,
    /// Who, for the history.
    pub(super) actor: String,
    /// Whether the store knows already that the batch was published.
    published: bool,
}

impl Head {
    /// Locks the batch. `None`: it is settled, or its run takes no more events.
    pub(super) async fn lock(tx: &mut Tx, batch: &Batch<'_>) -> Result<Option<Self>> {
        const LITE: &str = "SELECT b.settled_at IS NOT NULL, b.published_at IS NOT NULL, b.events, r.seq, r.as_of, \
                            r.stage, COALESCE(r.approved_by, r.requested_by) \
                            FROM plan_batch b JOIN run r ON r.district = b.district AND r.id = b.run \
                            WHERE b.district = $1 AND b.run = $2 AND b.batch = $3";
        const PG: &str = "SELECT b.settled_at IS NOT NULL, b.published_at IS NOT NULL, b.events, r.seq, r.as_of, \
                          r.stage, COALESCE(r.approved_by, r.requested_by) \
                          FROM plan_batch b JOIN run r ON r.district = b.district AND r.id = b.run \
                          WHERE b.district = $1 AND b.run = $2 AND b.batch = $3 FOR UPDATE OF b";
        let key = args![batch.district, batch.run, batch.message.batch];
        let row = tx.row(OPERATION, if tx.is_postgres() { PG } else { LITE }, key).await?;
        let Some(row) = row else { return Self::not_planned(tx, batch).await };
        let (settled, events, run_seq): (bool, i64, i64) = (row.get(0)?, row.get(2)?, row.get(3)?);
        if events != batch.message.events.len() as i64 || run_seq != batch.message.run_seq {
            let detail = format!("batch {} is not the one that run {} planned", batch.message.batch, batch.run);
            return Err(StoreError::Corrupt { what: "batch", detail });
        }
        let open = row.get::<String>(5)? == "release";
        let run = RunFacts { run: batch.run, run_seq, as_of: row.get(4)? };
        let head = Self { run, actor: row.get(6)?, published: row.get(1)? };
        Ok((open && !settled).then_some(head))
    }

    /// A batch that is not there: of a run that has ended and whose plan has aged out, or that is not there either.
    async fn not_planned(tx: &mut Tx, batch: &Batch<'_>) -> Result<Option<Self>> {
        let sql = "SELECT stage FROM run WHERE district = $1 AND id = $2";
        let row = tx.row(OPERATION, sql, args![batch.district, batch.run]).await?;
        let stage: String = row.ok_or(StoreError::NoRun(batch.run))?.get(0)?;
        if stage == "closed" {
            return Ok(None);
        }
        let detail = format!("batch {} of run {} is not there, and the run is open", batch.message.batch, batch.run);
        Err(StoreError::Corrupt { what: "plan", detail })
    }

    /// A run whose batch is settled, for the replay of one of its events.
    pub(super) async fn of_run(tx: &mut Tx, district: &DistrictId, run: RunId) -> Result<Self> {
        let sql = "SELECT seq, as_of, COALESCE(approved_by, requested_by) FROM run WHERE district = $1 AND id = $2";
        let row = tx.row(OPERATION, sql, args![district, run]).await?.ok_or(StoreError::NoRun(run))?;
        let facts = RunFacts { run, run_seq: row.get(0)?, as_of: row.get(1)? };
        Ok(Self { run: facts, actor: row.get(2)?, published: true })
    }
}

/// An event to be parked.
pub(super) struct Parked<'a> {
    pub(super) placed: Placed<'a>,
    pub(super) reason: &'static str,
    pub(super) detail: String,
}

/// What became of a batch's events.
#[derive(Default)]
pub(super) struct Tally<'a> {
    pub(super) applied: u32,
    pub(super) superseded: u32,
    pub(super) parked: Vec<Parked<'a>>,
}

impl<'a> Tally<'a> {
    pub(super) fn applied(events: usize) -> Self {
        Self { applied: events as u32, ..Self::default() }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.applied += other.applied;
        self.superseded += other.superseded;
        self.parked.extend(other.parked);
    }

    pub(super) fn park(&mut self, placed: Placed<'a>, reason: &'static str, detail: &str) {
        self.parked.push(Parked { placed, reason, detail: detail.to_owned() });
    }
}

/// What a transaction settles: one batch, or several of one run.
#[derive(Default)]
pub(super) struct Settled {
    batches: i64,
    events: i64,
    /// Those that the store did not know to be published.
    late_batches: i64,
    late_events: i64,
    /// Batches of which every event was applied, not marked yet.
    whole: Vec<u32>,
    outcome: BatchOutcome,
}

impl Settled {
    /// Marks a batch settled, or has [`Settled::count`] mark it.
    pub(super) async fn add(&mut self, tx: &mut Tx, batch: &Batch<'_>, head: &Head, tally: Tally<'_>) -> Result<()> {
        let events = batch.message.events.len() as i64;
        if i64::from(tally.applied) == events {
            self.whole.push(batch.message.batch);
        } else {
            parked::park(tx, batch, &tally.parked).await?;
            settle_batch(tx, batch, &tally).await?;
        }
        (self.batches, self.events) = (self.batches + 1, self.events + events);
        if !head.published {
            // A batch can be applied before the releaser has noted that it was published.
            (self.late_batches, self.late_events) = (self.late_batches + 1, self.late_events + events);
        }
        self.outcome.applied += tally.applied;
        self.outcome.superseded += tally.superseded;
        self.outcome.parked.extend(tally.parked.iter().map(|parked| listed(parked, batch)));
        Ok(())
    }

    /// Counts all of it. Nothing at all: somebody else had settled it.
    pub(super) async fn count(
        mut self,
        tx: &mut Tx,
        district: &DistrictId,
        run: RunId,
        now: DateTime<Utc>,
    ) -> Result<BatchOutcome> {
        if self.batches == 0 {
            return Ok(BatchOutcome { already_settled: true, ..BatchOutcome::default() });
        }
        settle_whole(tx, (district, run), &self.whole, now).await?;
        let progress = self.settle_plan(tx, district, run).await?;
        self.count_run(tx, district, run, now).await?;
        self.outcome.run_settled = progress.is_settled();
        self.outcome.release_more = progress.wants_more(self.events);
        Ok(self.outcome)
    }

    async fn settle_plan(&self, tx: &mut Tx, district: &DistrictId, run: RunId) -> Result<Progress> {
        let sql = "UPDATE plan SET settled_batches = settled_batches + $3, settled_events = settled_events + $4, \
                   published_batches = published_batches + $5, published_events = published_events + $6 \
                   WHERE district = $1 AND run = $2 RETURNING batches, settled_batches, published_batches, \
                   published_events, settled_events, release_window";
        let args = args![district, run, self.batches, self.events, self.late_batches, self.late_events];
        let row = tx.row(OPERATION, sql, args).await?.ok_or(StoreError::NoRun(run))?;
        let in_flight = row.get::<i64>(3)? - row.get::<i64>(4)?;
        Ok(Progress {
            batches: row.get(0)?,
            settled: row.get(1)?,
            published: row.get(2)?,
            in_flight,
            window: row.get::<Option<i64>>(5)?.unwrap_or(RELEASE_WINDOW),
        })
    }

    async fn count_run(&self, tx: &mut Tx, district: &DistrictId, run: RunId, now: DateTime<Utc>) -> Result<()> {
        let sql = "UPDATE run SET applied = applied + $3, superseded = superseded + $4, parked = parked + $5, \
                   touched_at = $6 WHERE district = $1 AND id = $2";
        let counts = (self.outcome.applied, self.outcome.superseded, self.outcome.parked.len() as i64);
        let args = args![district, run, counts.0, counts.1, counts.2, now.trunc_subsecs(6)];
        tx.execute(OPERATION, sql, args).await.map(drop)
    }
}

fn listed(parked: &Parked<'_>, batch: &Batch<'_>) -> ParkedEvent {
    ParkedEvent {
        student_id: StudentId(parked.placed.event.student_id.0.clone()),
        reason: parked.reason.to_owned(),
        detail: parked.detail.clone(),
        at: batch.now,
    }
}

async fn settle_batch(tx: &mut Tx, batch: &Batch<'_>, tally: &Tally<'_>) -> Result<()> {
    let sql = "UPDATE plan_batch SET settled_at = $4, published_at = COALESCE(published_at, $4), applied = $5, \
               superseded = $6, parked = $7 WHERE district = $1 AND run = $2 AND batch = $3";
    let key = (batch.district, batch.run, batch.message.batch);
    let counts = (tally.applied, tally.superseded, tally.parked.len() as i64);
    let args = args![key.0, key.1, key.2, batch.now, counts.0, counts.1, counts.2];
    tx.execute(OPERATION, sql, args).await.map(drop)
}

/// Marks batches settled of which every event was applied.
async fn settle_whole(tx: &mut Tx, key: (&DistrictId, RunId), batches: &[u32], now: DateTime<Utc>) -> Result<()> {
    const PG: &str = "UPDATE plan_batch SET settled_at = $4, published_at = COALESCE(published_at, $4), applied = events, \
                      superseded = 0, parked = 0 WHERE district = $1 AND run = $2 AND batch = ANY($3)";
    const LITE: &str = "UPDATE plan_batch SET settled_at = $4, published_at = COALESCE(published_at, $4), \
                        applied = events, superseded = 0, parked = 0 WHERE district = $1 AND run = $2 \
                        AND batch IN (SELECT value FROM json_each($3))";
    if batches.is_empty() {
        return Ok(());
    }
    let batches: Vec<i64> = batches.iter().map(|batch| i64::from(*batch)).collect();
    let sql = if tx.is_postgres() { PG } else { LITE };
    tx.execute(OPERATION, sql, args![key.0, key.1, batches, now.trunc_subsecs(6)]).await.map(drop)
}

/// A released plan's progress, after a batch of it was settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Progress {
    batches: i64,
    settled: i64,
    published: i64,
    /// Events published and not settled.
    in_flight: i64,
    window: i64,
}

impl Progress {
    const fn is_settled(&self) -> bool {
        self.settled == self.batches
    }

    /// True for the one transaction of `events` that brings what is in flight down to half the window, or to nothing, while
    /// batches wait to be published.
    const fn wants_more(&self, events: i64) -> bool {
        let half = self.window / 2;
        let crossed = self.in_flight <= half && self.in_flight + events > half;
        self.published < self.batches && (crossed || self.in_flight == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(published: i64, in_flight: i64) -> Progress {
        Progress { batches: 10, settled: 0, published, in_flight, window: 100 }
    }

    #[test]
    fn more_is_released_once_when_half_the_window_is_free() {
        assert!(!progress(5, 51).wants_more(20));
        assert!(progress(5, 50).wants_more(20));
        assert!(progress(5, 31).wants_more(20));
        assert!(!progress(5, 30).wants_more(20));
    }

    #[test]
    fn more_is_released_when_nothing_is_in_flight() {
        assert!(progress(1, 0).wants_more(1));
    }

    #[test]
    fn nothing_is_released_when_nothing_waits() {
        assert!(!progress(10, 0).wants_more(80));
    }
}
