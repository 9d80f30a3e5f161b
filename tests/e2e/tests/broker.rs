//! A broker in trouble: full, away for long, rearranged by somebody, emptied to the last byte.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::time::Duration;

use rollcall_e2e::{
    House, Ledger, Pair, Role,
    house::{DISTRICT, repetitions},
    pair::{small, until_pages_are_in},
    private::{PrivateServers, Stop},
    services::Servers,
    until,
};
use rollcall_sandbox::Quirks;
use serde_json::{Value, json};
use url::Url;

use super::{
    failpoints::{ANEW, program},
    web::site,
};

/// For what takes moments, on a machine with much to do.
const LIMIT: Duration = Duration::from_mins(2);

/// Waits until the broker takes nothing more from whoever publishes.
async fn until_blocked(pair_log: impl Fn() -> String) {
    until("publishers to be blocked", LIMIT, || {
        let told = pair_log().contains("accepts no messages until its memory or disk alarm has passed");
        async move { told.then_some(()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_short_of_memory_or_disk_is_waited_for() {
    let test = "a_broker_short_of_memory_or_disk_is_waited_for";
    let ledger = Ledger::begin(test, "memory alarm and disk alarm in mid-run: publishers are blocked");
    let servers = PrivateServers::start();
    let mut pair = Pair::begin(servers.servers(), 51, ledger).await;
    let alarms = [
        ("memory", "set_vm_memory_high_watermark absolute 1MB", "set_vm_memory_high_watermark 0.6"),
        ("disk", "set_disk_free_limit 500000GB", "set_disk_free_limit 50MB"),
    ];
    for (what, raise, clear) in alarms {
        let servers = &servers;
        // The run outlasts the time until the broker is told, and a newer one looks at its disk, on a busy machine too.
        let slow = async |house: &mut House| {
            house.sis.set_quirks(Quirks { latency_ms: Some(5_000), ..Quirks::default() });
        };
        pair.disturbed_from(what, &["succeeded"], slow, async |house, run| {
            until_pages_are_in(house, run, 1).await;
            let before = house.worker(Role::Fetcher).log().len();
            servers.control_broker(raise);
            let log = house.worker(Role::Fetcher);
            until_blocked(|| log.log().split_off(before)).await;
            house.sis.set_quirks(Quirks::default());
            servers.control_broker(clear);
        })
        .await;
        pair.ledger.faults(1);
    }
    pair.end().await;
}

/// Work that needs to publish waits for the end of the alarm in hand. Were it given back, it would be done again and again,
/// and the broker would give it up after 20 deliveries: within two minutes, which is what `--full` is for.
#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_that_lasts_wears_no_message_out() {
    let test = "an_alarm_that_lasts_wears_no_message_out";
    let ledger = Ledger::begin(test, "memory alarm for 150 seconds with --full, 12 everyday, with work in hand");
    let servers = PrivateServers::start();
    let mut pair = Pair::begin(servers.servers(), 55, ledger).await;
    // Nobody is at work until nothing can be published.
    let away = async |house: &mut House| {
        let mut fetcher = house.take_worker(Role::Fetcher);
        assert!(fetcher.terminate(LIMIT).await.success(), "{}", fetcher.log());
    };
    pair.disturbed_from("lasting", &["succeeded"], away, async |house, _| {
        servers.control_broker("set_vm_memory_high_watermark absolute 1MB");
        house.start_worker(Role::Fetcher);
        let fetcher = house.worker(Role::Fetcher);
        until_blocked(|| fetcher.log()).await;
        // The length is what the test is about.
        tokio::time::sleep(Duration::from_secs(repetitions(12, 150))).await;
        for worker in house.workers() {
            let log = worker.log();
            assert!(!log.contains("The bus failed; subscribing again"), "{log}");
        }
        servers.control_broker("set_vm_memory_high_watermark 0.6");
    })
    .await;
    pair.ledger.faults(1);
    pair.end().await;
}

/// Longer than the retries that matter: a second of them everyday, minutes with `--full`.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_gone_for_minutes_or_without_its_data_is_made_up_for() {
    let test = "a_broker_gone_for_minutes_or_without_its_data_is_made_up_for";
    let ledger =
        Ledger::begin(test, "broker gone (3 minutes with --full, 15 seconds everyday); its data directory wiped");
    let servers = PrivateServers::start();
    let mut pair = Pair::begin(servers.servers(), 52, ledger).await;
    let gone = Duration::from_secs(repetitions(15, 180));
    pair.disturbed("gone", &["succeeded"], async |house, run| {
        until_pages_are_in(house, run, 3).await;
        servers.stop_broker(Stop::AtOnce);
        // The length is what the test is about.
        tokio::time::sleep(gone).await;
        for role in Role::ALL {
            assert!(house.worker(role).is_running(), "the {role:?} waits: {}", house.worker(role).log());
        }
        // What the store knows can be looked at meanwhile.
        house.show(run).await;
        servers.start_broker();
    })
    .await;
    pair.disturbed("emptied", &["succeeded"], async |house, run| {
        until_pages_are_in(house, run, 3).await;
        servers.lose_broker_data();
        servers.start_broker();
        house.services().make_virtual_host().await;
    })
    .await;
    for role in Role::ALL {
        assert!(pair.house.worker(role).is_running(), "no worker had to be started again");
    }
    pair.ledger.faults(2);
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topology_changed_under_the_feet_is_mended_or_named() {
    let test = "a_topology_changed_under_the_feet_is_mended_or_named";
    let ledger = Ledger::begin(test, "every queue unbound; a queue deleted and declared with other arguments");
    let mut pair = Pair::begin(Servers::shared(), 53, ledger).await;
    let mut faults = 1;
    pair.disturbed("unbound", &["succeeded"], async |house, run| {
        until_pages_are_in(house, run, 3).await;
        faults += house.services().unbind_queues().await;
    })
    .await;
    // The queue is not ours any more: said in words that help, and all goes on once it is away.
    pair.disturbed("declared otherwise", &["succeeded"], async |house, run| {
        until_pages_are_in(house, run, 3).await;
        let services = house.services();
        services.declare_otherwise("rollcall.write").await;
        let doctor = house.rollcall(&["doctor"]).await;
        assert_ne!(doctor.code, 0, "{doctor:#?}");
        let says = "rollcall.write exists on the broker with other properties";
        assert!(doctor.text().contains(says), "{}", doctor.text());
        services.delete_queue("rollcall.write").await;
    })
    .await;
    pair.ledger.faults(faults);
    pair.end().await;
}

/// During an alarm, the site is asked once and a fetcher wants to tell of a run once. When it has passed, nobody asks the
/// site for anything, and nobody gives the fetcher work: both have to find out by themselves.
#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_that_has_passed_is_over_for_who_has_nothing_to_publish() {
    let servers = PrivateServers::start();
    let mut house = House::on(servers.servers(), small(54)).await;
    let (key, secret) = house.sis.campus_vendor();
    std::fs::write(house.folder().join("vendor.secret"), secret).unwrap();
    "oneroster".clone_into(&mut house.district.kind);
    let vendor = format!("vendor_key = {key:?}\nvendor_secret = {{ file = \"vendor.secret\" }}\n");
    house.district.base_url = house.sis.campus_base_url();
    house.district.connection = format!("token_url = {:?}\n{vendor}", house.sis.campus_token_url());
    house.district.tables = program(ANEW, "create-new");
    house.apply().await;
    house.start_workers(1);
    let mut web = house.start("web", &["web", "--listen", "127.0.0.1:0"]);
    let site = site(&web).await;
    let get = async |path: &str| {
        let answer = reqwest::get(site.join(path).unwrap()).await.ok()?;
        Some((answer.status().as_u16(), answer.text().await.ok()?))
    };
    let is_ready = || async { (get("health/ready").await?.0 == 200).then_some(()) };
    until("the site to be ready", LIMIT, is_ready).await;

    servers.control_broker("set_vm_memory_high_watermark absolute 1MB");
    // What it cannot send, a fetcher sends again.
    house.rollcall(&["run", DISTRICT]).await;
    ask_for_flags(&house, &site).await;
    let is_told = |blocked: u8| {
        let line = format!("rollcall_broker_blocked{{role=\"web\"}} {blocked}");
        async move { get("metrics").await?.1.lines().any(|told| told == line).then_some(()) }
    };
    until("the site to tell of the alarm", LIMIT, || is_told(1)).await;
    // Documents are read and written without the broker.
    let (status, reasons) = get("health/ready").await.unwrap();
    assert_eq!(status, 200, "{reasons}");
    let fetcher = house.worker(Role::Fetcher);
    until_blocked(|| fetcher.log()).await;

    servers.control_broker("set_vm_memory_high_watermark 0.6");
    until("the site to tell that it has passed", LIMIT, || is_told(0)).await;
    let runs = house.runs().await;
    let run = house.ended(runs[0]["run"].as_str().unwrap()).await;
    assert_eq!((runs.len(), run.state.as_str()), (1, "succeeded"), "{run:#?}");
    assert!(web.terminate(LIMIT).await.success());
    house.close().await;
}

/// A program asks for all flags to be pushed, which the site remembers whatever the broker says.
pub(super) async fn ask_for_flags(house: &House, site: &Url) {
    let add = ["integrations", "add", "--district", DISTRICT, "--scope", "flags.write", "--format", "json", "Flags"];
    let added = house.rollcall(&add).await.expect_code(0).json();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let form = json!({
        "grant_type": "client_credentials",
        "client_id": added[0]["client_id"], "client_secret": added[0]["client_secret"],
    });
    let token = client.post(site.join("oauth2/token").unwrap()).form(&form).send().await.unwrap();
    let token: Value = token.json().await.unwrap();
    let push = client.post(site.join("api/v1/flags/push").unwrap());
    let asked = push.bearer_auth(token["access_token"].as_str().unwrap()).send().await.unwrap();
    assert_eq!(asked.status().as_u16(), 202);
}
