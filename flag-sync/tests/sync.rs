//! flag-sync against a Campus over real HTTP, on both engines: whatever goes wrong on the way, flags end as participations
//! want them, and none is doubled.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

#[path = "../../store/tests/common/mod.rs"]
mod common;
mod house;
#[path = "../../store/tests/roster_support/mod.rs"]
mod roster_support;

use std::{collections::BTreeMap, time::Duration};

use chrono::TimeDelta;
use common::{Fixture, day};
use house::{House, STUDENTS, program};
use rollcall_flag_sync::{FlagHandler, FlagSyncConfig};
use rollcall_proto::{
    clock::Clock as _,
    handler::{Fate, Handler as _},
    message::{Message, StudentEvent},
    roster::Student,
};
use rollcall_sandbox::{CampusConfig, CampusFault, CampusFaults, CampusFlag, CampusProgramRow, Strike};
use rollcall_store::district::{District, OnDrift};
use roster_support::{added, applied, changed, gone, id, student};
use uuid::Uuid;

on_both_engines! {
    flags_follow_documents,
    programs_go_live_one_by_one,
    a_student_whom_campus_does_not_know_is_listed_until_it_does,
    a_student_who_is_given_another_id_keeps_the_flag,
    an_unchanged_night_sends_no_write,
    passing_faults_cost_nothing,
    a_busy_campus_is_left_alone_for_as_long_as_it_asks,
    what_campus_refuses_is_set_aside_alone,
    what_is_refused_for_good_is_sent_once,
    a_lease_is_renewed_however_long_a_comparison_takes,
    a_base_url_is_taken_as_it_was_copied,
    half_a_batch_and_a_days_outage_are_made_good,
    a_refused_vendor_is_told_and_tried_again,
    a_wrong_vendor_secret_writes_nothing,
    edits_by_hand_are_reported_or_restored,
    a_status_ends_no_flag_and_makes_none,
    switches_are_switches,
    a_switch_stops_a_push_under_way,
    a_program_that_campus_has_not_fails_alone,
    a_flag_whose_answer_was_lost_is_ended_all_the_same,
    killed_at_any_moment,
    two_workers_at_once,
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

/// A worker whose work takes many times its lease keeps it, and nobody else gets in meanwhile.
async fn a_lease_is_renewed_however_long_a_comparison_takes(f: Fixture) {
    let config = CampusConfig { page_limit: 5, latency_ms: 150, ..CampusConfig::default() };
    let house = House::with(f, program("create-new"), config).await;
    house.complete_all().await;
    let lease = Duration::from_millis(400);
    let context = house.context_with(FlagSyncConfig { lease, ..FlagSyncConfig::default() });
    let handler = FlagHandler::new(context);
    let message = Message::flag_sync(house.district.clone(), None, house.clock.now());
    let began = tokio::time::Instant::now();
    let mut work = tokio::spawn(async move { handler.handle(message).await });
    while house.store().flag_work().await.unwrap()[0].lease_until.is_none() {
        assert!(began.elapsed() < Duration::from_secs(20), "the worker does not begin");
    }
    let mut tries = 0;
    let fate = loop {
        tokio::select! {
            fate = &mut work => break fate.unwrap(),
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
        }
        // The lease is measured by the house's clock.
        house.clock.advance(TimeDelta::milliseconds(50));
        let (other, now) = (Uuid::now_v7(), house.clock.now());
        let claimed =
            house.store().claim_flags(&house.district, other, now, now + TimeDelta::seconds(1)).await.unwrap();
        if claimed {
            // The worker has given it back by itself, or everything below is untrue.
            break work.await.unwrap();
        }
        tries += 1;
    };
    assert_eq!(fate, Fate::Done);
    assert!(began.elapsed() > 2 * lease && tries > 5, "the comparison was quick: {:?}", began.elapsed());
    house.assert_all_pushed().await;
    assert_eq!(house.campus.stats().writes, STUDENTS as u64, "all in one go");
}

async fn a_base_url_is_taken_as_it_was_copied(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete_all().await;
    let copied = house.campus.base_url();
    let server = copied.strip_suffix("/ims/oneroster").unwrap();
    let with = |url: &str, version: Option<&str>| {
        let mut file = serde_json::to_value(&house.file).unwrap();
        file["connection"][0]["base_url"] = url.into();
        file["connection"][0]["version"] = version.into();
        serde_json::from_value::<District>(file).unwrap()
    };
    for (number, url) in [server.to_owned(), format!("{server}//ims/oneroster/rostering/v1p2/")].iter().enumerate() {
        house.apply(&with(url, None)).await;
        house.complete("d0", "0", &format!("2026-08-2{}", number + 1), None).await;
        house.night().await;
        assert_eq!(house.shown()["0"].0, day(&format!("2026-08-2{}", number + 1)), "{url}");
    }
    house.apply(&with(&copied.replace("v1p2", "v1p1"), None)).await;
    let message = Message::flag_sync(house.district.clone(), None, house.clock.now() + TimeDelta::seconds(1));
    assert_eq!(house.handler().handle(message).await, Fate::Done);
    let problem = house.store().flags_problem(&house.district).await.unwrap().unwrap();
    assert!(problem.contains("OneRoster 1.2 only") && problem.contains("base URL"), "{problem}");
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

async fn switches_are_switches(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete("a", "1", "2026-08-20", None).await;
    house.settle().await;
    let mut off = house.file.clone();
    off.programs[0].flags = false;
    house.apply(&off).await;
    house.complete("b", "2", "2026-08-20", None).await;
    house.withdraw("a").await;
    assert!(house.store().flag_work().await.unwrap().is_empty());
    house.handle_sync().await;
    let mut district_off = house.file.clone();
    district_off.flags.enabled = false;
    house.apply(&district_off).await;
    house.handle_sync().await;
    assert_eq!(house.shown(), BTreeMap::from([("1".to_owned(), (day("2026-08-20"), None))]), "nothing is written");
    house.apply(&house.file).await;
    house.settle().await;
    assert_eq!(house.shown().len(), 2);
    assert!(house.shown()["1"].1.is_some(), "what was due is made good, without waiting for the next night");
    let synced = house.store().flags_synced_at(&house.district).await.unwrap();
    house.apply(&house.file).await;
    assert_eq!(house.store().flags_synced_at(&house.district).await.unwrap(), synced, "the same file asks for nothing");
}

/// Within a part of the lease, however much is left to push.
async fn a_switch_stops_a_push_under_way(f: Fixture) {
    let config = CampusConfig { latency_ms: 250, ..CampusConfig::default() };
    let house = House::with(f, program("create-new"), config).await;
    house.complete_all().await;
    let lease = Duration::from_millis(400);
    let one_by_one = FlagSyncConfig { lease, students_at_once: 1, ..FlagSyncConfig::default() };
    let handler = FlagHandler::new(house.context_with(one_by_one));
    let message = Message::flag_sync(house.district.clone(), None, house.clock.now());
    let push = tokio::spawn(async move { handler.handle(message).await });
    let began = tokio::time::Instant::now();
    while house.campus.stats().writes == 0 {
        assert!(began.elapsed() < Duration::from_mins(1), "nothing is pushed");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut off = house.file.clone();
    off.flags.enabled = false;
    house.apply(&off).await;
    assert_eq!(push.await.unwrap(), Fate::Done);
    assert!(house.campus.flags().len() < STUDENTS, "it went on to the end");
    let written = house.campus.stats().writes;
    house.handle_sync().await;
    assert_eq!(house.campus.stats().writes, written);
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
    house.withdraw("a").await;
    house.campus.set_faults(CampusFaults::default());
    house.settle().await;
    assert_eq!(house.shown()["1"].1, Some(day("2026-08-31")));
}

/// The future is dropped wherever it stands, as a process that is killed: after a commit, within a request, between both.
async fn killed_at_any_moment(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete_all().await;
    let mut random = fastrand::Rng::with_seed(7);
    for kill in 0..40 {
        let handler = house.handler();
        house.clock.advance(TimeDelta::minutes(2));
        let message = Message::flag_sync(house.district.clone(), None, house.clock.now());
        let life = Duration::from_micros(random.u64(..60_000));
        let _ = tokio::time::timeout(life, handler.handle(message)).await;
        if kill % 5 == 4 {
            let number = random.usize(..STUDENTS);
            house.withdraw(&format!("d{number}")).await;
            house.complete(&format!("d{number}-{kill}"), &number.to_string(), "2026-08-20", None).await;
        }
    }
    house.clock.advance(TimeDelta::minutes(2));
    house.night().await;
    house.night().await;
    house.assert_all_pushed().await;
}

async fn two_workers_at_once(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete_all().await;
    house.two_workers().await;
    house.assert_all_pushed().await;
    assert_eq!(house.campus.stats().writes, STUDENTS as u64, "and none was sent twice");
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
