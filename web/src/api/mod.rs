//! The JSON API: tokens by OAuth 2.0 client credentials, documents, flags, and the OpenAPI description of all.
//!
//! Invariants: a token is of one integration of one district, and everything a request touches is that district's;
//! a token does what its scopes say and nothing else; a change of a document carries an idempotency key; errors are problem details (RFC 9457) with a reason code and no student fact.

mod body;
mod caller;
mod documents;
mod flags;
pub mod integration;
mod listing;
mod problem;
mod token;

use axum::{
    Json, Router,
    extract::DefaultBodyLimit,
    routing::{any, get},
};
use rollcall_store::{
    document::{DATA_LIMIT, FILE_LIMIT},
    integrations::Scope,
};
use utoipa::{
    Modify, OpenApi,
    openapi::security::{ClientCredentials, Flow, OAuth2, Scopes, SecurityScheme},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use self::problem::Problem;
pub(crate) use self::{caller::Turns, token::told_as_oauth_does};
use crate::server::App;

/// Largest request: a file in base64, the structured data, and room for the rest.
const BODY_LIMIT: usize = FILE_LIMIT / 3 * 4 + DATA_LIMIT + (64 << 10);
/// Memory for large bodies that are read and worked on at once, in KiB: two of the largest. Each takes about twice its size until it
/// is answered.
pub(crate) const BODIES_KIB: usize = 64 << 10;
/// What is no large body, where its size is told: as many of these as there may be requests at once take 64 MiB.
const SMALL_BODY: usize = 256 << 10;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Rollcall API",
        version = "1",
        description = "Hands plan documents of special programs to Rollcall. A completed document makes the student's \
            participation, which goes back to the SIS as a flag; flags are listed, planned, approved and pushed.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    modifiers(&OauthScheme),
    tags((name = "documents", description = "Plan documents"), (name = "flags", description = "Program flags in Infinite Campus"), (name = "tokens", description = "OAuth 2.0"))
)]
struct Description;

/// Whether a body is a document that could be handed in.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn is_document(body: &[u8]) -> bool {
    use axum::http::{HeaderMap, HeaderValue, header::CONTENT_TYPE};
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    documents::document(&headers, body).is_ok()
}

struct OauthScheme;

impl Modify for OauthScheme {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scopes = Scopes::from_iter([
            (Scope::Documents.as_str(), "read and write documents of the integration's district"),
            (Scope::FlagsRead.as_str(), "see its flags, and what a take-over would do"),
            (Scope::FlagsWrite.as_str(), "approve take-overs, and have flags pushed"),
        ]);
        // Relative to where this description is served.
        let flow = Flow::ClientCredentials(ClientCredentials::new("../../oauth2/token", scopes));
        let components = openapi.components.get_or_insert_with(Default::default);
        components.add_security_scheme("oauth2", SecurityScheme::OAuth2(OAuth2::new([flow])));
    }
}

/// Routes and their description, made from the same list.
fn parts() -> (Router<App>, utoipa::openapi::OpenApi) {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(documents::list, documents::create))
        .routes(routes!(documents::get, documents::replace))
        .routes(routes!(documents::change))
        .routes(routes!(flags::list))
        .routes(routes!(flags::problems))
        .routes(routes!(flags::plan))
        .routes(routes!(flags::approve))
        .routes(routes!(flags::push))
        .split_for_parts()
}

/// All routes of the API; what is none of them is refused as everything else here.
pub(crate) fn router() -> Router<App> {
    let (routes, _) = parts();
    let description = description();
    routes
        .route("/api/v1/openapi.json", get(move || std::future::ready(Json(description.clone()))))
        .method_not_allowed_fallback(|| std::future::ready(Problem::no_such_method()))
        .route("/api/v1/", any(no_such_route))
        .route("/api/v1/{*rest}", any(no_such_route))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
}

async fn no_such_route() -> Problem {
    Problem::no_such_route()
}

/// Where tokens are got, by whoever asks.
pub(crate) fn tokens() -> Router<App> {
    token_parts().0.method_not_allowed_fallback(|| std::future::ready(Problem::no_such_method()))
}

fn token_parts() -> (Router<App>, utoipa::openapi::OpenApi) {
    OpenApiRouter::new().routes(routes!(token::token)).split_for_parts()
}

/// The OpenAPI description, as served.
pub fn description() -> utoipa::openapi::OpenApi {
    parts().1.merge_from(token_parts().1)
}
