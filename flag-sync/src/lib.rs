//! Participations in special programs, and their flags in Infinite Campus.
//!
//! Role: works out participations from completed documents, what flags they should show, and what Campus shows; pushes
//! the difference, reads it back, and keeps a ledger. Nightly after the district's run has stopped, and at once after a
//! document completes, by one and the same code.
//!
//! Neighbours: documents come in over the store (command line, JSON API); runs are others' business, only that they
//! stopped matters; the document viewer finds a flag's student and program by its id.
//!
//! Invariants: only a participation ends a flag, never a status; nothing is deleted in Campus, an end date is set instead;
//! ids are worked out, so a push repeated finds its own; a program that Campus does not have as it must be fails alone
//! and loudly; no message matters, the store says what is due.
//!
//! Deliberately absent: making or changing a program (flag) in Campus, and guessing its contract: see [`partner`].

mod approval;
pub mod campus;
mod comparison;
pub mod config;
mod context;
pub mod cutover;
pub mod desired;
pub mod diff;
pub mod error;
mod failing;
mod handler;
mod lease;
mod lists;
mod live;
pub mod participation;
pub mod partner;
mod people;
mod plan;
pub mod probe;
mod push;
pub mod reconcile;
mod rows;
pub mod sharing;
mod takeover;
mod twins;
mod unit;
mod waiting;

use std::sync::Arc;

use rollcall_proto::{
    bus::worker::{WorkerConfig, run_worker},
    topology::Queue,
};
use tokio_util::sync::CancellationToken;

pub use self::{
    approval::{approve, plan as plan_take_overs, shown as take_overs_shown},
    config::FlagSyncConfig,
    context::Context,
    error::{FlagError, problem},
    handler::FlagHandler,
};

/// Syncs flags until `shutdown`, then finishes what is in hand. `concurrency`: districts at once, where it is not the context's.
pub async fn run(context: Context, concurrency: Option<u16>, shutdown: CancellationToken) {
    if context.config.public_url.is_none() {
        tracing::warn!("no-public-url: flags that this process pushes get no launch link; set ROLLCALL_PUBLIC_URL");
    }
    let (bus, clock) = (Arc::clone(&context.bus), Arc::clone(&context.clock));
    let worker = WorkerConfig::new(concurrency.unwrap_or(context.config.concurrency));
    let handler = Arc::new(FlagHandler::new(context.clone()));
    tokio::join!(
        run_worker(bus, Queue::Flags, handler, worker, clock, shutdown.clone()),
        reconcile::run(context, shutdown.clone()),
    );
}
