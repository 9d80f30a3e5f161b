//! Whether the process lives, and whether it can work.

use axum::{extract::State, http::StatusCode};

use crate::server::App;

/// The process answers.
pub(crate) async fn live() -> &'static str {
    "ok\n"
}

/// The store can be reached, at the right schema.
pub(crate) async fn ready(State(app): State<App>) -> (StatusCode, &'static str) {
    match app.store.check().await {
        Ok(()) => (StatusCode::OK, "ok\n"),
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "not ready: the store does not answer");
            (StatusCode::SERVICE_UNAVAILABLE, "the store does not answer\n")
        }
    }
}
