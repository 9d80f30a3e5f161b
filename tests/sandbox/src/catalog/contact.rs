//! Phones and e-mail addresses: the two objects that can be written.

use super::people::Person;
use super::{Field, Link, Table, Value};
use crate::world::scenario::State;
use crate::world::{Salt, View, family};

/// Whose phone or e-mail address it is. Slots: two for each student, then two for each family.
#[derive(Clone, Copy)]
pub(crate) struct Reach {
    slot: u32,
    owner: Person,
    /// Times the number has changed.
    changed: u8,
}

fn own(view: &View<'_>, student: u32, state: State) -> Option<Reach> {
    let listed = state.phones > 0 || view.hash(Salt::Phone, student).is_multiple_of(10);
    listed.then_some(Reach { slot: student, owner: Person::Student(student, state), changed: state.phones })
}

fn of_guardian(view: &View<'_>, family: u32) -> Option<Reach> {
    let slot = view.world.capacity() + family;
    family::on_file(view, family).then_some(Reach { slot, owner: Person::Guardian(family, 0), changed: 0 })
}

fn each_phone(view: &View<'_>, visit: &mut dyn FnMut(u32, Reach)) {
    super::student::each(view, &mut |student, row| {
        if let Some(reach) = own(view, student, row.state) {
            visit(reach.slot, reach);
        }
    });
    each_email(view, visit);
}

fn phone(view: &View<'_>, slot: u32) -> Option<Reach> {
    match slot.checked_sub(view.world.capacity()) {
        None => own(view, slot, view.listed(slot)?),
        Some(family) => of_guardian(view, family),
    }
}

fn each_email(view: &View<'_>, visit: &mut dyn FnMut(u32, Reach)) {
    let guardians = (0..family::count(view)).filter_map(|family| of_guardian(view, family));
    guardians.for_each(|reach| visit(reach.slot, reach));
}

fn email(view: &View<'_>, slot: u32) -> Option<Reach> {
    slot.checked_sub(view.world.capacity()).and_then(|family| of_guardian(view, family))
}

/// The student's own number, where there is one.
pub(crate) fn student_number(view: &View<'_>, student: u32, state: State) -> Option<String> {
    own(view, student, state).map(|reach| number(view, &reach))
}

/// Number and e-mail address of a family's first guardian.
pub(crate) fn guardian_reach(view: &View<'_>, family: u32) -> Option<(String, String)> {
    let reach = of_guardian(view, family)?;
    Some((number(view, &reach), format!("family{}@families.example", reach.slot)))
}

/// A number on the exchange kept for fiction.
fn number(view: &View<'_>, reach: &Reach) -> String {
    let hash = view.hash(Salt::Phone, reach.slot) >> 8;
    let line = (hash % 10_000 + u64::from(reach.changed) * 37) % 10_000;
    format!("{}555{line:04}", [512, 210, 361, 956][(hash / 10_000 % 4) as usize])
}

fn formatted(number: &str) -> String {
    format!("({}) {}-{}", &number[..3], &number[3..6], &number[6..])
}

pub(crate) static NAME_PHONE: Table<Reach> = Table {
    module: "Demographics",
    name: "NamePhone",
    fields: &[
        Field::id("NamePhoneID", |_, row: &Reach| Value::Int(80_000 + i64::from(row.slot))).required(),
        Field::id("NameID", |view, row: &Reach| Value::Int(row.owner.name_id(view))),
        Field::int("Rank", |_, _: &Reach| Value::Int(1)).required(),
        Field::id("PhoneTypeID", |_, row: &Reach| {
            Value::Int(if matches!(row.owner, Person::Student(..)) { 42 } else { 41 })
        }),
        Field::text("PhoneNumber", |view, row: &Reach| Value::Text(number(view, row))).required(),
        Field::text("Extension", |_, row: &Reach| if row.slot % 40 == 7 { Value::Str("12") } else { Value::Null }),
        Field::flag("IsConfidential", |_, row: &Reach| Value::Bool(row.slot % 30 == 5)),
        Field::flag("IsInternational", |_, _: &Reach| Value::Bool(false)),
        Field::flag("IsFax", |_, _: &Reach| Value::Bool(false)),
        Field::text("Note", |_, _: &Reach| Value::Null),
        Field::text("FormattedPhoneNumber", |view, row: &Reach| Value::Text(formatted(&number(view, row)))).read_only(),
        Field::text("FullPhoneNumber", |view, row: &Reach| Value::Text(formatted(&number(view, row)))).read_only(),
    ],
    links: &[
        Link { name: "Name", module: "Demographics", object: "Name", key: "NameID" },
        Link { name: "PhoneType", module: "Demographics", object: "PhoneType", key: "PhoneTypeID" },
    ],
    each: each_phone,
    row: phone,
    year: None,
    entity: None,
    writable: true,
};

pub(crate) static NAME_EMAIL: Table<Reach> = Table {
    module: "Demographics",
    name: "NameEmail",
    fields: &[
        Field::id("NameEmailID", |_, row: &Reach| Value::Int(90_000 + i64::from(row.slot))).required(),
        Field::id("NameID", |view, row: &Reach| Value::Int(row.owner.name_id(view))),
        Field::int("Rank", |_, _: &Reach| Value::Int(1)).required(),
        Field::id("EmailTypeID", |_, _: &Reach| Value::Int(51)),
        Field::text("EmailAddress", |_, row: &Reach| Value::Text(format!("family{}@families.example", row.slot)))
            .required(),
        Field::text("Note", |_, _: &Reach| Value::Null),
        Field::flag("EmailConfirmed", |_, row: &Reach| Value::Bool(row.slot.is_multiple_of(2))).read_only(),
    ],
    links: &[
        Link { name: "Name", module: "Demographics", object: "Name", key: "NameID" },
        Link { name: "EmailType", module: "Demographics", object: "EmailType", key: "EmailTypeID" },
    ],
    each: each_email,
    row: email,
    year: None,
    entity: None,
    writable: true,
};

/// A code and its description.
pub(crate) type Pair = (&'static str, &'static str);

const PHONE_TYPES: [Pair; 3] = [("HOME", "Home"), ("CELL", "Cellular"), ("WORK", "Work")];
const EMAIL_TYPES: [Pair; 2] = [("HOME", "Home"), ("SCHL", "School")];

fn label(pair: Pair) -> Value {
    Value::Text(format!("{} - {}", pair.0, pair.1))
}

pub(crate) static PHONE_TYPE: Table<u32> = Table {
    module: "Demographics",
    name: "PhoneType",
    fields: &[
        Field::id("PhoneTypeID", |_, row: &u32| Value::Int(41 + i64::from(*row))).required(),
        Field::text("Code", |_, row: &u32| Value::Str(PHONE_TYPES[*row as usize].0)).required(),
        Field::text("Description", |_, row: &u32| Value::Str(PHONE_TYPES[*row as usize].1)).required(),
        Field::text("CodeDescription", |_, row: &u32| label(PHONE_TYPES[*row as usize])).read_only(),
    ],
    links: &[],
    each: |_, visit| (0..PHONE_TYPES.len() as u32).for_each(|row| visit(row, row)),
    row: |_, slot| ((slot as usize) < PHONE_TYPES.len()).then_some(slot),
    year: None,
    entity: None,
    writable: false,
};

pub(crate) static EMAIL_TYPE: Table<u32> = Table {
    module: "Demographics",
    name: "EmailType",
    fields: &[
        Field::id("EmailTypeID", |_, row: &u32| Value::Int(51 + i64::from(*row))).required(),
        Field::text("Code", |_, row: &u32| Value::Str(EMAIL_TYPES[*row as usize].0)).required(),
        Field::text("Description", |_, row: &u32| Value::Str(EMAIL_TYPES[*row as usize].1)).required(),
        Field::text("CodeDescription", |_, row: &u32| label(EMAIL_TYPES[*row as usize])).read_only(),
    ],
    links: &[],
    each: |_, visit| (0..EMAIL_TYPES.len() as u32).for_each(|row| visit(row, row)),
    row: |_, slot| ((slot as usize) < EMAIL_TYPES.len()).then_some(slot),
    year: None,
    entity: None,
    writable: false,
};
