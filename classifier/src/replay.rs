//! Replaying a run: its stored pages planned again, as a run of their own.
//!
//! Neighbours: the store makes the run, whole or not at all; this reads its pages again where that is wanted, and asks
//! for the plan. Should that message be lost, the reconciler finds the run at Plan.

use rollcall_store::{
    replay::{Replay, ReplayPages, ReplayRefusal},
    run::Run,
};

use crate::{collect, context::Context, error::ClassifierError};

/// From where a replay goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplayFrom {
    /// Every raw page is read again, as after an upgrade that can read more.
    Collect,
    /// Pages stay as they were read.
    Plan,
}

/// Makes the replay and has it planned.
pub async fn replay(
    context: &Context,
    replay: &Replay,
    from: ReplayFrom,
) -> Result<Result<Run, ReplayRefusal>, ClassifierError> {
    let pages = match from {
        ReplayFrom::Collect => ReplayPages::Read(&collect::read_again),
        ReplayFrom::Plan => ReplayPages::Kept,
    };
    let made = context.store.replay_run(replay, pages, context.clock.now()).await?;
    if let Ok(run) = &made {
        context.ask_to_plan((&run.district, run.id), None).await?;
    }
    Ok(made)
}
