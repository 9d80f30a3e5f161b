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
    Steps {
        role: Role::Fetcher,
        steps: &[
            "commit/start a run",
            "commit/save what discovery found",
            "commit/hand pages in",
            "publish/fetch.page",
            "publish/page.raw",
            "ack/rollcall.fetch",
        ],
    },
    Steps {
        role: Role::Classifier,
        steps: &[
            "commit/store pages",
            "commit/note that a run is pulled",
            "commit/claim a run for planning",
            "commit/save a plan",
            "commit/change a board",
            "commit/release a plan",
            "commit/close a run",
            "publish/run.classify",
            "publish/fetch.page",
            "publish/run.release",
            "publish/student.events",
            "publish/run.applied",
            "ack/rollcall.collect",
            "ack/rollcall.plan",
            "ack/rollcall.applied",
        ],
    },
    Steps { role: Role::Writer, steps: &["commit/apply a batch", "publish/run.applied", "ack/rollcall.write"] },
    Steps {
        role: Role::FlagSync,
        steps: &[
            "commit/claim a district's flags",
            "commit/save participations",
            "commit/save flags",
            "commit/note that flags are synced",
            "commit/settle whose flags are pending",
            "commit/note that the SIS answers",
            "commit/give a district's flags back",
            "campus/flag",
            "ack/rollcall.flags",
        ],
    },
];

/// What a take-over has beside [`STEPS`], where it is at work: an old flag's end is sent, noted, and after the last the program
/// is done.
pub const OF_TAKE_OVERS: &[&str] =
    &["campus/old flag", "commit/note a flag of a take-over", "commit/finish a take-over"];

/// Commits of reconcilers and of looking after old data: when they come depends on time, and what they do is what they
/// would do again.
pub const NOW_AND_THEN: &[&str] = &[
    "commit/claim a run for reconciling",
    "commit/forget old pages",
    "commit/forget old plans",
    "commit/forget what was parked long ago",
    "commit/forget what the audit trail has kept long enough",
    "commit/claim a chore",
    "commit/give a chore back",
    "commit/claim the asking for flags",
    "publish/flag.sync",
    "publish/flag.push",
    // A page that could not be had, a second look.
    "commit/change a board",
    // Only where the work outlasts a third of the lease.
    "commit/renew the lease of a district's flags",
    // Only after somebody asked for one program.
    "commit/settle which programs' flags were asked for",
    // Only where the SIS's programs changed.
    "commit/save the programs of flags",
    // The last page is stored before the board has it fetched, now and then: then the fetcher asks for the plan.
    "commit/note that a run is pulled",
    "publish/run.classify",
];

/// All moments of a role.
pub fn of(role: Role) -> Vec<String> {
    both_sides(STEPS.iter().filter(|of| of.role == role).flat_map(|of| of.steps))
}

/// All moments of a take-over.
pub fn of_take_overs() -> Vec<String> {
    both_sides(OF_TAKE_OVERS)
}

fn both_sides<'a>(steps: impl IntoIterator<Item = &'a &'static str>) -> Vec<String> {
    steps.into_iter().flat_map(|step| [format!("{step}/before"), format!("{step}/after")]).collect()
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
