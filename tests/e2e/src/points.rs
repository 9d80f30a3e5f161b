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
            "commit/take a connection's lanes",
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
            "commit/note that a flag is sent",
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

/// What a fetcher that keeps the schedule reaches when a run is due.
pub const OF_SCHEDULES: &[&str] = &["commit/make a run", "publish/fetch.connection"];

/// What a run reaches once more after it has asked the SIS again for whom it would take out.
pub const OF_SECOND_LOOKS: &[Steps] = &[
    Steps { role: Role::Fetcher, steps: &["commit/hand pages in", "publish/page.raw", "ack/rollcall.fetch"] },
    Steps {
        role: Role::Classifier,
        steps: &[
            "commit/store pages",
            "ack/rollcall.collect",
            "publish/run.classify",
            "commit/claim a run for planning",
            "commit/save a plan",
            "ack/rollcall.plan",
        ],
    },
];

/// What a writer reaches where more waits to be released: in a large run, and now and then in a small one.
pub const OF_MORE_TO_RELEASE: &[&str] = &["publish/run.release"];

/// What a person's word on a run reaches, which is the command line's own work.
pub const OF_DECISIONS: &[&str] =
    &["commit/approve a plan", "publish/run.release", "commit/discard a plan", "commit/cancel a run"];

/// What a classifier reaches that looks after old data.
pub const OF_OLD_DATA: &[&str] = &[
    "commit/claim a chore",
    "commit/note that a chore is done",
    "commit/forget old pages",
    "commit/forget old plans",
    "commit/forget what was parked long ago",
    "commit/forget what the audit trail has kept long enough",
    "commit/write the audit trail, each entry once",
];

/// What a fetcher reaches that makes up for lost messages, and what it counts meanwhile.
pub const OF_RECONCILERS: &[&str] = &["commit/claim a run for reconciling", "commit/count runs and parked students"];

/// What flag-sync reaches where nobody asked for what is due, and a person for a program.
pub const OF_FLAG_RECONCILERS: &[&str] = &[
    "commit/claim the asking for flags",
    "publish/flag.push",
    "commit/settle which programs' flags were asked for",
    "commit/save the programs of flags",
];

/// What `runs replay --from plan` reaches, which is the command line's own work.
pub const OF_REPLAYS: &[&str] = &["commit/replay a run", "publish/run.classify"];

/// What `runs replay` reaches from the other stages, which is the command line's own work too.
pub const OF_REPLAYS_FROM: &[(&str, &[&str])] = &[
    ("fetch of an open run", &["commit/write the audit trail", "publish/fetch.connection"]),
    ("fetch of an ended run", &["commit/write the audit trail", "commit/make a run", "publish/fetch.connection"]),
    ("collect", &["commit/replay a run", "publish/run.classify"]),
    ("plan of an open run", &["commit/write the audit trail", "publish/run.classify"]),
    ("release", &["commit/write the audit trail", "publish/student.events", "commit/release a plan"]),
];

/// What `queues replay` reaches.
pub const OF_PARKED_REPLAYS: &[&str] = &["replay/rollcall.collect", "replay/rollcall.write"];

/// What `queues replay write` reaches that tries parked students again.
pub const OF_STUDENT_REPLAYS: &[&str] = &["commit/write the audit trail", "commit/replay parked events"];

/// What a night reaches now and then, beside what is listed for its role: when it comes depends on time. Each has tests of its
/// own above, or is [`NAMED`].
pub const NOW_AND_THEN: &[&str] = &[
    "commit/claim a run for reconciling",
    "commit/keep what a discovery has learned",
    "commit/forget old pages",
    "commit/forget old plans",
    "commit/forget what was parked long ago",
    "commit/forget what the audit trail has kept long enough",
    "commit/claim a chore",
    "commit/note that a chore is done",
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
    // Only where a stray page has led past a second look.
    "commit/go back to a second look",
    // Only where a page was found missing in the moment in which the last one came in.
    "commit/go back to a pull",
    // A writer's, where it has written what was published before the others are noted as published.
    "publish/run.release",
];

/// A person's command of one transaction: whoever saw no answer gives it again, and it is refused or changes nothing more.
const COMMAND: &str = "a person's command of one transaction, which is given again";

/// Moments that nobody is killed at one by one, and why.
pub const NAMED: &[(&str, &str)] = &[
    ("commit/accept an empty listing", COMMAND),
    ("commit/add a key of the LTI tool", COMMAND),
    ("commit/add an integration", COMMAND),
    ("commit/apply a district", COMMAND),
    ("commit/ask for a program's flags", COMMAND),
    ("commit/give up what a lost key sealed", COMMAND),
    ("commit/keep an LTI user", COMMAND),
    ("commit/note that plans of take-overs were shown", COMMAND),
    ("commit/register an LTI platform", COMMAND),
    ("commit/remove a district", COMMAND),
    ("commit/remove an LTI registration", COMMAND),
    ("commit/remove an LTI user", COMMAND),
    ("commit/remove an integration", COMMAND),
    ("commit/seal secrets anew", COMMAND),
    ("ack/rollcall.plan-large", "as rollcall.plan, which is killed at: the queue of large runs"),
    ("commit/add a finding", "only tests call it: what a run finds is saved with what it is about"),
    ("commit/fail a run", "only tests call it: a run fails with its last pull, or is closed as failed"),
    (
        "commit/give a run's planning back",
        "after a plan that failed; where nobody does, the lease ends by itself, as after any planner's death",
    ),
    (
        "commit/give a plan up",
        "the message comes again, and the next planner finds the attempts used up: classifier/tests/runs/nights.rs",
    ),
    ("commit/give a pull up", "the message comes again and gives up what is given up: fetcher/tests/pull.rs"),
    ("commit/give a discovery up", "the message comes again and finds it given up: fetcher/tests/pull.rs"),
    (
        "commit/keep what a discovery has learned",
        "a slow SIS's: what was not kept is asked for again, as after any death of a discovery: fetcher/tests/slow.rs",
    ),
    ("commit/go back to a second look", "the next message to plan the run finds the same: the simulation's seed 1168"),
    ("commit/go back to a pull", "as `go back to a second look`"),
    ("commit/touch a run", "a sign of life, in place of a reconciler's look"),
    (
        "commit/lay stored pages under a pull",
        "as `save what discovery found`, which is killed at: the same function goes on from either",
    ),
    (
        "commit/store a large page",
        "the page's message follows it, and the page is asked for again: as `publish/page.raw/before`",
    ),
    (
        "commit/give a chore back",
        "only where the broker is away in that moment; a chore that nobody gave back is due again the next day",
    ),
    (
        "commit/end the wait for a connection's lanes",
        "the message that follows is missed as one that was lost, and asked for again: store/tests/conformance/lanes.rs",
    ),
    (
        "commit/forget what has expired on the HTTP side",
        "one statement, every hour, of rows that count for nothing any more",
    ),
    (
        "commit/use a document's ticket",
        "a ticket that nobody was shown anything for is asked for anew by one more click",
    ),
    (
        "commit/renew the lease of a district's flags",
        "a sign of life: whoever dies over it leaves a lease as at any other moment",
    ),
    (
        "commit/keep how far a comparison is",
        "only where comparing outlasts a unit: whoever dies over it is gone on after from what was kept before: \
         flag-sync/tests/sync/pieces.rs",
    ),
    (
        "commit/forget a comparison that is over",
        "as `keep how far a comparison is`: one that is over is ended once more: flag-sync/tests/sync/pieces.rs",
    ),
    (
        "commit/note that a flag was sent too late",
        "only where a lease ended between a write and its note, and then as after any death between both: flag-sync/tests/sync/workers.rs",
    ),
    (
        "commit/put off a district's flags",
        "Campus is asked again sooner where it was not said: flag-sync/tests/sync/faults.rs",
    ),
    (
        "commit/note that the SIS fails at a student",
        "the student is asked for again sooner where it was not said: flag-sync/tests/sync/lists.rs",
    ),
    (
        "commit/note that the SIS fails at a flag",
        "the flag is tried again sooner where it was not said: flag-sync/tests/sync/faults.rs",
    ),
    (
        "commit/note that the SIS fails at a flag of a take-over",
        "the flag is tried again sooner where it was not said: flag-sync/tests/take_overs.rs",
    ),
    ("commit/note that the SIS is away", "counts failures for people: flag-sync/tests/sync/faults.rs"),
    (
        "commit/note that a flag of a take-over waits",
        "why one stays open, said again by whoever comes next: flag-sync/tests/take_overs.rs",
    ),
    ("commit/write the ledger of flags", "one more line about a try that failed: flag-sync/tests/sync/faults.rs"),
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

/// All moments of the schedule.
pub fn of_schedules() -> Vec<String> {
    both_sides(OF_SCHEDULES)
}

/// All moments of asking for more to be released.
pub fn of_more_to_release() -> Vec<String> {
    both_sides(OF_MORE_TO_RELEASE)
}

/// All moments of a second look that are this role's.
pub fn of_second_looks(role: Role) -> Vec<String> {
    both_sides(OF_SECOND_LOOKS.iter().filter(|of| of.role == role).flat_map(|of| of.steps))
}

/// All moments of a person's word on a run.
pub fn of_decisions() -> Vec<String> {
    both_sides(OF_DECISIONS)
}

/// All moments of looking after old data.
pub fn of_old_data() -> Vec<String> {
    both_sides(OF_OLD_DATA)
}

/// All moments of making up for lost messages.
pub fn of_reconcilers() -> Vec<String> {
    both_sides(OF_RECONCILERS)
}

/// All moments of finding flags that are due.
pub fn of_flag_reconcilers() -> Vec<String> {
    both_sides(OF_FLAG_RECONCILERS)
}

/// All moments of a replay of a run.
pub fn of_replays() -> Vec<String> {
    both_sides(OF_REPLAYS)
}

/// All moments of replays from other stages: `stage: moment`.
pub fn of_replays_from() -> Vec<String> {
    let mut all = Vec::new();
    for (stage, steps) in OF_REPLAYS_FROM {
        all.extend(both_sides(*steps).into_iter().map(|point| format!("{stage}: {point}")));
    }
    all
}

/// All moments of a replay of what was parked in a queue.
pub fn of_parked_replays(queue: &str) -> Vec<String> {
    both_sides(OF_PARKED_REPLAYS.iter().filter(|step| step.strip_prefix("replay/") == Some(queue)))
}

/// All moments of a replay of parked students.
pub fn of_student_replays() -> Vec<String> {
    both_sides(OF_STUDENT_REPLAYS)
}

/// Every step at which somebody is killed.
pub fn killed() -> BTreeSet<&'static str> {
    let of_roles = STEPS.iter().chain(OF_SECOND_LOOKS).flat_map(|of| of.steps);
    let others = [
        OF_TAKE_OVERS,
        OF_WEB,
        OF_SCHEDULES,
        OF_MORE_TO_RELEASE,
        OF_DECISIONS,
        OF_OLD_DATA,
        OF_RECONCILERS,
        OF_FLAG_RECONCILERS,
        OF_REPLAYS,
        OF_PARKED_REPLAYS,
        OF_STUDENT_REPLAYS,
    ];
    let from = OF_REPLAYS_FROM.iter().flat_map(|(_, steps)| *steps);
    of_roles.chain(others.into_iter().flatten()).chain(from).copied().collect()
}

/// A day's part of the moments, so many; all of them with `--full`. From one day to the next they go round, so that each has
/// its turn within two weeks.
pub fn todays(all: Vec<String>, everyday: u64) -> BTreeSet<String> {
    let day = day();
    let number = house::repetitions(everyday, all.len() as u64) as usize;
    let chosen = of_day(all, number, day);
    println!("moments of {day} (another day's: {DAY}=YYYY-MM-DD): {chosen:?}");
    chosen
}

/// Tests of what comes now and then take turns, since each takes long: once a week, with half of its moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// A run that is due.
    Schedules,
    /// A second look.
    SecondLooks,
    /// A person's word on a run.
    Decisions,
    /// Lost messages made up for.
    Reconcilers,
    /// Flags that nobody asked for.
    FlagReconcilers,
    /// A handler that loops.
    Loops,
    /// A network that loses parts.
    Losses,
    /// Messages of an old version.
    OldMessages,
}

/// Where a handler goes round in circles, the first time that it comes there: before it says that it has a page, before it says
/// that a plan may be written, and with rows written and not committed.
pub const LOOPS: [(Role, &str); 3] = [
    (Role::Fetcher, "publish/page.raw/before"),
    (Role::Classifier, "publish/run.release/before"),
    (Role::Writer, "commit/apply a batch/before"),
];

impl Turn {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Schedules,
        Self::SecondLooks,
        Self::Decisions,
        Self::Reconcilers,
        Self::FlagReconcilers,
        Self::Loops,
        Self::Losses,
        Self::OldMessages,
    ];

    /// Its moments; of the two that have none, themselves.
    pub fn moments(self) -> Vec<String> {
        match self {
            Self::Schedules => of_schedules(),
            Self::SecondLooks => [Role::Fetcher, Role::Classifier].map(of_second_looks).concat(),
            Self::Decisions => of_decisions(),
            Self::Reconcilers => of_reconcilers(),
            Self::FlagReconcilers => of_flag_reconcilers(),
            Self::Loops => LOOPS.map(|(_, point)| point.to_owned()).into(),
            Self::Losses | Self::OldMessages => vec![format!("{self:?}")],
        }
    }

    /// Its day of the week. The last two, which are short, share one.
    const fn day(self) -> i64 {
        match self {
            Self::Schedules => 0,
            Self::SecondLooks => 1,
            Self::Decisions => 2,
            Self::Reconcilers => 3,
            Self::FlagReconcilers => 4,
            Self::Loops => 5,
            Self::Losses | Self::OldMessages => 6,
        }
    }
}

/// As [`todays`], for the test that has this turn; nothing on the days of the others.
pub fn in_turn(turn: Turn) -> Option<BTreeSet<String>> {
    let chosen = of_turn(turn, day(), is_full()).or_else(|| {
        println!("not its day (all have theirs with --full, and by {DAY}=YYYY-MM-DD)");
        None
    })?;
    println!("moments in turn: {chosen:?}");
    Some(chosen)
}

/// Whether all moments are wanted, and all tests of them.
fn is_full() -> bool {
    house::repetitions(0, 1) > 0
}

fn of_turn(turn: Turn, day: NaiveDate, is_full: bool) -> Option<BTreeSet<String>> {
    const WEEK: i64 = 7;
    let days = day.signed_duration_since(NaiveDate::default()).num_days();
    let round = NaiveDate::default() + chrono::Days::new((days / WEEK).unsigned_abs());
    let all = turn.moments();
    let number = if is_full { all.len() } else { all.len().div_ceil(2) };
    (is_full || days % WEEK == turn.day()).then(|| of_day(all, number, round))
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
    ["read ", "list ", "look ", "find ", "check ", "count the "].iter().any(|verb| operation.starts_with(verb))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever day it begins on.
    #[test]
    fn every_moment_has_its_turn_within_two_weeks() {
        let roles = [Role::Fetcher, Role::Classifier, Role::Writer, Role::FlagSync].map(|role| (of(role), 5));
        let begin: NaiveDate = "2026-11-26".parse().unwrap();
        let others = [(of_take_overs(), 2), (of_web(), 3), (of_old_data(), 4)];
        for (all, number) in roles.into_iter().chain(others) {
            for first in 0..30 {
                let days = begin.iter_days().skip(first).take(14);
                let met: BTreeSet<String> = days.flat_map(|day| of_day(all.clone(), number, day)).collect();
                assert_eq!(met, all.iter().cloned().collect());
            }
            assert_eq!(of_day(all.clone(), number, begin).len(), number.min(all.len()));
            assert_ne!(of_day(all.clone(), number, begin), of_day(all, number, begin.succ_opt().unwrap()));
        }
    }

    /// Those that take turns: one test or two a day, and each moment within two weeks, whatever day they begin on.
    #[test]
    fn every_moment_of_what_comes_now_and_then_has_its_turn_within_two_weeks() {
        let begin: NaiveDate = "2026-11-26".parse().unwrap();
        for turn in Turn::ALL {
            let all: BTreeSet<String> = turn.moments().into_iter().collect();
            for first in 0..30 {
                let days = begin.iter_days().skip(first).take(14);
                let turns: Vec<_> = days.filter_map(|day| of_turn(turn, day, false)).collect();
                assert_eq!(turns.len(), 2, "{turn:?}");
                assert_eq!(turns.into_iter().flatten().collect::<BTreeSet<_>>(), all, "{turn:?}");
            }
            assert_eq!(of_turn(turn, begin, true), Some(all), "{turn:?}");
        }
        for day in begin.iter_days().take(7) {
            let number = Turn::ALL.iter().filter(|turn| of_turn(**turn, day, false).is_some()).count();
            assert!((1..=2).contains(&number), "{number} on {day}");
        }
    }
}
