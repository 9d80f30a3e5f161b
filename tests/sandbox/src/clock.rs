//! The one place that reads the machine's clock: `Retry-After` as an HTTP date must be near the client's own now.

use chrono::{TimeDelta, Utc};

/// The time `seconds` from now, as HTTP spells dates (RFC 9110, section 5.6.7).
#[expect(clippy::disallowed_methods, reason = "this is where the machine's clock is read")]
pub(crate) fn http_date_in(seconds: u32) -> String {
    let at = Utc::now() + TimeDelta::seconds(i64::from(seconds));
    at.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
