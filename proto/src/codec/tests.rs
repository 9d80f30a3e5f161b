//! Round trips, forward compatibility, and damaged bytes.

use bytes::Bytes;
use chrono::{DateTime, TimeZone as _, Utc};
use proptest::{collection::vec, option, prelude::*};
use serde::Serialize;
use uuid::Uuid;

use super::*;
use crate::{
    id::{ConnectionNo, ListingNo, PageNo, RunId, StudentId},
    message::{
        Applied, Change, Discover, Fetch, Fingerprint, FlagPush, FlagSync, Page, Plan, Release, StudentEvent,
        StudentEvents,
    },
    roster::{Person, Rule, Status, Student},
};

fn students() -> impl Strategy<Value = Body> {
    let event = (any::<String>(), any::<[u8; 16]>(), option::of(any::<String>()), vec(any::<String>(), 0..4));
    let event = event.prop_map(|(id, fingerprint, last_name, enrollments)| StudentEvent {
        student_id: StudentId(id.clone()),
        change: Change::Added,
        from: None,
        to: Status::PreEnrolled,
        rule: Rule::FutureOnly,
        enrollments,
        fingerprint: Fingerprint(fingerprint),
        record: Some(Box::new(Student {
            id: StudentId(id),
            connection: 0,
            sis_id: None,
            local_id: None,
            state_id: None,
            person: Person { last_name, ..Person::default() },
            birth_date: None,
            gender: None,
            grade: None,
            school: None,
            graduation_year: None,
            homeroom: None,
            contacts: Vec::new(),
            enrollments: Vec::new(),
        })),
        rekeyed_from: None,
    });
    (any::<u32>(), any::<i64>(), vec(event, 0..60)).prop_map(|(batch, run_seq, events)| {
        Body::Students(StudentEvents { batch, run_seq, status: Status::PreEnrolled, events })
    })
}

fn time() -> impl Strategy<Value = DateTime<Utc>> {
    (0..4_000_000_000_i64, 0..1_000_000_000_u32).prop_map(|(seconds, nanos)| Utc.timestamp_opt(seconds, nanos).unwrap())
}

fn page() -> impl Strategy<Value = Body> {
    let numbers = (any::<u16>(), any::<u32>(), any::<u32>(), any::<u16>(), any::<u64>());
    let body = || option::of(vec(any::<u8>(), 0..500).prop_map(Bytes::from));
    (numbers, time(), option::of(any::<String>()), body(), body()).prop_map(
        |((connection, listing, page, status, body_bytes), asked_at, content_type, body, told)| {
            Body::Page(Page {
                connection: ConnectionNo(connection),
                listing: ListingNo(listing),
                page: PageNo(page),
                status,
                asked_at,
                took_ms: listing,
                content_type,
                body_bytes,
                body,
                told,
            })
        },
    )
}

fn body() -> impl Strategy<Value = Body> {
    prop_oneof![
        any::<u16>().prop_map(|no| Body::Discover(Discover { connection: ConnectionNo(no) })),
        (any::<u16>(), any::<u64>()).prop_map(|(lane, generation)| Body::Fetch(Fetch {
            connection: ConnectionNo(0),
            lane,
            generation
        })),
        any::<bool>().prop_map(|large| Body::Plan(Plan { large })),
        Just(Body::Release(Release {})),
        Just(Body::Applied(Applied {})),
        (option::of("[0-9]{1,9}"), option::of("[A-Z]{1,9}"))
            .prop_map(|(id, program)| Body::FlagSync(FlagSync { student: id.map(StudentId), program })),
        Just(Body::FlagPush(FlagPush {})),
        page(),
        students(),
    ]
}

prop_compose! {
    fn message()(
        body in body(),
        (id, run) in (any::<u128>(), any::<u128>()),
        cause in option::of(any::<u128>()),
        district in "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?",
        time in time(),
        attempt in any::<u32>(),
    ) -> Message {
        Message {
            id: Uuid::from_u128(id),
            run: RunId(Uuid::from_u128(run)),
            cause: cause.map(Uuid::from_u128),
            district: district.parse().unwrap(),
            time,
            attempt,
            body,
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(message in message()) {
        let bytes = encode(&message).unwrap();
        prop_assert_eq!(decode(&bytes), Ok(message.clone()));
        let wire = Wire::pack(&message).unwrap();
        prop_assert_eq!(wire.unpack(), Ok(message));
    }

    #[test]
    fn a_cut_message_is_undecodable(message in message(), share in 0.0..1.0_f64) {
        let bytes = encode(&message).unwrap();
        let cut = &bytes[..(bytes.len() as f64 * share) as usize];
        prop_assert_eq!(decode(cut).unwrap_err().reason, UNDECODABLE);
    }

    #[test]
    fn no_bytes_panic(bytes in vec(any::<u8>(), 0..300)) {
        for encoding in [Encoding::Identity, Encoding::Zstd, Encoding::Unknown] {
            let unpacked = Wire { bytes: bytes.clone().into(), encoding }.unpack();
            prop_assert!(unpacked.is_err());
        }
    }
}

/// An envelope as some other program may write it.
#[derive(Serialize)]
struct Foreign<B> {
    added_later: &'static str,
    body: B,
    kind: &'static str,
    version: u32,
    id: Uuid,
    district: &'static str,
    run: Uuid,
    time: &'static str,
}

fn foreign<B: Serialize>(kind: &'static str, version: u32, body: B) -> Vec<u8> {
    let (id, run) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let (district, time) = ("lone-star-isd", "2026-09-01T08:00:00Z");
    let envelope = Foreign { added_later: "of no concern", body, kind, version, id, district, run, time };
    rmp_serde::to_vec_named(&envelope).unwrap()
}

#[derive(Serialize)]
struct LaterPlan {
    why: &'static str,
    large: bool,
}

const LATER: LaterPlan = LaterPlan { why: "Quill", large: true };

#[test]
fn fields_may_be_added_left_out_and_reordered() {
    let message = decode(&foreign("run.classify", 1, LATER)).unwrap();
    assert_eq!(message.body, Body::Plan(Plan { large: true }));
    assert_eq!((message.id, message.cause, message.attempt), (Uuid::from_u128(1), None, 0));
}

#[test]
fn an_unknown_kind_or_version_is_told_apart_from_damage() {
    assert_eq!(decode(&foreign("student.merged", 1, LATER)).unwrap_err().reason, UNKNOWN_KIND);
    for version in [0, 2, u32::MAX] {
        assert_eq!(decode(&foreign("run.classify", version, LATER)).unwrap_err().reason, UNKNOWN_VERSION);
    }
    assert_eq!(decode(&foreign("fetch.page", 1, LATER)).unwrap_err().reason, UNDECODABLE);
    assert_eq!(decode(b"").unwrap_err().reason, UNDECODABLE);
}

#[test]
fn an_error_tells_where_and_never_what() {
    #[derive(Serialize)]
    struct Wrong {
        large: &'static str,
    }
    let bytes = foreign("run.classify", 1, Wrong { large: "Quill" });
    let detail = decode(&bytes).unwrap_err().detail;
    assert!(!detail.contains("Quill"), "{detail}");
    // In our own order the body is last, so the position is known.
    let plan = Message::new(
        "lone-star-isd".parse().unwrap(),
        RunId(Uuid::nil()),
        Utc.timestamp_opt(0, 0).unwrap(),
        Body::Plan(Plan { large: true }),
    );
    let mut damaged = encode(&plan).unwrap().to_vec();
    *damaged.last_mut().unwrap() = 0xa0;
    let detail = decode(&damaged).unwrap_err().detail;
    assert_eq!(detail, format!("type error at byte {} of {}", damaged.len(), damaged.len()));
}

#[test]
fn a_frame_that_claims_too_much_is_refused() {
    let zeros = vec![0_u8; 65 * 1024 * 1024];
    let bytes = Bytes::from(zstd::bulk::compress(&zeros, 1).unwrap());
    assert!(bytes.len() < 100_000, "a small message");
    let unreadable = Wire { bytes, encoding: Encoding::Zstd }.unpack().unwrap_err();
    assert_eq!(unreadable.reason, UNDECODABLE);
}
