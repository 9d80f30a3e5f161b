//! Under which keys sealed values lie, and sealing them anew.
//!
//! Neighbours: [`crate::secret`] seals and opens. Raw pages are counted alone: they are never sealed anew, and age out.

use chrono::{DateTime, Utc};
use rollcall_proto::id::DistrictId;

use crate::{
    Store, StoreError,
    audit::AuditEntry,
    districts, documents, lti,
    secret::Keyring,
    sql::{Tx, args},
    trail,
};

type Result<T> = std::result::Result<T, StoreError>;

/// Where what is sealed for good lies. The second to fifth byte of a sealed value name its key.
const LASTING: [&str; 3] = [
    "SELECT substr(secrets, 2, 4), count(*) FROM connection WHERE district = $1 GROUP BY 1",
    "SELECT substr(private_key, 2, 4), count(*) FROM lti_key WHERE district = $1 GROUP BY 1",
    "SELECT substr(sealed, 2, 4), count(*) FROM document_content WHERE district = $1 GROUP BY 1",
];

const PAGES: &str = "SELECT substr(raw, 2, 4), count(*) FROM page WHERE district = $1 AND raw IS NOT NULL GROUP BY 1";

/// How many sealed values lie under which keys of a ring.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Sealed {
    /// Under the newest, which seals.
    pub newest: u64,
    /// Under one of the others.
    pub older: u64,
    /// Under a key that is not of the ring: nobody can open them with it.
    pub lost: u64,
}

impl Sealed {
    fn add(&mut self, keys: &Keyring, name: &[u8], count: u64) {
        let of = match name {
            name if name == keys.newest() => &mut self.newest,
            name if keys.is_known(name) => &mut self.older,
            _ => &mut self.lost,
        };
        *of += count;
    }
}

impl Store {
    /// Under which of this store's keys everything lies that is sealed: secrets, the LTI tool's keys and documents; and raw pages.
    pub async fn sealed(&self) -> Result<(Sealed, Sealed)> {
        let keys = self.keyring();
        let (mut lasting, mut pages) = (Sealed::default(), Sealed::default());
        for (id, _) in self.all_districts().await? {
            let mut tx = self.read(&id, "count the sealed values").await?;
            for sql in LASTING {
                count(&mut tx, &keys, &id, sql, &mut lasting).await?;
            }
            count(&mut tx, &keys, &id, PAGES, &mut pages).await?;
            tx.commit("count the sealed values").await?;
        }
        Ok((lasting, pages))
    }

    /// Seals every secret and document anew that does not lie under `new`, which has to be this store's newest key. Returns how
    /// many. Raw pages stay under the key they were sealed with until they are forgotten.
    ///
    /// Another process that seals with an older key goes on doing so: what it seals is found by the next call.
    ///
    /// # Errors
    /// [`StoreError::Key`], with nothing changed, where this store seals with another key.
    pub async fn rotate_key(&self, new: &Keyring, actor: &str, now: DateTime<Utc>) -> Result<u64> {
        let keys = self.keyring();
        keys.check_seals_with(new)?;
        let mut count = 0;
        for (id, _) in self.all_districts().await? {
            count += self.rotate_district(&keys, &id, actor, now).await?;
        }
        Ok(count)
    }

    async fn rotate_district(&self, keys: &Keyring, id: &DistrictId, actor: &str, now: DateTime<Utc>) -> Result<u64> {
        let operation = "seal secrets anew";
        let mut tx = self.begin(id, operation).await?;
        let secrets = districts::reseal(&mut tx, keys, id, now).await? + lti::reseal(&mut tx, keys, id).await?;
        let contents = documents::reseal(&mut tx, keys, id).await?;
        let detail = format!("secrets={secrets} documents={contents}");
        trail::write(&mut tx, &AuditEntry::new(id, now, actor, "key.rotate", detail)).await?;
        tx.commit(operation).await?;
        Ok(secrets + contents)
    }
}

async fn count(tx: &mut Tx, keys: &Keyring, id: &DistrictId, sql: &'static str, sum: &mut Sealed) -> Result<()> {
    for row in tx.rows("count the sealed values", sql, args![id]).await? {
        sum.add(keys, &row.get::<Vec<u8>>(0)?, row.get::<i64>(1)?.unsigned_abs());
    }
    Ok(())
}
