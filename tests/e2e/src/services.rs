//! One test's own corner of the servers: a virtual host and a database, gone when dropped.

use std::{path::Path, process::Command};

use reqwest::{Client, Method, StatusCode};
use sqlx::{AssertSqlSafe, PgPool, postgres::PgPoolOptions};
use url::Url;

use crate::binary::variable;

/// The role that owns the tests' databases and runs `rollcall migrate`: as `deploy/local` makes it, no superuser.
const OWNER: &str = "rollcall_owner";

/// A key for secrets at rest, the same for all installations of a test, so that what they keep can be compared.
const KEY: &str = "dGhlIHRlc3RzJyBvd24ga2V5LCAzMiBieXRlcyBsbmc=";

/// The exchange that Rollcall publishes to.
const EXCHANGE: &str = "rollcall";

/// The queue that keeps copies.
const TAP: &str = "tap";

/// The queue that keeps copies of the last messages published, within bounds, and the broker's own exchange that gives them. It
/// is beside Rollcall's: a message that no queue of Rollcall's wants still comes back.
pub const OVERHEARD: &str = "overheard";
const FIREHOSE: &str = "amq.rabbitmq.trace";
const MOST_OVERHEARD: u32 = 1_000;

/// Guards the making of roles, which are shared by all databases of a server.
const ROLES_LOCK: i64 = 0x726f_6c65;

/// Addresses of the servers.
#[derive(Debug, Clone)]
pub struct Servers {
    /// AMQP, with user and password.
    pub amqp: Url,
    /// The management API, with user and password.
    pub api: Url,
    /// PostgreSQL, as a superuser.
    pub database: Url,
}

impl Servers {
    /// The servers that `./test` has started.
    ///
    /// # Panics
    /// When a variable is not set: a test that lacks its servers must not pass.
    pub fn shared() -> Self {
        let url = |name: &str| {
            let value = variable(name).unwrap_or_else(|| panic!("{name} is not set: run the tests with ./test"));
            Url::parse(&value).unwrap_or_else(|error| panic!("{name}: {error}"))
        };
        Self {
            amqp: url("ROLLCALL_TEST_AMQP_URL"),
            api: url("ROLLCALL_TEST_AMQP_API"),
            database: url("ROLLCALL_TEST_DATABASE_URL"),
        }
    }

    /// Publishes a text to an exchange (the default one: straight into a queue) of a virtual host, as the broker's
    /// administrator, with these properties.
    ///
    /// # Panics
    /// When no queue takes it.
    pub async fn put(&self, vhost: &str, exchange: &str, key: &str, properties: &serde_json::Value, body: &str) {
        let message = serde_json::json!({
            "properties": properties, "routing_key": key, "payload": body, "payload_encoding": "string",
        });
        let path = ["exchanges", vhost, exchange, "publish"];
        let answer = self.request(&Client::new(), Method::POST, &path, Some(&message)).await;
        assert!(answer.contains("true"), "a queue takes it: {answer}");
    }

    async fn request(
        &self,
        client: &Client,
        method: Method,
        path: &[&str],
        body: Option<&serde_json::Value>,
    ) -> String {
        let mut url = self.api.clone();
        let (user, password) = (url.username().to_owned(), url.password().unwrap_or_default().to_owned());
        url.set_username("").expect("an http URL has a user");
        url.set_password(None).expect("an http URL has a password");
        url.path_segments_mut().expect("an http URL has a path").pop_if_empty().push("api").extend(path);
        let mut request = client.request(method, url).basic_auth(user, Some(password));
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.expect("the management API answers");
        let (status, text) = (answer.status(), answer.text().await.unwrap_or_default());
        assert!(status.is_success() || status == StatusCode::NOT_FOUND, "management API {path:?}: {status} {text}");
        text
    }

    /// Makes a virtual host, or takes the one that is there, with copies of what is published in it.
    pub async fn overhear(&self, vhost: &str) {
        let broker = Client::new();
        let tell = async |method, path: &[&str], body| drop(self.request(&broker, method, path, Some(&body)).await);
        tell(Method::PUT, &["vhosts", vhost], serde_json::json!({"tracing": true})).await;
        let arguments = serde_json::json!({"x-max-length": MOST_OVERHEARD, "x-max-length-bytes": 16 << 20});
        let queue = serde_json::json!({"durable": true, "arguments": arguments});
        tell(Method::PUT, &["queues", vhost, OVERHEARD], queue).await;
        let binding = serde_json::json!({"routing_key": "publish.#"});
        tell(Method::POST, &["bindings", vhost, "e", FIREHOSE, "q", OVERHEARD], binding).await;
    }

    /// Headers of the messages published last in a virtual host that was told to [`Servers::overhear`].
    pub async fn overheard(&self, vhost: &str) -> Vec<serde_json::Value> {
        self.headers(&Client::new(), vhost, OVERHEARD, MOST_OVERHEARD).await
    }

    async fn headers(&self, broker: &Client, vhost: &str, queue: &str, most: u32) -> Vec<serde_json::Value> {
        let ask = serde_json::json!({
            "count": most, "ackmode": "ack_requeue_true", "encoding": "base64", "truncate": 1,
        });
        let answer = self.request(broker, Method::POST, &["queues", vhost, queue, "get"], Some(&ask)).await;
        let mut rows: Vec<serde_json::Value> = serde_json::from_str(&answer).unwrap_or_default();
        for row in &mut rows {
            row.as_object_mut().and_then(|row| row.remove("payload"));
        }
        rows
    }

    /// A connection as the superuser.
    pub(crate) async fn admin(&self, database: &str) -> PgPool {
        let mut url = self.database.clone();
        url.set_path(database);
        let pool = PgPoolOptions::new().max_connections(2).connect(url.as_str()).await;
        pool.unwrap_or_else(|error| panic!("PostgreSQL ({database}) does not answer: {error}"))
    }
}

/// See the module.
#[derive(Debug)]
pub struct Services {
    servers: Servers,
    /// Name of both the virtual host and the database.
    name: String,
    /// The test's database as a superuser, for looking at rows past row-level security.
    pub database: PgPool,
    broker: Client,
}

impl Services {
    /// A new virtual host and a new database on the shared servers.
    pub async fn new() -> Self {
        Self::on(Servers::shared()).await
    }

    /// A new virtual host and a new database on these servers.
    pub async fn on(servers: Servers) -> Self {
        let name = format!("e2e_{}", uuid::Uuid::now_v7().simple());
        create_database(&servers, &name).await;
        let database = servers.admin(&name).await;
        let services = Self { servers, name, database, broker: Client::new() };
        services.servers.overhear(&services.name).await;
        services
    }

    /// Headers of the messages published last; none where the broker has lost all it had.
    pub async fn overheard(&self) -> Vec<serde_json::Value> {
        self.servers.overheard(&self.name).await
    }

    /// The state of a run, as the store has it; nothing while the database does not answer.
    pub async fn run_state(&self, run: &str) -> Option<String> {
        let sql = "SELECT state FROM run WHERE id = $1::uuid";
        sqlx::query_scalar(sql).bind(run).fetch_optional(&self.database).await.ok()?
    }

    /// `ROLLCALL_AMQP_URL` of this test.
    pub fn amqp_url(&self) -> String {
        let mut url = self.servers.amqp.clone();
        url.set_path(&self.name);
        url.into()
    }

    /// `ROLLCALL_DATABASE_URL` of this test.
    pub fn database_url(&self) -> String {
        let mut url = self.servers.database.clone();
        url.set_username(OWNER).expect("a database URL has a user");
        url.set_path(&self.name);
        url.into()
    }

    /// What processes are started with to work on this virtual host and database.
    pub fn settings(&self) -> Vec<(String, String)> {
        let settings = [
            ("ROLLCALL_ALLOW_PRIVATE_ADDRESSES", "true".to_owned()),
            ("ROLLCALL_AMQP_URL", self.amqp_url()),
            ("ROLLCALL_DATABASE_URL", self.database_url()),
            ("ROLLCALL_KEY", KEY.to_owned()),
        ];
        settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// The test's database as a superuser.
    fn admin_url(&self, database: &str) -> String {
        let mut url = self.servers.database.clone();
        url.set_path(database);
        url.into()
    }

    /// Writes a backup of the database as it is at this moment.
    ///
    /// # Panics
    /// When `pg_dump` fails.
    pub fn back_up(&self, file: &Path) {
        run(Command::new("pg_dump").args(["--format=custom", "--file"]).arg(file).arg(self.admin_url(&self.name)));
    }

    /// Throws the database away, and makes it anew out of a backup.
    ///
    /// # Panics
    /// When `pg_restore` fails.
    pub async fn restore(&self, file: &Path) {
        let admin = self.servers.admin("postgres").await;
        for sql in [
            format!("DROP DATABASE {} WITH (FORCE)", self.name),
            format!("CREATE DATABASE {} OWNER {OWNER}", self.name),
        ] {
            sqlx::query(AssertSqlSafe(sql)).execute(&admin).await.expect("a superuser may do this");
        }
        admin.close().await;
        let database = self.admin_url(&self.name);
        run(Command::new("pg_restore").args(["--exit-on-error", "--dbname", &database]).arg(file));
    }

    /// Empties every queue of the virtual host, as an operator in despair would. Messages in a worker's hands stay
    /// there. Returns the queues' names.
    pub async fn purge_queues(&self) -> Vec<String> {
        let names = self.queues().await;
        for queue in &names {
            self.ask(Method::DELETE, &["queues", &self.name, queue, "contents"]).await;
        }
        names
    }

    /// Deletes every queue, so that the workers must declare them again.
    pub async fn delete_queues(&self) -> Vec<String> {
        let names = self.queues().await;
        for queue in &names {
            self.ask(Method::DELETE, &["queues", &self.name, queue]).await;
        }
        names
    }

    /// The servers that this is a corner of.
    pub const fn servers(&self) -> &Servers {
        &self.servers
    }

    /// Makes the virtual host, as an operator does after the broker has lost all it had.
    pub async fn make_virtual_host(&self) {
        self.ask(Method::PUT, &["vhosts", &self.name]).await;
    }

    /// Takes the bindings of every queue away, but that of the copies. Returns how many there were.
    pub async fn unbind_queues(&self) -> u64 {
        let answer = self.ask(Method::GET, &["exchanges", &self.name, EXCHANGE, "bindings", "source"]).await;
        let mut rows: Vec<serde_json::Value> = serde_json::from_str(&answer).expect("the management API answers JSON");
        rows.retain(|row| row["destination"] != TAP);
        for row in &rows {
            let text = |key: &str| row[key].as_str().expect("a binding has these");
            let (queue, key) = (text("destination"), text("properties_key"));
            self.ask(Method::DELETE, &["bindings", &self.name, "e", EXCHANGE, "q", queue, key]).await;
        }
        rows.len() as u64
    }

    /// Deletes a queue and declares it in another way than Rollcall does.
    pub async fn declare_otherwise(&self, queue: &str) {
        self.ask(Method::DELETE, &["queues", &self.name, queue]).await;
        let other = serde_json::json!({ "durable": true, "arguments": { "x-max-length": 7 } });
        self.tell(Method::PUT, &["queues", &self.name, queue], &other).await;
    }

    /// Connections that programs have to this test's virtual host, and how many of them are over TLS.
    ///
    /// # Panics
    /// When the management API answers otherwise than it should.
    pub async fn broker_connections(&self) -> (usize, usize) {
        let answer = self.ask(Method::GET, &["vhosts", &self.name, "connections"]).await;
        let rows: Vec<serde_json::Value> = serde_json::from_str(&answer).expect("the management API answers JSON");
        (rows.len(), rows.iter().filter(|row| row["ssl"] == true).count())
    }

    /// Connections that programs have to this test's database, and how many of them are over TLS.
    ///
    /// # Panics
    /// When the database does not answer.
    pub async fn database_connections(&self) -> (i64, i64) {
        let sql = "SELECT count(*), count(*) FILTER (WHERE ssl) FROM pg_stat_activity JOIN pg_stat_ssl USING (pid) \
                   WHERE datname = current_database() AND usename = $1";
        sqlx::query_as(sql).bind(OWNER).fetch_one(&self.database).await.expect("the database answers")
    }

    /// Deletes one queue.
    pub async fn delete_queue(&self, queue: &str) {
        self.ask(Method::DELETE, &["queues", &self.name, queue]).await;
    }

    /// Puts a message that nobody can read into a queue, as a program of another kind might.
    pub async fn publish_garbage(&self, queue: &str) {
        let properties = serde_json::json!({"message_id": uuid::Uuid::now_v7().to_string(), "delivery_mode": 2});
        self.put(queue, &properties, "no message").await;
    }

    /// Puts a body into a queue, with these properties.
    pub async fn put(&self, queue: &str, properties: &serde_json::Value, body: &str) {
        self.servers.put(&self.name, "amq.default", queue, properties, body).await;
    }

    /// Makes a queue that gets a copy of everything published from here on.
    pub async fn listen_in(&self, queue: &str) {
        self.tell(Method::PUT, &["queues", &self.name, queue], &serde_json::json!({"durable": true})).await;
        let binding = serde_json::json!({"routing_key": "#"});
        self.tell(Method::POST, &["bindings", &self.name, "e", EXCHANGE, "q", queue], &binding).await;
    }

    /// Routing key, properties and headers of what lies in a queue (at most so many), without the bodies; all stays.
    pub async fn headers(&self, queue: &str, most: u32) -> Vec<serde_json::Value> {
        self.servers.headers(&self.broker, &self.name, queue, most).await
    }

    /// From now on, a copy of everything published is kept.
    pub async fn tap(&self) {
        self.listen_in(TAP).await;
    }

    /// Takes the copies that were kept, in the order of publishing, as the management API shows messages.
    pub async fn tapped(&self) -> Vec<serde_json::Value> {
        let wanted = serde_json::json!({ "count": 5_000, "ackmode": "ack_requeue_false", "encoding": "base64" });
        let answer = self.tell(Method::POST, &["queues", &self.name, TAP, "get"], &wanted).await;
        serde_json::from_str(&answer).expect("the management API answers JSON")
    }

    /// Publishes a message again, as it came out of [`Services::tapped`].
    pub async fn republish(&self, message: &serde_json::Value) {
        self.publish(EXCHANGE, &message["routing_key"], message).await;
    }

    /// Puts a message into a queue, as it came out of [`Services::tapped`].
    pub async fn hand_on(&self, queue: &str, message: &serde_json::Value) {
        self.publish("amq.default", &queue.into(), message).await;
    }

    async fn publish(&self, exchange: &str, key: &serde_json::Value, message: &serde_json::Value) {
        let copy = serde_json::json!({
            "properties": message["properties"], "routing_key": key,
            "payload": message["payload"], "payload_encoding": "base64",
        });
        let answer = self.tell(Method::POST, &["exchanges", &self.name, exchange, "publish"], &copy).await;
        assert!(answer.contains("true"), "a queue takes it: {answer}");
    }

    async fn queues(&self) -> Vec<String> {
        let answer = self.ask(Method::GET, &["queues", &self.name]).await;
        let rows: Vec<serde_json::Value> = serde_json::from_str(&answer).expect("the management API answers JSON");
        let names = rows.iter().filter_map(|row| row["name"].as_str().map(str::to_owned));
        names.filter(|name| name != OVERHEARD).collect()
    }

    async fn ask(&self, method: Method, path: &[&str]) -> String {
        self.servers.request(&self.broker, method, path, None).await
    }

    async fn tell(&self, method: Method, path: &[&str], body: &serde_json::Value) -> String {
        self.servers.request(&self.broker, method, path, Some(body)).await
    }

    async fn drop_database(&self) {
        self.database.close().await;
        let admin = self.servers.admin("postgres").await;
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        sqlx::query(AssertSqlSafe(drop)).execute(&admin).await.expect("the test's database can be dropped");
    }

    /// Removes the virtual host and the database.
    pub async fn close(self) {
        let vhost = ["vhosts", &self.name];
        tokio::join!(self.ask(Method::DELETE, &vhost), self.drop_database());
    }
}

/// Makes the owner's role where it is not there yet, and a database of its own.
async fn create_database(servers: &Servers, name: &str) {
    let admin = servers.admin("postgres").await;
    let mut tx = admin.begin().await.expect("a transaction");
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(ROLES_LOCK).execute(&mut *tx).await.expect("a lock");
    let there: Option<i32> = sqlx::query_scalar("SELECT 1 FROM pg_roles WHERE rolname = $1")
        .bind(OWNER)
        .fetch_optional(&mut *tx)
        .await
        .expect("roles can be listed");
    if there.is_none() {
        let create = format!("CREATE ROLE {OWNER} LOGIN CREATEROLE");
        sqlx::query(AssertSqlSafe(create)).execute(&mut *tx).await.expect("the owner's role can be made");
    }
    tx.commit().await.expect("a commit");
    let create = format!("CREATE DATABASE {name} OWNER {OWNER}");
    sqlx::query(AssertSqlSafe(create)).execute(&admin).await.expect("a database can be made");
    admin.close().await;
}

fn run(command: &mut Command) {
    let output = command.output().expect("a program of PostgreSQL can be started");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
