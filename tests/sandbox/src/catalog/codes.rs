//! `Enrollment/EntryCode` and `Enrollment/WithdrawalCode`: cloned each school year, with other ids.

use super::district::year_id;
use super::{Field, Link, Table, Value};
use crate::world::small::Code;

fn label(code: &Code) -> Value {
    Value::Text(format!("{} - {}", code.code, code.description))
}

const LINKS: &[Link] = &[Link { name: "SchoolYear", module: "District", object: "SchoolYear", key: "SchoolYearID" }];

/// Fields of a code table: they differ in two names.
macro_rules! code_fields {
    ($key:literal, $cloned:literal) => {
        &[
            Field::id($key, |_, row: &Code| Value::Int(row.id)).required(),
            Field::text("Code", |_, row: &Code| Value::Str(row.code)).required(),
            Field::text("Description", |_, row: &Code| Value::Str(row.description)).required(),
            Field::text("CodeDescription", |_, row: &Code| label(row)).read_only(),
            Field::text("Type", |_, _: &Code| Value::Str("Local")),
            Field::text("TypeCode", |_, _: &Code| Value::Str("L")).read_only(),
            Field::id("DistrictID", |_, _: &Code| Value::Int(1)),
            Field::id("SchoolYearID", |view, row: &Code| Value::Int(year_id(view, row.year))),
            Field::id($cloned, |_, row: &Code| Value::maybe_int(row.cloned_from)),
            Field::flag("IsCrossEntityCourseEnrollment", |_, row: &Code| {
                Value::Bool(matches!(row.code, "CECS" | "CE"))
            }),
        ]
    };
}

pub(crate) static ENTRY_CODE: Table<Code> = Table {
    module: "Enrollment",
    name: "EntryCode",
    fields: code_fields!("EntryCodeID", "EntryCodeIDClonedFrom"),
    links: LINKS,
    each: |view, visit| (0..).zip(&view.world.small.entry_codes).for_each(|(slot, &code)| visit(slot, code)),
    row: |view, slot| view.world.small.entry_codes.get(slot as usize).copied(),
    year: Some(|view, row| year_id(view, row.year)),
    entity: None,
    writable: false,
};

pub(crate) static WITHDRAWAL_CODE: Table<Code> = Table {
    module: "Enrollment",
    name: "WithdrawalCode",
    fields: code_fields!("WithdrawalCodeID", "WithdrawalCodeIDClonedFrom"),
    links: LINKS,
    each: |view, visit| (0..).zip(&view.world.small.withdrawal_codes).for_each(|(slot, &code)| visit(slot, code)),
    row: |view, slot| view.world.small.withdrawal_codes.get(slot as usize).copied(),
    year: Some(|view, row| year_id(view, row.year)),
    entity: None,
    writable: false,
};
