//! The bus: how messages get from one service to the next.
//!
//! Two implementations of one contract, held to it by one conformance suite (`tests/bus_conformance.rs`):
//! [`amqp`] (RabbitMQ 3.10 and 4.x) and [`embedded`] (SQLite, one machine, survives `kill -9`).
//!
//! The contract: `publish` returns `Ok` only when every message of the batch is stored durably in at least one queue.
//! A delivery that is not settled comes again, to this consumer or another. Order is not promised.

pub mod amqp;
pub mod embedded;
pub mod worker;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::{
    codec::{Kind, Wire},
    failpoint::{Side, Step, reached},
    handler::{Park, Retry},
    id::{DistrictId, RunId},
    message::Message,
    telemetry::messaging::{Origin, System},
    topology::Queue,
    trace::TraceContext,
};

/// A bus that can be shared between tasks.
pub type SharedBus = Arc<dyn Bus>;

/// Why the bus could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// The broker is away, or did not answer in time. Try again.
    #[error("the message broker is unavailable while trying to {operation}")]
    Unavailable {
        /// What was being done.
        operation: &'static str,
        /// The client library's error.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The broker accepts no messages for now; deliveries and acknowledgements go on.
    #[error("the message broker accepts no messages until its memory or disk alarm has passed")]
    Blocked,
    /// The broker took a message and no queue wanted it: the topology is not as declared.
    #[error("the broker routed {count} of the messages to no queue; the first has routing key {routing_key}")]
    Unroutable {
        /// How many.
        count: usize,
        /// The first one's routing key.
        routing_key: String,
    },
    /// The broker refused messages (queue full, or out of disk).
    #[error("the broker refused {count} of the messages")]
    Refused {
        /// How many.
        count: usize,
    },
    /// A message could not be encoded.
    #[error("message {id} could not be encoded")]
    Encode {
        /// Which.
        id: Uuid,
        /// Why.
        #[source]
        source: crate::codec::CodecError,
    },
    /// The broker's URL cannot be read. It holds a password, so it is not repeated.
    #[error("the broker's URL is not of the form amqp://user:password@host:port/vhost (or amqps://)")]
    Url,
    /// A queue or exchange exists on the broker with other properties than this version declares.
    #[error(
        "{name} exists on the broker with other properties than this version of Rollcall declares; let it run empty, \
         delete it, and start again"
    )]
    Topology {
        /// Which.
        name: String,
        /// The broker's words.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// A queue or exchange is not on the broker, and the user may not make it.
    #[error(
        "{name} is missing on the broker, and this user may not make it; import deploy/rabbitmq/definitions.json again, or run \
         `rollcall queues list` as a user who may (ops)"
    )]
    Missing {
        /// Which.
        name: String,
        /// The broker's words.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The embedded bus's database failed.
    #[error("the embedded queue failed to {operation}")]
    Embedded {
        /// What was being done.
        operation: &'static str,
        /// The database's error.
        #[source]
        source: sqlx::Error,
    },
}

impl BusError {
    /// Worth another try without anybody doing anything.
    pub const fn is_transient(&self) -> bool {
        !matches!(self, Self::Encode { .. } | Self::Topology { .. } | Self::Url)
    }

    /// The broker is there and does not take what it was given: nothing that a new connection would change.
    pub const fn is_not_taken(&self) -> bool {
        matches!(self, Self::Blocked | Self::Refused { .. })
    }
}

/// What one delivery brought.
#[derive(Debug)]
pub struct Delivery {
    /// The message, or why it cannot be read (then only parking is left).
    pub message: Result<Message, Unreadable>,
    /// What can be told of it without reading it.
    pub(crate) label: Label,
    /// Deliveries that ended in a retry so far.
    pub(crate) attempt: u32,
    /// What came, so that a retry or a parking passes on all of it, fields of later versions included.
    pub(crate) wire: Wire,
    /// How this bus settles it.
    pub(crate) token: Token,
}

impl Delivery {
    /// Reads what came.
    pub(crate) fn read(label: Label, attempt: Option<u32>, wire: Wire, token: Token) -> Self {
        let mut message = wire.unpack();
        if let (Ok(message), Some(attempt)) = (&mut message, attempt) {
            message.attempt = attempt;
        }
        let attempt = message.as_ref().map_or(0, |message| message.attempt);
        let label = message.as_ref().map_or(label, Label::of);
        Self { message, label, attempt, wire, token }
    }

    /// Where it came from, where the bus tells.
    pub(crate) fn origin(&self) -> Option<&Origin> {
        match &self.token {
            Token::Amqp(token) => Some(token.origin()),
            Token::Embedded(_) | Token::Outside(_) => None,
        }
    }

    /// The context that its message was created in, where it can be told without reading it: the one that came beside the body,
    /// unless that is another run's; or by its ids.
    pub(crate) fn context(&self) -> Option<TraceContext> {
        let told = match &self.token {
            Token::Amqp(token) => token.context(),
            Token::Embedded(_) | Token::Outside(_) => None,
        };
        let Some(run) = self.label.run.map(TraceContext::of_run) else { return told };
        let worked_out = if self.label.id.is_nil() { run } else { run.child(self.label.id) };
        Some(told.filter(|told| told.trace_number() == run.trace_number()).unwrap_or(worked_out))
    }

    /// A delivery of a bus outside this crate, which finds it again by `tag`. `attempt`: deliveries of it that ended in a
    /// retry so far.
    pub fn outside(wire: Wire, attempt: u32, tag: u64) -> Self {
        let unreadable = Label { id: Uuid::nil(), kind: "unknown".to_owned(), district: None, run: None };
        Self::read(unreadable, Some(attempt), wire, Token::Outside(tag))
    }

    /// The tag of a delivery made by [`Delivery::outside`].
    pub const fn tag(&self) -> Option<u64> {
        match self.token {
            Token::Outside(tag) => Some(tag),
            Token::Amqp(_) | Token::Embedded(_) => None,
        }
    }

    /// Takes the message out for a handler. What stays behind can be settled all the same.
    pub(crate) fn take(self) -> (Result<Message, Unreadable>, Self) {
        let left = Err(Unreadable { reason: "taken", detail: String::new() });
        (self.message, Self { message: left, ..self })
    }
}

/// What a bus knows of a message from the outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Label {
    pub(crate) id: Uuid,
    pub(crate) kind: String,
    pub(crate) district: Option<DistrictId>,
    pub(crate) run: Option<RunId>,
}

impl Label {
    pub(crate) fn of(message: &Message) -> Self {
        Self {
            id: message.id,
            kind: Kind::of(&message.body).as_str().to_owned(),
            district: Some(message.district.clone()),
            run: Some(message.run),
        }
    }
}

/// A delivery that is no message this program knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Reason code: `undecodable`, `unknown-kind` or `unknown-version`.
    pub reason: &'static str,
    /// Class and position of the error; never the content.
    pub detail: String,
}

/// The moment around publishing, for the tests.
fn publishing(messages: &[Message], side: Side) {
    if let Some(first) = messages.first() {
        reached(Step::Publish, Kind::of(&first.body).as_str(), side);
    }
}

/// How a bus finds a delivery again.
#[derive(Debug)]
pub(crate) enum Token {
    /// RabbitMQ.
    Amqp(Box<amqp::AmqpToken>),
    /// SQLite.
    Embedded(embedded::EmbeddedToken),
    /// A bus that this crate does not know.
    Outside(u64),
}

/// Number of messages of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueDepth {
    /// Which queue.
    pub queue: Queue,
    /// Waiting to be delivered. The embedded bus counts what is with a consumer or put off too; the broker does not tell.
    pub waiting: u64,
    /// Parked beside it.
    pub parked: u64,
    /// Consumers attached, where the bus knows.
    pub consumers: Option<u32>,
}

/// A message kept aside. Shows ids and reason, never a student fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    /// The message's id.
    pub id: Uuid,
    /// Which queue it came from.
    pub queue: Queue,
    /// Its kind, such as `page.raw`; `unknown` where unreadable.
    pub kind: String,
    /// Reason code.
    pub reason: String,
    /// For people.
    pub detail: String,
    /// The tenant, where readable.
    pub district: Option<DistrictId>,
    /// The run, where readable.
    pub run: Option<RunId>,
    /// When it was parked; the Unix epoch where nothing tells.
    pub parked_at: DateTime<Utc>,
}

impl Parked {
    /// A moment after the one that stands for an unknown time of parking: a [`ParkedFilter::since`] that admits no message
    /// of unknown age.
    pub const AGE_IS_KNOWN: DateTime<Utc> = match DateTime::from_timestamp(1, 0) {
        Some(moment) => moment,
        None => DateTime::UNIX_EPOCH,
    };

    /// Which of the copies of its message it is.
    pub fn copy(&self) -> ParkedCopy {
        ParkedCopy { id: self.id, parked_at: self.parked_at }
    }
}

/// One of the copies of a message that are parked: under one id there may be several, and each was parked at a moment of its own.
/// What is parked anew is another copy, whatever the clock of whoever parked it said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ParkedCopy {
    /// Of the message.
    pub id: Uuid,
    /// As [`Parked::parked_at`].
    pub parked_at: DateTime<Utc>,
}

/// What is wrong with a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueFault {
    /// It is not there.
    Missing,
    /// It was declared with other arguments, by another program or by hand.
    DeclaredOtherwise,
}

/// Which parked messages are meant. Empty means all of the queue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParkedFilter {
    /// Only these messages, by id; one without a readable id has the nil UUID.
    pub ids: Option<BTreeSet<Uuid>>,
    /// Only these copies, as they were listed: not what was parked anew since.
    pub copies: Option<BTreeSet<ParkedCopy>>,
    /// Only of this district.
    pub district: Option<DistrictId>,
    /// Only of this run.
    pub run: Option<RunId>,
    /// Only with this reason code.
    pub reason: Option<String>,
    /// Only what was parked before this moment.
    pub before: Option<DateTime<Utc>>,
    /// Only what was parked at this moment or after it.
    pub since: Option<DateTime<Utc>>,
    /// At most so many.
    pub limit: Option<usize>,
}

impl ParkedFilter {
    /// Whether `parked` is meant, apart from the limit.
    pub fn admits(&self, parked: &Parked) -> bool {
        self.ids.as_ref().is_none_or(|ids| ids.contains(&parked.id))
            && self.copies.as_ref().is_none_or(|copies| copies.contains(&parked.copy()))
            && self.district.as_ref().is_none_or(|id| parked.district.as_ref() == Some(id))
            && self.run.is_none_or(|id| parked.run == Some(id))
            && self.reason.as_ref().is_none_or(|reason| parked.reason == *reason)
            && self.before.is_none_or(|moment| parked.parked_at < moment)
            && self.since.is_none_or(|moment| parked.parked_at >= moment)
    }
}

/// What became of a replayed message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Its handler is done with it.
    Done,
    /// It is parked again. A copy that has been parked all along is none of this.
    Parked,
}

/// Puts parked messages of one queue back to work and hears what became of them.
#[async_trait]
pub trait Replay: Send {
    /// As [`Bus::replay`].
    async fn replay(&mut self, filter: &ParkedFilter) -> Result<Vec<Parked>, BusError>;

    /// Ends of messages that this value has replayed, one for each copy; waits up to `limit` for the first. Empty when the
    /// time is up. A message without an id is known by the nil UUID. One that the broker parks itself (its consumers died
    /// over it) is not told by RabbitMQ; it is found among the parked.
    async fn outcomes(&mut self, limit: Duration) -> Result<Vec<(Uuid, Outcome)>, BusError>;
}

/// See the module.
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// Gets ready to publish, so that what is made next leaves as soon as it is made. Publishing does this too, where it was not done.
    async fn prepare(&self) -> Result<(), BusError> {
        Ok(())
    }

    /// Publishes a batch: `Ok` when all are confirmed and routed. On an error some may have been; publish all again.
    async fn publish(&self, messages: &[Message]) -> Result<(), BusError>;

    /// Starts consuming, with at most `prefetch` deliveries unsettled.
    async fn subscribe(&self, queue: Queue, prefetch: u16) -> Result<Box<dyn Subscription>, BusError>;

    /// The depth of every queue.
    async fn depths(&self) -> Result<Vec<QueueDepth>, BusError>;

    /// Parked messages, oldest first; they stay where they are.
    async fn parked(&self, queue: Queue, filter: &ParkedFilter) -> Result<Vec<Parked>, BusError>;

    /// Puts parked messages back to work under their own ids, with attempts counted anew. Returns which. Each copy that is
    /// parked when it begins goes back once at most; what is parked meanwhile stays.
    async fn replay(&self, queue: Queue, filter: &ParkedFilter) -> Result<Vec<Parked>, BusError>;

    /// Throws parked messages away, such as those of a district that is being erased, or that were kept long enough. Returns
    /// which.
    async fn discard(&self, _queue: Queue, _filter: &ParkedFilter) -> Result<Vec<Parked>, BusError> {
        Err(BusError::Unavailable { operation: "discard parked messages", source: None })
    }

    /// Throws away what waits for a district that has been erased, as far as the bus can tell its messages from others', and
    /// has nothing of what was ever thrown away left in files of its own. Returns how many messages. A broker cannot tell: there
    /// whoever gets such a message is done with it, since there is no such district any more.
    async fn forget(&self, _district: &DistrictId) -> Result<u64, BusError> {
        Ok(0)
    }

    /// [`Bus::replay`] by steps, with an ear for what becomes of them. A bus that hears nothing refuses.
    async fn watched_replay(&self, _queue: Queue) -> Result<Box<dyn Replay>, BusError> {
        Err(BusError::Unavailable { operation: "watch a replay", source: None })
    }

    /// Queues of the topology that are not there, or are there otherwise. Looks, and makes none. Bindings are not looked at:
    /// AMQP has no way of asking for one without making it, and a publisher whose message no queue wants makes them.
    async fn queue_faults(&self) -> Result<Vec<(String, QueueFault)>, BusError> {
        Ok(Vec::new())
    }

    /// Throws away what waits in a queue (never what is parked). For operators who know that the store will tell the
    /// reconciler what is owed.
    async fn purge(&self, queue: Queue) -> Result<u64, BusError>;

    /// Can the bus be reached right now? For `doctor` and readiness.
    async fn check(&self) -> Result<(), BusError>;

    /// What carries the messages, for spans.
    fn system(&self) -> &System {
        System::embedded()
    }

    /// How long a message really stays away that is to be handled again `after` so long. Until then it is nobody's.
    fn stays_away(&self, after: Duration) -> Duration {
        after.min(LONGEST_RETRY)
    }

    /// When the oldest message that waits in each queue was published, where the bus can tell.
    async fn oldest(&self) -> Result<Vec<(Queue, DateTime<Utc>)>, BusError> {
        Ok(Vec::new())
    }
}

/// A stream of deliveries. Dropping it gives unsettled deliveries back.
#[async_trait]
pub trait Subscription: Send {
    /// The next delivery. An error means that the subscription is dead: subscribe again.
    async fn next(&mut self) -> Result<Delivery, BusError>;

    /// The work is done.
    async fn ack(&mut self, delivery: Delivery) -> Result<(), BusError> {
        self.ack_all(vec![delivery]).await
    }

    /// The work of all of them is done.
    async fn ack_all(&mut self, deliveries: Vec<Delivery>) -> Result<(), BusError>;

    /// Comes again after `retry.after`, with its attempt raised unless `retry.free`. After an error that
    /// [is not taken](BusError::is_not_taken), the subscription lives and the delivery is still in hand, to be settled later.
    async fn retry(&mut self, delivery: &Delivery, retry: &Retry) -> Result<(), BusError>;

    /// Is kept aside with a reason. Errors are as those of [`Subscription::retry`].
    async fn park(&mut self, delivery: &Delivery, park: &Park) -> Result<(), BusError>;

    /// A retry or a parking would not be taken now.
    fn is_blocked(&self) -> bool {
        false
    }
}

/// Longest wait that [`Subscription::retry`] grants; a longer one is cut to this.
pub const LONGEST_RETRY: Duration = Duration::from_mins(10);
