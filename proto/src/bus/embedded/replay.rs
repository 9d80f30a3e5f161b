//! A replay that looks what has become of its messages.

use std::{collections::BTreeSet, time::Duration};

use async_trait::async_trait;
use sqlx::SqlitePool;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};
use uuid::Uuid;

use super::{ask, failed, statements, writer::Op};
use crate::{
    bus::{BusError, Outcome, Parked, ParkedFilter, Replay},
    topology::Queue,
};

/// How often the file is looked at.
const POLL: Duration = Duration::from_millis(100);

/// See the module.
pub(super) struct EmbeddedReplay {
    writer: mpsc::UnboundedSender<Op>,
    readers: SqlitePool,
    queue: Queue,
    /// Replayed, and not told yet.
    under_way: BTreeSet<Uuid>,
}

impl EmbeddedReplay {
    pub(super) fn start(writer: mpsc::UnboundedSender<Op>, readers: SqlitePool, queue: Queue) -> Self {
        Self { writer, readers, queue, under_way: BTreeSet::new() }
    }

    async fn ended(&self) -> Result<Vec<(Uuid, Outcome)>, BusError> {
        let places = statements::places(&self.readers, self.queue, &self.under_way).await;
        let places = places.map_err(failed("look for replayed messages"))?;
        let outcome = |id: &Uuid| {
            if places.waiting.contains(id) {
                return None;
            }
            Some((*id, if places.parked.contains(id) { Outcome::Parked } else { Outcome::Done }))
        };
        Ok(self.under_way.iter().filter_map(outcome).collect())
    }
}

#[async_trait]
impl Replay for EmbeddedReplay {
    async fn replay(&mut self, filter: &ParkedFilter) -> Result<Vec<Parked>, BusError> {
        let (queue, filter) = (self.queue, filter.clone());
        let replay = |reply| Op::Replay { queue, filter, reply };
        let replayed: Vec<Parked> = ask(&self.writer, "replay parked messages", replay).await?;
        self.under_way.extend(replayed.iter().map(|parked| parked.id));
        Ok(replayed)
    }

    async fn outcomes(&mut self, limit: Duration) -> Result<Vec<(Uuid, Outcome)>, BusError> {
        let until = Instant::now() + limit;
        loop {
            let ended = self.ended().await?;
            if !ended.is_empty() || Instant::now() >= until {
                self.under_way.retain(|id| !ended.iter().any(|(other, _)| other == id));
                return Ok(ended);
            }
            sleep(POLL).await;
        }
    }
}
