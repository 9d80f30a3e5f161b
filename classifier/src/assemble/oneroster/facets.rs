//! What a pull of OneRoster may hold none of all at once: kinds of people, and kinds of values of each.
//!
//! Role: one table of names, and which of them a row holds. Neighbours: [`contents`](super::contents) counts them over a
//! pull, [`laid`](super::laid) compares changed rows by them, [`crate::overlay`] keeps what is stored of them.
//!
//! Invariant: names stand in findings, baselines and `--accept-empty`, and are never given another meaning.

use rollcall_store::district::{Connection, StaffScope};

use super::{STATE_ID, U, is_live, is_student, people, state_id};
use crate::fragment::{Column, Kind, Row, column::Demographics as D};

/// How a connection's rows are read.
#[derive(Debug, Clone, Copy)]
pub struct Reads<'a> {
    /// Where the state's id is: a type among `userIds`, or an entry of the metadata.
    pub(super) state_id_from: &'a str,
    /// Which staff are wanted.
    pub(super) staff: StaffScope,
}

impl<'a> Reads<'a> {
    /// As the district's file says.
    pub fn of(connection: &'a Connection) -> Self {
        Self { state_id_from: connection.state_id_from.as_deref().unwrap_or(STATE_ID), staff: connection.staff }
    }
}

/// Whose values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// Students.
    Students,
    /// Guardians.
    Guardians,
    /// Both of them.
    Family,
    /// The staff that the connection wants.
    Staff,
    /// Whoever has demographics.
    Described,
}

/// A kind of value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// Given names.
    GivenName,
    /// Middle names.
    MiddleName,
    /// Family names.
    FamilyName,
    /// E-mail addresses.
    Email,
    /// Telephone numbers.
    Phone,
    /// Numbers for text messages.
    Sms,
    /// Links between students and guardians, from the group's side.
    Agents,
    /// Local ids.
    Identifier,
    /// Grades.
    Grade,
    /// The state's ids.
    StateId,
    /// Birth dates.
    BirthDate,
    /// Sexes.
    Sex,
}

/// Something that a pull may hold none of all at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Facet {
    /// People.
    People(Group),
    /// Values of theirs.
    Of(Group, Value),
}

use Group::{Described, Family, Guardians, Staff, Students};
use Value::{Agents, BirthDate, Email, FamilyName, GivenName, Grade, Identifier, MiddleName, Phone, Sex, Sms, StateId};

/// All facets by name. A facet's place is its bit in [`Facets`].
const NAMED: [(Facet, &str); 36] = [
    (Facet::People(Students), "users/students"),
    (Facet::People(Guardians), "users/guardians"),
    (Facet::People(Staff), "users/staff"),
    (Facet::Of(Family, Agents), "users.agents"),
    (Facet::Of(Family, GivenName), "users.givenName"),
    (Facet::Of(Family, MiddleName), "users.middleName"),
    (Facet::Of(Family, FamilyName), "users.familyName"),
    (Facet::Of(Family, Email), "users.email"),
    (Facet::Of(Family, Phone), "users.phone"),
    (Facet::Of(Family, Sms), "users.sms"),
    (Facet::Of(Students, Agents), "users/students.agents"),
    (Facet::Of(Students, GivenName), "users/students.givenName"),
    (Facet::Of(Students, MiddleName), "users/students.middleName"),
    (Facet::Of(Students, FamilyName), "users/students.familyName"),
    (Facet::Of(Students, Email), "users/students.email"),
    (Facet::Of(Students, Phone), "users/students.phone"),
    (Facet::Of(Students, Sms), "users/students.sms"),
    (Facet::Of(Students, Identifier), "users.identifier"),
    (Facet::Of(Students, Grade), "users.grades"),
    (Facet::Of(Students, StateId), "users.stateId"),
    (Facet::Of(Guardians, Agents), "users/guardians.agents"),
    (Facet::Of(Guardians, GivenName), "users/guardians.givenName"),
    (Facet::Of(Guardians, MiddleName), "users/guardians.middleName"),
    (Facet::Of(Guardians, FamilyName), "users/guardians.familyName"),
    (Facet::Of(Guardians, Email), "users/guardians.email"),
    (Facet::Of(Guardians, Phone), "users/guardians.phone"),
    (Facet::Of(Guardians, Sms), "users/guardians.sms"),
    (Facet::Of(Staff, GivenName), "users/staff.givenName"),
    (Facet::Of(Staff, MiddleName), "users/staff.middleName"),
    (Facet::Of(Staff, FamilyName), "users/staff.familyName"),
    (Facet::Of(Staff, Email), "users/staff.email"),
    (Facet::Of(Staff, Phone), "users/staff.phone"),
    (Facet::Of(Staff, Sms), "users/staff.sms"),
    (Facet::Of(Staff, Identifier), "users/staff.identifier"),
    (Facet::Of(Described, BirthDate), "demographics.birthDate"),
    (Facet::Of(Described, Sex), "demographics.sex"),
];

impl Facet {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        NAMED.into_iter().map(|(facet, _)| facet)
    }

    /// As findings, baselines and `--accept-empty` spell it.
    pub fn name(self) -> &'static str {
        NAMED.into_iter().find(|(facet, _)| *facet == self).map_or("", |(_, name)| name)
    }

    /// Whether statuses rest on it.
    pub const fn is_essential(self) -> bool {
        matches!(self, Self::People(Students))
    }

    /// The kind of row that it is in.
    pub const fn kind(self) -> Kind {
        match self {
            Self::Of(Described, _) => Kind::Demographics,
            _ => Kind::User,
        }
    }

    /// Whether it is judged where a whole pull has none, and not only by pages: links may be told from the other side.
    pub const fn is_judged(self) -> bool {
        !matches!(self, Self::Of(Students | Guardians | Staff, Agents))
    }

    /// Whether few have it, so that the last one may well go.
    pub const fn is_rare(self) -> bool {
        matches!(self, Self::Of(Students | Guardians | Staff, MiddleName))
    }

    /// Whether a person's own row holds it, who is of one group.
    pub const fn is_of_one(self) -> bool {
        matches!(self, Self::Of(Students | Guardians | Staff | Described, _))
    }

    /// Whether a connection has any: staff who are not wanted are no loss.
    pub(super) fn is_wanted(self, reads: Reads<'_>) -> bool {
        let of_staff = matches!(self, Self::People(Staff) | Self::Of(Staff, _));
        !of_staff || reads.staff != StaffScope::None
    }

    /// The people whose value it is; `None` where there is no telling.
    pub(super) const fn people(self) -> Option<Self> {
        match self {
            Self::People(_) | Self::Of(Family | Described, _) => None,
            Self::Of(group, _) => Some(Self::People(group)),
        }
    }

    /// Where there is none of one of these, it says nothing more.
    pub fn rests_on(self) -> impl Iterator<Item = Self> {
        let wider = match self {
            Self::Of(Family, Agents) => Some(Self::People(Guardians)),
            Self::Of(Students | Guardians, value) => Some(Self::Of(Family, value)),
            _ => None,
        };
        self.people().into_iter().chain(wider)
    }
}

/// Several facets: a bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Facets(u64);

const _: () = assert!(NAMED.len() <= u64::BITS as usize, "each facet has a bit");

impl Facets {
    /// Those that `wanted` says.
    pub fn that(wanted: impl Fn(Facet) -> bool) -> Self {
        Facet::all().filter(|facet| wanted(*facet)).collect()
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether it is among them.
    pub fn contains(self, facet: Facet) -> bool {
        bit(facet) & self.0 != 0
    }

    /// Adds one.
    pub fn insert(&mut self, facet: Facet) {
        self.0 |= bit(facet);
    }

    /// These and those.
    #[must_use]
    pub const fn with(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// These but for those.
    #[must_use]
    pub const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// Those that are in both.
    #[must_use]
    pub const fn common(self, others: Self) -> Self {
        Self(self.0 & others.0)
    }

    /// Whether the facet at `place` of the table is among them.
    pub(super) const fn has_bit(self, place: usize) -> bool {
        self.0 >> place & 1 == 1
    }

    /// One after another.
    pub fn iter(self) -> impl Iterator<Item = Facet> {
        Facet::all().enumerate().filter(move |(place, _)| self.has_bit(*place)).map(|(_, facet)| facet)
    }

    /// By name.
    pub(super) fn names(self) -> String {
        self.iter().map(Facet::name).collect::<Vec<_>>().join(", ")
    }
}

impl FromIterator<Facet> for Facets {
    fn from_iter<I: IntoIterator<Item = Facet>>(facets: I) -> Self {
        let mut all = Self::default();
        facets.into_iter().for_each(|facet| all.insert(facet));
        all
    }
}

fn bit(facet: Facet) -> u64 {
    NAMED.iter().position(|(other, _)| *other == facet).map_or(0, |place| 1 << place)
}

/// What a user is, as far as facets ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Who {
    pub(super) student: bool,
    pub(super) guardian: bool,
    staff: bool,
}

impl Who {
    pub(super) fn of(row: Row<'_>, reads: Reads<'_>) -> Self {
        Self {
            student: is_student(row),
            guardian: people::is_guardian(row).is_some(),
            staff: people::is_staff(row, reads.staff),
        }
    }

    const fn is(self, group: Group) -> bool {
        match group {
            Students => self.student,
            Guardians => self.guardian,
            Family => self.student || self.guardian,
            Staff => self.staff,
            Described => false,
        }
    }
}

/// What a row is or holds; nothing, where it is marked as deleted.
pub(super) fn of_row(kind: Kind, row: Row<'_>, reads: Reads<'_>) -> Facets {
    match kind {
        Kind::User => of_user(row, Who::of(row, reads), reads),
        Kind::Demographics if is_live(row, D::Status) => of_demographics(row),
        _ => Facets::default(),
    }
}

fn of_user(row: Row<'_>, who: Who, reads: Reads<'_>) -> Facets {
    if who == Who::default() {
        return Facets::default();
    }
    let cells = row.read();
    let has = |value: Value| {
        let column = match value {
            GivenName => U::GivenName,
            MiddleName => U::MiddleName,
            FamilyName => U::FamilyName,
            Email => U::Email,
            Phone => U::Phone,
            Sms => U::Sms,
            Agents => U::Agents,
            Identifier => U::Identifier,
            Grade => U::Grade,
            StateId => return state_id(row, reads.state_id_from).is_some(),
            BirthDate | Sex => return false,
        };
        cells.cell(column).text().is_some()
    };
    let mut held = 0_u64;
    let mut seen = [None; VALUES];
    for (place, (facet, _)) in NAMED.iter().enumerate() {
        let holds = match facet {
            Facet::People(group) => who.is(*group),
            Facet::Of(group, value) => who.is(*group) && *seen[*value as usize].get_or_insert_with(|| has(*value)),
        };
        held |= u64::from(holds) << place;
    }
    Facets(held)
}

/// Kinds of values.
const VALUES: usize = Sex as usize + 1;

fn of_demographics(row: Row<'_>) -> Facets {
    let birth_date = row.date(D::BirthDate).is_some().then_some(Facet::Of(Described, BirthDate));
    let sex = has(row, D::Sex).then_some(Facet::Of(Described, Sex));
    birth_date.into_iter().chain(sex).collect()
}

fn has<C: Column>(row: Row<'_>, column: C) -> bool {
    row.text(column).is_some()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_facet_has_a_name_and_a_bit_of_its_own() {
        let names: BTreeSet<&str> = Facet::all().map(Facet::name).collect();
        assert_eq!(names.len(), NAMED.len());
        for facet in Facet::all() {
            let alone: Facets = [facet].into_iter().collect();
            assert_eq!(alone.iter().collect::<Vec<_>>(), [facet]);
            let others = Facets::that(|other| other != facet);
            assert!(!others.contains(facet) && others.iter().count() == NAMED.len() - 1, "{facet:?}");
            assert_eq!((others.with(alone).without(others), others.common(alone)), (alone, Facets::default()));
        }
        assert_eq!(
            Facets::that(|facet| facet.kind() == Kind::Demographics).names(),
            "demographics.birthDate, demographics.sex"
        );
    }

    #[test]
    fn what_is_asked_of_a_facet_is_answered_for_each() {
        let named = |wanted: &dyn Fn(Facet) -> bool| {
            Facet::all().filter(|facet| wanted(*facet)).map(Facet::name).collect::<Vec<_>>()
        };
        assert_eq!(named(&Facet::is_essential), ["users/students"]);
        assert_eq!(named(&|facet| !facet.is_judged()), ["users/students.agents", "users/guardians.agents"]);
        let rare = ["users/students.middleName", "users/guardians.middleName", "users/staff.middleName"];
        assert_eq!(named(&Facet::is_rare), rare);
        let people = ["users/students", "users/guardians", "users/staff"];
        let of_both = ["agents", "givenName", "middleName", "familyName", "email", "phone", "sms"];
        let of_several: Vec<String> =
            people.map(str::to_owned).into_iter().chain(of_both.map(|value| format!("users.{value}"))).collect();
        assert_eq!(named(&|facet| !facet.is_of_one()), of_several);
        for (staff, wanted) in [(StaffScope::None, false), (StaffScope::Active, true), (StaffScope::Teachers, true)] {
            let reads = Reads { state_id_from: STATE_ID, staff };
            for facet in Facet::all() {
                let of_staff = facet.name().starts_with("users/staff");
                assert_eq!(facet.is_wanted(reads), wanted || !of_staff, "{facet:?}, {staff:?}");
            }
        }
    }

    #[test]
    fn a_narrower_one_says_nothing_where_a_wider_one_does() {
        let rests_on = |facet: Facet| facet.rests_on().map(Facet::name).collect::<Vec<_>>();
        assert_eq!(rests_on(Facet::Of(Students, Email)), ["users/students", "users.email"]);
        assert_eq!(rests_on(Facet::Of(Family, Agents)), ["users/guardians"]);
        assert_eq!(rests_on(Facet::Of(Family, Email)), [""; 0]);
        assert_eq!(rests_on(Facet::People(Staff)), [""; 0]);
        assert_eq!(rests_on(Facet::Of(Described, Sex)), [""; 0]);
    }
}
