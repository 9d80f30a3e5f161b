//! For which other run of its district a run waits.

use rollcall_classifier::second_look;
use rollcall_proto::id::RunId;
use rollcall_store::run::{PullState, Run, Stage};

use crate::context::Context;

/// The run that has the lanes of a connection which this one is to ask, to discover it or for its second look.
pub(crate) async fn waits_for(context: &Context, run: &Run) -> anyhow::Result<Option<RunId>> {
    match run.stage {
        Stage::Pull => {
            let pulls = context.store.pulls(&run.district, run.id).await?;
            for pull in pulls.iter().filter(|pull| pull.state == PullState::Discovering) {
                let other = context.store.lanes_taken_by(&run.district, run.id, pull.connection).await?;
                if other.is_some() {
                    return Ok(other);
                }
            }
            Ok(None)
        }
        Stage::Plan | Stage::Recheck => {
            Ok(second_look::waits_for(&context.classifier(), (&run.district, run.id)).await?)
        }
        Stage::Held | Stage::Release | Stage::Closed => Ok(None),
    }
}

/// What a person is told of it.
pub(crate) fn told(context: &Context, other: RunId) -> String {
    let cancel = context.again.command(&format!("runs cancel {other}"));
    format!("waits for run {other}, which asks the same SIS ({cancel} ends that one)")
}
