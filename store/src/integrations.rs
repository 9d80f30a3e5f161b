//! Integrations: programs that speak to the JSON API for a district, and their tokens.
//!
//! Invariants: secrets and tokens lie as digests only; a removed integration's tokens go with it.
//!
//! A token may do what its integration may, or less.
//!
//! Deliberately absent: idempotency keys, which the documents keep themselves, in the transaction of the change.

use std::{collections::BTreeSet, fmt, str::FromStr};

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

/// What an integration may do: an OAuth scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Read and write documents.
    Documents,
    /// See flags, and what a take-over would do.
    FlagsRead,
    /// Approve take-overs, and have flags pushed.
    FlagsWrite,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Documents, Self::FlagsRead, Self::FlagsWrite];

    /// As OAuth, the command line and the database spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Documents => "documents",
            Self::FlagsRead => "flags.read",
            Self::FlagsWrite => "flags.write",
        }
    }
}

/// A text that is no scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("scopes are documents, flags.read and flags.write")]
pub struct NoScope;

impl FromStr for Scope {
    type Err = NoScope;

    fn from_str(text: &str) -> std::result::Result<Self, NoScope> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text).ok_or(NoScope)
    }
}

/// Scopes, as OAuth writes them: separated by blanks (RFC 6749, 3.3).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scopes(pub BTreeSet<Scope>);

impl FromStr for Scopes {
    type Err = NoScope;

    fn from_str(text: &str) -> std::result::Result<Self, NoScope> {
        text.split(' ')
            .filter(|word| !word.is_empty())
            .map(str::parse::<Scope>)
            .collect::<std::result::Result<_, _>>()
            .map(Self)
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.0.iter().map(|scope| scope.as_str()).collect();
        f.write_str(&words.join(" "))
    }
}

/// Who holds a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenHolder {
    /// The integration.
    pub integration: String,
    /// What the token may do.
    pub scopes: Scopes,
}

/// A program that speaks to the JSON API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Integration {
    /// Its id within the district; with the district before it, the OAuth client id.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub scopes: Scopes,
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
        let sql = "INSERT INTO integration (district, integration, name, secret_hash, created_at, created_by, scopes) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7)";
        let scopes = new.scopes.to_string();
        let values = args![district, &new.id, &new.name, &new.secret_hash, new.created_at, &new.created_by, scopes];
        tx.execute(operation, sql, values).await?;
        let entry = entry(district, "integration.add", &new.created_by, &new.id, new.created_at);
        trail::write(&mut tx, &entry).await?;
        tx.commit(operation).await
    }

    /// All of a district, by id.
    pub async fn integrations(&self, district: &DistrictId) -> Result<Vec<Integration>> {
        let operation = "list the integrations";
        let mut tx = self.read(district, operation).await?;
        let sql = "SELECT integration, name, secret_hash, created_at, created_by, scopes FROM integration \
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
        holder: &TokenHolder,
        token: Digest,
        expires_at: DateTime<Utc>,
    ) -> Result<()> {
        let operation = "note an integration's token";
        let mut tx = self.begin(district, operation).await?;
        let sql = "INSERT INTO integration_token (district, token_digest, integration, expires_at, scopes) \
                   VALUES ($1, $2, $3, $4, $5)";
        let values = args![district, Vec::from(token), &holder.integration, expires_at, holder.scopes.to_string()];
        tx.execute(operation, sql, values).await?;
        tx.commit(operation).await
    }

    /// Who holds a token which is still good.
    pub async fn token_holder(
        &self,
        district: &DistrictId,
        token: Digest,
        now: DateTime<Utc>,
    ) -> Result<Option<TokenHolder>> {
        let operation = "find the holder of a token";
        let mut tx = self.read(district, operation).await?;
        let sql = "SELECT t.integration, t.scopes FROM integration_token t \
                   JOIN district d ON d.district = t.district AND d.removed_at IS NULL \
                   WHERE t.district = $1 AND t.token_digest = $2 AND t.expires_at > $3";
        let row = tx.row(operation, sql, args![district, Vec::from(token), now]).await?;
        tx.commit(operation).await?;
        row.map(|row| Ok(TokenHolder { integration: row.get(0)?, scopes: scopes(&row, 1)? })).transpose()
    }
}

fn integration(row: &Row) -> Result<Integration> {
    Ok(Integration {
        id: row.get(0)?,
        name: row.get(1)?,
        secret_hash: row.get(2)?,
        created_at: row.get(3)?,
        created_by: row.get(4)?,
        scopes: scopes(row, 5)?,
    })
}

fn scopes(row: &Row, column: usize) -> Result<Scopes> {
    let corrupt =
        |_| StoreError::Corrupt { what: "scope", detail: "a word that this program does not know".to_owned() };
    row.get::<String>(column)?.parse().map_err(corrupt)
}

fn entry(district: &DistrictId, action: &str, actor: &str, id: &str, at: DateTime<Utc>) -> AuditEntry {
    let detail = format!("integration={id}");
    AuditEntry::new(district, at, actor, action, detail)
}
