//! Logs on standard error, for people on a terminal and as JSON elsewhere; spans to an OTLP collector where the
//! environment names one. Ids only, never a student fact.

use std::{io::IsTerminal as _, time::Duration};

use rollcall_telemetry::{
    logs::JsonLines,
    otlp::{Identity, Sending},
};
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::{
    cli::{Cli, Role, Verb},
    config, ending, host,
};

/// lapin logs returned messages with their bodies; its own words are not wanted either way. A channel that the broker closes is what
/// somebody of ours hears of, and where they ask for what may not be there, or for a right that they may lack, no failure.
const QUIET: &str = "lapin::returned_messages=off,lapin::channel=off,lapin=warn,sqlx=warn,hyper=warn,reqwest=warn,h2=warn,tonic=warn,\
                     tower=warn,opentelemetry=warn,opentelemetry_sdk=warn,opentelemetry_otlp=warn";

/// What only who runs workers wants to know: a command that waits while the database restarts says so itself, in one line.
const OF_CONNECTIONS: &str = "sqlx_core::pool::connection=off";

/// How long a process that ends waits for the collector, at most.
const LAST_SPANS: Duration = Duration::from_secs(3);

/// Starts logging. A second call does nothing.
pub(crate) fn start(cli: &Cli) {
    let filter =
        EnvFilter::try_new(directives(cli, config::log_filter().as_deref())).unwrap_or_else(|_| EnvFilter::new(QUIET));
    let registry = tracing_subscriber::registry().with(filter);
    let _ = if std::io::stderr().is_terminal() {
        registry.with(fmt::layer().with_target(false).with_writer(std::io::stderr)).try_init()
    } else {
        registry.with(JsonLines::new(std::io::stderr())).try_init()
    };
}

/// What is logged, as a filter's text. `wanted`: what the environment asks for.
fn directives(cli: &Cli, wanted: Option<&str>) -> String {
    let level = match (&cli.verb, cli.global.verbose) {
        (_, 2..) => "debug",
        (Verb::Serve(_) | Verb::Worker(_) | Verb::Web(_), _) | (_, 1) => "info",
        _ => return format!("{},{QUIET},{OF_CONNECTIONS}", wanted.unwrap_or("error")),
    };
    format!("{},{QUIET}", wanted.unwrap_or(level))
}

/// Starts sending spans, where the environment names a collector. One that cannot be used costs a line and no more.
pub(crate) fn send_spans(cli: &Cli) -> Option<Sending> {
    if !config::names_a_collector() {
        return None;
    }
    let identity =
        Identity { service: format!("rollcall-{}", role(&cli.verb)), instance: uuid::Uuid::now_v7().to_string() };
    match Sending::start(&identity) {
        Ok(sending) => Some(sending),
        Err(error) => {
            eprintln!("rollcall: no spans are sent, the OTEL_… variables cannot be used: {error}");
            None
        }
    }
}

/// Sends what is left, in the time that the process still has. A signal ends that.
pub(crate) async fn stop(sending: Option<Sending>) {
    let Some(sending) = sending else { return };
    let limit = ending::left(LAST_SPANS);
    if limit.is_zero() {
        return;
    }
    let sent = tokio::task::spawn_blocking(move || sending.stop(limit));
    tokio::select! {
        _ = sent => {}
        () = host::signal() => {}
    }
}

/// What the process does, in a word.
pub(crate) const fn role(verb: &Verb) -> &'static str {
    match verb {
        Verb::Worker(worker) => match worker.role {
            Role::Fetcher => "fetcher",
            Role::Classifier => "classifier",
            Role::Writer => "writer",
            Role::FlagSync => "flag-sync",
        },
        Verb::Serve(_) => "serve",
        Verb::Web(_) => "web",
        _ => "cli",
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use tracing::{Level, enabled};

    use super::*;

    #[test]
    fn only_who_runs_workers_hears_of_each_connection_that_broke() {
        let hears = |line: &[&str]| {
            let cli = Cli::try_parse_from([&["rollcall"], line].concat()).unwrap();
            let filter = EnvFilter::try_new(directives(&cli, None)).unwrap();
            tracing::subscriber::with_default(tracing_subscriber::registry().with(filter), || {
                [
                    enabled!(target: "sqlx_core::pool::connection", Level::WARN),
                    enabled!(target: "sqlx_core::pool::acquire", Level::WARN),
                    enabled!(target: "rollcall", Level::INFO),
                ]
            })
        };
        for line in [&["run", "a", "--wait"][..], &["runs", "list"], &["doctor"]] {
            assert_eq!(hears(line), [false, true, false], "{line:?}");
        }
        for line in [&["worker", "writer"][..], &["serve"], &["web"], &["-v", "run", "a", "--wait"]] {
            assert_eq!(hears(line), [true, true, true], "{line:?}");
        }
    }
}
