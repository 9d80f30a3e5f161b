//! Work on many things at once, on threads that end with it.
//!
//! Role: planning is the one task of a run that nobody else shares, so it may use the machine's processors. Results come in
//! the order of the items, whichever thread was first.

use std::{panic, thread};

/// Threads at most: beyond, memory and not processors are what planning waits for.
const MOST: usize = 4;

/// Applies `work` to every item. Neighbours go to different threads, so that large items, which often stand together, are
/// shared out.
pub(crate) fn map<T: Send, R: Send>(items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let threads = processors().min(items.len());
    if threads < 2 {
        return items.into_iter().map(work).collect();
    }
    let mut shares: Vec<Vec<(usize, T)>> = std::iter::repeat_with(Vec::new).take(threads).collect();
    for (place, item) in items.into_iter().enumerate() {
        shares[place % threads].push((place, item));
    }
    let work = &work;
    let mut done: Vec<(usize, R)> = thread::scope(|scope| {
        let share = |share: Vec<(usize, T)>| {
            scope.spawn(move || share.into_iter().map(|(place, item)| (place, work(item))).collect::<Vec<_>>())
        };
        let threads: Vec<_> = shares.into_iter().map(share).collect();
        let ended = threads.into_iter().map(thread::ScopedJoinHandle::join);
        ended.flat_map(|done| done.unwrap_or_else(|cause| panic::resume_unwind(cause))).collect()
    });
    done.sort_unstable_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, result)| result).collect()
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

    #[test]
    #[should_panic(expected = "seven")]
    fn a_panic_is_the_callers() {
        map((0..20).collect(), |item| assert_ne!(item, 7, "seven"));
    }
}
