//! Comparisons that no single message finishes: a page of a list or a student at a time, whoever dies, comes twice or comes between.

use std::{num::NonZeroU32, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use rollcall_flag_sync::{FlagHandler, FlagSyncConfig, reconcile::owed};
use rollcall_proto::{
    clock::Clock as _,
    handler::{Fate, Handler as _},
    id::RunId,
    message::{Body, FlagPush, Message, StudentEvent},
};
use rollcall_sandbox::{CampusConfig, CampusFlag};
use rollcall_store::flag::Flag;
use uuid::Uuid;

use crate::{
    common::{Fixture, day},
    house::{House, SPED, STUDENTS, in_campus, two_programs},
    on_both_engines,
    roster_support::{applied, changed, id},
};

on_both_engines! {
    a_comparison_cut_at_every_piece_ends_as_one_in_one_piece,
    many_flags_that_are_gone_are_found_out_in_pieces,
    a_comparison_that_is_killed_again_and_again_ends_as_another,
    two_who_compare_at_once_end_as_one,
    a_comparison_that_nobody_goes_on_with_is_owed,
    a_comparison_that_is_overtaken_begins_anew,
    what_changes_meanwhile_is_compared_too,
    a_comparison_during_which_ids_change_is_none_of_all,
    a_program_alone_is_compared_in_pieces,
    what_was_shown_long_ago_is_not_believed,
}

/// Another one on the same engine.
async fn another(f: &Fixture) -> Fixture {
    if f.dir().is_some() { Fixture::embedded().await } else { Fixture::postgres().await }
}

async fn house(f: Fixture) -> House {
    let config = CampusConfig { page_limit: 5, ..CampusConfig::default() };
    let house = House::with(f, two_programs(), config).await;
    house.complete_all().await;
    for number in [1, 2, 3] {
        house.complete_of("Section 504", &format!("s{number}"), &number.to_string(), "2026-08-20", None).await;
    }
    house.settle().await;
    house
}

/// Something of everything a comparison may find.
async fn disturb(house: &House) {
    house.clock.advance(TimeDelta::hours(1));
    house.store().ask_for_flags(&house.district, "test", house.clock.now()).await.unwrap();
    house.withdraw("d0").await;
    house.complete("d4", "4", "2026-08-20", Some("2027-01-31")).await;
    house.complete_of("Section 504", "s5", "5", "2026-09-01", None).await;
    house.campus.delete(&house.flag_of("6").id);
    let edited = house.flag_of("7");
    house.campus.type_in(CampusFlag { ends: Some(day("2026-12-24")), ..edited });
    house.typed_in("old-1", "8", "2025-09-01", None);
}

fn one_at_a_time(house: &House, students: u32) -> FlagHandler {
    let config = FlagSyncConfig {
        unit: Duration::ZERO,
        students_at_a_time: NonZeroU32::new(students).unwrap(),
        ..FlagSyncConfig::default()
    };
    FlagHandler::new(house.context_with(config))
}

fn sync(house: &House) -> Message {
    Message::flag_sync(house.district.clone(), None, house.clock.now())
}

fn push(house: &House) -> Message {
    let body = Body::FlagPush(FlagPush {});
    Message::new(house.district.clone(), RunId(Uuid::now_v7()), house.clock.now(), body)
}

async fn synced_at(house: &House) -> Option<DateTime<Utc>> {
    house.store().flags_synced_at(&house.district).await.unwrap()
}

async fn is_left(house: &House) -> bool {
    house.store().comparison::<(), ()>(&house.district).await.unwrap().is_some()
}

/// Handles messages until all is compared, which nothing is pushed before; says how many it took.
async fn compared(house: &House, handler: &FlagHandler) -> usize {
    let (first, writes) = (sync(house), house.campus.stats().writes);
    let began = first.time;
    let (mut message, mut messages) = (first, 0);
    while synced_at(house).await.is_none_or(|at| at < began) {
        assert_eq!(handler.handle(message).await, Fate::Done);
        assert_eq!(house.campus.stats().writes, writes, "nothing is pushed in the middle of a comparison");
        messages += 1;
        assert!(messages < 300, "it comes to no end");
        message = push(house);
    }
    assert!(!is_left(house).await, "what was kept is forgotten");
    messages
}

/// What a comparison left behind, whenever it was.
async fn outcome(house: &House) -> (Vec<Flag>, Vec<String>, Vec<(String, String)>) {
    let mut flags = house.flags().await;
    for flag in &mut flags {
        flag.verified_at = flag.verified_at.map(|_| DateTime::UNIX_EPOCH);
    }
    let mut participations: Vec<_> = house.participations().await.iter().map(|one| format!("{one:?}")).collect();
    participations.sort();
    let mut told = house.told(None).await;
    told.sort();
    (flags, participations, told)
}

/// The same district, disturbed as much and compared in one piece.
async fn in_one_piece(f: Fixture) -> House {
    let whole = house(f).await;
    disturb(&whole).await;
    whole.handle_sync().await;
    whole.settle().await;
    whole
}

async fn a_comparison_cut_at_every_piece_ends_as_one_in_one_piece(f: Fixture) {
    let (one, two) = (another(&f).await, f);
    let whole = in_one_piece(one).await;
    let cut = house(two).await;
    disturb(&cut).await;
    let messages = compared(&cut, &one_at_a_time(&cut, 1)).await;
    // Four pages of one program and two of the other, their ends among them, and a student each.
    assert!(messages >= STUDENTS + 6, "{messages}");
    cut.settle().await;
    assert_eq!(outcome(&cut).await, outcome(&whole).await);
    let answers: Vec<_> = outcome(&cut).await.2.into_iter().map(|(_, answer)| answer).collect();
    assert!(answers.contains(&"deleted".to_owned()), "{answers:?}");
}

/// More than are looked for one by one before the lists are read again; a student's end is the soonest that time is looked at.
async fn many_flags_that_are_gone_are_found_out_in_pieces(f: Fixture) {
    let (one, two) = (another(&f).await, f);
    let mut outcomes = Vec::new();
    for (f, is_cut) in [(one, false), (two, true)] {
        let house = house(f).await;
        for number in 4..STUDENTS {
            house.complete_of("Section 504", &format!("s{number}"), &number.to_string(), "2026-08-20", None).await;
        }
        house.settle().await;
        for flag in house.campus.flags() {
            house.campus.delete(&flag.id);
        }
        house.clock.advance(TimeDelta::hours(1));
        house.store().ask_for_flags(&house.district, "test", house.clock.now()).await.unwrap();
        if is_cut {
            let messages = compared(&house, &one_at_a_time(&house, 1_000)).await;
            assert!(messages >= STUDENTS, "{messages}");
        }
        house.handle_sync().await;
        house.settle().await;
        let (_, _, told) = outcome(&house).await;
        assert_eq!(
            told.iter().filter(|(_, answer)| answer == "deleted").count(),
            2 * STUDENTS - 1,
            "each is told once"
        );
        outcomes.push(outcome(&house).await);
    }
    assert_eq!(outcomes[0], outcomes[1]);
}

/// The future is dropped wherever it stands, as a process that is killed.
async fn a_comparison_that_is_killed_again_and_again_ends_as_another(f: Fixture) {
    let (one, two) = (another(&f).await, f);
    let whole = in_one_piece(one).await;
    let killed = house(two).await;
    disturb(&killed).await;
    let mut random = fastrand::Rng::with_seed(11);
    let (first, mut was_left) = (sync(&killed), false);
    // As long as a message takes here and now.
    let asked = tokio::time::Instant::now();
    assert_eq!(one_at_a_time(&killed, 1).handle(first.clone()).await, Fate::Done);
    let usual = u64::try_from(asked.elapsed().as_micros()).unwrap();
    for _ in 0..60 {
        let message = if random.bool() { first.clone() } else { push(&killed) };
        let life = Duration::from_micros(random.u64(..usual * 3 / 2));
        let _ = tokio::time::timeout(life, one_at_a_time(&killed, 1).handle(message)).await;
        was_left |= is_left(&killed).await;
        // Whoever died keeps nobody out for longer than the lease.
        killed.clock.advance(TimeDelta::seconds(61));
        if killed.clock.now() > first.time + TimeDelta::minutes(50) {
            break;
        }
    }
    assert!(was_left);
    killed.handle_sync().await;
    killed.settle().await;
    let (killed, whole) = (outcome(&killed).await, outcome(&whole).await);
    assert_eq!((killed.0, killed.1), (whole.0, whole.1));
    assert_eq!(killed.2, whole.2, "the ledger tells each once");
}

async fn two_who_compare_at_once_end_as_one(f: Fixture) {
    let (one, two) = (another(&f).await, f);
    let whole = in_one_piece(one).await;
    let both = house(two).await;
    disturb(&both).await;
    let began = both.clock.now();
    let (a, b) = (one_at_a_time(&both, 1), one_at_a_time(&both, 1));
    let mut message = sync(&both);
    for _ in 0..300 {
        let (first, second) = tokio::join!(a.handle(message.clone()), b.handle(message));
        assert_eq!((first, second), (Fate::Done, Fate::Done));
        if synced_at(&both).await.is_some_and(|at| at >= began) {
            break;
        }
        message = push(&both);
    }
    both.settle().await;
    assert_eq!(outcome(&both).await, outcome(&whole).await);
}

/// With every message of it lost.
async fn a_comparison_that_nobody_goes_on_with_is_owed(f: Fixture) {
    let house = house(f).await;
    disturb(&house).await;
    let (handler, began) = (one_at_a_time(&house, 1), house.clock.now());
    assert_eq!(handler.handle(sync(&house)).await, Fate::Done);
    for _ in 0..300 {
        if !is_left(&house).await {
            break;
        }
        let work = house.store().flag_work().await.unwrap().pop().unwrap();
        assert!(work.unfinished);
        let body = owed(&work, house.clock.now(), TimeDelta::zero()).expect("it is owed");
        let message = Message::new(house.district.clone(), RunId(Uuid::now_v7()), house.clock.now(), body);
        assert_eq!(handler.handle(message).await, Fate::Done);
        house.clock.advance(TimeDelta::seconds(1));
    }
    assert_eq!(synced_at(&house).await, Some(began), "it is the one that was begun");
}

async fn a_comparison_that_is_overtaken_begins_anew(f: Fixture) {
    let house = house(f).await;
    disturb(&house).await;
    let handler = one_at_a_time(&house, 1);
    for message in [sync(&house), push(&house), push(&house)] {
        assert_eq!(handler.handle(message).await, Fate::Done);
    }
    assert!(is_left(&house).await);
    house.clock.advance(TimeDelta::seconds(1));
    house.store().ask_for_flags(&house.district, "test", house.clock.now()).await.unwrap();
    assert_eq!(handler.handle(push(&house)).await, Fate::Done);
    assert!(!is_left(&house).await, "what was asked for before is not gone on with");
    assert_eq!(synced_at(&house).await, None);
    let asked = house.clock.now();
    compared(&house, &handler).await;
    assert!(synced_at(&house).await.is_some_and(|at| at >= asked));
}

/// A document behind the comparison waits for its own one; one that lies ahead is of this.
async fn what_changes_meanwhile_is_compared_too(f: Fixture) {
    let house = house(f).await;
    house.clock.advance(TimeDelta::hours(1));
    house.store().ask_for_flags(&house.district, "test", house.clock.now()).await.unwrap();
    let (handler, mut message, mut is_changed) = (one_at_a_time(&house, 1), sync(&house), false);
    let began = message.time;
    let calls = house.campus.stats().calls;
    let (mut before, mut quiet, mut marked) = (calls, 0, Vec::new());
    while synced_at(&house).await.is_none_or(|at| at < began) {
        assert_eq!(handler.handle(message).await, Fate::Done);
        message = push(&house);
        let calls = house.campus.stats().calls;
        quiet = if calls == before { quiet + 1 } else { 0 };
        before = calls;
        if quiet == 3 && !is_changed {
            // All lists are read, and some students are compared.
            is_changed = true;
            house.complete("d0", "0", "2026-08-20", Some("2027-03-31")).await;
            house.complete("d9", "9", "2026-08-20", Some("2027-03-31")).await;
        }
        if is_changed {
            let pending = house.store().pending_students(&house.district, 10).await.unwrap();
            marked.push(pending.into_iter().map(|one| one.student.0).collect::<Vec<_>>());
            marked.dedup();
        }
    }
    // The last message has time for one student after the comparison.
    assert_eq!(marked, [&["0", "9"][..], &["0"], &[]]);
    house.settle().await;
    for student in ["0", "9"] {
        assert_eq!(house.flag_of(student).ends, Some(day("2027-03-31")), "{student}");
    }
}

async fn a_comparison_during_which_ids_change_is_none_of_all(f: Fixture) {
    let house = house(f).await;
    house.clock.advance(TimeDelta::hours(1));
    house.store().ask_for_flags(&house.district, "test", house.clock.now()).await.unwrap();
    let handler = one_at_a_time(&house, 1);
    assert_eq!(handler.handle(sync(&house)).await, Fate::Done);
    let mut record = in_campus(9);
    record.id = id("0-new");
    let moved = StudentEvent { rekeyed_from: Some(id("9")), ..changed(record) };
    applied(house.store(), &house.district, 2, vec![moved]).await;
    for _ in 0..300 {
        if !is_left(&house).await {
            break;
        }
        assert_eq!(handler.handle(push(&house)).await, Fate::Done);
    }
    assert!(!is_left(&house).await);
    assert_eq!(synced_at(&house).await, None, "a student may have been missed");
    house.clock.advance(TimeDelta::hours(1));
    compared(&house, &handler).await;
}

async fn a_program_alone_is_compared_in_pieces(f: Fixture) {
    let house = house(f).await;
    house.clock.advance(TimeDelta::hours(1));
    let edited = house.campus.flags().into_iter().find(|flag| flag.student == "2" && flag.program == "101").unwrap();
    house.campus.type_in(CampusFlag { ends: Some(day("2026-12-24")), ..edited });
    house.store().ask_for_program_flags(&house.district, SPED, "test", house.clock.now()).await.unwrap();
    let (handler, mut messages) = (one_at_a_time(&house, 1), 0);
    while !house.store().asked_programs(&house.district).await.unwrap().is_empty() {
        assert_eq!(handler.handle(push(&house)).await, Fate::Done);
        messages += 1;
        assert!(messages < 300);
    }
    assert!(messages > STUDENTS, "{messages}");
    assert!(!is_left(&house).await);
    let flags = house.flags().await;
    let drifted: Vec<_> = flags.iter().filter(|flag| flag.shown_state(day("2026-09-01")) == "drift").collect();
    assert_eq!(drifted.len(), 1);
    assert_eq!((drifted[0].student.0.as_str(), drifted[0].program.as_str()), ("2", SPED));
}

async fn what_was_shown_long_ago_is_not_believed(f: Fixture) {
    let house = house(f).await;
    disturb(&house).await;
    let handler = one_at_a_time(&house, 1);
    assert_eq!(handler.handle(sync(&house)).await, Fate::Done);
    assert!(is_left(&house).await);
    house.clock.advance(TimeDelta::hours(2));
    assert_eq!(handler.handle(push(&house)).await, Fate::Done);
    assert!(!is_left(&house).await);
}
