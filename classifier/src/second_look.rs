//! Starting the second look: recheck listings onto the boards, and their first lanes onto the bus.
//!
//! Neighbours: [`crate::recheck`] says what to ask for. Idempotent: a board takes recheck listings once; lanes whose
//! messages were lost on the way are dealt again by the fetcher's reconciler.

use rollcall_proto::{
    id::{ConnectionNo, StudentId},
    message::{Body, Fetch, Message},
};
use rollcall_store::{board::LaneMove, district::SisKind};

use crate::{
    context::{Context, RunKey},
    error::ClassifierError,
    recheck::{self, Candidates},
};

/// Asks the SIS again for the run's candidates. False: it was asked for before, or there are none.
pub async fn begin(context: &Context, run: RunKey<'_>, cause: Option<&Message>) -> Result<bool, ClassifierError> {
    let Some((bytes, _)) = context.store.candidates(run.0, run.1).await? else { return Ok(false) };
    let candidates = Candidates::decode(&bytes)?;
    let district = context.store.district(run.0).await?;
    let mut begun = false;
    for connection in candidates.connections() {
        let prefix = district.connections.get(usize::from(connection.0)).and_then(|found| found.id_prefix.as_deref());
        let mut ids = candidates.sis_ids(connection, prefix.unwrap_or_default());
        if district.connections.get(usize::from(connection.0)).is_some_and(|of| of.kind == SisKind::OneRoster) {
            ids = as_given(context, run, &candidates, connection, prefix.unwrap_or_default()).await?;
        }
        if let Some(moves) = add_listings(context, run, connection, &ids).await? {
            begun = true;
            publish_lanes(context, run, connection, &moves, cause).await?;
        }
    }
    Ok(begun)
}

/// The candidates' ids as the SIS spells them: a server may tell `A` from `a` where we do not.
async fn as_given(
    context: &Context,
    run: RunKey<'_>,
    candidates: &Candidates,
    connection: ConnectionNo,
    prefix: &str,
) -> Result<Vec<String>, ClassifierError> {
    let own = candidates.students.iter().filter(|(number, _)| *number == connection.0);
    let students: Vec<StudentId> = own.map(|(_, id)| id.clone()).collect();
    let known = context.store.sis_ids(run.0, &students).await?;
    let plain = students.iter().map(|id| (known.get(id), id.0.strip_prefix(prefix)));
    Ok(plain.filter_map(|(spelled, own)| spelled.cloned().or_else(|| own.map(str::to_owned))).collect())
}

/// `None`: the board has its recheck listings, or there is no board.
async fn add_listings(
    context: &Context,
    run: RunKey<'_>,
    connection: ConnectionNo,
    ids: &[String],
) -> Result<Option<Vec<LaneMove>>, ClassifierError> {
    let now = context.clock.now();
    let change = |board: &mut rollcall_store::board::Board| {
        let asks = recheck::asks(board, ids);
        let moves = board.add_recheck(asks).then(|| board.deal(now));
        (moves, board.all_fetched())
    };
    Ok(context.store.with_board(run.0, run.1, connection, change).await?.flatten())
}

/// Publishes the messages of lanes that were dealt to.
pub(crate) async fn publish_lanes(
    context: &Context,
    run: RunKey<'_>,
    connection: ConnectionNo,
    moves: &[LaneMove],
    cause: Option<&Message>,
) -> Result<(), ClassifierError> {
    let fetch = |step: &LaneMove| Fetch { connection, lane: step.lane, generation: step.generation };
    let messages: Vec<Message> =
        moves.iter().map(|step| context.message(run, cause, Body::Fetch(fetch(step)))).collect();
    if !messages.is_empty() {
        context.bus.publish(&messages).await?;
    }
    Ok(())
}
