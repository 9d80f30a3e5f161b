//! What a pull cannot tell stays as it is stored.

use std::collections::BTreeSet;

use rollcall_proto::{id::PageNo, roster::Status};
use rollcall_store::board::Progress;
use serde_json::json;

use super::{super::*, candidates_of, codes, night};
use crate::testing::{NAME, PHONE, Roster, SPELL, Sis, add_page_behind, events};

#[test]
fn an_empty_supporting_listing_keeps_what_is_stored() {
    let mut sis = Sis::with_students(4);
    let roster = Roster::of(&sis);
    sis.rows.insert(PHONE, Vec::new());
    sis.withdraw(2, "2025-10-01", 92);
    let plan = night(&roster, &sis);
    let what = events(&plan);
    assert_eq!(what.len(), 1, "only the one who left: {:?}", plan.counts);
    assert_eq!(plan.counts.unchanged, 3);
    let record = what[0].record.as_ref().unwrap();
    assert_eq!(record.contacts[0].person.phones, roster.record(2).contacts[0].person.phones);
}

#[test]
fn a_column_no_longer_granted_is_unknown_and_not_null() {
    let mut sis = Sis::with_students(3);
    let mut roster = Roster::of(&sis);
    for row in sis.rows.get_mut(NAME).unwrap() {
        row.as_object_mut().unwrap().remove("BirthDate");
    }
    sis.row(NAME, 4)["FirstName"] = json!("Anna");
    // Refused for good: the value stays night after night.
    for night in 0..3 {
        let mut facts = sis.facts();
        let discovery = facts.pulls[0].pull.discovery.as_mut().unwrap();
        discovery.refused.insert(NAME.to_owned(), vec!["BirthDate".to_owned()]);
        let plan = roster.plan(facts);
        assert_eq!(plan.counts.changed, i64::from(night == 0));
        roster.apply(&plan);
        assert!(roster.record(2).birth_date.is_some() && roster.record(1).birth_date.is_some());
    }
    assert_eq!(roster.record(2).person.first_name.as_deref(), Some("Anna"));
}

/// As many students as have a gender would change in one night.
#[test]
fn a_code_no_longer_granted_is_not_replaced_by_its_word() {
    let mut sis = Sis::with_students(3);
    for id in [2, 4, 6] {
        sis.row(NAME, id)["Gender"] = json!("Female");
        sis.row(NAME, id)["GenderCode"] = json!("F");
    }
    let granting = |sis: &Sis, fields: &[&str]| {
        let mut facts = sis.facts();
        let discovery = facts.pulls[0].pull.discovery.as_mut().unwrap();
        let fields: Vec<String> = fields.iter().map(|field| (*field).to_owned()).collect();
        if !fields.contains(&"GenderCode".to_owned()) {
            discovery.refused.insert(NAME.to_owned(), vec!["GenderCode".to_owned()]);
        }
        discovery.granted.insert(NAME.to_owned(), fields);
        facts
    };
    let mut roster = Roster::default();
    roster.apply(&roster.plan(granting(&sis, &["NameID", "Gender", "GenderCode"])));
    assert_eq!(roster.record(1).gender.as_deref(), Some("F"));
    for row in sis.rows.get_mut(NAME).unwrap() {
        row.as_object_mut().unwrap().remove("GenderCode");
    }
    sis.row(NAME, 4)["FirstName"] = json!("Anna");
    // Lost for good, and told of on the first night alone: it stays all the same.
    for night in 0..3 {
        let plan = roster.plan(granting(&sis, &["NameID", "Gender"]));
        assert_eq!(plan.counts.changed, i64::from(night == 0), "night {night}");
        assert_eq!(codes(&plan).contains(&"grant-lost"), night == 0);
        roster.apply(&plan);
        let genders = [1, 2, 3].map(|id| roster.record(id).gender.clone());
        assert_eq!(genders, [1, 2, 3].map(|_| Some("F".to_owned())), "night {night}");
    }
    for row in sis.rows.get_mut(NAME).unwrap() {
        row["GenderCode"] = json!("X");
    }
    let again = roster.plan(granting(&sis, &["NameID", "Gender", "GenderCode"]));
    assert_eq!(again.counts.changed, 3, "granted again, it is told");
}

/// A pull of `sis`, by metadata that grants all fields that `whole` has.
fn granting(whole: &Sis, sis: &Sis) -> PlanFacts {
    let mut facts = sis.facts();
    let granted = &mut facts.pulls[0].pull.discovery.as_mut().unwrap().granted;
    for (resource, rows) in &whole.rows {
        let fields: BTreeSet<String> = rows.iter().flat_map(|row| row.as_object().unwrap().keys().cloned()).collect();
        granted.insert((*resource).to_owned(), fields.into_iter().collect());
    }
    facts
}

fn take(sis: &mut Sis, resource: &'static str, field: &str) {
    for row in sis.rows.get_mut(resource).unwrap() {
        row.as_object_mut().unwrap().remove(field);
    }
}

/// The metadata says that a field is granted, and its key is on no row: read as null, everybody's value would end.
#[test]
fn a_granted_field_that_no_row_carries_stays_as_it_is_stored() {
    const FIELD: &str = "Demographics/Name.BirthDate";
    let whole = Sis::with_students(3);
    let mut roster = Roster::default();
    roster.apply(&roster.plan(granting(&whole, &whole)));
    let mut poorer = whole.clone();
    take(&mut poorer, NAME, "BirthDate");
    poorer.row(NAME, 4)["FirstName"] = json!("Anna");
    // Said again on each night, until it is told or accepted.
    for number in 0..3 {
        let plan = roster.plan(granting(&whole, &poorer));
        assert_eq!(
            (plan.counts.changed, codes(&plan)),
            (i64::from(number == 0), vec!["field-untold"]),
            "night {number}"
        );
        assert!(plan.findings[0].message.starts_with(&format!("{FIELD}: ")), "{:?}", plan.findings);
        roster.apply(&plan);
        assert!([1, 2, 3].iter().all(|id| roster.record(*id).birth_date.is_some()), "night {number}");
    }
    // A key on a single row proves that the others have none.
    let mut back = poorer.clone();
    back.row(NAME, 2)["BirthDate"] = json!("2014-02-03");
    let plan = roster.plan(granting(&whole, &back));
    assert_eq!((plan.counts.changed, codes(&plan).len()), (2, 0));
    // Or a person says so, until it is told again.
    let accept = |baseline: &mut Baseline| baseline.accepted_empty.insert(FIELD.to_owned());
    accept(roster.baseline.as_mut().unwrap());
    for changed in [3, 0] {
        let plan = roster.plan(granting(&whole, &poorer));
        assert_eq!((plan.counts.changed, codes(&plan).len()), (changed, 0));
        roster.apply(&plan);
    }
    roster.apply(&roster.plan(granting(&whole, &whole)));
    assert_eq!(roster.baseline.as_ref().unwrap().accepted_empty, BTreeSet::new());
    assert_eq!(codes(&roster.plan(granting(&whole, &poorer))), ["field-untold"]);
}

#[test]
fn a_field_that_was_never_told_is_no_loss() {
    let whole = Sis::with_students(3);
    let mut richer = whole.clone();
    richer.row(NAME, 2)["MiddleName"] = json!("M");
    let mut roster = Roster::default();
    for _ in 0..2 {
        let plan = roster.plan(granting(&richer, &whole));
        assert_eq!(codes(&plan), [""; 0]);
        roster.apply(&plan);
    }
    roster.apply(&roster.plan(granting(&richer, &richer)));
    assert_eq!(codes(&roster.plan(granting(&richer, &whole))), ["field-untold"], "told once, it is missed");
}

/// Without a withdrawal date everybody who has left would be back.
#[test]
fn a_run_fails_where_no_row_carries_what_statuses_rest_on() {
    let mut whole = Sis::with_students(3);
    whole.withdraw(2, "2025-10-01", 92);
    let mut roster = Roster::default();
    roster.apply(&roster.plan(granting(&whole, &whole)));
    for field in ["EndDate", "WithdrawalCodeID", "StartDate"] {
        let mut poorer = whole.clone();
        take(&mut poorer, SPELL, field);
        let Verdict::Fail(reason) = roster.plan(granting(&whole, &poorer)).verdict else { panic!("{field}") };
        assert!(reason.starts_with("field-untold: ") && reason.contains(&format!(" {SPELL}.{field};")), "{reason}");
        assert!(reason.contains("nothing was changed") && reason.contains("rollcall district test"), "{reason}");
    }
    // Where the other date is told, it is read instead, as where this one is not granted.
    let mut both = whole.clone();
    for row in both.rows.get_mut(SPELL).unwrap() {
        row["WithdrawalDate"] = row["EndDate"].clone();
    }
    let mut roster = Roster::default();
    roster.apply(&roster.plan(granting(&both, &both)));
    let mut one = both.clone();
    take(&mut one, SPELL, "EndDate");
    let plan = roster.plan(granting(&both, &one));
    assert_eq!((plan.counts.unchanged, codes(&plan)), (3, vec!["field-untold"]));
    assert_eq!(roster.students.values().filter(|(stored, _)| stored.status == Status::Inactive).count(), 1);
}

/// Those who have left, with the day.
fn left(roster: &Roster) -> Vec<(String, String)> {
    let left = roster.students.values().filter(|(stored, _)| stored.status == Status::Inactive);
    left.map(|(stored, record)| {
        let last = record.as_ref().unwrap().enrollments.iter().filter_map(|spell| spell.withdrawal_date).max().unwrap();
        (stored.id.0.clone(), last.to_string())
    })
    .collect()
}

/// Read as null, it would bring everybody back who has left.
#[test]
fn an_accepted_withdrawal_date_is_not_read_where_the_other_one_is_told() {
    const FIELD: &str = "Enrollment/EntryWithdrawal.EndDate";
    let mut whole = Sis::with_students(3);
    whole.withdraw(2, "2025-10-01", 92);
    // Of last year, and in force until a day to come.
    let year = json!({"SchoolYearID": 8, "StartDate": "2024-08-13", "EndDate": "2025-12-19", "WithdrawalCodeID": null});
    whole.row(SPELL, 3).as_object_mut().unwrap().extend(year.as_object().unwrap().clone());
    for row in whole.rows.get_mut(SPELL).unwrap() {
        row["WithdrawalDate"] = row["EndDate"].clone();
    }
    let mut roster = Roster::default();
    roster.apply(&roster.plan(granting(&whole, &whole)));
    let before = left(&roster);
    assert_eq!(before, [("2".to_owned(), "2025-10-01".to_owned())]);
    let mut one = whole.clone();
    take(&mut one, SPELL, "EndDate");
    let plan = roster.plan(granting(&whole, &one));
    assert!(plan.findings[0].message.contains("read from WithdrawalDate alone"), "{:?}", plan.findings);
    roster.apply(&plan);
    roster.baseline.as_mut().unwrap().accepted_empty.insert(FIELD.to_owned());
    for night in 0..2 {
        let plan = roster.plan(granting(&whole, &one));
        assert_eq!((plan.counts.unchanged, codes(&plan).len()), (3, 0), "night {night}");
        roster.apply(&plan);
        assert_eq!(left(&roster), before);
    }
    // With the other one gone too, or not granted any more, there is none to go by.
    let mut neither = one.clone();
    take(&mut neither, SPELL, "WithdrawalDate");
    for granted in [&whole, &{
        let mut end = whole.clone();
        take(&mut end, SPELL, "WithdrawalDate");
        end
    }] {
        let Verdict::Fail(reason) = roster.plan(granting(granted, &neither)).verdict else { panic!() };
        assert!(reason.starts_with("field-untold: "), "{reason}");
    }
    // Told again, and gone again, it is missed anew.
    roster.apply(&roster.plan(granting(&whole, &whole)));
    assert_eq!(roster.baseline.as_ref().unwrap().accepted_empty, BTreeSet::new());
    let plan = roster.plan(granting(&whole, &one));
    assert_eq!((plan.counts.unchanged, codes(&plan)), (3, vec!["field-untold"]));
}

/// A night that is torn counts what it was told as well.
#[test]
fn an_accepted_field_that_a_torn_night_tells_is_missed_anew() {
    const FIELD: &str = "Demographics/Name.BirthDate";
    let whole = Sis::with_students(3);
    let mut poorer = whole.clone();
    take(&mut poorer, NAME, "BirthDate");
    let torn = |sis: &Sis| {
        let mut facts = granting(&whole, sis);
        let phones = facts.pulls[0].board.as_mut().unwrap().listings.iter_mut().find(|own| own.ask.resource == PHONE);
        phones.unwrap().progress = Progress::Failed("status 503".to_owned());
        facts
    };
    let accepted = |roster: &Roster| roster.baseline.as_ref().unwrap().accepted_empty.contains(FIELD);
    let mut roster = Roster::default();
    roster.apply(&roster.plan(granting(&whole, &whole)));
    // Accepted while a torn night that missed it was planned, it stays accepted.
    let plan = roster.plan(torn(&poorer));
    roster.baseline.as_mut().unwrap().accepted_empty.insert(FIELD.to_owned());
    roster.apply(&plan);
    assert!(accepted(&roster));
    roster.apply(&roster.plan(torn(&whole)));
    assert!(!accepted(&roster));
    assert_eq!(codes(&roster.plan(granting(&whole, &poorer))), ["field-untold"]);
}

#[test]
fn nobody_is_taken_out_where_no_row_carries_the_current_year() {
    let whole = Sis::with_students(3);
    let mut roster = Roster::default();
    roster.apply(&roster.plan(granting(&whole, &whole)));
    let mut poorer = whole.clone();
    take(&mut poorer, "District/Entity", "SchoolYearIDCurrent");
    poorer.withdraw(2, "2025-10-01", 92);
    let plan = roster.plan(granting(&whole, &poorer));
    assert_eq!((plan.counts.removed, codes(&plan)), (0, vec!["field-untold"]));
}

#[test]
fn what_is_filled_in_stands_where_a_whole_night_would_have_put_it() {
    let mut sis = Sis::with_students(3);
    let mut roster = Roster::of(&sis);
    let mut torn = sis.clone();
    let later = json!({"EntryWithdrawalID": 20, "StudentID": 2, "EntityID": 41, "SchoolYearID": 9, "SchoolID": 90,
        "StartDate": "2025-09-01T00:00:00", "EndDate": null, "WithdrawalCodeID": null, "EntryCodeID": 1});
    sis.add(SPELL, later.clone());
    torn.rows.get_mut(SPELL).unwrap().retain(|row| row["EntryWithdrawalID"] != json!(2));
    torn.add(SPELL, later);
    let mut facts = torn.facts();
    let listings = &mut facts.pulls[0].board.as_mut().unwrap().listings;
    let spells = listings.iter_mut().find(|listing| listing.ask.resource == SPELL).unwrap();
    // The SIS counts one more than came in.
    spells.total = Some(4);
    let plan = roster.plan(facts);
    assert_eq!((codes(&plan), plan.counts.changed), (vec!["total-disagrees"], 1));
    roster.apply(&plan);
    let ids: Vec<&str> = roster.record(2).enrollments.iter().map(|enrollment| enrollment.id.as_str()).collect();
    assert_eq!(ids, ["2", "20"]);
    assert_eq!(roster.plan(sis.facts()).verdict, Verdict::Nothing);
}

/// A school of which everything is told, with two levels.
fn told_school() -> Sis {
    let mut sis = Sis::with_students(2);
    for (id, code) in [(1, "PK"), (2, "05")] {
        sis.add("Enrollment/GradeLevel", json!({"GradeLevelID": id, "Code": code}));
    }
    // Of the rows of a code the latest year's counts.
    let row = sis.row(SCHOOL, 100);
    (row["StateAssignedID"], row["PhoneNumber"]) = (json!("227901041"), json!("5125550100"));
    (row["GradeLevelIDLow"], row["GradeLevelIDHigh"]) = (json!(1), json!(2));
    sis
}

const SCHOOL: &str = "Enrollment/School";
const LEVEL: &str = "Enrollment/GradeLevel";

/// Schools are written whatever the run's other verdicts are: what is not told of them is not to be ended so.
#[test]
fn what_a_pull_cannot_tell_of_a_school_stays() {
    let whole = told_school();
    for (field, changed) in
        [("StateAssignedID", 3), ("PhoneNumber", 2), ("GradeLevelIDLow", 1), ("GradeLevelIDHigh", 0)]
    {
        let mut roster = Roster::default();
        roster.apply(&roster.plan(granting(&whole, &whole)));
        let before = roster.schools.clone();
        let told = [&before[0].grade_high, &before[0].grade_low, &before[0].phone, &before[0].state_id];
        assert!(told.iter().all(|value| value.is_some()), "{before:?}");
        let mut poorer = whole.clone();
        take(&mut poorer, SCHOOL, field);
        // What is told is taken over.
        let other = ["GradeLevelIDHigh", "GradeLevelIDLow", "PhoneNumber", "StateAssignedID"][(changed + 1) % 4];
        poorer.row(SCHOOL, 100)[other] = json!(null);
        for night in 0..2 {
            let plan = roster.plan(granting(&poorer, &poorer));
            assert_eq!(codes(&plan).contains(&"grant-lost"), night == 0, "{field}");
            let school = &plan.schools[0];
            let told = [&school.grade_high, &school.grade_low, &school.phone, &school.state_id];
            assert_eq!(
                told.map(Option::is_some),
                [0, 1, 2, 3].map(|at| at != (changed + 1) % 4),
                "{field}, night {night}"
            );
            roster.apply(&plan);
        }
    }
}

#[test]
fn grades_of_schools_stay_where_their_table_is_not_whole() {
    let whole = told_school();
    let roster = Roster::of(&whole);
    let mut none = whole.clone();
    none.rows.insert(LEVEL, Vec::new());
    let plan = roster.plan(none.facts());
    assert_eq!((&plan.schools, codes(&plan)), (&roster.schools, vec!["listing-empty"]));
    let mut failed = whole.facts();
    let listings = &mut failed.pulls[0].board.as_mut().unwrap().listings;
    let levels = listings.iter_mut().find(|listing| listing.ask.resource == LEVEL).unwrap();
    levels.progress = Progress::Failed("status 503".to_owned());
    assert_eq!(roster.plan(failed).schools, roster.schools);
    // One row of it that is on no page.
    for row in 0..2 {
        let mut less = whole.clone();
        less.rows.get_mut(LEVEL).unwrap().remove(row);
        let mut roster = Roster::of(&whole);
        let plan = roster.plan(less.facts());
        assert_eq!((&plan.schools, codes(&plan)), (&roster.schools, vec!["row-missing"]), "row {row}");
        assert!(plan.findings[0].message.contains("of 1 schools"), "{:?}", plan.findings);
        roster.apply(&plan);
        let plan = roster.plan(less.facts());
        let grades = [&plan.schools[0].grade_low, &plan.schools[0].grade_high].map(Option::as_deref);
        let expected = if row == 0 { [None, Some("05")] } else { [Some("PK"), None] };
        assert_eq!((grades, codes(&plan)), (expected, vec!["key-dangling"]), "row {row}");
    }
}

#[test]
fn grades_of_schools_stay_where_their_codes_are_not_granted() {
    let whole = told_school();
    let mut roster = Roster::default();
    roster.apply(&roster.plan(granting(&whole, &whole)));
    let mut poorer = whole.clone();
    take(&mut poorer, LEVEL, "Code");
    let plan = roster.plan(granting(&poorer, &poorer));
    assert_eq!((&plan.schools, codes(&plan)), (&roster.schools, vec!["grant-lost"]));
}

/// Students whose withdrawal dates stand in a field of the state's alone, which is asked for, and of which the file speaks as `named`.
fn by_named_date(sis: &mut Sis, named: &str) -> PlanFacts {
    let fields = ["EntryWithdrawalID", "EndDate", "WithdrawalDate", "LastDayTX"].map(str::to_owned);
    sis.spell_fields = fields.to_vec();
    let mut facts = sis.facts();
    facts.district.connections[0].withdrawal_date_field = Some(named.to_owned());
    let discovery = facts.pulls[0].pull.discovery.as_mut().unwrap();
    discovery.granted.insert(SPELL.to_owned(), fields.to_vec());
    facts
}

fn last_day(sis: &mut Sis, student: i64, date: Option<&str>) {
    for row in sis.rows.get_mut(SPELL).unwrap() {
        row["WithdrawalDate"] = json!(null);
        row["LastDayTX"] = if row["StudentID"] == json!(student) { json!(date) } else { json!(null) };
    }
    sis.row(SPELL, student)["WithdrawalCodeID"] = json!(92);
}

/// A field that the district names for the withdrawal date is read, whatever the two usual ones say, in any case of its letters.
#[test]
fn whoever_left_by_the_named_withdrawal_date_leaves() {
    for named in ["LastDayTX", "lastdaytx"] {
        let mut sis = Sis::with_students(3);
        last_day(&mut sis, 2, None);
        let mut roster = Roster::default();
        roster.apply(&roster.plan(by_named_date(&mut sis, named)));
        assert_eq!(roster.students.len(), 3);
        last_day(&mut sis, 2, Some("2025-10-01"));
        let plan = roster.plan(by_named_date(&mut sis, named));
        let candidates = candidates_of(&plan);
        let mut facts = by_named_date(&mut sis, named);
        sis.look_again(&mut facts, candidates, false);
        let plan = roster.plan(facts);
        let left: Vec<_> = events(&plan).into_iter().map(|event| (event.student_id.0, event.to)).collect();
        assert_eq!((left, codes(&plan)), (vec![("2".to_owned(), Status::Inactive)], Vec::new()), "{named}");
        let date = events(&plan)[0].record.as_ref().unwrap().enrollments[0].withdrawal_date;
        assert_eq!(date, "2025-10-01".parse().ok());
    }
}

/// So many students, of whom the second left by the named date, as they are stored.
fn left_by_named_date(students: i64) -> (Sis, Roster) {
    let mut sis = Sis::with_students(students);
    last_day(&mut sis, 2, Some("2025-10-01"));
    let mut roster = Roster::default();
    roster.apply(&roster.plan(by_named_date(&mut sis, "LastDayTX")));
    (sis, roster)
}

/// As where a version before, which did not keep the named date, has read one of the pages: nobody on it comes back.
#[test]
fn a_named_withdrawal_date_that_one_page_does_not_tell_fails_the_run() {
    let (mut sis, roster) = left_by_named_date(6);
    for page in [1, 2] {
        let mut facts = by_named_date(&mut sis, "LastDayTX");
        let before = Sis { spell_fields: Vec::new(), ..sis.clone() }.facts().pulls.remove(0);
        let board = facts.pulls[0].board.clone().unwrap();
        let is_such = |fragments: &PageFragments| {
            board.listings[fragments.listing.0 as usize].ask.resource == SPELL && fragments.page == PageNo(page)
        };
        let old = before.fragments.into_iter().find(is_such).unwrap();
        let at = facts.pulls[0].fragments.iter().position(is_such).unwrap();
        facts.pulls[0].fragments[at] = old;
        let plan = roster.plan(facts);
        let Verdict::Fail(reason) = plan.verdict else { panic!("page {page}: must fail: {plan:?}") };
        assert!(reason.starts_with("field-untold") && reason.contains("EntryWithdrawal.LastDayTX"), "{reason}");
    }
}

/// As the last one of a listing that is a full page, or several, long.
#[test]
fn a_page_without_a_row_lacks_no_named_withdrawal_date() {
    let (mut sis, roster) = left_by_named_date(6);
    let mut facts = by_named_date(&mut sis, "LastDayTX");
    let listing = add_page_behind(&mut facts, SPELL, &[]);
    listing.last_page = listing.last_page.map(|last| last + 1);
    let plan = roster.plan(facts);
    assert_eq!((codes(&plan), plan.counts.unchanged), (Vec::new(), 6), "{:?}", plan.verdict);
}

#[test]
fn one_of_the_usual_dates_is_named_in_any_case() {
    let mut sis = Sis::with_students(3);
    last_day(&mut sis, 2, None);
    sis.row(SPELL, 2)["WithdrawalDate"] = json!("2025-10-01");
    let roster = Roster::of(&Sis::with_students(3));
    let plan = roster.plan(by_named_date(&mut sis, "withdrawaldate"));
    assert_eq!(candidates_of(&plan).students.len(), 1);
}

/// Neither where no row carries it any more, nor where the pull did not ask for it, is it read as "not withdrawn".
#[test]
fn a_named_withdrawal_date_that_is_not_told_fails_the_run() {
    let (mut sis, roster) = left_by_named_date(3);
    take(&mut sis, SPELL, "LastDayTX");
    let Verdict::Fail(reason) = roster.plan(by_named_date(&mut sis, "lastdaytx")).verdict else { panic!("must fail") };
    assert!(reason.starts_with("field-untold") && reason.contains("EntryWithdrawal.LastDayTX"), "{reason}");
    let Verdict::Fail(reason) = roster.plan(by_named_date(&mut sis, "Other")).verdict else { panic!("must fail") };
    assert!(reason.starts_with("grant-missing") && reason.contains(": Other;"), "{reason}");
}
