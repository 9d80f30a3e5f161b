//! Making a replay: a new run that begins at Plan, with copies of what an earlier run pulled.
//!
//! Invariants: all in one transaction, so that a replay is there whole or not at all; the earlier run stays as it ended;
//! nothing is replayed past a newer run (checked here when it is made, and again when its plan is saved).
//!
//! Pages are copied rather than shared: each is sealed for its own run, and ages out with it.

use chrono::{DateTime, Utc};
use rollcall_proto::id::{ConnectionNo, DistrictId, ListingNo, PageNo, RunId};

use crate::{
    Store, StoreError,
    board::{Ask, Board},
    district::Connection,
    districts,
    pages::{content, field},
    plan::{Verdict, pack, unpack},
    replay::{PageReading, Replay, ReplayLook, ReplayPages, ReplayRefusal, StoredPage},
    run::{Discovery, NewRun, Run, Stage, Trigger},
    runs,
    secret::Keyring,
    sql::{Row, Tx, args},
    trail,
};

type Result<T> = std::result::Result<T, StoreError>;

const OPERATION: &str = "replay a run";

/// Pages read at a time.
const TOGETHER: i64 = 16;

/// A run that has written, or will, what an older one must not overwrite.
const NEWER: &str = "\
SELECT id FROM run WHERE district = $1 AND seq > $2 AND NOT as_of_given
AND (ended_at IS NULL OR (planned_at IS NOT NULL AND state NOT IN ('failed', 'cancelled', 'discarded')))
ORDER BY seq DESC LIMIT 1";

/// Made later, and counts in place of this one: it has been released, so that what this one pulled is older than what is
/// written. A plan that waits for a person has written nothing. It takes the place of one that would wait beside it ($3), as it
/// does of one that waits already; and of a replay, which is nobody's night, and so does one that is on its way there. One that
/// is only to be looked at writes nothing, whenever it comes.
const OVERTAKER: &str = "\
SELECT newer.id FROM run r JOIN run newer ON newer.district = r.district AND newer.seq > r.seq
WHERE r.district = $1 AND r.id = $2 AND NOT r.as_of_given
AND (newer.released_at IS NOT NULL
     OR (newer.planned_at IS NOT NULL AND NOT newer.as_of_given
         AND newer.state NOT IN ('failed', 'cancelled', 'discarded')
         AND (r.replay_of IS NOT NULL OR ($3 AND newer.state = 'held'))))
ORDER BY newer.seq DESC LIMIT 1";

const PULLS: &str = "\
INSERT INTO pull (district, run, connection, state, discovery, board, reason)
SELECT district, $3, connection, state, discovery, board, reason FROM pull WHERE district = $1 AND run = $2";

const FINDINGS: &str = "\
INSERT INTO finding (district, run, planned, digest, weight, code, message, count)
SELECT district, $3, planned, digest, weight, code, message, count FROM finding
WHERE district = $1 AND run = $2 AND NOT planned";

const PAGES: &str = concat!(
    "SELECT p.connection, p.listing, p.page, p.status, ",
    content!("raw"),
    ", ",
    content!("fragments"),
    ", p.rows, p.digest, p.claimed_total, p.error, p.asked_at, p.took_ms, p.collected_at, p.body_digest, \
       coalesce(p.same_as, p.run) \
     FROM page p \
     WHERE p.district = $1 AND p.run = $2 AND p.collected_at IS NOT NULL \
       AND (p.connection, p.listing, p.page) > ($3, $4, $5) \
     ORDER BY p.connection, p.listing, p.page LIMIT $6"
);

const PAGE: &str = "\
INSERT INTO page (district, run, connection, listing, page, status, raw, fragments, rows, digest, claimed_total, error,
                  asked_at, took_ms, collected_at, body_digest)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)";

const TO_PLAN: &str = "\
UPDATE run SET stage = 'plan', state = 'running', started_at = $3, pulled_at = $3, touched_at = $3, replay_of = $4
WHERE district = $1 AND id = $2";

impl Store {
    /// Makes a run at Plan out of what a held or ended run pulled, for the same date. With [`ReplayPages::Read`] the
    /// caller's thread decodes every page while the district is locked: about ten microseconds a student.
    pub async fn replay_run(
        &self,
        replay: &Replay,
        pages: ReplayPages<'_>,
        now: DateTime<Utc>,
    ) -> Result<std::result::Result<Run, ReplayRefusal>> {
        let district = &replay.district;
        let mut tx = self.begin(district, OPERATION).await?;
        districts::lock(&mut tx, district).await?;
        let old = runs::load_locked(&mut tx, district, replay.of).await?;
        if let Some(refusal) = refusal(&mut tx, &old).await? {
            return Ok(Err(refusal));
        }
        let connections = districts::config(&mut tx, district, OPERATION).await?.map(|district| district.connections);
        let connections = connections.ok_or_else(|| StoreError::NoDistrict(district.clone()))?;
        let Some((id, _)) = runs::make(&mut tx, &again(&old, &replay.actor), now).await? else {
            return Err(StoreError::NoRun(old.id));
        };
        tx.execute(OPERATION, PULLS, args![district, old.id, id]).await?;
        let boards = boards(&mut tx, district, id).await?;
        if boards.len() != connections.len() {
            return Ok(Err(ReplayRefusal::ConnectionsChanged));
        }
        if let Some(other) = other_sis(&mut tx, (district, id), &connections).await? {
            return Ok(Err(ReplayRefusal::OtherSis(other)));
        }
        let boards = look_by(&mut tx, (district, id), boards, replay.look).await?;
        let copy = Copy { district, from: old.id, to: id, keys: self.keyring(), connections, boards };
        if copy.pages(&mut tx, pages).await? == 0 {
            return Ok(Err(ReplayRefusal::PagesGone));
        }
        tx.execute(OPERATION, FINDINGS, args![district, old.id, id]).await?;
        tx.execute(OPERATION, TO_PLAN, args![district, id, now, old.id]).await?;
        let detail = format!("as={id}");
        trail::write(&mut tx, &runs::entry(district, old.id, "run.replay", &replay.actor, detail, now)).await?;
        let made = runs::load(&mut tx, district, id).await?;
        tx.commit(OPERATION).await?;
        Ok(Ok(made))
    }
}

/// The newer run that makes a run's plan void, if one does.
pub(crate) async fn overtaker(
    tx: &mut Tx,
    (district, run): (&DistrictId, RunId),
    verdict: &Verdict,
) -> Result<Option<RunId>> {
    let waits = matches!(verdict, Verdict::Hold(_));
    let row = tx.row(OPERATION, OVERTAKER, args![district, run, waits]).await?;
    row.map(|row| row.get(0).map(RunId)).transpose()
}

async fn refusal(tx: &mut Tx, old: &Run) -> Result<Option<ReplayRefusal>> {
    if !matches!(old.stage, Stage::Held | Stage::Closed) {
        return Ok(Some(ReplayRefusal::Open(old.state.as_str().to_owned())));
    }
    if let Some(newer) = tx.row(OPERATION, NEWER, args![&old.district, old.seq]).await? {
        return Ok(Some(ReplayRefusal::NewerRun(RunId(newer.get(0)?).to_string())));
    }
    // A second look that was broken off leaves its pull unfinished too.
    let sql = "SELECT 1 FROM pull WHERE district = $1 AND run = $2 AND state = 'fetched' AND NOT EXISTS \
               (SELECT 1 FROM pull WHERE district = $1 AND run = $2 AND state NOT IN ('fetched', 'failed')) LIMIT 1";
    let whole = tx.row(OPERATION, sql, args![&old.district, old.id]).await?.is_some();
    Ok((old.pulled_at.is_none() || !whole).then_some(ReplayRefusal::NotPulled))
}

/// The same date, and as little to be released as the run that it repeats.
fn again(old: &Run, actor: &str) -> NewRun {
    NewRun {
        district: old.district.clone(),
        trigger: Trigger::Manual,
        as_of: old.as_of,
        plan_only: old.plan_only,
        as_of_given: old.as_of_given,
        everything: old.everything,
        requested_by: actor.to_owned(),
    }
}

/// The boards by connection; `None` where a connection never got one.
async fn boards(tx: &mut Tx, district: &DistrictId, run: RunId) -> Result<Vec<Option<Board>>> {
    let sql = "SELECT board FROM pull WHERE district = $1 AND run = $2 ORDER BY connection";
    let rows = tx.rows(OPERATION, sql, args![district, run]).await?;
    let board = |row: &Row| row.get::<Option<Vec<u8>>>(0)?.map(|bytes| unpack(&bytes)).transpose();
    rows.iter().map(board).collect()
}

/// The first connection that leads to another SIS than it did when the run asked. Of one that was never asked, and of a run
/// of before this was noted, nothing is known, and there is nothing to compare.
async fn other_sis(
    tx: &mut Tx,
    (district, run): (&DistrictId, RunId),
    connections: &[Connection],
) -> Result<Option<ConnectionNo>> {
    let sql = "SELECT connection, discovery FROM pull WHERE district = $1 AND run = $2 AND discovery IS NOT NULL \
               ORDER BY connection";
    for row in tx.rows(OPERATION, sql, args![district, run]).await? {
        let (number, asked) = (ConnectionNo(row.get(0)?), unpack::<Discovery>(&row.get::<Vec<u8>>(1)?)?.origin);
        let now = connections.get(usize::from(number.0)).map(Connection::origin);
        if asked.is_some_and(|asked| now.is_some_and(|now| now != asked)) {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

/// Sets the boards up for the second look that is wanted.
async fn look_by(
    tx: &mut Tx,
    (district, run): (&DistrictId, RunId),
    boards: Vec<Option<Board>>,
    look: ReplayLook,
) -> Result<Vec<Option<Board>>> {
    let mut ready = Vec::with_capacity(boards.len());
    for (connection, board) in (0_u16..).map(ConnectionNo).zip(boards) {
        let board = board.map(|board| looking(board, look));
        if let Some(board) = &board {
            let sql = "UPDATE pull SET board = $4 WHERE district = $1 AND run = $2 AND connection = $3";
            tx.execute(OPERATION, sql, args![district, run, connection, pack(board)?]).await?;
        }
        ready.push(board);
    }
    Ok(ready)
}

/// A board that has been asked for its second look is not asked again; one that has not been, is.
fn looking(mut board: Board, look: ReplayLook) -> Board {
    let first = board.recheck_from.map_or(board.listings.len(), |from| from as usize);
    match look {
        ReplayLook::Stored => board.recheck_from = Some(first as u32),
        ReplayLook::Asked => {
            board.listings.truncate(first);
            board.recheck_from = None;
        }
    }
    board
}

/// What is copied from one run to another.
struct Copy<'a> {
    district: &'a DistrictId,
    from: RunId,
    to: RunId,
    keys: &'a Keyring,
    connections: Vec<Connection>,
    boards: Vec<Option<Board>>,
}

/// A page on its way.
struct Moved {
    connection: ConnectionNo,
    listing: ListingNo,
    page: PageNo,
    status: u16,
    raw: Option<Vec<u8>>,
    reading: PageReading,
    asked_at: Option<DateTime<Utc>>,
    took_ms: i64,
    collected_at: DateTime<Utc>,
    /// None once the page was read again: what it was read by then is not what the digest says.
    body_digest: Option<Vec<u8>>,
}

impl Copy<'_> {
    /// Copies the pages; returns how many.
    async fn pages(&self, tx: &mut Tx, pages: ReplayPages<'_>) -> Result<u64> {
        let (mut after, mut copied) = ((-1_i64, -1_i64, -1_i64), 0);
        loop {
            let at = args![self.district, self.from, after.0, after.1, after.2, TOGETHER];
            let rows = tx.rows(OPERATION, PAGES, at).await?;
            let Some(last) = rows.last() else { return Ok(copied) };
            after = (last.get(0)?, last.get(1)?, last.get(2)?);
            for row in &rows {
                let moved = self.read(row)?;
                // Beyond the listings that the board has left: an answer to an earlier second look.
                let Some(ask) = self.ask(&moved) else { continue };
                let moved = self.reread(moved, ask, pages);
                self.write(tx, moved).await?;
                copied += 1;
            }
        }
    }

    fn read(&self, row: &Row) -> Result<Moved> {
        let (connection, listing, page) = (ConnectionNo(row.get(0)?), ListingNo(row.get(1)?), PageNo(row.get(2)?));
        let sealed: Option<Vec<u8>> = row.get(4)?;
        let sealed_for = RunId(row.get(14)?);
        let open = |sealed: Vec<u8>| {
            let plain = self.keys.open(self.district, &field(sealed_for, connection, listing, page), &sealed)?;
            Ok::<_, StoreError>(plain.to_vec())
        };
        let digest = row.get::<Vec<u8>>(7)?.try_into();
        let digest =
            digest.map_err(|_| StoreError::Corrupt { what: "page digest", detail: "not 16 bytes".to_owned() })?;
        let reading = PageReading {
            fragments: row.get(5)?,
            rows: row.get(6)?,
            digest,
            claimed_total: row.get(8)?,
            error: row.get(9)?,
        };
        Ok(Moved {
            connection,
            listing,
            page,
            status: row.get(3)?,
            raw: sealed.map(open).transpose()?,
            reading,
            asked_at: row.get(10)?,
            took_ms: row.get(11)?,
            collected_at: row.get(12)?,
            body_digest: row.get(13)?,
        })
    }

    fn ask(&self, moved: &Moved) -> Option<&Ask> {
        let board = self.boards.get(usize::from(moved.connection.0))?.as_ref()?;
        board.listings.get(moved.listing.0 as usize).map(|listing| &listing.ask)
    }

    fn reread(&self, moved: Moved, ask: &Ask, pages: ReplayPages<'_>) -> Moved {
        let sis = self.connections.get(usize::from(moved.connection.0)).map(|connection| connection.kind);
        let reading = match (pages, &moved.raw, sis) {
            (ReplayPages::Read(read), Some(raw), Some(sis)) => {
                let (resource, by_id) = (ask.resource.as_str(), ask.ids.is_some());
                Some(read(&StoredPage { sis, resource, fields: &ask.fields, by_id, status: moved.status, raw }))
            }
            _ => None,
        };
        match reading {
            Some(reading) => Moved { reading, body_digest: None, ..moved },
            None => moved,
        }
    }

    async fn write(&self, tx: &mut Tx, moved: Moved) -> Result<()> {
        let place = field(self.to, moved.connection, moved.listing, moved.page);
        let raw = moved.raw.map(|raw| self.keys.seal(self.district, &place, &raw)).transpose()?;
        let reading = moved.reading;
        let values = args![
            self.district,
            self.to,
            moved.connection,
            moved.listing,
            moved.page,
            moved.status,
            raw,
            reading.fragments,
            reading.rows,
            reading.digest.to_vec(),
            reading.claimed_total,
            reading.error,
            moved.asked_at,
            moved.took_ms,
            moved.collected_at,
            moved.body_digest,
        ];
        tx.execute(OPERATION, PAGE, values).await.map(drop)
    }
}
