//! Applies students' changes to the roster.
//!
//! Role: one `student.events` message, one transaction. Neighbours: reads what the classifier released; the store does
//! the SQL. Invariants: a batch is settled once, whoever delivers it how often; an older run never overwrites a newer;
//! one student that the database refuses is parked alone. Deliberately absent: any judgement of a change.

mod error;
mod handler;

use std::sync::Arc;

use rollcall_proto::{
    bus::{
        SharedBus,
        worker::{WorkerConfig, run_worker},
    },
    clock::SharedClock,
    topology::Queue,
};
use rollcall_store::Store;
use tokio_util::sync::CancellationToken;

pub use crate::handler::WriteHandler;

/// How a writer works.
#[derive(Debug, Clone)]
pub struct WriterConfig {
    /// Messages in hand at once. Each holds one database connection while it is written; 1 to 64.
    pub concurrency: u16,
}

impl Default for WriterConfig {
    fn default() -> Self {
        Self { concurrency: 2 }
    }
}

/// Writes until `shutdown`, then finishes what is in hand.
pub async fn run(config: WriterConfig, bus: SharedBus, store: Store, clock: SharedClock, shutdown: CancellationToken) {
    let handler = Arc::new(WriteHandler::new(Arc::clone(&bus), store, Arc::clone(&clock)));
    let worker = WorkerConfig::new(config.concurrency);
    run_worker(bus, Queue::Write, handler, worker, clock, shutdown).await;
}
