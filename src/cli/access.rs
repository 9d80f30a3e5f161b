//! `rollcall integrations` and `rollcall key`.

use std::path::PathBuf;

use clap::Subcommand;
use rollcall_proto::id::DistrictId;
use rollcall_store::integrations::Scope;

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

#[derive(Debug, Subcommand)]
pub(crate) enum KeyVerb {
    /// Print a new key
    New,
    /// Seal anew under a new key what lies under another; every process must seal with the new one first, see docs/OPERATIONS.md
    Rotate {
        /// File that holds the new key, as `rollcall key new` printed it
        #[arg(long, value_name = "FILE")]
        new_key_file: PathBuf,
    },
    /// Give up what is sealed with a key that is lost, for good; lists it, and does it with --yes
    Forget {
        /// The key's name, as `rollcall doctor` tells it
        key: String,
        /// Do it
        #[arg(long)]
        yes: bool,
    },
}
