//! Plans over an invented Qmlativ, by subject.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod campus;
mod connections;
mod holds;
mod kept_values;
mod leaving;
mod missing;
mod newcomers;
mod nights;
mod properties;
mod rows;
mod sources;
mod unknown;

use rollcall_store::run::Counts;

use super::*;
use crate::testing::{Roster, Sis};

fn identity(counts: &Counts) -> bool {
    counts.listed + counts.missing == counts.added + counts.changed + counts.removed + counts.unchanged + counts.skipped
}

fn candidates_of(plan: &NewPlan) -> Candidates {
    let bytes = match (&plan.verdict, &plan.recheck_on_approval) {
        (Verdict::Recheck(bytes), _) | (_, Some(bytes)) => bytes,
        other => panic!("no candidates: {other:?}"),
    };
    Candidates::decode(bytes).unwrap()
}

/// Plans, looks again if the plan wants that, and plans again, all over one SIS.
fn night(roster: &Roster, sis: &Sis) -> NewPlan {
    let plan = roster.plan(sis.facts());
    let Verdict::Recheck(_) = plan.verdict else { return plan };
    let mut facts = sis.facts();
    sis.look_again(&mut facts, candidates_of(&plan), false);
    roster.plan(facts)
}

fn ids(plan: &NewPlan) -> Vec<String> {
    candidates_of(plan).students.into_iter().map(|(_, id)| id.0).collect()
}

fn codes(plan: &NewPlan) -> Vec<&str> {
    plan.findings.iter().map(|finding| finding.code.as_str()).collect()
}
