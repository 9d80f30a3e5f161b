//! An answer before it goes out, and the ways to spoil it.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use axum::BoxError;
use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use futures_util::{StreamExt, stream};
use serde_json::json;
use tokio::sync::watch;

use crate::clock::http_date_in;
use crate::quirks::{FaultKind, RetryAfter};

/// Status, type and body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) content_type: &'static str,
    pub(crate) retry_after: Option<String>,
    /// Further headers.
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// JSON with status 200.
    pub(crate) fn json(body: Vec<u8>) -> Self {
        let content_type = "application/json; charset=utf-8";
        Self { status: StatusCode::OK, content_type, retry_after: None, headers: Vec::new(), body }
    }

    /// JSON with status 200.
    pub(crate) fn value(value: &serde_json::Value) -> Self {
        Self::json(value.to_string().into_bytes())
    }

    /// A JSON error.
    pub(crate) fn error(status: StatusCode, error: &str) -> Self {
        Self { status, ..Self::value(&json!({ "error": error })) }
    }

    /// An OAuth error (RFC 6749, section 5.2).
    pub(crate) fn oauth_error(status: StatusCode, error: &str, description: &str) -> Self {
        Self { status, ..Self::value(&json!({ "error": error, "error_description": description })) }
    }

    /// A refusal to be tried again later.
    pub(crate) fn refusal(status: StatusCode, retry_after: RetryAfter) -> Self {
        let retry_after = match retry_after {
            RetryAfter::Absent => None,
            RetryAfter::Seconds(seconds) => Some(seconds.to_string()),
            RetryAfter::Date(seconds) => Some(http_date_in(i64::from(seconds))),
            RetryAfter::PastDate(seconds) => Some(http_date_in(-i64::from(seconds))),
            RetryAfter::Garbage => Some("when the moon is full".to_owned()),
        };
        Self { retry_after, ..Self::error(status, status.canonical_reason().unwrap_or("refused")) }
    }

    /// JSON with another status.
    pub(crate) fn with_status(status: StatusCode, value: &serde_json::Value) -> Self {
        Self { status, ..Self::value(value) }
    }

    /// Text that is no JSON.
    pub(crate) fn text(status: StatusCode, content_type: &'static str, text: &str) -> Self {
        Self { status, content_type, ..Self::json(text.as_bytes().to_vec()) }
    }

    fn html() -> Self {
        let body = b"<!DOCTYPE html><html><head><title>Maintenance</title></head><body>Back soon.</body></html>";
        Self { content_type: "text/html; charset=utf-8", ..Self::json(body.to_vec()) }
    }

    /// Sends it as it is.
    pub(crate) fn respond(mut self) -> Response {
        let body = Body::from(std::mem::take(&mut self.body));
        response(self.status, self.content_type, self.retry_after.as_deref(), &self.headers, body)
    }

    /// Sends it spoiled. `closing` turns true when the sandbox shuts down, which ends the bodies that never end.
    pub(crate) fn respond_spoiled(mut self, fault: FaultKind, closing: watch::Receiver<bool>) -> Response {
        match fault {
            FaultKind::Status(status) => {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                return Self::error(status, "something went wrong").respond();
            }
            FaultKind::NoRows => self.body = br#"{"Paging":{"Next":null},"Objects":[]}"#.to_vec(),
            FaultKind::Html => return Self::html().respond(),
            FaultKind::TruncatedJson => self.body.truncate(self.body.len() / 2),
            FaultKind::Huge(bytes) => self.body.splice(..0, std::iter::repeat_n(b' ', bytes)).for_each(drop),
            FaultKind::LongLength => {
                let announced = self.body.len() + 1_000;
                return self.respond_as_long_as(announced);
            }
            FaultKind::ShortLength => {
                let announced = self.body.len() / 2;
                return self.respond_as_long_as(announced);
            }
            FaultKind::HangAfterHeaders => return self.stream(hanging(closing)),
            FaultKind::SlowDrip(pause_ms) => {
                let body = dripping(std::mem::take(&mut self.body), Duration::from_millis(pause_ms), closing);
                return self.stream(body);
            }
            FaultKind::ConnectionReset => {
                let body = broken(std::mem::take(&mut self.body));
                return self.stream(body);
            }
        }
        self.respond()
    }

    /// Sends it with another `Content-Length` than its own.
    fn respond_as_long_as(mut self, announced: usize) -> Response {
        self.headers.push(("content-length", announced.to_string()));
        let body = Bytes::from(std::mem::take(&mut self.body));
        self.stream(in_turns([Ok::<_, Infallible>(body), Ok(Bytes::new())]))
    }

    fn stream(self, body: Body) -> Response {
        response(self.status, self.content_type, self.retry_after.as_deref(), &self.headers, body)
    }
}

fn response(
    status: StatusCode,
    content_type: &'static str,
    retry_after: Option<&str>,
    more: &[(&'static str, String)],
    body: Body,
) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Some(value) = retry_after.and_then(|text| HeaderValue::from_str(text).ok()) {
        headers.insert(header::RETRY_AFTER, value);
    }
    for (name, value) in more {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(*name, value);
        }
    }
    response
}

async fn closed(mut closing: watch::Receiver<bool>) {
    // An error means that the sandbox is gone, which is as good.
    closing.wait_for(|closing| *closing).await.ok();
}

fn hanging(closing: watch::Receiver<bool>) -> Body {
    let nothing = stream::once(closed(closing)).map(|()| Err::<Bytes, _>(io::Error::from(io::ErrorKind::TimedOut)));
    Body::from_stream(nothing)
}

fn broken(mut body: Vec<u8>) -> Body {
    body.truncate(body.len() / 2);
    let parts = [Ok(Bytes::from(body)), Err(io::Error::from(io::ErrorKind::ConnectionReset))];
    in_turns(parts)
}

/// A turn of the runtime between the two lets the first one reach the wire.
fn in_turns<E: Into<BoxError> + Send + 'static>(parts: [Result<Bytes, E>; 2]) -> Body {
    Body::from_stream(stream::iter(parts).then(|part| async move {
        tokio::task::yield_now().await;
        part
    }))
}

fn dripping(body: Vec<u8>, pause: Duration, closing: watch::Receiver<bool>) -> Body {
    const DROP: usize = 16;
    let drops = stream::unfold((Bytes::from(body), closing), move |(mut left, closing)| async move {
        if left.is_empty() {
            return None;
        }
        tokio::time::timeout(pause, closed(closing.clone())).await.ok();
        let part = left.split_to(DROP.min(left.len()));
        Some((Ok::<_, Infallible>(part), (left, closing)))
    });
    Body::from_stream(drops)
}
