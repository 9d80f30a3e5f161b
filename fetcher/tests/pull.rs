//! Whole pulls over the sandbox: every row comes in, whatever is lost, doubled or spoiled on the way, and what cannot
//! come in is named.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{collections::BTreeSet, time::Duration};

use rollcall_fetcher::probe::{Outcome, probe};
use rollcall_proto::{
    clock::Clock as _,
    handler::Fate,
    message::{Body, Message},
    topology::ATTEMPTS,
};
use rollcall_sandbox::{
    AuthQuirks, DataQuirks, Fault, FaultKind, Grants, NextStyle, ObjectField, ObjectPage, OnDeniedField, PagingQuirks,
    PastEnd, Quirks, RetryAfter, Throttle,
};
use rollcall_store::{
    board::Progress,
    district::ConnectionSecrets,
    run::{PullState, Run, RunState, Stage},
};
use serde_json::json;

use crate::support::{Night, STUDENTS, Way, district, questions, sandbox};

fn listed(night: &Night) -> BTreeSet<i64> {
    let students = night.sandbox.expected_students(1).into_iter();
    students.filter(|(_, student)| student.listed).map(|(id, _)| id).collect()
}

/// Every student once, and nothing given up.
async fn assert_whole(night: &Night) {
    let pull = night.pull().await;
    assert_eq!(pull.state, PullState::Fetched, "{:?}", pull.reason);
    let board = night.board().await;
    for listing in &board.listings {
        assert_eq!(listing.progress, Progress::Fetched, "{}", listing.ask.resource);
    }
    let students = &night.rows["Student/Student"];
    assert_eq!(students.len(), listed(night).len());
    assert_eq!(students.iter().copied().collect::<BTreeSet<_>>(), listed(night));
    assert!(night.rows["Enrollment/EntryWithdrawal"].len() >= STUDENTS as usize / 2);
    assert!(night.parked.is_empty(), "{:?}", night.parked);
    assert!(night.unread.is_empty(), "{:?}", night.unread);
}

async fn whole_under(quirks: Quirks, extra: &serde_json::Value) -> Night {
    let sandbox = sandbox().await;
    sandbox.set_quirks(quirks);
    let mut night = Night::with(sandbox, extra).await;
    night.play(|_| Way::Arrives).await;
    assert_whole(&night).await;
    night
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_brings_every_row_and_never_asks_more_at_once_than_it_has_lanes() {
    let sandbox = sandbox().await;
    sandbox.set_quirks(Quirks { latency_ms: Some(3), ..Quirks::default() });
    let mut night = Night::with(sandbox, &json!({"lanes": 3})).await;
    night.play(|_| Way::Arrives).await;
    assert_whole(&night).await;
    let stats = night.sandbox.stats();
    assert_eq!(stats.max_in_flight, 3, "the lanes are used, and no more");
    assert_eq!(stats.token_fetches, 1);
    let discovery = night.pull().await.discovery.unwrap();
    assert!(discovery.fatal.is_empty());
    assert!(discovery.refused.values().all(|fields| *fields != ["*"]), "{:?}", discovery.refused);
    assert_eq!(discovery.school_years.len(), 2);
    let board = night.board().await;
    assert!(board.listings.iter().all(|listing| listing.last_page.is_some()));
    let asked: u64 = stats.requests_by_object.values().sum();
    let needed: u32 = board.listings.iter().filter_map(|listing| listing.last_page).sum();
    let metadata = 25 + 2;
    let waste = asked as i64 - i64::from(needed) - metadata;
    assert!(waste <= 10, "{asked} requests for {needed} pages");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runs_of_a_district_never_ask_more_at_once_than_its_connection_has_lanes() {
    let sandbox = sandbox().await;
    sandbox.set_quirks(Quirks { latency_ms: Some(3), ..Quirks::default() });
    let mut night = Night::with(sandbox, &json!({"lanes": 3})).await;
    let (older, of_older) = (night.run.clone(), night.take());
    night.launch().await;
    // The younger one is in the queue before the older one.
    let mut messages = [night.take(), of_older].concat();
    for _ in 0..200 {
        messages.retain(|message| matches!(message.body, Body::Discover(_) | Body::Fetch(_)));
        night.handle_all(messages).await;
        if state(&night, &older).await != PullState::Fetched {
            assert_eq!(state(&night, &night.run).await, PullState::Discovering, "the older one goes first");
            assert_eq!(night.store.run(&night.run.district, night.run.id).await.unwrap().state, RunState::Queued);
        } else if state(&night, &night.run).await == PullState::Fetched {
            assert_eq!(night.sandbox.stats().max_in_flight, 3, "the lanes are used, and no more");
            return;
        }
        messages = night.take();
        if messages.is_empty() {
            messages = night.reconciled_after(6).await;
        }
    }
    panic!("the younger one never began: {:?}", night.pull().await);
}

async fn state(night: &Night, run: &Run) -> PullState {
    night.store.pulls(&run.district, run.id).await.unwrap().remove(0).state
}

/// Both whose turn it is and who waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_cancelled_asks_for_nothing_more() {
    let mut night = Night::new(&json!({"lanes": 3})).await;
    let (older, of_older) = (night.run.clone(), night.take());
    night.handle_all(of_older).await;
    let fetches = night.take();
    assert!(!fetches.is_empty());
    night.launch().await;
    let of_younger = night.take();
    night.handle_all(of_younger.clone()).await;
    assert_eq!(state(&night, &night.run).await, PullState::Discovering, "it waits");
    let asked = questions(&night.sandbox);
    for run in [&older, &night.run] {
        assert!(night.store.cancel_run(&run.district, run.id, "test", night.clock.now()).await.unwrap());
    }
    night.handle_all([fetches, of_younger].concat()).await;
    assert_eq!(questions(&night.sandbox), asked);
    assert!(night.reconciled_after(600).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_messages_are_made_good() {
    let mut night = Night::new(&json!({"page_size": 20})).await;
    night.play(|number| if number % 4 == 1 { Way::Lost } else { Way::Arrives }).await;
    assert_whole(&night).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn doubled_messages_change_nothing() {
    let mut night = Night::new(&json!({"page_size": 20})).await;
    night.play(|_| Way::Twice).await;
    assert_whole(&night).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_message_lost_is_made_good() {
    let mut night = Night::new(&json!({"page_size": 50})).await;
    night.play(|number| if number == 0 { Way::Lost } else { Way::Arrives }).await;
    assert_whole(&night).await;
}

/// More work than the fetchers get done: a message waits for longer than what makes it lost.
#[tokio::test(flavor = "multi_thread")]
async fn what_only_waits_is_asked_for_again_once_and_then_waited_for() {
    let mut night = Night::new(&json!({"page_size": 20, "lanes": 1})).await;
    let discovery = night.take();
    night.handle_all(discovery).await;
    let first = night.take();
    let again = night.reconciled_after(130).await;
    assert_eq!((first.len(), again.len()), (1, 1), "nobody can know that it waits");
    night.handle_all(first).await;
    assert_eq!(night.board().await.lanes[0].patience, 260, "twice what it had waited");
    assert!(night.take().is_empty(), "its lane is another's by now");
    assert!(night.reconciled_after(130).await.is_empty());
    assert!(night.reconciled_after(200).await.is_empty());
    night.handle_all(again).await;
    assert_eq!(night.board().await.lanes[0].patience, 600, "it came late itself, and no wait is longer than that");
    night.play(|_| Way::Arrives).await;
    assert_whole(&night).await;
}

/// The same before there is a board.
#[tokio::test(flavor = "multi_thread")]
async fn a_discovery_that_waits_is_asked_for_after_waits_that_double() {
    let mut night = Night::new(&json!({"page_size": 50})).await;
    assert_eq!(night.take().len(), 1);
    let mut asked_after = Vec::new();
    for minute in 1..=40 {
        if !night.reconciled_after(60).await.is_empty() {
            asked_after.push(minute);
        }
    }
    assert_eq!(asked_after, [3, 7, 15, 26, 37], "in minutes");
    night.play(|_| Way::Arrives).await;
    assert_whole(&night).await;
}

/// Every page is in, whether it was carried or stands on the night before.
async fn assert_stored(night: &Night, number: u32) {
    assert_eq!(night.pull().await.state, PullState::Fetched);
    let rows = night.stored_rows().await;
    let students: BTreeSet<i64> = rows["Student/Student"].iter().copied().collect();
    let told = night.sandbox.expected_students(number).into_iter().filter(|(_, student)| student.listed);
    assert_eq!(students, told.map(|(id, _)| id).collect());
    assert!(night.parked.is_empty(), "{:?}", night.parked);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_night_carries_no_page_and_asks_for_its_plan() {
    let mut night = Night::new(&json!({"page_size": 20})).await;
    night.play(|_| Way::Arrives).await;
    let first = night.stored_rows().await;
    night.next().await;
    night.play(|_| Way::Arrives).await;
    assert_eq!(night.collected, 0);
    assert_stored(&night, 1).await;
    assert_eq!(night.stored_rows().await, first);
    // The last page is one that no collector hears of: the fetcher itself goes to the plan.
    assert_eq!(night.store.run(&night.run.district, night.run.id).await.unwrap().stage, Stage::Plan);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_night_carries_what_has_changed_whatever_is_lost_or_doubled() {
    for way in [Way::Twice, Way::Lost] {
        let mut night = Night::new(&json!({"page_size": 20})).await;
        night.play(|_| Way::Arrives).await;
        let all = night.collected;
        night.next().await;
        night.sandbox.set_night(2);
        night.play(|number| if number % 3 == 1 { way } else { Way::Arrives }).await;
        assert!((1..all).contains(&night.collected), "{} of {all} pages were carried", night.collected);
        assert_stored(&night, 2).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_lost_is_asked_for_again_at_a_persons_word() {
    let mut night = Night::new(&json!({"page_size": 20, "lanes": 3})).await;
    assert_eq!(night.take().len(), 1, "the first message is lost");
    assert_eq!(night.ask_again().await, 1);
    let discover = night.take();
    night.handle_all(discover).await;
    let lanes = night.take();
    assert_eq!((lanes.len(), night.ask_again().await), (3, 0), "lanes dealt just now are at work");
    night.handle_all(lanes).await;
    assert!(night.take().len() > 3, "their pages and the next lanes, all lost");
    night.clock.advance(chrono::TimeDelta::minutes(3));
    assert_eq!(night.ask_again().await, 3);
    night.play(|_| Way::Arrives).await;
    assert_whole(&night).await;
    let asked = night.pull().await.discovery.unwrap().origin;
    assert_eq!(asked, Some(district(&night.sandbox, &json!({"lanes": 3})).connections[0].origin()));
}

#[tokio::test(flavor = "multi_thread")]
async fn both_roots_and_every_way_of_asking_work() {
    for extra in [
        json!({"root": "Generic", "search_fields": "repeated", "credentials": "form"}),
        json!({"credentials": "basic-get", "staff": "active", "entities": [1]}),
    ] {
        whole_under(Quirks::default(), &extra).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_expire_are_renewed() {
    for status in [401, 403] {
        let auth =
            AuthQuirks { expired_status: status, token_expires_after_requests: Some(9), ..AuthQuirks::default() };
        whole_under(Quirks { auth, ..Quirks::default() }, &json!({"page_size": 20})).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_of_paging_ends_where_it_should() {
    let quirks = [
        PagingQuirks { next: NextStyle::Absent, ..PagingQuirks::default() },
        PagingQuirks { next: NextStyle::SelfOnLast, ..PagingQuirks::default() },
        PagingQuirks { next: NextStyle::PathWithQuery, next_after_full_page: true, ..PagingQuirks::default() },
        PagingQuirks { total_key: Some("TotalCount".to_owned()), ..PagingQuirks::default() },
        PagingQuirks { max_page_size: Some(3), ..PagingQuirks::default() },
        PagingQuirks { max_page_size: Some(3), next: NextStyle::Absent, ..PagingQuirks::default() },
        PagingQuirks { next: NextStyle::Always, ..PagingQuirks::default() },
        PagingQuirks { max_page_size: Some(3), next: NextStyle::Always, ..PagingQuirks::default() },
    ];
    for paging in quirks {
        whole_under(Quirks { paging, ..Quirks::default() }, &json!({})).await;
    }
}

/// Nobody knows what a SIS answers there, and on a first night nobody knows where a listing ends: its lanes ask beyond it, and what
/// lies there may come before its last page.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_lies_beyond_the_end_does_no_harm() {
    let mut beyond = 0;
    for seed in 0..6 {
        let past_end = [PastEnd::LastAgain, PastEnd::Status(404), PastEnd::LastAgain][seed as usize % 3];
        let sandbox = sandbox().await;
        let paging = PagingQuirks { past_end, ..PagingQuirks::default() };
        sandbox.set_quirks(Quirks { paging, ..Quirks::default() });
        let mut night = Night::with(sandbox, &json!({"page_size": 7, "lanes": 4})).await;
        night.play_in_disorder(seed).await;
        let board = night.board().await;
        for listing in &board.listings {
            assert_eq!(listing.progress, Progress::Fetched, "{seed} {past_end:?} {}", listing.ask.resource);
        }
        assert_stored(&night, 1).await;
        let students = &night.stored_rows().await["Student/Student"];
        assert_eq!(students.len(), listed(&night).len(), "{seed} {past_end:?}");
        beyond += board.listings.iter().map(|listing| listing.next_page - 1 - listing.last_page.unwrap()).sum::<u32>();
    }
    assert!(beyond > 0, "nobody asked beyond an end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_total_saves_asking_beyond_the_end() {
    let paging = PagingQuirks { total_key: Some("TotalCount".to_owned()), ..PagingQuirks::default() };
    let night = whole_under(Quirks { paging, ..Quirks::default() }, &json!({})).await;
    let board = night.board().await;
    let pages: u32 = board.listings.iter().filter_map(|listing| listing.last_page).sum();
    let dealt: u32 = board.listings.iter().map(|listing| listing.next_page - 1).sum();
    assert_eq!(dealt, pages);
}

#[tokio::test(flavor = "multi_thread")]
async fn passing_faults_pass() {
    let once = |kind| Fault { kind, object: Some("Student".to_owned()), page: Some(2), times: Some(1) };
    for kind in [FaultKind::Status(500), FaultKind::Html, FaultKind::TruncatedJson, FaultKind::ConnectionReset] {
        whole_under(Quirks { faults: vec![once(kind)], ..Quirks::default() }, &json!({})).await;
    }
    for retry_after in [RetryAfter::Absent, RetryAfter::Seconds(40), RetryAfter::Date(40)] {
        let too_many_requests = Some(Throttle { every: 7, retry_after });
        whole_under(Quirks { too_many_requests, ..Quirks::default() }, &json!({"page_size": 30})).await;
    }
}

/// Plays under quirks that make the pull fail, and returns why.
async fn failed_under(quirks: Quirks) -> String {
    let sandbox = sandbox().await;
    sandbox.set_quirks(quirks);
    let mut night = Night::with(sandbox, &json!({"page_size": 20})).await;
    night.play(|_| Way::Arrives).await;
    let pull = night.pull().await;
    assert_eq!(pull.state, PullState::Failed);
    pull.reason.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_cannot_be_had_says_why_and_what_to_do() {
    let secret = Quirks { auth: AuthQuirks { wrong_secret: true, ..AuthQuirks::default() }, ..Quirks::default() };
    let reason = failed_under(secret).await;
    assert!(reason.starts_with("token-refused") && reason.contains("client_secret"), "{reason}");
    let expired = Quirks { auth: AuthQuirks { access_expired: true, ..AuthQuirks::default() }, ..Quirks::default() };
    let reason = failed_under(expired).await;
    assert!(reason.contains("expired"), "{reason}");
    let field = ObjectField { object: "EntryWithdrawal".to_owned(), field: "WithdrawalCodeID".to_owned() };
    let denied = Grants { denied_fields: vec![field], ..Grants::default() };
    let reason = failed_under(Quirks { grants: denied, ..Quirks::default() }).await;
    assert!(reason.starts_with("not-granted") && reason.contains("EntryWithdrawal.WithdrawalCodeID"), "{reason}");
    let html = Fault { kind: FaultKind::Html, object: Some("Student".to_owned()), page: Some(1), times: None };
    let reason = failed_under(Quirks { faults: vec![html], ..Quirks::default() }).await;
    assert!(reason.starts_with("not-json") && reason.contains("base_url"), "{reason}");
}

/// The first entity grants it, and the second tells null in its place.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_further_entity_does_not_grant_is_named() {
    let sandbox = sandbox().await;
    let field = ObjectField { object: "EntryWithdrawal".to_owned(), field: "WithdrawalCodeID".to_owned() };
    let denied = Grants {
        denied_fields: vec![field],
        denied_fields_in: Some(200),
        on_denied_field: OnDeniedField::Null,
        ..Grants::default()
    };
    sandbox.set_quirks(Quirks { grants: denied, ..Quirks::default() });
    let mut night = Night::with(sandbox, &json!({"page_size": 20, "entities": [1, 200]})).await;
    night.play(|_| Way::Arrives).await;
    let pull = night.pull().await;
    assert_eq!(pull.state, PullState::Failed);
    let reason = pull.reason.unwrap();
    assert!(reason.contains("EntryWithdrawal.WithdrawalCodeID in entity 200"), "{reason}");
}

/// The classifier keeps it, and parks its message with where it could not be read.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_no_page_is_carried_when_its_attempts_have_run_out() {
    for (kind, object, page, begins, state) in [
        (FaultKind::Html, "Student", 1, b'<', PullState::Failed),
        (FaultKind::TruncatedJson, "Student", 1, b'{', PullState::Failed),
        (FaultKind::TruncatedJson, "Name", 2, b'{', PullState::Fetched),
    ] {
        let sandbox = sandbox().await;
        let what = format!("{kind:?} {object}");
        let fault = Fault { kind, object: Some(object.to_owned()), page: Some(page), times: None };
        sandbox.set_quirks(Quirks { faults: vec![fault], ..Quirks::default() });
        let mut night = Night::with(sandbox, &json!({"page_size": 20})).await;
        night.play(|_| Way::Arrives).await;
        night.collect_rest().await;
        assert_eq!(night.pull().await.state, state, "{what}");
        let board = night.board().await;
        let [(listing, number, body)] = night.unread.as_slice() else { panic!("{what}: {:?}", night.unread) };
        assert_eq!(board.listings[listing.0 as usize].ask.resource.split('/').nth(1), Some(object), "{what}");
        assert_eq!((u64::from(number.0), body.trim_ascii_start()[0]), (page, begins), "{what}");
    }
}

/// Its lane counts as lost while the SIS takes its time, and its listing begins anew: what the last attempt then comes to is
/// neither told nor kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_attempt_fails_no_listing_that_has_begun_anew() {
    let sandbox = sandbox().await;
    let mut night = Night::with(sandbox, &json!({"page_size": 20, "lanes": 1})).await;
    let discovery = night.take();
    night.handle_all(discovery).await;
    let [first] = night.take().try_into().expect("one lane");
    let html = Fault { kind: FaultKind::Html, object: None, page: None, times: Some(1) };
    night.sandbox.set_quirks(Quirks { faults: vec![html], latency_ms: Some(4_000), ..Quirks::default() });
    let late = night.begin(Message { attempt: ATTEMPTS - 1, ..first });
    let asked = async {
        while night.sandbox.stats().in_flight == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), asked).await.expect("the page is asked for");
    let again = night.reconciled_after(130).await;
    assert_eq!(again.len(), 1, "its lane is dealt anew");
    assert_eq!(late.await.unwrap(), Fate::Done);
    assert!(night.take().is_empty(), "what was answered goes nowhere");
    night.sandbox.set_quirks(Quirks::default());
    night.handle_all(again).await;
    night.play(|_| Way::Arrives).await;
    assert_whole(&night).await;
}

/// The reconciler asks again for a slow discovery, so two may be at it: the one that fails leaves the other's pull alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_discovery_that_fails_late_fails_no_pull_under_way() {
    let sandbox = sandbox().await;
    let mut night = Night::with(sandbox, &json!({"page_size": 20})).await;
    // So that nobody waits for a token.
    night.play(|_| Way::Arrives).await;
    night.next().await;
    let [discovery] = night.take().try_into().expect("one connection");
    let html = || vec![Fault { kind: FaultKind::Html, object: None, page: None, times: None }];
    night.sandbox.set_quirks(Quirks { faults: html(), latency_ms: Some(4_000), ..Quirks::default() });
    let late = night.begin(Message { attempt: ATTEMPTS - 1, ..discovery.clone() });
    let asked = async {
        while night.sandbox.stats().in_flight == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), asked).await.expect("the connection is asked");
    night.sandbox.set_quirks(Quirks::default());
    night.handle_all(vec![discovery]).await;
    assert_eq!(night.pull().await.state, PullState::Fetching);
    night.sandbox.set_quirks(Quirks { faults: html(), ..Quirks::default() });
    assert_eq!(late.await.unwrap(), Fate::Done);
    assert_eq!(night.pull().await.state, PullState::Fetching, "{:?}", night.pull().await.reason);
    night.sandbox.set_quirks(Quirks::default());
    night.play(|_| Way::Arrives).await;
    assert_eq!(night.pull().await.state, PullState::Fetched);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_the_status_does_not_rest_on_fails_alone() {
    let fault =
        Fault { kind: FaultKind::Status(403), object: Some("NamePhone".to_owned()), page: Some(1), times: None };
    let sandbox = sandbox().await;
    sandbox.set_quirks(Quirks { faults: vec![fault], ..Quirks::default() });
    let mut night = Night::with(sandbox, &json!({"page_size": 20})).await;
    night.play(|_| Way::Arrives).await;
    assert_eq!(night.pull().await.state, PullState::Fetched);
    let board = night.board().await;
    let phones = board.listings.iter().find(|listing| listing.ask.resource == "Demographics/NamePhone").unwrap();
    assert!(matches!(&phones.progress, Progress::Failed(reason) if reason.starts_with("access-refused")));
    let others = board.listings.iter().filter(|listing| listing.progress == Progress::Fetched).count();
    assert_eq!(others, board.listings.len() - 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_that_never_end_or_lead_elsewhere_are_given_up() {
    let repeat = vec![ObjectPage { object: "Student".to_owned(), page: 2 }];
    for (paging, code) in [
        (PagingQuirks { repeat, ..PagingQuirks::default() }, "page-repeated"),
        (
            PagingQuirks { next: NextStyle::Origin("https://evil.example".to_owned()), ..PagingQuirks::default() },
            "next-elsewhere",
        ),
    ] {
        let sandbox = sandbox().await;
        sandbox.set_quirks(Quirks { paging, ..Quirks::default() });
        let mut night = Night::with(sandbox, &json!({"page_size": 3})).await;
        night.play(|_| Way::Arrives).await;
        let pull = night.pull().await;
        let failures = match night.store.board(&night.run.district, night.run.id, pull.connection).await.unwrap() {
            Some(board) => board.listings.into_iter().map(|listing| format!("{:?}", listing.progress)).collect(),
            None => Vec::new(),
        };
        let told = pull.reason.iter().chain(&failures).any(|text| text.contains(code));
        assert!(told, "{code}: {:?} {failures:?}", pull.reason);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_supporting_object_is_named_and_left_out() {
    let grants = Grants { denied_objects: vec!["EmergencyContact".to_owned()], ..Grants::default() };
    let night = whole_under(Quirks { grants, ..Quirks::default() }, &json!({"page_size": 20})).await;
    let discovery = night.pull().await.discovery.unwrap();
    assert_eq!(discovery.refused["Demographics/EmergencyContact"], ["*"]);
    assert!(!night.rows.contains_key("Demographics/EmergencyContact"));
}

/// The system's metadata names the current year too.
#[tokio::test(flavor = "multi_thread")]
async fn an_access_without_entities_or_numbers_of_years_is_pulled_all_the_same() {
    let field = |field: &str| ObjectField { object: "SchoolYear".to_owned(), field: field.to_owned() };
    for (denied_objects, denied_fields, years) in
        [(vec!["Entity".to_owned()], Vec::new(), 2), (Vec::new(), vec![field("NumericYear")], 4)]
    {
        let grants = Grants { denied_objects, denied_fields, ..Grants::default() };
        let sandbox = sandbox().await;
        sandbox.set_quirks(Quirks { grants: grants.clone(), ..Quirks::default() });
        let mut night = Night::with(sandbox, &json!({"page_size": 20})).await;
        night.play(|_| Way::Arrives).await;
        assert_whole(&night).await;
        let discovery = night.pull().await.discovery.unwrap();
        assert_eq!((discovery.fatal.len(), discovery.school_years.len()), (0, years), "{grants:?}");
        let current = discovery.current_years.into_iter().collect::<Vec<_>>();
        assert!(
            matches!(current[..], [(id, ending)] if discovery.school_years.contains(&id.to_string()) && ending > 2000)
        );
    }
}

/// Without the year before, everybody who withdrew in it would look as if they never had been there.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_years_or_entities_without_a_row_is_no_answer() {
    for object in ["SchoolYear", "Entity"] {
        let empty = |times| Fault { kind: FaultKind::NoRows, object: Some(object.to_owned()), page: Some(1), times };
        // Once: it is asked for again, and everything comes in.
        let night =
            whole_under(Quirks { faults: vec![empty(Some(1))], ..Quirks::default() }, &json!({"page_size": 20})).await;
        assert_eq!(night.pull().await.discovery.unwrap().school_years.len(), 2, "{object}");
        // For ever: the pull is given up, and says why.
        let sandbox = sandbox().await;
        sandbox.set_quirks(Quirks { faults: vec![empty(None)], ..Quirks::default() });
        let mut night = Night::with(sandbox, &json!({"page_size": 20})).await;
        night.play(|_| Way::Arrives).await;
        let pull = night.pull().await;
        let reason = pull.reason.unwrap_or_default();
        assert_eq!(pull.state, PullState::Failed, "{object}");
        let said = format!("table-empty: District/{object} is granted, and has no row ");
        assert!(reason.starts_with(&said) && reason.contains("check entities"), "{reason}");
    }
    // One of several entities may have none.
    let sandbox = sandbox().await;
    let empty = Fault { kind: FaultKind::NoRows, object: Some("SchoolYear".to_owned()), page: Some(1), times: Some(1) };
    sandbox.set_quirks(Quirks { faults: vec![empty], ..Quirks::default() });
    let mut night = Night::with(sandbox, &json!({"page_size": 20, "entities": [1, 200]})).await;
    let discovery = night.take();
    night.handle_all(discovery).await;
    assert_eq!(night.pull().await.discovery.unwrap().school_years.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_test_of_a_connection_names_each_step() {
    let sandbox = sandbox().await;
    let district = district(&sandbox, &json!({}));
    let secrets = |text: &str| ConnectionSecrets { client_secret: text.into(), ..ConnectionSecrets::default() };
    let clock = rollcall_proto::clock::SystemClock;
    let steps = probe(&district, &district.connections[0], secrets(sandbox.client_secret()), true, &clock).await;
    assert!(steps.iter().all(|step| step.outcome != Outcome::Fail), "{steps:?}");
    for name in ["connection", "token", "system metadata", "clock", "grants", "school years"] {
        assert!(steps.iter().any(|step| step.name == name && step.outcome == Outcome::Ok), "{name}: {steps:?}");
    }
    assert!(steps.iter().any(|step| step.name == "listing Student/Student of entity 1" && step.outcome == Outcome::Ok));

    // An entity that enrollments are of, and whose current year nothing tells.
    let entities = |steps: &[rollcall_fetcher::probe::Step]| {
        steps.iter().filter(|step| step.name.starts_with("entity ")).cloned().collect::<Vec<_>>()
    };
    assert!(entities(&steps).is_empty(), "{steps:?}");
    sandbox
        .set_quirks(Quirks { data: DataQuirks { only_entity: Some(1), ..DataQuirks::default() }, ..Quirks::default() });
    let steps = probe(&district, &district.connections[0], secrets(sandbox.client_secret()), true, &clock).await;
    let told = entities(&steps);
    assert_eq!((told.len(), told[0].outcome), (1, Outcome::Warn), "{steps:?}");
    assert!(told[0].mend.as_ref().unwrap().contains("add it to entities"), "{told:?}");
    let placed = self::district(&sandbox, &json!({"entities": [1, told[0].name[7..].parse::<i64>().unwrap()]}));
    let steps = probe(&placed, &placed.connections[0], secrets(sandbox.client_secret()), true, &clock).await;
    assert!(entities(&steps).is_empty(), "asked itself, the table of years tells: {steps:?}");
    sandbox.set_quirks(Quirks::default());

    // What is not granted is named: a field and an object that a run lives without, and a field that it does not.
    let denied = |fields: &[(&str, &str)]| {
        let field = |(object, field): &(&str, &str)| ObjectField { object: (*object).into(), field: (*field).into() };
        let denied_fields = fields.iter().map(field).collect();
        let denied_objects = vec!["StudentGuardian".to_owned()];
        Quirks { grants: Grants { denied_objects, denied_fields, ..Grants::default() }, ..Quirks::default() }
    };
    sandbox.set_quirks(denied(&[("Name", "BirthDate"), ("Name", "Gender")]));
    let steps = probe(&district, &district.connections[0], secrets(sandbox.client_secret()), true, &clock).await;
    let of = |name: &str| steps.iter().find(|step| step.name == name).unwrap_or_else(|| panic!("{name}: {steps:?}"));
    let mend = "ask the district to grant it to the integration access, or live without it";
    for (name, detail) in [
        ("grant Demographics/Name", "not granted: BirthDate, Gender"),
        ("grant Family/StudentGuardian", "not granted: the object"),
    ] {
        let told = (of(name).outcome, of(name).detail.as_str(), of(name).mend.as_deref());
        assert_eq!(told, (Outcome::Warn, detail, Some(mend)), "{name}");
    }
    assert_eq!(of("grants").outcome, Outcome::Ok, "a run would go on");
    assert!(!steps.iter().any(|step| step.name.starts_with("listing Family/StudentGuardian")), "{steps:?}");

    sandbox.set_quirks(denied(&[("EntryWithdrawal", "StartDate")]));
    let steps = probe(&district, &district.connections[0], secrets(sandbox.client_secret()), true, &clock).await;
    let last = steps.last().unwrap();
    assert_eq!((last.name.as_str(), last.outcome), ("grants", Outcome::Fail), "nothing is asked for any more");
    assert!(last.detail.contains("Enrollment/EntryWithdrawal.StartDate"), "{}", last.detail);
    assert!(last.mend.as_ref().unwrap().contains("ask the district to grant these fields"), "{last:?}");
    sandbox.set_quirks(Quirks::default());

    let steps = probe(&district, &district.connections[0], secrets("wrong"), true, &clock).await;
    let last = steps.last().unwrap();
    assert_eq!((last.name.as_str(), last.outcome), ("token", Outcome::Fail));
    assert!(last.mend.as_ref().unwrap().contains("client_secret"));

    let steps = probe(&district, &district.connections[0], secrets("wrong"), false, &clock).await;
    assert_eq!(steps.len(), 1);
    assert!(steps[0].mend.as_ref().unwrap().contains("https"), "{steps:?}");
}

/// Trying again would end the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_opens_nothing_gives_the_pull_up_at_once_and_says_which() {
    let night = Night::new(&json!({})).await;
    let fates = night.under_another_key().await;
    assert!(matches!(fates.as_slice(), [Fate::Done]), "{fates:?}");
    let pull = night.pull().await;
    let reason = pull.reason.unwrap_or_default();
    assert_eq!(pull.state, PullState::Failed, "{reason}");
    assert!(reason.contains("not among those given") && reason.contains("another)"), "{reason}");
}

/// The numbers of one SIS are other people at another: what a pull began at, it ends at.
#[tokio::test(flavor = "multi_thread")]
async fn a_pull_under_way_is_not_gone_on_with_at_another_sis() {
    let pages = json!({"page_size": 20, "lanes": 3});
    let mut night = Night::new(&pages).await;
    let discovery = night.take();
    night.handle_all(discovery).await;
    let other = sandbox().await;
    night.apply_and_restart(&district(&other, &pages)).await;
    let asked = night.sandbox.stats().requests;
    let hands = night.take();
    assert_eq!(hands.len(), 3);
    night.handle_all(hands).await;
    let pull = night.pull().await;
    let reason = pull.reason.unwrap_or_default();
    assert_eq!(pull.state, PullState::Failed, "{reason}");
    assert!(reason.starts_with("other-sis: connection 1 ") && reason.contains("start a new run"), "{reason}");
    assert_eq!((other.stats().requests, night.sandbox.stats().requests), (0, asked), "nobody is asked");
    // One that begins there is gone on with there.
    night.next().await;
    night.sandbox = other.into();
    night.play(|_| Way::Arrives).await;
    assert_whole(&night).await;
}

/// Pages of two sizes leave rows out between them.
#[tokio::test(flavor = "multi_thread")]
async fn all_pages_of_a_pull_are_of_the_size_it_began_with() {
    let mut night = Night::new(&json!({"page_size": 20, "lanes": 3})).await;
    let discovery = night.take();
    night.handle_all(discovery).await;
    let smaller = district(&night.sandbox, &json!({"page_size": 7, "lanes": 3}));
    night.apply_and_restart(&smaller).await;
    night.play(|_| Way::Arrives).await;
    assert_whole(&night).await;
    let board = night.board().await;
    let students = board.listings.iter().find(|listing| listing.ask.resource == "Student/Student").unwrap();
    assert_eq!(students.page_size, 20);
}
