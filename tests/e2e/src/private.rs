//! Servers of a test's own, for tests that stop and start them: the very functions that `./test` uses.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::Path,
    process::Command,
};

use tempfile::TempDir;
use url::Url;

use crate::{binary::workspace, services::Servers};

/// A RabbitMQ and a PostgreSQL that nobody else uses. Ended, data and all, when dropped.
#[derive(Debug)]
pub struct PrivateServers {
    home: TempDir,
}

impl PrivateServers {
    /// Starts both as a test wants them: the disk is not waited for.
    pub fn start() -> Self {
        Self::start_with("'fsync = off' 'synchronous_commit = off'")
    }

    /// As [`PrivateServers::start`], and the database listens on a loopback address of its own too, for those who may not
    /// enter its directory.
    pub fn start_within_reach() -> (Self, IpAddr) {
        let address = Ipv4Addr::new(127, fastrand::u8(1..=254), fastrand::u8(1..=254), fastrand::u8(1..=254));
        let servers =
            Self::start_with(&format!("'fsync = off' 'synchronous_commit = off' \"listen_addresses = '{address}'\""));
        (servers, address.into())
    }

    /// Starts both as `deploy/local` does.
    pub fn start_durable() -> Self {
        Self::start_with("")
    }

    /// Starts a PostgreSQL that listens on a TCP port of 127.0.0.1 with this certificate and key (PEM), and no broker.
    pub fn start_tls_database(certificate: &str, key: &str) -> (Self, u16) {
        let servers = Self { home: tempfile::Builder::new().prefix("rollcall-e2e.").tempdir().expect("a directory") };
        let folder = servers.home.path().join("tls");
        std::fs::create_dir(&folder).expect("a directory");
        std::fs::write(folder.join("cert.pem"), certificate).expect("a file");
        std::fs::write(folder.join("key.pem"), key).expect("a file");
        let port = free_port();
        servers.shell(&format!(
            "chmod 711 \"$home\"; chmod 600 \"$home/tls/key.pem\"; \
             if ((EUID == 0)); then chown -R \"$(database_account)\" \"$home/tls\"; fi; export PGPORT={port}; \
             database_start \"$home\" \"listen_addresses = '127.0.0.1'\" 'port = {port}' 'ssl = on' \
             \"ssl_cert_file = '$home/tls/cert.pem'\" \"ssl_key_file = '$home/tls/key.pem'\""
        ));
        (servers, port)
    }

    fn start_with(settings: &str) -> Self {
        let servers = Self { home: tempfile::Builder::new().prefix("rollcall-e2e.").tempdir().expect("a directory") };
        servers.shell(&format!("services_start \"$home\" {settings}"));
        servers
    }

    /// Process ids of the broker and of the database's first process.
    pub fn process_ids(&self) -> (u32, u32) {
        process_ids(self.home.path())
    }

    /// Their addresses.
    pub fn servers(&self) -> Servers {
        let url = |script: &str| Url::parse(self.shell(script).trim()).expect("an address");
        Servers {
            amqp: url("amqp_url \"$home\""),
            api: url("amqp_api \"$home\""),
            database: url("database_url \"$home\" \"$DATABASE_ADMIN\" postgres"),
        }
    }

    /// Stops the broker, in order or by SIGKILL, and waits until it is gone.
    pub fn stop_broker(&self, how: Stop) {
        let signal = match how {
            Stop::InOrder => "TERM",
            Stop::AtOnce => "KILL",
        };
        self.shell(&format!("broker_stop \"$home\" {signal}"));
    }

    /// Starts the broker again, on its old ports and data, and waits until it answers.
    pub fn start_broker(&self) {
        self.shell("broker_start \"$home\"");
    }

    /// Stops the broker at once and throws its data away; it has users, and no virtual host, when it is started again.
    pub fn lose_broker_data(&self) {
        self.stop_broker(Stop::AtOnce);
        self.shell("rm -rf \"$home\"/broker/mnesia/*");
    }

    /// Runs `rabbitmqctl` on the broker.
    pub fn control_broker(&self, arguments: &str) {
        self.shell(&format!(
            "broker_facts \"$home\"; (broker_environment \"$home\"; \
             as_account \"$(broker_account)\" \"$RABBITMQ_BIN/rabbitmqctl\" {arguments}) >&2"
        ));
    }

    /// Stops the database, and waits until it is gone.
    pub fn stop_database(&self) {
        self.shell("database_stop \"$home\"");
    }

    /// Starts the database again, on its old data.
    pub fn start_database(&self) {
        self.shell("database_start \"$home\"");
    }

    /// Stops the database, in order or at once, and starts it again.
    pub fn restart_database(&self, how: Stop) {
        let signal = match how {
            Stop::InOrder => "INT",
            Stop::AtOnce => "QUIT",
        };
        self.shell(&format!("database_stop \"$home\" {signal}; database_start \"$home\""));
    }

    /// Runs a line of shell with the functions of `deploy/lib/services.sh` at hand.
    fn shell(&self, line: &str) -> String {
        let output = shell(self.home.path(), line);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{line}: {text}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for PrivateServers {
    fn drop(&mut self) {
        discard(self.home.path());
    }
}

/// How the broker goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// SIGTERM.
    InOrder,
    /// SIGKILL.
    AtOnce,
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// Process ids of the broker and of the database's first process of a pair of servers.
pub(crate) fn process_ids(home: &Path) -> (u32, u32) {
    let read = |path: &str| {
        let text = std::fs::read_to_string(home.join(path)).expect("a pid file");
        text.lines().next().and_then(|line| line.trim().parse().ok()).expect("a process id")
    };
    (read("broker/pid/rabbit"), read("database/data/postmaster.pid"))
}

/// Ends a pair of servers by their process ids, and throws their data away.
pub(crate) fn discard(home: &Path) {
    let _ = shell(home, "services_discard \"$home\"");
}

fn shell(home: &Path, line: &str) -> std::process::Output {
    let script = format!("set -euo pipefail; . deploy/lib/services.sh; home=$1; {line}");
    let mut command = Command::new("bash");
    command.args(["-c", &script, "services"]).arg(home).current_dir(workspace());
    command.output().expect("bash can be started")
}
