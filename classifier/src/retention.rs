//! What has been kept long enough: raw pages, and plans.
//!
//! Any number of classifiers may do this; what one has deleted, another does not find.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rollcall_store::StoreError;

use crate::{context::Context, error::chain};

/// How often to look.
const EVERY: TimeDelta = TimeDelta::hours(1);

/// Deletes what has aged out, if it is time to. Returns when to look next. What cannot be deleted now is deleted later.
pub async fn tidy(context: &Context, due: DateTime<Utc>) -> DateTime<Utc> {
    let now = context.clock.now();
    if now < due {
        return due;
    }
    let config = &context.config;
    report("raw pages", context.store.forget_pages(before(now, config.keep_pages)).await);
    report("batches of plans", context.store.forget_plans(before(now, config.keep_plans)).await);
    now + EVERY
}

fn before(now: DateTime<Utc>, keep: Duration) -> DateTime<Utc> {
    let keep = TimeDelta::from_std(keep).unwrap_or(TimeDelta::MAX);
    now.checked_sub_signed(keep).unwrap_or(DateTime::<Utc>::MIN_UTC)
}

fn report(what: &'static str, forgotten: Result<u64, StoreError>) {
    match forgotten {
        Ok(0) => {}
        Ok(count) => tracing::info!(what, count, "what had been kept long enough was deleted"),
        Err(error) => tracing::warn!(what, error = chain(&error), "what aged out could not be deleted; again later"),
    }
}
