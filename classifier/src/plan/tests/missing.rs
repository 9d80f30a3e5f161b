//! Rows that keys lead to and that no page holds.

use rollcall_proto::{
    id::{ListingNo, StudentId},
    roster::{School, Staff, Student},
};
use rollcall_store::{StoreError, board::Progress, run::FindingWeight};
use serde_json::{Value, json};

use super::{super::*, codes};
use crate::testing::{ENTITY_YEAR, GUARDIAN, NAME, PHONE, Roster, SPELL, STUDENT, Sis, WITHDRAWAL_CODE, events};

pub(super) const LINK: &str = "Demographics/NameAddress";
pub(super) const ADDRESS: &str = "Demographics/Address";
const ZIP: &str = "Demographics/Zip";

/// Three students with all that keys lead to, and two rows at least of every table.
pub(super) fn whole() -> Sis {
    let mut sis = Sis::with_students(3);
    for id in 1..=3 {
        sis.row(NAME, id * 2)["GenderCode"] = json!("F");
        sis.add(
            "Demographics/NameEmail",
            json!({"NameEmailID": id, "NameID": id * 2, "Rank": 1, "EmailTypeID": 1, "EmailAddress": "a@example.org"}),
        );
        sis.add(
            LINK,
            json!({"NameAddressID": id, "NameID": id * 2, "AddressID": id, "IsPhysical": true, "IsMailing": true}),
        );
        sis.add(
            ADDRESS,
            json!({"AddressID": id, "StreetNumber": id.to_string(), "StreetID": 1, "ZipID": 1, "CountyID": 1}),
        );
        sis.row(SPELL, id)["SchoolID"] = json!(90);
    }
    sis.add(
        "Demographics/EmergencyContact",
        json!({"EmergencyContactID": 1, "NameID": 2, "NameIDEmergencyContact": 5, "RelationshipID": 1}),
    );
    sis.add("Demographics/EmailType", json!({"EmailTypeID": 1, "Description": "Home"}));
    sis.add("Demographics/Street", json!({"StreetID": 1, "Name": "Elm"}));
    sis.add(ZIP, json!({"ZipID": 1, "ZipCode": "78701", "City": "Austin", "StateID": 1, "CountryCode": "US"}));
    sis.add("SkySys/State", json!({"StateID": 1, "Code": "TX"}));
    sis.add("Demographics/County", json!({"CountyID": 1, "Name": "Travis"}));
    for (resource, key) in [
        ("Demographics/EmailType", "EmailTypeID"),
        ("Demographics/PhoneType", "PhoneTypeID"),
        ("Demographics/Relationship", "RelationshipID"),
        ("Demographics/Street", "StreetID"),
        (ZIP, "ZipID"),
        ("SkySys/State", "StateID"),
        ("Demographics/County", "CountyID"),
        ("Enrollment/EntryCode", "EntryCodeID"),
        ("Enrollment/Homeroom", "HomeroomID"),
        (ADDRESS, "AddressID"),
    ] {
        sis.add(resource, json!({key: 99}));
    }
    sis
}

/// What a student's record says, found by a path.
fn told(roster: &Roster, student: i64, path: &str) -> Value {
    serde_json::to_value(roster.record(student)).unwrap().pointer(path).cloned().unwrap_or_default()
}

/// A listing from which a row is lost while it is walked: nothing that it told is ended, and the run says so.
#[test]
fn a_key_without_its_row_is_no_null() {
    // (table, row, students of whom something stays, something that it tells of the first of them)
    let cases: [(&'static str, i64, i64, i64, &str); 15] = [
        (NAME, 2, 1, 1, "/birth_date"),
        (NAME, 2, 1, 1, "/person/first_name"),
        (NAME, 2, 1, 1, "/gender"),
        (NAME, 5, 2, 2, "/contacts/0/person/first_name"),
        (ADDRESS, 2, 1, 2, "/person/addresses/0/line1"),
        (ZIP, 1, 3, 1, "/person/addresses/0/city"),
        ("SkySys/State", 1, 3, 1, "/person/addresses/0/state"),
        ("Demographics/County", 1, 3, 1, "/person/addresses/0/county"),
        ("Demographics/Street", 1, 3, 1, "/person/addresses/0/line1"),
        ("Demographics/PhoneType", 1, 3, 1, "/contacts/0/person/phones/0/kind"),
        ("Demographics/EmailType", 1, 3, 1, "/person/emails/0/kind"),
        ("Demographics/Relationship", 1, 3, 1, "/contacts/0/relationship"),
        ("Enrollment/School", 90, 3, 1, "/school"),
        ("Enrollment/EntryCode", 1, 3, 1, "/enrollments/0/entry_code"),
        ("Enrollment/Homeroom", 5, 3, 1, "/homeroom"),
    ];
    let sis = whole();
    let roster = Roster::of(&sis);
    assert_eq!(codes(&roster.plan(sis.facts())), [""; 0]);
    for (table, key, people, student, path) in cases {
        let what = format!("{table} {key}: {path}");
        assert!(!told(&roster, student, path).is_null(), "{what} is told");
        let less = sis.without(table, key);
        let plan = roster.plan(less.facts());
        assert_eq!((plan.counts.changed, plan.counts.unchanged, plan.counts.removed), (0, 3, 0), "{what}");
        assert_eq!((codes(&plan), plan.findings[0].count), (vec!["row-missing"], people), "{what}");
        let said = &plan.findings[0].message;
        assert!(said.starts_with(&format!("{table}: ")) && said.contains(&format!("ID {key})")), "{what}: {said}");
        // Whoever was never stored has nothing that could stay: that is said, and keeps nobody.
        assert_eq!(codes(&Roster::default().plan(less.facts())), ["key-dangling"], "{what}");
    }
}

/// Of an enrollment that ended so long ago that no status rests on it: the code of another one withholds its student.
#[test]
fn the_code_by_which_an_enrollment_of_long_ago_ended_stays_without_its_row() {
    let mut sis = whole();
    sis.add("District/SchoolYear", json!({"SchoolYearID": 7, "NumericYear": 2024}));
    sis.add(WITHDRAWAL_CODE, json!({"WithdrawalCodeID": 72, "Code": "98", "SchoolYearID": 7}));
    sis.add(
        SPELL,
        json!({"EntryWithdrawalID": 10, "StudentID": 1, "EntityID": 41, "SchoolYearID": 7, "SchoolID": 80,
            "StartDate": "2023-08-16", "EndDate": "2024-05-24", "WithdrawalCodeID": 72, "EntryCodeID": 1}),
    );
    let roster = Roster::of(&sis);
    let left = roster.record(1).enrollments.iter().find(|own| own.id == "10").unwrap();
    assert_eq!(left.withdrawal_code.as_deref(), Some("98"));
    let plan = roster.plan(sis.without(WITHDRAWAL_CODE, 72).facts());
    assert_eq!((plan.counts.unchanged, codes(&plan)), (3, vec!["row-missing"]));
}

/// A student's row of the enrollment's year and entity is found by these, and not by a key.
#[test]
fn without_the_row_of_the_year_and_entity_grade_and_homeroom_stay() {
    let sis = whole();
    let roster = Roster::of(&sis);
    let mut less = sis.without(ENTITY_YEAR, 2);
    let plan = roster.plan(less.facts());
    assert_eq!((plan.counts.unchanged, codes(&plan)), (3, vec!["row-missing"]));
    // What the student's own row tells is told; the homeroom is on no other.
    less.row(STUDENT, 2)["Grade"] = json!("06");
    let plan = roster.plan(less.facts());
    let record = events(&plan).remove(0).record.unwrap();
    assert_eq!((record.grade.as_deref(), record.homeroom.as_deref()), (Some("06"), Some("R5")));
    assert_eq!((plan.counts.changed, codes(&plan)), (1, vec!["row-missing"]));
    // The row of another entity is of another place.
    let mut other = less.clone();
    other.add(
        ENTITY_YEAR,
        json!({"StudentEntityYearID": 70, "StudentID": 2, "EntityID": 42, "SchoolYearID": 9, "Grade": "07"}),
    );
    assert_eq!(roster.plan(other.facts()).counts.unchanged, 3);
    less.row(STUDENT, 2)["Grade"] = json!("Grade five");
    // Somebody whose enrollment is another one is somewhere else by now.
    let mut moved = less.clone();
    moved.row(SPELL, 2)["EntryWithdrawalID"] = json!(20);
    let plan = roster.plan(moved.facts());
    let record = events(&plan).remove(0).record.unwrap();
    assert_eq!((record.grade.as_deref(), record.homeroom, codes(&plan)), (Some("Grade five"), None, vec![]));
    // Of a year of which nobody has a row, none is missing.
    let mut nobody = sis.clone();
    nobody.rows.get_mut(ENTITY_YEAR).unwrap().iter_mut().for_each(|row| row["SchoolYearID"] = json!(8));
    assert_eq!(codes(&roster.plan(nobody.facts())), [""; 0]);
}

/// What is there no more, though others still lead to it, ends on the second night on which it is not there; and the run goes on.
#[test]
fn a_key_that_leads_nowhere_on_the_next_night_too_is_believed() {
    // (table, row, students of whom something ends, something that it tells of the first of them)
    let cases: [(&'static str, i64, i64, i64, &str); 8] = [
        (NAME, 2, 1, 1, "/birth_date"),
        (NAME, 5, 2, 2, "/contacts/0/person/first_name"),
        (ADDRESS, 2, 1, 2, "/person/addresses/0/line1"),
        ("Demographics/County", 1, 3, 1, "/person/addresses/0/county"),
        ("Demographics/PhoneType", 1, 3, 1, "/contacts/0/person/phones/0/kind"),
        ("Enrollment/School", 90, 3, 1, "/school"),
        ("Enrollment/Homeroom", 5, 3, 1, "/homeroom"),
        (ENTITY_YEAR, 2, 1, 2, "/grade"),
    ];
    let sis = whole();
    for (table, key, people, student, path) in cases {
        let what = format!("{table} {key}: {path}");
        let mut roster = Roster::of(&sis);
        let value = told(&roster, student, path);
        let less = sis.without(table, key);
        let night = |roster: &mut Roster, sis: &Sis| {
            let plan = roster.plan(sis.facts());
            roster.apply(&plan);
            let weights: Vec<_> = plan.findings.iter().map(|finding| finding.weight).collect();
            (plan.counts.changed, codes(&plan).join(" "), weights)
        };
        let (partial, warning) = (vec![FindingWeight::Partial], vec![FindingWeight::Warning]);
        assert_eq!(night(&mut roster, &less), (0, "row-missing".to_owned(), partial.clone()), "{what}");
        assert_eq!(told(&roster, student, path), value, "{what}");
        // A replay reads the same pages once more, and a pull that is not whole is no second night.
        let mut again = less.facts();
        again.run.replay_of = Some(again.run.id);
        let replayed = roster.plan(again);
        assert_eq!((replayed.counts.changed, codes(&replayed)), (0, vec!["row-missing"]), "{what}");
        roster.apply(&replayed);
        let torn = roster.plan(torn(&less));
        assert_eq!((torn.counts.changed, codes(&torn).contains(&"key-dangling")), (0, false), "{what}");
        roster.apply(&torn);
        assert_eq!(night(&mut roster, &less), (people, "key-dangling".to_owned(), warning), "{what}");
        assert_ne!(told(&roster, student, path), value, "{what}");
        for quiet in 0..2 {
            assert_eq!(night(&mut roster, &less), (0, String::new(), vec![]), "{what}: night {quiet}");
        }
        // Nobody's stored record is read any more because of it.
        let mut renamed = less.clone();
        renamed.row(STUDENT, 2)["StudentNumber"] = json!("other");
        let plan = plan(roster.beside(renamed.facts()), &mut Unread).unwrap();
        assert_eq!((plan.counts.changed, codes(&plan)), (1, vec![]), "{what}");
        assert_eq!(night(&mut roster, &sis), (people, String::new(), vec![]), "{what}: told again");
        assert_eq!(told(&roster, student, path), value, "{what}");
        // And once lost again, it stays for a night again.
        assert_eq!(night(&mut roster, &less), (0, "row-missing".to_owned(), partial), "{what}");
    }
}

/// Of a student who is at two campuses, what is gone at one for good says nothing of the other, nor of another year.
#[test]
fn a_row_that_is_believed_to_be_gone_is_not_another_of_the_same_student() {
    let mut sis = whole();
    sis.enroll_elsewhere();
    let mut roster = Roster::of(&sis);
    let night = |roster: &mut Roster, sis: &Sis| {
        let plan = roster.plan(sis.facts());
        roster.apply(&plan);
        (plan.counts.changed, codes(&plan).join(" "))
    };
    let less = sis.without(SPELL, 50);
    assert_eq!(night(&mut roster, &less), (0, "row-missing".to_owned()));
    assert_eq!(night(&mut roster, &less), (1, "key-dangling".to_owned()), "gone for good");
    assert_eq!(night(&mut roster, &less), (0, String::new()));
    let neither = less.without(SPELL, 1);
    assert_eq!(night(&mut roster, &neither), (0, "row-missing".to_owned()), "the one at home is missed");
    assert_eq!(told(&roster, 1, "/enrollments/0/id"), json!("1"));
}

/// As a version before noted them, which did not tell a student's rows apart.
#[test]
fn a_key_noted_without_a_place_is_no_place() {
    let sis = whole();
    let mut roster = Roster::of(&sis);
    let baseline = roster.baseline.as_mut().unwrap();
    baseline.dangling = [SPELL, ENTITY_YEAR].map(|table| (table.to_owned(), [1].into())).into();
    for table in [SPELL, ENTITY_YEAR] {
        let plan = roster.plan(sis.without(table, 1).facts());
        assert_eq!((plan.counts.changed, codes(&plan)), (0, vec!["row-missing"]), "{table}");
    }
    let less = sis.without(ENTITY_YEAR, 1);
    let mut roster = Roster::of(&sis);
    roster.apply(&roster.plan(less.facts()));
    roster.baseline.as_mut().unwrap().kept_keys.get_mut(ENTITY_YEAR).unwrap().places.clear();
    let plan = roster.plan(less.facts());
    assert_eq!((plan.counts.changed, codes(&plan)), (0, vec!["row-missing"]), "missed once more");
}

/// A person's word that what is kept is to end is heeded on the night after an upgrade, too.
#[test]
fn what_was_accepted_of_rows_noted_without_a_place_ends() {
    let sis = Sis::with_students(30);
    let less = (1..=7).fold(sis.clone(), |less, id| less.without(ENTITY_YEAR, id));
    let mut roster = Roster::of(&sis);
    roster.apply(&roster.plan(less.facts()));
    let baseline = roster.baseline.as_mut().unwrap();
    let places = std::mem::take(&mut baseline.kept_keys.get_mut(ENTITY_YEAR).unwrap().places);
    assert_eq!(places.len(), 7, "{places:?}");
    let plan = roster.plan(less.facts());
    assert_eq!((plan.counts.changed, codes(&plan)), (0, vec!["row-missing"]), "nobody has said anything");
    let name = missing::ending_name(Kind::StudentEntityYear);
    roster.baseline.as_mut().unwrap().accepted_empty.insert(name);
    let plan = roster.plan(less.facts());
    assert_eq!((plan.counts.changed, codes(&plan)), (7, vec!["key-dangling"]));
    roster.apply(&plan);
    let baseline = roster.baseline.as_ref().unwrap();
    assert!(baseline.accepted_empty.is_empty() && baseline.dangling.is_empty(), "{baseline:?}");
    assert_eq!(baseline.dangling_places[ENTITY_YEAR], places);
    let plan = roster.plan(less.facts());
    assert_eq!((plan.counts.changed, codes(&plan)), (0, vec![]));
}

/// Of whatever table nothing could be read: what it told of anybody stays.
#[test]
fn a_listing_that_could_not_be_read_changes_nobody() {
    let sis = whole();
    let roster = Roster::of(&sis);
    let tables: Vec<&str> = sis.rows.keys().copied().collect();
    for table in tables {
        let mut less = sis.clone();
        less.rows.get_mut(table).unwrap().clear();
        let mut facts = less.facts();
        let listings = &mut facts.pulls[0].board.as_mut().unwrap().listings;
        let own = (0_u32..).map(ListingNo).zip(listings).filter(|(_, listing)| listing.ask.resource == table);
        let own: Vec<ListingNo> = own.map(|(no, _)| no).collect();
        for page in facts.pages.iter_mut().filter(|page| own.contains(&page.listing)) {
            page.error = Some("not the answer that was asked for".to_owned());
        }
        let plan = roster.plan(facts);
        let counts = (plan.counts.changed, plan.counts.removed, plan.counts.added);
        assert_eq!(counts, (0, 0, 0), "{table}: {:?}", plan.verdict);
    }
}

/// A pull of which a listing that statuses do not rest on failed.
fn torn(sis: &Sis) -> PlanFacts {
    let mut facts = sis.facts();
    let listings = &mut facts.pulls[0].board.as_mut().unwrap().listings;
    let emails = listings.iter_mut().find(|listing| listing.ask.resource == "Demographics/NameEmail").unwrap();
    emails.progress = Progress::Failed("status 503".to_owned());
    facts
}

/// A store that nobody may ask.
struct Unread;

impl Records for Unread {
    fn records(&mut self, ids: &[StudentId]) -> Result<Vec<Student>, StoreError> {
        panic!("{ids:?} are read")
    }

    fn staff(&mut self) -> Result<Vec<Staff>, StoreError> {
        panic!("staff are read")
    }

    fn schools(&mut self) -> Result<Vec<School>, StoreError> {
        panic!("schools are read")
    }
}

/// So much ends only where a person says so.
#[test]
fn what_much_rests_on_ends_when_a_person_says_so() {
    let name = "Enrollment/Homeroom (missing rows)";
    let mut sis = Sis::with_students(30);
    sis.add("Enrollment/Homeroom", json!({"HomeroomID": 6, "Code": "R6"}));
    let mut roster = Roster::of(&sis);
    let less = sis.without("Enrollment/Homeroom", 5);
    for night in 0..3 {
        let plan = roster.plan(less.facts());
        assert_eq!((plan.counts.changed, codes(&plan)), (0, vec!["row-missing"]), "night {night}");
        assert!(plan.findings[0].message.ends_with(&format!("--accept-empty '{name}'`")), "{:?}", plan.findings);
        roster.apply(&plan);
    }
    roster.baseline.as_mut().unwrap().accepted_empty.insert(name.to_owned());
    // The run that is planned again for it reads the same pages.
    let mut again = less.facts();
    again.run.replay_of = Some(again.run.id);
    let plan = roster.plan(again);
    assert_eq!((plan.counts.changed, codes(&plan)), (30, vec!["key-dangling"]));
    roster.apply(&plan);
    let baseline = roster.baseline.as_ref().unwrap();
    assert!(baseline.accepted_empty.is_empty(), "{baseline:?}");
    let plan = roster.plan(less.facts());
    assert_eq!((plan.counts.changed, codes(&plan)), (0, vec![]));
    roster.apply(&plan);
    // It was said of what was not there then.
    roster.apply(&roster.plan(sis.facts()));
    let plan = roster.plan(less.facts());
    assert_eq!((plan.counts.changed, codes(&plan)), (0, vec!["row-missing"]));
}

/// Many keys are much too, whoever they are of.
#[test]
fn one_key_in_ten_is_much() {
    let of = |gone: i64| {
        let sis = Sis::with_students(30);
        let mut roster = Roster::of(&sis);
        let less = (1..=gone).fold(sis, |less, id| less.without(NAME, id * 2 + 1));
        roster.apply(&roster.plan(less.facts()));
        let plan = roster.plan(less.facts());
        (plan.counts.changed, codes(&plan).join(" "))
    };
    assert_eq!(of(6), (6, "key-dangling".to_owned()));
    assert_eq!(of(7), (0, "row-missing".to_owned()));
}

/// What stays is what is missing: all else is taken over, the same night.
#[test]
fn what_else_has_changed_is_told() {
    let mut sis = whole();
    sis.withdraw(3, "2025-10-01", 92);
    let roster = Roster::of(&sis);
    let mut less = sis.without(NAME, 2).without(ZIP, 1);
    less.row(STUDENT, 1)["FirstName"] = json!("Zoe");
    less.row(ADDRESS, 2)["StreetNumber"] = json!("200");
    less.row(SPELL, 1)["EntryCodeID"] = json!(null);
    let plan = roster.plan(less.facts());
    let events = events(&plan);
    assert_eq!((events.len(), codes(&plan)), (2, vec!["row-missing", "row-missing"]));
    let [first, second] = [0, 1].map(|at| events[at].record.as_ref().unwrap());
    assert_eq!(first.person.first_name.as_deref(), Some("Zoe"));
    assert_eq!((first.birth_date, first.enrollments[0].entry_code.as_ref()), (roster.record(1).birth_date, None));
    assert_eq!(first.person.addresses, roster.record(1).person.addresses);
    // Who has moved is not put into the city of before.
    let address = &second.person.addresses[0];
    assert_eq!((address.line1.as_deref(), address.city.as_ref()), (Some("200 Elm"), None));
    // Another guardian, whose name is not there yet, is not called by the name of the one before.
    let mut other = sis.clone();
    other.row(GUARDIAN, 1)["NameIDGuardian"] = json!(77);
    let plan = roster.plan(other.facts());
    assert_eq!(self::events(&plan)[0].record.as_ref().unwrap().contacts[0].person.first_name, None);
    assert_eq!(codes(&plan), [""; 0]);
}

#[test]
fn what_was_never_stored_is_not_missed_and_a_table_that_is_empty_is_judged_as_such() {
    let sis = whole();
    let mut less = sis.without(NAME, 2);
    less.row(PHONE, 1)["PhoneTypeID"] = json!(7);
    let mut roster = Roster::of(&less);
    for night in 0..2 {
        let plan = roster.plan(less.facts());
        assert_eq!((plan.counts.unchanged, codes(&plan)), (3, vec![]), "night {night}");
        roster.apply(&plan);
    }
    roster.apply(&roster.plan(sis.facts()));
    let mut none = sis.clone();
    none.rows.insert("Enrollment/Homeroom", Vec::new());
    assert_eq!(codes(&roster.plan(none.facts())), ["listing-empty"]);
    roster.baseline.as_mut().unwrap().accepted_empty.insert("Enrollment/Homeroom".to_owned());
    let plan = roster.plan(none.facts());
    assert_eq!((plan.counts.changed, codes(&plan)), (3, vec![]));
}

#[test]
fn whoever_leaves_takes_what_is_stored_along() {
    let sis = whole();
    let roster = Roster::of(&sis);
    let mut less = sis.without("Enrollment/School", 90).without(NAME, 2);
    less.withdraw(1, "2025-10-01", 92);
    let plan = super::night(&roster, &less);
    let events = events(&plan);
    assert_eq!((events.len(), plan.counts.removed, plan.counts.unchanged), (1, 1, 2));
    let record = events[0].record.as_ref().unwrap();
    assert_eq!((record.school.as_deref(), record.birth_date.is_some()), (Some("041"), true));
}
