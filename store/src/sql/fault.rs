//! What a driver's error means for the caller. No value of a row gets through.

use crate::StoreError;

/// SQLSTATE classes and codes that pass by themselves, or once the server is put right, whatever was asked of it
/// (<https://www.postgresql.org/docs/current/errcodes-appendix.html>): connection lost; idle in transaction, or in it, too
/// long; a login or password not taken; no such database, as while one is restored; serialization, deadlock; resources; no
/// connections allowed to the database; lock not available; cancelled by a time limit; server stopping, starting, or ending
/// a connection.
const PASSING: [&str; 14] = [
    "08", "25P03", "25P04", "28000", "28P01", "3D000", "40001", "40P01", "53", "55000", "55006", "55P03", "57014",
    "57P",
];

/// SQLSTATE of a write where nothing may be written: a server that stands by for another, or was set so.
const READ_ONLY: &str = "25006";

/// What refuses everybody alike, whatever is to be written, and waits for whoever keeps the database: features, state of the
/// session, logins, names and rights, the server and its settings. Its system errors too.
const OF_THE_DATABASE: [&str; 10] = ["0A", "25", "28", "3D", "3F", "42", "55", "57", "58", "F0"];

/// SQLite's primary codes that say something of what was to be written: too big, constraint, mismatch, out of range.
const OF_ROWS_LITE: [i64; 4] = [18, 19, 20, 25];

/// SQLite's primary codes that pass by themselves: busy, locked, disk full, cannot open.
const PASSING_LITE: [i64; 4] = [5, 6, 13, 14];

/// In place of a code: a value that the driver cannot encode.
const ENCODE: &str = "encode";

/// Sorts a driver's error: worth another try, refused, or unreadable.
pub(crate) fn fault(operation: &'static str, source: sqlx::Error) -> StoreError {
    use sqlx::Error as E;
    match source {
        E::Database(ref error) => {
            let class = error.code().map(std::borrow::Cow::into_owned).unwrap_or_default();
            if class == READ_ONLY {
                StoreError::ReadOnly { operation }
            } else if passes(&class) {
                StoreError::Unavailable { operation, source }
            } else {
                StoreError::Refused { operation, class }
            }
        }
        E::ColumnDecode { .. } | E::Decode(_) | E::ColumnIndexOutOfBounds { .. } | E::ColumnNotFound(_) => {
            StoreError::Corrupt { what: "row", detail: "a column is not of the expected type".to_owned() }
        }
        E::Encode(_) | E::InvalidArgument(_) => StoreError::Refused { operation, class: ENCODE.to_owned() },
        E::Configuration(_) => StoreError::Refused { operation, class: "configuration".to_owned() },
        E::TypeNotFound { .. } => StoreError::Refused { operation, class: "type-not-found".to_owned() },
        other => StoreError::Unavailable { operation, source: other },
    }
}

fn passes(code: &str) -> bool {
    // A SQLSTATE has five characters; SQLite's result codes are numbers of up to four digits.
    if code.len() == 5 {
        PASSING.iter().any(|passing| code.starts_with(passing))
    } else {
        code.parse::<i64>().is_ok_and(|code| PASSING_LITE.contains(&(code & 0xff)))
    }
}

/// Whether a refusal concerns the database as it is or the program's rights there, not what was to be written.
pub(crate) fn is_of_the_database(code: &str) -> bool {
    if code.len() == 5 {
        OF_THE_DATABASE.iter().any(|class| code.starts_with(class))
    } else if let Ok(code) = code.parse::<i64>() {
        !OF_ROWS_LITE.contains(&(code & 0xff))
    } else {
        code != ENCODE
    }
}

#[cfg(test)]
mod tests {
    use super::{is_of_the_database, passes};

    #[test]
    fn what_passes_by_itself_is_told_from_what_does_not() {
        for code in ["08006", "40001", "40P01", "53300", "55P03", "57P01", "57014", "5", "517", "6", "13"] {
            assert!(passes(code), "{code}");
        }
        // A password that was changed, a login not allowed, a database that is being restored or takes nobody, limits.
        for code in ["28P01", "28000", "3D000", "55000", "55006", "25P04", "57P04", "57P05"] {
            assert!(passes(code), "{code}");
        }
        for code in ["23505", "22021", "42501", "42P01", "40002", "57000", "25001", "19", "2067", "787", "1", "", "x"] {
            assert!(!passes(code), "{code}");
        }
    }

    #[test]
    fn what_everybody_is_refused_is_told_from_what_one_row_is() {
        for code in ["42501", "42P01", "25006", "0A000", "58030", "configuration", "type-not-found", "1", "8", "11"] {
            assert!(is_of_the_database(code), "{code}");
        }
        for code in ["P0001", "XX002", "23514", "22021", "44000", "38000", "encode", "19", "1811", "18"] {
            assert!(!is_of_the_database(code), "{code}");
        }
    }
}
