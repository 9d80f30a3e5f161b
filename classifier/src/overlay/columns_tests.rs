//! Every column that a pull may lack, and what stays as it is stored because of it: that, and nothing else.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use rollcall_proto::id::StudentId;
use serde_json::Value as Json;

use super::*;

const TELLS: [StaffScope; 3] = [StaffScope::None, StaffScope::Active, StaffScope::Teachers];

/// A person with two of everything. Each value says whose it is and, by `tag`, whether it is stored or told.
fn person(name_id: &str, tag: &str) -> Person {
    let old = tag == "old";
    let text = |what: &str| Some(format!("{what} of {name_id}, {tag}"));
    let of_each = ["1", "2"].map(str::to_owned);
    let phone = |id: String| Phone {
        rank: i32::from(old),
        kind: text(&id),
        number: format!("{id} {tag}"),
        extension: text(&id),
        confidential: old,
        id,
    };
    let email = |id: String| Email { rank: i32::from(old), kind: text(&id), address: format!("{id} {tag}"), id };
    let address = |id: String| Address {
        physical: old,
        mailing: old,
        line1: text(&id),
        line2: text(&id),
        city: text(&id),
        state: text(&id),
        zip: text(&id),
        county: text(&id),
        country: text(&id),
        id,
    };
    Person {
        name_id: name_id.to_owned(),
        first_name: text("first"),
        middle_name: text("middle"),
        last_name: text("last"),
        phones: of_each.clone().map(phone).to_vec(),
        emails: of_each.clone().map(email).to_vec(),
        addresses: of_each.map(address).to_vec(),
    }
}

fn contact(kind: ContactKind, id: &str, tag: &str) -> Contact {
    let old = tag == "old";
    Contact {
        id: id.to_owned(),
        kind,
        rank: Some(i32::from(old)),
        relationship: Some(format!("relation of {id}, {tag}")),
        custodial: Some(old),
        may_pick_up: Some(old),
        person: person(&format!("{}-{id}", kind.as_str()), tag),
    }
}

/// A student of whom everything is known.
fn student(tag: &str) -> Student {
    let (old, text) = (tag == "old", Some(tag.to_owned()));
    let day = NaiveDate::from_ymd_opt(2014, 2, if old { 3 } else { 4 });
    let enrollment = |id: &str| Enrollment {
        id: id.to_owned(),
        entity: "41".to_owned(),
        school: Some(format!("{id} {tag}")),
        school_year: Some(2025 + i32::from(old)),
        entry_date: day,
        withdrawal_date: day,
        entry_code: Some(format!("{id} {tag}")),
        withdrawal_code: text.clone(),
        default_entity: old,
        no_show: old,
    };
    // Guardians and emergency contacts have ids of their own kind.
    let kinds = [ContactKind::Guardian, ContactKind::Emergency];
    Student {
        id: StudentId("1".to_owned()),
        connection: 0,
        sis_id: None,
        local_id: text.clone(),
        state_id: text.clone(),
        person: person("own", tag),
        birth_date: day,
        gender: text.clone(),
        grade: text.clone(),
        school: text.clone(),
        graduation_year: Some(2030 + i32::from(old)),
        homeroom: text.clone(),
        contacts: kinds.iter().flat_map(|kind| ["1", "2"].map(|id| contact(*kind, id, tag))).collect(),
        enrollments: ["1", "2"].map(enrollment).to_vec(),
    }
}

/// Every value by where it is; those of several items together.
type Leaves = BTreeMap<String, Vec<Json>>;

fn walk(path: &str, value: Json, leaves: &mut Leaves) {
    match value {
        Json::Object(fields) => fields.into_iter().for_each(|(name, value)| {
            walk(&if path.is_empty() { name } else { format!("{path}.{name}") }, value, leaves);
        }),
        Json::Array(items) => items.into_iter().for_each(|item| walk(path, item, leaves)),
        leaf => leaves.entry(path.to_owned()).or_default().push(leaf),
    }
}

fn leaves(mut student: Student) -> Leaves {
    let mut contacts = std::mem::take(&mut student.contacts);
    contacts.sort_by(|a, b| (a.kind, &a.id).cmp(&(b.kind, &b.id)));
    let mut leaves = Leaves::new();
    walk("", serde_json::to_value(student).unwrap(), &mut leaves);
    for contact in contacts {
        walk(contact.kind.as_str(), serde_json::to_value(&contact).unwrap(), &mut leaves);
    }
    leaves
}

/// Where `filled` has what is `old`, by the shortest paths that say so; what all persons keep stands after an asterisk.
/// Everything else is `new`, and of several items all are one or the other.
fn stays(filled: &Leaves, old: &Leaves, new: &Leaves) -> BTreeSet<String> {
    let differ = || old.keys().filter(|path| old[*path] != new[*path]);
    let kept = |path: &String| filled.get(path) == Some(&old[path]);
    for path in differ() {
        assert!(kept(path) || filled[path] == new[path], "{path}: {:?}", filled[path]);
    }
    let under = |path: &str, prefix: &str| path == prefix || path.starts_with(&format!("{prefix}."));
    let shortest = |path: &String| {
        let ends = path.match_indices('.').map(|(at, _)| at).chain([path.len()]);
        let whole = |end: &usize| differ().filter(|other| under(other, &path[..*end])).all(kept);
        path[..ends.clone().find(whole).unwrap_or(path.len())].to_owned()
    };
    let mut paths: BTreeSet<String> = differ().filter(|path| kept(path)).map(shortest).collect();
    let of_all = |own: &str| ["", "guardian.", "emergency."].map(|whose| format!("{whose}{own}"));
    for own in paths.clone().into_iter().filter(|path| path.starts_with("person")) {
        if of_all(&own).iter().all(|path| paths.contains(path)) {
            for path in &of_all(&own) {
                assert!(paths.remove(path));
            }
            paths.insert(own.replacen("person", "*", 1));
        }
    }
    paths
}

/// As many columns as a case has, each as resource and field.
type Columns = &'static [(&'static str, &'static str)];

fn lacking(columns: Columns, before: bool) -> (Completeness, Discovery) {
    let (mut judged, mut discovery) =
        (Completeness { complete: true, ..Completeness::default() }, Discovery::default());
    for (resource, field) in columns {
        discovery.refused.entry((*resource).to_owned()).or_default().push((*field).to_owned());
        if before {
            judged.lost_before.entry((*resource).to_owned()).or_default().insert((*field).to_owned());
        }
    }
    (judged, discovery)
}

fn fill(unknown: &Unknown, record: &mut Student) {
    unknown.fill(record, &student("old"), &[], Lacking::default(), &|_| Facets::default(), &mut Kept::default());
}

fn kept(unknown: &Unknown) -> BTreeSet<String> {
    let mut record = student("new");
    fill(unknown, &mut record);
    stays(&leaves(record), &leaves(student("old")), &leaves(student("new")))
}

const STUDENT: &str = "Student/Student";
const NAME: &str = "Demographics/Name";
const PHONE: &str = "Demographics/NamePhone";
const EMAIL: &str = "Demographics/NameEmail";
const HAS_ADDRESS: &str = "Demographics/NameAddress";
const ADDRESS: &str = "Demographics/Address";
const ZIP: &str = "Demographics/Zip";
const GUARDIAN: &str = "Family/StudentGuardian";
const EMERGENCY: &str = "Demographics/EmergencyContact";
const YEAR: &str = "Enrollment/StudentEntityYear";
const SPELL: &str = "Enrollment/EntryWithdrawal";
const ENTITY_SCHOOL: &str = "Enrollment/EntitySchool";

/// Columns that are not granted and never were, and what stays.
const REFUSED: &[(Columns, &[&str])] = &[
    (&[(STUDENT, "StudentNumber")], &["local_id"]),
    (&[(STUDENT, "CalculatedStudentStateID")], &["state_id"]),
    (&[(NAME, "BirthDate")], &["birth_date"]),
    (&[("demographics", "birthDate")], &["birth_date"]),
    (&[("demographics", "sex")], &["gender"]),
    (&[(NAME, "GenderCode"), (NAME, "Gender")], &["gender"]),
    (&[(STUDENT, "GradYear"), (STUDENT, "CalculatedGradYear")], &["graduation_year"]),
    (&[(YEAR, "Grade"), (STUDENT, "Grade")], &["grade"]),
    (&[(YEAR, "HomeroomID")], &["homeroom"]),
    (&[("Enrollment/Homeroom", "Code")], &["homeroom"]),
    (&[(YEAR, "StudentID"), (YEAR, "EntityID"), (YEAR, "SchoolYearID")], &[]),
    (&[("Enrollment/School", "Code")], &["enrollments.school", "school"]),
    (&[(SPELL, "SchoolID"), (ENTITY_SCHOOL, "SchoolID")], &["enrollments.school", "school"]),
    (&[(SPELL, "SchoolID")], &[]),
    (&[(ENTITY_SCHOOL, "SchoolID")], &[]),
    (&[(NAME, "FirstName")], &["emergency.person.first_name", "guardian.person.first_name"]),
    (&[(NAME, "MiddleName")], &["emergency.person.middle_name", "guardian.person.middle_name"]),
    (&[(NAME, "LastName")], &["emergency.person.last_name", "guardian.person.last_name"]),
    (&[(STUDENT, "FirstName"), (STUDENT, "MiddleName"), (STUDENT, "LastName")], &[]),
    (&[(STUDENT, "FirstName"), (NAME, "FirstName")], &["*.first_name"]),
    (&[(STUDENT, "MiddleName"), (NAME, "MiddleName")], &["*.middle_name"]),
    (&[(STUDENT, "LastName"), (NAME, "LastName")], &["*.last_name"]),
    (&[(PHONE, "NameID")], &["*.phones"]),
    (&[(PHONE, "PhoneNumber")], &["*.phones"]),
    (&[(PHONE, "PhoneTypeID")], &["*.phones.kind"]),
    (&[(PHONE, "Rank")], &["*.phones.rank"]),
    (&[(PHONE, "Extension")], &["*.phones.extension"]),
    (&[(PHONE, "IsConfidential")], &["*.phones.confidential"]),
    (&[(EMAIL, "NameID")], &["*.emails"]),
    (&[(EMAIL, "EmailAddress")], &["*.emails"]),
    (&[(EMAIL, "EmailTypeID")], &["*.emails.kind"]),
    (&[(EMAIL, "Rank")], &["*.emails.rank"]),
    (&[(HAS_ADDRESS, "NameID")], &["*.addresses"]),
    (&[(HAS_ADDRESS, "AddressID")], &["*.addresses"]),
    (&[(HAS_ADDRESS, "IsPhysical")], &["*.addresses.physical"]),
    (&[(HAS_ADDRESS, "IsMailing")], &["*.addresses.mailing"]),
    (&[(ADDRESS, "AddressLine2")], &["*.addresses.line2"]),
    (&[(ADDRESS, "ZipID")], &["*.addresses.city", "*.addresses.country", "*.addresses.state", "*.addresses.zip"]),
    (&[(ADDRESS, "ZipCodeAddOn")], &[]),
    (&[(ADDRESS, "CountyID")], &["*.addresses.county"]),
    (&[("Demographics/County", "Name")], &["*.addresses.county"]),
    (&[(ZIP, "City")], &["*.addresses.city"]),
    (&[(ZIP, "StateID")], &["*.addresses.state"]),
    (&[("SkySys/State", "Code")], &["*.addresses.state"]),
    (&[(ZIP, "ZipCode")], &["*.addresses.zip"]),
    (&[(ZIP, "CountryCode")], &["*.addresses.country"]),
    (
        &[
            (ADDRESS, "StreetNumberAndNameIncludeSecondaryUnit"),
            (ADDRESS, "StreetNumberAndName"),
            (ADDRESS, "StreetID"),
            (ADDRESS, "POBox"),
            (ADDRESS, "FreeformAddress"),
        ],
        &["*.addresses.line1"],
    ),
    (&[(GUARDIAN, "StudentID")], &["guardian"]),
    (&[(GUARDIAN, "NameIDGuardian")], &["guardian"]),
    (&[(GUARDIAN, "Rank")], &["guardian.rank"]),
    (&[(GUARDIAN, "AllowStudentPickup")], &["guardian.may_pick_up"]),
    (&[(GUARDIAN, "IsCustodialGuardian")], &["guardian.custodial"]),
    (&[(GUARDIAN, "RelationshipID")], &["guardian.relationship"]),
    (&[(EMERGENCY, "NameID")], &["emergency"]),
    (&[(EMERGENCY, "NameIDEmergencyContact")], &["emergency"]),
    (&[(EMERGENCY, "Rank")], &["emergency.rank"]),
    (&[(EMERGENCY, "AllowPickUp")], &["emergency.may_pick_up"]),
    (&[(EMERGENCY, "RelationshipID")], &["emergency.relationship"]),
    (&[("District/SchoolYear", "NumericYear")], &[]),
    (&[(SPELL, "EntryCodeID")], &["enrollments.entry_code"]),
    (&[("Enrollment/EntryCode", "Code")], &["enrollments.entry_code"]),
    (&[(SPELL, "IsNoShow")], &["enrollments.no_show"]),
    (&[(SPELL, "IsDefaultEntity")], &["enrollments.default_entity"]),
];

#[test]
fn a_refused_column_keeps_what_came_from_it_and_nothing_else() {
    for (columns, expected) in REFUSED {
        let (judged, discovery) = lacking(columns, false);
        let unknown = Unknown::of(&judged, &discovery);
        assert!(!unknown.is_empty(), "{columns:?}");
        assert_eq!(kept(&unknown).iter().collect::<Vec<_>>(), *expected, "{columns:?}");
    }
}

/// Without these the row that has the grade is not found, or another one is taken for it.
#[test]
fn a_year_whose_rows_are_not_found_any_more_keeps_what_stands_there() {
    for field in ["StudentID", "EntityID", "SchoolYearID"] {
        let columns: Columns = Box::leak(Box::new([(YEAR, field)]));
        let (judged, discovery) = lacking(columns, true);
        assert_eq!(kept(&Unknown::of(&judged, &discovery)).into_iter().collect::<Vec<_>>(), ["grade", "homeroom"]);
    }
}

/// What a listing of OneRoster has none of, where it had before.
#[test]
fn a_kind_of_values_that_nobody_has_keeps_them_and_nothing_else() {
    let cases: [(&str, &[&str]); 15] = [
        ("users.identifier", &["local_id"]),
        ("users.stateId", &["state_id"]),
        ("users.grades", &["grade"]),
        ("demographics.birthDate", &["birth_date"]),
        ("demographics.sex", &["gender"]),
        ("users/guardians", &["guardian"]),
        ("users.agents", &["guardian"]),
        ("users/guardians.agents", &[]),
        ("users.givenName", &["*.first_name"]),
        ("users.middleName", &["*.middle_name"]),
        ("users.familyName", &["*.last_name"]),
        ("users/students.givenName", &["person.first_name"]),
        ("users/guardians.familyName", &["emergency.person.last_name", "guardian.person.last_name"]),
        ("users/staff.identifier", &[]),
        ("users/staff.familyName", &[]),
    ];
    for (name, expected) in cases {
        let empty_supporting = BTreeSet::from([name.to_owned()]);
        let judged = Completeness { complete: true, empty_supporting, ..Completeness::default() };
        let unknown = Unknown::of(&judged, &Discovery::default());
        assert!(!unknown.is_empty(), "{name}");
        assert_eq!(kept(&unknown).iter().collect::<Vec<_>>(), expected, "{name}");
    }
}

/// Takes away what a torn pull may have lost.
fn torn(student: &mut Student) {
    (student.grade, student.homeroom, student.school) = (None, None, None);
    for enrollment in &mut student.enrollments {
        (enrollment.school, enrollment.school_year, enrollment.entry_code) = (None, None, None);
    }
}

#[test]
fn an_incomplete_pull_ends_no_place() {
    for (complete, stays) in [(true, None), (false, Some("old"))] {
        let judged = Completeness { complete, ..Completeness::default() };
        let mut record = student("new");
        torn(&mut record);
        fill(&Unknown::of(&judged, &Discovery::default()), &mut record);
        let place = [record.grade, record.homeroom, record.school];
        assert_eq!(place.each_ref().map(Option::as_deref), [stays; 3]);
        let schools: Vec<_> = record.enrollments.iter().map(|one| one.school.as_deref()).collect();
        assert_eq!(schools, if complete { [None, None] } else { [Some("1 old"), Some("2 old")] });
        let codes: Vec<_> = record.enrollments.iter().map(|one| one.entry_code.as_deref()).collect();
        assert_eq!(codes, if complete { [None, None] } else { [Some("1 old"), Some("2 old")] });
        assert!(record.enrollments.iter().all(|one| one.school_year.is_none()), "that is told by another table");
    }
}

/// The current one the system's metadata tells too.
#[test]
fn a_year_that_no_table_numbers_any_more_is_the_stored_one() {
    let (judged, discovery) = lacking(&[("District/SchoolYear", "NumericYear")], false);
    let mut record = student("new");
    record.enrollments[1].school_year = None;
    fill(&Unknown::of(&judged, &discovery), &mut record);
    assert_eq!((record.enrollments[0].school_year, record.enrollments[1].school_year), (Some(2025), Some(2026)));
}

#[test]
fn a_name_that_either_row_may_have_told_stays() {
    let names = |person: &Person| [&person.first_name, &person.middle_name, &person.last_name].map(Clone::clone);
    for (resource, before, stay) in
        [(STUDENT, true, true), (NAME, true, true), (STUDENT, false, false), (NAME, false, false)]
    {
        let columns: Columns =
            Box::leak(Box::new([(resource, "FirstName"), (resource, "MiddleName"), (resource, "LastName")]));
        let (judged, discovery) = lacking(columns, before);
        let mut record = student("new");
        (record.person.first_name, record.person.middle_name, record.person.last_name) = (None, None, None);
        fill(&Unknown::of(&judged, &discovery), &mut record);
        let expected = if stay { names(&student("old").person) } else { [None, None, None] };
        assert_eq!(names(&record.person), expected, "{resource}, granted before: {before}");
    }
}

/// Another person than the stored one keeps nothing of that one's.
#[test]
fn a_contact_who_is_somebody_else_now_keeps_the_link_alone() {
    let (judged, discovery) = lacking(&[(PHONE, "PhoneNumber"), (NAME, "FirstName"), (GUARDIAN, "Rank")], false);
    let mut record = student("new");
    record.contacts[0].person.name_id = "somebody else".to_owned();
    fill(&Unknown::of(&judged, &discovery), &mut record);
    let [contact, other] = [&record.contacts[0], &record.contacts[1]];
    let new = student("new");
    assert_eq!((contact.rank, &contact.person.phones), (Some(1), &new.contacts[0].person.phones));
    assert_eq!(contact.person.first_name, new.contacts[0].person.first_name);
    assert_eq!(other.person.phones, student("old").contacts[1].person.phones);
}

/// Of a torn pull of OneRoster, whose guardians come in the listing of students.
#[test]
fn a_guardian_whom_a_torn_pull_does_not_show_stays() {
    for (oneroster, complete, expected) in [(true, false, 4), (true, true, 3), (false, false, 3)] {
        let judged = Completeness { complete, oneroster, ..Completeness::default() };
        let mut record = student("new");
        record.contacts.remove(1);
        fill(&Unknown::of(&judged, &Discovery::default()), &mut record);
        assert_eq!(record.contacts.len(), expected, "OneRoster: {oneroster}, complete: {complete}");
        let same = |contact: &&Contact| contact.kind == ContactKind::Guardian && contact.id == "1";
        assert_eq!(record.contacts.iter().find(same), student("new").contacts.first(), "who is shown is as shown");
    }
}

/// Guardians who are named and not shown have neither names nor a relationship; they keep all that is stored of them.
#[test]
fn a_contact_without_a_name_is_as_stored_where_such_are_known_of() {
    type Give = fn(&mut Contact);
    let gives: [(Give, bool); 4] = [
        (|_| (), true),
        (|contact| contact.relationship = Some("parent".to_owned()), false),
        (|contact| contact.person.first_name = Some("Eva".to_owned()), false),
        (|contact| contact.person.last_name = Some("Li".to_owned()), false),
    ];
    for (give, nameless) in gives {
        for known_of in [true, false] {
            let judged = Completeness { complete: true, nameless_guardians: known_of, ..Completeness::default() };
            let unknown = Unknown::of(&judged, &Discovery::default());
            assert_eq!(unknown.is_empty(), !known_of);
            let mut record = student("new");
            let contact = &mut record.contacts[0];
            (contact.relationship, contact.person) = (None, Person::default());
            give(contact);
            let told = contact.clone();
            fill(&unknown, &mut record);
            let expected = if nameless && known_of { student("old").contacts[0].clone() } else { told };
            assert_eq!(record.contacts[0], expected);
        }
    }
}

/// After a move to 1.2 nothing links a guardian's ids: whoever is stored may be one who is named and not shown.
#[test]
fn guardians_of_before_a_move_stay_until_all_are_shown() {
    let new = "0f6b1c2d-ab12-4cde-8f00-0123456789ab";
    // (id and name told, id stored) → who is there then
    let cases: [(&str, Option<&str>, &str, &[&str]); 4] = [
        (new, None, "p55", &[new, "p55"]),
        (new, Some("Eva"), "p55", &[new]),
        (new, None, "1f6b1c2d-ab12-4cde-8f00-0123456789ab", &[new]),
        ("p56", None, "p55", &["p56"]),
    ];
    for (told, name, stored_id, expected) in cases {
        let judged = Completeness { complete: true, nameless_guardians: true, ..Completeness::default() };
        let mut record = student("new");
        record.contacts.truncate(1);
        let contact = &mut record.contacts[0];
        (contact.kind, contact.id, contact.relationship) = (ContactKind::Guardian, told.to_owned(), None);
        contact.person = Person { first_name: name.map(str::to_owned), ..Person::default() };
        let mut stored = student("old");
        stored.contacts.truncate(1);
        (stored.contacts[0].kind, stored.contacts[0].id) = (ContactKind::Guardian, stored_id.to_owned());
        Unknown::of(&judged, &Discovery::default()).fill_contacts(&mut record, &stored);
        let ids: Vec<&str> = record.contacts.iter().map(|contact| contact.id.as_str()).collect();
        assert_eq!(ids, expected, "{told} {name:?} {stored_id}");
    }
}

#[test]
fn a_pull_tells_who_is_staff_by_what_the_scope_rests_on() {
    const STAFF: &str = "Staff/Staff";
    const STAFF_YEAR: &str = "Staff/StaffEntityYear";
    // Not granted, granted before → which scopes are told.
    let cases: [(Columns, bool, [bool; 3]); 10] = [
        (&[], false, [true, true, true]),
        (&[(STAFF, "StaffID")], false, [true, false, false]),
        (&[(STAFF_YEAR, "StaffID")], false, [true, false, false]),
        (&[(STAFF_YEAR, "IsActive")], true, [true, false, false]),
        (&[(STAFF_YEAR, "EntityID")], true, [true, false, false]),
        (&[(STAFF_YEAR, "IsActive")], false, [true, true, true]),
        (&[(STAFF_YEAR, "EntityID")], false, [true, true, true]),
        (&[(STAFF_YEAR, "IsTeacher")], false, [true, true, false]),
        (&[(STAFF_YEAR, "SchoolYearID")], true, [true, true, true]),
        (&[(STAFF, "StaffNumber")], true, [true, true, true]),
    ];
    for (columns, before, expected) in cases {
        let (judged, discovery) = lacking(columns, before);
        let unknown = Unknown::of(&judged, &discovery);
        assert_eq!(TELLS.map(|scope| unknown.tells_staff(scope)), expected, "{columns:?}, before: {before}");
    }
}

fn member(tag: &str) -> Staff {
    let person = person("own", tag);
    Staff { id: "T".to_owned(), number: Some(tag.to_owned()), teacher: tag == "old", person, ..Staff::default() }
}

fn of_member(member: &Staff) -> Leaves {
    let mut leaves = Leaves::new();
    walk("", serde_json::to_value(member).unwrap(), &mut leaves);
    leaves
}

#[test]
fn of_staff_a_refused_column_keeps_what_came_from_it_and_nothing_else() {
    let cases: [(Columns, &[&str]); 8] = [
        (&[("Staff/Staff", "StaffNumber")], &["number"]),
        (&[("Staff/StaffEntityYear", "IsTeacher")], &["teacher"]),
        (&[("Staff/Staff", "NameID")], &["person"]),
        (&[(NAME, "FirstName")], &["person.first_name"]),
        (&[(NAME, "MiddleName")], &["person.middle_name"]),
        (&[(NAME, "LastName")], &["person.last_name"]),
        (&[(PHONE, "PhoneNumber")], &["person.phones"]),
        (&[(STUDENT, "FirstName")], &[]),
    ];
    let fill = |unknown: &Unknown, member: &mut Staff| {
        unknown.fill_staff(member, &self::member("old"), Lacking::default(), &mut Kept::default());
    };
    for (columns, expected) in cases {
        let (judged, discovery) = lacking(columns, false);
        let mut filled = member("new");
        fill(&Unknown::of(&judged, &discovery), &mut filled);
        let stays = stays(&of_member(&filled), &of_member(&member("old")), &of_member(&member("new")));
        assert_eq!(stays.iter().collect::<Vec<_>>(), expected, "{columns:?}");
    }
    // Under another name it is somebody else.
    let (judged, discovery) = lacking(&[(NAME, "FirstName")], false);
    let mut other = member("new");
    other.person.name_id = "another".to_owned();
    fill(&Unknown::of(&judged, &discovery), &mut other);
    assert_eq!(other.person.first_name, member("new").person.first_name);
    for (name, expected) in [
        ("users/staff.identifier", "number"),
        ("users/staff.givenName", "person.first_name"),
        ("users/staff.middleName", "person.middle_name"),
        ("users/staff.familyName", "person.last_name"),
    ] {
        let empty_supporting = BTreeSet::from([name.to_owned()]);
        let judged = Completeness { complete: true, empty_supporting, ..Completeness::default() };
        let mut filled = member("new");
        fill(&Unknown::of(&judged, &Discovery::default()), &mut filled);
        let stays = stays(&of_member(&filled), &of_member(&member("old")), &of_member(&member("new")));
        assert_eq!(stays.into_iter().collect::<Vec<_>>(), [expected], "{name}");
    }
}
