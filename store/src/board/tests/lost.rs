//! What is lost on the way, comes twice or too late: lanes, messages, pages.

use super::*;

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

/// Several lanes are told to wait in the time in which one is told once.
#[test]
fn each_lane_of_a_listing_may_wait_as_often_as_one_alone() {
    let mut board = board(2, 4);
    board.deal(at(0));
    board.page_done(0, 1, &more(10), at(1)).unwrap();
    let of_first: Vec<u16> =
        (0..4).filter(|lane| board.lanes[usize::from(*lane)].dealt.unwrap().listing.0 == 0).collect();
    assert_eq!(of_first.len(), 3, "one is at work on the other listing");
    let mut turns = of_first.iter().copied().cycle();
    let granted = (0..1_000).take_while(|step| {
        let lane = turns.next().unwrap();
        let generation = board.lanes[usize::from(lane)].generation;
        board.postpone(lane, generation, at(*step))
    });
    assert_eq!(granted.count(), 3 * dealing::MOST_WAITS as usize);
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
