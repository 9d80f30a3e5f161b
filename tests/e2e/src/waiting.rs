//! Waiting for a condition, with a limit.

use std::{
    future::Future,
    time::{Duration, Instant},
};

/// How often a condition is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(30);

/// The same where each look is a process of its own, which would take the machine from what is waited for.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// Asks `probe` until it answers with a value.
///
/// # Panics
/// With `what` when the limit is over.
pub async fn until<T, F, P>(what: &str, limit: Duration, probe: P) -> T
where
    P: FnMut() -> F,
    F: Future<Output = Option<T>>,
{
    wait(what, limit, LOOK_AGAIN, probe).await
}

/// As [`until`], for a probe that asks the command line.
///
/// # Panics
/// With `what` when the limit is over.
pub async fn until_told<T, F, P>(what: &str, limit: Duration, probe: P) -> T
where
    P: FnMut() -> F,
    F: Future<Output = Option<T>>,
{
    wait(what, limit, ASK_AGAIN, probe).await
}

async fn wait<T, F, P>(what: &str, limit: Duration, pause: Duration, mut probe: P) -> T
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
        tokio::time::sleep(pause).await;
    }
}
