//! The `rollcall` command line.
//!
//! Role: reads arguments and configuration, opens store and bus, calls the services. One file for each verb family in
//! `verbs/`. Neighbours: all crates. Deliberately absent: anything a service decides.
#![deny(clippy::print_stdout, reason = "it panics where nobody reads: `output::say!` prints")]

/// Stands in place of the standard one, which panics where nobody reads standard error any more (`rollcall … 2>&1 | head`).
macro_rules! eprintln {
    ($($text:tt)*) => { $crate::output::tell(format_args!($($text)*)) };
}

mod again;
mod allocator;
mod cli;
mod config;
mod context;
mod district_file;
mod ending;
mod entrance;
mod host;
mod output;
mod progress;
mod take_overs;
mod telemetry;
mod transport;
mod verbs;
mod waiting;
mod watch;

use std::{io::Write as _, process::ExitCode};

use again::Again;
use rollcall_proto::chain::links;

fn main() -> ExitCode {
    quiet_panics();
    let cli = cli::Cli::read();
    let again = Again::of(&cli.global);
    if cli.verb.runs_long()
        && let Err(error) = allocator::few_arenas()
    {
        let how = "starting once more with few arenas (MALLOC_ARENA_MAX=2 in the environment makes it needless)";
        return fail(&anyhow::Error::new(error).context(how), &again);
    }
    telemetry::start(&cli);
    if let Some(Err(error)) = config::failpoints().map(|text| rollcall_proto::failpoint::arm(&text)) {
        return fail(&error.into(), &again);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&anyhow::Error::new(error).context("starting the async runtime"), &again),
    };
    let spans = {
        let _entered = runtime.enter();
        telemetry::send_spans(&cli)
    };
    let code = runtime.block_on(verbs::dispatch(cli)).unwrap_or_else(|error| fail(&error, &again));
    runtime.block_on(telemetry::stop(spans));
    runtime.shutdown_background();
    code
}

/// A panic's text may repeat a value that came from a SIS: only the place is told. Nothing in here panics, not even where
/// standard error is closed: from within a hook the runtime would print the text after all, and end the process.
fn quiet_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        tracing::error!(place, "a panic; the work in hand is tried again");
        let _ = writeln!(std::io::stderr(), "rollcall: panicked at {place}");
    }));
}

/// Tells what happened on standard error: the error, then its causes. Commands that they name are told with this line's own
/// options.
fn fail(error: &anyhow::Error, again: &Again) -> ExitCode {
    for (place, text) in links(error.as_ref()).iter().enumerate() {
        let before = if place == 0 { "rollcall" } else { "  because" };
        eprintln!("{before}: {}", again.text(text));
    }
    ExitCode::FAILURE
}
