//! Spans and metrics of messages, by OpenTelemetry's messaging conventions
//! (<https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/> and `…/rabbitmq/`).
//!
//! How they hang together: a message's creation context is known from its ids ([`TraceContext::of_message`]). One message
//! published alone has a `send` span with that context; of several, each has a `create` span with its own, and one
//! `send` span links to them all. A `process` span of one message is a child of its creation context, and links to it;
//! one of several links to each, and is a child of their run, or a trace of its own where they are of several runs.
//! Settling (`ack`, `retry`, `park`) is a child of the `process` span. Of a message that cannot be read, the properties and
//! headers tell what a body would.

use std::time::Duration;

use opentelemetry::{
    Context, KeyValue,
    trace::{SpanKind, TraceContextExt as _},
};
use tokio::time::Instant;

use super::{
    consuming, metric,
    span::{Begun, Spanned, Whose, is_on, link_to, remote, with_ids, within},
};
use crate::{
    bus::{BusError, Delivery},
    clock::{Clock as _, SystemClock},
    codec::Kind,
    handler::{Fate, Retry},
    id::DistrictId,
    message::{Body, Message},
    topology::{EXCHANGE, Queue, queue_of, routing_key},
    trace::TraceContext,
};

/// Which messaging system carries messages, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct System {
    /// `messaging.system`: `rabbitmq`, or a word of our own.
    pub name: &'static str,
    /// `server.address` and `server.port`.
    pub server: Option<(String, u16)>,
}

impl System {
    /// The bus in a file.
    pub fn embedded() -> &'static Self {
        static EMBEDDED: System = System { name: "rollcall_embedded", server: None };
        &EMBEDDED
    }

    /// RabbitMQ there.
    pub const fn rabbitmq(host: String, port: u16) -> Self {
        Self { name: "rabbitmq", server: Some((host, port)) }
    }

    fn is_rabbitmq(&self) -> bool {
        self.name == "rabbitmq"
    }

    fn attributes(&self, operation: &'static str, kind: &'static str) -> Vec<KeyValue> {
        let mut attributes = Vec::with_capacity(16);
        attributes.push(KeyValue::new("messaging.system", self.name));
        attributes.push(KeyValue::new("messaging.operation.name", operation));
        attributes.push(KeyValue::new("messaging.operation.type", kind));
        if let Some((address, port)) = &self.server {
            attributes.push(KeyValue::new("server.address", address.clone()));
            attributes.push(KeyValue::new("server.port", i64::from(*port)));
        }
        attributes
    }
}

/// Where a delivery came from, as the broker told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// The exchange; empty for the default one.
    pub exchange: String,
    /// The routing key.
    pub routing_key: String,
    /// The number by which it is acknowledged.
    pub delivery_tag: Option<u64>,
}

/// `messaging.destination.name` and its template, which has no district in it.
struct Destination {
    name: String,
    template: String,
}

impl Destination {
    fn of(parts: &[&str], district: &str) -> Self {
        let mut kept: Vec<&str> = Vec::with_capacity(parts.len());
        parts.iter().filter(|part| !part.is_empty()).for_each(|part| {
            if !kept.contains(part) {
                kept.push(*part);
            }
        });
        let template = |part: &&str| match part.strip_suffix(district) {
            Some(stem) if stem.ends_with('.') => format!("{stem}{{district}}"),
            _ => (*part).to_owned(),
        };
        let template = kept.iter().map(template).collect::<Vec<_>>().join(":");
        Self { name: kept.join(":"), template }
    }

    /// Where a message is published to.
    fn published(system: &System, message: &Message) -> Self {
        if system.is_rabbitmq() {
            Self::of(&[EXCHANGE, &routing_key(message)], message.district.as_str())
        } else {
            Self::of(&[queue_of(&message.body).name()], "")
        }
    }

    /// Where deliveries came from: all of them the same way, or else no more than their queue is told.
    fn consumed(queue: Queue, deliveries: &[&Delivery]) -> Self {
        match shared_origin(deliveries) {
            Some((origin, district)) => Self::of(&[&origin.exchange, &origin.routing_key, queue.name()], district),
            None => Self::of(&[queue.name()], ""),
        }
    }

    fn describe(&self, attributes: &mut Vec<KeyValue>) {
        attributes.push(KeyValue::new("messaging.destination.name", self.name.clone()));
        if self.template != self.name {
            attributes.push(KeyValue::new("messaging.destination.template", self.template.clone()));
        }
    }
}

/// The way that all of these came, and the district that is in its routing key.
fn shared_origin<'a>(deliveries: &[&'a Delivery]) -> Option<(&'a Origin, &'a str)> {
    let first = *deliveries.first()?;
    let origin = first.origin()?;
    let is_the_same = |other: &Origin| (&other.exchange, &other.routing_key) == (&origin.exchange, &origin.routing_key);
    let shared = deliveries.iter().all(|delivery| delivery.origin().is_some_and(is_the_same));
    shared.then(|| (origin, first.label.district.as_ref().map_or("", DistrictId::as_str)))
}

/// Which deliveries a span is about, one or several, and where they came from: as far as a broker tells without their bodies.
/// Answers what the span's name has of it.
fn describe_consumed(
    system: &System,
    queue: Queue,
    deliveries: &[&Delivery],
    attributes: &mut Vec<KeyValue>,
) -> String {
    let destination = Destination::consumed(queue, deliveries);
    destination.describe(attributes);
    let origin = shared_origin(deliveries).map(|(origin, _)| origin).filter(|_| system.is_rabbitmq());
    if let Some(origin) = origin {
        attributes.push(KeyValue::new("messaging.rabbitmq.destination.routing_key", origin.routing_key.clone()));
    }
    if let [delivery] = deliveries {
        let label = &delivery.label;
        attributes.push(KeyValue::new("messaging.message.id", label.id.to_string()));
        let run = label.run.map(|run| KeyValue::new("messaging.message.conversation_id", run.to_string()));
        attributes.extend(run);
        attributes.push(KeyValue::new("rollcall.message.kind", label.kind.clone()));
        let tag = origin.and_then(|origin| i64::try_from(origin.delivery_tag?).ok());
        attributes.extend(tag.map(|tag| KeyValue::new("messaging.rabbitmq.message.delivery_tag", tag)));
    } else {
        attributes.push(KeyValue::new("messaging.batch.message_count", deliveries.len() as i64));
    }
    destination.template
}

fn describe(message: &Message, attributes: &mut Vec<KeyValue>) {
    attributes.push(KeyValue::new("messaging.message.id", message.id.to_string()));
    attributes.push(KeyValue::new("messaging.message.conversation_id", message.run.to_string()));
    attributes.push(KeyValue::new("rollcall.message.kind", Kind::of(&message.body).as_str()));
}

/// Publishes by `publishing`, under its spans, and counts.
pub async fn publish<F>(system: &System, messages: &[Message], publishing: F) -> Result<(), BusError>
where
    F: Future<Output = Result<(), BusError>>,
{
    let begun = Instant::now();
    let span = sending(system, messages);
    let result = within(span.as_ref(), publishing).await;
    let outcome = if result.is_ok() { "confirmed" } else { "failed" };
    metrics::counter!(metric::PUBLISHED, "outcome" => outcome).increment(messages.len() as u64);
    metrics::histogram!(metric::PUBLISH_DURATION).record(begun.elapsed().as_secs_f64());
    if let Some(span) = span {
        if let Err(error) = &result {
            span.fail(class(error));
        }
        span.end();
    }
    result
}

fn sending(system: &System, messages: &[Message]) -> Option<Spanned> {
    if !is_on() {
        return None;
    }
    match messages {
        [] => None,
        [message] => create(system, message, "send"),
        several => send_together(system, several),
    }
}

/// The span of a message's creation: a child of the current one where that is of its run, else of its cause's.
fn create(system: &System, message: &Message, operation: &'static str) -> Option<Spanned> {
    let destination = Destination::published(system, message);
    let mut attributes = system.attributes(operation, operation);
    destination.describe(&mut attributes);
    describe(message, &mut attributes);
    if system.is_rabbitmq() {
        attributes.push(KeyValue::new("messaging.rabbitmq.destination.routing_key", routing_key(message)));
    }
    let mut begun = Begun::new(format!("{operation} {}", destination.template), SpanKind::Producer, attributes);
    let context = TraceContext::of_message(message);
    let (parent, ambient) = parent_of(message);
    if operation == "send" {
        begun.links.push(link_to(context));
    }
    begun.links.extend(ambient);
    let whose = Whose::run(&message.district, message.run);
    with_ids(context, || Spanned::begin(&parent, Some(&whose), begun))
}

/// The parent of a message's creation, and a link to the current span where that is another trace's.
fn parent_of(message: &Message) -> (Context, Option<opentelemetry::trace::Link>) {
    let current = Context::current();
    let here = current.span().span_context().clone();
    let cause = remote(TraceContext::parent_of(message));
    if here.is_valid() && here.trace_id() == cause.trace_id() {
        return (current, None);
    }
    let link = here.is_valid().then(|| opentelemetry::trace::Link::new(here, Vec::new(), 0));
    (Context::new().with_remote_span_context(cause), link)
}

fn send_together(system: &System, messages: &[Message]) -> Option<Spanned> {
    for message in messages {
        create(system, message, "create")?.end();
    }
    let first = messages.first()?;
    let mut attributes = system.attributes("send", "send");
    attributes.push(KeyValue::new("messaging.batch.message_count", messages.len() as i64));
    let destination = Destination::published(system, first);
    let shared = messages.iter().all(|message| Destination::published(system, message).name == destination.name);
    let name = if shared {
        destination.describe(&mut attributes);
        format!("send {}", destination.template)
    } else {
        format!("send {}", if system.is_rabbitmq() { EXCHANGE } else { "rollcall" })
    };
    let mut begun = Begun::new(name, SpanKind::Client, attributes);
    begun.links = messages.iter().map(|message| link_to(TraceContext::of_message(message))).collect();
    let (parent, ambient) = parent_of(first);
    begun.links.extend(ambient);
    Spanned::begin(&parent, Some(&whose(messages.iter())), begun)
}

fn whose<'a>(messages: impl Iterator<Item = &'a Message>) -> Whose {
    Whose::runs(messages.map(|message| (Some(&message.district), Some(message.run))))
}

/// As far as it is known of deliveries.
fn whose_deliveries(deliveries: &[&Delivery]) -> Whose {
    Whose::runs(deliveries.iter().map(|delivery| (delivery.label.district.as_ref(), delivery.label.run)))
}

fn class(error: &BusError) -> &'static str {
    match error {
        BusError::Unavailable { .. } => "broker-unavailable",
        BusError::Blocked => "broker-blocked",
        BusError::Unroutable { .. } => "unroutable",
        BusError::Refused { .. } => "refused",
        BusError::Encode { .. } => "encode",
        BusError::Url => "url",
        BusError::Topology { .. } => "topology",
        BusError::Missing { .. } => "topology-missing",
        BusError::Embedded { .. } => "embedded-queue",
    }
}

/// Messages taken in hand together, or one alone, until they are settled.
#[derive(Debug)]
pub(crate) struct Taken {
    queue: Queue,
    begun: Instant,
    count: usize,
    span: Option<Spanned>,
}

impl Taken {
    /// Takes deliveries in hand, and the messages in them: all of these, or none where the one delivery cannot be read.
    pub(crate) fn begin(system: &System, queue: Queue, messages: &[&Message], deliveries: &[&Delivery]) -> Self {
        let now = SystemClock.now();
        let word = queue.word();
        for message in messages {
            consuming::taken(queue, message.time);
            let age = (now - message.time).to_std().unwrap_or(Duration::ZERO);
            metrics::histogram!(metric::MESSAGE_AGE, "queue" => word).record(age.as_secs_f64());
        }
        let count = messages.len();
        if count > 0 {
            metrics::histogram!(metric::GROUP_SIZE, "queue" => word).record(count as f64);
        }
        metrics::gauge!(metric::IN_HAND, "queue" => word).increment(count as f64);
        let span = is_on().then(|| processing(system, queue, messages, deliveries)).flatten();
        Self { queue, begun: Instant::now(), count, span }
    }

    /// The span that handling goes on in.
    pub(crate) const fn span(&self) -> Option<&Spanned> {
        self.span.as_ref()
    }

    /// A handler panicked.
    pub(crate) fn panicked(&self) {
        metrics::counter!(metric::PANICS, "queue" => self.queue.word()).increment(1);
        if let Some(span) = &self.span {
            span.event("exception", vec![KeyValue::new("exception.type", "panic")]);
        }
    }

    /// They did not go together: each is handled alone now, under a span of its own.
    pub(crate) fn apart(&self) {
        if let Some(span) = &self.span {
            span.set("rollcall.message.outcome", "apart");
            span.end();
        }
    }

    /// Fates are known. What failed first names the span's error.
    pub(crate) fn end<'a>(&self, fates: impl Iterator<Item = &'a Fate>) {
        let queue = self.queue.word();
        metrics::histogram!(metric::MESSAGE_DURATION, "queue" => queue).record(self.begun.elapsed().as_secs_f64());
        let Some(span) = &self.span else { return };
        let mut failed = None;
        let mut outcome = "done";
        for fate in fates {
            outcome = outcome_of(fate);
            failed = failed.or_else(|| reason_of(fate));
        }
        span.set("rollcall.message.outcome", outcome);
        if let Some(reason) = failed {
            span.fail(reason);
        }
        span.end();
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        metrics::gauge!(metric::IN_HAND, "queue" => self.queue.word()).decrement(self.count as f64);
    }
}

fn processing(system: &System, queue: Queue, messages: &[&Message], deliveries: &[&Delivery]) -> Option<Spanned> {
    let mut attributes = system.attributes("process", "process");
    let name = describe_consumed(system, queue, deliveries, &mut attributes);
    let creations: Vec<TraceContext> = match (messages, deliveries) {
        ([], [unread]) => unread.context().into_iter().collect(),
        _ => messages.iter().map(|message| TraceContext::of_message(message)).collect(),
    };
    if let [message] = messages {
        detail(message, &mut attributes);
    }
    let parent = if deliveries.len() == 1 { below(creations.first()) } else { run_of(messages) };
    let mut begun = Begun::new(format!("process {name}"), SpanKind::Consumer, attributes);
    begun.links = creations.into_iter().map(link_to).collect();
    Spanned::begin(&parent, Some(&whose_deliveries(deliveries)), begun)
}

/// What is below a message's creation; the beginning of a trace where that is not known.
fn below(creation: Option<&TraceContext>) -> Context {
    creation.map_or_else(Context::new, |creation| Context::new().with_remote_span_context(remote(*creation)))
}

/// The run that all of them are of, as a parent; nothing where they are of several.
fn run_of(messages: &[&Message]) -> Context {
    let first = messages.first().map(|message| message.run);
    match first.filter(|run| messages.iter().all(|message| message.run == *run)) {
        Some(run) => Context::new().with_remote_span_context(remote(TraceContext::of_run(run))),
        None => Context::new(),
    }
}

/// Which part of the run it is about: numbers only.
fn detail(message: &Message, attributes: &mut Vec<KeyValue>) {
    attributes.push(KeyValue::new("rollcall.message.attempt", i64::from(message.attempt)));
    let mut number = |name: &'static str, number: u64| attributes.push(KeyValue::new(name, number as i64));
    match &message.body {
        Body::Discover(work) => number("rollcall.connection", work.connection.0.into()),
        Body::Fetch(work) => {
            number("rollcall.connection", work.connection.0.into());
            number("rollcall.lane", work.lane.into());
        }
        Body::Page(page) => {
            number("rollcall.connection", page.connection.0.into());
            number("rollcall.listing", page.listing.0.into());
            number("rollcall.page", page.page.0.into());
        }
        Body::Students(events) => {
            number("rollcall.batch", events.batch.into());
            number("rollcall.students", events.events.len() as u64);
        }
        _ => {}
    }
}

/// As the label and the attribute have it.
pub(crate) const fn outcome_of(fate: &Fate) -> &'static str {
    match fate {
        Fate::Done => "done",
        Fate::Retry(Retry { free: true, .. }) => "waits",
        Fate::Retry(_) => "retried",
        Fate::Park(_) => "parked",
    }
}

/// The reason code of a failure; a wait is none.
fn reason_of(fate: &Fate) -> Option<&'static str> {
    match fate {
        Fate::Retry(retry) if !retry.free => Some(retry.reason),
        Fate::Park(park) => Some(park.reason),
        _ => None,
    }
}

/// Counts a settled message.
pub(crate) fn settled(queue: Queue, fate: &Fate, number: u64) {
    let queue = queue.word();
    metrics::counter!(metric::MESSAGES, "queue" => queue, "outcome" => outcome_of(fate)).increment(number);
    if let Some(reason) = reason_of(fate) {
        metrics::counter!(metric::FAILURES, "queue" => queue, "reason" => reason).increment(number);
    }
}

/// The span of settling deliveries: a child of the `process` span that they were handled under.
pub(crate) fn settling(
    system: &System,
    queue: Queue,
    operation: &'static str,
    deliveries: &[&Delivery],
    process: Option<&Spanned>,
) -> Option<Spanned> {
    let process = process?;
    let mut attributes = system.attributes(operation, "settle");
    let name = describe_consumed(system, queue, deliveries, &mut attributes);
    let begun = Begun::new(format!("{operation} {name}"), SpanKind::Client, attributes);
    Spanned::begin(process.context(), Some(&whose_deliveries(deliveries)), begun)
}

/// Settles under that span.
pub(crate) async fn settle<F>(span: Option<Spanned>, settling: F) -> Result<(), BusError>
where
    F: Future<Output = Result<(), BusError>>,
{
    let result = within(span.as_ref(), settling).await;
    if let Some(span) = span {
        if let Err(error) = &result {
            span.fail(class(error));
        }
        span.end();
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_written_as_the_convention_for_rabbitmq_has_it() {
        let of = |parts: &[&str]| {
            let destination = Destination::of(parts, "lone-star-isd");
            (destination.name, destination.template)
        };
        assert_eq!(
            of(&["rollcall", "page.raw.lone-star-isd", "rollcall.collect"]),
            (
                "rollcall:page.raw.lone-star-isd:rollcall.collect".to_owned(),
                "rollcall:page.raw.{district}:rollcall.collect".to_owned()
            )
        );
        // A retry comes by the default exchange, whose routing key is the queue.
        assert_eq!(of(&["", "rollcall.fetch", "rollcall.fetch"]).0, "rollcall.fetch");
    }
}
