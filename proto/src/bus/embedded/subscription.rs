//! A consumer of the embedded bus: claims in batches, renews its leases, gives back what it did not settle.

use std::{
    collections::VecDeque,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use sqlx::SqlitePool;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::Instant,
};
use uuid::Uuid;

use super::{
    EmbeddedToken, ask, failed,
    statements::{self, Claimed, Place, now_micros},
    writer::Op,
};
use crate::{
    bus::{BusError, Delivery, LONGEST_RETRY, Subscription, Token},
    handler::{Park, Retry},
    topology::Queue,
};

/// How long a delivery stays with a process that is no longer heard of.
const LEASE: Duration = Duration::from_secs(10);

/// How often leases are renewed.
const RENEWAL: Duration = Duration::from_secs(3);

/// How often another process's messages and delays that have passed are looked for.
const POLL: Duration = Duration::from_millis(100);

/// Claimed at once at most, however large the prefetch: a claim reads the bodies too.
const CLAIM: u16 = 256;

/// See the module.
pub(super) struct EmbeddedSubscription {
    writer: mpsc::UnboundedSender<Op>,
    readers: SqlitePool,
    wake: watch::Receiver<()>,
    queue: Queue,
    prefetch: u16,
    lease: i64,
    renewal: JoinHandle<()>,
    /// Claimed and not handed out.
    buffer: VecDeque<Claimed>,
    /// Handed out and not settled.
    unsettled: u16,
    /// A claim under way. Kept here, so that a `next` that is dropped half-way loses nothing.
    claim: Option<oneshot::Receiver<Result<Vec<Claimed>, sqlx::Error>>>,
    /// The last claim found nothing: when to look again.
    idle_until: Option<Instant>,
    /// An acknowledgement could not be stored.
    lost: Arc<AtomicBool>,
}

impl EmbeddedSubscription {
    pub(super) fn start(
        writer: mpsc::UnboundedSender<Op>,
        readers: SqlitePool,
        wake: watch::Receiver<()>,
        queue: Queue,
        prefetch: u16,
    ) -> Self {
        let lease = new_lease();
        let renewal = tokio::spawn(renew(writer.clone(), lease));
        Self {
            writer,
            readers,
            wake,
            queue,
            prefetch: prefetch.max(1),
            lease,
            renewal,
            buffer: VecDeque::new(),
            unsettled: 0,
            claim: None,
            idle_until: None,
            lost: Arc::default(),
        }
    }

    /// Claims as much as there is room for.
    async fn fill(&mut self) -> Result<(), BusError> {
        if self.claim.is_none() {
            self.wake.mark_unchanged();
            let limit = CLAIM.min(self.prefetch - self.unsettled);
            let (reply, answer) = oneshot::channel();
            let op = Op::Claim { queue: self.queue, limit, lease: self.lease, until: lease_end(), reply };
            self.writer.send(op).map_err(|_| crashed())?;
            self.claim = Some(answer);
        }
        if let Some(answer) = &mut self.claim {
            let rows = answer.await;
            self.claim = None;
            self.buffer.extend(rows.map_err(|_| crashed())?.map_err(failed("claim messages"))?);
        }
        self.idle_until = self.buffer.is_empty().then(|| Instant::now() + POLL);
        Ok(())
    }

    /// Waits until there may be something to claim.
    async fn idle(&mut self) -> Result<(), BusError> {
        while let Some(until) = self.idle_until {
            let woken = tokio::select! {
                changed = self.wake.changed() => changed.is_ok(),
                () = tokio::time::sleep_until(until) => false,
            };
            let found = woken || {
                let look = statements::anything_to_claim(&self.readers, self.queue).await;
                look.map_err(failed("look for messages"))?
            };
            self.idle_until = (!found).then(|| Instant::now() + POLL);
        }
        Ok(())
    }

    fn hand_out(&mut self, row: Claimed) -> Delivery {
        self.unsettled += 1;
        let token = Token::Embedded(EmbeddedToken { place: row.place });
        Delivery::read(row.label, Some(row.attempt), row.wire, token)
    }

    fn settled(&mut self, delivery: &Delivery) -> Result<Place, BusError> {
        self.unsettled = self.unsettled.saturating_sub(1);
        match &delivery.token {
            Token::Embedded(token) => Ok(token.place),
            Token::Amqp(_) | Token::Outside(_) => {
                Err(BusError::Unavailable { operation: "settle another bus's delivery", source: None })
            }
        }
    }
}

#[async_trait]
impl Subscription for EmbeddedSubscription {
    async fn next(&mut self) -> Result<Delivery, BusError> {
        loop {
            if self.lost.load(Ordering::Relaxed) {
                return Err(crashed());
            }
            if let Some(row) = self.buffer.pop_front() {
                return Ok(self.hand_out(row));
            }
            if self.unsettled >= self.prefetch {
                // Nothing can come before something is settled, and settling needs this future gone.
                pending::<()>().await;
            }
            self.idle().await?;
            self.fill().await?;
        }
    }

    /// Returns before the acknowledgement is on the disk: were it lost, the message would come again.
    async fn ack_all(&mut self, deliveries: Vec<Delivery>) -> Result<(), BusError> {
        for delivery in deliveries {
            let place = self.settled(&delivery)?;
            let op = Op::Ack { place, lease: self.lease, lost: Arc::clone(&self.lost) };
            self.writer.send(op).map_err(|_| crashed())?;
        }
        Ok(())
    }

    async fn retry(&mut self, delivery: &Delivery, retry: &Retry) -> Result<(), BusError> {
        let (place, queue, lease, failed) = (self.settled(delivery)?, self.queue, self.lease, !retry.free);
        let due = now_micros().saturating_add(micros(retry.after.min(LONGEST_RETRY)));
        ask(&self.writer, "put a message off", |reply| Op::Retry { queue, place, lease, due, failed, reply }).await
    }

    async fn park(&mut self, delivery: &Delivery, park: &Park) -> Result<(), BusError> {
        let (place, lease, park) = (self.settled(delivery)?, self.lease, park.clone());
        ask(&self.writer, "park a message", |reply| Op::Park { place, lease, park, reply }).await
    }
}

impl Drop for EmbeddedSubscription {
    fn drop(&mut self) {
        self.renewal.abort();
        let unseen = self.buffer.iter().map(|row| row.place).collect();
        // With the writer gone, the leases run out by themselves.
        drop(self.writer.send(Op::Release { queue: self.queue, lease: self.lease, unseen }));
    }
}

/// Renews until aborted.
async fn renew(writer: mpsc::UnboundedSender<Op>, lease: i64) {
    let mut ticks = tokio::time::interval(RENEWAL);
    while writer.send(Op::Extend { lease, until: lease_end() }).is_ok() {
        ticks.tick().await;
    }
}

fn lease_end() -> i64 {
    now_micros().saturating_add(micros(LEASE))
}

/// Random, so that no two processes share one; never 0, which is no lease.
fn new_lease() -> i64 {
    (Uuid::new_v4().as_u64_pair().1 >> 2).cast_signed() | 1
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn crashed() -> BusError {
    BusError::Embedded { operation: "go on with a subscription", source: sqlx::Error::WorkerCrashed }
}
