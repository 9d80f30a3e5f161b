//! Pages for people: plain, readable by every reader, without script.

use askama::Template;
use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use rollcall_store::lti::LoginRequest;
use url::Url;

/// A page that says one thing.
#[derive(Template)]
#[template(path = "message.html")]
struct Message<'a> {
    style: &'a str,
    title: &'a str,
    lines: &'a [&'a str],
    correlation: Option<&'a str>,
}

/// The field that says that a login begins in a tab of its own, by the button of [`breakout`].
pub(crate) const OWN_TAB: &str = "rollcall_own_tab";

/// The page that leads out of a frame.
#[derive(Template)]
#[template(path = "breakout.html")]
struct Breakout<'a> {
    style: &'a str,
    login_url: &'a str,
    request: &'a LoginRequest,
    own_tab: &'a str,
}

/// The page that leads on to the platform.
#[derive(Template)]
#[template(path = "onward.html")]
struct Onward<'a> {
    style: &'a str,
    url: &'a str,
}

/// The viewer.
#[derive(Template)]
#[template(path = "viewer.html")]
pub(crate) struct Viewer<'a> {
    pub(crate) style: &'a str,
    pub(crate) student: &'a str,
    pub(crate) program: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) starts: &'a str,
    pub(crate) ends: Option<&'a str>,
    /// Where its file is, if it has one.
    pub(crate) file: Option<&'a str>,
    /// The file is HTML, which is shown without any right.
    pub(crate) sandboxed: bool,
}

/// The style sheet, next to the pages.
pub(crate) const STYLE_PATH: &str = "/lti/style.css";
/// Where [`STYLE_HREF`] leads from a page one level deeper: a document's refusal.
pub(crate) const DEEPER_STYLE_PATH: &str = "/lti/{district}/style.css";
const STYLE: &str = include_str!("../templates/style.css");

/// Serves the style sheet.
pub(crate) async fn style() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/css; charset=utf-8"),
        (header::CACHE_CONTROL, "public, max-age=3600"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'"),
    ];
    (headers, STYLE).into_response()
}

/// Relative to `/lti/{district}/…`, so that a path before it (a proxy's) does not matter.
const STYLE_HREF: &str = "../style.css";

fn render(template: &impl Template) -> Response {
    match template.render() {
        Ok(text) => Html(text).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page cannot be made");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn message(title: &str, lines: &[&str], correlation: Option<&str>, frame_ancestors: &[String]) -> Response {
    let page = render(&Message { style: STYLE_HREF, title, lines, correlation });
    with_policy(page, &Policy { frame_ancestors, form_action: &[], frames: false })
}

/// A launch that could not be believed.
pub(crate) fn refused(correlation: &str, frame_ancestors: &[String]) -> Response {
    let lines = [
        "This document could not be opened, because the way here was not complete or took too long.",
        "Please go back to your student information system and click the flag again.",
    ];
    message("The document could not be opened", &lines, Some(correlation), frame_ancestors)
}

/// A person who may not see the student's documents.
pub(crate) fn no_access(correlation: &str, frame_ancestors: &[String]) -> Response {
    let lines = [
        "You are signed in, but this document is not among those you may see.",
        "If you work with this student, please ask your special programs office for access.",
    ];
    message("No access to this document", &lines, Some(correlation), frame_ancestors)
}

/// We cannot, now.
pub(crate) fn unavailable(correlation: &str, frame_ancestors: &[String]) -> Response {
    let lines = ["Documents cannot be shown right now.", "Please try again in a few minutes."];
    message("Not available right now", &lines, Some(correlation), frame_ancestors)
}

/// Nothing completed yet. Framable as the viewer is.
pub(crate) fn no_document(student: &str, program: &str, frame_ancestors: &[String]) -> Response {
    let first = format!("There is no completed {program} document for {student} yet.");
    let lines = [
        first.as_str(),
        "As soon as one is completed, it opens here. Drafts are not shown.",
        "You can close this page.",
    ];
    message("No document yet", &lines, None, frame_ancestors)
}

/// The way out of a frame in which the browser keeps no cookies.
pub(crate) fn breakout(login_url: &Url, request: &LoginRequest, ancestors: &[String]) -> Response {
    let page = render(&Breakout { style: STYLE_HREF, login_url: login_url.as_str(), request, own_tab: OWN_TAB });
    let form_action = ["'self'".to_owned()];
    let policy = Policy { frame_ancestors: ancestors, form_action: &form_action, frames: false };
    with_policy((StatusCode::BAD_REQUEST, page).into_response(), &policy)
}

/// The way on from there. No redirect: a form may be led on by redirects only to places that its page's policy names, and nobody
/// knows over which others a platform signs people in.
pub(crate) fn onward(url: &Url) -> Response {
    let page = render(&Onward { style: STYLE_HREF, url: url.as_str() });
    let mut page = with_policy(page, &Policy { frame_ancestors: &[], form_action: &[], frames: false });
    if let Ok(refresh) = HeaderValue::try_from(format!("0; url={url}")) {
        page.headers_mut().insert(header::REFRESH, refresh);
    }
    page
}

/// The viewer with a document.
pub(crate) fn viewer(viewer: &Viewer<'_>, frame_ancestors: &[String]) -> Response {
    with_policy(render(viewer), &Policy { frame_ancestors, form_action: &[], frames: true })
}

/// The style sheet's place, for the viewer.
pub(crate) const fn style_href() -> &'static str {
    STYLE_HREF
}

struct Policy<'a> {
    frame_ancestors: &'a [String],
    form_action: &'a [String],
    /// The page frames a document of our own.
    frames: bool,
}

fn with_policy(mut response: Response, policy: &Policy<'_>) -> Response {
    let list = |sources: &[String]| if sources.is_empty() { "'none'".to_owned() } else { sources.join(" ") };
    let text = format!(
        "default-src 'none'; style-src 'self'; frame-src {}; base-uri 'none'; form-action {}; frame-ancestors {}",
        if policy.frames { "'self'" } else { "'none'" },
        list(policy.form_action),
        list(policy.frame_ancestors),
    );
    if let Ok(value) = HeaderValue::try_from(text) {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, value);
    }
    response
}
