//! What every handler of the classifier works with, and the steps that several of them take.

use std::collections::BTreeSet;

use rollcall_proto::{
    bus::SharedBus,
    clock::SharedClock,
    id::{ConnectionNo, DistrictId, ListingNo, PageNo, RunId},
    message::{Applied, Body, FlagSync, LARGE_RUN_ROWS, Message, Plan, Release},
};
use rollcall_store::{
    Store,
    board::Board,
    page::PageRow,
    run::{Counts, Pull, PullState, Stage},
};

use crate::{config::ClassifierConfig, error::ClassifierError};

/// Store, bus, clock and settings.
#[derive(Clone)]
pub struct Context {
    /// The store.
    pub store: Store,
    /// The bus.
    pub bus: SharedBus,
    /// The clock.
    pub clock: SharedClock,
    /// Settings.
    pub config: ClassifierConfig,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("config", &self.config).finish_non_exhaustive()
    }
}

/// A run, by district and id.
pub type RunKey<'a> = (&'a DistrictId, RunId);

impl Context {
    /// Publishes one message of a run. `cause` is the message being handled, if one is.
    pub async fn publish(&self, run: RunKey<'_>, cause: Option<&Message>, body: Body) -> Result<(), ClassifierError> {
        let message = self.message(run, cause, body);
        self.bus.publish(&[message]).await?;
        Ok(())
    }

    /// A message of a run. A message caused by another run's names that one as its cause all the same.
    pub fn message(&self, (district, run): RunKey<'_>, cause: Option<&Message>, body: Body) -> Message {
        let message = Message::new(district.clone(), run, self.clock.now(), body);
        Message { cause: cause.map(|cause| cause.id), ..message }
    }

    /// Asks for a run to be planned, on the queue that suits its size.
    pub async fn ask_to_plan(&self, run: RunKey<'_>, cause: Option<&Message>) -> Result<(), ClassifierError> {
        let large = is_large(&self.store.pages(run.0, run.1).await?);
        self.publish(run, cause, Body::Plan(Plan { large })).await
    }

    /// Asks for the next window of a released plan.
    pub async fn ask_to_release(&self, run: RunKey<'_>, cause: Option<&Message>) -> Result<(), ClassifierError> {
        self.publish(run, cause, Body::Release(Release {})).await
    }

    /// Says that every planned event of a run is settled.
    pub async fn say_applied(&self, run: RunKey<'_>, cause: Option<&Message>) -> Result<(), ClassifierError> {
        self.publish(run, cause, Body::Applied(Applied {})).await
    }

    /// Asks for a district's flags, now that a run of it has stopped. Where it has none, nothing is asked.
    pub async fn ask_for_flags(&self, run: RunKey<'_>, cause: Option<&Message>) -> Result<(), ClassifierError> {
        if self.store.district(run.0).await?.has_flags() {
            self.publish(run, cause, Body::FlagSync(FlagSync { student: None, program: None })).await?;
        }
        Ok(())
    }

    /// Goes to the plan if every pull is at its end and every fetched page is in. True: the run stands at Plan.
    pub async fn advance(&self, run: RunKey<'_>) -> Result<bool, ClassifierError> {
        Ok(self.all_in(run).await? && self.store.pulled(run.0, run.1, self.clock.now()).await?)
    }

    /// Every pull is fetched or given up, every fetched page is collected, and a second look that is due was asked for.
    pub async fn all_in(&self, (district, run): RunKey<'_>) -> Result<bool, ClassifierError> {
        let pulls = self.store.pulls(district, run).await?;
        if !pulls.iter().all(is_over) {
            return Ok(false);
        }
        let pages = self.store.pages(district, run).await?;
        let mut looks_again = false;
        for pull in pulls.iter().filter(|pull| pull.state == PullState::Fetched) {
            let Some(board) = self.store.board(district, run, pull.connection).await? else { continue };
            looks_again |= board.recheck_from.is_some();
            if !missing_pages(&board, pull.connection, &pages).is_empty() {
                return Ok(false);
            }
        }
        Ok(looks_again || self.store.run(district, run).await?.stage != Stage::Recheck)
    }

    /// Whether the second look was asked for, and not all of it is in.
    pub async fn is_looking_again(&self, run: RunKey<'_>) -> Result<bool, ClassifierError> {
        for pull in self.store.pulls(run.0, run.1).await? {
            let board = self.store.board(run.0, run.1, pull.connection).await?;
            if board.is_some_and(|board| board.recheck_from.is_some()) {
                return Ok(!self.all_in(run).await?);
            }
        }
        Ok(false)
    }
}

const fn is_over(pull: &Pull) -> bool {
    matches!(pull.state, PullState::Fetched | PullState::Failed)
}

fn missing_pages(board: &Board, connection: ConnectionNo, pages: &[PageRow]) -> Vec<(ListingNo, PageNo)> {
    let of_connection = pages.iter().filter(|page| page.connection == connection);
    let collected: BTreeSet<_> = of_connection.map(|page| (page.listing, page.page)).collect();
    board.missing(|listing, page| collected.contains(&(listing, page)))
}

fn is_large(pages: &[PageRow]) -> bool {
    pages.iter().map(|page| page.rows).sum::<i64>() > LARGE_RUN_ROWS
}

/// Whether every planned event of a run is settled.
pub const fn is_settled(counts: &Counts) -> bool {
    counts.applied + counts.parked + counts.superseded >= counts.added + counts.changed + counts.removed
}
