//! What has been kept long enough: raw pages, plans, what was parked, the audit trail.
//!
//! One of all classifiers does this, by claims in the store: what is in the database every hour, and what is parked once a
//! day, since looking for it reads whole queues and keeps others from seeing them meanwhile.
//!
//! Invariants: a parked message is noted in the audit trail before it is deleted, once whoever deletes it, and only messages
//! noted are deleted, so that none is lost unseen; one whose age nobody knows stays. The broker has no part in this: a message
//! that it let expire would be gone without a word.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rollcall_proto::{
    bus::{Parked, ParkedFilter},
    id::DistrictId,
    telemetry::metric,
    topology::Queue,
};
use rollcall_store::{
    audit::{AuditEntry, RETENTION},
    chores::{TIDY_DATABASE, TIDY_QUEUES},
};

use crate::{
    context::Context,
    error::{ClassifierError, chain},
};

/// How often to look.
const EVERY: TimeDelta = TimeDelta::hours(1);

/// How often to look through the parked queues: a little less than a day, for processes that are started once a day.
const QUEUES_EVERY: TimeDelta = TimeDelta::hours(20);

/// Parked messages noted, and then deleted, at a time: each time may walk the whole queue.
const TOGETHER: usize = 1_000;

/// Deletes what has aged out, if it is time to and nobody else does it. Returns when to look next. What cannot be deleted now
/// is deleted later.
pub async fn tidy(context: &Context, due: DateTime<Utc>) -> DateTime<Utc> {
    let now = context.clock.now();
    if now < due {
        return due;
    }
    if claim(context, TIDY_DATABASE, EVERY, now).await {
        let all = tidy_database(context, now).await;
        end(context, TIDY_DATABASE, now, all).await;
    }
    if claim(context, TIDY_QUEUES, QUEUES_EVERY, now).await {
        let all = tidy_queues(context, now).await;
        end(context, TIDY_QUEUES, now, all).await;
    }
    now + EVERY
}

/// Notes that a chore was done, or gives it back where it was not, all of it: whoever looks next tries again, and a classifier that
/// starts does at once.
async fn end(context: &Context, chore: &'static str, claimed_at: DateTime<Utc>, all: bool) {
    if all {
        done(context, chore).await;
    } else if let Err(error) = context.store.give_chore_back(chore, claimed_at).await {
        tracing::warn!(
            chore,
            error = chain(&error),
            "a chore cannot be given back; it is tried again once its time is over"
        );
    }
}

/// What never gets so far is overdue one day, and somebody is told.
async fn done(context: &Context, chore: &'static str) {
    if let Err(error) = context.store.chore_done(chore, context.clock.now()).await {
        tracing::warn!(chore, error = chain(&error), "it cannot be noted that a chore is done");
    }
}

async fn claim(context: &Context, chore: &'static str, every: TimeDelta, now: DateTime<Utc>) -> bool {
    context.store.claim_chore(chore, every, now).await.unwrap_or_else(|error| {
        tracing::warn!(chore, error = chain(&error), "the store cannot say whose turn it is; again later");
        false
    })
}

/// True: of every district, all of it.
async fn tidy_database(context: &Context, now: DateTime<Utc>) -> bool {
    let (config, store) = (&context.config, &context.store);
    let pages = report("raw pages", store.forget_pages(before(now, config.keep_pages)).await);
    let plans = report("batches of plans", store.forget_plans(before(now, config.keep_plans)).await);
    // The store notes each in the audit trail, and counts them.
    let parked = report("parked students", store.forget_parked(before(now, config.keep_parked), now).await);
    let trail = store.forget_trail(before(now, config.keep_audit), now).await;
    let trail = report("entries of the audit trail and the access log", trail.map(|gone| gone.entries + gone.views));
    pages && plans && parked && trail
}

/// True: all queues were looked through.
async fn tidy_queues(context: &Context, now: DateTime<Utc>) -> bool {
    let mut all = true;
    for queue in Queue::ALL {
        let deleted = parked_messages(context, queue, before(now, context.config.keep_parked)).await;
        all &= report("parked messages", deleted);
    }
    all
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

async fn note(context: &Context, found: &[Parked]) -> Result<(), ClassifierError> {
    for Parked { id, queue, kind, reason, district, run, parked_at, .. } in found {
        let (queue, run_id) = (queue.name(), run.as_ref().map(tracing::field::display));
        tracing::warn!(
            message_id = %id, queue, kind, reason, run = run_id, district = district.as_ref().map(tracing::field::display),
            %parked_at, "a parked message was never replayed and has been kept long enough; it is deleted"
        );
    }
    let entries: Vec<AuditEntry> = found.iter().map(|parked| entry(parked, context.clock.now())).collect();
    context.store.audit_once(&entries).await?;
    Ok(())
}

/// Of the installation itself, where the message tells no district that could be read.
fn entry(parked: &Parked, now: DateTime<Utc>) -> AuditEntry {
    let Parked { id, queue, kind, reason, district, run, parked_at, .. } = parked;
    let (queue, day) = (queue.name(), parked_at.date_naive());
    let detail = format!("message {id} of {queue}, kind {kind}, reason {reason}, parked {day}");
    let district = district.clone().unwrap_or_else(DistrictId::installation);
    AuditEntry::new(&district, now, RETENTION, "parked.expired", detail).of(*run)
}

fn count(queue: Queue, gone: u64) {
    metrics::counter!(metric::PARKED_EXPIRED, "queue" => queue.word()).increment(gone);
}

fn before(now: DateTime<Utc>, keep: Duration) -> DateTime<Utc> {
    let keep = TimeDelta::from_std(keep).unwrap_or(TimeDelta::MAX);
    now.checked_sub_signed(keep).unwrap_or(DateTime::<Utc>::MIN_UTC)
}

/// True: it went well.
fn report<E: std::error::Error>(what: &'static str, forgotten: Result<u64, E>) -> bool {
    match forgotten {
        Ok(0) => true,
        Ok(count) => {
            tracing::info!(what, count, "what had been kept long enough was deleted");
            true
        }
        Err(error) => {
            tracing::warn!(what, error = chain(&error), "what aged out could not be deleted; again later");
            false
        }
    }
}
