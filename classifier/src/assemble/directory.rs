//! Schools and staff: small listings, kept beside the students.

use std::collections::{BTreeMap, BTreeSet};

use rollcall_proto::roster::{School, Staff};

use super::people;
use crate::{
    fragment::{Kind, Row, column},
    load::Source,
    view::StudentView,
};

/// The schools, by code. Ids change every year, so of the rows of a code the latest year's counts.
pub(super) fn schools(source: &Source) -> Vec<School> {
    use column::School as S;
    let mut latest: BTreeMap<&str, (Option<i64>, i64, Row<'_>)> = BTreeMap::new();
    for place in source.places(Kind::School) {
        let row = source.row(*place);
        let Some(code) = row.text(S::Code) else { continue };
        let offer = (numeric_year(source, row.number(S::SchoolYearId)), row.key(), row);
        match latest.get(code) {
            Some(kept) if (kept.0, kept.1) > (offer.0, offer.1) => {}
            _ => {
                latest.insert(code, offer);
            }
        }
    }
    latest.into_iter().map(|(code, (.., row))| school(source, code, row)).collect()
}

fn numeric_year(source: &Source, id: Option<i64>) -> Option<i64> {
    source.follow(Kind::SchoolYear, id)?.number(column::SchoolYear::NumericYear)
}

fn school(source: &Source, code: &str, row: Row<'_>) -> School {
    use column::School as S;
    let grade = |column| {
        let level = source.follow(Kind::GradeLevel, row.number(column));
        level.and_then(|level| level.text(column::GradeLevel::Code)).map(str::to_owned)
    };
    School {
        code: code.to_owned(),
        name: row.text(S::Name).map(str::to_owned),
        state_id: row.text(S::StateAssignedId).map(str::to_owned),
        grade_low: grade(S::GradeLevelIdLow),
        grade_high: grade(S::GradeLevelIdHigh),
        phone: row.text(S::PhoneNumber).map(str::to_owned),
    }
}

/// The staff, by id.
pub(super) fn staff(source: &Source) -> Vec<Staff> {
    let places = source.places(Kind::Staff);
    let last = places.chunk_by(|a, b| a.key() == b.key()).filter_map(<[_]>::last);
    last.map(|place| member(source, source.row(*place))).collect()
}

fn member(source: &Source, row: Row<'_>) -> Staff {
    use column::StaffEntityYear as Y;
    let mut view = StudentView::default();
    let person = people::person(source, row.number(column::Staff::NameId), [None; 3], &mut view);
    view.person = person;
    view.sort();
    let (mut teacher, mut entities) = (false, BTreeSet::new());
    people::each_once(source, Kind::StaffEntityYear, row.key(), |year| {
        if year.flag(Y::IsActive).unwrap_or(true) {
            teacher |= year.flag(Y::IsTeacher).unwrap_or_default();
            entities.extend(year.number(Y::EntityId));
        }
    });
    Staff {
        id: row.key().to_string(),
        number: row.text(column::Staff::StaffNumber).map(str::to_owned),
        person: view.person_record(&view.person),
        teacher,
        entities: entities.into_iter().map(|entity| entity.to_string()).collect(),
    }
}
