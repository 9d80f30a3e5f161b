//! Thousands of nights in one thread, with all faults on: the product's own handlers, reconcilers and schedule under a
//! scheduler that a seed decides.
//!
//! Role: finds orders of events that nobody thought of, and says which seed leads there. Neighbours: the handlers of the
//! fetcher, the classifier, the writer and flag-sync as they are, under the product's worker loop and HTTP session; the fault matrix
//! of `tests/e2e`, which kills real processes and asks real servers.
//!
//! What is modelled:
//! - **Bus** (`bus`): order, doubles, delays up to a day, redelivery, refused and half-done publishes, lost
//!   acknowledgements, outages, and the loss of everything where a broker's data is wiped.
//! - **Processes** (`process`, `life`): two, each with every role. One dies before its n-th effect (commit, publish or
//!   acknowledgement), so between any two of them, or at rest. A handler can also be stopped before it publishes, or
//!   while the SIS is slow to answer, while others go on.
//! - **SIS** (`sis`): a small Qmlativ for each district, answering without a socket: failures of every kind, throttling,
//!   tokens that expire, rows that move while they are paged, torn, empty, repeated and garbled listings, most students
//!   missing, nothing answered all night.
//! - **Flags** (`flags`): a small Campus for each of two districts, with the partner interface and what goes wrong there; documents that come
//!   and change, take-overs and their approval, edits by hand. In every fifth seed, and alone in the seeds of flags.
//! - **People** (`operator`): approve, discard, run by hand, cancel, replay runs and parked messages.
//! - **Time** (`clock`): virtual. All pauses pass at once. In every fourth seed the clocks of processes are wrong, and step.
//!
//! What is not: the store is SQLite as shipped, in memory; statements of two handlers do not interleave within a
//! transaction, so locks and isolation of PostgreSQL are the business of `tests/e2e` and the store's conformance tests.
//! No sockets, no RabbitMQ, no OneRoster rosters. Ids are random and not from the seed; nothing decided depends on them,
//! which a test shows (equal seeds, equal traces).

mod answers;
mod bus;
mod clock;
mod dice;
mod facts;
mod flags;
mod house;
mod invariants;
mod life;
mod operator;
mod process;
mod report;
mod settings;
mod simulation;
mod sis;
mod turn;

use anyhow::Context as _;
use rollcall_http::net::Http;

pub use self::{
    report::{Counts, FlagCounts, Messages, Report},
    settings::{Sabotage, Settings},
};
use crate::simulation::{Lived, Simulation};

/// Lives through the nights, and through the same ones undisturbed, and compares.
///
/// # Errors
/// Whatever did not hold, with the night.
pub fn simulate(settings: Settings) -> anyhow::Result<Report> {
    let http = simulation::client()?;
    let lived = live(settings, http.clone())?;
    let undisturbed = live(settings.undisturbed(), http).context("a district that is never disturbed")?;
    Simulation::compare(&settings, &lived, &undisturbed)?;
    Ok(lived.report)
}

fn live(settings: Settings, http: Http) -> anyhow::Result<Lived> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { Box::pin(Simulation::new(settings, http).await?.run()).await })
}
