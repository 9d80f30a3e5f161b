//! `rollcall queues`.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use rollcall_proto::{
    id::{DistrictId, RunId},
    topology::Queue,
};
use uuid::Uuid;

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
    /// Throw parked messages away, for good: what nobody can read, or what belongs to a run or district that is not there any
    /// more. Never what is not parked; parked students stay
    Discard {
        /// Which queue
        #[arg(value_parser = queue)]
        queue: Queue,
        #[command(flatten)]
        which: ParkedArgs,
        #[command(flatten)]
        how: DiscardArgs,
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
    /// Only this message, by id; may be given several times
    #[arg(long, value_name = "ID")]
    pub(crate) message: Vec<Uuid>,
}

impl ParkedArgs {
    /// Everything that is parked.
    pub(crate) const fn is_everything(&self) -> bool {
        matches!(
            self,
            Self { district: None, run: None, reason: None, older_than: None, newer_than: None, message }
                if message.is_empty()
        )
    }
}

/// What is done before anything is done to parked messages.
#[derive(Debug, Clone, Args)]
pub(crate) struct FirstArgs {
    /// At most so many
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: Option<u32>,
    /// Only show which
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask, on a terminal
    #[arg(long, short)]
    pub(crate) yes: bool,
}

/// How parked messages are thrown away.
#[derive(Debug, Clone, Args)]
pub(crate) struct DiscardArgs {
    #[command(flatten)]
    pub(crate) first: FirstArgs,
    /// All that is parked in the queue, where nothing says which
    #[arg(long)]
    pub(crate) all: bool,
}

/// How parked messages go back to work.
#[derive(Debug, Clone, Args)]
pub(crate) struct ReplayArgs {
    #[command(flatten)]
    pub(crate) first: FirstArgs,
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
