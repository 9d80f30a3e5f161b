//! Kinds of people and of values, of which several share a listing of OneRoster.

use rollcall_classifier::{
    assemble::oneroster::{Contents, Facet},
    completeness::{Completeness, judge_contents},
};
use rollcall_store::run::Baseline;

/// What is held, or was, by name.
type Counts = &'static [(&'static str, i64)];

struct Case {
    what: &'static str,
    demographics: i64,
    held: Counts,
    before: Counts,
    accepted: Option<&'static str>,
    unproved: bool,
    /// Beginnings of what is said.
    said: &'static [&'static str],
    /// What nobody has, and nobody ever counted.
    uncounted: &'static [&'static str],
}

const NOTHING: Case = Case {
    what: "nothing",
    demographics: 8,
    held: &[],
    before: &[],
    accepted: None,
    unproved: false,
    said: &[],
    uncounted: &[],
};

const CASES: [Case; 8] = [
    Case {
        what: "a first night",
        held: &[("users/students", 8), ("users.email", 0), ("users/students.sms", 8)],
        ..NOTHING
    },
    Case {
        what: "never counted, and nobody has one",
        held: &[("users.sms", 8), ("users/students.sms", 0)],
        uncounted: &["users/students.sms"],
        ..NOTHING
    },
    Case {
        what: "an empty listing says it for what is in it",
        demographics: 0,
        held: &[("demographics.birthDate", 0)],
        before: &[("demographics.birthDate", 8)],
        ..NOTHING
    },
    Case {
        what: "and for nothing else",
        demographics: 0,
        held: &[("users.grades", 0)],
        before: &[("users.grades", 8)],
        said: &["users.grades: empty, and held 8 rows before; "],
        ..NOTHING
    },
    Case {
        what: "what statuses rest on, where nothing tells that it ever was empty",
        held: &[("users/students", 0), ("users.email", 0)],
        unproved: true,
        said: &["users/students: empty, though students are stored"],
        ..NOTHING
    },
    Case { what: "it may be so where nobody is stored", held: &[("users/students", 0)], ..NOTHING },
    Case {
        what: "a name of versions before",
        held: &[("users.stateId", 0)],
        before: &[("users.userIds", 8)],
        said: &["users.stateId: empty, and held 8 rows before; "],
        ..NOTHING
    },
    Case {
        what: "accepted by that name",
        held: &[("users.stateId", 0)],
        before: &[("users.userIds", 8)],
        accepted: Some("users.userIds"),
        ..NOTHING
    },
];

#[test]
fn what_nobody_has_is_judged_by_what_was_counted() {
    let facet = |name: &str| Facet::all().find(|facet| facet.name() == name).expect("a facet");
    let named = |counts: Counts| counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
    for case in CASES {
        for nameless in [0, 1] {
            let counts = case.held.iter().map(|(name, count)| (facet(name), *count)).collect();
            let contents = Contents { counts, nameless, ..Contents::default() };
            let accepted_empty = case.accepted.into_iter().map(str::to_owned).collect();
            let last = Baseline { rows: named(case.before), accepted_empty, ..Baseline::default() };
            let rows = [("demographics".to_owned(), case.demographics)].into();
            let mut judged = Completeness { complete: true, unproved: case.unproved, rows, ..Completeness::default() };
            judge_contents(&mut judged, &contents, Some(&last));
            let said: Vec<&str> = judged.findings.iter().map(|finding| finding.message.as_str()).collect();
            assert_eq!(said.len(), case.said.len(), "{}: {said:?}", case.what);
            assert!(said.iter().zip(case.said).all(|(said, start)| said.starts_with(start)), "{}: {said:?}", case.what);
            assert_eq!(judged.uncounted.iter().map(Facet::name).collect::<Vec<_>>(), case.uncounted, "{}", case.what);
            assert_eq!(judged.nameless_guardians, nameless > 0);
            if case.demographics == 0 {
                let held = judged.rows.get("demographics.birthDate").copied().unwrap_or(8);
                assert_eq!(held, 8, "the measure stays");
            }
        }
    }
}

/// Whoever has one may be on a page that could not be had: what is stored stays, and nobody is asked to believe that there is none.
#[test]
fn what_nobody_has_is_not_called_empty_where_its_listing_has_a_defect() {
    let facet = |name: &str| Facet::all().find(|facet| facet.name() == name).expect("a facet");
    // What is not whole, what is counted, whether it may be called empty.
    let cases = [
        ("users", "users.grades", false),
        ("users", "users/students", false),
        ("users", "users/staff", false),
        ("users", "demographics.sex", true),
        ("demographics", "demographics.sex", false),
        ("demographics", "users.grades", true),
        ("orgs", "users.grades", true),
    ];
    for (torn, name, is_said) in cases {
        let contents = Contents { counts: [(facet(name), 0)].into(), ..Contents::default() };
        let last = Baseline { rows: [(name.to_owned(), 8)].into(), ..Baseline::default() };
        let rows = [("users".to_owned(), 8), ("demographics".to_owned(), 8)].into();
        let mut judged = Completeness { rows, torn: [torn.to_owned()].into(), ..Completeness::default() };
        judge_contents(&mut judged, &contents, Some(&last));
        let said: Vec<&str> = judged.findings.iter().map(|finding| finding.code.as_str()).collect();
        assert_eq!(said, if is_said { vec!["listing-empty"] } else { Vec::new() }, "{torn}: {name}");
        let keeps = name != "users/students";
        assert_eq!((judged.keeps_stored_rows(name), judged.tells_of_staff()), (keeps, false), "{torn}: {name}");
    }
}
