//! A SIS that answers slowly: what is asked before the first page is asked in turns that end, whichever process has them, and each
//! answer is learned once.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::StreamExt as _;
use rollcall_proto::{
    clock::Clock,
    handler::{Fate, Handler},
    id::ConnectionNo,
    message::Message,
};
use rollcall_sandbox::{Quirks, Sandbox};
use rollcall_store::{
    board::Ask,
    district::ConnectionSecrets,
    run::{Discovery, Learned, PullState},
};
use serde_json::{Value, json};

use crate::support::{Night, district, questions, sandbox};

/// A fetcher's clock by which each request to the SIS takes so long.
struct Slow {
    sandbox: Arc<Sandbox>,
    from: DateTime<Utc>,
    request: TimeDelta,
}

impl Slow {
    fn of(night: &Night, request: TimeDelta) -> Self {
        Self { sandbox: Arc::clone(&night.sandbox), from: night.clock.now(), request }
    }
}

impl Clock for Slow {
    fn now(&self) -> DateTime<Utc> {
        self.from + self.request * i32::try_from(self.sandbox.stats().requests).unwrap()
    }
}

fn only(messages: Vec<Message>) -> Message {
    let [message] = messages.try_into().expect("one message");
    message
}

async fn learned(night: &Night) -> Option<Learned> {
    night.store.learned(&night.run.district, night.run.id, ConnectionNo(0)).await.unwrap()
}

/// The district's file says something else from now on. Of `secrets`, the client's is what the sandbox knows.
async fn apply(night: &Night, extra: &Value, secrets: ConnectionSecrets) {
    let district = district(&night.sandbox, extra);
    let secrets = ConnectionSecrets { client_secret: night.sandbox.client_secret().into(), ..secrets };
    night.store.apply_district(&district, &[secrets], "test", night.clock.now()).await.unwrap();
}

/// What a discovery came to.
async fn found(night: &Night) -> (Discovery, Vec<Ask>) {
    let pull = night.pull().await;
    assert_eq!(pull.state, PullState::Fetching, "{:?}", pull.reason);
    let asks = night.board().await.listings.into_iter().map(|listing| listing.ask).collect();
    (Discovery { snapshot: None, ..pull.discovery.unwrap() }, asks)
}

/// A discovery in one go: what it came to, and how many questions it asked. The next night's is to be asked.
async fn at_once(night: &mut Night) -> ((Discovery, Vec<Ask>), u64) {
    let before = questions(&night.sandbox);
    let discovery = night.take();
    night.handle_all(discovery).await;
    let (found, asked) = (found(night).await, questions(&night.sandbox) - before);
    night.next().await;
    (found, asked)
}

/// A turn of a process that is started for it. True: the discovery goes on.
async fn turn(night: &Night, message: &Message, request: TimeDelta) -> bool {
    let clock = Arc::new(Slow::of(night, request));
    let (began, before) = (clock.now(), questions(&night.sandbox));
    let fate = night.another(Arc::clone(&clock) as Arc<dyn Clock>).handle(message.clone()).await;
    // 10 s, a request for a token, and those under way.
    let lanes = night.store.district(&night.run.district).await.unwrap().connections[0].lanes;
    let longest = TimeDelta::seconds(10) + request * (1 + i32::from(lanes));
    assert!(clock.now() - began <= longest, "{}", clock.now() - began);
    match fate {
        Fate::Done => false,
        Fate::Retry(retry) => {
            assert!(retry.free && retry.reason == "sis-slow" && retry.after.is_zero(), "{retry:?}");
            assert!(questions(&night.sandbox) > before, "nothing was asked");
            true
        }
        Fate::Park(park) => panic!("{park:?}"),
    }
}

async fn in_turns(extra: &Value, sandbox: Sandbox, request: TimeDelta) -> u32 {
    let mut night = Night::with(sandbox, extra).await;
    let (fast, asked) = at_once(&mut night).await;
    let (message, before) = (only(night.take()), questions(&night.sandbox));
    let mut turns = 1;
    while turn(&night, &message, request).await {
        assert!(learned(&night).await.is_some_and(|learned| !learned.answers.is_empty()));
        turns += 1;
    }
    assert_eq!(found(&night).await, fast);
    assert_eq!(questions(&night.sandbox) - before, asked, "each question is asked once");
    assert_eq!(learned(&night).await, None, "nothing of it is kept any longer than that");
    turns
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_sis_is_discovered_in_turns_by_whichever_process() {
    let extra = json!({"lanes": 1, "entities": [1, 200], "page_size": 1});
    let turns = in_turns(&extra, sandbox().await, TimeDelta::milliseconds(1_500)).await;
    assert!(turns >= 5, "{turns}");
    // Slower than a turn is long: each learns one thing.
    let turns = in_turns(&extra, sandbox().await, TimeDelta::seconds(19)).await;
    assert!(turns >= 28, "{turns}");
    let extra = json!({"lanes": 4, "entities": [1, 200]});
    assert!(in_turns(&extra, sandbox().await, TimeDelta::milliseconds(1_500)).await >= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_oneroster_is_discovered_in_turns() {
    let sandbox = sandbox().await;
    let extra = json!({
        "kind": "oneroster", "base_url": sandbox.campus_base_url(), "token_url": sandbox.campus_token_url(), "lanes": 1,
    });
    let turns = in_turns(&extra, sandbox, TimeDelta::seconds(19)).await;
    assert_eq!(turns, 4);
}

/// A process that is told to stop gives up what it has in hand, wherever that is.
#[tokio::test(flavor = "multi_thread")]
async fn a_discovery_that_is_cut_off_is_gone_on_with_where_it_was() {
    let mut night = Night::with(sandbox().await, &json!({"lanes": 1})).await;
    let (fast, asked) = at_once(&mut night).await;
    let (message, before) = (only(night.take()), questions(&night.sandbox));
    night.sandbox.set_quirks(Quirks { latency_ms: Some(20), ..Quirks::default() });
    // One turn is long enough for all of it.
    let stopped = night.another(Arc::new(Slow::of(&night, TimeDelta::milliseconds(250))));
    let work = tokio::spawn({
        let message = message.clone();
        async move { stopped.handle(message).await }
    });
    let has_learned = async {
        while learned(&night).await.is_none_or(|learned| learned.answers.len() < 5) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), has_learned).await.expect("it learns");
    work.abort();
    assert!(work.await.unwrap_err().is_cancelled());
    let kept = learned(&night).await.unwrap().answers.len() as u64;
    assert!(kept < asked);
    night.sandbox.set_quirks(Quirks::default());
    let so_far = questions(&night.sandbox) - before;
    assert!(so_far <= kept + 3, "one that was asked, and what half a second told: {so_far}, {kept}");
    assert_eq!(night.another(Arc::new(night.clock.clone())).handle(message).await, Fate::Done);
    assert_eq!(found(&night).await, fast);
    assert_eq!(questions(&night.sandbox) - before, so_far + asked - kept);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_learned_with_other_settings_does_not_count() {
    let mut night = Night::with(sandbox().await, &json!({"lanes": 1})).await;
    let message = only(night.take());
    let request = TimeDelta::milliseconds(1_500);
    assert!(turn(&night, &message, request).await);
    let other = district(&night.sandbox, &json!({"lanes": 1, "root": "Generic"}));
    night.apply_and_restart(&other).await;
    let before = questions(&night.sandbox);
    while turn(&night, &message, request).await {}
    let slow = (found(&night).await, questions(&night.sandbox) - before);
    night.next().await;
    assert_eq!(at_once(&mut night).await, slow, "everything is asked anew");
}

/// Of two fetchers, one has begun with what the district's file said before.
#[tokio::test(flavor = "multi_thread")]
async fn fetchers_that_began_with_different_settings_end_with_the_same() {
    let mut night = Night::with(sandbox().await, &json!({"lanes": 1})).await;
    let message = only(night.take());
    let request = TimeDelta::milliseconds(1_500);
    let fetcher = |night: &Night| night.another(Arc::new(Slow::of(night, request)));
    let (began, other) = (fetcher(&night), fetcher(&night));
    assert!(matches!(began.handle(message.clone()).await, Fate::Retry(_)));
    apply(&night, &json!({"lanes": 1, "root": "Generic"}), ConnectionSecrets::default()).await;
    let before = questions(&night.sandbox);
    let turns = [&other, &began].into_iter().cycle().take(20);
    let mut turns = futures_util::stream::iter(turns).then(|fetcher| fetcher.handle(message.clone()));
    while let Some(Fate::Retry(_)) = turns.next().await {}
    let slow = (found(&night).await, questions(&night.sandbox) - before);
    night.next().await;
    assert_eq!(at_once(&mut night).await, slow, "everything is asked anew, once");
}

/// Another client may be granted something else.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_learned_with_other_secrets_does_not_count() {
    let extra = json!({"lanes": 1});
    let mut night = Night::with(sandbox().await, &extra).await;
    let message = only(night.take());
    let request = TimeDelta::milliseconds(1_500);
    assert!(turn(&night, &message, request).await);
    let kept = learned(&night).await.unwrap();
    // What nothing has changed in counts.
    apply(&night, &extra, ConnectionSecrets::default()).await;
    assert!(turn(&night, &message, request).await);
    let more = learned(&night).await.unwrap();
    assert_eq!(more.asked_by, kept.asked_by);
    assert!(kept.answers.keys().all(|question| more.answers.contains_key(question)));
    let third = [("X-Vendor".to_owned(), "another".into())].into();
    apply(&night, &extra, ConnectionSecrets { secret_headers: third, ..ConnectionSecrets::default() }).await;
    let before = questions(&night.sandbox);
    while turn(&night, &message, request).await {
        assert_ne!(learned(&night).await.unwrap().asked_by, kept.asked_by);
    }
    let asked = questions(&night.sandbox) - before;
    night.next().await;
    assert_eq!(at_once(&mut night).await.1, asked, "everything is asked anew");
}
