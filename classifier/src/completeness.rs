//! Whether a connection's pull is proved complete, and what it says where it is not.
//!
//! Role: pure judgement of a pull from its board, its page rows, the last complete pull's baseline and what discovery
//! found. Neighbours: the planner takes nobody out of ENROLLED or PRE_ENROLLED unless [`Completeness::complete`].
//!
//! Invariants: a failed source never looks like an empty one; what lies beyond a listing's last page is not judged;
//! recheck listings are judged apart ([`recheck_confirms`]). Deliberately absent: the rows themselves.

mod fields;
mod listing;
mod years;

use std::collections::{BTreeMap, BTreeSet};

pub use fields::{UNTOLD, judge_untold};
use listing::{Defect, Look, PagesByListing, defects};
pub use years::{
    Asked, ENTITY_REMOVED, LISTING_NOT_ASKED, YEAR_EMPTY, YEAR_NOT_ASKED, entities_asked, entities_with_students,
    entity_name, judge_asked,
};

use crate::{
    assemble::oneroster::{Contents, Facet, Facets, Group, PagesLacking},
    fragment::Kind,
    overlay::Kept,
    untold,
};
use chrono::NaiveDate;
use rollcall_proto::id::{ConnectionNo, ListingNo, PageNo, RunId};
use rollcall_store::{
    board::{Board, Listing, Progress},
    page::PageRow,
    run::{Baseline, Discovery, Finding, FindingWeight, PullBase, PullScope},
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

    /// What is to be said of stored values that were kept because whole pages lack any.
    pub fn thinned(&self, kept: &Kept) -> Vec<Finding> {
        kept.counts().map(|(facet, people)| thinned(facet, people, self.uncounted.contains(facet))).collect()
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

/// Of so few people what whole pages lack is believed: they may have been the only ones there.
const FEW: i64 = 3;

/// Code of the finding of [`thinned`].
pub const THINNED: &str = "listing-thinned";

/// Judges what a pull of OneRoster holds: a kind of people or of values of which there is none, and was some on the last
/// complete pull, is treated as an empty listing is. A kind of values that whole pages lack and others have is unknown of the
/// people on these pages, unless a person accepted it; so is one that nobody has and that was never counted.
pub fn judge_contents(judged: &mut Completeness, contents: &Contents, baseline: Option<&Baseline>) {
    judged.oneroster = true;
    judged.nameless_guardians = contents.nameless > 0;
    let counted = |name: &str| {
        let named = |name: &str| baseline.and_then(|last| last.rows.get(name)).copied();
        named(name).or_else(|| named(name_before(name)?))
    };
    let held_of = |name: &str| counted(name).unwrap_or_default();
    let accepted = |name: &str| {
        let named = |name: &str| baseline.is_some_and(|last| last.accepted_empty.contains(name));
        named(name) || name_before(name).is_some_and(named)
    };
    let listed = |resource: &str| judged.rows.get(resource).copied().unwrap_or_default() > 0;
    let nobodys = contents.counts.iter().filter(|(facet, count)| **count == 0 && facet.is_of_one());
    judged.uncounted = nobodys.map(|(facet, _)| *facet).filter(|facet| counted(facet.name()).is_none()).collect();
    let lacking = contents.lacking.clone().with(judged.uncounted);
    judged.pages_lacking = lacking.without(Facets::that(|facet| accepted(facet.name())));
    let demographics = listed(Kind::Demographics.resource());
    for (facet, count) in &contents.counts {
        let name = facet.name();
        // What a listing that is empty itself, or another facet, says already is not said twice; the measure stays.
        let unsaid = facet.kind() == Kind::Demographics && !demographics;
        if unsaid || facet.rests_on().any(|other| contents.counts.get(&other) == Some(&0)) {
            judged.rows.insert(name.to_owned(), held_of(name));
            continue;
        }
        judged.rows.insert(name.to_owned(), *count);
        let least = if facet.is_rare() { FEW } else { 0 };
        let unproved = judged.unproved && facet.is_essential() && counted(name).is_none();
        let emptied = contents.emptied.contains(*facet) || (*count == 0 && (held_of(name) > least || unproved));
        if emptied && facet.is_judged() && !accepted(name) {
            let held = Some(held_of(name)).filter(|_| !unproved);
            note_empty(judged, name.to_owned(), facet.is_essential(), held);
        }
    }
}

/// What a facet was called in baselines of versions before.
fn name_before(name: &str) -> Option<&'static str> {
    (name == "users.stateId").then_some("users.userIds")
}

/// What a kind of values that whole pages lack comes to, where stored ones of `people` stay because of it.
fn thinned(facet: Facet, people: i64, uncounted: bool) -> Finding {
    let name = facet.name();
    let seen = if uncounted {
        "nobody has one, and no complete run before has counted them"
    } else {
        "on whole pages nobody has one, and on others somebody has, as where a field is switched off or on while it is listed"
    };
    let cost = if uncounted {
        ", and until somebody has one or the emptiness is accepted, every run is partial and asks for everything, never for changes \
         alone"
    } else {
        ""
    };
    let message = format!(
        "{name}: {seen}; what {people} people had there stays as it is stored{cost}. If it is meant to be empty: \
         `rollcall runs approve RUN --accept-empty {name}`"
    );
    partial(THINNED, message)
}

/// Notes what whole pages lacked and was kept. What nobody has and was never counted is not counted as none: the next run
/// would take it for what always was so.
pub fn note_thinned(baseline: &mut Baseline, judged: &Completeness, kept: &Kept) {
    for (facet, people) in kept.counts() {
        baseline.thinned.insert(facet.name().to_owned(), people);
        if judged.uncounted.contains(facet) {
            baseline.rows.remove(facet.name());
        }
    }
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

/// What to keep of a pull for the next one to be judged by. None where nothing was listed.
///
/// An emptiness that nobody accepted is not forgotten: the old count stays, so that the next night says it again and
/// goes on keeping the stored rows; so does a field that no row carries any more. An accepted one stays accepted until its
/// listing holds rows again, or rows the field.
pub fn next_baseline(judged: &Completeness, discovery: &Discovery, last: Option<&Baseline>) -> Option<Baseline> {
    if judged.complete {
        Some(of_complete(judged, discovery, last))
    } else {
        (!judged.rows.is_empty()).then(|| of_torn(judged, discovery, last))
    }
}

fn of_complete(judged: &Completeness, discovery: &Discovery, last: Option<&Baseline>) -> Baseline {
    let mut rows = judged.rows.clone();
    for resource in &judged.empty_supporting {
        let held = last.and_then(|last| last.rows.get(resource)).copied().unwrap_or_default();
        rows.insert(resource.clone(), held);
    }
    let counted = last.into_iter().flat_map(|last| &last.rows);
    for (name, held) in counted.filter(|(name, _)| is_of_lost(name, judged, discovery)) {
        rows.entry(name.clone()).or_insert(*held);
    }
    let accepted = last.map(|last| last.accepted_empty.clone()).unwrap_or_default();
    let year = untold::field_name(CURRENT_YEAR.0, CURRENT_YEAR.1);
    let still_empty = |name: &String| {
        if *name == year {
            return is_year_lost(&judged.lost_before) || judged.accepted_untold.contains(name);
        }
        if untold::is_field(name) {
            return !tells_field(name, judged, discovery);
        }
        judged.rows.get(name).copied().unwrap_or_default() == 0
    };
    let accepted_empty = accepted.into_iter().filter(still_empty).collect();
    let counts_deleted = last.map(|last| last.counts_deleted.clone()).unwrap_or_default();
    let mut granted = discovery.granted.clone();
    for (resource, fields) in &judged.untold {
        granted.entry(resource.clone()).or_default().extend(fields.iter().cloned());
    }
    Baseline {
        rows,
        granted,
        lost: judged.lost_before.clone(),
        accepted_empty,
        counts_deleted,
        carried: judged.empty_supporting.clone(),
        current_years: current_years(judged, last),
        ..Baseline::default()
    }
}

/// Those of before, where this pull's tables do not tell any.
fn current_years(judged: &Completeness, last: Option<&Baseline>) -> BTreeMap<String, i32> {
    let before = || last.map(|last| last.current_years.clone()).unwrap_or_default();
    Some(&judged.current_years).filter(|told| !told.is_empty()).cloned().unwrap_or_else(before)
}

/// Of a pull that is not complete: what listings held that were whole by themselves, and what was granted of them, or carried by no
/// row any more. All else stays as it was.
fn of_torn(judged: &Completeness, discovery: &Discovery, last: Option<&Baseline>) -> Baseline {
    let mut next = last.cloned().unwrap_or_else(Baseline::of_none_complete);
    next.never_complete = !last.is_some_and(Baseline::is_of_complete);
    next.carried = next.rows.keys().cloned().collect();
    next.current_years = current_years(judged, last);
    for (name, rows) in &judged.rows {
        if *rows > 0 || is_known_empty(name, judged, last) {
            // Of what was not pulled whole there may be more.
            let before = next.rows.get(name).copied().filter(|_| is_torn(name, judged)).unwrap_or_default();
            next.rows.insert(name.clone(), before.max(*rows));
            next.carried.remove(name);
        }
    }
    for (resource, fields) in &discovery.granted {
        // Of a listing without a row nothing is stored that could be lost.
        if !judged.torn.contains(resource) || holds_rows(resource, judged) {
            let granted = next.granted.entry(resource.clone()).or_default();
            granted.extend(fields.iter().filter(|field| !granted.contains(field)).cloned().collect::<Vec<_>>());
        }
        if let (true, Some(lost)) = (holds_rows(resource, judged), next.lost.get_mut(resource)) {
            lost.retain(|field| !fields.contains(field));
        }
    }
    for (resource, fields) in &judged.untold {
        next.lost.entry(resource.clone()).or_default().extend(fields.iter().cloned());
    }
    next.lost.retain(|_, fields| !fields.is_empty());
    next.accepted_empty.retain(|name| !untold::is_field(name) || !tells_field(name, judged, discovery));
    next
}

fn holds_rows(resource: &str, judged: &Completeness) -> bool {
    judged.rows.get(resource).is_some_and(|rows| *rows > 0)
}

/// Whether some row of the pull carried a field, by its name.
fn tells_field(name: &str, judged: &Completeness, discovery: &Discovery) -> bool {
    let Some((resource, field)) = name.split_once('.') else { return false };
    let granted = discovery.granted.get(resource).is_some_and(|fields| fields.iter().any(|own| own == field));
    granted && holds_rows(resource, judged) && !judged.accepted_untold.contains(name)
}

fn is_torn(name: &str, judged: &Completeness) -> bool {
    judged.torn.contains(facet_of(name).map_or(name, |facet| facet.kind().resource()))
}

fn facet_of(name: &str) -> Option<Facet> {
    Facet::all().find(|facet| facet.name() == name)
}

/// Whether no rows mean that there are none: of a whole listing, always so or accepted. A kind of values that was never counted
/// stays so.
fn is_known_empty(name: &str, judged: &Completeness, last: Option<&Baseline>) -> bool {
    let told = judged.empty_essential.contains(name) || judged.empty_supporting.contains(name);
    let uncounted = facet_of(name).is_some() && !last.is_some_and(|last| last.rows.contains_key(name));
    !is_torn(name, judged) && !told && !uncounted
}

/// Counts what is not granted any more, and so was not asked for. Its old count stays: once it is granted again, an emptiness is
/// told by it.
fn is_of_lost(name: &str, judged: &Completeness, discovery: &Discovery) -> bool {
    let mut lost = judged.lost_before.keys().filter(|resource| !discovery.granted.contains_key(*resource));
    lost.any(|resource| {
        name.strip_prefix(resource.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(" ("))
    })
}

/// What the next pull may ask for changes over, where this one was complete: its own rows.
pub fn next_base(run: RunId, as_of: NaiveDate, discovery: &Discovery) -> Option<PullBase> {
    let (full_on, before) = match &discovery.scope {
        PullScope::Always => return None,
        PullScope::Everything(_) => (as_of, None),
        PullScope::Changes(changes) => (changes.full_on, changes.over_at),
    };
    Some(PullBase { run, full_on, before, snapshot: discovery.snapshot.clone()? })
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
/// year's emptiness takes its students out; the others by resource, since stored rows are kept by resource.
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
        if emptied && !facts.baseline.is_some_and(is_accepted) && names.insert(name.clone()) {
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

/// What was granted on the last complete pull and is not now. Stored values stay; who may be taken out does not rest
/// on it (a field the status rests on fails the run before this).
fn judge_grants(judged: &mut Completeness, facts: &PullFacts<'_>) {
    let (Some(baseline), Some(discovery)) = (facts.baseline, facts.discovery) else { return };
    judged.lost_before = lost_before(baseline, &discovery.granted);
    for (resource, before) in &baseline.granted {
        let lost = match discovery.granted.get(resource) {
            None => vec![WHOLE_RESOURCE.to_owned()],
            Some(now) => before.iter().filter(|field| !now.contains(field)).cloned().collect(),
        };
        if !lost.is_empty() {
            judged.lost_grants.insert(resource.clone(), lost);
        }
    }
    let (year_of, year) = CURRENT_YEAR;
    let year_lost = is_year_lost(&judged.lost_before);
    let accepted = baseline.accepted_empty.contains(&untold::field_name(year_of, year));
    if accepted && !year_lost {
        // It is granted again: what was accepted is over.
        judged.rows.insert(untold::field_name(year_of, year), 1);
    }
    let tears = year_lost && !accepted;
    for (resource, lost) in judged.lost_grants.iter().filter(|(resource, _)| !tears || *resource != year_of) {
        judged.findings.push(partial(GRANT_LOST, grant_message(resource, lost)));
    }
    if tears {
        judged.tear();
        let lost = judged.lost_grants.get(year_of);
        judged.findings.push(partial(GRANT_LOST, current_year_message(lost.map_or(&[year.to_owned()], Vec::as_slice))));
    }
}

/// Code of the finding for what is not granted any more.
pub const GRANT_LOST: &str = "grant-lost";

fn is_year_lost(lost_before: &BTreeMap<String, BTreeSet<String>>) -> bool {
    let (year_of, year) = CURRENT_YEAR;
    lost_before.get(year_of).is_some_and(|lost| lost.contains(year))
}

/// Which year is an entity's current one. Statuses of an access that never had it granted go by one year for all; where it was
/// told and is not any more, that would take people out of entities whose year has not moved on, unless a person accepts it.
pub const CURRENT_YEAR: (&str, &str) = ("District/Entity", "SchoolYearIDCurrent");

/// What was granted on the last complete pull, or lost by then, and is not granted now.
fn lost_before(baseline: &Baseline, granted: &BTreeMap<String, Vec<String>>) -> BTreeMap<String, BTreeSet<String>> {
    let mut before = baseline.lost.clone();
    for (resource, fields) in &baseline.granted {
        before.entry(resource.clone()).or_default().extend(fields.iter().cloned());
    }
    for (resource, fields) in granted {
        if let Some(lost) = before.get_mut(resource) {
            lost.retain(|field| !fields.contains(field));
        }
    }
    before.retain(|_, lost| !lost.is_empty());
    before
}

fn grant_message(resource: &str, lost: &[String]) -> String {
    format!(
        "{resource}: no longer granted: {}; stored values stay. Grant it again in the SIS's API security, \
         and see `rollcall district test`",
        lost_names(lost)
    )
}

fn lost_names(lost: &[String]) -> String {
    if lost.iter().any(|field| field == WHOLE_RESOURCE) { "the whole object".to_owned() } else { lost.join(", ") }
}

/// One finding for all that its resource lost: that nobody is taken out is the news.
fn current_year_message(lost: &[String]) -> String {
    let (resource, field) = CURRENT_YEAR;
    format!(
        "{resource}: no longer granted: {}; without {field} entities are judged by one current year, and nobody is taken out. \
         Grant it again in the SIS's API security, and see `rollcall district test`; if they are to be judged so from now on: \
         `rollcall runs approve RUN --accept-empty {}`",
        lost_names(lost),
        untold::field_name(resource, field)
    )
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
