//! Ordering runs of many districts at once, and reading from the database what became of them.
//!
//! Runs are made and started as the schedule does it, by [`launch`]: a process of the command line for each of hundreds
//! would take the processors from what is measured.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use chrono::{DateTime, Utc};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use rollcall_e2e::{house, services::Services};
use rollcall_fetcher::launch;
use rollcall_proto::{
    bus::{
        SharedBus,
        amqp::{AmqpBus, AmqpConfig},
    },
    clock::SystemClock,
    topology::Queue,
};
use rollcall_store::{
    Store,
    run::{NewRun, Trigger},
    secret::Keyring,
};
use secrecy::SecretString;
use sqlx::{FromRow, PgPool, Row as _, postgres::PgRow};
use tokio::time::{Instant, sleep};

/// Runs that are made at once.
const AT_ONCE: usize = 8;

/// How often is looked at what is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Longer than anything waited for takes.
const LIMIT: Duration = Duration::from_mins(30);

/// Whether a run stops at its plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// Pulled and planned; nothing is written.
    Plan,
    /// All of it.
    End,
}

/// Where a run has got to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Point {
    /// Pages come in.
    Pull,
    /// All pages are in.
    Plan,
    /// Its plan is released.
    Write,
}

impl Point {
    const fn sql(self) -> &'static str {
        match self {
            Self::Pull => "SELECT EXISTS (SELECT 1 FROM page WHERE district = $1)",
            Self::Plan => "SELECT EXISTS (SELECT 1 FROM run WHERE district = $1 AND pulled_at IS NOT NULL)",
            Self::Write => "SELECT EXISTS (SELECT 1 FROM run WHERE district = $1 AND released_at IS NOT NULL)",
        }
    }
}

/// A run of a district, as far as it has come.
#[derive(Debug, Clone)]
pub(crate) struct Story {
    /// Whose.
    pub(crate) district: String,
    state: String,
    reason: Option<String>,
    added: i64,
    /// When it was ordered.
    pub(crate) created_at: DateTime<Utc>,
    /// When its first page was asked for.
    pub(crate) first_page_at: Option<DateTime<Utc>>,
    /// When all pages were in.
    pub(crate) pulled_at: Option<DateTime<Utc>>,
    /// When its plan was released.
    pub(crate) released_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub(crate) ended_at: Option<DateTime<Utc>>,
}

impl FromRow<'_, PgRow> for Story {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            district: row.try_get("district")?,
            state: row.try_get("state")?,
            reason: row.try_get("reason")?,
            added: row.try_get("added")?,
            created_at: row.try_get("created_at")?,
            first_page_at: row.try_get("first_page_at")?,
            pulled_at: row.try_get("pulled_at")?,
            released_at: row.try_get("released_at")?,
            ended_at: row.try_get("ended_at")?,
        })
    }
}

impl Story {
    /// Seconds from the order to `moment`.
    pub(crate) fn after(&self, moment: Option<DateTime<Utc>>) -> Option<f64> {
        Some(seconds(self.created_at, moment?))
    }
}

/// Seconds between two moments.
pub(crate) fn seconds(from: DateTime<Utc>, to: DateTime<Utc>) -> f64 {
    (to - from).num_microseconds().unwrap_or_default() as f64 / 1e6
}

/// See the module.
pub(crate) struct Orders {
    store: Store,
    bus: SharedBus,
    database: PgPool,
}

impl Orders {
    /// On an installation's servers.
    pub(crate) async fn open(services: &Services) -> anyhow::Result<Self> {
        let settings = services.settings();
        let key = settings.iter().find(|(name, _)| name == "ROLLCALL_KEY").context("an installation has a key")?;
        let keyring = Keyring::from_base64(&SecretString::from(key.1.clone()))?;
        let store = Store::connect(&SecretString::from(services.database_url()), keyring, AT_ONCE as u32).await?;
        let bus = AmqpBus::connect(AmqpConfig::new(services.amqp_url())).await?;
        Ok(Self { store, bus: Arc::new(bus), database: services.database.clone() })
    }

    /// Waits until so many processes of each role that a night needs are at work.
    pub(crate) async fn ready(&self, processes: usize) -> anyhow::Result<()> {
        for queue in [Queue::Fetch, Queue::Collect, Queue::Write] {
            self.consumers(queue, processes).await?;
        }
        Ok(())
    }

    /// Waits until so many processes consume from a queue.
    pub(crate) async fn consumers(&self, queue: Queue, wanted: usize) -> anyhow::Result<()> {
        let consume = async || {
            let depths = self.bus.depths().await?;
            let depth = depths.iter().find(|depth| depth.queue == queue);
            Ok(depth.and_then(|depth| depth.consumers).is_some_and(|consumers| consumers as usize >= wanted))
        };
        until(&format!("{wanted} consumers of {}", queue.name()), consume).await
    }

    /// Orders a run of each district, all at once.
    pub(crate) async fn order(&self, districts: &[String], until: Until) -> anyhow::Result<()> {
        stream::iter(districts).map(Ok).try_for_each_concurrent(AT_ONCE, |district| self.one(district, until)).await
    }

    async fn one(&self, district: &str, until: Until) -> anyhow::Result<()> {
        let new = NewRun {
            district: district.parse()?,
            trigger: Trigger::Manual,
            as_of: house::today(),
            plan_only: until == Until::Plan,
            as_of_given: false,
            everything: false,
            requested_by: "benchmark".to_owned(),
        };
        launch(&self.store, &self.bus, &new, &SystemClock).await?.context("a manual run is always made")?;
        Ok(())
    }

    /// The runs of these districts, in the order of their making. They have one each.
    pub(crate) async fn stories(&self, districts: &[String]) -> anyhow::Result<Vec<Story>> {
        let sql = "SELECT r.district, r.state, r.reason, r.added, r.created_at, r.pulled_at, r.released_at, r.ended_at, \
                          (SELECT min(p.asked_at) FROM page p WHERE p.district = r.district AND p.run = r.id) \
                          AS first_page_at \
                   FROM run r WHERE r.district = ANY($1) ORDER BY r.created_at";
        Ok(sqlx::query_as(sql).bind(districts).fetch_all(&self.database).await?)
    }

    /// Waits until the run of a district is at this point or beyond it.
    pub(crate) async fn reached(&self, point: Point, district: &str) -> anyhow::Result<()> {
        let look = async || {
            let there = sqlx::query_scalar::<_, bool>(point.sql()).bind(district).fetch_one(&self.database).await?;
            Ok(there)
        };
        until(&format!("{district} to be at {point:?}"), look).await
    }

    /// Waits until the runs of all these districts have stopped as wanted; how they went.
    pub(crate) async fn ended(&self, districts: &[String], wanted: Until) -> anyhow::Result<Vec<Story>> {
        let sql = "SELECT count(*) FROM run WHERE district = ANY($1) AND state NOT IN ('queued', 'running')";
        let all_ended = async || {
            let ended: i64 = sqlx::query_scalar(sql).bind(districts).fetch_one(&self.database).await?;
            Ok(ended as usize >= districts.len())
        };
        until(&format!("{} runs to stop", districts.len()), all_ended).await?;
        let stories = self.stories(districts).await?;
        let state = if wanted == Until::Plan { "held" } else { "succeeded" };
        for Story { district, state: is, reason, added, .. } in &stories {
            ensure!(is == state, "{district}'s run is {is}: {}", reason.as_deref().unwrap_or("it does not say why"));
            ensure!(*added > 0, "{district}'s first run has added nobody: nothing was measured");
        }
        Ok(stories)
    }
}

async fn until(what: &str, mut condition: impl AsyncFnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let start = Instant::now();
    while !condition().await? {
        ensure!(start.elapsed() < LIMIT, "waited {LIMIT:?} in vain for {what}");
        sleep(LOOK_AGAIN).await;
    }
    Ok(())
}
