//! Why the classifier could not do its work, and what becomes of the message then.

use std::time::Duration;

pub use rollcall_proto::chain::chain;
use rollcall_proto::{bus::BusError, handler::Fate};
use rollcall_store::StoreError;

use crate::plan::PlanError;

/// How long to stay away from a store or bus that is away.
const AWAY: Duration = Duration::from_secs(2);

/// How long until another try at what was refused.
const REFUSED: Duration = Duration::from_secs(10);

/// Reason code of what the database would refuse whatever it were: see [`ClassifierError::is_of_the_database`].
pub(crate) const DATABASE_REFUSES: &str = "database-refuses";

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum ClassifierError {
    /// The store.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// The bus.
    #[error("the bus failed")]
    Bus(#[from] BusError),
    /// Planning.
    #[error("planning failed")]
    Plan(#[from] PlanError),
    /// A task of this process ended before its time.
    #[error("a task of this process was ended")]
    Task,
    /// A page's raw body is in no message and not in the store.
    #[error("the raw body of a page is neither in its message nor in the store")]
    RawMissing,
}

impl ClassifierError {
    /// Worth another try without anybody doing anything.
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) | Self::Plan(PlanError::Store(error)) => error.is_transient(),
            Self::Bus(error) => error.is_transient(),
            Self::Task => true,
            Self::Plan(_) | Self::RawMissing => false,
        }
    }

    /// Whatever is asked of the store next would fail too: no student, page or run is to blame.
    pub fn is_of_the_database(&self) -> bool {
        matches!(self, Self::Store(error) | Self::Plan(PlanError::Store(error)) if error.is_of_the_database())
    }

    /// What becomes of the message: infrastructure that is away is waited for, at no cost; what nobody waits for any more is
    /// done; everything else is tried again and parked in the end.
    pub fn fate(&self) -> Fate {
        let detail = chain(self);
        match self {
            Self::Store(error) | Self::Plan(PlanError::Store(error)) if error.is_unknown() => {
                tracing::info!(why = detail, "a message of what is not known here, or was erased, is done");
                Fate::Done
            }
            Self::Store(error) | Self::Plan(PlanError::Store(error)) if error.is_transient() => {
                Fate::wait("store-unavailable", detail, AWAY)
            }
            Self::Bus(error) if error.is_transient() => Fate::wait("bus-unavailable", detail, AWAY),
            _ if self.is_of_the_database() => Fate::retry(DATABASE_REFUSES, detail, REFUSED),
            Self::Plan(PlanError::Fragments { .. }) => Fate::retry("fragments-unreadable", detail, REFUSED),
            Self::RawMissing => Fate::park("raw-page-missing", detail),
            Self::Store(_) | Self::Plan(_) => Fate::retry("store-refused", detail, REFUSED),
            Self::Bus(_) => Fate::retry("bus-refused", detail, REFUSED),
            Self::Task => Fate::retry("task-ended", detail, REFUSED),
        }
    }
}
