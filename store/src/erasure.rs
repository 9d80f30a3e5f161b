//! Erasing a district that has been removed: every row of it, and what is left to prove it.
//!
//! The one place where a student is deleted. Invariants: only a removed district none of whose runs is open; the schema's
//! owner does it, since a worker may not delete what history rests on; one transaction a table, so that a large district
//! holds no lock for long, and a call that breaks off is taken up again by the next; what remains in the store is one entry
//! of the audit trail with the counts.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use rollcall_proto::id::DistrictId;

use crate::{
    Store, StoreError,
    audit::AuditEntry,
    sql::{Tx, args},
    trail,
};

type Result<T> = std::result::Result<T, StoreError>;

const OPERATION: &str = "erase a district";

/// The entries of the audit trail that count, table by table, and the one that stays.
const ERASING: &str = "district.erasing";
const ERASED: &str = "district.erased";

macro_rules! tables {
    ($($table:literal)*) => { [$(($table, concat!("DELETE FROM ", $table, " WHERE district = $1"))),*] };
}

/// Every tenant table but the audit trail and `district` itself; those that refer to others first. A test compares the list with the
/// schema.
const TABLES: [(&str, &str); 35] = tables! {
    "integration_token" "integration" "document_view" "lti_user" "lti_key" "lti_ticket" "lti_login" "lti_deployment" "lti_registration"
    "flag_pending" "flag_program" "flag_sync" "cutover_flag" "cutover" "flag_ledger" "flag" "participation"
    "document_request" "document_content" "document_version" "document" "program"
    "student_rekey" "history" "staff" "school" "enrollment" "contact" "student"
    "parked_event" "plan_batch" "plan" "page" "pull" "finding"
};

/// After those: what they refer to.
const LAST: [(&str, &str); 4] = tables! { "baseline" "connection" "run" "district" };

/// SQLite has no rights: triggers guard what nobody deletes. Taken away and put back within each transaction, as the last
/// migration made them.
const GUARDS: [(&str, &str); 2] = [
    (
        "DROP TRIGGER IF EXISTS audit_is_not_deleted",
        "CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit
WHEN OLD.at >= strftime('%Y-%m-%dT%H:%M:%S+00:00', 'now', '-365 days')
BEGIN SELECT RAISE(ABORT, 'the audit trail of the last 365 days is not deleted'); END",
    ),
    (
        "DROP TRIGGER IF EXISTS document_view_is_not_deleted",
        "CREATE TRIGGER document_view_is_not_deleted BEFORE DELETE ON document_view
WHEN OLD.at >= strftime('%Y-%m-%dT%H:%M:%S+00:00', 'now', '-365 days')
BEGIN SELECT RAISE(ABORT, 'the access log of the last 365 days is not deleted'); END",
    ),
];

/// What was erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erasure {
    /// Its name.
    pub name: String,
    /// When it was removed.
    pub removed_at: DateTime<Utc>,
    /// Rows by table, over all calls that it took.
    pub rows: BTreeMap<String, u64>,
}

/// Why a district is not erased.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EraseRefusal {
    /// It is still served.
    #[error("it is still served: `rollcall district remove` it first")]
    NotRemoved,
    /// A run of it has not ended.
    #[error("{0} of its runs have not ended: cancel or discard them first")]
    OpenRuns(i64),
}

impl Store {
    /// Erases a removed district. Needs the rights of the schema's owner: on PostgreSQL the URL must be the owner's.
    pub async fn erase_district(
        &self,
        id: &DistrictId,
        actor: &str,
        now: DateTime<Utc>,
    ) -> Result<std::result::Result<Erasure, EraseRefusal>> {
        let (name, removed_at) = match self.erasable(id).await? {
            Ok(district) => district,
            Err(refusal) => return Ok(Err(refusal)),
        };
        for (table, sql) in TABLES {
            let mut tx = self.as_owner(id).await?;
            let rows = tx.execute(OPERATION, sql, args![id]).await?;
            if rows > 0 {
                note(&mut tx, id, actor, now, ERASING, format!("{table}={rows}")).await?;
            }
            commit_as_owner(tx).await?;
        }
        let rows = self.erase_last(id, actor, now).await?;
        Ok(Ok(Erasure { name, removed_at, rows }))
    }

    /// Whether [`Store::erase_district`] would; its name and when it was removed. Changes nothing.
    pub async fn erasable(
        &self,
        id: &DistrictId,
    ) -> Result<std::result::Result<(String, DateTime<Utc>), EraseRefusal>> {
        // A later version may keep more of a district than the tables that are known here.
        self.engine.check_own().await?;
        let mut tx = self.read(id, OPERATION).await?;
        let sql = "SELECT name, removed_at FROM district WHERE district = $1";
        let row = tx.row(OPERATION, sql, args![id]).await?.ok_or_else(|| StoreError::NoDistrict(id.clone()))?;
        let (name, removed_at) = (row.get(0)?, row.get::<Option<DateTime<Utc>>>(1)?);
        let sql = "SELECT count(*) FROM run WHERE district = $1 AND ended_at IS NULL";
        let open = tx.row(OPERATION, sql, args![id]).await?.map_or(Ok(0), |row| row.get::<i64>(0))?;
        tx.commit(OPERATION).await?;
        Ok(match (removed_at, open) {
            (None, _) => Err(EraseRefusal::NotRemoved),
            (Some(removed_at), 0) => Ok((name, removed_at)),
            (Some(_), open) => Err(EraseRefusal::OpenRuns(open)),
        })
    }

    /// The rest, and the counts of all: in one transaction, so that the entry that stays is there when the district is not.
    async fn erase_last(&self, id: &DistrictId, actor: &str, now: DateTime<Utc>) -> Result<BTreeMap<String, u64>> {
        let mut tx = self.as_owner(id).await?;
        let mut rows = BTreeMap::new();
        for (table, sql) in LAST {
            let erased = tx.execute(OPERATION, sql, args![id]).await?;
            rows.insert(table.to_owned(), erased);
        }
        let sql = "SELECT detail FROM audit WHERE district = $1 AND action = $2";
        for row in tx.rows(OPERATION, sql, args![id, ERASING]).await? {
            let detail: String = row.get(0)?;
            if let Some((table, erased)) = detail.split_once('=') {
                *rows.entry(table.to_owned()).or_default() += erased.parse::<u64>().unwrap_or_default();
            }
        }
        let erased = tx.execute(OPERATION, "DELETE FROM audit WHERE district = $1", args![id]).await?;
        rows.insert("audit".to_owned(), erased);
        rows.retain(|_, erased| *erased > 0);
        let counts: Vec<String> = rows.iter().map(|(table, rows)| format!("{table}={rows}")).collect();
        note(&mut tx, id, actor, now, ERASED, counts.join(" ")).await?;
        commit_as_owner(tx).await?;
        Ok(rows)
    }

    /// A transaction with the rights of who logged in, not of a worker.
    async fn as_owner(&self, id: &DistrictId) -> Result<Tx> {
        let mut tx = self.begin(id, OPERATION).await?;
        if tx.is_postgres() {
            tx.execute(OPERATION, "SET LOCAL ROLE NONE", args![]).await?;
            return Ok(tx);
        }
        for (take_away, _) in GUARDS {
            tx.execute(OPERATION, take_away, args![]).await?;
        }
        Ok(tx)
    }
}

async fn commit_as_owner(mut tx: Tx) -> Result<()> {
    if !tx.is_postgres() {
        for (_, put_back) in GUARDS {
            tx.execute(OPERATION, put_back, args![]).await?;
        }
    }
    tx.commit(OPERATION).await
}

async fn note(
    tx: &mut Tx,
    district: &DistrictId,
    actor: &str,
    at: DateTime<Utc>,
    action: &str,
    detail: String,
) -> Result<()> {
    trail::write(tx, &AuditEntry::new(district, at, actor, action, detail)).await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use super::*;
    use crate::secret::Keyring;

    async fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let key = Keyring::from_base64(&Keyring::generate().unwrap().into()).unwrap();
        let store = Store::open_embedded(dir.path(), key).await.unwrap();
        (dir, store)
    }

    async fn texts(store: &Store, sql: &'static str) -> BTreeSet<String> {
        let mut tx = store.lookout("look at the schema").await.unwrap();
        let rows = tx.rows("look at the schema", sql, args![]).await.unwrap();
        rows.iter().map(|row| row.get(0).unwrap()).collect()
    }

    #[tokio::test]
    async fn the_guards_are_put_back_as_they_were() {
        let (_dir, store) = store().await;
        let made =
            texts(&store, "SELECT sql FROM sqlite_master WHERE type = 'trigger' AND name LIKE '%_is_not_deleted'")
                .await;
        assert_eq!(made, GUARDS.into_iter().map(|(_, put_back)| put_back.to_owned()).collect());
    }

    #[tokio::test]
    async fn no_table_is_forgotten() {
        let (_dir, store) = store().await;
        let sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT LIKE '_sqlx%'";
        let tables = texts(&store, sql).await;
        let erased = TABLES.into_iter().chain(LAST).map(|(table, _)| table.to_owned());
        // The trail is dealt with by itself, and a chore is no district's.
        let erased: BTreeSet<String> = erased.chain(["audit".to_owned(), "chore".to_owned()]).collect();
        assert_eq!(tables, erased, "a new table belongs in TABLES, before what it refers to");
    }
}
