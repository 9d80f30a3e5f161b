//! Whose turn it is: the scheduler lets one hand of messages be worked on at a time.
//!
//! A turn ends when all its messages are settled, when its handler is stopped on the way (it goes on in a later turn), or
//! when its process dies. Invariant: outside a turn nothing moves, so that the seed alone decides what comes after what.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use rollcall_proto::topology::Queue;
use tokio::{
    sync::{Notify, oneshot},
    task,
};

/// Messages in the hands of one worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Work {
    pub(crate) process: usize,
    pub(crate) queue: Queue,
    pub(crate) tags: BTreeSet<u64>,
}

/// Work stopped on the way.
#[derive(Debug)]
struct Stopped {
    work: Work,
    /// Of the handler: what it asks for beside what it waits for must not stop somebody else's turn.
    task: Option<task::Id>,
    go_on: oneshot::Sender<()>,
}

/// How a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Settled, or stopped on the way.
    Over,
    /// The process died.
    Died,
}

#[derive(Debug, Default)]
struct State {
    working: Option<Work>,
    stopped: Vec<Stopped>,
    died: Option<usize>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    state: Mutex<State>,
    changed: Notify,
}

impl Turns {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A turn begins.
    pub(crate) fn begin(&self, work: Work) {
        self.state().working = Some(work);
    }

    /// Waits for the end of the turn.
    pub(crate) async fn end(&self) -> Ended {
        loop {
            {
                let mut state = self.state();
                if state.died.is_some() {
                    state.working = None;
                    return Ended::Died;
                }
                if state.working.is_none() {
                    return Ended::Over;
                }
            }
            self.changed.notified().await;
        }
    }

    /// Waits until a process dies that has no turn: one that looks after open runs.
    pub(crate) async fn death(&self) {
        while self.state().died.is_none() {
            self.changed.notified().await;
        }
    }

    /// A message of the turn is settled.
    pub(crate) fn settled(&self, tag: u64) {
        let mut state = self.state();
        // A handler that does two things at once may have gone on without the one that was stopped.
        state.stopped.retain_mut(|stopped| {
            stopped.work.tags.remove(&tag);
            !stopped.work.tags.is_empty()
        });
        let Some(work) = &mut state.working else { return };
        work.tags.remove(&tag);
        if work.tags.is_empty() {
            state.working = None;
            self.changed.notify_one();
        }
    }

    /// The handler at work is stopped until a later turn. Without one (a reconciler is at work), it is not, nor where it is
    /// stopped already and this is a second thing that it does at once.
    pub(crate) async fn stop(&self) {
        let wait = {
            let mut state = self.state();
            let task = task::try_id();
            if task.is_some() && state.stopped.iter().any(|stopped| stopped.task == task) {
                return;
            }
            let Some(work) = state.working.take() else { return };
            let (go_on, wait) = oneshot::channel();
            state.stopped.push(Stopped { work, task, go_on });
            wait
        };
        self.changed.notify_one();
        // The other end goes away only with the process, and this future with it.
        wait.await.ok();
    }

    /// The process at work is dead: nothing comes after this.
    pub(crate) async fn die<T>(&self, process: usize) -> T {
        self.state().died = Some(process);
        self.changed.notify_one();
        std::future::pending().await
    }

    /// How many handlers are stopped on the way.
    pub(crate) fn stopped(&self) -> usize {
        self.state().stopped.len()
    }

    /// How many handlers of a worker are stopped on the way.
    pub(crate) fn stopped_at(&self, process: usize, queue: Queue) -> usize {
        let at = |stopped: &&Stopped| stopped.work.process == process && stopped.work.queue == queue;
        self.state().stopped.iter().filter(at).count()
    }

    /// Begins a turn with work that was stopped; tells whose.
    pub(crate) fn go_on(&self, place: usize) -> usize {
        let mut state = self.state();
        let Stopped { work, go_on, .. } = state.stopped.remove(place);
        let process = work.process;
        state.working = Some(work);
        go_on.send(()).ok();
        process
    }

    /// Whose work is stopped at this place.
    pub(crate) fn owner(&self, place: usize) -> usize {
        self.state().stopped[place].work.process
    }

    /// A process has gone, with all it had in hand.
    pub(crate) fn gone(&self, process: usize) {
        let mut state = self.state();
        state.stopped.retain(|stopped| stopped.work.process != process);
        state.working = None;
        state.died = None;
    }
}
