#![allow(clippy::unwrap_used, clippy::panic)]

use proptest::prelude::*;
use rollcall_proto::roster::{Address, Email, Student};
use rollcall_store::{board::Ask, plan::NewPlan};
use serde_json::json;

use super::*;
use crate::{
    fingerprint::Fingerprinter,
    testing::{self, ENTITY_YEAR, GUARDIAN, NAME, PHONE, Roster, SPELL, STUDENT, Sis, events},
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
    let mut record = record(&Sis::with_students(1), 1);
    record.person.emails.push(Email { address: "a@example.org".to_owned(), ..Email::default() });
    record.person.addresses.push(Address::default());
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
        |r| r.person.name_id = "77".to_owned(),
        |r| r.person.emails[0].address = "b@example.org".to_owned(),
        |r| r.person.addresses[0].city = Some("Austin".to_owned()),
        |r| r.contacts[0].id = "77".to_owned(),
        |r| r.contacts[0].person.phones[0].number = "77".to_owned(),
        |r| r.enrollments[0].id = "77".to_owned(),
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
    sis.enroll_elsewhere();
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
    sis.row(STUDENT, 1)["NameID"] = json!(null);
    assert_eq!(record(&sis, 1).person.last_name.as_deref(), Some("Li"), "and where none is named");
}

#[test]
fn the_code_by_which_a_student_left_is_kept() {
    let mut sis = Sis::with_students(1);
    assert_eq!(record(&sis, 1).enrollments[0].withdrawal_code, None);
    sis.withdraw(1, "2025-10-01", 92);
    assert_eq!(record(&sis, 1).enrollments[0].withdrawal_code.as_deref(), Some("98"));
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
fn of_several_enrollments_the_one_whose_dates_differ_is_named() {
    let mut sis = Sis::with_students(1);
    let mut second = sis.row(SPELL, 1).clone();
    for (column, value) in [("EntryWithdrawalID", json!(7001)), ("StartDate", json!("2025-09-01"))] {
        second[column] = value;
    }
    second["EndDate"] = json!("2026-05-20");
    second["WithdrawalDate"] = json!("2026-05-21");
    sis.add(SPELL, second);
    let plan = Roster::default().plan(sis.facts());
    let said = plan.findings.iter().find(|finding| finding.code == "withdrawal-dates-differ").unwrap();
    assert_eq!((said.message.as_str(), said.count), ("to be mended in the SIS: enrollments 7001", 1));
}

#[test]
fn withdrawal_dates_that_agree_or_are_alone_are_not_reported() {
    let mut sis = Sis::with_students(3);
    sis.row(SPELL, 1)["EndDate"] = json!("2026-05-20");
    sis.row(SPELL, 1)["WithdrawalDate"] = json!("2026-05-20");
    sis.row(SPELL, 2)["EndDate"] = json!("2026-05-20");
    sis.row(SPELL, 3)["WithdrawalDate"] = json!("2026-05-20");
    assert_eq!(Roster::default().plan(sis.facts()).findings, []);
}

/// The column, by what the district's file says and by what is granted.
#[test]
fn the_withdrawal_date_is_the_edited_one_unless_it_is_not_granted_or_not_wanted() {
    const EDITED: WithdrawalColumn = WithdrawalColumn::EndDate;
    const DERIVED: WithdrawalColumn = WithdrawalColumn::WithdrawalDate;
    let (both, edited, derived) = (["EndDate", "WithdrawalDate"].as_slice(), &["EndDate"][..], &["WithdrawalDate"][..]);
    for (field, granted, expected) in [
        (None, both, EDITED),
        (None, edited, EDITED),
        (None, derived, DERIVED),
        (None, &["StartDate"], EDITED),
        (Some("WithdrawalDate"), both, DERIVED),
        (Some("EndDate"), derived, EDITED),
        (Some("withdrawaldate"), both, DERIVED),
        (Some("ENDDATE"), derived, EDITED),
        (Some("LastDayTX"), both, WithdrawalColumn::Named),
    ] {
        let mut connection = testing::district().connections.remove(0);
        connection.withdrawal_date_field = field.map(str::to_owned);
        let granted = granted.iter().map(|field| (*field).to_owned()).collect();
        let granted = [(SPELL.to_owned(), granted)].into();
        let discovery = Discovery { granted, ..Discovery::default() };
        assert_eq!(WithdrawalColumn::of(&connection, &discovery), expected, "{field:?} {discovery:?}");
    }
}

/// A student with an open enrollment in an entity of which no row tells the current year; each entity asked says which
/// year is current for it.
fn with_flagged_years(year: i64, flagged: &[(i64, i64)]) -> NewPlan {
    let mut sis = Sis::with_students(1);
    sis.rows.remove("District/Entity");
    sis.rows.remove("District/SchoolYear");
    sis.row(SPELL, 1)["SchoolYearID"] = json!(year);
    let mut facts = sis.facts();
    for (asked, current) in flagged {
        let year = |(id, year)| json!({"SchoolYearID": id, "NumericYear": year, "IsCurrentYearForProvidedEntity": id == *current});
        let rows = [(8, 2025), (9, 2026), (10, 2027)].map(year);
        testing::add_listing(&mut facts, Ask { entity: Some(*asked), ..testing::ask("District/SchoolYear") }, &rows);
    }
    Roster::default().plan(facts)
}

#[test]
fn a_current_year_that_no_entity_tells_is_the_one_that_the_year_tables_flag() {
    /// What it is about, the enrollment's year, (entity asked, year flagged there), how many are added, why one is skipped.
    type Case = (&'static str, i64, &'static [(i64, i64)], (i64, Option<&'static str>));
    let table: [Case; 6] = [
        ("its own", 9, &[(41, 9)], (1, None)),
        ("its own, whatever others say", 10, &[(41, 10), (42, 9)], (1, None)),
        ("all agree", 9, &[(1, 9), (2, 9)], (1, None)),
        ("they do not agree", 9, &[(1, 9), (2, 10)], (0, Some("school-year-unresolved"))),
        ("none is flagged", 9, &[(1, 7)], (0, Some("school-year-unresolved"))),
        ("over for all of them", 8, &[(1, 9), (2, 9)], (0, Some(NO_ENROLLMENT_IN_WINDOW))),
    ];
    for (what, year, flagged, expected) in table {
        let plan = with_flagged_years(year, flagged);
        let reason = plan.skips.first().map(|skip| skip.reason.as_str());
        assert_eq!((plan.counts.added, reason), expected, "{what}");
    }
}

#[test]
fn years_and_schools_are_told_by_the_table_that_knows_best() {
    let mut sis = Sis::with_students(1);
    // The year tables flag 9 for the entity that was asked. This one says itself which year is current.
    sis.row("District/Entity", 41)["SchoolYearIDCurrent"] = json!(10);
    for (id, entity, school, default) in [
        (1, 41, 80, false),
        (2, 41, 90, true),
        (3, 41, 100, false),
        (4, 41, 95, true),
        (5, 42, 70, false),
        (6, 42, 60, false),
    ] {
        sis.add(
            "Enrollment/EntitySchool",
            json!({"EntitySchoolID": id, "EntityID": entity, "SchoolID": school, "IsDefaultSchoolForEntity": default}),
        );
    }
    let mut facts = sis.facts();
    let pull = facts.pulls.remove(0);
    let looks = Looks::open(pull.fragments, pull.board.as_ref().unwrap()).unwrap();
    // The metadata stands in where no row numbers a year.
    let tables = Tables::of(&looks.first, &[(7, 2024), (9, 2000)].into());
    let years = [7, 8, 9, 10, 11].map(|year| tables.ending(Some(year)));
    assert_eq!(years, [Some(2024), Some(2025), Some(2026), Some(2027), None]);
    // One that does not tell its own is not judged by the others'.
    assert_eq!([Some(41), Some(42), None].map(|entity| tables.current(entity)), [Some(2027), None, Some(2026)]);
    let fact = |year, entity| tables.year_fact(Some(year), Some(entity));
    assert_eq!(fact(9, 41), status::YearFact::Ending { of: 2026, current: 2027 });
    assert_eq!([fact(10, 42), fact(11, 41)], [status::YearFact::Unresolved; 2]);
    assert_eq!(
        [Some(41), Some(42), Some(43), None].map(|entity| tables.school_of(entity)),
        [Some(95), Some(70), None, None]
    );
}

/// An access to which neither table is granted. What the metadata calls current is all that is known of years.
#[test]
fn the_metadata_tells_the_current_year_where_no_table_does() {
    type Taken = &'static [&'static str];
    for (without, current, expected) in [
        (&["District/Entity"][..] as Taken, 9, (1, None)),
        (&["District/Entity", "District/SchoolYear"], 9, (1, None)),
        (&["District/Entity", "District/SchoolYear"], 10, (0, Some("school-year-unresolved"))),
    ] {
        let mut sis = Sis::with_students(1);
        for row in sis.rows.get_mut("District/SchoolYear").unwrap() {
            row["IsCurrentYearForProvidedEntity"] = json!(null);
        }
        for resource in without {
            sis.rows.remove(resource);
        }
        let mut facts = sis.facts();
        facts.pulls[0].pull.discovery.as_mut().unwrap().current_years = [(current, 2017 + current as i32)].into();
        let plan = Roster::default().plan(facts);
        let reason = plan.skips.first().map(|skip| skip.reason.as_str());
        assert_eq!((plan.counts.added, reason), expected, "without {without:?}");
        if let Some(event) = events(&plan).first() {
            assert_eq!(event.record.as_ref().unwrap().enrollments[0].school_year, Some(2026));
        }
    }
    // An entity whose own year is told is not judged by the metadata's.
    let mut facts = Sis::with_students(1).facts();
    facts.pulls[0].pull.discovery.as_mut().unwrap().current_years = [(8, 2025)].into();
    assert_eq!(Roster::default().plan(facts).counts.added, 1);
}

/// Nobody is taken out, or taken to be somebody else, because years cannot be told any more.
#[test]
fn years_that_are_not_numbered_any_more_withhold_whom_they_matter_to_and_keep_what_is_stored() {
    let mut sis = Sis::with_students(3);
    // Open, in a year that is not the current one.
    sis.add(
        SPELL,
        json!({"EntryWithdrawalID": 30, "StudentID": 3, "EntityID": 41, "SchoolYearID": 10, "SchoolID": 100,
            "StartDate": "2026-08-13"}),
    );
    sis.withdraw(2, "2025-10-01", 92);
    sis.add(
        SPELL,
        json!({"EntryWithdrawalID": 20, "StudentID": 2, "EntityID": 41, "SchoolYearID": 8, "SchoolID": 80,
            "StartDate": "2024-08-13", "EndDate": "2025-05-20", "WithdrawalCodeID": 82}),
    );
    let roster = Roster::of(&sis);
    for row in sis.rows.get_mut("District/SchoolYear").unwrap() {
        row.as_object_mut().unwrap().remove("NumericYear");
    }
    let mut facts = sis.facts();
    let discovery = facts.pulls[0].pull.discovery.as_mut().unwrap();
    discovery.current_years = [(9, 2026)].into();
    discovery.refused.insert("District/SchoolYear".to_owned(), vec!["NumericYear".to_owned()]);
    let plan = roster.plan(facts);
    assert_eq!((plan.counts.unchanged, plan.counts.skipped), (2, 1), "{:?}", plan.findings);
    let skipped = (plan.skips[0].student_id.0.as_str(), plan.skips[0].reason.as_str());
    assert_eq!(skipped, ("3", "school-year-unresolved"));
}

/// Without any enrollment nothing decides, and the school's own row of the student's year still tells the grade.
#[test]
fn a_student_without_enrollments_keeps_the_grade_of_the_default_entity() {
    let mut sis = Sis::with_students(1);
    let roster = Roster::of(&sis);
    sis.rows.insert(SPELL, Vec::new());
    sis.add(
        ENTITY_YEAR,
        json!({"StudentEntityYearID": 50, "StudentID": 1, "EntityID": 42, "SchoolYearID": 9, "Grade": "06", "IsDefaultEntity": true}),
    );
    let mut known = roster;
    known.students.values_mut().for_each(|(stored, _)| stored.status = Status::Inactive);
    known.baseline.as_mut().unwrap().rows.retain(|name, _| !name.starts_with(SPELL));
    let record = events(&known.plan(sis.facts())).remove(0).record.unwrap();
    assert_eq!((record.grade.as_deref(), record.school), (Some("06"), None));
}

#[test]
fn where_nothing_counts_the_latest_enrollment_says_where_the_student_was() {
    let mut sis = Sis::with_students(1);
    let mut roster = Roster::of(&sis);
    roster.students.values_mut().for_each(|(stored, _)| stored.status = Status::Inactive);
    sis.add("Enrollment/School", json!({"SchoolID": 91, "Code": "042", "SchoolYearID": 9}));
    for ids in [[1, 50], [50, 1]] {
        sis.rows.insert(SPELL, Vec::new());
        for (id, [from, to], school) in
            [(ids[0], ["2018-08-20", "2019-05-20"], 91), (ids[1], ["2016-08-20", "2017-05-20"], 90)]
        {
            sis.add(
                SPELL,
                json!({"EntryWithdrawalID": id, "StudentID": 1, "EntityID": 41, "SchoolYearID": 9, "SchoolID": school,
                "StartDate": from, "EndDate": to}),
            );
        }
        let event = events(&roster.plan(sis.facts())).remove(0);
        assert_eq!((event.to, event.rule, event.enrollments.is_empty()), (Status::Inactive, Rule::NothingCounts, true));
        assert_eq!(event.record.unwrap().school.as_deref(), Some("042"), "{ids:?}");
    }
}

#[test]
fn of_entity_years_of_another_year_none_tells_the_grade() {
    let mut sis = Sis::with_students(1);
    sis.rows.insert(ENTITY_YEAR, Vec::new());
    for (id, year, entity, grade) in [(60, 8, 41, "04"), (61, 9, 42, "05"), (62, 10, 41, "06")] {
        sis.add(
            ENTITY_YEAR,
            json!({"StudentEntityYearID": id, "StudentID": 1, "EntityID": entity, "SchoolYearID": year, "Grade": grade}),
        );
    }
    assert_eq!(record(&sis, 1).grade.as_deref(), Some("05"), "of that year, though of another entity");
}

#[test]
fn phones_and_mails_are_read_by_rank_with_what_kind_they_are() {
    let mut sis = Sis::with_students(1);
    sis.rows.insert(PHONE, Vec::new());
    for (id, rank, number) in
        [(1, json!(null), json!("3")), (2, json!(2), json!("2")), (3, json!(1), json!("1")), (4, json!(0), json!(null))]
    {
        sis.add(
            PHONE,
            json!({"NamePhoneID": id, "NameID": 2, "Rank": rank, "PhoneTypeID": 1, "PhoneNumber": number,
            "Extension": "9", "IsConfidential": id == 2}),
        );
    }
    sis.add("Demographics/EmailType", json!({"EmailTypeID": 1, "Code": "H", "Description": "Home"}));
    sis.add("Demographics/EmailType", json!({"EmailTypeID": 2, "Code": "S"}));
    for (id, rank, kind, address) in
        [(1, 2, 1, json!("b@x.example")), (2, 1, 2, json!("a@x.example")), (3, 0, 1, json!(null))]
    {
        sis.add(
            "Demographics/NameEmail",
            json!({"NameEmailID": id, "NameID": 2, "Rank": rank, "EmailTypeID": kind, "EmailAddress": address}),
        );
    }
    let person = record(&sis, 1).person;
    let phones: Vec<_> = person.phones.iter().map(|phone| (phone.number.as_str(), phone.confidential)).collect();
    assert_eq!(phones, [("1", false), ("2", true), ("3", false)], "a row without a number is no phone");
    assert!(person.phones.iter().all(|phone| phone.kind.as_deref() == Some("Cell")));
    assert!(person.phones.iter().all(|phone| phone.extension.as_deref() == Some("9")));
    let mails: Vec<_> = person.emails.iter().map(|mail| (mail.address.as_str(), mail.kind.as_deref())).collect();
    assert_eq!(mails, [("a@x.example", Some("S")), ("b@x.example", Some("Home"))]);
}

#[test]
fn a_post_box_or_free_text_stands_in_for_a_street() {
    let mut sis = Sis::with_students(1);
    let link = json!({"NameAddressID": 1, "NameID": 2, "AddressID": 7, "IsPhysical": false, "IsMailing": true});
    sis.add("Demographics/NameAddress", link);
    sis.add("Demographics/Zip", json!({"ZipID": 4, "ZipCode": "78701"}));
    sis.add(
        "Demographics/Address",
        json!({"AddressID": 7, "ZipID": 4, "POBox": "12", "FreeformAddress": "Mill", "AddressLine2": "Rear"}),
    );
    let address = record(&sis, 1).person.addresses.remove(0);
    assert_eq!((address.physical, address.mailing), (false, true));
    assert_eq!((address.line1.as_deref(), address.line2.as_deref()), (Some("PO Box 12"), Some("Rear")));
    assert_eq!((address.zip.as_deref(), address.city), (Some("78701"), None));
    sis.row("Demographics/Address", 7)["POBox"] = json!(null);
    assert_eq!(record(&sis, 1).person.addresses[0].line1.as_deref(), Some("Mill"));
}

#[test]
fn what_is_told_twice_of_a_student_counts_once_and_as_it_was_told_last() {
    let mut sis = Sis::with_students(1);
    let mut guardian = sis.row(GUARDIAN, 1).clone();
    guardian["Rank"] = json!(2);
    guardian["IsCustodialGuardian"] = json!(true);
    guardian["AllowStudentPickup"] = json!(false);
    sis.add(GUARDIAN, guardian);
    let mut spell = sis.row(SPELL, 1).clone();
    spell["IsNoShow"] = json!(true);
    sis.add(SPELL, spell);
    let record = record(&sis, 1);
    let [contact] = record.contacts.as_slice() else { panic!("{:?}", record.contacts) };
    assert_eq!((contact.rank, contact.custodial, contact.may_pick_up), (Some(2), Some(true), Some(false)));
    let [enrollment] = record.enrollments.as_slice() else { panic!("{:?}", record.enrollments) };
    assert!(enrollment.no_show && enrollment.default_entity);
}

#[test]
fn schools_carry_their_grades_and_the_last_row_of_the_latest_year() {
    let mut sis = Sis::with_students(1);
    sis.rows.insert("Enrollment/School", Vec::new());
    for (id, year, name) in [(90, 9, "Oak"), (100, 10, "Oak High"), (900, 8, "Older"), (100, 10, "Oak Middle")] {
        sis.add(
            "Enrollment/School",
            json!({"SchoolID": id, "Code": "041", "Name": name, "SchoolYearID": year, "StateAssignedID": "S41",
            "GradeLevelIDLow": 1, "GradeLevelIDHigh": 2, "PhoneNumber": "512"}),
        );
    }
    sis.add("Enrollment/School", json!({"SchoolID": 101, "Name": "No code", "SchoolYearID": 10}));
    for (id, code) in [(1, "06"), (2, "08")] {
        sis.add("Enrollment/GradeLevel", json!({"GradeLevelID": id, "Code": code}));
    }
    let expected = School {
        code: "041".to_owned(),
        name: Some("Oak Middle".to_owned()),
        state_id: Some("S41".to_owned()),
        grade_low: Some("06".to_owned()),
        grade_high: Some("08".to_owned()),
        phone: Some("512".to_owned()),
    };
    assert_eq!(Roster::default().plan(sis.facts()).schools, [expected]);
}

#[test]
fn schools_are_kept_once_in_their_latest_year() {
    let mut sis = Sis::with_students(1);
    sis.add("Enrollment/School", json!({"SchoolID": 7, "Code": "041", "Name": "Older", "SchoolYearID": 8}));
    let plan = Roster::default().plan(sis.facts());
    assert_eq!(plan.schools.len(), 1);
    assert_eq!(plan.schools[0].name.as_deref(), Some("Oak"));
}

/// The code where there is one, for it is what is stored; the word where a student has no code.
#[test]
fn a_gender_is_the_code_and_only_without_one_the_word() {
    for (word, code, expected) in [
        (json!("Female"), json!("F"), Some("F")),
        (json!("Female"), json!(null), Some("Female")),
        (json!(null), json!("F"), Some("F")),
        (json!(null), json!(null), None),
    ] {
        let mut sis = Sis::with_students(1);
        sis.row(NAME, 2)["Gender"] = word.clone();
        sis.row(NAME, 2)["GenderCode"] = code.clone();
        assert_eq!(record(&sis, 1).gender.as_deref(), expected, "{word} {code}");
    }
    let mut sis = Sis::with_students(1);
    sis.row(NAME, 2)["Gender"] = json!("Female");
    assert_eq!(record(&sis, 1).gender.as_deref(), Some("Female"), "the code is not granted");
}

mod staff;
