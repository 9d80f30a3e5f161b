//! How many rows a listing has.

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
