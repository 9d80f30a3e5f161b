//! `rollcall serve`, `rollcall worker` and `rollcall migrate`.

use std::{path::Path, process::ExitCode, time::Duration};

use anyhow::{Context as _, bail};
use rollcall_store::Store;

use crate::{
    cli::{Global, Serve, Worker},
    config::{Backend, Settings},
    context::{self, Context},
    entrance::Entrance,
    host::{Services, check_web, signal},
    watch::Watch,
};

/// How often a process without the lock looks whether it is free.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Everything in one process.
pub(crate) async fn serve(global: &Global, args: &Serve) -> anyhow::Result<ExitCode> {
    let watch = Watch::start("serve", args.metrics_listen, args.listen.is_some())?;
    let entrance = match args.listen {
        Some(address) => Some(Entrance::open(address, watch.routes()).await?),
        None => None,
    };
    let context = &Context::open_or_make(global).await?;
    let Some(dir) = context.dir() else {
        bail!(
            "`serve` hosts one directory (--dir); with RabbitMQ and PostgreSQL start `rollcall worker` once for each role"
        );
    };
    if entrance.is_some() {
        check_web(context)?;
    }
    let (mut said, mut told) = (false, std::pin::pin!(signal()));
    let _lock = loop {
        if let Some(lock) = context.take_host().await? {
            break lock;
        }
        if !said {
            eprintln!("another process hosts {}; waiting until it ends", dir.display());
            watch.health().stand_by();
            said = true;
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_AGAIN) => {}
            () = &mut told => return Ok(ExitCode::SUCCESS),
        }
    };
    let listener = match entrance {
        None => None,
        Some(entrance) => tokio::select! {
            listener = entrance.hand_over() => Some(listener?),
            () = &mut told => return Ok(ExitCode::SUCCESS),
        },
    };
    let mut services = Services::watched(watch.health());
    services.start_all(context, args.concurrency, true);
    if let Some(listener) = listener {
        services.start_web(context, listener, watch.routes())?;
    }
    watch.opened(context, &services);
    eprintln!("rollcall serves {}; Ctrl-C stops it in order", dir.display());
    services.until_signal().await?;
    Ok(ExitCode::SUCCESS)
}

/// One role.
pub(crate) async fn worker(global: &Global, args: &Worker, role: &'static str) -> anyhow::Result<ExitCode> {
    let watch = Watch::start(role, args.listen, false)?;
    let settings = Settings::load(global)?;
    if matches!(settings.backend, Backend::Embedded(_)) {
        bail!(
            "`worker` scales out over RabbitMQ and PostgreSQL: set ROLLCALL_AMQP_URL, ROLLCALL_DATABASE_URL and \
             ROLLCALL_KEY (`deploy/local up` starts both and prints them); on one directory `serve` does everything"
        );
    }
    let context = &Context::open(global).await?;
    let mut services = Services::watched(watch.health());
    services.start(args.role, context, args.concurrency);
    watch.opened(context, &services);
    services.until_signal().await?;
    Ok(ExitCode::SUCCESS)
}

/// Brings the schema up to date.
pub(crate) async fn migrate(global: &Global) -> anyhow::Result<ExitCode> {
    let settings = Settings::load(global)?;
    let database_url = match &settings.backend {
        Backend::ScaledOut { database_url, .. } => database_url,
        Backend::Embedded(dir) => return migrate_embedded(global, dir).await,
    };
    let applied = Store::migrate(database_url).await;
    let applied = applied.map_err(|error| context::with_mend(error.into())).context("migrating the database")?;
    match applied.as_slice() {
        [] => eprintln!("the schema is up to date"),
        steps => steps.iter().for_each(|step| eprintln!("applied {step}")),
    }
    if settings.key.is_none() && settings.key_file.is_none() {
        eprintln!(
            "next: make a key for secrets at rest with `rollcall key new`, and give it to every process as \
             ROLLCALL_KEY or in a file named by ROLLCALL_KEY_FILE; workers do not start without it"
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// A directory is made where it was named: without a name, the servers' URLs were forgotten.
async fn migrate_embedded(global: &Global, dir: &Path) -> anyhow::Result<ExitCode> {
    match global.dir {
        Some(_) => Context::open_or_make(global).await?,
        None => Context::open(global).await?,
    };
    eprintln!("the embedded store in {} is up to date; it migrates itself whenever it is opened", dir.display());
    Ok(ExitCode::SUCCESS)
}
