//! Pages a second by number of fetchers, each limited to so many requests in flight.
//!
//! Every number of fetchers has an installation of its own, with the same districts, ordered all at once. Rows a page are
//! few and nothing is written (runs stop at their plan), so that the stand-in SIS, reading, and the database leave the
//! processors of a small machine to what is measured: how much of its latency a fetcher turns into pages. What the
//! processors had to do all the same is told.

use rollcall_e2e::Role;
use rollcall_proto::topology::Queue;
use sqlx::{FromRow, Row as _, postgres::PgRow};

use crate::{
    Format, Ground, Pulling,
    orders::{Orders, Story, Until, seconds},
    stage::{Sis, Stage},
    verdict::Verdict,
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
    /// Students of each district; in small ones, discovery and the last pages of each listing count for more
    #[arg(long, default_value_t = 1_000)]
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

/// What the database tells of the pages of all districts. *Amid* is between the moments when a tenth and when nine tenths of
/// them had been asked for: neither districts that are found out about first, nor lanes that have nothing left to do.
#[derive(Debug)]
struct Pages {
    number: i64,
    /// Asked for a second, amid.
    rate_amid: f64,
    /// Requests for pages under way at once in the mean, amid.
    in_flight: f64,
    /// Milliseconds from question to answer in the mean, amid.
    took_ms: f64,
}

impl FromRow<'_, PgRow> for Pages {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            number: row.try_get("number")?,
            rate_amid: row.try_get("rate_amid")?,
            in_flight: row.try_get("in_flight")?,
            took_ms: row.try_get("took_ms")?,
        })
    }
}

const PAGES: &str = "
WITH asked AS (
    SELECT count(*) AS number, percentile_disc(0.1) WITHIN GROUP (ORDER BY asked_at) AS since,
           percentile_disc(0.9) WITHIN GROUP (ORDER BY asked_at) AS until
    FROM page WHERE district = ANY($1)
)
SELECT number, (count(*) / lasted)::float8 AS rate_amid, (sum(took_ms) / 1000 / lasted)::float8 AS in_flight,
       avg(took_ms)::float8 AS took_ms
FROM asked, extract(epoch FROM until - since) AS lasted, page
WHERE district = ANY($1) AND asked_at BETWEEN since AND until
GROUP BY number, lasted";

/// One number of fetchers.
struct Measured {
    fetchers: usize,
    pages: Pages,
    /// From the first order until the last page was in.
    seconds: f64,
    /// Processors at work in the mean, servers and sandbox among them.
    processors: f64,
}

impl Measured {
    /// Pages a second, from the first order until the last page was in.
    fn rate(&self) -> f64 {
        self.pages.number as f64 / self.seconds
    }

    /// Pages a second that no SIS of this latency gives more of.
    fn most(&self, args: &Args) -> f64 {
        let at_once = (self.fetchers * usize::from(args.concurrency)).min(args.districts * usize::from(args.lanes));
        at_once as f64 * 1e3 / args.latency_ms as f64
    }
}

/// Measures, and prints what came out.
pub(crate) async fn measure(args: &Args, ground: &Ground) -> anyhow::Result<Verdict> {
    let folder = tempfile::tempdir()?;
    let sis = Sis::start(folder.path(), args.students).await?;
    let mut all = Vec::new();
    for fetchers in &args.fetchers {
        let measured = one(args, ground, &sis, *fetchers).await?;
        eprintln!("{fetchers} fetchers: {:.1} pages a second, {:?}", measured.rate(), measured.pages);
        all.push(measured);
    }
    match ground.format {
        Format::Text => text(args, &all),
        Format::Markdown => markdown(args, &all),
    }
    Ok(goal(&all).map(|(wanted, in_all, _)| Verdict::of(in_all >= wanted)).into_iter().sum())
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
    let pages = sqlx::query_as(PAGES).bind(&names).fetch_one(&stage.services.database).await?;
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

/// How many times the first number's pages a second this one has: in all, and amid.
fn times(all: &[Measured], measured: &Measured) -> (f64, f64) {
    let first = all.first().unwrap_or(measured);
    (measured.rate() / first.rate(), measured.pages.rate_amid / first.pages.rate_amid)
}

/// How many times the first number's pages a second the last one is to have, and has: in all, which is judged, and amid.
fn goal(all: &[Measured]) -> Option<(f64, f64, f64)> {
    let (first, last) = all.first().zip(all.last())?;
    let (in_all, amid) = times(all, last);
    Some((GOAL * last.fetchers as f64 / first.fetchers as f64, in_all, amid))
}

fn text(args: &Args, all: &[Measured]) {
    println!("{}", head(args));
    for measured in all {
        let Measured { fetchers, pages, seconds, processors } = measured;
        let (in_all, amid) = times(all, measured);
        println!(
            "  {fetchers} fetchers: {} pages in {seconds:.1} s, {:.1} a second, {in_all:.2} times; {processors:.2} processors at work",
            pages.number,
            measured.rate(),
        );
        println!(
            "    amid: {:.1} pages a second ({:.0} at most), {amid:.2} times; {:.1} in flight, answered after {:.0} ms",
            pages.rate_amid,
            measured.most(args),
            pages.in_flight,
            pages.took_ms
        );
    }
    if let Some((first, last)) = all.first().zip(all.last())
        && let Some((wanted, in_all, amid)) = goal(all)
    {
        println!(
            "  {} to {} fetchers, goal {wanted:.2} times: {in_all:.2} in all ({}), {amid:.2} amid ({})",
            first.fetchers,
            last.fetchers,
            Verdict::of(in_all >= wanted),
            Verdict::of(amid >= wanted)
        );
    }
}

fn markdown(args: &Args, all: &[Measured]) {
    println!("\n**{}**\n", head(args));
    println!(
        "| fetchers | pages | s | pages/s | times the first | amid: pages/s (at most) | times the first | in flight | ms | processors at work |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for measured in all {
        let Measured { fetchers, pages, seconds, processors } = measured;
        let ((in_all, amid), most) = (times(all, measured), measured.most(args));
        println!(
            "| {fetchers} | {} | {seconds:.1} | {:.1} | {in_all:.2} | {:.1} ({most:.0}) | {amid:.2} | {:.1} | {:.0} | {processors:.2} |",
            pages.number,
            measured.rate(),
            pages.rate_amid,
            pages.in_flight,
            pages.took_ms
        );
    }
}
