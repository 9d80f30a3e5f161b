//! Plans over OneRoster: schools, staff, guardians, ids, and people under other ids.
#![allow(clippy::unwrap_used)]

use rollcall_proto::{
    id::{ConnectionNo, StudentId},
    message::Fingerprint,
    roster::{Contact, Enrollment, Rule, School, Staff, Status, Student},
};
use rollcall_store::{board::Progress, district::StaffScope, run::FindingWeight};
use serde_json::{Value, json};

use super::{
    ids::said_of,
    oneroster_tests::{Campus, DISTRICT, SCHOOL, day, guardian, remembered, role, student},
    thinned_tests::plan_of,
    *,
};
use crate::{
    assemble::oneroster::{Rekeyed, Unlinked},
    testing,
};

fn records(plan: &NewPlan) -> Vec<Student> {
    testing::events(plan).into_iter().filter_map(|event| event.record.map(|record| *record)).collect()
}

fn record(campus: &Campus) -> Student {
    records(&campus.plan()).remove(0)
}

/// A user by one role, and more.
fn user(id: &str, word: &str, extra: &Value) -> Value {
    let mut row = json!({"sourcedId": id, "familyName": "Ek",
        "roles": [{"roleType": "primary", "role": word, "org": {"sourcedId": SCHOOL}}]});
    row.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    row
}

#[test]
fn schools_are_the_orgs_of_that_type_by_code() {
    let org = |id: &str, kind: &str, code: Option<&str>, name: Option<&str>, status: &str| json!({"sourcedId": id, "type": kind, "identifier": code, "name": name, "status": status});
    let mut campus = Campus::of(vec![student("A", "2025-08-13", None)]);
    campus.orgs = vec![
        org("S3", "school", Some("090"), Some("Pine"), "active"),
        org(SCHOOL, "School", Some("041"), Some("Oak"), "active"),
        org("S4", "school", None, None, "active"),
        // Two with one code are one school; those that are gone, and what is none, are not listed.
        org("S5", "school", Some("090"), Some("Elm"), "active"),
        org("S6", "school", Some("066"), Some("Fir"), "tobedeleted"),
        org("S7", "school", Some("067"), Some("Yew"), "Inactive"),
        org(DISTRICT, "district", Some("D"), Some("Lone Star"), "active"),
        org("X1", "ext:campus", Some("X"), Some("North"), "active"),
    ];
    let schools: Vec<(String, Option<String>)> =
        campus.plan().schools.into_iter().map(|School { code, name, .. }| (code, name)).collect();
    let named = |code: &str, name: Option<&str>| (code.to_owned(), name.map(str::to_owned));
    assert_eq!(schools, [named("041", Some("Oak")), named("090", Some("Elm")), named("S4", None)]);
}

/// An org that is gone has no code any more; its students are told by its id.
#[test]
fn the_school_of_a_role_is_told_by_its_org_as_far_as_there_is_one() {
    for (status, expected) in [("active", "041"), ("tobedeleted", SCHOOL)] {
        let mut campus = Campus::of(vec![student("A", "2025-08-13", None)]);
        campus.orgs[0]["status"] = json!(status);
        assert_eq!(record(&campus).school.as_deref(), Some(expected), "{status}");
    }
}

#[test]
fn staff_are_listed_once_by_id_as_the_connection_wants() {
    let at = |org: &str| json!({"roleType": "primary", "role": "teacher", "org": {"sourcedId": org}});
    let twice = user(
        "T2",
        "teacher",
        &json!({"roles": [at("S2"), at(SCHOOL), at("S2"), at("")], "identifier": "77",
        "givenName": "Ida", "email": "ida@example.org"}),
    );
    let mut again = twice.clone();
    again["identifier"] = json!("78");
    let users = vec![
        student("A", "2025-08-13", None),
        guardian("G1"),
        user("T9", "administrator", &json!({})),
        twice,
        user("T1", "ext:coach", &json!({})),
        again,
        user("T3", "teacher", &json!({"status": "tobedeleted"})),
    ];
    let mut campus = Campus::of(users);
    let staff = |campus: &mut Campus, scope| {
        campus.staff_scope = scope;
        campus.plan().staff
    };
    let ids = |staff: &[Staff]| staff.iter().map(|member| member.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&staff(&mut campus, StaffScope::None)), [""; 0]);
    let teachers = staff(&mut campus, StaffScope::Teachers);
    assert_eq!(ids(&teachers), ["T2"]);
    let member = &teachers[0];
    assert_eq!((member.teacher, member.number.as_deref()), (true, Some("78")), "of two rows the later counts");
    assert_eq!(member.entities, [SCHOOL, "S2"]);
    assert_eq!((member.person.first_name.as_deref(), member.person.emails.len()), (Some("Ida"), 1));
    let active = staff(&mut campus, StaffScope::Active);
    assert_eq!(ids(&active), ["T1", "T2", "T9"], "Campus words roles as it likes, extensions too");
    assert!(!active[0].teacher);
}

/// Neither demographics that fail nor guardians who are not shared say anything of who works here.
#[test]
fn staff_leave_whatever_else_is_not_told() {
    let teacher = |id: &str| user(id, "teacher", &json!({"familyName": "Ek"}));
    let mut campus = Campus::of(vec![student("A", "2025-08-13", None), guardian("G1"), teacher("T1"), teacher("T2")]);
    campus.staff_scope = StaffScope::Active;
    campus.night();
    campus.users.retain(|user| user["sourcedId"] != "T2");
    let mut facts = campus.facts();
    facts.pulls[0].board.as_mut().unwrap().listings[1].progress = Progress::Failed("status 500".to_owned());
    let plan = plan(facts, &mut campus.clone()).unwrap();
    assert_eq!((plan.staff_whole_of, plan.staff.len(), plan.counts.unchanged), (vec![0], 1, 1), "{:?}", plan.findings);
    assert!(plan.findings.iter().any(|finding| finding.message.starts_with("demographics: could not be fetched")));
    campus.users.retain(|user| user["sourcedId"] != "G1");
    let plan = campus.plan();
    assert_eq!((plan.staff_whole_of, plan.staff.len(), plan.counts.unchanged), (vec![0], 1, 1), "{:?}", plan.findings);
    assert!(plan.findings.iter().any(|finding| finding.message.starts_with("users/guardians: empty")));
    campus.users.retain(|user| user["sourcedId"] != "T1");
    let plan = campus.plan();
    assert_eq!((plan.staff_whole_of, plan.staff.len()), (Vec::new(), 0), "nobody of the staff is shown at all");
}

fn contacts(campus: &Campus) -> Vec<(String, Option<String>)> {
    let told = |contact: Contact| (contact.id, contact.relationship);
    record(campus).contacts.into_iter().map(told).collect()
}

#[test]
fn guardians_are_whoever_is_named_from_either_side_once() {
    let named = |id: &str| json!({"sourcedId": id});
    let mut child = student("A", "2025-08-13", None);
    child["agents"] = json!([named("G1"), named("G2"), named("G2"), named("T1"), named("G4"), named("G5")]);
    let names_a = json!({"agents": [named("A")]});
    let users = vec![
        child,
        user("G1", "parent", &names_a),
        user("G2", "Relative", &json!({})),
        // Named and no guardian; marked as deleted; from their own side; no guardian, from a side of its own.
        user("T1", "teacher", &json!({})),
        user("G4", "guardian", &json!({"status": "tobedeleted"})),
        user("G3", "guardian", &names_a),
        user("T2", "teacher", &names_a),
        user("G6", "guardian", &json!({"agents": [named("A")], "status": "inactive"})),
        user("G7", "guardian", &json!({"agents": [named("B")]})),
    ];
    let campus = Campus::of(users);
    let all = record(&campus).contacts;
    assert!(all.iter().all(|contact| contact.person.name_id == contact.id), "whose values are kept is told by it");
    let told = contacts(&campus);
    let word = |id: &str, word: Option<&str>| (id.to_owned(), word.map(str::to_owned));
    let mut expected =
        vec![word("G1", Some("parent")), word("G2", Some("Relative")), word("G3", Some("guardian")), word("G5", None)];
    expected.sort();
    let mut told = told;
    told.sort();
    assert_eq!(told, expected, "G5 is named and not shown: a contact without a name");
}

/// Where a source tells of somebody twice, the later row counts, whoever looks the person up.
#[test]
fn of_rows_with_one_id_the_last_counts() {
    let mut again = student("A", "2025-08-13", None);
    again["grades"] = json!(["10"]);
    let mut renamed = guardian("G1");
    renamed["givenName"] = json!("Ida");
    let mut campus = Campus::of(vec![student("A", "2025-08-13", None), guardian("G1"), again, renamed]);
    campus.demographics.push(json!({"sourcedId": "A", "birthDate": "2015-03-04", "sex": "other"}));
    let plan = campus.plan();
    let record = records(&plan).remove(0);
    assert_eq!((plan.counts.listed, record.grade.as_deref()), (1, Some("10")));
    assert_eq!((record.birth_date, record.gender.as_deref()), (Some(day("2015-03-04")), Some("X")));
    assert_eq!(record.contacts[0].person.first_name.as_deref(), Some("Ida"));
    let said = plan.findings.iter().any(|finding| finding.code == "duplicate-student");
    assert!(said, "{:?}", plan.findings);
    // Alike is no matter.
    let campus = Campus::of(vec![student("A", "2025-08-13", None), student("A", "2025-08-13", None)]);
    assert!(campus.plan().findings.is_empty());
}

#[test]
fn demographics_marked_as_deleted_tell_nothing() {
    let mut campus = Campus::of(vec![student("A", "2025-08-13", None)]);
    campus.demographics[0]["status"] = json!("tobedeleted");
    let record = record(&campus);
    assert_eq!((record.birth_date, record.gender), (None, None));
}

/// A row that slips while the listing is walked tells nothing: what is stored stays, is said, and ends where the next pull does not
/// show it either.
#[test]
fn demographics_that_are_on_no_page_stay_for_a_night() {
    let mut campus =
        Campus::of(vec![student("A", "2025-08-13", None), student("B", "2025-08-13", None), guardian("G1")]);
    campus.demographics.push(json!({"sourcedId": "B", "birthDate": "2015-03-04", "sex": "male"}));
    campus.night();
    campus.demographics.retain(|row| row["sourcedId"] != "A");
    let plan = campus.plan();
    assert_eq!((plan.counts.unchanged, plan.counts.changed), (2, 0), "{:?}", plan.findings);
    let [missing] = plan.findings.as_slice() else { panic!("{:?}", plan.findings) };
    assert_eq!((missing.code.as_str(), missing.weight, missing.count), ("row-missing", FindingWeight::Partial, 1));
    assert!(missing.message.contains("not listed (1 of them)"), "{}", missing.message);
    // A name that changes does not take them with it.
    campus.users[0]["givenName"] = json!("Eve");
    let events = campus.night();
    let record = events[0].record.as_ref().unwrap();
    assert_eq!((events.len(), record.birth_date, record.gender.as_deref()), (1, Some(day("2014-02-03")), Some("F")));
    let codes = |plan: &NewPlan| plan.findings.iter().map(|finding| finding.code.clone()).collect::<Vec<_>>();
    assert_eq!(codes(&campus.plan()), ["key-dangling"]);
    let events = campus.night();
    let record = events[0].record.as_ref().unwrap();
    assert_eq!((events.len(), record.birth_date, record.gender.as_deref()), (1, None, None));
    assert_eq!((campus.counts().unchanged, codes(&campus.plan())), (2, Vec::new()), "said once");
}

#[test]
fn demographics_of_which_one_value_is_stored_stay_as_well() {
    for value in [json!({"birthDate": "2014-02-03"}), json!({"sex": "female"})] {
        let mut campus = Campus::of(vec![student("A", "2025-08-13", None), student("B", "2025-08-13", None)]);
        campus.demographics = ["A", "B"]
            .map(|id| {
                let mut row = value.clone();
                row["sourcedId"] = json!(id);
                row
            })
            .to_vec();
        campus.night();
        campus.demographics.remove(0);
        let plan = campus.plan();
        let said = plan.findings.iter().find(|finding| finding.code == "row-missing").map(|finding| finding.count);
        assert_eq!((said, plan.counts.changed), (Some(1), 0), "{value}: {:?}", plan.findings);
    }
}

#[test]
fn sexes_are_written_as_codes() {
    for (sex, code) in [("male", "M"), ("female", "F"), ("unspecified", "U"), ("other", "X"), ("ext:x", "ext:x")] {
        let mut campus = Campus::of(vec![student("A", "2025-08-13", None)]);
        campus.demographics[0]["sex"] = json!(sex);
        assert_eq!(record(&campus).gender.as_deref(), Some(code));
    }
}

#[test]
fn a_person_is_reached_by_one_address_and_two_numbers() {
    let mut child = student("A", "2025-08-13", None);
    child["sms"] = json!("513");
    let person = record(&Campus::of(vec![child])).person;
    let numbers: Vec<_> =
        person.phones.iter().map(|phone| (phone.id.as_str(), phone.rank, phone.number.as_str())).collect();
    assert_eq!(numbers, [("phone", 1, "512"), ("sms", 2, "513")]);
    assert_eq!((person.emails[0].rank, person.emails[0].address.as_str()), (1, "ada@students.example"));
    assert_eq!(
        [person.first_name, person.middle_name, person.last_name].map(Option::unwrap_or_default),
        ["Ada", "", "Li"]
    );
}

#[test]
fn the_states_id_is_where_the_district_says() {
    let mut child = student("A", "2025-08-13", None);
    child["userIds"] = json!([{"type": "other", "identifier": "1"}, {"type": "STATEID", "identifier": "TX1"},
        {"type": "ssid", "identifier": "S1"}]);
    child["metadata"] = json!({"ssid": "M1", "stateID": "M2"});
    let campus = Campus::of(vec![child]);
    for (from, expected) in [
        (None, Some("TX1")),
        (Some("ssid"), Some("S1")),
        (Some("metadata.ssid"), Some("M1")),
        (Some("metadata.stateid"), Some("M2")),
        (Some("metadata.other"), None),
        (Some("none"), None),
    ] {
        let mut facts = campus.facts();
        facts.district.connections[0].state_id_from = from.map(str::to_owned);
        assert_eq!(records(&plan_of(facts, &campus))[0].state_id.as_deref(), expected, "{from:?}");
    }
}

/// Extensions of the standard's words are words like any other (wire page 1.3).
#[test]
fn an_extended_role_makes_no_student_and_no_guardian() {
    let campus = Campus::of(vec![
        student("A", "2025-08-13", None),
        user("E1", "ext:student", &json!({})),
        user("E2", "ext:guardian", &json!({"agents": [{"sourcedId": "A"}]})),
    ]);
    assert_eq!(campus.counts().listed, 1);
    assert_eq!(contacts(&campus), [("G1".to_owned(), None)]);
    // One beside the role that counts changes nothing.
    let mut child = student("A", "2025-08-13", None);
    child["roles"].as_array_mut().unwrap().push(role("ext:athlete", (SCHOOL, false, "2025-08-13", None)));
    let campus = Campus::of(vec![child]);
    assert_eq!((campus.counts().listed, record(&campus).enrollments.len()), (1, 1));
}

#[test]
fn an_extended_role_makes_no_staff_of_families() {
    let also = |id: &str, words: &[&str]| {
        let mut row = user(id, words[0], &json!({}));
        for word in &words[1..] {
            row["roles"].as_array_mut().unwrap().push(role(word, (SCHOOL, false, "2024-08-01", None)));
        }
        row
    };
    let mut campus = Campus::of(vec![
        student("A", "2025-08-13", None),
        also("E1", &["ext:student"]),
        also("E2", &["ext:Guardian"]),
        also("E3", &["ext:emergencyContact"]),
        also("E4", &["student", "ext:athlete"]),
        also("E5", &["parent", "ext:volunteer"]),
        // By 1.1 the server's own words have no prefix.
        also("E6", &["emergencyContact"]),
        also("E7", &["studentAide"]),
        also("E8", &["ParentVolunteer"]),
        also("E9", &["guardian", "volunteer"]),
        also("F1", &["student", "aide"]),
        also("F2", &["proctor", "student"]),
        also("F3", &["student", "athlete"]),
        also("F4", &[""]),
        also("T1", &["ext:districtAdmin"]),
        also("T2", &["teacher", "parent", "ext:coach"]),
        also("T3", &["EXT:nurse"]),
        also("T4", &["nurse"]),
        also("T5", &["parent", "Aide"]),
        also("T6", &["administrator"]),
        also("T7", &["guardian", "siteAdministrator"]),
    ]);
    campus.staff_scope = StaffScope::Active;
    let staff = campus.plan().staff;
    let ids: Vec<&str> = staff.iter().map(|member| member.id.as_str()).collect();
    assert_eq!(ids, ["T1", "T2", "T3", "T4", "T5", "T6", "T7"]);
}

/// What a student helps with lets see nobody's plans, over a summer neither.
#[test]
fn no_student_is_staff() {
    let also = |id: &str, word: &str, begin: &str, end: Option<&str>| {
        let mut row = user(id, word, &json!({}));
        row["roles"].as_array_mut().unwrap().push(role("student", (SCHOOL, false, begin, end)));
        row
    };
    let mut campus = Campus::of(vec![
        student("A", "2025-08-13", None),
        also("E1", "teacher", "2025-08-13", None),
        also("E2", "aide", "2024-08-14", Some("2025-06-01")),
        also("E3", "proctor", "2026-08-13", None),
        also("E4", "aide", "soon", Some("some day")),
        also("E5", "nurse", "2024-08-14", Some("2024-11-04")),
        also("T1", "aide", "2010-08-01", Some("2024-11-03")),
        also("T2", "nurse", "2010-08-01", Some("2024-11-03")),
    ]);
    let ids = |campus: &mut Campus| campus.plan().staff.into_iter().map(|member| member.id).collect::<Vec<_>>();
    campus.staff_scope = StaffScope::Active;
    assert_eq!(ids(&mut campus), ["T1", "T2"]);
    campus.staff_scope = StaffScope::Teachers;
    assert_eq!(ids(&mut campus), Vec::<String>::new());
}

/// Beside an `ext:` role, what somebody was long ago or is to be makes no family; what a summer lies behind does.
#[test]
fn a_role_of_a_family_counts_in_its_time() {
    let also = |id: &str, word: &str, begin: &str, end: Option<&str>| {
        let mut row = user(id, "ext:counselor", &json!({}));
        row["roles"].as_array_mut().unwrap().push(role(word, (SCHOOL, false, begin, end)));
        row
    };
    let mut campus = Campus::of(vec![
        student("A", "2025-08-13", None),
        also("E1", "student", "2024-08-14", Some("2025-06-01")),
        also("E2", "guardian", "2020-08-01", None),
        also("E3", "guardian", "soon", Some("some day")),
        also("E4", "parent", "2010-08-01", Some("2024-11-04")),
        also("T1", "student", "2010-08-01", Some("2014-06-01")),
        also("T2", "guardian", "2010-08-01", Some("2024-11-03")),
        also("T3", "parent", "2025-11-04", None),
    ]);
    campus.staff_scope = StaffScope::Active;
    let plan = campus.plan();
    let ids: Vec<&str> = plan.staff.iter().map(|member| member.id.as_str()).collect();
    assert_eq!(ids, ["T1", "T2", "T3"]);
    // Whether a listing of staff was emptied does not hang upon the day: counted is whose role of a family has an end.
    assert_eq!(plan.baselines[0].1.rows["users/staff"], 4, "E1, E4, T1 and T2");
}

/// What is remembered of one student is none of another's, whose id begins alike.
#[test]
fn each_student_is_remembered_alone() {
    let old =
        Enrollment { id: "S1@2024-08-13".to_owned(), entry_date: Some(day("2024-08-13")), ..Enrollment::default() };
    let mut campus = Campus::of(["A", "AB", "B"].map(|id| student(id, "2025-11-20", None)).to_vec());
    for known in [&["AB"][..], &["B"], &["A", "B"], &["A", "AB", "B"], &[]] {
        let of = |id: &&str| remembered(id, old.clone(), Some(day("2025-07-01")));
        campus.remembered = known.iter().map(of).collect();
        let events = testing::events(&campus.plan());
        let enrolled: Vec<&str> = events
            .iter()
            .filter(|event| event.to.as_str() == "ENROLLED")
            .map(|event| event.student_id.0.as_str())
            .collect();
        assert_eq!((events.len(), enrolled), (3, known.to_vec()), "the others begin another day");
    }
}

/// 1.1 and 1.2 at once: who is moved to another id, and who is not.
#[test]
fn students_move_to_the_id_that_is_linked_and_no_other() {
    let of_11 =
        |id: &str| json!({"sourcedId": id, "role": "student", "familyName": "Li", "orgs": [{"sourcedId": SCHOOL}]});
    let mut campus = Campus::of(["s1", "s2", "s3", "s4", "s5"].map(of_11).to_vec());
    campus.night();
    campus.stored.get_mut(&StudentId("s5".to_owned())).unwrap().0.connection = 1;
    let of_12 = |id: &str, legacy: Option<i64>| {
        let mut user = student(id, "2025-08-13", None);
        user["metadata"] = json!({ "ic.legacySourceId": legacy });
        user
    };
    campus.users = vec![
        of_12("A-1", Some(1)),
        // The old one is still there; two claim one old id; another connection's; no student; linked to nothing.
        of_12("A-2", Some(2)),
        of_11("s2"),
        of_12("A-3", Some(3)),
        of_12("B-3", Some(3)),
        of_12("A-5", Some(5)),
        user("A-4", "teacher", &json!({"metadata": {"ic.legacySourceId": 4}})),
        of_12("A-6", None),
    ];
    let facts = campus.facts();
    let looks = open(&mut campus.facts().pulls).unwrap();
    let mut stored = facts.stored.clone();
    stored.sort_by(diff::by_id);
    let moved = |prefix: &str, stored: &[StoredStudent]| oneroster::rekeyed(&looks[0].first, 0, prefix, stored);
    let pair = |new: &str, old: &str| (StudentId(new.to_owned()), StudentId(old.to_owned()));
    assert_eq!(moved("", &stored).into_iter().collect::<Vec<_>>(), [pair("A-1", "s1")]);
    assert_eq!(moved("C-", &stored), Rekeyed::new(), "these are another source's");
    let mut prefixed: Vec<StoredStudent> = stored;
    for student in &mut prefixed {
        student.id.0 = format!("C-{}", student.id.0);
    }
    assert_eq!(moved("C-", &prefixed).into_iter().collect::<Vec<_>>(), [pair("C-A-1", "C-s1")]);
    assert_eq!(facts.pulls[0].pull.connection, ConnectionNo(0));
}

/// More than half of those who attend are gone, and as many are new: then they are the same, most likely.
#[test]
fn who_is_unlinked_is_counted_where_most_are() {
    let ids = |range: std::ops::Range<u32>, letter: &str| range.map(|n| format!("{letter}{n}")).collect::<Vec<_>>();
    let mut campus = Campus::of(ids(0..10, "s").iter().map(|id| student(id, "2025-08-13", None)).collect());
    campus.night();
    for (kept, new, expected) in [(4, 6, (6, 6)), (5, 6, (0, 0)), (4, 5, (0, 0)), (0, 10, (10, 10)), (0, 0, (0, 0))] {
        let listed = ids(0..kept, "s").into_iter().chain(ids(0..new, "A-"));
        campus.users = listed.map(|id| student(&id, "2025-08-13", None)).collect();
        let mut facts = campus.facts();
        let looks = open(&mut facts.pulls).unwrap();
        facts.stored.sort_by(diff::by_id);
        let of = |connection| oneroster::unlinked(&looks[0].first, connection, "", &facts.stored);
        let expected = Unlinked { lost: expected.0, new: expected.1 };
        assert_eq!((of(0), of(1)), (expected, Unlinked::default()), "{kept} of ten are listed, and {new} others");
    }
}

/// What was said of somebody is the noted source's alone. Where none was noted, and of several sources, it is the source's whose
/// prefix is the longest that the id begins with.
#[test]
fn what_was_said_is_looked_for_in_the_source_whose_it_is() {
    let mut facts = Campus::of(Vec::new()).facts();
    let ids = ["t1", "b-t2", "b-c-t3", "x-t4"];
    facts.said_of = ids.map(|id| SpokenOf { of: None, id: id.to_owned() }).to_vec();
    facts.said_of.extend(["t1", "t5"].map(|id| SpokenOf { of: Some(ConnectionNo(1)), id: id.to_owned() }));
    assert_eq!(said_of(&facts, None, "B-"), ids, "there is but one source");
    for prefix in [Some("B-"), Some("B-C-")] {
        let mut other = facts.district.connections[0].clone();
        other.id_prefix = prefix.map(str::to_owned);
        facts.district.connections.push(other);
    }
    for (prefix, own) in [("", vec!["t1", "x-t4"]), ("B-", vec!["b-t2"]), ("B-C-", vec!["b-c-t3"]), ("Y-", vec![])] {
        assert_eq!(said_of(&facts, None, prefix), own, "{prefix:?}");
    }
    assert_eq!(said_of(&facts, Some(ConnectionNo(1)), "B-"), ["t1", "t5"]);
    assert!(said_of(&facts, Some(ConnectionNo(0)), "").is_empty());
}

/// A source that failed says nothing of who is listed no more.
#[test]
fn nobody_is_counted_as_unlinked_by_a_source_that_failed() {
    let mut campus = Campus::of((0..4).map(|n| student(&format!("s{n}"), "2025-08-13", None)).collect());
    campus.night();
    campus.users = (0..4).map(|n| student(&format!("A-{n}"), "2025-08-13", None)).collect();
    let counted = |change: fn(&mut PullIn)| {
        let mut facts = campus.facts();
        let looks = open(&mut facts.pulls).unwrap();
        facts.stored.sort_by(diff::by_id);
        change(&mut facts.pulls[0]);
        unlinked(&facts, &looks)
    };
    assert_eq!(counted(|_| ()), Unlinked { lost: 4, new: 4 });
    assert_eq!(counted(|pull| pull.pull.state = PullState::Failed), Unlinked::default());
    assert_eq!(counted(|pull| pull.board = None), Unlinked::default());
}

/// One of two sources has other ids; or both have.
#[test]
fn who_is_unlinked_is_counted_of_each_source_by_itself() {
    let of = |ids: &[&str]| Campus::of(ids.iter().map(|id| student(id, "2025-08-13", None)).collect());
    let counted = |first: &[&str], second: &[&str]| {
        let mut facts = of(first).facts();
        facts.add_connection(of(second).facts(), "B-");
        let looks = open(&mut facts.pulls).unwrap();
        let ids = [(0, "s1"), (0, "s2"), (1, "B-s1"), (1, "B-s2"), (1, "B-s3")];
        let stored = ids.map(|(connection, id)| StoredStudent {
            id: StudentId(id.to_owned()),
            connection,
            status: Status::Enrolled,
            fingerprint: Fingerprint([0; 16]),
        });
        facts.stored = stored.to_vec();
        facts.stored.sort_by(diff::by_id);
        unlinked(&facts, &looks)
    };
    assert_eq!(counted(&["s1", "s2"], &["s1", "s2", "s3"]), Unlinked::default());
    assert_eq!(counted(&["s1", "s2"], &["A-1", "A-2"]), Unlinked { lost: 3, new: 2 });
    assert_eq!(counted(&["A-1", "A-2", "A-3"], &["A-1", "A-2"]), Unlinked { lost: 5, new: 5 });
}

/// Beside a school that is attended today, the district itself says nothing more.
#[test]
fn roles_are_kept_as_enrollments_with_their_dates() {
    let mut child = student("A", "2025-08-13", Some("2026-05-29"));
    let roles = child["roles"].as_array_mut().unwrap();
    roles.push(role("student", ("S2", false, "2025-09-01", None)));
    roles.push(role("student", (DISTRICT, false, "2025-09-01", None)));
    let kept = record(&Campus::of(vec![child])).enrollments;
    let told = |one: &Enrollment| (one.entity.clone(), one.entry_date, one.withdrawal_date, one.default_entity);
    let expected = [
        (SCHOOL.to_owned(), Some(day("2025-08-13")), Some(day("2026-05-29")), true),
        ("S2".to_owned(), Some(day("2025-09-01")), None, false),
    ];
    assert_eq!(kept.iter().map(told).collect::<Vec<_>>(), expected);
}

fn attended(from: &str, until: Option<&str>) -> Enrollment {
    Enrollment {
        id: format!("S9@{from}"),
        entry_date: Some(day(from)),
        withdrawal_date: until.map(day),
        school: Some("099".to_owned()),
        ..Enrollment::default()
    }
}

#[test]
fn who_left_last_from_a_school_that_is_not_listed_any_more_was_there() {
    let mut campus = Campus::of(vec![student("A", "2024-08-13", Some("2025-01-10"))]);
    campus.remembered = vec![remembered("A", attended("2025-02-01", Some("2025-05-29")), Some(day("2025-07-01")))];
    assert_eq!(record(&campus).school.as_deref(), Some("099"));
}

/// It may have lost the role that it does not show.
#[test]
fn a_torn_pull_is_no_proof_that_what_is_remembered_is_over() {
    let mut campus = Campus::of(vec![student("A", "2025-11-20", None)]);
    campus.remembered = vec![remembered("A", attended("2024-08-13", None), None)];
    let rule = |torn: bool| {
        let mut facts = campus.facts();
        if torn {
            let listings = &mut facts.pulls[0].board.as_mut().unwrap().listings;
            listings.last_mut().unwrap().progress = Progress::Failed("status 503".to_owned());
        }
        testing::events(&plan_of(facts, &campus))[0].rule
    };
    assert_eq!([false, true].map(rule), [Rule::FutureAfterPast, Rule::Current]);
}
