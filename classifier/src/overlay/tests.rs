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
        &[],
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

/// What was granted before and is not now.
fn losing(resource: &str, fields: &[&str]) -> (Completeness, Discovery) {
    let lost = fields.iter().map(|field| (*field).to_owned()).collect();
    let judged = Completeness { lost_before: std::iter::once((resource.to_owned(), lost)).collect(), ..complete() };
    (judged, refusing(resource, fields))
}

/// With a value in every field that comes from one of two columns.
fn full(tag: &str) -> Student {
    let mut full = student(tag);
    full.gender = Some(tag.to_owned());
    full.graduation_year = Some(tag.len() as i32);
    full.person.emails = vec![Email { id: "1".to_owned(), kind: Some(tag.to_owned()), ..Email::default() }];
    full.enrollments[0].id = "1".to_owned();
    full.enrollments[0].school = Some(tag.to_owned());
    full
}

type Shown = fn(&Student) -> Option<String>;
type Take = fn(&mut Student);

/// Columns in the order in which they count, how the value is looked at, and how it is taken away.
const TWINS: [(&str, &str, &str, &str, Shown, Take); 7] = [
    (
        "Demographics/Name",
        "GenderCode",
        "Demographics/Name",
        "Gender",
        |student| student.gender.clone(),
        |student| student.gender = None,
    ),
    (
        "Student/Student",
        "GradYear",
        "Student/Student",
        "CalculatedGradYear",
        |student| student.graduation_year.map(|year| year.to_string()),
        |student| student.graduation_year = None,
    ),
    (
        "Enrollment/StudentEntityYear",
        "Grade",
        "Student/Student",
        "Grade",
        |student| student.grade.clone(),
        |student| student.grade = None,
    ),
    (
        "Demographics/PhoneType",
        "Description",
        "Demographics/PhoneType",
        "Code",
        |student| student.person.phones[0].kind.clone(),
        |student| student.person.phones[0].kind = None,
    ),
    (
        "Demographics/EmailType",
        "Description",
        "Demographics/EmailType",
        "Code",
        |student| student.person.emails[0].kind.clone(),
        |student| student.person.emails[0].kind = None,
    ),
    (
        "Demographics/Relationship",
        "Description",
        "Demographics/Relationship",
        "Code",
        |student| student.contacts[0].relationship.clone(),
        |student| student.contacts[0].relationship = None,
    ),
    (
        "Enrollment/EntryWithdrawal",
        "SchoolID",
        "Enrollment/EntitySchool",
        "SchoolID",
        |student| student.enrollments[0].school.clone(),
        |student| student.enrollments[0].school = None,
    ),
];

fn filled_over(mut record: Student, stored: &Student, (judged, discovery): &(Completeness, Discovery)) -> Student {
    Unknown::of(judged, discovery).fill(&mut record, stored, &[], Lacking::default(), &nothing, &mut Kept::default());
    record
}

#[test]
fn what_came_from_a_lost_column_is_not_replaced_by_its_twin() {
    for (first_of, first, second_of, second, shown, take) in TWINS {
        let what = format!("{first_of}.{first}");
        let (old, new) = (shown(&full("old")), shown(&full("newer")));
        let lost_first = losing(first_of, &[first]);
        assert_eq!(shown(&filled_over(full("newer"), &full("old"), &lost_first)), old, "{what}: may have come from it");
        let mut nothing_stored = full("old");
        take(&mut nothing_stored);
        assert_eq!(shown(&filled_over(full("newer"), &nothing_stored, &lost_first)), new, "{what}: nothing to keep");
        let lost_second = losing(second_of, &[second]);
        assert_eq!(shown(&filled_over(full("newer"), &full("old"), &lost_second)), new, "{what}: is told");
        let mut untold = full("newer");
        take(&mut untold);
        assert_eq!(
            shown(&filled_over(untold.clone(), &full("old"), &lost_second)),
            old,
            "{what}: may have come from its twin"
        );
        // Never granted: nothing came from there.
        let never = (complete(), refusing(first_of, &[first]));
        assert_eq!(shown(&filled_over(full("newer"), &full("old"), &never)), new, "{what}");
        let never = (complete(), refusing(second_of, &[second]));
        assert_eq!(shown(&filled_over(untold, &full("old"), &never)), None, "{what}");
    }
}

/// The school of the student is that of an enrollment.
#[test]
fn a_student_whose_enrollments_name_no_school_any_more_stays_at_theirs_until_they_move() {
    let lost = losing("Enrollment/EntryWithdrawal", &["SchoolID"]);
    let mut record = full("default of the entity");
    assert_eq!(filled_over(record.clone(), &full("old"), &lost).school.as_deref(), Some("old"));
    record.school = Some("elsewhere".to_owned());
    let moved = Enrollment { id: "2".to_owned(), school: record.school.clone(), ..Enrollment::default() };
    record.enrollments.push(moved);
    assert_eq!(filled_over(record, &full("old"), &lost).school.as_deref(), Some("elsewhere"));
}

fn at(line1: Option<&str>, city: &str, zip: &str) -> Student {
    let text = |text: &str| Some(text.to_owned());
    let mut student = student("x");
    let address = &mut student.person.addresses[0];
    (address.line1, address.city, address.zip) = (line1.map(str::to_owned), text(city), text(zip));
    student
}

#[test]
fn a_street_stays_where_the_way_it_was_written_is_lost() {
    const ADDRESS: &str = "Demographics/Address";
    const WITH_UNIT: &str = "StreetNumberAndNameIncludeSecondaryUnit";
    let stored = at(Some("12 Oak St B"), "Austin", "78701-0001");
    let home = at(Some("12 Oak St"), "Austin", "78701-0001");
    let line = |record: &Student, lost: &(Completeness, Discovery)| {
        let address = filled_over(record.clone(), &stored, lost).person.addresses.remove(0);
        (address.line1.unwrap(), address.zip.unwrap())
    };
    let of = |line: &str, zip: &str| (line.to_owned(), zip.to_owned());
    let stays = of("12 Oak St B", "78701-0001");
    assert_eq!(line(&home, &losing(ADDRESS, &[WITH_UNIT])), stays);
    let told = of("12 Oak St", "78701-0001");
    assert_eq!(line(&home, &(complete(), refusing(ADDRESS, &[WITH_UNIT]))), told, "it never was granted");
    assert_eq!(line(&home, &losing(ADDRESS, &["POBox"])), told, "what is told comes first");
    assert_eq!(line(&at(None, "Austin", "78701-0001"), &losing(ADDRESS, &["POBox"])), stays);
    let of_parts = [WITH_UNIT, "StreetNumberAndName"];
    let mut parts = losing(ADDRESS, &["StreetNumber"]);
    parts.1.refused.insert(ADDRESS.to_owned(), of_parts.map(str::to_owned).to_vec());
    assert_eq!(line(&home, &parts), stays, "half an address is none");
    let moved = at(Some("7 Elm St"), "Waco", "76701");
    assert_eq!(
        line(&moved, &losing(ADDRESS, &[WITH_UNIT])),
        of("7 Elm St", "76701"),
        "not a street of one town in another"
    );
    // The add-on is a part of the ZIP code.
    let without = at(Some("12 Oak St B"), "Austin", "78701");
    assert_eq!(line(&without, &losing(ADDRESS, &["ZipCodeAddOn"])), stays);
    assert_eq!(line(&without, &(complete(), refusing(ADDRESS, &["ZipCodeAddOn"]))).1, "78701");
    assert_eq!(line(&moved, &losing(ADDRESS, &["ZipCodeAddOn"])).1, "76701");
}

#[test]
fn a_name_that_is_not_told_any_more_stays() {
    let mut nameless = student("new");
    nameless.person.first_name = None;
    let lost = losing("Demographics/Name", &["FirstName"]);
    assert_eq!(filled_over(nameless, &student("old"), &lost).person.first_name.as_deref(), Some("old"));
    let copy = filled_over(student("new"), &student("old"), &lost).person.first_name;
    assert_eq!(copy.as_deref(), Some("new"), "the student's row has a copy of it");
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
        Unknown::of(&complete(), &discovery).fill(&mut record, &student("same"), &[], Lacking::default(), &nothing, &mut Kept::default());
        prop_assert_eq!(record, student("same"));
    }
}
