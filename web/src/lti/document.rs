//! Hop 4: the file, once, while the document is what the launch has shown.
//!
//! A stored HTML document is shown without any right: no script, no form, an origin of its own. What it may load is
//! what it brings along.

use axum::{
    extract::{Path, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use rollcall_store::{
    document::{DocumentFile, DocumentStatus, FileType},
    lti::Digest,
};

use super::site::{Site, frame_ancestors};
use crate::{refusal::Refusal, server::App};

/// A look at the headers alone is none, and uses no ticket up.
pub(crate) async fn no_look() -> impl IntoResponse {
    (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET")])
}

/// The file that a ticket is for.
pub(crate) async fn show(State(app): State<App>, Path((district, ticket)): Path<(String, String)>) -> Response {
    let site = match Site::find(&app, &district).await {
        Ok(site) => site,
        Err(answer) => return answer,
    };
    match file(&app, &site, &ticket).await {
        Ok(answer) => answer,
        Err(refusal) => site.refuse(refusal),
    }
}

async fn file(app: &App, site: &Site, ticket: &str) -> Result<Response, Refusal> {
    let used = app.store.use_ticket(site.id(), Digest::of(ticket), app.clock.now()).await?;
    let ticket = used.ok_or(Refusal::Ticket)?;
    let registration = site.registration(ticket.registration).ok_or(Refusal::Ticket)?;
    let id = ticket.document_id.parse().map_err(|_| Refusal::Ticket)?;
    let file = app.store.document_file(site.id(), &id).await?.ok_or(Refusal::Ticket)?;
    // Read after the file: whatever befalls a document gives it another version.
    let document = app.store.document(site.id(), &id).await?.ok_or(Refusal::Ticket)?;
    let is_another = ticket.version.is_some_and(|version| version != document.version);
    if is_another || document.status != DocumentStatus::Completed {
        return Err(Refusal::Ticket);
    }
    Ok(answer(file, &frame_ancestors(registration)))
}

fn answer(file: DocumentFile, platform: &[String]) -> Response {
    let (kind, ancestors) = (file.kind(), format!("frame-ancestors 'self' {}", platform.join(" ")));
    let (name, policy) = match kind {
        FileType::Html => (
            "document.html",
            format!(
                "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; base-uri 'none'; \
                 form-action 'none'; {ancestors}"
            ),
        ),
        // A browser's PDF viewer does not start within a sandbox; a PDF has no script of our origin to run.
        FileType::Pdf => (
            "document.pdf",
            format!(
                "default-src 'none'; object-src 'self'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
                 {ancestors}"
            ),
        ),
    };
    let mut response = ([(header::CONTENT_TYPE, kind.media_type())], file.into_bytes()).into_response();
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::try_from(policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    if let Ok(name) = HeaderValue::try_from(format!("inline; filename=\"{name}\"")) {
        headers.insert(header::CONTENT_DISPOSITION, name);
    }
    response
}
