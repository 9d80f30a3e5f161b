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
use rollcall_flag_sync::{Context, FlagHandler, FlagSyncConfig, approve, plan_take_overs, reconcile::owed};
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
    flag::{ApprovedTakeOver, Flag, TakeOverPlan, TakeOverRefused, TakeOverState},
};
use roster_support::{added, applied, gone, id, student};
use uuid::Uuid;

on_both_engines! {
    flags_follow_documents,
    an_unchanged_night_sends_no_write,
    passing_faults_cost_nothing,
    what_campus_refuses_is_set_aside_alone,
    what_is_refused_for_good_is_sent_once,
    a_lease_is_renewed_however_long_a_comparison_takes,
    what_is_approved_is_what_was_looked_at,
    an_approval_waits_for_whoever_is_at_work,
    an_old_flag_that_cannot_be_ended_is_sent_once,
    a_base_url_is_taken_as_it_was_copied,
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
        Self::with(f, programs, CampusConfig { page_limit: 5, ..CampusConfig::default() }).await
    }

    async fn with(f: Fixture, programs: serde_json::Value, config: CampusConfig) -> Self {
        let campus = Campus::start(config).await.unwrap();
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
        self.context_with(FlagSyncConfig::default())
    }

    fn context_with(&self, config: FlagSyncConfig) -> Context {
        let config = FlagSyncConfig {
            allow_private_addresses: true,
            requests_per_second: NonZeroU32::new(5_000).unwrap(),
            public_url: Some("https://rollcall.example/".parse().unwrap()),
            decision_wait: Duration::from_millis(300),
            ..config
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

    /// A run stopped, and nobody asked for anything.
    async fn unasked_night(&self) {
        self.clock.advance(TimeDelta::hours(1));
        let message = Message::flag_sync(self.district.clone(), None, self.clock.now());
        assert_eq!(self.handler().handle(message).await, Fate::Done);
        self.settle().await;
    }

    /// A run stopped, or a person asked; its flags are synced.
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
        self.try_approve(&[]).await.unwrap();
    }

    async fn try_approve(&self, looked_at: &[String]) -> Result<Vec<ApprovedTakeOver>, TakeOverRefused> {
        approve(&self.context(), &self.district, Some(SPED), looked_at, "ops").await.unwrap()
    }

    async fn plan(&self) -> TakeOverPlan {
        plan_take_overs(&self.context(), &self.district, Some(SPED)).await.unwrap().unwrap().remove(0)
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
        CampusFault::Status(408),
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

async fn what_is_refused_for_good_is_sent_once(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete_all().await;
    let refuse = |status| {
        let only = Some("7".to_owned());
        let strikes = vec![Strike { fault: CampusFault::Status(status), writes_only: true, only, times: None }];
        house.campus.set_faults(CampusFaults { strikes, ..CampusFaults::default() });
    };
    let asked = async || house.store().flag_ledger(&house.district, None, 1_000).await.unwrap().len();
    refuse(422);
    house.settle().await;
    let before = asked().await;
    for _ in 0..3 {
        house.unasked_night().await;
    }
    assert_eq!(asked().await, before, "an unchanged night sends nothing");
    assert_eq!(house.states().await["7"], ("failed", Some("campus-422".to_owned())));
    // Something else is wanted.
    house.complete("d7", "7", "2026-08-21", None).await;
    house.settle().await;
    assert_eq!(asked().await, before + 1);
    house.unasked_night().await;
    assert_eq!(asked().await, before + 1);
    // A person asks.
    house.night().await;
    assert_eq!(asked().await, before + 2);
    // A student who is unknown today may be there tomorrow.
    refuse(404);
    house.night().await;
    house.unasked_night().await;
    assert_eq!(asked().await, before + 4);
    house.campus.set_faults(CampusFaults::default());
    house.unasked_night().await;
    assert_eq!(house.shown()["7"].0, day("2026-08-21"));
    assert_eq!(house.flags().await.into_iter().filter(|flag| flag.refused.is_some()).count(), 0);
}

/// A worker whose work takes many times its lease keeps it, and nobody else gets in meanwhile.
async fn a_lease_is_renewed_however_long_a_comparison_takes(f: Fixture) {
    let config = CampusConfig { page_limit: 5, latency_ms: 150, ..CampusConfig::default() };
    let house = House::with(f, program("create-new"), config).await;
    house.complete_all().await;
    let lease = Duration::from_millis(400);
    let context = house.context_with(FlagSyncConfig { lease, ..FlagSyncConfig::default() });
    let handler = FlagHandler::new(context);
    let message = Message::flag_sync(house.district.clone(), None, house.clock.now());
    let began = tokio::time::Instant::now();
    let mut work = tokio::spawn(async move { handler.handle(message).await });
    while house.store().flag_work().await.unwrap()[0].lease_until.is_none() {
        assert!(began.elapsed() < Duration::from_secs(20), "the worker does not begin");
    }
    let mut tries = 0;
    let fate = loop {
        tokio::select! {
            fate = &mut work => break fate.unwrap(),
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
        }
        // The lease is measured by the house's clock.
        house.clock.advance(TimeDelta::milliseconds(50));
        let (other, now) = (Uuid::now_v7(), house.clock.now());
        let claimed =
            house.store().claim_flags(&house.district, other, now, now + TimeDelta::seconds(1)).await.unwrap();
        if claimed {
            // The worker has given it back by itself, or everything below is untrue.
            break work.await.unwrap();
        }
        tries += 1;
    };
    assert_eq!(fate, Fate::Done);
    assert!(began.elapsed() > 2 * lease && tries > 5, "the comparison was quick: {:?}", began.elapsed());
    house.assert_all_pushed().await;
    assert_eq!(house.campus.stats().writes, STUDENTS as u64, "all in one go");
}

async fn what_is_approved_is_what_was_looked_at(f: Fixture) {
    let house = House::new(f, program("take-over")).await;
    house.complete("a", "0", "2026-01-01", None).await;
    old_flags(&house);
    let seen = house.plan().await;
    assert_eq!((seen.to_end.len(), seen.without_new, seen.state), (4, 3, TakeOverState::AwaitingApproval));
    assert_eq!(house.plan().await, seen, "looking again shows the same");
    house.typed_in("old-more", "5", "2024-01-01", None);
    let now = house.plan().await.hash;
    let changed = TakeOverRefused::PlanChanged { program: SPED.to_owned(), now: now.clone() };
    assert_eq!(house.try_approve(std::slice::from_ref(&seen.hash)).await, Err(changed));
    assert_eq!(house.store().cutovers(&house.district).await.unwrap(), [], "nothing was approved");
    let approved = house.try_approve(std::slice::from_ref(&now)).await.unwrap().remove(0);
    assert_eq!((approved.to_end, approved.hash.as_str(), approved.again), (5, now.as_str(), false));
    // The answer was lost; meanwhile the flags are ended.
    house.night().await;
    let again = house.try_approve(std::slice::from_ref(&now)).await.unwrap().remove(0);
    assert_eq!((again.to_end, again.hash.as_str(), again.again), (5, now.as_str(), true));
    assert_eq!(house.try_approve(&[]).await, Err(TakeOverRefused::Approved(SPED.to_owned())));
    assert_eq!(house.plan().await.state, TakeOverState::Done);
    let trail = house.store().audit_trail(&house.district, 10).await.unwrap();
    assert_eq!(trail.iter().filter(|entry| entry.action == "flags.approve").count(), 1);
    let other = plan_take_overs(&house.context(), &house.district, Some("Section 504")).await.unwrap();
    assert_eq!(other, Err(TakeOverRefused::NoProgram("Section 504".to_owned())));
}

async fn an_approval_waits_for_whoever_is_at_work(f: Fixture) {
    let house = House::new(f, program("take-over")).await;
    house.typed_in("old-0", "0", "2024-01-01", None);
    let (worker, now) = (Uuid::now_v7(), house.clock.now());
    assert!(house.store().claim_flags(&house.district, worker, now, now + TimeDelta::minutes(1)).await.unwrap());
    assert_eq!(house.try_approve(&[]).await, Err(TakeOverRefused::Busy));
    assert!(house.store().renew_flags(&house.district, worker, now + TimeDelta::minutes(1)).await.unwrap());
    house.store().release_flags(&house.district, worker).await.unwrap();
    house.approve().await;
    assert!(!house.store().renew_flags(&house.district, worker, now).await.unwrap(), "it is nobody's");
    house.night().await;
    assert_eq!(house.old()["old-0"], Some(day("2026-08-14")));
}

async fn an_old_flag_that_cannot_be_ended_is_sent_once(f: Fixture) {
    let house = House::new(f, program("take-over")).await;
    house.typed_in("old-0", "0", "2024-01-01", None);
    house.approve().await;
    house.strike(CampusFault::Status(422), None);
    house.settle().await;
    let told = async || house.store().flag_ledger(&house.district, None, 100).await.unwrap().len();
    let before = told().await;
    house.unasked_night().await;
    house.unasked_night().await;
    assert_eq!((told().await, house.old()["old-0"]), (before, None));
    house.campus.set_faults(CampusFaults::default());
    house.night().await;
    assert_eq!(house.old()["old-0"], Some(day("2026-08-14")), "a person asked");
}

async fn a_base_url_is_taken_as_it_was_copied(f: Fixture) {
    let house = House::create_new(f).await;
    house.complete_all().await;
    let copied = house.campus.base_url();
    let server = copied.strip_suffix("/ims/oneroster").unwrap();
    let with = |url: &str, version: Option<&str>| {
        let mut file = serde_json::to_value(&house.file).unwrap();
        file["connection"][0]["base_url"] = url.into();
        file["connection"][0]["version"] = version.into();
        serde_json::from_value::<District>(file).unwrap()
    };
    for (number, url) in [server.to_owned(), format!("{server}//ims/oneroster/rostering/v1p2/")].iter().enumerate() {
        house.apply(&with(url, None)).await;
        house.complete("d0", "0", &format!("2026-08-2{}", number + 1), None).await;
        house.night().await;
        assert_eq!(house.shown()["0"].0, day(&format!("2026-08-2{}", number + 1)), "{url}");
    }
    house.apply(&with(&copied.replace("v1p2", "v1p1"), None)).await;
    let message = Message::flag_sync(house.district.clone(), None, house.clock.now() + TimeDelta::seconds(1));
    assert_eq!(house.handler().handle(message).await, Fate::Done);
    let problem = house.store().flags_problem(&house.district).await.unwrap().unwrap();
    assert!(problem.contains("OneRoster 1.2 only") && problem.contains("base URL"), "{problem}");
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
    let found = house.plan().await;
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
    house.approve().await;
    house.night().await;
    assert_eq!(house.old()["old-0"], Some(day("2026-08-19")));
    moved.programs[0].cutover = Some(day("2026-08-25"));
    house.apply(&moved).await;
    let refused = house.try_approve(&[]).await;
    assert_eq!(refused, Err(TakeOverRefused::Approved(SPED.to_owned())), "one is ended: the day stays");
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
    house.settle().await;
    assert_eq!(house.shown().len(), 2);
    assert!(house.shown()["1"].1.is_some(), "what was due is made good, without waiting for the next night");
    let synced = house.store().flags_synced_at(&house.district).await.unwrap();
    house.apply(&house.file).await;
    assert_eq!(house.store().flags_synced_at(&house.district).await.unwrap(), synced, "the same file asks for nothing");
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
