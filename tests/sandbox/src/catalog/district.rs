//! The district, its entities, schools, school years and grades. A school has another id each year.

use super::student::grade_code;
use super::table::DISTRICT_WIDE;
use super::{Field, Link, Table, Value};
use crate::world::View;
use crate::world::calendar::Year;
use crate::world::small::School;
use crate::world::spell::numeric_year;

/// `EntityID` of a school.
pub(crate) fn entity_id(school: u16) -> i64 {
    200 + i64::from(school)
}

/// Whether there is such an entity.
pub(crate) fn is_entity(view: &View<'_>, entity: i64) -> bool {
    entity == DISTRICT_WIDE || (200..200 + view.world.small.schools.len() as i64).contains(&entity)
}

/// `SchoolYearID` of a year: never its number.
pub(crate) fn year_id(view: &View<'_>, year: Year) -> i64 {
    view.world.config.first_school_year + i64::from(year.0)
}

/// `SchoolID` of a school in a year.
pub(crate) fn school_id(year: Year, school: u16) -> i64 {
    4_000 + i64::from(year.0) * 1_000 + i64::from(school)
}

fn description(view: &View<'_>, year: Year) -> String {
    let ending = numeric_year(view.world.today(), year);
    format!("{}-{ending}", ending - 1)
}

pub(crate) static DISTRICT: Table<()> = Table {
    module: "District",
    name: "District",
    fields: &[
        Field::id("DistrictID", |_, (): &()| Value::Int(1)).required(),
        Field::text("Code", |_, (): &()| Value::Str("LSI")),
        Field::text("Name", |_, (): &()| Value::Str("Lone Star ISD")),
        Field::text("CodeName", |_, (): &()| Value::Str("LSI - Lone Star ISD")),
        Field::text("StateDistrictCode", |_, (): &()| Value::Str("999901")),
        Field::text("NCESIDCode", |_, (): &()| Value::Null),
    ],
    links: &[],
    each: |_, visit| visit(0, ()),
    row: |_, slot| (slot == 0).then_some(()),
    year: None,
    entity: None,
    writable: false,
};

/// The district-wide entity, or a school's.
type EntityRow = Option<u16>;

fn entity_name(view: &View<'_>, row: EntityRow) -> String {
    row.map_or_else(|| "Lone Star ISD".into(), |school| school_of(view, school).name.clone())
}

fn entity_code(view: &View<'_>, row: EntityRow) -> String {
    row.map_or_else(|| "000".into(), |school| school_of(view, school).code.clone())
}

fn school_of<'a>(view: &View<'a>, school: u16) -> &'a School {
    &view.world.small.schools[usize::from(school)]
}

fn schools(view: &View<'_>) -> u16 {
    view.world.small.schools.len() as u16
}

pub(crate) static ENTITY: Table<EntityRow> = Table {
    module: "District",
    name: "Entity",
    fields: &[
        Field::id("EntityID", |_, row: &EntityRow| Value::Int(row.map_or(DISTRICT_WIDE, entity_id))).required(),
        Field::text("Code", |view, row: &EntityRow| Value::Text(entity_code(view, *row))).required(),
        Field::text("Name", |view, row: &EntityRow| Value::Text(entity_name(view, *row))).required(),
        Field::text("CodeName", |view, row: &EntityRow| {
            Value::Text(format!("{} - {}", entity_code(view, *row), entity_name(view, *row)))
        }),
        Field::id("DistrictID", |_, _: &EntityRow| Value::Int(1)),
        Field::id("SchoolYearIDCurrent", |view, _: &EntityRow| Value::Int(year_id(view, Year::CURRENT))).required(),
        Field::flag("IsDistrictWide", |_, row: &EntityRow| Value::Bool(row.is_none())),
        Field::flag("IsSystemWide", |_, _: &EntityRow| Value::Bool(false)),
        Field::text("CampusID", |view, row: &EntityRow| Value::Text(format!("999901{}", entity_code(view, *row))))
            .read_only(),
    ],
    links: &[Link { name: "District", module: "District", object: "District", key: "DistrictID" }],
    each: |view, visit| {
        let only = view.quirks.data.only_entity;
        let mut show = |slot, row: EntityRow| {
            if only.is_none_or(|only| only == row.map_or(DISTRICT_WIDE, entity_id)) {
                visit(slot, row);
            }
        };
        show(0, None);
        (0..schools(view)).for_each(|school| show(u32::from(school) + 1, Some(school)));
    },
    row: |view, slot| match slot.checked_sub(1) {
        None => Some(None),
        Some(school) => (school < u32::from(schools(view))).then_some(Some(school as u16)),
    },
    year: None,
    entity: None,
    writable: false,
};

pub(crate) static SCHOOL_YEAR: Table<Year> = Table {
    module: "District",
    name: "SchoolYear",
    fields: &[
        Field::id("SchoolYearID", |view, row: &Year| Value::Int(year_id(view, *row))).required(),
        Field::int("NumericYear", |view, row: &Year| Value::Int(numeric_year(view.world.today(), *row))).required(),
        Field::text("Description", |view, row: &Year| Value::Text(description(view, *row))).required(),
        Field::flag("IsCurrentYearForProvidedEntity", |_, row: &Year| Value::Bool(*row == Year::CURRENT)).read_only(),
        Field::flag("IsUpcomingYearForProvidedEntity", |_, row: &Year| Value::Bool(*row == Year::NEXT)).read_only(),
        Field::int("NextNumericYear", |view, row: &Year| Value::Int(numeric_year(view.world.today(), *row) + 1))
            .read_only(),
        Field::int("PreviousNumericYear", |view, row: &Year| Value::Int(numeric_year(view.world.today(), *row) - 1))
            .read_only(),
    ],
    links: &[],
    each: |_, visit| Year::ALL.into_iter().for_each(|year| visit(u32::from(year.0), year)),
    row: |_, slot| Year::ALL.get(slot as usize).copied(),
    year: None,
    entity: None,
    writable: false,
};

/// A school in a year.
#[derive(Clone, Copy)]
pub(crate) struct SchoolRow {
    year: Year,
    school: u16,
}

impl SchoolRow {
    fn id(self) -> i64 {
        school_id(self.year, self.school)
    }
}

fn each_school(view: &View<'_>, visit: &mut dyn FnMut(u32, SchoolRow)) {
    for year in Year::ALL {
        for school in 0..schools(view) {
            visit(u32::from(year.0) * 1_000 + u32::from(school), SchoolRow { year, school });
        }
    }
}

fn school(view: &View<'_>, slot: u32) -> Option<SchoolRow> {
    let (year, school) = (*Year::ALL.get(slot as usize / 1_000)?, (slot % 1_000) as u16);
    (school < schools(view)).then_some(SchoolRow { year, school })
}

/// `GradeLevelID` of a grade from -1 to 12.
fn grade_level_id(grade: i64) -> i64 {
    22 + grade
}

pub(crate) static SCHOOL: Table<SchoolRow> = Table {
    module: "Enrollment",
    name: "School",
    fields: &[
        Field::id("SchoolID", |_, row: &SchoolRow| Value::Int(row.id())).required(),
        Field::text("Code", |view, row: &SchoolRow| Value::Text(school_of(view, row.school).code.clone())).required(),
        Field::text("Name", |view, row: &SchoolRow| Value::Text(school_of(view, row.school).name.clone())).required(),
        Field::id("DistrictID", |_, _: &SchoolRow| Value::Int(1)).required(),
        Field::id("SchoolYearID", |view, row: &SchoolRow| Value::Int(year_id(view, row.year))).required(),
        Field::id("BuildingID", |_, row: &SchoolRow| Value::Int(900 + i64::from(row.school))),
        Field::id("GradeLevelIDLow", |view, row: &SchoolRow| {
            Value::Int(grade_level_id(school_of(view, row.school).level.grades().0))
        }),
        Field::id("GradeLevelIDHigh", |view, row: &SchoolRow| {
            Value::Int(grade_level_id(school_of(view, row.school).level.grades().1))
        }),
        Field::text("PhoneNumber", |_, row: &SchoolRow| Value::Text(format!("512555{:04}", row.school))),
        Field::text("StateAssignedID", |view, row: &SchoolRow| {
            Value::Text(format!("999901{}", school_of(view, row.school).code))
        })
        .read_only(),
        Field::text("Type", |view, row: &SchoolRow| Value::Str(school_of(view, row.school).level.word())),
        Field::text("TypeCode", |view, row: &SchoolRow| Value::Str(&school_of(view, row.school).level.word()[..1]))
            .read_only(),
        Field::id("SchoolIDClonedFrom", |_, row: &SchoolRow| {
            Value::maybe_int(row.year.0.checked_sub(1).map(|before| school_id(Year(before), row.school)))
        }),
    ],
    links: &[Link { name: "SchoolYear", module: "District", object: "SchoolYear", key: "SchoolYearID" }],
    each: each_school,
    row: school,
    year: Some(|view, row| year_id(view, row.year)),
    entity: None,
    writable: false,
};

pub(crate) static ENTITY_SCHOOL: Table<SchoolRow> = Table {
    module: "Enrollment",
    name: "EntitySchool",
    fields: &[
        Field::id("EntitySchoolID", |_, row: &SchoolRow| Value::Int(row.id() + 20_000)).required(),
        Field::id("EntityID", |_, row: &SchoolRow| Value::Int(entity_id(row.school))).required(),
        Field::id("SchoolID", |_, row: &SchoolRow| Value::Int(row.id())).required(),
        Field::flag("IsDefaultSchoolForEntity", |_, _: &SchoolRow| Value::Bool(true)),
        Field::flag("IsDefaultEntityForSchool", |_, _: &SchoolRow| Value::Bool(true)),
        Field::flag("IsOnlySchoolInEntity", |_, _: &SchoolRow| Value::Bool(true)),
    ],
    links: &[
        Link { name: "Entity", module: "District", object: "Entity", key: "EntityID" },
        Link { name: "School", module: "Enrollment", object: "School", key: "SchoolID" },
    ],
    each: each_school,
    row: school,
    year: Some(|view, row| year_id(view, row.year)),
    entity: Some(|_, row| entity_id(row.school)),
    writable: false,
};

pub(crate) static GRADE_LEVEL: Table<u32> = Table {
    module: "Enrollment",
    name: "GradeLevel",
    fields: &[
        Field::id("GradeLevelID", |_, row: &u32| Value::Int(grade_level_id(i64::from(*row) - 1))).required(),
        Field::text("Code", |_, row: &u32| Value::Str(grade_code(i64::from(*row) - 1))).required(),
        Field::text("Description", |_, row: &u32| Value::Text(format!("Grade {}", grade_code(i64::from(*row) - 1))))
            .required(),
        Field::int("NumericValue", |_, row: &u32| Value::Int(i64::from(*row) - 1)).required(),
        Field::text("StateGradeLevel", |_, row: &u32| Value::Str(grade_code(i64::from(*row) - 1))).read_only(),
    ],
    links: &[],
    each: |_, visit| (0..14).for_each(|row| visit(row, row)),
    row: |_, slot| (slot < 14).then_some(slot),
    year: None,
    entity: None,
    writable: false,
};
