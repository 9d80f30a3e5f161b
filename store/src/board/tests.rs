//! The board, rule by rule, and a whole pull played with everything that can befall its messages.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use super::*;

mod ends;
mod hands;
mod lost;
mod more;
mod played;

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
fn what_a_page_told_is_read_back() {
    let told = Told { reading: u64::MAX, facts: PageFacts { cursor: Some("c".to_owned()), ..more(3) } };
    assert_eq!(Told::from_bytes(&told.to_bytes().unwrap()), Some(told));
    for other in [&b""[..], &[0], &[1], b"of another form"] {
        assert_eq!(Told::from_bytes(other), None, "{other:?}");
    }
}
