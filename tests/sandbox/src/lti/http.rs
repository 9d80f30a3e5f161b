//! The platform's HTTP side.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{Query, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;

use super::{Shared, lock, pages};

/// All routes.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/", get(students))
        .route("/framed", get(framed))
        .route("/flag", get(flag))
        .route("/auth", get(authenticate))
        .route("/jwks", get(key_set))
        .with_state(shared)
}

async fn students(State(shared): State<Arc<Shared>>) -> Html<String> {
    Html(pages::students(&shared))
}

async fn framed(RawQuery(query): RawQuery) -> Html<String> {
    Html(pages::framed(&query.unwrap_or_default()))
}

#[derive(Deserialize)]
struct Flag {
    student: String,
    program: String,
}

/// A click on a flag.
async fn flag(State(shared): State<Arc<Shared>>, Query(flag): Query<Flag>) -> Response {
    let fields = shared.click(&flag.student, &flag.program);
    let config = lock(&shared.config).clone();
    if config.manners.login_by_get {
        let mut url = config.tool_login_url;
        url.query_pairs_mut().extend_pairs(&fields);
        return Redirect::to(url.as_str()).into_response();
    }
    Html(pages::posting(config.tool_login_url.as_str(), &fields)).into_response()
}

async fn authenticate(State(shared): State<Arc<Shared>>, RawQuery(query): RawQuery) -> Response {
    match shared.authenticate(&query.unwrap_or_default()) {
        Ok(fields) => {
            let action = lock(&shared.config).tool_launch_url.to_string();
            Html(pages::posting(&action, &fields)).into_response()
        }
        Err(refused) => (StatusCode::BAD_REQUEST, refused.to_string()).into_response(),
    }
}

async fn key_set(State(shared): State<Arc<Shared>>) -> Response {
    shared.key_set_fetches.fetch_add(1, Ordering::Relaxed);
    let bare = lock(&shared.config).manners.bare_keys;
    Json(json!({ "keys": [lock(&shared.key).jwk(bare)] })).into_response()
}
