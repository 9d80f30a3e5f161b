//! The one task of a process that publishes.
//!
//! Whatever waits is sent in one batch, and the next batch only when every confirm of this one is in. That barrier is
//! what makes returned messages reliable: the client library hands a returned message to whichever confirm comes next,
//! so only the batch as a whole, and the message's own id, tell which it was.
//!
//! A connection that the broker has blocked is looked at until it is not any more, also where nothing is published.

use std::{
    collections::HashSet,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::try_join_all;
use lapin::{Confirmation, options::BasicPublishOptions, types::ShortString};
use tokio::{
    sync::{mpsc, oneshot},
    time::{interval, sleep},
};
use uuid::Uuid;

use super::{
    AmqpConfig,
    link::{LinkError, PublishLink, within},
    outgoing::Outgoing,
};
use crate::{bus::BusError, telemetry::consuming};

/// Requests taken together at most.
const REQUESTS: usize = 256;

/// A batch ends with the message that exceeds either.
const BATCH_MESSAGES: usize = 256;
const BATCH_BYTES: usize = 16 * 1024 * 1024;

/// Limit on sending a batch and getting all its confirms.
const CONFIRM: Duration = Duration::from_secs(30);

/// Links tried for one batch, and the pause after the first that failed; it doubles.
const LINKS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(100);

/// How often a wait looks whether the broker has blocked the connection, or still has.
const BLOCKED_POLL: Duration = Duration::from_millis(200);

/// A way to the task. It ends when the last one is dropped.
#[derive(Debug, Clone)]
pub(super) struct Publisher {
    requests: mpsc::Sender<Request>,
    blocked: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Request {
    messages: Vec<Outgoing>,
    reply: oneshot::Sender<Result<(), BusError>>,
}

/// Messages of a batch that the broker did not take.
#[derive(Debug, Default)]
struct Rejects {
    unroutable: HashSet<Uuid>,
    refused: HashSet<Uuid>,
}

impl Publisher {
    pub(super) fn start(config: Arc<AmqpConfig>) -> Self {
        let (requests, incoming) = mpsc::channel(REQUESTS);
        let blocked = Arc::new(AtomicBool::new(false));
        let task = Task { config, link: None, blocked: Arc::clone(&blocked) };
        tokio::spawn(task.run(incoming));
        Self { requests, blocked }
    }

    /// `Ok` when all are confirmed and routed.
    pub(super) async fn publish(&self, messages: Vec<Outgoing>) -> Result<(), BusError> {
        if messages.is_empty() { Ok(()) } else { self.ask(messages).await }
    }

    /// See [`Bus::prepare`](crate::bus::Bus::prepare).
    pub(super) async fn connect(&self) -> Result<(), BusError> {
        self.ask(Vec::new()).await
    }

    async fn ask(&self, messages: Vec<Outgoing>) -> Result<(), BusError> {
        let gone = || BusError::Unavailable { operation: "publish: the publisher has stopped", source: None };
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request { messages, reply }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// The broker accepts no messages for now.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }
}

struct Task {
    config: Arc<AmqpConfig>,
    link: Option<PublishLink>,
    blocked: Arc<AtomicBool>,
}

impl Task {
    async fn run(mut self, mut incoming: mpsc::Receiver<Request>) {
        let mut requests = Vec::with_capacity(REQUESTS);
        loop {
            let taken = tokio::select! {
                biased;
                taken = incoming.recv_many(&mut requests, REQUESTS) => taken,
                () = self.passed() => {
                    note(&self.blocked, false);
                    continue;
                }
            };
            if taken == 0 {
                return;
            }
            let messages: Vec<&Outgoing> = requests.iter().flat_map(|request| &request.messages).collect();
            let result = self.publish(&messages).await;
            for request in requests.drain(..) {
                // Who stopped waiting publishes again, or gets its own message again.
                drop(request.reply.send(answer(&request.messages, &result)));
            }
        }
    }

    /// Waits, where the broker is noted to accept nothing, until it does again. Whether it would of a connection that is
    /// gone, only the next one can tell.
    async fn passed(&self) {
        if !self.blocked.load(Ordering::Relaxed) {
            return pending().await;
        }
        while self.link.as_ref().is_some_and(|link| link.is_up() && link.is_blocked()) {
            sleep(BLOCKED_POLL).await;
        }
    }

    /// Of no messages: sees that there is a connection.
    async fn publish(&mut self, messages: &[&Outgoing]) -> Result<Rejects, LinkError> {
        let mut rejects = Rejects::default();
        if messages.is_empty() {
            self.link().await?;
        }
        for batch in batches(messages) {
            rejects.add(self.publish_batch(batch).await?);
        }
        Ok(rejects)
    }

    /// Publishes a batch over as many links as it takes, within reason.
    async fn publish_batch(&mut self, batch: &[&Outgoing]) -> Result<Rejects, LinkError> {
        let mut pause = PAUSE;
        for _ in 1..LINKS {
            match self.publish_once(batch).await {
                Err(error) if error.is_worth_another_link() => {
                    tracing::debug!(?error, "Publishing failed; connecting again.");
                    self.link = None;
                    sleep(pause).await;
                    pause *= 2;
                }
                result => return result,
            }
        }
        let result = self.publish_once(batch).await;
        if result.as_ref().is_err_and(LinkError::is_worth_another_link) {
            self.link = None;
        }
        result
    }

    /// A message that no queue wants gets a second chance after the topology was declared again.
    async fn publish_once(&mut self, batch: &[&Outgoing]) -> Result<Rejects, LinkError> {
        let blocked = Arc::clone(&self.blocked);
        let link = self.link().await?;
        let mut rejects = send(link, batch, &blocked).await?;
        if !rejects.unroutable.is_empty() {
            link.mend().await?;
            let again: Vec<&Outgoing> =
                batch.iter().copied().filter(|message| rejects.unroutable.contains(&message.id)).collect();
            let second = send(link, &again, &blocked).await?;
            rejects.unroutable = second.unroutable;
            rejects.refused.extend(second.refused);
        }
        Ok(rejects)
    }

    async fn link(&mut self) -> Result<&PublishLink, LinkError> {
        let link = match self.link.take().filter(PublishLink::is_up) {
            Some(link) => link,
            None => PublishLink::open(&self.config).await?,
        };
        Ok(self.link.insert(link))
    }
}

impl Rejects {
    fn add(&mut self, other: Self) {
        self.unroutable.extend(other.unroutable);
        self.refused.extend(other.refused);
    }
}

/// What one of the requests is told.
fn answer(messages: &[Outgoing], result: &Result<Rejects, LinkError>) -> Result<(), BusError> {
    let rejects = result.as_ref().map_err(|error| BusError::from(error.clone()))?;
    let mut unroutable = messages.iter().filter(|message| rejects.unroutable.contains(&message.id));
    if let Some(first) = unroutable.next() {
        return Err(BusError::Unroutable { count: 1 + unroutable.count(), routing_key: first.routing_key.clone() });
    }
    match messages.iter().filter(|message| rejects.refused.contains(&message.id)).count() {
        0 => Ok(()),
        count => Err(BusError::Refused { count }),
    }
}

/// Cuts by number and size.
fn batches<'a, 'b>(messages: &'a [&'b Outgoing]) -> Vec<&'a [&'b Outgoing]> {
    let mut batches = Vec::new();
    let (mut begin, mut bytes) = (0, 0);
    for (position, message) in messages.iter().enumerate() {
        bytes += message.body.len();
        let end = position + 1;
        if end - begin == BATCH_MESSAGES || bytes >= BATCH_BYTES || end == messages.len() {
            batches.push(&messages[begin..end]);
            (begin, bytes) = (end, 0);
        }
    }
    batches
}

/// Sends a batch and waits for all its confirms, but not for a broker that has stopped reading. Such a link is kept: a
/// new one would be blocked as well, and this one goes on when the alarm has passed. Nothing is given to one that is blocked
/// already: the library would keep it, and send it beside what is published again.
async fn send(link: &PublishLink, batch: &[&Outgoing], blocked: &AtomicBool) -> Result<Rejects, LinkError> {
    if link.is_blocked() {
        note(blocked, true);
        return Err(LinkError::Blocked);
    }
    let sending = within("publish", CONFIRM, confirmed(link, batch));
    tokio::pin!(sending);
    let mut poll = interval(BLOCKED_POLL);
    loop {
        tokio::select! {
            biased;
            result = &mut sending => {
                note(blocked, false);
                return result;
            }
            _ = poll.tick() => if link.is_blocked() {
                note(blocked, true);
                return Err(LinkError::Blocked);
            },
        }
    }
}

/// Whether the broker accepts nothing, and a line where that has changed.
fn note(noted: &AtomicBool, blocked: bool) {
    if noted.swap(blocked, Ordering::Relaxed) == blocked {
        return;
    }
    consuming::set_blocked(blocked);
    if blocked {
        tracing::warn!("The broker accepts no messages until its memory or disk alarm has passed.");
    } else {
        tracing::info!("The broker accepts messages again.");
    }
}

async fn confirmed(link: &PublishLink, batch: &[&Outgoing]) -> lapin::Result<Rejects> {
    // Each of these waits until the library's own thread has written its frames: all together, not one after another.
    let publishes = batch.iter().map(|message| {
        let key = ShortString::try_new(message.routing_key.as_str()).unwrap_or_default();
        let properties = message.properties.clone();
        let options = BasicPublishOptions { mandatory: message.mandatory, ..BasicPublishOptions::default() };
        link.channel.basic_publish(message.exchange.into(), key, options, &message.body, properties)
    });
    let confirms = try_join_all(publishes).await?;
    let mut rejects = Rejects::default();
    for (message, confirmation) in batch.iter().zip(try_join_all(confirms).await?) {
        if confirmation.is_nack() {
            rejects.refused.insert(message.id);
        }
        rejects.unroutable.extend(returned_id(confirmation));
    }
    // Returned messages that the library did not hand to any confirm.
    for returned in link.channel.wait_for_confirms().await? {
        rejects.unroutable.extend(id(returned.delivery.properties.message_id().as_ref()));
    }
    Ok(rejects)
}

fn returned_id(confirmation: Confirmation) -> Option<Uuid> {
    let returned = confirmation.take_message()?;
    id(returned.delivery.properties.message_id().as_ref())
}

fn id(text: Option<&ShortString>) -> Option<Uuid> {
    Uuid::parse_str(text?.as_str()).ok()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use lapin::BasicProperties;

    use super::*;

    fn of_size(size: usize) -> Outgoing {
        let properties = BasicProperties::default();
        let body = Bytes::from(vec![0; size]);
        let routing_key = "rollcall.write".to_owned();
        Outgoing { id: Uuid::new_v4(), exchange: "", routing_key, properties, body, mandatory: true }
    }

    #[test]
    fn batches_hold_every_message_once_and_keep_their_limits() {
        let sizes = [1; 700].into_iter().chain([BATCH_BYTES, 5, BATCH_BYTES / 2, BATCH_BYTES / 2, 7]);
        let messages: Vec<Outgoing> = sizes.map(of_size).collect();
        let all: Vec<&Outgoing> = messages.iter().collect();
        let batches = batches(&all);
        let lengths: Vec<usize> = batches.iter().map(|batch| batch.len()).collect();
        assert_eq!(lengths, [256, 256, 189, 3, 1]);
        let ids: Vec<Uuid> = batches.concat().iter().map(|message| message.id).collect();
        assert_eq!(ids, messages.iter().map(|message| message.id).collect::<Vec<_>>());
    }

    #[test]
    fn a_request_hears_of_its_own_messages_only() {
        let (good, unrouted, refused) = (of_size(1), of_size(1), of_size(1));
        let rejects = Rejects { unroutable: HashSet::from([unrouted.id]), refused: HashSet::from([refused.id]) };
        let result = Ok(rejects);
        assert!(answer(std::slice::from_ref(&good), &result).is_ok());
        assert!(matches!(answer(&[good.clone(), unrouted], &result), Err(BusError::Unroutable { count: 1, .. })));
        assert!(matches!(answer(&[good, refused], &result), Err(BusError::Refused { count: 1 })));
    }
}
