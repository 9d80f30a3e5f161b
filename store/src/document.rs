//! Plan documents: what they are, and which of a caller's wishes are refused.
//!
//! A document belongs to one student and one program for good. It is a draft, then completed, and may be withdrawn; only
//! completed ones make a participation. The student's demographics are copied into it when it is made.

use chrono::{DateTime, NaiveDate, Utc};
use rollcall_proto::id::StudentId;
use serde::{Deserialize, Serialize};

/// Programs that every district has. A district's own are those that its file names.
pub const DEFAULT_PROGRAMS: [&str; 4] = ["Special Education", "Section 504", "Advanced Learners", "K-4 Literacy"];

/// Largest file taken, in bytes.
pub const FILE_LIMIT: usize = 20 << 20;

/// Largest structured data taken, in bytes of JSON.
pub const DATA_LIMIT: usize = 1 << 20;

/// Most characters of a document's kind, as of its id.
pub const KIND_LIMIT: usize = 200;

/// Whether a text can name something in the store: a database keeps no NUL, and nobody means another control character.
pub fn is_name(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

/// A document's id, as whoever made it calls it: 1 to 200 characters, none of them a control character.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DocumentId(String);

/// A text that is no document id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a document id is 1 to 200 characters, none of them a control character")]
pub struct DocumentIdError;

impl DocumentId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for DocumentId {
    type Error = DocumentIdError;

    fn try_from(text: String) -> Result<Self, DocumentIdError> {
        let legal = (1..=200).contains(&text.chars().count()) && is_name(&text);
        if legal { Ok(Self(text)) } else { Err(DocumentIdError) }
    }
}

impl std::str::FromStr for DocumentId {
    type Err = DocumentIdError;

    fn from_str(text: &str) -> Result<Self, DocumentIdError> {
        Self::try_from(text.to_owned())
    }
}

impl From<DocumentId> for String {
    fn from(id: DocumentId) -> Self {
        id.0
    }
}

impl std::fmt::Display for DocumentId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a document stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DocumentStatus {
    /// Being written; counts for nothing.
    Draft,
    /// In force over its dates.
    Completed,
    /// Taken back; counts for nothing, and stays that way.
    Withdrawn,
}

impl DocumentStatus {
    /// As files, the command line and the database spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Completed => "completed",
            Self::Withdrawn => "withdrawn",
        }
    }

    /// Reads what [`DocumentStatus::as_str`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Draft, Self::Completed, Self::Withdrawn].into_iter().find(|status| status.as_str() == text)
    }
}

/// What a file is, told from its content and never from its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileType {
    /// PDF (ISO 32000: `%PDF-` within the first 1,024 bytes).
    Pdf,
    /// HTML in UTF-8.
    Html,
}

impl FileType {
    /// The media type to serve it with.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Pdf => "application/pdf",
            Self::Html => "text/html; charset=utf-8",
        }
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Pdf => "pdf",
            Self::Html => "html",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Pdf, Self::Html].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// Why a file is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FileRefused {
    /// Larger than [`FILE_LIMIT`].
    #[error("the file is larger than 20 MiB")]
    TooLarge,
    /// Neither PDF nor HTML in UTF-8.
    #[error("the file is neither PDF nor HTML in UTF-8")]
    UnknownType,
}

impl FileRefused {
    /// Reason code, listed in `docs/runbooks/reasons.md`.
    pub const fn code(self) -> &'static str {
        match self {
            Self::TooLarge => "file-too-large",
            Self::UnknownType => "file-type-unknown",
        }
    }
}

/// A file that has been checked.
#[derive(Clone, PartialEq, Eq)]
pub struct DocumentFile {
    kind: FileType,
    bytes: Vec<u8>,
}

impl std::fmt::Debug for DocumentFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DocumentFile({:?}, {} bytes)", self.kind, self.bytes.len())
    }
}

impl DocumentFile {
    /// Takes a file whose content is what we store.
    pub fn check(bytes: Vec<u8>) -> Result<Self, FileRefused> {
        if bytes.len() > FILE_LIMIT {
            return Err(FileRefused::TooLarge);
        }
        let kind = file_type(&bytes).ok_or(FileRefused::UnknownType)?;
        Ok(Self { kind, bytes })
    }

    pub(crate) const fn stored(kind: FileType, bytes: Vec<u8>) -> Self {
        Self { kind, bytes }
    }

    /// What it is.
    pub const fn kind(&self) -> FileType {
        self.kind
    }

    /// Its content.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its content.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

fn file_type(bytes: &[u8]) -> Option<FileType> {
    const MARK: &[u8] = b"%PDF-";
    let head = &bytes[..bytes.len().min(1_024)];
    if head.windows(MARK.len()).any(|window| window == MARK) {
        return Some(FileType::Pdf);
    }
    let text = std::str::from_utf8(bytes).ok()?;
    let start = behind_prologue(text.trim_start_matches('\u{feff}'))?;
    let begins = |mark: &str| start.get(..mark.len()).is_some_and(|head| head.eq_ignore_ascii_case(mark));
    (!text.contains('\0') && (begins("<!doctype html") || begins("<html"))).then_some(FileType::Html)
}

/// What is behind that which may stand before an HTML file's mark: white space, comments, and one XML declaration. `None` where one of
/// them has no end. Each character is looked at once.
fn behind_prologue(text: &str) -> Option<&str> {
    let (mut rest, mut declared) = (text.trim_start(), false);
    loop {
        let end = if rest.starts_with("<!--") {
            // Its dashes may be its end's too: `<!-->` is a whole comment (HTML, 13.2.5.43).
            let opened = &rest["<!".len()..];
            opened.find("-->").map(|end| &opened[end + "-->".len()..])
        } else if !declared && rest.strip_prefix("<?xml").is_some_and(|rest| rest.starts_with(char::is_whitespace)) {
            declared = true;
            rest.find("?>").map(|end| &rest[end + "?>".len()..])
        } else {
            return Some(rest);
        };
        rest = end?.trim_start();
    }
}

/// A document to be made or replaced.
#[derive(Debug, Clone, PartialEq)]
pub struct NewDocument {
    /// Its id.
    pub id: DocumentId,
    /// Whose.
    pub student: StudentId,
    /// Which program; one of [`Store::programs`](crate::Store::programs).
    pub program: String,
    /// Kind, in the words of whoever made it (IEP, ETR, 504 plan, …).
    pub kind: String,
    /// Completed already, or a draft.
    pub completed: bool,
    /// First day in force.
    pub starts_on: NaiveDate,
    /// Last day in force; none while open.
    pub ends_on: Option<NaiveDate>,
    /// Structured data, at most [`DATA_LIMIT`]. None: what is stored stays.
    pub data: Option<serde_json::Value>,
    /// The file. None: what is stored stays.
    pub file: Option<DocumentFile>,
}

/// A document to be made or replaced, as far as it could be read.
#[derive(Debug, Clone, Copy, Default)]
pub struct DocumentParts<'a> {
    /// Its id.
    pub id: Option<&'a DocumentId>,
    /// Whose.
    pub student: Option<&'a StudentId>,
    /// Which program.
    pub program: Option<&'a str>,
    /// Completed already, or a draft.
    pub completed: Option<bool>,
    /// First day in force.
    pub starts_on: Option<NaiveDate>,
    /// Last day in force.
    pub ends_on: Option<NaiveDate>,
    /// Structured data.
    pub data: Option<&'a serde_json::Value>,
}

impl<'a> From<&'a NewDocument> for DocumentParts<'a> {
    fn from(new: &'a NewDocument) -> Self {
        Self {
            id: Some(&new.id),
            student: Some(&new.student),
            program: Some(&new.program),
            completed: Some(new.completed),
            starts_on: Some(new.starts_on),
            ends_on: new.ends_on,
            data: new.data.as_ref(),
        }
    }
}

/// Whether a document may, must or must not be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaveMode {
    /// It must not be there yet.
    Create,
    /// It must be there.
    Replace,
    /// Either.
    Upsert,
}

/// Who asks for a change, and when.
#[derive(Debug, Clone, Copy)]
pub struct Author<'a> {
    /// An operating-system user or an integration.
    pub actor: &'a str,
    /// The integration's idempotency key: the same request again changes nothing and answers alike.
    pub key: Option<&'a str>,
    /// When.
    pub at: DateTime<Utc>,
}

/// A document as stored, without its contents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Its id.
    pub id: DocumentId,
    /// Whose.
    pub student: StudentId,
    /// Which program.
    pub program: String,
    /// Kind.
    pub kind: String,
    /// Where it stands.
    pub status: DocumentStatus,
    /// First day in force.
    pub starts_on: NaiveDate,
    /// Last day in force.
    pub ends_on: Option<NaiveDate>,
    /// Grows with every change, from 1.
    pub version: i64,
    /// What its file is, if it has one.
    pub file: Option<FileFacts>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// By whom.
    pub created_by: String,
    /// When it was changed last.
    pub updated_at: DateTime<Utc>,
    /// When it was completed.
    pub completed_at: Option<DateTime<Utc>>,
}

/// What is known of a file without opening it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFacts {
    /// What it is.
    pub kind: FileType,
    /// Size in bytes.
    pub bytes: i64,
}

/// A change of a document that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// The document now.
    pub document: Document,
    /// Made by this request, or by the first one with its idempotency key.
    pub created: bool,
    /// Something is different from before; never for a request repeated with its key.
    pub changed: bool,
    /// The set of completed documents changed: the student's flags have to be looked at. The store remembers it; a
    /// `flag.sync` message makes it happen at once.
    pub flags_due: bool,
}

/// Why a change of a document is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DocumentRefused {
    /// Not in the roster.
    #[error("the roster has no student with this student id")]
    NoStudent,
    /// Not one of the district's programs.
    #[error("the district has no program of this name; its file may name it in a [[program]]")]
    NoProgram,
    /// To be created, and there already.
    #[error("a document with this id is there already")]
    Exists,
    /// To be changed, and not there.
    #[error("there is no document with this id")]
    Missing,
    /// Withdrawn for good.
    #[error("the document is withdrawn, which is for good; make another one")]
    Withdrawn,
    /// Completed, and to be a draft again.
    #[error("a completed document is not made a draft again; withdraw it")]
    Completed,
    /// Of another student or program.
    #[error("the document belongs to another student or program, which is for good; make another one")]
    OtherOwner,
    /// Ends before it starts.
    #[error("the document ends before it starts")]
    DatesReversed,
    /// Structured data above [`DATA_LIMIT`].
    #[error("the structured data is larger than 1 MiB")]
    DataTooLarge,
    /// The idempotency key was used for another request.
    #[error("this idempotency key was used for another request")]
    KeyReused,
}

impl DocumentRefused {
    /// Reason code, listed in `docs/runbooks/reasons.md`.
    pub const fn code(self) -> &'static str {
        match self {
            Self::NoStudent => "student-unknown",
            Self::NoProgram => "program-unknown",
            Self::Exists => "document-exists",
            Self::Missing => "document-missing",
            Self::Withdrawn => "document-withdrawn",
            Self::Completed => "document-completed",
            Self::OtherOwner => "document-of-another",
            Self::DatesReversed => "dates-reversed",
            Self::DataTooLarge => "data-too-large",
            Self::KeyReused => "key-reused",
        }
    }
}

/// Which documents to list.
#[derive(Debug, Clone, Default)]
pub struct DocumentFilter {
    /// Only of this student.
    pub student: Option<StudentId>,
    /// Only of this program.
    pub program: Option<String>,
    /// Only with this status.
    pub status: Option<DocumentStatus>,
    /// Only ids after this one: where the page before ended.
    pub after: Option<DocumentId>,
    /// At most so many.
    pub limit: Option<i64>,
}

/// What a completed document says about a participation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletedDocument {
    /// Which document.
    pub id: DocumentId,
    /// Whose.
    pub student: StudentId,
    /// Which program.
    pub program: String,
    /// First day in force.
    pub starts_on: NaiveDate,
    /// Last day in force.
    pub ends_on: Option<NaiveDate>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_its_content() {
        let long = format!("<!-- {} --><html>", "x".repeat(100_000));
        let unended = format!("<!-- {}", "<!--".repeat(1_000_000));
        let many = format!("{}<html>", "<!---->".repeat(1_000_000));
        let cases: [(&[u8], Option<FileType>); 29] = [
            (b"%PDF-1.7\n...", Some(FileType::Pdf)),
            (b"\n\n%PDF-2.0", Some(FileType::Pdf)),
            (b"<!DOCTYPE html><p>x", Some(FileType::Html)),
            ("\u{feff} <HTML lang=en>".as_bytes(), Some(FileType::Html)),
            (b"<!doctype html>\xff", None),
            (b"<html>\0", None),
            (b"PK\x03\x04", None),
            (b"plain text", None),
            (b"", None),
            // What may stand before the mark.
            (b"<!-- saved from an editor --><!DOCTYPE html><p>x", Some(FileType::Html)),
            (b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE html><html>", Some(FileType::Html)),
            ("\u{feff}<?xml version='1.0'?> <!-- a --> \n <!-- b > --> <html>".as_bytes(), Some(FileType::Html)),
            (b"<!----><html>", Some(FileType::Html)),
            (b"<!--><html>", Some(FileType::Html)),
            (b"<!---><html>", Some(FileType::Html)),
            (b"<!-- <?xml ?> --><html>", Some(FileType::Html)),
            (long.as_bytes(), Some(FileType::Html)),
            (many.as_bytes(), Some(FileType::Html)),
            // What may not, and what never ends.
            (b"<!-- <html>", None),
            (b"<!-- -- > <html>", None),
            (b"<?xml version=\"1.0\" <html>", None),
            (b"<?xml version=\"1.0\"?><?xml version=\"1.0\"?><html>", None),
            (b"<?xml version=\"1.0\"?><svg xmlns=\"http://www.w3.org/2000/svg\"/>", None),
            (b"<?xml-stylesheet href=\"x\"?><html>", None),
            (b"<?php ?><html>", None),
            (b"<!-- a --> text <html>", None),
            (b"<!-- <html> --><script>", None),
            (b"<!-- \0 --><html>", None),
            (unended.as_bytes(), None),
        ];
        for (bytes, kind) in cases {
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]);
            assert_eq!(DocumentFile::check(bytes.to_vec()).ok().map(|file| file.kind()), kind, "{shown:?}");
        }
    }

    #[test]
    fn a_file_above_the_limit_is_refused() {
        let mut bytes = b"%PDF-".to_vec();
        bytes.resize(FILE_LIMIT, b' ');
        assert!(DocumentFile::check(bytes.clone()).is_ok());
        bytes.push(b' ');
        assert_eq!(DocumentFile::check(bytes), Err(FileRefused::TooLarge));
    }

    #[test]
    fn a_document_id_is_text_without_control_characters() {
        for legal in ["1", "IEP 2026/7", "ü", &"x".repeat(200)] {
            assert_eq!(legal.parse::<DocumentId>().map(String::from), Ok(legal.to_owned()));
        }
        for illegal in ["", "a\nb", "\0", &"x".repeat(201)] {
            assert_eq!(illegal.parse::<DocumentId>(), Err(DocumentIdError));
        }
    }
}
