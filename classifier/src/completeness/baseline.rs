//! What is kept of a pull for the next one to be judged by.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use rollcall_proto::id::RunId;
use rollcall_store::run::{Baseline, Discovery, PullBase, PullScope};

use super::{
    Completeness,
    grants::{CURRENT_YEAR, is_year_lost},
};
use crate::{assemble::oneroster::Facet, overlay::Kept, untold};

/// Notes what whole pages lacked and was kept. What nobody has and was never counted is not counted as none: the next run
/// would take it for what always was so.
pub fn note_thinned(baseline: &mut Baseline, judged: &Completeness, kept: &Kept) {
    for (facet, people) in kept.counts() {
        baseline.thinned.insert(facet.name().to_owned(), people);
        if judged.uncounted.contains(facet) {
            baseline.rows.remove(facet.name());
        }
    }
}

/// What to keep of a pull for the next one to be judged by. None where nothing was listed.
///
/// An emptiness that nobody accepted is not forgotten: the old count stays, so that the next night says it again and
/// goes on keeping the stored rows; so does a field that no row carries any more. An accepted one stays accepted until its
/// listing holds rows again, or rows the field.
pub fn next_baseline(judged: &Completeness, discovery: &Discovery, last: Option<&Baseline>) -> Option<Baseline> {
    if judged.complete {
        Some(of_complete(judged, discovery, last))
    } else {
        (!judged.rows.is_empty()).then(|| of_torn(judged, discovery, last))
    }
}

fn of_complete(judged: &Completeness, discovery: &Discovery, last: Option<&Baseline>) -> Baseline {
    let mut rows = judged.rows.clone();
    for resource in &judged.empty_supporting {
        let held = last.and_then(|last| last.rows.get(resource)).copied().unwrap_or_default();
        rows.insert(resource.clone(), held);
    }
    let counted = last.into_iter().flat_map(|last| &last.rows);
    for (name, held) in counted.filter(|(name, _)| is_of_lost(name, judged, discovery)) {
        rows.entry(name.clone()).or_insert(*held);
    }
    let accepted = last.map(|last| last.accepted_empty.clone()).unwrap_or_default();
    let year = untold::field_name(CURRENT_YEAR.0, CURRENT_YEAR.1);
    let still_empty = |name: &String| {
        if *name == year {
            return is_year_lost(&judged.lost_before) || judged.accepted_untold.contains(name);
        }
        if untold::is_field(name) {
            return !tells_field(name, judged, discovery);
        }
        judged.rows.get(name).copied().unwrap_or_default() == 0
    };
    let accepted_empty = accepted.into_iter().filter(still_empty).collect();
    let counts_deleted = last.map(|last| last.counts_deleted.clone()).unwrap_or_default();
    let mut granted = discovery.granted.clone();
    for (resource, fields) in &judged.untold {
        granted.entry(resource.clone()).or_default().extend(fields.iter().cloned());
    }
    Baseline {
        rows,
        granted,
        lost: judged.lost_before.clone(),
        accepted_empty,
        counts_deleted,
        carried: judged.empty_supporting.clone(),
        current_years: current_years(judged, last),
        ..Baseline::default()
    }
}

/// Those of before, where this pull's tables do not tell any.
fn current_years(judged: &Completeness, last: Option<&Baseline>) -> BTreeMap<String, i32> {
    let before = || last.map(|last| last.current_years.clone()).unwrap_or_default();
    Some(&judged.current_years).filter(|told| !told.is_empty()).cloned().unwrap_or_else(before)
}

/// Of a pull that is not complete: what listings held that were whole by themselves, and what was granted of them, or carried by no
/// row any more. All else stays as it was.
fn of_torn(judged: &Completeness, discovery: &Discovery, last: Option<&Baseline>) -> Baseline {
    let mut next = last.cloned().unwrap_or_else(Baseline::of_none_complete);
    next.never_complete = !last.is_some_and(Baseline::is_of_complete);
    next.carried = next.rows.keys().cloned().collect();
    next.current_years = current_years(judged, last);
    for (name, rows) in &judged.rows {
        if *rows > 0 || is_known_empty(name, judged, last) {
            // Of what was not pulled whole there may be more.
            let before = next.rows.get(name).copied().filter(|_| is_torn(name, judged)).unwrap_or_default();
            next.rows.insert(name.clone(), before.max(*rows));
            next.carried.remove(name);
        }
    }
    for (resource, fields) in &discovery.granted {
        // Of a listing without a row nothing is stored that could be lost.
        if !judged.torn.contains(resource) || holds_rows(resource, judged) {
            let granted = next.granted.entry(resource.clone()).or_default();
            granted.extend(fields.iter().filter(|field| !granted.contains(field)).cloned().collect::<Vec<_>>());
        }
        if let (true, Some(lost)) = (holds_rows(resource, judged), next.lost.get_mut(resource)) {
            lost.retain(|field| !fields.contains(field));
        }
    }
    for (resource, fields) in &judged.untold {
        next.lost.entry(resource.clone()).or_default().extend(fields.iter().cloned());
    }
    next.lost.retain(|_, fields| !fields.is_empty());
    next.accepted_empty.retain(|name| !untold::is_field(name) || !tells_field(name, judged, discovery));
    next
}

fn holds_rows(resource: &str, judged: &Completeness) -> bool {
    judged.rows.get(resource).is_some_and(|rows| *rows > 0)
}

/// Whether some row of the pull carried a field, by its name.
fn tells_field(name: &str, judged: &Completeness, discovery: &Discovery) -> bool {
    let Some((resource, field)) = name.split_once('.') else { return false };
    let granted = discovery.granted.get(resource).is_some_and(|fields| fields.iter().any(|own| own == field));
    granted && holds_rows(resource, judged) && !judged.accepted_untold.contains(name)
}

fn is_torn(name: &str, judged: &Completeness) -> bool {
    judged.torn.contains(facet_of(name).map_or(name, |facet| facet.kind().resource()))
}

fn facet_of(name: &str) -> Option<Facet> {
    Facet::all().find(|facet| facet.name() == name)
}

/// Whether no rows mean that there are none: of a whole listing, always so or accepted. A kind of values that was never counted
/// stays so.
fn is_known_empty(name: &str, judged: &Completeness, last: Option<&Baseline>) -> bool {
    let told = judged.empty_essential.contains(name) || judged.empty_supporting.contains(name);
    let uncounted = facet_of(name).is_some() && !last.is_some_and(|last| last.rows.contains_key(name));
    !is_torn(name, judged) && !told && !uncounted
}

/// Counts what is not granted any more, and so was not asked for. Its old count stays: once it is granted again, an emptiness is
/// told by it.
fn is_of_lost(name: &str, judged: &Completeness, discovery: &Discovery) -> bool {
    let mut lost = judged.lost_before.keys().filter(|resource| !discovery.granted.contains_key(*resource));
    lost.any(|resource| {
        name.strip_prefix(resource.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(" ("))
    })
}

/// What the next pull may ask for changes over, where this one was complete: its own rows.
pub fn next_base(run: RunId, as_of: NaiveDate, discovery: &Discovery) -> Option<PullBase> {
    let (full_on, before) = match &discovery.scope {
        PullScope::Always => return None,
        PullScope::Everything(_) => (as_of, None),
        PullScope::Changes(changes) => (changes.full_on, changes.over_at),
    };
    Some(PullBase { run, full_on, before, snapshot: discovery.snapshot.clone()? })
}
