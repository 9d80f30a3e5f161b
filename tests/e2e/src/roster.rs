//! What Rollcall shows and keeps, read from outside.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde::Deserialize;
use sqlx::{AssertSqlSafe, Connection as _, PgPool, SqliteConnection, sqlite::SqliteConnectOptions};

/// Tables that a night may write to only where something has changed.
pub const ROSTER_TABLES: [&str; 6] = ["student", "contact", "enrollment", "school", "staff", "history"];

/// Tables that every night writes to: its pages, its plan, itself.
pub const NIGHT_TABLES: [&str; 4] = ["page", "plan", "plan_batch", "run"];

/// A run as `runs show --format json` prints it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct RunRow {
    /// Its id.
    pub run: String,
    /// Where it stands.
    pub state: String,
    /// Why it stands there.
    pub reason: Option<String>,
    /// Digest of the plan.
    pub plan_hash: Option<String>,
    /// `scheduled` or `manual`.
    pub trigger: String,
    /// Students that the SIS listed.
    pub listed: u64,
    /// Students stored and not listed.
    pub missing: u64,
    /// Students new to the roster.
    pub added: u64,
    /// Students with another stored difference.
    pub changed: u64,
    /// Students taken out.
    pub removed: u64,
    /// Students as they were.
    pub unchanged: u64,
    /// Students left out.
    pub skipped: u64,
    /// Events written.
    pub applied: u64,
    /// Events set aside.
    pub parked: u64,
    /// Events that a newer run had made void.
    pub superseded: u64,
    /// What was noticed on the way.
    pub findings: Vec<Finding>,
}

/// Something a run noticed.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Finding {
    /// Its code.
    pub code: String,
    /// For people.
    pub message: String,
}

impl RunRow {
    /// The accounting that holds for every run that has ended well.
    #[track_caller]
    pub fn check_counts(&self) {
        let told = self.added + self.changed + self.removed + self.unchanged + self.skipped;
        assert_eq!(self.listed + self.missing, told, "every student is accounted for: {self:#?}");
        let settled = self.applied + self.parked + self.superseded;
        assert_eq!(self.added + self.changed + self.removed, settled, "every event is settled: {self:#?}");
    }

    /// Reason and findings in one text.
    pub fn why(&self) -> String {
        let findings = self.findings.iter().map(|finding| format!("{}: {}\n", finding.code, finding.message));
        format!("{}\n{}", self.reason.as_deref().unwrap_or_default(), findings.collect::<String>())
    }

    /// How many students this run writes.
    pub fn events(&self) -> u64 {
        self.added + self.changed + self.removed
    }
}

/// A row of `students list --format json`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct StudentRow {
    /// The SIS's id.
    pub student_id: String,
    /// Last name.
    pub last_name: Option<String>,
    /// Status.
    pub status: String,
    /// Since when.
    pub status_since: String,
}

/// Statuses by student.
pub fn statuses(rows: &[StudentRow]) -> BTreeMap<String, String> {
    rows.iter().map(|row| (row.student_id.clone(), row.status.clone())).collect()
}

/// A digest of each table's facts: equal facts give equal digests, whichever run wrote them and when.
pub async fn facts(database: &PgPool) -> BTreeMap<&'static str, String> {
    digest(database, "(to_jsonb(t) - 'run' - 'status_run' - 'ended_run' - 'run_seq' - 'at')::text").await
}

/// A district's facts as a multiset: each row's text, whichever run wrote it and when, with how often it is there.
pub type Facts = BTreeMap<String, u64>;

/// The facts of one district, without its name: two districts with equal facts are equal here.
pub async fn facts_of(database: &PgPool, district: &str) -> Facts {
    let mut facts = Facts::new();
    for table in ROSTER_TABLES {
        let sql = format!(
            "SELECT '{table} ' || (to_jsonb(t) - 'district' - 'run' - 'status_run' - 'ended_run' - 'run_seq' - 'at')::text \
             FROM {table} t WHERE district = $1"
        );
        let rows: Result<Vec<String>, _> =
            sqlx::query_scalar(AssertSqlSafe(sql)).bind(district).fetch_all(database).await;
        for row in rows.unwrap_or_else(|error| panic!("{table}: {error}")) {
            *facts.entry(row).or_default() += 1;
        }
    }
    facts
}

/// The facts of an embedded store, which holds one district: as [`facts_of`].
pub async fn facts_in(store: &Path) -> Facts {
    let options = SqliteConnectOptions::new().filename(store).read_only(true);
    let mut connection = SqliteConnection::connect_with(&options).await.expect("the store can be opened");
    let mut facts = Facts::new();
    for table in ROSTER_TABLES {
        let columns = "SELECT group_concat('quote(\"' || name || '\")', ' || '' '' || ') FROM pragma_table_info($1) \
                       WHERE name NOT IN ('district', 'run', 'status_run', 'ended_run', 'run_seq', 'at')";
        let row: String = sqlx::query_scalar(columns).bind(table).fetch_one(&mut connection).await.expect("a table");
        let sql = format!("SELECT '{table} ' || {row} FROM {table}");
        let rows: Result<Vec<String>, _> = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&mut connection).await;
        for row in rows.unwrap_or_else(|error| panic!("{table}: {error}")) {
            *facts.entry(row).or_default() += 1;
        }
    }
    facts
}

/// Fails where one has a row that the other does not have, or not as often.
#[track_caller]
pub fn assert_same(what: &str, undisturbed: &Facts, disturbed: &Facts) {
    assert!(!undisturbed.is_empty(), "{what}: there is something to compare with");
    let ((lost, rows_lost), (doubled, rows_doubled)) =
        (missing(undisturbed, disturbed), missing(disturbed, undisturbed));
    assert!(lost + doubled == 0, "{what}: lost {lost}: {rows_lost:#?}, too many {doubled}: {rows_doubled:#?}");
}

/// How many rows of `left` are not in `right`, and the first few of them.
pub fn missing(left: &Facts, right: &Facts) -> (u64, Vec<String>) {
    let lacking = left.iter().filter_map(|(row, count)| {
        let lacking = count.saturating_sub(right.get(row).copied().unwrap_or_default());
        (lacking > 0).then(|| (row.clone(), lacking))
    });
    let lacking: Vec<_> = lacking.collect();
    (lacking.iter().map(|(_, count)| count).sum(), lacking.into_iter().take(5).map(|(row, _)| row).collect())
}

/// A digest of each table's row versions: it changes with every new version, one with equal facts included.
pub async fn versions(database: &PgPool) -> BTreeMap<&'static str, String> {
    digest(database, "t.ctid::text || ' ' || t.xmin::text").await
}

/// The version of each row of all tables but the roster's, by table.
pub async fn versions_beside(database: &PgPool) -> BTreeMap<String, BTreeSet<String>> {
    let sql = "SELECT relname::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace";
    let tables: Vec<String> = sqlx::query_scalar(sql).fetch_all(database).await.expect("the tables can be listed");
    let mut versions = BTreeMap::new();
    for table in tables.into_iter().filter(|table| !ROSTER_TABLES.contains(&table.as_str())) {
        let sql = format!("SELECT t.ctid::text || ' ' || t.xmin::text FROM {table} t");
        let rows: Result<Vec<String>, _> = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(database).await;
        let rows = rows.unwrap_or_else(|error| panic!("{table}: {error}"));
        versions.insert(table, rows.into_iter().collect());
    }
    versions
}

/// How many rows are there in a version that was not: the tables of every night first, then others where there are any.
pub fn rows_written(
    before: &BTreeMap<String, BTreeSet<String>>,
    after: &BTreeMap<String, BTreeSet<String>>,
) -> Vec<(String, usize)> {
    let written = |table: &str| {
        let (Some(before), Some(after)) = (before.get(table), after.get(table)) else { return 0 };
        after.difference(before).count()
    };
    let others = after.keys().filter(|table| !NIGHT_TABLES.contains(&table.as_str()) && written(table) > 0);
    let tables = NIGHT_TABLES.into_iter().map(str::to_owned).chain(others.cloned());
    tables.map(|table| (table.clone(), written(&table))).collect()
}

async fn digest(database: &PgPool, row: &str) -> BTreeMap<&'static str, String> {
    let mut digests = BTreeMap::new();
    for table in ROSTER_TABLES {
        let sql = format!(
            "SELECT count(*) || ' rows ' || md5(coalesce(string_agg(r, ',' ORDER BY r), '')) FROM (SELECT {row} AS r FROM {table} t) rows"
        );
        let text = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(database).await;
        digests.insert(table, text.unwrap_or_else(|error| panic!("{table}: {error}")));
    }
    digests
}
