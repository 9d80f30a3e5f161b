//! Spans and metrics of transactions and statements, by OpenTelemetry's conventions for database clients
//! (<https://opentelemetry.io/docs/specs/semconv/database/database-spans/>).
//!
//! Invariant: neither the text of a statement nor a value leaves the process; the summary (verb and table) does.

use std::{cell::RefCell, collections::HashMap, sync::Arc};

use opentelemetry::KeyValue;
use rollcall_proto::telemetry::{Spanned, metric, span};
use tokio::time::Instant;

use crate::StoreError;

/// What is told of a transaction: counted as rolled back unless it was committed.
#[derive(Debug)]
pub(crate) struct Told {
    committed: bool,
    /// Which database, where spans are recorded.
    database: Option<Arc<[KeyValue]>>,
}

impl Told {
    /// Of a transaction on PostgreSQL.
    pub(super) fn postgres(pool: &sqlx::PgPool) -> Self {
        let database = span::is_on().then(|| {
            let options = pool.connect_options();
            let mut attributes = vec![
                KeyValue::new("db.system.name", "postgresql"),
                KeyValue::new("server.address", options.get_host().to_owned()),
                KeyValue::new("server.port", i64::from(options.get_port())),
            ];
            attributes.extend(options.get_database().map(|name| KeyValue::new("db.namespace", name.to_owned())));
            attributes.into()
        });
        Self { committed: false, database }
    }

    /// Of a transaction on SQLite.
    pub(super) fn sqlite() -> Self {
        let database = span::is_on().then(|| [KeyValue::new("db.system.name", "sqlite")].into());
        Self { committed: false, database }
    }

    /// Begins the span of a statement.
    pub(crate) fn statement(&self, operation: &'static str, sql: &'static str) -> Option<Spanned> {
        let database = self.database.as_ref()?;
        let summary = summary(sql);
        Spanned::client(summary.text.clone(), || {
            let mut attributes = Vec::with_capacity(database.len() + 8);
            attributes.extend(database.iter().cloned());
            attributes.push(KeyValue::new("db.operation.name", summary.verb.clone()));
            attributes.push(KeyValue::new("db.query.summary", summary.text.clone()));
            attributes.push(KeyValue::new("rollcall.store.operation", operation));
            attributes.extend(summary.table.clone().map(|table| KeyValue::new("db.collection.name", table)));
            attributes
        })
    }

    /// Begins the span of a statement that writes many rows.
    pub(crate) fn bulk(&self, operation: &'static str, table: &'static str, rows: usize) -> Option<Spanned> {
        let database = self.database.as_ref()?;
        Spanned::client(format!("INSERT {table}"), || {
            let mut attributes = Vec::with_capacity(database.len() + 8);
            attributes.extend(database.iter().cloned());
            attributes.push(KeyValue::new("db.operation.name", "INSERT"));
            attributes.push(KeyValue::new("db.collection.name", table));
            attributes.push(KeyValue::new("db.query.summary", format!("INSERT {table}")));
            attributes.push(KeyValue::new("rollcall.store.operation", operation));
            if rows > 1 {
                attributes.push(KeyValue::new("db.operation.batch.size", rows as i64));
            }
            attributes
        })
    }

    pub(super) fn committed(&mut self) {
        self.committed = true;
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        let outcome = if self.committed { "committed" } else { "rolled-back" };
        metrics::counter!(metric::STORE_TRANSACTIONS, "outcome" => outcome).increment(1);
    }
}

/// A transaction has begun, or could not be.
pub(super) fn begun<T>(since: Instant, result: &Result<T, StoreError>) {
    metrics::histogram!(metric::STORE_ACQUIRE).record(since.elapsed().as_secs_f64());
    finish::<T>(None, result);
}

/// A statement is done.
pub(crate) fn finish<T>(span: Option<Spanned>, result: &Result<T, StoreError>) {
    if let Err(error) = result {
        let class = if error.is_transient() { "transient" } else { "permanent" };
        metrics::counter!(metric::STORE_ERRORS, "class" => class).increment(1);
    }
    let Some(span) = span else { return };
    match result {
        Ok(_) => {}
        Err(StoreError::Refused { class, .. }) => {
            span.set("db.response.status_code", class.clone());
            span.fail(class.clone());
        }
        Err(StoreError::Unavailable { source, .. }) => {
            let code = source.as_database_error().and_then(sqlx::error::DatabaseError::code);
            span.fail(code.map_or_else(|| "unavailable".to_owned(), std::borrow::Cow::into_owned));
        }
        Err(StoreError::ReadOnly { .. }) => span.fail("read-only"),
        Err(_) => span.fail("_OTHER"),
    }
    span.end();
}

/// What a statement is about.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Summary {
    verb: Arc<str>,
    table: Option<Arc<str>>,
    text: String,
}

thread_local! {
    /// By the address of the statement's text, which is the program's own.
    static SUMMARIES: RefCell<HashMap<usize, Summary>> = RefCell::new(HashMap::new());
}

fn summary(sql: &'static str) -> Summary {
    SUMMARIES.with_borrow_mut(|known| known.entry(sql.as_ptr() as usize).or_insert_with(|| summarise(sql)).clone())
}

/// Verb and first table. A common table expression is looked through to the statement that it is for.
fn summarise(sql: &str) -> Summary {
    const VERBS: [&str; 4] = ["SELECT", "INSERT", "UPDATE", "DELETE"];
    let words: Vec<&str> = sql.split(|letter: char| letter.is_whitespace() || "(),;".contains(letter)).collect();
    let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
    let first = words.first().map(|word| word.to_ascii_uppercase()).unwrap_or_default();
    let verb = if first == "WITH" {
        let later = words.iter().rev().find(|word| VERBS.contains(word));
        later.map_or(first, |word| (*word).to_owned())
    } else {
        first
    };
    let before = match verb.as_str() {
        "INSERT" => "INTO",
        "UPDATE" => "UPDATE",
        _ => "FROM",
    };
    let table = words.iter().position(|word| *word == before).and_then(|at| words.get(at + 1));
    let table = table.filter(|table| table.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'));
    let text = table.map_or_else(|| verb.clone(), |table| format!("{verb} {table}"));
    Summary { verb: verb.into(), table: table.map(|table| (*table).into()), text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_summed_up_by_its_verb_and_table() {
        for (sql, expected) in [
            ("SELECT id FROM run WHERE district = $1", "SELECT run"),
            ("INSERT INTO page (district, run) VALUES ($1, $2)", "INSERT page"),
            ("UPDATE run SET stage = 'closed'", "UPDATE run"),
            ("DELETE FROM plan_batch WHERE district = $1", "DELETE plan_batch"),
            ("WITH x AS (SELECT 1 FROM page) UPDATE run SET stage = 'plan'", "UPDATE run"),
            ("SELECT district, run FROM lookout_open_runs()", "SELECT lookout_open_runs"),
            ("COMMIT", "COMMIT"),
        ] {
            assert_eq!(summarise(sql).text, expected);
        }
    }
}
