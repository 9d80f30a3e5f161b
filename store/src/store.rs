//! The store's entry point: opening it. What it does lies in the modules beside this one, by concern.

use std::{path::Path, sync::Arc};

use chrono::{DateTime, NaiveDate, Utc};
use rollcall_proto::id::{DistrictId, RunId};
use secrecy::SecretString;

use crate::{
    StoreError,
    run::Stage,
    secret::Keyring,
    sql::{CommitGate, Engine, is_private, migrate_postgres},
};

type Result<T> = std::result::Result<T, StoreError>;

/// The store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) engine: Engine,
    keys: Arc<Keyring>,
}

/// A run that is open, for the reconciler: ids, dates and states only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenRun {
    /// Whose.
    pub district: DistrictId,
    /// Which.
    pub run: RunId,
    /// Where it stands.
    pub stage: Stage,
    /// The date it decides for.
    pub as_of: NaiveDate,
    /// Last time its rows changed (page in, batch applied, stage changed).
    pub touched_at: DateTime<Utc>,
}

/// A district's schedule as the scheduler sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduledDistrict {
    /// Whose.
    pub district: DistrictId,
    /// Its time zone.
    pub time_zone: chrono_tz::Tz,
    /// Local time of day of the nightly run.
    pub at: chrono::NaiveTime,
    /// Also on Saturday and Sunday.
    pub weekends: bool,
    /// Local date of the last scheduled run made.
    pub last_scheduled: Option<NaiveDate>,
    /// When the district's schedule came to be (first apply): nothing before is caught up.
    pub since: DateTime<Utc>,
}

impl Store {
    /// Opens (and migrates) the embedded store `dir/store.db`.
    pub async fn open_embedded(dir: &Path, key: Keyring) -> Result<Self> {
        Ok(Self::new(Engine::sqlite(dir, None).await?, key))
    }

    /// [`Store::open_embedded`] with a gate before each commit: a simulation's way to have a process die there.
    pub async fn open_embedded_gated(dir: &Path, key: Keyring, gate: CommitGate) -> Result<Self> {
        Ok(Self::new(Engine::sqlite(dir, Some(gate)).await?, key))
    }

    /// Connects to PostgreSQL as a worker: SET ROLE `rollcall_app` on every connection; checks the schema version.
    pub async fn connect(url: &SecretString, key: Keyring, connections: u32) -> Result<Self> {
        Ok(Self::new(Engine::postgres(url, connections).await?, key))
    }

    /// Whether the URL leads to a database on this machine, or to one whose certificate is checked, name and all
    /// (`sslmode=verify-full`).
    pub fn is_private(url: &SecretString) -> Result<bool> {
        is_private(url)
    }

    /// Applies the migrations as the schema's owner: the database's owner with CREATEROLE, or a superuser. Returns the
    /// names of those applied.
    pub async fn migrate(url: &SecretString) -> Result<Vec<String>> {
        migrate_postgres(url).await
    }

    /// Can the database be reached right now, at the right schema, and does it take writes?
    pub async fn check(&self) -> Result<()> {
        self.engine.check().await
    }

    fn new(engine: Engine, key: Keyring) -> Self {
        Self { engine, keys: Arc::new(key) }
    }

    pub(crate) fn keyring(&self) -> &Keyring {
        &self.keys
    }
}
