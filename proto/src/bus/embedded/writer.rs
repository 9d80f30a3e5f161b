//! The one task that writes.
//!
//! Everything that waits is done in one transaction, so a hundred publishers and acknowledgements share one
//! `fsync`. An operation that fails is tried again alone, so that none fails for its neighbour's fault.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sqlx::{Connection as _, SqliteConnection};
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    NewRow,
    statements::{self, Claimed, Place, Replayed},
};
use crate::{
    bus::{Parked, ParkedFilter},
    handler::Park,
    id::DistrictId,
    topology::Queue,
};

/// Operations of one transaction at most.
const AT_ONCE: usize = 512;

/// Tries of a transaction while another process keeps the file locked; each waits for `busy_timeout` first.
const BUSY_TRIES: u32 = 4;

type Reply<T> = oneshot::Sender<Result<T, sqlx::Error>>;

/// Something to be written.
#[derive(Debug)]
pub(crate) enum Op {
    Publish {
        rows: Vec<NewRow>,
        reply: Reply<()>,
    },
    Claim {
        queue: Queue,
        limit: u16,
        lease: i64,
        until: i64,
        reply: Reply<Vec<Claimed>>,
    },
    Ack {
        place: Place,
        lease: i64,
        lost: Arc<AtomicBool>,
    },
    Retry {
        queue: Queue,
        place: Place,
        lease: i64,
        due: i64,
        failed: bool,
        reply: Reply<()>,
    },
    Park {
        place: Place,
        lease: i64,
        park: Park,
        reply: Reply<()>,
    },
    Release {
        queue: Queue,
        lease: i64,
        unseen: Vec<Place>,
    },
    Extend {
        lease: i64,
        until: i64,
    },
    Recover {
        reply: Reply<u64>,
    },
    Replay {
        queue: Queue,
        filter: ParkedFilter,
        reply: Reply<Replayed>,
    },
    Discard {
        queue: Queue,
        filter: ParkedFilter,
        reply: Reply<Vec<Parked>>,
    },
    Purge {
        queue: Queue,
        reply: Reply<u64>,
    },
    Forget {
        district: DistrictId,
        reply: Reply<u64>,
    },
    /// The only one that is done outside a transaction.
    Scrub {
        reply: Reply<()>,
    },
}

/// What an operation brought, to be told once it is committed.
enum Outcome {
    Nothing,
    Count(u64),
    Claimed(Vec<Claimed>),
    Replayed(Replayed),
    Discarded(Vec<Parked>),
}

/// Tells this process's subscriptions that there may be something for them.
#[derive(Debug)]
pub(crate) struct Wakers([watch::Sender<()>; Queue::ALL.len()]);

impl Default for Wakers {
    fn default() -> Self {
        Self(Queue::ALL.map(|_| watch::Sender::new(())))
    }
}

impl Wakers {
    pub(super) fn listen(&self, queue: Queue) -> watch::Receiver<()> {
        self.0[queue as usize].subscribe()
    }

    fn wake_all(&self, queues: &[Queue]) {
        for queue in queues {
            self.wake(*queue);
        }
    }

    fn wake(&self, queue: Queue) {
        self.0[queue as usize].send_replace(());
    }
}

/// Writes until all who could ask are gone.
pub(super) async fn run(mut connection: SqliteConnection, mut ops: mpsc::UnboundedReceiver<Op>, wakers: Arc<Wakers>) {
    let mut batch = Vec::with_capacity(AT_ONCE);
    while ops.recv_many(&mut batch, AT_ONCE).await > 0 {
        let scrubs: Vec<Op> = batch.extract_if(.., |op| matches!(op, Op::Scrub { .. })).collect();
        match transact(&mut connection, &batch).await {
            Ok(outcomes) => {
                for (op, outcome) in batch.drain(..).zip(outcomes) {
                    op.finish(Ok(outcome), &wakers);
                }
            }
            Err(_) => one_by_one(&mut connection, &mut batch, &wakers).await,
        }
        for op in scrubs {
            op.finish(scrub(&mut connection).await, &wakers);
        }
    }
    if let Err(error) = connection.close().await {
        tracing::warn!(error = &error as &dyn std::error::Error, "The queue file was not closed properly.");
    }
}

async fn one_by_one(connection: &mut SqliteConnection, batch: &mut Vec<Op>, wakers: &Wakers) {
    for op in batch.drain(..) {
        let outcome = transact(connection, std::slice::from_ref(&op)).await;
        op.finish(outcome.map(|mut outcomes| outcomes.pop().unwrap_or(Outcome::Nothing)), wakers);
    }
}

/// Does `ops` in one transaction, again and again while another process is in the way.
async fn transact(connection: &mut SqliteConnection, ops: &[Op]) -> Result<Vec<Outcome>, sqlx::Error> {
    let mut tries = 1;
    loop {
        match try_transact(connection, ops).await {
            Err(error) if is_busy(&error) && tries < BUSY_TRIES => {
                tries += 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            result => return result,
        }
    }
}

/// As [`transact`], for what is no transaction.
async fn scrub(connection: &mut SqliteConnection) -> Result<Outcome, sqlx::Error> {
    let mut tries = 1;
    loop {
        match statements::scrub(connection).await {
            Err(error) if is_busy(&error) && tries < BUSY_TRIES => tries += 1,
            result => return result.map(|()| Outcome::Nothing),
        }
    }
}

async fn try_transact(connection: &mut SqliteConnection, ops: &[Op]) -> Result<Vec<Outcome>, sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let mut outcomes = Vec::with_capacity(ops.len());
    for op in ops {
        outcomes.push(op.apply(&mut transaction).await?);
    }
    transaction.commit().await?;
    Ok(outcomes)
}

/// `SQLITE_BUSY` or `SQLITE_LOCKED`, extended codes included.
fn is_busy(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.and_then(|code| code.parse::<i32>().ok()).is_some_and(|code| matches!(code & 0xff, 5 | 6))
}

impl Op {
    async fn apply(&self, connection: &mut SqliteConnection) -> Result<Outcome, sqlx::Error> {
        match self {
            Self::Publish { rows, .. } => statements::publish(connection, rows).await.map(|()| Outcome::Nothing),
            Self::Claim { queue, limit, lease, until, .. } => {
                statements::claim(connection, *queue, *limit, *lease, *until).await.map(Outcome::Claimed)
            }
            Self::Ack { place, lease, .. } => {
                statements::ack(connection, *place, *lease).await.map(|()| Outcome::Nothing)
            }
            Self::Retry { place, lease, due, failed, .. } => {
                statements::retry(connection, *place, *lease, *due, *failed).await.map(|()| Outcome::Nothing)
            }
            Self::Park { place, lease, park, .. } => {
                statements::park(connection, *place, *lease, park).await.map(|()| Outcome::Nothing)
            }
            Self::Release { lease, unseen, .. } => {
                statements::release(connection, *lease, unseen).await.map(|()| Outcome::Nothing)
            }
            Self::Extend { lease, until } => {
                statements::extend(connection, *lease, *until).await.map(|()| Outcome::Nothing)
            }
            Self::Recover { .. } => statements::recover(connection).await.map(Outcome::Count),
            Self::Replay { queue, filter, .. } => {
                statements::replay(connection, *queue, filter).await.map(Outcome::Replayed)
            }
            Self::Discard { queue, filter, .. } => {
                statements::discard(connection, *queue, filter).await.map(Outcome::Discarded)
            }
            Self::Purge { queue, .. } => statements::purge(connection, *queue).await.map(Outcome::Count),
            Self::Forget { district, .. } => {
                statements::forget(connection, district.as_str()).await.map(Outcome::Count)
            }
            Self::Scrub { .. } => Ok(Outcome::Nothing),
        }
    }

    /// Tells who asked, and wakes whom it concerns. An answer that nobody waits for any more is nobody's loss: claims
    /// of a subscription that is gone are given back by its `Release`, which comes after.
    fn finish(self, result: Result<Outcome, sqlx::Error>, wakers: &Wakers) {
        match self {
            Self::Publish { rows, reply } => {
                let mut queues: Vec<Queue> = rows.iter().map(|row| row.queue).collect();
                queues.sort_unstable();
                queues.dedup();
                wakers.wake_all(&queues);
                drop(reply.send(result.map(drop)));
            }
            Self::Claim { reply, .. } => drop(reply.send(result.map(Outcome::claimed))),
            Self::Ack { lost, .. } => {
                if let Err(error) = result {
                    lost.store(true, Ordering::Relaxed);
                    tracing::warn!(error = &error as &dyn std::error::Error, "An acknowledgement was not stored.");
                }
            }
            Self::Retry { queue, reply, .. } => {
                wakers.wake(queue);
                drop(reply.send(result.map(drop)));
            }
            Self::Park { reply, .. } | Self::Scrub { reply } => drop(reply.send(result.map(drop))),
            Self::Release { queue, .. } => wakers.wake(queue),
            Self::Extend { .. } => {}
            Self::Recover { reply } => {
                wakers.wake_all(&Queue::ALL);
                drop(reply.send(result.map(Outcome::count)));
            }
            Self::Replay { queue, reply, .. } => {
                wakers.wake(queue);
                drop(reply.send(result.map(Outcome::replayed)));
            }
            Self::Discard { reply, .. } => drop(reply.send(result.map(Outcome::discarded))),
            Self::Purge { reply, .. } | Self::Forget { reply, .. } => drop(reply.send(result.map(Outcome::count))),
        }
    }
}

impl Outcome {
    fn count(self) -> u64 {
        if let Self::Count(count) = self { count } else { 0 }
    }

    fn claimed(self) -> Vec<Claimed> {
        if let Self::Claimed(rows) = self { rows } else { Vec::new() }
    }

    fn replayed(self) -> Replayed {
        if let Self::Replayed(replayed) = self { replayed } else { Replayed::default() }
    }

    fn discarded(self) -> Vec<Parked> {
        if let Self::Discarded(parked) = self { parked } else { Vec::new() }
    }
}
