//! What only a broker can do to a bus.

use std::{sync::Arc, time::Duration};

use lapin::{
    options::{BasicGetOptions, QueueDeclareOptions, QueueDeleteOptions},
    types::{AMQPValue, FieldTable},
};
use rollcall_proto::{
    bus::{
        Bus as _, BusError, SharedBus,
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
use tokio::time::Instant;

use super::{
    World,
    amqp::Amqp,
    broker::Broker,
    until, waiting_count,
    workers::{Recorder, Running},
};
use crate::samples::{fetch, one_of_each, students};

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
    let connection = lapin::Connection::connect(&url, lapin::ConnectionProperties::default()).await.unwrap();
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
