//! `rollcall runs replay`: start a stage of an open run again, from what is stored.

use std::process::ExitCode;

use anyhow::bail;
use rollcall_proto::{
    id::RunId,
    message::{Body, Discover, Message, Page, Plan, Release},
};
use rollcall_store::{
    audit::AuditEntry,
    page::PageRow,
    run::{Run, Stage},
};

use crate::{cli::ReplayFrom, config, context::Context};

/// Publishes what the stage needs again. Everything downstream is idempotent, so this is safe at any moment.
pub(crate) async fn replay(context: &Context, id: RunId, from: ReplayFrom) -> anyhow::Result<ExitCode> {
    let district = context.store.district_of(id).await?;
    let run = context.store.run(&district, id).await?;
    if run.stage == Stage::Closed {
        bail!("run {id} has ended ({}); start a new one with `rollcall run {district}`", run.state.as_str());
    }
    let bodies = match from {
        ReplayFrom::Fetch => discover(context, &run).await?,
        ReplayFrom::Collect => collect(context, &run).await?,
        ReplayFrom::Plan => vec![Body::Plan(Plan { large: false })],
        ReplayFrom::Release => vec![Body::Release(Release {})],
    };
    let now = context.clock.now();
    let messages: Vec<_> = bodies.into_iter().map(|body| Message::new(district.clone(), id, now, body)).collect();
    let entry = AuditEntry {
        at: now,
        actor: config::actor(),
        action: "run.replay".to_owned(),
        run: Some(id),
        detail: format!("from {from:?}, {} messages", messages.len()),
        district: district.clone(),
    };
    context.store.audit(&entry).await?;
    context.bus.publish(&messages).await?;
    eprintln!("{} messages of run {id} went to work again", messages.len());
    Ok(ExitCode::SUCCESS)
}

async fn discover(context: &Context, run: &Run) -> anyhow::Result<Vec<Body>> {
    let pulls = context.store.pulls(&run.district, run.id).await?;
    Ok(pulls.iter().map(|pull| Body::Discover(Discover { connection: pull.connection })).collect())
}

/// Pages that did not decode, out of their stored bodies.
async fn collect(context: &Context, run: &Run) -> anyhow::Result<Vec<Body>> {
    let pages = context.store.pages(&run.district, run.id).await?;
    Ok(pages.iter().filter(|page| page.error.is_some()).map(stored).collect())
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
        body: None,
    })
}
