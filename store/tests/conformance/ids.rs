//! Students' ids: given anew by the SIS, spelled its way, with a prefix, looked up by a launch.

use chrono::Datelike as _;
use rollcall_proto::{
    id::{ConnectionNo, DistrictId},
    message::StudentEvent,
    roster::{Enrollment, Rule, Status, Student},
};
use rollcall_store::{
    Store,
    district::{ConnectionSecrets, District, SchoolYears},
    plan::Verdict,
    run::Baseline,
};
use serde_json::json;

use crate::{common::Fixture, roster_support::*};

crate::on_both_engines! {
    rekeyed_students_keep_everything_under_their_new_ids,
    an_older_run_rekeys_nobody_whom_a_newer_has_written,
    ids_for_writes_are_read_back_as_the_sis_spelled_them,
    a_launch_finds_students_where_they_still_are,
    a_launch_finds_students_only_where_an_enrollment_counts,
    a_launch_goes_by_the_current_year_of_each_entity,
    a_students_own_id_is_no_other_students_with_a_prefix,
    an_id_in_another_letter_case_is_of_another_child_but_for_uuids,
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
    let stored = store.stored_students(&district).await.unwrap();
    assert_eq!(stored.len(), 1, "nobody is added under the other id");
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

fn connection(kind: &str) -> serde_json::Value {
    json!({"kind": kind, "base_url": "https://sis.example/API", "client_id": "c"})
}

/// A night that finds nothing new, and keeps what it knows of the first connection.
async fn keeps(store: &Store, district: &DistrictId, day: u32, baseline: &Baseline) {
    let run = run_at_plan(store, district, day).await;
    let mut plan = plan_of(store, district, Verdict::Nothing, &[]).await;
    plan.baselines = vec![(0, baseline.clone())];
    assert!(store.save_plan(district, run.id, &plan, at(3)).await.unwrap());
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
    // (connection, student, day, still there)
    for (of, name, day, there) in [
        (0, "here", 20, true),
        (0, "left", 20, false),
        (0, "last-day", 20, true),
        (0, "last-day", 21, false),
        (1, "O-exclusive", 19, true),
        (1, "O-exclusive", 20, false),
    ] {
        let subject = store.subject(&district, ConnectionNo(of), name, date(day)).await.unwrap().unwrap();
        assert_eq!(!subject.schools.is_empty() && !subject.entities.is_empty(), there, "{name} on day {day}");
        assert_eq!(store.subject_with_id(&district, &id(name), date(day)).await.unwrap(), Some(subject));
    }
}

/// What the rules of status leave out keeps nobody at a school of before.
async fn a_launch_finds_students_only_where_an_enrollment_counts(fixture: Fixture) {
    let store = fixture.store.clone();
    let district = mixed_district(&store, "counts").await;
    let here = Enrollment { id: "1".to_owned(), ..enrollment("1") };
    let there =
        Enrollment { id: "2".to_owned(), entity: "2".to_owned(), school: Some("202".to_owned()), ..enrollment("2") };
    let year = |school_year: i32, from: Enrollment| Enrollment {
        school_year: Some(school_year),
        entry_date: from.entry_date.map(|entry| entry.with_year(school_year - 1).unwrap()),
        ..from
    };
    let coded = |code: &str| Some(code.to_owned());
    // (name, the other enrollment, whether the student is at entity 2 too)
    let cases = [
        ("both", there.clone(), true),
        ("forgotten", year(2026, there.clone()), false),
        ("runs-into", Enrollment { withdrawal_date: Some(date(20)), ..year(2026, there.clone()) }, true),
        (
            "course",
            Enrollment { withdrawal_code: coded(" cecs"), withdrawal_date: Some(date(28)), ..there.clone() },
            false,
        ),
        ("leaves", Enrollment { withdrawal_code: coded("98"), withdrawal_date: Some(date(28)), ..there.clone() }, true),
        ("never", Enrollment { entry_date: Some(date(25)), withdrawal_date: Some(date(20)), ..there.clone() }, false),
        ("begins", Enrollment { entry_date: Some(date(25)), ..there.clone() }, true),
        ("no-show", Enrollment { no_show: true, ..there.clone() }, false),
        ("no-year", Enrollment { school_year: None, ..there.clone() }, true),
    ];
    let record = |name: &str, enrollments: Vec<Enrollment>| Student { enrollments, ..student(name) };
    let mut events: Vec<StudentEvent> =
        cases.iter().map(|(name, other, _)| added(record(name, vec![here.clone(), other.clone()]))).collect();
    // A year that has not begun is no reason to doubt the one before.
    let next = Enrollment { entry_date: Some(date(25)), ..here.clone() };
    events.push(added(record("summer", vec![next, year(2026, there.clone())])));
    // Nothing else tells that the year is over, but the status does.
    let left = record("left", vec![year(2026, there.clone())]);
    events.push(StudentEvent { to: Status::Inactive, rule: Rule::NothingCounts, ..added(left) });
    applied(&store, &district, 1, events).await;
    let entities = async |name: &str| {
        let subject = store.subject(&district, ConnectionNo(0), name, date(10)).await.unwrap().unwrap();
        (subject.entities, subject.schools)
    };
    let text = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
    for (name, _, too) in cases {
        let expected = if too { (text(&["1", "2"]), text(&["101", "202"])) } else { (text(&["1"]), text(&["101"])) };
        assert_eq!(entities(name).await, expected, "{name}");
    }
    assert_eq!(entities("summer").await.0, ["1", "2"]);
    assert_eq!(entities("left").await.0, Vec::<String>::new());
}

/// Entity 1 has moved on to 2027, entity 2 has not.
async fn a_launch_goes_by_the_current_year_of_each_entity(fixture: Fixture) {
    let store = fixture.store.clone();
    let district = mixed_district(&store, "own-years").await;
    let of = |entity: &str, school_year: i32, entry: u32| Enrollment {
        id: format!("{entity}-{school_year}"),
        entity: entity.to_owned(),
        school: Some(format!("{entity}01")),
        school_year: Some(school_year),
        entry_date: Some(date(entry)),
        ..enrollment(entity)
    };
    let ends = |from: Enrollment, end: u32| Enrollment { withdrawal_date: Some(date(end)), ..from };
    let no_show = |from: Enrollment| Enrollment { no_show: true, ..from };
    // (name, enrollments, where staff see the student on day 10, and where before anybody noted current years)
    let cases = [
        ("begun-elsewhere", vec![of("1", 2027, 5), of("2", 2026, 1)], vec!["1", "2"], vec!["1"]),
        ("begun-early", vec![of("2", 2027, 5), of("2", 2026, 1)], vec!["2"], vec!["2"]),
        ("early-elsewhere", vec![of("1", 2027, 1), of("2", 2027, 5)], vec!["1"], vec!["1", "2"]),
        ("next", vec![of("1", 2027, 1), of("2", 2027, 25)], vec!["1"], vec!["1", "2"]),
        ("far", vec![of("1", 2028, 25), of("2", 2026, 1)], vec!["2"], vec!["1", "2"]),
        ("never-came", vec![no_show(of("1", 2027, 5)), of("2", 2026, 1)], vec!["2"], vec![]),
        ("forgotten", vec![of("1", 2026, 1), of("2", 2026, 1)], vec!["2"], vec!["1", "2"]),
        ("runs-into", vec![ends(of("1", 2026, 1), 20), of("2", 2026, 1)], vec!["1", "2"], vec!["1", "2"]),
        ("of-before", vec![ends(of("1", 2026, 15), 20), of("2", 2026, 1)], vec!["2"], vec!["1", "2"]),
        ("unknown", vec![of("3", 2026, 1), of("1", 2027, 5)], vec!["1"], vec!["1"]),
    ];
    let record =
        |name: &str, enrollments: &[Enrollment]| Student { enrollments: enrollments.to_vec(), ..student(name) };
    let events = cases.iter().map(|(name, enrollments, ..)| added(record(name, enrollments))).collect();
    applied(&store, &district, 1, events).await;
    let entities =
        async |name: &str| store.subject(&district, ConnectionNo(0), name, date(10)).await.unwrap().unwrap().entities;
    for (name, _, _, before) in &cases {
        assert_eq!(entities(name).await, *before, "{name}, before current years were noted");
    }
    let years = [("1".to_owned(), 2027), ("2".to_owned(), 2026)];
    let current_years = Baseline { current_years: years.into(), ..Baseline::default() };
    keeps(&store, &district, 2, &current_years).await;
    for (name, _, there, _) in &cases {
        assert_eq!(entities(name).await, *there, "{name}");
    }
    let mut admitting = store.district(&district).await.unwrap();
    admitting.status.school_years = SchoolYears::CurrentAndNext;
    let secrets = [ConnectionSecrets::default(), ConnectionSecrets::default()];
    store.apply_district(&admitting, &secrets, "test", at(9)).await.unwrap();
    let next = [("next", vec!["1", "2"]), ("early-elsewhere", vec!["1"]), ("far", vec!["1", "2"])];
    for (name, there) in next {
        assert_eq!(entities(name).await, there, "{name}, where the next year's count");
    }
    let others = Baseline { current_years: [(String::new(), 2026)].into(), ..Baseline::default() };
    keeps(&store, &district, 3, &others).await;
    assert_eq!(entities("unknown").await, ["3"]);
}

/// Only `ab1` is stored, and a launch names `AB1`, who is another child.
async fn an_id_in_another_letter_case_is_of_another_child_but_for_uuids(fixture: Fixture) {
    let store = fixture.store.clone();
    let district = new_district(&store, "case").await;
    let (small, large) = ("3f2b8a52-0000-4000-8000-00000000000a", "3F2B8A52-0000-4000-8000-00000000000B");
    let students = ["ab1", "Cd2", small, large, "e3"].map(|id| added(student(id)));
    applied(&store, &district, 1, students.into()).await;
    applied(&store, &district, 2, vec![rekeyed("e3", "f3")]).await;
    for (named, expected) in [
        ("ab1", Some("ab1")),
        ("AB1", None),
        ("Cd2", Some("Cd2")),
        ("cd2", None),
        (small, Some(small)),
        (&small.to_uppercase(), Some(small)),
        (&large.to_lowercase(), Some(large)),
        ("e3", Some("f3")),
        ("E3", None),
    ] {
        let found = store.subject(&district, ConnectionNo(0), named, date(2)).await.unwrap();
        assert_eq!(found.map(|subject| subject.student_id), expected.map(id), "{named}");
    }
}

async fn a_students_own_id_is_no_other_students_with_a_prefix(fixture: Fixture) {
    let store = fixture.store.clone();
    let district = mixed_district(&store, "own").await;
    let mut other = student("O-7");
    other.connection = 1;
    applied(&store, &district, 1, vec![added(student("7")), added(other)]).await;
    for (of, name, expected) in
        [(0, "7", Some("7")), (1, "7", Some("O-7")), (1, "O-7", Some("O-7")), (0, "O-7", None), (2, "7", None)]
    {
        let found = store.subject(&district, ConnectionNo(of), name, date(2)).await.unwrap();
        assert_eq!(found.map(|subject| subject.student_id), expected.map(id), "{name} of connection {of}");
    }
    for name in ["7", "O-7"] {
        let subject = store.subject_with_id(&district, &id(name), date(2)).await.unwrap().unwrap();
        assert_eq!(subject.student_id, id(name));
    }
    assert_eq!(store.subject_with_id(&district, &id("o-7"), date(2)).await.unwrap(), None);
    // Whoever is not in the roster yet is not the other source's child of that id.
    let mut stranger = student("O-8");
    stranger.connection = 1;
    applied(&store, &district, 2, vec![added(stranger)]).await;
    let found = store.student(&district, "8").await.unwrap();
    assert_eq!(found.map(|found| found.row.student_id), None);
}
