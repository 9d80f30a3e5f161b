//! `rollcall web`.

use std::process::ExitCode;

use crate::{
    cli::{Global, Web},
    context::Context,
    host::{Services, listen},
    watch::Watch,
};

/// The HTTP side, alone: it hosts no worker, and works beside `serve` on one directory as well as scaled out.
pub(crate) async fn web(global: &Global, args: &Web) -> anyhow::Result<ExitCode> {
    let watch = Watch::start("web", args.metrics_listen, true)?;
    let context = &Context::open(global).await?;
    let mut services = Services::watched(watch.health());
    services.start_web(context, listen(args.listen).await?, watch.routes())?;
    watch.opened(context, &services);
    services.until_signal().await?;
    Ok(ExitCode::SUCCESS)
}
