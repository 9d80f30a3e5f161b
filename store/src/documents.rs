//! Documents: made, replaced, completed, withdrawn, read.
//!
//! Invariants: every change is a version, and the contents of earlier versions stay; contents lie sealed; the same
//! request again (by idempotency key, or with equal content) changes nothing; a change of the completed documents is
//! marked as pending in the transaction that makes it, so that no message matters.

use chrono::{DateTime, NaiveDate, Utc};
use rollcall_proto::{
    id::{DistrictId, StudentId},
    packed,
};

use crate::{
    Store, StoreError,
    districts::{self, json_unreadable},
    document::{
        Author, CompletedDocument, DATA_LIMIT, DEFAULT_PROGRAMS, Document, DocumentFile, DocumentFilter, DocumentId,
        DocumentRefused, DocumentStatus, FileFacts, FileType, NewDocument, SaveMode, Saved,
    },
    plan::LARGEST,
    rekeyed,
    roster::load::{self, Intent},
    sql::{Row, Tx, args},
};

type Result<T> = std::result::Result<T, StoreError>;
type Outcome = std::result::Result<Saved, DocumentRefused>;

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

const WRITE: &str = "\
INSERT INTO document (district, document_id, student_id, program, kind, status, starts_on, ends_on, version, digest,
                      data_version, file_version, file_type, file_bytes, created_at, created_by, updated_at,
                      completed_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $15, $17)
ON CONFLICT (district, document_id) DO UPDATE SET
    kind = excluded.kind, status = excluded.status, starts_on = excluded.starts_on, ends_on = excluded.ends_on,
    version = excluded.version, digest = excluded.digest,
    data_version = coalesce(excluded.data_version, document.data_version),
    file_version = coalesce(excluded.file_version, document.file_version),
    file_type = coalesce(excluded.file_type, document.file_type),
    file_bytes = coalesce(excluded.file_bytes, document.file_bytes), updated_at = excluded.updated_at,
    completed_at = coalesce(document.completed_at, excluded.completed_at)";

const NOTE: &str = "\
INSERT INTO document_version (district, document_id, version, at, actor, action, kind, status, starts_on, ends_on)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";

const PENDING: &str = "\
INSERT INTO flag_pending (district, student_id, since) VALUES ($1, $2, $3)
ON CONFLICT (district, student_id) DO UPDATE SET since = excluded.since WHERE flag_pending.since < excluded.since";

impl Store {
    /// The district's programs, by name: those that every district has, and its own.
    pub async fn programs(&self, district: &DistrictId) -> Result<Vec<String>> {
        let operation = "list the programs";
        let mut tx = self.read(district, operation).await?;
        let programs = programs(&mut tx, district).await?;
        tx.commit(operation).await?;
        Ok(programs)
    }

    /// Makes or replaces a document. Refusals are the caller's to tell; nothing is changed then.
    pub async fn save_document(
        &self,
        district: &DistrictId,
        new: &NewDocument,
        mode: SaveMode,
        author: Author<'_>,
    ) -> Result<Outcome> {
        let operation = "save a document";
        let mut tx = self.begin(district, operation).await?;
        districts::lock(&mut tx, district).await?;
        let asked = Asked::of(&mut tx, district, new).await?;
        let saved = match replayed(&mut tx, district, author, &asked.digests).await? {
            Replay::Fresh => self.save_in(&mut tx, district, &asked, mode, author).await?,
            Replay::Same(document) => Ok(unchanged(document)),
            Replay::Other => Err(DocumentRefused::KeyReused),
        };
        if saved.is_ok() {
            remember(&mut tx, district, author, asked.digest(), &new.id).await?;
            tx.commit(operation).await?;
        }
        Ok(saved)
    }

    /// Whether [`Store::save_document`] would take it, as things are now.
    pub async fn check_document(
        &self,
        district: &DistrictId,
        new: &NewDocument,
        mode: SaveMode,
    ) -> Result<std::result::Result<(), DocumentRefused>> {
        let operation = "check a document";
        let mut tx = self.read(district, operation).await?;
        let student = rekeyed::today(&mut tx, district, &new.student).await?;
        let checked = check(&mut tx, district, new, &student, mode).await?;
        tx.commit(operation).await?;
        Ok(checked.map(drop))
    }

    /// A draft becomes completed; a completed one stays so.
    pub async fn complete_document(
        &self,
        district: &DistrictId,
        id: &DocumentId,
        author: Author<'_>,
    ) -> Result<Outcome> {
        self.move_document(district, id, DocumentStatus::Completed, author).await
    }

    /// Takes a document back, for good.
    pub async fn withdraw_document(
        &self,
        district: &DistrictId,
        id: &DocumentId,
        author: Author<'_>,
    ) -> Result<Outcome> {
        self.move_document(district, id, DocumentStatus::Withdrawn, author).await
    }

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
        let student = rekeyed::today_of(&mut tx, district, filter.student.as_ref()).await?.map(|student| student.0);
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

    /// The student's demographics as they were when the document was made: a record of the roster as JSON.
    pub async fn document_demographics(
        &self,
        district: &DistrictId,
        id: &DocumentId,
    ) -> Result<Option<serde_json::Value>> {
        let sql = "SELECT sealed, version FROM document_content WHERE district = $1 AND document_id = $2 \
                   AND version = 1 AND part = 'demographics'";
        self.json_content(district, id, "demographics", sql).await
    }

    /// What completed documents say, of one student or of all; by student, program, start.
    pub async fn completed_documents(
        &self,
        district: &DistrictId,
        student: Option<&StudentId>,
    ) -> Result<Vec<CompletedDocument>> {
        let operation = "read the completed documents";
        let mut tx = self.read(district, operation).await?;
        let student = rekeyed::today_of(&mut tx, district, student).await?;
        let values = args![district, student.map(|student| student.0)];
        let rows = tx.rows(operation, COMPLETED, values).await?;
        tx.commit(operation).await?;
        rows.iter().map(read_completed).collect()
    }

    async fn move_document(
        &self,
        district: &DistrictId,
        id: &DocumentId,
        to: DocumentStatus,
        author: Author<'_>,
    ) -> Result<Outcome> {
        let operation = "change a document's status";
        let mut tx = self.begin(district, operation).await?;
        districts::lock(&mut tx, district).await?;
        let digest = blake3::hash(format!("{}\0{id}", to.as_str()).as_bytes()).as_bytes()[..16].to_vec();
        let moved = match replayed(&mut tx, district, author, std::slice::from_ref(&digest)).await? {
            Replay::Fresh => move_in(&mut tx, district, id, to, author).await?,
            Replay::Same(document) => Ok(unchanged(document)),
            Replay::Other => Err(DocumentRefused::KeyReused),
        };
        if moved.is_ok() {
            remember(&mut tx, district, author, &digest, id).await?;
            tx.commit(operation).await?;
        }
        Ok(moved)
    }

    async fn save_in(
        &self,
        tx: &mut Tx,
        district: &DistrictId,
        asked: &Asked<'_>,
        mode: SaveMode,
        author: Author<'_>,
    ) -> Result<Outcome> {
        let (new, student) = (asked.new, &asked.student);
        let before = match check(tx, district, new, student, mode).await? {
            Ok(before) => before,
            Err(refused) => return Ok(Err(refused)),
        };
        if let Some(same) = before.as_ref().filter(|before| asked.digests.contains(&before.digest)) {
            return Ok(Ok(unchanged(same.document.clone())));
        }
        let version = before.as_ref().map_or(1, |before| before.document.version + 1);
        write_header(tx, district, asked, version, author).await?;
        if before.is_none() {
            self.copy_demographics(tx, district, &new.id, student).await?;
        }
        self.write_contents(tx, district, new, version).await?;
        let action = if before.is_none() { "create" } else { "replace" };
        let document = noted(tx, district, &new.id, action, author).await?;
        let flags_due = completed_differs(before.as_ref().map(|before| &before.document), &document);
        if flags_due {
            tx.execute("mark flags as due", PENDING, args![district, &document.student, author.at]).await?;
        }
        Ok(Ok(Saved { document, created: before.is_none(), changed: true, flags_due }))
    }

    async fn copy_demographics(
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

    async fn write_contents(&self, tx: &mut Tx, district: &DistrictId, new: &NewDocument, version: i64) -> Result<()> {
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

    async fn json_content(
        &self,
        district: &DistrictId,
        id: &DocumentId,
        part: &'static str,
        sql: &'static str,
    ) -> Result<Option<serde_json::Value>> {
        let Some(row) = self.content(district, id, sql).await? else { return Ok(None) };
        let plain = self.open_content(district, id, part, &row)?;
        serde_json::from_slice(&plain).map(Some).map_err(|error| json_unreadable("document's content", &error))
    }
}

/// Seals every content of the district's documents anew. Returns how many.
pub(crate) async fn reseal(tx: &mut Tx, keys: &crate::secret::Keyring, district: &DistrictId) -> Result<u64> {
    let operation = "seal documents anew";
    let list = "SELECT document_id, version, part FROM document_content WHERE district = $1";
    let one =
        "SELECT sealed FROM document_content WHERE district = $1 AND document_id = $2 AND version = $3 AND part = $4";
    let update = "UPDATE document_content SET sealed = $5 \
                  WHERE district = $1 AND document_id = $2 AND version = $3 AND part = $4";
    let mut count = 0;
    for row in tx.rows(operation, list, args![district]).await? {
        let (id, version, part) = (row.get::<String>(0)?, row.get::<i64>(1)?, row.get::<String>(2)?);
        let Some(row) = tx.row(operation, one, args![district, &id, version, &part]).await? else { continue };
        let field = format!("document/{id}/{version}/{part}");
        let plain = keys.open(district, &field, &row.get::<Vec<u8>>(0)?)?;
        let sealed = keys.seal(district, &field, &plain)?;
        count += tx.execute(operation, update, args![district, id, version, part, sealed]).await?;
    }
    Ok(count)
}

/// A district's own programs, as its file names them. One that the file no longer names stays: documents may be of it.
pub(crate) async fn keep_programs(
    tx: &mut Tx,
    district: &DistrictId,
    names: impl Iterator<Item = &String>,
    now: DateTime<Utc>,
) -> Result<()> {
    let sql = "INSERT INTO program (district, program, created_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    for name in names {
        tx.execute("keep a district's programs", sql, args![district, name, now]).await?;
    }
    Ok(())
}

async fn programs(tx: &mut Tx, district: &DistrictId) -> Result<Vec<String>> {
    let sql = "SELECT program FROM program WHERE district = $1";
    let rows = tx.rows("list the programs", sql, args![district]).await?;
    let own = rows.iter().map(|row| row.get(0)).collect::<Result<Vec<String>>>()?;
    let mut all: Vec<String> = DEFAULT_PROGRAMS.iter().map(ToString::to_string).chain(own).collect();
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

/// What is asked for, and of whom: the student may be named by an id of before the SIS gave everybody others.
struct Asked<'a> {
    new: &'a NewDocument,
    /// Under the id of today.
    student: StudentId,
    /// Of the request as it is; then as it would be under each other id of the student's. They all ask for the same.
    digests: Vec<Vec<u8>>,
}

impl<'a> Asked<'a> {
    async fn of(tx: &mut Tx, district: &DistrictId, new: &'a NewDocument) -> Result<Self> {
        let student = rekeyed::today(tx, district, &new.student).await?;
        let mut ids = rekeyed::earlier(tx, district, &student).await?;
        ids.push(student.clone());
        ids.retain(|id| *id != new.student);
        let digests = std::iter::once(&new.student).chain(&ids).map(|id| digest(new, id)).collect();
        Ok(Self { new, student, digests })
    }

    fn digest(&self) -> &[u8] {
        self.digests.first().map(Vec::as_slice).unwrap_or_default()
    }
}

/// What becomes of a request by its idempotency key.
enum Replay {
    Fresh,
    Same(Document),
    Other,
}

async fn replayed(tx: &mut Tx, district: &DistrictId, author: Author<'_>, digests: &[Vec<u8>]) -> Result<Replay> {
    let Some(key) = author.key else { return Ok(Replay::Fresh) };
    let sql = "SELECT digest, document_id FROM document_request WHERE district = $1 AND actor = $2 AND key = $3";
    let row = tx.row("look for an earlier request", sql, args![district, author.actor, key]).await?;
    let Some(row) = row else { return Ok(Replay::Fresh) };
    if !digests.contains(&row.get::<Vec<u8>>(0)?) {
        return Ok(Replay::Other);
    }
    let found = find(tx, district, &document_id(&row, 1)?).await?;
    Ok(found.map_or(Replay::Fresh, |stored| Replay::Same(stored.document)))
}

async fn remember(
    tx: &mut Tx,
    district: &DistrictId,
    author: Author<'_>,
    digest: &[u8],
    id: &DocumentId,
) -> Result<()> {
    let Some(key) = author.key else { return Ok(()) };
    let sql = "INSERT INTO document_request (district, actor, key, digest, document_id, at) \
               VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";
    let values = args![district, author.actor, key, digest, id.as_str(), author.at];
    tx.execute("keep an idempotency key", sql, values).await.map(drop)
}

/// The document as it is, if the change may be made.
async fn check(
    tx: &mut Tx,
    district: &DistrictId,
    new: &NewDocument,
    student: &StudentId,
    mode: SaveMode,
) -> Result<std::result::Result<Option<Stored>, DocumentRefused>> {
    let before = find(tx, district, &new.id).await?;
    if let Err(refused) = admit(before.as_ref().map(|before| &before.document), new, student, mode) {
        return Ok(Err(refused));
    }
    if before.is_none() && !programs(tx, district).await?.contains(&new.program) {
        return Ok(Err(DocumentRefused::NoProgram));
    }
    let sql = "SELECT student_id FROM student WHERE district = $1 AND student_id = $2";
    if before.is_none() && tx.row("look for a student", sql, args![district, student]).await?.is_none() {
        return Ok(Err(DocumentRefused::NoStudent));
    }
    Ok(Ok(before))
}

/// What can be judged without the roster.
fn admit(
    before: Option<&Document>,
    new: &NewDocument,
    student: &StudentId,
    mode: SaveMode,
) -> std::result::Result<(), DocumentRefused> {
    if new.ends_on.is_some_and(|end| end < new.starts_on) {
        return Err(DocumentRefused::DatesReversed);
    }
    if new.data.as_ref().is_some_and(|data| data.to_string().len() > DATA_LIMIT) {
        return Err(DocumentRefused::DataTooLarge);
    }
    let Some(before) = before else {
        return if mode == SaveMode::Replace { Err(DocumentRefused::Missing) } else { Ok(()) };
    };
    match before.status {
        _ if mode == SaveMode::Create => Err(DocumentRefused::Exists),
        _ if before.student != *student || before.program != new.program => Err(DocumentRefused::OtherOwner),
        DocumentStatus::Withdrawn => Err(DocumentRefused::Withdrawn),
        DocumentStatus::Completed if !new.completed => Err(DocumentRefused::Completed),
        _ => Ok(()),
    }
}

async fn write_header(
    tx: &mut Tx,
    district: &DistrictId,
    asked: &Asked<'_>,
    version: i64,
    author: Author<'_>,
) -> Result<()> {
    let new = asked.new;
    let status = if new.completed { DocumentStatus::Completed } else { DocumentStatus::Draft };
    let values = args![
        district,
        new.id.as_str(),
        &asked.student,
        &new.program,
        &new.kind,
        status.as_str(),
        new.starts_on,
        new.ends_on,
        version,
        asked.digest(),
        new.data.as_ref().map(|_| version),
        new.file.as_ref().map(|_| version),
        new.file.as_ref().map(|file| file.kind().as_str()),
        new.file.as_ref().map(|file| file.bytes().len() as i64),
        author.at,
        author.actor,
        new.completed.then_some(author.at),
    ];
    tx.execute("save a document", WRITE, values).await.map(drop)
}

/// The document as it is now, with a line in its history.
async fn noted(
    tx: &mut Tx,
    district: &DistrictId,
    id: &DocumentId,
    action: &'static str,
    author: Author<'_>,
) -> Result<Document> {
    let stored = find(tx, district, id).await?;
    let document = stored
        .map(|stored| stored.document)
        .ok_or_else(|| StoreError::Corrupt { what: "document", detail: "not there after it was written".to_owned() })?;
    let values = args![
        district,
        id.as_str(),
        document.version,
        author.at,
        author.actor,
        action,
        &document.kind,
        document.status.as_str(),
        document.starts_on,
        document.ends_on,
    ];
    tx.execute("note a document's version", NOTE, values).await?;
    Ok(document)
}

async fn move_in(
    tx: &mut Tx,
    district: &DistrictId,
    id: &DocumentId,
    to: DocumentStatus,
    author: Author<'_>,
) -> Result<Outcome> {
    let Some(before) = find(tx, district, id).await?.map(|stored| stored.document) else {
        return Ok(Err(DocumentRefused::Missing));
    };
    if before.status == to {
        return Ok(Ok(unchanged(before)));
    }
    if before.status == DocumentStatus::Withdrawn {
        return Ok(Err(DocumentRefused::Withdrawn));
    }
    // Another digest than any request has: content saved again after this is a change.
    let sql = "UPDATE document SET status = $3, version = version + 1, updated_at = $4, digest = $5, \
               completed_at = CASE WHEN $3 = 'completed' THEN $4 ELSE completed_at END \
               WHERE district = $1 AND document_id = $2";
    let digest = blake3::hash(format!("{}\0{}", to.as_str(), before.version).as_bytes()).as_bytes()[..16].to_vec();
    tx.execute("change a document's status", sql, args![district, id.as_str(), to.as_str(), author.at, digest]).await?;
    let action = if to == DocumentStatus::Completed { "complete" } else { "withdraw" };
    let document = noted(tx, district, id, action, author).await?;
    let flags_due = completed_differs(Some(&before), &document);
    if flags_due {
        tx.execute("mark flags as due", PENDING, args![district, &document.student, author.at]).await?;
    }
    Ok(Ok(Saved { document, created: false, changed: true, flags_due }))
}

/// Whether the change touches what participations are worked out from.
fn completed_differs(before: Option<&Document>, after: &Document) -> bool {
    let says = |document: &Document| {
        (document.status == DocumentStatus::Completed).then_some((document.starts_on, document.ends_on))
    };
    before.and_then(says) != says(after)
}

fn unchanged(document: Document) -> Saved {
    Saved { document, created: false, changed: false, flags_due: false }
}

/// Digest of what is asked for, of a student under one of his ids.
fn digest(new: &NewDocument, student: &StudentId) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new();
    let mut add = |part: &[u8]| {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    };
    add(new.id.as_str().as_bytes());
    add(student.0.as_bytes());
    add(new.program.as_bytes());
    add(new.kind.as_bytes());
    add(&[u8::from(new.completed), u8::from(new.data.is_some()), u8::from(new.file.is_some())]);
    let date = |date: NaiveDate| date.to_string().into_bytes();
    add(&date(new.starts_on));
    add(&new.ends_on.map(date).unwrap_or_default());
    add(new.data.as_ref().map(canonical).unwrap_or_default().as_bytes());
    add(new.file.as_ref().map(DocumentFile::bytes).unwrap_or_default());
    hasher.finalize().as_bytes()[..16].to_vec()
}

/// JSON whose text does not depend on the order of keys.
fn canonical(value: &serde_json::Value) -> String {
    use serde_json::Value;
    match value {
        Value::Object(map) => {
            let sorted: std::collections::BTreeMap<_, _> = map.iter().collect();
            let pairs: Vec<_> = sorted.iter().map(|(key, value)| format!("{key:?}:{}", canonical(value))).collect();
            format!("{{{}}}", pairs.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

/// A document, and the digest of what was asked for last.
struct Stored {
    document: Document,
    digest: Vec<u8>,
}

async fn find(tx: &mut Tx, district: &DistrictId, id: &DocumentId) -> Result<Option<Stored>> {
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

fn document_id(row: &Row, index: usize) -> Result<DocumentId> {
    DocumentId::try_from(row.get::<String>(index)?).map_err(|_| unknown("document id"))
}

fn file_type(text: &str) -> Result<FileType> {
    FileType::parse(text).ok_or_else(|| unknown("file type"))
}

fn unknown(what: &'static str) -> StoreError {
    StoreError::Corrupt { what, detail: "a word that this program does not know".to_owned() }
}

/// What a content is bound to, besides the district.
fn field(id: &DocumentId, version: i64, part: &str) -> String {
    format!("document/{id}/{version}/{part}")
}
