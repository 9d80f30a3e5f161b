//! A broker that is there and does not take what it is given: an alarm that lasts, a parked queue without room.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use lapin::{Connection, ConnectionProperties};
use rollcall_proto::{
    bus::{
        BusError, Outcome, ParkedFilter, SharedBus,
        amqp::{AmqpBus, AmqpConfig},
        worker::WorkerConfig,
    },
    handler::{Fate, Handler, Park},
    message::{Body, Message},
    topology::Queue,
};
use tokio::{sync::watch, time::timeout};
use uuid::Uuid;

use super::{
    amqp_only::ready,
    broker::Broker,
    next, parked_count, until, waiting_count,
    workers::{Recorder, Running},
};
use crate::samples::{fetch, students};

/// Longer than a consumer that hears nothing takes to give itself up, where messages wait and there is room for them.
const IN_VAIN: Duration = Duration::from_secs(12);

/// The lane of a message that is to be parked.
const BAD: u16 = 7;

async fn connected(broker: &Broker) -> SharedBus {
    Arc::new(AmqpBus::connect(AmqpConfig::new(broker.url())).await.unwrap())
}

fn raise(broker: &Broker) {
    broker.control(&["set_vm_memory_high_watermark", "absolute", "1MB"]);
}

fn clear(broker: &Broker) {
    broker.control(&["set_vm_memory_high_watermark", "0.6"]);
}

/// How often each message was seen.
fn times(seen: &[Uuid]) -> HashMap<Uuid, usize> {
    let mut times = HashMap::new();
    for id in seen {
        *times.entry(*id).or_default() += 1;
    }
    times
}

fn is_bad(message: &Message) -> bool {
    matches!(&message.body, Body::Fetch(work) if work.lane == BAD)
}

/// Publishes something for each message, as work does, and waits where that is not taken.
struct Publishing {
    bus: SharedBus,
    seen: std::sync::Mutex<Vec<Uuid>>,
}

impl Publishing {
    fn seen(&self) -> Vec<Uuid> {
        self.seen.lock().unwrap().clone()
    }
}

#[async_trait]
impl Handler for Publishing {
    async fn handle(&self, message: Message) -> Fate {
        let published = self.bus.publish(&[students(1)]).await;
        self.seen.lock().unwrap().push(message.id);
        match published {
            _ if is_bad(&message) => Fate::park("bad-one", "this one"),
            Ok(()) => Fate::Done,
            Err(error) => Fate::wait("bus-unavailable", error.to_string(), Duration::ZERO),
        }
    }
}

/// Whatever waits in a queue while the broker accepts nothing is delivered, handled once, and kept until the broker takes what
/// is to become of it: it does not go back, to be delivered and handled again and again until the broker gives it up.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_alarm_keeps_from_being_put_away_stays_in_hand() {
    super::log();
    let broker = Broker::start().await;
    let bus = connected(&broker).await;
    let sent: Vec<Message> = [BAD].into_iter().chain(100..115).map(fetch).collect();
    bus.publish(&sent).await.unwrap();
    raise(&broker);
    let publishing = Arc::new(Publishing { bus: Arc::clone(&bus), seen: std::sync::Mutex::default() });
    // Four at once and two ahead: no more can be in hand.
    let config = WorkerConfig { ahead: 2, ..WorkerConfig::new(4) };
    let worker = Running::start(Arc::clone(&bus), Queue::Fetch, publishing.clone(), config);
    until("six are in hand", async || publishing.seen().len() == 6).await;
    let more = timeout(IN_VAIN, until("more than these", async || publishing.seen().len() > 6)).await;
    assert!(more.is_err(), "all that is done in an alarm is done once: {:?}", times(&publishing.seen()));
    assert_eq!((worker.config.counters.retried(), worker.config.counters.parked()), (0, 0));

    clear(&broker);
    until("all are done, and one is parked", async || {
        worker.config.counters.done() == 15 && worker.config.counters.parked() == 1
    })
    .await;
    assert_eq!(worker.config.counters.retried(), 5, "once each");
    let times = times(&publishing.seen());
    assert!(times.values().all(|times| *times <= 2), "{times:?}");
    worker.stop().await;
    let parked = bus.parked(Queue::Fetch, &ParkedFilter::default()).await.unwrap();
    let parked: Vec<_> = parked.iter().map(|parked| (parked.id, parked.reason.as_str())).collect();
    assert_eq!(parked, [(sent[0].id, "bad-one")]);
    until("nothing waits", async || waiting_count(&bus, Queue::Fetch).await == 0).await;
}

/// A worker that is told to stop in an alarm has nothing to wait for: what it keeps goes back.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_stops_in_an_alarm_and_gives_back_what_it_keeps() {
    super::log();
    let broker = Broker::start().await;
    let bus = connected(&broker).await;
    bus.publish(&(100..103).map(fetch).collect::<Vec<_>>()).await.unwrap();
    raise(&broker);
    let publishing = Arc::new(Publishing { bus: Arc::clone(&bus), seen: std::sync::Mutex::default() });
    let worker = Running::start(Arc::clone(&bus), Queue::Fetch, publishing.clone(), WorkerConfig::new(4));
    until("all are in hand", async || publishing.seen().len() == 3).await;
    timeout(Duration::from_secs(10), worker.stop()).await.expect("within the time that a service manager grants");
    until("all are back", async || waiting_count(&bus, Queue::Fetch).await == 3).await;
    clear(&broker);
}

/// Holds each message until its id is named.
struct Held {
    seen: std::sync::Mutex<Vec<Uuid>>,
    named: watch::Sender<Vec<Uuid>>,
}

#[async_trait]
impl Handler for Held {
    async fn handle(&self, message: Message) -> Fate {
        self.seen.lock().unwrap().push(message.id);
        let mut named = self.named.subscribe();
        named.wait_for(|named| named.contains(&message.id)).await.unwrap();
        Fate::Done
    }
}

/// Whoever replays is told how a message ended, as long as that can be told. Acknowledgements do not wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_an_alarm_holds_up_holds_up_no_acknowledgement() {
    super::log();
    let broker = Broker::start().await;
    let bus = connected(&broker).await;
    let (replayed, told, other) = (students(1), students(1), students(1));
    bus.publish(&[replayed.clone(), told.clone()]).await.unwrap();
    let mut subscription = bus.subscribe(Queue::Write, 2).await.unwrap();
    for _ in 0..2 {
        let delivery = next(&mut subscription).await;
        subscription.park(&delivery, &Park { reason: "looked-at", detail: String::new() }).await.unwrap();
    }
    drop(subscription);
    until("both are parked", async || parked_count(&bus, Queue::Write).await == 2).await;
    let mut replay = bus.watched_replay(Queue::Write).await.unwrap();
    assert_eq!(replay.replay(&ParkedFilter::default()).await.unwrap().len(), 2);
    bus.publish(std::slice::from_ref(&other)).await.unwrap();

    let held = Arc::new(Held { seen: std::sync::Mutex::default(), named: watch::Sender::default() });
    let worker = Running::start(Arc::clone(&bus), Queue::Write, held.clone(), WorkerConfig::new(3));
    let done = async |number: u64| until("done", async || worker.config.counters.done() == number).await;
    until("all are in hand", async || held.seen.lock().unwrap().len() == 3).await;
    held.named.send_modify(|named| named.push(told.id));
    done(1).await;
    assert_eq!(replay.outcomes(super::LIMIT).await.unwrap(), [(told.id, Outcome::Done)]);

    raise(&broker);
    let error = bus.publish(&[fetch(1)]).await.unwrap_err();
    assert!(matches!(error, BusError::Blocked), "{error:?}");
    for (number, message) in [(2, &replayed), (3, &other)] {
        held.named.send_modify(|named| named.push(message.id));
        done(number).await;
    }
    assert_eq!(held.seen.lock().unwrap().len(), 3, "none came again");
    until("all are acknowledged", async || waiting_count(&bus, Queue::Write).await == 0).await;
    clear(&broker);
    worker.stop().await;
}

/// What cannot be parked keeps nothing else from being done, and does not wear itself out by deliveries.
#[tokio::test(flavor = "multi_thread")]
async fn what_there_is_no_room_for_among_the_parked_waits_apart() {
    super::log();
    let broker = Broker::start().await;
    let bus = connected(&broker).await;
    let full = r#"{"max-length":1,"overflow":"reject-publish"}"#;
    broker.control(&["set_policy", "full", r"^rollcall\.fetch\.parked$", full, "--apply-to", "queues"]);
    let recorder =
        Recorder::new(|message| if is_bad(message) { Fate::park("bad-one", "this one") } else { Fate::Done });
    let worker = Running::start(Arc::clone(&bus), Queue::Fetch, recorder.clone(), WorkerConfig::new(1));
    let counters = Arc::clone(&worker.config.counters);
    for bad in 0..6 {
        bus.publish(&[fetch(BAD)]).await.unwrap();
        until("it is put away", async || counters.parked() + counters.retried() > bad).await;
    }
    bus.publish(&[fetch(100)]).await.unwrap();
    until("the good one is done", async || counters.done() == 1).await;
    worker.stop().await;
    assert_eq!(recorder.attempts().len(), 7, "each was handled once");
    assert!(counters.parked() >= 1 && counters.retried() >= 1, "{counters:?}");
    assert_eq!(parked_count(&bus, Queue::Fetch).await, counters.parked());
    let connection = Connection::connect(&broker.url(), ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    assert_eq!(u64::from(ready(&channel, "rollcall.retry.1m").await), counters.retried());
}
