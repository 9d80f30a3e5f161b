//! Students who are not stored, read ahead of the walk on all processors.
//!
//! Role: on a first night this is nearly all of a plan's work, as [`settled`](super::settled) does it on the others. The walk
//! takes what is found here in the order of its steps.
//!
//! Invariant: as many are read ahead as [`WINDOW`] says, whatever the district's size, so that a first night of a million
//! students does not need a million records at once.

use rollcall_proto::message::{Change, StudentEvent};

use super::{PULL_INCOMPLETE, Side, Standing, Step, event};
use crate::{
    assemble::{Listed, Look, Reading, Warnings, oneroster::Rekeyed},
    diff::NOT_CONFIRMED,
    fingerprint::Fingerprinter,
    missing::Missing,
    parallel,
    view::StudentView,
};

/// Steps whose newcomers are read together.
pub(super) const WINDOW: usize = 2_000;

/// Newcomers that a thread takes at a time: fewer are not worth one.
const SHARE: usize = 250;

/// What becomes of a student who is not stored.
#[derive(Debug)]
pub(super) enum Newcomer {
    /// Is added; keys of his lead to no row.
    Added(StudentEvent, Vec<Missing>),
    /// Is not, with a reason code and what people should look at.
    Skipped(&'static str, String),
}

/// The newcomers among these steps, in their order. Warnings about them are added to `warnings`.
pub(super) fn read(sides: &[Side<'_>], rekeyed: &Rekeyed, steps: &[Step], warnings: &mut Warnings) -> Vec<Newcomer> {
    let new = steps.iter().filter_map(|step| match step {
        Step::Listed(student, None) => Some(student),
        _ => None,
    });
    let new: Vec<&Listed> = new.collect();
    let mut newcomers = Vec::with_capacity(new.len());
    for (of_share, warned) in parallel::map(new.chunks(SHARE).collect(), |share| read_share(sides, rekeyed, share)) {
        newcomers.extend(of_share);
        warnings.extend(warned);
    }
    newcomers
}

fn read_share(sides: &[Side<'_>], rekeyed: &Rekeyed, share: &[&Listed]) -> (Vec<Newcomer>, Warnings) {
    let mut reader =
        Reader { rekeyed, view: StudentView::default(), fingerprinter: Fingerprinter::default(), warnings: Vec::new() };
    let read = |student: &&Listed| reader.read(&sides[usize::from(student.connection)], student);
    (share.iter().map(read).collect(), reader.warnings)
}

struct Reader<'r, 'a> {
    rekeyed: &'r Rekeyed,
    view: StudentView<'a>,
    fingerprinter: Fingerprinter,
    warnings: Warnings,
}

impl<'a> Reader<'_, 'a> {
    fn read(&mut self, side: &Side<'a>, student: &Listed) -> Newcomer {
        let reading = side.assembler.as_ref().map_or(Reading::Absent, |assembler| {
            assembler.read(student, Look::First, None, &mut self.view, &mut self.warnings)
        });
        match reading {
            Reading::Skipped { reason, detail, .. } => Newcomer::Skipped(reason, detail),
            Reading::Absent => Newcomer::Skipped(NOT_CONFIRMED, String::new()),
            Reading::Decided(decided) if side.standing != Standing::Complete && !decided.status.is_attending() => {
                Newcomer::Skipped(PULL_INCOMPLETE, "not added before a complete pull shows it".to_owned())
            }
            Reading::Decided(decided) => {
                let fingerprint = self.fingerprinter.of(&self.view, decided.status);
                let event = event(&self.view, self.rekeyed, fingerprint, decided, (Change::Added, None));
                Newcomer::Added(event, std::mem::take(&mut self.view.missing))
            }
        }
    }
}
