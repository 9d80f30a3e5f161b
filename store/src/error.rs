//! Why the store could not do what was asked. No variant carries a student fact.

use rollcall_proto::id::{DistrictId, RunId};

use crate::sql::is_of_the_database;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database is away, busy or out of connections. Try again.
    #[error("the database is unavailable while trying to {operation}")]
    Unavailable {
        /// What was being done.
        operation: &'static str,
        /// The driver's error.
        #[source]
        source: sqlx::Error,
    },
    /// The database takes no writes for now: it stands by for another, or was set so. Try again.
    #[error("the database is read-only and does not {operation}")]
    ReadOnly {
        /// What was being done.
        operation: &'static str,
    },
    /// The database refused.
    #[error("the database refused to {operation} ({class})")]
    Refused {
        /// What was being done.
        operation: &'static str,
        /// SQLSTATE or SQLite's code; the driver's own text may repeat values and is kept out.
        class: String,
    },
    /// The database refused all of a batch alike, with a code that says nothing of what was to be written.
    #[error("the database refused to {operation}, for each of its {students} students alike ({class})")]
    RefusedToAll {
        /// What was being done.
        operation: &'static str,
        /// How many there are.
        students: usize,
        /// SQLSTATE.
        class: String,
    },
    /// No such district.
    #[error("there is no district {0}; `rollcall district list` shows those there are")]
    NoDistrict(DistrictId),
    /// No such run.
    #[error("there is no run {0}; `rollcall runs list` shows those there are")]
    NoRun(RunId),
    /// A value in the store cannot be read.
    #[error("a stored {what} cannot be read: {detail}")]
    Corrupt {
        /// What.
        what: &'static str,
        /// Class and position; no content.
        detail: String,
    },
    /// The key for secrets at rest is missing, malformed, or not the one the secrets were sealed with.
    #[error("{0}")]
    Key(String),
    /// The schema is older than the one that this program was built for.
    #[error("the database's schema is at version {found}, this program needs {needed}: run `rollcall migrate`")]
    Schema {
        /// Version found.
        found: i64,
        /// Version needed.
        needed: i64,
    },
    /// The schema is of a newer program, and no longer one that this program can work with.
    #[error(
        "the database's schema is at version {found}, and this program, made for {needed}, is too old for it: \
         install the version that migrated it"
    )]
    TooOld {
        /// Version found.
        found: i64,
        /// Version needed.
        needed: i64,
    },
    /// A migration failed.
    #[error("migrating the database failed at {step}")]
    Migrate {
        /// Which step.
        step: String,
        /// The driver's error.
        #[source]
        source: sqlx::Error,
    },
    /// A value could not be encoded.
    #[error("a value could not be encoded for the store")]
    Encode(#[source] rmp_serde::encode::Error),
    /// Compression failed.
    #[error("a value could not be compressed or decompressed")]
    Compress(#[source] std::io::Error),
}

/// Why a database that answers is of no use as it is, and what waiting alone does not mend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TurnedAway {
    /// It does not take the user or the password, or does not let that login in (SQLSTATE class 28).
    Login,
    /// The server has no database of that name (3D000).
    NoDatabase,
    /// It takes no writes.
    ReadOnly,
}

/// What is wrong with the file of an embedded store, or with its directory. Source: SQLite's result codes READONLY and CANTOPEN, with
/// their extended ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileTrouble {
    /// The file is there and must not be written: permissions, or a file system that is read-only.
    ReadOnly,
    /// What SQLite writes beside the file cannot be made in the directory.
    Directory,
    /// The file cannot be opened.
    Closed,
    /// Another file stands in its place since it was opened.
    Moved,
}

impl StoreError {
    /// What is wrong with the file of an embedded store, where that is why.
    pub fn of_file(&self) -> Option<FileTrouble> {
        let code = match self {
            Self::Unavailable { source, .. } | Self::Migrate { source, .. } => match source {
                sqlx::Error::Io(error) => return of_kind(error.kind()),
                source => source.as_database_error()?.code()?,
            },
            Self::Refused { class, .. } => class.as_str().into(),
            _ => return None,
        };
        // A SQLSTATE has five characters.
        let code = code.parse::<u16>().ok().filter(|_| code.len() < 5)?;
        match (code, code & 0xff) {
            (1032, _) => Some(FileTrouble::Moved),
            (264 | 520 | 776 | 1288 | 1544, _) => Some(FileTrouble::Directory),
            (_, 8) => Some(FileTrouble::ReadOnly),
            (_, 14) => Some(FileTrouble::Closed),
            _ => None,
        }
    }

    /// Whether the database answers, and turned this program away.
    pub fn turned_away(&self) -> Option<TurnedAway> {
        let code = match self {
            Self::ReadOnly { .. } => return Some(TurnedAway::ReadOnly),
            Self::Unavailable { source, .. } | Self::Migrate { source, .. } => source.as_database_error()?.code()?,
            Self::Refused { class, .. } => class.as_str().into(),
            _ => return None,
        };
        match code.as_ref() {
            "3D000" => Some(TurnedAway::NoDatabase),
            "25006" => Some(TurnedAway::ReadOnly),
            code if code.len() == 5 && code.starts_with("28") => Some(TurnedAway::Login),
            _ => None,
        }
    }

    /// Worth another try without anybody doing anything.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::ReadOnly { .. })
    }

    /// Whatever is asked for next would fail too, as long as nobody puts the database, the program's rights there or its key
    /// right: nothing of a student, a page or a run is to blame.
    pub fn is_of_the_database(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::ReadOnly { .. } | Self::RefusedToAll { .. } | Self::Key(_) => true,
            Self::Refused { class, .. } => is_of_the_database(class),
            other => matches!(other, Self::Schema { .. } | Self::TooOld { .. } | Self::Migrate { .. }),
        }
    }

    /// There is no such district or run: it was erased, or never was here. Nobody waits for what is to become of its messages.
    pub const fn is_unknown(&self) -> bool {
        matches!(self, Self::NoDistrict(_) | Self::NoRun(_))
    }

    /// What is stored cannot be read, by this version or with these keys; the database itself is well.
    pub const fn is_unreadable(&self) -> bool {
        matches!(self, Self::Corrupt { .. } | Self::Compress(_) | Self::Key(_))
    }

    pub(crate) fn encode(source: rmp_serde::encode::Error) -> Self {
        Self::Encode(source)
    }

    pub(crate) fn compress(source: std::io::Error) -> Self {
        Self::Compress(source)
    }

    #[expect(clippy::needless_pass_by_value, reason = "shape of map_err")]
    pub(crate) fn decode(source: rmp_serde::decode::Error) -> Self {
        use rmp_serde::decode::Error;
        let detail = match source {
            Error::InvalidMarkerRead(_) | Error::InvalidDataRead(_) => "ends too early",
            Error::TypeMismatch(_) => "a value has another type",
            Error::DepthLimitExceeded => "nested too deep",
            _ => "not of the expected form",
        };
        Self::Corrupt { what: "value", detail: detail.to_owned() }
    }
}

fn of_kind(kind: std::io::ErrorKind) -> Option<FileTrouble> {
    use std::io::ErrorKind;
    match kind {
        ErrorKind::ReadOnlyFilesystem => Some(FileTrouble::ReadOnly),
        ErrorKind::PermissionDenied => Some(FileTrouble::Closed),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_file_is_told_by_sqlites_codes() {
        let refused = |class: &str| StoreError::Refused { operation: "open", class: class.to_owned() }.of_file();
        for (code, told) in [
            ("8", Some(FileTrouble::ReadOnly)),
            ("264", Some(FileTrouble::Directory)),
            ("520", Some(FileTrouble::Directory)),
            ("776", Some(FileTrouble::Directory)),
            ("1032", Some(FileTrouble::Moved)),
            ("1288", Some(FileTrouble::Directory)),
            ("1544", Some(FileTrouble::Directory)),
            ("14", Some(FileTrouble::Closed)),
            ("270", Some(FileTrouble::Closed)),
            ("1", None),
            ("2067", None),
            ("08006", None),
            ("encode", None),
        ] {
            assert_eq!(refused(code), told, "{code}");
        }
        let io = |kind: std::io::ErrorKind| StoreError::Unavailable {
            operation: "open",
            source: sqlx::Error::Io(kind.into()),
        };
        assert_eq!(io(std::io::ErrorKind::ReadOnlyFilesystem).of_file(), Some(FileTrouble::ReadOnly));
        assert_eq!(io(std::io::ErrorKind::PermissionDenied).of_file(), Some(FileTrouble::Closed));
        assert_eq!(io(std::io::ErrorKind::TimedOut).of_file(), None);
    }
}
