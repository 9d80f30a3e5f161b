//! What the store's tests share: a store of their own on either engine, and small invented values.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]
#![allow(dead_code, reason = "no test file uses all of it")]

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use rollcall_proto::id::{ConnectionNo, DistrictId, ListingNo, PageNo};
use rollcall_store::{
    Store,
    board::{Board, PageFacts, Told},
    district::{ConnectionSecrets, District},
    page::NewPage,
    plan::{NewPlan, Verdict},
    run::{Discovery, NewRun, Run, Trigger},
    secret::Keyring,
};
use secrecy::SecretString;
use sqlx::{Connection as _, Executor as _, PgConnection};

/// A store on an engine of its own, gone at the end.
pub struct Fixture {
    pub store: Store,
    pub key: SecretString,
    place: Place,
}

enum Place {
    Embedded(tempfile::TempDir),
    Postgres(Database),
}

impl Fixture {
    pub async fn embedded() -> Self {
        let (key, dir) = (new_key(), tempfile::tempdir().unwrap());
        let store = Store::open_embedded(dir.path(), ring(&key)).await.unwrap();
        Self { store, key, place: Place::Embedded(dir) }
    }

    pub async fn postgres() -> Self {
        let (key, database) = (new_key(), Database::create().await);
        Store::migrate(&database.url()).await.unwrap();
        let store = Store::connect(&database.url(), ring(&key), 8).await.unwrap();
        Self { store, key, place: Place::Postgres(database) }
    }

    /// The same store as another process opens it, with `key`.
    pub async fn opened_with(&self, key: &SecretString) -> Store {
        match &self.place {
            Place::Embedded(dir) => Store::open_embedded(dir.path(), ring(key)).await.unwrap(),
            Place::Postgres(database) => Store::connect(&database.url(), ring(key), 4).await.unwrap(),
        }
    }

    /// The same store as another process opens it.
    pub async fn again(&self) -> Store {
        self.opened_with(&self.key).await
    }

    /// Applies the migrations that are missing.
    pub async fn migrate_again(&self) {
        match &self.place {
            Place::Embedded(_) => drop(self.again().await),
            Place::Postgres(database) => drop(Store::migrate(&database.url()).await.unwrap()),
        }
    }

    /// The directory of an embedded store.
    pub fn dir(&self) -> Option<&std::path::Path> {
        match &self.place {
            Place::Embedded(dir) => Some(dir.path()),
            Place::Postgres(_) => None,
        }
    }

    /// The database of a store on PostgreSQL.
    pub fn database(&self) -> &Database {
        match &self.place {
            Place::Embedded(_) => panic!("an embedded store has no URL"),
            Place::Postgres(database) => database,
        }
    }

    /// A district with one connection.
    pub async fn district(&self, id: &str) -> DistrictId {
        let district = district(id);
        self.store.apply_district(&district, &[ConnectionSecrets::default()], "test", now()).await.unwrap();
        district.id
    }

    /// A manual run, made.
    pub async fn run(&self, district: &DistrictId) -> Run {
        self.store.create_run(&manual(district), now()).await.unwrap().unwrap()
    }

    /// A manual run that stands at Plan.
    pub async fn run_at_plan(&self, district: &DistrictId) -> Run {
        let run = self.run(district).await;
        let (first, store) = (ConnectionNo(0), &self.store);
        store.start_run(district, run.id, now()).await.unwrap();
        store.save_discovery(district, run.id, first, &Discovery::default(), &Board::default()).await.unwrap();
        store.with_board(district, run.id, first, |_| ((), true)).await.unwrap().unwrap();
        assert!(store.pulled(district, run.id, now()).await.unwrap());
        store.run(district, run.id).await.unwrap()
    }
}

/// A database of a test's own.
pub struct Database {
    admin: url::Url,
    name: String,
}

impl Database {
    pub async fn create() -> Self {
        let database = Self { admin: admin_url(), name: format!("rollcall_{}", uuid::Uuid::new_v4().simple()) };
        database.admin_execute(format!("CREATE DATABASE {}", database.name)).await;
        database
    }

    /// As the superuser.
    pub fn url(&self) -> SecretString {
        self.url_as(None)
    }

    /// As a user without a password.
    pub fn url_as(&self, user: Option<&str>) -> SecretString {
        let mut url = self.admin.clone();
        url.set_path(&self.name);
        if let Some(user) = user {
            url.set_username(user).unwrap();
        }
        SecretString::from(url.to_string())
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// A plain connection, as the superuser.
    pub async fn connect(&self) -> PgConnection {
        self.connect_as(None).await
    }

    pub async fn connect_as(&self, user: Option<&str>) -> PgConnection {
        use secrecy::ExposeSecret as _;
        PgConnection::connect(self.url_as(user).expose_secret()).await.unwrap()
    }

    /// A statement in the cluster's own database, as the superuser.
    pub async fn admin_execute(&self, sql: String) {
        admin_execute(&self.admin, sql).await;
    }
}

async fn admin_execute(admin: &url::Url, sql: String) {
    let mut connection = PgConnection::connect(admin.as_str()).await.expect("the test server is away");
    connection.execute(sqlx::AssertSqlSafe(sql)).await.unwrap();
    connection.close().await.unwrap();
}

impl Drop for Database {
    fn drop(&mut self) {
        let (admin, sql) = (self.admin.clone(), format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(admin_execute(&admin, sql));
        })
        .join();
        assert!(dropped.is_ok() || std::thread::panicking(), "a test's database could not be dropped");
    }
}

#[expect(clippy::disallowed_methods, reason = "tests are told where the server is by ./test")]
pub fn admin_url() -> url::Url {
    let url = std::env::var("ROLLCALL_TEST_DATABASE_URL")
        .expect("ROLLCALL_TEST_DATABASE_URL is not set: run ./test, which starts a private PostgreSQL");
    url.parse().expect("ROLLCALL_TEST_DATABASE_URL is not a URL")
}

/// Runs each test on both engines.
#[macro_export]
macro_rules! on_both_engines {
    ($($test:ident,)*) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test($crate::common::Fixture::embedded().await).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test($crate::common::Fixture::postgres().await).await;
            })*
        }
    };
}

pub fn new_key() -> SecretString {
    SecretString::from(Keyring::generate().unwrap())
}

pub fn ring(key: &SecretString) -> Keyring {
    Keyring::from_base64(key).unwrap()
}

/// Both keys, the first of which seals.
pub fn both(first: &SecretString, second: &SecretString) -> SecretString {
    use secrecy::ExposeSecret as _;
    SecretString::from(format!("{},{}", first.expose_secret(), second.expose_secret()))
}

/// A moment with microseconds, as precise as a store keeps it.
pub fn now() -> DateTime<Utc> {
    "2026-10-05T07:00:00.123456Z".parse().unwrap()
}

pub fn later(minutes: i64) -> DateTime<Utc> {
    now() + TimeDelta::minutes(minutes)
}

pub fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

/// A district with one connection.
pub fn district(id: &str) -> District {
    let json = format!(
        r#"{{"id": "{id}", "name": "District {id}", "time_zone": "America/Chicago", "connection":
            [{{"kind": "skyward-qmlativ", "base_url": "https://sis.example/API", "client_id": "rollcall"}}]}}"#
    );
    serde_json::from_str(&json).unwrap()
}

pub fn manual(district: &DistrictId) -> NewRun {
    NewRun {
        district: district.clone(),
        trigger: Trigger::Manual,
        as_of: day("2026-10-05"),
        plan_only: false,
        as_of_given: false,
        everything: false,
        requested_by: "test".to_owned(),
    }
}

pub fn scheduled(district: &DistrictId, as_of: &str) -> NewRun {
    NewRun { trigger: Trigger::Scheduled, as_of: day(as_of), ..manual(district) }
}

/// What [`page`] told of its listing.
pub fn facts(page: u32) -> PageFacts {
    PageFacts { rows: 500, random_access: true, digest: Some(u64::from(page)), ..PageFacts::default() }
}

/// A page that decoded.
pub fn page(listing: u32, page: u32) -> NewPage {
    NewPage {
        connection: ConnectionNo(0),
        listing: ListingNo(listing),
        page: PageNo(page),
        status: 200,
        raw: Some(format!("raw {listing}/{page}").into_bytes()),
        fragments: format!("fragments {listing}/{page}").into_bytes(),
        rows: 500,
        digest: [page as u8; 16],
        body_digest: Some([page as u8; 16]),
        told: Some(Told { reading: 1, facts: facts(page) }.to_bytes().unwrap()),
        claimed_total: Some(1_000),
        error: None,
        asked_at: now(),
        took_ms: 25,
        collected_at: later(1),
    }
}

/// A plan without any event.
pub fn empty_plan(verdict: Verdict) -> NewPlan {
    NewPlan { hash: rollcall_proto::message::Fingerprint([7; 16]), ..NewPlan::empty(verdict) }
}
