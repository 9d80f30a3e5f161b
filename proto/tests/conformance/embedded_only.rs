//! What only a file can be asked: several processes, one of which is killed, and fairness between districts.

use std::{
    collections::BTreeSet,
    fs::OpenOptions,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use rollcall_proto::{
    bus::{Bus as _, Delivery, SharedBus, embedded::EmbeddedBus, worker::WorkerConfig},
    handler::{Fate, Handler, Park, Retry},
    message::Message,
    topology::Queue,
};
use sqlx::Connection as _;
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    World,
    embedded::Embedded,
    next, until, waiting_count,
    workers::{Recorder, Running},
};
use crate::samples::{fetch, page};

/// Tells the test below that it is the child. The value is the directory to work in.
const CHILD: &str = "ROLLCALL_TEST_BUS_CHILD";

/// Notes each message in a file, one line each. What was written before a kill stays.
struct Notes(Mutex<std::fs::File>);

impl Notes {
    fn append_to(path: &Path) -> Self {
        Self(Mutex::new(OpenOptions::new().create(true).append(true).open(path).unwrap()))
    }

    fn note(&self, id: Uuid) {
        self.0.lock().unwrap().write_all(format!("{id}\n").as_bytes()).unwrap();
    }
}

#[async_trait]
impl Handler for Notes {
    async fn handle(&self, message: Message) -> Fate {
        self.note(message.id);
        Fate::Done
    }
}

/// Whole lines only: the last may have been cut by the kill.
fn noted(path: &Path) -> Vec<Uuid> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(|line| line.parse().unwrap()).collect()
}

/// Consumes one queue and publishes to another, until killed.
async fn be_killed(dir: PathBuf) {
    let bus: SharedBus = Arc::new(EmbeddedBus::open(dir.join("bus.db")).await.unwrap());
    let handled = Arc::new(Notes::append_to(&dir.join("handled")));
    let worker = Running::start(Arc::clone(&bus), Queue::Fetch, handled, WorkerConfig::new(4));
    let published = Notes::append_to(&dir.join("published"));
    loop {
        let batch: Vec<Message> = (0..8).map(|_| page(vec![7; 20_000].into())).collect();
        bus.publish(&batch).await.unwrap();
        for message in &batch {
            published.note(message.id);
        }
        assert!(!worker.is_finished(), "the worker ended by itself");
    }
}

fn spawn_child(dir: &Path) -> Child {
    let program = std::env::current_exe().unwrap();
    let test = "conformance::embedded_only::a_process_that_is_killed_loses_nothing";
    Command::new(program).args(["--exact", test, "--nocapture"]).env(CHILD, dir).spawn().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_loses_nothing() {
    #[expect(clippy::disallowed_methods, reason = "how the parent tells the child what it is")]
    if let Some(dir) = std::env::var_os(CHILD) {
        return be_killed(dir.into()).await;
    }
    let world = Embedded::start().await;
    let dir = world.file().parent().unwrap().to_owned();
    let sent: Vec<Message> = (0..3_000).map(fetch).collect();
    world.bus().publish(&sent).await.unwrap();
    let (handled, published) = (dir.join("handled"), dir.join("published"));
    for kill in 1..=3 {
        let mut child = spawn_child(&dir);
        let enough = 200 * kill;
        until("the child works", async || noted(&handled).len() >= enough && noted(&published).len() >= enough).await;
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let host = EmbeddedBus::open(world.file()).await.unwrap();
    host.recover_leases().await.unwrap();
    let (fetches, pages) = (Recorder::new(|_| Fate::Done), Recorder::new(|_| Fate::Done));
    let workers = [
        Running::start(world.bus(), Queue::Fetch, fetches.clone(), WorkerConfig::new(8)),
        Running::start(world.bus(), Queue::Collect, pages.clone(), WorkerConfig::new(8)),
    ];
    for queue in [Queue::Fetch, Queue::Collect] {
        until("all is handled", async || waiting_count(&world.bus(), queue).await == 0).await;
    }
    for worker in workers {
        worker.stop().await;
    }
    let everything: BTreeSet<Uuid> = noted(&handled).into_iter().chain(fetches.ids()).collect();
    assert_eq!(everything, sent.iter().map(|message| message.id).collect(), "every message was handled");
    let confirmed: BTreeSet<Uuid> = noted(&published).into_iter().collect();
    assert!(confirmed.is_subset(&pages.ids()), "every confirmed message is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_of_a_dead_process_run_out() {
    let world = Embedded::start().await;
    let dir = world.file().parent().unwrap().to_owned();
    world.bus().publish(&[fetch(1)]).await.unwrap();
    let mut subscription = world.bus().subscribe(Queue::Fetch, 1).await.unwrap();
    let begun = Instant::now();
    let held = next(&mut subscription).await;
    // What a killed process leaves behind: a lease that nobody renews.
    let copy = dir.join("copy.db");
    let vacuum = format!("VACUUM INTO '{}'", copy.display());
    let mut connection = sqlx::SqliteConnection::connect(&format!("sqlite:{}", world.file().display())).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(vacuum)).execute(&mut connection).await.unwrap();
    let after = EmbeddedBus::open(&copy).await.unwrap();
    let mut second = after.subscribe(Queue::Fetch, 1).await.unwrap();
    let again = next(&mut second).await;
    assert_eq!(id(&again), id(&held));
    assert!(begun.elapsed() > Duration::from_secs(5), "taken from under a living consumer after {:?}", begun.elapsed());
    // Meanwhile the living process has kept its own.
    assert!(tokio::time::timeout(Duration::from_millis(300), other(&world)).await.is_err());
}

async fn other(world: &Embedded) -> Delivery {
    let mut subscription = world.bus().subscribe(Queue::Fetch, 1).await.unwrap();
    subscription.next().await.unwrap()
}

fn id(delivery: &Delivery) -> Uuid {
    delivery.message.as_ref().unwrap().id
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_s_message_arrives_soon() {
    let world = Embedded::start().await;
    let other = EmbeddedBus::open(world.file()).await.unwrap();
    let mut subscription = world.bus().subscribe(Queue::Fetch, 1).await.unwrap();
    for lane in 0..3 {
        let sent = fetch(lane);
        let waiting = tokio::spawn(async move {
            let delivery = next(&mut subscription).await;
            (subscription, delivery)
        });
        other.publish(std::slice::from_ref(&sent)).await.unwrap();
        let begun = Instant::now();
        let (mut back, delivery) = waiting.await.unwrap();
        assert_eq!(id(&delivery), sent.id);
        assert!(begun.elapsed() < Duration::from_secs(5), "came after {:?}", begun.elapsed());
        back.ack(delivery).await.unwrap();
        subscription = back;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_district_does_not_wait_for_a_large_one() {
    let world = Embedded::start().await;
    let large: Vec<Message> = (0..2_000).map(fetch).collect();
    world.bus().publish(&large).await.unwrap();
    let mut subscription = world.bus().subscribe(Queue::Fetch, 1).await.unwrap();
    for _ in 0..100 {
        let delivery = next(&mut subscription).await;
        subscription.ack(delivery).await.unwrap();
    }
    let mut small: Vec<Message> = (0..10).map(fetch).collect();
    for message in &mut small {
        message.district = "tiny-isd".parse().unwrap();
    }
    world.bus().publish(&small).await.unwrap();
    let mut districts = Vec::new();
    for _ in 0..25 {
        let delivery = next(&mut subscription).await;
        districts.push(delivery.message.as_ref().unwrap().district.to_string());
        subscription.ack(delivery).await.unwrap();
    }
    let of_small = districts.iter().filter(|district| *district == "tiny-isd").count();
    assert_eq!(of_small, 10, "{districts:?}");
    assert!(districts[..10].iter().filter(|district| *district == "tiny-isd").count() <= 6, "{districts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_write_at_once() {
    let world = Embedded::start().await;
    let other: SharedBus = Arc::new(EmbeddedBus::open(world.file()).await.unwrap());
    let mut tasks = tokio::task::JoinSet::new();
    for bus in [world.bus(), other] {
        for _ in 0..4 {
            let bus = Arc::clone(&bus);
            tasks.spawn(async move {
                for lane in 0..50 {
                    bus.publish(&[fetch(lane), fetch(lane)]).await.unwrap();
                }
            });
        }
    }
    tasks.join_all().await;
    assert_eq!(waiting_count(&world.bus(), Queue::Fetch).await, 800);
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_refused() {
    let world = Embedded::start().await;
    let mut connection = sqlx::SqliteConnection::connect(&format!("sqlite:{}", world.file().display())).await.unwrap();
    sqlx::raw_sql("PRAGMA user_version = 99").execute(&mut connection).await.unwrap();
    let error = EmbeddedBus::open(world.file()).await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("version 99"), "{source}");
}

/// The number of the one row there is.
async fn row(world: &Embedded) -> i64 {
    let mut connection = sqlx::SqliteConnection::connect(world.file().to_str().unwrap()).await.unwrap();
    sqlx::query_scalar("SELECT seq FROM messages").fetch_one(&mut connection).await.unwrap()
}

/// The first row of a table that was empty has the number of one before.
#[tokio::test(flavor = "multi_thread")]
async fn a_settlement_that_comes_late_touches_no_other_message() {
    let world = Embedded::start().await;
    let bus = world.bus();
    let mut subscription = bus.subscribe(Queue::Fetch, 9).await.unwrap();
    let (mut late, mut rows) = (Vec::new(), BTreeSet::new());
    for number in 0..3 {
        let message = fetch(number);
        bus.publish(std::slice::from_ref(&message)).await.unwrap();
        late.push(next(&mut subscription).await);
        rows.insert(row(&world).await);
        assert_eq!(bus.forget(&message.district).await.unwrap(), 1);
    }
    let other = fetch(3);
    bus.publish(std::slice::from_ref(&other)).await.unwrap();
    let in_hand = next(&mut subscription).await.message.unwrap();
    rows.insert(row(&world).await);
    assert_eq!(rows.len(), 1, "else nothing is tried here");

    let retry = Retry { reason: "later", detail: String::new(), after: Duration::ZERO, free: false };
    subscription.retry(&late.pop().unwrap(), &retry).await.unwrap();
    let park = Park { reason: "store-refused", detail: String::new() };
    subscription.park(&late.pop().unwrap(), &park).await.unwrap();
    subscription.ack(late.pop().unwrap()).await.unwrap();
    drop(subscription);
    // Given back when its subscription went: neither put off, nor parked, nor gone.
    let mut another = bus.subscribe(Queue::Fetch, 1).await.unwrap();
    let again = next(&mut another).await;
    let given = again.message.as_ref().unwrap();
    assert_eq!((given.id, given.attempt), (other.id, in_hand.attempt));
    assert_eq!(super::parked_count(&bus, Queue::Fetch).await, 0);
    another.ack(again).await.unwrap();
    until("it is done", async || waiting_count(&bus, Queue::Fetch).await == 0).await;
}
