//! Messages that come twice, in another order, nights later, in a language nobody speaks yet, and handlers that never end.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rollcall_e2e::{Ledger, Pair, pair::until_pages_are_in, services::Servers, until, until_told};
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
