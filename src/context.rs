//! What most verbs need: settings, store, bus and clock, opened once.

use std::{
    fs::File,
    io::{self, ErrorKind},
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::Arc,
};

use anyhow::{Context as _, anyhow, ensure};
use rollcall_classifier::ClassifierConfig;
use rollcall_proto::{
    bus::{
        BusError, SharedBus,
        amqp::{AmqpBus, AmqpConfig},
        embedded::EmbeddedBus,
    },
    clock::{SharedClock, SystemClock},
    id::{DistrictId, RunId},
    private,
};
use rollcall_store::{FileTrouble, Store, StoreError, TurnedAway, audit::AuditEntry, secret::Keyring};

use crate::{
    again::{Again, quoted},
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
    /// What commands to type next repeat.
    pub(crate) again: Again,
    dir_is_repeated: bool,
}

/// What a command has to do with the embedded directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Works on the store that is there: a mistyped directory is not made.
    Found,
    /// Makes it, where there is none.
    Made,
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
    /// Opens what the settings name, with the machine's clock. An embedded store has to be there.
    pub(crate) async fn open(global: &Global) -> anyhow::Result<Self> {
        Self::open_as(global, Settings::load(global)?, Arc::new(SystemClock), (Broker::Used, Place::Found)).await
    }

    /// As [`Context::open`], for who begins with nothing: an embedded store that is not there is made.
    pub(crate) async fn open_or_make(global: &Global) -> anyhow::Result<Self> {
        Self::make_with(global, Settings::load(global)?, Arc::new(SystemClock)).await
    }

    /// As [`Context::open`], leaving the broker as it is found: a queue that is missing stays missing.
    pub(crate) async fn open_looking(global: &Global) -> anyhow::Result<Self> {
        Self::open_as(global, Settings::load(global)?, Arc::new(SystemClock), (Broker::Seen, Place::Found)).await
    }

    /// As [`Context::open`], for what the store alone knows: the broker may be away.
    pub(crate) async fn open_store(global: &Global) -> anyhow::Result<Self> {
        Self::open_as(global, Settings::load(global)?, Arc::new(SystemClock), (Broker::Spared, Place::Found)).await
    }

    /// As [`Context::open_or_make`], with settings and clock of the caller's.
    pub(crate) async fn make_with(global: &Global, settings: Settings, clock: SharedClock) -> anyhow::Result<Self> {
        Self::open_as(global, settings, clock, (Broker::Used, Place::Made)).await
    }

    async fn open_as(
        global: &Global,
        settings: Settings,
        clock: SharedClock,
        (broker, place): (Broker, Place),
    ) -> anyhow::Result<Self> {
        let (store, bus, embedded): (Store, SharedBus, _) = match &settings.backend {
            Backend::Embedded(dir) => {
                let (store, bus) = open_embedded(dir, &settings, place).await?;
                (store, Arc::clone(&bus) as _, Some(bus))
            }
            Backend::ScaledOut { .. } => {
                let (store, bus) = open_scaled_out(&settings, broker).await?;
                (store, Arc::new(bus), None)
            }
        };
        let (format, again, dir_is_repeated) = (global.format, Again::of(global), global.dir.is_some());
        Ok(Self { settings, store, bus, embedded, clock, format, again, dir_is_repeated })
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

    /// The command that hosts the embedded directory.
    pub(crate) fn serve(&self) -> String {
        match self.dir() {
            Some(dir) if !self.dir_is_repeated => {
                self.again.command(&format!("serve --dir {}", quoted(&dir.to_string_lossy())))
            }
            _ => self.again.command("serve"),
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

/// Whether a store is there. What keeps this process from seeing it is an error, with its mend.
fn has_store(dir: &Path) -> anyhow::Result<bool> {
    dir.join("store.db").try_exists().map_err(|error| closed(dir, &error))
}

/// Why a directory, or a file in it, is of no use to this process, and what mends it.
fn closed(dir: &Path, error: &io::Error) -> anyhow::Error {
    let place = dir.display();
    match error.kind() {
        ErrorKind::PermissionDenied => anyhow!("{place}: permission denied: {}", let_in(dir)),
        ErrorKind::ReadOnlyFilesystem => anyhow!("{place} is read-only: {WRITABLE}"),
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
            anyhow!("{place} is a file, or lies in one: --dir (or ROLLCALL_DIR) names a directory")
        }
        _ => anyhow!("{place} cannot be used: {error}"),
    }
}

const WRITABLE: &str =
    "its file system takes no writes; mount it for writing, or name another directory by --dir (or ROLLCALL_DIR)";

/// Whom a directory belongs to is told where that can be seen.
fn let_in(dir: &Path) -> String {
    let owner = dir.metadata().map(|found| format!(" (uid {})", found.uid())).unwrap_or_default();
    format!(
        "run this as the user whom the directory belongs to{owner}, who must be able to read and write it (`chmod u+rwx`), or name \
         another by --dir (or ROLLCALL_DIR)"
    )
}

/// As the store's error, with path and mend where the store's file or its directory is why.
fn with_place(dir: &Path, error: StoreError) -> anyhow::Error {
    let place = dir.display();
    let told = match error.of_file() {
        None => return error.into(),
        Some(FileTrouble::ReadOnly) => match File::options().append(true).open(dir.join("store.db")) {
            Err(found) => closed(dir, &found).to_string(),
            Ok(_) => format!("{place} is read-only: {WRITABLE}"),
        },
        Some(FileTrouble::Directory | FileTrouble::Closed) => {
            format!("{place}: permission denied, or read-only: nothing can be opened or made in it; {}", let_in(dir))
        }
        Some(FileTrouble::Moved) => format!("another store.db was put into {place} meanwhile: start this again"),
    };
    anyhow::Error::new(error).context(told)
}

fn no_store(dir: &Path) -> String {
    format!(
        "there is no store in {0}: --dir (or ROLLCALL_DIR) names the directory of one, ROLLCALL_DATABASE_URL and \
         ROLLCALL_AMQP_URL name servers. `rollcall district apply FILE` makes a new store there",
        dir.display()
    )
}

async fn open_embedded(dir: &Path, settings: &Settings, place: Place) -> anyhow::Result<(Store, Arc<EmbeddedBus>)> {
    let given = keyring(settings)?;
    ensure!(has_store(dir)? || place == Place::Made, no_store(dir));
    create_private(dir).map_err(|error| closed(dir, &error))?;
    let key = match given {
        Some(key) => key,
        None => own_key(dir)?,
    };
    let store = Store::open_embedded(dir, key).await.map_err(|error| with_place(dir, error))?;
    let bus = EmbeddedBus::open(&dir.join("bus.db")).await?;
    make_private(dir).with_context(|| format!("making the directory {} private", dir.display()))?;
    Ok((store, Arc::new(bus)))
}

/// The key beside the store, made with it. A store never gets another one: that would open nothing of what it has sealed.
fn own_key(dir: &Path) -> anyhow::Result<Keyring> {
    // In this order, since whoever makes both at this moment makes the key first.
    let has_store = has_store(dir)?;
    let path = dir.join("key");
    ensure!(
        path.try_exists().map_err(|error| closed(dir, &error))? || !has_store,
        "the key {0} is gone, and the store beside it is sealed: put it back, or name it by ROLLCALL_KEY or \
         ROLLCALL_KEY_FILE. If it is lost, the secrets, the files of documents and the LTI tool's keys that are stored are lost \
         with it: `(umask 077; rollcall key new >{1})` makes another; then apply each district again with its secrets, import \
         its documents again, and make a key of the LTI tool with `rollcall lti keys rotate` for each district that has one. \
         What is still counted by `rollcall doctor` then, `rollcall key forget` gives up (docs/OPERATIONS.md, When a key is \
         lost)",
        path.display(),
        quoted(&path.to_string_lossy())
    );
    Ok(Keyring::open_or_create(&path)?)
}

/// The directory holds student records: for its owner only.
fn create_private(dir: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

/// One that was there before is made its owner's alone, where it is ours: it belongs to whom the store belongs to, and holds nothing
/// else. Of any other, `doctor` tells.
fn make_private(dir: &Path) -> io::Result<()> {
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
    let store = Store::connect(database_url, key, settings.database_connections).await;
    let store = store.map_err(|error| with_mend(error.into()))?;
    let config = AmqpConfig {
        declare: broker != Broker::Seen,
        certificate_authorities: amqp_ca.clone(),
        ..AmqpConfig::new(amqp_url.clone())
    };
    let bus = match broker {
        Broker::Spared => AmqpBus::on_demand(config),
        Broker::Used | Broker::Seen => AmqpBus::connect(config).await.map_err(|error| with_mend(error.into()))?,
    };
    Ok((store, bus))
}

/// The error, with what to do about it where a server does not answer, or turns this program away.
pub(crate) fn with_mend(error: anyhow::Error) -> anyhow::Error {
    match trouble(&error) {
        Some((what, mend)) => error.context(format!("{what}: {mend}")),
        None => error,
    }
}

/// What to do about a server that does not answer, or turns this program away.
pub(crate) fn mend(error: &anyhow::Error) -> Option<&'static str> {
    trouble(error).map(|(_, mend)| mend)
}

/// What is wrong with a server, and what to do about it. No part of a URL: it may hold a password.
fn trouble(error: &anyhow::Error) -> Option<(&'static str, &'static str)> {
    const SILENT: &str = "a server does not answer";
    if let Some(store) = error.downcast_ref::<StoreError>() {
        return match store.turned_away() {
            Some(turned_away) => Some(of_database(turned_away)),
            None if matches!(store, StoreError::Unavailable { .. }) => Some((
                SILENT,
                "start the PostgreSQL that ROLLCALL_DATABASE_URL (database_url) names, or correct the URL (`deploy/local up` starts \
                 one for trying things out, and prints its URL)",
            )),
            None => None,
        };
    }
    let broker = matches!(error.downcast_ref(), Some(BusError::Unavailable { .. }));
    broker.then_some((
        SILENT,
        "start the RabbitMQ that ROLLCALL_AMQP_URL (amqp_url) names, or correct the URL (`deploy/local up` starts one for \
         trying things out, and prints its URL)",
    ))
}

const fn of_database(turned_away: TurnedAway) -> (&'static str, &'static str) {
    match turned_away {
        TurnedAway::Login => (
            "PostgreSQL answers, and does not take the login",
            "correct user and password in ROLLCALL_DATABASE_URL (database_url): as `deploy/postgres/roles.sql` made them, or as they \
             were changed since; and see that pg_hba.conf lets that user in; then start every process anew with it",
        ),
        TurnedAway::NoDatabase => (
            "PostgreSQL answers, and has no database of that name",
            "correct the name at the end of ROLLCALL_DATABASE_URL (database_url); where the database is yet to be made, make it and run \
             `rollcall migrate`; where it is gone, see docs/runbooks/restore.md",
        ),
        TurnedAway::ReadOnly => (
            "PostgreSQL answers, and takes no writes",
            "end the failover, or have ROLLCALL_DATABASE_URL (database_url) name the server that takes writes; or take back \
             default_transaction_read_only",
        ),
    }
}

fn keyring(settings: &Settings) -> anyhow::Result<Option<Keyring>> {
    Ok(match (&settings.key, &settings.key_file) {
        (Some(text), _) => Some(Keyring::from_base64(text)?.told_as("ROLLCALL_KEY (key)")),
        (None, Some(path)) => Some(Keyring::from_file(path)?),
        (None, None) => None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_database_that_turns_away_is_told_from_one_that_is_silent_with_its_own_mend() {
        let refused =
            |class: &str| anyhow::Error::from(StoreError::Refused { operation: "look", class: class.to_owned() });
        let read_only = anyhow::Error::from(StoreError::ReadOnly { operation: "look" });
        for (error, what, mend) in [
            (refused("28P01"), "does not take the login: correct user and password", "ROLLCALL_DATABASE_URL"),
            (refused("28000"), "does not take the login: ", "pg_hba.conf"),
            (refused("3D000"), "has no database of that name: ", "rollcall migrate"),
            (refused("25006"), "takes no writes: ", "default_transaction_read_only"),
            (read_only.context("of a command"), "takes no writes: ", "failover"),
        ] {
            let told = with_mend(error).to_string();
            assert!(
                told.starts_with("PostgreSQL answers, and ") && told.contains(what) && told.contains(mend),
                "{told}"
            );
            assert!(!told.contains("deploy/local"), "{told}");
        }
        assert_eq!(mend(&refused("42501")), None);
    }

    #[test]
    fn a_directory_that_cannot_be_used_is_told_with_its_path_and_its_mend() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        for (kind, told) in [
            (ErrorKind::PermissionDenied, "permission denied"),
            (ErrorKind::ReadOnlyFilesystem, "is read-only"),
            (ErrorKind::AlreadyExists, "is a file"),
        ] {
            let text = closed(dir, &kind.into()).to_string();
            assert!(text.starts_with(&*dir.to_string_lossy()) && text.contains(told), "{text}");
            assert!(text.contains("--dir"), "the mend: {text}");
        }
        for (code, told) in [("8", "is read-only"), ("1544", "permission denied"), ("14", "permission denied")] {
            std::fs::write(dir.join("store.db"), "").unwrap();
            let error = StoreError::Refused { operation: "open", class: code.to_owned() };
            let text = with_place(dir, error).to_string();
            assert!(text.contains(&*dir.to_string_lossy()) && text.contains(told), "{code}: {text}");
        }
        // What root sees too.
        let file = dir.join("afile");
        std::fs::write(&file, "").unwrap();
        for dir in [file.clone(), file.join("below")] {
            let text = has_store(&dir).unwrap_err().to_string();
            assert!(text.contains("afile") && text.contains("is a file"), "{text}");
        }
        assert!(!has_store(&dir.join("nothing")).unwrap());
    }
}
