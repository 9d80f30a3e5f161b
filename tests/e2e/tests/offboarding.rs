//! The end of a district: everything kept of it is erased, and nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{
    collections::BTreeSet,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::Duration,
};

use rollcall_e2e::{
    Answer, House, binary,
    house::{self, DISTRICT},
    points::{self, ARMED, armed},
    until,
};
use rollcall_proto::{
    bus::{
        Bus, ParkedFilter,
        amqp::{AmqpBus, AmqpConfig},
    },
    clock::{Clock as _, SystemClock},
    handler::Park,
    id::{ConnectionNo, DistrictId, RunId},
    message::{Applied, Body, Discover, FlagSync, Message, Plan, Release, StudentEvents},
    private,
    roster::Status,
    topology::Queue,
};
use rollcall_sandbox::SandboxConfig;
use serde_json::Value;

const LIMIT: Duration = Duration::from_mins(1);

const ERASE: [&str; 5] = ["district", "erase", DISTRICT, "--confirm", DISTRICT];

fn sis() -> SandboxConfig {
    SandboxConfig { students: 120, seed: 41, today: house::today(), ..SandboxConfig::default() }
}

/// Rows by table, of every table that belongs to districts.
async fn rows(house: &House) -> Vec<(String, i64)> {
    let database = &house.services().database;
    let sql = "SELECT table_name::text FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
               WHERE column_name = 'district' AND table_schema = 'public' AND table_type = 'BASE TABLE' ORDER BY 1";
    let tables: Vec<String> = sqlx::query_scalar(sql).fetch_all(database).await.unwrap();
    let mut rows = Vec::new();
    for table in tables {
        let sql = format!("SELECT count(*) FROM {table} WHERE district = '{DISTRICT}'");
        rows.push((table, sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(database).await.unwrap()));
    }
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_district_is_told_as_such_and_can_be_listed() {
    let house = House::embedded(sis()).await;
    house.rollcall(&["district", "remove", DISTRICT]).await.expect_code(0);
    let refused = house.rollcall(&["run", DISTRICT, "--wait"]).await.expect_code(1);
    for part in ["was removed on 20", "district apply FILE", "district erase test-isd --confirm test-isd"] {
        assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
    }
    assert!(!refused.stderr.contains("the store failed"), "{}", refused.stderr);
    let listed = async |args: &[&str]| house.rollcall(args).await.expect_code(0).stdout.contains(DISTRICT);
    assert!(!listed(&["district", "list"]).await);
    assert!(listed(&["district", "list", "--removed"]).await);
    house.apply().await;
    assert!(!listed(&["district", "list", "--removed"]).await);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_district_leaves_a_certificate_and_one_entry_of_the_audit_trail() {
    let mut house = House::scaled_out(sis()).await;
    house.start_workers(1);
    assert_eq!(house.night().await.state, "succeeded");
    let students = house.students().await.len();
    let certificate = house.folder().join("certificate.json");
    let certificate = certificate.to_string_lossy();
    let erase = ["district", "erase", DISTRICT, "--confirm", DISTRICT, "--certificate", &certificate];

    let served = house.rollcall(&erase).await.expect_code(1);
    assert!(served.stderr.contains("district remove"), "{}", served.stderr);
    house.rollcall(&["district", "remove", DISTRICT]).await.expect_code(0);
    let other = house.rollcall(&["district", "erase", DISTRICT, "--confirm", "another"]).await.expect_code(1);
    assert!(other.stderr.contains("--confirm"), "{}", other.stderr);
    assert_eq!(house.students().await.len(), students, "nothing was erased by what was refused");

    // A first try that was refused has left no file in the way.
    let erased = house.rollcall(&erase).await.expect_code(0).json();
    assert_eq!(erased["rows"]["student"].as_u64(), Some(students as u64));
    assert!(erased["rows"]["history"].as_u64() > Some(0) && erased["rows"]["page"].as_u64() > Some(0), "{erased}");
    assert_eq!(written_in(&certificate), erased);
    let left: Vec<_> = rows(&house).await.into_iter().filter(|(_, rows)| *rows > 0).collect();
    assert_eq!(left, [("audit".to_owned(), 1)]);
    let remains = erased["remains"].to_string();
    assert!(remains.contains("tables were vacuumed") && remains.contains("write-ahead log"), "{remains}");
    let never = house.rollcall(&["district", "erase", "another", "--confirm", "another"]).await.expect_code(1);
    assert!(never.stderr.contains("there is no district"), "{}", never.stderr);

    // Said again, it says the same, and writes the same over what it wrote.
    assert_eq!(house.rollcall(&erase).await.expect_code(0).json(), erased);
    assert_eq!(written_in(&certificate), erased);
    assert_eq!(rows(&house).await.into_iter().map(|(_, rows)| rows).sum::<i64>(), 1);

    house.apply().await;
    assert_eq!(house.night().await.state, "succeeded", "it may come again, from nothing");
    house.check_roster().await;
    house.close().await;
}

fn written_in(certificate: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(certificate).unwrap()).unwrap()
}

/// A database and the files beside it, those that are there.
fn files(dir: &Path, database: &str) -> Vec<Vec<u8>> {
    private::database_files(&dir.join(database)).into_iter().filter_map(|path| fs::read(path).ok()).collect()
}

fn count(files: &[Vec<u8>], what: &[u8]) -> usize {
    files.iter().map(|file| file.windows(what.len()).filter(|window| *window == what).count()).sum()
}

/// How message bodies of some size begin.
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

#[tokio::test(flavor = "multi_thread")]
async fn an_embedded_district_is_erased_too() {
    let house = House::embedded(sis()).await;
    let dir = house.folder().join("data");
    assert_eq!(house.night().await.state, "succeeded");
    let students = house.students().await;
    // Short ones may be anything.
    let names = students.iter().filter_map(|row| row.last_name.as_deref()).filter(|name| name.len() >= 6);
    let names: BTreeSet<&str> = names.collect();
    let found = |names: &BTreeSet<&str>| {
        let store = files(&dir, "store.db");
        names.iter().filter(|name| count(&store, name.as_bytes()) > 0).count()
    };
    assert!(found(&names) > names.len() / 2, "names can be found in the file at all");
    house.rollcall(&["district", "remove", DISTRICT]).await.expect_code(0);
    // Nobody reads what is printed: the certificate is written all the same.
    let certificate = house.folder().join("certificate.json").to_string_lossy().into_owned();
    let line = format!("{} {} --certificate {certificate} | true", binary::rollcall().display(), ERASE.join(" "));
    let told = Answer::of_shell(house.folder(), &line, &house.settings()).await.expect_code(0);
    assert!(!told.stderr.contains("panicked"), "{}", told.stderr);
    let erased = written_in(&certificate);
    assert_eq!(erased["rows"]["student"].as_u64(), Some(students.len() as u64));
    assert!(erased["remains"].to_string().contains("written anew"), "{erased}");

    assert_eq!(found(&names), 0);
    // The entry that stays, in its table and two indexes.
    assert!(count(&files(&dir, "store.db"), DISTRICT.as_bytes()) <= 3);
    let bus = files(&dir, "bus.db");
    assert_eq!((count(&bus, &ZSTD), count(&bus, DISTRICT.as_bytes())), (0, 0));
    house.rollcall(&["students", "list", "--district", DISTRICT]).await.expect_code(1);
    house.apply().await;
    assert_eq!(house.night().await.state, "succeeded", "it may come again, from nothing");
    house.close().await;
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_was_open_to_others_is_closed_to_them() {
    let house = House::embedded(sis()).await;
    let dir = house.folder().join("data");
    let set = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    let open = || {
        set(&dir, 0o755);
        for name in ["store.db", "bus.db"] {
            set(&dir.join(name), 0o644);
        }
    };
    open();
    let report = house.rollcall(&["doctor", "--format", "json"]).await.expect_code(0).stdout;
    assert!(report.contains("its owner's alone"), "{report}");
    for name in ["store.db", "bus.db"] {
        assert_eq!(mode(&dir.join(name)), 0o600, "{name}");
    }
    assert_eq!(mode(&dir), 0o700);
    // Somebody else's files are in it: it is left as it is, and told of.
    open();
    fs::write(dir.join("letter.txt"), "").unwrap();
    let report = house.rollcall(&["doctor", "--format", "json"]).await.expect_code(0).stdout;
    assert!(report.contains("is open to others") && report.contains("chmod 700"), "{report}");
    assert_eq!((mode(&dir), mode(&dir.join("bus.db"))), (0o755, 0o600));
    house.close().await;
}

async fn bus(house: &House) -> AmqpBus {
    AmqpBus::connect(AmqpConfig::new(house.services().amqp_url())).await.unwrap()
}

/// A message that failed as often as it may. Nobody works on the queue meanwhile.
async fn park(bus: &AmqpBus, queue: Queue, message: Message) {
    bus.publish(&[message]).await.unwrap();
    let mut subscription = bus.subscribe(queue, 1).await.unwrap();
    let delivery = tokio::time::timeout(LIMIT, subscription.next()).await.unwrap().unwrap();
    let why = Park { reason: "store-refused", detail: "the database was full".to_owned() };
    subscription.park(&delivery, &why).await.unwrap();
}

fn message(run: RunId, body: Body) -> Message {
    Message::new(DISTRICT.parse::<DistrictId>().unwrap(), run, SystemClock.now(), body)
}

fn discover(run: RunId) -> Message {
    message(run, Body::Discover(Discover { connection: ConnectionNo(0) }))
}

async fn parked(bus: &AmqpBus) -> usize {
    let mut parked = 0;
    for queue in Queue::ALL {
        parked += bus.parked(queue, &ParkedFilter::default()).await.unwrap().len();
    }
    parked
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_an_erased_district_are_done_or_thrown_away() {
    let mut house = House::scaled_out(sis()).await;
    house.start_workers(1);
    let run = house.night().await.run.parse::<uuid::Uuid>().map(RunId).unwrap();
    house.stop_workers().await;
    let bus = bus(&house).await;
    park(&bus, Queue::Fetch, discover(run)).await;
    park(&bus, Queue::Applied, message(run, Body::Applied(Applied {}))).await;
    house.rollcall(&["district", "remove", DISTRICT]).await.expect_code(0);
    let erased = house.rollcall(&ERASE).await.expect_code(0).json();
    assert_eq!((erased["parked_messages"].as_u64(), parked(&bus).await), (Some(2), 0));

    // One that somebody had in hand meanwhile.
    park(&bus, Queue::Fetch, discover(run)).await;
    let list = ["queues", "parked", "--district", DISTRICT, "--format", "json"];
    assert_eq!(house.rollcall(&list).await.expect_code(0).json().as_array().unwrap().len(), 1);
    let again = house.rollcall(&ERASE).await.expect_code(0).json();
    assert_eq!((again["parked_messages"].as_u64(), parked(&bus).await), (Some(3), 0));
    assert_eq!(again["rows"], erased["rows"]);
    let none = house.rollcall(&list).await.expect_code(1);
    assert!(none.stderr.contains("there is no district"), "{}", none.stderr);

    // What was doubled, or late, and comes to the workers now.
    let students = StudentEvents { batch: 0, run_seq: 1, status: Status::Enrolled, events: Vec::new() };
    let flags = FlagSync { student: None, program: None };
    let bodies = [
        Body::Plan(Plan { large: false }),
        Body::Release(Release {}),
        Body::Applied(Applied {}),
        Body::Students(students),
        Body::FlagSync(flags),
    ];
    let late: Vec<_> = bodies.into_iter().map(|body| message(run, body)).chain([discover(run)]).collect();
    bus.publish(&late).await.unwrap();
    house.start_workers(1);
    house.start_worker(house::Role::FlagSync);
    let told = || {
        let logs = house.logs();
        let lines = logs.iter().flat_map(|(_, log)| log.lines()).filter(|line| line.contains("or was erased, is done"));
        let ids = late.iter().filter(|late| lines.clone().any(|line| line.contains(&late.id.to_string()))).count();
        // Nobody has that district's flags.
        let all = ids == late.len() - 1;
        async move { all.then_some(()) }
    };
    until("all of them to be done", LIMIT, told).await;
    assert_eq!(parked(&bus).await, 0);
    house.close().await;
}

/// Whatever is printed as reached, in its order.
fn commits(log: &str) -> Vec<String> {
    points::reached(log).into_iter().filter(|point| !points::only_reads(point)).collect()
}

/// A night, and then the district is removed.
async fn leave(house: &House, bus: &AmqpBus) -> u64 {
    let night = house.night().await;
    assert_eq!(night.state, "succeeded");
    let students = house.students().await.len() as u64;
    house.rollcall(&["district", "remove", DISTRICT]).await.expect_code(0);
    // After its end, so that no worker is asked for it.
    park(bus, Queue::Flags, Message::flag_sync(DISTRICT.parse().unwrap(), None, SystemClock.now())).await;
    students
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_killed_at_each_commit_is_finished_by_the_next_and_certified() {
    let mut house = House::scaled_out(sis()).await;
    house.start_workers(1);
    let bus = bus(&house).await;
    leave(&house, &bus).await;
    let certificate = house.folder().join("certificate.json");
    let path = certificate.to_string_lossy().into_owned();
    let erase = [&ERASE[..], &["--certificate", &path]].concat();
    let undisturbed = house.rollcall_with(&erase, &[(ARMED, "*=note")]).await.expect_code(0);
    let reached = commits(&undisturbed.stderr);
    let of_tables = reached.iter().filter(|point| point.starts_with("commit/erase a district from ")).count();
    assert_eq!(of_tables, 2 * 36, "{reached:?}");
    assert!(reached.contains(&"commit/erase a district/after".to_owned()), "{reached:?}");

    house.apply().await;
    let students = leave(&house, &bus).await;
    fs::remove_file(&certificate).unwrap();
    let mut left = points::todays(reached, 10);
    let (all, mut kills) = (left.len(), 0);
    let erased = loop {
        let answer = house.rollcall_with(&erase, &[(ARMED, &armed(&left))]).await;
        let Some(point) = points::killed_at(&answer.stderr) else { break answer.expect_code(0).json() };
        assert!(left.remove(&point), "killed at {point}, which was not armed");
        assert!(!certificate.exists(), "a certificate of what is not done, at {point}");
        kills += 1;
    };
    assert_eq!((kills, left.len()), (all, 0), "never reached: {left:?}");
    assert_eq!(serde_json::from_str::<Value>(&fs::read_to_string(&certificate).unwrap()).unwrap(), erased);
    assert_eq!(erased["rows"]["student"].as_u64(), Some(students), "over all calls");
    assert_eq!((erased["parked_messages"].as_u64(), parked(&bus).await), (Some(1), 0));
    let left: Vec<_> = rows(&house).await.into_iter().filter(|(_, rows)| *rows > 0).collect();
    assert_eq!(left, [("audit".to_owned(), 2)], "an entry for each erasure");
    house.close().await;
}
