//! Under which keys sealed values lie, and sealing them anew.
//!
//! Neighbours: [`crate::secret`] seals and opens. Raw pages are counted alone: they are never sealed anew, and age out.

use chrono::{DateTime, Utc};
use rollcall_proto::id::DistrictId;

use crate::{
    Store, StoreError,
    audit::AuditEntry,
    districts, documents, lti,
    secret::{self, Keyring},
    sql::{Tx, args},
    trail,
};

type Result<T> = std::result::Result<T, StoreError>;

/// Where what is sealed for good lies, and what people call it. The second to fifth byte of a sealed value name its key; one that
/// was given up is empty.
const LASTING: [(&str, &str); 3] = [
    ("secrets of connections", "SELECT substr(secrets, 2, 4), count(*) FROM connection WHERE district = $1 GROUP BY 1"),
    ("keys of the LTI tool", "SELECT substr(private_key, 2, 4), count(*) FROM lti_key WHERE district = $1 GROUP BY 1"),
    (
        "contents of documents",
        "SELECT substr(sealed, 2, 4), count(*) FROM document_content WHERE district = $1 GROUP BY 1",
    ),
];

const PAGES: &str = "SELECT substr(raw, 2, 4), count(*) FROM page WHERE district = $1 AND raw IS NOT NULL GROUP BY 1";

/// Empties what is sealed with one key, in the order of [`LASTING`].
const GIVE_UP: [&str; 3] = [
    "UPDATE connection SET secrets = $3 WHERE district = $1 AND substr(secrets, 2, 4) = $2",
    "UPDATE lti_key SET private_key = $3 WHERE district = $1 AND substr(private_key, 2, 4) = $2",
    "UPDATE document_content SET sealed = $3 WHERE district = $1 AND substr(sealed, 2, 4) = $2",
];

/// A document whose file or data was given up has none.
const WITHOUT: [&str; 2] = [
    "UPDATE document SET file_version = NULL, file_type = NULL, file_bytes = NULL WHERE district = $1 AND EXISTS (\
     SELECT 1 FROM document_content c WHERE c.district = document.district AND c.document_id = document.document_id \
     AND c.version = document.file_version AND c.part = 'file' AND length(c.sealed) = 0)",
    "UPDATE document SET data_version = NULL WHERE district = $1 AND EXISTS (\
     SELECT 1 FROM document_content c WHERE c.district = document.district AND c.document_id = document.document_id \
     AND c.version = document.data_version AND c.part = 'data' AND length(c.sealed) = 0)",
];

/// What of a district is sealed with a key that is not among those given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// Whose.
    pub district: DistrictId,
    /// The key's name, as errors tell it.
    pub key: String,
    /// What it is, in words.
    pub kind: &'static str,
    /// How many.
    pub count: u64,
}

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
            [] => return,
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
            for (_, sql) in LASTING {
                count(&mut tx, keys, &id, sql, &mut lasting).await?;
            }
            count(&mut tx, keys, &id, PAGES, &mut pages).await?;
            tx.commit("count the sealed values").await?;
        }
        Ok((lasting, pages))
    }

    /// What nobody can open with this store's keys, but for raw pages: district by district, kind by kind.
    pub async fn lost(&self) -> Result<Vec<Lost>> {
        let keys = self.keyring();
        let operation = "look for what no key opens";
        let mut lost = Vec::new();
        for (id, _) in self.all_districts().await? {
            let mut tx = self.read(&id, operation).await?;
            for (kind, sql) in LASTING {
                for row in tx.rows(operation, sql, args![&id]).await? {
                    let name = row.get::<Vec<u8>>(0)?;
                    let Some(key) = secret::name_of(&name).filter(|_| !keys.is_known(&name)) else { continue };
                    lost.push(Lost { district: id.clone(), key, kind, count: row.get::<i64>(1)?.unsigned_abs() });
                }
            }
            tx.commit(operation).await?;
        }
        Ok(lost)
    }

    /// Gives up what is sealed with the key of that name, for good: secrets, the LTI tool's keys and contents of documents are
    /// emptied. Returns how many. Raw pages age out by themselves.
    ///
    /// # Errors
    /// [`StoreError::Key`], with nothing changed, where this is no name of a key, or of one that is among those given.
    pub async fn forget_key(&self, key: &str, actor: &str, now: DateTime<Utc>) -> Result<u64> {
        let name =
            secret::parse_name(key).ok_or_else(|| refused(key, "is no name of a key: `rollcall doctor` tells it"))?;
        if self.keyring().is_known(&name) {
            return Err(refused(key, "is among the keys given, and what is sealed with it opens"));
        }
        let mut count = 0;
        for (id, _) in self.all_districts().await? {
            count += self.forget_in(&id, name, actor, now).await?;
        }
        Ok(count)
    }

    async fn forget_in(&self, id: &DistrictId, name: [u8; 4], actor: &str, now: DateTime<Utc>) -> Result<u64> {
        let operation = "give up what a lost key sealed";
        let mut tx = self.begin(id, operation).await?;
        districts::lock(&mut tx, id).await?;
        let mut given_up = [0; 3];
        for (sql, count) in GIVE_UP.into_iter().zip(&mut given_up) {
            *count = tx.execute(operation, sql, args![id, name.to_vec(), Vec::<u8>::new()]).await?;
        }
        let [secrets, tool_keys, contents] = given_up;
        let sum = secrets + tool_keys + contents;
        if sum == 0 {
            return Ok(0);
        }
        for sql in WITHOUT {
            tx.execute(operation, sql, args![id]).await?;
        }
        let key = secret::name_of(&name).unwrap_or_default();
        let detail = format!("key={key} secrets={secrets} tool-keys={tool_keys} contents={contents}");
        trail::write(&mut tx, &AuditEntry::new(id, now, actor, "key.forget", detail)).await?;
        tx.commit(operation).await?;
        Ok(sum)
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
            count += self.rotate_district(keys, &id, actor, now).await?;
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

fn refused(key: &str, why: &str) -> StoreError {
    StoreError::Key(format!("{key} {why}; nothing was given up"))
}

async fn count(tx: &mut Tx, keys: &Keyring, id: &DistrictId, sql: &'static str, sum: &mut Sealed) -> Result<()> {
    for row in tx.rows("count the sealed values", sql, args![id]).await? {
        sum.add(keys, &row.get::<Vec<u8>>(0)?, row.get::<i64>(1)?.unsigned_abs());
    }
    Ok(())
}
