//! Taking over flags that are there already: which are ended, and how, once.
//!
//! Role: [`survey`] counts what a take-over would do and warns; [`ending`] decides about one flag of an approved one.
//! Pure. Neighbours: [`crate::plan`] asks the SIS, [`crate::takeover`] does it.
//!
//! Invariants: only flags that are not ours, began before the cutover and are open on it are ever ended, and only those
//! fixed at approval; one that was ended or moved meanwhile is left as it is; nothing is extended or opened again.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Days, NaiveDate, Utc};
use rollcall_proto::id::StudentId;
use rollcall_store::flag::CutoverFlag;

use crate::{desired::day_before, diff::ActualFlag};

/// Above this share of flags that end without a new one, a person is warned.
const HIGH_SHARE_PERCENT: usize = 20;

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
    /// First day on which our flags rule.
    pub cutover: NaiveDate,
    /// When the district was first applied.
    pub here_since: DateTime<Utc>,
    /// The earliest start of a completed document of the program.
    pub earliest_document: Option<NaiveDate>,
    /// The district's today.
    pub today: NaiveDate,
}

/// Looks over a program's flags. `ours`: ids of our own, `continuing`: the SIS's ids of students who get a new flag;
/// both in lower case.
pub fn survey(
    actual: &[ActualFlag],
    ours: &BTreeSet<String>,
    continuing: &BTreeSet<String>,
    about: Circumstances<'_>,
) -> Survey {
    let foreign = actual.iter().filter(|flag| !ours.contains(&flag.id.to_ascii_lowercase()));
    let to_end: Vec<CutoverFlag> = foreign
        .filter(|flag| is_open_on(flag, about.cutover))
        .map(|flag| CutoverFlag {
            flag: flag.id.clone(),
            sis_id: flag.sis_id.clone(),
            student: about.roster.get(&flag.sis_id.to_ascii_lowercase()).cloned(),
            goes_on: continuing.contains(&flag.sis_id.to_ascii_lowercase()),
            done_at: None,
            outcome: None,
        })
        .collect();
    let without_new = to_end.iter().filter(|flag| !flag.goes_on).count();
    let warnings = warnings(to_end.len(), without_new, about);
    Survey { to_end, without_new, warnings }
}

/// Began before the day and is open on it.
fn is_open_on(flag: &ActualFlag, cutover: NaiveDate) -> bool {
    flag.starts_on.is_some_and(|start| start < cutover) && flag.ends_on.is_none_or(|end| end >= cutover)
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
    let was_loaded = about.earliest_document.is_some_and(|earliest| earliest < here);
    if is_young && !was_loaded {
        warnings.push(
            "no-initial-load: the district has been here for less than a year, and no completed document of this program \
             began before it came"
                .to_owned(),
        );
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
}

/// What a flag was when its ending was approved.
#[derive(Debug, Clone, Copy)]
pub struct Approved<'a> {
    /// First day on which our flags rule.
    pub cutover: NaiveDate,
    /// The SIS's id of its student.
    pub sis_id: &'a str,
    /// The SIS's ids of the programs of that name, in lower case: it may have been made anew meanwhile. Where there are none it
    /// is not known what the flag is of.
    pub programs: &'a BTreeSet<String>,
}

impl Approved<'_> {
    /// Staff gave the flag to another student or program: that is not what was approved.
    fn is_another(&self, flag: &ActualFlag) -> bool {
        let is_of_another = !self.programs.contains(&flag.program_sis_id.to_ascii_lowercase());
        !flag.sis_id.eq_ignore_ascii_case(self.sis_id) || (is_of_another && !self.programs.is_empty())
    }
}

/// Decides about one flag. `actual`: as the SIS shows it now; `new_is_missing`: its student gets a new flag that is not
/// read back yet.
pub fn ending(actual: Option<&ActualFlag>, approved: Approved<'_>, new_is_missing: bool) -> Ending {
    let Some(flag) = actual else { return Ending::Done("gone") };
    if approved.is_another(flag) {
        return Ending::Done("moved");
    }
    let last = day_before(approved.cutover);
    if flag.ends_on.is_some_and(|end| end <= last) {
        return Ending::Done("ended");
    }
    if flag.starts_on.is_none_or(|start| start > last) {
        return Ending::Done("moved");
    }
    if new_is_missing { Ending::Waits } else { Ending::On(last) }
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
            link: ShownLink::Nothing,
        }
    }

    static ROSTER: BTreeMap<String, StudentId> = BTreeMap::new();

    fn about() -> Circumstances<'static> {
        Circumstances {
            roster: &ROSTER,
            cutover: day("2026-08-15"),
            here_since: "2024-07-01T00:00:00Z".parse().unwrap(),
            earliest_document: None,
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
        ];
        let survey = survey(&all, &set(&["ours"]), &set(&["guid-open", "guid-ends-on-it"]), about());
        let ids: Vec<_> = survey.to_end.iter().map(|flag| flag.flag.as_str()).collect();
        assert_eq!(ids, ["open", "ends-on-it", "begins-the-day-before"]);
        assert_eq!(survey.to_end.iter().map(|flag| flag.goes_on).collect::<Vec<_>>(), [true, true, false]);
        assert_eq!(survey.without_new, 1);
        assert!(survey.warnings[0].starts_with("high-share: 1 of 3"), "{:?}", survey.warnings);
    }

    #[test]
    fn a_flag_to_end_names_its_student_where_the_roster_does() {
        let roster = BTreeMap::from([("guid-a".to_owned(), StudentId("7".to_owned()))]);
        let all = ["a", "b"].map(|id| flag(id, "2025-01-01", None));
        let found = survey(&all, &set(&[]), &set(&[]), Circumstances { roster: &roster, ..about() });
        let students: Vec<_> = found.to_end.iter().map(|flag| flag.student.clone()).collect();
        assert_eq!(students, [Some(StudentId("7".to_owned())), None]);
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
        let programs = set(&["p"]);
        assert_eq!(ending(Some(&began), approved(&programs), false), Ending::On(day("2026-08-14")));
    }

    fn approved(programs: &BTreeSet<String>) -> Approved<'_> {
        Approved { cutover: day("2026-08-15"), sis_id: "guid-A", programs }
    }

    #[test]
    fn a_flag_that_staff_gave_to_another_stays() {
        let (one, last) = (flag("a", "2025-01-01", None), Ending::On(day("2026-08-14")));
        let moved = Ending::Done("moved");
        let of = |program: &str| ActualFlag { program_sis_id: program.to_owned(), ..one.clone() };
        let table = [
            ("as it was", one.clone(), set(&["p"]), last),
            ("of another student", ActualFlag { sis_id: "GUID-b".to_owned(), ..one.clone() }, set(&["p"]), moved),
            ("of another program", of("Q"), set(&["p"]), moved),
            ("of a program that was made anew, and has none of the old flags", of("P"), set(&["p", "r"]), last),
            ("of a program that was made anew, and has them", of("R"), set(&["p", "r"]), last),
            ("of a program that is not there", of("Q"), set(&[]), last),
        ];
        for (what, actual, programs, expected) in table {
            assert_eq!(ending(Some(&actual), approved(&programs), false), expected, "{what}");
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
        assert_eq!(warned(10, 0, young), ["no-initial-load"]);
        let loaded = Circumstances { earliest_document: Some(day("2025-08-10")), ..young };
        assert_eq!(warned(10, 0, loaded), Vec::<String>::new());
        let later = Circumstances { earliest_document: Some(day("2025-08-11")), ..young };
        assert_eq!(warned(10, 0, later), ["no-initial-load"]);
        assert_eq!(warned(10, 0, Circumstances { today: day("2026-08-11"), ..young }), Vec::<String>::new());
    }

    #[test]
    fn an_approved_flag_ends_the_day_before_the_cutover_or_stays_as_it_became() {
        let programs = set(&["p"]);
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
            assert_eq!(ending(actual.as_ref(), approved(&programs), missing), expected, "{what}");
        }
    }
}
