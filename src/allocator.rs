//! How much memory the C library's allocator sets aside.
//!
//! glibc opens up to eight arenas for each processor, and what is free in one serves no other. The pages of a large district
//! pass through every thread, so that the free parts of many arenas add up to a fifth of a classifier's memory
//! (docs/OPERATIONS.md). How many there may be is read from the environment when a process starts, and only then: what runs
//! for long starts once more, in the same process, before it has a thread.

use std::{env, os::unix::process::CommandExt as _, process::Command};

use crate::config;

/// As many as processors of a small machine; fewer would have threads wait for each other.
const ARENAS: &str = "2";

/// Returns in the process that has few arenas, and where they cannot be had: memory is all that this is about.
pub(crate) fn few_arenas() {
    if config::allocator_is_set() || !cfg!(target_env = "gnu") {
        return;
    }
    let mut arguments = env::args_os();
    if let (Ok(program), Some(name)) = (env::current_exe(), arguments.next()) {
        let _not_started = Command::new(program).arg0(name).args(arguments).env(config::ARENA_MAX, ARENAS).exec();
    }
}
