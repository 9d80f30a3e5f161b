//! The drills of docs/runbooks/restore.md: the database is one of back then, and the broker is empty.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{collections::BTreeMap, time::Duration};

use rollcall_e2e::{
    House, Process, Role,
    house::{self, DISTRICT},
    pair::{undisturbed, until_pages_are_in},
    roster::facts,
    until, until_told,
};
use rollcall_sandbox::{CampusFlag, SandboxConfig};
use serde_json::Value;

use super::{
    deploy::district,
    failpoints::{ANEW, all_shown, campus, import, program},
};

/// The backup was taken in the middle of a night, that night ended, and then both
/// servers were lost. What runs again is the database of back then, and an empty broker.
#[tokio::test(flavor = "multi_thread")]
async fn a_restored_database_and_an_empty_broker_go_on_from_where_the_backup_was() {
    let mut house = House::scaled_out(SandboxConfig { latency_ms: 15, ..district(33) }).await;
    house.start_workers(1);
    assert_eq!(house.night().await.state, "succeeded");
    house.sis.set_night(2);
    let run = house.begin().await;
    until_pages_are_in(&house, &run, 5).await;
    let backup = house.folder().join("backup");
    house.services().back_up(&backup);
    assert_eq!(house.ended(&run).await.state, "succeeded");

    house.workers().for_each(Process::kill);
    house.services().delete_queues().await;
    house.services().restore(&backup).await;
    let shown = house.show(&run).await;
    assert_eq!(shown.state, "running", "the night is back in its middle: {shown:#?}");
    // A message counts as lost only after a while.
    let code = until_told("reconcile --check to say what is owed", Duration::from_mins(1), || async {
        let check = house.rollcall(&["reconcile", "--check", "--format", "json"]).await;
        let found = check.json();
        let lost = |row: &Value| row["disagreement"] == "pages-lost" && row["run"] == run.as_str();
        found.as_array().unwrap().iter().any(lost).then_some(check.code)
    })
    .await;
    assert_eq!(code, 1, "a disagreement is a failure");

    house.start_workers(1);
    let run = house.ended(&run).await;
    assert_eq!((run.state.as_str(), run.parked), ("succeeded", 0), "what the store owed was published again: {run:#?}");
    house.check_roster().await;
    assert_eq!(facts(&house.services().database).await, undisturbed(district(33)).await);
    assert_eq!(house.night().await.events(), 0, "nothing is left to do");
    house.rollcall(&["reconcile", "--check"]).await.expect_code(0);
    house.close().await;
}

/// So many days ago the first documents begin.
const DAYS: u64 = 10;

/// Every time that the database tells of is an hour earlier than it was: a backup that is an hour old.
const AGED: &str = "
DO $$ DECLARE one record; BEGIN
    FOR one IN SELECT table_name, string_agg(format('%1$I = %1$I - interval ''1 hour''', column_name), ', ') AS earlier
               FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
               WHERE table_schema = 'public' AND table_type = 'BASE TABLE' AND data_type = 'timestamp with time zone'
               GROUP BY table_name
    LOOP EXECUTE format('UPDATE %I SET %s', one.table_name, one.earlier); END LOOP;
END $$";

/// How many days ago the flags that Campus shows of a student begin, and whether they are open.
fn shown(house: &House) -> BTreeMap<String, Vec<(i64, bool)>> {
    let mut all: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for CampusFlag { student, begins, ends, .. } in house.sis.campus_flags() {
        all.entry(student).or_default().push(((house::today() - begins).num_days(), ends.is_none()));
    }
    all
}

/// Everybody as they are now, whatever the history tells of how they came to it.
async fn roster(house: &House) -> BTreeMap<&'static str, String> {
    let mut all = facts(&house.services().database).await;
    all.remove("history").expect("a history is among the facts");
    all
}

/// What happened in the hour between the backup and its restore is not known any more: a night, flags that were pushed, and
/// documents. Flags are found by their ids, and the next night makes up for the one that is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_restored_to_an_hour_ago_doubles_no_flag_and_catches_up() {
    let (mut house, students) = campus(&program(ANEW, "create-new")).await;
    let (before, after) = students.split_at(5);
    let pushed = async |house: &House, students: &[String]| {
        until("the flags to be pushed", Duration::from_mins(2), || async {
            all_shown(house, students, DAYS).await.then_some(())
        })
        .await;
    };
    house.start_worker(Role::FlagSync);
    import(&house, ANEW, before, DAYS).await;
    pushed(&house, before).await;
    // One more is known at the backup, and pushed after it.
    house.take_worker(Role::FlagSync).kill();
    import(&house, ANEW, &after[..1], DAYS).await;
    let backup = house.folder().join("backup");
    house.services().back_up(&backup);

    house.start_worker(Role::FlagSync);
    import(&house, ANEW, after, DAYS).await;
    pushed(&house, &students).await;
    house.sis.set_night(2);
    assert!(house.night().await.events() > 0, "the second night changes somebody");
    let (at_the_loss, roster_then) = (shown(&house), roster(&house).await);
    house.workers().for_each(Process::kill);
    house.services().delete_queues().await;
    house.services().restore(&backup).await;
    sqlx::query(AGED).execute(&house.services().database).await.unwrap();
    assert_eq!(house.runs().await.len(), 1, "the second night is not known any more");

    // The flags of documents that are not known any more stay as they are, until their senders send them again.
    house.start_workers(1);
    house.start_worker(Role::FlagSync);
    house.rollcall(&["flags", "push", "--district", DISTRICT]).await.expect_code(0);
    until("the flags that are known to be found", Duration::from_mins(2), || async {
        let sql = "SELECT count(*) FROM flag WHERE state = 'pushed' AND NOT due";
        let found: i64 = sqlx::query_scalar(sql).fetch_one(&house.services().database).await.ok()?;
        (found == before.len() as i64 + 1).then_some(())
    })
    .await;
    assert_eq!(shown(&house), at_the_loss, "no flag is doubled, and none ended");
    import(&house, ANEW, after, DAYS).await;
    pushed(&house, &students).await;
    assert_eq!(shown(&house), at_the_loss, "documents that are sent again find their flags");

    let caught_up = house.night().await;
    assert_eq!((caught_up.state.as_str(), caught_up.parked), ("succeeded", 0), "{caught_up:#?}");
    assert_eq!(roster(&house).await, roster_then, "what the lost night had changed is changed again");
    assert_eq!(house.night().await.events(), 0, "nothing is left to do");
    until_told("store and broker to agree", Duration::from_mins(1), || async {
        (house.rollcall(&["reconcile", "--check"]).await.code == 0).then_some(())
    })
    .await;
    house.close().await;
}
