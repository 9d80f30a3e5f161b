//! Documents: made, replaced, completed, withdrawn, read.
//!
//! Role: who may change what, and the header of each document. Neighbours: `contents` keeps what is in them, `requests`
//! the idempotency keys.
//!
//! Invariants: every change is a version; the same request again (by idempotency key, or with equal content) changes
//! nothing; a change of the completed documents is marked as pending in the transaction that makes it, so that no message
//! matters.

mod contents;
mod reading;
mod requests;

pub(crate) use contents::reseal;
pub(crate) use reading::{completed, completed_within};

use chrono::{DateTime, NaiveDate, Utc};
use rollcall_proto::id::{DistrictId, StudentId};
use uuid::Uuid;

use self::{
    reading::{Stored, find},
    requests::{Replay, remember, replayed},
};
use crate::{
    Store, StoreError, districts,
    document::{
        Author, DATA_LIMIT, DEFAULT_PROGRAMS, Document, DocumentFile, DocumentId, DocumentParts, DocumentRefused,
        DocumentStatus, NewDocument, SaveMode, Saved,
    },
    rekeyed,
    sql::{Tx, args},
};

type Result<T> = std::result::Result<T, StoreError>;
type Outcome = std::result::Result<Saved, DocumentRefused>;

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
INSERT INTO flag_pending (district, student_id, since, mark) VALUES ($1, $2, $3, $4)
ON CONFLICT (district, student_id) DO UPDATE SET mark = excluded.mark, retry_at = NULL,
    since = CASE WHEN flag_pending.since < excluded.since THEN excluded.since ELSE flag_pending.since END";

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
        let requests = asked.requests(mode);
        let saved = match replayed(&mut tx, district, author, &requests).await? {
            Replay::Fresh => self.save_in(&mut tx, district, &asked, mode, author).await?,
            Replay::Same(saved) => Ok(saved),
            Replay::Other => Err(DocumentRefused::KeyReused),
        };
        if let Ok(saved) = &saved {
            remember(&mut tx, district, author, requests.first().map_or(&[], Vec::as_slice), saved).await?;
            tx.commit(operation).await?;
        }
        Ok(saved)
    }

    /// All that [`Store::save_document`] would refuse it for, as things are now; of what could not be read, nothing is known.
    pub async fn check_document(
        &self,
        district: &DistrictId,
        parts: &DocumentParts<'_>,
        mode: SaveMode,
    ) -> Result<Vec<DocumentRefused>> {
        let operation = "check a document";
        let mut tx = self.read(district, operation).await?;
        let student = match parts.student {
            Some(student) => Some(rekeyed::meant(&mut tx, district, student).await?),
            None => None,
        };
        let (_, refused) =
            check(&mut tx, district, &DocumentParts { student: student.as_ref(), ..*parts }, mode).await?;
        tx.commit(operation).await?;
        Ok(refused)
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
            Replay::Same(saved) => Ok(saved),
            Replay::Other => Err(DocumentRefused::KeyReused),
        };
        if let Ok(moved) = &moved {
            remember(&mut tx, district, author, &digest, moved).await?;
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
        let (before, refused) =
            check(tx, district, &DocumentParts { student: Some(student), ..new.into() }, mode).await?;
        if let Some(refused) = refused.first() {
            return Ok(Err(*refused));
        }
        if let Some(same) = before.as_ref().filter(|before| asked.digests.contains(&before.digest))
            && self.has_contents(tx, district, new).await?
        {
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
            mark_due(tx, district, &document.student, author.at).await?;
        }
        Ok(Ok(Saved { document, created: before.is_none(), changed: true, flags_due }))
    }
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
        let student = rekeyed::meant(tx, district, &new.student).await?;
        let mut ids = rekeyed::earlier(tx, district, &student).await?;
        ids.push(student.clone());
        // In other letters it is the same request.
        let asked = if ids.contains(&new.student) { &new.student } else { &student };
        let others = ids.iter().filter(|id| *id != asked);
        let digests = std::iter::once(asked).chain(others).map(|id| digest(new, id)).collect();
        Ok(Self { new, student, digests })
    }

    fn digest(&self) -> &[u8] {
        self.digests.first().map(Vec::as_slice).unwrap_or_default()
    }

    /// What an idempotency key is remembered by, first of all as this program does: making a document and replacing it are two
    /// requests. Older programs remembered what was in it alone.
    fn requests(&self, mode: SaveMode) -> Vec<Vec<u8>> {
        let of_mode = self.digests.iter().map(|digest| request(mode, digest));
        of_mode.chain(self.digests.iter().cloned()).collect()
    }
}

/// Digest of a request to do this with a content.
fn request(mode: SaveMode, digest: &[u8]) -> Vec<u8> {
    let word: &[u8] = match mode {
        SaveMode::Create => b"create\0",
        SaveMode::Replace => b"replace\0",
        SaveMode::Upsert => b"upsert\0",
    };
    blake3::Hasher::new().update(word).update(digest).finalize().as_bytes()[..16].to_vec()
}

/// The document as it is, and all that the change is refused for. The student is named by the id of today.
async fn check(
    tx: &mut Tx,
    district: &DistrictId,
    parts: &DocumentParts<'_>,
    mode: SaveMode,
) -> Result<(Option<Stored>, Vec<DocumentRefused>)> {
    let before = match parts.id {
        Some(id) => find(tx, district, id).await?,
        None => None,
    };
    let mut refused = admit(before.as_ref().map(|before| &before.document), parts, mode);
    if before.is_some() || refused.contains(&DocumentRefused::Missing) {
        return Ok((before, refused));
    }
    if let Some(program) = parts.program
        && !programs(tx, district).await?.iter().any(|known| known == program)
    {
        refused.push(DocumentRefused::NoProgram);
    }
    let sql = "SELECT student_id FROM student WHERE district = $1 AND student_id = $2";
    if let Some(student) = parts.student
        && tx.row("look for a student", sql, args![district, student]).await?.is_none()
    {
        refused.push(DocumentRefused::NoStudent);
    }
    Ok((before, refused))
}

/// What can be judged without the roster.
fn admit(before: Option<&Document>, parts: &DocumentParts<'_>, mode: SaveMode) -> Vec<DocumentRefused> {
    let mut refused = Vec::new();
    if parts.ends_on.zip(parts.starts_on).is_some_and(|(end, start)| end < start) {
        refused.push(DocumentRefused::DatesReversed);
    }
    if parts.data.is_some_and(|data| data.to_string().len() > DATA_LIMIT) {
        refused.push(DocumentRefused::DataTooLarge);
    }
    let Some(before) = before else {
        refused.extend((mode == SaveMode::Replace).then_some(DocumentRefused::Missing));
        return refused;
    };
    let is_of_another = parts.student.is_some_and(|student| before.student != *student)
        || parts.program.is_some_and(|program| before.program != program);
    let stands = match before.status {
        _ if mode == SaveMode::Create => Some(DocumentRefused::Exists),
        _ if is_of_another => Some(DocumentRefused::OtherOwner),
        DocumentStatus::Withdrawn => Some(DocumentRefused::Withdrawn),
        DocumentStatus::Completed if parts.completed == Some(false) => Some(DocumentRefused::Completed),
        _ => None,
    };
    refused.extend(stands);
    refused
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
        mark_due(tx, district, &document.student, author.at).await?;
    }
    Ok(Ok(Saved { document, created: false, changed: true, flags_due }))
}

/// Each time with another mark: what was read before is not what settles this.
pub(crate) async fn mark_due(tx: &mut Tx, district: &DistrictId, student: &StudentId, at: DateTime<Utc>) -> Result<()> {
    tx.execute("mark flags as due", PENDING, args![district, student, at, Uuid::now_v7()]).await.map(drop)
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
