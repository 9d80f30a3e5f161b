//! What `deploy/` makes: nights on the broker's definitions, with a user for each role that may do what the role does and
//! no more.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{collections::BTreeMap, time::Duration};

use rollcall_e2e::{
    Answer, District, House, Process,
    binary::workspace,
    deployed::{BROKER_ROLES, CONTAINER_USER, NAME, WORKERS},
    house::{self, DISTRICT},
    local::{LocalServers, lives},
    private::PrivateServers,
    services::OVERHEARD,
    until, until_told,
};
use rollcall_proto::{
    bus::{
        Bus as _,
        amqp::{AmqpBus, AmqpConfig},
    },
    clock::{Clock as _, SystemClock},
    id::{ConnectionNo, ListingNo, PageNo, RunId},
    message::{Applied, Body, Discover, FlagPush, FlagSync, Message, Page, Plan, Release, StudentEvents},
    roster::Status,
    topology::{Queue, routing_key},
};
use rollcall_sandbox::{Quirks, RetryAfter, SandboxConfig, Throttle};
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};

use super::{
    rights::{check_who_reads_and_declares, check_who_restores},
    web::hand_in,
};

pub(super) fn district(seed: u64) -> SandboxConfig {
    SandboxConfig {
        students: 300,
        seed,
        today: house::today(),
        change_percent: 12.0,
        contact_percent: 40,
        ..SandboxConfig::default()
    }
}

/// RabbitMQ's words for a right that a user lacks. (While the broker has no users yet, it refuses the login instead.)
const REFUSED: &str = "ACCESS_REFUSED - access to";

/// Runs the command line as another user of the broker than the operators'.
async fn as_role(house: &House, role: &str, args: &[&str]) -> Answer {
    let deployed = house.as_deployed();
    Answer::of(house.folder(), args, &[deployed.settings(), deployed.urls(role)].concat()).await
}

/// The SIS asks for patience now and then: a retry needs rights of its own.
fn a_slow_night() -> Quirks {
    let throttle = Throttle { every: 9, retry_after: RetryAfter::Seconds(1) };
    Quirks { too_many_requests: Some(throttle), ..Quirks::default() }
}

/// Each queue has the policy that is meant for it. (The broker lays policies over new queues in its own time.)
async fn check_policies(house: &House) {
    let policies = until("each queue to have its policy", Duration::from_secs(30), || async {
        let (status, queues) = house.as_deployed().ask_as("monitoring", "queues/rollcall").await;
        assert_eq!(status, 200, "the monitoring user sees the queues: {queues}");
        let mut queues = queues.as_array().unwrap().clone();
        // The tests' own.
        queues.retain(|queue| queue["name"] != OVERHEARD);
        let policies: BTreeMap<String, String> = queues
            .iter()
            .filter_map(|queue| Some((queue["name"].as_str()?.to_owned(), queue["policy"].as_str()?.to_owned())))
            .collect();
        (policies.len() == queues.len()).then_some(policies)
    })
    .await;
    for (queue, policy) in &policies {
        let expected = if queue.ends_with(".parked") { "rollcall-parked" } else { "rollcall-work" };
        assert_eq!(policy, expected, "{queue}");
    }
    assert!(policies.len() >= 24, "{policies:?}");
}

/// A message in every parked queue, as one that waited there for a year; one of them says of no district that it is of it.
async fn park_long_ago(servers: &PrivateServers) -> Vec<String> {
    let mut ids = Vec::new();
    for queue in ["fetch", "collect", "plan", "plan-large", "write", "applied", "flags"] {
        let (id, properties) = house::parked_a_year_ago(if queue == "collect" { "" } else { DISTRICT });
        servers.servers().put(NAME, "amq.default", &format!("rollcall.{queue}.parked"), &properties, "old").await;
        ids.push(id);
    }
    ids
}

/// The classifier has looked when it started: they are gone, and each has an entry of the audit trail.
async fn check_aged(house: &House, servers: &PrivateServers, aged: &[String]) {
    until_told("what was parked long ago to be gone", Duration::from_mins(1), || async {
        let queues = house.rollcall(&["queues", "list", "--format", "json"]).await.expect_code(0).json();
        queues.as_array()?.iter().all(|queue| queue["parked"] == 0).then_some(())
    })
    .await;
    let sql = "SELECT detail FROM audit WHERE action = 'parked.expired' AND actor = 'retention'";
    let mut database = servers.servers().database;
    database.set_path(NAME);
    let mut connection = PgConnection::connect(database.as_str()).await.unwrap();
    let entries: Vec<String> = sqlx::query_scalar(sql).fetch_all(&mut connection).await.unwrap();
    for id in aged {
        assert!(entries.iter().any(|entry| entry.contains(id)), "{id} is not in {entries:?}");
    }
}

/// What each user may not do.
async fn check_limits(house: &House) {
    let deployed = house.as_deployed();
    for role in BROKER_ROLES {
        assert_eq!(deployed.ask_as(role, "overview").await.0, 401, "{role} has no business in the management API");
    }
    assert_eq!(deployed.ask_as("monitoring", "users").await.0, 401, "the monitoring user is no administrator");
    for (role, args) in [
        // No role but the classifier, which deletes what is old, reads what is kept aside, and none consumes what belongs to another.
        ("fetcher", &["queues", "parked", "collect"][..]),
        ("web", &["queues", "parked", "write"]),
        // A writer begins no run: its user may not publish to the fetchers. (The run is begun by the reconciler then.)
        ("writer", &["-v", "run", DISTRICT]),
    ] {
        let answer = as_role(house, role, args).await;
        assert!(answer.text().contains(REFUSED), "{role} may not: {answer:#?}");
    }
}

/// A user's own way to the broker.
async fn bus(house: &House, role: &str) -> AmqpBus {
    let (_, url) = house.as_deployed().urls(role).remove(0);
    AmqpBus::connect(AmqpConfig::new(url)).await.unwrap()
}

/// A message of each routing key, of a district that is not there.
fn one_of_each() -> Vec<Message> {
    let page = Page {
        connection: ConnectionNo(0),
        listing: ListingNo(0),
        page: PageNo(1),
        status: 200,
        asked_at: SystemClock.now(),
        took_ms: 0,
        content_type: None,
        body_bytes: 0,
        body: None,
        told: None,
    };
    let bodies = [
        Body::Discover(Discover { connection: ConnectionNo(0) }),
        Body::Page(page),
        Body::Plan(Plan { large: false }),
        Body::Plan(Plan { large: true }),
        Body::Release(Release {}),
        Body::Students(StudentEvents { batch: 0, run_seq: 1, status: Status::Enrolled, events: Vec::new() }),
        Body::Applied(Applied {}),
        Body::FlagSync(FlagSync { student: None, program: None }),
        Body::FlagPush(FlagPush {}),
    ];
    let message =
        |body| Message::new("nobody-isd".parse().unwrap(), RunId(uuid::Uuid::now_v7()), SystemClock.now(), body);
    bodies.into_iter().map(message).collect()
}

/// What the users of flags publish, and that they are refused everything else. (A night shows it of the others.)
async fn check_who_publishes_flags(house: &House) {
    for (role, own) in [("flag-sync", &["flag.sync", "flag.push"][..]), ("web", &["flag.sync"])] {
        let bus = bus(house, role).await;
        for message in one_of_each() {
            let key = routing_key(&message);
            let published = bus.publish(&[message]).await;
            if own.iter().any(|own| key.starts_with(own)) {
                published.unwrap_or_else(|error| panic!("{role} publishes {key}: {error}"));
            } else {
                let error = format!("{:?}", published.expect_err("another role's"));
                assert!(error.contains(REFUSED), "{role} may not publish {key}: {error}");
            }
        }
    }
    for (role, queue) in [("flag-sync", "flags"), ("flag-sync", "write"), ("web", "flags")] {
        let parked = as_role(house, role, &["queues", "parked", queue]).await;
        assert!(parked.text().contains(REFUSED), "{role} may not read what is parked: {parked:#?}");
    }
    // What was published is of a district that is not there.
    let bus = &bus(house, "ops").await;
    until("flag-sync to be done with it", Duration::from_mins(1), || async {
        let depths = bus.depths().await.ok()?;
        depths.iter().find(|depth| depth.queue == Queue::Flags).is_some_and(|depth| depth.waiting == 0).then_some(())
    })
    .await;
}

/// Beside the first district, which has none: a district with flags.
const OF_FLAGS: &str = "flags-isd";

/// Its file, as whoever installs writes it.
fn write_district_of_flags(house: &House) {
    let (key, secret) = house.sis.campus_vendor();
    let token_url = house.sis.campus_token_url();
    std::fs::write(house.folder().join("vendor.secret"), secret).unwrap();
    let base_url = house.sis.campus_base_url();
    let mut district = District::new(OF_FLAGS, &base_url, &house.district.client_id, &house.district.client_secret);
    "oneroster".clone_into(&mut district.kind);
    district.connection =
        format!("token_url = {token_url:?}\nvendor_key = {key:?}\nvendor_secret = {{ file = \"vendor.secret\" }}\n");
    let cutover = house::today() - chrono::Days::new(30);
    district.tables = format!(
        "[[program]]\nname = \"Special Education\"\nflags = true\noption = \"create-new\"\ncutover = {cutover}\n"
    );
    district.write(house.folder());
}

/// Where `web` listens on this machine; its public address is a proxy's.
async fn listens(web: &Process) -> url::Url {
    until("the HTTP side to listen", Duration::from_mins(1), || async {
        let log = web.log();
        let (_, after) = log.split_once("listening for HTTP on ")?;
        format!("http://{}", after.split([';', '\n', '"']).next()?.trim()).parse().ok()
    })
    .await
}

async fn until_flags(house: &House, number: usize) {
    let what = format!("{number} flags in Campus");
    until(&what, Duration::from_mins(2), || async { (house.sis.campus_flags().len() == number).then_some(()) }).await;
}

/// A program hands documents in: `web` publishes under its user what has flag-sync look. Where that is lost, flag-sync
/// publishes under its own. Returns flag-sync, started again.
async fn check_flags(house: &House, web: &Process, mut flag_sync: Process) -> Process {
    write_district_of_flags(house);
    house.as_deployed().run_as("ops", house.folder(), &["district", "apply", &format!("{OF_FLAGS}.toml")]).await;
    assert_eq!(house.night_of(OF_FLAGS).await.state, "succeeded");
    let list = ["students", "list", "--district", OF_FLAGS, "--format", "json"];
    let students: Vec<Value> = house.rollcall(&list).await.expect_code(0).read();
    let mut students = students.iter().filter(|student| student["status"] == "ENROLLED");
    let mut student = || students.next().unwrap()["student_id"].as_str().unwrap().to_owned();
    let site = listens(web).await;
    hand_in(house, &site, OF_FLAGS, "IEP-1", &student()).await;
    until_flags(house, 1).await;

    assert!(flag_sync.terminate(Duration::from_secs(40)).await.success());
    let bus = bus(house, "ops").await;
    bus.purge(Queue::Flags).await.unwrap();
    hand_in(house, &site, OF_FLAGS, "IEP-2", &student()).await;
    assert_eq!(bus.purge(Queue::Flags).await.unwrap(), 1, "web has published");
    let flag_sync = house.as_deployed().start_worker("flag-sync", house.folder());
    until_flags(house, 2).await;
    assert!(!web.log().contains("the bus is away"), "{}", web.log());
    flag_sync
}

/// As docs/DEPLOY.md has it: a worker's login may not erase a district, the schema's owner may, and the certificate lies
/// beside the district's file.
async fn check_a_district_can_leave(house: &House) {
    let deployed = house.as_deployed();
    let text = std::fs::read_to_string(house.folder().join(format!("{DISTRICT}.toml"))).unwrap();
    let leaver = text.replacen(&format!("id = \"{DISTRICT}\""), "id = \"leaver-isd\"", 1);
    std::fs::write(house.folder().join("leaver-isd.toml"), leaver).unwrap();
    deployed.run_as("ops", house.folder(), &["district", "apply", "leaver-isd.toml"]).await;
    deployed.run_as("ops", house.folder(), &["district", "remove", "leaver-isd"]).await;
    let erase = ["district", "erase", "leaver-isd", "--confirm", "leaver-isd"];
    as_role(house, "ops", &erase).await.expect_code(1);
    let erase = [&erase[..], &["--certificate", "certificate.json"]].concat();
    let erased = deployed.run_as("owner", house.folder(), &erase).await;
    let certificate = std::fs::read_to_string(house.folder().join("certificate.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&certificate).unwrap(), erased);
    assert_eq!(erased["district"], "leaver-isd");
}

/// The workers' login may do what `rollcall_app` may: nothing without a district, and nothing to the schema.
async fn check_login(house: &House) {
    let (_, url) = house.as_deployed().urls("fetcher").pop().unwrap();
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let seen: i64 = sqlx::query_scalar("SELECT count(*) FROM student").fetch_one(&mut connection).await.unwrap();
    assert_eq!(seen, 0, "row-level security binds it");
    for sql in ["CREATE TABLE mine (id int)", "SET ROLE rollcall_owner", "DELETE FROM history", "CREATE ROLE mine"] {
        let error = sqlx::query(sql).execute(&mut connection).await.expect_err(sql);
        assert!(error.to_string().contains("permission denied"), "{sql}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_works_with_its_own_user_and_no_other_right() {
    let (servers, address) = PrivateServers::start_within_reach();
    let mut reached = servers.servers();
    reached.database.set_query(None);
    reached.database.set_ip_host(address).unwrap();
    let house = House::deployed(&reached, district(31)).await;
    let deployed = house.as_deployed();
    let aged = park_long_ago(&servers).await;
    // As docs/DEPLOY.md has it for a first district.
    deployed.run_as("ops", house.folder(), &["district", "apply", &format!("{DISTRICT}.toml")]).await;
    let mut workers = Vec::from(WORKERS.map(|role| deployed.start_worker(role, house.folder())));
    let flag_sync = workers.pop().unwrap();
    let web = deployed.start_web(house.folder());
    assert_eq!(house.night().await.state, "succeeded");
    house.check_roster().await;
    check_aged(&house, &servers, &aged).await;

    house.sis.set_night(2);
    house.sis.set_quirks(a_slow_night());
    assert_eq!(house.night().await.state, "succeeded");
    house.check_roster().await;
    house.sis.set_quirks(Quirks::default());

    // So does parking, and putting back to work.
    let nothing = serde_json::json!({});
    servers.servers().put(NAME, "rollcall", "page.raw.test-isd", &nothing, "nothing of ours").await;
    until_told("the garbage to be parked", Duration::from_secs(30), || async {
        let parked = house.rollcall(&["queues", "parked", "collect", "--format", "json"]).await.expect_code(0).json();
        (parked[0]["reason"] == "undecodable").then_some(())
    })
    .await;
    let replay =
        house.rollcall(&["queues", "replay", "collect", "--reason", "undecodable", "--wait"]).await.expect_code(1);
    assert!(replay.stderr.contains("parked again"), "it went back to work, and came back: {}", replay.stderr);

    check_policies(&house).await;
    let flag_sync = check_flags(&house, &web, flag_sync).await;
    workers.extend([flag_sync, web]);
    check_limits(&house).await;
    check_who_publishes_flags(&house).await;
    check_who_reads_and_declares(&house).await;
    check_who_restores(&house, &workers[2]).await;
    check_login(&house).await;
    check_a_district_can_leave(&house).await;
    workers.iter().for_each(check_rights);

    // A broker that has lost its disk starts from the definitions: so it is here, while everybody works.
    servers.lose_broker_data();
    servers.start_broker();
    deployed.import_definitions().await;
    assert_eq!(house.night().await.state, "succeeded");
    house.check_roster().await;
    // Between its users and its queues, the import has a moment in which a queue is missing, which nobody at work may make.
    assert!(workers.iter_mut().all(Process::is_running));
    house.ask_for_metrics().await;
    check_is_overheard(&house).await;
    drop(workers);
    check_nothing_is_left();
    house.close().await;
}

/// The search at the end has what it searches: spans and metrics of every worker, and messages' headers.
async fn check_is_overheard(house: &House) {
    let told = house.told().await;
    let text = |place: &str| told.iter().find(|(of, _)| of == place).map_or("", |(_, text)| text);
    for role in WORKERS {
        assert!(text("spans").contains(&format!("rollcall-{role}")), "{role} has a collector");
        assert!(text(&format!("metrics of deployed-{role}")).contains("rollcall_"), "{role} tells metrics");
    }
    assert!(text("metrics of deployed-web").contains("rollcall_"), "web tells metrics");
    assert!(text("headers of messages").contains(DISTRICT), "{}", text("headers of messages"));
}

/// No right is missing.
fn check_rights(worker: &Process) {
    let log = worker.log();
    let refused: Vec<&str> = log.lines().filter(|line| line.contains(REFUSED)).collect();
    assert_eq!(refused, Vec::<&str>::new(), "a worker lacks a right");
}

/// A container's file system is read-only: a worker writes no file, not even where everybody may.
fn check_nothing_is_left() {
    let user = CONTAINER_USER.to_string();
    let mut find = std::process::Command::new("find");
    find.args(["/tmp", "/var/tmp", "/dev/shm", "-xdev", "-user", &user]);
    let left = String::from_utf8(find.output().unwrap().stdout).unwrap();
    assert_eq!(left, "", "a worker has written files");
}

/// The line that has `deploy/local` start servers and exports what it prints: README.md and the script's own help show it.
const EXPORT: &str = "set -a; eval \"$(deploy/local up)\"; set +a";

#[tokio::test(flavor = "multi_thread")]
async fn local_servers_are_started_told_and_stopped() {
    for page in ["README.md", "deploy/local"] {
        let text = std::fs::read_to_string(workspace().join(page)).unwrap();
        assert!(text.contains(EXPORT), "{page} shows how to export what `deploy/local up` prints");
    }
    let local = LocalServers::new();
    let up = local.call("up");
    assert!(up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));
    let told = String::from_utf8(up.stdout).unwrap();
    let lines: Vec<(&str, &str)> = told.lines().filter_map(|line| line.split_once('=')).collect();
    let names: Vec<&str> = lines.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["ROLLCALL_AMQP_URL", "ROLLCALL_DATABASE_URL", "ROLLCALL_KEY"], "and nothing else: {told}");
    assert_eq!(told.lines().count(), 3, "{told}");
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "+-./:=@_%?".contains(letter);
    assert!(
        lines.iter().all(|(_, value)| value.chars().all(plain)),
        "nothing that a shell would read otherwise: {told}"
    );
    let (broker, database) = local.process_ids();
    assert!(lives(broker) && lives(database) && local.call("status").status.success());

    // As typed: both are up, so that this only tells of them again.
    let rollcall = rollcall_e2e::binary::rollcall().display();
    for verb in ["migrate", "doctor"] {
        let line = format!("{EXPORT}; exec {rollcall} {verb}");
        Answer::of_shell(&workspace(), &line, &local.settings()).await.expect_code(0);
    }
    assert_eq!(local.process_ids(), (broker, database), "nothing was started twice");

    let down = local.call("down");
    assert!(down.status.success() && down.stdout.is_empty(), "{}", String::from_utf8_lossy(&down.stderr));
    assert!(!lives(broker) && !lives(database), "both are stopped");
    assert_eq!(local.call("status").status.code(), Some(1));
}
