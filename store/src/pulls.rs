//! Pulls: what discovery found, and the board that pages are dealt from.
//!
//! Invariant: a board changes under its row's lock, in one transaction; so lanes are dealt once, however many fetchers
//! come back with a page at the same moment. It is kept as MessagePack, zstd: it is rewritten with every page.

use rollcall_proto::id::{ConnectionNo, DistrictId, RunId};
use serde::de::DeserializeOwned;

use crate::{
    Store, StoreError,
    board::Board,
    plan::{pack, unpack},
    run::{Discovery, Learned, Pull, PullState},
    sql::{Row, Tx, args},
};

type Result<T> = std::result::Result<T, StoreError>;

const LOCK_PG: &str = "\
SELECT p.board, p.state FROM pull p JOIN run r ON r.district = p.district AND r.id = p.run
WHERE p.district = $1 AND p.run = $2 AND p.connection = $3 AND p.board IS NOT NULL AND p.state <> 'failed'
  AND r.ended_at IS NULL FOR UPDATE OF p";
const LOCK_LITE: &str = "\
SELECT p.board, p.state FROM pull p JOIN run r ON r.district = p.district AND r.id = p.run
WHERE p.district = $1 AND p.run = $2 AND p.connection = $3 AND p.board IS NOT NULL AND p.state <> 'failed'
  AND r.ended_at IS NULL";

const OPEN_PG: &str = "SELECT 1::bigint FROM run WHERE district = $1 AND id = $2 AND ended_at IS NULL FOR SHARE";
const OPEN_LITE: &str = "SELECT 1 FROM run WHERE district = $1 AND id = $2 AND ended_at IS NULL";

impl Store {
    /// The run's pulls, by connection.
    pub async fn pulls(&self, district: &DistrictId, run: RunId) -> Result<Vec<Pull>> {
        let operation = "read a run's pulls";
        let mut tx = self.read(district, operation).await?;
        let sql = "SELECT connection, state, discovery, reason FROM pull WHERE district = $1 AND run = $2 \
                   ORDER BY connection";
        let rows = tx.rows(operation, sql, args![district, run]).await?;
        tx.commit(operation).await?;
        rows.iter().map(pull).collect()
    }

    /// Saves what discovery found and the board to pull by. False: it was done before, or the run has ended (nothing
    /// changed).
    pub async fn save_discovery(
        &self,
        district: &DistrictId,
        run: RunId,
        connection: ConnectionNo,
        discovery: &Discovery,
        board: &Board,
    ) -> Result<bool> {
        let operation = "save what discovery found";
        let mut tx = self.begin(district, operation).await?;
        let saved = save_discovery_in(&mut tx, (district, run, connection), discovery, board).await?;
        tx.commit(operation).await?;
        Ok(saved)
    }

    /// Gives a connection's pull up; nothing changes once the run has ended. The first reason stays.
    pub async fn fail_pull(
        &self,
        district: &DistrictId,
        run: RunId,
        connection: ConnectionNo,
        reason: &str,
    ) -> Result<()> {
        let operation = "give a pull up";
        let sql = "UPDATE pull SET state = 'failed', reason = $4, learned = NULL \
                   WHERE district = $1 AND run = $2 AND connection = $3 AND state <> 'failed' \
                   AND EXISTS (SELECT 1 FROM run WHERE district = $1 AND id = $2 AND ended_at IS NULL)";
        let mut tx = self.begin(district, operation).await?;
        tx.execute(operation, sql, args![district, run, connection, reason]).await?;
        tx.commit(operation).await
    }

    /// Gives a connection up that could not be discovered, with what was found of it all the same. False, and nothing changes:
    /// somebody else has discovered it meanwhile or given it up, or the run has ended.
    pub async fn fail_discovery(
        &self,
        district: &DistrictId,
        run: RunId,
        connection: ConnectionNo,
        (found, reason): (Option<&Discovery>, &str),
    ) -> Result<bool> {
        let operation = "give a discovery up";
        let sql = "UPDATE pull SET state = 'failed', reason = $4, discovery = coalesce($5, discovery), learned = NULL \
                   WHERE district = $1 AND run = $2 AND connection = $3 AND state = 'discovering' \
                   AND EXISTS (SELECT 1 FROM run WHERE district = $1 AND id = $2 AND ended_at IS NULL)";
        let found = found.map(pack).transpose()?;
        let mut tx = self.begin(district, operation).await?;
        let failed = tx.execute(operation, sql, args![district, run, connection, reason, found]).await?;
        tx.commit(operation).await?;
        Ok(failed > 0)
    }

    /// What a discovery that is not finished has learned so far.
    pub async fn learned(
        &self,
        district: &DistrictId,
        run: RunId,
        connection: ConnectionNo,
    ) -> Result<Option<Learned>> {
        let sql =
            "SELECT learned FROM pull WHERE district = $1 AND run = $2 AND connection = $3 AND learned IS NOT NULL";
        self.read_packed("read what a discovery has learned", sql, (district, run, connection)).await
    }

    /// Keeps what a discovery has learned so far, in place of what was kept before; nothing of one that is over.
    pub async fn keep_learned(
        &self,
        district: &DistrictId,
        run: RunId,
        connection: ConnectionNo,
        learned: &Learned,
    ) -> Result<()> {
        let operation = "keep what a discovery has learned";
        let sql = "UPDATE pull SET learned = $4 WHERE district = $1 AND run = $2 AND connection = $3 \
                   AND state = 'discovering'";
        // What was not kept is asked for again.
        let mut tx = self.begin_relaxed(district, operation).await?;
        // Locked: who ends the run at this moment forgets this too, or is seen here.
        let open = if tx.is_postgres() { OPEN_PG } else { OPEN_LITE };
        if tx.row(operation, open, args![district, run]).await?.is_some() {
            tx.execute(operation, sql, args![district, run, connection, pack(learned)?]).await?;
        }
        tx.commit(operation).await
    }

    /// Reads a board without locking it; also that of a pull given up, or of a run that has ended.
    pub async fn board(&self, district: &DistrictId, run: RunId, connection: ConnectionNo) -> Result<Option<Board>> {
        let sql = "SELECT board FROM pull WHERE district = $1 AND run = $2 AND connection = $3 AND board IS NOT NULL";
        self.read_packed("read a board", sql, (district, run, connection)).await
    }

    /// Reads a board without locking it, of a pull that goes on: it was not given up, and its run has not ended.
    pub async fn board_at_work(
        &self,
        district: &DistrictId,
        run: RunId,
        connection: ConnectionNo,
    ) -> Result<Option<Board>> {
        let sql = "SELECT p.board FROM pull p JOIN run r ON r.district = p.district AND r.id = p.run \
                   WHERE p.district = $1 AND p.run = $2 AND p.connection = $3 AND p.board IS NOT NULL \
                   AND p.state <> 'failed' AND r.ended_at IS NULL";
        self.read_packed("read a board", sql, (district, run, connection)).await
    }

    /// Reads what `sql` finds of a pull, packed.
    pub(crate) async fn read_packed<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        sql: &'static str,
        (district, run, connection): (&DistrictId, RunId, ConnectionNo),
    ) -> Result<Option<T>> {
        let mut tx = self.read(district, operation).await?;
        let row = tx.row(operation, sql, args![district, run, connection]).await?;
        tx.commit(operation).await?;
        row.map(|row| unpack(&row.get::<Vec<u8>>(0)?)).transpose()
    }

    /// Changes a board under a lock, in one transaction. The pull becomes `Fetched` when `change` returns true as the
    /// second part (everything fetched), `Fetching` otherwise. `None`: there is no board to change (not discovered, the
    /// pull was given up, or the run has ended).
    pub async fn with_board<T: Send>(
        &self,
        district: &DistrictId,
        run: RunId,
        connection: ConnectionNo,
        change: impl FnOnce(&mut Board) -> (T, bool) + Send,
    ) -> Result<Option<T>> {
        let operation = "change a board";
        // A board that was not kept deals pages again that are there already.
        let mut tx = self.begin_relaxed(district, operation).await?;
        let Some((outcome, _)) = self::change(&mut tx, (district, run, connection), change).await? else {
            return Ok(None);
        };
        tx.commit(operation).await?;
        Ok(Some(outcome))
    }
}

/// [`Store::save_discovery`], within a transaction.
pub(crate) async fn save_discovery_in(
    tx: &mut Tx,
    (district, run, connection): (&DistrictId, RunId, ConnectionNo),
    discovery: &Discovery,
    board: &Board,
) -> Result<bool> {
    let sql = "UPDATE pull SET state = 'fetching', discovery = $4, board = $5, reason = NULL, learned = NULL \
               WHERE district = $1 AND run = $2 AND connection = $3 AND board IS NULL AND state = 'discovering' \
               AND EXISTS (SELECT 1 FROM run WHERE district = $1 AND id = $2 AND ended_at IS NULL)";
    let values = args![district, run, connection, pack(discovery)?, pack(board)?];
    Ok(tx.execute("save what discovery found", sql, values).await? > 0)
}

/// Forgets what discoveries have learned that are not finished, as their run ends.
pub(crate) async fn forget_learned(tx: &mut Tx, district: &DistrictId, run: RunId) -> Result<()> {
    let sql = "UPDATE pull SET learned = NULL WHERE district = $1 AND run = $2 AND learned IS NOT NULL";
    tx.execute("forget what a run's discoveries have learned", sql, args![district, run]).await.map(drop)
}

/// [`Store::with_board`], within a transaction. The second part of what is returned: everything is fetched.
pub(crate) async fn change<T>(
    tx: &mut Tx,
    (district, run, connection): (&DistrictId, RunId, ConnectionNo),
    change: impl FnOnce(&mut Board) -> (T, bool) + Send,
) -> Result<Option<(T, bool)>> {
    let lock = if tx.is_postgres() { LOCK_PG } else { LOCK_LITE };
    let Some(row) = tx.row("change a board", lock, args![district, run, connection]).await? else {
        return Ok(None);
    };
    let before: Board = unpack(&row.get::<Vec<u8>>(0)?)?;
    let mut after = before.clone();
    let (outcome, fetched) = change(&mut after);
    let state = if fetched { "fetched" } else { "fetching" };
    // A message of an older generation changes nothing, and then nothing is written.
    if after != before || row.get::<String>(1)? != state {
        write_board(tx, (district, run, connection), &after, state).await?;
    }
    Ok(Some((outcome, fetched)))
}

/// Every pull of a run is fetched or given up.
pub(crate) async fn are_over(tx: &mut Tx, district: &DistrictId, run: RunId) -> Result<bool> {
    let sql = "SELECT count(*) FROM pull WHERE district = $1 AND run = $2 AND state NOT IN ('fetched', 'failed')";
    let row = tx.row("look how far a run's pulls are", sql, args![district, run]).await?;
    Ok(row.map(|row| row.get::<i64>(0)).transpose()? == Some(0))
}

async fn write_board(
    tx: &mut Tx,
    (district, run, connection): (&DistrictId, RunId, ConnectionNo),
    board: &Board,
    state: &str,
) -> Result<()> {
    let sql = "UPDATE pull SET board = $4, state = $5 WHERE district = $1 AND run = $2 AND connection = $3";
    let values = args![district, run, connection, pack(board)?, state];
    tx.execute("change a board", sql, values).await.map(drop)
}

fn pull(row: &Row) -> Result<Pull> {
    let discovery = row.get::<Option<Vec<u8>>>(2)?;
    Ok(Pull {
        connection: ConnectionNo(row.get(0)?),
        state: pull_state(&row.get::<String>(1)?)?,
        discovery: discovery.map(|bytes| unpack(&bytes)).transpose()?,
        reason: row.get(3)?,
    })
}

fn pull_state(text: &str) -> Result<PullState> {
    Ok(match text {
        "discovering" => PullState::Discovering,
        "fetching" => PullState::Fetching,
        "fetched" => PullState::Fetched,
        "failed" => PullState::Failed,
        _ => return Err(StoreError::Corrupt { what: "state of a pull", detail: "an unknown word".to_owned() }),
    })
}
