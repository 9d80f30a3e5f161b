//! Messages as they are in the field, invented.

use bytes::Bytes;
use chrono::{DateTime, NaiveDate, TimeZone as _, Utc};
use rollcall_proto::{
    id::{ConnectionNo, DistrictId, ListingNo, PageNo, RunId, StudentId},
    message::{
        Applied, Body, Change, Discover, Fetch, Fingerprint, FlagPush, FlagSync, Message, Page, Plan, Release,
        StudentEvent, StudentEvents,
    },
    roster::{Address, Contact, ContactKind, Email, Enrollment, Person, Phone, Rule, Status, Student},
};
use uuid::Uuid;

pub fn district() -> DistrictId {
    "lone-star-isd".parse().unwrap()
}

pub fn run() -> RunId {
    RunId(Uuid::from_u128(0x0193_a5b0_0000_7000_8000_0000_0000_00aa))
}

pub fn time() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 9, 1, 8, 0, 0).unwrap()
}

pub fn message(body: Body) -> Message {
    Message::new(district(), run(), time(), body)
}

pub fn fetch(lane: u16) -> Message {
    message(Body::Fetch(Fetch { connection: ConnectionNo(0), lane, generation: 7 }))
}

pub fn page(body: Bytes) -> Message {
    message(Body::Page(Page {
        connection: ConnectionNo(1),
        listing: ListingNo(3),
        page: PageNo(12),
        status: 200,
        asked_at: time(),
        took_ms: 104,
        content_type: Some("application/json".to_owned()),
        body_bytes: 1_048_576,
        body: Some(body),
        told: None,
    }))
}

/// As [`page`], with the fields there that only some sources fill.
#[allow(dead_code, reason = "not every test program that holds these samples takes this one")]
pub fn told() -> Message {
    let mut message = page(Bytes::from_static(b"zstd"));
    if let Body::Page(page) = &mut message.body {
        page.told = Some(Bytes::from_static(b"facts"));
    }
    message
}

pub fn students(count: usize) -> Message {
    let events = (0..count).map(event).collect();
    message(Body::Students(StudentEvents { batch: 4, run_seq: 31, status: Status::Enrolled, events }))
}

pub fn event(number: usize) -> StudentEvent {
    StudentEvent {
        student_id: StudentId(format!("{}", 100_000 + number)),
        change: Change::Changed,
        from: Some(Status::PreEnrolled),
        to: Status::Enrolled,
        rule: Rule::Current,
        enrollments: vec![format!("{}", 700_000 + number)],
        fingerprint: Fingerprint([u8::try_from(number % 251).unwrap(); 16]),
        record: Some(Box::new(student(number))),
        rekeyed_from: None,
    }
}

/// As [`students`], with the fields there that only some sources fill.
#[allow(dead_code, reason = "not every test program that holds these samples takes this one")]
pub fn rekeyed(count: usize) -> Message {
    let mut message = students(count);
    if let Body::Students(students) = &mut message.body {
        for event in &mut students.events {
            event.rekeyed_from = Some(StudentId(format!("s{}", event.student_id.0)));
            if let Some(record) = &mut event.record {
                record.sis_id = Some(format!("B{}", record.id.0));
            }
        }
    }
    message
}

pub fn student(number: usize) -> Student {
    Student {
        id: StudentId(format!("{}", 100_000 + number)),
        connection: 0,
        sis_id: None,
        local_id: Some(format!("S{number:06}")),
        state_id: Some(format!("9{number:09}")),
        person: person(number, "Zoë", "Quill"),
        birth_date: NaiveDate::from_ymd_opt(2012, 2, 29),
        gender: Some("F".to_owned()),
        grade: Some("08".to_owned()),
        school: Some("041".to_owned()),
        graduation_year: Some(2031),
        homeroom: None,
        contacts: vec![contact(number)],
        enrollments: vec![Enrollment {
            id: format!("{}", 700_000 + number),
            entity: "401".to_owned(),
            school: Some("041".to_owned()),
            school_year: Some(2027),
            entry_date: NaiveDate::from_ymd_opt(2026, 8, 12),
            withdrawal_date: None,
            entry_code: Some("E1".to_owned()),
            withdrawal_code: None,
            default_entity: true,
            no_show: false,
        }],
    }
}

fn contact(number: usize) -> Contact {
    Contact {
        id: format!("g{number}"),
        kind: ContactKind::Guardian,
        rank: Some(1),
        relationship: Some("Mother".to_owned()),
        custodial: Some(true),
        may_pick_up: None,
        person: person(number + 500_000, "Ada", "Quill"),
    }
}

fn person(number: usize, first: &str, last: &str) -> Person {
    Person {
        name_id: format!("n{number}"),
        first_name: Some(first.to_owned()),
        middle_name: None,
        last_name: Some(format!("{last}-{number}")),
        phones: vec![Phone {
            id: format!("p{number}"),
            rank: 1,
            kind: Some("Cell".to_owned()),
            number: format!("555{number:07}"),
            extension: None,
            confidential: false,
        }],
        emails: vec![Email {
            id: format!("e{number}"),
            rank: 1,
            kind: None,
            address: format!("quill{number}@example.org"),
        }],
        addresses: vec![Address {
            id: format!("a{number}"),
            physical: true,
            mailing: false,
            line1: Some(format!("{number} Elm Street")),
            line2: None,
            city: Some("Springdale".to_owned()),
            state: Some("TX".to_owned()),
            zip: Some("75001".to_owned()),
            county: None,
            country: Some("US".to_owned()),
        }],
    }
}

/// One message of each kind.
pub fn one_of_each() -> Vec<Message> {
    vec![
        message(Body::Discover(Discover { connection: ConnectionNo(2) })),
        fetch(3),
        page(Bytes::from_static(b"\x28\xb5\x2f\xfd not really zstd")),
        message(Body::Plan(Plan { large: false })),
        message(Body::Plan(Plan { large: true })),
        message(Body::Release(Release {})),
        students(3),
        message(Body::Applied(Applied {})),
        message(Body::FlagSync(FlagSync { student: None, program: None })),
        message(Body::FlagSync(FlagSync { student: Some(StudentId("100007".to_owned())), program: None })),
        message(Body::FlagPush(FlagPush {})),
    ]
}
