//! What open runs still owe in fetching, found in the store and published again.
//!
//! Role: lanes whose message was lost, pages fetched whose collection never arrived, connections never discovered, or not before another
//! run of the district had its pages, and runs that have all they wanted and were not told so. Neighbours: the classifier does the same for its stages.
//!
//! Invariants: with every queue purged, a run at `Pull` or `Recheck` still gets there; many reconcilers do the work of
//! one (`claim_reconcile`); publishing twice does no harm, since a lane has a generation and a page is stored once; a run that
//! cannot be looked at keeps none behind it waiting. What
//! only waits, behind more work than the fetchers get done in the time that makes a message lost, is asked for again once
//! and then waited for: the board learns how long (`Board::take_up`, `Board::came_late`), and a discovery is asked for after
//! waits that double.

use std::time::Duration;

use chrono::{DateTime, Utc};
use rollcall_proto::{
    bus::SharedBus,
    clock::SharedClock,
    id::{ConnectionNo, ListingNo, PageNo},
    message::{Body, Discover, Fetch, Message},
};
use rollcall_store::{
    Chore, Lanes, OpenRun, PassedOver, Store, Wait,
    board::{Board, LaneMove},
    run::{Pull, PullState, Stage},
};
use tokio_util::sync::CancellationToken;

use crate::{
    config::FetcherConfig,
    error::FetchError,
    outcome::{advance, missing_pages},
};

/// A discovery is asked for again after this long at the latest.
const LONGEST_PATIENCE: Duration = Duration::from_mins(10);

/// Whether lanes whose messages were seen to wait long are waited for longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// As was learned.
    Learned,
    /// A person knows better.
    Lost,
}

/// See the module.
#[derive(Clone)]
pub struct Reconciler {
    store: Store,
    bus: SharedBus,
    clock: SharedClock,
    lost_after: Duration,
    every: Duration,
}

impl std::fmt::Debug for Reconciler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reconciler").field("lost_after", &self.lost_after).finish_non_exhaustive()
    }
}

impl Reconciler {
    /// A reconciler that counts as lost what the configuration says.
    pub fn new(config: &FetcherConfig, store: Store, bus: SharedBus, clock: SharedClock) -> Self {
        Self { store, bus, clock, lost_after: config.lost_after, every: config.reconcile_every }
    }

    /// Reconciles again and again until `shutdown`.
    pub(crate) async fn run(&self, every: Duration, shutdown: &CancellationToken) {
        while !crate::rest(every, shutdown).await {
            if let Err(error) = self.once().await {
                tracing::warn!(error = crate::chain(&error), "open runs could not be reconciled; again soon");
            }
        }
    }

    /// Looks once at every open run. Nothing is dealt while the bus is away: it could not be told. Returns how many runs could
    /// not be looked at.
    pub async fn once(&self) -> Result<u32, FetchError> {
        let mut runs = self.store.open_runs().await?;
        runs.retain(|run| matches!(run.stage, Stage::Pull | Stage::Recheck));
        if !runs.is_empty() {
            self.bus.check().await?;
        }
        let mut passed = PassedOver::none(Chore::Fetching);
        for run in &runs {
            match self.look_at(run).await {
                Ok(()) => passed.looked_after(),
                Err(FetchError::Bus(error)) if error.is_transient() => return Err(error.into()),
                Err(error) => {
                    let is_transient = error.is_transient();
                    passed.note((&run.district, Some(run.run)), error, is_transient)?;
                }
            }
        }
        Ok(passed.count())
    }

    async fn look_at(&self, run: &OpenRun) -> Result<(), FetchError> {
        let now = self.clock.now();
        if !self.store.claim_reconcile(&run.district, run.run, now - self.every, now).await? {
            return Ok(());
        }
        self.mend_all(run, Patience::Learned, now).await?;
        if is_quiet(run.touched_at, now, self.lost_after) {
            advance(&self.store, &self.bus, &run.district, run.run, now).await?;
        }
        Ok(())
    }

    /// Asks again, at a person's word, for what a run at `Pull` or `Recheck` still wants, however lately something came
    /// in. A lane whose page was dealt lately is at work and left alone. Returns how many messages were published.
    pub async fn ask_again(&self, run: &OpenRun) -> Result<usize, FetchError> {
        let quiet = OpenRun { touched_at: DateTime::<Utc>::MIN_UTC, ..run.clone() };
        self.mend_all(&quiet, Patience::Lost, self.clock.now()).await
    }

    /// How much would be asked for again, were [`Reconciler::once`] to look at the run now. Changes nothing.
    pub async fn owed(&self, run: &OpenRun) -> Result<usize, FetchError> {
        let now = self.clock.now();
        let pulls = self.store.pulls(&run.district, run.run).await?;
        let mut owed = 0;
        for pull in &pulls {
            owed += match pull.state {
                PullState::Discovering => {
                    usize::from(self.discovery_is_due(run, pull.connection, now).await?.is_some())
                }
                PullState::Fetched
                    if self.store.lanes_taken_by(&run.district, run.run, pull.connection).await?.is_some() =>
                {
                    0
                }
                PullState::Fetching | PullState::Fetched => self
                    .board_owes(run, pull.connection, Patience::Learned, now)
                    .await?
                    .map_or(0, |(mut board, missing)| self.deal_again(&mut board, &missing, now).len()),
                PullState::Failed => 0,
            };
        }
        Ok(owed)
    }

    async fn mend_all(&self, run: &OpenRun, patience: Patience, now: DateTime<Utc>) -> Result<usize, FetchError> {
        let mut published = 0;
        for pull in self.store.pulls(&run.district, run.run).await? {
            published += self.mend(run, &pull, patience, now).await?;
        }
        Ok(published)
    }

    async fn mend(
        &self,
        run: &OpenRun,
        pull: &Pull,
        patience: Patience,
        now: DateTime<Utc>,
    ) -> Result<usize, FetchError> {
        match pull.state {
            PullState::Discovering => {
                let Some(why) = self.discovery_is_due(run, pull.connection, now).await? else { return Ok(0) };
                self.store.touch_run(&run.district, run.run, now).await?;
                self.store.end_wait_for_lanes(&run.district, run.run, pull.connection).await?;
                let body = Body::Discover(Discover { connection: pull.connection });
                self.publish(run, now, vec![body], why).await
            }
            PullState::Fetching | PullState::Fetched => self.mend_board(run, pull.connection, patience, now).await,
            PullState::Failed => Ok(0),
        }
    }

    /// Why a discovery is to be asked for again: its message was lost, or it was sent away and its turn has come.
    async fn discovery_is_due(
        &self,
        run: &OpenRun,
        connection: ConnectionNo,
        now: DateTime<Utc>,
    ) -> Result<Option<&'static str>, FetchError> {
        Ok(match self.store.wait_for_lanes(&run.district, run.run, connection).await? {
            Wait::For(_) => None,
            Wait::Over => Some("no other run of the district asks the connection any more"),
            Wait::None => self.discovery_is_lost(run, now).await?.then_some("a connection was not discovered"),
        })
    }

    /// The first time after the usual, then after waits that double: a run whose discovery waits behind those of many others
    /// is asked for a few times, not every minute.
    async fn discovery_is_lost(&self, run: &OpenRun, now: DateTime<Utc>) -> Result<bool, FetchError> {
        if !is_quiet(run.touched_at, now, self.lost_after) {
            return Ok(false);
        }
        let made_at = self.store.run(&run.district, run.run).await?.created_at;
        let asked_for = (run.touched_at - made_at).to_std().unwrap_or_default();
        Ok(is_quiet(run.touched_at, now, asked_for.min(LONGEST_PATIENCE)))
    }

    async fn mend_board(
        &self,
        run: &OpenRun,
        connection: ConnectionNo,
        patience: Patience,
        now: DateTime<Utc>,
    ) -> Result<usize, FetchError> {
        let Some((_, missing)) = self.board_owes(run, connection, patience, now).await? else { return Ok(0) };
        let change = |board: &mut Board| {
            judge(board, patience);
            (self.deal_again(board, &missing, now), board.all_fetched())
        };
        let moves = match self.store.with_lanes(&run.district, run.run, connection, change).await? {
            Lanes::Free(moves) => moves.unwrap_or_default(),
            Lanes::Taken(other) => {
                tracing::debug!(run = %run.run, %connection, %other, "lost pages wait for another run of the district");
                return Ok(0);
            }
        };
        let body = |step: LaneMove| Body::Fetch(Fetch { connection, lane: step.lane, generation: step.generation });
        self.publish(run, now, moves.into_iter().map(body).collect(), "pages were lost on the way").await
    }

    /// The board and the pages of it that were lost, where something is owed.
    async fn board_owes(
        &self,
        run: &OpenRun,
        connection: ConnectionNo,
        patience: Patience,
        now: DateTime<Utc>,
    ) -> Result<Option<(Board, Vec<(ListingNo, PageNo)>)>, FetchError> {
        let Some(mut board) = self.store.board(&run.district, run.run, connection).await? else { return Ok(None) };
        judge(&mut board, patience);
        let missing = if is_quiet(run.touched_at, now, self.lost_after) {
            missing_pages(&board, connection, &self.store.pages(&run.district, run.run).await?)
        } else {
            Vec::new()
        };
        Ok(owes(&board, self.lost_after, &missing, now).then_some((board, missing)))
    }

    fn deal_again(&self, board: &mut Board, missing: &[(ListingNo, PageNo)], now: DateTime<Utc>) -> Vec<LaneMove> {
        deal_again(board, self.lost_after, missing, now)
    }

    async fn publish(
        &self,
        run: &OpenRun,
        now: DateTime<Utc>,
        bodies: Vec<Body>,
        why: &str,
    ) -> Result<usize, FetchError> {
        if bodies.is_empty() {
            return Ok(0);
        }
        tracing::info!(run = %run.run, messages = bodies.len(), "{why}; asked for again");
        let message = |body| Message::new(run.district.clone(), run.run, now, body);
        let messages: Vec<Message> = bodies.into_iter().map(message).collect();
        self.bus.publish(&messages).await?;
        Ok(messages.len())
    }
}

/// Nothing has happened to the run for so long that what is under way must be lost.
fn is_quiet(touched_at: DateTime<Utc>, now: DateTime<Utc>, lost_after: Duration) -> bool {
    touched_at + lost_after < now
}

fn judge(board: &mut Board, patience: Patience) {
    if patience == Patience::Lost {
        board.lose_patience();
    }
}

/// Whether the board would change.
fn owes(board: &Board, lost_after: Duration, missing: &[(ListingNo, PageNo)], now: DateTime<Utc>) -> bool {
    let mut after = board.clone();
    deal_again(&mut after, lost_after, missing, now);
    after != *board
}

/// Takes lost lanes back, deals missing pages again, and wakes lanes that rest although there is work.
fn deal_again(
    board: &mut Board,
    lost_after: Duration,
    missing: &[(ListingNo, PageNo)],
    now: DateTime<Utc>,
) -> Vec<LaneMove> {
    for (listing, page) in missing {
        board.page_missing(*listing, *page);
    }
    board.lane_lost(lost_after, now)
}

#[cfg(test)]
mod tests {
    use rollcall_store::board::{Ask, PageFacts};

    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_760_000_000 + seconds, 0).unwrap()
    }

    fn board() -> Board {
        let mut board = Board::new(vec![Ask::default()], 2);
        board.deal(at(0));
        board
    }

    #[test]
    fn a_young_lane_owes_nothing() {
        let lost_after = Duration::from_mins(1);
        assert!(!owes(&board(), lost_after, &[], at(60)));
        assert!(owes(&board(), lost_after, &[], at(61)));
    }

    #[test]
    fn a_page_that_never_arrived_is_dealt_again() {
        let mut board = board();
        board.pages_done(0, 1, &[PageFacts { rows: 3, last: true, ..PageFacts::default() }], at(1)).unwrap();
        let missing = [(ListingNo(0), PageNo(1))];
        let lost_after = Duration::from_mins(1);
        assert!(owes(&board, lost_after, &missing, at(2)));
        assert_eq!(deal_again(&mut board, lost_after, &missing, at(2)).len(), 1);
        assert!(!board.all_fetched());
    }

    #[test]
    fn quiet_is_measured_from_the_last_change() {
        let lost_after = Duration::from_mins(1);
        assert!(!is_quiet(at(0), at(60), lost_after));
        assert!(is_quiet(at(0), at(61), lost_after));
    }
}
