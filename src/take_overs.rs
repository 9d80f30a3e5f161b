//! flag-sync's take-overs, as the HTTP side asks for them: services do not know each other, and this process hosts both.

use async_trait::async_trait;
use rollcall_flag_sync::{self as flag_sync, FlagError, problem};
use rollcall_proto::id::DistrictId;
use rollcall_store::flag::{ApprovedTakeOver, TakeOverPlan};
use rollcall_web::{TakeOverError, TakeOvers};

/// See the module.
pub(crate) struct Campus(pub(crate) flag_sync::Context);

#[async_trait]
impl TakeOvers for Campus {
    async fn plan(&self, district: &DistrictId, program: Option<&str>) -> Result<Vec<TakeOverPlan>, TakeOverError> {
        Ok(flag_sync::plan_take_overs(&self.0, district, program).await.map_err(away)??)
    }

    async fn approve(
        &self,
        district: &DistrictId,
        program: &str,
        plan_hash: &str,
        actor: &str,
    ) -> Result<ApprovedTakeOver, TakeOverError> {
        let looked_at = [plan_hash.to_owned()];
        let approved =
            flag_sync::approve(&self.0, district, Some(program), &looked_at, actor).await.map_err(away)??;
        let none = || TakeOverError::Away("nothing was approved".to_owned());
        approved.into_iter().next().ok_or_else(none)
    }
}

fn away(error: FlagError) -> TakeOverError {
    match error {
        FlagError::Store(error) => TakeOverError::Store(error),
        FlagError::Sis(error) => TakeOverError::Away(problem(&error)),
        FlagError::Configuration(_) | FlagError::Bus(_) | FlagError::Lost => TakeOverError::Away(error.to_string()),
    }
}
