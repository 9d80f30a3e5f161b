//! Pulls for changes alone: what they build on, and the copies that make each of them whole by itself.
//!
//! Role: finds the last complete pull and its pages, and copies their fragments into the run that builds on them. So such a
//! run is planned, replayed and forgotten like any other, and never looks beyond its own pages.
//!
//! Invariants: built upon is only the run just before, and only one that succeeded; all of its pages are copied, or
//! nothing is saved, and the caller asks for everything. A page that [stands on another run's](crate::unchanged) is copied with the content from there: copies
//! lie at other numbers, and stand on nothing. They carry no digest of a body, so none is taken for a page of its number.
//! Raw bodies stay with the run that fetched them: what an upgrade reads anew it asks for anew.

use chrono::{DateTime, NaiveDate, Utc};
use rollcall_proto::{
    id::{ConnectionNo, DistrictId, ListingNo, RunId},
    roster::Staff,
};

use crate::{
    Lanes, Store, StoreError, baselines,
    board::{Ask, Board, LaneMove, Progress},
    lanes,
    pages::content,
    plan::{pack, unpack},
    pulls,
    roster::load,
    run::{Baseline, Discovery, PullBase, PullScope},
    sql::args,
};

type Result<T> = std::result::Result<T, StoreError>;

const OPERATION: &str = "lay stored pages under a pull";

const BEFORE: &str = "\
SELECT id FROM run WHERE district = $1 AND seq < (SELECT seq FROM run WHERE district = $1 AND id = $2)
ORDER BY seq DESC LIMIT 1";

const SUCCEEDED: &str = "SELECT 1 FROM run WHERE district = $1 AND id = $2 AND state = 'succeeded'";

const WHOLE: &str = concat!(
    "SELECT count(*) FROM page p \
     WHERE p.district = $1 AND p.run = $2 AND p.connection = $3 AND p.listing = $4 AND p.page <= $5 \
       AND p.collected_at IS NOT NULL AND p.error IS NULL AND length(",
    content!("fragments"),
    ") > 0"
);

const COPY: &str = concat!(
    "INSERT INTO page (district, run, connection, listing, page, status, fragments, rows, digest, asked_at, took_ms, \
                       collected_at) \
     SELECT p.district, $6, p.connection, $7, p.page + $8, p.status, ",
    content!("fragments"),
    ", p.rows, p.digest, p.asked_at, p.took_ms, p.collected_at FROM page p \
     WHERE p.district = $1 AND p.run = $2 AND p.connection = $3 AND p.listing = $4 AND p.page <= $5 \
       AND p.collected_at IS NOT NULL AND p.error IS NULL AND length(",
    content!("fragments"),
    ") > 0"
);

const TO_PULL: &str = "\
UPDATE run SET stage = 'pull', touched_at = $3, plan_lease_until = NULL
WHERE district = $1 AND id = $2 AND stage IN ('plan', 'pull') AND ended_at IS NULL";

const LOCK_PG: &str = "\
SELECT discovery, board FROM pull WHERE district = $1 AND run = $2 AND connection = $3 AND state = 'fetched' FOR UPDATE";
const LOCK_LITE: &str = "\
SELECT discovery, board FROM pull WHERE district = $1 AND run = $2 AND connection = $3 AND state = 'fetched'";

const ANEW: &str = "\
UPDATE pull SET discovery = $4, board = $5, state = 'fetching' WHERE district = $1 AND run = $2 AND connection = $3";

/// What a run pulled of one resource: its listings of it, each with its last page, in the order in which they count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredListing {
    ask: Ask,
    parts: Vec<(ListingNo, u32)>,
}

impl StoredListing {
    /// Pages, all in all.
    pub fn pages(&self) -> u32 {
        self.parts.iter().map(|(_, pages)| pages).sum()
    }

    /// What stands for it on the board of the run that builds on it.
    pub const fn ask(&self) -> &Ask {
        &self.ask
    }
}

/// What became of [`Store::save_discovery_over`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SavedOver {
    /// It is saved, and the pages are copied.
    Saved,
    /// It was done before, or the run has ended; nothing changed.
    DoneBefore,
    /// Not all of the pages are in the store any more; nothing changed.
    PagesGone,
}

impl Store {
    /// Dates of the pulls of everything that the next pulls of a district may build upon, by connection.
    pub async fn full_nights(&self, district: &DistrictId) -> Result<Vec<(ConnectionNo, NaiveDate)>> {
        let sql = "SELECT connection FROM baseline WHERE district = $1 ORDER BY connection";
        let mut tx = self.read(district, OPERATION).await?;
        let mut nights = Vec::new();
        for row in tx.rows(OPERATION, sql, args![district]).await? {
            let connection = ConnectionNo(row.get(0)?);
            let baseline = baselines::read(&mut tx, district, connection).await?;
            nights.extend(baseline.and_then(|baseline| baseline.base).map(|base| (connection, base.full_on)));
        }
        tx.commit(OPERATION).await?;
        Ok(nights)
    }

    /// What a pull may ask for changes over: the run just before, where it succeeded and its pull was complete, with its
    /// baseline.
    pub async fn pull_base(
        &self,
        district: &DistrictId,
        run: RunId,
        connection: ConnectionNo,
    ) -> Result<Option<(PullBase, Baseline)>> {
        let mut tx = self.read(district, OPERATION).await?;
        let Some(baseline) = baselines::read(&mut tx, district, connection).await? else { return Ok(None) };
        let Some(base) = baseline.base.clone() else { return Ok(None) };
        let before = tx.row(OPERATION, BEFORE, args![district, run]).await?;
        let before = before.map(|row| row.get(0).map(RunId)).transpose()?;
        let succeeded = tx.row(OPERATION, SUCCEEDED, args![district, base.run]).await?.is_some();
        tx.commit(OPERATION).await?;
        Ok((before == Some(base.run) && succeeded).then_some((base, baseline)))
    }

    /// What a run pulled of `resources`. `None`: not all of its pages are in the store any more.
    pub async fn stored_listings(
        &self,
        district: &DistrictId,
        of: RunId,
        connection: ConnectionNo,
        resources: &[&str],
    ) -> Result<Option<Vec<StoredListing>>> {
        let Some(board) = self.board(district, of, connection).await? else { return Ok(None) };
        let listings = resources.iter().map(|resource| listing_of(&board, of, resource));
        let Some(listings) = listings.collect::<Option<Vec<StoredListing>>>() else { return Ok(None) };
        let mut tx = self.read(district, OPERATION).await?;
        for (listing, pages) in listings.iter().flat_map(|listing| &listing.parts) {
            let row = tx.row(OPERATION, WHOLE, args![district, of, connection, *listing, *pages]).await?;
            if row.map(|row| row.get::<i64>(0)).transpose()? != Some(i64::from(*pages)) {
                return Ok(None);
            }
        }
        tx.commit(OPERATION).await?;
        Ok(Some(listings))
    }

    /// [`Store::save_discovery`] of a pull for changes alone: copies what `of` pulled to where the board, on which it was
    /// [laid under](Board::lay_under) in this order, has it.
    pub async fn save_discovery_over(
        &self,
        (district, run, connection): (&DistrictId, RunId, ConnectionNo),
        discovery: &Discovery,
        board: &Board,
        of: RunId,
        listings: &[StoredListing],
    ) -> Result<SavedOver> {
        let mut tx = self.begin(district, OPERATION).await?;
        if !pulls::save_discovery_in(&mut tx, (district, run, connection), discovery, board).await? {
            return Ok(SavedOver::DoneBefore);
        }
        for (number, listing) in (0_u32..).map(ListingNo).zip(listings) {
            let mut before = 0;
            for (from, pages) in &listing.parts {
                let place = args![district, of, connection, *from, *pages, run, number, before];
                if tx.execute(OPERATION, COPY, place).await? != u64::from(*pages) {
                    // They were forgotten since they were looked for. What is done so far goes with the transaction.
                    return Ok(SavedOver::PagesGone);
                }
                before += pages;
            }
        }
        tx.commit(OPERATION).await?;
        Ok(SavedOver::Saved)
    }
}

impl Store {
    /// Ids of the staff who have not left: a pull for changes alone tells of some of them, and of nobody by silence.
    pub async fn staff_ids(&self, district: &DistrictId) -> Result<Vec<String>> {
        let operation = "list the staff";
        let sql = "SELECT staff_id FROM staff WHERE district = $1 AND left_at IS NULL ORDER BY staff_id";
        let mut tx = self.read(district, operation).await?;
        let rows = tx.rows(operation, sql, args![district]).await?;
        tx.commit(operation).await?;
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// All staff, those who have left too: for keeping what a pull could not tell of them.
    pub async fn staff_records(&self, district: &DistrictId) -> Result<Vec<Staff>> {
        let operation = "read the staff";
        let mut tx = self.read(district, operation).await?;
        let staff = load::staff(&mut tx, district).await?;
        tx.commit(operation).await?;
        Ok(staff)
    }

    /// Goes back to the pull of a run at Plan, and asks a connection for everything, whose changes alone do not add up.
    /// The lanes to be set going; none where it was done before.
    pub async fn ask_everything(
        &self,
        (district, run, connection): (&DistrictId, RunId, ConnectionNo),
        why: &str,
        now: DateTime<Utc>,
    ) -> Result<Lanes<Vec<LaneMove>>> {
        let done_before = Ok(Lanes::Free(Vec::new()));
        let mut tx = self.begin(district, OPERATION).await?;
        if let Some(other) = lanes::taken_by(&mut tx, (district, run, connection)).await? {
            return Ok(Lanes::Taken(other));
        }
        let lock = if tx.is_postgres() { LOCK_PG } else { LOCK_LITE };
        let Some(row) = tx.row(OPERATION, lock, args![district, run, connection]).await? else { return done_before };
        let mut discovery: Discovery = unpack(&row.get::<Vec<u8>>(0)?)?;
        let mut board: Board = unpack(&row.get::<Vec<u8>>(1)?)?;
        let asked = board.ask_everything();
        if !asked || tx.execute(OPERATION, TO_PULL, args![district, run, now]).await? == 0 {
            return done_before;
        }
        discovery.scope = PullScope::Everything(Some(why.to_owned()));
        let moves = board.deal(now);
        tx.execute(OPERATION, ANEW, args![district, run, connection, pack(&discovery)?, pack(&board)?]).await?;
        tx.commit(OPERATION).await?;
        Ok(Lanes::Free(moves))
    }
}

/// The listings of a resource that a run pulled, those of its second look left out.
fn listing_of(board: &Board, run: RunId, resource: &str) -> Option<StoredListing> {
    let first = board.recheck_from.map_or(board.listings.len(), |from| from as usize);
    let numbered = (0_u32..).map(ListingNo).zip(board.listings.iter().take(first));
    let own: Vec<_> = numbered.filter(|(_, listing)| listing.ask.resource == resource && !listing.aside).collect();
    let part = |(number, listing): &(ListingNo, &crate::board::Listing)| {
        let last = listing.last_page.filter(|_| listing.progress == Progress::Fetched)?;
        Some((*number, last))
    };
    let parts = own.iter().map(part).collect::<Option<Vec<_>>>()?;
    let (_, listing) = own.last()?;
    let ask = Ask { since: None, stored: Some(run), ..listing.ask.clone() };
    Some(StoredListing { ask, parts })
}
