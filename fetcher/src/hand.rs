//! Fetching the pages of a lane's hand, one after another.
//!
//! Role: asks, and makes of each answer what the classifier gets. Neighbours: [`crate::handler`] tells the board and
//! publishes.
//!
//! Invariants: one request at a time; nothing is asked for beyond a page that announces the end; a hand takes a few
//! seconds at most, or one page, and holds a bounded number of bytes: what there was no time or room for is given back.

use std::time::Duration;

use rollcall_proto::{
    clock::Clock,
    id::{ConnectionNo, PageNo},
    message, packed,
};
use rollcall_store::board::{Dealt, Listing, PageFacts};
use tokio::time::Instant;

use crate::{
    error::{FetchError, SisError},
    sis::{self, Source},
};

/// A compressed body larger than this lies in the store, and the message refers to it.
pub(crate) const LARGEST_IN_MESSAGE: usize = 4 << 20;

/// No further page is asked for after this long: at the end of a pull the other lanes wait for the last hand.
const LONGEST: Duration = Duration::from_millis(900);

/// No further page is asked for with more compressed bytes than this in hand.
const FULL: usize = LARGEST_IN_MESSAGE;

/// See the module.
pub(crate) struct Hand<'a> {
    pub(crate) source: &'a dyn Source,
    pub(crate) connection: ConnectionNo,
    pub(crate) listing: &'a Listing,
    pub(crate) dealt: Dealt,
    pub(crate) clock: &'a dyn Clock,
}

/// A page, and what it tells about its listing.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) page: message::Page,
    pub(crate) facts: PageFacts,
}

/// What came of a hand: its first pages, and what was wrong with the next one.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    pub(crate) pages: Vec<Fetched>,
    pub(crate) trouble: Option<SisError>,
}

impl Hand<'_> {
    /// Fetches as much of the hand as there is time and room for, and one page at least.
    pub(crate) async fn walk(&self) -> Result<Walked, FetchError> {
        let began = Instant::now();
        let mut walked = Walked::default();
        let mut bytes = 0;
        for number in self.dealt.range() {
            let fetched = match self.fetch(PageNo(number)).await? {
                Ok(fetched) => fetched,
                Err(error) => return Ok(Walked { trouble: Some(error), ..walked }),
            };
            bytes += fetched.page.body.as_ref().map_or(0, bytes::Bytes::len);
            let over = fetched.facts.last || fetched.facts.past_end;
            walked.pages.push(fetched);
            if over || bytes > FULL || began.elapsed() > LONGEST {
                break;
            }
        }
        Ok(walked)
    }

    async fn fetch(&self, number: PageNo) -> Result<Result<Fetched, SisError>, FetchError> {
        let asked_at = self.clock.now();
        let began = Instant::now();
        let sis::Fetched { reply, facts } = match self.source.page(self.listing, number).await {
            Ok(fetched) => fetched,
            Err(error) => return Ok(Err(error)),
        };
        let took = began.elapsed();
        let body = packed::compress(&reply.body).map_err(FetchError::Compress)?;
        let page = message::Page {
            connection: self.connection,
            listing: self.dealt.listing,
            page: number,
            status: reply.status,
            asked_at,
            took_ms: u32::try_from(took.as_millis()).unwrap_or(u32::MAX),
            content_type: reply.content_type,
            body_bytes: reply.body.len() as u64,
            body: Some(body.into()),
        };
        Ok(Ok(Fetched { page, facts }))
    }
}
