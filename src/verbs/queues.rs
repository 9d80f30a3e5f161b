//! `rollcall queues`: what waits, what is parked, and putting it back to work.
//!
//! Two kinds of things are parked for the writer: whole messages, which the bus keeps, and single students whose change the
//! database refused, which the store keeps so that the rest of their message could be written.

use std::process::ExitCode;

use rollcall_proto::{
    bus::{Parked, ParkedFilter},
    id::{DistrictId, RunId},
    topology::Queue,
};
use rollcall_store::{ParkedStudent, ParkedStudents, audit::AuditEntry};
use serde_json::{Value, json};

use crate::{
    cli::QueuesVerb,
    config,
    context::Context,
    output::{Listing, printable},
};

/// Columns of what is parked.
const COLUMNS: [&str; 9] =
    ["message", "queue", "kind", "reason", "district", "run", "parked_at", "detail", "student_id"];

/// Does what the verb says.
pub(crate) async fn dispatch(context: &Context, verb: QueuesVerb) -> anyhow::Result<ExitCode> {
    match verb {
        QueuesVerb::List => list(context).await,
        QueuesVerb::Parked { queue, district, run, reason } => {
            let filter = ParkedFilter { district, run, reason, limit: None };
            check(context, &filter).await?;
            parked(context, queue, &filter).await
        }
        QueuesVerb::Replay { queue, district, run, reason, limit, dry_run } => {
            let filter = ParkedFilter { district, run, reason, limit: limit.map(|limit| limit as usize) };
            check(context, &filter).await?;
            if dry_run { preview(context, queue, &filter).await } else { replay(context, queue, &filter).await }
        }
    }
}

/// A district or run that is not there must not look like one with nothing parked.
async fn check(context: &Context, filter: &ParkedFilter) -> anyhow::Result<()> {
    if let Some(district) = &filter.district {
        context.store.district(district).await?;
    }
    if let Some(run) = filter.run {
        context.store.district_of(run).await?;
    }
    Ok(())
}

async fn list(context: &Context) -> anyhow::Result<ExitCode> {
    let students = context.store.parked_students(&ParkedStudents::default()).await?.len() as u64;
    let mut listing = Listing::new(&["queue", "waiting", "parked", "consumers"]);
    for depth in context.bus.depths().await? {
        let parked = depth.parked + if depth.queue == Queue::Write { students } else { 0 };
        listing.push(vec![json!(depth.queue.name()), json!(depth.waiting), json!(parked), json!(depth.consumers)]);
    }
    listing.print(context.format)?;
    Ok(ExitCode::SUCCESS)
}

async fn parked(context: &Context, queue: Option<Queue>, filter: &ParkedFilter) -> anyhow::Result<ExitCode> {
    let mut listing = Listing::new(&COLUMNS);
    for queue in queue.map_or_else(|| Queue::ALL.to_vec(), |queue| vec![queue]) {
        let messages = context.bus.parked(queue, filter).await?;
        let students = students(context, queue, filter, 0).await?;
        for cells in messages.iter().map(message_cells).chain(students.iter().map(student_cells)) {
            listing.push(cells);
        }
    }
    listing.print(context.format)?;
    Ok(ExitCode::SUCCESS)
}

async fn preview(context: &Context, queue: Queue, filter: &ParkedFilter) -> anyhow::Result<ExitCode> {
    let messages = context.bus.parked(queue, filter).await?;
    let students = students(context, queue, filter, messages.len()).await?;
    eprintln!("{} messages would go back to work, {} students would be tried again", messages.len(), students.len());
    print(context, &messages, &students)
}

/// Exit code 1 where a student stays parked.
async fn replay(context: &Context, queue: Queue, filter: &ParkedFilter) -> anyhow::Result<ExitCode> {
    let messages = context.bus.replay(queue, filter).await?;
    for message in &messages {
        if let Some(district) = &message.district {
            let detail = format!("message {} of {}, reason {}", message.id, message.queue.name(), message.reason);
            audit(context, district, message.run, detail).await?;
        }
    }
    let students = students(context, queue, filter, messages.len()).await?;
    let written = write(context, &students, filter).await?;
    eprintln!("{} messages went back to work, {} students were written", messages.len(), written.len());
    print(context, &messages, &written)?;
    Ok(if written.len() == students.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The parked students that the filter means, `taken` being those of its limit that messages have used up.
async fn students(
    context: &Context,
    queue: Queue,
    filter: &ParkedFilter,
    taken: usize,
) -> anyhow::Result<Vec<ParkedStudent>> {
    if queue != Queue::Write {
        return Ok(Vec::new());
    }
    let limit = filter.limit.map(|limit| limit.saturating_sub(taken) as i64);
    let district = match (&filter.district, filter.run) {
        (None, Some(run)) => Some(context.store.district_of(run).await?),
        (district, _) => district.clone(),
    };
    let wanted = ParkedStudents { district, run: filter.run, reason: filter.reason.clone(), limit };
    Ok(context.store.parked_students(&wanted).await?)
}

/// Tries the students again, run by run; says who stays parked and why. Returns those written.
async fn write(
    context: &Context,
    students: &[ParkedStudent],
    filter: &ParkedFilter,
) -> anyhow::Result<Vec<ParkedStudent>> {
    let mut written = Vec::new();
    for of_run in students.chunk_by(|a, b| (&a.district, a.run) == (&b.district, b.run)) {
        let (district, run) = (&of_run[0].district, of_run[0].run);
        let (reason, limit) = (filter.reason.as_deref(), of_run.len() as i64);
        let done = context.store.replay_parked(district, run, reason, limit, context.clock.now()).await?;
        for (student, why) in &done.refused {
            eprintln!("student {} of run {run} stays parked: {why}", printable(&student.0));
        }
        if !done.replayed.is_empty() {
            audit(context, district, Some(run), format!("students={}", done.replayed.len())).await?;
        }
        let is_written = |student: &&ParkedStudent| done.replayed.contains(&student.event.student_id);
        written.extend(of_run.iter().filter(is_written).cloned());
    }
    Ok(written)
}

fn print(context: &Context, messages: &[Parked], students: &[ParkedStudent]) -> anyhow::Result<ExitCode> {
    let mut listing = Listing::new(&COLUMNS);
    for cells in messages.iter().map(message_cells).chain(students.iter().map(student_cells)) {
        listing.push(cells);
    }
    listing.print(context.format)?;
    Ok(ExitCode::SUCCESS)
}

fn message_cells(message: &Parked) -> Vec<Value> {
    vec![
        json!(message.id),
        json!(message.queue.name()),
        json!(message.kind),
        json!(message.reason),
        json!(message.district),
        json!(message.run),
        json!(message.parked_at),
        json!(message.detail),
        Value::Null,
    ]
}

fn student_cells(student: &ParkedStudent) -> Vec<Value> {
    let event = &student.event;
    vec![
        Value::Null,
        json!(Queue::Write.name()),
        json!("student"),
        json!(event.reason),
        json!(student.district),
        json!(student.run),
        json!(event.at),
        json!(event.detail),
        json!(event.student_id),
    ]
}

async fn audit(context: &Context, district: &DistrictId, run: Option<RunId>, detail: String) -> anyhow::Result<()> {
    let entry = AuditEntry {
        at: context.clock.now(),
        actor: config::actor(),
        action: "parked.replay".to_owned(),
        run,
        detail,
        district: district.clone(),
    };
    Ok(context.store.audit(&entry).await?)
}
