//! The limit on every wait for PostgreSQL. A connection whose other end is gone without a word (half-open TCP: a host that
//! lost its power, a firewall that forgot) is never told from a slow one but by time, and the driver sets none.
//!
//! And on the trust in connections that reach the wrong server: after a failover the old one may live on, standing by, and a
//! session that was opened while the database was set to read-only stays so.
//!
//! Invariants: no transaction waits longer than [`ANSWER`] for one answer, nobody without end for a connection; a connection
//! that gave none, or that takes no writes, is closed, not put back among those at rest.

use std::{
    io,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use sqlx::{Connection as _, postgres::PgConnection};
use tokio::time::{Instant, timeout};

use super::fault;
use crate::StoreError;

/// Longest wait for one answer: several times what the longest statement of ours takes, and longer than the server's own
/// limit on locks.
const ANSWER: Duration = Duration::from_mins(1);

/// Longest wait for a sign of life.
const SIGN: Duration = Duration::from_secs(3);

/// How long connections are asked for signs of life before and after use, once an answer did not come.
const DOUBT: Duration = Duration::from_mins(2);

/// Until when. One for the process, which has one database.
static DOUBTED_UNTIL: Mutex<Option<Instant>> = Mutex::new(None);

/// Until when connections are asked whether they take writes, before and after use, once one did not.
static READ_ONLY_UNTIL: Mutex<Option<Instant>> = Mutex::new(None);

/// Waits for an answer, within the limit.
pub(crate) async fn within<T>(
    operation: &'static str,
    question: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, StoreError> {
    let Ok(answer) = timeout(ANSWER, question).await else {
        doubt(&DOUBTED_UNTIL);
        return Err(fault(operation, silent()));
    };
    answer.map_err(|error| fault(operation, error)).inspect_err(|error| {
        if matches!(error, StoreError::ReadOnly { .. }) {
            doubt(&READ_ONLY_UNTIL);
        }
    })
}

/// Waits for a connection that is being made or closed, `limit` at most.
pub(super) async fn to_connect<T>(
    operation: &'static str,
    limit: Duration,
    connecting: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    timeout(limit, connecting).await.unwrap_or_else(|_| Err(fault(operation, silent())))
}

fn doubt(until: &Mutex<Option<Instant>>) {
    *until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + DOUBT);
}

fn is_doubted(until: &Mutex<Option<Instant>>) -> bool {
    until.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|until| Instant::now() < until)
}

/// Whether a connection may be used (again), as far as it has to be asked for now. False: it takes no writes. An error has it
/// closed without another word.
pub(super) async fn is_fit(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    if is_doubted(&READ_ONLY_UNTIL) {
        return Ok(!is_read_only(connection).await?);
    }
    if is_doubted(&DOUBTED_UNTIL) {
        sign_of_life(connection).await?;
    }
    Ok(true)
}

/// Whether the server takes no writes over this connection.
pub(super) async fn is_read_only(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let asked = sqlx::query_scalar("SELECT current_setting('transaction_read_only') = 'on'").fetch_one(connection);
    let found = timeout(SIGN, asked).await.unwrap_or_else(|_| Err(silent()))?;
    if found {
        doubt(&READ_ONLY_UNTIL);
    }
    Ok(found)
}

/// Asks for a sign of life. An error has the connection closed without another word.
pub(super) async fn sign_of_life(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    timeout(SIGN, connection.ping()).await.unwrap_or_else(|_| Err(silent()))
}

fn silent() -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, "no answer from the server in time"))
}
