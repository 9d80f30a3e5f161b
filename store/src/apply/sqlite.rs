//! Bulk rows on SQLite: `INSERT … VALUES` of many rows, in a few fixed sizes so that each is prepared once.
//!
//! A statement is a trip to the driver's thread, so fewer and larger ones win, up to some thousand parameters.

use sqlx::{Arguments as _, AssertSqlSafe, SqliteConnection, error::BoxDynError, sqlite::SqliteArguments};

use super::bulk::{Bulk, Column, OnConflict};

/// Rows per statement, largest first.
const SIZES: [usize; 3] = [64, 8, 1];

/// Writes the rows.
pub(super) async fn write(
    connection: &mut SqliteConnection,
    bulk: &Bulk<'_>,
    on_conflict: OnConflict,
) -> Result<u64, sqlx::Error> {
    let mut written = 0;
    let mut row = 0;
    for size in SIZES {
        if bulk.rows - row < size {
            continue;
        }
        let statement = statement(bulk, on_conflict, size);
        while bulk.rows - row >= size {
            let arguments = arguments(bulk, row..row + size).map_err(sqlx::Error::Encode)?;
            let query = sqlx::query_with(AssertSqlSafe(statement.as_str()), arguments);
            written += query.execute(&mut *connection).await?.rows_affected();
            row += size;
        }
    }
    Ok(written)
}

fn statement(bulk: &Bulk<'_>, on_conflict: OnConflict, rows: usize) -> String {
    let one = format!("({})", vec!["?"; bulk.columns.len()].join(", "));
    let all = vec![one.as_str(); rows].join(", ");
    format!("INSERT INTO {} ({}) VALUES {all}{}", bulk.table, bulk.names(), bulk.conflict_clause(on_conflict))
}

fn arguments(bulk: &Bulk<'_>, rows: std::ops::Range<usize>) -> Result<SqliteArguments, BoxDynError> {
    let mut arguments = SqliteArguments::default();
    arguments.reserve(rows.len() * bulk.columns.len(), 0);
    for row in rows {
        for (_, column) in &bulk.columns {
            add(&mut arguments, column, row)?;
        }
    }
    Ok(arguments)
}

fn add(arguments: &mut SqliteArguments, column: &Column<'_>, row: usize) -> Result<(), BoxDynError> {
    match column {
        Column::SameText(value) => arguments.add(*value),
        Column::SameUuid(value) => arguments.add(value),
        Column::SameDate(value) => arguments.add(value),
        Column::SameBool(value) => arguments.add(value),
        Column::SameInt(value) => arguments.add(value),
        Column::SameBig(value) => arguments.add(value),
        Column::SameTime(value) => arguments.add(value),
        Column::Text(values) => arguments.add(values[row]),
        Column::Json(values) => arguments.add(values[row].as_ref()),
        Column::Int(values) => arguments.add(values[row]),
        Column::Big(values) => arguments.add(values[row]),
        Column::Bool(values) => arguments.add(values[row]),
        Column::Date(values) => arguments.add(values[row]),
        Column::Uuid(values) => arguments.add(values[row]),
        Column::Bytes(values) => arguments.add(values[row]),
    }
}
