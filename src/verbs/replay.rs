//! `rollcall runs replay`: start a stage again from what is stored.
//!
//! An open run goes on in its own place. A held or ended one stays as it is: its pages, or new ones, are planned as a new
//! run, so that counts and history of both stay true.
//!
//! Invariant: what is done is in the audit trail before it is done, or in the same transaction.

use std::{process::ExitCode, sync::Arc};

use anyhow::{Context as _, bail};
use rollcall_classifier::{
    release,
    replay::{self, ReplayFrom as PagesFrom},
};
use rollcall_fetcher::{FetcherConfig, Reconciler, launch};
use rollcall_proto::{
    id::RunId,
    message::{Body, Message, Page},
};
use rollcall_store::{
    page::PageRow,
    replay::{Replay, ReplayLook},
    run::{NewRun, Run, Stage, Trigger},
};

use super::{district::ensure_not_removed, run};
use crate::{cli::ReplayFrom, config, context::Context, waiting};

/// Does what the verb says.
pub(crate) async fn replay(context: &Context, id: RunId, from: ReplayFrom, wait: bool) -> anyhow::Result<ExitCode> {
    let district = context.store.district_of(id).await?;
    let run = context.store.run(&district, id).await?;
    if matches!(run.stage, Stage::Held | Stage::Closed) {
        ensure_not_removed(context, &district).await?;
    }
    let at_work = match (run.stage, from) {
        (Stage::Held | Stage::Closed, ReplayFrom::Fetch) => pull_again(context, &run).await?,
        (Stage::Held | Stage::Closed, ReplayFrom::Collect) => plan_again(context, &run, PagesFrom::Collect).await?,
        (Stage::Held | Stage::Closed, ReplayFrom::Plan) => plan_again(context, &run, PagesFrom::Plan).await?,
        (Stage::Pull | Stage::Recheck, ReplayFrom::Fetch) => ask_again(context, run).await?,
        (Stage::Pull | Stage::Recheck | Stage::Plan, ReplayFrom::Collect) => read_again(context, run).await?,
        (Stage::Recheck | Stage::Plan, ReplayFrom::Plan) => ask_to_plan(context, run).await?,
        (Stage::Release, ReplayFrom::Release) => publish_again(context, run).await?,
        (stage, from) => bail!("run {id} was not replayed: {}", no_such_stage(&run, stage, from)),
    };
    if !wait {
        run::hint_host(context)?;
        return Ok(ExitCode::SUCCESS);
    }
    let ended = run::wait(context, &district, at_work.id).await?;
    run::finish(context, &ended)
}

/// Why the stage cannot be started again, and what can be done instead.
fn no_such_stage(run: &Run, stage: Stage, from: ReplayFrom) -> String {
    let what = match (stage, from) {
        (Stage::Closed, ReplayFrom::Release) => {
            format!(
                "every change of it is settled; `rollcall queues parked write --run {}` shows \
                 students that are parked, and --from plan makes its plan again",
                run.id
            )
        }
        (Stage::Held, ReplayFrom::Release) => {
            format!("its plan waits for a person: `rollcall runs approve {}` releases it", run.id)
        }
        (Stage::Release, _) => "its plan is released, and only --from release starts that again".to_owned(),
        (_, ReplayFrom::Fetch) => "all its pages are in; --from plan goes on from there".to_owned(),
        (_, ReplayFrom::Plan) => {
            "its pages are still coming in; --from fetch asks again for those that are lost".to_owned()
        }
        _ => "nothing of it is released yet".to_owned(),
    };
    format!("it is {}, and {what}", run.state.as_str())
}

/// Everything is pulled again: facts of now, so for the date of now.
async fn pull_again(context: &Context, old: &Run) -> anyhow::Result<Run> {
    let (now, zone) = (context.clock.now(), context.store.district(&old.district).await?.time_zone);
    let as_of = if old.as_of_given { old.as_of } else { now.with_timezone(&zone).date_naive() };
    let new = NewRun {
        district: old.district.clone(),
        trigger: Trigger::Manual,
        as_of,
        plan_only: old.plan_only,
        as_of_given: old.as_of_given,
        everything: true,
        requested_by: config::actor(),
    };
    audit(context, old, "fetch").await?;
    let made =
        launch(&context.store, &context.bus, &new, &*context.clock).await?.context("a manual run was not made")?;
    eprintln!("run {} pulls {} again, in place of run {}", made.id, old.district, old.id);
    Ok(made)
}

async fn plan_again(context: &Context, old: &Run, from: PagesFrom) -> anyhow::Result<Run> {
    let wanted =
        Replay { district: old.district.clone(), of: old.id, look: ReplayLook::Stored, actor: config::actor() };
    match replay::replay(&context.classifier(), &wanted, from).await? {
        Ok(made) => {
            eprintln!("run {} plans the pages of run {} again", made.id, old.id);
            Ok(made)
        }
        Err(refusal) => bail!("run {} was not replayed: {refusal}", old.id),
    }
}

async fn ask_again(context: &Context, run: Run) -> anyhow::Result<Run> {
    let open = context.store.open_runs().await?.into_iter().find(|open| open.run == run.id);
    let open = open.with_context(|| format!("run {} has just ended", run.id))?;
    let config = FetcherConfig { lost_after: context.settings.lost_after, ..FetcherConfig::default() };
    let (bus, clock) = (Arc::clone(&context.bus), Arc::clone(&context.clock));
    audit(context, &run, "fetch").await?;
    let asked = Reconciler::new(&config, context.store.clone(), bus, clock).ask_again(&open).await?;
    match waiting::waits_for(context, &run).await? {
        Some(other) if asked == 0 => eprintln!("run {} {}", run.id, waiting::told(context, other)),
        _ => told(&run, asked),
    }
    Ok(run)
}

/// Pages that did not decode, out of their stored bodies.
async fn read_again(context: &Context, run: Run) -> anyhow::Result<Run> {
    let pages = context.store.pages(&run.district, run.id).await?;
    let bodies: Vec<Body> = pages.iter().filter(|page| page.error.is_some()).map(stored).collect();
    publish(context, run, "collect", bodies).await
}

async fn ask_to_plan(context: &Context, run: Run) -> anyhow::Result<Run> {
    audit(context, &run, "plan").await?;
    context.classifier().ask_to_plan((&run.district, run.id), None).await?;
    told(&run, 1);
    Ok(run)
}

async fn publish_again(context: &Context, run: Run) -> anyhow::Result<Run> {
    let before = Some(context.clock.now());
    audit(context, &run, "release").await?;
    release::release(&context.classifier(), (&run.district, run.id), None, before).await?;
    eprintln!("what run {} has released and nobody has written yet is published again", run.id);
    Ok(run)
}

async fn publish(context: &Context, run: Run, from: &str, bodies: Vec<Body>) -> anyhow::Result<Run> {
    let now = context.clock.now();
    let messages: Vec<_> =
        bodies.into_iter().map(|body| Message::new(run.district.clone(), run.id, now, body)).collect();
    audit(context, &run, from).await?;
    context.bus.publish(&messages).await?;
    told(&run, messages.len());
    Ok(run)
}

fn told(run: &Run, messages: usize) {
    match messages {
        0 => eprintln!("run {} owes nothing that can be started from there", run.id),
        count => eprintln!("{count} messages of run {} went to work again", run.id),
    }
}

async fn audit(context: &Context, run: &Run, from: &str) -> anyhow::Result<()> {
    context.audit(&run.district, Some(run.id), "run.replay", format!("from={from}")).await
}

fn stored(page: &PageRow) -> Body {
    Body::Page(Page {
        connection: page.connection,
        listing: page.listing,
        page: page.page,
        status: page.status,
        asked_at: page.asked_at,
        took_ms: page.took_ms,
        content_type: None,
        body_bytes: 0,
        told: None,
        body: None,
    })
}
