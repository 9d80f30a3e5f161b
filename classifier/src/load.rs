//! A run's fragments in memory: pages as they are, and for each kind an index from its lookup key to its rows.
//!
//! At most twenty-four bytes a row beside the row itself. Rows of one key stand in the order of listing and page, so that "the later
//! page wins" is the order they are met in. In a pull for changes alone, what it was built upon comes first, and of rows
//! that tell of one thing the last is kept.

use rollcall_proto::id::{ListingNo, PageNo};
use rollcall_store::{
    board::{Board, Listing},
    page::PageFragments,
};

use crate::{
    fragment::{Cell, FragmentError, KINDS, Kind, Page, Row, UNDATED},
    missing::Known,
    parallel,
};

/// Where a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    key: i64,
    page: u32,
    offset: u32,
}

impl Place {
    /// The value of the kind's lookup column.
    pub const fn key(self) -> i64 {
        self.key
    }

    /// Number of its page among those of its [`Source`].
    pub const fn page(self) -> usize {
        self.page as usize
    }
}

/// Rows of one connection's pull, or of its second look.
#[derive(Debug, Default)]
pub struct Source {
    pages: Vec<Loaded>,
    /// By the kind's number.
    indexes: Vec<Index>,
    /// Rows told as changed, each with the one that it was laid over.
    replaced: Vec<(Kind, Vec<(Place, Place)>)>,
    /// Keys of which it is known that they lead to no row here.
    pub known: Known,
}

#[derive(Debug)]
struct Loaded {
    page: Page,
    listing: ListingNo,
    entity: Option<i64>,
    school_year: Option<i64>,
    /// Of a listing of changes.
    changed: bool,
    /// Not asked for: a copy of what an earlier run pulled.
    copied: bool,
}

/// Places sorted by key, and where to look for one: keys are cut into stretches of equal length, so short that there are about as
/// many as places. Of ids that lie close together each has its own; few share one where they lie apart.
#[derive(Debug, Default)]
struct Index {
    places: Vec<Place>,
    lowest: i64,
    /// A stretch is as long as this power of two.
    stretch: u32,
    /// The first place of each stretch, and where the last one ends.
    first: Vec<u32>,
}

/// Both looks of one connection, and what was set aside.
#[derive(Debug, Default)]
pub struct Looks {
    /// The pull itself.
    pub first: Source,
    /// The second look, if there was one.
    pub second: Option<Source>,
    /// Changes that were asked for before everything was asked for after all.
    pub set_aside: Source,
}

/// What is odd about the rows of a kind.
#[derive(Debug)]
pub struct Oddities {
    /// Which rows.
    pub kind: Kind,
    /// Texts from which control characters were taken.
    pub cleaned: Odd,
    /// Values that are there and cannot be read.
    pub unreadable: Odd,
}

/// How often something is odd, and where.
#[derive(Debug, Default)]
pub struct Odd {
    /// How often.
    pub count: u64,
    /// The first rows, each once, by id; one more than [`NAMED`] where there are more.
    pub rows: Vec<String>,
}

/// Odd rows that are named.
pub const NAMED: usize = 5;

impl Odd {
    /// Looks through a page on which something was odd `count` times, until enough rows are named.
    fn add(&mut self, count: u32, page: &Page, name: impl Fn(Row<'_>) -> Option<String>) {
        self.count += u64::from(count);
        if count == 0 || self.rows.len() > NAMED {
            return;
        }
        for name in page.offsets().filter_map(|at| name(page.row(at))) {
            // Several entities may tell of one row.
            if !self.rows.contains(&name) {
                self.rows.push(name);
            }
            if self.rows.len() > NAMED {
                return;
            }
        }
    }
}

impl Looks {
    /// Opens a connection's pages. Pages beyond the end of their listing are left out unread.
    pub fn open(fragments: Vec<PageFragments>, board: &Board) -> Result<Self, FragmentError> {
        let wanted = fragments.into_iter().filter_map(|fragment| {
            let listing = board.listings.get(fragment.listing.0 as usize)?;
            let part = part(board, listing, fragment.listing)?;
            let wanted = counts(listing, fragment.page) && !fragment.fragments.is_empty();
            wanted.then_some((part, fragment.listing, fragment.fragments))
        });
        let opened = parallel::map(wanted.collect(), |(part, number, fragments)| {
            let ask = &board.listings[number.0 as usize].ask;
            let (entity, changed, copied) = (ask.entity, ask.since.is_some(), ask.stored.is_some());
            let school_year = ask.school_year.as_ref().and_then(|year| year.parse().ok());
            let listing = number;
            Page::open(&fragments).map(|page| (part, Loaded { page, listing, entity, school_year, changed, copied }))
        });
        let mut parts = [Vec::new(), Vec::new(), Vec::new()];
        for opened in opened {
            let (part, loaded) = opened?;
            parts[part as usize].push(loaded);
        }
        let [first, second, aside] = parts;
        let second = board.recheck_from.map(|_| Source::of(second));
        let mut first = Source::of(first);
        for listing in board.listings.iter().filter(|listing| listing.ask.stored.is_some() && !listing.aside) {
            first.keep_latest(&listing.ask.resource);
        }
        let set_aside = if aside.is_empty() { Source::default() } else { Source::of(aside) };
        Ok(Self { first, second, set_aside })
    }
}

/// What a listing's pages are for.
#[derive(Debug, Clone, Copy)]
enum Part {
    First,
    Second,
    Aside,
}

/// `None`: its rows are of no use any more.
fn part(board: &Board, listing: &Listing, number: ListingNo) -> Option<Part> {
    if listing.aside {
        return listing.ask.since.map(|_| Part::Aside);
    }
    Some(if is_second(board, number) { Part::Second } else { Part::First })
}

/// Whether a listing belongs to the second look.
pub fn is_second(board: &Board, listing: ListingNo) -> bool {
    board.recheck_from.is_some_and(|from| listing.0 >= from)
}

fn counts(listing: &Listing, page: PageNo) -> bool {
    listing.last_page.is_none_or(|last| page.0 <= last)
}

impl Source {
    fn of(pages: Vec<Loaded>) -> Self {
        let index = |number| Kind::from_number(number).map(|kind| Index::of(places_of(&pages, kind)));
        let indexes = parallel::map((0..KINDS as u8).collect(), |number| index(number).unwrap_or_default());
        Self { pages, indexes, replaced: Vec::new(), known: Known::default() }
    }

    /// Of rows that tell of the same thing, keeps the last: changes lie over what they changed.
    fn keep_latest(&mut self, resource: &str) {
        let Some(kind) = Kind::of_resource(resource) else { return };
        let index = std::mem::take(&mut self.indexes[kind as usize]);
        let mut places = Vec::with_capacity(index.places.len());
        let mut replaced = Vec::new();
        for same_key in index.places.chunk_by(|a, b| a.key == b.key) {
            // The whole id stands in the second column; the key is made from it, and not alone its own.
            let id = |place: &Place| self.row(*place).text_at(1);
            let is_last = |number: usize, place: &Place| {
                let own = id(place);
                !same_key[number + 1..].iter().any(|later| id(later) == own)
            };
            for (_, place) in same_key.iter().enumerate().filter(|(number, place)| is_last(*number, place)) {
                let was = |other: &&Place| !self.is_change(**other) && id(other) == id(place);
                if self.is_change(*place) {
                    replaced.extend(same_key.iter().rev().find(was).map(|old| (*place, *old)));
                }
                places.push(*place);
            }
        }
        self.indexes[kind as usize] = Index::of(places);
        self.replaced.push((kind, replaced));
    }

    /// Rows of a kind that were told as changed, each with the one that it was laid over.
    pub fn replaced(&self, kind: Kind) -> &[(Place, Place)] {
        let own = self.replaced.iter().find(|(of, _)| *of == kind);
        own.map(|(_, replaced)| replaced.as_slice()).unwrap_or_default()
    }

    /// Whether a row was told as changed.
    pub fn is_change(&self, place: Place) -> bool {
        self.pages[place.page as usize].changed
    }

    /// How many pages there are.
    pub fn pages(&self) -> usize {
        self.pages.len()
    }

    /// What the rows of a page are, by its number.
    pub fn kind_of_page(&self, page: usize) -> Option<Kind> {
        self.pages.get(page).map(|loaded| loaded.page.kind)
    }

    /// Whether a page, by its number, is a copy of what an earlier run pulled.
    pub fn is_copy(&self, page: usize) -> bool {
        self.pages.get(page).is_some_and(|loaded| loaded.copied)
    }

    /// Whether some row of a kind does not tell when it was changed.
    pub fn is_undated(&self, kind: Kind) -> bool {
        self.seen(kind).is_some_and(|seen| seen >> UNDATED & 1 == 1)
    }

    /// A row.
    pub fn row(&self, place: Place) -> Row<'_> {
        self.pages[place.page as usize].page.row(place.offset)
    }

    /// The entity that was asked when this row was told.
    pub fn entity_asked(&self, place: Place) -> Option<i64> {
        self.pages[place.page as usize].entity
    }

    /// The school year that was asked for when this row was told, by its id.
    pub fn year_asked(&self, place: Place) -> Option<i64> {
        self.pages[place.page as usize].school_year
    }

    /// Every place of a kind, by key, then in the order of pages.
    pub fn places(&self, kind: Kind) -> &[Place] {
        self.indexes.get(kind as usize).map(|index| index.places.as_slice()).unwrap_or_default()
    }

    /// The places of one key.
    pub fn find(&self, kind: Kind, key: i64) -> &[Place] {
        self.indexes.get(kind as usize).map(|index| index.find(key)).unwrap_or_default()
    }

    /// The row of a primary key; told several times, the last one counts.
    pub fn get(&self, kind: Kind, key: i64) -> Option<Row<'_>> {
        self.find(kind, key).last().map(|place| self.row(*place))
    }

    /// The row that a foreign key leads to.
    pub fn follow(&self, kind: Kind, key: Option<i64>) -> Option<Row<'_>> {
        self.get(kind, key?)
    }

    /// The listing that told this row.
    pub fn listing(&self, place: Place) -> ListingNo {
        self.pages[place.page as usize].listing
    }

    /// The rows that a listing told, in the order of pages.
    pub fn rows_of(&self, listing: ListingNo) -> impl Iterator<Item = Row<'_>> {
        let own = self.pages.iter().filter(move |loaded| loaded.listing == listing);
        own.flat_map(|loaded| loaded.page.offsets().map(|at| loaded.page.row(at)))
    }

    /// Columns of a kind that were there on some row; `None` where there is no row at all.
    pub fn seen(&self, kind: Kind) -> Option<u64> {
        self.seen_on_pages(kind).reduce(|all, seen| all | seen)
    }

    /// Columns of a kind that were there on some row of each page that has any; `None` where there is no row at all.
    pub fn seen_on_each_page(&self, kind: Kind) -> Option<u64> {
        self.seen_on_pages(kind).reduce(|all, seen| all & seen)
    }

    fn seen_on_pages(&self, kind: Kind) -> impl Iterator<Item = u64> {
        let pages = self.pages.iter().map(|loaded| &loaded.page);
        pages.filter(move |page| page.kind == kind && page.tally.rows > 0).map(|page| page.tally.seen)
    }

    /// Texts cleaned and values unreadable, by kind, each with the first rows of them.
    pub fn oddities(&self) -> Vec<Oddities> {
        let of_kind = |kind: &Kind| {
            let mut odd = Oddities { kind: *kind, cleaned: Odd::default(), unreadable: Odd::default() };
            for page in self.pages.iter().map(|loaded| &loaded.page).filter(|page| page.kind == *kind) {
                odd.cleaned.add(page.tally.cleaned, page, |row| row.is_cleaned().then(|| row.name()));
                let unreadable = |row: Row<'_>| Some(format!("{} of {}", row.unreadable()?, row.name()));
                odd.unreadable.add(page.tally.unreadable, page, unreadable);
            }
            odd
        };
        Kind::ALL.iter().map(of_kind).collect()
    }
}

/// The places of a kind, in the order of pages.
fn places_of(pages: &[Loaded], kind: Kind) -> Vec<Place> {
    let own = (0..).zip(pages).filter(|(_, loaded)| loaded.page.kind == kind);
    let rows = own.clone().map(|(_, loaded)| loaded.page.tally.rows as usize).sum();
    let mut places = Vec::with_capacity(rows);
    for (number, Loaded { page, .. }) in own {
        for offset in page.offsets() {
            // A row that belongs to nobody (a phone without a name) has no use.
            if let Cell::Number(key) = page.row(offset).cell_at(kind.lookup()) {
                places.push(Place { key, page: number, offset });
            }
        }
    }
    places
}

impl Index {
    fn of(mut places: Vec<Place>) -> Self {
        // Stable: pages came in order and rows of one key keep it.
        places.sort_by_key(|place| place.key);
        let (Some(low), Some(high)) = (places.first(), places.last()) else { return Self::default() };
        let (lowest, span) = (low.key, high.key.abs_diff(low.key));
        let stretch = (0..u64::BITS).find(|stretch| span >> stretch < places.len() as u64 * 2).unwrap_or_default();
        let mut first = Vec::with_capacity((span >> stretch) as usize + 2);
        for (number, place) in places.iter().enumerate() {
            let own = (place.key.abs_diff(lowest) >> stretch) as usize;
            if own >= first.len() {
                first.resize(own + 1, number as u32);
            }
        }
        first.push(places.len() as u32);
        Self { places, lowest, stretch, first }
    }

    fn find(&self, key: i64) -> &[Place] {
        if key < self.lowest {
            return &[];
        }
        let own = usize::try_from(key.abs_diff(self.lowest) >> self.stretch).unwrap_or(usize::MAX);
        let ends = (self.first.get(own), self.first.get(own.saturating_add(1)));
        let (Some(from), Some(to)) = ends else { return &[] };
        let stretch = &self.places[*from as usize..*to as usize];
        let start = stretch.partition_point(|place| place.key < key);
        let length = stretch[start..].iter().take_while(|place| place.key == key).count();
        &stretch[start..start + length]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_index_finds_what_a_scan_finds(
            keys in prop::collection::vec(-40_i64..40, 0..60),
            far in prop::collection::vec(prop_oneof![any::<i64>(), Just(i64::MIN), Just(i64::MAX)], 0..4),
        ) {
            let keys: Vec<i64> = keys.into_iter().chain(far.iter().copied()).collect();
            let places: Vec<Place> =
                keys.iter().enumerate().map(|(n, key)| Place { key: *key, page: 0, offset: n as u32 }).collect();
            let index = Index::of(places.clone());
            for key in (-50..50).chain([i64::MIN, i64::MAX]).chain(far) {
                let scanned: Vec<Place> = places.iter().copied().filter(|place| place.key == key).collect();
                prop_assert_eq!(index.find(key), scanned.as_slice());
            }
        }
    }
}
