//! Students whom the database refuses, parked alone, listed, replayed and forgotten.

use rollcall_proto::{
    id::DistrictId,
    message::{Change, StudentEvent, StudentEvents},
    roster::Status,
};
use rollcall_store::{
    ParkedStudents, ReplayRefused, Store,
    plan::Verdict,
    run::{NewRun, Run, RunState, Stage, Trigger},
};

use crate::{
    common::Fixture,
    roster_support::*,
    support::{FIRST, board, discovery},
};

crate::on_both_engines! {
    a_refused_student_is_parked_alone_and_replayed_later,
    a_replay_is_refused_where_a_newer_run_wrote_or_planned,
    a_replay_is_refused_where_a_newer_run_left_the_student_as_they_are,
    a_replay_beside_a_newer_run_that_has_not_planned_makes_it_plan_with_it,
    a_replay_corrects_the_counts_once,
    a_parked_student_of_an_aged_plan_still_keeps_older_ones_back,
    parked_students_are_listed_as_asked,
    a_student_parked_long_ago_is_forgotten_and_the_audit_trail_says_whom,
    a_student_whose_stored_record_is_in_pieces_is_parked_alone,
}

/// What each engine refuses: a text that it cannot hold, or an empty key.
fn unstorable() -> StudentEvent {
    let mut record = student("");
    record.person.last_name = Some("Nul\0l".to_owned());
    added(record)
}

async fn a_refused_student_is_parked_alone_and_replayed_later(fixture: Fixture) {
    let store = fixture.store.clone();
    let district = new_district(&store, "refused").await;
    let mut events: Vec<_> = (0..20).map(|number| added(student(&format!("s{number:02}")))).collect();
    events.insert(7, unstorable());
    let (run, batches) = released(&store, &district, 1, vec![events]).await;
    let outcome = store.apply_batch(&district, run.id, &batches[0], at(2)).await.unwrap();
    assert_eq!((outcome.applied, outcome.parked.len(), outcome.run_settled), (20, 1, true));
    assert_eq!(outcome.parked[0].reason, "database-refused");
    assert_eq!(outcome.parked, store.parked_events(&district, run.id).await.unwrap());
    assert_eq!(store.stored_students(&district).await.unwrap().len(), 20);
    let closed = store.close_run(&district, run.id, at(3)).await.unwrap().unwrap();
    assert_eq!((closed.state, closed.counts.applied, closed.counts.parked), (RunState::Partial, 20, 1));
    let again = store.replay_parked(&district, run.id, &ParkedStudents::default(), at(4)).await.unwrap();
    assert_eq!(again.refused, vec![(id(""), ReplayRefused::Database)]);
    assert_eq!(store.run(&district, run.id).await.unwrap().counts, closed.counts);
    assert_eq!(store.parked_events(&district, run.id).await.unwrap().len(), 1);
}

async fn a_student_parked_long_ago_is_forgotten_and_the_audit_trail_says_whom(fixture: Fixture) {
    let store = fixture.store.clone();
    let district = new_district(&store, "forgotten").await;
    let ended = parked_change(&store, &district).await;
    let (open, batches) = released(&store, &district, 1, vec![vec![gone("2")], vec![added(student("3"))]]).await;
    store.apply_batch(&district, open.id, &batches[0], at(2)).await.unwrap();
    let entries = store.audit_trail(&district, 100).await.unwrap().len();

    assert_eq!(store.forget_parked(at(3), at(9)).await.unwrap(), 0, "its run ended no earlier than that");
    assert_eq!(store.forget_parked(at(5), at(9)).await.unwrap(), 1);
    assert_eq!(store.forget_parked(at(5), at(9)).await.unwrap(), 0);
    assert!(store.parked_events(&district, ended.id).await.unwrap().is_empty());
    assert_eq!(store.parked_events(&district, open.id).await.unwrap().len(), 1, "that run has not ended");
    assert_eq!(store.run(&district, ended.id).await.unwrap().counts.parked, 1, "what came of the run stays as it was");
    let trail = store.audit_trail(&district, 100).await.unwrap();
    assert_eq!(trail.len(), entries + 1);
    assert_eq!((trail[0].actor.as_str(), trail[0].action.as_str()), ("retention", "parked.expired"));
    assert_eq!((trail[0].run, trail[0].at), (Some(ended.id), at(9)));
    assert_eq!(trail[0].detail, "student 1, reason student-not-stored");
}

/// A run that parks the change of student `1`, who is stored only afterwards.
async fn parked_change(store: &Store, district: &DistrictId) -> Run {
    let event = StudentEvent { to: Status::Graduated, ..gone("1") };
    let run = pulled_run(store, district).await;
    let batches = [batch(&run, 0, vec![event])];
    plan(store, district, &run, Verdict::Release, &batches).await;
    let outcome = store.apply_batch(district, run.id, &batches[0], at(2)).await.unwrap();
    assert_eq!((outcome.applied, outcome.parked.len()), (0, 1));
    store.close_run(district, run.id, at(3)).await.unwrap().unwrap()
}

fn next_run(district: &DistrictId) -> NewRun {
    NewRun {
        district: district.clone(),
        trigger: Trigger::Manual,
        as_of: date(1),
        plan_only: false,
        as_of_given: false,
        everything: false,
        requested_by: "ops".to_owned(),
    }
}

/// A run at Plan whose only connection is fetched.
async fn pulled_run(store: &Store, district: &DistrictId) -> Run {
    pulled(store, &next_run(district)).await
}

async fn pulled(store: &Store, new: &NewRun) -> Run {
    let run = store.create_run(new, at(0)).await.unwrap().unwrap();
    assert!(store.save_discovery(&run.district, run.id, FIRST, &discovery(), &board(1)).await.unwrap());
    store.with_board(&run.district, run.id, FIRST, |_| ((), true)).await.unwrap();
    assert!(store.pulled(&run.district, run.id, at(0)).await.unwrap());
    run
}

async fn plan(store: &Store, district: &DistrictId, run: &Run, verdict: Verdict, batches: &[StudentEvents]) {
    let plan = plan_of(store, district, verdict, batches).await;
    assert!(store.save_plan(district, run.id, &plan, at(4)).await.unwrap());
}

/// Student `1` is stored as enrolled; the run of the next night takes them out, which is parked.
async fn parked_removal(store: &Store, district: &DistrictId) -> Run {
    let removed = StudentEvent { change: Change::Removed, ..gone("1") };
    let run = pulled_run(store, district).await;
    let batches = [batch(&run, 0, vec![removed]), batch(&run, 1, vec![added(student("1"))])];
    plan(store, district, &run, Verdict::Release, &batches).await;
    assert_eq!(store.apply_batch(district, run.id, &batches[0], at(2)).await.unwrap().parked.len(), 1);
    assert_eq!(store.apply_batch(district, run.id, &batches[1], at(2)).await.unwrap().applied, 1);
    store.close_run(district, run.id, at(3)).await.unwrap().unwrap()
}

async fn status(store: &Store, district: &DistrictId) -> Status {
    store.student(district, "1").await.unwrap().unwrap().row.status
}

async fn a_replay_is_refused_where_a_newer_run_wrote_or_planned(fixture: Fixture) {
    let store = fixture.store.clone();
    let district = new_district(&store, "replay-newer").await;
    let parked = parked_change(&store, &district).await;
    let held = pulled_run(&store, &district).await;
    let waits = Verdict::Hold("preview".to_owned());
    plan(&store, &district, &held, waits, &[batch(&held, 0, vec![added(student("1"))])]).await;
    let planned = store.replay_parked(&district, parked.id, &ParkedStudents::default(), at(5)).await.unwrap();
    assert_eq!(planned.refused, vec![(id("1"), ReplayRefused::Planned)]);
    assert!(store.discard(&district, held.id, "ops", "not wanted", at(6)).await.unwrap());
    let absent = store.replay_parked(&district, parked.id, &parked_for("student-not-stored"), at(7)).await.unwrap();
    assert_eq!(absent.refused, vec![(id("1"), ReplayRefused::NotStored)]);
    let other = store.replay_parked(&district, parked.id, &parked_for("another-reason"), at(7)).await.unwrap();
    assert_eq!(other.refused.len() + other.replayed.len(), 0);
    assert_eq!(store.run(&district, parked.id).await.unwrap().counts.parked, 1);
}

/// A run that found a student unchanged leaves no event of theirs, and their row is an older run's.
async fn a_replay_is_refused_where_a_newer_run_left_the_student_as_they_are(fixture: Fixture) {
    let store = fixture.store.clone();
    let district = new_district(&store, "replay-unchanged").await;
    let parked = parked_removal(&store, &district).await;
    let replay = async || store.replay_parked(&district, parked.id, &ParkedStudents::default(), at(9)).await.unwrap();
    let refused = vec![(id("1"), ReplayRefused::Planned)];

    // Back on the next night, and the same as stored: there is nothing to change, and nothing to release.
    let unchanged = pulled_run(&store, &district).await;
    plan(&store, &district, &unchanged, Verdict::Nothing, &[]).await;
    assert_eq!(store.run(&district, unchanged.id).await.unwrap().state, RunState::Succeeded);
    assert_eq!(replay().await.refused, refused);
    assert_eq!(status(&store, &district).await, Status::Enrolled);
    assert_eq!(store.run(&district, parked.id).await.unwrap().counts.parked, 1);

    // What was not judged, or only looked at, or thrown away, keeps nobody back.
    let district = new_district(&store, "replay-judged-by-nobody").await;
    let parked = parked_removal(&store, &district).await;
    let replay = async || store.replay_parked(&district, parked.id, &ParkedStudents::default(), at(9)).await.unwrap();
    let not_pulled = run_at_plan(&store, &district, 1).await;
    plan(&store, &district, &not_pulled, Verdict::Nothing, &[]).await;
    let looked = pulled(&store, &NewRun { as_of_given: true, plan_only: true, ..next_run(&district) }).await;
    plan(&store, &district, &looked, Verdict::Hold("preview".to_owned()), &[]).await;
    let failed = pulled_run(&store, &district).await;
    plan(&store, &district, &failed, Verdict::Fail("no grant".to_owned()), &[]).await;
    // One that waits for a second look, or for a person, has planned.
    for verdict in [Verdict::Recheck(Vec::new()), Verdict::Hold("preview".to_owned())] {
        let waits = pulled_run(&store, &district).await;
        plan(&store, &district, &waits, verdict, &[]).await;
        assert_eq!(replay().await.refused, refused);
        assert!(store.cancel_run(&district, waits.id, "ops", at(5)).await.unwrap());
    }
    assert_eq!(replay().await.replayed, vec![id("1")]);
    assert_eq!(status(&store, &district).await, Status::Inactive);
}

/// It compares with the roster as the replay left it, or not at all: so it needs no looking at.
async fn a_replay_beside_a_newer_run_that_has_not_planned_makes_it_plan_with_it(fixture: Fixture) {
    let store = fixture.store.clone();
    let district = new_district(&store, "replay-beside").await;
    let parked = parked_removal(&store, &district).await;
    let open = pulled_run(&store, &district).await;
    let before = plan_of(&store, &district, Verdict::Nothing, &[]).await;
    let replayed = store.replay_parked(&district, parked.id, &ParkedStudents::default(), at(5)).await.unwrap();
    assert_eq!(replayed.replayed, vec![id("1")]);
    assert!(!store.save_plan(&district, open.id, &before, at(6)).await.unwrap(), "compared with the roster before");
    assert_eq!(store.run(&district, open.id).await.unwrap().stage, Stage::Plan);
    let back = StudentEvent { to: Status::Enrolled, ..gone("1") };
    let batches = [batch(&open, 0, vec![StudentEvent { change: Change::Changed, ..back }])];
    plan(&store, &district, &open, Verdict::Release, &batches).await;
    store.apply_batch(&district, open.id, &batches[0], at(7)).await.unwrap();
    assert_eq!(status(&store, &district).await, Status::Enrolled);
}

async fn a_replay_corrects_the_counts_once(fixture: Fixture) {
    let store = fixture.store.clone();
    let district = new_district(&store, "replay").await;
    // The batches arrive in another order than planned: the student is stored only after the change was parked.
    let (run, batches) = released(&store, &district, 1, vec![vec![added(student("1"))], vec![gone("1")]]).await;
    store.apply_batch(&district, run.id, &batches[1], at(2)).await.unwrap();
    let second = store.apply_batch(&district, run.id, &batches[0], at(3)).await.unwrap();
    assert!(second.run_settled);
    let closed = store.close_run(&district, run.id, at(4)).await.unwrap().unwrap();
    assert_eq!((closed.counts.applied, closed.counts.parked), (1, 1));
    assert_eq!(closed.state, RunState::Partial);
    assert!(closed.reason.unwrap().contains(&run.id.to_string()), "the reason says which students to look at");
    let version = store.roster_version(&district).await.unwrap();
    for replayed in [vec![id("1")], vec![]] {
        let done = store.replay_parked(&district, run.id, &ParkedStudents::default(), at(5)).await.unwrap();
        assert_eq!(done.replayed, replayed);
        let corrected = store.run(&district, run.id).await.unwrap();
        let counts = corrected.counts;
        assert_eq!((counts.applied, counts.parked, counts.superseded), (2, 0, 0));
        let left = Some("connection 1 failed: not pulled");
        assert_eq!((corrected.state, corrected.reason.as_deref()), (RunState::Partial, left), "parked nobody any more");
        assert_eq!(corrected.ended_at, closed.ended_at);
        assert_eq!(
            store.roster_version(&district).await.unwrap(),
            version + 1,
            "plans made before do not fit any more"
        );
    }
    assert!(store.parked_events(&district, run.id).await.unwrap().is_empty());
    assert_eq!(store.student(&district, "1").await.unwrap().unwrap().row.status, Status::Inactive);
}

async fn a_parked_student_of_an_aged_plan_still_keeps_older_ones_back(fixture: Fixture) {
    let store = fixture.store.clone();
    let district = new_district(&store, "aged").await;
    let older = parked_change(&store, &district).await;
    let newer = parked_change(&store, &district).await;
    assert_eq!(store.forget_plans(at(9)).await.unwrap(), 2);
    assert!(store.batches(&district, newer.id).await.unwrap().is_empty());
    let replayed = store.replay_parked(&district, older.id, &ParkedStudents::default(), at(10)).await.unwrap();
    assert_eq!(replayed.refused, vec![(id("1"), ReplayRefused::Planned)]);
    let replayed = store.replay_parked(&district, newer.id, &ParkedStudents::default(), at(10)).await.unwrap();
    assert_eq!(replayed.refused, vec![(id("1"), ReplayRefused::NotStored)]);
}

fn parked_for(reason: &str) -> ParkedStudents {
    ParkedStudents { reason: Some(reason.to_owned()), ..ParkedStudents::default() }
}

async fn parked_students_are_listed_as_asked(fixture: Fixture) {
    let store = fixture.store.clone();
    let (a, b) = (new_district(&store, "parked-a").await, new_district(&store, "parked-b").await);
    let (of_a, again, of_b) =
        (parked_change(&store, &a).await, parked_change(&store, &a).await, parked_change(&store, &b).await);
    let list = async |wanted: ParkedStudents| {
        let found = store.parked_students(&wanted).await.unwrap();
        found.into_iter().map(|student| (student.district, student.run)).collect::<Vec<_>>()
    };
    let all = [(a.clone(), of_a.id), (a.clone(), again.id), (b.clone(), of_b.id)];
    assert_eq!(list(ParkedStudents::default()).await, all);
    assert_eq!(list(ParkedStudents { district: Some(b.clone()), ..ParkedStudents::default() }).await, all[2..]);
    assert_eq!(list(ParkedStudents { run: Some(again.id), ..ParkedStudents::default() }).await, all[1..2]);
    assert_eq!(list(ParkedStudents { limit: Some(2), ..ParkedStudents::default() }).await, all[..2]);
    assert_eq!(list(parked_for("student-not-stored")).await, all);
    assert_eq!(list(parked_for("database-refused")).await, []);
    // All of them were parked at the second second.
    for (moment, before, since) in [(at(2), vec![], all.to_vec()), (at(3), all.to_vec(), vec![])] {
        assert_eq!(list(ParkedStudents { before: Some(moment), ..ParkedStudents::default() }).await, before);
        assert_eq!(list(ParkedStudents { since: Some(moment), ..ParkedStudents::default() }).await, since);
    }
}

/// No code of the database tells it, and it fails the whole batch.
async fn a_student_whose_stored_record_is_in_pieces_is_parked_alone(fixture: Fixture) {
    let store = fixture.store.clone();
    let district = new_district(&store, "pieces").await;
    let names: Vec<String> = (0..9).map(|number| format!("s{number}")).collect();
    applied(&store, &district, 1, names.iter().map(|name| added(student(name))).collect()).await;
    change(&fixture, &district, "UPDATE student SET phones = '7' WHERE district = $1 AND student_id = 's4'").await;
    let (run, batches) = released(&store, &district, 2, vec![names.iter().map(|name| gone(name)).collect()]).await;
    let failed = store.apply_batch(&district, run.id, &batches[0], at(4)).await.unwrap_err();
    assert!(failed.is_unreadable() && !failed.is_of_the_database(), "{failed}");

    let outcome = store.apply_blaming(&district, run.id, &batches[0], at(4)).await.unwrap();
    assert_eq!((outcome.applied, outcome.parked.len(), outcome.run_settled), (8, 1, true));
    assert_eq!((&outcome.parked[0].student_id, outcome.parked[0].reason.as_str()), (&id("s4"), "stored-unreadable"));
    assert_eq!(outcome.parked, store.parked_events(&district, run.id).await.unwrap());
    let again = store.apply_blaming(&district, run.id, &batches[0], at(5)).await.unwrap();
    assert!(again.already_settled, "{again:?}");
    let closed = store.close_run(&district, run.id, at(5)).await.unwrap().unwrap();
    assert_eq!((closed.state, closed.counts.applied, closed.counts.parked), (RunState::Partial, 8, 1));
    let still = store.replay_parked(&district, run.id, &ParkedStudents::default(), at(6)).await.unwrap();
    assert_eq!(still.refused, vec![(id("s4"), ReplayRefused::Database)]);
    change(&fixture, &district, "UPDATE student SET phones = '[]' WHERE district = $1 AND student_id = 's4'").await;
    let written = store.replay_parked(&district, run.id, &ParkedStudents::default(), at(7)).await.unwrap();
    assert_eq!(written.replayed, vec![id("s4")]);
}
