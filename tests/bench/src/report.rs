//! Nights, for people.

use std::collections::BTreeMap;

use crate::{
    Pulling,
    floors::Floors,
    night::{Night, Size},
    units,
    usage::Usage,
    verdict::Verdict,
};

/// Allowed per worker at 50,000 students, and for each one beyond.
const WORKER_BYTES: f64 = 100e6;
const BYTES_PER_STUDENT: f64 = 1e3;

/// A goal, and how far the night is from it.
struct Goal {
    text: String,
    value: f64,
    limit: f64,
}

impl Goal {
    /// A share that is none, or below nothing, misses it too.
    fn verdict(&self) -> Verdict {
        Verdict::of((0.0..=self.limit).contains(&self.value))
    }
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// What a SIS that takes its time for each request makes a night last at least, seconds.
fn paced(pulling: Pulling, night: &Night) -> Option<f64> {
    let least = night.requests as f64 * night.latency_ms as f64 / 1e3 / f64::from(pulling.lanes);
    (least > 0.0).then_some(least)
}

/// A night in which a little has changed lies between one without a change and a first one, on whose way to each other its time is
/// measured. Each is the best of its series.
fn between(unchanged: f64, first: f64, changed: f64) -> Goal {
    let way = first - unchanged;
    let value = if way > 0.0 { (changed - unchanged) / way } else { f64::NAN };
    Goal { text: format!("of the way from unchanged, {unchanged:.2} s, to first, {first:.2} s"), value, limit: 1.0 }
}

/// The time goal of a night; where the SIS takes its time, of the pull, since nothing else waits for it: all nights are alike there.
fn time_goal(pulling: Pulling, night: &Night, size: &Size) -> Option<Goal> {
    let floors = &size.floors;
    if let Some(least) = paced(pulling, night) {
        let text = format!(
            "of the pull, {} requests x {} ms / {} lanes = {least:.1} s; the whole night {:.2} x",
            night.requests,
            night.latency_ms,
            pulling.lanes,
            night.times.total() / least
        );
        return Some(Goal { text, value: night.times.pull() / least, limit: 1.1 });
    }
    let (text, floor, limit) = match night.name {
        "first" => {
            let without = night.times.total() / floors.first_without_history();
            (format!("decode + COPY + broker; {without:.2} x without the history's rows"), floors.first(), 2.0)
        }
        "unchanged" => ("decode + fingerprints".to_owned(), floors.unchanged(), 1.5),
        _ => {
            let of = |name| size.nights.iter().find(|other| (other.name, other.latency_ms) == (name, night.latency_ms));
            let (unchanged, first) = (of("unchanged")?.times.total(), of("first")?.times.total());
            return Some(between(unchanged, first, night.times.total()));
        }
    };
    Some(Goal { text: format!("{floor:.2} s, {text}"), value: night.times.total() / floor, limit })
}

fn is_worker(name: &str) -> bool {
    ["fetcher", "classifier", "writer"].iter().any(|role| name.starts_with(role))
}

/// The largest worker against what it may take.
fn memory_goal(students: u32, usage: &BTreeMap<String, Usage>) -> Goal {
    let workers = usage.iter().filter(|(name, _)| is_worker(name));
    let (name, peak) =
        workers.map(|(name, usage)| (name.as_str(), usage.peak)).max_by_key(|(_, peak)| *peak).unwrap_or(("", 0));
    let limit = WORKER_BYTES + BYTES_PER_STUDENT * f64::from(students.saturating_sub(50_000));
    Goal { text: format!("largest worker ({name}), MB"), value: megabytes(peak), limit: limit / 1e6 }
}

fn rate(size: &Size, night: &Night) -> f64 {
    f64::from(size.students) / night.times.total()
}

/// Of every goal that a size has.
pub(crate) fn verdict(pulling: Pulling, size: &Size) -> Verdict {
    let of_nights = size.nights.iter().flat_map(|night| {
        let time = time_goal(pulling, night, size);
        time.into_iter().chain([memory_goal(size.students, &night.usage)])
    });
    of_nights.map(|goal| goal.verdict()).chain(units::verdict(&size.units)).sum()
}

/// Everything, for reading.
pub(crate) fn text(pulling: Pulling, size: &Size) {
    println!(
        "\n{} students, {} rows a page, {} lanes, {} processes for each role",
        size.students, pulling.page_size, pulling.lanes, pulling.processes
    );
    floors(&size.floors);
    println!("{}", units::text(&size.units).unwrap_or_else(|| "the workers told nothing of their units".to_owned()));
    for night in &size.nights {
        one(pulling, size, night);
    }
}

fn floors(floors: &Floors) {
    println!("floors (best of three)");
    println!(
        "  download                 {:8.3} s   {} pages, {:.1} MB",
        floors.download,
        floors.pages,
        megabytes(floors.page_bytes)
    );
    println!("  download and decode      {:8.3} s", floors.decode);
    println!("  COPY of the roster       {:8.3} s   {} rows", floors.copy, floors.rows);
    println!("  COPY of its history      {:8.3} s   {} rows", floors.copy_history, floors.history_rows);
    println!(
        "  messages through broker  {:8.3} s   {} messages, {:.1} MB",
        floors.broker,
        floors.messages,
        megabytes(floors.message_bytes)
    );
    println!("  fingerprints read back   {:8.3} s", floors.fingerprints);
}

fn one(pulling: Pulling, size: &Size, night: &Night) {
    let (times, run) = (&night.times, &night.run);
    println!(
        "\n{} night, {} ms a page: {:.2} s, {:.0} students/s",
        night.name,
        night.latency_ms,
        times.total(),
        rate(size, night)
    );
    println!(
        "  pull {:.2} s   plan {:.2} s   write {:.2} s   requests {}",
        times.pull(),
        times.plan(),
        times.write(),
        night.requests
    );
    println!(
        "  added {} changed {} removed {} unchanged {} skipped {}",
        run.added, run.changed, run.removed, run.unchanged, run.skipped
    );
    let written = if night.written.is_empty() { "none".to_owned() } else { night.written.join(", ") };
    println!("  roster and history tables written to: {written}");
    println!("  rows written beside them: {}", beside(night));
    if let Some(goal) = time_goal(pulling, night, size) {
        println!("  {:.2} x ({}), goal {:.1}: {}", goal.value, goal.text, goal.limit, goal.verdict());
    }
    let memory = memory_goal(size.students, &night.usage);
    println!("  {} {:.0}, goal {:.0}: {}", memory.text, memory.value, memory.limit, memory.verdict());
    for (name, usage) in &night.usage {
        println!("    {name:14} {:7.2} s CPU {:8.1} MB at most", usage.cpu, megabytes(usage.peak));
    }
}

/// Rows by table.
fn beside(night: &Night) -> String {
    let tables = night.beside.iter().map(|(table, rows)| format!("{table} {rows}"));
    tables.collect::<Vec<_>>().join(", ")
}

/// The tables of the README.
pub(crate) fn markdown(pulling: Pulling, size: &Size) {
    let floors = &size.floors;
    println!(
        "\n**{} students**, {} pages of at most {} rows ({:.0} MB), {} lanes, {} processes for each role\n",
        size.students,
        floors.pages,
        pulling.page_size,
        megabytes(floors.page_bytes),
        pulling.lanes,
        pulling.processes
    );
    println!("| floor | s |\n|---|---|");
    println!("| download, and decode | {:.2}, {:.2} |", floors.download, floors.decode);
    println!("| COPY of the roster's {} rows into keyed tables | {:.2} |", floors.rows, floors.copy);
    println!("| COPY of its history's {} rows | {:.2} |", floors.history_rows, floors.copy_history);
    println!(
        "| {} messages ({:.0} MB) confirmed and consumed | {:.2} |",
        floors.messages,
        megabytes(floors.message_bytes),
        floors.broker
    );
    println!("| fingerprints read back | {:.3} |\n", floors.fingerprints);
    if let Some(units) = units::text(&size.units) {
        println!("First night, {units}.\n");
    }
    println!(
        "| night | ms a page | s | pull | plan | write | students/s | against its floor (goal) | largest worker MB | CPU s: workers, RabbitMQ, PostgreSQL, sandbox |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for night in &size.nights {
        println!("{}", row(pulling, size, night));
    }
    println!("\nRows written beside roster and history:\n");
    for night in &size.nights {
        println!("- {}, {} ms a page: {}", night.name, night.latency_ms, beside(night));
    }
}

fn row(pulling: Pulling, size: &Size, night: &Night) -> String {
    let times = &night.times;
    let goal = time_goal(pulling, night, size);
    let whole = paced(pulling, night).map(|least| format!(", whole night {:.2}", night.times.total() / least));
    let goal = goal.map(|goal| format!("{:.2} ({:.1}){}", goal.value, goal.limit, whole.unwrap_or_default()));
    let goal = goal.unwrap_or_else(|| "-".to_owned());
    let cpu = |name: &str| night.usage.get(name).map_or_else(|| "-".to_owned(), |usage| format!("{:.1}", usage.cpu));
    let workers: f64 = night.usage.iter().filter(|(name, _)| is_worker(name)).map(|(_, usage)| usage.cpu).sum();
    let memory = memory_goal(size.students, &night.usage).value;
    let times = format!("{:.2} | {:.2} | {:.2} | {:.2}", times.total(), times.pull(), times.plan(), times.write());
    let cpu = format!("{workers:.1}, {}, {}, {}", cpu("RabbitMQ"), cpu("PostgreSQL"), cpu("sandbox"));
    format!(
        "| {} | {} | {times} | {:.0} | {goal} | {memory:.0} | {cpu} |",
        night.name,
        night.latency_ms,
        rate(size, night)
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PULLING: Pulling = Pulling { page_size: 500, lanes: 4, processes: 2 };

    /// A night that took so long: no floor is in its way.
    fn night(name: &'static str, latency_ms: u64, milliseconds: i64) -> Night {
        let at = |after: i64| {
            json!(format!("2026-01-05T08:{:02}:{:02}.{:03}Z", after / 60_000, after / 1_000 % 60, after % 1_000))
        };
        let times = json!({"created": at(0), "pulled": at(0), "planned": at(0), "ended": at(milliseconds)});
        let run = json!({
            "run": "", "state": "succeeded", "reason": null, "plan_hash": null, "trigger": "manual", "listed": 0, "missing": 0,
            "added": 0, "changed": 0, "removed": 0, "unchanged": 0, "skipped": 0, "applied": 0, "parked": 0, "superseded": 0,
            "findings": [],
        });
        Night {
            name,
            latency_ms,
            requests: 100,
            run: serde_json::from_value(run).unwrap(),
            times: serde_json::from_value(times).unwrap(),
            usage: BTreeMap::new(),
            written: Vec::new(),
            beside: Vec::new(),
        }
    }

    fn size(nights: Vec<Night>) -> Size {
        let floors = Floors {
            download: 100.0,
            decode: 100.0,
            pages: 0,
            page_bytes: 0,
            copy: 100.0,
            rows: 0,
            copy_history: 0.0,
            history_rows: 0,
            broker: 100.0,
            messages: 0,
            message_bytes: 0,
            fingerprints: 100.0,
        };
        Size { students: 50_000, floors, nights, units: BTreeMap::new() }
    }

    #[test]
    fn a_night_with_changes_has_to_lie_between_the_other_two() {
        for (unchanged, changed, first, met) in [
            (340, 1_280, 1_870, Verdict::Met),
            (340, 1_900, 1_870, Verdict::Missed),
            (340, 330, 1_870, Verdict::Missed),
            (1_870, 1_280, 340, Verdict::Missed),
            (340, 340, 340, Verdict::Missed),
        ] {
            let nights = vec![
                night("first", 0, first),
                night("unchanged", 0, unchanged),
                night("2 % changed", 0, changed),
                night("first", 100, 1),
                night("unchanged", 100, 5),
            ];
            let size = size(nights);
            assert_eq!(verdict(PULLING, &size), met, "{unchanged}, {changed}, {first}");
            assert_eq!(time_goal(PULLING, &size.nights[2], &size).map(|goal| goal.verdict()), Some(met));
        }
        let paced = size(["first", "unchanged", "2 % changed"].map(|name| night(name, 100, 2_600)).into());
        assert_eq!(verdict(PULLING, &paced), Verdict::Met, "bounded by the SIS, all three are alike");
    }
}
