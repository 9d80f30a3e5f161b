//! Everything a real Qmlativ has been seen or feared to do differently. Each is off by default and may be switched
//! while the sandbox runs, by [`crate::Sandbox::set_quirks`] or `POST /_control/quirks`.
//!
//! Students are named by their `StudentID`; objects by their bare name (`Student`, `EntryWithdrawal`), in any case.

use serde::{Deserialize, Serialize};

use crate::oneroster::OneRosterQuirks;

/// All switches.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quirks {
    /// Tokens and who may have one.
    pub auth: AuthQuirks,
    /// Answers that are no answers.
    pub faults: Vec<Fault>,
    /// Refuses every Nth request with 429.
    pub too_many_requests: Option<Throttle>,
    /// Refuses requests with 503, in bursts.
    pub unavailable: Option<Burst>,
    /// How listings are cut into pages.
    pub paging: PagingQuirks,
    /// What rows hold.
    pub data: DataQuirks,
    /// What the access may read.
    pub grants: Grants,
    /// What is peculiar to `OneRoster`.
    pub oneroster: OneRosterQuirks,
    /// Compresses answers for clients that accept it.
    pub gzip: bool,
    /// Overrides the configured wait before each answer, in milliseconds.
    pub latency_ms: Option<u64>,
}

/// Quirks of the token endpoint and of tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthQuirks {
    /// Status of a call with a token that is no longer good: 403 or 401.
    pub expired_status: u16,
    /// A token is good for this many calls.
    pub token_expires_after_requests: Option<u32>,
    /// Every secret is the wrong one.
    pub wrong_secret: bool,
    /// The district's integration access has run out.
    pub access_expired: bool,
    /// The token endpoint answers 503.
    pub endpoint_down: bool,
    /// The third value, which the token call must carry.
    pub extra: Option<ExtraValue>,
}

impl Default for AuthQuirks {
    fn default() -> Self {
        Self {
            expired_status: 403,
            token_expires_after_requests: None,
            wrong_secret: false,
            access_expired: false,
            endpoint_down: false,
            extra: None,
        }
    }
}

/// A value that the token call must carry besides key and secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtraValue {
    /// Where it is looked for.
    pub placement: Placement,
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// Where the extra value travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// In the form body or the query string.
    Parameter,
    /// In a header.
    Header,
}

/// Refusing every Nth request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Throttle {
    /// N; 1 refuses all.
    pub every: u32,
    /// What the answer says about when to come back.
    #[serde(default)]
    pub retry_after: RetryAfter,
}

/// Refusing a run of requests with 503.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Burst {
    /// Requests answered between two bursts.
    pub every: u32,
    /// Requests refused in a row.
    pub length: u32,
    /// What the answer says about when to come back.
    #[serde(default)]
    pub retry_after: RetryAfter,
}

/// The `Retry-After` header of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RetryAfter {
    /// No header.
    #[default]
    Absent,
    /// In seconds.
    Seconds(u32),
    /// As an HTTP date, this many seconds ahead.
    Date(u32),
    /// As an HTTP date, this many seconds ago.
    PastDate(u32),
    /// Neither a number nor a date.
    Garbage,
}

/// One answer spoiled. Matches list and search calls, and the get-one calls when no page is named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What goes wrong.
    pub kind: FaultKind,
    /// Only this object; all when absent.
    #[serde(default)]
    pub object: Option<String>,
    /// Only this page; all when absent.
    #[serde(default)]
    pub page: Option<u64>,
    /// Only the first so many times since the quirks were set; for ever when absent.
    #[serde(default)]
    pub times: Option<u32>,
}

/// What goes wrong with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// This status, with a JSON error.
    Status(u16),
    /// A page without rows, with status 200, as of a listing that has none.
    NoRows,
    /// A maintenance page in HTML, with status 200.
    Html,
    /// The right answer, cut in the middle.
    TruncatedJson,
    /// Headers, then nothing.
    HangAfterHeaders,
    /// The right answer, a few bytes at a time with this many milliseconds between.
    SlowDrip(u64),
    /// The connection breaks in mid-body.
    ConnectionReset,
    /// The right answer, announced as longer than it is (`Content-Length`).
    LongLength,
    /// The right answer, announced as half as long as it is (`Content-Length`): no more of it is sent.
    ShortLength,
    /// The right answer with this many bytes of white space before it.
    Huge(usize),
}

/// Quirks of paging.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PagingQuirks {
    /// Objects whose listing is empty.
    pub empty: Vec<String>,
    /// From this page on, the same page is served for ever.
    pub repeat: Vec<ObjectPage>,
    /// Pages that come without rows, and announce the one behind them.
    pub hollow: Vec<ObjectPage>,
    /// How `Paging.Next` is given.
    pub next: NextStyle,
    /// A full last page still announces a next one, which is then empty.
    pub next_after_full_page: bool,
    /// What is behind the last page.
    pub past_end: PastEnd,
    /// Name of a total in `Paging`; none when absent.
    pub total_key: Option<String>,
    /// What is added to the true total.
    pub total_off_by: i64,
    /// The largest page served, whatever is asked for.
    pub max_page_size: Option<usize>,
    /// Rows that come and go while a listing is paged.
    pub drift: Vec<Drift>,
    /// Serves listings without `SearchSort` in primary key order; otherwise their order changes with every request.
    pub stable_order: bool,
    /// What the context school year does.
    pub year_context: YearContext,
}

/// An object and one of its pages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectPage {
    /// The object.
    pub object: String,
    /// The page, from 1.
    pub page: u64,
}

/// How `Paging.Next` is given.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NextStyle {
    /// A path relative to the base URL, without a query; null on the last page.
    #[default]
    Path,
    /// As `Path`, with the query string of the request.
    PathWithQuery,
    /// Never there: the client must count up to the first empty page.
    Absent,
    /// As `Path`, but the last page points to itself.
    SelfOnLast,
    /// As `Path`, but the last page too, and whatever is behind it, announces another.
    Always,
    /// An absolute URL on this origin, which no client may follow.
    Origin(String),
}

/// What is behind the last page: nothing is known of it (wire/skyward.md, G4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PastEnd {
    /// Pages without rows.
    #[default]
    Empty,
    /// The last page again.
    LastAgain,
    /// This status, with a JSON error.
    Status(u16),
}

/// Rows that come or go at the front of a listing once some pages were served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drift {
    /// The object.
    pub object: String,
    /// Pages served before it happens.
    pub after_page: u64,
    /// Rows gone from the front, so that as many are skipped.
    #[serde(default)]
    pub removed: usize,
    /// Rows new at the front, so that as many are served twice.
    #[serde(default)]
    pub inserted: usize,
}

/// What the context year (`SchoolYearID` as a parameter) does to listings of one school year.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum YearContext {
    /// Only rows of that year; of the current year when there is no parameter and no condition on `SchoolYearID`.
    #[default]
    Current,
    /// Only rows of that year; of every year without the parameter.
    WhenGiven,
    /// Nothing.
    Ignored,
}

/// Quirks of the rows.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataQuirks {
    /// How dates are written.
    pub dates: DateStyle,
    /// Booleans as `"true"` and `"false"`.
    pub booleans_as_strings: bool,
    /// This student's row comes twice.
    pub duplicate_student: Option<i64>,
    /// This student's enrollments start on a date that is none.
    pub garbage_date_student: Option<i64>,
    /// This student's enrollments end before they begin.
    pub ends_before_start_student: Option<i64>,
    /// This student's enrollments have a withdrawal code that is in no table, and end yesterday.
    pub unknown_code_student: Option<i64>,
    /// This student's last name holds a NUL.
    pub nul_name_student: Option<i64>,
    /// This student's enrollments name no student, so that nobody can tell whose they are.
    pub nobodys_enrollments: Option<i64>,
    /// The table of entities shows this one alone.
    pub only_entity: Option<i64>,
    /// When an enrollment ended stands in the state's own field, `LastDayTX`, and in no other.
    pub ends_in_state_field: bool,
}

/// How dates are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DateStyle {
    /// `2026-08-12T00:00:00`.
    #[default]
    IsoMidnight,
    /// `2026-08-12`.
    Iso,
    /// `2026-08-12 00:00:00`.
    Space,
    /// `08/12/2026`.
    UnitedStates,
    /// `2026-08-12T00:00:00.000Z`.
    IsoZulu,
}

/// What the access may read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grants {
    /// Objects not granted: left out of the module listing, 403 when asked for.
    pub denied_objects: Vec<String>,
    /// Fields not granted: left out of the object's metadata.
    pub denied_fields: Vec<ObjectField>,
    /// The one entity in which those fields are not granted; none: in every one.
    pub denied_fields_in: Option<i64>,
    /// What asking for a field not granted, or unknown, leads to.
    pub on_denied_field: OnDeniedField,
}

/// An object and one of its fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectField {
    /// The object.
    pub object: String,
    /// The field.
    pub field: String,
}

/// What asking for a field not granted leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnDeniedField {
    /// Status 400.
    #[default]
    BadRequest,
    /// Status 403.
    Forbidden,
    /// The key is missing from the rows.
    Omitted,
    /// The key is there and null.
    Null,
}

impl Grants {
    /// Whether the object may be read.
    pub(crate) fn allows_object(&self, object: &str) -> bool {
        !self.denied_objects.iter().any(|name| name.eq_ignore_ascii_case(object))
    }

    /// Whether the field may be read in an entity.
    pub(crate) fn allows_field(&self, object: &str, field: &str, entity: i64) -> bool {
        let is_meant = |denied: &ObjectField| {
            denied.object.eq_ignore_ascii_case(object) && denied.field.eq_ignore_ascii_case(field)
        };
        self.denied_fields_in.is_some_and(|only| only != entity) || !self.denied_fields.iter().any(is_meant)
    }
}
