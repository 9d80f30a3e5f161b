//! Pages that come back as an earlier run got them: noted, and neither carried, decoded nor stored again.
//!
//! Role: most pages of most nights. The fetcher takes a keyed digest of every body; where the last run that was pulled has
//! the same digest at the same place, the page's row names the run under which raw body and fragments lie, and all that was
//! judged of it (rows, digest, total) is copied. So the page is in: complete, replayable, kept as long as any run that
//! stands on it.
//!
//! Neighbours: [`pages`](crate::pages) reads content wherever it lies and forgets it last; [`pulls`] holds
//! the board, which changes in the same transaction.
//!
//! Invariants: a row that stands on another names one that stands on none; equal digests mean equal bytes, read by the
//! same decoders, sealed under the key that seals today. So neither a new decoder nor a new key ever meets an old page.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use rollcall_proto::id::{ConnectionNo, DistrictId, ListingNo, PageNo, RunId};

use crate::{
    Store, StoreError,
    board::{Board, LaneMove, PageFacts, Told},
    district::SisKind,
    pulls,
    secret::DigestKey,
    sql::{Arg, Row, Tx, args},
};

type Result<T> = std::result::Result<T, StoreError>;

/// Version of what the decoders make of a page. Raise it with every change of that, or of the fragments' form: pages
/// decoded before are then decoded anew. A test of the classifier tells when.
pub const READING: u32 = 5;

/// Pages of the last run before this one whose pages came in; `$which` of them.
macro_rules! earlier {
    ($which:literal) => {
        concat!(
            "SELECT p.run, p.listing, p.page, p.body_digest, p.told FROM page p \
             WHERE p.district = $1 AND p.connection = $3 AND ",
            $which,
            " AND p.body_digest IS NOT NULL AND p.collected_at IS NOT NULL AND p.error IS NULL AND p.run = \
                  (SELECT e.id FROM run e WHERE e.district = $1 AND e.pulled_at IS NOT NULL \
                   AND e.seq < (SELECT r.seq FROM run r WHERE r.district = $1 AND r.id = $2) ORDER BY e.seq DESC LIMIT 1)"
        )
    };
}

const EARLIER: &str = earlier!("p.listing = $4 AND p.page BETWEEN $5 AND $6");
const EARLIER_FIRST: &str = earlier!("p.page = 1 AND p.listing BETWEEN $4 AND $5");

/// The board of that run.
const EARLIER_BOARD: &str = "\
SELECT p.board FROM pull p WHERE p.district = $1 AND p.connection = $3 AND p.board IS NOT NULL AND p.run =
    (SELECT e.id FROM run e WHERE e.district = $1 AND e.pulled_at IS NOT NULL
     AND e.seq < (SELECT r.seq FROM run r WHERE r.district = $1 AND r.id = $2) ORDER BY e.seq DESC LIMIT 1)";

/// `INSERT` of the pages that the earlier run still has with the very digest; `$seen` are those that came in now.
macro_rules! keep {
    ($seen:literal) => {
        concat!(
            "INSERT INTO page (district, run, connection, listing, page, status, raw, fragments, rows, digest, \
                               claimed_total, error, asked_at, took_ms, collected_at, body_digest, told, same_as) \
             SELECT e.district, $2, e.connection, e.listing, e.page, e.status, NULL, $6, e.rows, e.digest, \
                    e.claimed_total, NULL, seen.asked_at, seen.took_ms, $7, e.body_digest, e.told, coalesce(e.same_as, e.run) \
             FROM page e JOIN (",
            $seen,
            ") AS seen ON seen.page = e.page AND seen.digest = e.body_digest \
             WHERE e.district = $1 AND e.run = $3 AND e.connection = $4 AND e.listing = $5 \
               AND e.collected_at IS NOT NULL AND e.error IS NULL \
             ON CONFLICT (district, run, connection, listing, page) DO UPDATE SET \
                 status = excluded.status, raw = NULL, fragments = excluded.fragments, rows = excluded.rows, \
                 digest = excluded.digest, claimed_total = excluded.claimed_total, error = NULL, \
                 asked_at = excluded.asked_at, took_ms = excluded.took_ms, collected_at = excluded.collected_at, \
                 body_digest = excluded.body_digest, told = excluded.told, same_as = excluded.same_as \
             WHERE (page.collected_at IS NULL AND page.body_digest IS NULL) OR page.error IS NOT NULL \
             RETURNING page"
        )
    };
}

const KEEP_PG: &str = keep!(
    "SELECT unnest($8::bigint[]) AS page, unnest($9::bytea[]) AS digest, unnest($10::timestamptz[]) AS asked_at, \
            unnest($11::bigint[]) AS took_ms"
);
const KEEP_LITE: &str = keep!(
    "SELECT p.value AS page, unhex(d.value) AS digest, a.value AS asked_at, t.value AS took_ms \
     FROM json_each($8) AS p JOIN json_each($9) AS d ON d.key = p.key JOIN json_each($10) AS a ON a.key = p.key \
     JOIN json_each($11) AS t ON t.key = p.key"
);

/// Takes the digests by which a later run tells an unchanged page, and others. Without the key of the store they tell nothing.
#[derive(Clone)]
pub struct PageDigester {
    key: DigestKey,
    district: DistrictId,
}

impl std::fmt::Debug for PageDigester {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PageDigester").field("district", &self.district).finish_non_exhaustive()
    }
}

impl PageDigester {
    /// The digest of a body, as this program reads the resource's pages ([`READING`]) where these fields are asked for: what one
    /// of them means may rest on what is asked.
    pub fn of(&self, sis: SisKind, (resource, fields): (&str, &[String]), body: &[u8]) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&READING.to_le_bytes());
        hasher.update(&(fields.len() as u64).to_le_bytes());
        let fields = fields.iter().map(String::as_str);
        for part in [self.district.as_str(), sis.as_str(), resource].into_iter().chain(fields) {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        hasher.update(body);
        first_sixteen(&hasher)
    }

    /// The digest of something of the district's that is no page: `what` it is, in a word of the program's.
    pub fn of_other(&self, what: &str, value: &[u8]) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        // In place of a reading: no page's.
        hasher.update(&u32::MAX.to_le_bytes());
        for part in [self.district.as_str(), what] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        hasher.update(value);
        first_sixteen(&hasher)
    }
}

fn first_sixteen(hasher: &blake3::Hasher) -> [u8; 16] {
    let mut digest = [0; 16];
    hasher.finalize_xof().fill(&mut digest);
    digest
}

/// Pages of a listing as the run before had them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Earlier {
    /// That run; none where nothing is known of these pages.
    pub run: Option<RunId>,
    /// Digests of their bodies.
    pub digests: BTreeMap<PageNo, [u8; 16]>,
    /// What they told, where that was kept.
    pub told: BTreeMap<PageNo, Told>,
}

impl Earlier {
    /// Whether the page came back as it was.
    pub fn is_same(&self, page: PageNo, digest: &[u8; 16]) -> bool {
        self.digests.get(&page) == Some(digest)
    }

    /// What the page told then to who reads as `reading` says.
    pub fn facts(&self, page: PageNo, reading: u64) -> Option<&PageFacts> {
        self.told.get(&page).filter(|told| told.reading == reading).map(|told| &told.facts)
    }
}

/// A page that came back as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unchanged {
    /// Which page.
    pub page: PageNo,
    /// Digest of its body.
    pub digest: [u8; 16],
    /// When the SIS was asked.
    pub asked_at: DateTime<Utc>,
    /// Milliseconds the SIS took.
    pub took_ms: u32,
}

/// Where unchanged pages belong, and the run that has them.
#[derive(Debug, Clone, Copy)]
struct Place<'a> {
    district: &'a DistrictId,
    run: RunId,
    connection: ConnectionNo,
    listing: ListingNo,
    earlier: RunId,
}

/// What came of handing pages in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandedIn {
    /// Lanes to be told.
    pub moves: Vec<LaneMove>,
    /// Unchanged pages that are in now. The others must be collected like any page.
    pub kept: BTreeSet<PageNo>,
    /// Every page of the connection is fetched or given up.
    pub all_fetched: bool,
}

impl Store {
    /// For digests of a district's pages, and of what else is compared and not to be known. Under another newest key they are others.
    pub fn page_digester(&self, district: &DistrictId) -> PageDigester {
        PageDigester { key: self.keyring().digest_key(), district: district.clone() }
    }

    /// The board of the last run before this one that was pulled.
    pub async fn earlier_board(
        &self,
        district: &DistrictId,
        run: RunId,
        connection: ConnectionNo,
    ) -> Result<Option<Board>> {
        self.read_packed("read the board of the run before", EARLIER_BOARD, (district, run, connection)).await
    }

    /// What the last run before this one that was pulled has of these pages.
    pub async fn earlier_pages(
        &self,
        district: &DistrictId,
        run: RunId,
        connection: ConnectionNo,
        listing: ListingNo,
        pages: std::ops::Range<u32>,
    ) -> Result<Earlier> {
        let values = args![district, run, connection, listing, pages.start, pages.end.saturating_sub(1)];
        let mut found = self.look_for_earlier(district, EARLIER, values).await?;
        Ok(found.remove(&listing).unwrap_or_default())
    }

    /// The same of the first pages of several listings, of which no others are asked for.
    pub async fn earlier_first_pages(
        &self,
        district: &DistrictId,
        run: RunId,
        connection: ConnectionNo,
        listings: std::ops::Range<u32>,
    ) -> Result<BTreeMap<ListingNo, Earlier>> {
        let values = args![district, run, connection, listings.start, listings.end.saturating_sub(1)];
        self.look_for_earlier(district, EARLIER_FIRST, values).await
    }

    async fn look_for_earlier(
        &self,
        district: &DistrictId,
        sql: &'static str,
        values: Vec<Arg>,
    ) -> Result<BTreeMap<ListingNo, Earlier>> {
        let operation = "look for pages of the run before";
        let mut tx = self.read(district, operation).await?;
        let rows = tx.rows(operation, sql, values).await?;
        tx.commit(operation).await?;
        let mut found: BTreeMap<ListingNo, Earlier> = BTreeMap::new();
        for row in &rows {
            let earlier = found.entry(ListingNo(row.get(1)?)).or_default();
            earlier.run = Some(RunId(row.get(0)?));
            let page = PageNo(row.get(2)?);
            earlier.digests.insert(page, digest(row, 3)?);
            // What cannot be read is read anew from the page.
            let told = row.get::<Option<Vec<u8>>>(4)?.and_then(|bytes| Told::from_bytes(&bytes));
            earlier.told.extend(told.map(|told| (page, told)));
        }
        Ok(found)
    }

    /// [`Store::with_board`] for a lane that hands pages in, some of which `earlier` has: those are noted in the same
    /// transaction. `None`, and nothing noted: there is no board to change, or `change` says that the lane's message is
    /// of an older generation.
    pub async fn hand_in(
        &self,
        (district, run, connection): (&DistrictId, RunId, ConnectionNo),
        (listing, earlier, unchanged): (ListingNo, &Earlier, &[Unchanged]),
        now: DateTime<Utc>,
        change: impl FnOnce(&mut Board) -> Option<Vec<LaneMove>> + Send,
    ) -> Result<Option<HandedIn>> {
        let operation = "hand pages in";
        // As in `with_board`: both are lost together, or neither.
        let mut tx = self.begin_relaxed(district, operation).await?;
        // Before the board is locked: other lanes wait for it.
        let kept = match earlier.run {
            Some(earlier) if !unchanged.is_empty() => {
                keep(&mut tx, Place { district, run, connection, listing, earlier }, unchanged, now).await?
            }
            _ => BTreeSet::new(),
        };
        let change = |board: &mut Board| (change(board), board.all_fetched());
        let Some((Some(moves), all_fetched)) = pulls::change(&mut tx, (district, run, connection), change).await?
        else {
            return Ok(None);
        };
        tx.commit(operation).await?;
        Ok(Some(HandedIn { moves, kept, all_fetched }))
    }
}

async fn keep(tx: &mut Tx, place: Place<'_>, unchanged: &[Unchanged], now: DateTime<Utc>) -> Result<BTreeSet<PageNo>> {
    let sql = if tx.is_postgres() { KEEP_PG } else { KEEP_LITE };
    let values = args![
        place.district,
        place.run,
        place.earlier,
        place.connection,
        place.listing,
        Vec::<u8>::new(),
        now,
        unchanged.iter().map(|page| i64::from(page.page.0)).collect::<Vec<_>>(),
        unchanged.iter().map(|page| page.digest.to_vec()).collect::<Vec<_>>(),
        unchanged.iter().map(|page| Some(page.asked_at)).collect::<Vec<_>>(),
        unchanged.iter().map(|page| i64::from(page.took_ms)).collect::<Vec<_>>(),
    ];
    let rows = tx.rows("note unchanged pages", sql, values).await?;
    rows.iter().map(|row| row.get(0).map(PageNo)).collect()
}

fn digest(row: &Row, column: usize) -> Result<[u8; 16]> {
    let bytes = row.get::<Vec<u8>>(column)?;
    bytes.try_into().map_err(|_| StoreError::Corrupt { what: "page digest", detail: "not 16 bytes".to_owned() })
}
