//! The board of a connection's pull: which listings there are, how far each is, and what every lane does.
//!
//! Role: pure bookkeeping, kept in the store as one value per (run, connection) and changed under a lock by
//! [`Store::with_board`](crate::Store::with_board). The fetcher deals pages from it; the classifier reads from it
//! whether a pull is complete.
//!
//! Invariants: never more lanes at work than the connection has, and each asks for one page at a time; page 1 of a listing
//! is dealt alone; a page is dealt again only when its lane has been given up; a lane's generation grows with every hand
//! dealt to it; a message that waits long behind others is taken for lost once, and not again and again.
//!
//! A *hand* is what a lane is dealt at once: a few pages in a row, where pages may be asked for in any order. So the board,
//! the broker and the collector are troubled once a hand and not once a page. Who has done a hand may go on with the lane's
//! next one, and the broker is not troubled at all: should they die of it, their message, which comes again, leads to
//! whatever hand the lane has by then.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use rollcall_proto::id::{ListingNo, PageNo, RunId};
use serde::{Deserialize, Serialize};

use crate::StoreError;

mod dealing;
mod listing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod waiting_tests;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Board {
    /// The listings, by [`ListingNo`].
    pub listings: Vec<Listing>,
    /// The lanes, by number.
    pub lanes: Vec<Lane>,
    /// Second look at work: listings from this number on are recheck listings.
    pub recheck_from: Option<u32>,
}

/// One resource to pull, over one entity and year.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// What to ask for.
    pub ask: Ask,
    /// How far it is.
    pub progress: Progress,
    /// Rows a page really holds, once page 1 told.
    pub page_size: u32,
    /// Pages may be asked for in any order; if not, one lane walks them.
    pub random_access: bool,
    /// Next page never dealt so far.
    pub next_page: u32,
    /// Pages that must be dealt again (their lane was given up).
    pub again: Vec<u32>,
    /// The lowest page known to be the last.
    pub last_page: Option<u32>,
    /// Where the next page continues, for a source that pages by cursor.
    pub cursor: Option<String>,
    /// Some page named a cursor: pages can be reached from the first one only. The last page names none.
    #[serde(default)]
    pub by_cursor: bool,
    /// Total rows, where the source tells.
    pub total: Option<i64>,
    /// Pages fetched and published; for counting only.
    pub fetched: u32,
    /// Pages that the source's total makes expect, or the run before. A hint: the end is what a page announces.
    #[serde(default)]
    pub expected_pages: Option<u32>,
    /// Rows a page held on the run before, where the expectation is from there.
    #[serde(default)]
    pub expected_page_size: u32,
    /// Pages that could not be had, with the reason. Judged once the end is known: beyond it they do not matter.
    #[serde(default)]
    pub errors: BTreeMap<u32, String>,
    /// Number and digest of the page that came in last.
    #[serde(default)]
    pub last_digest: Option<(u32, u64)>,
    /// Number and digest of each of the pages that came in lately, while it is open; a few.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub digests: Vec<(u32, u64)>,
    /// The lowest page known to hold the rows of an earlier one, and that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeated: Option<(u32, u32)>,
    /// Times one of its lanes was told to wait since the last page came in.
    #[serde(default)]
    pub waits: u32,
    /// Its rows do not count: everything was asked for in its place, see [`Board::ask_everything`].
    #[serde(default)]
    pub aside: bool,
    /// Pages that held nothing and announced more. Two in a row are an end, as a source has it that always announces more.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub hollow: BTreeSet<u32>,
    /// The lowest page that was told to be the last.
    #[serde(default)]
    pub told_end: Option<u32>,
    /// The lowest page that came [short](PageFacts::short).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub short: Option<u32>,
}

/// What to ask a SIS for: resource, narrowing and columns, in the SIS's own words.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ask {
    /// Resource; Qmlativ: `Module/Object`.
    pub resource: String,
    /// Columns; the first is the key that pages are sorted by.
    pub fields: Vec<String>,
    /// Entity asked, where the SIS has them.
    pub entity: Option<i64>,
    /// School year asked for, as the SIS identifies it.
    pub school_year: Option<String>,
    /// Only rows whose field is one of these: the second look.
    pub ids: Option<IdFilter>,
    /// Statuses rest on it: an incomplete or empty one means that nobody is taken out.
    pub essential: bool,
    /// Only rows changed since then. What they do not show is on the [stored](Ask::stored) pages of the same resource.
    #[serde(default)]
    pub since: Option<DateTime<Utc>>,
    /// Not asked for: its pages are copies of what this run pulled. See [`crate::delta`].
    #[serde(default)]
    pub stored: Option<RunId>,
    /// Rows asked for in one page, as the district's file had it when the pull began, so that all of its pages are cut alike.
    /// None of a pull that began before this was noted: as the file has it.
    #[serde(default)]
    pub page_size: Option<u32>,
}

impl Ask {
    /// Whether its rows are all that there are, and not those changed or those of some ids.
    pub const fn is_whole(&self) -> bool {
        self.since.is_none() && self.ids.is_none()
    }
}

/// See [`Ask::ids`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct IdFilter {
    /// Field.
    pub field: String,
    /// Its admitted values.
    pub ids: Vec<String>,
}

/// How far a listing is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Progress {
    /// Page 1 not dealt.
    Waiting,
    /// Page 1 dealt, not back.
    Opening,
    /// Page 1 is in.
    Open,
    /// Every page up to the last has been fetched.
    Fetched,
    /// Given up, with a reason (ids, status codes; no student fact).
    Failed(String),
}

/// What a lane does.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Lane {
    /// Renewed with each hand dealt.
    pub generation: u64,
    /// The hand dealt to it; none while it rests.
    pub dealt: Option<Dealt>,
    /// Where whoever fetched the hand before went on with this one: the generation of the message that they still have, and
    /// that stands for this hand too.
    #[serde(default)]
    pub message: Option<u64>,
    /// Seconds that its message may stay away beyond what makes others lost: it was seen to wait long in its queue.
    #[serde(default)]
    pub patience: u32,
}

/// A hand of pages dealt to a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dealt {
    /// Which listing.
    pub listing: ListingNo,
    /// The first page.
    pub page: PageNo,
    /// How many pages in a row, at least 1.
    #[serde(default = "one")]
    pub pages: u32,
    /// When it was dealt: the reconciler's measure of a lost lane.
    pub at: DateTime<Utc>,
    /// Seconds that its message had waited when a fetcher took it up; 0 where that was soon.
    #[serde(default)]
    pub waited: u32,
}

const fn one() -> u32 {
    1
}

impl Dealt {
    /// The pages of the hand, in order.
    pub fn range(&self) -> std::ops::Range<u32> {
        self.page.0..self.page.0.saturating_add(self.pages)
    }
}

/// What a fetched page tells about its listing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is told, or not, by itself")]
pub struct PageFacts {
    /// Rows on it.
    pub rows: u32,
    /// It announces the end of its listing.
    pub last: bool,
    /// It is past the end: holds nothing (the end is the page before it).
    pub past_end: bool,
    /// Total rows, where the source tells.
    pub total: Option<i64>,
    /// Pages may be asked for in any order.
    pub random_access: bool,
    /// Where the next page continues, for a source that pages by cursor.
    pub cursor: Option<String>,
    /// Digest of its rows: a page equal to its neighbour means that the source serves one page for ever.
    pub digest: Option<u64>,
    /// It holds nothing, and announces more all the same: a source that never tells where it ends, or a hole.
    #[serde(default)]
    pub hollow: bool,
    /// It holds fewer rows than were asked for, announces more, and they could not be had: the next page, which begins where a
    /// whole one ends, begins behind them.
    #[serde(default)]
    pub short: bool,
}

/// What a page told to who fetched it, kept beside the page for who gets it unchanged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// All that the facts rest on beside body and place: equal numbers, equal facts.
    pub reading: u64,
    /// What it told.
    pub facts: PageFacts,
}

impl Told {
    /// As it is kept: MessagePack.
    pub fn to_bytes(&self) -> Result<Vec<u8>, StoreError> {
        rmp_serde::to_vec(self).map_err(StoreError::encode)
    }

    /// Reads it back; `None` where it is of another form.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        rmp_serde::from_slice(bytes).ok()
    }
}

/// A lane with pages to fetch: becomes a `fetch.page` message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneMove {
    /// Which lane.
    pub lane: u16,
    /// Its generation.
    pub generation: u64,
}

/// What comes of going on with a lane, see [`Board::go_on`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoneOn {
    /// The lane's new generation, where there is a hand for it.
    pub own: Option<u64>,
    /// Other lanes to be told.
    pub others: Vec<LaneMove>,
}

/// Which pages a complete pull consists of: for each listing that was not given up, its last page.
pub type Extent = BTreeMap<ListingNo, u32>;
