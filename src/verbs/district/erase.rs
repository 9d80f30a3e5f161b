//! `rollcall district erase`: the end of a district that has left, and the certificate of it.
//!
//! First what the broker keeps aside, then the store, which is also what says that the district is gone; then what was parked
//! meanwhile, and the files that rows and messages stood in. Whatever is counted is noted before or with its end, so that
//! a call that breaks off anywhere can be made again, also when the district is gone: then the rest is done, and the
//! certificate is written out of the entry of the audit trail that stays. Messages on their way are done with by whoever gets
//! them, since there is no such district.

use std::{path::Path, process::ExitCode, time::Duration};

use anyhow::{bail, ensure};
use rollcall_proto::{
    bus::{BusError, Parked, ParkedFilter},
    id::DistrictId,
    topology::Queue,
};
use rollcall_store::{
    StoreError,
    erasure::{Erasable, Erasure, Scrubbed, discarding},
};
use serde_json::{Value, json};

use super::certificate::{Certificate, KIND};
use crate::{config, context::Context, output::say};

/// After this long without a parked message none is believed to be left. What another command looks at is out of sight for
/// that moment.
const QUIET: Duration = Duration::from_secs(1);

/// What an erasure does not reach, for who files the certificate; beside what is told of the files.
const REMAINS: [&str; 4] = [
    "backups and snapshots taken before; they age out by your own rules",
    "entries of the audit trail: the district's id and name, these counts, and ids of parked messages thrown away after them",
    "logs and traces: ids of the district, its runs and students, for as long as you keep them",
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
    let before = match context.store.erasable(id).await? {
        Ok(before) => before,
        Err(refusal) => bail!("{id} was not erased: {refusal}"),
    };
    let certificate = certificate.map(|path| Certificate::begin(path, id)).transpose()?;
    if matches!(before, Erasable::Removed { .. }) {
        discard(context, id).await?;
    }
    if let Err(refusal) = context.store.erase_district(id, &config::actor(), context.clock.now()).await? {
        bail!("{id} was not erased: {refusal}");
    }
    discard_all(context, id).await?;
    let files = Files { bus: context.bus.forget(id).await.map(drop), store: context.store.scrub().await };
    let Ok(Erasable::Erased(erased)) = context.store.erasable(id).await? else {
        bail!("{id} was taken in again while it was erased: its rows of before are gone");
    };
    let text = serde_json::to_string_pretty(&describe(id, &erased, files.remains(context.dir().is_some())))?;
    if let Some(certificate) = certificate {
        certificate.write(&text)?;
    }
    report(id, &erased);
    say!("{text}")?;
    // Whoever is in the way of the files is so for a while; the certificate says what it is without them.
    files.bus?;
    files.store?;
    Ok(ExitCode::SUCCESS)
}

fn report(id: &DistrictId, erased: &Erasure) {
    let (rows, messages) = (erased.rows.values().sum::<u64>(), erased.messages);
    eprintln!("{id} is erased: {rows} rows, {messages} parked messages");
}

/// Those that are parked, until none are.
async fn discard_all(context: &Context, id: &DistrictId) -> anyhow::Result<()> {
    // In a directory nothing is out of sight.
    let enough = if context.dir().is_some() { 1 } else { 2 };
    let mut looks_without = 0;
    while looks_without < enough {
        if looks_without > 0 {
            tokio::time::sleep(QUIET).await;
        }
        looks_without = if discard(context, id).await? == 0 { looks_without + 1 } else { 0 };
    }
    Ok(())
}

/// Parked messages carry pages and events. Returns how many were found.
async fn discard(context: &Context, id: &DistrictId) -> anyhow::Result<usize> {
    let filter = ParkedFilter { district: Some(id.clone()), ..ParkedFilter::default() };
    let mut found = 0;
    for queue in Queue::ALL {
        let parked = context.bus.parked(queue, &filter).await?;
        if parked.is_empty() {
            continue;
        }
        let (actor, now) = (config::actor(), context.clock.now());
        let entries: Vec<_> = parked.iter().map(|message| discarding(id, message, &actor, now)).collect();
        context.store.audit_once(&entries).await?;
        let copies = Some(parked.iter().map(Parked::copy).collect());
        context.bus.discard(queue, &ParkedFilter { copies, ..filter.clone() }).await?;
        found += parked.len();
    }
    Ok(found)
}

fn describe(id: &DistrictId, erased: &Erasure, of_files: Vec<&'static str>) -> Value {
    let remains: Vec<&str> = REMAINS.into_iter().chain(of_files).collect();
    json!({
        "certificate": KIND,
        "district": id,
        "name": erased.name,
        "removed_at": erased.removed_at,
        "erased_at": erased.erased_at,
        "erased_by": erased.erased_by,
        "program": concat!("rollcall ", env!("CARGO_PKG_VERSION")),
        "rows": erased.rows,
        "parked_messages": erased.messages,
        "remains": remains,
    })
}

/// What was done about the files that rows and messages stood in.
struct Files {
    bus: Result<(), BusError>,
    store: Result<Scrubbed, StoreError>,
}

impl Files {
    /// What stays in them all the same.
    fn remains(&self, is_directory: bool) -> Vec<&'static str> {
        const ANEW: &str = "store.db and bus.db were written anew: blocks of the disk that they stood on before, until the file \
                            system writes over them";
        const NOT_YET: &str =
            "store.db or bus.db could not be written anew: parts of what was erased, until this is said again";
        const VACUUMED: &str = "PostgreSQL's tables were vacuumed: free space of their files, until new rows are written there \
                                (VACUUM FULL does that at once)";
        const DEAD: &str =
            "PostgreSQL's tables: erased rows that are dead, until a VACUUM, which their owner has to ask for";
        const LOG: &str = "PostgreSQL's write-ahead log until it is recycled, and what is archived of it";
        const BROKER: &str = "RabbitMQ's disk, until it writes over what was deleted; messages still on their way, which \
                              whoever gets them throws away";
        match (is_directory, &self.store) {
            (true, Ok(_)) if self.bus.is_ok() => vec![ANEW],
            (true, _) => vec![NOT_YET],
            (false, Ok(Scrubbed::Vacuumed)) => vec![VACUUMED, LOG, BROKER],
            (false, _) => vec![DEAD, LOG, BROKER],
        }
    }
}
