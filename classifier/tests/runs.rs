//! Whole runs over an embedded store: handlers as they are, a bus that keeps what is published, a fetcher and a writer of a
//! few lines. Every message is handled twice, as a redelivery would have it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Write as _,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use rollcall_classifier::{
    ClassifierConfig,
    accept::{self, Accepted, NotEmpty},
    close::CloseHandler,
    collect::CollectHandler,
    context::Context,
    plan_handler::PlanHandler,
    reconcile,
    replay::{self, ReplayFrom},
    retention,
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
    page::NewPage,
    replay::{Replay, ReplayLook, ReplayRefusal},
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
    /// Bodies lie in the store, as those too large for a message do.
    stashed: bool,
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
            stashed: false,
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
            everything: false,
            requested_by: "test".to_owned(),
        };
        let store = &self.context.store;
        let run = store.create_run(&new, self.now()).await.unwrap().unwrap();
        store.start_run(&self.district, run.id, self.now()).await.unwrap();
        let ask = |resource: &&str| Ask {
            resource: (*resource).to_owned(),
            entity: Some(1),
            essential: !resource.starts_with("Demographics/"),
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
            body: (!self.stashed).then(|| compressed.into()),
        };
        self.publish(message.run, Body::Page(page)).await;
        for step in moves.flatten().unwrap() {
            let next = Fetch { connection: fetch.connection, lane: step.lane, generation: step.generation };
            self.publish(message.run, Body::Fetch(next)).await;
        }
        Fate::Done
    }

    async fn replay(&self, of: RunId, from: ReplayFrom) -> Result<Run, ReplayRefusal> {
        let district = self.district.clone();
        let wanted = Replay { district, of, look: ReplayLook::Stored, actor: "ada".to_owned() };
        replay::replay(&self.context, &wanted, from).await.unwrap()
    }

    async fn accept(&self, run: &Run, resource: &str) -> Result<Accepted, NotEmpty> {
        accept::accept(&self.context, run, &[resource.to_owned()], "ada").await.unwrap()
    }

    async fn pages_of(&self, run: RunId) -> usize {
        self.context.store.pages(&self.district, run).await.unwrap().len()
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

#[tokio::test]
async fn a_page_too_large_for_a_message_is_read_out_of_the_store() {
    let mut night = Night::new().await;
    night.stashed = true;
    // Texts that do not compress, so that the names' page is above what a message carries.
    let mut random = blake3::Hasher::new().update(b"names").finalize_xof();
    let mut sis = sis(40);
    for row in sis.get_mut("Demographics/Name").unwrap() {
        let mut noise = vec![0_u8; 80_000];
        random.fill(&mut noise);
        let mut name = String::new();
        for byte in noise {
            write!(name, "{byte:02x}").unwrap();
        }
        row["MiddleName"] = json!(name);
    }
    let run = night.night(&sis).await;
    assert_eq!((run.state, run.counts.added), (RunState::Succeeded, 40), "{run:?}");
    let names = (0..6).map(rollcall_proto::id::ListingNo);
    let mut largest = 0;
    for listing in names {
        let first = rollcall_proto::id::PageNo(1);
        let raw = night.context.store.raw_page(&night.district, run.id, ConnectionNo(0), listing, first).await.unwrap();
        largest = largest.max(raw.unwrap().len());
    }
    assert!(largest > 3 << 20, "{largest} bytes");
    let student = night.context.store.student(&night.district, "7").await.unwrap().unwrap();
    assert_eq!(student.record.person.middle_name.unwrap().len(), 160_000);
}

#[tokio::test]
async fn pages_and_plans_age_out_by_the_hour() {
    let mut night = Night::new().await;
    let whole = sis(5);
    let run = night.night(&whole).await;
    let lines = async |night: &Night| night.context.store.plan_lines(&night.district, run.id).await.unwrap().len();

    let due = retention::tidy(&night.context, night.now()).await;
    assert_eq!(due, night.now() + TimeDelta::hours(1));
    night.clock.advance(TimeDelta::days(7));
    retention::tidy(&night.context, night.now()).await;
    assert_eq!(night.pages_of(run.id).await, 6, "seven days are not over before they are over");
    night.clock.advance(TimeDelta::seconds(1));
    let later = night.now() + TimeDelta::minutes(59);
    assert_eq!(retention::tidy(&night.context, later).await, later, "it is not time to look");
    assert_eq!(night.pages_of(run.id).await, 6);
    retention::tidy(&night.context, night.now()).await;
    assert_eq!(night.pages_of(run.id).await, 0);
    assert_eq!(lines(&night).await, 5);
    night.clock.advance(TimeDelta::days(83));
    retention::tidy(&night.context, night.now()).await;
    assert_eq!(lines(&night).await, 0);
    let kept = night.run(run.id).await;
    assert_eq!((kept.state, kept.counts), (RunState::Succeeded, run.counts));
}

#[tokio::test]
async fn the_reconciler_tidies_when_it_starts_and_every_hour() {
    let mut night = Night::new().await;
    let whole = sis(5);
    let first = night.night(&whole).await;
    night.clock.advance(TimeDelta::days(8));
    let mut context = night.context.clone();
    context.config.reconcile_every = std::time::Duration::from_millis(5);
    let shutdown = tokio_util::sync::CancellationToken::new();
    let reconciler = tokio::spawn(reconcile::run(context, shutdown.clone()));
    until_no_pages(&night, first.id).await;
    let second = night.night(&whole).await;
    assert_eq!(night.pages_of(second.id).await, 6);
    night.clock.advance(TimeDelta::days(8));
    until_no_pages(&night, second.id).await;
    shutdown.cancel();
    reconciler.await.unwrap();
}

async fn until_no_pages(night: &Night, run: RunId) {
    let limit = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    while night.pages_of(run).await > 0 {
        assert!(tokio::time::Instant::now() < limit, "the pages are still there");
        tokio::task::yield_now().await;
    }
}

/// A night whose page of enrollments a program of long ago could not read, although the body is sound.
async fn misread(night: &mut Night, sis: &Sis) -> Run {
    let run = night.start(sis).await;
    let store = night.context.store.clone();
    // The page is collected as unreadable before its message is.
    let listing = sis.keys().position(|resource| *resource == "Enrollment/EntryWithdrawal").unwrap();
    let body = json!({"Objects": sis["Enrollment/EntryWithdrawal"]}).to_string();
    let page = NewPage {
        connection: ConnectionNo(0),
        listing: rollcall_proto::id::ListingNo(listing as u32),
        page: rollcall_proto::id::PageNo(1),
        status: 200,
        raw: Some(zstd::bulk::compress(body.as_bytes(), 1).unwrap()),
        fragments: Vec::new(),
        rows: 0,
        digest: [1; 16],
        body_digest: None,
        claimed_total: None,
        error: Some("this program does not read this listing".to_owned()),
        asked_at: night.now(),
        took_ms: 1,
        collected_at: night.now(),
    };
    night.broken.insert("Enrollment/EntryWithdrawal", "<html>");
    assert!(store.save_page(&night.district, run, &page).await.unwrap());
    night.work(sis).await;
    night.broken.clear();
    night.parked.clear();
    night.run(run).await
}

#[tokio::test]
async fn a_partial_run_is_read_again_and_planned_anew() {
    let mut night = Night::new().await;
    let mut sis = sis(8);
    night.night(&sis).await;
    for row in sis.get_mut("Enrollment/EntryWithdrawal").unwrap().iter_mut().take(2) {
        row["EndDate"] = json!("2025-10-01");
    }
    sis.get_mut("Demographics/Name").unwrap()[4]["LastName"] = json!("Lopez");
    let partial = misread(&mut night, &sis).await;
    assert_eq!((partial.state, partial.counts.removed), (RunState::Partial, 0), "{partial:?}");

    // Planned again from what was read: as partial as before.
    let same = night.replay(partial.id, ReplayFrom::Plan).await.unwrap();
    night.work(&sis).await;
    let same = night.run(same.id).await;
    assert_eq!((same.state, same.counts.removed), (RunState::Partial, 0), "{same:?}");
    // Read again: whole, but nobody was asked a second time about those two.
    let fetched = night.fetched_again;
    let whole = night.replay(same.id, ReplayFrom::Collect).await.unwrap();
    night.work(&sis).await;
    let whole = night.run(whole.id).await;
    assert_eq!((whole.state, whole.counts.removed, whole.counts.skipped), (RunState::Partial, 0, 2), "{whole:?}");
    assert!(whole.findings.iter().all(|finding| finding.code == "not-confirmed"), "{:?}", whole.findings);
    assert_eq!(night.fetched_again, fetched, "a replay asks the SIS nothing");
    assert_eq!(night.status_of("1").await, Some(Status::Enrolled));
    let name = night.context.store.student(&night.district, "5").await.unwrap().unwrap().record.person.last_name;
    assert_eq!(name.as_deref(), Some("Lopez"));
    assert_eq!(night.replay(partial.id, ReplayFrom::Plan).await, Err(ReplayRefusal::NewerRun(whole.id.to_string())));
    assert_eq!(night.run(partial.id).await, partial, "an ended run stays as it ended");
}

#[tokio::test]
async fn a_replay_takes_out_whom_the_stored_second_look_confirms() {
    let mut night = Night::new().await;
    let mut sis = sis(8);
    night.night(&sis).await;
    sis.get_mut("Enrollment/EntryWithdrawal").unwrap()[2]["EndDate"] = json!("2025-10-01");
    let run = night.start(&sis).await;
    // Everything up to the second plan, whose message is lost; then a person ends the run.
    while let Some(message) = night.next() {
        let stage = night.run(run).await.stage;
        if stage == Stage::Plan && night.fetched_again > 0 {
            break;
        }
        night.handle(&sis, message).await;
    }
    night.kept.purge(Queue::Plan).await.unwrap();
    assert_eq!(night.run(run).await.stage, Stage::Plan);
    assert!(night.context.store.cancel_run(&night.district, run, "ada", night.now()).await.unwrap());

    let fetched = night.fetched_again;
    let again = night.replay(run, ReplayFrom::Plan).await.unwrap();
    night.work(&sis).await;
    let again = night.run(again.id).await;
    assert_eq!((again.state, again.counts.removed), (RunState::Succeeded, 1), "{again:?}");
    assert_eq!(night.fetched_again, fetched);
    assert_eq!(night.status_of("3").await, Some(Status::Inactive));
}

#[tokio::test]
async fn a_held_plan_is_made_again_and_the_old_one_is_void() {
    let mut night = Night::new().await;
    night.night(&sis(10)).await;
    let half = sis(4);
    let held = night.night(&half).await;
    assert_eq!(held.state, RunState::Held);
    let again = night.replay(held.id, ReplayFrom::Plan).await.unwrap();
    night.work(&half).await;
    let again = night.run(again.id).await;
    assert_eq!((again.state, again.plan_hash == held.plan_hash), (RunState::Held, true), "equal input, equal plan");
    let void = night.run(held.id).await;
    assert_eq!((void.state, void.reason), (RunState::Discarded, Some(format!("superseded-by {}", again.id))));
}

#[tokio::test]
async fn an_accepted_emptiness_is_planned_at_once() {
    let mut night = Night::new().await;
    let mut sis = sis(6);
    let phone = |id| json!({"NamePhoneID": id, "NameID": id, "PhoneNumber": "5550100", "Rank": 1});
    sis.insert("Demographics/NamePhone", (1..=6).map(phone).collect());
    night.night(&sis).await;
    let phones = sis.insert("Demographics/NamePhone", Vec::new()).unwrap();
    let partial = night.night(&sis).await;
    assert_eq!((partial.state, partial.counts.changed), (RunState::Partial, 0), "{partial:?}");
    let stored = async |night: &Night| {
        night.context.store.student(&night.district, "2").await.unwrap().unwrap().record.person.phones.len()
    };
    assert_eq!(stored(&night).await, 1, "an empty listing changes nothing by itself");

    let refused = night.accept(&partial, "Student/Student").await.unwrap_err();
    assert_eq!(refused.empty, ["Demographics/NamePhone"]);
    assert!(refused.to_string().contains("Demographics/NamePhone"), "{refused}");
    let Accepted::PlannedAgain(again) = night.accept(&partial, "Demographics/NamePhone").await.unwrap() else {
        panic!("the run was not planned again")
    };
    night.work(&sis).await;
    // All six change, which is above the limit: judged as any plan is.
    let again = night.run(again.id).await;
    assert_eq!((again.state, again.counts.changed), (RunState::Held, 6), "{again:?}");
    let stage = night.context.store.approve(&night.district, again.id, "ada", night.now()).await.unwrap().unwrap();
    assert_eq!(stage, Stage::Release);
    night.context.ask_to_release((&night.district, again.id), None).await.unwrap();
    night.work(&sis).await;
    assert_eq!(night.run(again.id).await.state, RunState::Succeeded);
    assert_eq!(stored(&night).await, 0);
    assert!(matches!(night.accept(&partial, "Demographics/NamePhone").await.unwrap(), Accepted::Next(_)));
    sis.insert("Demographics/NamePhone", phones);
    assert_eq!(night.night(&sis).await.counts.changed, 6);
}

#[tokio::test]
async fn an_accepted_emptiness_asks_the_sis_before_it_takes_anyone_out() {
    let mut night = Night::new().await;
    let whole = sis(6);
    night.night(&whole).await;
    let mut none = sis(6);
    none.insert("Enrollment/EntryWithdrawal", Vec::new());
    let partial = night.night(&none).await;
    assert_eq!((partial.state, partial.counts.removed), (RunState::Partial, 0), "{partial:?}");
    let Accepted::PlannedAgain(again) = night.accept(&partial, "Enrollment/EntryWithdrawal").await.unwrap() else {
        panic!("the run was not planned again")
    };
    night.work(&none).await;
    assert_eq!(night.run(again.id).await.state, RunState::Held, "all of them are above the limit");
    let stage = night.context.store.approve(&night.district, again.id, "ada", night.now()).await.unwrap().unwrap();
    assert_eq!(stage, Stage::Recheck);
    night.context.ask_to_plan((&night.district, again.id), None).await.unwrap();
    // By now the SIS lists them again: nobody is taken out.
    night.work(&whole).await;
    let again = night.run(again.id).await;
    assert!(night.fetched_again > 0);
    assert_eq!((again.counts.removed, night.status_of("3").await), (0, Some(Status::Enrolled)), "{again:?}");
}
