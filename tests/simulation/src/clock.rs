//! Time as the scheduler has it pass, and as a process is told of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

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

    /// Never: whoever works does nothing beside it, as one that stands still.
    fn meanwhile(&self, _: Duration) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }
}

/// The clock of one process's machine, which may be wrong. What passes is the same time for all.
#[derive(Debug, Clone)]
pub(crate) struct ProcessClock {
    time: VirtualClock,
    /// Seconds by which it is ahead.
    ahead: Arc<AtomicI64>,
}

impl ProcessClock {
    pub(crate) fn new(time: VirtualClock, ahead: i64) -> Self {
        Self { time, ahead: Arc::new(AtomicI64::new(ahead)) }
    }

    /// From now on it is so many seconds ahead.
    pub(crate) fn step(&self, ahead: i64) {
        self.ahead.store(ahead, Ordering::Relaxed);
    }
}

impl Clock for ProcessClock {
    fn now(&self) -> DateTime<Utc> {
        self.time.now() + TimeDelta::seconds(self.ahead.load(Ordering::Relaxed))
    }

    fn sleep(&self, pause: Duration) -> BoxFuture<'static, ()> {
        self.time.sleep(pause)
    }

    fn meanwhile(&self, time: Duration) -> BoxFuture<'static, ()> {
        self.time.meanwhile(time)
    }
}
