//! What a pull of OneRoster holds beside its rows: how many of each kind of person, and of each kind of value.
//!
//! One listing carries students, guardians and staff, and "Data to Share" in Campus takes single fields away without a
//! word. So each of these is counted, and one that is empty and held something on the last complete pull is treated as an
//! empty listing is.

use std::collections::{BTreeMap, BTreeSet};

use super::{U, find, is_live, is_student, laid, people::is_guardian};
use crate::{
    fragment::{Column, Kind, Row, column::Demographics as D, lists},
    load::Source,
};

/// Something that a pull may hold none of all at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Facet {
    /// Students: statuses rest on them.
    Students,
    /// Guardians.
    Guardians,
    /// Links between students and guardians, from either side.
    Agents,
    /// Given names.
    GivenNames,
    /// Middle names.
    MiddleNames,
    /// Family names.
    FamilyNames,
    /// E-mail addresses.
    Emails,
    /// Telephone numbers.
    Phones,
    /// Numbers for text messages.
    Sms,
    /// E-mail addresses of students.
    StudentEmails,
    /// Telephone numbers of students.
    StudentPhones,
    /// Numbers of students for text messages.
    StudentSms,
    /// E-mail addresses of guardians.
    GuardianEmails,
    /// Telephone numbers of guardians.
    GuardianPhones,
    /// Numbers of guardians for text messages.
    GuardianSms,
    /// Local ids.
    Identifiers,
    /// Grades.
    Grades,
    /// Further ids, the state's among them.
    UserIds,
    /// Birth dates.
    BirthDates,
    /// Sexes.
    Sexes,
}

/// What a user is, as far as facets ask. Nothing, in demographics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Who {
    pub(super) student: bool,
    pub(super) guardian: bool,
}

impl Who {
    pub(super) fn of(kind: Kind, row: Row<'_>) -> Self {
        if kind != Kind::User {
            return Self::default();
        }
        Self { student: is_student(row), guardian: is_guardian(row).is_some() }
    }

    const fn is_family(self) -> bool {
        self.student || self.guardian
    }
}

impl Facet {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::Students,
        Self::Guardians,
        Self::Agents,
        Self::GivenNames,
        Self::MiddleNames,
        Self::FamilyNames,
        Self::Emails,
        Self::Phones,
        Self::Sms,
        Self::StudentEmails,
        Self::StudentPhones,
        Self::StudentSms,
        Self::GuardianEmails,
        Self::GuardianPhones,
        Self::GuardianSms,
        Self::Identifiers,
        Self::Grades,
        Self::UserIds,
        Self::BirthDates,
        Self::Sexes,
    ];

    /// As findings, baselines and `--accept-empty` spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Students => "users/students",
            Self::Guardians => "users/guardians",
            Self::Agents => "users.agents",
            Self::GivenNames => "users.givenName",
            Self::MiddleNames => "users.middleName",
            Self::FamilyNames => "users.familyName",
            Self::Emails => "users.email",
            Self::Phones => "users.phone",
            Self::Sms => "users.sms",
            Self::StudentEmails => "users/students.email",
            Self::StudentPhones => "users/students.phone",
            Self::StudentSms => "users/students.sms",
            Self::GuardianEmails => "users/guardians.email",
            Self::GuardianPhones => "users/guardians.phone",
            Self::GuardianSms => "users/guardians.sms",
            Self::Identifiers => "users.identifier",
            Self::Grades => "users.grades",
            Self::UserIds => "users.userIds",
            Self::BirthDates => "demographics.birthDate",
            Self::Sexes => "demographics.sex",
        }
    }

    /// Whether statuses rest on it.
    pub const fn is_essential(self) -> bool {
        matches!(self, Self::Students)
    }

    /// The kind of row that it is in.
    pub const fn kind(self) -> Kind {
        match self {
            Self::BirthDates | Self::Sexes => Kind::Demographics,
            _ => Kind::User,
        }
    }

    /// Where there is none of one of these, it says nothing more.
    pub const fn rests_on(self) -> &'static [Self] {
        match self {
            Self::Agents => &[Self::Guardians],
            Self::StudentEmails => &[Self::Students, Self::Emails],
            Self::StudentPhones => &[Self::Students, Self::Phones],
            Self::StudentSms => &[Self::Students, Self::Sms],
            Self::GuardianEmails => &[Self::Guardians, Self::Emails],
            Self::GuardianPhones => &[Self::Guardians, Self::Phones],
            Self::GuardianSms => &[Self::Guardians, Self::Sms],
            _ => &[],
        }
    }

    /// Whether a row of its kind that is not marked as deleted is one of these, or has such a value.
    pub(super) fn is_in(self, row: Row<'_>, who: Who) -> bool {
        let family = |column: U| who.is_family() && has(row, column);
        let student = |column: U| who.student && has(row, column);
        let guardian = |column: U| who.guardian && has(row, column);
        match self {
            Self::Students => who.student,
            Self::Guardians => who.guardian,
            Self::Agents => family(U::Agents),
            Self::GivenNames => family(U::GivenName),
            Self::MiddleNames => family(U::MiddleName),
            Self::FamilyNames => family(U::FamilyName),
            Self::Emails => family(U::Email),
            Self::Phones => family(U::Phone),
            Self::Sms => family(U::Sms),
            Self::StudentEmails => student(U::Email),
            Self::StudentPhones => student(U::Phone),
            Self::StudentSms => student(U::Sms),
            Self::GuardianEmails => guardian(U::Email),
            Self::GuardianPhones => guardian(U::Phone),
            Self::GuardianSms => guardian(U::Sms),
            Self::Identifiers => student(U::Identifier),
            Self::Grades => student(U::Grade),
            Self::UserIds => student(U::UserIds),
            Self::BirthDates => row.date(D::BirthDate).is_some(),
            Self::Sexes => has(row, D::Sex),
        }
    }
}

fn has<C: Column>(row: Row<'_>, column: C) -> bool {
    row.text(column).is_some()
}

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// How many there are.
    pub counts: BTreeMap<Facet, i64>,
    /// Guardians who are named and not shown.
    pub nameless: i64,
    /// Of a pull for changes: what changed rows had and no row told has.
    pub emptied: BTreeSet<Facet>,
}

impl Contents {
    /// Counts a pull.
    pub fn of(source: &Source) -> Self {
        let counts = Facet::ALL.map(|facet| (facet, 0)).into();
        let mut contents = Self { counts, nameless: 0, emptied: laid::emptied(source) };
        for row in source.places(Kind::User).iter().map(|place| source.row(*place)) {
            let who = Who::of(Kind::User, row);
            if who.is_family() {
                contents.add(Kind::User, row, who);
            }
            if who.student {
                let agents = lists::records::<1>(row.text(U::Agents));
                contents.nameless += agents.filter(|[agent]| find(source, Kind::User, agent).is_none()).count() as i64;
            }
        }
        for row in source.places(Kind::Demographics).iter().map(|place| source.row(*place)) {
            if is_live(row, D::Status) {
                contents.add(Kind::Demographics, row, Who::default());
            }
        }
        contents
    }

    fn add(&mut self, kind: Kind, row: Row<'_>, who: Who) {
        for facet in Facet::ALL.into_iter().filter(|facet| facet.kind() == kind && facet.is_in(row, who)) {
            *self.counts.entry(facet).or_default() += 1;
        }
    }
}
