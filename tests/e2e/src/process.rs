//! A process under test: started, watched, killed.

use std::{
    collections::BTreeSet,
    fs::File,
    io::Write as _,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use crate::{binary, waiting::until};

/// How long metrics are waited for: a process that stands still does not hold its test up.
const ANSWER: Duration = Duration::from_secs(3);

/// Lines of a log that are shown when a test fails.
const TAIL: usize = 60;

/// A running `rollcall`. Killed when dropped; its log is shown when the test has failed.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `rollcall` with these arguments and settings; both outputs go to `FOLDER/NAME.log`, appended.
    pub fn start(name: &str, folder: &Path, args: &[&str], settings: &[(String, String)]) -> Self {
        Self::start_with(Stdio::null(), name, folder, command(args, settings, folder))
    }

    /// As [`Process::start`], of another program than the one under test.
    pub fn start_other(
        program: &Path,
        name: &str,
        folder: &Path,
        args: &[&str],
        settings: &[(String, String)],
    ) -> Self {
        Self::start_command(name, folder, command_of(program, args, settings, folder))
    }

    /// Starts what a line of shell calls, with somebody at the keyboard.
    pub fn attended(name: &str, folder: &Path, line: &str, settings: &[(String, String)]) -> Self {
        let line = format!("exec {line}");
        Self::start_with(Stdio::piped(), name, folder, command_of(Path::new("sh"), &["-c", &line], settings, folder))
    }

    /// Starts any command; both outputs go to `FOLDER/NAME.log`, appended.
    pub fn start_command(name: &str, folder: &Path, command: Command) -> Self {
        Self::start_with(Stdio::null(), name, folder, command)
    }

    fn start_with(input: Stdio, name: &str, folder: &Path, mut command: Command) -> Self {
        let log = folder.join(format!("{name}.log"));
        let file = appended(&log);
        let child = command
            .stdin(input)
            .stdout(file.try_clone().expect("a file can be shared"))
            .stderr(file)
            .spawn()
            .expect("rollcall can be started");
        Self { name: name.to_owned(), child, log }
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// What the test calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child can be asked").is_none()
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Somebody presses Enter; waits until it has ended by itself.
    pub async fn enter(&mut self, limit: Duration) -> ExitStatus {
        let keyboard = self.child.stdin.as_mut().expect("somebody is at the keyboard");
        keyboard.write_all(b"\n").expect("it listens");
        self.ended(limit).await
    }

    /// SIGTERM, and waits until it has ended by itself. Its metrics are kept beside its log before, as `NAME.metrics.log`.
    pub async fn terminate(&mut self, limit: Duration) -> ExitStatus {
        self.told_to_stop(limit).await.0
    }

    /// As [`Process::terminate`], and how long it took from the signal on.
    pub async fn told_to_stop(&mut self, limit: Duration) -> (ExitStatus, Duration) {
        let kept = self.log.with_extension("metrics.log");
        for text in metrics(&self.log()).await {
            append(&kept, &text);
        }
        signal(self.id(), "TERM");
        let told = Instant::now();
        let status = self.ended(limit).await;
        (status, told.elapsed())
    }

    /// Waits until it has ended by itself.
    pub async fn ended(&mut self, limit: Duration) -> ExitStatus {
        let name = self.name.clone();
        let child = &mut self.child;
        until(&format!("{name} to end as it was told"), limit, || {
            let status = child.try_wait().expect("a child can be asked");
            async move { status }
        })
        .await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let ended = self.child.try_wait().ok().flatten();
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            let how = ended.map_or_else(|| "running".to_owned(), describe);
            eprintln!("--- {} ({how}), last lines of its log", self.name);
            lines.iter().skip(lines.len().saturating_sub(TAIL)).for_each(|line| eprintln!("{line}"));
        }
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with code {code}"),
        (None, signal) => format!("ended by signal {}", signal.unwrap_or_default()),
    }
}

/// Metrics of whoever wrote the end of this log and still answers: who wrote its beginning may be gone, and its address another's.
pub(crate) async fn metrics(log: &str) -> Vec<String> {
    let addresses: BTreeSet<String> = ["metrics and health are served on ", "listening for HTTP on "]
        .iter()
        .filter_map(|told| log.rsplit_once(told).map(|(_, after)| after))
        .map(|after| after.chars().take_while(|letter| letter.is_ascii_digit() || ".:".contains(*letter)).collect())
        .collect();
    let mut texts = Vec::new();
    for address in addresses {
        let client = reqwest::Client::builder().no_proxy().timeout(ANSWER).build().expect("a client");
        let Ok(answer) = client.get(format!("http://{address}/metrics")).send().await else { continue };
        // A site whose metrics are served apart has none.
        if answer.status().is_success() {
            texts.extend(answer.text().await);
        }
    }
    texts
}

/// A file that is written to at its end.
fn appended(path: &Path) -> File {
    File::options().create(true).append(true).open(path).expect("a log file can be made")
}

/// Writes a text at the end of a file, in one piece.
pub(crate) fn append(path: &Path, text: &str) {
    appended(path).write_all(text.as_bytes()).expect("a log file can be written");
}

/// Sends a signal to a process that this test started.
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("sh").args(["-c", "kill -s \"$1\" \"$2\"", "kill", name, &pid.to_string()]).status();
    assert!(status.is_ok_and(|status| status.success()), "no {name} could be sent to process {pid}");
}

/// A command for the program under test: none of the caller's own settings, working in `folder`.
pub(crate) fn command(args: &[&str], settings: &[(String, String)], folder: &Path) -> Command {
    command_of(binary::rollcall(), args, settings, folder)
}

/// As [`command`], of another program.
pub(crate) fn command_of(program: &Path, args: &[&str], settings: &[(String, String)], folder: &Path) -> Command {
    let mut command = Command::new(program);
    let is_setting =
        |name: &str| name.starts_with("ROLLCALL_") || ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES"].contains(&name);
    let own = std::env::vars_os().filter(|(name, _)| is_setting(&name.to_string_lossy()));
    own.for_each(|(name, _)| {
        command.env_remove(name);
    });
    command.args(args).envs(settings.iter().cloned()).current_dir(folder);
    command
}
