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

use clap::{
    Arg, Args, CommandFactory as _, Parser, Subcommand, ValueEnum,
    builder::{PossibleValuesParser, TypedValueParser as _},
    error::ErrorKind,
};

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
    /// A page that needs nothing beside itself.
    #[value(hide = true)]
    Html,
    /// A picture that needs nothing beside itself.
    #[value(hide = true)]
    Svg,
}

impl Format {
    /// `--format` of the one command that takes all of them; help and completions of the others leave some out.
    fn of_trace() -> Arg {
        let all = Self::value_variants().iter().filter_map(Self::to_possible_value).map(|value| value.hide(false));
        let parser = PossibleValuesParser::new(all).try_map(|value| Self::from_str(&value, false));
        let arg = Arg::new("format").long("format").value_name("FORMAT").value_parser(parser).default_value("table");
        arg.global(true).help("How the tree is printed")
    }
}

/// `--dir` of a command for which it is something else than where the store is.
fn other_dir(help: &'static str) -> Arg {
    let parser = clap::value_parser!(PathBuf);
    Arg::new("dir").long("dir").value_name("DIR").value_parser(parser).global(true).help(help)
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Three nights of an invented district, the third one held, and a plan document on its way to a click in the SIS:
    /// nothing to install, nothing kept
    #[command(arg = other_dir("Where all of it is kept; must hold no store yet [default: a new directory, gone at the end without --keep]"))]
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
    #[command(arg = other_dir("Not used: the stand-in SIS keeps nothing on disk"))]
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What the help of these words says of an option.
    fn help(words: &[&str], option: &str) -> String {
        let line = [&["rollcall"], words, &["--help"]].concat();
        let help = Cli::try_parse_from(line).unwrap_err().to_string();
        let (_, after) = help.split_once(option).unwrap_or_else(|| panic!("{words:?}: no {option}: {help}"));
        let text = after.split("\n      --").next().unwrap_or_default();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn help_lists_the_formats_that_a_command_takes() {
        let has = |words: &[&str], format: &str| help(words, "--format <").contains(&format!("{format}: "));
        for format in ["table", "json", "csv"] {
            assert!(has(&["runs", "trace"], format) && has(&["runs", "list"], format) && has(&[], format), "{format}");
        }
        for format in ["html", "svg"] {
            assert!(
                has(&["runs", "trace"], format) && !has(&["runs", "list"], format) && !has(&[], format),
                "{format}"
            );
        }
    }

    #[test]
    fn a_format_is_taken_wherever_it_stands() {
        const RUN: &str = "00000000-0000-7000-8000-000000000000";
        for (line, format) in [
            (&["runs", "trace", RUN][..], Format::Table),
            (&["runs", "trace", RUN, "--format", "svg"], Format::Svg),
            (&["runs", "trace", "--format", "html", RUN], Format::Html),
            (&["runs", "--format", "html", "trace", RUN], Format::Html),
            (&["--format", "json", "runs", "trace", RUN], Format::Json),
            (&["runs", "list", "--format", "csv"], Format::Csv),
        ] {
            let cli = Cli::try_parse_from([&["rollcall"], line].concat()).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(cli.global.format, format, "{line:?}");
        }
        assert!(Cli::try_parse_from(["rollcall", "runs", "trace", RUN, "--format", "pdf"]).is_err());
    }

    #[test]
    fn a_directory_is_told_as_the_command_takes_it() {
        assert!(help(&["runs", "list"], "--dir <").contains("./data"));
        for (verb, told) in [("demo", "must hold no store yet"), ("sandbox", "keeps nothing on disk")] {
            let help = help(&[verb], "--dir <");
            assert!(help.contains(told) && !help.contains("./data"), "{verb}: {help}");
            for line in [["rollcall", verb, "--dir", "a"], ["rollcall", "--dir", "a", verb]] {
                assert_eq!(Cli::try_parse_from(line).unwrap().global.dir, Some("a".into()), "{line:?}");
            }
        }
    }

    #[test]
    fn every_command_is_well_formed() {
        Cli::command().debug_assert();
    }
}
