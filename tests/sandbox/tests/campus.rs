//! Programs and flags beside a roster, as a partner meets them.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use reqwest::StatusCode;
use rollcall_sandbox::SandboxConfig;
use serde_json::{Value, json};

use crate::common::Rig;

/// Writes a flag of a student's: the status, and the code minor of a refusal.
async fn put(rig: &Rig, token: &str, student: &str) -> (StatusCode, Option<String>) {
    let id = "8d4b0a1e-3c55-5b0e-9a55-1f0f6f0f8c11";
    let url = format!("{}/gradebook/v1p2/programParticipations/{id}", rig.sandbox.campus_base_url());
    let (key, secret) = rig.sandbox.campus_vendor();
    let flag = json!({
        "sourcedId": id, "student": { "sourcedId": student }, "program": { "sourcedId": "101" }, "beginDate": "2026-09-01",
    });
    let call = rig.client.put(url).bearer_auth(token).header("x-vendor-authorization", format!("{key}:{secret}"));
    let answer = call.json(&json!({ "programParticipation": flag })).send().await.unwrap();
    let status = answer.status();
    let body: Option<Value> = answer.json().await.ok();
    let minor = body.map(|body| {
        body["imsx_CodeMinor"]["imsx_codeMinorField"][0]["imsx_codeMinorFieldValue"].as_str().unwrap().to_owned()
    });
    (status, minor)
}

#[tokio::test]
async fn a_campus_with_a_roster_knows_the_students_of_it_alone() {
    let rig = Rig::new(SandboxConfig { students: 300, change_percent: 20.0, ..SandboxConfig::default() }).await;
    let call = rig.client.post(rig.sandbox.campus_token_url());
    let call = call.basic_auth(rig.sandbox.client_id(), Some(rig.sandbox.client_secret()));
    let token: Value = call.form(&[("grant_type", "client_credentials")]).send().await.unwrap().json().await.unwrap();
    let token = token["access_token"].as_str().unwrap();
    let unknown = (StatusCode::NOT_FOUND, Some("unknownobject".to_owned()));
    for stranger in ["nobody", "s10000", "10000", ""] {
        assert_eq!(put(&rig, token, stranger).await, unknown, "{stranger:?}");
    }
    let first = rig.sandbox.expected_campus(1);
    let student = first.keys().next().unwrap();
    assert_eq!(put(&rig, token, student).await, (StatusCode::CREATED, None));
    assert_eq!(put(&rig, token, &student.to_uppercase()).await, (StatusCode::OK, None));

    let second = rig.sandbox.expected_campus(2);
    let newcomer = second.keys().find(|id| !first.contains_key(*id)).unwrap();
    assert_eq!(put(&rig, token, newcomer).await, unknown, "who comes with the next night");
    rig.sandbox.set_night(2);
    assert_eq!(put(&rig, token, newcomer).await, (StatusCode::OK, None));
    rig.sandbox.set_night(3);
    let mut gone = second.keys().filter(|id| !rig.sandbox.expected_campus(3)[*id].listed);
    assert_eq!(put(&rig, token, gone.next_back().unwrap()).await, (StatusCode::OK, None), "who left is still known");
    rig.sandbox.set_night(1);
    assert_eq!(put(&rig, token, newcomer).await, unknown);
}
