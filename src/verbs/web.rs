//! `rollcall web`.

use std::process::ExitCode;

use crate::{cli::Web, context::Context, host::Services};

/// The HTTP side, alone: it hosts no worker, and works beside `serve` on one directory as well as scaled out.
pub(crate) async fn web(context: &Context, args: &Web) -> anyhow::Result<ExitCode> {
    let mut services = Services::new();
    services.start_web(context, args.listen).await?;
    services.until_signal().await?;
    Ok(ExitCode::SUCCESS)
}
