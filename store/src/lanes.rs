//! Whose a connection's lanes are.
//!
//! Role: two runs of a district may be open at once (a person starts one while the nightly run is under way), and each has a
//! board of its own. Together they may ask a SIS no more than one of them: so a run begins to ask a connection when no other
//! run of the district does. Neighbours: the fetcher takes the lanes before it discovers; whoever makes a fetched board ask again
//! (a second look, everything in place of changes, pages that were lost) asks here first.
//!
//! Invariants: of the open runs of a district at most one asks a connection, from the beginning of its discovery until all it wants
//! is fetched or given up; runs that were to begin go in the order in which they were made. Whoever decides holds the rows of
//! all the pulls that could decide otherwise.

use chrono::{DateTime, Utc};
use rollcall_proto::id::{ConnectionNo, DistrictId, RunId};

use crate::{
    Store, StoreError,
    board::Board,
    pulls,
    sql::{Row, Tx, args},
};

type Result<T> = std::result::Result<T, StoreError>;

/// Where a pull is.
type Place<'a> = (&'a DistrictId, RunId, ConnectionNo);

macro_rules! pulls_of_open_runs {
    () => {
        "SELECT p.run, r.seq, p.state, p.asks_since IS NOT NULL \
         FROM pull p JOIN run r ON r.district = p.district AND r.id = p.run \
         WHERE p.district = $1 AND p.connection = $2 AND p.state <> 'failed' AND r.ended_at IS NULL AND r.stage IN ('pull', 'plan', 'recheck') \
         ORDER BY r.seq"
    };
}

const LOOK: &str = pulls_of_open_runs!();
const LOCK_PG: &str = concat!(pulls_of_open_runs!(), " FOR UPDATE OF p");

/// What came of wanting a connection's lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lanes<T> {
    /// No other run has them: it was done.
    Free(T),
    /// This run asks the connection, or comes first. Nothing was done.
    Taken(RunId),
}

impl Store {
    /// Takes a connection's lanes for a discovery, until all that the run wants of it is fetched or given up. Those that
    /// are the run's already are [`Lanes::Free`], as are those of a run that has ended.
    pub async fn take_lanes(
        &self,
        district: &DistrictId,
        run: RunId,
        connection: ConnectionNo,
        now: DateTime<Utc>,
    ) -> Result<Lanes<()>> {
        let operation = "take a connection's lanes";
        let sql = "UPDATE pull SET asks_since = $4 WHERE district = $1 AND run = $2 AND connection = $3 \
                   AND state = 'discovering' AND asks_since IS NULL";
        // A note that was not kept is made again with the next message of the discovery.
        let mut tx = self.begin_relaxed(district, operation).await?;
        if let Some(other) = taken_by(&mut tx, (district, run, connection)).await? {
            return Ok(Lanes::Taken(other));
        }
        tx.execute(operation, sql, args![district, run, connection, now]).await?;
        tx.commit(operation).await?;
        Ok(Lanes::Free(()))
    }

    /// The run that a run at its pull or its second look waits for, if it does.
    pub async fn lanes_taken_by(
        &self,
        district: &DistrictId,
        run: RunId,
        connection: ConnectionNo,
    ) -> Result<Option<RunId>> {
        let operation = "look whose a connection's lanes are";
        let mut tx = self.read(district, operation).await?;
        let rows = tx.rows(operation, LOOK, args![district, connection]).await?;
        tx.commit(operation).await?;
        in_the_way(&rows, run)
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
pub(crate) async fn taken_by(tx: &mut Tx, (district, run, connection): Place<'_>) -> Result<Option<RunId>> {
    let sql = if tx.is_postgres() { LOCK_PG } else { LOOK };
    let rows = tx.rows("look whose a connection's lanes are", sql, args![district, connection]).await?;
    in_the_way(&rows, run)
}

/// Of the pulls of a connection, by the age of their runs.
fn in_the_way(rows: &[Row], run: RunId) -> Result<Option<RunId>> {
    let pulls = rows.iter().map(Asking::read).collect::<Result<Vec<_>>>()?;
    let Some(own) = pulls.iter().find(|pull| pull.run == run && !pull.asks) else { return Ok(None) };
    let mut others = pulls.iter().filter(|pull| pull.run != run);
    Ok(others.find(|other| other.goes_before(own)).map(|other| other.run))
}

/// How far a pull is, as far as others are concerned.
struct Asking {
    run: RunId,
    seq: i64,
    is_discovering: bool,
    asks: bool,
}

impl Asking {
    fn read(row: &Row) -> Result<Self> {
        let (state, has_begun) = (row.get::<String>(2)?, row.get::<bool>(3)?);
        let is_discovering = state == "discovering";
        let asks = state == "fetching" || (is_discovering && has_begun);
        Ok(Self { run: RunId(row.get(0)?), seq: row.get(1)?, is_discovering, asks })
    }

    /// Whether one that does not ask yet has to wait for this: of those who have yet to begin, the older one is first.
    fn goes_before(&self, own: &Self) -> bool {
        self.asks || (self.is_discovering && own.is_discovering && self.seq < own.seq)
    }
}
