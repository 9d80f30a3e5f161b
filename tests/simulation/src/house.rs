//! Where a simulation lives: an embedded store in a directory of its own, in memory where the machine has such a place.

use std::path::Path;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use rollcall_proto::id::DistrictId;
use rollcall_store::{
    Store,
    district::{ConnectionSecrets, District},
    run::{NewRun, Trigger},
    secret::Keyring,
};
use serde_json::json;
use sqlx::{AssertSqlSafe, SqlitePool, sqlite::SqliteConnectOptions};
use tempfile::TempDir;

use crate::life::Gate;

/// A directory in memory, on Linux.
const IN_MEMORY: &str = "/dev/shm";

/// The districts: id, and time zone.
pub(crate) const DISTRICTS: [(&str, Tz); 3] = [
    ("north-isd", chrono_tz::America::New_York),
    ("middle-isd", chrono_tz::America::Chicago),
    ("west-isd", chrono_tz::America::Los_Angeles),
];

/// A district whose only run nobody can read, and which is nobody's business.
pub(crate) const POISONED: &str = "poisoned-isd";

/// See the module.
pub(crate) struct House {
    pub(crate) store: Store,
    /// To look at what is stored from outside of the product.
    pub(crate) sql: SqlitePool,
    _dir: TempDir,
}

impl House {
    /// Opens a new store, all of whose commits go through `gate`.
    pub(crate) async fn open(gate: &Gate) -> anyhow::Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix("rollcall-simulation.");
        let dir = if Path::new(IN_MEMORY).is_dir() { builder.tempdir_in(IN_MEMORY) } else { builder.tempdir() }?;
        let key = Keyring::create_file(&dir.path().join("key"))?;
        let store = Store::open_embedded_gated(dir.path(), key, gate.hook()).await?;
        let options = SqliteConnectOptions::new().filename(dir.path().join("store.db"));
        let sql = SqlitePool::connect_with(options).await?;
        Ok(Self { store, sql, _dir: dir })
    }

    /// Applies the districts' files.
    pub(crate) async fn apply_districts(&self, most_removed: u32, now: DateTime<Utc>) -> anyhow::Result<()> {
        for (id, zone) in DISTRICTS {
            let secrets = ConnectionSecrets { client_secret: "secret".into(), ..ConnectionSecrets::default() };
            self.store.apply_district(&district(id, zone, most_removed)?, &[secrets], "simulation", now).await?;
        }
        Ok(())
    }

    /// A district of its own with an open run whose board cannot be read, older than any other run.
    pub(crate) async fn poison(&self, now: DateTime<Utc>) -> anyhow::Result<()> {
        let mut poisoned = district(POISONED, chrono_tz::UTC, 10)?;
        poisoned.schedule.enabled = false;
        self.store.apply_district(&poisoned, &[ConnectionSecrets::default()], "simulation", now).await?;
        let run = NewRun {
            district: poisoned.id,
            trigger: Trigger::Manual,
            as_of: now.date_naive(),
            plan_only: false,
            as_of_given: false,
            everything: false,
            requested_by: "simulation".to_owned(),
        };
        self.store.create_run(&run, now).await?;
        self.execute("UPDATE pull SET state = 'fetching', board = x'deadbeef' WHERE district = 'poisoned-isd'").await?;
        self.execute("UPDATE run SET stage = 'recheck', state = 'running' WHERE district = 'poisoned-isd'").await
    }

    /// Runs a statement past the product: how a test sabotages the store.
    pub(crate) async fn execute(&self, statement: &str) -> anyhow::Result<()> {
        sqlx::query(AssertSqlSafe(statement)).execute(&self.sql).await.with_context(|| statement.to_owned())?;
        Ok(())
    }
}

/// The host of a district's SIS.
pub(crate) fn host(id: &str) -> String {
    format!("{id}.example")
}

fn district(id: &str, zone: Tz, most_removed: u32) -> anyhow::Result<District> {
    Ok(serde_json::from_value(json!({
        "id": id, "name": id, "time_zone": zone.name(),
        "connection": [{
            "kind": "skyward-qmlativ", "base_url": format!("https://{}/API", host(id)), "client_id": "rollcall",
            "page_size": 25, "lanes": 3,
        }],
        "schedule": {"at": "02:00", "weekends": true},
        "status": {"graduated_withdrawal_codes": ["01"]},
        "hold": {"max_removed_percent": most_removed},
    }))?)
}

/// A district's id.
pub(crate) fn district_id(id: &str) -> anyhow::Result<DistrictId> {
    id.parse().map_err(|_| anyhow::anyhow!("{id} is no id"))
}
