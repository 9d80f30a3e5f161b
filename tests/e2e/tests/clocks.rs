//! Clocks that step in the middle of a night, some processes' and not others': an hour back, three hours ahead, right again;
//! and the nights on which everybody's are put back or forward.
//!
//! Processes under test live by what a file of theirs says of the time (Debian's libfaketime, installed by `./test`).
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use chrono::{DateTime, Utc};
use rollcall_e2e::{
    District, House, Ledger, Pair, Role, house,
    house::{DISTRICT, repetitions},
    pair::until_pages_are_in,
    services::Servers,
    until,
};
use rollcall_proto::clock::{Clock as _, SystemClock};
use rollcall_sandbox::SandboxConfig;

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

/// A worker that lives by the clock of its role.
fn start_by_clock(house: &mut House, role: Role) {
    let library = library().to_string_lossy().into_owned();
    let hand = hand(house.folder(), role).to_string_lossy().into_owned();
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

/// A worker of each role with a clock of its own, in place of those that are there.
fn give_clocks(house: &mut House) {
    for role in Role::ALL {
        set(house.folder(), role, RIGHT);
        house.take_worker(role).kill();
        start_by_clock(house, role);
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

/// A schedule that two fetchers keep, whose clocks are set to any moment; nobody works on the runs that they make.
struct Schedulers {
    house: House,
}

/// Districts in other zones, whose runs tell that a scheduler has looked at all districts since their hour came.
const EASTERN: &str = "eastern-isd";
const MOUNTAIN: &str = "mountain-isd";

impl Schedulers {
    async fn begin() -> Self {
        let config = SandboxConfig { students: 20, seed: 98, today: house::today(), ..SandboxConfig::default() };
        let house = House::scaled_out(config).await;
        for (id, zone) in [(EASTERN, "America/New_York"), (MOUNTAIN, "America/Denver")] {
            let sis = &house.district;
            let mut district = District::new(id, &sis.base_url, &sis.client_id, &sis.client_secret);
            district.time_zone = zone.to_owned();
            "at = \"02:31\"\nweekends = true".clone_into(&mut district.schedule);
            let path = district.write(house.folder());
            house.rollcall(&["district", "apply", &path.to_string_lossy()]).await.expect_code(0);
        }
        let mut schedulers = Self { house };
        schedulers.keeps("America/Chicago", "01:30").await;
        let long_ago = "UPDATE district SET schedule_since = '2026-10-01'";
        sqlx::query(long_ago).execute(&schedulers.house.services().database).await.unwrap();
        schedulers.set("2026-11-01T05:00:00Z");
        for _ in 0..2 {
            start_by_clock(&mut schedulers.house, Role::Fetcher);
        }
        schedulers
    }

    /// The district's schedule, from now on.
    async fn keeps(&mut self, zone: &str, at: &str) {
        self.house.district.time_zone = zone.to_owned();
        self.house.district.schedule = format!("at = \"{at}\"\nweekends = true");
        self.house.apply().await;
    }

    fn set(&self, to: &str) {
        let to: DateTime<Utc> = to.parse().unwrap();
        let ahead = to - SystemClock.now();
        set(self.house.folder(), Role::Fetcher, &format!("{:+}", ahead.num_seconds()));
    }

    /// Dates of the scheduled runs, one for each run.
    async fn runs(&self, district: &str) -> Vec<String> {
        let sql = "SELECT as_of::text FROM run WHERE district = $1 AND trigger = 'scheduled' ORDER BY as_of";
        sqlx::query_scalar(sql).bind(district).fetch_all(&self.house.services().database).await.unwrap()
    }

    /// Waits until there are so many.
    async fn until(&self, district: &str, runs: &[&str]) {
        until(&format!("runs of {district} for {runs:?}"), Duration::from_mins(2), || async {
            (self.runs(district).await == runs).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_night_with_an_hour_twice_or_without_it_has_one_run() {
    let mut schedulers = Schedulers::begin().await;
    // 01:30 comes at 06:30 of UTC and, when clocks have been put back, at 07:30 once more.
    schedulers.set("2026-11-01T06:30:20Z");
    schedulers.until(DISTRICT, &["2026-11-01"]).await;
    schedulers.set("2026-11-01T07:31:20Z");
    schedulers.until(EASTERN, &["2026-11-01"]).await;
    assert_eq!(schedulers.runs(DISTRICT).await, ["2026-11-01"], "the second 01:30 is of the same date");

    // In another zone it is 01:30 of that date for the third time.
    schedulers.keeps("America/Los_Angeles", "01:30").await;
    schedulers.set("2026-11-01T09:31:20Z");
    schedulers.until(MOUNTAIN, &["2026-11-01"]).await;
    assert_eq!(schedulers.runs(DISTRICT).await, ["2026-11-01"], "a date is a date in whatever zone");

    if repetitions(0, 1) == 1 {
        schedulers.keeps("America/Chicago", "02:30").await;
        // Clocks go from 02:00 to 03:00, which is 08:00 of UTC; in the east they have.
        schedulers.set("2027-03-14T07:59:00Z");
        schedulers.until(EASTERN, &["2026-11-01", "2027-03-14"]).await;
        assert_eq!(schedulers.runs(DISTRICT).await, ["2026-11-01"], "not yet");
        schedulers.set("2027-03-14T08:00:20Z");
        schedulers.until(DISTRICT, &["2026-11-01", "2027-03-14"]).await;
        schedulers.set("2027-03-14T09:00:20Z");
        schedulers.until(MOUNTAIN, &["2026-11-01", "2027-03-14"]).await;
        assert_eq!(
            schedulers.runs(DISTRICT).await,
            ["2026-11-01", "2027-03-14"],
            "an hour that is not there has one run"
        );
    }
    for fetcher in schedulers.house.workers() {
        assert!(fetcher.is_running());
    }
    schedulers.house.close().await;
}
