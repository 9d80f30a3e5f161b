//! Replays: a plan made again out of what the store kept, and parked students written after all.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::time::Duration;

use rollcall_e2e::{
    House, Ledger, Role, RunRow,
    house::{self, DISTRICT},
    pair::{TWIN, Twin},
    points::{self, ARMED, armed},
    roster::{Facts, assert_same},
    until, until_told,
    watch::{Watch, statuses_of},
};
use rollcall_proto::{
    bus::{
        Bus as _,
        amqp::{AmqpBus, AmqpConfig},
    },
    handler::Park,
    topology::Queue,
};
use rollcall_sandbox::{AuthQuirks, PagingQuirks, Quirks, SandboxConfig};
use serde_json::Value;

fn district() -> SandboxConfig {
    let today = house::today();
    SandboxConfig {
        students: 300,
        seed: 21,
        today,
        change_percent: 12.0,
        contact_percent: 40,
        ..SandboxConfig::default()
    }
}

async fn house() -> House {
    let mut house = House::scaled_out(district()).await;
    house.start_workers(1);
    assert_eq!(house.night().await.state, "succeeded");
    house
}

async fn execute(house: &House, sql: &'static str) {
    sqlx::query(sql).execute(&house.services().database).await.expect("a superuser may do this");
}

/// Replays a run and waits for what comes of it: the exit code and the run that was made.
async fn replayed(house: &House, run: &str, from: &str) -> (i32, RunRow) {
    let answer = house.rollcall(&["runs", "replay", run, "--from", from, "--wait", "--format", "json"]).await;
    assert!([0, 1, 3].contains(&answer.code), "{answer:#?}");
    let rows: Vec<Value> = answer.read();
    (answer.code, house.show(rows[0]["run"].as_str().unwrap()).await)
}

/// A second night, of whose new students one cannot be written, watched at every moment and beside a twin of whom all can.
struct Poisoned {
    house: House,
    twin: Twin,
    undisturbed: Facts,
    /// Who cannot be written: they are new on the second night.
    refused: String,
    ledger: Ledger,
}

impl Poisoned {
    async fn begin(test: &str, disturbance: &str) -> Self {
        let house = house().await;
        let twin = Twin::beside(&house, district()).await;
        twin.night(&house, 1).await;
        let undisturbed = twin.night(&house, 2).await;
        house.sis.set_night(2);
        let sql = "SELECT student_id FROM student WHERE district = $1 AND status = 'ENROLLED' AND student_id NOT IN
                   (SELECT student_id FROM student WHERE district = $2) ORDER BY student_id LIMIT 1";
        let new = sqlx::query_scalar(sql).bind(TWIN).bind(DISTRICT);
        let refused = new.fetch_one(&house.services().database).await.expect("somebody is new on the second night");
        Self { house, twin, undisturbed, refused, ledger: Ledger::begin(test, disturbance) }
    }

    async fn execute(&self, sql: String) {
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&self.house.services().database).await.unwrap();
    }

    /// The night: all but the one are written, and who is parked is told. `late` writes the one after all.
    async fn night(mut self, late: impl AsyncFnOnce(&Self, &RunRow, Value)) {
        let house = &self.house;
        let watch = Watch::begin(&house.services().database, DISTRICT, statuses_of(&house.sis, &[1, 2]));
        let beside = self.twin.begin(house);
        let run = house.night().await;
        self.ledger.faults(1);
        assert_eq!((run.state.as_str(), run.parked, run.applied + 1), ("partial", 1, run.events()), "{run:#?}");
        let listed = house.rollcall(&["queues", "parked", "write", "--run", &run.run, "--format", "json"]).await;
        let listed = listed.expect_code(0).json();
        assert_eq!(listed.as_array().unwrap().len(), 1, "one student, and no message: {listed:#}");
        assert_eq!(listed[0]["student_id"], self.refused);
        assert_eq!((&listed[0]["reason"], &listed[0]["run"]), (&"database-refused".into(), &run.run.as_str().into()));
        late(&self, &run, listed).await;
        let house = &self.house;
        let corrected = house.show(&run.run).await;
        assert_eq!((corrected.state.as_str(), corrected.parked, corrected.applied), ("succeeded", 0, run.events()));
        corrected.check_counts();
        assert_eq!(corrected.reason, None);
        self.ledger.run("a poison student", &watch.end().await);
        beside.check(house, "beside a poison student").await;
        house.check_roster().await;
        self.ledger.compare("written later", &self.undisturbed, &house.facts().await);
        self.twin.end().await;
        self.house.close().await;
        self.ledger.end();
    }
}

fn replay(run: &RunRow) -> [&str; 7] {
    ["queues", "replay", "write", "--run", &run.run, "--format", "json"]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_student_whom_the_database_refuses_is_parked_alone_and_written_later() {
    let test = "a_student_whom_the_database_refuses_is_parked_alone_and_written_later";
    let poisoned = Poisoned::begin(test, "a student whom a constraint of the database refuses, among good ones").await;
    let refused = &poisoned.refused;
    let add = format!(
        "ALTER TABLE student ADD CONSTRAINT unlucky CHECK (student_id <> '{refused}' OR district <> '{DISTRICT}')"
    );
    poisoned.execute(add).await;
    let late = async |poisoned: &Poisoned, run: &RunRow, listed: Value| {
        let house = &poisoned.house;
        let told = format!("rollcall queues parked write --run {}", run.run);
        assert!(run.why().contains(&told), "{}", run.why());
        let doctor = house.rollcall(&["doctor"]).await.expect_code(0);
        assert!(doctor.stdout.contains("parked students"), "{}", doctor.stdout);
        let dry = house.rollcall(&[&replay(run)[..], &["--dry-run"]].concat()).await.expect_code(0);
        assert_eq!(dry.json(), listed);
        let still = house.rollcall(&replay(run)).await.expect_code(1);
        assert!(still.stderr.contains("refuses it still"), "{}", still.stderr);
        assert_eq!(house.show(&run.run).await.parked, 1);
        execute(house, "ALTER TABLE student DROP CONSTRAINT unlucky").await;
        let written = house.rollcall(&replay(run)).await.expect_code(0);
        assert_eq!(written.json()[0]["student_id"], poisoned.refused);
        assert_eq!(house.rollcall(&replay(run)).await.expect_code(0).json(), Value::Array(Vec::new()));
    };
    poisoned.night(late).await;
}

/// Refused by a code that says nothing of rows, over and over, and with everybody who is in the same message.
#[tokio::test(flavor = "multi_thread")]
async fn a_student_who_fails_for_good_is_parked_alone_and_written_later() {
    let test = "a_student_who_fails_for_good_is_parked_alone_and_written_later";
    let poisoned =
        Poisoned::begin(test, "a student for whom a trigger raises an error each time, among good ones").await;
    let refused = &poisoned.refused;
    let unlucky = format!(
        "CREATE FUNCTION unlucky() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN RAISE EXCEPTION 'not this one'; END $$;
         CREATE TRIGGER unlucky BEFORE INSERT ON student FOR EACH ROW
             WHEN (NEW.student_id = '{refused}' AND NEW.district = '{DISTRICT}') EXECUTE FUNCTION unlucky()"
    );
    poisoned.execute(unlucky).await;
    let late = async |poisoned: &Poisoned, run: &RunRow, _: Value| {
        let still = poisoned.house.rollcall(&replay(run)).await.expect_code(1);
        assert!(still.stderr.contains("refuses it still"), "{}", still.stderr);
        execute(&poisoned.house, "DROP TRIGGER unlucky ON student").await;
        poisoned.house.rollcall(&replay(run)).await.expect_code(0);
    };
    poisoned.night(late).await;
}

/// Of the second night's pages, one can never be stored as it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_cannot_be_stored_for_good_takes_nobody_out_and_ends_its_run() {
    let house = house().await;
    house.sis.set_night(2);
    let unlucky = "CREATE FUNCTION unlucky() RETURNS trigger LANGUAGE plpgsql AS
                       $$ BEGIN RAISE EXCEPTION 'not this one'; END $$;
                   CREATE TRIGGER unlucky BEFORE INSERT ON page FOR EACH ROW
                       WHEN (NEW.error IS NULL AND NEW.raw IS NOT NULL AND NEW.rows = 100 AND NEW.page = 1)
                       EXECUTE FUNCTION unlucky()";
    sqlx::raw_sql(unlucky).execute(&house.services().database).await.unwrap();
    let run = house.night().await;
    assert!(["partial", "failed"].contains(&run.state.as_str()) && run.removed == 0, "{run:#?}");
    assert!(!run.why().trim().is_empty(), "it says why");
    let parked = house.rollcall(&["queues", "parked", "collect", "--format", "json"]).await.expect_code(0).json();
    let parked = parked.as_array().unwrap();
    let (pages, again): (i64, i64) = sqlx::query_as(
        "SELECT count(*), count(*) FILTER (WHERE error LIKE 'store-refused: %') FROM page WHERE run = $1::uuid
         AND error IS NOT NULL",
    )
    .bind(&run.run)
    .fetch_one(&house.services().database)
    .await
    .unwrap();
    assert_eq!((pages, again), (parked.len() as i64, pages), "each once: {parked:#?}");
    assert!(pages > 0 && parked.iter().all(|message| message["reason"] == "store-refused"), "{parked:#?}");

    execute(&house, "DROP TRIGGER unlucky ON page").await;
    assert_eq!(house.night().await.state, "succeeded");
    house.check_roster().await;
    house.close().await;
}

/// Whatever is planned, the database does not take it.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_plan_is_refused_for_good_fails_and_is_planned_again_later() {
    let mut house = House::scaled_out(district()).await;
    house.start_workers(1);
    execute(&house, "ALTER TABLE school ADD CONSTRAINT unlucky CHECK (false) NOT VALID").await;
    let run = house.night().await;
    assert_eq!(run.state, "failed", "{run:#?}");
    let mend = format!("rollcall runs replay {} --from plan", run.run);
    for told in ["plan-failed", "(23514)", &mend] {
        assert!(run.why().contains(told), "{told}: {}", run.why());
    }
    execute(&house, "ALTER TABLE school DROP CONSTRAINT unlucky").await;
    let (code, again) = replayed(&house, &run.run, "plan").await;
    assert_eq!((code, again.state.as_str()), (0, "succeeded"), "{again:#?}");
    house.check_roster().await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_planning_panics_each_time_fails_and_is_planned_again_later() {
    let mut house = House::scaled_out(district()).await;
    house.start_worker(Role::Fetcher);
    house.start_worker(Role::Writer);
    house.start_worker_with(Role::Classifier, &[(ARMED, "commit/save a plan/before=panic(drill)")]);
    let run = house.night().await;
    assert_eq!(run.state, "failed", "{run:#?}");
    assert!(run.why().contains("panic"), "{}", run.why());
    house.replace_worker(Role::Classifier);
    let (code, again) = replayed(&house, &run.run, "plan").await;
    assert_eq!((code, again.state.as_str()), (0, "succeeded"), "{again:#?}");
    house.check_roster().await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn students_begin_with_one_though_messages_have_gone_through() {
    let mut house = House::scaled_out(district()).await;
    house.start_workers(1);
    house.services().tap().await;
    let stories = house.sis.expected_students(1);
    let enrolled = stories.into_iter().filter(|(_, story)| story.status == "ENROLLED");
    let refused: Vec<String> = enrolled.take(14).map(|(id, _)| format!("'{id}'")).collect();
    let add = format!("ALTER TABLE student ADD CONSTRAINT unlucky CHECK (student_id NOT IN ({}))", refused.join(", "));
    sqlx::query(sqlx::AssertSqlSafe(add)).execute(&house.services().database).await.unwrap();
    let run = house.night().await;
    assert_eq!((run.state.as_str(), run.parked), ("partial", 14), "{run:#?}");
    execute(&house, "ALTER TABLE student DROP CONSTRAINT unlucky").await;

    // One of the run's messages comes a second time, and is parked: it is done with at once.
    let tapped = house.services().tapped().await;
    let written = tapped.into_iter().find(|message| message["properties"]["type"] == "student.events").unwrap();
    drop(house.take_worker(Role::Writer));
    house.services().republish(&written).await;
    let bus = AmqpBus::connect(AmqpConfig::new(house.services().amqp_url())).await.unwrap();
    let mut subscription = bus.subscribe(Queue::Write, 1).await.unwrap();
    let delivery = tokio::time::timeout(Duration::from_mins(1), subscription.next()).await.unwrap().unwrap();
    let why = Park { reason: "store-unavailable", detail: "the database was away".to_owned() };
    subscription.park(&delivery, &why).await.unwrap();
    drop(subscription);
    house.start_worker(Role::Writer);

    house.rollcall(&["queues", "replay", "write", "--run", &run.run, "--wait"]).await.expect_code(0);
    let sql = "SELECT detail FROM audit WHERE action = 'parked.replay' AND detail LIKE 'students=%' ORDER BY id";
    let steps: Vec<String> = sqlx::query_scalar(sql).fetch_all(&house.services().database).await.unwrap();
    assert_eq!(steps, ["students=1", "students=10", "students=3"]);
    assert_eq!(house.show(&run.run).await.parked, 0);
    house.check_roster().await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_run_keeps_an_older_parked_student_back() {
    let mut house = House::scaled_out(district()).await;
    house.start_workers(1);
    let is_enrolled = |night: u32| {
        let stories = house.sis.expected_students(night);
        stories.into_iter().filter(|(_, story)| story.status == "ENROLLED").map(|(id, _)| id).collect::<Vec<_>>()
    };
    let (first, second) = (is_enrolled(1), is_enrolled(2));
    let stays = first.iter().find(|id| second.contains(id)).unwrap();
    let leaves = first.iter().find(|id| !second.contains(id)).unwrap();
    let refuse = async |what: String| {
        let add = format!("ALTER TABLE student ADD CONSTRAINT unlucky CHECK ({what})");
        sqlx::query(sqlx::AssertSqlSafe(add)).execute(&house.services().database).await.unwrap();
    };
    let refused_late = async |run: &RunRow| {
        let before = house.facts().await;
        let late = house.rollcall(&["queues", "replay", "write", "--run", &run.run]).await.expect_code(1);
        assert!(late.stderr.contains("a newer run"), "{}", late.stderr);
        assert_eq!(house.show(&run.run).await.parked, 1);
        assert_same("refused", &before, &house.facts().await);
    };

    refuse(format!("student_id <> '{stays}'")).await;
    let run = house.night().await;
    assert_eq!(run.parked, 1, "{run:#?}");
    execute(&house, "ALTER TABLE student DROP CONSTRAINT unlucky").await;
    assert_eq!(house.night().await.state, "succeeded");
    house.check_roster().await;
    refused_late(&run).await;

    // Gone for a night, which was not written; back on the next one, which finds nothing to change.
    refuse(format!("student_id <> '{leaves}' OR status = 'ENROLLED'")).await;
    house.sis.set_night(2);
    let run = house.night().await;
    assert_eq!(run.parked, 1, "{run:#?}");
    execute(&house, "ALTER TABLE student DROP CONSTRAINT unlucky").await;
    house.sis.set_night(1);
    assert_eq!(house.night().await.state, "succeeded");
    refused_late(&run).await;
    let student = house.students().await.into_iter().find(|student| student.student_id == leaves.to_string());
    assert_eq!(student.unwrap().status, "ENROLLED");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_planned_again_out_of_its_stored_pages() {
    let house = house().await;
    house.sis.set_night(2);
    let preview = house.rollcall(&["run", DISTRICT, "--plan", "--wait", "--format", "json"]).await.expect_code(0);
    let preview = house.show(preview.json()[0]["run"].as_str().unwrap()).await;
    assert!(preview.removed > 0 && preview.changed > 0, "{preview:#?}");
    // The SIS is gone from here on: what the store kept has to do.
    house
        .sis
        .set_quirks(Quirks { auth: AuthQuirks { access_expired: true, ..AuthQuirks::default() }, ..Quirks::default() });

    let (code, again) = replayed(&house, &preview.run, "plan").await;
    assert_eq!((code, again.state.as_str()), (0, "held"), "{again:#?}");
    assert_eq!(again.plan_hash, preview.plan_hash, "equal pages, equal plan, second look included");
    let void = house.show(&preview.run).await;
    assert_eq!((void.state.as_str(), void.reason), ("discarded", Some(format!("superseded-by {}", again.run))));

    // A program of long ago could not read these pages.
    let spoil = "UPDATE page SET fragments = '', rows = 0, error = 'this program does not read this listing'
                 WHERE run = $1::uuid AND listing = (SELECT min(listing) FROM page WHERE run = $1::uuid AND rows > 50)";
    let spoilt = sqlx::query(spoil).bind(&again.run).execute(&house.services().database).await.unwrap();
    assert!(spoilt.rows_affected() > 0);
    let (_, partial) = replayed(&house, &again.run, "plan").await;
    assert!(partial.why().contains("page-undecoded"), "{}", partial.why());
    let (_, whole) = replayed(&house, &partial.run, "collect").await;
    assert_eq!(whole.plan_hash, preview.plan_hash, "read again, and whole");

    house.rollcall(&["runs", "approve", &whole.run, "--wait"]).await.expect_code(0);
    house.check_roster().await;
    let late = house.rollcall(&["runs", "replay", &preview.run, "--from", "plan"]).await.expect_code(1);
    assert!(late.stderr.contains(&whole.run), "the newer run is named: {}", late.stderr);
    house.close().await;
}

/// A large one waits in the queue of the large ones, whoever asks for its plan: it is nothing that a small one should wait for.
#[tokio::test(flavor = "multi_thread")]
async fn an_open_run_is_asked_for_its_plan_on_the_queue_of_its_size() {
    let mut house = house().await;
    house.stop_workers().await;
    let run = house.runs().await[0]["run"].as_str().unwrap().to_owned();
    execute(&house, "UPDATE run SET state = 'running', stage = 'plan', ended_at = NULL").await;
    let sizes =
        [("UPDATE page SET rows = 1", "rollcall.plan"), ("UPDATE page SET rows = 500001", "rollcall.plan-large")];
    for (size, expected) in sizes {
        house.services().purge_queues().await;
        execute(&house, size).await;
        house.rollcall(&["runs", "replay", &run, "--from", "plan"]).await.expect_code(0);
        let queues = house.rollcall(&["queues", "list", "--format", "json"]).await.expect_code(0).json();
        let waiting = queues.as_array().unwrap().iter().filter(|queue| queue["waiting"] != 0);
        let waiting: Vec<&Value> = waiting.map(|queue| &queue["queue"]).collect();
        assert_eq!(waiting, [expected], "{queues}");
    }
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_run_is_pulled_again_when_all_is_mended() {
    let mut house = house().await;
    let expired = AuthQuirks { access_expired: true, ..AuthQuirks::default() };
    house.sis.set_quirks(Quirks { auth: expired, ..Quirks::default() });
    house.replace_worker(Role::Fetcher);
    let failed = house.night().await;
    assert_eq!(failed.state, "failed", "{failed:#?}");
    for from in ["plan", "collect"] {
        let refused = house.rollcall(&["runs", "replay", &failed.run, "--from", from]).await.expect_code(1);
        assert!(refused.stderr.contains("--from fetch"), "the mend is named: {}", refused.stderr);
    }
    let refused = house.rollcall(&["runs", "replay", &failed.run, "--from", "release"]).await.expect_code(1);
    assert!(refused.stderr.contains("is settled"), "{}", refused.stderr);
    house.sis.set_quirks(Quirks::default());
    let (code, again) = replayed(&house, &failed.run, "fetch").await;
    assert_eq!((code, again.state.as_str()), (0, "succeeded"), "{again:#?}");
    house.check_roster().await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_was_lost_is_published_again() {
    let mut house = House::scaled_out(district()).await;
    house.start_worker(Role::Fetcher);
    house.start_worker(Role::Classifier);
    let run = house.begin().await;
    until_told("the run to be released", Duration::from_mins(1), || async {
        let shown = house.rollcall(&["runs", "show", &run, "--format", "json"]).await.json();
        (shown[0]["stage"] == "release").then_some(())
    })
    .await;
    until("its batches to be published", Duration::from_mins(1), || async {
        let sql = "SELECT count(*) FROM plan_batch WHERE published_at IS NULL";
        let left: i64 = sqlx::query_scalar(sql).fetch_one(&house.services().database).await.unwrap();
        (left == 0).then_some(())
    })
    .await;
    house.services().purge_queues().await;
    let early = house.rollcall(&["runs", "replay", &run, "--from", "plan"]).await.expect_code(1);
    assert!(early.stderr.contains("--from release"), "{}", early.stderr);
    house.start_worker(Role::Writer);
    house.rollcall(&["runs", "replay", &run, "--from", "release", "--wait"]).await.expect_code(0);
    house.check_roster().await;
    house.close().await;
}

/// The command dies before its first message, and yet the trail has who did what: of a run that is open, and of one that has
/// ended, in whose place another one is pulled.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_in_the_audit_trail_before_it_is_done() {
    let house = House::scaled_out(district()).await;
    let run = house.begin().await;
    let entries = async || -> Vec<String> {
        let sql = "SELECT detail FROM audit WHERE action = 'run.replay' ORDER BY at";
        sqlx::query_scalar(sql).fetch_all(&house.services().database).await.unwrap()
    };
    let point = "publish/fetch.connection/before";
    let kill = armed(&[point.to_owned()].into());
    let killed = async || {
        let replay = ["runs", "replay", &run, "--from", "fetch"];
        let killed = house.rollcall_with(&replay, &[(ARMED, &kill)]).await;
        assert_eq!(points::killed_at(&killed.stderr).as_deref(), Some(point), "{killed:#?}");
    };
    killed().await;
    assert_eq!(entries().await, ["from=fetch"], "open");
    house.rollcall(&["runs", "cancel", &run]).await.expect_code(0);
    killed().await;
    assert_eq!(entries().await, ["from=fetch", "from=fetch"], "ended");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptiness_is_accepted_and_planned_at_once() {
    let house = House::embedded(district()).await;
    assert_eq!(house.night().await.state, "succeeded");
    let contacts = async || {
        let students = house.students().await;
        let mut contacts = 0;
        for student in students.iter().take(25) {
            let id = student.student_id.as_str();
            let show = ["students", "show", "--district", DISTRICT, id, "--format", "json"];
            let shown = house.rollcall(&show).await.expect_code(0).json();
            contacts += shown[0]["record"]["contacts"].as_array().unwrap().len();
        }
        contacts
    };
    let empty = vec!["StudentGuardian".to_owned(), "EmergencyContact".to_owned()];
    house.sis.set_quirks(Quirks { paging: PagingQuirks { empty, ..PagingQuirks::default() }, ..Quirks::default() });
    let partial = house.night().await;
    assert_eq!((partial.state.as_str(), partial.changed), ("partial", 0), "{partial:#?}");
    assert!(contacts().await > 0, "an empty listing ends nobody's contacts by itself");

    let wrong = house.rollcall(&["runs", "approve", &partial.run, "--accept-empty", "StudentGuardian"]).await;
    let wrong = wrong.expect_code(1);
    assert!(wrong.stderr.contains("Family/StudentGuardian"), "the right name is given: {}", wrong.stderr);
    let emptied = ["--accept-empty", "Family/StudentGuardian", "--accept-empty", "Demographics/EmergencyContact"];
    let accept = [&["runs", "approve", &partial.run][..], &emptied, &["--wait", "--format", "json"]].concat();
    let answer = house.rollcall(&accept).await.expect_code(0);
    let again = house.show(answer.json()[0]["run"].as_str().unwrap()).await;
    assert_ne!(again.run, partial.run);
    assert_eq!((again.state.as_str(), again.changed > 0), ("succeeded", true), "{again:#?}");
    assert_eq!(contacts().await, 0);
    assert_eq!(house.night().await.state, "succeeded", "accepted until it holds rows again");
    house.close().await;
}
