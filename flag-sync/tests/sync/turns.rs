//! A message's work on flags ends with its turn, however slow Campus is, and the next ones come to an end.

use std::time::Duration;

use chrono::TimeDelta;
use rollcall_flag_sync::{FlagHandler, FlagSyncConfig};
use rollcall_proto::{
    clock::Clock as _,
    handler::{Fate, Handler as _},
    id::RunId,
    message::{Body, FlagPush, Message},
};
use rollcall_sandbox::{CampusConfig, CampusFaults};
use rollcall_store::flag::{Flag, FlagState};
use uuid::Uuid;

use crate::{
    common::Fixture,
    house::{House, STUDENTS, two_programs},
    on_both_engines,
};

on_both_engines! {
    pushing_and_reading_back_end_with_their_turn,
    a_list_from_before_the_write_of_another_is_not_read_back_by,
}

/// What each answer takes at least.
const LATENCY: Duration = Duration::from_millis(40);

/// So many answers are a turn.
const ANSWERS: u32 = 9;

/// More than are read one by one.
const FLAGS: usize = 2 * STUDENTS;

/// Two programs' flags of all students, in a Campus that lists them one by one.
async fn pushed(f: Fixture) -> House {
    let latency_ms = LATENCY.as_millis().try_into().unwrap();
    let house =
        House::with(f, two_programs(), CampusConfig { page_limit: 1, latency_ms, ..CampusConfig::default() }).await;
    house.complete_both(None).await;
    house.settle().await;
    house
}

/// A process of its own.
fn process(house: &House) -> FlagHandler {
    let unit = LATENCY * ANSWERS;
    FlagHandler::new(house.context_with(FlagSyncConfig { unit, students_at_once: 1, ..FlagSyncConfig::default() }))
}

async fn is_left(house: &House) -> bool {
    house.store().flag_work().await.unwrap()[0].unfinished
}

/// One message; says how much was asked of Campus.
async fn asked(house: &House, process: &FlagHandler) -> u64 {
    let (before, now) = (house.campus.stats().calls, house.clock.now());
    let message = Message::new(house.district.clone(), RunId(Uuid::now_v7()), now, Body::FlagPush(FlagPush {}));
    assert_eq!(process.handle(message).await, Fate::Done);
    house.clock.advance(TimeDelta::seconds(1));
    house.campus.stats().calls - before
}

async fn keep_all(house: &House, as_this: impl Fn(Flag) -> Flag) {
    let flags: Vec<_> = house.flags().await.into_iter().map(as_this).collect();
    assert_eq!(flags.len(), FLAGS);
    house.keep(&flags).await;
}

async fn assert_all_read_back(house: &House) {
    let flags = house.flags().await;
    let odd: Vec<_> =
        flags.iter().filter(|flag| flag.state != FlagState::Pushed || flag.verified_at.is_none()).collect();
    assert!(odd.is_empty(), "{odd:#?}");
}

/// In one process, and in two that take turns, of which each has read a part of the lists.
async fn pushing_and_reading_back_end_with_their_turn(f: Fixture) {
    let house = pushed(f).await;
    for processes in [vec![process(&house)], vec![process(&house), process(&house)]] {
        let writes = house.campus.stats().writes;
        let again = |flag| Flag {
            state: FlagState::Wanted,
            due: true,
            why: Some("restore".to_owned()),
            verified_at: None,
            ..flag
        };
        keep_all(&house, again).await;
        let mut messages = 0;
        while is_left(&house).await {
            let asked = asked(&house, &processes[messages % processes.len()]).await;
            // What was begun is ended: a flag is looked for, perhaps twice, and written.
            assert!(asked <= u64::from(ANSWERS) + 3, "message {messages} goes on after its time: {asked} answers");
            messages += 1;
            assert!(messages < 10 * FLAGS, "it comes to no end");
        }
        assert_eq!(house.campus.stats().writes, writes + FLAGS as u64, "each is sent once");
        assert_all_read_back(&house).await;
    }
}

/// One process has read a part of the list when another one sends something else, and that one goes away.
async fn a_list_from_before_the_write_of_another_is_not_read_back_by(f: Fixture) {
    let house = pushed(f).await;
    let first = process(&house);
    keep_all(&house, |flag| Flag { state: FlagState::Accepted, verified_at: None, ..flag }).await;
    asked(&house, &first).await;
    assert!(is_left(&house).await);
    let taken = house.campus.stats().writes + FLAGS as u64;
    house.complete_both(Some("2027-01-31")).await;
    house.campus.set_faults(CampusFaults { outage_after_writes: Some(taken), ..CampusFaults::default() });
    house.handle_sync().await;
    assert_eq!(house.campus.stats().writes, taken);
    house.campus.set_faults(CampusFaults::default());
    house.clock.advance(TimeDelta::minutes(20));
    for _ in 0..10 * FLAGS {
        if !is_left(&house).await {
            break;
        }
        asked(&house, &first).await;
    }
    assert_all_read_back(&house).await;
    assert_eq!(house.campus.stats().writes, taken, "and none is sent again");
}
