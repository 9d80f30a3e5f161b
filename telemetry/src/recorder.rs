//! Metrics of the process, in the Prometheus text format.

use std::time::Duration;

use chrono::{DateTime, Utc};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;
use rollcall_proto::telemetry::{
    self,
    metric::{self, Shape},
};

/// Seconds that something took.
const DURATIONS: [f64; 13] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 60.0];
/// Seconds since something.
const AGES: [f64; 13] = [0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 86_400.0];
/// How many together.
const SIZES: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// How often histograms are drained of what came in since the last scrape.
pub(crate) const UPKEEP: Duration = Duration::from_secs(5);

/// The process's metrics. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
    process: Collector,
    started: DateTime<Utc>,
}

/// The library's own name for it. It reckons from /proc/stat, which a unit of ours may not see (`ProcSubset=pid`): what the process
/// knows by itself stands in for it, or an alert on restarts would never fire there.
const STARTED: &str = "rollcall_process_start_time_seconds";

/// A series that was set to "not a number" is one that was taken back, which the library cannot: it is left out.
pub(crate) fn told(handle: &PrometheusHandle) -> String {
    let text = handle.render();
    if !text.contains(GONE) {
        return text;
    }
    text.split_inclusive('\n').filter(|line| !line.trim_end().ends_with(GONE)).collect()
}

/// How the value of such a series stands at the end of its line.
const GONE: &str = " NaN";

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// Records from here on; every series carries `role`. Once in a process, which has just `started`.
    pub fn install(role: &'static str, started: DateTime<Utc>) -> Result<Self, BuildError> {
        let mut builder = PrometheusBuilder::new().add_global_label("role", role);
        for one in metric::ALL {
            let buckets: Option<&[f64]> = match one.shape {
                Shape::Duration => Some(&DURATIONS),
                Shape::Age => Some(&AGES),
                Shape::Size => Some(&SIZES),
                Shape::Counter | Shape::Gauge => None,
            };
            if let Some(buckets) = buckets {
                builder = builder.set_buckets_for_metric(Matcher::Full(one.name.to_owned()), buckets)?;
            }
        }
        let handle = builder.install_recorder()?;
        telemetry::measure();
        for one in metric::ALL {
            match one.shape {
                Shape::Counter => metrics::describe_counter!(one.name, one.help),
                Shape::Gauge => metrics::describe_gauge!(one.name, one.help),
                Shape::Duration | Shape::Age | Shape::Size => metrics::describe_histogram!(one.name, one.help),
            }
        }
        metrics::gauge!(metric::BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        metrics::gauge!(metric::DRAINING).set(0.0);
        metrics::gauge!(metric::STANDBY).set(0.0);
        // Until it is found to be: what never gets so far as to be asked is told of too.
        metrics::gauge!(metric::READY).set(0.0);
        introduce();
        let process = Collector::new("rollcall_");
        process.describe();
        Ok(Self { handle, process, started })
    }

    /// The exposition.
    pub fn render(&self) -> String {
        self.process.collect();
        metrics::gauge!(STARTED).set(self.started.timestamp_millis() as f64 / 1000.0);
        told(&self.handle)
    }

    /// Keeps histograms small between scrapes.
    pub(crate) fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

/// Makes series whose labels are known, at 0, so that a rate is known from the first event on.
fn introduce() {
    const LABELLED: [(&str, &str, &[&str]); 12] = [
        (metric::SPANS, "outcome", &["exported", "failed", "dropped"]),
        (metric::PUBLISHED, "outcome", &["confirmed", "failed"]),
        (metric::PAGES, "outcome", &["decoded", "undecodable"]),
        (metric::PLANS, "outcome", &["released", "held", "recheck", "failed"]),
        (metric::STUDENTS_PLANNED, "change", &["added", "changed", "removed", "unchanged", "skipped"]),
        (metric::STUDENTS_APPLIED, "outcome", &["applied", "parked", "superseded"]),
        (metric::RUNS_ENDED, "state", &["succeeded", "partial", "failed", "cancelled", "discarded"]),
        (metric::FLAGS, "outcome", &["pushed", "failed"]),
        (metric::LTI_LOGINS, "outcome", &["begun", "crowded-out"]),
        (metric::STORE_TRANSACTIONS, "outcome", &["committed", "rolled-back"]),
        (metric::STORE_ERRORS, "class", &["transient", "permanent"]),
        (metric::PASSED_OVER, "chore", &["schedule", "fetching", "planning", "flags", "retention"]),
    ];
    for (name, label, values) in LABELLED {
        for value in values {
            metrics::counter!(name, label => *value).increment(0);
        }
    }
    metrics::counter!(metric::PAGE_ROWS).increment(0);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Names that the page and the code have in common with nobody: the library's own, of the process.
    const OF_THE_PROCESS: &str = "rollcall_process_";

    #[test]
    fn the_page_names_what_is_measured_and_nothing_else() {
        let page = include_str!("../../docs/METRICS.md");
        let words = page.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        let documented: BTreeSet<&str> =
            words.filter(|word| word.starts_with("rollcall_") && !word.starts_with(OF_THE_PROCESS)).collect();
        let documented: BTreeSet<&str> = documented.into_iter().filter(|name| !name.ends_with('_')).collect();
        let measured: BTreeSet<&str> = metric::ALL.iter().map(|one| one.name).collect();
        assert_eq!(documented, measured);
        for one in metric::ALL {
            let counts = one.name.ends_with("_total");
            assert_eq!(
                one.shape == Shape::Counter,
                counts,
                "{}: a counter, and only a counter, ends in _total",
                one.name
            );
            let shape = match one.shape {
                Shape::Counter => "counter",
                Shape::Gauge => "gauge",
                Shape::Duration | Shape::Age | Shape::Size => "histogram",
            };
            let row = page.lines().find(|line| line.starts_with(&format!("| `{}` |", one.name)));
            let row = row.unwrap_or_else(|| panic!("{} has no row", one.name));
            assert!(row.contains(&format!("| {shape} |")), "{row}");
        }
    }
}
