//! Whose a connection's lanes are.
//!
//! Role: two runs of a district may be open at once (a person starts one while the nightly run is under way), and each has a
//! board of its own. Together they may ask a SIS no more than one of them: so a run begins to ask a connection when no other
//! run of the district does. Neighbours: the fetcher takes the lanes before it discovers; whoever makes a fetched board ask again
//! (a second look, everything in place of changes, pages that were lost) asks here first.
//!
//! Invariants: of the open runs of a district at most one begins to ask a connection, from the beginning of its discovery until all it
//! wants is fetched or given up; runs that are to begin go in the order in which they were made. Whoever decides holds the rows of all
//! the pulls that could decide otherwise. A run whose board nobody can read keeps no other waiting.

use chrono::{DateTime, Utc};
use rollcall_proto::id::{ConnectionNo, DistrictId, RunId};

use crate::{
    Store, StoreError,
    board::Board,
    plan::unpack,
    pulls,
    run::Discovery,
    sql::{Row, Tx, args},
};

type Result<T> = std::result::Result<T, StoreError>;

/// Where a pull is.
type Place<'a> = (&'a DistrictId, RunId, ConnectionNo);

macro_rules! pulls_of_open_runs {
    ($columns:literal) => {
        concat!(
            "SELECT ",
            $columns,
            " FROM pull p JOIN run r ON r.district = p.district AND r.id = p.run \
             WHERE p.district = $1 AND p.connection = $2 AND p.state <> 'failed' AND r.ended_at IS NULL \
             AND r.stage IN ('pull', 'plan', 'recheck') ORDER BY r.seq"
        )
    };
}

const LOOK: &str = pulls_of_open_runs!(
    "p.run, r.seq, p.state, p.asks_since IS NOT NULL, p.waits_since IS NOT NULL, \
     CASE WHEN p.state = 'fetching' THEN p.board END, p.discovery"
);
const LOCK_PG: &str = concat!(pulls_of_open_runs!("1::bigint"), " FOR UPDATE OF p");

/// What came of wanting a connection's lanes, to go on with a pull that is discovered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lanes<T> {
    /// No other run has them: it was done.
    Free(T),
    /// This run asks the connection. Nothing was done.
    Taken(RunId),
}

/// What came of wanting a connection's lanes, to discover it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// They are the run's.
    Own,
    /// This run asks the connection, or comes first. It is noted that the other one waits.
    Taken(RunId),
    /// There is nothing to discover: it was done or given up, or the run has ended.
    Over,
}

/// Whether a discovery waits for a connection's lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// It has them, or may have them, and was not sent away.
    None,
    /// This run asks the connection, or comes first.
    For(RunId),
    /// It was sent away, and may have them now.
    Over,
}

impl Store {
    /// Takes a connection's lanes for a discovery, until all that the run wants of it is fetched or given up.
    pub async fn take_lanes(
        &self,
        district: &DistrictId,
        run: RunId,
        connection: ConnectionNo,
        now: DateTime<Utc>,
    ) -> Result<Claim> {
        let operation = "take a connection's lanes";
        let takes = "UPDATE pull SET asks_since = coalesce(asks_since, $4), waits_since = NULL \
                     WHERE district = $1 AND run = $2 AND connection = $3";
        let waits = "UPDATE pull SET waits_since = coalesce(waits_since, $4) \
                     WHERE district = $1 AND run = $2 AND connection = $3";
        // A note that was not kept is made again with the next message of the discovery.
        let mut tx = self.begin_relaxed(district, operation).await?;
        let pulls = locked(&mut tx, (district, run, connection)).await?;
        if !pulls.iter().any(|pull| pull.run == run && pull.is_discovering) {
            return Ok(Claim::Over);
        }
        let other = in_the_way(&pulls, run);
        let sql = if other.is_none() { takes } else { waits };
        tx.execute(operation, sql, args![district, run, connection, now]).await?;
        tx.commit(operation).await?;
        Ok(other.map_or(Claim::Own, Claim::Taken))
    }

    /// The run that a pull waits for, or would wait for if it had more to ask.
    pub async fn lanes_taken_by(
        &self,
        district: &DistrictId,
        run: RunId,
        connection: ConnectionNo,
    ) -> Result<Option<RunId>> {
        Ok(in_the_way(&self.pulls_of_open_runs(district, connection).await?, run))
    }

    /// Whether a discovery waits for a connection's lanes.
    pub async fn wait_for_lanes(&self, district: &DistrictId, run: RunId, connection: ConnectionNo) -> Result<Wait> {
        let pulls = self.pulls_of_open_runs(district, connection).await?;
        let was_sent_away = pulls.iter().any(|pull| pull.run == run && pull.was_sent_away);
        Ok(match in_the_way(&pulls, run) {
            Some(other) => Wait::For(other),
            None if was_sent_away => Wait::Over,
            None => Wait::None,
        })
    }

    /// The discovery that was sent away is asked for again. False: somebody else did.
    pub async fn end_wait_for_lanes(
        &self,
        district: &DistrictId,
        run: RunId,
        connection: ConnectionNo,
    ) -> Result<bool> {
        let operation = "end the wait for a connection's lanes";
        let sql = "UPDATE pull SET waits_since = NULL \
                   WHERE district = $1 AND run = $2 AND connection = $3 AND waits_since IS NOT NULL";
        let mut tx = self.begin_relaxed(district, operation).await?;
        let ended = tx.execute(operation, sql, args![district, run, connection]).await? > 0;
        tx.commit(operation).await?;
        Ok(ended)
    }

    async fn pulls_of_open_runs(&self, district: &DistrictId, connection: ConnectionNo) -> Result<Vec<Asking>> {
        let operation = "look whose a connection's lanes are";
        let mut tx = self.read(district, operation).await?;
        let rows = tx.rows(operation, LOOK, args![district, connection]).await?;
        tx.commit(operation).await?;
        rows.iter().map(Asking::read).collect()
    }

    /// [`Store::with_board`], of a board that may begin to ask again.
    pub async fn with_lanes<T: Send>(
        &self,
        district: &DistrictId,
        run: RunId,
        connection: ConnectionNo,
        change: impl FnOnce(&mut Board) -> (T, bool) + Send,
    ) -> Result<Lanes<Option<T>>> {
        let operation = "change a board";
        let mut tx = self.begin_relaxed(district, operation).await?;
        if let Some(other) = taken_by(&mut tx, (district, run, connection)).await? {
            return Ok(Lanes::Taken(other));
        }
        let Some((outcome, _)) = pulls::change(&mut tx, (district, run, connection), change).await? else {
            return Ok(Lanes::Free(None));
        };
        tx.commit(operation).await?;
        Ok(Lanes::Free(Some(outcome)))
    }
}

/// The run that has a connection's lanes in place of this one, none where they are free; and nobody else takes them before
/// the transaction ends.
pub(crate) async fn taken_by(tx: &mut Tx, place: Place<'_>) -> Result<Option<RunId>> {
    Ok(in_the_way(&locked(tx, place).await?, place.1))
}

/// The pulls of a connection, by the age of their runs, all held.
async fn locked(tx: &mut Tx, (district, _, connection): Place<'_>) -> Result<Vec<Asking>> {
    let operation = "look whose a connection's lanes are";
    if tx.is_postgres() {
        // They are read once they are held: whoever held them before may have changed whose the lanes are, and which runs are open.
        tx.rows(operation, LOCK_PG, args![district, connection]).await?;
    }
    let rows = tx.rows(operation, LOOK, args![district, connection]).await?;
    rows.iter().map(Asking::read).collect()
}

/// Which of a connection's pulls keeps a run from beginning to ask. One that asks before one that is to.
fn in_the_way(pulls: &[Asking], run: RunId) -> Option<RunId> {
    let own = pulls.iter().find(|pull| pull.run == run && !pull.asks)?;
    let others = pulls.iter().filter(|pull| pull.run != run && pull.goes_before(own));
    others.min_by_key(|other| !other.asks).map(|other| other.run)
}

/// How far a pull is, as far as others are concerned.
struct Asking {
    run: RunId,
    seq: i64,
    is_discovering: bool,
    asks: bool,
    was_sent_away: bool,
}

impl Asking {
    fn read(row: &Row) -> Result<Self> {
        let (state, has_begun) = (row.get::<String>(2)?, row.get::<bool>(3)?);
        let is_discovering = state == "discovering";
        // Nobody goes on with what cannot be read.
        let board = row.get::<Option<Vec<u8>>>(5)?.is_some_and(|board| unpack::<Board>(&board).is_ok());
        let discovery = row.get::<Option<Vec<u8>>>(6)?;
        let fetches = board && discovery.is_none_or(|found| unpack::<Discovery>(&found).is_ok());
        let asks = fetches || (is_discovering && has_begun);
        Ok(Self { run: RunId(row.get(0)?), seq: row.get(1)?, is_discovering, asks, was_sent_away: row.get(4)? })
    }

    /// Whether one that does not ask yet has to wait for this: of those who have yet to begin, the older one is first.
    fn goes_before(&self, own: &Self) -> bool {
        self.asks || (self.is_discovering && own.is_discovering && self.seq < own.seq)
    }
}
