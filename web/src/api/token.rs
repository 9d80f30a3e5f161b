//! OAuth 2.0 client credentials (RFC 6749, 4.4): opaque tokens, short-lived, kept as digests.

use axum::{
    Json,
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::TimeDelta;
use rollcall_proto::id::DistrictId;
use rollcall_store::{
    integrations::{Integration, Scopes, TokenHolder},
    lti::Digest,
};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::integration;
use crate::{fields::Fields, random, server::App};

/// How long a token is good.
const GOOD_FOR: TimeDelta = TimeDelta::minutes(15);

/// The form of a token request.
#[derive(Deserialize, ToSchema)]
#[expect(dead_code, reason = "describes the form; it is read field by field, each at most once")]
struct TokenRequest {
    /// `client_credentials`.
    grant_type: String,
    /// Unless sent by Basic authentication.
    client_id: Option<String>,
    /// Unless sent by Basic authentication.
    client_secret: Option<String>,
    /// Scopes, separated by blanks; all that the integration has, unless said.
    scope: Option<String>,
}

/// A token.
#[derive(Serialize, ToSchema)]
struct TokenAnswer {
    /// To be sent as `Authorization: Bearer …`.
    access_token: String,
    /// `Bearer`.
    token_type: &'static str,
    /// Seconds.
    expires_in: i64,
    /// Scopes, separated by blanks.
    scope: String,
}

/// An error as RFC 6749 (5.2) has it.
#[derive(Serialize, ToSchema)]
struct TokenError {
    /// `invalid_request`, `invalid_client`, `unsupported_grant_type` or `invalid_scope`.
    error: &'static str,
}

/// Why no token is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Denied {
    Request,
    Client,
    GrantType,
    Scope,
    Unavailable,
}

/// Get an access token.
#[utoipa::path(
    post,
    path = "/oauth2/token",
    tag = "tokens",
    request_body(content = TokenRequest, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "A token", body = TokenAnswer),
        (status = 400, description = "Not a request for client credentials", body = TokenError),
        (status = 401, description = "Unknown client or wrong secret", body = TokenError),
        (status = 503, description = "Try again later", body = TokenError),
    )
)]
pub(super) async fn token(State(app): State<App>, headers: HeaderMap, body: Result<Bytes, BytesRejection>) -> Response {
    let given = match body {
        Ok(body) => give(&app, &headers, &body).await,
        Err(_) => Err(Denied::Request),
    };
    match given {
        Ok(answer) => ([(header::PRAGMA, "no-cache")], Json(answer)).into_response(),
        Err(denied) => deny(denied),
    }
}

/// What is refused before it is read, too large or too slow, is refused as what it is: no request for a token.
pub(crate) async fn told_as_oauth_does(response: Response) -> Response {
    match response.status() {
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT => deny(Denied::Request),
        _ => response,
    }
}

async fn give(app: &App, headers: &HeaderMap, body: &[u8]) -> Result<TokenAnswer, Denied> {
    let fields = Fields::parse(body).map_err(|_| Denied::Request)?;
    let grant_type = fields.get("grant_type").ok_or(Denied::Request)?;
    if grant_type != "client_credentials" {
        return Err(Denied::GrantType);
    }
    let wanted = fields.get("scope").map(str::parse::<Scopes>).transpose().map_err(|_| Denied::Scope)?;
    let (client_id, secret) = credentials(headers, &fields)?;
    let (district, integration) = authenticate(app, &client_id, secret).await?;
    let scopes = granted(&integration.scopes, wanted)?;
    let random = random::token().map_err(|_| Denied::Unavailable)?;
    let access_token = format!("{district}.{random}");
    let expires_at = app.clock.now() + GOOD_FOR;
    let scope = scopes.to_string();
    let holder = TokenHolder { integration: integration.id, scopes };
    let kept = app.store.add_token(&district, &holder, Digest::of(&access_token), expires_at).await;
    kept.map_err(|error| unavailable(&error))?;
    Ok(TokenAnswer { access_token, token_type: "Bearer", expires_in: GOOD_FOR.num_seconds(), scope })
}

/// What the token is for: what was asked for, if the integration has all of it.
fn granted(has: &Scopes, wanted: Option<Scopes>) -> Result<Scopes, Denied> {
    let Some(wanted) = wanted.filter(|wanted| !wanted.0.is_empty()) else { return Ok(has.clone()) };
    if wanted.0.is_subset(&has.0) { Ok(wanted) } else { Err(Denied::Scope) }
}

/// By Basic authentication or in the form, not both (RFC 6749, 2.3).
fn credentials(headers: &HeaderMap, fields: &Fields) -> Result<(String, SecretString), Denied> {
    let form = fields.get("client_id").zip(fields.get("client_secret"));
    match (headers.get(header::AUTHORIZATION), form) {
        (Some(_), Some(_)) => Err(Denied::Request),
        (Some(value), None) => basic(value).ok_or(Denied::Client),
        (None, Some((id, secret))) => Ok((id.to_owned(), SecretString::from(secret.to_owned()))),
        (None, None) => Err(Denied::Client),
    }
}

/// Both parts are form-encoded first (RFC 6749, 2.3.1); ours have no letter that the encoding changes.
fn basic(value: &HeaderValue) -> Option<(String, SecretString)> {
    let (scheme, encoded) = value.to_str().ok()?.split_once(' ')?;
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    scheme.eq_ignore_ascii_case("basic").then(|| (id.to_owned(), SecretString::from(secret.to_owned())))
}

async fn authenticate(app: &App, client_id: &str, secret: SecretString) -> Result<(DistrictId, Integration), Denied> {
    let named = integration::parse_client_id(client_id);
    let found = match &named {
        Some((district, id)) => app.store.integration(district, id).await.map_err(|error| unavailable(&error))?,
        None => None,
    };
    let hash = found.as_ref().map(|found| found.secret_hash.clone());
    let _permit = app.hashing.acquire().await.map_err(|_| Denied::Unavailable)?;
    let verified = tokio::task::spawn_blocking(move || integration::verify(&secret, hash.as_deref())).await;
    let (district, _) = named.filter(|_| verified.unwrap_or(false)).ok_or(Denied::Client)?;
    Ok((district, found.ok_or(Denied::Client)?))
}

fn unavailable(error: &rollcall_store::StoreError) -> Denied {
    tracing::error!(error = error as &dyn std::error::Error, "the store failed under a token request");
    Denied::Unavailable
}

fn deny(denied: Denied) -> Response {
    let (status, error) = match denied {
        Denied::Request => (StatusCode::BAD_REQUEST, "invalid_request"),
        Denied::GrantType => (StatusCode::BAD_REQUEST, "unsupported_grant_type"),
        Denied::Scope => (StatusCode::BAD_REQUEST, "invalid_scope"),
        Denied::Client => (StatusCode::UNAUTHORIZED, "invalid_client"),
        Denied::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable"),
    };
    tracing::info!(error, "no token was given");
    let mut response = (status, Json(TokenError { error })).into_response();
    if status == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("Basic realm=\"rollcall\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}
