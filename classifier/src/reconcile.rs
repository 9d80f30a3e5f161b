//! What open runs still owe in planning and releasing, found in the store and published again.
//!
//! Role: the decision is [`owed`], pure, and [`owed_now`], which asks the store too; `rollcall reconcile --check` tells by the
//! same. The rest fetches and publishes. Neighbours: the fetcher's reconciler looks after runs at Pull and Recheck whose
//! lanes or pages were lost.
//!
//! Invariants: with every queue purged, a run at Plan, Recheck or Release still ends; many reconcilers do the work of one
//! (`claim_reconcile`); publishing twice does no harm; a run that cannot be looked after keeps none behind it waiting.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rollcall_store::{Chore, OpenRun, PassedOver, run::Stage};
use tokio_util::sync::CancellationToken;

use crate::{
    context::Context,
    error::{ClassifierError, chain},
    release, retention, second_look,
};

/// What a run is owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owed {
    /// Nothing of ours: it is moving, waits for a person, or is the fetcher's business.
    Nothing,
    /// Somebody has to see how far it is: the message that would have said so may be lost.
    Plan,
    /// Batches that are not settled have to be published again.
    Release,
}

/// Decides by stage and by how long nothing has moved.
pub fn owed(run: &OpenRun, now: DateTime<Utc>, quiet: TimeDelta) -> Owed {
    if now - run.touched_at < quiet {
        return Owed::Nothing;
    }
    match run.stage {
        Stage::Plan | Stage::Recheck => Owed::Plan,
        Stage::Release => Owed::Release,
        Stage::Pull | Stage::Held | Stage::Closed => Owed::Nothing,
    }
}

/// As [`owed`], where the store is asked too: a run that rightly waits is owed nothing, however long nothing has moved.
pub async fn owed_now(
    context: &Context,
    open: &OpenRun,
    now: DateTime<Utc>,
    quiet: TimeDelta,
) -> Result<Owed, ClassifierError> {
    match owed(open, now, quiet) {
        Owed::Plan if waits(context, open, now).await? => Ok(Owed::Nothing),
        owed => Ok(owed),
    }
}

/// Another run of the district asks what the second look is to ask, and ends; the end of the earlier run asks for this one's plan; a planner says what comes next, or its lease ends; and what the
/// second look still asks for is the fetcher's business.
async fn waits(context: &Context, open: &OpenRun, now: DateTime<Utc>) -> Result<bool, ClassifierError> {
    let run = (&open.district, open.run);
    if second_look::waits_for(context, run).await?.is_some() {
        return Ok(true);
    }
    if open.stage == Stage::Recheck {
        return context.is_looking_again(run).await;
    }
    Ok(context.store.unsettled_other(run.0, run.1).await?.is_some()
        || context.store.is_claimed_for_planning(run.0, run.1, now).await?)
}

/// Looks after open runs until `shutdown`.
pub async fn run(context: Context, shutdown: CancellationToken) {
    // At once, too: a process that hosts one night and ends would never see the hour pass.
    let mut tidy_at = retention::tidy(&context, context.clock.now()).await;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(context.config.reconcile_every) => {}
        }
        if let Err(error) = tick(&context).await {
            tracing::warn!(error = chain(&error), "open runs could not be looked after; again soon");
        }
        tidy_at = retention::tidy(&context, tidy_at).await;
    }
}

/// What came of one look at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Looked {
    /// Runs that were owed something.
    pub helped: u32,
    /// Runs that could not be looked after.
    pub passed_over: u32,
}

/// Looks once.
pub async fn tick(context: &Context) -> Result<Looked, ClassifierError> {
    let (mut helped, mut passed) = (0, PassedOver::none(Chore::Planning));
    for open in context.store.open_runs().await? {
        match look_at(context, &open).await {
            Ok(owed) => {
                passed.looked_after();
                helped += u32::from(owed);
            }
            Err(ClassifierError::Bus(error)) if error.is_transient() => return Err(error.into()),
            Err(error) => {
                let is_transient = error.is_transient();
                passed.note((&open.district, Some(open.run)), error, is_transient)?;
            }
        }
    }
    Ok(Looked { helped, passed_over: passed.count() })
}

/// True: the run was owed something.
async fn look_at(context: &Context, open: &OpenRun) -> Result<bool, ClassifierError> {
    let now = context.clock.now();
    let owed = owed_now(context, open, now, delta(context.config.reconcile_every)).await?;
    if owed == Owed::Nothing || !claim(context, open, now).await? {
        return Ok(false);
    }
    help(context, open, owed, now).await?;
    Ok(true)
}

/// Runs at Recheck are claimed by the fetcher's reconciler; what is done here for them is cheap, and harmless twice.
async fn claim(context: &Context, open: &OpenRun, now: DateTime<Utc>) -> Result<bool, ClassifierError> {
    if open.stage == Stage::Recheck {
        return Ok(true);
    }
    let not_since = now - delta(context.config.reconcile_every);
    Ok(context.store.claim_reconcile(&open.district, open.run, not_since, now).await?)
}

async fn help(context: &Context, open: &OpenRun, owed: Owed, now: DateTime<Utc>) -> Result<(), ClassifierError> {
    let run = (&open.district, open.run);
    tracing::debug!(district = %open.district, run = %open.run, ?owed, "an open run is owed something");
    match owed {
        Owed::Nothing => Ok(()),
        Owed::Plan => context.ask_to_plan(run, None).await,
        Owed::Release => {
            let before = now - delta(context.config.republish_after);
            release::release(context, run, None, Some(before)).await
        }
    }
}

fn delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rollcall_proto::id::RunId;

    use super::*;

    #[test]
    fn what_is_owed_depends_on_stage_and_quiet() {
        let touched_at = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let open = |stage| OpenRun {
            district: "d".parse().unwrap(),
            run: RunId(uuid::Uuid::nil()),
            stage,
            as_of: touched_at.date_naive(),
            touched_at,
        };
        let (later, quiet) = (touched_at + TimeDelta::seconds(30), TimeDelta::seconds(10));
        for (stage, right) in [
            (Stage::Pull, Owed::Nothing),
            (Stage::Plan, Owed::Plan),
            (Stage::Recheck, Owed::Plan),
            (Stage::Held, Owed::Nothing),
            (Stage::Release, Owed::Release),
            (Stage::Closed, Owed::Nothing),
        ] {
            assert_eq!(owed(&open(stage), later, quiet), right);
            assert_eq!(owed(&open(stage), touched_at + TimeDelta::seconds(9), quiet), Owed::Nothing, "it moves");
        }
    }
}
