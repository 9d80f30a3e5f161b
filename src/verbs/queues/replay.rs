//! `rollcall queues replay`: back to work by steps.
//!
//! One first, then ten, then the rest, each step only after the one before has been settled without being parked again.
//! Messages keep their ids. Published before they leave the parked queue: a command that is killed half-way leaves one
//! both parked and at work, which handlers take for the one message it is; the next call goes on with what is left. Every
//! call leaves an audit entry of what it is about to do before it does it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{IsTerminal as _, Write as _},
    process::ExitCode,
    time::Duration,
};

use chrono::TimeDelta;
use rollcall_proto::{
    bus::{Outcome, Parked, ParkedFilter, Replay},
    id::{DistrictId, RunId},
    topology::Queue,
};
use rollcall_store::{ParkedStudent, ParkedStudents, ReplayRefused};
use tokio::time::{Instant, MissedTickBehavior, interval};
use uuid::Uuid;

use super::{
    groups, print,
    selection::{Found, Selection},
};
use crate::{
    cli::{GroupBy, ReplayArgs},
    context::Context,
    output::{Listing, printable},
};

/// Sizes of the first steps.
const CANARIES: [usize; 2] = [1, 10];

/// Size of a step after them: what can still be parked again before anybody notices.
const STEP: usize = 500;

/// How long one wait for outcomes is, before the parked queue is looked at.
const WAIT: Duration = Duration::from_secs(5);

/// See the module. Exit code 1 where something is parked again or was left.
pub(super) async fn replay(
    context: &Context,
    queue: Queue,
    selection: &Selection,
    how: &ReplayArgs,
) -> anyhow::Result<ExitCode> {
    let found = selection.find(context, queue).await?;
    let (messages, students) = (found.messages.len(), found.students.len());
    if how.dry_run {
        eprintln!("{messages} messages would go back to work, {students} students would be tried again");
        print(context, &found)?;
        return Ok(ExitCode::SUCCESS);
    }
    if !found.is_empty() && !how.yes && !agreed(context, &found)? {
        eprintln!("nothing was put back");
        return Ok(ExitCode::FAILURE);
    }
    announce(context, queue, &found).await?;
    let mut steps = Steps::new(how);
    let mut done = Done::default();
    if messages > 0 {
        put_back(context, queue, selection, &found, how, &mut steps, &mut done).await?;
    }
    if done.trouble.is_none() {
        write(context, &found.students, selection, &mut steps, &mut done).await?;
    }
    done.report(&found);
    print(context, &Found { messages: done.messages, students: done.students })?;
    let all = done.trouble.is_none() && done.refused == 0;
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// On a terminal a person sees what it is about and says yes.
fn agreed(context: &Context, found: &Found) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Ok(true);
    }
    let listing: Listing = groups(found, &[GroupBy::Reason, GroupBy::District], context.clock.now());
    eprintln!("{}", listing.table());
    eprint!(
        "Put {} messages back to work and try {} students again? [y/N] ",
        found.messages.len(),
        found.students.len()
    );
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// What came of it.
#[derive(Debug, Default)]
struct Done {
    messages: Vec<Parked>,
    students: Vec<ParkedStudent>,
    /// Students that stay parked.
    refused: usize,
    /// Why it stopped early.
    trouble: Option<String>,
}

impl Done {
    fn report(&self, found: &Found) {
        eprintln!("{} messages went back to work, {} students were written", self.messages.len(), self.students.len());
        let left = found.messages.len().saturating_sub(self.messages.len());
        if let Some(trouble) = &self.trouble {
            eprintln!("stopped: {trouble}; {left} messages and {} students were left as they are", {
                found.students.len() - self.students.len() - self.refused
            });
        }
    }
}

/// How many next, and how fast.
struct Steps {
    canaries: Vec<usize>,
    step: usize,
    pace: Option<tokio::time::Interval>,
}

impl Steps {
    fn new(how: &ReplayArgs) -> Self {
        let canaries = if how.at_once { Vec::new() } else { CANARIES.into_iter().rev().collect() };
        let pace = how.rate.map(|_| {
            let mut pace = interval(Duration::from_secs(1));
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            pace
        });
        let step = if how.at_once { usize::MAX } else { STEP };
        Self { canaries, step: how.rate.map_or(step, |rate| step.min(rate as usize)), pace }
    }

    /// The next size, when its time has come; and whether it is a first step, whose end is waited for.
    async fn next(&mut self) -> (usize, bool) {
        if let Some(pace) = &mut self.pace {
            pace.tick().await;
        }
        match self.canaries.pop() {
            Some(size) => (size.min(self.step), true),
            None => (self.step, false),
        }
    }
}

/// Messages on their way, by id; a message without one counts under the nil UUID.
#[derive(Debug, Default)]
struct UnderWay(BTreeMap<Uuid, usize>);

impl UnderWay {
    fn add(&mut self, messages: &[Parked]) {
        for message in messages {
            *self.0.entry(message.id).or_default() += 1;
        }
    }

    fn end(&mut self, id: Uuid) {
        if let Some(count) = self.0.get_mut(&id) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&id);
            }
        }
    }
}

async fn put_back(
    context: &Context,
    queue: Queue,
    selection: &Selection,
    found: &Found,
    how: &ReplayArgs,
    steps: &mut Steps,
    done: &mut Done,
) -> anyhow::Result<()> {
    let mut watch = Watch {
        context,
        queue,
        replay: context.bus.watched_replay(queue).await?,
        // What is parked again is not taken for another of those that were found.
        before: found.newest().map(|newest| newest + TimeDelta::microseconds(1)),
        under_way: UnderWay::default(),
        patience: how.patience,
    };
    let total = found.messages.len();
    while done.messages.len() < total {
        let (size, canary) = steps.next().await;
        let limit = Some(size.min(total - done.messages.len()));
        let filter = ParkedFilter { before: watch.before, limit, ..selection.messages.clone() };
        let put = watch.replay.replay(&filter).await?;
        if put.is_empty() {
            break;
        }
        for message in &put {
            audit_message(context, message).await?;
        }
        watch.under_way.add(&put);
        done.messages.extend(put);
        let last = done.messages.len() >= total;
        if !last {
            eprintln!("{} of {total} messages are back at work", done.messages.len());
        }
        done.trouble =
            if (canary && !last) || (how.wait && last) { watch.settled().await? } else { watch.heard().await? };
        if done.trouble.is_some() {
            break;
        }
    }
    Ok(())
}

/// What has become of messages that are back at work.
struct Watch<'a> {
    context: &'a Context,
    queue: Queue,
    replay: Box<dyn Replay>,
    before: Option<chrono::DateTime<chrono::Utc>>,
    under_way: UnderWay,
    patience: Duration,
}

impl Watch<'_> {
    /// Waits until all are settled. Says why not to go on, if there is a reason.
    async fn settled(&mut self) -> anyhow::Result<Option<String>> {
        let mut until = Instant::now() + self.patience;
        while !self.under_way.0.is_empty() {
            let outcomes = self.replay.outcomes(WAIT.min(self.patience)).await?;
            if !outcomes.is_empty() {
                until = Instant::now() + self.patience;
            }
            let trouble = match self.take(&outcomes) {
                None if outcomes.is_empty() => self.parked_by_the_broker().await?,
                trouble => trouble,
            };
            if trouble.is_some() {
                return Ok(trouble);
            }
            if Instant::now() >= until {
                let count = self.under_way.0.len();
                return Ok(Some(format!(
                    "{count} that went back to work were not settled in {} s; is a worker of {} running? (--patience \
                     waits longer, --at-once does not wait)",
                    self.patience.as_secs(),
                    self.queue.name()
                )));
            }
        }
        Ok(None)
    }

    /// What has been heard so far, without waiting.
    async fn heard(&mut self) -> anyhow::Result<Option<String>> {
        let outcomes = self.replay.outcomes(Duration::ZERO).await?;
        Ok(self.take(&outcomes))
    }

    fn take(&mut self, outcomes: &[(Uuid, Outcome)]) -> Option<String> {
        for (id, _) in outcomes {
            self.under_way.end(*id);
        }
        let again: Vec<Uuid> =
            outcomes.iter().filter(|(_, outcome)| *outcome == Outcome::Parked).map(|(id, _)| *id).collect();
        parked_again(&again)
    }

    /// Those whose consumers died over them.
    async fn parked_by_the_broker(&mut self) -> anyhow::Result<Option<String>> {
        let filter = ParkedFilter { since: self.before, ..ParkedFilter::default() };
        let parked = self.context.bus.parked(self.queue, &filter).await?;
        let ids: BTreeSet<Uuid> = parked.into_iter().map(|parked| parked.id).collect();
        let again: Vec<Uuid> = self.under_way.0.keys().filter(|id| ids.contains(id)).copied().collect();
        Ok(parked_again(&again))
    }
}

fn parked_again(ids: &[Uuid]) -> Option<String> {
    let first = ids.first()?;
    Some(format!("{} are parked again, message {first} among them (`rollcall queues parked` says why)", ids.len()))
}

/// Tries the students again, by the same steps; says who stays parked and why.
async fn write(
    context: &Context,
    students: &[ParkedStudent],
    selection: &Selection,
    steps: &mut Steps,
    done: &mut Done,
) -> anyhow::Result<()> {
    let mut left = students;
    // Those that a run keeps: they come first again when more of it are asked for.
    let mut kept: BTreeMap<RunId, usize> = BTreeMap::new();
    while !left.is_empty() && done.trouble.is_none() {
        let (size, _) = steps.next().await;
        let (now, later) = left.split_at(size.min(left.len()));
        left = later;
        for of_run in now.chunk_by(|a, b| (&a.district, a.run) == (&b.district, b.run)) {
            write_of_run(context, of_run, selection, &mut kept, done).await?;
        }
    }
    Ok(())
}

async fn write_of_run(
    context: &Context,
    students: &[ParkedStudent],
    selection: &Selection,
    kept: &mut BTreeMap<RunId, usize>,
    done: &mut Done,
) -> anyhow::Result<()> {
    let (district, run) = (&students[0].district, students[0].run);
    let kept = kept.entry(run).or_default();
    let limit = Some((*kept + students.len()) as i64);
    let wanted = ParkedStudents { limit, ..selection.students.clone() };
    let outcome = context.store.replay_parked(district, run, &wanted, context.clock.now()).await?;
    let of_now = |id: &_| students.iter().any(|student| student.event.student_id == *id);
    for (student, why) in outcome.refused.iter().filter(|(student, _)| of_now(student)) {
        eprintln!("student {} of run {run} stays parked: {why}", printable(&student.0));
        *kept += 1;
        done.refused += 1;
        if *why == ReplayRefused::Database {
            done.trouble = Some(format!("the database still refuses student {}", printable(&student.0)));
        }
    }
    if !outcome.replayed.is_empty() {
        audit(context, district, Some(run), format!("students={}", outcome.replayed.len())).await?;
    }
    let is_written = |student: &&ParkedStudent| outcome.replayed.contains(&student.event.student_id);
    done.students.extend(students.iter().filter(is_written).cloned());
    Ok(())
}

/// Before anything is done: a command that is killed has left word.
async fn announce(context: &Context, queue: Queue, found: &Found) -> anyhow::Result<()> {
    let mut counts: BTreeMap<&DistrictId, (usize, usize)> = BTreeMap::new();
    for district in found.messages.iter().filter_map(|message| message.district.as_ref()) {
        counts.entry(district).or_default().0 += 1;
    }
    for student in &found.students {
        counts.entry(&student.district).or_default().1 += 1;
    }
    for (district, (messages, students)) in counts {
        let detail = format!("begins: {} messages={messages} students={students}", queue.name());
        audit(context, district, None, detail).await?;
    }
    Ok(())
}

async fn audit_message(context: &Context, message: &Parked) -> anyhow::Result<()> {
    let Some(district) = &message.district else { return Ok(()) };
    let detail = format!("message {} of {}, reason {}", message.id, message.queue.name(), message.reason);
    audit(context, district, message.run, detail).await
}

async fn audit(context: &Context, district: &DistrictId, run: Option<RunId>, detail: String) -> anyhow::Result<()> {
    context.audit(district, run, "parked.replay", detail).await
}
