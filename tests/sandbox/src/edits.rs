//! What clients wrote: rows created, changed and deleted, kept in memory over the rows made from the seed.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Map, Value as Json};

use crate::catalog::{Kind, Object, Scope, Value};
use crate::search::Filter;
use crate::world::View;

/// Ids of created rows begin here: above all others, so that they come last in key order.
const CREATED_BASE: i64 = 900_000_000;
/// Marks the slot of a created row.
const CREATED_SLOT: u32 = 1 << 31;

type Fields = Map<String, Json>;

/// What was written to one object.
#[derive(Debug, Clone, Default)]
pub(crate) struct Edits {
    created: Vec<Fields>,
    changed: BTreeMap<i64, Fields>,
    deleted: HashSet<i64>,
}

impl Edits {
    /// Adds a row and gives its id.
    pub(crate) fn create(&mut self, fields: Fields) -> i64 {
        self.created.push(fields);
        CREATED_BASE + self.created.len() as i64 - 1
    }

    /// Changes the fields given, and no others.
    pub(crate) fn change(&mut self, id: i64, fields: Fields) {
        self.changed.entry(id).or_default().extend(fields);
    }

    pub(crate) fn delete(&mut self, id: i64) {
        self.deleted.insert(id);
    }

    fn field(&self, id: i64, created: Option<u32>, name: &str) -> Option<&Json> {
        let place = created.map(|slot| slot as usize);
        let changed = self.changed.get(&id).and_then(|fields| fields.get(name));
        changed.or_else(|| self.created.get(place?)?.get(name))
    }
}

/// The rows of an object as a client sees them: those made, and over them the edits.
pub(crate) struct Rows<'a> {
    pub(crate) view: View<'a>,
    pub(crate) object: &'a dyn Object,
    pub(crate) edits: Option<&'a Edits>,
}

impl Rows<'_> {
    /// Slots of the rows in scope that pass the filter, in key order.
    pub(crate) fn select(&self, scope: Scope, filter: Option<&Filter>) -> Vec<u32> {
        let Some(edits) = self.edits else { return self.object.select(&self.view, scope, filter) };
        let mut slots = self.object.select(&self.view, scope, None);
        slots.extend((0..edits.created.len() as u32).map(|place| CREATED_SLOT | place));
        slots.retain(|&slot| {
            self.key(slot).is_some_and(|key| !edits.deleted.contains(&key))
                && filter.is_none_or(|filter| filter.passes(&mut |field| self.value(slot, field)))
        });
        slots
    }

    /// The primary key of a row.
    pub(crate) fn key(&self, slot: u32) -> Option<i64> {
        match created_place(slot) {
            Some(place) => Some(CREATED_BASE + i64::from(place)),
            None => self.object.key_of(&self.view, slot),
        }
    }

    pub(crate) fn value(&self, slot: u32, field: usize) -> Value {
        let own = || self.object.value(&self.view, slot, field).unwrap_or(Value::Null);
        let (Some(edits), Some(key)) = (self.edits, self.key(slot)) else { return own() };
        let (info, created) = (self.object.info(field), created_place(slot));
        match edits.field(key, created, info.name) {
            _ if field == 0 => Value::Int(key),
            Some(json) => from_json(json, info.kind),
            None if created.is_some() => Value::Null,
            None => own(),
        }
    }

    /// Hands over the wanted fields of one row, in their order.
    pub(crate) fn values(&self, slot: u32, wanted: &[usize], take: &mut dyn FnMut(usize, Value)) {
        if self.edits.is_none() {
            return self.object.values(&self.view, slot, wanted, take);
        }
        for (place, &field) in wanted.iter().enumerate() {
            take(place, self.value(slot, field));
        }
    }
}

fn created_place(slot: u32) -> Option<u32> {
    (slot & CREATED_SLOT != 0).then_some(slot & !CREATED_SLOT)
}

fn from_json(json: &Json, kind: Kind) -> Value {
    match (kind, json) {
        (_, Json::Null) => Value::Null,
        (Kind::BigInt | Kind::SmallInt, Json::Number(number)) => Value::maybe_int(number.as_i64()),
        (Kind::BigInt | Kind::SmallInt, Json::String(text)) => Value::maybe_int(text.parse().ok()),
        (_, Json::Bool(flag)) => Value::Bool(*flag),
        (_, Json::String(text)) => Value::Text(text.clone()),
        (_, other) => Value::Text(other.to_string()),
    }
}
