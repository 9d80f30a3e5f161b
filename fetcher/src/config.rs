//! How a fetcher works.

use std::time::Duration;

use crate::net::HttpConfig;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetcherConfig {
    /// Requests in flight at once in this process.
    pub concurrency: u16,
    /// Plain http and addresses that are not public are allowed. The process's setting, never a district's.
    pub allow_private_addresses: bool,
    /// Whether this process makes scheduled runs.
    pub schedule: bool,
    /// How often the schedule is looked at.
    pub schedule_every: Duration,
    /// How often open runs are compared with what they should have got.
    pub reconcile_every: Duration,
    /// A lane that was not heard of for so long, or a run without any change for so long, counts as lost. Who has a request under way
    /// says so four times in it.
    pub lost_after: Duration,
    /// Bytes of answers that this process holds at once: those that are read, and what is kept of them until it is handed in.
    /// Beside it, each request in flight may hold an answer of half a MiB.
    pub bodies: u64,
    /// Time-outs and limits of requests. Its `allow_private_addresses` is overridden by the one above.
    pub http: HttpConfig,
}

impl Default for FetcherConfig {
    fn default() -> Self {
        Self {
            concurrency: 64,
            allow_private_addresses: false,
            schedule: true,
            schedule_every: Duration::from_secs(20),
            reconcile_every: Duration::from_secs(5),
            lost_after: Duration::from_mins(2),
            bodies: BODIES,
            http: HttpConfig::default(),
        }
    }
}

/// Half of what `deploy/kubernetes` gives a fetcher: of the other half, 64 requests in flight with small answers take up to 64
/// MiB, packed ones among them, and the process itself as much.
const BODIES: u64 = 192 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_take_half_of_what_a_pod_has() {
        let manifest = include_str!("../../deploy/kubernetes/base/workers.yaml");
        let fetcher = manifest.split("\n---").find(|part| part.contains("component: fetcher }")).unwrap();
        let limit = fetcher.lines().find_map(|line| line.split("limits: { memory: ").nth(1)).unwrap();
        let mebibytes: u64 = limit.trim_end_matches("Mi }").parse().unwrap();
        assert_eq!(FetcherConfig::default().bodies, mebibytes << 19);
    }
}
