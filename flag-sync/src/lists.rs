//! What Campus shows of flags, by its lists, and what becomes of one that it refuses or fails at.
//!
//! Role: reads programs' flags, or one student's, and looks for those that the lists lack. Neighbours: [`crate::plan`] compares what
//! comes of it; [`crate::campus`] asks.
//!
//! Invariants: what Campus refuses to list is that program's or student's matter alone, unless it lists nothing at all; one list's word
//! is not enough for a flag to count as gone.

use std::collections::{BTreeMap, BTreeSet};

use rollcall_http::error::{Remedy, SisError};
use rollcall_proto::id::StudentId;
use rollcall_store::flag::{Flag, FlagProgram};
use uuid::Uuid;

use crate::{
    campus::{Which, is_of_one, refusal},
    context::Work,
    desired::{Standing, StudentFacts},
    diff::ActualFlag,
    error::{FlagError, answer},
    plan::{Facts, Rules, Scope},
    push::{AWAY, PATIENCE},
    rows::ONE_BY_ONE,
};

/// So often lists that lack more than [`ONE_BY_ONE`] flags are read again, before each of these is looked for.
const RELISTS: u32 = 2;

/// How the problem of a program, or of a student's flags, begins that Campus does not list; a status or a code follows, then a detail.
pub(crate) const UNLISTED: &str = "campus-";

/// What Campus shows, by id in lower case.
pub(crate) type Actual = BTreeMap<String, ActualFlag>;

impl Work {
    /// What Campus shows of programs. One whose flags it refuses to list fails, and the others do not; one whose list it only
    /// fails at (5xx) is left as it is and tried again, with the error, until that has gone on for long.
    pub(crate) async fn programs_flags(
        &self,
        scope: Scope<'_>,
        rules: &mut Rules,
        programs: &mut [FlagProgram],
    ) -> Result<(Actual, Option<SisError>), FlagError> {
        let (mut all, mut unlisted) = (Actual::new(), Vec::new());
        for (name, id) in live(rules) {
            match self.campus.participations(Which::OfProgram(id)).await {
                Ok(flags) => keep(&mut all, flags),
                Err(error) if is_of_one(&error) => unlisted.push((name.to_owned(), error)),
                Err(error) => return Err(error.into()),
            }
        }
        if scope == Scope::All && unlisted.len() == live(rules).count() && !unlisted.is_empty() {
            // It is not about a program.
            return Err(unlisted.swap_remove(0).1.into());
        }
        let is_patient = !unlisted.is_empty() && self.store().flags_failures(self.id()).await? < PATIENCE;
        let mut failing = None;
        for (name, error) in unlisted {
            if is_patient && error.remedy() == Remedy::Again {
                rules.remove(&name);
                failing = Some(error);
                continue;
            }
            let problem = format!("{UNLISTED}{} Campus does not list the program's flags", answer(&error));
            for one in programs.iter_mut().filter(|one| one.program == name) {
                one.problem = Some(problem.clone());
            }
            if let Some((rules, _)) = rules.get_mut(&name) {
                rules.standing = Standing::Failed(problem);
            }
        }
        Ok((all, failing))
    }

    /// What Campus shows of one student. Where it does not know them by an id, what was pushed is looked for by itself.
    pub(crate) async fn students_flags(
        &self,
        rules: &Rules,
        students: &BTreeMap<StudentId, StudentFacts>,
        stored: &[Flag],
    ) -> Result<Actual, SisError> {
        let mut all = Actual::new();
        if live(rules).next().is_none() {
            return Ok(all);
        }
        let known = students.values().filter_map(|facts| facts.sis_id.clone());
        let pushed = stored.iter().filter_map(|flag| flag.pushed.as_ref()).map(|pushed| pushed.sis_id.clone());
        for id in known.chain(pushed).collect::<BTreeSet<_>>() {
            match self.campus.participations(Which::OfStudent(&id)).await {
                Err(error) if refusal(&error).is_some() => {
                    let status = answer(&error);
                    tracing::warn!(district = %self.id(), status, "Campus refuses to list a student's flags");
                }
                flags => keep(&mut all, flags?),
            }
        }
        Ok(all)
    }

    /// Looks for flags that the lists lack, where that would change something: one list's word is not enough for a flag to count as
    /// gone. Adds those that are there; returns those that Campus tells nothing of.
    pub(crate) async fn look_for_missing(
        &self,
        facts: &Facts,
        actual: &mut Actual,
    ) -> Result<BTreeSet<Uuid>, FlagError> {
        let mut missing = self.missing(facts, actual);
        for _ in 0..RELISTS {
            if missing.len() <= ONE_BY_ONE {
                break;
            }
            tracing::warn!(
                district = %self.id(),
                missing = missing.len(),
                "Campus lists many flags no more that it took; the lists are read again"
            );
            for (_, id) in live(&facts.rules) {
                match self.campus.participations(Which::OfProgram(id)).await {
                    Err(error) if is_of_one(&error) => {}
                    listed => keep(actual, listed?),
                }
            }
            missing = self.missing(facts, actual);
        }
        let (mut untold, mut in_a_row) = (BTreeSet::new(), 0);
        for (id, pushed) in missing {
            match self.campus.look_for(&pushed.sis_id, &id.to_string()).await {
                Ok(found) => keep(actual, found.map(|(flag, _)| flag)),
                Err(error) if is_of_one(&error) => {
                    // What is refused is an answer.
                    in_a_row = if refusal(&error).is_some() { 0 } else { in_a_row + 1 };
                    if in_a_row >= AWAY {
                        return Err(error.into());
                    }
                    untold.insert(id);
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
            in_a_row = 0;
        }
        Ok(untold)
    }
}

/// The programs whose flags may be written, with their ids in the SIS.
pub(crate) fn live(rules: &Rules) -> impl Iterator<Item = (&str, &str)> {
    rules.iter().filter_map(|(name, (rules, _))| match &rules.standing {
        Standing::Live { program_sis_id } => Some((name.as_str(), program_sis_id.as_str())),
        _ => None,
    })
}

/// Nothing of the live programs is written of a student whose list Campus fails at, and what was to be is listed with that.
pub(crate) fn fail_students(rules: &mut Rules, error: &SisError) {
    let problem = format!("{UNLISTED}{} Campus does not list the student's flags", answer(error));
    for (rules, _) in rules.values_mut().filter(|(rules, _)| rules.is_live()) {
        rules.standing = Standing::Failed(problem.clone());
    }
}

fn keep(all: &mut Actual, flags: impl IntoIterator<Item = ActualFlag>) {
    all.extend(flags.into_iter().map(|flag| (flag.id.to_ascii_lowercase(), flag)));
}
