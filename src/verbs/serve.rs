//! `rollcall serve`, `rollcall worker` and `rollcall migrate`.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context as _, bail};
use rollcall_store::Store;

use crate::{
    cli::{Global, Serve, Worker},
    config::{Backend, Settings},
    context::Context,
    host::{Services, signal},
    watch::Watch,
};

/// How often a process without the lock looks whether it is free.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Everything in one process.
pub(crate) async fn serve(global: &Global, args: &Serve) -> anyhow::Result<ExitCode> {
    let watch = Watch::start("serve", args.metrics_listen, args.listen.is_some())?;
    let context = &Context::open(global).await?;
    let Some(dir) = context.dir() else {
        bail!(
            "`serve` hosts one directory (--dir); with RabbitMQ and PostgreSQL start `rollcall worker` once for each role"
        );
    };
    let mut said = false;
    let _lock = loop {
        if let Some(lock) = context.take_host().await? {
            break lock;
        }
        if !said {
            eprintln!("another process hosts {}; waiting until it ends", dir.display());
            said = true;
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_AGAIN) => {}
            () = signal() => return Ok(ExitCode::SUCCESS),
        }
    };
    let mut services = Services::watched(watch.health());
    services.start_all(context, args.concurrency, true);
    if let Some(address) = args.listen {
        services.start_web(context, address, watch.routes()).await?;
    }
    watch.opened(context);
    eprintln!("rollcall serves {}; Ctrl-C stops it in order", dir.display());
    services.until_signal().await?;
    Ok(ExitCode::SUCCESS)
}

/// One role.
pub(crate) async fn worker(global: &Global, args: &Worker, role: &'static str) -> anyhow::Result<ExitCode> {
    let watch = Watch::start(role, args.listen, false)?;
    let context = &Context::open(global).await?;
    if context.dir().is_some() {
        bail!(
            "`worker` scales out over RabbitMQ and PostgreSQL: set ROLLCALL_AMQP_URL, ROLLCALL_DATABASE_URL and \
             ROLLCALL_KEY (`deploy/local up` starts both and prints them); on one directory use `rollcall serve --dir`"
        );
    }
    let mut services = Services::watched(watch.health());
    services.start(args.role, context, args.concurrency);
    watch.opened(context);
    services.until_signal().await?;
    Ok(ExitCode::SUCCESS)
}

/// Brings the schema up to date.
pub(crate) async fn migrate(global: &Global) -> anyhow::Result<ExitCode> {
    let settings = Settings::load(global)?;
    let Backend::ScaledOut { database_url, .. } = &settings.backend else {
        Context::open(global).await?;
        eprintln!("the embedded store is up to date; it migrates itself whenever it is opened");
        return Ok(ExitCode::SUCCESS);
    };
    let applied = Store::migrate(database_url).await.context("migrating the database")?;
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
