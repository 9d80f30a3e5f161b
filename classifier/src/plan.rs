//! The plan of a run: everything the store knows of it in, a plan to save out.
//!
//! Role: puts assembling, comparing and judging together. No input or output but the stored records that the comparison
//! asks for. Neighbours: [`crate::plan_handler`] gathers the facts and saves the plan.
//!
//! Invariants: equal facts, equal plan, whatever the order of pages; nothing is released that takes someone out without a
//! second look, or that exceeds what the district or an approving person admitted.

mod compared;
mod findings;
mod ids;
mod unresolved;
mod verdict;

use std::collections::BTreeSet;

use rollcall_proto::id::{ConnectionNo, StudentId};
use rollcall_store::{
    StoreError,
    board::Board,
    district::{District, SisKind},
    page::{PageFragments, PageRow},
    plan::{NewPlan, SpokenOf, StoredStudent, Verdict},
    roster::StoredEnrollment,
    run::{Baseline, Discovery, Finding, Pull, PullScope, PullState, RowPlace, Run},
};

use compared::{Compared, compared, controls, spelled, staff_gone, staff_whole_of};
pub(crate) use findings::ROW_MISSING;
use findings::{of_no_connection, own_findings, second_look_unproved, staff_finding};
use ids::{Renamed, people_moved, rekey, unlinked};
use verdict::{Judged, verdict};

use crate::{
    assemble::{
        WithdrawalColumn,
        oneroster::{self, Contents, Reads},
        tables::Tables,
    },
    completeness::{self, Asked, Completeness, PullFacts},
    counting,
    diff::{self, Differences, Records},
    fragment::{FragmentError, Kind},
    load::{Looks, Source},
    missing::{self, KeptRows, Known},
    overlay::Kept,
    recheck::Candidates,
    untold::Untold,
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
    /// The staff who are or were stored and of whom an administrator has said what they may see.
    pub said_of: Vec<SpokenOf>,
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
    /// What is known of earlier pulls.
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
    let stored = std::mem::take(&mut facts.stored);
    Opened::of(facts)?.plan_or_ask(stored, records)
}

/// Makes the plan of what was pulled, such as it is.
pub fn plan(mut facts: PlanFacts, records: &mut dyn Records) -> Result<NewPlan, PlanError> {
    let stored = std::mem::take(&mut facts.stored);
    Opened::of(facts)?.plan(stored, records)
}

/// Facts whose pages are opened, which is done while the students who are stored are still being read.
#[derive(Debug)]
pub struct Opened {
    facts: PlanFacts,
    /// Or why nothing can be planned.
    looks: Result<Vec<Looks>, String>,
}

impl Opened {
    /// Opens the pages of facts without students.
    pub fn of(mut facts: PlanFacts) -> Result<Self, PlanError> {
        let looks = match hopeless(&facts) {
            Some(reason) => Err(reason),
            None => Ok(open(&mut facts.pulls)?),
        };
        Ok(Self { facts, looks })
    }

    /// See [`plan_or_ask`].
    pub fn plan_or_ask(self, stored: Vec<StoredStudent>, records: &mut dyn Records) -> Result<Planned, PlanError> {
        let lacking = self.looks.as_ref().map(|looks| lacking(&self.facts, looks)).unwrap_or_default();
        if lacking.is_empty() {
            self.plan(stored, records).map(Box::new).map(Planned::Made)
        } else {
            Ok(Planned::AskEverything(lacking))
        }
    }

    fn plan(self, stored: Vec<StoredStudent>, records: &mut dyn Records) -> Result<NewPlan, PlanError> {
        let facts = PlanFacts { stored, ..self.facts };
        match self.looks {
            Ok(mut looks) => plan_opened(facts, &mut looks, records),
            Err(reason) => Ok(failed(&facts, reason)),
        }
    }
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

fn plan_opened(mut facts: PlanFacts, looks: &mut [Looks], records: &mut dyn Records) -> Result<NewPlan, PlanError> {
    if !facts.stored.is_sorted_by(|a, b| a.id <= b.id) {
        facts.stored.sort_by(diff::by_id);
    }
    let untold: Vec<Untold> =
        facts.pulls.iter().zip(&*looks).map(|(pull, looks)| untold(&facts, pull, looks)).collect();
    if let Some(reason) = essential_untold(&facts, &untold) {
        return Ok(failed(&facts, reason));
    }
    let mut judged: Vec<Completeness> = facts.pulls.iter().map(|pull| judge(pull, &facts)).collect();
    judged.iter_mut().zip(&untold).for_each(|(judged, untold)| completeness::judge_untold(judged, untold));
    // From here on what no row carries is what is not granted.
    for (pull, untold) in facts.pulls.iter_mut().zip(&untold) {
        pull.pull.discovery.iter_mut().for_each(|discovery| untold.refuse(discovery));
    }
    judge_contents(&mut judged, looks, &facts);
    let tables: Vec<Option<Tables>> =
        facts.pulls.iter().zip(&*looks).map(|(pull, looks)| tables(&facts, pull, looks)).collect();
    judge_asked(&mut judged, looks, &tables, &facts);
    for ((pull, judged), looks) in facts.pulls.iter().zip(&judged).zip(&mut *looks) {
        looks.first.known = known(&facts.run, pull, judged, &looks.first);
    }
    let looks = &*looks;
    let rekeyed = rekey(&mut facts, looks);
    let nothing = Discovery::default();
    let Compared { sides, found, unproved, schools, staff, staff_untold, batches, hash } = loop {
        let compared = compared(&facts, &judged, looks, &nothing, &rekeyed, records)?;
        let believe = |(judged, kept): (&mut Completeness, &Kept)| judged.believe_few(kept);
        let believed: Vec<bool> = judged.iter_mut().zip(&compared.found.kept).map(believe).collect();
        if !believed.contains(&true) {
            break compared;
        }
    };
    let mut findings: Vec<Finding> = judged.iter().flat_map(|judged| judged.findings.clone()).collect();
    findings.extend(judged.iter().zip(&found.kept).flat_map(|(judged, kept)| judged.thinned(kept)));
    findings.extend(unresolved::findings(&found.skips, &facts, looks, &tables));
    findings.extend(own_findings(&found, looks));
    findings.extend(unproved.into_iter().map(second_look_unproved));
    findings.extend(of_no_connection(&facts.stored, facts.district.connections.len()));
    findings.extend(staff_untold.iter().map(|connection| staff_finding(*connection)));
    let staff_whole_of = staff_whole_of(&judged, &sides, &staff_untold);
    let staff_whole = staff_whole_of.len() == sides.len();
    let staff_gone = if staff_whole { Vec::new() } else { staff_gone(&sides, &facts.staff, &staff) };
    let renamed = Renamed { moved: found.moved.to_be_held(), unlinked: unlinked(&facts, looks) };
    let controls = controls(&facts, &sides, &found);
    let spelled = spelled(&sides, &rekeyed, &found, &controls);
    let Judged { verdict, recheck_on_approval, finding } = verdict(&facts, &found, renamed, (controls, spelled))?;
    findings.extend(finding);
    let rechecking = matches!(verdict, Verdict::Recheck(_));
    let baselines = baselines(&facts, &judged, looks, &found);
    Ok(NewPlan {
        verdict,
        counts: found.counts,
        hash,
        roster_version: facts.roster_version,
        recheck_on_approval,
        batches: if rechecking { Vec::new() } else { batches },
        skips: found.skips,
        findings,
        baselines,
        schools,
        staff,
        staff_whole,
        staff_whole_of,
        staff_gone,
        people_moved: people_moved(&facts, looks),
    })
}

/// Keys of which it is known that they lead nowhere. What was kept because of them on the last complete pull ends on the next, unless
/// it is much, and nobody said that it is to. A replay reads what was read before.
fn known(run: &Run, pull: &PullIn, judged: &Completeness, source: &Source) -> Known {
    let Some(last) = &pull.baseline else { return Known::default() };
    Known::of(last, |table, kept| {
        let accepted = last.accepted_empty.contains(&missing::ending_name(table));
        judged.complete && (accepted || (run.replay_of.is_none() && !missing::is_much(table, kept, source)))
    })
}

fn is_oneroster(facts: &PlanFacts, pull: &PullIn) -> bool {
    let connection = facts.district.connections.get(usize::from(pull.pull.connection.0));
    connection.is_some_and(|connection| connection.kind == SisKind::OneRoster)
}

/// What no row of a pull of Qmlativ carries, though it is granted.
fn untold(facts: &PlanFacts, pull: &PullIn, looks: &Looks) -> Untold {
    let discovery = pull.pull.discovery.as_ref().filter(|_| !is_oneroster(facts, pull));
    discovery.map(|discovery| Untold::of(discovery, &looks.first, pull.baseline.as_ref())).unwrap_or_default()
}

/// Why no plan can be made where rows do not carry any more what statuses rest on.
fn essential_untold(facts: &PlanFacts, untold: &[Untold]) -> Option<String> {
    let of_pull = |(pull, untold): (&PullIn, &Untold)| {
        let connection = facts.district.connections.get(usize::from(pull.pull.connection.0))?;
        let fatal = untold.fatal(connection, pull.pull.discovery.as_ref()?);
        (!fatal.is_empty()).then(|| format!("connection {}: {}", pull.pull.connection, fatal.join(", ")))
    };
    let fatal: Vec<String> = facts.pulls.iter().zip(untold).filter_map(of_pull).collect();
    let why = "statuses rest on fields that are granted and that no row carries any more";
    let mend = "nothing was changed, and the first run to which the SIS tells them goes on as ever. See what it answers for them \
                (`rollcall district test` says what is granted), and ask its vendor; that they are empty cannot be accepted";
    (!fatal.is_empty()).then(|| format!("{}: {why}: {}; {mend}", completeness::UNTOLD, fatal.join("; ")))
}

/// A listing of OneRoster holds several kinds of people: each is judged.
fn judge_contents(judged: &mut [Completeness], looks: &[Looks], facts: &PlanFacts) {
    for ((pull, judged), looks) in facts.pulls.iter().zip(judged).zip(looks) {
        if is_oneroster(facts, pull) && pull.board.is_some() && pull.pull.state != PullState::Failed {
            let Some(reads) = reads(facts, pull) else { continue };
            let contents = Contents::of(&looks.first, reads);
            completeness::judge_contents(judged, &contents, pull.baseline.as_ref());
        }
    }
}

/// Years and entities of a pull of Qmlativ.
fn tables(facts: &PlanFacts, pull: &PullIn, looks: &Looks) -> Option<Tables> {
    let usable = pull.board.is_some() && pull.pull.state != PullState::Failed && !is_oneroster(facts, pull);
    let discovery = pull.pull.discovery.as_ref().filter(|_| usable)?;
    Some(Tables::of(&looks.first, &discovery.current_years))
}

/// What Qmlativ's tables of years and entities show beside what was asked.
fn judge_asked(judged: &mut [Completeness], looks: &[Looks], tables: &[Option<Tables>], facts: &PlanFacts) {
    for (((pull, judged), looks), tables) in facts.pulls.iter().zip(judged).zip(looks).zip(tables) {
        let number = pull.pull.connection.0;
        let connection = facts.district.connections.get(usize::from(number));
        let (Some(board), Some(tables), Some(connection)) = (&pull.board, tables, connection) else { continue };
        let Some(discovery) = &pull.pull.discovery else { continue };
        let prefix = connection.id_prefix.as_deref().unwrap_or_default();
        let attends = |student: i64| {
            let id = StudentId(format!("{prefix}{student}"));
            let at = facts.stored.binary_search_by(|stored| stored.id.cmp(&id));
            at.is_ok_and(|at| facts.stored[at].connection == number && facts.stored[at].status.is_attending())
        };
        let asked = Asked {
            board,
            source: &looks.first,
            tables,
            baseline: pull.baseline.as_ref(),
            admitted: facts.district.status.school_years,
            withdrawal: WithdrawalColumn::of(connection, discovery),
            attends: &attends,
        };
        completeness::judge_asked(judged, asked);
    }
}

/// Why no plan can be made of this at all.
fn hopeless(facts: &PlanFacts) -> Option<String> {
    let discoveries = facts.pulls.iter().filter_map(|pull| Some((pull.pull.connection, pull.pull.discovery.as_ref()?)));
    let fatal: Vec<String> = discoveries
        .filter(|(_, discovery)| !discovery.fatal.is_empty())
        .map(|(connection, discovery)| format!("connection {connection}: {}", discovery.fatal.join(", ")))
        .collect();
    if !fatal.is_empty() {
        return Some(format!(
            "grant-missing: statuses rest on fields that are not granted: {}; nothing was changed. Ask the district to grant them to \
             the integration access",
            fatal.join("; ")
        ));
    }
    if let Some(reason) = date_not_asked(facts) {
        return Some(reason);
    }
    let failed = facts.pulls.iter().filter(|pull| pull.pull.state == PullState::Failed);
    if failed.clone().count() < facts.pulls.len() || facts.pulls.is_empty() {
        return None;
    }
    let reasons: Vec<&str> = failed.filter_map(|pull| pull.pull.reason.as_deref()).collect();
    Some(format!("connection-failed: {}", reasons.join("; ")))
}

/// The district's file may name another field for the withdrawal date by now than the pull asked for: read without it, nobody
/// would have withdrawn.
fn date_not_asked(facts: &PlanFacts) -> Option<String> {
    facts.pulls.iter().filter(|pull| !is_oneroster(facts, pull)).find_map(|pull| {
        let number = pull.pull.connection;
        let named = facts.district.connection(number)?.withdrawal_date_field.as_deref()?;
        let asked = pull.pull.discovery.as_ref()?.granted.get(Kind::EntryWithdrawal.resource())?;
        let is_asked = asked.iter().any(|field| field.eq_ignore_ascii_case(named));
        let why = "the district's file names a field for the withdrawal date that this run did not ask for";
        (!is_asked).then(|| format!("grant-missing: connection {number}: {why}: {named}; start a new run"))
    })
}

fn failed(facts: &PlanFacts, reason: String) -> NewPlan {
    NewPlan { roster_version: facts.roster_version, ..NewPlan::empty(Verdict::Fail(reason)) }
}

fn judge(pull: &PullIn, facts: &PlanFacts) -> Completeness {
    let own = |student: &&StoredStudent| student.connection == pull.pull.connection.0;
    let failed = (pull.pull.state == PullState::Failed).then(|| pull.pull.reason.as_deref().unwrap_or("given up"));
    completeness::judge(&PullFacts {
        connection: pull.pull.connection,
        board: pull.board.as_ref(),
        failed,
        pages: &facts.pages,
        discovery: pull.pull.discovery.as_ref(),
        baseline: pull.baseline.as_ref(),
        stored: facts.stored.iter().filter(own).count(),
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

/// Nothing is built upon a replay, whose pages are of another night, nor upon a night on which people got other ids, a field
/// was empty, or rows did not tell when they were changed.
fn baselines(facts: &PlanFacts, judged: &[Completeness], looks: &[Looks], found: &Differences) -> Vec<(u16, Baseline)> {
    let run = &facts.run;
    let may_be_base = found.moved.students == 0 && run.replay_of.is_none() && !run.as_of_given;
    let kept = found.kept.iter().zip(&found.never_told).zip(found.missing_rows.iter().zip(&found.confirmed));
    let pulls = facts.pulls.iter().zip(judged).zip(looks).zip(kept);
    let baselines = pulls.filter_map(|(((pull, judged), looks), ((kept, never_told), rows))| {
        let discovery = pull.pull.discovery.as_ref()?;
        let mut baseline = completeness::next_baseline(judged, discovery, pull.baseline.as_ref())?;
        if !judged.complete {
            return Some((pull.pull.connection.0, baseline));
        }
        counting::learn(&mut baseline.counts_deleted, looks, discovery);
        completeness::note_thinned(&mut baseline, judged, kept);
        note_keys(&mut baseline, pull.baseline.as_ref(), rows, &looks.first.known);
        // What comes back of a field that nobody had would be told of those rows alone that happen to change.
        let no_gaps = judged.empty_supporting.is_empty() && baseline.thinned.is_empty();
        // Who is new may have demographics that were on no page: of changes alone, nobody would see them for days.
        let may_be_base =
            may_be_base && no_gaps && !never_told.holds(Kind::Demographics) && !oneroster::is_undated(&looks.first);
        baseline.base = completeness::next_base(run.id, run.as_of, discovery).filter(|_| may_be_base);
        Some((pull.pull.connection.0, baseline))
    });
    baselines.collect()
}

/// Notes keys that led nowhere. What a person said of them was heeded, and is over.
fn note_keys(
    baseline: &mut Baseline,
    last: Option<&Baseline>,
    (kept, confirmed): (&KeptRows, &BTreeSet<RowPlace>),
    known: &Known,
) {
    baseline.kept_keys = kept.by_resource();
    baseline.dangling = known.followed();
    baseline.dangling_places = known.followed_places();
    if !confirmed.is_empty() {
        let enrollments = Kind::EntryWithdrawal.resource().to_owned();
        baseline.dangling_places.entry(enrollments).or_default().extend(confirmed);
    }
    let said = last.into_iter().flat_map(|last| &last.accepted_empty);
    for name in said.filter(|name| missing::table_of(name).is_some()) {
        baseline.accepted_empty.remove(name);
        baseline.rows.insert(name.clone(), 1);
    }
}

#[cfg(test)]
mod asked_tests;
#[cfg(test)]
mod changes_tests;
#[cfg(test)]
mod oneroster_people_tests;
#[cfg(test)]
mod oneroster_tests;
#[cfg(test)]
mod second_look_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod thinned_tests;
#[cfg(test)]
mod unproved_tests;
