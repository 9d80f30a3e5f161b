//! Ending the flags of approved take-overs, one by one.
//!
//! Invariants: only ids fixed at approval; each is marked after it was read back as ended; a student's old flag is ended
//! after the new one was read back, so that no child is without a flag in between: nothing is ended before a comparison of
//! the whole district that knew the approval and the day; a student who was to get a new flag by what was approved, and left
//! since, keeps the old one for as long as the participation goes on: a status ends no flag; one that Campus fails at keeps no other from being ended; the
//! program is done after the last.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use rollcall_http::error::{Remedy, SisError};
use rollcall_store::flag::{Cutover, CutoverFlag, Flag, FlagState, LedgerEntry};
use serde_json::Value;
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    campus::{Whose, Written, is_for_good},
    context::Work,
    cutover::{Approved, Ending, ending},
    diff::{ActualFlag, NOT_ENROLLED},
    error::{FlagError, answer},
    plan::{ACTOR, Compared, Scope},
    push::{AWAY, PATIENCE},
};

/// Reasons for which a comparison kept a flag back that may be wanted by now.
const KEPT_BACK: [&str; 3] = ["before-cutover", "awaiting-approval", "switched-off"];

/// Flags of a take-over read from the store: all of them at most.
const ALL: i64 = i64::MAX;

/// What came of a flag that Campus failed at again and again.
const SIS_ERROR: &str = "sis-error";

/// How far a program's take-over came.
#[derive(Debug)]
enum Progress {
    /// Nothing is left that can be done now.
    Through,
    /// Time is up, or something is to be pushed first.
    OutOfTime,
    /// Campus failed at some flags, and others were done.
    Failing(SisError),
}

/// Whose old flags stay open for now: the SIS's ids of students, in lower case.
#[derive(Debug)]
struct Waiting {
    /// Whose new flag is to be there and is not yet.
    for_new: BTreeSet<String>,
    /// Who does not attend, and whose participation goes on.
    left: BTreeSet<String>,
}

impl Waiting {
    fn has(&self, flag: &CutoverFlag) -> bool {
        let id = flag.sis_id.to_ascii_lowercase();
        self.for_new.contains(&id) || (flag.goes_on && self.left.contains(&id))
    }
}

impl Work {
    /// Goes on with the take-overs that are approved and not done. True: time is up before their end.
    pub(crate) async fn take_over(&self, worker: Uuid, until: Instant) -> Result<bool, FlagError> {
        let open = self.store().cutovers(self.id()).await?.into_iter().filter(|one| one.done_at.is_none());
        let mut failed = None;
        for cutover in open.filter(|one| one.cutover <= self.today) {
            if !self.live().await?.wants(&cutover) {
                self.set_aside_all(&cutover).await?;
                continue;
            }
            match self.take_over_program(&cutover, worker, until).await? {
                Progress::OutOfTime => return Ok(true),
                Progress::Through => {}
                Progress::Failing(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(false), |error| Err(error.into()))
    }

    async fn take_over_program(&self, cutover: &Cutover, worker: Uuid, until: Instant) -> Result<Progress, FlagError> {
        if !self.is_compared(cutover).await? {
            return match self.compare(Scope::All).await? {
                // What that made due is pushed first.
                Compared::Whole => Ok(Progress::OutOfTime),
                Compared::Partly(error) => Err(error.into()),
            };
        }
        let waiting = self.waiting(&cutover.program).await?;
        let (mut failing, mut last, mut in_a_row) = (Vec::new(), None, 0);
        let mut open = self.store().cutover_flags(self.id(), &cutover.program, true, ALL).await?;
        open.sort_by_key(|flag| flag.outcome.as_deref() == Some(SIS_ERROR));
        let programs = if open.is_empty() { BTreeSet::new() } else { self.programs_named(&cutover.program).await? };
        for flag in open {
            if Instant::now() >= until || !self.renew(worker).await? {
                return Ok(Progress::OutOfTime);
            }
            if !self.live().await?.wants(cutover) {
                // Switched off under way.
                self.set_aside_all(cutover).await?;
                return Ok(Progress::Through);
            }
            let approved = Approved { cutover: cutover.cutover, sis_id: &flag.sis_id, programs: &programs };
            match self.end_old(cutover, approved, &flag, waiting.has(&flag)).await {
                Ok(()) => in_a_row = 0,
                Err(FlagError::Sis(error)) if error.remedy() == Remedy::Again => {
                    in_a_row += 1;
                    failing.push(flag);
                    last = Some(error);
                    if in_a_row >= AWAY {
                        break;
                    }
                }
                Err(error) => return Err(error),
            }
        }
        if self.store().finish_cutover(self.id(), &cutover.program, self.now()).await? {
            tracing::info!(district = %self.id(), program = cutover.program, "a program's flags are taken over");
        }
        let set_aside = self.set_aside_failing(cutover, &failing).await?;
        let last = last.filter(|_| in_a_row >= AWAY || !set_aside);
        Ok(last.map_or(Progress::Through, Progress::Failing))
    }

    /// Flags that Campus fails at again and again are left to the next sync: nothing else is to wait for them. False: they are
    /// tried again before.
    async fn set_aside_failing(&self, cutover: &Cutover, failing: &[CutoverFlag]) -> Result<bool, FlagError> {
        if failing.is_empty() || self.store().flags_failures(self.id()).await? < PATIENCE {
            return Ok(false);
        }
        for flag in failing {
            tracing::error!(district = %self.id(), flag = flag.flag, "Campus fails at ending a flag; it stays open");
            self.waits(cutover, flag, SIS_ERROR).await?;
        }
        Ok(true)
    }

    /// Nobody is at it until something changes: it is no work for a reconciler. One of which nothing is open is done.
    async fn set_aside_all(&self, cutover: &Cutover) -> Result<(), FlagError> {
        let open = self.store().cutover_flags(self.id(), &cutover.program, true, ALL).await?;
        if open.is_empty() {
            self.store().finish_cutover(self.id(), &cutover.program, self.now()).await?;
        }
        for flag in open.iter().filter(|flag| flag.outcome.is_none()) {
            self.store().cutover_flag_waits(self.id(), &cutover.program, &flag.flag, "not-wanted").await?;
        }
        Ok(())
    }

    /// All flags were compared since the approval, on the cutover's day or later: earlier comparisons kept new ones back.
    async fn is_compared(&self, cutover: &Cutover) -> Result<bool, FlagError> {
        let synced = self.store().flags_synced_at(self.id()).await?;
        let day = |at: DateTime<Utc>| at.with_timezone(&self.district.time_zone).date_naive();
        Ok(synced.is_some_and(|at| at >= cutover.approved_at && day(at) >= cutover.cutover))
    }

    async fn waiting(&self, program: &str) -> Result<Waiting, FlagError> {
        let flags = self.store().flags(self.id(), None, Some(program)).await?;
        let students = self.students(None).await?;
        let attends = |flag: &Flag| students.get(&flag.student).is_some_and(|student| student.attending);
        let mut missing = flags;
        missing.retain(|flag| flag.pushed.is_none() || flag.verified_at.is_none());
        let is_wanted = |flag: &Flag| {
            let kept_back = flag.reason.as_deref().is_some_and(|reason| KEPT_BACK.contains(&reason));
            let wanted = match flag.state {
                FlagState::Accepted | FlagState::Failed => true,
                // It was gone before anybody had read it back; whoever left gets no other.
                FlagState::Drift => attends(flag),
                _ => false,
            };
            wanted || flag.due || kept_back
        };
        let has_left = |flag: &Flag| {
            let goes_on = flag.ends_on.is_none_or(|end| end >= self.today);
            flag.state == FlagState::Wanted && flag.reason.as_deref() == Some(NOT_ENROLLED) && goes_on
        };
        // One that was kept back from the start has no id of the SIS yet; its student may.
        let sis_id = |flag: &Flag| {
            let known = flag.sis_id.clone().or_else(|| students.get(&flag.student)?.sis_id.clone());
            known.map(|id| id.to_ascii_lowercase())
        };
        let ids =
            |which: &dyn Fn(&Flag) -> bool| missing.iter().filter(|flag| which(flag)).filter_map(sis_id).collect();
        Ok(Waiting { for_new: ids(&is_wanted), left: ids(&has_left) })
    }

    /// The SIS's ids of programs of a name, in lower case, whether or not they are active.
    async fn programs_named(&self, name: &str) -> Result<BTreeSet<String>, FlagError> {
        let named = self.campus.programs().await?.into_iter().filter(|program| program.name.trim() == name);
        Ok(named.map(|program| program.id.to_ascii_lowercase()).collect())
    }

    async fn end_old(
        &self,
        cutover: &Cutover,
        approved: Approved<'_>,
        flag: &CutoverFlag,
        new_is_missing: bool,
    ) -> Result<(), FlagError> {
        let found = self.old_flag(flag).await?;
        let actual = found.as_ref().map(|(actual, _)| actual);
        let last = match ending(actual, approved, new_is_missing) {
            Ending::Waits => return self.waits(cutover, flag, "waits-for-new").await,
            Ending::Done(outcome) => return self.done(cutover, flag, outcome).await,
            Ending::On(last) => last,
        };
        // Refused for good before: not sent again, unless a person asks.
        if flag.outcome.as_deref().and_then(|outcome| outcome.parse().ok()).is_some_and(is_for_good) {
            return Ok(());
        }
        let Some((_, row)) = found else { return Ok(()) };
        let sent = self.campus.put(Whose::Old, &flag.flag, self.campus.table().ended(row, last)).await;
        if let Err(error) = &sent {
            let line = LedgerEntry { action: "failed".to_owned(), ..self.old_line(cutover, flag, &answer(error)) };
            self.store().note_failure(self.id(), &line).await?;
        }
        let written = sent?;
        if let Written::Refused(status) = written {
            tracing::error!(district = %self.id(), flag = flag.flag, status, "Campus refuses to end a flag; it stays open");
            return self.stays(cutover, flag, &status.to_string()).await;
        }
        let read = self.old_flag(flag).await?;
        match ending(read.as_ref().map(|(actual, _)| actual), approved, false) {
            Ending::Done(outcome) => self.done(cutover, flag, outcome).await,
            Ending::On(_) | Ending::Waits => self.stays(cutover, flag, "not-read-back").await,
        }
    }

    /// As the SIS shows it.
    async fn old_flag(&self, flag: &CutoverFlag) -> Result<Option<(ActualFlag, Value)>, FlagError> {
        Ok(self.campus.look_for(&flag.sis_id, &flag.flag).await?)
    }

    /// The SIS did not end it: told in the ledger, and tried again with the next sync.
    async fn stays(&self, cutover: &Cutover, flag: &CutoverFlag, answer: &str) -> Result<(), FlagError> {
        let line = self.old_line(cutover, flag, answer);
        self.store().save_flags(self.id(), &[], &[line], self.now()).await?;
        self.waits(cutover, flag, answer).await
    }

    async fn waits(&self, cutover: &Cutover, flag: &CutoverFlag, why: &str) -> Result<(), FlagError> {
        Ok(self.store().cutover_flag_waits(self.id(), &cutover.program, &flag.flag, why).await?)
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
            student: flag.student.clone(),
            program: cutover.program.clone(),
            action: "take-over".to_owned(),
            why: format!("approved by {}", cutover.approved_by),
            starts_on: None,
            ends_on: cutover.cutover.pred_opt(),
            answer: answer.to_owned(),
        }
    }
}
