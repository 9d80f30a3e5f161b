//! What the listings of OneRoster hold: kinds of people and of values, of which several share a listing.

use rollcall_store::run::{Baseline, Finding};

use super::{Completeness, note_empty, partial};
use crate::{
    assemble::oneroster::{Contents, Facet, Facets},
    fragment::Kind,
};

/// Of so few people what whole pages lack is believed: they may have been the only ones there.
pub(super) const FEW: i64 = 3;

/// Code of the finding of [`thinned`].
pub const THINNED: &str = "listing-thinned";

/// Judges what a pull of OneRoster holds: a kind of people or of values of which there is none, and was some on the last
/// complete pull, is treated as an empty listing is. A kind of values that whole pages lack and others have is unknown of the
/// people on these pages, unless a person accepted it; so is one that nobody has and that was never counted.
pub fn judge_contents(judged: &mut Completeness, contents: &Contents, baseline: Option<&Baseline>) {
    judged.oneroster = true;
    judged.nameless_guardians = contents.nameless > 0;
    let counted = |name: &str| {
        let named = |name: &str| baseline.and_then(|last| last.rows.get(name)).copied();
        named(name).or_else(|| named(name_before(name)?))
    };
    let held_of = |name: &str| counted(name).unwrap_or_default();
    let accepted = |name: &str| {
        let named = |name: &str| baseline.is_some_and(|last| last.accepted_empty.contains(name));
        named(name) || name_before(name).is_some_and(named)
    };
    let listed = |resource: &str| judged.rows.get(resource).copied().unwrap_or_default() > 0;
    let nobodys = contents.counts.iter().filter(|(facet, count)| **count == 0 && facet.is_of_one());
    judged.uncounted = nobodys.map(|(facet, _)| *facet).filter(|facet| counted(facet.name()).is_none()).collect();
    let lacking = contents.lacking.clone().with(judged.uncounted);
    judged.pages_lacking = lacking.without(Facets::that(|facet| accepted(facet.name())));
    let demographics = listed(Kind::Demographics.resource());
    for (facet, count) in &contents.counts {
        let name = facet.name();
        // What a listing that is empty itself, or another facet, says already is not said twice; the measure stays.
        let unsaid = facet.kind() == Kind::Demographics && !demographics;
        if unsaid || facet.rests_on().any(|other| contents.counts.get(&other) == Some(&0)) {
            judged.rows.insert(name.to_owned(), held_of(name));
            continue;
        }
        judged.rows.insert(name.to_owned(), *count);
        let least = if facet.is_rare() { FEW } else { 0 };
        let unproved = judged.unproved && facet.is_essential() && counted(name).is_none();
        let emptied = contents.emptied.contains(*facet) || (*count == 0 && (held_of(name) > least || unproved));
        if !emptied || !facet.is_judged() || accepted(name) {
            continue;
        }
        if !judged.is_torn(*facet) {
            let held = Some(held_of(name)).filter(|_| !unproved);
            note_empty(judged, name.to_owned(), facet.is_essential(), held);
        } else if !facet.is_essential() {
            // Whoever has one may be on a page that could not be had. What is stored stays all the same.
            judged.failed_supporting.insert(name.to_owned());
        }
    }
}

/// What a facet was called in baselines of versions before.
fn name_before(name: &str) -> Option<&'static str> {
    (name == "users.stateId").then_some("users.userIds")
}

/// What a kind of values that whole pages lack comes to, where stored ones of `people` stay because of it.
pub(super) fn thinned(facet: Facet, people: i64, uncounted: bool) -> Finding {
    let name = facet.name();
    let seen = if uncounted {
        "nobody has one, and no complete run before has counted them"
    } else {
        "on whole pages nobody has one, and on others somebody has, as where a field is switched off or on while it is listed"
    };
    let cost = if uncounted {
        ", and until somebody has one or the emptiness is accepted, every run is partial and asks for everything, never for changes \
         alone"
    } else {
        ""
    };
    let message = format!(
        "{name}: {seen}; what {people} people had there stays as it is stored{cost}. If it is meant to be empty: \
         `rollcall runs approve RUN --accept-empty {name}`"
    );
    partial(THINNED, message)
}
