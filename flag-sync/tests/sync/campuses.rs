//! Kinds of Campus that its wire facts leave open: other names, no flag by its id, lists that are torn or in no order.

use std::{collections::BTreeSet, num::NonZeroU32, time::Duration};

use rollcall_flag_sync::{FlagHandler, FlagSyncConfig, partner::PartnerInterface, plan_take_overs};
use rollcall_proto::{
    clock::Clock as _,
    handler::{Fate, Handler as _},
    message::Message,
};
use rollcall_sandbox::{
    CampusConfig, CampusFault, CampusFaults, CampusFlag, CampusNames, CampusOrder, CampusPaging, Strike,
};
use rollcall_store::{district::OnDrift, plan::Verdict};

use crate::{
    common::{Fixture, day},
    house::{House, SPED, STUDENTS, program, two_programs},
    on_both_engines,
    roster_support::{applied, gone, plan_of, run_at_plan},
};

on_both_engines! {
    a_change_reaches_a_campus_that_shows_no_flag_by_its_id,
    a_change_waits_where_campus_refuses_to_show_the_flag_at_all,
    many_changes_lose_nothing_to_a_torn_list,
    a_torn_list_deletes_no_flag,
    a_list_that_says_it_has_more_rows_is_read_again,
    lists_in_no_order_lose_no_flag,
    a_campus_that_pages_otherwise_or_not_at_all_has_its_flags,
    a_list_that_stands_still_is_not_taken_for_all_of_it,
    a_student_who_leaves_during_a_push_gets_no_new_flag,
    a_student_who_left_keeps_the_flag_whose_answer_was_lost,
    a_campus_of_other_names_is_written_as_the_table_says,
    a_program_that_is_not_special_ed_fails_alone,
    a_run_that_is_held_has_flags_synced,
    a_look_at_a_plan_keeps_to_the_rate,
    what_a_refusal_costs_is_within_the_rate,
}

/// Two programs' flags of all students, pushed and read back; staff typed something onto each.
async fn all_pushed(f: Fixture, config: CampusConfig) -> House {
    let house = House::with(f, two_programs(), config).await;
    house.complete_both(None).await;
    house.settle().await;
    for flag in house.campus.flags() {
        house.campus.type_in(CampusFlag { comment: Some("call first".to_owned()), ..flag });
    }
    house
}

fn small_pages() -> CampusConfig {
    CampusConfig { page_limit: 5, ..CampusConfig::default() }
}

/// All flags end then, say what staff typed onto them, and nobody is told to have edited or refused any.
async fn assert_all_end(house: &House, ends: Option<&str>) {
    let flags = house.campus.flags();
    assert_eq!(flags.len(), 2 * STUDENTS);
    for flag in flags {
        assert_eq!((flag.ends, flag.comment.as_deref()), (ends.map(day), Some("call first")), "{}", flag.id);
    }
    assert_quiet(house).await;
}

async fn assert_quiet(house: &House) {
    let told: BTreeSet<_> = house.told(None).await.into_iter().map(|(action, _)| action).collect();
    assert!(!told.contains("drift") && !told.contains("failed"), "{told:?}");
    let odd: Vec<_> = house.flags().await.into_iter().filter(|flag| flag.due || flag.reason.is_some()).collect();
    assert!(odd.is_empty(), "{odd:#?}");
}

fn torn(rows: usize, program: &str) -> Strike {
    Strike { fault: CampusFault::Torn(rows), writes_only: false, only: Some(program.to_owned()), times: None }
}

/// Also of a student who left.
async fn a_change_reaches_a_campus_that_shows_no_flag_by_its_id(f: Fixture) {
    let house = all_pushed(f, small_pages()).await;
    applied(house.store(), &house.district, 2, vec![gone("1")]).await;
    for (number, status) in [404, 405, 400, 403, 410].into_iter().enumerate() {
        house.campus.set_faults(CampusFaults { refuses_one: Some(status), ..CampusFaults::default() });
        let ends = format!("2027-01-{}", 10 + number);
        for student in ["1", "2", "3"] {
            house.complete(&format!("a{student}"), student, "2026-08-20", Some(&ends)).await;
        }
        let writes = house.campus.stats().writes;
        house.settle().await;
        assert_eq!(house.campus.stats().writes, writes + 3, "{status}");
        let changed: Vec<_> = house.campus.flags().into_iter().filter(|flag| flag.ends == Some(day(&ends))).collect();
        let students: BTreeSet<_> = changed.iter().map(|flag| flag.student.as_str()).collect();
        assert_eq!(students, BTreeSet::from(["1", "2", "3"]), "{status}");
        assert!(changed.iter().all(|flag| flag.comment.as_deref() == Some("call first")), "{status}: {changed:#?}");
        assert_quiet(&house).await;
    }
}

/// Neither by its id nor among its student's: that is no word on the write, which is tried with the next comparison.
async fn a_change_waits_where_campus_refuses_to_show_the_flag_at_all(f: Fixture) {
    let house = all_pushed(f, small_pages()).await;
    for status in [404, 405] {
        // Asked by the program Campus answers.
        let only = |id: &str| Strike {
            fault: CampusFault::Status(status),
            writes_only: false,
            only: Some(id.to_owned()),
            times: None,
        };
        let strikes = vec![only("1")];
        house.complete("a1", "1", "2026-08-20", Some(&format!("2027-01-{}", status - 390))).await;
        house.complete("a2", "2", "2026-08-20", Some(&format!("2027-01-{}", status - 390))).await;
        house.store().ask_for_flags(&house.district, "test", house.clock.now()).await.unwrap();
        let faults = CampusFaults { refuses_one: Some(status), strikes, ..CampusFaults::default() };
        house.campus.set_faults(faults);
        let writes = house.campus.stats().writes;
        house.settle().await;
        assert_eq!(house.campus.stats().writes, writes + 1, "{status}: nothing is written over unseen");
        let flag = house.flags().await.into_iter().find(|flag| flag.student.0 == "1" && flag.reason.is_some()).unwrap();
        assert_eq!((flag.reason, flag.refused), (Some(format!("campus-{status}")), None));
        house.campus.set_faults(CampusFaults { refuses_one: Some(status), ..CampusFaults::default() });
        house.unasked_night().await;
        assert_eq!(house.campus.stats().writes, writes + 2, "{status}");
        assert!(house.flags().await.iter().all(|flag| flag.reason.is_none()));
    }
}

async fn many_changes_lose_nothing_to_a_torn_list(f: Fixture) {
    let house = all_pushed(f, small_pages()).await;
    let torn_lists = || vec![torn(2, "101"), torn(0, "102")];
    for (refuses_one, ends) in [(None, "2027-01-31"), (Some(404), "2027-02-28"), (Some(405), "2027-03-31")] {
        house.complete_both(Some(ends)).await;
        house.campus.set_faults(CampusFaults { refuses_one, strikes: torn_lists(), ..CampusFaults::default() });
        house.settle().await;
        assert_all_end(&house, Some(ends)).await;
    }
    assert_eq!(house.campus.stats().writes, 4 * 2 * STUDENTS as u64, "each is sent once");
}

/// Nor is one written again where the district wants its flags restored. Campus does not say how many rows there are.
async fn a_torn_list_deletes_no_flag(f: Fixture) {
    let house = all_pushed(f, CampusConfig { counts: false, ..small_pages() }).await;
    let mut restoring = house.file.clone();
    restoring.programs.iter_mut().for_each(|program| program.on_drift = OnDrift::Restore);
    house.apply(&restoring).await;
    house.settle().await;
    let writes = house.campus.stats().writes;
    for strikes in [vec![torn(9, "101")], vec![torn(2, "101"), torn(0, "102")]] {
        for refuses_one in [None, Some(404), Some(405)] {
            house.campus.set_faults(CampusFaults { refuses_one, strikes: strikes.clone(), ..CampusFaults::default() });
            house.night().await;
            assert_all_end(&house, None).await;
        }
    }
    assert_eq!(house.campus.stats().writes, writes);
    // One that staff deleted is still found out.
    let deleted = house.campus.flags().remove(0);
    house.campus.delete(&deleted.id);
    house.night().await;
    assert!(house.told(Some(&deleted.id)).await.contains(&("drift".to_owned(), "deleted".to_owned())));
    assert_eq!(house.campus.flags().len(), 2 * STUDENTS, "and restored");
}

async fn a_list_that_says_it_has_more_rows_is_read_again(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete_all().await;
    let once = Strike { times: Some(1), ..torn(0, "programs") };
    house.campus.set_faults(CampusFaults { strikes: vec![once], ..CampusFaults::default() });
    house.handle_sync().await;
    house.assert_all_pushed().await;
    assert!(house.store().flag_programs(&house.district).await.unwrap().iter().all(|one| one.problem.is_none()));
    // One that never shows them all is believed in the end.
    house.campus.set_faults(CampusFaults { strikes: vec![torn(0, "programs")], ..CampusFaults::default() });
    let calls = house.campus.stats().calls;
    house.clock.advance(chrono::TimeDelta::hours(1));
    house.handle_sync().await;
    assert!(house.campus.stats().calls - calls < 10, "it is asked again and again");
    let problems = house.store().flag_programs(&house.district).await.unwrap();
    assert!(problems[0].problem.as_ref().unwrap().starts_with("flag-missing"), "{problems:?}");
}

async fn lists_in_no_order_lose_no_flag(f: Fixture) {
    let house = all_pushed(f, CampusConfig { order: CampusOrder::NewEachTime, ..small_pages() }).await;
    let writes = house.campus.stats().writes;
    assert_eq!(writes, 2 * STUDENTS as u64);
    for _ in 0..3 {
        house.night().await;
    }
    assert_eq!(house.campus.stats().writes, writes, "an unchanged night sends no write");
    assert_all_end(&house, None).await;
    house.complete_both(Some("2027-01-31")).await;
    house.settle().await;
    house.night().await;
    assert_all_end(&house, Some("2027-01-31")).await;
    assert_eq!(house.campus.stats().writes, 2 * writes);
}

/// All of a list at once whatever is asked for, by whatever number of rows; or a refusal behind the end.
async fn a_campus_that_pages_otherwise_or_not_at_all_has_its_flags(f: Fixture) {
    let is_embedded = f.dir().is_some();
    let another = async || if is_embedded { Fixture::embedded().await } else { Fixture::postgres().await };
    let refused = CampusPaging::RefusedBehind;
    for (paging, page_limit, counts, page_size) in [
        (CampusPaging::Unpaged, 500, true, 1_000),
        (CampusPaging::Unpaged, 500, false, 1_000),
        // As many rows as are asked for, which may be a page.
        (CampusPaging::Unpaged, 500, false, STUDENTS as u32),
        (CampusPaging::Unpaged, 500, false, 5),
        (refused(404), 500, true, 1_000),
        (refused(400), 500, false, 1_000),
        (refused(400), 5, false, 1_000),
        (refused(404), 6, true, 6),
    ] {
        let config = CampusConfig { paging, page_limit, counts, ..CampusConfig::default() };
        let mut house = House::with(another().await, two_programs(), config).await;
        house.partner.page_size = page_size;
        house.complete_both(None).await;
        house.complete_of("Section 504", "b0", "0", "2026-08-20", Some("2027-01-31")).await;
        house.settle().await;
        let what = format!("{paging:?} {page_limit} {counts} {page_size}");
        let problems = house.store().flags_problem(&house.district).await.unwrap();
        assert_eq!((house.campus.flags().len(), problems), (2 * STUDENTS, None), "{what}");
        let writes = house.campus.stats().writes;
        house.night().await;
        assert_eq!(house.campus.stats().writes, writes, "{what}: an unchanged night sends no write");
        assert_quiet(&house).await;
    }
}

/// Its pages are clamped, and each is the first one.
async fn a_list_that_stands_still_is_not_taken_for_all_of_it(f: Fixture) {
    let config = CampusConfig { paging: CampusPaging::Stuck, counts: false, ..small_pages() };
    let house = House::with(f, two_programs(), config).await;
    house.complete("a", "1", "2026-08-20", None).await;
    house.handle_sync().await;
    let problem = house.store().flags_problem(&house.district).await.unwrap().unwrap();
    assert!(problem.contains("the same page again"), "{problem}");
    assert_eq!(house.campus.stats().writes, 0);
}

async fn a_student_who_leaves_during_a_push_gets_no_new_flag(f: Fixture) {
    let house = House::with(f, program("create-new"), CampusConfig { latency_ms: 150, ..small_pages() }).await;
    house.complete_all().await;
    let one_by_one = FlagSyncConfig { students_at_once: 1, ..FlagSyncConfig::default() };
    let handler = FlagHandler::new(house.context_with(one_by_one));
    let message = Message::flag_sync(house.district.clone(), None, house.clock.now());
    let push = tokio::spawn(async move { handler.handle(message).await });
    let began = tokio::time::Instant::now();
    while house.campus.stats().writes == 0 {
        assert!(began.elapsed() < Duration::from_mins(1), "nothing is pushed");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Sent last.
    let last = (0..STUDENTS).map(|number| number.to_string()).max().unwrap();
    applied(house.store(), &house.district, 2, vec![gone(&last)]).await;
    assert!(!house.shown().contains_key(&last), "it was sent already");
    assert_eq!(push.await.unwrap(), Fate::Done);
    house.settle().await;
    house.unasked_night().await;
    assert_eq!(house.shown().len(), STUDENTS - 1);
    assert_eq!(house.states().await[&last], ("wanted", Some("not-enrolled".to_owned())));
    let flag = house.flags().await.into_iter().find(|flag| flag.student.0 == last).unwrap();
    assert_eq!(house.told(Some(&flag.id.to_string())).await, [], "nobody deleted it");
}

/// Campus took it, and the student left before it was sent again.
async fn a_student_who_left_keeps_the_flag_whose_answer_was_lost(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete("a", "1", "2026-08-20", None).await;
    house.strike(CampusFault::LostAnswer, None);
    house.handle_sync().await;
    assert_eq!((house.shown()["1"].1, &house.flags().await[0].pushed), (None, &None));
    applied(house.store(), &house.district, 2, vec![gone("1")]).await;
    house.campus.set_faults(CampusFaults::default());
    house.settle().await;
    assert_eq!(house.states().await["1"], ("pushed", None));
    house.withdraw("a").await;
    house.settle().await;
    assert!(house.shown()["1"].1.is_some(), "the participation ends it");
}

fn other_names() -> (CampusNames, PartnerInterface) {
    let text = str::to_owned;
    let table = PartnerInterface {
        programs_path: text("partners/spPrograms"),
        participations_path: text("partners/v2/participation"),
        vendor_header: text("X-Partner-Pair"),
        programs_envelope: text("spPrograms"),
        participations_envelope: text("spParticipations"),
        participation_envelope: text("spParticipation"),
        id: text("guid"),
        status: text("state"),
        active_status: text("current"),
        program_name: text("name"),
        program_active: text("isActive"),
        program_special_ed: text("boxes.specialEd"),
        student_id: text("person.guid"),
        program_id: text("flag.guid"),
        starts_on: text("dates.first"),
        ends_on: text("dates.last"),
        launch_link: text("link.url"),
        launch_link_shown: text("link.url"),
        student_filter: text("personGuid"),
        program_filter: text("flagGuid"),
        ..PartnerInterface::default()
    };
    let usual = PartnerInterface::default();
    let field = |of: &dyn Fn(&PartnerInterface) -> String| (of(&usual), of(&table));
    let names = CampusNames {
        programs_path: table.programs_path.clone(),
        participations_path: table.participations_path.clone(),
        vendor_header: table.vendor_header.to_lowercase(),
        programs: table.programs_envelope.clone(),
        participations: table.participations_envelope.clone(),
        participation: table.participation_envelope.clone(),
        active: table.active_status.clone(),
        student_filter: table.student_filter.clone(),
        program_filter: table.program_filter.clone(),
        fields: vec![
            field(&|table| table.id.clone()),
            field(&|table| table.status.clone()),
            field(&|table| table.program_name.clone()),
            field(&|table| table.program_active.clone()),
            field(&|table| table.program_special_ed.clone()),
            field(&|table| table.student_id.clone()),
            field(&|table| table.program_id.clone()),
            field(&|table| table.starts_on.clone()),
            field(&|table| table.ends_on.clone()),
            field(&|table| table.launch_link.clone()),
        ],
    };
    (names, table)
}

/// From a take-over to an unchanged night, without one flag asked for by its id.
async fn a_campus_of_other_names_is_written_as_the_table_says(f: Fixture) {
    let (names, table) = other_names();
    let config = CampusConfig { names, ..small_pages() };
    let mut house = House::with(f, program("take-over"), config).await;
    house.partner = table;
    house.campus.set_faults(CampusFaults { refuses_one: Some(405), ..CampusFaults::default() });
    house.typed_in("old-1", "1", "2024-01-01", None);
    house.typed_in("old-2", "2", "2024-01-01", None);
    house.complete_all().await;
    house.approve().await;
    house.night().await;
    assert_eq!(house.old().into_values().collect::<BTreeSet<_>>(), BTreeSet::from([Some(day("2026-08-14"))]));
    assert!(house.campus.flags().iter().all(|flag| !flag.id.starts_with("old") || flag.comment.is_some()));
    let ours = || house.campus.flags().into_iter().filter(|flag| !flag.id.starts_with("old")).collect::<Vec<_>>();
    assert_eq!(ours().len(), STUDENTS);
    assert!(ours().iter().all(|flag| (flag.begins, flag.ends) == (day("2026-08-20"), None) && flag.link.is_some()));
    for flag in ours() {
        house.campus.type_in(CampusFlag { comment: Some("call first".to_owned()), ..flag });
    }
    house.complete("d3", "3", "2026-08-20", Some("2027-01-31")).await;
    house.withdraw("d4").await;
    house.settle().await;
    let end = |student: &str| ours().into_iter().find(|flag| flag.student == student).unwrap().ends;
    assert_eq!((end("3"), end("4").is_some()), (Some(day("2027-01-31")), true));
    assert!(ours().iter().all(|flag| flag.comment.as_deref() == Some("call first")), "{:#?}", ours());
    let writes = house.campus.stats().writes;
    house.night().await;
    assert_eq!((house.campus.stats().writes, house.campus.stats().refused), (writes, 0));
    assert_quiet(&house).await;
}

/// As one that shows all programs has it.
async fn a_program_that_is_not_special_ed_fails_alone(f: Fixture) {
    let house = House::with(f, two_programs(), CampusConfig { shows_all: true, ..small_pages() }).await;
    house.complete("a", "1", "2026-08-20", None).await;
    house.complete_of("Section 504", "b", "2", "2026-08-20", None).await;
    let good = house.campus.programs();
    let mut programs = good.clone();
    programs[1].special_ed = false;
    house.campus.set_programs(programs);
    house.night().await;
    let states = house.states().await;
    assert_eq!(states["1"], ("pushed", None));
    let reason = states["2"].1.clone().unwrap_or_default();
    assert!(states["2"].0 == "failed" && reason.starts_with("flag-not-special-ed"), "{states:?}");
    assert_eq!(house.shown().len(), 1);
    house.campus.set_programs(good);
    house.night().await;
    assert_eq!(house.shown().len(), 2);
}

/// Nobody asks, and no document changes.
async fn a_run_that_is_held_has_flags_synced(f: Fixture) {
    let house = House::create_new(f).await;
    let mut restoring = house.file.clone();
    restoring.programs[0].on_drift = OnDrift::Restore;
    house.apply(&restoring).await;
    house.complete_all().await;
    house.settle().await;
    for flag in house.campus.flags() {
        house.campus.delete(&flag.id);
    }
    house.clock.advance(chrono::TimeDelta::hours(1));
    house.settle().await;
    assert!(house.shown().is_empty(), "nothing is owed yet");
    let run = run_at_plan(house.store(), &house.district, 5).await;
    house.settle().await;
    assert!(house.shown().is_empty(), "nor while the run goes on");
    let plan = plan_of(house.store(), &house.district, Verdict::Hold("preview".to_owned()), &[]).await;
    assert!(house.store().save_plan(&house.district, run.id, &plan, house.clock.now()).await.unwrap());
    house.settle().await;
    house.assert_all_pushed().await;
}

/// Alone it has a share of it, and beside a push both together have no more than the whole.
async fn a_look_at_a_plan_keeps_to_the_rate(f: Fixture) {
    let mut programs = program("take-over");
    programs.as_array_mut().unwrap().push(two_programs()[1].clone());
    let house = House::with(f, programs, small_pages()).await;
    for number in 0..STUDENTS {
        let student = number.to_string();
        house.typed_in(&format!("old-{number}"), &student, "2024-01-01", None);
        house.complete_of("Section 504", &format!("b{number}"), &student, "2026-08-20", None).await;
    }
    let rate = 50;
    let requests_per_second = NonZeroU32::new(rate).unwrap();
    let context = house.context_with(FlagSyncConfig { requests_per_second, ..FlagSyncConfig::default() });
    let plan = async || plan_take_overs(&context, &house.district, Some(SPED)).await.unwrap().unwrap();
    let calls = || f64::from(u32::try_from(house.campus.stats().calls).unwrap());
    let began = tokio::time::Instant::now();
    tokio::join!(plan(), plan(), plan());
    let most = began.elapsed().as_secs_f64() * f64::from(rate) / 5.0 + 1.0;
    assert!(calls() >= 15.0 && calls() <= most, "{} calls, {most} allowed", calls());
    let (began, before) = (tokio::time::Instant::now(), calls());
    let handler = FlagHandler::new(context.clone());
    let message = Message::flag_sync(house.district.clone(), None, house.clock.now());
    let (fate, _) = tokio::join!(handler.handle(message), plan());
    assert_eq!((fate, house.campus.stats().writes), (Fate::Done, STUDENTS as u64));
    let most = began.elapsed().as_secs_f64() * f64::from(rate) + f64::from(rate) / 10.0 + 1.0;
    assert!(calls() - before <= most, "{} calls, {most} allowed", calls() - before);
}

/// A 403 may be of the token or of the flag alone: another token is fetched and the flag asked for again, all of it in turn.
async fn what_a_refusal_costs_is_within_the_rate(f: Fixture) {
    let house = all_pushed(f, small_pages()).await;
    house.campus.set_faults(CampusFaults { refuses_one: Some(403), ..CampusFaults::default() });
    for number in 0..STUDENTS {
        house.complete(&format!("a{number}"), &number.to_string(), "2026-08-20", Some("2027-01-31")).await;
    }
    let rate = 50;
    let requests_per_second = NonZeroU32::new(rate).unwrap();
    let handler =
        FlagHandler::new(house.context_with(FlagSyncConfig { requests_per_second, ..FlagSyncConfig::default() }));
    let requests = || house.campus.stats().calls + house.campus.stats().tokens;
    let (began, before, writes) = (tokio::time::Instant::now(), requests(), house.campus.stats().writes);
    let message = Message::flag_sync(house.district.clone(), None, house.clock.now());
    assert_eq!(handler.handle(message).await, Fate::Done);
    let sent = f64::from(u32::try_from(requests() - before).unwrap());
    assert_eq!(house.campus.stats().writes - writes, STUDENTS as u64);
    let most = began.elapsed().as_secs_f64() * f64::from(rate) + f64::from(rate) / 10.0 + 1.0;
    assert!(sent <= most, "{sent} requests, {most} allowed");
}
