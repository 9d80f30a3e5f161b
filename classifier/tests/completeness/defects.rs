//! What keeps a listing from being proved to be all there is.

use rollcall_classifier::completeness::{PullFacts, judge, listing_name};
use rollcall_proto::id::{ConnectionNo, ListingNo, PageNo};
use rollcall_store::{
    board::{Board, Progress},
    page::PageRow,
};

use crate::{CODES, PHONES, STUDENTS, assert_incomplete, codes, listing, night, page};

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
    // As the fetcher noticed it: the same is to be done.
    night = self::night();
    night.board.listings[0].progress =
        Progress::Failed("page-repeated: page 3 holds the same rows as page 1".to_owned());
    let judged = night.judged();
    assert!(judged.findings[0].message.ends_with("lower `page_size`, or ask the vendor"), "{:?}", judged.findings);
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
fn a_page_that_came_short_is_a_gap_unless_it_is_the_last() {
    let mut night = night();
    night.board.listings[0].short = Some(3);
    assert_eq!(night.judged().findings, [], "page 3 is the last");
    night.board.listings[0].short = Some(2);
    let said = "Student/Student: page 2 holds fewer rows than were asked for, and what it announced behind them could not be \
                had; run again; if it stays lower `page_size`";
    assert_incomplete(&night, "page-short", said);
    night.board.listings[0].short = None;
    night.board.listings[2].short = Some(1);
    assert_incomplete(&night, "page-short", "Demographics/NamePhone: page 1 holds fewer rows");
    assert!(night.judged().keeps_stored_rows(PHONES));
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
        assert!(judged.findings[0].message.starts_with("connection 3: not pulled ("));
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
    let mut night = crate::night();
    night.page(0, 1).claimed_total = Some(24);
    night.drop_page(0, 3);
    assert_incomplete(&night, "page-missing", "Student/Student: page 3 did not come in");
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
