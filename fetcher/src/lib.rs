//! How Rollcall asks a student information system.
//!
//! Role: the schedule, and the pull of every run: find out what a connection grants, ask for its pages lane by lane,
//! publish each page raw, and put right what got lost on the way.
//!
//! Neighbours: pages go to the classifier over the bus; the board that pages are dealt from lies in the store; requests go
//! through `rollcall-http`.
//!
//! Invariants: never more requests at once to a connection than it has lanes; effects are committed, then published,
//! then acknowledged; an address that is not public is refused unless the process allows it; `Paging.Next` never leads
//! anywhere; no student fact, secret or token in a log line or an error.
//!
//! Deliberately absent: reading rows. A page is looked into only as far as paging needs.

mod at_work;
pub mod config;
mod delta;
pub mod error;
mod fate;
mod hand;
mod handler;
mod launch;
mod outcome;
pub mod probe;
mod reconcile;
pub mod schedule;
pub mod sis;
mod sources;
pub mod turn;

use std::{sync::Arc, time::Duration};

pub(crate) use rollcall_proto::chain::chain;
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

pub use rollcall_http::{auth, limits, net, session, urls};

pub use self::{
    config::FetcherConfig,
    handler::FetchHandler,
    launch::{launch, publish_start},
    reconcile::Reconciler,
};

/// Fetches until `shutdown`: handles the fetch queue, ticks the schedule, and reconciles open runs.
pub async fn run(config: FetcherConfig, bus: SharedBus, store: Store, clock: SharedClock, shutdown: CancellationToken) {
    let handler = match FetchHandler::new(&config, store.clone(), Arc::clone(&bus), Arc::clone(&clock)) {
        Ok(handler) => Arc::new(handler),
        Err(error) => {
            tracing::error!(%error, "the fetcher cannot start");
            return;
        }
    };
    let worker = run_worker(
        Arc::clone(&bus),
        Queue::Fetch,
        handler,
        WorkerConfig::new(config.concurrency),
        Arc::clone(&clock),
        shutdown.clone(),
    );
    let reconciler = Reconciler::new(&config, store.clone(), Arc::clone(&bus), Arc::clone(&clock));
    tokio::join!(
        worker,
        schedule_loop(&config, &bus, &store, &clock, &shutdown),
        reconciler.run(config.reconcile_every, &shutdown)
    );
}

/// Makes the runs that are due, again and again.
async fn schedule_loop(
    config: &FetcherConfig,
    bus: &SharedBus,
    store: &Store,
    clock: &SharedClock,
    shutdown: &CancellationToken,
) {
    if !config.schedule {
        return;
    }
    loop {
        match schedule::tick(store, &**clock).await {
            Ok(runs) => start_all(bus, store, clock, &runs).await,
            Err(error) => tracing::warn!(error = chain(&error), "the schedules could not be read; again soon"),
        }
        if rest(config.schedule_every, shutdown).await {
            return;
        }
    }
}

async fn start_all(bus: &SharedBus, store: &Store, clock: &SharedClock, runs: &[rollcall_store::run::Run]) {
    for run in runs {
        tracing::info!(district = %run.district, run = %run.id, as_of = %run.as_of, "a scheduled run was made");
        if let Err(error) = publish_start(store, bus, run, clock.now()).await {
            let error = chain(&error);
            tracing::warn!(run = %run.id, error, "a run's first messages could not be published; the reconciler will");
        }
    }
}

/// Waits; true when it is time to stop.
pub(crate) async fn rest(pause: Duration, shutdown: &CancellationToken) -> bool {
    tokio::select! {
        () = shutdown.cancelled() => true,
        () = tokio::time::sleep(pause) => false,
    }
}
