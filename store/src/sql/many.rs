//! One statement for many rows that are computed from what is given, where [`Bulk`](crate::apply::bulk::Bulk)'s columns are not enough.
//!
//! Invariant: the text depends on the statement and on one of a few sizes alone, so that each is prepared once for a connection.

use std::fmt::Write as _;

use sqlx::AssertSqlSafe;

use super::{Arg, Tx, finish};
use crate::StoreError;

/// Rows of one statement, largest first.
const SIZES: [usize; 3] = [64, 8, 1];

/// `INSERT INTO {table} ({columns}) VALUES {row}, {row}, … {conflict}`.
pub(crate) struct ManyRows {
    /// Table.
    pub(crate) table: &'static str,
    /// Its columns.
    pub(crate) columns: &'static str,
    /// One row, in parentheses. Its first parameters are those that all rows share, the others are its own.
    pub(crate) row: &'static str,
    /// What happens to a row that is there already; no key is given twice.
    pub(crate) conflict: &'static str,
}

impl ManyRows {
    /// Writes the rows. Each has as many parameters of its own; `shared` come before them.
    pub(crate) async fn write(
        &self,
        tx: &mut Tx,
        operation: &'static str,
        shared: Vec<Arg>,
        rows: Vec<Vec<Arg>>,
    ) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        let span = tx.told().bulk(operation, self.table, rows.len());
        let result = self.write_untold(tx, operation, &shared, rows).await;
        finish(span, &result);
        result
    }

    async fn write_untold(
        &self,
        tx: &mut Tx,
        operation: &'static str,
        shared: &[Arg],
        rows: Vec<Vec<Arg>>,
    ) -> Result<(), StoreError> {
        let own = rows.first().map_or(0, Vec::len);
        let mut rows = rows.into_iter();
        for size in SIZES {
            let statement = self.statement(size, shared.len(), own);
            while rows.len() >= size {
                let args = shared.iter().cloned().chain(rows.by_ref().take(size).flatten()).collect();
                tx.execute_untold(operation, AssertSqlSafe(statement.as_str()), args).await?;
            }
        }
        Ok(())
    }

    /// For so many rows, each of which has `own` parameters besides those that all share.
    fn statement(&self, rows: usize, shared: usize, own: usize) -> String {
        let mut text = format!("INSERT INTO {} ({}) VALUES ", self.table, self.columns);
        for row in 0..rows {
            if row > 0 {
                text.push_str(", ");
            }
            push_row(&mut text, self.row, shared, row * own);
        }
        text.push_str(self.conflict);
        text
    }
}

/// Appends a row whose own parameters come so much later.
fn push_row(text: &mut String, row: &str, shared: usize, later: usize) {
    let mut parts = row.split('$');
    text.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let digits = part.find(|at: char| !at.is_ascii_digit()).unwrap_or(part.len());
        let (number, rest) = part.split_at(digits);
        let number: usize = number.parse().unwrap_or_default();
        let _ = write!(text, "${}{rest}", if number > shared { number + later } else { number });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_share_the_first_parameters_and_have_the_others_for_themselves() {
        let many = ManyRows {
            table: "t",
            columns: "a, b, c",
            row: "($1, lower($2), $3)",
            conflict: " ON CONFLICT DO NOTHING",
        };
        assert_eq!(
            many.statement(3, 1, 2),
            "INSERT INTO t (a, b, c) VALUES ($1, lower($2), $3), ($1, lower($4), $5), ($1, lower($6), $7) ON CONFLICT DO NOTHING"
        );
        assert_eq!(
            many.statement(1, 1, 2),
            "INSERT INTO t (a, b, c) VALUES ($1, lower($2), $3) ON CONFLICT DO NOTHING"
        );
    }

    #[test]
    fn a_number_of_two_figures_is_one_parameter() {
        let many = ManyRows { table: "t", columns: "a, b", row: "($10, $12)", conflict: "" };
        assert_eq!(many.statement(2, 10, 2), "INSERT INTO t (a, b) VALUES ($10, $12), ($10, $14)");
    }
}
