//! The roster's contract, held to on both engines: plans, release, batches, history and reading.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod common;
mod roster_support;

use common::Fixture;
use rollcall_proto::{
    id::DistrictId,
    message::{Fingerprint, StudentEvent},
    roster::{School, Staff, Status},
};
use rollcall_store::{
    ParkedStudents, ReplayRefused, Store,
    district::{ConnectionSecrets, District},
    plan::{Skip, Verdict, decode_batch},
    roster::StudentFilter,
    run::{Finding, FindingWeight, RunState, Stage},
};
use roster_support::*;
use serde_json::json;

on_both_engines! {
    a_batch_delivered_twice_is_applied_once,
    batches_that_wait_together_go_in_one_transaction,
    a_refused_student_fails_all_batches_that_go_together,
    an_older_run_never_overwrites_a_newer,
    a_refused_student_is_parked_alone_and_replayed_later,
    a_replay_is_refused_where_a_newer_run_wrote_or_planned,
    a_replay_corrects_the_counts_once,
    a_parked_student_of_an_aged_plan_still_keeps_older_ones_back,
    parked_students_are_listed_as_asked,
    a_foreign_batch_is_refused,
    records_read_back_as_written,
    what_changed_is_told_and_what_ended_is_marked,
    a_missing_student_keeps_everything_but_the_status,
    an_event_without_record_or_student_is_parked,
    a_student_twice_in_a_batch_is_written_once,
    the_release_window_is_kept,
    batches_are_published_again_when_overdue,
    a_newer_plan_supersedes_a_held_one,
    a_plan_against_an_old_roster_is_not_saved,
    a_plan_is_saved_once,
    nothing_to_change_closes_at_once,
    candidates_wait_for_approval,
    a_plan_reads_back,
    old_plans_are_forgotten_and_held_ones_never,
    a_student_parked_long_ago_is_forgotten_and_the_audit_trail_says_whom,
    schools_and_staff_are_written_at_release,
    students_are_listed_as_asked,
    views_show_who_can_be_reached,
    two_writers_settle_a_run_once,
    rekeyed_students_keep_everything_under_their_new_ids,
    an_older_run_rekeys_nobody_whom_a_newer_has_written,
    ids_for_writes_are_read_back_as_the_sis_spelled_them,
    enrollments_are_remembered_until_they_age_out,
    a_launch_finds_students_where_they_still_are,
    a_students_own_id_is_no_other_students_with_a_prefix,
}

/// Student `old` as the SIS lists it under another id.
fn rekeyed(old: &str, new: &str) -> StudentEvent {
    let mut record = student(old);
    record.id = id(new);
    record.sis_id = Some(new.to_uppercase());
    StudentEvent { rekeyed_from: Some(id(old)), ..changed(record) }
}

async fn rekeyed_students_keep_everything_under_their_new_ids(fixture: Fixture) {
    let store = fixture.store.clone();
    let district = new_district(&store, "rekey").await;
    applied(&store, &district, 1, vec![added(student("s1")), added(student("s2")), added(student("other"))]).await;
    let events = vec![vec![rekeyed("s1", "b-1"), rekeyed("s2", "b-2")]];
    let (run, batches) = released(&store, &district, 2, events).await;
    for at_hour in [5, 6] {
        store.apply_batch(&district, run.id, &batches[0], at(at_hour)).await.unwrap();
    }
    let stored = store.stored_students(&district).await.unwrap();
    let ids: Vec<&str> = stored.iter().map(|student| student.id.0.as_str()).collect();
    assert_eq!(ids, ["b-1", "b-2", "other"], "nobody is removed, nobody is added");
    let detail = store.student(&district, "b-1").await.unwrap().unwrap();
    assert_eq!(detail.record, *rekeyed("s1", "b-1").record.unwrap(), "contacts and enrollments have moved along");
    assert_eq!(detail.history.len(), 2, "what was written under the old id is found");
    assert_eq!(detail.history[0].parts, ["student_id", "sis_id"]);
    assert_eq!(count(&fixture, &district, "contact").await, 6, "no contact stands twice");
    let by_old_id = store.student(&district, "s1").await.unwrap().unwrap();
    assert_eq!(by_old_id.row.student_id, id("b-1"));
    // Another move later on: both earlier ids lead to the newest.
    applied(&store, &district, 3, vec![rekeyed("b-1", "c-1")]).await;
    for old in ["s1", "b-1"] {
        assert_eq!(store.student(&district, old).await.unwrap().unwrap().row.student_id, id("c-1"), "{old}");
    }
    assert_eq!(store.history(&district, &id("c-1")).await.unwrap().len(), 3);
}

async fn an_older_run_rekeys_nobody_whom_a_newer_has_written(fixture: Fixture) {
    let store = fixture.store.clone();
    let district = new_district(&store, "rekeyold").await;
    applied(&store, &district, 1, vec![added(student("s1"))]).await;
    let (old_run, old) = released(&store, &district, 2, vec![vec![rekeyed("s1", "b-1")]]).await;
    applied(&store, &district, 3, vec![changed(student("s1"))]).await;
    let outcome = store.apply_batch(&district, old_run.id, &old[0], at(9)).await.unwrap();
    assert!(outcome.run_settled);
    assert!(store.student(&district, "s1").await.unwrap().is_some());
    let detail = store.student(&district, "s1").await.unwrap().unwrap();
    assert_eq!((detail.row.student_id, detail.record.contacts.len()), (id("s1"), 2));
}

async fn ids_for_writes_are_read_back_as_the_sis_spelled_them(fixture: Fixture) {
    let store = fixture.store.clone();
    let district = new_district(&store, "sisids").await;
    let mut record = student("a-1");
    record.sis_id = Some("A-1".to_owned());
    applied(&store, &district, 1, vec![added(record), added(student("2"))]).await;
    let asked = [id("a-1"), id("2"), id("nobody")];
    let found = store.sis_ids(&district, &asked).await.unwrap();
    assert_eq!(found.into_iter().collect::<Vec<_>>(), [(id("a-1"), "A-1".to_owned())]);
    assert!(store.sis_ids(&district, &[]).await.unwrap().is_empty());
}

/// A district with one connection of each kind, OneRoster's students after `O-`.
async fn mixed_district(store: &Store, name: &str) -> DistrictId {
    let connection = |kind: &str| json!({"kind": kind, "base_url": "https://sis.example/API", "client_id": "c"});
    let mut second = connection("oneroster");
    second["id_prefix"] = json!("O-");
    let district: District = serde_json::from_value(json!({
        "id": name, "name": "Invented", "time_zone": "America/Chicago",
        "connection": [connection("skyward-qmlativ"), second],
    }))
    .unwrap();
    let secrets = [ConnectionSecrets::default(), ConnectionSecrets::default()];
    store.apply_district(&district, &secrets, "test", at(0)).await.unwrap();
    district.id
}

/// Of connection `connection`, withdrawn from the one enrollment on `end`.
fn leaving(name: &str, connection: u16, end: u32) -> StudentEvent {
    let mut record = student(name);
    record.connection = connection;
    record.enrollments.truncate(1);
    record.enrollments[0].withdrawal_date = Some(date(end));
    added(record)
}

async fn a_launch_finds_students_where_they_still_are(fixture: Fixture) {
    let store = fixture.store.clone();
    let district = mixed_district(&store, "where").await;
    let events = vec![added(student("here")), added(student("left")), leaving("last-day", 0, 20)];
    applied(&store, &district, 1, [events, vec![leaving("O-exclusive", 1, 20)]].concat()).await;
    applied(&store, &district, 2, vec![gone("left")]).await;
    // (student, day, still there)
    for (name, day, there) in [
        ("here", 20, true),
        ("left", 20, false),
        ("last-day", 20, true),
        ("last-day", 21, false),
        ("O-exclusive", 19, true),
        ("O-exclusive", 20, false),
    ] {
        let subject = store.subject(&district, name, date(day)).await.unwrap().unwrap();
        assert_eq!(!subject.schools.is_empty() && !subject.entities.is_empty(), there, "{name} on day {day}");
        assert_eq!(store.subject_with_id(&district, &id(name), date(day)).await.unwrap(), Some(subject));
    }
}

async fn a_students_own_id_is_no_other_students_with_a_prefix(fixture: Fixture) {
    let store = fixture.store.clone();
    let district = mixed_district(&store, "own").await;
    let mut other = student("O-7");
    other.connection = 1;
    applied(&store, &district, 1, vec![added(student("7")), added(other)]).await;
    assert_eq!(store.subject(&district, "7", date(2)).await.unwrap(), None, "two students of that name");
    for name in ["7", "O-7"] {
        let subject = store.subject_with_id(&district, &id(name), date(2)).await.unwrap().unwrap();
        assert_eq!(subject.student_id, id(name));
    }
    assert_eq!(store.subject_with_id(&district, &id("o-7"), date(2)).await.unwrap(), None);
}

async fn enrollments_are_remembered_until_they_age_out(fixture: Fixture) {
    let store = fixture.store.clone();
    let district = new_district(&store, "remember").await;
    applied(&store, &district, 1, vec![added(student("1")), added(student("2"))]).await;
    let mut next = student("1");
    next.enrollments = vec![enrollment("11")];
    applied(&store, &district, 2, vec![changed(next), gone("2")]).await;
    let first = rollcall_proto::id::ConnectionNo(0);
    let told = async |since| {
        let stored = store.stored_enrollments(&district, first, since).await.unwrap();
        let line = |one: &rollcall_store::roster::StoredEnrollment| {
            (one.student.0.clone(), one.enrollment.id.clone(), one.unlisted_since)
        };
        stored.iter().map(line).collect::<Vec<_>>()
    };
    let line = |student: &str, id: &str, since| (student.to_owned(), id.to_owned(), since);
    let unlisted = Some(date(2));
    let of_the_missing = [line("2", "10", unlisted), line("2", "9", unlisted)];
    let remembered = [line("1", "10", unlisted), line("1", "11", None), line("1", "9", unlisted)];
    assert_eq!(told(date(2)).await, [&remembered[..], &of_the_missing[..]].concat());
    let later = told(date(3)).await;
    assert_eq!(later, [&remembered[1..2], &of_the_missing[..]].concat(), "one that aged out is not read any more");
    let other = rollcall_proto::id::ConnectionNo(1);
    assert!(store.stored_enrollments(&district, other, date(2)).await.unwrap().is_empty());
}

async fn a_batch_delivered_twice_is_applied_once(fixture: Fixture) {
    let store = fixture.store.clone();
    let district = new_district(&store, "twice").await;
    let events = vec![added(student("1")), added(student("2"))];
    let (run, batches) = released(&store, &district, 1, vec![events]).await;
    let first = store.apply_batch(&district, run.id, &batches[0], at(2)).await.unwrap();
    assert_eq!((first.applied, first.run_settled, first.already_settled), (2, true, false));
    let second = store.apply_batch(&district, run.id, &batches[0], at(9)).await.unwrap();
    assert!(second.already_settled);
    assert_eq!((second.applied, second.run_settled), (0, false));
    assert_eq!(store.run(&district, run.id).await.unwrap().counts.applied, 2);
    assert_eq!(store.history(&district, &id("1")).await.unwrap().len(), 1);
}

async fn batches_that_wait_together_go_in_one_transaction(fixture: Fixture) {
    let store = fixture.store.clone();
    let district = new_district(&store, "together").await;
    let batches = vec![vec![added(student("1"))], vec![added(student("2")), added(student("3"))]];
    let (run, batches) = released(&store, &district, 1, batches).await;
    store.apply_batch(&district, run.id, &batches[0], at(2)).await.unwrap();
    // The first one comes again, in company, and the company comes twice.
    let together = [&batches[1], &batches[0], &batches[1]];
    let outcome = store.apply_batches(&district, run.id, &together, at(3)).await.unwrap();
    assert_eq!((outcome.applied, outcome.run_settled, outcome.already_settled), (2, true, false));
    let again = store.apply_batches(&district, run.id, &together, at(4)).await.unwrap();
    assert!(again.already_settled && again.applied == 0 && !again.run_settled);
    assert_eq!(store.run(&district, run.id).await.unwrap().counts.applied, 3);
    assert_eq!(store.history(&district, &id("3")).await.unwrap().len(), 1);
    // Students that are there already are compared, not inserted.
    let mut moved = student("2");
    moved.grade = Some("09".to_owned());
    let (second, batches) = released(&store, &district, 2, vec![vec![changed(moved)], vec![added(student("4"))]]).await;
    let outcome = store.apply_batches(&district, second.id, &[&batches[0], &batches[1]], at(5)).await.unwrap();
    assert_eq!((outcome.applied, outcome.run_settled), (2, true));
}

async fn a_refused_student_fails_all_batches_that_go_together(fixture: Fixture) {
    let store = fixture.store.clone();
    let district = new_district(&store, "refused-together").await;
    let (run, batches) =
        released(&store, &district, 1, vec![vec![added(student("1"))], vec![added(student(""))]]).await;
    store.apply_batches(&district, run.id, &[&batches[0], &batches[1]], at(2)).await.unwrap_err();
    assert_eq!(store.run(&district, run.id).await.unwrap().counts.applied, 0, "all or nothing");
    store.apply_batch(&district, run.id, &batches[0], at(3)).await.unwrap();
    let alone = store.apply_batch(&district, run.id, &batches[1], at(3)).await.unwrap();
    assert_eq!((alone.parked.len(), alone.run_settled), (1, true));
}

async fn an_older_run_never_overwrites_a_newer(fixture: Fixture) {
    let store = fixture.store.clone();
    let district = new_district(&store, "older").await;
    applied(&store, &district, 1, vec![added(student("1")), added(student("2"))]).await;
    let mut older = student("1");
    older.grade = Some("06".to_owned());
    let mut newer = student("1");
    newer.grade = Some("07".to_owned());
    let (old_run, old) = released(&store, &district, 2, vec![vec![changed(older), changed(student("2"))]]).await;
    applied(&store, &district, 3, vec![changed(newer)]).await;
    let outcome = store.apply_batch(&district, old_run.id, &old[0], at(9)).await.unwrap();
    assert_eq!((outcome.applied, outcome.superseded, outcome.run_settled), (1, 1, true));
    let detail = store.student(&district, "1").await.unwrap().unwrap();
    assert_eq!(detail.record.grade.as_deref(), Some("07"));
    assert_eq!(detail.history.len(), 2);
    let counts = store.run(&district, old_run.id).await.unwrap().counts;
    assert_eq!((counts.applied, counts.superseded, counts.parked), (1, 1, 0));
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
async fn parked_change(store: &Store, district: &DistrictId) -> rollcall_store::run::Run {
    let event = StudentEvent { to: Status::Graduated, ..gone("1") };
    let (run, batches) = released(store, district, 1, vec![vec![event]]).await;
    let outcome = store.apply_batch(district, run.id, &batches[0], at(2)).await.unwrap();
    assert_eq!((outcome.applied, outcome.parked.len()), (0, 1));
    store.close_run(district, run.id, at(3)).await.unwrap().unwrap()
}

async fn a_replay_is_refused_where_a_newer_run_wrote_or_planned(fixture: Fixture) {
    let store = fixture.store.clone();
    let district = new_district(&store, "replay-newer").await;
    let parked = parked_change(&store, &district).await;
    let held = run_at_plan(&store, &district, 2).await;
    let plan =
        plan_of(&store, &district, Verdict::Hold("preview".to_owned()), &[batch(&held, 0, vec![added(student("1"))])])
            .await;
    assert!(store.save_plan(&district, held.id, &plan, at(4)).await.unwrap());
    let planned = store.replay_parked(&district, parked.id, &ParkedStudents::default(), at(5)).await.unwrap();
    assert_eq!(planned.refused, vec![(id("1"), ReplayRefused::Planned)]);
    assert!(store.discard(&district, held.id, "ops", "not wanted", at(6)).await.unwrap());
    let absent = store.replay_parked(&district, parked.id, &parked_for("student-not-stored"), at(7)).await.unwrap();
    assert_eq!(absent.refused, vec![(id("1"), ReplayRefused::NotStored)]);
    let other = store.replay_parked(&district, parked.id, &parked_for("another-reason"), at(7)).await.unwrap();
    assert_eq!(other.refused.len() + other.replayed.len(), 0);
    assert_eq!(store.run(&district, parked.id).await.unwrap().counts.parked, 1);
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
        let left = Some("connection 0 failed: not pulled");
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

async fn a_foreign_batch_is_refused(fixture: Fixture) {
    let store = fixture.store.clone();
    let district = new_district(&store, "foreign").await;
    let (run, batches) = released(&store, &district, 1, vec![vec![added(student("1"))]]).await;
    let mut foreign = batches[0].clone();
    foreign.run_seq += 1;
    assert!(store.apply_batch(&district, run.id, &foreign, at(2)).await.is_err());
    foreign.run_seq = run.seq;
    foreign.batch = 5;
    assert!(store.apply_batch(&district, run.id, &foreign, at(2)).await.is_err());
    assert_eq!(store.stored_students(&district).await.unwrap(), vec![]);
}

async fn records_read_back_as_written(fixture: Fixture) {
    let store = fixture.store.clone();
    let district = new_district(&store, "round").await;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for day in 1..=8 {
        let records: Vec<_> = (0..12)
            .map(|number| {
                use proptest::strategy::{Strategy as _, ValueTree as _};
                let strategy = any::student(format!("{day}-é語{number:02}"));
                strategy.new_tree(&mut runner).unwrap().current()
            })
            .collect();
        applied(&store, &district, day, records.iter().cloned().map(added).collect()).await;
        let ids: Vec<_> = records.iter().map(|record| record.id.clone()).collect();
        assert_eq!(store.records(&district, &ids).await.unwrap(), records);
        // Every record becomes another: all that differs must be written, and only the new record read back.
        let others: Vec<_> = records
            .iter()
            .rev()
            .zip(&ids)
            .map(|(other, id)| rollcall_proto::roster::Student { id: id.clone(), ..other.clone() })
            .collect();
        applied(&store, &district, day, others.iter().cloned().map(changed).collect()).await;
        assert_eq!(store.records(&district, &ids).await.unwrap(), others);
        applied(&store, &district, day, records.iter().cloned().map(changed).collect()).await;
        assert_eq!(store.records(&district, &ids).await.unwrap(), records);
    }
}

async fn what_changed_is_told_and_what_ended_is_marked(fixture: Fixture) {
    let store = fixture.store.clone();
    let district = new_district(&store, "marked").await;
    applied(&store, &district, 1, vec![added(student("1"))]).await;
    let mut record = student("1");
    record.contacts.remove(0);
    record.enrollments.remove(0);
    record.person.phones.clear();
    record.grade = Some("06".to_owned());
    let run = applied(&store, &district, 2, vec![changed(record.clone())]).await;
    let detail = store.student(&district, "L1").await.unwrap().unwrap();
    assert_eq!(detail.record, record);
    assert_eq!((detail.row.status_since, detail.row.run), (date(1), run));
    let [newest, oldest] = &detail.history[..] else { panic!("two rows: {:?}", detail.history) };
    assert_eq!(newest.parts, ["grade", "phones", "contacts", "enrollments"]);
    assert_eq!((newest.change.as_str(), newest.from, newest.as_of), ("changed", Some(Status::Enrolled), date(2)));
    assert_eq!((newest.actor.as_str(), newest.at, &newest.enrollments[..]), ("ops", at(2), &["10".to_owned()][..]));
    assert_eq!((oldest.change.as_str(), oldest.from, oldest.parts.len()), ("added", None, 0));
    // It comes back whole.
    applied(&store, &district, 3, vec![changed(student("1"))]).await;
    assert_eq!(store.records(&district, &[id("1")]).await.unwrap(), vec![student("1")]);
}

async fn a_missing_student_keeps_everything_but_the_status(fixture: Fixture) {
    let store = fixture.store.clone();
    let district = new_district(&store, "missing").await;
    applied(&store, &district, 1, vec![added(student("1")), added(student("2"))]).await;
    applied(&store, &district, 2, vec![gone("1")]).await;
    let detail = store.student(&district, "1").await.unwrap().unwrap();
    assert_eq!((detail.row.status, detail.row.status_since), (Status::Inactive, date(2)));
    assert_eq!(detail.record, student("1"));
    assert_eq!(detail.history[0].parts, ["status", "missing"]);
    let stored = store.stored_students(&district).await.unwrap();
    assert_eq!(stored.iter().map(|student| student.fingerprint.0[0]).collect::<Vec<_>>(), [3, 1]);
    let counts = store.status_counts(&district).await.unwrap();
    assert_eq!(
        counts,
        [(Status::Enrolled, 1), (Status::PreEnrolled, 0), (Status::Graduated, 0), (Status::Inactive, 1)]
    );
}

async fn an_event_without_record_or_student_is_parked(fixture: Fixture) {
    let store = fixture.store.clone();
    let district = new_district(&store, "no-student").await;
    let (run, batches) = released(&store, &district, 1, vec![vec![added(student("1")), gone("2")]]).await;
    let outcome = store.apply_batch(&district, run.id, &batches[0], at(2)).await.unwrap();
    assert_eq!((outcome.applied, outcome.parked.len()), (1, 1));
    assert_eq!(
        (outcome.parked[0].student_id.clone(), outcome.parked[0].reason.as_str()),
        (id("2"), "student-not-stored")
    );
}

async fn a_student_twice_in_a_batch_is_written_once(fixture: Fixture) {
    let store = fixture.store.clone();
    let district = new_district(&store, "double").await;
    let mut other = student("1");
    other.grade = Some("06".to_owned());
    let events = vec![added(student("1")), added(other), added(student("2"))];
    let (run, batches) = released(&store, &district, 1, vec![events]).await;
    let outcome = store.apply_batch(&district, run.id, &batches[0], at(2)).await.unwrap();
    assert_eq!((outcome.applied, outcome.parked.len(), outcome.run_settled), (3, 0, true));
    assert_eq!(store.stored_students(&district).await.unwrap().len(), 2);
    assert_eq!(store.history(&district, &id("1")).await.unwrap().len(), 1);
}

async fn the_release_window_is_kept(fixture: Fixture) {
    let store = fixture.store.clone();
    let district = new_district(&store, "window").await;
    let some =
        |from: usize, count| (from..from + count).map(|n| added(student(&format!("{n:03}")))).collect::<Vec<_>>();
    let (run, batches) = released(&store, &district, 1, (0..6).map(|n| some(n * 4, 4)).collect()).await;
    let next = async || {
        let due = store.batches_to_publish(&district, run.id, 10, None).await.unwrap();
        due.iter().map(|batch| batch.batch).collect::<Vec<_>>()
    };
    let apply = async |batch: usize| store.apply_batch(&district, run.id, &batches[batch], at(2)).await.unwrap();
    let first = store.batches_to_publish(&district, run.id, 10, None).await.unwrap();
    assert_eq!(first.iter().map(|packed| decode_batch(&packed.bytes).unwrap()).collect::<Vec<_>>(), batches[..2]);
    assert_eq!(next().await, [0, 1]);
    store.batches_published(&district, run.id, &[0, 1], at(2)).await.unwrap();
    store.batches_published(&district, run.id, &[0, 1], at(2)).await.unwrap();
    assert!(next().await.is_empty());
    assert!(apply(1).await.release_more, "eight in flight became four: half of ten is free");
    assert_eq!(next().await, [2]);
    // Applied before it was noted as published.
    assert!(apply(2).await.release_more, "again eight became four");
    store.batches_published(&district, run.id, &[2], at(2)).await.unwrap();
    assert!(apply(0).await.release_more, "nothing is in flight");
    assert_eq!(next().await, [3, 4]);
    store.batches_published(&district, run.id, &[3, 4], at(2)).await.unwrap();
    assert!(apply(3).await.release_more);
    assert_eq!(next().await, [5]);
    store.batches_published(&district, run.id, &[5], at(2)).await.unwrap();
    assert!(!apply(4).await.release_more, "no batch waits");
    let last = apply(5).await;
    assert!(last.run_settled && !last.release_more);
    assert!(next().await.is_empty());
}

async fn batches_are_published_again_when_overdue(fixture: Fixture) {
    let store = fixture.store.clone();
    let district = new_district(&store, "overdue").await;
    let (run, batches) =
        released(&store, &district, 1, vec![vec![added(student("1"))], vec![added(student("2"))]]).await;
    store.batches_published(&district, run.id, &[0, 1], at(10)).await.unwrap();
    assert!(store.batches_to_publish(&district, run.id, 100, Some(at(10))).await.unwrap().is_empty());
    store.apply_batch(&district, run.id, &batches[0], at(11)).await.unwrap();
    let overdue = store.batches_to_publish(&district, run.id, 100, Some(at(12))).await.unwrap();
    assert_eq!(overdue.iter().map(|packed| decode_batch(&packed.bytes).unwrap()).collect::<Vec<_>>(), batches[1..]);
    store.batches_published(&district, run.id, &[1], at(20)).await.unwrap();
    assert!(store.batches_to_publish(&district, run.id, 100, Some(at(20))).await.unwrap().is_empty());
    let rows = store.batches(&district, run.id).await.unwrap();
    assert_eq!((rows[0].settled_at, rows[0].applied, rows[1].published_at), (Some(at(11)), 1, Some(at(20))));
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
    assert!(store.claim_plan(&district, run.id, at(4), at(60)).await.unwrap());
    assert!(!store.save_plan(&district, run.id, &plan, at(5)).await.unwrap());
    assert_eq!(store.run(&district, run.id).await.unwrap().stage, Stage::Plan);
    assert!(store.claim_plan(&district, run.id, at(6), at(60)).await.unwrap(), "free to be planned anew");
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

async fn students_are_listed_as_asked(fixture: Fixture) {
    let store = fixture.store.clone();
    let district = new_district(&store, "list").await;
    let mut elsewhere = student("Z");
    elsewhere.school = Some("202".to_owned());
    let events =
        vec![added(student("a")), added(elsewhere), added(student("é")), added(student("10")), added(student("9"))];
    applied(&store, &district, 1, events).await;
    let list = async |filter: StudentFilter| {
        let rows = store.students(&district, &filter).await.unwrap();
        rows.into_iter().map(|row| row.student_id.0).collect::<Vec<_>>()
    };
    assert_eq!(list(StudentFilter::default()).await, ["10", "9", "Z", "a", "é"], "bytewise, as Rust sorts");
    let stored = store.stored_students(&district).await.unwrap();
    assert!(stored.is_sorted_by_key(|student| student.id.clone()));
    assert_eq!(stored[0].fingerprint, Fingerprint([1; 16]));
    assert_eq!(list(StudentFilter { school: Some("202".to_owned()), ..StudentFilter::default() }).await, ["Z"]);
    let page = StudentFilter { limit: Some(2), after: Some(id("9")), ..StudentFilter::default() };
    assert_eq!(list(page).await, ["Z", "a"]);
    let status = StudentFilter { status: Some(Status::Inactive), ..StudentFilter::default() };
    assert!(list(status).await.is_empty());
    for key in ["a", "La", "Sa"] {
        assert_eq!(store.student(&district, key).await.unwrap().unwrap().row.student_id, id("a"));
    }
    assert_eq!(store.student(&district, "nobody").await.unwrap(), None);
}

async fn views_show_who_can_be_reached(fixture: Fixture) {
    let store = fixture.store.clone();
    let district = new_district(&store, "views").await;
    applied(&store, &district, 1, vec![added(student("1")), added(student("2"))]).await;
    let mut record = student("1");
    record.contacts.remove(0);
    applied(&store, &district, 2, vec![changed(record)]).await;
    applied(&store, &district, 3, vec![gone("2")]).await;
    for (view, rows) in [
        ("current_student", 1),
        ("contact", 4),
        ("current_contact", 3),
        ("current_enrollment", 4),
        ("person", 5),
        ("person_phone", 5),
        ("person_email", 5),
        ("person_address", 0),
    ] {
        assert_eq!(count(&fixture, &district, view).await, rows, "{view}");
    }
}

async fn two_writers_settle_a_run_once(fixture: Fixture) {
    let store = fixture.store.clone();
    let district = new_district(&store, "parallel").await;
    let some = |from: usize| (from..from + 5).map(|n| added(student(&format!("{n:03}")))).collect::<Vec<_>>();
    let (run, batches) = released(&store, &district, 1, (0..8).map(|n| some(n * 5)).collect()).await;
    // Every batch twice, all at once.
    let tasks: Vec<_> = batches
        .iter()
        .chain(&batches)
        .map(|batch| {
            let (store, district, batch) = (Store::clone(&store), district.clone(), batch.clone());
            tokio::spawn(async move { store.apply_batch(&district, run.id, &batch, at(2)).await.unwrap() })
        })
        .collect();
    let (mut settled, mut written, mut already) = (0, 0, 0);
    for task in tasks {
        let outcome = task.await.unwrap();
        settled += u32::from(outcome.run_settled);
        already += u32::from(outcome.already_settled);
        written += outcome.applied;
    }
    assert_eq!((settled, written, already), (1, 40, 8));
    let counts = store.run(&district, run.id).await.unwrap().counts;
    assert_eq!((counts.applied, counts.parked, counts.superseded), (40, 0, 0));
}
