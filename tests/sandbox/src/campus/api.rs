//! The HTTP side of a Campus.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{Method, StatusCode, request::Parts},
    response::Response,
};
use serde_json::{Value, json};
use url::form_urlencoded;

use super::{CampusFault, Shared};
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

/// Fields that participations can be filtered by.
const FILTERS: [&str; 2] = ["student.sourcedId", "program.sourcedId"];

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
        let student = student_of(parts, body);
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

/// Whose flag a write is about; blank for a read.
fn student_of(parts: &Parts, body: &[u8]) -> String {
    let sent: Value =
        if parts.method == Method::PUT { serde_json::from_slice(body).unwrap_or_default() } else { Value::Null };
    sent["programParticipation"]["student"]["sourcedId"].as_str().unwrap_or_default().to_owned()
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
    if is_out(&shared) {
        return Answer::refusal(StatusCode::SERVICE_UNAVAILABLE, RetryAfter::Absent).respond();
    }
    if parts.uri.path() == TOKEN {
        return token(&shared, &parts, &body).respond();
    }
    lock(&shared.flags).stats.calls += 1;
    if let Some(refusal) = refusal(&shared, &parts) {
        return refusal.respond();
    }
    match parts.uri.path().strip_prefix(&base(&shared.config.app)) {
        Some(path) => data(&shared, &parts, path, &body),
        None => error(StatusCode::NOT_FOUND, "unknownobject").respond(),
    }
}

/// A call beside the roster, whose token was judged already: the vendor pair, then the data. `path` follows the base.
pub(crate) fn beside_roster(shared: &Shared, parts: &Parts, path: &str, body: &[u8]) -> Response {
    lock(&shared.flags).stats.calls += 1;
    if !is_vendor(shared, parts) {
        return error(StatusCode::UNAUTHORIZED, "unauthorisedrequest").respond();
    }
    data(shared, parts, path, body)
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
    let given = parts.headers.get("x-vendor-authorization").and_then(|value| value.to_str().ok());
    given == Some(pair.as_str()) && !lock(&shared.faults).faults.vendor_refused
}

fn data(shared: &Shared, parts: &Parts, path: &str, body: &[u8]) -> Response {
    let segments: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let is_write = parts.method == Method::PUT;
    let sent: Value = if is_write { serde_json::from_slice(body).unwrap_or_default() } else { Value::Null };
    let student = student_of(parts, body);
    let about = [segments.last().copied().unwrap_or_default(), student.as_str()];
    let strike = lock(&shared.faults).strike(is_write, &about);
    match strike {
        Some(CampusFault::Status(status)) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            error(status, "internal_server_error").respond()
        }
        Some(CampusFault::TooMany(seconds)) => {
            Answer::refusal(StatusCode::TOO_MANY_REQUESTS, RetryAfter::Seconds(seconds)).respond()
        }
        Some(CampusFault::LostAnswer) => {
            let answer = answer(shared, parts, &segments, &sent);
            answer.respond_spoiled(FaultKind::ConnectionReset, shared.closing.clone())
        }
        None => answer(shared, parts, &segments, &sent).respond(),
    }
}

fn answer(shared: &Shared, parts: &Parts, segments: &[&str], sent: &Value) -> Answer {
    let query = parts.uri.query().unwrap_or("");
    match (parts.method.as_str(), segments) {
        ("GET", ["gradebook", "v1p2", "programs"]) => {
            let rows = lock(&shared.flags).program_rows();
            Answer::value(&json!({ "programs": page(rows, query, shared.config.page_limit) }))
        }
        ("GET", ["gradebook", "v1p2", "programParticipations"]) => {
            let filter = parameter(query, "filter");
            let filter = filter.as_deref().and_then(|text| text.split_once('='));
            let filter = filter.map(|(field, value)| (field, value.trim_matches('\'')));
            let is_known = |field: &str| shared.config.filters && FILTERS.contains(&field);
            if filter.is_some_and(|(field, _)| !is_known(field)) {
                return error(StatusCode::BAD_REQUEST, "invalid_filter_field");
            }
            let rows = lock(&shared.flags).flag_rows(filter);
            Answer::value(&json!({ "programParticipations": page(rows, query, shared.config.page_limit) }))
        }
        ("GET", ["gradebook", "v1p2", "programParticipations", id]) => match lock(&shared.flags).flag_row(id) {
            Some(row) => Answer::value(&json!({ "programParticipation": row })),
            None => error(StatusCode::NOT_FOUND, "unknownobject"),
        },
        ("PUT", ["gradebook", "v1p2", "programParticipations", id]) => write(shared, id, sent),
        _ => error(StatusCode::NOT_FOUND, "unknownobject"),
    }
}

fn write(shared: &Shared, id: &str, sent: &Value) -> Answer {
    let mut flags = lock(&shared.flags);
    match flags.write(id, sent, &shared.config.students) {
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

/// `limit` and `offset`, the limit silently clamped.
fn page(rows: Vec<Value>, query: &str, most: usize) -> Vec<Value> {
    let number = |name: &str| parameter(query, name).and_then(|text| text.parse::<usize>().ok());
    let limit = number("limit").unwrap_or(USUAL_PAGE).clamp(1, most);
    rows.into_iter().skip(number("offset").unwrap_or(0)).take(limit).collect()
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
