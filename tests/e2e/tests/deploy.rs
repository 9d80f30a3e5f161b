//! What `deploy/` makes: nights on the broker's definitions, with a user for each role that may do what the role does and
//! no more; and a restore.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use rollcall_e2e::{
    Answer, House,
    deployed::BROKER_ROLES,
    house::{self, DISTRICT},
    private::PrivateServers,
};
use rollcall_sandbox::{Fault, FaultKind, Quirks, RetryAfter, SandboxConfig, Throttle};
use sqlx::{Connection as _, PgConnection};

fn district(seed: u64) -> SandboxConfig {
    SandboxConfig {
        students: 300,
        seed,
        today: house::today(),
        change_percent: 12.0,
        contact_percent: 40,
        ..SandboxConfig::default()
    }
}

/// RabbitMQ's word for a right that a user lacks.
const REFUSED: [&str; 2] = ["ACCESS_REFUSED", "access_refused"];

/// Runs the command line as another user of the broker than the operators'.
async fn as_role(house: &House, role: &str, args: &[&str]) -> Answer {
    let deployed = house.as_deployed();
    Answer::of(house.folder(), args, &[deployed.settings(), deployed.urls(role)].concat()).await
}

/// A retry (the SIS asks for patience) and a parked message (a page that nobody can read) need rights of their own.
fn a_bad_night() -> Quirks {
    let torn =
        Fault { kind: FaultKind::TruncatedJson, object: Some("StudentGuardian".to_owned()), page: None, times: None };
    let throttle = Throttle { every: 9, retry_after: RetryAfter::Seconds(1) };
    Quirks { faults: vec![torn], too_many_requests: Some(throttle), ..Quirks::default() }
}

async fn check_policies(house: &House) {
    let (status, queues) = house.as_deployed().ask_as("monitoring", "queues/rollcall").await;
    assert_eq!(status, 200, "the monitoring user sees the queues: {queues}");
    let queues = queues.as_array().unwrap();
    for queue in queues {
        let name = queue["name"].as_str().unwrap();
        let expected = if name.ends_with(".parked") { "rollcall-parked" } else { "rollcall-work" };
        assert_eq!(queue["policy"], expected, "{name}");
    }
    assert!(queues.len() >= 24, "{queues:?}");
}

/// What each user may not do.
async fn check_limits(house: &House) {
    let deployed = house.as_deployed();
    for role in BROKER_ROLES {
        assert_eq!(deployed.ask_as(role, "overview").await.0, 401, "{role} has no business in the management API");
    }
    assert_eq!(deployed.ask_as("monitoring", "users").await.0, 401, "the monitoring user is no administrator");
    for (role, args) in [
        // No role reads what is kept aside, and none consumes what belongs to another.
        ("fetcher", &["queues", "parked", "collect"][..]),
        ("web", &["queues", "parked", "write"]),
        // A writer begins no run: its user may not publish to the fetchers.
        ("writer", &["run", DISTRICT]),
    ] {
        let answer = as_role(house, role, args).await;
        assert_ne!(answer.code, 0, "{role} may not: {answer:#?}");
        assert!(REFUSED.iter().any(|word| answer.text().contains(word)), "{answer:#?}");
    }
}

/// The workers' login may become `rollcall_app`, and is nothing by itself.
async fn check_login(house: &House) {
    let (_, url) = house.as_deployed().urls("fetcher").pop().unwrap();
    let mut connection = PgConnection::connect(&url).await.unwrap();
    for sql in ["SELECT count(*) FROM student", "CREATE TABLE mine (id int)", "SET ROLE rollcall_owner"] {
        let error = sqlx::query(sql).execute(&mut connection).await.expect_err(sql);
        assert!(error.to_string().contains("permission denied"), "{sql}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_works_with_its_own_user_and_no_other_right() {
    let servers = PrivateServers::start();
    let mut house = House::deployed(&servers.servers(), district(31)).await;
    house.start_workers(1);
    assert_eq!(house.night().await.state, "succeeded");
    house.check_roster().await;

    house.sis.set_night(2);
    house.sis.set_quirks(a_bad_night());
    assert_eq!(house.night().await.state, "partial");
    let parked = house.rollcall(&["queues", "parked", "collect", "--format", "json"]).await.expect_code(0).json();
    assert_eq!(parked[0]["reason"], "page-undecodable", "{parked}");
    house.sis.set_quirks(Quirks::default());
    let replay = ["queues", "replay", "collect", "--reason", "page-undecodable"];
    house.rollcall(&replay).await.expect_code(0);

    check_policies(&house).await;
    check_limits(&house).await;
    check_login(&house).await;

    // A broker that has lost its disk starts from the definitions: so it is here, while everybody works.
    servers.wipe_broker();
    house.as_deployed().import_definitions().await;
    assert_eq!(house.night().await.state, "succeeded");
    house.check_roster().await;
    for worker in house.workers() {
        let log = worker.log();
        assert!(!REFUSED.iter().any(|word| log.contains(word)), "a worker lacks a right:\n{log}");
    }
    house.close().await;
}
