//! Transactions, over either engine.

use futures_util::{FutureExt as _, TryStreamExt as _};
use rollcall_proto::{
    failpoint::{Side, Step, reached},
    id::DistrictId,
};
use sqlx::{AssertSqlSafe, Postgres, SqlSafeStr, Sqlite, SqlitePool, Transaction};

use tokio::time::Instant;

use super::{Arg, Engine, Row, Told, arg, fault, patience::within, told};
use crate::{Store, StoreError};

type Result<T> = std::result::Result<T, StoreError>;

/// How often a write on SQLite asks for the write lock before it gives up; each asks for the busy time-out (5 s).
const LOCK_ATTEMPTS: u32 = 3;

/// A transaction. Dropped without [`Tx::commit`], it is rolled back.
pub(crate) enum Tx {
    Pg(Transaction<'static, Postgres>, Told),
    Lite(Transaction<'static, Sqlite>, Told),
}

impl Store {
    /// A transaction that writes rows of one district.
    pub(crate) async fn begin(&self, district: &DistrictId, operation: &'static str) -> Result<Tx> {
        begun(async {
            match &self.engine {
                Engine::Pg(pool) => begin_with(pool, district, "", operation).await,
                Engine::Lite { writer, .. } => begin_sqlite(writer, operation).await,
            }
        })
        .await
    }

    /// [`Store::begin`] for what a reconciler would have done again: on PostgreSQL its commit does not wait for the disk.
    /// A crash of the server may lose the last such commits; it never breaks their order, and a later commit that waits
    /// makes them last.
    pub(crate) async fn begin_relaxed(&self, district: &DistrictId, operation: &'static str) -> Result<Tx> {
        begun(async {
            match &self.engine {
                Engine::Pg(pool) => begin_with(pool, district, "; SET LOCAL synchronous_commit = off", operation).await,
                Engine::Lite { writer, .. } => begin_sqlite(writer, operation).await,
            }
        })
        .await
    }

    /// A transaction that writes what belongs to no district; row-level security shows it nothing else.
    pub(crate) async fn begin_shared(&self, operation: &'static str) -> Result<Tx> {
        match &self.engine {
            Engine::Pg(_) => self.lookout(operation).await,
            Engine::Lite { writer, .. } => begun(begin_sqlite(writer, operation)).await,
        }
    }

    /// A transaction that only reads rows of one district.
    pub(crate) async fn read(&self, district: &DistrictId, operation: &'static str) -> Result<Tx> {
        match &self.engine {
            Engine::Pg(pool) => begun(begin_with(pool, district, "", operation)).await,
            Engine::Lite { .. } => self.lookout(operation).await,
        }
    }

    /// [`Store::read`], all of whose answers are of one moment.
    pub(crate) async fn read_moment(&self, district: &DistrictId, operation: &'static str) -> Result<Tx> {
        let one_moment = "; SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY";
        match &self.engine {
            Engine::Pg(pool) => begun(begin_with(pool, district, one_moment, operation)).await,
            // Every transaction of SQLite sees the moment of its first answer.
            Engine::Lite { .. } => self.lookout(operation).await,
        }
    }

    /// A transaction without a district: on PostgreSQL row-level security shows it nothing, and it lives on what the
    /// `lookout_…` functions return.
    pub(crate) async fn lookout(&self, operation: &'static str) -> Result<Tx> {
        begun(async {
            match &self.engine {
                Engine::Pg(pool) => {
                    let begun = within(operation, pool.begin()).await?;
                    Ok(Tx::Pg(begun, Told::postgres(pool)))
                }
                Engine::Lite { readers, .. } => {
                    let begun = readers.begin().await.map_err(|error| fault(operation, error))?;
                    Ok(Tx::Lite(begun, Told::sqlite()))
                }
            }
        })
        .await
    }
}

/// Begins, and measures how long that takes. On the heap: the library's futures would make every caller's a large one.
async fn begun(beginning: impl Future<Output = Result<Tx>> + Send) -> Result<Tx> {
    let since = Instant::now();
    let result = Box::pin(beginning).await;
    told::begun(since, &result);
    result
}

/// Begins and names the district in one round trip. The id is safe in a literal: its type admits `a-z`, `0-9`, `-` only.
async fn begin_with(
    pool: &sqlx::PgPool,
    district: &DistrictId,
    settings: &'static str,
    operation: &'static str,
) -> Result<Tx> {
    let statement = AssertSqlSafe(format!("BEGIN; SET LOCAL rollcall.district = '{district}'{settings}"));
    let begun = within(operation, pool.begin_with(statement)).await?;
    Ok(Tx::Pg(begun, Told::postgres(pool)))
}

async fn begin_sqlite(writer: &SqlitePool, operation: &'static str) -> Result<Tx> {
    let mut attempt = 1;
    loop {
        let error = match writer.begin_with("BEGIN IMMEDIATE").await {
            Ok(begun) => return Ok(Tx::Lite(begun, Told::sqlite())),
            Err(error) => fault(operation, error),
        };
        if attempt == LOCK_ATTEMPTS || !error.is_transient() {
            return Err(error);
        }
        attempt += 1;
    }
}

/// Waits for SQLite, which needs no limit: a lock has its own, and there is no network.
async fn at_ease<T>(
    operation: &'static str,
    question: impl Future<Output = std::result::Result<T, sqlx::Error>>,
) -> Result<T> {
    question.await.map_err(|error| fault(operation, error))
}

/// Runs `$body` with `$query` bound on whichever engine `$tx` is, and with the engine's way to wait for an answer.
macro_rules! on {
    ($tx:expr, $operation:expr, $sql:expr, $args:expr, |$query:ident, $conn:ident, $wrap:ident, $wait:ident| $body:expr) => {
        match $tx {
            Tx::Pg($conn, _) => {
                use within as $wait;
                let bound = arg::to_postgres($args).map_err(|error| fault($operation, error))?;
                let $query = sqlx::query_with::<Postgres, _>($sql, bound);
                let $wrap = Row::Pg;
                $body
            }
            Tx::Lite($conn, _) => {
                use at_ease as $wait;
                let bound = arg::to_sqlite($args).map_err(|error| fault($operation, error))?;
                let $query = sqlx::query_with::<Sqlite, _>($sql, bound);
                let $wrap = Row::Lite;
                $body
            }
        }
    };
}

impl Tx {
    /// Which SQL to speak, where the engines differ.
    pub(crate) const fn is_postgres(&self) -> bool {
        matches!(self, Self::Pg(..))
    }

    /// What is told of it.
    pub(crate) const fn told(&self) -> &Told {
        match self {
            Self::Pg(_, told) | Self::Lite(_, told) => told,
        }
    }

    /// Runs a statement. Returns how many rows it touched.
    pub(crate) async fn execute(&mut self, operation: &'static str, sql: &'static str, args: Vec<Arg>) -> Result<u64> {
        let span = self.told().statement(operation, sql);
        let result = self.execute_untold(operation, sql, args).await;
        told::finish(span, &result);
        result
    }

    /// [`Tx::execute`] for a part of what is told of elsewhere.
    pub(super) async fn execute_untold(
        &mut self,
        operation: &'static str,
        sql: impl SqlSafeStr,
        args: Vec<Arg>,
    ) -> Result<u64> {
        on!(self, operation, sql, args, |query, conn, _wrap, wait| {
            let done = wait(operation, query.execute(&mut **conn)).await?;
            Ok(done.rows_affected())
        })
    }

    /// All rows of an answer.
    pub(crate) async fn rows(
        &mut self,
        operation: &'static str,
        sql: &'static str,
        args: Vec<Arg>,
    ) -> Result<Vec<Row>> {
        let span = self.told().statement(operation, sql);
        let result = self.rows_untold(operation, sql, args).await;
        told::finish(span, &result);
        result
    }

    async fn rows_untold(&mut self, operation: &'static str, sql: &'static str, args: Vec<Arg>) -> Result<Vec<Row>> {
        on!(self, operation, sql, args, |query, conn, wrap, wait| {
            let rows = wait(operation, query.fetch_all(&mut **conn)).await?;
            Ok(rows.into_iter().map(wrap).collect())
        })
    }

    /// The first row of an answer, if there is one.
    pub(crate) async fn row(
        &mut self,
        operation: &'static str,
        sql: &'static str,
        args: Vec<Arg>,
    ) -> Result<Option<Row>> {
        let span = self.told().statement(operation, sql);
        let result = self.row_untold(operation, sql, args).await;
        told::finish(span, &result);
        result
    }

    async fn row_untold(&mut self, operation: &'static str, sql: &'static str, args: Vec<Arg>) -> Result<Option<Row>> {
        on!(self, operation, sql, args, |query, conn, wrap, wait| {
            let row = wait(operation, query.fetch_optional(&mut **conn)).await?;
            Ok(row.map(wrap))
        })
    }

    /// The rows of an answer one by one, for answers too large to be held twice.
    pub(crate) async fn each(
        &mut self,
        operation: &'static str,
        sql: &'static str,
        args: Vec<Arg>,
        take: impl FnMut(Row) -> Result<()> + Send,
    ) -> Result<()> {
        let span = self.told().statement(operation, sql);
        let result = self.each_untold(operation, sql, args, take).await;
        told::finish(span, &result);
        result
    }

    async fn each_untold(
        &mut self,
        operation: &'static str,
        sql: &'static str,
        args: Vec<Arg>,
        mut take: impl FnMut(Row) -> Result<()> + Send,
    ) -> Result<()> {
        on!(self, operation, sql, args, |query, conn, wrap, wait| {
            let mut rows = query.fetch(&mut **conn);
            loop {
                // What has arrived needs no limit, which would cost more than the row.
                let arrived = rows.try_next().now_or_never().map(|row| row.map_err(|error| fault(operation, error)));
                let row = match arrived {
                    Some(row) => row?,
                    None => wait(operation, rows.try_next()).await?,
                };
                match row {
                    Some(row) => take(wrap(row))?,
                    None => return Ok(()),
                }
            }
        })
    }

    /// Makes the transaction's work last.
    pub(crate) async fn commit(self, operation: &'static str) -> Result<()> {
        reached(Step::Commit, operation, Side::Before);
        let span = self.told().statement(operation, "COMMIT");
        let (result, mut told) = match self {
            Self::Pg(tx, told) => (within(operation, tx.commit()).await, told),
            Self::Lite(tx, told) => (at_ease(operation, tx.commit()).await, told),
        };
        told::finish(span, &result);
        if result.is_ok() {
            told.committed();
            reached(Step::Commit, operation, Side::After);
        }
        result
    }
}
