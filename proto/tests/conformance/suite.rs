//! The contract of `Bus` and `Subscription`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use rollcall_proto::{
    bus::{Outcome, Parked, ParkedFilter, Subscription},
    handler::{Park, Retry},
    id::RunId,
    message::Message,
    topology::{Queue, queue_of},
};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};
use uuid::Uuid;

use super::{LIMIT, QUIET, World, assert_quiet, next, parked_count, until, waiting_count};
use crate::samples::{fetch, one_of_each, page};

fn retry(after: Duration, free: bool) -> Retry {
    Retry { reason: "store-unavailable", detail: "try again".to_owned(), after, free }
}

fn park(reason: &'static str) -> Park {
    Park { reason, detail: "line 3, column 7".to_owned() }
}

async fn park_next(subscription: &mut Box<dyn Subscription>, reason: &'static str) -> Uuid {
    let delivery = next(subscription).await;
    let id = delivery.message.as_ref().unwrap().id;
    subscription.park(&delivery, &park(reason)).await.unwrap();
    id
}

pub async fn every_kind_reaches_its_queue_unchanged(world: &impl World) {
    let sent = one_of_each();
    world.bus().publish(&sent).await.unwrap();
    for queue in Queue::ALL {
        let mut expected: BTreeMap<Uuid, &Message> = sent
            .iter()
            .filter(|message| queue_of(&message.body) == queue)
            .map(|message| (message.id, message))
            .collect();
        assert!(!expected.is_empty(), "{queue:?}");
        let mut subscription = world.bus().subscribe(queue, 10).await.unwrap();
        while !expected.is_empty() {
            let delivery = next(&mut subscription).await;
            let message = delivery.message.as_ref().unwrap();
            assert_eq!(expected.remove(&message.id), Some(message), "{queue:?}");
            subscription.ack(delivery).await.unwrap();
        }
        assert_eq!(timeout(QUIET, subscription.next()).await.map(drop).ok(), None, "{queue:?}");
    }
}

pub async fn an_empty_batch_is_published(world: &impl World) {
    world.bus().publish(&[]).await.unwrap();
    world.bus().check().await.unwrap();
    assert!(world.bus().depths().await.unwrap().iter().all(|depth| depth.waiting == 0 && depth.parked == 0));
}

pub async fn no_more_than_the_prefetch_is_unsettled(world: &impl World) {
    world.bus().publish(&(0..20).map(fetch).collect::<Vec<_>>()).await.unwrap();
    let mut subscription = world.bus().subscribe(Queue::Fetch, 5).await.unwrap();
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(next(&mut subscription).await);
    }
    assert_quiet(&mut subscription).await;
    subscription.ack(held.pop().unwrap()).await.unwrap();
    held.push(next(&mut subscription).await);
    assert_quiet(&mut subscription).await;
}

pub async fn what_is_acknowledged_is_gone(world: &impl World) {
    world.bus().publish(&(0..7).map(fetch).collect::<Vec<_>>()).await.unwrap();
    let mut subscription = world.bus().subscribe(Queue::Fetch, 10).await.unwrap();
    for _ in 0..7 {
        let delivery = next(&mut subscription).await;
        subscription.ack(delivery).await.unwrap();
    }
    drop(subscription);
    until("the queue is empty", async || waiting_count(&world.bus(), Queue::Fetch).await == 0).await;
    let mut again = world.bus().subscribe(Queue::Fetch, 10).await.unwrap();
    assert_quiet(&mut again).await;
}

pub async fn what_is_not_settled_comes_again(world: &impl World) {
    let sent: Vec<Message> = (0..9).map(fetch).collect();
    world.bus().publish(&sent).await.unwrap();
    let mut first = world.bus().subscribe(Queue::Fetch, 4).await.unwrap();
    let settled = next(&mut first).await;
    let settled_id = settled.message.as_ref().unwrap().id;
    let unsettled = [next(&mut first).await, next(&mut first).await];
    first.ack(settled).await.unwrap();
    drop(first);
    drop(unsettled);
    let mut second = world.bus().subscribe(Queue::Fetch, 10).await.unwrap();
    let mut seen = BTreeSet::from([settled_id]);
    while seen.len() < sent.len() {
        let delivery = next(&mut second).await;
        let message = delivery.message.as_ref().unwrap();
        assert_eq!(message.attempt, 0, "coming again is no failed attempt");
        seen.insert(message.id);
        second.ack(delivery).await.unwrap();
    }
    assert_eq!(seen, sent.iter().map(|message| message.id).collect());
    assert_quiet(&mut second).await;
}

pub async fn a_retry_comes_later_with_its_attempt_raised(world: &impl World) {
    let sent = fetch(1);
    world.bus().publish(std::slice::from_ref(&sent)).await.unwrap();
    let mut subscription = world.bus().subscribe(Queue::Fetch, 1).await.unwrap();
    for attempt in 0..3 {
        let delivery = next(&mut subscription).await;
        let expected = Message { attempt, ..sent.clone() };
        assert_eq!(delivery.message.as_ref(), Ok(&expected));
        let wait = Duration::from_secs(1);
        let begun = Instant::now();
        subscription.retry(&delivery, &retry(wait, false)).await.unwrap();
        if attempt == 0 {
            let again = next(&mut subscription).await;
            // The broker counts its milliseconds by another clock.
            assert!(begun.elapsed() > wait.mul_f32(0.95), "came after {:?}", begun.elapsed());
            assert!(begun.elapsed() < wait * 20, "came after {:?}", begun.elapsed());
            subscription.retry(&again, &retry(Duration::ZERO, true)).await.unwrap();
        }
    }
}

pub async fn a_free_retry_costs_no_attempt(world: &impl World) {
    let sent = fetch(1);
    world.bus().publish(std::slice::from_ref(&sent)).await.unwrap();
    let mut subscription = world.bus().subscribe(Queue::Fetch, 1).await.unwrap();
    for _ in 0..3 {
        let delivery = next(&mut subscription).await;
        assert_eq!(delivery.message.as_ref(), Ok(&sent));
        subscription.retry(&delivery, &retry(Duration::from_millis(100), true)).await.unwrap();
    }
    let delivery = next(&mut subscription).await;
    assert_eq!(delivery.message.as_ref().unwrap().attempt, 0);
    subscription.ack(delivery).await.unwrap();
}

pub async fn parked_messages_are_listed_by_filter_and_stay(world: &impl World) {
    let other_run = RunId(Uuid::from_u128(0x0193_a5b0_0000_7000_8000_0000_0000_00bb));
    let mut sent: Vec<Message> = (0..4).map(fetch).collect();
    sent[1].district = "other-isd".parse().unwrap();
    sent[2].run = other_run;
    world.bus().publish(&sent).await.unwrap();
    let mut subscription = world.bus().subscribe(Queue::Fetch, 1).await.unwrap();
    let mut order = Vec::new();
    for reason in ["undecodable", "undecodable", "undecodable", "panic"] {
        order.push(park_next(&mut subscription, reason).await);
    }
    drop(subscription);

    let all = ParkedFilter::default();
    let list = async |filter: &ParkedFilter| world.bus().parked(Queue::Fetch, filter).await.unwrap();
    let ids = |parked: Vec<Parked>| parked.into_iter().map(|parked| parked.id).collect::<Vec<_>>();
    assert_eq!(ids(list(&all).await), order, "oldest first");
    let first = list(&all).await.into_iter().find(|parked| parked.id == sent[0].id).unwrap();
    assert_eq!((first.queue, first.kind.as_str()), (Queue::Fetch, "fetch.page"));
    assert_eq!((first.reason.as_str(), first.detail.as_str()), ("undecodable", "line 3, column 7"));
    assert_eq!((first.district.as_ref(), first.run), (Some(&sent[0].district), Some(sent[0].run)));
    assert!(first.parked_at > sent[0].time, "{}", first.parked_at);

    let of_district = ParkedFilter { district: Some(sent[1].district.clone()), ..all.clone() };
    assert_eq!(ids(list(&of_district).await), [sent[1].id]);
    let of_run = ParkedFilter { run: Some(other_run), ..all.clone() };
    assert_eq!(ids(list(&of_run).await), [sent[2].id]);
    let of_reason = ParkedFilter { reason: Some("panic".to_owned()), ..all.clone() };
    assert_eq!(ids(list(&of_reason).await), order[3..]);
    let two = ParkedFilter { limit: Some(2), ..all.clone() };
    assert_eq!(ids(list(&two).await), order[..2]);
    let none = ParkedFilter { reason: Some("no-such".to_owned()), ..all.clone() };
    assert_eq!(ids(list(&none).await), [] as [Uuid; 0]);
    assert_eq!(ids(list(&all).await), order, "looking takes nothing away");
    assert_eq!(world.bus().parked(Queue::Write, &all).await.unwrap(), []);
}

pub async fn a_replay_keeps_the_id_and_counts_attempts_anew(world: &impl World) {
    let sent: Vec<Message> = (0..3).map(fetch).collect();
    world.bus().publish(&sent).await.unwrap();
    let mut subscription = world.bus().subscribe(Queue::Fetch, 1).await.unwrap();
    let first = next(&mut subscription).await;
    subscription.retry(&first, &retry(Duration::ZERO, false)).await.unwrap();
    for _ in 0..3 {
        park_next(&mut subscription, "panic").await;
    }
    let one = ParkedFilter { reason: Some("panic".to_owned()), limit: Some(1), ..ParkedFilter::default() };
    let oldest = world.bus().parked(Queue::Fetch, &one).await.unwrap();
    assert_eq!(world.bus().replay(Queue::Fetch, &one).await.unwrap(), oldest);
    assert_eq!(next_and_ack(&mut subscription).await.id, oldest[0].id);
    until("two stay", async || parked_count(&world.bus(), Queue::Fetch).await == 2).await;

    let rest = world.bus().replay(Queue::Fetch, &ParkedFilter::default()).await.unwrap();
    assert_eq!(rest.len(), 2);
    let mut back = BTreeSet::from([oldest[0].id]);
    for _ in 0..2 {
        let message = next_and_ack(&mut subscription).await;
        let original = sent.iter().find(|sent| sent.id == message.id).unwrap();
        assert_eq!(&message, original, "attempt and all");
        back.insert(message.id);
    }
    assert_eq!(back.len(), 3);
    assert_eq!(world.bus().parked(Queue::Fetch, &ParkedFilter::default()).await.unwrap(), []);
    assert_eq!(world.bus().replay(Queue::Fetch, &ParkedFilter::default()).await.unwrap(), []);
}

async fn next_and_ack(subscription: &mut Box<dyn Subscription>) -> Message {
    let delivery = next(subscription).await;
    let message = delivery.message.clone().unwrap();
    subscription.ack(delivery).await.unwrap();
    message
}

pub async fn parked_messages_are_found_by_age(world: &impl World) {
    world.bus().publish(&[fetch(0), fetch(1)]).await.unwrap();
    let mut subscription = world.bus().subscribe(Queue::Fetch, 1).await.unwrap();
    park_next(&mut subscription, "panic").await;
    let all = ParkedFilter::default();
    let first = world.bus().parked(Queue::Fetch, &all).await.unwrap().remove(0);
    park_next(&mut subscription, "panic").await;
    let second = world.bus().parked(Queue::Fetch, &all).await.unwrap().remove(1);
    assert!(first.parked_at < second.parked_at);
    let moment = Some(second.parked_at);
    let before = ParkedFilter { before: moment, ..all.clone() };
    assert_eq!(world.bus().parked(Queue::Fetch, &before).await.unwrap(), [first]);
    let since = ParkedFilter { since: moment, ..all };
    assert_eq!(world.bus().parked(Queue::Fetch, &since).await.unwrap(), std::slice::from_ref(&second));
    assert_eq!(world.bus().replay(Queue::Fetch, &since).await.unwrap(), [second]);
}

pub async fn what_is_discarded_is_gone_and_the_rest_stays(world: &impl World) {
    let mut sent: Vec<Message> = (0..3).map(fetch).collect();
    sent[1].district = "other-isd".parse().unwrap();
    world.bus().publish(&sent).await.unwrap();
    let mut subscription = world.bus().subscribe(Queue::Fetch, 1).await.unwrap();
    for _ in 0..3 {
        park_next(&mut subscription, "panic").await;
    }
    let of_district = ParkedFilter { district: Some(sent[1].district.clone()), ..ParkedFilter::default() };
    let discarded = world.bus().discard(Queue::Fetch, &of_district).await.unwrap();
    assert_eq!(discarded.iter().map(|parked| parked.id).collect::<Vec<_>>(), [sent[1].id]);
    let by_id = |id| ParkedFilter { ids: Some(BTreeSet::from([id])), ..ParkedFilter::default() };
    assert_eq!(world.bus().discard(Queue::Fetch, &by_id(sent[1].id)).await.unwrap(), [], "it is gone");
    let left = world.bus().parked(Queue::Fetch, &ParkedFilter::default()).await.unwrap();
    let left: BTreeSet<Uuid> = left.into_iter().map(|parked| parked.id).collect();
    assert_eq!(left, BTreeSet::from([sent[0].id, sent[2].id]));
    assert_eq!(world.bus().discard(Queue::Fetch, &by_id(sent[2].id)).await.unwrap().len(), 1);
    let left = world.bus().parked(Queue::Fetch, &ParkedFilter::default()).await.unwrap();
    assert_eq!(left.iter().map(|parked| parked.id).collect::<Vec<_>>(), [sent[0].id]);
    assert_quiet(&mut subscription).await;
}

/// Of three that go back to work, one is done at once, one after a retry, and one is parked again.
pub async fn a_watched_replay_tells_what_becomes_of_each(world: &impl World) {
    let sent: Vec<Message> = (0..4).map(fetch).collect();
    world.bus().publish(&sent).await.unwrap();
    let mut subscription = world.bus().subscribe(Queue::Fetch, 1).await.unwrap();
    for _ in 0..4 {
        park_next(&mut subscription, "panic").await;
    }
    let mut replay = world.bus().watched_replay(Queue::Fetch).await.unwrap();
    let three = ParkedFilter { limit: Some(3), ..ParkedFilter::default() };
    let put = replay.replay(&three).await.unwrap();
    assert_eq!(put.len(), 3);
    assert_eq!(replay.outcomes(QUIET).await.unwrap(), [], "nobody has settled anything yet");

    let done = next_and_ack(&mut subscription).await.id;
    assert_eq!(replay.outcomes(LIMIT).await.unwrap(), [(done, Outcome::Done)]);
    let again = park_next(&mut subscription, "panic").await;
    assert_eq!(replay.outcomes(LIMIT).await.unwrap(), [(again, Outcome::Parked)]);
    let delivery = next(&mut subscription).await;
    subscription.retry(&delivery, &retry(Duration::ZERO, false)).await.unwrap();
    let late = next_and_ack(&mut subscription).await.id;
    assert_eq!(replay.outcomes(LIMIT).await.unwrap(), [(late, Outcome::Done)]);
    assert_eq!(replay.outcomes(Duration::ZERO).await.unwrap(), [], "each is told once");
    assert_eq!(BTreeSet::from([done, again, late]), put.iter().map(|parked| parked.id).collect());

    // Who watched is gone; the messages go their way all the same.
    drop(replay);
    assert_eq!(world.bus().replay(Queue::Fetch, &ParkedFilter::default()).await.unwrap().len(), 2);
    for _ in 0..2 {
        next_and_ack(&mut subscription).await;
    }
    until("none is parked", async || parked_count(&world.bus(), Queue::Fetch).await == 0).await;
}

pub async fn a_parked_message_can_be_parked_and_replayed_again(world: &impl World) {
    let sent = fetch(1);
    world.bus().publish(std::slice::from_ref(&sent)).await.unwrap();
    let mut subscription = world.bus().subscribe(Queue::Fetch, 1).await.unwrap();
    for reason in ["panic", "undecodable", "unknown-kind"] {
        assert_eq!(park_next(&mut subscription, reason).await, sent.id);
        let replayed = world.bus().replay(Queue::Fetch, &ParkedFilter::default()).await.unwrap();
        assert_eq!(
            replayed.iter().map(|parked| (parked.id, parked.reason.as_str())).collect::<Vec<_>>(),
            [(sent.id, reason)]
        );
    }
    assert_eq!(next_and_ack(&mut subscription).await, sent);
}

/// As a replay leaves it that is killed between publishing and acknowledging, when its message is parked again.
async fn park_with_a_copy(world: &impl World) -> Vec<Uuid> {
    let mut sent: Vec<Message> = (0..3).map(fetch).collect();
    sent[2].district = "other-isd".parse().unwrap();
    let in_order = [&sent[0], &sent[1], &sent[0], &sent[2]].map(Clone::clone);
    let mut subscription = world.bus().subscribe(Queue::Fetch, 1).await.unwrap();
    let mut parked = Vec::new();
    for message in in_order {
        world.bus().publish(&[message]).await.unwrap();
        parked.push(park_next(&mut subscription, "panic").await);
    }
    parked
}

pub async fn what_lies_behind_a_copy_is_found(world: &impl World) {
    let parked = park_with_a_copy(world).await;
    let all = ParkedFilter::default();
    let behind = ParkedFilter { district: Some("other-isd".parse().unwrap()), ..all.clone() };
    let ids = |parked: Vec<Parked>| parked.into_iter().map(|parked| parked.id).collect::<Vec<_>>();
    assert_eq!(ids(world.bus().parked(Queue::Fetch, &all).await.unwrap()), parked, "as many as are parked");
    assert_eq!(ids(world.bus().parked(Queue::Fetch, &behind).await.unwrap()), parked[3..]);
    assert_eq!(ids(world.bus().replay(Queue::Fetch, &behind).await.unwrap()), parked[3..]);
    assert_eq!(ids(world.bus().replay(Queue::Fetch, &all).await.unwrap()), parked[..3]);
    let mut subscription = world.bus().subscribe(Queue::Fetch, 1).await.unwrap();
    let mut back = Vec::new();
    for _ in 0..4 {
        back.push(next_and_ack(&mut subscription).await.id);
    }
    back.sort_unstable();
    let mut expected = parked;
    expected.sort_unstable();
    assert_eq!(back, expected);
    until("none is parked", async || parked_count(&world.bus(), Queue::Fetch).await == 0).await;
}

/// Of three copies two go back: one is done and one parked again. The third is parked all along, which is nobody's failure.
pub async fn a_copy_that_stays_parked_is_not_parked_again(world: &impl World) {
    let sent = fetch(1);
    let mut subscription = world.bus().subscribe(Queue::Fetch, 1).await.unwrap();
    for _ in 0..3 {
        world.bus().publish(std::slice::from_ref(&sent)).await.unwrap();
        park_next(&mut subscription, "panic").await;
    }
    let mut replay = world.bus().watched_replay(Queue::Fetch).await.unwrap();
    let one = ParkedFilter { limit: Some(1), ..ParkedFilter::default() };
    assert_eq!(replay.replay(&one).await.unwrap().len(), 1);
    assert_eq!(replay.outcomes(QUIET).await.unwrap(), [], "nobody has settled it yet");
    next_and_ack(&mut subscription).await;
    assert_eq!(replay.outcomes(LIMIT).await.unwrap(), [(sent.id, Outcome::Done)]);

    let rest = replay.replay(&ParkedFilter::default()).await.unwrap();
    assert_eq!(rest.iter().map(|parked| parked.id).collect::<Vec<_>>(), [sent.id, sent.id]);
    park_next(&mut subscription, "panic").await;
    assert_eq!(replay.outcomes(LIMIT).await.unwrap(), [(sent.id, Outcome::Parked)]);
    next_and_ack(&mut subscription).await;
    assert_eq!(replay.outcomes(LIMIT).await.unwrap(), [(sent.id, Outcome::Done)], "one for each copy");
    assert_eq!(replay.outcomes(QUIET).await.unwrap(), []);
    until("one is parked", async || parked_count(&world.bus(), Queue::Fetch).await == 1).await;
}

/// More messages than go back together lie between two copies, and all are parked again while the replay goes on.
pub async fn every_copy_goes_back_once(world: &impl World) {
    const BETWEEN: u16 = 150;
    let copied = fetch(1);
    let sent: Vec<Message> =
        std::iter::once(copied.clone()).chain((0..BETWEEN).map(fetch)).chain([copied.clone()]).collect();
    let mut subscription = world.bus().subscribe(Queue::Fetch, 1).await.unwrap();
    for message in &sent {
        world.bus().publish(std::slice::from_ref(message)).await.unwrap();
        park_next(&mut subscription, "panic").await;
    }
    let parking = tokio::spawn(async move {
        loop {
            park_next(&mut subscription, "undecodable").await;
        }
    });
    let all = ParkedFilter::default();
    let replayed = timeout(LIMIT, world.bus().replay(Queue::Fetch, &all)).await.expect("an end").unwrap();
    assert!(replayed.iter().all(|parked| parked.reason == "panic"), "what is parked anew stays");
    let mut ids: Vec<Uuid> = replayed.iter().map(|parked| parked.id).collect();
    let mut expected: Vec<Uuid> = sent.iter().map(|message| message.id).collect();
    ids.sort_unstable();
    expected.sort_unstable();
    assert_eq!(ids, expected);
    until("all are parked again", async || parked_count(&world.bus(), Queue::Fetch).await == sent.len() as u64).await;
    parking.abort();
}

/// A replay by steps names what it has found: no clock decides what was parked before it and what after.
pub async fn what_is_parked_again_is_another_copy(world: &impl World) {
    let sent = fetch(1);
    let mut subscription = world.bus().subscribe(Queue::Fetch, 1).await.unwrap();
    for _ in 0..2 {
        world.bus().publish(std::slice::from_ref(&sent)).await.unwrap();
        park_next(&mut subscription, "panic").await;
    }
    let found = world.bus().parked(Queue::Fetch, &ParkedFilter::default()).await.unwrap();
    let named = |copies: &[Parked]| ParkedFilter {
        copies: Some(copies.iter().map(Parked::copy).collect()),
        ..ParkedFilter::default()
    };
    assert_eq!(world.bus().replay(Queue::Fetch, &named(&found[..1])).await.unwrap(), found[..1]);
    assert_eq!(park_next(&mut subscription, "panic").await, sent.id);
    assert_eq!(world.bus().replay(Queue::Fetch, &named(&found[..1])).await.unwrap(), [], "it has gone back");
    assert_eq!(world.bus().replay(Queue::Fetch, &named(&found)).await.unwrap(), found[1..]);
    assert_eq!(next_and_ack(&mut subscription).await, sent);
    until("one is parked", async || parked_count(&world.bus(), Queue::Fetch).await == 1).await;
}

pub async fn every_copy_is_discarded(world: &impl World) {
    let parked = park_with_a_copy(world).await;
    let first = ParkedFilter { ids: Some(BTreeSet::from([parked[0]])), ..ParkedFilter::default() };
    assert_eq!(world.bus().discard(Queue::Fetch, &first).await.unwrap().len(), 2);
    let left = world.bus().discard(Queue::Fetch, &ParkedFilter::default()).await.unwrap();
    assert_eq!(left.into_iter().map(|parked| parked.id).collect::<Vec<_>>(), [parked[1], parked[3]]);
    until("none is parked", async || parked_count(&world.bus(), Queue::Fetch).await == 0).await;
}

pub async fn a_replay_ends_though_all_it_puts_back_is_parked_again(world: &impl World) {
    const MANY: u16 = 200;
    world.bus().publish(&(0..MANY).map(fetch).collect::<Vec<_>>()).await.unwrap();
    let mut subscription = world.bus().subscribe(Queue::Fetch, 50).await.unwrap();
    for _ in 0..MANY {
        park_next(&mut subscription, "panic").await;
    }
    let parking = tokio::spawn(async move {
        loop {
            park_next(&mut subscription, "panic").await;
        }
    });
    let all = ParkedFilter::default();
    let replayed = timeout(LIMIT, world.bus().replay(Queue::Fetch, &all)).await.expect("an end").unwrap();
    let ids: BTreeSet<Uuid> = replayed.iter().map(|parked| parked.id).collect();
    assert_eq!((replayed.len(), ids.len()), (MANY.into(), MANY.into()), "each once");
    until("all are parked again", async || parked_count(&world.bus(), Queue::Fetch).await == u64::from(MANY)).await;
    parking.abort();
}

pub async fn the_bus_gives_up_on_what_is_never_settled(world: &impl World) {
    let sent = fetch(1);
    world.bus().publish(std::slice::from_ref(&sent)).await.unwrap();
    // What was tried again once, and so has been through a queue in which it died of age, is given up for its last reason.
    let mut subscription = world.bus().subscribe(Queue::Fetch, 1).await.unwrap();
    let delivery = next(&mut subscription).await;
    subscription.retry(&delivery, &retry(Duration::ZERO, false)).await.unwrap();
    drop(subscription);
    let mut deliveries = 0;
    loop {
        let mut subscription = world.bus().subscribe(Queue::Fetch, 1).await.unwrap();
        let given_up = until("it is given up", async || parked_count(&world.bus(), Queue::Fetch).await > 0);
        // However late it comes, each delivery is counted, as the broker counts it.
        tokio::select! {
            biased;
            delivery = subscription.next() => drop(delivery.unwrap()),
            () = given_up => break,
        }
        deliveries += 1;
        assert!(deliveries <= 30, "still delivered after {deliveries} times");
    }
    assert!(deliveries >= 20, "given up after {deliveries}");
    let parked = world.bus().parked(Queue::Fetch, &ParkedFilter::default()).await.unwrap();
    assert_eq!((parked[0].id, parked[0].reason.as_str()), (sent.id, "delivery-limit"));
    assert!(parked[0].parked_at > sent.time, "{}", parked[0].parked_at);
    let replayed = world.bus().replay(Queue::Fetch, &ParkedFilter::default()).await.unwrap();
    assert_eq!(replayed.len(), 1);
    let mut subscription = world.bus().subscribe(Queue::Fetch, 1).await.unwrap();
    assert_eq!(next_and_ack(&mut subscription).await, sent);
}

pub async fn a_purge_leaves_parked_messages(world: &impl World) {
    world.bus().publish(&(0..6).map(fetch).chain([page(Bytes::new())]).collect::<Vec<_>>()).await.unwrap();
    let mut subscription = world.bus().subscribe(Queue::Fetch, 1).await.unwrap();
    park_next(&mut subscription, "panic").await;
    drop(subscription);
    until("five wait", async || waiting_count(&world.bus(), Queue::Fetch).await == 5).await;
    // What the subscription had prefetched is on its way back, and a purge takes only what waits.
    let mut purged = 0;
    until("all are purged", async || {
        purged += world.bus().purge(Queue::Fetch).await.unwrap();
        purged == 5
    })
    .await;
    assert_eq!(parked_count(&world.bus(), Queue::Fetch).await, 1);
    assert_eq!(waiting_count(&world.bus(), Queue::Collect).await, 1, "another queue keeps its messages");
}

pub async fn consumers_share_a_queue(world: &impl World) {
    let sent: Vec<Message> = (0..400).map(fetch).collect();
    let (mut tasks, seen) = (JoinSet::new(), Arc::new(AtomicUsize::new(0)));
    let all = sent.len();
    for _ in 0..4 {
        let mut subscription = world.bus().subscribe(Queue::Fetch, 3).await.unwrap();
        let seen = Arc::clone(&seen);
        tasks.spawn(async move {
            let mut ids = Vec::new();
            loop {
                // To the last one, and a while longer: nothing comes to two of them.
                let Ok(delivery) = timeout(QUIET, subscription.next()).await else {
                    if seen.load(Ordering::Relaxed) < all {
                        continue;
                    }
                    break ids;
                };
                let delivery = delivery.unwrap();
                ids.push(delivery.message.as_ref().unwrap().id);
                seen.fetch_add(1, Ordering::Relaxed);
                subscription.ack(delivery).await.unwrap();
            }
        });
    }
    world.bus().publish(&sent).await.unwrap();
    let shares = timeout(LIMIT, tasks.join_all()).await.expect("all of them within the limit");
    assert!(shares.iter().all(|share| !share.is_empty()), "{:?}", shares.iter().map(Vec::len).collect::<Vec<_>>());
    let mut all: Vec<Uuid> = shares.concat();
    all.sort_unstable();
    let mut expected: Vec<Uuid> = sent.iter().map(|message| message.id).collect();
    expected.sort_unstable();
    assert_eq!(all, expected, "each to one of them");
}

pub async fn a_body_of_five_megabytes_arrives(world: &impl World) {
    let body: Vec<u8> = (0..5_000_000_u32).map(|position| (position.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let sent = page(body.into());
    world.bus().publish(&[sent.clone(), sent.clone()]).await.unwrap();
    let mut subscription = world.bus().subscribe(Queue::Collect, 1).await.unwrap();
    let delivery = next(&mut subscription).await;
    assert!(delivery.message.as_ref() == Ok(&sent), "another body");
    subscription.retry(&delivery, &retry(Duration::ZERO, false)).await.unwrap();
    for _ in 0..2 {
        let message = next_and_ack(&mut subscription).await;
        assert!(message.body == sent.body, "another body");
    }
}

pub async fn many_publishers_at_once_lose_nothing(world: &impl World) {
    let mut tasks = JoinSet::new();
    for _ in 0..40 {
        let bus = world.bus();
        tasks.spawn(async move {
            let mut ids = Vec::new();
            for batch in 0..10 {
                let messages = [fetch(batch), fetch(batch)];
                bus.publish(&messages).await.unwrap();
                ids.extend(messages.map(|message| message.id));
            }
            ids
        });
    }
    let mut expected = tasks.join_all().await.concat();
    let mut subscription = world.bus().subscribe(Queue::Fetch, 100).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < expected.len() {
        seen.push(next_and_ack(&mut subscription).await.id);
    }
    seen.sort_unstable();
    expected.sort_unstable();
    assert_eq!(seen, expected);
}
