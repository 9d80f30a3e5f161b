//! Skyward Qmlativ, Generic and Custom API (wire/skyward.md A and B).
//!
//! Role: finds grants and school years, and asks for pages. Which page comes next is not decided here: the board deals
//! page numbers, and every URL is built from its number; `Paging.Next` only tells whether there is more, so it cannot
//! lead anywhere.

mod discover;
pub mod objects;
mod page;
mod request;

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;
use futures_util::{FutureExt as _, future::try_join_all};
use rollcall_proto::id::PageNo;
use rollcall_store::{
    board::{Ask, Listing, PageFacts},
    district::SchoolYears,
};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::sync::Semaphore;

use self::{
    discover::{EntityRow, Grants, SystemMetadata, YearRow},
    objects::{ENTITY, Object, SCHOOL_YEAR, object},
    page::Asked,
};
use super::{Found, Source, body};
use crate::{
    error::SisError,
    net::{Reply, host_of},
    session::{Call, Session},
};

/// Version of what is told by a page. Raise it with every change of that: pages read before are then read anew.
const READING: u32 = 2;

/// Pages of a small table (entities, years) that discovery reads at most.
const SMALL_TABLE_PAGES: u32 = 100;

/// A connection to Qmlativ.
#[derive(Debug)]
pub struct Qmlativ {
    session: Session,
    years: SchoolYears,
    /// Grants found so far: a discovery that is interrupted (by a rate limit, say) goes on where it was.
    known: Mutex<Grants>,
}

impl Qmlativ {
    /// A connection; `years` says whether next year is pulled too.
    pub fn new(session: Session, years: SchoolYears) -> Self {
        Self { session, years, known: Mutex::default() }
    }

    /// The system's metadata: the connection test.
    pub(crate) async fn metadata(&self) -> Result<(Metadata, Reply), SisError> {
        let call = request::system_metadata(self.session.connection());
        let (metadata, reply) = self.read::<SystemMetadata>(&call).await?;
        Ok((Metadata(metadata), reply))
    }

    /// Fields granted of each wanted object, asked for as many at once as the connection has lanes.
    pub(crate) async fn grants(&self) -> Result<Granted, SisError> {
        self.grants_on(&self.lanes()).await
    }

    async fn grants_on(&self, lanes: &Semaphore) -> Result<Granted, SisError> {
        let connection = self.session.connection();
        let known = self.known();
        let unknown = discover::wanted(connection).filter(|object| !known.contains_key(object.resource));
        try_join_all(unknown.map(|object| on_a_lane(lanes, self.learn(object)).boxed())).await?;
        Ok(Granted(discover::judge_grants(connection, &self.known())))
    }

    /// As many questions at once as the connection has lanes.
    fn lanes(&self) -> Semaphore {
        Semaphore::new(usize::from(self.session.connection().lanes.max(1)))
    }

    async fn learn(&self, object: &'static Object) -> Result<(), SisError> {
        let fields = self.fields_of(object).await?;
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(object.resource, fields);
        Ok(())
    }

    fn known(&self) -> Grants {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn fields_of(&self, object: &Object) -> Result<Option<BTreeSet<String>>, SisError> {
        let connection = self.session.connection();
        let entity = connection.entities.first().copied().unwrap_or(1);
        let call = request::field_metadata(connection, entity, object.resource);
        match self.read(&call).await {
            Ok((fields, _)) => Ok(Some(discover::field_names(fields))),
            // An object that is not granted may be refused, unknown or not found; that is an answer too.
            Err(SisError::AccessRefused { .. } | SisError::Status { status: 400 | 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The school years to pull, and whose entities' current ones they are.
    ///
    /// A table without a row is a failed answer where it is granted: without the year before, everybody who withdrew in it would
    /// look as if they never had been there.
    pub(crate) async fn school_years(&self, metadata: &Metadata, granted: &Granted) -> Result<Placed, SisError> {
        let mut years: Vec<YearRow> = Vec::new();
        let mut entities: Vec<EntityRow> = Vec::new();
        let mut flagged = BTreeSet::new();
        for entity in &self.session.connection().entities {
            let own_years = self.small_table::<YearRow>(SCHOOL_YEAR, *entity, granted);
            let own_entities = self.small_table::<EntityRow>(ENTITY, *entity, granted);
            let (own_years, own_entities) = if self.session.connection().lanes > 1 {
                tokio::try_join!(own_years, own_entities)?
            } else {
                (own_years.await?, own_entities.await?)
            };
            flagged.extend(own_years.iter().any(|year| year.is_current).then_some(*entity));
            years.extend(own_years);
            entities.extend(own_entities);
        }
        for (resource, is_empty) in [(SCHOOL_YEAR, years.is_empty()), (ENTITY, entities.is_empty())] {
            if is_empty && granted.0.granted.contains_key(resource) {
                return Err(SisError::EmptyTable { what: resource.to_owned() });
            }
        }
        let found = discover::years_to_pull(&metadata.0, &years, &entities, self.years);
        if found.is_empty() {
            return Err(SisError::NoSchoolYear { host: host_of(&self.session.connection().base_url) });
        }
        Ok(Placed { years: found, entities: discover::placed(&entities, flagged) })
    }

    async fn small_table<T: DeserializeOwned>(
        &self,
        resource: &str,
        entity: i64,
        granted: &Granted,
    ) -> Result<Vec<T>, SisError> {
        // Not granted at all: the system's metadata names the current year.
        let Some(fields) = granted.0.granted.get(resource).cloned() else { return Ok(Vec::new()) };
        let ask = Ask { resource: resource.to_owned(), fields, entity: Some(entity), ..Ask::default() };
        let (mut rows, mut hollow) = (Vec::new(), false);
        for number in 1..=SMALL_TABLE_PAGES {
            let (number, size) = (PageNo(number), self.page_size());
            let (reply, what) = self.ask(&ask, number, size).await?;
            let facts = self.told(&what, number, size, &reply)?;
            let page: Rows<T> = serde_json::from_slice(page::json_of(&what, &reply)?)
                .map_err(|error| page::unreadable(&what, &error))?;
            rows.extend(page.objects);
            // One that always announces more ends with two empty pages.
            if facts.last || facts.past_end || (hollow && facts.hollow) {
                break;
            }
            hollow = facts.hollow;
        }
        Ok(rows)
    }

    /// Asks for one page of `size` rows. With the answer comes what was asked for, in words.
    pub(crate) async fn ask(&self, ask: &Ask, page: PageNo, size: u32) -> Result<(Reply, String), SisError> {
        let call = request::search(self.session.connection(), ask, page, size);
        let reply = self.session.call(&call).await?;
        Ok((reply, call.what))
    }

    /// What an answer to [`Qmlativ::ask`] tells.
    pub(crate) fn told(&self, what: &str, page: PageNo, size: u32, reply: &Reply) -> Result<PageFacts, SisError> {
        page::facts(Asked { base: &self.session.connection().base_url, what, page: page.0, size }, reply)
    }

    fn page_size(&self) -> u32 {
        self.session.connection().page_size.clamp(1, 10_000)
    }

    /// The size to ask for. After page 1 it is what page 1 held: a server that clamps the size then counts as we do.
    /// One that put a row too many into page 1 still counts by the size it was asked for.
    fn size_for(&self, listing: &Listing, page: PageNo) -> u32 {
        let asked = listing.ask.page_size.unwrap_or_else(|| self.page_size());
        let told = if page.0 > 1 { listing.page_size } else { 0 };
        if told > 0 { told.min(asked) } else { asked }
    }

    async fn read<T: DeserializeOwned>(&self, call: &Call) -> Result<(T, Reply), SisError> {
        let reply = self.session.call(call).await?;
        let body = page::json_of(&call.what, &reply)?;
        let value = serde_json::from_slice(body).map_err(|error| page::unreadable(&call.what, &error))?;
        Ok((value, reply))
    }
}

/// Waits for a lane, and keeps it for one question.
async fn on_a_lane<T>(lanes: &Semaphore, question: impl Future<Output = T>) -> T {
    let _lane = lanes.acquire().await;
    question.await
}

#[async_trait]
impl Source for Qmlativ {
    async fn discover(&self) -> Result<Found, SisError> {
        let lanes = self.lanes();
        let ((metadata, _), granted) = tokio::try_join!(on_a_lane(&lanes, self.metadata()), self.grants_on(&lanes))?;
        if !granted.0.fatal.is_empty() {
            return Err(SisError::NotGranted { missing: granted.0.fatal });
        }
        let Placed { years, .. } = self.school_years(&metadata, &granted).await?;
        let asks = discover::asks(self.session.connection(), &granted.0, &years);
        let school_years = years.iter().map(i64::to_string).collect();
        let (current_years, source_name) = (metadata.0.ending_years(), metadata.0.name());
        let discovery = rollcall_store::run::Discovery { school_years, current_years, source_name, ..granted.0 };
        Ok(Found { discovery, asks })
    }

    async fn page(&self, listing: &Listing, page: PageNo) -> Result<Reply, SisError> {
        let size = self.size_for(listing, page);
        self.ask(&listing.ask, page, size).await.map(|(reply, _)| reply)
    }

    fn facts(&self, listing: &Listing, page: PageNo, reply: &Reply) -> Result<PageFacts, SisError> {
        let what = request::what(&listing.ask, self.session.connection(), page);
        self.told(&what, page, self.size_for(listing, page), reply)
    }

    /// Where `Next` may lead, and when a page is full.
    fn reading(&self, listing: &Listing, page: PageNo) -> Option<u64> {
        let asked = format!("{READING} {} {}", self.size_for(listing, page), self.session.connection().base_url);
        Some(body::digest(&asked))
    }
}

/// The answer of `GetSystemMetadata`.
#[derive(Debug, Clone)]
pub(crate) struct Metadata(SystemMetadata);

impl Metadata {
    /// The district's name, as the SIS gives it.
    pub(crate) fn name(&self) -> Option<String> {
        self.0.name()
    }
}

/// School years and entities, as discovery finds them.
#[derive(Debug, Clone)]
pub(crate) struct Placed {
    /// The years to pull, ascending by id.
    pub(crate) years: Vec<i64>,
    /// Entities whose own current year is known; none where the table of entities tells no entity's.
    pub(crate) entities: BTreeSet<i64>,
}

/// The entity of the first enrollment of an answer, if there is one.
pub(crate) fn entity_of_first(reply: &Reply) -> Option<i64> {
    let rows: Rows<EntityRow> = serde_json::from_slice(&reply.body).ok()?;
    rows.objects.first()?.id
}

/// What is granted, compared with what is wanted.
#[derive(Debug, Clone)]
pub(crate) struct Granted(pub(crate) rollcall_store::run::Discovery);

impl Granted {
    /// The first listing of an object, for a test of one row.
    pub(crate) fn sample(&self, resource: &str, entity: i64, years: &[i64]) -> Option<Ask> {
        let fields = self.0.granted.get(resource)?.clone();
        let known = object(resource)?;
        let school_year = years.last().filter(|_| known.per_year).map(i64::to_string);
        Some(Ask { resource: resource.to_owned(), fields, entity: Some(entity), school_year, ..Ask::default() })
    }
}

/// The objects that a connection wants.
pub(crate) fn wanted(connection: &rollcall_store::district::Connection) -> impl Iterator<Item = &'static Object> {
    discover::wanted(connection)
}

#[derive(Deserialize)]
struct Rows<T> {
    #[serde(rename = "Objects", default = "Vec::new")]
    objects: Vec<T>,
}
