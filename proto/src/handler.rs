//! What a service does with a message, and the loop around it that decides the message's fate.
//!
//! A handler sees neither channel nor delivery tag. It returns a [`Fate`]; [`worker`](crate::bus::worker) settles.

use std::time::Duration;

use async_trait::async_trait;
use tracing::Span;

use crate::message::Message;

/// What becomes of a message. There is no fourth kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Fate {
    /// Its effects are committed and its follow-ups confirmed.
    Done,
    /// Something passing is in the way: again later.
    Retry(Retry),
    /// A person has to look: kept, with a reason code.
    Park(Park),
}

/// Why and when a message is to be handled again.
#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    /// Reason code, such as `store-unavailable`; it becomes the parking reason when attempts run out.
    pub reason: &'static str,
    /// For the log; ids only, no student fact.
    pub detail: String,
    /// Not before this long; the bus may round up to its next retry tier.
    pub after: Duration,
    /// Waiting for somebody else rather than failing (a rate limit, an earlier run): costs no attempt.
    pub free: bool,
}

/// Why a message is kept aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Park {
    /// Reason code, listed in `docs/runbooks/reasons.md`.
    pub reason: &'static str,
    /// For people; ids, line and column only, no student fact.
    pub detail: String,
}

impl Fate {
    /// A failed attempt that may go well later.
    pub fn retry(reason: &'static str, detail: impl Into<String>, after: Duration) -> Self {
        Self::Retry(Retry { reason, detail: detail.into(), after, free: false })
    }

    /// A wait that is nobody's failure.
    pub fn wait(reason: &'static str, detail: impl Into<String>, after: Duration) -> Self {
        Self::Retry(Retry { reason, detail: detail.into(), after, free: true })
    }

    /// Itself where it is a wait that is nobody's failure.
    pub fn if_waiting(self) -> Option<Self> {
        matches!(&self, Self::Retry(retry) if retry.free).then_some(self)
    }

    /// Itself, but `parked` in place of one more failed attempt: for a message whose attempts have run out.
    #[must_use]
    pub fn or_park(self, parked: Self) -> Self {
        if matches!(&self, Self::Retry(retry) if !retry.free) { parked } else { self }
    }

    /// To be looked at by a person.
    pub fn park(reason: &'static str, detail: impl Into<String>) -> Self {
        Self::Park(Park { reason, detail: detail.into() })
    }
}

/// For log lines of what is done for the run of `message`, where a group has messages of several.
pub fn of_run(message: &Message) -> Span {
    tracing::info_span!("run", run = %message.run, district = %message.district)
}

/// A service's work on the messages of one queue.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Handles one message. Must be idempotent: every message can come twice, late, and out of order.
    async fn handle(&self, message: Message) -> Fate;

    /// How many messages [`Handler::handle_together`] is given at most; 1 where it is not made for more.
    fn together(&self) -> usize {
        1
    }

    /// Handles messages that waited together, where that costs less than one by one; a fate for each, in their order.
    /// What is done for one of several runs is done within [`of_run`].
    /// `None` (or a panic): whatever went wrong concerns one of them or all, and they are handled one by one.
    async fn handle_together(&self, messages: Vec<Message>) -> Option<Vec<Fate>> {
        let _ = messages;
        None
    }

    /// Called when attempts have run out, before the message is parked as `retry.reason`, so that the run can account
    /// for it. What it returns is what happens.
    async fn exhausted(&self, message: Message, retry: Retry) -> Fate {
        let _ = message;
        Fate::Park(Park { reason: retry.reason, detail: retry.detail })
    }
}
