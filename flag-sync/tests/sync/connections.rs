//! A district of several connections: flags go through one of them, and only its students have an id there.

use chrono::{DateTime, NaiveDate};
use rollcall_proto::roster::Student;
use rollcall_sandbox::{CampusFault, CampusFaults, CampusFlag, Strike};
use rollcall_store::{
    district::{ConnectionSecrets, District, OnDrift},
    flag::{Flag, FlagState},
};

use crate::{
    common::{Fixture, day},
    house::{ANOTHER_SIS, House, file, program},
    on_both_engines,
    roster_support::{added, applied, changed, gone, student},
};

on_both_engines! {
    students_of_another_sis_have_no_id_in_campus,
    students_of_every_connection_to_the_campus_have_their_flags,
    the_id_that_is_sent_is_the_one_without_the_connections_prefix,
    a_child_who_moves_between_two_connections_has_one_flag,
    a_child_who_is_two_students_has_one_new_flag,
    a_child_of_a_connection_that_is_gone_has_one_flag,
    two_participations_of_a_child_that_overlap_have_one_open_flag,
    a_flag_is_not_extended_into_the_one_of_the_same_child,
    a_flag_ends_before_a_later_one_of_the_same_child_begins,
    a_deleted_flag_of_a_child_who_has_another_is_not_restored,
    a_flag_of_a_child_whose_answer_was_lost_is_there,
    children_whose_ids_were_swapped_get_each_their_own,
    a_flag_on_its_way_to_another_child_is_both_childrens,
    a_flag_of_a_stranger_goes_to_the_child_whose_it_is,
    an_old_flag_ends_once_the_child_has_one_as_either_student,
    an_old_flag_stays_while_the_child_has_one_as_neither_student,
    an_old_flag_stays_where_staff_ended_the_other_students,
    a_flag_that_campus_never_takes_keeps_the_other_students_out_for_a_while,
}

/// Another SIS's school first, then Campus, each with a prefix of its own.
async fn two_connections(f: Fixture) -> House {
    Box::pin(two_connections_that(f, "create-new")).await
}

async fn two_connections_that(f: Fixture, option: &str) -> House {
    let house = House::new(f, program(option)).await;
    let mut both = file(&house.campus, &program(option));
    let campus = &mut both.connections[0];
    campus.id_prefix = Some("camp-".to_owned());
    let mut other = campus.clone();
    other.base_url = "https://sis.example/campus/api/oneroster/v1p2/rollcall/ims/oneroster".parse().unwrap();
    (other.id_prefix, other.vendor_key) = (Some("north-".to_owned()), None);
    both.connections.insert(0, other);
    apply(&house, &both).await;
    // Both have somebody of the same id, and it is in different people's names.
    let of = |connection, prefix: &str, sis_id: &str| Student {
        connection,
        sis_id: Some(sis_id.to_owned()),
        ..student(&format!("{prefix}{sis_id}"))
    };
    let everybody = [of(0, "north-", "41"), of(1, "camp-", "41"), of(0, "north-", "42")];
    applied(house.store(), &house.district, 2, everybody.map(added).into()).await;
    house
}

async fn apply(house: &House, file: &District) {
    let secrets = || ConnectionSecrets {
        client_secret: house.campus.config().client_secret.clone().into(),
        vendor_secret: Some(house.campus.config().vendor_secret.as_str().into()),
        ..ConnectionSecrets::default()
    };
    let secrets: Vec<_> = file.connections.iter().map(|_| secrets()).collect();
    house
        .store()
        .apply_district(file, &secrets, "test", rollcall_proto::clock::Clock::now(&house.clock))
        .await
        .unwrap();
}

async fn students_of_another_sis_have_no_id_in_campus(f: Fixture) {
    let house = two_connections(f).await;
    house.complete("n41", "north-41", "2026-08-20", None).await;
    house.complete("n42", "north-42", "2026-08-20", None).await;
    // One by one, and all together.
    house.settle().await;
    house.night().await;
    assert_eq!(house.shown(), [].into(), "not even for the one whose id somebody else has in Campus");
    let unknown = ("no-sis-id", Some(ANOTHER_SIS.to_owned()));
    let states = house.states().await;
    assert_eq!(states, ["north-41", "north-42"].map(|student| (student.to_owned(), unknown.clone())).into());
    house.complete("c41", "camp-41", "2026-08-21", None).await;
    house.settle().await;
    assert_eq!(house.shown(), [("41".to_owned(), (day("2026-08-21"), None))].into());
    assert_eq!(house.states().await["north-41"], unknown);
    // Who comes in over the connection of the flags has one.
    let moved = Student { connection: 1, sis_id: Some("42".to_owned()), ..student("north-42") };
    applied(house.store(), &house.district, 3, vec![changed(moved)]).await;
    house.unasked_night().await;
    assert_eq!(house.shown()["42"], (day("2026-08-20"), None));
}

/// Each is limited to some of its schools, and the vendor pair stands at one of them.
async fn students_of_every_connection_to_the_campus_have_their_flags(f: Fixture) {
    let house = two_connections(f).await;
    let mut both = house.store().district(&house.district).await.unwrap();
    let copied = format!("{}/rostering/v1p2/", house.campus.base_url());
    both.connections[0].base_url = copied.parse().unwrap();
    apply(&house, &both).await;
    house.complete("n42", "north-42", "2026-08-20", None).await;
    house.complete("c41", "camp-41", "2026-08-21", None).await;
    house.settle().await;
    let shown = [("41".to_owned(), (day("2026-08-21"), None)), ("42".to_owned(), (day("2026-08-20"), None))];
    assert_eq!(house.shown(), shown.into());
    house.night().await;
    assert_eq!(house.states().await["north-42"], ("pushed", None));
}

fn of(connection: u16, id: &str, sis_id: &str) -> Student {
    Student { connection, sis_id: Some(sis_id.to_owned()), ..student(id) }
}

/// Both connections lead to Campus, and one person is a student of each.
pub(crate) async fn two_of_one_campus(f: Fixture) -> House {
    two_of_one_campus_that(f, "create-new").await
}

async fn two_of_one_campus_that(f: Fixture, option: &str) -> House {
    let house = Box::pin(two_connections_that(f, option)).await;
    let mut both = house.store().district(&house.district).await.unwrap();
    both.connections[0].base_url = both.connections[1].base_url.clone();
    apply(&house, &both).await;
    let everybody = [of(0, "north-43", "GUID-43"), of(1, "camp-43", "guid-43")];
    applied(house.store(), &house.district, 3, everybody.map(added).into()).await;
    house
}

/// Days of every flag of the child, as Campus shows them.
fn days(house: &House) -> Vec<(NaiveDate, Option<NaiveDate>)> {
    let mut days: Vec<_> = house.campus.flags().into_iter().map(|flag| (flag.begins, flag.ends)).collect();
    days.sort_unstable();
    days
}

/// The former student's, which is there.
fn former(house: &House) -> String {
    house.flag_of("GUID-43").id
}

async fn assert_kept(house: &House, kept: &str, other: &str) {
    let states = house.states().await;
    assert_eq!(states[kept], ("failed", Some(format!("same-person-as {other}"))), "{states:#?}");
}

/// What there is stays as it is.
async fn assert_quiet(house: &House) {
    // When one that is kept back was last seen is kept.
    let flags = async || -> Vec<_> {
        let all = house.flags().await.into_iter();
        all.map(|flag| Flag { verified_at: flag.verified_at.map(|_| DateTime::UNIX_EPOCH), ..flag }).collect()
    };
    let before = (house.campus.stats().writes, flags().await, house.told(None).await);
    house.unasked_night().await;
    house.unasked_night().await;
    assert_eq!((house.campus.stats().writes, flags().await, house.told(None).await), before);
}

async fn restore(house: &House) {
    let mut file = house.store().district(&house.district).await.unwrap();
    file.programs[0].on_drift = OnDrift::Restore;
    apply(house, &file).await;
}

fn fails_at(house: &House, flag: &str) {
    let (fault, only) = (CampusFault::Status(503), Some(flag.to_owned()));
    let strikes = vec![Strike { fault, writes_only: true, only, times: None }];
    house.campus.set_faults(CampusFaults { strikes, ..CampusFaults::default() });
}

async fn a_child_who_moves_between_two_connections_has_one_flag(f: Fixture) {
    let house = two_of_one_campus(f).await;
    house.complete("n43", "north-43", "2026-08-20", None).await;
    house.settle().await;
    applied(house.store(), &house.district, 4, vec![gone("north-43")]).await;
    house.complete("c43", "camp-43", "2026-08-25", None).await;
    // One by one, and all together.
    house.settle().await;
    assert_kept(&house, "camp-43", "north-43").await;
    house.night().await;
    assert_eq!(house.shown(), [("GUID-43".to_owned(), (day("2026-08-20"), None))].into());
    assert_kept(&house, "camp-43", "north-43").await;
    assert_eq!(house.states().await["north-43"], ("pushed", None));
    assert_quiet(&house).await;
    // The former student's documents are withdrawn, and that flag is over.
    house.withdraw("n43").await;
    house.settle().await;
    house.night().await;
    assert_eq!(days(&house), [(day("2026-08-20"), Some(day("2026-08-31"))), (day("2026-08-25"), None)]);
    assert_eq!(house.states().await["camp-43"], ("pushed", None));
}

/// Nobody has it yet: of both the one of the lower id has it.
async fn a_child_who_is_two_students_has_one_new_flag(f: Fixture) {
    let house = two_of_one_campus(f).await;
    house.complete("n43", "north-43", "2026-08-20", None).await;
    house.complete("c43", "camp-43", "2026-08-20", None).await;
    house.night().await;
    house.night().await;
    assert_eq!(house.shown(), [("guid-43".to_owned(), (day("2026-08-20"), None))].into());
    assert_kept(&house, "north-43", "camp-43").await;
    assert_eq!(house.states().await["camp-43"], ("pushed", None));
    assert_quiet(&house).await;
}

/// The connection that the former student came in over is not in the district's file any more.
async fn a_child_of_a_connection_that_is_gone_has_one_flag(f: Fixture) {
    let house = two_of_one_campus(f).await;
    house.complete("c43", "camp-43", "2026-08-20", None).await;
    house.settle().await;
    applied(house.store(), &house.district, 4, vec![gone("camp-43")]).await;
    let mut file = house.store().district(&house.district).await.unwrap();
    file.connections[0].vendor_key = file.connections.remove(1).vendor_key;
    apply(&house, &file).await;
    house.complete("n43", "north-43", "2026-08-20", None).await;
    house.settle().await;
    assert_kept(&house, "north-43", "camp-43").await;
    house.night().await;
    assert_eq!(house.shown(), [("guid-43".to_owned(), (day("2026-08-20"), None))].into());
    assert_kept(&house, "north-43", "camp-43").await;
}

/// The former student's documents end on a day behind the first one of the other's.
async fn two_participations_of_a_child_that_overlap_have_one_open_flag(f: Fixture) {
    let house = two_of_one_campus(f).await;
    house.complete("n43", "north-43", "2026-08-20", Some("2026-09-10")).await;
    house.settle().await;
    house.complete("c43", "camp-43", "2026-09-05", None).await;
    for now in ["2026-09-01T17:00:00Z", "2026-09-05T17:00:00Z", "2026-09-10T17:00:00Z"] {
        house.clock.set(now.parse().unwrap());
        house.night().await;
        assert_eq!(days(&house), [(day("2026-08-20"), Some(day("2026-09-10")))]);
        assert_kept(&house, "camp-43", "north-43").await;
    }
    house.clock.set("2026-09-11T17:00:00Z".parse().unwrap());
    house.unasked_night().await;
    assert_eq!(days(&house), [(day("2026-08-20"), Some(day("2026-09-10"))), (day("2026-09-05"), None)]);
    let states = house.states().await;
    assert_eq!((&states["north-43"], &states["camp-43"]), (&("ended", None), &("pushed", None)));
}

/// One that begins behind the other's end is made at once, and what was to end later then does not.
async fn a_flag_is_not_extended_into_the_one_of_the_same_child(f: Fixture) {
    let house = two_of_one_campus(f).await;
    house.complete("n43", "north-43", "2026-08-20", Some("2026-10-31")).await;
    house.complete("c43", "camp-43", "2026-11-01", None).await;
    house.settle().await;
    let both = [(day("2026-08-20"), Some(day("2026-10-31"))), (day("2026-11-01"), None)];
    assert_eq!(days(&house), both);
    house.complete("n43", "north-43", "2026-08-20", None).await;
    house.settle().await;
    house.night().await;
    assert_eq!(days(&house), both);
    assert_kept(&house, "north-43", "camp-43").await;
    assert_quiet(&house).await;
    // A shorter one is asked of nobody.
    house.complete("n43", "north-43", "2026-08-20", Some("2026-10-15")).await;
    house.settle().await;
    assert_eq!(days(&house), [(day("2026-08-20"), Some(day("2026-10-15"))), both[1]]);
}

/// The other's lies ahead, and is there already.
async fn a_flag_ends_before_a_later_one_of_the_same_child_begins(f: Fixture) {
    let house = two_of_one_campus(f).await;
    house.complete("n43", "north-43", "2026-11-01", None).await;
    house.settle().await;
    house.complete("c43", "camp-43", "2026-08-20", None).await;
    house.settle().await;
    house.night().await;
    assert_eq!(days(&house), [(day("2026-08-20"), Some(day("2026-10-31"))), (day("2026-11-01"), None)]);
    assert_kept(&house, "camp-43", "north-43").await;
    assert_quiet(&house).await;
    // It was withdrawn, of which its first day is left: the day after it the former goes on.
    house.withdraw("n43").await;
    house.settle().await;
    house.clock.set("2026-11-02T17:00:00Z".parse().unwrap());
    house.unasked_night().await;
    assert_eq!(days(&house), [(day("2026-08-20"), None), (day("2026-11-01"), Some(day("2026-11-01")))]);
    assert_eq!(house.states().await["camp-43"], ("pushed", None));
}

/// Staff deleted the former student's, and the other's was made.
async fn a_deleted_flag_of_a_child_who_has_another_is_not_restored(f: Fixture) {
    let house = two_of_one_campus(f).await;
    house.complete("n43", "north-43", "2026-08-20", None).await;
    house.settle().await;
    house.campus.delete(&former(&house));
    house.night().await;
    assert_eq!(house.states().await["north-43"], ("drift", Some("deleted".to_owned())));
    house.complete("c43", "camp-43", "2026-08-25", None).await;
    house.settle().await;
    restore(&house).await;
    house.night().await;
    let other = [(day("2026-08-25"), None)];
    assert_eq!(days(&house), other);
    assert_kept(&house, "north-43", "camp-43").await;
    assert_quiet(&house).await;
    // Neither keeps the other from being restored where both are deleted.
    house.campus.delete(&house.flag_of("guid-43").id);
    house.night().await;
    house.night().await;
    assert_eq!(days(&house), other);
    house.withdraw("c43").await;
    house.settle().await;
    house.night().await;
    assert_eq!(days(&house), [(day("2026-08-20"), None), (day("2026-08-25"), Some(day("2026-08-31")))]);
    assert_eq!(house.states().await["north-43"], ("pushed", None));
}

/// Campus took the former student's, and its answer was lost: the other one, of a lower id, gets none.
async fn a_flag_of_a_child_whose_answer_was_lost_is_there(f: Fixture) {
    let house = two_of_one_campus(f).await;
    house.complete("n43", "north-43", "2026-08-20", None).await;
    house.strike(CampusFault::LostAnswer, None);
    house.handle_sync().await;
    let flag = house.flags().await.remove(0);
    assert!(flag.due && flag.pushed.is_none(), "{flag:?}");
    assert_eq!(days(&house), [(day("2026-08-20"), None)]);
    house.campus.set_faults(CampusFaults::default());
    house.complete("c43", "camp-43", "2026-08-25", None).await;
    house.settle().await;
    assert_eq!(days(&house), [(day("2026-08-20"), None)]);
    assert_kept(&house, "camp-43", "north-43").await;
    house.night().await;
    assert_eq!(house.states().await["north-43"], ("pushed", None));
    assert_eq!(days(&house), [(day("2026-08-20"), None)]);
}

/// The former student is somebody else in Campus by now, which was not written yet: nobody takes a flag of either.
async fn a_flag_on_its_way_to_another_child_is_both_childrens(f: Fixture) {
    let house = two_of_one_campus(f).await;
    house.complete("n43", "north-43", "2026-08-20", None).await;
    house.settle().await;
    fails_at(&house, &former(&house));
    let people = vec![changed(of(0, "north-43", "GUID-99")), added(of(1, "camp-99", "guid-99"))];
    applied(house.store(), &house.district, 4, people).await;
    house.handle_sync().await;
    house.complete("c43", "camp-43", "2026-08-25", None).await;
    house.complete("c99", "camp-99", "2026-08-25", None).await;
    house.handle_push().await;
    assert_kept(&house, "camp-43", "north-43").await;
    assert_kept(&house, "camp-99", "north-43").await;
    house.campus.set_faults(CampusFaults::default());
    house.night().await;
    house.night().await;
    let shown = [("GUID-99", "2026-08-20"), ("guid-43", "2026-08-25")];
    assert_eq!(house.shown(), shown.map(|(id, starts)| (id.to_owned(), (day(starts), None))).into());
}

async fn children_whose_ids_were_swapped_get_each_their_own(f: Fixture) {
    let house = two_of_one_campus(f).await;
    let known = [of(0, "north-51", "GUID-51"), of(0, "north-52", "GUID-52")];
    applied(house.store(), &house.district, 4, known.map(added).into()).await;
    house.complete("n51", "north-51", "2026-08-21", None).await;
    house.complete("n52", "north-52", "2026-08-22", None).await;
    house.settle().await;
    let corrected = [of(0, "north-51", "GUID-52"), of(0, "north-52", "GUID-51")];
    applied(house.store(), &house.district, 5, corrected.map(changed).into()).await;
    house.unasked_night().await;
    let shown = [("GUID-51", "2026-08-22"), ("GUID-52", "2026-08-21")];
    assert_eq!(house.shown(), shown.map(|(id, starts)| (id.to_owned(), (day(starts), None))).into());
    let states = house.states().await;
    assert!(states.values().all(|state| *state == ("pushed", None)), "{states:#?}");
}

/// It was another child's by a wrong id; by the right one the child has a flag already.
async fn a_flag_of_a_stranger_goes_to_the_child_whose_it_is(f: Fixture) {
    let house = two_of_one_campus(f).await;
    house.complete("c43", "camp-43", "2026-08-25", None).await;
    applied(house.store(), &house.district, 4, vec![changed(of(0, "north-43", "GUID-99"))]).await;
    house.complete("n43", "north-43", "2026-08-20", None).await;
    house.settle().await;
    assert_eq!(house.shown()["GUID-99"], (day("2026-08-20"), None));
    applied(house.store(), &house.district, 5, vec![changed(of(0, "north-43", "GUID-43"))]).await;
    house.unasked_night().await;
    let whose: Vec<_> = house.campus.flags().into_iter().map(|flag| flag.student.to_ascii_lowercase()).collect();
    assert_eq!(whose, ["guid-43", "guid-43"]);
    assert_eq!(days(&house), [(day("2026-08-20"), Some(day("2026-08-31"))), (day("2026-08-25"), None)]);
    house.unasked_night().await;
    assert_kept(&house, "north-43", "camp-43").await;
    assert_quiet(&house).await;
}

/// The child's flag of before is ended, and the take-over done, though the other student gets no new one: kept back, or left.
async fn an_old_flag_ends_once_the_child_has_one_as_either_student(f: Fixture) {
    let house = two_of_one_campus_that(f, "take-over").await;
    let mover = [of(0, "north-44", "GUID-44"), of(1, "camp-44", "guid-44")];
    applied(house.store(), &house.district, 4, mover.map(added).into()).await;
    for number in ["43", "44"] {
        house.typed_in(&format!("old-{number}"), &format!("GUID-{number}"), "2024-01-01", None);
        house.complete(&format!("n{number}"), &format!("north-{number}"), "2026-08-20", None).await;
        house.complete(&format!("c{number}"), &format!("camp-{number}"), "2026-08-25", None).await;
    }
    applied(house.store(), &house.district, 5, vec![gone("north-44")]).await;
    house.approve().await;
    house.night().await;
    house.night().await;
    let ended = Some(day("2026-08-14"));
    assert_eq!(house.old(), ["old-43", "old-44"].map(|id| (id.to_owned(), ended)).into());
    assert_kept(&house, "north-43", "camp-43").await;
    let old = (day("2024-01-01"), ended);
    assert_eq!(days(&house), [old, old, (day("2026-08-25"), None), (day("2026-08-25"), None)]);
    assert!(house.store().cutovers(&house.district).await.unwrap().remove(0).done_at.is_some());
}

/// The new one that was there is over before the old one could be ended: that waits for the other student's.
async fn an_old_flag_stays_while_the_child_has_one_as_neither_student(f: Fixture) {
    let house = two_of_one_campus_that(f, "take-over").await;
    house.typed_in("old-43", "GUID-43", "2024-01-01", None);
    house.complete("n43", "north-43", "2026-08-20", None).await;
    house.complete("c43", "camp-43", "2026-08-25", None).await;
    fails_at(&house, "old-43");
    house.approve().await;
    house.night().await;
    assert_kept(&house, "north-43", "camp-43").await;
    house.withdraw("c43").await;
    house.handle_push().await;
    assert_eq!(house.states().await["camp-43"], ("ended", None));
    house.campus.set_faults(CampusFaults::default());
    house.settle().await;
    assert_eq!(house.old()["old-43"], None, "nobody has another one in its place");
    house.night().await;
    assert_eq!(house.states().await["north-43"], ("pushed", None));
    assert_eq!(house.old()["old-43"], Some(day("2026-08-14")));
}

/// What was pushed of the one is not there any more, and Campus fails at the other's.
async fn an_old_flag_stays_where_staff_ended_the_other_students(f: Fixture) {
    let house = two_of_one_campus_that(f, "take-over").await;
    house.typed_in("old-43", "GUID-43", "2024-01-01", None);
    house.complete("n43", "north-43", "2026-08-20", None).await;
    house.complete("c43", "camp-43", "2026-08-25", None).await;
    fails_at(&house, "old-43");
    house.approve().await;
    house.night().await;
    assert_kept(&house, "north-43", "camp-43").await;
    house.campus.type_in(CampusFlag { ends: Some(day("2026-08-31")), ..house.flag_of("guid-43") });
    fails_at(&house, &flag_of(&house, "north-43").await);
    house.night().await;
    assert_eq!(house.states().await["camp-43"], ("drift", Some("edited end".to_owned())));
    assert_eq!(house.old()["old-43"], None, "nothing is there in its place");
    house.campus.set_faults(CampusFaults::default());
    house.night().await;
    assert_eq!(house.states().await["north-43"], ("pushed", None));
    assert_eq!(house.old()["old-43"], Some(day("2026-08-14")));
}

async fn a_flag_that_campus_never_takes_keeps_the_other_students_out_for_a_while(f: Fixture) {
    let house = two_of_one_campus(f).await;
    house.complete("n43", "north-43", "2026-08-20", None).await;
    house.complete("c43", "camp-43", "2026-08-25", None).await;
    house.strike(CampusFault::Status(503), None);
    house.handle_sync().await;
    fails_at(&house, &flag_of(&house, "camp-43").await);
    house.settle().await;
    house.night().await;
    assert_eq!(days(&house), [(day("2026-08-20"), None)]);
    assert_eq!(house.states().await["north-43"], ("pushed", None));
    house.campus.set_faults(CampusFaults::default());
    house.night().await;
    assert_kept(&house, "camp-43", "north-43").await;
    assert_eq!(days(&house), [(day("2026-08-20"), None)]);
}

/// The id of a student's flag.
async fn flag_of(house: &House, student: &str) -> String {
    let flags = house.flags().await;
    flags.iter().find(|flag| flag.student.0 == student).unwrap().id.to_string()
}

async fn the_id_that_is_sent_is_the_one_without_the_connections_prefix(f: Fixture) {
    let house = two_connections(f).await;
    house.complete("c41", "camp-41", "2026-08-20", None).await;
    house.settle().await;
    house.night().await;
    let flag = house.flags().await.remove(0);
    assert_eq!(
        (flag.student.0.as_str(), flag.sis_id.as_deref(), flag.state),
        ("camp-41", Some("41"), FlagState::Pushed)
    );
    assert_eq!(house.flag_of("41").program, "101");
    house.withdraw("c41").await;
    house.settle().await;
    assert_eq!(house.shown(), [("41".to_owned(), (day("2026-08-20"), Some(day("2026-08-31"))))].into());
    assert_eq!(house.campus.stats().writes, 2);
}
