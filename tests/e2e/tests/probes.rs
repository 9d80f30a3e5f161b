//! Probes and metrics of real processes: what falls when, and what comes back.
#![allow(clippy::float_cmp, reason = "counts in a text are whole numbers")]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::time::Duration;

use rollcall_e2e::{
    House, Process,
    house::{self, DISTRICT},
    private::{PrivateServers, Stop},
    process::signal,
    until,
};
use rollcall_sandbox::SandboxConfig;
use serde_json::Value;

fn district() -> SandboxConfig {
    SandboxConfig { students: 120, seed: 41, today: house::today(), contact_percent: 40, ..SandboxConfig::default() }
}

/// Where a process serves metrics and health.
pub(crate) struct Probes(String);

impl Probes {
    pub(crate) async fn of(process: &Process) -> Self {
        Self(
            until("the process to say where it listens", Duration::from_secs(30), || async {
                let log = process.log();
                let (_, after) = log.split_once("metrics and health are served on ")?;
                after.lines().next().map(str::to_owned)
            })
            .await,
        )
    }

    /// Status and reasons; nothing while nobody answers.
    async fn ask(&self, what: &str) -> Option<(u16, Vec<String>)> {
        let answer = reqwest::get(format!("http://{}/health/{what}", self.0)).await.ok()?;
        let status = answer.status().as_u16();
        let verdict: Value = answer.json().await.ok()?;
        let reasons = verdict["reasons"].as_array()?.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        assert_eq!(verdict["ok"], status == 200);
        Some((status, reasons))
    }

    pub(crate) async fn until(&self, what: &str, status: u16) -> Vec<String> {
        until(&format!("/health/{what} to answer {status}"), Duration::from_mins(1), || async {
            self.ask(what).await.filter(|(is, _)| *is == status).map(|(_, reasons)| reasons)
        })
        .await
    }

    /// Has begun and is not started yet: an alert on what is not ready sees it.
    async fn waits_for_its_start(&self) {
        let starting = (503, vec!["starting".to_owned()]);
        assert_eq!(self.ask("startup").await.unwrap(), starting);
        assert_eq!(self.ask("ready").await.unwrap(), starting);
        assert_eq!(self.ask("live").await.unwrap(), (200, Vec::new()));
        let metrics = self.metrics().await;
        assert_eq!(value(&metrics, "rollcall_ready", &[]), Some(0.0), "{metrics}");
        assert_eq!(value(&metrics, "rollcall_draining", &[]), Some(0.0), "{metrics}");
    }

    /// When store and queues were last looked at with success, in seconds since 1970.
    pub(crate) async fn store_and_queues_seen(&self) -> (f64, f64) {
        let metrics = self.metrics().await;
        let seen = |name| value(&metrics, name, &[]).expect("it was looked at");
        (seen("rollcall_store_seen_timestamp_seconds"), seen("rollcall_queues_seen_timestamp_seconds"))
    }

    async fn metrics(&self) -> String {
        reqwest::get(format!("http://{}/metrics", self.0)).await.unwrap().text().await.unwrap()
    }
}

/// Seconds since 1970.
fn seconds() -> f64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64()
}

/// The value of a series: the first whose line begins with the name and has all of the labels.
fn value(metrics: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let has = |line: &str| labels.iter().all(|(label, value)| line.contains(&format!("{label}=\"{value}\"")));
    let named = |line: &str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
    let line = metrics.lines().find(|line| named(line) && has(line))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_falls_with_broker_and_database_and_while_draining_and_liveness_stays() {
    let servers = PrivateServers::start();
    let house = House::on(servers.servers(), SandboxConfig { latency_ms: 8_000, ..district() }).await;
    let mut fetcher = house.start("fetcher", &["worker", "fetcher", "--listen", "127.0.0.1:0"]);
    let probes = Probes::of(&fetcher).await;
    probes.until("startup", 200).await;
    probes.until("ready", 200).await;
    let environment = std::fs::read(format!("/proc/{}/environ", fetcher.id())).expect("a process of ours");
    let mut settings = environment.split(|byte| *byte == 0);
    assert!(settings.any(|setting| setting == b"MALLOC_ARENA_MAX=2"), "it started once more, with few arenas");

    servers.stop_broker(Stop::AtOnce);
    assert_eq!(probes.until("ready", 503).await, ["not-consuming fetch"]);
    assert_eq!(probes.ask("live").await.unwrap().0, 200, "no broker is no reason to be started anew");
    assert_eq!(probes.ask("startup").await.unwrap().0, 200, "what has started has started");
    assert_eq!(value(&probes.metrics().await, "rollcall_consumer_up", &[("queue", "fetch")]), Some(0.0));
    servers.start_broker();
    probes.until("ready", 200).await;
    assert!(value(&probes.metrics().await, "rollcall_consumer_restarts_total", &[("queue", "fetch")]) >= Some(1.0));

    servers.stop_database();
    assert_eq!(probes.until("ready", 503).await, ["store-unavailable"]);
    assert_eq!(probes.ask("live").await.unwrap().0, 200, "no database is no reason to be started anew either");
    assert_eq!(probes.ask("startup").await.unwrap().0, 200);
    servers.start_database();
    probes.until("ready", 200).await;

    // A request that takes eight seconds is in hand when the process is told to stop.
    house.begin().await;
    until("a request to be under way", Duration::from_mins(1), || async {
        let metrics = probes.metrics().await;
        (value(&metrics, "rollcall_sis_requests_in_flight", &[("kind", "skyward-qmlativ")]) == Some(1.0)).then_some(())
    })
    .await;
    signal(fetcher.id(), "TERM");
    assert_eq!(probes.until("ready", 503).await, ["draining"]);
    assert_eq!(probes.ask("live").await.unwrap().0, 200, "what drains lives");
    assert!(fetcher.terminate(Duration::from_secs(40)).await.success());
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_night_is_in_the_metrics_and_their_labels_are_bounded() {
    let house = House::embedded(district()).await;
    let begun = seconds();
    let mut serve = house.start("serve", &["serve", "--metrics-listen", "127.0.0.1:0"]);
    let probes = Probes::of(&serve).await;
    probes.until("ready", 200).await;
    let run = house.night().await;
    assert_eq!(run.state, "succeeded", "{run:#?}");
    let over = seconds();
    let metrics = until("queues and districts to be looked at after the night", Duration::from_mins(1), || async {
        let metrics = probes.metrics().await;
        let seen = |name| value(&metrics, name, &[]).is_some_and(|at| at > over);
        let both = seen("rollcall_queues_seen_timestamp_seconds") && seen("rollcall_store_seen_timestamp_seconds");
        both.then_some(metrics)
    })
    .await;
    let of = |name: &str, labels: &[(&str, &str)]| {
        value(&metrics, name, labels).unwrap_or_else(|| panic!("{name} {labels:?} in\n{metrics}"))
    };
    for queue in ["fetch", "collect", "plan", "write", "applied"] {
        assert!(of("rollcall_messages_total", &[("queue", queue), ("outcome", "done")]) >= 1.0, "{queue}");
        assert!(of("rollcall_message_age_seconds_count", &[("queue", queue)]) >= 1.0, "{queue}");
        assert_eq!(of("rollcall_messages_in_hand", &[("queue", queue)]), 0.0, "{queue}");
        assert_eq!(of("rollcall_queue_messages", &[("queue", queue)]), 0.0, "{queue}");
        assert_eq!(of("rollcall_queue_oldest_age_seconds", &[("queue", queue)]), 0.0, "{queue}");
        assert_eq!(of("rollcall_consumer_up", &[("queue", queue)]), 1.0, "{queue}");
    }
    assert!(of("rollcall_pages_total", &[("outcome", "decoded")]) >= 5.0);
    assert!(of("rollcall_page_rows_total", &[]) >= 120.0);
    assert_eq!(of("rollcall_students_planned_total", &[("change", "added")]), run.added as f64);
    assert_eq!(of("rollcall_students_applied_total", &[("outcome", "applied")]), run.applied as f64);
    assert_eq!(of("rollcall_runs_ended_total", &[("state", "succeeded")]), 1.0);
    assert_eq!(of("rollcall_runs_open", &[("stage", "pull")]), 0.0);
    assert_eq!(of("rollcall_districts", &[]), 1.0);
    assert_eq!(of("rollcall_district_runs_ended", &[("district", DISTRICT), ("state", "succeeded")]), 1.0);
    assert!(of("rollcall_last_success_timestamp_seconds", &[]) > 1.7e9);
    assert!(of("rollcall_district_last_success_timestamp_seconds", &[("district", DISTRICT)]) > 1.7e9);
    let kind = ("kind", "skyward-qmlativ");
    for operation in ["token", "data"] {
        let labels = [kind, ("operation", operation), ("status", "2xx")];
        assert!(of("rollcall_sis_request_duration_seconds_count", &labels) >= 1.0, "{operation}");
    }
    assert!(of("rollcall_sis_request_duration_seconds_bucket", &[kind, ("le", "0.005")]) >= 0.0, "a classic histogram");
    assert!(of("rollcall_store_transactions_total", &[("outcome", "committed")]) >= 10.0);
    assert!(of("rollcall_store_connections_max", &[]) >= 2.0);
    assert_eq!(of("rollcall_build_info", &[("role", "serve")]), 1.0);
    assert!(of("rollcall_process_resident_memory_bytes", &[]) > 1e6);
    let started = of("rollcall_process_start_time_seconds", &[]);
    assert!(begun <= started && started <= over, "{begun} {started} {over}");
    assert_eq!(of("rollcall_ready", &[]), 1.0);
    let labelled =
        |label: &str| [format!("{{{label}=\""), format!(",{label}=\"")].iter().any(|text| metrics.contains(text));
    assert!(labelled("queue") && labelled("role"), "this is how labels stand in\n{metrics}");
    for label in ["run", "student", "student_id", "message", "message_id"] {
        assert!(!labelled(label), "{label}");
    }
    assert!(serve.terminate(Duration::from_secs(40)).await.success());

    // A process that nobody asked to listen does not.
    let mut silent = house.start("silent", &["serve"]);
    until("it to serve", Duration::from_secs(30), || async { silent.log().contains("rollcall serves").then_some(()) })
        .await;
    assert!(!silent.log().contains("metrics and health"), "{}", silent.log());
    assert!(silent.terminate(Duration::from_secs(40)).await.success());
    house.close().await;
}

/// A database that takes connections and says nothing: who starts before it is alive, seen not to be ready, and gives up with words.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_says_nothing_is_not_waited_for_without_end() {
    let mut house = House::scaled_out(district()).await;
    // Connections are taken by the kernel; nobody reads what they say.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://nobody@{}/nothing", silent.local_addr().unwrap());
    house.extra.push(("ROLLCALL_DATABASE_URL".to_owned(), url));
    let mut fetcher = house.start("fetcher", &["worker", "fetcher", "--listen", "127.0.0.1:0"]);
    let probes = Probes::of(&fetcher).await;
    probes.waits_for_its_start().await;
    assert!(!fetcher.ended(Duration::from_secs(45)).await.success());
    let log = fetcher.log();
    let told =
        ["the database is unavailable while trying to connect to the database", "no answer from the server in time"];
    assert!(told.iter().all(|text| log.contains(text)), "{log}");
    house.extra.clear();
    house.close().await;
}

/// Who waits for a directory that another process hosts lives, and is seen not to be ready, until it takes over.
#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_another_to_end_lives_and_is_not_ready() {
    let house = House::embedded(district()).await;
    let mut first = house.start("first", &["serve", "--metrics-listen", "127.0.0.1:0"]);
    Probes::of(&first).await.until("ready", 200).await;
    let mut second = house.start("second", &["serve", "--metrics-listen", "127.0.0.1:0"]);
    let probes = Probes::of(&second).await;
    until("the second to wait", Duration::from_secs(30), || async {
        second.log().contains("another process hosts").then_some(())
    })
    .await;
    probes.waits_for_its_start().await;
    let stands_by = async |probes: &Probes| value(&probes.metrics().await, "rollcall_standby", &[]);
    assert_eq!(stands_by(&probes).await, Some(1.0), "it pages nobody");
    assert_eq!(stands_by(&Probes::of(&first).await).await, Some(0.0));
    assert!(first.terminate(Duration::from_secs(40)).await.success());
    probes.until("ready", 200).await;
    assert_eq!(stands_by(&probes).await, Some(0.0));
    until("its readiness to be told", Duration::from_secs(30), || async {
        (value(&probes.metrics().await, "rollcall_ready", &[]) == Some(1.0)).then_some(())
    })
    .await;
    assert!(second.terminate(Duration::from_secs(40)).await.success());
    house.close().await;
}

/// At the site's address too, which it takes at its start: one that is taken is told then, and not when the first has gone.
#[tokio::test(flavor = "multi_thread")]
async fn who_waits_with_a_site_answers_there_from_its_beginning() {
    let house = House::embedded(district()).await;
    let mut first = house.start("first", &["serve", "--metrics-listen", "127.0.0.1:0"]);
    Probes::of(&first).await.until("ready", 200).await;
    let mut second = house.start("second", &["serve", "--listen", "127.0.0.1:0"]);
    let site = until("the second to listen", Duration::from_secs(30), || async {
        let log = second.log();
        let (_, after) = log.split_once("health is served on ")?;
        after.split(';').next().map(str::to_owned)
    })
    .await;
    let told = async |path: &str| {
        let answer = reqwest::get(format!("http://{site}/{path}")).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    until("the second to wait", Duration::from_secs(30), || async {
        (value(&told("metrics").await.1, "rollcall_standby", &[]) == Some(1.0)).then_some(())
    })
    .await;
    assert_eq!(told("health/live").await.0, 200);
    let (status, text) = told("nothing").await;
    assert!(status == 503 && text.contains("not served here yet"), "{status}: {text}");

    let mut third = house.start("third", &["serve", "--listen", &site]);
    assert!(!third.ended(Duration::from_secs(45)).await.success());
    assert!(third.log().contains(&format!("listening for HTTP on {site}")), "{}", third.log());

    assert!(first.terminate(Duration::from_secs(40)).await.success());
    // A connection that is taken at the very moment is closed before its request is read, and asks again.
    let status =
        async |path: &str| reqwest::get(format!("http://{site}/{path}")).await.map(|answer| answer.status().as_u16());
    until("the second to take over", Duration::from_mins(1), || async {
        let statuses = (status("health/ready").await.ok()?, status("nothing").await.ok()?);
        (statuses == (200, 404)).then_some(())
    })
    .await;
    assert!(second.terminate(Duration::from_secs(40)).await.success());
    house.close().await;
}

/// Beside the site, and with an address for metrics alone: then the site's address has health only.
#[tokio::test(flavor = "multi_thread")]
async fn the_site_serves_metrics_unless_they_have_an_address_of_their_own() {
    let house = House::embedded(district()).await;
    let status = async |address: &str, path: &str| {
        reqwest::get(format!("http://{address}/{path}")).await.map(|answer| answer.status().as_u16()).ok()
    };
    for (args, on_site) in [
        (vec!["web", "--listen", "127.0.0.1:0"], 200),
        (vec!["web", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"], 404),
    ] {
        let mut web = house.start(&format!("web-{on_site}"), &args);
        let site = until("the site to listen", Duration::from_secs(30), || async {
            let log = web.log();
            let (_, after) = log.split_once("listening for HTTP on ")?;
            after.split(';').next().map(str::to_owned)
        })
        .await;
        until("the site to be ready", Duration::from_secs(30), || async {
            (status(&site, "health/ready").await == Some(200)).then_some(())
        })
        .await;
        assert_eq!(status(&site, "health/live").await, Some(200));
        assert_eq!(status(&site, "metrics").await, Some(on_site));
        if on_site == 404 {
            assert!(Probes::of(&web).await.metrics().await.contains("rollcall_build_info"));
        }
        assert!(web.terminate(Duration::from_secs(40)).await.success());
    }
    house.close().await;
}
