//! A district's pull played through the handler, with the sandbox as SIS, a real store, and a bus that the test holds
//! in its hands: it decides which message is lost, doubled or late.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use rollcall_fetcher::{FetchHandler, FetcherConfig, Reconciler, launch};
use rollcall_proto::{
    bus::{Bus, BusError, Parked, ParkedFilter, QueueDepth, SharedBus, Subscription},
    clock::{Clock, ManualClock, SharedClock},
    handler::{Fate, Handler},
    id::{ConnectionNo, ListingNo, PageNo},
    message::{Body, Message, Page},
    topology::{ATTEMPTS, Queue},
};
use rollcall_sandbox::{Sandbox, SandboxConfig};
use rollcall_store::{
    CommitGate, Store,
    board::Board,
    district::{ConnectionSecrets, District, SisKind},
    page::NewPage,
    run::{NewRun, Pull, Run, Trigger},
    secret::Keyring,
};
use serde_json::json;

pub(crate) const STUDENTS: u32 = 60;

/// Keeps what is published.
#[derive(Default)]
pub(crate) struct Hand {
    messages: Mutex<VecDeque<Message>>,
    /// Seconds that a message which is to be handled again stays away at least.
    tier: AtomicU32,
}

impl Hand {
    pub(crate) fn take(&self) -> Vec<Message> {
        self.messages.lock().unwrap().drain(..).collect()
    }
}

#[async_trait]
impl Bus for Hand {
    async fn publish(&self, messages: &[Message]) -> Result<(), BusError> {
        self.messages.lock().unwrap().extend(messages.iter().cloned());
        Ok(())
    }

    fn stays_away(&self, after: Duration) -> Duration {
        after.max(Duration::from_secs(self.tier.load(Ordering::Relaxed).into()))
    }

    async fn subscribe(&self, _: Queue, _: u16) -> Result<Box<dyn Subscription>, BusError> {
        Err(BusError::Unavailable { operation: "subscribe", source: None })
    }

    async fn depths(&self) -> Result<Vec<QueueDepth>, BusError> {
        Ok(Vec::new())
    }

    async fn parked(&self, _: Queue, _: &ParkedFilter) -> Result<Vec<Parked>, BusError> {
        Ok(Vec::new())
    }

    async fn replay(&self, _: Queue, _: &ParkedFilter) -> Result<Vec<Parked>, BusError> {
        Ok(Vec::new())
    }

    async fn purge(&self, _: Queue) -> Result<u64, BusError> {
        Ok(0)
    }

    async fn check(&self) -> Result<(), BusError> {
        Ok(())
    }
}

/// What happens to a message on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Arrives,
    Twice,
    Lost,
}

/// See the module.
pub(crate) struct Night {
    pub(crate) sandbox: Arc<Sandbox>,
    pub(crate) store: Store,
    pub(crate) clock: ManualClock,
    pub(crate) run: Run,
    hand: Arc<Hand>,
    handler: Arc<FetchHandler>,
    reconciler: Reconciler,
    /// Ids seen, by resource.
    pub(crate) rows: BTreeMap<String, Vec<i64>>,
    pub(crate) parked: Vec<String>,
    /// Pages that were carried, and stored.
    pub(crate) collected: u32,
    /// Pages that were carried, and are no JSON: the classifier parks them.
    pub(crate) unread: Vec<(ListingNo, PageNo, Vec<u8>)>,
    handled: AtomicU32,
    dir: tempfile::TempDir,
}

pub(crate) fn district(sandbox: &Sandbox, extra: &serde_json::Value) -> District {
    let mut connection = json!({
        "kind": "skyward-qmlativ", "base_url": sandbox.base_url(), "client_id": sandbox.client_id(),
        "page_size": 7, "lanes": 4,
    });
    connection.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    let file = json!({"id": "d", "name": "D", "time_zone": "America/Chicago", "connection": [connection]});
    serde_json::from_value(file).unwrap()
}

/// Questions that the SIS was asked so far; asking for a token is none.
pub(crate) fn questions(sandbox: &Sandbox) -> u64 {
    let stats = sandbox.stats();
    stats.requests - stats.token_fetches
}

/// A page of the first connection that came in, and of which there is nothing to say.
pub(crate) fn a_page(listing: ListingNo, now: DateTime<Utc>) -> NewPage {
    NewPage {
        connection: ConnectionNo(0),
        listing,
        page: PageNo(1),
        status: 200,
        raw: None,
        fragments: b"fragments".to_vec(),
        rows: 1,
        digest: [1; 16],
        told: None,
        body_digest: None,
        claimed_total: None,
        error: None,
        asked_at: now,
        took_ms: 1,
        collected_at: now,
    }
}

pub(crate) async fn sandbox() -> Sandbox {
    Sandbox::start(SandboxConfig { students: STUDENTS, ..SandboxConfig::default() }).await.unwrap()
}

impl Night {
    pub(crate) async fn new(extra: &serde_json::Value) -> Self {
        Self::with(sandbox().await, extra).await
    }

    pub(crate) async fn with(sandbox: Sandbox, extra: &serde_json::Value) -> Self {
        Self::configured(sandbox, extra, FetcherConfig::default()).await
    }

    pub(crate) async fn configured(sandbox: Sandbox, extra: &serde_json::Value, config: FetcherConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = Keyring::create_file(&dir.path().join("key")).unwrap();
        let store = Store::open_embedded(dir.path(), key).await.unwrap();
        let clock = ManualClock::new(DateTime::from_timestamp(1_792_000_000, 0).unwrap());
        let hand = Arc::new(Hand::default());
        let bus: SharedBus = Arc::clone(&hand) as SharedBus;
        let secrets =
            ConnectionSecrets { client_secret: sandbox.client_secret().into(), ..ConnectionSecrets::default() };
        let district = district(&sandbox, extra);
        store.apply_district(&district, &[secrets], "test", clock.now()).await.unwrap();
        let config = FetcherConfig { allow_private_addresses: true, ..config };
        let shared = || Arc::new(clock.clone());
        let handler = FetchHandler::new(&config, store.clone(), Arc::clone(&bus), shared()).unwrap();
        let reconciler = Reconciler::new(&config, store.clone(), Arc::clone(&bus), shared());
        let new = NewRun {
            district: district.id.clone(),
            trigger: Trigger::Manual,
            as_of: sandbox.today(),
            plan_only: false,
            as_of_given: false,
            everything: false,
            requested_by: "test".to_owned(),
        };
        let run = launch(&store, &bus, &new, &clock).await.unwrap().unwrap();
        Self {
            sandbox: Arc::new(sandbox),
            store,
            clock,
            run,
            hand,
            handler: Arc::new(handler),
            reconciler,
            rows: BTreeMap::new(),
            parked: Vec::new(),
            collected: 0,
            unread: Vec::new(),
            handled: AtomicU32::new(0),
            dir,
        }
    }

    /// Plays until the run is told to plan. `way` says what becomes of each message, by its number. True: `large`.
    pub(crate) async fn play(&mut self, way: impl Fn(u32) -> Way) -> bool {
        for _ in 0..2_000 {
            let messages = self.hand.take();
            if messages.is_empty() {
                self.clock.advance(TimeDelta::seconds(130));
                self.reconciler.once().await.unwrap();
            }
            let mut work = Vec::new();
            for message in messages {
                let copies = match way(self.handled.fetch_add(1, Ordering::Relaxed)) {
                    Way::Arrives => 1,
                    Way::Twice => 2,
                    Way::Lost => 0,
                };
                for _ in 0..copies {
                    match &message.body {
                        Body::Page(page) => self.collect(page).await,
                        Body::Plan(plan) => return plan.large,
                        _ => work.push(message.clone()),
                    }
                }
            }
            self.handle_all(work).await;
            if self.all_collected().await {
                return false;
            }
        }
        panic!("the pull never ended: {:?}", self.pull().await);
    }

    /// As [`Night::play`], one message after another in an order that `seed` makes, each for one hand.
    pub(crate) async fn play_in_disorder(&mut self, seed: u64) {
        let mut dice = fastrand::Rng::with_seed(seed);
        for _ in 0..10_000 {
            let mut messages = self.hand.take();
            if messages.is_empty() {
                break;
            }
            let next = messages.swap_remove(dice.usize(..messages.len()));
            self.hand.publish(&messages).await.unwrap();
            match &next.body {
                Body::Page(page) => self.collect(page).await,
                Body::Plan(_) => {}
                // One that has failed before goes on with nothing.
                _ => self.handle_all(vec![Message { attempt: next.attempt.max(1), ..next }]).await,
            }
        }
        assert!(self.all_collected().await, "{:?}", self.pull().await);
    }

    /// Collects the pages that are still on the bus: a run waits for none that cannot be read.
    pub(crate) async fn collect_rest(&mut self) {
        for message in self.hand.take() {
            if let Body::Page(page) = &message.body {
                self.collect(page).await;
            }
        }
    }

    /// Ends the run, and begins the next night's.
    pub(crate) async fn next(&mut self) {
        let (district, now) = (self.run.district.clone(), self.clock.now());
        self.store.pulled(&district, self.run.id, now).await.unwrap();
        assert!(self.store.cancel_run(&district, self.run.id, "test", now).await.unwrap());
        self.launch().await;
    }

    /// Begins the next night's run.
    pub(crate) async fn launch(&mut self) {
        let new = NewRun {
            district: self.run.district.clone(),
            trigger: Trigger::Manual,
            as_of: self.sandbox.today(),
            plan_only: false,
            as_of_given: false,
            everything: false,
            requested_by: "test".to_owned(),
        };
        let bus: SharedBus = Arc::clone(&self.hand) as SharedBus;
        self.hand.take();
        self.run = launch(&self.store, &bus, &new, &self.clock).await.unwrap().unwrap();
        self.rows.clear();
        self.collected = 0;
    }

    /// Ids in the raw pages as the store has them, by resource. What lies beyond a listing's end is none of it.
    pub(crate) async fn stored_rows(&self) -> BTreeMap<String, Vec<i64>> {
        let mut rows: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        let board = self.board().await;
        let end = |listing: ListingNo| board.listings[listing.0 as usize].last_page;
        let pages = self.store.pages(&self.run.district, self.run.id).await.unwrap();
        for page in pages.into_iter().filter(|page| end(page.listing).is_none_or(|last| page.page.0 <= last)) {
            let place = (page.connection, page.listing, page.page);
            let raw = self.store.raw_page(&self.run.district, self.run.id, place.0, place.1, place.2).await.unwrap();
            let text = rollcall_proto::packed::decompress(&raw.unwrap(), 1 << 24).unwrap();
            let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
            let ask = &board.listings[page.listing.0 as usize].ask;
            let ids = value["Objects"].as_array().unwrap().iter().map(|row| row[&ask.fields[0]].as_i64().unwrap());
            rows.entry(ask.resource.clone()).or_default().extend(ids);
        }
        rows
    }

    /// What a fetcher says to the messages on the bus whose key opens nothing of the store's.
    pub(crate) async fn under_another_key(&self) -> Vec<Fate> {
        let key = Keyring::create_file(&self.dir.path().join("another")).unwrap();
        let store = Store::open_embedded(self.dir.path(), key).await.unwrap();
        let config = FetcherConfig { allow_private_addresses: true, ..FetcherConfig::default() };
        let bus = Arc::clone(&self.hand) as SharedBus;
        let handler = FetchHandler::new(&config, store, bus, Arc::new(self.clock.clone())).unwrap();
        let mut fates = Vec::new();
        for message in self.hand.take() {
            fates.push(handler.handle(message).await);
        }
        fates
    }

    /// The district's file is another one by now, and the fetcher is started anew.
    pub(crate) async fn apply_and_restart(&mut self, district: &District) {
        // All sandboxes have the same one.
        let client_secret = self.sandbox.client_secret().into();
        let secrets = ConnectionSecrets { client_secret, ..ConnectionSecrets::default() };
        self.store.apply_district(district, &[secrets], "test", self.clock.now()).await.unwrap();
        let config = FetcherConfig { allow_private_addresses: true, ..FetcherConfig::default() };
        let bus = Arc::clone(&self.hand) as SharedBus;
        let clock = Arc::new(self.clock.clone());
        self.handler = Arc::new(FetchHandler::new(&config, self.store.clone(), bus, clock).unwrap());
    }

    /// Another fetcher's handler.
    pub(crate) fn another(&self, clock: SharedClock) -> FetchHandler {
        self.over(self.store.clone(), clock)
    }

    /// As [`Night::another`], with a store of its own.
    pub(crate) fn over(&self, store: Store, clock: SharedClock) -> FetchHandler {
        let config = FetcherConfig { allow_private_addresses: true, ..FetcherConfig::default() };
        FetchHandler::new(&config, store, Arc::clone(&self.hand) as SharedBus, clock).unwrap()
    }

    /// The store, of which what is to be committed is undone where `gate` says no.
    pub(crate) async fn gated(&self, gate: CommitGate) -> Store {
        let key = Keyring::from_file(&self.dir.path().join("key")).unwrap();
        Store::open_embedded_gated(self.dir.path(), key, gate).await.unwrap()
    }

    /// A message that is to be handled again stays away for so many seconds at least from now on.
    pub(crate) fn wait_in_tiers_of(&self, seconds: u32) {
        self.hand.tier.store(seconds, Ordering::Relaxed);
    }

    /// What is on the bus, taken off it.
    pub(crate) fn take(&self) -> Vec<Message> {
        self.hand.take()
    }

    /// So many seconds pass, and somebody looks for what is lost. How many messages come of it.
    pub(crate) async fn reconciled_after(&self, seconds: i64) -> Vec<Message> {
        self.clock.advance(TimeDelta::seconds(seconds));
        self.reconciler.once().await.unwrap();
        self.take()
    }

    /// As `rollcall runs replay --from fetch` does.
    pub(crate) async fn ask_again(&self) -> usize {
        let open = self.store.open_runs().await.unwrap().remove(0);
        self.reconciler.ask_again(&open).await.unwrap()
    }

    /// All at once, as many fetchers would.
    pub(crate) async fn handle_all(&mut self, work: Vec<Message>) {
        let mut tasks = tokio::task::JoinSet::new();
        for message in work {
            let handler = Arc::clone(&self.handler);
            tasks.spawn(async move { (handler.handle(message.clone()).await, message) });
        }
        while let Some(done) = tasks.join_next().await {
            let (fate, message) = done.unwrap();
            self.settle(fate, message).await;
        }
    }

    /// A fetcher has it in hand, and the test goes on.
    pub(crate) fn begin(&self, message: Message) -> tokio::task::JoinHandle<Fate> {
        let handler = Arc::clone(&self.handler);
        tokio::spawn(async move { handler.handle(message).await })
    }

    async fn settle(&mut self, fate: Fate, message: Message) {
        match fate {
            Fate::Done => {}
            Fate::Park(park) => self.parked.push(format!("{}: {}", park.reason, park.detail)),
            Fate::Retry(retry) => {
                self.clock.advance(TimeDelta::from_std(retry.after.min(Duration::from_mins(1))).unwrap());
                let attempt = message.attempt + u32::from(!retry.free);
                let message = Message { attempt, ..message };
                if attempt < ATTEMPTS {
                    self.hand.publish(&[message]).await.unwrap();
                } else {
                    let fate = self.handler.exhausted(message, retry).await;
                    assert!(!matches!(fate, Fate::Retry(_)), "{fate:?}");
                }
            }
        }
    }

    /// What the classifier does, as far as this needs it.
    async fn collect(&mut self, page: &Page) {
        let (district, run) = (&self.run.district, self.run.id);
        let raw = match &page.body {
            Some(body) => body.to_vec(),
            None => {
                self.store.raw_page(district, run, page.connection, page.listing, page.page).await.unwrap().unwrap()
            }
        };
        let text = rollcall_proto::packed::decompress(&raw, page.body_bytes as usize).unwrap();
        assert_eq!(text.len() as u64, page.body_bytes);
        let Ok(value) = serde_json::from_slice::<serde_json::Value>(&text) else {
            self.unread.push((page.listing, page.page, text));
            return;
        };
        let objects = value["Objects"].as_array().unwrap();
        let board = self.board().await;
        let ask = &board.listings[page.listing.0 as usize].ask;
        let new = NewPage {
            connection: page.connection,
            listing: page.listing,
            page: page.page,
            status: page.status,
            raw: page.body.as_ref().map(|body| body.to_vec()),
            fragments: Vec::new(),
            rows: objects.len() as i64,
            digest: [0; 16],
            told: page.told.as_ref().map(|told| told.to_vec()),
            body_digest: Some(self.store.page_digester(district).of(
                SisKind::SkywardQmlativ,
                (&ask.resource, &ask.fields),
                &text,
            )),
            claimed_total: None,
            error: None,
            asked_at: page.asked_at,
            took_ms: page.took_ms,
            collected_at: self.clock.now(),
        };
        if self.store.save_page(district, run, &new).await.unwrap() {
            self.collected += 1;
            let ids = objects.iter().map(|row| row[&ask.fields[0]].as_i64().unwrap());
            self.rows.entry(ask.resource.clone()).or_default().extend(ids);
        }
    }

    async fn all_collected(&self) -> bool {
        let pages = self.store.pages(&self.run.district, self.run.id).await.unwrap();
        let known: BTreeSet<_> = pages.iter().map(|page| (page.listing, page.page)).collect();
        let Some(board) = self.store.board(&self.run.district, self.run.id, ConnectionNo(0)).await.unwrap() else {
            return false;
        };
        board.all_fetched() && board.missing(|listing, page| known.contains(&(listing, page))).is_empty()
    }

    pub(crate) async fn board(&self) -> Board {
        self.store.board(&self.run.district, self.run.id, ConnectionNo(0)).await.unwrap().unwrap()
    }

    pub(crate) async fn pull(&self) -> Pull {
        self.store.pulls(&self.run.district, self.run.id).await.unwrap().remove(0)
    }
}
