//! Whole nights: a first one, an unchanged one, one with 2 % changed, for each size of district.

use std::collections::BTreeMap;

use rollcall_e2e::{
    RunRow,
    roster::{rows_written, versions, versions_beside},
    services::Servers,
};

use crate::{
    Format, Ground, Pulling,
    floors::{self, Floors},
    recorder::{Asked, Recorder},
    report,
    stage::{Sis, Stage, Times, Told},
    units::{self, Units},
    usage::Usage,
    verdict::Verdict,
};

/// What is measured.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Students of the district; several sizes are measured one after the other
    #[arg(long, value_delimiter = ',', default_value = "50000")]
    pub(crate) students: Vec<u32>,
    /// Milliseconds that the SIS takes for each page
    #[arg(long, value_delimiter = ',', default_value = "0,100")]
    pub(crate) latency_ms: Vec<u64>,
    /// Series of nights where the SIS takes no time, each on an installation of its own: the best of each night counts, as
    /// the best of three does for a floor
    #[arg(long, default_value_t = 3)]
    pub(crate) series: usize,
    #[command(flatten)]
    pub(crate) pulling: Pulling,
}

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
    /// Rows written in other tables: pages, plan, runs, and whatever else.
    pub(crate) beside: Vec<(String, usize)>,
}

/// All that was measured for one size.
pub(crate) struct Size {
    pub(crate) students: u32,
    pub(crate) floors: Floors,
    pub(crate) nights: Vec<Night>,
    /// Of each queue, over the first night that notes what is asked.
    pub(crate) units: BTreeMap<String, Units>,
}

/// The three nights: what they are called, and which night of the sandbox they see.
const NIGHTS: [(&str, u32); 3] = [("first", 1), ("unchanged", 1), ("2 % changed", 2)];

/// Measures every size, and prints each when it is done.
pub(crate) async fn measure(args: &Args, ground: &Ground) -> anyhow::Result<Verdict> {
    let mut verdicts = Vec::new();
    for students in &args.students {
        let size = of_size(args, *students, ground).await?;
        match ground.format {
            Format::Text => report::text(args.pulling, &size),
            Format::Markdown => report::markdown(args.pulling, &size),
        }
        verdicts.push(report::verdict(args.pulling, &size));
    }
    Ok(verdicts.into_iter().sum())
}

async fn of_size(args: &Args, students: u32, ground: &Ground) -> anyhow::Result<Size> {
    let folder = tempfile::Builder::new().prefix("rollcall-bench-sis.").tempdir()?;
    let sis = Sis::start(folder.path(), students).await?;
    eprintln!("{students} students: noting what is asked (a first night through a proxy)");
    let (asked, units) = record(args.pulling, &ground.servers, &sis).await?;
    let (mut nights, mut floors) = (Vec::new(), None);
    for latency_ms in &args.latency_ms {
        let repeated = if *latency_ms == 0 { args.series.max(1) } else { 1 };
        for series in 1..=repeated {
            let mut stage = Stage::build(args.pulling, &ground.servers, &sis, &sis.origin).await?;
            for (name, night) in NIGHTS {
                sis.set(night, *latency_ms).await?;
                eprintln!("{students} students, {latency_ms} ms a page, series {series} of {repeated}: {name} night");
                keep_best(&mut nights, one(&stage, &sis, ground, name, *latency_ms).await?);
                if floors.is_none() && name == "unchanged" {
                    eprintln!("{students} students: floors");
                    floors = Some(floors::measure(args.pulling.lanes, &stage, &sis.origin, &asked).await?);
                }
            }
            stage.end_workers();
            stage.close().await;
        }
    }
    let floors = floors.ok_or_else(|| anyhow::anyhow!("no latency was asked for"))?;
    Ok(Size { students, floors, nights, units })
}

/// The quickest of its kind stays, with the most memory that any of them took.
fn keep_best(nights: &mut Vec<Night>, mut new: Night) {
    let same = |night: &&mut Night| night.name == new.name && night.latency_ms == new.latency_ms;
    let Some(kept) = nights.iter_mut().find(same) else { return nights.push(new) };
    if new.times.total() < kept.times.total() {
        std::mem::swap(kept, &mut new);
    }
    for (name, usage) in &mut kept.usage {
        usage.peak = usage.peak.max(new.usage.get(name).map_or(0, |usage| usage.peak));
    }
}

/// A first night through a proxy that notes every request. It also warms the sandbox up, for floors and nights alike; and
/// since nothing else is measured of it, its workers tell how long their units of work are.
async fn record(
    pulling: Pulling,
    servers: &Servers,
    sis: &Sis,
) -> anyhow::Result<(Vec<Asked>, BTreeMap<String, Units>)> {
    let recorder = Recorder::start(&sis.origin).await?;
    sis.set(1, 0).await?;
    let stage = Stage::build_told(pulling, servers, sis, &recorder.origin, Told::Metrics).await?;
    stage.run().await?;
    let told = stage.expositions().await?;
    stage.close().await;
    Ok((recorder.end(), units::read(told.iter().map(String::as_str))))
}

async fn one(stage: &Stage, sis: &Sis, ground: &Ground, name: &'static str, latency_ms: u64) -> anyhow::Result<Night> {
    // What an earlier night left to the disk is not this one's to write.
    sqlx::query("CHECKPOINT").execute(&stage.services.database).await?;
    let database = &stage.services.database;
    let (before, beside_before) = (versions(database).await, versions_beside(database).await);
    let asked_before = sis.requests().await?;
    let watch = stage.watch(sis, ground);
    let (run, times) = stage.run().await?;
    let usage = watch.end();
    let (after, beside) = (versions(database).await, rows_written(&beside_before, &versions_beside(database).await));
    let written = before.iter().filter(|(table, version)| after.get(*table) != Some(version));
    let written = written.map(|(table, _)| *table).collect();
    let requests = sis.requests().await? - asked_before;
    Ok(Night { name, latency_ms, requests, run, times, usage, written, beside })
}
