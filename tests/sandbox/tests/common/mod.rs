//! A small client for the tests: no retries, no leniency.
#![allow(dead_code, missing_docs, unreachable_pub)]

use reqwest::{Client, Method, Response, StatusCode};
use rollcall_sandbox::{Quirks, Sandbox, SandboxConfig};
use serde_json::{Value, json};

pub struct Rig {
    pub sandbox: Sandbox,
    pub client: Client,
    pub token: String,
}

impl Rig {
    pub async fn new(config: SandboxConfig) -> Self {
        let sandbox = Sandbox::start(config).await.unwrap();
        let client = Client::builder().no_proxy().build().unwrap();
        let mut rig = Self { sandbox, client, token: String::new() };
        rig.token = rig.fetch_token().await;
        rig
    }

    pub async fn small() -> Self {
        Self::new(SandboxConfig { students: 300, contact_percent: 100, ..SandboxConfig::default() }).await
    }

    pub async fn with_quirks(quirks: Quirks) -> Self {
        let rig = Self::small().await;
        rig.sandbox.set_quirks(quirks);
        rig
    }

    pub async fn fetch_token(&self) -> String {
        let call = self.client.post(self.url("/oauth/token"));
        let call = call.basic_auth(self.sandbox.client_id(), Some(self.sandbox.client_secret()));
        let answer = call.form(&[("grant_type", "client_credentials")]).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        answer["access_token"].as_str().unwrap().to_owned()
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.sandbox.base_url())
    }

    pub async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Response {
        let call = self.client.request(method, self.url(path)).bearer_auth(&self.token);
        let call = body.map_or(call.try_clone().unwrap(), |body| call.json(body));
        call.send().await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Response {
        self.send(Method::GET, path, None).await
    }

    pub async fn get_json(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        answer.json().await.unwrap()
    }

    /// One page, sorted by the first field.
    pub async fn page(&self, object: &str, fields: &[&str], page: u64, size: usize) -> Value {
        let body = json!({ "SearchSort": [{ "FieldName": fields[0], "Descending": false }] });
        self.search(object, fields, page, size, &body).await
    }

    pub async fn search(&self, object: &str, fields: &[&str], page: u64, size: usize, body: &Value) -> Value {
        let path = format!("/Custom/1/{object}/{page}/{size}?{}", query(fields));
        let answer = self.send(Method::POST, &path, Some(body)).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        answer.json().await.unwrap()
    }

    /// All rows over all years, sorted by the first field, following `Next`.
    pub async fn all(&self, object: &str, fields: &[&str]) -> Vec<Value> {
        let mut rows = Vec::new();
        for year in years(object) {
            for page in 1.. {
                let context = year.map_or(String::new(), |year| format!("&SchoolYearID={year}"));
                let body = json!({ "SearchSort": [{ "FieldName": fields[0], "Descending": false }] });
                let path = format!("/Custom/1/{object}/{page}/200?{}{context}", query(fields));
                let answer = self.send(Method::POST, &path, Some(&body)).await;
                let mut answer: Value = answer.json().await.unwrap();
                rows.append(answer["Objects"].as_array_mut().unwrap());
                if answer["Paging"]["Next"].is_null() {
                    break;
                }
            }
        }
        rows
    }
}

fn years(object: &str) -> Vec<Option<i64>> {
    let yearly = ["EntryWithdrawal", "StudentEntityYear", "WithdrawalCode", "EntryCode", "School", "Homeroom"];
    let is_yearly = yearly.iter().any(|name| object.ends_with(&format!("/{name}")));
    if is_yearly { (11..=14).map(Some).collect() } else { vec![None] }
}

pub fn query(fields: &[&str]) -> String {
    fields.iter().map(|field| format!("searchFields={field}")).collect::<Vec<_>>().join("&")
}

pub fn numbers(rows: &Value, field: &str) -> Vec<i64> {
    rows["Objects"].as_array().unwrap().iter().map(|row| row[field].as_i64().unwrap()).collect()
}
