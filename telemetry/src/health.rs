//! Whether the process is started, lives, and is ready.
//!
//! Liveness means that the process's event loop turns: a beat that runs on it, seen by the endpoint, which has a thread of
//! its own. Both are told from the process's very beginning, whatever starting waits for. Readiness means that it can do its work:
//! started, not draining, every consumer consumes, the store answers; and the broker takes messages, where work is done for
//! messages.

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rollcall_proto::{
    telemetry::{consuming, metric},
    topology::Queue,
};
use rollcall_store::Store;
use serde_json::json;

/// A loop that has not turned for so long does not live. A plan may keep its thread for a minute.
const STALLED: Duration = Duration::from_mins(2);
/// How often it turns.
const BEAT: Duration = Duration::from_secs(1);
/// How often the store is asked.
const LOOK: Duration = Duration::from_secs(5);
/// How long it may take to answer.
const ANSWER: Duration = Duration::from_secs(4);

/// The process's health. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Health(Arc<State>);

#[derive(Debug)]
struct State {
    beat: Mutex<Instant>,
    /// The queues to be consumed from, once store and bus are open. Told by who starts the services, and not read off those
    /// that have come up: one that has not begun yet, or never will, is in none of them.
    opened: OnceLock<Vec<Queue>>,
    draining: AtomicBool,
    store_answers: AtomicBool,
    /// Startup is over once and for all.
    started: AtomicBool,
}

/// An answer: all is well where there is no reason against it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What is in the way.
    pub reasons: Vec<String>,
}

impl Verdict {
    /// Nothing is in the way.
    pub fn is_ok(&self) -> bool {
        self.reasons.is_empty()
    }

    /// As it is answered.
    pub fn json(&self) -> String {
        json!({"ok": self.is_ok(), "reasons": self.reasons}).to_string()
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl Health {
    /// Of a process that has just begun.
    pub fn new() -> Self {
        let off = || AtomicBool::new(false);
        Self(Arc::new(State {
            beat: Mutex::new(Instant::now()),
            opened: OnceLock::new(),
            draining: off(),
            store_answers: off(),
            started: off(),
        }))
    }

    /// It waits to take another process's place, which is nothing that anybody must mend. Over once it is open.
    pub fn stand_by(&self) {
        metrics::gauge!(metric::STANDBY).set(1.0);
    }

    /// Store and bus are open, and consumers of these queues have been told to begin. Only the first call counts.
    pub fn opened(&self, queues: Vec<Queue>) {
        metrics::gauge!(metric::STANDBY).set(0.0);
        self.0.store_answers.store(true, Ordering::Relaxed);
        self.0.opened.get_or_init(|| queues);
    }

    /// It was told to stop.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
        metrics::gauge!(metric::DRAINING).set(1.0);
        metrics::gauge!(metric::READY).set(0.0);
    }

    /// Has it begun?
    pub fn startup(&self) -> Verdict {
        if self.0.started.load(Ordering::Relaxed) {
            return Verdict { reasons: Vec::new() };
        }
        let Some(queues) = self.0.opened.get() else {
            return Verdict { reasons: vec!["starting".to_owned()] };
        };
        let reasons = not_consuming(queues, |of| of.ever_up);
        if reasons.is_empty() {
            self.0.started.store(true, Ordering::Relaxed);
        }
        Verdict { reasons }
    }

    /// Does it live?
    pub fn live(&self) -> Verdict {
        Verdict { reasons: if self.last_beat().elapsed() > STALLED { vec!["stalled".to_owned()] } else { Vec::new() } }
    }

    /// When its loop last turned; when it began, where it has not yet.
    pub fn last_beat(&self) -> Instant {
        *self.0.beat.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Can it work?
    pub fn ready(&self) -> Verdict {
        if self.0.draining.load(Ordering::Relaxed) {
            return Verdict { reasons: vec!["draining".to_owned()] };
        }
        let Some(queues) = self.0.opened.get() else { return self.startup() };
        let mut reasons = not_consuming(queues, |of| of.up);
        // Who only has something to publish now and then does the rest of its work all the same.
        if !queues.is_empty() && consuming::is_blocked() {
            reasons.push("broker-blocked".to_owned());
        }
        if !self.0.store_answers.load(Ordering::Relaxed) {
            reasons.push("store-unavailable".to_owned());
        }
        Verdict { reasons }
    }

    /// Beats for as long as the process's own loop turns.
    pub async fn beat(self) {
        let mut ticks = tokio::time::interval(BEAT);
        loop {
            ticks.tick().await;
            *self.0.beat.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
    }

    /// Asks the store now and then.
    pub async fn watch(self, store: Store) {
        let mut ticks = tokio::time::interval(LOOK);
        loop {
            ticks.tick().await;
            let answers = matches!(tokio::time::timeout(ANSWER, store.check()).await, Ok(Ok(())));
            if self.0.store_answers.swap(answers, Ordering::Relaxed) && !answers {
                tracing::warn!("not ready: the store does not answer");
            }
            metrics::gauge!(metric::READY).set(f64::from(u8::from(self.ready().is_ok())));
        }
    }
}

/// A reason for each of the queues that is not as it should be.
fn not_consuming(queues: &[Queue], is_well: impl Fn(&consuming::Consuming) -> bool) -> Vec<String> {
    let off = queues.iter().filter(|queue| !is_well(&consuming::of(**queue)));
    off.map(|queue| format!("not-consuming {}", queue.word())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_started_once_it_is_open_and_ready_until_it_drains() {
        let health = Health::new();
        assert_eq!(health.startup().reasons, ["starting"]);
        assert_eq!(health.ready().reasons, ["starting"]);
        assert!(health.live().is_ok());
        health.opened(Vec::new());
        assert!(health.startup().is_ok() && health.ready().is_ok());
        health.drain();
        assert_eq!(health.ready().json(), r#"{"ok":false,"reasons":["draining"]}"#);
        assert!(health.startup().is_ok() && health.live().is_ok());
    }

    #[test]
    fn a_consumer_that_has_not_begun_is_waited_for() {
        let health = Health::new();
        health.opened(vec![Queue::Fetch, Queue::Flags]);
        let waited_for = ["not-consuming fetch", "not-consuming flags"];
        assert_eq!(health.startup().reasons, waited_for);
        assert_eq!(health.ready().reasons, waited_for);
    }
}
