//! What comes out of an installation beside its logs: spans, metrics, and the headers of messages. Every one is listened to, and
//! looked through for canaries when it closes.
//!
//! Cheaply: of spans, no more than the texts is kept, each once; metrics are asked for when a process is about to end; of messages
//! the broker keeps copies of the last ones alone, bounded in number and bytes.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    common::v1::{AnyValue, KeyValue, any_value::Value},
    trace::v1::Span,
};
use prost::Message as _;
use tokio::net::TcpListener;

use crate::{collector, process};

/// Bytes of texts that are kept of one installation at most: a large district repeats itself long before.
const MOST: usize = 32 * 1024 * 1024;

/// See the module. Ends with the test's runtime.
#[derive(Debug)]
pub struct Overheard {
    spans: Arc<Mutex<Texts>>,
    address: SocketAddr,
    /// By process.
    metrics: Mutex<Vec<(String, String)>>,
}

/// Each text once.
#[derive(Debug, Default)]
struct Texts {
    once: BTreeSet<String>,
    bytes: usize,
    spans: u64,
}

impl Overheard {
    /// Listens, on loopback.
    ///
    /// # Panics
    /// When there is no port to listen on.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let spans = Arc::<Mutex<Texts>>::default();
        let routes = Router::new().route("/v1/traces", post(keep)).with_state(Arc::clone(&spans));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { spans, address, metrics: Mutex::default() }
    }

    /// What a process is started with to send its spans here.
    pub fn settings(&self) -> Vec<(String, String)> {
        collector::settings("http/protobuf", self.url())
    }

    /// Where spans go.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Asks whoever wrote this log for its metrics; nothing where nobody answers any more, or has not begun to.
    pub async fn ask(&self, name: &str, log: &str) {
        let told = process::metrics(log).await.into_iter().map(|text| (format!("metrics of {name}"), text));
        self.metrics.lock().unwrap_or_else(PoisonError::into_inner).extend(told);
    }

    /// All of it, by place.
    pub fn texts(&self) -> Vec<(String, String)> {
        let spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = spans.once.iter().fold(String::with_capacity(spans.bytes), |all, text| all + text + "\n");
        let metrics = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::once(("spans".to_owned(), lines)).chain(metrics.iter().cloned()).collect()
    }

    /// How many spans have come in.
    pub fn count(&self) -> u64 {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).spans
    }
}

async fn keep(State(spans): State<Arc<Mutex<Texts>>>, body: Bytes) -> Result<Vec<u8>, StatusCode> {
    let request = ExportTraceServiceRequest::decode(body).map_err(|_| StatusCode::BAD_REQUEST)?;
    let mut kept = spans.lock().unwrap_or_else(PoisonError::into_inner);
    for of_resource in request.resource_spans {
        kept.attributes(of_resource.resource.map(|resource| resource.attributes).unwrap_or_default());
        of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans).for_each(|span| kept.span(span));
    }
    Ok(ExportTraceServiceResponse::default().encode_to_vec())
}

impl Texts {
    fn span(&mut self, span: Span) {
        self.spans += 1;
        self.text(span.name);
        self.text(span.trace_state);
        self.text(span.status.map(|status| status.message).unwrap_or_default());
        self.attributes(span.attributes);
        for event in span.events {
            self.text(event.name);
            self.attributes(event.attributes);
        }
        span.links.into_iter().for_each(|link| self.attributes(link.attributes));
    }

    fn attributes(&mut self, attributes: Vec<KeyValue>) {
        for pair in attributes {
            self.text(pair.key);
            self.value(pair.value);
        }
    }

    fn value(&mut self, value: Option<AnyValue>) {
        match value.and_then(|value| value.value) {
            Some(Value::StringValue(text)) => self.text(text),
            Some(Value::BytesValue(bytes)) => self.text(String::from_utf8_lossy(&bytes).into_owned()),
            Some(Value::ArrayValue(list)) => list.values.into_iter().for_each(|value| self.value(Some(value))),
            Some(Value::KvlistValue(list)) => self.attributes(list.values),
            _ => {}
        }
    }

    /// Ids of messages and runs would be most of them.
    fn text(&mut self, text: String) {
        if text.is_empty() || self.bytes + text.len() > MOST || uuid::Uuid::try_parse(&text).is_ok() {
            return;
        }
        let length = text.len() + 1;
        if self.once.insert(text) {
            self.bytes += length;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_of_a_span_is_kept_once_and_no_id() {
        let value = |text: &str| Some(AnyValue { value: Some(Value::StringValue(text.to_owned())) });
        let pair = |text: &str| KeyValue { key: "key".to_owned(), value: value(text), ..KeyValue::default() };
        let span = Span {
            name: "name".to_owned(),
            attributes: vec![pair("attribute"), pair("0193a5b0-0000-7000-8000-0000000000aa")],
            events: vec![opentelemetry_proto::tonic::trace::v1::span::Event {
                name: "event".to_owned(),
                attributes: vec![pair("of the event")],
                ..Default::default()
            }],
            status: Some(opentelemetry_proto::tonic::trace::v1::Status { message: "why".to_owned(), code: 2 }),
            ..Span::default()
        };
        let mut kept = Texts::default();
        kept.span(span.clone());
        kept.span(span);
        let texts: Vec<&str> = kept.once.iter().map(String::as_str).collect();
        assert_eq!(texts, ["attribute", "event", "key", "name", "of the event", "why"]);
        assert_eq!(kept.spans, 2);
    }
}
