//! What a sandbox is started with. What can change while it runs is in [`crate::Quirks`].

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

/// How a sandbox is built. Equal configurations serve equal rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SandboxConfig {
    /// Students listed on night 1.
    pub students: u32,
    /// Seed of every invented fact.
    pub seed: u64,
    /// Port on 127.0.0.1; 0 picks a free one.
    pub port: u16,
    /// The district's date: every date served is placed relative to it.
    pub today: NaiveDate,
    /// `SchoolYearID` of the oldest of the four school years (two back, previous, current, next).
    pub first_school_year: i64,
    /// Schools, each with an entity of its own beside the district-wide entity 1; 0 picks one per 700 students.
    pub entities: u16,
    /// Percent of families whose guardians, phones, e-mails and addresses are on file. The default makes about five
    /// rows a student over all listings; 100 makes about nine.
    pub contact_percent: u8,
    /// Percent of students touched between night 1 and night 2, and by each night after the fourth.
    pub change_percent: f64,
    /// Adds students who enter, leave or fall out of the window exactly today. Off by default, because a run that
    /// starts just after midnight would judge them otherwise.
    pub edge_dates: bool,
    /// Wait before each answer, in milliseconds.
    pub latency_ms: u64,
    /// Seconds a token is good for.
    pub token_lifetime_seconds: u64,
    /// The consumer key.
    pub client_id: String,
    /// The consumer secret.
    pub client_secret: String,
    /// Whether the access covers `/Generic/`.
    pub generic: bool,
    /// Whether the access covers `/Custom/`.
    pub custom: bool,
}

impl Default for SandboxConfig {
    fn default() -> Self {
        Self {
            students: 2_000,
            seed: 1,
            port: 0,
            today: NaiveDate::from_ymd_opt(2026, 10, 14).unwrap_or_default(),
            first_school_year: 11,
            entities: 0,
            contact_percent: 20,
            change_percent: 2.0,
            edge_dates: false,
            latency_ms: 0,
            token_lifetime_seconds: 3_600,
            client_id: "sandbox-key".into(),
            client_secret: "sandbox/secret+1".into(),
            generic: true,
            custom: true,
        }
    }
}
