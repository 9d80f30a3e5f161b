//! What the HTTP side asks of whoever speaks to Campus: plans of take-overs, and their approval.
//!
//! Services do not know each other, so flag-sync is given to the HTTP side by the program that hosts both.

use async_trait::async_trait;
use rollcall_proto::id::DistrictId;
use rollcall_store::{
    StoreError,
    flag::{ApprovedTakeOver, TakeOverPlan, TakeOverRefused},
};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum TakeOverError {
    /// It cannot be, as things are.
    #[error(transparent)]
    Refused(#[from] TakeOverRefused),
    /// The SIS could not be asked: what is in the way, for people; no student fact.
    #[error("{0}")]
    Away(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// See the module.
#[async_trait]
pub trait TakeOvers: Send + Sync {
    /// What taking over would do, of one program or of all. Changes nothing.
    async fn plan(&self, district: &DistrictId, program: Option<&str>) -> Result<Vec<TakeOverPlan>, TakeOverError>;

    /// Approves the plan with this digest, and no other.
    async fn approve(
        &self,
        district: &DistrictId,
        program: &str,
        plan_hash: &str,
        actor: &str,
    ) -> Result<ApprovedTakeOver, TakeOverError>;
}
