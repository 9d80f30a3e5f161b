//! What people on duty see: every query of every dashboard has data after a night, and each alert fires in a drill that
//! makes its trouble with real processes, and rests again afterwards.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{net::SocketAddr, path::Path, time::Duration};

use rollcall_e2e::{
    District, House, Process,
    binary::workspace,
    house::{self, DISTRICT},
    pair::until_pages_are_in,
    ports::free_addresses,
    private::{PrivateServers, Stop},
    prometheus::{Prometheus, impatient_alerts},
    until,
};
use rollcall_sandbox::{
    AuthQuirks, CampusFault, CampusFaults, DataQuirks, Fault, FaultKind, Quirks, RetryAfter, SandboxConfig, Strike,
    Throttle,
};
use serde_json::Value;

/// From a trouble to its alert: a look at queues takes 10 s, one at the store 15 s.
const TO_FIRE: Duration = Duration::from_mins(1);

const ROLES: [&str; 4] = ["fetcher", "classifier", "writer", "flag-sync"];

/// The classifier panics over the first pages of all.
const PANICS_ONCE: (&str, &str) = ("ROLLCALL_FAILPOINTS", "commit/store pages/before=1*panic(drill)");

/// One installation, measured. Fields are dropped in order: workers first, whose logs lie in the house.
struct Observed {
    workers: Vec<Process>,
    house: House,
    addresses: [SocketAddr; 4],
    prometheus: Prometheus,
    servers: PrivateServers,
}

impl Observed {
    async fn start() -> Self {
        let servers = PrivateServers::start();
        let config = SandboxConfig {
            students: 300,
            seed: 41,
            today: house::today(),
            change_percent: 12.0,
            contact_percent: 40,
            ..SandboxConfig::default()
        };
        let mut house = House::on(servers.servers(), config).await;
        // Scheduled for the other end of the day: nothing starts by itself.
        let at = house::local_now() + chrono::TimeDelta::hours(12);
        house.district.schedule = format!("at = \"{}\"\nweekends = true", at.format("%H:%M"));
        house.apply().await;
        let addresses = free_addresses();
        let prometheus = Prometheus::start(house.folder(), &addresses, &impatient_alerts()).await;
        let mut observed = Self { house, addresses, workers: Vec::new(), prometheus, servers };
        for role in ROLES {
            let settings: &[_] = if role == "classifier" { &[PANICS_ONCE] } else { &[] };
            observed.start_worker_with(role, &[], settings);
        }
        observed
    }

    fn start_worker(&mut self, role: &str) {
        self.start_worker_with(role, &[], &[]);
    }

    /// Traces go to a collector that is not there, which must cost nothing but spans.
    fn start_worker_with(&mut self, role: &str, further_args: &[&str], settings: &[(&str, &str)]) {
        let position = ROLES.iter().position(|of| *of == role).unwrap();
        let address = self.addresses[position].to_string();
        let further = settings.iter().chain(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")]);
        let further = further.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let settings: Vec<_> = self.house.settings().into_iter().chain(further).collect();
        let args = [&["-v", "worker", role, "--listen", &address], further_args].concat();
        let worker = Process::start(role, self.house.folder(), &args, &settings);
        self.workers.insert(position.min(self.workers.len()), worker);
    }

    fn kill_worker(&mut self, role: &str) {
        let position = ROLES.iter().position(|of| *of == role).unwrap();
        self.workers.remove(position).kill();
    }

    /// Waits until all of these fire.
    async fn fires(&self, alerts: &[&str]) {
        for alert in alerts {
            until(&format!("{alert} to fire"), TO_FIRE, || async {
                self.prometheus.firing().await.contains(*alert).then_some(())
            })
            .await;
        }
    }

    /// Waits until none of these fires.
    async fn rests(&self, alerts: &[&str]) {
        for alert in alerts {
            until(&format!("{alert} to rest"), TO_FIRE * 2, || async {
                (!self.prometheus.firing().await.contains(*alert)).then_some(())
            })
            .await;
        }
    }

    /// Waits until a query has data, and says what it is about when it never has.
    async fn has_data(&self, what: &str, query: &str) {
        until(&format!("data for {what}: {query}"), TO_FIRE, || async {
            let samples = self.prometheus.query(query).await;
            samples.iter().any(|sample| !sample.value().is_nan()).then_some(())
        })
        .await;
    }

    async fn execute(&self, sql: &'static str) {
        sqlx::query(sql).execute(&self.house.services().database).await.expect("a superuser may do this");
    }
}

/// As Grafana puts its variables in.
fn substituted(expression: &str) -> String {
    let values = [("$__rate_interval", "2m"), ("$district", DISTRICT), ("$queue", ".+"), ("$kind", ".+")];
    let text = values.into_iter().fold(expression.to_owned(), |text, (name, value)| text.replace(name, value));
    assert!(!text.contains('$'), "a variable that this test does not know: {expression}");
    text
}

/// Every query of a dashboard, with the panel or variable that asks it.
fn queries(path: &Path) -> Vec<(String, String)> {
    let board: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let named = |name: &Value, query: &str| (format!("{} ({name})", path.display()), query.to_owned());
    let mut queries = Vec::new();
    for panel in list(&board["panels"]) {
        let targets = list(&panel["targets"]);
        queries.extend(targets.iter().map(|target| named(&panel["title"], target["expr"].as_str().unwrap())));
    }
    for variable in list(&board["templating"]["list"]) {
        let query = variable["query"].as_str().unwrap();
        let (metric, label) = query.trim_start_matches("label_values(").trim_end_matches(')').split_once(", ").unwrap();
        queries.push(named(&variable["name"], &format!("{metric}{{{label}!=\"\"}}")));
    }
    queries
}

/// The selectors within an expression: metric names with their braces.
fn selectors(expression: &str) -> Vec<String> {
    let starts = expression.match_indices("rollcall_").map(|(at, _)| at);
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    starts
        .map(|at| {
            let rest = &expression[at..];
            let name = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
            let braces = rest[name..].strip_prefix('{').and_then(|inner| inner.find('}')).map_or(0, |end| end + 2);
            rest[..name + braces].to_owned()
        })
        .collect()
}

async fn every_query_has_data(observed: &Observed) {
    let mut boards = 0;
    for entry in std::fs::read_dir(workspace().join("deploy/grafana/dashboards")).unwrap() {
        boards += 1;
        for (what, query) in queries(&entry.unwrap().path()) {
            observed.has_data(&what, &substituted(&query)).await;
        }
    }
    assert_eq!(boards, 4);
    let rules = observed.prometheus.rules().await;
    assert!(rules.len() >= 27, "{rules:?}");
    for rule in rules {
        assert_eq!(rule.health, "ok", "{rule:?}");
        for selector in selectors(&rule.query) {
            observed.has_data(&rule.name, &selector).await;
        }
    }
}

/// A first night on which the SIS asks for patience now and then, a handler panics, and the database refuses a student; and a
/// message that nobody can read.
async fn a_troubled_night(observed: &Observed) {
    let house = &observed.house;
    // What is to be seen growing has to be seen before.
    observed.has_data("panics", "rollcall_message_panics_total{queue=\"collect\"}").await;
    let throttle = Throttle { every: 9, retry_after: RetryAfter::Seconds(1) };
    house.sis.set_quirks(Quirks { too_many_requests: Some(throttle), ..Quirks::default() });
    let stories = house.sis.expected_students(1);
    let (refused, _) = stories.iter().find(|(_, story)| story.status == "ENROLLED").unwrap();
    let add = format!("ALTER TABLE student ADD CONSTRAINT unlucky CHECK (student_id <> '{refused}')");
    sqlx::query(sqlx::AssertSqlSafe(add)).execute(&house.services().database).await.unwrap();
    assert_eq!(house.night().await.state, "partial");
    let amqp = url::Url::parse(&house.services().amqp_url()).unwrap();
    let vhost = amqp.path().trim_start_matches('/');
    let servers = observed.servers.servers();
    servers.put(vhost, "rollcall", "page.raw.test-isd", &serde_json::json!({}), "nothing of ours").await;
    let alerts = ["RollcallPanics", "RollcallMessagesParked", "RollcallStudentsParked", "RollcallDatabaseRefuses"];
    observed.fires(&alerts).await;
}

/// As the runbooks have it: mend, replay, and the next night is good. What is no message of ours is thrown away.
async fn the_trouble_is_mended(observed: &Observed) {
    let house = &observed.house;
    house.sis.set_quirks(Quirks::default());
    observed.execute("ALTER TABLE student DROP CONSTRAINT unlucky").await;
    house.rollcall(&["queues", "replay", "write"]).await.expect_code(0);
    let discard = ["queues", "discard", "collect", "--reason", "undecodable", "--format", "json"];
    assert_eq!(house.rollcall(&discard).await.expect_code(0).json().as_array().unwrap().len(), 1);
    observed.rests(&["RollcallPanics", "RollcallMessagesParked", "RollcallStudentsParked"]).await;
    house.check_roster().await;
}

/// Somebody locks the roster, and the writer has one connection.
async fn the_database_is_slow(observed: &mut Observed) {
    observed.kill_worker("writer");
    observed.start_worker_with("writer", &[], &[("ROLLCALL_DATABASE_CONNECTIONS", "1")]);
    let mut lock = observed.house.services().database.begin().await.unwrap();
    sqlx::query("LOCK TABLE student IN SHARE MODE").execute(&mut *lock).await.unwrap();
    observed.house.sis.set_night(2);
    let run = observed.house.begin().await;
    observed.fires(&["RollcallDatabaseConnectionsExhausted"]).await;
    lock.rollback().await.unwrap();
    assert_eq!(observed.house.ended(&run).await.state, "succeeded");
    observed.rests(&["RollcallDatabaseConnectionsExhausted"]).await;
    observed.house.check_roster().await;
}

/// The writer is gone; a held run is approved meanwhile, and its changes wait.
async fn nobody_writes(observed: &mut Observed) {
    observed.house.sis.set_night(3);
    let held = observed.house.night().await;
    assert_eq!(held.state, "held");
    observed.fires(&["RollcallRunHeld"]).await;
    observed.kill_worker("writer");
    observed.house.rollcall(&["runs", "approve", &held.run]).await.expect_code(0);
    let alerts = ["RollcallProcessDown", "RollcallNotMeasured", "RollcallNobodyConsumes", "RollcallRunStuck"];
    observed.fires(&alerts).await;
    observed.start_worker("writer");
    assert_eq!(observed.house.ended(&held.run).await.state, "succeeded");
    observed.rests(&alerts).await;
    observed.rests(&["RollcallRunHeld"]).await;
    observed.house.check_roster().await;
}

/// The secret is the wrong one all of a sudden, and later the SIS is down.
async fn the_sis_fails(observed: &mut Observed) {
    let auth = AuthQuirks { access_expired: true, ..AuthQuirks::default() };
    observed.house.sis.set_quirks(Quirks { auth, ..Quirks::default() });
    // A new fetcher, that does not live on a token it has.
    observed.kill_worker("fetcher");
    observed.fires(&["RollcallNotMeasured"]).await;
    observed.start_worker("fetcher");
    observed.rests(&["RollcallNotMeasured"]).await;
    assert_eq!(observed.house.night().await.state, "failed");
    observed.fires(&["RollcallRunsFailing"]).await;
    let down = Fault { kind: FaultKind::Status(503), object: None, page: None, times: None };
    observed.house.sis.set_quirks(Quirks { faults: vec![down], ..Quirks::default() });
    let run = observed.house.begin().await;
    observed.fires(&["RollcallSisFailing", "RollcallRetries"]).await;
    // Back, and slow. What the alerts took to fire may have been longer than a page is asked for.
    observed.house.sis.set_quirks(Quirks { latency_ms: Some(600), ..Quirks::default() });
    observed.house.ended(&run).await;
    assert_eq!(observed.house.night().await.state, "succeeded");
    observed.fires(&["RollcallSisSlow"]).await;
    observed.house.sis.set_quirks(Quirks::default());
    observed.rests(&["RollcallSisFailing", "RollcallRunsFailing"]).await;
}

/// Enrollments that name nobody: their page cannot be read, the run is partial, and takes nobody out.
async fn a_page_makes_no_sense(observed: &Observed) {
    let house = &observed.house;
    let stories = house.sis.expected_students(house.sis.night());
    let (one, _) = stories.iter().find(|(_, story)| story.status == "ENROLLED" && story.listed).unwrap();
    let data = DataQuirks { nobodys_enrollments: Some(*one), ..DataQuirks::default() };
    house.sis.set_quirks(Quirks { data, ..Quirks::default() });
    let run = house.night().await;
    assert_eq!((run.state.as_str(), run.removed), ("partial", 0), "{run:#?}");
    observed.fires(&["RollcallPagesUndecodable"]).await;
    house.sis.set_quirks(Quirks::default());
    house.rollcall(&["queues", "discard", "collect", "--run", &run.run]).await.expect_code(0);
    assert_eq!(house.night().await.state, "succeeded");
    house.check_roster().await;
    observed.rests(&["RollcallPagesUndecodable"]).await;
}

/// One request at a time for what four lanes want, and a SIS that takes seconds for each.
async fn more_work_than_workers(observed: &mut Observed) {
    observed.kill_worker("fetcher");
    let slow = |latency_ms| Quirks { latency_ms: Some(latency_ms), ..Quirks::default() };
    // Discovery is one message, however long it takes: what waits is pages.
    observed.house.sis.set_quirks(slow(300));
    observed.start_worker_with("fetcher", &["--concurrency", "1"], &[]);
    let run = observed.house.begin().await;
    until_pages_are_in(&observed.house, &run, 1).await;
    observed.house.sis.set_quirks(slow(3_000));
    observed.fires(&["RollcallQueueOld"]).await;
    observed.house.sis.set_quirks(Quirks::default());
    observed.kill_worker("fetcher");
    observed.start_worker("fetcher");
    assert_eq!(observed.house.ended(&run).await.state, "succeeded");
    observed.rests(&["RollcallQueueOld"]).await;
}

/// A district on Campus, which takes no flag for a while.
async fn campus_refuses_flags(observed: &Observed) {
    let house = &observed.house;
    let (key, secret) = house.sis.campus_vendor();
    std::fs::write(house.folder().join("vendor.secret"), secret).unwrap();
    let mut district =
        District::new("campus-isd", &house.sis.campus_base_url(), house.sis.client_id(), house.sis.client_secret());
    "oneroster".clone_into(&mut district.kind);
    let vendor = format!("vendor_key = {key:?}\nvendor_secret = {{ file = \"vendor.secret\" }}\n");
    district.connection = format!("token_url = {:?}\n{vendor}", house.sis.campus_token_url());
    let begins = house::today() - chrono::Days::new(30);
    district.tables =
        format!("[[program]]\nname = \"Section 504\"\nflags = true\noption = \"create-new\"\ncutover = {begins}\n");
    let path = district.write(house.folder());
    house.rollcall(&["district", "apply", &path.to_string_lossy()]).await.expect_code(0);
    assert_eq!(house.night_of(&district.id).await.state, "succeeded");
    let list = ["students", "list", "--district", &district.id, "--format", "json"];
    let students: Vec<Value> = house.rollcall(&list).await.expect_code(0).read();
    let student = students.iter().find(|row| row["status"] == "ENROLLED").unwrap()["student_id"].as_str().unwrap();

    let refuses = Strike { fault: CampusFault::Status(409), writes_only: true, only: None, times: None };
    house.sis.set_campus_faults(CampusFaults { strikes: vec![refuses], ..CampusFaults::default() });
    let csv = format!(
        "document_id,student_id,program,kind,status,start,end,file\nD1,{student},Section 504,Plan,completed,{begins},,\n"
    );
    let path = house.folder().join("documents.csv");
    std::fs::write(&path, csv).unwrap();
    let import = ["documents", "import", "--district", &district.id, &path.to_string_lossy()];
    house.rollcall(&import).await.expect_code(0);
    observed.fires(&["RollcallFlagsFailing"]).await;
    house.sis.set_campus_faults(CampusFaults::default());
    house.rollcall(&["flags", "push", "--district", &district.id]).await.expect_code(0);
    until("the flag to be shown", TO_FIRE, || async { (house.sis.campus_flags().len() == 1).then_some(()) }).await;
    observed.rests(&["RollcallFlagsFailing"]).await;
}

/// A run that nobody can read, until it is cancelled; and the database gives up nothing any more, until its right is given back.
async fn chores_fail(observed: &mut Observed) {
    let house = &observed.house;
    house.sis.set_quirks(Quirks { latency_ms: Some(3_000), ..Quirks::default() });
    let run = house.begin().await;
    for sql in [
        "UPDATE pull SET state = 'fetching', board = '\\xdeadbeef' WHERE run = $1::uuid",
        "UPDATE run SET stage = 'recheck', state = 'running', touched_at = touched_at - interval '1 hour' WHERE id = $1::uuid",
    ] {
        sqlx::query(sql).bind(&run).execute(&house.services().database).await.unwrap();
    }
    observed.fires(&["RollcallPassedOver"]).await;
    house.rollcall(&["runs", "cancel", &run]).await.expect_code(0);
    house.sis.set_quirks(Quirks::default());
    observed.rests(&["RollcallPassedOver"]).await;

    // As if it had gone on for days: whoever tries again is refused, and the hour of the last success stays.
    observed.execute("REVOKE DELETE ON plan_batch FROM rollcall_app").await;
    observed.execute("UPDATE chore SET claimed_at = claimed_at - interval '3 days'").await;
    observed.kill_worker("classifier");
    observed.start_worker("classifier");
    until("a classifier to be refused", TO_FIRE, || async {
        observed.workers[1].log().contains("what aged out could not be deleted").then_some(())
    })
    .await;
    observed.fires(&["RollcallTidyingOverdue"]).await;
    observed.execute("GRANT DELETE ON plan_batch TO rollcall_app").await;
    observed.execute("UPDATE chore SET claimed_at = claimed_at - interval '3 days'").await;
    observed.kill_worker("classifier");
    observed.start_worker("classifier");
    observed.rests(&["RollcallTidyingOverdue"]).await;
}

/// Short of memory, then gone; nobody has to be started again.
async fn the_broker_fails(observed: &mut Observed) {
    observed.servers.control_broker("set_vm_memory_high_watermark absolute 1MB");
    // The broker blocks who publishes: something has to be. What this one cannot send, a fetcher sends again.
    let publishing = observed.house.start("publishing", &["run", DISTRICT]);
    observed.fires(&["RollcallBrokerBlocked"]).await;
    observed.servers.control_broker("set_vm_memory_high_watermark 0.6");
    observed.rests(&["RollcallBrokerBlocked"]).await;
    drop(publishing);
    observed.servers.stop_broker(Stop::InOrder);
    let alerts = ["RollcallBrokerAway", "RollcallNotReady"];
    observed.fires(&alerts).await;
    observed.servers.start_broker();
    observed.rests(&alerts).await;
}

async fn the_database_fails(observed: &Observed) {
    observed.servers.stop_database();
    let alerts = ["RollcallDatabaseAway", "RollcallNotReady"];
    observed.fires(&alerts).await;
    observed.servers.start_database();
    observed.rests(&alerts).await;
}

/// Killed and started five times within a minute.
async fn a_process_starts_again_and_again(observed: &mut Observed) {
    let address = observed.addresses[3];
    let started = format!("changes(rollcall_process_start_time_seconds{{instance=\"{address}\"}}[1m])");
    for restart in 1..=4_u32 {
        observed.kill_worker("flag-sync");
        observed.start_worker("flag-sync");
        until(&format!("restart {restart} to be measured"), TO_FIRE, || async {
            let samples = observed.prometheus.query(&started).await;
            samples.iter().any(|sample| sample.value() >= f64::from(restart)).then_some(())
        })
        .await;
    }
    observed.fires(&["RollcallRestarting"]).await;
    // And then stays away: the last one of a role that not every house runs.
    observed.kill_worker("flag-sync");
    observed.fires(&["RollcallRoleGone"]).await;
    observed.start_worker("flag-sync");
    observed.rests(&["RollcallRoleGone"]).await;
}

/// The last good night was three days ago, as far as the store knows.
async fn a_district_is_overdue(observed: &mut Observed) {
    // The night that is due now gets nowhere.
    observed.kill_worker("classifier");
    observed.execute("UPDATE run SET ended_at = ended_at - interval '3 days'").await;
    observed.execute("UPDATE district SET schedule_since = schedule_since - interval '3 days'").await;
    observed.fires(&["RollcallDistrictOverdue"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_has_data_and_every_drill_fires_its_alerts() {
    let mut observed = Observed::start().await;
    a_troubled_night(&observed).await;
    observed.fires(&["RollcallSpansLost"]).await;
    the_trouble_is_mended(&observed).await;
    the_database_is_slow(&mut observed).await;
    nobody_writes(&mut observed).await;
    the_database_fails(&observed).await;
    the_broker_fails(&mut observed).await;
    more_work_than_workers(&mut observed).await;
    // What the fetcher has met with is asked for below: from here on it stays the same process.
    the_sis_fails(&mut observed).await;
    a_page_makes_no_sense(&observed).await;
    campus_refuses_flags(&observed).await;
    // All that a series may be about has been.
    every_query_has_data(&observed).await;
    chores_fail(&mut observed).await;
    a_process_starts_again_and_again(&mut observed).await;
    a_district_is_overdue(&mut observed).await;
    let Observed { house, workers, .. } = observed;
    drop(workers);
    house.close().await;
}
