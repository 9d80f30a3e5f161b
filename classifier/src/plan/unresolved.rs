//! Which school years and entities keep students from being judged.
//!
//! Role: `school-year-unresolved` names an enrollment; what is to be mended is the entity or the year that it is of. One finding
//! each, with how many students wait for it.

use std::collections::{BTreeMap, BTreeSet};

use rollcall_store::{
    plan::Skip,
    run::{Finding, FindingWeight},
};

use super::PlanFacts;
use crate::{
    assemble::tables::Tables,
    fragment::{Kind, column::EntryWithdrawal as E},
    load::{Looks, Source},
    status::{Illegible, YearFact},
};

/// What is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Unknown {
    /// An entity that the table of entities does not show.
    Entity(i64),
    /// An entity that it shows, and of which it names no current year that there is.
    CurrentOf(i64),
    /// A school year that the table of years does not show.
    Year(i64),
}

/// What keeps which students from being judged, over all connections.
pub(super) fn findings(skips: &[Skip], facts: &PlanFacts, looks: &[Looks], tables: &[Option<Tables>]) -> Vec<Finding> {
    let mut waiting: BTreeMap<(u16, Unknown), BTreeSet<i64>> = BTreeMap::new();
    let unresolved = Illegible::SchoolYear.reason();
    for ((pull, looks), tables) in facts.pulls.iter().zip(looks).zip(tables) {
        let number = pull.pull.connection.0;
        let connection = facts.district.connections.get(usize::from(number));
        let (Some(tables), Some(connection)) = (tables, connection) else { continue };
        let prefix = connection.id_prefix.as_deref().unwrap_or_default();
        let skipped = skips.iter().filter(|skip| skip.reason == unresolved);
        for student in skipped.filter_map(|skip| skip.student_id.0.strip_prefix(prefix)?.parse().ok()) {
            for unknown in unknown_of(student, &looks.first, tables) {
                waiting.entry((number, unknown)).or_default().insert(student);
            }
        }
    }
    waiting.into_iter().map(|((_, unknown), students)| finding(unknown, students.len())).collect()
}

fn unknown_of<'a>(student: i64, source: &'a Source, tables: &'a Tables) -> impl Iterator<Item = Unknown> + 'a {
    let rows = source.find(Kind::EntryWithdrawal, student).iter().map(|place| source.row(*place));
    rows.filter_map(move |row| {
        let (year, entity) = (row.number(E::SchoolYearId), row.number(E::EntityId));
        if tables.year_fact(year, entity) != YearFact::Unresolved {
            return None;
        }
        if tables.ending(year).is_none() {
            return year.map(Unknown::Year);
        }
        let shown = |entity: &i64| !source.find(Kind::Entity, *entity).is_empty();
        entity.map(|entity| if shown(&entity) { Unknown::CurrentOf(entity) } else { Unknown::Entity(entity) })
    })
}

fn finding(unknown: Unknown, students: usize) -> Finding {
    let (code, what, mend) = match unknown {
        Unknown::Entity(entity) => (
            "entity-unknown",
            format!("entity {entity}: District/Entity does not show it, so that its current school year is not known"),
            "Have it granted to the integration access, or add it to `entities` in the district's file",
        ),
        Unknown::CurrentOf(entity) => (
            "entity-unknown",
            format!(
                "entity {entity}: District/Entity names no current school year of it that District/SchoolYear shows"
            ),
            "Have the SIS's administrator set it, or have the year granted to the integration access",
        ),
        Unknown::Year(year) => (
            "year-unknown",
            format!("school year {year}: District/SchoolYear does not show it, or not which year it is"),
            "Have it granted to the integration access, with NumericYear",
        ),
    };
    let message = format!(
        "{what}; {students} students with enrollments of it are neither changed nor added. {mend}, and see `rollcall district test`"
    );
    Finding { weight: FindingWeight::Partial, code: code.to_owned(), message, count: students as i64 }
}
