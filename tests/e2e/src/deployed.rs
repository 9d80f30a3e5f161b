//! An installation made as `deploy/` makes it: the broker's definitions with a user for each role, the database's two
//! logins, and workers as the compose file starts them: its command lines and its environment, nothing else of the
//! environment, as the user of the container file, in a file system in which that user may write nothing.

use std::{
    collections::BTreeMap,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use reqwest::Client;
use serde::Deserialize;
use sqlx::PgPool;
use url::Url;

use crate::{Process, binary, binary::workspace, services::Servers};

/// The user of `deploy/Dockerfile`.
pub const CONTAINER_USER: u32 = 10_001;

/// Where the compose file has the secrets.
const SECRETS: &str = "/run/secrets/";

/// What is read of the compose file.
#[derive(Debug, Deserialize)]
struct Compose {
    services: BTreeMap<String, Service>,
}

#[derive(Debug, Deserialize)]
struct Service {
    #[serde(default)]
    entrypoint: Vec<String>,
    #[serde(default)]
    command: Vec<String>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(default)]
    working_dir: Option<String>,
}

/// What whoever installs by compose has to set, as docs/DEPLOY.md has it. All else is as the compose file has it by default.
const DOT_ENV: [(&str, &str); 1] = [("ROLLCALL_PUBLIC_URL", "https://rollcall.example.org")];

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
    /// As their administrators.
    servers: Servers,
    /// Where spans go.
    collector: String,
    broker: Client,
}

impl Deployed {
    /// Makes the secrets in `folder`, the roles and the database on these servers, and imports the definitions. Spans go to
    /// `collector`.
    ///
    /// # Panics
    /// When any of it is refused.
    pub async fn on(servers: &Servers, folder: &Path, collector: String) -> Self {
        let folder = folder.join("secrets");
        let broker = format!("amqp://127.0.0.1:{}/{NAME}", servers.amqp.port().expect("a port"));
        let mut database = servers.database.clone();
        database.set_path(NAME);
        database.set_username("").expect("a database's URL has a user");
        run(Command::new("deploy/secrets").arg(&folder).args([broker, database.to_string()]));
        // As a container has its secrets: each by its path. What lies beside them nobody can list.
        allow(&folder, 0o711);
        let deployed = Self { folder, servers: servers.clone(), collector, broker: Client::new() };
        deployed.create_roles(&servers.database);
        deployed.import_definitions().await;
        deployed
    }

    /// The definitions give the broker's own administrator no rights on the virtual host; the tests need some.
    async fn admit_administrator(&self) {
        let (user, password) = (self.servers.api.username(), self.servers.api.password());
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

    /// Starts a worker as the compose file does. Its log goes to `folder`.
    ///
    /// # Panics
    /// When the compose file has no such service.
    pub fn start_worker(&self, role: &str, folder: &Path) -> Process {
        let service = service(role);
        let mut command = self.command(confined(&program(folder)), &service, &service.command);
        // The stand-in SIS is on this machine, and what a kill has swallowed is missed soon.
        command.env("ROLLCALL_ALLOW_PRIVATE_ADDRESSES", "true").env("ROLLCALL_LOST_AFTER_SECONDS", "25");
        // Spans are there when the test ends.
        command.env("OTEL_BSP_SCHEDULE_DELAY", "200");
        Process::start_command(&format!("deployed-{role}"), folder, command)
    }

    /// Starts the HTTP side as the compose file does, with nothing beside: it is the one that a public URL of plain http stops.
    pub fn start_web(&self, folder: &Path) -> Process {
        let service = service("web");
        let command = self.command(confined(&program(folder)), &service, &service.command);
        Process::start_command("deployed-web", folder, command)
    }

    /// Runs a command line by a service of the compose file that is meant for it, as its caller, with `districts` mounted.
    ///
    /// # Panics
    /// When the service mounts no district files, or the command does not end well.
    pub async fn run_as(&self, name: &str, districts: &Path, args: &[&str]) -> serde_json::Value {
        let service = service(name);
        assert_eq!(service.working_dir.as_deref(), Some("/districts"), "{name} works where the district files are");
        let own = service.entrypoint.iter().skip(1).cloned();
        let args: Vec<String> = own.chain(args.iter().map(|arg| (*arg).to_owned())).collect();
        let mut command = self.command(Command::new(binary::rollcall()), &service, &args);
        command.env("ROLLCALL_ALLOW_PRIVATE_ADDRESSES", "true").current_dir(districts);
        let output = tokio::process::Command::from(command).output().await.expect("rollcall can be started");
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    /// A program with these arguments and the environment of a service, and nothing else of the environment.
    fn command(&self, mut command: Command, service: &Service, args: &[String]) -> Command {
        command.args(args.iter().map(|word| self.here(word)));
        command.env_clear().envs(service.environment.iter().map(|(name, value)| (name, self.here(value))));
        command.current_dir("/");
        command
    }

    /// A word of the compose file, where secrets are, ports and the collector are not as in a container.
    fn here(&self, word: &str) -> String {
        match word {
            "0.0.0.0:9464" | "0.0.0.0:8080" => "127.0.0.1:0".to_owned(),
            "http://otel-collector:4318" => self.collector.clone(),
            _ => interpolated(word).replace(SECRETS, &format!("{}/", self.folder.display())),
        }
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
        let (user, password) = (self.servers.api.username(), self.servers.api.password());
        let answer = request.basic_auth(user, password).body(self.secret("definitions.json")).send().await;
        let answer = answer.expect("the management API answers");
        let (status, text) = (answer.status(), answer.text().await.unwrap_or_default());
        assert!(status.is_success(), "the broker takes the definitions: {status} {text}");
        self.admit_administrator().await;
        self.servers.overhear(NAME).await;
    }

    /// Headers of the messages published last.
    pub async fn overheard(&self) -> Vec<serde_json::Value> {
        self.servers.overheard(NAME).await
    }

    /// The database as a superuser.
    pub async fn database(&self) -> PgPool {
        self.servers.admin(NAME).await
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
        let api = &self.servers.api;
        let port = api.port().expect("a port");
        format!("http://{}:{port}/api/{path}", api.host_str().expect("a host"))
    }
}

/// A service of the compose file.
fn service(name: &str) -> Service {
    let text = std::fs::read_to_string(workspace().join("deploy/compose/compose.yaml")).expect("it is there");
    let mut compose: Compose = serde_saphyr::from_str(&text).expect("the compose file can be read");
    compose.services.remove(name).unwrap_or_else(|| panic!("compose has no service {name}"))
}

/// `${NAME:-default}` is its default, and `${NAME:?message}` what an installation sets.
fn interpolated(word: &str) -> String {
    let Some(inner) = word.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) else { return word.to_owned() };
    if let Some((_, default)) = inner.split_once(":-") {
        return default.to_owned();
    }
    let name = inner.split(":?").next().unwrap_or(inner);
    let set = DOT_ENV.iter().find(|(known, _)| *known == name);
    set.unwrap_or_else(|| panic!("{name} is not among what docs/DEPLOY.md has an installation set")).1.to_owned()
}

/// The program where the container's user can reach it.
fn program(folder: &Path) -> PathBuf {
    let copy = folder.join("rollcall");
    if !copy.exists() {
        std::fs::hard_link(binary::rollcall(), &copy)
            .or_else(|_| std::fs::copy(binary::rollcall(), &copy).map(drop))
            .expect("the program can be copied");
        allow(folder, 0o711);
    }
    copy
}

/// As the container's user, who has no rights and can get none; as the caller where that is not root.
fn confined(program: &Path) -> Command {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    if !is_root {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.arg(format!("--reuid={CONTAINER_USER}")).arg(format!("--regid={CONTAINER_USER}"));
    command.args(["--clear-groups", "--no-new-privs", "--bounding-set=-all", "--"]).arg(program);
    command
}

fn allow(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("our own directory");
}

fn run(command: &mut Command) {
    let output = command.current_dir(workspace()).output().expect("a program can be started");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
