//! Skyward Qmlativ, Generic and Custom API (wire/skyward.md A and B).
//!
//! Role: finds grants and school years, and asks for pages. Which page comes next is not decided here: the board deals
//! page numbers, and every URL is built from its number; `Paging.Next` only tells whether there is more, so it cannot
//! lead anywhere.

mod discover;
pub mod objects;
mod page;
mod request;

use std::collections::BTreeSet;

use async_trait::async_trait;
use futures_util::{FutureExt as _, StreamExt as _, TryFutureExt as _, future::BoxFuture, stream};
use rollcall_proto::id::PageNo;
use rollcall_store::{
    board::{Ask, Listing, PageFacts},
    district::SchoolYears,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

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
    turn::Turn,
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
}

/// A question of a discovery; the turn keeps the answer.
type Question<'a> = BoxFuture<'a, Result<(), SisError>>;

impl Qmlativ {
    /// A connection; `years` says whether next year is pulled too.
    pub const fn new(session: Session, years: SchoolYears) -> Self {
        Self { session, years }
    }

    /// The system's metadata: the connection test.
    pub(crate) async fn metadata(&self) -> Result<(Metadata, Reply), SisError> {
        let call = request::system_metadata(self.session.connection());
        let (metadata, reply) = self.read::<SystemMetadata>(&call).await?;
        Ok((Metadata(metadata), reply))
    }

    async fn metadata_in(&self, turn: &Turn<'_>) -> Result<Metadata, SisError> {
        let asked = self.metadata().map_ok(|(metadata, _)| metadata.0);
        turn.answer("GetSystemMetadata", asked).await.map(Metadata)
    }

    /// Fields granted of each wanted object.
    pub(crate) async fn grants(&self, turn: &Turn<'_>) -> Result<Granted, SisError> {
        self.all(self.questions_of_fields(turn).collect()).await?;
        let mut grants = Grants::new();
        for object in discover::wanted(self.session.connection()) {
            for entity in self.entities_asked_for_fields() {
                let fields = self.fields_of(object, entity, turn).await?;
                grants.entry(object.resource).or_default().insert(entity, fields);
            }
        }
        let (discovery, gaps) = discover::judge_grants(self.session.connection(), &grants);
        Ok(Granted { discovery, gaps })
    }

    fn questions_of_fields<'a>(&'a self, turn: &'a Turn<'_>) -> impl Iterator<Item = Question<'a>> {
        let objects = discover::wanted(self.session.connection());
        objects.flat_map(move |object| {
            let entities = self.entities_asked_for_fields();
            entities.map(move |entity| self.fields_of(object, entity, turn).map_ok(drop).boxed())
        })
    }

    /// The connection's entities; where it names none, the district's.
    fn entities_asked_for_fields(&self) -> impl Iterator<Item = i64> + '_ {
        let entities = &self.session.connection().entities;
        entities.iter().copied().chain(entities.is_empty().then_some(1))
    }

    /// Asks as many questions at once as the connection has lanes. Those under way when the turn is over are cut off. One that was turned
    /// away from a host that is left alone says nothing where another was answered by an error: that one was tried.
    async fn all(&self, questions: Vec<Question<'_>>) -> Result<(), SisError> {
        let lanes = usize::from(self.session.connection().lanes.max(1));
        let mut answers = stream::iter(questions).buffer_unordered(lanes);
        let (mut unfinished, mut turned_away) = (None, None);
        while let Some(answer) = answers.next().await {
            match answer {
                Err(error @ SisError::Unfinished { .. }) => unfinished = Some(error),
                Err(error @ SisError::CircuitOpen { .. }) => turned_away = Some(error),
                answer => answer?,
            }
        }
        turned_away.or(unfinished).map_or(Ok(()), Err)
    }

    async fn fields_of(
        &self,
        object: &Object,
        entity: i64,
        turn: &Turn<'_>,
    ) -> Result<Option<BTreeSet<String>>, SisError> {
        let connection = self.session.connection();
        let call = request::field_metadata(connection, entity, object.resource);
        let asked = async {
            match self.read(&call).await {
                Ok((fields, _)) => Ok(Some(discover::field_names(object, connection, fields))),
                // An object that is not granted may be refused, unknown or not found; that is an answer too.
                Err(SisError::AccessRefused { .. } | SisError::Status { status: 400 | 404, .. }) => Ok(None),
                Err(error) => Err(error),
            }
        };
        turn.answer(&call.what, asked).await
    }

    /// The school years to pull, and whose entities' current ones they are.
    ///
    /// A table without a row is a failed answer where it is granted: without the year before, everybody who withdrew in it would
    /// look as if they never had been there.
    pub(crate) async fn school_years(
        &self,
        metadata: &Metadata,
        granted: &Granted,
        turn: &Turn<'_>,
    ) -> Result<Placed, SisError> {
        let of_connection = || self.session.connection().entities.iter().copied();
        let tables = of_connection().flat_map(|entity| {
            let years = self.small_table::<YearRow>(SCHOOL_YEAR, entity, granted, turn).map_ok(drop).boxed();
            [years, self.small_table::<EntityRow>(ENTITY, entity, granted, turn).map_ok(drop).boxed()]
        });
        self.all(tables.collect()).await?;
        let mut years: Vec<YearRow> = Vec::new();
        let mut entities: Vec<EntityRow> = Vec::new();
        let mut flagged = BTreeSet::new();
        for entity in of_connection() {
            let own_years = self.small_table::<YearRow>(SCHOOL_YEAR, entity, granted, turn).await?;
            flagged.extend(own_years.iter().any(|year| year.is_current).then_some(entity));
            years.extend(own_years);
            entities.extend(self.small_table::<EntityRow>(ENTITY, entity, granted, turn).await?);
        }
        for (resource, is_empty) in [(SCHOOL_YEAR, years.is_empty()), (ENTITY, entities.is_empty())] {
            if is_empty && granted.discovery.granted.contains_key(resource) {
                turn.forget(resource);
                return Err(SisError::EmptyTable { what: resource.to_owned() });
            }
        }
        let found = discover::years_to_pull(&metadata.0, &years, &entities, self.years);
        if found.is_empty() {
            return Err(SisError::NoSchoolYear { host: host_of(&self.session.connection().base_url) });
        }
        Ok(Placed { years: found, entities: discover::placed(&entities, flagged) })
    }

    async fn small_table<T: Serialize + DeserializeOwned>(
        &self,
        resource: &str,
        entity: i64,
        granted: &Granted,
        turn: &Turn<'_>,
    ) -> Result<Vec<T>, SisError> {
        // Not granted at all: the system's metadata names the current year.
        let Some(fields) = granted.discovery.granted.get(resource).cloned() else { return Ok(Vec::new()) };
        let ask = Ask { resource: resource.to_owned(), fields, entity: Some(entity), ..Ask::default() };
        let (mut rows, mut hollow) = (Vec::new(), false);
        for number in 1..=SMALL_TABLE_PAGES {
            let what = request::what(&ask, self.session.connection(), PageNo(number));
            let page: TablePage<T> = turn.answer(&what, self.table_page(&ask, PageNo(number))).await?;
            rows.extend(page.rows);
            // One that always announces more ends with two empty pages.
            if page.is_last || (hollow && page.is_hollow) {
                break;
            }
            hollow = page.is_hollow;
        }
        Ok(rows)
    }

    async fn table_page<T: DeserializeOwned>(&self, ask: &Ask, number: PageNo) -> Result<TablePage<T>, SisError> {
        let size = self.page_size();
        let (reply, what) = self.ask(ask, number, size).await?;
        let facts = self.told(&what, number, size, &reply)?;
        let page: Rows<T> =
            serde_json::from_slice(page::json_of(&what, &reply)?).map_err(|error| page::unreadable(&what, &error))?;
        Ok(TablePage { rows: page.objects, is_last: facts.last || facts.past_end, is_hollow: facts.hollow })
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

#[async_trait]
impl Source for Qmlativ {
    async fn discover(&self, turn: &Turn<'_>) -> Result<Found, SisError> {
        let first = std::iter::once(self.metadata_in(turn).map_ok(drop).boxed());
        self.all(first.chain(self.questions_of_fields(turn)).collect()).await?;
        let (metadata, granted) = (self.metadata_in(turn).await?, self.grants(turn).await?);
        if !granted.discovery.fatal.is_empty() {
            return Err(SisError::NotGranted { missing: granted.discovery.fatal });
        }
        let Placed { years, .. } = self.school_years(&metadata, &granted, turn).await?;
        let asks = discover::asks(self.session.connection(), &granted.discovery, &years);
        let school_years = years.iter().map(i64::to_string).collect();
        let (current_years, source_name) = (metadata.0.ending_years(), metadata.0.name());
        let discovery =
            rollcall_store::run::Discovery { school_years, current_years, source_name, ..granted.discovery };
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
pub(crate) struct Granted {
    pub(crate) discovery: rollcall_store::run::Discovery,
    /// What is not, in words.
    pub(crate) gaps: discover::Gaps,
}

impl Granted {
    /// The first listing of an object, for a test of one row.
    pub(crate) fn sample(&self, resource: &str, entity: i64, years: &[i64]) -> Option<Ask> {
        let fields = self.discovery.granted.get(resource)?.clone();
        let known = object(resource)?;
        let school_year = years.last().filter(|_| known.per_year).map(i64::to_string);
        Some(Ask { resource: resource.to_owned(), fields, entity: Some(entity), school_year, ..Ask::default() })
    }
}

/// The objects that a connection wants.
pub(crate) fn wanted(connection: &rollcall_store::district::Connection) -> impl Iterator<Item = &'static Object> {
    discover::wanted(connection)
}

/// A page of a small table, as a discovery keeps it.
#[derive(Serialize, Deserialize)]
struct TablePage<T> {
    rows: Vec<T>,
    is_last: bool,
    is_hollow: bool,
}

#[derive(Deserialize)]
struct Rows<T> {
    #[serde(rename = "Objects", default = "Vec::new")]
    objects: Vec<T>,
}
