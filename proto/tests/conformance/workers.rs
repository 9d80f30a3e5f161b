//! The contract of `run_worker`, over each bus.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use rollcall_proto::{
    bus::{
        ParkedFilter, SharedBus,
        worker::{WorkerConfig, run_worker},
    },
    clock::SystemClock,
    handler::{Fate, Handler, Retry},
    message::Message,
    topology::{ATTEMPTS, Queue},
};
use tokio::{sync::Semaphore, task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{World, parked_count, until, waiting_count};
use crate::samples::{fetch, students};

/// A worker in the background.
pub struct Running {
    pub config: WorkerConfig,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    pub fn start(bus: SharedBus, queue: Queue, handler: Arc<dyn Handler>, config: WorkerConfig) -> Self {
        let stop = CancellationToken::new();
        let worker = run_worker(bus, queue, handler, config.clone(), Arc::new(SystemClock), stop.clone());
        Self { config, stop, task: tokio::spawn(worker) }
    }

    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

/// Remembers what it was given, and says what it is told to say.
pub struct Recorder<F> {
    pub seen: Mutex<Vec<Message>>,
    pub exhausted: Mutex<Vec<(Uuid, u32, &'static str)>>,
    say: F,
}

impl<F: Fn(&Message) -> Fate + Send + Sync + 'static> Recorder<F> {
    pub fn new(say: F) -> Arc<Self> {
        Arc::new(Self { seen: Mutex::default(), exhausted: Mutex::default(), say })
    }

    pub fn ids(&self) -> BTreeSet<Uuid> {
        self.seen.lock().unwrap().iter().map(|message| message.id).collect()
    }

    pub fn attempts(&self) -> Vec<u32> {
        self.seen.lock().unwrap().iter().map(|message| message.attempt).collect()
    }
}

#[async_trait]
impl<F: Fn(&Message) -> Fate + Send + Sync + 'static> Handler for Recorder<F> {
    async fn handle(&self, message: Message) -> Fate {
        let fate = (self.say)(&message);
        self.seen.lock().unwrap().push(message);
        fate
    }

    async fn exhausted(&self, message: Message, retry: Retry) -> Fate {
        self.exhausted.lock().unwrap().push((message.id, message.attempt, retry.reason));
        Fate::park(retry.reason, retry.detail)
    }
}

pub async fn ten_thousand_messages_are_handled(world: &impl World) {
    let sent: Vec<Message> = (0..10_000).map(fetch).collect();
    let recorder = Recorder::new(|_| Fate::Done);
    let begun = Instant::now();
    for batch in sent.chunks(256) {
        world.bus().publish(batch).await.unwrap();
    }
    let published = begun.elapsed();
    let worker = Running::start(world.bus(), Queue::Fetch, recorder.clone(), WorkerConfig::new(64));
    until("all are handled", async || worker.config.counters.done() >= 10_000).await;
    println!("10,000 messages: published in {published:?}, all done {:?} after the first", begun.elapsed());
    until("the queue is empty", async || waiting_count(&world.bus(), Queue::Fetch).await == 0).await;
    worker.stop().await;
    assert_eq!(recorder.ids(), sent.iter().map(|message| message.id).collect());
}

pub async fn attempts_run_out_and_the_handler_is_told(world: &impl World) {
    let sent = fetch(1);
    world.bus().publish(std::slice::from_ref(&sent)).await.unwrap();
    let recorder = Recorder::new(|_| Fate::retry("store-unavailable", "still", Duration::ZERO));
    let worker = Running::start(world.bus(), Queue::Fetch, recorder.clone(), WorkerConfig::new(1));
    until("it is parked", async || parked_count(&world.bus(), Queue::Fetch).await == 1).await;
    until("it is counted", async || worker.config.counters.parked() == 1).await;
    assert_eq!(recorder.attempts(), (0..ATTEMPTS).collect::<Vec<_>>());
    assert_eq!(*recorder.exhausted.lock().unwrap(), [(sent.id, ATTEMPTS - 1, "store-unavailable")]);
    assert_eq!(worker.config.counters.retried(), u64::from(ATTEMPTS - 1));
    worker.stop().await;
    let parked = world.bus().parked(Queue::Fetch, &ParkedFilter::default()).await.unwrap();
    assert_eq!(
        (parked[0].id, parked[0].reason.as_str(), parked[0].detail.as_str()),
        (sent.id, "store-unavailable", "still")
    );
}

pub async fn a_panic_is_a_failed_attempt(world: &impl World) {
    let sent = [fetch(1), fetch(2)];
    world.bus().publish(&sent).await.unwrap();
    let bad = sent[0].id;
    let recorder = Recorder::new(move |message| {
        assert!(message.id != bad || message.attempt > 0, "this message is bad the first time");
        Fate::Done
    });
    let worker = Running::start(world.bus(), Queue::Fetch, recorder.clone(), WorkerConfig::new(2));
    until("both are done", async || worker.config.counters.done() == 2).await;
    assert_eq!(worker.config.counters.retried(), 1);
    worker.stop().await;
    let second = recorder.seen.lock().unwrap().iter().find(|message| message.id == bad).map(|message| message.attempt);
    assert_eq!(second, Some(1));
}

/// Never comes to an end with one message.
struct Endless {
    bad: Uuid,
}

#[async_trait]
impl Handler for Endless {
    async fn handle(&self, message: Message) -> Fate {
        if message.id == self.bad {
            std::future::pending::<()>().await;
        }
        Fate::Done
    }
}

pub async fn a_handler_that_never_ends_is_a_failed_attempt(world: &impl World) {
    let sent = [fetch(1), fetch(2)];
    world.bus().publish(&sent).await.unwrap();
    let config = WorkerConfig { limit: Duration::from_millis(100), ..WorkerConfig::new(1) };
    let worker = Running::start(world.bus(), Queue::Fetch, Arc::new(Endless { bad: sent[0].id }), config);
    until("the good one is done, and the bad one tried again", async || {
        worker.config.counters.done() == 1 && worker.config.counters.retried() >= 1
    })
    .await;
    worker.stop().await;
}

pub async fn waiting_costs_no_attempt(world: &impl World) {
    world.bus().publish(&[fetch(1)]).await.unwrap();
    let turns = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&turns);
    let recorder = Recorder::new(move |_| match counted.fetch_add(1, Ordering::Relaxed) {
        turn if turn < ATTEMPTS + 2 => Fate::wait("rate-limited", "later", Duration::from_millis(1)),
        _ => Fate::Done,
    });
    let worker = Running::start(world.bus(), Queue::Fetch, recorder.clone(), WorkerConfig::new(1));
    until("it is done", async || worker.config.counters.done() == 1).await;
    worker.stop().await;
    assert_eq!(recorder.attempts(), vec![0; usize::try_from(ATTEMPTS).unwrap() + 3]);
}

pub async fn an_unreadable_message_is_parked(world: &impl World) {
    world.inject(Queue::Write, b"\x93 this is no message").await;
    let sent = students(2);
    world.bus().publish(std::slice::from_ref(&sent)).await.unwrap();
    let recorder = Recorder::new(|_| Fate::Done);
    let worker = Running::start(world.bus(), Queue::Write, recorder.clone(), WorkerConfig::new(2));
    until("one is done", async || worker.config.counters.done() == 1).await;
    until("one is parked", async || worker.config.counters.parked() == 1).await;
    worker.stop().await;
    assert_eq!(recorder.ids(), BTreeSet::from([sent.id]), "the handler saw only what can be read");
    let parked = world.bus().parked(Queue::Write, &ParkedFilter::default()).await.unwrap();
    assert_eq!(parked.len(), 1);
    assert_eq!((parked[0].reason.as_str(), parked[0].queue), ("undecodable", Queue::Write));
    assert!(!parked[0].detail.contains("message"), "no content: {}", parked[0].detail);
}

/// Holds every message until it is let go.
struct Gate {
    inside: AtomicUsize,
    most: AtomicUsize,
    open: Semaphore,
}

impl Gate {
    fn closed() -> Arc<Self> {
        Arc::new(Self { inside: AtomicUsize::new(0), most: AtomicUsize::new(0), open: Semaphore::new(0) })
    }
}

#[async_trait]
impl Handler for Gate {
    async fn handle(&self, _: Message) -> Fate {
        let inside = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(inside, Ordering::SeqCst);
        self.open.acquire().await.unwrap().forget();
        self.inside.fetch_sub(1, Ordering::SeqCst);
        Fate::Done
    }
}

pub async fn no_more_than_the_concurrency_is_in_hand(world: &impl World) {
    world.bus().publish(&(0..30).map(fetch).collect::<Vec<_>>()).await.unwrap();
    let gate = Gate::closed();
    let config = WorkerConfig { ahead: 10, ..WorkerConfig::new(4) };
    let worker = Running::start(world.bus(), Queue::Fetch, gate.clone(), config);
    until("four are in hand", async || gate.inside.load(Ordering::SeqCst) == 4).await;
    gate.open.add_permits(30);
    until("all are done", async || worker.config.counters.done() == 30).await;
    assert_eq!(gate.most.load(Ordering::SeqCst), 4);
    worker.stop().await;
}

pub async fn a_worker_told_to_stop_finishes_and_gives_back(world: &impl World) {
    world.bus().publish(&(0..10).map(fetch).collect::<Vec<_>>()).await.unwrap();
    let gate = Gate::closed();
    let worker =
        Running::start(world.bus(), Queue::Fetch, gate.clone(), WorkerConfig { ahead: 3, ..WorkerConfig::new(2) });
    until("two are in hand", async || gate.inside.load(Ordering::SeqCst) == 2).await;
    let counters = Arc::clone(&worker.config.counters);
    worker.stop.cancel();
    gate.open.add_permits(2);
    worker.stop().await;
    assert_eq!(counters.done(), 2, "what was in hand is finished, nothing new is begun");
    let rest = Recorder::new(|_| Fate::Done);
    let second = Running::start(world.bus(), Queue::Fetch, rest.clone(), WorkerConfig::new(8));
    until("the others come again at once", async || second.config.counters.done() == 8).await;
    second.stop().await;
    assert_eq!(rest.ids().len(), 8);
}

/// Takes messages together, unless one of them is a bad one.
struct Grouper {
    bad: Uuid,
    panics: bool,
    groups: Mutex<Vec<usize>>,
    alone: Mutex<Vec<Uuid>>,
}

impl Grouper {
    fn new(bad: Uuid, panics: bool) -> Arc<Self> {
        Arc::new(Self { bad, panics, groups: Mutex::default(), alone: Mutex::default() })
    }
}

#[async_trait]
impl Handler for Grouper {
    async fn handle(&self, message: Message) -> Fate {
        self.alone.lock().unwrap().push(message.id);
        if message.id == self.bad { Fate::park("bad-one", "this one") } else { Fate::Done }
    }

    fn together(&self) -> usize {
        8
    }

    async fn handle_together(&self, messages: Vec<Message>) -> Option<Vec<Fate>> {
        if messages.iter().any(|message| message.id == self.bad) {
            assert!(!self.panics, "a bad message is among them");
            return None;
        }
        self.groups.lock().unwrap().push(messages.len());
        Some(vec![Fate::Done; messages.len()])
    }
}

pub async fn what_waits_together_is_handled_together(world: &impl World) {
    world.bus().publish(&(0..64).map(fetch).collect::<Vec<_>>()).await.unwrap();
    let grouper = Grouper::new(Uuid::nil(), false);
    let worker = Running::start(world.bus(), Queue::Fetch, grouper.clone(), WorkerConfig::new(1));
    until("all are done", async || worker.config.counters.done() == 64).await;
    until("the queue is empty", async || waiting_count(&world.bus(), Queue::Fetch).await == 0).await;
    worker.stop().await;
    let groups = grouper.groups.lock().unwrap();
    assert!(groups.iter().all(|size| *size <= 8), "{groups:?}");
    assert!(groups.iter().any(|size| *size > 1), "{groups:?}");
    assert_eq!(groups.iter().sum::<usize>() + grouper.alone.lock().unwrap().len(), 64);
}

pub async fn one_bad_message_is_parked_alone_out_of_its_group(world: &impl World) {
    for panics in [false, true] {
        let sent: Vec<Message> = (0..24).map(fetch).collect();
        let grouper = Grouper::new(sent[11].id, panics);
        world.bus().publish(&sent).await.unwrap();
        let worker = Running::start(world.bus(), Queue::Fetch, grouper.clone(), WorkerConfig::new(1));
        until("the others are done", async || worker.config.counters.done() == 23).await;
        until("it is parked", async || worker.config.counters.parked() == 1).await;
        worker.stop().await;
        let parked = world.bus().parked(Queue::Fetch, &ParkedFilter::default()).await.unwrap();
        assert!(parked.iter().any(|parked| parked.id == sent[11].id && parked.reason == "bad-one"));
    }
    // The look above has held them; the broker counts them again when it has them back.
    until("both are parked", async || parked_count(&world.bus(), Queue::Fetch).await == 2).await;
}
