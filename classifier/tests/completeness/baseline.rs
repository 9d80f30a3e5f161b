//! What is kept of a pull for the next one to be judged by.

use rollcall_classifier::completeness::{Completeness, next_baseline};
use rollcall_store::run::{Baseline, Discovery};

use crate::CODES;

#[test]
fn what_a_torn_night_counted_is_kept_where_it_tells() {
    const GRADES: &str = "users.grades";
    // (listing or kind of values, rows, listing with a defect, count before) → count after
    let cases = [
        (GRADES, 3, Some("users"), Some(8), Some(8)),
        (GRADES, 3, None, Some(8), Some(3)),
        (GRADES, 0, Some("users"), Some(8), Some(8)),
        (GRADES, 0, None, Some(8), Some(0)),
        // Never counted, and still not.
        (GRADES, 0, None, None, None),
        (CODES, 0, None, Some(8), Some(0)),
        (CODES, 0, None, None, Some(0)),
        (CODES, 0, Some(CODES), None, None),
    ];
    for (name, rows, torn, before, after) in cases {
        let judged = Completeness {
            rows: [(name.to_owned(), rows)].into(),
            torn: torn.into_iter().map(str::to_owned).collect(),
            ..Completeness::default()
        };
        let rows = before.map(|before| (name.to_owned(), before)).into_iter().collect();
        let last = Baseline { rows, ..Baseline::default() };
        let kept = next_baseline(&judged, &Discovery::default(), Some(&last)).unwrap();
        assert_eq!(kept.rows.get(name), after.as_ref(), "{name}, {torn:?}, {before:?}");
    }
}

#[test]
fn a_field_is_accepted_as_empty_until_a_row_carries_it() {
    const NAMES: &str = "Demographics/Name";
    const FIELD: &str = "Demographics/Name.BirthDate";
    // (fields granted, rows, whether none of them carries it) → whether it stays accepted
    let cases = [
        (&["BirthDate"][..], 5, false, false),
        (&["BirthDate"], 5, true, true),
        (&["BirthDate"], 0, false, true),
        (&["Gender"], 5, false, true),
        (&["Gender"], 0, false, true),
    ];
    for ((granted, rows, untold, stays), complete) in cases.into_iter().flat_map(|case| [(case, true), (case, false)]) {
        let judged = Completeness {
            complete,
            rows: [(NAMES.to_owned(), rows)].into(),
            accepted_untold: untold.then(|| FIELD.to_owned()).into_iter().collect(),
            ..Completeness::default()
        };
        let granted = granted.iter().map(ToString::to_string).collect();
        let discovery = Discovery { granted: [(NAMES.to_owned(), granted)].into(), ..Discovery::default() };
        let last = Baseline { accepted_empty: [FIELD.to_owned()].into(), ..Baseline::default() };
        let kept = next_baseline(&judged, &discovery, Some(&last)).unwrap();
        assert_eq!(kept.accepted_empty.contains(FIELD), stays, "{discovery:?}, {rows}, {untold}, {complete}");
    }
}
