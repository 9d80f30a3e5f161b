//! Measures decoding and planning on synthetic JSON: `cargo run --release -p rollcall-classifier --example plan_bench 50000`.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::fmt::Write as _;

use chrono::{DateTime, NaiveDate};
use rollcall_classifier::{
    decode::decode,
    diff::Records,
    plan::{PlanFacts, PullIn, plan},
};
use rollcall_proto::{
    clock::{Clock as _, SystemClock},
    id::{ConnectionNo, ListingNo, PageNo, RunId, StudentId},
    roster::{School, Staff, Student},
};
use rollcall_store::{
    StoreError,
    board::{Ask, Board, Progress},
    district::SisKind,
    page::{PageFragments, PageRow},
    plan::{StoredStudent, decode_batch},
    run::{Counts, Discovery, Pull, PullState, Run, RunState, Stage, Trigger},
};

const PAGE: usize = 500;

struct NoRecords;

impl Records for NoRecords {
    fn records(&mut self, _: &[StudentId]) -> Result<Vec<Student>, StoreError> {
        Ok(Vec::new())
    }

    fn staff(&mut self) -> Result<Vec<Staff>, StoreError> {
        Ok(Vec::new())
    }

    fn schools(&mut self) -> Result<Vec<School>, StoreError> {
        Ok(Vec::new())
    }
}

type RowWriter = fn(usize, &mut String);

/// Resource, rows a student, and how a row is written.
const LISTINGS: &[(&str, usize, RowWriter)] = &[
    ("Student/Student", 1, |n, to| {
        write!(to, r#"{{"StudentID":{n},"NameID":{},"StudentNumber":"{:06}","CalculatedStudentStateID":"{:010}","FirstName":"Ana{n}","MiddleName":null,"LastName":"Nguyễn","Grade":"05","GradYear":2033,"CalculatedGradYear":2033}}"#, n * 2, n, n)
            .unwrap();
    }),
    ("Demographics/Name", 2, |n, to| {
        write!(to, r#"{{"NameID":{n},"FirstName":"First{n}","MiddleName":"M","LastName":"Last{}","BirthDate":"2014-03-{:02}T00:00:00","Gender":"Female","GenderCode":"F"}}"#, n / 2, n % 28 + 1)
            .unwrap();
    }),
    ("Demographics/NamePhone", 2, |n, to| {
        write!(to, r#"{{"NamePhoneID":{n},"NameID":{n},"Rank":1,"PhoneTypeID":1,"PhoneNumber":"512555{:04}","Extension":null,"IsConfidential":false}}"#, n % 10_000)
            .unwrap();
    }),
    ("Demographics/NameEmail", 1, |n, to| {
        write!(
            to,
            r#"{{"NameEmailID":{n},"NameID":{},"Rank":1,"EmailTypeID":1,"EmailAddress":"parent{n}@example.org"}}"#,
            n * 2 + 1
        )
        .unwrap();
    }),
    ("Family/StudentGuardian", 1, |n, to| {
        write!(to, r#"{{"StudentGuardianID":{n},"StudentID":{n},"NameIDGuardian":{},"RelationshipID":1,"Rank":1,"IsCustodialGuardian":true,"AllowStudentPickup":"True"}}"#, n * 2 + 1)
            .unwrap();
    }),
    ("Enrollment/StudentEntityYear", 1, |n, to| {
        write!(to, r#"{{"StudentEntityYearID":{n},"StudentID":{n},"EntityID":{},"SchoolYearID":9,"IsDefaultEntity":true,"Grade":"05","HomeroomID":{}}}"#, n % 40 + 2, n % 900)
            .unwrap();
    }),
    ("Enrollment/EntryWithdrawal", 1, |n, to| {
        write!(to, r#"{{"EntryWithdrawalID":{n},"StudentID":{n},"EntityID":{},"SchoolYearID":9,"StartDate":"2025-08-13T00:00:00","WithdrawalCodeID":null,"SchoolID":{},"EndDate":null,"WithdrawalDate":null,"EntryCodeID":1,"IsDefaultEntity":true,"IsNoShow":false}}"#, n % 40 + 2, n % 40 + 2)
            .unwrap();
    }),
];

const TABLES: &[(&str, &str)] = &[
    ("District/SchoolYear", r#"{"SchoolYearID":9,"NumericYear":2026,"IsCurrentYearForProvidedEntity":true}"#),
    ("Enrollment/EntryCode", r#"{"EntryCodeID":1,"Code":"E1","SchoolYearID":9}"#),
    ("Demographics/PhoneType", r#"{"PhoneTypeID":1,"Code":"C","Description":"Cell"}"#),
    ("Demographics/Relationship", r#"{"RelationshipID":1,"Code":"M","Description":"Mother"}"#),
];

fn pages(students: usize) -> Vec<(String, Vec<u8>)> {
    let mut pages = Vec::new();
    for (resource, per_student, row) in LISTINGS {
        let rows: Vec<usize> = (2..students * per_student + 2).collect();
        for chunk in rows.chunks(PAGE) {
            let mut json = String::from("{\"Paging\":{\"Next\":\"/x\"},\"Objects\":[");
            for (number, n) in chunk.iter().enumerate() {
                json.push_str(if number > 0 { "," } else { "" });
                row(*n, &mut json);
            }
            json.push_str("]}");
            pages.push(((*resource).to_owned(), json.into_bytes()));
        }
    }
    let schools: Vec<String> = (2..42)
        .map(|n| format!(r#"{{"SchoolID":{n},"Code":"{n:03}","Name":"School {n}","SchoolYearID":9}}"#))
        .collect();
    let homerooms: Vec<String> = (0..900).map(|n| format!(r#"{{"HomeroomID":{n},"Code":"R{n}"}}"#)).collect();
    let entities: Vec<String> =
        (2..42).map(|n| format!(r#"{{"EntityID":{n},"Code":"{n}","SchoolYearIDCurrent":9}}"#)).collect();
    for (resource, rows) in
        [("Enrollment/School", schools), ("Enrollment/Homeroom", homerooms), ("District/Entity", entities)]
    {
        pages.push((resource.to_owned(), format!("{{\"Objects\":[{}]}}", rows.join(",")).into_bytes()));
    }
    pages.extend(TABLES.iter().map(|(r, row)| ((*r).to_owned(), format!("{{\"Objects\":[{row}]}}").into_bytes())));
    pages
}

/// Seconds this thread has had a core: a busy machine changes little. Elsewhere than on Linux, the clock on the wall.
fn cpu_seconds() -> f64 {
    let schedule = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let spent = schedule.as_deref().and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
    spent.map_or_else(|| SystemClock.now().timestamp_micros() as f64 / 1e6, |nanos| nanos / 1e9)
}

fn seconds<T>(what: &str, work: impl FnOnce() -> T) -> (T, f64) {
    let start = cpu_seconds();
    let result = work();
    let taken = cpu_seconds() - start;
    println!("{what}: {taken:.3} s");
    (result, taken)
}

fn main() {
    let students: usize = std::env::args().nth(1).map_or(50_000, |text| text.parse().unwrap());
    let pages = pages(students);
    let bytes: usize = pages.iter().map(|(_, json)| json.len()).sum();
    println!("{} pages, {:.1} MB of JSON, {students} students", pages.len(), bytes as f64 / 1e6);
    let (decoded, taken) = seconds("decode", || {
        pages.iter().map(|(r, json)| decode(SisKind::SkywardQmlativ, r, &[], json).unwrap()).collect::<Vec<_>>()
    });
    println!("  {:.0} MB/s", bytes as f64 / 1e6 / taken);
    let mut board = Board::new(Vec::new(), 4);
    let (mut rows, mut fragments) = (Vec::new(), Vec::new());
    for ((resource, _), page) in pages.iter().zip(&decoded) {
        let number = board.listings.iter().position(|listing| listing.ask.resource == *resource).unwrap_or_else(|| {
            let essential = resource.contains("Student/") || resource.contains("EntryWithdrawal");
            let ask = Ask { resource: resource.clone(), entity: Some(1), essential, ..Ask::default() };
            board.listings.extend(Board::new(vec![ask], 1).listings);
            board.listings.len() - 1
        });
        let listing = &mut board.listings[number];
        let no = PageNo(listing.last_page.unwrap_or(0) + 1);
        listing.last_page = Some(no.0);
        listing.progress = Progress::Fetched;
        let place = (ConnectionNo(0), ListingNo(number as u32), no);
        rows.push(PageRow {
            connection: place.0,
            listing: place.1,
            page: place.2,
            status: 200,
            rows: i64::from(page.tally.rows),
            digest: page.digest,
            claimed_total: None,
            error: None,
            asked_at: DateTime::UNIX_EPOCH,
            took_ms: 1,
            collected_at: DateTime::UNIX_EPOCH,
        });
        fragments.push(PageFragments {
            connection: place.0,
            listing: place.1,
            page: place.2,
            fragments: page.fragments.clone(),
        });
    }
    let compressed: usize = fragments.iter().map(|page| page.fragments.len()).sum();
    println!("  fragments {:.1} MB compressed", compressed as f64 / 1e6);
    drop((decoded, pages));
    let facts = |stored: Vec<StoredStudent>| PlanFacts {
        district: serde_json::from_value(serde_json::json!({
            "id": "bench", "name": "Bench", "time_zone": "America/Chicago",
            "connection": [{"kind": "skyward-qmlativ", "base_url": "https://example.org/API", "client_id": "c"}],
        }))
        .unwrap(),
        run: run(),
        pulls: vec![PullIn {
            pull: Pull {
                connection: ConnectionNo(0),
                state: PullState::Fetched,
                discovery: Some(Discovery::default()),
                reason: None,
            },
            board: Some(board.clone()),
            remembered: Vec::new(),
            baseline: None,
            fragments: fragments.clone(),
        }],
        pages: rows.clone(),
        staff: Vec::new(),
        said_of: Vec::new(),
        stored,
        roster_version: 1,
        candidates: None,
    };
    let first = facts(Vec::new());
    let (planned, taken) = seconds("plan, first night", || plan(first, &mut NoRecords).unwrap());
    println!("  {:?} {:?}, {:.0} students/s", planned.counts, planned.verdict, students as f64 / taken);
    let mut stored: Vec<StoredStudent> = Vec::new();
    for batch in &planned.batches {
        for event in decode_batch(&batch.bytes).unwrap().events {
            let (status, fingerprint) = (event.to, event.fingerprint);
            stored.push(StoredStudent { id: event.student_id, connection: 0, status, fingerprint });
        }
    }
    stored.sort_by(|a, b| a.id.cmp(&b.id));
    println!("  batches {:.1} MB", planned.batches.iter().map(|batch| batch.bytes.len()).sum::<usize>() as f64 / 1e6);
    drop(planned);
    let second = facts(stored);
    let (planned, taken) = seconds("plan, unchanged night", || plan(second, &mut NoRecords).unwrap());
    println!("  {:?} {:?}, {:.0} students/s", planned.counts, planned.verdict, students as f64 / taken);
    for line in std::fs::read_to_string("/proc/self/status").unwrap_or_default().lines() {
        if line.starts_with("VmHWM") {
            println!("peak of this process, JSON included: {}", line.trim_start_matches("VmHWM:").trim());
        }
    }
}

fn run() -> Run {
    Run {
        id: RunId(uuid::Uuid::nil()),
        district: "bench".parse().unwrap(),
        seq: 1,
        as_of: NaiveDate::from_ymd_opt(2025, 11, 3).unwrap(),
        trigger: Trigger::Manual,
        state: RunState::Running,
        stage: Stage::Plan,
        plan_only: false,
        as_of_given: false,
        everything: false,
        counts: Counts::default(),
        reason: None,
        findings: Vec::new(),
        plan_hash: None,
        planned_roster_version: None,
        created_at: DateTime::UNIX_EPOCH,
        started_at: None,
        pulled_at: None,
        planned_at: None,
        released_at: None,
        ended_at: None,
        replay_of: None,
    }
}
