//! Reading documents' headers.

use rollcall_proto::id::{DistrictId, StudentId};

use crate::{
    Store, StoreError,
    document::{CompletedDocument, Document, DocumentFilter, DocumentId, DocumentStatus, FileFacts, FileType},
    rekeyed,
    sql::{Row, Tx, args},
};

type Result<T> = std::result::Result<T, StoreError>;

/// The columns that [`read`] reads, in its order.
macro_rules! columns {
    () => {
        "document_id, student_id, program, kind, status, starts_on, ends_on, version, file_type, file_bytes, \
         created_at, created_by, updated_at, completed_at, digest"
    };
}

const ONE: &str = concat!("SELECT ", columns!(), " FROM document WHERE district = $1 AND document_id = $2");

const LIST: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM document WHERE district = $1 AND document_id > $2 \
     AND (CAST($3 AS text) IS NULL OR student_id = $3) AND (CAST($4 AS text) IS NULL OR program = $4) \
     AND (CAST($5 AS text) IS NULL OR status = $5) ORDER BY document_id LIMIT $6"
);

const NEWEST_COMPLETED: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM document WHERE district = $1 AND student_id = $2 AND program = $3 AND status = 'completed' \
     ORDER BY starts_on DESC, completed_at DESC, document_id DESC LIMIT 1"
);

const COMPLETED: &str = "\
SELECT document_id, student_id, program, starts_on, ends_on FROM document
WHERE district = $1 AND status = 'completed' AND (CAST($2 AS text) IS NULL OR student_id = $2)
ORDER BY student_id, program, starts_on, document_id";

const COMPLETED_WITHIN: &str = "\
SELECT document_id, student_id, program, starts_on, ends_on FROM document
WHERE district = $1 AND status = 'completed' AND student_id > $2 AND student_id <= $3
ORDER BY student_id, program, starts_on, document_id";

impl Store {
    /// A document.
    pub async fn document(&self, district: &DistrictId, id: &DocumentId) -> Result<Option<Document>> {
        let operation = "read a document";
        let mut tx = self.read(district, operation).await?;
        let found = find(&mut tx, district, id).await?;
        tx.commit(operation).await?;
        Ok(found.map(|stored| stored.document))
    }

    /// Documents by id, as the filter asks.
    pub async fn documents(&self, district: &DistrictId, filter: &DocumentFilter) -> Result<Vec<Document>> {
        let operation = "list documents";
        let mut tx = self.read(district, operation).await?;
        let after = filter.after.as_ref().map_or("", DocumentId::as_str);
        let student = rekeyed::meant_of(&mut tx, district, filter.student.as_ref()).await?.map(|student| student.0);
        let status = filter.status.map(DocumentStatus::as_str);
        let values = args![district, after, student, filter.program.clone(), status, filter.limit.unwrap_or(i64::MAX)];
        let rows = tx.rows(operation, LIST, values).await?;
        tx.commit(operation).await?;
        rows.iter().map(|row| Ok(read(row)?.document)).collect()
    }

    /// The newest completed document of a student and program: the one that starts last.
    pub async fn newest_completed_document(
        &self,
        district: &DistrictId,
        student: &StudentId,
        program: &str,
    ) -> Result<Option<Document>> {
        let operation = "find a student's newest document";
        let mut tx = self.read(district, operation).await?;
        let student = rekeyed::today(&mut tx, district, student).await?;
        let row = tx.row(operation, NEWEST_COMPLETED, args![district, &student, program]).await?;
        tx.commit(operation).await?;
        row.map(|row| Ok(read(&row)?.document)).transpose()
    }
}

/// What completed documents say, of one student under today's id or of all.
pub(crate) async fn completed(
    tx: &mut Tx,
    district: &DistrictId,
    student: Option<&StudentId>,
) -> Result<Vec<CompletedDocument>> {
    let values = args![district, student.map(|student| student.0.clone())];
    let rows = tx.rows("read the completed documents", COMPLETED, values).await?;
    rows.iter().map(read_completed).collect()
}

/// The same of students whose ids come after one, up to another.
pub(crate) async fn completed_within(
    tx: &mut Tx,
    district: &DistrictId,
    (after, last): (&str, &StudentId),
) -> Result<Vec<CompletedDocument>> {
    let rows = tx.rows("read the completed documents", COMPLETED_WITHIN, args![district, after, last]).await?;
    rows.iter().map(read_completed).collect()
}

/// A document, and the digest of what was asked for last.
pub(super) struct Stored {
    pub(super) document: Document,
    pub(super) digest: Vec<u8>,
}

/// A document by its id.
pub(super) async fn find(tx: &mut Tx, district: &DistrictId, id: &DocumentId) -> Result<Option<Stored>> {
    let row = tx.row("read a document", ONE, args![district, id.as_str()]).await?;
    row.map(|row| read(&row)).transpose()
}

fn read(row: &Row) -> Result<Stored> {
    let kind = row.get::<Option<String>>(8)?;
    let bytes = row.get::<Option<i64>>(9)?.unwrap_or_default();
    let file = kind.map(|kind| Ok::<_, StoreError>(FileFacts { kind: file_type(&kind)?, bytes })).transpose()?;
    let status = DocumentStatus::parse(&row.get::<String>(4)?).ok_or_else(|| unknown("status of a document"))?;
    let document = Document {
        id: document_id(row, 0)?,
        student: StudentId(row.get(1)?),
        program: row.get(2)?,
        kind: row.get(3)?,
        status,
        starts_on: row.get(5)?,
        ends_on: row.get(6)?,
        version: row.get(7)?,
        file,
        created_at: row.get(10)?,
        created_by: row.get(11)?,
        updated_at: row.get(12)?,
        completed_at: row.get(13)?,
    };
    Ok(Stored { document, digest: row.get(14)? })
}

fn read_completed(row: &Row) -> Result<CompletedDocument> {
    Ok(CompletedDocument {
        id: document_id(row, 0)?,
        student: StudentId(row.get(1)?),
        program: row.get(2)?,
        starts_on: row.get(3)?,
        ends_on: row.get(4)?,
    })
}

/// Reads an id.
pub(super) fn document_id(row: &Row, index: usize) -> Result<DocumentId> {
    DocumentId::try_from(row.get::<String>(index)?).map_err(|_| unknown("document id"))
}

/// Reads what a file is.
pub(super) fn file_type(text: &str) -> Result<FileType> {
    FileType::parse(text).ok_or_else(|| unknown("file type"))
}

fn unknown(what: &'static str) -> StoreError {
    StoreError::Corrupt { what, detail: "a word that this program does not know".to_owned() }
}
