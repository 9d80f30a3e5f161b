//! A program that speaks to the JSON API.

use reqwest::{Client, Method, StatusCode, header};
use rollcall_proto::id::DistrictId;
use rollcall_web::api::integration;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::{STUDENT, Site, now};

/// An integration with a token.
pub struct Caller<'a> {
    pub site: &'a Site,
    pub client: Client,
    pub token: String,
}

/// An answer, whole.
pub struct Answer {
    pub status: StatusCode,
    pub headers: header::HeaderMap,
    pub body: Value,
}

impl Answer {
    pub async fn of(answer: reqwest::Response) -> Self {
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = serde_json::from_str(&answer.text().await.unwrap()).unwrap_or(Value::Null);
        Self { status, headers, body }
    }
}

impl<'a> Caller<'a> {
    pub async fn new(site: &'a Site, district: &DistrictId) -> Self {
        Self::with_scopes(site, district, "documents").await
    }

    pub async fn with_scopes(site: &'a Site, district: &DistrictId, scopes: &str) -> Self {
        let scopes = scopes.parse().unwrap();
        let added = integration::add(&site.store, district, "Plans", scopes, "test", now()).await.unwrap();
        let client = Client::builder().no_proxy().build().unwrap();
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", &added.client_id),
            ("client_secret", added.client_secret.expose_secret()),
        ];
        let answer = client.post(site.base.join("oauth2/token").unwrap()).form(&form).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()[header::CACHE_CONTROL], "no-store");
        let body: Value = answer.json().await.unwrap();
        assert_eq!((&body["token_type"], &body["expires_in"]), (&json!("Bearer"), &json!(900)));
        Self { site, client, token: body["access_token"].as_str().unwrap().to_owned() }
    }

    pub async fn send(&self, method: Method, path: &str, key: Option<&str>, body: Option<&Value>) -> Answer {
        let url = self.site.base.join(&format!("api/v1/{path}")).unwrap();
        let mut request = self.client.request(method, url).bearer_auth(&self.token);
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        Answer::of(request.send().await.unwrap()).await
    }

    pub async fn create(&self, key: &str, body: &Value) -> Answer {
        self.send(Method::POST, "documents", Some(key), Some(body)).await
    }
}

/// A problem as RFC 9457 has it, with this code.
#[track_caller]
pub fn assert_problem(answer: &Answer, status: StatusCode, code: &str) {
    assert_eq!((answer.status, &answer.body["code"]), (status, &json!(code)), "{}", answer.body);
    assert_eq!(answer.headers[header::CONTENT_TYPE], "application/problem+json");
    assert_eq!(answer.body["status"], json!(status.as_u16()));
    assert_eq!(answer.body["type"], json!(format!("urn:rollcall:problem:{code}")));
    assert!(answer.body["title"].is_string() && answer.body["instance"].is_string());
    assert!(!answer.body.to_string().contains(STUDENT), "no student fact in an error");
}
