//! The bus as one process sees it.

use std::sync::Arc;

use async_trait::async_trait;
use rollcall_proto::{
    bus::{Bus, BusError, Delivery, Parked, ParkedFilter, QueueDepth, Subscription},
    codec::Wire,
    handler::{Park, Retry},
    message::Message,
    topology::Queue,
};

use super::Broker;
use crate::{life::Life, turn::Turns};

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct ProcessBus {
    pub(crate) broker: Arc<Broker>,
    pub(crate) turns: Arc<Turns>,
    pub(crate) life: Arc<Life>,
}

fn away(operation: &'static str) -> BusError {
    BusError::Unavailable { operation, source: None }
}

impl ProcessBus {
    fn reach(&self, operation: &'static str) -> Result<(), BusError> {
        if self.broker.is_away() { Err(away(operation)) } else { Ok(()) }
    }

    /// Stores what was packed. On a refusal, some of it may be stored all the same.
    fn store(&self, messages: &[(Wire, &Message)]) -> Result<(), BusError> {
        let broker = &self.broker;
        let refused = broker.dice.chance(broker.weather().refused);
        let stored = if refused { broker.dice.below(messages.len() as u64 + 1) as usize } else { messages.len() };
        messages[..stored].iter().for_each(|(wire, message)| broker.store(message, wire));
        if refused {
            broker.state().counts.refused += 1;
            return Err(away("publish"));
        }
        Ok(())
    }
}

#[async_trait]
impl Bus for ProcessBus {
    async fn publish(&self, messages: &[Message]) -> Result<(), BusError> {
        if messages.is_empty() {
            return Ok(());
        }
        let pack =
            |message: &Message| Wire::pack(message).map_err(|source| BusError::Encode { id: message.id, source });
        let packed = messages.iter().map(pack).collect::<Result<Vec<_>, _>>()?;
        if self.broker.dice.chance(self.broker.weather().stopped) {
            self.turns.stop().await;
        }
        self.life.effect().await;
        self.reach("publish")?;
        let packed: Vec<_> = packed.into_iter().zip(messages).collect();
        self.store(&packed)
    }

    async fn subscribe(&self, queue: Queue, _: u16) -> Result<Box<dyn Subscription>, BusError> {
        Ok(Box::new(ProcessSubscription { bus: self.clone(), queue }))
    }

    async fn depths(&self) -> Result<Vec<QueueDepth>, BusError> {
        self.reach("count messages")?;
        Ok(self.broker.depths())
    }

    async fn parked(&self, queue: Queue, filter: &ParkedFilter) -> Result<Vec<Parked>, BusError> {
        self.reach("list parked messages")?;
        Ok(self.broker.parked(queue, filter))
    }

    async fn replay(&self, queue: Queue, filter: &ParkedFilter) -> Result<Vec<Parked>, BusError> {
        self.reach("replay parked messages")?;
        Ok(self.broker.replay(queue, filter))
    }

    async fn purge(&self, queue: Queue) -> Result<u64, BusError> {
        self.reach("purge a queue")?;
        Ok(self.broker.purge(queue))
    }

    async fn check(&self) -> Result<(), BusError> {
        self.reach("check")
    }
}

/// Deliveries that the scheduler grants.
struct ProcessSubscription {
    bus: ProcessBus,
    queue: Queue,
}

impl ProcessSubscription {
    /// Settles one: a process may die before each.
    async fn settle(&self, tag: Option<u64>, how: impl FnOnce(&Broker, u64) + Send) {
        self.bus.life.effect().await;
        let Some(tag) = tag else { return };
        how(&self.bus.broker, tag);
        self.bus.turns.settled(tag);
    }
}

#[async_trait]
impl Subscription for ProcessSubscription {
    async fn next(&mut self) -> Result<Delivery, BusError> {
        let (process, broker) = (self.bus.life.process, &self.bus.broker);
        let waker = broker.waker(process, self.queue);
        loop {
            if let Some(delivery) = broker.next_granted(process, self.queue) {
                return Ok(delivery);
            }
            waker.notified().await;
        }
    }

    async fn ack_all(&mut self, deliveries: Vec<Delivery>) -> Result<(), BusError> {
        let tags: Vec<_> = deliveries.iter().map(Delivery::tag).collect();
        for tag in tags {
            self.settle(tag, Broker::settle_done).await;
        }
        Ok(())
    }

    async fn retry(&mut self, delivery: &Delivery, retry: &Retry) -> Result<(), BusError> {
        self.settle(delivery.tag(), |broker, tag| broker.settle_retry(tag, retry)).await;
        Ok(())
    }

    async fn park(&mut self, delivery: &Delivery, park: &Park) -> Result<(), BusError> {
        self.settle(delivery.tag(), |broker, tag| broker.settle_parked(tag, park)).await;
        Ok(())
    }
}
