//! flag-sync against a Campus over real HTTP, on both engines: whatever goes wrong on the way, flags end as participations
//! want them, and none is doubled.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

#[path = "../../store/tests/common/mod.rs"]
mod common;
#[path = "../../store/tests/roster_support/mod.rs"]
mod roster_support;

use std::{collections::BTreeMap, num::NonZeroU32, sync::Arc, time::Duration};

use chrono::{NaiveDate, TimeDelta};
use common::{Fixture, day};
use rollcall_flag_sync::{Context, FlagHandler, FlagSyncConfig, reconcile::owed, survey};
use rollcall_proto::{
    bus::{SharedBus, embedded::EmbeddedBus},
    clock::{Clock as _, ManualClock},
    handler::{Fate, Handler as _},
    id::{DistrictId, RunId},
    message::Message,
    roster::Student,
};
use rollcall_sandbox::{Campus, CampusConfig, CampusFault, CampusFaults, CampusFlag, CampusProgramRow, Strike};
use rollcall_store::{
    Store,
    district::{ConnectionSecrets, District},
    document::{Author, NewDocument, SaveMode},
    flag::Flag,
};
use roster_support::{added, applied, gone, id, student};
use uuid::Uuid;

on_both_engines! {
    flags_follow_documents,
    an_unchanged_night_sends_no_write,
    passing_faults_cost_nothing,
    what_campus_refuses_is_set_aside_alone,
    half_a_batch_and_a_days_outage_are_made_good,
    a_refused_vendor_is_told_and_tried_again,
    edits_by_hand_are_reported_or_restored,
    a_take_over_ends_what_was_approved_and_nothing_else,
    a_take_over_goes_on_after_an_outage,
    an_old_flag_stays_until_the_new_one_is_there,
    a_take_over_compares_all_before_it_ends_any,
    a_take_over_on_another_day_is_approved_anew,
    an_old_flag_that_is_not_found_once_is_ended_all_the_same,
    a_status_ends_no_flag_and_makes_none,
    switches_are_switches,
    a_program_that_campus_has_not_fails_alone,
    a_flag_whose_answer_was_lost_is_ended_all_the_same,
    killed_at_any_moment,
    two_workers_at_once,
    one_student_is_synced_at_once,
}

const SPED: &str = "Special Education";
const STUDENTS: usize = 12;

/// A student whose id Campus knows.
fn in_campus(number: usize) -> Student {
    let id = number.to_string();
    Student { sis_id: Some(id.clone()), ..student(&id) }
}

/// An installation with a Campus of its own.
struct House {
    f: Fixture,
    campus: Campus,
    clock: ManualClock,
    bus: SharedBus,
    district: DistrictId,
    file: District,
    _dir: tempfile::TempDir,
}

fn file(campus: &Campus, programs: &serde_json::Value) -> District {
    serde_json::from_value(serde_json::json!({
        "id": "flags", "name": "Invented", "time_zone": "America/Chicago",
        "connection": [{
            "kind": "oneroster", "base_url": campus.base_url(), "token_url": campus.token_url(),
            "client_id": campus.config().client_id, "vendor_key": campus.config().vendor_key,
        }],
        "program": programs,
    }))
    .unwrap()
}

fn program(option: &str) -> serde_json::Value {
    serde_json::json!([{"name": SPED, "flags": true, "option": option, "cutover": "2026-08-15"}])
}

impl House {
    async fn new(f: Fixture, programs: serde_json::Value) -> Self {
        let campus = Campus::start(CampusConfig { page_limit: 5, ..CampusConfig::default() }).await.unwrap();
        let file = file(&campus, &programs);
        let dir = tempfile::tempdir().unwrap();
        let bus = Arc::new(EmbeddedBus::open(dir.path().join("bus.db")).await.unwrap());
        let clock = ManualClock::new("2026-09-01T12:00:00Z".parse().unwrap());
        let house = Self { f, campus, clock, bus, district: file.id.clone(), file, _dir: dir };
        house.apply(&house.file).await;
        let all = (0..STUDENTS).map(|number| added(in_campus(number))).collect();
        applied(house.store(), &house.district, 1, all).await;
        house
    }

    async fn create_new(f: Fixture) -> Self {
        Self::new(f, program("create-new")).await
    }

    async fn apply(&self, file: &District) {
        let config = self.campus.config();
        let secrets = ConnectionSecrets {
            client_secret: config.client_secret.clone().into(),
            vendor_secret: Some(config.vendor_secret.clone().into()),
            ..ConnectionSecrets::default()
        };
        self.store().apply_district(file, &[secrets], "test", self.clock.now()).await.unwrap();
    }

    fn store(&self) -> &Store {
        &self.f.store
    }

    fn context(&self) -> Context {
        let config = FlagSyncConfig {
            allow_private_addresses: true,
            requests_per_second: NonZeroU32::new(5_000).unwrap(),
            public_url: Some("https://rollcall.example/".parse().unwrap()),
            ..FlagSyncConfig::default()
        };
        let (bus, store, clock) = (Arc::clone(&self.bus), self.f.store.clone(), self.clock.clone());
        Context::new(config, bus, store, Arc::new(clock)).unwrap()
    }

    fn handler(&self) -> FlagHandler {
        FlagHandler::new(self.context())
    }

    /// Handles what the reconciler would ask for, until nothing is owed. Waits are over in no time.
    async fn settle(&self) {
        let handler = self.handler();
        for _ in 0..60 {
            let work = self.store().flag_work().await.unwrap().pop().unwrap();
            let now = self.clock.now();
            if let Some(later) = work.retry_at.or(work.lease_until).filter(|later| *later > now) {
                self.clock.set(later);
                continue;
            }
            let Some(body) = owed(&work, now, TimeDelta::zero()) else { return };
            let message = Message::new(self.district.clone(), RunId(Uuid::now_v7()), now, body);
            assert_eq!(handler.handle(message).await, Fate::Done);
            self.clock.advance(TimeDelta::seconds(1));
        }
        panic!("it never settles: {:?}", self.flags().await);
    }

    /// A run stopped; its flags are synced.
    async fn night(&self) {
        self.clock.advance(TimeDelta::hours(1));
        self.store().ask_for_flags(&self.district).await.unwrap();
        self.settle().await;
    }

    async fn complete(&self, name: &str, student: &str, starts: &str, ends: Option<&str>) {
        let new = NewDocument {
            id: name.parse().unwrap(),
            student: id(student),
            program: SPED.to_owned(),
            kind: "IEP".to_owned(),
            completed: true,
            starts_on: day(starts),
            ends_on: ends.map(day),
            data: None,
            file: None,
        };
        self.clock.advance(TimeDelta::seconds(1));
        self.store().save_document(&self.district, &new, SaveMode::Upsert, self.author()).await.unwrap().unwrap();
    }

    async fn complete_all(&self) {
        for number in 0..STUDENTS {
            self.complete(&format!("d{number}"), &number.to_string(), "2026-08-20", None).await;
        }
    }

    fn author(&self) -> Author<'static> {
        Author { actor: "test", key: None, at: self.clock.now() }
    }

    async fn withdraw(&self, name: &str) {
        self.clock.advance(TimeDelta::seconds(1));
        let name = name.parse().unwrap();
        self.store().withdraw_document(&self.district, &name, self.author()).await.unwrap().unwrap();
    }

    async fn flags(&self) -> Vec<Flag> {
        self.store().flags(&self.district, None, None).await.unwrap()
    }

    /// States as `flags list` shows them, by student.
    async fn states(&self) -> BTreeMap<String, (&'static str, Option<String>)> {
        let today = self.clock.now().date_naive();
        let flags = self.flags().await.into_iter();
        flags.map(|flag| (flag.student.0.clone(), (flag.shown_state(today), flag.reason))).collect()
    }

    /// What Campus shows, by student: none has two.
    fn shown(&self) -> BTreeMap<String, (NaiveDate, Option<NaiveDate>)> {
        let flags = self.campus.flags();
        let shown: BTreeMap<_, _> = flags.iter().map(|flag| (flag.student.clone(), (flag.begins, flag.ends))).collect();
        assert_eq!(shown.len(), flags.len(), "a flag is doubled: {flags:#?}");
        shown
    }

    /// Every student's flag is open since the first day of their document.
    fn assert_all_shown(&self) {
        let expected = (0..STUDENTS).map(|number| (number.to_string(), (day("2026-08-20"), None))).collect();
        assert_eq!(self.shown(), expected);
    }

    async fn assert_all_pushed(&self) {
        self.assert_all_shown();
        let states = self.states().await;
        assert!(states.values().all(|state| *state == ("pushed", None)), "{states:#?}");
        assert_eq!(states.len(), STUDENTS);
    }

    fn strike(&self, fault: CampusFault, times: Option<u32>) {
        let strikes = vec![Strike { fault, writes_only: true, only: None, times }];
        self.campus.set_faults(CampusFaults { strikes, ..CampusFaults::default() });
    }

    fn typed_in(&self, name: &str, student: &str, begins: &str, ends: Option<&str>) {
        self.campus.type_in(CampusFlag {
            id: name.to_owned(),
            student: student.to_owned(),
            program: "101".to_owned(),
            begins: day(begins),
            ends: ends.map(day),
            link: None,
            comment: Some("call first".to_owned()),
        });
    }

    /// Flags that were typed in, by id: their last day.
    fn old(&self) -> BTreeMap<String, Option<NaiveDate>> {
        let old = self.campus.flags().into_iter().filter(|flag| flag.id.starts_with("old"));
        old.map(|flag| (flag.id, flag.ends)).collect()
    }

    async fn approve(&self) {
        let survey = survey(&self.context(), &self.district, SPED).await.unwrap();
        let (store, now) = (self.store(), self.clock.now());
        let approved = store.approve_cutover(&self.district, SPED, day("2026-08-15"), &survey.to_end, "ops", now);
        assert!(approved.await.unwrap());
    }
}

async fn flags_follow_documents(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete("a", "1", "2026-05-01", Some("2026-12-31")).await;
    house.complete("b", "2", "2026-10-01", None).await;
    house.complete("c", "3", "2026-01-01", Some("2026-08-14")).await;
    house.settle().await;
    let cutover = day("2026-08-15");
    let expected = BTreeMap::from([
        ("1".to_owned(), (cutover, Some(day("2026-12-31")))),
        ("2".to_owned(), (day("2026-10-01"), None)),
    ]);
    assert_eq!(house.shown(), expected, "one begins at the cutover, one lies ahead, one was over before");
    let first = house.campus.flags().into_iter().find(|flag| flag.student == "1").unwrap();
    assert_eq!(first.link, Some(format!("https://rollcall.example/lti/{}/launch?flag={}", house.district, first.id)));

    house.complete("a2", "1", "2027-01-01", Some("2027-06-30")).await;
    house.complete("b", "2", "2026-09-15", None).await;
    house.settle().await;
    assert_eq!(house.shown()["1"], (cutover, Some(day("2027-06-30"))), "the next document follows without a gap");
    assert_eq!(house.shown()["2"], (day("2026-09-15"), None), "a corrected start changes the same flag");

    house.withdraw("b").await;
    house.settle().await;
    assert_eq!(house.shown()["2"], (day("2026-09-15"), Some(day("2026-09-15"))), "an end date, never a delete");
    let ledger = house.store().flag_ledger(&house.district, Some(&first.id), 10).await.unwrap();
    let told: Vec<_> = ledger.iter().rev().map(|line| (line.action.as_str(), line.answer.as_str())).collect();
    assert_eq!(told, [("put", "201"), ("read-back", "as-wished"), ("put", "200"), ("read-back", "as-wished")]);
    assert_eq!(ledger[1].why, "participation-changed");
}

async fn an_unchanged_night_sends_no_write(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete_all().await;
    house.settle().await;
    house.assert_all_pushed().await;
    let (writes, flags) = (house.campus.stats().writes, house.flags().await);
    let ledger = house.store().flag_ledger(&house.district, None, 1_000).await.unwrap().len();
    for _ in 0..3 {
        house.night().await;
    }
    assert_eq!(house.campus.stats().writes, writes);
    assert_eq!(house.flags().await, flags);
    assert_eq!(house.store().flag_ledger(&house.district, None, 1_000).await.unwrap().len(), ledger);
}

async fn passing_faults_cost_nothing(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete_all().await;
    for fault in [
        CampusFault::LostAnswer,
        CampusFault::Status(401),
        CampusFault::Status(500),
        CampusFault::Status(503),
        CampusFault::TooMany(1),
        CampusFault::TooMany(600),
    ] {
        house.strike(fault, Some(7));
        house.night().await;
        house.assert_all_pushed().await;
        // Every flag anew.
        for flag in house.campus.flags() {
            house.campus.delete(&flag.id);
        }
        let mut restoring = house.file.clone();
        restoring.programs[0].on_drift = rollcall_store::district::OnDrift::Restore;
        house.apply(&restoring).await;
    }
}

async fn what_campus_refuses_is_set_aside_alone(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete_all().await;
    for status in [404, 409, 422] {
        let only = Some("7".to_owned());
        let strikes = vec![Strike { fault: CampusFault::Status(status), writes_only: true, only, times: None }];
        house.campus.set_faults(CampusFaults { strikes, ..CampusFaults::default() });
        house.night().await;
        assert_eq!(house.shown().len(), STUDENTS - 1);
        assert_eq!(house.states().await["7"], ("failed", Some(format!("campus-{status}"))));
    }
    house.campus.set_faults(CampusFaults::default());
    house.night().await;
    house.assert_all_pushed().await;
}

async fn half_a_batch_and_a_days_outage_are_made_good(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete_all().await;
    house.campus.set_faults(CampusFaults { outage_after_writes: Some(5), ..CampusFaults::default() });
    let (handler, begin) = (house.handler(), house.clock.now());
    while house.clock.now() < begin + TimeDelta::hours(24) {
        let message = Message::flag_sync(house.district.clone(), None, house.clock.now());
        assert_eq!(handler.handle(message).await, Fate::Done, "no message waits for a Campus that is away");
        let work = house.store().flag_work().await.unwrap().pop().unwrap();
        house.clock.set(work.retry_at.expect("it is put off").max(house.clock.now() + TimeDelta::seconds(1)));
    }
    assert_eq!(house.campus.flags().len(), 5);
    let states = house.states().await;
    assert!(states.values().all(|(state, _)| *state != "failed"), "an outage costs no flag: {states:#?}");
    assert!(house.store().flags_problem(&house.district).await.unwrap().is_some());
    house.campus.set_faults(CampusFaults::default());
    house.settle().await;
    house.assert_all_pushed().await;
    assert_eq!(house.store().flags_problem(&house.district).await.unwrap(), None);
}

async fn a_refused_vendor_is_told_and_tried_again(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete_all().await;
    house.campus.set_faults(CampusFaults { vendor_refused: true, ..CampusFaults::default() });
    let message = Message::flag_sync(house.district.clone(), None, house.clock.now());
    assert_eq!(house.handler().handle(message).await, Fate::Done);
    let problem = house.store().flags_problem(&house.district).await.unwrap().unwrap();
    assert!(problem.starts_with("access-refused") && problem.contains("vendor_secret"), "{problem}");
    assert!(!problem.contains(&house.campus.config().vendor_secret));
    house.campus.set_faults(CampusFaults::default());
    house.settle().await;
    house.assert_all_pushed().await;
}

async fn edits_by_hand_are_reported_or_restored(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete_all().await;
    house.settle().await;
    let flag = |student: &str| house.campus.flags().into_iter().find(|flag| flag.student == student).unwrap();
    house.campus.type_in(CampusFlag { ends: Some(day("2026-08-30")), ..flag("3") });
    house.campus.delete(&flag("4").id);
    house.night().await;
    house.night().await;
    let states = house.states().await;
    assert_eq!(states["3"], ("drift", Some("edited end".to_owned())));
    assert_eq!(states["4"], ("drift", Some("deleted".to_owned())));
    assert_eq!(house.shown()["3"].1, Some(day("2026-08-30")), "it is only reported");
    let ledger = house.store().flag_ledger(&house.district, None, 1_000).await.unwrap();
    assert_eq!(ledger.iter().filter(|line| line.action == "drift").count(), 2, "each is told once");
    let mut restoring = house.file.clone();
    restoring.programs[0].on_drift = rollcall_store::district::OnDrift::Restore;
    house.apply(&restoring).await;
    house.night().await;
    house.assert_all_pushed().await;
}

/// Eight old flags: of students with and without a new one, and of all the kinds that must not be touched.
fn old_flags(house: &House) {
    house.typed_in("old-0", "0", "2024-01-01", None);
    house.typed_in("old-1", "1", "2024-01-01", Some("2027-01-01"));
    house.typed_in("old-2", "2", "2026-08-14", Some("2026-08-15"));
    house.typed_in("old-unknown", "999", "2024-01-01", None);
    house.typed_in("old-ended", "3", "2024-01-01", Some("2026-08-14"));
    house.typed_in("old-later", "4", "2026-08-15", None);
}

async fn a_take_over_ends_what_was_approved_and_nothing_else(f: Fixture) {
    let house = House::new(f, program("take-over")).await;
    house.complete("a", "0", "2026-01-01", None).await;
    house.complete("b", "1", "2026-08-20", None).await;
    old_flags(&house);
    let before = house.old();
    house.settle().await;
    assert_eq!(house.old(), before, "nothing happens before a person approves");
    assert_eq!(house.states().await["0"], ("wanted", Some("awaiting-approval".to_owned())));
    let found = survey(&house.context(), &house.district, SPED).await.unwrap();
    let to_end: Vec<_> = found.to_end.iter().map(|flag| flag.flag.as_str()).collect();
    assert_eq!(to_end, ["old-0", "old-1", "old-2", "old-unknown"]);
    assert_eq!(found.without_new, 2);
    assert!(found.warnings.iter().any(|text| text.starts_with("high-share")), "{:?}", found.warnings);
    assert_eq!(found.warnings.len(), 1, "a document began before the district came: {:?}", found.warnings);

    house.approve().await;
    house.typed_in("old-typed-in-later", "5", "2024-01-01", None);
    house.night().await;
    let last = Some(day("2026-08-14"));
    let expected = BTreeMap::from([
        ("old-0", last),
        ("old-1", last),
        ("old-2", last),
        ("old-unknown", last),
        ("old-ended", last),
        ("old-later", None),
        ("old-typed-in-later", None),
    ]);
    assert_eq!(house.old(), expected.into_iter().map(|(id, end)| (id.to_owned(), end)).collect());
    let ours: BTreeMap<_, _> = house
        .campus
        .flags()
        .into_iter()
        .filter(|flag| flag.link.is_some())
        .map(|flag| (flag.student, (flag.begins, flag.ends)))
        .collect();
    let expected = [("0", day("2026-08-15")), ("1", day("2026-08-20"))];
    assert_eq!(ours, expected.map(|(student, begins)| (student.to_owned(), (begins, None))).into());
    let kept = house.campus.flags().into_iter().find(|flag| flag.id == "old-0").unwrap();
    assert_eq!(kept.comment.as_deref(), Some("call first"), "all else stays");
    let cutover = house.store().cutovers(&house.district).await.unwrap().remove(0);
    assert!(cutover.done_at.is_some());
    // Once: one opened again by hand afterwards is somebody's business.
    house.typed_in("old-0", "0", "2024-01-01", None);
    house.night().await;
    assert_eq!(house.old()["old-0"], None);
}

async fn a_take_over_goes_on_after_an_outage(f: Fixture) {
    let house = House::new(f, program("take-over")).await;
    house.complete("a", "0", "2026-01-01", None).await;
    old_flags(&house);
    house.approve().await;
    // The new flag, and two of the four old ones.
    house.campus.set_faults(CampusFaults { outage_after_writes: Some(3), ..CampusFaults::default() });
    house.store().ask_for_flags(&house.district).await.unwrap();
    let message = Message::flag_sync(house.district.clone(), None, house.clock.now());
    assert_eq!(house.handler().handle(message).await, Fate::Done);
    let open = house.store().cutover_flags(&house.district, SPED, true, 10).await.unwrap();
    assert!((2..=3).contains(&open.len()), "it stopped half-way: {open:?}");
    house.typed_in("old-typed-in-later", "5", "2024-01-01", None);
    house.campus.set_faults(CampusFaults { outage: true, ..CampusFaults::default() });
    house.campus.set_faults(CampusFaults::default());
    house.night().await;
    assert!(house.store().cutovers(&house.district).await.unwrap()[0].done_at.is_some());
    let still_open: Vec<_> =
        house.old().into_iter().filter(|(_, end)| end.is_none_or(|end| end > day("2026-08-14"))).collect();
    assert_eq!(still_open, [("old-later".to_owned(), None), ("old-typed-in-later".to_owned(), None)]);
    let ledger = house.store().flag_ledger(&house.district, None, 100).await.unwrap();
    assert_eq!(ledger.iter().filter(|line| line.action == "take-over").count(), 4, "each is told once");
}

async fn an_old_flag_stays_until_the_new_one_is_there(f: Fixture) {
    let house = House::new(f, program("take-over")).await;
    house.complete("a", "0", "2026-01-01", None).await;
    house.typed_in("old-0", "0", "2024-01-01", None);
    house.approve().await;
    let id = house.flags().await.first().map(|flag| flag.id.to_string());
    assert_eq!(id, None, "nothing was compared yet");
    let strikes =
        vec![Strike { fault: CampusFault::Status(422), writes_only: true, only: Some("0".to_owned()), times: Some(1) }];
    house.campus.set_faults(CampusFaults { strikes, ..CampusFaults::default() });
    house.night().await;
    assert_eq!(house.states().await["0"], ("failed", Some("campus-422".to_owned())));
    assert_eq!(house.old()["old-0"], None, "no child is left without a flag");
    assert!(house.store().cutovers(&house.district).await.unwrap()[0].done_at.is_none());
    house.night().await;
    assert_eq!(house.old()["old-0"], Some(day("2026-08-14")));
    assert!(house.store().cutovers(&house.district).await.unwrap()[0].done_at.is_some());
}

/// What was compared before the approval holds nothing back afterwards, also where only one student's message comes.
async fn a_take_over_compares_all_before_it_ends_any(f: Fixture) {
    let house = House::new(f, program("take-over")).await;
    house.complete("a", "0", "2026-01-01", None).await;
    house.typed_in("old-0", "0", "2024-01-01", None);
    house.night().await;
    assert_eq!(house.states().await["0"], ("wanted", Some("awaiting-approval".to_owned())));
    house.clock.advance(TimeDelta::seconds(1));
    house.approve().await;
    house.strike(CampusFault::Status(422), Some(1));
    let message = || Message::flag_sync(house.district.clone(), Some(id("5")), house.clock.now());
    assert_eq!(house.handler().handle(message()).await, Fate::Done);
    assert_eq!(house.old()["old-0"], None, "its new flag was not even compared");
    assert!(house.flags().await[0].due, "by now it was");
    house.clock.advance(TimeDelta::seconds(1));
    assert_eq!(house.handler().handle(message()).await, Fate::Done);
    assert_eq!(house.states().await["0"].0, "failed");
    assert_eq!(house.old()["old-0"], None);
    assert_eq!(house.store().flag_work().await.unwrap()[0].take_over_on, None, "one that waits keeps nobody busy");
    house.night().await;
    assert_eq!(house.old()["old-0"], Some(day("2026-08-14")));
}

async fn a_take_over_on_another_day_is_approved_anew(f: Fixture) {
    let house = House::new(f, program("take-over")).await;
    house.complete("a", "0", "2026-01-01", None).await;
    house.typed_in("old-0", "0", "2024-01-01", None);
    house.approve().await;
    let mut moved = house.file.clone();
    moved.programs[0].cutover = Some(day("2026-08-20"));
    house.apply(&moved).await;
    house.night().await;
    assert_eq!(house.states().await["0"], ("wanted", Some("awaiting-approval".to_owned())));
    assert_eq!(house.old()["old-0"], None, "that day was approved by nobody");
    let found = survey(&house.context(), &house.district, SPED).await.unwrap();
    let approve = |on: &'static str| {
        let now = house.clock.now();
        house.store().approve_cutover(&house.district, SPED, day(on), &found.to_end, "ops", now)
    };
    assert!(approve("2026-08-20").await.unwrap());
    house.night().await;
    assert_eq!(house.old()["old-0"], Some(day("2026-08-19")));
    assert!(!approve("2026-08-25").await.unwrap(), "one is ended: the day stays");
}

async fn an_old_flag_that_is_not_found_once_is_ended_all_the_same(f: Fixture) {
    let house = House::new(f, program("take-over")).await;
    house.typed_in("old-0", "0", "2024-01-01", None);
    house.typed_in("old-1", "1", "2024-01-01", None);
    house.approve().await;
    house.campus.delete("old-1");
    let only = Some("old-0".to_owned());
    let strikes = vec![Strike { fault: CampusFault::Status(404), writes_only: false, only, times: Some(1) }];
    house.campus.set_faults(CampusFaults { strikes, ..CampusFaults::default() });
    house.night().await;
    assert_eq!(house.old()["old-0"], Some(day("2026-08-14")));
    let flags = house.store().cutover_flags(&house.district, SPED, false, 10).await.unwrap();
    let outcomes: Vec<_> = flags.iter().map(|flag| (flag.flag.as_str(), flag.outcome.as_deref())).collect();
    assert_eq!(outcomes, [("old-0", Some("ended")), ("old-1", Some("gone"))]);
}

async fn a_status_ends_no_flag_and_makes_none(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete("a", "1", "2026-08-20", None).await;
    house.settle().await;
    applied(house.store(), &house.district, 2, vec![gone("1"), gone("2")]).await;
    house.complete("b", "2", "2026-08-20", None).await;
    house.night().await;
    assert_eq!(house.shown(), BTreeMap::from([("1".to_owned(), (day("2026-08-20"), None))]));
    let states = house.states().await;
    assert_eq!(states["1"], ("pushed", None));
    assert_eq!(states["2"], ("wanted", Some("not-enrolled".to_owned())));
    house.withdraw("a").await;
    house.settle().await;
    assert!(house.shown()["1"].1.is_some(), "the participation ends it");
}

async fn switches_are_switches(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete("a", "1", "2026-08-20", None).await;
    house.settle().await;
    let mut off = house.file.clone();
    off.programs[0].flags = false;
    house.apply(&off).await;
    house.complete("b", "2", "2026-08-20", None).await;
    house.withdraw("a").await;
    assert!(house.store().flag_work().await.unwrap().is_empty());
    let message = Message::flag_sync(house.district.clone(), None, house.clock.now());
    assert_eq!(house.handler().handle(message).await, Fate::Done);
    let mut district_off = house.file.clone();
    district_off.flags.enabled = false;
    house.apply(&district_off).await;
    let message = Message::flag_sync(house.district.clone(), None, house.clock.now());
    assert_eq!(house.handler().handle(message).await, Fate::Done);
    assert_eq!(house.shown(), BTreeMap::from([("1".to_owned(), (day("2026-08-20"), None))]), "nothing is written");
    house.apply(&house.file).await;
    house.night().await;
    assert_eq!(house.shown().len(), 2);
    assert!(house.shown()["1"].1.is_some(), "what was due is made good");
}

async fn a_program_that_campus_has_not_fails_alone(f: Fixture) {
    let mut programs = program("create-new");
    let other =
        serde_json::json!({"name": "Section 504", "flags": true, "option": "create-new", "cutover": "2026-08-15"});
    programs.as_array_mut().unwrap().push(other);
    let house = House::new(f, programs).await;
    house.complete("a", "1", "2026-08-20", None).await;
    let plan = NewDocument {
        id: "b".parse().unwrap(),
        student: id("2"),
        program: "Section 504".to_owned(),
        kind: "504".to_owned(),
        completed: true,
        starts_on: day("2026-08-20"),
        ends_on: None,
        data: None,
        file: None,
    };
    house.store().save_document(&house.district, &plan, SaveMode::Create, house.author()).await.unwrap().unwrap();
    let good = house.campus.programs();
    let with = |change: &dyn Fn(&mut CampusProgramRow)| {
        let mut programs = good.clone();
        change(&mut programs[1]);
        programs
    };
    let cases = [
        ("flag-missing", with(&|program| "section 504".clone_into(&mut program.name))),
        ("flag-inactive", with(&|program| program.active = false)),
        ("flag-missing", with(&|program| program.special_ed = false)),
    ];
    for (code, programs) in cases {
        house.campus.set_programs(programs);
        house.night().await;
        let states = house.states().await;
        assert_eq!(states["1"], ("pushed", None), "{code}");
        assert!(states["2"].0 == "failed" && states["2"].1.as_ref().unwrap().starts_with(code), "{states:?}");
        assert_eq!(house.shown().len(), 1);
    }
    house.campus.set_programs(good);
    house.night().await;
    assert_eq!(house.shown().len(), 2);
}

async fn a_flag_whose_answer_was_lost_is_ended_all_the_same(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete("a", "1", "2026-08-20", None).await;
    house.strike(CampusFault::LostAnswer, None);
    let message = Message::flag_sync(house.district.clone(), None, house.clock.now());
    assert_eq!(house.handler().handle(message).await, Fate::Done);
    assert_eq!(house.shown()["1"].1, None, "Campus has it");
    assert_eq!(house.flags().await[0].pushed, None, "and we do not know");
    house.withdraw("a").await;
    house.campus.set_faults(CampusFaults::default());
    house.settle().await;
    assert_eq!(house.shown()["1"].1, Some(day("2026-08-31")));
}

/// The future is dropped wherever it stands, as a process that is killed: after a commit, within a request, between both.
async fn killed_at_any_moment(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete_all().await;
    let mut dice = fastrand_like(7);
    for kill in 0..40 {
        let handler = house.handler();
        house.clock.advance(TimeDelta::minutes(2));
        let message = Message::flag_sync(house.district.clone(), None, house.clock.now());
        let life = Duration::from_micros(dice() % 60_000);
        let _ = tokio::time::timeout(life, handler.handle(message)).await;
        if kill % 5 == 4 {
            let number = dice() as usize % STUDENTS;
            house.withdraw(&format!("d{number}")).await;
            house.complete(&format!("d{number}-{kill}"), &number.to_string(), "2026-08-20", None).await;
        }
    }
    house.clock.advance(TimeDelta::minutes(2));
    house.night().await;
    house.night().await;
    house.assert_all_pushed().await;
}

/// A small generator of numbers, the same each time.
fn fastrand_like(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    }
}

async fn two_workers_at_once(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete_all().await;
    let (one, two) = (house.handler(), house.handler());
    for _ in 0..4 {
        let message = || Message::flag_sync(house.district.clone(), None, house.clock.now());
        let (first, second) = tokio::join!(one.handle(message()), two.handle(message()));
        assert_eq!((first, second), (Fate::Done, Fate::Done));
        house.clock.advance(TimeDelta::minutes(2));
    }
    house.settle().await;
    house.assert_all_pushed().await;
    assert_eq!(house.campus.stats().writes, STUDENTS as u64, "and none was sent twice");
}

async fn one_student_is_synced_at_once(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete_all().await;
    house.settle().await;
    let calls = house.campus.stats().calls;
    house.complete("d3", "3", "2026-08-20", Some("2027-01-31")).await;
    let message = Message::flag_sync(house.district.clone(), Some(id("3")), house.clock.now());
    assert_eq!(house.handler().handle(message.clone()).await, Fate::Done);
    assert_eq!(house.shown()["3"].1, Some(day("2027-01-31")));
    let asked = house.campus.stats().calls - calls;
    assert!(asked <= 8, "one student costs {asked} requests");
    // The same message again does nothing.
    let writes = house.campus.stats().writes;
    assert_eq!(house.handler().handle(message).await, Fate::Done);
    assert_eq!(house.campus.stats().writes, writes);
}
