//! What strangers send, read without a server and without a store. In builds for fuzzing and for this crate's tests alone:
//! the target `stranger` (`tests/fuzz`) gives it any bytes.
//!
//! Neighbours: a launch's token and its claims have public readers of their own (`lti::id_token`, `lti::claims`).

use axum::http::{HeaderMap, HeaderValue, header};
use chrono::{DateTime, Utc};
use rollcall_store::lti::LoginRequest;

use crate::{
    api,
    lti::{launch, login, platform_keys},
};

/// What a platform begins a login with; `None` where it is refused.
pub fn login(fields: &[u8]) -> Option<LoginRequest> {
    login::request(fields).ok()
}

/// Whether a platform's form holds a token.
pub fn holds_token(form: &[u8]) -> bool {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    launch::Form::read(&headers, form).is_ok_and(|form| form.token().is_ok())
}

/// How many keys of a platform's set are usable; `None` where it is none.
pub fn keys(set: &[u8], now: DateTime<Utc>) -> Option<usize> {
    platform_keys::read(set, now).ok().map(|keys| keys.len())
}

/// How long a key set is kept, in seconds, by its `Cache-Control`.
pub fn seconds_kept(cache_control: Option<&str>) -> i64 {
    platform_keys::good_for(cache_control).num_seconds()
}

/// Whether a body is a document that could be handed in over the JSON API.
pub fn is_document(body: &[u8]) -> bool {
    api::is_document(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_well_formed_is_read() {
        let request =
            login(b"iss=https%3A%2F%2Fp.example&login_hint=h&target_link_uri=https%3A%2F%2Ft.example").unwrap();
        assert_eq!(request.iss, "https://p.example");
        assert!(holds_token(b"state=s&id_token=t") && !holds_token(b"state=s&error=e"));
        assert_eq!(keys(br#"{"keys":[{"kty":"EC","kid":"a"}]}"#, DateTime::UNIX_EPOCH), Some(0));
        assert_eq!(seconds_kept(Some("public, max-age=600")), 600);
        let body =
            br#"{"document_id":"d","student_id":"7","program":"P","kind":"K","status":"draft","start":"2026-08-15"}"#;
        assert!(is_document(body) && !is_document(b"[]"));
    }
}
