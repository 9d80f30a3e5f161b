//! `rollcall reconcile`: what the store says is owed, against what the broker has.
//!
//! Role: one look of each service's reconciler, by hand; with `--check` only told. Neighbours: the reconcilers in fetcher,
//! classifier and flag-sync, which do the same again and again.
//!
//! Invariants: `--check` changes nothing, neither in the store nor on the broker; what is told is what a reconciler would
//! act on, or what keeps it from being acted on, by the reconcilers' own predicates.
//!
//! Deliberately absent: bindings, which AMQP tells nobody of (whoever publishes what no queue wants makes them anew), and
//! messages that wait in a queue of work: a look at them counts as a delivery, of which each has a number. One of a run that
//! the store does not know is parked by whoever takes it up, and told then.

use std::{collections::BTreeMap, process::ExitCode, sync::Arc};

use anyhow::Context as _;
use chrono::{DateTime, TimeDelta, Utc};
use rollcall_classifier::{
    error::ClassifierError,
    reconcile::{self as planning, Owed},
};
use rollcall_fetcher::{FetcherConfig, Reconciler, error::FetchError};
use rollcall_flag_sync::reconcile as flags;
use rollcall_proto::{
    bus::{Parked, ParkedFilter, QueueDepth, QueueFault},
    chain::chain,
    id::{DistrictId, RunId},
    topology::Queue,
};
use rollcall_store::{OpenRun, StoreError, run::Stage};
use serde_json::{Value, json};

use crate::{cli::Global, context::Context, host::flag_sync_config, output::Listing};

const COLUMNS: [&str; 6] = ["disagreement", "queue", "district", "run", "since", "detail"];

/// See the module.
pub(crate) async fn reconcile(global: &Global, check: bool) -> anyhow::Result<ExitCode> {
    if !check {
        return mend(&Context::open(global).await?).await;
    }
    let context = Context::open_looking(global).await?;
    let mut report = Report { listing: Listing::new(&COLUMNS), found: 0 };
    report.look(&context).await?;
    report.listing.print(context.format)?;
    if report.found == 0 {
        eprintln!("store and broker agree");
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!(
        "{} disagreements; workers mend what they can by themselves, `rollcall reconcile` does at once",
        report.found
    );
    Ok(ExitCode::FAILURE)
}

/// One look of every reconciler, the next one's whatever came of the last.
async fn mend(context: &Context) -> anyhow::Result<ExitCode> {
    let fetched = fetching(context).once().await.context("asking again for what runs owe in fetching");
    let planned = planning::tick(&context.classifier()).await.context("asking again for plans and batches");
    let flagged = flags::tick(&flag_sync(context)?).await.context("asking again for flags");
    let (fetched, planned, flagged) = (fetched?, planned?, flagged?);
    eprintln!(
        "looked at every open run: {} were owed a plan or batches; {} districts were owed their flags",
        planned.helped, flagged.asked
    );
    let passed_over = fetched + planned.passed_over + flagged.passed_over;
    if passed_over > 0 {
        eprintln!("{passed_over} could not be looked after: `rollcall reconcile --check` names them");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn fetching(context: &Context) -> Reconciler {
    let config = FetcherConfig { lost_after: context.settings.lost_after, ..FetcherConfig::default() };
    Reconciler::new(&config, context.store.clone(), Arc::clone(&context.bus), Arc::clone(&context.clock))
}

fn flag_sync(context: &Context) -> anyhow::Result<rollcall_flag_sync::Context> {
    let (bus, store, clock) = (Arc::clone(&context.bus), context.store.clone(), Arc::clone(&context.clock));
    Ok(rollcall_flag_sync::Context::new(flag_sync_config(&context.settings), bus, store, clock)?)
}

struct Report {
    listing: Listing,
    found: usize,
}

/// Whose, where it is anybody's.
type Whose<'a> = (Option<&'a DistrictId>, Option<RunId>);

impl Report {
    fn add(&mut self, what: &str, queue: &str, whose: Whose<'_>, since: Option<DateTime<Utc>>, detail: &str) {
        self.found += 1;
        let (district, run) = whose;
        self.listing.push(vec![
            json!(what),
            if queue.is_empty() { Value::Null } else { json!(queue) },
            json!(district),
            json!(run),
            json!(since),
            json!(detail),
        ]);
    }

    async fn look(&mut self, context: &Context) -> anyhow::Result<()> {
        let faults = context.bus.queue_faults().await?;
        for (queue, fault) in &faults {
            self.add_fault(queue, *fault);
        }
        // A look at the depth of a queue fails where one is missing, and tells nothing of one that is otherwise.
        let depths = if faults.is_empty() { context.bus.depths().await? } else { Vec::new() };
        self.look_at_queues(&depths);
        for run in context.store.open_runs().await? {
            if let Err(error) = self.look_at_run(context, &run, &depths).await {
                self.add_unreadable(&run, error)?;
            }
        }
        self.look_at_flags(context, &depths).await?;
        if faults.is_empty() {
            self.look_at_parked(context).await?;
        }
        Ok(())
    }

    fn add_fault(&mut self, queue: &str, fault: QueueFault) {
        let (what, detail) = match fault {
            QueueFault::Missing => (
                "queue-missing",
                "not on the broker; whoever may declare makes it next, as `rollcall queues list` does",
            ),
            QueueFault::DeclaredOtherwise => (
                "queue-differs",
                "declared with other arguments, so that no worker can use it: empty it, delete it, and the next worker \
                 that starts makes it",
            ),
        };
        self.add(what, queue, (None, None), None, detail);
    }

    fn look_at_queues(&mut self, depths: &[QueueDepth]) {
        for depth in depths.iter().filter(|depth| depth.waiting > 0 && depth.consumers == Some(0)) {
            let detail = format!("{} messages wait and nobody consumes; start a worker", depth.waiting);
            self.add("nobody-consumes", depth.queue.name(), (None, None), None, &detail);
        }
    }

    async fn look_at_run(&mut self, context: &Context, run: &OpenRun, depths: &[QueueDepth]) -> anyhow::Result<()> {
        let whose = (Some(&run.district), Some(run.run));
        if matches!(run.stage, Stage::Pull | Stage::Recheck) {
            let owed = fetching(context).owed(run).await?;
            if owed > 0 {
                let detail = format!("{owed} messages of the fetch queue are owed{}", waiting(depths, Queue::Fetch));
                self.add("pages-lost", Queue::Fetch.name(), whose, Some(run.touched_at), &detail);
            }
        }
        let quiet = TimeDelta::from_std(context.settings.lost_after)?;
        match planning::owed_now(&context.classifier(), run, context.clock.now(), quiet).await? {
            Owed::Nothing => {}
            Owed::Plan => {
                let detail = format!("nothing has moved, and it is not planned{}", waiting(depths, Queue::Plan));
                self.add("plan-lost", Queue::Plan.name(), whose, Some(run.touched_at), &detail);
            }
            Owed::Release => {
                let detail = format!("released, not all written, nothing moves{}", waiting(depths, Queue::Write));
                self.add("batches-lost", Queue::Write.name(), whose, Some(run.touched_at), &detail);
            }
        }
        Ok(())
    }

    /// An error that may pass is the store's or the bus's, and none of the run's.
    fn add_unreadable(&mut self, run: &OpenRun, error: anyhow::Error) -> anyhow::Result<()> {
        let fetching = error.downcast_ref::<FetchError>().is_some_and(FetchError::is_transient);
        let planning = error.downcast_ref::<ClassifierError>().is_some_and(ClassifierError::is_transient);
        if fetching || planning {
            return Err(error.context(format!("looking at run {}", run.run)));
        }
        let detail = format!("{}; `rollcall runs cancel {}` ends it", chain(error.as_ref()), run.run);
        self.add("unreadable", "", (Some(&run.district), Some(run.run)), Some(run.touched_at), &detail);
        Ok(())
    }

    async fn look_at_flags(&mut self, context: &Context, depths: &[QueueDepth]) -> anyhow::Result<()> {
        for work in context.store.flag_work().await? {
            let quiet = TimeDelta::from_std(context.settings.lost_after)?;
            let since = [work.stopped_at, work.pending_since].into_iter().flatten().min();
            let now = context.clock.now();
            let long = since.is_none_or(|since| since + quiet < now);
            if long && flags::owed(&work, now, quiet).is_some() {
                let detail = format!("the district's flags are due{}", waiting(depths, Queue::Flags));
                self.add("flags-due", Queue::Flags.name(), (Some(&work.district), None), since, &detail);
            }
        }
        Ok(())
    }

    /// Parked messages of runs (of flags: of districts) that the store does not know: of before a restore, or of another
    /// installation.
    async fn look_at_parked(&mut self, context: &Context) -> anyhow::Result<()> {
        let mut groups: BTreeMap<(Queue, Owner), (usize, DateTime<Utc>)> = BTreeMap::new();
        for queue in Queue::ALL {
            for parked in context.bus.parked(queue, &ParkedFilter::default()).await? {
                let Some(owner) = Owner::of(&parked) else { continue };
                let (count, oldest) = groups.entry((queue, owner)).or_insert((0, parked.parked_at));
                (*count, *oldest) = (*count + 1, parked.parked_at.min(*oldest));
            }
        }
        for ((queue, owner), (count, oldest)) in groups {
            if !owner.is_known(context).await? {
                let (what, whose, of) = match &owner {
                    Owner::Run(run) => ("run-unknown", (None, Some(*run)), "run"),
                    Owner::District(district) => ("district-unknown", (Some(district), None), "district"),
                };
                let detail = format!("{count} parked messages of a {of} that the store does not know");
                self.add(what, queue.name(), whose, Some(oldest), &detail);
            }
        }
        Ok(())
    }
}

/// Whose a parked message is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    Run(RunId),
    /// A message about flags belongs to no run.
    District(DistrictId),
}

impl Owner {
    fn of(parked: &Parked) -> Option<Self> {
        match parked.queue {
            Queue::Flags => parked.district.clone().map(Self::District),
            _ => parked.run.map(Self::Run),
        }
    }

    async fn is_known(&self, context: &Context) -> anyhow::Result<bool> {
        let found = match self {
            Self::Run(run) => context.store.district_of(*run).await.map(drop),
            Self::District(district) => context.store.district(district).await.map(drop),
        };
        match found {
            Ok(()) => Ok(true),
            Err(StoreError::NoRun(_) | StoreError::NoDistrict(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

fn waiting(depths: &[QueueDepth], queue: Queue) -> String {
    match depths.iter().find(|depth| depth.queue == queue) {
        Some(QueueDepth { waiting, consumers: Some(consumers), .. }) => {
            format!("; {waiting} wait there, {consumers} consumers")
        }
        Some(QueueDepth { waiting, .. }) => format!("; {waiting} wait there"),
        None => String::new(),
    }
}
