//! `rollcall queues`.

use std::process::ExitCode;

use rollcall_proto::{
    bus::{Parked, ParkedFilter},
    id::DistrictId,
    topology::Queue,
};
use rollcall_store::audit::AuditEntry;
use serde_json::json;

use crate::{cli::QueuesVerb, config, context::Context, output::Listing};

/// Does what the verb says.
pub(crate) async fn dispatch(context: &Context, verb: QueuesVerb) -> anyhow::Result<ExitCode> {
    match verb {
        QueuesVerb::List => list(context).await,
        QueuesVerb::Parked { queue } => parked(context, queue).await,
        QueuesVerb::Replay { queue, district, run, reason, limit, dry_run } => {
            let filter = ParkedFilter { district, run, reason, limit };
            replay(context, queue, &filter, dry_run).await
        }
    }
}

async fn list(context: &Context) -> anyhow::Result<ExitCode> {
    let mut listing = Listing::new(&["queue", "waiting", "parked", "consumers"]);
    for depth in context.bus.depths().await? {
        listing.push(vec![
            json!(depth.queue.name()),
            json!(depth.waiting),
            json!(depth.parked),
            json!(depth.consumers),
        ]);
    }
    listing.print(context.format)?;
    Ok(ExitCode::SUCCESS)
}

async fn parked(context: &Context, queue: Option<Queue>) -> anyhow::Result<ExitCode> {
    let mut all = Vec::new();
    for queue in queue.map_or_else(|| Queue::ALL.to_vec(), |queue| vec![queue]) {
        all.extend(context.bus.parked(queue, &ParkedFilter::default()).await?);
    }
    print(context, &all)
}

fn print(context: &Context, parked: &[Parked]) -> anyhow::Result<ExitCode> {
    let mut listing = Listing::new(&["message", "queue", "kind", "reason", "district", "run", "parked_at", "detail"]);
    for message in parked {
        listing.push(vec![
            json!(message.id),
            json!(message.queue.name()),
            json!(message.kind),
            json!(message.reason),
            json!(message.district),
            json!(message.run),
            json!(message.parked_at),
            json!(message.detail),
        ]);
    }
    listing.print(context.format)?;
    Ok(ExitCode::SUCCESS)
}

async fn replay(context: &Context, queue: Queue, filter: &ParkedFilter, dry_run: bool) -> anyhow::Result<ExitCode> {
    let messages =
        if dry_run { context.bus.parked(queue, filter).await? } else { context.bus.replay(queue, filter).await? };
    if dry_run {
        eprintln!("{} messages would go back to work", messages.len());
        return print(context, &messages);
    }
    for message in &messages {
        if let Some(district) = &message.district {
            context.store.audit(&entry(context, message, district)).await?;
        }
    }
    eprintln!("{} messages went back to work", messages.len());
    print(context, &messages)
}

fn entry(context: &Context, message: &Parked, district: &DistrictId) -> AuditEntry {
    AuditEntry {
        at: context.clock.now(),
        actor: config::actor(),
        action: "parked.replay".to_owned(),
        run: message.run,
        detail: format!("message {} of {}, reason {}", message.id, message.queue.name(), message.reason),
        district: district.clone(),
    }
}
