//! Documents that replace others, and stretches that become one: no day is shown twice, and no flag is left behind.

use std::collections::BTreeSet;

use chrono::NaiveDate;
use rollcall_proto::clock::Clock as _;
use rollcall_sandbox::{CampusFlag, CampusProgramRow};
use rollcall_store::{
    district::OnDrift,
    flag::{Flag, FlagState},
};

use crate::{
    common::{Fixture, day},
    house::{House, SPED},
    on_both_engines,
    roster_support::{applied, gone},
};

on_both_engines! {
    a_document_that_replaces_a_withdrawn_one_has_its_flag,
    two_flags_whose_stretches_are_one_share_its_days,
    a_shared_flag_that_staff_edited_is_told_and_restored,
    a_flag_that_was_left_in_a_program_made_anew_is_ended_all_the_same,
    what_was_not_read_back_is_sent_again_when_a_person_asks,
}

/// What Campus shows of a student, by start.
fn days_of(house: &House, student: &str) -> Vec<(NaiveDate, Option<NaiveDate>)> {
    let flags = house.campus.flags().into_iter().filter(|flag| flag.student == student);
    let mut days: Vec<_> = flags.map(|flag| (flag.begins, flag.ends)).collect();
    days.sort();
    days
}

fn days(days: &[(&str, Option<&str>)]) -> Vec<(NaiveDate, Option<NaiveDate>)> {
    days.iter().map(|(start, end)| (day(start), end.map(day))).collect()
}

/// "Withdraw it, and make another one": before it began, on the day on which it begins, and on that of the cutover.
async fn a_document_that_replaces_a_withdrawn_one_has_its_flag(f: Fixture) {
    let house = House::create_new(f).await;
    for (student, starts) in [("1", "2026-10-01"), ("2", "2026-09-01"), ("3", "2026-08-31")] {
        house.complete(&format!("a{student}"), student, starts, None).await;
        house.settle().await;
        house.withdraw(&format!("a{student}")).await;
        house.settle().await;
        assert_eq!(days_of(&house, student), days(&[(starts, Some(starts))]));
        house.complete(&format!("b{student}"), student, starts, None).await;
        house.settle().await;
        assert_eq!(days_of(&house, student), days(&[(starts, None)]));
    }
    let mut today = house.file.clone();
    today.programs[0].cutover = Some(day("2026-09-01"));
    house.apply(&today).await;
    house.complete("a4", "4", "2026-05-01", None).await;
    house.settle().await;
    house.withdraw("a4").await;
    house.settle().await;
    assert_eq!(days_of(&house, "4"), days(&[("2026-09-01", Some("2026-09-01"))]));
    house.complete("b4", "4", "2026-09-01", None).await;
    house.settle().await;
    assert_eq!(days_of(&house, "4"), days(&[("2026-09-01", None)]));
}

/// By a comparison of the student and by one of all.
async fn two_flags_whose_stretches_are_one_share_its_days(f: Fixture) {
    let house = House::create_new(f).await;
    let cases = [
        ("1", "2026-08-20", "2026-08-24", "2026-08-25", [("2026-08-16", Some("2026-08-24")), ("2026-08-25", None)]),
        ("2", "2026-09-20", "2026-09-30", "2026-10-01", [("2026-08-16", Some("2026-09-30")), ("2026-10-01", None)]),
    ];
    for (student, ends, filled, starts, expected) in cases {
        let (a, c) = (format!("a{student}"), format!("c{student}"));
        house.complete(&a, student, "2026-08-16", Some(ends)).await;
        house.complete(&c, student, starts, None).await;
        house.settle().await;
        let ids = |house: &House| -> BTreeSet<_> { house.campus.flags().into_iter().map(|flag| flag.id).collect() };
        let before = ids(&house);
        house.complete(&a, student, "2026-08-16", Some(filled)).await;
        house.settle().await;
        assert_eq!(days_of(&house, student), days(&expected), "{student}");
        let writes = house.campus.stats().writes;
        house.unasked_night().await;
        house.night().await;
        assert_eq!((days_of(&house, student), house.campus.stats().writes), (days(&expected), writes), "{student}");
        assert_eq!(ids(&house), before, "nothing is made, and nothing deleted");
        assert!(house.flags().await.iter().all(|flag| flag.state == FlagState::Pushed));
        // Whatever day it ends, whoever has left.
        house.complete(&c, student, starts, Some("2027-01-31")).await;
        house.settle().await;
        assert_eq!(days_of(&house, student)[1].1, Some(day("2027-01-31")));
    }
    applied(house.store(), &house.district, 2, vec![gone("2")]).await;
    house.complete("c2", "2", "2026-10-01", Some("2026-12-31")).await;
    house.settle().await;
    assert_eq!(days_of(&house, "2")[1], (day("2026-10-01"), Some(day("2026-12-31"))));
    // Nothing speaks for it any more.
    house.withdraw("a1").await;
    house.withdraw("c1").await;
    house.settle().await;
    let ended = days(&[("2026-08-16", Some("2026-08-24")), ("2026-08-25", Some("2026-08-31"))]);
    assert_eq!(days_of(&house, "1"), ended);
}

async fn a_shared_flag_that_staff_edited_is_told_and_restored(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete("a", "1", "2026-08-16", Some("2026-09-20")).await;
    house.complete("c", "1", "2026-10-01", None).await;
    house.settle().await;
    house.complete("a", "1", "2026-08-16", Some("2026-09-30")).await;
    house.settle().await;
    let expected = days(&[("2026-08-16", Some("2026-09-30")), ("2026-10-01", None)]);
    let edit = |house: &House| {
        for flag in house.campus.flags() {
            let begins = if flag.ends.is_none() { day("2026-10-05") } else { flag.begins };
            let ends = flag.ends.map(|_| day("2026-10-02"));
            house.campus.type_in(CampusFlag { begins, ends, ..flag });
        }
    };
    edit(&house);
    house.unasked_night().await;
    let reasons: BTreeSet<_> = house.flags().await.into_iter().map(|flag| flag.reason).collect();
    assert_eq!(reasons, BTreeSet::from([Some("edited end".to_owned()), Some("edited start".to_owned())]));
    assert_ne!(days_of(&house, "1"), expected, "it is only reported");
    let mut restoring = house.file.clone();
    restoring.programs[0].on_drift = OnDrift::Restore;
    house.apply(&restoring).await;
    house.settle().await;
    assert_eq!(days_of(&house, "1"), expected);
}

/// Their student left, so that it is not made anew; and it is not forgotten.
async fn a_flag_that_was_left_in_a_program_made_anew_is_ended_all_the_same(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete("d1", "1", "2026-08-20", None).await;
    house.complete("d2", "2", "2026-08-20", None).await;
    house.complete("d3", "3", "2026-08-20", None).await;
    house.settle().await;
    let deleted = house.flag_of("3");
    let mut programs = house.campus.programs();
    let old = programs.iter_mut().find(|one| one.name == SPED).unwrap();
    old.active = false;
    let anew = CampusProgramRow { id: "201".to_owned(), active: true, ..old.clone() };
    programs.push(anew);
    house.campus.set_programs(programs);
    applied(house.store(), &house.district, 2, vec![gone("1"), gone("3")]).await;
    house.campus.delete(&deleted.id);
    house.complete("d1", "1", "2026-08-20", Some("2026-12-31")).await;
    house.complete("d2", "2", "2026-08-20", Some("2026-12-31")).await;
    house.night().await;
    let ended = (day("2026-08-20"), Some(day("2026-12-31")));
    assert_eq!(house.shown(), [("1".to_owned(), ended), ("2".to_owned(), ended)].into(), "and none is made anew");
    assert!(house.campus.flags().iter().all(|flag| flag.program == "201"));
    let writes = house.campus.stats().writes;
    house.unasked_night().await;
    assert_eq!(house.campus.stats().writes, writes);
}

/// Of all programs, or of one.
async fn what_was_not_read_back_is_sent_again_when_a_person_asks(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete("d1", "1", "2026-08-20", None).await;
    for by_program in [false, true] {
        house.settle().await;
        // As Campus made it of what it had taken, twice.
        let flag = house.flags().await.remove(0);
        let failed =
            Flag { state: FlagState::Failed, reason: Some("not-read-back".to_owned()), verified_at: None, ..flag };
        house.keep(&[failed]).await;
        house.campus.type_in(CampusFlag { ends: Some(day("2026-08-30")), ..house.flag_of("1") });
        let writes = house.campus.stats().writes;
        house.unasked_night().await;
        assert_eq!(house.campus.stats().writes, writes, "a night does not send it again");
        assert_eq!(house.states().await["1"], ("failed", Some("not-read-back".to_owned())));
        if by_program {
            house.clock.advance(chrono::TimeDelta::hours(1));
            let other = house.store().ask_for_program_flags(&house.district, "Section 504", "test", house.clock.now());
            other.await.unwrap();
            house.settle().await;
            assert_eq!(house.campus.stats().writes, writes, "nor does a question about another program");
            house.store().ask_for_program_flags(&house.district, SPED, "test", house.clock.now()).await.unwrap();
            house.settle().await;
        } else {
            house.night().await;
        }
        assert_eq!(house.campus.stats().writes, writes + 1, "{by_program}");
        assert_eq!((house.states().await["1"].clone(), house.shown()["1"].1), (("pushed", None), None));
    }
}
