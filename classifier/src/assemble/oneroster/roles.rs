//! A student's roles as enrollments, and what is remembered of those that are not listed any more.
//!
//! Campus serves its active year only, so that over the summer last year's roles are gone. What earlier runs stored of
//! them counts as past: ended on their stored end date or, with none, on the day before the first complete run that did
//! not show them.

use std::collections::HashMap;

use chrono::NaiveDate;
use rollcall_proto::roster::Status;
use rollcall_store::roster::StoredEnrollment;

use super::{OrgView, U};
use crate::{
    assemble::Decided,
    fragment::{Row, lists},
    status::{CodeFact, DateFact, EnrollmentFact, Seen, YearFact, compare_ids},
    view::{EnrollmentView, Id},
};

/// Days.
const A_YEAR: i64 = 365;

/// One role of a user, as the decoder packed it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Role<'a> {
    id: &'a str,
    pub(super) word: &'a str,
    primary: bool,
    pub(super) org: &'a str,
    begin: &'a str,
    end: &'a str,
}

impl Role<'_> {
    pub(super) fn is(&self, role: &str) -> bool {
        self.word.eq_ignore_ascii_case(role)
    }

    /// In force on `today` however the end date is read: not on the end date itself, nor by a date that is none.
    pub(super) fn is_in_force(&self, today: NaiveDate) -> bool {
        let begun = match date(self.begin) {
            DateFact::Absent => true,
            DateFact::On(begin) => begin <= today,
            DateFact::Unreadable => false,
        };
        let lasts = match date(self.end) {
            DateFact::Absent => true,
            DateFact::On(end) => end > today,
            DateFact::Unreadable => false,
        };
        begun && lasts
    }

    /// Whether the role says on `today` what its holder is, however the dates are read: it has begun, and is not long over.
    pub(super) fn may_still_tell(&self, today: NaiveDate) -> bool {
        let begun = match date(self.begin) {
            DateFact::On(begin) => begin <= today,
            DateFact::Absent | DateFact::Unreadable => true,
        };
        begun && !self.is_long_over(today)
    }

    /// Ended a year ago, or before. Over a summer a student's last role has ended, and the next has not begun or is not
    /// listed yet. By a date that is none, it goes on.
    pub(super) fn is_long_over(&self, today: NaiveDate) -> bool {
        match date(self.end) {
            DateFact::On(end) => today.signed_duration_since(end).num_days() >= A_YEAR,
            DateFact::Absent | DateFact::Unreadable => false,
        }
    }

    /// Has no end, as far as anybody can read.
    pub(super) fn is_open(&self) -> bool {
        !matches!(date(self.end), DateFact::On(_))
    }

    fn is_legible(&self) -> bool {
        [self.begin, self.end].iter().all(|text| date(text) != DateFact::Unreadable)
    }
}

/// A user's roles.
pub(super) fn of(row: Row<'_>) -> impl Iterator<Item = Role<'_>> {
    lists::records::<6>(row.text(U::Roles)).map(|[id, word, primary, org, begin, end]| Role {
        id,
        word,
        primary: primary == "p",
        org,
        begin,
        end,
    })
}

/// Blank is absent; anything that is no date was marked so by the decoder.
fn date(text: &str) -> DateFact {
    match text {
        "" => DateFact::Absent,
        text => text.parse().map_or(DateFact::Unreadable, DateFact::On),
    }
}

/// A student's enrollments: those listed first, then those remembered.
#[derive(Debug)]
pub(super) struct Spells<'a> {
    /// As the record keeps them.
    pub(super) listed: Vec<EnrollmentView<'a>>,
    dates: Vec<(DateFact, DateFact)>,
    ids: Vec<&'a str>,
    at_school: Vec<bool>,
    remembered: Vec<&'a StoredEnrollment>,
    complete: bool,
    today: NaiveDate,
}

impl<'a> Spells<'a> {
    pub(super) fn of(
        row: Row<'a>,
        stored: &'a [StoredEnrollment],
        orgs: &HashMap<&'a str, OrgView<'a>>,
        complete: bool,
        today: NaiveDate,
    ) -> Self {
        let mut spells = Self {
            listed: Vec::new(),
            dates: Vec::new(),
            ids: Vec::new(),
            at_school: Vec::new(),
            remembered: Vec::new(),
            complete,
            today,
        };
        let roles: Vec<Role<'a>> = of(row).filter(|role| role.is("student")).collect();
        let is_school = |role: &Role<'a>| orgs.get(role.org).is_none_or(|org| org.is_school);
        // The district itself says nothing more beside a school that is attended today. Beside one that was or will be
        // attended it may be all there is today, as in home instruction.
        let attends = roles.iter().any(|role| is_school(role) && role.is_in_force(today));
        let says_more = |role: &&Role<'a>| !attends || is_school(role) || !role.is_legible();
        roles.iter().filter(says_more).for_each(|role| spells.add(*role, is_school(role), orgs));
        let is_listed = |stored: &StoredEnrollment| roles.iter().any(|role| role.id == stored.enrollment.id);
        spells.remembered.extend(stored.iter().filter(|stored| !is_listed(stored)));
        spells
    }

    fn add(&mut self, role: Role<'a>, at_school: bool, orgs: &HashMap<&'a str, OrgView<'a>>) {
        let (begin, end) = (date(role.begin), date(role.end));
        let on = |date| match date {
            DateFact::On(date) => Some(date),
            _ => None,
        };
        // An org that a torn pull does not show may have a code all the same: unknown, and the stored one stays.
        let unlisted = self.complete.then_some(role.org).filter(|org| !org.is_empty());
        let school = orgs.get(role.org).map(|org| org.code).or(unlisted);
        self.ids.push(role.id);
        self.at_school.push(at_school);
        self.dates.push((begin, end));
        self.listed.push(EnrollmentView {
            id: Id::of(role.id),
            entity: Id::of(role.org),
            school,
            school_year: None,
            entry_date: on(begin),
            withdrawal_date: on(end),
            entry_code: None,
            withdrawal_code: None,
            default_entity: role.primary,
            no_show: false,
        });
    }

    /// As the rules want them.
    pub(super) fn facts(&self) -> Vec<EnrollmentFact<'_>> {
        let listed = self.listed.iter().enumerate().map(|(number, view)| EnrollmentFact {
            id: self.ids[number],
            year: YearFact::NotGiven,
            default_entity: view.default_entity,
            entry: self.dates[number].0,
            withdrawal: self.dates[number].1,
            code: CodeFact::Absent,
            seen: Seen::Listed,
        });
        listed.chain(self.remembered.iter().map(|stored| self.remembered_fact(stored))).collect()
    }

    fn remembered_fact(&self, stored: &'a StoredEnrollment) -> EnrollmentFact<'a> {
        let enrollment = &stored.enrollment;
        let seen = match stored.unlisted_since {
            // Not shown by a pull that may have lost it: as it was.
            None if !self.complete => Seen::Listed,
            since => {
                let since = since.unwrap_or(self.today);
                Seen::Remembered { assumed_end: since.pred_opt().unwrap_or(since) }
            }
        };
        EnrollmentFact {
            id: &enrollment.id,
            year: YearFact::NotGiven,
            default_entity: enrollment.default_entity,
            entry: enrollment.entry_date.into(),
            withdrawal: enrollment.withdrawal_date.into(),
            code: enrollment.withdrawal_code.as_deref().map_or(CodeFact::Absent, CodeFact::Code),
            seen,
        }
    }

    /// School of the fact that decided; of what it rests on, one at a school before one at the district. Who attends
    /// nothing any more is told by the last school.
    pub(super) fn school(&self, deciding: usize, decided: &Decided) -> Option<&'a str> {
        let Some(listed) = self.listed.get(deciding) else {
            return self.remembered.get(deciding - self.listed.len())?.enrollment.school.as_deref();
        };
        let better = if self.at_school[deciding] { None } else { self.best_school(decided) };
        better.map_or(listed.school, |number| self.listed[number].school)
    }

    fn best_school(&self, decided: &Decided) -> Option<usize> {
        let over = !matches!(decided.status, Status::Enrolled | Status::PreEnrolled);
        let rests_on = |number: usize| over || decided.evidence.iter().any(|id| id == self.ids[number]);
        let key = |number: usize| (self.listed[number].default_entity, self.listed[number].entry_date);
        let order = |a: &usize, b: &usize| key(*a).cmp(&key(*b)).then_with(|| compare_ids(self.ids[*a], self.ids[*b]));
        (0..self.listed.len()).filter(|number| self.at_school[*number] && rests_on(*number)).max_by(order)
    }
}
