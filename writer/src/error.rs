//! What a failed write means for its message.

use std::time::Duration;

use rollcall_proto::{bus::BusError, chain::chain, handler::Fate};
use rollcall_store::StoreError;

/// Why a batch was not settled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    /// The store could not take it.
    #[error("the batch could not be written")]
    Store(#[from] StoreError),
    /// It is written, but what follows could not be published.
    #[error("what follows the batch could not be published")]
    Publish(#[from] BusError),
}

/// Wait before a batch is tried again, while store or broker are away.
const AGAIN: Duration = Duration::from_secs(2);

impl WriteError {
    /// Nothing of a student is to blame.
    pub(crate) fn is_of_the_database(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_of_the_database())
    }

    /// The message's fate. Nothing here is for good: what the database refuses for one student's values was parked alone
    /// already, and whoever else fails is looked for once attempts have run out. Of a run or district that was erased there is
    /// nothing to write.
    pub(crate) fn fate(&self) -> Fate {
        match self {
            Self::Store(error) if error.is_unknown() => {
                tracing::info!(why = chain(error), "a message of what is not known here, or was erased, is done");
                Fate::Done
            }
            Self::Store(error) if error.is_transient() => Fate::wait("store-unavailable", chain(error), AGAIN),
            Self::Store(error) => Fate::retry("write-failed", chain(error), AGAIN),
            Self::Publish(error) => Fate::wait("bus-unavailable", chain(error), AGAIN),
        }
    }
}
