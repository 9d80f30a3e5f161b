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
