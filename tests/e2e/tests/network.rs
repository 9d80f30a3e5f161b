//! A bad network between the workers and the broker, the database and the SIS: a proxy of the tests stands in between.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::time::Duration;

use rollcall_e2e::{
    House, Ledger, Pair, Proxy, Role,
    house::repetitions,
    pair::until_pages_are_in,
    points,
    proxy::{Trap, Weather},
    services::Servers,
    until,
};
use url::Url;

/// The three ways out of a worker.
struct Ways {
    broker: Proxy,
    database: Proxy,
    sis: Proxy,
}

impl Ways {
    /// Puts a proxy into each way; the command line, and the test's own eyes, go past them.
    async fn through(house: &mut House) -> Self {
        let services = house.services();
        let parsed = |text: &str| Url::parse(text).expect("a server's URL can be read");
        let (amqp, database) = (parsed(&services.amqp_url()), parsed(&services.database_url()));
        let sis = parsed(&house.district.base_url);
        let ways =
            Self { broker: Proxy::to(&amqp).await, database: Proxy::to(&database).await, sis: Proxy::to(&sis).await };
        house.worker_settings = vec![
            ("ROLLCALL_AMQP_URL".to_owned(), ways.broker.url(&amqp)),
            ("ROLLCALL_DATABASE_URL".to_owned(), ways.database.url(&database)),
        ];
        house.district.base_url = ways.sis.url(&sis);
        house.apply().await;
        ways
    }

    fn each(&self) -> [(&'static str, &Proxy); 3] {
        [("broker", &self.broker), ("database", &self.database), ("SIS", &self.sis)]
    }
}

async fn pair_behind_proxies(seed: u64, test: &str, disturbance: &str) -> (Pair, Ways) {
    let mut ways = None;
    let ledger = Ledger::begin(test, disturbance);
    let pair = Pair::begin_with(Servers::shared(), seed, ledger, async |house| {
        ways = Some(Ways::through(house).await);
    })
    .await;
    (pair, ways.expect("the proxies stand"))
}

fn all_run(house: &mut House) {
    for role in Role::ALL {
        assert!(house.worker(role).is_running(), "no worker had to be started again: {}", house.worker(role).log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_break_in_mid_frame_are_made_anew() {
    let test = "connections_that_break_in_mid_frame_are_made_anew";
    let (mut pair, ways) =
        pair_behind_proxies(61, test, "connections cut in mid-frame, either way, to broker, database and SIS").await;
    let traps = [Trap::CutAnswer, Trap::CutRequest].into_iter().take(repetitions(1, 2) as usize);
    for trap in traps {
        for (what, proxy) in ways.each() {
            // What is sent to a SIS is too short to be cut in its middle.
            if what == "SIS" && trap == Trap::CutRequest {
                continue;
            }
            let before = proxy.sprung();
            pair.disturbed(&format!("{what}, {trap:?}"), &["succeeded"], async |house, run| {
                until_pages_are_in(house, run, 1).await;
                proxy.lay(trap, 2);
            })
            .await;
            assert!(proxy.sprung() > before, "{what}, {trap:?}: nothing was cut");
            pair.ledger.faults(proxy.sprung() - before);
            proxy.lay(trap, 0);
        }
    }
    all_run(&mut pair.house);
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_network_slows_and_nothing_else() {
    let test = "a_slow_network_slows_and_nothing_else";
    let (mut pair, ways) = pair_behind_proxies(62, test, "latency to broker, database and SIS").await;
    let latency = Duration::from_millis(repetitions(5, 40));
    pair.disturbed("latency", &["succeeded"], async |_, _| {
        ways.each().into_iter().for_each(|(_, proxy)| proxy.set(Weather::Slow(latency)));
    })
    .await;
    pair.ledger.faults(3);
    all_run(&mut pair.house);
    pair.end().await;
}

/// Half-open: what was connected is connected to nothing any more, and nobody says so. New connections are served.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_half_open_are_given_up() {
    let test = "connections_that_are_half_open_are_given_up";
    let (mut pair, ways) = pair_behind_proxies(63, test, "half-open connections to broker, database and SIS").await;
    // The driver of the database is the one that would wait for ever.
    let [broker, database, sis] = ways.each();
    let each = [database, broker, sis].into_iter().take(repetitions(1, 3) as usize);
    for (what, proxy) in each {
        pair.disturbed(what, &["succeeded"], async |house, run| {
            until_pages_are_in(house, run, 2).await;
            proxy.set(Weather::Lost);
        })
        .await;
        proxy.set(Weather::Clear);
        pair.ledger.faults(1);
    }
    all_run(&mut pair.house);
    pair.end().await;
}

/// Everything is silent for a while, new connections too.
#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_is_silent_for_a_while_is_waited_for() {
    let test = "a_network_that_is_silent_for_a_while_is_waited_for";
    let (mut pair, ways) =
        pair_behind_proxies(64, test, "broker, database and SIS behind a network that takes all and gives nothing")
            .await;
    let silence = Duration::from_secs(repetitions(4, 60));
    for (what, proxy) in ways.each().into_iter().take(repetitions(1, 3) as usize) {
        pair.disturbed(what, &["succeeded"], async |house, run| {
            until_pages_are_in(house, run, 2).await;
            proxy.set(Weather::Silent);
            // The length is what the test is about.
            tokio::time::sleep(silence).await;
            proxy.set(Weather::Clear);
        })
        .await;
        pair.ledger.faults(1);
    }
    let all = ways.each();
    pair.disturbed("all closed", &["succeeded"], async |house, run| {
        until_pages_are_in(house, run, 2).await;
        let before = house.worker(Role::Classifier).log().len();
        let closed = [&ways.broker, &ways.database].map(|proxy| (proxy, proxy.closed()));
        for (_, proxy) in &all {
            proxy.set(Weather::Closed);
        }
        until("the workers to notice", Duration::from_mins(1), || {
            let noticed = house.worker(Role::Classifier).log()[before..].contains("The bus failed");
            let is_done = noticed && closed.iter().all(|(proxy, before)| proxy.closed() > *before);
            async move { is_done.then_some(()) }
        })
        .await;
        for (_, proxy) in &all {
            proxy.set(Weather::Clear);
        }
    })
    .await;
    pair.ledger.faults(3);
    all_run(&mut pair.house);
    pair.end().await;
}

/// Parts are lost and sent again, and with `--full` some are lost for good: nobody hears of those any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_loses_what_it_is_given_is_made_up_for() {
    let test = "a_network_that_loses_what_it_is_given_is_made_up_for";
    if points::in_turn(points::Turn::Losses).is_none() {
        return;
    }
    let (mut pair, ways) = pair_behind_proxies(65, test, "parts lost on their way, to broker, database and SIS").await;
    let ways = ways.each();
    let lost = || ways.iter().map(|(_, proxy)| proxy.lost()).sum::<u64>();
    pair.disturbed("parts sent again", &["succeeded"], async |_, _| {
        for (_, proxy) in &ways {
            proxy.set(Weather::Lossy(25));
        }
    })
    .await;
    assert!(ways.iter().all(|(_, proxy)| proxy.lost() > 0), "some are lost on each way");
    for (what, proxy) in ways.iter().take(repetitions(0, 3) as usize) {
        let before = proxy.sprung();
        pair.disturbed(&format!("{what}, for good"), &["succeeded"], async |house, run| {
            until_pages_are_in(house, run, 1).await;
            proxy.lay(Trap::Vanish, 2);
        })
        .await;
        assert!(proxy.sprung() > before, "{what}: none is lost for good");
        proxy.lay(Trap::Vanish, 0);
    }
    pair.ledger.faults(lost());
    for (_, proxy) in &ways {
        proxy.set(Weather::Clear);
    }
    all_run(&mut pair.house);
    pair.end().await;
}
