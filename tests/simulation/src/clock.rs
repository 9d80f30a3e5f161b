//! Time as the scheduler has it pass.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::BoxFuture;
use rollcall_proto::clock::{Clock, ManualClock};

/// Stands still until it is moved, or until somebody sleeps: then it is later at once.
#[derive(Debug, Clone)]
pub(crate) struct VirtualClock(ManualClock);

impl VirtualClock {
    pub(crate) fn new(now: DateTime<Utc>) -> Self {
        Self(ManualClock::new(now))
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.0.advance(TimeDelta::from_std(by).unwrap_or_default());
    }

    /// Moves on to `at`, never back.
    pub(crate) fn reach(&self, at: DateTime<Utc>) {
        self.0.set(at.max(self.0.now()));
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> DateTime<Utc> {
        self.0.now()
    }

    fn sleep(&self, pause: Duration) -> BoxFuture<'static, ()> {
        self.advance(pause);
        Box::pin(std::future::ready(()))
    }
}
