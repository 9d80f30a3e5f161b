//! A broker of a test's own, to be stopped, started again and starved of memory. Others are left alone.

use std::{
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use tokio::time::Instant;

use super::{LIMIT, until};

/// Where Debian and Ubuntu put the programs that ask for no particular user; another version's are in `RABBITMQ_BIN`.
#[expect(clippy::disallowed_methods, reason = "the tests' own setting")]
fn programs() -> PathBuf {
    std::env::var_os("RABBITMQ_BIN").map_or_else(|| PathBuf::from("/usr/lib/rabbitmq/bin"), PathBuf::from)
}

pub struct Broker {
    dir: TempDir,
    port: u16,
    dist_port: u16,
    epmd_port: u16,
    tls_port: u16,
    certificate: String,
}

impl Broker {
    /// Starts it, and waits until it answers.
    pub async fn start() -> Self {
        let dir = TempDir::new().unwrap();
        for folder in ["mnesia", "log", "home", "cfg"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
        }
        std::fs::write(dir.path().join("cfg/rabbitmq-env.conf"), "").unwrap();
        std::fs::write(dir.path().join("cfg/enabled_plugins"), "[].").unwrap();
        let [port, dist_port, epmd_port, tls_port] = free_ports(dir.path());
        let certificate = certify(&dir.path().join("cfg"));
        let cfg = dir.path().join("cfg");
        let settings = format!(
            "log.console = false\ndisk_free_limit.absolute = 50MB\nlisteners.ssl.default = 127.0.0.1:{tls_port}\n\
             ssl_options.certfile = {0}/cert.pem\nssl_options.keyfile = {0}/key.pem\nssl_options.verify = verify_none\n",
            cfg.display()
        );
        std::fs::write(cfg.join("rabbitmq.conf"), settings).unwrap();
        let broker = Self { dir, port, dist_port, epmd_port, tls_port, certificate };
        broker.boot().await;
        broker
    }

    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port)
    }

    /// The same broker over TLS, and the certificate to trust.
    pub fn tls(&self) -> (String, &str) {
        (format!("amqps://guest:guest@localhost:{}/%2f", self.tls_port), &self.certificate)
    }

    /// Starts the server, again or for the first time.
    pub async fn boot(&self) {
        let mut server = self.command("rabbitmq-server");
        server.arg("-detached").stdout(Stdio::null()).stderr(Stdio::null());
        assert!(server.status().expect("rabbitmq-server is installed by ./test").success());
        let limit = Instant::now() + LIMIT;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            assert!(Instant::now() < limit, "the broker did not start");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.control(&["await_startup"]);
    }

    /// Ends the server by SIGKILL and keeps its data.
    pub async fn kill(&self) {
        let told = self.command("rabbitmqctl").args(["eval", "os:getpid()."]).output().expect("rabbitmqctl");
        let id: String = String::from_utf8_lossy(&told.stdout).chars().filter(char::is_ascii_digit).collect();
        assert!(Command::new("kill").args(["-KILL", &id]).status().expect("kill").success(), "no process {id:?}");
        let ports = [self.port, self.tls_port, self.dist_port];
        until("the broker to be gone", async || {
            ports.iter().all(|port| TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).is_err())
        })
        .await;
    }

    /// Stops the server and keeps its data.
    pub fn shut_down(&self) {
        self.control(&["shutdown"]);
    }

    /// Runs `rabbitmqctl`.
    pub fn control(&self, arguments: &[&str]) {
        let output = self.command("rabbitmqctl").args(arguments).output().expect("rabbitmqctl");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn command(&self, program: &str) -> Command {
        let dir = self.dir.path();
        let mut command = Command::new(programs().join(program));
        command
            .env("HOME", dir.join("home"))
            .env("RABBITMQ_NODENAME", format!("conformance{}@localhost", self.port))
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", self.port.to_string())
            .env("RABBITMQ_DIST_PORT", self.dist_port.to_string())
            .env("ERL_EPMD_PORT", self.epmd_port.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            // A dead letter that no queue took is offered again after a second, in place of three minutes.
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "-kernel inet_dist_use_interface {127,0,0,1} -rabbit dead_letter_worker_publisher_confirm_timeout 1000",
            )
            .env("RABBITMQ_MNESIA_BASE", dir.join("mnesia"))
            .env("RABBITMQ_LOG_BASE", dir.join("log"))
            .env("RABBITMQ_PID_FILE", dir.join("pid"))
            .env("RABBITMQ_CONF_ENV_FILE", dir.join("cfg/rabbitmq-env.conf"))
            .env("RABBITMQ_CONFIG_FILE", dir.join("cfg/rabbitmq"))
            .env("RABBITMQ_ADVANCED_CONFIG_FILE", dir.join("cfg/advanced"))
            .env("RABBITMQ_GENERATED_CONFIG_DIR", dir.join("cfg/generated"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", dir.join("cfg/enabled_plugins"));
        command
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // The name server outlives the broker; it is this test's own too.
        drop(self.command("rabbitmqctl").arg("shutdown").output());
        drop(Command::new("epmd").args(["-port", &self.epmd_port.to_string(), "-kill"]).output());
        drop(services("give_ports_back", self.dir.path()));
    }
}

/// Makes a key and a certificate that signs itself. Returns the certificate, PEM.
fn certify(folder: &Path) -> String {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = made.cert.pem();
    std::fs::write(folder.join("cert.pem"), &certificate).unwrap();
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    certificate
}

/// By the one that all private servers of this machine choose by: who comes later takes none of these while `folder` is there.
fn free_ports(folder: &Path) -> [u16; 4] {
    let output = services("free_ports", folder);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let ports: Vec<u16> =
        String::from_utf8_lossy(&output.stdout).split_whitespace().map(|port| port.parse().unwrap()).collect();
    ports.try_into().expect("four ports")
}

/// Runs a function of `deploy/lib/services.sh` on a folder.
fn services(function: &str, folder: &Path) -> Output {
    let library = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/lib/services.sh");
    let script = format!("set -euo pipefail; . {library}; {function} \"$1\"");
    Command::new("bash").args(["-c", &script, "services"]).arg(folder).output().expect("bash can be started")
}
