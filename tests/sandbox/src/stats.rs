//! What a sandbox counts, for tests and benchmarks.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

/// Counts since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Requests answered, token calls included, control calls not.
    pub requests: u64,
    /// Requests per object, whatever the answer; listings, searches and single rows together.
    pub requests_by_object: BTreeMap<String, u64>,
    /// Token calls, refused ones among them.
    pub token_fetches: u64,
    /// Tokens issued.
    pub tokens_issued: u64,
    /// Answers per status.
    pub statuses: BTreeMap<u16, u64>,
    /// Answers that a fault spoiled, or that were refused because the SIS was to be busy.
    pub struck: u64,
    /// Requests being answered now.
    pub in_flight: u64,
    /// Most requests answered at once.
    pub max_in_flight: u64,
    /// Bytes of bodies, before compression.
    pub bytes: u64,
}

/// The counters.
#[derive(Debug, Default)]
pub(crate) struct Counters(Mutex<Stats>);

impl Counters {
    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut Stats) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts a request, in flight until the guard goes.
    pub(crate) fn enter(&self) -> InFlight<'_> {
        self.with(|stats| {
            stats.requests += 1;
            stats.in_flight += 1;
            stats.max_in_flight = stats.max_in_flight.max(stats.in_flight);
        });
        InFlight(self)
    }

    pub(crate) fn count_object(&self, object: &str) {
        self.with(|stats| match stats.requests_by_object.get_mut(object) {
            Some(count) => *count += 1,
            None => {
                stats.requests_by_object.insert(object.to_owned(), 1);
            }
        });
    }
}

/// A request being answered.
pub(crate) struct InFlight<'a>(&'a Counters);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.with(|stats| stats.in_flight -= 1);
    }
}
