//! The topology on the broker.
//!
//! Every queue is a quorum queue. Work that kills its consumers is dead-lettered by the broker to the parked queue; a
//! retry waits in a queue whose messages expire into the default exchange, which routes by queue name. Dead-lettering is
//! at-least-once, so a message leaves a queue only when the next one has it.
//!
//! A user who may declare makes what is missing. One who may not (deploy/rabbitmq/definitions.json lets only the operators'
//! declare) looks whether all is there, which tells nothing of arguments and bindings. A look is a passive declaration: up to
//! 4.2.5 it needs no right, since then any right on what is looked at (4.2.6 and 4.3.0 alone want the right to declare:
//! <https://github.com/rabbitmq/rabbitmq-server/pull/16272>).

use std::time::Duration;

use lapin::{
    Channel, ExchangeKind, Queue as Declared,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};

use super::link::{ANSWER, LinkError, within};
use crate::{
    bus::QueueFault,
    topology::{DELIVERY_LIMIT, EXCHANGE, Queue},
};

/// AMQP's reply codes for a declaration that differs from what is there, for what is not there, and for a right that the user
/// lacks.
const PRECONDITION_FAILED: u16 = 406;
const NOT_FOUND: u16 = 404;
const ACCESS_REFUSED: u16 = 403;

/// Parked messages are looked at any number of times, and each look counts as a delivery. RabbitMQ 4 has a limit where
/// none is set, and 3.10 has no word for none.
const NO_DELIVERY_LIMIT: u32 = 1_000_000_000;

/// What is done about a queue or an exchange that is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Care {
    /// It is made.
    Make,
    /// It is named: [`LinkError::Missing`].
    Look,
}

/// A waiting room: the exchange to publish to, and the queue behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tier {
    /// Name of the exchange and of the queue.
    pub(super) name: &'static str,
    /// How long a message stays in it.
    pub(super) wait: Duration,
}

/// Shortest first. A message expires only at the head of its queue, so each wait needs a queue of its own.
pub(super) const TIERS: [Tier; 10] = [
    Tier { name: "rollcall.retry.250ms", wait: Duration::from_millis(250) },
    Tier { name: "rollcall.retry.1s", wait: Duration::from_secs(1) },
    Tier { name: "rollcall.retry.2s", wait: Duration::from_secs(2) },
    Tier { name: "rollcall.retry.5s", wait: Duration::from_secs(5) },
    Tier { name: "rollcall.retry.10s", wait: Duration::from_secs(10) },
    Tier { name: "rollcall.retry.30s", wait: Duration::from_secs(30) },
    Tier { name: "rollcall.retry.1m", wait: Duration::from_mins(1) },
    Tier { name: "rollcall.retry.2m", wait: Duration::from_mins(2) },
    Tier { name: "rollcall.retry.5m", wait: Duration::from_mins(5) },
    LONGEST_TIER,
];

const LONGEST_TIER: Tier = Tier { name: "rollcall.retry.10m", wait: Duration::from_mins(10) };

impl Tier {
    /// The shortest wait that is no shorter than `after`, or the longest there is.
    pub(super) fn at_least(after: Duration) -> Self {
        TIERS.into_iter().find(|tier| tier.wait >= after).unwrap_or(LONGEST_TIER)
    }
}

/// Goes through everything. What is there already is left as it is.
pub(super) async fn all(channel: &Channel, care: Care) -> Result<(), LinkError> {
    exchange(channel, care).await?;
    for queue in Queue::ALL {
        work_queue(channel, care, queue).await?;
        parked_queue(channel, care, queue).await?;
        bind(channel, care, queue).await?;
    }
    for tier in TIERS {
        waiting_room(channel, care, tier).await?;
    }
    Ok(())
}

/// The user lacks a right.
pub(super) fn is_refused(error: &LinkError) -> bool {
    matches!(error, LinkError::Amqp(_, error) if reply_code(error) == Some(ACCESS_REFUSED))
}

/// Names of all queues, and what each is declared with.
pub(super) fn queues() -> impl Iterator<Item = (&'static str, FieldTable)> {
    let of_work = Queue::ALL.into_iter().map(|queue| (queue.name(), of_work(queue)));
    let parked = Queue::ALL.into_iter().map(|queue| (queue.parked_name(), quorum(NO_DELIVERY_LIMIT)));
    let waiting = TIERS.into_iter().map(|tier| (tier.name, of_waiting(tier)));
    of_work.chain(parked).chain(waiting)
}

/// What is wrong with a queue, if anything; the channel is closed by that. A declaration that is equal changes nothing. Whether
/// it is equal, only a user who may declare gets to know.
pub(super) async fn fault(
    channel: &Channel,
    name: &'static str,
    arguments: FieldTable,
) -> Result<Option<QueueFault>, LinkError> {
    match declare_queue(channel, Care::Look, name, FieldTable::default()).await {
        Ok(_) => {}
        Err(LinkError::Missing(..)) => return Ok(Some(QueueFault::Missing)),
        Err(error) => return Err(error),
    }
    match declare_queue(channel, Care::Make, name, arguments).await {
        Ok(_) => Ok(None),
        Err(LinkError::Topology(..)) => Ok(Some(QueueFault::DeclaredOtherwise)),
        Err(error) if is_refused(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A queue of this connection's own, gone with it, for answers.
pub(super) async fn answers_queue(channel: &Channel, name: &str) -> Result<Declared, LinkError> {
    let options = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
    let declare = channel.queue_declare(name.into(), options, FieldTable::default());
    within("declare a queue for answers", ANSWER, declare).await
}

/// The exchange that everything is published to.
pub(super) async fn exchange(channel: &Channel, care: Care) -> Result<(), LinkError> {
    declare_exchange(channel, care, EXCHANGE, ExchangeKind::Topic).await
}

/// A queue of work.
pub(super) async fn work_queue(channel: &Channel, care: Care, queue: Queue) -> Result<Declared, LinkError> {
    declare_queue(channel, care, queue.name(), of_work(queue)).await
}

/// The queue beside it for what is kept aside.
pub(super) async fn parked_queue(channel: &Channel, care: Care, queue: Queue) -> Result<Declared, LinkError> {
    declare_queue(channel, care, queue.parked_name(), quorum(NO_DELIVERY_LIMIT)).await
}

/// Binds a queue of work to the exchange. Whether it is bound cannot be looked at: a message that comes back tells.
pub(super) async fn bind(channel: &Channel, care: Care, queue: Queue) -> Result<(), LinkError> {
    for pattern in queue.bindings() {
        bind_one(channel, care, (queue.name(), EXCHANGE, pattern)).await?;
    }
    Ok(())
}

async fn waiting_room(channel: &Channel, care: Care, tier: Tier) -> Result<(), LinkError> {
    declare_exchange(channel, care, tier.name, ExchangeKind::Fanout).await?;
    declare_queue(channel, care, tier.name, of_waiting(tier)).await?;
    bind_one(channel, care, (tier.name, tier.name, "")).await
}

fn of_work(queue: Queue) -> FieldTable {
    let mut arguments = quorum(DELIVERY_LIMIT);
    dead_letters(&mut arguments);
    arguments.insert("x-dead-letter-routing-key".into(), text(queue.parked_name()));
    arguments
}

fn of_waiting(tier: Tier) -> FieldTable {
    let mut arguments = quorum(DELIVERY_LIMIT);
    dead_letters(&mut arguments);
    let wait = u32::try_from(tier.wait.as_millis()).unwrap_or(u32::MAX);
    arguments.insert("x-message-ttl".into(), AMQPValue::LongUInt(wait));
    arguments
}

fn quorum(delivery_limit: u32) -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text("quorum"));
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongUInt(delivery_limit));
    arguments
}

/// To the default exchange, which routes to the queue of that name. At-least-once needs `reject-publish`.
fn dead_letters(arguments: &mut FieldTable) {
    arguments.insert("x-dead-letter-exchange".into(), text(""));
    arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
    arguments.insert("x-overflow".into(), text("reject-publish"));
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

async fn declare_exchange(
    channel: &Channel,
    care: Care,
    name: &'static str,
    kind: ExchangeKind,
) -> Result<(), LinkError> {
    let passive = care == Care::Look;
    let options = ExchangeDeclareOptions { durable: true, passive, ..ExchangeDeclareOptions::default() };
    let declare = channel.exchange_declare(name.into(), kind, options, FieldTable::default());
    within("declare an exchange", ANSWER, declare).await.map_err(|error| named(name, care, error))
}

async fn declare_queue(
    channel: &Channel,
    care: Care,
    name: &'static str,
    arguments: FieldTable,
) -> Result<Declared, LinkError> {
    let passive = care == Care::Look;
    let options = QueueDeclareOptions { durable: true, passive, ..QueueDeclareOptions::default() };
    let declare = channel.queue_declare(name.into(), options, arguments);
    within("declare a queue", ANSWER, declare).await.map_err(|error| named(name, care, error))
}

async fn bind_one(
    channel: &Channel,
    care: Care,
    (queue, exchange, key): (&'static str, &'static str, &str),
) -> Result<(), LinkError> {
    if care == Care::Look {
        return Ok(());
    }
    let options = QueueBindOptions::default();
    let bind = channel.queue_bind(queue.into(), exchange.into(), key.into(), options, FieldTable::default());
    within("bind a queue", ANSWER, bind).await
}

/// An error about what is there, or is not, with its name. Who makes it and is told that it is not there has met a broker in trouble.
fn named(name: &str, care: Care, error: LinkError) -> LinkError {
    match error {
        LinkError::Amqp(_, error) if reply_code(&error) == Some(PRECONDITION_FAILED) => {
            LinkError::Topology(name.to_owned(), error)
        }
        LinkError::Amqp(_, error) if reply_code(&error) == Some(NOT_FOUND) && care == Care::Look => {
            LinkError::Missing(name.to_owned(), error)
        }
        other => other,
    }
}

fn reply_code(error: &lapin::Error) -> Option<u16> {
    match error.kind() {
        lapin::ErrorKind::ProtocolError(error) => Some(error.get_id()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::LONGEST_RETRY;

    #[test]
    fn a_retry_waits_no_shorter_than_asked() {
        for (after, name) in [
            (Duration::ZERO, "rollcall.retry.250ms"),
            (Duration::from_millis(251), "rollcall.retry.1s"),
            (Duration::from_secs(1), "rollcall.retry.1s"),
            (Duration::from_secs(6), "rollcall.retry.10s"),
            (LONGEST_RETRY, "rollcall.retry.10m"),
            (Duration::from_hours(1), "rollcall.retry.10m"),
        ] {
            assert_eq!(Tier::at_least(after).name, name, "{after:?}");
        }
        assert!(TIERS.is_sorted_by_key(|tier| tier.wait));
        assert_eq!(LONGEST_TIER.wait, LONGEST_RETRY);
    }
}
