//! Hosting the services: all in one process (embedded), or one role of them (scaled out).
//!
//! Embedded: who hosts workers holds an operating-system lock on `host.lock`, so that a directory has one host at a
//! time; the lock goes with the process, however it ends.

use std::{fs::File, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::Router;
use rollcall_classifier::ClassifierConfig;
use rollcall_fetcher::FetcherConfig;
use rollcall_flag_sync::{self as flag_sync, FlagSyncConfig};
use rollcall_proto::topology::Queue;
use rollcall_telemetry::health::Health;
use rollcall_web::{Resources, WebConfig};
use rollcall_writer::WriterConfig;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::{cli::Role, config::Settings, context::Context, ending, take_overs::Campus};

/// How long a host waits for its services to finish what they have in hand, or to give it back: a little longer than
/// they take themselves.
const DRAIN: Duration = Duration::from_millis(9_500);

/// The right to host workers on a directory.
#[derive(Debug)]
pub(crate) struct HostLock {
    _file: File,
}

impl HostLock {
    /// Takes it, or says `None` while another process holds it.
    pub(crate) fn take(dir: &Path) -> anyhow::Result<Option<Self>> {
        let path = dir.join("host.lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .with_context(|| format!("opening {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("locking {}", path.display()))
            }
        }
    }
}

/// Running services.
pub(crate) struct Services {
    tasks: JoinSet<()>,
    shutdown: CancellationToken,
    health: Health,
    queues: Vec<Queue>,
    /// Made once: flag-sync and the HTTP side share each district's rate.
    flag_sync: Option<flag_sync::Context>,
}

impl Services {
    /// Starts nothing yet.
    pub(crate) fn new() -> Self {
        Self::watched(Health::new())
    }

    /// Starts nothing yet; `health` hears when they are told to stop.
    pub(crate) fn watched(health: Health) -> Self {
        Self { tasks: JoinSet::new(), shutdown: CancellationToken::new(), health, queues: Vec::new(), flag_sync: None }
    }

    /// The queues that those which were started consume from.
    pub(crate) fn queues(&self) -> &[Queue] {
        &self.queues
    }

    /// Starts all of them. `schedule` off: only the work that is there, no scheduled runs.
    pub(crate) fn start_all(&mut self, context: &Context, concurrency: u16, schedule: bool) {
        self.start_fetcher(context, Some(concurrency), schedule);
        self.start(Role::Classifier, context, None);
        self.start(Role::Writer, context, None);
        self.start(Role::FlagSync, context, None);
    }

    /// Starts one.
    pub(crate) fn start(&mut self, role: Role, context: &Context, concurrency: Option<u16>) {
        match role {
            Role::Fetcher => self.start_fetcher(context, concurrency, true),
            Role::Classifier => {
                let mut config = ClassifierConfig::default();
                config.collectors = concurrency.unwrap_or(config.collectors);
                config.republish_after = context.settings.lost_after;
                config.keep_pages = context.settings.keep_pages;
                config.keep_plans = context.settings.keep_plans;
                config.keep_parked = context.settings.keep_parked;
                config.keep_audit = context.settings.keep_audit;
                let (bus, store, clock) = parts(context);
                self.queues.extend(rollcall_classifier::QUEUES);
                self.tasks.spawn(rollcall_classifier::run(config, bus, store, clock, self.shutdown.clone()));
            }
            Role::Writer => {
                let mut config = WriterConfig::default();
                config.concurrency = concurrency.unwrap_or(config.concurrency);
                let (bus, store, clock) = parts(context);
                self.queues.push(Queue::Write);
                self.tasks.spawn(rollcall_writer::run(config, bus, store, clock, self.shutdown.clone()));
            }
            Role::FlagSync => {
                self.queues.push(Queue::Flags);
                let (made, shutdown) = (self.flag_sync(context), self.shutdown.clone());
                self.tasks.spawn(async move {
                    match made {
                        Ok(syncing) => flag_sync::run(syncing, concurrency, shutdown).await,
                        Err(error) => {
                            let error: &dyn std::error::Error = &*error;
                            tracing::error!(error, "flag-sync cannot start");
                        }
                    }
                });
            }
        }
    }

    fn flag_sync(&mut self, context: &Context) -> anyhow::Result<flag_sync::Context> {
        if let Some(made) = &self.flag_sync {
            return Ok(made.clone());
        }
        let (bus, store, clock) = parts(context);
        let made = flag_sync::Context::new(flag_sync_config(&context.settings), bus, store, clock)?;
        Ok(self.flag_sync.insert(made).clone())
    }

    fn start_fetcher(&mut self, context: &Context, concurrency: Option<u16>, schedule: bool) {
        let mut config = FetcherConfig::default();
        config.concurrency = concurrency.unwrap_or(config.concurrency);
        config.allow_private_addresses = context.settings.allow_private_addresses;
        config.schedule = schedule;
        config.lost_after = context.settings.lost_after;
        config.bodies = context.settings.fetch_bodies;
        let (bus, store, clock) = parts(context);
        self.queues.push(Queue::Fetch);
        self.tasks.spawn(rollcall_fetcher::run(config, bus, store, clock, self.shutdown.clone()));
    }

    /// Starts the HTTP side on a listener, and tells where.
    pub(crate) fn start_web(&mut self, context: &Context, listener: TcpListener, probes: Router) -> anyhow::Result<()> {
        let address = listener.local_addr()?;
        let public_url = self.serve_web(context, listener, Some(probes))?;
        eprintln!("listening for HTTP on {address}; people reach it at {public_url}");
        Ok(())
    }

    /// Starts the HTTP side on a listener, with the process's own probes if it has some; where people reach it.
    pub(crate) fn serve_web(
        &mut self,
        context: &Context,
        listener: TcpListener,
        probes: Option<Router>,
    ) -> anyhow::Result<Url> {
        let config = web_config(context, listener.local_addr()?.port())?;
        let public_url = config.public_url().clone();
        let (bus, store, clock) = parts(context);
        let take_overs = Arc::new(Campus(self.flag_sync(context)?));
        let resources = Resources { bus, store, clock, take_overs };
        let shutdown = self.shutdown.clone();
        match probes {
            Some(probes) => {
                self.tasks.spawn(rollcall_web::run_with_probes(listener, config, resources, probes, shutdown))
            }
            None => self.tasks.spawn(rollcall_web::run(listener, config, resources, shutdown)),
        };
        Ok(public_url)
    }

    /// Tells them to stop and waits until they have finished what is in hand.
    pub(crate) async fn stop(mut self) {
        self.health.drain();
        self.shutdown.cancel();
        let drained =
            tokio::time::timeout(ending::left(DRAIN), async { while self.tasks.join_next().await.is_some() {} }).await;
        if drained.is_err() {
            tracing::warn!("some work was still in hand after {DRAIN:?}; it will be delivered again");
        }
    }

    /// Waits for a signal, or for a service to end on its own (which is a failure).
    pub(crate) async fn until_signal(mut self) -> anyhow::Result<()> {
        let failed = tokio::select! {
            () = signal() => false,
            ended = self.tasks.join_next() => ended.is_some(),
        };
        ending::told();
        tracing::info!("stopping; work in hand is finished first");
        tokio::select! {
            () = self.stop() => {}
            () = signal() => {
                ending::at_once();
                tracing::warn!("stopped at once by a second signal; work in hand will be delivered again");
            }
        }
        anyhow::ensure!(!failed, "a service ended on its own; its log says why");
        Ok(())
    }
}

/// Listens at the site's address.
pub(crate) async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("listening for HTTP on {address}"))
}

/// How flags are synced, as the process's settings say.
pub(crate) fn flag_sync_config(settings: &Settings) -> FlagSyncConfig {
    FlagSyncConfig {
        allow_private_addresses: settings.allow_private_addresses,
        requests_per_second: settings.flag_requests_per_second,
        public_url: settings.public_url.clone(),
        partner: settings.campus.clone(),
        lease: settings.lost_after,
        ..FlagSyncConfig::default()
    }
}

/// The site can be served, as far as the settings go.
pub(crate) fn check_web(context: &Context) -> anyhow::Result<()> {
    web_config(context, 0).map(drop)
}

/// The public URL; for trying things out it may be left out.
fn web_config(context: &Context, port: u16) -> anyhow::Result<WebConfig> {
    let allow = context.settings.allow_private_addresses;
    let public_url = match &context.settings.public_url {
        Some(url) => url.clone(),
        None if allow => format!("http://localhost:{port}").parse()?,
        None => anyhow::bail!(
            "no public URL: set ROLLCALL_PUBLIC_URL (or public_url in rollcall.toml) to where people reach this site, \
             such as https://plans.example.org"
        ),
    };
    Ok(WebConfig::new(public_url, allow)?)
}

fn parts(
    context: &Context,
) -> (rollcall_proto::bus::SharedBus, rollcall_store::Store, rollcall_proto::clock::SharedClock) {
    (Arc::clone(&context.bus), context.store.clone(), Arc::clone(&context.clock))
}

/// Ends when the process is told to stop (SIGINT or SIGTERM).
pub(crate) async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = match signal(SignalKind::terminate()) {
        Ok(stream) => stream,
        Err(error) => {
            tracing::error!(%error, "SIGTERM cannot be listened for; only Ctrl-C stops this process in order");
            let _ = tokio::signal::ctrl_c().await;
            return;
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}
