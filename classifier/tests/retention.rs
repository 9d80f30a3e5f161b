//! What is parked ages out once a day, noted before it is deleted. The bus is a list whose ages the tests choose; that real
//! buses list and discard alike is their conformance suite's business.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use rollcall_classifier::{ClassifierConfig, context::Context, reconcile, retention};
use rollcall_proto::{
    bus::{Bus, BusError, Parked, ParkedFilter, QueueDepth, Subscription},
    clock::ManualClock,
    id::{DistrictId, RunId},
    message::Message,
    topology::Queue,
};
use rollcall_store::{Store, audit::AuditEntry, chores::CHORES, district::ConnectionSecrets, secret::Keyring};
use sqlx::Connection as _;
use uuid::Uuid;

/// Parked messages, and what the audit trail said when each was thrown away.
struct Kept {
    parked: Mutex<Vec<Parked>>,
    store: Store,
    seen: Mutex<Vec<(Uuid, bool)>>,
    /// A queue that this process cannot reach.
    closed: Mutex<Option<Queue>>,
    /// Whoever wants to delete next is stopped before.
    dies: Mutex<bool>,
    /// How often somebody has looked into a queue.
    looks: Mutex<u32>,
}

fn away() -> BusError {
    BusError::Unavailable { operation: "do this in a test", source: None }
}

#[async_trait]
impl Bus for Kept {
    async fn publish(&self, _: &[Message]) -> Result<(), BusError> {
        Ok(())
    }

    async fn subscribe(&self, _: Queue, _: u16) -> Result<Box<dyn Subscription>, BusError> {
        Err(away())
    }

    async fn depths(&self) -> Result<Vec<QueueDepth>, BusError> {
        Err(away())
    }

    async fn parked(&self, queue: Queue, filter: &ParkedFilter) -> Result<Vec<Parked>, BusError> {
        *self.looks.lock().unwrap() += 1;
        if *self.closed.lock().unwrap() == Some(queue) {
            return Err(away());
        }
        let parked = self.parked.lock().unwrap();
        let admitted = parked.iter().filter(|parked| parked.queue == queue && filter.admits(parked));
        Ok(admitted.take(filter.limit.unwrap_or(usize::MAX)).cloned().collect())
    }

    async fn replay(&self, _: Queue, _: &ParkedFilter) -> Result<Vec<Parked>, BusError> {
        Err(away())
    }

    async fn discard(&self, queue: Queue, filter: &ParkedFilter) -> Result<Vec<Parked>, BusError> {
        if std::mem::take(&mut *self.dies.lock().unwrap()) {
            return Err(away());
        }
        let gone = self.parked(queue, filter).await?;
        let trail = self.store.audit_trail(&district(), 10_000).await.unwrap();
        let trail: String = trail.into_iter().map(|entry| entry.detail + "\n").collect();
        for parked in &gone {
            self.seen.lock().unwrap().push((parked.id, trail.contains(&parked.id.to_string())));
        }
        self.parked.lock().unwrap().retain(|parked| !gone.contains(parked));
        Ok(gone)
    }

    async fn purge(&self, _: Queue) -> Result<u64, BusError> {
        Err(away())
    }

    async fn check(&self) -> Result<(), BusError> {
        Ok(())
    }
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_762_150_000, 0).unwrap()
}

fn district() -> DistrictId {
    "oak".parse().unwrap()
}

fn parked(queue: Queue, days_ago: i64) -> Parked {
    Parked {
        id: Uuid::now_v7(),
        queue,
        kind: "page.raw".to_owned(),
        reason: "undecodable".to_owned(),
        detail: "line 1, column 2".to_owned(),
        district: Some(district()),
        run: Some(RunId(Uuid::from_u128(7))),
        parked_at: now() - TimeDelta::days(days_ago),
    }
}

struct Classifier {
    context: Context,
    kept: Arc<Kept>,
    clock: ManualClock,
    dir: tempfile::TempDir,
}

impl Classifier {
    async fn with(parked: Vec<Parked>, closed: Option<Queue>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = Keyring::open_or_create(&dir.path().join("key")).unwrap();
        let store = Store::open_embedded(dir.path(), key).await.unwrap();
        let clock = ManualClock::new(now());
        let (parked, closed, store_of_bus) = (Mutex::new(parked), Mutex::new(closed), store.clone());
        let (seen, dies, looks) = (Mutex::default(), Mutex::default(), Mutex::default());
        let kept = Arc::new(Kept { parked, store: store_of_bus, seen, closed, dies, looks });
        let config = ClassifierConfig::default();
        let context = Context { store, bus: kept.clone(), clock: Arc::new(clock.clone()), config };
        Self { context, kept, clock, dir }
    }

    /// As somebody beside Rollcall does it.
    async fn execute(&self, sql: &'static str) {
        let file = self.dir.path().join("store.db");
        let mut connection = sqlx::SqliteConnection::connect(&format!("sqlite://{}", file.display())).await.unwrap();
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    fn left(&self) -> Vec<Uuid> {
        self.kept.parked.lock().unwrap().iter().map(|parked| parked.id).collect()
    }

    /// When the database and the parked queues were last tidied.
    async fn done(&self) -> [DateTime<Utc>; 2] {
        let chores = self.context.store.chores_done().await.unwrap();
        CHORES.map(|(name, _)| chores[name])
    }

    async fn trail(&self) -> Vec<AuditEntry> {
        self.context.store.audit_trail(&district(), 10_000).await.unwrap()
    }
}

#[tokio::test]
async fn a_parked_message_is_noted_and_then_deleted_when_its_time_is_over() {
    let old = parked(Queue::Collect, 91);
    let nobodys = Parked { district: None, run: None, ..parked(Queue::Flags, 400) };
    let stays = [
        parked(Queue::Collect, 90),
        parked(Queue::Fetch, 1),
        Parked { parked_at: DateTime::UNIX_EPOCH, ..parked(Queue::Write, 0) },
    ];
    let all = [vec![old.clone(), nobodys.clone()], stays.to_vec()].concat();
    let classifier = Classifier::with(all, None).await;
    retention::tidy(&classifier.context, now()).await;

    assert_eq!(classifier.left(), stays.map(|parked| parked.id), "the last one's age nobody knows");
    assert_eq!(*classifier.kept.seen.lock().unwrap(), [(old.id, true), (nobodys.id, false)]);
    let trail = classifier.trail().await;
    assert_eq!(trail.len(), 1);
    assert_eq!((trail[0].actor.as_str(), trail[0].action.as_str()), ("retention", "parked.expired"));
    assert_eq!((trail[0].run, trail[0].at), (old.run, now()));
    let day = old.parked_at.date_naive();
    let said = format!("message {} of rollcall.collect, kind page.raw, reason undecodable, parked {day}", old.id);
    assert_eq!(trail[0].detail, said);
}

#[tokio::test]
async fn every_queue_is_tidied_however_much_there_is() {
    let all: Vec<Parked> = (0..2_500).map(|number| parked(Queue::ALL[usize::from(number > 1_050) * 6], 100)).collect();
    let classifier = Classifier::with(all, None).await;
    retention::tidy(&classifier.context, now()).await;
    assert_eq!(classifier.left(), [] as [Uuid; 0]);
    assert_eq!(classifier.trail().await.len(), 2_500);
    assert!(classifier.kept.seen.lock().unwrap().iter().all(|(_, noted)| *noted));
}

#[tokio::test]
async fn what_cannot_be_deleted_now_is_deleted_later() {
    let all = vec![parked(Queue::Collect, 91), parked(Queue::Flags, 91)];
    let classifier = Classifier::with(all, Some(Queue::Collect)).await;
    let due = retention::tidy(&classifier.context, now()).await;
    assert_eq!(due, now() + TimeDelta::hours(1));
    assert_eq!(classifier.left().len(), 1, "a queue out of reach keeps no other from being tidied");
    // What did not go well again and again is told by when it last did, or was first tried.
    let hours = |hours: i64| now() + TimeDelta::hours(hours);
    assert_eq!(classifier.done().await, [hours(0), hours(0)]);
    classifier.clock.advance(TimeDelta::hours(1));
    let due = retention::tidy(&classifier.context, due).await;
    assert_eq!(classifier.done().await, [hours(1), hours(0)]);
    *classifier.kept.closed.lock().unwrap() = None;
    classifier.clock.advance(TimeDelta::hours(1));
    retention::tidy(&classifier.context, due).await;
    assert_eq!(classifier.left(), [] as [Uuid; 0]);
    assert_eq!(classifier.done().await, [hours(2), hours(2)]);
}

/// Once it is mended, nobody has to wait for the hour to be over.
#[tokio::test]
async fn what_a_database_refuses_to_delete_is_tried_again_by_a_classifier_that_starts() {
    let classifier = Classifier::with(Vec::new(), None).await;
    let known = serde_json::json!({
        "id": district(), "name": "Invented", "time_zone": "America/Chicago",
        "connection": [{"kind": "skyward-qmlativ", "base_url": "https://sis.example/API", "client_id": "c"}],
    });
    let (known, secrets) = (serde_json::from_value(known).unwrap(), [ConnectionSecrets::default()]);
    classifier.context.store.apply_district(&known, &secrets, "test", now()).await.unwrap();
    classifier.execute("ALTER TABLE plan_batch RENAME TO plan_batch_away").await;
    retention::tidy(&classifier.context, now()).await;
    classifier.clock.advance(TimeDelta::minutes(5));
    let started = || async { retention::tidy(&classifier.context, classifier.context.clock.now()).await };
    started().await;
    assert_eq!(classifier.done().await, [now(), now()], "by when it was first tried");
    classifier.execute("ALTER TABLE plan_batch_away RENAME TO plan_batch").await;
    classifier.clock.advance(TimeDelta::minutes(5));
    started().await;
    assert_eq!(classifier.done().await, [now() + TimeDelta::minutes(10), now()]);
}

#[tokio::test]
async fn of_many_classifiers_one_looks_and_none_again_that_day() {
    let classifier = Classifier::with(vec![parked(Queue::Collect, 91)], None).await;
    let many: Vec<_> = (0..4)
        .map(|_| {
            let context = classifier.context.clone();
            tokio::spawn(async move { retention::tidy(&context, now()).await })
        })
        .collect();
    for one in many {
        assert_eq!(one.await.unwrap(), now() + TimeDelta::hours(1));
    }
    assert_eq!((classifier.left().len(), classifier.trail().await.len()), (0, 1));
    let looks = || *classifier.kept.looks.lock().unwrap();
    let of_one = looks();
    assert!(of_one <= Queue::ALL.len() as u32 + 2, "{of_one}: each queue once, and what was found until none was left");

    classifier.clock.advance(TimeDelta::hours(19));
    retention::tidy(&classifier.context, now()).await;
    assert_eq!(looks(), of_one, "an hour is no day");
    classifier.clock.advance(TimeDelta::hours(1));
    retention::tidy(&classifier.context, now()).await;
    assert!(looks() > of_one);
}

#[tokio::test]
async fn who_dies_over_it_is_followed_by_another_and_the_trail_says_it_once() {
    let classifier = Classifier::with(vec![parked(Queue::Collect, 91)], None).await;
    *classifier.kept.dies.lock().unwrap() = true;
    let due = retention::tidy(&classifier.context, now()).await;
    assert_eq!((classifier.left().len(), classifier.trail().await.len()), (1, 1), "noted, and not deleted");
    classifier.clock.advance(TimeDelta::hours(1));
    retention::tidy(&classifier.context, due).await;
    assert_eq!((classifier.left().len(), classifier.trail().await.len()), (0, 1));
}

#[tokio::test]
async fn the_reconciler_looks_at_once_and_every_hour() {
    let mut classifier = Classifier::with(vec![parked(Queue::Collect, 91), parked(Queue::Collect, 60)], None).await;
    classifier.context.config.reconcile_every = std::time::Duration::from_millis(5);
    let shutdown = tokio_util::sync::CancellationToken::new();
    let reconciler = tokio::spawn(reconcile::run(classifier.context.clone(), shutdown.clone()));
    until_left(&classifier, 1).await;
    classifier.clock.advance(TimeDelta::days(31));
    until_left(&classifier, 0).await;
    shutdown.cancel();
    reconciler.await.unwrap();
}

async fn until_left(classifier: &Classifier, count: usize) {
    let limit = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    while classifier.left().len() != count {
        assert!(tokio::time::Instant::now() < limit, "{:?}", classifier.left());
        tokio::task::yield_now().await;
    }
}
