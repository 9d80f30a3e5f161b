//! Why a fetcher could not do its work.

use std::sync::Arc;

pub use rollcall_http::error::{Remedy, SisError};
use rollcall_store::StoreError;

/// See the module.
/// What the SIS did wrong is a [`SisError`].
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The store.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// The bus.
    #[error("the bus failed")]
    Bus(#[from] rollcall_proto::bus::BusError),
    /// The SIS.
    #[error("the SIS failed")]
    Sis(#[from] SisError),
    /// A body could not be compressed.
    #[error("a page could not be compressed")]
    Compress(#[source] std::io::Error),
    /// Several waited for the same thing, and it failed for all.
    #[error("the connection could not be opened")]
    Shared(#[source] Arc<FetchError>),
}

impl FetchError {
    /// There is no such district or run.
    pub(crate) fn is_unknown(&self) -> bool {
        match self {
            Self::Store(error) => error.is_unknown(),
            Self::Shared(error) => error.is_unknown(),
            Self::Bus(_) | Self::Sis(_) | Self::Compress(_) => false,
        }
    }

    /// Worth another try without anybody doing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) => error.is_transient(),
            Self::Bus(error) => error.is_transient(),
            Self::Sis(error) => error.remedy() != Remedy::GiveUp,
            Self::Compress(_) => false,
            Self::Shared(error) => error.is_transient(),
        }
    }
}
