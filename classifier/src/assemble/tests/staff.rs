//! Qmlativ's staff: who is wanted, of which year, and what stays where that cannot be told.

use rollcall_proto::roster::Staff;
use rollcall_store::{
    board::Ask,
    district::StaffScope,
    plan::NewPlan,
    run::{Discovery, Finding},
};
use serde_json::{Value, json};

use crate::{
    fragment::{Cell, Kind, PageWriter},
    plan::PlanFacts,
    testing::{self, NAME, Roster, Sis},
};

const STAFF: &str = "Staff/Staff";
const STAFF_YEAR: &str = "Staff/StaffEntityYear";

/// How the school year of a row is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Year {
    /// By the row.
    Granted,
    /// By what was asked for alone.
    NotGranted,
    /// As `NotGranted`, by a page that was read before rows had this column.
    OfBefore,
}

/// Row, member of staff, entity, school year, active, teacher.
type Works = (i64, i64, i64, i64, bool, bool);

/// This year is 9. Whoever is told of in the year before alone does not work here any more.
const WORKS: [Works; 8] = [
    (10, 1, 41, 9, true, true),
    (11, 1, 42, 8, true, true),
    (20, 2, 41, 9, true, false),
    (21, 2, 41, 8, true, true),
    (31, 3, 41, 8, true, true),
    (40, 4, 41, 9, false, true),
    (60, 6, 42, 9, true, false),
    (70, 7, 41, 10, true, true),
];

fn year_row((key, member, entity, year, active, teacher): Works, told: Year) -> Value {
    let mut row = json!({"StaffEntityYearID": key, "StaffID": member, "EntityID": entity, "IsActive": active, "IsTeacher": teacher});
    if told == Year::Granted {
        row["SchoolYearID"] = json!(year);
    }
    row
}

/// A page as the version before wrote it.
fn page_of_before(works: &[Works]) -> Vec<u8> {
    let mut page = PageWriter::new(Kind::StaffEntityYear);
    for (key, member, entity, _, active, teacher) in works {
        for number in [*key, *member, *entity] {
            page.cell(Cell::Number(number));
        }
        for flag in [*active, *teacher] {
            page.cell(Cell::Flag(flag));
        }
        page.end_row();
    }
    page.finish().unwrap()
}

fn school() -> Sis {
    let mut sis = Sis::with_students(1);
    sis.add("District/Entity", json!({"EntityID": 42, "Code": "042", "SchoolYearIDCurrent": 9}));
    for id in 1..=7 {
        sis.add(STAFF, json!({"StaffID": id, "NameID": 100 + id, "StaffNumber": format!("S{id}")}));
        sis.add(NAME, json!({"NameID": 100 + id, "FirstName": format!("Ida{id}"), "LastName": "Ek"}));
    }
    sis
}

fn pulled(sis: &Sis, scope: StaffScope, works: &[Works], told: Year) -> PlanFacts {
    let mut facts = sis.facts();
    facts.district.connections[0].staff = scope;
    for year in [8, 9, 10] {
        let of_year: Vec<Works> = works.iter().copied().filter(|work| work.3 == year).collect();
        let rows: Vec<Value> = of_year.iter().map(|work| year_row(*work, told)).collect();
        let ask = Ask { school_year: Some(year.to_string()), ..testing::ask(STAFF_YEAR) };
        testing::add_listing(&mut facts, ask, &rows);
        if told == Year::OfBefore {
            facts.pulls[0].fragments.last_mut().unwrap().fragments = page_of_before(&of_year);
        }
    }
    facts
}

fn shown<'s>(staff: &'s [Staff]) -> Vec<(&'s str, bool, Vec<&'s str>)> {
    let show =
        |member: &'s Staff| (member.id.as_str(), member.teacher, member.entities.iter().map(String::as_str).collect());
    staff.iter().map(show).collect()
}

fn stored(sis: &Sis) -> Roster {
    let mut roster = Roster::of(sis);
    roster.staff = roster.plan(pulled(sis, StaffScope::Active, &WORKS, Year::Granted)).staff;
    roster
}

#[test]
fn staff_are_those_who_are_wanted_in_the_current_year() {
    let teachers = [("1", true, vec!["41"])];
    let all = [teachers[0].clone(), ("2", false, vec!["41"]), ("6", false, vec!["42"])];
    for told in [Year::Granted, Year::NotGranted, Year::OfBefore] {
        let plan = |scope| Roster::default().plan(pulled(&school(), scope, &WORKS, told));
        assert_eq!(shown(&plan(StaffScope::None).staff), [], "{told:?}");
        let active = plan(StaffScope::Active);
        assert_eq!(shown(&active.staff), all, "{told:?}");
        assert!(active.staff_whole, "the others have left");
        assert_eq!(shown(&plan(StaffScope::Teachers).staff), teachers, "{told:?}");
        let member = &active.staff[0];
        assert_eq!((member.number.as_deref(), member.person.first_name.as_deref()), (Some("S1"), Some("Ida1")));
    }
}

/// Pages that were asked for without a year, by a program that knew none.
#[test]
fn a_row_of_no_year_counts_and_one_of_a_year_in_no_table_does_not() {
    let row = |key: i64, year: Value| json!({"StaffEntityYearID": key, "StaffID": key, "EntityID": 41, "IsActive": true, "SchoolYearID": year});
    let mut facts = school().facts();
    facts.district.connections[0].staff = StaffScope::Active;
    testing::add_listing(&mut facts, testing::ask(STAFF_YEAR), &[row(1, Value::Null), row(2, json!(77))]);
    assert_eq!(shown(&Roster::default().plan(facts).staff), [("1", false, vec!["41"])]);
}

/// Years flip entity by entity, and staff are set up for the new one some time after.
#[test]
fn an_entity_without_anybody_in_its_new_year_keeps_the_staff_of_the_last() {
    let mut sis = school();
    sis.row("District/Entity", 42)["SchoolYearIDCurrent"] = json!(10);
    let plan = |works: &[Works]| Roster::default().plan(pulled(&sis, StaffScope::Active, works, Year::Granted)).staff;
    assert_eq!(shown(&plan(&WORKS))[2], ("6", false, vec!["42"]));
    let set_up = [&WORKS[..], &[(80, 4, 42, 10, true, true)]].concat();
    let now: Vec<String> = plan(&set_up).into_iter().map(|member| member.id).collect();
    assert_eq!(now, ["1", "2", "4"]);
    // One who is set up already is not everybody.
    let more = [&set_up[..], &[(61, 3, 42, 9, true, true), (62, 5, 42, 9, true, true)]].concat();
    let now: Vec<String> = plan(&more).into_iter().map(|member| member.id).collect();
    assert_eq!(now, ["1", "2", "3", "4", "5", "6"]);
}

#[test]
fn staff_are_listed_once_as_they_were_told_last() {
    let mut sis = school();
    sis.add(STAFF, json!({"StaffID": 2, "NameID": 102, "StaffNumber": "S2 later"}));
    let works = [&WORKS[..], &[(20, 2, 42, 9, true, true)]].concat();
    let plan = Roster::default().plan(pulled(&sis, StaffScope::Active, &works, Year::Granted));
    assert_eq!(shown(&plan.staff)[1], ("2", true, vec!["42"]));
    assert_eq!(plan.staff[1].number.as_deref(), Some("S2 later"));
}

fn said(plan: &NewPlan) -> Vec<&str> {
    let mine = |finding: &&Finding| finding.code == "staff-untold";
    plan.findings.iter().filter(mine).map(|finding| finding.message.as_str()).collect()
}

#[test]
fn who_is_staff_stays_where_the_pull_cannot_tell() {
    let sis = school();
    let roster = stored(&sis);
    let refusing = |scope, resource: &str, field: &str| {
        let mut facts = pulled(&sis, scope, &WORKS, Year::NotGranted);
        let refused = [(resource.to_owned(), vec![field.to_owned()])].into();
        facts.pulls[0].pull.discovery = Some(Discovery { refused, ..Discovery::default() });
        roster.plan(facts)
    };
    for (scope, resource, field) in [
        (StaffScope::Active, STAFF_YEAR, "*"),
        (StaffScope::Active, STAFF, "*"),
        (StaffScope::Teachers, STAFF_YEAR, "*"),
        (StaffScope::Teachers, STAFF_YEAR, "IsTeacher"),
    ] {
        let plan = refusing(scope, resource, field);
        assert_eq!((shown(&plan.staff), plan.staff_whole), (vec![], false), "{resource}.{field}: nobody leaves");
        assert!(said(&plan)[0].contains("rollcall district test"), "{resource}.{field}");
    }
    for (scope, resource, field) in [
        (StaffScope::None, STAFF_YEAR, "*"),
        (StaffScope::Active, STAFF_YEAR, "SchoolYearID"),
        (StaffScope::Active, STAFF_YEAR, "IsTeacher"),
    ] {
        let plan = refusing(scope, resource, field);
        let expected = if scope == StaffScope::None { vec![] } else { shown(&roster.staff) };
        assert_eq!((shown(&plan.staff), said(&plan)), (expected, vec![]), "{resource}.{field}");
    }
}

/// A name's row that moved while it was listed is not the end of a name.
#[test]
fn what_is_stored_of_staff_stays_where_a_row_is_missing() {
    let mut sis = school();
    sis.add("Demographics/NamePhone", json!({"NamePhoneID": 900, "NameID": 102, "PhoneTypeID": 1, "PhoneNumber": "1"}));
    sis.add("Demographics/PhoneType", json!({"PhoneTypeID": 2, "Description": "Home"}));
    let roster = stored(&sis);
    for resource in [NAME, "Demographics/PhoneType"] {
        sis.rows.get_mut(resource).unwrap().retain(|row| row["NameID"] != json!(101) && row["PhoneTypeID"] != json!(1));
    }
    sis.row(NAME, 102)["LastName"] = json!("Olsen");
    let plan = roster.plan(pulled(&sis, StaffScope::Active, &WORKS, Year::Granted));
    let mut expected = roster.staff.clone();
    expected[1].person.last_name = Some("Olsen".to_owned());
    assert_eq!(plan.staff, expected);
    let missing = plan.findings.iter().filter(|finding| finding.code == "row-missing");
    let of: Vec<&str> =
        missing.filter_map(|finding| finding.message.split_once(": ")).map(|(table, _)| table).collect();
    assert_eq!(of, [NAME, "Demographics/PhoneType"]);
}

#[test]
fn what_is_stored_of_staff_stays_where_its_field_is_not_granted_any_more() {
    let mut sis = school();
    let roster = stored(&sis);
    for row in sis.rows.get_mut(NAME).unwrap() {
        row.as_object_mut().unwrap().remove("FirstName");
    }
    for row in sis.rows.get_mut(STAFF).unwrap() {
        row.as_object_mut().unwrap().remove("StaffNumber");
    }
    sis.row(NAME, 101)["LastName"] = json!("Olsen");
    let mut facts = pulled(&sis, StaffScope::Active, &WORKS, Year::Granted);
    let refused =
        [(NAME.to_owned(), vec!["FirstName".to_owned()]), (STAFF.to_owned(), vec!["StaffNumber".to_owned()])].into();
    facts.pulls[0].pull.discovery = Some(Discovery { refused, ..Discovery::default() });
    let staff = roster.plan(facts).staff;
    let mut expected = roster.staff.clone();
    expected[0].person.last_name = Some("Olsen".to_owned());
    assert_eq!(staff, expected);
}
