//! Taking over flags that are there already: which are ended, and how, once.
//!
//! Role: [`survey`] counts what a take-over would do and warns; [`ending`] decides about one flag of an approved one.
//! Pure. Neighbours: [`crate::plan`] asks the SIS, [`crate::takeover`] does it.
//!
//! Invariants: only flags that are not ours, began before the cutover and are open on it are ever ended, and only those
//! fixed at approval; one that was ended or moved meanwhile is left as it is, and one of which it is not clear whether it was
//! moved waits; nothing is extended or opened again.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Days, NaiveDate, Utc};
use rollcall_proto::id::StudentId;
use rollcall_store::flag::CutoverFlag;

use crate::{desired::day_before, diff::ActualFlag, people::Nameless};

/// Warning that Campus lists fewer rows than it says there are.
pub(crate) const SHORT_LIST: &str = "short-list";

/// Above this share of flags that end without a new one, a person is warned.
const HIGH_SHARE_PERCENT: usize = 20;

/// Below this number of students with documents from before, for a hundred flags that end, nobody has loaded what was there.
const LOADED_PERCENT: usize = 50;

/// Up to this share is few: of flags whose students the roster knows, or of students whose ids are to move.
const FEW_PERCENT: usize = 10;

/// What a take-over would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// The flags to end.
    pub to_end: Vec<CutoverFlag>,
    /// Of these, how many are of students who get no new flag.
    pub without_new: usize,
    /// What a person should look at before approving.
    pub warnings: Vec<String>,
}

/// What is known of a district beside its flags.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'a> {
    /// Students by the SIS's ids, in lower case.
    pub roster: &'a BTreeMap<String, StudentId>,
    /// Those who are to have a new flag, and whose id in the SIS is not known.
    pub(crate) nameless: &'a Nameless,
    /// How many rows the SIS says the program's list has, and did not give.
    pub lacking: usize,
    /// How many students who attend have ids of OneRoster 1.1 that are to move to 1.2; of how many.
    pub(crate) to_move: (usize, usize),
    /// First day on which our flags rule.
    pub cutover: NaiveDate,
    /// When the district was first applied.
    pub here_since: DateTime<Utc>,
    /// Students with a completed document of the program that began before that.
    pub loaded_students: usize,
    /// The district's today.
    pub today: NaiveDate,
}

/// Looks over a program's flags, as far as it was listed. `ours`: ids of our own, `continuing`: the SIS's ids of students who get a new flag;
/// both in lower case.
pub fn survey(
    actual: &[ActualFlag],
    ours: &BTreeSet<String>,
    continuing: &BTreeSet<String>,
    about: Circumstances<'_>,
) -> Survey {
    let foreign = || actual.iter().filter(|flag| !ours.contains(&flag.id.to_ascii_lowercase()));
    let undated = foreign().filter(|flag| flag.is_undated).count();
    let to_end: Vec<CutoverFlag> = foreign()
        .filter(|flag| is_open_on(flag, about.cutover))
        .map(|flag| {
            let id = flag.sis_id.to_ascii_lowercase();
            let nameless = about.nameless.by_sis_id.get(&id);
            CutoverFlag {
                flag: flag.id.clone(),
                sis_id: flag.sis_id.clone(),
                program_sis_id: Some(flag.program_sis_id.clone()),
                student: about.roster.get(&id).or(nameless).cloned(),
                // Who is to have a new one keeps the old one until that is there, whatever stands in its way.
                goes_on: continuing.contains(&id) || nameless.is_some(),
                done_at: None,
                outcome: None,
                failing: None,
            }
        })
        .collect();
    let without_new = to_end.iter().filter(|flag| !flag.goes_on).count();
    let mut warnings: Vec<_> = unready(&to_end, about).into_iter().collect();
    warnings.extend(may_be_of_the_nameless(&to_end, about));
    warnings.extend(self::warnings(to_end.len(), without_new, about));
    if about.lacking > 0 {
        warnings.push(format!(
            "{SHORT_LIST}: Campus lists {} rows fewer than it says there are, however often it is asked; flags among these are not in \
             the plan and would stay open. Have the district see why, then look at the plan again",
            about.lacking
        ));
    }
    if undated > 0 {
        warnings
            .push(format!("undated: {undated} flags have a day that is not written YYYY-MM-DD; they stay as they are"));
    }
    Survey { to_end, without_new, warnings }
}

/// Began before the day and is open on it.
fn is_open_on(flag: &ActualFlag, cutover: NaiveDate) -> bool {
    !flag.is_undated
        && flag.starts_on.is_some_and(|start| start < cutover)
        && flag.ends_on.is_none_or(|end| end >= cutover)
}

/// Why nobody can tell whose flags these are, so that nothing may be approved yet: the roster is to know their students first.
fn unready(to_end: &[CutoverFlag], about: Circumstances<'_>) -> Option<String> {
    let (to_move, attending) = about.to_move;
    if to_move * 100 > attending * FEW_PERCENT {
        return Some(format!(
            "flag-roster-to-move {to_move} of {attending} students have ids of OneRoster 1.1, which no flag in Campus has: \
             have the run that moves them to 1.2 approved first"
        ));
    }
    let students: BTreeMap<_, _> =
        to_end.iter().map(|flag| (flag.sis_id.to_ascii_lowercase(), flag.student.is_some())).collect();
    let (all, known) = (students.len(), students.values().filter(|is_known| **is_known).count());
    (known * 100 < all * FEW_PERCENT).then(|| {
        format!(
            "flag-students-unknown the roster knows {known} of the {all} students whose flags would end: have them come in \
             first, over a connection to this Campus; flags of students who are gone are ended by hand in Campus"
        )
    })
}

/// Flags that stay open for now: of students who are to have a new one and cannot be named to the SIS, or of students whom the roster
/// does not know, who may be these.
fn may_be_of_the_nameless(to_end: &[CutoverFlag], about: Circumstances<'_>) -> Option<String> {
    let nameless = about.nameless;
    let is_one = |flag: &&CutoverFlag| match &flag.student {
        Some(student) => nameless.students.contains(student),
        None => !nameless.students.is_empty(),
    };
    let (students, flags) = (nameless.students.len(), to_end.iter().filter(is_one).count());
    (flags > 0).then(|| {
        format!(
            "no-sis-id: {students} students with an open participation have no id in Campus (`flags list` names them); {flags} \
             flags that may be theirs stay open until they have one and their new flag is there, or the participation ends"
        )
    })
}

fn warnings(to_end: usize, without_new: usize, about: Circumstances<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    if without_new * 100 > to_end * HIGH_SHARE_PERCENT {
        warnings.push(format!(
            "high-share: {without_new} of {to_end} flags end without a new one; are all documents of this program here?"
        ));
    }
    let here = about.here_since.date_naive();
    let is_young = here.checked_add_days(Days::new(365)).is_some_and(|year| about.today < year);
    let loaded = about.loaded_students;
    if is_young && (loaded == 0 || loaded * 100 < to_end * LOADED_PERCENT) {
        warnings.push(format!(
            "no-initial-load: the district has been here for less than a year, and completed documents of this program that \
             began before it came are of {loaded} students only, where {to_end} flags end"
        ));
    }
    warnings
}

/// What is to be done about a flag of an approved take-over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It is to end on this day.
    On(NaiveDate),
    /// Nothing is left to do: why.
    Done(&'static str),
    /// The student's new flag is not in the SIS yet.
    Waits,
    /// The SIS shows it of a student or a program of which nobody can tell whether it is what was approved.
    Unclear,
}

/// Whether the SIS shows a flag of the student and of the program that it was approved of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Still {
    /// It does.
    Same,
    /// It may: ids change where the SIS makes people or programs anew.
    Unclear,
    /// It does not: staff gave it to another.
    Another,
}

/// What a flag was when its ending was approved, and what is known by now.
#[derive(Debug, Clone, Copy)]
pub struct Approved<'a> {
    /// First day on which our flags rule.
    pub cutover: NaiveDate,
    /// The flag.
    pub flag: &'a CutoverFlag,
    /// The SIS's ids of the programs of that name by now, in lower case: it may have been made anew meanwhile, or have got
    /// another name.
    pub programs: &'a BTreeSet<String>,
    /// Students by the SIS's ids by now, in lower case.
    pub roster: &'a BTreeMap<String, StudentId>,
}

impl Approved<'_> {
    fn still(&self, actual: &ActualFlag) -> Still {
        self.student(actual).max(self.program(actual))
    }

    fn student(&self, actual: &ActualFlag) -> Still {
        if actual.sis_id.eq_ignore_ascii_case(&self.flag.sis_id) {
            return Still::Same;
        }
        match (&self.flag.student, self.roster.get(&actual.sis_id.to_ascii_lowercase())) {
            (Some(then), Some(now)) if then == now => Still::Same,
            (Some(_), Some(_)) => Still::Another,
            // It may be the same under an id that the roster is still to learn.
            _ => Still::Unclear,
        }
    }

    fn program(&self, actual: &ActualFlag) -> Still {
        let shown = actual.program_sis_id.to_ascii_lowercase();
        let then = self.flag.program_sis_id.as_ref().map(|id| id.to_ascii_lowercase());
        if self.programs.contains(&shown) || then.as_ref() == Some(&shown) {
            return Still::Same;
        }
        // While the program has its name, a flag that is of another one was given to it.
        if then.is_some_and(|then| self.programs.contains(&then)) { Still::Another } else { Still::Unclear }
    }
}

/// Decides about one flag. `actual`: as the SIS shows it now; `new_is_missing`: its student gets a new flag that is not
/// read back yet.
pub fn ending(actual: Option<&ActualFlag>, approved: Approved<'_>, new_is_missing: bool) -> Ending {
    let Some(flag) = actual else { return Ending::Done("gone") };
    let (still, last) = (approved.still(flag), day_before(approved.cutover));
    if still == Still::Another {
        return Ending::Done("moved");
    }
    if flag.is_undated {
        return Ending::Unclear;
    }
    if flag.ends_on.is_some_and(|end| end <= last) {
        return Ending::Done("ended");
    }
    if flag.starts_on.is_none_or(|start| start > last) {
        return Ending::Done("moved");
    }
    match still {
        Still::Same if !new_is_missing => Ending::On(last),
        Still::Same => Ending::Waits,
        _ => Ending::Unclear,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diff::ShownLink;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn flag(id: &str, starts: &str, ends: Option<&str>) -> ActualFlag {
        ActualFlag {
            id: id.to_owned(),
            sis_id: format!("GUID-{id}"),
            program_sis_id: "P".to_owned(),
            starts_on: Some(day(starts)),
            ends_on: ends.map(day),
            is_undated: false,
            link: ShownLink::Nothing,
        }
    }

    static ROSTER: BTreeMap<String, StudentId> = BTreeMap::new();
    static NAMELESS: Nameless = Nameless { students: BTreeSet::new(), by_sis_id: BTreeMap::new() };

    fn roster(ids: &[&str]) -> BTreeMap<String, StudentId> {
        ids.iter().map(|id| (format!("guid-{id}"), StudentId((*id).to_owned()))).collect()
    }

    fn about() -> Circumstances<'static> {
        Circumstances {
            roster: &ROSTER,
            nameless: &NAMELESS,
            lacking: 0,
            to_move: (0, 0),
            cutover: day("2026-08-15"),
            here_since: "2024-07-01T00:00:00Z".parse().unwrap(),
            loaded_students: 0,
            today: day("2026-08-10"),
        }
    }

    fn set(ids: &[&str]) -> BTreeSet<String> {
        ids.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn only_foreign_flags_open_on_the_cutover_are_ended() {
        let all = [
            flag("open", "2025-01-01", None),
            flag("ends-on-it", "2025-01-01", Some("2026-08-15")),
            flag("ended-before", "2025-01-01", Some("2026-08-14")),
            flag("begins-on-it", "2026-08-15", None),
            flag("begins-the-day-before", "2026-08-14", None),
            flag("OURS", "2025-01-01", None),
            ActualFlag { starts_on: None, ..flag("no-start", "2025-01-01", None) },
            // It may have ended long ago: ending it at the cutover would make it longer.
            ActualFlag { is_undated: true, ..flag("end-unread", "2025-01-01", None) },
        ];
        let roster = roster(&["open"]);
        let about = Circumstances { roster: &roster, ..about() };
        let survey = survey(&all, &set(&["ours"]), &set(&["guid-open", "guid-ends-on-it"]), about);
        let ids: Vec<_> = survey.to_end.iter().map(|flag| flag.flag.as_str()).collect();
        assert_eq!(ids, ["open", "ends-on-it", "begins-the-day-before"]);
        assert_eq!(survey.to_end.iter().map(|flag| flag.goes_on).collect::<Vec<_>>(), [true, true, false]);
        assert_eq!(survey.without_new, 1);
        assert!(survey.warnings[0].starts_with("high-share: 1 of 3"), "{:?}", survey.warnings);
        assert!(survey.warnings.iter().any(|text| text.starts_with("undated: 1 flags")), "{:?}", survey.warnings);
    }

    #[test]
    fn a_list_that_is_not_whole_is_told() {
        let all = [flag("a", "2025-01-01", None)];
        let (roster, continuing) = (roster(&["a"]), set(&["guid-a"]));
        let found =
            |lacking| survey(&all, &set(&[]), &continuing, Circumstances { roster: &roster, lacking, ..about() });
        assert_eq!(found(0).warnings, [""; 0]);
        assert_eq!(codes(&found(10).warnings), ["short-list"]);
        assert!(found(10).warnings[0].contains(" 10 rows fewer"), "{:?}", found(10).warnings);
    }

    #[test]
    fn a_flag_to_end_names_its_student_where_the_roster_does() {
        let roster = BTreeMap::from([("guid-a".to_owned(), StudentId("7".to_owned()))]);
        let all = ["a", "b"].map(|id| flag(id, "2025-01-01", None));
        let found = survey(&all, &set(&[]), &set(&[]), Circumstances { roster: &roster, ..about() });
        let students: Vec<_> = found.to_end.iter().map(|flag| flag.student.clone()).collect();
        assert_eq!(students, [Some(StudentId("7".to_owned())), None]);
    }

    fn codes(warnings: &[String]) -> Vec<&str> {
        warnings.iter().filter_map(|text| text.split([' ', ':']).next()).collect()
    }

    #[test]
    fn flags_whose_students_the_roster_does_not_know_are_not_approved() {
        let names: Vec<_> = (0..20).map(|number| number.to_string()).collect();
        let all: Vec<_> = names.iter().map(|name| flag(name, "2025-01-01", None)).collect();
        let continuing: BTreeSet<_> = names.iter().map(|name| format!("guid-{name}")).collect();
        let (none, one, two, unknown) = (roster(&[]), roster(&["0"]), roster(&["0", "1"]), "flag-students-unknown");
        for (roster, flags, expected) in [
            (&none, 0, None),
            (&none, 1, Some(unknown)),
            (&none, 20, Some(unknown)),
            (&one, 20, Some(unknown)),
            (&one, 10, None),
            (&two, 20, None),
        ] {
            let found = survey(&all[..flags], &set(&[]), &continuing, Circumstances { roster, ..about() });
            assert_eq!(codes(&found.warnings).first().copied(), expected, "{flags} {:?}", found.warnings);
        }
        for (to_move, expected) in [((1, 10), None), ((2, 10), Some("flag-roster-to-move")), ((0, 0), None)] {
            let about = Circumstances { roster: &two, to_move, ..about() };
            let found = survey(&all, &set(&[]), &continuing, about);
            assert_eq!(codes(&found.warnings).first().copied(), expected, "{to_move:?}");
        }
    }

    #[test]
    fn flags_of_who_has_no_id_in_the_sis_are_counted_apart() {
        let all = ["a", "b", "c", "d"].map(|id| flag(id, "2025-01-01", None));
        let roster = roster(&["a", "b"]);
        let student = || StudentId("elsewhere-c".to_owned());
        let nameless = Nameless { students: [student()].into(), by_sis_id: [("guid-c".to_owned(), student())].into() };
        let about = Circumstances { roster: &roster, nameless: &nameless, ..about() };
        let found = survey(&all, &set(&[]), &set(&["guid-a", "guid-b"]), about);
        assert_eq!(found.to_end.iter().map(|flag| flag.goes_on).collect::<Vec<_>>(), [true, true, true, false]);
        assert_eq!((found.to_end[2].student.clone(), found.without_new), (Some(student()), 1));
        assert_eq!(codes(&found.warnings), ["no-sis-id", "high-share"]);
        assert!(found.warnings[0].contains("1 students") && found.warnings[0].contains(" 2 flags"), "{found:?}");
        let known = survey(&all[..2], &set(&[]), &set(&["guid-a", "guid-b"]), about);
        assert_eq!(known.warnings, [""; 0], "none of these may be theirs");
    }

    #[test]
    fn those_without_a_new_flag_are_counted() {
        let all = ["a", "b", "c", "d"].map(|id| flag(id, "2025-01-01", None));
        for (continuing, without_new) in [(set(&[]), 4), (set(&["guid-b"]), 3), (set(&["guid-b", "guid-d"]), 2)] {
            assert_eq!(survey(&all, &set(&[]), &continuing, about()).without_new, without_new);
        }
    }

    #[test]
    fn a_flag_that_began_the_day_before_the_cutover_ends_with_it() {
        let began = flag("a", "2026-08-14", None);
        assert_eq!(decided(Some(&began), false), Ending::On(day("2026-08-14")));
    }

    fn of_a(student: Option<&str>, program: Option<&str>) -> CutoverFlag {
        CutoverFlag {
            flag: "a".to_owned(),
            sis_id: "guid-A".to_owned(),
            program_sis_id: program.map(str::to_owned),
            student: student.map(|id| StudentId(id.to_owned())),
            goes_on: false,
            done_at: None,
            outcome: None,
            failing: None,
        }
    }

    fn decided(actual: Option<&ActualFlag>, new_is_missing: bool) -> Ending {
        let (flag, programs) = (of_a(None, Some("P")), set(&["p"]));
        let approved = Approved { cutover: day("2026-08-15"), flag: &flag, programs: &programs, roster: &ROSTER };
        ending(actual, approved, new_is_missing)
    }

    #[test]
    fn a_flag_that_staff_gave_to_another_stays_and_one_that_may_be_the_same_waits() {
        let (one, last, moved) = (flag("a", "2025-01-01", None), Ending::On(day("2026-08-14")), Ending::Done("moved"));
        let roster = [("guid-a2", "1"), ("guid-b", "2")];
        let roster: BTreeMap<_, _> = roster.map(|(sis, id)| (sis.to_owned(), StudentId(id.to_owned()))).into();
        let (known, older) = (of_a(Some("1"), Some("P")), of_a(None, None));
        let of_student = |id: &str| ActualFlag { sis_id: id.to_owned(), ..one.clone() };
        let of = |program: &str| ActualFlag { program_sis_id: program.to_owned(), ..one.clone() };
        let ended = ActualFlag { ends_on: Some(day("2026-08-14")), ..of("Q") };
        let table = [
            ("as it was", &known, one.clone(), set(&["p"]), last),
            (
                "with an end that cannot be read",
                &known,
                ActualFlag { is_undated: true, ..one.clone() },
                set(&["p"]),
                Ending::Unclear,
            ),
            ("of another student", &known, of_student("GUID-b"), set(&["p"]), moved),
            ("of the student's other id", &known, of_student("GUID-a2"), set(&["p"]), last),
            ("of an id that the roster does not know", &known, of_student("GUID-c"), set(&["p"]), Ending::Unclear),
            (
                "of another id, and the roster never knew whose",
                &older,
                of_student("GUID-b"),
                set(&["p"]),
                Ending::Unclear,
            ),
            ("of another program", &known, of("Q"), set(&["p"]), moved),
            ("of another program, and nobody knows of which then", &older, of("Q"), set(&["p"]), Ending::Unclear),
            ("of a program that was made anew, and has none of the old flags", &known, of("P"), set(&["p", "r"]), last),
            ("of a program that was made anew, and has them", &known, of("R"), set(&["p", "r"]), last),
            ("of a program that has another name", &known, of("P"), set(&[]), last),
            ("of a program whose name another has by now", &known, of("P"), set(&["r"]), last),
            ("of neither", &known, of("Q"), set(&["r"]), Ending::Unclear),
            ("of another while none has the name", &known, of("Q"), set(&[]), Ending::Unclear),
            ("of neither, and it has ended", &known, ended, set(&["r"]), Ending::Done("ended")),
            (
                "of another student and of neither program",
                &known,
                ActualFlag { sis_id: "guid-b".to_owned(), ..of("Q") },
                set(&["r"]),
                moved,
            ),
        ];
        for (what, flag, actual, programs, expected) in table {
            let approved = Approved { cutover: day("2026-08-15"), flag, programs: &programs, roster: &roster };
            assert_eq!(ending(Some(&actual), approved, false), expected, "{what}");
        }
    }

    #[test]
    fn a_person_is_warned_of_a_high_share_and_of_a_missing_load() {
        let warned = |to_end, without, about| {
            let all = warnings(to_end, without, about);
            all.iter().map(|text| text.split(':').next().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(warned(10, 2, about()), Vec::<String>::new());
        assert_eq!(warned(10, 3, about()), ["high-share"]);
        assert_eq!(warned(0, 0, about()), Vec::<String>::new());
        let young = Circumstances { here_since: "2025-08-11T00:00:00Z".parse().unwrap(), ..about() };
        for (to_end, loaded_students, is_warned) in [
            (10, 0, true),
            (10, 1, true),
            (10, 4, true),
            (10, 5, false),
            (9, 4, true),
            (9, 5, false),
            (1, 1, false),
            (0, 0, true),
        ] {
            let found = warned(to_end, 0, Circumstances { loaded_students, ..young });
            assert_eq!(found == ["no-initial-load"], is_warned, "{to_end} {loaded_students} {found:?}");
        }
        assert_eq!(warned(10, 0, Circumstances { today: day("2026-08-11"), ..young }), Vec::<String>::new());
    }

    #[test]
    fn an_approved_flag_ends_the_day_before_the_cutover_or_stays_as_it_became() {
        let table = [
            ("open", Some(flag("a", "2025-01-01", None)), false, Ending::On(day("2026-08-14"))),
            ("ends later", Some(flag("a", "2025-01-01", Some("2027-01-01"))), false, Ending::On(day("2026-08-14"))),
            ("ended by hand", Some(flag("a", "2025-01-01", Some("2026-03-01"))), false, Ending::Done("ended")),
            ("ended as we would", Some(flag("a", "2025-01-01", Some("2026-08-14"))), false, Ending::Done("ended")),
            ("moved behind the cutover", Some(flag("a", "2026-08-15", None)), false, Ending::Done("moved")),
            ("deleted", None, false, Ending::Done("gone")),
            ("its student's new flag is missing", Some(flag("a", "2025-01-01", None)), true, Ending::Waits),
            ("deleted, new flag missing", None, true, Ending::Done("gone")),
        ];
        for (what, actual, missing, expected) in table {
            assert_eq!(decided(actual.as_ref(), missing), expected, "{what}");
        }
    }
}
