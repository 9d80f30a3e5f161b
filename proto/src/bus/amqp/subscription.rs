//! A consumer on a channel of its own.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::{StreamExt as _, future::try_join_all};
use lapin::{
    Consumer, Queue as Declared,
    message::Delivery as Arrived,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};

use super::{
    AmqpToken, declare,
    link::{ANSWER, Consuming, Line, LinkError, Session, within},
    outgoing::{self, Delivered, Outgoing},
    publisher::Publisher,
};
use crate::{
    bus::{BusError, Delivery, Outcome, Subscription, Token},
    codec::Wire,
    handler::{Park, Retry},
    telemetry::messaging::Origin,
    topology::Queue,
};

/// How often a consumer that hears nothing asks whether it is still one.
const LOOK: Duration = Duration::from_secs(3);

/// Answers in a row that make it sure that it is not: one may have crossed a delivery.
const DOUBTS: u8 = 2;

/// A consumer that has heard nothing for so long is replaced, unless a delivery of it is still being handled.
const RENEW: Duration = Duration::from_secs(15);

/// See the module.
pub(super) struct AmqpSubscription {
    consuming: Arc<Consuming>,
    publisher: Publisher,
    queue: Queue,
    prefetch: u16,
    line: Line,
    watch: Watch,
    /// Deliveries handed out and not settled yet. They belong to the channel.
    outstanding: usize,
    /// A replacement under way. Kept here for the same reason as the watch's question.
    replacement: Option<JoinHandle<Result<Line, LinkError>>>,
}

/// Notices a consumer that nothing will ever come to.
///
/// The broker tells of a deleted queue by cancelling its consumers, but not always: a queue declared again under the
/// same name in that moment is taken for the old one, which has no such consumer. And the client library does not tell
/// of every channel that is gone. A message that waits while there is room for it tells both.
///
/// One thing nothing tells: a consumer carried over to the new queue, whose deliveries the channel's own process in the
/// broker drops, because their numbers begin anew and it takes them for repetitions (seen on RabbitMQ 3.10). The queue
/// then has a consumer and nothing waits. Hence a consumer that hears nothing is replaced from time to time.
struct Watch {
    since: Instant,
    next_look: Instant,
    doubts: u8,
    /// A question under way. Kept here, so that a `next` that is dropped half-way does not begin anew each time.
    question: Option<JoinHandle<Result<Declared, LinkError>>>,
}

impl Watch {
    fn begin() -> Self {
        let now = Instant::now();
        Self { since: now, next_look: now + LOOK, doubts: 0, question: None }
    }

    fn delivered(&mut self) {
        *self = Self::begin();
    }

    /// Ends only with bad news. What waits is none where there is no `room` for it.
    async fn bad_news(&mut self, session: &Session, queue: Queue, room: bool) -> BusError {
        loop {
            sleep_until(self.next_look).await;
            if !session.is_up() {
                return away("consume: the channel is closed");
            }
            let question = match &mut self.question {
                Some(question) => question,
                None => match ask(session, queue) {
                    Some(asked) => self.question.insert(asked),
                    None => return away("consume: the channel is closed"),
                },
            };
            let answer = question.await;
            self.question = None;
            self.next_look = Instant::now() + LOOK;
            match answer {
                Ok(Ok(queue)) if queue.consumer_count() == 0 || (room && queue.message_count() > 0) => self.doubts += 1,
                Ok(Ok(_)) => self.doubts = 0,
                Ok(Err(error)) => return error.into(),
                Err(_) => return away("consume: the runtime is shutting down"),
            }
            if self.doubts >= DOUBTS {
                return away("consume: messages wait and none is delivered");
            }
        }
    }
}

/// Asks for the queue, whatever becomes of whoever asked. Nothing where the channel is about to be closed.
fn ask(session: &Session, queue: Queue) -> Option<JoinHandle<Result<Declared, LinkError>>> {
    let (using, channel, care) = (session.using()?, session.channel.clone(), session.care());
    Some(tokio::spawn(async move {
        let answer = declare::work_queue(&channel, care, queue).await;
        drop(using);
        answer
    }))
}

impl AmqpSubscription {
    /// Sees to the queue, which somebody may have deleted, and consumes from it.
    pub(super) async fn start(
        consuming: Arc<Consuming>,
        publisher: Publisher,
        queue: Queue,
        prefetch: u16,
    ) -> Result<Self, BusError> {
        let line = begin(&consuming, queue, prefetch).await?;
        Ok(Self {
            consuming,
            publisher,
            queue,
            prefetch,
            line,
            watch: Watch::begin(),
            outstanding: 0,
            replacement: None,
        })
    }

    async fn arrived(&mut self) -> Result<Arrived, BusError> {
        loop {
            let Line { session, consumer } = &mut self.line;
            let room = self.outstanding < usize::from(self.prefetch.max(1));
            let renew = async |since: Instant| match self.outstanding {
                0 => sleep_until(since + RENEW).await,
                _ => std::future::pending().await,
            };
            let since = self.watch.since;
            tokio::select! {
                biased;
                arrived = consumer.next() => return match arrived {
                    Some(Ok(arrived)) => {
                        self.watch.delivered();
                        self.outstanding += 1;
                        Ok(arrived)
                    }
                    Some(Err(error)) => Err(LinkError::Amqp("consume", error).into()),
                    None => Err(away("consume: the broker has cancelled the consumer")),
                },
                error = self.watch.bad_news(session, self.queue, room) => return Err(error),
                () = renew(since) => self.replace().await?,
            }
        }
    }

    /// Consumes over a new channel. What the old one was sent and nobody has seen comes again.
    async fn replace(&mut self) -> Result<(), BusError> {
        let (consuming, queue, prefetch) = (Arc::clone(&self.consuming), self.queue, self.prefetch);
        let start = || tokio::spawn(async move { begin(&consuming, queue, prefetch).await });
        let replacement = self.replacement.get_or_insert_with(start).await;
        self.replacement = None;
        self.line = replacement.map_err(|_| away("consume: the runtime is shutting down"))??;
        self.watch = Watch::begin();
        Ok(())
    }

    fn settled(&mut self, number: usize) {
        self.outstanding = self.outstanding.saturating_sub(number);
    }

    /// Each acknowledgement waits until the library's own thread has written it: all together, not one after another. One
    /// that says false belongs to a channel that is gone: the broker has the delivery again.
    async fn settle(&mut self, tokens: &[&AmqpToken]) -> Result<(), BusError> {
        let acks = try_join_all(tokens.iter().map(|token| token.acker.ack(BasicAckOptions::default())));
        let acked = within("acknowledge", ANSWER, acks).await;
        self.settled(tokens.len());
        if matches!(acked, Err(LinkError::TimedOut(_))) {
            self.consuming.retire(&self.line.session.connection).await;
        }
        if acked?.into_iter().all(|acked| acked) {
            Ok(())
        } else {
            Err(away("acknowledge: the delivery's channel is closed"))
        }
    }
}

/// A channel and a consumer on it. A connection that gives none is not asked again.
async fn begin(consuming: &Consuming, queue: Queue, prefetch: u16) -> Result<Line, LinkError> {
    let session = consuming.session().await?;
    match consume(&session, queue, prefetch).await {
        Ok(consumer) => Ok(Line::new(session, consumer)),
        Err(error) => {
            if error.is_worth_another_link() {
                consuming.retire(&session.connection).await;
            }
            Err(error)
        }
    }
}

impl AmqpSubscription {
    /// Tells who replayed deliveries how they ended. Whoever asked may be gone, and nothing rests on the answer.
    async fn tell(&self, tokens: &[&AmqpToken], outcome: Outcome) {
        let answers: Vec<_> = tokens.iter().filter_map(|token| outgoing::answer(&token.properties, outcome)).collect();
        let told = timeout(ANSWER, self.publisher.publish(answers)).await;
        if !matches!(told, Ok(Ok(()))) {
            tracing::debug!(?told, "A replay could not be told what became of its messages.");
        }
    }
}

async fn consume(session: &Session, queue: Queue, prefetch: u16) -> Result<Consumer, LinkError> {
    let (channel, care) = (&session.channel, session.care());
    declare::work_queue(channel, care, queue).await?;
    declare::parked_queue(channel, care, queue).await?;
    declare::bind(channel, care, queue).await?;
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

    async fn ack_all(&mut self, deliveries: Vec<Delivery>) -> Result<(), BusError> {
        let tokens = deliveries.iter().map(token).collect::<Result<Vec<_>, _>>()?;
        self.settle(&tokens).await?;
        self.tell(&tokens, Outcome::Done).await;
        Ok(())
    }

    async fn retry(&mut self, delivery: &Delivery, retry: &Retry) -> Result<(), BusError> {
        let token = token(delivery)?;
        let attempt = delivery.attempt.saturating_add(u32::from(!retry.free));
        let outgoing = Outgoing::retry(self.queue, &delivered(delivery, token), attempt, retry.after);
        self.publisher.publish(vec![outgoing]).await?;
        self.settle(&[token]).await
    }

    async fn park(&mut self, delivery: &Delivery, park: &Park) -> Result<(), BusError> {
        let token = token(delivery)?;
        let outgoing = Outgoing::park(self.queue, &delivered(delivery, token), park);
        self.publisher.publish(vec![outgoing]).await?;
        self.settle(&[token]).await?;
        self.tell(&[token], Outcome::Parked).await;
        Ok(())
    }

    fn is_blocked(&self) -> bool {
        self.publisher.is_blocked()
    }
}

/// What arrived, as the worker sees it.
pub(super) fn delivery(arrived: Arrived) -> Delivery {
    let Arrived { properties, data, acker, exchange, routing_key, delivery_tag, .. } = arrived;
    let origin = Origin {
        exchange: exchange.to_string(),
        routing_key: routing_key.to_string(),
        delivery_tag: Some(delivery_tag),
    };
    let wire = Wire { bytes: data.into(), encoding: outgoing::encoding(&properties) };
    let (label, attempt) = (outgoing::label(&properties), outgoing::attempt(&properties));
    Delivery::read(label, attempt, wire, Token::Amqp(Box::new(AmqpToken { acker, properties, origin })))
}

fn delivered<'a>(delivery: &'a Delivery, token: &'a AmqpToken) -> Delivered<'a> {
    Delivered { label: &delivery.label, properties: &token.properties, body: &delivery.wire.bytes }
}

fn token(delivery: &Delivery) -> Result<&AmqpToken, BusError> {
    match &delivery.token {
        Token::Amqp(token) => Ok(token),
        Token::Embedded(_) | Token::Outside(_) => Err(away("settle another bus's delivery")),
    }
}

const fn away(operation: &'static str) -> BusError {
    BusError::Unavailable { operation, source: None }
}
