//! What an object is: fields as functions of a row, and rows by slot.
//!
//! Invariant: slots ascend with the primary key, so that a listing in slot order is in key order and a row is found by
//! its key by bisection.

use chrono::NaiveDate;

use super::student;
use crate::search::Filter;
use crate::world::View;

/// A field's value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Int(i64),
    Bool(bool),
    Str(&'static str),
    Text(String),
    Date(NaiveDate),
}

impl Value {
    /// A text or null.
    pub(crate) fn maybe(text: Option<&'static str>) -> Self {
        text.map_or(Self::Null, Self::Str)
    }

    /// A number or null.
    pub(crate) fn maybe_int(number: Option<i64>) -> Self {
        number.map_or(Self::Null, Self::Int)
    }
}

/// The SIS's type of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    BigInt,
    SmallInt,
    Bool,
    Text,
    Date,
    DateTime,
}

impl Kind {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::BigInt => "BigInt",
            Self::SmallInt => "SmallInt",
            Self::Bool => "Bool",
            Self::Text => "Text",
            Self::Date => "Date",
            Self::DateTime => "DateTime",
        }
    }
}

/// What metadata says of a field.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Info {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) required: bool,
    pub(crate) read_only: bool,
}

/// A field of rows `R`.
pub(crate) struct Field<R: 'static> {
    info: Info,
    get: fn(&View<'_>, &R) -> Value,
}

impl<R> Field<R> {
    const fn new(name: &'static str, kind: Kind, get: fn(&View<'_>, &R) -> Value) -> Self {
        Self { info: Info { name, kind, required: false, read_only: false }, get }
    }

    pub(crate) const fn id(name: &'static str, get: fn(&View<'_>, &R) -> Value) -> Self {
        Self::new(name, Kind::BigInt, get)
    }

    pub(crate) const fn int(name: &'static str, get: fn(&View<'_>, &R) -> Value) -> Self {
        Self::new(name, Kind::SmallInt, get)
    }

    pub(crate) const fn text(name: &'static str, get: fn(&View<'_>, &R) -> Value) -> Self {
        Self::new(name, Kind::Text, get)
    }

    pub(crate) const fn flag(name: &'static str, get: fn(&View<'_>, &R) -> Value) -> Self {
        Self::new(name, Kind::Bool, get)
    }

    pub(crate) const fn date(name: &'static str, get: fn(&View<'_>, &R) -> Value) -> Self {
        Self::new(name, Kind::Date, get)
    }

    /// Cannot be null.
    pub(crate) const fn required(mut self) -> Self {
        self.info.required = true;
        self
    }

    /// Cannot be written.
    pub(crate) const fn read_only(mut self) -> Self {
        self.info.read_only = true;
        self
    }
}

/// Fields every object has after its own.
const AUDIT: [Info; 4] = [
    Info { name: "CreatedTime", kind: Kind::DateTime, required: false, read_only: true },
    Info { name: "ModifiedTime", kind: Kind::DateTime, required: false, read_only: true },
    Info { name: "UserIDCreatedBy", kind: Kind::BigInt, required: false, read_only: true },
    Info { name: "UserIDModifiedBy", kind: Kind::BigInt, required: false, read_only: true },
];

/// A many-to-one relationship: its name, the object it leads to, the field that holds the key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Link {
    pub(crate) name: &'static str,
    pub(crate) module: &'static str,
    pub(crate) object: &'static str,
    pub(crate) key: &'static str,
}

/// Which rows a call may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Scope {
    /// Entity 1 sees all.
    pub(crate) entity: i64,
    /// Only rows of this `SchoolYearID`.
    pub(crate) year: Option<i64>,
}

/// The entity that sees the whole district.
pub(crate) const DISTRICT_WIDE: i64 = 1;

/// An object with rows `R`.
pub(crate) struct Table<R: 'static> {
    pub(crate) module: &'static str,
    pub(crate) name: &'static str,
    /// The first is the primary key.
    pub(crate) fields: &'static [Field<R>],
    pub(crate) links: &'static [Link],
    /// Hands over all rows with their slots, in slot order.
    pub(crate) each: fn(&View<'_>, &mut dyn FnMut(u32, R)),
    /// The row in a slot.
    pub(crate) row: fn(&View<'_>, u32) -> Option<R>,
    /// The row's school year, for objects that have a row per year.
    pub(crate) year: Option<fn(&View<'_>, &R) -> i64>,
    /// The row's entity, for objects that belong to one.
    pub(crate) entity: Option<fn(&View<'_>, &R) -> i64>,
    /// Whether rows can be created, changed and deleted.
    pub(crate) writable: bool,
}

/// An object, whatever its rows are.
pub(crate) trait Object: Sync {
    fn module(&self) -> &'static str;
    fn name(&self) -> &'static str;
    fn links(&self) -> &'static [Link];
    fn is_writable(&self) -> bool;
    fn is_yearly(&self) -> bool;
    fn field_count(&self) -> usize;
    /// What metadata says of a field; `field` is below the count.
    fn info(&self, field: usize) -> Info;
    /// Slots of the rows in scope that pass the filter.
    fn select(&self, view: &View<'_>, scope: Scope, filter: Option<&Filter>) -> Vec<u32>;
    /// One value; `None` if there is no such row.
    fn value(&self, view: &View<'_>, slot: u32, field: usize) -> Option<Value>;
    /// Hands over the values of the wanted fields of one row, in their order.
    fn values(&self, view: &View<'_>, slot: u32, wanted: &[usize], take: &mut dyn FnMut(usize, Value));

    /// The field's place, by name in any case.
    fn field(&self, name: &str) -> Option<usize> {
        (0..self.field_count()).find(|&field| self.info(field).name.eq_ignore_ascii_case(name))
    }

    /// Name of the primary key.
    fn key(&self) -> &'static str {
        self.info(0).name
    }

    /// The primary key of a row.
    fn key_of(&self, view: &View<'_>, slot: u32) -> Option<i64> {
        match self.value(view, slot, 0) {
            Some(Value::Int(id)) => Some(id),
            _ => None,
        }
    }
}

impl<R> Table<R> {
    fn get(&self, view: &View<'_>, row: &R, field: usize) -> Value {
        match self.fields.get(field) {
            Some(field) => (field.get)(view, row),
            None => audit(view, field - self.fields.len()),
        }
    }

    fn is_in_scope(&self, view: &View<'_>, row: &R, scope: Scope) -> bool {
        let in_year = match (self.year, scope.year) {
            (Some(year_of), Some(year)) => year_of(view, row) == year,
            _ => true,
        };
        in_year
            && match self.entity {
                Some(entity_of) if scope.entity != DISTRICT_WIDE => entity_of(view, row) == scope.entity,
                _ => true,
            }
    }
}

/// Created and modified at the start of last year's calendar year, by the same user.
fn audit(view: &View<'_>, field: usize) -> Value {
    match field {
        0 | 1 => Value::Date(view.world.today() - chrono::Days::new(if field == 0 { 500 } else { 3 })),
        _ => Value::Int(3),
    }
}

impl<R> Object for Table<R> {
    fn module(&self) -> &'static str {
        self.module
    }

    fn name(&self) -> &'static str {
        self.name
    }

    fn links(&self) -> &'static [Link] {
        self.links
    }

    fn is_writable(&self) -> bool {
        self.writable
    }

    fn is_yearly(&self) -> bool {
        self.year.is_some()
    }

    fn field_count(&self) -> usize {
        self.fields.len() + AUDIT.len()
    }

    fn info(&self, field: usize) -> Info {
        match self.fields.get(field) {
            Some(field) => field.info,
            None => AUDIT[field - self.fields.len()],
        }
    }

    fn select(&self, view: &View<'_>, scope: Scope, filter: Option<&Filter>) -> Vec<u32> {
        let mut slots = Vec::new();
        // As an index of the SIS would: a list of students does not cost a look at all of them.
        let named = filter.zip(self.field("StudentID")).and_then(|(filter, field)| student::named(filter, field));
        let view = &View { only: named.as_deref(), ..*view };
        (self.each)(view, &mut |slot, row| {
            let passes = || filter.is_none_or(|filter| filter.passes(&mut |field| self.get(view, &row, field)));
            if self.is_in_scope(view, &row, scope) && passes() {
                slots.push(slot);
            }
        });
        slots
    }

    fn value(&self, view: &View<'_>, slot: u32, field: usize) -> Option<Value> {
        let row = (self.row)(view, slot)?;
        Some(self.get(view, &row, field))
    }

    fn values(&self, view: &View<'_>, slot: u32, wanted: &[usize], take: &mut dyn FnMut(usize, Value)) {
        let Some(row) = (self.row)(view, slot) else { return };
        for (place, &field) in wanted.iter().enumerate() {
            take(place, self.get(view, &row, field));
        }
    }
}
