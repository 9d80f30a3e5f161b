//! One message: compare what has to be compared, push what is due, take over, and say what is left.
//!
//! Invariants: one worker at a time has a district; work begins nothing after a unit of time, comparing included, and goes on with a
//! message; a comparison that is left is gone on with before anything else, so that nothing is pushed in the middle of it; what
//! keeps Campus from answering is kept in the store, and the reconciler asks again, so that no message waits in a queue
//! for a day; a student whose list Campus fails at waits alone, and the district only where that befalls several in a row.

use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use rollcall_http::error::{Remedy, SisError};
use rollcall_proto::{
    handler::{Fate, Handler},
    message::{Body, FlagPush, FlagSync, Message},
    telemetry::metric,
};
use rollcall_store::flag::PendingStudent;
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    comparison::Turn,
    config::FlagSyncConfig,
    context::{Context, Work},
    error::{FlagError, answer, chain, problem},
    lease::Lease,
    plan::{ACTOR, Compared},
    push::{AWAY, PATIENCE},
};

/// More pending students than these are compared with all others, by lists.
const MOST_PENDING: i64 = 50;

/// Wait before a message is tried again, while store or broker are away.
const AGAIN: Duration = Duration::from_secs(2);

/// Handles the queue of flags.
#[derive(Debug)]
pub struct FlagHandler {
    context: Context,
}

impl FlagHandler {
    /// A handler.
    pub const fn new(context: Context) -> Self {
        Self { context }
    }

    /// Does the district's work under its lease.
    async fn serve(&self, message: &Message) -> Result<(), FlagError> {
        let Some(lease) = Lease::take(&self.context, &message.district).await? else {
            // Somebody is at it, or Campus is to be left alone; what is due stays due.
            return Ok(());
        };
        let Some(outcome) = lease.hold(Box::pin(self.work(message, lease.holder))).await else {
            tracing::info!(district = %message.district, "somebody else has the district's flags by now");
            return Ok(());
        };
        if let Err(error) = &outcome {
            self.put_off(message, error).await?;
        }
        lease.release().await?;
        match outcome {
            Ok(Some(next)) => Ok(self.context.bus.publish(&[next]).await?),
            Ok(None) | Err(FlagError::Sis(_) | FlagError::Configuration(_)) => Ok(()),
            Err(FlagError::Lost) => {
                tracing::info!(district = %message.district, "the district's flags are another's by now, or were switched off");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// The message that goes on with what is left. What a slow Campus left no time for is that, and nobody's failure.
    async fn work(&self, message: &Message, worker: Uuid) -> Result<Option<Message>, FlagError> {
        let work = self.context.begin(&message.district, worker).await?;
        let next = || message.follow_up(self.context.clock.now(), Body::FlagPush(FlagPush {}));
        let error = match Box::pin(self.work_in_time(message, &work)).await {
            Err(FlagError::Sis(error)) if error.is_out_of_time() => error,
            outcome => return outcome.map(|is_left| is_left.then(next)),
        };
        tracing::info!(district = %message.district, error = chain(&error), "flags go on with another message");
        work.leave().await?;
        let failure = work.failure();
        if failure.is_none() && !work.is_comparing() && work.campus.is_well() {
            self.context.store.flags_reachable(&message.district).await?;
        }
        match work.wanted(message).await? {
            // It is done with that, or the store has how far it is.
            Some(scope) if work.has_compared(scope.program()) => {}
            // The same wish, as of the same time: nothing of it is kept yet.
            Some(Scope::All) if failure.is_none() => {
                return Ok(Some(Message { time: message.time, body: message.body.clone(), ..next() }));
            }
            _ => work.remember_named(message).await?,
        }
        // Of what is told at the end of a message, that is the end.
        failure.map_or_else(|| Ok(Some(next())), |error| Err(error.into()))
    }

    /// True: something is left.
    async fn work_in_time(&self, message: &Message, work: &Work) -> Result<bool, FlagError> {
        let turn = Turn { until: Instant::now() + self.context.config.unit };
        let before = work.go_on_comparing(message, turn).await?;
        if before.is_comparing {
            return work.remember_named(message).await.map(|()| true);
        }
        let mut due = work.compare_what_is_due(message, turn, &before).await?;
        if !due.is_comparing && !due.left {
            due.left = work.push(turn).await?;
        }
        if !due.is_comparing && !due.left {
            // With nothing left to send, it is told even if there is no time for the rest.
            work.has_failed(due.failed.as_ref().or(before.failed.as_ref()));
            let taken = Box::pin(work.take_over(turn)).await?;
            (due.left, due.is_comparing) = (taken.left, taken.is_comparing);
        }
        if due.is_comparing {
            return work.remember_named(message).await.map(|()| true);
        }
        let mut left = due.left;
        // Last: Campus may refuse one program's flags for long, and everything else is not to wait for it.
        let is_first = !(left || due.compared || before.compared);
        let asked = work.compare_asked(message, turn, is_first).await?;
        if asked.compared && !asked.is_comparing {
            left |= work.push(turn).await?;
        }
        left |= asked.left;
        // Only now: what Campus failed at kept nothing else from being done.
        if let Some(error) = due.failed.or(asked.failed).or(before.failed).filter(|_| !left) {
            return Err(error.into());
        }
        self.context.store.flags_reachable(&message.district).await?;
        Ok(left)
    }

    /// Keeps what is in the way, and until when nobody tries.
    async fn put_off(&self, message: &Message, error: &FlagError) -> Result<(), FlagError> {
        let (store, district, config) = (&self.context.store, &message.district, &self.context.config);
        let (text, named) = match error {
            FlagError::Sis(sis) => match sis.remedy() {
                Remedy::Wait(after) => (None, Some(after)),
                Remedy::Again => (Some(problem(sis)), None),
                Remedy::GiveUp => (Some(problem(sis)), Some(FlagSyncConfig::LONGEST_WAIT)),
            },
            FlagError::Configuration(_) => (Some(error.to_string()), Some(FlagSyncConfig::LONGEST_WAIT)),
            FlagError::Store(_) | FlagError::Bus(_) | FlagError::Lost => return Ok(()),
        };
        let failures = match &text {
            Some(text) => store.flags_unreachable(district, text).await?,
            None => 0,
        };
        let wait = named.unwrap_or_else(|| backoff(config.first_wait, failures));
        let at = self.context.clock.now() + TimeDelta::from_std(wait).unwrap_or(TimeDelta::MAX);
        store.retry_flags_at(district, at).await?;
        match text {
            Some(problem) if failures <= 1 => {
                tracing::error!(%district, problem, again_at = %at, "flags cannot be written; they are tried again");
            }
            _ => tracing::info!(%district, error = chain(error), again_at = %at, "flags wait for Campus"),
        }
        Ok(())
    }
}

/// What is to be compared of many students.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope<'a> {
    /// Everything.
    All,
    /// One program's flags.
    Program(&'a str),
}

impl<'a> Scope<'a> {
    const fn program(self) -> Option<&'a str> {
        match self {
            Self::All => None,
            Self::Program(program) => Some(program),
        }
    }
}

/// What became of what was to be done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Done {
    /// Some of it was compared.
    pub(crate) compared: bool,
    /// Time was up before the last of it.
    pub(crate) left: bool,
    /// A comparison of many is left, which is gone on with before anything else.
    pub(crate) is_comparing: bool,
    /// Campus failed at some of it, which is tried again, and perhaps it is away.
    pub(crate) failed: Option<SisError>,
}

impl Done {
    /// What a comparison of many came to.
    pub(crate) fn of(compared: Compared) -> Self {
        let is_comparing = compared == Compared::Left;
        let failed = if let Compared::Partly(error) = compared { Some(error) } else { None };
        Self { compared: true, left: is_comparing, is_comparing, failed }
    }
}

impl Work {
    /// The comparison that another message left, if one did. A wish for all overtakes one of a program.
    async fn go_on_comparing(&self, message: &Message, turn: Turn) -> Result<Done, FlagError> {
        let Some(hand) = self.left_over().await? else { return Ok(Done::default()) };
        if hand.is_of_one_program() && self.wanted(message).await? == Some(Scope::All) {
            self.overtake().await?;
            return Ok(Done::default());
        }
        if !hand.is_of_one_program() {
            // Where time is up, how far it is stays in the store.
            self.was_compared(None);
        }
        self.go_on(hand, turn).await.map(Done::of)
    }

    /// A program that the message alone names, which is done with before it is compared: nobody else knows of it.
    async fn remember_named(&self, message: &Message) -> Result<(), FlagError> {
        let Some(Scope::Program(program)) = self.wanted(message).await? else { return Ok(()) };
        let asked = self.store().asked_programs(self.id()).await?;
        if !asked.iter().any(|one| one.program == program) {
            self.store().ask_for_program_flags(self.id(), program, ACTOR, self.now()).await?;
        }
        Ok(())
    }

    /// The whole district, or students; one of these in any case. A student whom Campus fails at keeps no other waiting, nor the
    /// district, unless it fails at several in a row whose lists were well before.
    async fn compare_what_is_due(&self, message: &Message, turn: Turn, before: &Done) -> Result<Done, FlagError> {
        let pending = self.store().pending_students_due(self.id(), self.now(), MOST_PENDING + 1).await?;
        let wanted = self.wanted(message).await?;
        // What was gone on with may be older than the message: whatever came after it, the store says that it is due.
        let is_wanted = wanted == Some(Scope::All) && !before.compared;
        if is_wanted || pending.len() as i64 > MOST_PENDING {
            return self.compare(None, turn).await.map(Done::of);
        }
        let (mut done, mut in_a_row) = (Done::default(), 0);
        for one in &pending {
            if done.compared && turn.is_over() {
                return Ok(Done { left: true, ..done });
            }
            done.compared = true;
            match self.compare_student(&one.student).await? {
                Compared::Whole | Compared::Left => {
                    in_a_row = 0;
                    self.store().settle_pending(self.id(), std::slice::from_ref(one)).await?;
                }
                Compared::Partly(error) => {
                    self.student_waits(one, &error).await?;
                    // One whose list has failed so often is the student's trouble, whoever else's lists fail.
                    in_a_row += u32::from(one.failures < i64::from(AWAY));
                    if in_a_row >= AWAY {
                        // Perhaps it is away. What others have due is sent all the same, if it is not.
                        done.failed = Some(error);
                        break;
                    }
                }
            }
        }
        Ok(done)
    }

    /// The student's list is asked for again later, and later each time; what is to be written meanwhile is listed as `failed`.
    async fn student_waits(&self, one: &PendingStudent, error: &SisError) -> Result<(), FlagError> {
        let failures = one.failures + 1;
        let at = self.later(failures);
        self.store().pending_waits(self.id(), one, at).await?;
        let (district, why) = (self.id(), answer(error));
        match failures {
            1 => {
                tracing::error!(%district, why, again_at = %at, "Campus fails to list a student's flags; others' go on");
            }
            _ => {
                tracing::info!(%district, why, failures, again_at = %at, "Campus still fails to list a student's flags");
            }
        }
        if failures >= PATIENCE {
            metrics::counter!(metric::FLAGS, "outcome" => "failed").increment(1);
        }
        Ok(())
    }

    /// Programs that a person asked for alone; one in any case, where nothing else was done. So is what the message alone names: nobody
    /// else knows of it.
    async fn compare_asked(&self, message: &Message, turn: Turn, is_first: bool) -> Result<Done, FlagError> {
        let asked = self.store().asked_programs(self.id()).await?;
        // One may be named by the message alone: of a version that did not mark it, or one that comes again.
        let named = match self.wanted(message).await? {
            Some(Scope::Program(program)) if !asked.iter().any(|asked| asked.program == program) => Some(program),
            _ => None,
        };
        let mut done = Done::default();
        let programs = named.into_iter().chain(asked.iter().map(|one| one.program.as_str()));
        for program in programs {
            let is_in_any_case = named == Some(program) || (is_first && !done.compared);
            if !is_in_any_case && turn.is_over() {
                return Ok(Done { left: true, ..done });
            }
            let one = Done::of(self.compare(Some(program), turn).await?);
            done = Done { failed: one.failed.or(done.failed), ..one };
            if done.is_comparing {
                break;
            }
        }
        Ok(done)
    }

    /// What the message wants compared. A sync that began after it was published covers it.
    async fn wanted<'a>(&self, message: &'a Message) -> Result<Option<Scope<'a>>, FlagError> {
        let Body::FlagSync(FlagSync { student: None, program }) = &message.body else { return Ok(None) };
        let synced = self.store().flags_synced_at(self.id()).await?;
        let scope = program.as_deref().map_or(Scope::All, Scope::Program);
        Ok(synced.is_none_or(|synced| synced < message.time).then_some(scope))
    }
}

/// Doubled with each failure.
pub(crate) fn backoff(first: Duration, failures: i64) -> Duration {
    let doubled = u32::try_from(failures.clamp(1, 16) - 1).unwrap_or_default();
    first.saturating_mul(1 << doubled).min(FlagSyncConfig::LONGEST_WAIT)
}

#[async_trait]
impl Handler for FlagHandler {
    async fn handle(&self, message: Message) -> Fate {
        if !matches!(message.body, Body::FlagSync(_) | Body::FlagPush(_)) {
            return Fate::park("wrong-queue", "a message of another kind stands in the queue of flags");
        }
        match self.serve(&message).await {
            Ok(()) => Fate::Done,
            Err(error) if error.is_unknown() => {
                tracing::info!(why = chain(&error), "a message of what is not known here, or was erased, is done");
                Fate::Done
            }
            Err(error) if error.is_transient() => Fate::wait("infrastructure-away", chain(&error), AGAIN),
            Err(error) => Fate::retry("infrastructure-refused", chain(&error), AGAIN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_end() {
        let first = Duration::from_secs(30);
        let waits: Vec<_> = [0, 1, 2, 3, 6, 500].map(|failures| backoff(first, failures).as_secs()).into();
        assert_eq!(waits, [30, 30, 60, 120, 900, 900]);
    }
}
