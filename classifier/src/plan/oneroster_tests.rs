//! Plans over OneRoster: what is remembered, what is not shared any more, and other ids for everybody.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use chrono::NaiveDate;
use rollcall_proto::{
    id::{ConnectionNo, ListingNo, PageNo, StudentId},
    message::{Change, StudentEvent},
    roster::{Enrollment, Rule, School, Staff, Status, Student},
};
use rollcall_store::{
    board::{Ask, Progress},
    district::{StaffScope, WithdrawalDateIs},
    plan::StoredStudent,
    run::{Baseline, Counts},
};
use serde_json::{Value, json};

use super::*;
use crate::testing;

pub(super) const SCHOOL: &str = "S1";
pub(super) const DISTRICT: &str = "D1";

/// A pull of OneRoster, and what a store holds.
#[derive(Debug, Clone)]
pub(super) struct Campus {
    pub(super) users: Vec<Value>,
    pub(super) demographics: Vec<Value>,
    pub(super) orgs: Vec<Value>,
    pub(super) stored: BTreeMap<StudentId, (StoredStudent, Student)>,
    pub(super) remembered: Vec<StoredEnrollment>,
    pub(super) baseline: Option<Baseline>,
    /// Staff who are stored, and which are wanted.
    pub(super) staff: Vec<Staff>,
    pub(super) staff_scope: StaffScope,
    /// Rows a page.
    pub(super) page_size: usize,
}

pub(super) fn student(id: &str, begin: &str, end: Option<&str>) -> Value {
    let org = json!({"sourcedId": SCHOOL});
    let role = json!({"roleType": "primary", "role": "student", "org": org, "beginDate": begin, "endDate": end});
    json!({"sourcedId": id, "givenName": "Ada", "familyName": "Li", "identifier": "7", "grades": ["09"], "phone": "512",
        "email": "ada@students.example", "roles": [role], "agents": [{"sourcedId": "G1"}]})
}

pub(super) fn guardian(id: &str) -> Value {
    json!({"sourcedId": id, "givenName": "Eva", "familyName": "Li", "sms": "513",
        "roles": [{"roleType": "primary", "role": "guardian", "org": {"sourcedId": SCHOOL}}]})
}

impl Campus {
    pub(super) fn of(users: Vec<Value>) -> Self {
        let demographics = vec![json!({"sourcedId": "A", "birthDate": "2014-02-03", "sex": "female"})];
        let orgs = vec![
            json!({"sourcedId": SCHOOL, "name": "Oak", "type": "school", "identifier": "041"}),
            json!({"sourcedId": DISTRICT, "name": "Lone Star", "type": "district", "identifier": "D"}),
        ];
        Self {
            users,
            demographics,
            orgs,
            stored: BTreeMap::new(),
            remembered: Vec::new(),
            baseline: None,
            staff: Vec::new(),
            staff_scope: StaffScope::None,
            page_size: 1_000,
        }
    }

    pub(super) fn facts(&self) -> PlanFacts {
        let listings = [("users", &self.users), ("demographics", &self.demographics), ("orgs", &self.orgs)];
        let asks = listings.map(|(name, _)| Ask {
            resource: name.to_owned(),
            essential: name != "demographics",
            ..Ask::default()
        });
        let mut board = Board::new(asks.to_vec(), 1);
        let (mut pages, mut fragments) = (Vec::new(), Vec::new());
        for (number, (name, rows)) in listings.into_iter().enumerate() {
            let listing = ListingNo(number as u32);
            let chunks: Vec<&[Value]> = if rows.is_empty() { vec![&[]] } else { rows.chunks(self.page_size).collect() };
            let told = &mut board.listings[number];
            (told.last_page, told.progress) = (Some(chunks.len() as u32), Progress::Fetched);
            for (page, rows) in (1..).map(PageNo).zip(chunks) {
                let body = json!({ name: rows });
                let (row, fragment) = testing::collected(SisKind::OneRoster, name, (listing, page), &body);
                pages.push(row);
                fragments.push(fragment);
            }
        }
        let discovery = Some(Discovery::default());
        let pull = Pull { connection: ConnectionNo(0), state: PullState::Fetched, discovery, reason: None };
        let baseline = self.baseline.clone();
        let remembered = self.remembered.clone();
        let mut district = testing::district();
        district.connections[0].kind = SisKind::OneRoster;
        district.connections[0].staff = self.staff_scope;
        PlanFacts {
            district,
            run: testing::run(),
            pulls: vec![PullIn { pull, board: Some(board), baseline, fragments, remembered }],
            pages,
            stored: self.stored.values().map(|(stored, _)| stored.clone()).collect(),
            staff: Vec::new(),
            said_of: Vec::new(),
            roster_version: 1,
            candidates: None,
        }
    }

    pub(super) fn plan(&self) -> NewPlan {
        plan(self.facts(), &mut self.clone()).unwrap()
    }

    /// Plans, and applies as the writer would.
    pub(super) fn night(&mut self) -> Vec<StudentEvent> {
        let plan = self.plan();
        let events = testing::events(&plan);
        for event in &events {
            let Some(record) = event.record.as_deref().cloned() else { continue };
            let stored = StoredStudent {
                id: event.student_id.clone(),
                connection: 0,
                status: event.to,
                fingerprint: event.fingerprint,
            };
            let listed =
                record.enrollments.iter().map(|enrollment| remembered(&event.student_id.0, enrollment.clone(), None));
            self.remembered.extend(listed);
            self.stored.remove(event.rekeyed_from.as_ref().unwrap_or(&event.student_id));
            self.stored.insert(event.student_id.clone(), (stored, record));
        }
        self.staff.retain(|stored| !plan.staff.iter().any(|member| member.id == stored.id));
        self.staff.extend(plan.staff);
        if let [(_, baseline)] = plan.baselines.as_slice() {
            self.baseline = Some(baseline.clone());
        }
        events
    }

    pub(super) fn counts(&self) -> Counts {
        self.plan().counts
    }
}

impl Records for Campus {
    fn records(&mut self, ids: &[StudentId]) -> Result<Vec<Student>, StoreError> {
        let asked = self.stored.iter().filter(|(id, _)| ids.contains(id));
        Ok(asked.map(|(_, (_, record))| record.clone()).collect())
    }

    fn staff(&mut self) -> Result<Vec<Staff>, StoreError> {
        Ok(self.staff.clone())
    }

    fn schools(&mut self) -> Result<Vec<School>, StoreError> {
        Ok(Vec::new())
    }
}

pub(super) fn remembered(student: &str, enrollment: Enrollment, unlisted_since: Option<NaiveDate>) -> StoredEnrollment {
    StoredEnrollment { student: StudentId(student.to_owned()), enrollment, unlisted_since }
}

pub(super) fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn decided(campus: &mut Campus) -> (Status, Rule) {
    let events = campus.night();
    assert_eq!(events.len(), 1, "{events:?}");
    (events[0].to, events[0].rule)
}

#[test]
fn a_student_is_read_whole() {
    let mut campus = Campus::of(vec![student("A", "2025-08-13", None), guardian("G1")]);
    let events = campus.night();
    let record = events[0].record.as_ref().unwrap();
    assert_eq!((record.id.0.as_str(), record.sis_id.as_deref()), ("A", Some("A")));
    assert_eq!((record.gender.as_deref(), record.birth_date), (Some("F"), Some(day("2014-02-03"))));
    assert_eq!((record.school.as_deref(), record.grade.as_deref()), (Some("041"), Some("09")));
    assert_eq!(record.enrollments[0].id, "S1@2025-08-13");
    let [contact] = record.contacts.as_slice() else { panic!("{:?}", record.contacts) };
    assert_eq!((contact.id.as_str(), contact.relationship.as_deref()), ("G1", Some("guardian")));
    assert_eq!(contact.person.phones[0].number, "513");
    assert_eq!(campus.counts().unchanged, 1, "and the next night he is the same");
}

#[test]
fn a_prefix_stands_before_students_and_is_none_of_the_source() {
    let mut campus = Campus::of(vec![student("A", "2025-08-13", None), guardian("G1")]);
    let mut facts = campus.facts();
    facts.district.connections[0].id_prefix = Some("C-".to_owned());
    let plan = plan(facts, &mut campus).unwrap();
    let events = testing::events(&plan);
    let record = events[0].record.as_ref().unwrap();
    assert_eq!((record.id.0.as_str(), record.sis_id.as_deref()), ("C-A", Some("A")));
    assert_eq!(record.birth_date, Some(day("2014-02-03")), "demographics are found by the source's id");
    assert_eq!(record.contacts[0].id, "G1");
}

/// Two sources with one numbering: entities, staff and schools of both have the same ids.
#[test]
fn staff_are_kept_apart_by_source() {
    let teacher = |name: &str| {
        let roles = [role("teacher", (SCHOOL, true, "2024-08-01", None))];
        json!({"sourcedId": "T1", "familyName": name, "roles": roles})
    };
    let of = |name: &str| Campus::of(vec![student("A", "2025-08-13", None), teacher(name)]);
    let (mut first, second) = (of("Ek"), of("Li"));
    let facts = |first: &Campus| {
        let mut facts = first.facts();
        facts.add_connection(second.facts(), "B-");
        for (connection, prefix) in facts.district.connections.iter_mut().zip(["A-", "B-"]) {
            connection.staff = StaffScope::Active;
            connection.id_prefix = Some(prefix.to_owned());
        }
        facts
    };
    let whole = facts(&first);
    let NewPlan { staff, staff_whole, staff_whole_of, .. } = plan(whole, &mut first).unwrap();
    assert_eq!((staff_whole, staff_whole_of), (true, vec![0, 1]));
    let told = |member: &Staff| (member.id.clone(), member.connection, member.person.last_name.clone().unwrap());
    let told: Vec<_> = staff.iter().map(told).collect();
    assert_eq!(told, [("A-T1".to_owned(), Some(0), "Ek".to_owned()), ("B-T1".to_owned(), Some(1), "Li".to_owned())]);
    assert!(staff.iter().all(|member| member.entities == [SCHOOL]), "entities are the source's own");
    let mut one_failed = facts(&first);
    one_failed.pulls[1].pull.state = PullState::Failed;
    one_failed.pulls[1].pull.reason = Some("token-refused".to_owned());
    let NewPlan { staff, staff_whole, staff_whole_of, .. } = plan(one_failed, &mut first).unwrap();
    assert!(staff.iter().any(|member| member.id == "A-T1"));
    assert_eq!((staff_whole, staff_whole_of), (false, vec![0]), "absence counts where a source tells");
}

#[test]
fn end_dates_are_exclusive_whatever_the_district_says_of_its_other_source() {
    let mut campus = Campus::of(vec![student("A", "2025-08-13", Some("2025-11-03"))]);
    let mut facts = campus.facts();
    facts.district.status.withdrawal_date_is = Some(WithdrawalDateIs::LastDayEnrolled);
    let event = testing::events(&plan(facts, &mut campus).unwrap()).remove(0);
    assert_eq!((event.to, event.rule), (Status::Inactive, Rule::PastOnly));
}

/// Today is 2025-11-03; end dates are exclusive.
#[test]
fn roles_are_enrollments() {
    for (begin, end, expected) in [
        ("2025-08-13", None, (Status::Enrolled, Rule::Current)),
        ("2025-08-13", Some("2025-11-04"), (Status::Enrolled, Rule::Current)),
        ("2025-08-13", Some("2025-11-03"), (Status::Inactive, Rule::PastOnly)),
        ("2025-11-03", None, (Status::Enrolled, Rule::Current)),
        ("2025-11-04", None, (Status::PreEnrolled, Rule::FutureOnly)),
    ] {
        assert_eq!(decided(&mut Campus::of(vec![student("A", begin, end)])), expected, "{begin} {end:?}");
    }
    let gone = json!({"sourcedId": "A", "status": "tobedeleted", "role": "student"});
    assert_eq!(Campus::of(vec![gone]).counts().listed, 0);
    let of_11 = json!({"sourcedId": "s1", "role": "student", "orgs": [{"sourcedId": SCHOOL}]});
    assert_eq!(decided(&mut Campus::of(vec![of_11])), (Status::Enrolled, Rule::Current));
}

/// A role by a word: `org`, whether primary, begin and end.
pub(super) fn role(word: &str, (org, primary, begin, end): (&str, bool, &str, Option<&str>)) -> Value {
    let kind = if primary { "primary" } else { "secondary" };
    json!({"roleType": kind, "role": word, "org": {"sourcedId": org}, "beginDate": begin, "endDate": end})
}

/// Today is 2025-11-03.
#[test]
fn a_role_at_the_district_counts_like_any_other() {
    let of_school = |begin, end| (SCHOOL, false, begin, end);
    let of_district = |begin, end| (DISTRICT, true, begin, end);
    for (school, district, expected) in [
        // Home instruction.
        (of_school("2025-08-13", Some("2025-10-01")), of_district("2025-10-01", None), (Rule::Current, "D")),
        (of_school("2025-11-20", None), of_district("2025-08-13", None), (Rule::Current, "D")),
        (of_school("2025-08-13", None), of_district("2025-09-01", None), (Rule::Current, "041")),
        (of_school("2025-11-20", None), of_district("2025-11-21", None), (Rule::FutureOnly, "041")),
        (of_school("2025-11-20", None), of_district("2025-08-13", Some("2025-10-01")), (Rule::FutureAfterPast, "041")),
        (
            of_school("2025-08-13", Some("2025-10-01")),
            of_district("2025-08-13", Some("2025-10-02")),
            (Rule::PastOnly, "041"),
        ),
    ] {
        let mut user = student("A", "2025-08-13", None);
        user["roles"] = json!([role("student", district), role("student", school)]);
        let events = Campus::of(vec![user]).night();
        let found = events[0].record.as_ref().unwrap().school.clone();
        assert_eq!((events[0].rule, found.as_deref()), (expected.0, Some(expected.1)), "{school:?} {district:?}");
    }
}

#[test]
fn a_role_at_the_district_that_cannot_be_read_withholds_its_student() {
    let mut user = student("A", "2025-08-13", None);
    let unreadable = role("student", (DISTRICT, false, "soon", None));
    user["roles"].as_array_mut().unwrap().push(unreadable);
    let counts = Campus::of(vec![user]).counts();
    assert_eq!((counts.listed, counts.added, counts.skipped), (1, 0, 1));
}

/// Today is 2025-11-03. Who works somewhere may see its students.
#[test]
fn staff_work_where_their_roles_are_in_force() {
    let (over, ahead) = (("S2", true, "2024-08-01", Some("2025-11-03")), ("S3", true, "2025-11-04", None));
    let now = (SCHOOL, false, "2024-08-01", Some("2025-11-04"));
    let of = |id: &str, roles: Vec<Value>| json!({"sourcedId": id, "familyName": "Li", "roles": roles});
    let users = vec![
        student("A", "2025-08-13", None),
        of("T1", vec![role("teacher", over), role("administrator", now), role("teacher", ahead)]),
        of("T2", vec![role("teacher", over)]),
        of("T3", vec![role("teacher", ("S4", true, "soon", None))]),
    ];
    let mut campus = Campus::of(users);
    let mut facts = campus.facts();
    facts.district.connections[0].staff = StaffScope::Active;
    let staff = plan(facts, &mut campus).unwrap().staff;
    let [member] = staff.as_slice() else { panic!("{staff:?}") };
    assert_eq!(
        (member.id.as_str(), member.teacher, member.entities.as_slice()),
        ("T1", false, &[SCHOOL.to_owned()][..])
    );
}

#[test]
fn what_is_remembered_counts_as_past_until_it_ages_out() {
    let old = |end: Option<&str>| Enrollment {
        id: "S1@2024-08-13".to_owned(),
        entry_date: Some(day("2024-08-13")),
        withdrawal_date: end.map(day),
        ..Enrollment::default()
    };
    // (stored end, not shown since, the only role listed begins) → status
    for (end, since, begin, expected) in [
        (None, Some("2025-07-01"), "2025-11-20", (Status::Enrolled, Rule::FutureAfterPast)),
        (Some("2025-05-29"), Some("2025-07-01"), "2025-11-20", (Status::Enrolled, Rule::FutureAfterPast)),
        (None, None, "2025-11-20", (Status::Enrolled, Rule::FutureAfterPast)),
        // Not shown since more than a year and a day: out of the window.
        (None, Some("2024-11-03"), "2025-11-20", (Status::PreEnrolled, Rule::FutureOnly)),
        (None, Some("2024-11-04"), "2025-11-20", (Status::Enrolled, Rule::FutureAfterPast)),
        (Some("2024-11-02"), Some("2025-07-01"), "2025-11-20", (Status::PreEnrolled, Rule::FutureOnly)),
        (Some("2024-11-03"), Some("2025-07-01"), "2025-11-20", (Status::Enrolled, Rule::FutureAfterPast)),
    ] {
        let mut campus = Campus::of(vec![student("A", begin, None)]);
        campus.remembered = vec![remembered("A", old(end), since.map(day))];
        assert_eq!(decided(&mut campus), expected, "{end:?} {since:?}");
    }
    // A role that is listed is not remembered beside itself.
    let mut campus = Campus::of(vec![student("A", "2024-08-13", None)]);
    campus.remembered = vec![remembered("A", old(None), None)];
    assert_eq!(decided(&mut campus), (Status::Enrolled, Rule::Current));
}

/// What is not shared any more.
type Poorer = fn(&mut Campus);

#[test]
fn guardians_and_values_that_nobody_has_any_more_stay() {
    let mut campus = Campus::of(vec![student("A", "2025-08-13", None), guardian("G1")]);
    campus.night();
    let without: &[(&str, Poorer)] = &[
        ("users/guardians", |campus| {
            campus.users.truncate(1);
            campus.users[0]["agents"] = json!([]);
        }),
        ("users.email", |campus| {
            for user in &mut campus.users {
                user.as_object_mut().unwrap().remove("email");
            }
        }),
        ("users.sms", |campus| campus.users[1]["sms"] = Value::Null),
        ("users.phone", |campus| campus.users[0]["phone"] = Value::Null),
        ("users.grades", |campus| campus.users[0]["grades"] = json!([])),
        ("users.identifier", |campus| campus.users[0]["identifier"] = Value::Null),
        ("demographics", |campus| campus.demographics.clear()),
    ];
    for (what, change) in without {
        let mut poorer = campus.clone();
        change(&mut poorer);
        let plan = poorer.plan();
        assert_eq!((plan.counts.unchanged, plan.counts.changed), (1, 0), "{what}");
        let said = |finding: &Finding| finding.code == "listing-empty" && finding.message.starts_with(what);
        assert!(plan.findings.iter().any(said), "{what}: {:?}", plan.findings);
    }
}

#[test]
fn a_guardian_who_is_named_and_not_shown_keeps_the_stored_name() {
    let others = |campus: &mut Campus| campus.users.push(guardian("G2"));
    let mut campus = Campus::of(vec![student("A", "2025-08-13", None), guardian("G1")]);
    others(&mut campus);
    campus.night();
    campus.users.remove(1);
    assert_eq!((campus.counts().unchanged, campus.counts().changed), (1, 0));
    campus.users[0]["grades"] = json!(["10"]);
    let events = campus.night();
    let contact = &events[0].record.as_ref().unwrap().contacts[0];
    assert_eq!((contact.id.as_str(), contact.person.first_name.as_deref()), ("G1", Some("Eva")));
}

#[test]
fn no_students_at_all_take_nobody_out() {
    let mut campus = Campus::of(vec![student("A", "2025-08-13", None), guardian("G1")]);
    campus.night();
    campus.users.remove(0);
    let plan = campus.plan();
    assert_eq!((plan.counts.removed, plan.counts.missing, plan.counts.unchanged), (0, 1, 1));
    assert!(plan.findings.iter().any(|finding| finding.message.starts_with("users/students")), "{:?}", plan.findings);
}

/// However much a district lets through: this would be a mass removal and a mass addition of the same people.
#[test]
fn people_who_get_other_ids_that_nothing_links_are_held() {
    let mut campus = Campus::of((1..=4).map(|number| student(&format!("s{number}"), "2025-08-13", None)).collect());
    campus.night();
    campus.users = (1..=4).map(|number| student(&format!("A-{number}"), "2025-08-13", None)).collect();
    let held = |campus: &Campus| {
        let mut facts = campus.facts();
        facts.district.hold.max_removed_percent = 100.0;
        match plan(facts, &mut campus.clone()).unwrap().verdict {
            Verdict::Hold(reason) => Some(reason),
            _ => None,
        }
    };
    let reason = held(&campus).expect("it waits for a person");
    assert!(reason.contains("students-unlinked: 4 students"), "{reason}");
    // Half of them, or nobody new: no sign of other ids.
    campus.users = ["s1", "s2", "A-3", "A-4"].map(|id| student(id, "2025-08-13", None)).to_vec();
    assert_eq!(held(&campus), None);
    campus.users = vec![student("s1", "2025-08-13", None)];
    assert_eq!(held(&campus), None);
}

/// As 1.1 lists a student.
fn of_11(number: i64) -> Value {
    json!({"sourcedId": format!("s{number}"), "role": "student", "familyName": "Li", "orgs": [{"sourcedId": SCHOOL}]})
}

/// A student of 1.2 with the number of 1.1.
fn of_12(legacy: i64, mut user: Value) -> Value {
    user["metadata"] = json!({ "ic.legacySourceId": legacy });
    user
}

#[test]
fn people_who_get_other_ids_are_held_and_moved() {
    let mut campus = Campus::of(vec![of_11(1), of_11(2), of_11(3)]);
    campus.night();
    let of_12 = |id, legacy| of_12(legacy, student(id, "2025-08-13", None));
    campus.users = vec![of_12("B-1", 1), of_12("A-2", 2), of_12("C-9", 9)];
    let plan = campus.plan();
    let Verdict::Hold(reason) = &plan.verdict else { panic!("{:?}", plan.verdict) };
    assert!(reason.contains("students-rekeyed") && reason.contains("2 students"), "{reason}");
    assert_eq!((plan.counts.changed, plan.counts.added, plan.counts.missing), (2, 1, 1), "{:?}", plan.counts);
    let events = testing::events(&plan);
    let moved: Vec<_> = events.iter().map(|event| (event.student_id.0.as_str(), event.rekeyed_from.as_ref())).collect();
    let old = |id: &str| StudentId(id.to_owned());
    let (one, two) = (old("s1"), old("s2"));
    assert_eq!(moved[..2], [("A-2", Some(&two)), ("B-1", Some(&one))]);
    assert!(events.iter().filter(|event| event.rekeyed_from.is_some()).all(|event| event.change == Change::Changed));
    assert_eq!(plan.hash, campus.plan().hash, "equal facts, equal plan");
    campus.night();
    campus.users.pop();
    assert_eq!(campus.counts().changed, 0, "nobody moves twice");
}

/// Somebody of whom nothing can be decided stays under the old id, and holds up nobody else night after night.
#[test]
fn who_cannot_be_moved_holds_nobody_up() {
    let mut campus = Campus::of(vec![of_11(1), of_11(2)]);
    campus.night();
    let of_12 = |id, legacy, begin| of_12(legacy, student(id, begin, None));
    campus.users = vec![of_12("B-1", 1, "2025-08-13"), of_12("A-2", 2, "0000-00-00")];
    let Verdict::Hold(reason) = campus.plan().verdict else { panic!("a move waits for a person") };
    assert!(reason.contains("1 students move"), "{reason}");
    campus.night();
    let plan = campus.plan();
    assert_eq!((&plan.verdict, plan.counts.skipped), (&Verdict::Nothing, 1));
    assert!(campus.stored.contains_key(&StudentId("s2".to_owned())), "he is where he was");
}

/// A server may tell `A` from `a`: who moves is asked for again as the pull spells the new id, which is not stored yet.
#[test]
fn who_moves_and_leaves_is_asked_for_as_the_sis_spells_it() {
    let given = "0F6B1C2D-AB12-4CDE-8F00-0123456789AB";
    let mut campus = Campus::of(vec![of_11(1), of_11(2)]);
    campus.night();
    let of_12 = |id, legacy, end| of_12(legacy, student(id, "2024-08-13", end));
    campus.users = vec![of_12(given, 1, Some("2025-01-10")), of_12("A-2", 2, None)];
    let asked = campus.plan().recheck_on_approval.expect("nobody leaves without a second look");
    let spelled = Candidates::decode(&asked).unwrap().spelled;
    let spelled: Vec<_> = spelled.iter().map(|(id, given)| (id.0.as_str(), given.as_str())).collect();
    assert_eq!(spelled, [(given.to_lowercase().as_str(), given), ("A-2", "A-2")]);
}

/// What is stored of them stands under their old ids still.
#[test]
fn whoever_gets_another_id_keeps_what_is_not_told_that_night() {
    let mut campus = Campus::of(vec![of_11(1), of_11(2)]);
    campus.demographics =
        (1..=2).map(|day| json!({"sourcedId": format!("s{day}"), "birthDate": format!("2014-02-0{day}")})).collect();
    campus.night();
    // In another order than before.
    campus.users = ["B-1", "A-2"]
        .into_iter()
        .zip(1..)
        .map(|(id, legacy)| of_12(legacy, student(id, "2025-08-13", None)))
        .collect();
    campus.demographics.clear();
    let events = testing::events(&campus.plan());
    let told: Vec<_> = events.iter().filter_map(|event| event.record.as_deref()).collect();
    let told: Vec<_> = told.iter().map(|record| (record.id.0.as_str(), record.birth_date)).collect();
    let born = |day| NaiveDate::from_ymd_opt(2014, 2, day);
    assert_eq!(told, [("A-2", born(2)), ("B-1", born(1))]);
}

/// The platform names people by other ids from the night of the move on: what an administrator said about them goes with them.
#[test]
fn what_was_said_about_staff_follows_them_to_their_other_ids() {
    let person = |id: &str, legacy: Value, word: &str| {
        let roles = [role(word, (SCHOOL, true, "2024-08-01", None))];
        json!({"sourcedId": id, "familyName": "Ek", "roles": roles, "metadata": {"ic.legacySourceId": legacy}})
    };
    let mut campus = Campus::of(vec![
        person("N-1", json!(1), "teacher"),
        person("N-2", json!("2"), "administrator"),
        person("N-3", json!(3), "student"),
        person("N-4", json!(4), "teacher"),
        person("N-5", json!(4), "aide"),
        person("t6", json!(7), "teacher"),
        person("N-6", json!(6), "teacher"),
    ]);
    let mut moved_of = |of: &[Option<u16>], prefix: &str, said: &[&str]| {
        let mut facts = campus.facts();
        facts.district.connections[0].id_prefix = Some(prefix.to_owned());
        let spoken =
            |of: Option<u16>| said.iter().map(move |id| SpokenOf { of: of.map(ConnectionNo), id: (*id).to_owned() });
        facts.said_of = of.iter().flat_map(|of| spoken(*of)).collect();
        let moved = plan(facts, &mut campus).unwrap().people_moved;
        moved.into_iter().map(|one| (one.of.map(|of| of.0), one.old, one.new)).collect::<Vec<_>>()
    };
    let triple = |of, old: &str, new: &str| (of, old.to_owned(), new.to_owned());
    // Neither a student's id, nor one of two people, nor one that somebody has today, nor any that is no id of 1.1.
    let said = ["t1", "a2", "s1", "s3", "t3", "t4", "t6", "1", "11", "n-1", "t", "tt1", "t1@example.org"];
    for of in [Some(0), None] {
        assert_eq!(moved_of(&[of], "", &said), [triple(of, "a2", "N-2"), triple(of, "t1", "N-1")]);
        assert_eq!(moved_of(&[of], "B-", &["b-t1", "t1"]), [triple(of, "b-t1", "B-N-1"), triple(of, "t1", "N-1")]);
    }
    let both = [triple(None, "t1", "N-1"), triple(Some(0), "t1", "N-1")];
    assert_eq!(moved_of(&[Some(0), None, Some(1)], "", &["t1"]), both, "another source's t1 has not moved");
}
