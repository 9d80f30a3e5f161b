//! Each rule by a table. Whole tokens, with their signatures, are tested over HTTP.

use chrono::TimeDelta;
use rollcall_store::lti::{RegistrationDetails, StaffAccess};
use serde_json::json;
use uuid::Uuid;

use super::*;

const LINK: &str = "https://plans.example/lti/a/launch?sid=S1&program=Section%20504";

fn now() -> DateTime<Utc> {
    "2026-10-05T12:00:00Z".parse().unwrap()
}

fn registration() -> Registration {
    Registration {
        district: "a".parse().unwrap(),
        id: Uuid::nil(),
        issuer: "https://sis.example".to_owned(),
        client_id: "tool-1".to_owned(),
        auth_url: "https://sis.example/auth".parse().unwrap(),
        jwks_url: "https://sis.example/jwks".parse().unwrap(),
        details: RegistrationDetails {
            deployments: vec!["d1".to_owned(), "d2".to_owned()],
            student: Place::TargetLinkQuery("sid".to_owned()),
            program: Place::TargetLinkQuery("program".to_owned()),
            user: Place::LisPerson,
            connection: None,
            staff: StaffAccess::OwnSchools,
            frame_origins: Vec::new(),
        },
        created_at: now(),
    }
}

fn request() -> LoginRequest {
    LoginRequest {
        iss: "https://sis.example".to_owned(),
        login_hint: "u9".to_owned(),
        target_link_uri: LINK.to_owned(),
        lti_message_hint: None,
        client_id: None,
        lti_deployment_id: Some("d1".to_owned()),
    }
}

fn claims() -> Value {
    json!({
        "iss": "https://sis.example", "aud": "tool-1", "sub": "u9", "nonce": "n1",
        "iat": now().timestamp(), "exp": now().timestamp() + 300,
        claim!("message_type"): "LtiResourceLinkRequest",
        claim!("version"): "1.3.0",
        claim!("deployment_id"): "d1",
        claim!("target_link_uri"): LINK,
        claim!("resource_link"): { "id": "r1" },
        claim!("roles"): [],
        claim!("custom"): { "student": "S1", "unfilled": "$Person.sourcedId", "number": 7 },
        claim!("lis"): { "person_sourcedid": "T1" },
        claim!("context"): { "id": "c1" },
        "email": "t@example.org",
    })
}

fn judge(claims: Value) -> Result<Launch, Refusal> {
    let Value::Object(claims) = claims else { panic!("claims are an object") };
    let (registration, request) = (registration(), request());
    Launch::judge(claims, &Expected { registration: &registration, request: &request, nonce: "n1", now: now() })
}

/// What becomes of the claims with this one changed; null takes it away.
fn with(name: &str, value: Value) -> Option<Refusal> {
    let mut claims = claims();
    if value.is_null() {
        claims.as_object_mut().unwrap().remove(name);
    } else {
        claims[name] = value;
    }
    judge(claims).err()
}

#[test]
fn a_launch_as_it_should_be_is_believed() {
    assert!(judge(claims()).is_ok());
}

#[test]
fn the_issuer_is_compared_exactly() {
    for issuer in ["https://sis.example/", "https://SIS.example", "http://sis.example", ""] {
        assert_eq!(with("iss", json!(issuer)), Some(Refusal::Issuer), "{issuer}");
    }
    assert_eq!(with("iss", json!(["https://sis.example"])), Some(Refusal::Issuer));
    assert_eq!(with("iss", Value::Null), Some(Refusal::Issuer));
}

#[test]
fn the_audience_is_us_alone() {
    assert_eq!(with("aud", json!(["tool-1"])), None);
    for audience in [json!("other"), json!([]), json!(["tool-1", "other"]), json!(["other"]), json!(1), Value::Null] {
        assert_eq!(with("aud", audience.clone()), Some(Refusal::Audience), "{audience}");
    }
    assert_eq!(with("azp", json!("tool-1")), None);
    for azp in [json!("other"), json!(""), json!(["tool-1"])] {
        assert_eq!(with("azp", azp.clone()), Some(Refusal::Audience), "{azp}");
    }
}

#[test]
fn times_are_whole_numbers_around_now() {
    let at = |seconds: i64| json!((now() + TimeDelta::seconds(seconds)).timestamp());
    let cases = [
        ("exp", at(3_600), None),
        ("exp", at(-59), None),
        ("exp", at(-60), Some(Refusal::Time)),
        ("exp", json!("1791374400"), Some(Refusal::Time)),
        ("exp", json!(1_791_374_400.5), Some(Refusal::Time)),
        ("exp", Value::Null, Some(Refusal::Time)),
        ("iat", at(60), None),
        ("iat", at(61), Some(Refusal::Time)),
        ("iat", at(-600), None),
        ("iat", at(-601), Some(Refusal::Time)),
        ("iat", json!(i64::MAX), Some(Refusal::Time)),
        ("iat", json!(i64::MIN), Some(Refusal::Time)),
        ("iat", Value::Null, Some(Refusal::Time)),
        ("nbf", at(60), None),
        ("nbf", at(61), Some(Refusal::Time)),
        ("nbf", json!("0"), Some(Refusal::Time)),
    ];
    for (name, value, expected) in cases {
        assert_eq!(with(name, value.clone()), expected, "{name} {value}");
    }
}

#[test]
fn the_nonce_is_the_logins() {
    for nonce in [json!("n2"), json!(""), json!(1), Value::Null] {
        assert_eq!(with("nonce", nonce), Some(Refusal::Nonce));
    }
}

#[test]
fn the_deployment_is_registered_and_the_one_that_began() {
    for deployment in [json!("d2"), json!("D1"), json!("x"), Value::Null] {
        assert_eq!(with(claim!("deployment_id"), deployment.clone()), Some(Refusal::Deployment), "{deployment}");
    }
}

#[test]
fn the_target_link_is_the_one_that_began() {
    for link in [json!("https://plans.example/lti/a/launch?sid=S2&program=Section%20504"), json!(""), Value::Null] {
        assert_eq!(with(claim!("target_link_uri"), link), Some(Refusal::TargetLink));
    }
}

#[test]
fn a_launch_has_what_every_launch_has() {
    let cases = [
        (claim!("message_type"), json!("LtiDeepLinkingRequest")),
        (claim!("message_type"), Value::Null),
        (claim!("version"), json!("1.3")),
        (claim!("resource_link"), json!({})),
        (claim!("resource_link"), json!({ "id": "" })),
        (claim!("resource_link"), json!({ "id": "x".repeat(256) })),
        (claim!("roles"), Value::Null),
        (claim!("roles"), json!("Instructor")),
        ("sub", Value::Null),
        ("sub", json!("")),
        ("sub", json!("x".repeat(256))),
    ];
    for (name, value) in cases {
        assert_eq!(with(name, value.clone()), Some(Refusal::Claims), "{name} {value:.60}");
    }
}

#[test]
fn values_are_found_where_the_registration_says() {
    let launch = judge(claims()).unwrap();
    let cases = [
        ("custom:student", Some("S1")),
        ("custom:unfilled", None),
        ("custom:number", None),
        ("custom:none", None),
        ("resource_link", Some("r1")),
        ("context", Some("c1")),
        ("target_link_query:sid", Some("S1")),
        ("target_link_query:program", Some("Section 504")),
        ("target_link_query:none", None),
        ("lis.person_sourcedid", Some("T1")),
        ("sub", Some("u9")),
        ("email", Some("t@example.org")),
        ("fixed:Section 504", Some("Section 504")),
    ];
    for (place, expected) in cases {
        assert_eq!(launch.value(&place.parse().unwrap()).as_deref(), expected, "{place}");
    }
}
