//! RabbitMQ.

use async_trait::async_trait;
use secrecy::SecretString;

use super::{Bus, BusError, Parked, ParkedFilter, QueueDepth, Subscription};
use crate::{message::Message, topology::Queue};

/// Where the broker is and how this process shows itself there.
#[derive(Debug, Clone)]
pub struct AmqpConfig {
    /// `amqp://` or `amqps://` URL with user, password and virtual host.
    pub url: SecretString,
    /// How the connection is named in the broker's own listings.
    pub connection_name: String,
}

impl AmqpConfig {
    /// With the defaults for all but these.
    pub fn new(url: impl Into<SecretString>) -> Self {
        Self { url: url.into(), connection_name: "rollcall".to_owned() }
    }
}

/// The bus over RabbitMQ.
#[derive(Debug)]
pub struct AmqpBus {}

impl AmqpBus {
    /// Connects and declares the topology.
    pub async fn connect(_config: AmqpConfig) -> Result<Self, BusError> {
        Ok(Self {})
    }
}

/// How a delivery is settled.
#[derive(Debug)]
pub(crate) struct AmqpToken {}

#[async_trait]
impl Bus for AmqpBus {
    async fn publish(&self, _: &[Message]) -> Result<(), BusError> {
        Err(away())
    }

    async fn subscribe(&self, _: Queue, _: u16) -> Result<Box<dyn Subscription>, BusError> {
        Err(away())
    }

    async fn depths(&self) -> Result<Vec<QueueDepth>, BusError> {
        Err(away())
    }

    async fn parked(&self, _: Queue, _: &ParkedFilter) -> Result<Vec<Parked>, BusError> {
        Err(away())
    }

    async fn replay(&self, _: Queue, _: &ParkedFilter) -> Result<Vec<Parked>, BusError> {
        Err(away())
    }

    async fn purge(&self, _: Queue) -> Result<u64, BusError> {
        Err(away())
    }

    async fn check(&self) -> Result<(), BusError> {
        Err(away())
    }
}

fn away() -> BusError {
    BusError::Unavailable { operation: "connect", source: None }
}
