//! What Campus shows of flags, by its lists, and what becomes of one that it refuses or fails at.
//!
//! Role: reads one student's flags, and looks for those that lists lack. Neighbours: [`crate::comparison`] reads programs' lists;
//! [`crate::plan`] compares what comes of it; [`crate::campus`] asks.
//!
//! Invariants: what Campus refuses to list is that student's matter alone; one list's word is not enough for a flag to count as gone.

use std::collections::{BTreeMap, BTreeSet};

use rollcall_http::error::SisError;
use rollcall_proto::id::StudentId;
use rollcall_store::flag::Flag;
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    campus::{Which, is_of_one_student, refusal},
    context::Work,
    desired::{Standing, StudentFacts},
    diff::ActualFlag,
    error::{FlagError, answer},
    plan::{Missing, Rules},
    push::AWAY,
    unit::{OLD, Trying},
};

/// How the problem of a program, or of a student's flags, begins that Campus does not list; a status or a code follows, then a detail.
pub(crate) const UNLISTED: &str = "campus-";

/// What Campus shows, by id in lower case.
pub(crate) type Actual = BTreeMap<String, ActualFlag>;

impl Work {
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
        let known = students.values().filter_map(|facts| facts.sis_id.clone().ok());
        let pushed = stored.iter().filter_map(|flag| flag.pushed.as_ref()).map(|pushed| pushed.sis_id.clone());
        for id in known.chain(pushed).collect::<BTreeSet<_>>() {
            match self.campus.participations(Which::OfStudent(&id)).await {
                Err(error) if refusal(&error).is_some() => {
                    let status = answer(&error);
                    tracing::warn!(district = %self.id(), status, "Campus refuses to list a student's flags");
                }
                flags => keep(&mut all, flags?.rows),
            }
        }
        Ok(all)
    }

    /// Looks for flags that the lists lack: one list's word is not enough for a flag to count as gone. Adds those that are there.
    /// Ends with its time, but not before one student's were looked for, be it over several messages.
    pub(crate) async fn look_for(
        &self,
        missing: Vec<Missing>,
        actual: &mut Actual,
        until: Option<Instant>,
    ) -> Result<Looked, FlagError> {
        let (mut looked, mut in_a_row) = (Looked::default(), 0);
        // The student in hand, and the one before, all of whose flags were looked for.
        let (mut last, mut before): (Option<StudentId>, Option<StudentId>) = (None, None);
        for Missing { student, flag, pushed } in &missing {
            if last.as_ref() != Some(student) {
                if last.is_some() && until.is_some_and(|until| Instant::now() >= until) {
                    return Ok(self.looked(Looked { ended_after: last, ..looked }, &missing));
                }
                before = last.replace(student.clone());
            }
            let id = flag.to_string();
            let looked_for = match self.campus.failed_before(Trying::Looking, &id) {
                Ok(()) => self.campus.look_for_believing(&pushed.sis_id, &id, OLD).await,
                Err(error) => Err(error),
            };
            match looked_for {
                Ok(found) => keep(actual, found.map(|(flag, _)| flag)),
                Err(error) if error.is_out_of_time() && until.is_some() && before.is_some() => {
                    return Ok(self.looked(Looked { ended_after: before, ..looked }, &missing));
                }
                Err(error) if is_of_one_student(&error) => {
                    // In a message that is cut off behind it, this one is not asked for again.
                    self.campus.judge_later(Trying::Looking, &id, &error);
                    // What is refused is an answer.
                    in_a_row = if refusal(&error).is_some() { 0 } else { in_a_row + 1 };
                    if in_a_row >= AWAY {
                        return Err(error.into());
                    }
                    looked.untold.insert(*flag);
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
            in_a_row = 0;
        }
        Ok(self.looked(looked, &missing))
    }

    /// These flags were looked for, and are asked for anew another time.
    fn looked(&self, looked: Looked, missing: &[Missing]) -> Looked {
        let last = looked.ended_after.as_ref();
        for one in missing.iter().filter(|one| last.is_none_or(|last| one.student <= *last)) {
            self.campus.done_with(&one.flag.to_string());
        }
        looked
    }
}

/// What came of looking for flags.
#[derive(Debug, Default)]
pub(crate) struct Looked {
    /// Those that Campus tells nothing of.
    pub(crate) untold: BTreeSet<Uuid>,
    /// Time was up after this student's: others' were not looked for.
    pub(crate) ended_after: Option<StudentId>,
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

/// Adds flags to those that Campus shows.
pub(crate) fn keep(all: &mut Actual, flags: impl IntoIterator<Item = ActualFlag>) {
    all.extend(flags.into_iter().map(|flag| (flag.id.to_ascii_lowercase(), flag)));
}
