//! What telemetry costs: the same night without it, and with spans sent, metrics recorded and scraped.
//!
//! Pairs of first nights, each on an installation of its own, the one with and the one without going first in turn. Spans are
//! sent as they are by default (every five seconds, or when 512 wait), and what is left is sent before its cost is taken. The
//! collector only reads what comes: what it would do with it is not Rollcall's cost.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, ensure};
use axum::{Router, extract::State, routing::post};
use bytes::Bytes;

use crate::{
    Format, Ground, Pulling, quantile,
    stage::{Sis, Stage, Told},
    usage::Watch,
    verdict::Verdict,
};

/// How often metrics are scraped: three times as often as is usual.
const SCRAPE: Duration = Duration::from_secs(5);

/// Spans wait for five seconds at most; a night without any waits as long, so that both have been idle for the same time.
const UNTIL_SENT: Duration = Duration::from_millis(5_500);

/// One night.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    /// From order to end.
    seconds: f64,
    /// Of these, until all pages were in.
    pull: f64,
    /// Of these, for the plan.
    plan: f64,
    /// Of these, for writing.
    write: f64,
    /// CPU seconds of all workers, until every span has been sent.
    cpu: f64,
}

/// What is measured.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Students of the district; a night is to last longer than spans wait to be sent
    #[arg(long, default_value_t = 500_000)]
    students: u32,
    /// Pairs of nights
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Milliseconds that the SIS takes for each page
    #[arg(long, default_value_t = 0)]
    latency_ms: u64,
    /// Of metrics alone: no spans are sent
    #[arg(long)]
    metrics_only: bool,
    #[command(flatten)]
    pulling: Pulling,
}

/// Most that telemetry may cost of the throughput: longer nights, as a part of what they take without it. Workers have less than
/// half of the processors' time in a night (the database has the most), so that their own goes up by more than that.
const GOAL: f64 = 0.03;

/// What came out.
#[derive(Debug)]
struct Comparison {
    /// Each pair: without, with.
    pairs: Vec<(Cost, Cost)>,
    /// Sent to the collector, all nights together.
    bytes: u64,
}

/// One quantity, compared.
struct Line {
    name: &'static str,
    without: f64,
    with: f64,
    /// Median of the pairs' own ratios: what slows the machine for a while slows both nights of a pair.
    ratio: f64,
}

impl Comparison {
    fn lines(&self) -> [Line; 5] {
        let line = |name, of: fn(&Cost) -> f64| {
            let median = |value: &dyn Fn(&(Cost, Cost)) -> f64| quantile::median(self.pairs.iter().map(value));
            let (without, with) = (median(&|pair| of(&pair.0)), median(&|pair| of(&pair.1)));
            Line { name, without, with, ratio: median(&|pair| of(&pair.1) / of(&pair.0)) }
        };
        [
            line("seconds", |cost| cost.seconds),
            line("of these pull", |cost| cost.pull),
            line("of these plan", |cost| cost.plan),
            line("of these write", |cost| cost.write),
            line("CPU seconds of workers", |cost| cost.cpu),
        ]
    }

    fn megabytes_a_night(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.pairs.len().max(1) as f64
    }

    fn verdict(&self) -> Verdict {
        let [seconds, ..] = self.lines();
        Verdict::of(seconds.ratio <= 1.0 + GOAL)
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Line { name, without, with, ratio } in self.lines() {
            writeln!(
                f,
                "  {name:<22} without {without:7.2}   with {with:7.2}   median of the pairs' ratios {ratio:.3}"
            )?;
        }
        write!(
            f,
            "  goal of the seconds {:.2}: {}; spans sent: {:.1} MB a night",
            1.0 + GOAL,
            self.verdict(),
            self.megabytes_a_night()
        )
    }
}

/// Measures, and prints what came out.
pub(crate) async fn measure(args: &Args, ground: &Ground) -> anyhow::Result<Verdict> {
    let folder = tempfile::Builder::new().prefix("rollcall-bench-sis.").tempdir()?;
    let sis = Sis::start(folder.path(), args.students).await?;
    sis.set(1, args.latency_ms).await?;
    let (collector, bytes) = sink().await?;
    // A first one warms the sandbox and the servers up.
    night(args, ground, &sis, None).await?;
    let mut pairs = Vec::new();
    for number in 0..args.pairs {
        pairs.push(pair(args, ground, &sis, &collector, number % 2 == 1).await?);
    }
    let comparison = Comparison { pairs, bytes: bytes.load(Ordering::Relaxed) };
    let (students, number) = (args.students, args.pairs);
    match ground.format {
        Format::Text => println!("{students} students, {number} pairs of first nights, medians:\n{comparison}"),
        Format::Markdown => markdown(args, &comparison),
    }
    Ok(comparison.verdict())
}

fn markdown(args: &Args, comparison: &Comparison) {
    let (students, number, sent) = (args.students, args.pairs, comparison.megabytes_a_night());
    println!("\n**{students} students**, {number} pairs of first nights, medians; {sent:.1} MB of spans a night\n");
    println!("| | without | with | ratio (goal {:.2}) |\n|---|---|---|---|", 1.0 + GOAL);
    for Line { name, without, with, ratio } in comparison.lines() {
        println!("| {name} | {without:.2} | {with:.2} | {ratio:.3} |");
    }
}

/// A night without and one with telemetry; the latter first where `turned`.
async fn pair(args: &Args, ground: &Ground, sis: &Sis, collector: &str, turned: bool) -> anyhow::Result<(Cost, Cost)> {
    let mut costs = [Cost::default(); 2];
    for told in [turned, !turned] {
        let cost = night(args, ground, sis, told.then_some(collector)).await?;
        eprintln!("telemetry {}: {cost:.2?}", if told { "on" } else { "off" });
        costs[usize::from(told)] = cost;
    }
    Ok((costs[0], costs[1]))
}

async fn night(args: &Args, ground: &Ground, sis: &Sis, collector: Option<&str>) -> anyhow::Result<Cost> {
    let told = match collector {
        None => Told::Nothing,
        Some(_) if args.metrics_only => Told::Metrics,
        Some(collector) => Told::MetricsAndSpans(collector),
    };
    let mut stage = Stage::build_told(args.pulling, &ground.servers, sis, &sis.origin, told).await?;
    let scraping = if collector.is_some() { Some(tokio::spawn(scrape(stage.metrics().await))) } else { None };
    let watch = Watch::start(&stage.ids(), None);
    let (run, times) = stage.run().await?;
    ensure!(run.added > 0, "the first night has added nobody: nothing was measured");
    tokio::time::sleep(UNTIL_SENT).await;
    let usage = watch.end();
    if let Some(scraping) = scraping {
        scraping.abort();
    }
    stage.end_workers();
    stage.close().await;
    Ok(Cost {
        seconds: times.total(),
        pull: times.pull(),
        plan: times.plan(),
        write: times.write(),
        cpu: usage.values().map(|usage| usage.cpu).sum(),
    })
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
