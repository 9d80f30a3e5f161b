//! An installation of flag-sync with a Campus of its own, on either engine. Waits are over in no time: its clock is the
//! test's.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, unreachable_pub)]
#![allow(dead_code, reason = "no test file uses all of it")]

use std::{collections::BTreeMap, num::NonZeroU32, sync::Arc, time::Duration};

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use futures_util::future::BoxFuture;
use rollcall_flag_sync::{
    Context, FlagHandler, FlagSyncConfig, approve, partner::PartnerInterface, plan_take_overs, reconcile::owed,
    take_overs_shown,
};
use rollcall_proto::{
    bus::{SharedBus, embedded::EmbeddedBus},
    clock::{Clock, ManualClock},
    handler::{Fate, Handler as _},
    id::{DistrictId, RunId},
    message::{Body, FlagPush, Message},
    roster::Student,
};
use rollcall_sandbox::{Campus, CampusConfig, CampusFault, CampusFaults, CampusFlag, Strike};
use rollcall_store::{
    Store,
    district::{ConnectionSecrets, District},
    document::{Author, NewDocument, SaveMode},
    flag::{ApprovedTakeOver, Flag, Participation, TakeOverPlan, TakeOverRefused},
};
use uuid::Uuid;

use crate::{
    common::{Fixture, day},
    roster_support::{added, applied, id, student},
};

pub const SPED: &str = "Special Education";
pub const STUDENTS: usize = 12;

/// Why a student has no id in the Campus that flags go to, whose connection leads elsewhere.
pub const ANOTHER_SIS: &str = "no-sis-id the student comes from another SIS than flags go to, or over another application of it; use one for all schools";

/// A student whose id Campus knows.
pub fn in_campus(number: usize) -> Student {
    let id = number.to_string();
    Student { sis_id: Some(id.clone()), ..student(&id) }
}

/// The test's clock, for what waits in the middle of a message: a try is repeated at once.
struct Impatient(ManualClock);

impl Clock for Impatient {
    fn now(&self) -> DateTime<Utc> {
        self.0.now()
    }

    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::task::yield_now())
    }
}

/// An installation with a Campus of its own.
pub struct House {
    pub f: Fixture,
    pub campus: Campus,
    pub clock: ManualClock,
    pub bus: SharedBus,
    pub district: DistrictId,
    pub file: District,
    pub public_url: Option<url::Url>,
    pub partner: PartnerInterface,
    _dir: tempfile::TempDir,
}

pub fn file(campus: &Campus, programs: &serde_json::Value) -> District {
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

/// Two programs that begin anew.
pub fn two_programs() -> serde_json::Value {
    let one = |name| serde_json::json!({"name": name, "flags": true, "option": "create-new", "cutover": "2026-08-15"});
    serde_json::json!([one(SPED), one("Section 504")])
}

pub fn program(option: &str) -> serde_json::Value {
    serde_json::json!([{"name": SPED, "flags": true, "option": option, "cutover": "2026-08-15"}])
}

impl House {
    pub async fn new(f: Fixture, programs: serde_json::Value) -> Self {
        Self::with(f, programs, CampusConfig { page_limit: 5, ..CampusConfig::default() }).await
    }

    pub async fn with(f: Fixture, programs: serde_json::Value, config: CampusConfig) -> Self {
        let campus = Campus::start(config).await.unwrap();
        let file = file(&campus, &programs);
        let dir = tempfile::tempdir().unwrap();
        let bus = Arc::new(EmbeddedBus::open(dir.path().join("bus.db")).await.unwrap());
        let clock = ManualClock::new("2026-09-01T12:00:00Z".parse().unwrap());
        let public_url = Some("https://rollcall.example/".parse().unwrap());
        let (district, partner) = (file.id.clone(), PartnerInterface::default());
        let house = Self { f, campus, clock, bus, district, file, public_url, partner, _dir: dir };
        house.apply(&house.file).await;
        let all = (0..STUDENTS).map(|number| added(in_campus(number))).collect();
        applied(house.store(), &house.district, 1, all).await;
        house
    }

    pub async fn create_new(f: Fixture) -> Self {
        Self::new(f, program("create-new")).await
    }

    pub async fn apply(&self, file: &District) {
        self.apply_with(file, &self.campus.config().vendor_secret).await;
    }

    pub async fn apply_with(&self, file: &District, vendor_secret: &str) {
        let secrets = ConnectionSecrets {
            client_secret: self.campus.config().client_secret.clone().into(),
            vendor_secret: Some(vendor_secret.into()),
            ..ConnectionSecrets::default()
        };
        self.store().apply_district(file, &[secrets], "test", self.clock.now()).await.unwrap();
    }

    pub fn store(&self) -> &Store {
        &self.f.store
    }

    pub fn context(&self) -> Context {
        self.context_with(FlagSyncConfig { partner: self.partner.clone(), ..FlagSyncConfig::default() })
    }

    pub fn context_with(&self, config: FlagSyncConfig) -> Context {
        let is_usual = config.requests_per_second == FlagSyncConfig::default().requests_per_second;
        let config = FlagSyncConfig {
            allow_private_addresses: true,
            requests_per_second: if is_usual { NonZeroU32::new(5_000).unwrap() } else { config.requests_per_second },
            public_url: self.public_url.clone(),
            decision_wait: Duration::from_millis(300),
            ..config
        };
        let (bus, store, clock) = (Arc::clone(&self.bus), self.f.store.clone(), self.clock.clone());
        Context::new(config, bus, store, Arc::new(Impatient(clock))).unwrap()
    }

    /// Actions and answers of the ledger, oldest first; of one flag where asked for.
    pub async fn told(&self, flag: Option<&str>) -> Vec<(String, String)> {
        let lines = self.store().flag_ledger(&self.district, flag, 10_000).await.unwrap();
        lines.into_iter().rev().map(|line| (line.action, line.answer)).collect()
    }

    /// One student's flag, as Campus has it.
    pub fn flag_of(&self, student: &str) -> CampusFlag {
        self.campus.flags().into_iter().find(|flag| flag.student == student).unwrap()
    }

    pub fn handler(&self) -> FlagHandler {
        FlagHandler::new(self.context())
    }

    /// Handles what the reconciler would ask for, until nothing is owed but flags that Campus goes on failing at. Waits are over in
    /// no time.
    pub async fn settle(&self) {
        let (handler, mut patience) = (self.handler(), 0..8);
        for _ in 0..60 {
            let work = self.store().flag_work().await.unwrap().pop().unwrap();
            let now = self.clock.now();
            if let Some(later) = work.retry_at.or(work.lease_until).filter(|later| *later > now) {
                self.clock.set(later);
                continue;
            }
            let Some(body) = owed(&work, now, TimeDelta::zero()) else {
                let later = work.pending_due_at.or_else(|| work.failing_due_at.filter(|_| patience.next().is_some()));
                let Some(later) = later else { return };
                self.clock.set(later.max(now + TimeDelta::seconds(1)));
                continue;
            };
            let message = Message::new(self.district.clone(), RunId(Uuid::now_v7()), now, body);
            assert_eq!(handler.handle(message).await, Fate::Done);
            self.clock.advance(TimeDelta::seconds(1));
        }
        panic!("it never settles: {:?}", self.flags().await);
    }

    /// One message, as a run that stopped sends it.
    pub async fn handle_sync(&self) {
        let message = Message::flag_sync(self.district.clone(), None, self.clock.now());
        assert_eq!(self.handler().handle(message).await, Fate::Done);
    }

    /// One message, as a reconciler sends it.
    pub async fn handle_push(&self) {
        let now = self.clock.now();
        let message = Message::new(self.district.clone(), RunId(Uuid::now_v7()), now, Body::FlagPush(FlagPush {}));
        assert_eq!(self.handler().handle(message).await, Fate::Done);
    }

    /// A run stopped, and nobody asked for anything.
    pub async fn unasked_night(&self) {
        self.clock.advance(TimeDelta::hours(1));
        self.handle_sync().await;
        self.settle().await;
    }

    /// Two workers are asked to sync at the same moment, several times.
    pub async fn two_workers(&self) {
        let (one, two) = (self.handler(), self.handler());
        for _ in 0..4 {
            let message = || Message::flag_sync(self.district.clone(), None, self.clock.now());
            let (first, second) = tokio::join!(one.handle(message()), two.handle(message()));
            assert_eq!((first, second), (Fate::Done, Fate::Done));
            self.clock.advance(TimeDelta::minutes(2));
        }
        self.settle().await;
    }

    /// A run stopped, or a person asked; its flags are synced.
    pub async fn night(&self) {
        self.clock.advance(TimeDelta::hours(1));
        self.store().ask_for_flags(&self.district, "test", self.clock.now()).await.unwrap();
        self.settle().await;
    }

    pub async fn complete(&self, name: &str, student: &str, starts: &str, ends: Option<&str>) {
        self.complete_of(SPED, name, student, starts, ends).await;
    }

    pub async fn complete_of(&self, program: &str, name: &str, student: &str, starts: &str, ends: Option<&str>) {
        let new = NewDocument {
            id: name.parse().unwrap(),
            student: id(student),
            program: program.to_owned(),
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

    /// A document of each of two programs for every student, completed.
    pub async fn complete_both(&self, ends: Option<&str>) {
        for number in 0..STUDENTS {
            let student = number.to_string();
            self.complete(&format!("a{number}"), &student, "2026-08-20", ends).await;
            self.complete_of("Section 504", &format!("b{number}"), &student, "2026-08-20", ends).await;
        }
    }

    pub async fn complete_all(&self) {
        for number in 0..STUDENTS {
            self.complete(&format!("d{number}"), &number.to_string(), "2026-08-20", None).await;
        }
    }

    pub fn author(&self) -> Author<'static> {
        Author { actor: "test", key: None, at: self.clock.now() }
    }

    pub async fn withdraw(&self, name: &str) {
        self.clock.advance(TimeDelta::seconds(1));
        let name = name.parse().unwrap();
        self.store().withdraw_document(&self.district, &name, self.author()).await.unwrap().unwrap();
    }

    /// Stores flags, as a worker does.
    pub async fn keep(&self, flags: &[Flag]) {
        let (worker, now) = (Uuid::now_v7(), self.clock.now());
        assert!(self.store().reserve_flags(&self.district, worker, now, now).await.unwrap());
        assert!(self.store().save_flags(&self.district, worker, flags, &[], now).await.unwrap());
        self.store().release_flags(&self.district, worker).await.unwrap();
    }

    pub async fn flags(&self) -> Vec<Flag> {
        self.store().flags(&self.district, None, None).await.unwrap()
    }

    pub async fn participations(&self) -> Vec<Participation> {
        self.store().flag_facts(&self.district, None, None).await.unwrap().participations
    }

    /// States as `flags list` shows them, by student.
    pub async fn states(&self) -> BTreeMap<String, (&'static str, Option<String>)> {
        let today = self.clock.now().date_naive();
        let flags = self.flags().await.into_iter();
        flags.map(|flag| (flag.student.0.clone(), (flag.shown_state(today), flag.shown_reason()))).collect()
    }

    /// What Campus shows, by student: none has two.
    pub fn shown(&self) -> BTreeMap<String, (NaiveDate, Option<NaiveDate>)> {
        let flags = self.campus.flags();
        let shown: BTreeMap<_, _> = flags.iter().map(|flag| (flag.student.clone(), (flag.begins, flag.ends))).collect();
        assert_eq!(shown.len(), flags.len(), "a flag is doubled: {flags:#?}");
        shown
    }

    /// Every student's flag is open since the first day of their document.
    pub fn assert_all_shown(&self) {
        let expected = (0..STUDENTS).map(|number| (number.to_string(), (day("2026-08-20"), None))).collect();
        assert_eq!(self.shown(), expected);
    }

    pub async fn assert_all_pushed(&self) {
        self.assert_all_shown();
        let states = self.states().await;
        assert!(states.values().all(|state| *state == ("pushed", None)), "{states:#?}");
        assert_eq!(states.len(), STUDENTS);
    }

    pub fn strike(&self, fault: CampusFault, times: Option<u32>) {
        let strikes = vec![Strike { fault, writes_only: true, only: None, times }];
        self.campus.set_faults(CampusFaults { strikes, ..CampusFaults::default() });
    }

    pub fn typed_in(&self, name: &str, student: &str, begins: &str, ends: Option<&str>) {
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
    pub fn old(&self) -> BTreeMap<String, Option<NaiveDate>> {
        let old = self.campus.flags().into_iter().filter(|flag| flag.id.starts_with("old"));
        old.map(|flag| (flag.id, flag.ends)).collect()
    }

    /// Looks at the plan, and approves that.
    pub async fn approve(&self) {
        self.show().await;
        self.try_approve(&[]).await.unwrap();
    }

    /// A person is shown the plan.
    pub async fn show(&self) {
        let plan = self.plan().await;
        take_overs_shown(&self.context(), &self.district, &[plan]).await.unwrap();
    }

    pub async fn try_approve(&self, looked_at: &[String]) -> Result<Vec<ApprovedTakeOver>, TakeOverRefused> {
        approve(&self.context(), &self.district, Some(SPED), looked_at, "ops").await.unwrap()
    }

    pub async fn plan(&self) -> TakeOverPlan {
        plan_take_overs(&self.context(), &self.district, Some(SPED)).await.unwrap().unwrap().remove(0)
    }
}
