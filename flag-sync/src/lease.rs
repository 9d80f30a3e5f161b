//! The right to a district's flags: taken, renewed beside the work however long that takes, given back.
//!
//! Invariants: one holder at a time; a holder that lost it, or could not renew it for half its time, stops where it stands, as if it
//! were killed there; what one that stood still does before it notices is not kept over what another stored (see the store); one
//! that died keeps nobody out for longer than the lease.

use std::{
    future,
    sync::{Mutex, PoisonError},
    task::Poll,
    time::Duration,
};

use rollcall_proto::id::DistrictId;
use tokio::time::Instant;
use uuid::Uuid;

use crate::{context::Context, error::FlagError};

/// How often somebody who waits for a district looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// See the module.
#[derive(Debug)]
pub(crate) struct Lease<'a> {
    context: &'a Context,
    district: &'a DistrictId,
    /// Who holds it.
    pub(crate) holder: Uuid,
}

impl<'a> Lease<'a> {
    /// For a worker. `None`: somebody has the district, its flags are off, or Campus is to be left alone.
    pub(crate) async fn take(context: &'a Context, district: &'a DistrictId) -> Result<Option<Self>, FlagError> {
        let lease = Self { context, district, holder: Uuid::now_v7() };
        let now = context.clock.now();
        let taken = context.store.claim_flags(district, lease.holder, now, now + context.config.lease).await?;
        Ok(taken.then_some(lease))
    }

    /// For a person's decision, which waits a while for whoever is at work. `None`: it is not over by then.
    pub(crate) async fn reserve(context: &'a Context, district: &'a DistrictId) -> Result<Option<Self>, FlagError> {
        let lease = Self { context, district, holder: Uuid::now_v7() };
        let until = Instant::now() + context.config.decision_wait;
        loop {
            let now = context.clock.now();
            let ends = now + context.config.lease;
            if context.store.reserve_flags(district, lease.holder, now, ends).await? {
                return Ok(Some(lease));
            }
            if Instant::now() >= until {
                return Ok(None);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Works while the lease is renewed beside it. `None`: it was lost, or may soon be: half of it has passed since it was last
    /// renewed, by this process's own time, whatever the clock says. The work was dropped where it stood. The lease comes first: a
    /// process that stood still writes nothing.
    pub(crate) async fn hold<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let renewed = Mutex::new(Instant::now());
        let stood_still =
            future::poll_fn(|_| if Instant::now() < self.half_of(&renewed) { Poll::Pending } else { Poll::Ready(()) });
        tokio::select! {
            biased;
            () = stood_still => None,
            () = self.lost(&renewed) => None,
            done = work => Some(done),
        }
    }

    /// When half of it has passed.
    fn half_of(&self, renewed: &Mutex<Instant>) -> Instant {
        *renewed.lock().unwrap_or_else(PoisonError::into_inner) + self.context.config.lease / 2
    }

    /// Gives it back.
    pub(crate) async fn release(self) -> Result<(), FlagError> {
        Ok(self.context.store.release_flags(self.district, self.holder).await?)
    }

    /// Renews again and again; ends when the lease is somebody else's, or may soon be. A store that is away for a moment costs nothing.
    async fn lost(&self, renewed: &Mutex<Instant>) {
        let lease = self.context.config.lease;
        loop {
            tokio::time::sleep(lease / 4).await;
            let (began, until) = (Instant::now(), self.context.clock.now() + lease);
            let renewing = self.context.store.renew_flags(self.district, self.holder, until);
            match tokio::time::timeout_at(self.half_of(renewed), renewing).await {
                Ok(Ok(true)) => *renewed.lock().unwrap_or_else(PoisonError::into_inner) = began,
                Ok(Ok(false)) => return,
                Ok(Err(error)) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(district = %self.district, error, "the lease of a district's flags was not renewed");
                }
                Err(_) => {
                    tracing::warn!(district = %self.district, "the lease of a district's flags could not be renewed in time");
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rollcall_proto::{bus::embedded::EmbeddedBus, clock::SystemClock};
    use rollcall_store::{
        Store,
        district::{ConnectionSecrets, District},
        secret::Keyring,
    };

    use super::*;
    use crate::config::FlagSyncConfig;

    /// The lease is still its own, and may be another's before it looks again.
    #[tokio::test]
    async fn a_process_that_stood_still_for_half_the_lease_does_nothing_more() {
        let dir = tempfile::tempdir().unwrap();
        let key = Keyring::from_base64(&Keyring::generate().unwrap().into()).unwrap();
        let store = Store::open_embedded(dir.path(), key).await.unwrap();
        let file = serde_json::json!({
            "id": "flags", "name": "Invented", "time_zone": "America/Chicago",
            "connection": [{"kind": "oneroster", "base_url": "https://sis.example/API", "client_id": "c"}],
            "program": [{"name": "Section 504", "flags": true, "option": "create-new", "cutover": "2026-08-15"}],
        });
        let (file, clock) = (serde_json::from_value::<District>(file).unwrap(), Arc::new(SystemClock));
        let now = chrono::DateTime::UNIX_EPOCH;
        store.apply_district(&file, &[ConnectionSecrets::default()], "test", now).await.unwrap();
        let bus = Arc::new(EmbeddedBus::open(dir.path().join("bus.db")).await.unwrap());
        let config = FlagSyncConfig { lease: Duration::from_secs(2), ..FlagSyncConfig::default() };
        let context = Context::new(config, bus, store, clock).unwrap();
        let lease = Lease::take(&context, &file.id).await.unwrap().unwrap();
        let stood_still = lease.hold(async {
            // Nothing else of this process goes on meanwhile.
            std::thread::sleep(Duration::from_millis(1_100));
            tokio::task::yield_now().await;
        });
        assert_eq!(stood_still.await, None);
        assert_eq!(lease.hold(future::ready(())).await, Some(()));
    }
}
