//! What changed rows tell beside those they are laid over: whether changes alone can be gone by.
//!
//! A pull for changes sees what moves a row's time of change and nothing else. A field that is switched off in Campus looks
//! emptied in the rows that happen to be told, one switched on comes with these alone; a guardian may come into sight with a
//! student and be told of by no row, since nobody touched it; and a source that has given everybody other ids shows them all
//! as new people. Each leaves a mark on the rows told, and where one is seen, everything is asked for.
//!
//! Neighbours: [`contents`](super::contents) counts the whole, by the same facets; [`crate::plan`] asks for everything.
//!
//! Invariant: a field that some changed rows had, and that no row told tonight has, or none of the same page, is never taken
//! for emptied, be it a single row: one beside it that has it proves that the source still shows it. Deliberately absent:
//! shares and thresholds of emptied rows, which few rows cannot tell from chance.

use std::collections::{BTreeSet, HashMap};

use super::{
    U,
    contents::PagesLacking,
    facets::{self, Facet, Facets, Reads, Who},
    find, is_live, is_student,
};
use crate::{
    fragment::{Kind, Row, column::Demographics as D, lists},
    load::{Place, Source},
};

/// Listings that are laid over others.
const KINDS: [Kind; 2] = [Kind::User, Kind::Demographics];

/// The rows told, and what they stand in place of.
struct Laid<'a> {
    source: &'a Source,
    reads: Reads<'a>,
    /// What is in the place of a row that was told, where there was one: by the place of the new one.
    under: HashMap<Place, Place>,
}

/// Facets that changed rows had and that no row told tonight has.
pub(super) fn emptied(source: &Source, reads: Reads<'_>) -> Facets {
    Laid::of(source, reads).emptied()
}

/// Why everything is to be asked for, where changes alone cannot be gone by.
pub fn doubts(source: &Source, reads: Reads<'_>) -> Option<String> {
    let laid = Laid::of(source, reads);
    let doubts = [
        ("no changed row has any more", laid.emptied()),
        ("changed rows have what none had", laid.appeared()),
        ("no changed row of a page has any more", laid.thinned()),
    ];
    if let Some((what, facets)) = doubts.iter().find(|(_, facets)| !facets.is_empty()) {
        return Some(format!("{what}: {}", facets.names()));
    }
    laid.doubtful_people().map(str::to_owned)
}

impl<'a> Laid<'a> {
    fn of(source: &'a Source, reads: Reads<'a>) -> Self {
        let pairs = KINDS.into_iter().flat_map(|kind| source.replaced(kind));
        Self { source, reads, under: pairs.copied().collect() }
    }

    /// What a row is and holds.
    fn facets(&self, kind: Kind, row: Row<'_>) -> Facets {
        facets::of_row(kind, row, self.reads)
    }

    /// Live rows of a kind that were told as changed, each with what it stands in place of.
    fn told(&self, kind: Kind) -> impl Iterator<Item = (Row<'a>, Option<Row<'a>>)> + '_ {
        let places = self.source.places(kind).iter().filter(|place| self.source.is_change(**place));
        let rows =
            places.map(|place| (self.source.row(*place), self.under.get(place).map(|old| self.source.row(*old))));
        rows.filter(move |(row, _)| is_there(kind, *row))
    }

    /// Live rows of a kind as they were before.
    fn before(&self, kind: Kind) -> impl Iterator<Item = Row<'a>> + '_ {
        let unchanged = self.source.places(kind).iter().filter(|place| !self.source.is_change(**place));
        let replaced = self.source.replaced(kind).iter().map(|(_, old)| old);
        unchanged.chain(replaced).map(|place| self.source.row(*place)).filter(move |row| is_there(kind, *row))
    }

    fn emptied(&self) -> Facets {
        let (mut had, mut have) = (Facets::default(), Facets::default());
        for kind in KINDS {
            for (new, old) in self.told(kind) {
                have = have.with(self.facets(kind, new));
                had = had.with(old.map(|old| self.facets(kind, old)).unwrap_or_default());
            }
        }
        less_implied(had.without(have))
    }

    /// Facets of rows told tonight that nobody had before.
    fn appeared(&self) -> Facets {
        let mut appeared = Facets::default();
        for kind in KINDS {
            let told = self.told(kind).map(|(row, _)| self.facets(kind, row));
            let mut new = told.fold(Facets::default(), Facets::with);
            for row in self.before(kind) {
                if new.is_empty() {
                    break;
                }
                new = new.without(self.facets(kind, row));
            }
            appeared = appeared.with(new);
        }
        less_implied(appeared)
    }

    /// Facets that changed rows had and that nobody has on whole pages of those told, where others of them have it: as
    /// where a field is switched off, or on again, while changes are listed.
    fn thinned(&self) -> Facets {
        let changed = |kind: Kind| self.source.places(kind).iter().filter(|place| self.source.is_change(**place));
        let mut held = vec![Facets::default(); self.source.pages()];
        for kind in KINDS {
            for place in changed(kind) {
                held[place.page()] = held[place.page()].with(self.facets(kind, self.source.row(*place)));
            }
        }
        let lacking = PagesLacking::of(self.source, &held);
        let mut thinned = Facets::default();
        for kind in KINDS {
            for (place, old) in changed(kind).filter_map(|place| Some((place, self.under.get(place)?))) {
                let now = self.facets(kind, self.source.row(*place));
                let lost = lacking.at(*place).common(self.facets(kind, self.source.row(*old)));
                // Who is no student any more has lost no student's number.
                thinned = thinned
                    .with(lost.iter().filter(|lost| lost.people().is_none_or(|who| now.contains(who))).collect());
            }
        }
        thinned
    }

    fn doubtful_people(&self) -> Option<&'static str> {
        if self.names_the_deleted() {
            return Some("a student names somebody who is marked as deleted");
        }
        let told = || self.told(Kind::User).filter(|(row, _)| is_student(*row));
        // Somebody who was marked as deleted may come back: known, and listed anew.
        let unknown = told().filter(|(_, old)| old.is_none()).count();
        let is_new = |old: &Option<Row<'_>>| !old.is_some_and(is_student);
        if !told().any(|(row, old)| is_new(&old) || self.names_a_stranger(row, old)) {
            return None;
        }
        let counts = self.counts_before();
        if unknown * 2 > counts.students {
            return Some("there are more than half as many new students as others");
        }
        if counts.guardians > 0 && told().any(|(row, old)| self.names_a_stranger(row, old)) {
            return Some("a guardian is named of whom no row tells");
        }
        let undescribed = || told().filter(|(_, old)| is_new(old)).any(|(row, _)| !self.is_described(row));
        (counts.described * 2 > counts.students && undescribed())
            .then_some("demographics of a new student are not told")
    }

    /// Whether somebody was told as deleted whom a student still names. A source may list such a one to who asks for changes alone.
    fn names_the_deleted(&self) -> bool {
        let places = self.source.places(Kind::User).iter().filter(|place| self.source.is_change(**place));
        let rows = places.map(|place| self.source.row(*place)).filter(|row| !is_live(*row, U::Status));
        let deleted: BTreeSet<&str> = rows.filter_map(|row| row.text(U::SourcedId)).collect();
        let mut users = self.source.places(Kind::User).iter().map(|place| self.source.row(*place));
        !deleted.is_empty()
            && users.any(|row| is_student(row) && agents(row).iter().any(|agent| deleted.contains(agent)))
    }

    /// Whether a student names a guardian whom the row before did not name, and of whom no row tells.
    fn names_a_stranger(&self, row: Row<'_>, old: Option<Row<'_>>) -> bool {
        let named_before: Vec<&str> = old.map(agents).unwrap_or_default();
        let mut named = agents(row).into_iter().filter(|agent| !named_before.contains(agent));
        named.any(|agent| find(self.source, Kind::User, agent).is_none_or(|row| !is_live(row, U::Status)))
    }

    fn is_described(&self, student: Row<'_>) -> bool {
        let row = student.text(U::SourcedId).and_then(|id| find(self.source, Kind::Demographics, id));
        row.is_some_and(|row| is_live(row, D::Status))
    }

    fn counts_before(&self) -> Counts {
        let mut counts = Counts { described: self.before(Kind::Demographics).count(), ..Counts::default() };
        for row in self.before(Kind::User) {
            let who = Who::of(row, self.reads);
            counts.students += usize::from(who.student);
            counts.guardians += usize::from(who.guardian);
        }
        counts
    }
}

/// People of the night that is built upon.
#[derive(Default)]
struct Counts {
    students: usize,
    guardians: usize,
    /// Those of whom demographics are told.
    described: usize,
}

/// Those that are judged, without those that a wider one says already.
fn less_implied(facets: Facets) -> Facets {
    let implied = |facet: Facet| facet.rests_on().any(|other| facets.contains(other));
    facets.iter().filter(|facet| facet.is_judged() && !implied(*facet)).collect()
}

fn is_there(kind: Kind, row: Row<'_>) -> bool {
    if kind == Kind::User { is_live(row, U::Status) } else { is_live(row, D::Status) }
}

fn agents(row: Row<'_>) -> Vec<&str> {
    lists::records::<1>(row.text(U::Agents)).map(|[agent]| agent).collect()
}

/// How many rows of a kind there are: those not marked as deleted, and all.
pub fn rows(source: &Source, kind: Kind) -> (i64, i64) {
    let places = source.places(kind);
    let live = places.iter().filter(|place| is_there(kind, source.row(**place))).count();
    (live as i64, places.len() as i64)
}

/// Whether rows do not tell when they were changed: such a source cannot be asked by it.
pub fn is_undated(source: &Source) -> bool {
    KINDS.into_iter().any(|kind| source.is_undated(kind))
}
