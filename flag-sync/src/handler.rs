//! One message: compare what has to be compared, push what is due, take over, and say what is left.
//!
//! Invariants: one worker at a time has a district; work ends after about a unit of time, comparing included, and goes on with a
//! message (but a comparison of a whole district, or of a program, is one piece, as planning is); what
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
    config::FlagSyncConfig,
    context::{Context, Work},
    error::{FlagError, answer, chain, problem},
    lease::Lease,
    plan::{Compared, Scope},
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
            Ok(true) => {
                let next = message.follow_up(self.context.clock.now(), Body::FlagPush(FlagPush {}));
                Ok(self.context.bus.publish(&[next]).await?)
            }
            Ok(false) | Err(FlagError::Sis(_) | FlagError::Configuration(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// True: something is left.
    async fn work(&self, message: &Message, worker: Uuid) -> Result<bool, FlagError> {
        let work = self.context.open(&message.district).await?;
        let until = Instant::now() + self.context.config.unit;
        let due = work.compare_what_is_due(message, until).await?;
        let mut left = due.left || work.push(worker, until).await? || Box::pin(work.take_over(worker, until)).await?;
        // Last: Campus may refuse one program's flags for long, and everything else is not to wait for it.
        let asked = work.compare_asked(message, until).await?;
        if asked.compared {
            left |= work.push(worker, until).await?;
        }
        left |= asked.left;
        // Only now: what Campus failed at kept nothing else from being done.
        if let Some(error) = due.failed.or(asked.failed).filter(|_| !left) {
            return Err(error.into());
        }
        self.context.store.flags_reachable(&message.district).await?;
        Ok(left)
    }

    /// Keeps what is in the way, and until when nobody tries.
    async fn put_off(&self, message: &Message, error: &FlagError) -> Result<(), FlagError> {
        let (store, district, config) = (&self.context.store, &message.district, &self.context.config);
        let (text, named) = match error {
            FlagError::Sis(SisError::Busy { after, .. }) => (None, Some(*after)),
            FlagError::Sis(sis) if sis.remedy() == Remedy::Again => (Some(problem(sis)), None),
            FlagError::Sis(sis) => (Some(problem(sis)), Some(FlagSyncConfig::LONGEST_WAIT)),
            FlagError::Configuration(_) => (Some(error.to_string()), Some(FlagSyncConfig::LONGEST_WAIT)),
            FlagError::Store(_) | FlagError::Bus(_) => return Ok(()),
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

/// What became of what was to be compared.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Done {
    /// Some of it was compared.
    compared: bool,
    /// Time was up before the last of it.
    left: bool,
    /// Campus failed at some of it, which is tried again, and perhaps it is away.
    failed: Option<SisError>,
}

impl Work {
    /// The whole district, or students; one of these in any case. A student whom Campus fails at keeps no other waiting, nor the
    /// district, unless it fails at several in a row whose lists were well before.
    async fn compare_what_is_due(&self, message: &Message, until: Instant) -> Result<Done, FlagError> {
        let pending = self.store().pending_students_due(self.id(), self.now(), MOST_PENDING + 1).await?;
        let wanted = self.wanted(message).await?;
        if wanted == Some(Scope::All) || pending.len() as i64 > MOST_PENDING {
            return Ok(Done { compared: true, left: false, failed: self.compare_all().await? });
        }
        let (mut done, mut in_a_row) = (Done::default(), 0);
        for one in &pending {
            if done.compared && Instant::now() >= until {
                return Ok(Done { left: true, ..done });
            }
            done.compared = true;
            match self.compare(Scope::Student(&one.student)).await? {
                Compared::Whole => {
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
        let wait = backoff(self.context.config.first_wait, failures);
        let at = self.now() + TimeDelta::from_std(wait).unwrap_or(TimeDelta::MAX);
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

    /// Programs that a person asked for alone. What the message alone names is compared in any case: nobody else knows of it.
    async fn compare_asked(&self, message: &Message, until: Instant) -> Result<Done, FlagError> {
        let asked = self.store().asked_programs(self.id()).await?;
        // One may be named by the message alone: of a version that did not mark it, or one that comes again.
        let named = match self.wanted(message).await? {
            Some(Scope::Program(program)) if !asked.iter().any(|asked| asked.program == program) => Some(program),
            _ => None,
        };
        let mut done = Done::default();
        if let Some(program) = named {
            done.compared = true;
            if let Compared::Partly(error) = self.compare(Scope::Program(program)).await? {
                done.failed = Some(error);
            }
        }
        for one in &asked {
            if Instant::now() >= until {
                return Ok(Done { left: true, ..done });
            }
            done.compared = true;
            match self.compare(Scope::Program(&one.program)).await? {
                Compared::Whole => self.store().settle_programs(self.id(), std::slice::from_ref(one)).await?,
                Compared::Partly(error) => done.failed = Some(error),
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

    /// What Campus failed at, if something; then all marks stay, and a student's own list may do where a program's does not.
    async fn compare_all(&self) -> Result<Option<SisError>, FlagError> {
        // The marks are read before the documents and Campus are: one set meanwhile stays.
        let pending = self.store().pending_students(self.id(), i64::MAX).await?;
        let asked = self.store().asked_programs(self.id()).await?;
        if let Compared::Partly(error) = self.compare(Scope::All).await? {
            return Ok(Some(error));
        }
        self.store().settle_pending(self.id(), &pending).await?;
        self.store().settle_programs(self.id(), &asked).await?;
        Ok(None)
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
