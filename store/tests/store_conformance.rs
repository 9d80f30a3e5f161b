//! What both engines must do alike: districts, secrets, runs, pulls, pages, and a run's way to its end.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use std::collections::BTreeMap;

use chrono::TimeDelta;
use common::{Fixture, day, district, empty_plan, later, manual, new_key, now, page, ring, scheduled};
use rollcall_proto::id::{ConnectionNo, ListingNo, PageNo, RunId};
use rollcall_store::{
    ForgottenTrail, Store, StoreError,
    audit::{AuditEntry, RETENTION},
    board::{Ask, Board, Lane},
    district::ConnectionSecrets,
    page::NewPage,
    plan::{ApproveRefusal, NewPlan, Verdict},
    replay::{PageReading, Replay, ReplayLook, ReplayPages, ReplayRefusal, StoredPage},
    run::{Baseline, Discovery, Finding, FindingWeight, PullState, RunState, Stage, Trigger},
};
use secrecy::{ExposeSecret as _, SecretString};

const FIRST: ConnectionNo = ConnectionNo(0);

on_both_engines! {
    a_district_reads_back_as_it_was_applied,
    a_removed_district_runs_no_more_and_can_come_back,
    secrets_read_back_and_lie_sealed,
    as_many_secrets_as_connections,
    another_key_opens_nothing_and_says_what_to_do,
    a_rotated_key_opens_every_secret,
    schedules_are_those_that_are_on,
    a_schedule_that_was_off_catches_nothing_up,
    runs_are_numbered_without_gaps,
    one_scheduled_run_per_date_however_many_schedulers_tick,
    a_run_is_found_by_its_id_alone,
    runs_are_listed_newest_first,
    a_run_starts_once,
    only_a_run_that_released_nothing_can_fail_or_be_cancelled,
    one_reconciler_in_an_interval_has_a_run,
    open_runs_tell_when_they_were_touched,
    the_same_finding_is_counted,
    discovery_is_saved_once,
    a_board_changed_by_many_at_once_loses_nothing,
    a_board_that_is_not_changed_stays,
    no_board_of_a_failed_pull_or_an_ended_run_is_changed,
    a_page_is_kept_once_unless_it_decodes_at_last,
    a_large_page_waits_for_its_message,
    pages_and_fragments_come_in_order,
    pages_are_forgotten_after_their_run_has_ended,
    a_run_is_pulled_when_every_pull_is_through,
    one_planner_has_a_run,
    a_held_plan_is_approved_once,
    an_approval_is_refused_with_a_reason,
    a_later_plan_supersedes_what_waits_also_one_to_look_at,
    a_plan_held_before_its_second_look_goes_there_when_approved,
    a_held_plan_can_be_thrown_away,
    a_closed_run_keeps_its_baselines_and_pages,
    what_made_a_run_partial_is_told,
    an_accepted_emptiness_lasts_until_rows_are_back,
    the_audit_trail_is_newest_first,
    what_is_noted_once_is_noted_once_however_many_ask,
    a_chore_is_one_callers_in_an_interval,
    a_chore_that_did_not_succeed_is_given_back,
    the_audit_trail_is_kept_for_a_year_whoever_asks,
    several_processes_open_one_store,
    what_is_not_there_is_named,
    a_replay_is_a_run_of_its_own_from_the_same_pages,
    a_replay_reads_pages_again_where_asked,
    a_replay_is_refused_with_a_reason,
    a_replay_that_a_newer_run_has_overtaken_is_void,
}

async fn a_district_reads_back_as_it_was_applied(f: Fixture) {
    let mut wanted = district("lone-star");
    f.store.apply_district(&wanted, &[ConnectionSecrets::default()], "test", now()).await.unwrap();
    assert_eq!(f.store.district(&wanted.id).await.unwrap(), wanted);
    "Ümläut \"ISD\" 🏫".clone_into(&mut wanted.name);
    wanted.connections[0].page_size = 10_000;
    f.store.apply_district(&wanted, &[ConnectionSecrets::default()], "test", later(1)).await.unwrap();
    assert_eq!(f.store.district(&wanted.id).await.unwrap(), wanted);
    f.district("alamo").await;
    let ids: Vec<String> = f.store.districts().await.unwrap().into_iter().map(String::from).collect();
    assert_eq!(ids, ["alamo", "lone-star"]);
    f.store.check().await.unwrap();
}

async fn a_removed_district_runs_no_more_and_can_come_back(f: Fixture) {
    let id = f.district("a").await;
    f.store.remove_district(&id, "test", later(1)).await.unwrap();
    assert!(f.store.districts().await.unwrap().is_empty());
    assert!(f.store.schedules().await.unwrap().is_empty());
    assert!(matches!(f.store.create_run(&manual(&id), now()).await, Err(StoreError::NoDistrict(_))));
    assert_eq!(f.store.district(&id).await.unwrap().id, id);
    f.district("a").await;
    assert_eq!(f.store.districts().await.unwrap(), std::slice::from_ref(&id));
    assert!(f.store.create_run(&manual(&id), now()).await.unwrap().is_some());
}

fn secrets() -> ConnectionSecrets {
    let secret = |text: &str| SecretString::from(text.to_owned());
    ConnectionSecrets {
        client_secret: secret("client-s3cret"),
        vendor_secret: Some(secret("vendor-s3cret")),
        token_secret_parameters: BTreeMap::from([("third".to_owned(), secret("third-s3cret"))]),
        secret_headers: BTreeMap::from([("x-key".to_owned(), secret("header-s3cret"))]),
    }
}

fn assert_secrets(found: &ConnectionSecrets) {
    assert_eq!(found.client_secret.expose_secret(), "client-s3cret");
    assert_eq!(found.vendor_secret.as_ref().unwrap().expose_secret(), "vendor-s3cret");
    assert_eq!(found.token_secret_parameters["third"].expose_secret(), "third-s3cret");
    assert_eq!(found.secret_headers["x-key"].expose_secret(), "header-s3cret");
}

async fn secrets_read_back_and_lie_sealed(f: Fixture) {
    let district = district("a");
    f.store.apply_district(&district, &[secrets()], "test", now()).await.unwrap();
    assert_secrets(&f.store.secrets(&district.id, FIRST).await.unwrap());
    assert_secrets(&f.again().await.secrets(&district.id, FIRST).await.unwrap());
    assert!(f.store.secrets(&district.id, ConnectionNo(1)).await.is_err());
    if let Some(dir) = f.dir() {
        for file in std::fs::read_dir(dir).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            assert!(!bytes.windows(6).any(|window| window == b"s3cret"));
        }
    }
}

async fn as_many_secrets_as_connections(f: Fixture) {
    let applied = f.store.apply_district(&district("a"), &[], "test", now()).await;
    assert!(matches!(applied, Err(StoreError::Refused { .. })));
    assert!(f.store.districts().await.unwrap().is_empty());
}

async fn another_key_opens_nothing_and_says_what_to_do(f: Fixture) {
    let id = f.district("a").await;
    let run = f.run(&id).await.id;
    f.store.save_page(&id, run, &page(0, 1)).await.unwrap();
    let stranger = f.opened_with(&new_key()).await;
    let error = stranger.secrets(&id, FIRST).await.err().unwrap();
    assert!(matches!(&error, StoreError::Key(text) if text.contains("ROLLCALL_KEY")), "{error}");
    let raw = stranger.raw_page(&id, run, FIRST, ListingNo(0), PageNo(1)).await;
    assert!(matches!(raw, Err(StoreError::Key(_))));
}

async fn a_rotated_key_opens_every_secret(f: Fixture) {
    for id in ["a", "b"] {
        f.store.apply_district(&district(id), &[secrets()], "test", now()).await.unwrap();
    }
    let (a, new) = (district("a").id, new_key());
    let run = f.run(&a).await.id;
    f.store.save_page(&a, run, &page(0, 1)).await.unwrap();
    f.store.remove_district(&district("b").id, "test", now()).await.unwrap();
    assert_eq!(f.store.rotate_key(ring(&new), "test", later(1)).await.unwrap(), 2);
    for store in [f.store.clone(), f.opened_with(&new).await] {
        assert_secrets(&store.secrets(&a, FIRST).await.unwrap());
        assert_secrets(&store.secrets(&district("b").id, FIRST).await.unwrap());
    }
    assert!(matches!(f.again().await.secrets(&a, FIRST).await, Err(StoreError::Key(_))));
    // Raw pages stay under the key they were sealed with.
    assert!(f.store.raw_page(&a, run, FIRST, ListingNo(0), PageNo(1)).await.unwrap().is_some());
    let trail = f.store.audit_trail(&a, 1).await.unwrap();
    assert_eq!((trail[0].action.as_str(), trail[0].detail.as_str()), ("key.rotate", "secrets=1 documents=0"));
}

async fn schedules_are_those_that_are_on(f: Fixture) {
    let mut off = district("off");
    off.schedule.enabled = false;
    f.store.apply_district(&off, &[ConnectionSecrets::default()], "test", now()).await.unwrap();
    let id = f.district("on").await;
    f.store.create_run(&scheduled(&id, "2026-10-04"), now()).await.unwrap().unwrap();
    let schedules = f.store.schedules().await.unwrap();
    assert_eq!(schedules.len(), 1);
    assert_eq!(schedules[0].district, id);
    assert_eq!(schedules[0].time_zone, chrono_tz::America::Chicago);
    assert_eq!(schedules[0].at, "02:00:00".parse().unwrap());
    assert!(schedules[0].weekends);
    assert_eq!(schedules[0].last_scheduled, Some(day("2026-10-04")));
    assert_eq!(schedules[0].since, now());
}

async fn a_schedule_that_was_off_catches_nothing_up(f: Fixture) {
    let mut changed = district("a");
    let since = async |store: &Store| store.schedules().await.unwrap()[0].since;
    f.district("a").await;
    f.store.apply_district(&changed, &[ConnectionSecrets::default()], "test", later(1)).await.unwrap();
    assert_eq!(since(&f.store).await, now());
    changed.schedule.enabled = false;
    f.store.apply_district(&changed, &[ConnectionSecrets::default()], "test", later(2)).await.unwrap();
    changed.schedule.enabled = true;
    f.store.apply_district(&changed, &[ConnectionSecrets::default()], "test", later(3)).await.unwrap();
    assert_eq!(since(&f.store).await, later(3));
    f.store.remove_district(&changed.id, "test", later(4)).await.unwrap();
    f.store.apply_district(&changed, &[ConnectionSecrets::default()], "test", later(5)).await.unwrap();
    assert_eq!(since(&f.store).await, later(5));
}

async fn runs_are_numbered_without_gaps(f: Fixture) {
    let (a, b) = (f.district("a").await, f.district("b").await);
    let other = f.again().await;
    let tasks: Vec<_> = (0..10)
        .map(|number| {
            let (store, run) = (if number % 2 == 0 { &f.store } else { &other }.clone(), manual(&a));
            tokio::spawn(async move { store.create_run(&run, now()).await.unwrap().unwrap().seq })
        })
        .collect();
    let mut numbers = Vec::new();
    for task in tasks {
        numbers.push(task.await.unwrap());
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=10).collect::<Vec<i64>>());
    let first = f.run(&b).await;
    assert_eq!((first.seq, first.state, first.stage), (1, RunState::Queued, Stage::Pull));
    assert_eq!((first.created_at, first.as_of), (now(), day("2026-10-05")));
    let pulls = f.store.pulls(&b, first.id).await.unwrap();
    assert_eq!(pulls.len(), 1);
    assert_eq!((pulls[0].connection, pulls[0].state), (FIRST, PullState::Discovering));
}

async fn one_scheduled_run_per_date_however_many_schedulers_tick(f: Fixture) {
    let id = f.district("a").await;
    let other = f.again().await;
    let tasks: Vec<_> = (0..12)
        .map(|number| {
            let (store, run) = (if number % 2 == 0 { &f.store } else { &other }.clone(), scheduled(&id, "2026-10-05"));
            tokio::spawn(async move { store.create_run(&run, now()).await.unwrap().is_some() })
        })
        .collect();
    let mut made = 0;
    for task in tasks {
        made += usize::from(task.await.unwrap());
    }
    assert_eq!(made, 1);
    assert!(f.store.create_run(&manual(&id), now()).await.unwrap().is_some());
    let next = f.store.create_run(&scheduled(&id, "2026-10-06"), now()).await.unwrap().unwrap();
    assert_eq!(next.seq, 3);
}

async fn a_run_is_found_by_its_id_alone(f: Fixture) {
    let (a, b) = (f.district("a").await, f.district("b").await);
    let (of_a, of_b) = (f.run(&a).await, f.run(&b).await);
    assert_eq!(f.store.district_of(of_a.id).await.unwrap(), a);
    assert_eq!(f.store.district_of(of_b.id).await.unwrap(), b);
    assert!(matches!(f.store.run(&a, of_b.id).await, Err(StoreError::NoRun(_))));
}

async fn runs_are_listed_newest_first(f: Fixture) {
    let (a, b) = (f.district("a").await, f.district("b").await);
    let mut made = Vec::new();
    for (minutes, id) in [(0, &a), (1, &b), (2, &a)] {
        made.push(f.store.create_run(&manual(id), later(minutes)).await.unwrap().unwrap());
    }
    let ids = |runs: Vec<rollcall_store::run::Run>| runs.into_iter().map(|run| run.id).collect::<Vec<RunId>>();
    assert_eq!(ids(f.store.runs(Some(&a), 10).await.unwrap()), [made[2].id, made[0].id]);
    assert_eq!(ids(f.store.runs(Some(&a), 1).await.unwrap()), [made[2].id]);
    assert_eq!(ids(f.store.runs(None, 2).await.unwrap()), [made[2].id, made[1].id]);
    assert_eq!(ids(f.store.runs(None, 10).await.unwrap()).len(), 3);
}

async fn a_run_starts_once(f: Fixture) {
    let id = f.district("a").await;
    let run = f.run(&id).await.id;
    f.store.start_run(&id, run, later(1)).await.unwrap();
    f.store.start_run(&id, run, later(2)).await.unwrap();
    let run = f.store.run(&id, run).await.unwrap();
    assert_eq!((run.state, run.started_at), (RunState::Running, Some(later(1))));
}

async fn only_a_run_that_released_nothing_can_fail_or_be_cancelled(f: Fixture) {
    let id = f.district("a").await;
    let first = f.run(&id).await.id;
    assert!(f.store.cancel_run(&id, first, "ann", later(1)).await.unwrap());
    assert!(!f.store.cancel_run(&id, first, "bob", later(2)).await.unwrap());
    let ended = f.store.run(&id, first).await.unwrap();
    assert_eq!((ended.state, ended.stage), (RunState::Cancelled, Stage::Closed));
    assert_eq!((ended.reason.as_deref(), ended.ended_at), (Some("by ann"), Some(later(1))));
    f.store.fail_run(&id, first, "too late", later(3)).await.unwrap();
    assert_eq!(f.store.run(&id, first).await.unwrap(), ended);

    let second = f.run(&id).await.id;
    f.store.fail_run(&id, second, "the SIS is gone", later(1)).await.unwrap();
    let failed = f.store.run(&id, second).await.unwrap();
    assert_eq!((failed.state, failed.reason.as_deref()), (RunState::Failed, Some("the SIS is gone")));

    let third = f.run_at_plan(&id).await.id;
    assert!(f.store.save_plan(&id, third, &empty_plan(Verdict::Release), later(1)).await.unwrap());
    assert!(!f.store.cancel_run(&id, third, "ann", later(2)).await.unwrap());
    f.store.fail_run(&id, third, "no", later(2)).await.unwrap();
    assert_eq!(f.store.run(&id, third).await.unwrap().stage, Stage::Release);
}

async fn one_reconciler_in_an_interval_has_a_run(f: Fixture) {
    let id = f.district("a").await;
    let run = f.run(&id).await.id;
    let claims = async |minutes: i64| {
        let other = f.again().await;
        let claim = |store: Store| {
            let id = id.clone();
            tokio::spawn(
                async move { store.claim_reconcile(&id, run, later(minutes - 5), later(minutes)).await.unwrap() },
            )
        };
        let tasks = [claim(f.store.clone()), claim(other.clone()), claim(f.store.clone()), claim(other)];
        let mut won = 0;
        for task in tasks {
            won += usize::from(task.await.unwrap());
        }
        won
    };
    assert_eq!(claims(0).await, 1);
    assert_eq!(claims(4).await, 0);
    assert_eq!(claims(5).await, 1);
    f.store.cancel_run(&id, run, "test", later(6)).await.unwrap();
    assert_eq!(claims(60).await, 0);
}

async fn open_runs_tell_when_they_were_touched(f: Fixture) {
    let id = f.district("a").await;
    let (run, ended) = (f.run(&id).await.id, f.run(&id).await.id);
    f.store.cancel_run(&id, ended, "test", now()).await.unwrap();
    let open = f.store.open_runs().await.unwrap();
    assert_eq!(open.len(), 1);
    assert_eq!((open[0].run, open[0].stage, open[0].touched_at), (run, Stage::Pull, now()));
    let late = NewPage { collected_at: later(7), ..page(0, 1) };
    f.store.save_page(&id, run, &late).await.unwrap();
    assert_eq!(f.store.open_runs().await.unwrap()[0].touched_at, later(7));
}

fn finding(weight: FindingWeight, code: &str, message: &str, count: i64) -> Finding {
    Finding { weight, code: code.to_owned(), message: message.to_owned(), count }
}

async fn the_same_finding_is_counted(f: Fixture) {
    use FindingWeight::{Partial, Warning};
    let id = f.district("a").await;
    let run = f.run(&id).await.id;
    let again = [(Warning, "one", 2), (Warning, "two", 1), (Partial, "one", 3), (Warning, "one", 1)];
    for (weight, message, count) in again {
        f.store.add_finding(&id, run, &finding(weight, "code", message, count)).await.unwrap();
    }
    let run = f.store.run(&id, run).await.unwrap();
    assert_eq!(run.findings, [finding(Partial, "code", "one", 6), finding(Warning, "code", "two", 1)]);
}

fn discovery() -> Discovery {
    Discovery { school_years: vec!["2027".to_owned()], ..Discovery::default() }
}

fn board(lanes: usize) -> Board {
    Board { lanes: vec![Lane::default(); lanes], ..Board::default() }
}

async fn discovery_is_saved_once(f: Fixture) {
    let id = f.district("a").await;
    let run = f.run(&id).await.id;
    assert!(f.store.board(&id, run, FIRST).await.unwrap().is_none());
    assert!(f.store.with_board(&id, run, FIRST, |_| ((), false)).await.unwrap().is_none());
    assert!(f.store.save_discovery(&id, run, FIRST, &discovery(), &board(4)).await.unwrap());
    assert!(!f.store.save_discovery(&id, run, FIRST, &Discovery::default(), &board(1)).await.unwrap());
    let pulls = f.store.pulls(&id, run).await.unwrap();
    assert_eq!((pulls[0].state, pulls[0].discovery.as_ref()), (PullState::Fetching, Some(&discovery())));
    assert_eq!(f.store.board(&id, run, FIRST).await.unwrap(), Some(board(4)));
}

async fn a_board_changed_by_many_at_once_loses_nothing(f: Fixture) {
    let id = f.district("a").await;
    let run = f.run(&id).await.id;
    f.store.save_discovery(&id, run, FIRST, &discovery(), &board(1)).await.unwrap();
    let other = f.again().await;
    let tasks: Vec<_> = (0..40)
        .map(|number| {
            let (store, id) = (if number % 2 == 0 { &f.store } else { &other }.clone(), id.clone());
            tokio::spawn(async move {
                let next = |board: &mut Board| {
                    board.lanes[0].generation += 1;
                    (board.lanes[0].generation, board.lanes[0].generation == 40)
                };
                store.with_board(&id, run, FIRST, next).await.unwrap().unwrap()
            })
        })
        .collect();
    let mut seen = Vec::new();
    for task in tasks {
        seen.push(task.await.unwrap());
    }
    seen.sort_unstable();
    assert_eq!(seen, (1..=40).collect::<Vec<u64>>());
    assert_eq!(f.store.board(&id, run, FIRST).await.unwrap().unwrap().lanes[0].generation, 40);
    assert_eq!(f.store.pulls(&id, run).await.unwrap()[0].state, PullState::Fetched);
}

async fn a_board_that_is_not_changed_stays(f: Fixture) {
    let id = f.district("a").await;
    let run = f.run(&id).await.id;
    f.store.save_discovery(&id, run, FIRST, &discovery(), &board(2)).await.unwrap();
    assert_eq!(f.store.with_board(&id, run, FIRST, |board| (board.lanes.len(), false)).await.unwrap(), Some(2));
    assert_eq!(f.store.board(&id, run, FIRST).await.unwrap(), Some(board(2)));
    // Fetched, and then a second look makes it fetch again.
    f.store.with_board(&id, run, FIRST, |_| ((), true)).await.unwrap();
    assert_eq!(f.store.pulls(&id, run).await.unwrap()[0].state, PullState::Fetched);
    f.store.with_board(&id, run, FIRST, |_| ((), false)).await.unwrap();
    assert_eq!(f.store.pulls(&id, run).await.unwrap()[0].state, PullState::Fetching);
}

async fn no_board_of_a_failed_pull_or_an_ended_run_is_changed(f: Fixture) {
    let id = f.district("a").await;
    let (failed, ended) = (f.run(&id).await.id, f.run(&id).await.id);
    for run in [failed, ended] {
        f.store.save_discovery(&id, run, FIRST, &discovery(), &board(2)).await.unwrap();
    }
    f.store.fail_pull(&id, failed, FIRST, "access refused").await.unwrap();
    f.store.fail_pull(&id, failed, FIRST, "and again").await.unwrap();
    f.store.cancel_run(&id, ended, "test", now()).await.unwrap();
    for run in [failed, ended] {
        assert!(f.store.with_board(&id, run, FIRST, |board| (board.lanes.clear(), true)).await.unwrap().is_none());
        assert_eq!(f.store.board(&id, run, FIRST).await.unwrap(), Some(board(2)));
    }
    let pull = f.store.pulls(&id, failed).await.unwrap().remove(0);
    assert_eq!((pull.state, pull.reason.as_deref()), (PullState::Failed, Some("access refused")));
}

async fn a_page_is_kept_once_unless_it_decodes_at_last(f: Fixture) {
    let id = f.district("a").await;
    let run = f.run(&id).await.id;
    let broken = NewPage { error: Some("line 1, column 9".to_owned()), fragments: Vec::new(), rows: 0, ..page(0, 1) };
    assert!(f.store.save_page(&id, run, &broken).await.unwrap());
    assert!(!f.store.save_page(&id, run, &broken).await.unwrap());
    assert_eq!(f.store.pages(&id, run).await.unwrap()[0].error, broken.error);
    assert!(f.store.fragments(&id, run).await.unwrap().is_empty());
    // Decoded at last, out of the stored body.
    assert!(f.store.save_page(&id, run, &NewPage { raw: None, ..page(0, 1) }).await.unwrap());
    assert!(!f.store.save_page(&id, run, &broken).await.unwrap());
    assert!(!f.store.save_page(&id, run, &NewPage { rows: 1, ..page(0, 1) }).await.unwrap());
    let rows = f.store.pages(&id, run).await.unwrap();
    let wanted = page(0, 1);
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].rows, rows[0].error.as_ref(), rows[0].digest), (500, None, wanted.digest));
    assert_eq!((rows[0].asked_at, rows[0].collected_at, rows[0].took_ms), (now(), later(1), 25));
    assert_eq!((rows[0].status, rows[0].claimed_total), (200, Some(1_000)));
    let raw = f.store.raw_page(&id, run, FIRST, ListingNo(0), PageNo(1)).await.unwrap();
    assert_eq!(raw, wanted.raw);
}

async fn a_large_page_waits_for_its_message(f: Fixture) {
    let id = f.district("a").await;
    let run = f.run(&id).await.id;
    let large: Vec<u8> = (0..5_000_000_u32).map(|place| (place % 251) as u8).collect();
    let raw = async |store: &Store| store.raw_page(&id, run, FIRST, ListingNo(3), PageNo(2)).await.unwrap();
    f.store.stash_raw(&id, run, FIRST, ListingNo(3), PageNo(2), b"first try").await.unwrap();
    f.store.stash_raw(&id, run, FIRST, ListingNo(3), PageNo(2), &large).await.unwrap();
    assert!(f.store.pages(&id, run).await.unwrap().is_empty());
    assert_eq!(raw(&f.store).await.as_ref(), Some(&large));
    assert!(f.store.save_page(&id, run, &NewPage { raw: None, ..page(3, 2) }).await.unwrap());
    f.store.stash_raw(&id, run, FIRST, ListingNo(3), PageNo(2), b"late").await.unwrap();
    assert_eq!(raw(&f.store).await.as_ref(), Some(&large));
    assert_eq!(f.store.pages(&id, run).await.unwrap().len(), 1);
}

async fn pages_and_fragments_come_in_order(f: Fixture) {
    let id = f.district("a").await;
    let run = f.run(&id).await.id;
    let order = [(1, 1), (0, 10), (0, 2), (2, 1), (0, 1)];
    for (listing, number) in order {
        f.store.save_page(&id, run, &page(listing, number)).await.unwrap();
    }
    let wanted = [(0, 1), (0, 2), (0, 10), (1, 1), (2, 1)];
    let pages = f.store.pages(&id, run).await.unwrap();
    assert_eq!(pages.iter().map(|page| (page.listing.0, page.page.0)).collect::<Vec<_>>(), wanted);
    let fragments = f.store.fragments(&id, run).await.unwrap();
    assert_eq!(fragments.iter().map(|page| (page.listing.0, page.page.0)).collect::<Vec<_>>(), wanted);
    assert_eq!(fragments[2].fragments, b"fragments 0/10");
}

async fn pages_are_forgotten_after_their_run_has_ended(f: Fixture) {
    let (a, b) = (f.district("a").await, f.district("b").await);
    let (ended, open, fresh) = (f.run(&a).await.id, f.run(&a).await.id, f.run(&b).await.id);
    for (id, run) in [(&a, ended), (&a, open), (&b, fresh)] {
        f.store.save_page(id, run, &page(0, 1)).await.unwrap();
        f.store.save_page(id, run, &page(0, 2)).await.unwrap();
    }
    f.store.cancel_run(&a, ended, "test", later(10)).await.unwrap();
    f.store.cancel_run(&b, fresh, "test", later(20)).await.unwrap();
    assert_eq!(f.store.forget_pages(later(10)).await.unwrap(), 0);
    assert_eq!(f.store.forget_pages(later(11)).await.unwrap(), 2);
    assert!(f.store.pages(&a, ended).await.unwrap().is_empty());
    assert_eq!(f.store.pages(&a, open).await.unwrap().len(), 2);
    assert_eq!(f.store.pages(&b, fresh).await.unwrap().len(), 2);
}

async fn a_run_is_pulled_when_every_pull_is_through(f: Fixture) {
    let mut two = district("a");
    let second = two.connections[0].clone();
    two.connections.push(second);
    f.store.apply_district(&two, &[secrets(), secrets()], "test", now()).await.unwrap();
    let (id, store) = (two.id, &f.store);
    let run = f.run(&id).await.id;
    assert!(!store.pulled(&id, run, later(1)).await.unwrap());
    store.save_discovery(&id, run, FIRST, &discovery(), &board(1)).await.unwrap();
    store.with_board(&id, run, FIRST, |_| ((), true)).await.unwrap();
    assert!(!store.pulled(&id, run, later(2)).await.unwrap());
    store.fail_pull(&id, run, ConnectionNo(1), "gone").await.unwrap();
    assert!(store.waiting_to_plan(&id).await.unwrap().is_empty());
    assert!(store.pulled(&id, run, later(3)).await.unwrap());
    assert!(store.pulled(&id, run, later(4)).await.unwrap());
    assert_eq!(store.waiting_to_plan(&id).await.unwrap(), [run]);
    let pulled = store.run(&id, run).await.unwrap();
    assert_eq!((pulled.stage, pulled.pulled_at), (Stage::Plan, Some(later(3))));
    store.cancel_run(&id, run, "test", later(5)).await.unwrap();
    assert!(!store.pulled(&id, run, later(6)).await.unwrap());
}

async fn one_planner_has_a_run(f: Fixture) {
    let id = f.district("a").await;
    let early = f.run(&id).await.id;
    assert!(!f.store.claim_plan(&id, early, now(), later(5)).await.unwrap());
    let run = f.run_at_plan(&id).await.id;
    assert!(f.store.claim_plan(&id, run, now(), later(5)).await.unwrap());
    assert!(!f.again().await.claim_plan(&id, run, later(4), later(9)).await.unwrap());
    assert!(f.store.claim_plan(&id, run, later(5), later(10)).await.unwrap());
}

async fn hold(f: &Fixture, id: &rollcall_proto::id::DistrictId, plan: NewPlan) -> RunId {
    let run = f.run_at_plan(id).await.id;
    assert!(f.store.save_plan(id, run, &plan, later(2)).await.unwrap());
    assert_eq!(f.store.run(id, run).await.unwrap().state, RunState::Held);
    run
}

fn held_plan() -> NewPlan {
    empty_plan(Verdict::Hold("preview".to_owned()))
}

async fn a_held_plan_is_approved_once(f: Fixture) {
    let id = f.district("a").await;
    let run = hold(&f, &id, held_plan()).await;
    assert_eq!(f.store.approve(&id, run, "ann", later(3)).await.unwrap(), Ok(Stage::Release));
    let refused = f.store.approve(&id, run, "bob", later(4)).await.unwrap();
    assert_eq!(refused, Err(ApproveRefusal::NotHeld("running".to_owned())));
    let run = f.store.run(&id, run).await.unwrap();
    assert_eq!((run.state, run.stage, run.reason), (RunState::Running, Stage::Release, None));
    assert_eq!(run.released_at, Some(later(3)));
    let trail = f.store.audit_trail(&id, 1).await.unwrap();
    assert_eq!((trail[0].action.as_str(), trail[0].actor.as_str(), trail[0].run), ("run.approve", "ann", Some(run.id)));
}

async fn an_approval_is_refused_with_a_reason(f: Fixture) {
    let id = f.district("a").await;
    // A date given by a person.
    let looked = rollcall_store::run::NewRun { as_of_given: true, plan_only: true, ..manual(&id) };
    let looked = f.store.create_run(&looked, now()).await.unwrap().unwrap().id;
    f.store.save_discovery(&id, looked, FIRST, &discovery(), &board(1)).await.unwrap();
    f.store.with_board(&id, looked, FIRST, |_| ((), true)).await.unwrap();
    f.store.pulled(&id, looked, now()).await.unwrap();
    assert!(f.store.save_plan(&id, looked, &held_plan(), later(1)).await.unwrap());
    assert_eq!(f.store.approve(&id, looked, "ann", later(2)).await.unwrap(), Err(ApproveRefusal::AsOfGiven));

    // An earlier plan is thrown away when a later one is saved; the later one can still be approved.
    let older = hold(&f, &id, held_plan()).await;
    let newer = hold(&f, &id, held_plan()).await;
    let refused = f.store.approve(&id, older, "ann", later(3)).await.unwrap();
    assert_eq!(refused, Err(ApproveRefusal::NotHeld("discarded".to_owned())));
    assert_eq!(f.store.approve(&id, newer, "ann", later(3)).await.unwrap(), Ok(Stage::Release));
}

async fn a_later_plan_supersedes_what_waits_also_one_to_look_at(f: Fixture) {
    let id = f.district("a").await;
    let waits = hold(&f, &id, held_plan()).await;
    let look = rollcall_store::run::NewRun { as_of_given: true, plan_only: true, ..manual(&id) };
    let mut looks = Vec::new();
    for minutes in [2, 3] {
        let run = f.store.create_run(&look, later(minutes)).await.unwrap().unwrap().id;
        f.store.save_discovery(&id, run, FIRST, &discovery(), &board(1)).await.unwrap();
        f.store.with_board(&id, run, FIRST, |_| ((), true)).await.unwrap();
        f.store.pulled(&id, run, now()).await.unwrap();
        assert!(f.store.save_plan(&id, run, &held_plan(), later(minutes)).await.unwrap());
        looks.push(run);
    }
    for (earlier, by) in [(waits, looks[0]), (looks[0], looks[1])] {
        let run = f.store.run(&id, earlier).await.unwrap();
        assert_eq!((run.state, run.reason), (RunState::Discarded, Some(format!("superseded-by {by}"))));
    }
}

async fn a_plan_held_before_its_second_look_goes_there_when_approved(f: Fixture) {
    let id = f.district("a").await;
    let plan = NewPlan { recheck_on_approval: Some(b"candidates".to_vec()), ..held_plan() };
    let run = hold(&f, &id, plan).await;
    assert_eq!(f.store.approve(&id, run, "ann", later(3)).await.unwrap(), Ok(Stage::Recheck));
    let open = f.store.run(&id, run).await.unwrap();
    assert_eq!((open.state, open.stage, open.released_at), (RunState::Running, Stage::Recheck, None));
    assert_eq!(f.store.candidates(&id, run).await.unwrap(), Some((b"candidates".to_vec(), true)));
    // Its last page leads back to planning, whose lease is free.
    assert!(f.store.pulled(&id, run, later(4)).await.unwrap());
    assert!(f.store.claim_plan(&id, run, later(4), later(5)).await.unwrap());
}

async fn a_held_plan_can_be_thrown_away(f: Fixture) {
    let id = f.district("a").await;
    let run = hold(&f, &id, held_plan()).await;
    assert!(f.store.discard(&id, run, "ann", "not today", later(3)).await.unwrap());
    assert!(!f.store.discard(&id, run, "ann", "again", later(4)).await.unwrap());
    let run = f.store.run(&id, run).await.unwrap();
    assert_eq!((run.state, run.reason.as_deref()), (RunState::Discarded, Some("not today")));
    assert_eq!(run.ended_at, Some(later(3)));
}

fn baseline(resource: &str, rows: i64) -> Baseline {
    Baseline { rows: BTreeMap::from([(resource.to_owned(), rows)]), ..Baseline::default() }
}

async fn a_closed_run_keeps_its_baselines_and_pages(f: Fixture) {
    let id = f.district("a").await;
    let plan = NewPlan { baselines: vec![(0, baseline("students", 12))], ..held_plan() };
    let run = hold(&f, &id, plan).await;
    f.store.save_page(&id, run, &page(0, 1)).await.unwrap();
    assert!(f.store.close_run(&id, run, later(3)).await.unwrap().is_none());
    assert!(f.store.baseline(&id, FIRST).await.unwrap().is_none());
    f.store.approve(&id, run, "ann", later(4)).await.unwrap().unwrap();
    let closed = f.store.close_run(&id, run, later(5)).await.unwrap().unwrap();
    assert_eq!((closed.state, closed.stage, closed.reason.as_deref()), (RunState::Succeeded, Stage::Closed, None));
    assert_eq!(closed.ended_at, Some(later(5)));
    assert!(f.store.close_run(&id, run, later(6)).await.unwrap().is_none());
    assert_eq!(f.store.baseline(&id, FIRST).await.unwrap(), Some(baseline("students", 12)));
    assert_eq!(f.store.fragments(&id, run).await.unwrap().len(), 1);
    assert!(f.store.open_runs().await.unwrap().is_empty());
}

async fn what_made_a_run_partial_is_told(f: Fixture) {
    use FindingWeight::{Partial, Warning};
    let id = f.district("a").await;
    let plan = NewPlan { findings: vec![finding(Partial, "listing-empty", "no students", 1)], ..held_plan() };
    let run = hold(&f, &id, plan).await;
    f.store.add_finding(&id, run, &finding(Warning, "late", "slow", 1)).await.unwrap();
    f.store.fail_pull(&id, run, FIRST, "access refused").await.unwrap();
    f.store.approve(&id, run, "ann", later(4)).await.unwrap().unwrap();
    let closed = f.store.close_run(&id, run, later(5)).await.unwrap().unwrap();
    assert_eq!(closed.state, RunState::Partial);
    assert_eq!(closed.reason.as_deref(), Some("connection 0 failed: access refused; no students"));
}

async fn an_accepted_emptiness_lasts_until_rows_are_back(f: Fixture) {
    let id = f.district("a").await;
    f.store.accept_empty(&id, FIRST, "staff", "ann", now()).await.unwrap();
    for (rows, accepted) in [(0, true), (3, false), (0, false)] {
        let version = f.store.roster_version(&id).await.unwrap();
        let baselines = vec![(0, baseline("staff", rows))];
        let plan = NewPlan { baselines, roster_version: version, ..empty_plan(Verdict::Nothing) };
        let run = f.run_at_plan(&id).await.id;
        assert!(f.store.save_plan(&id, run, &plan, later(1)).await.unwrap());
        let kept = f.store.baseline(&id, FIRST).await.unwrap().unwrap();
        assert_eq!(kept.accepted_empty.contains("staff"), accepted, "{rows}");
    }
}

/// The database goes by its own clock: hence dates that are long past, or far off, whenever this runs.
async fn the_audit_trail_is_kept_for_a_year_whoever_asks(f: Fixture) {
    let (a, b) = (f.district("a").await, f.district("b").await);
    let in_year = |year: u32| format!("{year}-03-01T00:00:00Z").parse().unwrap();
    for (district, year) in [(&a, 2001), (&a, 2002), (&b, 2002), (&a, 2003), (&a, 2999)] {
        let entry = AuditEntry::new(district, in_year(year), "ann", "run.approve", year.to_string());
        f.store.audit(&entry).await.unwrap();
    }
    let years = async |district| -> Vec<String> {
        let trail = f.store.audit_trail(district, 10).await.unwrap();
        trail.into_iter().filter(|entry| entry.action == "run.approve").map(|entry| entry.detail).collect()
    };
    f.store.forget_trail(in_year(3000), now()).await.expect_err("the last year is not given up");
    assert_eq!(years(&a).await, ["2999", "2003", "2002", "2001"]);

    let forgotten = f.store.forget_trail(in_year(2003), now()).await.unwrap();
    assert_eq!(forgotten, ForgottenTrail { entries: 3, views: 0 });
    assert_eq!((years(&a).await, years(&b).await), (vec!["2999".to_owned(), "2003".to_owned()], vec![]));
    let told = f.store.audit_trail(&a, 1).await.unwrap().remove(0);
    assert_eq!((told.actor.as_str(), told.action.as_str(), told.at), ("retention", "audit.expired", now()));
    assert_eq!(told.detail, "entries=2 views=0 before=2003-03-01");
    assert_eq!(f.store.forget_trail(in_year(2003), now()).await.unwrap(), ForgottenTrail::default());
    assert_eq!(f.store.audit_trail(&a, 1).await.unwrap(), [told], "nothing was deleted, and nothing said");
}

async fn the_audit_trail_is_newest_first(f: Fixture) {
    let (a, b) = (f.district("a").await, f.district("b").await);
    let entry = |action: &str, minutes| AuditEntry::new(&a, later(minutes), "ann", action, "");
    f.store.audit(&entry("one", 1)).await.unwrap();
    f.store.audit(&entry("two", 2)).await.unwrap();
    assert_eq!(f.store.audit_trail(&a, 2).await.unwrap(), [entry("two", 2), entry("one", 1)]);
    assert_eq!(f.store.audit_trail(&a, 10).await.unwrap().len(), 3);
    assert_eq!(f.store.audit_trail(&b, 10).await.unwrap().len(), 1);
}

async fn what_is_noted_once_is_noted_once_however_many_ask(f: Fixture) {
    let (a, b) = (f.district("a").await, f.district("b").await);
    let entry = |district, minutes, number: i64| {
        let detail = format!("message {number}");
        AuditEntry::new(district, later(minutes), RETENTION, "parked.expired", detail)
    };
    let all = |minutes| -> Vec<AuditEntry> {
        [&a, &b].iter().flat_map(|district| (0..20).map(move |number| entry(district, minutes, number))).collect()
    };
    let asking: Vec<_> = (0..4)
        .map(|minutes| {
            let (store, entries) = (f.store.clone(), all(minutes));
            tokio::spawn(async move { store.audit_once(&entries).await.unwrap() })
        })
        .collect();
    let mut added = 0;
    for asked in asking {
        added += asked.await.unwrap();
    }
    assert_eq!(added, 40);
    let run = Some(RunId(uuid::Uuid::from_u128(1)));
    let others = [
        entry(&a, 9, 7).of(run),
        entry(&a, 9, 20),
        entry(&a, 9, 20),
        AuditEntry { action: "other".to_owned(), ..entry(&a, 9, 7) },
    ];
    assert_eq!(
        f.store.audit_once(&[all(9), others.to_vec()].concat()).await.unwrap(),
        3,
        "another run, number, action"
    );
    assert_eq!(f.store.audit_once(&[]).await.unwrap(), 0);
    for (district, expected) in [(&a, 22), (&b, 20)] {
        let trail = f.store.audit_trail(district, 100).await.unwrap();
        assert_eq!(trail.iter().filter(|entry| entry.action == "parked.expired").count(), expected);
    }
}

async fn a_chore_is_one_callers_in_an_interval(f: Fixture) {
    let every = TimeDelta::minutes(60);
    for (minutes, expected) in [(0, 1), (30, 0), (59, 0), (60, 1), (119, 0), (120, 1)] {
        let asking: Vec<_> = (0..4)
            .map(|_| {
                let store = f.store.clone();
                tokio::spawn(async move { store.claim_chore("sweep", every, later(minutes)).await.unwrap() })
            })
            .collect();
        let mut claimed = 0;
        for asked in asking {
            claimed += u32::from(asked.await.unwrap());
        }
        assert_eq!(claimed, expected, "after {minutes} minutes");
    }
    assert!(f.store.claim_chore("dust", every, later(121)).await.unwrap(), "another chore");
    // Whose clock was a day ahead keeps nobody from it for a day.
    assert!(f.store.claim_chore("sweep", every, later(1_440)).await.unwrap());
    assert!(f.store.claim_chore("sweep", every, later(180)).await.unwrap());
    assert!(!f.store.claim_chore("sweep", every, later(121)).await.unwrap(), "a little ahead is no fault");
}

async fn a_chore_that_did_not_succeed_is_given_back(f: Fixture) {
    let every = TimeDelta::minutes(60);
    assert!(f.store.claim_chore("sweep", every, later(0)).await.unwrap());
    f.store.give_chore_back("sweep", later(1)).await.unwrap();
    assert!(!f.store.claim_chore("sweep", every, later(2)).await.unwrap(), "that claim was not theirs");
    f.store.give_chore_back("sweep", later(0)).await.unwrap();
    assert!(f.store.claim_chore("sweep", every, later(3)).await.unwrap());
}

async fn several_processes_open_one_store(f: Fixture) {
    let id = f.district("a").await;
    let (one, two, three, four) = tokio::join!(f.again(), f.again(), f.again(), f.again());
    for store in [one, two, three, four] {
        assert_eq!(store.districts().await.unwrap(), std::slice::from_ref(&id));
        store.check().await.unwrap();
    }
}

async fn what_is_not_there_is_named(f: Fixture) {
    let (id, run) = ("nobody".parse().unwrap(), RunId(uuid::Uuid::from_u128(1)));
    assert!(matches!(f.store.district(&id).await, Err(StoreError::NoDistrict(_))));
    assert!(matches!(f.store.roster_version(&id).await, Err(StoreError::NoDistrict(_))));
    assert!(matches!(f.store.remove_district(&id, "test", now()).await, Err(StoreError::NoDistrict(_))));
    assert!(matches!(f.store.run(&id, run).await, Err(StoreError::NoRun(_))));
    assert!(matches!(f.store.district_of(run).await, Err(StoreError::NoRun(_))));
    assert!(f.store.save_page(&id, run, &page(0, 1)).await.is_err());
}

/// A run with two listings of a page each, pulled, and ended without a plan; its second look has one listing more.
async fn pulled_and_cancelled(f: &Fixture, id: &rollcall_proto::id::DistrictId) -> RunId {
    let (run, store) = (f.run(id).await.id, &f.store);
    let ask = |resource: &str| Ask { resource: resource.to_owned(), ..Ask::default() };
    let mut board = Board::new(vec![ask("one"), ask("two")], 1);
    assert!(board.add_recheck(vec![ask("one")]));
    store.start_run(id, run, now()).await.unwrap();
    store.save_discovery(id, run, FIRST, &discovery(), &board).await.unwrap();
    for (listing, number) in [(0, 1), (0, 2), (1, 1), (2, 1)] {
        store.save_page(id, run, &page(listing, number)).await.unwrap();
    }
    store.with_board(id, run, FIRST, |_| ((), true)).await.unwrap().unwrap();
    store.add_finding(id, run, &finding(FindingWeight::Warning, "code", "of the pull", 1)).await.unwrap();
    assert!(store.pulled(id, run, now()).await.unwrap());
    assert!(store.cancel_run(id, run, "ann", later(2)).await.unwrap());
    run
}

fn replay(id: &rollcall_proto::id::DistrictId, of: RunId, look: ReplayLook) -> Replay {
    Replay { district: id.clone(), of, look, actor: "ann".to_owned() }
}

async fn a_replay_is_a_run_of_its_own_from_the_same_pages(f: Fixture) {
    let id = f.district("a").await;
    let old = pulled_and_cancelled(&f, &id).await;
    let before = f.store.run(&id, old).await.unwrap();
    for (look, recheck_from, pages) in [(ReplayLook::Stored, Some(2), 4), (ReplayLook::Asked, None, 3)] {
        let new = f.store.replay_run(&replay(&id, old, look), ReplayPages::Kept, later(5)).await.unwrap().unwrap();
        assert_ne!(new.id, old);
        assert_eq!((new.state, new.stage, new.trigger), (RunState::Running, Stage::Plan, Trigger::Manual));
        assert_eq!((new.as_of, new.replay_of, new.pulled_at), (before.as_of, Some(old), Some(later(5))));
        assert!(new.seq > before.seq);
        assert_eq!(new.findings, before.findings);
        let (of_old, of_new) = (f.store.pages(&id, old).await.unwrap(), f.store.pages(&id, new.id).await.unwrap());
        assert_eq!(of_new, of_old[..pages]);
        let fragments = f.store.fragments(&id, new.id).await.unwrap();
        assert_eq!((fragments.len(), fragments[1].fragments.as_slice()), (pages, &b"fragments 0/2"[..]));
        let raw = f.store.raw_page(&id, new.id, FIRST, ListingNo(0), PageNo(2)).await.unwrap();
        assert_eq!(raw.as_deref(), Some(&b"raw 0/2"[..]));
        let board = f.store.board(&id, new.id, FIRST).await.unwrap().unwrap();
        assert_eq!((board.recheck_from, board.listings.len()), (recheck_from, pages - 1));
        assert_eq!(f.store.pulls(&id, new.id).await.unwrap(), f.store.pulls(&id, old).await.unwrap());
        assert_eq!(f.store.run(&id, old).await.unwrap(), before, "the earlier run stays as it ended");
        let entry = f.store.audit_trail(&id, 1).await.unwrap().remove(0);
        assert_eq!(
            (entry.action.as_str(), entry.run, entry.detail),
            ("run.replay", Some(old), format!("as={}", new.id))
        );
        assert!(f.store.cancel_run(&id, new.id, "ann", later(6)).await.unwrap());
    }
}

async fn a_replay_reads_pages_again_where_asked(f: Fixture) {
    let id = f.district("a").await;
    let old = pulled_and_cancelled(&f, &id).await;
    let read = |page: &StoredPage<'_>| PageReading {
        fragments: [page.resource.as_bytes(), page.raw].concat(),
        rows: i64::from(page.status),
        digest: [9; 16],
        claimed_total: None,
        error: (page.raw == b"raw 1/1").then(|| "line 3, column 1".to_owned()),
    };
    let wanted = replay(&id, old, ReplayLook::Stored);
    let new = f.store.replay_run(&wanted, ReplayPages::Read(&read), later(5)).await.unwrap().unwrap();
    let pages = f.store.pages(&id, new.id).await.unwrap();
    assert_eq!((pages[0].rows, pages[0].digest, pages[0].claimed_total), (200, [9; 16], None));
    assert_eq!(pages[2].error.as_deref(), Some("line 3, column 1"));
    let fragments = f.store.fragments(&id, new.id).await.unwrap();
    let texts: Vec<_> = fragments.iter().map(|page| page.fragments.as_slice()).collect();
    assert_eq!(texts, [&b"oneraw 0/1"[..], b"oneraw 0/2", b"oneraw 2/1"]);
}

async fn a_replay_is_refused_with_a_reason(f: Fixture) {
    let id = f.district("a").await;
    let refused = async |of: RunId| {
        let wanted = replay(&id, of, ReplayLook::Stored);
        f.store.replay_run(&wanted, ReplayPages::Kept, later(5)).await.unwrap().unwrap_err()
    };
    let open = f.run(&id).await.id;
    assert_eq!(refused(open).await, ReplayRefusal::Open("queued".to_owned()));
    f.store.cancel_run(&id, open, "ann", later(1)).await.unwrap();
    assert_eq!(refused(open).await, ReplayRefusal::NotPulled);

    let old = pulled_and_cancelled(&f, &id).await;
    let newer = f.run(&id).await.id;
    assert_eq!(refused(old).await, ReplayRefusal::NewerRun(newer.to_string()), "it is at work");
    f.store.fail_run(&id, newer, "no", later(3)).await.unwrap();
    let planned = f.run_at_plan(&id).await.id;
    assert!(f.store.save_plan(&id, planned, &empty_plan(Verdict::Nothing), later(3)).await.unwrap());
    assert_eq!(refused(old).await, ReplayRefusal::NewerRun(planned.to_string()), "it has planned");

    let aged = pulled_and_cancelled(&f, &id).await;
    let mut two = district("a");
    two.connections.push(two.connections[0].clone());
    f.store.apply_district(&two, &[secrets(), secrets()], "test", now()).await.unwrap();
    assert_eq!(refused(aged).await, ReplayRefusal::ConnectionsChanged);
    f.district("a").await;
    f.store.forget_pages(later(60)).await.unwrap();
    assert_eq!(refused(aged).await, ReplayRefusal::PagesGone);
    let made = f.store.runs(Some(&id), 100).await.unwrap();
    assert!(made.iter().all(|run| run.replay_of.is_none()), "a refusal leaves nothing behind");
}

async fn a_replay_that_a_newer_run_has_overtaken_is_void(f: Fixture) {
    let id = f.district("a").await;
    let old = pulled_and_cancelled(&f, &id).await;
    let wanted = replay(&id, old, ReplayLook::Stored);
    let slow = f.store.replay_run(&wanted, ReplayPages::Kept, later(3)).await.unwrap().unwrap().id;
    let night = f.run_at_plan(&id).await.id;
    assert!(f.store.save_plan(&id, night, &empty_plan(Verdict::Nothing), later(4)).await.unwrap());
    assert!(f.store.save_plan(&id, slow, &empty_plan(Verdict::Release), later(5)).await.unwrap());
    let void = f.store.run(&id, slow).await.unwrap();
    assert_eq!((void.state, void.stage, void.ended_at), (RunState::Discarded, Stage::Closed, Some(later(5))));
    assert_eq!(void.reason, Some(format!("superseded-by {night}")));
    assert!(!f.store.save_plan(&id, slow, &empty_plan(Verdict::Release), later(6)).await.unwrap());
}
