//! A Campus so slow that a message has time for one request: work gets on all the same, nothing is asked or written twice for it, and
//! nobody is told of a failure.

use std::time::Duration;

use chrono::TimeDelta;
use rollcall_flag_sync::{FlagHandler, FlagSyncConfig, approve, plan_take_overs, reconcile::owed, take_overs_shown};
use rollcall_http::net::HttpConfig;
use rollcall_proto::{
    clock::Clock as _,
    handler::{Fate, Handler as _},
    id::RunId,
    message::{Body, FlagPush, Message},
    topology::Queue,
};
use rollcall_sandbox::{CampusConfig, CampusFault, CampusFaults, CampusFlag, CampusPaging, Strike};
use rollcall_store::{district::OnDrift, flag::FlagState};
use uuid::Uuid;

use crate::{
    common::{Fixture, day},
    connections::two_of_one_campus,
    house::{House, SPED, STUDENTS, program, two_programs},
    on_both_engines,
};

on_both_engines! {
    a_student_and_a_flag_get_on_by_one_request_a_message,
    all_of_a_district_gets_on_by_one_request_a_message,
    a_run_that_stopped_is_followed_by_a_comparison_by_one_request_a_message,
    a_campus_without_pages_or_filters_gets_on_by_one_request_a_message,
    a_take_over_gets_on_by_one_request_a_message,
    a_look_is_not_believed_after_a_write_of_another_process,
    a_write_that_was_cut_off_is_looked_at_and_has_all_the_time_then,
    a_flag_that_campus_fails_at_keeps_no_other_waiting,
    a_campus_that_answers_nothing_in_time_is_away,
    old_flags_that_wait_are_asked_about_once_a_sync,
    a_message_that_resumes_an_old_flag_begins_no_other_that_waits,
    what_was_compared_is_not_asked_for_again_after_a_message_that_was_cut_off,
    a_flag_whose_person_campus_does_not_list_fails_alone,
    several_flags_in_a_row_that_campus_fails_at_mean_that_it_is_away,
    an_end_that_campus_takes_and_does_not_show_is_written_once_a_sync,
    what_waits_in_one_take_over_keeps_no_other_from_its_turn,
    a_list_that_campus_fails_at_for_long_fails_its_program,
    a_list_that_fails_is_told_though_a_take_over_behind_it_is_cut_off,
    three_flags_that_campus_does_not_show_stop_a_district_once,
}

/// Longest wait for a message.
const LIMIT: Duration = Duration::from_secs(10);

/// A process whose messages have time for one request each.
fn hurried(house: &House) -> FlagHandler {
    hurried_with(house, FlagSyncConfig::default())
}

fn hurried_with(house: &House, config: FlagSyncConfig) -> FlagHandler {
    let config = FlagSyncConfig { asks: Duration::ZERO, partner: house.partner.clone(), ..config };
    FlagHandler::new(house.context_with(config))
}

fn requests(house: &House) -> u64 {
    let stats = house.campus.stats();
    stats.calls + stats.tokens
}

/// The next message that somebody owes the district. `None`: there is nothing to do.
async fn owed_to(house: &House) -> Option<Message> {
    let (work, now) = (house.store().flag_work().await.unwrap().pop().unwrap(), house.clock.now());
    let body = owed(&work, now, TimeDelta::zero())?;
    Some(Message::new(house.district.clone(), RunId(Uuid::now_v7()), now, body))
}

/// Handles what the district is owed, a request at a time; says how many requests that took, of all that was sent.
async fn work_off(house: &House, process: &FlagHandler) -> u64 {
    let before = requests(house);
    for _ in 0..2_000 {
        let Some(message) = owed_to(house).await else { return requests(house) - before };
        let asked = requests(house);
        assert_eq!(process.handle(message).await, Fate::Done);
        assert!(requests(house) - asked <= 1, "a message has time for one: {}", requests(house) - asked);
        house.clock.advance(TimeDelta::milliseconds(100));
    }
    panic!("it comes to no end: {:?}", house.flags().await);
}

/// Nobody was told that Campus failed.
async fn assert_nothing_failed(house: &House) {
    let told = house.told(None).await;
    assert!(told.iter().all(|(action, _)| action != "failed"), "{told:?}");
    let flags = house.flags().await;
    assert!(flags.iter().all(|flag| flag.failing.is_none() && flag.state != FlagState::Failed), "{flags:#?}");
    assert_eq!(house.store().flags_failures(&house.district).await.unwrap(), 0);
}

/// Another one on the same engine.
async fn another(f: &Fixture) -> Fixture {
    if f.dir().is_some() { Fixture::embedded().await } else { Fixture::postgres().await }
}

/// The programs, the student's list, the flag by its id and, where that is refused, in the list, the write, and the flag again.
async fn a_student_and_a_flag_get_on_by_one_request_a_message(f: Fixture) {
    let mut asked = Vec::new();
    // A 403 may be the token's: it is renewed.
    for (refused, is_hurried) in [(404, false), (404, true), (403, false), (403, true)] {
        let house = House::create_new(another(&f).await).await;
        house.complete_all().await;
        house.settle().await;
        house.campus.set_faults(CampusFaults { refuses_one: Some(refused), ..CampusFaults::default() });
        let warned = CampusFlag { comment: Some("User Warning".to_owned()), ..house.flag_of("3") };
        house.campus.type_in(warned);
        house.complete("d3", "3", "2026-08-20", Some("2027-01-31")).await;
        let (before, writes) = (requests(&house), house.campus.stats().writes);
        if is_hurried {
            work_off(&house, &hurried(&house)).await;
        } else {
            house.settle().await;
        }
        asked.push(requests(&house) - before);
        assert_eq!(house.campus.stats().writes, writes + 1);
        let shown = house.flag_of("3");
        assert_eq!((shown.ends, shown.comment.as_deref()), (Some(day("2027-01-31")), Some("User Warning")));
        assert_nothing_failed(&house).await;
        assert_eq!(house.states().await["3"], ("pushed", None));
    }
    assert!(asked[0] >= 8, "{asked:?}");
    assert_eq!((asked[0], asked[2]), (asked[1], asked[3]), "nothing is asked for again");
}

/// The message alone says so, and so do those that go on with it.
async fn a_run_that_stopped_is_followed_by_a_comparison_by_one_request_a_message(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete_all().await;
    house.settle().await;
    house.campus.delete(&house.flag_of("3").id);
    house.clock.advance(TimeDelta::hours(1));
    let (process, now) = (hurried(&house), house.clock.now());
    house.bus.purge(Queue::Flags).await.unwrap();
    let mut subscription = house.bus.subscribe(Queue::Flags, 1).await.unwrap();
    assert_eq!(process.handle(Message::flag_sync(house.district.clone(), None, now)).await, Fate::Done);
    let mut messages = 1;
    while house.store().flags_synced_at(&house.district).await.unwrap().is_none_or(|at| at < now) {
        let delivery = tokio::time::timeout(LIMIT, subscription.next()).await.expect("it is gone on with").unwrap();
        house.clock.advance(TimeDelta::milliseconds(100));
        assert_eq!(process.handle(delivery.message.clone().unwrap()).await, Fate::Done);
        subscription.ack(delivery).await.unwrap();
        messages += 1;
        assert!(messages < 100, "it comes to no end");
    }
    // The programs and the list of one, their ends among them.
    assert!(messages >= 5, "{messages}");
    assert_nothing_failed(&house).await;
    assert_eq!(house.states().await["3"], ("drift", Some("deleted".to_owned())));
}

/// First lists, then students with flags that somebody deleted, then many flags at once.
async fn all_of_a_district_gets_on_by_one_request_a_message(f: Fixture) {
    let house = House::new(f, two_programs()).await;
    house.complete_both(None).await;
    let process = hurried(&house);
    work_off(&house, &process).await;
    assert_eq!(house.campus.stats().writes, 2 * STUDENTS as u64);
    assert_nothing_failed(&house).await;
    for flag in house.campus.flags() {
        house.campus.delete(&flag.id);
    }
    house.clock.advance(TimeDelta::hours(1));
    house.store().ask_for_flags(&house.district, "test", house.clock.now()).await.unwrap();
    work_off(&house, &process).await;
    assert_nothing_failed(&house).await;
    let told = house.told(None).await;
    assert_eq!(told.iter().filter(|(_, answer)| answer == "deleted").count(), 2 * STUDENTS, "{told:?}");
    // What ends is written in any case.
    house.complete_both(Some("2027-01-31")).await;
    work_off(&house, &process).await;
    assert_nothing_failed(&house).await;
    assert_eq!(house.campus.stats().writes, 4 * STUDENTS as u64, "each is sent once");
    assert!(house.campus.flags().iter().all(|flag| flag.ends == Some(day("2027-01-31"))));
}

/// All that there is comes with every list, whatever is asked for.
async fn a_campus_without_pages_or_filters_gets_on_by_one_request_a_message(f: Fixture) {
    let config =
        CampusConfig { filters: false, counts: false, paging: CampusPaging::Unpaged, ..CampusConfig::default() };
    let house = House::with(f, program("create-new"), config).await;
    house.complete_all().await;
    let process = hurried(&house);
    work_off(&house, &process).await;
    house.complete("d3", "3", "2026-08-20", Some("2027-01-31")).await;
    work_off(&house, &process).await;
    assert_eq!(house.flag_of("3").ends, Some(day("2027-01-31")));
    assert_eq!(house.campus.stats().writes, STUDENTS as u64 + 1);
    assert_nothing_failed(&house).await;
}

/// Among the old flags are one that is not found by its id, and several that wait.
async fn a_take_over_gets_on_by_one_request_a_message(f: Fixture) {
    let (one, two) = (another(&f).await, f);
    let mut outcomes = Vec::new();
    for (f, is_hurried) in [(one, false), (two, true)] {
        let house = House::new(f, program("take-over")).await;
        for number in 0..6 {
            house.typed_in(&format!("old-{number}"), &number.to_string(), "2025-09-01", None);
            house.complete(&format!("d{number}"), &number.to_string(), "2026-08-20", None).await;
        }
        house.approve().await;
        house.campus.delete("old-5");
        let writes = house.campus.stats().writes;
        if is_hurried {
            work_off(&house, &hurried(&house)).await;
        } else {
            house.settle().await;
        }
        assert_eq!(house.campus.stats().writes, writes + 6 + 5, "each is sent once");
        assert_nothing_failed(&house).await;
        let mut told = house.told(None).await;
        told.sort();
        outcomes.push((house.old(), told));
    }
    assert_eq!(outcomes[0], outcomes[1]);
}

/// One process has looked at a flag when another one writes it, and staff type something onto it.
async fn a_look_is_not_believed_after_a_write_of_another_process(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete_all().await;
    house.settle().await;
    house.complete("d3", "3", "2026-08-20", Some("2027-01-31")).await;
    let (process, asked) = (hurried(&house), requests(&house));
    // Two pages of programs and two of the student's flags, then the flag itself.
    while requests(&house) - asked < 5 {
        assert_eq!(process.handle(owed_to(&house).await.unwrap()).await, Fate::Done);
    }
    house.settle().await;
    assert_eq!(house.flag_of("3").ends, Some(day("2027-01-31")));
    house.campus.type_in(CampusFlag { comment: Some("User Warning".to_owned()), ..house.flag_of("3") });
    house.complete("d3", "3", "2026-08-20", Some("2027-02-28")).await;
    work_off(&house, &process).await;
    let shown = house.flag_of("3");
    assert_eq!((shown.ends, shown.comment.as_deref()), (Some(day("2027-02-28")), Some("User Warning")));
    assert_nothing_failed(&house).await;
    assert!(house.told(None).await.iter().all(|(action, _)| action != "drift"));
}

/// What a message asks after its first request ends this long after its beginning.
const ASKS: Duration = Duration::from_secs(4);

async fn a_write_that_was_cut_off_is_looked_at_and_has_all_the_time_then(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete_all().await;
    house.settle().await;
    house.complete("d3", "3", "2026-08-20", Some("2027-01-31")).await;
    house.campus.set_faults(CampusFaults { hold_writes: 1, ..CampusFaults::default() });
    let config = FlagSyncConfig { asks: ASKS, partner: house.partner.clone(), ..FlagSyncConfig::default() };
    let process = FlagHandler::new(house.context_with(config));
    let (writes, mut messages) = (house.campus.stats().writes, 0);
    while let Some(message) = owed_to(&house).await {
        assert_eq!(process.handle(message).await, Fate::Done);
        house.clock.advance(TimeDelta::milliseconds(100));
        messages += 1;
        assert!(messages < 20, "it comes to no end");
    }
    assert_eq!(house.campus.held(), 1);
    assert!(messages >= 3, "the look, and then the write: {messages}");
    assert_eq!(house.flag_of("3").ends, Some(day("2027-01-31")));
    assert_eq!(house.campus.stats().writes, writes + 1);
    assert_nothing_failed(&house).await;
}

/// That it lists its programs is asked by the messages after the one that has failed.
async fn a_flag_that_campus_fails_at_keeps_no_other_waiting(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete_all().await;
    house.settle().await;
    let strike = Strike { fault: CampusFault::Status(500), writes_only: true, only: Some("3".to_owned()), times: None };
    house.campus.set_faults(CampusFaults { strikes: vec![strike], ..CampusFaults::default() });
    for number in 0..STUDENTS {
        house.complete(&format!("d{number}"), &number.to_string(), "2026-08-20", Some("2027-01-31")).await;
    }
    let process = hurried(&house);
    work_off(&house, &process).await;
    let flags = house.flags().await;
    for flag in &flags {
        let is_failing = flag.failing.as_ref().map(|failing| (failing.failures, failing.answer.as_str()));
        assert_eq!(is_failing, (flag.student.0 == "3").then_some((1, "500")), "{flag:#?}");
    }
    let told = house.told(None).await;
    assert_eq!(told.iter().filter(|(action, _)| action == "failed").count(), 1, "{told:?}");
    assert_eq!(house.store().flags_failures(&house.district).await.unwrap(), 0, "Campus is not away");
    house.campus.set_faults(CampusFaults::default());
    house.clock.advance(TimeDelta::minutes(1));
    work_off(&house, &process).await;
    assert!(house.campus.flags().iter().all(|flag| flag.ends == Some(day("2027-01-31"))));
}

/// A single request takes longer than it may: that is a failure, and told.
async fn a_campus_that_answers_nothing_in_time_is_away(f: Fixture) {
    let config = CampusConfig { latency_ms: 2_000, ..CampusConfig::default() };
    let house = House::with(f, program("create-new"), config).await;
    house.complete_all().await;
    let http = HttpConfig { total_timeout: Duration::from_millis(200), ..HttpConfig::default() };
    let process = hurried_with(&house, FlagSyncConfig { http, ..FlagSyncConfig::default() });
    assert_eq!(process.handle(owed_to(&house).await.unwrap()).await, Fate::Done);
    assert_eq!(house.store().flags_failures(&house.district).await.unwrap(), 1);
    assert!(owed_to(&house).await.is_none(), "it is left alone for a while");
}

/// Waits until nothing is in the queue: this bus counts what is with a consumer too.
async fn emptied(house: &House) {
    let waiting = async || {
        let depths = house.bus.depths().await.unwrap();
        depths.iter().find(|depth| depth.queue == Queue::Flags).unwrap().waiting
    };
    let began = tokio::time::Instant::now();
    while waiting().await > 0 {
        assert!(began.elapsed() < LIMIT, "what waits does not come");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The messages in the queue, and those that go on with them, until there is none. Says how many.
async fn follow(house: &House, process: &FlagHandler, message: Message) -> usize {
    house.bus.purge(Queue::Flags).await.unwrap();
    let mut subscription = house.bus.subscribe(Queue::Flags, 1).await.unwrap();
    assert_eq!(process.handle(message).await, Fate::Done);
    let mut messages = 1;
    loop {
        let delivery = tokio::select! {
            delivery = subscription.next() => delivery.unwrap(),
            () = emptied(house) => break,
        };
        house.clock.advance(TimeDelta::milliseconds(100));
        assert_eq!(process.handle(delivery.message.clone().unwrap()).await, Fate::Done);
        subscription.ack(delivery).await.unwrap();
        messages += 1;
        assert!(messages < 200, "it comes to no end");
    }
    messages
}

/// Several are cut off in the middle of a look, as Campus gives none by its id: none begins anew what another one has ended.
async fn old_flags_that_wait_are_asked_about_once_a_sync(f: Fixture) {
    let house = House::new(f, program("take-over")).await;
    for student in ["0", "1", "2"] {
        house.complete(&format!("d{student}"), student, "2026-01-01", None).await;
        house.typed_in(&format!("old-{student}"), student, "2024-01-01", None);
    }
    house.approve().await;
    let refused = |student: &str| Strike {
        fault: CampusFault::Status(422),
        writes_only: true,
        only: Some(student.to_owned()),
        times: None,
    };
    let strikes: Vec<_> = ["0", "1", "2"].map(refused).into();
    house.campus.set_faults(CampusFaults { strikes, refuses_one: Some(404), ..CampusFaults::default() });
    house.settle().await;
    let outcomes = async || {
        let old = house.store().cutover_flags(&house.district, SPED, true, 10).await.unwrap();
        old.into_iter().map(|flag| flag.outcome.unwrap_or_default()).collect::<Vec<_>>()
    };
    assert_eq!(outcomes().await, ["waits-for-new"; 3]);
    let process = hurried(&house);
    for _ in 0..2 {
        house.clock.advance(TimeDelta::hours(1));
        let messages =
            follow(&house, &process, Message::flag_sync(house.district.clone(), None, house.clock.now())).await;
        assert!(messages >= 5, "{messages}");
        assert_eq!(house.store().flag_work().await.unwrap()[0].take_over_on, None, "nobody is kept busy");
    }
    assert_eq!(outcomes().await, ["waits-for-new"; 3]);
    // What can be done is done in one.
    house.campus.set_faults(CampusFaults { refuses_one: Some(404), ..CampusFaults::default() });
    house.clock.advance(TimeDelta::hours(1));
    house.store().ask_for_flags(&house.district, "test", house.clock.now()).await.unwrap();
    follow(&house, &process, Message::flag_sync(house.district.clone(), None, house.clock.now())).await;
    let ended = house.old();
    assert!(ended.len() == 3 && ended.values().all(|end| *end == Some(day("2026-08-14"))), "{ended:?}");
}

/// A message has time for some four requests: the first one begins with an old flag, the next one ends that.
async fn a_message_that_resumes_an_old_flag_begins_no_other_that_waits(f: Fixture) {
    let house = House::with(f, program("take-over"), CampusConfig { latency_ms: 500, ..CampusConfig::default() }).await;
    for student in ["0", "1", "2"] {
        house.complete(&format!("d{student}"), student, "2026-01-01", None).await;
        house.typed_in(&format!("old-{student}"), student, "2024-01-01", None);
    }
    house.approve().await;
    house.strike(CampusFault::Status(422), None);
    house.settle().await;
    house.campus.set_faults(CampusFaults { refuses_one: Some(404), ..CampusFaults::default() });
    let asks = Duration::from_millis(2_500);
    let config = FlagSyncConfig { asks, partner: house.partner.clone(), ..FlagSyncConfig::default() };
    let (process, calls, now) =
        (FlagHandler::new(house.context_with(config)), house.campus.stats().calls, house.clock.now());
    let message = Message::new(house.district.clone(), RunId(Uuid::now_v7()), now, Body::FlagPush(FlagPush {}));
    let messages = follow(&house, &process, message).await;
    let calls = house.campus.stats().calls - calls;
    // The programs, and the flag by its id and in its student's list: of three flags that would be some eleven. A busy machine may cut
    // off one message more, and ask for that again.
    println!("{messages} messages, {calls} requests");
    assert!(messages <= 4 && calls <= 8, "{messages} messages, {calls} requests");
}

/// A program's list fails, so that the sync of all is none; and a program that the message names was read out.
async fn what_was_compared_is_not_asked_for_again_after_a_message_that_was_cut_off(f: Fixture) {
    for named in [None, Some(SPED)] {
        let house = House::new(another(&f).await, two_programs()).await;
        let mut restoring = house.file.clone();
        restoring.programs[0].on_drift = OnDrift::Restore;
        house.apply(&restoring).await;
        house.complete_both(None).await;
        house.settle().await;
        let flag = house.flags().await.into_iter().find(|flag| flag.student.0 == "3" && flag.program == SPED).unwrap();
        house.campus.delete(&flag.id.to_string());
        house.clock.advance(TimeDelta::hours(1));
        let failing = named.is_none().then(|| Strike {
            fault: CampusFault::Status(500),
            writes_only: false,
            only: Some("102".to_owned()),
            times: None,
        });
        let strikes = failing.into_iter().collect();
        house.campus.set_faults(CampusFaults { hold_writes: 1, strikes, ..CampusFaults::default() });
        let config = FlagSyncConfig { asks: ASKS, partner: house.partner.clone(), ..FlagSyncConfig::default() };
        let process = FlagHandler::new(house.context_with(config));
        house.bus.purge(Queue::Flags).await.unwrap();
        let mut subscription = house.bus.subscribe(Queue::Flags, 1).await.unwrap();
        let mut message = Message::flag_sync(house.district.clone(), None, house.clock.now());
        if let (Body::FlagSync(sync), Some(program)) = (&mut message.body, named) {
            sync.program = Some(program.to_owned());
        }
        assert_eq!(process.handle(message).await, Fate::Done);
        assert_eq!(house.campus.held(), 1, "it was cut off in a write");
        let delivery = tokio::time::timeout(LIMIT, subscription.next()).await.expect("it is gone on with").unwrap();
        let next = delivery.message.clone().unwrap();
        assert_eq!(next.body, Body::FlagPush(FlagPush {}), "what goes on with it compares nothing anew");
        subscription.ack(delivery).await.unwrap();
        assert!(house.store().asked_programs(&house.district).await.unwrap().is_empty());
        house.campus.set_faults(CampusFaults::default());
        house.settle().await;
        assert!(house.campus.flags().iter().any(|shown| shown.id == flag.id.to_string()), "it is there again");
    }
}

/// A new flag, whose person has one as another student already: Campus fails at the list that would say so.
async fn a_flag_whose_person_campus_does_not_list_fails_alone(f: Fixture) {
    let house = two_of_one_campus(f).await;
    house.complete("n43", "north-43", "2026-08-20", None).await;
    house.settle().await;
    house.complete("c43", "camp-43", "2026-08-25", None).await;
    house.complete("c41", "camp-41", "2026-08-25", None).await;
    let process = hurried(&house);
    let is_due = async |student: &str| house.flags().await.iter().any(|flag| flag.student.0 == student && flag.due);
    while !(is_due("camp-43").await && is_due("camp-41").await) {
        assert_eq!(process.handle(owed_to(&house).await.unwrap()).await, Fate::Done);
        house.clock.advance(TimeDelta::milliseconds(100));
    }
    let (fault, only) = (CampusFault::Status(500), Some("guid-43".to_owned()));
    let strikes = vec![Strike { fault, writes_only: false, only, times: None }];
    house.campus.set_faults(CampusFaults { refuses_one: Some(404), strikes, ..CampusFaults::default() });
    work_off(&house, &process).await;
    let flags = house.flags().await;
    for flag in &flags {
        let is_failing = flag.failing.as_ref().map(|failing| (failing.failures, failing.answer.as_str()));
        assert_eq!(is_failing, (flag.student.0 == "camp-43").then_some((1, "500")), "{flag:#?}");
    }
    assert_eq!(house.states().await["camp-41"], ("pushed", None), "others go on");
    assert_eq!(house.store().flags_failures(&house.district).await.unwrap(), 0, "Campus is not away");
}

/// Whether it lists its programs is asked by other messages than those that failed.
async fn several_flags_in_a_row_that_campus_fails_at_mean_that_it_is_away(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete_all().await;
    let process = hurried(&house);
    while house.flags().await.iter().filter(|flag| flag.due).count() < STUDENTS {
        assert_eq!(process.handle(owed_to(&house).await.unwrap()).await, Fate::Done);
        house.clock.advance(TimeDelta::milliseconds(100));
    }
    house.strike(CampusFault::Status(500), None);
    work_off(&house, &process).await;
    assert_eq!(house.store().flags_failures(&house.district).await.unwrap(), 1, "Campus is away");
    let failing =
        house.flags().await.into_iter().filter(|flag| flag.failing.as_ref().is_some_and(|one| one.failures > 0));
    assert_eq!(failing.count(), 3, "the others were not tried");
}

async fn an_end_that_campus_takes_and_does_not_show_is_written_once_a_sync(f: Fixture) {
    let house = House::new(f, program("take-over")).await;
    house.complete("d0", "0", "2026-01-01", None).await;
    house.typed_in("old-0", "0", "2024-01-01", None);
    house.approve().await;
    let is_not_done =
        Strike { fault: CampusFault::Status(200), writes_only: true, only: Some("old-0".to_owned()), times: None };
    let faults = CampusFaults { refuses_one: Some(404), strikes: vec![is_not_done], ..CampusFaults::default() };
    house.campus.set_faults(faults);
    let process = hurried(&house);
    work_off(&house, &process).await;
    let mut told = house.told(Some("old-0")).await;
    told.retain(|(action, _)| action == "take-over");
    assert_eq!(told, [("take-over".to_owned(), "not-read-back".to_owned())]);
    // It goes on where it was.
    house.campus.set_faults(CampusFaults { refuses_one: Some(404), ..CampusFaults::default() });
    house.clock.advance(TimeDelta::hours(1));
    house.store().ask_for_flags(&house.district, "test", house.clock.now()).await.unwrap();
    work_off(&house, &process).await;
    assert_eq!(house.old()["old-0"], Some(day("2026-08-14")));
}

/// Each message has time for a look at one of those that wait.
async fn what_waits_in_one_take_over_keeps_no_other_from_its_turn(f: Fixture) {
    let mut file = two_programs();
    for program in file.as_array_mut().unwrap() {
        program["option"] = "take-over".into();
    }
    let house = House::new(f, file).await;
    let approve_of = async |program: &str| {
        let (context, district) = (house.context(), &house.district);
        let plans = plan_take_overs(&context, district, Some(program)).await.unwrap().unwrap();
        take_overs_shown(&context, district, &plans).await.unwrap();
        approve(&context, district, Some(program), &[], "ops").await.unwrap().unwrap();
    };
    let in_504 = |name: &str, student: &str| {
        house.typed_in(name, student, "2024-01-01", None);
        house.campus.type_in(CampusFlag { program: "102".to_owned(), ..house.flag_of(student) });
    };
    for student in ["0", "1", "2"] {
        house.complete_of("Section 504", &format!("b{student}"), student, "2026-01-01", None).await;
        in_504(&format!("old-{student}"), student);
    }
    approve_of("Section 504").await;
    house.strike(CampusFault::Status(422), None);
    house.settle().await;
    house.campus.set_faults(CampusFaults { refuses_one: Some(404), ..CampusFaults::default() });
    let waiting = house.store().cutover_flags(&house.district, "Section 504", true, 10).await.unwrap();
    assert!(waiting.len() == 3 && waiting.iter().all(|flag| flag.outcome.as_deref() == Some("waits-for-new")));
    house.typed_in("old-5", "5", "2024-01-01", None);
    house.complete("d5", "5", "2026-01-01", None).await;
    approve_of(SPED).await;
    let process = hurried(&house);
    for _ in 0..200 {
        let Some(message) = owed_to(&house).await else { break };
        assert_eq!(process.handle(message).await, Fate::Done);
        house.clock.advance(TimeDelta::milliseconds(100));
    }
    assert_eq!(house.old()["old-5"], Some(day("2026-08-14")));
}

/// However many messages a comparison takes, how often Campus has failed is not forgotten in its middle.
async fn a_list_that_campus_fails_at_for_long_fails_its_program(f: Fixture) {
    let house = House::new(f, two_programs()).await;
    house.complete_both(None).await;
    let (fault, only) = (CampusFault::Status(500), Some("102".to_owned()));
    let strikes = vec![Strike { fault, writes_only: false, only, times: None }];
    house.campus.set_faults(CampusFaults { strikes, ..CampusFaults::default() });
    let process = hurried(&house);
    for _ in 0..7 {
        follow(&house, &process, Message::flag_sync(house.district.clone(), None, house.clock.now())).await;
        house.clock.advance(TimeDelta::hours(1));
    }
    let programs = house.store().flag_programs(&house.district).await.unwrap();
    let problems: Vec<_> =
        programs.iter().filter_map(|one| Some((one.program.as_str(), one.problem.as_deref()?))).collect();
    assert!(matches!(problems[..], [("Section 504", problem)] if problem.starts_with("campus-500")), "{problems:?}");
    assert!(house.store().flags_synced_at(&house.district).await.unwrap().is_some(), "the other one goes on");
}

/// Several messages for an old flag that waits come behind each comparison.
async fn a_list_that_fails_is_told_though_a_take_over_behind_it_is_cut_off(f: Fixture) {
    let mut file = two_programs();
    file[0]["option"] = "take-over".into();
    let house = House::new(f, file).await;
    house.complete("d0", "0", "2026-01-01", None).await;
    house.typed_in("old-0", "0", "2024-01-01", None);
    house.approve().await;
    house.strike(CampusFault::Status(422), None);
    house.settle().await;
    let waiting = house.store().cutover_flags(&house.district, SPED, true, 10).await.unwrap();
    assert_eq!(waiting[0].outcome.as_deref(), Some("waits-for-new"));
    let (fault, only) = (CampusFault::Status(500), Some("102".to_owned()));
    let strikes = vec![Strike { fault, writes_only: false, only, times: None }];
    house.campus.set_faults(CampusFaults { refuses_one: Some(404), strikes, ..CampusFaults::default() });
    let process = hurried(&house);
    for failures in 1..=3 {
        house.clock.advance(TimeDelta::hours(1));
        follow(&house, &process, Message::flag_sync(house.district.clone(), None, house.clock.now())).await;
        assert_eq!(house.store().flags_failures(&house.district).await.unwrap(), failures);
    }
}

/// They are in a row, and so Campus counts as away; where it shows the last one no more than that, it is that flag's trouble.
async fn three_flags_that_campus_does_not_show_stop_a_district_once(f: Fixture) {
    let house = House::create_new(f).await;
    let students = ["0", "1", "2"];
    for student in students {
        house.complete(&format!("d{student}"), student, "2026-08-20", None).await;
    }
    house.campus.set_faults(CampusFaults { outage_after_writes: Some(3), ..CampusFaults::default() });
    house.handle_sync().await;
    assert_eq!(house.flags().await.iter().filter(|flag| flag.state == FlagState::Accepted).count(), 3);
    let fails = |student: &str| Strike {
        fault: CampusFault::Status(500),
        writes_only: false,
        only: Some(student.to_owned()),
        times: None,
    };
    let faults =
        CampusFaults { refuses_one: Some(500), strikes: students.map(fails).into(), ..CampusFaults::default() };
    house.campus.set_faults(faults);
    let mut accepted = Vec::new();
    for _ in 0..2 {
        house.clock.advance(TimeDelta::hours(1));
        house.handle_push().await;
        accepted.push(house.flags().await.iter().filter(|flag| flag.state == FlagState::Accepted).count());
    }
    assert_eq!(accepted, [1, 0], "those that are told of, and the one that is left");
}
