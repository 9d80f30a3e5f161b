//! Runs: numbered, found, started, ended, looked after; what was found on them.

use rollcall_proto::id::RunId;
use rollcall_store::{
    Store, StoreError,
    page::NewPage,
    plan::Verdict,
    run::{FindingWeight, PullState, RunState, Stage},
};

use crate::{
    common::{Fixture, day, empty_plan, later, manual, now, page, scheduled},
    support::{FIRST, finding},
};

crate::on_both_engines! {
    runs_are_numbered_without_gaps,
    one_scheduled_run_per_date_however_many_schedulers_tick,
    a_run_is_found_by_its_id_alone,
    runs_are_listed_newest_first,
    a_run_starts_once,
    only_a_run_that_released_nothing_can_fail_or_be_cancelled,
    one_reconciler_in_an_interval_has_a_run,
    open_runs_tell_when_they_were_touched,
    the_same_finding_is_counted,
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
