//! Bulk rows on PostgreSQL: one statement, one round trip, each column an array (`unnest`).
//!
//! The statement's text depends on table and columns only, so it is prepared once per connection whatever the number
//! of rows.

use std::fmt::Write as _;

use sqlx::{Arguments as _, AssertSqlSafe, PgConnection, error::BoxDynError, postgres::PgArguments};

use super::bulk::{Bulk, Column, OnConflict};

/// What a row of most tables comes to on the wire, so that the buffer seldom grows.
const ROW_BYTES: usize = 512;

/// Writes the rows.
pub(super) async fn write(
    connection: &mut PgConnection,
    bulk: &Bulk<'_>,
    on_conflict: OnConflict,
) -> Result<u64, sqlx::Error> {
    let statement = statement(bulk, on_conflict);
    let arguments = arguments(bulk).map_err(sqlx::Error::Encode)?;
    let done = sqlx::query_with(AssertSqlSafe(statement), arguments).execute(connection).await?;
    Ok(done.rows_affected())
}

/// `INSERT INTO t (a, b, c) SELECT $1::text, unnest($2::text[]), unnest($3::text[])::jsonb …`
///
/// In the select list, not in FROM: there each array would first be written to a store of its own, row by row.
fn statement(bulk: &Bulk<'_>, on_conflict: OnConflict) -> String {
    let mut selected = String::new();
    for (index, (_, column)) in bulk.columns.iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        let (number, (parameter, cast)) = (index + 1, types(column));
        let _ = if column.is_same() {
            write!(selected, "{comma}${number}::{parameter}")
        } else {
            write!(selected, "{comma}unnest(${number}::{parameter}[]){cast}")
        };
    }
    let (names, conflict) = (bulk.names(), bulk.conflict_clause(on_conflict));
    format!("INSERT INTO {} ({names}) SELECT {selected}{conflict}", bulk.table)
}

/// Type of the parameter, and the cast on its way into the table.
const fn types(column: &Column<'_>) -> (&'static str, &'static str) {
    match column {
        Column::SameText(_) | Column::Text(_) => ("text", ""),
        Column::SameUuid(_) | Column::Uuid(_) => ("uuid", ""),
        Column::SameDate(_) | Column::Date(_) => ("date", ""),
        Column::SameBig(_) | Column::Big(_) => ("bigint", ""),
        Column::SameTime(_) => ("timestamptz", ""),
        Column::Json(_) => ("text", "::jsonb"),
        Column::SameInt(_) | Column::Int(_) => ("integer", ""),
        Column::SameBool(_) | Column::Bool(_) => ("boolean", ""),
        Column::Bytes(_) => ("bytea", ""),
    }
}

fn arguments(bulk: &Bulk<'_>) -> Result<PgArguments, BoxDynError> {
    let mut arguments = PgArguments::default();
    arguments.reserve(bulk.columns.len(), bulk.rows * ROW_BYTES);
    for (_, column) in &bulk.columns {
        match column {
            Column::SameText(value) => arguments.add(value),
            Column::SameUuid(value) => arguments.add(value),
            Column::SameDate(value) => arguments.add(value),
            Column::SameBool(value) => arguments.add(value),
            Column::SameInt(value) => arguments.add(value),
            Column::SameBig(value) => arguments.add(value),
            Column::SameTime(value) => arguments.add(value),
            Column::Text(values) => arguments.add(values),
            Column::Json(values) => arguments.add(values),
            Column::Int(values) => arguments.add(values),
            Column::Big(values) => arguments.add(values),
            Column::Bool(values) => arguments.add(values),
            Column::Date(values) => arguments.add(values),
            Column::Uuid(values) => arguments.add(values),
            Column::Bytes(values) => arguments.add(values),
        }?;
    }
    Ok(arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_selected_and_arrays_unnested() {
        let bulk = Bulk {
            table: "t",
            key: &["a"],
            rows: 1,
            columns: vec![
                ("a", Column::SameText(Some("x"))),
                ("b", Column::Json(vec!["[]".into()])),
                ("c", Column::Int(vec![None])),
            ],
        };
        assert_eq!(
            statement(&bulk, OnConflict::Replace),
            "INSERT INTO t (a, b, c) SELECT $1::text, unnest($2::text[])::jsonb, unnest($3::integer[]) \
             ON CONFLICT (a) DO UPDATE SET b = excluded.b, c = excluded.c"
        );
    }
}
