//! A SIS in trouble, beside what `bad_input.rs` has: every answer that is late, odd or refused either passes or ends in a
//! partial or failed run that says why, and nobody leaves the roster.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use rollcall_e2e::{
    House, Ledger, Pair,
    cases::{Case, case, check},
    house::DISTRICT,
    pair::{TWIN, Twin, small, until_pages_are_in},
    roster::facts_of,
    services::Servers,
    watch::{Watch, statuses_of},
};
use rollcall_sandbox::{
    AuthQuirks, Burst, Drift, Fault, FaultKind, NextStyle, PagingQuirks, Quirks, RetryAfter, SandboxConfig, Throttle,
};

const PASSES: &[&str] = &["succeeded"];
const STOPS: &[&str] = &["partial", "failed"];

/// Checks the cases on a district of small pages, counts them, and compares the roster before with the one after.
async fn counted(test: &str, disturbance: &str, cases: Vec<Case>) {
    let mut ledger = Ledger::begin(test, disturbance);
    let mut house = House::scaled_out(SandboxConfig { latency_ms: 0, ..small(81) }).await;
    house.district.page_size = 20;
    house.apply().await;
    house.start_workers(1);
    assert_eq!(house.night().await.state, "succeeded");
    let database = house.services().database.clone();
    let before = facts_of(&database, DISTRICT).await;
    check(&mut house, cases, &mut ledger).await;
    ledger.compare(test, &before, &facts_of(&database, DISTRICT).await);
    house.close().await;
    ledger.end();
}

fn fault(kind: FaultKind, times: Option<u32>) -> Quirks {
    let fault = Fault { kind, object: Some("Student".to_owned()), page: None, times };
    Quirks { faults: vec![fault], ..Quirks::default() }
}

fn busy(retry_after: RetryAfter) -> Quirks {
    Quirks { too_many_requests: Some(Throttle { every: 31, retry_after }), ..Quirks::default() }
}

/// The longest wait, five minutes, is `retry_after_is_seconds_or_a_date_and_capped`'s: a unit test with a clock of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_busy_sis_is_waited_for_whatever_it_says_of_when() {
    let burst = Burst { every: 12, length: 3, retry_after: RetryAfter::Absent };
    let cases = vec![
        case("429, in seconds", PASSES, &[], busy(RetryAfter::Seconds(1))),
        case("429, a date", PASSES, &[], busy(RetryAfter::Date(2))),
        case("429, a date that is past", PASSES, &[], busy(RetryAfter::PastDate(90))),
        case("429, neither", PASSES, &[], busy(RetryAfter::Garbage)),
        case("429, nothing said", PASSES, &[], busy(RetryAfter::Absent)),
        case("503 in bursts", PASSES, &[], Quirks { unavailable: Some(burst), ..Quirks::default() }),
    ];
    let disturbance = "429 with every form of Retry-After, 503 in bursts";
    counted("a_busy_sis_is_waited_for_whatever_it_says_of_when", disturbance, cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_late_wrong_or_endless_ends_the_listing_or_passes() {
    let huge = FaultKind::Huge(65 << 20);
    let auth = |auth| Quirks { auth, ..Quirks::default() };
    let cases = vec![
        case("headers, then nothing", PASSES, &[], fault(FaultKind::HangAfterHeaders, Some(1))),
        case("a slow drip", PASSES, &[], fault(FaultKind::SlowDrip(5), Some(1))),
        case("a drip too slow", PASSES, &[], fault(FaultKind::SlowDrip(400), Some(1))),
        case("a Content-Length too large", PASSES, &[], fault(FaultKind::LongLength, Some(2))),
        case("a Content-Length too small", PASSES, &[], fault(FaultKind::ShortLength, Some(2))),
        case("a huge body", STOPS, &["connection-failed"], fault(huge, None)),
        case("a gzip bomb", STOPS, &["connection-failed"], Quirks { gzip: true, ..fault(huge, None) }),
        case(
            "a token that expires on page 37",
            PASSES,
            &[],
            auth(AuthQuirks { token_expires_after_requests: Some(37), ..AuthQuirks::default() }),
        ),
    ];
    let disturbance = "hang after headers, slow drip, Content-Length too large and too small, huge body, gzip bomb, token expired on page 37";
    counted("an_answer_that_is_late_wrong_or_endless_ends_the_listing_or_passes", disturbance, cases).await;
}

fn moved(object: &str) -> [Drift; 2] {
    let drift = |after_page, removed, inserted| Drift { object: object.to_owned(), after_page, removed, inserted };
    [drift(1, 4, 0), drift(3, 0, 4)]
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_move_while_paging_take_nobody_out() {
    let drift = ["Student", "EntryWithdrawal", "StudentEntityYear"].iter().flat_map(|object| moved(object)).collect();
    let paging = |paging| Quirks { paging, ..Quirks::default() };
    let ends = &["succeeded", "partial"];
    let cases = vec![
        case("rows that move", ends, &[], paging(PagingQuirks { drift, ..PagingQuirks::default() })),
        case(
            "a full last page that announces another",
            PASSES,
            &[],
            paging(PagingQuirks { next_after_full_page: true, ..PagingQuirks::default() }),
        ),
    ];
    counted("rows_that_move_while_paging_take_nobody_out", "rows moved while paging", cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_last_page_exactly_full_is_the_last() {
    let test = "a_last_page_exactly_full_is_the_last";
    let mut ledger = Ledger::begin(test, "last page exactly full, with and without a next link");
    let mut house = House::scaled_out(SandboxConfig { latency_ms: 0, ..small(82) }).await;
    let listed = house.sis.expected_students(1).values().filter(|student| student.listed).count();
    house.district.page_size = listed as u32;
    house.apply().await;
    house.start_workers(1);
    let twin = Twin::beside(&house, small(84)).await;
    let twin_undisturbed = twin.night(&house, 1).await;
    // As the sandbox always tells of its pages.
    assert_eq!(house.night().await.state, "succeeded");
    let undisturbed = house.facts().await;
    let styles =
        [(NextStyle::Path, false), (NextStyle::Path, true), (NextStyle::Absent, false), (NextStyle::SelfOnLast, true)];
    for (next, next_after_full_page) in styles {
        let paging = PagingQuirks { next, next_after_full_page, ..PagingQuirks::default() };
        house.sis.set_quirks(Quirks { paging, ..Quirks::default() });
        let beside = twin.begin(&house);
        let watch = Watch::begin(&house.services().database, DISTRICT, statuses_of(&house.sis, &[1]));
        let run = house.night().await;
        ledger.run(test, &watch.end().await);
        beside.check(&house, test).await;
        assert_eq!((run.state.as_str(), run.listed), ("succeeded", listed as u64), "{run:#?}");
        ledger.faults(1);
        ledger.compare(test, &undisturbed, &house.facts().await);
    }
    house.check_roster().await;
    ledger.compare("elsewhere", &twin_undisturbed, &facts_of(&house.services().database, TWIN).await);
    twin.end().await;
    house.close().await;
    ledger.end();
}

/// The token endpoint is away for a while; then the secret is changed for another one in the middle of a run.
#[tokio::test(flavor = "multi_thread")]
async fn an_access_that_changes_in_mid_run_takes_nobody_out() {
    let test = "an_access_that_changes_in_mid_run_takes_nobody_out";
    let ledger = Ledger::begin(test, "token endpoint down and up again; secret rotated in mid-run");
    let mut pair = Pair::begin(Servers::shared(), 83, ledger).await;
    let down = AuthQuirks { endpoint_down: true, token_expires_after_requests: Some(1), ..AuthQuirks::default() };
    pair.disturbed("token endpoint down", &["succeeded"], async |house, run| {
        until_pages_are_in(house, run, 3).await;
        let before = house.sis.stats().token_fetches;
        house.sis.set_quirks(Quirks { auth: down, ..Quirks::default() });
        rollcall_e2e::until("some calls for a token", std::time::Duration::from_mins(1), || async {
            (house.sis.stats().token_fetches > before + 2).then_some(())
        })
        .await;
        house.sis.set_quirks(Quirks::default());
    })
    .await;
    pair.disturbed("secret rotated", STOPS, async |house, run| {
        until_pages_are_in(house, run, 3).await;
        house.sis.rotate_secret("second/secret+8b41");
        let ended = house.ended(run).await;
        assert!(ended.why().contains("secret"), "the mend is named: {}", ended.why());
        // The new one is applied, and the fetcher that knew the old one goes on with it.
        "second/secret+8b41".clone_into(&mut house.district.client_secret);
        house.apply().await;
    })
    .await;
    pair.ledger.faults(2);
    pair.end().await;
}
