//! Work on threads of its own: one long thing, or many at once on threads that end with it.
//!
//! Role: planning is the one task of a run that nobody else shares, so it may use the machine's processors. Results come in
//! the order of the items, whichever thread was first. A panic on such a thread goes on where its result is waited for: what it
//! said may be a student fact, which the runtime's own error for it would repeat.

use std::{
    panic,
    sync::{Mutex, PoisonError},
    thread,
};

use tokio::task::spawn_blocking;

use crate::error::ClassifierError;

/// Threads at most: beyond, memory and not processors are what planning waits for.
const MOST: usize = 4;

/// Applies `work` to every item. Each thread takes the next one when it has done its last, so that all end about together.
pub(crate) fn map<T: Send, R: Send>(items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let threads = processors().min(items.len());
    if threads < 2 {
        return items.into_iter().map(work).collect();
    }
    let queue = Mutex::new(items.into_iter().enumerate());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let share = || std::iter::from_fn(next).map(|(place, item)| (place, work(item))).collect::<Vec<_>>();
    let mut done: Vec<(usize, R)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(share)).collect();
        let ended = threads.into_iter().map(thread::ScopedJoinHandle::join);
        ended.flat_map(|done| done.unwrap_or_else(|cause| panic::resume_unwind(cause))).collect()
    });
    done.sort_unstable_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Does work that would hold up everybody else of an asynchronous thread.
///
/// # Errors
/// Only where the process ends before it was begun.
pub(crate) async fn apart<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> Result<R, ClassifierError> {
    match spawn_blocking(work).await {
        Ok(result) => Ok(result),
        Err(ended) => match ended.try_into_panic() {
            Ok(cause) => panic::resume_unwind(cause),
            Err(_) => Err(ClassifierError::Task),
        },
    }
}

/// Threads worth starting.
pub(crate) fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from).min(MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_items() {
        for count in [0, 1, 2, 3, 100] {
            let items: Vec<usize> = (0..count).collect();
            assert_eq!(map(items.clone(), |item| item * 2), items.iter().map(|item| item * 2).collect::<Vec<_>>());
        }
    }

    #[tokio::test]
    #[should_panic(expected = "seven")]
    async fn a_panic_apart_is_the_callers_and_no_error_repeats_it() {
        assert_eq!(apart(|| 8).await.ok(), Some(8));
        let error = apart(|| assert_eq!(8, 7, "seven")).await.err();
        assert!(error.is_none(), "{error:?}");
    }

    #[test]
    #[should_panic(expected = "seven")]
    fn a_panic_is_the_callers() {
        map((0..20).collect(), |item| assert_ne!(item, 7, "seven"));
    }
}
