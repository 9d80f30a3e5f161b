//! Pages a second by number of fetchers, each limited to so many requests in flight.
//!
//! Every number of fetchers has an installation of its own, with the same districts, ordered all at once. Rows a page are
//! few and nothing is written (runs stop at their plan), so that the stand-in SIS, reading, and the database leave the
//! processors of a small machine to what is measured: how much of its latency a fetcher turns into pages. What the
//! processors had to do all the same is told.

use rollcall_e2e::Role;
use rollcall_proto::topology::Queue;

use crate::{
    Format, Ground, Pulling,
    orders::{Orders, Story, Until, seconds},
    stage::{Sis, Stage},
};

/// What is measured.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Numbers of fetchers
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8")]
    fetchers: Vec<usize>,
    /// Requests in flight of each
    #[arg(long, default_value_t = 16)]
    concurrency: u16,
    /// Districts
    #[arg(long, default_value_t = 64)]
    districts: usize,
    /// Students of each district
    #[arg(long, default_value_t = 400)]
    students: u32,
    /// Rows a page
    #[arg(long, default_value_t = 10)]
    page_size: u32,
    /// Requests at once, for each district
    #[arg(long, default_value_t = 4)]
    lanes: u16,
    /// Milliseconds that the SIS takes for each page
    #[arg(long, default_value_t = 200)]
    latency_ms: u64,
    /// Processes that read pages
    #[arg(long, default_value_t = 2)]
    classifiers: usize,
}

/// Least that the most fetchers are to do, as a part of as many times one fetcher's pages: 7 of 8.
const GOAL: f64 = 7.0 / 8.0;

/// One number of fetchers.
struct Measured {
    fetchers: usize,
    /// Pages of all districts.
    pages: i64,
    /// From the first order until the last page was in.
    seconds: f64,
    /// Processors at work in the mean, servers and sandbox among them.
    processors: f64,
}

impl Measured {
    fn rate(&self) -> f64 {
        self.pages as f64 / self.seconds
    }

    /// Pages a second that no SIS of this latency gives more of.
    fn most(&self, args: &Args) -> f64 {
        let at_once = (self.fetchers * usize::from(args.concurrency)).min(args.districts * usize::from(args.lanes));
        at_once as f64 * 1e3 / args.latency_ms as f64
    }
}

/// Measures, and prints what came out.
pub(crate) async fn measure(args: &Args, ground: &Ground) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let sis = Sis::start(folder.path(), args.students).await?;
    let mut all = Vec::new();
    for fetchers in &args.fetchers {
        let measured = one(args, ground, &sis, *fetchers).await?;
        eprintln!("{fetchers} fetchers: {:.1} pages a second", measured.rate());
        all.push(measured);
    }
    match ground.format {
        Format::Text => text(args, &all),
        Format::Markdown => markdown(args, &all),
    }
    Ok(())
}

async fn one(args: &Args, ground: &Ground, sis: &Sis, fetchers: usize) -> anyhow::Result<Measured> {
    let mut stage = Stage::raise(&ground.servers).await?;
    let names: Vec<String> = (1..=args.districts).map(|number| format!("district-{number}")).collect();
    let warm = ["warm-isd".to_owned()];
    let pulling = Pulling { page_size: args.page_size, lanes: args.lanes, processes: fetchers };
    let districts: Vec<_> = names.iter().chain(&warm).map(|id| sis.district(id, pulling)).collect();
    stage.apply(&districts).await;
    stage.start(Role::Classifier, args.classifiers, &[]);
    stage.start(Role::Fetcher, fetchers, &["--concurrency", &args.concurrency.to_string()]);
    let orders = Orders::open(&stage.services).await?;
    orders.consumers(Queue::Fetch, fetchers).await?;
    orders.consumers(Queue::Collect, args.classifiers).await?;
    sis.set(1, 0).await?;
    orders.order(&warm, Until::Plan).await?;
    orders.ended(&warm, Until::Plan).await?;
    sis.set(1, args.latency_ms).await?;
    let watch = stage.watch(sis, ground);
    orders.order(&names, Until::Plan).await?;
    let stories = orders.ended(&names, Until::Plan).await?;
    let cpu: f64 = watch.end().values().map(|usage| usage.cpu).sum();
    let pages = sqlx::query_scalar("SELECT count(*) FROM page WHERE district = ANY($1)").bind(&names);
    let pages = pages.fetch_one(&stage.services.database).await?;
    drop(orders);
    stage.end_workers();
    stage.close().await;
    let seconds = pulled(&stories);
    Ok(Measured { fetchers, pages, seconds, processors: cpu / seconds })
}

/// Seconds from the first order until all pages of all districts were in.
fn pulled(stories: &[Story]) -> f64 {
    let first = stories.iter().map(|story| story.created_at).min();
    let last = stories.iter().filter_map(|story| story.pulled_at).max();
    first.zip(last).map_or(f64::INFINITY, |(first, last)| seconds(first, last))
}

fn head(args: &Args) -> String {
    format!(
        "{} districts of {} students, {} rows and {} ms a page, {} lanes each, fetchers with {} requests in flight",
        args.districts, args.students, args.page_size, args.latency_ms, args.lanes, args.concurrency
    )
}

/// How many times the first number's pages a second this one has.
fn times(all: &[Measured], measured: &Measured) -> f64 {
    all.first().map_or(0.0, |first| measured.rate() / first.rate())
}

fn text(args: &Args, all: &[Measured]) {
    println!("{}", head(args));
    for measured in all {
        println!(
            "  {} fetchers: {} pages in {:.1} s, {:.1} a second ({:.0} at most), {:.2} times, {:.2} processors at work",
            measured.fetchers,
            measured.pages,
            measured.seconds,
            measured.rate(),
            measured.most(args),
            times(all, measured),
            measured.processors
        );
    }
    if let Some((first, last)) = all.first().zip(all.last()) {
        let (is, wanted) = (times(all, last), GOAL * last.fetchers as f64 / first.fetchers as f64);
        let verdict = if is >= wanted { "met" } else { "missed" };
        println!("  {} to {} fetchers: {is:.2} times, goal {wanted:.2}: {verdict}", first.fetchers, last.fetchers);
    }
}

fn markdown(args: &Args, all: &[Measured]) {
    println!("\n**{}**\n", head(args));
    println!(
        "| fetchers | pages | s | pages/s (at most) | times the first | processors at work |\n|---|---|---|---|---|---|"
    );
    for measured in all {
        println!(
            "| {} | {} | {:.1} | {:.1} ({:.0}) | {:.2} | {:.2} |",
            measured.fetchers,
            measured.pages,
            measured.seconds,
            measured.rate(),
            measured.most(args),
            times(all, measured),
            measured.processors
        );
    }
}
