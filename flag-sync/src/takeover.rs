//! Ending the flags of approved take-overs, one by one.
//!
//! Invariants: only ids fixed at approval; each is marked after it was read back as ended; a student's old flag is ended
//! after the new one was read back, so that no child is without a flag in between; the program is done after the last.

use std::collections::BTreeSet;

use rollcall_proto::id::StudentId;
use rollcall_store::{
    district::CutoverOption,
    flag::{Cutover, CutoverFlag, FlagState, LedgerEntry},
};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    campus::Written,
    context::Work,
    cutover::{Ending, ending},
    error::FlagError,
    plan::ACTOR,
};

/// Flags of a take-over read from the store: all of them at most.
const ALL: i64 = i64::MAX;

impl Work {
    /// Goes on with the take-overs that are approved and not done. True: time is up before their end.
    pub(crate) async fn take_over(&self, worker: Uuid, until: Instant) -> Result<bool, FlagError> {
        let open = self.store().cutovers(self.id()).await?.into_iter().filter(|one| one.done_at.is_none());
        for cutover in open.filter(|one| self.is_live(one)) {
            if self.take_over_program(&cutover, worker, until).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The district's file still wants it, and its day has come.
    fn is_live(&self, cutover: &Cutover) -> bool {
        self.district.flags.enabled
            && cutover.cutover <= self.today
            && self.district.programs.iter().any(|program| {
                program.name == cutover.program && program.flags && program.option == Some(CutoverOption::TakeOver)
            })
    }

    async fn take_over_program(&self, cutover: &Cutover, worker: Uuid, until: Instant) -> Result<bool, FlagError> {
        let waiting = self.without_new_flag(&cutover.program).await?;
        for flag in self.store().cutover_flags(self.id(), &cutover.program, true, ALL).await? {
            if Instant::now() >= until || !self.renew(worker).await? {
                return Ok(true);
            }
            self.end_old(cutover, &flag, waiting.contains(&flag.sis_id.to_ascii_lowercase())).await?;
        }
        if self.store().finish_cutover(self.id(), &cutover.program, self.now()).await? {
            tracing::info!(district = %self.id(), program = cutover.program, "a program's flags are taken over");
        }
        Ok(false)
    }

    /// The SIS's ids, in lower case, of students whose new flag is to be there and is not yet.
    async fn without_new_flag(&self, program: &str) -> Result<BTreeSet<String>, FlagError> {
        let flags = self.store().flags(self.id(), None, Some(program)).await?;
        let missing = flags.into_iter().filter(|flag| {
            let in_campus = flag.pushed.is_some() && flag.verified_at.is_some();
            let wanted = flag.due || matches!(flag.state, FlagState::Accepted | FlagState::Failed);
            !in_campus && wanted
        });
        Ok(missing.filter_map(|flag| Some(flag.sis_id?.to_ascii_lowercase())).collect())
    }

    async fn end_old(&self, cutover: &Cutover, flag: &CutoverFlag, new_is_missing: bool) -> Result<(), FlagError> {
        let found = self.campus.participation(&flag.flag).await?;
        let actual = found.as_ref().map(|(actual, _)| actual);
        let last = match ending(actual, cutover.cutover, new_is_missing) {
            Ending::Waits => return Ok(()),
            Ending::Done(outcome) => return self.done(cutover, flag, outcome).await,
            Ending::On(last) => last,
        };
        let Some((_, row)) = found else { return Ok(()) };
        let written = self.campus.put(&flag.flag, self.campus.table().ended(row, last)).await?;
        if let Written::Refused(status) = written {
            tracing::error!(district = %self.id(), flag = flag.flag, status, "Campus refuses to end a flag; it stays open");
            let line = self.old_line(cutover, flag, &status.to_string());
            return Ok(self.store().save_flags(self.id(), &[], &[line], self.now()).await?);
        }
        let read = self.campus.participation(&flag.flag).await?;
        match ending(read.as_ref().map(|(actual, _)| actual), cutover.cutover, false) {
            Ending::Done(outcome) => self.done(cutover, flag, outcome).await,
            Ending::On(_) | Ending::Waits => {
                let line = self.old_line(cutover, flag, "not-read-back");
                Ok(self.store().save_flags(self.id(), &[], &[line], self.now()).await?)
            }
        }
    }

    async fn done(&self, cutover: &Cutover, flag: &CutoverFlag, outcome: &str) -> Result<(), FlagError> {
        let line = self.old_line(cutover, flag, outcome);
        Ok(self.store().cutover_flag_done(self.id(), flag, &line).await?)
    }

    fn old_line(&self, cutover: &Cutover, flag: &CutoverFlag, answer: &str) -> LedgerEntry {
        LedgerEntry {
            at: self.now(),
            actor: ACTOR.to_owned(),
            flag: flag.flag.clone(),
            student: None::<StudentId>,
            program: cutover.program.clone(),
            action: "take-over".to_owned(),
            why: format!("approved by {}", cutover.approved_by),
            starts_on: None,
            ends_on: cutover.cutover.pred_opt(),
            answer: answer.to_owned(),
        }
    }
}
