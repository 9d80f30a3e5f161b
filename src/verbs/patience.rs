//! What a command that waits for a run says and does while nothing moves: it names the queue that nobody works on, and rides
//! over a database that is away for a while.

use std::time::Duration;

use rollcall_proto::{
    bus::{BusError, QueueDepth},
    chain::chain,
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

/// How often is looked once a queue was found without anybody.
const SOON: Duration = Duration::from_secs(2);

/// Nobody is told to start workers who only come back to a broker that was away: they take up to so long.
const ABSENT: Duration = Duration::from_secs(10);

/// A server that is away for longer is a person's business.
const LONGEST_TROUBLE: Duration = Duration::from_mins(5);

/// See the module.
pub(super) struct Patience {
    /// What was shown last, since when, and whether the queues were looked at since.
    moved: (String, Instant),
    looked: Option<Instant>,
    absences: Absences,
    trouble: Option<Instant>,
}

/// A queue that nobody works on, as far as was looked.
struct Absence {
    queue: Queue,
    since: Instant,
    said: bool,
}

/// Those that were found at the last look.
#[derive(Default)]
struct Absences(Vec<Absence>);

impl Absences {
    /// Nobody works on these now. Those that are to be told, each once until somebody has worked on it.
    fn seen(&mut self, idle: &[Queue], now: Instant) -> Vec<Queue> {
        self.0.retain(|absence| idle.contains(&absence.queue));
        for queue in idle {
            if !self.0.iter().any(|absence| absence.queue == *queue) {
                self.0.push(Absence { queue: *queue, since: now, said: false });
            }
        }
        let due = self.0.iter_mut().filter(|absence| !absence.said && now - absence.since >= ABSENT);
        due.map(|absence| {
            absence.said = true;
            absence.queue
        })
        .collect()
    }

    /// For a while it was not seen whether anybody works.
    fn interrupt(&mut self) {
        self.0.retain(|absence| absence.said);
    }

    /// Whether one of them may have to be told soon.
    fn is_watched(&self) -> bool {
        self.0.iter().any(|absence| !absence.said)
    }
}

impl Patience {
    pub(super) fn new() -> Self {
        Self { moved: (String::new(), Instant::now()), looked: None, absences: Absences::default(), trouble: None }
    }

    /// The run was seen, and is not over.
    pub(super) async fn after_look(&mut self, context: &Context, run: &Run, progress: &Progress) {
        if self.trouble.take().is_some() {
            progress.say("it answers again");
        }
        if self.moved.0 != progress.mark() {
            self.moved = (progress.mark().to_owned(), Instant::now());
            self.looked = None;
            self.absences.interrupt();
        }
        let since = self.looked.unwrap_or(self.moved.1);
        let pause = if self.absences.is_watched() { SOON } else { QUIET };
        if context.dir().is_some() || since.elapsed() < pause {
            return;
        }
        self.looked = Some(Instant::now());
        // The broker may be away too: what is to be said then, the store's own silence says.
        let Ok(depths) = context.bus.depths().await else { return self.absences.interrupt() };
        for queue in self.absences.seen(&deserted(run.stage, &depths), Instant::now()) {
            progress.say(&format!(
                "nobody works on {}, so that run {} waits: start `{}`",
                queue.name(),
                run.id,
                context.again.command(&format!("worker {}", worker(queue)))
            ));
        }
    }

    /// The run could not be seen. An error only where waiting is of no use.
    pub(super) fn after_trouble(&mut self, error: anyhow::Error, progress: &Progress) -> anyhow::Result<()> {
        let began = self.trouble.unwrap_or_else(Instant::now);
        if !is_transient(&error) || began.elapsed() > LONGEST_TROUBLE {
            return Err(error);
        }
        self.absences.interrupt();
        if self.trouble.is_none() {
            let told = chain(error.as_ref());
            progress.say(&format!("{told}; waiting until it answers again, while the run goes on"));
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
    fn who_comes_back_soon_is_not_missed() {
        let (mut absences, begin) = (Absences::default(), Instant::now());
        let mut seen = |idle: &[Queue], seconds: u64| absences.seen(idle, begin + Duration::from_secs(seconds));
        let both = [Queue::Fetch, Queue::Collect];
        assert!(seen(&both, 0).is_empty() && seen(&both, 9).is_empty(), "not at once");
        assert_eq!(seen(&[Queue::Fetch], 10), [Queue::Fetch], "the other one's are back");
        assert!(seen(&both, 15).is_empty() && seen(&both, 24).is_empty(), "once; and gone again, from then on");
        assert_eq!(seen(&both, 25), [Queue::Collect]);
        assert!(seen(&[], 26).is_empty() && seen(&both, 40).is_empty(), "they were all there meanwhile");
        assert!(absences.is_watched());
        absences.interrupt();
        assert!(!absences.is_watched());
        assert!(absences.seen(&both, begin + Duration::from_mins(1)).is_empty(), "nobody looked in between");
        assert_eq!(absences.seen(&both, begin + Duration::from_mins(2)), both);
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
