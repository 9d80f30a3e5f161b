//! Integrations: programs that speak to the JSON API for a district, and their tokens.
//!
//! Invariants: secrets and tokens lie as digests only; a removed integration's tokens go with it.
//!
//! Deliberately absent: idempotency keys, which the documents keep themselves, in the transaction of the change.

use chrono::{DateTime, Utc};
use rollcall_proto::id::DistrictId;

use crate::{
    Store, StoreError,
    audit::AuditEntry,
    districts::lock,
    lti::Digest,
    sql::{Row, args},
    trail,
};

type Result<T> = std::result::Result<T, StoreError>;

/// A program that speaks to the JSON API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Integration {
    /// Its id within the district; with the district before it, the OAuth client id.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Argon2id of its secret, a PHC string.
    pub secret_hash: String,
    /// When it was added.
    pub created_at: DateTime<Utc>,
    /// By whom.
    pub created_by: String,
}

impl Store {
    /// Adds an integration.
    pub async fn add_integration(&self, district: &DistrictId, new: &Integration) -> Result<()> {
        let operation = "add an integration";
        let mut tx = self.begin(district, operation).await?;
        lock(&mut tx, district).await?;
        let sql = "INSERT INTO integration (district, integration, name, secret_hash, created_at, created_by) \
                   VALUES ($1, $2, $3, $4, $5, $6)";
        let values = args![district, &new.id, &new.name, &new.secret_hash, new.created_at, &new.created_by];
        tx.execute(operation, sql, values).await?;
        let entry = entry(district, "integration.add", &new.created_by, &new.id, new.created_at);
        trail::write(&mut tx, &entry).await?;
        tx.commit(operation).await
    }

    /// All of a district, by id.
    pub async fn integrations(&self, district: &DistrictId) -> Result<Vec<Integration>> {
        let operation = "list the integrations";
        let mut tx = self.read(district, operation).await?;
        let sql = "SELECT integration, name, secret_hash, created_at, created_by FROM integration \
                   WHERE district = $1 ORDER BY integration";
        let rows = tx.rows(operation, sql, args![district]).await?;
        tx.commit(operation).await?;
        rows.iter().map(integration).collect()
    }

    /// One of them.
    pub async fn integration(&self, district: &DistrictId, id: &str) -> Result<Option<Integration>> {
        Ok(self.integrations(district).await?.into_iter().find(|integration| integration.id == id))
    }

    /// Takes an integration away, its tokens with it. Returns whether it was there.
    pub async fn remove_integration(
        &self,
        district: &DistrictId,
        id: &str,
        actor: &str,
        now: DateTime<Utc>,
    ) -> Result<bool> {
        let operation = "remove an integration";
        let mut tx = self.begin(district, operation).await?;
        let delete = "DELETE FROM integration WHERE district = $1 AND integration = $2";
        let there = tx.execute(operation, delete, args![district, id]).await? > 0;
        if there {
            trail::write(&mut tx, &entry(district, "integration.remove", actor, id, now)).await?;
        }
        tx.commit(operation).await?;
        Ok(there)
    }

    /// Notes a token.
    pub async fn add_token(
        &self,
        district: &DistrictId,
        integration: &str,
        token: Digest,
        expires_at: DateTime<Utc>,
    ) -> Result<()> {
        let operation = "note an integration's token";
        let mut tx = self.begin(district, operation).await?;
        let sql = "INSERT INTO integration_token (district, token_digest, integration, expires_at) \
                   VALUES ($1, $2, $3, $4)";
        tx.execute(operation, sql, args![district, Vec::from(token), integration, expires_at]).await?;
        tx.commit(operation).await
    }

    /// The integration that holds a token which is still good.
    pub async fn token_holder(
        &self,
        district: &DistrictId,
        token: Digest,
        now: DateTime<Utc>,
    ) -> Result<Option<String>> {
        let operation = "find the holder of a token";
        let mut tx = self.read(district, operation).await?;
        let sql = "SELECT t.integration FROM integration_token t \
                   JOIN district d ON d.district = t.district AND d.removed_at IS NULL \
                   WHERE t.district = $1 AND t.token_digest = $2 AND t.expires_at > $3";
        let row = tx.row(operation, sql, args![district, Vec::from(token), now]).await?;
        tx.commit(operation).await?;
        row.map(|row| row.get(0)).transpose()
    }
}

fn integration(row: &Row) -> Result<Integration> {
    Ok(Integration {
        id: row.get(0)?,
        name: row.get(1)?,
        secret_hash: row.get(2)?,
        created_at: row.get(3)?,
        created_by: row.get(4)?,
    })
}

fn entry(district: &DistrictId, action: &str, actor: &str, id: &str, at: DateTime<Utc>) -> AuditEntry {
    let detail = format!("integration={id}");
    AuditEntry { at, actor: actor.to_owned(), action: action.to_owned(), run: None, detail, district: district.clone() }
}
