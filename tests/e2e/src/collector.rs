//! A collector of a test's own: takes spans over OTLP, gRPC and HTTP, and keeps them.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{Router, extract::State, http::StatusCode, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{AnyValue, KeyValue, any_value::Value},
    trace::v1::{Span, span::SpanKind, status::StatusCode as SpanStatus},
};
use prost::Message as _;
use tokio::net::TcpListener;
use tonic::{Request, Response, Status, transport::server::TcpIncoming};

use crate::until;

/// A span as it came in.
#[derive(Debug, Clone)]
pub struct Seen {
    /// `service.name` of who sent it.
    pub service: String,
    /// `service.instance.id` of who sent it.
    pub instance: String,
    /// Over which protocol it came.
    pub protocol: &'static str,
    /// Trace, in hexadecimal digits.
    pub trace: String,
    /// Its own id.
    pub id: String,
    /// Its parent's; empty for a root.
    pub parent: String,
    /// Name.
    pub name: String,
    /// Kind, such as `Producer`.
    pub kind: SpanKind,
    /// From, in nanoseconds since 1970.
    pub from: u64,
    /// To, in nanoseconds since 1970.
    pub to: u64,
    /// Attributes as text; lists are joined by commas.
    pub attributes: BTreeMap<String, String>,
    /// Linked spans: trace and span.
    pub links: Vec<(String, String)>,
    /// Whether its status is an error.
    pub failed: bool,
    /// Everything in it as text, for looking for a text.
    pub text: String,
}

impl Seen {
    /// An attribute; empty where it is not there.
    pub fn get(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }

    /// Whether the attribute is there.
    pub fn has(&self, name: &str) -> bool {
        self.attributes.contains_key(name)
    }
}

type Kept = Arc<Mutex<Vec<Seen>>>;

/// See the module. Ends with the test's runtime.
#[derive(Debug, Clone)]
pub struct Collector {
    kept: Kept,
    grpc: SocketAddr,
    http: SocketAddr,
}

impl Collector {
    /// Listens, on loopback.
    pub async fn start() -> Self {
        let kept = Kept::default();
        let (grpc_listener, grpc) = listener().await;
        let (http_listener, http) = listener().await;
        let service = TraceServiceServer::new(Grpc(Arc::clone(&kept)));
        let incoming = TcpIncoming::from(grpc_listener);
        tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
        let routes = Router::new().route("/v1/traces", post(over_http)).with_state(Arc::clone(&kept));
        tokio::spawn(async move { axum::serve(http_listener, routes).await });
        Self { kept, grpc, http }
    }

    /// What a process is started with to send here over gRPC.
    pub fn over_grpc(&self) -> Vec<(String, String)> {
        settings("grpc", format!("http://{}", self.grpc))
    }

    /// What a process is started with to send here over HTTP.
    pub fn over_http(&self) -> Vec<(String, String)> {
        settings("http/protobuf", format!("http://{}", self.http))
    }

    /// All that has come in so far.
    pub fn spans(&self) -> Vec<Seen> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All about one message, once a span of this operation has come in.
    ///
    /// # Panics
    /// When none comes within half a minute.
    pub async fn until(&self, operation: &str, message: &str) -> Vec<Seen> {
        until("a span about the message", Duration::from_secs(30), || async {
            let mut about = self.spans();
            about.retain(|span| span.get("messaging.message.id") == message);
            let has_come = about.iter().any(|span| span.get("messaging.operation.name") == operation);
            has_come.then_some(about)
        })
        .await
    }

    /// What has come in of one trace.
    pub fn trace(&self, trace: &str) -> Vec<Seen> {
        self.spans().into_iter().filter(|span| span.trace == trace).collect()
    }
}

/// What a process is started with to send spans to `endpoint`, soon after they have ended.
pub fn settings(protocol: &str, endpoint: String) -> Vec<(String, String)> {
    let pairs = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol.to_owned()),
        ("OTEL_BSP_SCHEDULE_DELAY", Duration::from_millis(200).as_millis().to_string()),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value)).to_vec()
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a listener has an address");
    (listener, address)
}

struct Grpc(Kept);

#[tonic::async_trait]
impl TraceService for Grpc {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        keep(&self.0, request.into_inner(), "grpc");
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

async fn over_http(State(kept): State<Kept>, body: bytes::Bytes) -> Result<Vec<u8>, StatusCode> {
    let request = ExportTraceServiceRequest::decode(body).map_err(|_| StatusCode::BAD_REQUEST)?;
    keep(&kept, request, "http/protobuf");
    Ok(ExportTraceServiceResponse::default().encode_to_vec())
}

fn keep(kept: &Kept, request: ExportTraceServiceRequest, protocol: &'static str) {
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    for of_resource in request.resource_spans {
        let resource = of_resource.resource.map(|resource| texts(&resource.attributes)).unwrap_or_default();
        let from = |name: &str| resource.get(name).cloned().unwrap_or_default();
        let (service, instance) = (from("service.name"), from("service.instance.id"));
        for span in of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            kept.push(seen(&span, &service, &instance, protocol));
        }
    }
}

fn seen(span: &Span, service: &str, instance: &str, protocol: &'static str) -> Seen {
    Seen {
        service: service.to_owned(),
        instance: instance.to_owned(),
        protocol,
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        name: span.name.clone(),
        kind: span.kind(),
        from: span.start_time_unix_nano,
        to: span.end_time_unix_nano,
        attributes: texts(&span.attributes),
        links: span.links.iter().map(|link| (hex(&link.trace_id), hex(&link.span_id))).collect(),
        failed: span.status.as_ref().is_some_and(|status| status.code() == SpanStatus::Error),
        text: format!("{span:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    attributes.iter().map(|pair| (pair.key.clone(), text(pair.value.as_ref()))).collect()
}

fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(is)) => is.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        Some(Value::ArrayValue(list)) => {
            list.values.iter().map(|value| text(Some(value))).collect::<Vec<_>>().join(",")
        }
        _ => String::new(),
    }
}
