//! A virtual host of its own on the broker that `./test` has started.

use std::{sync::Arc, time::Duration};

use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties,
    options::{BasicPublishOptions, ConfirmSelectOptions},
};
use rollcall_proto::{
    bus::{
        SharedBus,
        amqp::{AmqpBus, AmqpConfig},
    },
    topology::Queue,
};
use serde_json::Value;
use uuid::Uuid;

use super::World;

/// A broker's management interface.
#[derive(Clone)]
pub struct Api {
    http: reqwest::Client,
    base: reqwest::Url,
}

impl Api {
    pub fn new(base: &str) -> Self {
        Self { http: reqwest::Client::new(), base: base.parse().expect("a management URL") }
    }

    pub async fn ask(&self, method: reqwest::Method, path: &[&str]) -> Value {
        self.send(method, path, String::new()).await
    }

    pub async fn tell(&self, method: reqwest::Method, path: &[&str], body: &Value) {
        self.send(method, path, body.to_string()).await;
    }

    async fn send(&self, method: reqwest::Method, path: &[&str], body: String) -> Value {
        let mut url = self.base.clone();
        url.path_segments_mut().expect("an http URL").pop_if_empty().push("api").extend(path);
        let user = url.username().to_owned();
        let password = url.password().map(str::to_owned);
        url.set_username("").expect("an http URL");
        url.set_password(None).expect("an http URL");
        let request = self.http.request(method, url).basic_auth(user, password);
        let request = request.header("content-type", "application/json").body(body);
        let answer = request.send().await.expect("the management API");
        let status = answer.status();
        let text = answer.text().await.expect("an answer");
        assert!(status.is_success(), "{path:?}: {status} {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }
}

pub struct Amqp {
    bus: SharedBus,
    pub api: Api,
    pub url: String,
    pub vhost: String,
}

#[expect(clippy::disallowed_methods, reason = "the tests' own setting")]
fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run the tests by ./test, which starts a broker"))
}

impl Amqp {
    /// A virtual host without anything in it, and the URL that leads there.
    pub async fn empty_vhost() -> (Api, String, String) {
        let api = Api::new(&setting("ROLLCALL_TEST_AMQP_API"));
        let vhost = format!("proto-{}", Uuid::now_v7().simple());
        api.ask(reqwest::Method::PUT, &["vhosts", &vhost]).await;
        let mut url: reqwest::Url = setting("ROLLCALL_TEST_AMQP_URL").parse().expect("an AMQP URL");
        url.set_path(&vhost);
        (api, url.to_string(), vhost)
    }

    pub async fn raw(&self) -> (Connection, Channel) {
        let connection = Connection::connect(&self.url, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        (connection, channel)
    }

    /// Publishes anything at all.
    pub async fn publish_raw(&self, exchange: &str, key: &str, properties: BasicProperties, body: &[u8]) {
        let (connection, channel) = self.raw().await;
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let publish = channel.basic_publish(exchange.into(), key.into(), options, body, properties);
        let confirmation = publish.await.unwrap().await.unwrap();
        assert!(confirmation.is_ack() && confirmation.take_message().is_none(), "not routed to {key}");
        connection.close(200, "done".into()).await.unwrap();
    }

    /// Names of this virtual host's connections that are open, as the management API knows them (it lags by seconds).
    pub async fn connections(&self) -> Vec<String> {
        let list = self.api.ask(reqwest::Method::GET, &["vhosts", &self.vhost, "connections"]).await;
        list.as_array().into_iter().flatten().filter_map(|one| Some(one.get("name")?.as_str()?.to_owned())).collect()
    }
}

impl World for Amqp {
    async fn start() -> Self {
        super::log();
        let (api, url, vhost) = Self::empty_vhost().await;
        let bus = AmqpBus::connect(AmqpConfig::new(url.clone())).await.expect("the broker");
        Self { bus: Arc::new(bus), api, url, vhost }
    }

    fn bus(&self) -> SharedBus {
        Arc::clone(&self.bus)
    }

    async fn inject(&self, queue: Queue, bytes: &[u8]) {
        self.publish_raw("", queue.name(), BasicProperties::default(), bytes).await;
    }

    async fn stop(self) {
        let Self { bus, api, vhost, .. } = self;
        drop(bus);
        let path = ["vhosts", vhost.as_str()];
        let deleting = api.ask(reqwest::Method::DELETE, &path);
        tokio::time::timeout(Duration::from_secs(30), deleting).await.expect("the virtual host is deleted");
    }
}
