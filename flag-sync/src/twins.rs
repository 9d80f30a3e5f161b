//! A person of the SIS who is several students here, as a child who moved between two connections of one Campus: one flag at a time.
//!
//! Role: before a flag is written, what Campus shows of the same person's flags as other students. Neighbour: [`crate::push`] asks.
//!
//! Invariants: Campus's word counts, not what is known of it here; a flag gets no day, from today on, on which the person has one of the
//! same program as another student, and as many others as it is to have; what makes a flag shorter asks nobody; a flag that is
//! somebody else's in Campus goes to whose it is in any case, if only for days that are over (or its first one, where none is), and
//! keeps nobody from being moved to where it is, so that ids that were swapped come right.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use rollcall_proto::id::StudentId;
use rollcall_store::flag::{Flag, FlagState, PushedFlag};
use uuid::Uuid;

use crate::{
    campus::refusal,
    context::Work,
    diff::{ActualFlag, same},
    error::FlagError,
    push::PATIENCE,
    unit::OLD,
};

/// First and last day; the last is open where there is none.
type Days = (NaiveDate, Option<NaiveDate>);

/// Flags of other students that are, or are to be, the same person's and of the same program; by the flag that is to be written.
#[derive(Debug, Default)]
pub(crate) struct Twins(BTreeMap<Uuid, Vec<Uuid>>);

/// What may be written beside the person's flags as other students.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Clear {
    /// This: all of it, or what others leave of it.
    Of(PushedFlag),
    /// Nothing more than is there.
    Taken(Taken),
}

/// Another student has the flag.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Who.
    pub(crate) by: StudentId,
    /// This one's is there as it was pushed, for fewer days than it is to have.
    pub(crate) is_there: bool,
}

/// What a flag says that is kept back for the one of another student.
pub(crate) fn same_person_as(other: &StudentId) -> String {
    format!("same-person-as {other}")
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
        target: &PushedFlag,
        there: Option<&ActualFlag>,
    ) -> Result<Clear, FlagError> {
        let ids = twins.0.get(&flag.id).filter(|_| !Added::of(target, there, self.today).is_empty());
        let mut others = Vec::new();
        for id in ids.into_iter().flatten() {
            // It may have been written since.
            let Some(other) = self.store().flag(self.id(), *id).await? else { continue };
            let days = self.days_of(&other, &target.sis_id, there.is_none()).await?;
            others.extend(days.map(|days| (other.student, days)));
        }
        Ok(clear(target.clone(), flag.pushed.as_ref(), there, &others, self.today))
    }

    /// On which days another student's flag is, or will be, the person's. `is_new`: it is asked for a flag that is not there.
    async fn days_of(&self, other: &Flag, person: &str, is_new: bool) -> Result<Option<Days>, FlagError> {
        let is_persons = |id: &str| id.eq_ignore_ascii_case(person);
        let stays = other.sis_id.as_deref().is_some_and(is_persons);
        let pushed = other.pushed.as_ref();
        if pushed.is_some_and(|pushed| !is_persons(&pushed.sis_id)) {
            // On its way from somebody else, and before whoever has none yet, unless it does not get there.
            let is_coming = other.due && other.failing.as_ref().is_none_or(|failing| failing.failures < PATIENCE);
            return Ok((stays && is_new && is_coming).then_some((other.starts_on, other.ends_on)));
        }
        if !stays && !is_new {
            return Ok(None);
        }
        let pushed = pushed.map(|pushed| (pushed.starts_on, pushed.ends_on));
        if other.state == FlagState::Accepted {
            // It may be shown as it was before for a while.
            return Ok(pushed);
        }
        match self.campus.look_for_believing(person, &other.id.to_string(), OLD).await {
            Ok(shown) => Ok(shown.filter(|(shown, _)| is_persons(&shown.sis_id)).map(|(shown, _)| days(&shown))),
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

/// Days, from today on, that a write would add to what the person has by this flag.
struct Added {
    /// Before those that are there.
    before: Option<Days>,
    /// After them, or all of them.
    after: Option<Days>,
}

impl Added {
    fn of(target: &PushedFlag, there: Option<&ActualFlag>, today: NaiveDate) -> Self {
        let (from, to) = (target.starts_on.max(today), target.ends_on);
        let Some((starts, ends)) = own(target, there) else {
            return Self { before: None, after: not_empty((from, to)) };
        };
        let before = starts.pred_opt().and_then(|last| not_empty((from, earlier(to, Some(last)))));
        let after = ends.and_then(|last| last.succ_opt()).and_then(|first| not_empty((from.max(first), to)));
        Self { before, after }
    }

    const fn is_empty(&self) -> bool {
        self.before.is_none() && self.after.is_none()
    }
}

/// Days that the person has by this flag: of somebody else's none.
fn own(target: &PushedFlag, there: Option<&ActualFlag>) -> Option<Days> {
    there.filter(|there| there.sis_id.eq_ignore_ascii_case(&target.sis_id)).map(days)
}

/// What of the target may be written beside the flags of others. `pushed`: what Campus took last.
fn clear(
    target: PushedFlag,
    pushed: Option<&PushedFlag>,
    there: Option<&ActualFlag>,
    others: &[(StudentId, Days)],
    today: NaiveDate,
) -> Clear {
    let added = Added::of(&target, there, today);
    let meets = |added: Option<Days>| {
        let first = others.iter().filter_map(|(student, days)| Some((first_common(added?, *days)?, student)));
        first.min()
    };
    let (before, after) = (meets(added.before), meets(added.after));
    let Some((_, by)) = before.or(after) else { return Clear::Of(target) };
    let own = own(&target, there);
    let starts_on =
        own.map_or(target.starts_on, |(starts, _)| if before.is_some() { starts } else { target.starts_on });
    let ends_on = match after {
        None => target.ends_on,
        // No day of those that are over is added, which would be another one each night.
        Some((day, _)) if added.after.is_some_and(|(first, _)| first == day) && own.is_some() => {
            own.and_then(|(_, ends)| ends)
        }
        Some((day, _)) => day.pred_opt(),
    };
    let is_taken_whole = there.is_none() && after.is_some_and(|(day, _)| day <= today.max(target.starts_on));
    let left = PushedFlag { starts_on, ends_on, ..target };
    let has_days = left.ends_on.is_none_or(|end| end >= starts_on);
    let is_somebody_elses = there.is_some() && own.is_none();
    let days_left = (starts_on, left.ends_on);
    let is_there = own == Some(days_left) && pushed.is_some_and(|pushed| same(pushed, &left));
    if is_somebody_elses && !has_days {
        return Clear::Of(PushedFlag { ends_on: Some(starts_on), ..left });
    }
    if is_taken_whole || is_there || !has_days {
        return Clear::Taken(Taken { by: by.clone(), is_there });
    }
    Clear::Of(left)
}

fn not_empty(days: Days) -> Option<Days> {
    Some(days).filter(|(first, last)| last.is_none_or(|last| last >= *first))
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
