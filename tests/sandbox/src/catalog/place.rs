//! The address chain: `NameAddress` → Address → Street → Zip → State, County.

use super::people::Person;
use super::{Field, Link, Table, Value};
use crate::world::names::{COUNTIES, STREETS, ZIPS};
use crate::world::{NAME_BASE, Salt, View, family};

const STREETS_PER_ZIP: u32 = STREETS.len() as u32;
const STREET_COUNT: u32 = STREETS_PER_ZIP * ZIPS.len() as u32;

/// A person's tie to the family's address: slots of students, then of families (their first guardian).
#[derive(Clone, Copy)]
pub(crate) struct Home {
    slot: u32,
    family: u32,
}

impl Home {
    fn name_id(self, view: &View<'_>) -> i64 {
        if self.slot < view.world.capacity() {
            return NAME_BASE + i64::from(self.slot);
        }
        Person::Guardian(self.family, 0).name_id(view)
    }
}

fn each_home(view: &View<'_>, visit: &mut dyn FnMut(u32, Home)) {
    super::student::each(view, &mut |slot, _| {
        let family = family::of(slot);
        if family::on_file(view, family) {
            visit(slot, Home { slot, family });
        }
    });
    for family in (0..family::count(view)).filter(|&family| gets_mail_apart(view, family)) {
        let slot = view.world.capacity() + family;
        visit(slot, Home { slot, family });
    }
}

/// Few guardians have a tie of their own, most are reached through the student.
fn gets_mail_apart(view: &View<'_>, family: u32) -> bool {
    family::on_file(view, family) && view.hash(Salt::Contact, family) % 5 == 1
}

fn home(view: &View<'_>, slot: u32) -> Option<Home> {
    let (family, exists) = match slot.checked_sub(view.world.capacity()) {
        None => (family::of(slot), view.listed(slot).is_some() && family::on_file(view, family::of(slot))),
        Some(family) => (family, gets_mail_apart(view, family)),
    };
    exists.then_some(Home { slot, family })
}

pub(crate) static NAME_ADDRESS: Table<Home> = Table {
    module: "Demographics",
    name: "NameAddress",
    fields: &[
        Field::id("NameAddressID", |_, row: &Home| Value::Int(110_000 + i64::from(row.slot))).required(),
        Field::id("NameID", |view, row: &Home| Value::Int(row.name_id(view))).required(),
        Field::id("AddressID", |_, row: &Home| Value::Int(address_id(row.family))).required(),
        Field::flag("IsPhysical", |_, _: &Home| Value::Bool(true)),
        Field::flag("IsMailing", |_, row: &Home| Value::Bool(!row.slot.is_multiple_of(9))),
        Field::flag("IsPrimaryGuardian", |view, row: &Home| Value::Bool(row.slot >= view.world.capacity())),
        Field::flag("IsBusPickup", |_, _: &Home| Value::Bool(false)),
        Field::flag("IsBusDropoff", |_, _: &Home| Value::Bool(false)),
        Field::text("GetAddressType", |_, _: &Home| Value::Str("Physical")).read_only(),
    ],
    links: &[
        Link { name: "Name", module: "Demographics", object: "Name", key: "NameID" },
        Link { name: "Address", module: "Demographics", object: "Address", key: "AddressID" },
    ],
    each: each_home,
    row: home,
    year: None,
    entity: None,
    writable: false,
};

fn address_id(family: u32) -> i64 {
    150_000 + i64::from(family)
}

fn street_of(view: &View<'_>, family: u32) -> u32 {
    (view.hash(Salt::Contact, family) >> 9) as u32 % STREET_COUNT
}

fn house(view: &View<'_>, family: u32) -> u64 {
    1 + (view.hash(Salt::Contact, family) >> 40) % 9_800
}

fn unit(view: &View<'_>, family: u32) -> Option<u64> {
    let hash = view.hash(Salt::Contact, family) >> 50;
    hash.is_multiple_of(6).then_some(1 + hash % 220)
}

fn line(view: &View<'_>, family: u32) -> String {
    format!("{} {} St", house(view, family), STREETS[(street_of(view, family) % STREETS_PER_ZIP) as usize])
}

fn zip_of(street: u32) -> u32 {
    street / STREETS_PER_ZIP
}

fn city_line(zip: u32) -> String {
    let (code, city, _) = ZIPS[zip as usize];
    format!("{city}, TX {code}")
}

pub(crate) static ADDRESS: Table<u32> = Table {
    module: "Demographics",
    name: "Address",
    fields: &[
        Field::id("AddressID", |_, row: &u32| Value::Int(address_id(*row))).required(),
        Field::text("StreetNumber", |view, row: &u32| Value::Text(house(view, *row).to_string())),
        Field::id("StreetID", |view, row: &u32| Value::Int(500 + i64::from(street_of(view, *row)))),
        Field::text("SecondaryUnitNumber", |view, row: &u32| {
            unit(view, *row).map_or(Value::Null, |unit| Value::Text(unit.to_string()))
        }),
        Field::text("AddressLine2", |_, _: &u32| Value::Null),
        Field::id("ZipID", |view, row: &u32| Value::Int(70 + i64::from(zip_of(street_of(view, *row))))),
        Field::text("ZipCodeAddOn", |_, _: &u32| Value::Null),
        Field::text("POBox", |_, _: &u32| Value::Null),
        Field::text("FreeformAddress", |_, _: &u32| Value::Null),
        Field::text("AddressType", |_, _: &u32| Value::Str("Street")),
        Field::text("AddressTypeCode", |_, _: &u32| Value::Str("S")).read_only(),
        Field::id("CountyID", |view, row: &u32| Value::Int(ZIPS[zip_of(street_of(view, *row)) as usize].2)),
        Field::text("FullAddress", |view, row: &u32| {
            Value::Text(format!("{}, {}", line(view, *row), city_line(zip_of(street_of(view, *row)))))
        }),
        Field::text("StreetNumberAndName", |view, row: &u32| Value::Text(line(view, *row))).read_only(),
        Field::text("ZipCodeWithAddon", |view, row: &u32| Value::Str(ZIPS[zip_of(street_of(view, *row)) as usize].0))
            .read_only(),
    ],
    links: &[
        Link { name: "Street", module: "Demographics", object: "Street", key: "StreetID" },
        Link { name: "Zip", module: "Demographics", object: "Zip", key: "ZipID" },
        Link { name: "County", module: "Demographics", object: "County", key: "CountyID" },
    ],
    each: |view, visit| {
        let on_file = (0..family::count(view)).filter(|&family| family::on_file(view, family));
        on_file.for_each(|family| visit(family, family));
    },
    row: |view, slot| family::on_file(view, slot).then_some(slot),
    year: None,
    entity: None,
    writable: false,
};

pub(crate) static STREET: Table<u32> = Table {
    module: "Demographics",
    name: "Street",
    fields: &[
        Field::id("StreetID", |_, row: &u32| Value::Int(500 + i64::from(*row))).required(),
        Field::text("Name", |_, row: &u32| Value::Str(STREETS[(row % STREETS_PER_ZIP) as usize])),
        Field::id("ZipID", |_, row: &u32| Value::Int(70 + i64::from(zip_of(*row)))),
        Field::id("DirectionalID", |_, _: &u32| Value::Null),
        Field::text("FormattedStreet", |_, row: &u32| {
            Value::Text(format!("{} St", STREETS[(row % STREETS_PER_ZIP) as usize]))
        })
        .read_only(),
        Field::text("StreetNameWithDirectionCode", |_, row: &u32| {
            Value::Str(STREETS[(row % STREETS_PER_ZIP) as usize])
        })
        .read_only(),
    ],
    links: &[Link { name: "Zip", module: "Demographics", object: "Zip", key: "ZipID" }],
    each: |_, visit| (0..STREET_COUNT).for_each(|row| visit(row, row)),
    row: |_, slot| (slot < STREET_COUNT).then_some(slot),
    year: None,
    entity: None,
    writable: false,
};

pub(crate) static ZIP: Table<u32> = Table {
    module: "Demographics",
    name: "Zip",
    fields: &[
        Field::id("ZipID", |_, row: &u32| Value::Int(70 + i64::from(*row))).required(),
        Field::text("ZipCode", |_, row: &u32| Value::Str(ZIPS[*row as usize].0)),
        Field::text("City", |_, row: &u32| Value::Str(ZIPS[*row as usize].1)),
        Field::id("StateID", |_, _: &u32| Value::Int(44)),
        Field::text("CountryCode", |_, _: &u32| Value::Str("US")).required(),
        Field::text("CityStateZip", |_, row: &u32| Value::Text(city_line(*row))).read_only(),
    ],
    links: &[Link { name: "State", module: "SkySys", object: "State", key: "StateID" }],
    each: |_, visit| (0..ZIPS.len() as u32).for_each(|row| visit(row, row)),
    row: |_, slot| ((slot as usize) < ZIPS.len()).then_some(slot),
    year: None,
    entity: None,
    writable: false,
};

const STATES: [(i64, &str, &str); 4] =
    [(32, "NM", "New Mexico"), (37, "OK", "Oklahoma"), (44, "TX", "Texas"), (45, "UT", "Utah")];

pub(crate) static STATE: Table<u32> = Table {
    module: "SkySys",
    name: "State",
    fields: &[
        Field::id("StateID", |_, row: &u32| Value::Int(STATES[*row as usize].0)).required(),
        Field::text("Code", |_, row: &u32| Value::Str(STATES[*row as usize].1)),
        Field::text("DisplayName", |_, row: &u32| Value::Str(STATES[*row as usize].2)),
    ],
    links: &[],
    each: |_, visit| (0..STATES.len() as u32).for_each(|row| visit(row, row)),
    row: |_, slot| ((slot as usize) < STATES.len()).then_some(slot),
    year: None,
    entity: None,
    writable: false,
};

pub(crate) static COUNTY: Table<u32> = Table {
    module: "Demographics",
    name: "County",
    fields: &[
        Field::id("CountyID", |_, row: &u32| Value::Int(1 + i64::from(*row))).required(),
        Field::text("Name", |_, row: &u32| Value::Str(COUNTIES[*row as usize])),
        Field::id("StateID", |_, _: &u32| Value::Int(44)),
    ],
    links: &[Link { name: "State", module: "SkySys", object: "State", key: "StateID" }],
    each: |_, visit| (0..COUNTIES.len() as u32).for_each(|row| visit(row, row)),
    row: |_, slot| ((slot as usize) < COUNTIES.len()).then_some(slot),
    year: None,
    entity: None,
    writable: false,
};
