//! Parked messages put back to work by hand, and what store and broker disagree on.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{collections::BTreeSet, time::Duration};

use rollcall_e2e::{
    House,
    house::{self, DISTRICT},
    until, until_told,
};
use rollcall_proto::{
    bus::{
        Bus as _, ParkedFilter,
        amqp::{AmqpBus, AmqpConfig},
    },
    clock::{Clock as _, SystemClock},
    handler::Park,
    message::Message,
    topology::Queue,
};
use rollcall_sandbox::SandboxConfig;
use serde_json::Value;

const LIMIT: Duration = Duration::from_mins(1);

async fn house() -> House {
    let config = SandboxConfig { students: 120, seed: 31, today: house::today(), ..SandboxConfig::default() };
    House::scaled_out(config).await
}

async fn bus(house: &House) -> AmqpBus {
    AmqpBus::connect(AmqpConfig::new(house.services().amqp_url())).await.unwrap()
}

/// Messages that failed for a while: whoever handles flags is done with them at once now.
async fn parked(bus: &AmqpBus, number: usize) -> BTreeSet<uuid::Uuid> {
    let district = DISTRICT.parse().unwrap();
    let message = |_| Message::flag_sync(Clone::clone(&district), None, SystemClock.now());
    let messages: Vec<Message> = (0..number).map(message).collect();
    bus.publish(&messages).await.unwrap();
    let mut subscription = bus.subscribe(Queue::Flags, 10).await.unwrap();
    for _ in 0..number {
        let delivery = tokio::time::timeout(LIMIT, subscription.next()).await.unwrap().unwrap();
        let why = Park { reason: "store-unavailable", detail: "the database was away".to_owned() };
        subscription.park(delivery, &why).await.unwrap();
    }
    messages.into_iter().map(|message| message.id).collect()
}

async fn count_parked(bus: &AmqpBus) -> usize {
    bus.parked(Queue::Flags, &ParkedFilter::default()).await.unwrap().len()
}

async fn audited(house: &House) -> Vec<String> {
    let sql = "SELECT detail FROM audit WHERE action = 'parked.replay' ORDER BY at";
    sqlx::query_scalar(sql).fetch_all(&house.services().database).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn parked_messages_go_back_one_then_ten_then_the_rest() {
    let house = house().await;
    let bus = bus(&house).await;
    let ids = parked(&bus, 25).await;

    let groups = ["queues", "parked", "flags", "--by", "reason,district,age", "--format", "json"];
    let groups = house.rollcall(&groups).await.expect_code(0).json();
    assert_eq!(groups.as_array().unwrap().len(), 1, "{groups}");
    assert_eq!(groups[0]["parked"], 25);
    assert_eq!((&groups[0]["reason"], &groups[0]["age"]), (&Value::from("store-unavailable"), &Value::from("0-1h")));
    let old = ["queues", "parked", "flags", "--older-than", "1h", "--format", "json"];
    assert_eq!(house.rollcall(&old).await.expect_code(0).json(), serde_json::json!([]));
    let dry = house.rollcall(&["queues", "replay", "flags", "--dry-run", "--format", "json"]).await.expect_code(0);
    assert_eq!((dry.json().as_array().unwrap().len(), count_parked(&bus).await), (25, 25));
    assert_eq!(audited(&house).await, [] as [String; 0], "looking is no deed");

    // Nobody works: the first one is put back, and it stays at that.
    let alone = house.rollcall(&["queues", "replay", "flags", "--patience", "1s"]).await.expect_code(1);
    assert!(alone.stderr.contains("is a worker of rollcall.flags running?"), "{}", alone.stderr);
    assert_eq!(count_parked(&bus).await, 24);

    let worker = house.start("flag-sync", &["-v", "worker", "flag-sync"]);
    let replay = ["queues", "replay", "flags", "--reason", "store-unavailable", "--wait", "--format", "json"];
    let done = house.rollcall(&replay).await.expect_code(0);
    assert_eq!(done.json().as_array().unwrap().len(), 24);
    assert!(done.stderr.contains("1 of 24") && done.stderr.contains("11 of 24"), "{}", done.stderr);
    assert_eq!(count_parked(&bus).await, 0);
    let audited = audited(&house).await;
    assert_eq!(audited.iter().filter(|entry| entry.starts_with("begins: rollcall.flags messages=")).count(), 2);
    assert!(ids.iter().all(|id| audited.iter().any(|entry| entry.contains(&id.to_string()))), "each under its own id");
    drop(worker);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_stops_when_the_first_one_is_parked_again() {
    let house = house().await;
    let bus = bus(&house).await;
    let worker = house.start("flag-sync", &["-v", "worker", "flag-sync"]);
    for _ in 0..5 {
        house.services().publish_garbage("rollcall.flags").await;
    }
    until("all to be parked", LIMIT, || async { (count_parked(&bus).await == 5).then_some(()) }).await;
    let stopped = house.rollcall(&["queues", "replay", "flags", "--format", "json"]).await.expect_code(1);
    assert_eq!(stopped.json().as_array().unwrap().len(), 1, "only the first was tried");
    assert!(stopped.stderr.contains("1 are parked again"), "{}", stopped.stderr);
    assert!(stopped.stderr.contains("4 messages"), "{}", stopped.stderr);
    assert_eq!(count_parked(&bus).await, 5);
    drop(worker);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_killed_half_way_is_taken_up_again() {
    let house = house().await;
    let bus = bus(&house).await;
    parked(&bus, 30).await;
    let worker = house.start("flag-sync", &["-v", "worker", "flag-sync"]);
    let mut replay = house.start("replay", &["queues", "replay", "flags", "--rate", "5", "--at-once"]);
    let some_are_back =
        || async { audited(&house).await.iter().any(|entry| entry.starts_with("message")).then_some(()) };
    until("some to be back at work", LIMIT, some_are_back).await;
    replay.kill();
    // What the killed process held is given back when the broker has noticed that it is gone.
    let left = until("what was held to come back", LIMIT, || async {
        let left = count_parked(&bus).await;
        (left > 0).then_some(left)
    })
    .await;
    assert!(left < 30, "it was in its midst");
    until_told("the second call to find all that are left", LIMIT, || async {
        house.rollcall(&["queues", "replay", "flags", "--at-once", "--wait"]).await.expect_code(0);
        (count_parked(&bus).await == 0).then_some(())
    })
    .await;
    drop(worker);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_store_and_broker_disagree_on_is_told_and_mended() {
    let mut house = house().await;
    let check = ["reconcile", "--check", "--format", "json"];
    let agreed = house.rollcall(&check).await.expect_code(0);
    assert_eq!(agreed.json(), serde_json::json!([]));

    // A run whose messages are lost, and a queue that is gone, with nobody at work.
    let run = house.begin().await;
    house.services().purge_queues().await;
    house.services().delete_queue("rollcall.write").await;
    let sql = "UPDATE run SET touched_at = touched_at - interval '1 hour'";
    sqlx::query(sql).execute(&house.services().database).await.unwrap();
    let found = house.rollcall(&check).await.expect_code(1);
    let rows = found.json();
    let told: BTreeSet<&str> =
        rows.as_array().unwrap().iter().map(|row| row["disagreement"].as_str().unwrap()).collect();
    assert_eq!(told, BTreeSet::from(["queue-missing", "pages-lost"]), "{rows}");
    let again = house.rollcall(&check).await.expect_code(1).json();
    assert_eq!(again, rows, "looking mends nothing");

    house.rollcall(&["reconcile"]).await.expect_code(0);
    let waiting = house.rollcall(&check).await.expect_code(1).json();
    assert_eq!(waiting[0]["disagreement"], "nobody-consumes", "{waiting}");
    house.start_workers(1);
    assert_eq!(house.ended(&run).await.state, "succeeded");
    house.rollcall(&check).await.expect_code(0);
    house.close().await;
}
