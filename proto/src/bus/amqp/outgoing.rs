//! What is published: a body, its properties, and where it goes.
//!
//! The body of a message is written once and passed on as it is by retries, parking and replay, so that nothing is lost
//! that a later version put into it. What changes on the way is in headers: `attempt` overrides the envelope's.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, ShortString},
};
use uuid::Uuid;

use super::declare::Tier;
use crate::{
    bus::{BusError, Label, Outcome},
    clock::{Clock as _, SystemClock},
    codec::{Encoding, Kind, Wire},
    handler::Park,
    id::RunId,
    message::Message,
    topology::{EXCHANGE, Queue, routing_key},
    trace::{self, TraceContext},
};

/// Headers of our own.
pub(super) const ATTEMPT: &str = "attempt";
pub(super) const DISTRICT: &str = "district";
pub(super) const REASON: &str = "reason";
pub(super) const DETAIL: &str = "detail";
pub(super) const PARKED_AT: &str = "parked-at";
pub(super) const SOURCE_QUEUE: &str = "source-queue";
pub(super) const RUN: &str = "run";

/// Types of the answers to a replay.
const ANSWER_DONE: &str = "rollcall.done";
const ANSWER_PARKED: &str = "rollcall.parked";

/// The content type of every message.
const CONTENT_TYPE: &str = "application/msgpack";

/// AMQP's delivery mode for a message that is stored.
const PERSISTENT: u8 = 2;

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Outgoing {
    /// By which a returned message is recognised.
    pub(super) id: Uuid,
    pub(super) exchange: &'static str,
    pub(super) routing_key: String,
    pub(super) properties: BasicProperties,
    pub(super) body: Bytes,
    /// Is to come back where no queue wants it.
    pub(super) mandatory: bool,
}

impl Outgoing {
    /// A message to whom it concerns.
    pub(super) fn publish(message: &Message) -> Result<Self, BusError> {
        let wire = Wire::pack(message).map_err(|source| BusError::Encode { id: message.id, source })?;
        let mut headers = FieldTable::default();
        headers.insert(trace::HEADER.into(), text(&TraceContext::of_message(message).to_string()));
        headers.insert(DISTRICT.into(), text(message.district.as_str()));
        headers.insert(ATTEMPT.into(), AMQPValue::LongUInt(message.attempt));
        let mut properties = BasicProperties::default()
            .with_content_type(CONTENT_TYPE.into())
            .with_delivery_mode(PERSISTENT)
            .with_message_id(short(message.id))
            .with_correlation_id(short(message.run.0))
            .with_type(Kind::of(&message.body).as_str().into())
            .with_timestamp(message.time.timestamp().unsigned_abs())
            .with_headers(headers);
        if let Some(encoding) = wire.encoding.name() {
            properties = properties.with_content_encoding(encoding.into());
        }
        let routing_key = routing_key(message);
        Ok(Self { id: message.id, exchange: EXCHANGE, routing_key, properties, body: wire.bytes, mandatory: true })
    }

    /// A delivery that is to come again to `queue` after a while.
    pub(super) fn retry(queue: Queue, delivered: &Delivered<'_>, attempt: u32, after: Duration) -> Self {
        let mut headers = delivered.own_headers();
        headers.insert(ATTEMPT.into(), AMQPValue::LongUInt(attempt));
        delivered.forward(Tier::at_least(after).name, queue.name(), headers)
    }

    /// A delivery that is kept aside.
    pub(super) fn park(queue: Queue, delivered: &Delivered<'_>, park: &Park) -> Self {
        let mut headers = delivered.own_headers();
        headers.insert(REASON.into(), text(park.reason));
        headers.insert(DETAIL.into(), text(&park.detail));
        headers.insert(PARKED_AT.into(), text(&SystemClock.now().to_rfc3339_opts(SecondsFormat::Micros, true)));
        headers.insert(SOURCE_QUEUE.into(), text(queue.name()));
        delivered.forward("", queue.parked_name(), headers)
    }

    /// A parked message on its way back to work, straight to its own queue: whoever else has bound a queue has had it.
    /// Whoever settles it tells the queue `answers`, where one is named.
    pub(super) fn replay(queue: Queue, delivered: &Delivered<'_>, answers: Option<&str>) -> Self {
        let mut headers = delivered.own_headers();
        headers.insert(ATTEMPT.into(), AMQPValue::LongUInt(0));
        let mut replayed = delivered.forward("", queue.name(), headers);
        // Also where nobody listens: who replayed it before does not listen any more.
        replayed.properties = replayed.properties.with_reply_to(answers.unwrap_or_default().into());
        replayed
    }
}

/// Where the end of a delivery is to be told.
fn reply_to(properties: &BasicProperties) -> Option<&ShortString> {
    properties.reply_to().as_ref().filter(|queue| !queue.as_str().is_empty())
}

/// Tells whoever has replayed a delivery, if anybody, that it has come to its end. Whoever asked may be gone.
pub(super) fn answer(properties: &BasicProperties, outcome: Outcome) -> Option<Outgoing> {
    let routing_key = reply_to(properties)?.to_string();
    let properties = answering(properties, outcome);
    Some(Outgoing { id: Uuid::new_v4(), exchange: "", routing_key, properties, body: Bytes::new(), mandatory: false })
}

fn answering(properties: &BasicProperties, outcome: Outcome) -> BasicProperties {
    let kind = match outcome {
        Outcome::Done => ANSWER_DONE,
        Outcome::Parked => ANSWER_PARKED,
    };
    let answer = BasicProperties::default().with_type(kind.into());
    match properties.message_id() {
        Some(id) => answer.with_message_id(id.clone()),
        None => answer,
    }
}

/// What an answer tells, and of which message.
pub(super) fn read_answer(properties: &BasicProperties) -> (Uuid, Outcome) {
    let is_done = properties.kind().as_ref().is_some_and(|kind| kind.as_str() == ANSWER_DONE);
    (label(properties).id, if is_done { Outcome::Done } else { Outcome::Parked })
}

/// What came, as it is passed on.
pub(super) struct Delivered<'a> {
    pub(super) label: &'a Label,
    pub(super) properties: &'a BasicProperties,
    pub(super) body: &'a Bytes,
}

impl Delivered<'_> {
    /// The headers that stay with a message. The broker's own are left behind: with an old `x-death` it would take a
    /// second retry for a cycle, and drop it.
    fn own_headers(&self) -> FieldTable {
        let mut headers = FieldTable::default();
        for name in [trace::HEADER, ATTEMPT] {
            if let Some(value) = header(self.properties, name) {
                headers.insert(name.into(), value.clone());
            }
        }
        if let Some(district) = &self.label.district {
            headers.insert(DISTRICT.into(), text(district.as_str()));
        }
        if let Some(run) = self.label.run {
            headers.insert(RUN.into(), text(&run.to_string()));
        }
        headers
    }

    fn forward(&self, exchange: &'static str, routing_key: &str, headers: FieldTable) -> Outgoing {
        let id = self.label.id;
        let properties =
            self.properties.clone().with_message_id(short(id)).with_delivery_mode(PERSISTENT).with_headers(headers);
        let (routing_key, body) = (routing_key.to_owned(), self.body.clone());
        Outgoing { id, exchange, routing_key, properties, body, mandatory: true }
    }
}

/// What the properties tell of a message.
pub(super) fn label(properties: &BasicProperties) -> Label {
    let uuid = |text: &ShortString| Uuid::parse_str(text.as_str()).ok();
    Label {
        id: properties.message_id().as_ref().and_then(uuid).unwrap_or_default(),
        kind: properties.kind().as_ref().map_or_else(|| "unknown".to_owned(), ToString::to_string),
        district: text_header(properties, DISTRICT).and_then(|text| text.parse().ok()),
        run: properties.correlation_id().as_ref().and_then(uuid).map(RunId),
    }
}

/// The trace context that the headers tell; none where it is not one.
pub(super) fn context(properties: &BasicProperties) -> Option<TraceContext> {
    text_header(properties, trace::HEADER)?.parse().ok()
}

/// How the body is to be read.
pub(super) fn encoding(properties: &BasicProperties) -> Encoding {
    Encoding::parse(properties.content_encoding().as_ref().map(ShortString::as_str))
}

/// The attempt that the headers tell.
pub(super) fn attempt(properties: &BasicProperties) -> Option<u32> {
    match header(properties, ATTEMPT)? {
        AMQPValue::LongUInt(attempt) => Some(*attempt),
        AMQPValue::LongInt(attempt) => u32::try_from(*attempt).ok(),
        AMQPValue::LongLongInt(attempt) => u32::try_from(*attempt).ok(),
        _ => None,
    }
}

/// Why, in whose words and when a message was parked, by us or by the broker.
pub(super) fn parking(properties: &BasicProperties) -> (String, String, DateTime<Utc>) {
    if let Some(reason) = text_header(properties, REASON) {
        let at = text_header(properties, PARKED_AT).and_then(|text| text.parse().ok());
        return (reason, text_header(properties, DETAIL).unwrap_or_default(), at.unwrap_or_default());
    }
    let death = header(properties, "x-death").and_then(last_death);
    let at = death.and_then(|death| match death.inner().get("time") {
        Some(AMQPValue::Timestamp(seconds)) => DateTime::from_timestamp(i64::try_from(*seconds).ok()?, 0),
        _ => None,
    });
    // Its last death, not its first: where it was ever tried again, that one was the end of a wait.
    let reason = death.and_then(|death| string(death.inner().get("reason")?)).map(|reason| reason.replace('_', "-"));
    let detail = "the broker gave up on it: delivered again and again, and never settled".to_owned();
    (reason.unwrap_or_else(|| "unknown".to_owned()), detail, at.unwrap_or_default())
}

/// The broker puts it in front of those before.
fn last_death(deaths: &AMQPValue) -> Option<&FieldTable> {
    match deaths {
        AMQPValue::FieldArray(deaths) => match deaths.as_slice().first() {
            Some(AMQPValue::FieldTable(death)) => Some(death),
            _ => None,
        },
        _ => None,
    }
}

fn header<'a>(properties: &'a BasicProperties, name: &str) -> Option<&'a AMQPValue> {
    properties.headers().as_ref()?.inner().get(name)
}

fn text_header(properties: &BasicProperties, name: &str) -> Option<String> {
    string(header(properties, name)?)
}

fn string(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => Some(text.to_string()),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        _ => None,
    }
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

/// A UUID is 36 bytes, well below the 255 that a short string may have.
fn short(id: Uuid) -> ShortString {
    id.hyphenated().to_string().into()
}
