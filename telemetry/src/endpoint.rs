//! Metrics and health over HTTP.
//!
//! Where the process has an address for them alone, they are served by a thread with an event loop of its own: a planner
//! that uses every core still answers its probes, and a loop that stands still is seen to.

use std::{net::SocketAddr, sync::mpsc, time::Duration};

use axum::{
    Router,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
    routing::get,
};

use crate::{
    health::{Health, Verdict},
    recorder::{Metrics, UPKEEP},
};

/// The type of the text format, version 0.0.4.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The health routes, and `/metrics` where metrics are to be served here.
pub fn router(health: &Health, metrics: Option<Metrics>) -> Router {
    let of = |judge: fn(&Health) -> Verdict| {
        let health = health.clone();
        get(move || std::future::ready(answer(&judge(&health))))
    };
    let health = Router::new()
        .route("/health/startup", of(Health::startup))
        .route("/health/live", of(Health::live))
        .route("/health/ready", of(Health::ready));
    match metrics {
        Some(metrics) => {
            let render = move || std::future::ready(([(CONTENT_TYPE, EXPOSITION)], metrics.render()));
            health.route("/metrics", get(render))
        }
        None => health,
    }
}

fn answer(verdict: &Verdict) -> Response {
    let status = if verdict.is_ok() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(CONTENT_TYPE, "application/json")], verdict.json() + "\n").into_response()
}

/// Serves `routes` on a thread of its own until the process ends. Returns where.
///
/// # Errors
/// The address cannot be listened on.
pub fn serve(address: SocketAddr, routes: Router) -> std::io::Result<SocketAddr> {
    let (told, heard) = mpsc::channel();
    std::thread::Builder::new().name("rollcall-endpoint".to_owned()).spawn(move || {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return drop(told.send(Err(error))),
        };
        runtime.block_on(async move {
            match tokio::net::TcpListener::bind(address).await {
                Err(error) => drop(told.send(Err(error))),
                Ok(listener) => {
                    drop(told.send(listener.local_addr()));
                    if let Err(error) = axum::serve(listener, routes).await {
                        tracing::error!(%error, "metrics and health are not served any more");
                    }
                }
            }
        });
    })?;
    heard.recv().unwrap_or_else(|_| Err(std::io::Error::other("the endpoint's thread has ended")))
}

/// Keeps metrics small between scrapes.
pub async fn upkeep(metrics: Metrics) {
    let mut ticks = tokio::time::interval(UPKEEP.max(Duration::from_secs(1)));
    loop {
        ticks.tick().await;
        metrics.upkeep();
    }
}
