//! Collecting: a raw page is decoded and stored once, with its fragments. Pages that wait together go in one transaction.
//!
//! Invariants: a page is stored also when it does not decode, and then its message is parked with where it failed, so
//! that a replay finds it; a parked page never hangs its run, which goes on as partial. Where decoding or storing it fails for
//! good, it is stored as one that nobody could read; where not even that can be, its connection's pull is given up.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use moka::future::Cache;
use rollcall_proto::{
    handler::{Fate, Handler, Retry, of_run},
    id::{ConnectionNo, RunId},
    message::{Body, Message, Page},
    packed,
    telemetry::metric,
};
use rollcall_store::{
    PageDigester, StoreError,
    board::Listing,
    district::SisKind,
    page::NewPage,
    replay::{PageReading, StoredPage},
};
use tracing::Instrument as _;

use crate::{
    context::{Context, RunKey},
    decode::{DecodeClass, DecodeError, Decoded, decode},
    error::ClassifierError,
    fingerprint,
    parallel::apart,
};

/// Reason code of a page that does not decode.
pub const PAGE_UNDECODABLE: &str = "page-undecodable";

/// Largest page, decompressed: a page that claims more is no page.
const LARGEST_PAGE: usize = 1 << 30;

/// Pages decoded and stored together at most.
const TOGETHER: usize = 8;

/// How long it is remembered what a run asks for, and for how many connections.
const REMEMBERED: Duration = Duration::from_mins(10);
const MOST_REMEMBERED: u64 = 1_000;

/// Handles the collect queue.
#[derive(Debug)]
pub struct CollectHandler {
    context: Context,
    /// By run and connection. Listings are added to a board, never changed.
    asked: Cache<(RunId, ConnectionNo), Arc<Asked>>,
}

/// What a connection's pull asks for.
#[derive(Debug)]
struct Asked {
    sis: SisKind,
    listings: Vec<AskedFor>,
}

/// What a listing asks for.
#[derive(Debug, Clone)]
struct AskedFor {
    resource: String,
    fields: Vec<String>,
    /// Asked for by id, at the second look.
    by_id: bool,
}

/// What to decode, and how.
struct Job {
    sis: SisKind,
    /// By id, 404 is an answer: gone.
    asked: AskedFor,
    status: u16,
    compressed: Bytes,
}

/// What became of it: the page, or why there is none, and the digest to tell repeated pages by.
struct Read {
    outcome: Result<Decoded, DecodeError>,
    digest: [u8; 16],
    /// What the next run tells an unchanged page by.
    body_digest: Option<[u8; 16]>,
}

/// The pages of one run in a group of messages, each with its place in the group.
struct OfRun<'m> {
    message: &'m Message,
    pages: Vec<(usize, &'m Page)>,
}

impl CollectHandler {
    /// A handler.
    pub fn new(context: Context) -> Self {
        let asked = Cache::builder().time_to_idle(REMEMBERED).max_capacity(MOST_REMEMBERED).build();
        Self { context, asked }
    }

    /// Collects pages of one run; a fate for each.
    async fn collect(&self, message: &Message, pages: &[&Page]) -> Result<Vec<Fate>, ClassifierError> {
        let mut fates = vec![Fate::Done; pages.len()];
        let (mut jobs, mut places) = (Vec::with_capacity(pages.len()), Vec::with_capacity(pages.len()));
        for (place, page) in pages.iter().enumerate() {
            if let Some(job) = self.job(message, page).await? {
                jobs.push(job);
                places.push(place);
            }
        }
        let digester = self.context.store.page_digester(&message.district);
        let read_all = move || jobs.iter().map(|job| read(job, Some(&digester))).collect::<Vec<_>>();
        let reads = apart(read_all).await?;
        let mut new_pages = Vec::with_capacity(reads.len());
        for (place, read) in places.into_iter().zip(reads) {
            if let Err(error) = &read.outcome {
                fates[place] = undecodable(pages[place], error);
            }
            new_pages.push(self.new_page(pages[place], read));
        }
        let run = (&message.district, message.run);
        let saved = match self.context.store.save_pages(run.0, run.1, &new_pages).await {
            Ok(saved) => saved,
            Err(error) => {
                // It may have been erased since it was looked up what the run asks for.
                self.context.store.run(run.0, run.1).await?;
                return Err(error.into());
            }
        };
        count(&new_pages);
        if saved.pulls_over && self.context.advance(run).await? {
            self.context.ask_to_plan(run, Some(message)).await?;
        }
        Ok(fates)
    }

    /// `None`: nobody waits for the page any more.
    async fn job(&self, message: &Message, page: &Page) -> Result<Option<Job>, ClassifierError> {
        let Some(asked) = self.asked(message, page).await? else { return Ok(None) };
        let Some(listing) = asked.listings.get(page.listing.0 as usize).cloned() else { return Ok(None) };
        let compressed = self.body(message, page).await?;
        Ok(Some(Job { sis: asked.sis, asked: listing, status: page.status, compressed }))
    }

    /// Which SIS the page is of, and what its listings ask for; looked up again for a listing that is not known yet.
    async fn asked(&self, message: &Message, page: &Page) -> Result<Option<Arc<Asked>>, ClassifierError> {
        let key = (message.run, page.connection);
        if let Some(known) = self.asked.get(&key).await.filter(|known| known.listings.len() > page.listing.0 as usize) {
            return Ok(Some(known));
        }
        let store = &self.context.store;
        let Some(board) = store.board(&message.district, message.run, page.connection).await? else { return Ok(None) };
        let district = store.district(&message.district).await?;
        let Some(sis) = sis_of(&district.connections, page.connection) else { return Ok(None) };
        let listing = |Listing { ask, .. }: Listing| AskedFor {
            by_id: ask.ids.is_some(),
            resource: ask.resource,
            fields: ask.fields,
        };
        let listings = board.listings.into_iter().map(listing).collect();
        let asked = Arc::new(Asked { sis, listings });
        self.asked.insert(key, Arc::clone(&asked)).await;
        Ok(Some(asked))
    }

    async fn body(&self, message: &Message, page: &Page) -> Result<Bytes, ClassifierError> {
        if let Some(body) = &page.body {
            return Ok(body.clone());
        }
        let place = (page.connection, page.listing, page.page);
        let stored = self.context.store.raw_page(&message.district, message.run, place.0, place.1, place.2).await?;
        stored.map(Bytes::from).ok_or(ClassifierError::RawMissing)
    }

    /// Accounts for a page that could not be decoded or stored for good, so that it is not fetched again and again. False: that
    /// is known of it already, it came in meanwhile, or nobody waits for it.
    async fn give_up(&self, message: &Message, page: &Page, reason: &str) -> Result<bool, ClassifierError> {
        let (store, run) = (&self.context.store, (&message.district, message.run));
        let asked = self.asked(message, page).await?;
        if asked.is_none_or(|asked| asked.listings.len() <= page.listing.0 as usize) {
            return Ok(false);
        }
        let noted = match self.store_lost(run, self.lost_page(page, reason)).await {
            Ok(stored) => stored,
            Err(error) if error.is_of_the_database() => return Err(error.into()),
            Err(_) => {
                // It may have been erased.
                store.run(run.0, run.1).await?;
                tracing::warn!(district = %run.0, run = %run.1, connection = %page.connection, reason, "a connection's pull is given up");
                store.fail_pull(run.0, run.1, page.connection, reason).await?;
                true
            }
        };
        if self.context.advance(run).await? {
            self.context.ask_to_plan(run, Some(message)).await?;
        }
        Ok(noted)
    }

    /// Stores a page that nobody could read; without its body where it is that which the database refuses. False: it was there
    /// already.
    async fn store_lost(&self, (district, run): RunKey<'_>, page: NewPage) -> Result<bool, StoreError> {
        match self.context.store.save_page(district, run, &page).await {
            Err(error) if !error.is_of_the_database() => {
                self.context.store.save_page(district, run, &NewPage { raw: None, ..page }).await
            }
            done => done,
        }
    }

    /// A page that nobody could read, whatever is in it.
    fn lost_page(&self, page: &Page, reason: &str) -> NewPage {
        // No two pages of a listing are alike by it.
        let digest = fingerprint::digest(&[page.listing.0.to_be_bytes(), page.page.0.to_be_bytes()].concat()).0;
        let outcome = Err(DecodeError::whole(DecodeClass::Empty));
        let read = Read { outcome, digest, body_digest: None };
        NewPage { error: Some(reason.to_owned()), ..self.new_page(page, read) }
    }

    fn new_page(&self, page: &Page, Read { outcome, digest, body_digest }: Read) -> NewPage {
        let error = outcome.as_ref().err().map(ToString::to_string);
        let decoded = outcome.ok();
        NewPage {
            connection: page.connection,
            listing: page.listing,
            page: page.page,
            status: page.status,
            raw: page.body.as_ref().map(|body| body.to_vec()),
            rows: decoded.as_ref().map_or(0, |decoded| i64::from(decoded.tally.rows)),
            claimed_total: decoded.as_ref().and_then(|decoded| decoded.claimed_total),
            fragments: decoded.map(|decoded| decoded.fragments).unwrap_or_default(),
            digest,
            body_digest,
            told: page.told.as_ref().map(|told| told.to_vec()),
            error,
            asked_at: page.asked_at,
            took_ms: page.took_ms,
            collected_at: self.context.clock.now(),
        }
    }
}

fn count(pages: &[NewPage]) {
    for page in pages {
        let outcome = if page.error.is_some() { "undecodable" } else { "decoded" };
        metrics::counter!(metric::PAGES, "outcome" => outcome).increment(1);
        metrics::counter!(metric::PAGE_ROWS).increment(page.rows.unsigned_abs());
    }
}

fn undecodable(page: &Page, error: &DecodeError) -> Fate {
    let (connection, listing, number) = (page.connection, page.listing.0, page.page.0);
    Fate::park(PAGE_UNDECODABLE, format!("connection {connection}, listing {listing}, page {number}: {error}"))
}

fn sis_of(connections: &[rollcall_store::district::Connection], number: ConnectionNo) -> Option<SisKind> {
    connections.get(usize::from(number.0)).map(|connection| connection.kind)
}

/// `digester`: where the next run may find the page unchanged.
fn read(job: &Job, digester: Option<&PageDigester>) -> Read {
    if job.asked.by_id && job.status == 404 {
        return Read { outcome: Ok(Decoded::nothing()), digest: Decoded::nothing().digest, body_digest: None };
    }
    match open(job) {
        Err(error) => Read { outcome: Err(error), digest: fingerprint::digest(&job.compressed).0, body_digest: None },
        Ok(body) => {
            let AskedFor { resource, fields, by_id } = &job.asked;
            let outcome = decode(job.sis, resource, fields, &body);
            let digest = outcome.as_ref().map_or_else(|_| fingerprint::digest(&body).0, |decoded| decoded.digest);
            let digester = digester.filter(|_| outcome.is_ok() && !by_id);
            let body_digest = digester.map(|digester| digester.of(job.sis, (resource, fields), &body));
            Read { outcome, digest, body_digest }
        }
    }
}

/// Reads a page out of the store again.
pub(crate) fn read_again(page: &StoredPage<'_>) -> PageReading {
    let asked = AskedFor { resource: page.resource.to_owned(), fields: page.fields.to_vec(), by_id: page.by_id };
    let job = Job { sis: page.sis, asked, status: page.status, compressed: Bytes::copy_from_slice(page.raw) };
    let Read { outcome, digest, .. } = read(&job, None);
    let error = outcome.as_ref().err().map(ToString::to_string);
    let decoded = outcome.ok();
    PageReading {
        rows: decoded.as_ref().map_or(0, |decoded| i64::from(decoded.tally.rows)),
        claimed_total: decoded.as_ref().and_then(|decoded| decoded.claimed_total),
        fragments: decoded.map(|decoded| decoded.fragments).unwrap_or_default(),
        digest,
        error,
    }
}

fn open(job: &Job) -> Result<Vec<u8>, DecodeError> {
    if !(200..300).contains(&job.status) {
        return Err(DecodeError::whole(DecodeClass::Status(job.status)));
    }
    packed::decompress(&job.compressed, LARGEST_PAGE).map_err(|_| DecodeError::whole(DecodeClass::Compression))
}

#[async_trait]
impl Handler for CollectHandler {
    async fn handle(&self, message: Message) -> Fate {
        let Body::Page(page) = &message.body else {
            return Fate::park("wrong-queue", "not a page");
        };
        match self.collect(&message, &[page]).await {
            Ok(mut fates) => fates.pop().unwrap_or(Fate::Done),
            Err(ClassifierError::RawMissing) if message.attempt < 3 => {
                Fate::retry("raw-page-missing", "the stashed page is not there yet", Duration::from_secs(5))
            }
            Err(error) => error.fate(),
        }
    }

    fn together(&self) -> usize {
        TOGETHER
    }

    async fn handle_together(&self, messages: Vec<Message>) -> Option<Vec<Fate>> {
        let mut fates = vec![Fate::Done; messages.len()];
        for OfRun { message, pages } in by_run(&messages)? {
            let (places, pages): (Vec<_>, Vec<_>) = pages.into_iter().unzip();
            let collected = match self.collect(message, &pages).instrument(of_run(message)).await {
                Ok(collected) => collected,
                // Whatever is away is away for each of them.
                Err(error) => vec![error.fate().if_waiting()?; pages.len()],
            };
            places.into_iter().zip(collected).for_each(|(place, fate)| fates[place] = fate);
        }
        Some(fates)
    }

    /// Where the page is not to blame, its message is let go and not parked: the fetcher's reconciler deals the page again for
    /// as long as it is not in.
    async fn exhausted(&self, message: Message, retry: Retry) -> Fate {
        let Body::Page(page) = &message.body else {
            return Fate::park("wrong-queue", "not a page");
        };
        let reason = format!("{}: {}", retry.reason, retry.detail);
        let error = match self.give_up(&message, page, &reason).await {
            Ok(true) => return Fate::park(retry.reason, retry.detail),
            Ok(false) => return Fate::Done,
            Err(error) => error,
        };
        match error.fate() {
            Fate::Retry(again) if !again.free && error.is_of_the_database() => {
                let why = again.detail;
                tracing::error!(
                    why,
                    "a page cannot be stored, whatever is in it; it is fetched again for as long as that is so"
                );
                Fate::Done
            }
            fate => fate.or_park(Fate::park(retry.reason, retry.detail)),
        }
    }
}

/// `None`: not all of them are pages.
fn by_run(messages: &[Message]) -> Option<Vec<OfRun<'_>>> {
    let mut runs: Vec<OfRun<'_>> = Vec::new();
    for (place, message) in messages.iter().enumerate() {
        let Body::Page(page) = &message.body else { return None };
        match runs.iter_mut().find(|of| of.message.run == message.run) {
            Some(of) => of.pages.push((place, page)),
            None => runs.push(OfRun { message, pages: vec![(place, page)] }),
        }
    }
    Some(runs)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn job(status: u16, body: &[u8]) -> Job {
        let compressed = zstd::bulk::compress(body, 1).unwrap().into();
        let asked = AskedFor { resource: "SkySys/State".to_owned(), fields: Vec::new(), by_id: false };
        Job { sis: SisKind::SkywardQmlativ, asked, status, compressed }
    }

    #[test]
    fn a_page_is_read() {
        let read = read(&job(200, br#"{"Objects":[{"StateID":1,"Code":"TX"}]}"#), None);
        assert_eq!(read.outcome.unwrap().tally.rows, 1);
    }

    #[test]
    fn a_404_is_an_answer_where_asked_by_id_alone() {
        let by_id = |job: Job| Job { asked: AskedFor { by_id: true, ..job.asked.clone() }, ..job };
        assert_eq!(read(&by_id(job(404, b"")), None).outcome.unwrap().tally.rows, 0);
        assert_eq!(read(&job(404, b""), None).outcome.unwrap_err().class, DecodeClass::Status(404));
        assert_eq!(read(&by_id(job(500, b"")), None).outcome.unwrap_err().class, DecodeClass::Status(500));
    }

    #[test]
    fn the_same_rows_have_the_same_digest_whatever_is_around_them() {
        let one = read(&job(200, br#"{"Paging":{"Next":"/2"},"Objects":[{"StateID":1,"Code":"TX"}]}"#), None);
        let two = read(&job(200, br#"{"Paging":{"Next":"/3"},"Objects":[{"Code":"TX","StateID":1}]}"#), None);
        let other = read(&job(200, br#"{"Objects":[{"StateID":2,"Code":"TX"}]}"#), None);
        assert_eq!(one.digest, two.digest);
        assert_ne!(one.digest, other.digest);
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let class = |job: &Job| read(job, None).outcome.unwrap_err().class;
        assert_eq!(class(&job(503, b"{}")), DecodeClass::Status(503));
        assert_eq!(class(&job(200, b"<html>")), DecodeClass::Html);
        let broken = Job { compressed: Bytes::from_static(b"not zstd"), ..job(200, b"") };
        assert_eq!(class(&broken), DecodeClass::Compression);
    }
}
