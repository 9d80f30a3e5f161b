//! Chores: what any of many processes may do, and one does in an interval.
//!
//! Invariants: of all who ask at once, one is told to; a claim whose time lies ahead by more than an interval (a clock was
//! wrong) binds nobody. Who dies over a chore leaves it until the interval is over: a chore is nothing that cannot wait, and
//! nothing that harms when done twice.

use chrono::{DateTime, TimeDelta, Utc};

use crate::{Store, StoreError, sql::args};

const CLAIM: &str = "\
INSERT INTO chore (name, claimed_at) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET claimed_at = excluded.claimed_at WHERE chore.claimed_at <= $3 OR chore.claimed_at >= $4";

impl Store {
    /// True for one caller per chore and interval.
    pub async fn claim_chore(
        &self,
        name: &'static str,
        every: TimeDelta,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let operation = "claim a chore";
        let mut tx = self.begin_shared(operation).await?;
        let claimed = tx.execute(operation, CLAIM, args![name, now, now - every, now + every]).await?;
        tx.commit(operation).await?;
        Ok(claimed > 0)
    }

    /// Gives back what was claimed at `claimed_at` and did not succeed: whoever asks next is told to.
    pub async fn give_chore_back(&self, name: &'static str, claimed_at: DateTime<Utc>) -> Result<(), StoreError> {
        let operation = "give a chore back";
        let mut tx = self.begin_shared(operation).await?;
        let sql = "DELETE FROM chore WHERE name = $1 AND claimed_at = $2";
        tx.execute(operation, sql, args![name, claimed_at]).await?;
        tx.commit(operation).await
    }
}
