//! Hop 1 and 2: a platform begins a login; the browser is sent on with a fresh state and nonce, and keeps a cookie.

use axum::{
    extract::{Path, RawQuery, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use chrono::TimeDelta;
use rollcall_proto::telemetry::metric;
use rollcall_store::lti::{Digest, LoginRequest, NewLogin, Registration};
use url::Url;

use super::site::Site;
use crate::{WebConfig, fields::Fields, pages, random, refusal::Refusal, server::App};

/// How long a person may take over signing in at the platform.
const LOGIN_GOOD_FOR: TimeDelta = TimeDelta::minutes(10);
/// Most logins of a district that are open: begun, and neither come back nor over. Anybody can begin one by naming an issuer,
/// and each is kept with its hints; a launch comes back within seconds, so that the oldest one makes room.
const MOST_OPEN: u32 = 5_000;
/// Most bytes of an opaque hint; one platform sends tokens of more than 500.
const HINT_LIMIT: usize = 8 << 10;
/// Most bytes of a link.
const LINK_LIMIT: usize = 2 << 10;
/// Most characters of an id (LTI 1.3 Core).
const ID_LIMIT: usize = 255;

/// Login by GET.
pub(crate) async fn begin_by_get(
    State(app): State<App>,
    Path(district): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    begin(&app, &district, query.unwrap_or_default().as_bytes()).await
}

/// Login by POST.
pub(crate) async fn begin_by_post(
    State(app): State<App>,
    Path(district): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if !is_form(&headers) {
        return Refusal::Malformed.answer(None, &[]);
    }
    begin(&app, &district, &body).await
}

async fn begin(app: &App, district: &str, fields: &[u8]) -> Response {
    let site = match Site::find(app, district).await {
        Ok(site) => site,
        Err(answer) => return answer,
    };
    match send_on(app, &site, fields).await {
        Ok(answer) => answer,
        Err(refusal) => site.refuse(refusal),
    }
}

async fn send_on(app: &App, site: &Site, fields: &[u8]) -> Result<Response, Refusal> {
    let fields = Fields::parse(fields).map_err(|_| Refusal::Malformed)?;
    let request = request_in(&fields)?;
    let registration = choose(&site.registrations, &request)?;
    if !leads_here(&app.config.launch_url(site.id()), &request.target_link_uri) {
        return Err(Refusal::TargetLink);
    }
    let (state, nonce, browser) = (random::token()?, random::token()?, random::token()?);
    let now = app.clock.now();
    let login = NewLogin {
        registration: registration.id,
        state: Digest::of(&state),
        browser: Digest::of(&browser),
        nonce: nonce.clone(),
        request: request.clone(),
        expires_at: now + LOGIN_GOOD_FOR,
    };
    let crowded_out = app.store.begin_login(site.id(), &login, MOST_OPEN, now).await?;
    metrics::counter!(metric::LTI_LOGINS, "outcome" => "begun").increment(1);
    metrics::counter!(metric::LTI_LOGINS, "outcome" => "crowded-out").increment(crowded_out);
    let location = authentication_request(&app.config, registration, &request, &state, &nonce);
    let cookie = format!("{}={browser}; Max-Age={}; {ATTRIBUTES}", cookie_name(&app.config, &state), 600);
    let keep = [(header::SET_COOKIE, cookie)];
    if fields.get(pages::OWN_TAB).is_some() {
        return Ok((keep, pages::onward(&location)).into_response());
    }
    Ok((StatusCode::FOUND, [(header::LOCATION, location.to_string())], keep).into_response())
}

/// What a platform sent.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn request(fields: &[u8]) -> Result<LoginRequest, Refusal> {
    request_in(&Fields::parse(fields).map_err(|_| Refusal::Malformed)?)
}

fn request_in(fields: &Fields) -> Result<LoginRequest, Refusal> {
    let optional = |name: &str, limit: usize| match fields.get(name) {
        Some(value) if value.len() > limit => Err(Refusal::Malformed),
        value => Ok(value.map(str::to_owned)),
    };
    let needed = |name: &str, limit: usize| optional(name, limit)?.ok_or(Refusal::Malformed);
    Ok(LoginRequest {
        iss: needed("iss", LINK_LIMIT)?,
        login_hint: needed("login_hint", HINT_LIMIT)?,
        target_link_uri: needed("target_link_uri", LINK_LIMIT)?,
        lti_message_hint: optional("lti_message_hint", HINT_LIMIT)?,
        client_id: optional("client_id", ID_LIMIT)?,
        lti_deployment_id: optional("lti_deployment_id", ID_LIMIT)?,
    })
}

/// The registration of (issuer, client id), both compared exactly; without a client id only where there is no choice.
fn choose<'a>(all: &'a [Registration], request: &LoginRequest) -> Result<&'a Registration, Refusal> {
    let mut fitting = all.iter().filter(|one| {
        one.issuer == request.iss && request.client_id.as_ref().is_none_or(|client| *client == one.client_id)
    });
    let registration = fitting.next().ok_or(Refusal::UnknownPlatform)?;
    if fitting.next().is_some() {
        return Err(Refusal::AmbiguousPlatform);
    }
    match &request.lti_deployment_id {
        Some(deployment) if !registration.details.deployments.contains(deployment) => Err(Refusal::Deployment),
        _ => Ok(registration),
    }
}

/// Whether a target link is this district's launch URL, with or without a query. Judged as a browser would read it, and
/// refused where two readers might differ.
pub(super) fn leads_here(launch_url: &Url, link: &str) -> bool {
    let Ok(url) = Url::parse(link) else { return false };
    let odd = link.contains('\\') || link.chars().any(|letter| letter.is_control() || letter.is_whitespace());
    let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    !odd && plain
        && url.origin() == launch_url.origin()
        && url.path() == launch_url.path()
        && link.starts_with(launch_url.as_str())
}

fn authentication_request(
    config: &WebConfig,
    registration: &Registration,
    request: &LoginRequest,
    state: &str,
    nonce: &str,
) -> Url {
    let mut url = registration.auth_url.clone();
    let mut query = url.query_pairs_mut();
    query
        .append_pair("scope", "openid")
        .append_pair("response_type", "id_token")
        .append_pair("response_mode", "form_post")
        .append_pair("prompt", "none")
        .append_pair("client_id", &registration.client_id)
        .append_pair("redirect_uri", config.launch_url(&registration.district).as_str())
        .append_pair("login_hint", &request.login_hint);
    if let Some(hint) = &request.lti_message_hint {
        query.append_pair("lti_message_hint", hint);
    }
    query.append_pair("state", state).append_pair("nonce", nonce);
    drop(query);
    url
}

/// The launch is posted from another site, perhaps within its frame: hence `SameSite=None`, and `Partitioned` where a
/// browser keeps frames' cookies apart.
pub(super) const ATTRIBUTES: &str = "Path=/; Secure; HttpOnly; SameSite=None; Partitioned";

/// A cookie for each state, so that two tabs do not clash. Over plain http, for trying things out, browsers do not
/// take the prefix.
pub(super) fn cookie_name(config: &WebConfig, state: &str) -> String {
    let prefix = if config.is_https() { "__Host-" } else { "" };
    let start: String = state.chars().filter(char::is_ascii_alphanumeric).take(8).collect();
    format!("{prefix}lti-{start}")
}

/// Whether the body says that it is a form.
pub(super) fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_https_a_cookie_is_of_this_host_alone() {
        let config = |url: &str| WebConfig::new(url.parse().unwrap(), true).unwrap();
        assert_eq!(cookie_name(&config("https://plans.example"), "a_b-cdefghijk"), "__Host-lti-abcdefgh");
        assert_eq!(cookie_name(&config("http://localhost:8080"), "a_b-cdefghijk"), "lti-abcdefgh");
        for needed in ["Path=/", "Secure"] {
            assert!(ATTRIBUTES.contains(needed) && !ATTRIBUTES.contains("Domain"), "the prefix needs {needed}");
        }
    }

    #[test]
    fn a_target_link_leads_to_the_launch_and_nowhere_else() {
        let launch: Url = "https://plans.example/lti/lone-star/launch".parse().unwrap();
        for link in ["https://plans.example/lti/lone-star/launch", "https://plans.example/lti/lone-star/launch?sid=1"] {
            assert!(leads_here(&launch, link), "{link}");
        }
        let elsewhere = [
            "",
            "/lti/lone-star/launch",
            "//plans.example/lti/lone-star/launch",
            "http://plans.example/lti/lone-star/launch",
            "https://plans.example.evil.example/lti/lone-star/launch",
            "https://evil.example/lti/lone-star/launch",
            "https://plans.example@evil.example/lti/lone-star/launch",
            "https://u:p@plans.example/lti/lone-star/launch",
            "https://plans.example\\@evil.example/lti/lone-star/launch",
            "https:\\\\plans.example\\lti\\lone-star\\launch",
            "https://plans.example/lti/other/launch",
            "https://plans.example/lti/lone-star/launch/../../other",
            "https://plans.example/lti/lone-star/launch#x",
            "https://plans.example:444/lti/lone-star/launch",
            "https://plans.example/lti/lone-star/launch\n",
            " https://plans.example/lti/lone-star/launch",
            "javascript:alert(1)",
            "data:text/html,x",
        ];
        for link in elsewhere {
            assert!(!leads_here(&launch, link), "{link}");
        }
    }
}
