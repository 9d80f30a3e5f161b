//! One delivery: from the bytes to a fate.

use std::{any::Any, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use futures_util::FutureExt as _;
use tokio::time::{Instant, timeout};
use tracing::{Instrument as _, Span, field::Empty};

use crate::{
    bus::{Delivery, SharedBus, Unreadable},
    handler::{Fate, Handler, Park, Retry},
    message::Message,
    telemetry::{
        Spanned,
        messaging::{Taken, outcome_of},
        span::within,
    },
    topology::{ATTEMPTS, Queue},
    trace::TraceContext,
};

/// Reason code of a handler that panicked.
const PANIC: &str = "panic";

/// Reason code of a handler that did not come to an end.
const TOO_LONG: &str = "too-long";

/// A delivery and what is to become of it.
pub(super) struct Attended {
    pub(super) delivery: Delivery,
    pub(super) fate: Fate,
    /// What it was handled under; shared by deliveries that were handled together.
    pub(super) taken: Arc<Taken>,
}

/// What handling needs beside the deliveries.
pub(super) struct Post {
    pub(super) handler: Arc<dyn Handler>,
    /// How long it may take.
    pub(super) limit: Duration,
    pub(super) bus: SharedBus,
    pub(super) queue: Queue,
    pub(super) now: DateTime<Utc>,
}

impl Post {
    fn take(&self, messages: &[&Message], deliveries: &[&Delivery]) -> Arc<Taken> {
        Arc::new(Taken::begin(self.bus.system(), self.queue, messages, deliveries))
    }
}

/// Handles one delivery in a span of its own. Does not panic, whatever the handler does.
pub(super) async fn attend(post: &Post, delivery: Delivery) -> Attended {
    let (message, delivery) = delivery.take();
    attend_message(post, message, delivery).await
}

async fn attend_message(post: &Post, message: Result<Message, Unreadable>, delivery: Delivery) -> Attended {
    let begun = Instant::now();
    let taken = post.take(message.as_ref().ok().as_slice(), &[&delivery]);
    let span = span(post, &delivery, message.as_ref().ok(), &taken);
    let fate = match message {
        Ok(message) => {
            let deciding = decide(post, message, &delivery, &taken).instrument(span.clone());
            within(taken.span(), deciding).await
        }
        Err(unreadable) => parked(unreadable),
    };
    taken.end(std::iter::once(&fate));
    ended(&span, &fate, begun);
    Attended { delivery, fate, taken }
}

/// Handles deliveries that waited together, under one span that links to each. What does not go together goes one by one.
pub(super) async fn attend_together(post: &Post, deliveries: Vec<Delivery>) -> Vec<Attended> {
    let begun = Instant::now();
    let (mut messages, mut left) = (Vec::with_capacity(deliveries.len()), Vec::with_capacity(deliveries.len()));
    for delivery in deliveries {
        let (message, delivery) = delivery.take();
        messages.extend(message);
        left.push(delivery);
    }
    // One that cannot be read is parked alone.
    if messages.len() != left.len() {
        return one_by_one(post, left).await;
    }
    let taken = post.take(&messages.iter().collect::<Vec<_>>(), &left.iter().collect::<Vec<_>>());
    let spans: Vec<Span> =
        left.iter().zip(&messages).map(|(delivery, message)| span(post, delivery, Some(message), &taken)).collect();
    let group = span_of_group(post, &messages, &taken);
    let together = unpanicked(timeout(post.limit, post.handler.handle_together(messages))).instrument(group);
    let fates = within(taken.span(), together).await;
    if fates.is_err() {
        taken.panicked();
    }
    let Some(fates) = fates.ok().and_then(Result::ok).flatten().filter(|fates| fates.len() == left.len()) else {
        taken.apart();
        drop(taken);
        return one_by_one(post, left).await;
    };
    taken.end(fates.iter());
    let mut attended = Vec::with_capacity(left.len());
    for ((delivery, fate), span) in left.into_iter().zip(fates).zip(&spans) {
        let fate = within_attempts(post, fate, delivery.attempt, &delivery).instrument(span.clone()).await;
        ended(span, &fate, begun);
        attended.push(Attended { delivery, fate, taken: Arc::clone(&taken) });
    }
    attended
}

/// The group took the messages with it, so they are read from the wire once more.
async fn one_by_one(post: &Post, deliveries: Vec<Delivery>) -> Vec<Attended> {
    let mut attended = Vec::with_capacity(deliveries.len());
    for delivery in deliveries {
        let message = read_again(&delivery);
        attended.push(attend_message(post, message, delivery).await);
    }
    attended
}

fn read_again(delivery: &Delivery) -> Result<Message, Unreadable> {
    delivery.wire.unpack().map(|message| Message { attempt: delivery.attempt, ..message })
}

fn ended(span: &Span, fate: &Fate, begun: Instant) {
    span.record("outcome", outcome_of(fate));
    span.record("duration_ms", begun.elapsed().as_millis() as u64);
}

/// For log lines: which message, run and district, and where in the trace.
fn span(post: &Post, delivery: &Delivery, message: Option<&Message>, taken: &Taken) -> Span {
    let label = &delivery.label;
    let span = tracing::info_span!(
        "process",
        messaging.destination.name = post.queue.name(),
        messaging.message.id = %label.id,
        kind = %label.kind,
        run = label.run.map(tracing::field::display),
        district = label.district.as_ref().map(tracing::field::display),
        attempt = delivery.attempt,
        trace_id = Empty,
        span_id = Empty,
        age_ms = Empty,
        outcome = Empty,
        duration_ms = Empty,
    );
    if let Some(message) = message {
        span.record("age_ms", (post.now - message.time).num_milliseconds());
    }
    if let Some(own) = taken.span().map(Spanned::span_context) {
        span.record("trace_id", tracing::field::display(own.trace_id()));
        span.record("span_id", tracing::field::display(own.span_id()));
    } else if let Some(context) = message.map(TraceContext::of_message).or_else(|| delivery.context()) {
        span.record("trace_id", context.trace_id());
        span.record("span_id", context.span_id());
    }
    span
}

/// For log lines of messages that are handled together: how many, and the run and district that all of them are of. What
/// is done for one run alone, the handler does within [`of_run`](crate::handler::of_run).
fn span_of_group(post: &Post, messages: &[Message], taken: &Taken) -> Span {
    let first = messages.first();
    let run = first.map(|first| first.run).filter(|run| messages.iter().all(|message| message.run == *run));
    let district = first.map(|first| &first.district);
    let district = district.filter(|district| messages.iter().all(|message| message.district == **district));
    let span = tracing::info_span!(
        "process",
        messaging.destination.name = post.queue.name(),
        messages = messages.len(),
        run = run.map(tracing::field::display),
        district = district.map(tracing::field::display),
        trace_id = Empty,
        span_id = Empty,
    );
    if let Some(own) = taken.span().map(Spanned::span_context) {
        span.record("trace_id", tracing::field::display(own.trace_id()));
        span.record("span_id", tracing::field::display(own.span_id()));
    } else if let Some(run) = run {
        span.record("trace_id", TraceContext::of_run(run).trace_id());
    }
    span
}

async fn decide(post: &Post, message: Message, delivery: &Delivery, taken: &Taken) -> Fate {
    let attempt = message.attempt;
    let fate = match unpanicked(timeout(post.limit, post.handler.handle(message))).await {
        Ok(Ok(fate)) => fate,
        Ok(Err(_)) => Fate::retry(TOO_LONG, "the handler did not come to an end", pause_after(attempt)),
        Err(_) => {
            taken.panicked();
            Fate::retry(PANIC, "the handler panicked", pause_after(attempt))
        }
    };
    within_attempts(post, fate, attempt, delivery).await
}

/// The fate, or the end of the matter where it asks for one attempt too many.
async fn within_attempts(post: &Post, fate: Fate, attempt: u32, delivery: &Delivery) -> Fate {
    match fate {
        Fate::Retry(retry) if !retry.free && attempt.saturating_add(1) >= ATTEMPTS => {
            exhaust(post, retry, delivery).await
        }
        fate => fate,
    }
}

/// Attempts have run out. The handler took the message with it, so it is read from the wire once more.
async fn exhaust(post: &Post, retry: Retry, delivery: &Delivery) -> Fate {
    let message = match read_again(delivery) {
        Ok(message) => message,
        Err(unreadable) => return parked(unreadable),
    };
    let reason = retry.reason;
    match unpanicked(timeout(post.limit, post.handler.exhausted(message, retry))).await {
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
