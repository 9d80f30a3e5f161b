//! The plan of a run: everything the store knows of it in, a plan to save out.
//!
//! Role: puts assembling, comparing and judging together. No input or output but the stored records that the comparison
//! asks for. Neighbours: [`crate::plan_handler`] gathers the facts and saves the plan.
//!
//! Invariants: equal facts, equal plan, whatever the order of pages; nothing is released that takes someone out without a
//! second look, or that exceeds what the district or an approving person admitted.

use std::collections::BTreeMap;

use rollcall_proto::{
    id::{ConnectionNo, StudentId},
    message::Fingerprint,
    roster::{School, Staff},
};
use rollcall_store::{
    StoreError,
    board::Board,
    district::{District, SisKind},
    page::{PageFragments, PageRow},
    plan::{EncodedBatch, NewPlan, StoredStudent, Verdict},
    roster::StoredEnrollment,
    run::{Baseline, Counts, Discovery, Finding, FindingWeight, Pull, PullScope, PullState, Run},
};

use crate::{
    assemble::{
        Assembler, Reader,
        oneroster::{self, Contents, Reads, Rekeyed},
    },
    batch::Batcher,
    completeness::{self, Completeness, PullFacts},
    counting,
    diff::{self, Differences, Kept, NOT_CONFIRMED, Records, SecondLook, Side, Standing},
    fragment::FragmentError,
    hold::{self, Before, Changes, HoldReason, Stop},
    load::Looks,
    overlay::Unknown,
    recheck::{self, Candidates},
    status::NO_ENROLLMENT_IN_WINDOW,
};

/// What a plan is made from.
#[derive(Debug)]
pub struct PlanFacts {
    /// The district's configuration.
    pub district: District,
    /// The run.
    pub run: Run,
    /// Each connection's pull.
    pub pulls: Vec<PullIn>,
    /// Pages collected, of all connections.
    pub pages: Vec<PageRow>,
    /// What is stored, in any order.
    pub stored: Vec<StoredStudent>,
    /// Ids of the staff who are stored and have not left; only where a pull asked for changes alone.
    pub staff: Vec<String>,
    /// The roster's version when `stored` was read.
    pub roster_version: i64,
    /// Candidates of the first planning, and whether a person approved them.
    pub candidates: Option<(Candidates, bool)>,
}

/// One connection's pull.
#[derive(Debug)]
pub struct PullIn {
    /// The pull.
    pub pull: Pull,
    /// Its board.
    pub board: Option<Board>,
    /// The last complete pull.
    pub baseline: Option<Baseline>,
    /// Its fragments.
    pub fragments: Vec<PageFragments>,
    /// What is stored of its students' enrollments, sorted by student and id; only of a source that serves no more than
    /// its active year.
    pub remembered: Vec<StoredEnrollment>,
}

/// Why no plan could be made.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A page in the store cannot be read.
    #[error("a collected page of connection {connection} cannot be read")]
    Fragments {
        /// Whose page.
        connection: ConnectionNo,
        /// Why.
        #[source]
        source: FragmentError,
    },
    /// The store failed.
    #[error("the store failed while a run was planned")]
    Store(#[from] StoreError),
}

/// What planning comes to.
#[derive(Debug)]
pub enum Planned {
    /// A plan.
    Made(Box<NewPlan>),
    /// These connections were asked for changes alone, which do not add up: they are to be asked for everything. Each with
    /// the reason.
    AskEverything(Vec<(ConnectionNo, String)>),
}

/// Makes the plan, unless a pull for changes alone turns out to lack something.
pub fn plan_or_ask(mut facts: PlanFacts, records: &mut dyn Records) -> Result<Planned, PlanError> {
    if let Some(reason) = hopeless(&facts) {
        return Ok(Planned::Made(Box::new(failed(&facts, reason))));
    }
    let looks = open(&mut facts.pulls)?;
    let lacking = lacking(&facts, &looks);
    if lacking.is_empty() {
        plan_opened(facts, &looks, records).map(Box::new).map(Planned::Made)
    } else {
        Ok(Planned::AskEverything(lacking))
    }
}

/// Makes the plan of what was pulled, such as it is.
pub fn plan(mut facts: PlanFacts, records: &mut dyn Records) -> Result<NewPlan, PlanError> {
    if let Some(reason) = hopeless(&facts) {
        return Ok(failed(&facts, reason));
    }
    let looks = open(&mut facts.pulls)?;
    plan_opened(facts, &looks, records)
}

/// Pulls for changes alone that do not add up, or whose rows cannot be gone by. A replay asks nobody.
fn lacking(facts: &PlanFacts, looks: &[Looks]) -> Vec<(ConnectionNo, String)> {
    let by_changes = facts.pulls.iter().zip(looks).filter(|_| facts.run.replay_of.is_none());
    // One that failed has no rows to count, and its connection's students stay as they are. Once somebody is looked at
    // again, all was counted.
    let counts = |pull: &PullIn| pull.board.as_ref().is_some_and(|board| board.recheck_from.is_none());
    let by_changes = by_changes.filter(|(pull, _)| pull.pull.state != PullState::Failed && counts(pull));
    let lacking = by_changes.filter_map(|(pull, looks)| {
        let discovery = pull.pull.discovery.as_ref()?;
        matches!(discovery.scope, PullScope::Changes(_)).then_some(())?;
        let why = not_had(pull, &facts.pages)
            .or_else(|| counting::miscount(&looks.first, discovery, pull.baseline.as_ref()))
            .or_else(|| oneroster::doubts(&looks.first, reads(facts, pull)?));
        Some((pull.pull.connection, why?))
    });
    lacking.collect()
}

fn not_had(pull: &PullIn, pages: &[PageRow]) -> Option<String> {
    completeness::changes_not_had(pull.pull.connection, pull.board.as_ref()?, pages)
}

/// How a connection's rows are read.
fn reads<'a>(facts: &'a PlanFacts, pull: &PullIn) -> Option<Reads<'a>> {
    facts.district.connections.get(usize::from(pull.pull.connection.0)).map(Reads::of)
}

fn plan_opened(mut facts: PlanFacts, looks: &[Looks], records: &mut dyn Records) -> Result<NewPlan, PlanError> {
    if !facts.stored.is_sorted_by(|a, b| a.id <= b.id) {
        facts.stored.sort_by(diff::by_id);
    }
    let mut judged: Vec<Completeness> = facts.pulls.iter().map(|pull| judge(pull, &facts.pages)).collect();
    judge_contents(&mut judged, looks, &facts);
    let rekeyed = rekey(&mut facts, looks);
    let nothing = Discovery::default();
    let Compared { sides, found, staff, batches, hash } = loop {
        let compared = compared(&facts, &judged, looks, &nothing, &rekeyed, records)?;
        let kept_of = |number| {
            let own = compared.found.kept.iter().filter(move |((of, _), _)| *of == number);
            own.map(|((_, facet), kept)| (*facet, *kept))
        };
        let believe = |(number, judged): (usize, &mut Completeness)| judged.believe_few(kept_of(number));
        let believed: Vec<bool> = judged.iter_mut().enumerate().map(believe).collect();
        if !believed.contains(&true) {
            break compared;
        }
    };
    let schools = schools(&sides);
    let mut findings: Vec<Finding> = judged.iter().flat_map(|judged| judged.findings.clone()).collect();
    findings.extend(found.kept.iter().map(|((_, facet), kept)| completeness::thinned(*facet, *kept)));
    findings.extend(own_findings(&found, looks));
    let staff_whole = staff_is_whole(&judged, &sides);
    let staff_gone = if staff_whole { Vec::new() } else { staff_gone(&sides, &facts.staff, &staff) };
    let moved = attending(&facts.stored, &rekeyed);
    let renamed = Renamed { moved, unlinked: unlinked(&facts, looks) };
    let (verdict, recheck_on_approval) = verdict(&facts, &found, renamed)?;
    let rechecking = matches!(verdict, Verdict::Recheck(_));
    Ok(NewPlan {
        verdict,
        counts: found.counts,
        hash,
        roster_version: facts.roster_version,
        recheck_on_approval,
        batches: if rechecking { Vec::new() } else { batches },
        skips: found.skips,
        findings,
        baselines: baselines(&facts, &judged, looks, &found.kept, rekeyed.is_empty()),
        schools,
        staff,
        staff_whole,
        staff_gone,
    })
}

/// What comparing comes to.
struct Compared<'a> {
    sides: Vec<Side<'a>>,
    found: Differences,
    staff: Vec<Staff>,
    batches: Vec<EncodedBatch>,
    hash: Fingerprint,
}

fn compared<'a>(
    facts: &'a PlanFacts,
    judged: &[Completeness],
    looks: &'a [Looks],
    nothing: &'a Discovery,
    rekeyed: &Rekeyed,
    records: &mut dyn Records,
) -> Result<Compared<'a>, PlanError> {
    let side = |number| side(facts, &judged[number], &looks[number], number, nothing);
    let sides: Vec<Side<'_>> = (0..facts.pulls.len()).map(side).collect();
    let second = facts.candidates.as_ref().map(|(candidates, _)| second_look(facts, candidates, &sides));
    let mut events = Batcher::new(facts.run.seq);
    let mut found = diff::compare(&sides, &facts.stored, rekeyed, second.as_ref(), records, &mut events)?;
    let (batches, hash) = events.finish()?;
    let staff = staff(&sides, records, &mut found.kept)?;
    Ok(Compared { sides, found, staff, batches, hash })
}

fn is_oneroster(facts: &PlanFacts, pull: &PullIn) -> bool {
    let connection = facts.district.connections.get(usize::from(pull.pull.connection.0));
    connection.is_some_and(|connection| connection.kind == SisKind::OneRoster)
}

/// A listing of OneRoster holds several kinds of people: each is judged.
fn judge_contents(judged: &mut [Completeness], looks: &[Looks], facts: &PlanFacts) {
    for ((pull, judged), looks) in facts.pulls.iter().zip(judged).zip(looks) {
        if is_oneroster(facts, pull) && pull.board.is_some() && pull.pull.state != PullState::Failed {
            let Some(reads) = reads(facts, pull) else { continue };
            let contents = Contents::of(&looks.first, reads);
            completeness::judge_contents(judged, &contents, pull.baseline.as_ref(), facts.run.replay_of.is_some());
        }
    }
}

/// Finds the students whose SIS has given them other ids. What is stored of them then stands under the new ones.
fn rekey(facts: &mut PlanFacts, looks: &[Looks]) -> Rekeyed {
    let mut all = Rekeyed::new();
    for (pull, looks) in facts.pulls.iter().zip(looks).filter(|(pull, _)| is_oneroster(facts, pull)) {
        let number = pull.pull.connection.0;
        let prefix = facts.district.connections[usize::from(number)].id_prefix.as_deref().unwrap_or_default();
        all.extend(oneroster::rekeyed(&looks.first, number, prefix, &facts.stored));
    }
    if all.is_empty() {
        return all;
    }
    let new_of: BTreeMap<&StudentId, &StudentId> = all.iter().map(|(new, old)| (old, new)).collect();
    let rename = |id: &mut StudentId| {
        if let Some(new) = new_of.get(id) {
            id.clone_from(new);
        }
    };
    facts.stored.iter_mut().for_each(|student| rename(&mut student.id));
    facts.stored.sort_by(diff::by_id);
    for remembered in facts.pulls.iter_mut().map(|pull| &mut pull.remembered) {
        for stored in remembered.iter_mut() {
            rename(&mut stored.student);
        }
        remembered.sort_by(|a, b| (&a.student, &a.enrollment.id).cmp(&(&b.student, &b.enrollment.id)));
    }
    all
}

/// How many of those that move to another id attend, if any does: a former student who comes back needs nobody's word.
fn attending(stored: &[StoredStudent], rekeyed: &Rekeyed) -> u64 {
    let moved = stored.iter().filter(|student| rekeyed.contains_key(&student.id));
    if moved.clone().any(|student| student.status.is_attending()) { moved.count() as u64 } else { 0 }
}

/// Why no plan can be made of this at all.
fn hopeless(facts: &PlanFacts) -> Option<String> {
    let discoveries = facts.pulls.iter().filter_map(|pull| Some((pull.pull.connection, pull.pull.discovery.as_ref()?)));
    let fatal: Vec<String> = discoveries
        .filter(|(_, discovery)| !discovery.fatal.is_empty())
        .map(|(connection, discovery)| format!("connection {connection}: {}", discovery.fatal.join(", ")))
        .collect();
    if !fatal.is_empty() {
        return Some(format!("grant-missing: statuses rest on fields that are not granted: {}", fatal.join("; ")));
    }
    let failed = facts.pulls.iter().filter(|pull| pull.pull.state == PullState::Failed);
    if failed.clone().count() < facts.pulls.len() || facts.pulls.is_empty() {
        return None;
    }
    let reasons: Vec<&str> = failed.filter_map(|pull| pull.pull.reason.as_deref()).collect();
    Some(format!("connection-failed: {}", reasons.join("; ")))
}

fn failed(facts: &PlanFacts, reason: String) -> NewPlan {
    NewPlan { roster_version: facts.roster_version, ..NewPlan::empty(Verdict::Fail(reason)) }
}

fn judge(pull: &PullIn, pages: &[PageRow]) -> Completeness {
    let failed = (pull.pull.state == PullState::Failed).then(|| pull.pull.reason.as_deref().unwrap_or("given up"));
    completeness::judge(&PullFacts {
        connection: pull.pull.connection,
        board: pull.board.as_ref(),
        failed,
        pages,
        discovery: pull.pull.discovery.as_ref(),
        baseline: pull.baseline.as_ref(),
    })
}

/// Opens every connection's pages, letting go of the compressed ones as it goes.
fn open(pulls: &mut [PullIn]) -> Result<Vec<Looks>, PlanError> {
    let mut looks = Vec::with_capacity(pulls.len());
    for pull in pulls {
        let fragments = std::mem::take(&mut pull.fragments);
        let usable = pull.board.as_ref().filter(|_| pull.pull.state != PullState::Failed);
        looks.push(match usable {
            None => Looks::default(),
            Some(board) => Looks::open(fragments, board)
                .map_err(|source| PlanError::Fragments { connection: pull.pull.connection, source })?,
        });
    }
    Ok(looks)
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

fn second_look(facts: &PlanFacts, candidates: &Candidates, sides: &[Side<'_>]) -> SecondLook {
    let mut look = SecondLook::default();
    for (pull, side) in facts.pulls.iter().zip(sides) {
        if let (Some(board), Some(assembler)) = (&pull.board, &side.assembler) {
            recheck::heed(&mut look, candidates, pull.pull.connection, board, &facts.pages, assembler);
        }
    }
    look
}

fn schools(sides: &[Side<'_>]) -> Vec<School> {
    let assemblers = sides.iter().filter_map(|side| side.assembler.as_ref());
    let schools = assemblers.flat_map(Assembler::schools).map(|school| (school.code.clone(), school));
    schools.collect::<BTreeMap<_, _>>().into_values().collect()
}

/// The staff that are listed, by id, with what is stored of them where the pull could tell none.
fn staff(sides: &[Side<'_>], records: &mut dyn Records, kept: &mut Kept) -> Result<Vec<Staff>, StoreError> {
    let mut all = BTreeMap::new();
    for (number, side) in sides.iter().enumerate() {
        let Some(assembler) = &side.assembler else { continue };
        let mut listed = assembler.staff();
        // Of OneRoster alone: what Qmlativ does not grant of staff is not asked for.
        if assembler.is_oneroster() && !side.unknown.is_empty() && !listed.is_empty() {
            for stored in records.staff()? {
                let Ok(at) = listed.binary_search_by(|member| member.id.cmp(&stored.id)) else { continue };
                let own = side.lacking(&stored.id);
                diff::note_kept(kept, number, side.unknown.fill_staff(&mut listed[at], &stored, own));
            }
        }
        all.extend(listed.into_iter().map(|member| (member.id.clone(), member)));
    }
    Ok(all.into_values().collect())
}

/// Whether staff who are not listed have left: not by a night that asked for changes alone, nor by one with gaps.
fn staff_is_whole(judged: &[Completeness], sides: &[Side<'_>]) -> bool {
    judged.iter().all(Completeness::tells_of_everybody) && sides.iter().all(|side| !side.by_changes)
}

/// Staff of whom a night of changes tells, by a row of theirs, that they are no longer any. An empty listing tells of
/// nobody.
fn staff_gone(sides: &[Side<'_>], stored: &[String], listed: &[Staff]) -> Vec<String> {
    if listed.is_empty() {
        return Vec::new();
    }
    let by_changes = sides.iter().filter(|side| side.by_changes && side.standing == Standing::Complete);
    let assemblers: Vec<&Assembler<'_>> = by_changes.filter_map(|side| side.assembler.as_ref()).collect();
    let is_listed = |id: &String| listed.binary_search_by(|member| member.id.cmp(id)).is_ok();
    let is_told = |id: &String| assemblers.iter().any(|assembler| assembler.has_user(id));
    stored.iter().filter(|id| !is_listed(id) && is_told(id)).cloned().collect()
}

/// Nothing is built upon a replay, whose pages are of another night, nor upon a night on which people got other ids, a field
/// was empty, or rows did not tell when they were changed.
fn baselines(
    facts: &PlanFacts,
    judged: &[Completeness],
    looks: &[Looks],
    kept: &Kept,
    ids_stay: bool,
) -> Vec<(u16, Baseline)> {
    let run = &facts.run;
    let may_be_base = ids_stay && run.replay_of.is_none() && !run.as_of_given;
    let pulls = facts.pulls.iter().zip(judged).zip(looks).enumerate();
    let baselines = pulls.filter_map(|(number, ((pull, judged), looks))| {
        let discovery = pull.pull.discovery.as_ref()?;
        let mut baseline = completeness::next_baseline(judged, discovery, pull.baseline.as_ref())?;
        counting::learn(&mut baseline.counts_deleted, looks, discovery);
        let own = kept.iter().filter(|((of, _), _)| *of == number);
        baseline.thinned = own.map(|((_, facet), kept)| (facet.name().to_owned(), *kept)).collect();
        // What comes back of a field that nobody had would be told of those rows alone that happen to change.
        let no_gaps = judged.empty_supporting.is_empty() && baseline.thinned.is_empty();
        let may_be_base = may_be_base && no_gaps && !oneroster::is_undated(&looks.first);
        baseline.base = completeness::next_base(run.id, run.as_of, discovery).filter(|_| may_be_base);
        Some((pull.pull.connection.0, baseline))
    });
    baselines.collect()
}

/// Students under other ids than they are stored by: such a plan always waits for a person.
#[derive(Debug, Clone, Copy)]
struct Renamed {
    /// Who move to theirs.
    moved: u64,
    /// Whom nothing links.
    unlinked: u64,
}

impl Renamed {
    fn reasons(self) -> impl Iterator<Item = HoldReason> {
        let moved = (self.moved > 0).then_some(HoldReason::Rekeyed(self.moved));
        moved.into_iter().chain((self.unlinked > 0).then_some(HoldReason::Unlinked(self.unlinked)))
    }
}

/// Attending students whom no id links to what their source lists now.
fn unlinked(facts: &PlanFacts, looks: &[Looks]) -> u64 {
    let pulls = facts.pulls.iter().zip(looks).filter(|(pull, _)| is_oneroster(facts, pull));
    let whole = pulls.filter(|(pull, _)| pull.board.is_some() && pull.pull.state != PullState::Failed);
    let of_each = whole.map(|(pull, looks)| {
        let number = pull.pull.connection.0;
        let prefix = facts.district.connections[usize::from(number)].id_prefix.as_deref().unwrap_or_default();
        oneroster::unlinked(&looks.first, number, prefix, &facts.stored)
    });
    of_each.sum()
}

/// What becomes of the run, and the candidates that an approval would have to look at first.
fn verdict(facts: &PlanFacts, found: &Differences, renamed: Renamed) -> Result<(Verdict, Option<Vec<u8>>), StoreError> {
    let before = before(&facts.stored);
    let changes = Changes { removed: found.counts.removed as u64, changed: found.counts.changed as u64 };
    let stop = if facts.run.plan_only { Stop::AtPlan } else { Stop::Never };
    let mut reasons = hold::judge(before, changes, &facts.district.hold, stop);
    reasons.extend(renamed.reasons());
    // A plan for another date can never be approved, so nobody will ever be taken out by it.
    let look_first = facts.candidates.is_none() && !found.candidates.is_empty() && !facts.run.as_of_given;
    if look_first {
        let candidates = candidates(found).encode()?;
        return Ok(
            if renamed.reasons().next().is_none()
                && hold::judge_limits(before, changes, &facts.district.hold).is_empty()
            {
                (Verdict::Recheck(candidates), None)
            } else {
                (Verdict::Hold(hold::join(&reasons)), Some(candidates))
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
    let verdict = match (waits, empty) {
        (true, _) => Verdict::Hold(hold::join(&reasons)),
        (false, true) => Verdict::Nothing,
        (false, false) => Verdict::Release,
    };
    Ok((verdict, None))
}

fn before(stored: &[StoredStudent]) -> Before {
    let attending = stored.iter().filter(|student| student.status.is_attending()).count();
    Before { stored: stored.len() as u64, attending: attending as u64 }
}

fn candidates(found: &Differences) -> Candidates {
    let mut students = found.candidates.clone();
    students.sort_by(|a, b| a.1.cmp(&b.1));
    Candidates { students, removed: found.counts.removed, changed: found.counts.changed }
}

/// Whether an approval of the first plan covers what came out of the second look.
const fn covers(first: &Candidates, counts: &Counts) -> bool {
    counts.removed <= first.removed && counts.changed <= first.changed
}

/// What the rows themselves have to say.
fn own_findings(found: &Differences, looks: &[Looks]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut say = |weight, code: &str, what: &str, ids: &[&str]| {
        if !ids.is_empty() {
            findings.push(Finding {
                weight,
                code: code.to_owned(),
                message: listed(what, ids),
                count: ids.len() as i64,
            });
        }
    };
    let skipped = |wanted: &dyn Fn(&str) -> bool| -> Vec<&str> {
        let skips = found.skips.iter().filter(|skip| wanted(&skip.reason));
        skips.map(|skip| skip.student_id.0.as_str()).collect()
    };
    let not_confirmed = skipped(&|reason| reason == NOT_CONFIRMED);
    let what = "not taken out, because the second look did not confirm it: students";
    say(FindingWeight::Partial, NOT_CONFIRMED, what, &not_confirmed);
    let withheld =
        skipped(&|reason| ![NOT_CONFIRMED, NO_ENROLLMENT_IN_WINDOW, diff::PULL_INCOMPLETE].contains(&reason));
    say(
        FindingWeight::Partial,
        "students-withheld",
        "left as they are stored, see `rollcall runs show`: students",
        &withheld,
    );
    let doubles: Vec<&str> = found.duplicates.iter().map(String::as_str).collect();
    say(
        FindingWeight::Warning,
        "duplicate-student",
        "listed twice with differing facts, the later page counts: students",
        &doubles,
    );
    let mut by_code: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (code, enrollment) in &found.warnings {
        by_code.entry(code).or_default().push(enrollment);
    }
    for (code, mut enrollments) in by_code {
        enrollments.sort_by(|a, b| crate::status::compare_ids(a, b));
        enrollments.dedup();
        say(FindingWeight::Warning, code, "to be mended in the SIS: enrollments", &enrollments);
    }
    findings.extend(oddities(looks));
    findings
}

/// Ids that a message names; the rest is counted.
const NAMED: usize = 5;

fn listed(what: &str, ids: &[&str]) -> String {
    let named = ids.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    match ids.len().checked_sub(NAMED) {
        Some(more @ 1..) => format!("{what} {named} and {more} more"),
        _ => format!("{what} {named}"),
    }
}

fn oddities(looks: &[Looks]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (kind, cleaned, unreadable) in looks.iter().flat_map(|looks| looks.first.oddities()) {
        let mut say = |code: &str, count: u64, what: &str| {
            if count > 0 {
                let message = format!("{}: {what}", kind.resource());
                findings.push(Finding {
                    weight: FindingWeight::Warning,
                    code: code.to_owned(),
                    message,
                    count: count as i64,
                });
            }
        };
        say("control-characters", cleaned, "texts from which control characters were taken");
        say("value-unreadable", unreadable, "values that are no date, number or flag, and were left out");
    }
    findings
}

#[cfg(test)]
mod changes_tests;
#[cfg(test)]
mod oneroster_people_tests;
#[cfg(test)]
mod oneroster_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod thinned_tests;
