//! Infinite Campus and Skyward as far as they serve `OneRoster` rostering, 1.1 and 1.2 at once, over the same invented district.
//!
//! Role: token refusals of Campus's own, paths, envelopes and errors; `dialect` says what the two do differently, `roster` who is
//! listed with which roles, `rows` writes them as JSON, `listing` cuts them into pages. Neighbours: `http` hands calls over.
//!
//! What Campus is known to do is done here: only the active school year, no no-shows, no codes, end dates exclusive,
//! guardians linked by `agents`, ids re-keyed between 1.1 and 1.2 and linked by `metadata."ic.legacySourceId"`.
//!
//! Deliberately absent: courses, classes and enrollments (class memberships, on which nothing here rests), gradebook, and
//! the programs side, which is a module of its own.

mod dialect;
mod errors;
mod ids;
mod listing;
mod oracle;
mod quirks;
mod roster;
mod rows;

use axum::http::{Method, StatusCode};

use crate::answer::Answer;
use crate::auth::TokenCall;
use crate::quirks::Quirks;
use crate::state::Shared;

pub(crate) use dialect::{Dialect, Vendor, Version};
pub(crate) use ids::student_guid;
pub(crate) use listing::Listings;
pub(crate) use oracle::expected;
pub use quirks::{BlankFilter, Booleans, ChangeFilter, ErrorShape, OneRosterQuirks};

use errors::Minor;
use listing::Query;
use rows::Row;

/// Everything of Campus is below this.
pub(crate) const ROOT: &str = "/campus";
/// The token endpoint.
pub(crate) const TOKEN: &str = "/oauth2/token";
/// The application that connections name.
pub(crate) const APPLICATION: &str = "sandbox";
/// Base of 1.2, as districts copy it: the service follows.
pub(crate) const BASE: &str = "/api/oneroster/v1p2/sandbox/ims/oneroster";
/// Base of 1.1, whole.
pub(crate) const BASE_11: &str = "/api/oneroster/v1p1/sandbox/ims/oneroster/v1p1";

const ROSTERING: &str = "/api/oneroster/v1p2/sandbox/ims/oneroster/rostering/v1p2";

/// Everything of Skyward's `OneRoster` is below this, beside its own API.
pub(crate) const SKYWARD: &str = "/ims/oneroster/";
/// Base of Skyward's 1.2, whole: it names no service.
pub(crate) const SKYWARD_BASE: &str = "/ims/oneroster/v1p2";
/// Base of Skyward's 1.1, whole.
pub(crate) const SKYWARD_BASE_11: &str = "/ims/oneroster/v1p1";

/// Without the application's name Campus does not know which connection is meant, and answers with its login page's text.
pub(crate) fn refuse_token(call: &TokenCall<'_>) -> Option<Answer> {
    if *call.method != Method::POST {
        return Some(Answer::text(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "POST only"));
    }
    let named = call.parameter("appName").is_some_and(|name| name == APPLICATION);
    (!named).then(|| Answer::text(StatusCode::BAD_REQUEST, "text/html", "No Campus Application selected"))
}

/// A rostering call with a good token.
pub(crate) struct Call<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) quirks: &'a Quirks,
    pub(crate) method: &'a Method,
    pub(crate) vendor: Vendor,
    /// What follows the vendor's root.
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
}

/// What a path asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Collection {
    Orgs,
    Schools,
    AcademicSessions,
    Terms,
    GradingPeriods,
    Users,
    Students,
    Teachers,
    Demographics,
}

impl Collection {
    const ALL: [(&'static str, Self); 9] = [
        ("orgs", Self::Orgs),
        ("schools", Self::Schools),
        ("academicSessions", Self::AcademicSessions),
        ("terms", Self::Terms),
        ("gradingPeriods", Self::GradingPeriods),
        ("users", Self::Users),
        ("students", Self::Students),
        ("teachers", Self::Teachers),
        ("demographics", Self::Demographics),
    ];

    fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(own, _)| *own == name).map(|(_, collection)| *collection)
    }

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, own)| *own == self).map_or("", |(name, _)| name)
    }

    /// Keys of a list and of a single object: `/schools` answers with `orgs`, `/students` with `users`.
    const fn envelope(self) -> (&'static str, &'static str) {
        match self {
            Self::Orgs | Self::Schools => ("orgs", "org"),
            Self::AcademicSessions | Self::Terms | Self::GradingPeriods => ("academicSessions", "academicSession"),
            Self::Users | Self::Students | Self::Teachers => ("users", "user"),
            Self::Demographics => ("demographics", "demographics"),
        }
    }
}

impl<'a> Call<'a> {
    fn rest(&self) -> Option<(Dialect, Vec<&'a str>)> {
        let (version, rest) = self.vendor.split(self.path)?;
        let segments = rest.split('/').filter(|segment| !segment.is_empty()).collect();
        Some((Dialect::new(self.vendor, version), segments))
    }

    /// The collection asked for, for counting and faults.
    pub(crate) fn collection(&self) -> Option<&'static str> {
        let (_, segments) = self.rest()?;
        Collection::named(segments.first()?).map(Collection::name)
    }

    /// The page asked for, from 1, as offset and limit make it.
    pub(crate) fn page(&self) -> Option<u64> {
        let query = Query::read(self.query).ok()?;
        (self.rest()?.1.len() == 1).then(|| (query.offset / query.limit.max(1)) as u64 + 1)
    }

    pub(crate) fn answer(&self) -> Answer {
        let quirks = &self.quirks.oneroster;
        let Some((dialect, segments)) = self.rest() else {
            return errors::answer(quirks, StatusCode::NOT_FOUND, Minor::UnknownObject);
        };
        if *self.method != Method::GET {
            return errors::answer(quirks, StatusCode::METHOD_NOT_ALLOWED, Minor::InvalidData);
        }
        let found = match segments.as_slice() {
            [name] => Collection::named(name).map(|collection| self.list(dialect, collection)),
            [name, id] => Collection::named(name).map(|collection| self.single(dialect, collection, id)),
            _ => None,
        };
        found.unwrap_or_else(|| errors::answer(quirks, StatusCode::NOT_FOUND, Minor::UnknownObject))
    }

    fn refusal(&self, collection: Collection) -> Option<Answer> {
        let refused = collection == Collection::Demographics && self.quirks.oneroster.no_demographics;
        refused.then(|| errors::answer(&self.quirks.oneroster, StatusCode::FORBIDDEN, Minor::Forbidden))
    }

    fn list(&self, dialect: Dialect, collection: Collection) -> Answer {
        if let Some(refusal) = self.refusal(collection) {
            return refusal;
        }
        let query = Query::read(self.query);
        let by_change = query.as_ref().is_ok_and(Query::is_by_change);
        let later = query.as_ref().is_ok_and(|query| query.offset > 0);
        match (self.quirks.oneroster.change_filter, by_change) {
            (ChangeFilter::Failing, true) => {
                return errors::answer(&self.quirks.oneroster, StatusCode::INTERNAL_SERVER_ERROR, Minor::UnknownObject);
            }
            (ChangeFilter::FailingLater, true) if later => {
                return errors::answer(&self.quirks.oneroster, StatusCode::INTERNAL_SERVER_ERROR, Minor::UnknownObject);
            }
            (ChangeFilter::Bare, true) => return Answer::value(&serde_json::json!({})),
            _ => {}
        }
        match self.try_list(dialect, collection) {
            Ok(answer) => answer,
            Err(minor) => errors::answer(&self.quirks.oneroster, StatusCode::BAD_REQUEST, minor),
        }
    }

    fn try_list(&self, dialect: Dialect, collection: Collection) -> Result<Answer, Minor> {
        let mut query = Query::read(self.query)?;
        query.check(dialect, &self.quirks.oneroster)?;
        self.turn(collection, &query);
        let view = self.shared.view(self.quirks);
        let by_change = query.is_by_change();
        let filter = self.quirks.oneroster.change_filter;
        if by_change && filter == ChangeFilter::Ignored {
            query.forget_filter();
        }
        let empty = self.quirks.paging.empty.iter().any(|name| name.eq_ignore_ascii_case(collection.name()))
            || (by_change && filter == ChangeFilter::Empty);
        let key = (dialect, collection.name(), query.key());
        let all = self.shared.oneroster().get(key, || listing::select(&view, dialect, collection, &query));
        let all = if empty { std::sync::Arc::default() } else { all? };
        let mut page = listing::cut(&all, &query, self.quirks, || self.shared.number_call());
        if by_change && filter == ChangeFilter::Miscounted {
            page.total = roster::rows(&view, dialect, collection).len();
        }
        let write = |row: &Row| query.columns(dialect, rows::json(&view, dialect, row));
        let mut rows: Vec<serde_json::Value> = page.rows.iter().map(write).collect::<Result<_, _>>()?;
        if let Some(until) = self.quirks.oneroster.contact_data_until_row.filter(|_| collection == Collection::Users) {
            rows.iter_mut().skip(until.saturating_sub(query.offset)).for_each(rows::forget_contact_data);
        }
        let mut answer = Answer::value(&serde_json::json!({ collection.envelope().0: rows }));
        answer.headers = page.headers(dialect, self.quirks, self.path, &query);
        Ok(answer)
    }

    /// The district moves on while it is pulled.
    fn turn(&self, collection: Collection, query: &Query) {
        let to = self.quirks.oneroster.turns_to.filter(|_| collection == Collection::Users && query.offset > 0);
        if let Some(night) = to.filter(|night| *night != self.shared.night()) {
            self.shared.set_night(night);
        }
    }

    fn single(&self, dialect: Dialect, collection: Collection, id: &str) -> Answer {
        if let Some(refusal) = self.refusal(collection) {
            return refusal;
        }
        let view = self.shared.view(self.quirks);
        let rows = roster::rows(&view, dialect, collection);
        let unknown = || errors::answer(&self.quirks.oneroster, StatusCode::NOT_FOUND, Minor::UnknownObject);
        let found = rows.iter().map(|row| rows::json(&view, dialect, row)).find(|json| json["sourcedId"] == id);
        found.map_or_else(unknown, |json| Answer::value(&serde_json::json!({ collection.envelope().1: json })))
    }
}
