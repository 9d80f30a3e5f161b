//! The HTTP side of a Campus.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{Method, StatusCode, request::Parts},
    response::Response,
};
use serde_json::{Value, json};
use url::form_urlencoded;

use super::{CampusFault, CampusNames, CampusOrder, CampusPaging, Shared, flags::Students};
use crate::{
    answer::Answer,
    auth::{TokenCall, Worth},
    quirks::{AuthQuirks, FaultKind, RetryAfter},
    state::lock,
};

/// The token endpoint.
pub(super) const TOKEN: &str = "/campus/oauth2/token";

/// Largest request body read.
const MOST_BODY: usize = 1 << 20;

/// Rows of a page where none are asked for.
const USUAL_PAGE: usize = 100;

/// The base URL's path, as a district copies it.
pub(super) fn base(app: &str) -> String {
    format!("/campus/api/oneroster/v1p2/{app}/ims/oneroster")
}

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new().fallback(serve).with_state(shared)
}

/// A write of a student's that is being answered.
struct UnderWay {
    shared: Arc<Shared>,
    student: String,
}

impl UnderWay {
    fn of(shared: &Arc<Shared>, parts: &Parts, body: &[u8]) -> Option<Self> {
        let student = student_of(&sent(shared, parts, body));
        if student.is_empty() {
            return None;
        }
        lock(&shared.flags).begin(&student);
        Some(Self { shared: Arc::clone(shared), student })
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        lock(&self.shared.flags).end(&self.student);
    }
}

/// The participation that a write brings, by usual names; null for a read.
fn sent(shared: &Shared, parts: &Parts, body: &[u8]) -> Value {
    let body = if parts.method == Method::PUT { serde_json::from_slice(body).unwrap_or_default() } else { Value::Null };
    shared.config.names.sent(body)
}

/// Whose flag a write is about; blank for a read.
fn student_of(sent: &Value) -> String {
    sent["student"]["sourcedId"].as_str().unwrap_or_default().to_owned()
}

async fn serve(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MOST_BODY).await else {
        return error(StatusCode::PAYLOAD_TOO_LARGE, "invaliddata").respond();
    };
    let _under_way = UnderWay::of(&shared, &parts, &body);
    if shared.config.latency_ms > 0 {
        tokio::time::sleep(Duration::from_millis(shared.config.latency_ms)).await;
    }
    if parts.method == Method::PUT && lock(&shared.faults).hold() {
        shared.let_go.notified().await;
    }
    if is_out(&shared) {
        return Answer::refusal(StatusCode::SERVICE_UNAVAILABLE, RetryAfter::Absent).respond();
    }
    if parts.uri.path() == TOKEN {
        let fault = lock(&shared.faults).faults.token.take();
        return match fault {
            Some(CampusFault::Status(status)) => struck(status),
            Some(_) => {
                token(&shared, &parts, &body).respond_spoiled(FaultKind::ConnectionReset, shared.closing.clone())
            }
            None => token(&shared, &parts, &body).respond(),
        };
    }
    lock(&shared.flags).stats.calls += 1;
    if let Some(refusal) = refusal(&shared, &parts) {
        return refusal.respond();
    }
    match parts.uri.path().strip_prefix(&base(&shared.config.app)) {
        Some(path) => {
            let students = &shared.config.students;
            let is_known = |id: &str| students.is_empty() || students.iter().any(|one| one.eq_ignore_ascii_case(id));
            data(&shared, &parts, path, &body, &is_known)
        }
        None => error(StatusCode::NOT_FOUND, "unknownobject").respond(),
    }
}

/// A call beside the roster, whose token was judged already: the vendor pair, then the data. `path` follows the base; `is_known`: who
/// is in the roster.
pub(crate) fn beside_roster(
    shared: &Shared,
    parts: &Parts,
    path: &str,
    body: &[u8],
    is_known: Students<'_>,
) -> Response {
    lock(&shared.flags).stats.calls += 1;
    if !is_vendor(shared, parts) {
        return error(StatusCode::UNAUTHORIZED, "unauthorisedrequest").respond();
    }
    data(shared, parts, path, body, is_known)
}

fn is_out(shared: &Shared) -> bool {
    let writes = lock(&shared.flags).stats.writes;
    let faults = lock(&shared.faults);
    faults.faults.outage || faults.faults.outage_after_writes.is_some_and(|most| writes >= most)
}

fn token(shared: &Shared, parts: &Parts, body: &[u8]) -> Answer {
    let query = parts.uri.query().unwrap_or("");
    let app = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "appName").map(|(_, value)| value);
    if app.as_deref() != Some(shared.config.app.as_str()) {
        return Answer::error(StatusCode::BAD_REQUEST, "No Campus Application selected");
    }
    let call = TokenCall { method: &parts.method, query, headers: &parts.headers, body };
    let answer = call.answer(&shared.tokens_config, &AuthQuirks::default(), &mut lock(&shared.tokens));
    lock(&shared.flags).stats.tokens += u64::from(answer.status == StatusCode::OK);
    answer
}

/// Bearer first, then the vendor pair; absent and wrong are the same to Campus.
fn refusal(shared: &Shared, parts: &Parts) -> Option<Answer> {
    let lifetime = Duration::from_secs(shared.tokens_config.token_lifetime_seconds);
    let worth = lock(&shared.tokens).judge(&parts.headers, lifetime, &AuthQuirks::default());
    let admitted = worth == Worth::Good && is_vendor(shared, parts);
    (!admitted).then(|| error(StatusCode::UNAUTHORIZED, "unauthorisedrequest"))
}

fn is_vendor(shared: &Shared, parts: &Parts) -> bool {
    let pair = format!("{}:{}", shared.config.vendor_key, shared.config.vendor_secret);
    let given = parts.headers.get(&shared.config.names.vendor_header).and_then(|value| value.to_str().ok());
    given == Some(pair.as_str()) && !lock(&shared.faults).faults.vendor_refused
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
enum Wanted<'a> {
    Programs,
    Participations,
    Participation(&'a str),
    Write(&'a str),
    Nothing,
}

impl<'a> Wanted<'a> {
    fn of(names: &CampusNames, method: &Method, path: &'a str) -> Self {
        let path = path.trim_matches('/');
        let id = path.strip_prefix(names.participations_path.as_str()).and_then(|rest| rest.strip_prefix('/'));
        match (method.as_str(), id) {
            ("GET", None) if path == names.programs_path => Self::Programs,
            ("GET", None) if path == names.participations_path => Self::Participations,
            ("GET", Some(id)) => Self::Participation(id),
            ("PUT", Some(id)) => Self::Write(id),
            _ => Self::Nothing,
        }
    }
}

fn data(shared: &Shared, parts: &Parts, path: &str, body: &[u8], is_known: Students<'_>) -> Response {
    let wanted = Wanted::of(&shared.config.names, &parts.method, path);
    let sent = sent(shared, parts, body);
    let (student, filter) = (student_of(&sent), filter(parts));
    let last = path.rsplit('/').next().unwrap_or_default();
    let about = [last, student.as_str(), filter.as_ref().map_or("", |(_, value)| value.as_str())];
    let answer = |most| answer(shared, parts, wanted, (&sent, is_known), most);
    let strike = lock(&shared.faults).strike(parts.method == Method::PUT, &about);
    match strike {
        Some(CampusFault::Status(status)) => struck(status),
        Some(CampusFault::TooMany(seconds)) => {
            Answer::refusal(StatusCode::TOO_MANY_REQUESTS, RetryAfter::Seconds(seconds)).respond()
        }
        Some(CampusFault::LostAnswer) => {
            let answer = answer(usize::MAX);
            answer.respond_spoiled(FaultKind::ConnectionReset, shared.closing.clone())
        }
        Some(CampusFault::Cut) => {
            let answer = answer(usize::MAX);
            answer.respond_spoiled(FaultKind::TruncatedJson, shared.closing.clone())
        }
        Some(CampusFault::Torn(rows)) => answer(rows).respond(),
        None => answer(usize::MAX).respond(),
    }
}

fn struck(status: u16) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    error(status, "internal_server_error").respond()
}

/// Field and value of a filter.
fn filter(parts: &Parts) -> Option<(String, String)> {
    let filter = parameter(parts.uri.query().unwrap_or(""), "filter")?;
    let (field, value) = filter.split_once('=')?;
    Some((field.to_owned(), value.trim_matches('\'').to_owned()))
}

/// `most`: rows after which a list ends.
fn answer(
    shared: &Shared,
    parts: &Parts,
    wanted: Wanted<'_>,
    (sent, is_known): (&Value, Students<'_>),
    most: usize,
) -> Answer {
    let names = &shared.config.names;
    match wanted {
        Wanted::Programs => {
            let rows = lock(&shared.flags).program_rows();
            list(shared, parts, &names.programs, rows, most)
        }
        Wanted::Participations => {
            let filter = filter(parts);
            let filter = filter.as_ref().map(|(field, value)| (names.filtered(field), value.as_str()));
            let filter = match filter {
                Some((Some(field), value)) if shared.config.filters => Some((field, value)),
                Some(_) => return error(StatusCode::BAD_REQUEST, "invalid_filter_field"),
                None => None,
            };
            let rows = lock(&shared.flags).flag_rows(filter);
            list(shared, parts, &names.participations, rows, most)
        }
        Wanted::Participation(id) => {
            let refused = lock(&shared.faults).faults.refuses_one.and_then(|status| StatusCode::from_u16(status).ok());
            let is_deleted = lock(&shared.faults).faults.deleted.iter().any(|one| one.eq_ignore_ascii_case(id));
            match (refused, lock(&shared.flags).flag_row(id)) {
                (Some(status), _) => error(status, "unsupported"),
                _ if is_deleted => {
                    Answer::value(&json!({ &names.participation: { "sourcedId": id, "status": "tobedeleted" } }))
                }
                (None, Some(row)) => Answer::value(&json!({ &names.participation: names.shown(row) })),
                (None, None) => error(StatusCode::NOT_FOUND, "unknownobject"),
            }
        }
        Wanted::Write(id) => write(shared, id, sent, is_known),
        Wanted::Nothing => error(StatusCode::NOT_FOUND, "unknownobject"),
    }
}

/// A page of a list.
fn list(shared: &Shared, parts: &Parts, envelope: &str, mut rows: Vec<Value>, most: usize) -> Answer {
    let config = &shared.config;
    let total = rows.len();
    rows.truncate(most);
    if config.order == CampusOrder::NewEachTime {
        let calls = lock(&shared.flags).stats.calls;
        rows.sort_by_cached_key(|row| shuffled(calls, row));
    }
    let rows: Vec<_> = rows.into_iter().map(|row| config.names.shown(row)).collect();
    let (offset, limit) = asked_for(parts.uri.query().unwrap_or(""), config.page_limit);
    let page = match config.paging {
        CampusPaging::RefusedBehind(status) if offset > 0 && offset >= rows.len() => {
            return error(StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST), "invaliddata");
        }
        CampusPaging::Paged | CampusPaging::RefusedBehind(_) => rows.into_iter().skip(offset).take(limit).collect(),
        CampusPaging::Unpaged => rows,
        CampusPaging::Stuck => rows.into_iter().take(limit).collect(),
    };
    let headers = if config.counts { vec![("x-total-count", total.to_string())] } else { Vec::new() };
    Answer { headers, ..Answer::value(&json!({ envelope: page })) }
}

/// A row's place in the order of one call.
fn shuffled(call: u64, row: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    (call, row.to_string()).hash(&mut hasher);
    hasher.finish()
}

fn write(shared: &Shared, id: &str, sent: &Value, is_known: Students<'_>) -> Answer {
    let mut flags = lock(&shared.flags);
    match flags.write(id, sent, is_known) {
        Ok(is_new) => {
            flags.stats.writes += 1;
            let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
            Answer { status, ..Answer::json(Vec::new()) }
        }
        Err((status, minor)) => {
            flags.stats.refused += 1;
            error(status, minor)
        }
    }
}

/// `offset` and `limit`, the limit silently clamped.
fn asked_for(query: &str, most: usize) -> (usize, usize) {
    let number = |name: &str| parameter(query, name).and_then(|text| text.parse::<usize>().ok());
    (number("offset").unwrap_or(0), number("limit").unwrap_or(USUAL_PAGE).clamp(1, most))
}

fn parameter(query: &str, name: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// A status as the standard words it (wire/oneroster-campus.md 1.5).
fn error(status: StatusCode, minor: &str) -> Answer {
    let body = json!({
        "imsx_codeMajor": "failure", "imsx_severity": "error",
        "imsx_CodeMinor": { "imsx_codeMinorField": [
            { "imsx_codeMinorFieldName": "TargetEndSystem", "imsx_codeMinorFieldValue": minor }
        ] },
    });
    Answer { status, ..Answer::value(&body) }
}
