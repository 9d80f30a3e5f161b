//! What a command that waits for a run says and does while nothing moves: it names the queue that nobody works on, and rides
//! over a database that is away for a while.

use std::time::Duration;

use rollcall_proto::{
    bus::{BusError, QueueDepth},
    topology::Queue,
};
use rollcall_store::{
    StoreError,
    run::{Run, Stage},
};
use tokio::time::Instant;

use crate::{context::Context, progress::Progress};

/// Nothing has moved for so long: time to look whether anybody works.
const QUIET: Duration = Duration::from_secs(5);

/// A server that is away for longer is a person's business.
const LONGEST_TROUBLE: Duration = Duration::from_mins(5);

/// See the module.
pub(super) struct Patience {
    /// What was shown last, since when, and whether the queues were looked at since.
    moved: (String, Instant),
    looked: Option<Instant>,
    said: Vec<Queue>,
    trouble: Option<Instant>,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self { moved: (String::new(), Instant::now()), looked: None, said: Vec::new(), trouble: None }
    }

    /// The run was seen, and is not over.
    pub(super) async fn after_look(&mut self, context: &Context, run: &Run, progress: &Progress) {
        if self.trouble.take().is_some() {
            progress.say("it answers again");
        }
        if self.moved.0 != progress.mark() {
            self.moved = (progress.mark().to_owned(), Instant::now());
            self.looked = None;
        }
        let since = self.looked.unwrap_or(self.moved.1);
        if context.dir().is_some() || since.elapsed() < QUIET {
            return;
        }
        self.looked = Some(Instant::now());
        // The broker may be away too: what is to be said then, the store's own silence says.
        let Ok(depths) = context.bus.depths().await else { return };
        let idle = deserted(run.stage, &depths);
        for queue in idle.iter().filter(|queue| !self.said.contains(queue)) {
            progress.say(&format!(
                "nobody works on {}, so that run {} waits: start `{}`",
                queue.name(),
                run.id,
                context.again.command(&format!("worker {}", worker(*queue)))
            ));
        }
        self.said = idle;
    }

    /// The run could not be seen. An error only where waiting is of no use.
    pub(super) fn after_trouble(&mut self, error: anyhow::Error, progress: &Progress) -> anyhow::Result<()> {
        let began = self.trouble.unwrap_or_else(Instant::now);
        if !is_transient(&error) || began.elapsed() > LONGEST_TROUBLE {
            return Err(error);
        }
        if self.trouble.is_none() {
            progress.say(&format!("{error:#}; waiting until it answers again, while the run goes on"));
        }
        self.trouble = Some(began);
        Ok(())
    }
}

fn is_transient(error: &anyhow::Error) -> bool {
    let store = error.downcast_ref().is_some_and(StoreError::is_transient);
    store || error.downcast_ref().is_some_and(BusError::is_transient)
}

/// The queues that a stage needs and nobody works on, where the bus knows.
fn deserted(stage: Stage, depths: &[QueueDepth]) -> Vec<Queue> {
    let needed: &[Queue] = match stage {
        Stage::Pull | Stage::Recheck => &[Queue::Fetch, Queue::Collect],
        Stage::Plan => &[Queue::Plan, Queue::PlanLarge],
        Stage::Release => &[Queue::Plan, Queue::Write],
        Stage::Held | Stage::Closed => &[],
    };
    let idle = depths.iter().filter(|depth| depth.consumers == Some(0) && needed.contains(&depth.queue));
    idle.map(|depth| depth.queue).collect()
}

/// The role that works on a queue, as `rollcall worker` takes it.
pub(super) const fn worker(queue: Queue) -> &'static str {
    match queue {
        Queue::Fetch => "fetcher",
        Queue::Collect | Queue::Plan | Queue::PlanLarge => "classifier",
        Queue::Write => "writer",
        Queue::Applied | Queue::Flags => "flag-sync",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_queues_that_the_stage_needs_are_missed() {
        let depth = |queue, consumers| QueueDepth { queue, waiting: 0, parked: 0, consumers };
        let depths: Vec<_> = Queue::ALL.map(|queue| depth(queue, Some(0))).into();
        assert_eq!(deserted(Stage::Pull, &depths), [Queue::Fetch, Queue::Collect]);
        assert_eq!(deserted(Stage::Release, &depths), [Queue::Plan, Queue::Write]);
        assert!(deserted(Stage::Held, &depths).is_empty());
        let busy: Vec<_> = Queue::ALL.map(|queue| depth(queue, Some(1))).into();
        let unknown: Vec<_> = Queue::ALL.map(|queue| depth(queue, None)).into();
        assert!(deserted(Stage::Pull, &busy).is_empty() && deserted(Stage::Pull, &unknown).is_empty());
    }

    #[test]
    fn an_outage_is_ridden_over_and_anything_else_is_not() {
        let away = || anyhow::Error::from(BusError::Unavailable { operation: "look", source: None });
        let refused = || anyhow::Error::from(StoreError::Refused { operation: "look", class: "42P01".to_owned() });
        let (mut patience, progress) = (Patience::new(), Progress::new());
        assert!(patience.after_trouble(away(), &progress).is_ok());
        assert!(patience.after_trouble(away().context("of a command"), &progress).is_ok());
        assert!(patience.after_trouble(refused(), &progress).is_err());
        patience.trouble = Instant::now().checked_sub(LONGEST_TROUBLE + QUIET);
        assert!(patience.after_trouble(away(), &progress).is_err(), "not for ever");
    }
}
