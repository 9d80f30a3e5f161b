//! The HTTP side: routes by hand, because the SIS tells its calls apart by verb and number of path segments
//! (`PUT` creates, `POST` updates and searches).

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, request::Parts};
use axum::response::Response;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::Predicate;
use url::form_urlencoded;

use crate::answer::Answer;
use crate::api::{self, ApiCall};
use crate::auth::{TokenCall, Worth};
use crate::campus;
use crate::clock;
use crate::control;
use crate::oneroster::{self, Vendor};
use crate::quirks::{Quirks, RetryAfter};
use crate::state::{Shared, lock};

/// Last segment of the base URL.
pub(crate) const BASE: &str = "/SandboxAPI";

/// The token endpoint below it.
pub(crate) const TOKEN: &str = "/oauth/token";

/// Largest request body read.
const MOST_BODY: usize = 8 << 20;

/// The whole application.
pub(crate) fn router(shared: &Arc<Shared>) -> Router {
    let compression = CompressionLayer::new().compress_when(WhenSwitchedOn(Arc::clone(shared)));
    Router::new().fallback(serve).layer(compression).with_state(Arc::clone(shared))
}

/// Compression is a quirk: it costs more than making the rows.
#[derive(Clone)]
struct WhenSwitchedOn(Arc<Shared>);

impl Predicate for WhenSwitchedOn {
    fn should_compress<B: HttpBody>(&self, _: &axum::http::Response<B>) -> bool {
        self.0.quirks().gzip
    }
}

async fn serve(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MOST_BODY).await else {
        return Answer::error(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large").respond();
    };
    if let Some(path) = parts.uri.path().strip_prefix("/_control/") {
        return control::answer(&shared, &parts.method, path, parts.uri.query().unwrap_or(""), &body).respond();
    }
    let _in_flight = shared.counters.enter();
    let response = answer(&shared, &parts, &body).await;
    shared.counters.with(|stats| *stats.statuses.entry(response.status().as_u16()).or_default() += 1);
    response
}

async fn answer(shared: &Shared, parts: &Parts, body: &Bytes) -> Response {
    let quirks = shared.quirks();
    let latency = quirks.latency_ms.unwrap_or(shared.world.config.latency_ms);
    if latency > 0 {
        tokio::time::sleep(Duration::from_millis(latency)).await;
    }
    if let Some(path) = parts.uri.path().strip_prefix(oneroster::ROOT) {
        return campus(shared, &quirks, path, parts, body);
    }
    let Some(path) = parts.uri.path().strip_prefix(BASE) else {
        return Answer::error(StatusCode::NOT_FOUND, "nothing here").respond();
    };
    let query = parts.uri.query().unwrap_or("");
    if path == TOKEN {
        return token(shared, &quirks, &TokenCall { method: &parts.method, query, headers: &parts.headers, body })
            .respond();
    }
    if let Some(refusal) = refusal(shared, &quirks, &parts.headers) {
        return refusal.respond();
    }
    if path.starts_with(oneroster::SKYWARD) {
        return rostering(&oneroster::Call {
            shared,
            quirks: &quirks,
            method: &parts.method,
            vendor: Vendor::Skyward,
            path,
            query,
        });
    }
    data(shared, &quirks, &parts.method, path, query, body)
}

/// Infinite Campus: its token endpoint, `OneRoster` behind it, and programs with their flags.
fn campus(shared: &Shared, quirks: &Quirks, path: &str, parts: &Parts, body: &Bytes) -> Response {
    let query = parts.uri.query().unwrap_or("");
    if path == oneroster::TOKEN {
        let call = TokenCall { method: &parts.method, query, headers: &parts.headers, body };
        return match oneroster::refuse_token(&call) {
            Some(refusal) => refusal.respond(),
            None => token(shared, quirks, &call).respond(),
        };
    }
    if let Some(refusal) = refusal(shared, quirks, &parts.headers) {
        return refusal.respond();
    }
    if let Some(path) = path.strip_prefix(oneroster::BASE).filter(|path| path.starts_with("/gradebook/")) {
        return campus::beside_roster(&shared.programs, parts, path, body, &|id| shared.is_in_campus(id));
    }
    rostering(&oneroster::Call { shared, quirks, method: &parts.method, vendor: Vendor::Campus, path, query })
}

/// `OneRoster`, whose token is good.
fn rostering(call: &oneroster::Call<'_>) -> Response {
    let (shared, quirks) = (call.shared, call.quirks);
    if let Some(collection) = call.collection() {
        shared.counters.count_object(collection);
    }
    let mut answer = call.answer();
    answer.headers.extend(quirks.oneroster.clock.map(|now| ("date", clock::http_date(now))));
    shared.counters.with(|stats| stats.bytes += answer.body.len() as u64);
    match call.collection().and_then(|collection| shared.fault(collection, call.page())) {
        Some(fault) => {
            shared.counters.with(|stats| stats.struck += 1);
            answer.respond_spoiled(fault, shared.closing.clone())
        }
        None => answer.respond(),
    }
}

fn token(shared: &Shared, quirks: &Quirks, call: &TokenCall<'_>) -> Answer {
    let answer = call.answer(&shared.world.config, &quirks.auth, &mut lock(&shared.tokens));
    shared.counters.with(|stats| {
        stats.token_fetches += 1;
        stats.tokens_issued += u64::from(answer.status == StatusCode::OK);
    });
    answer
}

/// Throttling first, as a gateway before the SIS would do, then the token.
fn refusal(shared: &Shared, quirks: &Quirks, headers: &HeaderMap) -> Option<Answer> {
    if let Some((status, retry_after)) = busy(quirks, || shared.number_refusable()) {
        shared.counters.with(|stats| stats.struck += 1);
        return Some(Answer::refusal(status, retry_after));
    }
    let lifetime = Duration::from_secs(shared.world.config.token_lifetime_seconds);
    match lock(&shared.tokens).judge(headers, lifetime, &quirks.auth) {
        Worth::Good => None,
        Worth::Unknown => Some(Answer::error(StatusCode::UNAUTHORIZED, "invalid_token")),
        Worth::Expired => {
            let status = StatusCode::from_u16(quirks.auth.expired_status).unwrap_or(StatusCode::FORBIDDEN);
            Some(Answer::error(status, "Token has expired"))
        }
    }
}

fn busy(quirks: &Quirks, number: impl FnOnce() -> u64) -> Option<(StatusCode, RetryAfter)> {
    if quirks.too_many_requests.is_none() && quirks.unavailable.is_none() {
        return None;
    }
    let number = number();
    if let Some(throttle) = &quirks.too_many_requests
        && number.is_multiple_of(u64::from(throttle.every.max(1)))
    {
        return Some((StatusCode::TOO_MANY_REQUESTS, throttle.retry_after));
    }
    let burst = quirks.unavailable.as_ref()?;
    let cycle = u64::from(burst.every) + u64::from(burst.length);
    let is_refused = cycle > 0 && (number - 1) % cycle >= u64::from(burst.every);
    is_refused.then_some((StatusCode::SERVICE_UNAVAILABLE, burst.retry_after))
}

fn data(shared: &Shared, quirks: &Quirks, method: &Method, path: &str, query: &str, body: &[u8]) -> Response {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let call = ApiCall { shared, quirks, method, segments: &segments, query, parameters: parameters(query), body };
    if let Some(object) = call.object_name() {
        shared.counters.count_object(object);
    }
    let answer = api::answer(&call);
    let size = answer.body.len() as u64;
    shared.counters.with(|stats| stats.bytes += size);
    match call.object_name().and_then(|object| shared.fault(object, call.page())) {
        Some(fault) => {
            shared.counters.with(|stats| stats.struck += 1);
            answer.respond_spoiled(fault, shared.closing.clone())
        }
        None => answer.respond(),
    }
}

fn parameters(query: &str) -> Vec<(String, String)> {
    let pairs = form_urlencoded::parse(query.as_bytes());
    pairs.map(|(key, value)| (key.into_owned(), value.into_owned())).collect()
}
