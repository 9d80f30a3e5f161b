//! A stretch of time that several flags of one student and program show: which of them shows what part of it.
//!
//! Where documents fill the gap between two stretches, one participation is the whole from then on and the other is void,
//! and both have a flag. None is ever deleted, so that they share the stretch: each shows it from where it begins to the day
//! before the next one does.
//!
//! Role: [`shares`]. Pure. Neighbours: [`crate::participation`] says which participation the whole is, [`crate::plan`] asks
//! for the dates before it asks [`crate::desired`] for the wish.
//!
//! Invariants: the parts of a stretch are the stretch, and no day is in two of them; it goes by what was pushed, so that what
//! has been pushed by it stays as it is; a flag that does not share is nobody's business here.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use rollcall_store::flag::{Participation, PushedFlag};
use uuid::Uuid;

use crate::desired::{Dates, day_before};

/// By participation: what its flag shows in place of the participation's own dates. None: others' flags, which are there, show
/// all of it, so that none is made.
pub type Shares = BTreeMap<Uuid, Option<Dates>>;

/// A participation, and what the SIS took last of its flag.
pub type Member<'a> = (&'a Participation, Option<PushedFlag>);

/// Decides for the participations of one student and program. `cutover`: the first day on which our flags rule.
pub fn shares(all: &[Member<'_>], cutover: NaiveDate) -> Shares {
    let mut shares = Shares::new();
    if all.len() < 2 {
        return shares;
    }
    let mut wholes: Vec<_> = all.iter().filter_map(|one| Some((one, Stretch::of(one.0, cutover)?))).collect();
    // One that is void goes on sharing with those that were void before it.
    wholes.sort_by_key(|((one, _), stretch)| {
        (
            std::cmp::Reverse(one.void_on.unwrap_or(NaiveDate::MAX)),
            std::cmp::Reverse(stretch.ends),
            stretch.starts,
            one.id,
        )
    });
    let places: BTreeMap<Uuid, usize> = wholes.iter().enumerate().map(|(at, (one, _))| (one.0.id, at)).collect();
    let (mut taken, mut before) = (BTreeSet::new(), Vec::new());
    for (place, (whole, stretch)) in wholes.iter().enumerate() {
        // One whose time another one's reaches into is over, and a part of nothing: its flag stays where it is.
        if taken.contains(&whole.0.id) || before.iter().any(|other| stretch.overlaps(*other)) {
            continue;
        }
        before.push(*stretch);
        let is_later = |id: &Uuid| places.get(id).is_none_or(|at| *at > place);
        let free = all.iter().filter(|one| !taken.contains(&one.0.id) && is_later(&one.0.id));
        let parts: Vec<_> = free.filter(|one| stretch.takes(one, whole.0, cutover)).collect();
        let dates = if parts.is_empty() { None } else { stretch.shared(whole, &parts) };
        let Some(dates) = dates else { continue };
        taken.extend(dates.keys().copied());
        // Nothing of it is left to show, and nothing is made for that.
        shares.entry(whole.0.id).or_insert(None);
        shares.extend(dates.into_iter().map(|(id, dates)| (id, Some(dates))));
    }
    shares
}

/// The days of a participation that flags may show.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    starts: NaiveDate,
    /// The last day there is, while open.
    ends: NaiveDate,
}

impl Stretch {
    /// `None`: there are none.
    fn of(one: &Participation, cutover: NaiveDate) -> Option<Self> {
        let (starts, end) = (one.starts_on.max(cutover), one.ends_on.unwrap_or(NaiveDate::MAX));
        let ends = one.void_on.map_or(end, |void| end.min(day_before(void)));
        (starts <= ends).then_some(Self { starts, ends })
    }

    fn overlaps(self, other: Self) -> bool {
        self.starts <= other.ends && other.starts <= self.ends
    }

    /// Whether the flag of one that is void shows a part of this: it begins in it, or would by itself, or the documents of both are
    /// the same in part, and so are the days. What was over before the cutover keeps a day, and shows no part of anything.
    fn takes(self, (one, pushed): &Member<'_>, whole: &Participation, cutover: NaiveDate) -> bool {
        let Some(pushed) = pushed else { return false };
        if one.void_on.is_none() || one.ends_on.is_some_and(|end| end < cutover) {
            return false;
        }
        let is_within = |day: NaiveDate| self.starts <= day && day <= self.ends;
        let reaches_in = pushed.starts_on <= self.ends && pushed.ends_on.is_none_or(|end| end >= self.starts);
        is_within(pushed.starts_on)
            || is_within(one.starts_on.max(cutover))
            || (reaches_in && one.documents.iter().any(|id| whole.documents.contains(id)))
    }

    /// The parts. `None`: it has fewer days than flags.
    fn shared(self, (whole, pushed): &Member<'_>, parts: &[&Member<'_>]) -> Option<BTreeMap<Uuid, Dates>> {
        let within = |day: NaiveDate| if day <= self.ends { day.max(self.starts) } else { self.starts };
        let of =
            |id: Uuid, is_whole: bool, pushed: &PushedFlag| (within(pushed.starts_on), is_whole, id, pushed.ends_on);
        let void = parts.iter().filter_map(|(one, pushed)| Some(of(one.id, false, pushed.as_ref()?)));
        let mut all: Vec<_> = void.chain(pushed.as_ref().map(|pushed| of(whole.id, true, pushed))).collect();
        all.sort_unstable();
        let (mut dates, mut starts) = (BTreeMap::new(), Some(self.starts));
        for (at, (_, _, id, shown_until)) in all.iter().enumerate() {
            let starts_on = starts.filter(|start| *start <= self.ends)?;
            let ends = match all.get(at + 1) {
                None => self.ends,
                Some((next, ..)) if *next > starts_on => day_before(*next),
                // Both begin on one day: the first goes on as far as it was shown, where that leaves room.
                Some(_) => shown_until.filter(|end| (starts_on..self.ends).contains(end)).unwrap_or(starts_on),
            };
            let ends_on = (ends < NaiveDate::MAX).then_some(ends);
            dates.insert(*id, Dates { starts_on, ends_on });
            starts = ends.succ_opt();
        }
        Some(dates)
    }
}

#[cfg(test)]
mod tests;
