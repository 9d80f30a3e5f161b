//! What most verbs need: settings, store, bus and clock, opened once.

use std::{os::unix::fs::MetadataExt as _, path::Path, sync::Arc};

use anyhow::Context as _;
use rollcall_classifier::ClassifierConfig;
use rollcall_proto::{
    bus::{
        SharedBus,
        amqp::{AmqpBus, AmqpConfig},
        embedded::EmbeddedBus,
    },
    clock::{SharedClock, SystemClock},
    id::{DistrictId, RunId},
    private,
};
use rollcall_store::{Store, audit::AuditEntry, secret::Keyring};

use crate::{
    cli::{Format, Global},
    config::{self, Backend, Settings},
    host::HostLock,
};

/// See the module.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) settings: Settings,
    pub(crate) store: Store,
    pub(crate) bus: SharedBus,
    embedded: Option<Arc<EmbeddedBus>>,
    pub(crate) clock: SharedClock,
    pub(crate) format: Format,
}

/// What a command has to do with the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broker {
    /// Used: it has to answer, and gets the queues that are missing.
    Used,
    /// Left as it is found: a queue that is missing stays missing.
    Seen,
    /// Nothing, as far as the command is known: it may be away.
    Spared,
}

impl Context {
    /// Opens what the settings name, with the machine's clock.
    pub(crate) async fn open(global: &Global) -> anyhow::Result<Self> {
        Self::open_with(global, Settings::load(global)?, Arc::new(SystemClock)).await
    }

    /// As [`Context::open`], leaving the broker as it is found: a queue that is missing stays missing.
    pub(crate) async fn open_looking(global: &Global) -> anyhow::Result<Self> {
        Self::open_as(global, Settings::load(global)?, Arc::new(SystemClock), Broker::Seen).await
    }

    /// As [`Context::open`], for what the store alone knows: the broker may be away.
    pub(crate) async fn open_store(global: &Global) -> anyhow::Result<Self> {
        Self::open_as(global, Settings::load(global)?, Arc::new(SystemClock), Broker::Spared).await
    }

    /// Opens what `settings` name.
    pub(crate) async fn open_with(global: &Global, settings: Settings, clock: SharedClock) -> anyhow::Result<Self> {
        Self::open_as(global, settings, clock, Broker::Used).await
    }

    async fn open_as(global: &Global, settings: Settings, clock: SharedClock, broker: Broker) -> anyhow::Result<Self> {
        let (store, bus, embedded): (Store, SharedBus, _) = match &settings.backend {
            Backend::Embedded(dir) => {
                let (store, bus) = open_embedded(dir, &settings).await?;
                (store, Arc::clone(&bus) as _, Some(bus))
            }
            Backend::ScaledOut { .. } => {
                let (store, bus) = open_scaled_out(&settings, broker).await?;
                (store, Arc::new(bus), None)
            }
        };
        Ok(Self { settings, store, bus, embedded, clock, format: global.format })
    }

    /// Becomes the host of the embedded directory, if no other process is: takes the lock, and gives work that an
    /// earlier host had in hand when it died back to the queue.
    pub(crate) async fn take_host(&self) -> anyhow::Result<Option<HostLock>> {
        let Some((dir, bus)) = self.dir().zip(self.embedded.as_ref()) else { return Ok(None) };
        let Some(lock) = HostLock::take(dir)? else { return Ok(None) };
        let freed = bus.recover_leases().await?;
        if freed > 0 {
            tracing::info!(freed, "work that an earlier host had in hand is taken up again");
        }
        Ok(Some(lock))
    }

    /// Notes in the audit trail what the person at the keyboard does to a district, or to a run of it.
    pub(crate) async fn audit(
        &self,
        district: &DistrictId,
        run: Option<RunId>,
        action: &str,
        detail: impl Into<String>,
    ) -> anyhow::Result<()> {
        let entry = AuditEntry::new(district, self.clock.now(), config::actor(), action, detail).of(run);
        Ok(self.store.audit(&entry).await?)
    }

    /// What the classifier's own steps work with, where the command line takes one of them.
    pub(crate) fn classifier(&self) -> rollcall_classifier::context::Context {
        rollcall_classifier::context::Context {
            store: self.store.clone(),
            bus: Arc::clone(&self.bus),
            clock: Arc::clone(&self.clock),
            config: ClassifierConfig::default(),
        }
    }

    /// The embedded directory, if this is embedded mode.
    pub(crate) fn dir(&self) -> Option<&Path> {
        match &self.settings.backend {
            Backend::Embedded(dir) => Some(dir),
            Backend::ScaledOut { .. } => None,
        }
    }
}

async fn open_embedded(dir: &Path, settings: &Settings) -> anyhow::Result<(Store, Arc<EmbeddedBus>)> {
    create_private(dir).with_context(|| format!("creating the directory {}", dir.display()))?;
    let key = match keyring(settings)? {
        Some(key) => key,
        None => Keyring::open_or_create(&dir.join("key"))?,
    };
    let store = Store::open_embedded(dir, key).await?;
    let bus = EmbeddedBus::open(&dir.join("bus.db")).await?;
    make_private(dir).with_context(|| format!("making the directory {} private", dir.display()))?;
    Ok((store, Arc::new(bus)))
}

/// The directory holds student records: for its owner only.
fn create_private(dir: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

/// One that was there before is made its owner's alone, where it is ours: it belongs to whom the store belongs to, and holds nothing
/// else. Of any other, `doctor` tells.
fn make_private(dir: &Path) -> std::io::Result<()> {
    const STICKY: u32 = 0o1000;
    let (directory, store) = (dir.metadata()?, dir.join("store.db").metadata()?);
    if directory.uid() != store.uid() || directory.mode() & STICKY != 0 {
        return Ok(());
    }
    for entry in dir.read_dir()? {
        if !is_ours(&entry?.file_name().to_string_lossy()) {
            return Ok(());
        }
    }
    private::for_its_owner(dir)
}

/// Whether a file of a directory is one of those that this program makes there.
fn is_ours(name: &str) -> bool {
    ["key", "host.lock", "store.lock"].contains(&name)
        || ["store.db", "bus.db"].iter().any(|database| name.starts_with(database))
}

async fn open_scaled_out(settings: &Settings, broker: Broker) -> anyhow::Result<(Store, AmqpBus)> {
    let Backend::ScaledOut { database_url, amqp_url, amqp_ca } = &settings.backend else {
        anyhow::bail!("this works on ROLLCALL_DATABASE_URL and ROLLCALL_AMQP_URL, and they are not set");
    };
    let key = keyring(settings)?.context(
        "no key for secrets at rest: set ROLLCALL_KEY or ROLLCALL_KEY_FILE (make one with `rollcall key new`); every \
         process needs the same",
    )?;
    let store = Store::connect(database_url, key, settings.database_connections).await?;
    let config = AmqpConfig {
        declare: broker != Broker::Seen,
        certificate_authorities: amqp_ca.clone(),
        ..AmqpConfig::new(amqp_url.clone())
    };
    let bus = if broker == Broker::Spared { AmqpBus::on_demand(config) } else { AmqpBus::connect(config).await? };
    Ok((store, bus))
}

fn keyring(settings: &Settings) -> anyhow::Result<Option<Keyring>> {
    Ok(match (&settings.key, &settings.key_file) {
        (Some(text), _) => Some(Keyring::from_base64(text)?),
        (None, Some(path)) => Some(Keyring::from_file(path)?),
        (None, None) => None,
    })
}
