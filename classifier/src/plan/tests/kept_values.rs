//! What stays of a student because of a key without its row, value by value, and what does not.

use serde_json::json;

use super::{
    codes,
    missing::{ADDRESS, LINK, whole},
};
use crate::testing::{GUARDIAN, NAME, Roster, STUDENT, events};

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
