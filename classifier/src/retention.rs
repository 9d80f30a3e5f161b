//! What has been kept long enough: raw pages, plans, what was parked, the audit trail.
//!
//! Any number of classifiers may do this; what one has deleted, another does not find.
//!
//! Invariants: a parked message is noted in the audit trail before it is deleted, and only messages noted are deleted, so
//! that none is lost unseen; one whose age nobody knows stays. The broker has no part in this: a message that it let expire
//! would be gone without a word.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rollcall_proto::{
    bus::{Parked, ParkedFilter},
    telemetry::metric,
    topology::Queue,
};
use rollcall_store::audit::{AuditEntry, RETENTION};

use crate::{
    context::Context,
    error::{ClassifierError, chain},
};

/// How often to look.
const EVERY: TimeDelta = TimeDelta::hours(1);

/// Parked messages noted, and then deleted, at a time.
const TOGETHER: usize = 200;

/// Deletes what has aged out, if it is time to. Returns when to look next. What cannot be deleted now is deleted later.
pub async fn tidy(context: &Context, due: DateTime<Utc>) -> DateTime<Utc> {
    let now = context.clock.now();
    if now < due {
        return due;
    }
    let (config, store) = (&context.config, &context.store);
    report("raw pages", store.forget_pages(before(now, config.keep_pages)).await);
    report("batches of plans", store.forget_plans(before(now, config.keep_plans)).await);
    for queue in Queue::ALL {
        report("parked messages", parked_messages(context, queue, before(now, config.keep_parked)).await);
    }
    report("parked students", parked_students(context, before(now, config.keep_parked)).await);
    let trail = store.forget_trail(before(now, config.keep_audit), now).await;
    report("entries of the audit trail and the access log", trail.map(|gone| gone.entries + gone.views));
    now + EVERY
}

async fn parked_messages(context: &Context, queue: Queue, before: DateTime<Utc>) -> Result<u64, ClassifierError> {
    let aged = ParkedFilter { before: Some(before), since: Some(Parked::AGE_IS_KNOWN), ..ParkedFilter::default() };
    let some = ParkedFilter { limit: Some(TOGETHER), ..aged.clone() };
    let mut deleted = 0;
    loop {
        let found = context.bus.parked(queue, &some).await?;
        note(context, &found).await?;
        let ids = found.iter().map(|parked| parked.id).collect();
        let noted = ParkedFilter { ids: Some(ids), limit: Some(found.len()), ..aged.clone() };
        let gone = if found.is_empty() { Vec::new() } else { context.bus.discard(queue, &noted).await? };
        // None left, or another process holds them or was faster: they are its business then.
        if gone.is_empty() {
            return Ok(deleted);
        }
        count(queue, gone.len() as u64);
        deleted += gone.len() as u64;
    }
}

/// Without a district it cannot be in the audit trail; the log has them all.
async fn note(context: &Context, found: &[Parked]) -> Result<(), ClassifierError> {
    for parked in found {
        let Parked { id, queue, kind, reason, district, run, parked_at, .. } = parked;
        let (queue, run_id) = (queue.name(), run.as_ref().map(tracing::field::display));
        tracing::warn!(
            message_id = %id, queue, kind, reason, run = run_id, district = district.as_ref().map(tracing::field::display),
            %parked_at, "a parked message was never replayed and has been kept long enough; it is deleted"
        );
        if let Some(district) = district {
            let detail =
                format!("message {id} of {queue}, kind {kind}, reason {reason}, parked {}", parked_at.date_naive());
            let entry = AuditEntry::new(district, context.clock.now(), RETENTION, "parked.expired", detail).of(*run);
            context.store.audit(&entry).await?;
        }
    }
    Ok(())
}

/// The store notes each in the audit trail.
async fn parked_students(context: &Context, before: DateTime<Utc>) -> Result<u64, ClassifierError> {
    let gone = context.store.forget_parked(before, context.clock.now()).await?;
    count(Queue::Write, gone);
    Ok(gone)
}

fn count(queue: Queue, gone: u64) {
    metrics::counter!(metric::PARKED_EXPIRED, "queue" => queue.word()).increment(gone);
}

fn before(now: DateTime<Utc>, keep: Duration) -> DateTime<Utc> {
    let keep = TimeDelta::from_std(keep).unwrap_or(TimeDelta::MAX);
    now.checked_sub_signed(keep).unwrap_or(DateTime::<Utc>::MIN_UTC)
}

fn report<E: std::error::Error>(what: &'static str, forgotten: Result<u64, E>) {
    match forgotten {
        Ok(0) => {}
        Ok(count) => tracing::info!(what, count, "what had been kept long enough was deleted"),
        Err(error) => tracing::warn!(what, error = chain(&error), "what aged out could not be deleted; again later"),
    }
}
