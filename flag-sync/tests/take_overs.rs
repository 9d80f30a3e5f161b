//! Taking over existing flags of a Campus over real HTTP, on both engines: what was approved ends, once, and nothing else.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

#[path = "../../store/tests/common/mod.rs"]
mod common;
mod house;
#[path = "../../store/tests/roster_support/mod.rs"]
mod roster_support;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use chrono::TimeDelta;
use common::{Fixture, day};
use house::{House, SPED, STUDENTS, in_campus, program};
use rollcall_flag_sync::{FlagHandler, FlagSyncConfig, approve, plan_take_overs, reconcile::owed};
use rollcall_proto::{
    clock::Clock as _,
    handler::{Fate, Handler as _},
    id::RunId,
    message::{Body, FlagPush, Message, StudentEvent},
    roster::{Status, Student},
    topology::Queue,
};
use rollcall_sandbox::{CampusConfig, CampusFault, CampusFaults, CampusFlag, CampusProgramRow, Strike};
use rollcall_store::{
    district::{CutoverOption, OnDrift},
    flag::{Flag, FlagState, TakeOverPlan, TakeOverRefused, TakeOverState},
};
use roster_support::{applied, change, changed, gone, id};
use uuid::Uuid;

on_both_engines! {
    what_is_approved_is_what_was_looked_at,
    a_look_at_a_plan_changes_nothing_and_waits_for_nobody,
    an_approval_waits_for_whoever_is_at_work,
    an_approval_ahead_waits_for_its_day,
    a_take_over_ends_what_was_approved_and_nothing_else,
    a_take_over_goes_on_after_an_outage,
    a_take_over_killed_at_any_moment,
    a_take_over_that_only_was_not_said_to_be_done_is_done_soon,
    each_old_flag_ends_once_whatever_goes_wrong,
    two_workers_take_over_once,
    an_old_flag_stays_until_the_new_one_is_there,
    an_old_flag_stays_while_its_new_one_is_asked_for_again,
    an_old_flag_stays_where_staff_deleted_the_new_one,
    a_take_over_compares_all_before_it_ends_any,
    a_student_who_leaves_after_the_approval_keeps_the_old_flag,
    a_take_over_on_another_day_is_approved_anew,
    an_old_flag_that_is_not_found_once_is_ended_all_the_same,
    an_old_flag_that_cannot_be_ended_is_sent_once,
    an_old_flag_that_campus_fails_at_keeps_no_other_open,
    a_switch_stops_a_take_over_under_way,
    a_program_that_fails_ends_no_old_flag,
    a_take_over_whose_time_is_up_goes_on_with_what_has_not_waited_yet,
    an_old_flag_that_staff_gave_to_another_stays,
    an_old_flag_of_what_may_be_the_same_waits_until_it_is_clear,
    an_old_flag_that_campus_refuses_to_tell_of_is_not_gone,
    an_old_flag_that_a_short_list_lacks_is_not_gone,
    an_old_flag_that_was_deleted_is_gone_though_lists_are_short,
    a_plan_of_a_short_list_says_so,
    a_plan_of_several_programs_reads_them_once,
    an_old_flag_under_a_students_other_id_waits_for_the_new_one,
    a_flag_of_ours_is_ours_under_its_programs_other_name,
}

async fn what_is_approved_is_what_was_looked_at(f: Fixture) {
    let house = House::new(f, program("take-over")).await;
    house.complete("a", "0", "2026-01-01", None).await;
    old_flags(&house);
    let seen = house.plan().await;
    assert_eq!((seen.to_end.len(), seen.without_new, seen.state), (4, 3, TakeOverState::AwaitingApproval));
    assert_eq!(house.plan().await, seen, "looking again shows the same");
    let unseen = TakeOverRefused::NotShown { program: SPED.to_owned(), now: seen.hash.clone() };
    assert_eq!(house.try_approve(&[]).await, Err(unseen), "nobody was shown anything");
    house.show().await;
    house.typed_in("old-more", "5", "2024-01-01", None);
    let now = house.plan().await.hash;
    let unseen = TakeOverRefused::NotShown { program: SPED.to_owned(), now: now.clone() };
    assert_eq!(house.try_approve(&[]).await, Err(unseen), "and this nobody was shown either");
    let changed = TakeOverRefused::PlanChanged { program: SPED.to_owned(), now: now.clone() };
    assert_eq!(house.try_approve(std::slice::from_ref(&seen.hash)).await, Err(changed));
    assert_eq!(house.store().cutovers(&house.district).await.unwrap(), [], "nothing was approved");
    let approved = house.try_approve(std::slice::from_ref(&now)).await.unwrap().remove(0);
    assert_eq!((approved.to_end, approved.hash.as_str(), approved.again), (5, now.as_str(), false));
    // The answer was lost; meanwhile the flags are ended.
    house.night().await;
    let again = house.try_approve(std::slice::from_ref(&now)).await.unwrap().remove(0);
    assert_eq!((again.to_end, again.hash.as_str(), again.again), (5, now.as_str(), true));
    assert_eq!(house.try_approve(&[]).await, Err(TakeOverRefused::Approved(SPED.to_owned())));
    assert_eq!(house.plan().await.state, TakeOverState::Done);
    let trail = house.store().audit_trail(&house.district, 10).await.unwrap();
    assert_eq!(trail.iter().filter(|entry| entry.action == "flags.approve").count(), 1);
    let other = plan_take_overs(&house.context(), &house.district, Some("Section 504")).await.unwrap();
    assert_eq!(other, Err(TakeOverRefused::NoProgram("Section 504".to_owned())));
}

/// A worker has the district's flags in hand meanwhile.
async fn a_look_at_a_plan_changes_nothing_and_waits_for_nobody(f: Fixture) {
    let house = House::new(f, program("take-over")).await;
    house.complete("a", "0", "2026-01-01", None).await;
    old_flags(&house);
    let (worker, now) = (Uuid::now_v7(), house.clock.now());
    assert!(house.store().claim_flags(&house.district, worker, now, now + TimeDelta::minutes(1)).await.unwrap());
    let plan = house.plan().await;
    assert_eq!((plan.to_end.len(), plan.without_new), (4, 3), "the document counts");
    assert_eq!(house.participations().await, [], "and nothing is kept of it");
    house.store().release_flags(&house.district, worker).await.unwrap();
    house.show().await;
    house.try_approve(&[]).await.unwrap();
    assert_eq!(house.participations().await, []);
    house.night().await;
    assert_eq!(house.participations().await.len(), 1);
    let ended = house.old().into_values().filter(|end| *end == Some(day("2026-08-14")));
    assert_eq!(ended.count(), 5, "the four, and one that had ended so before");
}

async fn an_approval_waits_for_whoever_is_at_work(f: Fixture) {
    let house = House::new(f, program("take-over")).await;
    house.typed_in("old-0", "0", "2024-01-01", None);
    let (worker, now) = (Uuid::now_v7(), house.clock.now());
    assert!(house.store().claim_flags(&house.district, worker, now, now + TimeDelta::minutes(1)).await.unwrap());
    house.show().await;
    assert_eq!(house.try_approve(&[]).await, Err(TakeOverRefused::Busy));
    assert!(house.store().renew_flags(&house.district, worker, now + TimeDelta::minutes(1)).await.unwrap());
    house.store().release_flags(&house.district, worker).await.unwrap();
    house.approve().await;
    assert!(!house.store().renew_flags(&house.district, worker, now).await.unwrap(), "it is nobody's");
    house.night().await;
    assert_eq!(house.old()["old-0"], Some(day("2026-08-14")));
}

async fn an_old_flag_that_cannot_be_ended_is_sent_once(f: Fixture) {
    let house = House::new(f, program("take-over")).await;
    house.typed_in("old-0", "0", "2024-01-01", None);
    house.approve().await;
    house.strike(CampusFault::Status(422), None);
    house.settle().await;
    let told = async || house.store().flag_ledger(&house.district, None, 100).await.unwrap().len();
    let before = told().await;
    house.unasked_night().await;
    house.unasked_night().await;
    assert_eq!((told().await, house.old()["old-0"]), (before, None));
    house.campus.set_faults(CampusFaults::default());
    house.night().await;
    assert_eq!(house.old()["old-0"], Some(day("2026-08-14")), "a person asked");
}

/// Eight old flags: of students with and without a new one, and of all the kinds that must not be touched.
fn old_flags(house: &House) {
    house.typed_in("old-0", "0", "2024-01-01", None);
    house.typed_in("old-1", "1", "2024-01-01", Some("2027-01-01"));
    house.typed_in("old-2", "2", "2026-08-14", Some("2026-08-15"));
    house.typed_in("old-unknown", "999", "2024-01-01", None);
    house.typed_in("old-ended", "3", "2024-01-01", Some("2026-08-14"));
    house.typed_in("old-later", "4", "2026-08-15", None);
}

/// Nobody has to ask on the day itself.
async fn an_approval_ahead_waits_for_its_day(f: Fixture) {
    let mut programs = program("take-over");
    programs[0]["cutover"] = "2026-09-03".into();
    let house = House::new(f, programs).await;
    house.complete("a", "0", "2026-01-01", None).await;
    house.typed_in("old-0", "0", "2024-01-01", None);
    house.typed_in("old-1", "1", "2024-01-01", None);
    house.approve().await;
    house.night().await;
    // The last minute before the day, where the district is.
    house.clock.set("2026-09-03T04:59:00Z".parse().unwrap());
    house.handle_sync().await;
    house.settle().await;
    assert_eq!(house.campus.stats().writes, 0);
    house.clock.set("2026-09-03T13:00:00Z".parse().unwrap());
    house.settle().await;
    let last = Some(day("2026-09-02"));
    assert_eq!(house.old(), BTreeMap::from([("old-0".to_owned(), last), ("old-1".to_owned(), last)]));
    let ours = house.campus.flags().into_iter().find(|flag| flag.link.is_some()).unwrap();
    assert_eq!((ours.student.as_str(), ours.begins, ours.ends), ("0", day("2026-09-03"), None));
}

async fn a_take_over_ends_what_was_approved_and_nothing_else(f: Fixture) {
    let house = House::new(f, program("take-over")).await;
    house.complete("a", "0", "2026-01-01", None).await;
    house.complete("b", "1", "2026-08-20", None).await;
    old_flags(&house);
    let before = house.old();
    house.settle().await;
    assert_eq!(house.old(), before, "nothing happens before a person approves");
    assert_eq!(house.states().await["0"], ("wanted", Some("awaiting-approval".to_owned())));
    let found = house.plan().await;
    let to_end: Vec<_> = found.to_end.iter().map(|flag| flag.flag.as_str()).collect();
    assert_eq!(to_end, ["old-0", "old-1", "old-2", "old-unknown"]);
    assert_eq!(found.without_new, 2);
    assert!(found.warnings.iter().any(|text| text.starts_with("high-share")), "{:?}", found.warnings);
    assert_eq!(found.warnings.len(), 1, "a document began before the district came: {:?}", found.warnings);

    house.approve().await;
    house.typed_in("old-typed-in-later", "5", "2024-01-01", None);
    house.night().await;
    let last = Some(day("2026-08-14"));
    let expected = BTreeMap::from([
        ("old-0", last),
        ("old-1", last),
        ("old-2", last),
        ("old-unknown", last),
        ("old-ended", last),
        ("old-later", None),
        ("old-typed-in-later", None),
    ]);
    assert_eq!(house.old(), expected.into_iter().map(|(id, end)| (id.to_owned(), end)).collect());
    let ours: BTreeMap<_, _> = house
        .campus
        .flags()
        .into_iter()
        .filter(|flag| flag.link.is_some())
        .map(|flag| (flag.student, (flag.begins, flag.ends)))
        .collect();
    let expected = [("0", day("2026-08-15")), ("1", day("2026-08-20"))];
    assert_eq!(ours, expected.map(|(student, begins)| (student.to_owned(), (begins, None))).into());
    let kept = house.campus.flags().into_iter().find(|flag| flag.id == "old-0").unwrap();
    assert_eq!(kept.comment.as_deref(), Some("call first"), "all else stays");
    let cutover = house.store().cutovers(&house.district).await.unwrap().remove(0);
    assert!(cutover.done_at.is_some());
    let ledger = house.store().flag_ledger(&house.district, None, 1_000).await.unwrap();
    let whose = |flag: &str| {
        let lines = ledger.iter().filter(|line| line.flag == flag);
        lines.map(|line| (line.action.as_str(), line.student.clone())).collect::<Vec<_>>()
    };
    assert_eq!(whose("old-2"), [("take-over", Some(id("2"))), ("approve", Some(id("2")))]);
    assert_eq!(whose("old-unknown"), [("take-over", None), ("approve", None)], "the roster has no such student");
    // Once: one opened again by hand afterwards is somebody's business.
    house.typed_in("old-0", "0", "2024-01-01", None);
    house.night().await;
    assert_eq!(house.old()["old-0"], None);
}

async fn a_take_over_goes_on_after_an_outage(f: Fixture) {
    let house = House::new(f, program("take-over")).await;
    house.complete("a", "0", "2026-01-01", None).await;
    old_flags(&house);
    house.approve().await;
    // The new flag, and two of the four old ones.
    house.campus.set_faults(CampusFaults { outage_after_writes: Some(3), ..CampusFaults::default() });
    house.store().ask_for_flags(&house.district, "test", house.clock.now()).await.unwrap();
    house.handle_sync().await;
    let open = house.store().cutover_flags(&house.district, SPED, true, 10).await.unwrap();
    assert!((2..=3).contains(&open.len()), "it stopped half-way: {open:?}");
    house.typed_in("old-typed-in-later", "5", "2024-01-01", None);
    house.campus.set_faults(CampusFaults { outage: true, ..CampusFaults::default() });
    house.campus.set_faults(CampusFaults::default());
    house.night().await;
    assert!(house.store().cutovers(&house.district).await.unwrap()[0].done_at.is_some());
    let still_open: Vec<_> =
        house.old().into_iter().filter(|(_, end)| end.is_none_or(|end| end > day("2026-08-14"))).collect();
    assert_eq!(still_open, [("old-later".to_owned(), None), ("old-typed-in-later".to_owned(), None)]);
    let ledger = house.store().flag_ledger(&house.district, None, 100).await.unwrap();
    assert_eq!(ledger.iter().filter(|line| line.action == "take-over").count(), 4, "each is told once");
}

/// Every student has an old flag, every second one a document.
async fn half_go_on(house: &House) {
    for number in 0..STUDENTS {
        house.typed_in(&format!("old-{number}"), &number.to_string(), "2024-01-01", None);
    }
    for number in (0..STUDENTS).step_by(2) {
        house.complete(&format!("d{number}"), &number.to_string(), "2026-01-01", None).await;
    }
}

/// Students whom Campus shows with an open flag.
fn with_open_flag(house: &House) -> BTreeSet<String> {
    house.campus.flags().into_iter().filter(|flag| flag.ends.is_none()).map(|flag| flag.student).collect()
}

/// All that was approved is ended and told once; whoever goes on has one new flag; what was typed in since is open.
async fn assert_taken_over(house: &House, typed_in: &[&str]) {
    let last = Some(day("2026-08-14"));
    let approved = (0..STUDENTS).map(|number| (format!("old-{number}"), last));
    let since = typed_in.iter().map(|name| ((*name).to_owned(), None));
    assert_eq!(house.old(), approved.chain(since).collect());
    let flags = house.campus.flags().into_iter().filter(|flag| !flag.id.starts_with("old"));
    let ours: Vec<_> = flags.map(|flag| (flag.student, flag.begins, flag.ends)).collect();
    let students: BTreeSet<_> = ours.iter().map(|(student, ..)| student.clone()).collect();
    assert_eq!(students, (0..STUDENTS).step_by(2).map(|number| number.to_string()).collect());
    assert_eq!(ours.len(), students.len(), "a flag is doubled: {ours:#?}");
    assert!(ours.iter().all(|(_, begins, ends)| (*begins, *ends) == (day("2026-08-15"), None)), "{ours:#?}");
    let ledger = house.store().flag_ledger(&house.district, None, 1_000).await.unwrap();
    let told = ledger.iter().filter(|line| line.action == "take-over" && line.answer == "ended");
    let told: Vec<_> = told.map(|line| line.flag.clone()).collect();
    let each: BTreeSet<_> = told.iter().cloned().collect();
    assert_eq!((told.len(), each.len()), (STUDENTS, STUDENTS), "each is told once: {told:#?}");
    assert!(house.store().cutovers(&house.district).await.unwrap()[0].done_at.is_some());
}

/// The future is dropped wherever it stands, as a process that is killed. Whoever goes on is never without a flag.
async fn a_take_over_killed_at_any_moment(f: Fixture) {
    let house = House::new(f, program("take-over")).await;
    half_go_on(&house).await;
    house.approve().await;
    let going_on: BTreeSet<_> = (0..STUDENTS).step_by(2).map(|number| number.to_string()).collect();
    let mut random = fastrand::Rng::with_seed(11);
    let mut half_way = 0;
    house.store().ask_for_flags(&house.district, "test", house.clock.now()).await.unwrap();
    for kill in 1..60 {
        // Whoever was killed has the district until the lease is over.
        house.clock.advance(TimeDelta::minutes(2));
        let work = house.store().flag_work().await.unwrap().pop().unwrap();
        let body = owed(&work, house.clock.now(), TimeDelta::zero()).unwrap_or(Body::FlagPush(FlagPush {}));
        let message = Message::new(house.district.clone(), RunId(Uuid::now_v7()), house.clock.now(), body);
        // Counted in requests: how far that is does not depend on how busy the machine is.
        let (handler, last) = (house.handler(), house.campus.stats().calls + random.u64(1..25));
        let dies = async {
            while house.campus.stats().calls < last {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            () = dies => {}
            _ = handler.handle(message) => {}
        }
        assert!(with_open_flag(&house).is_superset(&going_on), "somebody is without a flag after kill {kill}");
        let open = house.store().cutover_flags(&house.district, SPED, true, 100).await.unwrap().len();
        half_way += usize::from((1..STUDENTS).contains(&open));
        if kill == 5 {
            house.typed_in("old-typed-in-later", "99", "2024-01-01", None);
        }
    }
    house.clock.advance(TimeDelta::minutes(2));
    house.night().await;
    assert_taken_over(&house, &["old-typed-in-later"]).await;
    assert!(half_way > 0, "no kill came half-way through the old flags");
}

async fn each_old_flag_ends_once_whatever_goes_wrong(f: Fixture) {
    let house = House::new(f, program("take-over")).await;
    half_go_on(&house).await;
    house.approve().await;
    let faults = [
        CampusFault::LostAnswer,
        CampusFault::Status(401),
        CampusFault::Status(404),
        CampusFault::Status(408),
        CampusFault::Status(409),
        CampusFault::TooMany(600),
        CampusFault::Status(500),
        CampusFault::Status(503),
    ];
    let strike = |(number, fault): (usize, CampusFault)| Strike {
        fault,
        writes_only: true,
        only: Some(format!("old-{number}")),
        // More than are tried at once.
        times: Some(3),
    };
    let strikes = faults.into_iter().enumerate().map(strike).collect();
    house.campus.set_faults(CampusFaults { strikes, ..CampusFaults::default() });
    for _ in 0..4 {
        house.unasked_night().await;
    }
    assert_taken_over(&house, &[]).await;
}

/// Whoever ended the last flag died before it could say that all are.
async fn a_take_over_that_only_was_not_said_to_be_done_is_done_soon(f: Fixture) {
    let house = House::new(f, program("take-over")).await;
    let is_done = async || house.store().cutovers(&house.district).await.unwrap()[0].done_at.is_some();
    let owed_on = async || house.store().flag_work().await.unwrap()[0].take_over_on;
    let undone = "UPDATE cutover SET done_at = NULL WHERE district = $1";
    old_flags(&house);
    house.approve().await;
    house.handle_sync().await;
    let flags = house.store().cutover_flags(&house.district, SPED, false, 10).await.unwrap();
    assert!(flags.len() == 4 && flags.iter().all(|flag| flag.done_at.is_some()) && is_done().await, "{flags:?}");
    assert_eq!(owed_on().await, None);
    change(&house.f, &house.district, undone).await;
    assert!(!is_done().await);
    assert_eq!(owed_on().await, Some(day("2026-08-15")), "no night has to come first");
    house.clock.advance(TimeDelta::hours(1));
    house.settle().await;
    assert!(is_done().await);

    // Switched off meanwhile, it keeps nobody busy.
    change(&house.f, &house.district, undone).await;
    let mut off = house.file.clone();
    off.programs[0].option = Some(CutoverOption::CreateNew);
    house.apply(&off).await;
    house.unasked_night().await;
    assert_eq!((is_done().await, owed_on().await), (true, None));
}

async fn two_workers_take_over_once(f: Fixture) {
    let house = House::new(f, program("take-over")).await;
    half_go_on(&house).await;
    house.approve().await;
    house.two_workers().await;
    assert_taken_over(&house, &[]).await;
    let expected = STUDENTS + STUDENTS / 2;
    assert_eq!(house.campus.stats().writes, expected as u64, "none was sent twice");
}

async fn an_old_flag_stays_until_the_new_one_is_there(f: Fixture) {
    let house = House::new(f, program("take-over")).await;
    house.complete("a", "0", "2026-01-01", None).await;
    house.typed_in("old-0", "0", "2024-01-01", None);
    house.approve().await;
    let id = house.flags().await.first().map(|flag| flag.id.to_string());
    assert_eq!(id, None, "nothing was compared yet");
    let strikes =
        vec![Strike { fault: CampusFault::Status(422), writes_only: true, only: Some("0".to_owned()), times: Some(1) }];
    house.campus.set_faults(CampusFaults { strikes, ..CampusFaults::default() });
    house.night().await;
    assert_eq!(house.states().await["0"], ("failed", Some("campus-422".to_owned())));
    assert_eq!(house.old()["old-0"], None, "no child is left without a flag");
    assert!(house.store().cutovers(&house.district).await.unwrap()[0].done_at.is_none());
    house.night().await;
    assert_eq!(house.old()["old-0"], Some(day("2026-08-14")));
    assert!(house.store().cutovers(&house.district).await.unwrap()[0].done_at.is_some());
}

/// Taken and not shown, and then asked for by a person: the new one is no more there for it.
async fn an_old_flag_stays_while_its_new_one_is_asked_for_again(f: Fixture) {
    let house = House::new(f, program("take-over")).await;
    house.complete("a", "0", "2026-01-01", None).await;
    house.typed_in("old-0", "0", "2024-01-01", None);
    house.approve().await;
    let refuse = |about: String, times| {
        let refused = Strike { fault: CampusFault::Status(422), writes_only: true, only: Some(about), times };
        house.campus.set_faults(CampusFaults { strikes: vec![refused], ..CampusFaults::default() });
    };
    refuse("0".to_owned(), Some(1));
    house.night().await;
    let flag = house.flags().await.remove(0);
    refuse(flag.id.to_string(), None);
    let not_shown = Flag { reason: Some("not-read-back".to_owned()), refused: None, ..flag };
    assert_eq!(not_shown.state, FlagState::Failed);
    house.keep(&[not_shown]).await;
    house.clock.advance(TimeDelta::hours(1));
    house.store().ask_for_program_flags(&house.district, SPED, "test", house.clock.now()).await.unwrap();
    house.settle().await;
    assert_eq!((house.states().await["0"].0, house.old()["old-0"]), ("failed", None));
    house.campus.set_faults(CampusFaults::default());
    house.night().await;
    assert_eq!((house.states().await["0"].0, house.old()["old-0"]), ("pushed", Some(day("2026-08-14"))));
}

/// Read back, and deleted while Campus failed to end the old one: of a student who attends, and of one who left.
async fn an_old_flag_stays_where_staff_deleted_the_new_one(f: Fixture) {
    let house = House::new(f, program("take-over")).await;
    for student in ["0", "1"] {
        house.complete(&format!("d{student}"), student, "2026-01-01", None).await;
        house.typed_in(&format!("old-{student}"), student, "2024-01-01", None);
    }
    house.approve().await;
    let fails = |only: &str| Strike {
        fault: CampusFault::Status(500),
        writes_only: true,
        only: Some(only.to_owned()),
        times: None,
    };
    let strikes = vec![fails("old-0"), fails("old-1")];
    house.campus.set_faults(CampusFaults { strikes, ..CampusFaults::default() });
    house.night().await;
    assert!(house.states().await.values().all(|state| *state == ("pushed", None)), "{:?}", house.states().await);
    assert_eq!(outcomes(&house).await, ["old-0 sis-error", "old-1 sis-error"]);
    for flag in house.campus.flags().into_iter().filter(|flag| flag.link.is_some()) {
        house.campus.delete(&flag.id);
    }
    applied(house.store(), &house.district, 2, vec![gone("1")]).await;
    house.night().await;
    house.campus.set_faults(CampusFaults::default());
    house.night().await;
    let deleted = ("drift", Some("deleted".to_owned()));
    assert_eq!(house.states().await, ["0", "1"].map(|student| (student.to_owned(), deleted.clone())).into());
    let last = Some(day("2026-08-14"));
    let ends = |one, two| BTreeMap::from([("old-0".to_owned(), one), ("old-1".to_owned(), two)]);
    assert_eq!(house.old(), ends(None, None), "no child is left without a flag");
    assert_eq!(outcomes(&house).await, ["old-0 waits-for-new", "old-1 waits-for-new"]);
    // One has the new one again, and of the other the participation ends.
    let mut restoring = house.file.clone();
    restoring.programs[0].on_drift = OnDrift::Restore;
    house.apply(&restoring).await;
    house.night().await;
    assert_eq!((house.old(), house.states().await["0"].0), (ends(last, None), "pushed"));
    house.complete("d1", "1", "2026-01-01", Some("2026-08-31")).await;
    house.night().await;
    assert_eq!(house.old(), ends(last, last));
}

/// What was compared before the approval holds nothing back afterwards, also where only one student's message comes.
async fn a_take_over_compares_all_before_it_ends_any(f: Fixture) {
    let house = House::new(f, program("take-over")).await;
    house.complete("a", "0", "2026-01-01", None).await;
    house.typed_in("old-0", "0", "2024-01-01", None);
    house.night().await;
    assert_eq!(house.states().await["0"], ("wanted", Some("awaiting-approval".to_owned())));
    house.clock.advance(TimeDelta::seconds(1));
    house.approve().await;
    house.strike(CampusFault::Status(422), Some(1));
    let message = || Message::flag_sync(house.district.clone(), Some(id("5")), house.clock.now());
    assert_eq!(house.handler().handle(message()).await, Fate::Done);
    assert_eq!(house.old()["old-0"], None, "its new flag was not even compared");
    assert!(house.flags().await[0].due, "by now it was");
    house.clock.advance(TimeDelta::seconds(1));
    assert_eq!(house.handler().handle(message()).await, Fate::Done);
    assert_eq!(house.states().await["0"].0, "failed");
    assert_eq!(house.old()["old-0"], None);
    assert_eq!(house.store().flag_work().await.unwrap()[0].take_over_on, None, "one that waits keeps nobody busy");
    house.night().await;
    assert_eq!(house.old()["old-0"], Some(day("2026-08-14")));
}

/// By what was approved they were to get a new one: a status ends no flag. Whoever had left before was counted as ending.
async fn a_student_who_leaves_after_the_approval_keeps_the_old_flag(f: Fixture) {
    let house = House::new(f, program("take-over")).await;
    applied(house.store(), &house.district, 2, vec![gone("3")]).await;
    for student in ["0", "1", "2", "3"] {
        house.typed_in(&format!("old-{student}"), student, "2024-01-01", None);
        house.complete(&format!("d{student}"), student, "2026-01-01", None).await;
    }
    house.typed_in("old-4", "4", "2024-01-01", None);
    let plan = house.plan().await;
    assert_eq!((plan.to_end.len(), plan.without_new), (5, 2));
    house.approve().await;
    applied(house.store(), &house.district, 3, vec![gone("1"), gone("2")]).await;
    house.night().await;
    house.unasked_night().await;
    let last = Some(day("2026-08-14"));
    let ends = |one, two| {
        let all = [("old-0", last), ("old-1", one), ("old-2", two), ("old-3", last), ("old-4", last)];
        all.map(|(name, end)| (name.to_owned(), end)).into_iter().collect::<BTreeMap<_, _>>()
    };
    assert_eq!(house.old(), ends(None, None), "as many end without a new one as were approved");
    assert_eq!(house.states().await["1"], ("wanted", Some("not-enrolled".to_owned())));
    let done = async || house.store().cutovers(&house.district).await.unwrap()[0].done_at.is_some();
    assert!(!done().await);
    assert_eq!(house.store().flag_work().await.unwrap()[0].take_over_on, None, "one that waits keeps nobody busy");
    // One comes back, and of the other the participation ends.
    let back = StudentEvent { from: Some(Status::Inactive), ..changed(in_campus(1)) };
    applied(house.store(), &house.district, 4, vec![back]).await;
    house.complete("d2", "2", "2026-01-01", Some("2026-08-31")).await;
    house.unasked_night().await;
    assert_eq!(house.old(), ends(last, last));
    let new: BTreeSet<_> = with_open_flag(&house);
    assert_eq!(new, ["0", "1"].map(str::to_owned).into());
    assert!(done().await);
}

async fn a_take_over_on_another_day_is_approved_anew(f: Fixture) {
    let house = House::new(f, program("take-over")).await;
    house.complete("a", "0", "2026-01-01", None).await;
    house.typed_in("old-0", "0", "2024-01-01", None);
    house.approve().await;
    let mut moved = house.file.clone();
    moved.programs[0].cutover = Some(day("2026-08-20"));
    house.apply(&moved).await;
    house.night().await;
    assert_eq!(house.states().await["0"], ("wanted", Some("awaiting-approval".to_owned())));
    assert_eq!(house.old()["old-0"], None, "that day was approved by nobody");
    house.approve().await;
    house.night().await;
    assert_eq!(house.old()["old-0"], Some(day("2026-08-19")));
    moved.programs[0].cutover = Some(day("2026-08-25"));
    house.apply(&moved).await;
    house.show().await;
    let refused = house.try_approve(&[]).await;
    assert_eq!(refused, Err(TakeOverRefused::Approved(SPED.to_owned())), "one is ended: the day stays");
}

async fn an_old_flag_that_is_not_found_once_is_ended_all_the_same(f: Fixture) {
    let house = House::new(f, program("take-over")).await;
    house.typed_in("old-0", "0", "2024-01-01", None);
    house.typed_in("old-1", "1", "2024-01-01", None);
    house.approve().await;
    house.campus.delete("old-1");
    let only = Some("old-0".to_owned());
    let strikes = vec![Strike { fault: CampusFault::Status(404), writes_only: false, only, times: Some(1) }];
    house.campus.set_faults(CampusFaults { strikes, ..CampusFaults::default() });
    house.night().await;
    assert_eq!(house.old()["old-0"], Some(day("2026-08-14")));
    let flags = house.store().cutover_flags(&house.district, SPED, false, 10).await.unwrap();
    let outcomes: Vec<_> = flags.iter().map(|flag| (flag.flag.as_str(), flag.outcome.as_deref())).collect();
    assert_eq!(outcomes, [("old-0", Some("ended")), ("old-1", Some("gone"))]);
}

/// Neither of its program nor of another.
async fn an_old_flag_that_campus_fails_at_keeps_no_other_open(f: Fixture) {
    let mut programs = program("take-over");
    let mut other = programs[0].clone();
    other["name"] = "Section 504".into();
    programs.as_array_mut().unwrap().push(other);
    let house = House::new(f, programs).await;
    for name in ["old-0", "old-1", "old-2"] {
        house.typed_in(name, "1", "2024-01-01", None);
    }
    let of_other = house.campus.flags().remove(0);
    house.campus.type_in(CampusFlag { id: "old-of-other".to_owned(), program: "102".to_owned(), ..of_other });
    house.approve().await;
    let context = house.context();
    let plans = plan_take_overs(&context, &house.district, Some("Section 504")).await.unwrap().unwrap();
    let looked_at = [plans[0].hash.clone()];
    approve(&context, &house.district, Some("Section 504"), &looked_at, "ops").await.unwrap().unwrap();
    let only = |status, times| Strike {
        fault: CampusFault::Status(status),
        writes_only: true,
        only: Some("old-0".to_owned()),
        times,
    };
    let strikes = vec![only(403, Some(1)), only(500, None)];
    house.campus.set_faults(CampusFaults { strikes, ..CampusFaults::default() });
    // All are compared, and then taken over.
    house.handle_sync().await;
    house.handle_push().await;
    let last = Some(day("2026-08-14"));
    let ends = |end| {
        let all = [("old-0", end), ("old-1", last), ("old-2", last), ("old-of-other", last)];
        all.map(|(name, end)| (name.to_owned(), end)).into_iter().collect::<BTreeMap<_, _>>()
    };
    assert_eq!(house.old(), ends(None));
    let flags = house.store().cutover_flags(&house.district, SPED, true, 10).await.unwrap();
    assert_eq!(flags[0].outcome.as_deref(), Some("sis-error"), "nobody is kept busy by it");
    let work = async || house.store().flag_work().await.unwrap().remove(0);
    assert_eq!((work().await.retry_at, owed(&work().await, house.clock.now(), TimeDelta::zero())), (None, None));
    // It is tried again by itself, later each time.
    let begun = house.clock.now();
    let mut waits = Vec::new();
    for _ in 0..4 {
        house.clock.set(work().await.failing_due_at.unwrap());
        waits.push((house.clock.now() - begun).num_seconds());
        house.handle_push().await;
    }
    assert_eq!((house.old(), waits), (ends(None), vec![30, 90, 210, 450]));
    house.campus.set_faults(CampusFaults::default());
    house.settle().await;
    assert_eq!(house.old(), ends(last));
    assert_eq!(work().await.failing_due_at, None);
    assert!(house.store().cutovers(&house.district).await.unwrap().iter().all(|one| one.done_at.is_some()));
}

async fn a_switch_stops_a_take_over_under_way(f: Fixture) {
    let config = CampusConfig { latency_ms: 250, ..CampusConfig::default() };
    let mut programs = program("take-over");
    let other =
        serde_json::json!({"name": "Section 504", "flags": true, "option": "create-new", "cutover": "2026-08-15"});
    programs.as_array_mut().unwrap().push(other);
    let house = House::with(f, programs, config).await;
    for number in 0..STUDENTS {
        house.typed_in(&format!("old-{number}"), &number.to_string(), "2024-01-01", None);
    }
    house.approve().await;
    let handler = house.handler();
    let message = Message::flag_sync(house.district.clone(), None, house.clock.now());
    let ends = || house.old().values().filter(|end| end.is_some()).count();
    let take_over = tokio::spawn(async move { handler.handle(message).await });
    let began = tokio::time::Instant::now();
    while ends() == 0 {
        assert!(began.elapsed() < Duration::from_mins(1), "nothing is ended");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut off = house.file.clone();
    off.programs[0].flags = false;
    house.apply(&off).await;
    assert_eq!(take_over.await.unwrap(), Fate::Done);
    assert!(ends() < STUDENTS, "it went on to the end");
    let writes = house.campus.stats().writes;
    house.unasked_night().await;
    assert_eq!(house.campus.stats().writes, writes, "off is off");
    house.apply(&house.file).await;
    house.night().await;
    assert_eq!(ends(), STUDENTS, "on again, it goes on");
}

/// To another program or student, after the approval; and one of a program that was made anew ends all the same.
async fn an_old_flag_that_staff_gave_to_another_stays(f: Fixture) {
    let house = House::new(f, program("take-over")).await;
    for name in ["0", "1", "2", "3"] {
        house.typed_in(&format!("old-{name}"), name, "2024-01-01", None);
    }
    house.approve().await;
    let moved = |id: &str| house.campus.flags().into_iter().find(|flag| flag.id == id).unwrap();
    house.campus.type_in(CampusFlag { program: "102".to_owned(), ..moved("old-0") });
    house.campus.type_in(CampusFlag { student: "7".to_owned(), ..moved("old-1") });
    let mut programs = house.campus.programs();
    programs[0].active = false;
    let anew = CampusProgramRow { id: "201".to_owned(), active: true, ..programs[0].clone() };
    programs.push(anew);
    house.campus.set_programs(programs);
    house.campus.type_in(CampusFlag { program: "201".to_owned(), ..moved("old-2") });
    house.night().await;
    let last = Some(day("2026-08-14"));
    let expected = [("old-0", None), ("old-1", None), ("old-2", last), ("old-3", last)];
    assert_eq!(house.old(), expected.into_iter().map(|(id, end)| (id.to_owned(), end)).collect());
    let outcomes = house.store().cutover_flags(&house.district, SPED, false, 10).await.unwrap().into_iter();
    let outcomes: Vec<_> = outcomes.map(|flag| flag.outcome.unwrap()).collect();
    assert_eq!(outcomes, ["moved", "moved", "ended", "ended"]);
    assert_eq!(house.plan().await.state, TakeOverState::Done);
}

/// Missing, inactive, not Special Ed, or twice: nothing at all is written of it until it is mended, and nobody is kept busy.
async fn a_program_that_fails_ends_no_old_flag(f: Fixture) {
    let house = House::with(f, program("take-over"), CampusConfig { shows_all: true, ..CampusConfig::default() }).await;
    house.complete("a", "0", "2026-01-01", None).await;
    house.typed_in("old-0", "0", "2024-01-01", None);
    house.typed_in("old-1", "1", "2024-01-01", None);
    house.approve().await;
    let good = house.campus.programs();
    let with = |change: &dyn Fn(&mut CampusProgramRow)| {
        let mut programs = good.clone();
        change(&mut programs[0]);
        programs
    };
    let twice = good.iter().cloned().chain([CampusProgramRow { id: "201".to_owned(), ..good[0].clone() }]).collect();
    for programs in [
        with(&|program| "Special Education until 2026".clone_into(&mut program.name)),
        with(&|program| program.active = false),
        with(&|program| program.special_ed = false),
        twice,
    ] {
        house.campus.set_programs(programs);
        house.night().await;
        assert_eq!(house.campus.stats().writes, 0, "{:?}", house.campus.programs());
        assert_eq!(house.states().await["0"].0, "failed");
        let work = house.store().flag_work().await.unwrap().remove(0);
        assert_eq!((work.take_over_on, work.failing_due_at), (None, None), "nobody is kept busy by it");
        assert_eq!(house.plan().await.state, TakeOverState::Approved);
    }
    house.campus.set_programs(good);
    house.unasked_night().await;
    let last = Some(day("2026-08-14"));
    assert_eq!(house.old(), BTreeMap::from([("old-0".to_owned(), last), ("old-1".to_owned(), last)]));
    assert_eq!(house.plan().await.state, TakeOverState::Done);
}

/// Time is always up: a message goes on with what nobody has been at, and what has waited before is asked for by no message
/// without end.
async fn a_take_over_whose_time_is_up_goes_on_with_what_has_not_waited_yet(f: Fixture) {
    let house = House::new(f, program("take-over")).await;
    house.complete("a", "0", "2026-01-01", None).await;
    for old in ["old-0", "old-1"] {
        house.typed_in(old, "0", "2024-01-01", None);
    }
    house.approve().await;
    let refused =
        Strike { fault: CampusFault::Status(422), writes_only: true, only: Some("0".to_owned()), times: None };
    house.campus.set_faults(CampusFaults { strikes: vec![refused], ..CampusFaults::default() });
    house.handle_sync().await;
    let no_time = FlagSyncConfig { unit: Duration::ZERO, ..FlagSyncConfig::default() };
    let handler = FlagHandler::new(house.context_with(no_time));
    let messages = async || {
        let waiting = house.bus.depths().await.unwrap().into_iter().find(|depth| depth.queue == Queue::Flags);
        waiting.map_or(0, |depth| depth.waiting)
    };
    let goes_on = async || {
        let before = messages().await;
        let now = house.clock.now();
        let message = Message::new(house.district.clone(), RunId(Uuid::now_v7()), now, Body::FlagPush(FlagPush {}));
        assert_eq!(handler.handle(message).await, Fate::Done);
        messages().await > before
    };
    assert_eq!(outcomes(&house).await, ["old-0 waits-for-new", "old-1 waits-for-new"]);
    assert!(!goes_on().await, "they have waited, and wait for another sync");
    change(&house.f, &house.district, "UPDATE cutover_flag SET outcome = NULL WHERE district = $1").await;
    assert!(goes_on().await, "one is looked at in any case, and nobody has been at the other");
    assert_eq!(outcomes(&house).await, ["old-0 waits-for-new", "old-1 "]);
    house.handle_push().await;
    assert_eq!(outcomes(&house).await, ["old-0 waits-for-new", "old-1 waits-for-new"]);
    assert_eq!(house.store().flag_work().await.unwrap()[0].take_over_on, None);
    house.campus.set_faults(CampusFaults::default());
    house.night().await;
    assert_eq!(outcomes(&house).await, ["old-0 ended", "old-1 ended"]);
}

/// As the SIS has it, after a change.
fn alter(house: &House, flag: &str, change: impl FnOnce(&mut CampusFlag)) {
    let mut row = house.campus.flags().into_iter().find(|one| one.id == flag).unwrap();
    change(&mut row);
    house.campus.type_in(row);
}

/// The student has other ids from now on, here and in the SIS.
async fn rekey(house: &House, run: u32, number: usize, sis_id: &str) {
    let old = number.to_string();
    let record = Student { id: id(&format!("b-{number}")), sis_id: Some(sis_id.to_owned()), ..in_campus(number) };
    let moved = StudentEvent { rekeyed_from: Some(id(&old)), ..changed(record) };
    applied(house.store(), &house.district, run, vec![moved]).await;
}

async fn outcomes(house: &House) -> Vec<String> {
    let flags = house.store().cutover_flags(&house.district, SPED, false, 100).await.unwrap().into_iter();
    flags.map(|flag| format!("{} {}", flag.flag, flag.outcome.unwrap_or_default())).collect()
}

/// The program has another name and another one has its name, and students have other ids: nothing that was approved is passed
/// over for it.
async fn an_old_flag_of_what_may_be_the_same_waits_until_it_is_clear(f: Fixture) {
    let house = House::new(f, program("take-over")).await;
    for name in ["0", "1", "2", "3"] {
        house.typed_in(&format!("old-{name}"), name, "2024-01-01", None);
    }
    house.approve().await;
    let first = house.campus.programs();
    let named =
        |id: &str, name: &str| CampusProgramRow { id: id.to_owned(), name: name.to_owned(), ..first[0].clone() };
    let others = || first[1..].iter().cloned();
    let anew =
        [named("101", "Special Education until 2026"), named("201", SPED), named("301", "Special Education 2026")];
    house.campus.set_programs(anew.into_iter().chain(others()).collect());
    alter(&house, "old-1", |flag| "301".clone_into(&mut flag.program));
    alter(&house, "old-2", |flag| "guid-2".clone_into(&mut flag.student));
    alter(&house, "old-3", |flag| "guid-3".clone_into(&mut flag.student));
    house.typed_in("old-typed-in-later", "2", "2024-01-01", None);
    // A Campus that shows none by its id: it is in the program's list alone.
    let only = Some("old-3".to_owned());
    let unshown = Strike { fault: CampusFault::Status(404), writes_only: false, only, times: None };
    house.campus.set_faults(CampusFaults { strikes: vec![unshown], ..CampusFaults::default() });
    house.night().await;
    house.unasked_night().await;
    let waits = |flag: &str| format!("{flag} not-as-approved");
    let expected = ["old-0 ended".to_owned(), waits("old-1"), waits("old-2"), waits("old-3")];
    assert_eq!(outcomes(&house).await, expected);
    let last = Some(day("2026-08-14"));
    let ends = |one| {
        let all = [("old-0", last), ("old-1", one), ("old-2", one), ("old-3", one), ("old-typed-in-later", None)];
        all.map(|(name, end)| (name.to_owned(), end)).into_iter().collect::<BTreeMap<_, _>>()
    };
    assert_eq!(house.old(), ends(None));
    let told = house.told(Some("old-1")).await;
    let line = |action: &str, answer: &str| (action.to_owned(), answer.to_owned());
    assert_eq!(told, [line("approve", "approved"), line("take-over", "not-as-approved")], "once");
    assert_eq!(house.store().flag_work().await.unwrap()[0].take_over_on, None, "one that waits keeps nobody busy");
    assert_eq!(house.plan().await.state, TakeOverState::Approved);
    // The names agree again, and the roster knows the students by their other ids.
    house.campus.set_faults(CampusFaults::default());
    let agreed = [named("101", "Special Education until 2026"), named("301", SPED)];
    house.campus.set_programs(agreed.into_iter().chain(others()).collect());
    rekey(&house, 2, 2, "guid-2").await;
    rekey(&house, 3, 3, "guid-3").await;
    house.unasked_night().await;
    assert_eq!(house.old(), ends(last));
    assert_eq!(house.plan().await.state, TakeOverState::Done);
}

/// Not of its id, and not of its student, while its program lists it: it is open, and the take-over is not done without it.
async fn an_old_flag_that_campus_refuses_to_tell_of_is_not_gone(f: Fixture) {
    let house = House::new(f, program("take-over")).await;
    for name in ["0", "1"] {
        house.typed_in(&format!("old-{name}"), name, "2024-01-01", None);
    }
    house.approve().await;
    let untold = |only: &str| Strike {
        fault: CampusFault::Status(404),
        writes_only: false,
        only: Some(only.to_owned()),
        times: None,
    };
    let strikes = vec![untold("old-0"), untold(&in_campus(0).sis_id.unwrap())];
    house.campus.set_faults(CampusFaults { strikes, ..CampusFaults::default() });
    house.night().await;
    house.unasked_night().await;
    assert_eq!(outcomes(&house).await, ["old-0 not-as-approved", "old-1 ended"]);
    assert_eq!(house.plan().await.state, TakeOverState::Approved);
    house.campus.set_faults(CampusFaults::default());
    house.unasked_night().await;
    assert_eq!(outcomes(&house).await, ["old-0 ended", "old-1 ended"]);
    assert_eq!(house.plan().await.state, TakeOverState::Done);
}

/// Campus drops a row for a while, and says how many there are all the same.
async fn an_old_flag_that_a_short_list_lacks_is_not_gone(f: Fixture) {
    let house = House::new(f, program("take-over")).await;
    for name in ["0", "1"] {
        house.typed_in(&format!("old-{name}"), name, "2024-01-01", None);
    }
    house.approve().await;
    let strike = |fault, only: &str| Strike { fault, writes_only: false, only: Some(only.to_owned()), times: None };
    // The lists of its program and of its student are cut, each before the flag.
    let short = [("101", 0), ("1", 0)].map(|(only, rows)| strike(CampusFault::Torn(rows), only));
    let unshown = strike(CampusFault::Status(404), "old-1");
    let strikes = short.into_iter().chain([unshown]).collect();
    house.campus.set_faults(CampusFaults { strikes, ..CampusFaults::default() });
    house.night().await;
    house.unasked_night().await;
    assert_eq!(outcomes(&house).await, ["old-0 ended", "old-1 not-as-approved"]);
    assert_eq!(house.plan().await.state, TakeOverState::Approved);
    house.campus.set_faults(CampusFaults::default());
    house.unasked_night().await;
    assert_eq!(outcomes(&house).await, ["old-0 ended", "old-1 ended"]);
    assert_eq!(house.plan().await.state, TakeOverState::Done);
}

/// Campus counts what its lists leave out, and so none is whole: it says by the flag's id that it was deleted.
async fn an_old_flag_that_was_deleted_is_gone_though_lists_are_short(f: Fixture) {
    let house = House::new(f, program("take-over")).await;
    for name in ["0", "1"] {
        house.typed_in(&format!("old-{name}"), name, "2024-01-01", None);
    }
    house.approve().await;
    house.campus.delete("old-1");
    let short = Strike { fault: CampusFault::Torn(0), writes_only: false, only: Some("101".to_owned()), times: None };
    let faults = CampusFaults { strikes: vec![short], ..CampusFaults::default() };
    house.campus.set_faults(faults.clone());
    house.night().await;
    assert_eq!(outcomes(&house).await, ["old-0 ended", "old-1 not-as-approved"]);
    house.campus.set_faults(CampusFaults { deleted: vec!["old-1".to_owned()], ..faults });
    house.unasked_night().await;
    assert_eq!(outcomes(&house).await, ["old-0 ended", "old-1 gone"]);
    assert_eq!(house.plan().await.state, TakeOverState::Done);
}

/// What is approved by a list that is not whole is approved as such.
async fn a_plan_of_a_short_list_says_so(f: Fixture) {
    let house = House::new(f, program("take-over")).await;
    for name in ["0", "1"] {
        house.typed_in(&format!("old-{name}"), name, "2024-01-01", None);
    }
    // One that no take-over ends: without it all numbers are the same.
    house.typed_in("old-ended", "2", "2024-01-01", Some("2024-06-30"));
    let whole = house.plan().await;
    let short = Strike { fault: CampusFault::Torn(2), writes_only: false, only: Some("101".to_owned()), times: None };
    house.campus.set_faults(CampusFaults { strikes: vec![short], ..CampusFaults::default() });
    let seen = house.plan().await;
    let told = |plan: &TakeOverPlan| plan.warnings.iter().any(|text| text.starts_with("short-list: "));
    assert_eq!((seen.to_end.len(), told(&seen), told(&whole)), (2, true, false), "{seen:?}");
    house.campus.set_faults(CampusFaults::default());
    let changed = TakeOverRefused::PlanChanged { program: SPED.to_owned(), now: whole.hash.clone() };
    assert_eq!(house.try_approve(std::slice::from_ref(&seen.hash)).await, Err(changed));
    assert_eq!(house.try_approve(std::slice::from_ref(&whole.hash)).await.unwrap()[0].to_end, 2);
}

async fn a_plan_of_several_programs_reads_them_once(f: Fixture) {
    let mut programs = program("take-over");
    let mut other = programs[0].clone();
    other["name"] = "Section 504".into();
    programs.as_array_mut().unwrap().push(other);
    let house = House::new(f, programs).await;
    let context = house.context();
    let calls = async |program| {
        let before = house.campus.stats().calls;
        let plans = plan_take_overs(&context, &house.district, program).await.unwrap().unwrap();
        (plans.len(), house.campus.stats().calls - before)
    };
    let (one, both) = (calls(Some(SPED)).await, calls(None).await);
    assert_eq!((one.0, both), (1, (2, one.1 + 1)), "one empty list more");
}

/// No child is without a flag in between, whichever ids it has.
async fn an_old_flag_under_a_students_other_id_waits_for_the_new_one(f: Fixture) {
    let house = House::new(f, program("take-over")).await;
    house.complete("a", "0", "2026-01-01", None).await;
    house.typed_in("old-0", "0", "2024-01-01", None);
    house.approve().await;
    rekey(&house, 2, 0, "guid-0").await;
    alter(&house, "old-0", |flag| "guid-0".clone_into(&mut flag.student));
    let refused =
        Strike { fault: CampusFault::Status(422), writes_only: true, only: Some("guid-0".to_owned()), times: Some(1) };
    house.campus.set_faults(CampusFaults { strikes: vec![refused], ..CampusFaults::default() });
    house.night().await;
    assert_eq!((outcomes(&house).await, house.old()["old-0"]), (vec!["old-0 waits-for-new".to_owned()], None));
    house.night().await;
    assert_eq!(house.old()["old-0"], Some(day("2026-08-14")));
    assert_eq!(with_open_flag(&house), BTreeSet::from(["guid-0".to_owned()]));
    assert_eq!(house.plan().await.state, TakeOverState::Done);
}

/// Campus gives the program another name, and the district's file gains one of that name beside the former.
async fn a_flag_of_ours_is_ours_under_its_programs_other_name(f: Fixture) {
    let house = House::new(f, program("create-new")).await;
    house.complete("a", "0", "2026-01-01", None).await;
    house.settle().await;
    house.typed_in("old-1", "1", "2024-01-01", None);
    let name = "Special Education 2026";
    let mut programs = house.campus.programs();
    name.clone_into(&mut programs[0].name);
    house.campus.set_programs(programs);
    let mut file = house.file.clone();
    let renamed = serde_json::json!({"name": name, "flags": true, "option": "take-over", "cutover": "2026-09-01"});
    file.programs.push(serde_json::from_value(renamed).unwrap());
    house.apply(&file).await;
    let plans = plan_take_overs(&house.context(), &house.district, Some(name)).await.unwrap().unwrap();
    let to_end: Vec<_> = plans[0].to_end.iter().map(|flag| flag.flag.as_str()).collect();
    assert_eq!(to_end, ["old-1"]);
}
