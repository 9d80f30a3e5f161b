//! What a pull of OneRoster holds beside its rows: how many of each kind of person, and of each kind of value.
//!
//! One listing carries students, guardians and staff, and "Data to Share" in Campus takes single fields away without a
//! word. So each of these is counted, and one that is empty and held something on the last complete pull is treated as an
//! empty listing is.

use std::collections::BTreeMap;

use super::{U, find, is_live, is_student, people::is_guardian};
use crate::{
    fragment::{Column, Kind, Row, lists},
    load::Source,
};

/// Something that a pull may hold none of all at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Facet {
    /// Students: statuses rest on them.
    Students,
    /// Guardians.
    Guardians,
    /// E-mail addresses.
    Emails,
    /// Telephone numbers.
    Phones,
    /// Numbers for text messages.
    Sms,
    /// Local ids.
    Identifiers,
    /// Grades.
    Grades,
    /// Further ids, the state's among them.
    UserIds,
}

impl Facet {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Students,
        Self::Guardians,
        Self::Emails,
        Self::Phones,
        Self::Sms,
        Self::Identifiers,
        Self::Grades,
        Self::UserIds,
    ];

    /// As findings, baselines and `--accept-empty` spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Students => "users/students",
            Self::Guardians => "users/guardians",
            Self::Emails => "users.email",
            Self::Phones => "users.phone",
            Self::Sms => "users.sms",
            Self::Identifiers => "users.identifier",
            Self::Grades => "users.grades",
            Self::UserIds => "users.userIds",
        }
    }

    /// Whether statuses rest on it.
    pub const fn is_essential(self) -> bool {
        matches!(self, Self::Students)
    }
}

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// How many there are.
    pub counts: BTreeMap<Facet, i64>,
    /// Guardians who are named and not shown.
    pub nameless: i64,
}

impl Contents {
    /// Counts a pull.
    pub fn of(source: &Source) -> Self {
        let mut contents = Self { counts: Facet::ALL.map(|facet| (facet, 0)).into(), nameless: 0 };
        for place in source.places(Kind::User) {
            contents.add(source, source.row(*place));
        }
        contents
    }

    fn add(&mut self, source: &Source, row: Row<'_>) {
        let student = is_student(row);
        let guardian = is_guardian(row).is_some();
        if !student && !guardian {
            return;
        }
        self.count(Facet::Guardians, guardian);
        self.column(Facet::Emails, row, U::Email);
        self.column(Facet::Phones, row, U::Phone);
        self.column(Facet::Sms, row, U::Sms);
        if student {
            self.count(Facet::Students, is_live(row, U::Status));
            self.column(Facet::Identifiers, row, U::Identifier);
            self.column(Facet::Grades, row, U::Grade);
            self.column(Facet::UserIds, row, U::UserIds);
            let agents = lists::records::<1>(row.text(U::Agents));
            self.nameless += agents.filter(|[agent]| find(source, Kind::User, agent).is_none()).count() as i64;
        }
    }

    fn column<C: Column>(&mut self, facet: Facet, row: Row<'_>, column: C) {
        self.count(facet, row.text(column).is_some());
    }

    fn count(&mut self, facet: Facet, there: bool) {
        *self.counts.entry(facet).or_default() += i64::from(there);
    }
}
