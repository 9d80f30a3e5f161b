//! A district's night: handlers as they are over an embedded store, a bus that keeps what is published, a fetcher and a
//! writer of a few lines.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, Utc};
use rollcall_classifier::{
    ClassifierConfig,
    accept::{self, Accepted, NotEmpty},
    claim::Planners,
    close::CloseHandler,
    collect::CollectHandler,
    context::Context,
    plan_handler::PlanHandler,
    replay::{self, ReplayFrom},
};
use rollcall_proto::{
    bus::{Bus, BusError, Parked, ParkedFilter, QueueDepth, Subscription},
    clock::ManualClock,
    codec::Wire,
    handler::{Fate, Handler},
    id::{ConnectionNo, DistrictId, RunId},
    message::{Applied, Body, Fetch, Message, Page, Release},
    roster::Status,
    topology::Queue,
};
use rollcall_store::{
    Store,
    board::{Ask, Board, PageFacts},
    district::{ConnectionSecrets, District},
    replay::{Replay, ReplayLook, ReplayRefusal},
    run::{Discovery, NewRun, Run, Trigger},
    secret::Keyring,
};
use serde_json::{Value, json};
use sqlx::{Connection as _, SqliteConnection};

/// A bus that keeps what is published.
#[derive(Default)]
pub(crate) struct Kept(pub(crate) Mutex<VecDeque<Message>>);

fn away() -> BusError {
    BusError::Unavailable { operation: "do this in a test", source: None }
}

#[async_trait]
impl Bus for Kept {
    async fn publish(&self, messages: &[Message]) -> Result<(), BusError> {
        let arrive = |message: &Message| Wire::pack(message).unwrap().unpack().unwrap();
        self.0.lock().unwrap().extend(messages.iter().map(arrive));
        Ok(())
    }

    async fn subscribe(&self, _: Queue, _: u16) -> Result<Box<dyn Subscription>, BusError> {
        Err(away())
    }

    async fn depths(&self) -> Result<Vec<QueueDepth>, BusError> {
        Err(away())
    }

    async fn parked(&self, _: Queue, _: &ParkedFilter) -> Result<Vec<Parked>, BusError> {
        Err(away())
    }

    async fn replay(&self, _: Queue, _: &ParkedFilter) -> Result<Vec<Parked>, BusError> {
        Err(away())
    }

    async fn purge(&self, _: Queue) -> Result<u64, BusError> {
        self.0.lock().unwrap().clear();
        Ok(0)
    }

    async fn check(&self) -> Result<(), BusError> {
        Ok(())
    }
}

/// Rows by resource.
pub(crate) type Sis = BTreeMap<&'static str, Vec<Value>>;

pub(crate) fn sis(students: i64) -> Sis {
    let mut sis = Sis::new();
    sis.insert("District/SchoolYear", vec![json!({"SchoolYearID": 9, "NumericYear": 2026})]);
    sis.insert("District/Entity", vec![json!({"EntityID": 1, "SchoolYearIDCurrent": 9})]);
    sis.insert("Enrollment/WithdrawalCode", vec![json!({"WithdrawalCodeID": 7, "Code": "98", "SchoolYearID": 9})]);
    sis.insert("Student/Student", (1..=students).map(|id| json!({"StudentID": id, "NameID": id})).collect());
    sis.insert("Demographics/Name", (1..=students).map(|id| json!({"NameID": id, "LastName": "Li"})).collect());
    let spell = |id| json!({"EntryWithdrawalID": id, "StudentID": id, "EntityID": 1, "SchoolYearID": 9, "StartDate": "2025-08-13"});
    sis.insert("Enrollment/EntryWithdrawal", (1..=students).map(spell).collect());
    sis
}

fn district() -> District {
    serde_json::from_value(json!({
        "id": "oak", "name": "Oak", "time_zone": "America/Chicago",
        "connection": [{"kind": "skyward-qmlativ", "base_url": "https://example.org/API", "client_id": "c"}],
        "hold": {"max_removed_percent": 50.0},
    }))
    .unwrap()
}

pub(crate) struct Night {
    pub(crate) context: Context,
    pub(crate) kept: Arc<Kept>,
    pub(crate) clock: ManualClock,
    pub(crate) district: DistrictId,
    /// Overrides the body of a resource's pages.
    pub(crate) broken: BTreeMap<&'static str, &'static str>,
    /// What a second look finds, where it is not what the first one found.
    pub(crate) second: Option<Sis>,
    /// The entities that are asked.
    pub(crate) entities: Vec<i64>,
    /// What discovery finds.
    pub(crate) discovery: Discovery,
    /// Bodies lie in the store, as those too large for a message do.
    pub(crate) stashed: bool,
    pub(crate) parked: Vec<(&'static str, String)>,
    pub(crate) fetched_again: usize,
    dir: tempfile::TempDir,
}

impl Night {
    pub(crate) async fn new() -> Self {
        Self::of(&district()).await
    }

    pub(crate) async fn of(district: &District) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = Keyring::open_or_create(&dir.path().join("key")).unwrap();
        let store = Store::open_embedded(dir.path(), key).await.unwrap();
        let clock = ManualClock::new(DateTime::from_timestamp(1_762_150_000, 0).unwrap());
        let kept = Arc::new(Kept::default());
        let config = ClassifierConfig::default();
        let context = Context { store, bus: kept.clone(), clock: Arc::new(clock.clone()), config };
        let secrets = [ConnectionSecrets::default()];
        context.store.apply_district(district, &secrets, "test", context.clock.now()).await.unwrap();
        Self {
            context,
            kept,
            clock,
            district: district.id.clone(),
            broken: BTreeMap::new(),
            second: None,
            entities: vec![1],
            discovery: Discovery::default(),
            stashed: false,
            parked: Vec::new(),
            fetched_again: 0,
            dir,
        }
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.context.clock.now()
    }

    /// Makes a run, discovered, with its first lanes on the bus.
    pub(crate) async fn start(&mut self, sis: &Sis) -> RunId {
        let new = NewRun {
            district: self.district.clone(),
            trigger: Trigger::Manual,
            as_of: NaiveDate::from_ymd_opt(2025, 11, 3).unwrap(),
            plan_only: false,
            as_of_given: false,
            everything: false,
            requested_by: "test".to_owned(),
        };
        let store = &self.context.store;
        let run = store.create_run(&new, self.now()).await.unwrap().unwrap();
        store.start_run(&self.district, run.id, self.now()).await.unwrap();
        let ask = |resource: &str, entity| Ask {
            resource: resource.to_owned(),
            entity: Some(entity),
            essential: !resource.starts_with("Demographics/") && resource != "demographics",
            ..Ask::default()
        };
        let asks = sis.keys().flat_map(|resource| self.entities.iter().map(|entity| ask(resource, *entity)));
        let mut board = Board::new(asks.collect(), 2);
        let moves = board.deal(self.now());
        let first = ConnectionNo(0);
        store.save_discovery(&self.district, run.id, first, &self.discovery, &board).await.unwrap();
        for step in moves {
            let fetch = Fetch { connection: first, lane: step.lane, generation: step.generation };
            self.publish(run.id, Body::Fetch(fetch)).await;
        }
        run.id
    }

    async fn publish(&self, run: RunId, body: Body) {
        let message = Message::new(self.district.clone(), run, self.now(), body);
        self.context.bus.publish(&[message]).await.unwrap();
    }

    /// Beside the store, which may be busy.
    pub(crate) async fn database(&self) -> SqliteConnection {
        SqliteConnection::connect(self.dir.path().join("store.db").to_str().unwrap()).await.unwrap()
    }

    /// Has the database do something beside what the store does.
    pub(crate) async fn execute(&self, sql: &'static str) {
        sqlx::raw_sql(sql).execute(&mut self.database().await).await.unwrap();
    }

    pub(crate) fn next(&self) -> Option<Message> {
        self.kept.0.lock().unwrap().pop_front()
    }

    /// Works until nothing is left to do, every message twice.
    pub(crate) async fn work(&mut self, sis: &Sis) {
        let mut steps = 0;
        while let Some(message) = self.next() {
            steps += 1;
            assert!(steps < 2_000, "the run goes round in circles");
            for _ in 0..2 {
                self.handle(sis, message.clone()).await;
            }
        }
    }

    pub(crate) async fn handle(&mut self, sis: &Sis, message: Message) {
        let context = self.context.clone();
        let fate = match &message.body {
            Body::Fetch(fetch) => self.fetch(sis, &message, fetch).await,
            Body::Page(_) => CollectHandler::new(context).handle(message).await,
            Body::Plan(_) | Body::Release(_) => PlanHandler::new(context, Planners::mortal()).handle(message).await,
            Body::Applied(_) => CloseHandler::new(context).handle(message).await,
            Body::FlagSync(_) | Body::FlagPush(_) => Fate::Done,
            Body::Students(events) => {
                let store = &self.context.store;
                let outcome = store.apply_batch(&self.district, message.run, events, self.now()).await.unwrap();
                if outcome.run_settled {
                    self.publish(message.run, Body::Applied(Applied {})).await;
                }
                if outcome.release_more {
                    self.publish(message.run, Body::Release(Release {})).await;
                }
                Fate::Done
            }
            Body::Discover(_) | Body::Planned(_) => panic!("nothing of the kind arrives here"),
        };
        match fate {
            Fate::Done => {}
            Fate::Park(park) => self.parked.push((park.reason, park.detail)),
            Fate::Retry(retry) => panic!("{}: {}", retry.reason, retry.detail),
        }
    }

    /// A fetcher: one page a listing.
    async fn fetch(&mut self, sis: &Sis, message: &Message, fetch: &Fetch) -> Fate {
        let store = self.context.store.clone();
        let board = store.board(&message.district, message.run, fetch.connection).await.unwrap().unwrap();
        let Some((dealt, told)) = board.dealt(fetch.lane, fetch.generation) else { return Fate::Done };
        let (listing, page) = (dealt.listing, dealt.page);
        let ask = told.ask.clone();
        self.fetched_again += usize::from(ask.ids.is_some());
        let sis = self.second.as_ref().filter(|_| ask.ids.is_some()).unwrap_or(sis);
        let id_of =
            |row: &Value, field: &str| row[field].as_str().map_or_else(|| row[field].to_string(), str::to_owned);
        let resource = ask.resource.as_str();
        // Enrollments are told by their own entity.
        let is_own = |row: &Value| resource != "Enrollment/EntryWithdrawal" || row["EntityID"].as_i64() == ask.entity;
        let wanted = |row: &&Value| match &ask.ids {
            None => is_own(row),
            Some(filter) => is_own(row) && filter.ids.contains(&id_of(row, &filter.field)),
        };
        let rows: Vec<&Value> = sis[resource].iter().filter(wanted).collect();
        let envelope = if resource.contains('/') { "Objects" } else { resource };
        let plain = json!({"Paging": {"Next": null}, envelope: rows}).to_string();
        let body = self.broken.get(resource).map_or(plain, |body| (*body).to_owned());
        let facts = PageFacts { rows: rows.len() as u32, last: true, ..PageFacts::default() };
        let now = self.now();
        let change =
            |board: &mut Board| (board.pages_done(fetch.lane, fetch.generation, &[facts], now), board.all_fetched());
        let moves = store.with_board(&message.district, message.run, fetch.connection, change).await.unwrap();
        let compressed = zstd::bulk::compress(body.as_bytes(), 1).unwrap();
        if self.stashed {
            let place = (&message.district, message.run, fetch.connection);
            store.stash_raw(place.0, place.1, place.2, listing, page, &compressed).await.unwrap();
        }
        let page = Page {
            connection: fetch.connection,
            listing,
            page,
            status: 200,
            asked_at: now,
            took_ms: 1,
            content_type: None,
            body_bytes: body.len() as u64,
            told: None,
            body: (!self.stashed).then(|| compressed.into()),
        };
        self.publish(message.run, Body::Page(page)).await;
        for step in moves.flatten().unwrap() {
            let next = Fetch { connection: fetch.connection, lane: step.lane, generation: step.generation };
            self.publish(message.run, Body::Fetch(next)).await;
        }
        Fate::Done
    }

    pub(crate) async fn replay(&self, of: RunId, from: ReplayFrom) -> Result<Run, ReplayRefusal> {
        let district = self.district.clone();
        let wanted = Replay { district, of, look: ReplayLook::Stored, actor: "ada".to_owned() };
        replay::replay(&self.context, &wanted, from).await.unwrap()
    }

    pub(crate) async fn accept(&self, run: &Run, resource: &str) -> Result<Accepted, NotEmpty> {
        accept::accept(&self.context, run, &[resource.to_owned()], "ada").await.unwrap()
    }

    pub(crate) async fn pages_of(&self, run: RunId) -> usize {
        self.context.store.pages(&self.district, run).await.unwrap().len()
    }

    pub(crate) async fn run(&self, run: RunId) -> Run {
        self.context.store.run(&self.district, run).await.unwrap()
    }

    pub(crate) async fn night(&mut self, sis: &Sis) -> Run {
        let run = self.start(sis).await;
        self.work(sis).await;
        self.run(run).await
    }

    pub(crate) async fn status_of(&self, student: &str) -> Option<Status> {
        self.context.store.student(&self.district, student).await.unwrap().map(|detail| detail.row.status)
    }
}
