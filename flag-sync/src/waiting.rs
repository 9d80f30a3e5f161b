//! Whose old flags a take-over leaves open for now, since the new ones are not there.
//!
//! Role: of the flags stored, who is still to have one. Neighbour: [`crate::takeover`] asks about each old flag.
//!
//! Invariants: nobody's old flag ends before the new one was read back, nor while that is known to be gone again and the participation
//! goes on, but where the person has it as another student; one whose student the roster does not know may be that of
//! anybody of whom Campus has not shown that it knows them by the id that we have, and of nobody else.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use rollcall_proto::id::StudentId;
use rollcall_store::flag::{CutoverFlag, Flag, FlagState, PushedFlag};

use crate::{
    context::Work,
    diff::{DELETED, NOT_ENROLLED},
    error::FlagError,
    lists::UNLISTED,
};

/// Reasons for which a comparison kept a flag back that may be wanted by now.
const KEPT_BACK: [&str; 3] = ["before-cutover", "awaiting-approval", "switched-off"];

/// Whose old flags stay open for now.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// Whose new flag is to be there and is not yet.
    for_new: Students,
    /// Who does not attend, and whose participation goes on.
    left: Students,
    /// Somebody whose participation goes on has no new flag yet, and Campus may not know them by the id that the roster has: one whom
    /// the roster does not know may be that student.
    is_somebodys: bool,
}

/// Students by either id: the SIS's may be another by now than as the take-over was approved.
#[derive(Debug, Default)]
struct Students {
    ids: BTreeSet<StudentId>,
    /// The SIS's, in lower case.
    sis_ids: BTreeSet<String>,
}

impl Students {
    fn has(&self, flag: &CutoverFlag) -> bool {
        let is_known = flag.student.as_ref().is_some_and(|student| self.ids.contains(student));
        is_known || self.sis_ids.contains(&flag.sis_id.to_ascii_lowercase())
    }
}

impl Waiting {
    pub(crate) fn has(&self, flag: &CutoverFlag, roster: &BTreeMap<String, StudentId>) -> bool {
        let is_unknown = || flag.student.is_none() && !roster.contains_key(&flag.sis_id.to_ascii_lowercase());
        self.for_new.has(flag) || (flag.goes_on && self.left.has(flag)) || (self.is_somebodys && is_unknown())
    }
}

/// Who may be a student of Campus whom the roster has by another id.
#[derive(Debug)]
struct Strangers<'a> {
    /// Those whom Campus knows by the ids that we have: it shows an old flag of theirs, took one of ours, or has another in its place. What
    /// else it refuses may be the student: its codes are not public (wire/oneroster-campus.md 2.5).
    known: BTreeSet<&'a StudentId>,
}

impl<'a> Strangers<'a> {
    fn among(flags: &'a [Flag], open: &[CutoverFlag]) -> Self {
        let shown: BTreeSet<_> = open.iter().map(|flag| flag.sis_id.to_ascii_lowercase()).collect();
        let is_known = |flag: &&Flag| {
            let Some(id) = &flag.sis_id else { return false };
            let is_taken = flag.pushed.as_ref().is_some_and(|pushed| pushed.sis_id.eq_ignore_ascii_case(id));
            let is_refused = refused(flag) == Some(CONFLICT);
            is_taken || is_refused || shown.contains(&id.to_ascii_lowercase())
        };
        Self { known: flags.iter().filter(is_known).map(|flag| &flag.student).collect() }
    }

    fn may_be(&self, flag: &Flag) -> bool {
        let is_nameless = flag.state == FlagState::NoSisId || refused(flag).is_some_and(is_unknown);
        is_nameless || !self.known.contains(&flag.student)
    }
}

/// Flags of the program that were read back, by the SIS's ids of the people whose they are, in lower case: a person may be several students.
#[derive(Debug)]
struct There<'a>(BTreeMap<String, Vec<(&'a StudentId, &'a PushedFlag)>>);

impl<'a> There<'a> {
    fn among(flags: &'a [Flag]) -> Self {
        let mut there: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let is_as_pushed =
            |flag: &&Flag| flag.verified_at.is_some() && !flag.due && flag.state != FlagState::Drift && !is_gone(flag);
        for flag in flags.iter().filter(is_as_pushed) {
            let is_whose = |id: &String| flag.sis_id.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(id));
            if let Some(pushed) = flag.pushed.as_ref().filter(|pushed| is_whose(&pushed.sis_id)) {
                there.entry(pushed.sis_id.to_ascii_lowercase()).or_default().push((&flag.student, pushed));
            }
        }
        Self(there)
    }

    /// The person has another student's flag on the day on which this one begins, or goes on.
    fn covers(&self, sis_id: &str, flag: &Flag, day: NaiveDate) -> bool {
        let others = self.0.get(sis_id).into_iter().flatten().filter(|(student, _)| **student != flag.student);
        others.map(|(_, pushed)| pushed).any(|one| one.starts_on <= day && one.ends_on.is_none_or(|end| end >= day))
    }
}

/// The status by which Campus last refused the flag, or failed at it.
fn refused(flag: &Flag) -> Option<u16> {
    let failing = flag.failing.as_ref().filter(|failing| flag.due && failing.failures > 0);
    let failed = || flag.reason.as_deref().filter(|_| flag.state == FlagState::Failed);
    // With a detail it is about a list, or about a whole program.
    let answer = failing.map(|failing| failing.answer.as_str()).or_else(|| failed()?.strip_prefix(UNLISTED))?;
    answer.parse().ok()
}

/// It was in the SIS, and staff deleted it there since: it is reported, or not made anew for who left.
fn is_gone(flag: &Flag) -> bool {
    match flag.state {
        FlagState::Drift => flag.reason.as_deref() == Some(DELETED),
        FlagState::Wanted => flag.reason.as_deref() == Some(NOT_ENROLLED),
        _ => false,
    }
}

/// Another flag is where this one is to be.
const CONFLICT: u16 = 409;

/// Campus does not know the student, nor perhaps did it ever (wire/oneroster-campus.md 2.5).
const fn is_unknown(status: u16) -> bool {
    matches!(status, 404 | 410)
}

impl Work {
    /// Whose old flags stay open. `open`: those of the program that are not done; `roster`: students by the SIS's ids, in lower case.
    pub(crate) async fn waiting(
        &self,
        program: &str,
        open: &[CutoverFlag],
        roster: &BTreeMap<String, StudentId>,
    ) -> Result<Waiting, FlagError> {
        let flags = self.store().flags(self.id(), None, Some(program)).await?;
        let people = self.store().flag_students(self.id(), None).await?;
        let students: BTreeMap<_, _> = people.iter().map(|one| (&one.student, one)).collect();
        let attends = |flag: &Flag| students.get(&flag.student).is_some_and(|student| student.status.is_attending());
        let goes_on = |flag: &Flag| flag.ends_on.is_none_or(|end| end >= self.today);
        let strangers = Strangers::among(&flags, open);
        let is_missing = |flag: &&Flag| flag.pushed.is_none() || flag.verified_at.is_none() || is_gone(flag);
        let unread: Vec<_> = flags.iter().filter(is_missing).collect();
        // One that was kept back may be without an id of the SIS, or have one of before; its student's counts beside it, though it is
        // perhaps of another SIS.
        let missed = unread.iter().map(|flag| flag.student.clone()).collect();
        let named = self.ids_in_campus(&missed, &people, roster).into_iter();
        let named: BTreeMap<_, _> = named.map(|(id, student)| (student, id)).collect();
        let sis_ids = |flag: &Flag| {
            let known = flag.sis_id.as_ref().map(|id| id.to_ascii_lowercase());
            known.into_iter().chain(named.get(&flag.student).cloned())
        };
        let there = There::among(&flags);
        // What was sent, or is to be, is not there as another student's by what Campus said last.
        let is_sent =
            |flag: &Flag| flag.due || refused(flag).is_some_and(|status| status == CONFLICT || is_unknown(status));
        let has_as_another = |flag: &Flag| {
            !is_sent(flag) && sis_ids(flag).any(|id| there.covers(&id, flag, flag.starts_on.max(self.today)))
        };
        let missing: Vec<_> = unread.into_iter().filter(|flag| !has_as_another(flag)).collect();
        let is_wanted = |flag: &Flag| {
            let kept_back = flag.reason.as_deref().is_some_and(|reason| KEPT_BACK.contains(&reason));
            let wanted = match flag.state {
                FlagState::Accepted | FlagState::Failed => true,
                // It was deleted: whoever left gets no other, and keeps the old one.
                FlagState::Drift => goes_on(flag),
                // Nobody can be told from whom the roster does not know.
                FlagState::NoSisId => goes_on(flag) && (attends(flag) || !students.contains_key(&flag.student)),
                _ => false,
            };
            wanted || flag.due || kept_back
        };
        let has_left = |flag: &Flag| {
            let is_kept_back = match flag.state {
                FlagState::Wanted => flag.reason.as_deref() == Some(NOT_ENROLLED),
                // Without an id in Campus, nobody says that whoever left has left.
                FlagState::NoSisId => !attends(flag),
                _ => false,
            };
            is_kept_back && goes_on(flag)
        };
        let of = |which: &dyn Fn(&Flag) -> bool| {
            let whose: Vec<_> = missing.iter().copied().filter(|flag| which(flag)).collect();
            let ids = whose.iter().map(|flag| flag.student.clone()).collect();
            Students { ids, sis_ids: whose.into_iter().flat_map(sis_ids).collect() }
        };
        let is_nameless = |flag: &Flag| flag.state == FlagState::NoSisId;
        let may_be_one = |flag: &Flag| (is_wanted(flag) || is_nameless(flag)) && strangers.may_be(flag);
        let is_somebodys = missing.iter().any(|flag| goes_on(flag) && may_be_one(flag));
        Ok(Waiting { for_new: of(&is_wanted), left: of(&has_left), is_somebodys })
    }
}
