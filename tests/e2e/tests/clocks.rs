//! Clocks that step in the middle of a night, some processes' and not others': an hour back, three hours ahead, right again.
//!
//! Processes under test live by what a file of theirs says of the time (Debian's libfaketime, installed by `./test`).
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::path::{Path, PathBuf};

use rollcall_e2e::{House, Ledger, Pair, Role, house::repetitions, pair::until_pages_are_in, services::Servers};

/// How far each role's clock is off: fetcher, classifier, writer.
type Steps = [&'static str; 3];

const BACK: &str = "-1h";
const AHEAD: &str = "+3h";
const RIGHT: &str = "+0";

/// The first two every day.
const STEPS: [Steps; 6] = [
    [AHEAD, BACK, RIGHT],
    [BACK, AHEAD, AHEAD],
    [AHEAD, RIGHT, BACK],
    [BACK, RIGHT, RIGHT],
    [RIGHT, AHEAD, RIGHT],
    [AHEAD, AHEAD, AHEAD],
];

/// The library that stands between a process and the time.
fn library() -> PathBuf {
    let places = std::fs::read_dir("/usr/lib").unwrap().flatten();
    let mut libraries = places.map(|place| place.path().join("faketime/libfaketimeMT.so.1"));
    libraries.find(|path| path.exists()).expect("./test installs libfaketime")
}

fn hand(folder: &Path, role: Role) -> PathBuf {
    folder.join(format!("clock-of-{}", role.word()))
}

/// Whole or not at all: a clock is read at any moment.
fn set(folder: &Path, role: Role, step: &str) {
    let hand = hand(folder, role);
    let next = hand.with_extension("next");
    std::fs::write(&next, format!("{step}\n")).unwrap();
    std::fs::rename(next, hand).unwrap();
}

/// A worker of each role with a clock of its own, in place of those that are there.
fn give_clocks(house: &mut House) {
    let library = library().to_string_lossy().into_owned();
    for role in Role::ALL {
        set(house.folder(), role, RIGHT);
        let hand = hand(house.folder(), role).to_string_lossy().into_owned();
        house.take_worker(role).kill();
        // How long something takes is measured by another clock, which does not step.
        let settings = [
            ("LD_PRELOAD", library.as_str()),
            ("FAKETIME_TIMESTAMP_FILE", &hand),
            ("FAKETIME_CACHE_DURATION", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
        ];
        house.start_worker_with(role, &settings);
    }
}

fn step(house: &House, steps: Steps) {
    for (role, step) in Role::ALL.into_iter().zip(steps) {
        set(house.folder(), role, step);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_step_in_mid_run_change_nothing() {
    let test = "clocks_that_step_in_mid_run_change_nothing";
    let disturbance = "clocks of processes that step back and ahead by hours in mid-run, and are put right";
    let mut pair = Pair::begin(Servers::shared(), 95, Ledger::begin(test, disturbance)).await;
    give_clocks(&mut pair.house);
    for steps in STEPS.into_iter().take(repetitions(2, 6) as usize) {
        pair.disturbed(&format!("{steps:?}"), &["succeeded"], async |house, run| {
            until_pages_are_in(house, run, 2).await;
            step(house, steps);
            until_pages_are_in(house, run, 8).await;
            step(house, [RIGHT; 3]);
        })
        .await;
        pair.ledger.faults(steps.iter().filter(|step| **step != RIGHT).count() as u64 * 2);
    }
    // Clocks that are wrong from the beginning of a night to its end.
    step(&pair.house, STEPS[0]);
    pair.disturbed("all night", &["succeeded"], async |_, _| {}).await;
    pair.ledger.faults(2);
    for role in Role::ALL {
        assert!(pair.house.worker(role).is_running(), "no worker had to be started again");
    }
    pair.end().await;
}
