//! The district: nights against the oracle, ids against each other, equal seeds.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{Days, Months, NaiveDate};
use rollcall_sandbox::{Change, SKIPPED, Sandbox, SandboxConfig, Scenario};
use serde_json::Value;

use crate::common::Rig;

const SPELL_FIELDS: [&str; 8] = [
    "EntryWithdrawalID",
    "StudentID",
    "SchoolYearID",
    "SchoolID",
    "StartDate",
    "EndDate",
    "WithdrawalCodeID",
    "EntityID",
];

fn date(value: &Value) -> Option<NaiveDate> {
    value.as_str().map(|text| NaiveDate::parse_from_str(&text[..10], "%Y-%m-%d").unwrap())
}

/// The status rules, worked out by the tests alone from what is served.
fn judge(today: NaiveDate, spells: &[(i64, NaiveDate, Option<NaiveDate>, Option<String>)]) -> &'static str {
    let mut past: Vec<(NaiveDate, NaiveDate, Option<&str>)> = Vec::new();
    let mut future = false;
    for (year, start, end, code) in spells {
        if code.as_deref() == Some("CECS") {
            continue;
        }
        match end {
            Some(end) if *end < today - Months::new(12) => {}
            Some(end) if *end < today => past.push((*end, *start, code.as_deref())),
            _ if *start > today => future |= *year == 13,
            _ if *year == 13 || (*year < 13 && end.is_some()) => return "ENROLLED",
            _ => {}
        }
    }
    past.sort();
    match (future, past.last()) {
        (true, None) => "PRE_ENROLLED",
        (true, Some(_)) => "ENROLLED",
        (false, Some((_, _, Some("01")))) => "GRADUATED",
        (false, Some(_)) => "INACTIVE",
        (false, None) => SKIPPED,
    }
}

/// Statuses of the students served, by the rules above.
async fn judged(rig: &Rig) -> BTreeMap<i64, &'static str> {
    let codes = rig.all("Enrollment/WithdrawalCode", &["WithdrawalCodeID", "Code", "SchoolYearID"]).await;
    let code_of =
        |row: &Value| ((row["SchoolYearID"].clone(), row["WithdrawalCodeID"].as_i64().unwrap()), row["Code"].clone());
    let codes: HashMap<(Value, i64), Value> = codes
        .iter()
        .map(|row| {
            let ((y, i), c) = code_of(row);
            ((y, i), c)
        })
        .collect();
    let mut spells: HashMap<i64, Vec<_>> = HashMap::new();
    for row in rig.all("Enrollment/EntryWithdrawal", &SPELL_FIELDS).await {
        let year = row["SchoolYearID"].clone();
        let code = row["WithdrawalCodeID"].as_i64().map(|id| codes[&(year.clone(), id)].as_str().unwrap().to_owned());
        let spell = (year.as_i64().unwrap(), date(&row["StartDate"]).unwrap(), date(&row["EndDate"]), code);
        spells.entry(row["StudentID"].as_i64().unwrap()).or_default().push(spell);
    }
    let students = rig.all("Student/Student", &["StudentID"]).await;
    let ids = students.iter().map(|row| row["StudentID"].as_i64().unwrap());
    ids.map(|id| (id, judge(rig.sandbox.today(), spells.get(&id).map_or(&[], Vec::as_slice)))).collect()
}

async fn rig_on(today: NaiveDate, edge_dates: bool) -> Rig {
    Rig::new(SandboxConfig { students: 1_500, today, edge_dates, ..SandboxConfig::default() }).await
}

#[tokio::test]
async fn what_is_served_has_the_status_its_story_says_all_year_round() {
    let begin = NaiveDate::from_ymd_opt(2027, 7, 1).unwrap();
    for weeks in (0..52).step_by(5) {
        let rig = rig_on(begin + Days::new(weeks * 7), true).await;
        let expected = rig.sandbox.expected_students(1);
        for (id, status) in judged(&rig).await {
            assert_eq!(status, expected[&id].status, "{:?} on {}", expected[&id].scenario, rig.sandbox.today());
        }
    }
}

#[tokio::test]
async fn a_leap_day_is_no_trouble() {
    let rig = rig_on(NaiveDate::from_ymd_opt(2028, 2, 29).unwrap(), true).await;
    let expected = rig.sandbox.expected_students(1);
    assert!(judged(&rig).await.into_iter().all(|(id, status)| status == expected[&id].status));
}

#[tokio::test]
async fn every_story_is_told() {
    let sandbox =
        Sandbox::start(SandboxConfig { students: 4_000, edge_dates: true, ..SandboxConfig::default() }).await.unwrap();
    let told = sandbox.expected(2).scenarios;
    assert_eq!(told.len(), 24, "{told:?}");
    assert!(told[&Scenario::Current] > 2_500);
}

#[tokio::test]
async fn later_nights_serve_what_is_expected_of_them() {
    let rig = rig_on(NaiveDate::from_ymd_opt(2026, 10, 14).unwrap(), false).await;
    for night in [2, 3, 4, 5, 9] {
        rig.sandbox.set_night(night);
        let (expected, judged) = (rig.sandbox.expected_students(night), judged(&rig).await);
        let listed: Vec<i64> = expected.iter().filter(|(_, student)| student.listed).map(|(id, _)| *id).collect();
        assert_eq!(judged.keys().copied().collect::<Vec<_>>(), listed, "night {night}");
        for (id, status) in judged {
            assert_eq!(status, expected[&id].status, "night {night}, {:?}", expected[&id]);
        }
    }
}

#[tokio::test]
async fn night_two_changes_two_percent_and_night_three_loses_half() {
    let sandbox = Sandbox::start(SandboxConfig { students: 20_000, ..SandboxConfig::default() }).await.unwrap();
    let (first, second, third) = (sandbox.expected(1), sandbox.expected(2), sandbox.expected(3));
    assert_eq!(first.listed, 20_000);
    assert!(first.changes.is_empty());
    let changed: u64 = second.changes.values().sum();
    assert!((350..450).contains(&changed), "{changed}");
    assert_eq!(second.changes.len(), 7, "{:?}", second.changes);
    assert_eq!(second.changes[&Change::Added], 40);
    assert!((9_600..10_400).contains(&third.listed), "{}", third.listed);
    assert_eq!(sandbox.expected_students(4), sandbox.expected_students(2));
    let counted = |night| sandbox.expected_students(night).values().filter(|student| student.listed).count() as u64;
    assert_eq!((counted(2), counted(3)), (second.listed, third.listed));
}

#[tokio::test]
async fn changes_show_in_the_rows() {
    let rig = Rig::new(SandboxConfig { students: 3_000, ..SandboxConfig::default() }).await;
    let by_id = |rows: Vec<Value>, key: &str| -> HashMap<i64, Value> {
        rows.into_iter().map(|row| (row[key].as_i64().unwrap(), row)).collect()
    };
    let fields = ["StudentID", "NameID", "LastName", "IsCurrentActive"];
    let before = by_id(rig.all("Student/Student", &fields).await, "StudentID");
    let phones_before =
        by_id(rig.all("Demographics/NamePhone", &["NamePhoneID", "NameID", "PhoneNumber"]).await, "NameID");
    rig.sandbox.set_night(2);
    let after = by_id(rig.all("Student/Student", &fields).await, "StudentID");
    let phones_after =
        by_id(rig.all("Demographics/NamePhone", &["NamePhoneID", "NameID", "PhoneNumber"]).await, "NameID");
    let mut seen = HashSet::new();
    for (id, student) in rig.sandbox.expected_students(2) {
        let (old, new) = (before.get(&id), after.get(&id));
        let Some(change) = student.change else {
            assert_eq!(old, new);
            continue;
        };
        seen.insert(change);
        match change {
            Change::Added => assert!(old.is_none() && new.is_some()),
            Change::Removed => assert!(old.is_some() && new.is_none()),
            Change::Renamed => assert_ne!(old.unwrap()["LastName"], new.unwrap()["LastName"]),
            Change::NewPhone => {
                let name = new.unwrap()["NameID"].as_i64().unwrap();
                assert_ne!(phones_before.get(&name), phones_after.get(&name));
            }
            Change::Withdrawn | Change::Graduated => assert_eq!(new.unwrap()["IsCurrentActive"], false),
            Change::MovedSchool => assert_eq!(new.unwrap()["IsCurrentActive"], true),
        }
    }
    assert_eq!(seen.len(), 7, "{seen:?}");
}

/// Object, key, and the field of each object it leads to.
const LINKS: [(&str, &str, &str, &str); 20] = [
    ("Student/Student", "NameID", "Demographics/Name", "NameID"),
    ("Demographics/NamePhone", "NameID", "Demographics/Name", "NameID"),
    ("Demographics/NamePhone", "PhoneTypeID", "Demographics/PhoneType", "PhoneTypeID"),
    ("Demographics/NameEmail", "NameID", "Demographics/Name", "NameID"),
    ("Demographics/NameEmail", "EmailTypeID", "Demographics/EmailType", "EmailTypeID"),
    ("Demographics/NameAddress", "NameID", "Demographics/Name", "NameID"),
    ("Demographics/NameAddress", "AddressID", "Demographics/Address", "AddressID"),
    ("Demographics/Address", "StreetID", "Demographics/Street", "StreetID"),
    ("Demographics/Address", "ZipID", "Demographics/Zip", "ZipID"),
    ("Demographics/Address", "CountyID", "Demographics/County", "CountyID"),
    ("Demographics/Zip", "StateID", "SkySys/State", "StateID"),
    ("Family/StudentGuardian", "StudentID", "Student/Student", "StudentID"),
    ("Family/StudentGuardian", "NameIDGuardian", "Demographics/Name", "NameID"),
    ("Family/StudentGuardian", "RelationshipID", "Demographics/Relationship", "RelationshipID"),
    ("Demographics/EmergencyContact", "NameIDEmergencyContact", "Demographics/Name", "NameID"),
    ("Enrollment/EntryWithdrawal", "EntryCodeID", "Enrollment/EntryCode", "EntryCodeID"),
    ("Enrollment/EntryWithdrawal", "SchoolID", "Enrollment/School", "SchoolID"),
    ("Enrollment/StudentEntityYear", "EntryWithdrawalIDLatest", "Enrollment/EntryWithdrawal", "EntryWithdrawalID"),
    ("Enrollment/StudentEntityYear", "HomeroomID", "Enrollment/Homeroom", "HomeroomID"),
    ("Enrollment/Homeroom", "StaffID", "Staff/Staff", "StaffID"),
];

#[tokio::test]
async fn every_key_leads_to_a_row() {
    let rig = Rig::small().await;
    rig.sandbox.set_night(2);
    let ids = |rows: Vec<Value>, field: &str| -> HashSet<i64> {
        rows.iter().map(|row| row[field].as_i64().unwrap()).collect()
    };
    for (object, field, target, key) in LINKS {
        let own = ids(rig.all(object, &[field]).await, field);
        let there = ids(rig.all(target, &[key]).await, key);
        assert!(!own.is_empty() && own.is_subset(&there), "{object}.{field}");
    }
}

#[tokio::test]
async fn keys_are_unique_and_in_order_in_every_listing() {
    let rig = Rig::small().await;
    rig.sandbox.set_night(5);
    for module in ["Student", "Demographics", "SkySys", "Family", "District", "Enrollment", "Staff"] {
        let objects = rig.get_json(&format!("/Custom/1/{module}")).await;
        for object in objects.as_object().unwrap().keys() {
            let metadata = rig.get_json(&format!("/Custom/1/{module}/{object}")).await;
            let is_key = |(_, attributes): &(&String, &Value)| attributes["PrimaryKey"] == true;
            let key = metadata.as_object().unwrap().iter().find(is_key).unwrap().0.clone();
            let every_year = serde_json::json!({
                "SearchSort": [{ "FieldName": key }],
                "SearchCondition": { "LongSearchCondition": { "FieldName": key, "ConditionType": "NotNull" } },
            });
            let page = rig.search(&format!("{module}/{object}"), &[&key], 1, 100_000, &every_year).await;
            let ids = crate::common::numbers(&page, &key);
            assert!(!ids.is_empty() && ids.is_sorted_by(|a, b| a < b), "{module}/{object}");
        }
    }
}

#[tokio::test]
async fn equal_seeds_make_equal_districts_and_others_do_not() {
    let fields = ["StudentID", "FirstName", "LastName", "Grade"];
    let page = async |seed| {
        let rig = Rig::new(SandboxConfig { seed, students: 400, ..SandboxConfig::default() }).await;
        rig.sandbox.set_night(2);
        rig.page("Student/Student", &fields, 1, 400).await
    };
    assert_eq!(page(5).await, page(5).await);
    assert_ne!(page(5).await, page(6).await);
}

#[tokio::test]
async fn there_are_about_five_rows_a_student_and_names_in_many_scripts() {
    let rig = Rig::new(SandboxConfig { students: 2_000, ..SandboxConfig::default() }).await;
    let mut rows = 0;
    for (object, key) in [
        ("Student/Student", "StudentID"),
        ("Demographics/Name", "NameID"),
        ("Demographics/NamePhone", "NamePhoneID"),
        ("Demographics/NameEmail", "NameEmailID"),
        ("Demographics/NameAddress", "NameAddressID"),
        ("Demographics/Address", "AddressID"),
        ("Demographics/EmergencyContact", "EmergencyContactID"),
        ("Family/StudentGuardian", "StudentGuardianID"),
        ("Enrollment/EntryWithdrawal", "EntryWithdrawalID"),
        ("Enrollment/StudentEntityYear", "StudentEntityYearID"),
    ] {
        rows += rig.all(object, &[key]).await.len();
    }
    assert!((9_000..11_500).contains(&rows), "{rows}");
    let names = rig.all("Demographics/Name", &["LastName"]).await;
    let has = |sought: fn(char) -> bool| names.iter().any(|row| row["LastName"].as_str().unwrap().contains(sought));
    assert!(has(|c| ('\u{4e00}'..'\u{9fff}').contains(&c)), "CJK");
    assert!(has(|c| ('\u{600}'..'\u{6ff}').contains(&c)), "Arabic");
    assert!(has(|c| c == '\'') && has(|c| c == '-') && has(|c| c == 'ñ'));
}
