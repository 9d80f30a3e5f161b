//! The moments at which the fault matrix kills a process: before and after each commit, publish and acknowledgement of
//! each role, and between Campus and its record.
//!
//! Two tests hold this list to the program: one fails where a night reaches a moment that is not listed or does not
//! reach one that is, the other kills at each.

use crate::house::Role;

/// Commits, by the store's name of the operation; publishes, by the kind of the first message; acknowledgements, by queue.
#[derive(Debug, Clone, Copy)]
pub struct Steps {
    /// Whose.
    pub role: Role,
    /// Each with a moment before and one after it.
    pub steps: &'static [&'static str],
}

/// The list.
pub const STEPS: [Steps; 4] = [
    Steps { role: Role::Fetcher, steps: &[] },
    Steps { role: Role::Classifier, steps: &[] },
    Steps { role: Role::Writer, steps: &[] },
    Steps { role: Role::FlagSync, steps: &[] },
];

/// Commits of reconcilers and of looking after old data: when they come depends on time, and what they do is what they
/// would do again.
pub const NOW_AND_THEN: &[&str] = &[];

/// All moments of a role.
pub fn of(role: Role) -> Vec<String> {
    let steps = STEPS.iter().filter(|of| of.role == role).flat_map(|of| of.steps);
    steps.flat_map(|step| [format!("{step}/before"), format!("{step}/after")]).collect()
}

/// The moments that a process with `*=note` has told.
pub fn reached(log: &str) -> Vec<String> {
    told(log, "failpoint reached: ")
}

/// The moment at which a process was killed.
pub fn killed_at(log: &str) -> Option<String> {
    told(log, "failpoint killed: ").pop()
}

fn told(log: &str, what: &str) -> Vec<String> {
    log.lines().filter_map(|line| line.strip_prefix(what)).map(str::to_owned).collect()
}

/// Whether it is the end of a transaction that only read.
pub fn only_reads(point: &str) -> bool {
    let Some(operation) = point.strip_prefix("commit/") else { return false };
    ["read ", "list ", "look ", "find ", "check "].iter().any(|verb| operation.starts_with(verb))
}
