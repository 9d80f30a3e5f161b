//! Batches of events: released by a window, applied once, in any order and company.

use rollcall_store::{Store, plan::decode_batch};

use crate::{common::Fixture, roster_support::*};

crate::on_both_engines! {
    a_batch_delivered_twice_is_applied_once,
    batches_that_wait_together_go_in_one_transaction,
    a_refused_student_fails_all_batches_that_go_together,
    an_older_run_never_overwrites_a_newer,
    a_foreign_batch_is_refused,
    an_event_without_record_or_student_is_parked,
    a_student_twice_in_a_batch_is_written_once,
    the_release_window_is_kept,
    batches_are_published_again_when_overdue,
    two_writers_settle_a_run_once,
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
