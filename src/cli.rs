//! What the command line takes. Exit codes: 0 done, 1 failed, 2 usage, 3 held.
#![expect(clippy::doc_markdown, reason = "these comments are the help that people read on a terminal")]

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use chrono::{Datelike as _, NaiveDate};
use clap::{Args, Parser, Subcommand, ValueEnum};
use rollcall_proto::{
    id::{DistrictId, RunId},
    roster::Status,
    topology::Queue,
};
use rollcall_store::{document::DocumentStatus, integrations::Scope, lti::Place};
use url::Url;

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
    /// With a header line.
    Csv,
    /// A page that needs nothing beside itself; `runs trace` only.
    Html,
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

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// How many students the invented district has, at least 50
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(50..=1_000_000))]
    pub(crate) students: u32,
    /// Keep the directory (and say where it is) to look around afterwards, and stay up until Enter, so that the flag can
    /// be clicked by hand
    #[arg(long)]
    pub(crate) keep: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Probe {
    /// What to ask
    #[arg(value_enum)]
    pub(crate) aspect: Aspect,
    /// Where the process serves its health
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9464")]
    pub(crate) address: SocketAddr,
}

/// What a process can be asked about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Aspect {
    /// Has it begun to work?
    Startup,
    /// Does it live?
    Live,
    /// Does it work now?
    Ready,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Requests in flight at once, over all districts
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) concurrency: u16,
    /// Host the HTTP side too, on this address; metrics and health are there as well
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,
    /// Serve metrics and health on an address of their own
    #[arg(long, value_name = "ADDR")]
    pub(crate) metrics_listen: Option<SocketAddr>,
}

#[derive(Debug, Args)]
pub(crate) struct Web {
    /// Address to listen on; a proxy in front of it ends TLS
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,
    /// Serve metrics and health on an address of their own [default: on the one above]
    #[arg(long, value_name = "ADDR")]
    pub(crate) metrics_listen: Option<SocketAddr>,
}

#[derive(Debug, Args)]
pub(crate) struct Worker {
    /// Which one
    #[arg(value_enum)]
    pub(crate) role: Role,
    /// Messages in hand at once [default: fetcher 64, classifier 2, writer 2, flag-sync 4]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) concurrency: Option<u16>,
    /// Serve metrics and health on this address (/metrics, /health/startup, /health/live, /health/ready)
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,
}

/// A service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Asks the SIS; keeps the schedule.
    Fetcher,
    /// Reads pages, plans, judges, releases.
    Classifier,
    /// Writes the roster.
    Writer,
    /// Syncs program flags with Campus.
    FlagSync,
}

#[derive(Debug, Args)]
pub(crate) struct Sandbox {
    /// Which of its two SIS the district file is for; both are served
    #[arg(long, value_enum, default_value_t = SandboxSis::Qmlativ)]
    pub(crate) sis: SandboxSis,
    /// Loopback port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 8090)]
    pub(crate) port: u16,
    /// How many students
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=5_000_000))]
    pub(crate) students: u32,
    /// The same seed makes the same district
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Milliseconds each answer takes
    #[arg(long, default_value_t = 0)]
    pub(crate) latency_ms: u64,
    /// The date that the district lives in [default: today]
    #[arg(long, value_name = "DATE", value_parser = date)]
    pub(crate) today: Option<NaiveDate>,
    /// Also an LTI platform, whose flags open documents at this site (its public URL)
    #[arg(long, value_name = "URL")]
    pub(crate) lti_site: Option<Url>,
}

/// A SIS that the sandbox stands in for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum SandboxSis {
    /// Skyward Qmlativ
    Qmlativ,
    /// Infinite Campus, by OneRoster 1.2
    Oneroster,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DistrictVerb {
    /// Take in district files: inserts or replaces
    Apply {
        /// TOML files
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// All districts
    List,
    /// One district's configuration as it is kept, without secrets
    Show {
        /// Which
        id: DistrictId,
    },
    /// Ask the SIS, change nothing: address, certificate, token, grants, school year, clock
    Test {
        /// Which
        id: DistrictId,
    },
    /// No more runs; the roster stays
    Remove {
        /// Which
        id: DistrictId,
    },
    /// Delete everything that is kept of a removed district, for good, and say what was deleted (a certificate, JSON)
    Erase {
        /// Which
        id: DistrictId,
        /// The same once more: nothing brings it back
        #[arg(long, value_name = "ID")]
        confirm: DistrictId,
        /// Write the certificate to this file too
        #[arg(long, value_name = "FILE")]
        certificate: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Which district
    pub(crate) id: DistrictId,
    /// Stop at the plan, to look at it (and approve it)
    #[arg(long)]
    pub(crate) plan: bool,
    /// Show progress and end with the run
    #[arg(long)]
    pub(crate) wait: bool,
    /// Ask for everything, also where a source could be asked for changes alone
    #[arg(long)]
    pub(crate) full: bool,
    /// Plan for another date than the district's today; such a plan is only to look at
    #[arg(long, value_name = "DATE", requires = "plan", value_parser = date)]
    pub(crate) as_of: Option<NaiveDate>,
}

/// A date that a school can have meant; every store holds it.
fn date(text: &str) -> Result<NaiveDate, String> {
    let date = text.parse::<NaiveDate>().ok().filter(|date| (1900..=2199).contains(&date.year()));
    date.ok_or_else(|| "a date is written YYYY-MM-DD, from 1900-01-01 to 2199-12-31".to_owned())
}

#[derive(Debug, Subcommand)]
pub(crate) enum RunsVerb {
    /// Newest first
    List {
        /// Only of this district
        #[arg(long)]
        district: Option<DistrictId>,
        /// At most so many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..))]
        limit: i64,
    },
    /// One run: counts, findings, why it is as it is
    Show {
        /// Which
        run: RunId,
    },
    /// What it changes, student by student
    Plan {
        /// Which
        run: RunId,
        /// Those neither changed nor unchanged instead, each with its reason
        #[arg(long)]
        skipped: bool,
    },
    /// The run as a tree with times
    Trace {
        /// Which
        run: RunId,
        /// Each page and each batch too (with --format html they are there, folded)
        #[arg(long)]
        all: bool,
        /// Also what became of this student (student id, local id or state id)
        #[arg(long, value_name = "ID")]
        student: Option<String>,
    },
    /// Let a held run go on
    Approve {
        /// Which
        run: RunId,
        /// Accept that this listing is empty, until it holds rows again (Qmlativ: Module/Object), and plan the run's
        /// pages again by it; also for runs that have ended. The new plan is judged as any other
        #[arg(long, value_name = "RESOURCE")]
        accept_empty: Vec<String>,
        /// Show progress and end with the run
        #[arg(long)]
        wait: bool,
    },
    /// Throw a held run's plan away
    Discard {
        /// Which
        run: RunId,
    },
    /// End a run that has not released its plan yet
    Cancel {
        /// Which
        run: RunId,
    },
    /// Start a stage again from what is stored; a held or ended run is planned again as a new one
    Replay {
        /// Which
        run: RunId,
        /// From where
        #[arg(long, value_enum)]
        from: ReplayFrom,
        /// Show progress and end with the run
        #[arg(long)]
        wait: bool,
    },
}

/// Where a replay starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReplayFrom {
    /// Pages that were lost are asked for again; of a held or ended run, everything.
    Fetch,
    /// Stored raw pages are read again, and planned.
    Collect,
    /// The plan is made again.
    Plan,
    /// What is released and not written is published again.
    Release,
}

#[derive(Debug, Subcommand)]
pub(crate) enum QueuesVerb {
    /// How much waits, how much is parked
    List,
    /// Parked messages, and students whose change the database refused: ids and reasons
    Parked {
        /// Only of this queue: fetch, collect, plan, plan-large, write (parked students among them), applied, flags
        #[arg(value_parser = queue)]
        queue: Option<Queue>,
        #[command(flatten)]
        which: ParkedArgs,
        /// Count them by these instead of listing each
        #[arg(long, value_enum, value_delimiter = ',', value_name = "WHAT")]
        by: Vec<GroupBy>,
    },
    /// Put parked messages back to work, one first, then ten, then the rest, as long as none is parked again; with the
    /// queue `write`, write parked students too
    Replay {
        /// Which queue
        #[arg(value_parser = queue)]
        queue: Queue,
        #[command(flatten)]
        which: ParkedArgs,
        #[command(flatten)]
        how: ReplayArgs,
    },
}

/// Which parked messages and students.
#[derive(Debug, Clone, Args)]
pub(crate) struct ParkedArgs {
    /// Only of this district
    #[arg(long)]
    pub(crate) district: Option<DistrictId>,
    /// Only of this run
    #[arg(long)]
    pub(crate) run: Option<RunId>,
    /// Only with this reason code
    #[arg(long)]
    pub(crate) reason: Option<String>,
    /// Only what has been parked for longer than this, such as 90s, 15m, 2h or 7d
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub(crate) older_than: Option<Duration>,
    /// Only what was parked within this time
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub(crate) newer_than: Option<Duration>,
}

/// How parked messages go back to work.
#[derive(Debug, Clone, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct ReplayArgs {
    /// At most so many
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: Option<u32>,
    /// Only show which
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask, on a terminal
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// All at once: no first one, no first ten
    #[arg(long)]
    pub(crate) at_once: bool,
    /// At most so many a second
    #[arg(long, value_name = "PER_SECOND", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: Option<u32>,
    /// How long to wait for a worker to settle what was put back, before giving up on the rest
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = age)]
    pub(crate) patience: Duration,
    /// Stay until the last ones are settled, too
    #[arg(long)]
    pub(crate) wait: bool,
}

/// What parked messages are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum GroupBy {
    /// Queue they came from.
    Queue,
    /// Reason code.
    Reason,
    /// Kind of message.
    Kind,
    /// District.
    District,
    /// Run.
    Run,
    /// For how long they have been parked.
    Age,
}

fn age(text: &str) -> Result<Duration, String> {
    const FORM: &str = "a number and s, m, h or d, such as 15m";
    let unit = text.chars().last().ok_or(FORM)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(FORM.to_owned()),
    };
    let number: u32 = text.trim_end_matches(unit).parse().map_err(|_| FORM)?;
    Ok(Duration::from_secs(u64::from(number) * seconds))
}

fn queue(text: &str) -> Result<Queue, String> {
    Queue::parse(text).ok_or_else(|| {
        let names: Vec<_> = Queue::ALL.iter().map(|queue| queue.name().trim_start_matches("rollcall.")).collect();
        format!("queues are {}", names.join(", "))
    })
}

#[derive(Debug, Subcommand)]
pub(crate) enum StudentsVerb {
    /// The roster, by student id
    List {
        /// Whose
        #[arg(long)]
        district: DistrictId,
        /// Only with this status: ENROLLED, PRE_ENROLLED, GRADUATED or INACTIVE
        #[arg(long, value_parser = status)]
        status: Option<Status>,
        /// Only of this school (code)
        #[arg(long)]
        school: Option<String>,
        /// At most so many
        #[arg(long, value_parser = clap::value_parser!(i64).range(1..))]
        limit: Option<i64>,
    },
    /// One student: facts, contacts, enrollments, history
    Show {
        /// Whose
        #[arg(long)]
        district: DistrictId,
        /// Student id, local id or state id
        student: String,
    },
}

fn status(text: &str) -> Result<Status, String> {
    let word = text.to_ascii_uppercase().replace('-', "_");
    Status::parse(&word).ok_or_else(|| "a status is ENROLLED, PRE_ENROLLED, GRADUATED or INACTIVE".to_owned())
}

#[derive(Debug, Subcommand)]
pub(crate) enum DocumentsVerb {
    /// Take in documents from a CSV file: all of them, or none where a row is bad
    Import {
        /// Whose
        #[arg(long)]
        district: DistrictId,
        /// CSV with document_id,student_id,program,kind,status,start,end,file; files are relative to it
        file: PathBuf,
    },
    /// Documents, by id
    List {
        /// Whose
        #[arg(long)]
        district: DistrictId,
        /// Only of this student
        #[arg(long)]
        student: Option<String>,
        /// Only of this program
        #[arg(long)]
        program: Option<String>,
        /// Only with this status: draft, completed or withdrawn
        #[arg(long, value_parser = document_status)]
        status: Option<DocumentStatus>,
    },
    /// Who looked at which student's documents, newest first
    Views {
        /// Whose
        #[arg(long)]
        district: DistrictId,
        /// Only of this student (student id)
        #[arg(long)]
        student: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(i64).range(1..))]
        limit: i64,
    },
}

fn document_status(text: &str) -> Result<DocumentStatus, String> {
    DocumentStatus::parse(text).ok_or_else(|| "a status is draft, completed or withdrawn".to_owned())
}

/// Whose flags, and of which program.
#[derive(Debug, Clone, Args)]
pub(crate) struct FlagsOf {
    /// Whose
    #[arg(long)]
    pub(crate) district: DistrictId,
    /// Only of this program
    #[arg(long)]
    pub(crate) program: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum FlagsVerb {
    /// Flags as they should be, and how far they are
    List(FlagsOf),
    /// Ask Campus what taking over existing flags would end; changes nothing
    Plan(FlagsOf),
    /// Approve taking over: fixes the flags to end, and no others are ever ended
    Approve {
        #[command(flatten)]
        of: FlagsOf,
        /// The plan_hash that `flags plan` showed: if the plan is another one by now, nothing is approved; once for each
        /// program
        #[arg(long, value_name = "HASH")]
        plan: Vec<String>,
    },
    /// Compare and push now
    Push(FlagsOf),
    /// Who did what to which flag, newest first
    Ledger {
        /// Whose
        #[arg(long)]
        district: DistrictId,
        /// Only of this flag, by its id in Campus
        #[arg(long)]
        flag: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(i64).range(1..))]
        limit: i64,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyVerb {
    /// Print a new key
    New,
    /// Seal all secrets anew under a new key; every process must know both first, see docs/OPERATIONS.md
    Rotate {
        /// File that holds the new key, as `rollcall key new` printed it
        #[arg(long, value_name = "FILE")]
        new_key_file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum LtiVerb {
    /// Register a platform for a district, or say anew what is registered
    Register(Box<LtiRegister>),
    /// Registered platforms, and the URLs to enter there
    List {
        /// Whose
        #[arg(long)]
        district: DistrictId,
    },
    /// Take a registration away
    Remove {
        /// Whose
        #[arg(long)]
        district: DistrictId,
        /// Which, as `lti list` shows it
        registration: uuid::Uuid,
    },
    /// The tool's own keys
    #[command(subcommand)]
    Keys(LtiKeysVerb),
    /// Who may see documents, beside or against what the roster says
    #[command(subcommand)]
    Users(LtiUsersVerb),
}

#[derive(Debug, Args)]
pub(crate) struct LtiRegister {
    /// Whose
    #[arg(long)]
    pub(crate) district: DistrictId,
    /// The platform's issuer, exactly as it writes it
    #[arg(long)]
    pub(crate) issuer: String,
    /// The client id that it gave the tool
    #[arg(long)]
    pub(crate) client_id: String,
    /// Deployment id; may be given several times
    #[arg(long = "deployment", required = true)]
    pub(crate) deployments: Vec<String>,
    /// The platform's OIDC authentication URL
    #[arg(long, value_name = "URL")]
    pub(crate) auth_url: Url,
    /// The platform's public key set URL
    #[arg(long, value_name = "URL")]
    pub(crate) jwks_url: Url,
    /// Where a launch names the student: flag (a link that Rollcall pushed), custom:NAME, target_link_query:NAME,
    /// resource_link, context
    #[arg(long, value_name = "PLACE", default_value = "flag")]
    pub(crate) student: Place,
    /// Where it names the program: as above, or fixed:PROGRAM
    #[arg(long, value_name = "PLACE", default_value = "flag")]
    pub(crate) program: Place,
    /// Where it names the person who clicked: lis.person_sourcedid, sub, custom:NAME, email
    #[arg(long, value_name = "PLACE", default_value = "lis.person_sourcedid")]
    pub(crate) user: Place,
    /// What staff of the roster see without being added
    #[arg(long, value_enum, default_value_t = StaffSight::OwnSchools)]
    pub(crate) staff: StaffSight,
    /// A further origin that may frame the viewer, such as `https://sis.example`; may be given several times
    #[arg(long = "frame-origin", value_name = "ORIGIN")]
    pub(crate) frame_origins: Vec<Url>,
}

/// What staff of the roster see without being added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StaffSight {
    /// Nothing.
    Nothing,
    /// Students enrolled where they work.
    OwnSchools,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LtiKeysVerb {
    /// Published keys
    List {
        /// Whose
        #[arg(long)]
        district: DistrictId,
    },
    /// Make a new key: published at once, signs in an hour; those before go an hour later
    Rotate {
        /// Whose
        #[arg(long)]
        district: DistrictId,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum LtiUsersVerb {
    /// Say what a person may see; counts before the roster
    Add {
        /// Whose
        #[arg(long)]
        district: DistrictId,
        /// The person, as launches name them
        user: String,
        /// Documents of every student
        #[arg(long, group = "scope")]
        everybody: bool,
        /// Documents of students enrolled in this school (code); may be given several times
        #[arg(long = "school", group = "scope")]
        schools: Vec<String>,
        /// Documents of this student (student id); may be given several times
        #[arg(long = "student", group = "scope")]
        students: Vec<String>,
        /// No documents at all, whatever the roster says
        #[arg(long, group = "scope")]
        nobody: bool,
        /// Only of this program; may be given several times
        #[arg(long = "program")]
        programs: Vec<String>,
    },
    /// Those about whom something was said
    List {
        /// Whose
        #[arg(long)]
        district: DistrictId,
    },
    /// Take it back: the roster's word counts again
    Remove {
        /// Whose
        #[arg(long)]
        district: DistrictId,
        /// Who
        user: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum IntegrationsVerb {
    /// Add one; prints its client id and secret, once
    Add {
        /// Whose documents it may read and write
        #[arg(long)]
        district: DistrictId,
        /// What people call it
        name: String,
        /// What it may do: documents, flags.read, flags.write; may be given several times [default: documents]
        #[arg(long = "scope", value_name = "SCOPE")]
        scopes: Vec<Scope>,
    },
    /// Those there are
    List {
        /// Whose
        #[arg(long)]
        district: DistrictId,
    },
    /// Take one away; its tokens end at once
    Remove {
        /// Whose
        #[arg(long)]
        district: DistrictId,
        /// Which, as `integrations list` shows it
        integration: String,
    },
}
