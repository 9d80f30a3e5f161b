//! A proxy that writes down what Rollcall asks the SIS, so that a bare client can ask exactly the same.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    response::Response,
};
use bytes::Bytes;
use reqwest::Client;
use tokio::{net::TcpListener, task::JoinHandle};

/// Largest body that passes.
const LARGEST: usize = 256 << 20;

/// A request as it was sent.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    method: Method,
    /// Path and query.
    target: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Asked {
    /// The same request, to this origin.
    pub(crate) fn again(&self, client: &Client, origin: &str) -> reqwest::RequestBuilder {
        client
            .request(self.method.clone(), format!("{origin}{}", self.target))
            .headers(self.headers.clone())
            .body(self.body.clone())
    }
}

struct Shared {
    origin: String,
    client: Client,
    asked: Mutex<Vec<Asked>>,
}

/// See the module.
pub(crate) struct Recorder {
    /// Where it listens: `http://ADDRESS`.
    pub(crate) origin: String,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

impl Recorder {
    /// Starts a proxy in front of `origin`.
    pub(crate) async fn start(origin: &str) -> anyhow::Result<Self> {
        let shared = Shared { origin: origin.to_owned(), client: Client::new(), asked: Mutex::default() };
        let shared = Arc::new(shared);
        let router = Router::new().fallback(pass).with_state(Arc::clone(&shared));
        let listener = TcpListener::bind("127.0.0.1:0").await.context("no port for the recorder")?;
        let origin = format!("http://{}", listener.local_addr()?);
        let server = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { origin, shared, server })
    }

    /// Every request with a token, in order.
    pub(crate) fn end(self) -> Vec<Asked> {
        self.server.abort();
        std::mem::take(&mut *self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn pass(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    match forward(&shared, request).await {
        Ok(response) => response,
        Err(error) => {
            let mut response = Response::new(Body::from(format!("{error:#}")));
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response
        }
    }
}

async fn forward(shared: &Shared, request: Request) -> anyhow::Result<Response> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, LARGEST).await?;
    let mut headers = parts.headers;
    // These belong to one connection; the client sets its own.
    for name in [header::HOST, header::CONTENT_LENGTH, header::ACCEPT_ENCODING, header::CONNECTION] {
        headers.remove(name);
    }
    let target = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let asked = Asked { method: parts.method, target, headers, body };
    let answer = asked.again(&shared.client, &shared.origin).send().await?;
    let is_page = asked.headers.get(header::AUTHORIZATION).is_some_and(|value| value.as_bytes().starts_with(b"Bearer"));
    if is_page {
        shared.asked.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
    }
    let mut response = Response::builder().status(answer.status());
    if let Some(kind) = answer.headers().get(header::CONTENT_TYPE) {
        response = response.header(header::CONTENT_TYPE, kind);
    }
    Ok(response.body(Body::from(answer.bytes().await?))?)
}
