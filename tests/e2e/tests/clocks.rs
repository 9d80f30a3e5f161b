//! Clocks that step in the middle of a night, some processes' and not others': an hour back, three hours ahead, right again;
//! the nights on which everybody's are put back or forward, and a district that changes its zone.
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
    pair::{as_if_asked_by_hand, small, until_pages_are_in},
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

fn set(folder: &Path, role: Role, step: &str) {
    set_hand(&hand(folder, role), step);
}

/// Whole or not at all: a clock is read at any moment.
fn set_hand(hand: &Path, step: &str) {
    let next = hand.with_extension("next");
    std::fs::write(&next, format!("{step}\n")).unwrap();
    std::fs::rename(next, hand).unwrap();
}

/// How far a clock has to be off to show this moment.
fn off(to: &str) -> String {
    let to: DateTime<Utc> = to.parse().unwrap();
    format!("{:+}", (to - SystemClock.now()).num_seconds())
}

/// What a process is started with to live by such a clock.
fn by_clock(hand: &Path) -> Vec<(String, String)> {
    // How long something takes is measured by another clock, which does not step.
    let settings = [
        ("LD_PRELOAD", library().to_string_lossy().into_owned()),
        ("FAKETIME_TIMESTAMP_FILE", hand.to_string_lossy().into_owned()),
        ("FAKETIME_CACHE_DURATION", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("DONT_FAKE_MONOTONIC", "1".to_owned()),
    ];
    settings.map(|(name, value)| (name.to_owned(), value)).to_vec()
}

/// A worker that lives by the clock of its role.
fn start_by_clock(house: &mut House, role: Role) {
    let settings = by_clock(&hand(house.folder(), role));
    let settings: Vec<_> = settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
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

/// Scheduled runs: of which date, and their ids.
async fn scheduled(house: &House, district: &str) -> Vec<(String, String)> {
    let sql = "SELECT as_of::text, id::text FROM run WHERE district = $1 AND trigger = 'scheduled' ORDER BY as_of";
    sqlx::query_as(sql).bind(district).fetch_all(&house.services().database).await.unwrap()
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
        set(self.house.folder(), Role::Fetcher, &off(to));
    }

    /// Dates of the scheduled runs, one for each run.
    async fn runs(&self, district: &str) -> Vec<String> {
        scheduled(&self.house, district).await.into_iter().map(|(as_of, _)| as_of).collect()
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

/// A night on which all clocks are put back or forward, and what of it is which moment of UTC.
struct Put {
    date: &'static str,
    /// The district's hour.
    at: &'static str,
    /// Early on that date.
    before: &'static str,
    /// When the run of the date is due.
    due: &'static str,
    /// In mid-run: the hour has come once more, or the next one has.
    later: &'static str,
}

/// 01:30 comes twice.
const BACK_IN_NOVEMBER: Put = Put {
    date: "2026-11-01",
    at: "01:30",
    before: "2026-11-01T05:05:00Z",
    due: "2026-11-01T06:30:20Z",
    later: "2026-11-01T07:31:20Z",
};

/// 02:30 does not come.
const FORWARD_IN_MARCH: Put = Put {
    date: "2027-03-14",
    at: "02:30",
    before: "2027-03-14T06:05:00Z",
    due: "2027-03-14T08:00:20Z",
    later: "2027-03-14T09:01:20Z",
};

fn clock_of_all(house: &House) -> PathBuf {
    house.folder().join("clock-of-all")
}

/// Every process of the installation, the command line too, lives by one clock.
async fn worked_through(test: &str, night: &Put, seed: u64) {
    let today = night.date.parse().unwrap();
    let disturbance = format!("the night of {}, worked through; the district's zone changed in mid-run", night.date);
    let config = SandboxConfig { today, ..small(seed) };
    let mut pair = Pair::begin_of(Servers::shared(), config, Ledger::begin(test, &disturbance), async |house| {
        let long_ago = "UPDATE district SET schedule_since = '2026-10-01'";
        sqlx::query(long_ago).execute(&house.services().database).await.unwrap();
        set_hand(&clock_of_all(house), &off(night.before));
        house.extra = by_clock(&clock_of_all(house));
    })
    .await;
    let due = async |house: &mut House| {
        house.district.schedule = format!("at = \"{}\"\nweekends = true", night.at);
        house.apply().await;
        set_hand(&clock_of_all(house), &off(night.due));
        let house = &*house;
        let look = || async { scheduled(house, DISTRICT).await.pop() };
        let made = until("the night's run", Duration::from_mins(2), look).await;
        assert_eq!(made.0, night.date);
        made.1
    };
    pair.disturbed_run("clocks put back or forward", &["succeeded"], due, async |house, run| {
        until_pages_are_in(house, run, 2).await;
        set_hand(&clock_of_all(house), &off(night.later));
        house.ended(run).await;
        as_if_asked_by_hand(house).await;
    })
    .await;
    pair.ledger.faults(1);
    pair.disturbed("another zone", &["succeeded"], async |house, run| {
        until_pages_are_in(house, run, 2).await;
        "America/Los_Angeles".clone_into(&mut house.district.time_zone);
        house.apply().await;
    })
    .await;
    pair.ledger.faults(1);
    let dates: Vec<_> = scheduled(&pair.house, DISTRICT).await.into_iter().map(|(as_of, _)| as_of).collect();
    assert_eq!(dates, [night.date], "the date has one scheduled run");
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_night_with_an_hour_twice_is_worked_through_as_any_other() {
    worked_through("a_night_with_an_hour_twice_is_worked_through_as_any_other", &BACK_IN_NOVEMBER, 101).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_night_without_an_hour_is_worked_through_as_any_other() {
    worked_through("a_night_without_an_hour_is_worked_through_as_any_other", &FORWARD_IN_MARCH, 102).await;
}
