//! Named moments at which a test has a process die: before and after each commit, publish and acknowledgement, and
//! where a handler stands between two systems.
//!
//! Role: [`reached`] is called at the moment; [`arm`] says, at the start of a process, what happens there. Neighbours:
//! the store (commits), the bus (publishing, replaying), the worker's loop (acknowledging), flag-sync (Campus).
//!
//! Invariants: a build without the feature `failpoints` of the crate `fail` holds none of it: [`reached`] is empty, and
//! [`arm`] refuses. Only the end-to-end tests' crate switches the feature on, so a build of the program alone never has
//! it (`./test --lint` looks).
//!
//! Deliberately absent: a list of the moments. Their names come from what is committed and published; the end-to-end
//! tests hold the list, and fail where it and the processes disagree.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Mutex, OnceLock, PoisonError},
};

/// What is done at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A transaction is committed; what follows is the store's name of the operation.
    Commit,
    /// Messages are published; what follows is the kind of the first.
    Publish,
    /// Deliveries are acknowledged; what follows is the queue.
    Ack,
    /// Parked messages are put back to work; what follows is the queue.
    Replay,
    /// Campus is written to; what follows is the kind of row.
    Campus,
}

/// Before the step or after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Nothing is done yet.
    Before,
    /// It is done, and nothing after it.
    After,
}

/// Why moments cannot be armed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArmError {
    /// This build has none.
    #[error("ROLLCALL_FAILPOINTS is set, and this build has no failpoints: unset it")]
    CompiledOut,
    /// The text cannot be read.
    #[error("ROLLCALL_FAILPOINTS is a list of NAME=ACTION, divided by semicolons; this is none: {0}")]
    Malformed(String),
}

/// Prints each moment's name on standard error when it is first reached.
const NOTE_ALL: &str = "*=note";

/// The process dies at once, as by `kill -9`: nothing is dropped, flushed or told.
const KILL: &str = "kill";

static NOTED: OnceLock<Mutex<BTreeSet<String>>> = OnceLock::new();

/// A moment is reached.
pub fn reached(step: Step, what: &str, side: Side) {
    if !fail::has_failpoints() {
        return;
    }
    let name = Name { step, what, side }.to_string();
    if let Some(noted) = NOTED.get()
        && noted.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone())
    {
        tell(&name, "reached");
    }
    fail::eval(&name, |_| ());
}

/// Arms moments: `NAME=kill` ends the process there; any other action is one of the crate `fail`, such as
/// `NAME=2*sleep(500)->off`; `*=note` prints which are reached.
pub fn arm(text: &str) -> Result<(), ArmError> {
    if !fail::has_failpoints() {
        return Err(ArmError::CompiledOut);
    }
    for entry in text.split(';').filter(|entry| !entry.is_empty()) {
        arm_one(entry).ok_or_else(|| ArmError::Malformed(entry.to_owned()))?;
    }
    Ok(())
}

fn arm_one(entry: &str) -> Option<()> {
    if entry == NOTE_ALL {
        NOTED.get_or_init(Mutex::default);
        return Some(());
    }
    let (name, action) = entry.split_once('=')?;
    if action != KILL {
        return fail::cfg(name, action).ok();
    }
    let told = name.to_owned();
    let die = move || {
        tell(&told, "killed");
        std::process::abort();
    };
    fail::cfg_callback(name, die).ok()
}

/// Where the tests look for it. Not a log line: a log is filtered, and may be written later.
fn tell(name: &str, what: &str) {
    eprintln!("failpoint {what}: {name}");
}

struct Name<'a> {
    step: Step,
    what: &'a str,
    side: Side,
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = match self.step {
            Step::Commit => "commit",
            Step::Publish => "publish",
            Step::Ack => "ack",
            Step::Replay => "replay",
            Step::Campus => "campus",
        };
        let side = match self.side {
            Side::Before => "before",
            Side::After => "after",
        };
        write!(f, "{step}/{}/{side}", self.what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_the_tests_list_them() {
        let name = Name { step: Step::Ack, what: "rollcall.fetch", side: Side::After };
        assert_eq!(name.to_string(), "ack/rollcall.fetch/after");
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let refused = arm("commit/a/before");
        if fail::has_failpoints() {
            assert_eq!(refused, Err(ArmError::Malformed("commit/a/before".to_owned())));
            assert_eq!(arm("commit/nothing/after=off;"), Ok(()));
            reached(Step::Commit, "nothing", Side::After);
        } else {
            assert_eq!(refused, Err(ArmError::CompiledOut));
        }
    }
}
