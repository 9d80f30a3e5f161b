//! A replay that hears what becomes of its messages.
//!
//! Each goes out with the name of a queue for answers (`reply-to`), which a retry and a parking pass on; whoever settles it
//! tells that queue. The queue belongs to this process's connection and goes with it, and the answers with the queue.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::{FutureExt as _, StreamExt as _};
use lapin::{message::Delivery as Arrived, options::BasicConsumeOptions, types::FieldTable};
use tokio::time::timeout;
use uuid::Uuid;

use super::{
    declare,
    link::{ANSWER, Consuming, Line, LinkError, within},
    outgoing, parked,
    publisher::Publisher,
};
use crate::{
    bus::{BusError, Outcome, Parked, ParkedFilter, Replay},
    topology::Queue,
};

/// See the module.
pub(super) struct AmqpReplay {
    consuming: Arc<Consuming>,
    publisher: Publisher,
    queue: Queue,
    answers: String,
    line: Line,
}

impl AmqpReplay {
    pub(super) async fn start(consuming: Arc<Consuming>, publisher: Publisher, queue: Queue) -> Result<Self, BusError> {
        let session = consuming.session().await?;
        let answers = format!("rollcall.replay.{}", Uuid::new_v4().simple());
        declare::answers_queue(&session.channel, &answers).await?;
        let options = BasicConsumeOptions { no_ack: true, exclusive: true, ..BasicConsumeOptions::default() };
        let consume = session.channel.basic_consume(answers.as_str().into(), "".into(), options, FieldTable::default());
        let consumer = within("consume answers", ANSWER, consume).await?;
        let line = Line::new(session, consumer);
        Ok(Self { consuming, publisher, queue, answers, line })
    }
}

#[async_trait]
impl Replay for AmqpReplay {
    async fn replay(&mut self, filter: &ParkedFilter) -> Result<Vec<Parked>, BusError> {
        parked::replay(&self.consuming, &self.publisher, self.queue, filter, Some(&self.answers)).await
    }

    async fn outcomes(&mut self, limit: Duration) -> Result<Vec<(Uuid, Outcome)>, BusError> {
        let Ok(first) = timeout(limit, self.line.consumer.next()).await else { return Ok(Vec::new()) };
        let mut outcomes = vec![read(first)?];
        while let Some(next) = self.line.consumer.next().now_or_never() {
            outcomes.push(read(next)?);
        }
        Ok(outcomes)
    }
}

fn read(arrived: Option<lapin::Result<Arrived>>) -> Result<(Uuid, Outcome), BusError> {
    match arrived {
        Some(Ok(answer)) => Ok(outgoing::read_answer(&answer.properties)),
        Some(Err(error)) => Err(LinkError::Amqp("hear what became of replayed messages", error).into()),
        None => {
            let operation = "hear what became of replayed messages: the queue for answers is gone";
            Err(BusError::Unavailable { operation, source: None })
        }
    }
}
