//! Nights in which something dies. The roster must end as in a night in which nothing does.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use rollcall_e2e::{
    House, Ledger, Pair, Role, RunRow,
    house::{self, DISTRICT},
    pair::{TWIN, Twin, as_if_asked_by_hand, small, until_pages_are_in},
    points::ARMED,
    private::{PrivateServers, Stop},
    roster::{Facts, facts_of},
    services::Servers,
    until, until_told,
    watch::{Allowed, Watch, from_nothing, statuses_of},
};
use rollcall_sandbox::SandboxConfig;

/// Each answer takes a while, so that there is a mid-run to be hit.
fn district(seed: u64) -> SandboxConfig {
    SandboxConfig {
        students: 700,
        seed,
        today: house::today(),
        change_percent: 20.0,
        contact_percent: 40,
        latency_ms: 15,
        ..SandboxConfig::default()
    }
}

async fn check_ended_well(house: &House, run: &str) -> RunRow {
    let run = house.ended(run).await;
    assert_eq!((run.state.as_str(), run.parked), ("succeeded", 0), "{run:#?}");
    run.check_counts();
    house.check_roster().await;
    run
}

/// Kills, each time starting another, at random moments of each night.
const KILLS: u64 = 4;

/// What students may be seen as in the night that has the second one after it, or in that one.
fn watched_for(house: &House, night: u32) -> Allowed {
    if night == 1 { from_nothing(statuses_of(&house.sis, &[1])) } else { statuses_of(&house.sis, &[1, 2]) }
}

/// The moments of a night's kills, drawn from as long as it lasts if nothing is killed: what is waited before each. A kill makes the
/// night longer, so that the next one meets it too.
fn pauses(random: &mut fastrand::Rng, undisturbed: Duration) -> Vec<Duration> {
    let mut moments: Vec<Duration> = (0..KILLS).map(|_| undisturbed.mul_f64(random.f64())).collect();
    moments.sort_unstable();
    let before = std::iter::once(Duration::ZERO).chain(moments.clone());
    before.zip(&moments).map(|(before, moment)| moment.saturating_sub(before)).collect()
}

/// Whether a run in this state may be met by a kill.
fn is_open(state: &str) -> bool {
    ["queued", "running"].contains(&state)
}

/// Kills a worker of `role` (SIGKILL) at random moments of two nights, each time starting another: how many kills met the run. Beside each
/// night a twin has one, which first shows how long it lasts undisturbed.
async fn killed_at_random(role: Role, seed: u64, ledger: &mut Ledger) -> usize {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut house = House::scaled_out(district(seed)).await;
    let twin = Twin::paced_beside(&house, district(seed)).await;
    house.start_workers(1);
    let database = house.services().database.clone();
    let mut met = 0;
    for night in [1, 2] {
        let what = format!("seed {seed}, night {night}");
        let undisturbed = twin.night(&house, night).await;
        let pauses = pauses(&mut random, twin.lasted(&house).await);
        house.sis.set_night(night);
        let watch = Watch::begin(&database, DISTRICT, watched_for(&house, night));
        let run = house.begin().await;
        let beside = twin.begin(&house);
        for pause in pauses {
            // The moment is what the test is about: nothing is waited for here.
            tokio::time::sleep(pause).await;
            house.take_worker(role).kill();
            // Open still, it was open when the worker was killed.
            met += usize::from(house.services().run_state(&run).await.is_some_and(|state| is_open(&state)));
            house.start_worker(role);
        }
        check_ended_well(&house, &run).await;
        ledger.run(&what, &watch.end().await);
        ledger.faults(KILLS);
        beside.check(&house, &what).await;
        ledger.compare(&what, &undisturbed, &house.facts().await);
    }
    twin.end().await;
    house.close().await;
    met
}

/// One seed in the everyday tests, more with `./test --full`.
async fn over_seeds(role: Role, test: &str) {
    let mut ledger = Ledger::begin(test, &format!("kill -9 of a {} at random moments", role.word()));
    let mut met = 0;
    for seed in 1..=house::repetitions(1, 8) {
        met += killed_at_random(role, seed, &mut ledger).await;
    }
    assert!(met > 0, "no kill of a {} met a run that was open", role.word());
    ledger.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn fetchers_killed_at_random_moments_change_nothing() {
    over_seeds(Role::Fetcher, "fetchers_killed_at_random_moments_change_nothing").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn classifiers_killed_at_random_moments_change_nothing() {
    over_seeds(Role::Classifier, "classifiers_killed_at_random_moments_change_nothing").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_killed_at_random_moments_change_nothing() {
    over_seeds(Role::Writer, "writers_killed_at_random_moments_change_nothing").await;
}

/// What two undisturbed nights leave behind in a directory, and how long each lasted.
async fn undisturbed_embedded(seed: u64) -> (Facts, [Duration; 2]) {
    let house = House::embedded(district(seed)).await;
    let mut lasted = [Duration::ZERO; 2];
    for (night, lasted) in (1..).zip(&mut lasted) {
        house.sis.set_night(night);
        let began = Instant::now();
        assert_eq!(house.night().await.state, "succeeded");
        *lasted = began.elapsed();
    }
    let facts = house.facts().await;
    house.close().await;
    (facts, lasted)
}

/// The only process there is: the queue and the store are its directory.
#[tokio::test(flavor = "multi_thread")]
async fn an_embedded_server_killed_at_random_moments_changes_nothing() {
    let test = "an_embedded_server_killed_at_random_moments_changes_nothing";
    let mut ledger = Ledger::begin(test, "kill -9 of an embedded server at random moments");
    let mut random = fastrand::Rng::with_seed(5);
    let (undisturbed, lasted) = undisturbed_embedded(5).await;
    let house = House::embedded(district(5)).await;
    let mut met = 0;
    for (night, lasted) in (1..).zip(lasted) {
        house.sis.set_night(night);
        let watch = Watch::begin_in(&house.embedded_store(), watched_for(&house, night));
        let mut server = house.start("serve", &["-v", "serve"]);
        let run = house.begin().await;
        for pause in pauses(&mut random, lasted) {
            tokio::time::sleep(pause).await;
            server.kill();
            met += usize::from(is_open(&house.show(&run).await.state));
            server = house.start("serve", &["-v", "serve"]);
        }
        check_ended_well(&house, &run).await;
        ledger.run(&format!("night {night}"), &watch.end().await);
        ledger.faults(KILLS);
    }
    assert!(met > 0, "no kill of the server met a run that was open");
    ledger.compare(test, &undisturbed, &house.facts().await);
    house.close().await;
    ledger.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_stopped_in_order_lose_nothing() {
    let mut house = House::scaled_out(district(9)).await;
    house.start_workers(1);
    let run = house.begin().await;
    until_some_pages_are_in(&house).await;
    for worker in house.workers() {
        let status = worker.terminate(Duration::from_secs(30)).await;
        assert!(status.success(), "a worker told to stop ends in order: {status}");
    }
    house.start_workers(1);
    check_ended_well(&house, &run).await;
    house.close().await;
}

/// Waits until the run is in its middle: some pages are in, and it has not ended.
async fn until_some_pages_are_in(house: &House) {
    until("some pages to be in", Duration::from_mins(1), || async {
        let pages: i64 = sqlx::query_scalar("SELECT count(*) FROM page")
            .fetch_one(&house.services().database)
            .await
            .expect("pages can be counted");
        (pages >= 5).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_purged_or_deleted_in_mid_run_are_filled_again_from_the_store() {
    let test = "queues_purged_or_deleted_in_mid_run_are_filled_again_from_the_store";
    let ledger = Ledger::begin(test, "all queues purged three times in a row; all queues deleted");
    let mut pair = Pair::begin(Servers::shared(), 11, ledger).await;
    pair.disturbed("queues purged", &["succeeded"], async |house, run| {
        until_pages_are_in(house, run, 5).await;
        // Whatever is on its way is taken away, and what the workers publish for a while too.
        for _ in 0..3 {
            let queues = house.services().purge_queues().await;
            assert!(queues.iter().any(|name| name == "rollcall.collect"), "{queues:?}");
        }
    })
    .await;
    pair.disturbed("queues deleted", &["succeeded"], async |house, run| {
        until_pages_are_in(house, run, 5).await;
        house.services().delete_queues().await;
    })
    .await;
    pair.ledger.faults(4);
    pair.end().await;
}

/// A district's board is damaged in mid-run, and every message of it and of its twin is lost: the twin's run, which began
/// later, goes on in each of its stages, and what is wrong is told with its name.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_cannot_be_read_keeps_no_other_waiting() {
    let test = "a_run_that_cannot_be_read_keeps_no_other_waiting";
    let mut ledger =
        Ledger::begin(test, "a run's board damaged in its second look, and all messages of two districts lost");
    let mut house = House::on(Servers::shared(), small(43)).await;
    let _twin = Twin::beside(&house, small(43)).await;
    let poison = house.begin().await;
    let healthy = house.begin_of(TWIN).await;
    house.services().purge_queues().await;
    let database = house.services().database.clone();
    for sql in [
        "UPDATE pull SET state = 'fetching', board = '\\xdeadbeef' WHERE run = $1::uuid",
        "UPDATE run SET stage = 'recheck', state = 'running' WHERE id = $1::uuid",
        "UPDATE run SET touched_at = touched_at - interval '1 hour' WHERE ended_at IS NULL OR id = $1::uuid",
    ] {
        sqlx::query(sql).bind(&poison).execute(&database).await.unwrap();
    }
    let check = ["reconcile", "--check", "--format", "json"];
    let rows = house.rollcall(&check).await.expect_code(1).json();
    let told: Vec<_> =
        rows.as_array().unwrap().iter().map(|row| [&row["disagreement"], &row["district"], &row["run"]]).collect();
    assert_eq!(told, [["unreadable", DISTRICT, &poison], ["pages-lost", TWIN, &healthy]], "{rows:#}");
    assert!(rows[0]["detail"].as_str().unwrap().contains("runs cancel"), "{rows:#}");
    let mended = house.rollcall(&["reconcile"]).await.expect_code(1);
    assert!(mended.stderr.contains("--check"), "{}", mended.stderr);
    house.services().purge_queues().await;

    house.start_worker(Role::Fetcher);
    house.start_worker_with(Role::Classifier, &[(ARMED, "publish/run.classify/before=kill")]);
    // The twin is pulled, and nobody hears of it.
    house.take_worker(Role::Classifier).ended(Duration::from_mins(2)).await;
    house.start_worker(Role::Classifier);
    house.start_worker(Role::Writer);
    let ended = house.ended(&healthy).await;
    assert_eq!(ended.state, "succeeded", "{ended:#?}");
    for (role, chore) in [(Role::Fetcher, "fetching"), (Role::Classifier, "planning")] {
        let worker = house.worker(role);
        let line = until("the reconcilers to say whose run it is", Duration::from_mins(1), || {
            let log = worker.log();
            let line = log.lines().find(|line| line.contains("cannot be looked after") && line.contains(chore));
            std::future::ready(line.map(str::to_owned))
        })
        .await;
        assert!(line.contains(DISTRICT) && line.contains(&poison), "{line}");
    }

    house.rollcall(&["runs", "cancel", &poison]).await.expect_code(0);
    assert_eq!(house.night().await.state, "succeeded");
    house.rollcall(&check).await.expect_code(0);
    ledger.faults(3);
    ledger.compare(test, &facts_of(&database, TWIN).await, &house.facts().await);
    house.close().await;
    ledger.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_restarted_or_killed_in_mid_run_is_found_again() {
    let test = "a_broker_restarted_or_killed_in_mid_run_is_found_again";
    let ledger = Ledger::begin(test, "RabbitMQ restarted in order; RabbitMQ killed and started again");
    let servers = PrivateServers::start();
    let mut pair = Pair::begin(servers.servers(), 13, ledger).await;
    for how in [Stop::InOrder, Stop::AtOnce] {
        pair.disturbed(&format!("{how:?}"), &["succeeded"], async |house, run| {
            until_pages_are_in(house, run, 5).await;
            servers.stop_broker(how);
            servers.start_broker();
        })
        .await;
        pair.ledger.faults(1);
    }
    for worker in pair.house.workers() {
        assert!(worker.is_running(), "no worker had to be started again: {}", worker.log());
    }
    pair.end().await;
}

/// Each of them sees that the night is due.
#[tokio::test(flavor = "multi_thread")]
async fn two_schedulers_make_one_run() {
    let test = "two_schedulers_make_one_run";
    let ledger = Ledger::begin(test, "three schedulers that all see that a run is due");
    let mut pair = Pair::begin(Servers::shared(), 17, ledger).await;
    let mut made = None;
    let due = async |house: &mut House| {
        house.start_workers(2);
        house.district.schedule = "at = \"00:00\"\nweekends = true".to_owned();
        house.apply().await;
        // The schedule counts from when the district was taken in; this one has been there for long.
        execute(house, "UPDATE district SET schedule_since = schedule_since - interval '3 days' WHERE district = $1")
            .await;
        let run =
            until_told("a scheduled run", Duration::from_mins(2), || async { scheduled(house).await.pop() }).await;
        made = Some(Instant::now());
        run
    };
    let run = pair
        .disturbed_run("three schedulers", &["succeeded"], due, async |house, run| {
            house.ended(run).await;
            as_if_asked_by_hand(house).await;
        })
        .await;
    assert_eq!(run.trigger, "scheduled");
    pair.ledger.faults(2);
    assert_eq!(pair.house.night().await.state, "succeeded");
    // Every scheduler has looked since: what is shown is that nothing more is made.
    let made = made.expect("a run was made");
    tokio::time::sleep((TICK + Duration::from_secs(5)).saturating_sub(made.elapsed())).await;
    assert_one_for_each_date(&pair.house).await;
    pair.end().await;
}

/// How often a fetcher looks for runs that are due.
const TICK: Duration = Duration::from_secs(20);

/// Ids of the district's scheduled runs, newest first.
pub(super) async fn scheduled(house: &House) -> Vec<String> {
    of_scheduled(house, "run").await
}

/// No local date has two, where midnight has come in between too.
pub(super) async fn assert_one_for_each_date(house: &House) {
    let dates = of_scheduled(house, "as_of").await;
    let different: BTreeSet<&String> = dates.iter().collect();
    assert!(
        !dates.is_empty() && different.len() == dates.len(),
        "one run of {DISTRICT} for each local date: {dates:?}"
    );
}

async fn of_scheduled(house: &House, column: &str) -> Vec<String> {
    let runs = house.runs().await.into_iter().filter(|run| run["trigger"] == "scheduled");
    runs.map(|run| run[column].as_str().unwrap().to_owned()).collect()
}

/// As a superuser, of the district.
async fn execute(house: &House, sql: &'static str) {
    sqlx::query(sql).bind(DISTRICT).execute(&house.services().database).await.unwrap();
}
