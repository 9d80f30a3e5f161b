//! A large district takes nobody's turn: small ones begin and end while it is still pulled, although it has lanes enough to
//! keep the only fetcher busy by itself.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::time::Duration;

use chrono::{DateTime, Utc};
use rollcall_e2e::{District, House, Role, house, until};
use rollcall_sandbox::{Quirks, Sandbox, SandboxConfig};
use serde::Deserialize;

/// Requests that the fetcher may have in flight: as many as the large district has lanes.
const REQUESTS: &str = "4";

/// Small districts.
const SMALL: usize = 3;

#[derive(Debug, Deserialize)]
struct Times {
    state: String,
    pulled: Option<DateTime<Utc>>,
    ended: Option<DateTime<Utc>>,
}

/// Of the large district's SIS it takes longer: what is told apart here is turns, not processors.
fn sis(students: u32) -> SandboxConfig {
    let latency_ms = if students > 100 { 100 } else { 40 };
    SandboxConfig { students, seed: 11, today: house::today(), latency_ms, ..SandboxConfig::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn small_districts_end_while_a_large_one_is_pulled_scaled_out() {
    let mut house = House::scaled_out(sis(700)).await;
    let fetcher = house.start("fetcher", &["worker", "fetcher", "--concurrency", REQUESTS]);
    house.start_worker(Role::Classifier);
    house.start_worker(Role::Writer);
    small_ones_beside_a_large_one(&mut house).await;
    drop(fetcher);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn small_districts_end_while_a_large_one_is_pulled_embedded() {
    let mut house = House::embedded(sis(700)).await;
    let server = house.start("serve", &["serve", "--concurrency", REQUESTS]);
    small_ones_beside_a_large_one(&mut house).await;
    drop(server);
    house.close().await;
}

async fn small_ones_beside_a_large_one(house: &mut House) {
    // Some 400 pages, and some 50 of each small one.
    house.district.page_size = 10;
    house.apply().await;
    let small = Sandbox::start(sis(40)).await.unwrap();
    for number in 1..=SMALL {
        let district = District::new(&name(number), &small.base_url(), small.client_id(), small.client_secret());
        let path = district.write(house.folder());
        house.rollcall(&["district", "apply", &path.to_string_lossy()]).await.expect_code(0);
    }
    let large = house.begin().await;
    let sis = &house.sis;
    let asked = || async { (sis.stats().requests > 60).then_some(()) };
    until("the large district's pages to be asked for", Duration::from_mins(1), asked).await;
    // As slow as this it is pulled for half a minute, unless the small ones have ended before.
    let takes = |milliseconds| Quirks { latency_ms: Some(milliseconds), ..Quirks::default() };
    sis.set_quirks(takes(400));
    let mut runs = Vec::new();
    for number in 1..=SMALL {
        runs.push(house.begin_of(&name(number)).await);
    }
    for run in &runs {
        house.ended(run).await;
    }
    sis.set_quirks(takes(0));
    house.ended(&large).await;
    let large = times(house, &large).await;
    let pulled = large.pulled.expect("the large district was pulled");
    for run in &runs {
        let small = times(house, run).await;
        assert_eq!((large.state.as_str(), small.state.as_str()), ("succeeded", "succeeded"));
        assert!(small.ended.is_some_and(|ended| ended < pulled), "{small:?}, and the large district: {large:?}");
    }
    small.shutdown().await;
}

fn name(number: usize) -> String {
    format!("small-{number}")
}

async fn times(house: &House, run: &str) -> Times {
    let answer = house.rollcall(&["runs", "show", run, "--format", "json"]).await.expect_code(0);
    answer.read::<Vec<Times>>().remove(0)
}
