//! What a pull cannot tell stays as it is stored.

use serde_json::json;

use super::{codes, night};
use crate::testing::{NAME, PHONE, Roster, Sis, events};

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
