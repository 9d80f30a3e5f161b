//! Two districts of one installation with equal facts: one is disturbed, and its twin shows how it should have ended.
//!
//! Each night, the twin goes first, undisturbed. While the other one is disturbed then, the twin runs once more, as any
//! other district of the installation would: it has to end well, with nothing to do.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use rollcall_sandbox::{Sandbox, SandboxConfig};
use tokio::task::JoinHandle;

use crate::{
    Answer, District, House, RunRow,
    house::{self, DISTRICT},
    ledger::Ledger,
    roster::{Facts, facts, facts_of},
    services::Servers,
    until,
    watch::{Watch, statuses_of},
};

/// The twin.
pub const TWIN: &str = "twin-isd";

/// A second district of an installation with the facts of its first, and a SIS of its own: nothing ever happens to it.
#[derive(Debug)]
pub struct Twin(Sandbox);

impl Twin {
    /// The twin of what this house's SIS was made from; not in a hurry.
    pub async fn beside(house: &House, config: SandboxConfig) -> Self {
        Self::paced_beside(house, SandboxConfig { latency_ms: 0, ..config }).await
    }

    /// As [`Twin::beside`], with answers that take as long as this says: its nights last as long as those of the other one would.
    pub async fn paced_beside(house: &House, config: SandboxConfig) -> Self {
        let sis = Sandbox::start(config).await.expect("the sandbox starts");
        let mut district = District::new(TWIN, &sis.base_url(), sis.client_id(), sis.client_secret());
        district.page_size = house.district.page_size;
        let path = district.write(house.folder());
        house.rollcall(&["district", "apply", &path.to_string_lossy()]).await.expect_code(0);
        Self(sis)
    }

    /// An undisturbed night, in which there is something to do: how it leaves the district.
    pub async fn night(&self, house: &House, night: u32) -> Facts {
        self.0.set_night(night);
        let run = house.night_of(TWIN).await;
        assert_eq!(run.state, "succeeded", "{run:#?}");
        assert!(run.events() > 0, "there is something to do: {run:#?}");
        facts_of(&house.services().database, TWIN).await
    }

    /// How long its newest run took that has ended.
    pub async fn lasted(&self, house: &House) -> Duration {
        let sql = "SELECT extract(epoch FROM ended_at - created_at)::float8 FROM run \
                   WHERE district = $1 AND ended_at IS NOT NULL ORDER BY created_at DESC LIMIT 1";
        let seconds = sqlx::query_scalar(sql).bind(TWIN).fetch_one(&house.services().database).await;
        Duration::from_secs_f64(seconds.expect("it has had a night"))
    }

    /// Begins one more night of it while something happens to the other district.
    pub fn begin(&self, house: &House) -> Beside {
        Beside(tokio::spawn(begin_twin(house.folder().to_owned(), house.settings())))
    }

    /// Ends its SIS.
    pub async fn end(self) {
        self.0.shutdown().await;
    }
}

/// A night of the twin, beside a disturbed one.
#[derive(Debug)]
pub struct Beside(JoinHandle<Option<String>>);

impl Beside {
    /// It ends as any other district's: well, with nothing to do.
    pub async fn check(self, house: &House, what: &str) {
        let begun = match self.0.await.expect("it does not panic") {
            Some(begun) => begun,
            // There was no broker or no database to tell.
            None => house.begin_of(TWIN).await,
        };
        let run = house.ended(&begun).await;
        assert_eq!((run.state.as_str(), run.events()), ("succeeded", 0), "{what}, elsewhere: {run:#?}");
    }
}

/// A small district with something of everything: pages enough for a mid-run, changes and leavers at each night.
pub fn small(seed: u64) -> SandboxConfig {
    SandboxConfig {
        students: 90,
        seed,
        today: house::today(),
        change_percent: 25.0,
        contact_percent: 40,
        latency_ms: 30,
        ..SandboxConfig::default()
    }
}

/// See the module.
#[derive(Debug)]
pub struct Pair {
    /// The installation, and the district that is disturbed.
    pub house: House,
    twin: Twin,
    /// What has been counted.
    pub ledger: Ledger,
    /// Messages are parked by what is done to the district, as they should be.
    pub parks: bool,
    night: u32,
    undisturbed: Facts,
}

impl Pair {
    /// Both districts on these servers, with one worker of each role, after an undisturbed first night.
    pub async fn begin(servers: Servers, seed: u64, ledger: Ledger) -> Self {
        Self::begin_with(servers, seed, ledger, async |_| {}).await
    }

    /// As [`Pair::begin`]; `prepare` may set things up before any worker runs.
    pub async fn begin_with(
        servers: Servers,
        seed: u64,
        ledger: Ledger,
        prepare: impl AsyncFnOnce(&mut House),
    ) -> Self {
        Self::begin_of(servers, small(seed), ledger, prepare).await
    }

    /// As [`Pair::begin_with`], of districts such as this.
    pub async fn begin_of(
        servers: Servers,
        config: SandboxConfig,
        ledger: Ledger,
        prepare: impl AsyncFnOnce(&mut House),
    ) -> Self {
        let mut house = House::on(servers, config.clone()).await;
        house.district.page_size = 20;
        house.apply().await;
        prepare(&mut house).await;
        let twin = Twin::beside(&house, config).await;
        house.start_workers(1);
        let mut pair = Self { house, twin, ledger, parks: false, night: 0, undisturbed: Facts::new() };
        pair.next_night().await;
        let first = pair.house.night().await;
        assert_eq!(first.state, "succeeded", "{first:#?}");
        pair
    }

    /// The first night, the second, the first again: there is always something to do. The twin has it behind it.
    pub async fn next_night(&mut self) {
        self.night = if self.night == 1 { 2 } else { 1 };
        self.undisturbed = self.twin.night(&self.house, self.night).await;
        self.house.sis.set_night(self.night);
    }

    /// A night in which `disturb` does what it does once pages come in. The run has to stop as one of `states`; where
    /// it was not whole, the next undisturbed one has to be. Then all is as it is with the twin, and nothing is parked.
    pub async fn disturbed(
        &mut self,
        what: &str,
        states: &[&str],
        disturb: impl AsyncFnOnce(&mut House, &str),
    ) -> RunRow {
        self.disturbed_from(what, states, async |_| {}, disturb).await
    }

    /// As [`Pair::disturbed`]; `prepare` does what has to be done before the run begins.
    pub async fn disturbed_from(
        &mut self,
        what: &str,
        states: &[&str],
        prepare: impl AsyncFnOnce(&mut House),
        disturb: impl AsyncFnOnce(&mut House, &str),
    ) -> RunRow {
        let make = async |house: &mut House| {
            prepare(house).await;
            house.begin().await
        };
        self.disturbed_run(what, states, make, disturb).await
    }

    /// As [`Pair::disturbed`], of a run that `make` has somebody make: its id.
    pub async fn disturbed_run(
        &mut self,
        what: &str,
        states: &[&str],
        make: impl AsyncFnOnce(&mut House) -> String,
        disturb: impl AsyncFnOnce(&mut House, &str),
    ) -> RunRow {
        self.next_night().await;
        let database = self.house.services().database.clone();
        let watch = Watch::begin(&database, DISTRICT, statuses_of(&self.house.sis, &[1, 2]));
        let run = make(&mut self.house).await;
        let beside = self.twin.begin(&self.house);
        disturb(&mut self.house, &run).await;
        let ended = self.house.ended(&run).await;
        let watched = watch.end().await;
        self.ledger.run(what, &watched);
        assert!(states.contains(&ended.state.as_str()), "{what}: one of {states:?}: {ended:#?}");
        if ended.state == "succeeded" {
            ended.check_counts();
        } else {
            assert!(!ended.why().trim().is_empty(), "{what}: it says why: {ended:#?}");
            let next = self.house.night().await;
            assert_eq!(next.state, "succeeded", "{what}, the night after: {next:#?}");
        }
        beside.check(&self.house, what).await;
        let disturbed = facts_of(&database, DISTRICT).await;
        self.ledger.compare(what, &self.undisturbed, &disturbed);
        if !self.parks {
            self.check_parked(what).await;
        }
        ended
    }

    /// Nothing was set aside for a person to look at.
    async fn check_parked(&self, what: &str) {
        let queues = self.house.rollcall(&["queues", "list", "--format", "json"]).await.expect_code(0).json();
        let none = queues.as_array().expect("a list of queues").iter().all(|queue| queue["parked"] == 0);
        if !none {
            let parked = self.house.rollcall(&["queues", "parked"]).await;
            panic!("{what}: healthy messages are parked: {}", parked.text());
        }
    }

    /// Ends workers and servers' corner, and writes down what was counted.
    pub async fn end(self) {
        self.twin.end().await;
        self.house.close().await;
        self.ledger.end();
    }
}

/// Who asked for a run is part of the history: where it was the schedule, the twin's was a person.
pub async fn as_if_asked_by_hand(house: &House) {
    let sql = "UPDATE history SET actor = (SELECT min(actor) FROM history WHERE district <> $1) \
               WHERE district = $1 AND actor = 'schedule'";
    sqlx::query(sql).bind(DISTRICT).execute(&house.services().database).await.expect("the history can be written");
}

async fn begin_twin(folder: PathBuf, settings: Vec<(String, String)>) -> Option<String> {
    let answer = Answer::of(&folder, &["run", TWIN, "--format", "json"], &settings).await;
    let rows: Vec<serde_json::Value> = (answer.code == 0).then(|| answer.read())?;
    Some(rows[0]["run"].as_str().expect("a run has an id").to_owned())
}

/// What two undisturbed nights leave behind. Embedded would do as well; scaled out compares like with like.
pub async fn undisturbed(config: SandboxConfig) -> BTreeMap<&'static str, String> {
    let mut house = House::scaled_out(config).await;
    house.start_workers(1);
    for night in [1, 2] {
        house.sis.set_night(night);
        assert_eq!(house.night().await.state, "succeeded");
    }
    let facts = facts(&house.services().database).await;
    house.close().await;
    facts
}

/// Waits until so many pages of a run are in.
pub async fn until_pages_are_in(house: &House, run: &str, pages: i64) {
    until("some pages to be in", Duration::from_mins(3), || async {
        let sql = "SELECT count(*) FROM page WHERE run = $1::uuid";
        let found: i64 = sqlx::query_scalar(sql).bind(run).fetch_one(&house.services().database).await.ok()?;
        (found >= pages).then_some(())
    })
    .await;
}
