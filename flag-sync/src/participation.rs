//! A student's participation in a program: worked out from completed documents alone.
//!
//! Role: [`spans`] joins documents to stretches of time; [`matched`] finds for each stretch the participation that it has
//! been, so that a corrected date changes a flag rather than making another. Pure. Neighbours: [`crate::plan`] feeds it.
//!
//! Invariants: stretches of a student and program neither overlap nor touch; a day is in a stretch exactly if a completed
//! document covers it; a participation's id is never used for another; none is dropped, one that no document speaks for
//! any more is void from that day.
//!
//! Deliberately absent: today. A stretch that lies ahead is a stretch of its own, unless the one before leads up to it
//! without a gap.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use rollcall_proto::id::{DistrictId, StudentId};
use rollcall_store::{document::CompletedDocument, flag::Participation};
use uuid::Uuid;

use crate::desired::day_before;

/// Namespace of every id that is worked out here.
pub(crate) const NAMESPACE: Uuid = Uuid::from_u128(0x6f1d_4a52_93c7_4e0b_8a35_5d2c_71e8_09b4);

/// A stretch of time in a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// First day.
    pub starts_on: NaiveDate,
    /// Last day; none while open.
    pub ends_on: Option<NaiveDate>,
    /// Ids of the documents it is made of, by start.
    pub documents: Vec<String>,
}

/// Where a stretch lies as seen from a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Over.
    Past,
    /// The day is in it.
    Current,
    /// Ahead.
    Future,
}

/// Where a stretch lies as seen from `today`.
pub fn phase(starts_on: NaiveDate, ends_on: Option<NaiveDate>, today: NaiveDate) -> Phase {
    match ends_on {
        _ if today < starts_on => Phase::Future,
        Some(end) if end < today => Phase::Past,
        _ => Phase::Current,
    }
}

/// The stretches that completed documents of one student and program make, by start.
pub fn spans<'a>(documents: impl IntoIterator<Item = &'a CompletedDocument>) -> Vec<Span> {
    let mut sorted: Vec<_> = documents.into_iter().collect();
    sorted.sort_by(|a, b| (a.starts_on, &a.id).cmp(&(b.starts_on, &b.id)));
    let mut spans: Vec<Span> = Vec::new();
    for document in sorted {
        match spans.last_mut().filter(|last| reaches(last.ends_on, document.starts_on)) {
            Some(last) => extend(last, document),
            None => spans.push(alone(document)),
        }
    }
    spans
}

fn alone(document: &CompletedDocument) -> Span {
    Span { starts_on: document.starts_on, ends_on: document.ends_on, documents: vec![document.id.as_str().to_owned()] }
}

fn extend(span: &mut Span, document: &CompletedDocument) {
    span.ends_on = span.ends_on.zip(document.ends_on).map(|(a, b)| a.max(b));
    span.documents.push(document.id.as_str().to_owned());
}

/// Whether what ends on `end` leads up to `start` without a day between.
fn reaches(end: Option<NaiveDate>, start: NaiveDate) -> bool {
    end.and_then(|end| end.succ_opt()).is_none_or(|next| start <= next)
}

/// Whose time, in which program.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    /// Whose district.
    pub district: &'a DistrictId,
    /// Who.
    pub student: &'a StudentId,
    /// Which program.
    pub program: &'a str,
}

/// The participations that the stretches are, those of them that differ from what is stored. `stored` are all of this
/// owner, `begins` says when the flags begin that were pushed, by participation; `today` is the day on which one that nothing
/// speaks for any more becomes void, and on which one that is in force stays the one that is.
pub fn matched(
    owner: Owner<'_>,
    stored: &[Participation],
    begins: &BTreeMap<Uuid, NaiveDate>,
    spans: &[Span],
    today: NaiveDate,
) -> Vec<Participation> {
    let pairs = pair(stored, begins, spans, today);
    let mut taken: BTreeSet<Uuid> = stored.iter().map(|one| one.id).collect();
    let mut changed = Vec::new();
    for (index, span) in spans.iter().enumerate() {
        let before = pairs.get(&index).map(|at| &stored[*at]);
        let id = before.map_or_else(|| new_id(owner, span, &taken), |before| before.id);
        taken.insert(id);
        let now = participation(owner, id, span);
        if before != Some(&now) {
            changed.push(now);
        }
    }
    let kept: BTreeSet<usize> = pairs.values().copied().collect();
    let lost = stored.iter().enumerate().filter(|(at, one)| !kept.contains(at) && one.void_on.is_none());
    changed.extend(lost.map(|(_, one)| Participation { void_on: Some(today), ..one.clone() }));
    changed
}

fn participation(owner: Owner<'_>, id: Uuid, span: &Span) -> Participation {
    Participation {
        id,
        student: owner.student.clone(),
        program: owner.program.to_owned(),
        starts_on: span.starts_on,
        ends_on: span.ends_on,
        void_on: None,
        documents: span.documents.clone(),
    }
}

/// Which stored participation each stretch is: of several the most alike, see [`Likeness`].
fn pair(
    stored: &[Participation],
    begins: &BTreeMap<Uuid, NaiveDate>,
    spans: &[Span],
    today: NaiveDate,
) -> BTreeMap<usize, usize> {
    let until: Vec<_> = stored.iter().map(|one| stood_until(one, begins.get(&one.id).copied())).collect();
    let mut candidates: Vec<_> = (0..spans.len())
        .flat_map(|span| (0..stored.len()).map(move |at| (span, at)))
        .filter_map(|(span, at)| Some((likeness(&stored[at], until[at], &spans[span], today)?, span, at)))
        .collect();
    candidates.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
    let (mut pairs, mut used) = (BTreeMap::new(), BTreeSet::new());
    for (_, span, at) in candidates {
        if !pairs.contains_key(&span) && used.insert(at) {
            pairs.insert(span, at);
        }
    }
    pairs
}

/// How much a stretch is what a participation was; greater is more, and what stands first counts first. What a flag says
/// of today outweighs how many documents say it: an old document that is corrected must not take the flag along that a
/// later one holds, and end it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Likeness {
    /// Both are in force today.
    in_force: bool,
    /// The participation is not void.
    stands: bool,
    /// They have a document in common.
    documents: bool,
    /// The stretch's end. Of the parts of one that was split, the last one keeps the id: the others are over by then, and
    /// perhaps before the cutover, where they get no flag.
    ends: NaiveDate,
    /// The participation's end.
    ended: NaiveDate,
}

/// `None` where nothing speaks for it. `ended`: the last day that the participation stood for.
fn likeness(stored: &Participation, ended: NaiveDate, span: &Span, today: NaiveDate) -> Option<Likeness> {
    let documents = span.documents.iter().any(|id| stored.documents.contains(id));
    let stands = stored.void_on.is_none();
    let ends = span.ends_on.unwrap_or(NaiveDate::MAX);
    let overlap = stored.starts_on <= ended && stored.starts_on <= ends && span.starts_on <= ended;
    let is_in = |start, end| phase(start, end, today) == Phase::Current;
    let in_force = stands && is_in(stored.starts_on, stored.ends_on) && is_in(span.starts_on, span.ends_on);
    (documents || overlap).then_some(Likeness { in_force, stands, documents, ends, ended })
}

/// The last day that a participation stood for. One that is void stands for nothing from that day on, whatever end its
/// documents gave it: what comes later is not what it was, and its flag tells of a time that is over. But for the first day
/// of both: its flag keeps that one, also where it lies ahead, and no other flag is to say it too.
fn stood_until(stored: &Participation, flag_begins: Option<NaiveDate>) -> NaiveDate {
    let end = stored.ends_on.unwrap_or(NaiveDate::MAX);
    let first = flag_begins.unwrap_or(stored.starts_on).max(stored.starts_on);
    stored.void_on.map_or(end, |void| end.min(day_before(void)).max(first))
}

/// The id of a participation that is new: from its owner and first document, so that two workers find the same.
fn new_id(owner: Owner<'_>, span: &Span, taken: &BTreeSet<Uuid>) -> Uuid {
    let Owner { district, student, program } = owner;
    let first = span.documents.first().map_or("", String::as_str);
    let id = |number: u32| {
        let name = format!("participation\0{district}\0{student}\0{program}\0{first}\0{number}");
        Uuid::new_v5(&NAMESPACE, name.as_bytes())
    };
    let mut number = 0;
    while taken.contains(&id(number)) {
        number += 1;
    }
    id(number)
}

#[cfg(test)]
mod tests;
