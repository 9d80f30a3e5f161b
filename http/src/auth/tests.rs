#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;

use chrono::TimeDelta;
use futures_util::future::join_all;
use rollcall_proto::clock::{Clock as _, ManualClock};
use serde_json::{Value, json};
use wiremock::{
    Mock, MockServer, Request, ResponseTemplate,
    matchers::{body_string_contains, header, method, path, query_param},
};

use super::*;
use crate::{
    error::Remedy,
    net::{HttpConfig, Reply, Transport},
};

fn http() -> Http {
    Http::new(HttpConfig { allow_private_addresses: true, ..HttpConfig::default() }).unwrap()
}

fn clock() -> ManualClock {
    ManualClock::new(DateTime::from_timestamp(1_760_000_000, 0).unwrap())
}

fn tokens() -> Tokens {
    Tokens::new(Gate::new(Arc::new(clock())))
}

fn credentials(server: &MockServer, extra: &Value) -> Credentials {
    let mut text =
        json!({"kind": "skyward-qmlativ", "base_url": format!("{}/API", server.uri()), "client_id": "key+1"});
    text.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    let mut secrets = ConnectionSecrets { client_secret: "se/cret".into(), ..ConnectionSecrets::default() };
    secrets.token_secret_parameters.insert("third".to_owned(), "hidden".into());
    secrets.secret_headers.insert("X-Vendor".to_owned(), "v3".into());
    Credentials {
        district: "d".parse().unwrap(),
        number: ConnectionNo(0),
        connection: Arc::new(serde_json::from_value(text).unwrap()),
        secrets: Arc::new(secrets),
    }
}

fn granted(token: &str, lifetime: u64) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(json!({"access_token": token, "expires_in": lifetime}))
}

async fn bearer(tokens: &Tokens, credentials: &Credentials) -> Result<String, SisError> {
    tokens.get(&http(), credentials, None).await.map(|token| token.bearer.expose_secret().to_owned())
}

#[tokio::test]
async fn credentials_go_where_the_connection_says() {
    let server = MockServer::start().await;
    // wire/skyward.md A1: `key+1:se/cret` as it stands where the request is a POST, each part URL-encoded where it is a GET.
    let (plain, encoded) = ("Basic a2V5KzE6c2UvY3JldA==", "Basic a2V5JTJCMTpzZSUyRmNyZXQ=");
    let all = || Mock::given(path("/API/oauth/token")).and(header("X-Vendor", "v3")).and(header("X-Plain", "p"));
    all()
        .and(method("POST"))
        .and(header("Authorization", plain))
        .and(body_string_contains("grant_type=client_credentials"))
        .and(body_string_contains("third=hidden"))
        .and(body_string_contains("audience=a"))
        .and(body_string_contains("scope=one+two"))
        .respond_with(granted("by-basic", 60))
        .mount(&server)
        .await;
    all()
        .and(method("POST"))
        .and(body_string_contains("client_id=key%2B1"))
        .and(body_string_contains("client_secret=se%2Fcret"))
        .and(|request: &Request| !request.headers.contains_key("authorization"))
        .respond_with(granted("by-form", 60))
        .mount(&server)
        .await;
    all()
        .and(method("GET"))
        .and(header("Authorization", encoded))
        .and(query_param("grant_type", "client_credentials"))
        .and(query_param("third", "hidden"))
        .and(query_param("scope", "one two"))
        .respond_with(granted("by-get", 60))
        .mount(&server)
        .await;
    for (placement, token) in [("basic", "by-basic"), ("form", "by-form"), ("basic-get", "by-get")] {
        let extra = json!({"credentials": placement, "scope": "one two", "token_parameters": {"audience": "a"},
            "headers": {"X-Plain": "p"}});
        let tokens = tokens();
        assert_eq!(bearer(&tokens, &credentials(&server, &extra)).await.unwrap(), token);
    }
}

/// OneRoster's servers take id and secret as they stand: Campus keys hold parentheses, which URL-encoding would change.
#[tokio::test]
async fn oneroster_credentials_are_not_encoded_and_no_scope_is_sent_where_none_is_set() {
    let server = MockServer::start().await;
    let form = |request: &Request| -> BTreeMap<String, String> {
        url::form_urlencoded::parse(&request.body).into_owned().collect()
    };
    let sent = async |extra: Value, token: &str| {
        server.reset().await;
        Mock::given(method("POST")).respond_with(granted(token, 60)).expect(1).mount(&server).await;
        let mut oneroster = json!({"kind": "oneroster", "token_url": format!("{}/token", server.uri()),
            "client_id": "InfiniteCampus_(vendor)/key"});
        oneroster.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let credentials = credentials(&server, &oneroster);
        assert_eq!(bearer(&tokens(), &credentials).await.unwrap(), token);
        server.received_requests().await.unwrap().remove(0)
    };
    let plain = sent(json!({}), "without").await;
    // The base64 of `InfiniteCampus_(vendor)/key:se/cret`.
    assert_eq!(plain.headers["authorization"], "Basic SW5maW5pdGVDYW1wdXNfKHZlbmRvcikva2V5OnNlL2NyZXQ=");
    assert!(!form(&plain).contains_key("scope"), "no parameter at all, not an empty one");
    let by_form = sent(json!({"credentials": "form"}), "by form").await;
    assert!(!by_form.headers.contains_key("authorization") && !form(&by_form).contains_key("scope"));
    let scoped = sent(json!({"scope": "a b"}), "with").await;
    assert_eq!(form(&scoped).get("scope").map(String::as_str), Some("a b"));
}

#[tokio::test]
async fn many_wait_for_one_token() {
    let server = MockServer::start().await;
    let slow = granted("one", 60).set_delay(Duration::from_millis(50));
    Mock::given(method("POST")).respond_with(slow).expect(1).mount(&server).await;
    let (tokens, credentials) = (tokens(), credentials(&server, &json!({})));
    let all = join_all((0..50).map(|_| bearer(&tokens, &credentials))).await;
    assert!(all.into_iter().all(|token| token.unwrap() == "one"));
}

#[tokio::test]
async fn a_token_is_given_up_before_it_expires() {
    let server = MockServer::start().await;
    Mock::given(method("POST")).respond_with(granted("t", 600)).expect(2).mount(&server).await;
    let clock = clock();
    let (tokens, credentials) = (Tokens::new(Gate::new(Arc::new(clock.clone()))), credentials(&server, &json!({})));
    bearer(&tokens, &credentials).await.unwrap();
    clock.advance(TimeDelta::seconds(569));
    bearer(&tokens, &credentials).await.unwrap();
    clock.advance(TimeDelta::seconds(1));
    bearer(&tokens, &credentials).await.unwrap();
    bearer(&tokens, &credentials).await.unwrap();
}

/// A lifetime is whatever a server outside says.
#[tokio::test]
async fn no_lifetime_that_a_server_tells_is_too_much_or_too_little() {
    const DAY: i64 = 86_400;
    // What is told, and for how many seconds the token is used.
    let cases = [
        (json!(u64::MAX), DAY - 30),
        (json!(i64::MAX), DAY - 30),
        (json!(1e300), DAY - 30),
        (json!("9223372036854775807"), DAY - 30),
        (json!(DAY + 1), DAY - 30),
        (json!(600), 570),
        (json!(600.7), 570),
        (json!("600"), 570),
        (json!(0), 270),
        (json!("0"), 270),
        (json!(0.5), 270),
        (json!(-3_600), 270),
        (json!(-1e300), 270),
        (json!("-5"), 270),
        (json!("for ever"), 270),
        (Value::Null, 270),
        (json!({"seconds": 600}), 270),
    ];
    for placement in ["basic", "basic-get"] {
        for (told, seconds) in &cases {
            let server = MockServer::start().await;
            let answer = json!({"access_token": "t", "expires_in": told});
            let answer = ResponseTemplate::new(200).set_body_json(answer);
            Mock::given(path("/API/oauth/token")).respond_with(answer).mount(&server).await;
            let clock = clock();
            let (tokens, credentials) = (
                Tokens::new(Gate::new(Arc::new(clock.clone()))),
                credentials(&server, &json!({"credentials": placement})),
            );
            for wait in [0, seconds - 1, 1] {
                clock.advance(TimeDelta::seconds(wait));
                let all = join_all((0..5).map(|_| bearer(&tokens, &credentials))).await;
                assert!(all.into_iter().all(|token| token.unwrap() == "t"), "{placement}: {told}");
                let asked = server.received_requests().await.unwrap().len();
                assert_eq!(asked, if wait == 1 { 2 } else { 1 }, "{placement}: {told}, {wait} s later");
            }
        }
    }
}

#[tokio::test]
async fn a_discarded_token_is_replaced_once() {
    let server = MockServer::start().await;
    Mock::given(method("POST")).respond_with(granted("t", 600)).expect(2).mount(&server).await;
    let (tokens, credentials) = (tokens(), credentials(&server, &json!({})));
    let old = tokens.get(&http(), &credentials, None).await.unwrap();
    tokens.discard(&credentials, &old).await;
    let fresh = tokens.get(&http(), &credentials, None).await.unwrap();
    tokens.discard(&credentials, &old).await;
    let again = tokens.get(&http(), &credentials, None).await.unwrap();
    assert!(Arc::ptr_eq(&fresh, &again), "who was late threw the fresh one away");
}

#[tokio::test]
async fn another_secret_is_another_token() {
    let server = MockServer::start().await;
    Mock::given(method("POST")).respond_with(granted("t", 600)).expect(2).mount(&server).await;
    let tokens = tokens();
    let one = credentials(&server, &json!({}));
    let other = ConnectionSecrets { client_secret: "other".into(), ..ConnectionSecrets::default() };
    bearer(&tokens, &one).await.unwrap();
    bearer(&tokens, &Credentials { secrets: Arc::new(other), ..one }).await.unwrap();
}

#[tokio::test]
async fn refusals_are_told_apart_and_nothing_secret_is_repeated() {
    let cases = [
        (ResponseTemplate::new(401).set_body_json(json!({"error": "invalid_client"})), "token-refused"),
        (ResponseTemplate::new(400).set_body_string("no such se/cret"), "token-refused"),
        (ResponseTemplate::new(503).set_body_string("later"), "token-unusable"),
        (ResponseTemplate::new(500).set_body_json(json!({"error": "server_error"})), "token-unusable"),
        (ResponseTemplate::new(200).set_body_string("<html>se/cret</html>"), "token-unusable"),
        (ResponseTemplate::new(404).set_body_string("<html>"), "token-unusable"),
        (ResponseTemplate::new(200).set_body_json(json!({"token": "x"})), "token-unusable"),
    ];
    for placement in ["basic", "basic-get"] {
        for (answer, code) in &cases {
            let server = MockServer::start().await;
            Mock::given(path("/API/oauth/token")).respond_with(answer.clone()).mount(&server).await;
            let credentials = credentials(&server, &json!({"credentials": placement}));
            let error = bearer(&tokens(), &credentials).await.unwrap_err();
            assert_eq!(error.code(), *code, "{placement}: {error:?}");
            assert!(!format!("{error:?} {}", error.explain()).contains("se/cret"));
        }
    }
}

/// As with a page: not a refusal of the client, and no attempt of anybody's.
#[tokio::test]
async fn a_token_endpoint_that_asks_for_patience_is_given_it() {
    let now = clock().now();
    let date = (now + TimeDelta::seconds(45)).format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    for placement in ["basic", "form", "basic-get"] {
        for (status, header, seconds) in [(429, Some("45"), 45), (429, None, 5), (503, Some(date.as_str()), 45)] {
            let server = MockServer::start().await;
            let answer = ResponseTemplate::new(status).set_body_json(json!({"error": "invalid_client"}));
            let answer = header.into_iter().fold(answer, |answer, wait| answer.insert_header("Retry-After", wait));
            Mock::given(path("/API/oauth/token")).respond_with(answer).expect(1).mount(&server).await;
            let credentials = credentials(&server, &json!({"credentials": placement}));
            let error = bearer(&tokens(), &credentials).await.unwrap_err();
            assert_eq!(error.remedy(), Remedy::Wait(Duration::from_secs(seconds)), "{placement} {status}: {error:?}");
            assert!(error.mend().contains("lanes"), "{}", error.explain());
        }
    }
}

#[tokio::test]
async fn a_token_endpoint_that_is_down_is_left_alone_and_says_nothing_of_the_client() {
    let server = MockServer::start().await;
    let down = ResponseTemplate::new(502).set_body_json(json!({"error": "invalid_client"}));
    Mock::given(path("/API/oauth/token")).respond_with(down).expect(5).mount(&server).await;
    let (tokens, credentials) = (tokens(), credentials(&server, &json!({})));
    for _ in 0..5 {
        let error = bearer(&tokens, &credentials).await.unwrap_err();
        assert_eq!((error.remedy(), error.code()), (Remedy::Again, "token-unusable"));
        assert!(error.mend().contains("is up"), "{}", error.explain());
    }
    let error = bearer(&tokens, &credentials).await.unwrap_err();
    assert!(matches!(error, SisError::CircuitOpen { .. }), "{error:?}");
}

#[tokio::test]
async fn a_token_endpoint_that_has_moved_is_told_as_that() {
    let server = MockServer::start().await;
    let moved = ResponseTemplate::new(302).insert_header("Location", "https://elsewhere.example/");
    Mock::given(path("/API/oauth/token")).respond_with(moved).mount(&server).await;
    let error = bearer(&tokens(), &credentials(&server, &json!({}))).await.unwrap_err();
    assert!(error.mend().contains("where the SIS is now"), "{}", error.explain());
}

/// Refuses everybody, and tells whether what came with a request's `Authorization` prints.
#[derive(Debug, Default)]
struct Onlooker(std::sync::Mutex<Vec<bool>>);

impl Transport for Onlooker {
    fn exchange(&self, request: reqwest::Request) -> futures_util::future::BoxFuture<'_, Result<Reply, SisError>> {
        let values = request.headers().get_all("Authorization");
        self.0.lock().unwrap().extend(values.iter().map(reqwest::header::HeaderValue::is_sensitive));
        Box::pin(std::future::ready(Err(SisError::Connect { host: "sis".to_owned() })))
    }
}

#[tokio::test]
async fn no_way_of_asking_for_a_token_lets_the_credentials_print() {
    let server = MockServer::start().await;
    for (placement, kind) in [("basic", "skyward-qmlativ"), ("basic-get", "skyward-qmlativ"), ("basic", "oneroster")] {
        let onlooker = Arc::new(Onlooker::default());
        let http = http().over(Arc::clone(&onlooker) as Arc<dyn Transport>);
        let token_url = format!("{}/token", server.uri());
        let extra = json!({"kind": kind, "credentials": placement, "token_url": token_url, "version": "1.2"});
        tokens().get(&http, &credentials(&server, &extra), None).await.unwrap_err();
        assert_eq!(*onlooker.0.lock().unwrap(), [true], "{placement} {kind}");
    }
}

#[test]
fn credentials_do_not_print() {
    let text = format!("{:?}", tokens());
    assert!(text.starts_with("Tokens"), "{text}");
}
