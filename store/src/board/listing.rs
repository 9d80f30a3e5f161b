//! One listing of a board: what it has to give to a lane, and what a page tells about it.

use super::{Ask, Listing, PageFacts, Progress};

/// A listing longer than this is a source that never ends.
pub(super) const MOST_PAGES: u32 = 50_000;

/// Pages that are remembered to tell a source that serves a few of them in turns, for ever.
const REMEMBERED: usize = 16;

impl Listing {
    pub(super) fn new(ask: Ask) -> Self {
        Self {
            ask,
            progress: Progress::Waiting,
            page_size: 0,
            random_access: false,
            next_page: 1,
            again: Vec::new(),
            last_page: None,
            cursor: None,
            by_cursor: false,
            total: None,
            fetched: 0,
            expected_pages: None,
            expected_page_size: 0,
            errors: std::collections::BTreeMap::new(),
            last_digest: None,
            digests: Vec::new(),
            repeated: None,
            waits: 0,
            aside: false,
            hollow: std::collections::BTreeSet::new(),
            told_end: None,
            short: None,
        }
    }

    /// Neither fetched nor given up.
    pub fn is_open(&self) -> bool {
        matches!(self.progress, Progress::Waiting | Progress::Opening | Progress::Open)
    }

    /// Several pages in a row may be dealt at once.
    pub(super) fn deals_hands(&self) -> bool {
        self.progress == Progress::Open && self.random_access && self.errors.is_empty()
    }

    /// The page that one more lane would get while `workers` lanes are at work on this listing.
    pub(super) fn offer(&self, workers: usize) -> Option<u32> {
        match self.progress {
            Progress::Waiting => (workers == 0).then_some(1),
            Progress::Open if workers == 0 || self.random_access => self.offer_open(workers),
            _ => None,
        }
    }

    fn offer_open(&self, workers: usize) -> Option<u32> {
        let ceiling = self.ceiling();
        let again = self.again.iter().copied().filter(|page| *page <= ceiling).min();
        again.or_else(|| {
            let expected = self.expected_pages.is_none_or(|expected| self.next_page <= expected);
            // Past what the total makes expect one lane goes alone, and only because no page announced the end.
            (self.next_page <= ceiling && (expected || workers == 0)).then_some(self.next_page)
        })
    }

    /// The highest page worth asking for.
    fn ceiling(&self) -> u32 {
        let before_error = self.errors.keys().next().map_or(u32::MAX, |page| page - 1);
        self.last_page.unwrap_or(u32::MAX).min(before_error)
    }

    /// Pages left as far as is known; the second part is true where the end is unknown.
    pub(super) fn remaining(&self) -> (u32, bool) {
        match self.last_page.or(self.expected_pages) {
            Some(last) => ((last + 1).saturating_sub(self.next_page), false),
            None => (0, true),
        }
    }

    /// `page` is now with a lane.
    pub(super) fn take(&mut self, page: u32) {
        self.again.retain(|other| *other != page);
        self.next_page = self.next_page.max(page + 1);
        if self.progress == Progress::Waiting {
            self.progress = Progress::Opening;
        }
    }

    /// `page` must be dealt again.
    pub(super) fn give_back(&mut self, page: u32) {
        if self.progress == Progress::Opening {
            self.restart();
        } else if page + 1 == self.next_page {
            self.next_page = page;
        } else if !self.again.contains(&page) {
            self.again.push(page);
        }
    }

    /// How many pages in a row from `page` on have been given back.
    pub(super) fn given_back_from(&self, page: u32) -> u32 {
        (page..self.next_page).take_while(|page| self.again.contains(page)).count() as u32
    }

    /// Begins anew with page 1.
    pub(super) fn restart(&mut self) {
        self.progress = Progress::Waiting;
        self.next_page = 1;
        self.again.clear();
        self.cursor = None;
        self.last_digest = None;
        self.digests.clear();
        self.repeated = None;
        self.hollow.clear();
        self.short = None;
    }

    /// Notes what `page` tells.
    pub(super) fn absorb(&mut self, page: u32, facts: &PageFacts) {
        self.waits = 0;
        self.fetched += 1;
        if self.progress == Progress::Opening {
            self.open(facts);
        }
        if facts.rows > 0 {
            self.hollow.remove(&page);
        }
        if facts.short {
            self.short = Some(self.short.map_or(page, |known| known.min(page)));
        }
        if facts.hollow {
            self.note_hollow(page);
        } else if facts.past_end {
            self.tell_end((page - 1).max(1));
        } else if facts.last {
            self.tell_end(page);
        }
        if !self.random_access {
            self.cursor.clone_from(&facts.cursor);
            self.by_cursor |= facts.cursor.is_some();
        }
        if let Some(reason) = self.endless(page, facts) {
            self.progress = Progress::Failed(reason);
        }
    }

    fn open(&mut self, facts: &PageFacts) {
        self.progress = Progress::Open;
        self.page_size = facts.rows;
        self.random_access = facts.random_access;
        self.total = facts.total;
        let before = self.expected_pages.map(|pages| i64::from(pages) * i64::from(self.expected_page_size));
        self.expected_pages = facts.total.or(before).and_then(|rows| pages_of(rows, facts.rows));
    }

    /// Expects as many pages as `before`, a listing of the same ask on an earlier run, had. Without this, lanes would
    /// learn where it ends only there, and share its pages one by one.
    pub(super) fn expect(&mut self, before: &Self) {
        if self.progress == Progress::Waiting && before.progress == Progress::Fetched && before.page_size > 0 {
            self.expected_pages = before.last_page;
            self.expected_page_size = before.page_size;
        }
    }

    fn tell_end(&mut self, page: u32) {
        self.told_end = Some(self.told_end.map_or(page, |known| known.min(page)));
        self.note_end(page);
    }

    /// The page behind decides: where it is as empty, this is how the source ends; where it holds rows, they are not to be lost.
    fn note_hollow(&mut self, page: u32) {
        self.hollow.insert(page);
        for first in [page.saturating_sub(1), page] {
            if self.hollow.contains(&first) && self.hollow.contains(&(first + 1)) {
                self.note_end(first.saturating_sub(1).max(1));
            }
        }
    }

    /// An empty page that announced more and is no end: there are rows behind it, or an end was told behind it.
    /// [`Listing::hollow_end`] tells of the others.
    pub fn hole(&self) -> Option<u32> {
        let last = self.last_page?;
        let inside = self.hollow.iter().copied().find(|page| *page < last);
        inside.or_else(|| self.hollow_end().filter(|_| self.told_end.is_some()))
    }

    /// The empty page, announcing more, by which alone it ended.
    pub fn hollow_end(&self) -> Option<u32> {
        let last = self.last_page.filter(|last| self.told_end != Some(*last))?;
        self.hollow.iter().copied().find(|page| *page > last || last == 1)
    }

    /// A page that came short though there were more, with rows behind it. That of the last one is no matter: it was looked behind,
    /// and what it announced is not there, as where a source always announces more.
    pub fn gap(&self) -> Option<u32> {
        self.short.filter(|page| self.last_page.is_some_and(|last| *page < last))
    }

    /// The end is the lowest page that announces one.
    fn note_end(&mut self, page: u32) {
        let last = self.last_page.map_or(page, |known| known.min(page));
        self.last_page = Some(last);
        self.again.retain(|other| *other <= last);
        self.errors.retain(|other, _| *other <= last);
    }

    /// Why the source would never end: it serves one page again and again, or more pages than any district has. What lies beyond
    /// the end is not judged, whichever of two alike it is: there a source may serve its last page again. Pages that are served in
    /// turns are noted, see [`Listing::judge_repeated`].
    fn endless(&mut self, page: u32, facts: &PageFacts) -> Option<String> {
        let digest = facts.digest.filter(|_| facts.rows > 0)?;
        self.note_digest(page, digest);
        let before = self.last_digest.replace((page, digest));
        match before {
            Some((other, same))
                if other != page && same == digest && self.last_page.is_none_or(|last| page.max(other) <= last) =>
            {
                Some(format!("page-repeated: page {page} holds the same rows as page {other}"))
            }
            _ if page >= MOST_PAGES => Some(format!("endless: {MOST_PAGES} pages, and still no end")),
            _ => None,
        }
    }

    fn note_digest(&mut self, page: u32, digest: u64) {
        self.digests.retain(|(other, _)| *other != page);
        if let Some((other, _)) = self.digests.iter().find(|(_, same)| *same == digest) {
            let found = (page.max(*other), page.min(*other));
            self.repeated = Some(self.repeated.map_or(found, |known| known.min(found)));
        }
        self.digests.push((page, digest));
        if self.digests.len() > REMEMBERED {
            self.digests.remove(0);
        }
    }

    /// Fails a listing of which a page holds the rows of an earlier one. Only once all pages before it are in, of which none was the
    /// end: beyond the end a source may begin anew. `out` is the lowest page that a lane is at.
    pub(super) fn judge_repeated(&mut self, out: Option<u32>) {
        let Some((page, other)) = self.repeated.filter(|_| self.progress == Progress::Open) else { return };
        let wanted = self.again.iter().chain(self.errors.keys()).copied().chain(out).min();
        if wanted.is_none_or(|wanted| page < wanted) && self.last_page.is_none_or(|last| page <= last) {
            self.progress = Progress::Failed(format!("page-repeated: page {page} holds the same rows as page {other}"));
        }
    }

    /// Ends the listing when nobody works on it and nothing is left to ask for.
    pub(super) fn settle(&mut self, workers: usize) {
        if self.progress != Progress::Open || workers > 0 || self.offer(0).is_some() {
            return;
        }
        self.progress = match self.errors.pop_first() {
            Some((page, reason)) => Progress::Failed(format!("page {page}: {reason}")),
            None => Progress::Fetched,
        };
        self.digests.clear();
    }
}

/// Pages that `total` rows fill; `None` where that makes no sense.
fn pages_of(total: i64, page_size: u32) -> Option<u32> {
    let size = i64::from(page_size);
    if size == 0 || total < 1 {
        return None;
    }
    u32::try_from((total + size - 1) / size).ok().filter(|pages| *pages <= MOST_PAGES)
}
