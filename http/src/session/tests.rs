#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::future::BoxFuture;
use rollcall_proto::{clock::ManualClock, id::ConnectionNo};
use rollcall_store::district::ConnectionSecrets;
use serde_json::json;
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{header, path},
};

use super::*;
use crate::limits::Admission;
use crate::net::{HttpConfig, Transport};

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

/// Counts turns.
#[derive(Debug, Default)]
struct Counted(AtomicU32);

impl Turns for Counted {
    fn turn(&self) -> BoxFuture<'_, Result<(), SisError>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        std::future::ready(Ok(())).boxed()
    }
}

/// A token, the question, another token, the question again: where somebody sees to a rate, each is within it.
#[tokio::test]
async fn each_request_has_its_turn() {
    let (server, session) = sis(2).await;
    answer(&server, "first", 403, "", 1).await;
    answer(&server, "second", 403, "", 1).await;
    let turns = Arc::new(Counted::default());
    let session = session.with_turns(Arc::clone(&turns) as Arc<dyn Turns>);
    let refused = ask(&server, &session).await.unwrap_err();
    assert!(matches!(refused, SisError::AccessRefused { status: 403, .. }), "{refused:?}");
    let sent = || async { server.received_requests().await.unwrap().len() };
    assert_eq!((sent().await, turns.0.load(Ordering::Relaxed)), (4, 4));
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

/// Grants a token, and answers each question after so long with this status, by what it says of when to come back.
#[derive(Debug)]
struct Answers {
    asked: AtomicU32,
    after: Duration,
    status: u16,
    retry_after: Option<&'static str>,
}

impl Transport for Answers {
    fn exchange(&self, request: reqwest::Request) -> BoxFuture<'_, Result<Reply, SisError>> {
        let is_token = request.url().path().ends_with("token");
        async move {
            if is_token {
                return Ok(reply(200, None, r#"{"access_token": "first"}"#));
            }
            self.asked.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(self.after).await;
            Ok(reply(self.status, self.retry_after, "{}"))
        }
        .boxed()
    }
}

fn reply(status: u16, retry_after: Option<&str>, body: &'static str) -> Reply {
    Reply {
        status,
        content_type: None,
        retry_after: retry_after.map(str::to_owned),
        date: None,
        total_count: None,
        link: None,
        cache_control: None,
        body: body.into(),
        room: Taken::default(),
    }
}

/// Sessions of one process, with a SIS that answers so, and how often it was asked.
fn answering(after: Duration, status: u16, retry_after: Option<&'static str>) -> (Arc<Answers>, Session) {
    let answers = Arc::new(Answers { asked: AtomicU32::new(0), after, status, retry_after });
    let connection = json!({"kind": "skyward-qmlativ", "base_url": "https://sis.example/API", "client_id": "rollcall"});
    let credentials = Credentials {
        district: "d".parse().unwrap(),
        number: ConnectionNo(0),
        connection: Arc::new(serde_json::from_value(connection).unwrap()),
        secrets: Arc::new(ConnectionSecrets { client_secret: "secret".into(), ..ConnectionSecrets::default() }),
    };
    let http = Http::new(HttpConfig::default()).unwrap().over(Arc::clone(&answers) as Arc<dyn Transport>);
    let clock = ManualClock::new(chrono::DateTime::from_timestamp(1_760_000_000, 0).unwrap());
    (answers, Session::new(Shared::new(http, Arc::new(clock)), credentials))
}

async fn called(session: &Session) -> SisError {
    let url = "https://sis.example/API/students".parse().unwrap();
    let call = Call { method: Method::GET, url, body: None, what: "students".to_owned() };
    session.call(&call).await.unwrap_err()
}

/// A lane would count as lost while its SIS takes its time three times over.
#[tokio::test]
async fn only_what_fails_fast_is_repeated_at_once() {
    for (after, status, asked) in [(Duration::ZERO, 500, 3), (FAST, 500, 1), (Duration::ZERO, 404, 1)] {
        let (answers, session) = answering(after, status, None);
        let error = called(&session).await;
        assert!(matches!(error, SisError::Status { status: told, .. } if told == status), "{error:?}");
        assert_eq!(answers.asked.load(Ordering::Relaxed), asked, "{status} after {after:?}");
    }
}

/// What a call has found out itself is told, and counts as its failure.
#[tokio::test]
async fn who_closes_a_circuit_tells_why() {
    let (answers, session) = answering(Duration::ZERO, 500, None);
    for _ in 0..2 {
        let error = called(&session).await;
        assert!(matches!(error, SisError::Status { status: 500, .. }), "{error:?}");
    }
    assert_eq!(answers.asked.load(Ordering::Relaxed), 5, "the fifth failure in a row");
    let error = called(&session).await;
    assert!(matches!(error, SisError::CircuitOpen { .. }), "{error:?}");
    assert_eq!(answers.asked.load(Ordering::Relaxed), 5);
}

/// Of several lanes all would wait as the SIS wants, and pay with attempts for what the others were told.
#[tokio::test]
async fn a_sis_that_says_when_to_come_back_closes_no_circuit() {
    for (status, retry_after) in [(503, Some("30")), (429, Some("30")), (429, None)] {
        let (answers, session) = answering(Duration::ZERO, status, retry_after);
        for asked in 1..=12 {
            let error = called(&session).await;
            let named = retry_after.map_or(5, |_| 30);
            assert_eq!(error.remedy(), Remedy::Wait(Duration::from_secs(named)), "{error:?}");
            assert_eq!(answers.asked.load(Ordering::Relaxed), asked);
        }
        let (host, circuits) = ("sis.example", session.shared.gate.circuits());
        assert_eq!(circuits.with(host, |circuit| circuit.admit(session.now())), Ok(Admission::Free));
    }
}

/// It is no sign that a host is well either: what it failed at before still counts.
#[tokio::test]
async fn a_named_time_forgives_no_failures() {
    let (_, session) = answering(Duration::ZERO, 503, Some("30"));
    session.authenticate().await.unwrap();
    let (host, circuits) = ("sis.example", session.shared.gate.circuits());
    for _ in 0..4 {
        circuits.with(host, |circuit| circuit.failed(session.now()));
    }
    called(&session).await;
    circuits.with(host, |circuit| circuit.failed(session.now()));
    assert!(circuits.with(host, |circuit| circuit.admit(session.now())).is_err(), "the fifth in a row");
}
