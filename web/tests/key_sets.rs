//! Platforms' key sets over HTTP: how they are fetched, kept and given up (LTI wire facts, A4).

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::TimeDelta;
use rollcall_proto::clock::ManualClock;
use rollcall_web::lti::platform_keys::PlatformKeys;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use url::Url;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::path};

/// A platform that serves key sets, and a cache that asks it.
struct House {
    server: MockServer,
    keys: PlatformKeys,
    clock: ManualClock,
    url: Url,
}

impl House {
    async fn new() -> Self {
        let server = MockServer::start().await;
        let clock = ManualClock::new("2026-10-07T12:00:00Z".parse().unwrap());
        let keys = PlatformKeys::new(true, Arc::new(clock.clone())).unwrap();
        let url = format!("{}/jwks", server.uri()).parse().unwrap();
        Self { server, keys, clock, url }
    }

    /// From now on the platform answers like this, and with nothing else.
    async fn answers(&self, answer: ResponseTemplate) {
        self.server.reset().await;
        Mock::given(path("/jwks")).respond_with(answer).mount(&self.server).await;
    }

    async fn has(&self, kid: &str) -> bool {
        self.keys.key(&self.url, kid).await.is_some()
    }

    /// Since the last answer was set.
    async fn fetches(&self) -> usize {
        self.server.received_requests().await.unwrap().len()
    }
}

/// A set with keys of these names.
fn set(kids: &[&str]) -> Value {
    let mut modulus = vec![0xC1_u8; 256];
    modulus[255] = 1;
    let n = URL_SAFE_NO_PAD.encode(modulus);
    let keys: Vec<_> = kids.iter().map(|kid| json!({ "kty": "RSA", "kid": kid, "n": n, "e": "AQAB" })).collect();
    json!({ "keys": keys })
}

fn good(kids: &[&str]) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(set(kids))
}

#[tokio::test]
async fn requests_that_arrive_together_share_one_fetch() {
    let house = House::new().await;
    house.answers(good(&["a"]).set_delay(Duration::from_millis(300))).await;
    let asked: Vec<_> = (0..20)
        .map(|_| {
            let (keys, url) = (house.keys.clone(), house.url.clone());
            tokio::spawn(async move { keys.key(&url, "a").await.is_some() })
        })
        .collect();
    for one in asked {
        assert!(one.await.unwrap());
    }
    assert_eq!(house.fetches().await, 1);
}

#[tokio::test]
async fn the_last_good_set_goes_on_for_a_day_and_no_longer() {
    let house = House::new().await;
    house.answers(good(&["a"])).await;
    assert!(house.has("a").await);
    house.answers(ResponseTemplate::new(500)).await;
    house.clock.advance(TimeDelta::minutes(59));
    assert!(house.has("a").await);
    assert_eq!(house.fetches().await, 0, "it is fresh");
    house.clock.advance(TimeDelta::minutes(2));
    assert!(house.has("a").await);
    assert_eq!(house.fetches().await, 1);
    house.clock.advance(TimeDelta::hours(22));
    assert!(house.has("a").await);
    house.clock.advance(TimeDelta::hours(1));
    assert!(!house.has("a").await, "a day without a word of the platform");
    house.answers(good(&["a"])).await;
    house.clock.advance(TimeDelta::seconds(31));
    assert!(house.has("a").await, "it is back");
}

/// Also within the half minute in which it is not asked again.
#[tokio::test]
async fn a_day_is_a_day_however_lately_it_was_asked_in_vain() {
    let house = House::new().await;
    house.answers(good(&["a"])).await;
    assert!(house.has("a").await);
    house.answers(ResponseTemplate::new(500)).await;
    house.clock.advance(TimeDelta::hours(24) - TimeDelta::seconds(10));
    assert!(house.has("a").await);
    house.clock.advance(TimeDelta::seconds(20));
    assert!(!house.has("a").await);
    assert_eq!(house.fetches().await, 1, "asked in vain twenty seconds ago");
}

#[tokio::test]
async fn a_new_set_takes_the_place_of_the_old_one_whole() {
    let house = House::new().await;
    house.answers(good(&["a", "b"])).await;
    assert!(house.has("a").await && house.has("b").await);
    house.answers(good(&["b", "c"])).await;
    assert!(!house.has("c").await, "asked a moment ago");
    house.clock.advance(TimeDelta::seconds(31));
    assert!(house.has("c").await && house.has("b").await);
    assert!(!house.has("a").await, "a key that the platform took back");
    assert_eq!(house.fetches().await, 1);
}

#[tokio::test]
async fn a_set_that_moved_or_is_too_large_is_none() {
    let house = House::new().await;
    house.answers(ResponseTemplate::new(302).insert_header("Location", "/elsewhere")).await;
    Mock::given(path("/elsewhere")).respond_with(good(&["a"])).mount(&house.server).await;
    assert!(!house.has("a").await);
    assert_eq!(house.fetches().await, 1, "redirects are not followed");
    let mut large = set(&["a"]);
    large["padding"] = json!("x".repeat(256 << 10));
    house.answers(ResponseTemplate::new(200).set_body_json(large)).await;
    house.clock.advance(TimeDelta::seconds(31));
    assert!(!house.has("a").await, "more than 256 KiB");
    house.answers(good(&["a"])).await;
    house.clock.advance(TimeDelta::seconds(31));
    assert!(house.has("a").await);
}

#[tokio::test]
async fn a_set_of_too_many_keys_is_none() {
    let house = House::new().await;
    let names: Vec<String> = (0..51).map(|number| format!("key-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    house.answers(good(&names)).await;
    assert!(!house.has("key-0").await);
    house.answers(good(&names[..50])).await;
    house.clock.advance(TimeDelta::seconds(31));
    assert!(house.has("key-0").await && house.has("key-49").await);
}

/// A byte now and then keeps no connection for ever: five seconds are all there are.
#[tokio::test]
async fn a_set_that_comes_byte_by_byte_is_given_up() {
    let house = House::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks", listener.local_addr().unwrap()).parse().unwrap();
    let drips = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        // An answer before the question would be none.
        assert!(socket.read(&mut [0; 4_096]).await.unwrap() > 0);
        let body = set(&["a"]).to_string();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len() + 40);
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut pace = tokio::time::interval(Duration::from_millis(250));
        for _ in 0..40 {
            pace.tick().await;
            if socket.write_all(b" ").await.is_err() {
                return;
            }
        }
    });
    assert!(house.keys.key(&url, "a").await.is_none(), "ten seconds for a whole set");
    drips.await.unwrap();
}
