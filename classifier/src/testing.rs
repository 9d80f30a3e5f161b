//! A small SIS for tests: rows as JSON, pulled into the facts that a plan is made from.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate};
use rollcall_proto::{
    id::{ConnectionNo, ListingNo, PageNo, RunId, StudentId},
    message::{StudentEvent, StudentEvents},
    roster::{School, Staff, Student},
};
use rollcall_store::{
    StoreError,
    board::{Ask, Board, Listing, Progress},
    district::{District, SisKind},
    page::{PageFragments, PageRow},
    plan::{NewPlan, StoredStudent, decode_batch},
    run::{Baseline, Counts, Discovery, Pull, PullState, Run, RunState, Stage, Trigger},
};
use serde_json::{Value, json};

use crate::{
    decode::decode,
    diff::Records,
    plan::{PlanFacts, PullIn, plan},
    recheck::{self, Candidates},
};

pub(crate) const STUDENT: &str = "Student/Student";
pub(crate) const NAME: &str = "Demographics/Name";
pub(crate) const PHONE: &str = "Demographics/NamePhone";
pub(crate) const GUARDIAN: &str = "Family/StudentGuardian";
pub(crate) const ENTITY_YEAR: &str = "Enrollment/StudentEntityYear";
pub(crate) const SPELL: &str = "Enrollment/EntryWithdrawal";
pub(crate) const WITHDRAWAL_CODE: &str = "Enrollment/WithdrawalCode";
const ESSENTIAL: [&str; 7] =
    [STUDENT, ENTITY_YEAR, SPELL, WITHDRAWAL_CODE, "Enrollment/EntryCode", "District/SchoolYear", "District/Entity"];

/// The date plans are made for.
pub(crate) fn today() -> NaiveDate {
    NaiveDate::from_ymd_opt(2025, 11, 3).unwrap()
}

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Sis {
    pub(crate) rows: BTreeMap<&'static str, Vec<Value>>,
    pub(crate) page_size: usize,
    /// What enrollments are asked for; nothing is read by it but the named withdrawal date.
    pub(crate) spell_fields: Vec<String>,
}

impl Sis {
    /// Tables, and no students.
    pub(crate) fn empty() -> Self {
        let mut sis = Self { rows: BTreeMap::new(), page_size: 3, spell_fields: Vec::new() };
        for resource in [STUDENT, NAME, PHONE, GUARDIAN, ENTITY_YEAR, SPELL] {
            sis.rows.insert(resource, Vec::new());
        }
        for (id, year) in [(8, 2025), (9, 2026), (10, 2027)] {
            sis.add(
                "District/SchoolYear",
                json!({"SchoolYearID": id, "NumericYear": year, "IsCurrentYearForProvidedEntity": id == 9}),
            );
            // The same codes have other ids each year, and one id means another code.
            for (code_id, code) in [(1, "01"), (2, "98"), (3, "CECS")] {
                sis.add(
                    WITHDRAWAL_CODE,
                    json!({"WithdrawalCodeID": id * 10 + code_id, "Code": code, "SchoolYearID": id}),
                );
            }
            sis.add(
                "Enrollment/School",
                json!({"SchoolID": id * 10, "Code": "041", "Name": "Oak", "SchoolYearID": id}),
            );
        }
        sis.add("District/Entity", json!({"EntityID": 41, "Code": "041", "SchoolYearIDCurrent": 9}));
        sis.add("Enrollment/EntryCode", json!({"EntryCodeID": 1, "Code": "E", "SchoolYearID": 9}));
        sis.add("Demographics/PhoneType", json!({"PhoneTypeID": 1, "Code": "C", "Description": "Cell"}));
        sis.add("Demographics/Relationship", json!({"RelationshipID": 1, "Code": "M", "Description": "Mother"}));
        sis.add("Enrollment/Homeroom", json!({"HomeroomID": 5, "Code": "R5"}));
        sis
    }

    /// So many students, all enrolled, each with a guardian and phones.
    pub(crate) fn with_students(count: i64) -> Self {
        let mut sis = Self::empty();
        for id in 1..=count {
            sis.enroll(id);
        }
        sis
    }

    pub(crate) fn add(&mut self, resource: &'static str, row: Value) {
        self.rows.entry(resource).or_default().push(row);
    }

    /// A student with an open enrollment in the current year.
    pub(crate) fn enroll(&mut self, id: i64) {
        self.add(
            STUDENT,
            json!({"StudentID": id, "NameID": id * 2, "StudentNumber": format!("N{id}"), "GradYear": 2033}),
        );
        self.add(
            NAME,
            json!({"NameID": id * 2, "FirstName": format!("Ana{id}"), "LastName": "Li", "BirthDate": "2014-02-03"}),
        );
        self.add(NAME, json!({"NameID": id * 2 + 1, "FirstName": "Eva", "LastName": "Li"}));
        self.add(PHONE, json!({"NamePhoneID": id, "NameID": id * 2 + 1, "Rank": 1, "PhoneTypeID": 1, "PhoneNumber": format!("512{id}")}));
        self.add(
            GUARDIAN,
            json!({"StudentGuardianID": id, "StudentID": id, "NameIDGuardian": id * 2 + 1, "RelationshipID": 1}),
        );
        self.add(ENTITY_YEAR, json!({"StudentEntityYearID": id, "StudentID": id, "EntityID": 41, "SchoolYearID": 9, "Grade": "05", "HomeroomID": 5}));
        self.add(SPELL, json!({"EntryWithdrawalID": id, "StudentID": id, "EntityID": 41, "SchoolYearID": 9, "SchoolID": 90,
            "StartDate": "2025-08-13T00:00:00", "EndDate": null, "WithdrawalCodeID": null, "EntryCodeID": 1, "IsDefaultEntity": true}));
    }

    /// The row of `resource` whose first column is `key`.
    pub(crate) fn row(&mut self, resource: &'static str, key: i64) -> &mut Value {
        let column = key_of(resource);
        let rows = self.rows.get_mut(resource).unwrap();
        rows.iter_mut().find(|row| row[column] == json!(key)).expect("there is such a row")
    }

    /// This without the row of `resource` whose first column is `key`.
    pub(crate) fn without(&self, resource: &'static str, key: i64) -> Self {
        let mut less = self.clone();
        let gone = less.row(resource, key).clone();
        less.rows.get_mut(resource).unwrap().retain(|row| *row != gone);
        less
    }

    /// The first student was here last year too, and left in May.
    pub(crate) fn enroll_last_year(&mut self) {
        self.add(
            SPELL,
            json!({"EntryWithdrawalID": 10, "StudentID": 1, "EntityID": 41, "SchoolYearID": 8, "SchoolID": 80,
                "StartDate": "2024-08-13", "EndDate": "2025-05-20", "WithdrawalCodeID": 82}),
        );
    }

    /// The first student takes a course at another campus, later than he entered at home.
    pub(crate) fn enroll_elsewhere(&mut self) {
        self.add("District/Entity", json!({"EntityID": 42, "Code": "042", "SchoolYearIDCurrent": 9}));
        self.add("Enrollment/School", json!({"SchoolID": 91, "Code": "042", "SchoolYearID": 9}));
        self.add(
            ENTITY_YEAR,
            json!({"StudentEntityYearID": 50, "StudentID": 1, "EntityID": 42, "SchoolYearID": 9, "Grade": "06"}),
        );
        self.add(
            SPELL,
            json!({"EntryWithdrawalID": 50, "StudentID": 1, "EntityID": 42, "SchoolYearID": 9, "SchoolID": 91,
                "StartDate": "2025-09-01", "EndDate": null, "WithdrawalCodeID": null, "EntryCodeID": 1, "IsDefaultEntity": false}),
        );
    }

    /// Ends the enrollment of a student.
    pub(crate) fn withdraw(&mut self, id: i64, date: &str, code: i64) {
        let row = self.row(SPELL, id);
        row["EndDate"] = json!(date);
        row["WithdrawalCodeID"] = json!(code);
    }

    /// Takes a student out of every listing.
    pub(crate) fn forget(&mut self, id: i64) {
        for resource in [STUDENT, ENTITY_YEAR, SPELL, GUARDIAN] {
            self.rows.get_mut(resource).unwrap().retain(|row| row["StudentID"] != json!(id));
        }
    }

    /// Pulls everything.
    pub(crate) fn facts(&self) -> PlanFacts {
        let mut pulled = Pulled::default();
        for (resource, rows) in &self.rows {
            let asked = Ask { essential: ESSENTIAL.contains(resource), ..self.ask(resource) };
            pulled.listing(asked, rows, self.page_size);
        }
        pulled.into_facts()
    }

    fn ask(&self, resource: &str) -> Ask {
        let fields = if resource == SPELL { self.spell_fields.clone() } else { Vec::new() };
        Ask { fields, ..ask(resource) }
    }

    /// Puts the second look of `candidates` beside a pull: this SIS's rows of just these students, and of those who are asked
    /// for beside them.
    pub(crate) fn look_again(&self, facts: &mut PlanFacts, candidates: Candidates, approved: bool) {
        self.look_again_as(facts, (candidates, approved), |_, _| true);
    }

    /// As [`Sis::look_again`], of a SIS that answers each listing with what `serve` leaves of its rows.
    pub(crate) fn look_again_as(
        &self,
        facts: &mut PlanFacts,
        (candidates, approved): (Candidates, bool),
        serve: impl Fn(&str, &Value) -> bool,
    ) {
        let connection = ConnectionNo(0);
        let spell = |id: &StudentId| Some(id.0.clone());
        let board = facts.pulls[0].board.as_mut().unwrap();
        let asks = recheck::asks(board, &candidates.sis_ids(connection, ""), &candidates.controls(connection, spell));
        board.recheck_from = Some(board.listings.len() as u32);
        for ask in asks {
            let ids = &ask.ids.as_ref().unwrap().ids;
            let asked = |row: &&Value| ids.contains(&row["StudentID"].to_string()) && serve(&ask.resource, row);
            let rows: Vec<Value> = self.rows[ask.resource.as_str()].iter().filter(asked).cloned().collect();
            add_listing(facts, ask, &rows);
        }
        facts.candidates = Some((candidates, approved));
    }
}

/// Puts one listing more, of one page, beside a pull.
pub(crate) fn add_listing(facts: &mut PlanFacts, ask: Ask, rows: &[Value]) {
    let first = &mut facts.pulls[0];
    let mut pulled = Pulled { board: first.board.take().unwrap(), ..Pulled::default() };
    pulled.listing(ask, rows, 1000);
    first.board = Some(pulled.board);
    first.fragments.extend(pulled.fragments);
    facts.pages.extend(pulled.pages);
}

/// Puts one page more behind the end of a resource's listing, which is where it was.
pub(crate) fn add_page_behind<'f>(facts: &'f mut PlanFacts, resource: &str, rows: &[Value]) -> &'f mut Listing {
    let pull = &mut facts.pulls[0];
    let listings = &mut pull.board.as_mut().unwrap().listings;
    let number = listings.iter().position(|listing| listing.ask.resource == resource).unwrap();
    let place = (ListingNo(number as u32), PageNo(listings[number].last_page.unwrap() + 1));
    let (row, page) = collected(SisKind::SkywardQmlativ, resource, place, &json!({"Paging": {}, "Objects": rows}));
    facts.pages.push(row);
    pull.fragments.push(page);
    &mut listings[number]
}

pub(crate) fn ask(resource: &str) -> Ask {
    Ask { resource: resource.to_owned(), entity: Some(1), ..Ask::default() }
}

fn key_of(resource: &str) -> &'static str {
    crate::fragment::Kind::of_resource(resource).unwrap().columns()[0].name
}

/// A page of the first connection as it stands in the store once it is collected.
pub(crate) fn collected(
    kind: SisKind,
    resource: &str,
    (listing, page): (ListingNo, PageNo),
    body: &Value,
) -> (PageRow, PageFragments) {
    collected_of(kind, (resource, &[]), (listing, page), body)
}

fn collected_of(
    kind: SisKind,
    (resource, fields): (&str, &[String]),
    (listing, page): (ListingNo, PageNo),
    body: &Value,
) -> (PageRow, PageFragments) {
    let decoded = decode(kind, resource, fields, body.to_string().as_bytes()).unwrap();
    let connection = ConnectionNo(0);
    let row = PageRow {
        connection,
        listing,
        page,
        status: 200,
        rows: i64::from(decoded.tally.rows),
        digest: decoded.digest,
        claimed_total: decoded.claimed_total,
        error: None,
        asked_at: DateTime::UNIX_EPOCH,
        took_ms: 1,
        collected_at: DateTime::UNIX_EPOCH,
    };
    (row, PageFragments { connection, listing, page, fragments: decoded.fragments })
}

#[derive(Default)]
struct Pulled {
    board: Board,
    pages: Vec<PageRow>,
    fragments: Vec<PageFragments>,
}

impl Pulled {
    fn listing(&mut self, ask: Ask, rows: &[Value], page_size: usize) {
        let listing = ListingNo(self.board.listings.len() as u32);
        let chunks: Vec<&[Value]> = if rows.is_empty() { vec![&[]] } else { rows.chunks(page_size).collect() };
        let (resource, fields) = (ask.resource.clone(), ask.fields.clone());
        let mut told = Board::new(vec![ask], 1).listings.remove(0);
        told.last_page = Some(chunks.len() as u32);
        told.progress = Progress::Fetched;
        told.page_size = page_size as u32;
        self.board.listings.push(told);
        for (number, chunk) in chunks.into_iter().enumerate() {
            let body = json!({"Paging": {}, "Objects": chunk});
            let place = (listing, PageNo(number as u32 + 1));
            let (row, fragments) = collected_of(SisKind::SkywardQmlativ, (&resource, &fields), place, &body);
            self.pages.push(row);
            self.fragments.push(fragments);
        }
    }

    fn into_facts(self) -> PlanFacts {
        let discovery = Discovery::default();
        let pull =
            Pull { connection: ConnectionNo(0), state: PullState::Fetched, discovery: Some(discovery), reason: None };
        let pull =
            PullIn { pull, board: Some(self.board), baseline: None, fragments: self.fragments, remembered: Vec::new() };
        PlanFacts {
            district: district(),
            run: run(),
            pulls: vec![pull],
            pages: self.pages,
            stored: Vec::new(),
            staff: Vec::new(),
            said_of: Vec::new(),
            roster_version: 1,
            candidates: None,
        }
    }
}

pub(crate) fn district() -> District {
    serde_json::from_value(json!({
        "id": "t", "name": "T", "time_zone": "America/Chicago",
        "connection": [{"kind": "skyward-qmlativ", "base_url": "https://example.org/API", "client_id": "c"}],
        "hold": {"max_removed_percent": 100.0, "max_changed_percent": 100.0},
    }))
    .unwrap()
}

pub(crate) fn run() -> Run {
    Run {
        id: RunId(uuid::Uuid::nil()),
        district: "t".parse().unwrap(),
        seq: 1,
        as_of: today(),
        trigger: Trigger::Manual,
        state: RunState::Running,
        stage: Stage::Plan,
        plan_only: false,
        as_of_given: false,
        everything: false,
        counts: Counts::default(),
        reason: None,
        findings: Vec::new(),
        plan_hash: None,
        planned_roster_version: None,
        created_at: DateTime::UNIX_EPOCH,
        started_at: None,
        pulled_at: None,
        planned_at: None,
        released_at: None,
        ended_at: None,
        replay_of: None,
    }
}

/// What a store would hold.
#[derive(Debug, Clone, Default)]
pub(crate) struct Roster {
    pub(crate) students: BTreeMap<StudentId, (StoredStudent, Option<Student>)>,
    pub(crate) baseline: Option<Baseline>,
    pub(crate) staff: Vec<Staff>,
    pub(crate) schools: Vec<School>,
}

impl Roster {
    /// Puts what is stored beside a pull.
    pub(crate) fn beside(&self, mut facts: PlanFacts) -> PlanFacts {
        facts.stored = self.students.values().map(|(stored, _)| stored.clone()).collect();
        for pull in &mut facts.pulls {
            pull.baseline.clone_from(&self.baseline);
        }
        facts
    }

    /// Plans a pull against what is stored.
    pub(crate) fn plan(&self, facts: PlanFacts) -> NewPlan {
        plan(self.beside(facts), &mut self.clone()).unwrap()
    }

    /// Applies a plan as the writer would.
    pub(crate) fn apply(&mut self, plan: &NewPlan) {
        for event in events(plan) {
            let before = self.students.get(&event.student_id).and_then(|(_, record)| record.clone());
            let stored = StoredStudent {
                id: event.student_id.clone(),
                connection: event.record.as_ref().map_or(0, |record| record.connection),
                status: event.to,
                fingerprint: event.fingerprint,
            };
            self.students.insert(event.student_id, (stored, event.record.map(|record| *record).or(before)));
        }
        self.schools.clone_from(&plan.schools);
        if let [(_, baseline)] = plan.baselines.as_slice() {
            let accepted = self.baseline.take().unwrap_or_default().accepted_empty;
            self.baseline = Some(baseline.accepting(accepted));
        }
    }

    /// Plans and applies a first night.
    pub(crate) fn of(sis: &Sis) -> Self {
        let mut roster = Self::default();
        let plan = roster.plan(sis.facts());
        roster.apply(&plan);
        roster
    }

    pub(crate) fn record(&self, id: i64) -> &Student {
        self.students[&StudentId(id.to_string())].1.as_ref().unwrap()
    }
}

impl Records for Roster {
    fn records(&mut self, ids: &[StudentId]) -> Result<Vec<Student>, StoreError> {
        Ok(ids.iter().filter_map(|id| self.students.get(id)?.1.clone()).collect())
    }

    fn staff(&mut self) -> Result<Vec<Staff>, StoreError> {
        Ok(self.staff.clone())
    }

    fn schools(&mut self) -> Result<Vec<School>, StoreError> {
        Ok(self.schools.clone())
    }
}

/// A plan's events, by student id.
pub(crate) fn events(plan: &NewPlan) -> Vec<StudentEvent> {
    let batches = plan.batches.iter().map(|batch| decode_batch(&batch.bytes).unwrap());
    let mut events: Vec<StudentEvent> = batches.flat_map(|StudentEvents { events, .. }| events).collect();
    events.sort_by(|a, b| a.student_id.cmp(&b.student_id));
    events
}

impl PlanFacts {
    /// Makes the only connection of other facts the second one of these, after a prefix.
    pub(crate) fn add_connection(&mut self, mut other: Self, prefix: &str) {
        let second = ConnectionNo(1);
        self.district.connections.push(other.district.connections.remove(0));
        self.district.connections[1].id_prefix = Some(prefix.to_owned());
        other.pages.iter_mut().for_each(|page| page.connection = second);
        let mut pull = other.pulls.remove(0);
        pull.pull.connection = second;
        pull.fragments.iter_mut().for_each(|page| page.connection = second);
        self.pages.extend(other.pages);
        self.pulls.push(pull);
    }
}
