//! Plans over OneRoster where values are missing on whole pages, or of everybody: what is stored stays.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rollcall_proto::{
    id::{ListingNo, PageNo},
    roster::Status,
};
use rollcall_store::{
    board::{Ask, IdFilter, Progress},
    district::StaffScope,
    run::FindingWeight,
};
use serde_json::json;

use super::{
    oneroster_tests::{Campus, SCHOOL, guardian, role, student},
    *,
};
use crate::testing;

fn found<'p>(plan: &'p NewPlan, code: &str) -> Vec<&'p str> {
    let of_code = plan.findings.iter().filter(|finding| finding.code == code);
    of_code.map(|finding| finding.message.split_once(": ").unwrap().0).collect()
}

/// Eight students with a guardian each, two people a page, of whom each has a state id and the students' listing comes first.
fn families() -> Campus {
    let ids = ["A", "B", "C", "D", "E", "F", "G", "H"];
    let students = ids.map(|id| {
        let mut row = student(id, "2025-08-13", None);
        row["middleName"] = json!("M");
        row["sms"] = json!("515");
        row["userIds"] =
            json!([{"type": "stateID", "identifier": format!("TX{id}")}, {"type": "other", "identifier": "9"}]);
        row["agents"] = json!([{"sourcedId": format!("P{id}")}]);
        row
    });
    let guardians = ids.map(|id| {
        let mut row = guardian(&format!("P{id}"));
        (row["phone"], row["email"], row["middleName"]) = (json!("514"), json!("eva@example.org"), json!("M"));
        row
    });
    let mut campus = Campus::of(students.into_iter().chain(guardians).collect());
    let described = |id: &str| json!({"sourcedId": id, "birthDate": "2014-02-03", "sex": "female"});
    campus.demographics = ids.map(described).to_vec();
    campus.page_size = 2;
    campus
}

/// Where a field is on what people have, and what a run calls it where students lose it, and where guardians do.
const FIELDS: [(&str, Option<&str>, Option<&str>); 10] = [
    ("givenName", Some("users/students.givenName"), Some("users/guardians.givenName")),
    ("middleName", Some("users/students.middleName"), Some("users/guardians.middleName")),
    ("familyName", Some("users/students.familyName"), Some("users/guardians.familyName")),
    ("email", Some("users/students.email"), Some("users/guardians.email")),
    ("phone", Some("users/students.phone"), Some("users/guardians.phone")),
    ("sms", Some("users/students.sms"), Some("users/guardians.sms")),
    ("identifier", Some("users.identifier"), None),
    ("grades", Some("users.grades"), None),
    ("userIds", Some("users.stateId"), None),
    ("agents", Some("users/students.agents"), None),
];

/// Takes a field from the users at these places.
fn take(campus: &mut Campus, field: &str, places: std::ops::Range<usize>) {
    for user in &mut campus.users[places] {
        user.as_object_mut().unwrap().remove(field);
    }
}

/// "Data to Share" is changed while a listing is under way: some pages have the field, others do not.
#[test]
fn a_field_switched_off_or_on_while_it_is_listed_stays_as_it_is_stored() {
    let mut campus = families();
    campus.night();
    assert_eq!(found(&campus.plan(), completeness::THINNED), [""; 0], "an ordinary night");
    for (field, of_students, of_guardians) in FIELDS {
        for (name, pages) in [(of_students, [4..8, 0..4, 2..6]), (of_guardians, [12..16, 8..12, 10..14])] {
            let Some(name) = name else { continue };
            for places in pages {
                let mut poorer = campus.clone();
                take(&mut poorer, field, places.clone());
                let plan = poorer.plan();
                assert_eq!((plan.counts.unchanged, plan.counts.changed), (8, 0), "{name} {places:?}");
                assert_eq!(found(&plan, completeness::THINNED), [name], "{places:?}");
                assert!(plan.findings.iter().all(|finding| finding.weight == FindingWeight::Partial));
                assert_eq!(plan.baselines[0].1.base, None, "nothing is laid over such a night");
                assert_eq!(plan.baselines[0].1.thinned, BTreeMap::from([(name.to_owned(), 4)]), "{places:?}");
            }
        }
    }
    for (field, name) in [("birthDate", "demographics.birthDate"), ("sex", "demographics.sex")] {
        let mut poorer = campus.clone();
        for row in &mut poorer.demographics[4..] {
            row.as_object_mut().unwrap().remove(field);
        }
        let plan = poorer.plan();
        assert_eq!((plan.counts.unchanged, found(&plan, completeness::THINNED)), (8, vec![name]));
    }
}

/// Who is not listed has left where the listings that say who is there are whole: another one may fail for ever.
#[test]
fn a_pull_tells_of_staff_where_the_listings_of_them_are_whole() {
    let whole = || Completeness { complete: true, essentials_whole: true, ..Completeness::default() };
    let one = |name: &str| BTreeSet::from([name.to_owned()]);
    let failed = |name: &str| Completeness { complete: false, failed_supporting: one(name), ..whole() };
    let empty = |name: &str| Completeness { empty_supporting: one(name), ..whole() };
    for (judged, expected) in [
        (whole(), true),
        (Completeness::default(), false),
        (Completeness { complete: true, ..Completeness::default() }, false),
        (failed("demographics"), true),
        (failed("Demographics/NamePhone"), true),
        (failed("Staff/Staff"), false),
        (failed("Staff/StaffEntityYear"), false),
        (empty("users/guardians"), true),
        (empty("Demographics/NamePhone"), true),
        (empty("users/staff.email"), true),
        (empty("users/staff"), false),
        (empty("Staff/Staff"), false),
        (empty("Staff/StaffEntityYear"), false),
    ] {
        assert_eq!(judged.tells_of_staff(), expected, "{judged:?}");
    }
}

/// A row that is marked as deleted has no value, whatever still stands in it.
#[test]
fn values_of_rows_that_are_all_marked_as_deleted_are_nobodys() {
    let mut campus = families();
    campus.night();
    for row in &mut campus.demographics {
        row["status"] = json!("tobedeleted");
    }
    let plan = campus.plan();
    assert_eq!((plan.counts.unchanged, plan.counts.changed), (8, 0), "{:?}", plan.findings);
    assert_eq!(found(&plan, "listing-empty"), ["demographics.birthDate", "demographics.sex"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever is not shared on whatever pages, all of them included: only values that a few people alone lose are ended, for
    /// these may have been the only ones on their pages.
    #[test]
    fn pages_without_fields_empty_a_few_peoples_at_most(
        fields in prop::collection::vec((0..FIELDS.len(), 0_u32..1 << 16), 1..4), page_size in 1_usize..6,
    ) {
        let mut campus = families();
        campus.page_size = page_size;
        campus.night();
        let mut taken: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        for (field, pages) in fields {
            for (number, page) in campus.users.chunks_mut(page_size).enumerate() {
                if pages >> number & 1 == 1 {
                    for user in page.iter_mut() {
                        user.as_object_mut().unwrap().remove(FIELDS[field].0);
                    }
                    taken.entry(field).or_default().extend((number * page_size..).take(page.len()));
                }
            }
        }
        let few = taken.iter().flat_map(|(field, people)| {
            let of = |from: usize| people.range(from..from + 8).map(|person| person % 8).collect::<Vec<_>>();
            let groups = [FIELDS[*field].1.map(|_| of(0)), FIELDS[*field].2.map(|_| of(8))];
            groups.into_iter().flatten().filter(|people| people.len() <= 3).flatten()
        });
        let few = few.collect::<BTreeSet<usize>>().len() as i64;
        let plan = campus.plan();
        // A guardian whose link is kept stays as stored, and one whose link has gone is not there to lose anything, so that
        // fewer than four may be left of others.
        let links = taken.keys().any(|field| FIELDS[*field].0 == "agents");
        let changed = if links { 0..=few + 3 * taken.len() as i64 } else { few..=few };
        prop_assert!(changed.contains(&plan.counts.changed), "{changed:?} {:?} {:?}", plan.counts, plan.findings);
        prop_assert_eq!(plan.counts.changed + plan.counts.unchanged, 8);
    }
}

/// Links may be told from the guardian's side alone.
#[test]
fn links_that_whole_pages_of_guardians_lack_stay() {
    let mut campus = families();
    for place in 0..8 {
        let id = campus.users[place]["sourcedId"].clone();
        campus.users[place]["agents"] = json!([]);
        campus.users[place + 8]["agents"] = json!([{ "sourcedId": id }]);
    }
    campus.night();
    take(&mut campus, "agents", 12..16);
    let plan = campus.plan();
    assert_eq!((plan.counts.unchanged, found(&plan, completeness::THINNED)), (8, vec!["users/guardians.agents"]));
}

/// What is cleared in the SIS beside somebody who has it is cleared, and what nobody had is no loss.
#[test]
fn what_is_cleared_on_a_page_that_shows_the_field_is_cleared() {
    let mut campus = families();
    take(&mut campus, "sms", 4..8);
    campus.night();
    let plan = campus.plan();
    assert_eq!((plan.counts.unchanged, found(&plan, completeness::THINNED)), (8, vec![]), "nobody there ever had one");
    take(&mut campus, "email", 4..5);
    let plan = campus.plan();
    assert_eq!((plan.counts.changed, found(&plan, completeness::THINNED)), (1, vec![]));
    assert!(testing::events(&plan)[0].record.as_ref().unwrap().person.emails.is_empty());
}

/// The only ones of a page who had something may have it no more: of so few it is believed the same night.
#[test]
fn few_are_believed_at_once_and_many_at_a_persons_word() {
    let mut campus = families();
    campus.night();
    let mut few = campus.clone();
    take(&mut few, "email", 4..7);
    few.users[7]["email"] = json!("new@example.org");
    let plan = few.plan();
    assert_eq!((plan.counts.changed, found(&plan, completeness::THINNED)), (4, vec![]));
    let mails = testing::events(&plan).into_iter().map(|event| event.record.unwrap().person.emails.len());
    assert_eq!(mails.collect::<Vec<_>>(), [0, 0, 0, 1], "as it is in the SIS");
    assert_eq!(plan.baselines[0].1.thinned, BTreeMap::new());

    let mut many = campus.clone();
    take(&mut many, "email", 4..8);
    for _ in 0..3 {
        assert!(many.night().is_empty());
    }
    many.baseline.as_mut().unwrap().accepted_empty.insert("users/students.email".to_owned());
    let plan = many.plan();
    assert_eq!((plan.counts.changed, found(&plan, completeness::THINNED)), (4, vec![]));
    assert!(plan.baselines[0].1.accepted_empty.is_empty(), "others have it: the word was for this once");
}

/// Four students, one guardian: who loses a number is one person.
#[test]
fn a_guardian_of_many_students_is_one_person() {
    let mut campus = families();
    for student in &mut campus.users[4..8] {
        student["agents"] = json!([{"sourcedId": "PE"}]);
    }
    campus.night();
    take(&mut campus, "phone", 12..14);
    let plan = campus.plan();
    assert_eq!((plan.counts.changed, found(&plan, completeness::THINNED)), (4, vec![]));
}

/// A kind of values that the version before did not count: nobody has one, and there is no number to hold against it.
#[test]
fn what_was_never_counted_and_nobody_has_stays() {
    let mut campus = families();
    campus.night();
    let (name, before) = ("users/students.sms", campus.baseline.clone().unwrap());
    assert_eq!(before.rows.get(name), Some(&8));
    campus.baseline.as_mut().unwrap().rows.remove(name);
    take(&mut campus, "sms", 0..8);
    // Guardians have one, so that nothing wider says it.
    campus.users[8]["sms"] = json!("516");
    for _ in 0..2 {
        let plan = campus.plan();
        assert_eq!(
            (plan.counts.changed, found(&plan, completeness::THINNED)),
            (1, vec![name]),
            "the guardian's number"
        );
        let said = plan.findings.iter().find(|finding| finding.code == completeness::THINNED).unwrap();
        for part in ["8 people", "asks for everything, never for changes alone", "--accept-empty users/students.sms"] {
            assert!(said.message.contains(part), "what it costs, and what to do: {}", said.message);
        }
        let baseline = &plan.baselines[0].1;
        assert_eq!((baseline.rows.get(name), baseline.thinned.get(name), &baseline.base), (None, Some(&8), &None));
        campus.baseline = Some(baseline.clone());
    }
    campus.baseline.as_mut().unwrap().accepted_empty.insert(name.to_owned());
    let plan = campus.plan();
    assert_eq!((plan.counts.changed, found(&plan, completeness::THINNED)), (8, vec![]));
    assert_eq!(plan.baselines[0].1.rows.get(name), Some(&0), "known from now on to be none");
}

/// The page that could not be read may hold whoever has one.
#[test]
fn that_nobody_has_one_is_not_said_where_a_page_could_not_be_read() {
    let mut campus = families();
    campus.night();
    campus.baseline.as_mut().unwrap().rows.remove("users/students.sms");
    take(&mut campus, "sms", 0..8);
    take(&mut campus, "grades", 0..8);
    let torn = |resource: u32| {
        let mut facts = campus.facts();
        let last = facts.pages.iter_mut().rfind(|page| page.listing == ListingNo(resource)).unwrap();
        (last.rows, last.error) = (0, Some("not the answer that was asked for".to_owned()));
        let place = (last.listing, last.page);
        facts.pulls[0].fragments.retain(|page| (page.listing, page.page) != place);
        plan_of(facts, &campus)
    };
    let said = |plan: &NewPlan| (found(plan, completeness::THINNED).len(), found(plan, "listing-empty").len());
    assert_eq!(said(&campus.plan()), (1, 1));
    let (of_users, of_demographics) = (torn(0), torn(1));
    assert_eq!(said(&of_users), (0, 0), "{:?}", of_users.findings);
    assert_eq!(said(&of_demographics), (1, 1), "{:?}", of_demographics.findings);
    for plan in [of_users, of_demographics] {
        assert_eq!((plan.counts.changed, found(&plan, "page-undecoded").len()), (0, 1), "what is stored stays");
    }
}

/// Nor is it believed of a few, whom nothing tells from a field that was switched off.
#[test]
fn what_was_never_counted_and_nobody_has_stays_of_a_few_too() {
    let mut campus = families();
    take(&mut campus, "sms", 2..8);
    campus.night();
    campus.baseline.as_mut().unwrap().rows.remove("users/students.sms");
    take(&mut campus, "sms", 0..2);
    let plan = campus.plan();
    assert_eq!((plan.counts.changed, found(&plan, completeness::THINNED)), (0, vec!["users/students.sms"]));
}

/// The state's ids vanish while other ids stay, or with the metadata that they are in.
#[test]
fn state_ids_that_nobody_has_any_more_stay() {
    let mut campus = families();
    campus.night();
    for user in &mut campus.users[..8] {
        user["userIds"] = json!([{"type": "other", "identifier": "9"}]);
    }
    let plan = campus.plan();
    assert_eq!((plan.counts.unchanged, found(&plan, "listing-empty")), (8, vec!["users.stateId"]));

    let mut campus = families();
    let reads = |campus: &Campus| {
        let mut facts = campus.facts();
        facts.district.connections[0].state_id_from = Some("metadata.ssid".to_owned());
        facts
    };
    for (place, user) in campus.users.iter_mut().enumerate().take(8) {
        user["metadata"] = json!({"ssid": format!("S{place}"), "room": "7"});
    }
    let first = plan_of(reads(&campus), &campus);
    let events = testing::events(&first);
    assert_eq!(events[0].record.as_ref().unwrap().state_id.as_deref(), Some("S0"));
    for event in events {
        let (id, connection, status) = (event.student_id.clone(), 0, event.to);
        let stored = StoredStudent { id, connection, status, fingerprint: event.fingerprint };
        campus.stored.insert(event.student_id, (stored, *event.record.unwrap()));
    }
    campus.baseline = Some(first.baselines[0].1.clone());
    for user in &mut campus.users[..8] {
        user["metadata"] = json!({"room": "7"});
    }
    let second = plan_of(reads(&campus), &campus);
    assert_eq!((second.counts.unchanged, found(&second, "listing-empty")), (8, vec!["users.stateId"]));
}

pub(super) fn plan_of(facts: PlanFacts, campus: &Campus) -> NewPlan {
    plan(facts, &mut campus.clone()).unwrap()
}

/// Who signs in by an e-mail address would not any more.
#[test]
fn what_nobody_of_the_staff_has_any_more_stays() {
    let mut campus = families();
    let teacher = |id: &str| {
        json!({"sourcedId": id, "givenName": "Ida", "middleName": "M", "familyName": "Ek", "email": "ida@example.org",
            "phone": "512", "sms": "513", "identifier": "77",
            "roles": [{"roleType": "primary", "role": "teacher", "org": {"sourcedId": SCHOOL}}]})
    };
    campus.users.extend(["T1", "T2", "T3", "T4", "T5", "T6", "T7", "T8"].map(teacher));
    campus.staff_scope = StaffScope::Active;
    campus.night();
    let stored = campus.staff.clone();
    assert_eq!(stored.len(), 8);
    for field in ["givenName", "middleName", "familyName", "email", "phone", "sms", "identifier"] {
        let mut halved = campus.clone();
        take(&mut halved, field, 20..24);
        let plan = halved.plan();
        assert_eq!(
            (&plan.staff, found(&plan, completeness::THINNED)),
            (&stored, vec![&*format!("users/staff.{field}")])
        );
        take(&mut halved, field, 16..20);
        let plan = halved.plan();
        assert_eq!((&plan.staff, found(&plan, "listing-empty")), (&stored, vec![&*format!("users/staff.{field}")]));
        assert!(plan.staff_whole, "a value that nobody has says nothing of who has left");
    }
    // The last few of whom each may go.
    let mut rare = campus.clone();
    take(&mut rare, "middleName", 16..21);
    rare.night();
    take(&mut rare, "middleName", 21..24);
    let plan = rare.plan();
    assert_eq!(found(&plan, "listing-empty"), [""; 0]);
    assert!(plan.staff.iter().all(|member| member.person.middle_name.is_none()));
    // Staff who are not wanted any more are no loss.
    campus.staff_scope = StaffScope::None;
    let plan = campus.plan();
    assert_eq!((plan.findings.as_slice(), plan.staff.as_slice()), (&[][..], &[][..]));
}

/// A second look is judged by nobody, and may come after a field was switched off.
#[test]
fn what_a_second_look_does_not_show_is_told_by_the_pull() {
    let mut campus = families();
    campus.night();
    campus.users[0]["roles"] = json!([role("student", (SCHOOL, true, "2025-08-13", Some("2025-10-01")))]);
    let first = campus.plan();
    let Verdict::Recheck(candidates) = &first.verdict else { panic!("{:?}", first.verdict) };
    let mut facts = campus.facts();
    let mut row = campus.users[0].clone();
    row.as_object_mut().unwrap().remove("email");
    let board = facts.pulls[0].board.as_mut().unwrap();
    let listing = ListingNo(board.listings.len() as u32);
    let ids = IdFilter { field: "sourcedId".to_owned(), ids: vec!["A".to_owned()] };
    assert!(board.add_recheck(vec![Ask { resource: "users".to_owned(), ids: Some(ids), ..Ask::default() }]));
    let told = board.listings.last_mut().unwrap();
    (told.last_page, told.progress) = (Some(1), Progress::Fetched);
    let (page, fragment) =
        testing::collected(SisKind::OneRoster, "users", (listing, PageNo(1)), &json!({ "users": [row] }));
    facts.pages.push(page);
    facts.pulls[0].fragments.push(fragment);
    facts.candidates = Some((Candidates::decode(candidates).unwrap(), false));
    let events = testing::events(&plan_of(facts, &campus));
    let record = events[0].record.as_ref().unwrap();
    assert_eq!((events[0].to, record.person.emails.len()), (Status::Inactive, 1));
}
