#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use rollcall_proto::id::StudentId;

use super::*;

fn person(name_id: &str, tag: &str) -> Person {
    Person {
        name_id: name_id.to_owned(),
        first_name: Some(tag.to_owned()),
        phones: vec![Phone {
            id: "1".to_owned(),
            kind: Some(tag.to_owned()),
            number: tag.to_owned(),
            ..Phone::default()
        }],
        addresses: vec![Address { id: "1".to_owned(), city: Some(tag.to_owned()), ..Address::default() }],
        ..Person::default()
    }
}

fn student(tag: &str) -> Student {
    let guardian = Contact {
        id: "1".to_owned(),
        kind: ContactKind::Guardian,
        rank: None,
        relationship: Some(tag.to_owned()),
        custodial: None,
        may_pick_up: None,
        person: person("9", tag),
    };
    Student {
        id: StudentId("1".to_owned()),
        connection: 0,
        sis_id: None,
        local_id: Some(tag.to_owned()),
        state_id: None,
        person: person("1", tag),
        birth_date: None,
        gender: None,
        grade: Some(tag.to_owned()),
        school: Some(tag.to_owned()),
        graduation_year: None,
        homeroom: Some(tag.to_owned()),
        contacts: vec![guardian],
        enrollments: vec![Enrollment { id: tag.to_owned(), ..Enrollment::default() }],
    }
}

fn complete() -> Completeness {
    Completeness { complete: true, ..Completeness::default() }
}

fn refusing(resource: &str, fields: &[&str]) -> Discovery {
    let fields = fields.iter().map(|field| (*field).to_owned()).collect();
    Discovery { refused: std::iter::once((resource.to_owned(), fields)).collect(), ..Discovery::default() }
}

fn nothing(_: &str) -> Facets {
    Facets::default()
}

fn filled(judged: &Completeness, discovery: &Discovery) -> Student {
    let mut record = student("new");
    Unknown::of(judged, discovery).fill(
        &mut record,
        &student("old"),
        Lacking::default(),
        &nothing,
        &mut Kept::default(),
    );
    record
}

#[test]
fn nothing_unknown_leaves_the_record_alone() {
    let unknown = Unknown::of(&complete(), &Discovery::default());
    assert!(unknown.is_empty());
    assert_eq!(filled(&complete(), &Discovery::default()), student("new"));
}

#[test]
fn a_refused_resource_keeps_its_whole_section() {
    let record = filled(&complete(), &refusing("Demographics/NamePhone", &["*"]));
    assert_eq!(record.person.phones, student("old").person.phones);
    assert_eq!(record.contacts[0].person.phones, student("old").contacts[0].person.phones);
    assert_eq!(record.person.addresses, student("new").person.addresses);
}

#[test]
fn an_empty_or_failed_supporting_listing_keeps_its_whole_section() {
    let mut judged = complete();
    judged.failed_supporting.insert("Family/StudentGuardian".to_owned());
    judged.empty_supporting.insert("Enrollment/Homeroom".to_owned());
    let record = filled(&judged, &Discovery::default());
    assert_eq!(record.contacts, student("old").contacts);
    assert_eq!((record.homeroom.as_deref(), record.grade.as_deref()), (Some("old"), Some("new")));
}

#[test]
fn a_refused_column_keeps_its_values_alone() {
    let record = filled(&complete(), &refusing("Demographics/Zip", &["City"]));
    assert_eq!(record.person.addresses[0].city.as_deref(), Some("old"));
    assert_eq!(record.person.phones[0].kind.as_deref(), Some("new"));
    let record = filled(&complete(), &refusing("Demographics/PhoneType", &["*"]));
    assert_eq!(record.person.phones[0].kind.as_deref(), Some("old"));
    assert_eq!(record.person.phones[0].number, "new");
}

#[test]
fn one_of_two_twins_is_enough() {
    let record = filled(&complete(), &refusing("Demographics/Relationship", &["Code"]));
    assert_eq!(record.contacts[0].relationship.as_deref(), Some("new"));
    let record = filled(&complete(), &refusing("Demographics/Name", &["FirstName"]));
    assert_eq!(record.person.first_name.as_deref(), Some("new"), "it stands on the student row too");
    assert_eq!(record.contacts[0].person.first_name.as_deref(), Some("old"));
}

#[test]
fn an_incomplete_pull_ends_no_enrollment() {
    let record = filled(&Completeness::default(), &Discovery::default());
    let ids: Vec<&str> = record.enrollments.iter().map(|enrollment| enrollment.id.as_str()).collect();
    assert_eq!(ids, ["new", "old"]);
    assert_eq!(record.grade.as_deref(), Some("new"));
}

proptest! {
    #[test]
    fn what_is_equal_stays_equal(kinds in prop::collection::vec(0..Kind::ALL.len(), 0..6)) {
        let mut discovery = Discovery::default();
        for kind in kinds {
            discovery.refused.insert(Kind::ALL[kind].resource().to_owned(), vec!["*".to_owned()]);
        }
        let mut record = student("same");
        Unknown::of(&complete(), &discovery).fill(&mut record, &student("same"), Lacking::default(), &nothing, &mut Kept::default());
        prop_assert_eq!(record, student("same"));
    }
}
