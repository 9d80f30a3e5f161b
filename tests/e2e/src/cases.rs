//! Nights with something wrong in what the SIS serves: each ends in one of the states it may end in, says why, and leaves
//! everybody where they were.

use std::collections::{BTreeMap, BTreeSet};

use rollcall_sandbox::{Quirks, Stats};

use crate::{
    House, Ledger, Role, RunRow,
    house::DISTRICT,
    pair::{TWIN, Twin, small},
    roster::{Facts, facts_of, statuses},
    watch::Watch,
};

/// One thing that goes wrong, and what is to come of it.
#[derive(Debug)]
pub struct Case {
    /// For messages.
    pub what: &'static str,
    /// What goes wrong.
    pub quirks: Quirks,
    /// The run's state is one of these.
    pub states: &'static [&'static str],
    /// Each of these stands in the run's reason or findings, in any case of letters.
    pub says: Vec<&'static str>,
    /// Students for whom the source itself has changed: only their status may.
    pub touched: Vec<i64>,
    /// The student that is named.
    pub names: Option<i64>,
    /// The source does not show some rows for a night: what it showed is told, and told again when they are back.
    pub retold: bool,
}

/// A case that touches nobody and names nobody.
pub fn case(what: &'static str, states: &'static [&'static str], says: &[&'static str], quirks: Quirks) -> Case {
    Case { what, quirks, states, says: says.to_vec(), touched: Vec::new(), names: None, retold: false }
}

/// Counts each in the ledger. Runs each case after a good night, and the good night again, and tells all that was wrong with any of them. In the end
/// every row of everybody whom no case touched is as the first good night left it, history too: the source did not change. Beside
/// each case another district has a night, with which nothing is wrong, and which ends well with nothing to do.
///
/// The fetcher is a new one for each case, so that none lives on a token that was fetched before.
pub async fn check(house: &mut House, cases: Vec<Case>, ledger: &mut Ledger) {
    let mut wrong = Vec::new();
    let touched: BTreeSet<i64> = cases.iter().flat_map(|case| case.touched.iter().copied()).collect();
    let twin = Twin::beside(house, small(71)).await;
    let twin_undisturbed = twin.night(house, 1).await;
    let (mut undisturbed, mut retold, mut before_retold) = (None, Facts::new(), None);
    for case in cases {
        house.sis.set_quirks(Quirks::default());
        let good = house.night().await;
        assert_eq!(good.state, "succeeded", "the good night before {}: {good:#?}", case.what);
        let facts = house.facts().await;
        retold.extend(before_retold.take().map(|before| told_again(&before, &facts)).unwrap_or_default());
        before_retold = case.retold.then(|| facts.clone());
        undisturbed.get_or_insert(facts);
        let before = statuses(&house.students().await);
        house.sis.set_quirks(case.quirks.clone());
        house.replace_worker(Role::Fetcher);
        // Nobody is anything else, not even for a moment, but those whom the source itself changes.
        let stay = before.iter().filter(|(id, _)| !case.touched.iter().any(|touched| touched.to_string() == **id));
        let stay = stay.map(|(id, status)| (id.clone(), BTreeSet::from([status.clone()]))).collect();
        let watch = Watch::begin(&house.services().database, DISTRICT, stay);
        let beside = twin.begin(house);
        let served = house.sis.stats();
        let run = house.night().await;
        if let Some(missed) = missed(&case.quirks, &served, &house.sis.stats()) {
            wrong.push(format!("{}: {missed}", case.what));
        }
        ledger.faults(1);
        beside.check(house, case.what).await;
        ledger.run(case.what, &watch.end().await);
        let after = statuses(&house.students().await);
        wrong.extend(judge(&case, &run, &before, &after));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    house.sis.set_quirks(Quirks::default());
    assert_eq!(house.night().await.state, "succeeded", "all is mended");
    house.check_roster().await;
    let untouched = |facts: Facts| -> Facts {
        facts.into_iter().filter(|(row, _)| !touched.iter().any(|student| is_of(row, *student))).collect()
    };
    let facts = house.facts().await;
    retold.extend(before_retold.map(|before| told_again(&before, &facts)).unwrap_or_default());
    let mut undisturbed = untouched(undisturbed.expect("there is a case"));
    undisturbed.extend(untouched(retold));
    ledger.compare("after all of them", &undisturbed, &untouched(facts));
    let twins = facts_of(&house.services().database, TWIN).await;
    ledger.compare("elsewhere", &twin_undisturbed, &twins);
    twin.end().await;
}

/// Why what was to go wrong may not have, by what the SIS served before the night and after it. What rows hold is told by the run itself.
fn missed(quirks: &Quirks, before: &Stats, after: &Stats) -> Option<String> {
    let Quirks { faults, too_many_requests, unavailable, auth, paging, .. } = quirks;
    if (!faults.is_empty() || too_many_requests.is_some() || unavailable.is_some()) && after.struck == before.struck {
        return Some("no answer was spoiled or refused".to_owned());
    }
    if auth.token_expires_after_requests.is_some() && after.tokens_issued < before.tokens_issued + 2 {
        return Some("no token expired".to_owned());
    }
    let asked = |stats: &Stats, object: &str| {
        let of_object = stats.requests_by_object.iter().filter(|(name, _)| name.eq_ignore_ascii_case(object));
        of_object.map(|(_, count)| count).sum::<u64>()
    };
    let stood_still = paging
        .drift
        .iter()
        .find(|drift| asked(after, &drift.object) <= asked(before, &drift.object) + drift.after_page);
    stood_still.map(|drift| format!("no page of {} came after rows had moved", drift.object))
}

/// What the history tells of no status that it did not tell before one case, so often.
fn told_again(before: &Facts, after: &Facts) -> Facts {
    let new = after.iter().filter(|(row, _)| !before.contains_key(*row) && tells_of_no_status(row));
    new.map(|(row, count)| (row.clone(), *count)).collect()
}

/// Whether a row is the history's, of a change that left the student's status as it was.
fn tells_of_no_status(row: &str) -> bool {
    let Some(row) = row.strip_prefix("history ") else { return false };
    let row: serde_json::Value = serde_json::from_str(row).expect("a row is JSON");
    row["change"] == "changed" && row["from_status"] == row["to_status"]
}

/// Whether a row is this student's, as PostgreSQL writes it.
fn is_of(row: &str, student: i64) -> bool {
    row.contains(&format!("\"student_id\": \"{student}\""))
}

fn judge(case: &Case, run: &RunRow, before: &Statuses, after: &Statuses) -> Vec<String> {
    let mut wrong = Vec::new();
    let what = case.what;
    if !case.states.contains(&run.state.as_str()) {
        wrong.push(format!("{what}: the run is {} and not {:?}: {}", run.state, case.states, run.why()));
    }
    let why = run.why().to_lowercase();
    for part in &case.says {
        if !why.contains(&part.to_lowercase()) {
            wrong.push(format!("{what}: nothing is said of {part:?}: {}", run.why()));
        }
    }
    if let Some(student) = case.names.filter(|student| !why.contains(&student.to_string())) {
        wrong.push(format!("{what}: student {student} is not named: {}", run.why()));
    }
    for (student, status) in before {
        let now = after.get(student);
        let is_touched = case.touched.iter().any(|id| id.to_string() == *student);
        if now != Some(status) && !is_touched {
            wrong.push(format!("{what}: student {student} was {status} and is {now:?}"));
        }
    }
    wrong
}

type Statuses = BTreeMap<String, String>;
