//! What the command line takes. Exit codes: 0 done, 1 failed, 2 usage, 3 held.
//!
//! Role: options and help, a file for each subject. Neighbours: [`crate::verbs`] does what is asked for.
#![expect(clippy::doc_markdown, reason = "these comments are the help that people read on a terminal")]

mod access;
mod districts;
mod documents;
mod flags;
mod lti;
mod processes;
mod queues;
mod runs;
mod students;

use std::path::PathBuf;

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum, error::ErrorKind};

pub(crate) use self::{
    access::{IntegrationsVerb, KeyVerb},
    districts::DistrictVerb,
    documents::DocumentsVerb,
    flags::{FlagsOf, FlagsVerb},
    lti::{LtiKeysVerb, LtiRegister, LtiUserOf, LtiUsersVerb, LtiVerb, StaffSight},
    processes::{Aspect, Demo, Probe, Role, Sandbox, SandboxSis, Serve, Web, Worker},
    queues::{DiscardArgs, FirstArgs, GroupBy, ParkedArgs, QueuesVerb, ReplayArgs},
    runs::{ReplayFrom, Run, RunsVerb},
    students::StudentsVerb,
};

/// Nightly roster sync of school districts: pulls, judges, shows what would change, keeps the result.
#[derive(Debug, Parser)]
#[command(name = "rollcall", version, max_term_width = 110, disable_help_subcommand = true)]
#[command(after_help = "Start with `rollcall demo`: it needs nothing installed, and shows two nights of a district, \
a third one that is held, and a document behind a flag.\nExit codes: 0 done, 1 failed, 2 usage, 3 held.")]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

impl Cli {
    /// What the line says. A line that cannot be understood ends the process with exit code 2, before anything is done.
    pub(crate) fn read() -> Self {
        let cli = Self::parse();
        let is_trace = matches!(cli.verb, Verb::Runs(RunsVerb::Trace { .. }));
        if matches!(cli.global.format, Format::Html | Format::Svg) && !is_trace {
            let error = "--format html and svg are for `runs trace`; this prints table, json or csv";
            Self::command().error(ErrorKind::ArgumentConflict, error).exit();
        }
        cli
    }
}

/// Options that may stand anywhere on the line.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Embedded mode: the directory that holds queue, store and key [default: ./data, where no URLs are configured]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Configuration file [default: ./rollcall.toml, if it is there]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// How listings are printed
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
    /// More on standard error: once for what happens, twice for how
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// How listings are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// One document: an array of objects.
    Json,
    /// With a header line; a district or a student as rows of key and value.
    Csv,
    /// A page that needs nothing beside itself; `runs trace` only, whose help names it.
    #[value(hide = true)]
    Html,
    /// A picture that needs nothing beside itself; as `Html`.
    #[value(hide = true)]
    Svg,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Three nights of an invented district, the third one held, and a plan document on its way to a click in the SIS:
    /// nothing to install, nothing kept
    Demo(Demo),
    /// Everything in one process, on one directory; keeps the schedule
    Serve(Serve),
    /// One role, scaled out over RabbitMQ and PostgreSQL
    Worker(Worker),
    /// The HTTP side: LTI document viewer and JSON API; as many processes as wanted
    Web(Web),
    /// Bring the database's schema up to date
    Migrate,
    /// Check configuration, key, database, broker and queues, and say what to mend
    Doctor,
    /// Ask again for what open runs are owed and the broker has lost; workers do the same by themselves
    Reconcile {
        /// Only say what store and broker disagree on; exit code 1 if they do
        #[arg(long)]
        check: bool,
    },
    /// Ask a process of this machine how it is, for health checks of containers
    Probe(Probe),
    /// Start the stand-in SIS, for trying things out
    Sandbox(Sandbox),
    /// Districts
    #[command(subcommand)]
    District(DistrictVerb),
    /// Run a district now
    Run(Run),
    /// Look at runs and decide on held ones
    #[command(subcommand)]
    Runs(RunsVerb),
    /// Queues and parked messages
    #[command(subcommand)]
    Queues(QueuesVerb),
    /// The roster
    #[command(subcommand)]
    Students(StudentsVerb),
    /// Plan documents
    #[command(subcommand)]
    Documents(DocumentsVerb),
    /// Program flags in Infinite Campus
    #[command(subcommand)]
    Flags(FlagsVerb),
    /// The document viewer: platforms, people, keys
    #[command(subcommand)]
    Lti(LtiVerb),
    /// Programs that speak to the JSON API
    #[command(subcommand)]
    Integrations(IntegrationsVerb),
    /// The key that seals secrets at rest
    #[command(subcommand)]
    Key(KeyVerb),
    /// Print a completion script for your shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page (roff)
    Man,
}

impl Verb {
    /// Whether whole districts pass through the process.
    pub(crate) fn runs_long(&self) -> bool {
        matches!(self, Self::Serve(_) | Self::Worker(_) | Self::Web(_) | Self::Run(_))
    }
}
