//! Workers that die, wait for each other, take long, or are switched off under way.

use std::{collections::BTreeMap, time::Duration};

use chrono::TimeDelta;
use rollcall_flag_sync::{FlagHandler, FlagSyncConfig};
use rollcall_proto::{
    clock::Clock as _,
    handler::{Fate, Handler as _},
    id::RunId,
    message::{Body, FlagPush, Message},
    topology::Queue,
};
use rollcall_sandbox::{CampusConfig, CampusFaults};
use rollcall_store::district::{CutoverOption, District};
use uuid::Uuid;

use crate::{
    common::{Fixture, day},
    house::{House, SPED, STUDENTS, program, two_programs},
    on_both_engines,
};

on_both_engines! {
    a_lease_is_renewed_however_long_a_comparison_takes,
    old_days_sent_by_one_who_lost_the_district_are_put_right,
    comparing_ends_with_its_time_and_goes_on,
    a_base_url_is_taken_as_it_was_copied,
    switches_are_switches,
    a_switch_stops_a_push_under_way,
    a_district_that_is_removed_stops_a_push_under_way,
    a_switch_of_one_program_stops_its_push_and_no_other,
    a_program_that_is_to_take_over_stops_being_pushed,
    killed_at_any_moment,
    two_workers_at_once,
    a_students_flags_are_sent_one_after_another,
}

/// A worker whose work takes many times its lease keeps it, and nobody else gets in meanwhile.
async fn a_lease_is_renewed_however_long_a_comparison_takes(f: Fixture) {
    let config = CampusConfig { page_limit: 5, latency_ms: 450, ..CampusConfig::default() };
    let house = House::with(f, program("create-new"), config).await;
    house.complete_all().await;
    // Half of it is what a busy machine may take to renew it; a message has time for all of the work.
    let (lease, unit) = (Duration::from_secs(3), Duration::from_mins(1));
    let context = house.context_with(FlagSyncConfig { lease, unit, asks: unit, ..FlagSyncConfig::default() });
    let handler = FlagHandler::new(context);
    let message = Message::flag_sync(house.district.clone(), None, house.clock.now());
    let began = tokio::time::Instant::now();
    let mut work = tokio::spawn(async move { handler.handle(message).await });
    while house.store().flag_work().await.unwrap()[0].lease_until.is_none() {
        assert!(began.elapsed() < Duration::from_secs(20), "the worker does not begin");
        tokio::time::sleep(Duration::from_millis(5)).await;
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

/// A worker stands still in the middle of a write, and its lease ends; another sends what is wished by then, and after that the
/// old days come in.
async fn old_days_sent_by_one_who_lost_the_district_are_put_right(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete("d", "1", "2026-08-20", None).await;
    house.campus.set_faults(CampusFaults { hold_writes: 1, ..CampusFaults::default() });
    let (handler, message) = (house.handler(), Message::flag_sync(house.district.clone(), None, house.clock.now()));
    let stands_still = tokio::spawn(async move { handler.handle(message).await });
    let began = tokio::time::Instant::now();
    while house.campus.held() == 0 {
        assert!(began.elapsed() < Duration::from_mins(1), "nothing is pushed");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    house.clock.advance(TimeDelta::minutes(2));
    house.complete("d", "1", "2026-08-20", Some("2027-06-01")).await;
    house.handle_sync().await;
    let shown = |ends| BTreeMap::from([("1".to_owned(), (day("2026-08-20"), ends))]);
    assert_eq!(house.shown(), shown(Some(day("2027-06-01"))));
    assert_eq!(house.states().await["1"], ("pushed", None));
    house.campus.let_go();
    assert_eq!(stands_still.await.unwrap(), Fate::Done);
    assert_eq!(house.shown(), shown(None), "the old days came last");
    let kept = house.flags().await.remove(0);
    assert_eq!(kept.ends_on, Some(day("2027-06-01")), "what the other stored stays");
    let puts = house.told(Some(&kept.id.to_string())).await.into_iter().filter(|(action, _)| action == "put");
    assert_eq!(puts.count(), 2, "both are told");
    house.settle().await;
    assert_eq!(house.shown(), shown(Some(day("2027-06-01"))));
    assert_eq!(house.states().await["1"], ("pushed", None));
}

/// Students whose documents changed are compared one by one: a message ends with its time, and the next ones go on.
async fn comparing_ends_with_its_time_and_goes_on(f: Fixture) {
    let house = House::create_new(f).await;
    house.night().await;
    house.complete_all().await;
    let pending = async || house.store().pending_students(&house.district, 100).await.unwrap().len();
    assert_eq!(pending().await, STUDENTS);
    let handler =
        FlagHandler::new(house.context_with(FlagSyncConfig { unit: Duration::ZERO, ..FlagSyncConfig::default() }));
    let message =
        Message::new(house.district.clone(), RunId(Uuid::now_v7()), house.clock.now(), Body::FlagPush(FlagPush {}));
    for done in 1..=3 {
        assert_eq!(handler.handle(message.clone()).await, Fate::Done);
        assert_eq!(pending().await, STUDENTS - done, "one at least, and no more than there is time for");
    }
    let waiting = house.bus.depths().await.unwrap();
    let waiting = waiting.iter().find(|depth| depth.queue == Queue::Flags).unwrap().waiting;
    assert_eq!(waiting, 3, "each goes on with a message");
    house.settle().await;
    assert_eq!(pending().await, 0);
    house.assert_all_pushed().await;
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

/// Pushes, and does something after the first write.
async fn under_way(house: &House, config: FlagSyncConfig, does: impl Future<Output = ()>) {
    let handler = FlagHandler::new(house.context_with(config));
    let message = Message::flag_sync(house.district.clone(), None, house.clock.now());
    let push = tokio::spawn(async move { handler.handle(message).await });
    let began = tokio::time::Instant::now();
    while house.campus.stats().writes == 0 {
        assert!(began.elapsed() < Duration::from_mins(1), "nothing is pushed");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    does.await;
    assert_eq!(push.await.unwrap(), Fate::Done);
}

/// Applies a changed file after the first write.
async fn switched_off_under_way(house: &House, config: FlagSyncConfig, switch: impl FnOnce(&mut District)) {
    let mut off = house.file.clone();
    switch(&mut off);
    Box::pin(under_way(house, config, house.apply(&off))).await;
}

/// Long before the lease is renewed, however much is left to push.
async fn a_switch_stops_a_push_under_way(f: Fixture) {
    let config = CampusConfig { latency_ms: 250, ..CampusConfig::default() };
    let house = House::with(f, program("create-new"), config).await;
    house.complete_all().await;
    let one_by_one = FlagSyncConfig { students_at_once: 1, ..FlagSyncConfig::default() };
    Box::pin(switched_off_under_way(&house, one_by_one, |file| file.flags.enabled = false)).await;
    assert!(house.campus.flags().len() < STUDENTS, "it went on to the end");
    let written = house.campus.stats().writes;
    house.handle_sync().await;
    assert_eq!(house.campus.stats().writes, written);
    house.apply(&house.file).await;
    house.settle().await;
    house.assert_all_pushed().await;
}

/// Nothing is written for it from then on, whatever message comes; applied again, it goes on.
async fn a_district_that_is_removed_stops_a_push_under_way(f: Fixture) {
    let config = CampusConfig { latency_ms: 250, ..CampusConfig::default() };
    let house = House::with(f, program("create-new"), config).await;
    house.complete_all().await;
    let one_by_one = FlagSyncConfig { students_at_once: 1, ..FlagSyncConfig::default() };
    let remove = async || {
        house.store().remove_district(&house.district, "test", house.clock.now()).await.unwrap();
    };
    Box::pin(under_way(&house, one_by_one, remove())).await;
    let written = house.campus.stats().writes;
    assert!((written as usize) < STUDENTS, "it went on to the end");
    house.clock.advance(TimeDelta::minutes(2));
    house.handle_sync().await;
    assert_eq!(house.campus.stats().writes, written, "the message of a run's end");
    house.apply(&house.file).await;
    house.settle().await;
    house.assert_all_pushed().await;
}

/// The last flags to be sent are of the program that is switched off under way.
async fn a_switch_of_one_program_stops_its_push_and_no_other(f: Fixture) {
    let config = CampusConfig { latency_ms: 250, ..CampusConfig::default() };
    let house = House::with(f, two_programs(), config).await;
    for number in 0..STUDENTS {
        let name = if number % 2 == 0 { "Section 504" } else { SPED };
        house.complete_of(name, &format!("d{number}"), &number.to_string(), "2026-08-20", None).await;
    }
    let one_by_one = FlagSyncConfig { students_at_once: 1, ..FlagSyncConfig::default() };
    Box::pin(switched_off_under_way(&house, one_by_one, |file| file.programs[1].flags = false)).await;
    let of = |program: &str| house.campus.flags().iter().filter(|flag| flag.program == program).count();
    assert_eq!(of("101"), STUDENTS / 2, "the other program goes on to the end");
    assert!(of("102") < STUDENTS / 2, "it went on to the end");
    let kept = house.states().await.into_values().filter(|(_, reason)| reason.as_deref() == Some("switched-off"));
    assert_eq!(kept.count(), STUDENTS / 2 - of("102"));
    house.apply(&house.file).await;
    house.settle().await;
    house.assert_all_pushed().await;
}

/// Whoever meant to take over, and had new flags created: what nobody has approved is not written.
async fn a_program_that_is_to_take_over_stops_being_pushed(f: Fixture) {
    let config = CampusConfig { latency_ms: 250, ..CampusConfig::default() };
    let house = House::with(f, program("create-new"), config).await;
    house.complete_all().await;
    let one_by_one = FlagSyncConfig { students_at_once: 1, ..FlagSyncConfig::default() };
    let take_over = |file: &mut District| file.programs[0].option = Some(CutoverOption::TakeOver);
    Box::pin(switched_off_under_way(&house, one_by_one, take_over)).await;
    let written = house.campus.stats().writes;
    assert!((written as usize) < STUDENTS, "it went on to the end");
    house.settle().await;
    assert_eq!(house.campus.stats().writes, written);
    let waits = Some("awaiting-approval".to_owned());
    let waiting = house.states().await.into_values().filter(|state| *state == ("wanted", waits.clone()));
    assert_eq!(waiting.count(), STUDENTS - written as usize);
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
    for flag in house.flags().await {
        let told = house.told(Some(&flag.id.to_string())).await;
        let last = told.last().map(|(action, answer)| (action.as_str(), answer.as_str()));
        let settled = [Some(("read-back", "as-wished")), Some(("found", "as-wished"))];
        assert!(settled.contains(&last), "the ledger does not say how {} came to be: {told:?}", flag.id);
    }
}

async fn two_workers_at_once(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete_all().await;
    house.two_workers().await;
    house.assert_all_pushed().await;
    assert_eq!(house.campus.stats().writes, STUDENTS as u64, "and none was sent twice");
}

/// Many students at once, and of each no more than one write under way.
async fn a_students_flags_are_sent_one_after_another(f: Fixture) {
    let mut programs = program("create-new");
    for name in ["Section 504", "Advanced Learners", "K-4 Literacy"] {
        let other = serde_json::json!({"name": name, "flags": true, "option": "create-new", "cutover": "2026-08-15"});
        programs.as_array_mut().unwrap().push(other);
    }
    let config = CampusConfig { latency_ms: 20, ..CampusConfig::default() };
    let house = House::with(f, programs, config).await;
    house.complete_all().await;
    for (number, name) in ["Section 504", "Advanced Learners", "K-4 Literacy"].into_iter().enumerate() {
        for student in ["1", "2", "3"] {
            house.complete_of(name, &format!("o{number}-{student}"), student, "2026-08-20", None).await;
        }
    }
    house.settle().await;
    assert_eq!(house.campus.flags().len(), STUDENTS + 9);
    assert_eq!(house.campus.stats().crossed, 0);
}
