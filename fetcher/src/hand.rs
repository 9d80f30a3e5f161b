//! Fetching the pages of a lane's hand, one after another.
//!
//! Role: asks, and makes of each answer what the classifier gets, or tells that it is what the run before got. Neighbours:
//! [`crate::handler`] tells the board and publishes.
//!
//! Invariants: one request at a time, and none is waited for beyond a unit of work; nothing is asked for beyond a page that announces the end; a hand takes a few
//! seconds at most, or one page, and holds a bounded number of bytes: what there was no time or room for is given back. What
//! takes of the process's room for large answers ends the hand, so that nobody asks for more with such a one in hand.
//! An unchanged page keeps its body until the store has noted it: should the earlier page be gone, it is carried after
//! all.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use rollcall_proto::{
    clock::Clock,
    id::{ConnectionNo, PageNo},
    message, packed,
};
use rollcall_store::{
    Earlier, PageDigester, Unchanged,
    board::{Dealt, Listing, PageFacts, Told},
    district::SisKind,
};
use tokio::time::{Instant, timeout_at};

use crate::{
    error::{FetchError, SisError},
    net::{Http, Reply, room::Taken},
    sis::Source,
};

/// A compressed body larger than this lies in the store, and the message refers to it.
pub(crate) const LARGEST_IN_MESSAGE: usize = 4 << 20;

/// No further page is asked for after this long: at the end of a pull the other lanes wait for the last hand.
const LONGEST: Duration = Duration::from_millis(900);

/// No further page is asked for with more bytes than this in hand: compressed ones, and those of unchanged pages.
const FULL: usize = LARGEST_IN_MESSAGE;

/// See the module.
pub(crate) struct Hand<'a> {
    pub(crate) source: &'a dyn Source,
    pub(crate) connection: ConnectionNo,
    pub(crate) listing: &'a Listing,
    pub(crate) dealt: Dealt,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) before: Before<'a>,
    /// A page that is not there by then is asked for again.
    pub(crate) ends_at: Instant,
    /// Who knows how much room there is.
    pub(crate) http: &'a Http,
}

/// What is known of the hand's pages before they are asked for.
#[derive(Clone, Copy)]
pub(crate) struct Before<'a> {
    pub(crate) earlier: &'a Earlier,
    pub(crate) digester: &'a PageDigester,
    pub(crate) sis: SisKind,
}

/// A page, and what it tells about its listing.
#[derive(Debug)]
pub(crate) struct Fetched {
    /// As the classifier gets it; without its body where it is unchanged.
    pub(crate) page: message::Page,
    pub(crate) facts: PageFacts,
    pub(crate) unchanged: Option<Same>,
    /// What it takes of the process's room, until it is handed in.
    pub(crate) room: Taken,
}

/// A page as the run before got it.
#[derive(Debug)]
pub(crate) struct Same {
    digest: [u8; 16],
    /// Not compressed.
    body: Bytes,
}

impl Fetched {
    /// What the store notes of the page where it is unchanged.
    pub(crate) fn note(&self) -> Option<Unchanged> {
        let same = self.unchanged.as_ref()?;
        let (asked_at, took_ms) = (self.page.asked_at, self.page.took_ms);
        Some(Unchanged { page: self.page.page, digest: same.digest, asked_at, took_ms })
    }

    /// Bytes of its body that are in memory.
    fn held(&self) -> usize {
        let packed = self.page.body.as_ref().map_or(0, Bytes::len);
        packed + self.unchanged.as_ref().map_or(0, |same| same.body.len())
    }

    /// The page with its body, unchanged or not.
    pub(crate) fn carried(self) -> Result<message::Page, FetchError> {
        let body = match self.unchanged {
            Some(same) => Some(pack(&same.body)?),
            None => self.page.body,
        };
        Ok(message::Page { body, ..self.page })
    }
}

fn pack(body: &[u8]) -> Result<Bytes, FetchError> {
    packed::compress(body).map(Bytes::from).map_err(FetchError::Compress)
}

/// Whether the SIS has answered, and with what is no page.
const fn is_unread(error: &SisError) -> bool {
    matches!(error, SisError::NotJson { .. } | SisError::Unreadable { .. })
}

/// What came of a hand: its first pages, and what was wrong with the next one.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    pub(crate) pages: Vec<Fetched>,
    pub(crate) trouble: Option<Trouble>,
}

/// What was wrong with a page.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub(crate) error: SisError,
    /// The answer, where there is one that cannot be read: a page like any other, for whoever keeps it.
    pub(crate) unread: Option<message::Page>,
    /// What that takes of the process's room.
    pub(crate) room: Taken,
}

impl From<SisError> for Trouble {
    fn from(error: SisError) -> Self {
        Self { error, unread: None, room: Taken::default() }
    }
}

impl Hand<'_> {
    /// Fetches as much of the hand as there is time and room for, and one page at least.
    pub(crate) async fn walk(&self) -> Result<Walked, FetchError> {
        let began = self.clock.now();
        let mut walked = Walked::default();
        let mut bytes = 0;
        for number in self.dealt.range() {
            let mut fetched = match timeout_at(self.ends_at, self.fetch(PageNo(number))).await {
                Ok(Ok(Ok(fetched))) => fetched,
                Ok(Ok(Err(trouble))) => return Ok(Walked { trouble: Some(trouble), ..walked }),
                Ok(Err(error)) => return Err(error),
                Err(_) => return Ok(Walked { trouble: Some(self.out_of_time(number).into()), ..walked }),
            };
            bytes += fetched.held();
            let hollow = |page: Option<&Fetched>| page.is_some_and(|page| page.facts.hollow);
            let hollows = fetched.facts.hollow && hollow(walked.pages.last());
            let over = fetched.facts.last || fetched.facts.past_end || hollows;
            let has_room = self.keeps(&mut fetched);
            walked.pages.push(fetched);
            if over || bytes > FULL || !has_room || self.is_over(began) {
                break;
            }
        }
        Ok(walked)
    }

    fn out_of_time(&self, number: u32) -> SisError {
        SisError::OutOfTime { what: format!("{} page {number}", self.listing.ask.resource) }
    }

    /// Takes room for what is kept of the page. False: nothing is to be asked for with it in hand.
    fn keeps(&self, fetched: &mut Fetched) -> bool {
        let kept = if fetched.room.is_large() { None } else { self.http.keep(fetched.held()) };
        let has_room = kept.is_some();
        fetched.room = kept.unwrap_or_else(|| std::mem::take(&mut fetched.room));
        has_room
    }

    /// A clock that was set back tells nothing: what is left is given back.
    fn is_over(&self, began: DateTime<Utc>) -> bool {
        !(self.clock.now() - began).to_std().is_ok_and(|so_far| so_far <= LONGEST)
    }

    async fn fetch(&self, number: PageNo) -> Result<Result<Fetched, Trouble>, FetchError> {
        let asked_at = self.clock.now();
        let began = Instant::now();
        let reply = match self.source.page(self.listing, number).await {
            Ok(reply) => reply,
            Err(error) => return Ok(Err(error.into())),
        };
        let took_ms = u32::try_from(began.elapsed().as_millis()).unwrap_or(u32::MAX);
        let unchanged = self.unchanged(number, &reply.body);
        let reading = self.source.reading(self.listing, number);
        let facts = self.facts(number, reading.filter(|_| unchanged.is_some()), &reply);
        let mut page = message::Page {
            connection: self.connection,
            listing: self.dealt.listing,
            page: number,
            status: reply.status,
            asked_at,
            took_ms,
            content_type: reply.content_type,
            body_bytes: reply.body.len() as u64,
            body: None,
            told: None,
        };
        let facts = match facts {
            Ok(facts) => facts,
            Err(error) => {
                page.body = is_unread(&error).then(|| pack(&reply.body)).transpose()?;
                let unread = Some(page).filter(|page| page.body.is_some());
                return Ok(Err(Trouble { error, unread, room: reply.room }));
            }
        };
        if unchanged.is_none() {
            // What an unchanged page told lies in the store already.
            let told = reading.map(|reading| Told { reading, facts: facts.clone() }.to_bytes()).transpose()?;
            page.told = told.map(Bytes::from);
            page.body = Some(pack(&reply.body)?);
        }
        Ok(Ok(Fetched { page, facts, unchanged, room: reply.room }))
    }

    /// What the page tells; it is not read where it is `unchanged` and was read in the same way before.
    fn facts(&self, number: PageNo, unchanged: Option<u64>, reply: &Reply) -> Result<PageFacts, SisError> {
        match unchanged.and_then(|reading| self.before.earlier.facts(number, reading)) {
            Some(facts) => Ok(facts.clone()),
            None => self.source.facts(self.listing, number, reply),
        }
    }

    fn unchanged(&self, number: PageNo, body: &Bytes) -> Option<Same> {
        let Before { earlier, digester, sis } = self.before;
        earlier.run?;
        let digest = digester.of(sis, (&self.listing.ask.resource, &self.listing.ask.fields), body);
        earlier.is_same(number, &digest).then(|| Same { digest, body: body.clone() })
    }
}

#[cfg(test)]
#[path = "hand_tests.rs"]
mod tests;
