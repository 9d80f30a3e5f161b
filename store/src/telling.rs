//! Telling of runs that have ended: a metric, and the root of the run's trace.
//!
//! Whoever ends a run calls this after the commit, so that what is told is true. Costs one read of the run, and that only
//! where somebody listens.

use chrono::{DateTime, Utc};
use rollcall_proto::{
    id::{DistrictId, RunId},
    telemetry::{
        self, metric,
        span::{EndedRun, run_ended},
    },
};

use crate::{Store, run::Run};

impl Store {
    /// Tells of a run, if it has ended.
    pub(crate) async fn tell_if_ended(&self, district: &DistrictId, run: RunId) {
        if !telemetry::is_on() {
            return;
        }
        // What cannot be read is not told of; the run has ended all the same.
        if let Ok(run) = self.run(district, run).await {
            tell(&run);
        }
    }
}

/// Tells of a run, if it has ended.
pub(crate) fn tell(run: &Run) {
    let Some(ended_at) = run.ended_at else { return };
    metrics::counter!(metric::RUNS_ENDED, "state" => run.state.as_str()).increment(1);
    let counts = &run.counts;
    run_ended(&EndedRun {
        district: &run.district,
        run: run.id,
        state: run.state.as_str(),
        from: run.created_at.into(),
        to: latest(ended_at, run.created_at).into(),
        counts: &[
            ("rollcall.run.seq", run.seq),
            ("rollcall.run.listed", counts.listed),
            ("rollcall.run.missing", counts.missing),
            ("rollcall.run.added", counts.added),
            ("rollcall.run.changed", counts.changed),
            ("rollcall.run.removed", counts.removed),
            ("rollcall.run.unchanged", counts.unchanged),
            ("rollcall.run.skipped", counts.skipped),
            ("rollcall.run.applied", counts.applied),
            ("rollcall.run.parked", counts.parked),
            ("rollcall.run.superseded", counts.superseded),
        ],
    });
}

/// Clocks of two machines may disagree; a span does not end before it began.
fn latest(one: DateTime<Utc>, other: DateTime<Utc>) -> DateTime<Utc> {
    one.max(other)
}
