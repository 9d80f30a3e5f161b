//! The model bus: what a broker promises and nothing more, decided by the dice.
//!
//! Promised ([`rollcall_proto::bus`]): what was confirmed is delivered until it is settled. Not promised: order, once, soon,
//! and that an error means that nothing was published. A wipe loses everything, as a broker's data directory does.
//!
//! Neighbours: the scheduler decides which message goes to which worker, and when ([`Broker::due`], [`Broker::grant`]).

mod process;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use rollcall_proto::{
    bus::{Delivery, Parked, ParkedFilter, QueueDepth},
    clock::Clock as _,
    codec::Wire,
    handler::{Park, Retry},
    id::{DistrictId, RunId},
    message::Message,
    topology::{Queue, queue_of},
};
use tokio::sync::Notify;
use uuid::Uuid;

pub(crate) use process::ProcessBus;

use crate::{clock::VirtualClock, dice::Dice};

/// How often something befalls the bus, per mille.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct BusWeather {
    /// A message is stored twice.
    pub(crate) doubled: u64,
    /// A message is put off, by up to a few minutes; rarely by a day.
    pub(crate) delayed: u64,
    /// A publish fails: nothing of it, a part, or all of it was stored.
    pub(crate) refused: u64,
    /// An acknowledgement is lost, and the message comes again.
    pub(crate) unheard: u64,
    /// A handler is stopped for a while before it publishes.
    pub(crate) stopped: u64,
}

/// A message in a queue.
#[derive(Debug, Clone)]
struct Stored {
    tag: u64,
    id: Uuid,
    kind: String,
    district: DistrictId,
    run: RunId,
    wire: Wire,
    attempt: u32,
    due: DateTime<Utc>,
}

/// A message with whoever works on it.
#[derive(Debug)]
struct OnHand {
    process: usize,
    queue: Queue,
    stored: Stored,
}

#[derive(Debug, Default)]
struct State {
    queues: BTreeMap<Queue, Vec<Stored>>,
    granted: BTreeMap<(usize, Queue), VecDeque<Stored>>,
    on_hand: BTreeMap<u64, OnHand>,
    parked: Vec<(Parked, Stored)>,
    tags: u64,
    away_until: Option<DateTime<Utc>>,
    weather: BusWeather,
    counts: BusCounts,
}

/// What befell the bus so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct BusCounts {
    pub(crate) delivered: u64,
    pub(crate) doubled: u64,
    pub(crate) refused: u64,
    pub(crate) lost: u64,
    pub(crate) again: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Broker {
    state: Mutex<State>,
    wakers: Mutex<BTreeMap<(usize, Queue), Arc<Notify>>>,
    clock: VirtualClock,
    dice: Dice,
}

impl Broker {
    pub(crate) fn new(clock: VirtualClock, dice: Dice) -> Self {
        Self { state: Mutex::default(), wakers: Mutex::default(), clock, dice }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_weather(&self, weather: BusWeather) {
        self.state().weather = weather;
    }

    fn weather(&self) -> BusWeather {
        self.state().weather
    }

    pub(crate) fn counts(&self) -> BusCounts {
        self.state().counts
    }

    /// Nobody reaches the broker for so long.
    pub(crate) fn go_away(&self, length: Duration) {
        self.state().away_until = Some(self.clock.now() + length);
    }

    /// It can be reached again.
    pub(crate) fn come_back(&self) {
        self.state().away_until = None;
    }

    pub(crate) fn is_away(&self) -> bool {
        self.state().away_until.is_some_and(|until| self.clock.now() < until)
    }

    /// The broker's data is gone: what waits, what is with workers, what is parked.
    pub(crate) fn wipe(&self) {
        let mut state = self.state();
        let lost = state.queues.values().map(Vec::len).sum::<usize>() + state.on_hand.len() + state.parked.len();
        state.counts.lost += lost as u64;
        (state.queues, state.parked) = (BTreeMap::new(), Vec::new());
        // Those who hold messages may go on and settle what is not there any more.
        state.on_hand.clear();
    }

    /// Queues with messages that may be delivered now.
    pub(crate) fn due(&self) -> Vec<Queue> {
        if self.is_away() {
            return Vec::new();
        }
        let now = self.clock.now();
        let state = self.state();
        let due = state.queues.iter().filter(|(_, waiting)| waiting.iter().any(|message| message.due <= now));
        due.map(|(queue, _)| *queue).collect()
    }

    /// When the next message that was put off comes due.
    pub(crate) fn next_due(&self) -> Option<DateTime<Utc>> {
        self.state().queues.values().flatten().map(|message| message.due).min()
    }

    /// Gives up to `most` messages that are due to a worker, in any order; their tags.
    pub(crate) fn grant(&self, process: usize, queue: Queue, most: usize, in_order: bool) -> Vec<u64> {
        let now = self.clock.now();
        let mut state = self.state();
        let mut tags = Vec::new();
        while tags.len() < most {
            let waiting = state.queues.entry(queue).or_default();
            let due: Vec<usize> = (0..waiting.len()).filter(|place| waiting[*place].due <= now).collect();
            let Some(place) = (if in_order { due.first().copied() } else { self.dice.pick(&due) }) else { break };
            let stored = waiting.remove(place);
            tags.push(stored.tag);
            state.counts.delivered += 1;
            state.on_hand.insert(stored.tag, OnHand { process, queue, stored: stored.clone() });
            state.granted.entry((process, queue)).or_default().push_back(stored);
        }
        drop(state);
        self.waker(process, queue).notify_one();
        tags
    }

    /// A process has gone: what it had comes again.
    pub(crate) fn gone(&self, process: usize) {
        let mut state = self.state();
        state.granted.retain(|(owner, _), _| *owner != process);
        let tags: Vec<u64> =
            state.on_hand.iter().filter(|(_, one)| one.process == process).map(|(tag, _)| *tag).collect();
        for tag in tags {
            let Some(OnHand { queue, stored, .. }) = state.on_hand.remove(&tag) else { continue };
            state.counts.again += 1;
            state.queues.entry(queue).or_default().push(stored);
        }
    }

    fn waker(&self, process: usize, queue: Queue) -> Arc<Notify> {
        let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(wakers.entry((process, queue)).or_default())
    }

    fn next_granted(&self, process: usize, queue: Queue) -> Option<Delivery> {
        let stored = self.state().granted.get_mut(&(process, queue))?.pop_front()?;
        Some(Delivery::outside(stored.wire, stored.attempt, stored.tag))
    }

    /// Stores a message, perhaps twice, perhaps for later.
    fn store(&self, message: &Message, wire: &Wire) {
        let weather = self.weather();
        let copies = 1 + u64::from(self.dice.chance(weather.doubled));
        self.state().counts.doubled += copies - 1;
        for _ in 0..copies {
            let due = self.clock.now() + self.delay(weather);
            let mut state = self.state();
            state.tags += 1;
            let stored = Stored {
                tag: state.tags,
                id: message.id,
                kind: rollcall_proto::codec::Kind::of(&message.body).as_str().to_owned(),
                district: message.district.clone(),
                run: message.run,
                wire: wire.clone(),
                attempt: message.attempt,
                due,
            };
            state.queues.entry(queue_of(&message.body)).or_default().push(stored);
        }
    }

    fn delay(&self, weather: BusWeather) -> Duration {
        if !self.dice.chance(weather.delayed) {
            return Duration::ZERO;
        }
        let most = if self.dice.chance(20) { 24 * 3_600 } else { 300 };
        Duration::from_secs(self.dice.between(1, most))
    }

    /// Takes a message out of its worker's hands. `None`: the broker knows nothing of it any more.
    fn take(&self, tag: u64) -> Option<(Queue, Stored)> {
        self.state().on_hand.remove(&tag).map(|on_hand| (on_hand.queue, on_hand.stored))
    }

    fn settle_done(&self, tag: u64) {
        let Some((queue, stored)) = self.take(tag) else { return };
        if self.is_away() || self.dice.chance(self.weather().unheard) {
            self.put_back(queue, stored);
        }
    }

    fn settle_retry(&self, tag: u64, retry: &Retry) {
        let Some((queue, stored)) = self.take(tag) else { return };
        let after = retry.after.min(rollcall_proto::bus::LONGEST_RETRY);
        // The tiers of a real broker round up.
        let due = self.clock.now() + after + Duration::from_secs(self.dice.below(10));
        self.put_back(queue, Stored { attempt: stored.attempt + u32::from(!retry.free), due, ..stored });
    }

    fn settle_parked(&self, tag: u64, park: &Park) {
        let Some((queue, stored)) = self.take(tag) else { return };
        let parked = Parked {
            id: stored.id,
            queue,
            kind: stored.kind.clone(),
            reason: park.reason.to_owned(),
            detail: park.detail.clone(),
            district: Some(stored.district.clone()),
            run: Some(stored.run),
            parked_at: self.clock.now(),
        };
        self.state().parked.push((parked, stored));
    }

    fn put_back(&self, queue: Queue, stored: Stored) {
        let mut state = self.state();
        state.counts.again += 1;
        state.queues.entry(queue).or_default().push(stored);
    }

    fn depths(&self) -> Vec<QueueDepth> {
        let state = self.state();
        let depth = |queue: Queue| QueueDepth {
            queue,
            waiting: state.queues.get(&queue).map_or(0, Vec::len) as u64,
            parked: state.parked.iter().filter(|(parked, _)| parked.queue == queue).count() as u64,
            consumers: None,
        };
        Queue::ALL.into_iter().map(depth).collect()
    }

    /// What is parked.
    pub(crate) fn parked(&self, queue: Queue, filter: &ParkedFilter) -> Vec<Parked> {
        let state = self.state();
        let meant = |parked: &&Parked| parked.queue == queue && filter.admits(parked);
        let found = state.parked.iter().map(|(parked, _)| parked).filter(meant);
        found.take(filter.limit.unwrap_or(usize::MAX)).cloned().collect()
    }

    fn replay(&self, queue: Queue, filter: &ParkedFilter) -> Vec<Parked> {
        let replayed = self.parked(queue, filter);
        let mut state = self.state();
        for parked in &replayed {
            let place = state.parked.iter().position(|(one, _)| one == parked);
            let Some((_, stored)) = place.map(|place| state.parked.remove(place)) else { continue };
            state.queues.entry(queue).or_default().push(Stored { attempt: 0, due: self.clock.now(), ..stored });
        }
        replayed
    }

    fn purge(&self, queue: Queue) -> u64 {
        let mut state = self.state();
        let purged = state.queues.remove(&queue).map_or(0, |waiting| waiting.len() as u64);
        state.counts.lost += purged;
        purged
    }
}
