//! Runs made by the clock, over a real store: many schedulers, clocks that step back, districts that stand still.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use rollcall_fetcher::schedule::tick;
use rollcall_proto::clock::ManualClock;
use rollcall_store::{
    Store,
    district::{ConnectionSecrets, District},
    run::{Run, RunState, Trigger},
    secret::Keyring,
};
use serde_json::json;

fn utc(text: &str) -> DateTime<Utc> {
    text.parse().expect("an instant")
}

fn district(id: &str, schedule: &serde_json::Value) -> District {
    let connection =
        json!({ "kind": "skyward-qmlativ", "base_url": "https://sis.example/Api", "client_id": "rollcall" });
    serde_json::from_value(json!({
        "id": id, "name": "Invented ISD", "time_zone": "America/Chicago",
        "connection": [connection], "schedule": schedule,
    }))
    .expect("a district")
}

/// A store with these districts, applied on 1 March 2026.
async fn store_with(districts: &[District]) -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().expect("a directory");
    let key = Keyring::open_or_create(&dir.path().join("key")).expect("a key");
    let store = Store::open_embedded(dir.path(), key).await.expect("a store");
    for district in districts {
        let secrets = [ConnectionSecrets::default()];
        store.apply_district(district, &secrets, "test", utc("2026-03-01T18:00:00Z")).await.expect("applied");
    }
    (dir, store)
}

async fn runs_at(store: &Store, now: &str) -> Vec<Run> {
    tick(store, &ManualClock::new(utc(now))).await.expect("a tick")
}

#[tokio::test]
async fn a_due_run_is_made_once() {
    let (_dir, store) = store_with(&[district("lone-star", &json!({ "at": "02:00" }))]).await;
    assert_eq!(runs_at(&store, "2026-03-02T07:59:00Z").await, []);
    let made = runs_at(&store, "2026-03-02T08:00:00Z").await;
    assert_eq!(made.len(), 1);
    assert_eq!((made[0].trigger, made[0].state), (Trigger::Scheduled, RunState::Queued));
    assert_eq!((made[0].as_of.to_string(), made[0].seq), ("2026-03-02".to_owned(), 1));
    assert!(!made[0].plan_only && !made[0].as_of_given);
    assert_eq!(runs_at(&store, "2026-03-02T08:00:00Z").await, []);
    assert_eq!(runs_at(&store, "2026-03-02T23:00:00Z").await, []);
    assert_eq!(runs_at(&store, "2026-03-03T08:00:00Z").await.len(), 1);
}

#[tokio::test]
async fn many_schedulers_make_one_run() {
    let (_dir, store) = store_with(&[district("lone-star", &json!({})), district("high-plains", &json!({}))]).await;
    for night in 0..5 {
        let clock = ManualClock::new(utc("2026-03-02T08:00:00Z") + TimeDelta::days(night));
        let ticks = (0..16).map(|_| {
            let (store, clock) = (store.clone(), clock.clone());
            tokio::spawn(async move { tick(&store, &clock).await })
        });
        let mut made = Vec::new();
        for task in ticks.collect::<Vec<_>>() {
            made.extend(task.await.expect("no panic").expect("a tick"));
        }
        let districts: BTreeSet<_> = made.iter().map(|run| run.district.clone()).collect();
        assert_eq!((made.len(), districts.len()), (2, 2), "night {night}");
    }
    assert_eq!(store.runs(None, 100).await.expect("runs").len(), 10);
}

#[tokio::test]
async fn a_clock_that_steps_back_days_makes_no_second_run() {
    let (_dir, store) = store_with(&[district("lone-star", &json!({}))]).await;
    for day in ["02", "03", "04"] {
        assert_eq!(runs_at(&store, &format!("2026-03-{day}T09:00:00Z")).await.len(), 1);
    }
    for day in ["03", "02", "03", "04"] {
        assert_eq!(runs_at(&store, &format!("2026-03-{day}T09:30:00Z")).await, []);
    }
    assert_eq!(runs_at(&store, "2026-03-05T09:00:00Z").await.len(), 1);
}

#[tokio::test]
async fn a_clock_that_was_a_year_ahead_stops_no_night() {
    let (_dir, store) = store_with(&[district("lone-star", &json!({}))]).await;
    assert_eq!(runs_at(&store, "2027-06-01T09:00:00Z").await.len(), 1);
    assert_eq!(runs_at(&store, "2026-03-02T09:00:00Z").await.len(), 1);
    assert_eq!(runs_at(&store, "2026-03-02T09:01:00Z").await, []);
    assert_eq!(runs_at(&store, "2026-03-03T09:00:00Z").await.len(), 1);
}

#[tokio::test]
async fn an_outage_is_caught_up_once() {
    let (_dir, store) = store_with(&[district("lone-star", &json!({}))]).await;
    assert_eq!(runs_at(&store, "2026-03-02T09:00:00Z").await.len(), 1);
    let back = runs_at(&store, "2026-03-09T20:00:00Z").await;
    assert_eq!(back.iter().map(|run| run.as_of.to_string()).collect::<Vec<_>>(), ["2026-03-09"]);
    assert_eq!(runs_at(&store, "2026-03-09T20:01:00Z").await, []);
}

#[tokio::test]
async fn a_schedule_that_is_off_makes_nothing() {
    let (_dir, store) = store_with(&[
        district("by-hand", &json!({ "enabled": false })),
        district("resting", &json!({ "weekends": false })),
    ])
    .await;
    assert_eq!(runs_at(&store, "2026-03-07T20:00:00Z").await, []);
    let monday = runs_at(&store, "2026-03-09T20:00:00Z").await;
    assert_eq!(monday.iter().map(|run| run.district.as_str()).collect::<Vec<_>>(), ["resting"]);
}
