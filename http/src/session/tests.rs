#![allow(clippy::unwrap_used, clippy::expect_used)]

use rollcall_proto::{clock::ManualClock, id::ConnectionNo};
use rollcall_store::district::ConnectionSecrets;
use serde_json::json;
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{header, path},
};

use super::*;
use crate::limits::Admission;
use crate::net::HttpConfig;

const EXPIRED_ANSWER: &str = r#"{"Message": "Token has expired."}"#;

/// A SIS that grants `first`, and `second` from then on, and how often it may be asked for one.
async fn sis(grants: u64) -> (MockServer, Session) {
    let server = MockServer::start().await;
    let granted = |token: &str| ResponseTemplate::new(200).set_body_json(json!({"access_token": token}));
    let endpoint = || Mock::given(path("/API/oauth/token"));
    endpoint().respond_with(granted("first")).up_to_n_times(1).expect(1).mount(&server).await;
    endpoint().respond_with(granted("second")).expect(grants - 1).mount(&server).await;
    let connection =
        json!({"kind": "skyward-qmlativ", "base_url": format!("{}/API", server.uri()), "client_id": "rollcall"});
    let credentials = Credentials {
        district: "d".parse().unwrap(),
        number: ConnectionNo(0),
        connection: Arc::new(serde_json::from_value(connection).unwrap()),
        secrets: Arc::new(ConnectionSecrets { client_secret: "secret".into(), ..ConnectionSecrets::default() }),
    };
    let http = Http::new(HttpConfig { allow_private_addresses: true, ..HttpConfig::default() }).unwrap();
    let clock = ManualClock::new(chrono::DateTime::from_timestamp(1_760_000_000, 0).unwrap());
    (server, Session::new(Shared::new(http, Arc::new(clock)), credentials))
}

/// Answers whoever comes with this token, so often.
async fn answer(server: &MockServer, token: &str, status: u16, body: &str, times: u64) {
    let data = Mock::given(path("/API/students")).and(header("Authorization", format!("Bearer {token}")));
    data.respond_with(ResponseTemplate::new(status).set_body_string(body)).expect(times).mount(server).await;
}

async fn ask(server: &MockServer, session: &Session) -> Result<Reply, SisError> {
    let url = format!("{}/API/students", server.uri()).parse().unwrap();
    let call = Call { method: Method::GET, url, body: None, what: "students".to_owned() };
    session.exchange(&call).await
}

#[tokio::test]
async fn a_token_said_to_have_expired_is_renewed_once_whatever_the_status() {
    for status in [400, 401, 403, 404, 422] {
        for body in [EXPIRED_ANSWER, "TOKEN HAS EXPIRED", "<p>The token has expired</p>"] {
            let (server, session) = sis(2).await;
            answer(&server, "first", status, body, 1).await;
            answer(&server, "second", 200, "[]", 1).await;
            let reply = ask(&server, &session).await.unwrap();
            assert_eq!((reply.status, &reply.body[..]), (200, &b"[]"[..]), "{status} {body}");
            server.verify().await;
        }
    }
}

#[tokio::test]
async fn an_answer_that_leads_elsewhere_says_where_to_look() {
    let (server, session) = sis(1).await;
    answer(&server, "first", 302, "", 1).await;
    let url = format!("{}/API/students", server.uri()).parse().unwrap();
    let call = Call { method: Method::GET, url, body: None, what: "students".to_owned() };
    let error = session.call(&call).await.unwrap_err();
    assert!(error.mend().contains("base_url"), "{}", error.explain());
    server.verify().await;
}

#[tokio::test]
async fn an_answer_that_says_nothing_of_the_token_costs_none() {
    let far = format!("{}{EXPIRED_ANSWER}", " ".repeat(8_192));
    for (status, body) in
        [(400, r#"{"Message": "No such field."}"#), (404, ""), (400, far.as_str()), (200, EXPIRED_ANSWER)]
    {
        let (server, session) = sis(1).await;
        answer(&server, "first", status, body, 1).await;
        assert_eq!(ask(&server, &session).await.unwrap().status, status, "{body:.40}");
        server.verify().await;
    }
    // A server that is down is not a matter of tokens, whatever it says.
    let (server, session) = sis(1).await;
    answer(&server, "first", 500, EXPIRED_ANSWER, 1).await;
    assert!(matches!(ask(&server, &session).await, Err(SisError::Status { status: 500, .. })));
    server.verify().await;
}

#[tokio::test]
async fn a_fresh_token_that_has_expired_too_is_told_and_given_up() {
    let (server, session) = sis(2).await;
    answer(&server, "first", 400, EXPIRED_ANSWER, 1).await;
    answer(&server, "second", 400, EXPIRED_ANSWER, 1).await;
    let error = ask(&server, &session).await.unwrap_err();
    assert!(matches!(&error, SisError::TokenExpired { what } if what == "students"), "{error:?}");
    server.verify().await;
}

/// As discovery asks: the metadata and the grants at once, and neither is of use without the other.
#[tokio::test]
async fn a_host_that_is_back_is_open_to_two_questions_at_once() {
    let (server, session) = sis(1).await;
    let slow = Mock::given(path("/API/students")).and(header("Authorization", "Bearer first"));
    let late = ResponseTemplate::new(200).set_body_string("[]").set_delay(Duration::from_millis(100));
    slow.respond_with(late).expect(2).mount(&server).await;
    // With a token in hand: fetching one would be the request that tries.
    session.authenticate().await.unwrap();
    let (host, circuits) = (host_of(&server.uri().parse().unwrap()), session.shared.gate.circuits());
    for _ in 0..5 {
        circuits.with(&host, |circuit| circuit.failed(session.now() - chrono::TimeDelta::minutes(1)));
    }
    assert_eq!(circuits.with(&host, |circuit| circuit.admit(session.now())), Ok(Admission::Trial));
    Box::pin(async { tokio::try_join!(ask(&server, &session), ask(&server, &session)) }).await.unwrap();
    assert_eq!(circuits.with(&host, |circuit| circuit.admit(session.now())), Ok(Admission::Free));
    server.verify().await;
}

/// One that tries and is given up lets the next one try; those that wait for one that fails stay away.
#[tokio::test]
async fn who_tries_a_host_may_be_given_up_and_may_fail() {
    let (server, session) = sis(1).await;
    let slow = Mock::given(path("/API/students")).and(header("Authorization", "Bearer first"));
    let late = ResponseTemplate::new(500).set_delay(Duration::from_millis(100));
    slow.respond_with(late).mount(&server).await;
    // With a token in hand: fetching one would be the request that tries.
    session.authenticate().await.unwrap();
    let (host, circuits) = (host_of(&server.uri().parse().unwrap()), session.shared.gate.circuits());
    for _ in 0..5 {
        circuits.with(&host, |circuit| circuit.failed(session.now() - chrono::TimeDelta::minutes(1)));
    }
    let given_up = circuits.trial(&host).try_lock_owned().unwrap();
    drop(given_up);
    let (first, second) = Box::pin(async { tokio::join!(ask(&server, &session), ask(&server, &session)) }).await;
    assert!(!matches!(first, Err(SisError::CircuitOpen { .. })) && first.is_err(), "{first:?}");
    assert!(matches!(second, Err(SisError::CircuitOpen { .. })), "{second:?}");
}
