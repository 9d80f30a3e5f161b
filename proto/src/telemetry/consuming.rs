//! Whether this process consumes from the queues it should: what readiness is judged by.
//!
//! One tally for the process, as there is one readiness for it. A queue is expected from the start of its worker to its
//! end, and consumed from while a subscription lives.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

use chrono::{DateTime, Utc};

use super::metric;
use crate::topology::Queue;

struct Tally {
    expected: AtomicUsize,
    up: AtomicUsize,
    ever_up: AtomicBool,
    /// When the message taken last was published: microseconds since 1970, 0 for none yet.
    last_taken: AtomicI64,
}

static TALLIES: [Tally; Queue::ALL.len()] = [const {
    Tally {
        expected: AtomicUsize::new(0),
        up: AtomicUsize::new(0),
        ever_up: AtomicBool::new(false),
        last_taken: AtomicI64::new(0),
    }
}; Queue::ALL.len()];

static BLOCKED: AtomicBool = AtomicBool::new(false);

/// How one queue is consumed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Consuming {
    /// It has workers, and all of them consume now.
    pub up: bool,
    /// One has once.
    pub ever_up: bool,
    /// When the message taken last was published.
    pub last_taken: Option<DateTime<Utc>>,
}

/// How this process consumes from a queue.
pub fn of(queue: Queue) -> Consuming {
    let tally = &TALLIES[queue as usize];
    let (expected, up) = (tally.expected.load(Ordering::Relaxed), tally.up.load(Ordering::Relaxed));
    let micros = tally.last_taken.load(Ordering::Relaxed);
    Consuming {
        up: expected > 0 && up >= expected,
        ever_up: tally.ever_up.load(Ordering::Relaxed),
        last_taken: DateTime::from_timestamp_micros(micros).filter(|_| micros != 0),
    }
}

/// The broker accepts no messages for now.
pub fn is_blocked() -> bool {
    BLOCKED.load(Ordering::Relaxed)
}

pub(crate) fn set_blocked(blocked: bool) {
    BLOCKED.store(blocked, Ordering::Relaxed);
    metrics::gauge!(metric::BROKER_BLOCKED).set(f64::from(u8::from(blocked)));
}

/// A message published at `time` was taken in hand.
pub(super) fn taken(queue: Queue, time: DateTime<Utc>) {
    TALLIES[queue as usize].last_taken.store(time.timestamp_micros(), Ordering::Relaxed);
}

/// A worker that should consume, until it is dropped.
#[derive(Debug)]
pub(crate) struct Expected(Queue);

impl Expected {
    pub(crate) fn begin(queue: Queue) -> Self {
        TALLIES[queue as usize].expected.fetch_add(1, Ordering::Relaxed);
        metric::introduce(queue);
        metrics::gauge!(metric::CONSUMER_UP, "queue" => queue.word()).set(0.0);
        set_blocked(is_blocked());
        Self(queue)
    }

    /// It consumes, until what is returned is dropped.
    pub(crate) fn up(&self) -> Up {
        let tally = &TALLIES[self.0 as usize];
        if tally.ever_up.swap(true, Ordering::Relaxed) {
            metrics::counter!(metric::CONSUMER_RESTARTS, "queue" => self.0.word()).increment(1);
        }
        tally.up.fetch_add(1, Ordering::Relaxed);
        metrics::gauge!(metric::CONSUMER_UP, "queue" => self.0.word()).set(1.0);
        Up(self.0)
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        TALLIES[self.0 as usize].expected.fetch_sub(1, Ordering::Relaxed);
    }
}

/// See [`Expected::up`].
#[derive(Debug)]
pub(crate) struct Up(Queue);

impl Drop for Up {
    fn drop(&mut self) {
        TALLIES[self.0 as usize].up.fetch_sub(1, Ordering::Relaxed);
        metrics::gauge!(metric::CONSUMER_UP, "queue" => self.0.word()).set(0.0);
    }
}
