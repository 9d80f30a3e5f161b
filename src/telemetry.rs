//! Logs: on standard error, for people on a terminal and as JSON elsewhere. Ids only, never a student fact.

use std::io::IsTerminal as _;

use tracing_subscriber::{EnvFilter, fmt};

use crate::{
    cli::{Cli, Verb},
    config,
};

/// lapin logs returned messages with their bodies; its own words are not wanted either way.
const QUIET: &str = "lapin::returned_messages=off,lapin=warn,sqlx=warn,hyper=warn,reqwest=warn";

/// Starts logging. A second call does nothing.
pub(crate) fn start(cli: &Cli) {
    let level = match (&cli.verb, cli.global.verbose) {
        (_, 2..) => "debug",
        (Verb::Serve(_) | Verb::Worker(_) | Verb::Web(_), _) | (_, 1) => "info",
        _ => "error",
    };
    let wanted = config::log_filter().unwrap_or_else(|| level.to_owned());
    let filter = EnvFilter::try_new(format!("{wanted},{QUIET}")).unwrap_or_else(|_| EnvFilter::new(QUIET));
    let terminal = std::io::stderr().is_terminal();
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let _ = if terminal { builder.with_target(false).try_init() } else { builder.json().try_init() };
}
