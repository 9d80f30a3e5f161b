//! The `rollcall` program under test.

use std::{path::PathBuf, process::Command, sync::OnceLock};

/// A variable of the tests' environment.
#[expect(clippy::disallowed_methods, reason = "tests take their settings from the environment")]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

static PATH: OnceLock<PathBuf> = OnceLock::new();

/// Names the binary, before it is first used: for a program that has built it another way.
pub fn use_binary(path: PathBuf) {
    let _ = PATH.set(path);
}

/// Path of the binary. `./test` builds it together with the tests and names it in `ROLLCALL_TEST_BINARY`; run by hand,
/// it is built here, so that it is never an old one.
pub fn rollcall() -> &'static PathBuf {
    PATH.get_or_init(|| variable("ROLLCALL_TEST_BINARY").map_or_else(build, PathBuf::from))
}

/// Path of a program of another version, named in `ROLLCALL_TEST_OTHER_BINARY`, to be at work beside this one.
pub fn other() -> Option<PathBuf> {
    variable("ROLLCALL_TEST_OTHER_BINARY").map(PathBuf::from)
}

/// The folder of the workspace.
pub fn workspace() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn build() -> PathBuf {
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--workspace", "--bin", "rollcall"])
        .current_dir(workspace())
        .status()
        .expect("cargo can be started");
    assert!(status.success(), "the rollcall binary does not build");
    // A test program is target/PROFILE/deps/NAME; the binary lies two levels up. The profile built here is `dev`.
    let target = std::env::current_exe().expect("the test program has a path");
    let target = target.ancestors().nth(3).expect("a test program lies in target/PROFILE/deps");
    target.join("debug").join("rollcall")
}
