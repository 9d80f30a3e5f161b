//! Students as they are written and read: records, history, listings, views.

use rollcall_proto::{message::Fingerprint, roster::Status};
use rollcall_store::roster::StudentFilter;

use crate::{common::Fixture, roster_support::*};

crate::on_both_engines! {
    records_read_back_as_written,
    what_changed_is_told_and_what_ended_is_marked,
    a_missing_student_keeps_everything_but_the_status,
    students_are_listed_as_asked,
    views_show_who_can_be_reached,
    enrollments_are_remembered_until_they_age_out,
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
    // Who comes back: what the source does not show any more ended when the student was missed, and not on the day of the return.
    let mut back = student("2");
    back.enrollments = vec![enrollment("12")];
    applied(&store, &district, 9, vec![changed(back)]).await;
    assert_eq!(told(date(2)).await[3..], [line("2", "10", unlisted), line("2", "12", None), line("2", "9", unlisted)]);
    let other = rollcall_proto::id::ConnectionNo(1);
    assert!(store.stored_enrollments(&district, other, date(2)).await.unwrap().is_empty());
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
