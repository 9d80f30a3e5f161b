//! What becomes of a run: released, held, looked at a second time, or nothing to do.
//!
//! Invariants: nothing is released that takes someone out without a second look, or that exceeds what the district or an
//! approving person admitted.

use std::collections::BTreeMap;

use rollcall_proto::id::{ConnectionNo, StudentId};
use rollcall_store::{
    StoreError,
    plan::{StoredStudent, Verdict},
    run::{Finding, FindingWeight},
};

use super::{PlanFacts, ids::Renamed};
use crate::{
    diff::Differences,
    hold::{self, Before, Changes, HoldReason, Share, Stop},
    recheck::{Candidates, Control},
};

/// Code of the finding of [`held_anyway`].
const WOULD_BE_HELD: &str = "would-be-held";

/// What a plan comes to.
pub(super) struct Judged {
    /// What becomes of the run.
    pub verdict: Verdict,
    /// The candidates that an approval would have to look at first.
    pub recheck_on_approval: Option<Vec<u8>>,
    /// What whoever approves a preview has to know.
    pub finding: Option<Finding>,
}

/// Judges a plan.
pub(super) fn verdict(
    facts: &PlanFacts,
    found: &Differences,
    renamed: Renamed,
    (controls, spelled): (Vec<Control>, BTreeMap<StudentId, String>),
) -> Result<Judged, StoreError> {
    let before = before(&facts.stored);
    let changes = Changes { removed: found.counts.removed as u64, changed: found.counts.changed as u64 };
    let stop = if facts.run.plan_only { Stop::AtPlan } else { Stop::Never };
    let policy = &facts.district.hold;
    let mut reasons = hold::judge(before, changes, policy, stop);
    reasons.extend(hold::judge_shares(&shares(&facts.stored, &found.removed_of), policy));
    reasons.extend(renamed.reasons());
    // A plan for another date can never be approved, so nobody will ever be taken out by it.
    let look_first = facts.candidates.is_none() && !found.candidates.is_empty() && !facts.run.as_of_given;
    if look_first {
        let candidates = candidates(found, controls, spelled).encode()?;
        // A preview shows what the second look has left.
        let goes_on = reasons.iter().all(|reason| *reason == HoldReason::Preview);
        return Ok(if goes_on {
            Judged { verdict: Verdict::Recheck(candidates), recheck_on_approval: None, finding: None }
        } else {
            held(&reasons, Some(candidates))
        });
    }
    let approved = facts.candidates.as_ref().is_some_and(|(first, approved)| *approved && covers(first, found));
    let empty = found.counts.added + found.counts.changed + found.counts.removed == 0;
    let waits = match reasons.as_slice() {
        [] => false,
        // Every plan waits in such a district, but there is nothing to look at in an empty one.
        [HoldReason::Preview] if empty && !facts.run.plan_only => false,
        _ => !approved,
    };
    let goes_on = |verdict| Judged { verdict, recheck_on_approval: None, finding: None };
    Ok(match (waits, empty) {
        (true, _) => held(&reasons, None),
        (false, true) => goes_on(Verdict::Nothing),
        (false, false) => goes_on(Verdict::Release),
    })
}

fn held(reasons: &[HoldReason], recheck_on_approval: Option<Vec<u8>>) -> Judged {
    Judged { verdict: Verdict::Hold(hold::join(reasons)), recheck_on_approval, finding: held_anyway(reasons) }
}

/// A preview's reason says that it is one, and nothing else.
fn held_anyway(reasons: &[HoldReason]) -> Option<Finding> {
    let why = hold::beside_preview(reasons)?;
    let message = format!("would also be held if it were no preview: {why}");
    Some(Finding { weight: FindingWeight::Warning, code: WOULD_BE_HELD.to_owned(), message, count: 1 })
}

fn before(stored: &[StoredStudent]) -> Before {
    let attending = stored.iter().filter(|student| student.status.is_attending()).count();
    Before { stored: stored.len() as u64, attending: attending as u64 }
}

/// What is removed of each connection that has students who attend.
fn shares(stored: &[StoredStudent], removed_of: &BTreeMap<u16, u64>) -> Vec<Share> {
    let mut attending: BTreeMap<u16, u64> = BTreeMap::new();
    for student in stored.iter().filter(|student| student.status.is_attending()) {
        *attending.entry(student.connection).or_default() += 1;
    }
    let share = |(number, attending)| {
        let removed = removed_of.get(&number).copied().unwrap_or_default();
        Share { connection: ConnectionNo(number), attending, removed }
    };
    attending.into_iter().map(share).collect()
}

fn candidates(found: &Differences, controls: Vec<Control>, spelled: BTreeMap<StudentId, String>) -> Candidates {
    let mut students = found.candidates.clone();
    students.sort_by(|a, b| a.1.cmp(&b.1));
    let (removed, changed) = (found.counts.removed, found.counts.changed);
    let removed_of = Some(found.removed_of.clone());
    Candidates { students, removed, removed_of, changed, controls, spelled }
}

/// Whether an approval of the first plan covers what came out of the second look: of no connection more either, where that was
/// noted.
fn covers(first: &Candidates, found: &Differences) -> bool {
    let admitted = |number: &u16| first.removed_of.as_ref().map(|of| of.get(number).copied().unwrap_or_default());
    let of_each = |(number, removed): (&u16, &u64)| admitted(number).is_none_or(|admitted| *removed <= admitted);
    found.counts.removed <= first.removed
        && found.counts.changed <= first.changed
        && found.removed_of.iter().all(of_each)
}
