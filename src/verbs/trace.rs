//! `rollcall runs trace`: the run as a tree with times, out of what the store keeps of every page and batch.

mod html;
mod student;
mod svg;

use std::{collections::BTreeMap, fmt::Write as _, process::ExitCode};

use chrono::{DateTime, TimeDelta, Utc};
use rollcall_proto::id::{ListingNo, RunId};
use rollcall_store::{
    board::{Board, Listing as SisListing},
    page::PageRow,
    plan::BatchRow,
    run::{Pull, PullScope, Run},
};
use serde_json::json;

use crate::{
    cli::Format,
    context::Context,
    output::{self, Listing, say},
};

/// One line of the tree.
#[derive(Default)]
struct Node {
    depth: usize,
    name: String,
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
    /// Until when it went on in other hands: a page from its arrival until it was stored.
    stored: Option<DateTime<Utc>>,
    note: String,
    /// Something went wrong here.
    trouble: bool,
}

/// Prints the tree.
pub(crate) async fn trace(context: &Context, id: RunId, all: bool, student: Option<&str>) -> anyhow::Result<ExitCode> {
    let district = context.store.district_of(id).await?;
    let mut run = context.store.run(&district, id).await?;
    let mut nodes = nodes(context, &run, all || context.format == Format::Html).await?;
    if let Some(student) = student {
        nodes.extend(student::nodes(context, &run, student).await?);
    }
    if !matches!(context.format, Format::Json | Format::Csv) {
        run.reason = run.reason.map(|reason| context.again.text_of(id, &reason));
        for node in &mut nodes {
            node.note = context.again.text_of(id, &node.note);
        }
    }
    match context.format {
        Format::Table => nodes.iter().try_for_each(|node| say!("{}", line(&run, node)))?,
        Format::Html => output::print(html::page(&run, &nodes).as_bytes())?,
        Format::Svg => output::print(svg::picture(&run, &nodes).as_bytes())?,
        Format::Json | Format::Csv => list(context, &nodes)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(context: &Context, nodes: &[Node]) -> anyhow::Result<()> {
    let mut listing = Listing::new(&["depth", "name", "from", "to", "seconds", "note"]);
    for node in nodes {
        let seconds = length(node).map(|length| length.num_milliseconds() as f64 / 1000.0);
        listing.push(vec![
            json!(node.depth),
            json!(node.name),
            json!(node.from),
            json!(node.to),
            json!(seconds),
            json!(node.note),
        ]);
    }
    listing.print(context.format)
}

/// The tree of a run as text, for the demo too.
pub(crate) async fn text(context: &Context, run: &Run) -> anyhow::Result<String> {
    let nodes = nodes(context, run, false).await?;
    Ok(nodes.iter().map(|node| line(run, node)).collect::<Vec<_>>().join("\n"))
}

async fn nodes(context: &Context, run: &Run, all: bool) -> anyhow::Result<Vec<Node>> {
    let pages = context.store.pages(&run.district, run.id).await?;
    let mut nodes = vec![Node {
        depth: 0,
        name: format!("run {} of {}", run.id, run.district),
        from: Some(run.created_at),
        to: run.ended_at,
        note: run.state.as_str().to_owned(),
        ..Node::default()
    }];
    nodes.push(stage("pull", run.started_at, run.pulled_at, count(pages.len(), "page")));
    for pull in context.store.pulls(&run.district, run.id).await? {
        let board = context.store.board(&run.district, run.id, pull.connection).await?.unwrap_or_default();
        connection(&mut nodes, &pull, &board, &pages, all);
    }
    nodes.push(stage("plan", run.pulled_at, run.planned_at, plan_note(run)));
    let batches = context.store.batches(&run.district, run.id).await?;
    release(&mut nodes, run, &batches, all);
    Ok(nodes)
}

fn stage(name: &str, from: Option<DateTime<Utc>>, to: Option<DateTime<Utc>>, note: String) -> Node {
    Node { depth: 1, name: name.to_owned(), from, to, note, ..Node::default() }
}

fn count(number: usize, of: &str) -> String {
    if number == 1 { format!("1 {of}") } else { format!("{number} {of}s") }
}

fn plan_note(run: &Run) -> String {
    let counts = &run.counts;
    format!(
        "added {}, changed {}, removed {}, unchanged {}, skipped {}",
        counts.added, counts.changed, counts.removed, counts.unchanged, counts.skipped
    )
}

fn connection(nodes: &mut Vec<Node>, pull: &Pull, board: &Board, pages: &[PageRow], all: bool) {
    let mut by_listing: BTreeMap<ListingNo, Vec<&PageRow>> = BTreeMap::new();
    for page in pages.iter().filter(|page| page.connection == pull.connection) {
        by_listing.entry(page.listing).or_default().push(page);
    }
    let is_asked =
        |number: ListingNo| board.listings.get(number.0 as usize).is_some_and(|own| own.ask.stored.is_none());
    let mine = by_listing.iter().filter(|(number, _)| is_asked(**number)).flat_map(|(_, pages)| pages).copied();
    let (from, to) = span(mine);
    nodes.push(Node {
        depth: 2,
        name: format!("connection {}", pull.connection),
        from,
        to,
        note: pull.reason.clone().unwrap_or_else(|| pulled(pull)),
        trouble: pull.reason.is_some(),
        ..Node::default()
    });
    for (number, listing) in board.listings.iter().enumerate() {
        let rows = by_listing.get(&ListingNo(number as u32)).map_or(&[][..], Vec::as_slice);
        listing_nodes(nodes, listing, rows, all);
    }
}

/// State, and how much was asked for where the source could have been asked for less.
fn pulled(pull: &Pull) -> String {
    let state = format!("{:?}", pull.state).to_lowercase();
    match pull.discovery.as_ref().map(|discovery| &discovery.scope) {
        None | Some(PullScope::Always) => state,
        Some(scope) => format!("{state}, {scope}"),
    }
}

fn listing_nodes(nodes: &mut Vec<Node>, listing: &SisListing, pages: &[&PageRow], all: bool) {
    let rows: i64 = pages.iter().map(|page| page.rows).sum();
    if listing.ask.stored.is_some() {
        let note = format!("{}, {rows} rows, copied", count(pages.len(), "page"));
        nodes.push(Node { depth: 3, name: listing_name(listing), note, ..Node::default() });
        return;
    }
    let (from, to) = span(pages.iter().copied());
    let slowest = pages.iter().map(|page| page.took_ms).max().unwrap_or_default();
    let note = format!("{}, {rows} rows, slowest {slowest} ms", count(pages.len(), "page"));
    let trouble = pages.iter().any(|page| page.error.is_some());
    nodes.push(Node { depth: 3, name: listing_name(listing), from, to, note, trouble, ..Node::default() });
    for page in pages.iter().filter(|page| all || page.error.is_some()) {
        let to = page.asked_at + TimeDelta::milliseconds(i64::from(page.took_ms));
        let note = page.error.clone().unwrap_or_else(|| format!("{} rows, HTTP {}", page.rows, page.status));
        nodes.push(Node {
            depth: 4,
            name: format!("page {}", page.page.0),
            from: Some(page.asked_at),
            to: Some(to),
            stored: Some(page.collected_at),
            note,
            trouble: page.error.is_some(),
        });
    }
}

fn listing_name(listing: &SisListing) -> String {
    let ask = &listing.ask;
    let mut name = ask.resource.clone();
    if let Some(year) = &ask.school_year {
        let _ = write!(name, " (year {year})");
    }
    if let Some(since) = ask.since {
        let _ = write!(name, " (changed since {})", since.format("%Y-%m-%d %H:%M"));
    }
    if ask.stored.is_some() {
        name.push_str(" (as it was)");
    }
    if listing.aside {
        name.push_str(" (set aside)");
    }
    if let Some(ids) = &ask.ids {
        let _ = write!(name, " (second look, {} ids)", ids.ids.len());
    }
    name
}

fn span<'a>(pages: impl Iterator<Item = &'a PageRow>) -> (Option<DateTime<Utc>>, Option<DateTime<Utc>>) {
    pages.fold((None, None), |(from, to), page| {
        let earliest = from.map_or(page.asked_at, |from: DateTime<Utc>| from.min(page.asked_at));
        let latest = to.map_or(page.collected_at, |to: DateTime<Utc>| to.max(page.collected_at));
        (Some(earliest), Some(latest))
    })
}

fn release(nodes: &mut Vec<Node>, run: &Run, batches: &[BatchRow], all: bool) {
    let settled = batches.iter().filter(|batch| batch.settled_at.is_some()).count();
    let to = batches.iter().filter_map(|batch| batch.settled_at).max();
    let note = format!("{settled} of {} batches, {} events applied", batches.len(), run.counts.applied);
    nodes.push(stage("write", run.released_at, to, note));
    for batch in batches.iter().filter(|batch| all || batch.parked > 0) {
        let note = format!(
            "{}: {} events, {} applied, {} superseded, {} parked",
            batch.status.as_str(),
            batch.events,
            batch.applied,
            batch.superseded,
            batch.parked
        );
        nodes.push(Node {
            depth: 2,
            name: format!("batch {}", batch.batch),
            from: batch.published_at,
            to: batch.settled_at,
            note,
            trouble: batch.parked > 0,
            ..Node::default()
        });
    }
}

fn length(node: &Node) -> Option<TimeDelta> {
    Some(node.to? - node.from?)
}

/// Name, offset from the run's start, length, and a bar on the run's own scale.
fn line(run: &Run, node: &Node) -> String {
    let offset = node.from.map(|from| from - run.created_at);
    let name = format!("{}{}", "  ".repeat(node.depth), node.name);
    format!(
        "{name:<58} {:>9} {:>9}  {} {}",
        offset.map_or_else(String::new, |offset| format!("+{}", seconds(offset))),
        length(node).map_or_else(String::new, seconds),
        bar(run, node),
        node.note
    )
}

const BAR: usize = 24;

fn bar(run: &Run, node: &Node) -> String {
    let end = run.ended_at.or(run.planned_at).or(run.pulled_at).unwrap_or(run.created_at);
    let whole = (end - run.created_at).num_milliseconds().max(1);
    let place = |at: DateTime<Utc>| {
        ((at - run.created_at).num_milliseconds() * BAR as i64 / whole).clamp(0, BAR as i64 - 1) as usize
    };
    let Some((from, to)) = node.from.zip(node.to) else { return "·".repeat(BAR) };
    let (from, to) = (place(from), place(to));
    (0..BAR).map(|cell| if (from..=to).contains(&cell) { '█' } else { '·' }).collect()
}

fn seconds(length: TimeDelta) -> String {
    format!("{:.3} s", length.num_milliseconds() as f64 / 1000.0)
}
