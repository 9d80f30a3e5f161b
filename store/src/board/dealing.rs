//! Dealing pages to lanes, and taking them back.

use std::{cmp::Reverse, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use rollcall_proto::id::{ListingNo, PageNo};

use super::{Ask, Board, Dealt, Extent, GoneOn, Lane, LaneMove, Listing, PageFacts, Progress};

/// Times in a row that each of a listing's lanes may be told to wait before it is given up.
pub(super) const MOST_WAITS: u32 = 40;

/// What a lost lane's generation grows by. A board that a crash of the database set back may have dealt a few generations
/// whose messages are still under way: none of them may be the next one.
pub(super) const LOST: u64 = 1_000;

/// Most seconds of a [`Lane::patience`]: a message that is lost behind a long queue is missed after that.
const LONGEST_PATIENCE: u32 = 600;

/// Most pages of a hand. A lane gives back what it has no time for, so that this matters where pages come fast.
const LARGEST_HAND: u32 = 25;

impl Board {
    /// A board on which nothing has been dealt. At least one lane.
    pub fn new(asks: Vec<Ask>, lanes: u16) -> Self {
        Self {
            listings: asks.into_iter().map(Listing::new).collect(),
            lanes: vec![Lane::default(); usize::from(lanes.max(1))],
            recheck_from: None,
        }
    }

    /// Puts a listing before all others whose pages are in the store already. Only on a board of which nothing was dealt.
    pub fn lay_under(&mut self, ask: Ask, pages: u32) {
        let mut listing = Listing::new(ask);
        (listing.progress, listing.last_page) = (Progress::Fetched, Some(pages));
        (listing.next_page, listing.fetched) = (pages.saturating_add(1), pages);
        self.listings.insert(0, listing);
    }

    /// Asks for everything of which only changes were asked for, and sets those aside. False: there was nothing of the kind,
    /// and nothing changed. Listings are added, since others remember what stands at each number.
    pub fn ask_everything(&mut self) -> bool {
        if self.recheck_from.is_some() {
            // What is added now would count as a second look.
            return false;
        }
        let mut asks = Vec::new();
        for listing in self.listings.iter_mut().filter(|listing| !listing.aside) {
            if listing.ask.since.is_some() {
                asks.push(Ask { since: None, ..listing.ask.clone() });
            }
            listing.aside = listing.ask.since.is_some() || listing.ask.stored.is_some();
        }
        let asked = !asks.is_empty();
        self.listings.extend(asks.into_iter().map(Listing::new));
        asked
    }

    /// Expects of each listing what the same one of an earlier board had: of those that ask for every row, since changes
    /// are other ones every night.
    pub fn expect(&mut self, earlier: &Self) {
        let same = |a: &Ask, before: &Listing| {
            let b = &before.ask;
            (&a.resource, a.entity, &a.school_year) == (&b.resource, b.entity, &b.school_year)
                && a.is_whole()
                && b.is_whole()
                && b.stored.is_none()
                && !before.aside
        };
        for listing in &mut self.listings {
            if let Some(before) = earlier.listings.iter().find(|before| same(&listing.ask, before)) {
                listing.expect(before);
            }
        }
    }

    /// Adds the second look's listings, once. False: they were added before, and nothing changed.
    pub fn add_recheck(&mut self, asks: Vec<Ask>) -> bool {
        if self.recheck_from.is_some() {
            return false;
        }
        self.recheck_from = Some(self.listings.len() as u32);
        self.listings.extend(asks.into_iter().map(Listing::new));
        true
    }

    /// Deals a hand to every resting lane that there is work for. Each move becomes a message.
    pub fn deal(&mut self, now: DateTime<Utc>) -> Vec<LaneMove> {
        let mut moves = Vec::new();
        for number in 0..self.lanes.len() {
            if self.lanes[number].dealt.is_some() {
                continue;
            }
            let Some((listing, page)) = self.next_work() else { break };
            let pages = self.hand(listing, page);
            moves.push(self.give(
                number,
                Dealt { listing: ListingNo(listing as u32), page: PageNo(page), pages, at: now, waited: 0 },
            ));
        }
        moves
    }

    /// Notes fetched pages, the first ones of a lane's hand, and deals on; what the hand holds beyond them is given back.
    /// `None`: the message is of an older generation, and nothing changed.
    pub fn pages_done(
        &mut self,
        lane: u16,
        generation: u64,
        facts: &[PageFacts],
        now: DateTime<Utc>,
    ) -> Option<Vec<LaneMove>> {
        let dealt = self.take(lane, generation)?;
        let index = dealt.listing.0 as usize;
        let listing = self.listings.get_mut(index)?;
        dealt.range().zip(facts).for_each(|(page, facts)| listing.absorb(page, facts));
        dealt.range().skip(facts.len()).rev().for_each(|page| listing.give_back(page));
        self.settle(index);
        Some(self.deal(now))
    }

    /// As [`Board::pages_done`], by somebody who goes on with the lane's next hand without a message for it: the one they
    /// have, of generation `message`, stands for it until it is acknowledged.
    pub fn go_on(
        &mut self,
        (lane, generation, message): (u16, u64, u64),
        facts: &[PageFacts],
        now: DateTime<Utc>,
    ) -> Option<GoneOn> {
        let mut others = self.pages_done(lane, generation, facts, now)?;
        let own = others.iter().position(|step| step.lane == lane).map(|place| others.remove(place).generation);
        if own.is_some() {
            self.lanes[usize::from(lane)].message = Some(message);
        }
        Some(GoneOn { own, others })
    }

    /// The generation of a lane's hand that a message stands for: its own, or that of a later hand which was begun without
    /// another message. `None`: it is done with.
    pub fn called(&self, lane: u16, message: u64) -> Option<u64> {
        let lane = self.lanes.get(usize::from(lane)).filter(|lane| lane.dealt.is_some())?;
        (lane.generation == message || lane.message == Some(message)).then_some(lane.generation)
    }

    /// Notes that a lane's page cannot be had. The listing fails with it, unless its end turns out to lie before that
    /// page. `None`: the message is of an older generation.
    pub fn listing_failed(
        &mut self,
        lane: u16,
        generation: u64,
        reason: &str,
        now: DateTime<Utc>,
    ) -> Option<Vec<LaneMove>> {
        let dealt = self.take(lane, generation)?;
        let index = dealt.listing.0 as usize;
        let listing = self.listings.get_mut(index)?;
        if listing.progress == Progress::Opening {
            listing.progress = Progress::Failed(reason.to_owned());
        } else {
            listing.errors.insert(dealt.page.0, reason.to_owned());
            dealt.range().skip(1).rev().for_each(|page| listing.give_back(page));
        }
        self.settle(index);
        Some(self.deal(now))
    }

    /// Takes hands back from lanes that were not heard of for `lost_after` and their patience, and deals them again.
    pub fn lane_lost(&mut self, lost_after: Duration, now: DateTime<Utc>) -> Vec<LaneMove> {
        for number in 0..self.lanes.len() {
            let wait = lost_after + Duration::from_secs(self.lanes[number].patience.into());
            let Some(dealt) = self.lanes[number].dealt.filter(|dealt| dealt.at + wait < now) else { continue };
            self.lanes[number].dealt = None;
            self.lanes[number].generation += LOST;
            self.lanes[number].message = None;
            if let Some(listing) = self.listings.get_mut(dealt.listing.0 as usize) {
                dealt.range().rev().for_each(|page| listing.give_back(page));
            }
        }
        self.deal(now)
    }

    /// A page that was fetched never reached the store: it will be dealt again. False: it is under way, or not wanted.
    pub fn page_missing(&mut self, listing: ListingNo, page: PageNo) -> bool {
        if !self.is_fetched(listing, page.0) {
            return false;
        }
        let Some(listing) = self.listings.get_mut(listing.0 as usize) else { return false };
        listing.progress = Progress::Open;
        // A board of an older version only tells by a cursor that is still to be followed.
        if listing.by_cursor || listing.cursor.is_some() {
            // A page behind a cursor can only be reached from the start.
            listing.restart();
        } else {
            listing.give_back(page.0);
        }
        true
    }

    /// Pages fetched that `is_collected` does not know, in order.
    pub fn missing(&self, is_collected: impl Fn(ListingNo, PageNo) -> bool) -> Vec<(ListingNo, PageNo)> {
        let numbers = 0..self.listings.len() as u32;
        let pages = numbers.flat_map(|number| {
            let listing = &self.listings[number as usize];
            let end = listing.last_page.map_or(listing.next_page, |last| listing.next_page.min(last + 1));
            (1..end).map(move |page| (ListingNo(number), PageNo(page)))
        });
        pages.filter(|(listing, page)| self.is_fetched(*listing, page.0) && !is_collected(*listing, *page)).collect()
    }

    /// What a lane is to fetch. `None`: the message is of an older generation.
    pub fn dealt(&self, lane: u16, generation: u64) -> Option<(Dealt, &Listing)> {
        let dealt = self.current(lane, generation)?;
        Some((*dealt, self.listings.get(dealt.listing.0 as usize)?))
    }

    /// A fetcher takes a lane's hand up, whose message waited long behind others: it counts as dealt at `now`, and the lane's
    /// next ones are waited for accordingly. False: an older generation.
    pub fn take_up(&mut self, lane: u16, generation: u64, now: DateTime<Utc>) -> bool {
        let Some(dealt) = self.current_mut(lane, generation) else { return false };
        dealt.waited = seconds(now - dealt.at);
        dealt.at = now;
        true
    }

    /// What the patience with a lane should be, after a message came in of a generation that was given up as lost: it was not
    /// lost, it had `waited`. `None`: nothing is to be learned from it.
    pub fn came_late(&self, lane: u16, generation: u64, waited: TimeDelta) -> Option<u32> {
        let lane =
            self.lanes.get(usize::from(lane)).filter(|lane| lane.generation >= generation.saturating_add(LOST))?;
        let patience = patience_for(seconds(waited));
        (patience > lane.patience).then_some(patience)
    }

    /// Sets the patience with a lane.
    pub fn be_patient(&mut self, lane: u16, patience: u32) {
        if let Some(lane) = self.lanes.get_mut(usize::from(lane)) {
            lane.patience = patience;
        }
    }

    /// Forgets that messages waited long: somebody knows that they are lost.
    pub fn lose_patience(&mut self) {
        self.lanes.iter_mut().for_each(|lane| lane.patience = 0);
    }

    /// A lane's hand counts as dealt at `at` from now on. False: an older generation.
    pub fn renew(&mut self, lane: u16, generation: u64, at: DateTime<Utc>) -> bool {
        let Some(dealt) = self.current_mut(lane, generation) else { return false };
        dealt.at = at;
        true
    }

    /// A lane is to come back at `until`, by the SIS's word, so that it does not count as lost before. False: an older
    /// generation, or the SIS has said so too often in a row.
    pub fn postpone(&mut self, lane: u16, generation: u64, until: DateTime<Utc>) -> bool {
        let Some(dealt) = self.current(lane, generation).copied() else { return false };
        let index = dealt.listing.0 as usize;
        let most = MOST_WAITS * self.workers(index) as u32;
        let Some(listing) = self.listings.get_mut(index) else { return false };
        listing.waits += 1;
        listing.waits <= most && self.renew(lane, generation, until)
    }

    /// Every listing is fetched or given up.
    pub fn all_fetched(&self) -> bool {
        !self.listings.iter().any(Listing::is_open)
    }

    /// The last page of each listing that is fetched. Pages beyond do not count.
    pub fn extent(&self) -> Extent {
        let numbered = self.listings.iter().enumerate();
        let fetched = numbered.filter(|(_, listing)| listing.progress == Progress::Fetched);
        fetched.filter_map(|(number, listing)| Some((ListingNo(number as u32), listing.last_page?))).collect()
    }

    fn current(&self, lane: u16, generation: u64) -> Option<&Dealt> {
        self.lanes.get(usize::from(lane)).filter(|lane| lane.generation == generation)?.dealt.as_ref()
    }

    fn current_mut(&mut self, lane: u16, generation: u64) -> Option<&mut Dealt> {
        self.lanes.get_mut(usize::from(lane)).filter(|lane| lane.generation == generation)?.dealt.as_mut()
    }

    fn take(&mut self, lane: u16, generation: u64) -> Option<Dealt> {
        let dealt = self.current(lane, generation).copied()?;
        let lane = &mut self.lanes[usize::from(lane)];
        lane.dealt = None;
        // A hand that was begun without a message tells nothing of how long those wait.
        if lane.message.is_none() {
            lane.patience = patience_for(dealt.waited).max(lane.patience / 2);
        }
        Some(dealt)
    }

    fn give(&mut self, number: usize, dealt: Dealt) -> LaneMove {
        let listing = &mut self.listings[dealt.listing.0 as usize];
        dealt.range().for_each(|page| listing.take(page));
        let lane = &mut self.lanes[number];
        lane.generation += 1;
        lane.dealt = Some(dealt);
        lane.message = None;
        LaneMove { lane: number as u16, generation: lane.generation }
    }

    /// How many pages from `page` on make the next hand of a listing. Where its end is known, a hand is a lane's share of
    /// the board's last pages, so that all lanes end about together; where not, a whole hand only while the other lanes
    /// have listings of their own: what lies beyond the end is asked for in vain.
    fn hand(&self, index: usize, page: u32) -> u32 {
        let listing = &self.listings[index];
        if !listing.deals_hands() {
            return 1;
        }
        let share = (self.remaining() / self.lanes.len() as u32).clamp(1, LARGEST_HAND);
        if page != listing.next_page {
            return share.min(listing.given_back_from(page));
        }
        let (remaining, unknown_end) = listing.remaining();
        if !unknown_end {
            return share.min(remaining.max(1));
        }
        let others = self.listings.iter().filter(|other| other.is_open()).count();
        if self.workers(index) == 0 && others > self.lanes.len() { LARGEST_HAND } else { 1 }
    }

    /// Pages left of all listings, as far as is known.
    fn remaining(&self) -> u32 {
        let open = self.listings.iter().filter(|listing| listing.is_open());
        open.map(|listing| listing.remaining().0).fold(0, u32::saturating_add)
    }

    fn workers(&self, listing: usize) -> usize {
        let dealt = self.lanes.iter().filter_map(|lane| lane.dealt);
        dealt.filter(|dealt| dealt.listing.0 as usize == listing).count()
    }

    /// Listings nobody works on first, opened before unopened; then those whose end is known, the longest first; a
    /// second lane on a listing of unknown end, which may ask beyond it, comes last.
    fn next_work(&self) -> Option<(usize, u32)> {
        let offers = self.listings.iter().enumerate().filter_map(|(index, listing)| {
            let workers = self.workers(index);
            let page = listing.offer(workers)?;
            let (remaining, unknown_end) = listing.remaining();
            let unopened = listing.progress == Progress::Waiting;
            Some(((workers.min(1), unopened, unknown_end, workers, Reverse(remaining), index), page))
        });
        offers.min().map(|((.., index), page)| (index, page))
    }

    /// Frees lanes whose page no longer matters, and ends the listing where nothing is left.
    fn settle(&mut self, index: usize) {
        let dealt = self.lanes.iter().filter_map(|lane| lane.dealt);
        let out = dealt.filter(|dealt| dealt.listing.0 as usize == index).map(|dealt| dealt.page.0).min();
        self.listings[index].judge_repeated(out);
        let listing = &self.listings[index];
        let last = if listing.is_open() { listing.last_page.unwrap_or(u32::MAX) } else { 0 };
        for lane in &mut self.lanes {
            lane.dealt = lane.dealt.filter(|dealt| dealt.listing.0 as usize != index || dealt.page.0 <= last);
        }
        let workers = self.workers(index);
        self.listings[index].settle(workers);
    }

    /// The page came in, and belongs to the listing as far as is known.
    fn is_fetched(&self, number: ListingNo, page: u32) -> bool {
        let Some(listing) = self.listings.get(number.0 as usize) else { return false };
        let known = matches!(listing.progress, Progress::Open | Progress::Fetched)
            && page < listing.next_page
            && listing.last_page.is_none_or(|last| page <= last)
            && !listing.again.contains(&page)
            && !listing.errors.contains_key(&page);
        known
            && !self
                .lanes
                .iter()
                .filter_map(|lane| lane.dealt)
                .any(|dealt| dealt.listing == number && dealt.range().contains(&page))
    }
}

/// Twice as long as one waited: the next may wait somewhat longer.
fn patience_for(waited: u32) -> u32 {
    waited.saturating_mul(2).min(LONGEST_PATIENCE)
}

/// Whole seconds of a wait; 0 where a clock was set back.
fn seconds(wait: TimeDelta) -> u32 {
    u32::try_from(wait.num_seconds()).unwrap_or_default()
}
