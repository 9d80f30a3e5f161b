//! Comparing what was pulled with what is stored.
//!
//! Role: an assembler for each connection, laid side by side and walked against the roster. Neighbours: [`crate::diff`] walks;
//! what comes of it is judged in [`mod@super::verdict`].

use std::collections::{BTreeMap, BTreeSet};

use rollcall_proto::{
    id::{ConnectionNo, StudentId},
    message::Fingerprint,
    roster::{School, Staff},
};
use rollcall_store::{
    StoreError,
    plan::EncodedBatch,
    run::{Discovery, PullScope, PullState},
};

use super::{PlanError, PlanFacts};
use crate::{
    assemble::{Assembler, Reader, oneroster::Rekeyed},
    batch::Batcher,
    completeness::Completeness,
    diff::{self, Differences, Records, SecondLook, Side, Standing},
    load::Looks,
    missing::{self, Missing},
    overlay::Unknown,
    recheck::{self, Candidates, Control},
};

/// What comparing comes to.
pub(super) struct Compared<'a> {
    pub(super) sides: Vec<Side<'a>>,
    pub(super) found: Differences,
    /// Whose answers of the second look prove nothing: see [`SecondLook::unproved`].
    pub(super) unproved: BTreeMap<ConnectionNo, u64>,
    pub(super) schools: Vec<School>,
    pub(super) staff: Vec<Staff>,
    /// Positions of connections whose pull cannot tell who is staff: what is stored of them stays.
    pub(super) staff_untold: Vec<u16>,
    pub(super) batches: Vec<EncodedBatch>,
    pub(super) hash: Fingerprint,
}

pub(super) fn compared<'a>(
    facts: &'a PlanFacts,
    judged: &[Completeness],
    looks: &'a [Looks],
    nothing: &'a Discovery,
    rekeyed: &Rekeyed,
    records: &mut dyn Records,
) -> Result<Compared<'a>, PlanError> {
    let side = |number| side(facts, &judged[number], &looks[number], number, nothing);
    let sides: Vec<Side<'_>> = (0..facts.pulls.len()).map(side).collect();
    let second =
        facts.candidates.as_ref().map(|(candidates, approved)| second_look(facts, (candidates, *approved), &sides));
    let mut events = Batcher::new(facts.run.seq);
    let mut found = diff::compare(&sides, &facts.stored, rekeyed, second.as_ref(), records, &mut events)?;
    let (batches, hash) = events.finish()?;
    let mut staff_untold = Vec::new();
    let staff = staff(&sides, records, &mut found, &mut staff_untold)?;
    let schools = schools(&sides, records, &mut found)?;
    let unproved = second.map(|second| second.unproved).unwrap_or_default();
    Ok(Compared { sides, found, unproved, schools, staff, staff_untold, batches, hash })
}

fn side<'a>(
    facts: &'a PlanFacts,
    judged: &Completeness,
    looks: &'a Looks,
    number: usize,
    nothing: &'a Discovery,
) -> Side<'a> {
    let pull = &facts.pulls[number];
    let discovery = pull.pull.discovery.as_ref().unwrap_or(nothing);
    let connection = facts.district.connections.get(usize::from(pull.pull.connection.0));
    let usable = pull.pull.state != PullState::Failed && pull.board.is_some();
    let assembler = connection.filter(|_| usable).map(|connection| {
        let reader = Reader {
            number: pull.pull.connection.0,
            connection,
            discovery,
            policy: &facts.district.status,
            today: facts.run.as_of,
            remembered: &pull.remembered,
            complete: judged.complete,
        };
        Assembler::new(reader, looks)
    });
    let standing = match (&assembler, judged.complete) {
        (None, _) => Standing::Failed,
        (Some(_), true) => Standing::Complete,
        (Some(_), false) => Standing::Incomplete,
    };
    let by_changes = matches!(discovery.scope, PullScope::Changes(_));
    Side { assembler, standing, by_changes, unknown: Unknown::of(judged, discovery) }
}

fn second_look(facts: &PlanFacts, candidates: (&Candidates, bool), sides: &[Side<'_>]) -> SecondLook {
    let mut look = SecondLook::default();
    for (pull, side) in facts.pulls.iter().zip(sides) {
        if let (Some(board), Some(assembler)) = (&pull.board, &side.assembler) {
            recheck::heed(&mut look, candidates, pull.pull.connection, board, &facts.pages, assembler);
        }
    }
    look
}

/// Who is asked for beside the candidates, of the connections that have any.
pub(super) fn controls(facts: &PlanFacts, sides: &[Side<'_>], found: &Differences) -> Vec<Control> {
    let candidates: BTreeSet<&StudentId> = found.candidates.iter().map(|(_, student)| student).collect();
    let is_stored = |student: &StudentId| facts.stored.binary_search_by(|stored| stored.id.cmp(student)).is_ok();
    let is_fit = |student: &StudentId| !candidates.contains(student) && is_stored(student);
    let mut controls = Vec::new();
    for (pull, side) in facts.pulls.iter().zip(sides) {
        let connection = pull.pull.connection;
        let wanted = found.candidates.iter().any(|(number, _)| *number == connection.0);
        if let (true, Some(board), Some(assembler)) = (wanted, &pull.board, &side.assembler) {
            controls.extend(recheck::choose_controls(connection, board, assembler, is_fit));
        }
    }
    controls
}

/// Who is asked for and gets another id, as the pull spells it.
pub(super) fn spelled(
    sides: &[Side<'_>],
    rekeyed: &Rekeyed,
    found: &Differences,
    controls: &[Control],
) -> BTreeMap<StudentId, String> {
    let asked = found.candidates.iter().map(|(number, id)| (*number, id));
    let asked = asked.chain(controls.iter().map(|control| (control.connection, &control.student)));
    let moved = asked.filter(|(_, id)| rekeyed.contains_key(*id));
    let spelled = moved.filter_map(|(number, id)| {
        let assembler = sides.get(usize::from(number))?.assembler.as_ref()?;
        Some((id.clone(), assembler.as_given(&id.0)?.to_owned()))
    });
    spelled.collect()
}

/// The schools that are listed, by code, with what is stored of them where the pull could tell none.
fn schools(sides: &[Side<'_>], records: &mut dyn Records, found: &mut Differences) -> Result<Vec<School>, StoreError> {
    let mut all = BTreeMap::new();
    for (number, side) in sides.iter().enumerate() {
        let Some(assembler) = &side.assembler else { continue };
        let (mut listed, missing): (Vec<School>, Vec<Vec<Missing>>) = assembler.schools().into_iter().unzip();
        if !side.unknown.is_empty() || !missing.iter().all(Vec::is_empty) {
            for stored in records.schools()? {
                let Ok(at) = listed.binary_search_by(|school| school.code.cmp(&stored.code)) else { continue };
                side.unknown.fill_school(&mut listed[at], &stored);
                let kept = missing::keep_of_school(&missing[at], &mut listed[at], &stored);
                found.missing_rows[number].add(&kept);
            }
        }
        all.extend(listed.into_iter().map(|school| (school.code.clone(), school)));
    }
    Ok(all.into_values().collect())
}

/// The staff that are listed, by id, with what is stored of them where the pull could tell none.
fn staff(
    sides: &[Side<'_>],
    records: &mut dyn Records,
    found: &mut Differences,
    untold: &mut Vec<u16>,
) -> Result<Vec<Staff>, StoreError> {
    let mut all = BTreeMap::new();
    for (number, side) in sides.iter().enumerate() {
        let Some(assembler) = &side.assembler else { continue };
        let Some(listed) = assembler.staff(&side.unknown) else {
            untold.push(number as u16);
            continue;
        };
        let (listed, missing): (Vec<Staff>, Vec<Vec<Missing>>) = listed.into_iter().unzip();
        let mut listed = assembler.of_connection(listed);
        let is_whole = side.unknown.is_empty() && missing.iter().all(Vec::is_empty);
        if !is_whole && !listed.is_empty() {
            let mut new: BTreeSet<usize> = (0..listed.len()).collect();
            for stored in records.staff()? {
                let Ok(at) = listed.binary_search_by(|member| member.id.cmp(&stored.id)) else { continue };
                new.remove(&at);
                side.fill_staff(&mut listed[at], &stored, &mut found.kept[number]);
                let kept = missing::keep_of_staff(&missing[at], &mut listed[at].person, &stored.person);
                found.missing_rows[number].add(&kept);
            }
            for at in new {
                found.never_told[number].add(&missing[at]);
            }
        }
        all.extend(listed.into_iter().map(|member| (member.id.clone(), member)));
    }
    Ok(all.into_values().collect())
}

/// The connections whose staff have left where they are not listed: not one that asked for changes alone, nor one that cannot
/// tell, or not of everybody.
pub(super) fn staff_whole_of(judged: &[Completeness], sides: &[Side<'_>], untold: &[u16]) -> Vec<u16> {
    let both = (0..).zip(judged.iter().zip(sides));
    let whole = both.filter(|(_, (judged, side))| !side.by_changes && judged.tells_of_staff());
    whole.map(|(number, _)| number).filter(|number| !untold.contains(number)).collect()
}

/// Staff of whom a night of changes tells, by a row of theirs, that they are no longer any. An empty listing tells of
/// nobody.
pub(super) fn staff_gone(sides: &[Side<'_>], stored: &[String], listed: &[Staff]) -> Vec<String> {
    if listed.is_empty() {
        return Vec::new();
    }
    let by_changes = sides.iter().filter(|side| side.by_changes && side.standing == Standing::Complete);
    let assemblers: Vec<&Assembler<'_>> = by_changes.filter_map(|side| side.assembler.as_ref()).collect();
    let is_listed = |id: &String| listed.binary_search_by(|member| member.id.cmp(id)).is_ok();
    let is_told = |id: &String| assemblers.iter().any(|assembler| assembler.has_row(id));
    stored.iter().filter(|id| !is_listed(id) && is_told(id)).cloned().collect()
}
