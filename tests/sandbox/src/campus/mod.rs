//! A stand-in for the programs and program participations of Infinite Campus (wire/oneroster-campus.md 2.5): a
//! partner interface beside `OneRoster`, behind a vendor header.
//!
//! Role: a Campus for tests and benchmarks, over real HTTP; and the same interface beside the roster that the sandbox's own
//! Campus serves. Invariants: every write is judged as the wire facts say
//! (unknown ones 404, bad dates and inactive programs 422); a program that is not marked "Special Ed" is not shown, unless a test
//! wants it;
//! without the vendor header, or with a wrong one, everything is 401.

mod api;
mod faults;
mod flags;
mod names;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::serve::ListenerExt;
use tokio::{
    net::TcpListener,
    sync::{Notify, watch},
    task::JoinHandle,
};

pub use faults::{CampusFault, CampusFaults, Strike};
pub use flags::{CampusFlag, CampusProgramRow, CampusStats};
pub use names::CampusNames;

use crate::{auth::Tokens, config::SandboxConfig, sandbox::StartError, state::lock};
pub(crate) use api::beside_roster;
use flags::Flags;

/// In what order a list comes, whatever is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CampusOrder {
    /// By id.
    ById,
    /// In another one for each page: pages overlap, and rows fall between them.
    NewEachTime,
}

/// How a list is cut into pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CampusPaging {
    /// By `limit` and `offset`, the limit silently clamped.
    Paged,
    /// The same, and what is asked for behind the end is refused, with this status.
    RefusedBehind(u16),
    /// Not at all: all of it, whatever part is asked for.
    Unpaged,
    /// The first page, whatever offset is asked for.
    Stuck,
}

/// What Campus is started with.
#[derive(Debug, Clone)]
pub struct CampusConfig {
    /// Loopback port; 0 takes a free one.
    pub port: u16,
    /// Name of the district's Campus application.
    pub app: String,
    /// OAuth client id.
    pub client_id: String,
    /// OAuth client secret.
    pub client_secret: String,
    /// The vendor's key.
    pub vendor_key: String,
    /// The vendor's secret.
    pub vendor_secret: String,
    /// Rows of a page at most, whatever is asked for.
    pub page_limit: usize,
    /// Ids of the students there are; empty: whoever is named. Beside a roster they are those of the roster.
    pub students: Vec<String>,
    /// Milliseconds each answer takes.
    pub latency_ms: u64,
    /// Participations can be filtered, by student and by program; any other filter is refused (400).
    pub filters: bool,
    /// Lists come with `X-Total-Count`.
    pub counts: bool,
    /// In what order lists come.
    pub order: CampusOrder,
    /// How lists are cut into pages.
    pub paging: CampusPaging,
    /// Programs that are not marked "Special Ed" are shown too, and flags of theirs.
    pub shows_all: bool,
    /// What paths, envelopes and fields are called.
    pub names: CampusNames,
}

impl Default for CampusConfig {
    fn default() -> Self {
        Self {
            port: 0,
            app: "rollcall".to_owned(),
            client_id: "campus-key".to_owned(),
            client_secret: "campus/secret+1".to_owned(),
            vendor_key: "InfiniteCampus_vendor".to_owned(),
            vendor_secret: "vendor-secret".to_owned(),
            page_limit: 500,
            students: Vec::new(),
            latency_ms: 0,
            filters: true,
            counts: true,
            order: CampusOrder::ById,
            paging: CampusPaging::Paged,
            shows_all: false,
            names: CampusNames::default(),
        }
    }
}

/// What the handlers share.
#[derive(Debug)]
pub(crate) struct Shared {
    config: CampusConfig,
    /// For the token endpoint, which is that of the other stand-ins.
    tokens_config: SandboxConfig,
    tokens: Mutex<Tokens>,
    flags: Mutex<Flags>,
    faults: Mutex<faults::Struck>,
    let_go: Notify,
    closing: watch::Receiver<bool>,
}

impl Shared {
    /// Four common programs and no flags.
    pub(crate) fn new(config: CampusConfig, closing: watch::Receiver<bool>) -> Self {
        let tokens_config = SandboxConfig {
            client_id: config.client_id.clone(),
            client_secret: config.client_secret.clone(),
            ..SandboxConfig::default()
        };
        let flags = Flags { shows_all: config.shows_all, ..Flags::default() };
        Self {
            config,
            tokens_config,
            tokens: Mutex::default(),
            flags: Mutex::new(flags),
            faults: Mutex::default(),
            let_go: Notify::new(),
            closing,
        }
    }

    /// The vendor's key and secret.
    pub(crate) fn vendor(&self) -> (&str, &str) {
        (&self.config.vendor_key, &self.config.vendor_secret)
    }

    /// Puts faults in force, in place of those before.
    pub(crate) fn set_faults(&self, faults: CampusFaults) {
        *lock(&self.faults) = faults::Struck::new(faults);
    }

    /// The programs, shown or not.
    pub(crate) fn all_programs(&self) -> Vec<CampusProgramRow> {
        lock(&self.flags).programs.clone()
    }

    /// All flags, by id; deleted ones left out.
    pub(crate) fn all_flags(&self) -> Vec<CampusFlag> {
        lock(&self.flags).all()
    }

    /// Somebody types a flag in, or edits one by its id.
    pub(crate) fn type_in(&self, flag: CampusFlag) {
        lock(&self.flags).put(flag);
    }
}

/// A Campus on 127.0.0.1. It stops when dropped; [`Campus::shutdown`] also waits until it has.
#[derive(Debug)]
pub struct Campus {
    shared: Arc<Shared>,
    address: SocketAddr,
    closing: watch::Sender<bool>,
    server: JoinHandle<()>,
}

impl Campus {
    /// Starts with the four common programs and no flags.
    ///
    /// # Errors
    /// The port is taken, or loopback cannot be listened on.
    pub async fn start(config: CampusConfig) -> Result<Self, StartError> {
        let port = config.port;
        let cannot_listen = |source: io::Error| StartError { port, source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(cannot_listen)?;
        let address = listener.local_addr().map_err(cannot_listen)?;
        let (closing, watching) = watch::channel(false);
        let shared = Arc::new(Shared::new(config, watching.clone()));
        let server = tokio::spawn(run(listener, Arc::clone(&shared), watching));
        Ok(Self { shared, address, closing, server })
    }

    /// What a district file has as `base_url`.
    pub fn base_url(&self) -> String {
        format!("http://{}{}", self.address, api::base(&self.shared.config.app))
    }

    /// What a district file has as `token_url`, `appName` included.
    pub fn token_url(&self) -> String {
        format!("http://{}{}?appName={}", self.address, api::TOKEN, self.shared.config.app)
    }

    /// What it was started with.
    pub fn config(&self) -> &CampusConfig {
        &self.shared.config
    }

    /// The programs, shown or not.
    pub fn programs(&self) -> Vec<CampusProgramRow> {
        self.shared.all_programs()
    }

    /// Puts programs in place of those before.
    pub fn set_programs(&self, programs: Vec<CampusProgramRow>) {
        lock(&self.shared.flags).programs = programs;
    }

    /// All flags, by id; deleted ones left out.
    pub fn flags(&self) -> Vec<CampusFlag> {
        self.shared.all_flags()
    }

    /// Somebody types a flag in, or edits one by its id.
    pub fn type_in(&self, flag: CampusFlag) {
        self.shared.type_in(flag);
    }

    /// Somebody deletes a flag.
    pub fn delete(&self, id: &str) {
        lock(&self.shared.flags).delete(id);
    }

    /// Puts faults in force, in place of those before.
    pub fn set_faults(&self, faults: CampusFaults) {
        self.shared.set_faults(faults);
    }

    /// How many writes have had to wait since the faults were put in force.
    pub fn held(&self) -> u32 {
        lock(&self.shared.faults).held
    }

    /// A write that waits goes on.
    pub fn let_go(&self) {
        self.shared.let_go.notify_one();
    }

    /// Counts since the start.
    pub fn stats(&self) -> CampusStats {
        lock(&self.shared.flags).stats
    }

    /// Stops: no new connections, answers under way go out.
    pub async fn shutdown(self) {
        self.closing.send_replace(true);
        let abort = self.server.abort_handle();
        if tokio::time::timeout(Duration::from_secs(5), self.server).await.is_err() {
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
    let served = axum::serve(listener, api::router(shared)).with_graceful_shutdown(closed).await;
    if let Err(error) = served {
        tracing::error!(%error, "the sandbox stopped serving");
    }
}
