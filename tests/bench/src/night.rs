//! The order of a measurement, for one size of district.

use std::collections::BTreeMap;

use rollcall_e2e::{RunRow, roster::versions, services::Servers};

use crate::{
    Args,
    floors::{self, Floors},
    recorder::{Asked, Recorder},
    stage::{Sis, Stage, Times},
    usage::{Usage, Watch},
};

/// One night, measured.
pub(crate) struct Night {
    pub(crate) name: &'static str,
    pub(crate) latency_ms: u64,
    /// Requests that the night made.
    pub(crate) requests: u64,
    pub(crate) run: RunRow,
    pub(crate) times: Times,
    pub(crate) usage: BTreeMap<String, Usage>,
    /// Roster and history tables that were written to.
    pub(crate) written: Vec<&'static str>,
}

/// All that was measured for one size.
pub(crate) struct Size {
    pub(crate) students: u32,
    pub(crate) floors: Floors,
    pub(crate) nights: Vec<Night>,
}

/// The three nights: what they are called, and which night of the sandbox they see.
const NIGHTS: [(&str, u32); 3] = [("first", 1), ("unchanged", 1), ("2 % changed", 2)];

/// Measures one size.
pub(crate) async fn measure(
    args: &Args,
    students: u32,
    servers: &Servers,
    server_ids: Option<(u32, u32)>,
) -> anyhow::Result<Size> {
    let folder = tempfile::Builder::new().prefix("rollcall-bench-sis.").tempdir()?;
    let sis = Sis::start(folder.path(), students).await?;
    eprintln!("{students} students: noting what is asked (a first night through a proxy)");
    let asked = record(args, servers, &sis).await?;
    let (mut nights, mut floors) = (Vec::new(), None);
    for latency_ms in &args.latency_ms {
        let mut stage = Stage::build(args, servers, &sis, &sis.origin).await?;
        for (name, night) in NIGHTS {
            sis.set(night, *latency_ms).await?;
            eprintln!("{students} students, {latency_ms} ms a page: {name} night");
            let measured = one(&stage, &sis, server_ids, name, *latency_ms).await?;
            nights.push(measured);
            if floors.is_none() && name == "unchanged" {
                eprintln!("{students} students: floors");
                floors = Some(floors::measure(args, &stage, &sis.origin, &asked).await?);
            }
        }
        stage.end_workers();
        stage.close().await;
    }
    let floors = floors.ok_or_else(|| anyhow::anyhow!("no latency was asked for"))?;
    Ok(Size { students, floors, nights })
}

/// A first night through a proxy that notes every request. It also warms the sandbox up, for floors and nights alike.
async fn record(args: &Args, servers: &Servers, sis: &Sis) -> anyhow::Result<Vec<Asked>> {
    let recorder = Recorder::start(&sis.origin).await?;
    sis.set(1, 0).await?;
    let stage = Stage::build(args, servers, sis, &recorder.origin).await?;
    stage.run().await?;
    stage.close().await;
    Ok(recorder.end())
}

async fn one(
    stage: &Stage,
    sis: &Sis,
    server_ids: Option<(u32, u32)>,
    name: &'static str,
    latency_ms: u64,
) -> anyhow::Result<Night> {
    // What an earlier night left to the disk is not this one's to write.
    sqlx::query("CHECKPOINT").execute(&stage.services.database).await?;
    let before = versions(&stage.services.database).await;
    let asked_before = sis.requests().await?;
    let mut single = stage.ids();
    single.push(("sandbox".to_owned(), sis.id()));
    single.extend(server_ids.map(|(broker, _)| ("RabbitMQ".to_owned(), broker)));
    let watch = Watch::start(&single, server_ids.map(|(_, database)| ("PostgreSQL".to_owned(), database)));
    let (run, times) = stage.run().await?;
    let usage = watch.end();
    let after = versions(&stage.services.database).await;
    let written = before.iter().filter(|(table, version)| after.get(*table) != Some(version));
    let written = written.map(|(table, _)| *table).collect();
    let requests = sis.requests().await? - asked_before;
    Ok(Night { name, latency_ms, requests, run, times, usage, written })
}
