//! Chores: what any of many processes may do, and one does in an interval.
//!
//! Invariants: of all who ask at once, one is told to; a claim whose time lies ahead by more than an interval (a clock was
//! wrong) binds nobody. Who dies over a chore leaves it until the interval is over: a chore is nothing that cannot wait, and
//! nothing that harms when done twice. When a chore was last done stays known, whoever claims it and gives it back.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use crate::{Store, StoreError, sql::args};

const CLAIM: &str = "\
INSERT INTO chore (name, claimed_at) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET claimed_at = excluded.claimed_at WHERE chore.claimed_at <= $3 OR chore.claimed_at >= $4";

/// Deleting from the database what has been kept long enough.
pub const TIDY_DATABASE: &str = "tidy the database";
/// Deleting what has been parked long enough.
pub const TIDY_QUEUES: &str = "tidy the parked queues";

/// The chores that there are, each with the word that a metric's label has for it.
pub const CHORES: [(&str, &str); 2] = [(TIDY_DATABASE, "database"), (TIDY_QUEUES, "parked-queues")];

/// What a chore's name has at its end in the row that tells when it was last done.
const DONE: &str = ": done";

/// It counts as done when it was claimed for the first time: from then on it can be overdue.
const FIRST: &str = "INSERT INTO chore (name, claimed_at) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";

const DONE_AT: &str = "\
INSERT INTO chore (name, claimed_at) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET claimed_at = excluded.claimed_at";

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
        if claimed > 0 {
            tx.execute(operation, FIRST, args![done(name), now]).await?;
        }
        tx.commit(operation).await?;
        Ok(claimed > 0)
    }

    /// Notes that a chore was done, all of it.
    pub async fn chore_done(&self, name: &'static str, now: DateTime<Utc>) -> Result<(), StoreError> {
        let operation = "note that a chore is done";
        let mut tx = self.begin_shared(operation).await?;
        tx.execute(operation, DONE_AT, args![done(name), now]).await?;
        tx.commit(operation).await
    }

    /// When each chore was last done, all of it; of one that never was, when it was first claimed. Not of those that nobody has
    /// claimed yet.
    pub async fn chores_done(&self) -> Result<BTreeMap<String, DateTime<Utc>>, StoreError> {
        let operation = "see when chores were done";
        let mut tx = self.lookout(operation).await?;
        let rows = tx.rows(operation, "SELECT name, claimed_at FROM chore", args![]).await?;
        let mut chores = BTreeMap::new();
        for row in &rows {
            if let Some(name) = row.get::<String>(0)?.strip_suffix(DONE) {
                chores.insert(name.to_owned(), row.get(1)?);
            }
        }
        Ok(chores)
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

fn done(name: &str) -> String {
    format!("{name}{DONE}")
}
