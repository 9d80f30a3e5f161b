//! One message, or several that waited together: write, then say what follows.

use async_trait::async_trait;
use rollcall_proto::{
    bus::SharedBus,
    clock::SharedClock,
    handler::{Fate, Handler, Retry, of_run},
    message::{Applied, Body, Message, Release, StudentEvents},
    telemetry::metric,
};
use rollcall_store::{Store, plan::BatchOutcome};
use tracing::Instrument as _;

use crate::error::WriteError;

/// Batches written in one transaction at most: each commit waits for the disk, and holds the run's row meanwhile.
const TOGETHER: usize = 8;

/// Handles `student.events`.
pub struct WriteHandler {
    bus: SharedBus,
    store: Store,
    clock: SharedClock,
}

impl WriteHandler {
    /// A handler that writes to `store` and publishes what follows on `bus`.
    pub fn new(bus: SharedBus, store: Store, clock: SharedClock) -> Self {
        Self { bus, store, clock }
    }

    async fn write(&self, message: &Message, events: &StudentEvents) -> Result<(), WriteError> {
        let outcome = self.store.apply_batch(&message.district, message.run, events, self.clock.now()).await?;
        self.follow(message, &outcome).await
    }

    /// Batches of one run, in one transaction.
    async fn write_together(&self, message: &Message, batches: &[&StudentEvents]) -> Result<(), WriteError> {
        let (district, run) = (&message.district, message.run);
        let outcome = self.store.apply_batches(district, run, batches, self.clock.now()).await?;
        self.follow(message, &outcome).await
    }

    /// A batch that failed for good: who of it cannot be written is parked.
    async fn write_blaming(&self, message: &Message, events: &StudentEvents) -> Result<(), WriteError> {
        let outcome = self.store.apply_blaming(&message.district, message.run, events, self.clock.now()).await?;
        self.follow(message, &outcome).await
    }

    async fn follow(&self, message: &Message, outcome: &BatchOutcome) -> Result<(), WriteError> {
        report(message, outcome);
        let follow_ups = self.follow_ups(message, outcome);
        if !follow_ups.is_empty() {
            self.bus.publish(&follow_ups).await?;
        }
        Ok(())
    }

    fn follow_ups(&self, message: &Message, outcome: &BatchOutcome) -> Vec<Message> {
        let now = self.clock.now();
        let applied = outcome.run_settled.then(|| message.follow_up(now, Body::Applied(Applied {})));
        let release = outcome.release_more.then(|| message.follow_up(now, Body::Release(Release {})));
        applied.into_iter().chain(release).collect()
    }
}

fn report(message: &Message, outcome: &BatchOutcome) {
    let count = |outcome: &'static str, number: u64| {
        metrics::counter!(metric::STUDENTS_APPLIED, "outcome" => outcome).increment(number);
    };
    count("applied", outcome.applied.into());
    count("superseded", outcome.superseded.into());
    count("parked", outcome.parked.len() as u64);
    for parked in &outcome.parked {
        tracing::error!(
            district = %message.district,
            run = %message.run,
            student = %parked.student_id,
            reason = parked.reason,
            "a student could not be written and is parked; the others of the batch are written"
        );
    }
}

#[async_trait]
impl Handler for WriteHandler {
    async fn handle(&self, message: Message) -> Fate {
        let Body::Students(events) = &message.body else {
            return Fate::park("wrong-queue", "a message of another kind stands in the writer's queue");
        };
        match self.write(&message, events).await {
            Ok(()) => Fate::Done,
            Err(error) => error.fate(),
        }
    }

    fn together(&self) -> usize {
        TOGETHER
    }

    async fn handle_together(&self, messages: Vec<Message>) -> Option<Vec<Fate>> {
        let mut runs: Vec<(&Message, Vec<&StudentEvents>)> = Vec::new();
        for message in &messages {
            let Body::Students(events) = &message.body else { return None };
            match runs.iter_mut().find(|(first, _)| first.run == message.run) {
                Some((_, batches)) => batches.push(events),
                None => runs.push((message, vec![events])),
            }
        }
        let mut fates = vec![Fate::Done; messages.len()];
        for (first, batches) in runs {
            let written = self.write_together(first, &batches).instrument(of_run(first)).await;
            let Err(error) = written else { continue };
            // Whatever is away is away for each of them.
            let waits = error.fate().if_waiting()?;
            let of_run = messages.iter().zip(&mut fates).filter(|(message, _)| message.run == first.run);
            of_run.for_each(|(_, fate)| *fate = waits.clone());
        }
        Some(fates)
    }

    /// The batch is settled all the same, so that its run ends: one bad student is parked alone. Where no student is to blame, the
    /// message is let go, not parked with everybody in it: the store owes the batch, and the reconciler publishes it again
    /// for as long as that is so.
    async fn exhausted(&self, message: Message, retry: Retry) -> Fate {
        let Body::Students(events) = &message.body else {
            return Fate::park("wrong-queue", "a message of another kind stands in the writer's queue");
        };
        let Err(error) = self.write_blaming(&message, events).await else { return Fate::Done };
        match error.fate() {
            Fate::Retry(again) if !again.free && error.is_of_the_database() => {
                let why = again.detail;
                tracing::error!(
                    why,
                    "a batch cannot be written, whoever is in it; it is tried again for as long as that is so"
                );
                Fate::Done
            }
            fate => fate.or_park(Fate::park(retry.reason, retry.detail)),
        }
    }
}
