//! `rollcall run`: run a district now.

use std::{process::ExitCode, time::Duration};

use anyhow::Context as _;
use rollcall_fetcher::launch;
use rollcall_proto::id::{DistrictId, RunId};
use rollcall_store::run::{NewRun, Run as RunRow, RunState, Trigger};

use super::{HELD, runs};
use crate::{
    cli::{Format, Run},
    config,
    context::Context,
    host::{HostLock, Services, signal},
    progress::Progress,
};

/// How often a waiting command looks at its run.
const LOOK_AGAIN: Duration = Duration::from_millis(150);

/// Requests in flight when a waiting command hosts the workers itself.
const CONCURRENCY: u16 = 64;

/// Makes the run, and waits for it where asked.
pub(crate) async fn run(context: &Context, args: &Run) -> anyhow::Result<ExitCode> {
    let district = context.store.district(&args.id).await?;
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
    let run = launch(&context.store, &context.bus, &new, now).await?.context("a manual run was not made")?;
    if !args.wait {
        return announce(context, &run);
    }
    let run = wait(context, &args.id, run.id).await?;
    finish(context, &run)
}

fn announce(context: &Context, run: &RunRow) -> anyhow::Result<ExitCode> {
    runs::listing(std::slice::from_ref(run)).print(context.format)?;
    if let Some(dir) = context.dir()
        && HostLock::take(dir)?.is_some()
    {
        eprintln!(
            "run {} is queued, and no process hosts {}: start `rollcall serve --dir {}`, or use --wait",
            run.id,
            dir.display(),
            dir.display()
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the run and what to type next; the exit code says how it ended.
pub(crate) fn finish(context: &Context, run: &RunRow) -> anyhow::Result<ExitCode> {
    match context.format {
        Format::Table => runs::summary(run),
        _ => runs::listing(std::slice::from_ref(run)).print(context.format)?,
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

/// Shows progress until the run stops. In embedded mode, hosts the workers whenever nobody else does.
pub(crate) async fn wait(context: &Context, district: &DistrictId, run: RunId) -> anyhow::Result<RunRow> {
    let mut host = None;
    let mut progress = Progress::new();
    let ended = loop {
        if host.is_none() {
            host = try_host(context).await?;
        }
        let row = context.store.run(district, run).await?;
        progress.show(context, &row).await?;
        if row.state.is_end() || row.state == RunState::Held {
            break row;
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_AGAIN) => {}
            () = signal() => {
                stop(host).await;
                anyhow::bail!("interrupted; run {run} goes on when a process hosts its workers again (`rollcall runs show {run}`)");
            }
        }
    };
    progress.finish();
    stop(host).await;
    Ok(ended)
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
