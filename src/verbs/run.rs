//! `rollcall run`: run a district now.

use std::{process::ExitCode, time::Duration};

use anyhow::Context as _;
use rollcall_fetcher::launch;
use rollcall_proto::id::{DistrictId, RunId};
use rollcall_store::run::{NewRun, Run as RunRow, RunState, Trigger};

use super::{HELD, district::ensure_not_removed, patience::Patience, runs};
use crate::{
    cli::{Format, Run},
    config,
    context::Context,
    ending,
    host::{HostLock, Services, signal},
    progress::Progress,
};

/// How often a waiting command looks at its run.
const LOOK_AGAIN: Duration = Duration::from_millis(150);

/// Runs among which one that is held is looked for.
const RECENT: i64 = 20;

/// Requests in flight when a waiting command hosts the workers itself.
const CONCURRENCY: u16 = 64;

/// Makes the run, and waits for it where asked.
pub(crate) async fn run(context: &Context, args: &Run) -> anyhow::Result<ExitCode> {
    let district = context.store.district(&args.id).await?;
    ensure_not_removed(context, &args.id).await?;
    if args.as_of.is_some() {
        warn_of_waiting(context, &args.id).await?;
    }
    let now = context.clock.now();
    let new = NewRun {
        district: args.id.clone(),
        trigger: Trigger::Manual,
        as_of: args.as_of.unwrap_or_else(|| now.with_timezone(&district.time_zone).date_naive()),
        plan_only: args.plan,
        as_of_given: args.as_of.is_some(),
        everything: args.full,
        requested_by: config::actor(),
    };
    let run =
        launch(&context.store, &context.bus, &new, &*context.clock).await?.context("a manual run was not made")?;
    if !args.wait {
        return announce(context, &run);
    }
    let run = wait(context, &args.id, run.id).await?;
    finish(context, &run)
}

fn announce(context: &Context, run: &RunRow) -> anyhow::Result<ExitCode> {
    runs::listing(context, std::slice::from_ref(run)).print(context.format)?;
    hint_host(context)?;
    Ok(ExitCode::SUCCESS)
}

/// Says so where what was just asked for waits until somebody hosts the directory.
pub(crate) fn hint_host(context: &Context) -> anyhow::Result<()> {
    if let Some(dir) = context.dir()
        && HostLock::take(dir)?.is_some()
    {
        eprintln!(
            "nothing moves yet, since no process hosts {}: start `{}`, or use --wait where a command has it",
            dir.display(),
            context.serve()
        );
    }
    Ok(())
}

/// A plan that waits for a person is thrown away by any later one, which here nobody can approve in its place.
async fn warn_of_waiting(context: &Context, district: &DistrictId) -> anyhow::Result<()> {
    let runs = context.store.runs(Some(district), RECENT).await?;
    for run in runs.iter().filter(|run| run.state == RunState::Held && !run.as_of_given) {
        eprintln!(
            "run {0} waits for a person, and its plan is thrown away once this one is made, which cannot be approved; to keep \
             it, `{1}` now",
            run.id,
            context.again.command(&format!("runs approve {}", run.id))
        );
    }
    Ok(())
}

/// Prints the run and what to type next; the exit code says how it ended.
pub(crate) fn finish(context: &Context, run: &RunRow) -> anyhow::Result<ExitCode> {
    match context.format {
        Format::Table => runs::summary(context, run)?,
        _ => runs::listing(context, std::slice::from_ref(run)).print(context.format)?,
    }
    Ok(exit_code(run))
}

fn exit_code(run: &RunRow) -> ExitCode {
    match run.state {
        RunState::Succeeded | RunState::Partial => ExitCode::SUCCESS,
        RunState::Held if run.plan_only => ExitCode::SUCCESS,
        RunState::Held => ExitCode::from(HELD),
        _ => ExitCode::FAILURE,
    }
}

/// Shows progress until the run stops. In embedded mode, hosts the workers whenever nobody else does. What is away for a while
/// is waited for: the run goes on without this command.
pub(crate) async fn wait(context: &Context, district: &DistrictId, run: RunId) -> anyhow::Result<RunRow> {
    let mut host = None;
    let ended = tokio::select! {
        ended = watch(context, district, run, &mut host) => ended,
        () = signal() => {
            ending::told();
            Err(anyhow::anyhow!("interrupted"))
        }
    };
    tokio::select! {
        () = stop(host) => {}
        () = signal() => ending::at_once(),
    }
    let goes_on = if context.dir().is_some() { "when a process hosts its workers" } else { "without this command" };
    ended.with_context(|| format!("run {run} goes on {goes_on} (`rollcall runs show {run}` says how far it is)"))
}

async fn watch(
    context: &Context,
    district: &DistrictId,
    run: RunId,
    host: &mut Option<(HostLock, Services)>,
) -> anyhow::Result<RunRow> {
    let (mut progress, mut patience) = (Progress::new(), Patience::new());
    loop {
        match look(context, district, run, host, &mut progress).await {
            Ok(row) if row.state.is_end() || row.state == RunState::Held => {
                progress.finish();
                return Ok(row);
            }
            Ok(row) => patience.after_look(context, &row, &progress).await,
            Err(error) => patience.after_trouble(error, &progress)?,
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

async fn look(
    context: &Context,
    district: &DistrictId,
    run: RunId,
    host: &mut Option<(HostLock, Services)>,
    progress: &mut Progress,
) -> anyhow::Result<RunRow> {
    if host.is_none() {
        *host = try_host(context).await?;
    }
    let row = context.store.run(district, run).await?;
    progress.show(context, &row).await?;
    Ok(row)
}

async fn try_host(context: &Context) -> anyhow::Result<Option<(HostLock, Services)>> {
    let Some(lock) = context.take_host().await? else { return Ok(None) };
    let mut services = Services::new();
    services.start_all(context, CONCURRENCY, false);
    Ok(Some((lock, services)))
}

async fn stop(host: Option<(HostLock, Services)>) {
    if let Some((_lock, services)) = host {
        services.stop().await;
    }
}
