//! Pages: raw bodies sealed, fragments beside them; each kept once, and forgotten after its run has ended.
//!
//! Neighbour: [`unchanged`](crate::unchanged) notes pages whose content lies under an earlier run's page.
//!
//! Invariant: what a page told when it decoded is never overwritten. A row without `collected_at` is no page of its run:
//! a body that was too large for a message and waits for it, or content that only a younger run's page stands on.

use chrono::{DateTime, Utc};
use rollcall_proto::id::{ConnectionNo, DistrictId, ListingNo, PageNo, RunId};

use crate::{
    Store, StoreError, districts,
    page::{NewPage, PageFragments, PageRow, SavedPages},
    pulls,
    retention::EachDistrict,
    sql::{Row, args},
};

type Result<T> = std::result::Result<T, StoreError>;

const SAVE: &str = "\
INSERT INTO page (district, run, connection, listing, page, status, raw, fragments, rows, digest, claimed_total, error,
                  asked_at, took_ms, collected_at, body_digest, told)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
ON CONFLICT (district, run, connection, listing, page) DO UPDATE SET
    status = excluded.status, raw = coalesce(excluded.raw, page.raw), fragments = excluded.fragments,
    rows = excluded.rows, digest = excluded.digest, claimed_total = excluded.claimed_total, error = excluded.error,
    asked_at = excluded.asked_at, took_ms = excluded.took_ms, collected_at = excluded.collected_at,
    body_digest = excluded.body_digest, told = excluded.told
WHERE (page.collected_at IS NULL AND page.body_digest IS NULL) OR (page.error IS NOT NULL AND excluded.error IS NULL)";

const STASH: &str = "\
INSERT INTO page (district, run, connection, listing, page, status, raw, fragments, rows, digest, took_ms)
VALUES ($1, $2, $3, $4, $5, 0, $6, $7, 0, $7, 0)
ON CONFLICT (district, run, connection, listing, page) DO UPDATE SET raw = excluded.raw
WHERE (page.collected_at IS NULL AND page.body_digest IS NULL) OR page.error IS NOT NULL";

/// A column of a page's content, wherever it lies. A subquery and not a join, which PostgreSQL, on a district of whose many
/// pages it has no statistics yet, carries out by reading them all for each.
macro_rules! content {
    ($column:literal) => {
        concat!(
            "coalesce((SELECT content.",
            $column,
            " FROM page content WHERE content.district = p.district AND content.run = p.same_as \
                AND content.connection = p.connection AND content.listing = p.listing AND content.page = p.page), p.",
            $column,
            ")"
        )
    };
}
pub(crate) use content;

const RAW: &str = concat!(
    "SELECT ",
    content!("raw"),
    ", coalesce(p.same_as, p.run) FROM page p \
     WHERE p.district = $1 AND p.run = $2 AND p.connection = $3 AND p.listing = $4 AND p.page = $5"
);

const ROWS: &str = "\
SELECT connection, listing, page, status, rows, digest, claimed_total, error, asked_at, took_ms, collected_at FROM page
WHERE district = $1 AND run = $2 AND collected_at IS NOT NULL ORDER BY connection, listing, page";

const FRAGMENTS: &str = concat!(
    "SELECT p.connection, p.listing, p.page, ",
    content!("fragments"),
    " FROM page p \
     WHERE p.district = $1 AND p.run = $2 AND p.collected_at IS NOT NULL AND p.error IS NULL \
     ORDER BY p.connection, p.listing, p.page"
);

/// Runs whose pages may go, the youngest first: it may stand on an older one's.
const OLD: &str = "\
SELECT id FROM run WHERE district = $1 AND ended_at < $2
AND EXISTS (SELECT 1 FROM page WHERE page.district = $1 AND page.run = run.id) ORDER BY seq DESC";

const FORGET: &str = "\
DELETE FROM page WHERE district = $1 AND run = $2
AND (connection, listing, page) NOT IN (SELECT connection, listing, page FROM page WHERE district = $1 AND same_as = $2)";

/// What is left then is there for younger runs, and no page of its own run any more.
const DISOWN: &str =
    "UPDATE page SET collected_at = NULL WHERE district = $1 AND run = $2 AND collected_at IS NOT NULL";

impl Store {
    /// Raw body of a page too large for a message, stored before its message. One that is there already is replaced,
    /// unless it was collected and decoded.
    pub async fn stash_raw(
        &self,
        district: &DistrictId,
        run: RunId,
        connection: ConnectionNo,
        listing: ListingNo,
        page: PageNo,
        raw: &[u8],
    ) -> Result<()> {
        let operation = "store a large page";
        let sealed = self.keyring().seal(district, &field(run, connection, listing, page), raw)?;
        let mut tx = self.begin(district, operation).await?;
        let values = args![district, run, connection, listing, page, sealed, Vec::<u8>::new()];
        tx.execute(operation, STASH, values).await?;
        tx.commit(operation).await
    }

    /// Reads a raw page (zstd), stashed or collected.
    pub async fn raw_page(
        &self,
        district: &DistrictId,
        run: RunId,
        connection: ConnectionNo,
        listing: ListingNo,
        page: PageNo,
    ) -> Result<Option<Vec<u8>>> {
        let operation = "read a raw page";
        let mut tx = self.read(district, operation).await?;
        let row = tx.row(operation, RAW, args![district, run, connection, listing, page]).await?;
        tx.commit(operation).await?;
        let Some(row) = row else { return Ok(None) };
        let sealed_for = RunId(row.get(1)?);
        let field = field(sealed_for, connection, listing, page);
        let Some(sealed) = row.get::<Option<Vec<u8>>>(0)? else { return Ok(None) };
        let plain = self.keyring().open(district, &field, &sealed)?;
        Ok(Some(plain.to_vec()))
    }

    /// Stores pages of a run, each once: one that is there already is kept as it was, unless it had not decoded and this
    /// one does.
    ///
    /// All of them or none. A crash of the database may forget the last ones; the board tells, and they are fetched again.
    pub async fn save_pages(&self, district: &DistrictId, run: RunId, pages: &[NewPage]) -> Result<SavedPages> {
        let operation = "store pages";
        let mut sorted: Vec<&NewPage> = pages.iter().collect();
        // Two collectors that got the same pages lock them in the same order.
        sorted.sort_by_key(|page| (page.connection, page.listing, page.page));
        let sealed = sorted.iter().map(|page| self.seal_page(district, run, page)).collect::<Result<Vec<_>>>()?;
        let mut tx = self.begin_relaxed(district, operation).await?;
        let mut stored = 0;
        for (page, raw) in sorted.into_iter().zip(sealed) {
            let values = args![
                district,
                run,
                page.connection,
                page.listing,
                page.page,
                page.status,
                raw,
                page.fragments.as_slice(),
                page.rows,
                page.digest.as_slice(),
                page.claimed_total,
                page.error.as_deref(),
                page.asked_at,
                page.took_ms,
                page.collected_at,
                page.body_digest.map(|digest| digest.to_vec()),
                page.told.as_deref(),
            ];
            stored += tx.execute(operation, SAVE, values).await?;
        }
        tx.commit(operation).await?;
        // Only now: who ended a pull in the meantime did not see these pages, and looks no more.
        let mut tx = self.read(district, operation).await?;
        let pulls_over = pulls::are_over(&mut tx, district, run).await?;
        tx.commit(operation).await?;
        Ok(SavedPages { stored, pulls_over })
    }

    /// [`Store::save_pages`] for one page. False: it was there already.
    pub async fn save_page(&self, district: &DistrictId, run: RunId, page: &NewPage) -> Result<bool> {
        let saved = self.save_pages(district, run, std::slice::from_ref(page)).await?;
        Ok(saved.stored == 1)
    }

    fn seal_page(&self, district: &DistrictId, run: RunId, page: &NewPage) -> Result<Option<Vec<u8>>> {
        let Some(raw) = &page.raw else { return Ok(None) };
        let field = field(run, page.connection, page.listing, page.page);
        self.keyring().seal(district, &field, raw).map(Some)
    }

    /// All collected pages of a run, without their content, ordered by connection, listing, page.
    pub async fn pages(&self, district: &DistrictId, run: RunId) -> Result<Vec<PageRow>> {
        let operation = "list a run's pages";
        let mut tx = self.read(district, operation).await?;
        let rows = tx.rows(operation, ROWS, args![district, run]).await?;
        tx.commit(operation).await?;
        rows.iter().map(page_row).collect()
    }

    /// All fragments of a run's pages that decoded, ordered by connection, listing, page.
    pub async fn fragments(&self, district: &DistrictId, run: RunId) -> Result<Vec<PageFragments>> {
        let operation = "read a run's fragments";
        let mut tx = self.read(district, operation).await?;
        let mut all = Vec::new();
        tx.each(operation, FRAGMENTS, args![district, run], |row| {
            all.push(page_fragments(&row)?);
            Ok(())
        })
        .await?;
        tx.commit(operation).await?;
        Ok(all)
    }

    /// Deletes raw pages and fragments of runs ended before `before`, except what a page of a younger run stands on.
    /// Returns how many pages.
    pub async fn forget_pages(&self, before: DateTime<Utc>) -> Result<u64> {
        let mut each = EachDistrict::default();
        for (district, _) in self.all_districts().await? {
            each.add(&district, self.forget_pages_of(&district, before).await)?;
        }
        each.end()
    }

    async fn forget_pages_of(&self, district: &DistrictId, before: DateTime<Utc>) -> Result<u64> {
        let operation = "look for old pages";
        let mut tx = self.read(district, operation).await?;
        let rows = tx.rows(operation, OLD, args![district, before]).await?;
        tx.commit(operation).await?;
        let mut forgotten = 0;
        for row in rows {
            forgotten += self.forget_pages_of_run(district, RunId(row.get(0)?)).await?;
        }
        Ok(forgotten)
    }

    /// Run by run: whoever needs the district's row meanwhile waits for no more than one night's pages.
    async fn forget_pages_of_run(&self, district: &DistrictId, run: RunId) -> Result<u64> {
        let operation = "forget old pages";
        let mut tx = self.begin(district, operation).await?;
        // A replay, which has the row for itself, copies all pages of a run or finds none.
        match districts::hold(&mut tx, district).await {
            Err(StoreError::NoDistrict(_)) => return Ok(0),
            held => held?,
        }
        let forgotten = tx.execute(operation, FORGET, args![district, run]).await?;
        tx.execute(operation, DISOWN, args![district, run]).await?;
        tx.commit(operation).await?;
        Ok(forgotten)
    }
}

/// What a raw page is bound to, besides the district.
pub(crate) fn field(run: RunId, connection: ConnectionNo, listing: ListingNo, page: PageNo) -> String {
    format!("page/{run}/{}/{}/{}", connection.0, listing.0, page.0)
}

fn page_row(row: &Row) -> Result<PageRow> {
    let digest = row.get::<Vec<u8>>(5)?.try_into();
    Ok(PageRow {
        connection: ConnectionNo(row.get(0)?),
        listing: ListingNo(row.get(1)?),
        page: PageNo(row.get(2)?),
        status: row.get(3)?,
        rows: row.get(4)?,
        digest: digest.map_err(|_| StoreError::Corrupt { what: "page digest", detail: "not 16 bytes".to_owned() })?,
        claimed_total: row.get(6)?,
        error: row.get(7)?,
        asked_at: row.get(8)?,
        took_ms: row.get(9)?,
        collected_at: row.get(10)?,
    })
}

fn page_fragments(row: &Row) -> Result<PageFragments> {
    Ok(PageFragments {
        connection: ConnectionNo(row.get(0)?),
        listing: ListingNo(row.get(1)?),
        page: PageNo(row.get(2)?),
        fragments: row.get(3)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pages that lie sealed in stores are bound to it.
    #[test]
    fn what_pages_are_bound_to_stays() {
        let bound = field(RunId(uuid::Uuid::nil()), ConnectionNo(0), ListingNo(3), PageNo(4));
        assert_eq!(bound, "page/00000000-0000-0000-0000-000000000000/0/3/4");
    }
}
