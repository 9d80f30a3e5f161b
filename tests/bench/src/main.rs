//! The benchmark: what Rollcall does in how much time, through sandbox, RabbitMQ and PostgreSQL.
//!
//! ```text
//! cargo run --release -p rollcall-bench -- nights --students 50000,200000 --latency-ms 0,100
//! cargo run --release -p rollcall-bench -- telemetry --pairs 5
//! cargo run --release -p rollcall-bench -- fair
//! cargo run --release -p rollcall-bench -- scaling
//! cargo run --release -p rollcall-bench -- flags
//! ```
//!
//! Role: starts a private broker and database as `deploy/local` does, the sandbox in a process of its own and workers;
//! measures one of these, and prints it for reading or as tables (`--format markdown`):
//! - `nights`: a first night, an unchanged one and one with 2 % changed; seconds, memory and CPU of every process, beside
//!   what the same bytes cost when nothing but the unavoidable is done with them; and the longest unit of work.
//! - `telemetry`: pairs of first nights, with and without metrics and spans.
//! - `fair`: how long small districts wait while a large one pulls, is planned, and is written.
//! - `scaling`: pages a second by number of fetchers.
//! - `flags`: how long all of a district's flags are compared.
//!
//! Neighbours: `rollcall-e2e` for starting things, the `rollcall` binary (release) for the work.
//!
//! Exit code 1 where a goal was missed, once everything is printed, or where something could not be measured.

mod fair;
mod flags;
mod floors;
mod messages;
mod night;
mod orders;
mod quantile;
mod recorder;
mod report;
mod scaling;
mod stage;
mod telemetry;
mod units;
mod usage;
mod verdict;

use std::process::{Command, ExitCode};

use anyhow::{Context as _, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum};
use rollcall_e2e::{binary, private::PrivateServers, services::Servers};

use self::verdict::Verdict;

/// Measures Rollcall on this machine. Exit code 1 where a goal was missed.
#[derive(Debug, Parser)]
struct CommandLine {
    #[command(subcommand)]
    measurement: Measurement,
    /// Use the servers that `./test` names; their memory and CPU are not measured then
    #[arg(long, global = true)]
    shared: bool,
    /// How the result is printed
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// What is measured.
#[derive(Debug, Subcommand)]
enum Measurement {
    /// Whole nights beside the floors they stand on
    Nights(night::Args),
    /// What telemetry costs
    Telemetry(telemetry::Args),
    /// How long small districts wait while a large one runs
    Fair(fair::Args),
    /// Pages a second by number of fetchers
    Scaling(scaling::Args),
    /// How long all of a district's flags are compared
    Flags(flags::Args),
}

/// How a district is pulled, and by how many.
#[derive(Debug, Clone, Copy, Args)]
struct Pulling {
    /// Rows a page
    #[arg(long, default_value_t = 500)]
    page_size: u32,
    /// Requests at once, for each district
    #[arg(long, default_value_t = 4)]
    lanes: u16,
    /// Processes for each role
    #[arg(long, default_value_t = 2)]
    processes: usize,
}

/// How the result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Everything, for reading.
    Text,
    /// The tables of the papers.
    Markdown,
}

/// Where a measurement takes place.
struct Ground {
    servers: Servers,
    /// Process ids of the broker and of the database's first process, where they are private.
    server_ids: Option<(u32, u32)>,
    format: Format,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let line = CommandLine::parse();
    build()?;
    let private = (!line.shared).then(PrivateServers::start_durable);
    let servers = private.as_ref().map_or_else(Servers::shared, PrivateServers::servers);
    let ground = Ground { servers, server_ids: private.as_ref().map(PrivateServers::process_ids), format: line.format };
    let verdict = match &line.measurement {
        Measurement::Nights(args) => night::measure(args, &ground).await?,
        Measurement::Telemetry(args) => telemetry::measure(args, &ground).await?,
        Measurement::Fair(args) => fair::measure(args, &ground).await?,
        Measurement::Scaling(args) => scaling::measure(args, &ground).await?,
        Measurement::Flags(args) => {
            flags::measure(args, &ground).await?;
            Verdict::Met
        }
    };
    Ok(verdict.exit_code())
}

/// Builds the program to be measured, so that it is never an old one. Alone, as a release is: beside the end-to-end tests it would have
/// their failpoints.
fn build() -> anyhow::Result<()> {
    let cargo = ["build", "--release", "--quiet", "--package", "rollcall", "--bin", "rollcall"];
    let status = Command::new("cargo").args(cargo).current_dir(binary::workspace()).status();
    ensure!(status.context("cargo cannot be started")?.success(), "the rollcall binary does not build");
    let own = std::env::current_exe().context("this program has no path")?;
    let folder = own.ancestors().find(|path| path.file_name().is_some_and(|name| name == "release"));
    let folder = folder.context("run the benchmark with --release: it measures a release build")?;
    binary::use_binary(folder.join("rollcall"));
    Ok(())
}
