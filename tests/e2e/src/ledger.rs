//! What a test of the fault matrix has counted, written down for `docs/RELIABILITY.md`.
//!
//! Each test leaves one file in `target/reliability`; `cargo run -p rollcall-e2e --example reliability` makes a table of
//! them.

use std::{fmt::Write as _, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{
    binary,
    roster::{Facts, missing},
    watch::Watched,
};

/// The counts of one test.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Name of the test.
    pub test: String,
    /// What went wrong, for people.
    pub disturbance: String,
    /// How often.
    pub faults: u64,
    /// Runs that were disturbed, each of which stopped as exactly one end state.
    pub runs: u64,
    /// Rows of the undisturbed district that are missing in the end.
    pub lost: u64,
    /// Rows that the undisturbed district does not have, or not as often.
    pub doubled: u64,
    /// Students who were out of the roster, if only for a moment, and should not have been.
    pub wrongly_removed: u64,
    /// How often the roster was looked at meanwhile.
    pub looks: u64,
    /// Whether it was a run with `--full`.
    pub full: bool,
}

/// A count under way. Nothing is written when the test fails.
#[derive(Debug)]
pub struct Ledger {
    count: Count,
    wrong: Vec<String>,
}

impl Ledger {
    /// Begins the count of a test.
    pub fn begin(test: &str, disturbance: &str) -> Self {
        let full = binary::variable("ROLLCALL_TEST_FULL").is_some();
        let count = Count { test: test.to_owned(), disturbance: disturbance.to_owned(), full, ..Count::default() };
        Self { count, wrong: Vec::new() }
    }

    /// So many faults were injected.
    pub fn faults(&mut self, number: u64) {
        self.count.faults += number;
    }

    /// A disturbed run has stopped, and the roster was looked at meanwhile.
    pub fn run(&mut self, what: &str, watched: &Watched) {
        self.count.runs += 1;
        self.count.looks += watched.looks;
        self.count.wrongly_removed += watched.wrongly_removed.len() as u64;
        if !watched.wrongly_removed.is_empty() {
            self.wrong.push(format!("{what}: wrongly removed for a while: {:?}", watched.wrongly_removed));
        }
    }

    /// Compares the end with that of a district that was never disturbed.
    pub fn compare(&mut self, what: &str, undisturbed: &Facts, disturbed: &Facts) {
        let ((lost, rows_lost), (doubled, rows_doubled)) =
            (missing(undisturbed, disturbed), missing(disturbed, undisturbed));
        self.count.lost += lost;
        self.count.doubled += doubled;
        if lost + doubled > 0 {
            self.wrong.push(format!("{what}: lost {lost}: {rows_lost:#?}, too many {doubled}: {rows_doubled:#?}"));
        }
    }

    /// Fails if anything was lost, doubled or wrongly removed, or if nothing was tried; writes the count down.
    #[track_caller]
    pub fn end(self) {
        assert!(self.wrong.is_empty(), "{}", self.wrong.join("\n"));
        assert!(self.count.faults > 0, "no fault was injected");
        assert!(self.count.runs == 0 || self.count.looks > 0, "the roster was never looked at");
        let folder = folder();
        std::fs::create_dir_all(&folder).expect("a folder in target can be made");
        let text = serde_json::to_string_pretty(&self.count).expect("a count is JSON");
        std::fs::write(folder.join(format!("{}.json", self.count.test)), text).expect("a file can be written");
    }
}

/// `target/reliability`.
pub fn folder() -> PathBuf {
    let program = std::env::current_exe().expect("the test program has a path");
    // target/PROFILE/deps/NAME, or target/PROFILE/examples/NAME.
    program.ancestors().nth(3).expect("a test program lies in target").join("reliability")
}

/// All counts there are, as a table in Markdown.
pub fn table() -> String {
    let files = std::fs::read_dir(folder()).into_iter().flatten().flatten();
    let texts = files.filter_map(|file| std::fs::read_to_string(file.path()).ok());
    table_of(texts.filter_map(|text| serde_json::from_str(&text).ok()).collect())
}

fn table_of(mut counts: Vec<Count>) -> String {
    counts.sort_by(|one, other| one.test.cmp(&other.test));
    let mut table = "| disturbance | test | faults | runs | lost | doubled | wrongly removed |\n".to_owned();
    table += "|---|---|--:|--:|--:|--:|--:|\n";
    for Count { test, disturbance, faults, runs, lost, doubled, wrongly_removed, full, .. } in &counts {
        let how = if *full { "" } else { " (everyday)" };
        // Where the roster was looked at during no run, nothing is known of any moment.
        let watched = |number: &u64| if *runs == 0 { "–".to_owned() } else { number.to_string() };
        let (runs, removed) = (watched(runs), watched(wrongly_removed));
        let _ =
            writeln!(table, "| {disturbance} | `{test}`{how} | {faults} | {runs} | {lost} | {doubled} | {removed} |");
    }
    let sum = |of: fn(&Count) -> u64| counts.iter().map(of).sum::<u64>();
    let _ = writeln!(
        table,
        "| **all** | {} tests | {} | {} | {} | {} | {} |",
        counts.len(),
        sum(|count| count.faults),
        sum(|count| count.runs),
        sum(|count| count.lost),
        sum(|count| count.doubled),
        sum(|count| count.wrongly_removed)
    );
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(rows: &[(&str, u64)]) -> Facts {
        rows.iter().map(|(row, count)| ((*row).to_owned(), *count)).collect()
    }

    #[test]
    fn what_no_run_was_watched_for_is_not_told_as_none() {
        let count = |test: &str, runs| Count { test: test.to_owned(), faults: 3, runs, ..Count::default() };
        let table = table_of(vec![count("b", 0), count("a", 2)]);
        let rows: Vec<_> = table.lines().skip(2).collect();
        assert_eq!(rows[0], "|  | `a` (everyday) | 3 | 2 | 0 | 0 | 0 |");
        assert_eq!(rows[1], "|  | `b` (everyday) | 3 | – | 0 | 0 | – |");
        assert_eq!(rows[2], "| **all** | 2 tests | 6 | 2 | 0 | 0 | 0 |");
    }

    #[test]
    fn what_is_lost_and_what_is_doubled_are_told_apart() {
        let mut ledger = Ledger::begin("none", "nothing");
        ledger.compare("a", &facts(&[("x", 1), ("y", 2)]), &facts(&[("x", 3), ("y", 1)]));
        assert_eq!((ledger.count.lost, ledger.count.doubled), (1, 2));
        assert_eq!(ledger.wrong.len(), 1);
        ledger.compare("b", &facts(&[("x", 1)]), &facts(&[("x", 1)]));
        assert_eq!(ledger.wrong.len(), 1);
    }
}
