//! Which students are as they are stored: found before the walk, each by himself, so on all processors at once.
//!
//! Role: on most nights this is nearly all of a plan's work. Whom it does not settle (whoever differs, is new, leaves, or
//! cannot be read) the walk looks at again, from the beginning.
//!
//! Invariant: a student is settled exactly where the walk would count him as unchanged without asking for anything else.

use rollcall_store::plan::StoredStudent;

use super::{Side, Standing, Step, may_not, wants_second_look};
use crate::{
    assemble::{Listed, Look, Reading, Warnings},
    fingerprint::Fingerprinter,
    parallel,
    view::StudentView,
};

/// Students that a thread takes at a time, at least: fewer are not worth one.
const SHARE: usize = 1_000;

/// For each step whether it is settled. Warnings that settled students give are added to `warnings`.
pub(super) fn find(sides: &[Side<'_>], stored: &[StoredStudent], steps: &[Step], warnings: &mut Warnings) -> Vec<bool> {
    if stored.is_empty() {
        return vec![false; steps.len()];
    }
    let share = steps.len().div_ceil(parallel::processors() * 16).max(SHARE);
    let shares = parallel::map(steps.chunks(share).collect(), |steps| look(sides, stored, steps));
    let mut settled = Vec::with_capacity(steps.len());
    for (of_share, warned) in shares {
        settled.extend(of_share);
        warnings.extend(warned);
    }
    settled
}

fn look(sides: &[Side<'_>], stored: &[StoredStudent], steps: &[Step]) -> (Vec<bool>, Warnings) {
    let mut looker =
        Looker { view: StudentView::default(), fingerprinter: Fingerprinter::default(), warnings: Vec::new() };
    let settled = steps.iter().map(|step| match step {
        Step::Listed(student, Some(known)) => {
            looker.settles(&sides[usize::from(student.connection)], student, &stored[*known])
        }
        _ => false,
    });
    let settled = settled.collect();
    (settled, looker.warnings)
}

struct Looker<'a> {
    view: StudentView<'a>,
    fingerprinter: Fingerprinter,
    warnings: Warnings,
}

impl<'a> Looker<'a> {
    fn settles(&mut self, side: &Side<'a>, student: &Listed, stored: &StoredStudent) -> bool {
        let warned = self.warnings.len();
        let settled = self.is_same(side, student, stored);
        if !settled {
            // The walk will hear them again.
            self.warnings.truncate(warned);
        }
        settled
    }

    fn is_same(&mut self, side: &Side<'a>, student: &Listed, stored: &StoredStudent) -> bool {
        let Some(assembler) = &side.assembler else { return false };
        let reading = assembler.read(student, Look::First, Some(stored.status), &mut self.view, &mut self.warnings);
        let Reading::Decided(decided) = reading else { return false };
        if side.standing != Standing::Complete && may_not(stored.status, decided.status) {
            return true;
        }
        !wants_second_look(stored.status, decided.status)
            && self.fingerprinter.of(&self.view, decided.status) == stored.fingerprint
    }
}
