//! `rollcall district erase`: the end of a district that has left, and the certificate of it.
//!
//! First what the broker keeps aside, then the store, which is also what says that the district is gone: a call that breaks
//! off can be made again until it is.

use std::{fs::File, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path, process::ExitCode};

use anyhow::{Context as _, bail, ensure};
use rollcall_proto::{bus::ParkedFilter, id::DistrictId, topology::Queue};
use rollcall_store::erasure::Erasure;
use serde_json::{Value, json};

use crate::{config, context::Context, output::say};

/// What an erasure does not reach, for who files the certificate.
const REMAINS: [&str; 3] = [
    "backups of the database taken before; they age out by your own rules",
    "one entry of the audit trail: the district's id and these counts",
    "what the special-programs product and other readers have copied out",
];

/// See the module.
pub(super) async fn erase(
    context: &Context,
    id: &DistrictId,
    confirm: &DistrictId,
    certificate: Option<&Path>,
) -> anyhow::Result<ExitCode> {
    ensure!(id == confirm, "nothing was erased: --confirm must repeat the id {id}");
    if let Err(refusal) = context.store.erasable(id).await? {
        bail!("{id} was not erased: {refusal}");
    }
    // Before anything is gone: a certificate that cannot be written is found out in time.
    let file = certificate.map(new_file).transpose()?;
    let messages = discard(context, id).await?;
    let now = context.clock.now();
    let erased = match context.store.erase_district(id, &config::actor(), now).await? {
        Ok(erased) => erased,
        Err(refusal) => bail!("{id} was not erased: {refusal}"),
    };
    let text = serde_json::to_string_pretty(&describe(id, &erased, messages, now))?;
    say!("{text}")?;
    if let Some(mut file) = file {
        writeln!(file, "{text}").and_then(|()| file.sync_all()).context("writing the certificate")?;
    }
    eprintln!("{id} is erased: {} rows", erased.rows.values().sum::<u64>());
    Ok(ExitCode::SUCCESS)
}

fn new_file(path: &Path) -> anyhow::Result<File> {
    let file = File::options().write(true).create_new(true).mode(0o600).open(path);
    file.with_context(|| format!("making the certificate's file {}", path.display()))
}

/// Parked messages carry pages and events.
async fn discard(context: &Context, id: &DistrictId) -> anyhow::Result<usize> {
    let filter = ParkedFilter { district: Some(id.clone()), ..ParkedFilter::default() };
    let mut discarded = 0;
    for queue in Queue::ALL {
        discarded += context.bus.discard(queue, &filter).await?.len();
    }
    Ok(discarded)
}

fn describe(id: &DistrictId, erased: &Erasure, messages: usize, now: chrono::DateTime<chrono::Utc>) -> Value {
    json!({
        "certificate": "erasure of a district",
        "district": id,
        "name": erased.name,
        "removed_at": erased.removed_at,
        "erased_at": now,
        "erased_by": config::actor(),
        "program": concat!("rollcall ", env!("CARGO_PKG_VERSION")),
        "rows": erased.rows,
        "parked_messages": messages,
        "remains": REMAINS,
    })
}
