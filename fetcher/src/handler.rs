//! The work on the fetch queue: discover a connection, fetch a page.
//!
//! A lane's message stands for a hand of pages, fetched one after another, and for the lane's next hands as long as little
//! time has gone by. Order of effects: the board is committed, then the pages and other lanes' messages are published in one
//! batch; after the last hand the lane's own next message is among them, and then the message is done. A crash in between
//! loses pages on the way, which the reconciler finds and deals again; the message that comes again leads to the hand that
//! the lane has by then. Pages that came back as the run before got them are noted in the board's transaction, and never
//! published.
//!
//! A page that cannot be had fails its listing where the status does not rest on it, and gives the pull up where it
//! does; either way the run goes on and says why, and this message is not parked. Where the SIS did answer, with something
//! that is no page, its last answer goes the way of all pages, before the board is changed: the collector keeps it sealed, and
//! parks its own message with where it could not be read. One of changes alone fails its listing too: the
//! planner, who sees it, asks for everything instead.

use std::{collections::BTreeMap, ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use rollcall_proto::{
    bus::SharedBus,
    clock::SharedClock,
    handler::{Fate, Handler, Retry},
    id::{ConnectionNo, ListingNo},
    message::{self, Body, Discover, Fetch, Message},
};
use rollcall_store::{
    Claim, Earlier, HandedIn, Store, StoreError, Unchanged,
    board::{Board, Dealt, LaneMove, Listing, PageFacts},
    run::{Discovery, Stage},
};

use tokio::time::Instant;

use crate::{
    at_work::at_work,
    config::FetcherConfig,
    delta::{self, Begun},
    error::{FetchError, SisError},
    fate::{Step, later, next_step, trouble},
    hand::{Before, Fetched, Hand, LARGEST_IN_MESSAGE, Trouble, Walked},
    net::{Http, room::Taken},
    outcome::advance,
    sources::{Opened, Sources},
    turn::Turn,
};

/// A SIS that asks a discovery to come back later, and answers nothing before it does, is given up after this long.
const LONGEST_DISCOVERY: Duration = Duration::from_mins(30);
/// As [`LONGEST_DISCOVERY`], of one that learns something with each turn: two processes of different versions, or with different keys
/// for secrets, count nothing that the other has learned.
const LONGEST_IN_TURNS: Duration = Duration::from_hours(6);

/// A lane's next hand is begun without another message for this long. Short, since other districts' lanes wait for their turn.
const GOES_ON: Duration = Duration::from_millis(300);

/// A page that is not there so long after its message came is asked for again: a unit of work, 20 s with handing in, is over. A request
/// takes less by itself.
const ENDS: Duration = Duration::from_secs(18);

/// The first pages of so many listings are looked for at once.
const FIRST_PAGES: u32 = 64;

/// See the module.
#[derive(Clone)]
pub struct FetchHandler {
    store: Store,
    bus: SharedBus,
    clock: SharedClock,
    sources: Sources,
    lost_after: Duration,
}

impl std::fmt::Debug for FetchHandler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FetchHandler").field("sources", &self.sources).finish_non_exhaustive()
    }
}

/// What a lane was found to have to do.
struct Job {
    /// The lane, and the generation of its hand.
    at: Fetch,
    dealt: Dealt,
    listing: Listing,
    recheck: bool,
}

impl Job {
    /// What a message stands for; `None` where it is done with.
    fn of(board: &Board, work: &Fetch) -> Option<Self> {
        let generation = board.called(work.lane, work.generation)?;
        let (dealt, listing) = board.dealt(work.lane, generation)?;
        let recheck = board.recheck_from.is_some_and(|from| dealt.listing.0 >= from);
        Some(Self { at: Fetch { generation, ..work.clone() }, dealt, listing: listing.clone(), recheck })
    }

    /// Whether the lane still has this hand. A board that a crash of the database set back deals its generations anew, and
    /// maybe other pages with them.
    fn is_at_work(&self, board: &Board) -> bool {
        let pages = |dealt: &Dealt| (dealt.listing, dealt.page, dealt.pages);
        board.dealt(self.at.lane, self.at.generation).is_some_and(|(dealt, _)| pages(&dealt) == pages(&self.dealt))
    }
}

/// What becomes of a lane whose page is to be asked for again later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    /// It does not count as lost meanwhile.
    Waits,
    /// It was told to wait too often.
    TooOften,
    /// Somebody else has got on with it.
    Elsewhere,
}

/// What a hand came to, and what it was compared with.
struct Done<'a> {
    earlier: &'a Earlier,
    pages: Vec<Fetched>,
    /// The lane's next hand is begun without another message.
    goes_on: bool,
}

/// First pages of listings as the run before had them. Most listings have no other, and whoever has fetched one goes on with the
/// next of them.
#[derive(Default)]
struct FirstPages {
    /// The listings that were looked for.
    of: Range<u32>,
    earlier: BTreeMap<ListingNo, Earlier>,
}

impl FetchHandler {
    /// A handler with no token and no connection yet.
    pub fn new(config: &FetcherConfig, store: Store, bus: SharedBus, clock: SharedClock) -> Result<Self, SisError> {
        let sources = Sources::new(config, store.clone(), Arc::clone(&clock))?;
        Ok(Self { store, bus, clock, sources, lost_after: config.lost_after })
    }

    /// The same, asking through a client that is there already. The configuration's time-outs and limits are not its.
    pub fn over(http: Http, config: &FetcherConfig, store: Store, bus: SharedBus, clock: SharedClock) -> Self {
        let sources = Sources::over(http, store.clone(), Arc::clone(&clock));
        Self { store, bus, clock, sources, lost_after: config.lost_after }
    }

    async fn discover(&self, message: &Message, work: &Discover) -> Result<Fate, FetchError> {
        let (district, run) = (&message.district, message.run);
        match self.store.take_lanes(district, run, work.connection, self.clock.now()).await? {
            Claim::Own => {}
            Claim::Over => {
                // Of a run that is not known here, or was erased, it is said.
                self.store.run(district, run).await?;
                return Ok(Fate::Done);
            }
            Claim::Taken(other) => {
                // The reconciler asks again when the lanes are free, however long that takes.
                tracing::debug!(%run, connection = %work.connection, %other, "a discovery waits for another run of the district");
                return Ok(Fate::Done);
            }
        }
        self.store.start_run(district, run, self.clock.now()).await?;
        let opened = match usable(self.sources.get_anew(district, run, work.connection).await)? {
            Ok(opened) => opened,
            Err(why) => return self.give_discovery_up(message, work.connection, (None, &why)).await,
        };
        let place = (district, run, work.connection);
        let turn = Turn::begin(&self.store, place, &opened.asked_by, &*self.clock).await?;
        let asked = Box::pin(self.ask_what_there_is(&opened, place, &turn));
        let beat = || self.discovery_goes_on(message);
        let Some(asked) = at_work((&*self.clock, self.lost_after), asked, beat).await else { return Ok(Fate::Done) };
        let begun = match asked? {
            Ok(begun) => begun,
            Err(error) => {
                turn.keep().await?;
                return self.discovery_failed(message, work, (&opened, turn.has_learned()), &error).await;
            }
        };
        let earlier = self.store.earlier_board(district, run, work.connection).await?;
        if let Some(moves) = begun.save(&self.store, place, earlier.as_ref(), self.clock.now()).await? {
            self.bus.publish(&self.lane_messages(message, work.connection, &moves)).await?;
        }
        Ok(Fate::Done)
    }

    /// The inner error is the source's, or that its turn is over.
    async fn ask_what_there_is(
        &self,
        opened: &Opened,
        place: delta::Place<'_>,
        turn: &Turn<'_>,
    ) -> Result<Result<Begun, SisError>, FetchError> {
        let mut found = match opened.source.discover(turn).await {
            Ok(found) => found,
            Err(error) => return Ok(Err(error)),
        };
        found.discovery.origin = Some(opened.origin.clone());
        found.asks.iter_mut().for_each(|ask| ask.page_size = Some(opened.page_size));
        Ok(delta::begin(&self.store, &*opened.source, opened.lanes, place, found, turn).await?)
    }

    /// Until its run is over. Of two discoveries, the first to end begins the pull.
    async fn discovery_goes_on(&self, message: &Message) -> bool {
        let (district, run) = (&message.district, message.run);
        let touched = self.store.touch_run(district, run, self.clock.now()).await;
        let stage = async {
            touched?;
            Ok::<_, StoreError>(self.store.run(district, run).await?.stage)
        };
        match stage.await {
            Ok(stage) => stage != Stage::Closed,
            Err(error) => {
                tracing::debug!(%run, error = crate::chain(&error), "a discovery under way could not say so");
                true
            }
        }
    }

    async fn discovery_failed(
        &self,
        message: &Message,
        work: &Discover,
        (opened, has_learned): (&Opened, bool),
        error: &SisError,
    ) -> Result<Fate, FetchError> {
        if matches!(error, SisError::Unfinished { .. }) {
            tracing::info!(run = %message.run, connection = %work.connection, %error, "a discovery goes on in another turn");
        } else {
            tracing::info!(run = %message.run, connection = %work.connection, attempt = message.attempt, %error, "discovery failed");
        }
        let now = self.clock.now();
        let (after, waits) = match next_step(error, message.attempt, opened.patient) {
            Step::Again(after) => (after, false),
            Step::Wait(after) if message.time + longest(has_learned) > now => (after, true),
            _ => {
                let found = not_granted(error, opened);
                return self.give_discovery_up(message, work.connection, (found.as_ref(), &error.explain())).await;
            }
        };
        // So that the reconciler does not take the wait for a lost message.
        self.store.touch_run(&message.district, message.run, now + self.bus.stays_away(after)).await?;
        Ok(later(error, after, waits))
    }

    async fn fetch(&self, message: &Message, work: &Fetch) -> Result<Fate, FetchError> {
        let Some(mut job) = self.job(message, work).await? else { return Ok(Fate::Done) };
        let opened = match usable(self.sources.get(&message.district, message.run, work.connection).await)? {
            Ok(opened) => opened,
            Err(why) => return self.page_lost(message, &job, &why, None).await,
        };
        if self.is_elsewhere(message, work.connection, &opened).await? {
            return self.pull_elsewhere(message, &job).await;
        }
        let (source, connection, clock) = (&*opened.source, work.connection, &*self.clock);
        let digester = self.store.page_digester(&message.district);
        let began = clock.now();
        let ends_at = Instant::now() + ENDS;
        let mut first_pages = FirstPages::default();
        loop {
            let earlier = self.earlier(message, &job, &mut first_pages).await?;
            let before = Before { earlier: &earlier, digester: &digester, sis: opened.sis };
            let http = self.sources.http();
            let hand =
                Hand { source, connection, listing: &job.listing, dealt: job.dealt, clock, before, ends_at, http };
            let beat = || self.lane_goes_on(message, &job);
            let walked = at_work((clock, self.lost_after), hand.walk(), beat).await;
            let Some(Walked { pages, trouble }) = walked.transpose()? else { return Ok(Fate::Done) };
            // What came in counts first. The page in trouble is dealt again, with attempts of its own, as is the next hand
            // of a message that has used some up.
            let so_far = (clock.now() - began).to_std();
            let goes_on = trouble.is_none() && message.attempt == 0 && so_far.is_ok_and(|so_far| so_far < GOES_ON);
            match trouble {
                Some(trouble) if pages.is_empty() => return self.page_failed(message, &job, &opened, trouble).await,
                _ => match self.hand_in(message, work, &job, Done { earlier: &earlier, pages, goes_on }).await? {
                    Some(next) => job = next,
                    None => return Ok(Fate::Done),
                },
            }
        }
    }

    /// Whether the district's file leads to another SIS by now than the pull began at. Nothing is known of a pull that began before
    /// this was noted.
    async fn is_elsewhere(
        &self,
        message: &Message,
        connection: ConnectionNo,
        opened: &Opened,
    ) -> Result<bool, FetchError> {
        let began_at = opened.began_at.get_or_try_init(|| async {
            let pulls = self.store.pulls(&message.district, message.run).await?;
            let own = pulls.into_iter().find(|pull| pull.connection == connection);
            Ok::<_, StoreError>(own.and_then(|pull| pull.discovery?.origin))
        });
        Ok(began_at.await?.as_ref().is_some_and(|began_at| *began_at != opened.origin))
    }

    /// Ids of another SIS are other people: the pull is given up, whatever its pages are for. Whom a second look asks for is not
    /// confirmed.
    async fn pull_elsewhere(&self, message: &Message, job: &Job) -> Result<Fate, FetchError> {
        let connection = job.at.connection;
        let why = format!(
            "other-sis: connection {connection} of the district leads to another SIS by now (kind, URL or id_prefix) than when the \
             run began to ask, and the run's pages are not of that one; start a new run"
        );
        if job.recheck {
            return self.page_lost(message, job, &why, None).await;
        }
        self.give_pull_up(message, connection, &why).await
    }

    /// The hand's pages as the run before had them. A second look asks for other students every night, and for changes
    /// since another time.
    async fn earlier(&self, message: &Message, job: &Job, first_pages: &mut FirstPages) -> Result<Earlier, FetchError> {
        if job.recheck || !job.listing.ask.is_whole() {
            return Ok(Earlier::default());
        }
        let (district, run, connection) = (&message.district, message.run, job.at.connection);
        let (listing, pages) = (job.dealt.listing, job.dealt.range());
        if pages != (1..2) {
            return Ok(self.store.earlier_pages(district, run, connection, listing, pages).await?);
        }
        if !first_pages.of.contains(&listing.0) {
            let of = listing.0..listing.0.saturating_add(FIRST_PAGES);
            let earlier = self.store.earlier_first_pages(district, run, connection, of.clone()).await?;
            *first_pages = FirstPages { of, earlier };
        }
        Ok(first_pages.earlier.get(&listing).cloned().unwrap_or_default())
    }

    /// What the lane is to do; `None` for a message of an older generation. A message that waited long in its queue
    /// renews the lane first, so that it does not count as lost in the middle of the request.
    async fn job(&self, message: &Message, work: &Fetch) -> Result<Option<Job>, FetchError> {
        let Some(board) = self.store.board_at_work(&message.district, message.run, work.connection).await? else {
            return Ok(None);
        };
        let Some(job) = Job::of(&board, work) else {
            self.learn(message, work, &board).await?;
            return Ok(None);
        };
        let now = self.clock.now();
        let waited = job.dealt.at + self.lost_after / 2 < now;
        if !waited {
            return Ok(Some(job));
        }
        let (lane, generation) = (job.at.lane, job.at.generation);
        let renewed = self.change_board(message, work, |board| board.take_up(lane, generation, now)).await?;
        Ok(renewed.unwrap_or(false).then_some(job))
    }

    /// A message that comes although its lane was given up was not lost, it waited behind others: the next ones of that lane
    /// are waited for longer.
    async fn learn(&self, message: &Message, work: &Fetch, board: &Board) -> Result<(), FetchError> {
        let waited = self.clock.now() - message.time;
        if let Some(patience) = board.came_late(work.lane, work.generation, waited) {
            self.change_board(message, work, |board| board.be_patient(work.lane, patience)).await?;
        }
        Ok(())
    }

    /// The hand is done, or as much of it as there was time for. Returns the lane's next one, to go on with.
    async fn hand_in(
        &self,
        message: &Message,
        work: &Fetch,
        job: &Job,
        Done { earlier, pages: fetched, goes_on }: Done<'_>,
    ) -> Result<Option<Job>, FetchError> {
        // Let go when all is handed in.
        let _room: Vec<Taken> = fetched.iter().map(|fetched| fetched.room.clone()).collect();
        let facts: Vec<PageFacts> = fetched.iter().map(|fetched| fetched.facts.clone()).collect();
        let Some(listing) = fetched.first().map(|fetched| fetched.page.listing) else { return Ok(None) };
        let unchanged: Vec<Unchanged> = fetched.iter().filter_map(Fetched::note).collect();
        let (changed, same): (Vec<_>, Vec<_>) = fetched.into_iter().partition(|fetched| fetched.unchanged.is_none());
        let mut pages = self.carried(message, changed).await?;
        let now = self.clock.now();
        let (lane, generation) = (job.at.lane, job.at.generation);
        let mut next = None;
        let change = |board: &mut Board| {
            if !job.is_at_work(board) {
                return None;
            }
            if !goes_on {
                return board.pages_done(lane, generation, &facts, now);
            }
            let gone_on = board.go_on((lane, generation, work.generation), &facts, now)?;
            next = gone_on.own.and_then(|generation| Job::of(board, &Fetch { generation, ..work.clone() }));
            Some(gone_on.others)
        };
        let place = (&message.district, message.run, work.connection);
        let handed = self.store.hand_in(place, (listing, earlier, &unchanged), now, change).await?;
        let Some(HandedIn { moves, kept, all_fetched }) = handed else { return Ok(None) };
        // What was there a moment ago is not any more: these are carried like any page.
        let gone = same.into_iter().filter(|same| !kept.contains(&same.page.page)).collect();
        pages.extend(self.carried(message, gone).await?);
        self.publish_pages(message, work, pages, &moves).await?;
        if all_fetched && !kept.is_empty() {
            // The last page may be one that no collector hears of.
            self.advance(message).await?;
        }
        Ok(next)
    }

    /// What the classifier gets. A body too large for a message is stored.
    async fn carried(&self, message: &Message, fetched: Vec<Fetched>) -> Result<Vec<message::Page>, FetchError> {
        let mut pages = Vec::with_capacity(fetched.len());
        for fetched in fetched {
            pages.push(self.fit(message, fetched.carried()?).await?);
        }
        Ok(pages)
    }

    async fn fit(&self, message: &Message, mut page: message::Page) -> Result<message::Page, FetchError> {
        if let Some(body) = page.body.take_if(|body| body.len() > LARGEST_IN_MESSAGE) {
            let place = (page.connection, page.listing, page.page);
            self.store.stash_raw(&message.district, message.run, place.0, place.1, place.2, &body).await?;
        }
        Ok(page)
    }

    async fn publish_pages(
        &self,
        message: &Message,
        work: &Fetch,
        pages: Vec<message::Page>,
        moves: &[LaneMove],
    ) -> Result<(), FetchError> {
        let now = self.clock.now();
        let mut messages: Vec<Message> =
            pages.into_iter().map(|page| message.follow_up(now, Body::Page(page))).collect();
        messages.extend(self.lane_messages(message, work.connection, moves));
        if messages.is_empty() {
            return Ok(());
        }
        Ok(self.bus.publish(&messages).await?)
    }

    /// Changes the board of the lane's connection. `None`: there is none to change any more.
    async fn change_board<T: Send>(
        &self,
        message: &Message,
        of: &Fetch,
        change: impl FnOnce(&mut Board) -> T + Send,
    ) -> Result<Option<T>, FetchError> {
        let change = |board: &mut Board| (change(board), board.all_fetched());
        Ok(self.store.with_board(&message.district, message.run, of.connection, change).await?)
    }

    async fn page_failed(
        &self,
        message: &Message,
        job: &Job,
        opened: &Opened,
        Trouble { error, unread, room: _room }: Trouble,
    ) -> Result<Fate, FetchError> {
        tracing::info!(
            run = %message.run, connection = %job.at.connection, resource = job.listing.ask.resource, page = job.dealt.page.0,
            attempt = message.attempt, %error, "a page could not be fetched"
        );
        let (after, waits) = match next_step(&error, message.attempt, opened.patient) {
            Step::Again(after) => (after, false),
            Step::Wait(after) => (after, true),
            Step::GiveUp => return self.page_lost(message, job, &error.explain(), unread).await,
        };
        match self.hold_lane(message, job, after, waits).await? {
            Held::Waits => Ok(later(&error, after, waits)),
            Held::TooOften => self.page_lost(message, job, &error.explain(), unread).await,
            Held::Elsewhere => Ok(Fate::Done),
        }
    }

    /// Keeps the lane from counting as lost while its hand is asked for. False: it is another's by now.
    async fn lane_goes_on(&self, message: &Message, job: &Job) -> bool {
        let now = self.clock.now();
        let renew = |board: &mut Board| job.is_at_work(board) && board.renew(job.at.lane, job.at.generation, now);
        match self.change_board(message, &job.at, renew).await {
            Ok(renewed) => renewed.unwrap_or(false),
            Err(error) => {
                tracing::debug!(run = %message.run, error = crate::chain(&error), "a lane at work could not say so");
                true
            }
        }
    }

    /// Keeps the lane from counting as lost while its message waits.
    async fn hold_lane(&self, message: &Message, job: &Job, after: Duration, waits: bool) -> Result<Held, FetchError> {
        let until = self.clock.now() + self.bus.stays_away(after);
        let (lane, generation) = (job.at.lane, job.at.generation);
        let hold = |board: &mut Board| {
            if !job.is_at_work(board) {
                return Held::Elsewhere;
            }
            let held =
                if waits { board.postpone(lane, generation, until) } else { board.renew(lane, generation, until) };
            if held { Held::Waits } else { Held::TooOften }
        };
        // Without a board there is no pull any more, which the message finds out when it comes back.
        Ok(self.change_board(message, &job.at, hold).await?.unwrap_or(Held::Waits))
    }

    /// A page cannot be had: its listing fails, or with an essential one the whole pull. `unread` is what the SIS answered last.
    /// Nothing comes of a late attempt: meanwhile the listing may have ended before this page or begun anew, or the lane been
    /// dealt anew.
    async fn page_lost(
        &self,
        message: &Message,
        job: &Job,
        reason: &str,
        unread: Option<message::Page>,
    ) -> Result<Fate, FetchError> {
        let work = &job.at;
        let board = self.store.board(&message.district, message.run, work.connection).await?;
        if !board.is_some_and(|board| job.is_at_work(&board)) {
            return Ok(Fate::Done);
        }
        if let Some(page) = unread {
            let page = self.fit(message, page).await?;
            self.publish_pages(message, work, vec![page], &[]).await?;
        }
        let needed = job.listing.ask.essential && job.listing.ask.since.is_none();
        if needed && !job.recheck && !self.beyond_end_possible(job) {
            return self.give_pull_up(message, work.connection, reason).await;
        }
        let now = self.clock.now();
        let fail = |board: &mut Board| {
            job.is_at_work(board).then(|| board.listing_failed(work.lane, work.generation, reason, now)).flatten()
        };
        let moves = self.change_board(message, work, fail).await?.flatten().unwrap_or_default();
        if !moves.is_empty() {
            self.bus.publish(&self.lane_messages(message, work.connection, &moves)).await?;
        }
        self.advance(message).await?;
        Ok(Fate::Done)
    }

    /// Whether the page may lie beyond the end of its listing, where errors do not matter. The board judges that once
    /// the end is known.
    #[expect(clippy::unused_self, reason = "reads as part of the handler's decision")]
    fn beyond_end_possible(&self, job: &Job) -> bool {
        job.dealt.page.0 > 1 && job.listing.last_page.is_none()
    }

    /// Of two that discover at once, one may fail where the other has begun the pull: that goes on.
    async fn give_discovery_up(
        &self,
        message: &Message,
        connection: ConnectionNo,
        (found, reason): (Option<&Discovery>, &str),
    ) -> Result<Fate, FetchError> {
        let (district, run) = (&message.district, message.run);
        if self.store.fail_discovery(district, run, connection, (found, reason)).await? {
            tracing::warn!(%district, %run, %connection, reason, "a connection's pull is given up");
        } else {
            tracing::info!(%district, %run, %connection, reason, "a discovery failed that another one has settled");
        }
        self.advance(message).await?;
        Ok(Fate::Done)
    }

    async fn give_pull_up(
        &self,
        message: &Message,
        connection: ConnectionNo,
        reason: &str,
    ) -> Result<Fate, FetchError> {
        tracing::warn!(district = %message.district, run = %message.run, %connection, reason, "a connection's pull is given up");
        self.store.fail_pull(&message.district, message.run, connection, reason).await?;
        self.advance(message).await?;
        Ok(Fate::Done)
    }

    async fn advance(&self, message: &Message) -> Result<(), FetchError> {
        advance(&self.store, &self.bus, &message.district, message.run, self.clock.now()).await.map(drop)
    }

    fn lane_messages(&self, message: &Message, connection: ConnectionNo, moves: &[LaneMove]) -> Vec<Message> {
        let now = self.clock.now();
        let body = |step: &LaneMove| Body::Fetch(Fetch { connection, lane: step.lane, generation: step.generation });
        moves.iter().map(|step| message.follow_up(now, body(step))).collect()
    }

    async fn work(&self, message: &Message) -> Result<Fate, FetchError> {
        match &message.body {
            Body::Discover(work) => self.discover(message, work).await,
            Body::Fetch(work) => self.fetch(message, work).await,
            _ => Ok(Fate::park("wrong-queue", "not a message of the fetch queue")),
        }
    }

    /// Accounts for work whose attempts have run out.
    async fn account(&self, message: &Message, reason: &str) -> Result<Fate, FetchError> {
        match &message.body {
            Body::Discover(work) => self.give_discovery_up(message, work.connection, (None, reason)).await,
            Body::Fetch(work) => match self.job(message, work).await? {
                Some(job) => self.page_lost(message, &job, reason, None).await,
                None => Ok(Fate::Done),
            },
            _ => Ok(Fate::park("wrong-queue", "not a message of the fetch queue")),
        }
    }
}

/// What statuses rest on and is not granted: the planner fails the run by it, whatever other connections bring.
fn not_granted(error: &SisError, opened: &Opened) -> Option<Discovery> {
    let SisError::NotGranted { missing } = error else { return None };
    Some(Discovery { fatal: missing.clone(), origin: Some(opened.origin.clone()), ..Discovery::default() })
}

/// The outer error is the store's, to be retried; the inner one says why the connection cannot be asked at all.
fn usable(opened: Result<Opened, Arc<FetchError>>) -> Result<Result<Opened, String>, FetchError> {
    match opened {
        Ok(opened) => Ok(Ok(opened)),
        Err(error) => match (why_not(&error), Arc::try_unwrap(error)) {
            (Some(why), _) => Ok(Err(why)),
            (None, Ok(error)) => Err(error),
            (None, Err(shared)) => Err(FetchError::Shared(shared)),
        },
    }
}

/// Why a connection cannot be opened, where trying again would end the same: what its file says, and a key that does not open
/// its secrets.
fn why_not(error: &FetchError) -> Option<String> {
    match error {
        FetchError::Sis(error) => Some(error.explain()),
        FetchError::Store(error @ StoreError::Key(_)) => Some(error.to_string()),
        _ => None,
    }
}

const fn longest(learns: bool) -> Duration {
    if learns { LONGEST_IN_TURNS } else { LONGEST_DISCOVERY }
}

#[async_trait]
impl Handler for FetchHandler {
    async fn handle(&self, message: Message) -> Fate {
        match self.work(&message).await {
            Ok(fate) => fate,
            Err(error) => trouble(&error),
        }
    }

    async fn exhausted(&self, message: Message, retry: Retry) -> Fate {
        let reason = format!("{}: {}", retry.reason, retry.detail);
        match self.account(&message, &reason).await {
            Ok(fate) => fate,
            Err(error) if error.is_unknown() || error.is_transient() => trouble(&error),
            Err(_) => Fate::park(retry.reason, retry.detail),
        }
    }
}
