//! Compares the students the SIS lists with those stored, and says what would change.
//!
//! Role: one walk over two sorted sequences. Neighbours: [`crate::assemble`] gives the listed ones, [`crate::batch`] takes
//! the events, [`crate::plan`] judges the whole. Most students are as they are stored: [`settled`] finds them beforehand, on
//! all processors, and the walk only counts them; who is not stored is read ahead of it by [`newcomers`], as are most on a first
//! night.
//!
//! Invariants: every student listed or missing is counted exactly once as added, changed, removed, unchanged or skipped;
//! nobody of a connection whose pull is not complete leaves ENROLLED or PRE_ENROLLED, becomes GRADUATED, or is added in
//! any but these; where a second look was taken, only what it confirms is taken out.

mod newcomers;
mod settled;

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

use rollcall_proto::{
    id::{ConnectionNo, StudentId},
    message::{Change, Fingerprint, StudentEvent},
    roster::{Rule, School, Staff, Status, Student},
};
use rollcall_store::{
    StoreError,
    plan::{Skip, StoredStudent},
    run::{Counts, RowPlace},
};

use newcomers::{Becomes, Doubt, Newcomer};

use crate::{
    assemble::{
        Assembler, Decided, Listed, Look, Reading, Warnings,
        oneroster::{Facets, Rekeyed},
    },
    batch::Batcher,
    fingerprint::{Fingerprinter, of_missing},
    missing::{self, KeptRows, Missing},
    overlay::{Kept, Lacking, Unknown},
    view::StudentView,
};

/// Events kept back until the stored records of those who need them are read together.
const LOOK_UP_TOGETHER: usize = 256;

/// How far a connection's pull can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Proved complete.
    Complete,
    /// Something is missing: adds and updates only.
    Incomplete,
    /// Nothing of it is used.
    Failed,
}

/// One connection, ready to be compared.
#[derive(Debug)]
pub struct Side<'a> {
    /// Absent where the pull failed.
    pub assembler: Option<Assembler<'a>>,
    /// How far it can be trusted.
    pub standing: Standing,
    /// It asked for changes alone: who is not in it has not changed.
    pub by_changes: bool,
    /// What it could not tell.
    pub unknown: Unknown,
}

impl Side<'_> {
    /// Whether the pull can tell that a student whom it does not list is gone: one for changes alone has to say so by a
    /// row (marked as deleted, or of somebody who is no student any more).
    fn tells_of(&self, id: &StudentId) -> bool {
        !self.by_changes || self.assembler.as_ref().is_some_and(|assembler| assembler.has_row(&id.0))
    }

    /// What a person's rows may lack because their whole pages do, by the SIS's id.
    fn lacking(&self, sis_id: &str) -> Facets {
        let pages = self.unknown.pages();
        let assembler = self.assembler.as_ref().filter(|_| !pages.is_empty());
        assembler.map(|assembler| assembler.lacking(pages, sis_id)).unwrap_or_default()
    }

    /// Puts stored values where the pull could tell none of a student, and notes what was kept because whole pages lack it.
    fn fill(&self, record: &mut Student, stored: &Student, evidence: &[String], kept: &mut Kept) {
        let sis_id = self.assembler.as_ref().and_then(|assembler| assembler.sis_id(&stored.id.0));
        let own = sis_id.map(|who| Lacking { who, facets: self.lacking(who) }).unwrap_or_default();
        self.unknown.fill(record, stored, evidence, own, &|id| self.lacking(id), kept);
    }

    /// As [`Side::fill`], of a member of staff.
    pub fn fill_staff(&self, member: &mut Staff, stored: &Staff, kept: &mut Kept) {
        let sis_id = self.assembler.as_ref().and_then(|assembler| assembler.sis_id(&stored.id));
        let own = sis_id.map(|who| Lacking { who, facets: self.lacking(who) }).unwrap_or_default();
        self.unknown.fill_staff(member, stored, own, kept);
    }
}

/// What the second look says of the candidates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecondLook {
    /// Those that were asked for.
    pub asked: BTreeSet<StudentId>,
    /// Those of them whose answer is whole.
    pub answered: BTreeSet<StudentId>,
    /// Students that the second look lists though the first did not.
    pub reappeared: BTreeSet<StudentId>,
    /// Whose answers are worth nothing, because nobody was there to be asked for beside them: how many, by the connection.
    pub unproved: BTreeMap<ConnectionNo, u64>,
}

/// Where stored records come from, when something is unknown.
pub trait Records {
    /// Whole records of these students, sorted by id.
    fn records(&mut self, ids: &[StudentId]) -> Result<Vec<Student>, StoreError>;

    /// All staff who are stored, those who have left too.
    fn staff(&mut self) -> Result<Vec<Staff>, StoreError>;

    /// All schools that are stored.
    fn schools(&mut self) -> Result<Vec<School>, StoreError>;
}

/// What the walk found, beside the events.
#[derive(Debug, Default)]
pub struct Differences {
    /// Counts.
    pub counts: Counts,
    /// Those removed, by the position of the connection under which they are stored.
    pub removed_of: BTreeMap<u16, u64>,
    /// Students skipped.
    pub skips: Vec<Skip>,
    /// Who would be taken out, leaves as a graduate, becomes one without having attended, or is a graduate no more, and new students
    /// of whom an enrollment may be on no page: position of the connection, and id.
    pub candidates: Vec<(u16, StudentId)>,
    /// New students of whom an enrollment may be on no page, whether or not they are candidates.
    doubtful: Vec<(u16, StudentId)>,
    /// Where such students lack an enrollment of whom the second look shows no more: for each connection.
    pub confirmed: Vec<BTreeSet<RowPlace>>,
    /// Data-quality warnings.
    pub warnings: Warnings,
    /// Students told of in differing ways.
    pub duplicates: Vec<String>,
    /// Students told of twice in the same words, where that is a mistake.
    pub repeated: Vec<String>,
    /// Who kept stored values because their whole pages lack any: for each connection.
    pub kept: Vec<Kept>,
    /// Rows that keys lead to and that no page held, where stored values stayed because of it: for each connection.
    pub missing_rows: Vec<KeptRows>,
    /// Such rows of people who are not stored: for each connection.
    pub never_told: Vec<KeptRows>,
    /// Who gets another id by an event of the plan. Who cannot be decided on stays under the old one, and waits for nobody.
    pub moved: Moved,
}

/// Students who are stored under another id than they are listed by.
#[derive(Debug, Clone, Copy, Default)]
pub struct Moved {
    /// How many.
    pub students: u64,
    /// Some of them attend.
    pub attending: bool,
}

impl Moved {
    /// How many a person has to look at: a former student who comes back needs nobody's word.
    pub const fn to_be_held(self) -> u64 {
        if self.attending { self.students } else { 0 }
    }
}

/// Reason code of a candidate that the second look did not confirm.
pub const NOT_CONFIRMED: &str = "not-confirmed";
/// Reason code of a new student who would not attend, in a pull that is not complete.
pub const PULL_INCOMPLETE: &str = "pull-incomplete";
/// Reason code of a student listed by two connections under one id.
pub const DUPLICATE: &str = "duplicate-student";

/// Walks both sequences. `stored` is sorted by id; those `rekeyed` stand there under their new ids.
pub fn compare(
    sides: &[Side<'_>],
    stored: &[StoredStudent],
    rekeyed: &Rekeyed,
    second: Option<&SecondLook>,
    records: &mut dyn Records,
    batcher: &mut Batcher,
) -> Result<Differences, StoreError> {
    let mut found = Differences {
        kept: vec![Kept::default(); sides.len()],
        missing_rows: vec![KeptRows::default(); sides.len()],
        never_told: vec![KeptRows::default(); sides.len()],
        confirmed: vec![BTreeSet::new(); sides.len()],
        ..Differences::default()
    };
    let steps = steps(sides, stored, &mut found);
    let settled = settled::find(sides, stored, &steps, &mut found.warnings);
    let mut walk = Walk {
        sides,
        rekeyed,
        second,
        found,
        view: StudentView::default(),
        fingerprinter: Fingerprinter::default(),
        waiting: Vec::new(),
        overlays: 0,
        records,
        batcher,
    };
    for (steps, settled) in steps.chunks(newcomers::WINDOW).zip(settled.chunks(newcomers::WINDOW)) {
        let newcomers = newcomers::read(sides, (rekeyed, second), steps, &mut walk.found.warnings);
        walk.steps(steps, settled, stored, newcomers)?;
    }
    walk.flush()?;
    Ok(walk.found.with_doubtful())
}

/// So many new students are looked at again because an enrollment may be on no page, or one in a hundred of those listed. Where
/// there are more, the SIS has such students.
const MOST_DOUBTFUL: usize = 100;

impl Differences {
    fn with_doubtful(mut self) -> Self {
        let most = MOST_DOUBTFUL.max(usize::try_from(self.counts.listed / 100).unwrap_or_default());
        if self.doubtful.len() <= most {
            self.candidates.append(&mut self.doubtful);
        }
        self
    }
}

/// One student of the walk; those stored by their place.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// Stored, and not listed.
    Missing(usize),
    /// Listed, and stored or not.
    Listed(Listed, Option<usize>),
    /// Listed by a second connection under the same id.
    Twice(Listed),
}

/// Every student that is listed or stored, in the order of ids.
fn steps(sides: &[Side<'_>], stored: &[StoredStudent], found: &mut Differences) -> Vec<Step> {
    let mut merged = Merged::of(sides, found);
    let mut steps = Vec::with_capacity(stored.len());
    let mut stored = stored.iter().enumerate().peekable();
    let (mut id, mut before) = (String::new(), None::<String>);
    while let Some(student) = merged.next(sides, &mut id) {
        while let Some((gone, _)) = stored.next_if(|(_, stored)| stored.id.0 < id) {
            steps.push(Step::Missing(gone));
        }
        if before.as_ref() == Some(&id) {
            steps.push(Step::Twice(student));
            continue;
        }
        let known = stored.next_if(|(_, stored)| stored.id.0 == id).map(|(known, _)| known);
        steps.push(Step::Listed(student, known));
        before.get_or_insert_default().clone_from(&id);
    }
    steps.extend(stored.map(|(gone, _)| Step::Missing(gone)));
    steps
}

/// The listed students of all connections in the order of their ids.
struct Merged {
    queues: Vec<Queue>,
}

struct Queue {
    students: std::vec::IntoIter<Listed>,
    head: Option<Listed>,
    head_id: String,
}

impl Merged {
    fn of(sides: &[Side<'_>], found: &mut Differences) -> Self {
        let queue = |side: &Side<'_>| {
            let students = side.assembler.as_ref().map(Assembler::listed).unwrap_or_default();
            let id = |student: &Listed| {
                let mut text = String::new();
                side.assembler.as_ref()?.write_id(student, &mut text);
                Some(text)
            };
            found.duplicates.extend(students.differing.iter().filter_map(id));
            found.repeated.extend(students.repeated.iter().filter_map(id));
            let mut queue = Queue { students: students.listed.into_iter(), head: None, head_id: String::new() };
            queue.advance(side);
            queue
        };
        Self { queues: sides.iter().map(queue).collect() }
    }

    fn next(&mut self, sides: &[Side<'_>], id: &mut String) -> Option<Listed> {
        let heads = self.queues.iter().enumerate().filter(|(_, queue)| queue.head.is_some());
        let (number, _) = heads.min_by(|(_, a), (_, b)| a.head_id.cmp(&b.head_id))?;
        let queue = &mut self.queues[number];
        std::mem::swap(id, &mut queue.head_id);
        let student = queue.head.take();
        queue.advance(&sides[number]);
        student
    }
}

impl Queue {
    fn advance(&mut self, side: &Side<'_>) {
        self.head = self.students.next();
        self.head_id.clear();
        if let (Some(student), Some(assembler)) = (&self.head, &side.assembler) {
            assembler.write_id(student, &mut self.head_id);
        }
    }
}

/// An event that waits for the stored record of its student, or for its turn.
struct Waiting {
    event: StudentEvent,
    /// Number of the connection and fingerprint stored, where something is unknown or missing.
    overlay: Option<(usize, Fingerprint)>,
    /// Keys of theirs that lead to no row.
    missing: Vec<Missing>,
}

struct Walk<'w, 'a> {
    sides: &'w [Side<'a>],
    rekeyed: &'w Rekeyed,
    second: Option<&'w SecondLook>,
    found: Differences,
    view: StudentView<'a>,
    fingerprinter: Fingerprinter,
    waiting: Vec<Waiting>,
    overlays: usize,
    records: &'w mut dyn Records,
    batcher: &'w mut Batcher,
}

impl Walk<'_, '_> {
    /// `newcomers` are those of these steps.
    fn steps(
        &mut self,
        steps: &[Step],
        settled: &[bool],
        stored: &[StoredStudent],
        newcomers: Vec<Newcomer>,
    ) -> Result<(), StoreError> {
        let mut newcomers = newcomers.into_iter();
        for (step, settled) in steps.iter().zip(settled) {
            match step {
                Step::Missing(gone) => self.missing(&stored[*gone])?,
                Step::Listed(..) if *settled => self.unchanged(),
                Step::Listed(student, Some(known)) => self.listed(student, &stored[*known])?,
                Step::Listed(student, None) => {
                    if let Some(newcomer) = newcomers.next() {
                        self.newcomer(student, newcomer)?;
                    }
                }
                Step::Twice(student) => self.listed_twice(student),
            }
        }
        Ok(())
    }

    fn id_of(&self, student: &Listed) -> String {
        let mut id = String::new();
        if let Some(assembler) = &self.sides[usize::from(student.connection)].assembler {
            assembler.write_id(student, &mut id);
        }
        id
    }

    /// Listed, and as he is stored.
    const fn unchanged(&mut self) {
        self.found.counts.listed += 1;
        self.found.counts.unchanged += 1;
    }

    fn listed_twice(&mut self, student: &Listed) {
        self.found.counts.listed += 1;
        let detail = "two connections list this id: give one of them an id_prefix".to_owned();
        self.skip(self.id_of(student), DUPLICATE, detail);
    }

    fn listed(&mut self, student: &Listed, stored: &StoredStudent) -> Result<(), StoreError> {
        self.found.counts.listed += 1;
        match self.read(student, Look::First, stored) {
            Reading::Skipped { reason, detail, .. } => self.skip(self.id_of(student), reason, detail),
            Reading::Absent => self.skip(self.id_of(student), NOT_CONFIRMED, String::new()),
            Reading::Decided(decided) => return self.known_student(student, stored, decided),
        }
        Ok(())
    }

    fn newcomer(&mut self, student: &Listed, newcomer: Newcomer) -> Result<(), StoreError> {
        self.found.counts.listed += 1;
        match newcomer.doubt {
            Doubt::None => {}
            Doubt::Open => self.found.doubtful.push((student.connection, StudentId(self.id_of(student)))),
            Doubt::Settled(lacking) => self.found.confirmed[usize::from(student.connection)].extend(lacking),
        }
        match newcomer.becomes {
            Becomes::Skipped(reason, detail) => self.skip(self.id_of(student), reason, detail),
            Becomes::Added(event, missing) => {
                self.found.never_told[usize::from(student.connection)].add(&missing);
                self.count(Change::Added, 1);
                return self.put(Waiting { event, overlay: None, missing: Vec::new() });
            }
        }
        Ok(())
    }

    fn read(&mut self, student: &Listed, look: Look, stored: &StoredStudent) -> Reading {
        let Some(assembler) = &self.sides[usize::from(student.connection)].assembler else { return Reading::Absent };
        assembler.read(student, look, Some(stored.status), &mut self.view, &mut self.found.warnings)
    }

    fn known_student(&mut self, student: &Listed, stored: &StoredStudent, first: Decided) -> Result<(), StoreError> {
        let number = usize::from(student.connection);
        if self.sides[number].standing != Standing::Complete && may_not(stored.status, first.status) {
            self.found.counts.unchanged += 1;
            return Ok(());
        }
        let decided = if wants_second_look(stored.status, first.status) {
            match self.look_again(student, stored, first) {
                Some(decided) => decided,
                None => return Ok(()),
            }
        } else {
            first
        };
        let fingerprint = self.fingerprinter.of(&self.view, decided.status);
        if fingerprint == stored.fingerprint {
            self.found.counts.unchanged += 1;
            return Ok(());
        }
        let change = change_of(stored.status, decided.status);
        match change {
            Change::Removed => self.removed(stored),
            change => self.count(change, 1),
        }
        let event = event(&self.view, self.rekeyed, fingerprint, decided, (change, Some(stored.status)));
        if event.rekeyed_from.is_some() {
            self.found.moved.students += 1;
            self.found.moved.attending |= stored.status.is_attending();
        }
        let missing = std::mem::take(&mut self.view.missing);
        let is_whole = self.sides[number].unknown.is_empty() && missing.is_empty();
        let overlay = (!is_whole).then_some((number, stored.fingerprint));
        self.put(Waiting { event, overlay, missing })
    }

    /// Whether a student who would leave may: before the second look he becomes a candidate, after it only its own
    /// answer counts, and only if it says the same. `None`: he was skipped.
    fn look_again(&mut self, student: &Listed, stored: &StoredStudent, first: Decided) -> Option<Decided> {
        let Some(second) = self.second else {
            self.found.candidates.push((student.connection, stored.id.clone()));
            return Some(first);
        };
        if second.answered.contains(&stored.id)
            && let Reading::Decided(decided) = self.read(student, Look::Second, stored)
            && decided.status == first.status
        {
            return Some(decided);
        }
        self.not_confirmed(&stored.id);
        None
    }

    fn missing(&mut self, stored: &StoredStudent) -> Result<(), StoreError> {
        self.found.counts.missing += 1;
        let side = self.sides.get(usize::from(stored.connection));
        let may_be_gone = side.is_some_and(|side| side.standing == Standing::Complete && side.tells_of(&stored.id));
        if !may_be_gone || !stored.status.is_attending() {
            self.found.counts.unchanged += 1;
            return Ok(());
        }
        match self.second {
            None => self.found.candidates.push((stored.connection, stored.id.clone())),
            Some(second) if second.answered.contains(&stored.id) && !second.reappeared.contains(&stored.id) => {}
            Some(_) => {
                self.not_confirmed(&stored.id);
                return Ok(());
            }
        }
        self.removed(stored);
        self.put(Waiting { event: missing_event(stored), overlay: None, missing: Vec::new() })
    }

    /// Counts somebody who is taken out, whichever connection says so.
    fn removed(&mut self, stored: &StoredStudent) {
        self.count(Change::Removed, 1);
        *self.found.removed_of.entry(stored.connection).or_default() += 1;
    }

    const fn count(&mut self, change: Change, by: i64) {
        match change {
            Change::Added => self.found.counts.added += by,
            Change::Changed => self.found.counts.changed += by,
            Change::Removed => self.found.counts.removed += by,
        }
    }

    fn not_confirmed(&mut self, id: &StudentId) {
        self.skip(id.0.clone(), NOT_CONFIRMED, "the second look did not confirm it; the stored state stays".to_owned());
    }

    fn skip(&mut self, id: String, reason: &str, detail: String) {
        self.found.counts.skipped += 1;
        self.found.skips.push(Skip { student_id: StudentId(id), reason: reason.to_owned(), detail });
    }

    fn put(&mut self, waiting: Waiting) -> Result<(), StoreError> {
        if self.waiting.is_empty() && waiting.overlay.is_none() {
            return self.batcher.add(waiting.event);
        }
        self.overlays += usize::from(waiting.overlay.is_some());
        self.waiting.push(waiting);
        if self.waiting.len() == LOOK_UP_TOGETHER { self.flush() } else { Ok(()) }
    }

    /// Passes the waiting events on, in order, after putting stored values where something is unknown. One that then
    /// does not differ any more is unchanged.
    fn flush(&mut self) -> Result<(), StoreError> {
        let waiting = std::mem::take(&mut self.waiting);
        let stored = if self.overlays == 0 { Vec::new() } else { self.stored_records(&waiting)? };
        self.overlays = 0;
        for Waiting { mut event, overlay, missing } in waiting {
            if let Some((number, fingerprint)) = overlay
                && let Ok(at) = stored.binary_search_by(|record| record.id.cmp(&event.student_id))
                && let Some(record) = event.record.as_mut()
            {
                self.sides[number].fill(record, &stored[at], &event.enrollments, &mut self.found.kept[number]);
                let rows_kept = missing::keep(&missing, record, &stored[at], &event.enrollments);
                self.found.missing_rows[number].add(&rows_kept);
                let view = StudentView::of_record(record);
                event.fingerprint = self.fingerprinter.of(&view, event.to);
                // What was filled in stands at the end: a later night would find nothing changed, and leave it there.
                let ordered = view.to_record();
                **record = ordered;
                if event.fingerprint == fingerprint {
                    self.count(event.change, -1);
                    self.found.counts.unchanged += 1;
                    continue;
                }
            }
            self.batcher.add(event)?;
        }
        Ok(())
    }

    fn stored_records(&mut self, waiting: &[Waiting]) -> Result<Vec<Student>, StoreError> {
        let needed = waiting.iter().filter(|waiting| waiting.overlay.is_some());
        let stored_as = |event: &StudentEvent| event.rekeyed_from.as_ref().unwrap_or(&event.student_id).clone();
        let ids: Vec<StudentId> = needed.map(|waiting| stored_as(&waiting.event)).collect();
        let mut records = self.records.records(&ids)?;
        for event in waiting.iter().map(|waiting| &waiting.event) {
            let Some(old) = &event.rekeyed_from else { continue };
            records
                .iter_mut()
                .filter(|record| record.id == *old)
                .for_each(|record| record.id = event.student_id.clone());
        }
        records.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(records)
    }
}

/// An event with the record that `view` holds. `change` goes with the status before, if there was one.
fn event(
    view: &StudentView<'_>,
    rekeyed: &Rekeyed,
    fingerprint: Fingerprint,
    decided: Decided,
    (change, from): (Change, Option<Status>),
) -> StudentEvent {
    let student_id = StudentId(view.id.clone());
    StudentEvent {
        rekeyed_from: rekeyed.get(&student_id).cloned(),
        student_id,
        change,
        from,
        to: decided.status,
        rule: decided.rule,
        enrollments: decided.evidence,
        fingerprint,
        record: Some(Box::new(view.to_record())),
    }
}

fn missing_event(stored: &StoredStudent) -> StudentEvent {
    StudentEvent {
        student_id: stored.id.clone(),
        change: Change::Removed,
        from: Some(stored.status),
        to: Status::Inactive,
        rule: Rule::MissingFromSource,
        enrollments: Vec::new(),
        fingerprint: of_missing(&stored.id.0, Status::Inactive),
        record: None,
        rekeyed_from: None,
    }
}

/// Leaves, or becomes a graduate after having left, or is one no more: a row lost while it was listed can make that of one.
const fn wants_second_look(from: Status, to: Status) -> bool {
    use Status::{Graduated, Inactive};
    leaves(from, to) || matches!((from, to), (Graduated, Inactive) | (Inactive, Graduated))
}

/// Leaves ENROLLED or PRE_ENROLLED, or ENROLLED for PRE_ENROLLED.
const fn leaves(from: Status, to: Status) -> bool {
    from.is_attending() && (!to.is_attending() || matches!((from, to), (Status::Enrolled, Status::PreEnrolled)))
}

/// What a pull that is not complete is no reason for: leaving, or any other move out of attendance.
fn may_not(from: Status, to: Status) -> bool {
    leaves(from, to) || (from != to && !to.is_attending())
}

fn change_of(from: Status, to: Status) -> Change {
    if leaves(from, to) && to != Status::Graduated { Change::Removed } else { Change::Changed }
}

/// Orders stored students as the walk needs them.
pub fn by_id(a: &StoredStudent, b: &StoredStudent) -> Ordering {
    a.id.cmp(&b.id)
}

#[cfg(test)]
mod tests;
