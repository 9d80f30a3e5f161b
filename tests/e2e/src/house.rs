//! One test's own installation: servers or a directory, a sandbox SIS, workers, the command line.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use rollcall_sandbox::{Sandbox, SandboxConfig};
use tempfile::TempDir;

use crate::{
    Answer, District, Process, RunRow, binary, canaries,
    deployed::{self, Deployed},
    overheard::Overheard,
    process::signal,
    roster,
    roster::StudentRow,
    services::{Servers, Services},
    until, until_told,
};

/// What the names of installations' folders begin with.
pub(crate) const FOLDER: &str = "rollcall-house.";

/// The district of the tests.
pub const DISTRICT: &str = "test-isd";

/// Has a worker tell its metrics.
const LISTENS: [&str; 2] = ["--listen", "127.0.0.1:0"];

/// Longer than any run of a test takes; a run that is not over by then never ends.
pub const RUN_LIMIT: Duration = Duration::from_secs(200);

/// Today in the tests' district, whose zone is America/Chicago.
pub fn today() -> chrono::NaiveDate {
    local_now().date()
}

/// Wall clock of the tests' district.
pub fn local_now() -> chrono::NaiveDateTime {
    #[expect(clippy::disallowed_methods, reason = "the processes under test live by the machine's clock")]
    let now = chrono::Utc::now();
    now.with_timezone(&chrono_tz::America::Chicago).naive_local()
}

/// How often something random is tried: `everyday`, or `full` with `./test --full`.
pub fn repetitions(everyday: u64, full: u64) -> u64 {
    if binary::variable("ROLLCALL_TEST_FULL").is_some() { full } else { everyday }
}

/// Id and properties of a message of this district as one that has waited in a parked queue for a year has them.
pub fn parked_a_year_ago(district: &str) -> (String, serde_json::Value) {
    let id = uuid::Uuid::now_v7().to_string();
    let parked_at = (local_now() - chrono::TimeDelta::days(365)).and_utc().to_rfc3339();
    let headers = serde_json::json!({"district": district, "reason": "panic", "detail": "", "parked-at": parked_at});
    let properties = serde_json::json!({"message_id": id, "delivery_mode": 2, "type": "page.raw", "headers": headers});
    (id, properties)
}

/// A service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Asks the SIS; keeps the schedule.
    Fetcher,
    /// Reads, plans, judges.
    Classifier,
    /// Writes.
    Writer,
    /// Pushes flags. Not of those that a night needs.
    FlagSync,
}

impl Role {
    /// Those that every night needs.
    pub const ALL: [Self; 3] = [Self::Fetcher, Self::Classifier, Self::Writer];

    /// As `rollcall worker` takes it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Fetcher => "fetcher",
            Self::Classifier => "classifier",
            Self::Writer => "writer",
            Self::FlagSync => "flag-sync",
        }
    }
}

/// Where the installation lives.
#[derive(Debug)]
enum Place {
    /// RabbitMQ and PostgreSQL.
    ScaledOut(Box<Services>),
    /// The same, made as `deploy/` makes it.
    Deployed(Box<Deployed>),
    /// One directory.
    Embedded(PathBuf),
}

/// See the module. Fields are dropped in order: workers first.
#[derive(Debug)]
pub struct House {
    workers: Vec<(Role, Process)>,
    started: usize,
    /// Settings of workers alone, in place of those of the installation.
    pub worker_settings: Vec<(String, String)>,
    place: Place,
    /// What processes say beside their logs.
    overheard: Overheard,
    /// The SIS.
    pub sis: Sandbox,
    /// What the district file is written from.
    pub district: District,
    /// Further settings for whatever is started from here on.
    pub extra: Vec<(String, String)>,
    folder: TempDir,
    searched: Searched,
}

/// Whether the installation has been searched for what must not come out.
#[derive(Debug, Default)]
struct Searched(bool);

impl Drop for Searched {
    fn drop(&mut self) {
        assert!(self.0 || std::thread::panicking(), "an installation is closed, so that it is searched for canaries");
    }
}

impl House {
    /// Scaled out on the shared servers, migrated, district applied, no worker started.
    pub async fn scaled_out(config: SandboxConfig) -> Self {
        Self::on(Servers::shared(), config).await
    }

    /// Scaled out on these servers.
    pub async fn on(servers: Servers, config: SandboxConfig) -> Self {
        let services = Services::on(servers).await;
        let house = Self::build(config, |_| Place::ScaledOut(Box::new(services))).await;
        house.rollcall(&["migrate"]).await.expect_code(0);
        house.apply().await;
        house
    }

    /// Scaled out on these servers as `deploy/` has it: the broker's definitions, a user and a login for each purpose.
    pub async fn deployed(servers: &Servers, config: SandboxConfig) -> Self {
        let folder = folder();
        let overheard = Overheard::start().await;
        let deployed = Deployed::on(servers, folder.path(), overheard.url()).await;
        let migrate = ["migrate", "--config", &deployed.config("migrate")];
        Answer::of(folder.path(), &migrate, &deployed.settings()).await.expect_code(0);
        let mut house = Self::build_in(folder, config, |_| Place::Deployed(Box::new(deployed))).await;
        house.overheard = overheard;
        house.apply().await;
        house
    }

    /// Embedded, district applied, nothing hosted.
    pub async fn embedded(config: SandboxConfig) -> Self {
        let house = Self::build(config, |folder| Place::Embedded(folder.join("data"))).await;
        house.apply().await;
        house
    }

    async fn build(config: SandboxConfig, place: impl FnOnce(&Path) -> Place) -> Self {
        Self::build_in(folder(), config, place).await
    }

    async fn build_in(folder: TempDir, config: SandboxConfig, place: impl FnOnce(&Path) -> Place) -> Self {
        let sis = Sandbox::start(config).await.expect("the sandbox starts");
        let base_url = sis.base_url();
        let district = District::new(DISTRICT, &base_url, sis.client_id(), sis.client_secret());
        let place = place(folder.path());
        Self {
            workers: Vec::new(),
            started: 0,
            worker_settings: Vec::new(),
            place,
            overheard: Overheard::start().await,
            sis,
            district,
            extra: Vec::new(),
            folder,
            searched: Searched::default(),
        }
    }

    /// Writes the district file and applies it.
    pub async fn apply(&self) -> Answer {
        self.try_apply().await.expect_code(0)
    }

    /// As [`House::apply`], whatever comes of it.
    pub async fn try_apply(&self) -> Answer {
        let path = self.district.write(self.folder.path());
        self.rollcall(&["district", "apply", &path.to_string_lossy()]).await
    }

    /// What processes of this installation are started with.
    pub fn settings(&self) -> Vec<(String, String)> {
        let pair = |name: &str, value: String| (name.to_owned(), value);
        let mut settings = match &self.place {
            Place::ScaledOut(services) => services.settings(),
            Place::Deployed(deployed) => [deployed.settings(), deployed.urls("ops")].concat(),
            Place::Embedded(dir) => vec![
                pair("ROLLCALL_ALLOW_PRIVATE_ADDRESSES", "true".to_owned()),
                pair("ROLLCALL_DIR", dir.to_string_lossy().into_owned()),
            ],
        };
        // What a kill has swallowed is missed after this many seconds: the shortest that is taken.
        settings.push(pair("ROLLCALL_LOST_AFTER_SECONDS", "25".to_owned()));
        settings.extend(binary::variable("ROLLCALL_LOG").map(|filter| pair("ROLLCALL_LOG", filter)));
        settings.extend(self.overheard.settings());
        settings.extend(self.extra.iter().cloned());
        settings
    }

    /// Where the logs are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Whether it has servers.
    pub const fn is_scaled_out(&self) -> bool {
        matches!(self.place, Place::ScaledOut(_))
    }

    /// The servers' side of this installation.
    ///
    /// # Panics
    /// When it is embedded.
    pub fn services(&self) -> &Services {
        match &self.place {
            Place::ScaledOut(services) => services,
            Place::Deployed(_) | Place::Embedded(_) => panic!("this installation's servers are not the tests' own"),
        }
    }

    /// The file of an embedded installation's store.
    ///
    /// # Panics
    /// When it has servers.
    pub fn embedded_store(&self) -> PathBuf {
        match &self.place {
            Place::Embedded(dir) => dir.join("store.db"),
            Place::ScaledOut(_) | Place::Deployed(_) => panic!("this installation's store is on a server"),
        }
    }

    /// What `deploy/` made of this installation.
    ///
    /// # Panics
    /// When it was made otherwise.
    pub fn as_deployed(&self) -> &Deployed {
        match &self.place {
            Place::Deployed(deployed) => deployed,
            Place::ScaledOut(_) | Place::Embedded(_) => panic!("this installation was not made by deploy/"),
        }
    }

    /// Points the district at the sandbox's Campus, and applies it.
    pub async fn move_to_campus(&mut self) {
        "oneroster".clone_into(&mut self.district.kind);
        self.district.base_url = self.sis.campus_base_url();
        self.district.connection = format!("token_url = {:?}\nstaff = \"active\"", self.sis.campus_token_url());
        self.apply().await;
    }

    /// As [`House::move_to_campus`], to version 1.1.
    pub async fn move_to_campus_11(&mut self) {
        self.move_to_campus().await;
        self.district.base_url = self.sis.campus_base_url_11();
        self.apply().await;
    }

    /// As [`House::move_to_campus`], to Skyward's OneRoster 1.2, by addresses as its district has them: the token URL follows.
    pub async fn move_to_skyward_oneroster(&mut self) {
        "oneroster".clone_into(&mut self.district.kind);
        self.district.base_url = self.sis.skyward_oneroster_url();
        "profile = \"skyward\"\nstaff = \"active\"".clone_into(&mut self.district.connection);
        self.apply().await;
    }

    /// Runs the command line.
    pub async fn rollcall(&self, args: &[&str]) -> Answer {
        Answer::of(self.folder.path(), args, &self.settings()).await
    }

    /// As [`House::rollcall`], with further settings.
    pub async fn rollcall_with(&self, args: &[&str], settings: &[(&str, &str)]) -> Answer {
        let own = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let settings: Vec<_> = self.settings().into_iter().chain(own).collect();
        Answer::of(self.folder.path(), args, &settings).await
    }

    /// As [`House::rollcall`], on a terminal: both outputs are what it shows.
    pub async fn on_terminal(&self, args: &[&str]) -> Answer {
        Answer::on_terminal(self.folder.path(), args, &self.settings()).await
    }

    /// Starts a process of this installation. A worker tells its metrics where the caller does not say so.
    pub fn start(&self, name: &str, args: &[&str]) -> Process {
        let listens = [args, &LISTENS].concat();
        let is_silent = args.contains(&"worker") && !args.contains(&LISTENS[0]);
        Process::start(name, self.folder.path(), if is_silent { &listens } else { args }, &self.settings())
    }

    /// Starts one more worker of a role.
    pub fn start_worker(&mut self, role: Role) {
        self.start_worker_with(role, &[]);
    }

    /// As [`House::start_worker`], with further settings of this one alone.
    pub fn start_worker_with(&mut self, role: Role, settings: &[(&str, &str)]) {
        let name = format!("{}-{}", role.word(), self.started);
        self.started += 1;
        let own = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let settings: Vec<_> =
            self.settings().into_iter().chain(self.worker_settings.iter().cloned()).chain(own).collect();
        let args = [&["-v", "worker", role.word()][..], &LISTENS].concat();
        let worker = Process::start(&name, self.folder.path(), &args, &settings);
        self.workers.push((role, worker));
    }

    /// Starts so many workers of each role.
    pub fn start_workers(&mut self, each: usize) {
        for role in Role::ALL {
            (0..each).for_each(|_| self.start_worker(role));
        }
    }

    /// Kills one worker of a role (SIGKILL) and starts another in its place.
    pub fn replace_worker(&mut self, role: Role) {
        self.take_worker(role).kill();
        self.start_worker(role);
    }

    /// Tells one worker of a role to stop (SIGTERM), waits until it has, and starts another in its place.
    pub async fn relieve_worker(&mut self, role: Role) {
        let position = self.workers.iter().position(|(of, _)| *of == role).expect("a worker of this role runs");
        let (_, mut worker) = self.workers.remove(position);
        let status = worker.terminate(Duration::from_secs(40)).await;
        assert!(status.success(), "a worker told to stop ends in order: {status}\n{}", worker.log());
        self.start_worker(role);
    }

    /// Tells all workers to stop, and waits until they have.
    pub async fn stop_workers(&mut self) {
        self.ask_for_metrics().await;
        for (_, worker) in &self.workers {
            signal(worker.id(), "TERM");
        }
        for (_, mut worker) in std::mem::take(&mut self.workers) {
            let status = worker.ended(Duration::from_secs(40)).await;
            assert!(status.success(), "a worker told to stop ends in order: {status}\n{}", worker.log());
        }
    }

    /// All that was written to logs so far, by processes of this installation: by file.
    pub fn logs(&self) -> Vec<(String, String)> {
        logs_in(self.folder.path())
    }

    /// A worker of a role, which is the caller's from now on.
    pub fn take_worker(&mut self, role: Role) -> Process {
        let position = self.workers.iter().position(|(of, _)| *of == role).expect("a worker of this role runs");
        self.workers.remove(position).1
    }

    /// A worker of a role, to be looked at.
    pub fn worker(&mut self, role: Role) -> &mut Process {
        let found = self.workers.iter_mut().find(|(of, _)| *of == role);
        &mut found.expect("a worker of this role runs").1
    }

    /// The workers, to be looked at or ended.
    pub fn workers(&mut self) -> impl Iterator<Item = &mut Process> {
        self.workers.iter_mut().map(|(_, process)| process)
    }

    /// Makes a run without waiting for it; its id.
    pub async fn begin(&self) -> String {
        self.begin_of(DISTRICT).await
    }

    /// As [`House::begin`], of another district.
    pub async fn begin_of(&self, district: &str) -> String {
        let answer = self.rollcall(&["run", district, "--format", "json"]).await.expect_code(0);
        let rows: Vec<serde_json::Value> = answer.read();
        rows[0]["run"].as_str().expect("a run has an id").to_owned()
    }

    /// Never more requests at once than the connection has lanes.
    pub fn check_lanes(&self) {
        let most = self.sis.stats().max_in_flight;
        assert!(most <= u64::from(self.district.lanes), "{most} requests at once over {} lanes", self.district.lanes);
    }

    /// Runs the district and waits until the run stops, held or ended.
    pub async fn night(&self) -> RunRow {
        self.night_of(DISTRICT).await
    }

    /// As [`House::night`], of another district.
    pub async fn night_of(&self, district: &str) -> RunRow {
        let answer = self.rollcall(&["run", district, "--wait", "--format", "json"]).await;
        assert!([0, 1, 3].contains(&answer.code), "{answer:#?}");
        let rows: Vec<serde_json::Value> = answer.read();
        let run = self.show(rows[0]["run"].as_str().expect("a run has an id")).await;
        let code = match run.state.as_str() {
            "succeeded" | "partial" => 0,
            "held" => 3,
            _ => 1,
        };
        assert_eq!(answer.code, code, "the exit code tells the state: {run:#?}\n{}", answer.stderr);
        run
    }

    /// Waits until a run has stopped: held or ended.
    pub async fn ended(&self, run: &str) -> RunRow {
        let what = format!("run {run} to stop");
        if let Place::ScaledOut(services) = &self.place {
            until(&what, RUN_LIMIT, || async { has_stopped(&services.run_state(run).await?).then_some(()) }).await;
            return self.show(run).await;
        }
        until_told(&what, RUN_LIMIT, || async {
            let row = self.show(run).await;
            has_stopped(&row.state).then_some(row)
        })
        .await
    }

    /// A run as it is.
    pub async fn show(&self, run: &str) -> RunRow {
        let answer = self.rollcall(&["runs", "show", run, "--format", "json"]).await.expect_code(0);
        answer.read::<Vec<RunRow>>().remove(0)
    }

    /// All runs of the district, newest first.
    pub async fn runs(&self) -> Vec<serde_json::Value> {
        self.rollcall(&["runs", "list", "--district", DISTRICT, "--format", "json"]).await.expect_code(0).read()
    }

    /// The roster.
    pub async fn students(&self) -> Vec<StudentRow> {
        self.rollcall(&["students", "list", "--district", DISTRICT, "--format", "json"]).await.expect_code(0).read()
    }

    /// The facts of the district's roster and its history.
    pub async fn facts(&self) -> roster::Facts {
        match &self.place {
            Place::Embedded(_) => roster::facts_in(&self.embedded_store()).await,
            Place::ScaledOut(_) | Place::Deployed(_) => roster::facts_of(&self.services().database, DISTRICT).await,
        }
    }

    /// Compares the roster with what the stories of this night say, student by student.
    pub async fn check_roster(&self) {
        let students = self.students().await;
        let kept = roster::statuses(&students);
        let stories = self.sis.expected_students(self.sis.night());
        for (id, story) in &stories {
            let status = kept.get(&id.to_string()).map_or(rollcall_sandbox::SKIPPED, String::as_str);
            assert_eq!(status, story.status, "student {id}, whose story is {story:?}");
        }
        let stranger = kept.keys().find(|id| !id.parse().is_ok_and(|id| stories.contains_key(&id)));
        assert_eq!(stranger, None, "nobody is kept whom the SIS never listed");
    }

    /// Ends the workers and removes the virtual host and the database.
    ///
    /// # Panics
    /// When a log of its processes, a span, a metric or a message's header names a child, or holds a secret.
    pub async fn close(mut self) {
        self.ask_for_metrics().await;
        self.workers.clear();
        self.check_secrecy().await;
        self.searched.0 = true;
        self.sis.shutdown().await;
        if let Place::ScaledOut(services) = self.place {
            services.close().await;
        }
    }

    /// Of whoever still answers, those whom the test itself has started too.
    pub async fn ask_for_metrics(&self) {
        for (place, log) in self.logs() {
            let name = Path::new(&place).file_stem().map(|name| name.to_string_lossy().into_owned());
            self.overheard.ask(&name.unwrap_or_default(), &log).await;
        }
    }

    /// What comes out beside logs, by place: texts of spans, metrics, headers of messages.
    pub async fn told(&self) -> Vec<(String, String)> {
        let mut told = self.overheard.texts();
        let headers = match &self.place {
            Place::ScaledOut(services) => services.overheard().await,
            Place::Deployed(deployed) => deployed.overheard().await,
            Place::Embedded(_) => return told,
        };
        told.push(("headers of messages".to_owned(), headers.iter().map(|row| row.to_string() + "\n").collect()));
        told
    }

    /// What the store knows of anybody is in nothing that came out of what was started here, nor is any secret.
    async fn check_secrecy(&self) {
        let facts = match &self.place {
            Place::ScaledOut(services) => canaries::facts(&services.database).await,
            Place::Embedded(_) => canaries::facts_in(&self.embedded_store()).await,
            Place::Deployed(deployed) => canaries::facts(&deployed.database().await).await,
        };
        let secrets = self.secrets();
        let (logs, told) = (self.logs(), self.told().await);
        let strangers: Vec<String> =
            logs.iter().flat_map(|(place, log)| canaries::of_another_trace(place, log)).collect();
        assert!(strangers.is_empty(), "{}", strangers.join("\n"));
        canaries::assert_untold(logs.iter().chain(&told), &facts, &secrets);
    }

    /// Every secret of this installation and of its SIS, tokens among them.
    pub fn secrets(&self) -> BTreeSet<String> {
        let mut secrets = canaries::secrets(&self.settings());
        secrets.extend(canaries::sis_secrets(&self.sis, &self.district.client_id, &self.district.client_secret));
        if let Place::Deployed(deployed) = &self.place {
            secrets.extend(deployed::BROKER_ROLES.map(|role| deployed.password(role)));
        }
        secrets.into_iter().collect()
    }
}

/// A folder for an installation: beside the logs of its processes, what its commands say on their standard errors is kept in it.
///
/// # Panics
/// When there is no room for one.
pub fn folder() -> TempDir {
    tempfile::Builder::new().prefix(FOLDER).tempdir().expect("a directory")
}

/// All that was written to logs in such a folder so far: by file.
///
/// # Panics
/// When it cannot be read.
pub fn logs_in(folder: &Path) -> Vec<(String, String)> {
    let files = std::fs::read_dir(folder).expect("the folder can be read");
    let logs = files
        .filter_map(Result::ok)
        .map(|file| file.path())
        .filter(|path| path.extension().is_some_and(|end| end == "log"));
    logs.map(|path| (path.display().to_string(), std::fs::read_to_string(&path).unwrap_or_default())).collect()
}

/// Whether a run in this state goes on by itself.
fn has_stopped(state: &str) -> bool {
    !["queued", "running"].contains(&state)
}
