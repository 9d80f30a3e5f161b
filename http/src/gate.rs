//! What every request to a host passes, a call's and a token's alike: the host's circuit, and the wait that it asks for.
//!
//! Role: turns requests away from a host that is down, reports what became of those it let go, and reads a wish for patience.
//! Neighbours: [`crate::session`] and [`crate::auth`] send; [`crate::limits`] decides.

use std::{fmt, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use rollcall_proto::clock::SharedClock;
use tokio::sync::OwnedMutexGuard;

use crate::{
    error::{Remedy, SisError},
    limits::{Admission, Circuits, OPEN_FOR, told_to_wait},
    net::Reply,
};

/// See the module. Cheap to clone; clones share the circuits.
#[derive(Clone)]
pub struct Gate {
    circuits: Arc<Circuits>,
    clock: SharedClock,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("circuits", &self.circuits).finish_non_exhaustive()
    }
}

impl Gate {
    /// All circuits closed.
    pub fn new(clock: SharedClock) -> Self {
        Self { circuits: Arc::default(), clock }
    }

    #[cfg(test)]
    pub(crate) fn circuits(&self) -> &Circuits {
        &self.circuits
    }

    /// The time by our clock.
    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// Waits by the clock that was passed in.
    pub async fn pause(&self, wait: Duration) {
        self.clock.sleep(wait).await;
    }

    /// Sends under the host's circuit. A 503 that names a time is neither a failure nor a success: whoever is told waits for as
    /// long as it says, and it says nothing to others.
    pub async fn pass(&self, host: &str, send: BoxFuture<'_, Result<Reply, SisError>>) -> Result<Reply, SisError> {
        let _trial = self.admitted(host).await?;
        let outcome = send.await;
        let is_up = match &outcome {
            Ok(reply) if reply.status < 500 => Some(true),
            Ok(reply) => self.wait_of(reply).map_or(Some(false), |_| None),
            Err(error) => Some(error.remedy() != Remedy::Again),
        };
        if let Some(is_up) = is_up {
            self.circuits.with(host, |circuit| if is_up { circuit.succeeded() } else { circuit.failed(self.now()) });
        }
        outcome
    }

    /// How long an answer asks to stay away.
    fn wait_of(&self, reply: &Reply) -> Option<Duration> {
        told_to_wait(reply.status, reply.retry_after.as_deref(), self.now())
    }

    /// Hands an answer on, unless it asks to come back later.
    pub fn unless_busy(&self, host: &str, reply: Reply) -> Result<Reply, SisError> {
        match self.wait_of(&reply) {
            Some(after) => Err(SisError::Busy { host: host.to_owned(), status: reply.status, after }),
            None => Ok(reply),
        }
    }

    /// Lets a request go. Where its host is tried again after a while, it is the one that tries, or has waited for what became of
    /// that.
    async fn admitted(&self, host: &str) -> Result<Option<OwnedMutexGuard<()>>, SisError> {
        let refused = |after| SisError::CircuitOpen { host: host.to_owned(), after };
        let admit = || self.circuits.with(host, |circuit| circuit.admit(self.now())).map_err(refused);
        if admit()? == Admission::Free {
            return Ok(None);
        }
        let trial = self.circuits.trial(host);
        let own = if let Ok(own) = Arc::clone(&trial).try_lock_owned() {
            own
        } else {
            tokio::select! {
                biased;
                own = trial.lock_owned() => own,
                () = self.pause(OPEN_FOR) => return Err(refused(OPEN_FOR)),
            }
        };
        Ok((admit()? == Admission::Trial).then_some(own))
    }
}
