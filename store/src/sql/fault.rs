//! What a driver's error means for the caller. No value of a row gets through.

use crate::StoreError;

/// SQLSTATE classes and codes that pass by themselves: connection lost, serialization, deadlock, resources,
/// lock not available, cancelled by a time limit, server stopping or starting, idle in transaction too long.
const PASSING: [&str; 10] = ["08", "40001", "40P01", "53", "55P03", "57014", "57P01", "57P02", "57P03", "25P03"];

/// SQLite's primary codes that pass by themselves: busy, locked, disk full, cannot open.
const PASSING_LITE: [i64; 4] = [5, 6, 13, 14];

/// Sorts a driver's error: worth another try, refused, or unreadable.
pub(crate) fn fault(operation: &'static str, source: sqlx::Error) -> StoreError {
    use sqlx::Error as E;
    match source {
        E::Database(ref error) => {
            let class = error.code().map(std::borrow::Cow::into_owned).unwrap_or_default();
            if passes(&class) {
                StoreError::Unavailable { operation, source }
            } else {
                StoreError::Refused { operation, class }
            }
        }
        E::ColumnDecode { .. } | E::Decode(_) | E::ColumnIndexOutOfBounds { .. } | E::ColumnNotFound(_) => {
            StoreError::Corrupt { what: "row", detail: "a column is not of the expected type".to_owned() }
        }
        E::Encode(_) | E::InvalidArgument(_) => StoreError::Refused { operation, class: "encode".to_owned() },
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

#[cfg(test)]
mod tests {
    use super::passes;

    #[test]
    fn what_passes_by_itself_is_told_from_what_does_not() {
        for code in ["08006", "40001", "40P01", "53300", "55P03", "57P01", "57014", "5", "517", "6", "13"] {
            assert!(passes(code), "{code}");
        }
        for code in ["23505", "22021", "42501", "42P01", "40002", "57000", "19", "2067", "787", "1", "", "x"] {
            assert!(!passes(code), "{code}");
        }
    }
}
