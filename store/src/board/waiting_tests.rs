//! Many districts before few fetchers: messages that wait longer than what makes them lost, and messages that are lost.
#![allow(clippy::unwrap_used)]

use std::{collections::VecDeque, time::Duration};

use chrono::TimeDelta;

use super::*;

/// What makes a lane lost, and how often somebody looks.
const LOST_AFTER: i64 = 60;
const EVERY: i64 = 10;

const PAGES: u32 = 30;

/// One queue, and fetchers that get so many hands done each second.
struct Queue {
    boards: Vec<Board>,
    waiting: VecDeque<(usize, LaneMove, i64)>,
    hands_a_second: usize,
    /// Whether the boards are told how long messages wait.
    learns: bool,
    now: i64,
    hands: usize,
    /// Messages that came when their lane had been dealt again.
    in_vain: usize,
}

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_760_000_000 + seconds, 0).unwrap()
}

impl Queue {
    fn new(districts: usize, hands_a_second: usize) -> Self {
        let ask = |number| Ask { resource: format!("M/O{number}"), ..Ask::default() };
        let boards = vec![Board::new((0..4).map(ask).collect(), 4); districts];
        let mut queue =
            Self { boards, waiting: VecDeque::new(), hands_a_second, learns: true, now: 0, hands: 0, in_vain: 0 };
        for district in 0..districts {
            let moves = queue.boards[district].deal(at(0));
            queue.publish(district, moves);
        }
        queue
    }

    fn publish(&mut self, district: usize, moves: Vec<LaneMove>) {
        self.waiting.extend(moves.into_iter().map(|step| (district, step, self.now)));
    }

    /// As the fetcher does it. False: it was in vain, and took no time.
    fn handle(&mut self, district: usize, LaneMove { lane, generation }: LaneMove, published: i64) -> bool {
        let (board, now) = (&mut self.boards[district], at(self.now));
        let Some((dealt, _)) = board.dealt(lane, generation) else {
            let waited = now - at(published);
            if let Some(patience) = board.came_late(lane, generation, waited).filter(|_| self.learns) {
                board.be_patient(lane, patience);
            }
            return false;
        };
        if dealt.at + Duration::from_secs(LOST_AFTER as u64 / 2) < now {
            if self.learns {
                board.take_up(lane, generation, now);
            } else {
                board.renew(lane, generation, now);
            }
        }
        let facts = PageFacts { rows: 10, last: dealt.page.0 == PAGES, ..PageFacts::default() };
        let moves = board.pages_done(lane, generation, &[facts], now).unwrap();
        self.publish(district, moves);
        true
    }

    /// One second.
    fn pass(&mut self) {
        self.now += 1;
        let mut done = 0;
        while done < self.hands_a_second {
            let Some((district, step, published)) = self.waiting.pop_front() else { break };
            if self.handle(district, step, published) {
                done += 1;
            } else {
                self.in_vain += 1;
            }
        }
        self.hands += done;
        if self.now % EVERY == 0 {
            for district in 0..self.boards.len() {
                let moves = self.boards[district].lane_lost(Duration::from_secs(LOST_AFTER as u64), at(self.now));
                self.publish(district, moves);
            }
        }
    }

    /// Until every page of all is in.
    fn finish(&mut self) {
        while !self.boards.iter().all(Board::all_fetched) {
            self.pass();
            assert!(self.now < 20_000, "it never ends: {} hands, {} in vain", self.hands, self.in_vain);
        }
    }
}

#[test]
fn what_only_waits_is_asked_for_again_a_few_times_at_most() {
    // 256 lanes, two hands a second: a message waits for two minutes.
    let mut queue = Queue::new(64, 2);
    queue.finish();
    assert_eq!(queue.hands, 64 * 4 * PAGES as usize);
    assert!(queue.in_vain * 10 < queue.hands, "{} of {} messages in vain", queue.in_vain, queue.hands);
    let mut deaf = Queue { learns: false, ..Queue::new(64, 2) };
    deaf.finish();
    assert!(deaf.in_vain > 5 * queue.in_vain, "{} in vain without learning, {} with", deaf.in_vain, queue.in_vain);
}

#[test]
fn a_queue_that_was_purged_is_filled_again_as_soon_as_ever() {
    let mut queue = Queue::new(8, 16);
    for _ in 0..5 {
        queue.pass();
    }
    queue.waiting.clear();
    for _ in 0..LOST_AFTER + EVERY {
        queue.pass();
    }
    assert!(
        queue.boards.iter().all(|board| board.all_fetched() || board.lanes.iter().any(|lane| lane.dealt.is_some()))
    );
    assert!(queue.hands > 5 * 16, "nobody went on: {} hands", queue.hands);
    queue.finish();
    assert!(queue.now < 2 * LOST_AFTER + EVERY, "{} s", queue.now);
    assert_eq!(queue.hands, 8 * 4 * PAGES as usize);
}

#[test]
fn a_queue_that_was_long_and_is_purged_is_filled_again_in_the_end() {
    let mut queue = Queue::new(64, 2);
    for _ in 0..1_000 {
        queue.pass();
    }
    queue.waiting.clear();
    let (hands, purged) = (queue.hands, queue.now);
    while queue.hands == hands {
        queue.pass();
    }
    assert!(queue.now - purged <= LOST_AFTER + 300 + EVERY, "{} s", queue.now - purged);
    queue.finish();
    assert_eq!(queue.hands, 64 * 4 * PAGES as usize);
}

#[test]
fn how_long_a_message_waited_is_what_the_next_is_allowed() {
    let mut board = Board::new(vec![Ask::default()], 1);
    let one_page = |board: &mut Board, generation, now| {
        board.pages_done(0, generation, &[PageFacts { rows: 1, ..PageFacts::default() }], at(now)).unwrap()
    };
    board.deal(at(0));
    assert!(board.take_up(0, 1, at(50)));
    assert!(!board.take_up(0, 9, at(50)), "an older generation, or none");
    one_page(&mut board, 1, 52);
    assert_eq!(board.lanes[0].patience, 100);
    let lost_after = Duration::from_mins(1);
    assert!(board.clone().lane_lost(lost_after, at(52 + 160)).is_empty());
    assert_eq!(board.clone().lane_lost(lost_after, at(52 + 161)).len(), 1);
    // The queue has become short: the patience wears off.
    one_page(&mut board, 2, 53);
    one_page(&mut board, 3, 54);
    assert_eq!(board.lanes[0].patience, 25);
    // Given up, and not lost.
    let wait = TimeDelta::seconds(400);
    assert_eq!(board.came_late(0, 4, wait), None, "it is the one that is waited for");
    board.lane_lost(Duration::ZERO, at(100));
    assert_eq!(board.came_late(0, 4, wait), Some(600), "no longer than ten minutes");
    assert_eq!(board.came_late(0, 4, TimeDelta::seconds(-5)), None, "a clock was set back");
    assert_eq!(board.came_late(7, 4, wait), None, "no such lane");
    board.be_patient(0, 600);
    assert_eq!(board.came_late(0, 4, wait), None, "it is known");
    board.lose_patience();
    assert_eq!(board.lanes[0].patience, 0);
}
