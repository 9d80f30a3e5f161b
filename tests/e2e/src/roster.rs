//! What Rollcall shows and keeps, read from outside.

use std::collections::BTreeMap;

use serde::Deserialize;
use sqlx::{AssertSqlSafe, PgPool};

/// Tables that a night may write to only where something has changed.
pub const ROSTER_TABLES: [&str; 6] = ["student", "contact", "enrollment", "school", "staff", "history"];

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

/// A digest of each table's row versions: it changes with every new version, one with equal facts included.
pub async fn versions(database: &PgPool) -> BTreeMap<&'static str, String> {
    digest(database, "t.ctid::text || ' ' || t.xmin::text").await
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
