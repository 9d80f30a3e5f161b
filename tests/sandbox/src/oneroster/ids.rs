//! Ids. Campus: GUIDs in 1.2, role letter and number in 1.1. Skyward: a word and the number of its own API's row, in both
//! versions; of students, guardians and entities they have been seen, those of staff are made alike (wire/skyward.md C 3).

use super::{Dialect, Version};
use crate::catalog::people::Person;
use crate::catalog::{DISTRICT_WIDE, entity_id, staff};
use crate::world::{STUDENT_BASE, Salt, View, World};

/// Where each kind of thing begins among the numbers that GUIDs are made from.
const GUARDIANS: u64 = 1 << 33;
const STAFF: u64 = 1 << 34;
const ORGS: u64 = 1 << 35;
const SESSIONS: u64 = 1 << 36;

/// A version 4 UUID that hangs on the seed and a number.
fn guid(world: &World, number: u64) -> String {
    let (high, low) = (world.hash(Salt::GuidHigh, number), world.hash(Salt::GuidLow, number));
    let high = (high & !0xF000) | 0x4000;
    let low = (low & (u64::MAX >> 2)) | (1 << 63);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xFFFF,
        high & 0xFFFF,
        low >> 48,
        low & 0xFFFF_FFFF_FFFF
    )
}

/// The GUID of the student with this `StudentID`.
pub(crate) fn student_guid(world: &World, student: i64) -> String {
    guid(world, student.abs_diff(STUDENT_BASE))
}

/// The number of a person that both versions share: 1.2 tells it as `ic.legacySourceId`.
pub(super) fn legacy(view: &View<'_>, person: &Person) -> String {
    match *person {
        Person::Student(index, _) => (STUDENT_BASE + i64::from(index)).to_string(),
        Person::Staff(index) => staff::staff_id(index).to_string(),
        Person::Guardian(..) | Person::Contact(_) => person.name_id(view).to_string(),
    }
}

/// A person's `sourcedId`.
pub(super) fn person(view: &View<'_>, dialect: Dialect, person: &Person) -> String {
    if dialect.is_skyward() {
        return of_skyward(view, person);
    }
    let id = match (dialect.version, *person) {
        (Version::V11, Person::Student(..)) => format!("s{}", legacy(view, person)),
        (Version::V11, Person::Staff(_)) => format!("t{}", legacy(view, person)),
        (Version::V11, _) => format!("g{}", legacy(view, person)),
        (Version::V12, Person::Student(index, _)) => guid(view.world, u64::from(index)),
        (Version::V12, Person::Staff(index)) => guid(view.world, STAFF + u64::from(index)),
        (Version::V12, Person::Guardian(family, which)) => {
            guid(view.world, GUARDIANS + u64::from(family) * 4 + u64::from(which))
        }
        (Version::V12, Person::Contact(family)) => guid(view.world, GUARDIANS + u64::from(family) * 4 + 3),
    };
    spelled(view, id)
}

fn of_skyward(view: &View<'_>, person: &Person) -> String {
    let word = match person {
        Person::Student(..) => "Student",
        Person::Staff(_) => "Staff",
        Person::Guardian(..) | Person::Contact(_) => "Guardian",
    };
    format!("{word}_{}", legacy(view, person))
}

/// A school's or, without one, the district's `sourcedId`.
pub(super) fn org(view: &View<'_>, dialect: Dialect, school: Option<u16>) -> String {
    let number = school.map_or(0, |school| u64::from(school) + 1);
    match dialect.version {
        _ if dialect.is_skyward() => format!("Entity_{}", school.map_or(DISTRICT_WIDE, entity_id)),
        Version::V11 => number.to_string(),
        Version::V12 => spelled(view, guid(view.world, ORGS + number)),
    }
}

/// A session's `sourcedId`.
pub(super) fn session(view: &View<'_>, place: u64) -> String {
    guid(view.world, SESSIONS + place)
}

fn spelled(view: &View<'_>, id: String) -> String {
    if view.quirks.oneroster.capital_ids { id.to_uppercase() } else { id }
}
