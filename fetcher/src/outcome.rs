//! Moving a run on: giving a pull up, and going to the plan when every pull has come to its end.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use rollcall_proto::{
    bus::SharedBus,
    id::{ConnectionNo, DistrictId, ListingNo, PageNo, RunId},
    message::{Body, LARGE_RUN_ROWS, Message, Plan},
};
use rollcall_store::{
    Store,
    board::Board,
    page::PageRow,
    run::{Pull, PullState},
};

use crate::error::FetchError;

/// Goes to the plan if every pull is fetched or given up and every fetched page is collected. True: it went.
///
/// The collector does the same when it stores a page; this is for runs whose last event is not a page.
pub(crate) async fn advance(
    store: &Store,
    bus: &SharedBus,
    district: &DistrictId,
    run: RunId,
    now: DateTime<Utc>,
) -> Result<bool, FetchError> {
    let pulls = store.pulls(district, run).await?;
    if !pulls.iter().all(is_over) {
        return Ok(false);
    }
    let pages = store.pages(district, run).await?;
    for pull in pulls.iter().filter(|pull| pull.state == PullState::Fetched) {
        let board = store.board(district, run, pull.connection).await?;
        if board.is_some_and(|board| !missing_pages(&board, pull.connection, &pages).is_empty()) {
            return Ok(false);
        }
    }
    if !store.pulled(district, run, now).await? {
        return Ok(false);
    }
    let large = pages.iter().map(|page| page.rows).sum::<i64>() > LARGE_RUN_ROWS;
    bus.publish(&[Message::new(district.clone(), run, now, Body::Plan(Plan { large }))]).await?;
    Ok(true)
}

const fn is_over(pull: &Pull) -> bool {
    matches!(pull.state, PullState::Fetched | PullState::Failed)
}

/// Pages fetched and not collected.
pub(crate) fn missing_pages(board: &Board, connection: ConnectionNo, pages: &[PageRow]) -> Vec<(ListingNo, PageNo)> {
    let of_connection = pages.iter().filter(|page| page.connection == connection);
    let collected: BTreeSet<_> = of_connection.map(|page| (page.listing, page.page)).collect();
    board.missing(|listing, page| collected.contains(&(listing, page)))
}
