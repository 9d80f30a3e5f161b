//! `rollcall run` and `rollcall runs`.

use chrono::NaiveDate;
use clap::{Args, Subcommand, ValueEnum};
use rollcall_proto::{
    date,
    id::{DistrictId, RunId},
};

use super::Format;

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
    #[arg(long, value_name = "DATE", requires = "plan", value_parser = date::parse)]
    pub(crate) as_of: Option<NaiveDate>,
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
    /// The run as a tree with times; with --format html as a page, with --format svg as a picture
    #[command(arg = Format::of_trace())]
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
        /// Accept that this listing is empty, until it holds rows again, and plan the run's pages again by it; also for
        /// runs that have ended. The listing as the finding names it, or its resource (Qmlativ: Module/Object), which
        /// stands for those of its listings that are empty on this run; or whatever else a finding offers by this option.
        /// The new plan is judged as any other
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

impl RunsVerb {
    /// Whether it shows what the store knows, and does nothing.
    pub(crate) const fn only_reads(&self) -> bool {
        matches!(self, Self::List { .. } | Self::Show { .. } | Self::Plan { .. } | Self::Trace { .. })
    }
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
