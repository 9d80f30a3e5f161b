//! A planner's time with a run, and how the run is free again where no plan came of it.
//!
//! Role: holds the lease that [`rollcall_store::Store::claim_plan`] gives. Neighbour: [`crate::plan_handler`] plans meanwhile.
//!
//! Invariant: an attempt counts that failed, or whose process died. Of a planner that is dropped in the middle (the process is told
//! to stop, the bus was lost), or that cannot reach the store when it gives up, the attempt is given back beside everything else, for
//! as long as its time lasts.
//!
//! Deliberately absent: giving back what is dropped where nobody waits for it ([`Planners::mortal`]): a process that is killed says
//! nothing more.

use std::time::Duration;

use chrono::{DateTime, Utc};
use rollcall_proto::id::{DistrictId, RunId};
use rollcall_store::{Store, StoreError, run::NoPlan};
use tokio::{
    runtime::Handle,
    time::{Instant, sleep, timeout},
};
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

use crate::{context::RunKey, error::chain};

/// How long one planner has a run for itself. Longer than any plan takes; a planner that dies is followed after this.
pub(crate) const LEASE: Duration = Duration::from_mins(3);

/// Pause between tries to give a run back to a store that is away.
const AGAIN: Duration = Duration::from_secs(2);

/// The planners of a process, and what they leave behind.
#[derive(Debug, Clone, Default)]
pub struct Planners(Option<TaskTracker>);

impl Planners {
    /// Those of a process that sees to what they leave: see [`Planners::gone`].
    pub fn new() -> Self {
        Self(Some(TaskTracker::new()))
    }

    /// Those that leave nothing behind when they are dropped, as if they had been killed.
    pub fn mortal() -> Self {
        Self::default()
    }

    /// Waits until no planner is at work and what they had is given back; no longer than `patience`.
    pub async fn gone(&self, patience: Duration) {
        let Some(tracker) = &self.0 else { return };
        tracker.close();
        if timeout(patience, tracker.wait()).await.is_err() {
            tracing::debug!("a run's planning is not given back; it is free when the planner's time is over");
        }
    }
}

/// A run that is claimed for planning, or is about to be. Dropped, it is given back as if nothing had been begun.
#[derive(Debug)]
pub(crate) struct Claim {
    lease: Lease,
    /// Which attempt at this plan it is, from 1 on.
    attempt: i64,
    why: NoPlan,
    /// `None`: there is nothing to give back any more.
    held: Option<TaskTrackerToken>,
}

#[derive(Debug, Clone)]
struct Lease {
    store: Store,
    district: DistrictId,
    run: RunId,
    until: DateTime<Utc>,
    /// `until`, by this process's own clock.
    over_at: Instant,
}

impl Claim {
    /// Claims a run, `until` being when the time with it ends. `None`: somebody else plans, or it is not at Plan.
    pub(crate) async fn of(
        (store, planners): (&Store, &Planners),
        (district, run): RunKey<'_>,
        (now, until): (DateTime<Utc>, DateTime<Utc>),
    ) -> Result<Option<Self>, StoreError> {
        let over_at = Instant::now() + LEASE;
        let lease = Lease { store: store.clone(), district: district.clone(), run, until, over_at };
        let held = planners.0.as_ref().map(TaskTracker::token);
        // Before the store is asked: it may have claimed the run although its answer is lost.
        let mut claim = Self { lease, attempt: 0, why: NoPlan::Hindered, held };
        let attempt = store.claim_plan(district, run, now, until).await?;
        if let Some(attempt) = attempt {
            claim.attempt = attempt;
            return Ok(Some(claim));
        }
        claim.settle();
        Ok(None)
    }

    /// Which attempt at this plan it is, from 1 on.
    pub(crate) const fn attempt(&self) -> i64 {
        self.attempt
    }

    /// When the time with it ends.
    pub(crate) const fn until(&self) -> DateTime<Utc> {
        self.lease.until
    }

    /// There is a plan, or the run has ended: nothing is to be given back.
    pub(crate) fn settle(mut self) {
        self.held = None;
    }

    /// The run is free for the next attempt. Where the store cannot be reached, soon, or when the time with it is over.
    pub(crate) async fn give_back(mut self, why: NoPlan) {
        self.why = why;
        match self.lease.give_back(why).await {
            Ok(()) => self.settle(),
            Err(error) => tracing::debug!(error = chain(&error), "a run's planning is not given back yet"),
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let Some(held) = self.held.take() else { return };
        if let Ok(runtime) = Handle::try_current()
            && Instant::now() < self.lease.over_at
        {
            held.task_tracker().spawn_on(self.lease.clone().give_back_in_time(self.why), &runtime);
        }
    }
}

impl Lease {
    async fn give_back(&self, why: NoPlan) -> Result<(), StoreError> {
        self.store.give_planning_back(&self.district, self.run, self.until, why).await
    }

    async fn give_back_in_time(self, why: NoPlan) {
        while let Err(error) = self.give_back(why).await {
            if !error.is_of_the_database() || Instant::now() >= self.over_at {
                tracing::debug!(error = chain(&error), "a run's planning is not given back");
                return;
            }
            sleep(AGAIN).await;
        }
    }
}
