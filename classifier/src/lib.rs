//! How Rollcall reads a student information system, and what it means.
//!
//! Role: raw pages to fragments (collect); a run's fragments to a plan, judged before anything is written (plan); the
//! plan's batches to the bus (release); and the end of the run (close).
//!
//! Neighbours: the fetcher sends pages, the writer applies batches, the store keeps everything in between.
//!
//! Invariants: equal facts, equal plan; nobody is taken out but over a pull proved complete and after a second look; every
//! student listed or missing is accounted for; no student fact in a log line or an error.
//!
//! Deliberately absent: asking a SIS, and writing the roster.

pub mod accept;
pub mod assemble;
pub mod batch;
pub mod claim;
pub mod close;
pub mod collect;
pub mod completeness;
pub mod config;
pub mod context;
mod counting;
pub mod decode;
pub mod diff;
pub mod error;
pub mod fingerprint;
pub mod fragment;
pub mod hold;
pub mod load;
pub mod missing;
pub mod overlay;
mod parallel;
pub mod plan;
pub mod plan_handler;
pub mod recheck;
pub mod reconcile;
pub mod release;
pub mod replay;
pub mod retention;
pub mod second_look;
pub mod sourced_id;
pub mod status;
#[cfg(test)]
mod testing;
pub mod untold;
pub mod view;

use std::{sync::Arc, time::Duration};

use rollcall_proto::{
    bus::{
        SharedBus,
        worker::{WorkerConfig, run_worker},
    },
    clock::SharedClock,
    handler::Handler,
    topology::Queue,
};
use rollcall_store::Store;
use tokio_util::sync::CancellationToken;

pub use crate::config::ClassifierConfig;
use crate::{
    claim::Planners, close::CloseHandler, collect::CollectHandler, context::Context, plan_handler::PlanHandler,
};

/// What a classifier consumes from.
pub const QUEUES: [Queue; 4] = [Queue::Collect, Queue::Plan, Queue::PlanLarge, Queue::Applied];

/// How long is waited for planners that were stopped in the middle to give their runs back.
const PLANNERS_GONE: Duration = Duration::from_secs(1);

/// Classifies until `shutdown`, then finishes what is in hand.
pub async fn run(
    config: ClassifierConfig,
    bus: SharedBus,
    store: Store,
    clock: SharedClock,
    shutdown: CancellationToken,
) {
    let collectors = config.collectors;
    let context = Context { store, bus, clock, config };
    let work = |queue, concurrency, handler: Arc<dyn Handler>| {
        let (bus, clock) = (Arc::clone(&context.bus), Arc::clone(&context.clock));
        run_worker(bus, queue, handler, WorkerConfig::new(concurrency), clock, shutdown.clone())
    };
    let planners = Planners::new();
    let planner = Arc::new(PlanHandler::new(context.clone(), planners.clone()));
    tokio::join!(
        work(Queue::Collect, collectors, Arc::new(CollectHandler::new(context.clone()))),
        // One plan at a time in a process, and one large one beside it: plans are what takes memory.
        work(Queue::Plan, 1, planner.clone()),
        work(Queue::PlanLarge, 1, planner),
        work(Queue::Applied, 1, Arc::new(CloseHandler::new(context.clone()))),
        reconcile::run(context.clone(), shutdown.clone()),
    );
    planners.gone(PLANNERS_GONE).await;
}
