//! Looking at parked messages, and putting them back to work.
//!
//! Messages are fetched one by one without being acknowledged, and given back together, in their old order. A process
//! that dies half-way has the broker take them back. While one process looks, another does not see what it holds.
//!
//! One id may be parked more than once: a replay killed between publishing and acknowledging leaves a copy, and so does a
//! connection lost, or an alarm raised, while a message is being parked. Each copy is listed, replayed and discarded like any other. What a replay
//! has itself put back is not put back again when it turns up behind, parked anew: it is another copy than those that were
//! there when the replay began, and is held to the end of the pass, so that every pass comes to its end.
//!
//! Deliberately absent: a walk that goes on from one step of a replay to the next. It would spare walking again over what the
//! filter leaves out, and would hold that for as long as the replay waits between its steps: out of sight of everybody who
//! counts what is parked, and until the broker closes the channel of who acknowledges nothing for half an hour.

use bytes::Bytes;
use lapin::{
    Acker, BasicProperties,
    message::Delivery as Arrived,
    options::{BasicAckOptions, BasicGetOptions, BasicNackOptions},
};

use super::{
    declare,
    link::{ANSWER, Consuming, LinkError, Session, within},
    outgoing::{self, Delivered, Outgoing},
    publisher::Publisher,
};
use crate::{
    bus::{BusError, Label, Parked, ParkedFilter},
    failpoint::{Side, Step, reached},
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
    let mut look = Look::begin(consuming, queue).await?;
    let mut listed = look.list(filter).await?;
    look.end().await?;
    listed.sort_by_key(|parked| parked.parked_at);
    Ok(listed)
}

/// Where the filter names no copies, those that it admits at the beginning are meant. Publishes first and acknowledges then:
/// a process that dies in between leaves a message both parked and at work, under
/// one id, which handlers take for the one message it is.
pub(super) async fn replay(
    consuming: &Consuming,
    publisher: &Publisher,
    queue: Queue,
    filter: &ParkedFilter,
    answers: Option<&str>,
) -> Result<Vec<Parked>, BusError> {
    let mut look = Look::begin(consuming, queue).await?;
    let filter = &look.named(filter).await?;
    let mut replayed = Vec::new();
    while !is_enough(&replayed, filter) {
        let room = filter.limit.map_or(TOGETHER, |limit| TOGETHER.min(limit - replayed.len()));
        let found = look.gather(filter, room).await?;
        if found.is_empty() {
            break;
        }
        put_back(publisher, queue, &found, answers).await?;
        replayed.extend(found.into_iter().map(|found| found.parked));
    }
    look.end().await?;
    Ok(replayed)
}

/// Acknowledges, and publishes nothing.
pub(super) async fn discard(
    consuming: &Consuming,
    queue: Queue,
    filter: &ParkedFilter,
) -> Result<Vec<Parked>, BusError> {
    let mut look = Look::begin(consuming, queue).await?;
    let mut discarded = Vec::new();
    while !is_enough(&discarded, filter) {
        let room = filter.limit.map_or(TOGETHER, |limit| TOGETHER.min(limit - discarded.len()));
        let found = look.gather(filter, room).await?;
        if found.is_empty() {
            break;
        }
        take_away(&found).await?;
        discarded.extend(found.into_iter().map(|found| found.parked));
    }
    look.end().await?;
    Ok(discarded)
}

fn is_enough(parked: &[Parked], filter: &ParkedFilter) -> bool {
    filter.limit.is_some_and(|limit| parked.len() >= limit)
}

/// One pass over a parked queue.
struct Look {
    session: Session,
    queue: Queue,
    /// The last one fetched; giving it back gives back all before it.
    last: Option<Acker>,
}

impl Look {
    async fn begin(consuming: &Consuming, queue: Queue) -> Result<Self, LinkError> {
        let session = consuming.session().await?;
        declare::parked_queue(&session.channel, session.care(), queue).await?;
        Ok(Self { session, queue, last: None })
    }

    /// Those that the filter admits, which are held then.
    async fn list(&mut self, filter: &ParkedFilter) -> Result<Vec<Parked>, LinkError> {
        let mut listed = Vec::new();
        while !is_enough(&listed, filter)
            && let Some(found) = self.get().await?
        {
            if filter.admits(&found.parked) {
                listed.push(found.parked);
            }
        }
        Ok(listed)
    }

    /// The filter with its copies by name.
    async fn named(&mut self, filter: &ParkedFilter) -> Result<ParkedFilter, LinkError> {
        if filter.copies.is_some() {
            return Ok(filter.clone());
        }
        let copies = self.list(filter).await?.iter().map(Parked::copy).collect();
        self.give_back().await?;
        Ok(ParkedFilter { copies: Some(copies), ..filter.clone() })
    }

    /// The next one. The end is when there is none; the count that the broker tells may be older than the last look.
    async fn get(&mut self) -> Result<Option<Found>, LinkError> {
        let get = self.session.channel.basic_get(self.queue.parked_name().into(), BasicGetOptions::default());
        let message = within("get a parked message", ANSWER, get).await?;
        let found = message.map(|message| Found::of(self.queue, message.delivery));
        if let Some(found) = &found {
            self.last = Some(found.acker.clone());
        }
        Ok(found)
    }

    /// Takes messages until there are enough for a batch, or none are left.
    async fn gather(&mut self, filter: &ParkedFilter, room: usize) -> Result<Vec<Found>, LinkError> {
        let (mut found, mut bytes) = (Vec::new(), 0);
        while found.len() < room
            && bytes < TOGETHER_BYTES
            && let Some(next) = self.get().await?
        {
            if filter.admits(&next.parked) {
                bytes += next.body.len();
                found.push(next);
            }
        }
        Ok(found)
    }

    /// Gives back all that is still held.
    async fn give_back(&mut self) -> Result<(), LinkError> {
        if let Some(last) = self.last.take()
            && last.usable()
        {
            let all = BasicNackOptions { multiple: true, requeue: true };
            within("give parked messages back", ANSWER, last.nack(all)).await?;
        }
        Ok(())
    }

    async fn end(mut self) -> Result<(), LinkError> {
        self.give_back().await?;
        self.session.close().await;
        Ok(())
    }
}

async fn put_back(publisher: &Publisher, queue: Queue, found: &[Found], answers: Option<&str>) -> Result<(), BusError> {
    let outgoing = found.iter().map(|found| {
        let delivered = Delivered { label: &found.label, properties: &found.properties, body: &found.body };
        Outgoing::replay(queue, &delivered, answers)
    });
    reached(Step::Replay, queue.name(), Side::Before);
    publisher.publish(outgoing.collect()).await?;
    reached(Step::Replay, queue.name(), Side::After);
    take_away(found).await
}

async fn take_away(found: &[Found]) -> Result<(), BusError> {
    for found in found {
        let acked = within("acknowledge", ANSWER, found.acker.ack(BasicAckOptions::default())).await?;
        if !acked {
            let operation = "acknowledge a parked message: the channel is closed";
            return Err(BusError::Unavailable { operation, source: None });
        }
    }
    Ok(())
}

impl Found {
    fn of(queue: Queue, arrived: Arrived) -> Self {
        let label = outgoing::label(&arrived.properties);
        let (reason, detail, parked_at) = outgoing::parking(&arrived.properties);
        let Label { id, kind, district, run } = label.clone();
        let parked = Parked { id, queue, kind, reason, detail, district, run, parked_at };
        Self { parked, label, properties: arrived.properties, body: arrived.data.into(), acker: arrived.acker }
    }
}
