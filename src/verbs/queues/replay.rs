//! `rollcall queues replay`: back to work by steps.
//!
//! One first, then ten, then the rest, each step only after the one before has been settled without being parked again:
//! `steps` says how many and how fast, `watch` hears what becomes of them. Messages keep their ids. Published before they
//! leave the parked queue: a command that is killed half-way leaves one both parked and at work, which handlers take for
//! the one message it is; the next call goes on with what is left. Whatever is done is in the audit trail before it is
//! done (`trail`).

use std::{collections::BTreeMap, process::ExitCode};

use rollcall_proto::{
    bus::{Parked, ParkedFilter},
    id::RunId,
    topology::Queue,
};
use rollcall_store::{ParkedStudent, ParkedStudents, ReplayRefused};

use super::{
    Words, not_now, print,
    selection::{Found, Selection},
    steps::Steps,
    trail,
    watch::Watch,
};
use crate::{cli::ReplayArgs, context::Context, output::printable};

/// See the module. Exit code 1 where something is parked again or was left.
pub(super) async fn replay(
    context: &Context,
    queue: Queue,
    selection: &Selection,
    how: &ReplayArgs,
) -> anyhow::Result<ExitCode> {
    let found = selection.find(context, queue).await?;
    selection.check(&found)?;
    let (messages, students) = (found.messages.len(), found.students.len());
    let words = Words {
        would: format!("{messages} messages would go back to work, {students} students would be tried again"),
        question: format!("Put {messages} messages back to work and try {students} students again?"),
        nothing: "nothing was put back",
    };
    if let Some(code) = not_now(context, &found, &how.first, &words)? {
        return Ok(code);
    }
    if found.is_empty() {
        eprintln!("none that is meant is parked (what another command looks at is out of sight for that moment)");
    }
    trail::announce(context, trail::REPLAY, queue, &found).await?;
    let (mut steps, mut done) = (Steps::new(how), Done::default());
    if messages > 0 {
        put_back(context, queue, selection, &found.messages, how, &mut steps, &mut done).await?;
    }
    if done.trouble.is_none() {
        steps.begin_again();
        write(context, &found.students, selection, &mut steps, &mut done).await?;
    }
    done.report(&found);
    print(context, &Found { messages: done.messages, students: done.students })?;
    let all = done.trouble.is_none() && done.refused == 0;
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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

async fn put_back(
    context: &Context,
    queue: Queue,
    selection: &Selection,
    found: &[Parked],
    how: &ReplayArgs,
    steps: &mut Steps,
    done: &mut Done,
) -> anyhow::Result<()> {
    let mut watch = Watch::begin(context, queue, found, how.patience).await?;
    let mut left = found;
    while !left.is_empty() && done.trouble.is_none() {
        let (now, later) = left.split_at(steps.next().await.min(left.len()));
        left = later;
        trail::note(context, trail::REPLAY, now).await?;
        // What is parked again is not taken for another of those that were found.
        let copies = Some(now.iter().map(Parked::copy).collect());
        let filter = ParkedFilter { copies, limit: Some(now.len()), ..selection.messages.clone() };
        let put = watch.put_back(&filter).await?;
        let held = now.len() - put.len();
        done.messages.extend(put);
        if !left.is_empty() {
            eprintln!("{} of {} messages are back at work", done.messages.len(), found.len());
        }
        let is_awaited = if left.is_empty() { how.wait } else { !how.at_once };
        done.trouble = if is_awaited { watch.settled().await? } else { watch.heard().await? };
        done.trouble = done.trouble.take().or_else(|| not_to_be_had(held));
    }
    Ok(())
}

/// Found, and out of reach a moment later.
pub(super) fn not_to_be_had(held: usize) -> Option<String> {
    (held > 0).then(|| {
        format!(
            "{held} that were found are not to be had: another command looks at them, or has put them back or deleted \
             them; try again"
        )
    })
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
        let (now, later) = left.split_at(steps.next().await.min(left.len()));
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
        let trouble = match why {
            ReplayRefused::Database => "the database still refuses",
            ReplayRefused::Program => "this program still panics over",
            _ => continue,
        };
        done.trouble = Some(format!("{trouble} student {}", printable(&student.0)));
    }
    if !outcome.replayed.is_empty() {
        trail::note_students(context, district, run, outcome.replayed.len()).await?;
    }
    let is_written = |student: &&ParkedStudent| outcome.replayed.contains(&student.event.student_id);
    done.students.extend(students.iter().filter(is_written).cloned());
    Ok(())
}
