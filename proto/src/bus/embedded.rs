//! The bus in a file: SQLite, one machine, several processes, survives `kill -9`.
//!
//! Role: what RabbitMQ does for processes on many machines, for those on one. Neighbours: `writer` does all writing, in
//! one task with one connection; `subscription` hands out what it claims; `statements` has the SQL.
//!
//! Invariants:
//! - Whatever a call reported as stored is on the disk: WAL with `synchronous = FULL`, and a reply only after commit.
//! - A delivery is a lease. It is renewed while its subscription lives and runs out when its process dies.
//! - An acknowledgement may be lost in a crash, and then the message comes again: handlers are idempotent.
//! - No district starves another: each gets its turn, however much one has queued (see `statements::first_turn`).
//!
//! Deliberately absent: exchanges and bindings (`topology::queue_of` decides), and the passed-in clock: leases and delays
//! are measured by the machine's clock, since a clock that stands still would keep them for ever.

mod replay;
mod schema;
mod statements;
mod subscription;
mod writer;

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::{Row as _, SqlitePool};
use tokio::sync::{mpsc, oneshot};

use self::{
    replay::EmbeddedReplay,
    subscription::EmbeddedSubscription,
    writer::{Op, Wakers},
};
use super::{Bus, BusError, Parked, ParkedFilter, QueueDepth, QueueFault, Replay, Subscription, publishing};
use crate::{
    codec::{Kind, Wire},
    failpoint::Side,
    message::Message,
    telemetry::messaging::{self, System},
    topology::{Queue, queue_of},
    trace::TraceContext,
};

/// See the module.
#[derive(Debug)]
pub struct EmbeddedBus {
    writer: mpsc::UnboundedSender<Op>,
    readers: SqlitePool,
    wakers: Arc<Wakers>,
}

/// How a delivery is found again.
#[derive(Debug)]
pub(crate) struct EmbeddedToken {
    seq: i64,
}

impl EmbeddedBus {
    /// Opens the queue file at `path`, and makes it where there is none.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, BusError> {
        let connection = schema::open_writer(path.as_ref()).await.map_err(failed("open"))?;
        let readers = schema::open_readers(path.as_ref()).await.map_err(failed("open"))?;
        let wakers = Arc::new(Wakers::default());
        let (writer, ops) = mpsc::unbounded_channel();
        tokio::spawn(writer::run(connection, ops, Arc::clone(&wakers)));
        Ok(Self { writer, readers, wakers })
    }

    /// Frees the leases that a previous host of this file left behind, so that its work need not wait for them to run
    /// out. Only for who holds the host lock. Returns how many.
    pub async fn recover_leases(&self) -> Result<u64, BusError> {
        self.ask("free leases", |reply| Op::Recover { reply }).await
    }

    async fn ask<T>(
        &self,
        operation: &'static str,
        op: impl FnOnce(oneshot::Sender<Result<T, sqlx::Error>>) -> Op,
    ) -> Result<T, BusError> {
        ask(&self.writer, operation, op).await
    }
}

/// Has the writer do something, and waits until it is committed.
async fn ask<T>(
    writer: &mpsc::UnboundedSender<Op>,
    operation: &'static str,
    op: impl FnOnce(oneshot::Sender<Result<T, sqlx::Error>>) -> Op,
) -> Result<T, BusError> {
    let (reply, answer) = oneshot::channel();
    let gone = || BusError::Embedded { operation, source: sqlx::Error::WorkerCrashed };
    writer.send(op(reply)).map_err(|_| gone())?;
    answer.await.map_err(|_| gone())?.map_err(failed(operation))
}

fn failed(operation: &'static str) -> impl Fn(sqlx::Error) -> BusError {
    move |source| BusError::Embedded { operation, source }
}

/// A message as a row.
#[derive(Debug)]
pub(crate) struct NewRow {
    queue: Queue,
    id: uuid::Uuid,
    district: String,
    run: uuid::Uuid,
    kind: &'static str,
    traceparent: String,
    attempt: u32,
    wire: Wire,
}

impl NewRow {
    fn of(message: &Message) -> Result<Self, BusError> {
        let wire = Wire::pack(message).map_err(|source| BusError::Encode { id: message.id, source })?;
        Ok(Self {
            queue: queue_of(&message.body),
            id: message.id,
            district: message.district.to_string(),
            run: message.run.0,
            kind: Kind::of(&message.body).as_str(),
            traceparent: TraceContext::of_message(message).to_string(),
            attempt: message.attempt,
            wire,
        })
    }
}

#[async_trait]
impl Bus for EmbeddedBus {
    async fn publish(&self, messages: &[Message]) -> Result<(), BusError> {
        if messages.is_empty() {
            return Ok(());
        }
        let rows = messages.iter().map(NewRow::of).collect::<Result<Vec<_>, _>>()?;
        publishing(messages, Side::Before);
        let asked = self.ask("publish", |reply| Op::Publish { rows, reply });
        messaging::publish(System::embedded(), messages, asked).await?;
        publishing(messages, Side::After);
        Ok(())
    }

    async fn subscribe(&self, queue: Queue, prefetch: u16) -> Result<Box<dyn Subscription>, BusError> {
        let wake = self.wakers.listen(queue);
        Ok(Box::new(EmbeddedSubscription::start(self.writer.clone(), self.readers.clone(), wake, queue, prefetch)))
    }

    async fn depths(&self) -> Result<Vec<QueueDepth>, BusError> {
        let waiting = statements::counts(&self.readers, statements::COUNT_MESSAGES).await;
        let waiting = waiting.map_err(failed("count messages"))?;
        let parked = statements::counts(&self.readers, statements::COUNT_PARKED).await;
        let parked = parked.map_err(failed("count parked messages"))?;
        let depth = |queue: Queue| QueueDepth {
            queue,
            waiting: waiting.get(queue.name()).copied().unwrap_or(0),
            parked: parked.get(queue.name()).copied().unwrap_or(0),
            consumers: None,
        };
        Ok(Queue::ALL.into_iter().map(depth).collect())
    }

    async fn parked(&self, queue: Queue, filter: &ParkedFilter) -> Result<Vec<Parked>, BusError> {
        let mut connection = self.readers.acquire().await.map_err(failed("list parked messages"))?;
        let found = statements::find_parked(&mut connection, queue, filter).await;
        Ok(found.map_err(failed("list parked messages"))?.into_iter().map(|(_, parked)| parked).collect())
    }

    async fn replay(&self, queue: Queue, filter: &ParkedFilter) -> Result<Vec<Parked>, BusError> {
        let filter = filter.clone();
        let replayed = self.ask("replay parked messages", |reply| Op::Replay { queue, filter, reply }).await?;
        Ok(replayed.messages)
    }

    async fn discard(&self, queue: Queue, filter: &ParkedFilter) -> Result<Vec<Parked>, BusError> {
        let filter = filter.clone();
        self.ask("discard parked messages", |reply| Op::Discard { queue, filter, reply }).await
    }

    async fn watched_replay(&self, queue: Queue) -> Result<Box<dyn Replay>, BusError> {
        Ok(Box::new(EmbeddedReplay::start(self.writer.clone(), self.readers.clone(), queue)))
    }

    /// A table is there or nothing is.
    async fn queue_faults(&self) -> Result<Vec<(String, QueueFault)>, BusError> {
        self.check().await.map(|()| Vec::new())
    }

    async fn purge(&self, queue: Queue) -> Result<u64, BusError> {
        self.ask("purge a queue", |reply| Op::Purge { queue, reply }).await
    }

    /// Ids are made with their time in front (version 7).
    async fn oldest(&self) -> Result<Vec<(Queue, DateTime<Utc>)>, BusError> {
        statements::oldest(&self.readers).await.map_err(failed("look for the oldest messages"))
    }

    async fn check(&self) -> Result<(), BusError> {
        let row = sqlx::query("SELECT count(*) FROM messages WHERE seq < 0").fetch_one(&self.readers).await;
        row.and_then(|row| row.try_get::<i64, _>(0)).map(drop).map_err(failed("check"))
    }
}
