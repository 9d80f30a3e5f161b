//! The bus in a file: SQLite, one machine, several processes, survives `kill -9`.
//!
//! Role: what RabbitMQ does for processes on many machines, for those on one. Neighbours: `writer` does all writing, in
//! one task with one connection; `subscription` hands out what it claims; `statements` has the SQL.
//!
//! Invariants:
//! - Whatever a call reported as stored is on the disk: WAL with `synchronous = FULL`, and a reply only after commit.
//! - A delivery is a lease. It is renewed while its subscription lives and runs out when its process dies.
//! - An acknowledgement may be lost in a crash, and then the message comes again: handlers are idempotent.
//! - The file is its owner's alone, and holds nothing of a message that is done: what is deleted is written over.
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
    statements::Place,
    subscription::EmbeddedSubscription,
    writer::{Op, Wakers},
};
use super::{Bus, BusError, Parked, ParkedFilter, QueueDepth, QueueFault, Replay, Subscription, publishing};
use crate::{
    codec::{Kind, Wire},
    failpoint::Side,
    id::DistrictId,
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
    place: Place,
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

    /// The file is written anew, too: an earlier version left what it deleted in the free pages of it.
    async fn forget(&self, district: &DistrictId) -> Result<u64, BusError> {
        let district = district.clone();
        let forgotten = self.ask("forget a district", |reply| Op::Forget { district, reply }).await?;
        self.ask("write the queue file anew", |reply| Op::Scrub { reply }).await?;
        Ok(forgotten)
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

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

    use super::*;
    use crate::{
        clock::{Clock as _, SystemClock},
        id::RunId,
        message::{Body, PlannedEvents},
        private,
        roster::Status,
    };

    const LIMIT: Duration = Duration::from_secs(20);

    /// A message with so many bytes in it that no compression makes less of.
    fn message(district: &str, bytes: &[u8]) -> Message {
        let packed = bytes.to_vec().into();
        let body = Body::Planned(PlannedEvents { batch: 0, status: Status::Enrolled, packed });
        Message::new(district.parse().unwrap(), RunId(uuid::Uuid::now_v7()), SystemClock.now(), body)
    }

    fn noise(bytes: usize) -> Vec<u8> {
        std::iter::repeat_with(|| uuid::Uuid::new_v4().into_bytes()).flatten().take(bytes).collect()
    }

    /// Whether a piece of the noise is in one of the files.
    fn is_in_files(path: &Path, noise: &[u8]) -> bool {
        let files = private::database_files(path).into_iter().filter_map(|path| fs::read(path).ok());
        let pieces: Vec<&[u8]> = noise.chunks_exact(64).collect();
        files
            .into_iter()
            .any(|file| pieces.iter().any(|piece| file.windows(piece.len()).any(|window| window == *piece)))
    }

    /// Once everything is in the main file.
    async fn checkpoint(path: &Path) {
        let pool = SqlitePool::connect(&format!("sqlite:{}", path.display())).await.unwrap();
        let row = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&pool).await.unwrap();
        assert_eq!(row.get::<i64, _>(0), 0);
        pool.close().await;
    }

    async fn next(subscription: &mut Box<dyn Subscription>) -> crate::bus::Delivery {
        tokio::time::timeout(LIMIT, subscription.next()).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn the_queue_file_is_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bus.db");
        // As a version before made it.
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let bus = EmbeddedBus::open(&path).await.unwrap();
        bus.publish(&[message("a-isd", b"one")]).await.unwrap();
        let there = private::database_files(&path).into_iter().filter_map(|path| fs::metadata(path).ok());
        let modes: Vec<u32> = there.map(|metadata| metadata.permissions().mode() & 0o777).collect();
        assert_eq!(modes, [0o600; 3]);
    }

    #[tokio::test]
    async fn nothing_of_a_message_that_is_done_stays_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bus.db");
        let bus = EmbeddedBus::open(&path).await.unwrap();
        let (short, long) = (noise(200), noise(20_000));
        bus.publish(&[message("a-isd", &short), message("a-isd", &long)]).await.unwrap();
        checkpoint(&path).await;
        assert!(is_in_files(&path, &short) && is_in_files(&path, &long), "they can be found at all");
        let mut subscription = bus.subscribe(Queue::Write, 2).await.unwrap();
        for _ in 0..2 {
            let delivery = next(&mut subscription).await;
            subscription.ack(delivery).await.unwrap();
        }
        drop(subscription);
        // An acknowledgement is written when it is: what is asked for after it is written after it.
        bus.purge(Queue::Write).await.unwrap();
        checkpoint(&path).await;
        assert!(!is_in_files(&path, &short) && !is_in_files(&path, &long));
    }

    #[tokio::test]
    async fn a_district_is_forgotten_with_all_that_waits_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bus.db");
        let bus = EmbeddedBus::open(&path).await.unwrap();
        let (gone, kept) = (noise(2_000), noise(2_000));
        let of_gone = || message("gone-isd", &gone);
        bus.publish(&[of_gone(), of_gone(), message("kept-isd", &kept)]).await.unwrap();
        // One is with somebody, and parked after the district was forgotten.
        let mut subscription = bus.subscribe(Queue::Write, 1).await.unwrap();
        let in_hand = next(&mut subscription).await;
        assert_eq!(bus.forget(&"gone-isd".parse().unwrap()).await.unwrap(), 2);
        assert!(!is_in_files(&path, &gone) && is_in_files(&path, &kept));
        let why = crate::handler::Park { reason: "store-refused", detail: String::new() };
        subscription.park(&in_hand, &why).await.unwrap();
        let depths = bus.depths().await.unwrap();
        let depth = depths.iter().find(|depth| depth.queue == Queue::Write).unwrap();
        assert_eq!((depth.waiting, depth.parked), (1, 0));
        let left = next(&mut subscription).await.label.district.unwrap();
        assert_eq!(left.as_str(), "kept-isd");
    }
}
