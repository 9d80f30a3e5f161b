//! What proves a pull complete, and each way in which it fails to be.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod baseline;
mod contents;
mod defects;
mod emptiness;
mod grants;
mod second_look;

use std::collections::{BTreeMap, BTreeSet};

use chrono::DateTime;
use rollcall_classifier::completeness::{Completeness, PullFacts, judge, next_baseline};
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
        digests: Vec::new(),
        repeated: None,
        waits: 0,
        aside: false,
        hollow: BTreeSet::new(),
        told_end: Some(last_page),
        short: None,
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
