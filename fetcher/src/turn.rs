//! One turn of a discovery: what one message asks of it.
//!
//! Role: a discovery is many questions, and a slow SIS takes long over all of them. Each goes through [`Turn::answer`]: one that was
//! answered before, by whichever process, is not asked again. When the turn's time is up no other question is begun, and the message
//! goes round again without having used up an attempt. Neighbours: the sources ask; [`crate::FetchHandler`] gives the message back.
//!
//! Invariants: a turn learns one answer at least, or fails as any request fails, or has waited for a token and for its turn all the time; what was learned is stored while the turn goes on,
//! so that one that is cut off (the process is told to stop, or dies) is not gone through again, and counts as stored only once the
//! store has said so; what is stored is what the SIS grants, names of years and entities, counts and digests: no fact about a student,
//! and no secret.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use rollcall_proto::clock::Clock;
use rollcall_store::{PageDigester, Store, StoreError, run::Learned};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use crate::{delta::Place, error::SisError};

/// A question is begun so long after the turn's beginning, and not later.
const BEGINS: TimeDelta = TimeDelta::seconds(10);

/// After so long, a question under way is given up: a unit of work is over. A request takes less by itself; so whatever was waited for
/// before it (a token, its turn) is there in the next turn.
const ENDS: Duration = Duration::from_secs(18);

/// What has taken so long to learn is stored: it is more work than storing it.
const WORTH_KEEPING: TimeDelta = TimeDelta::milliseconds(500);

/// See the module.
pub struct Turn<'a> {
    bounds: Option<Bounds<'a>>,
    notes: Mutex<Notes>,
    /// One stores at a time, so that the last to store is who knew most.
    keeping: tokio::sync::Mutex<()>,
}

/// Where what was learned is kept, and how long the turn is.
struct Bounds<'a> {
    store: &'a Store,
    place: Place<'a>,
    asked_by: &'a str,
    digester: PageDigester,
    clock: &'a dyn Clock,
    begins_until: DateTime<Utc>,
    ends_at: Instant,
}

#[derive(Debug, Default)]
struct Notes {
    answers: BTreeMap<String, Value>,
    /// Questions that this turn learned the answer to.
    learned: usize,
    /// Times that the answers became others.
    changes: usize,
    /// Of these, how many are stored.
    kept: usize,
    /// When the answers were stored last, or were to be.
    kept_at: DateTime<Utc>,
}

impl Notes {
    fn change(&mut self, change: impl FnOnce(&mut BTreeMap<String, Value>)) {
        change(&mut self.answers);
        self.changes += 1;
    }
}

impl std::fmt::Debug for Turn<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Turn").field("bounded", &self.bounds.is_some()).finish_non_exhaustive()
    }
}

impl<'a> Turn<'a> {
    /// A turn without an end, of which nothing is stored: for the test of a connection.
    pub fn endless() -> Self {
        Self { bounds: None, notes: Mutex::default(), keeping: tokio::sync::Mutex::default() }
    }

    /// Begins where the last one stopped, if that asked with the same program and settings (`asked_by`).
    pub(crate) async fn begin(
        store: &'a Store,
        place: Place<'a>,
        asked_by: &'a str,
        clock: &'a dyn Clock,
    ) -> Result<Self, StoreError> {
        let (ends_at, now) = (Instant::now() + ENDS, clock.now());
        // What another version has written so that it cannot be read is asked for again.
        let before = match store.learned(place.0, place.1, place.2).await {
            Err(error) if error.is_unreadable() => None,
            before => before?,
        };
        let answers = before.filter(|before| before.asked_by == asked_by).map(|before| before.answers);
        let notes = Notes { answers: answers.unwrap_or_default(), kept_at: now, ..Notes::default() };
        let digester = store.page_digester(place.0);
        let bounds = Bounds { store, place, asked_by, digester, clock, begins_until: now + BEGINS, ends_at };
        Ok(Self { bounds: Some(bounds), notes: Mutex::new(notes), keeping: tokio::sync::Mutex::default() })
    }

    /// The answer to a question: the one that is known, or what comes of asking.
    pub(crate) async fn answer<T: Serialize + DeserializeOwned>(
        &self,
        question: &str,
        ask: impl Future<Output = Result<T, SisError>>,
    ) -> Result<T, SisError> {
        // What an answer looks like may have changed: one that is not read is asked for again.
        let known = self.notes().answers.get(question).cloned();
        if let Some(known) = known.and_then(|known| serde_json::from_value(known).ok()) {
            return Ok(known);
        }
        if !self.may_begin() {
            return Err(self.unfinished());
        }
        let answer = self.in_time(ask).await?;
        if let Ok(noted) = serde_json::to_value(&answer) {
            let mut notes = self.notes();
            notes.change(|answers| drop(answers.insert(question.to_owned(), noted)));
            notes.learned += 1;
        }
        if self.is_worth_keeping()
            && let Err(error) = self.keep().await
        {
            tracing::warn!(error = crate::chain(&error), "what a discovery has learned was not stored; again soon");
        }
        Ok(answer)
    }

    /// Answers that are no use after all: those to questions that begin like this are asked for again.
    pub(crate) fn forget(&self, question: &str) {
        self.notes().change(|answers| answers.retain(|other, _| !other.starts_with(question)));
    }

    /// What stands for a row's id in an answer, here and in other turns: a number that nobody can try ids on who has the database alone.
    pub(crate) fn digest_of_id(&self, id: &str) -> u64 {
        let mut digest = [0; 8];
        match &self.bounds {
            Some(bounds) => digest.copy_from_slice(&bounds.digester.of_other("id", id.as_bytes())[..8]),
            // It is stored nowhere.
            None => digest.copy_from_slice(&blake3::hash(id.as_bytes()).as_bytes()[..8]),
        }
        u64::from_le_bytes(digest)
    }

    /// Whether this turn has learned something.
    pub(crate) fn has_learned(&self) -> bool {
        self.notes().learned > 0
    }

    /// Stores what is not stored yet. Of one that was given up in the middle, or failed, nothing counts as stored, and of what is
    /// learned meanwhile neither.
    pub(crate) async fn keep(&self) -> Result<(), StoreError> {
        let Some(Bounds { store, place, asked_by, clock, .. }) = &self.bounds else { return Ok(()) };
        let _alone = self.keeping.lock().await;
        let (learned, changes) = {
            let mut notes = self.notes();
            if notes.kept == notes.changes {
                return Ok(());
            }
            notes.kept_at = clock.now();
            (Learned { asked_by: (*asked_by).to_owned(), answers: notes.answers.clone() }, notes.changes)
        };
        store.keep_learned(place.0, place.1, place.2, &learned).await?;
        self.notes().kept = changes;
        Ok(())
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until something is learned, questions are begun: else a turn might be too short for any.
    fn may_begin(&self) -> bool {
        let Some(bounds) = &self.bounds else { return true };
        !self.has_learned() || (bounds.clock.now() < bounds.begins_until && Instant::now() < bounds.ends_at)
    }

    /// The end of the turn cuts a question off.
    async fn in_time<T>(&self, ask: impl Future<Output = Result<T, SisError>>) -> Result<T, SisError> {
        let Some(bounds) = &self.bounds else { return ask.await };
        timeout_at(bounds.ends_at, ask).await.unwrap_or_else(|_| Err(self.unfinished()))
    }

    fn is_worth_keeping(&self) -> bool {
        let Some(bounds) = &self.bounds else { return false };
        // A clock that was set back makes it so too.
        let took = bounds.clock.now() - self.notes().kept_at;
        !(TimeDelta::zero()..WORTH_KEEPING).contains(&took)
    }

    fn unfinished(&self) -> SisError {
        SisError::Unfinished { answered: self.notes().answers.len() }
    }
}

#[cfg(test)]
mod tests;
