//! `rollcall documents views`: the access log.

use std::process::ExitCode;

use rollcall_proto::id::{DistrictId, StudentId};
use serde_json::json;

use crate::{context::Context, output::Listing};

/// Who looked at which documents, newest first.
pub(super) async fn list(
    context: &Context,
    district: &DistrictId,
    student: Option<String>,
    limit: i64,
) -> anyhow::Result<ExitCode> {
    context.store.district(district).await?;
    let student = student.map(StudentId);
    let mut listing = Listing::new(&["at", "student_id", "program", "document_id", "user", "platform", "outcome"]);
    for view in context.store.document_views(district, student.as_ref(), limit).await? {
        listing.push(vec![
            json!(view.at),
            json!(view.student_id),
            json!(view.program),
            json!(view.document_id),
            json!(view.user_id),
            json!(view.issuer),
            json!(view.outcome),
        ]);
    }
    listing.print(context.format)?;
    Ok(ExitCode::SUCCESS)
}
