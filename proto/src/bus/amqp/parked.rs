//! Looking at parked messages, and putting them back to work.
//!
//! Messages are fetched one by one without being acknowledged, and the broker takes them back, in their old order, when
//! the channel closes or the process dies. While one process looks, another does not see what it holds.

use bytes::Bytes;
use lapin::{
    Acker, BasicProperties,
    options::{BasicAckOptions, BasicGetOptions},
};

use super::{
    declare,
    link::{ANSWER, Consuming, LinkError, Session, within},
    outgoing::{self, Delivered, Outgoing},
    publisher::Publisher,
};
use crate::{
    bus::{BusError, Label, Parked, ParkedFilter},
    topology::Queue,
};

/// Replayed together: published in one batch, then acknowledged.
const TOGETHER: usize = 64;
const TOGETHER_BYTES: usize = 16 * 1024 * 1024;

/// A parked message in hand.
struct Found {
    parked: Parked,
    label: Label,
    properties: BasicProperties,
    body: Bytes,
    acker: Acker,
}

/// Messages that the filter admits; all stay.
pub(super) async fn list(consuming: &Consuming, queue: Queue, filter: &ParkedFilter) -> Result<Vec<Parked>, BusError> {
    let session = consuming.session().await?;
    let mut left = declare::parked_queue(&session.channel, queue).await?.message_count();
    let mut listed = Vec::new();
    while left > 0 && !is_enough(&listed, filter) {
        left -= 1;
        let Some(found) = get(&session, queue).await? else { break };
        if filter.admits(&found.parked) {
            listed.push(found.parked);
        }
    }
    session.close().await;
    listed.sort_by_key(|parked| parked.parked_at);
    Ok(listed)
}

/// Publishes first and acknowledges then: a process that dies in between leaves a message both parked and at work, under
/// one id, which handlers take for the one message it is.
pub(super) async fn replay(
    consuming: &Consuming,
    publisher: &Publisher,
    queue: Queue,
    filter: &ParkedFilter,
) -> Result<Vec<Parked>, BusError> {
    let session = consuming.session().await?;
    let mut left = declare::parked_queue(&session.channel, queue).await?.message_count();
    let mut replayed = Vec::new();
    while left > 0 && !is_enough(&replayed, filter) {
        let room = filter.limit.map_or(TOGETHER, |limit| TOGETHER.min(limit - replayed.len()));
        let found = gather(&session, queue, filter, room, &mut left).await?;
        put_back(publisher, queue, &found).await?;
        replayed.extend(found.into_iter().map(|found| found.parked));
    }
    session.close().await;
    Ok(replayed)
}

fn is_enough(parked: &[Parked], filter: &ParkedFilter) -> bool {
    filter.limit.is_some_and(|limit| parked.len() >= limit)
}

/// Takes messages until there are enough for a batch, or none are left.
async fn gather(
    session: &Session,
    queue: Queue,
    filter: &ParkedFilter,
    room: usize,
    left: &mut u32,
) -> Result<Vec<Found>, LinkError> {
    let (mut found, mut bytes) = (Vec::new(), 0);
    while *left > 0 && found.len() < room && bytes < TOGETHER_BYTES {
        *left -= 1;
        let Some(next) = get(session, queue).await? else {
            *left = 0;
            break;
        };
        if filter.admits(&next.parked) {
            bytes += next.body.len();
            found.push(next);
        }
    }
    Ok(found)
}

async fn put_back(publisher: &Publisher, queue: Queue, found: &[Found]) -> Result<(), BusError> {
    let outgoing = found.iter().map(|found| {
        let delivered = Delivered { label: &found.label, properties: &found.properties, body: &found.body };
        Outgoing::replay(queue, &delivered)
    });
    publisher.publish(outgoing.collect()).await?;
    for found in found {
        let acked = within("acknowledge", ANSWER, found.acker.ack(BasicAckOptions::default())).await?;
        if !acked {
            let operation = "acknowledge a replayed message: the channel is closed";
            return Err(BusError::Unavailable { operation, source: None });
        }
    }
    Ok(())
}

async fn get(session: &Session, queue: Queue) -> Result<Option<Found>, LinkError> {
    let get = session.channel.basic_get(queue.parked_name().into(), BasicGetOptions::default());
    let Some(message) = within("get a parked message", ANSWER, get).await? else { return Ok(None) };
    let arrived = message.delivery;
    let label = outgoing::label(&arrived.properties);
    let (reason, detail, parked_at) = outgoing::parking(&arrived.properties);
    let Label { id, kind, district, run } = label.clone();
    let parked = Parked { id, queue, kind, reason, detail, district, run, parked_at };
    Ok(Some(Found { parked, label, properties: arrived.properties, body: arrived.data.into(), acker: arrived.acker }))
}
