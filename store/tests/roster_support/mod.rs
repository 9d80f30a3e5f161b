//! Invented students, and runs brought to where a test begins.

#![allow(dead_code, reason = "no test file uses all of it")]

pub(crate) mod any;

use crate::common::Fixture;
use chrono::{DateTime, NaiveDate, TimeZone as _, Utc};
use rollcall_proto::{
    id::{DistrictId, RunId, StudentId},
    message::{Change, Fingerprint, StudentEvent, StudentEvents},
    roster::{Contact, ContactKind, Email, Enrollment, Person, Phone, Rule, Status, Student},
};
use rollcall_store::{
    Store,
    district::{ConnectionSecrets, District},
    plan::{EncodedBatch, NewPlan, Verdict, encode_batch},
    run::{Counts, NewRun, Run, Trigger},
};

use sqlx::Connection as _;

pub(crate) fn at(second: u32) -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 9, 1, 7, second / 60, second % 60).unwrap()
}

pub(crate) fn date(day: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 9, day).unwrap()
}

pub(crate) fn id(text: &str) -> StudentId {
    StudentId(text.to_owned())
}

pub(crate) async fn new_district(store: &Store, name: &str) -> DistrictId {
    let district: District = serde_json::from_value(serde_json::json!({
        "id": name, "name": "Invented", "time_zone": "America/Chicago",
        "connection": [{"kind": "skyward-qmlativ", "base_url": "https://sis.example/API", "client_id": "c"}],
    }))
    .unwrap();
    store.apply_district(&district, &[ConnectionSecrets::default()], "test", at(0)).await.unwrap();
    name.parse().unwrap()
}

/// A run of `day` that stands at Plan.
pub(crate) async fn run_at_plan(store: &Store, district: &DistrictId, day: u32) -> Run {
    let new = NewRun {
        district: district.clone(),
        trigger: Trigger::Manual,
        as_of: date(day),
        plan_only: false,
        as_of_given: false,
        everything: false,
        requested_by: "ops".to_owned(),
    };
    at_plan(store, &new).await
}

/// A new run that stands at Plan.
pub(crate) async fn at_plan(store: &Store, new: &NewRun) -> Run {
    let district = &new.district;
    let run = store.create_run(new, at(0)).await.unwrap().unwrap();
    store.start_run(district, run.id, at(0)).await.unwrap();
    for pull in store.pulls(district, run.id).await.unwrap() {
        store.fail_pull(district, run.id, pull.connection, "not pulled").await.unwrap();
    }
    assert!(store.pulled(district, run.id, at(0)).await.unwrap());
    run
}

pub(crate) fn batch(run: &Run, number: u32, events: Vec<StudentEvent>) -> StudentEvents {
    StudentEvents { batch: number, run_seq: run.seq, status: events[0].to, events }
}

pub(crate) async fn plan_of(
    store: &Store,
    district: &DistrictId,
    verdict: Verdict,
    batches: &[StudentEvents],
) -> NewPlan {
    let encode = |batch: &StudentEvents| EncodedBatch {
        batch: batch.batch,
        status: batch.status,
        events: batch.events.len() as u32,
        bytes: encode_batch(batch).unwrap(),
    };
    let of = |change| batches.iter().flat_map(|batch| &batch.events).filter(|event| event.change == change).count();
    let (added, changed) = (of(Change::Added) as i64, of(Change::Changed) as i64);
    let removed = of(Change::Removed) as i64;
    let counts = Counts { listed: added + changed + removed, added, changed, removed, ..Counts::default() };
    NewPlan {
        counts,
        hash: Fingerprint([7; 16]),
        roster_version: store.roster_version(district).await.unwrap(),
        batches: batches.iter().map(encode).collect(),
        ..NewPlan::empty(verdict)
    }
}

/// A run of `day` that has released these events, in batches of these.
pub(crate) async fn released(
    store: &Store,
    district: &DistrictId,
    day: u32,
    batches: Vec<Vec<StudentEvent>>,
) -> (Run, Vec<StudentEvents>) {
    let run = run_at_plan(store, district, day).await;
    let number = |(number, events)| batch(&run, number as u32, events);
    let batches: Vec<_> = batches.into_iter().enumerate().map(number).collect();
    let plan = plan_of(store, district, Verdict::Release, &batches).await;
    assert!(store.save_plan(district, run.id, &plan, at(1)).await.unwrap());
    (run, batches)
}

/// A run of `day` that has applied these events, in one batch.
pub(crate) async fn applied(store: &Store, district: &DistrictId, day: u32, events: Vec<StudentEvent>) -> RunId {
    let (run, batches) = released(store, district, day, vec![events]).await;
    let outcome = store.apply_batch(district, run.id, &batches[0], at(2)).await.unwrap();
    assert!(outcome.run_settled, "{outcome:?}");
    assert_eq!(outcome.applied as usize, batches[0].events.len(), "{outcome:?}");
    store.close_run(district, run.id, at(3)).await.unwrap().unwrap().id
}

pub(crate) fn student(name: &str) -> Student {
    Student {
        id: id(name),
        connection: 0,
        sis_id: None,
        local_id: Some(format!("L{name}")),
        state_id: Some(format!("S{name}")),
        person: person(name),
        birth_date: NaiveDate::from_ymd_opt(2012, 2, 29),
        gender: Some("X".to_owned()),
        grade: Some("05".to_owned()),
        school: Some("101".to_owned()),
        graduation_year: Some(2034),
        homeroom: None,
        contacts: vec![contact(name, "1"), contact(name, "2")],
        enrollments: vec![enrollment("10"), enrollment("9")],
    }
}

pub(crate) fn person(name: &str) -> Person {
    Person {
        name_id: format!("N{name}"),
        first_name: Some("Robin".to_owned()),
        middle_name: None,
        last_name: Some(format!("Example-{name}")),
        phones: vec![Phone { id: "P1".to_owned(), rank: 1, number: "5550100".to_owned(), ..Phone::default() }],
        emails: vec![Email { id: "M1".to_owned(), rank: 1, kind: None, address: "robin@school.example".to_owned() }],
        addresses: Vec::new(),
    }
}

pub(crate) fn contact(student: &str, number: &str) -> Contact {
    Contact {
        id: format!("C{number}"),
        kind: ContactKind::Guardian,
        rank: Some(1),
        relationship: Some("Parent".to_owned()),
        custodial: Some(true),
        may_pick_up: None,
        person: person(&format!("{student}-{number}")),
    }
}

pub(crate) fn enrollment(number: &str) -> Enrollment {
    Enrollment {
        id: number.to_owned(),
        entity: "1".to_owned(),
        school: Some("101".to_owned()),
        school_year: Some(2027),
        entry_date: NaiveDate::from_ymd_opt(2026, 8, 14),
        default_entity: true,
        ..Enrollment::default()
    }
}

pub(crate) fn added(record: Student) -> StudentEvent {
    StudentEvent {
        student_id: record.id.clone(),
        change: Change::Added,
        from: None,
        to: Status::Enrolled,
        rule: Rule::Current,
        enrollments: vec!["10".to_owned()],
        fingerprint: Fingerprint([1; 16]),
        record: Some(Box::new(record)),
        rekeyed_from: None,
    }
}

pub(crate) fn changed(record: Student) -> StudentEvent {
    StudentEvent {
        change: Change::Changed,
        from: Some(Status::Enrolled),
        fingerprint: Fingerprint([2; 16]),
        ..added(record)
    }
}

/// The student is not listed any more.
pub(crate) fn gone(name: &str) -> StudentEvent {
    StudentEvent {
        student_id: id(name),
        change: Change::Removed,
        from: Some(Status::Enrolled),
        to: Status::Inactive,
        rule: Rule::MissingFromSource,
        enrollments: Vec::new(),
        fingerprint: Fingerprint([3; 16]),
        record: None,
        rekeyed_from: None,
    }
}

/// Changes a district's rows beside the store, as another version of it would.
pub(crate) async fn change(fixture: &Fixture, district: &DistrictId, sql: &str) {
    let sql = sqlx::AssertSqlSafe(sql.to_owned());
    if let Some(dir) = fixture.dir() {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(dir.join("store.db"));
        let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
        sqlx::query(sql).bind(district.as_str()).execute(&mut connection).await.unwrap();
        return;
    }
    let mut connection = fixture.database().connect().await;
    sqlx::query(sql).bind(district.as_str()).execute(&mut connection).await.unwrap();
}

/// Changes tables beside the store.
pub(crate) async fn alter(fixture: &Fixture, sql: &str) {
    let query = sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()));
    if let Some(dir) = fixture.dir() {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(dir.join("store.db"));
        let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
        query.execute(&mut connection).await.unwrap();
        return;
    }
    query.execute(&mut fixture.database().connect().await).await.unwrap();
}

/// Rows of a table or view, counted beside the store.
pub(crate) async fn count(fixture: &Fixture, district: &DistrictId, table: &str) -> i64 {
    let sql = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table} WHERE district = $1"));
    if let Some(dir) = fixture.dir() {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(dir.join("store.db"));
        let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
        return sqlx::query_scalar(sql).bind(district.as_str()).fetch_one(&mut connection).await.unwrap();
    }
    let mut connection = fixture.database().connect().await;
    sqlx::query_scalar(sql).bind(district.as_str()).fetch_one(&mut connection).await.unwrap()
}
