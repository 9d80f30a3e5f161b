//! What is not granted any more.

use std::collections::{BTreeMap, BTreeSet};

use rollcall_store::run::Baseline;

use super::{Completeness, PullFacts, WHOLE_RESOURCE, partial};
use crate::untold;

/// What was granted on the last complete pull and is not now. Stored values stay; who may be taken out does not rest
/// on it (a field the status rests on fails the run before this).
pub(super) fn judge_grants(judged: &mut Completeness, facts: &PullFacts<'_>) {
    let (Some(baseline), Some(discovery)) = (facts.baseline, facts.discovery) else { return };
    judged.lost_before = lost_before(baseline, &discovery.granted);
    for (resource, before) in &baseline.granted {
        let lost = match discovery.granted.get(resource) {
            None => vec![WHOLE_RESOURCE.to_owned()],
            Some(now) => before.iter().filter(|field| !now.contains(field)).cloned().collect(),
        };
        if !lost.is_empty() {
            judged.lost_grants.insert(resource.clone(), lost);
        }
    }
    let (year_of, year) = CURRENT_YEAR;
    let year_lost = is_year_lost(&judged.lost_before);
    let accepted = baseline.accepted_empty.contains(&untold::field_name(year_of, year));
    if accepted && !year_lost {
        // It is granted again: what was accepted is over.
        judged.rows.insert(untold::field_name(year_of, year), 1);
    }
    let tears = year_lost && !accepted;
    for (resource, lost) in judged.lost_grants.iter().filter(|(resource, _)| !tears || *resource != year_of) {
        judged.findings.push(partial(GRANT_LOST, grant_message(resource, lost)));
    }
    if tears {
        judged.tear();
        let lost = judged.lost_grants.get(year_of);
        judged.findings.push(partial(GRANT_LOST, current_year_message(lost.map_or(&[year.to_owned()], Vec::as_slice))));
    }
}

/// Code of the finding for what is not granted any more.
pub const GRANT_LOST: &str = "grant-lost";

pub(super) fn is_year_lost(lost_before: &BTreeMap<String, BTreeSet<String>>) -> bool {
    let (year_of, year) = CURRENT_YEAR;
    lost_before.get(year_of).is_some_and(|lost| lost.contains(year))
}

/// Which year is an entity's current one. Statuses of an access that never had it granted go by one year for all; where it was
/// told and is not any more, that would take people out of entities whose year has not moved on, unless a person accepts it.
pub const CURRENT_YEAR: (&str, &str) = ("District/Entity", "SchoolYearIDCurrent");

/// What was granted on the last complete pull, or lost by then, and is not granted now.
fn lost_before(baseline: &Baseline, granted: &BTreeMap<String, Vec<String>>) -> BTreeMap<String, BTreeSet<String>> {
    let mut before = baseline.lost.clone();
    for (resource, fields) in &baseline.granted {
        before.entry(resource.clone()).or_default().extend(fields.iter().cloned());
    }
    for (resource, fields) in granted {
        if let Some(lost) = before.get_mut(resource) {
            lost.retain(|field| !fields.contains(field));
        }
    }
    before.retain(|_, lost| !lost.is_empty());
    before
}

fn grant_message(resource: &str, lost: &[String]) -> String {
    format!(
        "{resource}: no longer granted: {}; stored values stay. Grant it again in the SIS's API security, \
         and see `rollcall district test`",
        lost_names(lost)
    )
}

fn lost_names(lost: &[String]) -> String {
    if lost.iter().any(|field| field == WHOLE_RESOURCE) { "the whole object".to_owned() } else { lost.join(", ") }
}

/// One finding for all that its resource lost: that nobody is taken out is the news.
fn current_year_message(lost: &[String]) -> String {
    let (resource, field) = CURRENT_YEAR;
    format!(
        "{resource}: no longer granted: {}; without {field} entities are judged by one current year, and nobody is taken out. \
         Grant it again in the SIS's API security, and see `rollcall district test`; if they are to be judged so from now on: \
         `rollcall runs approve RUN --accept-empty {}`",
        lost_names(lost),
        untold::field_name(resource, field)
    )
}
