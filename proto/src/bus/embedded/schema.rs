//! The queue file: how it is opened, and its tables.
//!
//! Rows of `messages` are small, so that claiming and renewing never rewrites a body of megabytes; bodies stand apart and
//! go with their message.

use std::{path::Path, time::Duration};

use sqlx::{
    ConnectOptions as _, Connection as _, Row as _, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::private;

/// Kept in `PRAGMA user_version`.
const VERSION: i64 = 1;

/// How long one statement waits for another process's transaction.
const BUSY: Duration = Duration::from_secs(5);

/// `state`: 0 ready, 1 put off, 2 leased. `due`: when a row that is not ready becomes so, in microseconds since 1970.
/// `turn`: the order in which ready rows are claimed.
const SCHEMA: &str = "
CREATE TABLE messages (
    seq INTEGER PRIMARY KEY,
    queue TEXT NOT NULL,
    id BLOB NOT NULL,
    district TEXT NOT NULL,
    run BLOB NOT NULL,
    kind TEXT NOT NULL,
    traceparent TEXT NOT NULL,
    encoding TEXT,
    attempt INTEGER NOT NULL,
    turn INTEGER NOT NULL,
    deliveries INTEGER NOT NULL DEFAULT 0,
    state INTEGER NOT NULL DEFAULT 0,
    due INTEGER NOT NULL DEFAULT 0,
    lease INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX messages_ready ON messages (queue, turn, seq) WHERE state = 0;
CREATE INDEX messages_due ON messages (due) WHERE state <> 0;
CREATE INDEX messages_lease ON messages (lease) WHERE state = 2;
CREATE INDEX messages_turn ON messages (queue, district, turn);
CREATE TABLE bodies (seq INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
CREATE TRIGGER messages_gone AFTER DELETE ON messages BEGIN
    DELETE FROM bodies WHERE seq = old.seq;
END;
CREATE TABLE parked (
    seq INTEGER PRIMARY KEY,
    queue TEXT NOT NULL,
    id BLOB NOT NULL,
    district TEXT NOT NULL,
    run BLOB NOT NULL,
    kind TEXT NOT NULL,
    traceparent TEXT NOT NULL,
    encoding TEXT,
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    parked_at INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE INDEX parked_queue ON parked (queue, seq);
PRAGMA user_version = 1;
";

/// The one connection that writes. The file is its owner's alone, and what is deleted is written over: bodies are pages and
/// events of students, in the clear.
pub(super) async fn open_writer(path: &Path) -> Result<SqliteConnection, sqlx::Error> {
    private::database_file(path)?;
    let options = options(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("secure_delete", "ON");
    let mut connection = options.connect().await?;
    migrate(&mut connection).await?;
    Ok(connection)
}

/// Connections that look.
pub(super) async fn open_readers(path: &Path) -> Result<SqlitePool, sqlx::Error> {
    SqlitePoolOptions::new().max_connections(2).connect_with(options(path).read_only(true)).await
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new().filename(path).busy_timeout(BUSY).disable_statement_logging()
}

async fn migrate(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let version: i64 = sqlx::query("PRAGMA user_version").fetch_one(&mut *transaction).await?.try_get(0)?;
    match version {
        VERSION => {}
        0 => {
            sqlx::raw_sql(SCHEMA).execute(&mut *transaction).await?;
        }
        newer => {
            let text =
                format!("the queue file is of version {newer}, this program knows {VERSION}: use a newer program");
            return Err(sqlx::Error::Configuration(text.into()));
        }
    }
    transaction.commit().await
}
