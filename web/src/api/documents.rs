//! Documents: created, replaced, completed, withdrawn, read.

#![allow(unused_qualifications, reason = "the macro that describes parameters writes whole paths")]

use axum::{
    Json,
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::{DateTime, NaiveDate, Utc};
use rollcall_proto::{
    id::{RunId, StudentId},
    message::{Body, FlagSync, Message},
    roster::Student,
};
use rollcall_store::{
    document::{
        Author, Document, DocumentFile, DocumentFilter, DocumentId, DocumentRefused, DocumentStatus, FILE_LIMIT,
        FileRefused, KIND_LIMIT, NewDocument, SaveMode, Saved,
    },
    integrations::Scope,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{
    body::{Whole, idempotency_key, read_json},
    caller::Caller,
    listing::{are_usable, limit},
    problem::{Problem, ProblemBody},
};
use crate::{
    contents::{data, demographics},
    server::App,
};

/// A document to create, or the whole of it to replace one with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DocumentBody {
    /// Its id in the sending program, 1 to 200 characters.
    document_id: String,
    /// The SIS's id of the student, as `rollcall students list` shows it.
    student_id: String,
    /// One of the district's programs, such as `Special Education`.
    program: String,
    /// Kind, in the sender's words: `IEP`, `ETR`, `504 plan`.
    kind: String,
    /// `draft` or `completed`.
    status: StatusWord,
    /// First day in force: `YYYY-MM-DD`, from 1900-01-01 to 2199-12-31.
    #[schema(format = Date)]
    start: String,
    /// Last day in force, written the same; leave out while open.
    #[schema(format = Date)]
    end: Option<String>,
    /// Structured data, at most 1 MiB. Left out: what is stored stays.
    #[schema(value_type = Option<Object>)]
    data: Option<serde_json::Value>,
    /// PDF, or HTML in UTF-8, in base64; at most 20 MiB. Left out: what is stored stays.
    #[schema(format = Byte)]
    file: Option<String>,
}

/// Where a document stands when it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum StatusWord {
    /// Being written.
    Draft,
    /// In force over its dates.
    Completed,
}

/// A document as kept.
#[derive(Serialize, ToSchema)]
struct DocumentAnswer {
    /// Its id.
    document_id: String,
    /// The SIS's id of the student.
    student_id: String,
    /// Program.
    program: String,
    /// Kind.
    kind: String,
    /// `draft`, `completed` or `withdrawn`.
    status: &'static str,
    /// First day in force.
    start: NaiveDate,
    /// Last day in force.
    end: Option<NaiveDate>,
    /// Grows with every change, from 1.
    version: i64,
    /// Media type of the file, if there is one.
    file_type: Option<&'static str>,
    /// Size of the file in bytes.
    file_bytes: Option<i64>,
    /// When it was made.
    created_at: DateTime<Utc>,
    /// When it was changed last.
    updated_at: DateTime<Utc>,
    /// When it was completed.
    completed_at: Option<DateTime<Utc>>,
}

/// A document as kept, its structured data, and its student as known when it was made.
#[derive(Serialize, ToSchema)]
struct DocumentDetails {
    #[serde(flatten)]
    document: DocumentAnswer,
    /// As they were when the document was made, whatever the roster says since.
    demographics: Option<Demographics>,
    /// The structured data, as it was handed in last.
    #[schema(value_type = Option<Object>)]
    data: Option<serde_json::Value>,
}

/// What was known of a student on a day.
#[derive(Serialize, ToSchema)]
struct Demographics {
    /// Given name.
    first_name: Option<String>,
    /// Middle name.
    middle_name: Option<String>,
    /// Family name.
    last_name: Option<String>,
    /// Day of birth.
    birth_date: Option<NaiveDate>,
    /// Gender code.
    gender: Option<String>,
    /// Grade.
    grade: Option<String>,
    /// Code of the school.
    school: Option<String>,
    /// The district's number of the student.
    local_id: Option<String>,
    /// The state's number of the student.
    state_id: Option<String>,
}

impl From<Student> for Demographics {
    fn from(student: Student) -> Self {
        Self {
            first_name: student.person.first_name,
            middle_name: student.person.middle_name,
            last_name: student.person.last_name,
            birth_date: student.birth_date,
            gender: student.gender,
            grade: student.grade,
            school: student.school,
            local_id: student.local_id,
            state_id: student.state_id,
        }
    }
}

impl From<Document> for DocumentAnswer {
    fn from(document: Document) -> Self {
        Self {
            document_id: document.id.into(),
            student_id: document.student.0,
            program: document.program,
            kind: document.kind,
            status: document.status.as_str(),
            start: document.starts_on,
            end: document.ends_on,
            version: document.version,
            file_type: document.file.map(|file| file.kind.media_type()),
            file_bytes: document.file.map(|file| file.bytes),
            created_at: document.created_at,
            updated_at: document.updated_at,
            completed_at: document.completed_at,
        }
    }
}

/// Which documents to list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Only of this student.
    student_id: Option<String>,
    /// Only of this program.
    program: Option<String>,
    /// Only with this status: `draft`, `completed` or `withdrawn`.
    status: Option<String>,
    /// Only ids after this one: where the page before ended.
    after: Option<String>,
    /// At most so many, 1 to 1000; 100 unless said.
    limit: Option<u32>,
}

/// List documents, by id.
#[utoipa::path(
    get,
    path = "/api/v1/documents",
    tag = "documents",
    security(("oauth2" = ["documents"])),
    params(ListQuery),
    responses(
        (status = 200, description = "Documents", body = [DocumentAnswer]),
        (status = 400, description = "Malformed", body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "No good token", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "The token has another scope", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    caller.may(Scope::Documents)?;
    let Query(query) = query.map_err(|_| Problem::malformed("unknown or malformed query parameter"))?;
    let status = query.status.as_deref().map(|word| DocumentStatus::parse(word).ok_or(word)).transpose();
    let status = status.map_err(|_| Problem::malformed("status is draft, completed or withdrawn"))?;
    let limit = limit(query.limit)?;
    are_usable(&[("student_id", query.student_id.as_deref()), ("program", query.program.as_deref())])?;
    let after = query.after.map(DocumentId::try_from).transpose();
    let filter = DocumentFilter {
        student: query.student_id.map(StudentId),
        program: query.program,
        status,
        after: after.map_err(|error| Problem::malformed(error.to_string()))?,
        limit: Some(limit),
    };
    let found = app.store.documents(&caller.district, &filter).await?;
    Ok(Json(found.into_iter().map(DocumentAnswer::from).collect::<Vec<_>>()).into_response())
}

/// Create a document.
#[utoipa::path(
    post,
    path = "/api/v1/documents",
    tag = "documents",
    security(("oauth2" = ["documents"])),
    params(("Idempotency-Key" = String, Header, description = "The same key again answers as the first time")),
    request_body = DocumentBody,
    responses(
        (status = 201, description = "Made", body = DocumentAnswer),
        (status = 400, description = "Malformed", body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "No good token", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "The token has another scope", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "There already", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "Too large", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "Refused; the code says why", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Whole,
) -> Result<Response, Problem> {
    caller.may(Scope::Documents)?;
    let new = document(&headers, &body.bytes)?;
    save(&app, &caller, &headers, new, SaveMode::Create).await
}

/// A document.
#[utoipa::path(
    get,
    path = "/api/v1/documents/{document_id}",
    tag = "documents",
    security(("oauth2" = ["documents"])),
    params(("document_id" = String, Path, description = "Its id")),
    responses(
        (status = 200, description = "The document", body = DocumentDetails),
        (status = 401, description = "No good token", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "The token has another scope", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "None such", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn get(
    State(app): State<App>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    caller.may(Scope::Documents)?;
    let Path(id) = path.map_err(|_| Problem::no_such_route())?;
    let id = document_id(id)?;
    let document = app.store.document(&caller.district, &id).await?.ok_or(DocumentRefused::Missing)?;
    let demographics = demographics(&app.store, &caller.district, &id).await?.map(Demographics::from);
    let data = data(&app.store, &caller.district, &id).await?;
    Ok(Json(DocumentDetails { document: document.into(), demographics, data }).into_response())
}

/// Replace a document.
#[utoipa::path(
    put,
    path = "/api/v1/documents/{document_id}",
    tag = "documents",
    security(("oauth2" = ["documents"])),
    params(
        ("document_id" = String, Path, description = "Its id, as in the body"),
        ("Idempotency-Key" = String, Header, description = "The same key again answers as the first time"),
    ),
    request_body = DocumentBody,
    responses(
        (status = 200, description = "Replaced", body = DocumentAnswer),
        (status = 400, description = "Malformed", body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "No good token", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "The token has another scope", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "None such", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "Not from where it stands", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "Too large", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "Refused; the code says why", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn replace(
    State(app): State<App>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Whole,
) -> Result<Response, Problem> {
    caller.may(Scope::Documents)?;
    let Path(id) = path.map_err(|_| Problem::no_such_route())?;
    let new = document(&headers, &body.bytes)?;
    if new.id.as_str() != id {
        return Err(Problem::malformed("document_id in the body is another than in the path"));
    }
    save(&app, &caller, &headers, new, SaveMode::Replace).await
}

/// A change of where a document stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Change {
    /// From now on it counts.
    Complete,
    /// It is taken back, for good.
    Withdraw,
}

/// Complete a document, so that it counts from now on; or withdraw it, for good.
#[utoipa::path(
    post,
    path = "/api/v1/documents/{document_id}/{change}",
    operation_id = "change_document",
    tag = "documents",
    security(("oauth2" = ["documents"])),
    params(
        ("document_id" = String, Path, description = "Its id"),
        ("change" = inline(Change), Path, description = "What becomes of it"),
        ("Idempotency-Key" = String, Header, description = "The same key again answers as the first time"),
    ),
    responses(
        (status = 200, description = "Completed, or withdrawn", body = DocumentAnswer),
        (status = 400, description = "Malformed", body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "No good token", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "The token has another scope", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "None such", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "To be completed, and withdrawn already", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "Refused; the code says why", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn change(
    State(app): State<App>,
    caller: Caller,
    path: Result<Path<(String, Change)>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.may(Scope::Documents)?;
    let Path((id, change)) = path.map_err(|_| Problem::no_such_route())?;
    let (id, key) = (document_id(id)?, idempotency_key(&headers)?);
    let (store, district, author) = (&app.store, &caller.district, author(&app, &caller, &key));
    let saved = match change {
        Change::Complete => store.complete_document(district, &id, author).await,
        Change::Withdraw => store.withdraw_document(district, &id, author).await,
    };
    Ok(answer(&app, &caller, saved??).await)
}

async fn save(
    app: &App,
    caller: &Caller,
    headers: &HeaderMap,
    new: NewDocument,
    mode: SaveMode,
) -> Result<Response, Problem> {
    let key = idempotency_key(headers)?;
    let saved = app.store.save_document(&caller.district, &new, mode, author(app, caller, &key)).await??;
    Ok(answer(app, caller, saved).await)
}

/// The store remembers that flags are due; the message makes it happen at once.
async fn answer(app: &App, caller: &Caller, saved: Saved) -> Response {
    let status = if saved.created { StatusCode::CREATED } else { StatusCode::OK };
    if saved.flags_due {
        let sync = Body::FlagSync(FlagSync { student: Some(saved.document.student.clone()), program: None });
        let message = Message::new(caller.district.clone(), RunId(Uuid::now_v7()), app.clock.now(), sync);
        if let Err(error) = app.bus.publish(&[message]).await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(district = %caller.district, error, "flags are looked at later: the bus is away");
        }
    }
    (status, Json(DocumentAnswer::from(saved.document))).into_response()
}

fn author<'a>(app: &App, caller: &'a Caller, key: &'a str) -> Author<'a> {
    Author { actor: &caller.actor, key: Some(key), at: app.clock.now() }
}

fn document_id(id: String) -> Result<DocumentId, Problem> {
    DocumentId::try_from(id).map_err(|error| Problem::malformed(error.to_string()))
}

/// A document as a body has it.
pub(super) fn document(headers: &HeaderMap, body: &[u8]) -> Result<NewDocument, Problem> {
    let body: DocumentBody = read_json(headers, body)?;
    if body.program.is_empty() || body.kind.is_empty() || body.kind.chars().count() > KIND_LIMIT {
        return Err(Problem::malformed("program and kind are not empty, and kind is at most 200 characters"));
    }
    let [student, program, kind] = [&body.student_id, &body.program, &body.kind].map(|text| Some(text.as_str()));
    are_usable(&[("student_id", student), ("program", program), ("kind", kind)])?;
    Ok(NewDocument {
        id: document_id(body.document_id)?,
        student: StudentId(body.student_id),
        program: body.program,
        kind: body.kind,
        completed: body.status == StatusWord::Completed,
        starts_on: date("start", &body.start)?,
        ends_on: body.end.map(|text| date("end", &text)).transpose()?,
        data: body.data,
        file: body.file.map(|text| file(&text)).transpose()?,
    })
}

fn date(member: &str, text: &str) -> Result<NaiveDate, Problem> {
    rollcall_proto::date::parse(text).map_err(|error| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "date-unreadable", "a date cannot be read")
            .detail(format!("{member}: {error}"))
    })
}

fn file(text: &str) -> Result<DocumentFile, Problem> {
    if text.len() > FILE_LIMIT / 3 * 4 + 8 {
        return Err(FileRefused::TooLarge.into());
    }
    let bytes = STANDARD.decode(text).map_err(|_| Problem::malformed("file is not base64"))?;
    Ok(DocumentFile::check(bytes)?)
}
