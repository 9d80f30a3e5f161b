//! The protocol as a client meets it: tokens, metadata, searches, pages, writes.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]
// Taking JSON by value keeps the tables of conditions readable.
#![allow(clippy::needless_pass_by_value)]

use std::collections::{BTreeSet, HashSet};

use reqwest::{Method, StatusCode};
use rollcall_sandbox::{AuthQuirks, ExtraValue, Placement, Quirks, SandboxConfig};
use serde_json::{Value, json};

use crate::common::{Rig, numbers};

const STUDENT: &str = "Student/Student";

#[tokio::test]
async fn tokens_come_in_all_three_styles() {
    let rig = Rig::small().await;
    let (id, secret, url) = (rig.sandbox.client_id(), rig.sandbox.client_secret(), rig.url("/oauth/token"));
    let grant = [("grant_type", "client_credentials")];
    let encoded = secret.replace('/', "%2F").replace('+', "%2B");
    let get_with_basic = rig.client.get(&url).query(&grant).basic_auth(id, Some(&encoded));
    let post_with_basic = rig.client.post(&url).basic_auth(id, Some(secret)).form(&grant);
    let form = [grant[0], ("client_id", id), ("client_secret", secret)];
    let post_with_form = rig.client.post(&url).form(&form);
    for call in [get_with_basic, post_with_basic, post_with_form] {
        let answer: Value = call.send().await.unwrap().json().await.unwrap();
        let token = answer["access_token"].as_str().unwrap();
        assert_eq!((answer["token_type"].as_str(), answer["expires_in"].as_u64()), (Some("bearer"), Some(3_600)));
        let answer = rig.client.get(rig.url("/Generic/GetSystemMetadata")).bearer_auth(token).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
    }
    assert_eq!(rig.sandbox.stats().token_fetches, 4);
    // The other way about they are no good: a server that compares what stands there does not decode it.
    let post_encoded = rig.client.post(&url).basic_auth(id, Some(&encoded)).form(&grant);
    let get_plain = rig.client.get(&url).query(&grant).basic_auth(id, Some(secret));
    for call in [post_encoded, get_plain] {
        assert_eq!(call.send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn a_wrong_secret_is_an_invalid_client() {
    let rig = Rig::small().await;
    let ask = async |secret: &str, grant: &str| {
        let call = rig.client.post(rig.url("/oauth/token")).basic_auth(rig.sandbox.client_id(), Some(secret));
        let answer = call.form(&[("grant_type", grant)]).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap()["error"].as_str().unwrap().to_owned())
    };
    assert_eq!(ask("nope", "client_credentials").await, (401, "invalid_client".into()));
    assert_eq!(ask(rig.sandbox.client_secret(), "password").await, (400, "unsupported_grant_type".into()));
    let auth = AuthQuirks { access_expired: true, ..AuthQuirks::default() };
    rig.sandbox.set_quirks(Quirks { auth, ..Quirks::default() });
    let expired = ask(rig.sandbox.client_secret(), "client_credentials").await;
    assert_eq!(expired, (400, "unauthorized_client".into()));
    assert_eq!(rig.sandbox.stats().tokens_issued, 1);
}

#[tokio::test]
async fn the_third_value_is_asked_for() {
    let rig = Rig::small().await;
    let status = async |extra: &[(&str, &str)], header: &str| {
        let call = rig.client.post(rig.url("/oauth/token"));
        let call =
            call.basic_auth(rig.sandbox.client_id(), Some(rig.sandbox.client_secret())).header("x-third", header);
        let form: Vec<_> = [("grant_type", "client_credentials")].into_iter().chain(extra.iter().copied()).collect();
        call.form(&form).send().await.unwrap().status().as_u16()
    };
    for (placement, name) in [(Placement::Parameter, "third"), (Placement::Header, "x-third")] {
        let extra = Some(ExtraValue { placement, name: name.into(), value: "v".into() });
        rig.sandbox.set_quirks(Quirks { auth: AuthQuirks { extra, ..AuthQuirks::default() }, ..Quirks::default() });
        assert_eq!(status(&[], "").await, 400);
        let right: &[(&str, &str)] = if placement == Placement::Parameter { &[("third", "v")] } else { &[] };
        assert_eq!(status(right, "v").await, 200);
    }
}

#[tokio::test]
async fn a_token_runs_out_as_403_or_401() {
    let rig = Rig::small().await;
    let path = "/Custom/1/Student/Student/1/5?searchFields=StudentID";
    for (expired_status, most) in [(403, 1), (401, 2)] {
        let auth = AuthQuirks { expired_status, token_expires_after_requests: Some(most), ..AuthQuirks::default() };
        rig.sandbox.set_quirks(Quirks { auth, ..Quirks::default() });
        let token = rig.fetch_token().await;
        let call = async || rig.client.get(rig.url(path)).bearer_auth(&token).send().await.unwrap();
        for _ in 0..most {
            assert_eq!(call().await.status(), 200);
        }
        let answer = call().await;
        assert_eq!(answer.status(), expired_status);
        assert!(answer.text().await.unwrap().contains("Token has expired"));
    }
    let short = SandboxConfig { students: 10, token_lifetime_seconds: 0, ..SandboxConfig::default() };
    let rig = Rig::new(short).await;
    assert_eq!(rig.get(path).await.status(), 403);
    let unknown = rig.client.get(rig.url(path)).bearer_auth("other").send().await.unwrap();
    assert_eq!(unknown.status(), 401);
}

#[tokio::test]
async fn roots_are_granted_apart() {
    let rig = Rig::new(SandboxConfig { students: 10, custom: false, ..SandboxConfig::default() }).await;
    assert_eq!(rig.get("/Generic/GetSystemMetadata").await.status(), 200);
    assert_eq!(rig.get("/Custom/GetSystemMetadata").await.status(), 403);
    assert_eq!(rig.get("/Other/GetSystemMetadata").await.status(), 404);
}

#[tokio::test]
async fn the_system_says_its_current_year_and_it_is_no_calendar_year() {
    let rig = Rig::small().await;
    let metadata = rig.get_json("/Custom/GetSystemMetadata").await;
    let year = &metadata["System"]["Districts"][0]["SchoolYearCurrent"];
    assert_eq!((year["SchoolYearID"].as_i64(), year["NumericYear"].as_i64()), (Some(13), Some(2027)));
    let fields = ["SchoolYearID", "NumericYear", "IsCurrentYearForProvidedEntity"];
    let years = rig.page("District/SchoolYear", &fields, 1, 10).await;
    assert_eq!(numbers(&years, "NumericYear"), [2025, 2026, 2027, 2028]);
    assert_eq!(years["Objects"][2]["IsCurrentYearForProvidedEntity"], true);
}

#[tokio::test]
async fn an_object_describes_its_fields() {
    let rig = Rig::small().await;
    let name = rig.get_json("/Custom/1/Demographics/Name").await;
    assert_eq!(name["NameID"]["PrimaryKey"], true);
    assert_eq!(name["Gender"]["PrimaryKey"], false);
    assert_eq!(name["GenderCode"]["ReadOnly"], true);
    assert_eq!(name["CreatedTime"]["Type"], "DateTime");
    assert!(name["Relationships"].is_object() && name["ValidationRules"].is_object());
    let spell = rig.get_json("/custom/1/enrollment/entrywithdrawal").await;
    assert_eq!(spell["Relationships"]["WithdrawalCode"]["Object"], "WithdrawalCode");
    let module = rig.get_json("/Custom/1/Family").await;
    assert_eq!(module["StudentGuardian"]["href"], "/Custom/1/Family/StudentGuardian");
    assert_eq!(rig.get("/Custom/1/Nonsense").await.status(), 404);
}

#[tokio::test]
async fn rows_hold_the_fields_asked_for_in_either_encoding() {
    let rig = Rig::small().await;
    let keys = |page: &Value| -> BTreeSet<String> { page["Objects"][0].as_object().unwrap().keys().cloned().collect() };
    let set = |names: &[&str]| -> BTreeSet<String> { names.iter().map(ToString::to_string).collect() };
    let list = "/Custom/1/Student/Student/1/1";
    let repeated = rig.get_json(&format!("{list}?searchFields=StudentID&searchfields=lastname")).await;
    assert_eq!(keys(&repeated), set(&["LastName", "StudentID"]));
    let indexed = rig.get_json(&format!("{list}?searchFields[0]=StudentID&searchFields%5B1%5D=NameID")).await;
    assert_eq!(keys(&indexed), set(&["NameID", "StudentID"]));
    assert_eq!(keys(&rig.get_json(list).await), set(&["StudentID"]));
    let unknown = rig.get(&format!("{list}?searchFields=ShoeSize")).await;
    assert_eq!(unknown.status(), 400);
    assert!(unknown.json::<Value>().await.unwrap()["error"].is_string());
}

#[tokio::test]
async fn pages_cover_a_listing_once_and_end() {
    let rig = Rig::small().await;
    let first = rig.page(STUDENT, &["StudentID"], 1, 120).await;
    assert_eq!(first["Paging"]["Next"], "/Custom/1/Student/Student/2/120");
    let mut all = Vec::new();
    for page in 1..=3 {
        all.extend(numbers(&rig.page(STUDENT, &["StudentID"], page, 120).await, "StudentID"));
    }
    assert_eq!(all.len(), 300);
    assert!(all.is_sorted_by(|a, b| a < b));
    let past = rig.page(STUDENT, &["StudentID"], 9, 120).await;
    assert_eq!(past, json!({ "Paging": { "Next": null }, "Objects": [] }));
    for bad in ["0/10", "1/0", "x/10"] {
        assert_eq!(rig.get(&format!("/Custom/1/Student/Student/{bad}")).await.status(), 400);
    }
}

#[tokio::test]
async fn without_a_sort_the_order_is_another_one_each_time() {
    let rig = Rig::small().await;
    let ask =
        async || numbers(&rig.get_json("/Custom/1/Student/Student/1/100?searchFields=StudentID").await, "StudentID");
    assert_ne!(ask().await, ask().await);
    let whole: HashSet<i64> =
        numbers(&rig.get_json("/Custom/1/Student/Student/1/1000?searchFields=StudentID").await, "StudentID")
            .into_iter()
            .collect();
    assert_eq!(whole.len(), 300);
}

/// Searches students with one condition.
async fn found(rig: &Rig, condition: Value) -> Vec<Value> {
    let body = json!({ "searchcondition": condition, "SearchSort": [{ "FieldName": "StudentID" }] });
    let fields = ["StudentID", "LastName", "Grade", "GradeNumeric", "IsCurrentActive", "GraduationDate"];
    rig.search(STUDENT, &fields, 1, 1_000, &body).await["Objects"].as_array().unwrap().clone()
}

fn one(wrapper: &str, field: &str, kind: &str, value: Value) -> Value {
    json!({ wrapper: { "FieldName": field, "Conditiontype": kind, "Value": value } })
}

#[tokio::test]
async fn conditions_compare_numbers_texts_flags_and_dates() {
    let rig = Rig::small().await;
    let all = found(&rig, json!(null)).await;
    let count = |passes: &dyn Fn(&Value) -> bool| all.iter().filter(|row| passes(row)).count();
    let grade = |row: &Value| row["GradeNumeric"].as_i64().unwrap();
    let long = "LongSearchCondition";
    let cases: [(Value, usize); 12] = [
        (one(long, "GradeNumeric", "Equal", json!(5)), count(&|row| grade(row) == 5)),
        (one("StringSearchCondition", "GradeNumeric", "Equal", json!("5")), count(&|row| grade(row) == 5)),
        (one(long, "GradeNumeric", "NotEqual", json!(5)), count(&|row| grade(row) != 5)),
        (one(long, "GradeNumeric", "Less", json!(3)), count(&|row| grade(row) < 3)),
        (one(long, "GradeNumeric", "LessEqual", json!(3)), count(&|row| grade(row) <= 3)),
        (one(long, "GradeNumeric", "Greater", json!(3)), count(&|row| grade(row) > 3)),
        (one(long, "GradeNumeric", "GreaterEqual", json!(3)), count(&|row| grade(row) >= 3)),
        (
            one("BoolSearchCondition", "IsCurrentActive", "Equal", json!("False")),
            count(&|row| row["IsCurrentActive"] == false),
        ),
        (one(long, "IsCurrentActive", "Equal", json!(1)), count(&|row| row["IsCurrentActive"] == true)),
        (one(long, "GraduationDate", "Null", json!(null)), count(&|row| row["GraduationDate"].is_null())),
        (one(long, "GraduationDate", "NotNull", json!(null)), count(&|row| !row["GraduationDate"].is_null())),
        (
            json!({ "DateSearchCondition": { "FieldName": "GraduationDate", "ConditionType": "BetweenInclusive",
                "LowValue": "2000-01-01", "HighValue": "2026-10-14" } }),
            count(&|row| !row["GraduationDate"].is_null()),
        ),
    ];
    for (condition, expected) in cases {
        assert!(expected > 0 && expected < 300, "{condition}");
        assert_eq!(found(&rig, condition.clone()).await.len(), expected, "{condition}");
    }
}

#[tokio::test]
async fn conditions_match_texts_and_lists_and_groups() {
    let rig = Rig::small().await;
    let all = found(&rig, json!(null)).await;
    let name = |row: &Value| row["LastName"].as_str().unwrap().to_lowercase();
    let text = "StringSearchCondition";
    for (kind, value, passes) in [
        ("Like", "%AR%", (|name: &str| name.contains("ar")) as fn(&str) -> bool),
        ("NotContains", "ar", |name| !name.contains("ar")),
        ("Begins", "b", |name| name.starts_with('b')),
        ("Ends", "Z", |name| name.ends_with('z')),
        ("Like", "_o%", |name| name.chars().nth(1) == Some('o')),
    ] {
        let expected = all.iter().filter(|row| passes(&name(row))).count();
        assert!(expected > 0, "{kind}");
        assert_eq!(found(&rig, one(text, "LastName", kind, json!(value))).await.len(), expected, "{kind}");
    }
    let list = json!({ "LongSearchCondition": { "FieldName": "StudentID", "ConditionType": "List", "list": [10_003, "10_009", 10_007] } });
    let body = json!({ "SearchCondition": list });
    let answer = rig.send(Method::POST, "/Custom/1/Student/Student/1/9", Some(&body)).await;
    assert_eq!(answer.status(), 400, "10_009 is no number");
    let list = json!({ "LongSearchCondition": { "FieldName": "StudentID", "ConditionType": "List", "list": [10_003, "10009", 10_007] } });
    let ids: Vec<i64> = found(&rig, list.clone()).await.iter().map(|row| row["StudentID"].as_i64().unwrap()).collect();
    assert_eq!(ids, [10_003, 10_007, 10_009]);
    let group = |kind: &str| {
        json!({ "SearchConditionGroup": { "ConditionGroupType": kind, "conditions": [
        list, one("LongSearchCondition", "StudentID", "Less", json!(10_005)) ] } })
    };
    assert_eq!(found(&rig, group("And")).await.len(), 1);
    assert_eq!(found(&rig, group("Or")).await.len(), 7);
}

#[tokio::test]
async fn a_search_that_makes_no_sense_is_refused() {
    let rig = Rig::small().await;
    for condition in [
        one("LongSearchCondition", "ShoeSize", "Equal", json!(1)),
        one("LongSearchCondition", "StudentID", "Resembles", json!(1)),
        one("LongSearchCondition", "StudentID", "Equal", json!("many")),
        json!({ "Nonsense": 1 }),
    ] {
        let body = json!({ "SearchCondition": condition });
        assert_eq!(rig.send(Method::POST, "/Custom/1/Student/Student/1/9", Some(&body)).await.status(), 400);
    }
}

#[tokio::test]
async fn sorts_by_any_field_both_ways() {
    let rig = Rig::small().await;
    let body =
        json!({ "SearchSort": [{ "FieldName": "GradeNumeric", "Descending": true }, { "FieldName": "StudentID" }] });
    let page = rig.search(STUDENT, &["GradeNumeric", "StudentID"], 1, 300, &body).await;
    let rows: Vec<(i64, i64)> =
        numbers(&page, "GradeNumeric").into_iter().map(|grade| -grade).zip(numbers(&page, "StudentID")).collect();
    assert!(rows.is_sorted(), "grades down, ids up within a grade");
    let body = json!({ "SearchSort": [{ "FieldName": "StudentID", "Descending": true }] });
    assert!(numbers(&rig.search(STUDENT, &["StudentID"], 1, 300, &body).await, "StudentID").is_sorted_by(|a, b| a > b));
}

#[tokio::test]
async fn the_year_is_the_current_one_unless_said() {
    let rig = Rig::small().await;
    let object = "Enrollment/WithdrawalCode";
    let fields = ["WithdrawalCodeID", "SchoolYearID"];
    let years = |page: &Value| numbers(page, "SchoolYearID").into_iter().collect::<HashSet<_>>();
    assert_eq!(years(&rig.page(object, &fields, 1, 100).await), HashSet::from([13]));
    let given =
        rig.get_json("/Custom/1/Enrollment/WithdrawalCode/1/99?searchFields=SchoolYearID&schoolyearid=12").await;
    assert_eq!(years(&given), HashSet::from([12]));
    let body = json!({ "SearchParameters": { "SchoolYearID": "11", "AsOfDate": "2026-01-01" } });
    assert_eq!(years(&rig.search(object, &fields, 1, 100, &body).await), HashSet::from([11]));
    let list =
        json!({ "LongSearchCondition": { "FieldName": "SchoolYearID", "ConditionType": "List", "List": [12, 13] } });
    let body = json!({ "SearchCondition": list });
    assert_eq!(years(&rig.search(object, &fields, 1, 100, &body).await), HashSet::from([12, 13]));
}

#[tokio::test]
async fn code_ids_differ_between_years_in_no_simple_way() {
    let rig = Rig::small().await;
    let codes = rig
        .all("Enrollment/WithdrawalCode", &["WithdrawalCodeID", "Code", "SchoolYearID", "WithdrawalCodeIDClonedFrom"])
        .await;
    let of_year = |year: i64| -> Vec<&Value> { codes.iter().filter(|row| row["SchoolYearID"] == year).collect() };
    let (before, now) = (of_year(12), of_year(13));
    assert_eq!(before.len(), now.len());
    let mut distances = HashSet::new();
    for row in &now {
        let origin = before.iter().find(|old| old["WithdrawalCodeID"] == row["WithdrawalCodeIDClonedFrom"]).unwrap();
        assert_eq!(origin["Code"], row["Code"]);
        distances.insert(row["WithdrawalCodeID"].as_i64().unwrap() - origin["WithdrawalCodeID"].as_i64().unwrap());
    }
    assert!(distances.len() > 1, "{distances:?}");
}

#[tokio::test]
async fn an_entity_sees_its_own() {
    let rig = Rig::small().await;
    let page = rig.get_json("/Custom/201/Enrollment/EntryWithdrawal/1/999?searchFields=EntityID").await;
    let entities: HashSet<i64> = numbers(&page, "EntityID").into_iter().collect();
    assert_eq!(entities, HashSet::from([201]));
    assert_eq!(rig.get("/Custom/77/Student/Student/1/9").await.status(), 403);
}

#[tokio::test]
async fn one_row_by_its_key() {
    let rig = Rig::small().await;
    let row = rig.get_json("/Custom/1/Student/Student/10007?searchFields=StudentID&searchFields=Grade").await;
    assert_eq!(row["StudentID"], 10_007);
    assert!(row["Grade"].is_string());
    assert_eq!(rig.get("/Custom/1/Student/Student/10300").await.status(), 404);
    assert_eq!(rig.get("/Custom/1/Student/Student/9999").await.status(), 404);
    let old_code = rig.get_json("/Custom/1/Enrollment/WithdrawalCode/7000?searchFields=SchoolYearID").await;
    assert_eq!(old_code["SchoolYearID"], 11);
}

#[tokio::test]
async fn emails_are_created_changed_and_deleted() {
    let rig = Rig::small().await;
    let object = "/Custom/1/Demographics/NameEmail";
    let before = rig.all("Demographics/NameEmail", &["NameEmailID"]).await.len();
    let mail = |address: &str| json!({ "DataObject": { "NameID": 2_000_001, "EmailTypeID": 51, "Rank": 2, "EmailAddress": address } });
    let path = format!("{object}?searchFields[0]=NameEmailID");
    let created: Value = rig.send(Method::PUT, &path, Some(&mail("a@x.example"))).await.json().await.unwrap();
    let id = created["NameEmailID"].as_i64().unwrap();
    assert_eq!(created, json!({ "NameEmailID": id }));
    let of_student = one("LongSearchCondition", "NameID", "Equal", json!(2_000_001));
    let body = json!({ "SearchCondition": of_student, "SearchSort": [{ "FieldName": "NameEmailID" }] });
    let found = rig.search("Demographics/NameEmail", &["NameEmailID", "EmailAddress"], 1, 9, &body).await;
    assert_eq!(found["Objects"], json!([{ "NameEmailID": id, "EmailAddress": "a@x.example" }]));
    let changed = json!({ "DataObject": { "EmailAddress": "b@x.example" } });
    let one_path = format!("{object}/{id}?searchFields=EmailAddress&searchFields=Rank");
    let answer: Value = rig.send(Method::POST, &one_path, Some(&changed)).await.json().await.unwrap();
    assert_eq!(answer, json!({ "EmailAddress": "b@x.example", "Rank": 2 }));
    assert_eq!(rig.all("Demographics/NameEmail", &["NameEmailID"]).await.len(), before + 1);
    assert_eq!(rig.send(Method::DELETE, &format!("{object}/{id}"), None).await.status(), 200);
    assert_eq!(rig.send(Method::DELETE, &format!("{object}/{id}"), None).await.status(), 404);
    assert_eq!(rig.all("Demographics/NameEmail", &["NameEmailID"]).await.len(), before);
    let incomplete = json!({ "DataObject": { "NameID": 2_000_001, "Rank": 1 } });
    assert_eq!(rig.send(Method::PUT, &path, Some(&incomplete)).await.status(), 400);
    let read_only = json!({ "DataObject": { "EmailConfirmed": true } });
    assert_eq!(rig.send(Method::POST, &format!("{object}/{id}"), Some(&read_only)).await.status(), 400);
    assert_eq!(rig.send(Method::PUT, "/Custom/1/Student/Student", Some(&mail("c@x.example"))).await.status(), 405);
}

#[tokio::test]
async fn a_row_made_from_the_seed_can_be_written_over() {
    let rig = Rig::small().await;
    let first = rig.page("Demographics/NamePhone", &["NamePhoneID", "PhoneNumber"], 1, 1).await;
    let id = numbers(&first, "NamePhoneID")[0];
    let path = format!("/Custom/1/Demographics/NamePhone/{id}?searchFields=PhoneNumber&searchFields=Rank");
    let change = json!({ "DataObject": { "phonenumber": "5125550000" } });
    let answer: Value = rig.send(Method::POST, &path, Some(&change)).await.json().await.unwrap();
    assert_eq!(answer, json!({ "PhoneNumber": "5125550000", "Rank": 1 }));
    let again = rig.page("Demographics/NamePhone", &["NamePhoneID", "PhoneNumber"], 1, 1).await;
    assert_eq!(again["Objects"][0]["PhoneNumber"], "5125550000");
    assert_ne!(again, first);
}
