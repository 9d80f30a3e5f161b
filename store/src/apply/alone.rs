//! A batch that fails for good, whatever is tried: whom of it nobody can write is found and parked, the others are written.
//!
//! A trigger, an index or a stored record in pieces, or a defect of this program may refuse one student, in ways that do not say
//! so: by any code, at the commit, by a panic. So whoever is to blame is found by trying, in transactions that are undone, ever
//! smaller parts; only then is the batch settled, in one transaction, as any other.
//!
//! Invariant: what refuses everybody alike ([`StoreError::is_of_the_database`]) parks nobody.

use std::panic::AssertUnwindSafe;

use chrono::{DateTime, Utc};
use futures_util::FutureExt as _;
use rollcall_proto::{
    id::{DistrictId, RunId},
    message::StudentEvents,
};

use super::{
    Batch, OPERATION, Placed, REFUSED, class_of, compare,
    settle::{Head, Parked},
};
use crate::{
    Store, StoreError,
    plan::BatchOutcome,
    sql::{Tx, args},
};

type Result<T> = std::result::Result<T, StoreError>;

/// Reason code of a student over whom this program panics.
const PANIC: &str = "panic";

/// Reason code of a student whose stored record cannot be read.
const UNREADABLE: &str = "stored-unreadable";

/// Why a student cannot be written, for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Blame {
    pub(super) reason: &'static str,
    pub(super) detail: String,
}

impl Blame {
    /// The error itself where no student is to blame.
    pub(super) fn of(error: StoreError) -> Result<Self> {
        match error {
            error if error.is_of_the_database() || error.is_unknown() => Err(error),
            error @ StoreError::Refused { .. } => Ok(Self { reason: REFUSED, detail: class_of(&error) }),
            error if error.is_unreadable() => Ok(Self { reason: UNREADABLE, detail: error.to_string() }),
            error => Ok(Self { reason: REFUSED, detail: error.to_string() }),
        }
    }
}

impl Store {
    /// Applies a batch that [`Store::apply_batch`] fails for good: who cannot be written is parked, whatever the reason.
    ///
    /// # Errors
    /// Where nobody of the batch is to blame: then nothing is written and nobody parked.
    pub async fn apply_blaming(
        &self,
        district: &DistrictId,
        run: RunId,
        events: &StudentEvents,
        now: DateTime<Utc>,
    ) -> Result<BatchOutcome> {
        let batch = Batch::new(district, run, events, now);
        let mut blamed = Vec::new();
        let mut waiting = vec![batch.events.as_slice()];
        while let Some(part) = waiting.pop() {
            let Some(blame) = batch.blame(self, part).await? else { continue };
            match part {
                [one] => blamed.push((*one, blame)),
                part => {
                    let (left, right) = part.split_at(part.len() / 2);
                    waiting.extend([right, left]);
                }
            }
        }
        batch.settle_without(self, blamed).await
    }
}

impl<'a> Batch<'a> {
    /// Why a part cannot be written; nothing where it can be. What is done for it is undone.
    async fn blame(&self, store: &Store, part: &[Placed<'a>]) -> Result<Option<Blame>> {
        let mut tx = store.begin(self.district, OPERATION).await?;
        // Settled meanwhile, and nothing to find out.
        let Some(head) = Head::lock(&mut tx, self).await? else { return Ok(None) };
        blame_for(self.try_out(&mut tx, &head, part)).await
    }

    /// With what the database would look at only at the commit.
    async fn try_out(&self, tx: &mut Tx, head: &Head, part: &[Placed<'a>]) -> Result<()> {
        compare(tx, self.district, head, self.now, part).await?;
        if tx.is_postgres() {
            tx.execute(OPERATION, "SET CONSTRAINTS ALL IMMEDIATE", args![]).await?;
        }
        Ok(())
    }

    async fn settle_without(&self, store: &Store, blamed: Vec<(Placed<'a>, Blame)>) -> Result<BatchOutcome> {
        let mut tx = store.begin(self.district, OPERATION).await?;
        let Some(head) = Head::lock(&mut tx, self).await? else {
            return Ok(BatchOutcome { already_settled: true, ..BatchOutcome::default() });
        };
        let is_blamed = |placed: &Placed<'a>| blamed.iter().any(|(one, _)| one.position == placed.position);
        let left: Vec<_> = self.events.iter().copied().filter(|placed| !is_blamed(placed)).collect();
        let mut tally = self.halve(&mut tx, &head, &left, Blame::of).await?;
        let parked = |(placed, Blame { reason, detail })| Parked { placed, reason, detail };
        tally.parked.extend(blamed.into_iter().map(parked));
        self.settle(tx, &head, tally).await
    }
}

/// What of a try is to blame on whom it is for. What a panic said may be a student fact, so it is not looked at.
async fn blame_for(trying: impl Future<Output = Result<()>>) -> Result<Option<Blame>> {
    match AssertUnwindSafe(trying).catch_unwind().await {
        Ok(Ok(())) => Ok(None),
        Ok(Err(error)) => Blame::of(error).map(Some),
        Err(_) => Ok(Some(Blame { reason: PANIC, detail: "the program panics over it".to_owned() })),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn refused(class: &str) -> StoreError {
        StoreError::Refused { operation: OPERATION, class: class.to_owned() }
    }

    #[tokio::test]
    async fn whom_a_try_fails_for_is_to_blame_unless_everybody_would_fail() {
        assert_eq!(blame_for(async { Ok(()) }).await.unwrap(), None);
        let reason = async |trying| Some(blame_for(async { Err(trying) }).await.ok()??.reason);
        assert_eq!(reason(refused("P0001")).await, Some("database-refused"));
        assert_eq!(reason(refused("XX002")).await, Some("database-refused"));
        let corrupt = StoreError::Corrupt { what: "list", detail: String::new() };
        assert_eq!(reason(corrupt).await, Some("stored-unreadable"));
        assert_eq!(reason(refused("42501")).await, None);
        assert_eq!(reason(StoreError::ReadOnly { operation: OPERATION }).await, None);
        assert_eq!(reason(StoreError::Key(String::new())).await, None);
    }

    #[tokio::test]
    async fn a_panic_over_somebody_is_caught() {
        let panics = blame_for(async { panic!("over one student") }).await;
        assert_eq!(panics.unwrap().unwrap().reason, "panic");
    }
}
