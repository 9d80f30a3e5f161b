//! Many rows of one table, column by column: the one shape that both engines' fastest statements are made from.
//!
//! Neighbours: [`rows`](super::rows) fills it; [`postgres`](super::postgres) and [`sqlite`](super::sqlite) write it.
//!
//! Invariant: all columns hold the same number of values, except the `Same…` ones, which hold one for all rows. Table
//! and column names are constants of this program, never data.

use std::borrow::Cow;

use chrono::{DateTime, NaiveDate, Utc};
use uuid::Uuid;

use crate::{
    StoreError,
    sql::{Tx, fault, finish, within},
};

/// The values of one column.
pub(crate) enum Column<'a> {
    /// One text for all rows.
    SameText(Option<&'a str>),
    /// One id for all rows.
    SameUuid(Option<Uuid>),
    /// One date for all rows.
    SameDate(Option<NaiveDate>),
    /// One boolean for all rows.
    SameBool(Option<bool>),
    /// One 32-bit number for all rows.
    SameInt(Option<i32>),
    /// One number for all rows.
    SameBig(i64),
    /// One time for all rows.
    SameTime(DateTime<Utc>),
    /// Text.
    Text(Vec<Option<&'a str>>),
    /// JSON, already written.
    Json(Vec<Cow<'static, str>>),
    /// 32-bit numbers.
    Int(Vec<Option<i32>>),
    /// 64-bit numbers.
    Big(Vec<i64>),
    /// Booleans.
    Bool(Vec<Option<bool>>),
    /// Dates.
    Date(Vec<Option<NaiveDate>>),
    /// Run ids.
    Uuid(Vec<Option<Uuid>>),
    /// Byte strings.
    Bytes(Vec<&'a [u8]>),
}

impl Column<'_> {
    /// Whether it is one value for all rows.
    pub(crate) const fn is_same(&self) -> bool {
        !matches!(
            self,
            Self::Text(_)
                | Self::Json(_)
                | Self::Int(_)
                | Self::Big(_)
                | Self::Bool(_)
                | Self::Date(_)
                | Self::Uuid(_)
                | Self::Bytes(_)
        )
    }

    /// One value in place of many that are alike, which PostgreSQL then takes out of no array. For columns that mostly are, as
    /// each choice of columns is a statement to prepare.
    pub(crate) fn united(self) -> Self {
        match &self {
            Self::Text(values) => one(values).map(Self::SameText),
            Self::Int(values) => one(values).map(Self::SameInt),
            Self::Big(values) => one(values).map(Self::SameBig),
            Self::Bool(values) => one(values).map(Self::SameBool),
            Self::Date(values) => one(values).map(Self::SameDate),
            Self::Uuid(values) => one(values).map(Self::SameUuid),
            _ => None,
        }
        .unwrap_or(self)
    }
}

/// The value that all are. `None`: they differ, or there are none.
fn one<T: Copy + PartialEq>(values: &[T]) -> Option<T> {
    let first = *values.first()?;
    values.iter().all(|value| *value == first).then_some(first)
}

/// What happens to a row whose key is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnConflict {
    /// The database refuses the statement.
    Refuse,
    /// The stored row stays.
    Keep,
    /// The row replaces the stored one.
    Replace,
    /// The row replaces the stored one if it differs in more than the run: an unchanged night writes nothing.
    ReplaceChanged,
    /// The row replaces the stored one, unless a newer run has written that.
    ReplaceOlder,
}

/// See the module.
pub(crate) struct Bulk<'a> {
    /// Table.
    pub(crate) table: &'static str,
    /// Its primary key, as a column list.
    pub(crate) key: &'static [&'static str],
    /// How many rows.
    pub(crate) rows: usize,
    /// The columns, by name.
    pub(crate) columns: Vec<(&'static str, Column<'a>)>,
}

impl Bulk<'_> {
    /// Writes the rows; none is no statement. Returns how many rows were written.
    pub(crate) async fn write(
        &self,
        tx: &mut Tx,
        on_conflict: OnConflict,
        operation: &'static str,
    ) -> Result<u64, StoreError> {
        if self.rows == 0 {
            return Ok(0);
        }
        let span = tx.told().bulk(operation, self.table, self.rows);
        let written = match tx {
            Tx::Pg(connection, _) => within(operation, super::postgres::write(connection, self, on_conflict)).await,
            Tx::Lite(connection, _) => {
                let written = super::sqlite::write(connection, self, on_conflict).await;
                written.map_err(|error| fault(operation, error))
            }
        };
        finish(span, &written);
        written
    }

    /// The column names, comma separated.
    pub(crate) fn names(&self) -> String {
        self.columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }

    /// The `ON CONFLICT` clause.
    pub(crate) fn conflict_clause(&self, on_conflict: OnConflict) -> String {
        let (key, table) = (self.key.join(", "), self.table);
        match on_conflict {
            OnConflict::Refuse => String::new(),
            OnConflict::Keep => format!(" ON CONFLICT ({key}) DO NOTHING"),
            OnConflict::Replace => format!(" ON CONFLICT ({key}) DO UPDATE SET {}", self.assignments()),
            OnConflict::ReplaceChanged => {
                let facts = self.updated().filter(|name| *name != "run");
                let (stored, given): (Vec<_>, Vec<_>) =
                    facts.map(|name| (format!("{table}.{name}"), format!("excluded.{name}"))).unzip();
                format!(
                    " ON CONFLICT ({key}) DO UPDATE SET {} WHERE ({}) IS DISTINCT FROM ({})",
                    self.assignments(),
                    stored.join(", "),
                    given.join(", ")
                )
            }
            OnConflict::ReplaceOlder => format!(
                " ON CONFLICT ({key}) DO UPDATE SET {} WHERE {table}.run_seq <= excluded.run_seq",
                self.assignments()
            ),
        }
    }

    fn assignments(&self) -> String {
        let assign = |name: &str| format!("{name} = excluded.{name}");
        self.updated().map(assign).collect::<Vec<_>>().join(", ")
    }

    /// Columns outside the key.
    fn updated(&self) -> impl Iterator<Item = &'static str> {
        self.columns.iter().map(|(name, _)| *name).filter(|name| !self.key.contains(name))
    }
}

/// A list as JSON. Empty ones, which are most, cost nothing.
pub(crate) fn json<T: serde::Serialize>(list: &[T]) -> Result<Cow<'static, str>, StoreError> {
    if list.is_empty() {
        return Ok(Cow::Borrowed("[]"));
    }
    let written = serde_json::to_string(list).map_err(|error| corrupt_json(&error))?;
    Ok(Cow::Owned(written))
}

/// A serde error without what it repeats of the value.
pub(crate) fn corrupt_json(error: &serde_json::Error) -> StoreError {
    let detail = format!("{:?} at line {}, column {}", error.classify(), error.line(), error.column());
    StoreError::Corrupt { what: "list", detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_united_where_all_values_are_alike() {
        assert!(matches!(Column::Text(vec![Some("a"), Some("a")]).united(), Column::SameText(Some("a"))));
        assert!(matches!(Column::Date(vec![None, None]).united(), Column::SameDate(None)));
        assert!(matches!(Column::Big(vec![7]).united(), Column::SameBig(7)));
        assert!(matches!(Column::Text(vec![Some("a"), None]).united(), Column::Text(_)));
        assert!(matches!(Column::Int(vec![]).united(), Column::Int(_)));
    }
}
