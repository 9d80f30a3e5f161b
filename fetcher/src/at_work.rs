//! That somebody is at work, said again and again while it lasts.
//!
//! Role: what the reconciler counts as lost is what nobody has been heard of for a while. A SIS may take longer than that over an
//! answer, and an answer may wait for room; so whoever asks says so meanwhile. Neighbours: [`crate::FetchHandler`] asks and says it;
//! [`crate::Reconciler`] looks.
//!
//! Invariants: only what died, or stands still, or cannot reach the store, is lost; whoever finds that another one has its work by
//! now asks for nothing any more.

use std::time::Duration;

use rollcall_proto::clock::Clock;

/// Times that work is said to be under way, before it would count as lost.
const TIMES: u32 = 4;

/// Does `work`, and has `beat` tell of it meanwhile. `None`: a beat found that it is somebody else's by now, and it was dropped.
pub(crate) async fn at_work<T, F: Future<Output = bool>>(
    (clock, lost_after): (&dyn Clock, Duration),
    work: impl Future<Output = T>,
    beat: impl Fn() -> F,
) -> Option<T> {
    let beats = async {
        loop {
            clock.meanwhile(lost_after / TIMES).await;
            if !beat().await {
                return;
            }
        }
    };
    tokio::select! {
        biased;
        done = work => Some(done),
        () = beats => None,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, ready},
        sync::atomic::{AtomicU32, Ordering},
    };

    use rollcall_proto::clock::SystemClock;
    use tokio::sync::Notify;

    use super::*;

    const LOST_AFTER: Duration = Duration::from_millis(8);

    #[tokio::test]
    async fn what_takes_long_is_told_of_until_it_is_done() {
        let (beats, enough) = (AtomicU32::new(0), Notify::new());
        let beat = || {
            if beats.fetch_add(1, Ordering::Relaxed) == 9 {
                enough.notify_one();
            }
            ready(true)
        };
        assert_eq!(at_work((&SystemClock, LOST_AFTER), async { enough.notified().await }, beat).await, Some(()));
        assert_eq!(beats.into_inner(), 10);
    }

    #[tokio::test]
    async fn what_is_somebody_elses_is_dropped() {
        assert_eq!(at_work::<(), _>((&SystemClock, LOST_AFTER), pending(), || ready(false)).await, None);
    }

    #[tokio::test]
    async fn a_beat_that_takes_long_keeps_no_work_waiting() {
        let begun = Notify::new();
        let beat = || {
            begun.notify_one();
            pending()
        };
        assert_eq!(at_work((&SystemClock, LOST_AFTER), async { begun.notified().await }, beat).await, Some(()));
    }
}
