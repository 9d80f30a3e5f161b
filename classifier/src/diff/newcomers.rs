//! Students who are not stored, read ahead of the walk on all processors.
//!
//! Role: on a first night this is nearly all of a plan's work, as [`settled`](super::settled) does it on the others. The walk
//! takes what is found here in the order of its steps.
//!
//! Invariant: as many are read ahead as [`WINDOW`] says, whatever the district's size, so that a first night of a million
//! students does not need a million records at once.

use rollcall_proto::{
    id::StudentId,
    message::{Change, StudentEvent},
};
use rollcall_store::run::RowPlace;

use super::{PULL_INCOMPLETE, SecondLook, Side, Standing, Step, event};
use crate::{
    assemble::{Assembler, Listed, Look, Reading, Warnings, oneroster::Rekeyed},
    diff::NOT_CONFIRMED,
    fingerprint::Fingerprinter,
    missing::Missing,
    parallel,
    status::NO_ENROLLMENT_IN_WINDOW,
    view::StudentView,
};

/// Steps whose newcomers are read together.
pub(super) const WINDOW: usize = 2_000;

/// Newcomers that a thread takes at a time: fewer are not worth one.
const SHARE: usize = 250;

/// A student who is not stored.
#[derive(Debug)]
pub(super) struct Newcomer {
    /// What becomes of him.
    pub becomes: Becomes,
    /// Whether that is to be doubted.
    pub doubt: Doubt,
}

/// See [`Newcomer::becomes`].
#[derive(Debug)]
pub(super) enum Becomes {
    /// Is added; keys of his lead to no row.
    Added(StudentEvent, Vec<Missing>),
    /// Is not, with a reason code and what people should look at.
    Skipped(&'static str, String),
}

impl Becomes {
    /// As somebody without an enrollment of the current year does.
    fn is_without_place(&self) -> bool {
        match self {
            Self::Added(event, _) => !event.to.is_attending(),
            Self::Skipped(reason, _) => *reason == NO_ENROLLMENT_IN_WINDOW,
        }
    }
}

/// Whether a student who would not attend, though there is a row of the current year, may have an enrollment that is on no page.
#[derive(Debug)]
pub(super) enum Doubt {
    /// No.
    None,
    /// He is to be looked at again.
    Open,
    /// He was, and there is none in these places.
    Settled(Vec<RowPlace>),
}

/// The newcomers among these steps, in their order. Warnings about them are added to `warnings`.
pub(super) fn read(
    sides: &[Side<'_>],
    (rekeyed, second): (&Rekeyed, Option<&SecondLook>),
    steps: &[Step],
    warnings: &mut Warnings,
) -> Vec<Newcomer> {
    let new = steps.iter().filter_map(|step| match step {
        Step::Listed(student, None) => Some(student),
        _ => None,
    });
    let new: Vec<&Listed> = new.collect();
    let mut newcomers = Vec::with_capacity(new.len());
    let read = |share: &[&Listed]| read_share(sides, (rekeyed, second), share);
    for (of_share, warned) in parallel::map(new.chunks(SHARE).collect(), read) {
        newcomers.extend(of_share);
        warnings.extend(warned);
    }
    newcomers
}

fn read_share(
    sides: &[Side<'_>],
    (rekeyed, second): (&Rekeyed, Option<&SecondLook>),
    share: &[&Listed],
) -> (Vec<Newcomer>, Warnings) {
    let mut reader = Reader {
        rekeyed,
        second,
        view: StudentView::default(),
        fingerprinter: Fingerprinter::default(),
        warnings: Vec::new(),
    };
    let read = |student: &&Listed| reader.read(&sides[usize::from(student.connection)], student);
    (share.iter().map(read).collect(), reader.warnings)
}

struct Reader<'r, 'a> {
    rekeyed: &'r Rekeyed,
    second: Option<&'r SecondLook>,
    view: StudentView<'a>,
    fingerprinter: Fingerprinter,
    warnings: Warnings,
}

impl<'a> Reader<'_, 'a> {
    fn read(&mut self, side: &Side<'a>, student: &Listed) -> Newcomer {
        let becomes = self.becomes(side, student, Look::First);
        let lacking = |assembler: &Assembler<'_>| assembler.lacking_enrollments(student);
        let whole = side.assembler.as_ref().filter(|_| side.standing == Standing::Complete);
        let lacking = whole.map(lacking).unwrap_or_default();
        if lacking.is_empty() || !becomes.is_without_place() {
            return Newcomer { becomes, doubt: Doubt::None };
        }
        if whole.is_some_and(|assembler| assembler.lacked_enrollments(student)) {
            // He was looked at again then; from now on it is noted where he lacks one.
            return Newcomer { becomes, doubt: Doubt::Settled(lacking) };
        }
        match self.second {
            None => Newcomer { becomes, doubt: Doubt::Open },
            Some(second) => self.look_again(side, (student, lacking), second, becomes),
        }
    }

    /// After a second look its answer counts. Where so many were in doubt that nobody was asked, the first one's does.
    fn look_again(
        &mut self,
        side: &Side<'a>,
        (student, lacking): (&Listed, Vec<RowPlace>),
        second: &SecondLook,
        first: Becomes,
    ) -> Newcomer {
        let mut id = String::new();
        side.assembler.iter().for_each(|assembler| assembler.write_id(student, &mut id));
        let id = StudentId(id);
        if !second.asked.contains(&id) {
            return Newcomer { becomes: first, doubt: Doubt::None };
        }
        if !second.answered.contains(&id) {
            let why =
                "an enrollment of the current year may be on no page, and the second look did not answer".to_owned();
            return Newcomer { becomes: Becomes::Skipped(NOT_CONFIRMED, why), doubt: Doubt::None };
        }
        let becomes = self.becomes(side, student, Look::Second);
        let doubt = if becomes.is_without_place() { Doubt::Settled(lacking) } else { Doubt::None };
        Newcomer { becomes, doubt }
    }

    fn becomes(&mut self, side: &Side<'a>, student: &Listed, look: Look) -> Becomes {
        let reading = side.assembler.as_ref().map_or(Reading::Absent, |assembler| {
            assembler.read(student, look, None, &mut self.view, &mut self.warnings)
        });
        match reading {
            Reading::Skipped { reason, detail, .. } => Becomes::Skipped(reason, detail),
            Reading::Absent => Becomes::Skipped(NOT_CONFIRMED, String::new()),
            Reading::Decided(decided) if side.standing != Standing::Complete && !decided.status.is_attending() => {
                Becomes::Skipped(PULL_INCOMPLETE, "not added before a complete pull shows it".to_owned())
            }
            Reading::Decided(decided) => {
                let fingerprint = self.fingerprinter.of(&self.view, decided.status);
                let event = event(&self.view, self.rekeyed, fingerprint, decided, (Change::Added, None));
                Becomes::Added(event, std::mem::take(&mut self.view.missing))
            }
        }
    }
}
