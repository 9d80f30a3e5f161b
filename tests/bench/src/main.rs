//! The benchmark: whole nights through sandbox, RabbitMQ and PostgreSQL, beside the floors they stand on.
//!
//! ```text
//! cargo run --release -p rollcall-bench -- --students 50000,200000 --latency-ms 0,100
//! ```
//!
//! Role: starts a private broker and database as `deploy/local` does, the sandbox in a process of its own and two
//! processes for each role; runs a first night, an unchanged one and one with 2 % changed; prints seconds, memory and
//! CPU of every process, and what the same bytes cost when nothing but the unavoidable is done with them.
//!
//! Neighbours: `rollcall-e2e` for starting things, the `rollcall` binary (release) for the nights.
//!
//! Deliberately absent: a verdict by exit code. Numbers of a machine are for people to judge.

mod floors;
mod messages;
mod night;
mod recorder;
mod report;
mod stage;
mod telemetry;
mod usage;

use std::process::{Command, ExitCode};

use anyhow::{Context as _, ensure};
use clap::{Parser, ValueEnum};
use rollcall_e2e::{binary, private::PrivateServers, services::Servers};

/// Measures whole nights beside their floors.
#[derive(Debug, Parser)]
struct Args {
    /// Students of the district; several sizes are measured one after the other
    #[arg(long, value_delimiter = ',', default_value = "50000")]
    students: Vec<u32>,
    /// Milliseconds that the SIS takes for each page
    #[arg(long, value_delimiter = ',', default_value = "0,100")]
    latency_ms: Vec<u64>,
    /// Rows a page
    #[arg(long, default_value_t = 500)]
    page_size: u32,
    /// Requests at once
    #[arg(long, default_value_t = 4)]
    lanes: u16,
    /// Processes for each role
    #[arg(long, default_value_t = 2)]
    processes: usize,
    /// Instead of all else: so many pairs of first nights, one without telemetry and one with all of it, and their ratio
    #[arg(long, value_name = "PAIRS")]
    telemetry: Option<usize>,
    /// Use the servers that `./test` names; their memory and CPU are not measured then
    #[arg(long)]
    shared: bool,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// How the result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Everything, for reading.
    Text,
    /// The tables of the README.
    Markdown,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    build()?;
    let private = (!args.shared).then(PrivateServers::start_durable);
    let servers = private.as_ref().map_or_else(Servers::shared, PrivateServers::servers);
    let ids = private.as_ref().map(PrivateServers::process_ids);
    if let Some(pairs) = args.telemetry {
        for students in &args.students {
            println!("{}", telemetry::measure(&args, *students, pairs, &servers).await?);
        }
        return Ok(ExitCode::SUCCESS);
    }
    for students in &args.students {
        let size = night::measure(&args, *students, &servers, ids).await?;
        match args.format {
            Format::Text => report::text(&args, &size),
            Format::Markdown => report::markdown(&args, &size),
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds the program to be measured, so that it is never an old one.
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
