//! An installation made as `deploy/` makes it: the broker's definitions with a user for each role, and the database's two
//! logins.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use reqwest::Client;
use url::Url;

use crate::{Process, binary::workspace, services::Servers};

/// The virtual host and the database of the definitions.
pub const NAME: &str = "rollcall";

/// Those that `rollcall worker` starts.
pub const WORKERS: [&str; 4] = ["fetcher", "classifier", "writer", "flag-sync"];

/// Who works on the broker, beside the monitoring user.
pub const BROKER_ROLES: [&str; 6] = ["fetcher", "classifier", "writer", "flag-sync", "web", "ops"];

/// See the module.
#[derive(Debug)]
pub struct Deployed {
    folder: PathBuf,
    /// The broker's management API as its administrator.
    api: Url,
    broker: Client,
}

impl Deployed {
    /// Makes the secrets in `folder`, the roles and the database on these servers, and imports the definitions.
    ///
    /// # Panics
    /// When any of it is refused.
    pub async fn on(servers: &Servers, folder: &Path) -> Self {
        let folder = folder.join("secrets");
        let broker = format!("amqp://127.0.0.1:{}/{NAME}", servers.amqp.port().expect("a port"));
        let database = format!("postgres://localhost/{NAME}?{}", servers.database.query().expect("a socket"));
        run(Command::new("deploy/secrets").arg(&folder).args([broker, database]));
        let deployed = Self { folder, api: servers.api.clone(), broker: Client::new() };
        deployed.create_roles(&servers.database);
        deployed.import_definitions().await;
        deployed.admit_administrator().await;
        deployed
    }

    /// The definitions give the broker's own administrator no rights on the virtual host; the tests need some.
    async fn admit_administrator(&self) {
        let (user, password) = (self.api.username(), self.api.password());
        let all = serde_json::json!({ "configure": ".*", "write": ".*", "read": ".*" });
        let address = self.address(&format!("permissions/{NAME}/{user}"));
        let answer = self.broker.put(address).basic_auth(user, password).json(&all).send().await;
        assert!(answer.is_ok_and(|answer| answer.status().is_success()), "the administrator admits itself");
    }

    /// A file that `deploy/secrets` has made.
    pub fn secret(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The password of a user of the broker.
    pub fn password(&self, role: &str) -> String {
        self.secret(&format!("password-broker-{role}"))
    }

    /// The path of a role's settings file.
    pub fn config(&self, role: &str) -> String {
        self.folder.join(format!("{role}.toml")).to_string_lossy().into_owned()
    }

    /// What every process is started with, beside its settings file.
    pub fn settings(&self) -> Vec<(String, String)> {
        let pair = |name: &str, value: String| (name.to_owned(), value);
        vec![
            pair("ROLLCALL_ALLOW_PRIVATE_ADDRESSES", "true".to_owned()),
            pair("ROLLCALL_KEY_FILE", self.folder.join("key").to_string_lossy().into_owned()),
            pair("ROLLCALL_LOST_AFTER_SECONDS", "25".to_owned()),
        ]
    }

    /// Starts a worker as `deploy/` does: with the settings file of its role, and no URL in its environment.
    pub fn start_worker(&self, role: &str, folder: &Path) -> Process {
        let args = ["-v", "worker", role, "--config", &self.config(role)];
        Process::start(&format!("deployed-{role}"), folder, &args, &self.settings())
    }

    /// The two URLs of a role's settings file, as variables.
    ///
    /// # Panics
    /// When the file does not hold them.
    pub fn urls(&self, role: &str) -> Vec<(String, String)> {
        let text = self.secret(&format!("{role}.toml"));
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)).expect("the settings name both URLs");
            line.trim_start_matches(" = ").trim_matches('"').to_owned()
        };
        vec![
            ("ROLLCALL_AMQP_URL".to_owned(), value("amqp_url")),
            ("ROLLCALL_DATABASE_URL".to_owned(), value("database_url")),
        ]
    }

    fn create_roles(&self, database: &Url) {
        let variable = |name, role| format!("{name}={}", self.secret(&format!("password-database-{role}")));
        let mut psql = Command::new("psql");
        psql.args(["-X", "-q", database.as_str(), "-f", "deploy/postgres/roles.sql"])
            .args(["-v", &variable("owner_password", "rollcall_owner")])
            .args(["-v", &variable("worker_password", "rollcall_worker")]);
        run(&mut psql);
    }

    /// As the broker does at its start; may be done again at any time.
    ///
    /// # Panics
    /// When the broker refuses them.
    pub async fn import_definitions(&self) {
        let request = self.broker.post(self.address("definitions")).header("content-type", "application/json");
        let (user, password) = (self.api.username(), self.api.password());
        let answer = request.basic_auth(user, password).body(self.secret("definitions.json")).send().await;
        let answer = answer.expect("the management API answers");
        let (status, text) = (answer.status(), answer.text().await.unwrap_or_default());
        assert!(status.is_success(), "the broker takes the definitions: {status} {text}");
    }

    /// What the management API answers to a user of the broker.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn ask_as(&self, role: &str, path: &str) -> (u16, serde_json::Value) {
        let request = self.broker.get(self.address(path));
        let answer = request.basic_auth(format!("rollcall-{role}"), Some(self.password(role))).send().await;
        let answer = answer.expect("the management API answers");
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }

    fn address(&self, path: &str) -> String {
        let port = self.api.port().expect("a port");
        format!("http://{}:{port}/api/{path}", self.api.host_str().expect("a host"))
    }
}

fn run(command: &mut Command) {
    let output = command.current_dir(workspace()).output().expect("a program can be started");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
