//! Whether a connection's pull is proved complete, and what it says where it is not.
//!
//! Role: pure judgement of a pull from its board, its page rows, the last complete pull's baseline and what discovery
//! found. Neighbours: the planner takes nobody out of ENROLLED or PRE_ENROLLED unless [`Completeness::complete`].
//!
//! Invariants: a failed source never looks like an empty one; what lies beyond a listing's last page is not judged;
//! recheck listings are judged apart ([`recheck_confirms`]). Deliberately absent: the rows themselves.

mod baseline;
mod contents;
mod fields;
mod grants;
mod listing;
mod years;

use std::collections::{BTreeMap, BTreeSet};

pub use baseline::{next_base, next_baseline, note_thinned};
use contents::{FEW, thinned};
pub use contents::{THINNED, judge_contents};
pub use fields::{UNTOLD, judge_untold};
use grants::judge_grants;
pub use grants::{CURRENT_YEAR, GRANT_LOST};
use listing::{Defect, Look, PagesByListing, defects};
pub use years::{
    Asked, ENTITY_REMOVED, LISTING_NOT_ASKED, YEAR_EMPTY, YEAR_NOT_ASKED, entities_asked, entities_with_students,
    entity_name, entity_of, judge_asked,
};

use crate::{
    assemble::oneroster::{Facet, Facets, Group, PagesLacking},
    fragment::Kind,
    overlay::Kept,
};
use rollcall_proto::id::{ConnectionNo, ListingNo, PageNo};
use rollcall_store::{
    board::{Board, Listing, Progress},
    page::PageRow,
    run::{Baseline, Discovery, Finding, FindingWeight},
};

/// What a pull is judged from.
#[derive(Debug, Clone, Copy)]
pub struct PullFacts<'a> {
    /// Which connection; pages of others are passed over.
    pub connection: ConnectionNo,
    /// Its board; absent where the connection was never discovered.
    pub board: Option<&'a Board>,
    /// Why the whole pull was given up, if it was.
    pub failed: Option<&'a str>,
    /// Pages collected, in any order.
    pub pages: &'a [PageRow],
    /// What discovery found.
    pub discovery: Option<&'a Discovery>,
    /// What is known of earlier pulls; absent on a first night.
    pub baseline: Option<&'a Baseline>,
    /// Students who are stored of this connection, whatever their status.
    pub stored: usize,
}

impl PullFacts<'_> {
    /// Students are stored, and no pull was complete that would tell what is usual.
    fn is_unproved(&self) -> bool {
        self.stored > 0 && !self.baseline.is_some_and(Baseline::is_of_complete)
    }
}

/// The judgement of a pull.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each says something else of the pull")]
pub struct Completeness {
    /// Proved complete: this connection's students may be taken out.
    pub complete: bool,
    /// What statuses rest on is proved complete; of the others a listing may have failed.
    pub essentials_whole: bool,
    /// What to say, each with its resource, page and mend.
    pub findings: Vec<Finding>,
    /// Essential listings (see [`listing_name`]) that are empty and held rows before, or may have, and were not accepted.
    pub empty_essential: BTreeSet<String>,
    /// Resources the status does not rest on that are empty and held rows before, and were not accepted.
    pub empty_supporting: BTreeSet<String>,
    /// Resources the status does not rest on of which a listing failed or has a defect.
    pub failed_supporting: BTreeSet<String>,
    /// Fields granted on the last complete pull and not now, by resource; `*` for a whole resource.
    pub lost_grants: BTreeMap<String, Vec<String>>,
    /// Fields granted on some complete pull before and not now, by resource: stored values may have come from them.
    pub lost_before: BTreeMap<String, BTreeSet<String>>,
    /// Qmlativ: granted fields that no row carries any more, by resource.
    pub untold: BTreeMap<String, BTreeSet<String>>,
    /// Qmlativ: names of those whose emptiness a person accepted.
    pub accepted_untold: BTreeSet<String>,
    /// Pages not collected, for the reconciler and for people.
    pub missing_pages: Vec<(ListingNo, PageNo)>,
    /// Rows by resource, and by listing where a resource has several: the next baseline's.
    pub rows: BTreeMap<String, i64>,
    /// Of these, the listings with a defect, and the resources of such.
    pub torn: BTreeSet<String>,
    /// Students are stored, and no pull was complete that would tell what is usual: what a status rests on is not believed to be
    /// empty unless it was so before.
    pub unproved: bool,
    /// Qmlativ: current school years to keep (see [`Baseline::current_years`]); none where those of before stay.
    pub current_years: BTreeMap<String, i32>,
    /// OneRoster: guardians are named whom the pull does not show.
    pub nameless_guardians: bool,
    /// OneRoster: kinds of values that whole pages lack; what is stored of them stays.
    pub pages_lacking: PagesLacking,
    /// OneRoster: those that no page has and no baseline counts, for the version before did not.
    pub uncounted: Facets,
    /// The connection speaks OneRoster, whose guardians come in the listing of students.
    pub oneroster: bool,
}

impl Completeness {
    /// Resources whose stored rows stay as they are: nothing of them is ended because this pull does not show it.
    pub fn keeps_stored_rows(&self, resource: &str) -> bool {
        self.empty_supporting.contains(resource)
            || self.failed_supporting.contains(resource)
            || self.lost_grants.get(resource).is_some_and(|fields| fields.iter().any(|field| field == WHOLE_RESOURCE))
    }

    /// Believes what whole pages lack, where few people at most would keep values because of it: they may well have been the
    /// only ones there, and what is gone is to be ended the same night. True: what was compared is to be compared again.
    pub fn believe_few(&mut self, kept: &Kept) -> bool {
        let few = kept.counts().filter(|(facet, people)| *people <= FEW && !self.uncounted.contains(*facet));
        let believed: Facets = few.map(|(facet, _)| facet).collect();
        self.pages_lacking = std::mem::take(&mut self.pages_lacking).without(believed);
        !believed.is_empty()
    }

    /// What is to be said of stored values that were kept because whole pages lack any. That nobody has one is not said where a page
    /// could not be had.
    pub fn thinned(&self, kept: &Kept) -> Vec<Finding> {
        let told = kept.counts().filter(|(facet, _)| !self.uncounted.contains(*facet) || !self.is_torn(*facet));
        told.map(|(facet, people)| thinned(facet, people, self.uncounted.contains(facet))).collect()
    }

    /// Whether the listing that a facet is in has a defect.
    fn is_torn(&self, facet: Facet) -> bool {
        self.torn.contains(facet.kind().resource())
    }

    /// Whether who is not listed is no longer of the staff: the listings that say who is are whole, and what statuses rest on is
    /// too. What any other listing lacks takes nobody out of them, and would keep those who left for as long as it fails.
    pub fn tells_of_staff(&self) -> bool {
        let of_staff = [Kind::Staff.resource(), Kind::StaffEntityYear.resource(), Facet::People(Group::Staff).name()];
        let lacks = |name: &str| self.failed_supporting.contains(name) || self.empty_supporting.contains(name);
        self.essentials_whole && !of_staff.into_iter().any(lacks)
    }

    /// Something that statuses rest on is not proved complete.
    const fn tear(&mut self) {
        self.complete = false;
        self.essentials_whole = false;
    }
}

/// Stands for all fields of a resource that is not granted at all.
pub const WHOLE_RESOURCE: &str = "*";

/// Whether a recheck listing's answer may be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Confirmation {
    /// Every page is in and sound.
    Confirmed,
    /// The candidates asked for keep their stored state; says why.
    NotConfirmed(String),
}

/// A listing as people read it and as baselines key it: `Enrollment/WithdrawalCode (entity 1, year 7)`.
pub fn listing_name(listing: &Listing) -> String {
    let entity = listing.ask.entity.map(|entity| format!("entity {entity}"));
    let year = listing.ask.school_year.as_ref().map(|year| format!("year {year}"));
    let narrowing: Vec<String> = entity.into_iter().chain(year).collect();
    if narrowing.is_empty() {
        listing.ask.resource.clone()
    } else {
        format!("{} ({})", listing.ask.resource, narrowing.join(", "))
    }
}

/// Judges a connection's pull.
pub fn judge(facts: &PullFacts<'_>) -> Completeness {
    let mut judged = Completeness::default();
    let Some(board) = facts.board.filter(|board| facts.failed.is_none() && !board.listings.is_empty()) else {
        judged.findings.push(connection_failed(facts));
        return judged;
    };
    (judged.complete, judged.essentials_whole, judged.unproved) = (true, true, facts.is_unproved());
    let pages = PagesByListing::of(facts.connection, facts.pages);
    for (no, listing) in first_look(board) {
        judge_listing(&mut judged, board, (no, listing), &pages.of_listing(no, listing));
    }
    judge_emptiness(&mut judged, board, facts);
    years::judge_entities(&mut judged, board, facts.baseline);
    judge_grants(&mut judged, facts);
    judged
}

/// Judges one recheck listing on its own.
pub fn recheck_confirms(connection: ConnectionNo, board: &Board, pages: &[PageRow], no: ListingNo) -> Confirmation {
    let Some(listing) = board.listings.get(no.0 as usize) else {
        return Confirmation::NotConfirmed("the second look was not asked for".to_owned());
    };
    let pages = PagesByListing::of(connection, pages);
    match defects(board, listing, &pages.of_listing(no, listing), Look::Second).first() {
        None => Confirmation::Confirmed,
        Some(defect) => Confirmation::NotConfirmed(format!("{}: {}", listing_name(listing), defect.text())),
    }
}

/// The pull's own listings that have no defect.
pub fn whole_listings(connection: ConnectionNo, board: &Board, pages: &[PageRow]) -> BTreeSet<ListingNo> {
    let pages = PagesByListing::of(connection, pages);
    let is_whole = |no, listing| defects(board, listing, &pages.of_listing(no, listing), Look::First).is_empty();
    first_look(board).filter(|(no, listing)| is_whole(*no, listing)).map(|(no, _)| no).collect()
}

/// Why changes were not all told: a listing of them of which something could not be had.
pub fn changes_not_had(connection: ConnectionNo, board: &Board, pages: &[PageRow]) -> Option<String> {
    let pages = PagesByListing::of(connection, pages);
    let mut changes = first_look(board).filter(|(_, listing)| listing.ask.since.is_some());
    changes.find_map(|(no, listing)| {
        let found = defects(board, listing, &pages.of_listing(no, listing), Look::First);
        let defect = found.iter().find(|defect| defect.is_gap())?;
        Some(format!("changes of {}: {}", listing_name(listing), defect.text()))
    })
}

/// The pull's own listings, without those of the second look.
fn first_look(board: &Board) -> impl Iterator<Item = (ListingNo, &Listing)> {
    let end = board.recheck_from.map_or(board.listings.len(), |from| from as usize);
    let numbered = board.listings.iter().take(end).enumerate();
    numbered.filter(|(_, listing)| !listing.aside).map(|(index, listing)| (ListingNo(index as u32), listing))
}

fn judge_listing(judged: &mut Completeness, board: &Board, (no, listing): (ListingNo, &Listing), pages: &[&PageRow]) {
    let rows: i64 = pages.iter().map(|page| page.rows).sum();
    let resource = &listing.ask.resource;
    *judged.rows.entry(resource.clone()).or_default() += rows;
    let name = listing_name(listing);
    if name != *resource {
        *judged.rows.entry(name.clone()).or_default() += rows;
    }
    for defect in defects(board, listing, pages, Look::First) {
        judged.torn.extend([resource.clone(), name.clone()]);
        if listing.ask.essential {
            judged.tear();
        } else {
            judged.complete = false;
            judged.failed_supporting.insert(resource.clone());
        }
        if let Defect::Missing(pages) = &defect {
            judged.missing_pages.extend(pages.iter().map(|page| (no, *page)));
        }
        note_defect(&mut judged.findings, (&name, listing), &defect);
    }
}

/// What a listing's defect comes to that no status rests on. A pull that lacks any page is not proved complete.
const SUPPORTING_TORN: &str = "what is stored of it stays, and no student is taken out until it is whole; ";

/// A listing says each kind of defect once, with how often it was found: a source may repeat a page for ever.
fn note_defect(findings: &mut Vec<Finding>, (name, listing): (&str, &Listing), defect: &Defect) {
    let said = format!("{name}: ");
    let same = |finding: &&mut Finding| finding.code == defect.code() && finding.message.starts_with(&said);
    if let Some(finding) = findings.iter_mut().find(same) {
        finding.count += 1;
    } else {
        let kept = if listing.ask.essential { "" } else { SUPPORTING_TORN };
        findings.push(partial(defect.code(), format!("{said}{}; {kept}{}", defect.text(), defect.mend())));
    }
}

/// Empty where it held rows before, or, if statuses rest on it, where nothing tells that it ever was empty though
/// students are stored, and all of its resource is. Essential listings are judged one by one, since a single entity's or
/// year's emptiness takes its students out; the others by resource, since stored rows are kept by resource. What has a defect
/// is not called empty: its rows may be on what could not be had.
fn judge_emptiness(judged: &mut Completeness, board: &Board, facts: &PullFacts<'_>) {
    let mut names = BTreeSet::new();
    for (_, listing) in first_look(board).filter(|(_, listing)| listing.progress == Progress::Fetched) {
        let (resource, essential) = (&listing.ask.resource, listing.ask.essential);
        let name = judged_name(listing);
        let held = facts.baseline.and_then(|last| last.rows.get(&name)).copied();
        let holds = judged.rows.get(&name).copied().unwrap_or_default();
        // Entities and years without a row are common; a resource without any is not, where students came of it.
        let none_at_all = judged.rows.get(resource).copied().unwrap_or_default() == 0;
        let emptied = holds == 0 && held.map_or(essential && judged.unproved && none_at_all, |held| held > 0);
        // A resource as a whole could be accepted by versions before.
        let is_accepted = |last: &Baseline| [&name, resource].iter().any(|name| last.accepted_empty.contains(*name));
        let whole = !judged.torn.contains(&name);
        if emptied && whole && !facts.baseline.is_some_and(is_accepted) && names.insert(name.clone()) {
            note_empty(judged, name, essential, held);
        }
    }
}

/// By what name a listing's emptiness is judged, told and accepted.
pub fn judged_name(listing: &Listing) -> String {
    if listing.ask.essential { listing_name(listing) } else { listing.ask.resource.clone() }
}

fn note_empty(judged: &mut Completeness, name: String, essential: bool, held: Option<i64>) {
    let consequence =
        if essential { "nobody is taken out, for statuses rest on it" } else { "its stored rows stay as they are" };
    let before = match held {
        Some(held) => format!("and held {held} rows before"),
        None => "though students are stored, and no run before has found it so".to_owned(),
    };
    let quote = if name.contains(' ') { "'" } else { "" };
    let message = format!(
        "{name}: empty, {before}; {consequence}. If it is meant to be empty: \
         `rollcall runs approve RUN --accept-empty {quote}{name}{quote}`"
    );
    judged.findings.push(partial("listing-empty", message));
    if essential {
        judged.tear();
        judged.empty_essential.insert(name);
    } else {
        judged.empty_supporting.insert(name);
    }
}

fn connection_failed(facts: &PullFacts<'_>) -> Finding {
    let why = facts.failed.unwrap_or("nothing was listed");
    let message = format!(
        "connection {}: not pulled ({why}); its students stay as they are. Run `rollcall district test`",
        facts.connection
    );
    partial("connection-failed", message)
}

fn partial(code: &str, message: String) -> Finding {
    Finding { weight: FindingWeight::Partial, code: code.to_owned(), message, count: 1 }
}
