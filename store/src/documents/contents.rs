//! What documents contain: files, structured data, and demographics of the day they were made.
//!
//! Invariants: contents lie compressed and sealed, each bound to its document, version and part; those of earlier versions
//! stay; demographics are written once, with version 1.

use rollcall_proto::{
    id::{DistrictId, StudentId},
    packed,
    roster::Student,
};
use serde::de::DeserializeOwned;

use super::reading::file_type;
use crate::{
    Store, StoreError,
    districts::json_unreadable,
    document::{DocumentFile, DocumentId, NewDocument},
    plan::LARGEST,
    roster::load::{self, Intent},
    sql::{Row, Tx, args},
};

type Result<T> = std::result::Result<T, StoreError>;

impl Store {
    /// A document's file, opened.
    pub async fn document_file(&self, district: &DistrictId, id: &DocumentId) -> Result<Option<DocumentFile>> {
        let sql = "SELECT c.sealed, c.version, d.file_type FROM document d JOIN document_content c \
                   ON c.district = d.district AND c.document_id = d.document_id AND c.version = d.file_version \
                   AND c.part = 'file' WHERE d.district = $1 AND d.document_id = $2";
        let Some(row) = self.content(district, id, sql).await? else { return Ok(None) };
        let bytes = self.open_content(district, id, "file", &row)?;
        Ok(Some(DocumentFile::stored(file_type(&row.get::<String>(2)?)?, bytes)))
    }

    /// A document's structured data.
    pub async fn document_data(&self, district: &DistrictId, id: &DocumentId) -> Result<Option<serde_json::Value>> {
        let sql = "SELECT c.sealed, c.version FROM document d JOIN document_content c \
                   ON c.district = d.district AND c.document_id = d.document_id AND c.version = d.data_version \
                   AND c.part = 'data' WHERE d.district = $1 AND d.document_id = $2";
        self.json_content(district, id, "data", sql).await
    }

    /// The student's demographics as they were when the document was made: the roster's record of that day.
    pub async fn document_demographics(&self, district: &DistrictId, id: &DocumentId) -> Result<Option<Student>> {
        let sql = "SELECT sealed, version FROM document_content WHERE district = $1 AND document_id = $2 \
                   AND version = 1 AND part = 'demographics' AND length(sealed) > 0";
        self.json_content(district, id, "demographics", sql).await
    }

    /// Copies the student's demographics into a new document.
    pub(super) async fn copy_demographics(
        &self,
        tx: &mut Tx,
        district: &DistrictId,
        id: &DocumentId,
        student: &StudentId,
    ) -> Result<()> {
        let stored = load::load(tx, district, &[student], Intent::Look).await?.pop();
        let json = stored.map(|stored| serde_json::to_vec(&stored.record)).transpose();
        let json = json.map_err(|error| json_unreadable("student", &error))?.unwrap_or_default();
        self.write_content(tx, district, id, 1, "demographics", &json).await
    }

    /// Keeps what was sent with a version.
    pub(super) async fn write_contents(
        &self,
        tx: &mut Tx,
        district: &DistrictId,
        new: &NewDocument,
        version: i64,
    ) -> Result<()> {
        if let Some(data) = &new.data {
            self.write_content(tx, district, &new.id, version, "data", data.to_string().as_bytes()).await?;
        }
        if let Some(file) = &new.file {
            self.write_content(tx, district, &new.id, version, "file", file.bytes()).await?;
        }
        Ok(())
    }

    async fn write_content(
        &self,
        tx: &mut Tx,
        district: &DistrictId,
        id: &DocumentId,
        version: i64,
        part: &'static str,
        plain: &[u8],
    ) -> Result<()> {
        let compressed = packed::compress(plain).map_err(StoreError::compress)?;
        let sealed = self.keyring().seal(district, &field(id, version, part), &compressed)?;
        let sql = "INSERT INTO document_content (district, document_id, version, part, sealed) \
                   VALUES ($1, $2, $3, $4, $5)";
        tx.execute("keep a document's content", sql, args![district, id.as_str(), version, part, sealed])
            .await
            .map(drop)
    }

    /// Whether what came with a version is there, and lies under one of the keys given. What was sealed with a lost key, or given up
    /// with it, is not stored as far as anybody can tell.
    pub(super) async fn has_contents(&self, tx: &mut Tx, district: &DistrictId, new: &NewDocument) -> Result<bool> {
        let operation = "look for a document's content";
        let sql = "SELECT c.part, substr(c.sealed, 2, 4) FROM document d JOIN document_content c \
                   ON c.district = d.district AND c.document_id = d.document_id \
                   AND (c.part = 'file' AND c.version = d.file_version OR c.part = 'data' AND c.version = d.data_version) \
                   WHERE d.district = $1 AND d.document_id = $2";
        let (keys, mut opens) = (self.keyring(), Vec::new());
        for row in tx.rows(operation, sql, args![district, new.id.as_str()]).await? {
            if keys.is_known(&row.get::<Vec<u8>>(1)?) {
                opens.push(row.get::<String>(0)?);
            }
        }
        let has = |part: &str| opens.iter().any(|one| one == part);
        Ok((new.file.is_none() || has("file")) && (new.data.is_none() || has("data")))
    }

    async fn content(&self, district: &DistrictId, id: &DocumentId, sql: &'static str) -> Result<Option<Row>> {
        let operation = "read a document's content";
        let mut tx = self.read(district, operation).await?;
        let row = tx.row(operation, sql, args![district, id.as_str()]).await?;
        tx.commit(operation).await?;
        Ok(row)
    }

    fn open_content(&self, district: &DistrictId, id: &DocumentId, part: &str, row: &Row) -> Result<Vec<u8>> {
        let version: i64 = row.get(1)?;
        let compressed = self.keyring().open(district, &field(id, version, part), &row.get::<Vec<u8>>(0)?)?;
        packed::decompress(&compressed, LARGEST).map_err(StoreError::compress)
    }

    async fn json_content<T: DeserializeOwned>(
        &self,
        district: &DistrictId,
        id: &DocumentId,
        part: &'static str,
        sql: &'static str,
    ) -> Result<Option<T>> {
        let Some(row) = self.content(district, id, sql).await? else { return Ok(None) };
        let plain = self.open_content(district, id, part, &row)?;
        serde_json::from_slice(&plain).map(Some).map_err(|error| json_unreadable("document's content", &error))
    }
}

/// As [`crate::districts::reseal`], of the contents of a district's documents.
pub(crate) async fn reseal(tx: &mut Tx, keys: &crate::secret::Keyring, district: &DistrictId) -> Result<u64> {
    let operation = "seal documents anew";
    let list =
        "SELECT document_id, version, part FROM document_content WHERE district = $1 AND substr(sealed, 2, 4) <> $2";
    let one =
        "SELECT sealed FROM document_content WHERE district = $1 AND document_id = $2 AND version = $3 AND part = $4";
    let update = "UPDATE document_content SET sealed = $5 \
                  WHERE district = $1 AND document_id = $2 AND version = $3 AND part = $4";
    let mut count = 0;
    for row in tx.rows(operation, list, args![district, keys.newest().to_vec()]).await? {
        let (id, version, part) = (row.get::<String>(0)?, row.get::<i64>(1)?, row.get::<String>(2)?);
        let Some(row) = tx.row(operation, one, args![district, &id, version, &part]).await? else { continue };
        let field = format!("document/{id}/{version}/{part}");
        let Some(sealed) = keys.reseal(district, &field, &row.get::<Vec<u8>>(0)?)? else { continue };
        count += tx.execute(operation, update, args![district, id, version, part, sealed]).await?;
    }
    Ok(count)
}

/// What a content is bound to, besides the district.
fn field(id: &DocumentId, version: i64, part: &str) -> String {
    format!("document/{id}/{version}/{part}")
}
