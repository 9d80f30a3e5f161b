//! What a participation's flag should be.
//!
//! Role: [`wish`], from the participation, its program's standing and its student. Pure. Neighbours: [`crate::diff`]
//! compares the wish with what the SIS shows.
//!
//! Invariants: only the participation ends a flag, never a change of status; a flag never ends before it begins, and
//! never begins before its program's cutover; whoever never had a flag gets none for a time before the cutover.

use chrono::NaiveDate;
use rollcall_proto::id::{DistrictId, StudentId};
use rollcall_store::flag::{FlagState, Participation, PushedFlag};
use uuid::Uuid;

use crate::{diff::NOT_ENROLLED, participation::NAMESPACE};

/// The id of a participation's flag, here and in the SIS: a UUID of version 5 (RFC 9562), so that a push repeated after
/// a crash finds its own.
pub fn flag_id(district: &DistrictId, student: &StudentId, program: &str, participation: Uuid) -> Uuid {
    let name = format!("flag\0{district}\0{student}\0{program}\0{participation}");
    Uuid::new_v5(&NAMESPACE, name.as_bytes())
}

/// Whether a program's flags may be written today.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Switched off, for the program or the district.
    Off,
    /// Its cutover lies ahead.
    NotYet,
    /// Its take-over of existing flags waits for a person.
    AwaitsApproval,
    /// The SIS does not have it as it must be; the code and the detail say why.
    Failed(String),
    /// They may.
    Live {
        /// The program's id in the SIS.
        program_sis_id: String,
    },
}

/// A program as flags see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramRules {
    /// First day on which our flags rule.
    pub cutover: NaiveDate,
    /// Whether they may be written.
    pub standing: Standing,
}

impl ProgramRules {
    /// Its flags may be written today.
    pub const fn is_live(&self) -> bool {
        matches!(self.standing, Standing::Live { .. })
    }
}

/// A participation's student, as far as the roster knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StudentFacts {
    /// ENROLLED or PRE_ENROLLED.
    pub attending: bool,
    /// The SIS's id that a flag is sent with, or why there is none: a reason code, then a detail where there is one.
    pub sis_id: Result<String, &'static str>,
}

/// What a flag should say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dates {
    /// First day.
    pub starts_on: NaiveDate,
    /// Last day; none while open.
    pub ends_on: Option<NaiveDate>,
}

impl Dates {
    /// It is not over on a day.
    pub(crate) fn goes_on(self, today: NaiveDate) -> bool {
        self.ends_on.is_none_or(|end| end >= today)
    }
}

/// What should be done about a participation's flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// None: it never had one, and shall have none.
    None,
    /// It is kept back, and listed with the reason.
    KeptBack {
        /// What it would say.
        dates: Dates,
        /// The SIS's id that it would be sent with, if known: for people who look at the list.
        sis_id: Option<String>,
        /// How it is listed.
        state: FlagState,
        /// Reason code, then a detail where there is one.
        reason: String,
    },
    /// The SIS should show this.
    Shown(PushedFlag),
}

impl Wish {
    /// With the link that a click on the flag follows; where there is none, with the one that was pushed before.
    #[must_use]
    pub fn linked(self, link: Option<String>, pushed: Option<&PushedFlag>) -> Self {
        match self {
            Self::Shown(flag) => {
                let link = link.or_else(|| pushed.and_then(|pushed| pushed.link.clone()));
                Self::Shown(PushedFlag { link, ..flag })
            }
            other => other,
        }
    }
}

/// Decides, but for the link. `pushed`: what the SIS accepted before.
pub fn wish(
    participation: &Participation,
    rules: &ProgramRules,
    student: Option<&StudentFacts>,
    pushed: Option<&PushedFlag>,
) -> Wish {
    wish_of(dates(participation, rules.cutover, pushed.is_some()), rules, student, pushed)
}

/// The same of a flag that says `dates`; without any it is not wanted.
pub fn wish_of(
    dates: Option<Dates>,
    rules: &ProgramRules,
    student: Option<&StudentFacts>,
    pushed: Option<&PushedFlag>,
) -> Wish {
    let Some(dates) = dates else { return Wish::None };
    let known = student.map_or(Err("student-unknown"), |student| student.sis_id.clone());
    let kept_back = |state, reason: &str| {
        let sis_id = known.clone().ok();
        Wish::KeptBack { dates, sis_id, state, reason: reason.to_owned() }
    };
    let program_sis_id = match &rules.standing {
        Standing::Off => return kept_back(FlagState::Wanted, "switched-off"),
        Standing::NotYet => return kept_back(FlagState::Wanted, "before-cutover"),
        Standing::AwaitsApproval => return kept_back(FlagState::Wanted, "awaiting-approval"),
        Standing::Failed(why) => return kept_back(FlagState::Failed, why),
        Standing::Live { program_sis_id } => program_sis_id.clone(),
    };
    let sis_id = match (&known, pushed) {
        (Ok(known), _) => known.clone(),
        (Err(_), Some(pushed)) => pushed.sis_id.clone(),
        (Err(reason), None) => return kept_back(FlagState::NoSisId, reason),
    };
    if pushed.is_none() && !student.is_some_and(|student| student.attending) {
        return kept_back(FlagState::Wanted, NOT_ENROLLED);
    }
    Wish::Shown(PushedFlag { starts_on: dates.starts_on, ends_on: dates.ends_on, sis_id, program_sis_id, link: None })
}

/// What the flag should say by its participation alone; `None` for a participation that never had a flag and is void, or was over by the cutover.
pub fn dates(participation: &Participation, cutover: NaiveDate, was_pushed: bool) -> Option<Dates> {
    let starts_on = participation.starts_on.max(cutover);
    let ends_on = match participation.void_on {
        Some(void) => Some(day_before(void).min(participation.ends_on.unwrap_or(NaiveDate::MAX))),
        None => participation.ends_on,
    };
    if !was_pushed && (participation.void_on.is_some() || ends_on.is_some_and(|end| end < cutover)) {
        return None;
    }
    Some(Dates { starts_on, ends_on: ends_on.map(|end| end.max(starts_on)) })
}

/// The last day before `day`.
pub(crate) fn day_before(day: NaiveDate) -> NaiveDate {
    day.pred_opt().unwrap_or(day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn day(number: i64) -> NaiveDate {
        NaiveDate::from_ymd_opt(2026, 8, 1).unwrap() + chrono::TimeDelta::days(number)
    }

    fn participation(starts: i64, ends: Option<i64>, void: Option<i64>) -> Participation {
        Participation {
            id: Uuid::from_u128(1),
            student: StudentId("1".to_owned()),
            program: "P".to_owned(),
            starts_on: day(starts),
            ends_on: ends.map(day),
            void_on: void.map(day),
            documents: vec!["d".to_owned()],
        }
    }

    fn rules(standing: Standing) -> ProgramRules {
        ProgramRules { cutover: day(10), standing }
    }

    fn live() -> ProgramRules {
        rules(Standing::Live { program_sis_id: "PROGRAM".to_owned() })
    }

    #[test]
    fn dates_go_on_through_their_last_day() {
        for (ends, goes_on) in [(None, true), (Some(11), true), (Some(10), true), (Some(9), false)] {
            let dates = Dates { starts_on: day(0), ends_on: ends.map(day) };
            assert_eq!(dates.goes_on(day(10)), goes_on, "{ends:?}");
        }
    }

    #[test]
    fn a_program_is_live_where_nothing_stands_in_its_way() {
        assert!(live().is_live());
        let failed = Standing::Failed("flag-not-found".to_owned());
        for standing in [Standing::Off, Standing::NotYet, Standing::AwaitsApproval, failed] {
            assert!(!rules(standing).is_live());
        }
    }

    fn student(attending: bool, sis_id: Option<&str>) -> StudentFacts {
        StudentFacts { attending, sis_id: sis_id.map(str::to_owned).ok_or("no-sis-id") }
    }

    fn pushed(starts: i64, ends: Option<i64>) -> PushedFlag {
        PushedFlag {
            starts_on: day(starts),
            ends_on: ends.map(day),
            sis_id: "OLD".to_owned(),
            program_sis_id: "PROGRAM".to_owned(),
            link: None,
        }
    }

    #[test]
    fn dates_begin_at_the_later_of_cutover_and_start() {
        type Row = (&'static str, (i64, Option<i64>, Option<i64>), bool, Option<(i64, Option<i64>)>);
        let table: [Row; 13] = [
            ("open since before the cutover", (0, None, None), false, Some((10, None))),
            ("begins later", (20, None, None), false, Some((20, None))),
            ("ends later", (0, Some(30), None), false, Some((10, Some(30)))),
            ("ends on the cutover", (0, Some(10), None), false, Some((10, Some(10)))),
            ("ended the day before the cutover", (0, Some(9), None), false, None),
            ("ended before, but has a flag", (0, Some(9), None), true, Some((10, Some(10)))),
            ("over, after the cutover", (11, Some(12), None), false, Some((11, Some(12)))),
            ("void, never pushed", (0, None, Some(40)), false, None),
            ("void, pushed", (0, None, Some(40)), true, Some((10, Some(39)))),
            ("void after it had ended", (0, Some(30), Some(40)), true, Some((10, Some(30)))),
            ("void before it ended", (0, Some(50), Some(40)), true, Some((10, Some(39)))),
            ("void on its first day", (20, None, Some(20)), true, Some((20, Some(20)))),
            ("void before it began", (60, None, Some(20)), true, Some((60, Some(60)))),
        ];
        for (what, (starts, ends, void), was_pushed, expected) in table {
            let expected = expected.map(|(start, end)| Dates { starts_on: day(start), ends_on: end.map(day) });
            assert_eq!(dates(&participation(starts, ends, void), day(10), was_pushed), expected, "{what}");
        }
    }

    #[test]
    fn who_gets_a_flag() {
        let (open, here) = (participation(0, None, None), student(true, Some("GUID")));
        let reason = |wish| match wish {
            Wish::KeptBack { state, reason, .. } => Some((state, reason)),
            _ => None,
        };
        let kept = |state, text: &str| Some((state, text.to_owned()));
        let never = |rules: &ProgramRules, student: Option<&StudentFacts>| reason(wish(&open, rules, student, None));
        assert_eq!(never(&rules(Standing::Off), Some(&here)), kept(FlagState::Wanted, "switched-off"));
        assert_eq!(never(&rules(Standing::NotYet), Some(&here)), kept(FlagState::Wanted, "before-cutover"));
        assert_eq!(never(&rules(Standing::AwaitsApproval), Some(&here)), kept(FlagState::Wanted, "awaiting-approval"));
        let failed = rules(Standing::Failed("flag-missing".to_owned()));
        assert_eq!(never(&failed, Some(&here)), kept(FlagState::Failed, "flag-missing"));
        assert_eq!(never(&live(), None), kept(FlagState::NoSisId, "student-unknown"));
        assert_eq!(never(&live(), Some(&student(true, None))), kept(FlagState::NoSisId, "no-sis-id"));
        assert_eq!(never(&live(), Some(&student(false, Some("G")))), kept(FlagState::Wanted, "not-enrolled"));
        for (standing, student, known) in [
            (Standing::NotYet, Some(&here), Some("GUID")),
            (Standing::Failed("flag-missing".to_owned()), Some(&here), Some("GUID")),
            (Standing::AwaitsApproval, Some(&student(true, None)), None),
            (Standing::Off, None, None),
        ] {
            let Wish::KeptBack { sis_id, .. } = wish(&open, &rules(standing), student, None) else { panic!("kept") };
            assert_eq!(sis_id.as_deref(), known);
        }
        let Wish::Shown(shown) = wish(&open, &live(), Some(&here), None) else { panic!("it gets one") };
        assert_eq!((shown.sis_id.as_str(), shown.program_sis_id.as_str()), ("GUID", "PROGRAM"));
    }

    #[test]
    fn a_link_once_pushed_outlasts_a_setting_that_is_gone() {
        let link = |text: &str| Some(text.to_owned());
        let before = PushedFlag { link: link("old"), ..pushed(10, None) };
        for (wanted, pushed, expected) in [
            (link("new"), None, link("new")),
            (link("new"), Some(&before), link("new")),
            (None, Some(&before), link("old")),
            (None, None, None),
        ] {
            let Wish::Shown(shown) = Wish::Shown(self::pushed(10, None)).linked(wanted, pushed) else {
                panic!("shown")
            };
            assert_eq!(shown.link, expected);
        }
        assert_eq!(Wish::None.linked(link("new"), None), Wish::None);
    }

    #[test]
    fn a_change_of_status_alone_ends_nothing() {
        let (open, before) = (participation(0, None, None), pushed(10, None));
        for facts in [None, Some(student(false, None)), Some(student(false, Some("OLD")))] {
            let Wish::Shown(shown) = wish(&open, &live(), facts.as_ref(), Some(&before)) else { panic!("it stays") };
            assert_eq!(shown, before);
        }
        let ended = participation(0, Some(30), None);
        let Wish::Shown(shown) = wish(&ended, &live(), None, Some(&before)) else { panic!("it is ended") };
        assert_eq!(shown.ends_on, Some(day(30)), "the participation ends it, whoever has left");
    }

    #[test]
    fn ids_depend_on_each_part_and_on_nothing_else() {
        let (d, e): (DistrictId, DistrictId) = ("d".parse().unwrap(), "e".parse().unwrap());
        let (one, two) = (StudentId("1".to_owned()), StudentId("2".to_owned()));
        let id = flag_id(&d, &one, "P", Uuid::from_u128(1));
        assert_eq!(id, flag_id(&d, &one, "P", Uuid::from_u128(1)));
        assert_eq!(id.get_version_num(), 5);
        for other in [
            flag_id(&e, &one, "P", Uuid::from_u128(1)),
            flag_id(&d, &two, "P", Uuid::from_u128(1)),
            flag_id(&d, &one, "Q", Uuid::from_u128(1)),
            flag_id(&d, &one, "P", Uuid::from_u128(2)),
        ] {
            assert_ne!(id, other);
        }
        // In the field for ever: a change would double every flag there is.
        assert_eq!(id.to_string(), "432a97e8-4eb6-59de-bbc0-52f0082aa246");
    }

    proptest! {
        #[test]
        fn a_flag_never_ends_before_it_begins_nor_begins_before_the_cutover(
            starts in -50_i64..50, long in proptest::option::of(0_i64..80), void in proptest::option::of(-60_i64..120),
            was_pushed: bool, attending: bool,
        ) {
            let one = participation(starts, long.map(|long| starts + long), void);
            let before = was_pushed.then(|| pushed(10, None));
            let facts = student(attending, Some("GUID"));
            if let Wish::Shown(shown) = wish(&one, &live(), Some(&facts), before.as_ref()) {
                prop_assert!(shown.starts_on >= day(10));
                prop_assert!(shown.ends_on.is_none_or(|end| end >= shown.starts_on));
                prop_assert!(attending || was_pushed);
                // It covers no day from the cutover on that the participation does not, but for one that it must keep.
                let ends = shown.ends_on.unwrap_or(NaiveDate::MAX);
                prop_assert!(ends <= one.ends_on.unwrap_or(NaiveDate::MAX) || ends == shown.starts_on);
                if void.is_none() && one.ends_on.is_none_or(|end| end >= day(10)) {
                    prop_assert_eq!(shown.ends_on, one.ends_on);
                }
            }
        }
    }
}
