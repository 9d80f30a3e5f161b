//! One delivery: from the bytes to a fate.

use std::{any::Any, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use futures_util::FutureExt as _;
use tokio::time::{Instant, timeout};
use tracing::{Instrument as _, Span, field::Empty};

use crate::{
    bus::{Delivery, Unreadable},
    handler::{Fate, Handler, Park, Retry},
    message::Message,
    topology::{ATTEMPTS, Queue},
    trace::TraceContext,
};

/// Reason code of a handler that panicked.
const PANIC: &str = "panic";

/// Reason code of a handler that did not come to an end.
const TOO_LONG: &str = "too-long";

/// A handler, and how long it may take.
#[derive(Clone)]
pub(super) struct Limited {
    pub(super) handler: Arc<dyn Handler>,
    pub(super) limit: Duration,
}

/// A delivery and what is to become of it.
pub(super) struct Attended {
    pub(super) delivery: Delivery,
    pub(super) fate: Fate,
}

/// Handles one delivery in a span of its own. Does not panic, whatever the handler does.
pub(super) async fn attend(handler: Limited, queue: Queue, delivery: Delivery, now: DateTime<Utc>) -> Attended {
    let (message, delivery) = delivery.take();
    attend_message(handler, queue, message, delivery, now).await
}

async fn attend_message(
    handler: Limited,
    queue: Queue,
    message: Result<Message, Unreadable>,
    delivery: Delivery,
    now: DateTime<Utc>,
) -> Attended {
    let begun = Instant::now();
    let span = span(queue, &delivery, message.as_ref().ok(), now);
    let fate = match message {
        Ok(message) => decide(&handler, message, &delivery).instrument(span.clone()).await,
        Err(unreadable) => parked(unreadable),
    };
    ended(&span, &fate, begun);
    Attended { delivery, fate }
}

/// Handles deliveries that waited together, each in a span of its own. What does not go together goes one by one.
pub(super) async fn attend_together(
    handler: Limited,
    queue: Queue,
    deliveries: Vec<Delivery>,
    now: DateTime<Utc>,
) -> Vec<Attended> {
    let begun = Instant::now();
    let (mut messages, mut taken) = (Vec::with_capacity(deliveries.len()), Vec::with_capacity(deliveries.len()));
    let mut spans = Vec::with_capacity(deliveries.len());
    for delivery in deliveries {
        let (message, delivery) = delivery.take();
        spans.push(span(queue, &delivery, message.as_ref().ok(), now));
        messages.extend(message);
        taken.push(delivery);
    }
    let fates = match spans.first() {
        // One that cannot be read is parked alone.
        Some(first) if messages.len() == taken.len() => {
            let together = unpanicked(timeout(handler.limit, handler.handler.handle_together(messages)));
            together.instrument(first.clone()).await.ok().and_then(Result::ok).flatten()
        }
        _ => None,
    };
    let Some(fates) = fates.filter(|fates| fates.len() == taken.len()) else {
        return one_by_one(handler, queue, taken, now).await;
    };
    let mut attended = Vec::with_capacity(taken.len());
    for ((delivery, fate), span) in taken.into_iter().zip(fates).zip(&spans) {
        let fate = within_attempts(&handler, fate, delivery.attempt, &delivery).instrument(span.clone()).await;
        ended(span, &fate, begun);
        attended.push(Attended { delivery, fate });
    }
    attended
}

/// The group took the messages with it, so they are read from the wire once more.
async fn one_by_one(handler: Limited, queue: Queue, deliveries: Vec<Delivery>, now: DateTime<Utc>) -> Vec<Attended> {
    let mut attended = Vec::with_capacity(deliveries.len());
    for delivery in deliveries {
        let message = read_again(&delivery);
        attended.push(attend_message(handler.clone(), queue, message, delivery, now).await);
    }
    attended
}

fn read_again(delivery: &Delivery) -> Result<Message, Unreadable> {
    delivery.wire.unpack().map(|message| Message { attempt: delivery.attempt, ..message })
}

fn ended(span: &Span, fate: &Fate, begun: Instant) {
    span.record("outcome", outcome(fate));
    span.record("duration_ms", begun.elapsed().as_millis() as u64);
}

/// Named as OpenTelemetry's messaging conventions have it.
fn span(queue: Queue, delivery: &Delivery, message: Option<&Message>, now: DateTime<Utc>) -> Span {
    let label = &delivery.label;
    let span = tracing::info_span!(
        "process",
        otel.kind = "consumer",
        messaging.operation.type = "process",
        messaging.destination.name = queue.name(),
        messaging.message.id = %label.id,
        messaging.message.conversation_id = Empty,
        kind = %label.kind,
        run = label.run.map(tracing::field::display),
        district = label.district.as_ref().map(tracing::field::display),
        attempt = delivery.attempt,
        trace_id = Empty,
        span_id = Empty,
        parent_span_id = Empty,
        age_ms = Empty,
        outcome = Empty,
        duration_ms = Empty,
    );
    if let Some(message) = message {
        let context = TraceContext::of_message(message);
        span.record("messaging.message.conversation_id", tracing::field::display(message.run));
        span.record("trace_id", context.trace_id());
        span.record("span_id", context.span_id());
        span.record("parent_span_id", TraceContext::parent_of(message).span_id());
        span.record("age_ms", (now - message.time).num_milliseconds());
    }
    span
}

const fn outcome(fate: &Fate) -> &'static str {
    match fate {
        Fate::Done => "done",
        Fate::Retry(Retry { free: true, .. }) => "waits",
        Fate::Retry(_) => "retried",
        Fate::Park(_) => "parked",
    }
}

async fn decide(handler: &Limited, message: Message, delivery: &Delivery) -> Fate {
    let attempt = message.attempt;
    let fate = match unpanicked(timeout(handler.limit, handler.handler.handle(message))).await {
        Ok(Ok(fate)) => fate,
        Ok(Err(_)) => Fate::retry(TOO_LONG, "the handler did not come to an end", pause_after(attempt)),
        Err(_) => Fate::retry(PANIC, "the handler panicked", pause_after(attempt)),
    };
    within_attempts(handler, fate, attempt, delivery).await
}

/// The fate, or the end of the matter where it asks for one attempt too many.
async fn within_attempts(handler: &Limited, fate: Fate, attempt: u32, delivery: &Delivery) -> Fate {
    match fate {
        Fate::Retry(retry) if !retry.free && attempt.saturating_add(1) >= ATTEMPTS => {
            exhaust(handler, retry, delivery).await
        }
        fate => fate,
    }
}

/// Attempts have run out. The handler took the message with it, so it is read from the wire once more.
async fn exhaust(handler: &Limited, retry: Retry, delivery: &Delivery) -> Fate {
    let message = match read_again(delivery) {
        Ok(message) => message,
        Err(unreadable) => return parked(unreadable),
    };
    let reason = retry.reason;
    match unpanicked(timeout(handler.limit, handler.handler.exhausted(message, retry))).await {
        Ok(Ok(fate)) => fate,
        Ok(Err(_)) | Err(_) => Fate::park(reason, "the handler failed when it was told that attempts had run out"),
    }
}

/// A handler that panics leaves nothing broken behind that another message could meet: it has no state but what it
/// shares through locks and transactions. What the panic said may be a student fact, so it is not looked at.
async fn unpanicked<T>(future: impl Future<Output = T>) -> Result<T, Box<dyn Any + Send>> {
    AssertUnwindSafe(future).catch_unwind().await
}

fn parked(unreadable: Unreadable) -> Fate {
    Fate::Park(Park { reason: unreadable.reason, detail: unreadable.detail })
}

/// 1 s, doubled with each attempt, at most 2 minutes.
fn pause_after(attempt: u32) -> Duration {
    Duration::from_secs(1 << attempt.min(7)).min(Duration::from_mins(2))
}
