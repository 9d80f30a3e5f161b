//! Why flags could not be synced.

use rollcall_http::error::{Remedy, SisError};
use rollcall_proto::bus::BusError;
pub(crate) use rollcall_proto::chain::chain;
use rollcall_store::StoreError;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum FlagError {
    /// The store.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// The bus.
    #[error("the bus failed")]
    Bus(#[from] BusError),
    /// Campus.
    #[error("Campus failed")]
    Sis(#[from] SisError),
    /// The district's file does not say how to write flags.
    #[error("{0}")]
    Configuration(&'static str),
    /// The district's flags are another's by now, or were switched off.
    #[error("the district's flags are not this worker's any more")]
    Lost,
}

impl FlagError {
    /// There is no such district.
    pub(crate) const fn is_unknown(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_unknown())
    }

    /// A unit of work is over before its end: it goes on with another message.
    pub(crate) const fn is_out_of_time(&self) -> bool {
        matches!(self, Self::Sis(error) if error.is_out_of_time())
    }

    /// Worth another try without anybody doing anything.
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) => error.is_transient(),
            Self::Bus(error) => error.is_transient(),
            Self::Sis(error) => !matches!(error.remedy(), Remedy::GiveUp),
            Self::Configuration(_) | Self::Lost => false,
        }
    }
}

/// What a request came to that was not answered as it should be, for the ledger: a status, or a reason code.
pub(crate) fn answer(error: &SisError) -> String {
    match error {
        SisError::Status { status, .. } | SisError::AccessRefused { status, .. } | SisError::Busy { status, .. } => {
            status.to_string()
        }
        other => other.code().to_owned(),
    }
}

/// What keeps a district's flags from Campus, for people.
pub fn problem(error: &SisError) -> String {
    match error {
        SisError::AccessRefused { status, .. } => format!(
            "access-refused: Campus refuses the programs (status {status}); check vendor_key and vendor_secret, and ask \
             the district whether the connection's Grade Book function is enabled"
        ),
        other => other.explain(),
    }
}
