//! Small tables of a connection that most students need: school years, each entity's current one, its default school.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    fragment::{Kind, column},
    load::Source,
    status::YearFact,
};

/// See the module.
#[derive(Debug, Default)]
pub struct Tables {
    /// Ending year by the SIS's id of the school year.
    years: BTreeMap<i64, i32>,
    /// Current ending year by entity.
    current: BTreeMap<i64, i32>,
    /// Some entity tells its own current year: one that does not may have moved on or not, and is judged by nobody else's.
    told: bool,
    /// Where none does, and for rows of no entity: the one of the entity that was asked, if all agree; where no entity's is known,
    /// the one of the metadata.
    fallback: Option<i32>,
    /// The school that an entity's enrollments belong to, where they do not say.
    schools: BTreeMap<i64, i64>,
}

impl Tables {
    /// Reads them from the pull; what the tables do not tell, from the `metadata` (ending years of current school years, by id).
    pub fn of(source: &Source, metadata: &BTreeMap<i64, i32>) -> Self {
        let mut years = metadata.clone();
        years.extend(numeric_years(source));
        let (mut current, flagged) = flagged_current(source, &years);
        let own = entities_current(source, &years);
        let told = !own.is_empty();
        current.extend(own);
        let fallback = flagged.or_else(|| if current.is_empty() { agreed(metadata.values().copied()) } else { None });
        Self { years, current, told, fallback, schools: default_schools(source) }
    }

    /// Ending year of a school year.
    pub fn ending(&self, school_year: Option<i64>) -> Option<i32> {
        self.years.get(&school_year?).copied()
    }

    /// Ending year of the one that is current for an entity.
    pub fn current(&self, entity: Option<i64>) -> Option<i32> {
        let fallback = self.fallback.filter(|_| entity.is_none() || !self.told);
        entity.and_then(|entity| self.current_by_row(entity)).or(fallback)
    }

    /// Ending year of the one that is current for an entity by its own row.
    pub fn current_by_row(&self, entity: i64) -> Option<i32> {
        self.current.get(&entity).copied()
    }

    /// Ending years that are current for some entity.
    pub fn currents(&self) -> BTreeSet<i32> {
        let fallback = self.fallback.filter(|_| !self.told);
        self.current.values().copied().chain(fallback).collect()
    }

    /// Entities whose current year is known, each with the ending year of it.
    pub fn entities(&self) -> impl Iterator<Item = (i64, i32)> {
        self.current.iter().map(|(entity, current)| (*entity, *current))
    }

    /// [`Tables::current`], to be kept: by entity as enrollments name it, and under no name that of all others.
    pub fn kept_currents(&self) -> BTreeMap<String, i32> {
        let others = self.fallback.filter(|_| !self.told).map(|current| (String::new(), current));
        self.entities().map(|(entity, current)| (entity.to_string(), current)).chain(others).collect()
    }

    /// The SIS's ids of the school years that end in this one.
    pub fn ids_of(&self, ending: i32) -> impl Iterator<Item = i64> {
        self.years.iter().filter(move |(_, own)| **own == ending).map(|(id, _)| *id)
    }

    /// An enrollment's year against its entity's current one.
    pub fn year_fact(&self, school_year: Option<i64>, entity: Option<i64>) -> YearFact {
        match (self.ending(school_year), self.current(entity)) {
            (Some(of), Some(current)) => YearFact::Ending { of, current },
            _ => YearFact::Unresolved,
        }
    }

    /// The default school of an entity.
    pub fn school_of(&self, entity: Option<i64>) -> Option<i64> {
        self.schools.get(&entity?).copied()
    }
}

fn numeric_years(source: &Source) -> BTreeMap<i64, i32> {
    let rows = source.places(Kind::SchoolYear).iter().map(|place| (place.key(), source.row(*place)));
    let numeric = rows.filter_map(|(id, row)| Some((id, row.number(column::SchoolYear::NumericYear)?)));
    numeric.filter_map(|(id, year)| Some((id, i32::try_from(year).ok()?))).collect()
}

/// Current years as the year table flags them, by the entity that was asked; and the one they all agree on.
fn flagged_current(source: &Source, years: &BTreeMap<i64, i32>) -> (BTreeMap<i64, i32>, Option<i32>) {
    let places = source.places(Kind::SchoolYear).iter();
    let flagged = places.filter_map(|place| {
        let current = source.row(*place).flag(column::SchoolYear::IsCurrent).unwrap_or_default();
        current.then_some(()).and(Some((source.entity_asked(*place)?, *years.get(&place.key())?)))
    });
    let by_entity: BTreeMap<i64, i32> = flagged.collect();
    let agreed = agreed(by_entity.values().copied());
    (by_entity, agreed)
}

fn agreed(mut years: impl Iterator<Item = i32>) -> Option<i32> {
    let first = years.next()?;
    years.all(|year| year == first).then_some(first)
}

fn entities_current(source: &Source, years: &BTreeMap<i64, i32>) -> BTreeMap<i64, i32> {
    let rows = source.places(Kind::Entity).iter().map(|place| (place.key(), source.row(*place)));
    rows.filter_map(|(id, row)| Some((id, *years.get(&row.number(column::Entity::SchoolYearIdCurrent)?)?))).collect()
}

/// Schools are cloned every year; of an entity's default schools the greatest id is the latest.
fn default_schools(source: &Source) -> BTreeMap<i64, i64> {
    let mut schools: BTreeMap<i64, (bool, i64)> = BTreeMap::new();
    for place in source.places(Kind::EntitySchool) {
        let row = source.row(*place);
        let Some(school) = row.number(column::EntitySchool::SchoolId) else { continue };
        let offer = (row.flag(column::EntitySchool::IsDefault).unwrap_or_default(), school);
        let kept = schools.entry(place.key()).or_insert(offer);
        *kept = (*kept).max(offer);
    }
    schools.into_iter().map(|(entity, (_, school))| (entity, school)).collect()
}
