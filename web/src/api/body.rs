//! Bodies of requests, and the key that makes them safe to repeat.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Bytes, HttpBody as _},
    extract::{FromRequest, Request},
    http::{HeaderMap, StatusCode, header},
};
use serde::de::DeserializeOwned;
use tokio::sync::OwnedSemaphorePermit;

use super::{BODY_LIMIT, SMALL_BODY, caller::LargeBody, problem::Problem};
use crate::server::App;

/// Longest idempotency key.
const KEY_LIMIT: usize = 255;

/// How long a body waits for memory: what waits longer is told so, well before the time for all of it is over.
const ROOM_WITHIN: Duration = Duration::from_secs(15);

/// A body as it came, at most [`BODY_LIMIT`] bytes.
pub(super) struct Whole {
    pub(super) bytes: Bytes,
    /// A large one's turn, and its share of what such bodies may take up.
    _room: Option<[OwnedSemaphorePermit; 2]>,
}

impl FromRequest<App> for Whole {
    type Rejection = Problem;

    /// Room before anything is read of it. Handlers ask who calls first.
    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        // Without a caller there is no turn.
        let own = request.extensions().get::<LargeBody>().cloned().ok_or_else(Problem::unauthorized)?;
        let told =
            request.body().size_hint().upper().map_or(BODY_LIMIT, |bytes| usize::try_from(bytes).unwrap_or(BODY_LIMIT));
        if told > BODY_LIMIT {
            return Err(too_large());
        }
        let room = if told > SMALL_BODY { Some(room(app, own, told).await?) } else { None };
        let bytes = Bytes::from_request(request, app).await.map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => too_large(),
            _ => Problem::malformed("the body did not come whole"),
        })?;
        Ok(Self { bytes, _room: room })
    }
}

/// Room for a large body, in its turn: no integration waits for room with more than one.
async fn room(app: &App, LargeBody(own): LargeBody, bytes: usize) -> Result<[OwnedSemaphorePermit; 2], Problem> {
    let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
    let turns = async {
        let own = own.acquire_owned().await.ok()?;
        Some([own, Arc::clone(&app.bodies).acquire_many_owned(kib).await.ok()?])
    };
    tokio::time::timeout(ROOM_WITHIN, turns).await.ok().flatten().ok_or_else(busy)
}

fn too_large() -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "request-too-large", "the request is too large")
        .detail(format!("a request has at most {BODY_LIMIT} bytes"))
}

fn busy() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "too many large requests are being read right now")
        .detail("try again later with the same idempotency key")
}

/// The idempotency key that a change of a document carries.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<String, Problem> {
    let value = headers.get("idempotency-key").ok_or_else(|| {
        Problem::new(StatusCode::BAD_REQUEST, "idempotency-key-missing", "the request has no Idempotency-Key")
            .detail("send a value of your own with each change, and the same one when you repeat it")
    })?;
    let text = value.to_str().ok().map(str::trim).filter(|text| (1..=KEY_LIMIT).contains(&text.len()));
    text.map(str::to_owned).ok_or_else(|| Problem::malformed("Idempotency-Key is 1 to 255 visible ASCII characters"))
}

/// A body that is JSON and says so.
pub(super) fn read_json<T: DeserializeOwned>(headers: &HeaderMap, body: &[u8]) -> Result<T, Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "request-malformed",
            "the body must be application/json",
        ));
    }
    serde_json::from_slice(body).map_err(|error| unreadable(&error))
}

/// serde's own text repeats values.
fn unreadable(error: &serde_json::Error) -> Problem {
    use serde_json::error::Category;
    let what = match error.classify() {
        Category::Data => "a member is missing, unknown or of another type",
        _ => "not JSON",
    };
    Problem::malformed(format!("{what} (line {}, column {})", error.line(), error.column()))
}
