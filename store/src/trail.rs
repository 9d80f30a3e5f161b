//! Keeping the audit trail: added to, never edited.

use rollcall_proto::id::{DistrictId, RunId};

use crate::{
    Store, StoreError,
    audit::AuditEntry,
    districts::district_id,
    sql::{Row, Tx, args},
};

type Result<T> = std::result::Result<T, StoreError>;

impl Store {
    /// Adds an entry.
    pub async fn audit(&self, entry: &AuditEntry) -> Result<()> {
        let operation = "write the audit trail";
        let mut tx = self.begin(&entry.district, operation).await?;
        write(&mut tx, entry).await?;
        tx.commit(operation).await
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
