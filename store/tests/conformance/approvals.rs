//! A plan's way from its one planner over a hold to the end of its run.

use rollcall_proto::roster::{Person, Staff};
use rollcall_store::{
    plan::{ApproveRefusal, NewPlan, Verdict},
    run::{Counts, FindingWeight, NoPlan, RunState, Stage},
};

use crate::{
    common::{Fixture, empty_plan, later, manual, now, page},
    support::{FIRST, baseline, board, discovery, finding, held_plan, hold},
};

crate::on_both_engines! {
    one_planner_has_a_run,
    attempts_at_a_plan_count_until_they_are_given_back,
    a_held_plan_is_approved_once,
    an_approval_is_refused_with_a_reason,
    a_run_that_plans_late_takes_nothing_back_from_a_newer_one,
    a_run_that_plans_late_goes_on_where_the_newer_plan_waits,
    a_run_that_plans_late_is_kept_where_no_newer_plan_counts,
    a_plan_that_is_held_outlives_a_later_night_that_failed,
    a_later_plan_supersedes_what_waits_also_one_to_look_at,
    a_plan_held_before_its_second_look_goes_there_when_approved,
    a_held_plan_can_be_thrown_away,
    a_closed_run_keeps_its_baselines_and_pages,
    what_made_a_run_partial_is_told,
    many_things_that_made_a_run_partial_are_told_in_short,
    an_accepted_emptiness_lasts_until_rows_are_back,
}

async fn one_planner_has_a_run(f: Fixture) {
    let id = f.district("a").await;
    let early = f.run(&id).await.id;
    assert!(f.store.claim_plan(&id, early, now(), later(5)).await.unwrap().is_none());
    let run = f.run_at_plan(&id).await.id;
    assert!(!f.store.is_claimed_for_planning(&id, run, now()).await.unwrap());
    assert!(f.store.claim_plan(&id, run, now(), later(5)).await.unwrap().is_some());
    assert!(f.store.is_claimed_for_planning(&id, run, later(4)).await.unwrap());
    assert!(!f.store.is_claimed_for_planning(&id, run, later(5)).await.unwrap());
    assert!(f.again().await.claim_plan(&id, run, later(4), later(9)).await.unwrap().is_none());
    assert!(f.store.claim_plan(&id, run, later(5), later(10)).await.unwrap().is_some());
}

async fn attempts_at_a_plan_count_until_they_are_given_back(f: Fixture) {
    let id = f.district("a").await;
    let run = f.run_at_plan(&id).await.id;
    let claim = async |minute| f.store.claim_plan(&id, run, later(minute), later(minute + 3)).await.unwrap();
    let give_back = async |until, why| f.store.give_planning_back(&id, run, later(until), why).await.unwrap();
    assert_eq!(claim(0).await, Some(1));
    give_back(3, NoPlan::Failed).await;
    assert_eq!(claim(0).await, Some(2), "free at once");
    give_back(3, NoPlan::Hindered).await;
    assert_eq!(claim(0).await, Some(2), "that one counted for nothing");
    assert_eq!(claim(4).await, Some(3), "of that one nobody came back");
    give_back(3, NoPlan::Hindered).await;
    assert_eq!(claim(5).await, None, "whose time is over gives nothing back");

    let give_up = async |run, why, minute, own: Option<i64>| {
        f.store.give_plan_up(&id, run, why, (later(minute), own.map(later))).await.unwrap()
    };
    assert!(!give_up(run, "not mine", 5, None).await, "somebody plans it, until 7");
    assert!(!give_up(run, "not mine either", 5, Some(3)).await);
    assert!(give_up(run, "no plan", 5, Some(7)).await);
    assert!(!give_up(run, "once more", 6, None).await);
    let ended = f.store.run(&id, run).await.unwrap();
    assert_eq!((ended.state, ended.stage, ended.reason.as_deref()), (RunState::Failed, Stage::Closed, Some("no plan")));
    let held = hold(&f, &id, held_plan()).await;
    assert!(!give_up(held, "too late", 7, None).await);

    let left = f.run_at_plan(&id).await.id;
    assert!(f.store.claim_plan(&id, left, later(8), later(11)).await.unwrap().is_some());
    assert!(give_up(left, "their time is over", 11, None).await);
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

/// However late it is: it pulled slowly, or was approved and went to look again.
async fn a_run_that_plans_late_takes_nothing_back_from_a_newer_one(f: Fixture) {
    let id = f.district("a").await;
    let member = |id: &str| Staff {
        id: id.to_owned(),
        connection: Some(0),
        number: None,
        person: Person::default(),
        teacher: true,
        entities: vec!["1".to_owned()],
    };
    let plan = |verdict, staff: &str, count| NewPlan {
        staff: vec![member(staff)],
        staff_whole: true,
        baselines: vec![(0, baseline("students", count))],
        ..empty_plan(verdict)
    };
    let late = [
        Verdict::Nothing,
        Verdict::Release,
        Verdict::Hold("limit".to_owned()),
        Verdict::Recheck(b"candidates".to_vec()),
    ];
    for verdict in late {
        let (older, newer) = (f.run_at_plan(&id).await.id, f.run_at_plan(&id).await.id);
        assert!(f.store.save_plan(&id, newer, &plan(Verdict::Nothing, "of-the-newer", 20), later(1)).await.unwrap());
        assert_eq!(f.store.run(&id, newer).await.unwrap().state, RunState::Succeeded);
        assert!(f.store.save_plan(&id, older, &plan(verdict, "of-the-older", 10), later(2)).await.unwrap());
        let thrown = f.store.run(&id, older).await.unwrap();
        let superseded = (RunState::Discarded, Stage::Closed, Some(format!("superseded-by {newer}")));
        assert_eq!((thrown.state, thrown.stage, thrown.reason), superseded);
        assert_eq!((thrown.planned_at, thrown.ended_at), (None, Some(later(2))), "nothing of it is kept");
        assert_eq!(f.store.candidates(&id, older).await.unwrap(), None);
    }
    assert_eq!(f.store.staff_ids(&id).await.unwrap(), ["of-the-newer"]);
    assert_eq!(f.store.baseline(&id, FIRST).await.unwrap(), Some(baseline("students", 20)));

    // Approved before the newer one planned, and looked again while it did.
    let older = hold(&f, &id, NewPlan { recheck_on_approval: Some(b"candidates".to_vec()), ..held_plan() }).await;
    assert_eq!(f.store.approve(&id, older, "ann", later(3)).await.unwrap(), Ok(Stage::Recheck));
    let newer = f.run_at_plan(&id).await.id;
    assert!(f.store.save_plan(&id, newer, &empty_plan(Verdict::Nothing), later(4)).await.unwrap());
    assert!(f.store.pulled(&id, older, later(5)).await.unwrap());
    assert!(f.store.save_plan(&id, older, &empty_plan(Verdict::Release), later(6)).await.unwrap());
    let thrown = f.store.run(&id, older).await.unwrap();
    assert_eq!((thrown.state, thrown.reason), (RunState::Discarded, Some(format!("superseded-by {newer}"))));
}

/// A newer plan that waits has written nothing. A night is not thrown away for it; two plans do not wait.
async fn a_run_that_plans_late_goes_on_where_the_newer_plan_waits(f: Fixture) {
    let id = f.district("a").await;
    let plan = |verdict| NewPlan { counts: Counts { listed: 1, added: 1, ..Counts::default() }, ..empty_plan(verdict) };
    let (older, newer) = (f.run_at_plan(&id).await.id, f.run_at_plan(&id).await.id);
    assert!(f.store.save_plan(&id, newer, &held_plan(), later(1)).await.unwrap());
    let again = Verdict::Recheck(b"candidates".to_vec());
    assert!(f.store.save_plan(&id, older, &plan(again), later(2)).await.unwrap());
    assert_eq!(f.store.run(&id, older).await.unwrap().stage, Stage::Recheck);
    assert!(f.store.pulled(&id, older, later(2)).await.unwrap());
    assert!(f.store.save_plan(&id, older, &plan(Verdict::Release), later(3)).await.unwrap());
    assert_eq!(f.store.run(&id, older).await.unwrap().stage, Stage::Release);
    // Which was compared with the roster as it was before.
    assert_eq!(f.store.approve(&id, newer, "ann", later(4)).await.unwrap(), Err(ApproveRefusal::RosterChanged));

    let id = f.district("b").await;
    let (older, newer) = (f.run_at_plan(&id).await.id, f.run_at_plan(&id).await.id);
    assert!(f.store.save_plan(&id, newer, &held_plan(), later(1)).await.unwrap());
    assert!(f.store.save_plan(&id, older, &held_plan(), later(2)).await.unwrap());
    let thrown = f.store.run(&id, older).await.unwrap();
    assert_eq!((thrown.state, thrown.reason), (RunState::Discarded, Some(format!("superseded-by {newer}"))));
    assert_eq!(f.store.approve(&id, newer, "ann", later(3)).await.unwrap(), Ok(Stage::Release));
}

/// A newer one that only looks, that looks again, or that failed has written nothing, and one to look at writes nothing.
async fn a_run_that_plans_late_is_kept_where_no_newer_plan_counts(f: Fixture) {
    let id = f.district("a").await;
    let look = rollcall_store::run::NewRun { as_of_given: true, plan_only: true, ..manual(&id) };
    let at_plan = async |run: rollcall_store::run::NewRun| {
        let run = f.store.create_run(&run, now()).await.unwrap().unwrap().id;
        f.store.save_discovery(&id, run, FIRST, &discovery(), &board(1)).await.unwrap();
        f.store.with_board(&id, run, FIRST, |_| ((), true)).await.unwrap();
        f.store.pulled(&id, run, now()).await.unwrap();
        run
    };
    let older = f.run_at_plan(&id).await.id;
    for verdict in [Verdict::Recheck(b"candidates".to_vec()), Verdict::Fail("no grant".to_owned())] {
        let newer = f.run_at_plan(&id).await.id;
        assert!(f.store.save_plan(&id, newer, &empty_plan(verdict), later(1)).await.unwrap());
    }
    assert!(f.store.save_plan(&id, at_plan(look.clone()).await, &held_plan(), later(1)).await.unwrap());
    assert!(f.store.save_plan(&id, older, &held_plan(), later(2)).await.unwrap());
    assert_eq!(f.store.run(&id, older).await.unwrap().state, RunState::Held);

    let looks = at_plan(look).await;
    let newer = f.run_at_plan(&id).await.id;
    assert!(f.store.save_plan(&id, newer, &empty_plan(Verdict::Nothing), later(3)).await.unwrap());
    assert!(f.store.save_plan(&id, looks, &held_plan(), later(4)).await.unwrap());
    assert_eq!(f.store.run(&id, looks).await.unwrap().state, RunState::Held, "somebody wants to see it");
}

async fn a_plan_that_is_held_outlives_a_later_night_that_failed(f: Fixture) {
    let id = f.district("a").await;
    let waits = hold(&f, &id, held_plan()).await;
    let failed = f.run_at_plan(&id).await.id;
    let plan = empty_plan(Verdict::Fail("the secret is wrong".to_owned()));
    assert!(f.store.save_plan(&id, failed, &plan, later(1)).await.unwrap());
    let failed = f.store.run(&id, failed).await.unwrap();
    assert_eq!((failed.state, failed.plan_hash), (RunState::Failed, None), "no plan, and equal to no other");
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
    assert!(f.store.claim_plan(&id, run, later(4), later(5)).await.unwrap().is_some());
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

/// A SIS whose totals count otherwise complains of each of its listings every night.
async fn many_things_that_made_a_run_partial_are_told_in_short(f: Fixture) {
    let id = f.district("a").await;
    let complaints = (0..30).map(|number| finding(FindingWeight::Partial, "total", &format!("listing {number}"), 1));
    let plan = NewPlan { findings: complaints.collect(), ..held_plan() };
    let run = hold(&f, &id, plan).await;
    f.store.approve(&id, run, "ann", later(4)).await.unwrap().unwrap();
    let closed = f.store.close_run(&id, run, later(5)).await.unwrap().unwrap();
    assert_eq!((closed.state, closed.findings.len()), (RunState::Partial, 30));
    let told =
        format!("listing 0; listing 1; listing 2; 27 more of this kind: `rollcall runs show {run}` has them all");
    assert_eq!(closed.reason, Some(told));
}

async fn an_accepted_emptiness_lasts_until_rows_are_back(f: Fixture) {
    let id = f.district("a").await;
    let counted = async |rows: i64, carried: bool| {
        let version = f.store.roster_version(&id).await.unwrap();
        let mut held = baseline("staff", rows);
        held.carried.extend(carried.then(|| "staff".to_owned()));
        let plan = NewPlan { baselines: vec![(0, held)], roster_version: version, ..empty_plan(Verdict::Nothing) };
        let run = f.run_at_plan(&id).await.id;
        assert!(f.store.save_plan(&id, run, &plan, later(1)).await.unwrap());
        run
    };
    let accept = async |run| f.store.accept_empty((&id, run), &[(FIRST, "staff").into()], "ann", now()).await.unwrap();
    let is_accepted = async || {
        let kept = f.store.baseline(&id, FIRST).await.unwrap().unwrap_or_default();
        kept.accepted_empty.contains("staff")
    };
    let entries = async || f.store.audit_trail(&id, 100).await.unwrap().len();
    let first = f.run_at_plan(&id).await.id;
    assert_eq!(accept(first).await, Ok(()));
    for (rows, accepted) in [(0, true), (3, false), (0, false)] {
        counted(rows, false).await;
        assert_eq!(is_accepted().await, accepted, "{rows}");
    }

    // What is accepted of an old run would hold for what comes after; rows have been there since.
    let empty = counted(0, false).await;
    let carried = counted(4, true).await;
    assert_eq!(accept(empty).await, Ok(()), "the count is of an earlier pull");
    assert!(is_accepted().await);
    let (back, _) = (counted(5, false).await, counted(6, false).await);
    let newest = counted(0, false).await;
    let before = entries().await;
    for run in [first, empty, carried] {
        let held = accept(run).await.unwrap_err();
        let named = if run == first { held.run } else { back };
        assert_eq!((held.resource.as_str(), held.run), ("staff", named));
    }
    let both = [(FIRST, "homerooms").into(), (FIRST, "staff").into()];
    assert!(f.store.accept_empty((&id, empty), &both, "ann", now()).await.unwrap().is_err());
    assert_eq!(f.store.baseline(&id, FIRST).await.unwrap(), Some(baseline("staff", 0)), "all of them, or none");
    assert_eq!(entries().await, before);
    let elsewhere = [(rollcall_proto::id::ConnectionNo(1), "staff").into()];
    assert_eq!(f.store.accept_empty((&id, empty), &elsewhere, "ann", now()).await.unwrap(), Ok(()), "another's");
    assert_eq!(accept(newest).await, Ok(()));
    assert!(is_accepted().await);
}
