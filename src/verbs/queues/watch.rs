//! What becomes of messages that went back to work.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rollcall_proto::{
    bus::{Outcome, Parked, ParkedCopy, ParkedFilter, Replay},
    topology::Queue,
};
use tokio::time::Instant;
use uuid::Uuid;

use crate::context::Context;

/// How long one wait for outcomes is, before the parked queue is looked at.
const WAIT: Duration = Duration::from_secs(5);

/// Messages on their way, by id; a message without one counts under the nil UUID.
#[derive(Debug, Default)]
struct UnderWay(BTreeMap<Uuid, usize>);

impl UnderWay {
    fn add(&mut self, messages: &[Parked]) {
        for message in messages {
            *self.0.entry(message.id).or_default() += 1;
        }
    }

    fn end(&mut self, id: Uuid) {
        if let Some(count) = self.0.get_mut(&id) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&id);
            }
        }
    }
}

/// See the module.
pub(super) struct Watch<'a> {
    context: &'a Context,
    queue: Queue,
    replay: Box<dyn Replay>,
    /// Parked before the first went back to work: any other copy was parked again.
    found: BTreeSet<ParkedCopy>,
    under_way: UnderWay,
    patience: Duration,
}

impl<'a> Watch<'a> {
    /// Of messages of this queue that were `found`.
    pub(super) async fn begin(
        context: &'a Context,
        queue: Queue,
        found: &[Parked],
        patience: Duration,
    ) -> anyhow::Result<Self> {
        let replay = context.bus.watched_replay(queue).await?;
        let found = found.iter().map(Parked::copy).collect();
        Ok(Self { context, queue, replay, found, under_way: UnderWay::default(), patience })
    }

    /// Puts messages back to work. Returns which.
    pub(super) async fn put_back(&mut self, filter: &ParkedFilter) -> anyhow::Result<Vec<Parked>> {
        let put = self.replay.replay(filter).await?;
        self.under_way.add(&put);
        Ok(put)
    }

    /// Waits until all are settled. Says why not to go on, if there is a reason.
    pub(super) async fn settled(&mut self) -> anyhow::Result<Option<String>> {
        let mut until = Instant::now() + self.patience;
        while !self.under_way.0.is_empty() {
            let outcomes = self.replay.outcomes(WAIT.min(self.patience)).await?;
            if !outcomes.is_empty() {
                until = Instant::now() + self.patience;
            }
            let trouble = match self.take(&outcomes) {
                None if outcomes.is_empty() => self.parked_by_the_broker().await?,
                trouble => trouble,
            };
            if trouble.is_some() {
                return Ok(trouble);
            }
            if Instant::now() >= until {
                let count = self.under_way.0.len();
                return Ok(Some(format!(
                    "{count} that went back to work were not settled in {} s; is a worker of {} running? (--patience \
                     waits longer, --at-once does not wait)",
                    self.patience.as_secs(),
                    self.queue.name()
                )));
            }
        }
        Ok(None)
    }

    /// What has been heard so far, without waiting.
    pub(super) async fn heard(&mut self) -> anyhow::Result<Option<String>> {
        let outcomes = self.replay.outcomes(Duration::ZERO).await?;
        Ok(self.take(&outcomes))
    }

    fn take(&mut self, outcomes: &[(Uuid, Outcome)]) -> Option<String> {
        for (id, _) in outcomes {
            self.under_way.end(*id);
        }
        let again: Vec<Uuid> =
            outcomes.iter().filter(|(_, outcome)| *outcome == Outcome::Parked).map(|(id, _)| *id).collect();
        parked_again(&again)
    }

    /// Those whose consumers died over them.
    async fn parked_by_the_broker(&mut self) -> anyhow::Result<Option<String>> {
        let ids = Some(self.under_way.0.keys().copied().collect());
        let parked = self.context.bus.parked(self.queue, &ParkedFilter { ids, ..ParkedFilter::default() }).await?;
        let again = parked.iter().map(Parked::copy).filter(|copy| !self.found.contains(copy)).map(|copy| copy.id);
        Ok(parked_again(&again.collect::<Vec<_>>()))
    }
}

fn parked_again(ids: &[Uuid]) -> Option<String> {
    let first = ids.first()?;
    Some(format!("{} are parked again, message {first} among them (`rollcall queues parked` says why)", ids.len()))
}
