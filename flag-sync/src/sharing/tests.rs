use proptest::prelude::*;
use rollcall_proto::id::StudentId;

use super::*;

fn day(number: i64) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 8, 1).unwrap() + chrono::TimeDelta::days(number)
}

/// First day, last day.
type Days = (i64, Option<i64>);

fn participation(id: u128, days: Days, void: Option<i64>, documents: &[&str]) -> Participation {
    Participation {
        id: Uuid::from_u128(id),
        student: StudentId("1".to_owned()),
        program: "P".to_owned(),
        starts_on: day(days.0),
        ends_on: days.1.map(day),
        void_on: void.map(day),
        documents: documents.iter().map(ToString::to_string).collect(),
    }
}

fn pushed(days: Days) -> PushedFlag {
    PushedFlag {
        starts_on: day(days.0),
        ends_on: days.1.map(day),
        sis_id: "S".to_owned(),
        program_sis_id: "P".to_owned(),
        link: None,
    }
}

fn dates(days: Days) -> Dates {
    Dates { starts_on: day(days.0), ends_on: days.1.map(day) }
}

const CUTOVER: i64 = 14;

fn of(all: &[(Participation, Option<Days>)]) -> Shares {
    let all: Vec<_> = all.iter().map(|(one, days)| (one, days.map(pushed))).collect();
    shares(&all, day(CUTOVER))
}

/// Of one that is void and of the whole: what they are, what was pushed of them, and what they show.
#[test]
fn two_flags_share_a_stretch() {
    // What one that became void on day 31 was, and what was pushed of it; the same of the one that is the whole.
    type Row = (&'static str, (Days, Option<Days>), (Days, Option<Days>), Option<[Option<Days>; 2]>);
    let table: [Row; 16] = [
        (
            "the gap is filled from before",
            ((15, Some(19)), Some((15, Some(19)))),
            ((15, None), Some((24, None))),
            Some([Some((15, Some(23))), Some((24, None))]),
        ),
        (
            "the gap is filled up to what comes",
            ((61, None), Some((61, None))),
            ((15, None), Some((15, Some(50)))),
            Some([Some((61, None)), Some((15, Some(60)))]),
        ),
        (
            "what was shared already stays",
            ((61, None), Some((61, None))),
            ((15, None), Some((15, Some(60)))),
            Some([Some((61, None)), Some((15, Some(60)))]),
        ),
        (
            "the stretch ends",
            ((61, None), Some((61, None))),
            ((15, Some(70)), Some((15, Some(60)))),
            Some([Some((61, Some(70))), Some((15, Some(60)))]),
        ),
        ("the stretch ends before it", ((61, None), Some((61, None))), ((15, Some(60)), Some((15, Some(60)))), None),
        (
            "it began before the cutover",
            ((0, Some(19)), Some((14, Some(19)))),
            ((0, None), Some((24, None))),
            Some([Some((14, Some(23))), Some((24, None))]),
        ),
        (
            "it begins earlier by now",
            ((20, Some(29)), Some((20, Some(29)))),
            ((15, None), Some((40, None))),
            Some([Some((15, Some(39))), Some((40, None))]),
        ),
        (
            "both show the first day",
            ((15, Some(19)), Some((15, Some(19)))),
            ((15, None), Some((15, None))),
            Some([Some((15, Some(19))), Some((20, None))]),
        ),
        (
            "both show all days",
            ((15, None), Some((15, None))),
            ((15, None), Some((15, None))),
            Some([Some((15, Some(15))), Some((16, None))]),
        ),
        (
            "there is one day for both",
            ((15, Some(15)), Some((15, Some(15)))),
            ((15, Some(15)), Some((15, Some(15)))),
            None,
        ),
        (
            "there are two",
            ((15, Some(16)), Some((15, Some(16)))),
            ((15, Some(16)), Some((15, Some(16)))),
            Some([Some((15, Some(15))), Some((16, Some(16)))]),
        ),
        (
            "the whole has no flag",
            ((20, Some(29)), Some((20, Some(29)))),
            ((15, None), None),
            Some([Some((15, None)), None]),
        ),
        ("the void one has none", ((20, Some(29)), None), ((15, None), Some((15, None))), None),
        ("it is of another time", ((15, Some(19)), Some((15, Some(19)))), ((24, None), Some((24, None))), None),
        ("it reaches in from before", ((15, Some(29)), Some((15, Some(29)))), ((24, None), Some((24, None))), None),
        ("it was over before the cutover", ((0, Some(9)), Some((14, Some(14)))), ((5, None), Some((14, None))), None),
    ];
    for (what, void, whole, expected) in table {
        let all =
            [(participation(1, void.0, Some(31), &["a"]), void.1), (participation(2, whole.0, None, &["b"]), whole.1)];
        let ids = [1, 2].map(Uuid::from_u128);
        let expected = expected.map(|both| ids.into_iter().zip(both.map(|days| days.map(dates))).collect());
        let expected: Shares = expected.unwrap_or_default();
        assert_eq!(of(&all), expected, "{what}");
        let mut turned = all;
        turned.reverse();
        assert_eq!(of(&turned), expected, "{what}: in any order");
    }
}

/// The documents say whose days they are: those of one that was withdrawn stay where they are.
#[test]
fn a_start_that_is_corrected_moves_the_flag_that_shows_it() {
    for (documents, shared) in [(&["a", "c"][..], true), (&["b", "c"][..], false)] {
        let all = [
            (participation(1, (15, Some(19)), Some(31), &["a"]), Some((15, Some(23)))),
            (participation(2, (18, None), None, documents), Some((24, None))),
        ];
        let expected = [(1, (18, Some(23))), (2, (24, None))];
        let expected = expected.map(|(id, days)| (Uuid::from_u128(id), Some(dates(days))));
        assert_eq!(of(&all), if shared { expected.into() } else { Shares::new() });
    }
}

#[test]
fn several_share_and_go_on_when_the_whole_is_void() {
    let flags = [(20, None), (30, Some(35)), (15, Some(19))];
    let all = |whole_void: Option<i64>| {
        [
            (participation(1, (20, Some(25)), Some(31), &["a"]), Some(flags[0])),
            (participation(2, (30, Some(35)), Some(32), &["b"]), Some(flags[1])),
            (participation(3, (15, None), whole_void, &["a", "b", "c"]), Some(flags[2])),
        ]
    };
    let expected = |last: Option<i64>| {
        let days = [(1, (20, Some(29))), (2, (30, last)), (3, (15, Some(19)))];
        Shares::from(days.map(|(id, days)| (Uuid::from_u128(id), Some(dates(days)))))
    };
    assert_eq!(of(&all(None)), expected(None));
    assert_eq!(of(&all(Some(60))), expected(Some(59)), "their time ends as one");
    assert_eq!(of(&all(Some(32))), expected(Some(31)), "also on the day on which it became one");
}

fn any_days() -> impl Strategy<Value = Days> {
    (0_i64..40, proptest::option::of(0_i64..20)).prop_map(|(start, long)| (start, long.map(|long| start + long)))
}

proptest! {
    #[test]
    fn the_parts_are_the_stretch_and_stay(
        whole in any_days(), whole_pushed in proptest::option::of(any_days()),
        void in proptest::collection::vec((any_days(), any_days(), 0_i64..50, any::<bool>()), 1..5),
    ) {
        let clamped = |(start, end): Days| (start.max(CUTOVER), end.map(|end| end.max(start).max(CUTOVER)));
        let mut all = vec![(participation(99, whole, None, &["w", "a"]), whole_pushed.map(clamped))];
        all.extend(void.into_iter().enumerate().map(|(at, (days, pushed, on, same))| {
            let documents = if same { ["a"] } else { ["z"] };
            (participation(at as u128, days, Some(on), &documents), Some(clamped(pushed)))
        }));
        let first = of(&all);
        prop_assume!(first.contains_key(&Uuid::from_u128(99)));
        // Of the whole; others may share among themselves.
        let (start, end) = (day(whole.0.max(CUTOVER)), whole.1.map_or(NaiveDate::MAX, day));
        let stretch = Stretch::of(&all[0].0, day(CUTOVER)).unwrap();
        let is_part = |(one, shown): &&(Participation, Option<Days>)| {
            one.void_on.is_none() || stretch.takes(&(one, shown.map(pushed)), &all[0].0, day(CUTOVER))
        };
        let parts = all.iter().filter(is_part).filter_map(|(one, _)| first[&one.id]);
        let mut parts: Vec<_> = parts.map(|one| (one.starts_on, one.ends_on.unwrap_or(NaiveDate::MAX))).collect();
        parts.sort();
        prop_assert_eq!((parts[0].0, parts[parts.len() - 1].1), (start, end));
        for pair in parts.windows(2) {
            prop_assert_eq!(pair[0].1.succ_opt().unwrap(), pair[1].0);
        }
        let number = |date: NaiveDate| (date - day(0)).num_days();
        for (one, pushed) in &mut all {
            if let Some(Some(dates)) = first.get(&one.id) {
                *pushed = Some((number(dates.starts_on), dates.ends_on.map(number)));
            }
        }
        prop_assert_eq!(of(&all), first, "what was pushed by it stays");
    }
}
