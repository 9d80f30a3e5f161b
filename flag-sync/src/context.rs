//! What all work on flags shares, and one district's work.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use chrono::{DateTime, NaiveDate, Utc};
use rollcall_http::{
    auth::Credentials,
    error::SisError,
    net::{Http, HttpConfig},
    session::{Session, Shared},
    urls,
};
use rollcall_proto::{bus::SharedBus, clock::SharedClock, id::DistrictId};
use rollcall_store::{
    Store,
    district::{District, OneRosterVersion},
    flag::{Flag, FlagState, LedgerEntry, NO_PUBLIC_URL},
};
use uuid::Uuid;

use crate::{
    campus::{Campus, Pace, vendor_authorization},
    config::FlagSyncConfig,
    diff::Moment,
    error::FlagError,
    live::LastLook,
    partner::PartnerInterface,
    rows::Lists,
    unit::{AsOf, Leftovers, Unit},
};

/// See the module. A process has one, and its clones: a district's rate is that of all of them together.
#[derive(Clone)]
pub struct Context {
    pub(crate) store: Store,
    pub(crate) bus: SharedBus,
    pub(crate) clock: SharedClock,
    pub(crate) config: Arc<FlagSyncConfig>,
    table: Arc<PartnerInterface>,
    shared: Shared,
    pace: Pace,
    aside: Pace,
    pub(crate) lists: Lists,
    leftovers: Leftovers,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Context {
    /// Nothing is asked yet.
    pub fn new(config: FlagSyncConfig, bus: SharedBus, store: Store, clock: SharedClock) -> Result<Self, SisError> {
        let bounds = HttpConfig { allow_private_addresses: config.allow_private_addresses, ..config.http };
        Ok(Self::over(Http::new(bounds)?, config, bus, store, clock))
    }

    /// The same, asking through a client that is there already. The configuration's time-outs and limits are not its.
    pub fn over(http: Http, config: FlagSyncConfig, bus: SharedBus, store: Store, clock: SharedClock) -> Self {
        let shared = Shared::new(http, Arc::clone(&clock));
        let (pace, aside) = (Pace::per_second(config.requests_per_second), Pace::aside(config.requests_per_second));
        let table = Arc::new(config.partner.clone());
        let (lists, leftovers) = (Lists::default(), Leftovers::default());
        Self { store, bus, clock, config: Arc::new(config), table, shared, pace, aside, lists, leftovers }
    }

    /// One message's work on a district, of a worker who has its lease: it ends in time, and goes on where the last one was cut off.
    pub(crate) async fn begin(&self, id: &DistrictId, worker: Uuid) -> Result<Work, FlagError> {
        let work = self.open(id, worker).await?;
        let told = if self.leftovers.has(id) { self.leftovers.take(id, &work.as_of().await?) } else { None };
        let unit = Unit::begin(self.config.asks, self.shared.http.longest(), told.unwrap_or_default());
        Ok(Work { campus: work.campus.within(Arc::new(unit)), ..work })
    }

    /// One district's work, of a worker who has its lease, however long it takes.
    pub(crate) async fn open(&self, id: &DistrictId, worker: Uuid) -> Result<Work, FlagError> {
        // Before the file, which may be why the next one is asked for.
        let asked = self.store.flags_asked(id).await?;
        let district = self.store.district(id).await?;
        let campus = self.campus(&district).await?;
        let today = self.clock.now().with_timezone(&district.time_zone).date_naive();
        Ok(Work {
            context: self.clone(),
            worker,
            district,
            asked,
            campus,
            today,
            last_look: LastLook::default(),
            compared: Arc::default(),
            is_comparing: Arc::default(),
            failed: Arc::default(),
        })
    }

    /// One district's, to be looked at beside whoever works on it: nothing of it is kept.
    pub(crate) async fn open_aside(&self, id: &DistrictId) -> Result<Work, FlagError> {
        let work = self.open(id, Uuid::nil()).await?;
        Ok(Work { campus: work.campus.aside(self.aside.clone()), ..work })
    }

    async fn campus(&self, district: &District) -> Result<Campus, FlagError> {
        let (number, connection) = district.flag_connection().ok_or(FlagError::Configuration(
            "flags need a connection of kind oneroster with vendor_key and vendor_secret in the district's file",
        ))?;
        if urls::version(connection) != OneRosterVersion::V1p2 {
            return Err(FlagError::Configuration(
                "Campus has programs and flags in OneRoster 1.2 only: copy the base URL of version 1.2 (and version = \"1.2\") \
                 into the district's file",
            ));
        }
        let secrets = self.store.secrets(&district.id, number).await?;
        let vendor = vendor_authorization(connection, &secrets)
            .ok_or(FlagError::Configuration("flags need vendor_secret beside vendor_key in the district's file"))?;
        let credentials = Credentials {
            district: district.id.clone(),
            number,
            connection: Arc::new(connection.clone()),
            secrets: Arc::new(secrets),
        };
        let session = Session::new(self.shared.clone(), credentials);
        let (table, pace) = (Arc::clone(&self.table), self.pace.clone());
        Ok(Campus::new(district.id.clone(), session, &vendor, table, pace)?)
    }
}

/// One district's flags in hand.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    pub(crate) context: Context,
    /// Whose lease it is done under.
    pub(crate) worker: Uuid,
    pub(crate) district: District,
    /// The last request for a whole sync that this work knows of.
    pub(crate) asked: Option<Uuid>,
    pub(crate) campus: Campus,
    /// The district's date.
    pub(crate) today: NaiveDate,
    /// See [`Work::live`].
    pub(crate) last_look: LastLook,
    /// What this message has compared to its end, or left in the store as far as it came: all (`None`), or programs.
    pub(crate) compared: Arc<Mutex<BTreeSet<Option<String>>>>,
    /// It is in the middle of comparing many.
    pub(crate) is_comparing: Arc<AtomicBool>,
    /// What it failed at while it compared.
    pub(crate) failed: Arc<Mutex<Option<SisError>>>,
}

impl Work {
    pub(crate) fn id(&self) -> &DistrictId {
        &self.district.id
    }

    pub(crate) fn store(&self) -> &Store {
        &self.context.store
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.context.clock.now()
    }

    /// Notes what has been compared, or is kept.
    pub(crate) fn was_compared(&self, program: Option<&str>) {
        self.compared.lock().unwrap_or_else(PoisonError::into_inner).insert(program.map(str::to_owned));
    }

    /// Whether that befell all, or a program by itself.
    pub(crate) fn has_compared(&self, program: Option<&str>) -> bool {
        self.compared.lock().unwrap_or_else(PoisonError::into_inner).contains(&program.map(str::to_owned))
    }

    /// Notes that it is in the middle of comparing many, or no more.
    pub(crate) fn compares(&self, is_comparing: bool) {
        self.is_comparing.store(is_comparing, Ordering::Relaxed);
    }

    /// Whether it is: what Campus failed at in that is still to be told.
    pub(crate) fn is_comparing(&self) -> bool {
        self.is_comparing.load(Ordering::Relaxed)
    }

    /// Notes what Campus failed at while it compared, which is told at the end.
    pub(crate) fn has_failed(&self, error: Option<&SisError>) {
        if let Some(error) = error {
            *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
        }
    }

    /// What that was.
    pub(crate) fn failure(&self) -> Option<SisError> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Time is up: keeps what Campus has told for the next message.
    pub(crate) async fn leave(&self) -> Result<(), FlagError> {
        let Some(unit) = self.campus.unit() else { return Ok(()) };
        let as_of = self.as_of().await?;
        self.context.leftovers.keep(self.id(), as_of, unit.so_far());
        Ok(())
    }

    async fn as_of(&self) -> Result<AsOf, FlagError> {
        let after = self.store().last_flag_put(self.id()).await?;
        Ok(AsOf { base_url: self.base_url(), after, asked: self.asked })
    }

    /// Which Campus.
    pub(crate) fn base_url(&self) -> String {
        self.district.flag_connection().map(|(_, connection)| connection.base_url.to_string()).unwrap_or_default()
    }

    /// When what is decided now is decided.
    pub(crate) fn moment(&self) -> Moment {
        Moment { now: self.now(), today: self.today }
    }

    /// Keeps flags and lines of the ledger, as long as the district is this worker's.
    pub(crate) async fn save(&self, changed: &[Flag], ledger: &[LedgerEntry]) -> Result<(), FlagError> {
        if self.store().save_flags(self.id(), self.worker, changed, ledger, self.now()).await? {
            return Ok(());
        }
        // Whoever else is about to write for this worker looks first.
        self.last_look.lock().await.take();
        Err(FlagError::Lost)
    }

    /// Where a click on a flag leads. Only the flag's own id is in it: what it stands for is looked up here.
    pub(crate) fn launch_link(&self, flag: Uuid) -> Option<String> {
        let public_url = self.context.config.public_url.as_ref().filter(|_| self.takes_links())?;
        let mut url = rollcall_store::lti::launch_url(public_url, self.id());
        url.query_pairs_mut().append_pair("flag", &flag.to_string());
        Some(url.into())
    }

    /// Flags have no link although Campus takes links: nobody said where people reach the HTTP side.
    pub(crate) fn lacks_public_url(&self) -> bool {
        self.context.config.public_url.is_none() && self.takes_links()
    }

    fn takes_links(&self) -> bool {
        !self.campus.table().launch_link.is_empty()
    }

    /// A flag that Campus shows as wished, but for a link that nobody could make, says so where it is listed.
    pub(crate) fn noted(&self, flag: Flag) -> Flag {
        let unlinked = flag.pushed.as_ref().is_some_and(|pushed| pushed.link.is_none());
        if flag.state == FlagState::Pushed && unlinked && self.lacks_public_url() {
            return Flag { reason: Some(NO_PUBLIC_URL.to_owned()), ..flag };
        }
        flag
    }
}
