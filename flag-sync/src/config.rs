//! How flag-sync works.

use std::{num::NonZeroU32, time::Duration};

use rollcall_http::net::HttpConfig;

use crate::partner::PartnerInterface;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlagSyncConfig {
    /// Districts at once in this process.
    pub concurrency: u16,
    /// Plain http and addresses that are not public are allowed. The process's setting, never a district's.
    pub allow_private_addresses: bool,
    /// Requests a second to one district's Campus, reads and retries included.
    pub requests_per_second: NonZeroU32,
    /// Students whose flags are pushed at once; one student's are pushed one after the other.
    pub students_at_once: u16,
    /// Students who are compared at a time, where all are.
    pub students_at_a_time: NonZeroU32,
    /// Where people reach the HTTP side, which a click on a flag leads to. None: flags have no link.
    pub public_url: Option<url::Url>,
    /// The partner interface.
    pub partner: PartnerInterface,
    /// How often flags that are due are looked for.
    pub reconcile_every: Duration,
    /// A district asked about is asked about again after so long, if its flags are still due.
    pub ask_again_after: Duration,
    /// A district is a worker's for so long without a sign of life. Longer than a request may take.
    pub lease: Duration,
    /// A person's decision waits so long for the worker that has the district. Longer than a unit of work.
    pub decision_wait: Duration,
    /// Work on one message begins no other student, flag or list after so long, and goes on with another one.
    pub unit: Duration,
    /// What a message asks Campus after its first request is given up so long after its beginning, and not begun where too little of
    /// that is left; it goes on with another message. Longer than a request may take.
    pub asks: Duration,
    /// The first wait after Campus was away; doubled each time, up to [`FlagSyncConfig::LONGEST_WAIT`].
    pub first_wait: Duration,
    /// Time-outs and limits of requests. Its `allow_private_addresses` is overridden by the one above.
    pub http: HttpConfig,
}

impl FlagSyncConfig {
    /// Longest wait until Campus is tried again.
    pub const LONGEST_WAIT: Duration = Duration::from_mins(15);
}

impl Default for FlagSyncConfig {
    fn default() -> Self {
        Self {
            concurrency: 4,
            allow_private_addresses: false,
            requests_per_second: NonZeroU32::new(10).unwrap_or(NonZeroU32::MIN),
            students_at_once: 8,
            students_at_a_time: NonZeroU32::new(1_000).unwrap_or(NonZeroU32::MIN),
            public_url: None,
            partner: PartnerInterface::default(),
            reconcile_every: Duration::from_secs(5),
            ask_again_after: Duration::from_secs(20),
            lease: Duration::from_mins(1),
            decision_wait: Duration::from_secs(30),
            unit: Duration::from_secs(9),
            asks: Duration::from_secs(19),
            first_wait: Duration::from_secs(30),
            http: HttpConfig::default(),
        }
    }
}
