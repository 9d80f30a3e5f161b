//! The loop around a handler: consumes, handles up to so many messages at once, and settles each by its fate.
//!
//! Role: everything about a delivery that a handler must not see. Neighbours: [`Handler`] decides, a
//! [`Bus`](super::Bus) delivers and settles.
//!
//! Invariants: every delivery is settled or given back; what the bus does not take for a while is kept, and not given back for
//! that; a panic is a failed attempt; attempts are bounded by
//! [`ATTEMPTS`] unless the handler is only waiting; the loop outlives every failure of the bus; nothing that a message
//! says reaches a log.
//!
//! Deliberately absent: publishing of follow-ups, which a handler does before it says [`Fate::Done`].

mod attend;
mod hand;

use std::{
    mem::discriminant,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt as _;
use tokio::{
    task::JoinError,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use self::{
    attend::{Attended, Post, attend, attend_together},
    hand::Hand,
};
use super::{BusError, Delivery, SharedBus, Subscription};
use crate::{
    clock::SharedClock,
    failpoint::{Side, Step, reached},
    handler::{Fate, Handler},
    telemetry::{Spanned, consuming::Expected, messaging},
    topology::{ATTEMPTS, Queue},
};

/// Pauses between tries to subscribe: the first, and the longest after doubling.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Many times what any work takes, and less than what the broker waits for an acknowledgement (half an hour) before it
/// takes all deliveries of the channel back.
const LIMIT: Duration = Duration::from_mins(10);

/// How long a worker that is told to stop goes on with what it has in hand: a service manager's patience is short, and
/// what is given back is as safe as what is finished.
const DRAIN: Duration = Duration::from_secs(8);

/// What cannot be parked for want of room is looked at again after this.
const NO_ROOM: Duration = Duration::from_mins(1);

/// How a worker works.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// Messages handled at once; or as many groups of them, where the handler takes several together.
    pub concurrency: u16,
    /// Messages kept ready beyond those. What one process keeps ready, no other can handle: none for slow work.
    pub ahead: u16,
    /// A handler that takes longer than this has failed an attempt.
    pub limit: Duration,
    /// How long a worker that is told to stop goes on with what it has in hand.
    pub drain: Duration,
    /// What became of the messages; may be shared by several workers.
    pub counters: Arc<Counters>,
}

impl WorkerConfig {
    /// With the defaults for all but the number of messages handled at once.
    pub fn new(concurrency: u16) -> Self {
        let concurrency = concurrency.max(1);
        Self { concurrency, ahead: concurrency / 4, limit: LIMIT, drain: DRAIN, counters: Arc::default() }
    }
}

/// How many messages ended how.
#[derive(Debug, Default)]
pub struct Counters {
    done: AtomicU64,
    retried: AtomicU64,
    parked: AtomicU64,
}

impl Counters {
    /// Messages done.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Messages sent round again.
    pub fn retried(&self) -> u64 {
        self.retried.load(Ordering::Relaxed)
    }

    /// Messages kept aside.
    pub fn parked(&self) -> u64 {
        self.parked.load(Ordering::Relaxed)
    }

    fn count(&self, fate: &Fate, messages: u64) {
        let counter = match fate {
            Fate::Done => &self.done,
            Fate::Retry(_) => &self.retried,
            Fate::Park(_) => &self.parked,
        };
        counter.fetch_add(messages, Ordering::Relaxed);
    }
}

/// Handles the messages of `queue` until `shutdown`, then finishes what is in hand and gives the rest back.
pub async fn run_worker(
    bus: SharedBus,
    queue: Queue,
    handler: Arc<dyn Handler>,
    config: WorkerConfig,
    clock: SharedClock,
    shutdown: CancellationToken,
) {
    let expected = Expected::begin(queue);
    let worker = Worker { bus, queue, handler, config, clock, shutdown, expected };
    let (mut pause, mut told) = (FIRST_PAUSE, None);
    while !worker.shutdown.is_cancelled() {
        let before = Instant::now();
        let Err(error) = worker.session().await else { break };
        if before.elapsed() > LONGEST_PAUSE {
            (pause, told) = (FIRST_PAUSE, None);
        }
        let kind = Some(discriminant(&error));
        worker.log_outage(&error, told == kind);
        told = kind;
        tokio::select! {
            () = sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
            () = worker.shutdown.cancelled() => {}
        }
    }
}

struct Worker {
    bus: SharedBus,
    queue: Queue,
    handler: Arc<dyn Handler>,
    config: WorkerConfig,
    clock: SharedClock,
    shutdown: CancellationToken,
    expected: Expected,
}

impl Worker {
    /// One subscription's life. `Ok` when it ended because of a shutdown.
    async fn session(&self) -> Result<(), BusError> {
        let together = u16::try_from(self.handler.together()).unwrap_or(u16::MAX);
        let prefetch = self.config.concurrency.saturating_mul(together).saturating_add(self.config.ahead);
        let mut subscription = tokio::select! {
            subscription = self.bus.subscribe(self.queue, prefetch) => subscription?,
            () = self.shutdown.cancelled() => return Ok(()),
        };
        let up = self.expected.up();
        let mut hand = Hand::default();
        let served = self.serve(&mut *subscription, &mut hand).await;
        drop(up);
        match served {
            Ok(()) => self.drain(&mut *subscription, &mut hand).await,
            Err(error) => {
                // These deliveries come again. Until their tasks have ended, starting new ones would exceed the limit.
                drop(subscription);
                self.abandon(&mut hand).await;
                Err(error)
            }
        }
    }

    /// Handles deliveries until shutdown or an error of the bus.
    async fn serve(&self, subscription: &mut dyn Subscription, hand: &mut Hand) -> Result<(), BusError> {
        loop {
            tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return Ok(()),
                Some(attended) = hand.tasks.join_next() => self.settle(subscription, attended, hand).await?,
                () = hand.kept.due() => self.settle_kept(subscription, hand).await?,
                delivery = subscription.next(), if hand.tasks.len() < usize::from(self.config.concurrency) => {
                    let deliveries = self.gather(subscription, delivery?)?;
                    self.take_up(hand, deliveries);
                }
            }
        }
    }

    /// What waits already beside `first`, as far as the handler takes it together.
    fn gather(&self, subscription: &mut dyn Subscription, first: Delivery) -> Result<Vec<Delivery>, BusError> {
        let mut deliveries = vec![first];
        while deliveries.len() < self.handler.together() {
            match subscription.next().now_or_never() {
                Some(delivery) => deliveries.push(delivery?),
                None => break,
            }
        }
        Ok(deliveries)
    }

    fn take_up(&self, hand: &mut Hand, mut deliveries: Vec<Delivery>) {
        let post = Post {
            handler: Arc::clone(&self.handler),
            limit: self.config.limit,
            bus: Arc::clone(&self.bus),
            queue: self.queue,
            now: self.clock.now(),
        };
        match deliveries.pop() {
            Some(only) if deliveries.is_empty() => {
                hand.tasks.spawn(async move { vec![attend(&post, only).await] });
            }
            Some(last) => {
                deliveries.push(last);
                hand.tasks.spawn(async move { attend_together(&post, deliveries).await });
            }
            None => {}
        }
    }

    /// Finishes what is in hand, within the limit. What is left is given back with the subscription.
    async fn drain(&self, subscription: &mut dyn Subscription, hand: &mut Hand) -> Result<(), BusError> {
        let finish = async {
            while let Some(attended) = hand.tasks.join_next().await {
                self.settle(subscription, attended, hand).await?;
            }
            Ok(())
        };
        let finished = timeout(self.config.drain, finish).await;
        if hand.len() > 0 {
            tracing::warn!(
                queue = self.queue.name(),
                messages = hand.len(),
                "Stopped with work in hand; it is given back."
            );
            hand.tasks.abort_all();
        }
        finished.unwrap_or(Ok(()))
    }

    async fn abandon(&self, hand: &mut Hand) {
        if timeout(self.config.drain, async { while hand.tasks.join_next().await.is_some() {} }).await.is_err() {
            hand.tasks.shutdown().await;
        }
    }

    async fn settle(
        &self,
        subscription: &mut dyn Subscription,
        attended: Result<Vec<Attended>, JoinError>,
        hand: &mut Hand,
    ) -> Result<(), BusError> {
        // A task that was aborted took its deliveries with it: only on the way out, when everything is given back anyway.
        let (mut done, mut process) = (Vec::new(), None);
        for attended in attended.unwrap_or_default() {
            if matches!(attended.fate, Fate::Done) {
                process = process.or_else(|| attended.taken.span().cloned());
                done.push(attended.delivery);
            } else {
                self.put_away(subscription, attended, hand).await?;
            }
        }
        if !done.is_empty() {
            let number = done.len();
            reached(Step::Ack, self.queue.name(), Side::Before);
            let span = self.settling("ack", &done.iter().collect::<Vec<_>>(), process.as_ref());
            messaging::settle(span, subscription.ack_all(done)).await?;
            reached(Step::Ack, self.queue.name(), Side::After);
            self.count(&Fate::Done, number as u64);
        }
        Ok(())
    }

    /// Offers to the bus once more what it did not take.
    async fn settle_kept(&self, subscription: &mut dyn Subscription, hand: &mut Hand) -> Result<(), BusError> {
        for attended in hand.kept.take() {
            self.put_away(subscription, attended, hand).await?;
        }
        Ok(())
    }

    /// Settles what is not done, or keeps it where the bus does not take it.
    async fn put_away(
        &self,
        subscription: &mut dyn Subscription,
        attended: Attended,
        hand: &mut Hand,
    ) -> Result<(), BusError> {
        let Attended { delivery, fate, taken } = &attended;
        let settled = match fate {
            Fate::Retry(_) | Fate::Park(_) if subscription.is_blocked() => Err(BusError::Blocked),
            Fate::Retry(retry) => {
                let span = self.settling("retry", &[delivery], taken.span());
                messaging::settle(span, subscription.retry(delivery, retry)).await
            }
            Fate::Park(park) => {
                let span = self.settling("park", &[delivery], taken.span());
                messaging::settle(span, subscription.park(delivery, park)).await
            }
            Fate::Done => Ok(()),
        };
        match settled {
            Ok(()) => {
                self.log(delivery, fate);
                self.count(fate, 1);
            }
            Err(error) if error.is_not_taken() => hand.kept.keep(self.untaken(attended, &error)),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// What is to become of a delivery whose fate the bus did not take: the same, later. What there is no room for among the
    /// parked makes room for others meanwhile, and is looked at again.
    fn untaken(&self, attended: Attended, error: &BusError) -> Attended {
        let (queue, id) = (self.queue.name(), attended.delivery.label.id);
        if let (BusError::Refused { .. }, Fate::Park(park)) = (error, &attended.fate) {
            let reason = park.reason;
            tracing::error!(queue, %id, reason, after = ?NO_ROOM, "The broker refuses to park a message; it waits for room.");
            return Attended { fate: Fate::wait("parked-queue-full", reason, NO_ROOM), ..attended };
        }
        let error = error as &dyn std::error::Error;
        tracing::debug!(queue, %id, error, "The bus does not take what is to become of a message; it is kept.");
        attended
    }

    fn settling(
        &self,
        operation: &'static str,
        deliveries: &[&Delivery],
        process: Option<&Spanned>,
    ) -> Option<Spanned> {
        messaging::settling(self.bus.system(), self.queue, operation, deliveries, process)
    }

    fn count(&self, fate: &Fate, number: u64) {
        self.config.counters.count(fate, number);
        messaging::settled(self.queue, fate, number);
    }

    /// One line for what is not done, none for what is.
    fn log(&self, delivery: &Delivery, fate: &Fate) {
        let (queue, id, attempt) = (self.queue.name(), delivery.label.id, delivery.attempt);
        let district = delivery.label.district.as_ref().map_or("", |district| district.as_str());
        let run = delivery.label.run.map(tracing::field::display);
        let kind = delivery.label.kind.as_str();
        match fate {
            Fate::Done => {}
            Fate::Retry(retry) if retry.free => {
                let (reason, detail) = (retry.reason, &retry.detail);
                tracing::debug!(queue, kind, %id, district, run, reason, detail, after = ?retry.after, "Message waits.");
            }
            Fate::Retry(retry) => {
                let (reason, detail) = (retry.reason, &retry.detail);
                tracing::warn!(
                    queue, kind, %id, district, run, reason, detail, attempt, of = ATTEMPTS, after = ?retry.after,
                    "Message is tried again."
                );
            }
            Fate::Park(park) => {
                let (reason, detail) = (park.reason, &park.detail);
                tracing::error!(queue, kind, %id, district, run, reason, detail, attempt, "Message is parked.");
            }
        }
    }

    /// Once for each outage, and again where it has become one of another kind: a queue that is gone, and then one that nobody makes.
    fn log_outage(&self, error: &BusError, is_told: bool) {
        let (queue, error) = (self.queue.name(), error as &dyn std::error::Error);
        if is_told {
            tracing::debug!(queue, error, "The bus still fails.");
        } else {
            tracing::warn!(queue, error, "The bus failed; subscribing again until it works.");
        }
    }
}
