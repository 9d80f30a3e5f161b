//! Plans that have been kept long enough. Pages age out in `pages`.
//!
//! Invariants: the plan of a run that has not ended is never touched, a held one above all; a run's row, counts, findings,
//! history and audit stay for good, and so does an event that is parked still.

use chrono::{DateTime, Utc};

use crate::{Store, StoreError, plan::pack, planning::Side, sql::args};

type Result<T> = std::result::Result<T, StoreError>;

const OPERATION: &str = "forget old plans";

const BATCHES: &str = "\
DELETE FROM plan_batch WHERE district = $1 AND run IN (SELECT id FROM run WHERE district = $1 AND ended_at < $2)";

const SIDES: &str = "\
UPDATE plan SET side = $3, candidates = NULL
WHERE district = $1 AND side <> $3 AND run IN (SELECT id FROM run WHERE district = $1 AND ended_at < $2)";

const REPLAYED: &str = "DELETE FROM parked_event WHERE district = $1 AND replayed_at < $2";

impl Store {
    /// Deletes what runs ended before `before` had planned (batches, skips, staff), and parked events replayed before it.
    /// Returns how many batches.
    pub async fn forget_plans(&self, before: DateTime<Utc>) -> Result<u64> {
        let nothing = pack(&Side::default())?;
        let mut forgotten = 0;
        for (district, _) in self.all_districts().await? {
            let mut tx = self.begin(&district, OPERATION).await?;
            forgotten += tx.execute(OPERATION, BATCHES, args![&district, before]).await?;
            tx.execute(OPERATION, SIDES, args![&district, before, nothing.clone()]).await?;
            tx.execute(OPERATION, REPLAYED, args![&district, before]).await?;
            tx.commit(OPERATION).await?;
        }
        Ok(forgotten)
    }
}
