//! How much memory the C library's allocator sets aside.
//!
//! glibc opens up to eight arenas for each processor, and what is free in one serves no other. The pages of a large district
//! pass through every thread, so that the free parts of many arenas add up to a fifth of a classifier's memory
//! (docs/OPERATIONS.md). How many there may be is read from the environment when a process starts, and only then: what runs
//! for long starts once more, in the same process, before it has a thread.

use std::{env, io, os::unix::process::CommandExt as _, process::Command};

use crate::config;

/// As many as processors of a small machine; fewer would have threads wait for each other.
const ARENAS: &str = "2";

/// Returns in the process that has few arenas, and where they were not asked for.
///
/// # Errors
/// Where the program cannot be started once more. The attempt has changed how this process takes signals, so it is to end.
pub(crate) fn few_arenas() -> io::Result<()> {
    if config::allocator_is_set() || !cfg!(target_env = "gnu") {
        return Ok(());
    }
    let mut arguments = env::args_os();
    match (env::current_exe(), arguments.next()) {
        (Ok(program), Some(name)) if program.is_file() => {
            Err(Command::new(program).arg0(name).args(arguments).env(config::ARENA_MAX, ARENAS).exec())
        }
        // Replaced while it starts, or nowhere to be found: memory is all that this is about.
        _ => Ok(()),
    }
}
