//! The one place that reads the machine's clock: `Retry-After` as an HTTP date, and the times in a token, must be near
//! the client's own now.

use chrono::{DateTime, TimeDelta, Utc};

/// Now.
#[expect(clippy::disallowed_methods, reason = "this is where the machine's clock is read")]
pub(crate) fn now() -> DateTime<Utc> {
    Utc::now()
}

/// The time `seconds` from now, or before it, as HTTP spells dates (RFC 9110, section 5.6.7).
pub(crate) fn http_date_in(seconds: i64) -> String {
    http_date(now() + TimeDelta::seconds(seconds))
}

/// A time as HTTP spells it.
pub(crate) fn http_date(at: DateTime<Utc>) -> String {
    at.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
