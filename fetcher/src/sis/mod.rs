//! How each kind of SIS is asked. Adding one is a file here and one in the classifier that reads it.

use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use rollcall_proto::id::PageNo;
use rollcall_store::{
    READING,
    board::{Ask, Listing, PageFacts},
    district::{Connection, SchoolYears, SisKind},
    run::Discovery,
};

use crate::{error::SisError, net::Reply, session::Session, turn::Turn};

mod body;
pub mod oneroster;
pub mod qmlativ;

/// What there is to pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Grants and years.
    pub discovery: Discovery,
    /// The listings, the large ones first.
    pub asks: Vec<Ask>,
}

/// Rows that a filter by the time of change admits when it is to admit all, by resource, where the source counts them.
pub type Ever = BTreeMap<String, i64>;

/// One connection to a SIS.
#[async_trait]
pub trait Source: Send + Sync + std::fmt::Debug {
    /// Finds out what is granted, and which listings make a pull. [`SisError::Unfinished`] where the turn was too short for all
    /// questions.
    async fn discover(&self, turn: &Turn<'_>) -> Result<Found, SisError>;

    /// Listings that the source can narrow to what has changed, by resource.
    fn by_changes(&self) -> &'static [&'static str] {
        &[]
    }

    /// Tries the filter by the time of change; the inner error says why it cannot be trusted tonight.
    async fn tries_changes(
        &self,
        _since: DateTime<Utc>,
        _turn: &Turn<'_>,
    ) -> Result<Result<Ever, &'static str>, SisError> {
        Ok(Err("the source tells no changes"))
    }

    /// Asks for one page.
    async fn page(&self, listing: &Listing, page: PageNo) -> Result<Reply, SisError>;

    /// What a page tells about its listing.
    fn facts(&self, listing: &Listing, page: PageNo, reply: &Reply) -> Result<PageFacts, SisError>;

    /// A number for all that a page's facts rest on beside its body and its place in the listing, so that an equal page
    /// asked for in the same way need not be read twice. `None` where they rest on more: on headers, say.
    fn reading(&self, _listing: &Listing, _page: PageNo) -> Option<u64> {
        None
    }
}

/// The way to ask a connection.
///
/// `years` says whether next year's enrollments are pulled too.
pub fn source(session: Session, years: SchoolYears) -> Result<Box<dyn Source>, SisError> {
    match session.connection().kind {
        SisKind::SkywardQmlativ => Ok(Box::new(qmlativ::Qmlativ::new(session, years))),
        SisKind::OneRoster => Ok(Box::new(oneroster::OneRoster::new(session))),
        kind @ SisKind::SkywardSms2 => Err(SisError::Unsupported { kind: kind.as_str() }),
    }
}

/// What the answers of a discovery depend on, beside the SIS: the program, and the settings and secrets
/// ([digest](rollcall_store::Store::secrets_digest)) that it asks with: others may be granted something else. How many questions it asks
/// at once makes no difference to them.
pub(crate) fn asked_by(connection: &Connection, secrets: [u8; 16]) -> String {
    let alike = Connection { lanes: 1, ..connection.clone() };
    let text = serde_json::to_string(&alike).unwrap_or_default();
    let (settings, secrets) = (body::digest(&text), u128::from_le_bytes(secrets));
    format!("{} {READING} {settings:016x} {secrets:032x}", env!("CARGO_PKG_VERSION"))
}
