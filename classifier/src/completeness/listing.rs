//! One listing's defects: what keeps its rows from being proved to be all rows.

use std::collections::{BTreeMap, HashMap};

use rollcall_proto::id::{ConnectionNo, ListingNo, PageNo};
use rollcall_store::{
    board::{Board, Listing, Progress},
    page::PageRow,
};

/// Whether a listing belongs to the pull itself or to the second look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// The pull.
    First,
    /// The second look, in which 404 is an answer: gone.
    Second,
}

/// Why a listing is not proved complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Defect {
    /// The fetcher gave it up.
    Failed(String),
    /// No page announced the end.
    Unfinished,
    /// Pages that never came in.
    Missing(Vec<PageNo>),
    /// The SIS answered a page with an error.
    Refused(PageNo, u16),
    /// A page could not be decoded; class and position.
    Undecoded(PageNo, String),
    /// A page holds nothing and announces more, and is not how this source ends.
    Hollow(PageNo),
    /// A page holds fewer rows than were asked for, announces more, and others are behind what it lacks.
    Short(PageNo),
    /// A page is the same as an earlier one.
    Repeated(PageNo, PageNo),
    /// Two pages claim different totals.
    TotalChanged(PageNo, i64, i64),
    /// The total is not the number of rows.
    TotalDisagrees(i64, i64),
}

impl Defect {
    /// Code of the finding.
    pub(super) const fn code(&self) -> &'static str {
        match self {
            Self::Failed(_) => "listing-failed",
            Self::Unfinished => "listing-unfinished",
            Self::Missing(_) => "page-missing",
            Self::Refused(..) => "page-refused",
            Self::Undecoded(..) => "page-undecoded",
            Self::Hollow(_) => "page-hollow",
            Self::Short(_) => "page-short",
            Self::Repeated(..) => "page-repeated",
            Self::TotalChanged(..) => "total-changed",
            Self::TotalDisagrees(..) => "total-disagrees",
        }
    }

    /// Something could not be had, as opposed to had in another way than it should be.
    pub(super) const fn is_gap(&self) -> bool {
        matches!(
            self,
            Self::Failed(_)
                | Self::Unfinished
                | Self::Missing(_)
                | Self::Refused(..)
                | Self::Undecoded(..)
                | Self::Hollow(_)
                | Self::Short(_)
        )
    }

    /// What to do about pages that come again.
    const TURNS: &str = "the SIS ignores the page number: lower `page_size`, or ask the vendor";

    /// What is wrong.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Failed(reason) => format!("could not be fetched ({reason})"),
            Self::Unfinished => "has no known end".to_owned(),
            Self::Missing(pages) => format!("page {} did not come in", numbers(pages)),
            Self::Refused(page, status) => format!("page {} was answered with HTTP {status}", page.0),
            Self::Undecoded(page, why) => format!("page {} could not be read ({why})", page.0),
            Self::Hollow(page) => format!("page {} holds nothing, and announces more", page.0),
            Self::Short(page) => {
                format!(
                    "page {} holds fewer rows than were asked for, and what it announced behind them could not be had",
                    page.0
                )
            }
            Self::Repeated(page, first) => format!("page {} is the same as page {}", page.0, first.0),
            Self::TotalChanged(page, first, now) => {
                format!("the total changed from {first} to {now} on page {}", page.0)
            }
            Self::TotalDisagrees(total, rows) => format!("{rows} rows came in where the SIS counts {total}"),
        }
    }

    /// What to do.
    pub(super) fn mend(&self) -> &'static str {
        match self {
            // As the board noticed it, while it was fetched.
            Self::Failed(reason) if reason.starts_with("page-repeated") => Self::TURNS,
            Self::Failed(_) | Self::Refused(..) => "run `rollcall district test` to see the SIS's answer",
            Self::Unfinished | Self::Missing(_) | Self::Hollow(_) => {
                "run again, or `rollcall runs replay RUN --from fetch`"
            }
            Self::Undecoded(..) => {
                "see `rollcall queues parked collect`; then `rollcall runs replay RUN --from collect`"
            }
            Self::Short(_) => "run again; if it stays lower `page_size`, or ask the vendor why pages come short",
            Self::Repeated(..) => Self::TURNS,
            Self::TotalChanged(..) | Self::TotalDisagrees(..) => {
                "rows came or went while they were listed: run again at a quieter hour"
            }
        }
    }
}

/// `7`, `2 to 5`, or `2, 4 and 117 more`, so that a message stays short.
fn numbers(pages: &[PageNo]) -> String {
    const SHOWN: usize = 3;
    match pages {
        [first, .., last] if (last.0 - first.0) as usize == pages.len() - 1 => {
            format!("{} to {}", first.0, last.0)
        }
        _ => {
            let shown: Vec<String> = pages.iter().take(SHOWN).map(|page| page.0.to_string()).collect();
            let more = pages.len().saturating_sub(SHOWN);
            let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
            shown.join(", ") + &rest
        }
    }
}

/// A connection's page rows, sorted out by listing.
pub(super) struct PagesByListing<'a>(HashMap<ListingNo, BTreeMap<PageNo, &'a PageRow>>);

impl<'a> PagesByListing<'a> {
    pub(super) fn of(connection: ConnectionNo, pages: &'a [PageRow]) -> Self {
        let mut sorted: HashMap<_, BTreeMap<_, _>> = HashMap::new();
        for page in pages.iter().filter(|page| page.connection == connection) {
            sorted.entry(page.listing).or_default().insert(page.page, page);
        }
        Self(sorted)
    }

    /// The pages of one listing up to its end.
    pub(super) fn of_listing(&self, no: ListingNo, listing: &Listing) -> Vec<&'a PageRow> {
        let Some(pages) = self.0.get(&no) else { return Vec::new() };
        let end = PageNo(listing.last_page.unwrap_or(u32::MAX));
        pages.range(..=end).map(|(_, page)| *page).collect()
    }
}

/// All defects of a listing of `board`; none where it is proved complete. `pages` are its pages up to the end, in order.
pub(super) fn defects(board: &Board, listing: &Listing, pages: &[&PageRow], look: Look) -> Vec<Defect> {
    if let Progress::Failed(reason) = &listing.progress {
        return vec![Defect::Failed(reason.clone())];
    }
    let Some(last) = listing.last_page else { return vec![Defect::Unfinished] };
    let mut found = Vec::new();
    let missing = missing(last, pages);
    let all_in = missing.is_empty();
    if !all_in {
        found.push(Defect::Missing(missing));
    }
    found.extend(pages.iter().filter_map(|page| unsound(page, look)));
    let sound = all_in && found.is_empty();
    // Copies of several pulls' pages: each was judged in its own, and a change may have come twice.
    if listing.ask.stored.is_none() {
        found.extend(repeated(pages));
    }
    found.extend(total_defect(listing, pages, sound));
    found.extend(hole(board, listing));
    found.extend(listing.gap().map(|page| Defect::Short(PageNo(page))));
    found
}

/// A source that never tells where it ends says of an empty page too that more follows. One that tells it of any listing does not:
/// what is empty there is a hole.
fn hole(board: &Board, listing: &Listing) -> Option<Defect> {
    // Where each id is a question of its own, the last of them is the end whatever the source says.
    let mut told = board.listings.iter().filter(|other| other.ask.ids.is_none() && other.told_end.is_some());
    let mut tells = || told.next().is_some();
    listing.hole().or_else(|| listing.hollow_end().filter(|_| tells())).map(|page| Defect::Hollow(PageNo(page)))
}

fn missing(last: u32, pages: &[&PageRow]) -> Vec<PageNo> {
    let mut present = pages.iter().map(|page| page.page.0).peekable();
    (1..=last).filter(|page| present.next_if_eq(page).is_none()).map(PageNo).collect()
}

fn unsound(page: &PageRow, look: Look) -> Option<Defect> {
    if let Some(why) = &page.error {
        return Some(Defect::Undecoded(page.page, why.clone()));
    }
    let answered = (200..300).contains(&page.status) || (look == Look::Second && page.status == 404);
    (!answered).then_some(Defect::Refused(page.page, page.status))
}

/// Empty pages are alike by nature.
fn repeated(pages: &[&PageRow]) -> Vec<Defect> {
    let mut seen: HashMap<[u8; 16], PageNo> = HashMap::with_capacity(pages.len());
    let mut found = Vec::new();
    for page in pages.iter().filter(|page| page.rows > 0) {
        match seen.get(&page.digest) {
            Some(first) => found.push(Defect::Repeated(page.page, *first)),
            None => drop(seen.insert(page.digest, page.page)),
        }
    }
    found
}

/// The sum is judged only where every page is in and sound: otherwise it must disagree, and says nothing more.
fn total_defect(listing: &Listing, pages: &[&PageRow], sound: bool) -> Option<Defect> {
    let claims = pages.iter().filter_map(|page| Some((page.page, page.claimed_total?)));
    let board = listing.total.map(|total| (PageNo(1), total));
    let mut claims = board.into_iter().chain(claims);
    let (_, total) = claims.next()?;
    if let Some((page, other)) = claims.find(|(_, claim)| *claim != total) {
        return Some(Defect::TotalChanged(page, total, other));
    }
    let rows = pages.iter().map(|page| page.rows).sum();
    (sound && rows != total).then_some(Defect::TotalDisagrees(total, rows))
}
