//! How long a process that was told to stop still does anything: one span of time for all of it, and nothing at a second word.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// For work in hand and for the last spans together: whoever waits 10 s for a process has seen it end.
const LIMIT: Duration = Duration::from_millis(9_800);

/// When it was told.
static TOLD: OnceLock<Instant> = OnceLock::new();

/// It was told twice.
static AT_ONCE: AtomicBool = AtomicBool::new(false);

/// The process was told to stop, or stops by itself. Only the first word counts.
pub(crate) fn told() {
    TOLD.get_or_init(Instant::now);
}

/// It was told again: nothing is waited for any more.
pub(crate) fn at_once() {
    AT_ONCE.store(true, Ordering::Relaxed);
}

/// How long something may take that is given `wanted` at most.
pub(crate) fn left(wanted: Duration) -> Duration {
    if AT_ONCE.load(Ordering::Relaxed) { Duration::ZERO } else { of(wanted, TOLD.get().map(Instant::elapsed)) }
}

fn of(wanted: Duration, since: Option<Duration>) -> Duration {
    since.map_or(wanted, |since| wanted.min(LIMIT.saturating_sub(since)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_done_after_the_word_is_done_within_the_limit() {
        let seconds = Duration::from_secs;
        assert_eq!(of(seconds(3), None), seconds(3), "nobody has told it to stop");
        assert_eq!(of(seconds(3), Some(seconds(1))), seconds(3));
        assert_eq!(of(seconds(3), Some(seconds(8))), Duration::from_millis(1_800));
        assert_eq!(of(seconds(3), Some(seconds(20))), Duration::ZERO);
        assert!(LIMIT < seconds(10));
    }
}
