//! While workers are replaced by those of a newer version, both are at work: on the newer schema, and on each other's messages.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rollcall_e2e::{
    House, Ledger, Pair, Process, Role, binary,
    pair::{small, until_pages_are_in},
    services::Servers,
};
use rollcall_sandbox::SandboxConfig;
use serde_json::Value;
use sqlx::AssertSqlSafe;

/// `"later"`, `true` in MessagePack.
const LATER: &[u8] = b"\xa5later\xc3";

/// The key of a message's last field.
const BODY: &[u8] = b"\xa4body";

/// A message as a newer version would write it, that knows one field more of its kind, and one of the envelope. Nothing for one
/// that travels compressed.
fn as_written_later(message: &Value) -> Option<Value> {
    let mut bytes = STANDARD.decode(message["payload"].as_str().unwrap()).unwrap();
    let body = bytes.windows(BODY.len()).position(|window| window == BODY)? + BODY.len();
    // Maps of up to fifteen fields have their number in the first byte.
    for map in [0, body] {
        if !(0x80..0x8f).contains(&bytes[map]) {
            return None;
        }
        bytes[map] += 1;
        bytes.extend(LATER);
    }
    let mut later = message.clone();
    later["payload"] = STANDARD.encode(bytes).into();
    Some(later)
}

/// Something more in every table, which the version before knows nothing of.
async fn add_columns(house: &House, tables: &[&str]) {
    for table in tables {
        let sql = format!("ALTER TABLE {table} ADD COLUMN later text NOT NULL DEFAULT ''");
        sqlx::query(AssertSqlSafe(sql)).execute(&house.services().database).await.unwrap();
    }
}

/// Notes a migration of a newer version.
async fn note_migration(house: &House, version: i64, description: &str) {
    let database = &house.services().database;
    let sql = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
               VALUES ($1, $2, true, '', 0)";
    sqlx::query(sql).bind(version).bind(description).execute(database).await.unwrap();
}

fn start_other(program: &Path, role: Role, folder: &Path, settings: &[(String, String)]) -> Process {
    let name = format!("other-{}", role.word());
    Process::start_other(program, &name, folder, &["-v", "worker", role.word()], settings)
}

/// What runs is the version before; what a newer one would do is done by the test.
#[tokio::test(flavor = "multi_thread")]
async fn the_version_before_goes_on_with_a_newer_schema_and_newer_messages() {
    let test = "the_version_before_goes_on_with_a_newer_schema_and_newer_messages";
    let other = binary::other();
    let two =
        if other.is_some() { "; the programs of two versions at work, each role of the newer one killed" } else { "" };
    let disturbance = format!(
        "a newer version's schema in mid-run, each role killed and started again on it, and each message once more as a newer \
         version writes it{two}"
    );
    let ledger = Ledger::begin(test, &disturbance);
    // The version before encodes the secret in a Basic header: one that looks the same encoded.
    let sis = SandboxConfig { client_secret: "invented-and-plain".to_owned(), ..small(94) };
    let mut pair = Pair::begin_of(Servers::shared(), sis, ledger, async |_| {}).await;
    pair.house.services().tap().await;
    let mut later = 0;
    // What the district is compared with in the end is read before it is disturbed, with all that a row has.
    add_columns(&pair.house, &["student", "contact", "enrollment", "history"]).await;
    pair.disturbed("newer", &["succeeded"], async |house, run| {
        until_pages_are_in(house, run, 3).await;
        add_columns(house, &["district", "run", "pull", "page", "plan_batch", "parked_event"]).await;
        note_migration(house, 9_998, "later").await;
        // Where it is started again, as by Kubernetes in the middle of a roll-out, it starts.
        for role in Role::ALL {
            house.replace_worker(role);
        }
        loop {
            for message in house.services().tapped().await {
                if let Some(message) = as_written_later(&message) {
                    house.services().republish(&message).await;
                    later += 1;
                }
            }
            // What was just published is on the tap too.
            house.services().tapped().await;
            if !["queued", "running"].contains(&house.show(run).await.state.as_str()) {
                break;
            }
        }
    })
    .await;
    assert!(later > 20, "messages of a newer version were among them: {later}");
    pair.ledger.faults(4 + later);
    let queues = pair.house.rollcall(&["queues", "list", "--format", "json"]).await.expect_code(0).json();
    assert!(queues.as_array().unwrap().iter().all(|queue| queue["parked"] == 0), "{queues:#?}");

    // With a program of another version at hand, both are really at work, and whoever has a message is killed.
    if let Some(other) = other {
        let mut others = Vec::new();
        pair.disturbed("two programs", &["succeeded"], async |house, run| {
            let settings = house.settings();
            others = Role::ALL.map(|role| start_other(&other, role, house.folder(), &settings)).into();
            until_pages_are_in(house, run, 5).await;
            for role in Role::ALL {
                house.replace_worker(role);
            }
        })
        .await;
        assert!(others.iter_mut().all(Process::is_running), "the other version works");
        pair.ledger.faults(3);
    }

    note_migration(&pair.house, 9_999, "breaking later").await;
    let refused = pair.house.rollcall(&["runs", "list"]).await.expect_code(1);
    assert!(refused.text().contains("is too old for it: install the version that migrated it"), "{refused:#?}");
    let sql = "DELETE FROM _sqlx_migrations WHERE version = 9999";
    sqlx::query(sql).execute(&pair.house.services().database).await.unwrap();
    pair.end().await;
}
