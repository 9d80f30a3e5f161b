//! The command line, as a person or a script meets it.

use std::{
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    binary,
    house::FOLDER,
    process::{append, command, command_of},
};

/// Longer than any command of a test takes, runs that are waited for among them.
const LIMIT: Duration = Duration::from_mins(4);

/// Where standard errors of an installation's commands are kept: its logs are searched when it closes.
const ERRORS: &str = "commands.log";

/// What a command answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The command line, for messages.
    pub line: String,
    /// Exit code: 0 done, 1 failed, 2 usage, 3 held.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Answer {
    /// Runs `rollcall` to its end.
    pub async fn of(folder: &Path, args: &[&str], settings: &[(String, String)]) -> Self {
        Self::of_command(folder, format!("rollcall {}", args.join(" ")), command(args, settings, folder)).await
    }

    /// Runs `rollcall` to its end on a terminal of 100 columns; standard output is what it shows.
    pub async fn on_terminal(folder: &Path, args: &[&str], settings: &[(String, String)]) -> Self {
        let line = format!("{} {}", binary::rollcall().display(), args.join(" "));
        let mut terminal = command_of(Path::new("script"), &[], settings, folder);
        terminal.args(["--quiet", "--return", "--command", &format!("stty cols 100; exec {line}"), "/dev/null"]);
        terminal.env("SHELL", "/bin/sh").env("TERM", "xterm");
        Self::of_command(folder, line, terminal).await
    }

    /// Runs a line of shell to its end, as a person types it.
    pub async fn of_shell(folder: &Path, line: &str, settings: &[(String, String)]) -> Self {
        Self::of_command(folder, line.to_owned(), command_of(Path::new("sh"), &["-c", line], settings, folder)).await
    }

    /// Runs `rollcall` to its end with its standard output going to `output`; what is said there is not seen.
    pub async fn to(output: Stdio, folder: &Path, args: &[&str], settings: &[(String, String)]) -> Self {
        let line = format!("rollcall {}", args.join(" "));
        let mut command = tokio::process::Command::from(command(args, settings, folder));
        let command = command.stdin(Stdio::null()).stdout(output).stderr(Stdio::piped()).kill_on_drop(true);
        let child = command.spawn().expect("rollcall can be started");
        Self::ended(folder, line, child.wait_with_output()).await
    }

    async fn of_command(folder: &Path, line: String, command: std::process::Command) -> Self {
        let mut command = tokio::process::Command::from(command);
        Self::ended(folder, line, command.stdin(Stdio::null()).kill_on_drop(true).output()).await
    }

    async fn ended(folder: &Path, line: String, output: impl Future<Output = std::io::Result<Output>>) -> Self {
        let output = tokio::time::timeout(LIMIT, output).await;
        let output = output.unwrap_or_else(|_| panic!("{line}: no end within {LIMIT:?}"));
        let output = output.expect("rollcall can be started");
        let answer = Self {
            line,
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).expect("output is UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("output is UTF-8"),
        };
        let is_house = folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with(FOLDER));
        if is_house && !answer.stderr.is_empty() {
            append(&folder.join(ERRORS), &format!("{}\n", answer.stderr));
        }
        answer
    }

    /// Itself, once the exit code is the one expected.
    ///
    /// # Panics
    /// With everything the command said, when it is another one.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}\n--- stdout\n{}\n--- stderr\n{}", self.line, self.stdout, self.stderr);
        self
    }

    /// Standard output as one JSON document: nothing else may stand there.
    #[track_caller]
    pub fn json(&self) -> Value {
        self.read()
    }

    /// Standard output read as `T`.
    #[track_caller]
    pub fn read<T: DeserializeOwned>(&self) -> T {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{}: {error}\n--- stdout\n{}", self.line, self.stdout))
    }

    /// Both outputs, for looking for a text.
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}
