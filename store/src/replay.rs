//! Replays: a run planned from the pages that an earlier one pulled. Neighbour: `replaying` makes them.

use rollcall_proto::id::{ConnectionNo, DistrictId, RunId};

use crate::district::SisKind;

/// What to replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// Whose.
    pub district: DistrictId,
    /// The run whose pages are planned again.
    pub of: RunId,
    /// How its second look is made.
    pub look: ReplayLook,
    /// Who asked, for the audit.
    pub actor: String,
}

/// Where a replay's second look comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplayLook {
    /// Out of the answers that the earlier run stored. Whom these do not confirm is not taken out.
    Stored,
    /// The SIS is asked again, as in any other run.
    Asked,
}

/// What becomes of the stored pages.
#[derive(Clone, Copy)]
pub enum ReplayPages<'a> {
    /// They stay as they were decoded.
    Kept,
    /// Every raw page is decoded again.
    Read(&'a (dyn Fn(&StoredPage<'_>) -> PageReading + Sync)),
}

/// A raw page out of the store.
#[derive(Debug, Clone, Copy)]
pub struct StoredPage<'a> {
    /// What it came from.
    pub sis: SisKind,
    /// Resource of its listing.
    pub resource: &'a str,
    /// Fields that it asked for.
    pub fields: &'a [String],
    /// Asked for by id, at the second look.
    pub by_id: bool,
    /// HTTP status.
    pub status: u16,
    /// The body, zstd.
    pub raw: &'a [u8],
}

/// What a raw page was found to hold. Fields as in [`NewPage`](crate::page::NewPage).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageReading {
    /// The fragments; empty when the page did not decode.
    pub fragments: Vec<u8>,
    /// Rows on it.
    pub rows: i64,
    /// Digest, to tell repeated pages by.
    pub digest: [u8; 16],
    /// Total that the page claims for its listing.
    pub claimed_total: Option<i64>,
    /// Why it did not decode; class, line and column only.
    pub error: Option<String>,
}

/// Why a run is not replayed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplayRefusal {
    /// It is still at work.
    #[error("the run is {0} and goes on by itself")]
    Open(String),
    /// What a newer run knows would be overwritten with what this one knew.
    #[error(
        "run {0} is newer, and older pages must not overwrite what it has planned or is about to plan; replay that one"
    )]
    NewerRun(String),
    /// It ended before all its pages were in.
    #[error("its pull did not come to its end, so there is nothing whole to plan from; start again with --from fetch")]
    NotPulled,
    /// Its pages were deleted.
    #[error("its pages have aged out; start again with --from fetch")]
    PagesGone,
    /// The district's file has fewer or more connections than the run had.
    #[error("the district's connections are not those of the run any more; start again with --from fetch")]
    ConnectionsChanged,
    /// The district's file leads to another SIS by now.
    #[error(
        "connection {0} of the district leads to another SIS by now (kind, URL or id_prefix), and the run's pages are not of \
         that one; start again with --from fetch"
    )]
    OtherSis(ConnectionNo),
}
