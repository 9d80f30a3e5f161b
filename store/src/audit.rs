//! The audit trail: who did what to which district, when.

use chrono::{DateTime, Utc};
use rollcall_proto::id::{DistrictId, RunId};

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// When.
    pub at: DateTime<Utc>,
    /// Who: an operating-system user, `schedule`, or an integration.
    pub actor: String,
    /// What, such as `run.approve`, `district.apply`, `parked.replay`, `key.rotate`.
    pub action: String,
    /// Of which run, if one.
    pub run: Option<RunId>,
    /// Further ids; no student fact, no secret.
    pub detail: String,
    /// Whose.
    pub district: DistrictId,
}
