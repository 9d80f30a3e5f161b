//! What a connection grants, and which listings make a pull. Pure: decides over what [`super::Qmlativ`] asked for.

use std::collections::{BTreeMap, BTreeSet};

use rollcall_store::{
    board::Ask,
    district::{Connection, SchoolYears, StaffScope},
    run::Discovery,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::objects::{ENTRY_WITHDRAWAL, OBJECTS, Object, Weight};

/// Keys of an object's field metadata that are no fields.
const NO_FIELDS: [&str; 2] = ["Relationships", "ValidationRules"];

/// The objects that a connection wants.
pub(super) fn wanted(connection: &Connection) -> impl Iterator<Item = &'static Object> {
    let staff = connection.staff != StaffScope::None;
    OBJECTS.iter().filter(move |object| staff || object.weight != Weight::Staff)
}

/// Fields granted, by resource and entity; `None` for an object that is refused as a whole.
pub(super) type Grants = BTreeMap<&'static str, BTreeMap<i64, Option<BTreeSet<String>>>>;

/// The fields that a metadata answer names, of those that a connection asks for.
pub(super) fn field_names(object: &Object, connection: &Connection, metadata: Map<String, Value>) -> BTreeSet<String> {
    let wanted: Vec<String> = object.asked_fields(connection).collect();
    let is_wanted = |name: &String| wanted.iter().any(|field| field.eq_ignore_ascii_case(name));
    let named = metadata.into_iter().map(|(name, _)| name);
    named.filter(|name| !NO_FIELDS.contains(&name.as_str()) && is_wanted(name)).collect()
}

/// What is not granted, by resource, for a person: each with the entities, where others grant it.
pub(super) type Gaps = BTreeMap<String, Vec<String>>;

/// What the entities of a connection grant of an object.
struct Entities<'a> {
    /// Its fields, of those that grant its key.
    granting: Vec<(i64, &'a BTreeSet<String>)>,
    /// Those that refuse it as a whole.
    refusing: Vec<i64>,
}

impl<'a> Entities<'a> {
    fn of(grants: &'a Grants, object: &Object) -> Self {
        let mut entities = Self { granting: Vec::new(), refusing: Vec::new() };
        for (entity, fields) in grants.get(object.resource).into_iter().flatten() {
            match fields.as_ref().filter(|fields| has(fields, object.key)) {
                Some(fields) => entities.granting.push((*entity, fields)),
                None => entities.refusing.push(*entity),
            }
        }
        entities
    }

    /// Those that grant the object and not this field of it.
    fn lacking(&self, field: &str) -> Vec<i64> {
        self.granting.iter().filter(|(_, fields)| !has(fields, field)).map(|(entity, _)| *entity).collect()
    }

    /// Where a field is not granted, behind its name: nothing of one that no entity grants.
    fn place(&self, field: &str) -> String {
        let lacking = self.lacking(field);
        if lacking.len() == self.granting.len() { String::new() } else { place(&lacking) }
    }
}

fn has(fields: &BTreeSet<String>, field: &str) -> bool {
    fields.iter().any(|name| name.eq_ignore_ascii_case(field))
}

fn place(entities: &[i64]) -> String {
    match entities {
        [one] => format!(" in entity {one}"),
        several => {
            let several: Vec<String> = several.iter().map(i64::to_string).collect();
            format!(" in entities {}", several.join(", "))
        }
    }
}

/// Compares what is wanted with what is granted, in every entity. What one of them does not grant is asked of none: a field would be
/// null for that one's students, and rows of a listing would be missing.
pub(super) fn judge_grants(connection: &Connection, grants: &Grants) -> (Discovery, Gaps) {
    let (mut discovery, mut gaps) = (Discovery::default(), Gaps::new());
    for object in wanted(connection) {
        let entities = Entities::of(grants, object);
        if entities.granting.is_empty() || !entities.refusing.is_empty() {
            let place = if entities.granting.is_empty() { String::new() } else { place(&entities.refusing) };
            gaps.insert(object.resource.to_owned(), vec![format!("the object{place}")]);
            discovery.refused.insert(object.resource.to_owned(), vec!["*".to_owned()]);
            if object.must_be_granted {
                let required = object.required_fields(connection).into_iter();
                discovery.fatal.extend(required.map(|field| format!("{}.{field}{place}", object.resource)));
            }
            continue;
        }
        let (given, refused): (Vec<_>, Vec<_>) =
            object.asked_fields(connection).partition(|field| entities.lacking(field).is_empty());
        let missing = object.missing(connection, &given).into_iter();
        discovery.fatal.extend(missing.map(|field| format!("{}.{field}{}", object.resource, entities.place(&field))));
        discovery.granted.insert(object.resource.to_owned(), given);
        if !refused.is_empty() {
            let named = refused.iter().map(|field| format!("{field}{}", entities.place(field)));
            gaps.insert(object.resource.to_owned(), named.collect());
            discovery.refused.insert(object.resource.to_owned(), refused);
        }
    }
    (discovery, gaps)
}

impl Object {
    fn asked_fields(&self, connection: &Connection) -> impl Iterator<Item = String> {
        let named = self.withdrawal_date_field(connection).cloned();
        // A field is asked for once, as we spell it: servers tell no case.
        let named = named.filter(|field| !self.fields().any(|other| other.eq_ignore_ascii_case(field)));
        self.fields().map(str::to_owned).chain(named)
    }

    fn withdrawal_date_field<'a>(&self, connection: &'a Connection) -> Option<&'a String> {
        connection.withdrawal_date_field.as_ref().filter(|_| self.resource == ENTRY_WITHDRAWAL)
    }

    fn required_fields(&self, connection: &Connection) -> Vec<String> {
        let dates = (self.resource == ENTRY_WITHDRAWAL)
            .then(|| connection.withdrawal_date_field.clone().unwrap_or_else(|| "EndDate".to_owned()));
        let required = std::iter::once(self.key).chain(self.required.iter().copied()).map(str::to_owned);
        required.chain(dates).collect()
    }

    /// Required fields that are not among `given`. The withdrawal date may come from either of two fields.
    fn missing(&self, connection: &Connection, given: &[String]) -> Vec<String> {
        let has = |field: &str| given.iter().any(|name| name.eq_ignore_ascii_case(field));
        let mut missing: Vec<String> =
            self.required.iter().filter(|field| !has(field)).map(|field| (*field).to_owned()).collect();
        if self.resource == ENTRY_WITHDRAWAL {
            match &connection.withdrawal_date_field {
                Some(field) if !has(field) => missing.push(field.clone()),
                None if !has("EndDate") && !has("WithdrawalDate") => missing.push("EndDate".to_owned()),
                _ => {}
            }
        }
        missing
    }
}

/// `GetSystemMetadata`, as far as it is needed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct SystemMetadata {
    #[serde(rename = "System", default)]
    system: System,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct System {
    #[serde(rename = "Name", default)]
    name: Option<String>,
    #[serde(rename = "Districts", default)]
    districts: Vec<SystemDistrict>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct SystemDistrict {
    #[serde(rename = "Name", default)]
    name: Option<String>,
    #[serde(rename = "SchoolYearCurrent", default)]
    current: Option<YearRow>,
}

/// A row of `District/SchoolYear`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct YearRow {
    #[serde(rename = "SchoolYearID", default, deserialize_with = "number")]
    pub(super) id: Option<i64>,
    #[serde(rename = "NumericYear", default, deserialize_with = "number")]
    pub(super) numeric: Option<i64>,
    /// Current for the entity that was asked.
    #[serde(rename = "IsCurrentYearForProvidedEntity", default, deserialize_with = "flag")]
    pub(super) is_current: bool,
}

/// A whole number, which some servers send as text. What is none is not told: the planner reads the same rows, and says so.
fn number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Number(number) => number.as_i64().or_else(|| whole(number.as_f64()?)),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    })
}

/// `7.0` is 7, within what a double holds exactly.
#[expect(clippy::cast_possible_truncation, reason = "it is whole, and within the bounds")]
fn whole(number: f64) -> Option<i64> {
    (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i64)
}

/// A flag, which some servers send as text or number.
fn flag<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Bool(flag) => flag,
        Value::String(text) => text.trim().eq_ignore_ascii_case("true") || text.trim() == "1",
        Value::Number(number) => number.as_i64() == Some(1),
        _ => false,
    })
}

/// A row of `District/Entity`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EntityRow {
    #[serde(rename = "EntityID", default, deserialize_with = "number")]
    pub(super) id: Option<i64>,
    #[serde(rename = "SchoolYearIDCurrent", default, deserialize_with = "number")]
    pub(super) current: Option<i64>,
}

impl SystemMetadata {
    /// The district's name, else the system's.
    pub(super) fn name(&self) -> Option<String> {
        let district = self.system.districts.iter().find_map(|district| district.name.clone());
        district.or_else(|| self.system.name.clone())
    }

    fn current(&self) -> impl Iterator<Item = YearRow> {
        self.system.districts.iter().filter_map(|district| district.current)
    }

    fn current_years(&self) -> impl Iterator<Item = i64> {
        self.current().filter_map(|year| year.id)
    }

    /// Ending years of the current school years, by id.
    pub(super) fn ending_years(&self) -> BTreeMap<i64, i32> {
        self.current().filter_map(|year| Some((year.id?, i32::try_from(year.numeric?).ok()?))).collect()
    }
}

/// Entities whose own current year is known, by the table of entities or, where they were asked, by that of years (`flagged`);
/// none where the first tells no entity's, for then all go by one.
pub(super) fn placed(entities: &[EntityRow], flagged: BTreeSet<i64>) -> BTreeSet<i64> {
    let own = entities.iter().filter(|entity| entity.current.is_some()).filter_map(|entity| entity.id);
    let own: BTreeSet<i64> = own.collect();
    if own.is_empty() { own } else { own.into_iter().chain(flagged).collect() }
}

/// The school years to pull: each entity's current one (they flip entity by entity), the one before it, and the one
/// after it where admitted. Ascending by id.
///
/// Which is the one before cannot be told of a year whose number is not granted, so all of these are pulled: whoever withdrew
/// within the last months of the year before would look as if they never had been there.
pub(super) fn years_to_pull(
    metadata: &SystemMetadata,
    years: &[YearRow],
    entities: &[EntityRow],
    admitted: SchoolYears,
) -> Vec<i64> {
    let of_metadata = metadata.ending_years();
    let numeric = |id: i64| {
        let told = years.iter().find(|year| year.id == Some(id)).and_then(|year| year.numeric);
        told.or_else(|| of_metadata.get(&id).copied().map(i64::from))
    };
    let flagged = years.iter().filter(|year| year.is_current).filter_map(|year| year.id);
    let of_entities = entities.iter().filter_map(|entity| entity.current);
    let current: BTreeSet<i64> = metadata.current_years().chain(of_entities).chain(flagged).collect();
    if current.is_empty() {
        return Vec::new();
    }
    let mut wanted: BTreeSet<i64> = current.clone();
    wanted.extend(years.iter().filter_map(|year| year.id).filter(|id| numeric(*id).is_none()));
    for number in current.into_iter().filter_map(numeric) {
        let last = if admitted == SchoolYears::CurrentAndNext { number + 1 } else { number };
        let near = years.iter().filter(|year| year.numeric.is_some_and(|other| (number - 1..=last).contains(&other)));
        wanted.extend(near.filter_map(|year| year.id));
    }
    wanted.into_iter().collect()
}

/// The listings: entities × objects × years, in the table's order.
pub(super) fn asks(connection: &Connection, discovery: &Discovery, years: &[i64]) -> Vec<Ask> {
    let mut asks = Vec::new();
    for object in wanted(connection) {
        let Some(fields) = discovery.granted.get(object.resource) else { continue };
        let years: Vec<Option<i64>> =
            if object.per_year { years.iter().rev().copied().map(Some).collect() } else { vec![None] };
        for entity in &connection.entities {
            asks.extend(years.iter().map(|year| Ask {
                resource: object.resource.to_owned(),
                fields: fields.clone(),
                entity: Some(*entity),
                school_year: year.map(|year| year.to_string()),
                ids: None,
                essential: object.is_essential(),
                ..Ask::default()
            }));
        }
    }
    asks
}

#[cfg(test)]
#[path = "discover_tests.rs"]
mod tests;
