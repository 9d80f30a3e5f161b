//! Listings that join a board: laid under it, asked for after all, looked at again.

use super::*;

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
