//! A discovery that is disturbed after any of its answers, in any of these ways: another process goes on with it, and it ends as one that
//! nothing disturbed.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use rollcall_proto::{
    clock::Clock,
    handler::{Fate, Handler},
    id::{ConnectionNo, ListingNo},
    message::Message,
};
use rollcall_sandbox::{Quirks, Sandbox};
use rollcall_store::{
    board::{Ask, Board, Progress},
    plan::{NewPlan, Verdict},
    run::{Baseline, Discovery, PullBase, PullScope},
};
use serde_json::json;

use crate::support::{Night, a_page, questions, sandbox};

const FIRST: ConnectionNo = ConnectionNo(0);

/// How a discovery is disturbed.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// Its process is told to stop, or dies, with a question under way.
    Stopped,
    /// Its turn is over.
    Late,
    /// The database undoes what is to be committed from then on, until another process has it.
    Away,
}

/// A fetcher's clock by the questions that the SIS was asked.
struct Counting {
    sandbox: Arc<Sandbox>,
    from: DateTime<Utc>,
    before: u64,
    at: Box<dyn Fn(u64) -> TimeDelta + Send + Sync>,
}

impl Clock for Counting {
    fn now(&self) -> DateTime<Utc> {
        self.from + (self.at)(questions(&self.sandbox) - self.before)
    }
}

fn counting(night: &Night, at: impl Fn(u64) -> TimeDelta + Send + Sync + 'static) -> Arc<dyn Clock> {
    let (sandbox, before) = (Arc::clone(&night.sandbox), questions(&night.sandbox));
    Arc::new(Counting { sandbox, from: night.clock.now(), before, at: Box::new(at) })
}

/// By which each answer is worth storing: it goes back and forth.
fn restless(night: &Night) -> Arc<dyn Clock> {
    counting(night, |asked| TimeDelta::seconds(i64::from(asked % 2 == 1)))
}

/// A turn that is disturbed when so many answers are stored.
async fn disturb(night: &Night, message: &Message, way: Way, after: u64) {
    match way {
        Way::Stopped => stop(night, message.clone(), after).await,
        Way::Late => {
            let clock = counting(night, move |asked| TimeDelta::seconds(if asked < after { 0 } else { 11 }));
            let fate = night.another(clock).handle(message.clone()).await;
            assert!(matches!(&fate, Fate::Retry(retry) if retry.free && retry.reason == "sis-slow"), "{fate:?}");
        }
        Way::Away => {
            let (sandbox, until) = (Arc::clone(&night.sandbox), questions(&night.sandbox) + after);
            let store = night.gated(Arc::new(move || questions(&sandbox) <= until)).await;
            let fate = night.over(store, restless(night)).handle(message.clone()).await;
            assert!(matches!(fate, Fate::Retry(_)), "{fate:?}");
        }
    }
}

async fn stop(night: &Night, message: Message, after: u64) {
    night.sandbox.set_quirks(Quirks { latency_ms: Some(10), ..Quirks::default() });
    let stopped = night.another(restless(night));
    let work = tokio::spawn(async move { stopped.handle(message).await });
    let has_learned = async {
        while kept(night).await < after {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), has_learned).await.expect("it learns");
    work.abort();
    // Where the machine is so busy that it has ended, that is no disturbance, and no harm.
    let _ = work.await;
    night.sandbox.set_quirks(Quirks::default());
}

/// Answers that are stored.
async fn kept(night: &Night) -> u64 {
    let learned = night.store.learned(&night.run.district, night.run.id, FIRST).await.unwrap();
    learned.map_or(0, |learned| learned.answers.len() as u64)
}

/// What a discovery came to: what it found, whether changes alone are asked for, and what for, and how many lanes it set going. Of the
/// times in it, whether they are there.
async fn found(night: &Night) -> (Discovery, bool, Vec<Ask>, usize) {
    let mut found = night.pull().await.discovery.unwrap();
    let some_time = DateTime::UNIX_EPOCH;
    found.snapshot.iter_mut().for_each(|snapshot| snapshot.at = some_time);
    let by_changes = matches!(std::mem::take(&mut found.scope), PullScope::Changes(_));
    let asks = night.board().await.listings.into_iter().map(|listing| listing.ask);
    let asks = asks.map(|ask| Ask { since: ask.since.map(|_| some_time), stored: None, ..ask }).collect();
    (found, by_changes, asks, night.take().len())
}

/// Ends the run as one whose changes the next one asks for, and begins that.
async fn succeed(night: &mut Night) {
    let (store, district, run, now) = (&night.store, &night.run.district, night.run.id, night.clock.now());
    let discovery = night.pull().await.discovery.unwrap();
    let fetch = |board: &mut Board| {
        for listing in &mut board.listings {
            (listing.progress, listing.last_page) = (Progress::Fetched, Some(1));
        }
        (board.listings.len() as u32, true)
    };
    let listings = store.with_board(district, run, FIRST, fetch).await.unwrap().unwrap();
    for number in 0..listings {
        store.save_page(district, run, &a_page(ListingNo(number), now)).await.unwrap();
    }
    assert!(store.pulled(district, run, now).await.unwrap());
    let base = PullBase { run, full_on: night.run.as_of, before: None, snapshot: discovery.snapshot.unwrap() };
    let baseline = Baseline { granted: discovery.granted, base: Some(base), ..Baseline::default() };
    let plan = NewPlan { baselines: vec![(FIRST.0, baseline)], ..NewPlan::empty(Verdict::Nothing) };
    assert!(store.save_plan(district, run, &plan, now).await.unwrap());
    // The next one's clock is not behind this one's.
    night.clock.advance(TimeDelta::minutes(1));
    night.launch().await;
}

/// Disturbs discoveries of one kind of source in these ways, after each answer, and returns how many answers there are.
async fn disturbed(mut night: Night, by_changes: bool, ways: &[Way]) -> u64 {
    if by_changes {
        assert_eq!(night.another(Arc::new(night.clock.clone())).handle(night.take().remove(0)).await, Fate::Done);
        succeed(&mut night).await;
    }
    let mut undisturbed = None;
    let mut answers = 0;
    let mut cases = vec![None];
    while let Some(case) = cases.pop() {
        let (message, before) = (night.take().remove(0), questions(&night.sandbox));
        if let Some((way, after)) = case {
            disturb(&night, &message, way, after).await;
        }
        let next = night.another(Arc::new(night.clock.clone()));
        assert_eq!(next.handle(message).await, Fate::Done, "{case:?}");
        let (end, asked) = (found(&night).await, questions(&night.sandbox) - before);
        if let (Some(undisturbed), Some((way, after))) = (&undisturbed, case) {
            assert_eq!(&end, undisturbed, "{way:?} after {after} of {answers}");
            // What was not stored is asked for again, and nothing else.
            let again = match way {
                Way::Stopped => 0..=3,
                Way::Late => 0..=0,
                Way::Away => answers - after..=answers - after,
            };
            assert!(again.contains(&(asked - answers)), "{way:?} after {after} of {answers}: {asked}");
        } else {
            assert_eq!(end.1, by_changes);
            cases.extend((1..asked).flat_map(|after| ways.iter().map(move |way| Some((*way, after)))));
            (undisturbed, answers) = (Some(end), asked);
        }
        if by_changes { succeed(&mut night).await } else { night.next().await }
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_discovery_ends_alike_wherever_it_is_disturbed() {
    let night = Night::with(sandbox().await, &json!({"lanes": 1})).await;
    // Turns that are over after each answer: `slow.rs`.
    assert!(disturbed(night, false, &[Way::Stopped, Way::Away]).await > 15);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_discovery_of_oneroster_ends_alike_wherever_it_is_disturbed() {
    let sandbox = sandbox().await;
    let extra = json!({
        "kind": "oneroster", "base_url": sandbox.campus_base_url(), "token_url": sandbox.campus_token_url(), "lanes": 1,
    });
    // The first rows of each collection, and of two of them what changes tell.
    let night = Night::with(sandbox, &extra).await;
    assert_eq!(disturbed(night, true, &[Way::Stopped, Way::Late, Way::Away]).await, 10);
}
