//! What participations want, Campus shows: night by night, or one student at once.

use std::collections::BTreeMap;

use rollcall_flag_sync::{FlagHandler, FlagSyncConfig, partner::PartnerInterface};
use rollcall_proto::{
    clock::Clock as _,
    handler::{Fate, Handler as _},
    message::{Message, StudentEvent},
    roster::Student,
};
use rollcall_sandbox::{CampusConfig, CampusFault, CampusFaults, CampusFlag, Strike};
use rollcall_store::district::OnDrift;

use crate::{
    common::{Fixture, day},
    house::{House, SPED, STUDENTS, program, two_programs},
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
    a_flag_that_staff_deleted_is_not_made_anew_for_one_who_left,
    a_flag_that_staff_deleted_before_it_was_read_back_is_reported_or_restored,
    a_flag_deleted_before_its_change_is_sent_is_not_made_anew_for_one_who_left,
    a_student_who_is_given_another_id_under_way_keeps_the_flag,
    what_is_asked_for_under_way_is_compared_again,
    one_student_is_synced_at_once,
    one_program_is_synced_alone,
    a_program_that_was_asked_for_is_synced_without_its_message,
    links_follow_the_public_url,
    what_staff_added_to_our_flags_stays,
    an_edit_is_told_before_it_is_written_over,
    an_edit_while_a_change_waits_is_told_before_it_is_written_over,
    an_edit_while_a_link_waits_stays,
    create_new_touches_no_existing_flag,
    a_campus_that_filters_nothing_is_read_whole,
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

async fn a_flag_that_staff_deleted_is_not_made_anew_for_one_who_left(f: Fixture) {
    let house = House::create_new(f).await;
    let mut restoring = house.file.clone();
    restoring.programs[0].on_drift = OnDrift::Restore;
    house.apply(&restoring).await;
    house.complete("a", "1", "2026-08-20", None).await;
    house.complete("b", "2", "2026-08-20", None).await;
    house.settle().await;
    applied(house.store(), &house.district, 2, vec![gone("1")]).await;
    for flag in house.campus.flags() {
        house.campus.delete(&flag.id);
    }
    house.night().await;
    house.night().await;
    assert_eq!(house.shown().keys().collect::<Vec<_>>(), ["2"], "who attends has it restored");
    assert_eq!(house.states().await["1"], ("drift", Some("deleted".to_owned())));
    house.withdraw("a").await;
    house.complete("c", "1", "2026-08-25", None).await;
    house.settle().await;
    assert_eq!(house.shown().keys().collect::<Vec<_>>(), ["2"], "nor by other dates");
}

/// Campus goes away right after it took two flags; one of the students leaves, and staff delete both.
async fn a_flag_that_staff_deleted_before_it_was_read_back_is_reported_or_restored(f: Fixture) {
    let house = House::create_new(f).await;
    let deleted = ("drift", Some("deleted".to_owned()));
    let mut run = 1;
    // Found by reading back, and by comparing.
    for (one, two, compared) in [("1", "2", false), ("3", "4", true)] {
        house.complete(&format!("d{one}"), one, "2026-08-20", None).await;
        house.complete(&format!("d{two}"), two, "2026-08-20", None).await;
        let taken = house.campus.stats().writes + 2;
        house.campus.set_faults(CampusFaults { outage_after_writes: Some(taken), ..CampusFaults::default() });
        house.handle_sync().await;
        run += 1;
        applied(house.store(), &house.district, run, vec![gone(one)]).await;
        for student in [one, two] {
            house.campus.delete(&house.flag_of(student).id);
        }
        house.campus.set_faults(CampusFaults::default());
        if compared {
            house.unasked_night().await;
        } else {
            house.settle().await;
        }
        house.unasked_night().await;
        assert_eq!(house.shown(), BTreeMap::new(), "it is only reported");
        for student in [one, two] {
            assert_eq!(house.states().await[student], deleted);
            let flag = house.flags().await.into_iter().find(|flag| flag.student.0 == student).unwrap();
            let told = house.told(Some(&flag.id.to_string())).await;
            let told: Vec<_> = told.iter().map(|(action, answer)| (action.as_str(), answer.as_str())).collect();
            assert_eq!(told, [("put", "201"), ("read-back", "not-read-back"), ("drift", "deleted")], "{compared}");
        }
    }
    let mut restoring = house.file.clone();
    restoring.programs[0].on_drift = OnDrift::Restore;
    house.apply(&restoring).await;
    house.night().await;
    assert_eq!(house.shown().keys().collect::<Vec<_>>(), ["2", "4"], "who attends has it restored");
    let states = house.states().await;
    assert_eq!((&states["1"], &states["2"]), (&deleted, &("pushed", None)));
    // At once, where the district wants that.
    house.complete("d5", "5", "2026-08-20", None).await;
    let taken = house.campus.stats().writes + 1;
    house.campus.set_faults(CampusFaults { outage_after_writes: Some(taken), ..CampusFaults::default() });
    house.handle_sync().await;
    house.campus.delete(&house.flag_of("5").id);
    house.campus.set_faults(CampusFaults::default());
    house.settle().await;
    assert_eq!(house.states().await["5"], ("pushed", None));
}

/// What was compared waits for a Campus that takes nothing; who attends has the change written all the same.
async fn a_flag_deleted_before_its_change_is_sent_is_not_made_anew_for_one_who_left(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete("a", "1", "2026-08-20", None).await;
    house.complete("b", "2", "2026-08-20", None).await;
    house.settle().await;
    applied(house.store(), &house.district, 2, vec![gone("1")]).await;
    house.complete("a", "1", "2026-08-20", Some("2027-01-31")).await;
    house.complete("b", "2", "2026-08-20", Some("2027-01-31")).await;
    house.strike(CampusFault::Status(503), None);
    house.handle_sync().await;
    assert!(house.flags().await.iter().all(|flag| flag.due));
    let left = house.flag_of("1").id;
    for flag in house.campus.flags() {
        house.campus.delete(&flag.id);
    }
    house.campus.set_faults(CampusFaults::default());
    house.settle().await;
    house.unasked_night().await;
    assert_eq!(house.shown(), BTreeMap::from([("2".to_owned(), (day("2026-08-20"), Some(day("2027-01-31"))))]));
    assert_eq!(house.states().await["1"], ("wanted", Some("not-enrolled".to_owned())));
    assert_eq!(house.told(Some(&left)).await.last(), Some(&("drift".to_owned(), "deleted".to_owned())));
}

/// Two students wait; while the first is compared, the second moves to another id.
async fn a_student_who_is_given_another_id_under_way_keeps_the_flag(f: Fixture) {
    let config = CampusConfig { page_limit: 5, latency_ms: 300, ..CampusConfig::default() };
    let house = House::with(f, program("create-new"), config).await;
    house.complete("a", "1", "2026-08-20", None).await;
    house.complete("b", "2", "2026-08-20", None).await;
    house.settle().await;
    let before = house.flag_of("2");
    house.complete("a", "1", "2026-08-20", Some("2027-01-31")).await;
    house.complete("b", "2", "2026-08-20", Some("2027-01-31")).await;
    let (handler, asked) = (house.handler(), house.campus.stats().calls);
    let message = Message::flag_sync(house.district.clone(), Some(id("1")), house.clock.now());
    let work = tokio::spawn(async move { handler.handle(message).await });
    let began = tokio::time::Instant::now();
    while house.campus.stats().calls == asked {
        assert!(began.elapsed() < std::time::Duration::from_mins(1), "nothing is compared");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let record = Student { sis_id: Some("2".to_owned()), ..student("GUID-2") };
    let renamed = StudentEvent { rekeyed_from: Some(id("2")), ..changed(record) };
    applied(house.store(), &house.district, 2, vec![renamed]).await;
    assert_eq!(work.await.unwrap(), Fate::Done);
    house.settle().await;
    house.unasked_night().await;
    assert_eq!(house.participations().await.len(), 2, "it is still the same one");
    assert_eq!(house.flag_of("2"), CampusFlag { ends: Some(day("2027-01-31")), ..before });
    assert_eq!(house.shown().len(), 2);
    assert!(house.states().await.values().all(|state| *state == ("pushed", None)));
}

/// By a person, or by another file of the district; the message that comes with it is lost.
async fn what_is_asked_for_under_way_is_compared_again(f: Fixture) {
    let config = CampusConfig { latency_ms: 300, ..CampusConfig::default() };
    let house = House::with(f, program("create-new"), config).await;
    house.complete("a", "1", "2026-08-20", None).await;
    house.complete_of("Section 504", "b", "2", "2026-08-20", None).await;
    house.settle().await;
    let mut other = house.file.clone();
    other.programs.extend(serde_json::from_value::<Vec<_>>(two_programs()).unwrap().pop());
    for by_file in [false, true] {
        house.clock.advance(chrono::TimeDelta::hours(1));
        let (handler, asked) = (house.handler(), house.campus.stats().calls);
        let message = Message::flag_sync(house.district.clone(), None, house.clock.now());
        let work = tokio::spawn(async move { handler.handle(message).await });
        let began = tokio::time::Instant::now();
        while house.campus.stats().calls == asked {
            assert!(began.elapsed() < std::time::Duration::from_mins(1), "nothing is compared");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        if by_file {
            house.apply(&other).await;
        } else {
            house.store().ask_for_flags(&house.district, "test", house.clock.now()).await.unwrap();
        }
        assert_eq!(work.await.unwrap(), Fate::Done);
        assert_eq!(house.store().flags_synced_at(&house.district).await.unwrap(), None, "{by_file}");
        house.settle().await;
        assert!(house.store().flags_synced_at(&house.district).await.unwrap().is_some());
    }
    assert_eq!(house.shown().keys().collect::<Vec<_>>(), ["1", "2"], "the program that was switched on is written");
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

/// The other program's flags are not even looked at.
async fn one_program_is_synced_alone(f: Fixture) {
    let house = House::new(f, two_programs()).await;
    house.complete("a", "1", "2026-08-20", None).await;
    house.complete_of("Section 504", "b", "2", "2026-08-20", None).await;
    house.settle().await;
    for student in ["1", "2"] {
        house.campus.type_in(CampusFlag { ends: Some(day("2026-08-30")), ..house.flag_of(student) });
    }
    let synced = house.store().flags_synced_at(&house.district).await.unwrap();
    house.clock.advance(chrono::TimeDelta::hours(1));
    house.store().ask_for_program_flags(&house.district, SPED, "test", house.clock.now()).await.unwrap();
    let message = Message::program_flag_sync(house.district.clone(), SPED.to_owned(), house.clock.now());
    assert_eq!(house.handler().handle(message).await, Fate::Done);
    let states = house.states().await;
    assert_eq!((states["1"].0, states["2"].0), ("drift", "pushed"));
    assert_eq!(house.store().flags_synced_at(&house.district).await.unwrap(), synced, "it was no whole sync");
    house.night().await;
    assert_eq!(house.states().await["2"].0, "drift");
}

/// The command died between commit and publish, or the queue was purged; then Campus is away for a while.
async fn a_program_that_was_asked_for_is_synced_without_its_message(f: Fixture) {
    let house = House::new(f, two_programs()).await;
    house.complete("a", "1", "2026-08-20", None).await;
    house.complete_of("Section 504", "b", "2", "2026-08-20", None).await;
    house.settle().await;
    for student in ["1", "2"] {
        house.campus.type_in(CampusFlag { ends: Some(day("2026-08-30")), ..house.flag_of(student) });
    }
    let synced = house.store().flags_synced_at(&house.district).await.unwrap();
    house.clock.advance(chrono::TimeDelta::hours(1));
    house.store().ask_for_program_flags(&house.district, SPED, "test", house.clock.now()).await.unwrap();
    let away = vec![Strike { fault: CampusFault::Status(503), writes_only: false, only: None, times: Some(3) }];
    house.campus.set_faults(CampusFaults { strikes: away, ..CampusFaults::default() });
    house.settle().await;
    let states = house.states().await;
    assert_eq!((states["1"].0, states["2"].0), ("drift", "pushed"));
    assert_eq!(house.store().flags_synced_at(&house.district).await.unwrap(), synced, "it was no whole sync");
    assert!(house.store().asked_programs(&house.district).await.unwrap().is_empty());
}

async fn links_follow_the_public_url(f: Fixture) {
    let mut house = House::create_new(f).await;
    let reach = house.public_url.take();
    house.complete_all().await;
    house.settle().await;
    house.assert_all_shown();
    assert!(house.campus.flags().iter().all(|flag| flag.link.is_none()));
    let unlinked = ("pushed", Some("no-public-url".to_owned()));
    assert!(house.states().await.values().all(|state| *state == unlinked), "{:?}", house.states().await);
    let writes = || house.campus.stats().writes;
    let before = writes();
    house.night().await;
    assert_eq!(writes(), before, "an unchanged night sends no write");

    house.public_url = reach;
    house.unasked_night().await;
    house.assert_all_pushed().await;
    let linked = |host: &str| {
        let prefix = format!("https://{host}/lti/{}/launch?flag=", house.district);
        house.campus.flags().iter().all(|flag| flag.link == Some(format!("{prefix}{}", flag.id)))
    };
    assert!(linked("rollcall.example"));
    house.public_url = Some("https://plans.example/".parse().unwrap());
    house.unasked_night().await;
    house.assert_all_pushed().await;
    let linked = |host: &str| {
        let prefix = format!("https://{host}/lti/{}/launch?flag=", house.district);
        house.campus.flags().iter().all(|flag| flag.link == Some(format!("{prefix}{}", flag.id)))
    };
    assert!(linked("plans.example"));

    // As a version stored them that did not keep links: what Campus shows is right, and nothing is sent.
    let mut old = house.flags().await;
    for flag in &mut old {
        flag.pushed.as_mut().unwrap().link = None;
    }
    house.keep(&old).await;
    let (before, told) = (house.campus.stats().writes, house.told(None).await.len());
    house.unasked_night().await;
    assert_eq!((house.campus.stats().writes, house.told(None).await.len()), (before, told));
    assert!(house.flags().await.iter().all(|flag| flag.pushed.as_ref().unwrap().link.is_some()));
    // A setting that is gone takes no link away.
    house.public_url = None;
    house.unasked_night().await;
    assert_eq!(house.campus.stats().writes, before);
    house.assert_all_pushed().await;
}

/// Of few flags and of many, which are read in another way.
async fn what_staff_added_to_our_flags_stays(f: Fixture) {
    let house = House::new(f, two_programs()).await;
    house.complete_both(None).await;
    house.settle().await;
    for flag in house.campus.flags() {
        house.campus.type_in(CampusFlag { comment: Some(format!("call {} first", flag.student)), ..flag });
    }
    let all_stay = |ends: Option<&str>| {
        let flags = house.campus.flags();
        assert_eq!(flags.len(), 2 * STUDENTS);
        for flag in flags {
            assert_eq!(flag.comment, Some(format!("call {} first", flag.student)));
            assert_eq!((flag.ends, flag.link.is_some()), (ends.map(day), true));
        }
    };
    house.unasked_night().await;
    all_stay(None);
    assert_eq!(
        house.told(None).await.iter().filter(|(action, _)| action == "drift").count(),
        0,
        "it is no edit of ours"
    );
    house.complete_both(Some("2027-01-31")).await;
    house.settle().await;
    all_stay(Some("2027-01-31"));
    house.complete_both(None).await;
    house.complete("a0", "0", "2026-08-20", None).await;
    house.settle().await;
    all_stay(None);
    house.complete("a3", "3", "2026-08-20", Some("2027-02-28")).await;
    house.settle().await;
    let one = house.campus.flags().into_iter().find(|flag| flag.ends.is_some()).unwrap();
    assert_eq!((one.student.as_str(), one.comment.as_deref()), ("3", Some("call 3 first")));
}

async fn an_edit_is_told_before_it_is_written_over(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete("a", "1", "2026-08-20", None).await;
    house.settle().await;
    let flag = house.flag_of("1");
    house.campus.type_in(CampusFlag { ends: Some(day("2026-08-30")), ..flag.clone() });
    house.complete("a", "1", "2026-08-20", Some("2027-01-31")).await;
    house.settle().await;
    assert_eq!(house.shown()["1"].1, Some(day("2027-01-31")));
    let told = house.told(Some(&flag.id)).await;
    let told: Vec<_> = told.iter().skip(2).map(|(action, answer)| (action.as_str(), answer.as_str())).collect();
    assert_eq!(told, [("drift", "edited end"), ("put", "200"), ("read-back", "as-wished")]);
}

/// What was compared waits for a Campus that takes nothing, tried again and again; staff edit one flag and delete another. Of few flags
/// and of many, which are read in another way.
async fn an_edit_while_a_change_waits_is_told_before_it_is_written_over(f: Fixture) {
    let house = House::new(f, two_programs()).await;
    for (many, ends) in [(false, "2027-01-31"), (true, "2027-02-28")] {
        house.complete_both(None).await;
        house.settle().await;
        if many {
            house.complete_both(Some(ends)).await;
        } else {
            house.complete("a1", "1", "2026-08-20", Some(ends)).await;
            house.complete("a2", "2", "2026-08-20", Some(ends)).await;
        }
        house.strike(CampusFault::Status(503), None);
        house.handle_sync().await;
        let due = |student: &str| {
            let all = house.campus.flags().into_iter();
            all.filter(|flag| flag.program == "101").find(|flag| flag.student == student).unwrap()
        };
        let (edited, deleted) = (due("1"), due("2"));
        house.campus.type_in(CampusFlag { ends: Some(day("2026-08-30")), ..edited.clone() });
        house.campus.delete(&deleted.id);
        house.clock.advance(chrono::TimeDelta::minutes(20));
        house.handle_sync().await;
        house.campus.set_faults(CampusFaults::default());
        house.settle().await;
        for (flag, edit) in [(edited, "edited end"), (deleted, "deleted")] {
            let told = house.told(Some(&flag.id)).await;
            let is_put = |line: &(String, String)| line.0 == "put" && line.1.starts_with('2');
            let last = told.iter().rposition(is_put).unwrap();
            let before = told[..last].iter().rposition(is_put).unwrap();
            let drift = |lines: &[(String, String)]| {
                let lines = lines.iter().filter(|line| line.0 == "drift");
                lines.map(|line| line.1.clone()).collect::<Vec<_>>()
            };
            assert_eq!(drift(&told[before..last]), [edit], "{many}: told once, before it is written over: {told:?}");
            assert_eq!(drift(&told[last..]), [""; 0], "{many}: {told:?}");
            let now = house.campus.flags().into_iter().find(|one| one.id == flag.id).unwrap();
            assert_eq!(now.ends, Some(day(ends)), "{many}");
        }
        let edits = house.told(None).await.into_iter().filter(|line| line.0 == "drift").count();
        assert_eq!(edits, if many { 4 } else { 2 }, "nobody else's");
    }
}

/// Another link alone overrules no edit, whenever that is made.
async fn an_edit_while_a_link_waits_stays(f: Fixture) {
    let mut house = House::create_new(f).await;
    house.complete("a", "1", "2026-08-20", None).await;
    house.complete("b", "2", "2026-08-20", None).await;
    house.settle().await;
    house.public_url = Some("https://plans.example/".parse().unwrap());
    house.strike(CampusFault::Status(503), None);
    house.unasked_night().await;
    assert!(house.flags().await.iter().all(|flag| flag.due));
    let flag = house.flag_of("1");
    house.campus.type_in(CampusFlag { ends: Some(day("2026-08-30")), ..flag.clone() });
    house.campus.set_faults(CampusFaults::default());
    house.settle().await;
    let edited = ("drift", Some("edited end".to_owned()));
    for _ in 0..2 {
        assert_eq!((house.states().await["1"].clone(), house.states().await["2"].0), (edited.clone(), "pushed"));
        assert_eq!(house.shown()["1"].1, Some(day("2026-08-30")), "it is only reported");
        assert!(house.flag_of("2").link.unwrap().starts_with("https://plans.example/"));
        let told = house.told(Some(&flag.id)).await;
        assert_eq!(told.iter().filter(|line| line.0 == "drift").count(), 1, "{told:?}");
        house.unasked_night().await;
    }
    let mut restoring = house.file.clone();
    restoring.programs[0].on_drift = OnDrift::Restore;
    house.apply(&restoring).await;
    house.night().await;
    assert_eq!((house.shown()["1"].1, house.states().await["1"].0), (None, "pushed"));
}

async fn create_new_touches_no_existing_flag(f: Fixture) {
    let house = House::create_new(f).await;
    house.typed_in("old-open", "1", "2024-01-01", None);
    house.typed_in("old-of-nobody", "999", "2024-01-01", Some("2027-01-01"));
    house.typed_in("old-later", "2", "2026-08-20", None);
    let old = || house.campus.flags().into_iter().filter(|flag| flag.id.starts_with("old")).collect::<Vec<_>>();
    let before = old();
    house.complete("a", "1", "2026-08-20", None).await;
    house.complete("b", "2", "2026-08-20", None).await;
    house.night().await;
    house.complete("a", "1", "2026-08-20", Some("2026-08-31")).await;
    house.withdraw("b").await;
    house.night().await;
    house.unasked_night().await;
    assert_eq!(old(), before);
    assert_eq!(house.campus.flags().len(), before.len() + 2, "ours stand beside them");
}

/// The fields to filter by are left empty, or Campus knows none of them.
async fn a_campus_that_filters_nothing_is_read_whole(f: Fixture) {
    let config = CampusConfig { page_limit: 5, filters: false, ..CampusConfig::default() };
    let house = House::with(f, two_programs(), config).await;
    house.complete_all().await;
    house.complete_of("Section 504", "other", "1", "2026-08-20", None).await;
    house.settle().await;
    assert_eq!(house.campus.flags().len(), STUDENTS + 1);
    let unfiltered = PartnerInterface {
        student_filter: String::new(),
        program_filter: String::new(),
        ..PartnerInterface::default()
    };
    let context = house.context_with(FlagSyncConfig { partner: unfiltered, ..FlagSyncConfig::default() });
    let handler = FlagHandler::new(context);
    let whole = || Message::flag_sync(house.district.clone(), None, house.clock.now());
    house.clock.advance(chrono::TimeDelta::hours(1));
    assert_eq!(handler.handle(whole()).await, Fate::Done);
    assert_eq!(house.campus.stats().writes as usize, STUDENTS + 1, "all are found");
    house.complete("d3", "3", "2026-08-20", Some("2027-01-31")).await;
    let one = Message::flag_sync(house.district.clone(), Some(id("3")), house.clock.now());
    assert_eq!(handler.handle(one).await, Fate::Done);
    assert_eq!(house.flag_of("3").ends, Some(day("2027-01-31")));
    assert_eq!(house.campus.stats().writes as usize, STUDENTS + 2);
    assert_eq!(house.campus.stats().refused, 0);
}
