//! A batch that fails for good, whatever is tried: whom of it nobody can write is found and parked, the others are written.
//!
//! A trigger, an index or a stored record in pieces, or a defect of this program may refuse one student, in ways that do not say
//! so: by any code, at the commit, by a panic. So whoever is to blame is found by trying, in transactions that are undone, ever
//! smaller parts; only then is the batch settled, in one transaction, as any other.
//!
//! Invariant: what refuses everybody alike ([`StoreError::is_of_the_database`]) parks nobody. Where a code does not say so, as that of
//! a trigger or of a broken index, it is seen by this that each of the batch is refused with it, and that they are more than a few.

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

/// So many may be refused alike for what they have in common, and are parked: their run is to end.
const FEW: usize = 9;

/// Why a student cannot be written, for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Blame {
    pub(super) reason: &'static str,
    pub(super) detail: String,
    /// SQLSTATE that says nothing of a row.
    about_no_row: Option<String>,
}

impl Blame {
    /// The error itself where no student is to blame.
    pub(super) fn of(error: StoreError) -> Result<Self> {
        if error.is_of_the_database() || error.is_unknown() {
            return Err(error);
        }
        let reason = if error.is_unreadable() { UNREADABLE } else { REFUSED };
        Ok(match error {
            StoreError::Refused { ref class, .. } => {
                let about_no_row = Some(class.clone()).filter(|_| !says_something_of_rows(class));
                Self { reason, detail: class_of(&error), about_no_row }
            }
            error => Self { reason, detail: error.to_string(), about_no_row: None },
        })
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
        match refused_alike(batch.events.len(), &blamed) {
            Some(error) => Err(error),
            None => batch.settle_without(self, blamed).await,
        }
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
        let parked = |(placed, Blame { reason, detail, .. })| Parked { placed, reason, detail };
        tally.parked.extend(blamed.into_iter().map(parked));
        self.settle(tx, &head, tally).await
    }
}

/// What of a try is to blame on whom it is for. What a panic said may be a student fact, so it is not looked at.
async fn blame_for(trying: impl Future<Output = Result<()>>) -> Result<Option<Blame>> {
    match AssertUnwindSafe(trying).catch_unwind().await {
        Ok(Ok(())) => Ok(None),
        Ok(Err(error)) => Blame::of(error).map(Some),
        Err(_) => {
            let detail = "the program panics over it".to_owned();
            Ok(Some(Blame { reason: PANIC, detail, about_no_row: None }))
        }
    }
}

/// Whether a code is of a class that says something of what was to be written. PostgreSQL: cardinality, data, integrity, a view's
/// condition, program limits. Every other code that gets here is the database's, or a function's of somebody's there.
fn says_something_of_rows(class: &str) -> bool {
    class.len() != 5 || ["21", "22", "23", "44", "54"].iter().any(|rows| class.starts_with(rows))
}

/// The error that nobody of `students` is to blame for: each of them, and more than a few, is refused with one code that says nothing
/// of a row.
fn refused_alike(students: usize, blamed: &[(Placed<'_>, Blame)]) -> Option<StoreError> {
    let (_, Blame { about_no_row, .. }) = blamed.first()?;
    let class = about_no_row.clone()?;
    let alike = blamed.iter().all(|(_, blame)| blame.about_no_row == *about_no_row);
    (alike && blamed.len() == students && students > FEW).then_some(StoreError::RefusedToAll {
        operation: OPERATION,
        students,
        class,
    })
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
