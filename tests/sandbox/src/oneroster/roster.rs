//! Who is listed, and in which roles.

use std::collections::BTreeSet;

use chrono::{Days, NaiveDate};

use super::rows::Row;
use super::{Collection, Dialect, Version};
use crate::catalog::people::Person;
use crate::catalog::{staff, student};
use crate::world::calendar::Year;
use crate::world::scenario::State;
use crate::world::{Salt, View, family};

/// A student's role at a school.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Role {
    pub(super) school: u16,
    /// First day.
    pub(super) begin: NaiveDate,
    /// First day after it: `OneRoster`'s end dates are exclusive.
    pub(super) end: Option<NaiveDate>,
}

/// Days until school begins, where the active year has been flipped.
const UNTIL_NEXT_YEAR: u64 = 30;

/// The roles of a student, in the order they begin; the first is the primary one. Only those of the active year, without
/// no-shows and without courses elsewhere, which are class memberships to Campus.
pub(super) fn roles(view: &View<'_>, index: u32, state: &State) -> Vec<Role> {
    let spells = view.spells(index, state);
    let own = spells.as_slice().iter().filter(|spell| spell.home && !spell.no_show && spell.year == Year::CURRENT);
    if view.quirks.oneroster.next_year {
        let begin = view.world.today() + Days::new(UNTIL_NEXT_YEAR);
        return own
            .filter(|spell| spell.end.is_none())
            .map(|spell| Role { school: spell.school, begin, end: None })
            .collect();
    }
    let role = |spell: &crate::world::spell::Spell| Role {
        school: spell.school,
        begin: spell.start,
        end: spell.end.map(|last| last + Days::new(1)),
    };
    let mut roles: Vec<Role> = own.map(role).collect();
    roles.sort_by_key(|role| role.begin);
    roles
}

/// Whether somebody with these roles is listed: 1.1 knows no dates, and lists who has not left.
pub(super) fn is_listed(view: &View<'_>, dialect: Dialect, roles: &[Role]) -> bool {
    let today = view.world.today();
    match dialect.version {
        Version::V12 => !roles.is_empty(),
        Version::V11 => roles.iter().any(|role| role.end.is_none_or(|end| end > today)),
    }
}

/// Whether a student who is gone is still served, as `tobedeleted`.
fn leaves_a_trace(view: &View<'_>, index: u32) -> bool {
    let quirks = &view.quirks.oneroster;
    quirks.to_be_deleted && !(quirks.silent_half && view.hash(Salt::Half, index) & 2 == 0)
}

/// Students listed, and those who are gone as far as they leave a trace.
fn students(view: &View<'_>, dialect: Dialect) -> Vec<Person> {
    let known = (0..view.students()).filter_map(|index| Some((index, view.state(index)?)));
    let here = known.filter(|(index, state)| !state.gone || leaves_a_trace(view, *index));
    let listed = here.filter(|(index, state)| is_listed(view, dialect, &roles(view, *index, state)));
    listed.map(|(index, state)| Person::Student(index, state)).collect()
}

/// The guardians of a student who are shared.
pub(super) fn guardians(view: &View<'_>, index: u32) -> Vec<Person> {
    if view.quirks.oneroster.no_guardians {
        return Vec::new();
    }
    let own = family::of(index);
    (0..family::guardians(view, own)).map(|which| Person::Guardian(own, which)).collect()
}

/// The listed students of a family.
pub(super) fn children(view: &View<'_>, dialect: Dialect, of: u32) -> Vec<Person> {
    let first = family::first_student(of);
    let indexes = (first..first + 3).filter(|index| family::of(*index) == of);
    let listed = indexes.filter_map(|index| Some((index, view.listed(index)?)));
    let listed = listed.filter(|(index, state)| is_listed(view, dialect, &roles(view, *index, state)));
    listed.map(|(index, state)| Person::Student(index, state)).collect()
}

/// The night on which anything about a family was changed last.
pub(super) fn changed_on(view: &View<'_>, of: u32) -> u32 {
    let first = family::first_student(of);
    let indexes = (first..first + 3).filter(|index| family::of(*index) == of);
    let nights = indexes.filter_map(|index| Some(view.changed_on(index, &view.state(index)?)));
    nights.max().unwrap_or(1)
}

fn all_guardians(view: &View<'_>, students: &[Person]) -> Vec<Person> {
    let families: BTreeSet<u32> = students
        .iter()
        .filter_map(|person| match person {
            Person::Student(index, _) => Some(family::of(*index)),
            _ => None,
        })
        .collect();
    families.into_iter().flat_map(|family| guardians(view, family::first_student(family))).collect()
}

fn all_staff(view: &View<'_>) -> impl Iterator<Item = Person> {
    (0..staff::count(view)).filter(|index| staff::is_active(*index)).map(Person::Staff)
}

/// Whether a member of staff teaches; the others are administrators.
pub(super) const fn teaches(index: u32) -> bool {
    index % 6 != 5
}

/// Everything a collection holds, in no order.
pub(super) fn rows(view: &View<'_>, dialect: Dialect, collection: Collection) -> Vec<Row> {
    let schools = 0..view.world.small.schools.len() as u16;
    match collection {
        Collection::Orgs => {
            let department = dialect.is_skyward().then_some(Row::Department);
            std::iter::once(None).chain(schools.map(Some)).map(Row::Org).chain(department).collect()
        }
        Collection::Schools => schools.map(|school| Row::Org(Some(school))).collect(),
        Collection::AcademicSessions => (0..3).map(Row::Session).collect(),
        Collection::Terms => (1..3).map(Row::Session).collect(),
        Collection::GradingPeriods => Vec::new(),
        Collection::Students => students(view, dialect).into_iter().map(Row::User).collect(),
        Collection::Teachers => {
            all_staff(view).filter(|person| matches!(person, Person::Staff(n) if teaches(*n))).map(Row::User).collect()
        }
        Collection::Users => {
            let students = students(view, dialect);
            let guardians = all_guardians(view, &students);
            students.into_iter().chain(guardians).chain(all_staff(view)).map(Row::User).collect()
        }
        Collection::Demographics => students(view, dialect).into_iter().map(Row::Demographics).collect(),
    }
}

/// A student's grade, zero-padded, as Campus spells it.
pub(super) fn grade(view: &View<'_>, index: u32) -> &'static str {
    student::grade_code(view.grade(index))
}
