//! What the district's file lets be written, looked at again and again while work goes on.
//!
//! Invariants: a switch of one program, or of all, or a take-over that is to be approved first, stops a push or a take-over that
//! is under way with the first write after [`LOOK_AGAIN`], and so does another worker who has the district by now, or its removal; a
//! look costs the store four reads a second, however fast flags are written.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rollcall_store::{
    district::{CutoverOption, District, Program},
    flag::Cutover,
};
use tokio::{sync::Mutex, time::Instant};

use crate::{context::Work, error::FlagError, plan::before_campus};

/// What was read is believed for so long.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What may be written.
#[derive(Debug)]
pub(crate) struct Live {
    district: District,
    /// Programs that may be written to, with their ids in the SIS, as the last comparison found them.
    pub(crate) programs: BTreeMap<String, String>,
}

/// The last look, and when it was.
pub(crate) type LastLook = Arc<Mutex<Option<(Instant, Arc<Live>)>>>;

impl Live {
    /// The district's file still wants the take-over, on the day that was approved.
    pub(crate) fn wants(&self, cutover: &Cutover) -> bool {
        self.district.flags.enabled
            && self.district.programs.iter().any(|program| {
                program.name == cutover.program
                    && program.flags
                    && program.option == Some(CutoverOption::TakeOver)
                    && program.cutover == Some(cutover.cutover)
            })
    }
}

impl Work {
    /// What may be written now.
    pub(crate) async fn live(&self) -> Result<Arc<Live>, FlagError> {
        let mut last = self.last_look.lock().await;
        if let Some((at, live)) = last.as_ref()
            && at.elapsed() < LOOK_AGAIN
        {
            return Ok(Arc::clone(live));
        }
        let at = Instant::now();
        let live = Arc::new(self.look().await?);
        *last = Some((at, Arc::clone(&live)));
        Ok(live)
    }

    async fn look(&self) -> Result<Live, FlagError> {
        if !self.store().holds_flags(self.id(), self.worker).await? {
            return Err(FlagError::Lost);
        }
        let district = self.store().district(self.id()).await?;
        let approved = self.store().cutovers(self.id()).await?;
        let may = |program: &Program| before_campus(&district, program, &approved, self.today).is_none();
        let on = |name: &str| district.programs.iter().any(|one| one.name == name && may(one));
        let programs = self.store().flag_programs(self.id()).await?;
        let live = programs.into_iter().filter(|one| one.problem.is_none() && on(&one.program));
        let programs = live.filter_map(|one| Some((one.program, one.program_sis_id?))).collect();
        Ok(Live { district, programs })
    }
}
