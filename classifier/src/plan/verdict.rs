//! What becomes of a run: released, held, looked at a second time, or nothing to do.
//!
//! Invariants: nothing is released that takes someone out without a second look, or that exceeds what the district or an
//! approving person admitted.

use std::collections::BTreeMap;

use rollcall_proto::id::StudentId;
use rollcall_store::{
    StoreError,
    plan::{StoredStudent, Verdict},
    run::{Counts, Finding, FindingWeight},
};

use super::{PlanFacts, ids::Renamed};
use crate::{
    diff::Differences,
    hold::{self, Before, Changes, HoldReason, Stop},
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
    let mut reasons = hold::judge(before, changes, &facts.district.hold, stop);
    reasons.extend(renamed.reasons());
    // A plan for another date can never be approved, so nobody will ever be taken out by it.
    let look_first = facts.candidates.is_none() && !found.candidates.is_empty() && !facts.run.as_of_given;
    if look_first {
        let candidates = candidates(found, controls, spelled).encode()?;
        return Ok(
            if renamed.reasons().next().is_none()
                && hold::judge_limits(before, changes, &facts.district.hold).is_empty()
            {
                Judged { verdict: Verdict::Recheck(candidates), recheck_on_approval: None, finding: None }
            } else {
                held(&reasons, Some(candidates))
            },
        );
    }
    let approved = facts.candidates.as_ref().is_some_and(|(first, approved)| *approved && covers(first, &found.counts));
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

fn candidates(found: &Differences, controls: Vec<Control>, spelled: BTreeMap<StudentId, String>) -> Candidates {
    let mut students = found.candidates.clone();
    students.sort_by(|a, b| a.1.cmp(&b.1));
    Candidates { students, removed: found.counts.removed, changed: found.counts.changed, controls, spelled }
}

/// Whether an approval of the first plan covers what came out of the second look.
const fn covers(first: &Candidates, counts: &Counts) -> bool {
    counts.removed <= first.removed && counts.changed <= first.changed
}
