//! Waiting for a condition, with a limit.

use std::{
    future::Future,
    time::{Duration, Instant},
};

/// How often a condition is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(30);

/// Asks `probe` until it answers with a value.
///
/// # Panics
/// With `what` when the limit is over.
pub async fn until<T, F, P>(what: &str, limit: Duration, mut probe: P) -> T
where
    P: FnMut() -> F,
    F: Future<Output = Option<T>>,
{
    let start = Instant::now();
    loop {
        if let Some(value) = probe().await {
            return value;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} in vain for {what}");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
