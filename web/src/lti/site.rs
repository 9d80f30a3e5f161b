//! A district as a launch sees it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::response::Response;
use rollcall_proto::id::DistrictId;
use rollcall_store::{district::District, lti::Registration};
use url::Url;
use uuid::Uuid;

use crate::{refusal::Refusal, server::App};

/// A store that answers no sooner is away, as long as there is time to say so.
const STORE_WITHIN: Duration = Duration::from_secs(15);

/// Who may frame what a district's launches are answered with, as it was when the store was last asked: while it is away, the page that
/// says so is shown within the platform's frame too. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Framers(Arc<Mutex<HashMap<DistrictId, Vec<String>>>>);

impl Framers {
    fn keep(&self, district: &DistrictId, ancestors: Vec<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(district.clone(), ancestors);
    }

    fn of(&self, district: &DistrictId) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(district).cloned().unwrap_or_default()
    }
}

/// The district in the path, and the platforms that may launch.
pub(super) struct Site {
    pub(super) district: District,
    pub(super) registrations: Vec<Registration>,
}

impl Site {
    /// Finds it, or the answer to give.
    pub(super) async fn find(app: &App, id: &str) -> Result<Self, Response> {
        let Ok(id) = id.parse::<DistrictId>() else { return Err(Refusal::UnknownPlatform.answer(None, &[])) };
        let loaded = tokio::time::timeout(STORE_WITHIN, Self::load(app, &id)).await;
        match loaded.unwrap_or(Err(Refusal::Unavailable)) {
            Ok(site) => {
                app.framers.keep(&id, site.framers());
                Ok(site)
            }
            Err(Refusal::Unavailable) => Err(Refusal::Unavailable.answer(Some(&id), &app.framers.of(&id))),
            Err(refusal) => Err(refusal.answer(Some(&id), &[])),
        }
    }

    /// As the store has it now.
    pub(super) async fn load(app: &App, id: &DistrictId) -> Result<Self, Refusal> {
        let registrations = app.store.registrations(id).await?;
        if registrations.is_empty() {
            return Err(Refusal::UnknownPlatform);
        }
        Ok(Self { district: app.store.district(id).await?, registrations })
    }

    pub(super) const fn id(&self) -> &DistrictId {
        &self.district.id
    }

    /// The registration of a login.
    pub(super) fn registration(&self, id: Uuid) -> Option<&Registration> {
        self.registrations.iter().find(|registration| registration.id == id)
    }

    /// Refuses, with a page that the district's platforms may frame.
    pub(super) fn refuse(&self, refusal: Refusal) -> Response {
        refusal.answer(Some(self.id()), &self.framers())
    }

    fn framers(&self) -> Vec<String> {
        let mut ancestors: Vec<String> = self.registrations.iter().flat_map(frame_ancestors).collect();
        ancestors.sort_unstable();
        ancestors.dedup();
        ancestors
    }
}

/// Who may frame what a registration's launches show: the platform's own origins, and those configured.
pub(super) fn frame_ancestors(registration: &Registration) -> Vec<String> {
    let issuer = Url::parse(&registration.issuer).ok();
    let own = std::iter::once(&registration.auth_url).chain(issuer.as_ref()).filter_map(origin);
    let mut all: Vec<String> = own.chain(registration.details.frame_origins.iter().cloned()).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// The origin of an http or https URL.
pub(super) fn origin(url: &Url) -> Option<String> {
    matches!(url.scheme(), "http" | "https").then(|| url.origin().ascii_serialization())
}
