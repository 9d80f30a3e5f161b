//! What compression of student events is worth.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub, dead_code)]

mod samples;

use std::time::Instant;

use rollcall_proto::{
    codec::{Wire, encode},
    message::{Body, EVENTS_PER_MESSAGE, Message, PlannedEvents},
    packed,
    topology::{queue_of, routing_key},
};

#[test]
fn full_messages_of_students_shrink_several_times() {
    let message = samples::students(EVENTS_PER_MESSAGE);
    let plain = encode(&message).unwrap();
    let begun = Instant::now();
    let wire = Wire::pack(&message).unwrap();
    let packed = begun.elapsed();
    let begun = Instant::now();
    assert_eq!(wire.unpack().unwrap(), message);
    let unpacked = begun.elapsed();
    println!("{} bytes became {}; packed in {packed:?}, unpacked in {unpacked:?}", plain.len(), wire.len());
    assert!(wire.len() * 5 < plain.len(), "{} bytes became {}", plain.len(), wire.len());
}

#[test]
fn events_packed_with_the_plan_arrive_as_student_events() {
    let sent = samples::students(EVENTS_PER_MESSAGE);
    let Body::Students(events) = &sent.body else { panic!("student events were asked for") };
    let packed = packed::compress(&rmp_serde::to_vec_named(events).unwrap()).unwrap();
    let planned = PlannedEvents { batch: events.batch, status: events.status, packed: packed.into() };
    let planned = Message { body: Body::Planned(planned), ..sent.clone() };
    assert_eq!(encode(&planned).unwrap(), encode(&sent).unwrap());
    assert_eq!(Wire::pack(&planned).unwrap().unpack().unwrap(), sent);
    assert_eq!((routing_key(&planned), queue_of(&planned.body)), (routing_key(&sent), queue_of(&sent.body)));
}

#[test]
fn small_messages_and_pages_stay_as_they_are() {
    for message in samples::one_of_each() {
        let wire = Wire::pack(&message).unwrap();
        assert_eq!(wire.len(), encode(&message).unwrap().len());
        assert!(!wire.is_empty());
    }
    let page = samples::page(vec![0; 100_000].into());
    assert!(Wire::pack(&page).unwrap().len() > 100_000, "a page's body is compressed already");
}
