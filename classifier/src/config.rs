//! How a classifier works.

use std::time::Duration;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassifierConfig {
    /// Groups of pages read at once; 1 to 64. More than the machine has cores gains little.
    pub collectors: u16,
    /// Most events of one run that are published and not written yet.
    pub release_window: i64,
    /// How often open runs are compared with what is owed to them.
    pub reconcile_every: Duration,
    /// A batch published and not settled for so long is published again.
    pub republish_after: Duration,
    /// How long raw pages and fragments of an ended run are kept for replay.
    pub keep_pages: Duration,
    /// How long the plan of an ended run can be looked at. Its counts, and the history that it made, stay.
    pub keep_plans: Duration,
    /// How long parked messages, and parked students of ended runs, wait for somebody to replay them.
    pub keep_parked: Duration,
    /// How long the audit trail and the access log of documents are kept; the store refuses less than a year.
    pub keep_audit: Duration,
}

impl Default for ClassifierConfig {
    fn default() -> Self {
        Self {
            collectors: 2,
            release_window: rollcall_store::RELEASE_WINDOW,
            reconcile_every: Duration::from_secs(10),
            republish_after: Duration::from_mins(1),
            keep_pages: Duration::from_hours(7 * 24),
            keep_plans: Duration::from_hours(90 * 24),
            keep_parked: Duration::from_hours(90 * 24),
            keep_audit: Duration::from_hours(2_557 * 24),
        }
    }
}
