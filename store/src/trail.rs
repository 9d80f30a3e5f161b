//! Keeping the audit trail: added to, never edited.

use std::collections::{BTreeMap, HashSet};

use rollcall_proto::id::{DistrictId, RunId};

use crate::{
    Store, StoreError,
    audit::AuditEntry,
    districts::district_id,
    sql::{Row, Tx, args},
};

type Result<T> = std::result::Result<T, StoreError>;

const ONCE: &str = "write the audit trail, each entry once";

/// Released at the end of the transaction. SQLite has one writer at a time as it is.
const ONE_AT_A_TIME: &str = "SELECT 1::bigint FROM pg_advisory_xact_lock(hashtext('audit.once'), hashtext($1))";

impl Store {
    /// Adds an entry.
    pub async fn audit(&self, entry: &AuditEntry) -> Result<()> {
        let operation = "write the audit trail";
        let mut tx = self.begin(&entry.district, operation).await?;
        write(&mut tx, entry).await?;
        tx.commit(operation).await
    }

    /// Adds entries, all of a district together.
    pub async fn audit_all(&self, entries: &[AuditEntry]) -> Result<()> {
        let operation = "write the audit trail";
        let mut sorted: BTreeMap<&DistrictId, Vec<&AuditEntry>> = BTreeMap::new();
        for entry in entries {
            sorted.entry(&entry.district).or_default().push(entry);
        }
        for (district, entries) in sorted {
            let mut tx = self.begin(district, operation).await?;
            for entry in entries {
                write(&mut tx, entry).await?;
            }
            tx.commit(operation).await?;
        }
        Ok(())
    }

    /// Adds those entries that the trail does not have, whoever asks for them, however often and at whatever time: for what
    /// is noted before it is done, by somebody who may die in between. Two are one where district, action, run and detail
    /// are equal. Returns how many it added.
    pub async fn audit_once(&self, entries: &[AuditEntry]) -> Result<u64> {
        let mut sorted: BTreeMap<(&DistrictId, &str), Vec<&AuditEntry>> = BTreeMap::new();
        for entry in entries {
            sorted.entry((&entry.district, &entry.action)).or_default().push(entry);
        }
        let mut added = 0;
        for ((district, action), entries) in sorted {
            added += self.audit_once_of(district, action, &entries).await?;
        }
        Ok(added)
    }

    async fn audit_once_of(&self, district: &DistrictId, action: &str, entries: &[&AuditEntry]) -> Result<u64> {
        let mut tx = self.begin(district, ONCE).await?;
        if tx.is_postgres() {
            tx.row(ONCE, ONE_AT_A_TIME, args![district]).await?;
        }
        let mut noted = noted(&mut tx, district, action).await?;
        let mut added = 0;
        for entry in entries {
            if noted.insert((entry.run, entry.detail.clone())) {
                write(&mut tx, entry).await?;
                added += 1;
            }
        }
        tx.commit(ONCE).await?;
        Ok(added)
    }

    /// Newest first.
    pub async fn audit_trail(&self, district: &DistrictId, limit: i64) -> Result<Vec<AuditEntry>> {
        let operation = "read the audit trail";
        let mut tx = self.read(district, operation).await?;
        let sql = "SELECT at, actor, action, run, detail, district FROM audit WHERE district = $1 \
                   ORDER BY id DESC LIMIT $2";
        let rows = tx.rows(operation, sql, args![district, limit]).await?;
        tx.commit(operation).await?;
        rows.iter().map(entry).collect()
    }
}

/// Adds an entry within a transaction.
pub(crate) async fn write(tx: &mut Tx, entry: &AuditEntry) -> Result<()> {
    let sql = "INSERT INTO audit (district, at, actor, action, run, detail) VALUES ($1, $2, $3, $4, $5, $6)";
    let values = args![&entry.district, entry.at, &entry.actor, &entry.action, entry.run, &entry.detail];
    tx.execute("write the audit trail", sql, values).await.map(drop)
}

/// Run and detail of the district's entries of an action.
async fn noted(tx: &mut Tx, district: &DistrictId, action: &str) -> Result<HashSet<(Option<RunId>, String)>> {
    let sql = "SELECT run, detail FROM audit WHERE district = $1 AND action = $2";
    let rows = tx.rows(ONCE, sql, args![district, action]).await?;
    rows.iter().map(|row| Ok((row.get::<Option<uuid::Uuid>>(0)?.map(RunId), row.get(1)?))).collect()
}

fn entry(row: &Row) -> Result<AuditEntry> {
    Ok(AuditEntry {
        at: row.get(0)?,
        actor: row.get(1)?,
        action: row.get(2)?,
        run: row.get::<Option<uuid::Uuid>>(3)?.map(RunId),
        detail: row.get(4)?,
        district: district_id(row, 5)?,
    })
}
