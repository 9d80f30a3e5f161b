//! Publishing a released plan, a window at a time.
//!
//! Batches go out as the plan saved them; they are noted as published after the bus has confirmed them. A crash in between
//! publishes some twice, which the writer settles once.

use chrono::{DateTime, Utc};
use rollcall_proto::message::{Body, Message, PlannedEvents};

use crate::{
    context::{Context, RunKey, is_settled},
    error::ClassifierError,
};
use rollcall_store::{plan::PackedBatch, run::Stage};

/// Batches published in one go.
const TOGETHER: usize = 16;

/// Publishes what the window has room for, and what was published before `again_before` and is not settled. Where nothing
/// is left to settle, says so.
pub async fn release(
    context: &Context,
    run: RunKey<'_>,
    cause: Option<&Message>,
    again_before: Option<DateTime<Utc>>,
) -> Result<(), ClassifierError> {
    let window = context.config.release_window;
    let batches = context.store.batches_to_publish(run.0, run.1, window, again_before).await?;
    if batches.is_empty() {
        return end_if_settled(context, run, cause).await;
    }
    let mut batches = batches.into_iter().peekable();
    while batches.peek().is_some() {
        let part: Vec<PackedBatch> = batches.by_ref().take(TOGETHER).collect();
        let numbers: Vec<u32> = part.iter().map(|packed| packed.batch).collect();
        let messages: Vec<Message> =
            part.into_iter().map(|packed| context.message(run, cause, planned(packed))).collect();
        context.bus.publish(&messages).await?;
        context.store.batches_published(run.0, run.1, &numbers, context.clock.now()).await?;
    }
    Ok(())
}

fn planned(PackedBatch { batch, status, bytes }: PackedBatch) -> Body {
    Body::Planned(PlannedEvents { batch, status, packed: bytes.into() })
}

/// A plan approved with nothing in it, or a last word that was lost.
async fn end_if_settled(context: &Context, run: RunKey<'_>, cause: Option<&Message>) -> Result<(), ClassifierError> {
    let now = context.store.run(run.0, run.1).await?;
    if now.stage == Stage::Release && is_settled(&now.counts) {
        context.say_applied(run, cause).await?;
    }
    Ok(())
}
