//! How long small districts wait while a large one runs.
//!
//! *Wait* is the time from the order (the run is made) to the moment when the run's first page is asked for; discovery,
//! which asks for the SIS's metadata before, is part of it. The time from order to end is told beside it, since a run could
//! begin soon and then stand still.
//!
//! A crowd of small districts is ordered all at once, as on the stroke of the hour, four times, each time other districts
//! that have had no night yet: while there is nothing else to do, then when the large district's first page has come in, when
//! its last one has, and when its plan is released. One that is alone is measured before. All of them ask stand-in SISes
//! that share the machine with everything else.

use rollcall_e2e::{District, Role};

use crate::{
    Format, Ground, Pulling,
    orders::{Orders, Point, Story, Until, seconds},
    quantile::{Waits, median},
    stage::{Sis, Stage},
    verdict::Verdict,
};

/// What is measured.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Students of the large district
    #[arg(long, default_value_t = 1_000_000)]
    students: u32,
    /// Small districts ordered at once
    #[arg(long, default_value_t = 200)]
    small: usize,
    /// Students of each small district
    #[arg(long, default_value_t = 500)]
    small_students: u32,
    /// Milliseconds that the SIS takes for each page
    #[arg(long, default_value_t = 0)]
    latency_ms: u64,
    #[command(flatten)]
    pulling: Pulling,
}

/// Most seconds that 95 of 100 small districts may wait.
const GOAL: f64 = 10.0;

/// The large district.
const LARGE: &str = "large-isd";

/// Small districts measured alone, one after the other.
const ALONE: usize = 5;

/// What the large district does when the crowd is ordered.
const MEANWHILE: [(&str, Option<Point>); 4] = [
    ("is not there", None),
    ("pulls", Some(Point::Pull)),
    ("is planned", Some(Point::Plan)),
    ("is written", Some(Point::Write)),
];

/// A crowd, and how it went.
struct Crowd {
    /// What the large district did.
    large: &'static str,
    /// How long it went on doing that, seconds after the order.
    for_seconds: Option<f64>,
    wait: Waits,
    end: Waits,
}

/// All that came out.
struct Outcome {
    /// Of a small district alone: wait and end.
    alone: (f64, f64),
    crowds: Vec<Crowd>,
    large: Story,
}

/// Measures, and prints what came out.
pub(crate) async fn measure(args: &Args, ground: &Ground) -> anyhow::Result<Verdict> {
    let (folder, small_folder) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let large_sis = Sis::start(folder.path(), args.students).await?;
    let small_sis = Sis::start(small_folder.path(), args.small_students).await?;
    for sis in [&large_sis, &small_sis] {
        sis.set(1, args.latency_ms).await?;
    }
    let mut stage = Stage::raise(&ground.servers).await?;
    stage.apply(&districts(args, &large_sis, &small_sis)).await;
    for role in Role::ALL {
        stage.start(role, args.pulling.processes, &[]);
    }
    let orders = Orders::open(&stage.services).await?;
    orders.ready(args.pulling.processes).await?;
    let outcome = run(args, &orders).await?;
    match ground.format {
        Format::Text => text(args, &outcome),
        Format::Markdown => markdown(args, &outcome),
    }
    drop(orders);
    stage.end_workers();
    stage.close().await;
    Ok(outcome.crowds.iter().map(Crowd::verdict).sum())
}

fn districts(args: &Args, large: &Sis, small: &Sis) -> Vec<District> {
    let crowds = (0..MEANWHILE.len()).flat_map(|number| names(args, number));
    let of_small = alone().into_iter().chain(crowds).map(|id| small.district(&id, args.pulling));
    std::iter::once(large.district(LARGE, args.pulling)).chain(of_small).collect()
}

fn alone() -> Vec<String> {
    (1..=ALONE).map(|number| format!("alone-{number}")).collect()
}

/// The districts of a crowd.
fn names(args: &Args, crowd: usize) -> Vec<String> {
    (1..=args.small).map(|number| format!("crowd-{crowd}-{number}")).collect()
}

async fn run(args: &Args, orders: &Orders) -> anyhow::Result<Outcome> {
    let alone = one_by_one(orders).await?;
    let large = [LARGE.to_owned()];
    for (number, (what, point)) in MEANWHILE.into_iter().enumerate() {
        if point == Some(Point::Pull) {
            orders.order(&large, Until::End).await?;
        }
        if let Some(point) = point {
            orders.reached(point, LARGE).await?;
        }
        eprintln!("the large district {what}: {} small ones are ordered", args.small);
        orders.order(&names(args, number), Until::End).await?;
        if point.is_none() {
            orders.ended(&names(args, number), Until::End).await?;
        }
    }
    let large = orders.ended(&large, Until::End).await?.remove(0);
    let mut crowds = Vec::new();
    for (number, (what, point)) in MEANWHILE.into_iter().enumerate() {
        let stories = orders.ended(&names(args, number), Until::End).await?;
        crowds.push(crowd(what, point, &stories, &large));
    }
    Ok(Outcome { alone, crowds, large })
}

/// Medians of wait and end, each district having the installation to itself. The first one warms everything up.
async fn one_by_one(orders: &Orders) -> anyhow::Result<(f64, f64)> {
    let mut stories = Vec::new();
    for district in alone() {
        let district = [district];
        orders.order(&district, Until::End).await?;
        stories.extend(orders.ended(&district, Until::End).await?);
    }
    let of = |moment: fn(&Story) -> Option<f64>| median(stories.iter().skip(1).filter_map(moment));
    Ok((of(wait), of(end)))
}

fn wait(story: &Story) -> Option<f64> {
    story.after(story.first_page_at)
}

fn end(story: &Story) -> Option<f64> {
    story.after(story.ended_at)
}

fn crowd(what: &'static str, point: Option<Point>, stories: &[Story], large: &Story) -> Crowd {
    let over = point.and_then(|point| match point {
        Point::Pull => large.pulled_at,
        Point::Plan => large.released_at,
        Point::Write => large.ended_at,
    });
    let ordered = stories.iter().map(|story| story.created_at).max();
    let of = |moment: fn(&Story) -> Option<f64>| Waits::of(&stories.iter().filter_map(moment).collect::<Vec<_>>());
    Crowd {
        large: what,
        for_seconds: over.zip(ordered).map(|(over, ordered)| seconds(ordered, over)),
        wait: of(wait),
        end: of(end),
    }
}

impl Crowd {
    fn verdict(&self) -> Verdict {
        Verdict::of(self.wait.p95 <= GOAL)
    }

    fn lasted(&self) -> String {
        self.for_seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.1}"))
    }
}

/// Seconds that the large district took: pull, plan, write.
fn phases(large: &Story) -> [f64; 3] {
    let at = |moment| large.after(moment).unwrap_or_default();
    let (pulled, released, ended) = (at(large.pulled_at), at(large.released_at), at(large.ended_at));
    [pulled, released - pulled, ended - released]
}

fn text(args: &Args, outcome: &Outcome) {
    let [pull, plan, write] = phases(&outcome.large);
    println!(
        "{} students beside {} districts of {} at once, {} ms a page, {} lanes, {} processes for each role",
        args.students, args.small, args.small_students, args.latency_ms, args.pulling.lanes, args.pulling.processes
    );
    println!("  the large one: pull {pull:.1} s, plan {plan:.1} s, write {write:.1} s");
    println!("  a small one alone: first page after {:.2} s, end after {:.2} s", outcome.alone.0, outcome.alone.1);
    for Crowd { large, wait, end, .. } in &outcome.crowds {
        println!(
            "  {:<14} first page after   p50 {:6.2}   p95 {:6.2}   max {:6.2} s",
            large, wait.p50, wait.p95, wait.max
        );
        println!("  {:<14} end after          p50 {:6.2}   p95 {:6.2}   max {:6.2} s", "", end.p50, end.p95, end.max);
    }
    for crowd in &outcome.crowds {
        println!(
            "  the large one {}, and does for {} s more: p95 of the wait {:.2} s, goal {GOAL:.0}: {}",
            crowd.large,
            crowd.lasted(),
            crowd.wait.p95,
            crowd.verdict()
        );
    }
}

fn markdown(args: &Args, outcome: &Outcome) {
    let [pull, plan, write] = phases(&outcome.large);
    println!(
        "\n**{} students beside {} districts of {} at once**, {} ms a page, {} lanes, {} processes for each role; pull \
         {pull:.1} s, plan {plan:.1} s, write {write:.1} s; a small one alone: first page after {:.2} s, end after {:.2} s\n",
        args.students,
        args.small,
        args.small_students,
        args.latency_ms,
        args.pulling.lanes,
        args.pulling.processes,
        outcome.alone.0,
        outcome.alone.1
    );
    println!(
        "| when they are ordered, the large one | for so long | first page: p50, p95 (goal {GOAL:.0}), max | end: p50, p95, max |"
    );
    println!("|---|---|---|---|");
    for crowd in &outcome.crowds {
        let three = |waits: &Waits| format!("{:.2}, {:.2}, {:.2}", waits.p50, waits.p95, waits.max);
        println!("| {} | {} | {} | {} |", crowd.large, crowd.lasted(), three(&crowd.wait), three(&crowd.end));
    }
}
