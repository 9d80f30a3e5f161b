//! Nights by changes alone, beside nights by everything: they end where those end.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use proptest::prelude::*;
use rollcall_proto::{
    id::{ConnectionNo, ListingNo, PageNo, RunId, StudentId},
    message::StudentEvent,
    roster::Student,
};
use rollcall_store::{
    board::{Ask, Progress},
    plan::StoredStudent,
    run::{Baseline, Changes, Discovery, Snapshot},
};
use serde_json::{Value, json};

use super::*;
use crate::{decode::decode, recheck, testing};

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
    let asks = recheck::asks(&board, &ids);
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
    Snapshot { at: DateTime::<Utc>::UNIX_EPOCH, settings: String::new(), shape: std::collections::BTreeSet::new() }
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

#[test]
fn who_goes_without_a_word_has_everything_asked_for() {
    let mut people = first_people();
    let mut stored = Stored::default();
    stored.night(&people, None).unwrap();
    people.remove(&1);
    let lacking = stored.clone().night(&people, Some([Vec::new(), Vec::new()])).unwrap_err();
    assert!(lacking[0].1.contains("counts 11 users") && lacking[0].1.contains("12"), "{lacking:?}");
}

#[test]
fn what_failed_or_is_looked_at_again_is_not_counted() {
    let mut people = first_people();
    let mut stored = Stored::default();
    stored.night(&people, None).unwrap();
    people.remove(&1);
    let mut facts = stored.facts(&people, Some([Vec::new(), Vec::new()]));
    let looks = open(&mut facts.pulls).unwrap();
    assert_eq!(lacking(&facts, &looks).len(), 1);
    facts.pulls[0].pull.state = PullState::Failed;
    assert_eq!(lacking(&facts, &looks), [], "a run with another connection would wait for it in vain");
    facts.pulls[0].pull.state = PullState::Fetched;
    assert!(facts.pulls[0].board.as_mut().unwrap().add_recheck(Vec::new()));
    assert_eq!(lacking(&facts, &looks), []);
}

/// Its values would come back in those rows alone that happen to change, and all the others would lose theirs.
#[test]
fn nothing_is_laid_over_a_night_on_which_a_field_was_emptied() {
    let people = first_people();
    let mut stored = Stored::default();
    stored.night(&people, None).unwrap();
    let base = |emails: i64| {
        let mut facts = stored.clone().facts(&people, None);
        facts.pulls[0].baseline.get_or_insert_default().rows.insert("users.email".to_owned(), emails);
        plan(facts, &mut stored.clone()).unwrap().baselines[0].1.base.clone()
    };
    assert!(base(0).is_some(), "nobody ever had one");
    assert_eq!(base(7), None);
}

/// One goes with a word, and one without: a count that is right by chance is none where those marked as deleted are counted.
#[test]
fn who_goes_without_a_word_is_not_made_up_for_by_one_marked_as_deleted() {
    let mut people = first_people();
    let mut stored = Stored::default();
    stored.night(&people, None).unwrap();
    people.remove(&1);
    let deleted = {
        befall(&mut people, 3, Event::Gone);
        user(&people, 3).unwrap()
    };
    let asked = |counted: Option<bool>| {
        let mut facts = stored.clone().facts(&people, Some([vec![deleted.clone()], Vec::new()]));
        let discovery = facts.pulls[0].pull.discovery.as_mut().unwrap();
        // Twelve were there; of them one is marked, and one is not listed.
        discovery.totals.insert("users".to_owned(), 11);
        discovery.totals.remove("demographics");
        discovery.ever.clear();
        let remembered = &mut facts.pulls[0].baseline.as_mut().unwrap().counts_deleted;
        *remembered = counted.map(|counted| ("users".to_owned(), counted)).into_iter().collect();
        matches!(plan_or_ask(facts, &mut stored.clone()).unwrap(), Planned::AskEverything(_))
    };
    assert_eq!((asked(Some(true)), asked(None), asked(Some(false))), (true, true, false));
}

/// Whether the source's totals count those marked as deleted is told by its listings, and kept.
#[test]
fn what_a_source_counts_is_learnt() {
    let mut people = first_people();
    let mut stored = Stored::default();
    stored.night(&people, None).unwrap();
    befall(&mut people, 3, Event::Gone);
    let deleted = user(&people, 3).unwrap();
    let learnt = |facts: PlanFacts| plan(facts, &mut stored.clone()).unwrap().baselines[0].1.counts_deleted.clone();
    let users = |counted: bool| BTreeMap::from([("users".to_owned(), counted)]);
    assert_eq!(learnt(stored.clone().facts(&people, None)), BTreeMap::new(), "none is shown");
    let changes = || stored.clone().facts(&people, Some([vec![deleted.clone()], Vec::new()]));
    let totalling = |mut facts: PlanFacts, total: i64| {
        facts.pulls[0].pull.discovery.as_mut().unwrap().totals.insert("users".to_owned(), total);
        facts
    };
    assert_eq!(learnt(totalling(changes(), 11)), users(false), "the total that fits");
    assert_eq!(learnt(totalling(changes(), 12)), users(true));

    let mut listed = stored.clone().facts(&people, None);
    let rows = json!({"users": [deleted]}).to_string();
    listed.pulls[0].fragments.iter_mut().filter(|page| page.listing.0 == 0 && page.page.0 == 1).for_each(|page| {
        page.fragments = decode(SisKind::OneRoster, "users", rows.as_bytes()).unwrap().fragments;
    });
    assert_eq!(learnt(listed), users(true), "one of everything is marked");
    // Everything was asked for after changes had told of one, and does not show it.
    let aside = set_aside(changes(), &people);
    assert_eq!(learnt(aside), users(false));
    let mut kept = stored.clone().facts(&people, None);
    kept.pulls[0].baseline.as_mut().unwrap().counts_deleted = users(true);
    assert_eq!(learnt(kept), users(true), "until something else is told");
}

/// Where the source does not count, nobody is taken out for being absent from changes.
#[test]
fn nobody_is_taken_out_by_absence_from_changes() {
    let people = first_people();
    let mut stored = Stored::default();
    stored.night(&people, None).unwrap();
    // As if the night that is built upon had lost a student's row.
    for pages in &mut stored.kept {
        for rows in pages.iter_mut() {
            rows.retain(|row| row["sourcedId"] != "u1");
        }
    }
    let mut facts = stored.clone().facts(&people, Some([Vec::new(), Vec::new()]));
    facts.pulls[0].pull.discovery.as_mut().unwrap().totals.clear();
    let plan = plan(facts, &mut stored).unwrap();
    assert_eq!((plan.counts.missing, plan.counts.removed, plan.counts.unchanged), (1, 0, 8), "{:?}", plan.counts);
    assert!(matches!(plan.verdict, Verdict::Nothing), "{:?}", plan.verdict);
}

#[test]
fn what_the_next_night_builds_upon() {
    let people = first_people();
    let mut stored = Stored::default();
    let base_of = |facts: PlanFacts, stored: &mut Stored| plan(facts, stored).unwrap().baselines[0].1.base.clone();
    let full = base_of(stored.clone().facts(&people, None), &mut stored).unwrap();
    assert_eq!((full.run, full.full_on), (testing::run().id, testing::today()));
    stored.night(&people, None).unwrap();

    let day = NaiveDate::from_ymd_opt(2025, 10, 30).unwrap();
    let changes = |scope_day: NaiveDate| {
        let mut facts = stored.clone().facts(&people, Some([Vec::new(), Vec::new()]));
        if let PullScope::Changes(changes) = &mut facts.pulls[0].pull.discovery.as_mut().unwrap().scope {
            changes.full_on = scope_day;
        }
        facts
    };
    let next = base_of(changes(day), &mut stored.clone()).unwrap();
    assert_eq!(next.full_on, day, "the week goes on");
    assert_eq!((full.before, next.before), (None, Some(DateTime::UNIX_EPOCH)), "when the night before began");
    let mut undated = changes(day);
    let row = json!({"users": [{"sourcedId": "u1", "dateLastModified": "yesterday"}]}).to_string();
    let decoded = decode(SisKind::OneRoster, "users", row.as_bytes()).unwrap();
    undated.pulls[0].fragments[1].fragments = decoded.fragments;
    assert_eq!(base_of(undated, &mut stored.clone()), None, "a row that no filter would tell");
    let replay = |mut facts: PlanFacts| {
        facts.run.replay_of = Some(RunId(uuid::Uuid::nil()));
        facts
    };
    assert_eq!(base_of(replay(changes(day)), &mut stored.clone()), None, "nothing is built upon a replay");
    let mut unable = stored.clone().facts(&people, None);
    unable.pulls[0].pull.discovery.as_mut().unwrap().scope = PullScope::Always;
    assert_eq!(base_of(unable, &mut stored.clone()), None);
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

/// Everything was asked for after all: what was set aside is not looked at.
#[test]
fn what_is_set_aside_does_not_count() {
    let mut people = first_people();
    let mut stored = Stored::default();
    stored.night(&people, None).unwrap();
    people.remove(&1);
    let facts = set_aside(stored.clone().facts(&people, Some([Vec::new(), Vec::new()])), &people);
    let Planned::Made(plan) = plan_or_ask(facts, &mut stored).unwrap() else { panic!("it is everything now") };
    assert_eq!((plan.counts.listed, plan.counts.missing, plan.counts.removed), (7, 1, 1), "{:?}", plan.counts);
    assert!(plan.findings.is_empty(), "{:?}", plan.findings);
}

/// A night of changes is no whole listing of staff: who is absent stays, who is told to have left has.
#[test]
fn staff_leave_by_a_row_of_theirs_or_on_a_night_of_everything() {
    let people = first_people();
    let mut stored = Stored::default();
    stored.night(&people, None).unwrap();
    let teacher = |id: &str, status: &str, role: &str| {
        let roles = json!([{"role": role, "org": {"sourcedId": "S1"}}]);
        json!({"sourcedId": id, "status": status, "familyName": "Ek", "roles": roles})
    };
    let here = ["t1", "t2", "t3"].map(|id| teacher(id, "active", "teacher"));
    stored.kept[0].push(here.to_vec());
    let told = vec![teacher("t2", "tobedeleted", "teacher"), teacher("t3", "active", "guardian")];
    let night = |changed: Option<[Vec<Value>; 2]>| {
        let mut facts = stored.clone().facts(&people, changed);
        facts.district.connections[0].staff = rollcall_store::district::StaffScope::Active;
        facts.staff = ["t1", "t2", "t3", "t4"].map(str::to_owned).to_vec();
        facts.pulls[0].pull.discovery.as_mut().unwrap().totals.clear();
        plan(facts, &mut stored.clone()).unwrap()
    };
    let by_changes = night(Some([told, Vec::new()]));
    let listed: Vec<&str> = by_changes.staff.iter().map(|member| member.id.as_str()).collect();
    assert_eq!((listed, by_changes.staff_whole), (vec!["t1"], false));
    assert_eq!(by_changes.staff_gone, ["t2", "t3"], "t4 is absent, which proves nothing");
    let by_everything = night(None);
    assert!(by_everything.staff_whole && by_everything.staff_gone.is_empty());
}

/// What `rows` of users and of demographics, told as changed, lead to.
fn told(stored: &Stored, people: &People, rows: [Vec<Value>; 2]) -> Result<NewPlan, String> {
    let facts = stored.clone().facts(people, Some(rows));
    match plan_or_ask(facts, &mut stored.clone()).unwrap() {
        Planned::Made(plan) => Ok(*plan),
        Planned::AskEverything(lacking) => Err(lacking.into_iter().map(|(_, why)| why).collect()),
    }
}

fn without(mut row: Value, key: &str) -> Value {
    row.as_object_mut().unwrap().remove(key);
    row
}

/// A night in the week on which a field is switched off: the rows told look emptied, be it a single one.
#[test]
fn a_field_that_no_changed_row_has_any_more_is_not_written_as_emptied() {
    let people = first_people();
    let mut stored = Stored::default();
    stored.night(&people, None).unwrap();
    let (guardian, other) = (user(&people, 100).unwrap(), user(&people, 102).unwrap());
    let (student, birth) = (user(&people, 0).unwrap(), demographics(&people, 0).unwrap());
    let emptied = |row: &Value, key: &str| vec![without(row.clone(), key)];
    let mut unlinked = student.clone();
    unlinked["agents"] = json!([]);
    for (users, others, name) in [
        (emptied(&guardian, "sms"), Vec::new(), "users.sms"),
        (emptied(&student, "givenName"), Vec::new(), "users.givenName"),
        (emptied(&student, "familyName"), Vec::new(), "users.familyName"),
        (vec![unlinked], Vec::new(), "users.agents"),
        (vec![without(student.clone(), "roles")], Vec::new(), "users/students"),
        (Vec::new(), emptied(&birth, "birthDate"), "demographics.birthDate"),
    ] {
        let why = told(&stored, &people, [users, others]).unwrap_err();
        assert!(why.contains("no changed row has any more") && why.contains(name), "{name}: {why}");
    }
    // A student's number proves nothing of guardians': what is shared may differ between them.
    let mut reached = student;
    reached["sms"] = json!("513");
    let why = told(&stored, &people, [vec![without(guardian.clone(), "sms"), reached], Vec::new()]).unwrap_err();
    assert_eq!(why, "no changed row has any more: users/guardians.sms");
    // One row that has it proves that it is still shown: then it was cleared in the SIS.
    let plan = told(&stored, &people, [vec![without(guardian, "sms"), other], Vec::new()]).unwrap();
    let record = testing::events(&plan).remove(0).record.unwrap();
    assert!(record.contacts[0].person.phones.is_empty(), "{record:?}");
}

/// Changes on several pages, of which the last ones came after a field was switched off.
fn told_on_pages(stored: &Stored, people: &People, pages: &[Vec<Value>]) -> PlanFacts {
    let mut facts = stored.clone().facts(people, Some([pages[0].clone(), Vec::new()]));
    let pull = &mut facts.pulls[0];
    let board = pull.board.as_mut().unwrap();
    let changes = board.listings.iter().position(|listing| listing.ask.since.is_some()).unwrap();
    board.listings[changes].last_page = Some(pages.len() as u32);
    for (number, rows) in (1_u32..).zip(pages).skip(1) {
        let place = (ListingNo(changes as u32), PageNo(number));
        let (row, fragments) = testing::collected(SisKind::OneRoster, "users", place, &json!({ "users": rows }));
        facts.pages.push(row);
        facts.pulls[0].fragments.push(fragments);
    }
    facts
}

#[test]
fn a_field_that_no_changed_row_of_a_page_has_any_more_has_everything_asked_for() {
    let people = first_people();
    let mut stored = Stored::default();
    stored.night(&people, None).unwrap();
    let shown = vec![user(&people, 100).unwrap(), user(&people, 102).unwrap()];
    let lost = vec![without(user(&people, 104).unwrap(), "sms"), user(&people, 0).unwrap()];
    for pages in [vec![shown.clone(), lost.clone()], vec![lost.clone(), shown.clone()]] {
        let asked = plan_or_ask(told_on_pages(&stored, &people, &pages), &mut stored.clone()).unwrap();
        let Planned::AskEverything(lacking) = asked else { panic!("everything is asked for") };
        assert_eq!(lacking[0].1, "no changed row of a page has any more: users/guardians.sms");
        // Nobody can be asked for a replay.
        let mut facts = told_on_pages(&stored, &people, &pages);
        facts.run.replay_of = Some(RunId(uuid::Uuid::nil()));
        let plan = plan(facts, &mut stored.clone()).unwrap();
        assert_eq!((plan.counts.changed, plan.findings[0].code.as_str()), (0, completeness::THINNED));
    }
    // Who has one beside it shows that it was cleared; pages of people who had none show nothing.
    let beside = [shown.clone(), vec![lost[0].clone(), user(&people, 106).unwrap()]];
    let students = [shown, vec![user(&people, 0).unwrap()]];
    for pages in [beside, students] {
        assert!(matches!(
            plan_or_ask(told_on_pages(&stored, &people, &pages), &mut stored.clone()).unwrap(),
            Planned::Made(_)
        ));
    }
}

/// A page of changes that cannot be had, or a listing of them, is no reason to give the night up: everything can be asked for.
#[test]
fn changes_that_could_not_be_had_have_everything_asked_for() {
    let people = first_people();
    let mut stored = Stored::default();
    stored.night(&people, None).unwrap();
    let changes = || stored.clone().facts(&people, Some([Vec::new(), Vec::new()]));
    let asked = |facts: PlanFacts| match plan_or_ask(facts, &mut stored.clone()).unwrap() {
        Planned::Made(_) => String::new(),
        Planned::AskEverything(lacking) => lacking[0].1.clone(),
    };
    assert_eq!(asked(changes()), "");
    let listing_of = |facts: &PlanFacts, resource: &str| {
        let listings = &facts.pulls[0].board.as_ref().unwrap().listings;
        listings.iter().position(|listing| listing.ask.since.is_some() && listing.ask.resource == resource).unwrap()
    };
    for resource in RESOURCES {
        let mut failed = changes();
        let number = listing_of(&failed, resource);
        let board = failed.pulls[0].board.as_mut().unwrap();
        board.listings[number].progress = Progress::Failed("page 2: server-error".to_owned());
        let why = asked(failed);
        assert!(why.starts_with(&format!("changes of {resource}: could not be fetched (page 2")), "{why}");
        let mut refused = changes();
        refused.pages.iter_mut().find(|page| page.listing.0 as usize == number).unwrap().status = 500;
        assert!(asked(refused).contains("HTTP 500"));
        let mut missing = changes();
        missing.pages.retain(|page| page.listing.0 as usize != number);
        assert!(asked(missing).contains("page 1 did not come in"));
    }
    // Nobody is asked for a replay, and once everything was asked for, changes do not matter any more.
    let mut replay = changes();
    replay.run.replay_of = Some(RunId(uuid::Uuid::nil()));
    replay.pulls[0].board.as_mut().unwrap().listings[2].progress = Progress::Failed("gone".to_owned());
    assert_eq!(asked(replay), "");
    let mut aside = changes();
    aside.pulls[0].board.as_mut().unwrap().listings[2].progress = Progress::Failed("gone".to_owned());
    let plan = plan(set_aside(aside, &people), &mut stored.clone()).unwrap();
    assert!(plan.findings.is_empty(), "{:?}", plan.findings);
}

/// Nobody can be asked for a replay: what looks emptied stays as it is stored.
#[test]
fn a_replay_keeps_what_looks_emptied() {
    let people = first_people();
    let mut stored = Stored::default();
    stored.night(&people, None).unwrap();
    let mut guardian = user(&people, 100).unwrap();
    guardian["familyName"] = json!("Ek");
    let rows = [vec![without(guardian, "sms")], vec![without(demographics(&people, 0).unwrap(), "birthDate")]];
    let mut facts = stored.clone().facts(&people, Some(rows));
    facts.run.replay_of = Some(RunId(uuid::Uuid::nil()));
    let Planned::Made(plan) = plan_or_ask(facts, &mut stored.clone()).unwrap() else { panic!("nobody is asked") };
    let said =
        |name: &str| plan.findings.iter().any(|found| found.code == "listing-empty" && found.message.contains(name));
    assert!(said("users.sms") && said("demographics.birthDate"), "{:?}", plan.findings);
    let record = testing::events(&plan).remove(0).record.unwrap();
    let contact = &record.contacts[0].person;
    assert_eq!((contact.last_name.as_deref(), contact.phones.len()), (Some("Ek"), 1), "{record:?}");
    assert!(record.birth_date.is_some(), "{record:?}");
}

/// What is switched off for good shows on a night of everything, whatever it is.
#[test]
fn a_field_that_nobody_has_any_more_stays_as_it_is_stored() {
    let people = first_people();
    let mut stored = Stored::default();
    stored.night(&people, None).unwrap();
    for (resource, key, name) in [
        (0, "familyName", "users.familyName"),
        (0, "givenName", "users.givenName"),
        (0, "agents", "users.agents"),
        (1, "birthDate", "demographics.birthDate"),
    ] {
        let mut facts = stored.clone().facts(&people, None);
        let listing = ListingNo(resource);
        let rows = if resource == 0 { everything(&people).0 } else { everything(&people).1 };
        let rows: Vec<Value> = rows.into_iter().map(|row| without(row, key)).collect();
        for page in facts.pulls[0].fragments.iter_mut().filter(|page| page.listing == listing) {
            let rows = rows.chunks(PAGE).nth(page.page.0 as usize - 1).unwrap();
            let body = json!({ RESOURCES[resource as usize]: rows }).to_string();
            page.fragments =
                decode(SisKind::OneRoster, RESOURCES[resource as usize], body.as_bytes()).unwrap().fragments;
        }
        let plan = plan(facts, &mut stored.clone()).unwrap();
        assert!(matches!(plan.verdict, Verdict::Nothing), "{name}: {:?}", plan.counts);
        let said: Vec<&str> = plan.findings.iter().map(|found| found.message.split(':').next().unwrap()).collect();
        assert_eq!(said, [name]);
        assert_eq!(plan.baselines[0].1.base, None, "{name}: nothing is laid over it");
    }
}

/// What is switched on is told of those rows alone that happen to change.
#[test]
fn a_field_that_nobody_had_before_has_everything_asked_for() {
    let people = first_people();
    let mut stored = Stored::default();
    stored.night(&people, None).unwrap();
    let mut student = user(&people, 0).unwrap();
    student["email"] = json!("ada@students.example");
    let why = told(&stored, &people, [vec![student], Vec::new()]).unwrap_err();
    assert_eq!(why, "changed rows have what none had: users.email");
}

/// Who comes into sight without having been changed is told by no filter.
#[test]
fn people_of_whom_no_row_tells_have_everything_asked_for() {
    let people = first_people();
    let mut stored = Stored::default();
    stored.night(&people, None).unwrap();
    let told = |users: Vec<Value>, others: Vec<Value>| {
        let rows = [users, others];
        let mut facts = stored.clone().facts(&people, Some(rows));
        facts.pulls[0].pull.discovery.as_mut().unwrap().totals.clear();
        match plan_or_ask(facts, &mut stored.clone()).unwrap() {
            Planned::Made(_) => String::new(),
            Planned::AskEverything(lacking) => lacking[0].1.clone(),
        }
    };
    let new = |id: u32| {
        let mut row = user(&people, 1).unwrap();
        row["sourcedId"] = json!(format!("u{id}"));
        row
    };
    let described = |id: u32| {
        let mut row = demographics(&people, 1).unwrap();
        row["sourcedId"] = json!(format!("u{id}"));
        row
    };
    assert_eq!(told(vec![new(20)], vec![described(20)]), "");
    assert!(told(vec![new(20)], Vec::new()).contains("demographics of a new student"));
    let mut named = user(&people, 0).unwrap();
    named["agents"] = json!([{"sourcedId": "u100"}, {"sourcedId": "u199"}]);
    assert!(told(vec![named.clone()], Vec::new()).contains("a guardian is named"));
    let mut guardian = user(&people, 100).unwrap();
    guardian["sourcedId"] = json!("u199");
    assert_eq!(told(vec![named, guardian], Vec::new()), "");
    // A source that gives everybody other ids shows the old ones no more, and no row says so.
    let all = 20..25;
    let why = told(all.clone().map(new).collect(), all.map(described).collect());
    assert!(why.contains("half as many new students"), "{why}");
}
