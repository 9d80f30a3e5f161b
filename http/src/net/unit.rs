//! The end of a unit of work, which cuts off what is asked for it, and what of it was waited for in this process.
//!
//! Role: whoever handles a message bounds a whole call by it: the token, repetitions and waits included. Neighbours: [`crate::net`]
//! waits for its turn and for room, and tells; [`super::room`] gives up early enough for the answer to be asked for.
//!
//! Invariants: nothing is asked beyond the end; what waited for others of this process is told from what the SIS took too long over.

use std::{cell::Cell, time::Duration};

use tokio::time::{Instant, timeout_at};

use crate::error::SisError;

/// How long a message's work asks a SIS, from its beginning. What comes of it is still to be stored within the 20 s of a unit, and a
/// request that takes as long as one may ([`super::HttpConfig::total_timeout`]) fails by itself.
pub const ASKS: Duration = Duration::from_secs(19);

/// What waits for room leaves so much of a unit for the answer.
const FOR_THE_ANSWER: Duration = Duration::from_secs(10);

/// One in so many parts of its time is what a call may wait in this process, and is cut off as one of a slow SIS all the same: a
/// request may take little less than a unit.
const OF_NO_ACCOUNT: u32 = 16;

tokio::task_local! {
    static UNIT: Unit;
}

struct Unit {
    began: Instant,
    ends_at: Instant,
    /// For others of this process.
    waited: Cell<Duration>,
}

impl Unit {
    fn cut(&self) -> Cut {
        let time = self.ends_at.saturating_duration_since(self.began);
        if self.waited.get() > time / OF_NO_ACCOUNT { Cut::Waited } else { Cut::Slow }
    }
}

/// What was not done by the end of its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// A good part of the time was waited for others of this process.
    Waited,
    /// The SIS took too long.
    Slow,
}

impl Cut {
    /// As of a call to `host`.
    pub fn of(self, host: &str) -> SisError {
        let host = host.to_owned();
        match self {
            Self::Waited => SisError::NoRoom { host },
            Self::Slow => SisError::Timeout { host },
        }
    }
}

/// Asks until then, and no longer.
///
/// # Errors
/// It was cut off.
pub async fn until<T>(ends_at: Instant, asks: impl Future<Output = T>) -> Result<T, Cut> {
    let unit = Unit { began: Instant::now(), ends_at, waited: Cell::default() };
    UNIT.scope(unit, async { timeout_at(ends_at, asks).await.map_err(|_| UNIT.with(Unit::cut)) }).await
}

/// Until when room is waited for; none outside of units.
pub(super) fn waits_until() -> Option<Instant> {
    UNIT.try_with(|unit| unit.ends_at.checked_sub(FOR_THE_ANSWER)).ok().flatten()
}

/// Waits for others of this process. It counts where it is cut off too.
pub(crate) async fn waiting<T>(wait: impl Future<Output = T>) -> T {
    let _counted = Waiting(Instant::now());
    wait.await
}

struct Waiting(Instant);

impl Drop for Waiting {
    fn drop(&mut self) {
        // Outside of units nobody counts.
        let _ = UNIT.try_with(|unit| unit.waited.set(unit.waited.get() + self.0.elapsed()));
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(200)
    }

    #[tokio::test]
    async fn what_waited_here_is_told_from_what_the_sis_took() {
        assert_eq!(until(soon(), ready(7)).await, Ok(7));
        assert_eq!(until::<()>(soon(), pending()).await, Err(Cut::Slow));
        assert_eq!(until::<()>(soon(), waiting(pending())).await, Err(Cut::Waited), "cut off as it waits");
        let asks = async {
            waiting(tokio::time::sleep(Duration::from_millis(50))).await;
            pending::<()>().await;
        };
        assert_eq!(until(soon(), asks).await, Err(Cut::Waited), "a good part of the time");
        let asks = async {
            waiting(ready(())).await;
            pending::<()>().await;
        };
        assert_eq!(until(soon(), asks).await, Err(Cut::Slow));
        assert_eq!(waiting(ready(7)).await, 7, "outside of units nobody counts");
    }
}
