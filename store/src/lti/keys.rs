//! The tool's keys: made one cache-life before they sign, published one cache-life after.

use chrono::{DateTime, Utc};
use rollcall_proto::id::DistrictId;

use super::{PublicToolKey, ToolKey, registrations::entry};
use crate::{
    Store, StoreError,
    districts::lock,
    secret::Keyring,
    sql::{Row, Tx, args},
    trail,
};

type Result<T> = std::result::Result<T, StoreError>;

impl Store {
    /// Adds a key, and lets those before it retire at `others_retire_at`.
    pub async fn add_tool_key(
        &self,
        district: &DistrictId,
        key: &ToolKey,
        others_retire_at: DateTime<Utc>,
        actor: &str,
        now: DateTime<Utc>,
    ) -> Result<()> {
        let operation = "add a key of the LTI tool";
        let sealed = self.keyring().seal(district, &field(&key.kid), &key.private_key)?;
        let mut tx = self.begin(district, operation).await?;
        lock(&mut tx, district).await?;
        let retire = "UPDATE lti_key SET retires_at = $2 WHERE district = $1 AND retires_at IS NULL";
        tx.execute(operation, retire, args![district, others_retire_at]).await?;
        let insert = "INSERT INTO lti_key (district, kid, private_key, public_key, created_at, signs_from) \
                      VALUES ($1, $2, $3, $4, $5, $6)";
        let values = args![district, &key.kid, sealed, &key.public_key, now, key.signs_from];
        tx.execute(operation, insert, values).await?;
        trail::write(&mut tx, &entry(district, "lti.key", actor, format!("kid={}", key.kid), now)).await?;
        tx.commit(operation).await
    }

    /// The keys to publish at `now`, oldest first.
    pub async fn published_tool_keys(&self, district: &DistrictId, now: DateTime<Utc>) -> Result<Vec<PublicToolKey>> {
        let operation = "read the LTI tool's keys";
        let mut tx = self.read(district, operation).await?;
        let sql = "SELECT kid, public_key, created_at, signs_from, retires_at FROM lti_key \
                   WHERE district = $1 AND (retires_at IS NULL OR retires_at > $2) AND length(private_key) > 0 ORDER BY created_at, kid";
        let rows = tx.rows(operation, sql, args![district, now]).await?;
        tx.commit(operation).await?;
        rows.iter().map(public).collect()
    }

    /// The key that signs at `now`: the newest that other parties had time to learn.
    pub async fn signing_tool_key(&self, district: &DistrictId, now: DateTime<Utc>) -> Result<Option<ToolKey>> {
        let operation = "read the LTI tool's signing key";
        let mut tx = self.read(district, operation).await?;
        let sql = "SELECT kid, public_key, private_key, signs_from FROM lti_key \
                   WHERE district = $1 AND signs_from <= $2 AND length(private_key) > 0 ORDER BY signs_from DESC, kid LIMIT 1";
        let row = tx.row(operation, sql, args![district, now]).await?;
        tx.commit(operation).await?;
        let Some(row) = row else { return Ok(None) };
        let (kid, sealed): (String, Vec<u8>) = (row.get(0)?, row.get(2)?);
        let private_key = self.keyring().open(district, &field(&kid), &sealed)?;
        Ok(Some(ToolKey { kid, public_key: row.get(1)?, private_key, signs_from: row.get(3)? }))
    }
}

/// As [`crate::districts::reseal`], of a district's keys.
pub(crate) async fn reseal(tx: &mut Tx, keys: &Keyring, district: &DistrictId) -> Result<u64> {
    let operation = "seal the LTI tool's keys anew";
    let rows = tx.rows(operation, "SELECT kid, private_key FROM lti_key WHERE district = $1", args![district]).await?;
    let mut count = 0;
    for row in rows {
        let (kid, sealed): (String, Vec<u8>) = (row.get(0)?, row.get(1)?);
        let Some(sealed) = keys.reseal(district, &field(&kid), &sealed)? else { continue };
        let update = "UPDATE lti_key SET private_key = $3 WHERE district = $1 AND kid = $2";
        count += tx.execute(operation, update, args![district, kid, sealed]).await?;
    }
    Ok(count)
}

fn public(row: &Row) -> Result<PublicToolKey> {
    Ok(PublicToolKey {
        kid: row.get(0)?,
        public_key: row.get(1)?,
        created_at: row.get(2)?,
        signs_from: row.get(3)?,
        retires_at: row.get(4)?,
    })
}

/// What a key is bound to, besides the district.
fn field(kid: &str) -> String {
    format!("lti/key/{kid}")
}
