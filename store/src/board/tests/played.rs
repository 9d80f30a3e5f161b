//! A pull played through: whatever happens to the messages under way, it ends with every page.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use proptest::prelude::*;

use super::*;

/// How a made-up SIS behaves for one listing.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a habit of its own")]
struct World {
    pages: u32,
    total: Option<i64>,
    random_access: bool,
    /// The last page says so; otherwise only the empty page behind it does.
    announces: bool,
    /// Asking beyond the end is an error.
    strict: bool,
    /// What is empty announces more all the same.
    eager: bool,
    /// Beyond the end, the last page is served again, where it announces itself.
    again: bool,
}

impl World {
    fn ask(&self, page: u32) -> Result<PageFacts, &'static str> {
        if page > self.pages && self.strict && self.announces {
            return Err("status 404");
        }
        let page = if self.again && self.announces { page.min(self.pages) } else { page };
        Ok(PageFacts {
            rows: if page > self.pages { 0 } else { 10 },
            last: self.announces && page == self.pages,
            past_end: page > self.pages && !self.eager,
            hollow: page > self.pages && self.eager,
            total: self.total,
            random_access: self.random_access,
            cursor: None,
            digest: Some(u64::from(page)),
            short: false,
        })
    }
}

fn world() -> impl Strategy<Value = World> {
    let habits = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (1_u32..30, prop::option::of(-15_i64..15), habits).prop_map(
        |(pages, off_by, (random_access, announces, strict, eager, again))| World {
            pages,
            total: off_by.map(|off| (i64::from(pages) * 10 + off).max(0)),
            random_access,
            announces,
            strict,
            eager,
            again,
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
