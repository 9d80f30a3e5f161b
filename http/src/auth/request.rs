//! The token request, in the three ways that are known to work.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures_util::{FutureExt as _, future::BoxFuture};
use oauth2::{
    AccessToken, AuthType, Client, ClientId, ClientSecret, HttpRequest, HttpResponse, RefreshToken, RequestTokenError,
    Scope, StandardRevocableToken, TokenResponse, TokenUrl,
    basic::{BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse, BasicTokenType},
};
use reqwest::{
    Method, Request,
    header::{AUTHORIZATION, HeaderMap, HeaderValue},
};
use rollcall_store::district::{Connection, CredentialPlacement, SisKind};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer, Serialize};
use url::{Url, form_urlencoded};

use super::Credentials;
use crate::{
    error::{SisError, is_transient},
    gate::Gate,
    net::{Http, Reply, host_of},
    telemetry::Purpose,
    urls,
};

/// Token and lifetime.
pub(super) type Granted = (SecretString, Option<Duration>);

/// Fetches a token.
pub(super) async fn token(http: &Http, gate: &Gate, credentials: &Credentials) -> Result<Granted, SisError> {
    let url = token_url(&credentials.connection)?;
    let headers = crate::session::extra_headers(credentials)?;
    match credentials.connection.credentials {
        CredentialPlacement::Basic => post_with_header(http, gate, credentials, url, headers).await,
        CredentialPlacement::Form => post_with_form(http, gate, credentials, url, headers).await,
        CredentialPlacement::BasicGet => get(http, gate, credentials, url, headers).await,
    }
}

/// The token URL: configured, or `oauth/token` under the base URL.
pub fn token_url(connection: &Connection) -> Result<Url, SisError> {
    if connection.kind == SisKind::OneRoster {
        let detail = "token_url is missing: the SIS shows it beside the base URL";
        let host = host_of(&connection.base_url);
        return urls::token(connection).ok_or(SisError::Invalid { host, detail });
    }
    if let Some(url) = &connection.token_url {
        return Ok(url.clone());
    }
    let mut url = connection.base_url.clone();
    let host = host_of(&url);
    url.path_segments_mut()
        .map_err(|()| SisError::Invalid { host, detail: "base_url has no path" })?
        .pop_if_empty()
        .extend(["oauth", "token"]);
    Ok(url)
}

/// POST, id and secret in the form.
async fn post_with_form(
    http: &Http,
    gate: &Gate,
    credentials: &Credentials,
    url: Url,
    headers: HeaderMap,
) -> Result<Granted, SisError> {
    let secret = credentials.secrets.client_secret.expose_secret().to_owned();
    let client = TokenClient::new(ClientId::new(credentials.connection.client_id.clone()))
        .set_client_secret(ClientSecret::new(secret))
        .set_auth_type(AuthType::RequestBody);
    ask(http, gate, credentials, url, headers, client).await
}

/// POST with the Basic header as clients of Qmlativ (wire/skyward.md A1, style 2) and of OneRoster send it: id and secret as they
/// stand, not URL-encoded as RFC 6749, 2.3.1 and the `oauth2` crate have it. (Campus keys hold parentheses.)
async fn post_with_header(
    http: &Http,
    gate: &Gate,
    credentials: &Credentials,
    url: Url,
    mut headers: HeaderMap,
) -> Result<Granted, SisError> {
    let id = &credentials.connection.client_id;
    headers.insert(AUTHORIZATION, basic(&url, id, credentials.secrets.client_secret.expose_secret())?);
    ask(http, gate, credentials, url, headers, TokenClient::new(ClientId::new(id.clone()))).await
}

/// A Basic header, which does not print.
fn basic(url: &Url, id: &str, secret: &str) -> Result<HeaderValue, SisError> {
    let mut basic = HeaderValue::try_from(format!("Basic {}", BASE64_STANDARD.encode(format!("{id}:{secret}"))))
        .map_err(|_| SisError::Invalid { host: host_of(url), detail: "the client's id or secret" })?;
    basic.set_sensitive(true);
    Ok(basic)
}

async fn ask(
    http: &Http,
    gate: &Gate,
    credentials: &Credentials,
    url: Url,
    headers: HeaderMap,
    client: TokenClient,
) -> Result<Granted, SisError> {
    let host = host_of(&url);
    let client = client.set_token_uri(TokenUrl::from_url(url));
    let mut request = client.exchange_client_credentials();
    for (name, value) in parameters(credentials) {
        request = request.add_extra_param(name, value);
    }
    for scope in credentials.connection.scope.iter().flat_map(|scopes| scopes.split_whitespace()) {
        request = request.add_scope(Scope::new(scope.to_owned()));
    }
    let answered = Arc::new(AtomicU16::new(0));
    let send = sender(http.clone(), gate.clone(), headers, Arc::clone(&answered), credentials.connection.kind);
    let result = request.request_async(&send).await;
    let status = answered.load(Ordering::Relaxed);
    match result {
        Ok(granted) => Ok((granted.access_token.into_secret().into(), granted.expires_in.map(Duration::from_secs))),
        Err(RequestTokenError::Request(error)) => Err(error),
        Err(RequestTokenError::ServerResponse(error)) => Err(refused(host, status, error.error().as_ref())),
        Err(_) => Err(unreadable(host, status)),
    }
}

/// Sends the crate's requests through our client, and notes the status of the answer.
fn sender(
    http: Http,
    gate: Gate,
    headers: HeaderMap,
    answered: Arc<AtomicU16>,
    kind: SisKind,
) -> impl Fn(HttpRequest) -> BoxFuture<'static, Result<HttpResponse, SisError>> + Send + Sync {
    move |request| {
        let (http, gate, headers, answered) = (http.clone(), gate.clone(), headers.clone(), Arc::clone(&answered));
        async move {
            let reply = send(&http, &gate, kind, from_oauth(request, &headers)?).await?;
            answered.store(reply.status, Ordering::Relaxed);
            Ok(to_oauth(reply))
        }
        .boxed()
    }
}

/// Sends under the host's circuit. What says that it is not the moment says nothing of the client, whatever its body.
async fn send(http: &Http, gate: &Gate, kind: SisKind, request: Request) -> Result<Reply, SisError> {
    let host = host_of(request.url());
    let reply = gate.pass(&host, http.send_for(&Purpose::token(kind), request).boxed()).await?;
    let reply = gate.unless_busy(&host, reply)?;
    if is_transient(reply.status) {
        return Err(SisError::TokenUnreadable { host, status: reply.status });
    }
    Ok(reply)
}

/// GET, parameters in the query, both parts of the Basic header URL-encoded. No client library has this.
async fn get(
    http: &Http,
    gate: &Gate,
    credentials: &Credentials,
    mut url: Url,
    headers: HeaderMap,
) -> Result<Granted, SisError> {
    let host = host_of(&url);
    url.query_pairs_mut().append_pair("grant_type", "client_credentials").extend_pairs(parameters(credentials));
    if let Some(scope) = &credentials.connection.scope {
        url.query_pairs_mut().append_pair("scope", scope);
    }
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let (id, secret) = (&credentials.connection.client_id, credentials.secrets.client_secret.expose_secret());
    let basic = basic(&url, &encoded(id), &encoded(secret))?;
    let request = http
        .request(Method::GET, url)
        .headers(headers)
        .header("Accept", "application/json")
        .header(AUTHORIZATION, basic)
        .build()
        .map_err(|_| SisError::Invalid { host: host.clone(), detail: "the token request's headers" })?;
    let reply = send(http, gate, credentials.connection.kind, request).await?;
    read(host, &reply)
}

fn read(host: String, reply: &Reply) -> Result<Granted, SisError> {
    if reply.status == 200 {
        let granted: Grant = serde_json::from_slice(&reply.body).map_err(|_| unreadable(host, reply.status))?;
        return Ok((granted.access_token.into_secret().into(), granted.expires_in.map(Duration::from_secs)));
    }
    Err(match serde_json::from_slice::<BasicErrorResponse>(&reply.body) {
        Ok(error) => refused(host, reply.status, error.error().as_ref()),
        Err(_) => unreadable(host, reply.status),
    })
}

/// Only the registered form of an error code (RFC 6749, 5.2) is repeated.
fn refused(host: String, status: u16, code: &str) -> SisError {
    let legal = code.len() <= 40 && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    SisError::TokenRefused { host, status, code: if legal { code } else { "none" }.to_owned() }
}

fn unreadable(host: String, status: u16) -> SisError {
    match status {
        // An error without an OAuth body is still a refusal.
        400..=403 | 405..=499 => SisError::TokenRefused { host, status, code: "none".to_owned() },
        _ => SisError::TokenUnreadable { host, status },
    }
}

fn parameters(credentials: &Credentials) -> BTreeMap<String, String> {
    let secret = credentials.secrets.token_secret_parameters.iter();
    let mut all = credentials.connection.token_parameters.clone();
    all.extend(secret.map(|(name, value)| (name.clone(), value.expose_secret().to_owned())));
    all
}

fn from_oauth(request: HttpRequest, headers: &HeaderMap) -> Result<Request, SisError> {
    let mut request = Request::try_from(request)
        .map_err(|_| SisError::Invalid { host: "the token URL".to_owned(), detail: "the request's URL" })?;
    request.headers_mut().extend(headers.clone());
    if let Some(basic) = request.headers_mut().get_mut(AUTHORIZATION) {
        basic.set_sensitive(true);
    }
    Ok(request)
}

fn to_oauth(reply: Reply) -> HttpResponse {
    let mut response = HttpResponse::new(reply.body.into());
    *response.status_mut() = oauth2::http::StatusCode::from_u16(reply.status).unwrap_or_default();
    response
}

/// What the crate's own response type insists on (`token_type`, a numeric `expires_in`) is not promised by Qmlativ.
#[derive(Debug, Serialize, Deserialize)]
struct Grant {
    access_token: AccessToken,
    #[serde(skip)]
    token_type: Bearer,
    #[serde(default, deserialize_with = "lenient_seconds")]
    expires_in: Option<u64>,
}

#[derive(Debug)]
struct Bearer(BasicTokenType);

impl Default for Bearer {
    fn default() -> Self {
        Self(BasicTokenType::Bearer)
    }
}

impl TokenResponse for Grant {
    type TokenType = BasicTokenType;

    fn access_token(&self) -> &AccessToken {
        &self.access_token
    }

    fn token_type(&self) -> &BasicTokenType {
        &self.token_type.0
    }

    fn expires_in(&self) -> Option<Duration> {
        self.expires_in.map(Duration::from_secs)
    }

    fn refresh_token(&self) -> Option<&RefreshToken> {
        None
    }

    fn scopes(&self) -> Option<&Vec<Scope>> {
        None
    }
}

/// Seconds as a number, a text, or not at all.
fn lenient_seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Seconds {
        Number(f64),
        Text(String),
        Other(serde::de::IgnoredAny),
    }
    Ok(match Option::<Seconds>::deserialize(deserializer)? {
        Some(Seconds::Number(seconds)) if seconds >= 0.0 => Some(seconds as u64),
        Some(Seconds::Text(text)) => text.trim().parse().ok(),
        Some(Seconds::Other(_) | Seconds::Number(_)) | None => None,
    })
}

type TokenClient = Client<
    BasicErrorResponse,
    Grant,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
>;

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(base: &str) -> Connection {
        serde_json::from_value(serde_json::json!({"kind": "skyward-qmlativ", "base_url": base, "client_id": "k"}))
            .unwrap()
    }

    #[test]
    fn the_token_url_is_derived() {
        for base in ["https://a.example/XAPI", "https://a.example/XAPI/"] {
            assert_eq!(token_url(&connection(base)).unwrap().as_str(), "https://a.example/XAPI/oauth/token");
        }
    }

    #[test]
    fn lifetimes_are_read_leniently() {
        let cases = [
            (r#"{"access_token":"t"}"#, None),
            (r#"{"access_token":"t","expires_in":3600}"#, Some(3_600)),
            (r#"{"access_token":"t","expires_in":"60"}"#, Some(60)),
            (r#"{"access_token":"t","expires_in":null,"token_type":"bearer"}"#, None),
            (r#"{"access_token":"t","expires_in":-1}"#, None),
            (r#"{"access_token":"t","expires_in":"-1"}"#, None),
            (r#"{"access_token":"t","expires_in":59.9}"#, Some(59)),
            (r#"{"access_token":"t","expires_in":"soon"}"#, None),
            (r#"{"access_token":"t","expires_in":1e300}"#, Some(u64::MAX)),
            (r#"{"access_token":"t","expires_in":18446744073709551615}"#, Some(u64::MAX)),
        ];
        for (text, seconds) in cases {
            assert_eq!(serde_json::from_str::<Grant>(text).unwrap().expires_in, seconds, "{text}");
        }
    }

    #[test]
    fn only_the_form_of_an_error_code_is_repeated() {
        let code = |text| match refused("h".to_owned(), 400, text) {
            SisError::TokenRefused { code, .. } => code,
            other => panic!("{other:?}"),
        };
        assert_eq!(code("invalid_client"), "invalid_client");
        assert_eq!(code("The secret hunter2 is wrong"), "none");
    }
}
