//! Nights with all faults on: the same seeds every day, thousands of nights with `./test --full`, and the seeds that once
//! found something, always. In every fifth seed some districts have flags; the seeds of flags are of such districts alone.
//!
//! A seed alone, with the product's own log (`RUST_LOG=debug`) where that helps:
//! `ROLLCALL_SIMULATION_SEED=17 cargo test --workspace --test seeds seeds_of_the_day_1`.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::time::Instant;

use rollcall_e2e::house::repetitions;
use rollcall_simulation::{Report, Settings, simulate};
use tracing_subscriber::EnvFilter;

/// Seeds that found something, each with what it was.
const KEPT: &str = include_str!("kept-seeds.txt");

/// The same of districts with flags alone.
const KEPT_OF_FLAGS: &str = include_str!("kept-flag-seeds.txt");

fn kept(lines: &'static str) -> impl Iterator<Item = u64> {
    let seed = |line: &str| line.split_whitespace().next()?.parse().ok();
    lines.lines().filter(|line| !line.starts_with('#')).filter_map(seed)
}

/// First of the seeds.
const FIRST: u64 = 1_000;

#[expect(clippy::disallowed_methods, reason = "how a person asks for one seed")]
fn wanted() -> Option<u64> {
    std::env::var("ROLLCALL_SIMULATION_SEED").ok().map(|seed| seed.parse().expect("a number"))
}

#[track_caller]
fn live(seed: u64) -> Report {
    simulate(Settings::new(seed)).unwrap_or_else(|error| {
        panic!(
            "seed {seed}: {error:?}\n\
             again: ROLLCALL_SIMULATION_SEED={seed} cargo test --workspace --test seeds seeds_of_the_day_1\n\
             to be kept: a line `{seed}  what it was` in tests/simulation/tests/kept-seeds.txt"
        )
    })
}

fn live_all(seeds: impl Iterator<Item = u64>) -> Report {
    let begun = Instant::now();
    let report: Report = seeds.map(live).sum();
    let rate = report.district_nights as f64 / begun.elapsed().as_secs_f64();
    println!("{report}\n{rate:.1} nights/s");
    report
}

/// Every second seed, so that the test runner can use two cores.
fn of_the_day(part: u64) -> Report {
    live_all((0..repetitions(1, 150)).map(|number| FIRST + number * 2 + part))
}

#[test]
fn seeds_of_the_day_1() {
    match wanted() {
        Some(seed) => {
            tracing_subscriber::fmt()
                .with_env_filter(EnvFilter::from_default_env())
                .with_writer(std::io::stderr)
                .init();
            live_all(std::iter::once(seed));
        }
        None => assert!(of_the_day(0).counts.stepped > 0, "clocks step in every fourth seed"),
    }
}

#[test]
fn seeds_of_the_day_2() {
    of_the_day(1);
}

#[test]
fn without_faults_nothing_comes_twice_or_late() {
    let report = simulate(Settings { undisturbed: true, ..Settings::new(1) }).unwrap();
    let (messages, counts) = (report.messages, report.counts);
    assert_eq!((messages.doubled, messages.refused, messages.lost), (0, 0, 0), "{report}");
    assert_eq!((counts.died, counts.outages, counts.discarded, counts.cancelled), (0, 0, 0, 0), "{report}");
    assert_eq!(counts.stepped, 0, "{report}");
    assert!(messages.delivered > 200, "{report}");
}

#[test]
fn kept_seeds() {
    live_all(kept(KEPT));
}

#[test]
fn equal_seeds_have_equal_traces() {
    let live = |seed| simulate(Settings { nights: 1, ..Settings::new(seed) }).unwrap();
    let first = live(5);
    assert_eq!(first, live(5));
    assert_ne!(first.trace, live(15).trace);
}

#[track_caller]
fn live_flags(seed: u64) -> Report {
    simulate(Settings::of_flags(seed)).unwrap_or_else(|error| {
        panic!(
            "seed {seed} of flags: {error:?}\n\
             again: ROLLCALL_SIMULATION_SEED={seed} cargo test --workspace --test seeds flag_seeds_of_the_day\n\
             to be kept: a line `{seed}  what it was` in tests/simulation/tests/kept-flag-seeds.txt"
        )
    })
}

#[test]
fn flag_seeds_of_the_day() {
    let report: Report = match wanted() {
        Some(seed) => live_flags(seed),
        None => (0..repetitions(2, 400)).map(|number| live_flags(FIRST + number)).sum(),
    };
    println!("{report}");
    assert!(report.flags.written > 0 && report.flags.approved > 0, "{report}");
}

#[test]
fn kept_flag_seeds() {
    kept(KEPT_OF_FLAGS).map(live_flags).for_each(drop);
}

#[test]
fn equal_flag_seeds_have_equal_traces() {
    let live = |seed| simulate(Settings { nights: 2, ..Settings::of_flags(seed) }).unwrap();
    let first = live(5);
    assert_eq!(first, live(5));
    assert_ne!(first.trace, live(6).trace);
}
