//! A replay that looks what has become of its messages.
//!
//! One id may be at work and parked more than once, and a row tells nothing of who put it there. So copies are counted: what
//! is parked now and was not when its message went back has been parked again, and of the others as many are done as are
//! not at work any more.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use async_trait::async_trait;
use sqlx::SqlitePool;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};
use uuid::Uuid;

use super::{
    ask, failed,
    statements::{self, Replayed},
    writer::Op,
};
use crate::{
    bus::{BusError, Outcome, Parked, ParkedCopy, ParkedFilter, Replay},
    topology::Queue,
};

/// How often the file is looked at.
const POLL: Duration = Duration::from_millis(100);

/// See the module.
pub(super) struct EmbeddedReplay {
    writer: mpsc::UnboundedSender<Op>,
    readers: SqlitePool,
    queue: Queue,
    /// Replayed and not told yet: how many copies of each.
    under_way: BTreeMap<Uuid, usize>,
    /// Parked when another copy went back to work, or told since.
    known: BTreeSet<ParkedCopy>,
}

impl EmbeddedReplay {
    pub(super) fn start(writer: mpsc::UnboundedSender<Op>, readers: SqlitePool, queue: Queue) -> Self {
        Self { writer, readers, queue, under_way: BTreeMap::new(), known: BTreeSet::new() }
    }

    fn begun(&mut self, replayed: &Replayed) {
        // Of an id that is under way already, what has been parked since is still to be told.
        self.known.extend(replayed.left.iter().filter(|copy| !self.under_way.contains_key(&copy.id)));
        for message in &replayed.messages {
            *self.under_way.entry(message.id).or_default() += 1;
        }
    }

    async fn ended(&mut self) -> Result<Vec<(Uuid, Outcome)>, BusError> {
        let places = statements::places(&self.readers, self.queue, &self.under_way).await;
        let places = places.map_err(failed("look for replayed messages"))?;
        let mut ended = Vec::new();
        for copy in places.parked.difference(&self.known) {
            ended.extend(end_one(&mut self.under_way, copy.id).then_some((copy.id, Outcome::Parked)));
        }
        self.known.extend(&places.parked);
        for id in self.under_way.keys().copied().collect::<Vec<_>>() {
            let waiting = places.waiting.get(&id).copied().unwrap_or(0);
            while self.under_way.get(&id).is_some_and(|count| *count > waiting) && end_one(&mut self.under_way, id) {
                ended.push((id, Outcome::Done));
            }
        }
        Ok(ended)
    }
}

/// One copy less. False where none was under way.
fn end_one(under_way: &mut BTreeMap<Uuid, usize>, id: Uuid) -> bool {
    let Some(count) = under_way.get_mut(&id) else { return false };
    *count -= 1;
    if *count == 0 {
        under_way.remove(&id);
    }
    true
}

#[async_trait]
impl Replay for EmbeddedReplay {
    async fn replay(&mut self, filter: &ParkedFilter) -> Result<Vec<Parked>, BusError> {
        let (queue, filter) = (self.queue, filter.clone());
        let replay = |reply| Op::Replay { queue, filter, reply };
        let replayed = ask(&self.writer, "replay parked messages", replay).await?;
        self.begun(&replayed);
        Ok(replayed.messages)
    }

    async fn outcomes(&mut self, limit: Duration) -> Result<Vec<(Uuid, Outcome)>, BusError> {
        let until = Instant::now() + limit;
        loop {
            let ended = self.ended().await?;
            if !ended.is_empty() || Instant::now() >= until {
                return Ok(ended);
            }
            sleep(POLL).await;
        }
    }
}
