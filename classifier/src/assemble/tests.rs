#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use rollcall_proto::roster::Student;
use serde_json::json;

use super::*;
use crate::{
    fingerprint::Fingerprinter,
    testing::{ENTITY_YEAR, GUARDIAN, NAME, PHONE, Roster, SPELL, STUDENT, Sis, events},
};

fn record(sis: &Sis, id: i64) -> Student {
    let plan = Roster::default().plan(sis.facts());
    let found = events(&plan).into_iter().find(|event| event.student_id.0 == id.to_string());
    *found.unwrap().record.unwrap()
}

proptest! {
    #[test]
    fn ids_are_ordered_as_text(a in any::<i64>(), b in any::<i64>(), c in -200..200_i64, d in -200..200_i64) {
        for (a, b) in [(a, b), (c, d), (a, c)] {
            prop_assert_eq!(text_order(a).cmp(&text_order(b)), a.to_string().cmp(&b.to_string()), "{} {}", a, b);
        }
    }

    #[test]
    fn an_id_is_read_as_it_is_written(text in "[-+0-9a]{1,6}", number in any::<i64>()) {
        prop_assert_eq!(Id::of(&text).to_text(), text.clone());
        let spelled = number.to_string();
        prop_assert_eq!(Id::of(&spelled), Id::Number(number));
    }
}

#[test]
fn a_record_and_its_view_have_one_fingerprint() {
    let mut sis = Sis::with_students(2);
    sis.add(PHONE, json!({"NamePhoneID": 90, "NameID": 3, "Rank": 1, "PhoneNumber": "9"}));
    sis.add(GUARDIAN, json!({"StudentGuardianID": 10, "StudentID": 1, "NameIDGuardian": 5}));
    for event in events(&Roster::default().plan(sis.facts())) {
        let record = event.record.unwrap();
        let view = StudentView::of_record(&record);
        assert_eq!(Fingerprinter::default().of(&view, event.to), event.fingerprint);
        assert_eq!(view.to_record(), *record);
        // A store may give lists back in another order.
        let mut turned = record.clone();
        turned.contacts.reverse();
        turned.contacts.iter_mut().for_each(|contact| contact.person.phones.reverse());
        assert_eq!(Fingerprinter::default().of(&StudentView::of_record(&turned), event.to), event.fingerprint);
    }
}

#[test]
fn every_field_counts_for_the_fingerprint() {
    let record = record(&Sis::with_students(1), 1);
    let of = |record: &Student, status| Fingerprinter::default().of(&StudentView::of_record(record), status);
    let plain = of(&record, Status::Enrolled);
    assert_ne!(of(&record, Status::Inactive), plain);
    let changes: &[fn(&mut Student)] = &[
        |r| r.local_id = None,
        |r| r.state_id = Some("1".to_owned()),
        |r| r.person.middle_name = Some("M".to_owned()),
        |r| r.birth_date = None,
        |r| r.gender = Some("F".to_owned()),
        |r| r.grade = None,
        |r| r.school = None,
        |r| r.graduation_year = None,
        |r| r.homeroom = None,
        |r| r.contacts.clear(),
        |r| r.contacts[0].custodial = Some(true),
        |r| r.contacts[0].rank = Some(2),
        |r| r.contacts[0].person.phones[0].confidential = true,
        |r| r.contacts[0].person.phones[0].extension = Some("1".to_owned()),
        |r| r.enrollments[0].no_show = true,
        |r| r.enrollments[0].withdrawal_date = r.enrollments[0].entry_date,
        |r| r.enrollments[0].entry_code = None,
        |r| r.connection = 1,
    ];
    for (number, change) in changes.iter().enumerate() {
        let mut edited = record.clone();
        change(&mut edited);
        assert_ne!(of(&edited, Status::Enrolled), plain, "change {number}");
    }
}

#[test]
fn the_default_entity_decides_school_and_grade() {
    let mut sis = Sis::with_students(1);
    sis.add("District/Entity", json!({"EntityID": 42, "Code": "042", "SchoolYearIDCurrent": 9}));
    sis.add("Enrollment/School", json!({"SchoolID": 91, "Code": "042", "SchoolYearID": 9}));
    sis.add(
        ENTITY_YEAR,
        json!({"StudentEntityYearID": 50, "StudentID": 1, "EntityID": 42, "SchoolYearID": 9, "Grade": "06"}),
    );
    sis.add(
        SPELL,
        json!({"EntryWithdrawalID": 50, "StudentID": 1, "EntityID": 42, "SchoolYearID": 9, "SchoolID": 91,
        "StartDate": "2025-09-01", "IsDefaultEntity": false}),
    );
    let at_home = record(&sis, 1);
    assert_eq!((at_home.school.as_deref(), at_home.grade.as_deref()), (Some("041"), Some("05")));
    sis.row(SPELL, 1)["IsDefaultEntity"] = json!(false);
    let later = record(&sis, 1);
    assert_eq!((later.school.as_deref(), later.grade.as_deref()), (Some("042"), Some("06")));
}

#[test]
fn the_students_own_grade_stands_in() {
    let mut sis = Sis::with_students(1);
    sis.rows.insert(ENTITY_YEAR, Vec::new());
    sis.row(STUDENT, 1)["Grade"] = json!("04");
    assert_eq!(record(&sis, 1).grade.as_deref(), Some("04"));
}

#[test]
fn a_school_that_an_enrollment_does_not_name_is_that_of_its_entity() {
    let mut sis = Sis::with_students(1);
    sis.row(SPELL, 1)["SchoolID"] = json!(null);
    for (id, school, default) in [(1, 80, false), (2, 90, true), (3, 100, false)] {
        sis.add(
            "Enrollment/EntitySchool",
            json!({"EntitySchoolID": id, "EntityID": 41, "SchoolID": school, "IsDefaultSchoolForEntity": default}),
        );
    }
    assert_eq!(record(&sis, 1).school.as_deref(), Some("041"));
}

#[test]
fn an_address_is_followed_through_its_chain() {
    let mut sis = Sis::with_students(1);
    sis.add(
        "Demographics/NameAddress",
        json!({"NameAddressID": 1, "NameID": 2, "AddressID": 7, "IsPhysical": "True", "IsMailing": 0}),
    );
    sis.add("Demographics/Address", json!({"AddressID": 7, "StreetNumber": "12", "StreetID": 3, "SecondaryUnitNumber": "B", "ZipID": 4, "ZipCodeAddOn": "0001", "CountyID": 5}));
    sis.add("Demographics/Street", json!({"StreetID": 3, "Name": "Oak St"}));
    sis.add(
        "Demographics/Zip",
        json!({"ZipID": 4, "ZipCode": "78701", "City": "Austin", "StateID": 6, "CountryCode": "US"}),
    );
    sis.add("SkySys/State", json!({"StateID": 6, "Code": "TX"}));
    sis.add("Demographics/County", json!({"CountyID": 5, "Name": "Travis"}));
    let address = record(&sis, 1).person.addresses.remove(0);
    assert_eq!((address.physical, address.mailing), (true, false));
    let lines = [&address.line1, &address.city, &address.state, &address.zip, &address.county, &address.country];
    let texts: Vec<&str> = lines.into_iter().map(|line| line.as_deref().unwrap()).collect();
    assert_eq!(texts, ["12 Oak St B", "Austin", "TX", "78701-0001", "Travis", "US"]);
    sis.row("Demographics/Address", 7)["StreetNumberAndName"] = json!("12 N Oak St");
    assert_eq!(record(&sis, 1).person.addresses[0].line1.as_deref(), Some("12 N Oak St"));
}

#[test]
fn emergency_contacts_hang_on_the_students_name() {
    let mut sis = Sis::with_students(2);
    sis.add("Demographics/EmergencyContact", json!({"EmergencyContactID": 1, "NameID": 2, "NameIDEmergencyContact": 5, "Rank": 2, "AllowPickUp": true, "RelationshipID": 1}));
    let contacts = record(&sis, 1).contacts;
    assert_eq!(contacts.len(), 2);
    assert_eq!(
        (contacts[1].kind, contacts[1].rank, contacts[1].may_pick_up),
        (ContactKind::Emergency, Some(2), Some(true))
    );
    assert_eq!(contacts[1].person.first_name.as_deref(), Some("Eva"));
}

#[test]
fn names_on_the_student_row_stand_in_for_a_missing_name_row() {
    let mut sis = Sis::with_students(1);
    sis.rows.get_mut(NAME).unwrap().retain(|row| row["NameID"] != json!(2));
    sis.row(STUDENT, 1)["LastName"] = json!("Li");
    let person = record(&sis, 1).person;
    assert_eq!((person.name_id.as_str(), person.last_name.as_deref()), ("2", Some("Li")));
}

#[test]
fn two_withdrawal_dates_that_differ_are_reported() {
    let mut sis = Sis::with_students(1);
    sis.row(SPELL, 1)["EndDate"] = json!("2026-05-20");
    sis.row(SPELL, 1)["WithdrawalDate"] = json!("2026-05-21");
    let plan = Roster::default().plan(sis.facts());
    assert!(
        plan.findings.iter().any(|finding| finding.code == "withdrawal-dates-differ" && finding.message.contains(" 1"))
    );
    let date = events(&plan)[0].record.as_ref().unwrap().enrollments[0].withdrawal_date;
    assert_eq!(date.unwrap().to_string(), "2026-05-20");
}

#[test]
fn schools_are_kept_once_in_their_latest_year() {
    let mut sis = Sis::with_students(1);
    sis.add("Enrollment/School", json!({"SchoolID": 7, "Code": "041", "Name": "Older", "SchoolYearID": 8}));
    sis.add("Staff/Staff", json!({"StaffID": 3, "NameID": 3, "StaffNumber": "S3"}));
    for (id, active) in [(1, true), (2, false)] {
        sis.add(
            "Staff/StaffEntityYear",
            json!({"StaffEntityYearID": id, "StaffID": 3, "EntityID": 40 + id, "IsActive": active, "IsTeacher": true}),
        );
    }
    let plan = Roster::default().plan(sis.facts());
    assert_eq!(plan.schools.len(), 1);
    assert_eq!(plan.schools[0].name.as_deref(), Some("Oak"));
    assert_eq!(plan.staff.len(), 1);
    assert_eq!((plan.staff[0].teacher, plan.staff[0].entities.as_slice()), (true, ["41".to_owned()].as_slice()));
    assert_eq!(plan.staff[0].person.first_name.as_deref(), Some("Eva"));
}
