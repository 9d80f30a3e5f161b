//! The embedded store when SQLite undoes a transaction by itself, as it does where the disk is full at the commit.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use chrono::DateTime;
use rollcall_store::{
    Store,
    district::{ConnectionSecrets, District},
    secret::Keyring,
};
use serde_json::json;

fn district() -> District {
    serde_json::from_value(json!({
        "id": "oak", "name": "Oak", "time_zone": "America/Chicago",
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
