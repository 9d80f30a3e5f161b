//! What goes wrong at Campus and on the way costs time, and no flag.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use rollcall_flag_sync::{FlagHandler, reconcile::owed};
use rollcall_proto::{
    clock::Clock as _,
    handler::{Fate, Handler as _},
    id::RunId,
    message::{Body, FlagPush, Message},
};
use rollcall_sandbox::{CampusFault, CampusFaults, CampusFlag, CampusProgramRow, Strike};
use rollcall_store::{
    district::OnDrift,
    flag::{Flag, FlagState, FlagWork},
};
use uuid::Uuid;

use crate::{
    common::{Fixture, day},
    house::{House, STUDENTS, program},
    on_both_engines,
};

on_both_engines! {
    passing_faults_cost_nothing,
    one_fault_of_a_token_costs_nothing,
    a_busy_campus_is_left_alone_for_as_long_as_it_asks,
    what_campus_refuses_is_set_aside_alone,
    what_is_refused_for_good_is_sent_once,
    one_flag_that_campus_cannot_take_stops_no_other,
    several_flags_that_campus_cannot_take_stop_no_other_for_long,
    writes_that_all_fail_put_the_district_off,
    one_flag_that_campus_cannot_show_stops_no_other,
    half_a_batch_and_a_days_outage_are_made_good,
    a_refused_vendor_is_told_and_tried_again,
    a_wrong_vendor_secret_writes_nothing,
    a_program_that_campus_has_not_fails_alone,
    a_flag_whose_answer_was_lost_is_ended_all_the_same,
    what_staff_type_onto_a_flag_whose_answer_was_lost_stays,
    a_flag_that_campus_will_not_show_by_its_id_is_read_back_all_the_same,
}

async fn passing_faults_cost_nothing(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete_all().await;
    for fault in [
        CampusFault::LostAnswer,
        CampusFault::Status(401),
        CampusFault::Status(408),
        CampusFault::Status(500),
        CampusFault::Status(503),
        CampusFault::TooMany(1),
        CampusFault::TooMany(600),
    ] {
        house.strike(fault, Some(7));
        house.night().await;
        house.assert_all_pushed().await;
        // Every flag anew.
        for flag in house.campus.flags() {
            house.campus.delete(&flag.id);
        }
        let mut restoring = house.file.clone();
        restoring.programs[0].on_drift = OnDrift::Restore;
        house.apply(&restoring).await;
    }
}

/// At the first request of a process, and where the token was refused in the middle of its work.
async fn one_fault_of_a_token_costs_nothing(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete_all().await;
    let push = async |handler: &FlagHandler| {
        let (now, writes) = (house.clock.now(), house.campus.stats().writes);
        let message = Message::new(house.district.clone(), RunId(Uuid::now_v7()), now, Body::FlagPush(FlagPush {}));
        assert_eq!(handler.handle(message).await, Fate::Done);
        let work = work(&house).await;
        assert_eq!((work.retry_at, work.failing_due_at, work.unfinished), (None, None, false), "one message is enough");
        assert_eq!(house.store().flags_failures(&house.district).await.unwrap(), 0);
        house.campus.stats().writes - writes
    };
    for (number, fault) in [CampusFault::Status(503), CampusFault::LostAnswer].into_iter().enumerate() {
        let handler = house.handler();
        house.campus.set_faults(CampusFaults { token: Some(fault), ..CampusFaults::default() });
        house.complete("d3", "3", "2026-08-20", Some(&format!("2027-01-1{number}"))).await;
        assert!(push(&handler).await >= 1);
        let expired =
            Strike { fault: CampusFault::Status(401), writes_only: true, only: Some("3".to_owned()), times: Some(1) };
        house.campus.set_faults(CampusFaults { token: Some(fault), strikes: vec![expired], ..CampusFaults::default() });
        house.complete("d3", "3", "2026-08-20", Some(&format!("2027-01-2{number}"))).await;
        assert_eq!(push(&handler).await, 1);
        assert_eq!(house.flag_of("3").ends, Some(day(&format!("2027-01-2{number}"))));
    }
    assert!(house.told(None).await.iter().all(|(action, _)| action != "failed"));
}

async fn a_busy_campus_is_left_alone_for_as_long_as_it_asks(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete_all().await;
    house.strike(CampusFault::TooMany(240), None);
    house.handle_sync().await;
    let (asked, began) = (house.campus.stats().calls, house.clock.now());
    let again = house.store().flag_work().await.unwrap()[0].retry_at.unwrap();
    assert!(again >= began + TimeDelta::seconds(240), "{began} {again}");
    for _ in 0..3 {
        house.clock.advance(TimeDelta::minutes(1));
        house.handle_sync().await;
    }
    assert_eq!(house.campus.stats().calls, asked, "nothing was asked meanwhile");
    house.campus.set_faults(CampusFaults::default());
    house.settle().await;
    house.assert_all_pushed().await;
}

async fn what_campus_refuses_is_set_aside_alone(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete_all().await;
    for status in [404, 409, 422] {
        let only = Some("7".to_owned());
        let strikes = vec![Strike { fault: CampusFault::Status(status), writes_only: true, only, times: None }];
        house.campus.set_faults(CampusFaults { strikes, ..CampusFaults::default() });
        house.night().await;
        assert_eq!(house.shown().len(), STUDENTS - 1);
        assert_eq!(house.states().await["7"], ("failed", Some(format!("campus-{status}"))));
    }
    house.campus.set_faults(CampusFaults::default());
    house.night().await;
    house.assert_all_pushed().await;
}

async fn what_is_refused_for_good_is_sent_once(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete_all().await;
    let refuse = |status| {
        let only = Some("7".to_owned());
        let strikes = vec![Strike { fault: CampusFault::Status(status), writes_only: true, only, times: None }];
        house.campus.set_faults(CampusFaults { strikes, ..CampusFaults::default() });
    };
    let asked = async || house.store().flag_ledger(&house.district, None, 1_000).await.unwrap().len();
    refuse(422);
    house.settle().await;
    let before = asked().await;
    for _ in 0..3 {
        house.unasked_night().await;
    }
    assert_eq!(asked().await, before, "an unchanged night sends nothing");
    assert_eq!(house.states().await["7"], ("failed", Some("campus-422".to_owned())));
    // Something else is wanted.
    house.complete("d7", "7", "2026-08-21", None).await;
    house.settle().await;
    assert_eq!(asked().await, before + 1);
    house.unasked_night().await;
    assert_eq!(asked().await, before + 1);
    // A person asks.
    house.night().await;
    assert_eq!(asked().await, before + 2);
    // A student who is unknown today may be there tomorrow.
    refuse(404);
    house.night().await;
    house.unasked_night().await;
    assert_eq!(asked().await, before + 4);
    house.campus.set_faults(CampusFaults::default());
    house.unasked_night().await;
    assert_eq!(house.shown()["7"].0, day("2026-08-21"));
    assert_eq!(house.flags().await.into_iter().filter(|flag| flag.refused.is_some()).count(), 0);
}

fn fails_at(house: &House, fault: CampusFault, writes_only: bool, students: &[&str]) {
    let only = |student: &&str| Strike { fault, writes_only, only: Some((*student).to_owned()), times: None };
    let strikes = students.iter().map(only).collect();
    house.campus.set_faults(CampusFaults { strikes, ..CampusFaults::default() });
}

async fn work(house: &House) -> FlagWork {
    house.store().flag_work().await.unwrap().remove(0)
}

/// The others are pushed and read back in the same pass, and what changes later is too; the one is named, and tried ever more
/// seldom.
async fn one_flag_that_campus_cannot_take_stops_no_other(f: Fixture) {
    let house = House::create_new(f).await;
    let (mut starts, fine) = ("2026-08-20", ("pushed", None));
    for (status, next) in [(500, "2026-08-21"), (403, "2026-08-22")] {
        for number in 0..STUDENTS {
            house.complete(&format!("d{number}"), &number.to_string(), starts, None).await;
        }
        fails_at(&house, CampusFault::Status(status), true, &["7"]);
        house.handle_sync().await;
        let failed = ("failed", Some(format!("campus-{status} Campus does not take this flag")));
        let states = house.states().await;
        assert_eq!(states["7"], failed);
        assert_eq!(states.values().filter(|state| **state == fine).count(), STUDENTS - 1, "{states:#?}");
        let one = house.flags().await.into_iter().find(|flag| flag.student.0 == "7").unwrap();
        let told = house.told(Some(&one.id.to_string())).await;
        assert_eq!(told.last(), Some(&("failed".to_owned(), status.to_string())));
        assert_eq!(
            (work(&house).await.retry_at, house.store().flags_problem(&house.district).await.unwrap()),
            (None, None)
        );
        // Somebody else's document is not kept waiting, and nobody is busy with the one before its turn.
        let begun = house.clock.now();
        house.complete("d5", "5", next, None).await;
        house.handle_push().await;
        assert_eq!((house.shown()["5"].0, &house.states().await["5"]), (day(next), &fine));
        assert_eq!(owed(&work(&house).await, house.clock.now(), TimeDelta::zero()), None);
        let mut waits = Vec::new();
        for _ in 0..6 {
            let turn = work(&house).await.failing_due_at.expect("it is tried again by itself");
            waits.push((turn - begun).num_seconds());
            house.clock.set(turn);
            assert!(owed(&work(&house).await, turn, TimeDelta::zero()).is_some());
            let before = house.campus.stats().calls;
            house.handle_push().await;
            // It is looked for first: an answer may have been lost.
            assert!(house.campus.stats().calls - before <= 8, "it is hammered");
        }
        assert_eq!(waits, [30, 90, 210, 450, 930, 1_830], "30 s, doubled up to 15 min");
        assert_eq!(house.states().await["7"], failed);
        house.campus.set_faults(CampusFaults::default());
        house.clock.set(work(&house).await.failing_due_at.unwrap());
        house.handle_push().await;
        assert_eq!((house.shown()["7"].0, &house.states().await["7"]), (day(starts), &fine));
        assert_eq!(work(&house).await.failing_due_at, None);
        starts = next;
    }
}

/// More than look like an outage, and all of them before the others.
async fn several_flags_that_campus_cannot_take_stop_no_other_for_long(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete_all().await;
    house.settle().await;
    for number in 0..STUDENTS {
        house.complete(&format!("d{number}"), &number.to_string(), "2026-08-20", Some("2027-01-31")).await;
    }
    // By order of their ids.
    let poisoned = ["0", "1", "10", "11", "2"];
    fails_at(&house, CampusFault::Status(500), true, &poisoned);
    house.settle().await;
    let states = house.states().await;
    for (student, state) in &states {
        let is_poisoned = poisoned.contains(&student.as_str());
        assert_eq!(
            (state.0 == "failed", house.shown()[student].1.is_none()),
            (is_poisoned, is_poisoned),
            "{states:#?}"
        );
    }
    // They stay so: then it is about them, and nobody else waits.
    house.complete("d5", "5", "2026-08-20", Some("2027-02-28")).await;
    house.handle_push().await;
    assert_eq!(house.shown()["5"].1, Some(day("2027-02-28")));
    assert_eq!(
        (work(&house).await.retry_at, house.store().flags_problem(&house.district).await.unwrap()),
        (None, None)
    );
    house.campus.set_faults(CampusFaults::default());
    house.settle().await;
    assert!(house.states().await.values().all(|state| *state == ("pushed", None)));
}

/// Reads go well.
async fn writes_that_all_fail_put_the_district_off(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete_all().await;
    house.strike(CampusFault::Status(503), None);
    house.handle_sync().await;
    let begun = house.clock.now();
    assert!(house.store().flags_problem(&house.district).await.unwrap().is_some(), "it is told");
    let calls = house.campus.stats().calls;
    assert!(calls < 3 * STUDENTS as u64, "each flag's write is repeated, twice, as if no other had failed: {calls}");
    while house.clock.now() < begun + TimeDelta::hours(2) {
        let work = work(&house).await;
        let next =
            [work.retry_at, work.failing_due_at].into_iter().flatten().filter(|at| *at > house.clock.now()).min();
        house.clock.set(next.unwrap_or(house.clock.now() + TimeDelta::seconds(1)));
        house.handle_push().await;
    }
    let calls = house.campus.stats().calls - calls;
    let each = calls / STUDENTS as u64;
    assert!(each <= 60, "{each} calls for each flag: a dozen tries at most, each of two writes and a list of programs");
    house.campus.set_faults(CampusFaults::default());
    house.settle().await;
    house.assert_all_pushed().await;
}

/// Taken, and neither its id nor its student's list is answered.
async fn one_flag_that_campus_cannot_show_stops_no_other(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete_all().await;
    house.settle().await;
    let id = house.flag_of("7").id;
    let only = |about: &str| Strike {
        fault: CampusFault::Status(500),
        writes_only: false,
        only: Some(about.to_owned()),
        times: None,
    };
    let taken = |flag| Flag { state: FlagState::Accepted, verified_at: None, ..flag };
    let accepted: Vec<_> = house.flags().await.into_iter().map(taken).collect();
    house.keep(&accepted).await;
    let strikes = vec![only(&id), only("7")];
    house.campus.set_faults(CampusFaults { strikes, ..CampusFaults::default() });
    house.clock.advance(TimeDelta::hours(1));
    house.handle_push().await;
    let states = house.states().await;
    assert_eq!(states["7"], ("failed", Some("campus-500".to_owned())));
    assert_eq!(states.values().filter(|state| **state == ("pushed", None)).count(), STUDENTS - 1, "{states:#?}");
    house.campus.set_faults(CampusFaults::default());
    house.unasked_night().await;
    house.assert_all_pushed().await;
}

async fn half_a_batch_and_a_days_outage_are_made_good(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete_all().await;
    house.campus.set_faults(CampusFaults { outage_after_writes: Some(5), ..CampusFaults::default() });
    let (handler, begin) = (house.handler(), house.clock.now());
    while house.clock.now() < begin + TimeDelta::hours(24) {
        let message = Message::flag_sync(house.district.clone(), None, house.clock.now());
        assert_eq!(handler.handle(message).await, Fate::Done, "no message waits for a Campus that is away");
        let work = house.store().flag_work().await.unwrap().pop().unwrap();
        house.clock.set(work.retry_at.expect("it is put off").max(house.clock.now() + TimeDelta::seconds(1)));
    }
    assert_eq!(house.campus.flags().len(), 5);
    let states = house.states().await;
    assert!(states.values().all(|(state, _)| *state != "failed"), "an outage costs no flag: {states:#?}");
    assert!(house.store().flags_problem(&house.district).await.unwrap().is_some());
    let failed: Vec<_> = house.store().flag_ledger(&house.district, None, 10_000).await.unwrap();
    let failed: Vec<_> = failed.into_iter().filter(|line| line.action == "failed").collect();
    let flags: BTreeSet<_> = failed.iter().map(|line| &line.flag).collect();
    assert_eq!(failed.len(), flags.len(), "a day's outage is told once of each flag that was tried: {failed:#?}");
    assert!(!failed.is_empty() && failed.iter().all(|line| line.student.is_some()), "{failed:#?}");
    assert!(failed.iter().any(|line| line.answer == "503"), "{failed:#?}");
    house.campus.set_faults(CampusFaults::default());
    house.settle().await;
    house.assert_all_pushed().await;
    assert_eq!(house.store().flags_problem(&house.district).await.unwrap(), None);
}

async fn a_refused_vendor_is_told_and_tried_again(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete_all().await;
    house.campus.set_faults(CampusFaults { vendor_refused: true, ..CampusFaults::default() });
    house.handle_sync().await;
    let problem = house.store().flags_problem(&house.district).await.unwrap().unwrap();
    assert!(problem.starts_with("access-refused") && problem.contains("vendor_secret"), "{problem}");
    assert!(!problem.contains(&house.campus.config().vendor_secret));
    house.campus.set_faults(CampusFaults::default());
    house.settle().await;
    house.assert_all_pushed().await;
}

async fn a_wrong_vendor_secret_writes_nothing(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete_all().await;
    house.apply_with(&house.file, "another-secret").await;
    house.handle_sync().await;
    let problem = house.store().flags_problem(&house.district).await.unwrap().unwrap();
    assert!(problem.starts_with("access-refused") && !problem.contains("another-secret"), "{problem}");
    assert_eq!(house.shown(), BTreeMap::new());
    house.apply(&house.file).await;
    house.settle().await;
    house.assert_all_pushed().await;
}

async fn a_program_that_campus_has_not_fails_alone(f: Fixture) {
    let mut programs = program("create-new");
    let other =
        serde_json::json!({"name": "Section 504", "flags": true, "option": "create-new", "cutover": "2026-08-15"});
    programs.as_array_mut().unwrap().push(other);
    let house = House::new(f, programs).await;
    house.complete("a", "1", "2026-08-20", None).await;
    house.complete_of("Section 504", "b", "2", "2026-08-20", None).await;
    let good = house.campus.programs();
    let with = |change: &dyn Fn(&mut CampusProgramRow)| {
        let mut programs = good.clone();
        change(&mut programs[1]);
        programs
    };
    let cases = [
        ("flag-missing", with(&|program| "section 504".clone_into(&mut program.name))),
        ("flag-inactive", with(&|program| program.active = false)),
        ("flag-missing", with(&|program| program.special_ed = false)),
    ];
    for (code, programs) in cases {
        house.campus.set_programs(programs);
        house.night().await;
        let states = house.states().await;
        assert_eq!(states["1"], ("pushed", None), "{code}");
        assert!(states["2"].0 == "failed" && states["2"].1.as_ref().unwrap().starts_with(code), "{states:?}");
        assert_eq!(house.shown().len(), 1);
    }
    house.campus.set_programs(good);
    house.night().await;
    assert_eq!(house.shown().len(), 2);
}

async fn a_flag_whose_answer_was_lost_is_ended_all_the_same(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete("a", "1", "2026-08-20", None).await;
    house.strike(CampusFault::LostAnswer, None);
    house.handle_sync().await;
    assert_eq!(house.shown()["1"].1, None, "Campus has it");
    assert_eq!(house.flags().await[0].pushed, None, "and we do not know");
    house.complete("b", "2", "2026-08-20", None).await;
    house.clock.advance(TimeDelta::hours(1));
    house.handle_sync().await;
    let found = house.flags().await.into_iter().find(|flag| flag.student.0 == "1").unwrap();
    assert!(house.told(Some(&found.id.to_string())).await.contains(&("found".to_owned(), "as-wished".to_owned())));
    house.withdraw("a").await;
    house.campus.set_faults(CampusFaults::default());
    house.settle().await;
    assert_eq!(house.shown()["1"].1, Some(day("2026-08-31")));
}

/// What Campus says of one flag, asked by its id, keeps no other from being read back.
async fn a_flag_that_campus_will_not_show_by_its_id_is_read_back_all_the_same(f: Fixture) {
    let house = House::create_new(f).await;
    for (one, two, status) in [("1", "2", 404), ("3", "4", 410), ("5", "6", 400)] {
        let taken = house.campus.stats().writes + 2;
        house.campus.set_faults(CampusFaults { outage_after_writes: Some(taken), ..CampusFaults::default() });
        house.complete(&format!("d{one}"), one, "2026-08-20", None).await;
        house.complete(&format!("d{two}"), two, "2026-08-20", None).await;
        house.handle_sync().await;
        let only = Some(house.flag_of(one).id);
        let strikes = vec![Strike { fault: CampusFault::Status(status), writes_only: false, only, times: None }];
        house.campus.set_faults(CampusFaults { strikes, ..CampusFaults::default() });
        house.settle().await;
        let states = house.states().await;
        assert!(states.values().all(|state| *state == ("pushed", None)), "{status}: {states:#?}");
    }
    assert_eq!(house.campus.stats().writes, 6, "and none is sent again");
}

/// Campus took it, as far as Campus knows.
async fn what_staff_type_onto_a_flag_whose_answer_was_lost_stays(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete("d3", "3", "2026-08-20", None).await;
    house.strike(CampusFault::LostAnswer, None);
    house.handle_sync().await;
    let flag = house.flags().await.pop().unwrap();
    assert!(flag.pushed.is_none() && flag.due, "{flag:?}");
    house.campus.type_in(CampusFlag { comment: Some("User Warning".to_owned()), ..house.flag_of("3") });
    house.campus.set_faults(CampusFaults::default());
    house.settle().await;
    assert_eq!(house.states().await["3"], ("pushed", None));
    assert_eq!(house.flag_of("3").comment.as_deref(), Some("User Warning"));
}
