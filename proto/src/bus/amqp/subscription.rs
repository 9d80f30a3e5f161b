//! A consumer on a channel of its own.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::StreamExt as _;
use lapin::{
    Consumer,
    message::Delivery as Arrived,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};
use tokio::time::interval;

use super::{
    AmqpToken, declare,
    link::{ANSWER, Consuming, LinkError, Session, within},
    outgoing::{self, Delivered, Outgoing},
    publisher::Publisher,
};
use crate::{
    bus::{BusError, Delivery, Subscription, Token},
    codec::Wire,
    handler::{Park, Retry},
    topology::Queue,
};

/// How often a silent consumer looks whether its channel is still there: the library does not always tell.
const LOOK: Duration = Duration::from_secs(2);

/// See the module.
pub(super) struct AmqpSubscription {
    consuming: Arc<Consuming>,
    publisher: Publisher,
    queue: Queue,
    /// Taken only by the drop.
    session: Option<Session>,
    consumer: Consumer,
}

impl AmqpSubscription {
    /// Declares the queue, which somebody may have deleted, and consumes from it.
    pub(super) async fn start(
        consuming: Arc<Consuming>,
        publisher: Publisher,
        queue: Queue,
        prefetch: u16,
    ) -> Result<Self, BusError> {
        let session = consuming.session().await?;
        let consumer = match consume(&session, queue, prefetch).await {
            Ok(consumer) => consumer,
            Err(error) => {
                if error.is_worth_another_link() {
                    consuming.retire(&session.connection).await;
                }
                return Err(error.into());
            }
        };
        Ok(Self { consuming, publisher, queue, session: Some(session), consumer })
    }

    fn is_up(&self) -> bool {
        self.session.as_ref().is_some_and(Session::is_up)
    }

    async fn arrived(&mut self) -> Result<Arrived, BusError> {
        let mut look = interval(LOOK);
        loop {
            tokio::select! {
                biased;
                arrived = self.consumer.next() => return match arrived {
                    Some(Ok(arrived)) => Ok(arrived),
                    Some(Err(error)) => Err(LinkError::Amqp("consume", error).into()),
                    None => Err(away("consume: the broker has cancelled the consumer")),
                },
                _ = look.tick() => if !self.is_up() {
                    return Err(away("consume: the channel is closed"));
                },
            }
        }
    }

    /// `Ok(false)` means that the delivery belongs to a channel that is gone: the broker has it again.
    async fn settle(&mut self, token: &AmqpToken) -> Result<(), BusError> {
        let acked = within("acknowledge", ANSWER, token.acker.ack(BasicAckOptions::default())).await;
        if matches!(acked, Err(LinkError::TimedOut(_)))
            && let Some(session) = &self.session
        {
            self.consuming.retire(&session.connection).await;
        }
        if acked? { Ok(()) } else { Err(away("acknowledge: the delivery's channel is closed")) }
    }
}

async fn consume(session: &Session, queue: Queue, prefetch: u16) -> Result<Consumer, LinkError> {
    let channel = &session.channel;
    declare::work_queue(channel, queue).await?;
    declare::parked_queue(channel, queue).await?;
    declare::bind(channel, queue).await?;
    within("set the prefetch", ANSWER, channel.basic_qos(prefetch.max(1), BasicQosOptions::default())).await?;
    let options = BasicConsumeOptions::default();
    let consume = channel.basic_consume(queue.name().into(), "".into(), options, FieldTable::default());
    within("consume", ANSWER, consume).await
}

#[async_trait]
impl Subscription for AmqpSubscription {
    async fn next(&mut self) -> Result<Delivery, BusError> {
        Ok(delivery(self.arrived().await?))
    }

    async fn ack(&mut self, delivery: Delivery) -> Result<(), BusError> {
        self.settle(token(&delivery)?).await
    }

    async fn retry(&mut self, delivery: Delivery, retry: &Retry) -> Result<(), BusError> {
        let token = token(&delivery)?;
        let attempt = delivery.attempt.saturating_add(u32::from(!retry.free));
        let outgoing = Outgoing::retry(self.queue, &delivered(&delivery, token), attempt, retry.after);
        self.publisher.publish(vec![outgoing]).await?;
        self.settle(token).await
    }

    async fn park(&mut self, delivery: Delivery, park: &Park) -> Result<(), BusError> {
        let token = token(&delivery)?;
        let outgoing = Outgoing::park(self.queue, &delivered(&delivery, token), park);
        self.publisher.publish(vec![outgoing]).await?;
        self.settle(token).await
    }
}

impl Drop for AmqpSubscription {
    /// Closes the channel: only then does the broker take back what was prefetched.
    fn drop(&mut self) {
        if let (Some(session), Ok(runtime)) = (self.session.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move { session.close().await });
        }
    }
}

/// What arrived, as the worker sees it.
pub(super) fn delivery(arrived: Arrived) -> Delivery {
    let Arrived { properties, data, acker, .. } = arrived;
    let wire = Wire { bytes: data.into(), encoding: outgoing::encoding(&properties) };
    let (label, attempt) = (outgoing::label(&properties), outgoing::attempt(&properties));
    Delivery::read(label, attempt, wire, Token::Amqp(Box::new(AmqpToken { acker, properties })))
}

fn delivered<'a>(delivery: &'a Delivery, token: &'a AmqpToken) -> Delivered<'a> {
    Delivered { label: &delivery.label, properties: &token.properties, body: &delivery.wire.bytes }
}

fn token(delivery: &Delivery) -> Result<&AmqpToken, BusError> {
    match &delivery.token {
        Token::Amqp(token) => Ok(token),
        Token::Embedded(_) => Err(away("settle another bus's delivery")),
    }
}

const fn away(operation: &'static str) -> BusError {
    BusError::Unavailable { operation, source: None }
}
