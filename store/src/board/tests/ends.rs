//! Where a listing ends, what is expected of it, and what makes it fail.

use super::*;

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

fn hollow() -> PageFacts {
    PageFacts { hollow: true, ..more(0) }
}

/// Plays the pages of one listing to its end, one lane alone. What came of it: the last page, the hole, the end by empty pages.
fn played(pages: &[PageFacts]) -> (Option<u32>, Option<u32>, Option<u32>) {
    let mut board = board(1, 1);
    board.deal(at(0));
    for (now, facts) in (1..).zip(pages) {
        let generation = board.lanes[0].generation;
        board.page_done(0, generation, facts, at(now)).unwrap();
    }
    let listing = &board.listings[0];
    assert_eq!(listing.progress, Progress::Fetched, "{listing:?}");
    (listing.last_page, listing.hole(), listing.hollow_end())
}

#[test]
fn an_empty_page_that_announces_more_is_looked_behind() {
    assert_eq!(played(&[more(10), more(10), hollow(), hollow()]), (Some(2), None, Some(3)), "it always announces more");
    assert_eq!(played(&[hollow(), hollow()]), (Some(1), None, Some(1)), "nothing at all");
    assert_eq!(played(&[more(10), hollow(), last(10)]), (Some(3), Some(2), None), "rows behind it");
    assert_eq!(played(&[more(10), hollow(), more(10), hollow(), hollow()]), (Some(3), Some(2), Some(4)));
    assert_eq!(played(&[more(10), hollow(), past_end()]), (Some(2), None, None), "an end behind it");
    assert_eq!(played(&[more(10), past_end()]), (Some(1), None, None));
}

#[test]
fn a_page_that_came_short_leaves_a_gap_where_rows_are_behind_it() {
    let short = || PageFacts { short: true, ..more(7) };
    let gap = |pages: &[PageFacts]| {
        let mut board = board(1, 1);
        board.deal(at(0));
        (1..).zip(pages).for_each(|(page, facts)| board.listings[0].absorb(page, facts));
        board.listings[0].gap()
    };
    assert_eq!(gap(&[more(10), short(), last(10)]), Some(2));
    assert_eq!(gap(&[more(10), short(), short(), more(10), past_end()]), Some(2), "the first one is told");
    assert_eq!(gap(&[more(10), short(), past_end()]), None, "nothing is behind it");
    assert_eq!(gap(&[more(10), short(), hollow(), hollow()]), None, "it always announces more");
    assert_eq!(gap(&[more(10), short(), hollow(), last(1)]), Some(2));
    assert_eq!(gap(&[more(10), last(10), short()]), None, "beyond the end");
    assert_eq!(gap(&[more(10), short()]), None, "no end is known yet");
}

#[test]
fn an_end_told_behind_empty_pages_tells_of_a_hole() {
    let mut board = board(1, 1);
    board.deal(at(0));
    let listing = &mut board.listings[0];
    let pages = [(1, more(10)), (6, last(10)), (3, hollow()), (4, hollow())];
    for (page, facts) in &pages {
        listing.absorb(*page, facts);
    }
    assert_eq!((listing.last_page, listing.told_end, listing.hole()), (Some(2), Some(6), Some(3)));
    // Fetched again, it held rows after all.
    listing.absorb(3, &more(10));
    assert_eq!(listing.hollow, [4].into());
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

/// A source that serves a few pages in turns, one lane after another or several at once.
#[test]
fn pages_served_in_turns_fail_the_listing() {
    for lanes in [1, 4] {
        for turns in [2, 3, 16] {
            let mut board = board(1, lanes);
            let mut moves: std::collections::VecDeque<LaneMove> = board.deal(at(0)).into();
            let mut pages = 0;
            while let Some(step) = moves.pop_front() {
                pages += 1;
                let (_, page) = page_of(&board, step);
                let facts = PageFacts { digest: Some(u64::from(page % turns)), ..more(10) };
                moves.extend(board.page_done(step.lane, step.generation, &facts, at(1)).unwrap());
                moves.retain(|step| board.dealt(step.lane, step.generation).is_some());
            }
            let said = format!("page-repeated: page {} holds the same rows as page 1", turns + 1);
            assert_eq!((&board.listings[0].progress, pages), (&Progress::Failed(said), turns + 1), "{lanes} lanes");
        }
    }
}

/// Asked beyond its end by several lanes, a source may begin anew; and a page that comes in twice is the same page.
#[test]
fn a_page_served_again_beyond_the_end_or_to_another_lane_fails_nothing() {
    let of = |digest, facts: PageFacts| PageFacts { digest: Some(digest), ..facts };
    let mut board = board(1, 3);
    board.deal(at(0));
    board.page_done(0, 1, &of(1, more(10)), at(1)).unwrap();
    // Pages 2 to 4 are with lanes; the end is page 2, and behind it comes the first page again.
    board.page_done(2, 1, &of(2, more(10)), at(2)).unwrap();
    board.page_done(1, 1, &of(1, more(10)), at(2)).unwrap();
    assert_eq!((board.listings[0].repeated, &board.listings[0].progress), (Some((3, 1)), &Progress::Open));
    board.page_done(0, 2, &of(2, last(10)), at(3)).unwrap();
    assert_eq!((&board.listings[0].progress, board.listings[0].last_page), (&Progress::Fetched, Some(2)));
    assert_eq!(board.listings[0].digests, [], "a board is kept small");

    let mut again = self::board(1, 1);
    again.deal(at(0));
    again.page_done(0, 1, &of(1, more(10)), at(1)).unwrap();
    again.page_done(0, 2, &of(2, more(10)), at(1)).unwrap();
    again.listings[0].absorb(1, &of(1, more(10)));
    assert_eq!((again.listings[0].repeated, again.listings[0].digests.len()), (None, 2));
    // Empty ones are alike by nature.
    (3..6).for_each(|page| again.listings[0].absorb(page, &of(9, more(0))));
    assert_eq!(again.listings[0].repeated, None);
    (6..1_000).for_each(|page| again.listings[0].absorb(page, &of(u64::from(page) + 9, more(10))));
    assert_eq!(again.listings[0].digests.len(), 16);
}

/// As boards lie in stores of the version before.
#[test]
fn a_board_without_remembered_pages_is_read() {
    let mut listing = serde_json::to_value(board(1, 1)).unwrap()["listings"][0].take();
    assert!(listing.get("digests").is_none() && listing.get("repeated").is_none(), "nor does it cost anything");
    listing["last_digest"] = serde_json::json!([7, 9]);
    let mut read: Listing = serde_json::from_value(listing).unwrap();
    assert_eq!((read.last_digest, read.digests.len()), (Some((7, 9)), 0));
    (read.progress, read.next_page) = (Progress::Open, 9);
    read.absorb(8, &PageFacts { digest: Some(9), ..more(10) });
    assert!(matches!(read.progress, Progress::Failed(_)));
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

/// A source may serve its last page again to who asks beyond it, and that answer may be the first to come.
#[test]
fn a_last_page_served_again_beyond_the_end_is_not_judged_whichever_comes_first() {
    let same = || PageFacts { digest: Some(7), ..last(4) };
    for order in [[2, 3, 4], [2, 4, 3], [3, 2, 4], [3, 4, 2], [4, 2, 3], [4, 3, 2]] {
        let mut board = board(1, 3);
        board.deal(at(0));
        board.page_done(0, 1, &PageFacts { digest: Some(1), ..more(10) }, at(1)).unwrap();
        for page in order {
            let lane = board.lanes.iter().position(|lane| lane.dealt.is_some_and(|dealt| dealt.page.0 == page));
            // Freed, since the page no longer matters.
            let Some(lane) = lane else { continue };
            let generation = board.lanes[lane].generation;
            board.page_done(lane as u16, generation, &same(), at(2)).unwrap();
        }
        let listing = &board.listings[0];
        assert_eq!((&listing.progress, listing.last_page), (&Progress::Fetched, Some(2)), "{order:?}");
    }
}

#[test]
fn two_pages_alike_within_the_end_are_judged_whichever_comes_first() {
    for [first, second] in [[2, 3], [3, 2]] {
        let mut board = board(1, 3);
        board.deal(at(0));
        board.page_done(0, 1, &PageFacts { digest: Some(1), ..more(10) }, at(1)).unwrap();
        let listing = &mut board.listings[0];
        listing.absorb(3, &last(4));
        listing.absorb(first, &PageFacts { digest: Some(7), ..more(10) });
        listing.absorb(second, &PageFacts { digest: Some(7), ..more(10) });
        let said = format!("page-repeated: page {second} holds the same rows as page {first}");
        assert_eq!(listing.progress, Progress::Failed(said));
    }
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

#[test]
fn a_page_one_that_cannot_be_had_fails_its_listing_at_once() {
    let mut board = board(2, 1);
    board.deal(at(0));
    let moves = board.listing_failed(0, 1, "status 403", at(1)).unwrap();
    assert_eq!(board.listings[0].progress, Progress::Failed("status 403".to_owned()));
    assert_eq!(page_of(&board, moves[0]), (1, 1), "the lane goes on with the next");
}
