//! `rollcall district`.

use std::path::PathBuf;

use clap::Subcommand;
use rollcall_proto::id::DistrictId;

#[derive(Debug, Subcommand)]
pub(crate) enum DistrictVerb {
    /// Take in district files: inserts or replaces
    Apply {
        /// TOML files
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// All districts but removed ones
    List {
        /// Those that were removed instead, and when
        #[arg(long)]
        removed: bool,
    },
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
    /// No more runs: those that are open or held are cancelled. The roster stays
    Remove {
        /// Which
        id: DistrictId,
    },
    /// Delete everything that is kept of a removed district, for good, and say what was deleted (a certificate, JSON). Said
    /// again, it finishes what a call that broke off has left, and writes the certificate again
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
