//! Collecting: a raw page is decoded and stored once, with its fragments.
//!
//! Invariants: a page is stored also when it does not decode, and then its message is parked with where it failed, so
//! that a replay finds it; a parked page never hangs its run, which goes on as partial.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rollcall_proto::{
    handler::{Fate, Handler},
    id::ConnectionNo,
    message::{Body, Message, Page},
};
use rollcall_store::{district::SisKind, page::NewPage};

use crate::{
    context::Context,
    decode::{DecodeClass, DecodeError, Decoded, decode},
    error::ClassifierError,
    fingerprint,
};

/// Reason code of a page that does not decode.
pub const PAGE_UNDECODABLE: &str = "page-undecodable";

/// Largest page, decompressed: a page that claims more is no page.
const LARGEST_PAGE: u64 = 1 << 30;

/// Handles the collect queue.
#[derive(Debug)]
pub struct CollectHandler {
    context: Context,
}

/// What to decode, and how.
struct Job {
    sis: SisKind,
    resource: String,
    status: u16,
    compressed: Bytes,
}

/// What became of it: the page, or why there is none, and the digest to tell repeated pages by.
struct Read {
    outcome: Result<Decoded, DecodeError>,
    digest: [u8; 16],
}

impl CollectHandler {
    /// A handler.
    pub const fn new(context: Context) -> Self {
        Self { context }
    }

    async fn collect(&self, message: &Message, page: &Page) -> Result<Fate, ClassifierError> {
        let Some((sis, resource)) = self.asked(message, page).await? else { return Ok(Fate::Done) };
        let compressed = self.body(message, page).await?;
        let job = Job { sis, resource, status: page.status, compressed };
        let read = tokio::task::spawn_blocking(move || read(&job)).await?;
        let new_page = self.new_page(page, &read);
        self.context.store.save_page(&message.district, message.run, &new_page).await?;
        let run = (&message.district, message.run);
        if self.context.advance(run).await? {
            self.context.ask_to_plan(run, Some(message)).await?;
        }
        Ok(match read.outcome {
            Ok(_) => Fate::Done,
            Err(error) => {
                let detail = format!(
                    "connection {}, listing {}, page {}: {error}",
                    page.connection, page.listing.0, page.page.0
                );
                Fate::park(PAGE_UNDECODABLE, detail)
            }
        })
    }

    /// Which SIS and resource the page is of. `None`: nobody waits for it any more.
    async fn asked(&self, message: &Message, page: &Page) -> Result<Option<(SisKind, String)>, ClassifierError> {
        let store = &self.context.store;
        let board = store.board(&message.district, message.run, page.connection).await?;
        let listing = board.as_ref().and_then(|board| board.listings.get(page.listing.0 as usize));
        let Some(listing) = listing else { return Ok(None) };
        let district = store.district(&message.district).await?;
        let sis = sis_of(&district.connections, page.connection);
        Ok(sis.map(|sis| (sis, listing.ask.resource.clone())))
    }

    async fn body(&self, message: &Message, page: &Page) -> Result<Bytes, ClassifierError> {
        if let Some(body) = &page.body {
            return Ok(body.clone());
        }
        let place = (page.connection, page.listing, page.page);
        let stored = self.context.store.raw_page(&message.district, message.run, place.0, place.1, place.2).await?;
        stored.map(Bytes::from).ok_or(ClassifierError::RawMissing)
    }

    fn new_page(&self, page: &Page, read: &Read) -> NewPage {
        let decoded = read.outcome.as_ref().ok();
        NewPage {
            connection: page.connection,
            listing: page.listing,
            page: page.page,
            status: page.status,
            raw: page.body.as_ref().map(|body| body.to_vec()),
            fragments: decoded.map(|decoded| decoded.fragments.clone()).unwrap_or_default(),
            rows: decoded.map_or(0, |decoded| i64::from(decoded.tally.rows)),
            digest: read.digest,
            claimed_total: decoded.and_then(|decoded| decoded.claimed_total),
            error: read.outcome.as_ref().err().map(ToString::to_string),
            asked_at: page.asked_at,
            took_ms: page.took_ms,
            collected_at: self.context.clock.now(),
        }
    }
}

fn sis_of(connections: &[rollcall_store::district::Connection], number: ConnectionNo) -> Option<SisKind> {
    connections.get(usize::from(number.0)).map(|connection| connection.kind)
}

fn read(job: &Job) -> Read {
    match open(job) {
        Err(error) => Read { outcome: Err(error), digest: fingerprint::digest(&job.compressed).0 },
        Ok(body) => {
            let outcome = decode(job.sis, &job.resource, &body);
            let digest = outcome.as_ref().map_or_else(|_| fingerprint::digest(&body).0, |decoded| decoded.digest);
            Read { outcome, digest }
        }
    }
}

fn open(job: &Job) -> Result<Vec<u8>, DecodeError> {
    use std::io::Read as _;
    if !(200..300).contains(&job.status) {
        return Err(DecodeError::whole(DecodeClass::Status(job.status)));
    }
    let broken = |_| DecodeError::whole(DecodeClass::Compression);
    let decoder = zstd::stream::Decoder::new(&job.compressed[..]).map_err(broken)?;
    let mut body = Vec::new();
    decoder.take(LARGEST_PAGE + 1).read_to_end(&mut body).map_err(broken)?;
    if body.len() as u64 > LARGEST_PAGE { Err(DecodeError::whole(DecodeClass::Compression)) } else { Ok(body) }
}

#[async_trait]
impl Handler for CollectHandler {
    async fn handle(&self, message: Message) -> Fate {
        let Body::Page(page) = &message.body else {
            return Fate::park("wrong-queue", "not a page");
        };
        match self.collect(&message, page).await {
            Ok(fate) => fate,
            // A run that was thrown away with its district has nobody waiting.
            Err(ClassifierError::Store(
                rollcall_store::StoreError::NoRun(_) | rollcall_store::StoreError::NoDistrict(_),
            )) => Fate::Done,
            Err(ClassifierError::RawMissing) if message.attempt < 3 => {
                Fate::retry("raw-page-missing", "the stashed page is not there yet", Duration::from_secs(5))
            }
            Err(error) => error.fate(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn job(status: u16, body: &[u8]) -> Job {
        let compressed = zstd::bulk::compress(body, 1).unwrap().into();
        Job { sis: SisKind::SkywardQmlativ, resource: "SkySys/State".to_owned(), status, compressed }
    }

    #[test]
    fn a_page_is_read() {
        let read = read(&job(200, br#"{"Objects":[{"StateID":1,"Code":"TX"}]}"#));
        assert_eq!(read.outcome.unwrap().tally.rows, 1);
    }

    #[test]
    fn the_same_rows_have_the_same_digest_whatever_is_around_them() {
        let one = read(&job(200, br#"{"Paging":{"Next":"/2"},"Objects":[{"StateID":1,"Code":"TX"}]}"#));
        let two = read(&job(200, br#"{"Paging":{"Next":"/3"},"Objects":[{"Code":"TX","StateID":1}]}"#));
        let other = read(&job(200, br#"{"Objects":[{"StateID":2,"Code":"TX"}]}"#));
        assert_eq!(one.digest, two.digest);
        assert_ne!(one.digest, other.digest);
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let class = |job: &Job| read(job).outcome.unwrap_err().class;
        assert_eq!(class(&job(503, b"{}")), DecodeClass::Status(503));
        assert_eq!(class(&job(200, b"<html>")), DecodeClass::Html);
        let broken = Job { compressed: Bytes::from_static(b"not zstd"), ..job(200, b"") };
        assert_eq!(class(&broken), DecodeClass::Compression);
    }
}
