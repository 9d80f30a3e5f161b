//! How long a process lives, counted in effects.
//!
//! An effect is what others can see: a commit, a publish, a settled delivery. A process that is to die does so before one
//! of them; from then on no effect of it takes place, which is all that a `kill -9` leaves to be seen. The commit that
//! comes too late is refused by the database itself, on the thread that commits.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use rollcall_store::CommitGate;

use crate::turn::Turns;

/// A process's life.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) process: usize,
    /// Effects before its death.
    left: AtomicU64,
    dead: AtomicBool,
    turns: Arc<Turns>,
}

impl Life {
    /// A life of so many effects; for ever where nothing is said.
    pub(crate) fn new(process: usize, effects: Option<u64>, turns: Arc<Turns>) -> Self {
        Self { process, left: AtomicU64::new(effects.unwrap_or(u64::MAX)), dead: AtomicBool::new(false), turns }
    }

    /// Before an effect: comes back while the process lives.
    pub(crate) async fn effect(&self) {
        if !self.lives() {
            self.turns.die::<()>(self.process).await;
        }
    }

    /// Whether another effect may take place. The process dies where not.
    fn lives(&self) -> bool {
        let more = |left: u64| left.checked_sub(1);
        let lives = !self.is_dead() && self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_ok();
        if !lives {
            self.dead.store(true, Ordering::SeqCst);
        }
        lives
    }

    /// No more than so many effects are left.
    pub(crate) fn shorten(&self, effects: u64) {
        self.left.fetch_min(effects, Ordering::SeqCst);
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }
}

/// Whose commits the database sees: those of the process whose turn it is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gate {
    current: Arc<Mutex<Option<Arc<Life>>>>,
    commits: Arc<AtomicU64>,
}

impl Gate {
    /// From now on, commits are this process's; nobody's where there is none, and then all go through.
    pub(crate) fn belongs_to(&self, life: Option<&Arc<Life>>) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = life.cloned();
    }

    /// Commits so far.
    pub(crate) fn commits(&self) -> u64 {
        self.commits.load(Ordering::SeqCst)
    }

    pub(crate) fn hook(&self) -> CommitGate {
        let gate = self.clone();
        Arc::new(move || gate.admits())
    }

    fn admits(&self) -> bool {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let admitted = current.is_none_or(|life| life.lives());
        self.commits.fetch_add(u64::from(admitted), Ordering::SeqCst);
        admitted
    }
}
