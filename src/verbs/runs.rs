//! `rollcall runs`: look at runs, decide on held ones.

mod reason;

use std::process::ExitCode;

use anyhow::bail;
use rollcall_classifier::accept::{self, Accepted};
use rollcall_proto::{
    id::{DistrictId, RunId},
    message::{Body, Message, Plan, Release},
};
use rollcall_store::run::{Finding, FindingWeight, Pull, PullScope, Run, RunState, Stage};
use serde_json::{Value, json};

use super::{run, trace};
use crate::{
    cli::{Format, RunsVerb},
    config,
    context::Context,
    output::{Listing, say},
    waiting,
};

/// Columns of a run, as docs and other programs rely on them.
const COLUMNS: [&str; 13] = [
    "run",
    "district",
    "as_of",
    "trigger",
    "state",
    "added",
    "changed",
    "removed",
    "unchanged",
    "skipped",
    "started",
    "ended",
    "reason",
];

/// Does what the verb says.
pub(crate) async fn dispatch(context: &Context, verb: RunsVerb) -> anyhow::Result<ExitCode> {
    match verb {
        RunsVerb::List { district, limit } => {
            if let Some(district) = &district {
                context.store.district(district).await?;
            }
            listing(context, &context.store.runs(district.as_ref(), limit).await?).print(context.format)?;
            Ok(ExitCode::SUCCESS)
        }
        RunsVerb::Show { run } => show(context, run).await,
        RunsVerb::Plan { run, skipped } => plan(context, run, skipped).await,
        RunsVerb::Trace { run, all, student } => trace::trace(context, run, all, student.as_deref()).await,
        RunsVerb::Approve { run, accept_empty, wait } => approve(context, run, &accept_empty, wait).await,
        RunsVerb::Discard { run } => discard(context, run).await,
        RunsVerb::Cancel { run } => cancel(context, run).await,
        RunsVerb::Replay { run, from, wait } => super::replay::replay(context, run, from, wait).await,
    }
}

/// The runs as a listing: for people, with commands that they can type as they stand.
pub(crate) fn listing(context: &Context, runs: &[Run]) -> Listing {
    let mut listing = Listing::new(&COLUMNS);
    for run in runs {
        let mut told = run.clone();
        if context.format == Format::Table {
            told.reason = run.reason.as_ref().map(|reason| context.again.text_of(run.id, reason));
        }
        listing.push(cells(&told));
    }
    listing
}

fn cells(run: &Run) -> Vec<Value> {
    vec![
        json!(run.id),
        json!(run.district),
        json!(run.as_of),
        json!(run.trigger),
        json!(run.state),
        json!(run.counts.added),
        json!(run.counts.changed),
        json!(run.counts.removed),
        json!(run.counts.unchanged),
        json!(run.counts.skipped),
        json!(run.started_at),
        json!(run.ended_at),
        json!(run.reason),
    ]
}

async fn find(context: &Context, id: RunId) -> anyhow::Result<Run> {
    let district = context.store.district_of(id).await?;
    Ok(context.store.run(&district, id).await?)
}

async fn show(context: &Context, id: RunId) -> anyhow::Result<ExitCode> {
    let run = find(context, id).await?;
    let pulls = context.store.pulls(&run.district, run.id).await?;
    let waits_for = waiting::waits_for(context, &run).await?;
    match context.format {
        Format::Table => {
            summary(context, &run)?;
            if let Some(other) = waits_for {
                say!("  {}", waiting::told(context, other))?;
            }
            for (number, scope) in pulls.iter().filter_map(scope) {
                say!("  connection {number} was asked for {scope}")?;
            }
        }
        other @ (Format::Csv | Format::Html | Format::Svg) => {
            listing(context, std::slice::from_ref(&run)).print(other)?;
        }
        Format::Json => say!("{}", serde_json::to_string_pretty(&[document(&run, &pulls, waits_for)])?)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// How much a connection was asked for, where it could have been asked for less: its number as people count, and that.
fn scope(pull: &Pull) -> Option<(u16, String)> {
    let scope = &pull.discovery.as_ref()?.scope;
    (*scope != PullScope::Always).then(|| (pull.connection.0 + 1, scope.to_string()))
}

fn document(run: &Run, pulls: &[Pull], waits_for: Option<RunId>) -> Value {
    let pulled =
        pulls.iter().filter_map(scope).map(|(connection, scope)| json!({"connection": connection, "scope": scope}));
    let pulled: Vec<Value> = pulled.collect();
    let row = COLUMNS.iter().map(ToString::to_string).zip(cells(run));
    let mut object: serde_json::Map<String, Value> = row.collect();
    let counts = &run.counts;
    let more = [
        ("run_seq", json!(run.seq)),
        ("stage", json!(run.stage)),
        ("plan_hash", json!(run.plan_hash)),
        ("replay_of", json!(run.replay_of)),
        ("plan_only", json!(run.plan_only)),
        ("listed", json!(counts.listed)),
        ("missing", json!(counts.missing)),
        ("applied", json!(counts.applied)),
        ("parked", json!(counts.parked)),
        ("superseded", json!(counts.superseded)),
        ("findings", json!(run.findings)),
        ("waits_for", json!(waits_for)),
        ("created", json!(run.created_at)),
        ("pulled", json!(run.pulled_at)),
        ("planned", json!(run.planned_at)),
        ("released", json!(run.released_at)),
        ("pulls", json!(pulled)),
    ];
    object.extend(more.into_iter().map(|(key, value)| (key.to_owned(), value)));
    Value::Object(object)
}

/// A run for people: state, counts, findings, and what to type next.
pub(crate) fn summary(context: &Context, run: &Run) -> anyhow::Result<()> {
    let counts = &run.counts;
    say!("run {}  {}  as of {}", run.id, run.district, run.as_of)?;
    match reason::beside_findings(run.id, run.reason.as_deref(), &run.findings) {
        Some(reason) => say!("  {}: {}", run.state.as_str(), context.again.text_of(run.id, &reason))?,
        None => say!("  {}", run.state.as_str())?,
    }
    if let Some(of) = run.replay_of {
        say!("  planned from the pages of run {of}")?;
    }
    say!("  listed {}  missing {}", counts.listed, counts.missing)?;
    say!(
        "  added {}  changed {}  removed {}  unchanged {}  skipped {}",
        counts.added,
        counts.changed,
        counts.removed,
        counts.unchanged,
        counts.skipped
    )?;
    say!("  applied {}  parked {}  superseded {}", counts.applied, counts.parked, counts.superseded)?;
    if let Some(hash) = &run.plan_hash {
        say!("  plan {hash}")?;
    }
    run.findings.iter().try_for_each(|said| finding(context, run, said))?;
    next(context, run)
}

fn finding(context: &Context, run: &Run, finding: &Finding) -> anyhow::Result<()> {
    let word = match finding.weight {
        FindingWeight::Warning => "warning",
        FindingWeight::Partial => "partial",
    };
    let times = if finding.count > 1 { format!(" ({} times)", finding.count) } else { String::new() };
    say!("  {word}: {}: {}{times}", finding.code, context.again.text_of(run.id, &finding.message))
}

fn next(context: &Context, run: &Run) -> anyhow::Result<()> {
    if run.state != RunState::Held {
        return Ok(());
    }
    let command = |verb: &str| context.again.command(&format!("runs {verb} {}", run.id));
    say!("  next: {}    what would change", command("plan"))?;
    if !run.as_of_given {
        say!("        {}    let it go on", command("approve"))?;
    }
    say!("        {}    throw it away", command("discard"))
}

async fn plan(context: &Context, id: RunId, skipped: bool) -> anyhow::Result<ExitCode> {
    let run = find(context, id).await?;
    let district = &run.district;
    if skipped {
        let mut listing = Listing::new(&["student_id", "reason", "detail"]);
        for skip in kept(&run, context.store.skips(district, id).await?, run.counts.skipped)? {
            listing.push(vec![json!(skip.student_id), json!(skip.reason), json!(skip.detail)]);
        }
        listing.print(context.format)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut listing = Listing::new(&["student_id", "change", "from", "to", "rule", "enrollments"]);
    let planned = run.counts.added + run.counts.changed + run.counts.removed;
    for line in kept(&run, context.store.plan_lines(district, id).await?, planned)? {
        listing.push(vec![
            json!(line.student_id),
            json!(line.change),
            json!(line.from),
            json!(line.to),
            json!(line.rule.as_str()),
            json!(line.enrollments),
        ]);
    }
    listing.print(context.format)?;
    Ok(ExitCode::SUCCESS)
}

/// The lines of a plan, which age out some time after the run has ended.
fn kept<T>(run: &Run, lines: Vec<T>, counted: i64) -> anyhow::Result<Vec<T>> {
    if lines.is_empty() && counted > 0 && run.state.is_end() {
        bail!("the plan of run {} has aged out; `rollcall runs show {}` still has its counts", run.id, run.id);
    }
    Ok(lines)
}

async fn approve(context: &Context, id: RunId, accept_empty: &[String], wait: bool) -> anyhow::Result<ExitCode> {
    let held = find(context, id).await?;
    if !accept_empty.is_empty() {
        return accept(context, &held, accept_empty, wait).await;
    }
    let district = &held.district;
    let stage = match context.store.approve(district, id, &config::actor(), context.clock.now()).await? {
        Ok(stage) => stage,
        Err(refusal) => bail!("run {id} was not approved: {refusal}"),
    };
    publish_next(context, district, id, stage).await?;
    eprintln!("run {id} is approved and goes on");
    if !wait {
        run::hint_host(context)?;
        return Ok(ExitCode::SUCCESS);
    }
    let ended = run::wait(context, district, id).await?;
    run::finish(context, &ended)
}

/// The plan that was looked at knew nothing of what is accepted now, so another takes its place.
async fn accept(context: &Context, run: &Run, resources: &[String], wait: bool) -> anyhow::Result<ExitCode> {
    let accepted = match accept::accept(&context.classifier(), run, resources, &config::actor()).await? {
        Ok(accepted) => accepted,
        Err(refusal) => bail!("nothing was accepted for run {}: {refusal}", run.id),
    };
    let goes_on = match accepted {
        Accepted::PlannedAgain(made) => {
            eprintln!("accepted; run {} plans the pages of run {} again by it", made.id, run.id);
            made.id
        }
        Accepted::Open => {
            eprintln!("accepted; run {} goes by it unless it is planned already", run.id);
            run.id
        }
        Accepted::Next(reason) => {
            eprintln!("accepted; the next run of {} goes by it, not this one: {reason}", run.district);
            return Ok(ExitCode::SUCCESS);
        }
    };
    if !wait {
        run::hint_host(context)?;
        return Ok(ExitCode::SUCCESS);
    }
    let ended = run::wait(context, &run.district, goes_on).await?;
    run::finish(context, &ended)
}

/// Wakes the classifier for the stage that a run has come to.
async fn publish_next(context: &Context, district: &DistrictId, id: RunId, stage: Stage) -> anyhow::Result<()> {
    let body = match stage {
        Stage::Release => Body::Release(Release {}),
        _ => Body::Plan(Plan { large: false }),
    };
    let message = Message::new(district.clone(), id, context.clock.now(), body);
    Ok(context.bus.publish(&[message]).await?)
}

async fn discard(context: &Context, id: RunId) -> anyhow::Result<ExitCode> {
    let run = find(context, id).await?;
    let actor = config::actor();
    let reason = format!("by {actor}");
    if !context.store.discard(&run.district, id, &actor, &reason, context.clock.now()).await? {
        // As it is now: it may have gone on since it was looked at.
        bail!(not_discarded(id, find(context, id).await?.state));
    }
    eprintln!("the plan of run {id} is discarded; nothing was changed");
    Ok(ExitCode::SUCCESS)
}

async fn cancel(context: &Context, id: RunId) -> anyhow::Result<ExitCode> {
    let run = find(context, id).await?;
    if !context.store.cancel_run(&run.district, id, &config::actor(), context.clock.now()).await? {
        // As it is now: it may have gone on since it was looked at.
        let run = find(context, id).await?;
        bail!(not_cancelled(id, run.state, run.stage));
    }
    eprintln!("run {id} is cancelled; nothing was changed");
    Ok(ExitCode::SUCCESS)
}

/// Why there is no plan to discard, and what to type instead.
fn not_discarded(id: RunId, state: RunState) -> String {
    if state.is_end() {
        return ended(id, state, "no plan of it waits to be discarded");
    }
    format!(
        "run {id} is {}, and only a held run can be discarded; `rollcall runs cancel {id}` ends one whose plan is not released",
        state.as_str()
    )
}

/// Why a run is not cancelled, and what to type instead.
fn not_cancelled(id: RunId, state: RunState, at: Stage) -> String {
    if state.is_end() {
        return ended(id, state, "nothing of it is left to cancel");
    }
    format!(
        "run {id} is {} at stage {at:?}: only a run that has not released its plan can be cancelled. It goes on to its end; \
         `rollcall runs show {id}` says how far it is, and `rollcall runs plan {id}` what it changes",
        state.as_str()
    )
}

fn ended(id: RunId, state: RunState, so: &str) -> String {
    format!("run {id} has ended, {}: {so}; `rollcall runs show {id}` says what came of it", state.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever may not do something is told what can be done.
    #[test]
    fn a_run_that_cannot_be_discarded_or_cancelled_is_told_with_a_command() {
        let id: RunId = "00000000-0000-7000-8000-000000000000".parse().unwrap();
        let show = format!("`rollcall runs show {id}`");
        for state in
            [RunState::Succeeded, RunState::Partial, RunState::Failed, RunState::Cancelled, RunState::Discarded]
        {
            for told in [not_discarded(id, state), not_cancelled(id, state, Stage::Closed)] {
                let ended = format!("has ended, {}: ", state.as_str());
                assert!(told.contains(&ended) && told.contains(&show), "{told}");
            }
        }
        let running = not_discarded(id, RunState::Running);
        assert!(running.contains(&format!("`rollcall runs cancel {id}`")), "{running}");
        let released = not_cancelled(id, RunState::Running, Stage::Release);
        assert!(released.contains("has not released") && released.contains(&show), "{released}");
    }
}
