//! Spans and metrics of exchanges with a SIS, by OpenTelemetry's conventions for HTTP clients
//! (<https://opentelemetry.io/docs/specs/semconv/http/http-spans/>).
//!
//! Invariant: no path and no query leaves the process: a path names students where a SIS is asked by id, and a query
//! holds search terms and tokens. `url.full` is cut after the host; what was asked for is in `rollcall.sis.request`.

use reqwest::Request;
use rollcall_proto::telemetry::{Spanned, metric, span::within};
use rollcall_store::district::SisKind;
use tokio::time::Instant;
use url::Url;

use crate::{error::SisError, net::Reply};

/// What an exchange is for.
#[derive(Debug, Clone, Copy)]
pub struct Purpose<'a> {
    kind: &'static str,
    operation: &'static str,
    what: &'a str,
}

impl<'a> Purpose<'a> {
    /// Asks for a token.
    pub const fn token(kind: SisKind) -> Self {
        Self { kind: kind.as_str(), operation: "token", what: "a token" }
    }

    /// Asks for, or writes, data: `what`, which holds no student fact.
    pub const fn data(kind: SisKind, what: &'a str) -> Self {
        Self { kind: kind.as_str(), operation: "data", what }
    }
}

/// Counts an exchange as under way for as long as it lives.
struct InFlight(&'static str);

impl InFlight {
    fn begin(kind: &'static str) -> Self {
        metrics::gauge!(metric::SIS_IN_FLIGHT, "kind" => kind).increment(1.0);
        Self(kind)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        metrics::gauge!(metric::SIS_IN_FLIGHT, "kind" => self.0).decrement(1.0);
    }
}

/// Sends by `send`, and tells of it.
pub(crate) async fn exchange<F>(
    purpose: &Purpose<'_>,
    request: Request,
    send: impl FnOnce(Request) -> F,
) -> Result<Reply, SisError>
where
    F: Future<Output = Result<Reply, SisError>>,
{
    let _in_flight = InFlight::begin(purpose.kind);
    let begun = Instant::now();
    let span = begin(purpose, &request);
    let result = within(span.as_ref(), send(request)).await;
    let status = result.as_ref().map_or("error", |reply| label(reply.status));
    metrics::histogram!(
        metric::SIS_DURATION, "kind" => purpose.kind, "operation" => purpose.operation, "status" => status
    )
    .record(begun.elapsed().as_secs_f64());
    if let Ok(reply) = &result {
        metrics::counter!(metric::SIS_BYTES, "kind" => purpose.kind).increment(reply.body.len() as u64);
    }
    if let Some(span) = span {
        finish(&span, &result);
    }
    result
}

fn begin(purpose: &Purpose<'_>, request: &Request) -> Option<Spanned> {
    let method = request.method().as_str();
    Spanned::client(method.to_owned(), || {
        let url = request.url();
        let mut attributes = vec![
            opentelemetry::KeyValue::new("http.request.method", method.to_owned()),
            opentelemetry::KeyValue::new("server.address", crate::net::host_of(url)),
            opentelemetry::KeyValue::new("url.full", origin(url)),
            opentelemetry::KeyValue::new("rollcall.sis.kind", purpose.kind),
            opentelemetry::KeyValue::new("rollcall.sis.operation", purpose.operation),
            opentelemetry::KeyValue::new("rollcall.sis.request", purpose.what.to_owned()),
        ];
        let port = url.port_or_known_default();
        attributes.extend(port.map(|port| opentelemetry::KeyValue::new("server.port", i64::from(port))));
        attributes
    })
}

fn origin(url: &Url) -> String {
    format!("{}/REDACTED", url.origin().ascii_serialization())
}

fn finish(span: &Spanned, result: &Result<Reply, SisError>) {
    match result {
        Ok(reply) => {
            span.set("http.response.status_code", i64::from(reply.status));
            span.set("http.response.body.size", i64::try_from(reply.body.len()).unwrap_or(i64::MAX));
            if reply.status >= 400 {
                span.fail(reply.status.to_string());
            }
        }
        Err(error) => span.fail(class(error)),
    }
    span.end();
}

fn class(error: &SisError) -> &'static str {
    match error {
        SisError::Timeout { .. } => "timeout",
        SisError::Connect { .. } => "connect",
        SisError::Interrupted { .. } => "interrupted",
        SisError::Dns { .. } => "dns",
        SisError::Certificate { .. } => "certificate",
        SisError::TooLarge { .. } => "too-large",
        SisError::NoRoom { .. } => "no-room",
        SisError::ForbiddenAddress { .. } | SisError::PlainHttp { .. } => "forbidden-address",
        _ => "_OTHER",
    }
}

/// The status as a label: its class, and those by themselves that mean something of their own.
const fn label(status: u16) -> &'static str {
    match status {
        401 => "401",
        403 => "403",
        429 => "429",
        ..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_cut_after_its_host() {
        let url = Url::parse("https://u:p@sis.example:8443/Generic/1/Student/4711?name=Doe&token=t").unwrap();
        assert_eq!(origin(&url), "https://sis.example:8443/REDACTED");
    }

    #[test]
    fn statuses_are_labels_of_a_few() {
        for (status, expected) in [(200, "2xx"), (204, "2xx"), (302, "3xx"), (404, "4xx"), (429, "429"), (503, "5xx")] {
            assert_eq!(label(status), expected);
        }
    }
}
