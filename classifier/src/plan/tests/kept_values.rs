//! What stays of a student because of a key without its row, value by value, and what does not.

use rollcall_store::run::KeptKeys;
use serde_json::json;

use super::{
    codes,
    missing::{ADDRESS, LINK, whole},
};
use crate::{
    fragment::Kind,
    load::Looks,
    missing::is_much,
    testing::{ENTITY_YEAR, GUARDIAN, NAME, Roster, SPELL, STUDENT, Sis, events},
};

const COUNTY: &str = "Demographics/County";
const RELATIONSHIP: &str = "Demographics/Relationship";

/// The student's own row tells all names but one, or all of them: what stays is that one, a birth date or a gender, and the run
/// says so.
#[test]
fn one_value_that_stays_is_told_of() {
    for only in ["FirstName", "MiddleName", "LastName", "BirthDate", "GenderCode"] {
        let mut sis = whole();
        let known = json!({"FirstName": "Ana1", "MiddleName": "May", "LastName": "Li", "BirthDate": "2014-02-03", "GenderCode": "F"});
        for field in ["FirstName", "MiddleName", "LastName"].into_iter().filter(|field| *field != only) {
            sis.row(STUDENT, 1)[field] = known[field].clone();
        }
        for field in ["BirthDate", "GenderCode"].into_iter().filter(|field| *field != only) {
            sis.row(NAME, 2)[field] = json!(null);
        }
        sis.row(NAME, 2)["MiddleName"] = known["MiddleName"].clone();
        let roster = Roster::of(&sis);
        let plan = roster.plan(sis.without(NAME, 2).facts());
        assert_eq!((plan.counts.unchanged, codes(&plan)), (3, vec!["row-missing"]), "{only}");
        assert_eq!(plan.findings[0].count, 1, "{only}");
    }
}

/// A guardian's name is on no page: what the student's own row tells to be gone is gone.
#[test]
fn what_is_told_to_be_gone_ends_though_a_row_of_another_is_missing() {
    let mut sis = whole();
    sis.row(NAME, 4)["MiddleName"] = json!("May");
    let roster = Roster::of(&sis);
    let mut less = sis.without(NAME, 5);
    for field in ["MiddleName", "BirthDate", "GenderCode"] {
        less.row(NAME, 4)[field] = json!(null);
    }
    let plan = roster.plan(less.facts());
    let record = events(&plan).remove(0).record.unwrap();
    assert_eq!((record.birth_date, record.gender, record.person.middle_name), (None, None, None));
    assert_eq!(record.contacts[0].person.first_name.as_deref(), Some("Eva"));
    assert_eq!((plan.counts.changed, codes(&plan)), (1, vec!["row-missing"]));
}

/// Of two guardians, the relationship of either is on no page.
#[test]
fn a_relationship_stays_with_its_own_contact() {
    let mut sis = whole();
    sis.add(RELATIONSHIP, json!({"RelationshipID": 2, "Description": "Uncle"}));
    sis.add(GUARDIAN, json!({"StudentGuardianID": 20, "StudentID": 1, "NameIDGuardian": 5, "RelationshipID": 2}));
    let roster = Roster::of(&sis);
    for key in [1, 2] {
        let plan = roster.plan(sis.without(RELATIONSHIP, key).facts());
        assert_eq!((plan.counts.unchanged, codes(&plan)), (3, vec!["row-missing"]), "relationship {key}");
    }
}

/// Another address of the same person is on no page as a whole: that says nothing of one that is, and is of another house now.
#[test]
fn what_is_missing_of_one_address_is_not_untold_of_another() {
    let mut sis = whole();
    sis.add(LINK, json!({"NameAddressID": 10, "NameID": 2, "AddressID": 10, "IsPhysical": false, "IsMailing": true}));
    sis.add(ADDRESS, json!({"AddressID": 10, "StreetNumber": "10", "StreetID": 1, "ZipID": 1, "CountyID": 1}));
    let roster = Roster::of(&sis);
    let mut less = sis.without(ADDRESS, 10).without(COUNTY, 1);
    less.row(ADDRESS, 1)["StreetNumber"] = json!("200");
    let record = events(&roster.plan(less.facts())).remove(0).record.unwrap();
    let address = |id: &str| record.person.addresses.iter().find(|address| address.id == id).unwrap();
    assert_eq!((address("1").line1.as_deref(), address("1").county.as_ref()), (Some("200 Elm"), None));
    assert_eq!((address("10").line1.as_deref(), address("10").county.as_deref()), (Some("10 Elm"), Some("Travis")));
}

/// Whoever is a guardian and an emergency contact lives at one address, which is looked up for each of these.
#[test]
fn an_address_that_is_looked_up_twice_stays() {
    let mut sis = whole();
    sis.add(
        "Demographics/EmergencyContact",
        json!({"EmergencyContactID": 2, "NameID": 4, "NameIDEmergencyContact": 5, "RelationshipID": 1}),
    );
    sis.add(LINK, json!({"NameAddressID": 50, "NameID": 5, "AddressID": 50, "IsPhysical": true, "IsMailing": true}));
    sis.add(ADDRESS, json!({"AddressID": 50, "StreetNumber": "50", "StreetID": 1, "ZipID": 1, "CountyID": 1}));
    let roster = Roster::of(&sis);
    assert_eq!(roster.record(2).contacts.len(), 2);
    let plan = roster.plan(sis.without(COUNTY, 1).facts());
    assert_eq!((plan.counts.unchanged, codes(&plan)), (3, vec!["row-missing"]));
}

/// An enrollment of last year is gone, as it should be, on the night on which the one of this year is on no page.
#[test]
fn what_stays_of_one_year_and_entity_keeps_no_other_enrollment() {
    let mut sis = whole();
    sis.enroll_elsewhere();
    sis.enroll_last_year();
    let roster = Roster::of(&sis);
    let plan = roster.plan(sis.without(SPELL, 1).without(SPELL, 10).facts());
    let record = events(&plan).remove(0).record.unwrap();
    let mut ids: Vec<&str> = record.enrollments.iter().map(|own| own.id.as_str()).collect();
    ids.sort_unstable();
    assert_eq!((ids, codes(&plan)), (vec!["1", "50"], vec!["row-missing"]));
}

/// Nothing is stored that the student's own row of the year and entity could have told: what another tells is taken over.
#[test]
fn a_grade_that_was_never_stored_ends_none_that_is_told() {
    let mut sis = whole();
    let row = sis.row(ENTITY_YEAR, 2);
    (row["Grade"], row["HomeroomID"]) = (json!(null), json!(null));
    let roster = Roster::of(&sis);
    assert_eq!(roster.record(2).grade, None);
    let mut less = sis.without(ENTITY_YEAR, 2);
    less.add(
        ENTITY_YEAR,
        json!({"StudentEntityYearID": 70, "StudentID": 2, "EntityID": 42, "SchoolYearID": 9, "Grade": "07"}),
    );
    let record = events(&roster.plan(less.facts())).remove(0).record.unwrap();
    assert_eq!(record.grade.as_deref(), Some("07"));
}

/// One person in ten is not much yet, students and staff together; nor are few, whoever else there is.
#[test]
fn more_than_one_in_ten_is_much_and_few_never_are() {
    let of = |students: i64, staff: i64, keys: i64, people: i64| {
        let mut sis = Sis::with_students(students);
        for id in 0..staff {
            sis.add("Staff/Staff", json!({"StaffID": id, "NameID": 2}));
        }
        let pull = sis.facts().pulls.remove(0);
        let looks = Looks::open(pull.fragments, pull.board.as_ref().unwrap()).unwrap();
        let kept = KeptKeys { people, keys: (1..=keys).collect(), ..KeptKeys::default() };
        is_much(Kind::Name, &kept, &looks.first)
    };
    assert_eq!([27, 28].map(|people| of(270, 0, 1, people)), [false, true]);
    assert_eq!([27, 28].map(|people| of(260, 10, 1, people)), [false, true]);
    assert_eq!([25, 26].map(|people| of(3, 0, 1, people)), [false, true]);
    assert_eq!([5, 6].map(|keys| of(3, 0, keys, 1)), [false, true]);
}
