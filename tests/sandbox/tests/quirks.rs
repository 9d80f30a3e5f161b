//! Each quirk does what it says, and can be switched off again; steering from another process.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::time::Duration;

use reqwest::{Method, StatusCode};
use rollcall_sandbox::{
    Burst, DataQuirks, DateStyle, Drift, Fault, FaultKind, Grants, NextStyle, ObjectField, ObjectPage, OnDeniedField,
    PagingQuirks, Quirks, RetryAfter, SandboxConfig, Scenario, Throttle,
};
use serde_json::{Value, json};

use crate::common::{Rig, numbers};

const STUDENT: &str = "Student/Student";
const LIST: &str = "/Custom/1/Student/Student/1/50?searchFields=StudentID";

fn fault(kind: FaultKind) -> Quirks {
    Quirks { faults: vec![Fault { kind, object: None, page: None, times: None }], ..Quirks::default() }
}

fn paging(paging: PagingQuirks) -> Quirks {
    Quirks { paging, ..Quirks::default() }
}

fn data(data: DataQuirks) -> Quirks {
    Quirks { data, ..Quirks::default() }
}

#[tokio::test]
async fn throttling_strikes_every_nth_request() {
    let throttle =
        |retry_after| Quirks { too_many_requests: Some(Throttle { every: 3, retry_after }), ..Quirks::default() };
    let rig = Rig::with_quirks(throttle(RetryAfter::Seconds(7))).await;
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(rig.get(LIST).await.status().as_u16());
    }
    assert_eq!(statuses, [200, 200, 429, 200, 200, 429]);
    rig.sandbox.set_quirks(throttle(RetryAfter::Date(60)));
    for _ in 0..2 {
        rig.get(LIST).await;
    }
    let answer = rig.get(LIST).await;
    let date = answer.headers()["retry-after"].to_str().unwrap();
    assert!(chrono::DateTime::parse_from_rfc2822(date).is_ok(), "{date}");
}

#[tokio::test]
async fn the_sis_is_unavailable_in_bursts() {
    let unavailable = Some(Burst { every: 2, length: 3, retry_after: RetryAfter::Seconds(1) });
    let rig = Rig::with_quirks(Quirks { unavailable, ..Quirks::default() }).await;
    let mut statuses = Vec::new();
    for _ in 0..7 {
        statuses.push(rig.get(LIST).await.status().as_u16());
    }
    assert_eq!(statuses, [200, 200, 503, 503, 503, 200, 200]);
}

#[tokio::test]
async fn a_fault_strikes_its_object_its_page_and_so_many_times() {
    let strike = Fault { kind: FaultKind::Status(500), object: Some("name".into()), page: Some(2), times: Some(1) };
    let rig = Rig::with_quirks(Quirks { faults: vec![strike], ..Quirks::default() }).await;
    let status = async |path: &str| rig.get(path).await.status().as_u16();
    assert_eq!(status(LIST).await, 200);
    assert_eq!(status("/Custom/1/Demographics/Name/1/50").await, 200);
    assert_eq!(status("/Custom/1/Demographics/Name/2/50").await, 500);
    assert_eq!(status("/Custom/1/Demographics/Name/2/50").await, 200);
}

#[tokio::test]
async fn bodies_are_spoiled() {
    let rig = Rig::small().await;
    rig.sandbox.set_quirks(fault(FaultKind::Html));
    let answer = rig.get(LIST).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
    rig.sandbox.set_quirks(fault(FaultKind::TruncatedJson));
    let error = serde_json::from_str::<Value>(&rig.get(LIST).await.text().await.unwrap()).unwrap_err();
    assert!(error.is_eof());
    rig.sandbox.set_quirks(fault(FaultKind::Huge(2_000_000)));
    let text = rig.get(LIST).await.text().await.unwrap();
    assert!(text.len() > 2_000_000 && serde_json::from_str::<Value>(&text).is_ok());
    rig.sandbox.set_quirks(fault(FaultKind::ConnectionReset));
    let answer = rig.get(LIST).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(answer.bytes().await.is_err());
    rig.sandbox.set_quirks(fault(FaultKind::LongLength));
    let answer = rig.get(LIST).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(answer.bytes().await.is_err(), "less comes than was announced");
    rig.sandbox.set_quirks(fault(FaultKind::SlowDrip(0)));
    assert_eq!(rig.get(LIST).await.json::<Value>().await.unwrap()["Objects"].as_array().unwrap().len(), 50);
    rig.sandbox.set_quirks(fault(FaultKind::ShortLength));
    let answer = rig.get(LIST).await;
    let announced: usize = answer.headers()["content-length"].to_str().unwrap().parse().unwrap();
    let text = answer.text().await.unwrap();
    assert_eq!(text.len(), announced);
    assert!(serde_json::from_str::<Value>(&text).unwrap_err().is_eof(), "what was announced came, and is half of it");
}

#[tokio::test]
async fn a_hanging_answer_hangs_until_the_sandbox_stops() {
    let rig = Rig::with_quirks(fault(FaultKind::HangAfterHeaders)).await;
    let answer = rig.get(LIST).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let mut reading = tokio::spawn(answer.bytes());
    assert!(tokio::time::timeout(Duration::from_millis(200), &mut reading).await.is_err(), "still hanging");
    rig.sandbox.shutdown().await;
    assert!(reading.await.unwrap().is_err());
    assert!(rig.client.get("http://127.0.0.1:1/").send().await.is_err());
}

#[tokio::test]
async fn listings_are_emptied_repeated_and_counted_wrong() {
    let rig = Rig::with_quirks(paging(PagingQuirks { empty: vec!["student".into()], ..PagingQuirks::default() })).await;
    assert_eq!(rig.page(STUDENT, &["StudentID"], 1, 50).await["Objects"], json!([]));
    assert_ne!(rig.page("Demographics/Name", &["NameID"], 1, 50).await["Objects"], json!([]));
    let repeat = vec![ObjectPage { object: "Student".into(), page: 2 }];
    rig.sandbox.set_quirks(paging(PagingQuirks { repeat, ..PagingQuirks::default() }));
    let (second, ninth) =
        (rig.page(STUDENT, &["StudentID"], 2, 50).await, rig.page(STUDENT, &["StudentID"], 9, 50).await);
    assert_eq!(second, ninth);
    for (total_off_by, total) in [(0, 300), (-1, 299)] {
        let total_key = Some("TotalCount".into());
        rig.sandbox.set_quirks(paging(PagingQuirks { total_key, total_off_by, ..PagingQuirks::default() }));
        assert_eq!(rig.page(STUDENT, &["StudentID"], 1, 50).await["Paging"]["TotalCount"], total);
    }
    let no_next = PagingQuirks { next: NextStyle::Absent, total_key: Some("Total".into()), ..PagingQuirks::default() };
    rig.sandbox.set_quirks(paging(no_next));
    assert_eq!(rig.page(STUDENT, &["StudentID"], 1, 50).await["Paging"], json!({ "Total": 300 }));
}

#[tokio::test]
async fn paging_drifts() {
    let rig = Rig::small().await;
    let ids = async || {
        let mut ids = Vec::new();
        for page in 1..=3 {
            ids.extend(numbers(&rig.page(STUDENT, &["StudentID"], page, 100).await, "StudentID"));
        }
        ids
    };
    let whole = ids().await;
    let drift = |removed, inserted| {
        let drift = vec![Drift { object: "Student".into(), after_page: 1, removed, inserted }];
        paging(PagingQuirks { drift, ..PagingQuirks::default() })
    };
    rig.sandbox.set_quirks(drift(1, 0));
    let mut skipped = whole.clone();
    skipped.remove(100);
    assert_eq!(ids().await, skipped);
    rig.sandbox.set_quirks(drift(0, 1));
    assert_eq!(ids().await[99..102], [whole[99], whole[99], whole[100]]);
    rig.sandbox.set_quirks(Quirks::default());
    assert_eq!(ids().await, whole);
}

#[tokio::test]
async fn dates_and_flags_come_in_other_shapes() {
    let rig = Rig::small().await;
    let first = async |quirks| {
        rig.sandbox.set_quirks(data(quirks));
        let fields = ["EntryWithdrawalID", "StartDate", "IsNoShow"];
        rig.page("Enrollment/EntryWithdrawal", &fields, 1, 1).await["Objects"][0].clone()
    };
    let plain = first(DataQuirks::default()).await;
    let day = plain["StartDate"].as_str().unwrap()[..10].to_owned();
    assert_eq!(plain["StartDate"], format!("{day}T00:00:00"));
    let iso = first(DataQuirks { dates: DateStyle::Iso, ..DataQuirks::default() }).await;
    assert_eq!(iso["StartDate"], day);
    let strings = first(DataQuirks { booleans_as_strings: true, ..DataQuirks::default() }).await;
    assert_eq!(strings["IsNoShow"], "false");
}

#[tokio::test]
async fn single_students_go_wrong() {
    let rig = Rig::small().await;
    let id = rig.sandbox.students_of(1, Scenario::Current)[3];
    let spell = async |quirks| {
        rig.sandbox.set_quirks(data(quirks));
        let condition = json!({ "FieldName": "StudentID", "ConditionType": "Equal", "Value": id });
        let body = json!({ "SearchCondition": { "LongSearchCondition": condition } });
        let fields = ["StartDate", "EndDate", "WithdrawalCodeID"];
        rig.search("Enrollment/EntryWithdrawal", &fields, 1, 9, &body).await["Objects"][0].clone()
    };
    assert!(spell(DataQuirks::default()).await["EndDate"].is_null());
    let garbage = spell(DataQuirks { garbage_date_student: Some(id), ..DataQuirks::default() }).await;
    assert_eq!(garbage["StartDate"], "31st of Septober");
    let backwards = spell(DataQuirks { ends_before_start_student: Some(id), ..DataQuirks::default() }).await;
    assert!(backwards["EndDate"].as_str().unwrap() < backwards["StartDate"].as_str().unwrap());
    let unknown = spell(DataQuirks { unknown_code_student: Some(id), ..DataQuirks::default() }).await;
    assert_eq!(unknown["WithdrawalCodeID"], 999_999);
    let of_nobody = async |quirks| {
        rig.sandbox.set_quirks(data(quirks));
        let page = rig.page("Enrollment/EntryWithdrawal", &["EntryWithdrawalID", "StudentID"], 1, 1_000).await;
        page["Objects"].as_array().unwrap().iter().filter(|row| row["StudentID"].is_null()).count()
    };
    assert_eq!(of_nobody(DataQuirks::default()).await, 0);
    assert!(of_nobody(DataQuirks { nobodys_enrollments: Some(id), ..DataQuirks::default() }).await > 0);
    let marked = DataQuirks { nul_name_student: Some(id), duplicate_student: Some(id), ..DataQuirks::default() };
    rig.sandbox.set_quirks(data(marked));
    let students = rig.page(STUDENT, &["StudentID", "LastName"], 1, 1_000).await;
    let rows: Vec<&Value> =
        students["Objects"].as_array().unwrap().iter().filter(|row| row["StudentID"] == id).collect();
    assert_eq!(rows.len(), 2);
    assert!(rows[0]["LastName"].as_str().unwrap().ends_with('\0'));
}

#[tokio::test]
async fn grants_go_missing() {
    let rig = Rig::small().await;
    let path = "/Custom/1/Student/Student/1/1?searchFields=StudentID&searchFields=Grade";
    let deny = |on_denied_field| {
        let denied_fields = vec![ObjectField { object: "Student".into(), field: "Grade".into() }];
        Quirks { grants: Grants { denied_fields, on_denied_field, ..Grants::default() }, ..Quirks::default() }
    };
    for (how, status) in [(OnDeniedField::BadRequest, 400), (OnDeniedField::Forbidden, 403)] {
        rig.sandbox.set_quirks(deny(how));
        assert_eq!(rig.get(path).await.status(), status);
        assert!(rig.get_json("/Custom/1/Student/Student").await.get("Grade").is_none());
    }
    rig.sandbox.set_quirks(deny(OnDeniedField::Null));
    assert!(rig.get_json(path).await["Objects"][0]["Grade"].is_null());
    rig.sandbox.set_quirks(deny(OnDeniedField::Omitted));
    assert!(rig.get_json(path).await["Objects"][0].get("Grade").is_none());
    let grants = Grants { denied_objects: vec!["student".into()], ..Grants::default() };
    rig.sandbox.set_quirks(Quirks { grants, ..Quirks::default() });
    assert_eq!(rig.get(path).await.status(), 403);
    assert_eq!(rig.get("/Custom/1/Student").await.status(), 404, "nothing else is in the module");
}

#[tokio::test]
async fn answers_are_compressed_when_switched_on() {
    let rig = Rig::small().await;
    let encoding = async || {
        let call = reqwest::Client::builder().no_gzip().build().unwrap().get(rig.url(LIST)).bearer_auth(&rig.token);
        let answer = call.header("accept-encoding", "gzip").send().await.unwrap();
        answer.headers().get("content-encoding").cloned()
    };
    assert!(encoding().await.is_none());
    rig.sandbox.set_quirks(Quirks { gzip: true, ..Quirks::default() });
    assert_eq!(encoding().await.unwrap(), "gzip");
}

#[tokio::test]
async fn latency_is_kept_and_requests_in_flight_are_counted() {
    let config = SandboxConfig { students: 50, latency_ms: 150, ..SandboxConfig::default() };
    let rig = Rig::new(config).await;
    let begin = std::time::Instant::now();
    let calls = (0..8).map(|_| rig.get(LIST));
    futures_util::future::join_all(calls).await;
    assert!(begin.elapsed() >= Duration::from_millis(150));
    let stats = rig.sandbox.stats();
    assert!((2..=8).contains(&stats.max_in_flight), "{}", stats.max_in_flight);
    assert_eq!((stats.requests, stats.requests_by_object["Student"], stats.in_flight), (9, 8, 0));
    assert!(stats.bytes > 8 * 50 * 10);
}

#[tokio::test]
async fn another_process_steers() {
    let rig = Rig::small().await;
    let control = rig.sandbox.control_url();
    let post = async |path: &str, body: Value| {
        rig.client.post(format!("{control}/{path}")).json(&body).send().await.unwrap().status().as_u16()
    };
    assert_eq!(post("night/3", json!({})).await, 200);
    assert_eq!(rig.sandbox.night(), 3);
    assert_eq!(post("night/0", json!({})).await, 400);
    assert_eq!(post("quirks", json!({ "faults": [{ "kind": { "status": 500 }, "object": "Student" }] })).await, 200);
    assert_eq!(rig.get(LIST).await.status(), 500);
    assert_eq!(post("quirks", json!({ "fautls": [] })).await, 400);
    assert_eq!(post("quirks", json!({})).await, 200);
    assert_eq!(rig.send(Method::GET, LIST, None).await.status(), 200);
    let get = async |path: &str| -> Value {
        rig.client.get(format!("{control}/{path}")).send().await.unwrap().json().await.unwrap()
    };
    assert_eq!(get("stats").await["requests_by_object"]["Student"], 2);
    let expected = get("expected?night=2&students=true").await;
    assert_eq!(expected["counts"], serde_json::to_value(rig.sandbox.expected(2)).unwrap());
    assert_eq!(expected["students"]["10000"]["status"], rig.sandbox.expected_students(2)[&10_000].status);
}
