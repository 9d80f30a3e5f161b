//! What the broker's users may not do, tried with each of them on each queue and exchange of `deploy/rabbitmq/definitions.json`.
//! Called by the test of a deployed installation, whose broker and workers these are.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties, ErrorKind, ExchangeKind,
    options::{
        BasicConsumeOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeBindOptions,
        ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
        QueuePurgeOptions,
    },
    types::FieldTable,
};
use rollcall_e2e::{House, Process, binary::workspace, until};
use serde_json::Value;

use super::probes::Probes;

/// Who works, and the queues that their user may read.
const READERS: [(&str, &[&str]); 5] = [
    ("fetcher", &["rollcall.fetch"]),
    (
        "classifier",
        &[
            "rollcall.collect",
            "rollcall.plan",
            "rollcall.plan-large",
            "rollcall.applied",
            // What has been parked for too long is deleted by it.
            "rollcall.fetch.parked",
            "rollcall.collect.parked",
            "rollcall.plan.parked",
            "rollcall.plan-large.parked",
            "rollcall.write.parked",
            "rollcall.applied.parked",
            "rollcall.flags.parked",
        ],
    ),
    ("writer", &["rollcall.write"]),
    ("flag-sync", &["rollcall.flags"]),
    ("web", &[]),
];

/// Names of the definitions' queues, or exchanges.
fn defined(what: &str) -> Vec<String> {
    let text = std::fs::read_to_string(workspace().join("deploy/rabbitmq/definitions.json")).unwrap();
    let definitions: Value = serde_json::from_str(&text).unwrap();
    let rows = definitions[what].as_array().unwrap();
    rows.iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect()
}

async fn connection(house: &House, role: &str) -> Connection {
    let (_, url) = house.as_deployed().urls(role).remove(0);
    Connection::connect(&url, ConnectionProperties::default()).await.unwrap()
}

/// Whether the broker refuses it for want of a right. Any other answer is none that this test is about.
fn is_refused<T: std::fmt::Debug>(what: &str, answer: lapin::Result<T>) -> bool {
    match answer {
        Ok(_) => false,
        Err(error) => match error.kind() {
            ErrorKind::ProtocolError(error) if error.get_id() == 403 => true,
            _ => panic!("{what}: {error}"),
        },
    }
}

async fn channel(connection: &Connection) -> Channel {
    connection.create_channel().await.unwrap()
}

/// A queue, once with each verb. Only its reader may read it, and nobody may do anything else.
async fn check_queue(connection: &Connection, role: &str, queue: &str, is_own: bool) {
    let none = FieldTable::default;
    let get = channel(connection).await.basic_get(queue.into(), BasicGetOptions::default()).await;
    assert_eq!(is_refused("get", get), !is_own, "{role} gets from {queue}");
    if !is_own {
        let options = BasicConsumeOptions::default();
        let consume = channel(connection).await.basic_consume(queue.into(), "".into(), options, none()).await;
        assert!(is_refused("consume", consume), "{role} consumes from {queue}");
        let purge = channel(connection).await.queue_purge(queue.into(), QueuePurgeOptions::default()).await;
        assert!(is_refused("purge", purge), "{role} purges {queue}");
    }
    let delete = channel(connection).await.queue_delete(queue.into(), QueueDeleteOptions::default()).await;
    assert!(is_refused("delete", delete), "{role} deletes {queue}");
    let bind = channel(connection).await;
    let bind = bind.queue_bind(queue.into(), "rollcall".into(), "#".into(), QueueBindOptions::default(), none()).await;
    assert!(is_refused("bind", bind), "{role} binds {queue}");
    let unbind = channel(connection).await;
    let unbind = unbind.queue_unbind(queue.into(), "rollcall".into(), "#".into(), none()).await;
    assert!(is_refused("unbind", unbind), "{role} unbinds {queue}");
}

/// What would make a copy of everything, or take the way of it away.
async fn check_exchange(connection: &Connection, role: &str, exchange: &str) {
    let delete = channel(connection).await.exchange_delete(exchange.into(), ExchangeDeleteOptions::default()).await;
    assert!(is_refused("delete", delete), "{role} deletes {exchange}");
    let (options, none) = (ExchangeBindOptions::default(), FieldTable::default());
    let bind = channel(connection).await;
    let bind = bind.exchange_bind(exchange.into(), "rollcall".into(), "#".into(), options, none).await;
    assert!(is_refused("bind", bind), "{role} leads everything to {exchange}");
}

async fn check_makes_nothing(connection: &Connection, role: &str) {
    for name in ["rollcall.retry.spy", "rollcall.spy", "spy", ""] {
        let options = QueueDeclareOptions::default();
        let declare = channel(connection).await.queue_declare(name.into(), options, FieldTable::default()).await;
        assert!(is_refused("declare", declare), "{role} declares the queue {name:?}");
    }
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    for name in ["rollcall", "rollcall.retry.spy"] {
        let (kind, none) = (ExchangeKind::Topic, FieldTable::default());
        let declare = channel(connection).await.exchange_declare(name.into(), kind, options, none).await;
        assert!(is_refused("declare", declare), "{role} declares the exchange {name}");
    }
}

/// Past the rights to routing keys: the default exchange leads into any queue, and so does a waiting room.
async fn check_no_other_way(connection: &Connection, role: &str) {
    for exchange in ["", "rollcall.retry.250ms"] {
        let channel = channel(connection).await;
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let options = BasicPublishOptions::default();
        let publish = channel.basic_publish(
            exchange.into(),
            "rollcall.write".into(),
            options,
            b"forged",
            BasicProperties::default(),
        );
        let confirmed = match publish.await {
            Ok(confirm) => confirm.await,
            Err(error) => Err(error),
        };
        assert!(is_refused("publish", confirmed), "{role} reaches the writers' queue by {exchange:?}");
    }
}

/// Each user but the operators' reads its own queues, publishes, and can do nothing else to the broker.
pub(super) async fn check_who_reads_and_declares(house: &House) {
    let (queues, exchanges) = (defined("queues"), defined("exchanges"));
    assert!(queues.len() >= 24 && exchanges.len() >= 11, "{queues:?} {exchanges:?}");
    for (role, own) in READERS {
        let connection = connection(house, role).await;
        for queue in &queues {
            check_queue(&connection, role, queue, own.contains(&queue.as_str())).await;
        }
        for exchange in &exchanges {
            check_exchange(&connection, role, exchange).await;
        }
        check_makes_nothing(&connection, role).await;
        if role == "web" {
            check_no_other_way(&connection, role).await;
        }
        connection.close(200, "done".into()).await.unwrap();
    }
}

/// Who may not declare says what is missing, and goes on once the operators have made it, by any command of theirs.
pub(super) async fn check_who_restores(house: &House, writer: &Process) {
    let probes = Probes::of(writer).await;
    probes.until("ready", 200).await;
    let operators = connection(house, "ops").await;
    let options = QueueDeleteOptions::default();
    channel(&operators).await.queue_delete("rollcall.write".into(), options).await.unwrap();
    assert_eq!(probes.until("ready", 503).await, ["not-consuming write"]);
    let missing = "rollcall.write is missing on the broker, and this user may not make it";
    until("the writer to say why", Duration::from_secs(30), || async { writer.log().contains(missing).then_some(()) })
        .await;
    let check = house.rollcall(&["reconcile", "--check"]).await.expect_code(1);
    assert!(check.stdout.contains("queue-missing"), "{check:#?}");

    house.rollcall(&["queues", "list"]).await.expect_code(0);
    probes.until("ready", 200).await;
    assert_eq!(house.night().await.state, "succeeded");
}
