//! Messages that come twice, in another order, nights later, in a language nobody speaks yet, and handlers that never end.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rollcall_e2e::{
    House, Ledger, Pair,
    pair::until_pages_are_in,
    points::{self, ARMED},
    services::Servers,
    until, until_told,
};
use rollcall_proto::{
    codec::{decode, encode},
    message::Body,
    topology::Queue,
};
use serde_json::Value;

/// Publishes messages again, in an order made of dice.
async fn republish_shuffled(pair_services: &rollcall_e2e::services::Services, messages: &[Value], seed: u64) {
    let mut messages: Vec<&Value> = messages.iter().collect();
    fastrand::Rng::with_seed(seed).shuffle(&mut messages);
    for message in messages {
        pair_services.republish(message).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_doubled_reordered_and_nights_late_change_nothing() {
    let test = "deliveries_doubled_reordered_and_nights_late_change_nothing";
    let ledger = Ledger::begin(test, "every message of a night again: at once, in another order, and nights later");
    let mut pair = Pair::begin(Servers::shared(), 91, ledger).await;
    pair.house.services().tap().await;
    let mut kept = Vec::new();
    let mut faults = 0;
    // While the night goes on, whatever was published comes again.
    pair.disturbed("doubled", &["succeeded"], async |house, run| {
        loop {
            let now = house.services().tapped().await;
            republish_shuffled(house.services(), &now, 1).await;
            // What was just published again is on the tap too: taken away, or it would come for ever.
            house.services().tapped().await;
            faults += now.len() as u64;
            kept.extend(now);
            if !["queued", "running"].contains(&house.show(run).await.state.as_str()) {
                break;
            }
        }
    })
    .await;
    assert!(faults > 20, "a night has messages: {faults}");
    // A night later all of them come again, in any order, before and in the middle of the next one.
    pair.disturbed("late", &["succeeded"], async |house, run| {
        republish_shuffled(house.services(), &kept, 2).await;
        until_pages_are_in(house, run, 5).await;
        republish_shuffled(house.services(), &kept, 3).await;
    })
    .await;
    pair.ledger.faults(faults + 2 * kept.len() as u64);
    let parked = pair.house.rollcall(&["queues", "list", "--format", "json"]).await.expect_code(0).json();
    let parked: u64 = parked.as_array().unwrap().iter().map(|row| row["parked"].as_u64().unwrap()).sum();
    assert_eq!(parked, 0, "a message that comes again is no trouble");
    pair.end().await;
}

/// `"version": 1` in MessagePack with named fields, and the same of a version that is not invented yet.
const VERSION_1: &[u8] = b"\xa7version\x01";
const VERSION_99: &[u8] = b"\xa7version\x63";

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_a_newer_version_is_parked_and_all_else_goes_on() {
    let test = "a_message_of_a_newer_version_is_parked_and_all_else_goes_on";
    let ledger = Ledger::begin(test, "a message of an unknown newer version among the others");
    let mut pair = Pair::begin(Servers::shared(), 92, ledger).await;
    pair.house.services().tap().await;
    pair.parks = true;
    pair.disturbed("newer", &["succeeded"], async |house, _| {
        let mut newer = until("a message to copy", Duration::from_secs(30), || async {
            let mut tapped = house.services().tapped().await.into_iter();
            tapped.find(|message| message["properties"]["type"] == "fetch.page")
        })
        .await;
        let mut bytes = STANDARD.decode(newer["payload"].as_str().unwrap()).unwrap();
        let at = bytes.windows(VERSION_1.len()).position(|window| window == VERSION_1).expect("an envelope's version");
        bytes[at..at + VERSION_99.len()].copy_from_slice(VERSION_99);
        newer["payload"] = STANDARD.encode(bytes).into();
        house.services().republish(&newer).await;
        let parked = until_told("it to be parked", Duration::from_secs(30), || async {
            let listed = house.rollcall(&["queues", "parked", "fetch", "--format", "json"]).await.expect_code(0).json();
            listed.as_array().unwrap().first().cloned()
        })
        .await;
        assert_eq!(parked["reason"], "unknown-version", "{parked}");
    })
    .await;
    pair.ledger.faults(1);
    pair.end().await;
}

/// As the first version of its kind wrote it: without what was added since, and nothing compressed.
fn as_first_written(message: &Value) -> Value {
    let sent = STANDARD.decode(message["payload"].as_str().unwrap()).unwrap();
    let is_packed = message["properties"]["content_encoding"] == "zstd";
    let bytes = if is_packed { zstd::decode_all(&*sent).unwrap() } else { sent };
    let mut first = decode(&bytes).expect("a message of ours");
    match &mut first.body {
        Body::Page(page) => page.told = None,
        Body::Students(students) => students.events.iter_mut().for_each(|event| event.rekeyed_from = None),
        _ => {}
    }
    let mut old = message.clone();
    old["payload"] = STANDARD.encode(encode(&first).unwrap()).into();
    old["properties"].as_object_mut().unwrap().remove("content_encoding");
    old
}

/// The queue that a message is for, by the exchange's bindings.
fn queue_of(message: &Value) -> &'static str {
    let key = message["routing_key"].as_str().unwrap();
    let takes = |queue: &Queue| queue.bindings().iter().any(|binding| key.starts_with(binding.trim_end_matches('#')));
    Queue::ALL.into_iter().find(takes).unwrap_or_else(|| panic!("no queue takes {key}")).name()
}

/// While workers are replaced, those of the version before publish too: here next to nothing reaches a worker but in its oldest
/// form. What is published goes to the test alone, which hands it on.
#[tokio::test(flavor = "multi_thread")]
async fn messages_of_an_old_version_are_as_good_as_new_ones() {
    let test = "messages_of_an_old_version_are_as_good_as_new_ones";
    if points::in_turn(points::Turn::OldMessages).is_none() {
        return;
    }
    let ledger = Ledger::begin(test, "every message of a night as the first version wrote it");
    let mut pair = Pair::begin(Servers::shared(), 93, ledger).await;
    pair.house.services().tap().await;
    let mut old = BTreeMap::<String, u64>::new();
    pair.disturbed("old", &["succeeded"], async |house, run| {
        let services = house.services();
        // Whoever begins a run has declared the bindings anew.
        assert!(services.unbind_queues().await > 0);
        while ["queued", "running"].contains(&services.run_state(run).await.unwrap().as_str()) {
            services.unbind_queues().await;
            for message in services.tapped().await {
                services.hand_on(queue_of(&message), &as_first_written(&message)).await;
                *old.entry(message["properties"]["type"].as_str().unwrap().to_owned()).or_default() += 1;
            }
        }
    })
    .await;
    let kinds = ["fetch.page", "page.raw", "run.classify", "run.release", "student.events", "run.applied"];
    assert!(kinds.iter().all(|kind| old.contains_key(*kind)), "each kind was among them: {old:?}");
    let handed_on = old.values().sum();
    assert!(handed_on > 20, "{old:?}");
    pair.ledger.faults(handed_on);
    let queues = pair.house.rollcall(&["queues", "list", "--format", "json"]).await.expect_code(0).json();
    assert!(queues.as_array().unwrap().iter().all(|queue| queue["parked"] == 0), "{queues:#?}");
    pair.end().await;
}

/// A thread of the process never comes back, and the process lives on. What it had in hand is another's of its role in the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_loops_keeps_no_run_from_its_end() {
    let test = "a_handler_that_loops_keeps_no_run_from_its_end";
    let Some(points) = points::in_turn(points::Turn::Loops) else { return };
    let ledger = Ledger::begin(test, "a handler that loops, in a process that lives on");
    let mut pair = Pair::begin(Servers::shared(), 95, ledger).await;
    for (role, point) in points::LOOPS.into_iter().filter(|(_, point)| points.contains(*point)) {
        let loops = format!("{point}=1*delay(3600000);*=note");
        let prepare = async |house: &mut House| {
            house.take_worker(role).kill();
            house.start_worker_with(role, &[(ARMED, &loops)]);
        };
        pair.disturbed_from(&format!("{role:?}"), &["succeeded"], prepare, async |house, _| {
            let worker = house.worker(role);
            until("a handler to go round in circles", Duration::from_mins(1), || {
                let is_there = points::reached(&worker.log()).iter().any(|one| one == point);
                async move { is_there.then_some(()) }
            })
            .await;
            house.start_worker(role);
        })
        .await;
        pair.ledger.faults(1);
        let mut looping = pair.house.take_worker(role);
        assert!(looping.is_running(), "it lives on: {}", looping.log());
        looping.kill();
    }
    pair.end().await;
}
