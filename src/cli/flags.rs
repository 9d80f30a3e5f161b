//! `rollcall flags`.

use clap::{Args, Subcommand};
use rollcall_proto::id::DistrictId;

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
        /// The plan_hash that `flags plan` showed, once for each program; without, what `flags plan` showed last. If a plan is
        /// another one by now, nothing is approved
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
