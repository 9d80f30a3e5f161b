#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::json;

use super::{super::objects::object, *};

fn connection(extra: &Value) -> Connection {
    let mut text = json!({"kind": "skyward-qmlativ", "base_url": "https://x.example/XAPI", "client_id": "k"});
    text.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    serde_json::from_value(text).unwrap()
}

/// Everything, in one entity.
fn all() -> Grants {
    let fields = |object: &Object| Some(object.fields().map(str::to_owned).collect());
    OBJECTS.iter().map(|object| (object.resource, BTreeMap::from([(1, fields(object))]))).collect()
}

fn fields<'a>(grants: &'a mut Grants, resource: &str, entity: i64) -> &'a mut BTreeSet<String> {
    grants.get_mut(resource).unwrap().get_mut(&entity).unwrap().as_mut().unwrap()
}

fn without(resource: &'static str, missing: &[&str]) -> Grants {
    let mut grants = all();
    let names = fields(&mut grants, resource, 1);
    for field in missing {
        assert!(names.remove(*field), "{field}");
    }
    grants
}

fn judged(connection: &Connection, grants: &Grants) -> Discovery {
    judge_grants(connection, grants).0
}

#[test]
fn everything_granted_leaves_nothing_to_say() {
    let discovery = judged(&connection(&json!({"staff": "active"})), &all());
    assert_eq!(discovery.granted.len(), OBJECTS.len());
    assert!(discovery.refused.is_empty() && discovery.fatal.is_empty());
}

#[test]
fn what_the_status_rests_on_is_named_when_missing() {
    let cases: &[(&str, &[&str], &[&str])] = &[
        (ENTRY_WITHDRAWAL, &["StartDate"], &["Enrollment/EntryWithdrawal.StartDate"]),
        (ENTRY_WITHDRAWAL, &["EndDate"], &[]),
        (ENTRY_WITHDRAWAL, &["WithdrawalDate"], &[]),
        (ENTRY_WITHDRAWAL, &["EndDate", "WithdrawalDate"], &["Enrollment/EntryWithdrawal.EndDate"]),
        (ENTRY_WITHDRAWAL, &["WithdrawalCodeID"], &["Enrollment/EntryWithdrawal.WithdrawalCodeID"]),
        ("Enrollment/WithdrawalCode", &["Code"], &["Enrollment/WithdrawalCode.Code"]),
        ("Student/Student", &["NameID"], &["Student/Student.NameID"]),
        ("Student/Student", &["StudentID"], &["Student/Student.StudentID", "Student/Student.NameID"]),
        ("Student/Student", &["Grade"], &[]),
        ("District/Entity", &["SchoolYearIDCurrent"], &[]),
        ("District/SchoolYear", &["NumericYear"], &[]),
        ("Demographics/NamePhone", &["PhoneNumber"], &[]),
    ];
    for (resource, fields, fatal) in cases {
        let discovery = judged(&connection(&json!({})), &without(resource, fields));
        assert_eq!(discovery.fatal, *fatal, "{resource} without {fields:?}");
        assert!(discovery.refused.contains_key(*resource));
    }
}

#[test]
fn a_refused_object_is_fatal_only_where_the_status_rests_on_it() {
    for object in OBJECTS {
        let mut grants = all();
        grants.insert(object.resource, BTreeMap::from([(1, None)]));
        let discovery = judged(&connection(&json!({"staff": "active"})), &grants);
        assert_eq!(discovery.refused[object.resource], ["*"]);
        assert_eq!(!discovery.fatal.is_empty(), object.must_be_granted, "{}", object.resource);
        assert!(!discovery.granted.contains_key(object.resource));
    }
}

/// What one entity does not grant would be null for its students alone, and a graduate there nobody who left.
#[test]
fn what_one_of_several_entities_does_not_grant_is_asked_of_none() {
    let mut grants = all();
    for granted in grants.values_mut() {
        let same = granted[&1].clone();
        granted.extend([(102, same.clone()), (103, same)]);
    }
    let connection = connection(&json!({"entities": [1, 102, 103]}));
    let (whole, gaps) = judge_grants(&connection, &grants);
    assert!(whole.refused.is_empty() && whole.fatal.is_empty() && gaps.is_empty());
    fields(&mut grants, ENTRY_WITHDRAWAL, 102).remove("WithdrawalCodeID");
    fields(&mut grants, "Demographics/Name", 1).remove("BirthDate");
    fields(&mut grants, "Demographics/Name", 103).remove("BirthDate");
    for entity in [1, 102, 103] {
        fields(&mut grants, "Demographics/Name", entity).remove("Gender");
    }
    *grants.get_mut("Enrollment/Homeroom").unwrap().get_mut(&103).unwrap() = None;
    fields(&mut grants, "Enrollment/WithdrawalCode", 103).remove("WithdrawalCodeID");
    let (discovery, gaps) = judge_grants(&connection, &grants);
    let fatal = &discovery.fatal;
    assert_eq!(fatal[0], "Enrollment/EntryWithdrawal.WithdrawalCodeID in entity 102");
    assert!(fatal.contains(&"Enrollment/WithdrawalCode.Code in entity 103".to_owned()), "{fatal:?}");
    assert_eq!(gaps[ENTRY_WITHDRAWAL], ["WithdrawalCodeID in entity 102"]);
    assert_eq!(gaps["Enrollment/Homeroom"], ["the object in entity 103"]);
    let mut of_names = gaps["Demographics/Name"].clone();
    of_names.sort();
    assert_eq!(of_names, ["BirthDate in entities 1, 103", "Gender"]);
    // As the planner compares them with the names of its columns.
    assert_eq!(discovery.refused[ENTRY_WITHDRAWAL], ["WithdrawalCodeID"]);
    assert_eq!(discovery.refused["Demographics/Name"], ["BirthDate", "Gender"]);
    assert_eq!(discovery.refused["Enrollment/Homeroom"], ["*"]);
    assert!(!discovery.granted["Demographics/Name"].contains(&"BirthDate".to_owned()));
    assert!(discovery.granted[ENTRY_WITHDRAWAL].contains(&"StartDate".to_owned()));
    assert!(!discovery.granted.contains_key("Enrollment/Homeroom"));
}

#[test]
fn the_configured_withdrawal_date_must_be_granted() {
    let connection = connection(&json!({"withdrawal_date_field": "LastDayTX"}));
    let discovery = judged(&connection, &all());
    assert_eq!(discovery.fatal, ["Enrollment/EntryWithdrawal.LastDayTX"]);
    let mut grants = all();
    fields(&mut grants, ENTRY_WITHDRAWAL, 1).insert("LastDayTX".to_owned());
    let discovery = judged(&connection, &grants);
    assert!(discovery.fatal.is_empty());
    assert!(discovery.granted[ENTRY_WITHDRAWAL].contains(&"LastDayTX".to_owned()));
}

#[test]
fn a_withdrawal_date_named_in_another_case_is_asked_for_once() {
    let discovery = judged(&connection(&json!({"withdrawal_date_field": "withdrawaldate"})), &all());
    let dates = discovery.granted[ENTRY_WITHDRAWAL].iter().filter(|field| field.eq_ignore_ascii_case("WithdrawalDate"));
    assert_eq!(dates.collect::<Vec<_>>(), ["WithdrawalDate"]);
    assert!(discovery.fatal.is_empty());
    let grants = without(ENTRY_WITHDRAWAL, &["WithdrawalDate"]);
    let discovery = judged(&connection(&json!({"withdrawal_date_field": "withdrawaldate"})), &grants);
    assert_eq!(discovery.fatal, ["Enrollment/EntryWithdrawal.withdrawaldate"]);
}

#[test]
fn the_key_comes_first() {
    let discovery = judged(&connection(&json!({})), &all());
    for (resource, fields) in &discovery.granted {
        assert_eq!(fields[0], OBJECTS.iter().find(|object| object.resource == resource).unwrap().key);
    }
}

#[test]
fn relationships_and_rules_are_no_fields() {
    let metadata = json!({"StudentID": {}, "NAMEID": {}, "Shoes": {}, "Relationships": {}, "ValidationRules": []});
    let names =
        field_names(object("Student/Student").unwrap(), &connection(&json!({})), metadata.as_object().unwrap().clone());
    assert_eq!(names, ["NAMEID".to_owned(), "StudentID".to_owned()].into(), "and what is not asked for is not kept");
}

fn year(id: i64, numeric: i64) -> YearRow {
    YearRow { id: Some(id), numeric: Some(numeric), is_current: false }
}

/// As the planner reads the same rows.
#[test]
fn numbers_of_years_and_entities_may_come_as_text() {
    for (seven, expected) in [
        (json!(7), Some(7)),
        (json!("7"), Some(7)),
        (json!(" 7 "), Some(7)),
        (json!(7.0), Some(7)),
        (json!(7.5), None),
        (json!("x"), None),
        (json!(""), None),
        (json!(null), None),
        (json!({"a": 1}), None),
    ] {
        let year: YearRow = serde_json::from_value(json!({"SchoolYearID": seven, "NumericYear": seven})).unwrap();
        assert_eq!((year.id, year.numeric), (expected, expected), "{seven}");
        let entity: EntityRow =
            serde_json::from_value(json!({"EntityID": seven, "SchoolYearIDCurrent": seven})).unwrap();
        assert_eq!((entity.id, entity.current), (expected, expected), "{seven}");
    }
    let district = json!({"SchoolYearCurrent": {"SchoolYearID": "7", "NumericYear": "2026"}});
    let metadata: SystemMetadata = serde_json::from_value(json!({"System": {"Districts": [district]}})).unwrap();
    assert_eq!(metadata.ending_years(), BTreeMap::from([(7, 2026)]));
    assert_eq!(serde_json::from_value::<YearRow>(json!({})).unwrap(), YearRow::default());
}

#[test]
fn years_follow_each_entity() {
    let years = [year(11, 2025), year(12, 2026), year(13, 2027), year(14, 2028)];
    let none = SystemMetadata::default();
    let entity = |id| EntityRow { id: Some(1), current: Some(id) };
    let pull = |entities: &[EntityRow], admitted| years_to_pull(&none, &years, entities, admitted);
    assert_eq!(pull(&[entity(13)], SchoolYears::Current), [12, 13]);
    assert_eq!(pull(&[entity(13)], SchoolYears::CurrentAndNext), [12, 13, 14]);
    assert_eq!(pull(&[entity(12), entity(13)], SchoolYears::Current), [11, 12, 13]);
    assert_eq!(pull(&[entity(99)], SchoolYears::Current), [99], "a year that is in no table is pulled all the same");
    assert!(pull(&[EntityRow::default()], SchoolYears::Current).is_empty());
}

#[test]
fn an_entity_is_placed_whose_own_current_year_is_known() {
    let row = |id, current| EntityRow { id: Some(id), current };
    let rows = [row(1, None), row(2, Some(13)), row(3, Some(12)), row(2, Some(13))];
    assert_eq!(placed(&rows, [1, 4].into()), [1, 2, 3, 4].into());
    assert_eq!(placed(&rows, BTreeSet::new()), [2, 3].into());
    assert!(placed(&[row(1, None)], [4].into()).is_empty(), "all go by one");
}

#[test]
fn the_current_year_may_come_from_the_metadata() {
    let metadata: SystemMetadata = serde_json::from_value(json!({"System": {"Name": "S", "Districts": [
        {"Name": "D", "SchoolYearCurrent": {"SchoolYearID": 12, "NumericYear": 2026}, "FiscalYearOldestOpen": {}},
    ]}}))
    .unwrap();
    assert_eq!(metadata.name().as_deref(), Some("D"));
    let years = [year(11, 2025), year(12, 2026)];
    assert_eq!(years_to_pull(&metadata, &years, &[], SchoolYears::Current), [11, 12]);
}

/// An access that does not grant the table of entities, or not the columns that tell the current year.
#[test]
fn the_current_year_is_found_without_the_tables_of_it() {
    let metadata: SystemMetadata = serde_json::from_value(json!({"System": {"Districts": [
        {"SchoolYearCurrent": {"SchoolYearID": 12, "NumericYear": 2026}}, {"SchoolYearCurrent": null}, {},
    ]}}))
    .unwrap();
    assert_eq!(metadata.ending_years(), [(12, 2026)].into());
    let none = SystemMetadata::default();
    let flagged: Vec<YearRow> = ["false", "\"True\"", "0", "null"]
        .iter()
        .zip(11..)
        .map(|(flag, id)| {
            let row = format!(
                r#"{{"SchoolYearID": {id}, "NumericYear": {}, "IsCurrentYearForProvidedEntity": {flag}}}"#,
                id + 2014
            );
            serde_json::from_str(&row).unwrap()
        })
        .collect();
    let pull = |metadata, years: &[YearRow]| years_to_pull(metadata, years, &[], SchoolYears::Current);
    assert_eq!(pull(&none, &flagged), [11, 12], "flagged by the table of years, which no entity tells");
    let years = [year(11, 2025), year(12, 2026), year(13, 2027)];
    assert_eq!(pull(&metadata, &years), [11, 12], "no table of entities");
    assert_eq!(pull(&metadata, &[]), [12], "neither table");
    let nameless = [9, 12, 11].map(|id| YearRow { id: Some(id), ..YearRow::default() });
    assert_eq!(pull(&metadata, &nameless), [9, 11, 12], "any may be the one before");
    assert!(pull(&none, &nameless).is_empty());
}

#[test]
fn listings_are_entities_by_objects_by_years() {
    let connection = connection(&json!({"entities": [1, 2]}));
    let discovery = judged(&connection, &without("Demographics/County", &["CountyID"]));
    let asks = asks(&connection, &discovery, &[11, 12]);
    let of = |resource: &str| asks.iter().filter(|ask| ask.resource == resource).collect::<Vec<_>>();
    assert_eq!(of(ENTRY_WITHDRAWAL).len(), 4);
    assert!(of(ENTRY_WITHDRAWAL).iter().all(|ask| ask.essential && ask.school_year.is_some()));
    assert_eq!(of("Student/Student").len(), 2);
    assert!(of("Student/Student").iter().all(|ask| ask.school_year.is_none()));
    assert!(of("Demographics/County").is_empty(), "not granted");
    assert!(of("Staff/Staff").is_empty(), "not wanted");
    assert!(!of("Demographics/NamePhone")[0].essential);
}
