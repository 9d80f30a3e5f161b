//! A SIS that takes its time, wants patience, or is down: nothing of a pull is asked for twice at once, what the SIS or its host
//! makes wait costs no attempt, and a host that stays down ends the pull all the same.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rollcall_fetcher::FetcherConfig;
use rollcall_proto::handler::Fate;
use rollcall_sandbox::{Burst, Fault, FaultKind, Quirks, RetryAfter, Throttle};
use rollcall_store::{board::Progress, run::PullState};
use serde_json::json;

use crate::support::{Night, Way, sandbox};

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waits = async {
        while !is_so().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), waits).await.unwrap_or_else(|_| panic!("waited for: {what}"));
}

/// Two seconds by the clocks of fetcher and reconciler: a sign of life each half.
async fn hasty(extra: &serde_json::Value) -> Night {
    let config = FetcherConfig { lost_after: Duration::from_secs(2), ..FetcherConfig::default() };
    Night::configured(sandbox().await, extra, config).await
}

/// Lets more time go by than makes work lost, a sign of life after another. `heard` is when there was one last.
async fn outlasts(night: &Night, mut heard: impl AsyncFnMut() -> DateTime<Utc>) {
    for _ in 0..3 {
        night.clock.advance(TimeDelta::milliseconds(1_500));
        let now = rollcall_proto::clock::Clock::now(&night.clock);
        until("a sign of life", async || heard().await == now).await;
    }
    assert!(night.reconciled_after(1).await.is_empty(), "nothing is lost");
}

fn slow() -> Quirks {
    Quirks { latency_ms: Some(5_000), ..Quirks::default() }
}

async fn assert_fetched(night: &Night) {
    let pull = night.pull().await;
    assert_eq!(pull.state, PullState::Fetched, "{:?}", pull.reason);
    let board = night.board().await;
    assert!(board.listings.iter().all(|listing| listing.progress == Progress::Fetched));
    assert!(night.parked.is_empty(), "{:?}", night.parked);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_takes_longer_than_what_makes_it_lost_is_asked_for_once() {
    let mut night = hasty(&json!({"page_size": 20, "lanes": 1})).await;
    let discovery = night.take();
    night.handle_all(discovery).await;
    let [first] = night.take().try_into().expect("one lane");
    night.sandbox.set_quirks(slow());
    let under_way = night.begin(first);
    until("the request", async || night.sandbox.stats().in_flight > 0).await;
    outlasts(&night, async || night.board().await.lanes[0].dealt.unwrap().at).await;
    night.sandbox.set_quirks(Quirks::default());
    assert_eq!(under_way.await.unwrap(), Fate::Done);
    assert_eq!(night.board().await.listings.iter().map(|listing| listing.fetched).sum::<u32>(), 1, "it counts");
    night.play(|_| Way::Arrives).await;
    assert_fetched(&night).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_discovery_that_takes_longer_than_what_makes_it_lost_is_asked_for_once() {
    let mut night = hasty(&json!({"page_size": 20})).await;
    let [discovery] = night.take().try_into().expect("one connection");
    night.sandbox.set_quirks(slow());
    let under_way = night.begin(discovery);
    until("the request", async || night.sandbox.stats().in_flight > 0).await;
    outlasts(&night, async || night.store.open_runs().await.unwrap()[0].touched_at).await;
    night.sandbox.set_quirks(Quirks::default());
    under_way.await.unwrap();
    night.play(|_| Way::Arrives).await;
    assert_fetched(&night).await;
}

/// A broker has waiting rooms for a few waits, and rounds up.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_longer_than_it_was_to_wait_is_not_taken_for_lost() {
    let mut night = Night::new(&json!({"page_size": 20, "lanes": 1})).await;
    night.wait_in_tiers_of(300);
    let busy = || {
        let too_many_requests = Some(Throttle { every: 1, retry_after: RetryAfter::Seconds(20) });
        Quirks { too_many_requests, ..Quirks::default() }
    };
    night.sandbox.set_quirks(busy());
    let [discovery] = night.take().try_into().expect("one connection");
    assert!(matches!(night.begin(discovery.clone()).await.unwrap(), Fate::Retry(retry) if retry.free));
    assert!(night.reconciled_after(299).await.is_empty());
    night.sandbox.set_quirks(Quirks::default());
    night.handle_all(vec![discovery]).await;
    let [first] = night.take().try_into().expect("one lane");
    night.sandbox.set_quirks(busy());
    assert!(matches!(night.begin(first.clone()).await.unwrap(), Fate::Retry(retry) if retry.free));
    assert!(night.reconciled_after(299 + 110).await.is_empty());
    assert_eq!(night.reconciled_after(20).await.len(), 1, "now it is");
    night.sandbox.set_quirks(Quirks::default());
    night.play(|_| Way::Arrives).await;
    assert_fetched(&night).await;
}

/// In a run whose person waits, which has few attempts: more rounds of all its lanes than it has of those.
#[tokio::test(flavor = "multi_thread")]
async fn a_maintenance_that_says_how_long_it_takes_costs_no_attempt() {
    let unavailable = Some(Burst { every: 40, length: 60, retry_after: RetryAfter::Seconds(30) });
    let sandbox = sandbox().await;
    sandbox.set_quirks(Quirks { unavailable, ..Quirks::default() });
    let mut night = Night::with(sandbox, &json!({"page_size": 20, "lanes": 4})).await;
    night.play(|_| Way::Arrives).await;
    assert_fetched(&night).await;
    let refused = night.sandbox.stats().statuses[&503];
    assert!(refused >= 120, "{refused} were refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_stays_down_gives_the_pull_up_and_says_why() {
    let mut night = Night::new(&json!({"page_size": 20, "lanes": 4})).await;
    let discovery = night.take();
    night.handle_all(discovery).await;
    assert_given_up(&mut night, TimeDelta::minutes(30)).await;
}

/// Of questions that are asked at once, one that was turned away does not take the one that is tried with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_fails_at_discovery_is_given_up_in_time() {
    let mut night = Night::new(&json!({"lanes": 4})).await;
    assert_given_up(&mut night, TimeDelta::minutes(15)).await;
}

/// From now on all that is asked for fails.
async fn assert_given_up(night: &mut Night, most: TimeDelta) {
    let down = Fault { kind: FaultKind::Status(500), object: None, page: None, times: None };
    night.sandbox.set_quirks(Quirks { faults: vec![down], ..Quirks::default() });
    let began = rollcall_proto::clock::Clock::now(&night.clock);
    night.play(|_| Way::Arrives).await;
    let took = rollcall_proto::clock::Clock::now(&night.clock) - began;
    let pull = night.pull().await;
    let reason = pull.reason.unwrap_or_default();
    assert_eq!(pull.state, PullState::Failed, "{reason}");
    assert!(["sis-error", "host-unreachable"].iter().any(|code| reason.starts_with(code)), "{reason}");
    assert!(took < most, "{took}");
}
