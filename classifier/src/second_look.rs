//! Starting the second look: recheck listings onto the boards, and their first lanes onto the bus.
//!
//! Neighbours: [`crate::recheck`] says what to ask for. Idempotent: a board takes recheck listings once; lanes whose
//! messages were lost on the way are dealt again by the fetcher's reconciler.

use std::collections::BTreeMap;

use rollcall_proto::{
    id::{ConnectionNo, ListingNo, RunId, StudentId},
    message::{Body, Fetch, Message},
};
use rollcall_store::{Lanes, board::LaneMove, district::SisKind};

use crate::{
    context::{Context, RunKey},
    error::ClassifierError,
    recheck::{self, Candidates},
};

/// What came of wanting to ask the SIS again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Asked {
    /// A connection is asked that was not before.
    pub begun: bool,
    /// This run of the district asks a connection that is to be asked, and is waited for.
    pub waits_for: Option<RunId>,
}

/// Asks the SIS again for the run's candidates, of as many connections as no other run asks.
pub async fn begin(context: &Context, run: RunKey<'_>, cause: Option<&Message>) -> Result<Asked, ClassifierError> {
    let mut asked = Asked::default();
    let Some((bytes, _)) = context.store.candidates(run.0, run.1).await? else { return Ok(asked) };
    let candidates = Candidates::decode(&bytes)?;
    let district = context.store.district(run.0).await?;
    for connection in candidates.connections() {
        let own = district.connections.get(usize::from(connection.0));
        let prefix = own.and_then(|found| found.id_prefix.as_deref()).unwrap_or_default();
        let given = match own {
            Some(own) if own.kind == SisKind::OneRoster => as_given(context, run, &candidates, connection).await?,
            _ => BTreeMap::new(),
        };
        let spelled = |id: &StudentId| candidates.spelled.get(id).or_else(|| given.get(id)).cloned();
        let spell = |id: &StudentId| spelled(id).or_else(|| Some(id.0.strip_prefix(prefix)?.to_owned()));
        let students = candidates.students.iter().filter(|(number, _)| *number == connection.0);
        let ids: Vec<String> = students.filter_map(|(_, id)| spell(id)).collect();
        match add_listings(context, run, connection, &ids, &candidates.controls(connection, spell)).await? {
            Lanes::Free(Some(moves)) => {
                asked.begun = true;
                publish_lanes(context, run, connection, &moves, cause).await?;
            }
            Lanes::Free(None) => {}
            Lanes::Taken(other) => asked.waits_for = Some(other),
        }
    }
    Ok(asked)
}

/// The run of the district that a second look waits for, whose candidates are not all asked for yet.
pub async fn waits_for(context: &Context, run: RunKey<'_>) -> Result<Option<RunId>, ClassifierError> {
    let Some((bytes, _)) = context.store.candidates(run.0, run.1).await? else { return Ok(None) };
    for connection in Candidates::decode(&bytes)?.connections() {
        if is_to_be_asked(context, run, connection).await?
            && let Some(other) = context.store.lanes_taken_by(run.0, run.1, connection).await?
        {
            return Ok(Some(other));
        }
    }
    Ok(None)
}

async fn is_to_be_asked(context: &Context, run: RunKey<'_>, connection: ConnectionNo) -> Result<bool, ClassifierError> {
    let board = context.store.board(run.0, run.1, connection).await?;
    Ok(board.is_some_and(|board| board.recheck_from.is_none()))
}

/// The ids of candidates and controls as the SIS spells them, where they are stored: a server may tell `A` from `a` where we do
/// not.
async fn as_given(
    context: &Context,
    run: RunKey<'_>,
    candidates: &Candidates,
    connection: ConnectionNo,
) -> Result<BTreeMap<StudentId, String>, ClassifierError> {
    let controls = candidates.controls.iter().map(|control| (control.connection, &control.student));
    let all = candidates.students.iter().map(|(number, id)| (*number, id)).chain(controls);
    let students: Vec<StudentId> =
        all.filter(|(number, _)| *number == connection.0).map(|(_, id)| id.clone()).collect();
    Ok(context.store.sis_ids(run.0, &students).await?)
}

/// `None`: the board has its recheck listings, or there is no board.
async fn add_listings(
    context: &Context,
    run: RunKey<'_>,
    connection: ConnectionNo,
    ids: &[String],
    controls: &BTreeMap<ListingNo, Vec<String>>,
) -> Result<Lanes<Option<Vec<LaneMove>>>, ClassifierError> {
    // A look that was begun before waits for nobody.
    if !is_to_be_asked(context, run, connection).await? {
        return Ok(Lanes::Free(None));
    }
    let now = context.clock.now();
    let change = |board: &mut rollcall_store::board::Board| {
        let asks = recheck::asks(board, ids, controls);
        let moves = board.add_recheck(asks).then(|| board.deal(now));
        (moves, board.all_fetched())
    };
    Ok(match context.store.with_lanes(run.0, run.1, connection, change).await? {
        Lanes::Free(moves) => Lanes::Free(moves.flatten()),
        Lanes::Taken(other) => Lanes::Taken(other),
    })
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
