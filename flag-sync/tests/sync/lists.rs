//! A list that Campus refuses, or fails at, is one student's or one program's matter; everybody else's flags go on.

use chrono::TimeDelta;
use rollcall_flag_sync::reconcile::owed;
use rollcall_proto::{
    clock::Clock as _,
    handler::{Fate, Handler as _},
    id::RunId,
    message::{Body, FlagPush, Message},
};
use rollcall_sandbox::{CampusFault, CampusFaults, Strike};
use rollcall_store::flag::FlagProgram;
use uuid::Uuid;

use crate::{
    common::{Fixture, day},
    house::{House, STUDENTS, two_programs},
    on_both_engines,
};

on_both_engines! {
    a_student_whose_list_is_refused_keeps_no_other_waiting,
    a_student_whose_list_campus_fails_at_keeps_no_other_waiting,
    a_student_whose_list_campus_fails_at_is_asked_for_ever_more_seldom,
    lists_of_students_that_fail_in_a_row_put_the_district_off,
    a_program_whose_list_is_refused_fails_alone,
    a_program_whose_list_campus_fails_at_keeps_no_other_waiting,
    lists_that_are_all_refused_are_no_programs_matter,
    many_flags_are_read_back_without_their_programs_list,
    many_flags_are_written_without_their_programs_list,
}

/// Whatever names this is answered with the status.
fn refuse(house: &House, status: u16, only: &[&str]) {
    befall(house, CampusFault::Status(status), only);
}

/// It befalls whatever names this.
fn befall(house: &House, fault: CampusFault, only: &[&str]) {
    let strike = |only: &&str| Strike { fault, writes_only: false, only: Some((*only).to_owned()), times: None };
    let strikes = only.iter().map(strike).collect();
    house.campus.set_faults(CampusFaults { strikes, ..CampusFaults::default() });
}

fn mend(house: &House) {
    house.campus.set_faults(CampusFaults::default());
}

async fn problems(house: &House) -> Vec<String> {
    let programs = house.store().flag_programs(&house.district).await.unwrap().into_iter();
    programs.filter_map(|FlagProgram { program, problem, .. }| Some(format!("{program}: {}", problem?))).collect()
}

async fn pending(house: &House) -> Vec<String> {
    let pending = house.store().pending_students(&house.district, 100).await.unwrap();
    pending.into_iter().map(|one| one.student.0).collect()
}

/// One message, as the reconciler sends it.
async fn push(house: &House) {
    let body = Body::FlagPush(FlagPush {});
    let message = Message::new(house.district.clone(), RunId(Uuid::now_v7()), house.clock.now(), body);
    assert_eq!(house.handler().handle(message).await, Fate::Done);
}

/// As one whose stored id is that of OneRoster 1.1 while Campus speaks 1.2.
async fn a_student_whose_list_is_refused_keeps_no_other_waiting(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete_all().await;
    house.settle().await;
    for (status, ends, reason) in [
        (404, "2027-01-04", "campus-404"),
        (410, "2027-01-10", "campus-410"),
        (403, "2027-01-03", "campus-403 Campus does not take this flag"),
    ] {
        refuse(&house, status, &["1"]);
        house.complete("d1", "1", "2026-08-20", Some(ends)).await;
        house.complete("d2", "2", "2026-08-20", Some(ends)).await;
        house.settle().await;
        assert_eq!(house.shown()["2"].1, Some(day(ends)), "{status}");
        assert_ne!(house.shown()["1"].1, Some(day(ends)), "{status}");
        let states = house.states().await;
        assert_eq!(states["1"], ("failed", Some(reason.to_owned())), "{status}: it is listed");
        assert_eq!(states["2"], ("pushed", None), "{status}");
        mend(&house);
        house.night().await;
        assert_eq!(house.shown()["1"].1, Some(day(ends)), "{status}");
    }
    // One who never had a flag, and one whose participation is as it was.
    house.complete("d3", "3", "2026-08-20", None).await;
    refuse(&house, 404, &["3", "new"]);
    house.settle().await;
    assert_eq!(house.states().await["3"], ("pushed", None), "nobody deleted it");
    assert_eq!(pending(&house).await, [""; 0]);
}

/// Whatever keeps Campus from it: the district's flags are as if nothing were the matter, and the student's are tried again.
async fn a_student_whose_list_campus_fails_at_keeps_no_other_waiting(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete_all().await;
    house.settle().await;
    let faults = [
        (CampusFault::Status(500), "500", "2027-01-31"),
        (CampusFault::Cut, "answer-unreadable", "2027-02-28"),
        (CampusFault::LostAnswer, "no-answer", "2027-03-31"),
    ];
    for (fault, code, ends) in faults {
        befall(&house, fault, &["1"]);
        house.complete("d1", "1", "2026-08-20", Some(ends)).await;
        for other in ["2", "3", "4", "5", "6", "7", "8"] {
            house.complete(&format!("d{other}"), other, "2026-08-20", Some(ends)).await;
            push(&house).await;
            assert_eq!(house.shown()[other].1, Some(day(ends)), "{code}: at once");
            let work = house.store().flag_work().await.unwrap().remove(0);
            assert_eq!(
                (work.retry_at, house.store().flags_failures(&house.district).await.unwrap()),
                (None, 0),
                "{code}"
            );
            assert_eq!(house.store().flags_problem(&house.district).await.unwrap(), None, "{code}");
            let reason = format!("campus-{code} Campus does not list the student's flags");
            assert_eq!(house.states().await["1"], ("failed", Some(reason)), "it is listed");
            assert_eq!(pending(&house).await, ["1"], "{code}: nobody forgets it");
            house.clock.advance(TimeDelta::minutes(7));
        }
        assert_ne!(house.shown()["1"].1, Some(day(ends)), "{code}");
        mend(&house);
        house.settle().await;
        assert_eq!(
            (house.shown()["1"].1, house.states().await["1"].clone()),
            (Some(day(ends)), ("pushed", None)),
            "{code}"
        );
        assert_eq!(pending(&house).await, [""; 0]);
    }
}

async fn a_student_whose_list_campus_fails_at_is_asked_for_ever_more_seldom(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete_all().await;
    house.settle().await;
    refuse(&house, 500, &["1"]);
    house.complete("d1", "1", "2026-08-20", Some("2027-01-31")).await;
    let (mut waits, began) = (Vec::new(), house.clock.now());
    while house.clock.now() < began + TimeDelta::hours(1) {
        let asked = house.campus.stats().calls;
        push(&house).await;
        let work = house.store().flag_work().await.unwrap().remove(0);
        assert_eq!(owed(&work, house.clock.now(), TimeDelta::zero()), None, "nobody is asked before");
        if house.campus.stats().calls > asked {
            waits.push((house.clock.now() - began).num_seconds());
        }
        house.clock.advance(TimeDelta::seconds(30));
    }
    assert_eq!(waits, [0, 30, 90, 210, 450, 930, 1_830, 2_730]);
    // Another document of theirs is looked at at once, and the whole sync goes by the programs' lists.
    let asked = house.campus.stats().calls;
    house.complete("d1", "1", "2026-08-20", Some("2027-02-28")).await;
    push(&house).await;
    assert!(house.campus.stats().calls > asked);
    house.unasked_night().await;
    let failed = ("failed", Some("campus-500 Campus does not take this flag".to_owned()));
    assert_eq!((&house.states().await["1"], pending(&house).await.len()), (&failed, 0), "tried, and that failed too");
    mend(&house);
    house.night().await;
    assert_eq!(house.shown()["1"].1, Some(day("2027-02-28")));
}

/// So many in a row look like a Campus that is away; whoever comes after them has a turn all the same.
async fn lists_of_students_that_fail_in_a_row_put_the_district_off(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete_all().await;
    house.settle().await;
    let ends = Some("2027-02-28");
    refuse(&house, 500, &["1", "2", "3"]);
    for number in [1, 2, 3, 4] {
        house.complete(&format!("d{number}"), &number.to_string(), "2026-08-20", ends).await;
    }
    push(&house).await;
    assert!(house.store().flags_problem(&house.district).await.unwrap().is_some(), "and it is told");
    let work = house.store().flag_work().await.unwrap().remove(0);
    house.clock.set(work.retry_at.unwrap());
    push(&house).await;
    assert_eq!(house.shown()["4"].1, ends.map(day));
    assert_eq!(pending(&house).await, ["1", "2", "3"]);
    // They stay so: then it is about them.
    for _ in 0..4 {
        house.clock.advance(TimeDelta::minutes(15));
        push(&house).await;
    }
    assert_eq!(house.store().flags_problem(&house.district).await.unwrap(), None);
    mend(&house);
    house.settle().await;
    let shown = house.shown();
    assert!(["1", "2", "3", "4"].iter().all(|student| shown[*student].1 == ends.map(day)), "{shown:?}");
}

async fn complete_both(house: &House, ends: Option<&str>) {
    for number in 0..STUDENTS {
        let student = number.to_string();
        house.complete(&format!("a{number}"), &student, "2026-08-20", ends).await;
        house.complete_of("Section 504", &format!("b{number}"), &student, "2026-08-20", ends).await;
    }
}

fn shown_of(house: &House, program: &str, ends: Option<&str>) -> usize {
    let flags = house.campus.flags().into_iter();
    flags.filter(|flag| flag.program == program && flag.ends == ends.map(day)).count()
}

async fn a_program_whose_list_is_refused_fails_alone(f: Fixture) {
    let house = House::new(f, two_programs()).await;
    for (round, status) in [403, 404, 410].into_iter().enumerate() {
        let ends = format!("2027-01-{}", 10 + round);
        let ends = Some(ends.as_str());
        let before = house.campus.flags().into_iter().filter(|flag| flag.program == "102").collect::<Vec<_>>();
        refuse(&house, status, &["102"]);
        // A whole sync, as after a night.
        house.store().ask_for_flags(&house.district, "test", house.clock.now()).await.unwrap();
        house.handle_sync().await;
        house.settle().await;
        complete_both(&house, ends).await;
        house.settle().await;
        house.night().await;
        assert_eq!(shown_of(&house, "101", ends), STUDENTS, "{status}");
        let now: Vec<_> = house.campus.flags().into_iter().filter(|flag| flag.program == "102").collect();
        assert_eq!(now, before, "{status}: nothing of it is written, by the student's list either");
        let problem = format!("Section 504: campus-{status} Campus does not list the program's flags");
        assert_eq!(problems(&house).await, [problem]);
        let failed =
            |flag: &rollcall_store::flag::Flag| flag.reason.as_ref().is_some_and(|why| why.starts_with("campus-"));
        let failed: Vec<_> = house.flags().await.into_iter().filter(failed).collect();
        assert!(failed.iter().all(|flag| flag.program == "Section 504"), "{failed:#?}");
        assert_eq!(failed.len(), STUDENTS);
        assert_eq!(house.store().flags_problem(&house.district).await.unwrap(), None, "the district's flags go on");
        mend(&house);
        house.night().await;
        assert_eq!((shown_of(&house, "102", ends), problems(&house).await.len()), (STUDENTS, 0), "{status}");
    }
}

async fn a_program_whose_list_campus_fails_at_keeps_no_other_waiting(f: Fixture) {
    let house = House::new(f, two_programs()).await;
    refuse(&house, 500, &["102"]);
    complete_both(&house, None).await;
    house.store().ask_for_flags(&house.district, "test", house.clock.now()).await.unwrap();
    house.handle_sync().await;
    assert_eq!((shown_of(&house, "101", None), shown_of(&house, "102", None)), (STUDENTS, 0));
    assert_eq!(problems(&house).await.len(), 0, "it is tried again first");
    assert_eq!(house.store().flags_synced_at(&house.district).await.unwrap(), None);
    // It stays so.
    house.settle().await;
    assert_eq!(problems(&house).await, ["Section 504: campus-500 Campus does not list the program's flags"]);
    mend(&house);
    house.night().await;
    assert_eq!((shown_of(&house, "102", None), problems(&house).await.len()), (STUDENTS, 0));
    // One that passes costs nothing but time.
    let passing =
        Strike { fault: CampusFault::Status(500), writes_only: false, only: Some("102".to_owned()), times: Some(3) };
    house.campus.set_faults(CampusFaults { strikes: vec![passing], ..CampusFaults::default() });
    complete_both(&house, Some("2027-01-31")).await;
    house.night().await;
    assert_eq!((shown_of(&house, "102", Some("2027-01-31")), problems(&house).await.len()), (STUDENTS, 0));
}

async fn lists_that_are_all_refused_are_no_programs_matter(f: Fixture) {
    let house = House::new(f, two_programs()).await;
    complete_both(&house, None).await;
    refuse(&house, 403, &["101", "102"]);
    house.handle_sync().await;
    let problem = house.store().flags_problem(&house.district).await.unwrap().unwrap();
    assert!(problem.starts_with("access-refused"), "{problem}");
    assert_eq!((problems(&house).await.len(), house.campus.flags().len()), (0, 0));
    mend(&house);
    house.settle().await;
    assert_eq!((shown_of(&house, "101", None), shown_of(&house, "102", None)), (STUDENTS, STUDENTS));
}

/// Campus goes away right after it took them all.
async fn many_flags_are_read_back_without_their_programs_list(f: Fixture) {
    let house = House::new(f, two_programs()).await;
    for (status, ends) in [(403, "2027-01-13"), (404, "2027-01-14"), (500, "2027-01-15")] {
        let taken = house.campus.stats().writes + 2 * STUDENTS as u64;
        house.campus.set_faults(CampusFaults { outage_after_writes: Some(taken), ..CampusFaults::default() });
        complete_both(&house, Some(ends)).await;
        house.handle_sync().await;
        refuse(&house, status, &["101"]);
        house.settle().await;
        let odd: Vec<_> = house.flags().await.into_iter().filter(|flag| flag.reason.is_some() || flag.due).collect();
        assert!(odd.is_empty(), "{status}: {odd:#?}");
        assert!(house.flags().await.iter().all(|flag| flag.verified_at.is_some()));
        assert_eq!(house.campus.stats().writes, taken, "{status}: and none is sent again");
        mend(&house);
    }
}

async fn many_flags_are_written_without_their_programs_list(f: Fixture) {
    let house = House::new(f, two_programs()).await;
    complete_both(&house, None).await;
    house.settle().await;
    for (status, ends) in [(403, "2027-01-13"), (404, "2027-01-14"), (500, "2027-01-15")] {
        refuse(&house, status, &["101"]);
        complete_both(&house, Some(ends)).await;
        house.settle().await;
        let ended = (shown_of(&house, "101", Some(ends)), shown_of(&house, "102", Some(ends)));
        assert_eq!(ended, (STUDENTS, STUDENTS), "{status}");
        mend(&house);
    }
}
