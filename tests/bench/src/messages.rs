//! The broker's floor: the same bodies through a quorum queue, confirmed, and out again.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use futures_util::{StreamExt as _, future::try_join_all};
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
        QueueDeclareOptions, QueueDeleteOptions,
    },
    types::{AMQPValue, FieldTable, LongString},
};
use sqlx::PgConnection;

const QUEUE: &str = "floor";

/// Unconfirmed messages at most, and messages for each acknowledgement.
const WINDOW: usize = 256;

/// The bodies that a first night has sent: its raw pages and its batches of students.
pub(crate) async fn of_first_night(database: &mut PgConnection) -> anyhow::Result<Vec<Vec<u8>>> {
    let first = "(SELECT id FROM run ORDER BY seq LIMIT 1)";
    let sql = format!(
        "SELECT raw FROM page WHERE run = {first} AND raw IS NOT NULL UNION ALL \
         SELECT bytes FROM plan_batch WHERE run = {first}"
    );
    let bodies = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_all(database).await;
    bodies.context("reading the messages of the first night")
}

/// Publishes and consumes all of them at the same time. Seconds until the last is confirmed, consumed and acknowledged.
pub(crate) async fn carry(url: &str, messages: &[Vec<u8>]) -> anyhow::Result<f64> {
    let (publishing, consuming) = (connect(url).await?, connect(url).await?);
    let (publisher, consumer) = (publishing.create_channel().await?, consuming.create_channel().await?);
    publisher.confirm_select(ConfirmSelectOptions::default()).await?;
    consumer.basic_qos(2 * WINDOW as u16, BasicQosOptions::default()).await?;
    declare(&publisher).await?;
    let start = Instant::now();
    tokio::try_join!(publish(&publisher, messages), consume(&consumer, messages.len()))?;
    let seconds = start.elapsed().as_secs_f64();
    publisher.queue_delete(QUEUE.into(), QueueDeleteOptions::default()).await?;
    // The measurement is done: how the connections end does not matter to it.
    let _ = tokio::join!(publishing.close(200, "done".into()), consuming.close(200, "done".into()));
    Ok(seconds)
}

async fn connect(url: &str) -> anyhow::Result<Connection> {
    Connection::connect(url, ConnectionProperties::default()).await.context("RabbitMQ does not answer")
}

async fn declare(channel: &Channel) -> anyhow::Result<()> {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString(LongString::from("quorum")));
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(QUEUE.into(), options, arguments).await?;
    Ok(())
}

async fn publish(channel: &Channel, messages: &[Vec<u8>]) -> anyhow::Result<()> {
    let properties = BasicProperties::default().with_delivery_mode(2);
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    for window in messages.chunks(WINDOW) {
        let mut confirms = Vec::with_capacity(window.len());
        for body in window {
            confirms.push(channel.basic_publish("".into(), QUEUE.into(), options, body, properties.clone()).await?);
        }
        let confirmed = try_join_all(confirms).await?;
        ensure!(confirmed.iter().all(lapin::Confirmation::is_ack), "RabbitMQ refused a message");
    }
    Ok(())
}

async fn consume(channel: &Channel, count: usize) -> anyhow::Result<()> {
    let none = FieldTable::default();
    let mut deliveries = channel.basic_consume(QUEUE.into(), "".into(), BasicConsumeOptions::default(), none).await?;
    for number in 1..=count {
        let delivery = deliveries.next().await.context("the consumer was cancelled")??;
        if number % WINDOW == 0 || number == count {
            delivery.ack(BasicAckOptions { multiple: true }).await?;
        }
    }
    Ok(())
}
