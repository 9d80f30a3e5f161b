//! How many rows a listing has.

use rollcall_store::document::is_name;

use super::problem::Problem;

/// Most rows of one listing.
const MOST_LISTED: u32 = 1_000;
/// Rows where the caller does not say.
const USUALLY_LISTED: u32 = 100;

/// The `limit` of a listing's query.
pub(super) fn limit(asked: Option<u32>) -> Result<i64, Problem> {
    let limit = asked.unwrap_or(USUALLY_LISTED);
    if (1..=MOST_LISTED).contains(&limit) {
        Ok(limit.into())
    } else {
        Err(Problem::malformed(format!("limit is 1 to {MOST_LISTED}")))
    }
}

/// Refuses what names nothing: a database keeps no NUL.
pub(super) fn are_usable(members: &[(&str, Option<&str>)]) -> Result<(), Problem> {
    match members.iter().find(|(_, text)| !is_name(text.unwrap_or_default())) {
        Some((member, _)) => Err(Problem::malformed(format!("{member} has a control character"))),
        None => Ok(()),
    }
}
