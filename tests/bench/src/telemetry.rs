//! What telemetry costs: the same night without it, and with spans sent, metrics recorded and scraped.
//!
//! Pairs of first nights, each on an installation of its own, the one with and the one without going first in turn. The
//! collector only reads what comes: what it would do with it is not Rollcall's cost.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use axum::{Router, extract::State, routing::post};
use bytes::Bytes;
use rollcall_e2e::services::Servers;

use crate::{
    Args,
    stage::{Sis, Stage},
    usage::Watch,
};

/// How often metrics are scraped: three times as often as is usual.
const SCRAPE: Duration = Duration::from_secs(5);

/// One night.
#[derive(Debug, Clone, Copy)]
struct Cost {
    /// From order to end.
    seconds: f64,
    /// CPU seconds of all workers.
    cpu: f64,
}

/// What came out.
#[derive(Debug)]
pub(crate) struct Comparison {
    students: u32,
    without: Vec<Cost>,
    with: Vec<Cost>,
    bytes: u64,
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let median = |of: &dyn Fn(&Cost) -> f64, costs: &[Cost]| {
            let mut values: Vec<f64> = costs.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or_default()
        };
        let pairs = self.with.len();
        writeln!(f, "{} students, {pairs} pairs of first nights, medians:", self.students)?;
        for (name, of) in [
            ("seconds", &(|cost: &Cost| cost.seconds) as &dyn Fn(&Cost) -> f64),
            ("CPU s of workers", &|cost| cost.cpu),
        ] {
            let (without, with) = (median(of, &self.without), median(of, &self.with));
            writeln!(f, "  {name:<18} without {without:7.2}   with {with:7.2}   ratio {:.3}", with / without)?;
        }
        write!(f, "  spans sent: {:.1} MB a night", self.bytes as f64 / 1e6 / pairs.max(1) as f64)
    }
}

/// Measures one size.
pub(crate) async fn measure(args: &Args, students: u32, pairs: usize, servers: &Servers) -> anyhow::Result<Comparison> {
    let folder = tempfile::Builder::new().prefix("rollcall-bench-sis.").tempdir()?;
    let sis = Sis::start(folder.path(), students).await?;
    sis.set(1, args.latency_ms.first().copied().unwrap_or(0)).await?;
    let (collector, bytes) = sink().await?;
    // A first one warms the sandbox and the servers up.
    night(args, servers, &sis, None).await?;
    let mut comparison = Comparison { students, without: Vec::new(), with: Vec::new(), bytes: 0 };
    for pair in 0..pairs {
        for told in if pair % 2 == 0 { [false, true] } else { [true, false] } {
            let cost = night(args, servers, &sis, told.then(|| collector.clone())).await?;
            eprintln!("{students} students, telemetry {}: {cost:?}", if told { "on" } else { "off" });
            if told { &mut comparison.with } else { &mut comparison.without }.push(cost);
        }
    }
    comparison.bytes = bytes.load(Ordering::Relaxed);
    Ok(comparison)
}

async fn night(args: &Args, servers: &Servers, sis: &Sis, collector: Option<String>) -> anyhow::Result<Cost> {
    let told = collector.is_some();
    let mut stage = Stage::build_told(args, servers, sis, &sis.origin, collector).await?;
    let scraping = if told { Some(tokio::spawn(scrape(stage.metrics().await))) } else { None };
    let watch = Watch::start(&stage.ids(), None);
    let (_, times) = stage.run().await?;
    let usage = watch.end();
    if let Some(scraping) = scraping {
        scraping.abort();
    }
    stage.end_workers();
    stage.close().await;
    Ok(Cost { seconds: times.total(), cpu: usage.values().map(|usage| usage.cpu).sum() })
}

async fn scrape(addresses: Vec<String>) {
    let client = reqwest::Client::new();
    let mut ticks = tokio::time::interval(SCRAPE);
    loop {
        ticks.tick().await;
        for address in &addresses {
            if let Ok(answer) = client.get(format!("http://{address}/metrics")).send().await {
                drop(answer.bytes().await);
            }
        }
    }
}

/// A collector that reads and forgets. Returns its address, and how many bytes it has read.
async fn sink() -> anyhow::Result<(String, Arc<AtomicU64>)> {
    let bytes = Arc::new(AtomicU64::new(0));
    let read = async |State(bytes): State<Arc<AtomicU64>>, body: Bytes| {
        bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
    };
    let routes = Router::new().route("/v1/traces", post(read)).with_state(Arc::clone(&bytes));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.context("a port for the collector")?;
    let address = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Ok((address, bytes))
}
