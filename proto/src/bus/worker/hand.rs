//! What a worker has in hand.

use std::{future::pending, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::attend::Attended;

/// How long after a bus did not take something it is offered to it again.
const AGAIN: Duration = Duration::from_secs(1);

/// Deliveries that were taken up and are not settled.
#[derive(Default)]
pub(super) struct Hand {
    /// Being handled. A task gives its deliveries back with their fates.
    pub(super) tasks: JoinSet<Vec<Attended>>,
    /// Handled, and nothing to do for but to settle them.
    pub(super) kept: Kept,
}

impl Hand {
    /// Number of tasks and kept deliveries.
    pub(super) fn len(&self) -> usize {
        self.tasks.len() + self.kept.attended.len()
    }
}

/// Deliveries whose retry or parking the bus did not take. Given back, each would count as delivered once more, until the
/// broker took it for one that kills its consumers; and its work would be done once more.
///
/// No more come than the prefetch: these count against it, like those that are being handled.
pub(super) struct Kept {
    attended: Vec<Attended>,
    again: Instant,
}

impl Default for Kept {
    fn default() -> Self {
        Self { attended: Vec::new(), again: Instant::now() }
    }
}

impl Kept {
    pub(super) fn keep(&mut self, attended: Attended) {
        self.attended.push(attended);
        self.again = Instant::now() + AGAIN;
    }

    /// Waits until they are to be offered again; for ever where there are none.
    pub(super) async fn due(&self) {
        match self.attended.as_slice() {
            [] => pending().await,
            _ => sleep_until(self.again).await,
        }
    }

    pub(super) fn take(&mut self) -> Vec<Attended> {
        std::mem::take(&mut self.attended)
    }
}
