//! What participations want, Campus shows: night by night, or one student at once.

use std::collections::BTreeMap;

use rollcall_proto::{
    clock::Clock as _,
    handler::{Fate, Handler as _},
    message::{Message, StudentEvent},
    roster::Student,
};
use rollcall_sandbox::CampusFlag;
use rollcall_store::district::OnDrift;

use crate::{
    common::{Fixture, day},
    house::{House, program},
    on_both_engines,
    roster_support::{added, applied, changed, gone, id, student},
};

on_both_engines! {
    flags_follow_documents,
    programs_go_live_one_by_one,
    a_student_whom_campus_does_not_know_is_listed_until_it_does,
    a_student_who_is_given_another_id_keeps_the_flag,
    an_unchanged_night_sends_no_write,
    edits_by_hand_are_reported_or_restored,
    a_status_ends_no_flag_and_makes_none,
    one_student_is_synced_at_once,
}

async fn flags_follow_documents(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete("a", "1", "2026-05-01", Some("2026-12-31")).await;
    house.complete("b", "2", "2026-10-01", None).await;
    house.complete("c", "3", "2026-01-01", Some("2026-08-14")).await;
    house.settle().await;
    let cutover = day("2026-08-15");
    let expected = BTreeMap::from([
        ("1".to_owned(), (cutover, Some(day("2026-12-31")))),
        ("2".to_owned(), (day("2026-10-01"), None)),
    ]);
    assert_eq!(house.shown(), expected, "one begins at the cutover, one lies ahead, one was over before");
    let first = house.campus.flags().into_iter().find(|flag| flag.student == "1").unwrap();
    assert_eq!(first.link, Some(format!("https://rollcall.example/lti/{}/launch?flag={}", house.district, first.id)));

    house.complete("a2", "1", "2027-01-01", Some("2027-06-30")).await;
    house.complete("b", "2", "2026-09-15", None).await;
    house.settle().await;
    assert_eq!(house.shown()["1"], (cutover, Some(day("2027-06-30"))), "the next document follows without a gap");
    assert_eq!(house.shown()["2"], (day("2026-09-15"), None), "a corrected start changes the same flag");

    house.withdraw("b").await;
    house.settle().await;
    assert_eq!(house.shown()["2"], (day("2026-09-15"), Some(day("2026-09-15"))), "an end date, never a delete");
    let ledger = house.store().flag_ledger(&house.district, Some(&first.id), 10).await.unwrap();
    let told: Vec<_> = ledger.iter().rev().map(|line| (line.action.as_str(), line.answer.as_str())).collect();
    assert_eq!(told, [("put", "201"), ("read-back", "as-wished"), ("put", "200"), ("read-back", "as-wished")]);
    assert_eq!(ledger[1].why, "participation-changed");
}

async fn programs_go_live_one_by_one(f: Fixture) {
    let mut programs = program("create-new");
    let other =
        serde_json::json!({"name": "Section 504", "flags": true, "option": "create-new", "cutover": "2026-09-03"});
    programs.as_array_mut().unwrap().push(other);
    let house = House::new(f, programs).await;
    house.complete("a", "1", "2026-08-20", None).await;
    house.complete_of("Section 504", "b", "2", "2026-08-20", None).await;
    house.settle().await;
    // The last minute before the day, where the district is.
    house.clock.set("2026-09-03T04:59:00Z".parse().unwrap());
    house.handle_sync().await;
    assert_eq!(house.shown(), BTreeMap::from([("1".to_owned(), (day("2026-08-20"), None))]));
    assert_eq!(house.states().await["2"], ("wanted", Some("before-cutover".to_owned())));
    house.clock.set("2026-09-03T05:00:00Z".parse().unwrap());
    house.handle_sync().await;
    assert_eq!(house.shown()["2"], (day("2026-09-03"), None));
    assert_eq!(house.states().await["2"], ("pushed", None));
}

async fn a_student_whom_campus_does_not_know_is_listed_until_it_does(f: Fixture) {
    let house = House::create_new(f).await;
    applied(house.store(), &house.district, 2, vec![added(student("new"))]).await;
    house.complete("a", "new", "2026-08-20", None).await;
    house.night().await;
    assert_eq!(house.shown(), BTreeMap::new());
    assert_eq!(house.states().await["new"], ("no-sis-id", Some("no-sis-id".to_owned())));
    let known = Student { sis_id: Some("GUID".to_owned()), ..student("new") };
    applied(house.store(), &house.district, 3, vec![changed(known)]).await;
    house.unasked_night().await;
    assert_eq!(house.shown(), BTreeMap::from([("GUID".to_owned(), (day("2026-08-20"), None))]));
    assert_eq!(house.states().await["new"], ("pushed", None));
}

/// As a district's move from OneRoster 1.1 to 1.2 does, to one whose flag is pushed and to one whose flag is only due.
async fn a_student_who_is_given_another_id_keeps_the_flag(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete("a", "1", "2026-08-20", None).await;
    house.settle().await;
    let before = house.campus.flags();
    house.complete("b", "2", "2026-08-20", None).await;
    let renamed = ["1", "2"].map(|old| {
        let record = Student { sis_id: Some(old.to_owned()), ..student(&format!("GUID-{old}")) };
        StudentEvent { rekeyed_from: Some(id(old)), ..changed(record) }
    });
    applied(house.store(), &house.district, 2, renamed.into()).await;
    house.unasked_night().await;
    assert!(house.campus.flags().contains(&before[0]), "the same flag, untouched");
    assert_eq!(house.shown().len(), 2);
    let states = house.states().await;
    assert_eq!(states.keys().collect::<Vec<_>>(), ["GUID-1", "GUID-2"]);
    assert!(states.values().all(|state| *state == ("pushed", None)), "{states:#?}");
    house.withdraw("a").await;
    house.settle().await;
    assert!(house.shown()["1"].1.is_some(), "and it is the one that ends");
}

async fn an_unchanged_night_sends_no_write(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete_all().await;
    house.settle().await;
    house.assert_all_pushed().await;
    let (writes, flags) = (house.campus.stats().writes, house.flags().await);
    let ledger = house.store().flag_ledger(&house.district, None, 1_000).await.unwrap().len();
    for _ in 0..3 {
        house.night().await;
    }
    assert_eq!(house.campus.stats().writes, writes);
    assert_eq!(house.flags().await, flags);
    assert_eq!(house.store().flag_ledger(&house.district, None, 1_000).await.unwrap().len(), ledger);
}

async fn edits_by_hand_are_reported_or_restored(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete_all().await;
    house.settle().await;
    let flag = |student: &str| house.campus.flags().into_iter().find(|flag| flag.student == student).unwrap();
    house.campus.type_in(CampusFlag { ends: Some(day("2026-08-30")), ..flag("3") });
    house.campus.delete(&flag("4").id);
    house.night().await;
    house.night().await;
    let states = house.states().await;
    assert_eq!(states["3"], ("drift", Some("edited end".to_owned())));
    assert_eq!(states["4"], ("drift", Some("deleted".to_owned())));
    assert_eq!(house.shown()["3"].1, Some(day("2026-08-30")), "it is only reported");
    let ledger = house.store().flag_ledger(&house.district, None, 1_000).await.unwrap();
    assert_eq!(ledger.iter().filter(|line| line.action == "drift").count(), 2, "each is told once");
    let mut restoring = house.file.clone();
    restoring.programs[0].on_drift = OnDrift::Restore;
    house.apply(&restoring).await;
    house.night().await;
    house.assert_all_pushed().await;
}

async fn a_status_ends_no_flag_and_makes_none(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete("a", "1", "2026-08-20", None).await;
    house.settle().await;
    applied(house.store(), &house.district, 2, vec![gone("1"), gone("2")]).await;
    house.complete("b", "2", "2026-08-20", None).await;
    house.night().await;
    assert_eq!(house.shown(), BTreeMap::from([("1".to_owned(), (day("2026-08-20"), None))]));
    let states = house.states().await;
    assert_eq!(states["1"], ("pushed", None));
    assert_eq!(states["2"], ("wanted", Some("not-enrolled".to_owned())));
    house.withdraw("a").await;
    house.settle().await;
    assert!(house.shown()["1"].1.is_some(), "the participation ends it");
}

async fn one_student_is_synced_at_once(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete_all().await;
    house.settle().await;
    let calls = house.campus.stats().calls;
    house.complete("d3", "3", "2026-08-20", Some("2027-01-31")).await;
    let message = Message::flag_sync(house.district.clone(), Some(id("3")), house.clock.now());
    assert_eq!(house.handler().handle(message.clone()).await, Fate::Done);
    assert_eq!(house.shown()["3"].1, Some(day("2027-01-31")));
    let asked = house.campus.stats().calls - calls;
    assert!(asked <= 8, "one student costs {asked} requests");
    // The same message again does nothing.
    let writes = house.campus.stats().writes;
    assert_eq!(house.handler().handle(message).await, Fate::Done);
    assert_eq!(house.campus.stats().writes, writes);
}
