#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{collections::BTreeSet, time::Duration};

use chrono::TimeDelta;
use proptest::prelude::*;

use super::*;

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_760_000_000 + seconds, 0).unwrap()
}

fn ask(resource: &str) -> Ask {
    Ask { resource: resource.to_owned(), ..Ask::default() }
}

fn board(listings: usize, lanes: u16) -> Board {
    Board::new((0..listings).map(|number| ask(&format!("M/O{number}"))).collect(), lanes)
}

fn more(rows: u32) -> PageFacts {
    PageFacts { rows, random_access: true, ..PageFacts::default() }
}

fn last(rows: u32) -> PageFacts {
    PageFacts { last: true, ..more(rows) }
}

fn past_end() -> PageFacts {
    PageFacts { past_end: true, ..more(0) }
}

fn page_of(board: &Board, LaneMove { lane, generation }: LaneMove) -> (u32, u32) {
    let (dealt, _) = board.dealt(lane, generation).unwrap();
    (dealt.listing.0, dealt.page.0)
}

impl Board {
    /// [`Board::pages_done`] for a hand of which one page was fetched.
    fn page_done(
        &mut self,
        lane: u16,
        generation: u64,
        facts: &PageFacts,
        now: DateTime<Utc>,
    ) -> Option<Vec<LaneMove>> {
        self.pages_done(lane, generation, std::slice::from_ref(facts), now)
    }
}

#[test]
fn page_one_is_dealt_alone() {
    let mut board = board(1, 4);
    let moves = board.deal(at(0));
    assert_eq!(moves.len(), 1);
    assert!(board.deal(at(0)).is_empty());
    let moves = board.page_done(0, 1, &more(10), at(1)).unwrap();
    let pages: Vec<_> = moves.into_iter().map(|step| page_of(&board, step).1).collect();
    assert_eq!(pages, [2, 3, 4, 5]);
}

#[test]
fn a_listing_without_random_access_gets_one_lane() {
    let mut board = board(1, 4);
    board.deal(at(0));
    let moves = board.page_done(0, 1, &PageFacts { random_access: false, ..more(10) }, at(1)).unwrap();
    assert_eq!(moves.len(), 1);
    assert_eq!(page_of(&board, moves[0]), (0, 2));
}

#[test]
fn lanes_prefer_listings_nobody_works_on() {
    let mut board = board(3, 2);
    assert_eq!(board.deal(at(0)).len(), 2);
    let moves = board.page_done(0, 1, &more(10), at(1)).unwrap();
    assert_eq!(page_of(&board, moves[0]), (0, 2), "the opened listing before the unopened one");
    let moves = board.page_done(1, 1, &last(3), at(1)).unwrap();
    assert_eq!(page_of(&board, moves[0]), (2, 1), "the unopened one before a second lane on the opened one");
}

#[test]
fn a_second_lane_goes_where_the_end_is_known() {
    let mut board = board(2, 3);
    board.deal(at(0));
    board.page_done(0, 1, &more(10), at(1)).unwrap();
    let moves = board.page_done(1, 1, &PageFacts { total: Some(95), ..more(10) }, at(1)).unwrap();
    let listings: Vec<_> = moves.into_iter().map(|step| page_of(&board, step)).collect();
    assert_eq!(listings, [(1, 2)], "two lanes were on listing 0 already");
    let moves = board.page_done(2, 1, &more(10), at(2)).unwrap();
    assert_eq!(page_of(&board, moves[0]), (1, 5));
}

#[test]
fn a_total_gives_the_last_page_at_once() {
    let mut board = board(1, 8);
    board.deal(at(0));
    let moves = board.page_done(0, 1, &PageFacts { total: Some(25), ..more(10) }, at(1)).unwrap();
    assert_eq!(moves.len(), 2, "pages 2 and 3, and nothing beyond");
}

#[test]
fn a_total_makes_pages_expected_where_it_makes_sense() {
    let most = i64::from(listing::MOST_PAGES);
    let table = [
        (10, Some(25), Some(3)),
        (10, Some(30), Some(3)),
        (10, Some(1), Some(1)),
        (10, Some(0), None),
        (10, Some(-5), None),
        (0, Some(5), None),
        (1, Some(most), Some(listing::MOST_PAGES)),
        (1, Some(most + 1), None),
        (10, None, None),
    ];
    for (rows, total, expected) in table {
        let mut board = board(1, 1);
        board.deal(at(0));
        board.page_done(0, 1, &PageFacts { total, ..more(rows) }, at(1)).unwrap();
        assert_eq!(board.listings[0].expected_pages, expected, "{rows} rows, {total:?} in all");
    }
}

/// A board of one listing that had so many pages of ten rows.
fn before(pages: u32) -> Board {
    let mut board = board(1, 1);
    board.deal(at(0));
    board.page_done(0, 1, &if pages == 1 { last(10) } else { more(10) }, at(1)).unwrap();
    for generation in 2..=u64::from(pages) {
        let facts = if generation == u64::from(pages) { last(4) } else { more(10) };
        board.page_done(0, generation, &facts, at(1)).unwrap();
    }
    assert_eq!((board.all_fetched(), board.listings[0].last_page), (true, Some(pages)));
    board
}

#[test]
fn as_many_pages_are_expected_as_the_run_before_had() {
    for (rows, dealt) in [(10, [(2, 4), (6, 3), (9, 2), (11, 1)]), (5, [(2, 8), (10, 6), (16, 4), (20, 3)])] {
        let mut board = board(1, 4);
        board.expect(&before(17));
        assert_eq!(board.deal(at(0)).len(), 1, "page 1 is dealt alone all the same");
        let moves = board.page_done(0, 1, &more(rows), at(1)).unwrap();
        let hands = moves.iter().map(|step| board.dealt(step.lane, step.generation).unwrap().0);
        assert_eq!(hands.map(|dealt| (dealt.page.0, dealt.pages)).collect::<Vec<_>>(), dealt);
    }
}

#[test]
fn an_expectation_from_the_run_before_never_cuts_a_listing() {
    let mut board = board(1, 2);
    board.expect(&before(2));
    board.deal(at(0));
    board.page_done(0, 1, &more(10), at(1)).unwrap();
    for generation in 2..6 {
        assert!(!board.all_fetched());
        assert_eq!(board.page_done(0, generation, &more(10), at(2)).unwrap().len(), 1);
    }
    board.page_done(0, 6, &last(1), at(3)).unwrap();
    assert_eq!((board.all_fetched(), board.listings[0].last_page), (true, Some(6)));
}

#[test]
fn nothing_is_expected_of_a_listing_that_is_another_or_failed() {
    let mut failed = before(5);
    failed.listings[0].progress = Progress::Failed("no".to_owned());
    let mut empty = before(5);
    empty.listings[0].page_size = 0;
    let mut other = before(5);
    other.listings[0].ask.school_year = Some("9".to_owned());
    let mut again = before(5);
    again.listings[0].ask.ids = Some(IdFilter::default());
    let (mut changes, mut copied, mut aside) = (before(5), before(5), before(5));
    changes.listings[0].ask.since = Some(at(0));
    copied.listings[0].ask.stored = Some("00000000-0000-0000-0000-000000000007".parse().unwrap());
    aside.listings[0].aside = true;
    for earlier in [failed, empty, other, again, changes, copied, aside] {
        let mut board = board(1, 2);
        board.expect(&earlier);
        assert_eq!(board.listings[0].expected_pages, None);
    }
}

#[test]
fn a_total_too_small_does_not_cut_the_listing() {
    let mut board = board(1, 2);
    board.deal(at(0));
    board.page_done(0, 1, &PageFacts { total: Some(20), ..more(10) }, at(1)).unwrap();
    let moves = board.page_done(0, 2, &more(10), at(2)).unwrap();
    assert_eq!(page_of(&board, moves[0]), (0, 3), "page 2 announced no end");
}

#[test]
fn pages_beyond_the_end_do_not_matter() {
    let mut board = board(1, 4);
    board.deal(at(0));
    board.page_done(0, 1, &more(10), at(1)).unwrap();
    board.page_done(3, 1, &past_end(), at(2)).unwrap();
    board.listing_failed(2, 1, "status 404", at(2)).unwrap();
    board.page_done(1, 1, &last(10), at(3)).unwrap();
    assert!(!board.all_fetched(), "page 2 is still out");
    board.page_done(0, 2, &more(10), at(4)).unwrap();
    assert!(board.all_fetched());
    assert_eq!(board.extent(), Extent::from([(ListingNo(0), 3)]));
}

#[test]
fn an_error_before_the_end_fails_the_listing() {
    let mut board = board(1, 2);
    board.deal(at(0));
    board.page_done(0, 1, &more(10), at(1)).unwrap();
    board.listing_failed(0, 2, "status 500", at(2)).unwrap();
    board.page_done(1, 1, &last(10), at(3)).unwrap();
    assert_eq!(board.listings[0].progress, Progress::Failed("page 2: status 500".to_owned()));
    assert!(board.all_fetched());
    assert!(board.extent().is_empty());
}

#[test]
fn an_empty_listing_has_one_page() {
    let mut board = board(1, 4);
    board.deal(at(0));
    assert!(board.page_done(0, 1, &past_end(), at(1)).unwrap().is_empty());
    assert_eq!(board.extent(), Extent::from([(ListingNo(0), 1)]));
}

#[test]
fn stale_and_doubled_messages_change_nothing() {
    let mut board = board(1, 1);
    board.deal(at(0));
    board.page_done(0, 1, &more(10), at(1)).unwrap();
    let before = board.clone();
    assert_eq!(board.page_done(0, 1, &last(10), at(2)), None);
    assert_eq!(board.listing_failed(0, 1, "late", at(2)), None);
    assert_eq!(board.page_done(9, 1, &last(10), at(2)), None);
    assert!(board.dealt(0, 1).is_none());
    assert!(!board.postpone(0, 1, at(9)));
    assert!(!board.renew(0, 1, at(9)));
    assert!(!board.renew(9, 1, at(9)));
    assert_eq!(board, before);
}

#[test]
fn a_lost_lane_is_dealt_again() {
    let mut board = board(1, 2);
    board.deal(at(0));
    assert!(board.lane_lost(Duration::from_secs(1), at(1)).is_empty(), "not before its time");
    let moves = board.lane_lost(Duration::ZERO, at(1));
    let lost = dealing::LOST;
    assert_eq!(moves, [LaneMove { lane: 0, generation: 2 + lost }], "no message under way may know it");
    board.page_done(0, 2 + lost, &more(10), at(2)).unwrap();
    assert!(board.renew(1, 1, at(500)));
    let moves = board.lane_lost(Duration::ZERO, at(100));
    assert_eq!(moves, [LaneMove { lane: 0, generation: 4 + 2 * lost }], "the renewed lane keeps its page");
    assert_eq!(page_of(&board, moves[0]), (0, 2));
}

#[test]
fn a_lane_may_not_wait_for_ever() {
    let mut board = board(1, 1);
    board.deal(at(0));
    let granted = (0..1_000).take_while(|step| board.postpone(0, 1, at(*step))).count();
    assert_eq!(granted, dealing::MOST_WAITS as usize);
}

#[test]
fn a_repeated_page_fails_the_listing() {
    let mut board = board(1, 1);
    board.deal(at(0));
    board.page_done(0, 1, &PageFacts { digest: Some(1), ..more(10) }, at(1)).unwrap();
    board.page_done(0, 2, &PageFacts { digest: Some(2), ..more(10) }, at(2)).unwrap();
    board.page_done(0, 3, &PageFacts { digest: Some(2), ..more(10) }, at(3)).unwrap();
    assert!(matches!(&board.listings[0].progress, Progress::Failed(reason) if reason.starts_with("page-repeated")));
    assert!(board.all_fetched());
}

#[test]
fn a_page_that_never_reached_the_store_is_dealt_again() {
    let mut board = board(1, 1);
    board.deal(at(0));
    board.page_done(0, 1, &more(10), at(1)).unwrap();
    board.page_done(0, 2, &last(10), at(2)).unwrap();
    assert!(board.all_fetched());
    let missing = board.missing(|_, page| page.0 == 1);
    assert_eq!(missing, [(ListingNo(0), PageNo(2))]);
    assert!(board.page_missing(ListingNo(0), PageNo(2)));
    assert!(!board.page_missing(ListingNo(0), PageNo(2)), "under way");
    assert!(!board.page_missing(ListingNo(0), PageNo(3)), "not wanted");
    let moves = board.deal(at(3));
    assert_eq!(page_of(&board, moves[0]), (0, 2));
    board.page_done(0, 3, &last(10), at(4)).unwrap();
    assert!(board.all_fetched());
}

fn by_cursor(cursor: Option<&str>) -> PageFacts {
    PageFacts { random_access: false, cursor: cursor.map(str::to_owned), ..more(10) }
}

/// Whichever page it is: the last one names no cursor any more, and is behind one all the same.
#[test]
fn a_page_behind_a_cursor_that_never_reached_the_store_is_reached_from_the_start() {
    for lost in 1..=3 {
        let mut board = board(1, 2);
        board.deal(at(0));
        for (page, cursor) in [(1, Some("b")), (2, Some("c")), (3, None)] {
            let facts = PageFacts { last: cursor.is_none(), ..by_cursor(cursor) };
            let moves = board.page_done(0, page, &facts, at(1)).unwrap();
            assert_eq!((moves.len(), board.listings[0].cursor.as_deref()), (usize::from(page < 3), cursor));
        }
        assert!(board.all_fetched());
        assert!(board.page_missing(ListingNo(0), PageNo(lost)), "page {lost}");
        assert_eq!(board.listings[0].cursor, None, "page {lost}");
        let moves = board.deal(at(2));
        assert_eq!(page_of(&board, moves[0]), (0, 1), "page {lost}");
        for (generation, cursor) in [(4, Some("b")), (5, Some("c")), (6, None)] {
            board.page_done(0, generation, &by_cursor(cursor), at(3)).unwrap();
        }
        assert!(board.all_fetched(), "where it ends is known");
    }
}

/// A lane that is lost with a page behind a cursor leaves the cursor for the next.
#[test]
fn a_lost_page_behind_a_cursor_is_dealt_again_with_it() {
    let mut board = board(1, 1);
    board.deal(at(0));
    board.page_done(0, 1, &by_cursor(Some("b")), at(1)).unwrap();
    let moves = board.lane_lost(Duration::ZERO, at(2));
    assert_eq!((page_of(&board, moves[0]), board.listings[0].cursor.as_deref()), ((0, 2), Some("b")));
}

#[test]
fn a_page_one_that_is_lost_begins_its_listing_anew() {
    let mut board = board(1, 2);
    board.deal(at(0));
    let moves = board.lane_lost(Duration::ZERO, at(1));
    assert_eq!((moves.len(), page_of(&board, moves[0])), (1, (0, 1)), "and it is dealt alone");
    assert_eq!(board.listings[0].next_page, 2);
}

#[test]
fn what_is_laid_under_is_fetched_already() {
    let mut board = board(1, 2);
    board.lay_under(ask("M/O9"), 3);
    let moves = board.deal(at(0));
    assert_eq!(moves.iter().map(|step| page_of(&board, *step)).collect::<Vec<_>>(), [(1, 1)]);
    assert_eq!(board.extent(), Extent::from([(ListingNo(0), 3)]));
    let missing = board.missing(|_, page| page.0 == 2);
    assert_eq!(missing, [(ListingNo(0), PageNo(1)), (ListingNo(0), PageNo(3))]);
    let laid = &board.listings[0];
    assert_eq!((laid.ask.resource.as_str(), laid.fetched, laid.is_open()), ("M/O9", 3, false));
}

#[test]
fn everything_is_asked_for_in_place_of_changes_and_of_what_they_stand_on() {
    let changes = || Ask { since: Some(at(0)), ..ask("users") };
    let stored = Ask { stored: Some("00000000-0000-0000-0000-000000000007".parse().unwrap()), ..ask("users") };
    let mut board = Board::new(vec![changes(), ask("orgs")], 1);
    board.lay_under(stored, 2);
    assert!(board.ask_everything());
    let aside: Vec<bool> = board.listings.iter().map(|listing| listing.aside).collect();
    assert_eq!(aside, [true, true, false, false]);
    assert_eq!((&board.listings[3].ask, &board.listings[3].progress), (&ask("users"), &Progress::Waiting));
    let once = board.clone();
    assert!(!board.ask_everything());
    assert_eq!(board, once);

    let mut whole = Board::new(vec![ask("users")], 1);
    assert!(!whole.ask_everything());
    assert!(!whole.listings[0].aside);
    let mut looked_again = Board::new(vec![changes()], 1);
    assert!(looked_again.add_recheck(Vec::new()));
    assert!(!looked_again.ask_everything(), "what is added would count as a second look");
    assert_eq!(looked_again.listings.len(), 1);
}

#[test]
fn rows_are_whole_unless_narrowed() {
    assert!(ask("users").is_whole());
    assert!(!Ask { since: Some(at(0)), ..ask("users") }.is_whole());
    assert!(!Ask { ids: Some(IdFilter::default()), ..ask("users") }.is_whole());
}

#[test]
fn a_source_without_an_end_is_given_up() {
    for (page, given_up) in [(listing::MOST_PAGES - 1, false), (listing::MOST_PAGES, true)] {
        let mut board = board(1, 1);
        board.deal(at(0));
        board.page_done(0, 1, &more(10), at(1)).unwrap();
        board.listings[0].next_page = page;
        board.lanes[0].dealt = None;
        let step = board.deal(at(2))[0];
        board.page_done(step.lane, step.generation, &PageFacts { digest: Some(7), ..more(10) }, at(3)).unwrap();
        let failed = matches!(&board.listings[0].progress, Progress::Failed(reason) if reason.starts_with("endless: "));
        assert_eq!(failed, given_up, "{page}");
    }
}

#[test]
fn a_page_equal_to_its_neighbour_is_a_fault_only_within_the_listing_and_with_rows() {
    let same = |rows| PageFacts { digest: Some(1), ..more(rows) };
    // The same page again, fetched by another lane.
    let mut again = board(1, 1);
    again.deal(at(0));
    again.page_done(0, 1, &same(10), at(1)).unwrap();
    again.page_done(0, 2, &PageFacts { digest: Some(2), last: true, ..more(10) }, at(2)).unwrap();
    assert!(again.page_missing(ListingNo(0), PageNo(2)));
    let step = again.deal(at(3))[0];
    again.page_done(step.lane, step.generation, &PageFacts { digest: Some(2), ..more(10) }, at(4)).unwrap();
    assert_eq!(again.listings[0].progress, Progress::Fetched);
    // Empty ones are alike by nature.
    let mut empty = board(1, 1);
    empty.deal(at(0));
    empty.page_done(0, 1, &same(0), at(1)).unwrap();
    empty.page_done(0, 2, &same(0), at(2)).unwrap();
    assert_eq!(empty.listings[0].progress, Progress::Open);
    // Beyond the end whatever is served does not matter.
    let mut beyond = board(1, 2);
    beyond.deal(at(0));
    beyond.page_done(0, 1, &more(10), at(1)).unwrap();
    beyond.page_done(0, 2, &PageFacts { digest: Some(1), last: true, ..more(10) }, at(2)).unwrap();
    beyond.listings[0].absorb(3, &same(10));
    assert_eq!(beyond.listings[0].progress, Progress::Fetched);
}

#[test]
fn of_pages_in_trouble_the_first_one_is_named_and_what_lies_behind_is_not_asked_for() {
    let mut board = board(1, 3);
    board.deal(at(0));
    board.page_done(0, 1, &more(10), at(1)).unwrap();
    board.listing_failed(2, 1, "status 502", at(2)).unwrap();
    assert_eq!(board.deal(at(2)), [], "page 4 is in trouble: page 5 waits for where the end is");
    board.listing_failed(1, 1, "status 501", at(3)).unwrap();
    board.page_done(0, 2, &more(10), at(4)).unwrap();
    assert_eq!(board.listings[0].progress, Progress::Failed("page 3: status 501".to_owned()));
}

#[test]
fn what_was_given_back_before_the_end_is_still_wanted_and_nothing_behind_it() {
    let mut board = board(1, 1);
    board.deal(at(0));
    board.page_done(0, 1, &more(10), at(1)).unwrap();
    let listing = &mut board.listings[0];
    listing.next_page = 9;
    listing.again = vec![3, 7];
    listing.errors = BTreeMap::from([(4, "status 500".to_owned()), (8, "status 404".to_owned())]);
    listing.absorb(5, &last(10));
    assert_eq!(listing.again, [3]);
    assert_eq!(listing.errors.keys().collect::<Vec<_>>(), [&4]);
}

/// As boards lie in stores that are older than hands of several pages.
#[test]
fn a_hand_of_long_ago_is_of_one_page() {
    let dealt: Dealt = serde_json::from_str(r#"{"listing": 0, "page": 3, "at": "2026-01-01T00:00:00Z"}"#).unwrap();
    assert_eq!(dealt.range(), 3..4);
}

#[test]
fn a_page_one_that_cannot_be_had_fails_its_listing_at_once() {
    let mut board = board(2, 1);
    board.deal(at(0));
    let moves = board.listing_failed(0, 1, "status 403", at(1)).unwrap();
    assert_eq!(board.listings[0].progress, Progress::Failed("status 403".to_owned()));
    assert_eq!(page_of(&board, moves[0]), (1, 1), "the lane goes on with the next");
}

#[test]
fn the_second_look_is_added_once() {
    let mut board = board(1, 1);
    board.deal(at(0));
    board.page_done(0, 1, &last(1), at(1)).unwrap();
    assert!(board.add_recheck(vec![ask("M/O0")]));
    assert!(!board.add_recheck(vec![ask("M/O0")]));
    assert_eq!((board.recheck_from, board.listings.len()), (Some(1), 2));
    assert!(!board.all_fetched());
    let moves = board.deal(at(2));
    assert_eq!(page_of(&board, moves[0]), (1, 1));
}

fn hand_of(board: &Board, LaneMove { lane, generation }: LaneMove) -> (u32, std::ops::Range<u32>) {
    let (dealt, _) = board.dealt(lane, generation).unwrap();
    (dealt.listing.0, dealt.range())
}

#[test]
fn a_lane_gets_several_pages_while_the_others_have_listings_of_their_own() {
    let mut board = board(6, 4);
    board.deal(at(0));
    let moves = board.page_done(0, 1, &more(10), at(1)).unwrap();
    assert_eq!(hand_of(&board, moves[0]), (0, 2..27));
    // A source that serves no page out of order gets them one by one.
    let moves = board.page_done(1, 1, &PageFacts { random_access: false, ..more(10) }, at(1)).unwrap();
    assert_eq!(hand_of(&board, moves[0]), (1, 2..3));
    // As many listings as lanes: each lane may soon have to help with the last.
    let mut board = self::board(4, 4);
    board.deal(at(0));
    let moves = board.page_done(0, 1, &more(10), at(1)).unwrap();
    assert_eq!(hand_of(&board, moves[0]), (0, 2..3));
}

#[test]
fn hands_shrink_towards_a_known_end() {
    let mut board = board(1, 2);
    board.deal(at(0));
    let moves = board.page_done(0, 1, &PageFacts { total: Some(210), ..more(10) }, at(1)).unwrap();
    let hands: Vec<_> = moves.iter().map(|step| hand_of(&board, *step).1).collect();
    assert_eq!(hands, [2..12, 12..17]);
}

#[test]
fn a_short_listing_is_one_hand_while_much_is_left_of_others() {
    let mut board = board(2, 2);
    board.deal(at(0));
    let long = board.page_done(0, 1, &PageFacts { total: Some(400), ..more(10) }, at(1)).unwrap();
    assert_eq!(hand_of(&board, long[0]), (0, 2..21));
    let short = board.page_done(1, 1, &PageFacts { total: Some(60), ..more(10) }, at(1)).unwrap();
    assert_eq!(hand_of(&board, short[0]), (1, 2..7));
}

#[test]
fn what_a_hand_had_no_time_for_is_dealt_again() {
    let mut board = board(6, 4);
    board.deal(at(0));
    board.page_done(0, 1, &more(10), at(1)).unwrap();
    let moves = board.pages_done(0, 2, &[more(10), more(10)], at(2)).unwrap();
    assert_eq!(hand_of(&board, moves[0]), (0, 4..29));
    assert_eq!(board.listings[0].fetched, 3);
}

#[test]
fn what_was_given_back_before_pages_dealt_meanwhile_is_a_hand_too() {
    let mut board = board(1, 2);
    board.deal(at(0));
    let moves = board.page_done(0, 1, &PageFacts { total: Some(1_000), ..more(10) }, at(1)).unwrap();
    let hands: Vec<_> = moves.iter().map(|step| hand_of(&board, *step).1).collect();
    assert_eq!(hands, [2..27, 27..52]);
    let moves = board.pages_done(0, 2, &[more(10), more(10)], at(2)).unwrap();
    assert_eq!(hand_of(&board, moves[0]), (0, 4..27));
}

#[test]
fn a_page_that_cannot_be_had_gives_the_rest_of_its_hand_back() {
    let mut board = board(6, 4);
    board.deal(at(0));
    board.page_done(0, 1, &more(10), at(1)).unwrap();
    let moves = board.listing_failed(0, 2, "status 500", at(2)).unwrap();
    assert_ne!(hand_of(&board, moves[0]).0, 0, "nothing beyond the page that cannot be had is asked for");
}

/// How a made-up SIS behaves for one listing.
#[derive(Debug, Clone)]
struct World {
    pages: u32,
    total: Option<i64>,
    random_access: bool,
    /// The last page says so; otherwise only the empty page behind it does.
    announces: bool,
    /// Asking beyond the end is an error.
    strict: bool,
}

impl World {
    fn ask(&self, page: u32) -> Result<PageFacts, &'static str> {
        if page > self.pages && self.strict && self.announces {
            return Err("status 404");
        }
        Ok(PageFacts {
            rows: if page > self.pages { 0 } else { 10 },
            last: self.announces && page == self.pages,
            past_end: page > self.pages,
            total: self.total,
            random_access: self.random_access,
            cursor: None,
            digest: Some(u64::from(page)),
        })
    }
}

fn world() -> impl Strategy<Value = World> {
    (1_u32..30, prop::option::of(-15_i64..15), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(pages, off_by, random_access, announces, strict)| World {
            pages,
            total: off_by.map(|off| (i64::from(pages) * 10 + off).max(0)),
            random_access,
            announces,
            strict,
        },
    )
}

/// What happens to the messages under way.
#[derive(Debug, Clone)]
enum Event {
    Handle(prop::sample::Index, usize),
    HandleTwice(prop::sample::Index),
    Lose(prop::sample::Index),
    LosePage,
    Reconcile,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (any::<prop::sample::Index>(), 1_usize..12).prop_map(|(index, patience)| Event::Handle(index, patience)),
        1 => any::<prop::sample::Index>().prop_map(Event::HandleTwice),
        1 => any::<prop::sample::Index>().prop_map(Event::Lose),
        1 => Just(Event::LosePage),
        1 => Just(Event::Reconcile),
    ]
}

/// A pull played through, with everything under way in plain sight.
struct Play {
    board: Board,
    worlds: Vec<World>,
    queue: Vec<LaneMove>,
    stale: Vec<LaneMove>,
    asked: BTreeSet<(u32, u32)>,
    collected: BTreeSet<(u32, u32)>,
    now: i64,
}

impl Play {
    /// Fetches as many pages of the lane's hand as there is patience for.
    fn handle(&mut self, step: LaneMove, patience: usize) {
        let LaneMove { lane, generation } = step;
        let Some((dealt, _)) = self.board.dealt(lane, generation) else { return };
        let (mut facts, mut trouble) = (Vec::new(), None);
        for page in dealt.range().take(patience) {
            self.asked.insert((dealt.listing.0, page));
            match self.worlds[dealt.listing.0 as usize].ask(page) {
                Ok(told) => {
                    self.collected.insert((dealt.listing.0, page));
                    facts.push(told);
                }
                Err(reason) => trouble = Some(reason),
            }
            if trouble.is_some() || facts.last().is_some_and(|told| told.last || told.past_end) {
                break;
            }
        }
        self.hand_in(step, &facts, trouble);
        self.stale.push(step);
    }

    /// What came in counts first; a page in trouble is then dealt again.
    fn hand_in(&mut self, LaneMove { lane, generation }: LaneMove, facts: &[PageFacts], trouble: Option<&str>) {
        let now = at(self.now);
        let moves = match trouble {
            Some(reason) if facts.is_empty() => self.board.listing_failed(lane, generation, reason, now),
            _ => self.board.pages_done(lane, generation, facts, now),
        };
        self.queue.extend(moves.unwrap());
    }

    fn reconcile(&mut self) {
        self.now += 1_000;
        let missing = self.board.missing(|listing, page| self.collected.contains(&(listing.0, page.0)));
        for (listing, page) in missing {
            assert!(self.board.page_missing(listing, page));
        }
        self.queue.extend(self.board.lane_lost(Duration::ZERO, at(self.now)));
    }

    fn play(&mut self, event: &Event) {
        self.now += 1;
        match event {
            Event::Handle(index, patience) if !self.queue.is_empty() => {
                let step = self.queue.swap_remove(index.index(self.queue.len()));
                self.handle(step, *patience);
            }
            Event::HandleTwice(index) if !self.stale.is_empty() => {
                let step = *index.get(&self.stale);
                self.handle(step, usize::MAX);
            }
            Event::Lose(index) if !self.queue.is_empty() => {
                self.queue.swap_remove(index.index(self.queue.len()));
            }
            Event::LosePage => {
                self.collected.pop_last();
            }
            Event::Reconcile => self.reconcile(),
            _ => {}
        }
    }

    fn finish(&mut self) {
        for _ in 0..10_000 {
            match self.queue.pop() {
                Some(step) => self.handle(step, usize::MAX),
                None if self.board.all_fetched() && self.nothing_missing() => return,
                None => self.reconcile(),
            }
        }
        panic!("the pull never ended: {:?}", self.board);
    }

    fn nothing_missing(&self) -> bool {
        self.board.missing(|listing, page| self.collected.contains(&(listing.0, page.0))).is_empty()
    }
}

proptest! {
    #[test]
    fn a_pull_always_ends_with_every_page(
        worlds in prop::collection::vec(world(), 1..6),
        lanes in 1_u16..6,
        events in prop::collection::vec(event(), 0..200),
    ) {
        let board = board(worlds.len(), lanes);
        let mut play = Play {
            board, worlds, queue: Vec::new(), stale: Vec::new(), asked: BTreeSet::new(), collected: BTreeSet::new(), now: 0,
        };
        play.queue = play.board.deal(at(0));
        let mut generations = vec![0; usize::from(lanes)];
        for event in &events {
            play.play(event);
            let now: Vec<u64> = play.board.lanes.iter().map(|lane| lane.generation).collect();
            prop_assert!(now.iter().zip(&generations).all(|(new, old)| new >= old), "a generation went back");
            generations = now;
            let dealt: Vec<_> = play.board.lanes.iter().filter_map(|lane| lane.dealt).collect();
            prop_assert!(dealt.len() <= usize::from(lanes));
            for (number, listing) in play.board.listings.iter().enumerate() {
                let hands = dealt.iter().filter(|dealt| dealt.listing.0 as usize == number);
                let pages: Vec<_> = hands.clone().flat_map(Dealt::range).collect();
                let distinct: BTreeSet<_> = pages.iter().collect();
                prop_assert_eq!(distinct.len(), pages.len(), "a page is with two lanes");
                if listing.progress == Progress::Opening || !listing.random_access {
                    prop_assert!(pages.len() <= 1 && hands.count() <= 1);
                }
            }
        }
        play.finish();
        for (number, world) in play.worlds.iter().enumerate() {
            prop_assert_eq!(&play.board.listings[number].progress, &Progress::Fetched);
            prop_assert_eq!(play.board.listings[number].last_page, Some(world.pages));
            for page in 1..=world.pages {
                prop_assert!(play.asked.contains(&(number as u32, page)), "page {} of {} never asked", page, number);
            }
        }
    }

    #[test]
    fn lost_lanes_alone_never_let_a_page_go(lanes in 1_u16..5, losses in 1_i64..50) {
        let mut board = board(2, lanes);
        board.deal(at(0));
        for loss in 1..=losses {
            let now = at(0) + TimeDelta::seconds(loss);
            let moves = board.lane_lost(Duration::ZERO, now);
            prop_assert!(!moves.is_empty());
        }
        prop_assert!(!board.all_fetched());
    }
}

/// Lane 0 has done page 1 of a listing of 60 pages, and goes on with a hand of its own.
fn gone_on() -> (Board, GoneOn) {
    let mut board = Board::new(vec![ask("a")], 2);
    assert_eq!(board.deal(at(0)).len(), 1);
    let facts = PageFacts { rows: 10, total: Some(600), random_access: true, ..PageFacts::default() };
    let gone_on = board.go_on((0, 1, 1), &[facts], at(1)).unwrap();
    (board, gone_on)
}

#[test]
fn who_goes_on_with_a_lane_needs_no_message_and_the_one_they_have_leads_to_the_new_hand() {
    let (board, gone_on) = gone_on();
    assert_eq!(gone_on.own, Some(2));
    assert_eq!(gone_on.others.iter().map(|step| step.lane).collect::<Vec<_>>(), [1], "the other lane is told");
    assert_eq!(board.called(0, 1), Some(2), "the message comes again after a crash");
    assert_eq!(board.called(0, 2), Some(2));
    assert_eq!(board.called(1, gone_on.others[0].generation), Some(gone_on.others[0].generation));
    assert_eq!(board.called(1, 99), None);
    assert_eq!(board.called(9, 1), None);
}

#[test]
fn a_message_never_hands_in_for_a_later_hand_than_it_was_told_of() {
    let (mut board, _) = gone_on();
    let before = board.clone();
    let facts = [PageFacts { rows: 10, ..PageFacts::default() }];
    assert_eq!(board.go_on((0, 1, 1), &facts, at(2)), None, "a second worker with the same message was slower");
    assert_eq!(board.pages_done(0, 1, &facts, at(2)), None);
    assert_eq!(board, before);
}

#[test]
fn the_message_is_done_with_once_the_lane_has_another() {
    let (mut board, _) = gone_on();
    let facts = [PageFacts { rows: 10, ..PageFacts::default() }];
    board.pages_done(0, 2, &facts, at(2)).unwrap();
    assert_eq!(board.called(0, 1), None);
    assert_eq!(board.called(0, 3), Some(3), "a new message was published");
    let (mut lost, _) = gone_on();
    lost.lane_lost(Duration::from_mins(1), at(90));
    assert_eq!(lost.called(0, 1), None, "the lane was given up");
}

#[test]
fn a_lane_without_another_hand_rests() {
    let mut board = Board::new(vec![ask("a")], 1);
    board.deal(at(0));
    let last = PageFacts { rows: 3, last: true, ..PageFacts::default() };
    let gone_on = board.go_on((0, 1, 1), &[last], at(1)).unwrap();
    assert_eq!((gone_on.own, gone_on.others.len()), (None, 0));
    assert_eq!(board.called(0, 1), None, "nothing is left to do");
}
