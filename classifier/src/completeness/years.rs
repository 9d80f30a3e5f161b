//! What was not asked, and what nothing measures: school years and entities that statuses rest on.
//!
//! Emptiness is judged of listings that are on the board. What discovery did not find is on none: a year that the tables of the
//! pull show and that was not asked, one that was there on the last complete run and that no table shows any more, and an entity
//! that was taken out of the district's file. A year that has begun for an entity, and has no enrollment yet, is a listing that
//! was never counted.
//!
//! Deliberately absent: OneRoster, which has neither; and years that have passed, which are rightly asked no more once no entity's
//! current year is the one after them.

use std::collections::{BTreeMap, BTreeSet};

use rollcall_store::{board::Board, district::SchoolYears, run::Baseline};

use super::{Completeness, first_look, partial};
use crate::{
    assemble::{WithdrawalColumn, tables::Tables},
    fragment::{Cell, Kind, Row, column::EntryWithdrawal as E},
    load::Source,
};

/// Code of the finding for an entity that nobody asks about any more.
pub const ENTITY_REMOVED: &str = "entity-removed";
/// Code of the finding for a school year that nobody asked for.
pub const YEAR_NOT_ASKED: &str = "year-not-asked";
/// Code of the finding for a listing that held rows, and whose year no table shows any more.
pub const LISTING_NOT_ASKED: &str = "listing-not-asked";
/// Code of the finding for an entity whose current year has no enrollment yet.
pub const YEAR_EMPTY: &str = "year-empty";

/// Enrollments.
const SPELLS: &str = Kind::EntryWithdrawal.resource();
/// An entity whose listings of these held rows has students.
const OF_STUDENTS: [&str; 3] = [Kind::Student.resource(), SPELLS, Kind::StudentEntityYear.resource()];
/// Tables that tell which years are current.
const OF_YEARS: [&str; 2] = [Kind::SchoolYear.resource(), Kind::Entity.resource()];

/// A connection's pull, as its tables of years and entities show it.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// What was asked.
    pub board: &'a Board,
    /// What came in.
    pub source: &'a Source,
    /// Years and entities of it.
    pub tables: &'a Tables,
    /// What is known of earlier pulls.
    pub baseline: Option<&'a Baseline>,
    /// Which years count.
    pub admitted: SchoolYears,
    /// Where an enrollment's end stands.
    pub withdrawal: WithdrawalColumn,
    /// Whether a student is stored as one who attends, by the SIS's id.
    pub attends: &'a dyn Fn(i64) -> bool,
}

/// An entity as `--accept-empty` names it.
pub fn entity_name(entity: i64) -> String {
    format!("entity {entity}")
}

/// What a listing's name says of it: resource, entity and year.
fn parts(name: &str) -> Option<(&str, Option<i64>, Option<i64>)> {
    let (resource, narrowing) = name.strip_suffix(')')?.split_once(" (")?;
    let number = |what: &str| narrowing.split(", ").find_map(|part| part.strip_prefix(what)?.parse().ok());
    Some((resource, number("entity "), number("year ")))
}

/// The entity that a listing's name tells, if it does.
pub fn entity_of(name: &str) -> Option<i64> {
    parts(name).and_then(|(_, entity, _)| entity)
}

/// Entities of which a baseline counts students.
pub fn entities_with_students(last: &Baseline) -> BTreeSet<i64> {
    let held = last.rows.iter().filter(|(_, rows)| **rows > 0).filter_map(|(name, _)| parts(name));
    held.filter(|(resource, ..)| OF_STUDENTS.contains(resource)).filter_map(|(_, entity, _)| entity).collect()
}

/// Entities that a board asks about.
pub fn entities_asked(board: &Board) -> BTreeSet<i64> {
    first_look(board).filter_map(|(_, listing)| listing.ask.entity).collect()
}

/// An entity that had students and is asked about no more: who is in none of the others looks as if he had left.
pub(super) fn judge_entities(judged: &mut Completeness, board: &Board, baseline: Option<&Baseline>) {
    let Some(last) = baseline else { return };
    let asked = entities_asked(board);
    if asked.is_empty() {
        return;
    }
    // One that is back is measured by its own listings again: what was accepted of it is over.
    let back = asked.iter().map(|entity| entity_name(*entity)).filter(|name| last.accepted_empty.contains(name));
    judged.rows.extend(back.map(|name| (name, 1)));
    for entity in entities_with_students(last).difference(&asked) {
        let name = entity_name(*entity);
        if last.accepted_empty.contains(&name) {
            continue;
        }
        judged.tear();
        let message = format!(
            "{name}: had students on the last complete run, and is in `entities` of the district's file no more; nobody is taken \
             out. Put it back, or if its students are to leave: `rollcall runs approve RUN --accept-empty '{name}'`"
        );
        judged.findings.push(partial(ENTITY_REMOVED, message));
    }
}

/// Judges what the pull's tables show. Where one of them is not whole, nothing is said: nobody is taken out anyhow.
pub fn judge_asked(judged: &mut Completeness, asked: Asked<'_>) {
    let is_whole = |resource: &&str| {
        let emptied = |name: &String| name.starts_with(resource);
        !judged.torn.contains(*resource) && !judged.empty_essential.iter().any(emptied)
    };
    if !OF_YEARS.iter().all(is_whole) {
        return;
    }
    // Without the enrollments of a year that has begun, those stored are of the one before.
    if is_whole(&SPELLS) {
        judged.current_years = asked.tables.kept_currents();
    }
    let years = asked.years();
    if years.is_empty() {
        return;
    }
    let currents = asked.tables.currents();
    for (id, ending) in asked.wanted(&currents).filter(|(id, _)| !years.contains(id)) {
        let message = format!(
            "District/SchoolYear {id} (ending {ending}): statuses rest on this school year, and it was not asked for, since the SIS \
             did not tell of it when the pull began; nobody is taken out. Run again"
        );
        asked.miss(judged, YEAR_NOT_ASKED, message);
    }
    let before = currents.first().map(|first| first - 1);
    // Where the year before the earliest current one is shown, what no table shows any more has passed.
    if before.is_some_and(|before| asked.tables.ids_of(before).next().is_none()) {
        for (name, rows) in asked.unknown_years(&years) {
            let message = format!(
                "{name}: held {rows} rows, and was not asked for, since no table tells of its school year any more; nobody is taken \
                 out. See what `rollcall district test` says of school years; if that year does not matter any more: \
                 `rollcall runs approve RUN --accept-empty '{name}'`"
            );
            asked.miss(judged, LISTING_NOT_ASKED, message);
        }
    }
    asked.judge_begun(judged);
}

impl<'a> Asked<'a> {
    /// Years that enrollments were asked of.
    fn years(&self) -> BTreeSet<i64> {
        let spells = first_look(self.board).filter(|(_, listing)| listing.ask.resource == SPELLS);
        spells.filter_map(|(_, listing)| listing.ask.school_year.as_ref()?.parse().ok()).collect()
    }

    /// Years that statuses rest on: each one that is current for an entity, the one before it, and the next where admitted.
    fn wanted<'c>(&'c self, currents: &'c BTreeSet<i32>) -> impl Iterator<Item = (i64, i32)> + 'c {
        let after = i32::from(self.admitted == SchoolYears::CurrentAndNext);
        let endings: BTreeSet<i32> = currents.iter().flat_map(|current| current - 1..=current + after).collect();
        endings.into_iter().flat_map(|ending| self.tables.ids_of(ending).map(move |id| (id, ending)))
    }

    /// Listings of enrollments that held rows, and whose year was neither asked for nor is known.
    fn unknown_years(&self, asked: &BTreeSet<i64>) -> Vec<(&'a String, i64)> {
        let Some(last) = self.baseline else { return Vec::new() };
        let entities = entities_asked(self.board);
        let is_unknown = |name: &str| {
            let Some((SPELLS, Some(entity), Some(year))) = parts(name) else { return false };
            entities.contains(&entity) && !asked.contains(&year) && self.tables.ending(Some(year)).is_none()
        };
        let held = last.rows.iter().filter(|(_, rows)| **rows > 0).map(|(name, rows)| (name, *rows));
        held.filter(|(name, _)| is_unknown(name) && !last.accepted_empty.contains(*name)).collect()
    }

    /// What else has a listing for each year was not asked for either.
    fn miss(&self, judged: &mut Completeness, code: &str, message: String) {
        judged.tear();
        let yearly = first_look(self.board).filter(|(_, listing)| listing.ask.school_year.is_some());
        let supporting = yearly.filter(|(_, listing)| !listing.ask.essential);
        judged.failed_supporting.extend(supporting.map(|(_, listing)| listing.ask.resource.clone()));
        judged.findings.push(partial(code, message));
    }

    /// A year that has begun for an entity that shows no enrollment of it, while students who attend have open ones of the year
    /// before: these count no more (`open-enrollment-of-earlier-year`), so that all would leave at once. Most likely they are
    /// yet to be rolled over.
    fn judge_begun(&self, judged: &mut Completeness) {
        for (entity, students) in self.left_behind() {
            let current = self.tables.current(Some(entity));
            let Some(year) = current.and_then(|current| self.tables.ids_of(current).next()) else { continue };
            let name = format!("{SPELLS} ({}, year {year})", entity_name(entity));
            let accepted = |last: &Baseline| last.accepted_empty.contains(&name);
            let said = judged.empty_essential.contains(&name) || judged.torn.contains(&name);
            if said || self.baseline.is_some_and(accepted) {
                continue;
            }
            judged.tear();
            Self::stay_in_year_before(judged, entity);
            let message = format!(
                "{name}: empty, though this year is current for the entity, and {} students who attend have open enrollments there of \
                 the year before; nobody is taken out. Have the SIS roll them over, or if they are to leave: \
                 `rollcall runs approve RUN --accept-empty '{name}'`",
                students.len()
            );
            judged.findings.push(partial(YEAR_EMPTY, message));
            judged.empty_essential.insert(name);
        }
    }

    /// Whoever attends there does by enrollments of the year before, which is the one to keep.
    fn stay_in_year_before(judged: &mut Completeness, entity: i64) {
        if let Some(current) = judged.current_years.get_mut(&entity.to_string()) {
            *current = current.saturating_sub(1);
        }
    }

    /// Students who attend by an open enrollment of the year before, by entity, where the entity shows none of its current year.
    fn left_behind(&self) -> BTreeMap<i64, BTreeSet<i64>> {
        let mut behind: BTreeMap<i64, BTreeSet<i64>> = BTreeMap::new();
        let waiting = self.without_current_year();
        if waiting.is_empty() {
            return behind;
        }
        let places = self.source.places(Kind::EntryWithdrawal);
        for spells in places.chunk_by(|a, b| a.key() == b.key()) {
            let rows = || spells.iter().map(|place| self.source.row(*place));
            let is_open = |row: &Row<'_>| row.cell(self.withdrawal.column()) == Cell::Null;
            let entity = |row: Row<'_>| {
                let entity = row.number(E::EntityId).filter(|entity| waiting.contains(entity))?;
                let next = self.tables.ending(row.number(E::SchoolYearId))? + 1;
                (self.tables.current_by_row(entity) == Some(next)).then_some(entity)
            };
            let left: BTreeSet<i64> = rows().filter(is_open).filter_map(entity).collect();
            if left.is_empty() || rows().any(|row| self.is_current(row)) || !(self.attends)(spells[0].key()) {
                continue;
            }
            for entity in left {
                behind.entry(entity).or_default().insert(spells[0].key());
            }
        }
        behind
    }

    /// Entities of which no row shows an enrollment in their current year.
    fn without_current_year(&self) -> BTreeSet<i64> {
        let mut waiting: BTreeSet<i64> = self.tables.entities().map(|(entity, _)| entity).collect();
        for place in self.source.places(Kind::EntryWithdrawal) {
            if waiting.is_empty() {
                break;
            }
            let row = self.source.row(*place);
            let entity = row.number(E::EntityId).filter(|entity| waiting.contains(entity));
            if let Some(entity) = entity.filter(|_| self.is_current(row)) {
                waiting.remove(&entity);
            }
        }
        waiting
    }

    /// Whether an enrollment is of its entity's current year.
    fn is_current(&self, row: Row<'_>) -> bool {
        let current = row.number(E::EntityId).and_then(|entity| self.tables.current_by_row(entity));
        current.is_some() && self.tables.ending(row.number(E::SchoolYearId)) == current
    }
}
