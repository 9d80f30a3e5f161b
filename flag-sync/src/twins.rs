//! A person of the SIS who is several students here, as a child who moved between two connections of one Campus: one flag at a time.
//!
//! Role: before a flag is written, what Campus shows of the same person's flags as other students. Neighbour: [`crate::push`] asks.
//!
//! Invariants: Campus's word counts, not what is known of it here; no flag is made, moved or extended into days, from today on, on which
//! the person has one of the same program as another student; what makes a flag shorter always goes; a flag that is to be somebody
//! else's keeps nobody from being moved, so that ids that were swapped in the SIS come right.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use rollcall_proto::id::StudentId;
use rollcall_store::flag::{Flag, FlagState, PushedFlag};
use uuid::Uuid;

use crate::{campus::refusal, context::Work, diff::ActualFlag, error::FlagError};

/// First and last day; the last is open where there is none.
type Days = (NaiveDate, Option<NaiveDate>);

/// Another student with the same id in the SIS has the flag; who, follows.
const SAME_PERSON: &str = "same-person-as ";

/// Flags of other students that are, or are to be, the same person's and of the same program; by the flag that is to be written.
#[derive(Debug, Default)]
pub(crate) struct Twins(BTreeMap<Uuid, Vec<Uuid>>);

/// What may be written beside the person's flags as other students.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Clear {
    /// This: all of it, or what comes before another student's flag begins.
    Of(PushedFlag),
    /// Nothing: this student has the flag.
    Taken(StudentId),
}

/// What a flag says that is kept back for the one of another student.
pub(crate) fn same_person_as(other: &StudentId) -> String {
    format!("{SAME_PERSON}{other}")
}

/// The flag was kept back for one that the person has as another student, when it was last to be sent.
pub(crate) fn is_taken(flag: &Flag) -> bool {
    flag.state == FlagState::Failed && flag.reason.as_deref().is_some_and(|reason| reason.starts_with(SAME_PERSON))
}

impl Work {
    /// Whom these flags' people are besides.
    pub(crate) async fn twins(&self, flags: &[Flag]) -> Result<Twins, FlagError> {
        let ids: Vec<String> = flags.iter().filter_map(|flag| flag.sis_id.clone()).collect();
        let found = self.store().flags_of_persons(self.id(), &ids).await?;
        let mut by_person: BTreeMap<String, Vec<&Flag>> = BTreeMap::new();
        for one in &found {
            let pushed = one.pushed.as_ref().map(|pushed| &pushed.sis_id);
            let mut keys: Vec<_> = one.sis_id.iter().chain(pushed).map(|id| id.to_ascii_lowercase()).collect();
            keys.dedup();
            for key in keys {
                by_person.entry(key).or_default().push(one);
            }
        }
        let of = |flag: &Flag| -> Vec<Uuid> {
            let same = flag.sis_id.as_ref().and_then(|id| by_person.get(&id.to_ascii_lowercase()));
            let others = same.into_iter().flatten();
            let others = others.filter(|other| other.student != flag.student && other.program == flag.program);
            others.map(|other| other.id).collect()
        };
        let twins = flags.iter().map(|flag| (flag.id, of(flag))).filter(|(_, others)| !others.is_empty());
        Ok(Twins(twins.collect()))
    }

    /// What may be written of a flag. `there`: the flag as Campus has it.
    pub(crate) async fn clear_of(
        &self,
        twins: &Twins,
        flag: &Flag,
        target: PushedFlag,
        there: Option<&ActualFlag>,
    ) -> Result<Clear, FlagError> {
        let mut others = Vec::new();
        for id in twins.0.get(&flag.id).into_iter().flatten() {
            // It may have been written since.
            let Some(other) = self.store().flag(self.id(), *id).await? else { continue };
            let days = self.days_of(&other, &target.sis_id, there.is_none()).await?;
            others.extend(days.map(|days| (other.student, days)));
        }
        Ok(clear(target, there, &others, self.today))
    }

    /// On which days another student's flag is, or will be, the person's. `is_new`: it is asked for a flag that is not there.
    async fn days_of(&self, other: &Flag, person: &str, is_new: bool) -> Result<Option<Days>, FlagError> {
        let is_persons = |id: &str| id.eq_ignore_ascii_case(person);
        let stays = other.sis_id.as_deref().is_some_and(is_persons);
        let pushed = other.pushed.as_ref();
        if pushed.is_some_and(|pushed| !is_persons(&pushed.sis_id)) {
            // On its way from somebody else, and before whoever has none yet.
            let comes = stays && is_new && other.due;
            return Ok(comes.then_some((other.starts_on, other.ends_on)));
        }
        if !stays && !is_new {
            return Ok(None);
        }
        let pushed = pushed.map(|pushed| (pushed.starts_on, pushed.ends_on));
        match self.campus.look_for(person, &other.id.to_string()).await {
            Ok(Some((shown, _))) => Ok(is_persons(&shown.sis_id).then(|| days(&shown))),
            // It may show what it took only after a while.
            Ok(None) => Ok(pushed.filter(|_| other.state == FlagState::Accepted)),
            Err(error) if refusal(&error).is_some() => Ok(pushed),
            Err(error) => Err(error.into()),
        }
    }
}

/// Days that cannot be read may be any.
fn days(shown: &ActualFlag) -> Days {
    match shown.starts_on {
        Some(starts_on) if !shown.is_undated => (starts_on, shown.ends_on),
        _ => (NaiveDate::MIN, None),
    }
}

/// What of the target may be written beside the flags of others.
fn clear(target: PushedFlag, there: Option<&ActualFlag>, others: &[(StudentId, Days)], today: NaiveDate) -> Clear {
    let (from, to) = (target.starts_on.max(today), target.ends_on);
    // Of somebody else's flag no day was this person's before.
    let there = there.filter(|there| there.sis_id.eq_ignore_ascii_case(&target.sis_id)).map(days);
    let added = added((from, to), there);
    let meets = |days: &Days| added.iter().filter_map(|added| first_common(*added, *days)).min();
    let first = others.iter().filter_map(|(student, days)| Some((meets(days)?, student))).min();
    match first {
        None => Clear::Of(target),
        // It is there already for some days, or would be for none.
        Some((day, other)) if there.is_some() || day <= from => Clear::Taken(other.clone()),
        Some((day, _)) => Clear::Of(PushedFlag { ends_on: day.pred_opt(), ..target }),
    }
}

/// Which of the days are not there yet.
fn added(wanted: Days, there: Option<Days>) -> Vec<Days> {
    let Some((starts, ends)) = there else { return not_empty(wanted).collect() };
    let before = starts.pred_opt().map(|last| (wanted.0, Some(earlier(wanted.1, Some(last)).unwrap_or(last))));
    let after = ends.and_then(|ends| ends.succ_opt()).map(|first| (wanted.0.max(first), wanted.1));
    before.into_iter().chain(after).flat_map(not_empty).collect()
}

fn not_empty(days: Days) -> impl Iterator<Item = Days> {
    Some(days).filter(|(first, last)| last.is_none_or(|last| last >= *first)).into_iter()
}

/// The first day that both have.
fn first_common(a: Days, b: Days) -> Option<NaiveDate> {
    let first = a.0.max(b.0);
    earlier(a.1, b.1).is_none_or(|last| last >= first).then_some(first)
}

/// The earlier of two last days; none is open.
fn earlier(a: Option<NaiveDate>, b: Option<NaiveDate>) -> Option<NaiveDate> {
    a.into_iter().chain(b).min()
}

#[cfg(test)]
mod tests;
