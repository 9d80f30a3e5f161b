//! What only a broker can do to a bus.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties,
    options::{BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions},
    types::{AMQPValue, FieldTable},
};
use rollcall_proto::{
    bus::{
        Bus as _, BusError, ParkedFilter, SharedBus,
        amqp::{AmqpBus, AmqpConfig},
        worker::WorkerConfig,
    },
    codec::Wire,
    handler::Fate,
    message::Message,
    topology::{EXCHANGE, Queue},
    trace::TraceContext,
};
use secrecy::SecretString;
use tokio::{net::lookup_host, task::JoinSet, time::Instant};
use uuid::Uuid;

use super::{
    World,
    amqp::Amqp,
    broker::Broker,
    frames::{BASIC_CANCEL, CHANNEL_CLOSE, CHANNEL_OPEN, Frames},
    next, until, waiting_count,
    workers::{Recorder, Running},
};
use crate::samples::{fetch, one_of_each, students};

/// Whoever keeps something for a message that waits has to know for how long.
#[tokio::test]
async fn a_wait_is_told_as_long_as_its_waiting_room_makes_it() {
    let bus = AmqpBus::on_demand(AmqpConfig::new("amqp://localhost"));
    for (after, stays) in [(0, 250), (1_000, 1_000), (1_001, 2_000), (150_000, 300_000), (900_000, 600_000)] {
        let (after, stays) = (Duration::from_millis(after), Duration::from_millis(stays));
        assert_eq!(bus.stays_away(after), stays, "{after:?}");
    }
}

/// Ends of four consumers at once.
const ENDS: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn properties_follow_the_convention() {
    let world = Amqp::start().await;
    let sent = students(100);
    world.bus().publish(std::slice::from_ref(&sent)).await.unwrap();
    let (_connection, channel) = world.raw().await;
    let got = channel.basic_get(Queue::Write.name().into(), BasicGetOptions { no_ack: true }).await.unwrap().unwrap();
    let properties = &got.delivery.properties;
    let text = |value: &Option<lapin::types::ShortString>| value.as_ref().map(ToString::to_string);
    assert_eq!(text(properties.message_id()), Some(sent.id.to_string()));
    assert_eq!(text(properties.correlation_id()), Some(sent.run.to_string()));
    assert_eq!(text(properties.content_type()).as_deref(), Some("application/msgpack"));
    assert_eq!(text(properties.content_encoding()).as_deref(), Some("zstd"));
    assert_eq!(text(properties.kind()).as_deref(), Some("student.events"));
    assert_eq!(*properties.delivery_mode(), Some(2));
    assert_eq!(*properties.timestamp(), Some(sent.time.timestamp().unsigned_abs()));
    let headers = properties.headers().as_ref().unwrap().inner();
    let expected = AMQPValue::LongString(TraceContext::of_message(&sent).to_string().into());
    assert_eq!(headers.get("traceparent"), Some(&expected));
    assert_eq!(got.delivery.routing_key.as_str(), "student.enrolled.lone-star-isd");
    assert_eq!(got.delivery.data.len(), Wire::pack(&sent).unwrap().len());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bindings_route_as_the_program_says() {
    let world = Amqp::start().await;
    let sent = one_of_each();
    world.bus().publish(&sent).await.unwrap();
    let (_connection, channel) = world.raw().await;
    for message in &sent {
        let queue = rollcall_proto::topology::queue_of(&message.body);
        let mut found = false;
        // Two kinds share a queue, so the other one may come first.
        for _ in 0..sent.len() {
            let Some(got) = channel.basic_get(queue.name().into(), BasicGetOptions { no_ack: false }).await.unwrap()
            else {
                break;
            };
            found |=
                got.delivery.properties.message_id().as_ref().map(ToString::to_string) == Some(message.id.to_string());
        }
        channel.basic_recover(lapin::options::BasicRecoverOptions { requeue: true }).await.unwrap();
        assert!(found, "{:?} is not in {}", message.body, queue.name());
    }
    world.stop().await;
}

/// A worker that goes on while something is done to its connections.
async fn survives(world: &Amqp, harm: impl AsyncFnOnce()) {
    let recorder = Recorder::new(|_| Fate::Done);
    let worker = Running::start(world.bus(), Queue::Fetch, recorder.clone(), WorkerConfig::new(8));
    let before: Vec<Message> = (0..100).map(fetch).collect();
    world.bus().publish(&before).await.unwrap();
    until("work before", async || worker.config.counters.done() >= 100).await;
    harm().await;
    let after: Vec<Message> = (0..100).map(fetch).collect();
    publish_until_taken(&world.bus(), &after).await;
    until("work after", async || after.iter().all(|message| recorder.ids().contains(&message.id))).await;
    worker.stop().await;
}

/// As a handler would: again, while the error is a passing one.
async fn publish_until_taken(bus: &SharedBus, messages: &[Message]) {
    until("published", async || match bus.publish(messages).await {
        Ok(()) => true,
        Err(error) => {
            assert!(error.is_transient(), "{error}");
            false
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_closed_by_the_broker_are_made_anew() {
    let world = Amqp::start().await;
    survives(&world, async || {
        until("both connections are listed", async || world.connections().await.len() >= 2).await;
        for name in world.connections().await {
            world.api.ask(reqwest::Method::DELETE, &["connections", &name]).await;
        }
    })
    .await;
    world.stop().await;
}

/// A frame that follows the close of its channel is a breach of the protocol, and costs every consumer of the process. The
/// client library cancels a consumer that nobody holds any more, whenever that suits it: so none is cancelled.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_consumer_that_ends_closes_its_channel_and_says_no_more() {
    let (api, url, vhost) = Amqp::empty_vhost().await;
    let mut url: reqwest::Url = url.parse().unwrap();
    let broker = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
    let (frames, port) = Frames::before(lookup_host(broker).await.unwrap().next().unwrap()).await;
    url.set_host(Some("127.0.0.1")).unwrap();
    url.set_port(Some(port)).unwrap();
    let bus = AmqpBus::connect(AmqpConfig::new(url.to_string())).await.unwrap();
    bus.publish(&[fetch(1)]).await.unwrap();
    let mut other = bus.subscribe(Queue::Fetch, 1).await.unwrap();
    let held = next(&mut other).await;
    for _ in 0..ENDS {
        let mut ending = JoinSet::new();
        for queue in [Queue::Collect, Queue::Plan, Queue::Write, Queue::Applied] {
            let subscription = bus.subscribe(queue, 1).await.unwrap();
            ending.spawn(async move { drop(subscription) });
        }
        ending.join_all().await;
    }
    let ended = || frames.sent().iter().filter(|(.., method)| *method == CHANNEL_CLOSE).count();
    until("all channels to be closed", async || ended() >= 4 * ENDS).await;
    other.ack(held).await.expect("the connection lives");
    let mut closed = BTreeSet::new();
    for (connection, channel, method) in frames.sent() {
        assert_ne!(method, BASIC_CANCEL, "a cancel that might have come after the close");
        match method {
            CHANNEL_OPEN => drop(closed.remove(&(connection, channel))),
            CHANNEL_CLOSE => assert!(closed.insert((connection, channel)), "closed twice"),
            _ => assert!(!closed.contains(&(connection, channel)), "{method:?} after the close of its channel"),
        }
    }
    api.ask(reqwest::Method::DELETE, &["vhosts", &vhost]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_deleted_under_its_consumer_is_declared_again() {
    let world = Amqp::start().await;
    survives(&world, async || {
        let (_connection, channel) = world.raw().await;
        channel.queue_delete(Queue::Fetch.name().into(), QueueDeleteOptions::default()).await.unwrap();
    })
    .await;
    world.stop().await;
}

/// The broker's half of the consumer then belongs to the old queue and drops what the new one delivers to it: the queue
/// shows a consumer and nothing that waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_deleted_and_made_again_in_the_same_moment_is_consumed_from() {
    let world = Amqp::start().await;
    survives(&world, async || {
        let (_connection, channel) = world.raw().await;
        for _ in 0..20 {
            let bus = world.bus();
            let flood = tokio::spawn(async move {
                for lane in 0..20 {
                    drop(bus.publish(&[fetch(lane)]).await);
                }
            });
            channel.queue_delete(Queue::Fetch.name().into(), QueueDeleteOptions::default()).await.unwrap();
            flood.await.unwrap();
        }
    })
    .await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_no_binding_wants_is_noticed_and_the_binding_restored() {
    let world = Amqp::start().await;
    let (_connection, channel) = world.raw().await;
    for pattern in Queue::Write.bindings() {
        let unbind =
            channel.queue_unbind(Queue::Write.name().into(), EXCHANGE.into(), (*pattern).into(), FieldTable::default());
        unbind.await.unwrap();
    }
    let mixed: Vec<Message> = (0..100).map(|lane| if lane % 2 == 0 { fetch(lane) } else { students(1) }).collect();
    world.bus().publish(&mixed).await.unwrap();
    for queue in [Queue::Fetch, Queue::Write] {
        until("each is in its queue, once", async || waiting_count(&world.bus(), queue).await == 50).await;
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_declared_otherwise_is_named() {
    let (api, url, vhost) = Amqp::empty_vhost().await;
    let connection = Connection::connect(&url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare("rollcall.plan".into(), options, FieldTable::default()).await.unwrap();
    let error = AmqpBus::connect(AmqpConfig::new(url)).await.unwrap_err();
    assert!(matches!(&error, BusError::Topology { name, .. } if name == "rollcall.plan"), "{error:?}");
    assert!(!error.is_transient());
    api.ask(reqwest::Method::DELETE, &["vhosts", &vhost]).await;
}

#[tokio::test]
async fn a_url_that_cannot_be_read_is_not_repeated() {
    let error = AmqpBus::connect(AmqpConfig::new(SecretString::from("amqp//guest:hunter2@x"))).await.unwrap_err();
    assert!(matches!(error, BusError::Url), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("hunter2"));
    let config = AmqpConfig::new("amqp://guest:hunter2@localhost");
    assert!(!format!("{config:?}").contains("hunter2"));
}

/// One test for all that needs a broker of its own, since starting one takes seconds.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_restarts_or_runs_short_of_memory_is_outlived() {
    super::log();
    let broker = Broker::start().await;
    let bus: SharedBus = Arc::new(AmqpBus::connect(AmqpConfig::new(broker.url())).await.unwrap());
    let recorder = Recorder::new(|_| Fate::Done);
    let worker = Running::start(Arc::clone(&bus), Queue::Fetch, recorder.clone(), WorkerConfig::new(8));
    let all_done = async |messages: &[Message]| {
        until("handled", async || messages.iter().all(|message| recorder.ids().contains(&message.id))).await;
    };

    // TLS, with a certificate that only the configuration makes trusted.
    let (url, certificate) = broker.tls();
    let untrusting = AmqpBus::connect(AmqpConfig::new(url.clone())).await.unwrap_err();
    assert!(matches!(untrusting, BusError::Unavailable { operation: "connect", .. }), "{untrusting:?}");
    let trusting =
        |url: String| AmqpConfig { certificate_authorities: Some(certificate.to_owned()), ..AmqpConfig::new(url) };
    // It is of `localhost`: whoever is reached by another name has not proved to be meant.
    let elsewhere = AmqpBus::connect(trusting(url.replace("@localhost:", "@127.0.0.1:"))).await.unwrap_err();
    let causes: Vec<String> = std::iter::successors(Some(&elsewhere as &dyn std::error::Error), |error| error.source())
        .map(|error| format!("{error:?}"))
        .collect();
    assert!(causes.iter().any(|cause| cause.contains("NotValidForName")), "{causes:#?}");
    let config = trusting(url);
    let encrypted = AmqpBus::connect(config).await.unwrap();
    let over_tls = [fetch(3)];
    encrypted.publish(&over_tls).await.unwrap();
    all_done(&over_tls).await;

    // A restart, with messages stored in a queue that nobody consumes meanwhile.
    let stored: Vec<Message> = (0..50).map(|_| students(2)).collect();
    bus.publish(&stored).await.unwrap();
    broker.shut_down();
    let error = bus.publish(&[fetch(1)]).await.unwrap_err();
    assert!(matches!(error, BusError::Unavailable { .. }), "{error:?}");
    broker.boot().await;
    let after: Vec<Message> = (0..50).map(fetch).collect();
    publish_until_taken(&bus, &after).await;
    all_done(&after).await;
    until("stored messages outlive it", async || waiting_count(&bus, Queue::Write).await == 50).await;

    // An alarm: publishing fails soon and says why, consuming goes on, and afterwards all is as before.
    broker.control(&["set_vm_memory_high_watermark", "absolute", "1MB"]);
    let begun = Instant::now();
    let error = bus.publish(&[fetch(2)]).await.unwrap_err();
    assert!(error.to_string().contains("alarm"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(10), "after {:?}", begun.elapsed());
    assert!(bus.check().await.unwrap_err().to_string().contains("alarm"));
    broker.control(&["set_vm_memory_high_watermark", "0.6"]);
    let last: Vec<Message> = (0..50).map(fetch).collect();
    publish_until_taken(&bus, &last).await;
    all_done(&last).await;
    bus.check().await.unwrap();
    worker.stop().await;
}

/// A message on its way from one queue to another, as a worker that wants it tried later would send it.
type Waiting = (BasicProperties, Vec<u8>);

/// Takes what waits in a queue, so many messages, by the broker's own protocol: nobody of ours declares anything.
async fn take(channel: &Channel, queue: &str, number: usize) -> Vec<Waiting> {
    let mut taken = Vec::new();
    until("all of them to be taken", async || {
        let got = channel.basic_get(queue.into(), BasicGetOptions { no_ack: true }).await.unwrap();
        taken.extend(got.map(|got| (got.delivery.properties, got.delivery.data)));
        taken.len() == number
    })
    .await;
    taken
}

pub async fn ready(channel: &Channel, queue: &str) -> u32 {
    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.into(), options, FieldTable::default()).await.unwrap().message_count()
}

/// Takes all that is in a queue and dies with it, again and again, until the broker has given it up.
async fn deliver_too_often(connection: &Connection, queue: &str) {
    let mut in_vain = 0;
    until("the broker to give them up", async || {
        let channel = connection.create_channel().await.unwrap();
        let mut taken = 0;
        while channel.basic_get(queue.into(), BasicGetOptions { no_ack: false }).await.unwrap().is_some() {
            taken += 1;
        }
        channel.close(200, "died".into()).await.unwrap();
        // What the last one had in hand may be on its way back.
        in_vain = if taken == 0 { in_vain + 1 } else { 0 };
        in_vain == 20
    })
    .await;
}

/// Between two queues a message is the broker's own to look after: a retry whose wait is over, work that was delivered too
/// often. Where the next queue is missing or the broker dies, it stays where it is until the next one has it.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_or_is_given_up_outlives_a_broker_that_is_killed() {
    super::log();
    let broker = Broker::start().await;
    let bus = AmqpBus::connect(AmqpConfig::new(broker.url())).await.unwrap();
    let retried: Vec<Message> = (0..60).map(fetch).collect();
    let given_up: Vec<Message> = (0..40).map(|_| students(1)).collect();
    bus.publish(&retried).await.unwrap();
    bus.publish(&given_up).await.unwrap();
    drop(bus);

    let connection = Connection::connect(&broker.url(), ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let waiting = take(&channel, Queue::Fetch.name(), retried.len()).await;
    for gone in [Queue::Fetch.name(), Queue::Write.parked_name()] {
        channel.queue_delete(gone.into(), QueueDeleteOptions::default()).await.unwrap();
    }
    let tiers = ["rollcall.retry.250ms", "rollcall.retry.1s", "rollcall.retry.5s"];
    for ((properties, data), tier) in waiting.into_iter().zip(tiers.into_iter().cycle()) {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let publish = channel.basic_publish(tier.into(), Queue::Fetch.name().into(), options, &data, properties);
        let confirmation = publish.await.unwrap().await.unwrap();
        assert!(confirmation.is_ack() && confirmation.take_message().is_none(), "{tier} takes it");
    }
    deliver_too_often(&connection, Queue::Write.name()).await;
    for tier in &tiers[..2] {
        until("the wait to be over", async || ready(&channel, tier).await == 0).await;
    }
    broker.kill().await;
    broker.boot().await;

    // Whoever comes first declares what is missing.
    let bus: SharedBus = Arc::new(AmqpBus::connect(AmqpConfig::new(broker.url())).await.unwrap());
    let mut subscription = bus.subscribe(Queue::Fetch, 10).await.unwrap();
    let mut missed: BTreeSet<Uuid> = retried.iter().map(|message| message.id).collect();
    while !missed.is_empty() {
        let delivery = next(&mut subscription).await;
        missed.remove(&delivery.message.as_ref().unwrap().id);
        subscription.ack(delivery).await.unwrap();
    }
    until("all of the others to be parked", async || {
        let parked = bus.parked(Queue::Write, &ParkedFilter::default()).await.unwrap();
        assert!(parked.iter().all(|parked| parked.reason == "delivery-limit"), "{parked:?}");
        let parked: BTreeSet<Uuid> = parked.iter().map(|parked| parked.id).collect();
        given_up.iter().all(|message| parked.contains(&message.id))
    })
    .await;
}
