//! How pages are dealt: which listing, which lane, how many at a time; and lanes that go on by themselves.

use super::*;

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

/// As boards lie in stores that are older than hands of several pages.
#[test]
fn a_hand_of_long_ago_is_of_one_page() {
    let dealt: Dealt = serde_json::from_str(r#"{"listing": 0, "page": 3, "at": "2026-01-01T00:00:00Z"}"#).unwrap();
    assert_eq!(dealt.range(), 3..4);
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
