//! Whether the rows that changes make are as many as the source counts: where not, somebody went without a word.
//!
//! Role: compares, for each listing asked by changes, and learns what the source's totals count. Neighbour:
//! [`crate::plan`] asks for everything where it does not add up.
//!
//! Invariants: rows marked as deleted are counted or not, and never either way as it suits: whether they are is told
//! tonight by the filter that admits all, or was learnt on an earlier night; where it is neither, or not as it was,
//! nothing adds up. So a row that went without a word is never made up for by one that is marked.

use std::collections::BTreeMap;

use rollcall_store::run::{Baseline, Discovery, PullScope};

use crate::{
    assemble::oneroster,
    fragment::Kind,
    load::{Looks, Source},
};

/// Listings that may be asked by changes.
const KINDS: [Kind; 2] = [Kind::User, Kind::Demographics];

/// Why the rows of a pull for changes are not those that there are; `None` where they add up, or the source does not count.
pub(crate) fn miscount(source: &Source, discovery: &Discovery, baseline: Option<&Baseline>) -> Option<String> {
    KINDS.into_iter().find_map(|kind| {
        let resource = kind.resource();
        let total = *discovery.totals.get(resource)?;
        let remembered = baseline.and_then(|last| last.counts_deleted.get(resource)).copied();
        let shown = discovery.ever.get(resource).map(|ever| *ever == total);
        miscount_of(resource, oneroster::rows(source, kind), total, shown, remembered)
    })
}

/// `live` rows and `all`, with those marked as deleted, where the source counts `total`, and these among them as it is shown
/// tonight or remembered.
fn miscount_of(
    resource: &str,
    (live, all): (i64, i64),
    total: i64,
    shown: Option<bool>,
    remembered: Option<bool>,
) -> Option<String> {
    let made = match shown.or(remembered) {
        _ if live == all => all,
        Some(shown) if remembered.is_some_and(|remembered| remembered != shown) => {
            return Some(format!("the source counts {resource} marked as deleted in another way than before"));
        }
        Some(true) => all,
        Some(false) => live,
        None => return Some(format!("it is not known whether the source counts {resource} marked as deleted")),
    };
    (total != made).then(|| format!("the source counts {total} {resource}, and changes alone make them {made}"))
}

/// Keeps what this pull tells of the source's totals: by listings of everything, or by changes that add up.
pub(crate) fn learn(counts_deleted: &mut BTreeMap<String, bool>, looks: &Looks, discovery: &Discovery) {
    for kind in KINDS {
        let (live, all) = oneroster::rows(&looks.first, kind);
        let learnt = match &discovery.scope {
            PullScope::Always => None,
            PullScope::Changes(_) => {
                let total = discovery.totals.get(kind.resource());
                total.filter(|total| live < all && [live, all].contains(total)).map(|total| *total == all)
            }
            PullScope::Everything(_) if live < all => Some(true),
            PullScope::Everything(_) => {
                let (told_live, told) = oneroster::rows(&looks.set_aside, kind);
                (told_live < told).then_some(false)
            }
        };
        if let Some(learnt) = learnt {
            counts_deleted.insert(kind.resource().to_owned(), learnt);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_marked_as_deleted_are_counted_or_not_and_never_as_it_suits() {
        // (live, all), total, shown tonight, remembered → what is said
        let cases = [
            ((12, 12), 12, None, None, None),
            ((12, 12), 11, None, None, Some("counts 11 users, and changes alone make them 12")),
            ((12, 12), 12, Some(false), Some(true), None),
            // One is marked, and nobody went without a word.
            ((11, 12), 12, Some(true), None, None),
            ((11, 12), 11, Some(false), None, None),
            ((11, 12), 12, None, Some(true), None),
            ((11, 12), 11, None, Some(false), None),
            // One is marked, and another went without a word.
            ((11, 12), 11, Some(true), None, Some("make them 12")),
            ((11, 12), 11, None, Some(true), Some("make them 12")),
            ((11, 12), 10, Some(false), None, Some("make them 11")),
            ((11, 12), 12, None, Some(false), Some("make them 11")),
            // Nothing to go by.
            ((11, 12), 12, None, None, Some("not known")),
            ((11, 12), 11, None, None, Some("not known")),
            ((11, 12), 12, Some(true), Some(false), Some("another way")),
            ((11, 12), 11, Some(false), Some(true), Some("another way")),
        ];
        for (rows, total, shown, remembered, expected) in cases {
            let said = miscount_of("users", rows, total, shown, remembered);
            let fits = match (&said, expected) {
                (None, None) => true,
                (Some(said), Some(expected)) => said.contains(expected),
                _ => false,
            };
            assert!(fits, "{rows:?} of {total}, {shown:?}, {remembered:?}: {said:?}");
        }
    }
}
