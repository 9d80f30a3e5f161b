//! Districts whose flags are due, found in the store and asked for.
//!
//! Role: the decision is [`owed`], pure; the rest looks and publishes. Neighbours: whoever closes or holds a run, or takes
//! in a document, publishes the same message at once.
//!
//! Invariants: with every message lost, flags are still synced after each run that stopped, after each document, and for each
//! program that a person asks for; many reconcilers ask once; a district that cannot be looked after keeps none behind it
//! waiting; a Campus that is away is asked again when its wait is over, and so is one that fails at a student's list.

use chrono::{DateTime, TimeDelta, Utc};
use rollcall_proto::message::{Body, FlagPush, FlagSync, Message};
use rollcall_store::{Chore, PassedOver, flag::FlagWork};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    context::Context,
    error::{FlagError, chain},
};

/// What a district is owed, if anything.
pub fn owed(work: &FlagWork, now: DateTime<Utc>, ask_again: TimeDelta) -> Option<Body> {
    let busy = work.lease_until.is_some_and(|until| now < until);
    let put_off = work.retry_at.is_some_and(|at| now < at);
    let asked = work.asked_at.is_some_and(|at| now < at + ask_again);
    if busy || put_off || asked {
        return None;
    }
    let stopped = work.stopped_at.is_some_and(|stopped| work.synced_at.is_none_or(|synced| synced <= stopped));
    if stopped {
        return Some(Body::FlagSync(FlagSync { student: None, program: None }));
    }
    // Twelve hours behind UTC the day has come everywhere: none is asked for in vain before its own midnight.
    let today = (now - TimeDelta::hours(12)).date_naive();
    let taking_over = work.take_over_on.is_some_and(|day| day <= today);
    let pending = work.pending_due_at.is_some_and(|at| at <= now);
    let failing = work.failing_due_at.is_some_and(|at| at <= now);
    let waiting = pending || failing || work.program_asked_at.is_some();
    (work.unfinished || waiting || taking_over).then_some(Body::FlagPush(FlagPush {}))
}

/// Looks again and again until `shutdown`.
pub async fn run(context: Context, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(context.config.reconcile_every) => {}
        }
        if let Err(error) = tick(&context).await {
            tracing::warn!(error = chain(&error), "flags that are due could not be looked for; again soon");
        }
    }
}

/// What came of one look at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Looked {
    /// Districts that were asked for.
    pub asked: u32,
    /// Districts that could not be looked after.
    pub passed_over: u32,
}

/// Looks once.
pub async fn tick(context: &Context) -> Result<Looked, FlagError> {
    let (mut asked, mut passed) = (0, PassedOver::none(Chore::Flags));
    for work in context.store.flag_work().await? {
        match look_at(context, &work).await {
            Ok(done) => {
                passed.looked_after();
                asked += u32::from(done);
            }
            Err(FlagError::Bus(error)) if error.is_transient() => return Err(error.into()),
            Err(error) => {
                let is_transient = error.is_transient();
                passed.note((&work.district, None), error, is_transient)?;
            }
        }
    }
    Ok(Looked { asked, passed_over: passed.count() })
}

/// True: the district was asked for.
async fn look_at(context: &Context, work: &FlagWork) -> Result<bool, FlagError> {
    let ask_again = TimeDelta::from_std(context.config.ask_again_after).unwrap_or(TimeDelta::MAX);
    let now = context.clock.now();
    let Some(body) = owed(work, now, ask_again) else { return Ok(false) };
    if !context.store.claim_flag_ask(&work.district, now - ask_again, now).await? {
        return Ok(false);
    }
    let run = rollcall_proto::id::RunId(Uuid::now_v7());
    context.bus.publish(&[Message::new(work.district.clone(), run, now, body)]).await?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
    }

    /// Days after the one that it is, at the hundredth second, twelve hours behind UTC.
    fn day(after: i64) -> chrono::NaiveDate {
        (at(100) - TimeDelta::hours(12)).date_naive() + TimeDelta::days(after)
    }

    fn work() -> FlagWork {
        FlagWork {
            district: "d".parse().unwrap(),
            synced_at: Some(at(0)),
            stopped_at: None,
            pending_since: None,
            unfinished: false,
            retry_at: None,
            lease_until: None,
            asked_at: None,
            take_over_on: None,
            program_asked_at: None,
            pending_due_at: None,
            failing_due_at: None,
        }
    }

    #[test]
    fn what_is_owed() {
        let sync = || Some(Body::FlagSync(FlagSync { student: None, program: None }));
        let push = || Some(Body::FlagPush(FlagPush {}));
        let table = [
            ("nothing happened", work(), None),
            ("a run stopped since", FlagWork { stopped_at: Some(at(1)), ..work() }, sync()),
            ("a run stopped before", FlagWork { stopped_at: Some(at(-1)), ..work() }, None),
            ("a run stopped at that very moment", FlagWork { stopped_at: Some(at(0)), ..work() }, sync()),
            ("never synced", FlagWork { synced_at: None, stopped_at: Some(at(1)), ..work() }, sync()),
            ("never synced, never run", FlagWork { synced_at: None, ..work() }, None),
            ("documents changed", FlagWork { pending_due_at: Some(at(100)), ..work() }, push()),
            ("Campus failed at the student", FlagWork { pending_due_at: Some(at(101)), ..work() }, None),
            ("Campus failed at a flag", FlagWork { failing_due_at: Some(at(100)), ..work() }, push()),
            ("one that it failed at has no turn yet", FlagWork { failing_due_at: Some(at(101)), ..work() }, None),
            ("a person asked for a program", FlagWork { program_asked_at: Some(at(5)), ..work() }, push()),
            ("flags are left", FlagWork { unfinished: true, ..work() }, push()),
            ("a take-over stopped half-way", FlagWork { take_over_on: Some(day(0)), ..work() }, push()),
            ("a take-over lies ahead", FlagWork { take_over_on: Some(day(1)), ..work() }, None),
            ("somebody is at it", FlagWork { unfinished: true, lease_until: Some(at(101)), ..work() }, None),
            ("somebody died over it", FlagWork { unfinished: true, lease_until: Some(at(100)), ..work() }, push()),
            ("Campus is away", FlagWork { stopped_at: Some(at(1)), retry_at: Some(at(101)), ..work() }, None),
            ("asked just now", FlagWork { stopped_at: Some(at(1)), asked_at: Some(at(95)), ..work() }, None),
            ("asked a while ago", FlagWork { stopped_at: Some(at(1)), asked_at: Some(at(90)), ..work() }, sync()),
        ];
        for (what, work, expected) in table {
            assert_eq!(owed(&work, at(100), TimeDelta::seconds(10)), expected, "{what}");
        }
    }
}
