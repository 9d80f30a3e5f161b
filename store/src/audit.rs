//! The audit trail: who did what to which district, when.

use chrono::{DateTime, Utc};
use rollcall_proto::id::{DistrictId, RunId};

/// The actor of what is deleted because it has been kept long enough.
pub const RETENTION: &str = "retention";

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// When.
    pub at: DateTime<Utc>,
    /// Who: an operating-system user, `schedule`, [`RETENTION`], or an integration.
    pub actor: String,
    /// What, such as `run.approve`, `district.apply`, `parked.replay`, `parked.expired`, `key.rotate`, `key.forget`.
    pub action: String,
    /// Of which run, if one.
    pub run: Option<RunId>,
    /// Further ids; no student fact, no secret.
    pub detail: String,
    /// Whose.
    pub district: DistrictId,
}

impl AuditEntry {
    /// An entry of no run.
    pub fn new(
        district: &DistrictId,
        at: DateTime<Utc>,
        actor: impl Into<String>,
        action: &str,
        detail: impl Into<String>,
    ) -> Self {
        let (actor, detail) = (actor.into(), detail.into());
        Self { at, actor, action: action.to_owned(), run: None, detail, district: district.clone() }
    }

    /// The same of a run, where there is one.
    pub fn of(self, run: Option<RunId>) -> Self {
        Self { run, ..self }
    }
}
