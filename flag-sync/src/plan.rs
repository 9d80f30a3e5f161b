//! Comparing a district's flags, or one student's, with what they should be.
//!
//! Role: fetches what the decisions need (documents, participations, students, programs and flags in Campus) and stores
//! what they say. Neighbours: [`crate::comparison`] compares many students, some at a time; [`crate::lists`] reads what Campus shows; [`crate::participation`], [`crate::desired`]
//! and [`crate::diff`] decide; [`crate::push`] sends what is due.
//!
//! Invariants: one code for the night and for the moment a document completes; nothing is written to Campus here; a flag that was
//! pushed counts as gone only where neither lists nor a look for it alone show it; an unchanged flag is not written to the store.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use rollcall_http::error::SisError;
use rollcall_proto::id::StudentId;
use rollcall_store::{
    district::{CutoverOption, District, OnDrift, Program},
    document::CompletedDocument,
    flag::{Cutover, Flag, FlagFacts, FlagProgram, FlagState, LedgerEntry, Participation, PushedFlag},
};
use uuid::Uuid;

use crate::{
    campus::{ReadOut, Which, is_of_one_student},
    context::Work,
    cutover::{Circumstances, Survey, survey},
    desired::{ProgramRules, Standing, StudentFacts, Wish, dates, flag_id, wish, wish_of},
    diff::{ActualFlag, NOT_READ_BACK, Seen, ShownLink, decide, seen_as_wished},
    error::FlagError,
    lists::{Actual, UNLISTED, fail_students, live},
    participation::{Owner, matched, spans},
    partner::{CampusProgram, find_program},
    people::Nameless,
    sharing::{Shares, shares},
};

/// Flags stored in one transaction.
const CHUNK: usize = 512;

/// Who writes the ledger, where no person does.
pub(crate) const ACTOR: &str = "flag-sync";

/// How a comparison went.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Compared {
    /// All of it is decided.
    Whole,
    /// Time was up: how far it came is kept.
    Left,
    /// Campus failed at the student's list, or at a program's: nothing is written of these, and they are tried again.
    Partly(SisError),
}

/// Rules of each program that has, or had, flags.
pub(crate) type Rules = BTreeMap<String, (ProgramRules, OnDrift)>;

/// What a comparison goes by, beside Campus.
pub(crate) struct Facts {
    participations: Vec<Participation>,
    /// Of these, those that are to be stored.
    changed: Vec<Participation>,
    /// By participation.
    stored: BTreeMap<Uuid, Flag>,
    pub(crate) rules: Rules,
    students: BTreeMap<StudentId, StudentFacts>,
    /// Flags that show a part of a stretch each.
    shares: Shares,
}

impl Facts {
    /// Only those of the students up to this one are left.
    pub(crate) fn keep_up_to(&mut self, last: &StudentId) {
        self.participations.retain(|one| one.student <= *last);
        self.changed.retain(|one| one.student <= *last);
    }
}

/// A flag that is to be looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missing {
    pub(crate) student: StudentId,
    pub(crate) flag: Uuid,
    pub(crate) pushed: PushedFlag,
}

/// What was decided about a participation's flag.
struct Decided {
    /// As it is to be stored.
    flag: Flag,
    /// What somebody did to it in Campus, for the ledger.
    drift: Option<String>,
    /// It was asked for, and Campus does not show it.
    is_missing: bool,
}

impl Work {
    /// Compares one student's flags. What Campus fails at is the student's matter alone.
    pub(crate) async fn compare_student(&self, student: &StudentId) -> Result<Compared, FlagError> {
        let facts = self.store().flag_facts(self.id(), Some(student), None).await?;
        // Whatever becomes of Campus.
        let (_, changed) = self.participations(&facts.documents, facts.participations.clone(), &facts.flags);
        self.store().save_participations(self.id(), &changed, self.now()).await?;
        let approved = self.approved().await?;
        let mut found = self.in_campus(&approved, None).await?;
        let mut unlisted = self.unlisted().await?;
        for one in &mut found {
            one.problem = unlisted.remove(&one.program).or(one.problem.take());
        }
        let mut rules = self.rules(&approved, &found, &facts.flags, None);
        let students = self.facts_of(&facts.students);
        let (mut actual, failing) = match self.students_flags(&rules, &students, &facts.flags).await {
            // What is to be written is decided when Campus can say what is there; until then that is listed.
            Err(error) if is_of_one_student(&error) => {
                fail_students(&mut rules, &error);
                (Actual::new(), Some(error))
            }
            actual => (actual?, None),
        };
        self.keep_programs(&found).await?;
        let facts = self.facts(facts, rules, &actual);
        let missing = self.missing(&facts, &actual);
        let untold = self.look_for(missing, &mut actual, None).await?.untold;
        self.decide_all(&facts, &actual, &untold).await?;
        self.campus.done_with_students();
        Ok(failing.map_or(Compared::Whole, Compared::Partly))
    }

    /// What is decided from, beside Campus.
    pub(crate) fn facts(&self, read: FlagFacts, rules: Rules, actual: &Actual) -> Facts {
        let (participations, changed) = self.participations(&read.documents, read.participations, &read.flags);
        let stored = read.flags.into_iter().map(|flag| (flag.participation, flag)).collect();
        let shares = self.shares(&participations, &stored, &rules, actual);
        Facts { participations, changed, stored, rules, students: self.facts_of(&read.students), shares }
    }

    /// Stores participations, and what is decided of their flags.
    pub(crate) async fn store_decided(
        &self,
        facts: &Facts,
        actual: &Actual,
        untold: &BTreeSet<Uuid>,
    ) -> Result<(), FlagError> {
        self.store().save_participations(self.id(), &facts.changed, self.now()).await?;
        self.decide_all(facts, actual, untold).await
    }

    /// What documents make of participations: all of them, and those that are to be stored.
    fn participations(
        &self,
        documents: &[CompletedDocument],
        stored: Vec<Participation>,
        flags: &[Flag],
    ) -> (Vec<Participation>, Vec<Participation>) {
        let changed = changed_participations(self, documents, &stored, flags);
        let mut all: BTreeMap<_, _> = stored.into_iter().map(|one| (one.id, one)).collect();
        all.extend(changed.iter().map(|one| (one.id, one.clone())));
        (all.into_values().collect(), changed)
    }

    /// Take-overs that people have approved.
    pub(crate) async fn approved(&self) -> Result<Vec<Cutover>, FlagError> {
        Ok(self.store().cutovers(self.id()).await?)
    }

    /// How programs stand in Campus that may be written to otherwise; one alone where asked for. It is asked only where there are any.
    pub(crate) async fn in_campus(
        &self,
        approved: &[Cutover],
        only: Option<&str>,
    ) -> Result<Vec<FlagProgram>, FlagError> {
        let may = |program: &&Program| {
            let is_wanted = only.is_none_or(|name| name == program.name);
            is_wanted && before_campus(&self.district, program, approved, self.today).is_none()
        };
        let live: Vec<_> = self.district.programs.iter().filter(may).collect();
        if live.is_empty() {
            return Ok(Vec::new());
        }
        let programs = self.campus.programs().await?;
        Ok(live.into_iter().map(|one| flag_program(&one.name, find_program(&programs, &one.name))).collect())
    }

    /// How each program stands; of one alone where asked for. `found`: how it stands in Campus, of those that Campus was asked
    /// for; of one that may be written to and that it was not asked for nothing is decided.
    pub(crate) fn rules(
        &self,
        approved: &[Cutover],
        found: &[FlagProgram],
        stored: &[Flag],
        only: Option<&str>,
    ) -> Rules {
        let mut rules = Rules::new();
        for program in self.district.programs.iter().filter(|one| only.is_none_or(|name| name == one.name)) {
            let found = || found.iter().find(|one| one.program == program.name).map(standing);
            let standing = before_campus(&self.district, program, approved, self.today);
            let Some(standing) = standing.or_else(found) else { continue };
            let cutover = program.cutover.unwrap_or(self.today);
            rules.insert(program.name.clone(), (ProgramRules { cutover, standing }, program.on_drift));
        }
        // Flags of programs that the file no longer names.
        for flag in stored.iter().filter(|flag| !self.district.programs.iter().any(|one| one.name == flag.program)) {
            let off = ProgramRules { cutover: flag.starts_on, standing: Standing::Off };
            rules.entry(flag.program.clone()).or_insert((off, OnDrift::Report));
        }
        rules
    }

    /// Programs whose flags Campus did not list when it was asked last: one student's list is no word on that.
    async fn unlisted(&self) -> Result<BTreeMap<String, String>, FlagError> {
        let before = self.store().flag_programs(self.id()).await?.into_iter();
        let unlisted = before.filter_map(|one| Some((one.program, one.problem?)));
        Ok(unlisted.filter(|(_, problem)| problem.starts_with(UNLISTED)).collect())
    }

    /// Keeps how programs stand in Campus, where that changed; a failing one is loud.
    pub(crate) async fn keep_programs(&self, now: &[FlagProgram]) -> Result<(), FlagError> {
        let before = self.store().flag_programs(self.id()).await?;
        for problem in now.iter().filter_map(|one| one.problem.as_deref()) {
            tracing::error!(district = %self.id(), problem, "a program's flags cannot be written; the others are");
        }
        let changed: Vec<_> = now.iter().filter(|one| !before.contains(one)).cloned().collect();
        if !changed.is_empty() {
            self.store().save_flag_programs(self.id(), &changed, self.now()).await?;
        }
        Ok(())
    }

    /// Who shares a stretch with whom.
    fn shares(
        &self,
        participations: &[Participation],
        stored: &BTreeMap<Uuid, Flag>,
        rules: &Rules,
        actual: &Actual,
    ) -> Shares {
        let mut groups: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for one in participations {
            groups.entry((&one.student, one.program.as_str())).or_default().push(one);
        }
        let shared = groups.into_iter().filter(|(_, group)| group.iter().any(|one| one.void_on.is_some()));
        let shared = shared.filter_map(|((_, program), group)| Some((rules.get(program)?.0.cutover, group)));
        let shared = shared.flat_map(|(cutover, group)| {
            let pushed = |one: &Participation| {
                let before = stored.get(&one.id);
                pushed(before, actual.get(&self.flag_id(one, before).to_string()))
            };
            let members: Vec<_> = group.into_iter().map(|one| (one, pushed(one))).collect();
            shares(&members, cutover)
        });
        shared.collect()
    }

    /// Flags that were pushed, of programs that are live, are not shown, and would be stored otherwise for it; by student.
    pub(crate) fn missing(&self, facts: &Facts, actual: &Actual) -> Vec<Missing> {
        let (live, nothing): (BTreeSet<_>, _) = (live(&facts.rules).map(|(_, id)| id).collect(), BTreeSet::new());
        let missing = facts.participations.iter().filter_map(|one| {
            let before = facts.stored.get(&one.id)?;
            let pushed = before.pushed.as_ref()?;
            if actual.contains_key(&before.id.to_string()) {
                return None;
            }
            // The list of a program that was made anew under another id lacks what was pushed by the old one. For who
            // attends that is written again in any case; for who left it is, where it is still there.
            let attends = facts.students.get(&one.student).is_some_and(|student| student.attending);
            if attends && !live.contains(pushed.program_sis_id.as_str()) {
                return None;
            }
            let decided = self.decided(one, facts, actual, &nothing)?;
            let missing = || Missing { student: one.student.clone(), flag: before.id, pushed: pushed.clone() };
            (decided.is_missing && &decided.flag != before).then(missing)
        });
        let mut missing: Vec<_> = missing.collect();
        missing.sort_by(|a, b| (&a.student, a.flag).cmp(&(&b.student, b.flag)));
        missing
    }

    /// A participation's flag as it is to be stored, and what is noted of it. `untold`: flags of which nothing is known.
    fn decided(
        &self,
        one: &Participation,
        facts: &Facts,
        actual: &BTreeMap<String, ActualFlag>,
        untold: &BTreeSet<Uuid>,
    ) -> Option<Decided> {
        let (rules, on_drift) = facts.rules.get(&one.program)?;
        let before = facts.stored.get(&one.id);
        let id = self.flag_id(one, before);
        // Flags that were never switched on are nobody's business.
        if rules.standing == Standing::Off && before.is_none() {
            return None;
        }
        let shown = actual.get(&id.to_string());
        let pushed = pushed(before, shown);
        let student = facts.students.get(&one.student);
        let own = || dates(one, rules.cutover, pushed.is_some());
        let dates = facts.shares.get(&one.id).copied().unwrap_or_else(own);
        let wish = wish_of(dates, rules, student, pushed.as_ref());
        let wish = wish.linked(self.launch_link(id), pushed.as_ref());
        let seen = match (&wish, shown) {
            (Wish::Shown(_), Some(shown)) => Seen::There(shown),
            (Wish::Shown(_), None) if !untold.contains(&id) => Seen::Nothing,
            _ => Seen::NotAsked,
        };
        let known = before.map(|flag| Flag { pushed, ..flag.clone() });
        let decision = decide(id, one, known.as_ref(), wish, seen, *on_drift, self.moment());
        let attends = student.is_some_and(|student| student.attending);
        let decision = if seen == Seen::Nothing && !attends { decision.not_made() } else { decision };
        Some(Decided { flag: self.noted(decision.flag?), drift: decision.drift, is_missing: seen == Seen::Nothing })
    }

    async fn decide_all(
        &self,
        facts: &Facts,
        actual: &BTreeMap<String, ActualFlag>,
        untold: &BTreeSet<Uuid>,
    ) -> Result<(), FlagError> {
        let mut changed = facts.participations.iter().filter_map(|one| {
            let before = facts.stored.get(&one.id);
            let decided = self.decided(one, facts, actual, untold);
            let Decided { flag, drift, .. } = decided.filter(|decided| Some(&decided.flag) != before)?;
            let lines = self.lines(before, &flag, drift);
            Some((flag, lines))
        });
        loop {
            let (flags, lines): (Vec<_>, Vec<_>) = changed.by_ref().take(CHUNK).unzip();
            if flags.is_empty() {
                return Ok(());
            }
            self.save(&flags, &lines.concat()).await?;
        }
    }

    /// What a look at Campus told of a flag, for the ledger.
    pub(crate) fn lines(&self, before: Option<&Flag>, flag: &Flag, drift: Option<String>) -> Vec<LedgerEntry> {
        let drift = drift.map(|edit| self.drift(flag, edit));
        let seen = seen_as_wished(before, flag).map(|(action, why)| {
            let line = self.line(flag, action, why, "as-wished".to_owned());
            // It may be there for fewer days than it is to have.
            let shown = flag.pushed.as_ref().map_or((flag.starts_on, flag.ends_on), |one| (one.starts_on, one.ends_on));
            LedgerEntry { starts_on: Some(shown.0), ends_on: shown.1, ..line }
        });
        let is_missed =
            drift.is_some() || [&flag.why, &flag.reason].into_iter().any(|text| text.as_deref() == Some(NOT_READ_BACK));
        let was_accepted = before.is_some_and(|before| before.state == FlagState::Accepted);
        let missed = (was_accepted && is_missed && flag.state != FlagState::Accepted)
            .then(|| self.line(flag, "read-back", "accepted before", NOT_READ_BACK.to_owned()));
        seen.into_iter().chain(missed).chain(drift).collect()
    }

    /// A participation's flag keeps its id, also where its student is given another one.
    fn flag_id(&self, one: &Participation, stored: Option<&Flag>) -> Uuid {
        stored.map_or_else(|| flag_id(self.id(), &one.student, &one.program, one.id), |flag| flag.id)
    }

    /// A line about what somebody did to a flag of ours.
    pub(crate) fn drift(&self, flag: &Flag, edit: String) -> LedgerEntry {
        self.line(flag, "drift", "somebody edited it in the SIS", edit)
    }

    /// A line about a flag of ours.
    pub(crate) fn line(&self, flag: &Flag, action: &str, why: &str, answer: String) -> LedgerEntry {
        LedgerEntry {
            at: self.now(),
            actor: ACTOR.to_owned(),
            flag: flag.id.to_string(),
            student: Some(flag.student.clone()),
            program: flag.program.clone(),
            action: action.to_owned(),
            why: why.to_owned(),
            starts_on: Some(flag.starts_on),
            ends_on: flag.ends_on,
            answer,
        }
    }

    /// What a take-over of the program would do, by what Campus shows now. `programs`: those that it shows. Nothing is stored.
    pub(crate) async fn survey(&self, program: &Program, programs: &[CampusProgram]) -> Result<Survey, FlagError> {
        let cutover = program.cutover.ok_or(FlagError::Configuration("the program has no cutover"))?;
        let found = match find_program(programs, &program.name) {
            Ok(found) => found,
            Err(why) => return Ok(Survey { to_end: Vec::new(), without_new: 0, warnings: vec![why] }),
        };
        let ReadOut { rows: actual, lacking } = self.campus.participations(Which::OfProgram(&found.id)).await?;
        let facts = self.store().flag_facts(self.id(), None, Some(&program.name)).await?;
        let (participations, _) = self.participations(&facts.documents, facts.participations, &facts.flags);
        let (people, students) = (&facts.students, self.facts_of(&facts.students));
        let of_program = || participations.iter().filter(|one| one.program == program.name);
        let stored: BTreeMap<_, _> = facts.flags.into_iter().map(|flag| (flag.participation, flag)).collect();
        // Under whatever name: of a program that was renamed in Campus, and has its new name here too, the former flags are ours.
        let all = self.store().flag_ids(self.id()).await?.into_iter();
        let ours = all.chain(of_program().map(|one| self.flag_id(one, stored.get(&one.id))));
        let ours = ours.map(|id| id.to_string()).collect();
        let live = ProgramRules { cutover, standing: Standing::Live { program_sis_id: found.id.clone() } };
        let (mut continuing, mut nameless) = (BTreeSet::new(), BTreeSet::new());
        for one in of_program() {
            let student = students.get(&one.student);
            match wish(one, &live, student, None) {
                Wish::Shown(flag) => drop(continuing.insert(flag.sis_id.to_ascii_lowercase())),
                // One who left would get no new flag by any id.
                Wish::KeptBack { dates, state: FlagState::NoSisId, .. }
                    if dates.goes_on(self.today) && student.is_none_or(|student| student.attending) =>
                {
                    nameless.insert(one.student.clone());
                }
                _ => {}
            }
        }
        let (here_since, loaded_students) = self.store().flag_history(self.id(), &program.name).await?;
        let roster = self.roster().await?;
        let by_sis_id = self.ids_in_campus(&nameless, people, &roster);
        let nameless = Nameless { students: nameless, by_sis_id };
        let attending = || people.iter().filter(|student| student.status.is_attending());
        let to_move = attending().filter(|student| self.is_to_move(student)).count();
        let about = Circumstances {
            roster: &roster,
            nameless: &nameless,
            lacking,
            to_move: (to_move, attending().count()),
            cutover,
            here_since,
            loaded_students,
            today: self.today,
        };
        Ok(survey(&actual, &ours, &continuing, about))
    }
}

/// What the SIS took of a flag of ours, as far as we know or it shows.
fn pushed(stored: Option<&Flag>, shown: Option<&ActualFlag>) -> Option<PushedFlag> {
    stored.and_then(|flag| flag.pushed.clone()).or_else(|| shown.and_then(found))
}

/// A flag of ours that the SIS shows although we know of no answer: it was lost, or the process died over it.
fn found(shown: &ActualFlag) -> Option<PushedFlag> {
    Some(PushedFlag {
        starts_on: shown.starts_on?,
        ends_on: shown.ends_on,
        sis_id: shown.sis_id.clone(),
        program_sis_id: shown.program_sis_id.clone(),
        link: match &shown.link {
            ShownLink::To(link) => Some(link.clone()),
            ShownLink::NotTold | ShownLink::Nothing => None,
        },
    })
}

/// What the district's file and people say of a program. `None`: they say nothing against writing its flags.
pub(crate) fn before_campus(
    district: &District,
    program: &Program,
    approved: &[Cutover],
    today: NaiveDate,
) -> Option<Standing> {
    // Approved is one day: another in the file since then is another question to a person.
    let is_approved = || approved.iter().any(|one| one.program == program.name && Some(one.cutover) == program.cutover);
    match (program.cutover, program.option) {
        _ if !program.flags || !district.flags.enabled => Some(Standing::Off),
        (Some(cutover), _) if today < cutover => Some(Standing::NotYet),
        (Some(_), Some(CutoverOption::TakeOver)) if !is_approved() => Some(Standing::AwaitsApproval),
        (Some(_), Some(_)) => None,
        _ => Some(Standing::Failed("flag-unconfigured the program has no cutover or no option".to_owned())),
    }
}

fn standing(found: &FlagProgram) -> Standing {
    match (&found.problem, &found.program_sis_id) {
        (None, Some(id)) => Standing::Live { program_sis_id: id.clone() },
        (problem, _) => Standing::Failed(problem.clone().unwrap_or_default()),
    }
}

fn flag_program(name: &str, found: Result<&CampusProgram, String>) -> FlagProgram {
    let (problem, program_sis_id) = match found {
        Ok(program) => (None, Some(program.id.clone())),
        Err(why) => (Some(why), None),
    };
    FlagProgram { program: name.to_owned(), problem, program_sis_id }
}

fn changed_participations(
    work: &Work,
    documents: &[CompletedDocument],
    stored: &[Participation],
    flags: &[Flag],
) -> Vec<Participation> {
    type Key<'a> = (&'a StudentId, &'a str);
    let begins = flags.iter().filter_map(|flag| Some((flag.participation, flag.pushed.as_ref()?.starts_on))).collect();
    let mut groups: BTreeMap<Key<'_>, (Vec<&CompletedDocument>, Vec<Participation>)> = BTreeMap::new();
    for document in documents {
        groups.entry((&document.student, &document.program)).or_default().0.push(document);
    }
    for one in stored {
        groups.entry((&one.student, &one.program)).or_default().1.push(one.clone());
    }
    let changed = groups.into_iter().flat_map(|((student, program), (documents, stored))| {
        let owner = Owner { district: work.id(), student, program };
        matched(owner, &stored, &begins, &spans(documents), work.today)
    });
    changed.collect()
}
