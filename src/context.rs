//! What most verbs need: settings, store, bus and clock, opened once.

use std::{path::Path, sync::Arc};

use anyhow::Context as _;
use rollcall_proto::{
    bus::{
        SharedBus,
        amqp::{AmqpBus, AmqpConfig},
        embedded::EmbeddedBus,
    },
    clock::{SharedClock, SystemClock},
};
use rollcall_store::{Store, secret::Keyring};

use crate::{
    cli::{Format, Global},
    config::{Backend, Settings},
};

/// See the module.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) settings: Settings,
    pub(crate) store: Store,
    pub(crate) bus: SharedBus,
    pub(crate) clock: SharedClock,
    pub(crate) format: Format,
}

impl Context {
    /// Opens what the settings name, with the machine's clock.
    pub(crate) async fn open(global: &Global) -> anyhow::Result<Self> {
        Self::open_with(global, Settings::load(global)?, Arc::new(SystemClock)).await
    }

    /// Opens what `settings` name.
    pub(crate) async fn open_with(global: &Global, settings: Settings, clock: SharedClock) -> anyhow::Result<Self> {
        let (store, bus) = match &settings.backend {
            Backend::Embedded(dir) => open_embedded(dir, &settings, &clock).await?,
            Backend::ScaledOut { .. } => open_scaled_out(&settings).await?,
        };
        Ok(Self { settings, store, bus, clock, format: global.format })
    }

    /// The embedded directory, if this is embedded mode.
    pub(crate) fn dir(&self) -> Option<&Path> {
        match &self.settings.backend {
            Backend::Embedded(dir) => Some(dir),
            Backend::ScaledOut { .. } => None,
        }
    }
}

async fn open_embedded(dir: &Path, settings: &Settings, clock: &SharedClock) -> anyhow::Result<(Store, SharedBus)> {
    create_private(dir).with_context(|| format!("creating the directory {}", dir.display()))?;
    let key = match keyring(settings)? {
        Some(key) => key,
        None => Keyring::open_or_create(&dir.join("key"))?,
    };
    let store = Store::open_embedded(dir, key).await?;
    let bus = EmbeddedBus::open(&dir.join("bus.db"), Arc::clone(clock)).await?;
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

async fn open_scaled_out(settings: &Settings) -> anyhow::Result<(Store, SharedBus)> {
    let Backend::ScaledOut { database_url, amqp_url } = &settings.backend else {
        anyhow::bail!("this works on ROLLCALL_DATABASE_URL and ROLLCALL_AMQP_URL, and they are not set");
    };
    let key = keyring(settings)?.context(
        "no key for secrets at rest: set ROLLCALL_KEY or ROLLCALL_KEY_FILE (make one with `rollcall key new`); every \
         process needs the same",
    )?;
    let store = Store::connect(database_url, key, settings.database_connections).await?;
    let bus = AmqpBus::connect(AmqpConfig::new(amqp_url.clone())).await?;
    Ok((store, Arc::new(bus)))
}

fn keyring(settings: &Settings) -> anyhow::Result<Option<Keyring>> {
    Ok(match (&settings.key, &settings.key_file) {
        (Some(text), _) => Some(Keyring::from_base64(text)?),
        (None, Some(path)) => Some(Keyring::from_file(path)?),
        (None, None) => None,
    })
}
