//! A database in trouble: restarted, cut off while it commits, out of connections, out of disk, read-only, in a deadlock.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{collections::BTreeMap, time::Duration};

use rollcall_e2e::{
    House, Ledger, Pair, Proxy, Role,
    house::{DISTRICT, repetitions},
    pair::until_pages_are_in,
    private::{PrivateServers, Stop},
    proxy::Trap,
    services::Servers,
    until,
};
use rollcall_proto::topology::ATTEMPTS;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use url::Url;

use crate::probes::Probes;

#[tokio::test(flavor = "multi_thread")]
async fn a_database_restarted_in_mid_run_is_found_again() {
    let test = "a_database_restarted_in_mid_run_is_found_again";
    let ledger = Ledger::begin(test, "PostgreSQL restarted in order, and at once (recovery from its log)");
    let servers = PrivateServers::start();
    let mut pair = Pair::begin(servers.servers(), 71, ledger).await;
    let ways = [Stop::AtOnce, Stop::InOrder];
    for how in ways.into_iter().take(repetitions(1, 2) as usize) {
        pair.disturbed(&format!("{how:?}"), &["succeeded"], async |house, run| {
            until_pages_are_in(house, run, 3).await;
            servers.restart_database(how);
        })
        .await;
        pair.ledger.faults(1);
    }
    for role in Role::ALL {
        assert!(pair.house.worker(role).is_running(), "no worker had to be started again");
    }
    pair.end().await;
}

/// Workers behind a proxy to their database.
async fn behind_a_proxy(seed: u64, ledger: Ledger) -> (Pair, Proxy) {
    let mut way = None;
    let pair = Pair::begin_with(Servers::shared(), seed, ledger, async |house| {
        let url = Url::parse(&house.services().database_url()).expect("the database's URL can be read");
        let proxy = Proxy::to(&url).await;
        house.worker_settings = vec![("ROLLCALL_DATABASE_URL".to_owned(), proxy.url(&url))];
        way = Some(proxy);
    })
    .await;
    (pair, way.expect("the proxy stands"))
}

/// The server has committed or not; the worker cannot know.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_cut_during_commit_is_as_good_as_either() {
    let test = "a_connection_cut_during_commit_is_as_good_as_either";
    let ledger =
        Ledger::begin(test, "connection cut during COMMIT, before and after the server got it; disk full at COMMIT");
    let (mut pair, proxy) = behind_a_proxy(72, ledger).await;
    for trap in [Trap::CutBeforeCommit, Trap::CutAfterCommit, Trap::DiskFull] {
        let before = proxy.sprung();
        // Over the whole night, so that each kind of commit is hit sooner or later.
        for (pages, times) in (0..repetitions(1, 10)).map(|n| (n as i64 * 5, 3 + n)) {
            pair.disturbed(&format!("{trap:?} after {pages} pages"), &["succeeded"], async |house, run| {
                until_pages_are_in(house, run, pages).await;
                proxy.lay(trap, times);
            })
            .await;
        }
        assert!(proxy.sprung() > before, "{trap:?}: no commit went by");
        pair.ledger.faults(proxy.sprung() - before);
        proxy.lay(trap, 0);
    }
    pair.end().await;
}

/// A real one: a file system of the database's own, filled in mid-run to the last byte.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_is_waited_for_and_takes_nobody_out() {
    let test = "a_disk_that_is_full_is_waited_for_and_takes_nobody_out";
    let ledger = Ledger::begin(test, "the database's disk filled to the last byte in mid-run, and room made again");
    let servers = PrivateServers::start_on_a_small_disk(200);
    let mut pair = Pair::begin(servers.servers(), 75, ledger).await;
    let ends = &["succeeded", "partial", "failed"];
    for (pages, times) in (0..repetitions(1, 5)).map(|n| (3 + n as i64 * 5, 3 + n as usize * 10)) {
        let before = servers.times_full();
        pair.disturbed(&format!("disk full after {pages} pages"), ends, async |house, run| {
            until_pages_are_in(house, run, pages).await;
            servers.disk().fill();
            // So often, or until it has ended itself.
            until("the database to find it full", Duration::from_mins(2), || async {
                let found = servers.times_full() - before;
                (found >= times || !servers.database_lives()).then_some(())
            })
            .await;
            servers.disk().make_room();
            // Where its log had no room either, it has ended itself.
            servers.start_database();
        })
        .await;
        pair.ledger.faults((servers.times_full() - before) as u64);
    }
    for role in Role::ALL {
        assert!(pair.house.worker(role).is_running(), "no worker had to be started again");
    }
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn few_connections_are_waited_for() {
    let test = "few_connections_are_waited_for";
    let ledger = Ledger::begin(test, "one connection a worker; then no connection left on the server");
    let mut pair = Pair::begin_with(Servers::shared(), 73, ledger, async |house| {
        house.worker_settings = vec![("ROLLCALL_DATABASE_CONNECTIONS".to_owned(), "1".to_owned())];
    })
    .await;
    pair.disturbed("one each", &["succeeded"], async |_, _| {}).await;
    pair.disturbed("none left", &["succeeded"], async |house, run| {
        until_pages_are_in(house, run, 3).await;
        limit_connections(house, "0").await;
        end_connections(house).await;
        until("a worker to be refused", Duration::from_mins(1), || {
            let refused =
                Role::ALL.iter().any(|role| house.worker(*role).log().contains("pool timed out while waiting"));
            async move { refused.then_some(()) }
        })
        .await;
        limit_connections(house, "-1").await;
    })
    .await;
    pair.ledger.faults(2);
    pair.end().await;
}

/// Of the workers' database; superusers, as the test is one, are let in all the same.
async fn limit_connections(house: &House, limit: &str) {
    let database = &house.services().database;
    let name: String = sqlx::query_scalar("SELECT current_database()").fetch_one(database).await.unwrap();
    let sql = format!("ALTER DATABASE {name} CONNECTION LIMIT {limit}");
    sqlx::query(AssertSqlSafe(sql)).execute(database).await.expect("a superuser may do this");
}

async fn end_connections(house: &House) {
    let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
               WHERE datname = current_database() AND application_name = 'rollcall'";
    sqlx::query(sql).execute(&house.services().database).await.expect("a superuser may do this");
}

/// As a failover that is not done leaves it: all can be read, and nothing written.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_takes_no_writes_is_waited_for_and_no_process_is_ready_meanwhile() {
    let test = "a_database_that_takes_no_writes_is_waited_for_and_no_process_is_ready_meanwhile";
    let ledger = Ledger::begin(test, "the database read-only in mid-run for longer than a message has attempts");
    let mut pair = Pair::begin_with(Servers::shared(), 76, ledger, async |house| {
        house.worker_settings = vec![("ROLLCALL_LOG".to_owned(), "debug".to_owned())];
    })
    .await;
    pair.disturbed("while pages come in", &["succeeded"], async |house, run| {
        until_pages_are_in(house, run, 3).await;
        take_no_writes(house, "on").await;
        for role in Role::ALL {
            let reasons = Probes::of(house.worker(role)).await.until("ready", 503).await;
            assert_eq!(reasons, ["store-unavailable"], "{role:?}");
        }
        let fetcher = Probes::of(house.worker(Role::Fetcher)).await;
        let (seen, looked) = fetcher.store_and_queues_seen().await;
        // Two looks at the store after that.
        until("queues to be looked at again", Duration::from_mins(2), || async {
            (fetcher.store_and_queues_seen().await.1 > looked + 30.0).then_some(())
        })
        .await;
        assert!(fetcher.store_and_queues_seen().await.0 <= seen, "what can be read and not written to is away");
        // Whoever has a message in hand.
        until_tried_often(house, &[Role::Fetcher, Role::Classifier]).await;
        take_no_writes(house, "off").await;
        for role in Role::ALL {
            Probes::of(house.worker(role)).await.until("ready", 200).await;
        }
        until("the store to be seen again", Duration::from_mins(1), || async {
            (fetcher.store_and_queues_seen().await.0 > seen).then_some(())
        })
        .await;
    })
    .await;
    let without_writer = async |house: &mut House| drop(house.take_worker(Role::Writer));
    pair.disturbed_from("while batches wait to be written", &["succeeded"], without_writer, async |house, run| {
        until("batches to be published", Duration::from_mins(1), || async {
            let sql = "SELECT count(*) FROM plan_batch WHERE run = $1::uuid AND published_at IS NOT NULL";
            let found: i64 = sqlx::query_scalar(sql).bind(run).fetch_one(&house.services().database).await.unwrap();
            (found > 0).then_some(())
        })
        .await;
        take_no_writes(house, "on").await;
        house.start_worker(Role::Writer);
        until_tried_often(house, &[Role::Writer]).await;
        take_no_writes(house, "off").await;
    })
    .await;
    pair.ledger.faults(2);
    pair.end().await;
}

/// Read-only for the workers' connections: those there are, which are ended, and those to come.
async fn take_no_writes(house: &House, value: &str) {
    let database = &house.services().database;
    let name: String = sqlx::query_scalar("SELECT current_database()").fetch_one(database).await.unwrap();
    // In a connection that was opened meanwhile, too.
    let sql = format!(
        "BEGIN READ WRITE; ALTER DATABASE {name} SET default_transaction_read_only = {value}; COMMIT;
         SET default_transaction_read_only = off"
    );
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(database).await.expect("a superuser may do this");
    if value == "on" {
        end_connections(house).await;
    }
}

/// Waits until one of these has tried one message more often than there are attempts.
async fn until_tried_often(house: &mut House, roles: &[Role]) {
    let limit = Duration::from_mins(3);
    until("a message to be tried more often than there are attempts", limit, || {
        let logs: Vec<String> = roles.iter().map(|role| house.worker(*role).log()).collect();
        async move { logs.iter().any(|log| tries_of_one(log) > ATTEMPTS as usize).then_some(()) }
    })
    .await;
}

/// How often the message that waited most often did, for the database.
fn tries_of_one(log: &str) -> usize {
    let mut tries = BTreeMap::<&str, usize>::new();
    let waits = log.lines().filter(|line| line.contains("Message waits.") && line.contains("read-only"));
    for line in waits {
        let after = ["\"id\":\"", " id="].iter().find_map(|key| Some(line.split_once(key)?.1));
        let id = after.and_then(|after| after.split(['"', ' ']).next()).expect("it says which message");
        *tries.entry(id).or_default() += 1;
    }
    tries.into_values().max().unwrap_or_default()
}

/// A connection that has the district's students locked, and finds no deadlock itself.
async fn with_students_locked(house: &House) -> PgConnection {
    let mut url = house.services().servers().database.clone();
    let name: String =
        sqlx::query_scalar("SELECT current_database()").fetch_one(&house.services().database).await.unwrap();
    url.set_path(&name);
    let mut connection = PgConnection::connect(url.as_str()).await.unwrap();
    for sql in ["SET deadlock_timeout = '10min'", "BEGIN"] {
        sqlx::query(sql).execute(&mut connection).await.unwrap();
    }
    let students = "SELECT student_id FROM student WHERE district = $1 FOR UPDATE";
    sqlx::query(students).bind(DISTRICT).execute(&mut connection).await.unwrap();
    connection
}

/// Somebody's own transaction has a student, waits for the writer's batch, and is never the one whom the server picks.
#[tokio::test(flavor = "multi_thread")]
async fn a_deadlock_ends_in_a_second_try() {
    let test = "a_deadlock_ends_in_a_second_try";
    let ledger =
        Ledger::begin(test, "deadlock between the writer and another transaction, the writer ended by the server");
    let mut pair = Pair::begin(Servers::shared(), 74, ledger).await;
    let counted = async |house: &House| -> i64 {
        let sql = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
        sqlx::query_scalar(sql).fetch_one(&house.services().database).await.unwrap()
    };
    let before = counted(&pair.house).await;
    let mut other = with_students_locked(&pair.house).await;
    pair.disturbed("deadlock", &["succeeded"], async |house, run| {
        until("the writer to wait", Duration::from_mins(2), || async {
            let sql = "SELECT count(*) FROM pg_stat_activity \
                       WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%student%'";
            let waiting: i64 = sqlx::query_scalar(sql).fetch_one(&house.services().database).await.unwrap();
            (waiting > 0).then_some(())
        })
        .await;
        // Ends when the server has ended the writer's transaction.
        let batches = "SELECT batch FROM plan_batch WHERE run = $1::uuid FOR UPDATE";
        sqlx::query(batches).bind(run).execute(&mut other).await.unwrap();
        sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    })
    .await;
    let after = until("the server to have counted it", Duration::from_secs(20), || async {
        let after = counted(&pair.house).await;
        (after > before).then_some(after)
    })
    .await;
    pair.ledger.faults((after - before) as u64);
    pair.end().await;
}
