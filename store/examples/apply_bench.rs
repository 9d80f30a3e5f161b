//! Measures what the writer's transaction costs: roster rows per second, and the reading back of fingerprints.
//!
//! ```text
//! cargo run --release -p rollcall-store --example apply_bench -- sqlite DIR [students] [writers]
//! cargo run --release -p rollcall-store --example apply_bench -- postgres URL [students] [writers]
//! ```
//!
//! Two nights of an invented district: all students are new, then two in a hundred change. The database must be empty.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use anyhow::{Context as _, Result, bail};
use chrono::{DateTime, NaiveDate, Utc};
use rollcall_proto::{
    clock::{Clock as _, SystemClock},
    id::{ConnectionNo, DistrictId, RunId, StudentId},
    message::{Change, EVENTS_PER_MESSAGE, Fingerprint, StudentEvent, StudentEvents},
    roster::{Contact, ContactKind, Enrollment, Person, Phone, Rule, Status, Student},
};
use rollcall_store::{
    Store,
    district::{ConnectionSecrets, District},
    plan::{EncodedBatch, NewPlan, Verdict, encode_batch},
    run::{Counts, NewRun, Trigger},
    secret::Keyring,
};
use secrecy::SecretString;

/// Rows of the roster for each student: the student, two contacts, two enrollments, one of history.
const ROWS_PER_STUDENT: f64 = 6.0;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize, default| arguments.get(index).map_or(Ok(default), |text| text.parse::<usize>());
    let (students, writers) = (number(2, 20_000)?, number(3, 2)?);
    let place = arguments.get(1).context("which database?")?;
    let store = open(arguments.first().map(String::as_str), place).await?;
    let district = new_district(&store).await?;
    let night: Vec<StudentEvent> = (0..students).map(|index| event(index, None)).collect();
    measure(&store, &district, "first night", night, writers).await?;
    let changed: Vec<StudentEvent> = (0..students).step_by(50).map(|index| event(index, Some("Renamed"))).collect();
    measure(&store, &district, "2 % night", changed, writers).await?;
    let start = Instant::now();
    let stored = store.stored_students(&district).await?;
    println!("fingerprints of {} students read in {:.1} ms", stored.len(), start.elapsed().as_secs_f64() * 1e3);
    Ok(())
}

async fn open(engine: Option<&str>, place: &str) -> Result<Store> {
    let key = Keyring::from_base64(&SecretString::from(Keyring::generate()?))?;
    match engine {
        Some("sqlite") => Ok(Store::open_embedded(Path::new(place), key).await?),
        Some("postgres") => {
            let url = SecretString::from(place.to_owned());
            Store::migrate(&url).await?;
            Ok(Store::connect(&url, key, 4).await?)
        }
        _ => bail!("sqlite DIR, or postgres URL"),
    }
}

fn now() -> DateTime<Utc> {
    SystemClock.now()
}

async fn new_district(store: &Store) -> Result<DistrictId> {
    let id: DistrictId = "bench".parse()?;
    let district: District = serde_json::from_value(serde_json::json!({
        "id": "bench", "name": "Bench", "time_zone": "America/Chicago",
        "connection": [{"kind": "skyward-qmlativ", "base_url": "https://sis.example/API", "client_id": "c"}],
    }))?;
    store.apply_district(&district, &[ConnectionSecrets::default()], "bench", now()).await?;
    Ok(id)
}

async fn measure(
    store: &Store,
    district: &DistrictId,
    name: &str,
    events: Vec<StudentEvent>,
    writers: usize,
) -> Result<()> {
    let count = events.len();
    let (run, batches) = release(store, district, events).await?;
    let (batches, next) = (Arc::new(batches), Arc::new(AtomicUsize::new(0)));
    let start = Instant::now();
    let workers = (0..writers).map(|_| {
        let (store, district) = (store.clone(), district.clone());
        let (batches, next) = (Arc::clone(&batches), Arc::clone(&next));
        tokio::spawn(async move {
            while let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
                store.apply_batch(&district, run, batch, now()).await?;
            }
            Ok::<(), rollcall_store::StoreError>(())
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await??;
    }
    let seconds = start.elapsed().as_secs_f64();
    let closed = store.close_run(district, run, now()).await?.context("the run is not settled")?;
    println!(
        "{name}: {count} students in {seconds:.2} s with {writers} writers: {:.0} students/s, {:.0} rows/s ({} applied)",
        count as f64 / seconds,
        count as f64 * ROWS_PER_STUDENT / seconds,
        closed.counts.applied
    );
    Ok(())
}

/// Makes a run whose plan is these events, released.
async fn release(
    store: &Store,
    district: &DistrictId,
    events: Vec<StudentEvent>,
) -> Result<(RunId, Vec<StudentEvents>)> {
    let new = NewRun {
        district: district.clone(),
        trigger: Trigger::Manual,
        as_of: NaiveDate::from_ymd_opt(2026, 9, 1).context("a date")?,
        plan_only: false,
        as_of_given: false,
        everything: false,
        requested_by: "bench".to_owned(),
    };
    let run = store.create_run(&new, now()).await?.context("a run")?;
    store.start_run(district, run.id, now()).await?;
    store.fail_pull(district, run.id, ConnectionNo(0), "not pulled").await?;
    store.pulled(district, run.id, now()).await?;
    let batches: Vec<StudentEvents> = events
        .chunks(EVENTS_PER_MESSAGE)
        .enumerate()
        .map(|(batch, events)| StudentEvents {
            batch: batch as u32,
            run_seq: run.seq,
            status: Status::Enrolled,
            events: events.to_vec(),
        })
        .collect();
    let plan = plan(store.roster_version(district).await?, &batches, &events)?;
    let start = Instant::now();
    if !store.save_plan(district, run.id, &plan, now()).await? {
        bail!("the plan was not saved");
    }
    println!("plan of {} batches saved in {:.1} ms", batches.len(), start.elapsed().as_secs_f64() * 1e3);
    Ok((run.id, batches))
}

fn plan(roster_version: i64, batches: &[StudentEvents], events: &[StudentEvent]) -> Result<NewPlan> {
    let encode = |batch: &StudentEvents| {
        let (number, events) = (batch.batch, batch.events.len() as u32);
        Ok(EncodedBatch { batch: number, status: batch.status, events, bytes: encode_batch(batch)? })
    };
    let added = events.iter().filter(|event| event.change == Change::Added).count() as i64;
    let total = events.len() as i64;
    Ok(NewPlan {
        counts: Counts { listed: total, added, changed: total - added, ..Counts::default() },
        roster_version,
        batches: batches.iter().map(encode).collect::<Result<_>>()?,
        ..NewPlan::empty(Verdict::Release)
    })
}

fn event(index: usize, renamed: Option<&str>) -> StudentEvent {
    let record = student(index, renamed);
    let from = renamed.map(|_| Status::Enrolled);
    StudentEvent {
        student_id: record.id.clone(),
        change: if renamed.is_some() { Change::Changed } else { Change::Added },
        from,
        to: Status::Enrolled,
        rule: Rule::Current,
        enrollments: vec![record.enrollments[0].id.clone()],
        fingerprint: Fingerprint((index as u128).to_le_bytes()),
        record: Some(Box::new(record)),
        rekeyed_from: None,
    }
}

fn student(index: usize, renamed: Option<&str>) -> Student {
    let number = 100_000 + index;
    Student {
        id: StudentId(number.to_string()),
        connection: 0,
        sis_id: None,
        local_id: Some(format!("L{number}")),
        state_id: Some(format!("S{number}")),
        person: person(number, renamed.unwrap_or("Robin")),
        birth_date: NaiveDate::from_ymd_opt(2012, 3, 4),
        gender: Some("X".to_owned()),
        grade: Some("05".to_owned()),
        school: Some("101".to_owned()),
        graduation_year: Some(2034),
        homeroom: Some("5A".to_owned()),
        contacts: (0..2).map(|place| contact(number, place)).collect(),
        enrollments: (0..2).map(|place| enrollment(number, place)).collect(),
    }
}

fn person(number: usize, first_name: &str) -> Person {
    let phone = Phone { id: format!("P{number}"), rank: 1, number: format!("555{number}"), ..Phone::default() };
    Person {
        name_id: format!("N{number}"),
        first_name: Some(first_name.to_owned()),
        last_name: Some(format!("Example{number}")),
        phones: vec![phone],
        ..Person::default()
    }
}

fn contact(number: usize, place: usize) -> Contact {
    Contact {
        id: format!("C{number}{place}"),
        kind: ContactKind::Guardian,
        rank: Some(place as i32),
        relationship: Some("Parent".to_owned()),
        custodial: Some(true),
        may_pick_up: None,
        person: person(number * 10 + place, "Kim"),
    }
}

fn enrollment(number: usize, place: usize) -> Enrollment {
    Enrollment {
        id: format!("E{number}{place}"),
        entity: "1".to_owned(),
        school: Some("101".to_owned()),
        school_year: Some(2026 + place as i32),
        entry_date: NaiveDate::from_ymd_opt(2026, 8, 14),
        default_entity: true,
        ..Enrollment::default()
    }
}
