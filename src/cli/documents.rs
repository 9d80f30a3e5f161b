//! `rollcall documents`.

use std::path::PathBuf;

use clap::Subcommand;
use rollcall_proto::id::DistrictId;
use rollcall_store::document::DocumentStatus;

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
