//! `rollcall students`.

use clap::Subcommand;
use rollcall_proto::{id::DistrictId, roster::Status};

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
