//! Whether the process is started, lives, and is ready.
//!
//! Liveness means that the process's event loop turns: a beat that runs on it, seen by the endpoint, which has a thread of
//! its own. Readiness means that it can do its work: started, not draining, every consumer consumes, the store answers.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rollcall_proto::telemetry::{consuming, metric};
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
    opened: AtomicBool,
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
            opened: off(),
            draining: off(),
            store_answers: off(),
            started: off(),
        }))
    }

    /// Store and bus are open, and consumers have been told to begin.
    pub fn opened(&self) {
        self.0.store_answers.store(true, Ordering::Relaxed);
        self.0.opened.store(true, Ordering::Relaxed);
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
        if !self.0.opened.load(Ordering::Relaxed) {
            return Verdict { reasons: vec!["starting".to_owned()] };
        }
        let waiting = consuming::expected().into_iter().filter(|of| !of.ever_up);
        let reasons: Vec<String> = waiting.map(|of| not_consuming(&of)).collect();
        if reasons.is_empty() {
            self.0.started.store(true, Ordering::Relaxed);
        }
        Verdict { reasons }
    }

    /// Does it live?
    pub fn live(&self) -> Verdict {
        let beat = *self.0.beat.lock().unwrap_or_else(PoisonError::into_inner);
        Verdict { reasons: if beat.elapsed() > STALLED { vec!["stalled".to_owned()] } else { Vec::new() } }
    }

    /// Can it work?
    pub fn ready(&self) -> Verdict {
        if self.0.draining.load(Ordering::Relaxed) {
            return Verdict { reasons: vec!["draining".to_owned()] };
        }
        let mut reasons = self.startup().reasons;
        let down = consuming::expected().into_iter().filter(|of| of.ever_up && !of.up);
        reasons.extend(down.map(|of| not_consuming(&of)));
        if consuming::is_blocked() {
            reasons.push("broker-blocked".to_owned());
        }
        if self.0.opened.load(Ordering::Relaxed) && !self.0.store_answers.load(Ordering::Relaxed) {
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

fn not_consuming(of: &consuming::Consuming) -> String {
    format!("not-consuming {}", of.queue.word())
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
        health.opened();
        assert!(health.startup().is_ok() && health.ready().is_ok());
        health.drain();
        assert_eq!(health.ready().json(), r#"{"ok":false,"reasons":["draining"]}"#);
        assert!(health.startup().is_ok() && health.live().is_ok());
    }
}
