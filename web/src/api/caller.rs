//! Who calls: the integration that a token belongs to, and its turn.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    extract::FromRequestParts,
    http::{header, request::Parts},
};
use rollcall_proto::id::DistrictId;
use rollcall_store::{
    integrations::{Scope, Scopes},
    lti::Digest,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::Problem;
use crate::server::App;

/// Requests of the API worked on at once; more wait.
const REQUESTS_AT_ONCE: usize = 256;
/// Of one integration: however many it sends, and however slowly, others have their turn.
const OF_ONE: usize = 16;
/// Tokens looked for at once: anybody can send what is none, and the store has other work.
const LOOKED_FOR_AT_ONCE: usize = 8;

/// Whose turn it is. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Turns {
    looking: Arc<Semaphore>,
    all: Arc<Semaphore>,
    each: Arc<Mutex<HashMap<(DistrictId, String), OfOne>>>,
}

/// An integration's turns.
#[derive(Clone)]
struct OfOne {
    requests: Arc<Semaphore>,
    large: LargeBody,
}

/// The turn of an integration's large body: one at a time.
#[derive(Clone)]
pub(super) struct LargeBody(pub(super) Arc<Semaphore>);

impl Default for OfOne {
    fn default() -> Self {
        Self { requests: Arc::new(Semaphore::new(OF_ONE)), large: LargeBody(Arc::new(Semaphore::new(1))) }
    }
}

impl Default for Turns {
    fn default() -> Self {
        let of = |places| Arc::new(Semaphore::new(places));
        Self { looking: of(LOOKED_FOR_AT_ONCE), all: of(REQUESTS_AT_ONCE), each: Arc::default() }
    }
}

impl Turns {
    fn of_one(&self, district: &DistrictId, integration: &str) -> OfOne {
        let mut each = self.each.lock().unwrap_or_else(PoisonError::into_inner);
        each.entry((district.clone(), integration.to_owned())).or_default().clone()
    }

    /// A turn of the integration's own, then one of all.
    async fn take(&self, own: &OfOne) -> Option<[OwnedSemaphorePermit; 2]> {
        let own = Arc::clone(&own.requests).acquire_owned().await.ok()?;
        Some([own, Arc::clone(&self.all).acquire_owned().await.ok()?])
    }
}

/// An integration with a token that is good.
pub(super) struct Caller {
    /// The district it belongs to: all that it can see.
    pub(super) district: DistrictId,
    /// Its name in histories and the audit trail.
    pub(super) actor: String,
    /// What its token may do.
    scopes: Scopes,
    /// Until it is answered.
    _turn: Option<[OwnedSemaphorePermit; 2]>,
}

impl Caller {
    /// Refuses what the token is not for.
    pub(super) fn may(&self, scope: Scope) -> Result<(), Problem> {
        if self.scopes.0.contains(&scope) { Ok(()) } else { Err(Problem::scope_missing(scope)) }
    }
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let value = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = value.and_then(|value| value.split_once(' '));
        let token = token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
        let token = token.ok_or_else(Problem::unauthorized)?;
        let district = token.split_once('.').and_then(|(district, _)| district.parse::<DistrictId>().ok());
        let district = district.ok_or_else(Problem::unauthorized)?;
        let holder = {
            let _looking = app.turns.looking.acquire().await;
            app.store.token_holder(&district, Digest::of(token), app.clock.now()).await?
        };
        let holder = holder.ok_or_else(Problem::unauthorized)?;
        let own = app.turns.of_one(&district, &holder.integration);
        let turn = app.turns.take(&own).await;
        parts.extensions.insert(own.large);
        let actor = format!("integration:{}", holder.integration);
        Ok(Self { district, actor, scopes: holder.scopes, _turn: turn })
    }
}
