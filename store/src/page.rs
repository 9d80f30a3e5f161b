//! Pages of a pull: raw as the SIS answered, and decoded into fragments.

use chrono::{DateTime, Utc};
use rollcall_proto::id::{ConnectionNo, ListingNo, PageNo};

/// A page to be stored, once per (run, connection, listing, page).
#[derive(Debug, Clone)]
pub struct NewPage {
    /// Which connection.
    pub connection: ConnectionNo,
    /// Which listing.
    pub listing: ListingNo,
    /// Which page.
    pub page: PageNo,
    /// HTTP status.
    pub status: u16,
    /// The raw body, zstd; the store encrypts it. Absent when it lies in the store already.
    pub raw: Option<Vec<u8>>,
    /// The fragments, encoded and compressed by the classifier. Empty when the page did not decode.
    pub fragments: Vec<u8>,
    /// Rows on it.
    pub rows: i64,
    /// Digest of the raw body: equal digests of one listing are a repeated page.
    pub digest: [u8; 16],
    /// What a later run tells an unchanged page by ([`PageDigester`](crate::unchanged::PageDigester)); none for a page that did not decode, or that was
    /// asked for by id.
    pub body_digest: Option<[u8; 16]>,
    /// What it told of its listing, for a later run that gets it unchanged: [`Told`](crate::board::Told), encoded.
    pub told: Option<Vec<u8>>,
    /// Total that the page claims for its listing.
    pub claimed_total: Option<i64>,
    /// Why it did not decode; class, line and column only.
    pub error: Option<String>,
    /// When the SIS was asked.
    pub asked_at: DateTime<Utc>,
    /// Milliseconds the SIS took.
    pub took_ms: u32,
    /// When it was collected.
    pub collected_at: DateTime<Utc>,
}

/// What came of storing pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SavedPages {
    /// How many were not there already.
    pub stored: u64,
    /// Every pull of the run is fetched or given up: these may have been its last pages.
    pub pulls_over: bool,
}

/// What the store tells of a collected page, without its content.
#[derive(Debug, Clone, PartialEq)]
pub struct PageRow {
    /// Which connection.
    pub connection: ConnectionNo,
    /// Which listing.
    pub listing: ListingNo,
    /// Which page.
    pub page: PageNo,
    /// HTTP status.
    pub status: u16,
    /// Rows on it.
    pub rows: i64,
    /// Digest of the raw body.
    pub digest: [u8; 16],
    /// Total that the page claims.
    pub claimed_total: Option<i64>,
    /// Why it did not decode.
    pub error: Option<String>,
    /// When the SIS was asked.
    pub asked_at: DateTime<Utc>,
    /// Milliseconds the SIS took.
    pub took_ms: u32,
    /// When it was collected.
    pub collected_at: DateTime<Utc>,
}

/// A page's fragments, as the classifier encoded them.
#[derive(Debug, Clone)]
pub struct PageFragments {
    /// Which connection.
    pub connection: ConnectionNo,
    /// Which listing.
    pub listing: ListingNo,
    /// Which page.
    pub page: PageNo,
    /// The fragments.
    pub fragments: Vec<u8>,
}
