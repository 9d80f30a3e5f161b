//! More than a week of two districts alike on Infinite Campus: one is asked for changes between two nights of everything,
//! the other for everything every night. They end alike, and on no night of changes is anybody taken out of whom no row
//! tells.
//!
//! Under a clock of their own, so that days pass: the services run in this process, over PostgreSQL and RabbitMQ or over a
//! directory. Every change is stamped before the pull that did not show it yet, by a clock that is not ours.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use rollcall_classifier::ClassifierConfig;
use rollcall_e2e::{canaries, house, services::Services, until};
use rollcall_fetcher::{FetcherConfig, launch};
use rollcall_proto::{
    bus::{
        SharedBus,
        amqp::{AmqpBus, AmqpConfig},
        embedded::EmbeddedBus,
    },
    clock::{Clock as _, ManualClock, SharedClock},
    id::DistrictId,
    roster::Rule,
};
use rollcall_sandbox::{OneRosterQuirks, Quirks, Sandbox, SandboxConfig};
use rollcall_store::{
    Store,
    district::{ConnectionSecrets, District},
    roster::{StudentDetail, StudentFilter},
    run::{NewRun, PullScope, Run, RunState, Trigger},
    secret::Keyring,
};
use rollcall_writer::WriterConfig;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// From one night of everything to the next.
const WEEK: u32 = 7;

/// The night on which the district changes while it is pulled.
const TURN: u32 = 3;

const STUDENTS: u32 = 120;

/// How a server counts, and what its clock shows.
struct Server {
    /// Whether it tells how many rows there are.
    counts: bool,
    /// Its clock, beside ours.
    clock: TimeDelta,
    /// How far its rows' stamps are behind, as where local time is written for UTC.
    stamps_behind_hours: u8,
}

/// A server that counts: whoever goes without a word is missed in the same night.
const COUNTING: Server = Server { counts: true, clock: TimeDelta::hours(3), stamps_behind_hours: 0 };

/// One that does not, and whose times are behind.
const SILENT: Server = Server { counts: false, clock: TimeDelta::hours(-4), stamps_behind_hours: 5 };

impl Server {
    fn quirks(&self, now: DateTime<Utc>, turns_to: Option<u32>) -> Quirks {
        let oneroster = OneRosterQuirks {
            no_total: !self.counts,
            no_link: !self.counts,
            to_be_deleted: true,
            silent_half: true,
            stamps_behind_hours: self.stamps_behind_hours,
            days_pass: true,
            clock: Some(now + self.clock),
            turns_to,
            ..OneRosterQuirks::default()
        };
        Quirks { oneroster, ..Quirks::default() }
    }
}

/// Where the services keep what they know.
enum Place {
    Directory(tempfile::TempDir),
    Servers(Box<Services>),
}

/// One of the two districts.
struct Town {
    id: DistrictId,
    sis: Sandbox,
}

/// Both districts, and the services.
struct Week {
    store: Store,
    bus: SharedBus,
    clock: ManualClock,
    first_day: NaiveDate,
    by_changes: Town,
    by_everything: Town,
    shutdown: CancellationToken,
    services: JoinSet<()>,
    place: Place,
}

impl Week {
    async fn embedded() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = Keyring::open_or_create(&dir.path().join("key")).unwrap();
        let store = Store::open_embedded(dir.path(), key).await.unwrap();
        let bus = EmbeddedBus::open(&dir.path().join("bus.db")).await.unwrap();
        Self::begin(store, Arc::new(bus), Place::Directory(dir)).await
    }

    async fn scaled_out() -> Self {
        let services = Services::new().await;
        let url = SecretString::from(services.database_url());
        Store::migrate(&url).await.unwrap();
        let key = Keyring::from_base64(&SecretString::from(Keyring::generate().unwrap())).unwrap();
        let store = Store::connect(&url, key, 8).await.unwrap();
        let bus = AmqpBus::connect(AmqpConfig::new(services.amqp_url())).await.unwrap();
        Self::begin(store, Arc::new(bus), Place::Servers(Box::new(services))).await
    }

    async fn begin(store: Store, bus: SharedBus, place: Place) -> Self {
        let first_day = house::today();
        let clock = ManualClock::new(first_day.and_hms_opt(7, 0, 0).unwrap().and_utc());
        let by_changes = Town::begin(&store, "by-changes", &json!({}), &clock).await;
        let by_everything = Town::begin(&store, "by-everything", &json!({"full_every_days": 1}), &clock).await;
        let (shutdown, services) = (CancellationToken::new(), JoinSet::new());
        let mut week = Self { store, bus, clock, first_day, by_changes, by_everything, shutdown, services, place };
        week.host();
        week
    }

    /// Starts the services.
    fn host(&mut self) {
        let clock: SharedClock = Arc::new(self.clock.clone());
        let parts = || (Arc::clone(&self.bus), self.store.clone(), Arc::clone(&clock), self.shutdown.clone());
        let fetcher = FetcherConfig { allow_private_addresses: true, schedule: false, ..FetcherConfig::default() };
        let (bus, store, time, shutdown) = parts();
        self.services.spawn(rollcall_fetcher::run(fetcher, bus, store, time, shutdown));
        let (bus, store, time, shutdown) = parts();
        self.services.spawn(rollcall_classifier::run(ClassifierConfig::default(), bus, store, time, shutdown));
        let (bus, store, time, shutdown) = parts();
        self.services.spawn(rollcall_writer::run(WriterConfig::default(), bus, store, time, shutdown));
    }

    /// Both districts' night, so many days after the first.
    async fn night(&self, day: u32, server: &Server) -> Outcome {
        self.clock.set((self.first_day + Days::new(day.into())).and_hms_opt(7, 0, 0).unwrap().and_utc());
        // Night 1, and from night 5 on each with changes of its own; the turn brings those of the day after.
        let night = if day == 0 { 1 } else { day + 4 };
        let quirks = server.quirks(self.clock.now(), (day == TURN).then_some(night + 1));
        let (changes, everything) = tokio::join!(
            self.night_of(&self.by_changes, night, &quirks),
            self.night_of(&self.by_everything, night, &quirks)
        );
        let (by_changes, by_everything) =
            tokio::join!(self.roster(&self.by_changes.id), self.roster(&self.by_everything.id));
        Outcome { changes, everything, by_changes, by_everything }
    }

    async fn night_of(&self, town: &Town, night: u32, quirks: &Quirks) -> Ended {
        town.sis.set_quirks(quirks.clone());
        town.sis.set_night(night);
        let new = NewRun {
            district: town.id.clone(),
            trigger: Trigger::Manual,
            as_of: self.clock.now().date_naive(),
            plan_only: false,
            as_of_given: false,
            everything: false,
            requested_by: "test".to_owned(),
        };
        let made = launch(&self.store, &self.bus, &new, &self.clock).await.unwrap().unwrap();
        let run = until("a night to end", Duration::from_mins(2), || async {
            let run = self.store.run(&town.id, made.id).await.unwrap();
            (run.state.is_end() || run.state == RunState::Held).then_some(run)
        })
        .await;
        let scope = self.store.pulls(&town.id, run.id).await.unwrap().remove(0).discovery.unwrap().scope;
        Ended { run, scope }
    }

    async fn roster(&self, district: &DistrictId) -> BTreeMap<String, StudentDetail> {
        let filter = StudentFilter { status: None, school: None, limit: None, after: None };
        let mut roster = BTreeMap::new();
        for row in self.store.students(district, &filter).await.unwrap() {
            let detail = self.store.student(district, &row.student_id.0).await.unwrap().unwrap();
            roster.insert(row.student_id.0, detail);
        }
        roster
    }

    /// Ends all of it; on servers, what it published is searched for canaries. (Hosted in the test's own process, it has no logs.)
    async fn close(mut self) {
        self.shutdown.cancel();
        while let Some(ended) = self.services.join_next().await {
            ended.unwrap();
        }
        drop((self.store, self.bus));
        if let Place::Servers(services) = &self.place {
            let headers: String = services.overheard().await.iter().map(|row| row.to_string() + "\n").collect();
            assert!(headers.contains("by-changes"), "messages are overheard: {headers}");
            let mut secrets = BTreeSet::from_iter(canaries::secrets(&services.settings()));
            for Town { sis, .. } in [&self.by_changes, &self.by_everything] {
                secrets.extend(canaries::sis_secrets(sis, sis.client_id(), sis.client_secret()));
            }
            let facts = canaries::facts(&services.database).await;
            canaries::assert_untold([&("headers of messages".to_owned(), headers)], &facts, &secrets);
        }
        self.by_changes.sis.shutdown().await;
        self.by_everything.sis.shutdown().await;
        match self.place {
            Place::Directory(dir) => dir.close().unwrap(),
            Place::Servers(services) => services.close().await,
        }
    }
}

impl Town {
    async fn begin(store: &Store, id: &str, extra: &Value, clock: &ManualClock) -> Self {
        let today = clock.now().date_naive();
        let sis = Sandbox::start(SandboxConfig {
            students: STUDENTS,
            seed: 11,
            today,
            change_percent: 16.0,
            contact_percent: 60,
            edge_dates: true,
            ..SandboxConfig::default()
        });
        let sis = sis.await.unwrap();
        let mut connection = json!({
            "kind": "oneroster", "base_url": sis.campus_base_url(), "token_url": sis.campus_token_url(),
            "client_id": sis.client_id(), "page_size": 10, "lanes": 2, "staff": "active",
        });
        connection.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let file = json!({
            "id": id, "name": id, "time_zone": "America/Chicago", "connection": [connection],
            "hold": {"max_removed_percent": 100.0, "max_changed_percent": 100.0},
        });
        let district: District = serde_json::from_value(file).unwrap();
        let secrets = ConnectionSecrets { client_secret: sis.client_secret().into(), ..ConnectionSecrets::default() };
        store.apply_district(&district, &[secrets], "test", clock.now()).await.unwrap();
        Self { id: district.id, sis }
    }
}

/// A run that has ended.
struct Ended {
    run: Run,
    scope: PullScope,
}

impl Ended {
    fn by_changes(&self) -> bool {
        matches!(self.scope, PullScope::Changes(_))
    }
}

/// What a night left.
struct Outcome {
    changes: Ended,
    everything: Ended,
    by_changes: BTreeMap<String, StudentDetail>,
    by_everything: BTreeMap<String, StudentDetail>,
}

impl Outcome {
    /// Students whose status is not the same in both.
    fn apart(&self) -> BTreeSet<String> {
        let status =
            |roster: &BTreeMap<String, StudentDetail>, id: &String| roster.get(id).map(|found| found.row.status);
        let ids: BTreeSet<&String> = self.by_changes.keys().chain(self.by_everything.keys()).collect();
        let apart = ids.into_iter().filter(|id| status(&self.by_changes, id) != status(&self.by_everything, id));
        apart.cloned().collect()
    }

    /// Where they are apart, the district by changes has kept a student of whom no row tells any more.
    fn check_apart(&self, day: u32) {
        for id in self.apart() {
            let (kept, gone) = (&self.by_changes[&id], &self.by_everything[&id]);
            assert!(kept.row.status.is_attending(), "night {day}: {id} is taken out, and was by nobody else");
            assert_eq!(gone.rule, Rule::MissingFromSource, "night {day}: {id} is apart, and not for being absent");
        }
    }

    /// Of the students who are not `apart`, all that is stored is equal; of those in `late`, whom one of the two may have
    /// heard of a night later, all but the date.
    fn check_alike(&self, day: u32, apart: &BTreeSet<String>, late: &BTreeSet<String>) {
        let ids = |roster: &BTreeMap<String, StudentDetail>| roster.keys().cloned().collect::<BTreeSet<_>>();
        assert_eq!(ids(&self.by_changes), ids(&self.by_everything), "night {day}");
        for (id, one) in self.by_changes.iter().filter(|(id, _)| !apart.contains(*id)) {
            let told = |detail: &StudentDetail| plain(detail, late.contains(id));
            assert_eq!(told(one), told(&self.by_everything[id]), "night {day}: {id}");
        }
    }
}

/// What is stored of a student, without who wrote it when.
fn plain(detail: &StudentDetail, late: bool) -> Value {
    let row = &detail.row;
    json!({
        "status": row.status, "since": (!late).then_some(row.status_since), "school": row.school, "grade": row.grade,
        "rule": detail.rule.as_str(), "evidence": detail.evidence, "record": detail.record,
    })
}

/// Eight nights: everything, six of changes, and everything again, unless something makes changes doubtful.
async fn week(week: Week, server: Server) {
    let (mut scopes, mut late, mut ever_apart) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for day in 0..=WEEK {
        let outcome = Box::pin(week.night(day, &server)).await;
        for ended in [&outcome.changes, &outcome.everything] {
            let run = &ended.run;
            let unsettled = day == TURN && [RunState::Partial, RunState::Failed].contains(&run.state);
            assert!(run.state == RunState::Succeeded || unsettled, "night {day}: {:?} {:#?}", run.state, run.findings);
        }
        assert!(!outcome.everything.by_changes());
        let (counts, apart) = (outcome.changes.run.counts, outcome.apart());
        scopes.push(outcome.changes.scope.to_string());
        let quiet = counts.added + counts.changed + counts.removed == 0;
        assert!(!quiet || day == TURN + 1, "night {day}: nothing happened, and it was not the turn that brought it");
        if day == TURN {
            late.extend(outcome.by_changes.keys().filter(|id| differs(&outcome, id)).cloned());
            continue;
        }
        outcome.check_apart(day);
        if !outcome.changes.by_changes() {
            assert!(apart.is_empty(), "night {day} was one of everything: {apart:?}");
        }
        late.extend(apart.iter().cloned());
        outcome.check_alike(day, &apart, &late);
        ever_apart.extend(apart);
        if day == WEEK {
            check_what_happened(&outcome);
        }
    }
    let staff = week.store.staff_ids(&week.by_changes.id).await.unwrap();
    assert!(!staff.is_empty());
    assert_eq!(staff, week.store.staff_ids(&week.by_everything.id).await.unwrap());
    check_scopes(&server, &scopes);
    assert_eq!(server.counts, ever_apart.is_empty(), "who is not counted is missed on the next night of everything");
    week.close().await;
}

fn differs(outcome: &Outcome, id: &String) -> bool {
    let told = |roster: &BTreeMap<String, StudentDetail>| roster.get(id).map(|detail| plain(detail, false));
    told(&outcome.by_changes) != told(&outcome.by_everything)
}

/// Whatever can befall a student has: else these nights prove less than they say.
fn check_what_happened(outcome: &Outcome) {
    let history = || outcome.by_everything.values().flat_map(|detail| &detail.history);
    for rule in [Rule::PastOnly, Rule::MissingFromSource] {
        assert!(history().any(|row| row.change == "removed" && row.rule == rule), "{rule:?}");
    }
    let first = outcome.by_everything.values().filter_map(|detail| detail.history.last()).map(|row| row.as_of).min();
    assert!(history().any(|row| row.change == "added" && Some(row.as_of) != first), "somebody came later");
    assert!(history().any(|row| row.change == "changed"));
}

fn check_scopes(server: &Server, scopes: &[String]) {
    assert!(scopes[0].starts_with("everything ("), "{scopes:#?}");
    let (of_changes, others): (Vec<&String>, Vec<&String>) =
        scopes[1..].iter().partition(|scope| scope.starts_with("changes since "));
    if server.counts {
        assert!(!of_changes.is_empty(), "{scopes:#?}");
        assert!(others.iter().any(|scope| scope.contains("the source counts")), "{scopes:#?}");
    } else {
        assert_eq!(of_changes.len(), 6, "{scopes:#?}");
        assert!(scopes[WEEK as usize].contains("every 7 days"), "{scopes:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_week_of_changes_ends_where_a_week_of_everything_ends_embedded() {
    Box::pin(week(Week::embedded().await, COUNTING)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_week_of_changes_ends_where_a_week_of_everything_ends_scaled_out() {
    Box::pin(week(Week::scaled_out().await, COUNTING)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_does_not_count_is_asked_for_everything_once_a_week_embedded() {
    Box::pin(week(Week::embedded().await, SILENT)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_does_not_count_is_asked_for_everything_once_a_week_scaled_out() {
    Box::pin(week(Week::scaled_out().await, SILENT)).await;
}
