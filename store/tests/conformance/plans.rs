//! Plans: saved once and against the roster of their moment, read back, superseded, forgotten.

use rollcall_proto::{
    id::DistrictId,
    roster::{School, Staff, Status},
};
use rollcall_store::{
    Store,
    plan::{Skip, Verdict},
    run::{Finding, FindingWeight, NoPlan, RunState, Stage},
};

use crate::{common::Fixture, roster_support::*};

crate::on_both_engines! {
    a_newer_plan_supersedes_a_held_one,
    a_plan_against_an_old_roster_is_not_saved,
    a_plan_is_saved_once,
    nothing_to_change_closes_at_once,
    candidates_wait_for_approval,
    a_plan_reads_back,
    old_plans_are_forgotten_and_held_ones_never,
    schools_and_staff_are_written_at_release,
    a_school_that_is_not_named_any_more_keeps_its_name,
    schools_are_read_as_they_are_written,
}

async fn hold(store: &Store, district: &DistrictId, day: u32) -> rollcall_store::run::Run {
    let run = run_at_plan(store, district, day).await;
    let batches = [batch(&run, 0, vec![added(student("1"))])];
    let plan = plan_of(store, district, Verdict::Hold("preview".to_owned()), &batches).await;
    assert!(store.save_plan(district, run.id, &plan, at(4)).await.unwrap());
    store.run(district, run.id).await.unwrap()
}

async fn a_newer_plan_supersedes_a_held_one(fixture: Fixture) {
    let store = fixture.store.clone();
    let district = new_district(&store, "supersede").await;
    let first = hold(&store, &district, 1).await;
    assert_eq!((first.state, first.stage, first.reason.as_deref()), (RunState::Held, Stage::Held, Some("preview")));
    let second = hold(&store, &district, 2).await;
    let first = store.run(&district, first.id).await.unwrap();
    assert_eq!((first.state, first.stage), (RunState::Discarded, Stage::Closed));
    assert_eq!(first.reason, Some(format!("superseded-by {}", second.id)));
    assert_eq!(second.state, RunState::Held);
    // A failed planning supersedes nothing.
    let third = run_at_plan(&store, &district, 3).await;
    let plan = plan_of(&store, &district, Verdict::Fail("StudentID is not granted".to_owned()), &[]).await;
    assert!(store.save_plan(&district, third.id, &plan, at(5)).await.unwrap());
    assert_eq!(store.run(&district, third.id).await.unwrap().state, RunState::Failed);
    assert_eq!(store.run(&district, second.id).await.unwrap().state, RunState::Held);
}

async fn a_plan_against_an_old_roster_is_not_saved(fixture: Fixture) {
    let store = fixture.store.clone();
    let district = new_district(&store, "stale").await;
    let run = run_at_plan(&store, &district, 2).await;
    let plan = plan_of(&store, &district, Verdict::Release, &[batch(&run, 0, vec![added(student("1"))])]).await;
    applied(&store, &district, 1, vec![added(student("2"))]).await;
    let claim = async |from, until| store.claim_plan(&district, run.id, at(from), at(until)).await.unwrap();
    assert_eq!(claim(1, 4).await, Some(1));
    assert_eq!(claim(4, 60).await, Some(2), "whoever has it now");
    assert!(!store.save_plan(&district, run.id, &plan, at(5)).await.unwrap());
    assert_eq!(store.run(&district, run.id).await.unwrap().stage, Stage::Plan);
    assert_eq!(claim(6, 60).await, None, "they keep it, though the first has come to nothing");
    store.give_planning_back(&district, run.id, at(60), NoPlan::Hindered).await.unwrap();
    assert_eq!(claim(6, 61).await, Some(2), "free to be planned anew, and nobody's attempts are forgotten");
}

async fn a_plan_is_saved_once(fixture: Fixture) {
    let store = fixture.store.clone();
    let district = new_district(&store, "once").await;
    let run = run_at_plan(&store, &district, 1).await;
    let plan = plan_of(&store, &district, Verdict::Release, &[batch(&run, 0, vec![added(student("1"))])]).await;
    assert!(store.save_plan(&district, run.id, &plan, at(5)).await.unwrap());
    let mut again = plan_of(&store, &district, Verdict::Release, &[]).await;
    again.counts.listed = 99;
    assert!(!store.save_plan(&district, run.id, &again, at(6)).await.unwrap());
    let saved = store.run(&district, run.id).await.unwrap();
    assert_eq!((saved.stage, saved.counts.listed, saved.released_at), (Stage::Release, 1, Some(at(5))));
    assert_eq!(store.roster_version(&district).await.unwrap(), 1);
    assert_eq!(store.batches(&district, run.id).await.unwrap().len(), 1);
}

async fn nothing_to_change_closes_at_once(fixture: Fixture) {
    let store = fixture.store.clone();
    let district = new_district(&store, "nothing").await;
    let run = run_at_plan(&store, &district, 1).await;
    let mut plan = plan_of(&store, &district, Verdict::Nothing, &[]).await;
    let message = "the listing of phones is empty".to_owned();
    plan.findings =
        vec![Finding { weight: FindingWeight::Partial, code: "listing-empty".to_owned(), message, count: 1 }];
    assert!(store.save_plan(&district, run.id, &plan, at(5)).await.unwrap());
    let closed = store.run(&district, run.id).await.unwrap();
    assert_eq!((closed.state, closed.stage, closed.ended_at), (RunState::Partial, Stage::Closed, Some(at(5))));
    assert_eq!(store.roster_version(&district).await.unwrap(), 0);
}

async fn candidates_wait_for_approval(fixture: Fixture) {
    let store = fixture.store.clone();
    let district = new_district(&store, "candidates").await;
    let run = run_at_plan(&store, &district, 1).await;
    assert_eq!(store.candidates(&district, run.id).await.unwrap(), None);
    let mut plan = plan_of(&store, &district, Verdict::Hold("removed".to_owned()), &[]).await;
    plan.recheck_on_approval = Some(vec![1, 2, 3]);
    assert!(store.save_plan(&district, run.id, &plan, at(5)).await.unwrap());
    assert_eq!(store.candidates(&district, run.id).await.unwrap(), Some((vec![1, 2, 3], false)));
    let stage = store.approve(&district, run.id, "principal", at(6)).await.unwrap().unwrap();
    assert_eq!(stage, Stage::Recheck);
    assert_eq!(store.candidates(&district, run.id).await.unwrap(), Some((vec![1, 2, 3], true)));
    assert!(store.pulled(&district, run.id, at(7)).await.unwrap());
    let plan = plan_of(&store, &district, Verdict::Recheck(vec![4]), &[]).await;
    assert!(store.save_plan(&district, run.id, &plan, at(7)).await.unwrap());
    assert_eq!(store.run(&district, run.id).await.unwrap().stage, Stage::Recheck);
    assert_eq!(store.candidates(&district, run.id).await.unwrap(), Some((vec![4], true)));
    assert!(store.pulled(&district, run.id, at(8)).await.unwrap());
    let batches = [batch(&run, 0, vec![added(student("1"))])];
    let plan = plan_of(&store, &district, Verdict::Release, &batches).await;
    assert!(store.save_plan(&district, run.id, &plan, at(9)).await.unwrap());
    store.apply_batch(&district, run.id, &batches[0], at(10)).await.unwrap();
    assert_eq!(store.history(&district, &id("1")).await.unwrap()[0].actor, "principal");
}

async fn a_plan_reads_back(fixture: Fixture) {
    let store = fixture.store.clone();
    let district = new_district(&store, "lines").await;
    let run = run_at_plan(&store, &district, 1).await;
    let batches = [batch(&run, 0, vec![added(student("b")), added(student("a"))]), batch(&run, 1, vec![gone("aa")])];
    let mut plan = plan_of(&store, &district, Verdict::Hold("preview".to_owned()), &batches).await;
    let skip = Skip { student_id: id("z"), reason: "code-unresolved".to_owned(), detail: "enrollment 5".to_owned() };
    plan.skips = vec![skip.clone()];
    assert!(store.save_plan(&district, run.id, &plan, at(5)).await.unwrap());
    let lines = store.plan_lines(&district, run.id).await.unwrap();
    let shown: Vec<_> = lines.iter().map(|line| (line.student_id.0.as_str(), line.change.as_str(), line.to)).collect();
    assert_eq!(
        shown,
        [("a", "added", Status::Enrolled), ("aa", "removed", Status::Inactive), ("b", "added", Status::Enrolled)]
    );
    assert_eq!(store.skips(&district, run.id).await.unwrap(), vec![skip]);
    assert_eq!(store.run(&district, run.id).await.unwrap().plan_hash, Some("07".repeat(16)));
}

async fn old_plans_are_forgotten_and_held_ones_never(fixture: Fixture) {
    let store = fixture.store.clone();
    let district = new_district(&store, "retention").await;
    let ended = run_at_plan(&store, &district, 1).await;
    let batches = [batch(&ended, 0, vec![added(student("1"))])];
    let mut plan = plan_of(&store, &district, Verdict::Release, &batches).await;
    let skip = Skip { student_id: id("z"), reason: "code-unresolved".to_owned(), detail: "enrollment 5".to_owned() };
    plan.skips = vec![skip];
    assert!(store.save_plan(&district, ended.id, &plan, at(2)).await.unwrap());
    store.apply_batch(&district, ended.id, &batches[0], at(3)).await.unwrap();
    let closed = store.close_run(&district, ended.id, at(4)).await.unwrap().unwrap();
    let held = hold(&store, &district, 2).await;

    assert_eq!(store.forget_plans(at(4)).await.unwrap(), 0, "it ended no earlier than that");
    assert_eq!(store.plan_lines(&district, ended.id).await.unwrap().len(), 1);
    assert_eq!(store.forget_plans(at(5)).await.unwrap(), 1);
    assert_eq!(store.forget_plans(at(5)).await.unwrap(), 0);
    assert!(store.plan_lines(&district, ended.id).await.unwrap().is_empty());
    assert!(store.skips(&district, ended.id).await.unwrap().is_empty());
    assert_eq!(store.run(&district, ended.id).await.unwrap(), closed, "counts and reason stay");
    assert_eq!(store.history(&district, &id("1")).await.unwrap().len(), 1);

    assert_eq!(store.plan_lines(&district, held.id).await.unwrap().len(), 1);
    assert_eq!(store.approve(&district, held.id, "ops", at(6)).await.unwrap().unwrap(), Stage::Release);
}

async fn schools_and_staff_are_written_at_release(fixture: Fixture) {
    let store = fixture.store.clone();
    let district = new_district(&store, "side").await;
    let run = run_at_plan(&store, &district, 1).await;
    let mut plan = plan_of(&store, &district, Verdict::Hold("preview".to_owned()), &[]).await;
    let school = School { code: "101".to_owned(), name: Some("North".to_owned()), ..School::default() };
    plan.schools = vec![school.clone(), School { name: Some("South".to_owned()), ..school }];
    plan.staff = vec![Staff { id: "T1".to_owned(), person: person("T1"), teacher: true, ..Staff::default() }];
    assert!(store.save_plan(&district, run.id, &plan, at(5)).await.unwrap());
    assert_eq!(count(&fixture, &district, "school").await, 0);
    store.approve(&district, run.id, "principal", at(6)).await.unwrap().unwrap();
    assert_eq!(count(&fixture, &district, "school").await, 1);
    assert_eq!(count(&fixture, &district, "staff").await, 1);
    assert_eq!(store.staff_records(&district).await.unwrap(), plan.staff);
}

/// What a later pull cannot tell of a school is filled from this.
async fn schools_are_read_as_they_are_written(fixture: Fixture) {
    let store = fixture.store.clone();
    let (district, other) = (new_district(&store, "schools").await, new_district(&store, "others").await);
    let run = run_at_plan(&store, &district, 1).await;
    let mut plan = plan_of(&store, &district, Verdict::Hold("preview".to_owned()), &[]).await;
    let text = |text: &str| Some(text.to_owned());
    let whole = School {
        code: "102".to_owned(),
        name: text("South"),
        state_id: text("227901102"),
        grade_low: text("PK"),
        grade_high: text("05"),
        phone: text("5125550102"),
    };
    plan.schools = vec![whole, School { code: "101".to_owned(), ..School::default() }];
    assert!(store.save_plan(&district, run.id, &plan, at(5)).await.unwrap());
    assert_eq!(store.schools(&district).await.unwrap(), []);
    store.approve(&district, run.id, "principal", at(6)).await.unwrap().unwrap();
    plan.schools.reverse();
    assert_eq!(store.schools(&district).await.unwrap(), plan.schools);
    assert_eq!(store.schools(&other).await.unwrap(), []);
}

async fn a_school_that_is_not_named_any_more_keeps_its_name(fixture: Fixture) {
    let store = fixture.store.clone();
    let district = new_district(&store, "names").await;
    let school = |code: &str, name: Option<&str>, phone: &str| School {
        code: code.to_owned(),
        name: name.map(str::to_owned),
        phone: Some(phone.to_owned()),
        ..School::default()
    };
    let nights = [
        vec![school("101", Some("North"), "1"), school("102", Some("South"), "1")],
        vec![school("101", None, "2"), school("102", Some("East"), "2"), school("103", None, "2")],
    ];
    for (number, schools) in (1..).zip(nights) {
        let run = run_at_plan(&store, &district, number).await;
        let mut plan = plan_of(&store, &district, Verdict::Hold("preview".to_owned()), &[]).await;
        plan.schools = schools;
        assert!(store.save_plan(&district, run.id, &plan, at(5)).await.unwrap());
        store.approve(&district, run.id, "principal", at(6)).await.unwrap().unwrap();
        store.close_run(&district, run.id, at(7)).await.unwrap().unwrap();
    }
    for (is, schools) in [
        ("name = 'North' AND code = '101'", 1),
        ("name = 'East' AND code = '102'", 1),
        ("name IS NULL", 1),
        ("phone = '2'", 3),
    ] {
        assert_eq!(
            count(&fixture, &district, &format!("(SELECT * FROM school WHERE {is}) AS s")).await,
            schools,
            "{is}"
        );
    }
}
