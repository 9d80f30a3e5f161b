//! What proves a pull complete, and each way in which it fails to be.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};

use chrono::DateTime;
use rollcall_classifier::completeness::{
    Completeness, Confirmation, PullFacts, judge, listing_name, next_baseline, recheck_confirms,
};
use rollcall_proto::id::{ConnectionNo, ListingNo, PageNo};
use rollcall_store::{
    board::{Ask, Board, Listing, Progress},
    page::PageRow,
    run::{Baseline, Discovery, FindingWeight},
};

const STUDENTS: &str = "Student/Student";
const CODES: &str = "Enrollment/WithdrawalCode";
const PHONES: &str = "Demographics/NamePhone";

fn listing(resource: &str, essential: bool, last_page: u32) -> Listing {
    Listing {
        ask: Ask { resource: resource.to_owned(), essential, ..Ask::default() },
        progress: Progress::Fetched,
        page_size: 10,
        random_access: true,
        next_page: last_page + 1,
        again: Vec::new(),
        last_page: Some(last_page),
        cursor: None,
        by_cursor: false,
        total: None,
        fetched: last_page,
        expected_pages: None,
        expected_page_size: 0,
        errors: BTreeMap::new(),
        last_digest: None,
        waits: 0,
        aside: false,
        hollow: BTreeSet::new(),
        told_end: Some(last_page),
    }
}

fn page(listing: u32, page: u32, rows: i64) -> PageRow {
    let mut digest = [0; 16];
    digest[0] = listing as u8;
    digest[1] = page as u8;
    PageRow {
        connection: ConnectionNo(0),
        listing: ListingNo(listing),
        page: PageNo(page),
        status: 200,
        rows,
        digest,
        claimed_total: None,
        error: None,
        asked_at: DateTime::UNIX_EPOCH,
        took_ms: 1,
        collected_at: DateTime::UNIX_EPOCH,
    }
}

/// A night of a district: students on three pages, one year's codes, phones.
struct Night {
    board: Board,
    pages: Vec<PageRow>,
    discovery: Discovery,
    baseline: Option<Baseline>,
    stored: usize,
}

fn night() -> Night {
    let mut codes = listing(CODES, true, 1);
    codes.ask.entity = Some(1);
    codes.ask.school_year = Some("7".to_owned());
    let listings = vec![listing(STUDENTS, true, 3), codes, listing(PHONES, false, 2)];
    let pages = vec![page(0, 1, 10), page(0, 2, 10), page(0, 3, 4), page(1, 1, 5), page(2, 1, 10), page(2, 2, 1)];
    let granted = [(STUDENTS, vec!["StudentID", "Grade"]), (CODES, vec!["Code"]), (PHONES, vec!["PhoneNumber"])];
    let granted =
        granted.map(|(resource, fields)| (resource.to_owned(), fields.into_iter().map(str::to_owned).collect()));
    let discovery = Discovery { granted: granted.into(), ..Discovery::default() };
    Night { board: Board { listings, ..Board::default() }, pages, discovery, baseline: None, stored: 0 }
}

impl Night {
    fn judged(&self) -> Completeness {
        judge(&PullFacts {
            connection: ConnectionNo(0),
            board: Some(&self.board),
            failed: None,
            pages: &self.pages,
            discovery: Some(&self.discovery),
            baseline: self.baseline.as_ref(),
            stored: self.stored,
        })
    }

    /// After a sound night like this one.
    fn second(mut self) -> Self {
        let judged = self.judged();
        self.baseline = next_baseline(&judged, &self.discovery, self.baseline.as_ref());
        assert!(self.baseline.is_some(), "{:?}", judged.findings);
        self
    }

    fn page(&mut self, listing: u32, page: u32) -> &mut PageRow {
        let wanted = (ListingNo(listing), PageNo(page));
        self.pages.iter_mut().find(|row| (row.listing, row.page) == wanted).expect("the page")
    }

    fn drop_page(&mut self, listing: u32, page: u32) {
        self.pages.retain(|row| (row.listing, row.page) != (ListingNo(listing), PageNo(page)));
    }

    fn empty(&mut self, listing: u32) {
        self.board.listings[listing as usize].last_page = Some(1);
        self.pages.retain(|row| row.listing != ListingNo(listing));
        self.pages.push(page(listing, 1, 0));
    }

    fn accept(&mut self, resource: &str) {
        self.baseline.as_mut().expect("a baseline").accepted_empty.insert(resource.to_owned());
    }
}

fn codes(judged: &Completeness) -> Vec<&str> {
    judged.findings.iter().map(|finding| finding.code.as_str()).collect()
}

/// Not complete, for this one reason, said as a partial run's finding that begins with the listing and has a mend.
#[track_caller]
fn assert_incomplete(night: &Night, code: &str, message: &str) {
    let judged = night.judged();
    assert!(!judged.complete);
    assert_eq!(codes(&judged), [code]);
    assert_eq!(judged.findings[0].weight, FindingWeight::Partial);
    assert!(judged.findings[0].message.starts_with(message), "{}", judged.findings[0].message);
    assert!(judged.findings[0].message.len() > message.len() + 10, "a mend is missing");
    let kept = next_baseline(&judged, &night.discovery, None).expect("what was whole by itself");
    assert!(!kept.is_of_complete(), "an incomplete pull is no measure of what is usual");
}

#[test]
fn a_sound_pull_is_complete() {
    let judged = night().judged();
    assert!(judged.complete);
    assert_eq!(judged.findings, []);
    let rows = [(STUDENTS, 24), (CODES, 5), ("Enrollment/WithdrawalCode (entity 1, year 7)", 5), (PHONES, 11)];
    assert_eq!(judged.rows, rows.map(|(name, rows)| (name.to_owned(), rows)).into());
    assert!(night().second().judged().complete);
}

#[test]
fn pages_come_in_any_order_and_of_other_connections_do_not_matter() {
    let mut night = night();
    night.pages.reverse();
    night.pages.push(PageRow { connection: ConnectionNo(1), rows: 999, error: Some("x".into()), ..page(0, 2, 1) });
    assert!(night.judged().complete);
    assert_eq!(night.judged().rows[STUDENTS], 24);
}

#[test]
fn a_missing_page() {
    let mut night = night();
    night.drop_page(0, 2);
    assert_incomplete(&night, "page-missing", "Student/Student: page 2 did not come in; ");
    assert_eq!(night.judged().missing_pages, [(ListingNo(0), PageNo(2))]);
    night.drop_page(0, 3);
    assert_incomplete(&night, "page-missing", "Student/Student: page 2 to 3 did not come in; ");
    night.drop_page(0, 1);
    assert_eq!(night.judged().missing_pages.len(), 3);
    assert_incomplete(&night, "page-missing", "Student/Student: page 1 to 3 did not come in; ");
    night.board.listings[0].last_page = Some(6);
    night.pages.extend([page(0, 1, 1), page(0, 2, 1), page(0, 3, 1)]);
    assert_incomplete(&night, "page-missing", "Student/Student: page 4 to 6 did not come in; ");
}

#[test]
fn many_missing_pages_make_a_short_message() {
    let mut night = night();
    night.board.listings[0].last_page = Some(200);
    night.pages.push(page(0, 100, 1));
    assert_incomplete(&night, "page-missing", "Student/Student: page 4, 5, 6 and 193 more did not come in; ");
}

#[test]
fn pages_beyond_the_end_are_not_judged() {
    let mut night = night();
    let beyond = PageRow { status: 500, error: Some("no JSON".into()), claimed_total: Some(3), ..page(0, 4, 9) };
    night.pages.push(beyond);
    assert!(night.judged().complete);
    assert_eq!(night.judged().rows[STUDENTS], 24);
}

#[test]
fn a_listing_without_an_end() {
    let mut night = night();
    night.board.listings[0].last_page = None;
    night.board.listings[0].progress = Progress::Open;
    assert_incomplete(&night, "listing-unfinished", "Student/Student: has no known end; ");
}

#[test]
fn a_listing_given_up() {
    let mut night = night();
    night.board.listings[1].progress = Progress::Failed("page 1: status 500".to_owned());
    let message = "Enrollment/WithdrawalCode (entity 1, year 7): could not be fetched (page 1: status 500); ";
    assert_incomplete(&night, "listing-failed", message);
    assert!(night.judged().failed_supporting.is_empty());
}

#[test]
fn a_supporting_listing_given_up_keeps_its_stored_rows() {
    let mut night = night();
    night.board.listings[2].progress = Progress::Failed("status 500".to_owned());
    assert_incomplete(&night, "listing-failed", "Demographics/NamePhone: could not be fetched (status 500); ");
    assert!(night.judged().keeps_stored_rows(PHONES));
    assert!(!night.judged().keeps_stored_rows(STUDENTS));
}

#[test]
fn a_page_not_decoded() {
    let mut night = night();
    night.page(0, 2).error = Some("syntax error at line 1, column 20".to_owned());
    let message = "Student/Student: page 2 could not be read (syntax error at line 1, column 20); ";
    assert_incomplete(&night, "page-undecoded", message);
}

#[test]
fn a_page_answered_with_an_error() {
    let mut night = night();
    night.page(2, 1).status = 404;
    assert_incomplete(&night, "page-refused", "Demographics/NamePhone: page 1 was answered with HTTP 404; ");
    assert!(night.judged().keeps_stored_rows(PHONES));
}

#[test]
fn a_repeated_page() {
    let mut night = night();
    night.page(0, 3).digest = night.page(0, 1).digest;
    assert_incomplete(&night, "page-repeated", "Student/Student: page 3 is the same as page 1; ");
    night.page(0, 2).digest = night.page(0, 1).digest;
    assert_incomplete(&night, "page-repeated", "Student/Student: page 2 is the same as page 1; ");
    assert_eq!(night.judged().findings[0].count, 2);
}

#[test]
fn equal_pages_are_no_matter_where_empty_or_of_different_listings() {
    let mut night = night();
    night.page(2, 1).digest = night.page(0, 1).digest;
    night.board.listings[0].last_page = Some(5);
    night.pages.extend([page(0, 4, 0), page(0, 5, 0)]);
    night.page(0, 5).digest = night.page(0, 4).digest;
    assert!(night.judged().complete);
}

#[test]
fn an_empty_page_that_announces_more_is_a_hole_unless_the_source_always_ends_so() {
    /// Last page, hollow pages, the end as it was told, whether other listings tell theirs → the hole.
    type Case = (u32, &'static [u32], Option<u32>, bool, Option<u32>);
    let cases: [Case; 12] = [
        (2, &[], Some(2), true, None),
        (2, &[3], Some(2), true, None),
        // Always announces more.
        (2, &[3, 4], None, false, None),
        (2, &[3, 4, 5, 6], None, false, None),
        (1, &[1, 2], None, false, None),
        // Tells its end elsewhere.
        (2, &[3, 4], None, true, Some(3)),
        (1, &[1, 2], None, true, Some(1)),
        // Rows behind it.
        (2, &[1], Some(2), true, Some(1)),
        (2, &[1, 3, 4], None, false, Some(1)),
        // Told an end behind it.
        (2, &[3, 4], Some(7), false, Some(3)),
        // An empty end behind an empty page: nothing is behind it.
        (2, &[2], Some(2), true, None),
        (1, &[1], Some(1), true, None),
    ];
    for (last, hollow, told, others, expected) in cases {
        let mut night = night();
        for listing in &mut night.board.listings {
            listing.told_end = listing.told_end.filter(|_| others);
        }
        let phones = &mut night.board.listings[2];
        (phones.last_page, phones.told_end) = (Some(last), told);
        phones.hollow = hollow.iter().copied().collect();
        night.pages.retain(|row| row.listing != ListingNo(2));
        night.pages.extend((1..=last).map(|number| page(2, number, if hollow.contains(&number) { 0 } else { 5 })));
        let what = format!("{last}, {hollow:?}, {told:?}, {others}");
        match expected {
            None => assert_eq!(night.judged().findings, [], "{what}"),
            Some(hole) => {
                let said = format!("Demographics/NamePhone: page {hole} holds nothing, and announces more; ");
                assert_incomplete(&night, "page-hollow", &said);
                assert!(night.judged().keeps_stored_rows(PHONES), "{what}");
            }
        }
    }
}

#[test]
fn a_total_that_agrees() {
    let mut night = night();
    night.board.listings[0].total = Some(24);
    night.page(0, 1).claimed_total = Some(24);
    night.page(0, 3).claimed_total = Some(24);
    assert!(night.judged().complete);
}

#[test]
fn a_total_that_disagrees_with_the_rows() {
    for total in [23, 25, 0] {
        let mut night = night();
        night.page(0, 1).claimed_total = Some(total);
        let message = format!("Student/Student: 24 rows came in where the SIS counts {total}; ");
        assert_incomplete(&night, "total-disagrees", &message);
    }
    let mut night = night();
    night.board.listings[0].total = Some(25);
    assert_incomplete(&night, "total-disagrees", "Student/Student: 24 rows came in where the SIS counts 25; ");
}

#[test]
fn totals_that_disagree_with_each_other() {
    let mut night = night();
    night.page(0, 1).claimed_total = Some(24);
    night.page(0, 3).claimed_total = Some(25);
    assert_incomplete(&night, "total-changed", "Student/Student: the total changed from 24 to 25 on page 3; ");
}

#[test]
fn an_essential_listing_empty_where_it_held_rows() {
    let mut night = night().second();
    night.empty(1);
    let name = "Enrollment/WithdrawalCode (entity 1, year 7)";
    assert_incomplete(&night, "listing-empty", &format!("{name}: empty, and held 5 rows before; "));
    assert!(night.judged().empty_essential.contains(name));
    assert!(night.judged().findings[0].message.ends_with(&format!("--accept-empty '{name}'`")));
}

#[test]
fn one_entity_or_year_empty_is_seen_though_others_hold_rows() {
    let mut night = night();
    let mut other = night.board.listings[1].clone();
    other.ask.entity = Some(2);
    night.board.listings.push(other);
    night.pages.push(page(3, 1, 8));
    let mut night = night.second();
    night.empty(3);
    let name = "Enrollment/WithdrawalCode (entity 2, year 7)";
    assert_incomplete(&night, "listing-empty", &format!("{name}: empty, and held 8 rows"));
    assert_eq!(night.judged().rows[CODES], 5);
}

#[test]
fn an_emptiness_is_accepted_by_listing_and_others_of_its_resource_are_not() {
    const ONE: &str = "Enrollment/WithdrawalCode (entity 1, year 7)";
    const OTHER: &str = "Enrollment/WithdrawalCode (entity 2, year 7)";
    let mut night = night();
    let mut other = night.board.listings[1].clone();
    other.ask.entity = Some(2);
    night.board.listings.push(other);
    night.pages.push(page(3, 1, 8));
    let mut night = night.second();
    night.empty(1);
    night.accept(ONE);
    assert!(night.judged().complete);
    night.empty(3);
    assert_incomplete(&night, "listing-empty", &format!("{OTHER}: empty, and held 8 rows"));
    night.accept(OTHER);
    assert!(night.judged().complete);
    // As a version before accepted.
    night.baseline.as_mut().unwrap().accepted_empty = [CODES.to_owned()].into();
    assert!(night.judged().complete);
}

#[test]
fn what_was_whole_by_itself_on_a_torn_night_is_remembered() {
    for empty in [0, 1, 2] {
        let mut night = night();
        night.board.listings.push(listing("Demographics/EmergencyContact", false, 1));
        night.board.listings[3].progress = Progress::Failed("status 404".to_owned());
        let judged = night.judged();
        assert!(!judged.complete);
        night.baseline = next_baseline(&judged, &night.discovery, None);
        night.stored = 24;
        night.board.listings.pop();
        assert_eq!(night.judged().findings, [], "a whole night after a torn one");
        night.empty(empty);
        let judged = night.judged();
        assert_eq!(codes(&judged), ["listing-empty"], "listing {empty}");
        assert_eq!(judged.complete, empty == 2, "listing {empty}");
        assert_eq!(judged.keeps_stored_rows(PHONES), empty == 2);
        // A second such night says it again.
        night.baseline = next_baseline(&judged, &night.discovery, night.baseline.as_ref());
        assert_eq!(night.judged().findings, judged.findings);
        night.accept(judged.findings[0].message.split_once(": ").unwrap().0);
        assert_eq!(night.judged().findings, [], "accepted");
        let night = night.second();
        assert!(night.baseline.as_ref().unwrap().is_of_complete());
    }
}

#[test]
fn what_was_never_whole_is_not_believed_to_be_empty_while_students_are_stored() {
    let name = "Enrollment/WithdrawalCode (entity 1, year 7)";
    let mut night = night();
    night.board.listings[1].progress = Progress::Failed("status 503".to_owned());
    night.pages.retain(|row| row.listing != ListingNo(1));
    let torn = next_baseline(&night.judged(), &night.discovery, None);
    night.board.listings[1].progress = Progress::Fetched;
    night.empty(1);
    for baseline in [None, torn, Some(Baseline::default())] {
        night.baseline = baseline;
        night.stored = 0;
        assert!(night.judged().complete, "nobody is stored who could be taken out");
        night.stored = 1;
        assert_incomplete(&night, "listing-empty", &format!("{name}: empty, though students are stored"));
        let judged = night.judged();
        let again = next_baseline(&judged, &night.discovery, night.baseline.as_ref());
        assert_eq!(again.as_ref().unwrap().rows.get(name), None, "and is not so the next night");
        let mut accepted = again.unwrap();
        accepted.accepted_empty.insert(name.to_owned());
        night.baseline = Some(accepted);
        assert!(night.judged().complete);
    }
    // Where a pull was complete, a listing that it does not know is a new one.
    let mut night = self::night().second();
    night.stored = 1;
    night.baseline.as_mut().unwrap().rows.remove(name);
    night.empty(1);
    assert!(night.judged().complete);
}

#[test]
fn what_a_torn_night_did_not_count_stays_counted_and_accepted() {
    let mut night = night().second();
    night.empty(1);
    night.accept(CODES);
    let mut night = night.second();
    night.empty(2);
    night.drop_page(0, 2);
    let judged = night.judged();
    let last = night.baseline.clone().unwrap();
    let kept = next_baseline(&judged, &night.discovery, Some(&last)).unwrap();
    assert!(kept.is_of_complete());
    assert_eq!(kept.rows[STUDENTS], 24, "of three pages two came in");
    assert_eq!((kept.rows[CODES], kept.rows[PHONES]), (0, 11));
    assert_eq!(kept.accepted_empty, last.accepted_empty);
    assert_eq!(kept.carried, [PHONES.to_owned()].into());
    assert_eq!((kept.base, kept.granted), (last.base, last.granted));
}

#[test]
fn a_grant_lost_after_torn_nights_is_seen() {
    const ENTITIES: &str = "District/Entity";
    let fields = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    // (rows of the entities, or that they could not be had) → whether the loss is seen
    for (rows, seen) in [(Some(2), true), (Some(0), true), (None, false)] {
        let mut night = night();
        night.drop_page(0, 2);
        night.board.listings.push(listing(ENTITIES, true, 1));
        night.discovery.granted.insert(ENTITIES.to_owned(), fields(&["EntityID", "SchoolYearIDCurrent"]));
        match rows {
            Some(rows) => night.pages.push(page(3, 1, rows)),
            None => night.board.listings[3].progress = Progress::Failed("status 503".to_owned()),
        }
        night.baseline = next_baseline(&night.judged(), &night.discovery, None);
        night.pages.push(page(0, 2, 10));
        night.pages.retain(|row| row.listing != ListingNo(3));
        night.pages.push(page(3, 1, 2));
        night.board.listings[3].progress = Progress::Fetched;
        night.discovery.granted.insert(ENTITIES.to_owned(), fields(&["EntityID"]));
        for turn in ["first", "second"] {
            let judged = night.judged();
            assert_eq!((codes(&judged).contains(&"grant-lost"), !judged.complete), (seen, seen), "{rows:?}, {turn}");
            night.baseline = next_baseline(&judged, &night.discovery, night.baseline.as_ref());
        }
    }
}

#[test]
fn an_accepted_emptiness_is_complete_until_rows_are_back() {
    let mut night = night().second();
    night.empty(1);
    night.accept(CODES);
    assert!(night.judged().complete);
    let mut night = night.second();
    assert!(night.baseline.as_ref().unwrap().accepted_empty.contains(CODES));
    assert!(night.judged().complete, "and stays accepted");
    *night.page(1, 1) = page(1, 1, 5);
    let mut night = night.second();
    assert!(night.baseline.as_ref().unwrap().accepted_empty.is_empty());
    night.empty(1);
    assert_incomplete(&night, "listing-empty", "Enrollment/WithdrawalCode (entity 1, year 7): empty");
}

#[test]
fn an_empty_supporting_listing_keeps_its_rows_and_bars_no_removal() {
    let mut night = night().second();
    night.empty(2);
    let judged = night.judged();
    assert!(judged.complete);
    assert_eq!(codes(&judged), ["listing-empty"]);
    assert_eq!(judged.findings[0].weight, FindingWeight::Partial);
    assert!(judged.keeps_stored_rows(PHONES));
    assert!(!judged.keeps_stored_rows(STUDENTS));
}

#[test]
fn an_empty_supporting_listing_is_not_forgotten_the_next_night() {
    let mut night = night().second();
    night.empty(2);
    let mut night = night.second().second();
    assert!(night.judged().keeps_stored_rows(PHONES), "a second empty night must not end every phone");
    night.accept(PHONES);
    assert!(!night.judged().keeps_stored_rows(PHONES));
    assert_eq!(night.judged().findings, []);
    let night = night.second();
    assert_eq!(night.baseline.as_ref().unwrap().rows[PHONES], 0);
    assert!(!night.judged().keeps_stored_rows(PHONES));
}

#[test]
fn what_was_always_empty_may_stay_so() {
    let mut night = night();
    night.empty(1);
    night.empty(2);
    assert!(night.judged().complete);
    assert!(night.second().judged().complete);
}

#[test]
fn a_listing_that_failed_is_not_called_empty() {
    let mut night = night().second();
    night.pages.retain(|row| row.listing != ListingNo(1));
    night.board.listings[1].progress = Progress::Failed("status 503".to_owned());
    assert_eq!(codes(&night.judged()), ["listing-failed"]);
}

#[test]
fn a_field_no_longer_granted() {
    let mut night = night().second();
    night.discovery.granted.get_mut(STUDENTS).unwrap().retain(|field| field != "Grade");
    let judged = night.judged();
    assert!(judged.complete, "who may be taken out does not rest on it");
    assert_eq!(codes(&judged), ["grant-lost"]);
    assert_eq!(judged.findings[0].weight, FindingWeight::Partial);
    assert!(judged.findings[0].message.starts_with("Student/Student: no longer granted: Grade; "));
    assert_eq!(judged.lost_grants[STUDENTS], ["Grade"]);
    assert!(!judged.keeps_stored_rows(STUDENTS));
    assert_eq!(night.second().judged().findings, [], "said once, against the last run");
}

#[test]
fn the_current_year_no_longer_granted_is_said_once() {
    const ENTITIES: &str = "District/Entity";
    let fields = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    for (now, lost) in [
        (Some(&["EntityID", "Code"][..]), "SchoolYearIDCurrent"),
        (Some(&["EntityID"]), "SchoolYearIDCurrent, Code"),
        (None, "the whole object"),
    ] {
        let mut night = night();
        let granted = fields(&["EntityID", "SchoolYearIDCurrent", "Code"]);
        night.discovery.granted.insert(ENTITIES.to_owned(), granted);
        let mut night = night.second();
        match now {
            Some(now) => night.discovery.granted.insert(ENTITIES.to_owned(), fields(now)),
            None => night.discovery.granted.remove(ENTITIES),
        };
        let judged = night.judged();
        assert!(!judged.complete, "statuses rest on it");
        assert_eq!(codes(&judged), ["grant-lost"], "{:?}", judged.findings);
        let said = format!("District/Entity: no longer granted: {lost}; without SchoolYearIDCurrent ");
        assert!(judged.findings[0].message.starts_with(&said), "{:?}", judged.findings);
    }
}

#[test]
fn a_resource_no_longer_granted() {
    let mut night = night().second();
    night.discovery.granted.remove(PHONES);
    night.board.listings.pop();
    let judged = night.judged();
    assert_eq!(codes(&judged), ["grant-lost"]);
    assert!(judged.keeps_stored_rows(PHONES));
}

#[test]
fn a_resource_that_is_granted_again_and_empty_keeps_its_rows() {
    let mut night = night().second();
    let fields = night.discovery.granted.remove(PHONES).unwrap();
    let phones = night.board.listings.pop().unwrap();
    night.pages.retain(|page| page.listing != ListingNo(2));
    let mut night = night.second().second();
    night.discovery.granted.insert(PHONES.to_owned(), fields);
    night.board.listings.push(phones);
    night.empty(2);
    let judged = night.judged();
    assert_eq!(codes(&judged), ["listing-empty"]);
    assert!(judged.keeps_stored_rows(PHONES));
}

#[test]
fn a_grant_gained_says_nothing() {
    let mut night = night().second();
    night.discovery.granted.insert("Staff/Staff".to_owned(), vec!["StaffID".to_owned()]);
    assert_eq!(night.judged().findings, []);
}

#[test]
fn a_connection_that_was_not_pulled() {
    let night = night();
    let facts = PullFacts {
        connection: ConnectionNo(2),
        board: None,
        failed: Some("the token was refused"),
        pages: &[],
        discovery: None,
        baseline: None,
        stored: 3,
    };
    let empty_board = Board::default();
    for facts in [
        facts,
        PullFacts { board: Some(&night.board), ..facts },
        PullFacts { board: Some(&empty_board), failed: None, ..facts },
    ] {
        let judged = judge(&facts);
        assert!(!judged.complete);
        assert_eq!(codes(&judged), ["connection-failed"]);
        assert!(judged.findings[0].message.starts_with("connection 2: not pulled ("));
    }
}

#[test]
fn several_defects_are_all_said() {
    let mut night = night();
    night.drop_page(0, 2);
    night.page(2, 1).error = Some("data error at line 1, column 9".to_owned());
    night.board.listings[1].progress = Progress::Failed("status 403".to_owned());
    assert_eq!(codes(&night.judged()), ["page-missing", "listing-failed", "page-undecoded"]);
}

#[test]
fn each_listing_says_each_of_its_defects_for_itself() {
    let mut night = night();
    night.drop_page(0, 2);
    night.drop_page(2, 2);
    night.page(0, 1).error = Some("data error at line 1, column 9".to_owned());
    let judged = night.judged();
    assert_eq!(codes(&judged), ["page-missing", "page-undecoded", "page-missing"]);
    assert!(judged.findings.iter().all(|finding| finding.count == 1));
}

#[test]
fn a_total_is_not_compared_with_rows_that_could_not_all_be_read() {
    let mut night = night();
    night.page(0, 1).claimed_total = Some(24);
    night.page(0, 2).error = Some("data error at line 1, column 9".to_owned());
    night.page(0, 2).rows = 0;
    assert_incomplete(&night, "page-undecoded", "Student/Student: page 2 could not be read");
    let mut night = self::night();
    night.page(0, 1).claimed_total = Some(24);
    night.drop_page(0, 3);
    assert_incomplete(&night, "page-missing", "Student/Student: page 3 did not come in");
}

/// A night with a second look: two recheck listings behind the pull's own three.
fn with_recheck() -> Night {
    let mut night = night();
    night.board.recheck_from = Some(3);
    night.board.listings.extend([listing(STUDENTS, true, 1), listing(CODES, true, 1)]);
    night.pages.extend([page(3, 1, 2), page(4, 1, 0)]);
    night
}

fn confirms(night: &Night, listing: u32) -> Confirmation {
    recheck_confirms(ConnectionNo(0), &night.board, &night.pages, ListingNo(listing))
}

#[test]
fn the_second_look_is_judged_apart() {
    let mut night = with_recheck();
    night.page(3, 1).error = Some("syntax error at line 1, column 1".to_owned());
    night.board.listings[4].progress = Progress::Failed("status 500".to_owned());
    assert!(night.judged().complete, "the pull itself is sound");
    assert_eq!(night.judged().rows[STUDENTS], 24, "and counts no row twice");
    let said = "Student/Student: page 1 could not be read (syntax error at line 1, column 1)";
    assert_eq!(confirms(&night, 3), Confirmation::NotConfirmed(said.to_owned()));
    assert!(matches!(confirms(&night, 4), Confirmation::NotConfirmed(_)));
    assert!(matches!(confirms(&night, 5), Confirmation::NotConfirmed(_)));
}

#[test]
fn a_sound_second_look_confirms_even_when_empty() {
    let night = with_recheck();
    assert_eq!(confirms(&night, 3), Confirmation::Confirmed);
    assert_eq!(confirms(&night, 4), Confirmation::Confirmed);
}

#[test]
fn in_the_second_look_404_is_gone_and_nothing_else_is() {
    let mut night = with_recheck();
    night.page(3, 1).status = 404;
    night.page(3, 1).rows = 0;
    assert_eq!(confirms(&night, 3), Confirmation::Confirmed);
    for status in [400, 403, 410, 500, 503] {
        night.page(3, 1).status = status;
        assert!(matches!(confirms(&night, 3), Confirmation::NotConfirmed(_)), "{status}");
    }
    night.drop_page(3, 1);
    assert!(matches!(confirms(&night, 3), Confirmation::NotConfirmed(_)));
}

#[test]
fn listings_are_named_by_what_narrows_them() {
    let mut one = listing(CODES, true, 1);
    assert_eq!(listing_name(&one), CODES);
    one.ask.school_year = Some("7".to_owned());
    assert_eq!(listing_name(&one), "Enrollment/WithdrawalCode (year 7)");
    one.ask.entity = Some(1);
    assert_eq!(listing_name(&one), "Enrollment/WithdrawalCode (entity 1, year 7)");
}
