//! The server: routes, limits, and its end.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody as _},
    extract::{DefaultBodyLimit, FromRequest as _, MatchedPath, Request, State},
    http::StatusCode,
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use rollcall_proto::{bus::SharedBus, clock::SharedClock};
use rollcall_store::Store;
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::CancellationToken;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower_http::{catch_panic::CatchPanicLayer, timeout::TimeoutLayer};

use crate::{
    WebConfig, api, headers, health, lti,
    lti::{platform_keys::PlatformKeys, site::Framers},
    pages,
    take_overs::TakeOvers,
};

/// Longest time from request to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Requests of the site worked on at once; more wait. The API has turns of its own.
const REQUESTS_AT_ONCE: usize = 256;
/// Requests for a token worked on at once, and waiting for their turn to be hashed; more wait, and keep nothing else waiting.
const TOKENS_AT_ONCE: usize = 32;
/// Forms at once that are on their way in, wait or are worked on, for the site and for tokens, each in memory: more wait.
const FORMS_AT_ONCE: usize = 1024;
/// Longest time that a form takes to come in.
const FORM_WITHIN: Duration = Duration::from_secs(10);
/// Largest form of a login, a launch or a request for a token, in bytes: a token of 64 KiB, and what goes with it.
const FORM_LIMIT: usize = 80 << 10;
/// Secrets hashed at once: each takes 19 MiB for some tens of milliseconds.
const HASHES_AT_ONCE: usize = 2;
/// How often what has expired is swept away.
const SWEEP_EVERY: Duration = Duration::from_mins(5);

/// What every handler has. Cheap to clone.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) config: Arc<WebConfig>,
    pub(crate) bus: SharedBus,
    pub(crate) store: Store,
    pub(crate) clock: SharedClock,
    pub(crate) take_overs: Arc<dyn TakeOvers>,
    pub(crate) platform_keys: PlatformKeys,
    pub(crate) hashing: Arc<Semaphore>,
    /// Memory for bodies of the API, in KiB.
    pub(crate) bodies: Arc<Semaphore>,
    pub(crate) turns: api::Turns,
    pub(crate) framers: Framers,
}

/// What the site works with.
#[derive(Clone)]
pub struct Resources {
    /// Where it says that flags are due.
    pub bus: SharedBus,
    /// Everything it keeps.
    pub store: Store,
    /// What time it is.
    pub clock: SharedClock,
    /// Whom it asks about take-overs.
    pub take_overs: Arc<dyn TakeOvers>,
}

/// Serves `listener` until `shutdown`; answers under way go out first.
pub async fn run(listener: TcpListener, config: WebConfig, resources: Resources, shutdown: CancellationToken) {
    let probes = Router::new().route("/health/live", get(health::live)).route("/health/ready", get(health::ready));
    serve(listener, config, resources, probes, shutdown).await;
}

/// [`run`] with the process's own `probes` in place of the site's: health, and what else is to be served beside the site.
pub async fn run_with_probes(
    listener: TcpListener,
    config: WebConfig,
    resources: Resources,
    probes: Router,
    shutdown: CancellationToken,
) {
    serve(listener, config, resources, probes.with_state(()), shutdown).await;
}

async fn serve(
    listener: TcpListener,
    config: WebConfig,
    resources: Resources,
    probes: Router<App>,
    shutdown: CancellationToken,
) {
    let sweeping = tokio::spawn(sweep(resources.store.clone(), Arc::clone(&resources.clock), shutdown.clone()));
    let routes = match router(config, resources, probes) {
        Ok(routes) => routes,
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "the HTTP side cannot start");
            return;
        }
    };
    let served = axum::serve(listener, routes).with_graceful_shutdown(shutdown.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(%error, "the HTTP side stopped serving");
    }
    sweeping.abort();
}

/// All routes, with their limits.
///
/// # Errors
/// The TLS library does not start.
fn router(
    config: WebConfig,
    resources: Resources,
    probes: Router<App>,
) -> Result<Router, lti::platform_keys::FetchError> {
    let Resources { bus, store, clock, take_overs } = resources;
    let platform_keys = PlatformKeys::new(config.allow_private_addresses(), Arc::clone(&clock))?;
    let hashing = Arc::new(Semaphore::new(HASHES_AT_ONCE));
    let (bodies, turns, framers) =
        (Arc::new(Semaphore::new(api::BODIES_KIB)), api::Turns::default(), Framers::default());
    let config = Arc::new(config);
    let app = App { config, bus, store, clock, take_overs, platform_keys, hashing, bodies, turns, framers };
    // What sends slowly holds no place among those that are worked on.
    let whole = || middleware::from_fn_with_state(Arc::new(Semaphore::new(FORMS_AT_ONCE)), in_whole);
    let site = Router::new()
        .route(pages::STYLE_PATH, get(pages::style))
        .route(pages::DEEPER_STYLE_PATH, get(pages::style))
        .route("/lti/{district}/login", get(lti::login::begin_by_get).post(lti::login::begin_by_post))
        .route("/lti/{district}/launch", post(lti::launch::launch))
        .route("/lti/{district}/jwks", get(lti::tool_keys::publish))
        .route("/lti/{district}/document/{ticket}", get(lti::document::show).head(lti::document::no_look))
        .layer(GlobalConcurrencyLimitLayer::new(REQUESTS_AT_ONCE))
        .layer(whole());
    let tokens = api::tokens()
        .layer(GlobalConcurrencyLimitLayer::new(TOKENS_AT_ONCE))
        .layer(whole())
        .layer(middleware::map_response(api::told_as_oauth_does));
    let forms = site.merge(tokens).layer(DefaultBodyLimit::max(FORM_LIMIT));
    Ok(forms
        .merge(api::router())
        .merge(probes)
        .layer(middleware::from_fn(note))
        // Outside the limits: whoever waits for a turn is answered in time, too.
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, ANSWER_WITHIN))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn_with_state(app.clone(), headers::add))
        .with_state(app))
}

/// Lets a form in once it has come whole.
async fn in_whole(State(arriving): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    // Held while it waits for a place, too: what is in memory is bounded.
    let Ok(_arrival) = arriving.acquire().await else { return StatusCode::SERVICE_UNAVAILABLE.into_response() };
    let (parts, body) = request.into_parts();
    let form = Bytes::from_request(Request::from_parts(parts.clone(), body), &());
    let form = match tokio::time::timeout(FORM_WITHIN, form).await {
        Ok(Ok(form)) => form,
        Ok(Err(refused)) => return refused.into_response(),
        Err(_) => return StatusCode::REQUEST_TIMEOUT.into_response(),
    };
    next.run(Request::from_parts(parts, Body::from(form))).await
}

/// The route's pattern and the status: a path may name a student, a query certainly does.
async fn note(path: Option<MatchedPath>, request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let response = next.run(request).await;
    let route = path.as_ref().map_or("(no such route)", MatchedPath::as_str);
    tracing::debug!(%method, route, status = response.status().as_u16(), "answered");
    response
}

/// The panic hook has told the place; its text may repeat what came in.
fn panicked(_: Box<dyn std::any::Any + Send + 'static>) -> Response {
    let mut response = Response::new("something went wrong\n".into());
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response
}

async fn sweep(store: Store, clock: SharedClock, shutdown: CancellationToken) {
    while shutdown.run_until_cancelled(tokio::time::sleep(SWEEP_EVERY)).await.is_some() {
        if let Err(error) = sweep_once(&store, &clock).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "what has expired was not swept away; later again"
            );
        }
    }
}

async fn sweep_once(store: &Store, clock: &SharedClock) -> Result<(), rollcall_store::StoreError> {
    for district in store.districts().await? {
        store.sweep_web(&district, clock.now()).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use axum::{
        body::{Body, to_bytes},
        http,
    };
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn what_a_panic_said_is_not_answered() {
        async fn over(request: Request) -> Response {
            panic!("no student of this name: {}", request.uri());
        }
        let site: Router = Router::new().route("/{name}", get(over)).layer(CatchPanicLayer::custom(panicked));
        let response = site.oneshot(http::Request::get("/Quillfeather").body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(to_bytes(response.into_body(), 1_000).await.unwrap(), "something went wrong\n");
    }
}
