//! Gauges of what is outside the process: queues, runs, districts, the pool. Looked at now and then, never by a scrape.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use rollcall_proto::{
    bus::SharedBus,
    clock::SharedClock,
    telemetry::{consuming, metric},
    topology::Queue,
};
use rollcall_store::{
    Store, StoreError,
    chores::CHORES,
    figures::{DistrictFigures, ENDS},
    run::Stage,
};
use tokio::time::Instant;

/// How often queues and the pool are looked at.
const QUEUES: Duration = Duration::from_secs(10);
/// How often runs and districts are.
const RUNS: Duration = Duration::from_secs(15);
/// How long after the other looks that of queues and the pool comes: these are at every fifth second of a process, and one of
/// theirs at the same moment would be seen in each look at the pool as its use.
const APART: Duration = Duration::from_millis(2500);
/// How long a look may take.
const ANSWER: Duration = Duration::from_secs(8);
/// Above so many districts, none has a series of its own.
pub const MOST_DISTRICTS: usize = 200;
/// A success this long ago is too long: a night and two hours, a weekend and two hours.
const OVERDUE: TimeDelta = TimeDelta::hours(26);
const OVERDUE_WITHOUT_WEEKENDS: TimeDelta = TimeDelta::hours(74);

const STAGES: [(Stage, &str); 5] = [
    (Stage::Pull, "pull"),
    (Stage::Plan, "plan"),
    (Stage::Recheck, "recheck"),
    (Stage::Held, "held"),
    (Stage::Release, "release"),
];

/// Looks at queues and the pool for ever.
pub async fn watch_queues(bus: SharedBus, store: Store, clock: SharedClock) {
    let mut ticks = tokio::time::interval_at(Instant::now() + APART, QUEUES);
    loop {
        ticks.tick().await;
        pool(&store);
        if let Ok(Ok(())) = tokio::time::timeout(ANSWER, queues(&bus, clock.now())).await {
            metrics::gauge!(metric::QUEUES_SEEN).set(seconds(clock.now()));
        }
    }
}

/// Looks at runs and districts for ever.
pub async fn watch_runs(store: Store, clock: SharedClock) {
    let mut ticks = tokio::time::interval(RUNS);
    let mut shown = Vec::new();
    loop {
        ticks.tick().await;
        let now = clock.now();
        let look = async {
            let (figures, open) = (store.figures(now).await?, store.open_runs().await?);
            Ok::<_, StoreError>((figures, open, store.chores_done().await?, takes_writes(&store.check().await)))
        };
        if let Ok(Ok((districts, open, done, takes_writes))) = tokio::time::timeout(ANSWER, look).await {
            chores(&done);
            for (stage, word) in STAGES {
                let number = open.iter().filter(|run| run.stage == stage).count();
                metrics::gauge!(metric::RUNS_OPEN, "stage" => word).set(number as f64);
            }
            together(&districts, now);
            shown = one_by_one(&districts, &shown, now);
            if takes_writes {
                metrics::gauge!(metric::STORE_SEEN).set(seconds(now));
            }
        }
    }
}

/// One that can be read and takes no writes does nobody's work: it is as good as away. A schema that does not fit is told by readiness.
fn takes_writes(check: &Result<(), StoreError>) -> bool {
    !check.as_ref().is_err_and(StoreError::is_transient)
}

/// A chore that nobody has tried yet has no series.
fn chores(done: &BTreeMap<String, DateTime<Utc>>) {
    for (name, word) in CHORES {
        if let Some(at) = done.get(name) {
            metrics::gauge!(metric::CHORE_DONE, "chore" => word).set(seconds(*at));
        }
    }
}

fn pool(store: &Store) {
    let figures = store.pool_figures();
    metrics::gauge!(metric::STORE_CONNECTIONS, "state" => "used").set(f64::from(figures.used));
    metrics::gauge!(metric::STORE_CONNECTIONS, "state" => "idle").set(f64::from(figures.idle));
    metrics::gauge!(metric::STORE_CONNECTIONS_MAX).set(f64::from(figures.max));
}

async fn queues(bus: &SharedBus, now: DateTime<Utc>) -> Result<(), rollcall_proto::bus::BusError> {
    let depths = bus.depths().await?;
    let mut oldest: BTreeMap<Queue, DateTime<Utc>> = bus.oldest().await?.into_iter().collect();
    if oldest.is_empty() {
        let taken = Queue::ALL.into_iter().filter_map(|queue| Some((queue, consuming::of(queue).last_taken?)));
        oldest.extend(taken);
    }
    for depth in depths {
        let queue = depth.queue.word();
        metrics::gauge!(metric::QUEUE_MESSAGES, "queue" => queue).set(depth.waiting as f64);
        metrics::gauge!(metric::QUEUE_PARKED, "queue" => queue).set(depth.parked as f64);
        if let Some(consumers) = depth.consumers {
            metrics::gauge!(metric::QUEUE_CONSUMERS, "queue" => queue).set(f64::from(consumers));
        }
        let since = oldest.get(&depth.queue).filter(|_| depth.waiting > 0);
        metrics::gauge!(metric::QUEUE_OLDEST_AGE, "queue" => queue).set(since.map_or(0.0, |since| age(*since, now)));
    }
    Ok(())
}

fn together(districts: &[DistrictFigures], now: DateTime<Utc>) {
    let oldest = |times: &dyn Fn(&DistrictFigures) -> Option<DateTime<Utc>>| {
        districts.iter().filter_map(times).min().map_or(0.0, |since| age(since, now))
    };
    metrics::gauge!(metric::OLDEST_OPEN_RUN_AGE).set(oldest(&|of| of.oldest_open));
    metrics::gauge!(metric::OLDEST_HELD_RUN_AGE).set(oldest(&|of| of.oldest_held));
    metrics::gauge!(metric::OLDEST_PARKED_AGE).set(oldest(&|of| of.oldest_parked));
    metrics::gauge!(metric::STUDENTS_PARKED).set(districts.iter().map(|of| of.parked).sum::<i64>() as f64);
    metrics::gauge!(metric::DISTRICTS).set(districts.len() as f64);
    let scheduled: Vec<&DistrictFigures> = districts.iter().filter(|of| of.scheduled).collect();
    metrics::gauge!(metric::DISTRICTS_SCHEDULED).set(scheduled.len() as f64);
    let overdue = scheduled.iter().filter(|of| is_overdue(of, now)).count();
    metrics::gauge!(metric::DISTRICTS_OVERDUE).set(overdue as f64);
    let since = scheduled.iter().map(|of| of.last_success.unwrap_or(of.since)).min();
    metrics::gauge!(metric::OLDEST_SUCCESS_AGE).set(since.map_or(0.0, |since| age(since, now)));
    let last = districts.iter().filter_map(|of| of.last_success).max();
    metrics::gauge!(metric::LAST_SUCCESS).set(last.map_or(0.0, seconds));
}

fn is_overdue(of: &DistrictFigures, now: DateTime<Utc>) -> bool {
    let limit = if of.weekends { OVERDUE } else { OVERDUE_WITHOUT_WEEKENDS };
    of.last_success.unwrap_or(of.since) + limit < now
}

/// Each district's own series, where there are few enough. A series cannot be taken back, so those of districts that are
/// gone are set to "not a number", which [`recorder`](crate::recorder) leaves out. Returns whom there are series of.
fn one_by_one(districts: &[DistrictFigures], shown: &[String], now: DateTime<Utc>) -> Vec<String> {
    let few = if districts.len() <= MOST_DISTRICTS { districts } else { &[] };
    for of in few {
        let success = of.last_success.map_or(0.0, seconds);
        let open = [of.oldest_open, of.oldest_held].into_iter().flatten().min();
        let ended = of.ended.map(|number| number as f64);
        show(of.district.as_str(), success, open.map_or(0.0, |since| age(since, now)), ended);
    }
    let names: Vec<String> = few.iter().map(|of| of.district.to_string()).collect();
    let gone: Vec<&String> = shown.iter().filter(|name| !names.contains(name)).collect();
    for name in &gone {
        show(name, f64::NAN, f64::NAN, [f64::NAN; 5]);
    }
    names
}

fn show(district: &str, success: f64, open: f64, ended: [f64; 5]) {
    metrics::gauge!(metric::DISTRICT_LAST_SUCCESS, "district" => district.to_owned()).set(success);
    metrics::gauge!(metric::DISTRICT_OPEN_RUN_AGE, "district" => district.to_owned()).set(open);
    for (state, number) in ENDS.into_iter().zip(ended) {
        metrics::gauge!(metric::DISTRICT_RUNS_ENDED, "district" => district.to_owned(), "state" => state.as_str())
            .set(number);
    }
}

fn age(since: DateTime<Utc>, now: DateTime<Utc>) -> f64 {
    ((now - since).num_milliseconds() as f64 / 1000.0).max(0.0)
}

fn seconds(time: DateTime<Utc>) -> f64 {
    time.timestamp_millis() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::told;

    fn figures(weekends: bool, last_success: Option<i64>) -> DistrictFigures {
        let at = |hours: i64| DateTime::UNIX_EPOCH + TimeDelta::hours(hours);
        DistrictFigures {
            district: "test-isd".parse().unwrap(),
            scheduled: true,
            weekends,
            since: at(0),
            last_success: last_success.map(at),
            oldest_open: None,
            oldest_held: None,
            ended: [0; 5],
            parked: 0,
            oldest_parked: None,
        }
    }

    #[test]
    fn a_district_is_overdue_after_a_night_without_success() {
        let now = DateTime::UNIX_EPOCH + TimeDelta::hours(100);
        assert!(!is_overdue(&figures(true, Some(75)), now));
        assert!(is_overdue(&figures(true, Some(73)), now));
        assert!(!is_overdue(&figures(false, Some(27)), now));
        assert!(is_overdue(&figures(false, Some(25)), now));
        // One that never had a success counts from the day it was made.
        assert!(is_overdue(&figures(true, None), now));
    }

    #[test]
    fn chores_are_told_by_when_they_were_done_and_no_other_name_is_a_label() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let at = |seconds| DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds);
        let done = [(CHORES[1].0.to_owned(), at(77)), ("of a later version".to_owned(), at(78))];
        metrics::with_local_recorder(&recorder, || chores(&done.into()));
        let told = told(&recorder.handle());
        let series: Vec<&str> = told.lines().filter(|line| line.starts_with(metric::CHORE_DONE)).collect();
        assert_eq!(series, [format!("{}{{chore=\"parked-queues\"}} 77", metric::CHORE_DONE)]);
    }

    #[test]
    fn a_district_is_a_label_as_long_as_they_are_few() {
        let many: Vec<DistrictFigures> = (0..=MOST_DISTRICTS)
            .map(|number| DistrictFigures { district: format!("isd-{number}").parse().unwrap(), ..figures(true, None) })
            .collect();
        let now = DateTime::UNIX_EPOCH;
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            let series = || told(&handle).lines().filter(|line| line.contains("district=\"")).count();
            together(&many[..MOST_DISTRICTS], now);
            let shown = one_by_one(&many[..MOST_DISTRICTS], &[], now);
            assert_eq!((shown.len(), shown[0].as_str()), (MOST_DISTRICTS, "isd-0"));
            assert_eq!(series(), MOST_DISTRICTS * (2 + ENDS.len()));
            // One more, and none has a series; those that had one are gone.
            together(&many, now);
            let none = one_by_one(&many, &shown, now);
            assert_eq!((none.len(), series()), (0, 0));
            assert!(told(&handle).contains(&format!("{} {}\n", metric::DISTRICTS, MOST_DISTRICTS + 1)));
            // One goes, and each has its own again.
            one_by_one(&many[1..], &none, now);
            assert_eq!(series(), MOST_DISTRICTS * (2 + ENDS.len()));
        });
    }
}
