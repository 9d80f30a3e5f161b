//! Servers that `deploy/local` starts, as a person does who tries several processes out.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use tempfile::TempDir;

use crate::{binary::workspace, private};

/// What `deploy/local` keeps in a directory of its own. Whatever runs there is ended by its process ids when this is dropped.
#[derive(Debug)]
pub struct LocalServers {
    state: TempDir,
}

impl LocalServers {
    /// A directory for them; nothing runs yet.
    #[expect(clippy::new_without_default, reason = "it makes a directory")]
    pub fn new() -> Self {
        Self { state: tempfile::Builder::new().prefix("rollcall-local.").tempdir().expect("a directory") }
    }

    /// Runs `deploy/local` with this verb.
    pub fn call(&self, verb: &str) -> Output {
        let mut command = Command::new("deploy/local");
        command.arg(verb).current_dir(workspace()).envs(self.settings());
        command.output().expect("deploy/local can be started")
    }

    /// What tells `deploy/local` which directory is meant.
    pub fn settings(&self) -> Vec<(String, String)> {
        vec![("ROLLCALL_LOCAL_DIR".to_owned(), self.state.path().to_string_lossy().into_owned())]
    }

    /// Process ids of the broker and of the database's first process.
    pub fn process_ids(&self) -> (u32, u32) {
        private::process_ids(&self.home().expect("deploy/local noted where the servers are"))
    }

    /// Where the servers' files are: elsewhere, where the servers' accounts cannot reach the directory.
    fn home(&self) -> Option<PathBuf> {
        let noted = std::fs::read_to_string(self.state.path().join("home")).ok()?;
        Some(noted.trim()).filter(|home| !home.is_empty()).map(PathBuf::from)
    }
}

impl Drop for LocalServers {
    fn drop(&mut self) {
        if let Some(home) = self.home() {
            private::discard(&home);
        }
    }
}

/// Whether a process lives; one that nobody has waited for does not.
pub fn lives(process: u32) -> bool {
    std::fs::read(Path::new("/proc").join(process.to_string()).join("cmdline")).is_ok_and(|line| !line.is_empty())
}
