//! A plan's way from its one planner over a hold to the end of its run.

use rollcall_proto::roster::{Person, Staff};
use rollcall_store::{
    plan::{ApproveRefusal, NewPlan, Verdict},
    run::{FindingWeight, RunState, Stage},
};

use crate::{
    common::{Fixture, empty_plan, later, manual, now, page},
    support::{FIRST, baseline, board, discovery, finding, held_plan, hold},
};

crate::on_both_engines! {
    one_planner_has_a_run,
    a_held_plan_is_approved_once,
    an_approval_is_refused_with_a_reason,
    a_run_that_plans_late_takes_nothing_back_from_a_newer_one,
    a_plan_that_is_held_outlives_a_later_night_that_failed,
    a_later_plan_supersedes_what_waits_also_one_to_look_at,
    a_plan_held_before_its_second_look_goes_there_when_approved,
    a_held_plan_can_be_thrown_away,
    a_closed_run_keeps_its_baselines_and_pages,
    what_made_a_run_partial_is_told,
    an_accepted_emptiness_lasts_until_rows_are_back,
}

async fn one_planner_has_a_run(f: Fixture) {
    let id = f.district("a").await;
    let early = f.run(&id).await.id;
    assert!(!f.store.claim_plan(&id, early, now(), later(5)).await.unwrap());
    let run = f.run_at_plan(&id).await.id;
    assert!(!f.store.is_claimed_for_planning(&id, run, now()).await.unwrap());
    assert!(f.store.claim_plan(&id, run, now(), later(5)).await.unwrap());
    assert!(f.store.is_claimed_for_planning(&id, run, later(4)).await.unwrap());
    assert!(!f.store.is_claimed_for_planning(&id, run, later(5)).await.unwrap());
    assert!(!f.again().await.claim_plan(&id, run, later(4), later(9)).await.unwrap());
    assert!(f.store.claim_plan(&id, run, later(5), later(10)).await.unwrap());
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
    assert_eq!(refused, Err(ApproveRefusal::NewerRun(newer.to_string())));
    assert_eq!(f.store.approve(&id, newer, "ann", later(3)).await.unwrap(), Ok(Stage::Release));
    // From here on that one waits for nobody.
    let refused = f.store.approve(&id, older, "ann", later(3)).await.unwrap();
    let superseded = ApproveRefusal::Superseded { run: newer.to_string(), state: "running".to_owned() };
    assert_eq!(refused, Err(superseded));
    // What a person threw away was superseded by nobody.
    let thrown = hold(&f, &id, held_plan()).await;
    assert!(f.store.discard(&id, thrown, "ann", "by ann", later(4)).await.unwrap());
    let refused = f.store.approve(&id, thrown, "ann", later(5)).await.unwrap();
    assert_eq!(refused, Err(ApproveRefusal::NotHeld("discarded".to_owned())));
}

async fn a_run_that_plans_late_takes_nothing_back_from_a_newer_one(f: Fixture) {
    let id = f.district("a").await;
    let (older, newer) = (f.run_at_plan(&id).await.id, f.run_at_plan(&id).await.id);
    let member = |id: &str| Staff {
        id: id.to_owned(),
        connection: Some(0),
        number: None,
        person: Person::default(),
        teacher: true,
        entities: vec!["1".to_owned()],
    };
    for (run, staff, count) in [(newer, "of-the-newer", 20), (older, "of-the-older", 10)] {
        let plan = NewPlan {
            staff: vec![member(staff)],
            staff_whole: true,
            baselines: vec![(0, baseline("students", count))],
            ..empty_plan(Verdict::Nothing)
        };
        assert!(f.store.save_plan(&id, run, &plan, later(1)).await.unwrap());
        assert_eq!(f.store.run(&id, run).await.unwrap().state, RunState::Succeeded);
    }
    assert_eq!(f.store.staff_ids(&id).await.unwrap(), ["of-the-newer"]);
    assert_eq!(f.store.baseline(&id, FIRST).await.unwrap(), Some(baseline("students", 20)));
}

async fn a_plan_that_is_held_outlives_a_later_night_that_failed(f: Fixture) {
    let id = f.district("a").await;
    let waits = hold(&f, &id, held_plan()).await;
    let failed = f.run_at_plan(&id).await.id;
    let plan = empty_plan(Verdict::Fail("the secret is wrong".to_owned()));
    assert!(f.store.save_plan(&id, failed, &plan, later(1)).await.unwrap());
    assert_eq!(f.store.run(&id, failed).await.unwrap().state, RunState::Failed);
    assert_eq!(f.store.approve(&id, waits, "ann", later(2)).await.unwrap(), Ok(Stage::Release));
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
    // The one that did it is named, and that nobody can approve it; another one that can be, in its place.
    let refused = f.store.approve(&id, waits, "ann", later(4)).await.unwrap();
    assert_eq!(refused, Err(ApproveRefusal::OnlyLooked(looks[0].to_string())));
    let next = hold(&f, &id, held_plan()).await;
    let refused = f.store.approve(&id, waits, "ann", later(5)).await.unwrap();
    assert_eq!(refused, Err(ApproveRefusal::NewerRun(next.to_string())));
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
    assert_eq!(closed.reason.as_deref(), Some("connection 1 failed: access refused; no students"));
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
