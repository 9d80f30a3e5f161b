//! What a pull of OneRoster holds beside its rows: how many of each kind of person, and of each kind of value, and on which
//! pages there is none of what others have.
//!
//! One listing carries students, guardians and staff, and "Data to Share" in Campus takes single fields away without a
//! word. So each of these is counted, and one that is empty and held something on the last complete pull is treated as an
//! empty listing is. Taken away while a listing is under way, a field is there on some pages and on others not at all.

use std::collections::BTreeMap;

use super::{
    U,
    facets::{self, Facet, Facets, Reads},
    find, laid,
};
use crate::{
    fragment::{Kind, lists},
    load::{Place, Source},
};

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// How many there are, of those that the connection wants.
    pub counts: BTreeMap<Facet, i64>,
    /// Guardians who are named and not shown.
    pub nameless: i64,
    /// Of a pull for changes: what changed rows had and no row told has.
    pub emptied: Facets,
    /// What whole pages lack.
    pub lacking: PagesLacking,
}

impl Contents {
    /// Counts a pull.
    pub fn of(source: &Source, reads: Reads<'_>) -> Self {
        let mut counts = [0_i64; u64::BITS as usize];
        let mut pages = vec![Facets::default(); source.pages()];
        let mut nameless = 0;
        for kind in [Kind::User, Kind::Demographics] {
            for place in source.places(kind) {
                let row = source.row(*place);
                let held = facets::of_row(kind, row, reads);
                pages[place.page()] = pages[place.page()].with(held);
                count(&mut counts, held);
                if held.contains(Facet::People(facets::Group::Students)) {
                    let agents = lists::records::<1>(row.text(U::Agents));
                    nameless += agents.filter(|[agent]| find(source, Kind::User, agent).is_none()).count() as i64;
                }
            }
        }
        let counts = Facet::all().zip(counts).filter(|(facet, _)| facet.is_wanted(reads)).collect();
        let lacking = PagesLacking::of(source, &pages);
        Self { counts, nameless, emptied: laid::emptied(source, reads), lacking }
    }
}

fn count(counts: &mut [i64], held: Facets) {
    counts.iter_mut().enumerate().for_each(|(place, count)| *count += i64::from(held.has_bit(place)));
}

/// For each page that was told tonight, the values that nobody on it has: those that others of the pull have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PagesLacking {
    /// What each page has none of, whether others have it or not.
    pages: Vec<Facets>,
    /// What any page has none of.
    anywhere: Facets,
    /// Those that count.
    counted: Facets,
}

impl PagesLacking {
    /// `held` is what each page holds. Pages copied from an earlier run were judged by it.
    pub(super) fn of(source: &Source, held: &[Facets]) -> Self {
        let tonights = held.iter().enumerate().filter(|(page, _)| !source.is_copy(*page));
        let counted = tonights.map(|(_, held)| *held).fold(Facets::default(), Facets::with);
        let of_kind = |kind: Kind| Facets::that(|facet| facet.kind() == kind && facet.is_of_one());
        let (of_users, of_demographics) = (of_kind(Kind::User), of_kind(Kind::Demographics));
        let lacking = |(page, held): (usize, &Facets)| match source.kind_of_page(page) {
            _ if source.is_copy(page) => Facets::default(),
            Some(Kind::User) => of_users.without(*held),
            Some(Kind::Demographics) => of_demographics.without(*held),
            _ => Facets::default(),
        };
        let pages: Vec<Facets> = held.iter().enumerate().map(lacking).collect();
        let anywhere = pages.iter().copied().fold(Facets::default(), Facets::with);
        Self { pages, anywhere, counted }
    }

    /// With `facets` too, which nobody has.
    #[must_use]
    pub fn with(mut self, facets: Facets) -> Self {
        self.counted = self.counted.with(facets);
        self
    }

    /// Without `facets`.
    #[must_use]
    pub fn without(mut self, facets: Facets) -> Self {
        self.counted = self.counted.without(facets);
        self
    }

    /// Whether no page lacks anything.
    pub const fn is_empty(&self) -> bool {
        self.anywhere.common(self.counted).is_empty()
    }

    /// What a row may lack because its whole page does.
    pub(super) fn at(&self, place: Place) -> Facets {
        self.pages.get(place.page()).map(|lacking| lacking.common(self.counted)).unwrap_or_default()
    }
}
