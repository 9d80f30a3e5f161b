//! Servers of a test's own, for tests that stop and start them: the very functions that `./test` uses.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::Path,
    process::{Command, Output},
};

use tempfile::TempDir;
use url::Url;

use crate::{binary::workspace, ports::free_addresses, services::Servers, small_disk::SmallDisk};

/// A RabbitMQ and a PostgreSQL that nobody else uses. Ended, data and all, when dropped.
#[derive(Debug)]
pub struct PrivateServers {
    home: TempDir,
    /// Where the database's data is, if not beside the rest.
    disk: Option<SmallDisk>,
}

impl PrivateServers {
    /// Starts both as a test wants them: the disk is not waited for, and yet what was committed outlives the end of the server's
    /// processes (`synchronous_commit` stays as Rollcall needs it, or a run just made could be forgotten).
    pub fn start() -> Self {
        Self::start_with("'fsync = off'")
    }

    /// As [`PrivateServers::start`], and the database listens on a loopback address of its own too, for those who may not
    /// enter its directory.
    pub fn start_within_reach() -> (Self, IpAddr) {
        let address = Ipv4Addr::new(127, fastrand::u8(1..=254), fastrand::u8(1..=254), fastrand::u8(1..=254));
        let servers = Self::start_with(&format!("'fsync = off' \"listen_addresses = '{address}'\""));
        (servers, address.into())
    }

    /// Starts both as `deploy/local` does.
    pub fn start_durable() -> Self {
        Self::start_with("")
    }

    /// Starts a PostgreSQL that listens on a TCP port of 127.0.0.1 with this certificate and key (PEM), and no broker.
    pub fn start_tls_database(certificate: &str, key: &str) -> (Self, u16) {
        let servers = Self::nowhere();
        let folder = servers.home.path().join("tls");
        std::fs::create_dir(&folder).expect("a directory");
        std::fs::write(folder.join("cert.pem"), certificate).expect("a file");
        std::fs::write(folder.join("key.pem"), key).expect("a file");
        let [port] = free_addresses().map(|address| address.port());
        servers.shell(&format!(
            "chmod 711 \"$home\"; chmod 600 \"$home/tls/key.pem\"; \
             if ((EUID == 0)); then chown -R \"$(database_account)\" \"$home/tls\"; fi; export PGPORT={port}; \
             database_start \"$home\" \"listen_addresses = '127.0.0.1'\" 'port = {port}' 'ssl = on' \
             \"ssl_cert_file = '$home/tls/cert.pem'\" \"ssl_key_file = '$home/tls/key.pem'\""
        ));
        (servers, port)
    }

    /// Starts both, each of which speaks TLS too on a port of `localhost` with this certificate and key (PEM). Returns the ports of
    /// the broker and of the database.
    pub fn start_tls(certificate: &str, key: &str) -> (Self, [u16; 2]) {
        let servers = Self::nowhere();
        let folder = servers.home.path().join("tls");
        std::fs::create_dir(&folder).expect("a directory");
        std::fs::write(folder.join("cert.pem"), certificate).expect("a file");
        std::fs::write(folder.join("key.pem"), key).expect("a file");
        let [broker, database] = free_addresses().map(|address| address.port());
        servers.shell(&format!(
            "chmod 711 \"$home\"; broker_configure \"$home\"; cfg=$home/broker/cfg; cp \"$home\"/tls/*.pem \"$cfg\"; \
             printf '%s\\n' 'listeners.ssl.default = 127.0.0.1:{broker}' \"ssl_options.certfile = $cfg/cert.pem\" \
             \"ssl_options.keyfile = $cfg/key.pem\" 'ssl_options.verify = verify_none' >>\"$cfg/rabbitmq.conf\"; \
             chmod 600 \"$home/tls/key.pem\" \"$cfg/key.pem\"; \
             if ((EUID == 0)); then chown -R \"$(broker_account)\" \"$cfg\"; chown -R \"$(database_account)\" \"$home/tls\"; fi; \
             broker_start \"$home\"; export PGPORT={database}; \
             database_start \"$home\" \"listen_addresses = '127.0.0.1'\" 'port = {database}' 'fsync = off' 'ssl = on' \
             \"ssl_cert_file = '$home/tls/cert.pem'\" \"ssl_key_file = '$home/tls/key.pem'\""
        ));
        (servers, [broker, database])
    }

    /// Starts both, all data of the database (its log too) on a disk of so many megabytes.
    pub fn start_on_a_small_disk(megabytes: u32) -> Self {
        let mut servers = Self::nowhere();
        let data = servers.home.path().join("database/data");
        std::fs::create_dir_all(&data).expect("a directory");
        servers.disk = Some(SmallDisk::over(&data, megabytes));
        servers.shell("chmod 711 \"$home\"; broker_start \"$home\"");
        servers.beside_the_data("database_start \"$home\" 'fsync = off' 'min_wal_size = 32MB' 'max_wal_size = 48MB'");
        servers
    }

    /// A directory for servers that are not there yet.
    fn nowhere() -> Self {
        Self { home: tempfile::Builder::new().prefix("rollcall-e2e.").tempdir().expect("a directory"), disk: None }
    }

    fn start_with(settings: &str) -> Self {
        let servers = Self::nowhere();
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
    ///
    /// # Panics
    /// If somebody took a port of its meanwhile: nobody would find it on another one.
    pub fn start_broker(&self) {
        let ports = || std::fs::read_to_string(self.home.path().join("broker/ports")).expect("the broker's ports");
        let before = ports();
        self.shell("broker_start \"$home\"");
        assert_eq!(ports(), before, "a port of the broker was taken while it was down");
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
        self.beside_the_data("database_stop \"$home\"");
    }

    /// Starts the database again, on its old data; nothing where it runs.
    pub fn start_database(&self) {
        self.beside_the_data("database_start \"$home\"");
    }

    /// The database's disk, where it has one of its own.
    ///
    /// # Panics
    /// Where it has none.
    pub fn disk(&self) -> &SmallDisk {
        self.disk.as_ref().expect("a database on a small disk")
    }

    /// How often the database has said that its disk is full.
    pub fn times_full(&self) -> usize {
        let log = std::fs::read_to_string(self.home.path().join("database/log/server.out")).unwrap_or_default();
        log.matches("No space left on device").count()
    }

    /// Whether the database's first process lives: one whose log finds no room ends itself.
    pub fn database_lives(&self) -> bool {
        let line = "database_running \"$home\"";
        let output = match &self.disk {
            None => shell(Command::new("bash"), self.home.path(), line),
            Some(disk) => shell_on(disk, self.home.path(), line),
        };
        output.status.success()
    }

    /// Stops the database, in order or at once, and starts it again.
    pub fn restart_database(&self, how: Stop) {
        let signal = match how {
            Stop::InOrder => "INT",
            Stop::AtOnce => "QUIT",
        };
        self.beside_the_data(&format!("database_stop \"$home\" {signal}; database_start \"$home\""));
    }

    /// As [`PrivateServers::shell`], where the database's data can be seen.
    fn beside_the_data(&self, line: &str) {
        match &self.disk {
            None => drop(self.shell(line)),
            Some(disk) => drop(Self::checked(line, &shell_on(disk, self.home.path(), line))),
        }
    }

    /// Runs a line of shell with the functions of `deploy/lib/services.sh` at hand.
    fn shell(&self, line: &str) -> String {
        Self::checked(line, &shell(Command::new("bash"), self.home.path(), line))
    }

    fn checked(line: &str, output: &Output) -> String {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{line}: {}: {text}", output.status);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for PrivateServers {
    fn drop(&mut self) {
        if let Some(disk) = &self.disk {
            let _ = shell_on(disk, self.home.path(), "database_stop \"$home\" QUIT");
        }
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
    let _ = shell(Command::new("bash"), home, "services_discard \"$home\"");
}

fn shell(mut bash: Command, home: &Path, line: &str) -> Output {
    let script = format!("set -euo pipefail; cd \"$2\"; . deploy/lib/services.sh; home=$1; {line}");
    bash.args(["-c", &script, "services"]).arg(home).arg(workspace());
    bash.output().expect("bash can be started")
}

/// In a user namespace there is nobody to become but the caller, under the database's name.
fn shell_on(disk: &SmallDisk, home: &Path, line: &str) -> Output {
    let accounts = "as_account() { shift; cd /; exec unshare --user \"--map-user=$(id -u postgres)\" \
                    \"--map-group=$(id -g postgres)\" -- \"$@\"; }; \
                    own_directory() { mkdir -p \"$2\"; chmod 700 \"$2\"; }; ";
    let line = if disk.is_mapped() { format!("{accounts}{line}") } else { line.to_owned() };
    shell(disk.command("bash"), home, &line)
}
