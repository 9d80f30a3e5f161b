//! The embedded store when SQLite undoes a transaction by itself, as it does where the disk is full at the commit; and when it
//! refuses to delete what is one district's.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use chrono::{DateTime, TimeDelta, Utc};
use rollcall_store::{
    Store, StoreError,
    audit::AuditEntry,
    district::{ConnectionSecrets, District},
    secret::Keyring,
};
use serde_json::json;
use sqlx::{Connection as _, SqliteConnection};

fn district() -> District {
    named("oak")
}

fn named(id: &str) -> District {
    serde_json::from_value(json!({
        "id": id, "name": "Oak", "time_zone": "America/Chicago",
        "connection": [{"kind": "skyward-qmlativ", "base_url": "https://example.org/API", "client_id": "c"}],
    }))
    .unwrap()
}

#[tokio::test]
async fn a_commit_that_the_database_undoes_spoils_no_later_one() {
    let dir = tempfile::tempdir().unwrap();
    let key = Keyring::create_file(&dir.path().join("key")).unwrap();
    let open = Arc::new(AtomicBool::new(true));
    let gate = Arc::clone(&open);
    let store =
        Store::open_embedded_gated(dir.path(), key, Arc::new(move || gate.load(Ordering::SeqCst))).await.unwrap();
    let (district, secrets) = (district(), [ConnectionSecrets::default()]);
    let now = DateTime::from_timestamp(1_760_000_000, 0).unwrap();
    open.store(false, Ordering::SeqCst);
    store.apply_district(&district, &secrets, "test", now).await.unwrap_err();
    assert!(store.districts().await.unwrap().is_empty(), "nothing is written");
    open.store(true, Ordering::SeqCst);
    store.apply_district(&district, &secrets, "test", now).await.unwrap();
    assert_eq!(store.districts().await.unwrap(), vec![district.id]);
}

/// What ages out is looked through district by district: one whose rows cannot be deleted keeps no other's.
#[tokio::test]
async fn what_cannot_be_deleted_of_one_district_keeps_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_embedded(dir.path(), Keyring::create_file(&dir.path().join("key")).unwrap()).await.unwrap();
    let long_ago: DateTime<Utc> = DateTime::from_timestamp(1_000_000_000, 0).unwrap();
    let districts = ["ash", "birch", "cedar"].map(named);
    for district in &districts {
        store.apply_district(district, &[ConnectionSecrets::default()], "test", long_ago).await.unwrap();
        store.audit(&AuditEntry::new(&district.id, long_ago, "ann", "run.approve", "")).await.unwrap();
    }
    let mut sql =
        SqliteConnection::connect(&format!("sqlite:{}", dir.path().join("store.db").display())).await.unwrap();
    let refuse =
        "CREATE TRIGGER refuse BEFORE DELETE ON audit WHEN OLD.district = 'birch' BEGIN SELECT RAISE(ABORT, ''); END";
    sqlx::query(refuse).execute(&mut sql).await.unwrap();
    let now = long_ago + TimeDelta::days(1);
    let told = store.forget_trail(now, now).await.unwrap_err();
    assert!(matches!(told, StoreError::Refused { .. }), "{told}");
    let mut left = Vec::new();
    for district in &districts {
        let trail = store.audit_trail(&district.id, 10).await.unwrap();
        left.extend(trail.into_iter().filter(|entry| entry.action == "run.approve").map(|entry| entry.district));
    }
    assert_eq!(left, [districts[1].id.clone()]);
}
