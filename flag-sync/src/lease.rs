//! The right to a district's flags: taken, renewed beside the work however long that takes, given back.
//!
//! Invariants: one holder at a time; a holder that lost it stops where it stands, as if it were killed there; one that died
//! keeps nobody out for longer than the lease.

use std::time::Duration;

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

    /// Works while the lease is renewed beside it. `None`: it was lost; the work was dropped where it stood.
    pub(crate) async fn hold<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = work => Some(done),
            () = self.lost() => None,
        }
    }

    /// Gives it back.
    pub(crate) async fn release(self) -> Result<(), FlagError> {
        Ok(self.context.store.release_flags(self.district, self.holder).await?)
    }

    /// Renews again and again; ends when the lease is somebody else's. A store that is away for a moment costs nothing: the
    /// next try comes well before the lease's end.
    async fn lost(&self) {
        loop {
            tokio::time::sleep(self.context.config.lease / 4).await;
            let until = self.context.clock.now() + self.context.config.lease;
            match self.context.store.renew_flags(self.district, self.holder, until).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(district = %self.district, error, "the lease of a district's flags was not renewed");
                }
            }
        }
    }
}
