//! The moments at which the fault matrix kills a process: before and after each commit, publish and acknowledgement of
//! each role, and between Campus and its record.
//!
//! Two tests hold this list to the program: one fails where a night reaches a moment that is not listed or does not
//! reach one that is, the other kills at each.

use std::collections::BTreeSet;

use chrono::NaiveDate;

use crate::{
    binary,
    house::{self, Role},
};

/// How a process is told which moments are armed.
pub const ARMED: &str = "ROLLCALL_FAILPOINTS";

/// Says which day's part is wanted, in place of today's: `2026-11-26`.
const DAY: &str = "ROLLCALL_TEST_DAY";

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

/// What the HTTP side reaches, which is no worker: a program asks for a token, hands a document in and completes it, has flags
/// pushed and a take-over approved; a person clicks on a flag and is shown the document. Beside it, an approval gives
/// the district's flags back, as flag-sync does.
pub const OF_WEB: &[&str] = &[
    "commit/note an integration's token",
    "commit/save a document",
    "commit/change a document's status",
    "publish/flag.sync",
    "commit/ask for a district's flags",
    "commit/reserve a district's flags",
    "commit/approve a take-over",
    "commit/note an LTI login",
    "commit/use an LTI login",
    "commit/log a look at a document",
];

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
    // What metrics tell of runs and districts, every fifteen seconds.
    "commit/count runs and parked students",
    // A page that could not be had, a second look.
    "commit/change a board",
    // Only where the work outlasts a third of the lease.
    "commit/renew the lease of a district's flags",
    // Only after somebody asked for one program.
    "commit/settle which programs' flags were asked for",
    // The HTTP side's, every hour.
    "commit/forget what has expired on the HTTP side",
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

/// All moments of the HTTP side.
pub fn of_web() -> Vec<String> {
    both_sides(OF_WEB)
}

/// A day's part of the moments, so many; all of them with `--full`. From one day to the next they go round, so that each has
/// its turn within a week or two.
pub fn todays(all: Vec<String>, everyday: u64) -> BTreeSet<String> {
    let day = day();
    let number = house::repetitions(everyday, all.len() as u64) as usize;
    let chosen = of_day(all, number, day);
    println!("moments of {day} (another day's: {DAY}=YYYY-MM-DD): {chosen:?}");
    chosen
}

/// The day in UTC, or the one that is asked for.
fn day() -> NaiveDate {
    #[expect(clippy::disallowed_methods, reason = "which day's tests they are is the machine's to say")]
    let today = || chrono::Utc::now().date_naive();
    binary::variable(DAY).map_or_else(today, |text| text.parse().expect("ROLLCALL_TEST_DAY is a date, YYYY-MM-DD"))
}

/// They are mixed first, always alike, so that what is before a step and what is after it have different days.
fn of_day(mut all: Vec<String>, number: usize, day: NaiveDate) -> BTreeSet<String> {
    fastrand::Rng::with_seed(7).shuffle(&mut all);
    let days = usize::try_from(day.signed_duration_since(NaiveDate::default()).num_days()).unwrap_or_default();
    let first = days * number % all.len().max(1);
    all.iter().cycle().skip(first).take(number.min(all.len())).cloned().collect()
}

/// Moments that are armed together: the first that is reached ends the process, and the next process is armed with the rest.
pub fn armed(points: &BTreeSet<String>) -> String {
    points.iter().map(|point| format!("{point}=kill")).collect::<Vec<_>>().join(";")
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever day it begins on.
    #[test]
    fn every_moment_has_its_turn_within_two_weeks() {
        let roles = [Role::Fetcher, Role::Classifier, Role::Writer, Role::FlagSync].map(|role| (of(role), 5));
        let begin: NaiveDate = "2026-11-26".parse().unwrap();
        for (all, number) in roles.into_iter().chain([(of_take_overs(), 2), (of_web(), 3)]) {
            for first in 0..30 {
                let days = begin.iter_days().skip(first).take(14);
                let met: BTreeSet<String> = days.flat_map(|day| of_day(all.clone(), number, day)).collect();
                assert_eq!(met, all.iter().cloned().collect());
            }
            assert_eq!(of_day(all.clone(), number, begin).len(), number.min(all.len()));
            assert_ne!(of_day(all.clone(), number, begin), of_day(all, number, begin.succ_opt().unwrap()));
        }
    }
}
