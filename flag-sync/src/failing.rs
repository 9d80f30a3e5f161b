//! What Campus fails at: one thing alone, or all of it.
//!
//! Role: judges a try that came to nothing, and gives a flag that Campus fails at a turn of its own. Neighbours: [`crate::push`] and
//! [`crate::takeover`] try.
//!
//! Invariants: one flag that Campus cannot take keeps no other waiting, and is tried again by itself, later each time; Campus is
//! away where it fails at its programs too, or at several flags in a row that it did not fail at before.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use rollcall_http::error::{Remedy, SisError};
use rollcall_proto::telemetry::metric;
use rollcall_store::flag::{CutoverFlag, Failing, Flag};

use crate::{
    campus::is_of_one_student,
    context::Work,
    error::{FlagError, answer},
    handler::backoff,
    push::{AWAY, PATIENCE},
    unit::Trying,
};

/// What came of a flag of a take-over that Campus fails at.
pub(crate) const SIS_ERROR: &str = "sis-error";

/// Flags that Campus failed at one after another, with no answer in between.
#[derive(Debug, Default, Clone)]
pub(crate) struct Row(BTreeSet<String>);

impl Row {
    /// Of none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// It answered.
    pub(crate) fn answered(&mut self) {
        self.0.clear();
    }

    /// One more. True: so many in a row are no matter of a flag alone. One that it has failed at so often is, whatever else it
    /// fails at.
    pub(crate) fn is_away(&mut self, flag: &str, before: Option<&Failing>) -> bool {
        if failures(before) < i64::from(AWAY) {
            self.0.insert(flag.to_owned());
        }
        self.0.len() >= AWAY as usize
    }
}

pub(crate) fn failures(before: Option<&Failing>) -> i64 {
    before.map_or(0, |failing| failing.failures)
}

impl Work {
    /// Why Campus is away, after it failed so at one flag. None: it lists its programs, and so fails at that alone. Where there is no
    /// time left to ask, the next message sees to it.
    pub(crate) async fn why_away(&self, trying: Trying, flag: &str, error: &SisError) -> Option<SisError> {
        if !is_of_one_student(error) {
            return Some(error.clone());
        }
        match self.campus.lists_programs().await.err()? {
            // What closed the circuit is more to the point than that it is closed by now.
            SisError::CircuitOpen { .. } if error.remedy() == Remedy::Again => Some(error.clone()),
            away => {
                if away.is_out_of_time() {
                    self.campus.judge_later(trying, flag, error);
                }
                Some(away)
            }
        }
    }

    /// A message's time for more is up: where Campus has failed at something, the next one goes on from that.
    pub(crate) async fn goes_on_from(&self, trying: Trying, row: Row) -> Result<(), FlagError> {
        let goes_on = !row.is_empty() || self.campus.has_unjudged();
        self.campus.keep_row(trying, row);
        if goes_on { self.leave().await } else { Ok(()) }
    }

    /// A flag that Campus fails at has a turn of its own, later each time.
    pub(crate) async fn flag_fails(&self, flag: &Flag, error: &SisError) -> Result<(), FlagError> {
        let failing = self.once_more(flag.failing.as_ref(), answer(error));
        self.tell(&flag.id.to_string(), error, &failing);
        Ok(self.store().flag_fails(self.id(), flag.id, &failing).await?)
    }

    /// One that was tried in vain while Campus is away is no worse for that, and comes after those that were not.
    pub(crate) async fn flag_was_tried(&self, flag: &Flag) -> Result<(), FlagError> {
        self.has_turn(flag, self.now()).await
    }

    /// One that waits for another of its student, at which Campus has just failed, is no worse for that.
    pub(crate) async fn waits_with(&self, flag: &Flag, failed: &Flag) -> Result<(), FlagError> {
        self.has_turn(flag, self.later(failures(failed.failing.as_ref()) + 1)).await
    }

    async fn has_turn(&self, flag: &Flag, retry_at: DateTime<Utc>) -> Result<(), FlagError> {
        let before = flag.failing.clone();
        let (failures, answer) = before.map_or((0, String::new()), |failing| (failing.failures, failing.answer));
        Ok(self.store().flag_fails(self.id(), flag.id, &Failing { failures, retry_at, answer }).await?)
    }

    /// The same of an old flag that a take-over is to end: it stays open until then.
    pub(crate) async fn old_flag_fails(
        &self,
        program: &str,
        flag: &CutoverFlag,
        error: &SisError,
    ) -> Result<(), FlagError> {
        let failing = self.once_more(flag.failing.as_ref(), SIS_ERROR.to_owned());
        self.tell(&flag.flag, error, &failing);
        Ok(self.store().cutover_flag_fails(self.id(), program, &flag.flag, &failing).await?)
    }

    fn once_more(&self, before: Option<&Failing>, answer: String) -> Failing {
        let failures = failures(before) + 1;
        Failing { failures, retry_at: self.later(failures), answer }
    }

    /// When what has failed so often in a row is tried again.
    pub(crate) fn later(&self, failures: i64) -> DateTime<Utc> {
        let wait = backoff(self.context.config.first_wait, failures);
        self.now() + TimeDelta::from_std(wait).unwrap_or(TimeDelta::MAX)
    }

    fn tell(&self, flag: &str, error: &SisError, failing: &Failing) {
        let (district, why, again_at, failures) = (self.id(), answer(error), failing.retry_at, failing.failures);
        if failures == 1 {
            tracing::error!(%district, flag, why, %again_at, "Campus fails at a flag; others go on");
        } else {
            tracing::info!(%district, flag, why, failures, %again_at, "Campus still fails at a flag");
        }
        if failures >= PATIENCE {
            metrics::counter!(metric::FLAGS, "outcome" => "failed").increment(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_in_a_row_are_no_matter_of_one_flag() {
        let failing = |failures| Failing { failures, retry_at: DateTime::UNIX_EPOCH, answer: "500".to_owned() };
        let mut row = Row::default();
        assert!(!row.is_away("a", None) && !row.is_away("a", None), "one flag twice is one");
        assert!(!row.is_away("b", Some(&failing(2))));
        row.answered();
        assert!(!row.is_away("a", None) && !row.is_away("b", None));
        assert!(!row.is_away("old", Some(&failing(3))), "that one it fails at anyhow");
        assert!(row.is_away("c", None));
    }
}
