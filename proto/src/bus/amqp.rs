//! The bus over RabbitMQ, 3.10 and 4.x.
//!
//! Role: what the [`Bus`] contract asks, by AMQP 0-9-1 alone; no plugin and no management API. Neighbours: `declare`
//! makes the topology, `publisher` is the one task that publishes, `subscription` consumes, `parked` looks at what was
//! kept aside, `replay` hears what becomes of it, `link` holds connections.
//!
//! Invariants:
//! - One connection publishes and another consumes: a broker short of memory stops reading from those that publish, and
//!   would take no acknowledgement from them either. So answers to a replay are published like any other message.
//! - Nothing is sent on a channel once it is being closed: that would cost the whole connection.
//! - Every wait for the broker has a limit: the client library may wait for ever when the broker closes.
//! - A connection or channel that failed is dropped and made anew. The library's own recovery stays off: it leaves
//!   consumers behind that nobody reads.
//! - A message is acknowledged only after what was to become of it (retry, parking) is confirmed.
//!
//! Deliberately absent: an alternate exchange. With one, the broker counts a message without a binding as routed, and
//! `mandatory` never tells; here it comes back, the topology is seen to again, and the publisher hears of it.

mod declare;
mod link;
mod outgoing;
mod parked;
mod publisher;
mod replay;
mod subscription;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use lapin::{Acker, BasicProperties, options::QueuePurgeOptions};
use secrecy::SecretString;

use self::{
    declare::Tier,
    link::{ANSWER, Consuming, within},
    outgoing::Outgoing,
    publisher::Publisher,
    replay::AmqpReplay,
    subscription::AmqpSubscription,
};
use super::{Bus, BusError, Parked, ParkedFilter, QueueDepth, QueueFault, Replay, Subscription, publishing};
use crate::{
    failpoint::Side,
    message::Message,
    telemetry::messaging::{self, Origin, System},
    topology::Queue,
    trace::TraceContext,
};

/// Where the broker is and how this process shows itself there.
#[derive(Debug, Clone)]
pub struct AmqpConfig {
    /// `amqp://` or `amqps://` URL with user, password and virtual host.
    pub url: SecretString,
    /// How the connections are named in the broker's own listings.
    pub connection_name: String,
    /// For `amqps`: certificate authorities to trust beside the machine's, PEM.
    pub certificate_authorities: Option<String>,
    /// Make what is missing on the broker, where the user may. Off, the broker is left as it is found.
    pub declare: bool,
}

impl AmqpConfig {
    /// With the defaults for all but the URL.
    pub fn new(url: impl Into<SecretString>) -> Self {
        Self { url: url.into(), connection_name: "rollcall".to_owned(), certificate_authorities: None, declare: true }
    }
}

/// See the module.
#[derive(Debug)]
pub struct AmqpBus {
    publisher: Publisher,
    consuming: Arc<Consuming>,
    system: System,
}

/// How a delivery is settled, and the properties that a retry or parking passes on.
#[derive(Debug)]
pub(crate) struct AmqpToken {
    acker: Acker,
    properties: BasicProperties,
    origin: Origin,
}

impl AmqpToken {
    /// Where the delivery came from.
    pub(crate) const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The trace context that came with it.
    pub(crate) fn context(&self) -> Option<TraceContext> {
        outgoing::context(&self.properties)
    }
}

impl AmqpBus {
    /// Connects and declares the topology; where the user may not, all of it has to be there. Later losses of the connection mend themselves; only this first try fails.
    pub async fn connect(config: AmqpConfig) -> Result<Self, BusError> {
        let bus = Self::on_demand(config);
        bus.consuming.connection().await?;
        Ok(bus)
    }

    /// As [`AmqpBus::connect`], once somebody asks for anything: for whoever can do without the broker. Within a runtime.
    pub fn on_demand(config: AmqpConfig) -> Self {
        let config = Arc::new(config);
        let consuming = Arc::new(Consuming::new(Arc::clone(&config)));
        let system = link::system(&config);
        Self { publisher: Publisher::start(config), consuming, system }
    }
}

#[async_trait]
impl Bus for AmqpBus {
    async fn prepare(&self) -> Result<(), BusError> {
        self.publisher.connect().await
    }

    async fn publish(&self, messages: &[Message]) -> Result<(), BusError> {
        let outgoing = messages.iter().map(Outgoing::publish).collect::<Result<Vec<_>, _>>()?;
        if outgoing.is_empty() {
            return Ok(());
        }
        publishing(messages, Side::Before);
        messaging::publish(&self.system, messages, self.publisher.publish(outgoing)).await?;
        publishing(messages, Side::After);
        Ok(())
    }

    fn system(&self) -> &System {
        &self.system
    }

    fn stays_away(&self, after: Duration) -> Duration {
        Tier::at_least(after).wait
    }

    async fn subscribe(&self, queue: Queue, prefetch: u16) -> Result<Box<dyn Subscription>, BusError> {
        let subscription =
            AmqpSubscription::start(Arc::clone(&self.consuming), self.publisher.clone(), queue, prefetch);
        Ok(Box::new(subscription.await?))
    }

    async fn depths(&self) -> Result<Vec<QueueDepth>, BusError> {
        let session = self.consuming.session().await?;
        let mut depths = Vec::with_capacity(Queue::ALL.len());
        for queue in Queue::ALL {
            let work = declare::work_queue(&session.channel, session.care(), queue).await?;
            let parked = declare::parked_queue(&session.channel, session.care(), queue).await?;
            depths.push(QueueDepth {
                queue,
                waiting: work.message_count().into(),
                parked: parked.message_count().into(),
                consumers: Some(work.consumer_count()),
            });
        }
        session.close().await;
        Ok(depths)
    }

    async fn parked(&self, queue: Queue, filter: &ParkedFilter) -> Result<Vec<Parked>, BusError> {
        parked::list(&self.consuming, queue, filter).await
    }

    async fn replay(&self, queue: Queue, filter: &ParkedFilter) -> Result<Vec<Parked>, BusError> {
        parked::replay(&self.consuming, &self.publisher, queue, filter, None).await
    }

    async fn discard(&self, queue: Queue, filter: &ParkedFilter) -> Result<Vec<Parked>, BusError> {
        parked::discard(&self.consuming, queue, filter).await
    }

    async fn watched_replay(&self, queue: Queue) -> Result<Box<dyn Replay>, BusError> {
        let replay = AmqpReplay::start(Arc::clone(&self.consuming), self.publisher.clone(), queue).await?;
        Ok(Box::new(replay))
    }

    async fn queue_faults(&self) -> Result<Vec<(String, QueueFault)>, BusError> {
        let mut faults = Vec::new();
        for (name, arguments) in declare::queues() {
            // A queue at fault costs the channel.
            let session = self.consuming.session().await?;
            let fault = declare::fault(&session.channel, name, arguments).await?;
            faults.extend(fault.map(|fault| (name.to_owned(), fault)));
            session.close().await;
        }
        Ok(faults)
    }

    async fn purge(&self, queue: Queue) -> Result<u64, BusError> {
        let session = self.consuming.session().await?;
        let purge = session.channel.queue_purge(queue.name().into(), QueuePurgeOptions::default());
        let purged = within("purge a queue", ANSWER, purge).await?;
        session.close().await;
        Ok(purged.into())
    }

    async fn check(&self) -> Result<(), BusError> {
        if self.publisher.is_blocked() {
            return Err(BusError::Blocked);
        }
        let session = self.consuming.session().await?;
        declare::exchange(&session.channel, session.care()).await?;
        session.close().await;
        Ok(())
    }
}
