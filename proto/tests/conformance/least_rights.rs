//! A user who may work and declare nothing, as those of deploy/rabbitmq/definitions.json.

use std::sync::Arc;

use lapin::options::QueueDeleteOptions;
use reqwest::Method;
use rollcall_proto::{
    bus::{
        BusError, SharedBus,
        amqp::{AmqpBus, AmqpConfig},
        worker::WorkerConfig,
    },
    handler::Fate,
    message::Message,
    topology::{EXCHANGE, Queue},
};
use serde_json::json;
use uuid::Uuid;

use super::{
    amqp::{Amqp, Api},
    until,
    workers::{Recorder, Running},
};
use crate::samples::fetch;

/// The URL of a new user of a virtual host, and its name.
async fn worker_of(api: &Api, url: &str, vhost: &str) -> (String, String) {
    let name = format!("worker-{}", Uuid::now_v7().simple());
    api.tell(Method::PUT, &["users", &name], &json!({"password": "work", "tags": ""})).await;
    let rights = json!({"configure": "^$", "write": "^(amq\\.default$|rollcall($|\\.))", "read": "^rollcall\\.fetch$"});
    api.tell(Method::PUT, &["permissions", vhost, &name], &rights).await;
    let mut url: reqwest::Url = url.parse().unwrap();
    url.set_username(&name).unwrap();
    url.set_password(Some("work")).unwrap();
    (url.to_string(), name)
}

fn is_missing(error: &BusError, missing: &str) -> bool {
    matches!(error, BusError::Missing { name, .. } if name == missing)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_declare_nothing_works_on_what_is_there_and_names_what_is_not() {
    let (api, admin, vhost) = Amqp::empty_vhost().await;
    let (url, user) = worker_of(&api, &admin, &vhost).await;
    let error = AmqpBus::connect(AmqpConfig::new(url.clone())).await.unwrap_err();
    assert!(is_missing(&error, EXCHANGE) && error.is_transient(), "{error:?}");
    assert!(error.to_string().starts_with("rollcall is missing on the broker"), "{error}");

    let operators = AmqpBus::connect(AmqpConfig::new(admin.clone())).await.unwrap();
    let bus: SharedBus = Arc::new(AmqpBus::connect(AmqpConfig::new(url)).await.unwrap());
    bus.check().await.unwrap();
    assert_eq!(bus.depths().await.unwrap().len(), Queue::ALL.len());
    assert_eq!(bus.queue_faults().await.unwrap(), []);
    let recorder = Recorder::new(|_| Fate::Done);
    let worker = Running::start(Arc::clone(&bus), Queue::Fetch, recorder.clone(), WorkerConfig::new(8));
    let done = async |message: &Message| {
        until("handled", async || recorder.ids().contains(&message.id)).await;
    };
    let before = fetch(1);
    bus.publish(std::slice::from_ref(&before)).await.unwrap();
    done(&before).await;

    // Deleted while it works: it says what is missing, and goes on by itself once somebody who may has made it.
    let raw = lapin::Connection::connect(&admin, lapin::ConnectionProperties::default()).await.unwrap();
    let channel = raw.create_channel().await.unwrap();
    channel.queue_delete(Queue::Fetch.name().into(), QueueDeleteOptions::default()).await.unwrap();
    let after = fetch(2);
    let error = bus.publish(std::slice::from_ref(&after)).await.unwrap_err();
    assert!(is_missing(&error, Queue::Fetch.name()), "{error:?}");
    assert!(is_missing(&bus.depths().await.unwrap_err(), Queue::Fetch.name()));
    drop(operators);
    AmqpBus::connect(AmqpConfig::new(admin)).await.unwrap();
    bus.publish(std::slice::from_ref(&after)).await.unwrap();
    done(&after).await;
    worker.stop().await;
    drop(bus);
    api.ask(Method::DELETE, &["vhosts", &vhost]).await;
    api.ask(Method::DELETE, &["users", &user]).await;
}
