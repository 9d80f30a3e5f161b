//! Whole runs over an embedded store: handlers as they are, a bus that keeps what is published, a fetcher and a writer of a
//! few lines. Every message is handled twice, as a redelivery would have it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use rollcall_classifier::{
    ClassifierConfig, close::CloseHandler, collect::CollectHandler, context::Context, plan_handler::PlanHandler,
    reconcile,
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
    run::{Discovery, NewRun, Run, RunState, Stage, Trigger},
    secret::Keyring,
};
use serde_json::{Value, json};

/// A bus that keeps what is published.
#[derive(Default)]
struct Kept(Mutex<VecDeque<Message>>);

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
type Sis = BTreeMap<&'static str, Vec<Value>>;

fn sis(students: i64) -> Sis {
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

struct Night {
    context: Context,
    kept: Arc<Kept>,
    clock: ManualClock,
    district: DistrictId,
    /// Overrides the body of a resource's pages.
    broken: BTreeMap<&'static str, &'static str>,
    parked: Vec<(&'static str, String)>,
    fetched_again: usize,
    _dir: tempfile::TempDir,
}

impl Night {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = Keyring::open_or_create(&dir.path().join("key")).unwrap();
        let store = Store::open_embedded(dir.path(), key).await.unwrap();
        let clock = ManualClock::new(DateTime::from_timestamp(1_762_150_000, 0).unwrap());
        let kept = Arc::new(Kept::default());
        let config = ClassifierConfig::default();
        let context = Context { store, bus: kept.clone(), clock: Arc::new(clock.clone()), config };
        let district = district();
        let secrets = [ConnectionSecrets::default()];
        context.store.apply_district(&district, &secrets, "test", context.clock.now()).await.unwrap();
        Self {
            context,
            kept,
            clock,
            district: district.id,
            broken: BTreeMap::new(),
            parked: Vec::new(),
            fetched_again: 0,
            _dir: dir,
        }
    }

    fn now(&self) -> DateTime<Utc> {
        self.context.clock.now()
    }

    /// Makes a run, discovered, with its first lanes on the bus.
    async fn start(&mut self, sis: &Sis) -> RunId {
        let new = NewRun {
            district: self.district.clone(),
            trigger: Trigger::Manual,
            as_of: NaiveDate::from_ymd_opt(2025, 11, 3).unwrap(),
            plan_only: false,
            as_of_given: false,
            requested_by: "test".to_owned(),
        };
        let store = &self.context.store;
        let run = store.create_run(&new, self.now()).await.unwrap().unwrap();
        store.start_run(&self.district, run.id, self.now()).await.unwrap();
        let ask = |resource: &&str| Ask {
            resource: (*resource).to_owned(),
            entity: Some(1),
            essential: *resource != "Demographics/Name",
            ..Ask::default()
        };
        let mut board = Board::new(sis.keys().map(ask).collect(), 2);
        let moves = board.deal(self.now());
        let first = ConnectionNo(0);
        store.save_discovery(&self.district, run.id, first, &Discovery::default(), &board).await.unwrap();
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

    fn next(&self) -> Option<Message> {
        self.kept.0.lock().unwrap().pop_front()
    }

    /// Works until nothing is left to do, every message twice.
    async fn work(&mut self, sis: &Sis) {
        let mut steps = 0;
        while let Some(message) = self.next() {
            steps += 1;
            assert!(steps < 2_000, "the run goes round in circles");
            for _ in 0..2 {
                self.handle(sis, message.clone()).await;
            }
        }
    }

    async fn handle(&mut self, sis: &Sis, message: Message) {
        let context = self.context.clone();
        let fate = match &message.body {
            Body::Fetch(fetch) => self.fetch(sis, &message, fetch).await,
            Body::Page(_) => CollectHandler::new(context).handle(message).await,
            Body::Plan(_) | Body::Release(_) => PlanHandler::new(context).handle(message).await,
            Body::Applied(_) => CloseHandler::new(context).handle(message).await,
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
        let wanted = |row: &&Value| match &ask.ids {
            None => true,
            Some(filter) => filter.ids.contains(&row[&filter.field].to_string()),
        };
        let rows: Vec<&Value> = sis[ask.resource.as_str()].iter().filter(wanted).collect();
        let plain = json!({"Paging": {"Next": null}, "Objects": rows}).to_string();
        let body = self.broken.get(ask.resource.as_str()).map_or(plain, |body| (*body).to_owned());
        let facts = PageFacts { rows: rows.len() as u32, last: true, ..PageFacts::default() };
        let now = self.now();
        let change =
            |board: &mut Board| (board.pages_done(fetch.lane, fetch.generation, &[facts], now), board.all_fetched());
        let moves = store.with_board(&message.district, message.run, fetch.connection, change).await.unwrap();
        let page = Page {
            connection: fetch.connection,
            listing,
            page,
            status: 200,
            asked_at: now,
            took_ms: 1,
            content_type: None,
            body_bytes: body.len() as u64,
            body: Some(zstd::bulk::compress(body.as_bytes(), 1).unwrap().into()),
        };
        self.publish(message.run, Body::Page(page)).await;
        for step in moves.flatten().unwrap() {
            let next = Fetch { connection: fetch.connection, lane: step.lane, generation: step.generation };
            self.publish(message.run, Body::Fetch(next)).await;
        }
        Fate::Done
    }

    async fn run(&self, run: RunId) -> Run {
        self.context.store.run(&self.district, run).await.unwrap()
    }

    async fn night(&mut self, sis: &Sis) -> Run {
        let run = self.start(sis).await;
        self.work(sis).await;
        self.run(run).await
    }

    async fn status_of(&self, student: &str) -> Option<Status> {
        self.context.store.student(&self.district, student).await.unwrap().map(|detail| detail.row.status)
    }
}

#[tokio::test]
async fn a_first_night_then_an_unchanged_one() {
    let mut night = Night::new().await;
    let sis = sis(300);
    let first = night.night(&sis).await;
    assert_eq!((first.state, first.counts.added, first.counts.applied), (RunState::Succeeded, 300, 300), "{first:?}");
    assert_eq!(night.status_of("17").await, Some(Status::Enrolled));
    let second = night.night(&sis).await;
    assert_eq!((second.state, second.counts.unchanged, second.counts.applied), (RunState::Succeeded, 300, 0));
    assert!(night.parked.is_empty());
}

#[tokio::test]
async fn whoever_left_is_looked_at_again_and_taken_out() {
    let mut night = Night::new().await;
    let mut sis = sis(10);
    night.night(&sis).await;
    let spells = sis.get_mut("Enrollment/EntryWithdrawal").unwrap();
    spells[3]["EndDate"] = json!("2025-10-01");
    spells[3]["WithdrawalCodeID"] = json!(7);
    for rows in sis.values_mut() {
        rows.retain(|row| row["StudentID"] != json!(9));
    }
    let second = night.night(&sis).await;
    assert_eq!((second.state, second.counts.removed, second.counts.missing), (RunState::Succeeded, 2, 1), "{second:?}");
    assert_eq!(night.fetched_again, 2, "one list of ids for each of two listings");
    assert_eq!(night.status_of("4").await, Some(Status::Inactive));
    assert_eq!(night.status_of("9").await, Some(Status::Inactive));
    let third = night.night(&sis).await;
    assert_eq!((third.counts.unchanged, third.counts.applied), (10, 0));
}

#[tokio::test]
async fn a_page_that_does_not_decode_is_parked_and_the_run_goes_on() {
    let mut night = Night::new().await;
    let mut sis = sis(5);
    night.night(&sis).await;
    for row in sis.get_mut("Enrollment/EntryWithdrawal").unwrap() {
        row["EndDate"] = json!("2025-10-01");
    }
    night.broken.insert("Enrollment/EntryWithdrawal", "{\"Objects\":[\n{\"EntryWithdrawalID\":1,");
    let run = night.night(&sis).await;
    assert_eq!((run.state, run.counts.removed), (RunState::Partial, 0), "{run:?}");
    assert_eq!(night.status_of("3").await, Some(Status::Enrolled));
    let (reason, detail) = &night.parked[0];
    assert_eq!(*reason, "page-undecodable");
    assert!(detail.contains("line 2"), "{detail}");
}

#[tokio::test]
async fn too_many_removals_wait_for_a_person_and_are_looked_at_then() {
    let mut night = Night::new().await;
    let whole = sis(10);
    night.night(&whole).await;
    let half = sis(4);
    let held = night.night(&half).await;
    assert_eq!((held.state, held.counts.removed), (RunState::Held, 6), "{held:?}");
    assert_eq!(night.fetched_again, 0);
    let store = night.context.store.clone();
    let stage = store.approve(&night.district, held.id, "ada", night.now()).await.unwrap().unwrap();
    assert_eq!(stage, Stage::Recheck);
    night.context.ask_to_plan((&night.district, held.id), None).await.unwrap();
    night.work(&half).await;
    let run = night.run(held.id).await;
    assert_eq!((run.state, run.counts.removed, run.counts.applied), (RunState::Succeeded, 6, 6), "{run:?}");
    assert!(night.fetched_again > 0);
}

#[tokio::test]
async fn with_every_message_lost_at_every_step_the_run_still_ends_right() {
    let mut night = Night::new().await;
    let mut sis = sis(6);
    night.night(&sis).await;
    sis.get_mut("Demographics/Name").unwrap()[2]["LastName"] = json!("Lopez");
    for rows in sis.values_mut() {
        rows.retain(|row| row["StudentID"] != json!(5));
    }
    let run = night.start(&sis).await;
    let mut ended = false;
    for _ in 0..60 {
        // The classifier's own messages are lost; the fetcher's lanes and pages, and the writer's batches get through
        // once.
        while let Some(message) = night.next() {
            if !matches!(message.body, Body::Plan(_) | Body::Release(_) | Body::Applied(_)) {
                night.handle(&sis, message).await;
            }
        }
        if night.run(run).await.state.is_end() {
            ended = true;
            break;
        }
        night.clock.advance(TimeDelta::minutes(2));
        reconcile::tick(&night.context).await.unwrap();
        // What the reconciler publishes gets through, what follows from it does not.
        let owed: Vec<Message> = night.kept.0.lock().unwrap().drain(..).collect();
        for message in owed {
            night.handle(&sis, message).await;
        }
    }
    assert!(ended, "the run did not end: {:?}", night.run(run).await);
    let run = night.run(run).await;
    assert_eq!((run.state, run.counts.changed, run.counts.removed), (RunState::Succeeded, 1, 1));
}
