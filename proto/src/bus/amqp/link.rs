//! Connections: how they are made, and the limit on every wait.

use std::{sync::Arc, time::Duration};

use lapin::{
    Channel, Connection, ConnectionBuilder, ConnectionProperties, Consumer, options::ConfirmSelectOptions,
    tcp::OwnedTLSConfig, uri::AMQPUri,
};
use secrecy::ExposeSecret as _;
use tokio::{
    sync::{Mutex, OwnedRwLockReadGuard, RwLock},
    time::timeout,
};

use super::{
    AmqpConfig,
    declare::{self, Care},
};
use crate::{bus::BusError, telemetry::messaging::System};

/// Limit on one question to the broker.
pub(super) const ANSWER: Duration = Duration::from_secs(10);

/// Limit on a connection and its handshake.
const CONNECT: Duration = Duration::from_secs(15);

/// Seconds between heartbeats where the URL names none: a broker that went silent is noticed after twice that.
const HEARTBEAT: u16 = 10;

/// Why a link failed. Can be told to each of several publishers, unlike a [`BusError`].
#[derive(Debug, Clone)]
pub(super) enum LinkError {
    /// No answer in time.
    TimedOut(&'static str),
    /// The library's error.
    Amqp(&'static str, lapin::Error),
    /// Something is declared otherwise.
    Topology(String, lapin::Error),
    /// Something is not there, and our user may not make it.
    Missing(String, lapin::Error),
    /// The URL cannot be read.
    Url,
    /// The broker takes no messages for now.
    Blocked,
}

impl LinkError {
    /// Trying again at once may help.
    pub(super) const fn is_worth_another_link(&self) -> bool {
        matches!(self, Self::TimedOut(_) | Self::Amqp(..))
    }
}

impl From<LinkError> for BusError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::TimedOut(operation) => Self::Unavailable { operation, source: None },
            LinkError::Amqp(operation, error) => Self::Unavailable { operation, source: Some(Box::new(error)) },
            LinkError::Topology(name, error) => Self::Topology { name, source: Some(Box::new(error)) },
            LinkError::Missing(name, error) => Self::Missing { name, source: Some(Box::new(error)) },
            LinkError::Url => Self::Url,
            LinkError::Blocked => Self::Blocked,
        }
    }
}

/// Waits for the broker, within a limit.
pub(super) async fn within<T>(
    operation: &'static str,
    limit: Duration,
    question: impl Future<Output = lapin::Result<T>>,
) -> Result<T, LinkError> {
    match timeout(limit, question).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(LinkError::Amqp(operation, error)),
        Err(_) => Err(LinkError::TimedOut(operation)),
    }
}

/// Where the broker is, for spans: host and port, never the password.
pub(super) fn system(config: &AmqpConfig) -> System {
    match config.url.expose_secret().parse::<AMQPUri>() {
        Ok(uri) => System::rabbitmq(uri.authority.host, uri.authority.port),
        Err(_) => System { name: "rabbitmq", server: None },
    }
}

/// Connects. `purpose` is part of the name that the broker lists.
async fn connect(config: &AmqpConfig, purpose: &str) -> Result<Connection, LinkError> {
    let mut uri: AMQPUri = config.url.expose_secret().parse().map_err(|_| LinkError::Url)?;
    uri.query.heartbeat.get_or_insert(HEARTBEAT);
    let name = format!("{} ({purpose})", config.connection_name);
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let builder = ConnectionBuilder::new().map_err(|error| LinkError::Amqp("connect", error))?;
    let tls = OwnedTLSConfig { identity: None, cert_chain: config.certificate_authorities.clone() };
    let builder = builder.with_uri(uri).with_properties(properties).with_tls_config(tls);
    within("connect", CONNECT, builder.connect()).await
}

async fn channel(connection: &Connection) -> Result<Channel, LinkError> {
    within("open a channel", ANSWER, connection.create_channel()).await
}

/// Declares the topology. Where our user may declare nothing, all of it has to be there. Each on a channel of its own: a refusal
/// closes the channel.
async fn see_to_topology(connection: &Connection) -> Result<Care, LinkError> {
    match declare::all(&channel(connection).await?, Care::Make).await {
        Ok(()) => Ok(Care::Make),
        Err(error) if declare::is_refused(&error) => {
            tracing::debug!(?error, "This user declares nothing; looking whether all is there.");
            match declare::all(&channel(connection).await?, Care::Look).await {
                // What our user may not even look at is none of its business.
                Err(error) if declare::is_refused(&error) => Ok(Care::Look),
                looked => looked.map(|()| Care::Look),
            }
        }
        Err(error) => Err(error),
    }
}

/// A connection that publishes, with its one channel in confirm mode.
pub(super) struct PublishLink {
    connection: Connection,
    pub(super) channel: Channel,
}

impl PublishLink {
    /// Connects and sees to the topology.
    pub(super) async fn open(config: &AmqpConfig) -> Result<Self, LinkError> {
        let connection = connect(config, "publish").await?;
        see_to_topology(&connection).await?;
        let channel = channel(&connection).await?;
        let confirm = channel.confirm_select(ConfirmSelectOptions::default());
        within("ask for confirms", ANSWER, confirm).await?;
        Ok(Self { connection, channel })
    }

    /// Can be used, as far as is known.
    pub(super) fn is_up(&self) -> bool {
        self.connection.status().connected() && self.channel.status().connected()
    }

    /// The broker reads nothing from this connection for now.
    pub(super) fn is_blocked(&self) -> bool {
        self.connection.status().blocked()
    }

    /// Sees to the topology again.
    pub(super) async fn mend(&self) -> Result<(), LinkError> {
        see_to_topology(&self.connection).await.map(drop)
    }
}

/// The connection that consumes, shared by all subscriptions of a process.
#[derive(Debug)]
pub(super) struct Consuming {
    config: Arc<AmqpConfig>,
    current: Mutex<Option<Arc<Live>>>,
}

/// A connection, and what is done over it about what is missing on the broker.
#[derive(Debug)]
pub(super) struct Live {
    amqp: Connection,
    care: Care,
}

impl Live {
    fn is_up(&self) -> bool {
        self.amqp.status().connected()
    }
}

/// A channel of the consuming connection, and the connection it lives on.
///
/// Nothing may be sent on a channel that has been asked to close: the broker takes that for a breach of the protocol and
/// closes the whole connection. The library does not see to it, where one task sends and another closes.
pub(super) struct Session {
    pub(super) connection: Arc<Live>,
    pub(super) channel: Channel,
    used: Arc<RwLock<()>>,
}

impl Session {
    fn of(connection: Arc<Live>, channel: Channel) -> Self {
        Self { connection, channel, used: Arc::default() }
    }

    pub(super) fn is_up(&self) -> bool {
        self.connection.is_up() && self.channel.status().connected()
    }

    /// What is done about what is missing.
    pub(super) fn care(&self) -> Care {
        self.connection.care
    }

    /// Held by a task of its own for as long as it uses the channel. Nothing where the channel is about to be closed.
    pub(super) fn using(&self) -> Option<OwnedRwLockReadGuard<()>> {
        Arc::clone(&self.used).try_read_owned().ok()
    }

    /// Closes the channel, once nobody uses it; the broker takes back what is unsettled. One that does not answer is closed
    /// by its drop.
    pub(super) async fn close(&self) {
        let _unused = timeout(ANSWER, self.used.write()).await;
        let close = self.channel.close(200, "done".into());
        if let Err(error) = within("close a channel", ANSWER, close).await {
            tracing::debug!(?error, "A channel could not be closed.");
        }
    }
}

/// A consumer and the channel it lives on. Dropped, it closes the channel: only then does the broker take back what was
/// prefetched.
pub(super) struct Line {
    pub(super) session: Arc<Session>,
    pub(super) consumer: Consumer,
}

impl Line {
    pub(super) fn new(session: Session, consumer: Consumer) -> Self {
        Self { session: Arc::new(session), consumer }
    }
}

impl Drop for Line {
    /// Keeps the consumer until the channel is closed: one that is let go of before, the library cancels in a task of its
    /// own, which may come after the close.
    fn drop(&mut self) {
        let (session, consumer) = (Arc::clone(&self.session), self.consumer.clone());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                session.close().await;
                drop(consumer);
            });
        }
    }
}

impl Consuming {
    pub(super) fn new(config: Arc<AmqpConfig>) -> Self {
        Self { config, current: Mutex::new(None) }
    }

    /// The connection, made anew where it is down. Over a new one the topology is seen to, unless the broker is left as it is.
    pub(super) async fn connection(&self) -> Result<Arc<Live>, LinkError> {
        let mut current = self.current.lock().await;
        if let Some(connection) = current.as_ref().filter(|connection| connection.is_up()) {
            return Ok(Arc::clone(connection));
        }
        *current = None;
        let amqp = connect(&self.config, "consume").await?;
        let care = if self.config.declare { see_to_topology(&amqp).await? } else { Care::Look };
        let connection = Arc::new(Live { amqp, care });
        *current = Some(Arc::clone(&connection));
        Ok(connection)
    }

    /// A channel. A connection that gives none is replaced, once.
    pub(super) async fn session(&self) -> Result<Session, LinkError> {
        let connection = self.connection().await?;
        if let Ok(channel) = channel(&connection.amqp).await {
            return Ok(Session::of(connection, channel));
        }
        self.retire(&connection).await;
        let connection = self.connection().await?;
        let channel = channel(&connection.amqp).await?;
        Ok(Session::of(connection, channel))
    }

    /// Never to be handed out again.
    pub(super) async fn retire(&self, connection: &Arc<Live>) {
        let mut current = self.current.lock().await;
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, connection)) {
            *current = None;
        }
    }
}
