//! Staff, their years, and homerooms.

use super::district::{entity_id, year_id};
use super::people::Person;
use super::{Field, Link, Table, Value};
use crate::world::View;
use crate::world::calendar::Year;

const PER_SCHOOL: u32 = 12;
const HOMEROOMS: u32 = 10;
/// Homerooms and staff years are kept for the previous and the current year.
const YEARS: [Year; 2] = [Year::PREVIOUS, Year::CURRENT];

/// How many there are.
pub(crate) fn count(view: &View<'_>) -> u32 {
    view.world.small.schools.len() as u32 * PER_SCHOOL
}

/// `StaffID`, by index.
pub(crate) fn staff_id(index: u32) -> i64 {
    5_000 + i64::from(index)
}

/// The first staff member of a school.
pub(crate) fn of_school(school: u16) -> u32 {
    u32::from(school) * PER_SCHOOL
}

/// The school of a staff member.
pub(crate) fn school_of(index: u32) -> u16 {
    (index / PER_SCHOOL) as u16
}

/// One in twenty has left.
pub(crate) fn is_active(index: u32) -> bool {
    index % 20 != 13
}

pub(crate) static STAFF: Table<u32> = Table {
    module: "Staff",
    name: "Staff",
    fields: &[
        Field::id("StaffID", |_, row: &u32| Value::Int(staff_id(*row))).required(),
        Field::id("NameID", |view, row: &u32| Value::Int(Person::Staff(*row).name_id(view))).required(),
        Field::id("DistrictID", |_, _: &u32| Value::Int(1)).required(),
        Field::text("StaffNumber", |_, row: &u32| Value::Text(format!("T{row:05}"))),
        Field::flag("IsActiveForDistrict", |_, row: &u32| Value::Bool(is_active(*row))).read_only(),
        Field::flag("IsCurrentStaffEntityYear", |_, row: &u32| Value::Bool(is_active(*row))).read_only(),
        Field::text("FullNameFL", |view, row: &u32| super::people::full_name(view, &Person::Staff(*row))).read_only(),
    ],
    links: &[Link { name: "Name", module: "Demographics", object: "Name", key: "NameID" }],
    each: |view, visit| (0..count(view)).for_each(|row| visit(row, row)),
    row: |view, slot| (slot < count(view)).then_some(slot),
    year: None,
    entity: None,
    writable: false,
};

/// A staff member or homeroom (by index over all schools) in a year.
#[derive(Clone, Copy)]
pub(crate) struct InYear {
    year: Year,
    index: u32,
}

/// Slots: years, then as many places as ids leave room for.
const ROOM: u32 = 100_000;

fn each_of(per_school: u32, view: &View<'_>, visit: &mut dyn FnMut(u32, InYear)) {
    let count = view.world.small.schools.len() as u32 * per_school;
    for year in YEARS {
        (0..count).for_each(|index| visit(u32::from(year.0) * ROOM + index, InYear { year, index }));
    }
}

fn one_of(per_school: u32, view: &View<'_>, slot: u32) -> Option<InYear> {
    let (year, index) = (Year((slot / ROOM) as u8), slot % ROOM);
    let exists = YEARS.contains(&year) && index < view.world.small.schools.len() as u32 * per_school;
    exists.then_some(InYear { year, index })
}

fn id_in(base: i64, row: InYear) -> i64 {
    base + i64::from(u32::from(row.year.0) * ROOM + row.index)
}

pub(crate) static STAFF_ENTITY_YEAR: Table<InYear> = Table {
    module: "Staff",
    name: "StaffEntityYear",
    fields: &[
        Field::id("StaffEntityYearID", |_, row: &InYear| Value::Int(id_in(40_000, *row))).required(),
        Field::id("StaffID", |_, row: &InYear| Value::Int(staff_id(row.index))).required(),
        Field::id("EntityID", |_, row: &InYear| Value::Int(entity_id(school_of(row.index)))).required(),
        Field::id("SchoolYearID", |view, row: &InYear| Value::Int(year_id(view, row.year))).required(),
        Field::flag("IsActive", |_, row: &InYear| Value::Bool(is_active(row.index))),
        Field::flag("IsTeacher", |_, row: &InYear| Value::Bool(row.index % 5 != 4)),
        Field::flag("IsSubstituteTeacher", |_, _: &InYear| Value::Bool(false)),
        Field::flag("IsDisciplineOfficer", |_, row: &InYear| Value::Bool(row.index % PER_SCHOOL == 11)),
        Field::text("TeacherNumber", |_, row: &InYear| Value::Text(format!("{:04}", row.index))),
        Field::id("RoomIDDefault", |_, _: &InYear| Value::Null),
    ],
    links: &[
        Link { name: "Staff", module: "Staff", object: "Staff", key: "StaffID" },
        Link { name: "Entity", module: "District", object: "Entity", key: "EntityID" },
        Link { name: "SchoolYear", module: "District", object: "SchoolYear", key: "SchoolYearID" },
    ],
    each: |view, visit| each_of(PER_SCHOOL, view, visit),
    row: |view, slot| one_of(PER_SCHOOL, view, slot),
    year: Some(|view, row| year_id(view, row.year)),
    entity: Some(|_, row| entity_id(school_of(row.index))),
    writable: false,
};

/// `HomeroomID` of a student at a school in a year.
pub(crate) fn homeroom_id(year: Year, school: u16, student: u32) -> i64 {
    let kept = year.clamp(Year::PREVIOUS, Year::CURRENT);
    id_in(1_000, InYear { year: kept, index: u32::from(school) * HOMEROOMS + student % HOMEROOMS })
}

fn homeroom_school(row: InYear) -> u16 {
    (row.index / HOMEROOMS) as u16
}

pub(crate) static HOMEROOM: Table<InYear> = Table {
    module: "Enrollment",
    name: "Homeroom",
    fields: &[
        Field::id("HomeroomID", |_, row: &InYear| Value::Int(id_in(1_000, *row))).required(),
        Field::text("Code", |_, row: &InYear| Value::Text(format!("HR-{:02}", 1 + row.index % HOMEROOMS))).required(),
        Field::id("EntityID", |_, row: &InYear| Value::Int(entity_id(homeroom_school(*row)))).required(),
        Field::id("StaffID", |_, row: &InYear| {
            Value::Int(staff_id(of_school(homeroom_school(*row)) + row.index % HOMEROOMS))
        }),
        Field::id("RoomID", |_, _: &InYear| Value::Null),
        Field::id("SchoolYearID", |view, row: &InYear| Value::Int(year_id(view, row.year))),
        Field::text("HomeroomDetails", |_, row: &InYear| {
            Value::Text(format!("Homeroom {}", 1 + row.index % HOMEROOMS))
        })
        .read_only(),
    ],
    links: &[
        Link { name: "Entity", module: "District", object: "Entity", key: "EntityID" },
        Link { name: "Staff", module: "Staff", object: "Staff", key: "StaffID" },
    ],
    each: |view, visit| each_of(HOMEROOMS, view, visit),
    row: |view, slot| one_of(HOMEROOMS, view, slot),
    year: Some(|view, row| year_id(view, row.year)),
    entity: Some(|_, row| entity_id(homeroom_school(*row))),
    writable: false,
};
