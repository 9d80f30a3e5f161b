//! Processes that are told to stop, or that stand still and go on as if nothing had been.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use rollcall_e2e::{
    House, Ledger, Pair, Process, Role, collector,
    house::{DISTRICT, repetitions},
    pair::until_pages_are_in,
    process::signal,
    services::Servers,
    until, until_told,
};
use rollcall_sandbox::{Fault, FaultKind, Quirks};
use serde_json::{Value, json};

use super::{
    failpoints::{ANEW, all_shown, campus, import, program},
    faults::{assert_one_for_each_date, scheduled},
    web::site,
};

/// Longer than anything is waited for: how long it took is looked at afterwards.
const LIMIT: Duration = Duration::from_secs(40);

/// Whoever is told to stop has ended within ten seconds, and on a busy machine it is seen a little later. Less than what it would take
/// with its last spans' own three seconds behind its work.
const IN_ORDER: Duration = Duration::from_secs(12);

/// After a second signal nothing is waited for: far less than the work in hand would take.
const AT_ONCE: Duration = Duration::from_secs(6);

/// The answers of one listing begin and never end.
fn hanging() -> Quirks {
    let fault = Fault {
        kind: FaultKind::HangAfterHeaders,
        object: Some("EntryWithdrawal".to_owned()),
        page: None,
        times: None,
    };
    Quirks { faults: vec![fault], ..Quirks::default() }
}

/// Calls for the listing whose answers hang.
fn calls(house: &House) -> u64 {
    house.sis.stats().requests_by_object.get("EntryWithdrawal").copied().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_told_to_stop_drains_within_ten_seconds_and_says_what_it_left() {
    let test = "a_worker_told_to_stop_drains_within_ten_seconds_and_says_what_it_left";
    let ledger = Ledger::begin(test, "SIGTERM, once: with work that ends, with work that does not; and twice");
    let mut pair = Pair::begin(Servers::shared(), 41, ledger).await;
    pair.disturbed("each role once", &["succeeded"], async |house, run| {
        until_pages_are_in(house, run, 3).await;
        for role in Role::ALL {
            let (status, took) = house.worker(role).told_to_stop(LIMIT).await;
            assert!(status.success(), "{role:?} ends in order: {status}");
            assert!(took < IN_ORDER, "{role:?}: {took:?}");
            drop(house.take_worker(role));
            house.start_worker(role);
        }
    })
    .await;
    pair.ledger.faults(3);

    for signals in [1, 2] {
        let before = calls(&pair.house);
        pair.house.sis.set_quirks(hanging());
        pair.disturbed(&format!("a hanging SIS, {signals} signals"), &["succeeded"], async |house, _| {
            until("a request to hang", Duration::from_mins(1), || async { (calls(house) > before).then_some(()) })
                .await;
            let mut fetcher = house.take_worker(Role::Fetcher);
            if signals == 2 {
                until_heard(&fetcher).await;
            }
            let (status, took) = fetcher.told_to_stop(LIMIT).await;
            assert!(status.success(), "it ends in order: {status}");
            check_stopped(signals, took, &fetcher.log());
            house.sis.set_quirks(Quirks::default());
            house.start_worker(Role::Fetcher);
        })
        .await;
        pair.ledger.faults(signals);
    }
    pair.end().await;
}

/// The one that stood still still believes that its pages, and the night, are its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_that_stood_still_for_a_minute_makes_no_second_run() {
    let test = "a_scheduler_that_stood_still_for_a_minute_makes_no_second_run";
    let ledger = Ledger::begin(test, "two schedulers, one stopped (SIGSTOP) beyond its leases and resumed");
    let mut pair = Pair::begin(Servers::shared(), 42, ledger).await;
    pair.house.start_worker(Role::Fetcher);
    let mut resumed_after = Duration::ZERO;
    pair.disturbed("a fetcher that stands still", &["succeeded"], async |house, run| {
        until_pages_are_in(house, run, 3).await;
        let mut frozen = house.take_worker(Role::Fetcher);
        signal(frozen.id(), "STOP");
        let begun = Instant::now();
        // What it had in hand is nobody's until the reconciler deals it again (25 s), and the broker gives its
        // deliveries to the other one (20 s).
        let ended = house.ended(run).await;
        assert_eq!(ended.state, "succeeded", "the other one finishes the night: {ended:#?}");

        house.district.schedule = "at = \"00:00\"\nweekends = true".to_owned();
        house.apply().await;
        sqlx::query("UPDATE district SET schedule_since = schedule_since - interval '3 days' WHERE district = $1")
            .bind(DISTRICT)
            .execute(&house.services().database)
            .await
            .expect("the district's row can be changed");
        let made =
            until_told("a scheduled run", Duration::from_mins(1), || async { scheduled(house).await.pop() }).await;
        assert_eq!(house.ended(&made).await.state, "succeeded");
        let long_enough = Duration::from_secs(repetitions(26, 60));
        until("it to have stood still for long enough", Duration::from_mins(2), || async {
            (begun.elapsed() >= long_enough).then_some(())
        })
        .await;
        resumed_after = begun.elapsed();
        signal(frozen.id(), "CONT");
        // The time of its next tick has long come: it ticks at once.
        let night = house.night().await;
        assert_eq!(night.state, "succeeded", "{night:#?}");
        assert_one_for_each_date(house).await;
        house.district.schedule = "enabled = false".to_owned();
        house.apply().await;
        let status = frozen.terminate(LIMIT).await;
        assert!(status.success(), "it goes on in order, and ends in order: {status}");
    })
    .await;
    assert!(resumed_after > Duration::from_secs(25), "longer than any lease of a page: {resumed_after:?}");
    pair.ledger.faults(1);
    pair.end().await;
}

/// What the test locks in the database, a statement of a process waits for.
async fn until_something_waits(house: &House) {
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    until("a statement to wait for the lock", Duration::from_mins(1), || async {
        let count: i64 = sqlx::query_scalar(waiting).fetch_one(&house.services().database).await.unwrap();
        (count > 0).then_some(())
    })
    .await;
}

async fn until_heard(process: &Process) {
    signal(process.id(), "TERM");
    until("the first signal to be heard", LIMIT, || {
        std::future::ready(process.log().contains("work in hand is finished first").then_some(()))
    })
    .await;
}

/// How a process with work in hand stops after one signal, and after two.
fn check_stopped(signals: u64, took: Duration, log: &str) {
    if signals == 1 {
        assert!(log.contains("Stopped with work in hand; it is given back."), "it says what it left: {log}");
        assert!(took < IN_ORDER, "{took:?}");
    } else {
        assert!(log.contains("stopped at once by a second signal"), "{log}");
        assert!(took < AT_ONCE, "{took:?}");
    }
}

const LOCK: &str = "LOCK TABLE flag IN ACCESS EXCLUSIVE MODE";

#[tokio::test(flavor = "multi_thread")]
async fn flag_sync_told_to_stop_gives_back_what_it_has_in_hand() {
    let (mut house, students) = campus(&program(ANEW, "create-new")).await;
    // Nor does it wait for a collector that takes a connection, and never answers.
    let collector = TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = collector::settings("http/protobuf", format!("http://{}", collector.local_addr().unwrap()));
    let settings: Vec<_> = settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    for signals in [1, 2] {
        import(&house, ANEW, &students, 10 + signals).await;
        let mut lock = house.services().database.begin().await.unwrap();
        sqlx::query(LOCK).execute(&mut *lock).await.unwrap();
        house.start_worker_with(Role::FlagSync, &settings);
        until_something_waits(&house).await;
        let mut worker = house.take_worker(Role::FlagSync);
        if signals == 2 {
            until_heard(&worker).await;
        }
        let (status, took) = worker.told_to_stop(LIMIT).await;
        assert!(status.success(), "it ends in order: {status}");
        check_stopped(signals, took, &worker.log());
        // The collector would be waited for three seconds.
        assert!(signals == 1 || took < Duration::from_millis(2_900), "{took:?}");
        lock.rollback().await.unwrap();
    }
    assert!(house.sis.campus_flags().is_empty(), "nothing was pushed yet");
    house.start_worker(Role::FlagSync);
    until("each flag to be shown once", Duration::from_mins(5), || async {
        all_shown(&house, &students, 12).await.then_some(())
    })
    .await;
    assert_eq!(house.sis.campus_flags().len(), students.len());
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_site_told_to_stop_answers_what_it_was_asked_and_at_a_second_word_does_not() {
    let (house, _) = campus(&program(ANEW, "create-new")).await;
    let add = ["integrations", "add", "--district", DISTRICT, "--scope", "flags.read", "--format", "json", "Flags"];
    let added = house.rollcall(&add).await.expect_code(0).json();
    let form = json!({
        "grant_type": "client_credentials",
        "client_id": added[0]["client_id"], "client_secret": added[0]["client_secret"],
    });
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    for signals in [1, 2] {
        let mut web = house.start(&format!("web-{signals}"), &["web", "--listen", "127.0.0.1:0"]);
        let site = site(&web).await;
        let token = client.post(site.join("oauth2/token").unwrap()).form(&form).send().await.unwrap();
        let token: Value = token.json().await.unwrap();
        let token = token["access_token"].as_str().unwrap();
        let mut lock = house.services().database.begin().await.unwrap();
        sqlx::query(LOCK).execute(&mut *lock).await.unwrap();
        let asked = tokio::spawn(client.get(site.join("api/v1/flags").unwrap()).bearer_auth(token).send());
        until_something_waits(&house).await;
        until_heard(&web).await;
        let heard = Instant::now();
        if signals == 1 {
            lock.rollback().await.unwrap();
            assert_eq!(asked.await.unwrap().unwrap().status().as_u16(), 200, "what it was asked it answers");
            assert!(web.ended(LIMIT).await.success());
            assert!(!web.log().contains("second signal"), "{}", web.log());
            assert!(heard.elapsed() < IN_ORDER, "{:?}", heard.elapsed());
        } else {
            let (status, took) = web.told_to_stop(LIMIT).await;
            assert!(status.success(), "it ends in order: {status}");
            assert!(web.log().contains("stopped at once by a second signal"), "{}", web.log());
            assert!(took < AT_ONCE, "{took:?}");
            assert!(asked.await.unwrap().is_err(), "nobody is there to answer");
            lock.rollback().await.unwrap();
        }
    }
    house.close().await;
}
