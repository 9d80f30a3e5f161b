//! Opening the two engines.

use std::{net::IpAddr, path::Path, str::FromStr as _, sync::Arc, time::Duration};

use rollcall_proto::private;
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::{
    ConnectOptions as _, Connection as _, Executor as _, PgPool, SqlitePool,
    pool::PoolConnectionMetadata,
    postgres::{PgConnectOptions, PgConnection, PgPoolOptions, PgSslMode},
    sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{fault, migrate, patience};
use crate::StoreError;

/// How long a transaction waits for a connection, and a process that starts for its first.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(15);
/// How long SQLite waits for another process's write.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Statements kept prepared on a connection; more than this crate has.
const PREPARED: usize = 256;
/// A connection that rested longer is asked for a sign of life before it is used.
const RESTED: Duration = Duration::from_secs(5);
/// Connections that a worker opens when it starts, and keeps: opened at the beginning of a night, each costs more than a
/// hundred statements.
const KEPT_OPEN: u32 = 4;
/// Connections that read from SQLite.
const READERS: u32 = 4;

/// What a worker's connection is: rights of `rollcall_app` only, and limits after which the server ends a transaction
/// that a stopped process left behind, so that nobody waits for its locks for ever. No just-in-time compilation: it costs
/// more than any statement of ours takes.
const AS_WORKER: &str = "SET ROLE rollcall_app; SET idle_in_transaction_session_timeout = '60s'; \
                         SET lock_timeout = '15s'; SET jit = off";

/// Asked before each commit of the embedded store, on the thread that commits: where it says no, nothing is written.
pub type CommitGate = Arc<dyn Fn() -> bool + Send + Sync>;

/// The database.
#[derive(Debug, Clone)]
pub(crate) enum Engine {
    /// PostgreSQL, over TCP or a Unix socket.
    Pg(PgPool),
    /// SQLite: one connection writes, others read.
    Lite {
        /// The connection that writes.
        writer: SqlitePool,
        /// Those that read.
        readers: SqlitePool,
    },
}

/// Whether nothing of what is said to the database can be read or answered by anybody else: it is on this machine, or its
/// certificate is checked, name and all. What the environment adds to the URL (`PGHOST`, `PGSSLMODE`) counts.
pub(crate) fn is_private(url: &SecretString) -> Result<bool, StoreError> {
    let options = options(url)?;
    let local = options.get_socket().is_some() || is_this_machine(options.get_host());
    Ok(local || matches!(options.get_ssl_mode(), PgSslMode::VerifyFull))
}

/// Whether a server's host, as its URL has it, is this machine: `localhost`, or a loopback address. A name that only resolves to
/// one is not, since it may resolve to another tomorrow.
pub fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn options(url: &SecretString) -> Result<PgConnectOptions, StoreError> {
    let options = PgConnectOptions::from_str(url.expose_secret()).map_err(|_| StoreError::Refused {
        operation: "read the database's URL",
        class: "it is not of the form postgres://user:password@host/database".to_owned(),
    })?;
    // Statements are not logged: who called the store logs what it did for which run.
    Ok(options.application_name("rollcall").statement_cache_capacity(PREPARED).disable_statement_logging())
}

/// One connection as the user that the URL names.
///
/// # Errors
/// [`StoreError::Unavailable`] too where whoever accepts the connection says nothing.
pub(super) async fn open_as_owner(url: &SecretString, operation: &'static str) -> Result<PgConnection, StoreError> {
    let options = options(url)?;
    let connecting = async { PgConnection::connect_with(&options).await.map_err(|error| fault(operation, error)) };
    patience::to_connect(operation, ACQUIRE_TIMEOUT, connecting).await
}

impl Engine {
    /// Connects to PostgreSQL as a worker, after the schema has been found to be the right one.
    pub(crate) async fn postgres(url: &SecretString, connections: u32) -> Result<Self, StoreError> {
        let operation = "connect to the database";
        let mut first = open_as_owner(url, operation).await?;
        let checking = async {
            migrate::check_postgres(&mut first).await?;
            first.close().await.map_err(|error| fault(operation, error))
        };
        patience::to_connect(operation, ACQUIRE_TIMEOUT, checking).await?;
        let pool = PgPoolOptions::new()
            .max_connections(connections.max(1))
            .min_connections(KEPT_OPEN.min(connections))
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .test_before_acquire(false)
            .before_acquire(|connection, meta| Box::pin(alive(connection, meta)))
            .after_release(|connection, _| Box::pin(unsuspected(connection)))
            .after_connect(|connection, _| Box::pin(async move { connection.execute(AS_WORKER).await.map(drop) }))
            .connect_with(options(url)?)
            .await
            .map_err(|error| fault(operation, error))?;
        Ok(Self::Pg(pool))
    }

    /// Opens the file `dir/store.db`, making and migrating it as needed. `gate` is asked before each commit.
    pub(crate) async fn sqlite(dir: &Path, gate: Option<CommitGate>) -> Result<Self, StoreError> {
        let operation = "open the embedded store";
        let path = dir.join("store.db");
        prepare(dir, &path).await.map_err(|error| fault(operation, error.into()))?;
        let writer = sqlite_pool(&path, 1, "OFF", gate).await.map_err(|error| fault(operation, error))?;
        migrate::sqlite(&writer, dir).await?;
        let readers = sqlite_pool(&path, READERS, "ON", None).await.map_err(|error| fault(operation, error))?;
        Ok(Self::Lite { writer, readers })
    }

    /// Is the schema the program's own, and not a later one? Who has to know every table asks.
    pub(crate) async fn check_own(&self) -> Result<(), StoreError> {
        match self {
            Self::Pg(pool) => {
                let operation = "check the database";
                migrate::check_own(&mut *pool.acquire().await.map_err(|error| fault(operation, error))?).await
            }
            Self::Lite { readers, .. } => migrate::check_sqlite(readers).await,
        }
    }

    /// Can the database be reached, at the right schema, and does it take writes?
    pub(crate) async fn check(&self) -> Result<(), StoreError> {
        match self {
            Self::Pg(pool) => {
                let operation = "check the database";
                let mut connection = pool.acquire().await.map_err(|error| fault(operation, error))?;
                migrate::check_postgres(&mut connection).await?;
                let read_only =
                    patience::is_read_only(&mut connection).await.map_err(|error| fault(operation, error))?;
                if read_only { Err(StoreError::ReadOnly { operation: "take what is written" }) } else { Ok(()) }
            }
            Self::Lite { readers, .. } => migrate::check_sqlite(readers).await,
        }
    }
}

/// A connection fresh from work is taken to be alive: a broken one costs the one transaction that finds it a retry.
async fn alive(connection: &mut PgConnection, meta: PoolConnectionMetadata) -> Result<bool, sqlx::Error> {
    if meta.idle_for > RESTED {
        patience::sign_of_life(connection).await?;
    }
    patience::is_fit(connection).await
}

/// The driver asks a connection that comes back for a sign of life too, and would wait for ever: where answers did not
/// come lately, it is asked with a limit before.
async fn unsuspected(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    patience::is_fit(connection).await
}

/// Directory and file, readable by their owner only.
async fn prepare(dir: &Path, path: &Path) -> std::io::Result<()> {
    tokio::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).await?;
    private::database_file(path)
}

/// `synchronous = NORMAL`: nothing committed is lost when a process is killed; when the power fails, the last commits
/// may be, and the store is then consistent as of a moment earlier. What follows from that moment on is republished by
/// the reconciler, and no message is acted upon without asking the store. `FULL` would wait for the disk twice a page.
async fn sqlite_pool(
    path: &Path,
    connections: u32,
    query_only: &'static str,
    gate: Option<CommitGate>,
) -> Result<SqlitePool, sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true)
        .statement_cache_capacity(PREPARED)
        .pragma("query_only", query_only)
        // What is deleted or changed is written over.
        .pragma("secure_delete", "ON")
        .pragma("cache_size", "-16000")
        .disable_statement_logging();
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .before_acquire(|connection, _| Box::pin(std::future::ready(Ok(is_at_rest(connection)))))
        .after_connect(move |connection, _| Box::pin(hang_gate(connection, gate.clone())))
        .connect_with(options)
        .await
}

/// Where SQLite itself undoes a transaction (the disk is full, or fails), the driver goes on counting it, and would refuse
/// every later one. Such a connection is closed, and another opened.
fn is_at_rest(connection: &SqliteConnection) -> bool {
    !connection.is_in_transaction()
}

async fn hang_gate(connection: &mut SqliteConnection, gate: Option<CommitGate>) -> Result<(), sqlx::Error> {
    if let Some(gate) = gate {
        connection.lock_handle().await?.set_commit_hook(move || gate());
    }
    Ok(())
}
