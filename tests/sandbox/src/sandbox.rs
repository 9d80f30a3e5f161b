//! A running sandbox, as tests and commands hold it.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::serve::ListenerExt;
use chrono::NaiveDate;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::campus::{CampusFaults, CampusFlag, CampusProgramRow};
use crate::config::SandboxConfig;
use crate::http;
use crate::oneroster::{self, Vendor};
use crate::quirks::Quirks;
use crate::state::{Shared, lock};
use crate::stats::Stats;
use crate::world::scenario::Scenario;
use crate::world::{Expected, ExpectedStudent};

/// How long [`Sandbox::shutdown`] waits for answers under way.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// Why a sandbox did not start.
#[derive(Debug, thiserror::Error)]
#[error("the sandbox cannot listen on 127.0.0.1:{port}")]
pub struct StartError {
    pub(crate) port: u16,
    #[source]
    pub(crate) source: io::Error,
}

/// A Qmlativ on 127.0.0.1, with Skyward's `OneRoster` beside its own API and an Infinite Campus. It stops when dropped; [`Sandbox::shutdown`] also waits until it has.
#[derive(Debug)]
pub struct Sandbox {
    shared: Arc<Shared>,
    address: SocketAddr,
    closing: watch::Sender<bool>,
    server: JoinHandle<()>,
}

impl Sandbox {
    /// Starts serving night 1.
    ///
    /// # Errors
    /// The port is taken, or loopback cannot be listened on.
    pub async fn start(config: SandboxConfig) -> Result<Self, StartError> {
        let port = config.port;
        let cannot_listen = |source| StartError { port, source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(cannot_listen)?;
        let address = listener.local_addr().map_err(cannot_listen)?;
        let (closing, watching) = watch::channel(false);
        let shared = Arc::new(Shared::new(config, watching.clone()));
        let server = tokio::spawn(run(listener, Arc::clone(&shared), watching));
        Ok(Self { shared, address, closing, server })
    }

    /// What a district file has as `base_url`.
    pub fn base_url(&self) -> String {
        format!("{}{}", self.origin(), http::BASE)
    }

    /// What a district copies from Campus as the base URL of its `OneRoster` 1.2 connection.
    pub fn campus_base_url(&self) -> String {
        format!("{}{}{}", self.origin(), oneroster::ROOT, oneroster::BASE)
    }

    /// The same of a 1.1 connection.
    pub fn campus_base_url_11(&self) -> String {
        format!("{}{}{}", self.origin(), oneroster::ROOT, oneroster::BASE_11)
    }

    /// What a district copies from Campus as the token URL, application name and all.
    pub fn campus_token_url(&self) -> String {
        format!("{}{}{}?appName={}", self.origin(), oneroster::ROOT, oneroster::TOKEN, oneroster::APPLICATION)
    }

    /// What a district copies from Skyward as the base URL of its `OneRoster` 1.2 connection.
    pub fn skyward_oneroster_url(&self) -> String {
        format!("{}{}{}", self.origin(), http::BASE, oneroster::SKYWARD_BASE)
    }

    /// The same of a 1.1 connection.
    pub fn skyward_oneroster_url_11(&self) -> String {
        format!("{}{}{}", self.origin(), http::BASE, oneroster::SKYWARD_BASE_11)
    }

    /// Skyward's token URL, of its own API and of `OneRoster` alike.
    pub fn skyward_token_url(&self) -> String {
        format!("{}{}{}", self.origin(), http::BASE, http::TOKEN)
    }

    /// The vendor's key and secret for programs and flags of its Campus.
    pub fn campus_vendor(&self) -> (&str, &str) {
        self.shared.programs.vendor()
    }

    /// The programs of its Campus, shown to partners or not.
    pub fn campus_programs(&self) -> Vec<CampusProgramRow> {
        self.shared.programs.all_programs()
    }

    /// The flags of its Campus, by id.
    pub fn campus_flags(&self) -> Vec<CampusFlag> {
        self.shared.programs.all_flags()
    }

    /// Somebody types a flag into its Campus, or edits one by its id.
    pub fn type_in_campus_flag(&self, flag: CampusFlag) {
        self.shared.programs.type_in(flag);
    }

    /// Puts faults of its Campus's programs and flags in force, in place of those before.
    pub fn set_campus_faults(&self, faults: CampusFaults) {
        self.shared.programs.set_faults(faults);
    }

    /// The `sourcedId` that `OneRoster` 1.2 gives to the student with this Qmlativ `StudentID`.
    pub fn campus_guid(&self, student: i64) -> String {
        oneroster::student_guid(&self.shared.world, student)
    }

    /// What a run over `OneRoster` 1.2 must come to on this night, for each `sourcedId` listed so far; nobody else is
    /// imported.
    pub fn expected_campus(&self, night: u32) -> BTreeMap<String, ExpectedStudent> {
        oneroster::expected(&self.shared.view_of(night, &Quirks::default()), Vendor::Campus)
    }

    /// As [`Sandbox::expected_campus`], of a run over Skyward's `OneRoster`: the same people by other ids.
    pub fn expected_skyward_oneroster(&self, night: u32) -> BTreeMap<String, ExpectedStudent> {
        oneroster::expected(&self.shared.view_of(night, &Quirks::default()), Vendor::Skyward)
    }

    /// Where `/_control/…` is.
    pub fn control_url(&self) -> String {
        format!("{}/_control", self.origin())
    }

    fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The consumer key.
    pub fn client_id(&self) -> &str {
        &self.shared.world.config.client_id
    }

    /// Somebody changes the consumer secret: from now on only this one gets a token, and those given before do no more.
    pub fn rotate_secret(&self, secret: &str) {
        lock(&self.shared.tokens).rotate_secret(secret.to_owned());
    }

    /// Every token given so far.
    pub fn issued_tokens(&self) -> Vec<String> {
        lock(&self.shared.tokens).given()
    }

    /// The consumer secret of the beginning.
    pub fn client_secret(&self) -> &str {
        &self.shared.world.config.client_secret
    }

    /// The district's date.
    pub fn today(&self) -> NaiveDate {
        self.shared.world.today()
    }

    /// The night served.
    pub fn night(&self) -> u32 {
        self.shared.night()
    }

    /// Serves another night, from 1.
    pub fn set_night(&self, night: u32) {
        self.shared.set_night(night);
    }

    /// The quirks in force.
    pub fn quirks(&self) -> Quirks {
        (*self.shared.quirks()).clone()
    }

    /// Puts quirks in force, in place of those before.
    pub fn set_quirks(&self, quirks: Quirks) {
        self.shared.set_quirks(quirks);
    }

    /// Counts since the start.
    pub fn stats(&self) -> Stats {
        self.shared.counters.with(|stats| stats.clone())
    }

    /// What a run on this night must come to, in counts.
    pub fn expected(&self, night: u32) -> Expected {
        self.shared.view_of(night, &Quirks::default()).expected()
    }

    /// What a run on this night must come to, for each `StudentID` listed so far.
    pub fn expected_students(&self, night: u32) -> BTreeMap<i64, ExpectedStudent> {
        self.shared.view_of(night, &Quirks::default()).expected_students()
    }

    /// Students of a story who are listed on this night, by `StudentID`.
    pub fn students_of(&self, night: u32, scenario: Scenario) -> Vec<i64> {
        let students = self.expected_students(night).into_iter();
        students.filter(|(_, student)| student.listed && student.scenario == scenario).map(|(id, _)| id).collect()
    }

    /// Stops: no new connections, answers under way go out, hanging ones are cut.
    pub async fn shutdown(self) {
        self.closing.send_replace(true);
        let abort = self.server.abort_handle();
        if tokio::time::timeout(LAST_ANSWERS, self.server).await.is_err() {
            abort.abort();
        }
    }
}

async fn run(listener: TcpListener, shared: Arc<Shared>, mut closing: watch::Receiver<bool>) {
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::warn!(%error, "the sandbox cannot switch off Nagle's algorithm");
        }
    });
    let closed = async move {
        // An error means that the sandbox was dropped, which is as good.
        closing.wait_for(|closing| *closing).await.ok();
    };
    let served = axum::serve(listener, http::router(&shared)).with_graceful_shutdown(closed).await;
    if let Err(error) = served {
        tracing::error!(%error, "the sandbox stopped serving");
    }
}
