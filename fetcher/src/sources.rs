//! The sources that a fetcher has open: one for each run and connection, so that a run's pages are asked for by one configuration. Each
//! turn of its discovery opens its own, which the pages after the last one are asked for with.
//!
//! Of several fetchers, and after a restart, each opens its own, by what the district's file says then: of a pull under way the
//! secret may be another, the page size is the one that it began with, and another SIS is not asked ([`Opened::began_at`]).

use std::{sync::Arc, time::Duration};

use moka::future::Cache;
use rollcall_proto::{
    clock::SharedClock,
    id::{ConnectionNo, DistrictId, RunId},
};
use rollcall_store::{Store, district::SisKind, run::Trigger};
use tokio::sync::OnceCell;

use crate::{
    auth::Credentials,
    config::FetcherConfig,
    error::{FetchError, SisError},
    net::{Http, HttpConfig},
    session::{Session, Shared},
    sis::{Source, asked_by, source},
};

/// How long a source that nobody uses is kept: longer than any wait, so that a run sees one configuration.
const IDLE: Duration = Duration::from_mins(15);

/// A source, and how it is used.
#[derive(Debug, Clone)]
pub(crate) struct Opened {
    pub(crate) source: Arc<dyn Source>,
    pub(crate) sis: SisKind,
    pub(crate) lanes: u16,
    /// Rows to ask for in one page, for a pull that begins.
    pub(crate) page_size: u32,
    /// Which SIS it is ([`Connection::origin`](rollcall_store::district::Connection::origin)).
    pub(crate) origin: String,
    /// With what it is asked ([`asked_by`]).
    pub(crate) asked_by: String,
    /// Which SIS the run's pull began at, once it was looked up.
    pub(crate) began_at: Arc<OnceCell<Option<String>>>,
    /// A scheduled run: nobody sits and waits, so a SIS that is away is waited for longer.
    pub(crate) patient: bool,
}

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Sources {
    store: Store,
    shared: Shared,
    opened: Cache<(RunId, ConnectionNo), Opened>,
}

impl Sources {
    pub(crate) fn new(config: &FetcherConfig, store: Store, clock: SharedClock) -> Result<Self, SisError> {
        let bounds = HttpConfig { allow_private_addresses: config.allow_private_addresses, ..config.http };
        // A discovery asks several questions at once: what bounds messages in hand does not bound requests.
        Ok(Self::over(Http::new(bounds)?.limited(config.concurrency).with_room(config.bodies), store, clock))
    }

    /// Sources that are asked through `http`.
    pub(crate) fn over(http: Http, store: Store, clock: SharedClock) -> Self {
        let opened = Cache::builder().time_to_idle(IDLE).max_capacity(10_000).build();
        Self { store, shared: Shared::new(http, clock), opened }
    }

    /// What all of them ask through.
    pub(crate) const fn http(&self) -> &Http {
        &self.shared.http
    }

    /// The source of a connection, opened where the run has none open.
    pub(crate) async fn get(
        &self,
        district: &DistrictId,
        run: RunId,
        connection: ConnectionNo,
    ) -> Result<Opened, Arc<FetchError>> {
        Box::pin(self.opened.try_get_with((run, connection), self.open(district, run, connection))).await
    }

    /// The same for a turn of a discovery: opened anew, by what the district's file says now. What others have learned by it meanwhile
    /// counts for this turn then, and is not written over with what an older one grants.
    pub(crate) async fn get_anew(
        &self,
        district: &DistrictId,
        run: RunId,
        connection: ConnectionNo,
    ) -> Result<Opened, Arc<FetchError>> {
        let opened = Box::pin(self.open(district, run, connection)).await?;
        self.opened.insert((run, connection), opened.clone()).await;
        Ok(opened)
    }

    async fn open(&self, id: &DistrictId, run: RunId, number: ConnectionNo) -> Result<Opened, FetchError> {
        let mut district = self.store.district(id).await?;
        let secrets = self.store.secrets(id, number).await?;
        let patient = self.store.run(id, run).await?.trigger == Trigger::Scheduled;
        let index = usize::from(number.0);
        if index >= district.connections.len() {
            let detail = "the district's file has fewer connections than when the run was made";
            return Err(SisError::Invalid { host: format!("connection {number}"), detail }.into());
        }
        let connection = Arc::new(district.connections.swap_remove(index));
        let (lanes, sis, origin) = (connection.lanes, connection.kind, connection.origin());
        let page_size = connection.page_size.clamp(1, 10_000);
        let asked_by = asked_by(&connection, self.store.secrets_digest(id, &secrets)?);
        let credentials = Credentials { district: id.clone(), number, connection, secrets: Arc::new(secrets) };
        let session = Session::new(self.shared.clone(), credentials);
        let source = Arc::from(source(session, district.status.school_years)?);
        Ok(Opened { source, sis, lanes, page_size, origin, asked_by, began_at: Arc::default(), patient })
    }
}
