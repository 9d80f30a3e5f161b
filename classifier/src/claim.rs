//! A planner's time with a run, and how the run is free again where no plan came of it.
//!
//! Role: holds the lease that [`rollcall_store::Store::claim_plan`] gives. Neighbour: [`crate::plan_handler`] plans meanwhile.
//!
//! Invariant: an attempt counts that failed, or whose process died. Of a planner that is dropped in the middle (the process is told
//! to stop, the bus was lost), or that cannot reach the store when it gives up, the attempt is given back beside everything else, for
//! as long as its time lasts. Its thread knows nothing of that, and goes on with all its memory: not before it has ended is the run
//! another's ([`Claim::apart`]), but where the process ends, and the thread with it.
//!
//! Deliberately absent: giving back what is dropped where nobody waits for it ([`Planners::mortal`]): a process that is killed says
//! nothing more.

use std::time::Duration;

use chrono::{DateTime, Utc};
use rollcall_proto::id::{DistrictId, RunId};
use rollcall_store::{Store, StoreError, run::NoPlan};
use tokio::{
    runtime::Handle,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

use crate::{
    context::RunKey,
    error::{ClassifierError, chain},
    parallel::apart,
};

/// How long one planner has a run for itself. Longer than any plan takes; a planner that dies is followed after this.
pub(crate) const LEASE: Duration = Duration::from_mins(3);

/// Pause between tries to give a run back to a store that is away.
const AGAIN: Duration = Duration::from_secs(2);

/// The planners of a process, and what they leave behind.
#[derive(Debug, Clone, Default)]
pub struct Planners(Option<Process>);

/// What waits for its planners.
#[derive(Debug, Clone, Default)]
struct Process {
    planners: TaskTracker,
    ends: CancellationToken,
}

impl Planners {
    /// Those of a process that sees to what they leave: see [`Planners::gone`].
    pub fn new() -> Self {
        Self(Some(Process::default()))
    }

    /// Those that leave nothing behind when they are dropped, as if they had been killed.
    pub fn mortal() -> Self {
        Self::default()
    }

    /// As the process ends: waits until no planner is at work and what they had is given back; no longer than `patience`. Half of it
    /// is for threads that are still at it; what they have is given back then all the same.
    pub async fn gone(&self, patience: Duration) {
        let Some(process) = &self.0 else { return };
        process.planners.close();
        if timeout(patience / 2, process.planners.wait()).await.is_ok() {
            return;
        }
        process.ends.cancel();
        if timeout(patience / 2, process.planners.wait()).await.is_err() {
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
    /// The thread that plans it.
    at_work: TaskTracker,
    /// `None`: there is nothing to give back any more.
    held: Option<Held>,
}

/// A planner of a process that waits for it.
#[derive(Debug)]
struct Held {
    token: TaskTrackerToken,
    process_ends: CancellationToken,
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
        let held = planners.0.as_ref().map(Process::hold);
        // Before the store is asked: it may have claimed the run although its answer is lost.
        let mut claim = Self { lease, attempt: 0, why: NoPlan::Hindered, at_work: TaskTracker::new(), held };
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

    /// Does the planning on a thread of its own. The run is not given back before that has ended, whoever still waits for it: beside
    /// it, another planner would take as much memory again.
    ///
    /// # Errors
    /// Only where the process ends before it was begun.
    pub(crate) async fn apart<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, ClassifierError> {
        let at_work = self.at_work.token();
        // Behind the result: where nobody takes that, it is dropped first.
        let (result, _at_work) = apart(move || (work(), at_work)).await?;
        Ok(result)
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

impl Process {
    fn hold(&self) -> Held {
        Held { token: self.planners.token(), process_ends: self.ends.clone() }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let Some(held) = self.held.take() else { return };
        if let Ok(runtime) = Handle::try_current()
            && Instant::now() < self.lease.over_at
        {
            let process_ends = held.process_ends.clone();
            let give_back = self.lease.clone().give_back_in_time(self.why, self.at_work.clone(), process_ends);
            held.token.task_tracker().spawn_on(give_back, &runtime);
        }
    }
}

impl Lease {
    async fn give_back(&self, why: NoPlan) -> Result<(), StoreError> {
        self.store.give_planning_back(&self.district, self.run, self.until, why).await
    }

    async fn give_back_in_time(self, why: NoPlan, at_work: TaskTracker, process_ends: CancellationToken) {
        at_work.close();
        tokio::select! {
            () = at_work.wait() => {}
            () = process_ends.cancelled() => {}
            () = sleep_until(self.over_at) => return,
        }
        while let Err(error) = self.give_back(why).await {
            if !error.is_of_the_database() || Instant::now() >= self.over_at {
                tracing::debug!(error = chain(&error), "a run's planning is not given back");
                return;
            }
            sleep(AGAIN).await;
        }
    }
}
