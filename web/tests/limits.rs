//! Who sends slowly, much or in masses keeps nobody else out.

use std::time::Duration;

use reqwest::{Client, Method, StatusCode, header};
use rollcall_web::api::integration;
use secrecy::ExposeSecret as _;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::support::{
    STUDENT, Site,
    caller::{Caller, assert_problem},
    now,
};

/// Longer than whoever is not kept waiting takes, on a busy machine too; shorter than a form may take to come in.
const AT_ONCE: Duration = Duration::from_secs(8);

/// What a client sends on a connection of its own.
async fn send(site: &Site, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", site.base.port().unwrap())).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Some of what comes on it, until `end` was seen.
async fn answer(stream: &mut TcpStream, end: &str) -> String {
    let (mut seen, mut part) = (Vec::new(), [0; 4096]);
    while !String::from_utf8_lossy(&seen).contains(end) {
        let read = stream.read(&mut part).await.unwrap();
        assert!(read > 0, "it was closed after {:?}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&part[..read]);
    }
    String::from_utf8(seen).unwrap()
}

#[tokio::test]
async fn forms_that_trickle_in_keep_nobody_out() {
    let site = Site::start().await;
    let district = site.district("lone-star").await;
    let mut slow = Vec::new();
    for number in 0..400 {
        let path = if number % 2 == 0 { "/lti/lone-star/login" } else { "/oauth2/token" };
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: 1000\r\n\r\ni"
        );
        slow.push(send(&site, &head).await);
    }
    let rest = async {
        let client = Client::builder().no_proxy().build().unwrap();
        let live = client.get(site.base.join("health/live").unwrap()).send().await.unwrap();
        assert_eq!(live.status(), StatusCode::OK);
        let style = client.get(site.base.join("lti/style.css").unwrap()).send().await.unwrap();
        assert_eq!(style.status(), StatusCode::OK);
        // Gets a token, and is answered.
        let caller = Caller::new(&site, &district).await;
        assert_eq!(caller.send(Method::GET, "documents", None, None).await.status, StatusCode::OK);
    };
    tokio::time::timeout(AT_ONCE, rest).await.expect("nobody waits for those who send slowly");
}

#[tokio::test]
async fn an_integration_that_sends_much_and_slowly_keeps_no_other_waiting() {
    let site = Site::start().await;
    let (one, other) = (site.district("lone-star").await, site.district("alamo").await);
    let (one, other) = (Caller::new(&site, &one).await, Caller::new(&site, &other).await);
    let mut slow = Vec::new();
    for _ in 0..300 {
        let head = format!(
            "POST /api/v1/documents HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{",
            one.token
        );
        slow.push(send(&site, &head).await);
    }
    let listed = tokio::time::timeout(AT_ONCE, other.send(Method::GET, "documents", None, None)).await;
    assert_eq!(listed.expect("another integration has its turn").status, StatusCode::OK);
}

#[tokio::test]
async fn a_request_for_a_token_is_small() {
    let site = Site::start().await;
    let district = site.district("lone-star").await;
    let scopes = "documents".parse().unwrap();
    let added = integration::add(&site.store, &district, "Plans", scopes, "test", now()).await.unwrap();
    let client = Client::builder().no_proxy().build().unwrap();
    let ask = async |padding: usize| {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", &added.client_id),
            ("client_secret", added.client_secret.expose_secret()),
            ("padding", &"x".repeat(padding)),
        ];
        client.post(site.base.join("oauth2/token").unwrap()).form(&form).send().await.unwrap().status()
    };
    assert_eq!(ask(70 << 10).await, StatusCode::OK);
    assert_eq!(ask(90 << 10).await, StatusCode::BAD_REQUEST);
}

/// An integration has one of the largest under way, and two fit in; another one waits, is told so, and holds up nobody who sends little.
#[tokio::test]
async fn large_bodies_share_their_memory() {
    let site = Site::start().await;
    let mut callers = Vec::new();
    for district in ["lone-star", "alamo", "pecos"] {
        callers.push(Caller::new(&site, &site.district(district).await).await);
    }
    let head = |token: &str| {
        format!(
            "POST /api/v1/documents HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
            27 << 20
        )
    };
    let mut under_way = Vec::new();
    for caller in &callers[..2] {
        let mut stream = send(&site, &head(&caller.token)).await;
        answer(&mut stream, "HTTP/1.1 100 Continue\r\n\r\n").await;
        under_way.push(stream);
    }
    // One's own second, and a third one's first.
    let mut waiting = [send(&site, &head(&callers[0].token)).await, send(&site, &head(&callers[2].token)).await];
    let mut stranger = send(&site, &head("lone-star.none")).await;
    assert!(answer(&mut stranger, "token-invalid").await.starts_with("HTTP/1.1 401 "), "a stranger takes up nothing");
    let small = json!({"document_id": "IEP-1", "student_id": STUDENT, "program": "Special Education", "kind": "IEP",
        "status": "draft", "start": "2026-09-01"});
    for caller in &callers {
        let made = tokio::time::timeout(AT_ONCE, caller.create("k1", &small)).await.expect("little is taken at once");
        assert_eq!(made.status, StatusCode::CREATED);
    }
    for waiting in &mut waiting {
        let told = answer(waiting, "\"busy\"").await;
        assert!(told.starts_with("HTTP/1.1 503 ") && told.contains("application/problem+json"), "{told}");
    }
    // Their room is free again once they are gone.
    drop(under_way);
    for caller in &callers[..2] {
        let mut next = send(&site, &head(&caller.token)).await;
        answer(&mut next, "HTTP/1.1 100 Continue\r\n\r\n").await;
    }
}

/// A database keeps no NUL: what has one is refused as what it is, and no outage.
#[tokio::test]
async fn control_characters_are_refused_wherever_something_is_named() {
    let site = Site::start().await;
    let district = site.district("lone-star").await;
    let caller = Caller::new(&site, &district).await;
    let good = json!({"document_id": "IEP-1", "student_id": STUDENT, "program": "Special Education", "kind": "IEP",
        "status": "draft", "start": "2026-09-01"});
    for member in ["document_id", "student_id", "program", "kind"] {
        let mut bad = good.clone();
        bad[member] = json!(format!("{}\0", good[member].as_str().unwrap()));
        assert_problem(&caller.create(member, &bad).await, StatusCode::BAD_REQUEST, "request-malformed");
    }
    let flags = Caller::with_scopes(&site, &district, "flags.read").await;
    for path in ["flags?student_id=a%00", "flags?program=%00", "flags/plan?program=%00"] {
        let listed = flags.send(Method::GET, path, None, None).await;
        assert_problem(&listed, StatusCode::BAD_REQUEST, "request-malformed");
    }
    for query in ["student_id=a%00", "program=%00", "after=a%00"] {
        let listed = caller.send(Method::GET, &format!("documents?{query}"), None, None).await;
        assert_problem(&listed, StatusCode::BAD_REQUEST, "request-malformed");
    }
    let form = [("grant_type", "client_credentials"), ("client_id", "lone-star.a\0"), ("client_secret", "x")];
    let answer = caller.client.post(site.base.join("oauth2/token").unwrap()).form(&form).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert!(answer.headers().contains_key(header::WWW_AUTHENTICATE));
    assert_eq!(caller.create("good", &good).await.status, StatusCode::CREATED);
}
