//! The documents API over HTTP.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{collections::BTreeSet, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::TimeDelta;
use reqwest::{Client, Method, StatusCode, header};
use rollcall_proto::{message::Body, topology::Queue};
use rollcall_web::api::{self, integration};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::support::{
    HOSTILE_HTML, OTHER_STUDENT, PROGRAM, STUDENT, Site,
    caller::{Answer, Caller, assert_problem},
    now,
};

fn document(id: &str, status: &str) -> Value {
    json!({
        "document_id": id, "student_id": STUDENT, "program": PROGRAM, "kind": "IEP", "status": status,
        "start": "2026-09-01", "data": { "minutes": 30 }, "file": STANDARD.encode(HOSTILE_HTML),
    })
}

#[tokio::test]
async fn a_document_goes_from_draft_to_completed_to_withdrawn() {
    let site = Site::start().await;
    let district = site.district("lone-star").await;
    let caller = Caller::new(&site, &district).await;

    let made = caller.create("k1", &document("IEP 1/7", "draft")).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    assert_eq!((&made.body["status"], &made.body["version"]), (&json!("draft"), &json!(1)));
    assert_eq!(made.body["file_type"], json!("text/html; charset=utf-8"));

    let mut changed = document("IEP 1/7", "draft");
    changed["end"] = json!("2027-08-31");
    let path = "documents/IEP%201%2F7";
    let replaced = caller.send(Method::PUT, path, Some("k2"), Some(&changed)).await;
    assert_eq!((replaced.status, &replaced.body["end"]), (StatusCode::OK, &json!("2027-08-31")), "{}", replaced.body);

    let completed = caller.send(Method::POST, &format!("{path}/complete"), Some("k3"), None).await;
    assert_eq!((completed.status, &completed.body["status"]), (StatusCode::OK, &json!("completed")));
    site.rename(STUDENT, "Anna").await;
    let mut read = caller.send(Method::GET, path, None, None).await;
    let demographics = read.body.as_object_mut().unwrap().remove("demographics").unwrap();
    let data = read.body.as_object_mut().unwrap().remove("data").unwrap();
    assert_eq!(read.body, completed.body);
    assert_eq!(data, json!({ "minutes": 30 }), "as it was handed in");
    assert_eq!(demographics["first_name"], json!("Ana <b>de</b> Vries"), "as it was when the document was made");
    assert_eq!((&demographics["school"], &demographics["birth_date"]), (&json!("010"), &Value::Null));

    changed["data"] = json!({ "minutes": 45, "goals": ["reads"] });
    changed["status"] = json!("completed");
    let replaced = caller.send(Method::PUT, path, Some("k3a"), Some(&changed)).await;
    assert_eq!((replaced.status, replaced.body.get("data")), (StatusCode::OK, None), "{}", replaced.body);
    site.spoil("demographics", "IEP 1/7").await;
    let read = caller.send(Method::GET, path, None, None).await;
    assert_eq!((read.status, &read.body["demographics"]), (StatusCode::OK, &Value::Null), "{}", read.body);
    assert_eq!(read.body["data"], changed["data"]);
    site.spoil("data", "IEP 1/7").await;
    let read = caller.send(Method::GET, path, None, None).await;
    assert_eq!((read.status, &read.body["data"]), (StatusCode::OK, &Value::Null), "{}", read.body);

    let withdrawn = caller.send(Method::POST, &format!("{path}/withdraw"), Some("k4"), None).await;
    assert_eq!(withdrawn.body["status"], json!("withdrawn"));
    let again = caller.send(Method::POST, &format!("{path}/complete"), Some("k5"), None).await;
    assert_problem(&again, StatusCode::CONFLICT, "document-withdrawn");

    let listed =
        caller.send(Method::GET, &format!("documents?student_id={STUDENT}&status=withdrawn"), None, None).await;
    assert_eq!(listed.body.as_array().unwrap().len(), 1);
    let none = caller.send(Method::GET, "documents?after=IEP%201%2F7", None, None).await;
    assert_eq!(none.body, json!([]));
}

#[tokio::test]
async fn the_same_key_again_changes_nothing_and_answers_alike() {
    let site = Site::start().await;
    let district = site.district("lone-star").await;
    let caller = Caller::new(&site, &district).await;
    let first = caller.create("k1", &document("IEP-1", "completed")).await;
    let again = caller.create("k1", &document("IEP-1", "completed")).await;
    assert_eq!((first.status, again.status), (StatusCode::CREATED, StatusCode::CREATED));
    assert_eq!(first.body, again.body);
    let withdraw = || caller.send(Method::POST, "documents/IEP-1/withdraw", Some("w1"), None);
    let withdrawn = withdraw().await;
    assert_eq!((withdrawn.status, &withdrawn.body["version"]), (StatusCode::OK, &json!(2)));
    let late = caller.create("k1", &document("IEP-1", "completed")).await;
    assert_eq!((late.status, late.body), (StatusCode::CREATED, first.body), "the first answer, whatever came since");
    assert_eq!(withdraw().await.body, withdrawn.body);
    let other = caller.create("k1", &document("IEP-2", "completed")).await;
    assert_problem(&other, StatusCode::UNPROCESSABLE_ENTITY, "key-reused");
    let complete = caller.send(Method::POST, "documents/IEP-1/complete", Some("w1"), None).await;
    assert_problem(&complete, StatusCode::UNPROCESSABLE_ENTITY, "key-reused");
    let unknown = caller.send(Method::POST, "documents/IEP-1/shred", Some("w2"), None).await;
    assert_problem(&unknown, StatusCode::NOT_FOUND, "request-malformed");
    let taken = caller.create("k2", &document("IEP-1", "draft")).await;
    assert_problem(&taken, StatusCode::CONFLICT, "document-exists");
}

#[tokio::test]
async fn many_requests_with_one_key_at_the_same_moment_make_one_document() {
    let site = Site::start().await;
    let district = site.district("lone-star").await;
    let caller = Caller::new(&site, &district).await;
    let body = document("IEP-1", "completed");
    let answers = futures_util::future::join_all((0..8).map(|_| caller.create("k1", &body))).await;
    for answer in &answers {
        assert_eq!((answer.status, &answer.body), (StatusCode::CREATED, &answers[0].body));
    }
    assert_eq!(answers[0].body["version"], json!(1));
}

#[tokio::test]
async fn a_file_may_be_as_large_as_is_said_and_no_larger() {
    let site = Site::start().await;
    let district = site.district("lone-star").await;
    let caller = Caller::new(&site, &district).await;
    let with_file = |id: &str, bytes: usize| {
        let mut pdf = b"%PDF-1.7\n".to_vec();
        pdf.resize(bytes, b' ');
        let mut body = document(id, "completed");
        body["file"] = json!(STANDARD.encode(pdf));
        body
    };
    let most = 20 << 20;
    let taken = caller.create("k1", &with_file("IEP-1", most)).await;
    assert_eq!((taken.status, &taken.body["file_bytes"]), (StatusCode::CREATED, &json!(most)), "{}", taken.body);
    let refused = caller.create("k2", &with_file("IEP-2", most + 1)).await;
    assert_problem(&refused, StatusCode::PAYLOAD_TOO_LARGE, "file-too-large");
    let mut wordy = document("IEP-3", "completed");
    wordy["data"] = json!({ "text": "x".repeat(1 << 20) });
    assert_problem(&caller.create("k3", &wordy).await, StatusCode::PAYLOAD_TOO_LARGE, "data-too-large");
    assert_eq!(caller.send(Method::GET, "documents", None, None).await.body.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_no_request_of_the_api_is_a_problem_too() {
    let site = Site::start().await;
    let district = site.district("lone-star").await;
    let caller = Caller::with_scopes(&site, &district, "documents flags.write").await;
    // One more than a file, structured data and room for the rest.
    let most = (20 << 20) / 3 * 4 + (1 << 20) + (64 << 10);
    let large =
        |url| caller.client.post(url).header(header::CONTENT_TYPE, "application/json").body(vec![b' '; most + 1]);
    for path in ["api/v1/documents", "api/v1/flags/approve"] {
        let sent = large(site.base.join(path).unwrap()).header("Idempotency-Key", "k1").bearer_auth(&caller.token);
        let refused = Answer::of(sent.send().await.unwrap()).await;
        assert_problem(&refused, StatusCode::PAYLOAD_TOO_LARGE, "request-too-large");
    }
    let token = large(site.base.join("oauth2/token").unwrap()).send().await.unwrap();
    assert_eq!(token.status(), StatusCode::BAD_REQUEST);
    assert_eq!(token.json::<Value>().await.unwrap(), json!({"error": "invalid_request"}));

    for path in ["", "nothing", "documents/", "documents/a/complete/b", "documents/%FF"] {
        let unknown = caller.send(Method::GET, path, None, None).await;
        assert_problem(&unknown, StatusCode::NOT_FOUND, "request-malformed");
    }
    for (method, path, allowed) in [
        (Method::DELETE, "documents/IEP-1", "GET,HEAD,PUT"),
        (Method::PATCH, "documents", "GET,HEAD,POST"),
        (Method::POST, "openapi.json", "GET,HEAD"),
    ] {
        let refused = caller.send(method, path, None, None).await;
        assert_problem(&refused, StatusCode::METHOD_NOT_ALLOWED, "request-malformed");
        assert_eq!(refused.headers[header::ALLOW], allowed, "{path}");
    }
}

#[tokio::test]
async fn a_completed_document_has_the_students_flags_looked_at_at_once() {
    let site = Site::start().await;
    let district = site.district("lone-star").await;
    let caller = Caller::new(&site, &district).await;
    let mut flags = site.bus.subscribe(Queue::Flags, 8).await.unwrap();
    caller.create("k1", &document("IEP-1", "draft")).await;
    caller.send(Method::POST, "documents/IEP-1/complete", Some("k2"), None).await;
    let delivery = tokio::time::timeout(Duration::from_secs(10), flags.next()).await.unwrap().unwrap();
    let message = delivery.message.unwrap();
    assert_eq!(message.district, district);
    let Body::FlagSync(sync) = &message.body else { panic!("{:?}", message.body) };
    assert_eq!(sync.student.as_ref().map(|student| student.0.as_str()), Some(STUDENT));
}

#[tokio::test]
async fn refusals_say_why() {
    let site = Site::start().await;
    let district = site.district("lone-star").await;
    let caller = Caller::new(&site, &district).await;
    let with = |name: &str, value: Value| {
        let mut body = document("IEP-1", "draft");
        body[name] = value;
        body
    };
    let unprocessable = StatusCode::UNPROCESSABLE_ENTITY;
    let cases = [
        (with("student_id", json!("nobody")), unprocessable, "student-unknown"),
        (with("program", json!("Chess")), unprocessable, "program-unknown"),
        (with("end", json!("2026-08-31")), unprocessable, "dates-reversed"),
        (with("file", json!(STANDARD.encode("plain text"))), unprocessable, "file-type-unknown"),
        (with("file", json!("not base64!")), StatusCode::BAD_REQUEST, "request-malformed"),
        (with("start", json!("yesterday")), StatusCode::UNPROCESSABLE_ENTITY, "date-unreadable"),
        (with("start", json!("26-09-01")), StatusCode::UNPROCESSABLE_ENTITY, "date-unreadable"),
        (with("start", json!(" 2026-9-1")), StatusCode::UNPROCESSABLE_ENTITY, "date-unreadable"),
        (with("start", json!("0206-09-01")), StatusCode::UNPROCESSABLE_ENTITY, "date-unreadable"),
        (with("end", json!("27-08-31")), StatusCode::UNPROCESSABLE_ENTITY, "date-unreadable"),
        (with("end", json!("2200-01-01")), StatusCode::UNPROCESSABLE_ENTITY, "date-unreadable"),
        (with("start", json!(20_260_901)), StatusCode::BAD_REQUEST, "request-malformed"),
        (with("status", json!("withdrawn")), StatusCode::BAD_REQUEST, "request-malformed"),
        (with("surprise", json!(1)), StatusCode::BAD_REQUEST, "request-malformed"),
        (with("document_id", json!("")), StatusCode::BAD_REQUEST, "request-malformed"),
        (json!([]), StatusCode::BAD_REQUEST, "request-malformed"),
    ];
    for (number, (body, status, code)) in cases.into_iter().enumerate() {
        assert_problem(&caller.create(&format!("k{number}"), &body).await, status, code);
    }
    let keyless = caller.send(Method::POST, "documents", None, Some(&document("IEP-1", "draft"))).await;
    assert_problem(&keyless, StatusCode::BAD_REQUEST, "idempotency-key-missing");
    let missing = caller.send(Method::GET, "documents/none", None, None).await;
    assert_problem(&missing, StatusCode::NOT_FOUND, "document-missing");
    let other = caller.send(Method::PUT, "documents/other", Some("p"), Some(&document("IEP-1", "draft"))).await;
    assert_problem(&other, StatusCode::BAD_REQUEST, "request-malformed");
    for query in ["limit=0", "limit=1001", "status=open", "surprise=1"] {
        let answer = caller.send(Method::GET, &format!("documents?{query}"), None, None).await;
        assert_problem(&answer, StatusCode::BAD_REQUEST, "request-malformed");
    }
}

#[tokio::test]
async fn an_integration_sees_its_own_district_only() {
    let site = Site::start().await;
    let (lone_star, alamo) = (site.district("lone-star").await, site.district("alamo").await);
    let (mine, theirs) = (Caller::new(&site, &lone_star).await, Caller::new(&site, &alamo).await);
    assert_eq!(mine.create("k1", &document("IEP-1", "completed")).await.status, StatusCode::CREATED);
    assert_problem(
        &theirs.send(Method::GET, "documents/IEP-1", None, None).await,
        StatusCode::NOT_FOUND,
        "document-missing",
    );
    assert_eq!(theirs.send(Method::GET, "documents", None, None).await.body, json!([]));
    // A token under another district's name is nobody's.
    let forged = mine.token.replacen("lone-star", "alamo", 1);
    let stranger = Caller { site: &site, client: mine.client.clone(), token: forged };
    assert_problem(
        &stranger.send(Method::GET, "documents", None, None).await,
        StatusCode::UNAUTHORIZED,
        "token-invalid",
    );
}

#[tokio::test]
async fn tokens_expire_and_go_with_their_integration() {
    let site = Site::start().await;
    let district = site.district("lone-star").await;
    let caller = Caller::new(&site, &district).await;
    assert_eq!(caller.send(Method::GET, "documents", None, None).await.status, StatusCode::OK);
    site.clock.advance(TimeDelta::minutes(15));
    let late = caller.send(Method::GET, "documents", None, None).await;
    assert_problem(&late, StatusCode::UNAUTHORIZED, "token-invalid");
    assert_eq!(late.headers[header::WWW_AUTHENTICATE], "Bearer realm=\"rollcall\"");
    let fresh = Caller::new(&site, &district).await;
    let all = site.store.integrations(&district).await.unwrap();
    for one in all {
        assert!(one.secret_hash.starts_with("$argon2id$"));
        site.store.remove_integration(&district, &one.id, "test", now()).await.unwrap();
    }
    assert_eq!(fresh.send(Method::GET, "documents", None, None).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn token_requests_are_refused_as_oauth_says() {
    let site = Site::start().await;
    let district = site.district("lone-star").await;
    let scopes = "documents".parse().unwrap();
    let added = integration::add(&site.store, &district, "Plans", scopes, "test", now()).await.unwrap();
    let (id, secret) = (added.client_id.as_str(), added.client_secret.expose_secret());
    let url = site.base.join("oauth2/token").unwrap();
    let client = Client::builder().no_proxy().build().unwrap();
    let grant = ("grant_type", "client_credentials");
    let cases = [
        (vec![grant, ("client_id", id), ("client_secret", "wrong")], 401, "invalid_client"),
        (vec![grant, ("client_id", "lone-star.nobody"), ("client_secret", secret)], 401, "invalid_client"),
        (vec![grant, ("client_id", "nowhere.nobody"), ("client_secret", secret)], 401, "invalid_client"),
        (vec![grant], 401, "invalid_client"),
        (vec![("client_id", id), ("client_secret", secret)], 400, "invalid_request"),
        (vec![("grant_type", "password"), ("client_id", id), ("client_secret", secret)], 400, "unsupported_grant_type"),
        (vec![grant, ("scope", "everything"), ("client_id", id), ("client_secret", secret)], 400, "invalid_scope"),
        (vec![grant, grant, ("client_id", id), ("client_secret", secret)], 400, "invalid_request"),
    ];
    for (form, status, error) in cases {
        let answer = client.post(url.clone()).form(&form).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{form:?}");
        assert_eq!(answer.json::<Value>().await.unwrap()["error"], json!(error), "{form:?}");
    }
    let basic = client.post(url.clone()).basic_auth(id, Some(secret)).form(&[grant]).send().await.unwrap();
    assert_eq!(basic.status(), StatusCode::OK);
    let both =
        client.post(url).basic_auth(id, Some(secret)).form(&[grant, ("client_id", id), ("client_secret", secret)]);
    assert_eq!(both.send().await.unwrap().status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn secrets_and_tokens_do_not_lie_in_the_store() {
    let site = Site::start().await;
    let district = site.district("lone-star").await;
    let caller = Caller::new(&site, &district).await;
    caller.create("k1", &document("IEP-1", "completed")).await;
    let random = caller.token.split_once('.').unwrap().1;
    for file in std::fs::read_dir(site.dir.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(!holds(random) && !holds("Plan of the year") && !holds("\"minutes\""));
    }
}

#[tokio::test]
async fn the_description_is_served_and_names_every_route() {
    let site = Site::start().await;
    let served = reqwest::get(site.base.join("api/v1/openapi.json").unwrap()).await.unwrap();
    let served: Value = served.json().await.unwrap();
    assert_eq!(served, serde_json::to_value(api::description()).unwrap());
    assert!(served["openapi"].as_str().unwrap().starts_with("3."));
    insta::assert_json_snapshot!("openapi", served);
    // Every operation is reachable as described: without a token it asks for one.
    let client = Client::builder().no_proxy().build().unwrap();
    let mut names = BTreeSet::new();
    for (path, operations) in served["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            assert!(
                names.insert(operation["operationId"].as_str().unwrap()),
                "two operations of one name: {operation}"
            );
            let path = path.trim_start_matches('/').replace("{document_id}", "x").replace("{change}", "complete");
            let method: Method = method.to_uppercase().parse().unwrap();
            let answer = client.request(method.clone(), site.base.join(&path).unwrap()).send().await.unwrap();
            let expected = if path == "oauth2/token" { StatusCode::BAD_REQUEST } else { StatusCode::UNAUTHORIZED };
            assert_eq!(answer.status(), expected, "{method} {path}");
            assert!(
                operation["responses"][expected.as_str()].is_object(),
                "{method} {path} does not describe {expected}"
            );
        }
    }
}

#[tokio::test]
async fn another_student_of_the_same_document_is_refused() {
    let site = Site::start().await;
    let district = site.district("lone-star").await;
    let caller = Caller::new(&site, &district).await;
    caller.create("k1", &document("IEP-1", "draft")).await;
    let mut moved = document("IEP-1", "draft");
    moved["student_id"] = json!(OTHER_STUDENT);
    let answer = caller.send(Method::PUT, "documents/IEP-1", Some("k2"), Some(&moved)).await;
    assert_eq!((answer.status, &answer.body["code"]), (StatusCode::CONFLICT, &json!("document-of-another")));
}
