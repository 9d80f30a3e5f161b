//! A disk of a few megabytes, to be filled: a tmpfs in a mount namespace of a test's own.
//!
//! Neighbours: [`crate::private`], whose database lives on it.
//!
//! Invariants: nobody outside sees the mount, and nothing of it is left when the test and what it started have ended. Where
//! the machine lets a test mount nothing at all, the test fails and says so.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// As root, or as anybody who may have a user namespace.
const WAYS: [Way; 2] = [
    Way { unshare: &["--mount"], enter: &["--mount"], is_mapped: false },
    Way {
        unshare: &["--user", "--map-root-user", "--mount"],
        enter: &["--user", "--mount", "--preserve-credentials"],
        is_mapped: true,
    },
];

/// How a namespace is made and entered.
#[derive(Debug, Clone, Copy)]
struct Way {
    unshare: &'static [&'static str],
    enter: &'static [&'static str],
    /// Root within is only the caller.
    is_mapped: bool,
}

/// Mounts, says so, and stays until its input ends: with the test.
const HOLD: &str = "mount -t tmpfs -o size=$2m tmpfs \"$1\" && echo mounted && exec cat";

/// See the module.
#[derive(Debug)]
pub struct SmallDisk {
    holder: Child,
    way: Way,
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts one over an empty directory.
    ///
    /// # Panics
    /// Where neither root nor a user namespace can mount.
    pub fn over(path: &Path, megabytes: u32) -> Self {
        let found = WAYS.into_iter().find_map(|way| Self::mount(path, megabytes, way));
        found.unwrap_or_else(|| {
            panic!(
                "no disk can be made to be filled: mounting a tmpfs needs root with CAP_SYS_ADMIN, or user namespaces \
                 (try `unshare --user --map-root-user --mount true`); this machine gives neither"
            )
        })
    }

    fn mount(path: &Path, megabytes: u32, way: Way) -> Option<Self> {
        let mut command = Command::new("unshare");
        command.args(way.unshare).args(["--", "bash", "-c", HOLD, "disk"]).arg(path).arg(megabytes.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut holder = command.spawn().expect("unshare is part of every Linux (util-linux)");
        let mut told = String::new();
        let output = holder.stdout.take().expect("its output is ours");
        let _ = BufReader::new(output).read_line(&mut told);
        let disk = Self { holder, way, path: path.to_owned() };
        (told.trim() == "mounted").then_some(disk)
    }

    /// A command that sees the disk.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.holder.id().to_string()]).args(self.way.enter).args(["--", program]);
        command
    }

    /// Whether root there is only the caller under another name: there are no other accounts then.
    pub const fn is_mapped(&self) -> bool {
        self.way.is_mapped
    }

    /// Leaves no byte free.
    pub fn fill(&self) {
        let script = "head -c 64G /dev/zero >\"$1/ballast\"; [[ $(df --output=avail \"$1\" | tail -n 1) -eq 0 ]]";
        self.run(script);
    }

    /// Gives back what [`SmallDisk::fill`] took.
    pub fn make_room(&self) {
        self.run("rm \"$1/ballast\"");
    }

    fn run(&self, script: &str) {
        let mut command = self.command("bash");
        let output = command.args(["-c", script, "disk"]).arg(&self.path).output().expect("bash can be started");
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
