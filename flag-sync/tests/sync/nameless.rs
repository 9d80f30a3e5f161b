//! Take-overs of flags whose students the roster knows by no id of Campus, or not at all: no child's old flag ends for it.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use rollcall_proto::{clock::Clock as _, message::StudentEvent, roster::Student};
use rollcall_sandbox::{CampusFault, CampusFaults, Strike};
use rollcall_store::{
    district::ConnectionSecrets,
    flag::{OpenOldFlags, TakeOverRefused, TakeOverState},
};

use crate::{
    common::{Fixture, day},
    house::{ANOTHER_SIS, House, SPED, STUDENTS, in_campus, program},
    on_both_engines,
    roster_support::{added, applied, changed, gone, id, student},
};

on_both_engines! {
    a_take_over_of_two_connections_leaves_nobody_without_a_flag,
    an_old_flag_of_who_has_no_id_in_campus_waits_for_one,
    a_take_over_waits_for_a_roster_that_is_to_move,
    a_take_over_of_students_whom_nobody_knows_is_not_approved,
    an_old_flag_of_whom_nobody_knows_waits_while_new_ones_are_missing,
    a_new_flag_that_campus_never_takes_keeps_only_its_students_old_one,
}

/// A second connection, whose students come in behind a prefix; one of them has a plan.
async fn with_second(f: Fixture, base_url: &str) -> House {
    let house = House::new(f, program("take-over")).await;
    let mut both = house.file.clone();
    let mut second = both.connections[0].clone();
    second.base_url = if base_url.is_empty() { second.base_url } else { base_url.parse().unwrap() };
    (second.id_prefix, second.vendor_key) = (Some("b-".to_owned()), None);
    both.connections.push(second);
    let secrets = || ConnectionSecrets {
        client_secret: house.campus.config().client_secret.clone().into(),
        vendor_secret: Some(house.campus.config().vendor_secret.as_str().into()),
        ..ConnectionSecrets::default()
    };
    house.store().apply_district(&both, &[secrets(), secrets()], "test", house.clock.now()).await.unwrap();
    applied(house.store(), &house.district, 2, ["21", "22"].map(|number| added(of_second(number))).into()).await;
    house.complete("a", "0", "2026-01-01", None).await;
    house.complete("b", "b-21", "2026-01-01", None).await;
    for (name, student) in [("old-0", "0"), ("old-21", "GUID-21"), ("old-22", "guid-22")] {
        house.typed_in(name, student, "2024-01-01", None);
    }
    house
}

fn of_second(number: &str) -> Student {
    Student { connection: 1, sis_id: Some(format!("guid-{number}")), ..student(&format!("b-{number}")) }
}

fn ended(house: &House) -> Vec<String> {
    let last = Some(day("2026-08-14"));
    house.old().into_iter().filter(|(_, end)| *end == last).map(|(name, _)| name).collect()
}

/// First days of our own, by student.
fn ours(house: &House) -> BTreeMap<String, NaiveDate> {
    let flags = house.campus.flags().into_iter().filter(|flag| flag.link.is_some() && flag.ends.is_none());
    flags.map(|flag| (flag.student, flag.begins)).collect()
}

async fn state(house: &House) -> TakeOverState {
    house.plan().await.state
}

async fn a_take_over_of_two_connections_leaves_nobody_without_a_flag(f: Fixture) {
    let house = with_second(f, "").await;
    let plan = house.plan().await;
    assert_eq!((plan.to_end.len(), plan.without_new), (3, 1), "{plan:?}");
    let whose: Vec<_> = plan.to_end.iter().map(|flag| flag.student.clone()).collect();
    assert_eq!(whose, [Some(id("0")), Some(id("b-21")), Some(id("b-22"))]);
    house.approve().await;
    house.night().await;
    assert_eq!(ended(&house), ["old-0", "old-21", "old-22"]);
    let first = day("2026-08-15");
    assert_eq!(ours(&house), [("0".to_owned(), first), ("guid-21".to_owned(), first)].into());
    assert_eq!(state(&house).await, TakeOverState::Done);
}

/// By what another SIS calls them, somebody may be in Campus too; and so may whoever is not in the roster at all.
async fn an_old_flag_of_who_has_no_id_in_campus_waits_for_one(f: Fixture) {
    let house = with_second(f, "https://sis.example/campus/api/oneroster/v1p2/rollcall/ims/oneroster").await;
    house.typed_in("old-99", "guid-99", "2024-01-01", None);
    let plan = house.plan().await;
    assert_eq!((plan.to_end.len(), plan.without_new), (4, 2), "22 and 99: {plan:?}");
    let told = plan.warnings.iter().find(|text| text.starts_with("no-sis-id: 1 students")).unwrap();
    assert!(told.contains(" 3 flags that may be theirs stay open"), "{told}");
    house.approve().await;
    house.night().await;
    house.unasked_night().await;
    assert_eq!(ended(&house), ["old-0"]);
    let reason = ANOTHER_SIS.to_owned();
    assert_eq!(house.states().await["b-21"], ("no-sis-id", Some(reason)));
    assert_eq!((state(&house).await, ours(&house).len()), (TakeOverState::Approved, 1));
    assert_eq!(house.store().flag_work().await.unwrap()[0].take_over_on, None, "what waits keeps nobody busy");
    // Whoever leaves keeps the old flag too: a status ends none.
    applied(house.store(), &house.district, 3, vec![gone("b-21")]).await;
    house.unasked_night().await;
    assert_eq!((ended(&house), state(&house).await), (vec!["old-0".to_owned()], TakeOverState::Approved));
    // The student comes in over the connection to Campus.
    applied(house.store(), &house.district, 4, vec![changed(Student { connection: 0, ..of_second("21") })]).await;
    house.unasked_night().await;
    assert_eq!(ended(&house), ["old-0", "old-21", "old-22", "old-99"]);
    assert!(ours(&house).contains_key("guid-21"));
    assert_eq!(state(&house).await, TakeOverState::Done);
}

/// The connection is of 1.2 by now, and the run that moves the students is still to be approved.
async fn a_take_over_waits_for_a_roster_that_is_to_move(f: Fixture) {
    let house = House::new(f, program("take-over")).await;
    let of_1_1 = |number: usize| Student { sis_id: Some(format!("s{number}")), ..in_campus(number) };
    applied(house.store(), &house.district, 2, (0..STUDENTS).map(|number| changed(of_1_1(number))).collect()).await;
    for number in 0..STUDENTS {
        house.typed_in(&format!("old-{number}"), &format!("guid-{number}"), "2024-01-01", None);
        house.complete(&format!("d{number}"), &number.to_string(), "2026-01-01", None).await;
    }
    house.show().await;
    let Err(TakeOverRefused::Unready { program, reason }) = house.try_approve(&[]).await else {
        panic!("it was approved")
    };
    assert_eq!(program, SPED);
    assert!(reason.starts_with("flag-roster-to-move 12 of 12 students"), "{reason}");
    // Moved, it is approved, and everybody has a new one.
    let moved = |number: usize| {
        let (new, old) = (id(&format!("guid-{number}")), id(&number.to_string()));
        let record = Student { id: new.clone(), sis_id: Some(new.0), ..in_campus(number) };
        StudentEvent { rekeyed_from: Some(old), ..changed(record) }
    };
    applied(house.store(), &house.district, 3, (0..STUDENTS).map(moved).collect()).await;
    house.night().await;
    assert_eq!(house.plan().await.without_new, 0);
    house.approve().await;
    house.night().await;
    assert_eq!((ended(&house).len(), ours(&house).len()), (STUDENTS, STUDENTS));
    assert_eq!(state(&house).await, TakeOverState::Done);
}

async fn a_take_over_of_students_whom_nobody_knows_is_not_approved(f: Fixture) {
    let house = House::new(f, program("take-over")).await;
    house.complete("a", "0", "2026-01-01", None).await;
    for number in 0..10 {
        house.typed_in(&format!("old-{number}"), &format!("guid-{number}"), "2024-01-01", None);
    }
    house.show().await;
    let Err(refused @ TakeOverRefused::Unready { .. }) = house.try_approve(&[]).await else {
        panic!("it was approved")
    };
    assert_eq!(refused.code(), "flag-students-unknown");
    assert!(refused.to_string().contains("knows 0 of the 10 students"), "{refused}");
    // One in ten is enough.
    house.typed_in("old-9", "9", "2024-01-01", None);
    house.approve().await;
}

/// Campus does not know the student by the id that the roster has: it may be anybody's.
async fn an_old_flag_of_whom_nobody_knows_waits_while_new_ones_are_missing(f: Fixture) {
    let house = House::new(f, program("take-over")).await;
    house.complete("a", "1", "2026-01-01", None).await;
    for (name, student) in [("old-0", "0"), ("old-1", "1"), ("old-99", "guid-99")] {
        house.typed_in(name, student, "2024-01-01", None);
    }
    house.approve().await;
    let unknown =
        Strike { fault: CampusFault::Status(404), writes_only: true, only: Some("1".to_owned()), times: None };
    house.campus.set_faults(CampusFaults { strikes: vec![unknown], ..CampusFaults::default() });
    house.night().await;
    house.unasked_night().await;
    assert_eq!(house.states().await["1"], ("failed", Some("campus-404".to_owned())));
    assert_eq!(ended(&house), ["old-0"]);
    house.campus.set_faults(CampusFaults::default());
    house.unasked_night().await;
    assert_eq!(ended(&house), ["old-0", "old-1", "old-99"]);
    assert_eq!(state(&house).await, TakeOverState::Done);
}

/// Campus knows these students by their ids, and refuses or fails at their new flags for something else: none of them is the one whom
/// the roster does not know.
async fn a_new_flag_that_campus_never_takes_keeps_only_its_students_old_one(f: Fixture) {
    let house = House::new(f, program("take-over")).await;
    let never = [("1", 409), ("2", 422), ("3", 403), ("4", 500)];
    for (student, _) in never {
        house.complete(&format!("d{student}"), student, "2026-01-01", None).await;
    }
    // The student of the first has no old flag by which it could be seen that Campus knows them.
    let olds = [("old-0", "0"), ("old-2", "2"), ("old-3", "3"), ("old-4", "4"), ("old-99", "guid-99")];
    for (name, student) in olds {
        house.typed_in(name, student, "2024-01-01", None);
    }
    house.approve().await;
    let only = |(student, status): (&str, u16)| Strike {
        fault: CampusFault::Status(status),
        writes_only: true,
        only: Some(student.to_owned()),
        times: None,
    };
    house.campus.set_faults(CampusFaults { strikes: never.map(only).into(), ..CampusFaults::default() });
    house.night().await;
    house.unasked_night().await;
    assert!(house.states().await.values().all(|state| state.0 == "failed"), "{:?}", house.states().await);
    assert_eq!(ended(&house), ["old-0", "old-99"]);
    let line = |action: &str, answer: &str| (action.to_owned(), answer.to_owned());
    for waiting in ["old-2", "old-3", "old-4"] {
        let told = house.told(Some(waiting)).await;
        assert_eq!(told, [line("approve", "approved"), line("take-over", "waits-for-new")], "once");
    }
    let open = house.store().open_old_flags(&house.district).await.unwrap();
    let expected = OpenOldFlags { program: SPED.to_owned(), outcome: "waits-for-new".to_owned(), flags: 3 };
    assert_eq!(open, [expected], "what people are told");
    house.campus.set_faults(CampusFaults::default());
    house.night().await;
    assert_eq!(ended(&house), olds.map(|(name, _)| name));
    assert_eq!(state(&house).await, TakeOverState::Done);
    assert_eq!(house.store().open_old_flags(&house.district).await.unwrap(), []);
}
