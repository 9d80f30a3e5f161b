//! Parked messages put back to work by hand, and what store and broker disagree on.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{collections::BTreeSet, time::Duration};

use rollcall_e2e::{
    House,
    house::{self, DISTRICT},
    points, until, until_told,
};
use rollcall_proto::{
    bus::{
        Bus, ParkedFilter,
        amqp::{AmqpBus, AmqpConfig},
        embedded::EmbeddedBus,
    },
    clock::{Clock as _, SystemClock},
    handler::Park,
    id::{ConnectionNo, DistrictId, RunId},
    message::{Body, Discover, Message},
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
    let district: DistrictId = DISTRICT.parse().unwrap();
    let message = |_| Message::flag_sync(district.clone(), None, SystemClock.now());
    let messages: Vec<Message> = (0..number).map(message).collect();
    park(bus, Queue::Flags, &messages).await;
    messages.into_iter().map(|message| message.id).collect()
}

async fn park(bus: &dyn Bus, queue: Queue, messages: &[Message]) {
    bus.publish(messages).await.unwrap();
    let mut subscription = bus.subscribe(queue, 10).await.unwrap();
    for _ in messages {
        let delivery = tokio::time::timeout(LIMIT, subscription.next()).await.unwrap().unwrap();
        let why = Park { reason: "store-unavailable", detail: "the database was away".to_owned() };
        subscription.park(&delivery, &why).await.unwrap();
    }
}

async fn count_parked(bus: &AmqpBus) -> usize {
    bus.parked(Queue::Flags, &ParkedFilter::default()).await.unwrap().len()
}

async fn audited(house: &House) -> Vec<String> {
    audited_of(house, DISTRICT).await
}

async fn audited_of(house: &House, district: &str) -> Vec<String> {
    let sql = "SELECT detail FROM audit WHERE action = 'parked.replay' AND district = $1 ORDER BY id";
    sqlx::query_scalar(sql).bind(district).fetch_all(&house.services().database).await.unwrap()
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

/// As a replay leaves them that was killed half-way. The first step puts one back, while the other stays where it is.
#[tokio::test(flavor = "multi_thread")]
async fn each_copy_of_a_parked_message_goes_back_in_its_turn() {
    let config = SandboxConfig { students: 60, seed: 31, today: house::today(), ..SandboxConfig::default() };
    let house = House::embedded(config).await;
    let bus = EmbeddedBus::open(house.folder().join("data/bus.db")).await.unwrap();
    let message = || Message::flag_sync(DISTRICT.parse().unwrap(), None, SystemClock.now());
    let (twice, once) = (message(), message());
    park(&bus, Queue::Flags, &[twice.clone(), once, twice]).await;
    let serve = house.start("serve", &["-v", "serve"]);
    let replay = ["queues", "replay", "flags", "--patience", "30s", "--wait", "--format", "json"];
    let done = house.rollcall(&replay).await.expect_code(0);
    assert_eq!(done.json().as_array().unwrap().len(), 3);
    assert_eq!(bus.parked(Queue::Flags, &ParkedFilter::default()).await.unwrap(), []);
    drop(serve);
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

    // Nobody can read whose they are. What the killed command was about to do is in the trail, and nothing else is done.
    let kill = [("ROLLCALL_FAILPOINTS", "replay/rollcall.flags/before=kill")];
    let killed = house.rollcall_with(&["queues", "replay", "flags"], &kill).await;
    assert_eq!(points::killed_at(&killed.stderr).as_deref(), Some("replay/rollcall.flags/before"), "{killed:#?}");
    let nobodys = audited_of(&house, DistrictId::installation().as_str()).await;
    assert_eq!(nobodys.len(), 2, "{nobodys:?}");
    assert_eq!(nobodys[0], "begins: rollcall.flags messages=5 students=0");
    assert!(nobodys[1].starts_with("message ") && nobodys[1].ends_with("reason undecodable"), "{nobodys:?}");
    until("what the killed one held to come back", LIMIT, || async { (count_parked(&bus).await == 5).then_some(()) })
        .await;

    let stopped = house.rollcall(&["queues", "replay", "flags", "--format", "json"]).await.expect_code(1);
    assert_eq!(stopped.json().as_array().unwrap().len(), 1, "only the first was tried");
    assert!(stopped.stderr.contains("1 are parked again"), "{}", stopped.stderr);
    assert!(stopped.stderr.contains("4 messages"), "{}", stopped.stderr);
    assert_eq!(count_parked(&bus).await, 5);
    drop(worker);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_waits_for_the_one_before_and_what_is_out_of_reach_is_told() {
    let house = house().await;
    let bus = bus(&house).await;
    parked(&bus, 40).await;
    // A worker that has had enough after the first one and the first ten.
    let mut subscription = bus.subscribe(Queue::Flags, 1).await.unwrap();
    let worker = tokio::spawn(async move {
        for _ in 0..11 {
            let delivery = subscription.next().await.unwrap();
            subscription.ack(delivery).await.unwrap();
        }
    });
    let replay = ["queues", "replay", "flags", "--rate", "10", "--patience", "8s"];
    let stuck = house.rollcall(&replay).await.expect_code(1);
    worker.await.unwrap();
    assert!(stuck.stderr.contains("10 that went back to work were not settled"), "{}", stuck.stderr);
    assert_eq!(count_parked(&bus).await, 19);

    // Another command takes what is left from under this one.
    let before = audited(&house).await.len();
    let taken = async {
        until("the next one to go back", LIMIT, || async { (audited(&house).await.len() > before + 1).then_some(()) })
            .await;
        bus.discard(Queue::Flags, &ParkedFilter::default()).await.unwrap().len()
    };
    let slowly = ["queues", "replay", "flags", "--at-once", "--rate", "1"];
    let (told, taken) = tokio::join!(house.rollcall(&slowly), taken);
    assert!(taken > 5, "{taken} of them");
    let told = told.expect_code(1);
    assert!(told.stderr.contains("1 that were found are not to be had"), "{}", told.stderr);
    assert!(told.stderr.contains("messages and 0 students were left as they are"), "{}", told.stderr);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_killed_half_way_is_taken_up_again() {
    let house = house().await;
    let bus = bus(&house).await;
    parked(&bus, 30).await;
    let worker = house.start("flag-sync", &["-v", "worker", "flag-sync"]);
    let mut replay = house.start("replay", &["queues", "replay", "flags", "--rate", "5", "--at-once"]);
    // Entries come before the deed: those of the second step tell that the first is done.
    let some_are_back = || async {
        let entries = audited(&house).await;
        (entries.iter().filter(|entry| entry.starts_with("message")).count() > 5).then_some(())
    };
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

/// Messages of several districts, runs and ages: those that are meant go back, under their own ids, and all others stay.
#[tokio::test(flavor = "multi_thread")]
async fn parked_messages_go_back_by_district_run_and_age() {
    let house = house().await;
    let bus = bus(&house).await;
    let (here, elsewhere): (DistrictId, DistrictId) = (DISTRICT.parse().unwrap(), "elsewhere-isd".parse().unwrap());
    let runs = [(); 2].map(|()| RunId(uuid::Uuid::now_v7()));
    let body = || Body::Discover(Discover { connection: ConnectionNo(0) });
    let message = |district: &DistrictId, run| Message::new(district.clone(), run, SystemClock.now(), body());
    // One of another district, one of another run, two of a run, and one that came a year ago.
    let messages =
        [message(&elsewhere, runs[0]), message(&here, runs[0]), message(&here, runs[1]), message(&here, runs[1])];
    park(&bus, Queue::Fetch, &messages).await;
    let (old, properties) = house::parked_a_year_ago(DISTRICT);
    house.services().put("rollcall.fetch.parked", &properties, "old").await;
    let left = async || -> BTreeSet<String> {
        let parked = ["queues", "parked", "fetch", "--format", "json"];
        let rows = house.rollcall(&parked).await.expect_code(0).json();
        rows.as_array().unwrap().iter().map(|row| row["message"].as_str().unwrap().to_owned()).collect()
    };
    let id = |message: &Message| message.id.to_string();
    let mut expected: BTreeSet<String> = messages.iter().map(id).chain([old.clone()]).collect();
    until_told("all to be parked", LIMIT, async || (left().await == expected).then_some(())).await;

    let second = runs[1].0.to_string();
    let meant = [
        (["--older-than", "300d"], vec![old]),
        (["--run", &second], vec![id(&messages[2]), id(&messages[3])]),
        (["--district", "elsewhere-isd"], vec![id(&messages[0])]),
        (["--district", DISTRICT], vec![id(&messages[1])]),
    ];
    for (which, ids) in meant {
        let ids: BTreeSet<String> = ids.into_iter().collect();
        let replay = [&["queues", "replay", "fetch", "--at-once", "--format", "json"][..], &which].concat();
        let dry = house.rollcall(&[&replay[..], &["--dry-run"]].concat()).await.expect_code(0);
        let replayed = house.rollcall(&replay).await.expect_code(0);
        for told in [dry, replayed] {
            let rows = told.json();
            let told: BTreeSet<String> =
                rows.as_array().unwrap().iter().map(|row| row["message"].as_str().unwrap().to_owned()).collect();
            assert_eq!(told, ids, "{which:?}");
        }
        expected.retain(|id| !ids.contains(id));
        assert_eq!(left().await, expected, "{which:?}: all others stay");
    }
    // Each is at work again, under its own id.
    let mut back = BTreeSet::new();
    let mut subscription = bus.subscribe(Queue::Fetch, 10).await.unwrap();
    while back.len() < messages.len() {
        let delivery = tokio::time::timeout(LIMIT, subscription.next()).await.unwrap().unwrap();
        back.extend(delivery.message.as_ref().ok().map(id));
        subscription.ack(delivery).await.unwrap();
    }
    assert_eq!(back, messages.iter().map(id).collect());
    house.close().await;
}

/// What is meant goes, noted, and nothing else: no other message, none that waits for work.
#[tokio::test(flavor = "multi_thread")]
async fn parked_messages_are_thrown_away_by_what_they_are() {
    let house = house().await;
    let bus = bus(&house).await;
    let ids = parked(&bus, 5).await;
    let elsewhere = Message::flag_sync("elsewhere-isd".parse().unwrap(), None, SystemClock.now());
    let waits = Message::flag_sync(DISTRICT.parse().unwrap(), None, SystemClock.now());
    park(&bus, Queue::Flags, std::slice::from_ref(&elsewhere)).await;
    bus.publish(std::slice::from_ref(&waits)).await.unwrap();
    let discard = ["queues", "discard", "flags", "--format", "json"];
    let with = |which: &[&'static str]| [&discard[..], which].concat();

    let all = house.rollcall(&discard).await.expect_code(1);
    assert!(all.stderr.contains("say which"), "{}", all.stderr);
    let dry = house.rollcall(&with(&["--district", DISTRICT, "--dry-run"])).await.expect_code(0);
    assert_eq!((dry.json().as_array().unwrap().len(), count_parked(&bus).await), (5, 6));
    let young = house.rollcall(&with(&["--older-than", "1h"])).await.expect_code(0);
    assert_eq!((young.json(), count_parked(&bus).await), (serde_json::json!([]), 6));
    let nowhere = house.rollcall(&with(&["--district", "nowhere-isd"])).await.expect_code(1);
    assert!(nowhere.stderr.contains("there is no district"), "{}", nowhere.stderr);
    assert_eq!(house.rollcall(&with(&["--reason", "undecodable"])).await.expect_code(0).json(), serde_json::json!([]));

    // Of a district that the store does not know, and one by its id.
    let gone = house.rollcall(&with(&["--district", "elsewhere-isd"])).await.expect_code(0).json();
    assert_eq!((&gone[0]["message"], count_parked(&bus).await), (&Value::from(elsewhere.id.to_string()), 5));
    let one = ids.first().unwrap().to_string();
    let by_id = [&discard[..], &["--message", &one]].concat();
    assert_eq!(house.rollcall(&by_id).await.expect_code(0).json()[0]["message"], one);
    let limited = with(&["--reason", "store-unavailable", "--limit", "1"]);
    assert_eq!(house.rollcall(&limited).await.expect_code(0).json().as_array().unwrap().len(), 1);
    assert_eq!(count_parked(&bus).await, 3);
    let rest = house.rollcall(&with(&["--reason", "store-unavailable"])).await.expect_code(0);
    assert_eq!((rest.json().as_array().unwrap().len(), count_parked(&bus).await), (3, 0));

    let sql = "SELECT district || ' ' || detail FROM audit WHERE action = 'parked.discard' ORDER BY id";
    let noted: Vec<String> = sqlx::query_scalar(sql).fetch_all(&house.services().database).await.unwrap();
    assert!(
        ids.iter().all(|id| noted.iter().filter(|entry| entry.contains(&id.to_string())).count() == 1),
        "{noted:?}"
    );
    assert!(noted.iter().any(|entry| entry.starts_with("elsewhere-isd message ")), "{noted:?}");
    let mut subscription = bus.subscribe(Queue::Flags, 1).await.unwrap();
    let delivery = tokio::time::timeout(LIMIT, subscription.next()).await.unwrap().unwrap();
    assert_eq!(delivery.message.as_ref().unwrap().id, waits.id, "what waits is not touched");
    subscription.ack(delivery).await.unwrap();
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

/// What `reconcile --check` tells: each disagreement by its name.
async fn told(house: &House) -> BTreeSet<String> {
    let answer = house.rollcall(&["reconcile", "--check", "--format", "json"]).await;
    let rows = answer.json();
    let told: BTreeSet<String> =
        rows.as_array().unwrap().iter().map(|row| row["disagreement"].as_str().unwrap().to_owned()).collect();
    assert_eq!(answer.code, i32::from(!told.is_empty()), "{answer:#?}");
    told
}

/// What was done at the broker shows in its counts a little later.
async fn until_it_tells(house: &House, expected: &[&str]) {
    let expected: BTreeSet<String> = expected.iter().map(ToString::to_string).collect();
    until_told(&format!("{expected:?} to be told"), LIMIT, || async { (told(house).await == expected).then_some(()) })
        .await;
}

/// Facts put into the store, and what is told then. `$1` is the earlier run, `$2` the later one.
const FACTS: [(&str, &[&str]); 11] = [
    ("UPDATE run SET touched_at = now() + interval '10 minutes' WHERE id IN ($1, $2)", &[]),
    ("UPDATE run SET touched_at = now() - interval '1 hour' WHERE id = $1 AND id <> $2", &["pages-lost"]),
    ("UPDATE run SET stage = 'plan' WHERE id = $1 AND id <> $2", &["plan-lost"]),
    // Rightly: it waits for what the other one has released.
    ("UPDATE run SET stage = 'release', added = 1 WHERE id = $2 AND id <> $1", &[]),
    ("UPDATE run SET touched_at = now() - interval '1 hour' WHERE id = $2 AND id <> $1", &["batches-lost"]),
    ("UPDATE run SET stage = 'closed', state = 'failed', ended_at = now() WHERE id = $2 AND id <> $1", &["plan-lost"]),
    // Rightly: somebody plans it.
    ("UPDATE run SET plan_lease_until = now() + interval '1 hour' WHERE id = $1 AND id <> $2", &[]),
    (
        "UPDATE run SET stage = 'recheck', plan_lease_until = NULL WHERE id = $1 AND id <> $2",
        &["pages-lost", "plan-lost"],
    ),
    (
        "UPDATE run SET stage = 'closed', state = 'failed', ended_at = now() + interval '10 minutes'
         WHERE id IN ($1, $2)",
        &[],
    ),
    (
        "INSERT INTO flag_sync (district, enabled) SELECT district, true FROM run WHERE id IN ($1, $2) LIMIT 1
         ON CONFLICT (district) DO UPDATE SET enabled = true",
        &[],
    ),
    ("UPDATE run SET ended_at = now() - interval '1 hour' WHERE id IN ($1, $2)", &["flags-due"]),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_disagreement_is_told_and_what_rightly_waits_is_not() {
    let house = house().await;
    let bus = bus(&house).await;
    let runs = [house.begin().await, house.begin().await].map(|run| run.parse::<uuid::Uuid>().unwrap());
    house.services().purge_queues().await;
    for (sql, expected) in FACTS {
        let set = sqlx::query(sql).bind(runs[0]).bind(runs[1]).execute(&house.services().database).await.unwrap();
        assert!(set.rows_affected() > 0, "{sql}");
        assert_eq!(told(&house).await, expected.iter().map(ToString::to_string).collect(), "{sql}");
    }
    let nothing = "UPDATE flag_sync SET enabled = false";
    sqlx::query(nothing).execute(&house.services().database).await.unwrap();

    // Parked for a run, and for a district, that this store never had.
    let (here, elsewhere): (DistrictId, DistrictId) = (DISTRICT.parse().unwrap(), "elsewhere-isd".parse().unwrap());
    let stray = RunId(uuid::Uuid::now_v7());
    let page = Message::new(here, stray, SystemClock.now(), Body::Discover(Discover { connection: ConnectionNo(0) }));
    park(&bus, Queue::Fetch, std::slice::from_ref(&page)).await;
    until_it_tells(&house, &["run-unknown"]).await;
    bus.discard(Queue::Fetch, &ParkedFilter::default()).await.unwrap();
    park(&bus, Queue::Flags, &[Message::flag_sync(elsewhere, None, SystemClock.now())]).await;
    until_it_tells(&house, &["district-unknown"]).await;
    bus.discard(Queue::Flags, &ParkedFilter::default()).await.unwrap();

    bus.publish(&[page]).await.unwrap();
    until_it_tells(&house, &["nobody-consumes"]).await;
    house.services().purge_queues().await;
    until_it_tells(&house, &[]).await;

    house.services().declare_otherwise("rollcall.write").await;
    house.services().delete_queue("rollcall.retry.5s").await;
    let both = ["queue-differs", "queue-missing"];
    until_it_tells(&house, &both).await;
    assert_eq!(told(&house).await, both.map(str::to_owned).into(), "looking mends nothing");
    house.close().await;
}
