use proptest::prelude::*;

use rollcall_store::flag::PushedFlag;

use super::*;
use crate::{
    desired::{self, ProgramRules, Standing, StudentFacts, Wish, wish_of},
    sharing::shares,
};

fn day(number: i64) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 1, 1).unwrap() + chrono::TimeDelta::days(number)
}

fn document(id: &str, starts: i64, ends: Option<i64>) -> CompletedDocument {
    CompletedDocument {
        id: id.parse().unwrap(),
        student: StudentId("1".to_owned()),
        program: "P".to_owned(),
        starts_on: day(starts),
        ends_on: ends.map(day),
    }
}

fn dates(spans: &[Span]) -> Vec<(NaiveDate, Option<NaiveDate>)> {
    spans.iter().map(|span| (span.starts_on, span.ends_on)).collect()
}

#[test]
fn documents_make_stretches() {
    type Row = (&'static str, Vec<(i64, Option<i64>)>, Vec<(i64, Option<i64>)>);
    let table: [Row; 10] = [
        ("none", vec![], vec![]),
        ("one, open", vec![(0, None)], vec![(0, None)]),
        ("one, ended", vec![(0, Some(9))], vec![(0, Some(9))]),
        ("the next day follows without a gap", vec![(0, Some(9)), (10, Some(19))], vec![(0, Some(19))]),
        ("a day between is a gap", vec![(0, Some(9)), (11, Some(19))], vec![(0, Some(9)), (11, Some(19))]),
        ("overlapping", vec![(0, Some(9)), (5, Some(19))], vec![(0, Some(19))]),
        ("one within another", vec![(0, Some(19)), (5, Some(9))], vec![(0, Some(19))]),
        ("nothing comes after an open one", vec![(0, None), (50, Some(60))], vec![(0, None)]),
        ("a chain that ends open", vec![(10, None), (0, Some(9))], vec![(0, None)]),
        ("one day", vec![(3, Some(3))], vec![(3, Some(3))]),
    ];
    for (what, documents, expected) in table {
        let named = documents.iter().enumerate();
        let documents: Vec<_> = named.map(|(at, (start, end))| document(&at.to_string(), *start, *end)).collect();
        let expected: Vec<_> = expected.into_iter().map(|(start, end)| (day(start), end.map(day))).collect();
        assert_eq!(dates(&spans(&documents)), expected, "{what}");
    }
}

#[test]
fn phases_include_both_ends() {
    let table = [(4, Phase::Future), (5, Phase::Current), (9, Phase::Current), (10, Phase::Past)];
    for (today, expected) in table {
        assert_eq!(phase(day(5), Some(day(9)), day(today)), expected, "{today}");
    }
    assert_eq!(phase(day(5), None, day(5_000)), Phase::Current);
}

struct House {
    district: DistrictId,
    student: StudentId,
    stored: Vec<Participation>,
    /// When flags begin that were pushed.
    begins: BTreeMap<Uuid, NaiveDate>,
}

impl House {
    fn new() -> Self {
        Self {
            district: "d".parse().unwrap(),
            student: StudentId("1".to_owned()),
            stored: Vec::new(),
            begins: BTreeMap::new(),
        }
    }

    /// What the documents of a day make of what is stored; how many differ.
    fn see(&mut self, documents: &[CompletedDocument], today: i64) -> usize {
        let owner = Owner { district: &self.district, student: &self.student, program: "P" };
        let changed = matched(owner, &self.stored, &self.begins, &spans(documents), day(today));
        let count = changed.len();
        for one in changed {
            self.stored.retain(|old| old.id != one.id);
            self.stored.push(one);
        }
        count
    }

    fn live(&self) -> Vec<&Participation> {
        let mut live: Vec<_> = self.stored.iter().filter(|one| one.void_on.is_none()).collect();
        live.sort_by_key(|one| one.starts_on);
        live
    }
}

#[test]
fn a_corrected_start_stays_the_same_participation() {
    let mut house = House::new();
    house.see(&[document("a", 100, Some(200))], 110);
    let id = house.stored[0].id;
    assert_eq!(house.see(&[document("a", 90, Some(200))], 111), 1);
    assert_eq!((house.stored.len(), house.live()[0].id, house.live()[0].starts_on), (1, id, day(90)));
    // Even a year off, told by the document.
    house.see(&[document("a", 465, Some(565))], 112);
    assert_eq!((house.stored.len(), house.live()[0].id), (1, id));
    // And another document over the same days.
    house.see(&[document("b", 460, Some(560))], 113);
    assert_eq!((house.stored.len(), house.live()[0].id), (1, id));
}

/// With another document, it is the days that tell.
#[test]
fn without_a_document_in_common_a_day_in_common_makes_it_the_same() {
    type Days = (i64, Option<i64>);
    let table: [(Days, Days, bool); 8] = [
        ((0, Some(9)), (9, Some(19)), true),
        ((0, Some(9)), (10, Some(19)), false),
        ((10, Some(19)), (0, Some(10)), true),
        ((10, Some(19)), (0, Some(9)), false),
        ((0, None), (500, None), true),
        ((500, None), (0, None), true),
        ((500, None), (0, Some(499)), false),
        ((0, Some(499)), (500, None), false),
    ];
    for (before, after, same) in table {
        let mut house = House::new();
        house.see(&[document("a", before.0, before.1)], 5);
        let id = house.stored[0].id;
        house.see(&[document("b", after.0, after.1)], 6);
        assert_eq!(house.live()[0].id == id, same, "{before:?} {after:?}");
        assert_eq!(house.stored.len(), if same { 1 } else { 2 }, "{before:?} {after:?}: the other is void");
    }
}

#[test]
fn a_withdrawn_one_is_void_and_comes_back_as_itself() {
    let mut house = House::new();
    house.see(&[document("a", 0, None)], 5);
    let id = house.stored[0].id;
    house.see(&[], 7);
    assert_eq!(house.stored[0].void_on, Some(day(7)));
    assert_eq!(house.see(&[], 8), 0, "void once");
    house.see(&[document("b", 3, None)], 9);
    assert_eq!((house.live()[0].id, house.stored.len()), (id, 1));
}

#[test]
fn a_filled_gap_keeps_the_one_that_ends_last() {
    let mut house = House::new();
    let ends = [document("a", 0, Some(9)), document("c", 20, None)];
    house.see(&ends, 25);
    let later = house.live()[1].id;
    house.see(&[ends[0].clone(), document("b", 10, Some(19)), ends[1].clone()], 26);
    assert_eq!((house.live().len(), house.live()[0].id, house.live()[0].starts_on), (1, later, day(0)));
    assert_eq!(house.stored.len(), 2);
}

#[test]
fn a_split_one_gives_its_id_to_one_part_only() {
    let mut house = House::new();
    house.see(&[document("a", 0, Some(9)), document("b", 10, Some(19))], 5);
    let first = house.stored[0].id;
    house.see(&[document("a", 0, Some(5)), document("b", 10, Some(19))], 6);
    let live = house.live();
    assert_eq!((live.len(), live[1].id), (2, first), "to the one that ends last");
    assert_ne!(live[0].id, live[1].id);
}

/// Of the parts of one that was split, the one that is in force is the one that was; with none in force, the last.
#[test]
fn a_split_one_is_the_part_that_is_in_force() {
    type Days = (i64, Option<i64>);
    // One part, the other, and today; which of the two is what the whole was.
    let table: [(Days, Days, i64, usize); 8] = [
        ((0, Some(5)), (10, Some(19)), 12, 1),
        ((0, Some(5)), (10, None), 12, 1),
        ((0, Some(5)), (10, Some(19)), 10, 1),
        ((0, Some(5)), (10, Some(19)), 19, 1),
        ((0, Some(5)), (10, Some(19)), 5, 0),
        ((0, Some(5)), (10, None), 3, 0),
        ((0, Some(5)), (10, Some(19)), 7, 1),
        ((0, Some(5)), (10, Some(19)), 30, 1),
    ];
    for (first, second, today, expected) in table {
        // However many documents say the one, and whatever their ids.
        for names in [["a", "b", "c"], ["c", "b", "a"]] {
            let mut house = House::new();
            let second = document(names[2], second.0, second.1);
            house.see(&[document(names[0], 0, Some(8)), document(names[1], 4, Some(9)), second.clone()], today);
            let (count, id) = (house.live().len(), house.live()[0].id);
            assert_eq!(count, 1);
            house.see(&[document(names[0], 0, first.1), document(names[1], 4, first.1), second.clone()], today);
            let ids: Vec<Uuid> = house.live().iter().map(|one| one.id).collect();
            let [part, other] = [expected, 1 - expected].map(|at| ids[at]);
            assert!(part == id && other != id, "{first:?} {:?} on {today}: {ids:?}", second.ends_on);
        }
    }
}

/// Today both are in force, so that it is the same whichever documents say it.
#[test]
fn the_one_in_force_stays_itself_when_documents_change_places() {
    let mut house = House::new();
    house.see(&[document("a", 0, Some(9)), document("b", 20, None)], 5);
    let ids: Vec<Uuid> = house.live().iter().map(|one| one.id).collect();
    house.see(&[document("b", 0, Some(9)), document("a", 20, None)], 6);
    assert_eq!(house.live().iter().map(|one| one.id).collect::<Vec<_>>(), ids);
}

/// What is void stands for the days before, not for an end that its documents never came to.
#[test]
fn a_void_one_is_nothing_of_a_later_time() {
    for (starts, same) in [(3, true), (6, true), (7, false), (8, false), (400, false)] {
        let mut house = House::new();
        house.see(&[document("a", 0, None)], 5);
        let id = house.stored[0].id;
        house.see(&[], 7);
        house.see(&[document("b", starts, None)], 9);
        let live = house.live();
        assert_eq!((live.len(), live[0].id == id), (1, same), "from {starts}");
    }
    // Its own document is its own, whenever.
    let mut house = House::new();
    house.see(&[document("a", 0, None)], 5);
    house.see(&[], 7);
    house.see(&[document("a", 400, None)], 9);
    assert_eq!(house.stored.len(), 1);
}

/// The part that is new begins with the document that the id was made from.
#[test]
fn the_id_of_one_that_was_split_is_not_made_again() {
    let mut house = House::new();
    let rest = [document("b", 10, Some(19)), document("c", 20, Some(29))];
    house.see(&[&[document("a", 0, Some(9))], rest.as_slice()].concat(), 5);
    let id = house.stored[0].id;
    house.see(&[&[document("a", 0, Some(5))], rest.as_slice()].concat(), 6);
    let live = house.live();
    assert_eq!((live.len(), live[1].id), (2, id), "most of its documents are the second part's");
    assert_ne!(live[0].id, id);
}

/// What the SIS shows of a house, pushed day by day.
struct Flags {
    cutover: NaiveDate,
    pushed: BTreeMap<Uuid, PushedFlag>,
    /// Those that ever showed a part of a stretch.
    shared: BTreeSet<Uuid>,
}

impl Flags {
    fn since(cutover: i64) -> Self {
        Self { cutover: day(cutover), pushed: BTreeMap::new(), shared: BTreeSet::new() }
    }

    /// Pushes what is wished on a day from the cutover on.
    fn push(&mut self, house: &mut House, today: i64, attending: bool) {
        let live = Standing::Live { program_sis_id: "P".to_owned() };
        let standing = if day(today) < self.cutover { Standing::NotYet } else { live };
        let rules = ProgramRules { cutover: self.cutover, standing };
        let facts = StudentFacts { attending, sis_id: Ok("S".to_owned()) };
        let members: Vec<_> = house.stored.iter().map(|one| (one, self.pushed.get(&one.id).cloned())).collect();
        let shares = shares(&members, self.cutover);
        self.shared.extend(shares.keys());
        for (one, pushed) in members {
            let own = || desired::dates(one, self.cutover, pushed.is_some());
            let dates = shares.get(&one.id).copied().unwrap_or_else(own);
            if let Wish::Shown(flag) = wish_of(dates, &rules, Some(&facts), pushed.as_ref()) {
                self.pushed.insert(one.id, flag);
            }
        }
        house.begins = self.pushed.iter().map(|(id, flag)| (*id, flag.starts_on)).collect();
    }

    /// The days that flags show, by start.
    fn days(&self) -> Vec<(NaiveDate, Option<NaiveDate>)> {
        let mut days: Vec<_> = self.pushed.values().map(|flag| (flag.starts_on, flag.ends_on)).collect();
        days.sort();
        days
    }
}

/// A completed document of the year before is corrected after the cutover: the flag is this year's, whether the student
/// is still here or not.
#[test]
fn a_corrected_old_document_leaves_the_flag_alone() {
    let old = |ends| document("a", 0, Some(ends));
    let now = document("c", 304, Some(545));
    for (attending, cutover) in [(true, 304), (false, 304), (true, 310), (false, 310)] {
        let (mut house, mut flags) = (House::new(), Flags::since(cutover));
        house.see(&[old(303), now.clone()], 320);
        flags.push(&mut house, 320, true);
        let shown = vec![(day(cutover), Some(day(545)))];
        assert_eq!(flags.days(), shown);
        house.see(&[old(287), now.clone()], 330);
        flags.push(&mut house, 330, attending);
        assert_eq!(flags.days(), shown, "attending: {attending}");
    }
}

/// The flag of a time that is over may have been reported to the state.
#[test]
fn the_flag_of_a_withdrawn_document_is_not_moved_to_another_year() {
    let (mut house, mut flags) = (House::new(), Flags::since(0));
    house.see(&[document("a", 0, None)], 1);
    flags.push(&mut house, 1, true);
    house.see(&[], 150);
    flags.push(&mut house, 150, true);
    house.see(&[document("b", 540, None)], 500);
    flags.push(&mut house, 500, true);
    assert_eq!(flags.days(), [(day(0), Some(day(149))), (day(540), None)]);
}

/// Withdrawn, and made again with other contents, before the day on which it begins, on that day, and on the cutover.
#[test]
fn a_document_that_replaces_a_withdrawn_one_has_its_flag() {
    // The day on which it begins, the cutover, and the day on which it is withdrawn.
    for (starts, cutover, withdrawn) in [(60, 0, 20), (20, 0, 20), (19, 0, 20), (5, 20, 20), (5, 20, 21), (40, 30, 35)]
    {
        let (mut house, mut flags) = (House::new(), Flags::since(cutover));
        house.see(&[document("b", starts, None)], withdrawn);
        flags.push(&mut house, withdrawn, true);
        house.see(&[], withdrawn);
        flags.push(&mut house, withdrawn, true);
        let first = starts.max(cutover);
        assert_eq!(flags.days(), [(day(first), Some(day(first.max(withdrawn - 1))))]);
        house.see(&[document("b2", first, None)], withdrawn);
        flags.push(&mut house, withdrawn, true);
        assert_eq!(flags.days(), [(day(first), None)], "from {starts}, cutover {cutover}, withdrawn on {withdrawn}");
    }
}

/// A correction fills the gap between two stretches that both have a flag: each shows a part.
#[test]
fn two_flags_whose_stretches_are_one_by_now_share_its_days() {
    let c = |starts| document("c", starts, None);
    for (first, filled, starts, today, expected) in [
        ((15, 19), 23, 24, 31, [(15, Some(23)), (24, None)]),
        ((15, 50), 60, 61, 31, [(15, Some(60)), (61, None)]),
        ((15, 50), 70, 61, 31, [(15, Some(60)), (61, None)]),
        ((15, 19), 23, 24, 22, [(15, Some(23)), (24, None)]),
    ] {
        let (mut house, mut flags) = (House::new(), Flags::since(10));
        let a = |ends| document("a", first.0, Some(ends));
        house.see(&[a(first.1), c(starts)], today);
        flags.push(&mut house, today, true);
        let before: Vec<_> = flags.pushed.keys().copied().collect();
        house.see(&[a(filled), c(starts)], today);
        let expected: Vec<_> = expected.into_iter().map(|(start, end)| (day(start), end.map(day))).collect();
        for later in 0..3 {
            flags.push(&mut house, today + later, later == 0);
            assert_eq!(flags.days(), expected, "{filled} on {today}");
        }
        assert_eq!(flags.pushed.keys().copied().collect::<Vec<_>>(), before, "each keeps its id");
        // And it falls in two again.
        house.see(&[a(first.1), c(starts)], today + 3);
        flags.push(&mut house, today + 3, true);
        assert_eq!(flags.days(), [(day(first.0), Some(day(first.1))), (day(starts), None)]);
    }
}

fn any_documents() -> impl Strategy<Value = Vec<CompletedDocument>> {
    let one = (0_u8..12, 0_i64..80, proptest::option::of(0_i64..30));
    proptest::collection::vec(one, 0..8).prop_map(|all| {
        let unique: BTreeMap<u8, _> = all.into_iter().map(|(id, start, long)| (id, (start, long))).collect();
        let made = unique.into_iter();
        made.map(|(id, (start, long))| document(&id.to_string(), start, long.map(|long| start + long))).collect()
    })
}

proptest! {
    #[test]
    fn a_day_is_in_a_stretch_exactly_if_a_document_covers_it(documents in any_documents()) {
        let spans = spans(&documents);
        let within = |start: NaiveDate, end: Option<NaiveDate>, at: NaiveDate| phase(start, end, at) == Phase::Current;
        for at in (-2..120).map(day) {
            let covered = documents.iter().any(|one| within(one.starts_on, one.ends_on, at));
            let spanned = spans.iter().filter(|span| within(span.starts_on, span.ends_on, at)).count();
            prop_assert_eq!(usize::from(covered), spanned);
        }
        for pair in spans.windows(2) {
            let end = pair[0].ends_on.unwrap();
            prop_assert!(end.succ_opt().unwrap() < pair[1].starts_on, "they neither overlap nor touch");
        }
        prop_assert_eq!(spans.iter().map(|span| span.documents.len()).sum::<usize>(), documents.len());
    }

    #[test]
    fn stretches_do_not_depend_on_the_order_of_documents(documents in any_documents(), seed in any::<u64>()) {
        let mut shuffled = documents.clone();
        let turn = seed as usize % shuffled.len().max(1);
        shuffled.rotate_left(turn);
        shuffled.reverse();
        prop_assert_eq!(spans(&documents), spans(&shuffled));
    }

    #[test]
    fn what_is_stored_always_tells_the_documents_of_today(days in proptest::collection::vec(any_documents(), 1..6)) {
        let mut house = House::new();
        for (today, documents) in days.iter().enumerate() {
            let ids: BTreeSet<Uuid> = house.stored.iter().map(|one| one.id).collect();
            house.see(documents, today as i64);
            let live: Vec<_> = house.live().iter().map(|one| (one.starts_on, one.ends_on)).collect();
            prop_assert_eq!(live, dates(&spans(documents)));
            let now: BTreeSet<Uuid> = house.stored.iter().map(|one| one.id).collect();
            prop_assert!(ids.is_subset(&now), "none is dropped");
            prop_assert_eq!(now.len(), house.stored.len());
            prop_assert_eq!(house.see(documents, today as i64), 0, "the same again changes nothing");
        }
    }
    #[test]
    fn what_is_in_force_stays_itself(days in proptest::collection::vec((any_documents(), 0_i64..20), 1..8)) {
        let (mut house, mut today) = (House::new(), 0);
        for (documents, later) in days {
            today += later;
            let before = house.stored.clone();
            house.see(&documents, today);
            let in_force = |one: &&Participation| phase(one.starts_on, one.ends_on, day(today)) == Phase::Current;
            let stands = |one: &&Participation| one.void_on.is_none();
            let was = before.iter().filter(stands).find(in_force);
            if let (Some(was), Some(is)) = (was, house.live().into_iter().find(in_force)) {
                prop_assert_eq!(was.id, is.id);
            }
            // What is new and says a document of one that went on elsewhere is over before that one is.
            let end = |one: &Participation| one.ends_on.unwrap_or(NaiveDate::MAX);
            let news = house.live().into_iter().filter(|new| before.iter().all(|old| old.id != new.id));
            for new in news {
                let shared = before.iter().filter(stands).filter(|old| old.documents.iter().any(|id| new.documents.contains(id)));
                for went in shared.filter_map(|old| house.live().into_iter().find(|one| one.id == old.id)) {
                    prop_assert!(in_force(&went) || end(new) < end(went), "{:?} went on as {:?}", new, went);
                }
            }
        }
    }

    #[test]
    fn flags_show_what_is_in_force_through_every_correction(
        days in proptest::collection::vec((any_documents(), 0_i64..20, any::<bool>()), 1..8),
        cutover in 0_i64..40,
    ) {
        let (mut house, mut flags, mut today) = (House::new(), Flags::since(cutover), 0);
        for (documents, later, attending) in days {
            today += later;
            let in_force = |starts, ends| phase(starts, ends, day(today)) == Phase::Current;
            let was_shown = house.live().into_iter().find(|one| in_force(one.starts_on, one.ends_on));
            let was_shown = was_shown.is_some_and(|one| flags.pushed.contains_key(&one.id));
            let before = flags.pushed.clone();
            let voided: Vec<Uuid> = house.stored.iter().filter(|one| one.void_on.is_some()).map(|one| one.id).collect();
            house.see(&documents, today);
            flags.push(&mut house, today, attending);
            let current = house.live().into_iter().find(|one| in_force(one.starts_on, one.ends_on));
            if let Some(current) = current.filter(|_| today >= cutover && (attending || was_shown)) {
                let shown = flags.pushed.values().find(|flag| in_force(flag.starts_on, flag.ends_on));
                prop_assert!(shown.is_some(), "ended while it is in force: {:?} {:?}", current, flags.pushed);
            }
            // No two that stand say the same day. Of one that was corrected to before the cutover a day is left.
            let reaches = |one: &&Participation| one.ends_on.is_none_or(|end| end >= day(cutover));
            let standing: Vec<_> = house.live().into_iter().filter(reaches).collect();
            let shown: Vec<_> = standing.iter().filter_map(|one| flags.pushed.get(&one.id)).collect();
            for pair in shown.windows(2) {
                prop_assert!(pair[0].ends_on.is_some_and(|end| end < pair[1].starts_on), "{:?}", pair);
            }
            // Nor do any two that were pushed, where one of them is what is in the program and the other begins within that. A
            // stretch of fewer days than flags is no stretch that they could share.
            for whole in &standing {
                let (starts, ends) = (whole.starts_on.max(day(cutover)), whole.ends_on.unwrap_or(NaiveDate::MAX));
                let is_of_it = |one: &&Participation| one.void_on.is_some() && one.ends_on.is_none_or(|end| end >= day(cutover));
                let others = house.stored.iter().filter(is_of_it).filter_map(|one| flags.pushed.get(&one.id));
                let within = others.filter(|flag| (starts..=ends).contains(&flag.starts_on));
                let mut shown: Vec<_> = within.chain(flags.pushed.get(&whole.id)).collect();
                shown.sort_by_key(|flag| (flag.starts_on, flag.ends_on));
                let has_room = (ends - starts).num_days() >= shown.len() as i64;
                for pair in shown.windows(2).filter(|_| has_room && today >= cutover) {
                    prop_assert!(pair[0].ends_on.is_some_and(|end| end < pair[1].starts_on), "{:?} {:?}", whole, shown);
                }
            }
            // The flag of a void one stays where it is, until documents say its days again.
            let is_live = |id: &Uuid| house.live().iter().any(|one| one.id == *id);
            for id in voided.into_iter().filter(|id| !is_live(id) && !flags.shared.contains(id)) {
                prop_assert_eq!(flags.pushed.get(&id), before.get(&id));
            }
        }
    }
}
