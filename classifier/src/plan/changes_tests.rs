//! Nights by changes alone, beside nights by everything: they end where those end.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use proptest::prelude::*;
use rollcall_proto::{
    id::{ConnectionNo, ListingNo, PageNo, RunId, StudentId},
    message::StudentEvent,
    roster::{School, Staff, Status, Student},
};
use rollcall_store::{
    board::{Ask, Progress},
    plan::StoredStudent,
    run::{Baseline, Changes, Discovery, Snapshot},
};
use serde_json::{Value, json};

use super::*;
use crate::{decode::decode, recheck, testing};

mod base;
mod counted;
mod fields;
mod lacking;

/// Rows of a resource as they came, page by page.
type Pages = Vec<Vec<Value>>;

/// Rows a page.
const PAGE: usize = 3;

/// People of a district, each by its number; a student's guardian is 100 more.
type People = BTreeMap<u32, Person>;

#[derive(Debug, Clone)]
struct Person {
    name: u32,
    phone: u32,
    birth: u32,
    left: bool,
    guardian: bool,
    gone: bool,
    school: u32,
}

/// What happens to a student between two nights.
#[derive(Debug, Clone, Copy)]
enum Event {
    Comes,
    Renamed,
    Withdrawn,
    Back,
    Gone,
    Restored,
    Moved,
    GuardianReached,
    GuardianChanged,
    BirthDateMended,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => Just(Event::Comes),
        3 => Just(Event::Renamed),
        2 => Just(Event::Withdrawn),
        1 => Just(Event::Back),
        2 => Just(Event::Gone),
        2 => Just(Event::Restored),
        1 => Just(Event::Moved),
        2 => Just(Event::GuardianReached),
        2 => Just(Event::GuardianChanged),
        1 => Just(Event::BirthDateMended),
    ]
}

/// Applies an event; the numbers of the users and of the demographics whose rows it changes.
fn befall(people: &mut People, number: u32, event: Event) -> (Vec<u32>, Vec<u32>) {
    let own = (vec![number], vec![number]);
    let everywhere = (vec![number, number + 100], vec![number]);
    let nowhere = (Vec::new(), Vec::new());
    let Some(person) = people.get_mut(&number) else {
        if matches!(event, Event::Comes) {
            let (left, guardian, gone) = (false, false, false);
            people.insert(number, Person { name: 0, phone: 0, birth: 1, left, guardian, gone, school: 1 });
            return own;
        }
        return nowhere;
    };
    if person.gone != matches!(event, Event::Restored) {
        return nowhere;
    }
    match event {
        Event::Comes => return nowhere,
        Event::Restored => {
            person.gone = false;
            return everywhere;
        }
        Event::Moved => person.school = 3 - person.school,
        Event::Renamed => person.name += 1,
        Event::Withdrawn => person.left = true,
        Event::Back => person.left = false,
        Event::Gone => {
            person.gone = true;
            return everywhere;
        }
        Event::GuardianReached => {
            person.phone += 1;
            return if person.guardian { (vec![number + 100], Vec::new()) } else { nowhere };
        }
        Event::GuardianChanged => {
            person.guardian = !person.guardian;
            return (vec![number, number + 100], Vec::new());
        }
        Event::BirthDateMended => {
            person.birth = person.birth % 27 + 1;
            return (Vec::new(), vec![number]);
        }
    }
    (vec![number], Vec::new())
}

/// When every row says that it was changed: which rows are told, the tests say themselves.
const CHANGED: &str = "2025-10-30T04:00:00.000Z";

fn user(people: &People, id: u32) -> Option<Value> {
    let role = |word: &str, org: &str, end: Option<&str>| json!([{"role": word, "org": {"sourcedId": org}, "beginDate": "2025-08-13", "endDate": end}]);
    if let Some(person) = id.checked_sub(100).map(|student| people.get(&student)) {
        let person = person?;
        let status = if person.guardian && !person.gone { "active" } else { "tobedeleted" };
        return Some(
            json!({"sourcedId": format!("u{id}"), "status": status, "dateLastModified": CHANGED, "familyName": "Li",
            "sms": person.phone.to_string(), "roles": role("guardian", "S1", None)}),
        );
    }
    let person = people.get(&id)?;
    let (status, end) = (if person.gone { "tobedeleted" } else { "active" }, person.left.then_some("2025-10-01"));
    let agents = if person.guardian { json!([{"sourcedId": format!("u{}", id + 100)}]) } else { json!([]) };
    let org = format!("S{}", person.school);
    Some(json!({"sourcedId": format!("u{id}"), "status": status, "dateLastModified": CHANGED, "givenName": "Ada",
        "familyName": format!("Li {}", person.name), "roles": role("student", &org, end), "agents": agents}))
}

fn demographics(people: &People, id: u32) -> Option<Value> {
    let person = people.get(&id)?;
    let status = if person.gone { "tobedeleted" } else { "active" };
    Some(json!({"sourcedId": format!("u{id}"), "status": status, "dateLastModified": CHANGED,
        "birthDate": format!("2014-02-{:02}", person.birth)}))
}

fn is_active(row: &Value) -> bool {
    row["status"] == "active"
}

/// Everything that the source lists: what is gone, it leaves out.
fn everything(people: &People) -> (Vec<Value>, Vec<Value>) {
    let users = people.keys().copied().chain(people.keys().map(|id| id + 100)).filter_map(|id| user(people, id));
    let others = people.keys().filter_map(|id| demographics(people, *id));
    (users.filter(is_active).collect(), others.filter(is_active).collect())
}

/// What a store holds of a district.
#[derive(Debug, Clone, Default)]
struct Stored {
    students: BTreeMap<StudentId, (StoredStudent, Student)>,
    baseline: Option<Baseline>,
    /// Everything that ever happened, but for the runs' numbers.
    history: Vec<String>,
    /// What the last pull left to build upon: pages of users, and of demographics.
    kept: [Pages; 2],
    /// Everything stands on one page: on a small one the only one who has a value may lose it, which is believed a night later.
    on_one_page: bool,
}

impl Records for Stored {
    fn records(&mut self, ids: &[StudentId]) -> Result<Vec<Student>, StoreError> {
        Ok(ids.iter().filter_map(|id| Some(self.students.get(id)?.1.clone())).collect())
    }

    fn staff(&mut self) -> Result<Vec<Staff>, StoreError> {
        Ok(Vec::new())
    }

    fn schools(&mut self) -> Result<Vec<School>, StoreError> {
        Ok(Vec::new())
    }
}

struct Pulled {
    board: Board,
    pages: Vec<PageRow>,
    fragments: Vec<PageFragments>,
}

impl Pulled {
    fn add(&mut self, ask: Ask, pages: &[Vec<Value>]) {
        let listing = ListingNo(self.board.listings.len() as u32);
        let resource = ask.resource.clone();
        let mut own = Board::new(vec![ask], 1).listings.remove(0);
        (own.last_page, own.progress) = (Some(pages.len() as u32), Progress::Fetched);
        self.board.listings.push(own);
        for (number, rows) in (1_u32..).zip(pages) {
            let body = json!({ &resource: rows });
            let (row, fragments) = testing::collected(SisKind::OneRoster, &resource, (listing, PageNo(number)), &body);
            self.pages.push(row);
            self.fragments.push(fragments);
        }
    }
}

const RESOURCES: [&str; 2] = ["users", "demographics"];

impl Stored {
    /// A pull of everything, or of changes over what was kept.
    fn facts(&mut self, people: &People, changed: Option<[Vec<Value>; 2]>) -> PlanFacts {
        let mut pulled = Pulled { board: Board::default(), pages: Vec::new(), fragments: Vec::new() };
        let ask = |resource: &str| Ask {
            resource: resource.to_owned(),
            essential: resource != "demographics",
            ..Ask::default()
        };
        let mut discovery = Discovery { snapshot: Some(snapshot()), ..Discovery::default() };
        let (users, others) = everything(people);
        discovery.totals =
            [("users".to_owned(), users.len() as i64), ("demographics".to_owned(), others.len() as i64)].into();
        // Those marked as deleted are left out of what is counted, and admitted by the filter.
        discovery.ever =
            [("users".to_owned(), people.len() as i64 * 2), ("demographics".to_owned(), people.len() as i64)].into();
        if let Some(changed) = changed {
            for (resource, pages) in RESOURCES.iter().zip(&self.kept) {
                pulled.add(Ask { stored: Some(RunId(uuid::Uuid::nil())), ..ask(resource) }, pages);
            }
            for ((resource, rows), kept) in RESOURCES.iter().zip(changed).zip(&mut self.kept) {
                pulled.add(Ask { since: Some(DateTime::UNIX_EPOCH), ..ask(resource) }, std::slice::from_ref(&rows));
                kept.push(rows);
            }
            let (since, over, full_on) = (DateTime::UNIX_EPOCH, RunId(uuid::Uuid::nil()), testing::today());
            discovery.scope = PullScope::Changes(Changes { since, over, full_on, over_at: Some(since) });
        } else {
            let size = if self.on_one_page { 1_000 } else { PAGE };
            self.kept = [users, others].map(|rows| rows.chunks(size).map(<[Value]>::to_vec).collect());
            RESOURCES.iter().zip(&self.kept).for_each(|(resource, pages)| pulled.add(ask(resource), pages));
            discovery.scope = PullScope::Everything(None);
        }
        let school = |id: &str, code: &str| json!({"sourcedId": id, "type": "school", "identifier": code});
        pulled.add(ask("orgs"), &[vec![school("S1", "041"), school("S2", "042")]]);
        let mut district = testing::district();
        district.connections[0].kind = SisKind::OneRoster;
        let (connection, state) = (ConnectionNo(0), PullState::Fetched);
        let pull = Pull { connection, state, discovery: Some(discovery), reason: None };
        PlanFacts {
            district,
            run: testing::run(),
            pulls: vec![PullIn {
                pull,
                board: Some(pulled.board),
                baseline: self.baseline.clone(),
                fragments: pulled.fragments,
                remembered: Vec::new(),
            }],
            pages: pulled.pages,
            stored: self.students.values().map(|(stored, _)| stored.clone()).collect(),
            staff: Vec::new(),
            said_of: Vec::new(),
            roster_version: 1,
            candidates: None,
        }
    }

    /// Plans, takes the second look's word for it where there is one, and applies as the writer would.
    fn night(&mut self, people: &People, changed: Option<[Vec<Value>; 2]>) -> Result<(), Vec<(ConnectionNo, String)>> {
        let facts = || self.clone().facts(people, changed.clone());
        let mut plan = match plan_or_ask(facts(), &mut self.clone()).unwrap() {
            Planned::Made(plan) => *plan,
            Planned::AskEverything(lacking) => return Err(lacking),
        };
        if let Verdict::Recheck(bytes) = &plan.verdict {
            let again = look_again(facts(), people, &Candidates::decode(bytes).unwrap());
            plan = super::plan(again, &mut self.clone()).unwrap();
        }
        drop(self.facts(people, changed));
        assert!(matches!(plan.verdict, Verdict::Release | Verdict::Nothing), "{:?} {:?}", plan.verdict, plan.findings);
        self.apply(&plan);
        Ok(())
    }

    fn apply(&mut self, plan: &NewPlan) {
        for event in testing::events(plan) {
            let StudentEvent { student_id, change, from, to, rule, enrollments, fingerprint, .. } = &event;
            self.history
                .push(format!("{student_id:?} {change:?} {from:?} {to:?} {rule:?} {enrollments:?} {fingerprint:?}"));
            let stored =
                StoredStudent { id: student_id.clone(), connection: 0, status: *to, fingerprint: *fingerprint };
            let before = self.students.get(student_id).map(|(_, record)| record.clone());
            let record = event.record.as_deref().cloned().or(before).unwrap();
            self.students.insert(student_id.clone(), (stored, record));
        }
        if let [(_, baseline)] = plan.baselines.as_slice() {
            self.baseline = Some(baseline.clone());
        }
    }
}

/// The second look: each candidate by id, 404 where gone.
fn look_again(mut facts: PlanFacts, people: &People, candidates: &Candidates) -> PlanFacts {
    let pull = &mut facts.pulls[0];
    let mut board = pull.board.take().unwrap();
    let ids = candidates.sis_ids(ConnectionNo(0), "");
    let controls = candidates.controls(ConnectionNo(0), |id| Some(id.0.clone()));
    let asks = recheck::asks(&board, &ids, &controls);
    assert!(asks.iter().all(|ask| ask.since.is_none() && ask.stored.is_none()), "{asks:?}");
    board.recheck_from = Some(board.listings.len() as u32);
    let mut pulled = Pulled { board, pages: Vec::new(), fragments: Vec::new() };
    for ask in asks {
        let number = |id: &String| id[1..].parse().unwrap();
        let rows = ask.ids.as_ref().unwrap().ids.iter().filter_map(|id| user(people, number(id))).filter(is_active);
        let rows: Vec<Value> = rows.collect();
        pulled.add(ask, &[rows]);
    }
    pull.board = Some(pulled.board);
    pull.fragments.extend(pulled.fragments);
    facts.pages.extend(pulled.pages);
    facts.candidates = Some((candidates.clone(), false));
    facts
}

fn snapshot() -> Snapshot {
    Snapshot { at: DateTime::<Utc>::UNIX_EPOCH, settings: String::new(), shape: BTreeSet::new() }
}

fn rows(people: &People, changed: &[(Vec<u32>, Vec<u32>)]) -> [Vec<Value>; 2] {
    let mut users: Vec<u32> = changed.iter().flat_map(|(users, _)| users.clone()).collect();
    let mut others: Vec<u32> = changed.iter().flat_map(|(_, others)| others.clone()).collect();
    for ids in [&mut users, &mut others] {
        ids.sort_unstable();
        ids.dedup();
    }
    let users = users.into_iter().filter_map(|id| user(people, id)).collect();
    [users, others.into_iter().filter_map(|id| demographics(people, id)).collect()]
}

fn first_people() -> People {
    let mut people = People::new();
    for number in 0..8 {
        befall(&mut people, number, Event::Comes);
        if number % 2 == 0 {
            befall(&mut people, number, Event::GuardianChanged);
        }
    }
    people
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Two districts alike, one by everything, one by changes with an overlap of a night: the same roster and history. One
    /// family is told every night, so that no field looks emptied for good.
    #[test]
    fn changes_end_where_everything_ends(nights in prop::collection::vec(prop::collection::vec((0_u32..12, event()), 0..6), 1..6)) {
        let mut people = first_people();
        let told = (vec![50, 150], vec![50]);
        for event in [Event::Comes, Event::GuardianChanged] {
            befall(&mut people, 50, event);
        }
        let begun = Stored { on_one_page: true, ..Stored::default() };
        let (mut by_everything, mut by_changes) = (begun.clone(), begun);
        by_everything.night(&people, None).unwrap();
        by_changes.night(&people, None).unwrap();
        let mut before = Vec::new();
        for events in nights {
            let tonight: Vec<_> = events.iter().map(|(number, event)| befall(&mut people, *number, *event)).collect();
            let changed: Vec<_> = before.iter().chain(&tonight).chain([&told]).cloned().collect();
            before = tonight;
            by_everything.night(&people, None).unwrap();
            if by_changes.night(&people, Some(rows(&people, &changed))).is_err() {
                by_changes.night(&people, None).unwrap();
            }
            prop_assert_eq!(&by_changes.students, &by_everything.students);
            prop_assert_eq!(&by_changes.history, &by_everything.history);
        }
    }
}

/// Whoever left on an earlier night is on the page that changes lie over, and is nobody to be asked for beside the next who
/// leaves: his absence would prove that the SIS does not answer.
#[test]
fn who_left_before_is_not_asked_for_beside_who_leaves() {
    let mut people = first_people();
    let mut stored = Stored { on_one_page: true, ..Stored::default() };
    stored.night(&people, None).unwrap();
    let mut before = Vec::new();
    for number in [0, 1, 2, 3] {
        let tonight = vec![befall(&mut people, number, Event::Gone), (vec![7], vec![7])];
        let changed: Vec<_> = before.iter().chain(&tonight).cloned().collect();
        before = tonight;
        stored.night(&people, Some(rows(&people, &changed))).unwrap();
        let gone = &stored.students[&StudentId(format!("u{number}"))].0;
        assert_eq!(gone.status, Status::Inactive, "u{number}");
    }
}

/// Changes, after which everything was asked for.
fn set_aside(mut facts: PlanFacts, people: &People) -> PlanFacts {
    let pull = &mut facts.pulls[0];
    let mut board = pull.board.take().unwrap();
    assert!(board.ask_everything() && !board.ask_everything(), "once");
    let asks: Vec<Ask> = board.listings.split_off(5).into_iter().map(|listing| listing.ask).collect();
    let mut pulled = Pulled { board, pages: Vec::new(), fragments: Vec::new() };
    let (users, others) = everything(people);
    for (ask, rows) in asks.into_iter().zip([users, others]) {
        assert!(ask.is_whole() && ask.stored.is_none(), "{ask:?}");
        pulled.add(ask, &[rows]);
    }
    pull.board = Some(pulled.board);
    pull.fragments.extend(pulled.fragments);
    facts.pages.extend(pulled.pages);
    facts.pulls[0].pull.discovery.as_mut().unwrap().scope = PullScope::Everything(Some("after all".to_owned()));
    facts
}

/// A row that lacks a value.
fn without(mut row: Value, key: &str) -> Value {
    row.as_object_mut().unwrap().remove(key);
    row
}
