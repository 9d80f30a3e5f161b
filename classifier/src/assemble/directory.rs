//! Schools and staff: small listings, kept beside the students.

use std::collections::{BTreeMap, BTreeSet};

use rollcall_proto::roster::{School, Staff};
use rollcall_store::district::StaffScope;

use super::{people, tables::Tables};
use crate::{
    fragment::{Kind, Row, column},
    load::{Place, Source},
    missing::{Missing, Part, follow},
    view::StudentView,
};

/// The schools, by code, each with the keys that lead to no row. Ids change every year, so of the rows of a code the latest year's
/// counts.
pub(super) fn schools(source: &Source, tables: &Tables) -> Vec<(School, Vec<Missing>)> {
    use column::School as S;
    let mut latest: BTreeMap<&str, (Option<i32>, i64, Row<'_>)> = BTreeMap::new();
    for place in source.places(Kind::School) {
        let row = source.row(*place);
        let Some(code) = row.text(S::Code) else { continue };
        let offer = (tables.ending(row.number(S::SchoolYearId)), row.key(), row);
        match latest.get(code) {
            Some(kept) if (kept.0, kept.1) > (offer.0, offer.1) => {}
            _ => {
                latest.insert(code, offer);
            }
        }
    }
    latest.into_iter().map(|(code, (.., row))| school(source, code, row)).collect()
}

fn school(source: &Source, code: &str, row: Row<'_>) -> (School, Vec<Missing>) {
    use column::School as S;
    let mut missing = Vec::new();
    let mut grade = |column, part| {
        let level = follow(source, Kind::GradeLevel, row.number(column), part, &mut missing);
        level.and_then(|level| level.text(column::GradeLevel::Code)).map(str::to_owned)
    };
    let school = School {
        code: code.to_owned(),
        name: row.text(S::Name).map(str::to_owned),
        state_id: row.text(S::StateAssignedId).map(str::to_owned),
        grade_low: grade(S::GradeLevelIdLow, Part::GradeLow),
        grade_high: grade(S::GradeLevelIdHigh, Part::GradeHigh),
        phone: row.text(S::PhoneNumber).map(str::to_owned),
    };
    (school, missing)
}

/// The staff whom `scope` wants, by id: by their rows of each entity's year. Each with the keys that lead to no row.
pub(super) fn staff(source: &Source, tables: &Tables, scope: StaffScope) -> Vec<(Staff, Vec<Missing>)> {
    if scope == StaffScope::None {
        return Vec::new();
    }
    let years = StaffYears::of(source, tables);
    let places = source.places(Kind::Staff);
    let last = places.chunk_by(|a, b| a.key() == b.key()).filter_map(<[_]>::last);
    let members = last.filter_map(|place| member(source, source.row(*place), years.work_of(place.key()), scope));
    let mut staff: Vec<(Staff, Vec<Missing>)> = members.collect();
    staff.sort_by(|(a, _), (b, _)| a.id.cmp(&b.id));
    staff
}

/// `None`: of those whom `scope` does not want.
fn member(source: &Source, row: Row<'_>, work: Work, scope: StaffScope) -> Option<(Staff, Vec<Missing>)> {
    let wanted = match scope {
        StaffScope::None => false,
        StaffScope::Active => work.active,
        StaffScope::Teachers => work.teacher,
    };
    if !wanted {
        return None;
    }
    let mut view = StudentView::default();
    let person = people::person(source, row.number(column::Staff::NameId), [None; 3], &mut view);
    view.person = person;
    view.sort();
    let member = Staff {
        id: row.key().to_string(),
        connection: None,
        number: row.text(column::Staff::StaffNumber).map(str::to_owned),
        person: view.person_record(&view.person),
        teacher: work.teacher,
        entities: work.entities.into_iter().map(|entity| entity.to_string()).collect(),
    };
    Some((member, view.missing))
}

/// What somebody does in the year that counts.
#[derive(Debug, Default)]
struct Work {
    active: bool,
    teacher: bool,
    entities: BTreeSet<i64>,
}

/// The years that count, from the number of rows of each.
fn counted(rows: &BTreeMap<i32, usize>) -> Vec<i32> {
    let mut latest = rows.iter().rev();
    let Some((current, now)) = latest.next() else { return Vec::new() };
    let before = latest.next().filter(|(_, before)| now * 2 < **before).map(|(year, _)| *year);
    std::iter::once(*current).chain(before).collect()
}

/// Which rows of `StaffEntityYear` count: those of their entity's current year. While that one tells of less than half as many
/// as the latest year before, those of that year too: an entity whose year has moved on before everybody was set up for it has
/// not lost its staff.
struct StaffYears<'a> {
    source: &'a Source,
    tables: &'a Tables,
    /// Ending years, by entity.
    counted: BTreeMap<Option<i64>, Vec<i32>>,
}

impl<'a> StaffYears<'a> {
    fn of(source: &'a Source, tables: &'a Tables) -> Self {
        let mut years = Self { source, tables, counted: BTreeMap::new() };
        let mut rows: BTreeMap<Option<i64>, BTreeMap<i32, usize>> = BTreeMap::new();
        for place in source.places(Kind::StaffEntityYear) {
            let entity = source.row(*place).number(column::StaffEntityYear::EntityId);
            let Some(ending) = tables.ending(years.year_of(*place)) else { continue };
            if tables.current(entity).is_none_or(|current| ending <= current) {
                *rows.entry(entity).or_default().entry(ending).or_default() += 1;
            }
        }
        years.counted = rows.into_iter().map(|(entity, rows)| (entity, counted(&rows))).collect();
        years
    }

    /// As the row says, or as it was asked for: not every access grants it, and older pages were read without it.
    fn year_of(&self, place: Place) -> Option<i64> {
        let told = self.source.row(place).number(column::StaffEntityYear::SchoolYearId);
        told.or_else(|| self.source.year_asked(place))
    }

    fn counts(&self, place: Place) -> bool {
        let entity = self.source.row(place).number(column::StaffEntityYear::EntityId);
        let year = self.year_of(place);
        match self.tables.ending(year) {
            Some(ending) => self.counted.get(&entity).is_some_and(|counted| counted.contains(&ending)),
            // A year that is in no table is not the current one, where that is known.
            None => year.is_none() || self.tables.current(entity).is_none(),
        }
    }

    fn work_of(&self, member: i64) -> Work {
        use column::StaffEntityYear as Y;
        let mut rows: BTreeMap<i64, Place> = BTreeMap::new();
        // Told twice, a row counts as it was told last.
        rows.extend(self.source.find(Kind::StaffEntityYear, member).iter().map(|p| (self.source.row(*p).key(), *p)));
        let mut work = Work::default();
        for place in rows.into_values().filter(|place| self.counts(*place)) {
            let row = self.source.row(place);
            if row.flag(Y::IsActive).unwrap_or(true) {
                work.active = true;
                work.teacher |= row.flag(Y::IsTeacher).unwrap_or_default();
                work.entities.extend(row.number(Y::EntityId));
            }
        }
        work
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_year_before_counts_where_the_current_one_has_less_than_half_of_its_rows() {
        type Rows = &'static [(i32, usize)];
        let cases: [(Rows, &[i32]); 6] = [
            (&[], &[]),
            (&[(2026, 4)], &[2026]),
            (&[(2025, 9), (2026, 4)], &[2026, 2025]),
            (&[(2025, 8), (2026, 4)], &[2026]),
            (&[(2025, 1), (2026, 4)], &[2026]),
            (&[(2024, 90), (2025, 8), (2026, 4)], &[2026]),
        ];
        for (rows, expected) in cases {
            assert_eq!(counted(&rows.iter().copied().collect()), expected, "{rows:?}");
        }
    }
}
