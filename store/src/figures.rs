//! Figures over all districts, for metrics: ids, dates, states and numbers, nothing of a student.

use chrono::{DateTime, TimeDelta, Utc};
use rollcall_proto::id::DistrictId;

use crate::{
    Store, StoreError,
    districts::district_id,
    run::RunState,
    sql::{Engine, Row, args},
};

type Result<T> = std::result::Result<T, StoreError>;

/// How far back ended runs are counted.
const COUNTED: TimeDelta = TimeDelta::days(7);

/// The ends that a run can have, in the order of [`DistrictFigures::ended`].
pub const ENDS: [RunState; 5] =
    [RunState::Succeeded, RunState::Partial, RunState::Failed, RunState::Cancelled, RunState::Discarded];

/// Figures of a district that is not removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DistrictFigures {
    /// Whose.
    pub district: DistrictId,
    /// Its schedule is on.
    pub scheduled: bool,
    /// Also on Saturday and Sunday.
    pub weekends: bool,
    /// Since when it has a schedule.
    pub since: DateTime<Utc>,
    /// When a run last ended succeeded or partial.
    pub last_success: Option<DateTime<Utc>>,
    /// When its oldest run that neither ended nor is held was made.
    pub oldest_open: Option<DateTime<Utc>>,
    /// When its oldest run that is held was made.
    pub oldest_held: Option<DateTime<Utc>>,
    /// Runs ended in the last 7 days, by [`ENDS`].
    pub ended: [i64; 5],
    /// Students parked in the store and not yet replayed.
    pub parked: i64,
    /// When the first of them was parked.
    pub oldest_parked: Option<DateTime<Utc>>,
}

/// Connections of this process's pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolFigures {
    /// At work.
    pub used: u32,
    /// Open and resting.
    pub idle: u32,
    /// Most there may be.
    pub max: u32,
}

const PG: &str = "\
SELECT district, scheduled, weekends, since, last_success, oldest_open, oldest_held, succeeded, partial, failed,
       cancelled, discarded, parked, oldest_parked FROM lookout_figures($1)";

const LITE: &str = "\
SELECT d.district, d.schedule_enabled, d.schedule_weekends, d.schedule_since, r.last_success, r.oldest_open,
       r.oldest_held, coalesce(r.succeeded, 0), coalesce(r.partial, 0), coalesce(r.failed, 0),
       coalesce(r.cancelled, 0), coalesce(r.discarded, 0), coalesce(p.parked, 0), p.oldest_parked
FROM district d
LEFT JOIN (
    SELECT district,
           max(ended_at) FILTER (WHERE state IN ('succeeded', 'partial')) AS last_success,
           min(created_at) FILTER (WHERE ended_at IS NULL AND stage <> 'held') AS oldest_open,
           min(created_at) FILTER (WHERE ended_at IS NULL AND stage = 'held') AS oldest_held,
           count(*) FILTER (WHERE state = 'succeeded' AND ended_at >= $1) AS succeeded,
           count(*) FILTER (WHERE state = 'partial' AND ended_at >= $1) AS partial,
           count(*) FILTER (WHERE state = 'failed' AND ended_at >= $1) AS failed,
           count(*) FILTER (WHERE state = 'cancelled' AND ended_at >= $1) AS cancelled,
           count(*) FILTER (WHERE state = 'discarded' AND ended_at >= $1) AS discarded
    FROM run GROUP BY district) r ON r.district = d.district
LEFT JOIN (
    SELECT district, count(*) AS parked, min(at) AS oldest_parked
    FROM parked_event WHERE replayed_at IS NULL GROUP BY district) p ON p.district = d.district
WHERE d.removed_at IS NULL
ORDER BY d.district";

impl Store {
    /// Figures of every district that is not removed, by id.
    pub async fn figures(&self, now: DateTime<Utc>) -> Result<Vec<DistrictFigures>> {
        let operation = "count runs and parked students";
        let mut tx = self.lookout(operation).await?;
        let sql = if tx.is_postgres() { PG } else { LITE };
        let rows = tx.rows(operation, sql, args![now - COUNTED]).await?;
        tx.commit(operation).await?;
        rows.iter().map(read).collect()
    }

    /// How many connections this process has.
    pub fn pool_figures(&self) -> PoolFigures {
        match &self.engine {
            Engine::Pg(pool) => figures(pool.size(), pool.num_idle(), pool.options().get_max_connections()),
            Engine::Lite { writer, readers } => {
                let (one, other) = (
                    figures(writer.size(), writer.num_idle(), writer.options().get_max_connections()),
                    figures(readers.size(), readers.num_idle(), readers.options().get_max_connections()),
                );
                PoolFigures { used: one.used + other.used, idle: one.idle + other.idle, max: one.max + other.max }
            }
        }
    }
}

fn figures(size: u32, idle: usize, max: u32) -> PoolFigures {
    let idle = u32::try_from(idle).unwrap_or(u32::MAX).min(size);
    PoolFigures { used: size - idle, idle, max }
}

fn read(row: &Row) -> Result<DistrictFigures> {
    Ok(DistrictFigures {
        district: district_id(row, 0)?,
        scheduled: row.get(1)?,
        weekends: row.get(2)?,
        since: row.get(3)?,
        last_success: row.get(4)?,
        oldest_open: row.get(5)?,
        oldest_held: row.get(6)?,
        ended: [row.get(7)?, row.get(8)?, row.get(9)?, row.get(10)?, row.get(11)?],
        parked: row.get(12)?,
        oldest_parked: row.get(13)?,
    })
}
