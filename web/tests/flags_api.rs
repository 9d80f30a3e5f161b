//! Flags over HTTP.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::time::Duration;

use reqwest::{Method, StatusCode};
use rollcall_proto::{id::DistrictId, message::Body, topology::Queue};
use rollcall_store::{
    district::{ConnectionSecrets, District},
    flag::{CutoverFlag, FlagProgram, TakeOverPlan, TakeOverRefused, TakeOverState},
};
use rollcall_web::TakeOverError;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{
    PLAN_HASH, PROGRAM, STUDENT, Site,
    caller::{Answer, Caller, assert_problem},
    now,
};

const READ: &str = "flags.read";
const WRITE: &str = "flags.write";

async fn get(caller: &Caller<'_>, path: &str) -> Answer {
    caller.send(Method::GET, path, None, None).await
}

async fn post(caller: &Caller<'_>, path: &str, body: Option<&Value>) -> Answer {
    caller.send(Method::POST, path, None, body).await
}

fn approval(hash: &str) -> Value {
    json!({ "program": PROGRAM, "plan_hash": hash })
}

/// Switches flags of the program on.
async fn with_flags(site: &Site, id: &str) -> DistrictId {
    let file: District = serde_json::from_value(json!({
        "id": id, "name": "Invented", "time_zone": "America/Chicago",
        "connection": [{"kind": "oneroster", "base_url": "https://sis.example/API", "client_id": "rollcall"}],
        "program": [{"name": PROGRAM, "flags": true, "option": "take-over", "cutover": "2026-08-15"}],
    }))
    .unwrap();
    site.store.apply_district(&file, &[ConnectionSecrets::default()], "test", now()).await.unwrap();
    file.id
}

#[tokio::test]
async fn flags_are_listed_by_pages_as_the_command_line_lists_them() {
    let site = Site::start().await;
    let district = site.district("lone-star").await;
    let caller = Caller::with_scopes(&site, &district, READ).await;
    for number in 1..=3_u128 {
        site.flag("lone-star", Uuid::from_u128(number)).await;
    }
    let listed = get(&caller, "flags?limit=2").await;
    assert_eq!(listed.status, StatusCode::OK, "{}", listed.body);
    assert_eq!(
        listed.body[0],
        json!({
            "flag": Uuid::from_u128(1), "student_id": STUDENT, "sis_id": null, "program": PROGRAM,
            "start": "2026-09-01", "end": null, "state": "wanted", "reason": null,
        })
    );
    let after = listed.body[1]["flag"].as_str().unwrap().to_owned();
    let rest = get(&caller, &format!("flags?after={after}")).await;
    assert_eq!(rest.body.as_array().unwrap().len(), 1);
    assert_eq!(rest.body[0]["flag"], json!(Uuid::from_u128(3)));
    assert_eq!(get(&caller, "flags?program=Chess").await.body, json!([]));
    for query in ["limit=0", "limit=1001", "after=x", "surprise=1"] {
        assert_problem(&get(&caller, &format!("flags?{query}")).await, StatusCode::BAD_REQUEST, "request-malformed");
    }
}

#[tokio::test]
async fn what_is_in_the_way_is_told() {
    let site = Site::start().await;
    let district = site.district("lone-star").await;
    let caller = Caller::with_scopes(&site, &district, READ).await;
    assert_eq!(get(&caller, "flags/problems").await.body, json!({ "all": null, "programs": [], "open": [] }));
    let failing = FlagProgram {
        program: PROGRAM.to_owned(),
        problem: Some("flag-missing no flag of this name".to_owned()),
        program_sis_id: None,
    };
    site.store.save_flag_programs(&district, &[failing], now()).await.unwrap();
    let told = get(&caller, "flags/problems").await.body;
    assert_eq!(told["programs"], json!([{ "program": PROGRAM, "problem": "flag-missing no flag of this name" }]));
}

#[tokio::test]
async fn what_a_take_over_leaves_open_is_told() {
    let site = Site::start().await;
    let district = with_flags(&site, "lone-star").await;
    let caller = Caller::with_scopes(&site, &district, READ).await;
    let old = |name: &str| CutoverFlag {
        flag: name.to_owned(),
        sis_id: "G".to_owned(),
        program_sis_id: None,
        student: None,
        goes_on: true,
        done_at: None,
        outcome: None,
        failing: None,
    };
    let plan = TakeOverPlan {
        program: PROGRAM.to_owned(),
        cutover: "2026-08-15".parse().unwrap(),
        to_end: ["a", "b", "c", "d"].map(old).into(),
        without_new: 0,
        warnings: Vec::new(),
        state: TakeOverState::AwaitingApproval,
        hash: PLAN_HASH.to_owned(),
    };
    assert_eq!(site.store.approve_cutovers(&district, &[plan], "ops", now()).await.unwrap(), None);
    for (flag, outcome) in [("a", "waits-for-new"), ("b", "waits-for-new"), ("c", "not-as-approved")] {
        site.store.cutover_flag_waits(&district, PROGRAM, flag, outcome).await.unwrap();
    }
    let told = get(&caller, "flags/problems").await.body;
    let open = |outcome: &str, flags: u32| json!({ "program": PROGRAM, "outcome": outcome, "flags": flags });
    assert_eq!(told["open"], json!([open("not-as-approved", 1), open("waits-for-new", 2)]));
}

#[tokio::test]
async fn a_take_over_is_planned_approved_by_its_digest_and_pushed() {
    let site = Site::start().await;
    let district = with_flags(&site, "lone-star").await;
    let caller = Caller::with_scopes(&site, &district, "flags.read flags.write").await;
    let plan = get(&caller, "flags/plan?program=Special%20Education").await;
    assert_eq!(
        plan.body,
        json!([{
            "program": PROGRAM, "cutover": "2026-08-15", "to_end": 0, "without_new": 0, "state": "awaiting-approval",
            "warnings": ["high-share: look"], "plan_hash": PLAN_HASH,
        }])
    );
    let mut flags = site.bus.subscribe(Queue::Flags, 8).await.unwrap();
    let approved = post(&caller, "flags/approve", Some(&approval(PLAN_HASH))).await;
    let expected = json!({ "program": PROGRAM, "cutover": "2026-08-15", "to_end": 3, "plan_hash": PLAN_HASH });
    assert_eq!((approved.status, approved.body), (StatusCode::OK, expected));
    assert_eq!(post(&caller, "flags/push", None).await.status, StatusCode::ACCEPTED);
    for _ in 0..2 {
        let delivery = tokio::time::timeout(Duration::from_secs(10), flags.next()).await.unwrap().unwrap();
        let message = delivery.message.unwrap();
        let Body::FlagSync(sync) = &message.body else { panic!("{:?}", message.body) };
        assert_eq!((&message.district, sync.student.is_none()), (&district, true));
    }
    assert_eq!(post(&caller, "flags/push?program=Special%20Education", None).await.status, StatusCode::ACCEPTED);
    let delivery = tokio::time::timeout(Duration::from_secs(10), flags.next()).await.unwrap().unwrap();
    let Body::FlagSync(sync) = delivery.message.unwrap().body else { panic!("another message") };
    assert_eq!(sync.program.as_deref(), Some(PROGRAM));
    let asked = site.store.asked_programs(&district).await.unwrap();
    assert_eq!(asked.iter().map(|asked| asked.program.as_str()).collect::<Vec<_>>(), [PROGRAM]);
    let trail = site.store.audit_trail(&district, 3).await.unwrap();
    let told: Vec<_> = trail.iter().map(|entry| (entry.action.as_str(), entry.detail.as_str())).collect();
    let all = ("flags.push", "programs=all");
    assert_eq!(told, [("flags.push", "program=Special Education"), all, all]);
    assert!(trail.iter().all(|entry| entry.actor.starts_with("integration:")), "{trail:?}");
    let unknown = post(&caller, "flags/push?program=Chess", None).await;
    assert_problem(&unknown, StatusCode::UNPROCESSABLE_ENTITY, "switched-off");
    assert_eq!(post(&caller, "flags/push?programme=Chess", None).await.status, StatusCode::BAD_REQUEST);
    let calls = site.take_overs.calls.lock().unwrap().clone();
    assert_eq!(calls[0], ("plan", "lone-star".to_owned(), PROGRAM.to_owned()));
    assert_eq!((calls[1].0, calls[1].1.as_str()), ("approve", "lone-star"));
    assert!(calls[1].2.starts_with("integration:"), "{calls:?}");
}

#[tokio::test]
async fn refusals_say_why() {
    let site = Site::start().await;
    let district = site.district("lone-star").await;
    let caller = Caller::with_scopes(&site, &district, "flags.read flags.write").await;
    let changed = post(&caller, "flags/approve", Some(&approval("another"))).await;
    assert_problem(&changed, StatusCode::CONFLICT, "plan-changed");
    let (conflict, unprocessable) = (StatusCode::CONFLICT, StatusCode::UNPROCESSABLE_ENTITY);
    let name = || PROGRAM.to_owned();
    let unready = TakeOverRefused::Unready { program: name(), reason: "flag-inactive it is off".to_owned() };
    let cases: [(TakeOverError, StatusCode, &str); 7] = [
        (TakeOverRefused::Busy.into(), conflict, "flags-busy"),
        (TakeOverRefused::Approved(name()).into(), conflict, "take-over-approved"),
        (TakeOverRefused::NoProgram(name()).into(), unprocessable, "program-unknown"),
        (TakeOverRefused::NotTakingOver(name()).into(), unprocessable, "take-over-not-chosen"),
        (TakeOverRefused::NoCutover(name()).into(), unprocessable, "flag-unconfigured"),
        (unready.into(), unprocessable, "flag-inactive"),
        (
            TakeOverError::Away("host-unreachable: no answer".to_owned()),
            StatusCode::SERVICE_UNAVAILABLE,
            "campus-unavailable",
        ),
    ];
    for (error, status, code) in cases {
        *site.take_overs.fails.lock().unwrap() = Some(error);
        assert_problem(&post(&caller, "flags/approve", Some(&approval(PLAN_HASH))).await, status, code);
    }
    *site.take_overs.fails.lock().unwrap() = Some(TakeOverRefused::NothingToTakeOver.into());
    assert_problem(&get(&caller, "flags/plan").await, unprocessable, "take-over-not-chosen");
    for body in [json!({}), json!({ "program": PROGRAM }), json!({ "program": 1, "plan_hash": "x" }), json!([])] {
        let answer = post(&caller, "flags/approve", Some(&body)).await;
        assert_problem(&answer, StatusCode::BAD_REQUEST, "request-malformed");
    }
    assert_problem(&post(&caller, "flags/push", None).await, unprocessable, "switched-off");
}

#[tokio::test]
async fn a_token_does_what_its_scopes_say_and_nothing_else() {
    let site = Site::start().await;
    let district = with_flags(&site, "lone-star").await;
    let callers = [
        Caller::with_scopes(&site, &district, "documents").await,
        Caller::with_scopes(&site, &district, READ).await,
        Caller::with_scopes(&site, &district, WRITE).await,
    ];
    let approve = approval(PLAN_HASH);
    let calls: [(Method, &str, Option<&Value>, usize); 7] = [
        (Method::GET, "documents", None, 0),
        (Method::GET, "documents/x", None, 0),
        (Method::POST, "documents/x/complete", None, 0),
        (Method::GET, "flags", None, 1),
        (Method::GET, "flags/plan", None, 1),
        (Method::POST, "flags/approve", Some(&approve), 2),
        (Method::POST, "flags/push", None, 2),
    ];
    for (method, path, body, allowed) in calls {
        for (number, caller) in callers.iter().enumerate() {
            let answer = caller.send(method.clone(), path, None, body).await;
            if number == allowed {
                assert_ne!(answer.status, StatusCode::FORBIDDEN, "{path}");
            } else {
                assert_problem(&answer, StatusCode::FORBIDDEN, "scope-missing");
            }
        }
    }
}

#[tokio::test]
async fn a_token_may_be_asked_for_with_less_and_not_with_more() {
    use rollcall_web::api::integration;
    use secrecy::ExposeSecret as _;
    let site = Site::start().await;
    let district = site.district("lone-star").await;
    let scopes = "documents flags.read".parse().unwrap();
    let added = integration::add(&site.store, &district, "Plans", scopes, "test", now()).await.unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let ask = async |scope: Option<&'static str>| {
        let mut form = vec![
            ("grant_type", "client_credentials"),
            ("client_id", added.client_id.as_str()),
            ("client_secret", added.client_secret.expose_secret()),
        ];
        form.extend(scope.map(|scope| ("scope", scope)));
        let answer = client.post(site.base.join("oauth2/token").unwrap()).form(&form).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let (status, all) = ask(None).await;
    assert_eq!((status, &all["scope"]), (200, &json!("documents flags.read")));
    let (status, less) = ask(Some("flags.read")).await;
    assert_eq!((status, &less["scope"]), (200, &json!("flags.read")));
    for more in ["flags.write", "documents flags.write", "everything"] {
        let (status, refused) = ask(Some(more)).await;
        assert_eq!((status, &refused["error"]), (400, &json!("invalid_scope")), "{more}");
    }
}

#[tokio::test]
async fn an_integration_sees_and_touches_its_own_district_only() {
    let site = Site::start().await;
    let (lone_star, alamo) = (site.district("lone-star").await, with_flags(&site, "alamo").await);
    site.flag("lone-star", Uuid::from_u128(1)).await;
    let scopes = "flags.read flags.write";
    let mine = Caller::with_scopes(&site, &lone_star, scopes).await;
    let theirs = Caller::with_scopes(&site, &alamo, scopes).await;
    assert_eq!(get(&mine, "flags").await.body.as_array().unwrap().len(), 1);
    assert_eq!(get(&theirs, "flags").await.body, json!([]));
    get(&theirs, "flags/plan").await;
    post(&theirs, "flags/approve", Some(&approval(PLAN_HASH))).await;
    post(&theirs, "flags/push", None).await;
    let calls = site.take_overs.calls.lock().unwrap().clone();
    assert!(calls.iter().all(|(_, district, _)| district == "alamo"), "{calls:?}");
    let forged =
        Caller { site: &site, client: mine.client.clone(), token: mine.token.replacen("lone-star", "alamo", 1) };
    assert_problem(&get(&forged, "flags").await, StatusCode::UNAUTHORIZED, "token-invalid");
}
