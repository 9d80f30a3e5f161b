//! Ending the flags of approved take-overs, one by one.
//!
//! Invariants: only ids fixed at approval; each is marked after it was read back as ended; a student's old flag is ended
//! after the new one was read back, so that no child is without a flag in between: nothing is ended before a comparison of
//! the whole district that knew the approval and the day; a student who was to get a new flag by what was approved, and left
//! since, keeps the old one for as long as the participation goes on: a status ends no flag; one whose student the roster does not know
//! is not ended while it may be that of somebody whose new one is missing ([`crate::waiting`]); one that Campus fails at keeps no other
//! from being ended; a program that fails in Campus ends none until it is mended; the program is done after the last.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use rollcall_http::error::SisError;
use rollcall_proto::id::StudentId;
use rollcall_store::flag::{Cutover, CutoverFlag, LedgerEntry};
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::{
    campus::{Which, Whose, Written, is_for_good, refusal},
    comparison::Turn,
    context::Work,
    cutover::{Approved, Ending, ending},
    diff::ActualFlag,
    error::{FlagError, answer},
    failing::{Row, SIS_ERROR},
    handler::Done,
    plan::{ACTOR, Compared},
    unit::Trying,
    waiting::Waiting,
};

/// Flags of a take-over read from the store: all of them at most.
const ALL: i64 = i64::MAX;

/// Why a flag waits whose student is to have the new one first.
const WAITS_FOR_NEW: &str = "waits-for-new";

/// Why a flag waits that Campus took the end of, and shows without it.
const NOT_READ_BACK: &str = "not-read-back";

/// Why a flag waits of which it is not clear whether it is still the student's and the program's that was approved.
const UNCLEAR: &str = "not-as-approved";

/// How far a program's take-over came.
#[derive(Debug)]
enum Progress {
    /// Nothing is left that can be done now.
    Through,
    /// Time is up, or something is to be pushed first.
    OutOfTime,
    /// All flags are to be compared first, which is not finished.
    Comparing,
    /// Campus is away, or time is up in the middle of a flag.
    Away(SisError),
}

/// How a message's work on all take-overs goes.
#[derive(Debug)]
struct Pass {
    /// Flags in the middle of which a message before this one was cut off.
    resumed: BTreeSet<String>,
    /// One was looked at.
    has_looked: bool,
    /// Those that Campus failed at, one after the other.
    in_a_row: Row,
}

/// What a program's take-over goes by, beside each flag.
#[derive(Debug)]
struct Known<'a> {
    cutover: &'a Cutover,
    waiting: Waiting,
    /// The SIS's ids of the programs of that name, in lower case.
    programs: BTreeSet<String>,
    /// Students by the SIS's ids, in lower case.
    roster: BTreeMap<String, StudentId>,
    /// What the programs list. Read when a flag is not found.
    listed: OnceCell<Listed>,
}

#[derive(Debug)]
struct Listed {
    /// Whose flags, by flag, both as the SIS's ids, the flag's in lower case.
    of: BTreeMap<String, String>,
    /// None of the lists was refused, or has fewer rows than Campus says there are.
    all: bool,
}

/// An old flag, as the SIS tells of it.
#[derive(Debug)]
enum Old {
    Shown(Box<(ActualFlag, Value)>),
    /// Not among the student's flags, and not among those of its programs.
    Gone,
    /// The SIS refuses to tell or gives a list in part, or one list has it and another has not.
    Untold,
}

impl Old {
    /// What is known of one of which it is not clear whether it is to be ended, and what to do about it.
    fn why_unclear(&self) -> &'static str {
        match self {
            Self::Shown(shown) if shown.0.is_undated => {
                "it has a day in Campus that is not written YYYY-MM-DD. Have it corrected there, or end the flag by hand, as of \
                 the day before the cutover"
            }
            Self::Shown(_) => {
                "it is of another student or program in Campus than was approved, and may be the same under a new id. Give the \
                 program its name back, import the student, or end the flag in Campus by hand, as of the day before the cutover"
            }
            Self::Untold | Self::Gone => {
                "Campus refuses to tell of it, or lists fewer flags than it says there are, or one of its lists has it and another has \
                 not. Ask the district why; it is looked for again with each sync"
            }
        }
    }
}

/// It was looked at, and is to wait for something.
fn has_waited(flag: &CutoverFlag) -> bool {
    flag.outcome.as_deref().is_some_and(|outcome| outcome != SIS_ERROR)
}

/// Those that nobody has been at yet come first, then those that Campus failed at and whose turn it is. Those that wait take turns:
/// time may be up before all of them were looked at.
fn in_turn(open: &mut [CutoverFlag], now: DateTime<Utc>) {
    let place = |flag: &CutoverFlag| flag.outcome.as_deref().map(|outcome| outcome != SIS_ERROR);
    open.sort_by_key(place);
    let waiting = open.partition_point(|flag| place(flag) < Some(true));
    let waiting = &mut open[waiting..];
    if !waiting.is_empty() {
        let turn = now.timestamp().unsigned_abs() % waiting.len() as u64;
        waiting.rotate_left(turn as usize);
    }
}

impl Known<'_> {
    fn ending(&self, flag: &CutoverFlag, old: &Old, new_is_missing: bool) -> Ending {
        let actual = match old {
            Old::Shown(shown) => Some(&shown.0),
            Old::Gone => None,
            Old::Untold => return Ending::Unclear,
        };
        let approved = Approved { cutover: self.cutover.cutover, flag, programs: &self.programs, roster: &self.roster };
        ending(actual, approved, new_is_missing)
    }
}

impl Work {
    /// Goes on with the take-overs that are approved and not done.
    pub(crate) async fn take_over(&self, turn: Turn) -> Result<Done, FlagError> {
        let mut open = self.store().cutovers(self.id()).await?;
        open.retain(|one| one.done_at.is_none() && one.cutover <= self.today);
        let resumed = self.in_order(&mut open).await?;
        let mut pass = Pass { resumed, has_looked: false, in_a_row: self.campus.row_of(Trying::Ending) };
        for cutover in open {
            if !self.live().await?.wants(&cutover) {
                self.set_aside_all(&cutover, "not-wanted").await?;
                continue;
            }
            match self.take_over_program(&cutover, &mut pass, turn).await? {
                Progress::OutOfTime => return Ok(Done { left: true, ..Done::default() }),
                Progress::Comparing => return Ok(Done::of(Compared::Left)),
                Progress::Through => {}
                Progress::Away(error) => return Err(error.into()),
            }
        }
        Ok(Done::default())
    }

    /// Puts the programs in order: those come first that have a flag in the middle of which a message before this one was cut off, or
    /// that nobody has been at, or that Campus failed at and whose turn it is. What waits in the others may take all the time there is, and takes turns. Gives the flags of the first kind.
    async fn in_order(&self, open: &mut [Cutover]) -> Result<BTreeSet<String>, FlagError> {
        let (mut resumed, mut later) = (BTreeSet::new(), BTreeSet::new());
        if open.len() < 2 && !self.campus.is_at_any() {
            return Ok(resumed);
        }
        for cutover in open.iter() {
            let flags = self.store().cutover_flags(self.id(), &cutover.program, true, ALL).await?;
            let known = resumed.len();
            resumed.extend(flags.iter().map(|flag| &flag.flag).filter(|flag| self.campus.is_at(flag)).cloned());
            let is_retried = |flag: &CutoverFlag| flag.failing.as_ref().is_none_or(|one| one.retry_at <= self.now());
            let is_new = |flag: &CutoverFlag| !has_waited(flag) && is_retried(flag);
            if resumed.len() == known && !flags.iter().any(is_new) {
                later.insert(cutover.program.clone());
            }
        }
        if !open.is_empty() {
            let turn = self.now().timestamp().unsigned_abs() % open.len() as u64;
            open.rotate_left(turn as usize);
        }
        open.sort_by_key(|cutover| later.contains(&cutover.program));
        Ok(resumed)
    }

    async fn take_over_program(&self, cutover: &Cutover, pass: &mut Pass, turn: Turn) -> Result<Progress, FlagError> {
        if !self.is_compared(cutover).await? {
            if self.failure().is_some() {
                // What has just failed is told first, and compared again later.
                return Ok(Progress::Through);
            }
            return match self.compare(None, turn).await? {
                // What that made due is pushed first.
                Compared::Whole => Ok(Progress::OutOfTime),
                Compared::Left => Ok(Progress::Comparing),
                Compared::Partly(error) => Err(error.into()),
            };
        }
        if !self.live().await?.programs.contains_key(&cutover.program) {
            // It fails in Campus (missing, inactive, …): nothing is written of it until it is mended.
            self.set_aside_all(cutover, "program-fails").await?;
            return Ok(Progress::Through);
        }
        let mut open = self.store().cutover_flags(self.id(), &cutover.program, true, ALL).await?;
        let known = self.known(cutover, &open).await?;
        open.retain(|flag| flag.failing.as_ref().is_none_or(|failing| failing.retry_at <= self.now()));
        in_turn(&mut open, self.now());
        // What the last message was cut off in the middle of comes first.
        open.sort_by_key(|flag| !pass.resumed.contains(&flag.flag));
        let mut ended = false;
        for flag in open {
            let is_after_another = !pass.resumed.is_empty() && !pass.resumed.contains(&flag.flag);
            if is_after_another && !ended && has_waited(&flag) {
                // The sync that this message goes on with has been at those that wait for as long as it may: cut off at each of
                // them in turn, none of which ends, it would be at them without end.
                return Ok(Progress::Through);
            }
            // One of the message in any case: the programs may have taken all the time.
            let is_first = !std::mem::replace(&mut pass.has_looked, true);
            if (turn.is_over() && !is_first) || !self.renew().await? {
                // What has waited before waits for another sync: asked for at once, it would be asked for without end.
                if !(ended || !has_waited(&flag) || self.campus.is_at(&flag.flag)) {
                    return Ok(Progress::Through);
                }
                self.goes_on_from(Trying::Ending, std::mem::take(&mut pass.in_a_row)).await?;
                if pass.resumed.iter().any(|flag| self.campus.is_at(flag)) {
                    self.leave().await?;
                }
                return Ok(Progress::OutOfTime);
            }
            if !self.live().await?.wants(cutover) {
                // Switched off under way.
                self.set_aside_all(cutover, "not-wanted").await?;
                return Ok(Progress::Through);
            }
            match self.end_old(&known, &flag).await {
                Ok(done) => {
                    pass.in_a_row.answered();
                    ended |= done;
                }
                // As above: one that has waited before, and that nothing was asked about, is not what the next message is for.
                Err(FlagError::Sis(error)) if error.is_out_of_time() => {
                    let goes_on = ended || is_first || !has_waited(&flag) || self.campus.is_at(&flag.flag);
                    self.campus.keep_row(Trying::Ending, std::mem::take(&mut pass.in_a_row));
                    return Ok(if goes_on { Progress::Away(error) } else { Progress::Through });
                }
                Err(FlagError::Sis(error)) => {
                    if let Some(away) = self.why_away(Trying::Ending, &flag.flag, &error).await {
                        if away.is_out_of_time() {
                            self.campus.keep_row(Trying::Ending, std::mem::take(&mut pass.in_a_row));
                        }
                        return Ok(Progress::Away(away));
                    }
                    self.old_flag_fails(&cutover.program, &flag, &error).await?;
                    if pass.in_a_row.is_away(&flag.flag, flag.failing.as_ref()) {
                        return Ok(Progress::Away(error));
                    }
                }
                Err(error) => return Err(error),
            }
            self.campus.done_with(&flag.flag);
        }
        if self.store().finish_cutover(self.id(), &cutover.program, self.now()).await? {
            tracing::info!(district = %self.id(), program = cutover.program, "a program's flags are taken over");
        }
        Ok(Progress::Through)
    }

    /// Nobody is at it until something changes: it is no work for a reconciler. One of which nothing is open is done.
    async fn set_aside_all(&self, cutover: &Cutover, why: &str) -> Result<(), FlagError> {
        let open = self.store().cutover_flags(self.id(), &cutover.program, true, ALL).await?;
        if open.is_empty() {
            self.store().finish_cutover(self.id(), &cutover.program, self.now()).await?;
        }
        for flag in open.iter().filter(|flag| flag.outcome.is_none() || flag.failing.is_some()) {
            self.store().cutover_flag_waits(self.id(), &cutover.program, &flag.flag, why).await?;
        }
        Ok(())
    }

    /// All flags were compared since the approval, on the cutover's day or later: earlier comparisons kept new ones back.
    async fn is_compared(&self, cutover: &Cutover) -> Result<bool, FlagError> {
        let synced = self.store().flags_synced_at(self.id()).await?;
        let day = |at: DateTime<Utc>| at.with_timezone(&self.district.time_zone).date_naive();
        Ok(synced.is_some_and(|at| at >= cutover.approved_at && day(at) >= cutover.cutover))
    }

    /// `open`: its old flags that are not done.
    async fn known<'a>(&self, cutover: &'a Cutover, open: &[CutoverFlag]) -> Result<Known<'a>, FlagError> {
        let (mut waiting, mut programs, mut roster) = (Waiting::default(), BTreeSet::new(), BTreeMap::new());
        if !open.is_empty() {
            programs = self.programs_named(&cutover.program).await?;
            roster = self.roster().await?;
            waiting = self.waiting(&cutover.program, open, &roster).await?;
        }
        Ok(Known { cutover, waiting, programs, roster, listed: OnceCell::new() })
    }

    /// The SIS's ids of programs of a name, in lower case, whether or not they are active.
    async fn programs_named(&self, name: &str) -> Result<BTreeSet<String>, FlagError> {
        let named = self.campus.programs().await?.into_iter().filter(|program| program.name.trim() == name);
        Ok(named.map(|program| program.id.to_ascii_lowercase()).collect())
    }

    /// True: nothing is left to do about it.
    async fn end_old(&self, known: &Known<'_>, flag: &CutoverFlag) -> Result<bool, FlagError> {
        let cutover = known.cutover;
        let still_waits = |()| false;
        self.campus.failed_before(Trying::Ending, &flag.flag)?;
        let found = self.old_flag(known, flag).await?;
        let last = match known.ending(flag, &found, known.waiting.has(flag, &known.roster)) {
            Ending::Waits => return self.waits_for_new(cutover, flag).await.map(still_waits),
            Ending::Unclear => return self.unclear(cutover, flag, &found).await.map(still_waits),
            Ending::Done(outcome) => return self.done(cutover, flag, outcome).await.map(|()| true),
            Ending::On(last) => last,
        };
        // Refused for good before: not sent again, unless a person asks.
        if flag.outcome.as_deref().and_then(|outcome| outcome.parse().ok()).is_some_and(is_for_good) {
            return Ok(false);
        }
        let Old::Shown(found) = found else { return Ok(false) };
        if self.campus.was_written(&flag.flag) {
            // Campus took that from a message before, which had no time to read it back.
            return self.stays(cutover, flag, NOT_READ_BACK).await.map(still_waits);
        }
        let (_, row) = *found;
        let sent = self.campus.put(Whose::Old, &flag.flag, self.campus.table().ended(row, last)).await;
        if let Err(error) = &sent
            && !error.is_out_of_time()
        {
            let line = LedgerEntry { action: "failed".to_owned(), ..self.old_line(cutover, flag, &answer(error)) };
            self.store().note_failure(self.id(), &line).await?;
        }
        let written = sent?;
        if let Written::Refused(status) = written {
            tracing::error!(district = %self.id(), flag = flag.flag, status, "Campus refuses to end a flag; it stays open");
            return self.stays(cutover, flag, &status.to_string()).await.map(still_waits);
        }
        let read = self.old_flag(known, flag).await?;
        match known.ending(flag, &read, false) {
            Ending::Done(outcome) => self.done(cutover, flag, outcome).await.map(|()| true),
            Ending::Unclear if !matches!(read, Old::Untold) => {
                self.unclear(cutover, flag, &read).await.map(still_waits)
            }
            _ => self.stays(cutover, flag, NOT_READ_BACK).await.map(still_waits),
        }
    }

    /// As the SIS shows it: by its id, among its student's, or as its program lists it, of whomever.
    async fn old_flag(&self, known: &Known<'_>, flag: &CutoverFlag) -> Result<Old, FlagError> {
        let of_student = self.shown(&flag.sis_id, &flag.flag).await?;
        if let Old::Shown(_) = of_student {
            return Ok(of_student);
        }
        let listed = known.listed.get_or_try_init(|| self.whose(known, flag)).await?;
        match listed.of.get(&flag.flag.to_ascii_lowercase()) {
            // It is there, whoever is asked for it.
            Some(sis_id) => Ok(match self.shown(sis_id, &flag.flag).await? {
                Old::Gone => Old::Untold,
                found => found,
            }),
            None if listed.all => Ok(Old::Gone),
            // A count that is of more than the list is no reason to look for it for ever.
            None if self.campus.says_deleted(&flag.flag).await? => Ok(Old::Gone),
            None => Ok(Old::Untold),
        }
    }

    /// By its id, and among a student's. A list that the SIS refuses tells nothing.
    async fn shown(&self, sis_id: &str, flag: &str) -> Result<Old, FlagError> {
        match self.campus.look_for(sis_id, flag).await {
            Err(error) if refusal(&error).is_some() => Ok(Old::Untold),
            found => Ok(found?.map_or(Old::Gone, |found| Old::Shown(Box::new(found)))),
        }
    }

    /// Whose flags the programs list: those of the name, and the one that was approved.
    async fn whose(&self, known: &Known<'_>, flag: &CutoverFlag) -> Result<Listed, FlagError> {
        let then = flag.program_sis_id.iter().map(|id| id.to_ascii_lowercase());
        let mut listed = Listed { of: BTreeMap::new(), all: true };
        for program in known.programs.iter().cloned().chain(then).collect::<BTreeSet<_>>() {
            match self.campus.participations(Which::OfProgram(&program)).await {
                Err(error) if refusal(&error).is_some() => {
                    // A program that is gone has no flags.
                    let gone = refusal(&error) == Some(404) && !known.programs.contains(&program);
                    listed.all &= gone;
                }
                flags => {
                    let flags = flags?;
                    listed.all &= flags.lacking == 0;
                    listed.of.extend(flags.rows.into_iter().map(|one| (one.id.to_ascii_lowercase(), one.sis_id)));
                }
            }
        }
        Ok(listed)
    }

    /// It stays open until its student has the new one: told once.
    async fn waits_for_new(&self, cutover: &Cutover, flag: &CutoverFlag) -> Result<(), FlagError> {
        self.store().note_failure(self.id(), &self.old_line(cutover, flag, WAITS_FOR_NEW)).await?;
        self.waits(cutover, flag, WAITS_FOR_NEW).await
    }

    /// It stays open and approved until it is clear: told once.
    async fn unclear(&self, cutover: &Cutover, flag: &CutoverFlag, old: &Old) -> Result<(), FlagError> {
        if flag.outcome.as_deref() != Some(UNCLEAR) {
            let (district, program, id, why) = (self.id(), &cutover.program, &flag.flag, old.why_unclear());
            tracing::error!(%district, program, flag = id, why, "an old flag of a take-over stays open, as it is not clear");
        }
        self.store().note_failure(self.id(), &self.old_line(cutover, flag, UNCLEAR)).await?;
        self.waits(cutover, flag, UNCLEAR).await
    }

    /// The SIS did not end it: told in the ledger, and tried again with the next sync.
    async fn stays(&self, cutover: &Cutover, flag: &CutoverFlag, answer: &str) -> Result<(), FlagError> {
        let line = self.old_line(cutover, flag, answer);
        self.save(&[], &[line]).await?;
        self.waits(cutover, flag, answer).await
    }

    async fn waits(&self, cutover: &Cutover, flag: &CutoverFlag, why: &str) -> Result<(), FlagError> {
        Ok(self.store().cutover_flag_waits(self.id(), &cutover.program, &flag.flag, why).await?)
    }

    async fn done(&self, cutover: &Cutover, flag: &CutoverFlag, outcome: &str) -> Result<(), FlagError> {
        let line = self.old_line(cutover, flag, outcome);
        let is_kept = self.store().cutover_flag_done(self.id(), self.worker, flag, &line).await?;
        is_kept.then_some(()).ok_or(FlagError::Lost)
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

#[cfg(test)]
mod tests;
