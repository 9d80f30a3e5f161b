//! OneRoster 1.1 and 1.2 over REST (wire page 1 and 2; skyward.md C), at Infinite Campus, at Skyward, or plain.
//!
//! Role: asks for orgs, users and demographics page by page, and for single users at the second look. Students, guardians
//! and staff all come with `/users`: there is no other listing of guardians, and a filter by role is refused by Campus.
//! Neighbours: [`urls`] makes addresses of what the district copied, `page` reads what a page tells of its listing.
//!
//! Deliberately absent: courses, classes and enrollments. An enrollment there is a membership in a class, and no status
//! rests on one: roles (1.2) and being listed (1.1) tell who attends. And `filter`: a blank one is refused by some servers,
//! most others by many, so that everything is asked for and looked through here; [`changes`] judges whether the one by
//! `dateLastModified` can be trusted.

mod changes;
mod page;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use reqwest::Method;
use rollcall_proto::id::PageNo;
use rollcall_store::{
    board::{Ask, IdFilter, Listing, PageFacts},
    district::{Connection, OneRosterProfile},
    run::Discovery,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};
use url::Url;

use self::{
    changes::{FirstRows, Shown, Told},
    page::Place,
};
use super::{Ever, Found, Source, body};
use crate::{
    error::{Remedy, SisError},
    net::{Reply, http_date, room::Taken},
    session::{Call, Session},
    turn::Turn,
    urls,
};

/// Students, guardians and staff.
pub const USERS: &str = "users";
/// Birth dates and sexes.
pub const DEMOGRAPHICS: &str = "demographics";
/// Schools and the district.
pub const ORGS: &str = "orgs";
/// School years and terms: for the test of a connection and for the run's notes; nothing rests on them.
pub const ACADEMIC_SESSIONS: &str = "academicSessions";

/// Key of every object, and what pages are sorted by: with a field that is not unique, pages overlap.
const KEY: &str = "sourcedId";

/// Fields of demographics that are kept. Campus is asked for no others.
const DEMOGRAPHICS_FIELDS: [&str; 5] = [KEY, "status", "dateLastModified", "birthDate", "sex"];

/// Rows of a small table or a sample.
const SAMPLE: u32 = 100;

/// Times that what a page lacks is asked for. A server that tells a few rows at a time is left alone then, and the page is short.
const MOST_PARTS: u32 = 20;

/// Nothing a page lacks is asked for this long after the page.
const LONGEST: TimeDelta = TimeDelta::seconds(10);

/// So long after the page was asked for, what it lacks is not waited for any longer: it is handed in as it is, while there is time.
const ENDS: Duration = Duration::from_secs(16);

/// A connection to OneRoster.
#[derive(Debug)]
pub struct OneRoster {
    session: Session,
}

impl OneRoster {
    /// A connection.
    pub const fn new(session: Session) -> Self {
        Self { session }
    }

    fn connection(&self) -> &Connection {
        self.session.connection()
    }

    /// The first rows of a collection.
    pub(crate) async fn sample(&self, resource: &str) -> Result<Sample, SisError> {
        self.sample_since(resource, None).await
    }

    /// As [`OneRoster::sample`], of the rows changed since then.
    async fn sample_since(&self, resource: &str, since: Option<DateTime<Utc>>) -> Result<Sample, SisError> {
        let fields = fields_of(resource);
        let listing = Listed { resource, fields: &fields, offset: 0, size: SAMPLE, since };
        let call = self.listing_call(listing, 1);
        let reply = self.session.call(&call).await?;
        let raw = page::rows_of(envelope(resource), &call.what, body::json_of(&call.what, &reply)?)?;
        let rows: Vec<Value> = serde_json::from_str(raw).map_err(|error| body::unreadable(&call.what, &error))?;
        Ok(Sample { rows, reply })
    }

    /// What the first rows of a collection tell.
    async fn first_rows(&self, resource: &str) -> Result<FirstRows, SisError> {
        let sample = self.sample(resource).await?;
        Ok(FirstRows::of(resource, &sample, self.behind(&sample.reply)))
    }

    /// The same of one on which no status rests.
    async fn supporting_rows(&self, resource: &str, turn: &Turn<'_>) -> Result<Supporting, SisError> {
        turn.answer(&first_rows_of(resource), async { supporting(self.first_rows(resource).await) }).await
    }

    /// What the rows tell that were changed since then.
    async fn told_since(
        &self,
        resource: &str,
        since: DateTime<Utc>,
        of: DateTime<Utc>,
        turn: &Turn<'_>,
    ) -> Result<Told, SisError> {
        let asked = async { Ok(Told::of(&self.sample_since(resource, Some(since)).await?, of, turn)) };
        turn.answer(&format!("{resource} changed since {since}, as of {of}"), asked).await
    }

    /// What is granted, and the years that the sessions tell.
    pub(crate) async fn granted(&self, turn: &Turn<'_>) -> Result<Discovery, SisError> {
        let orgs = turn.answer(&first_rows_of(ORGS), self.first_rows(ORGS)).await?;
        let users = turn.answer(&first_rows_of(USERS), self.first_rows(USERS)).await?;
        let mut shown = Shown::at(orgs.at);
        shown.add(&users);
        let mut discovery = Discovery { source_name: orgs.district_name, ..Discovery::default() };
        discovery.totals.extend(users.total.map(|total| (USERS.to_owned(), total)));
        for resource in [USERS, ORGS] {
            discovery.granted.insert(resource.to_owned(), vec![KEY.to_owned()]);
        }
        let granted = |discovery: &mut Discovery| {
            discovery.granted.insert(DEMOGRAPHICS.to_owned(), fields_of(DEMOGRAPHICS));
        };
        match self.supporting_rows(DEMOGRAPHICS, turn).await? {
            Supporting::Shown(rows) => {
                shown.add(&rows);
                discovery.totals.extend(rows.total.map(|total| (DEMOGRAPHICS.to_owned(), total)));
                granted(&mut discovery);
            }
            Supporting::Refused => drop(discovery.refused.insert(DEMOGRAPHICS.to_owned(), vec!["*".to_owned()])),
            // Asked for all the same: a listing that fails keeps what is stored of it, and the run says so.
            Supporting::InTrouble => granted(&mut discovery),
        }
        match self.supporting_rows(ACADEMIC_SESSIONS, turn).await? {
            Supporting::Shown(sessions) => {
                discovery.school_years = sessions.school_years;
                shown.add_years(&discovery.school_years);
            }
            Supporting::Refused => {}
            Supporting::InTrouble => shown.years_unknown(),
        }
        discovery.snapshot = shown.snapshot(self.connection());
        Ok(discovery)
    }

    /// The SIS's time or ours, whichever is behind.
    fn behind(&self, reply: &Reply) -> DateTime<Utc> {
        let ours = self.session.now();
        reply.date.as_deref().and_then(http_date).map_or(ours, |theirs| theirs.min(ours))
    }

    fn page_size(&self) -> u32 {
        self.connection().page_size.clamp(1, 10_000)
    }

    /// The size to ask for. After page 1 it is what page 1 held, so that a server that clamps the size silently counts as
    /// we do.
    fn size_for(&self, listing: &Listing, page: PageNo) -> u32 {
        let asked = listing.ask.page_size.unwrap_or_else(|| self.page_size());
        let told = if page.0 > 1 { listing.page_size } else { 0 };
        if told > 0 { told.min(asked) } else { asked }
    }

    fn listing_call(&self, listed: Listed<'_>, page: u32) -> Call {
        let mut url = self.collection(&[listed.resource]);
        {
            let mut query = url.query_pairs_mut();
            query.append_pair("limit", &listed.size.to_string());
            query.append_pair("offset", &listed.offset.to_string());
            query.append_pair("sort", KEY).append_pair("orderBy", "asc");
            let campus = urls::profile(self.connection()) == OneRosterProfile::Campus;
            if campus && listed.resource == DEMOGRAPHICS && !listed.fields.is_empty() {
                query.append_pair("fields", &listed.fields.join(","));
            }
            if let Some(since) = listed.since {
                query.append_pair("filter", &changes::filter(since));
            }
        }
        Call { method: Method::GET, url, body: None, what: format!("{} page {page}", listed.resource) }
    }

    fn collection(&self, segments: &[&str]) -> Url {
        let mut url = urls::service(self.connection());
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    /// The call for a page of a listing, and what it asks for.
    fn page_call<'a>(&self, listing: &'a Listing, page: PageNo) -> Result<(Call, Listed<'a>), SisError> {
        let (resource, size) = (listing.ask.resource.as_str(), self.size_for(listing, page));
        let offset = u64::from(page.0 - 1) * u64::from(size);
        let listed = Listed { resource, fields: &listing.ask.fields, offset, size, since: listing.ask.since };
        let mut call = self.listing_call(listed, page.0);
        if let Some(cursor) = listing.cursor.as_deref().filter(|_| page.0 > 1) {
            call.url = within_origin(cursor, &call)?;
        }
        Ok((call, listed))
    }

    /// A page, with what it lacks where it came short, see `page`.
    async fn whole_page(&self, listing: &Listing, page: PageNo, ends_at: Instant) -> Result<Reply, SisError> {
        let (call, listed) = self.page_call(listing, page)?;
        let asked = asked(&call, listed, page, place_of(listing, page));
        let mut reply = self.session.call(&call).await?;
        let began = self.session.now();
        for _ in 0..MOST_PARTS {
            if self.session.now() - began > LONGEST {
                break;
            }
            let Some(rest) = page::lacks(asked, &reply) else { break };
            let part = Listed { offset: rest.offset, size: rest.size, ..listed };
            let call = self.listing_call(part, page.0);
            match timeout_at(ends_at, self.filled(asked, &mut reply, rest, &call)).await {
                Ok(Ok(true)) => {}
                // The page is there, and is short: it is not lost for what it lacks.
                Err(_) | Ok(Ok(false)) => break,
                Ok(Err(error)) if error.remedy() == Remedy::GiveUp || matches!(error, SisError::NoRoom { .. }) => break,
                Ok(Err(error)) => return Err(error),
            }
        }
        Ok(reply)
    }

    /// Adds what a page lacks to it. False: that is not to be had.
    async fn filled(
        &self,
        asked: page::Asked<'_>,
        reply: &mut Reply,
        rest: page::Rest,
        call: &Call,
    ) -> Result<bool, SisError> {
        reply.room = self.session.keep(reply.body.len())?;
        let part = self.session.call(call).await?;
        let whole = page::joined(asked, reply, rest, part)?;
        Ok(whole.map(|whole| *reply = whole).is_some())
    }

    /// The call of the second look: the page's number is the place of the id. `None` beyond the last.
    fn one_call(&self, ask: &Ask, ids: &IdFilter, page: PageNo) -> Option<Call> {
        let id = ids.ids.get(page.0 as usize - 1)?;
        let what = format!("{} again, {} of {}", ask.resource, page.0, ids.ids.len());
        Some(Call { method: Method::GET, url: self.collection(&[&ask.resource, id]), body: None, what })
    }

    /// The second look: 404 is an answer, gone.
    async fn one(&self, ask: &Ask, ids: &IdFilter, page: PageNo) -> Result<Reply, SisError> {
        let Some(call) = self.one_call(ask, ids, page) else { return Ok(gone()) };
        match self.session.call(&call).await {
            Err(SisError::Status { status: 404, .. }) => Ok(gone()),
            answer => answer,
        }
    }

    fn facts_of_one(&self, ask: &Ask, ids: &IdFilter, page: PageNo, reply: &Reply) -> Result<PageFacts, SisError> {
        let Some(call) = self.one_call(ask, ids, page) else {
            return Ok(PageFacts { past_end: true, ..PageFacts::default() });
        };
        let last = page.0 as usize == ids.ids.len();
        if reply.status == 404 {
            return Ok(PageFacts { last, ..PageFacts::default() });
        }
        let raw = page::rows_of(envelope(&ask.resource), &call.what, body::json_of(&call.what, reply)?)?;
        Ok(PageFacts { rows: 1, last, digest: Some(body::digest(raw)), ..PageFacts::default() })
    }
}

#[async_trait]
impl Source for OneRoster {
    async fn discover(&self, turn: &Turn<'_>) -> Result<Found, SisError> {
        let discovery = self.granted(turn).await?;
        let essential = |resource: &str| resource != DEMOGRAPHICS;
        let granted = [USERS, DEMOGRAPHICS, ORGS].into_iter().filter(|name| discovery.granted.contains_key(*name));
        let asks = granted.map(|resource| Ask {
            resource: resource.to_owned(),
            fields: fields_of(resource),
            essential: essential(resource),
            ..Ask::default()
        });
        let asks = asks.collect();
        Ok(Found { discovery, asks })
    }

    fn by_changes(&self) -> &'static [&'static str] {
        &[USERS, DEMOGRAPHICS]
    }

    async fn tries_changes(
        &self,
        since: DateTime<Utc>,
        turn: &Turn<'_>,
    ) -> Result<Result<Ever, &'static str>, SisError> {
        let mut counted = Ever::new();
        for resource in [USERS, DEMOGRAPHICS] {
            let of_all = async { Ok(granted(self.sample(resource).await)?.map(|all| Told::of(&all, since, turn))) };
            let of_all = turn.answer(&format!("{resource} of all, as of {since}"), of_all).await?;
            let Some(all) = of_all else { continue };
            let changed = match tried(self.told_since(resource, since, since, turn).await)? {
                Ok(told) => told,
                Err(why) => return Ok(Err(why)),
            };
            let ever = match tried(self.told_since(resource, DateTime::UNIX_EPOCH, since, turn).await)? {
                Ok(told) => told,
                Err(why) => return Ok(Err(why)),
            };
            if let Some(why) = changes::distrust(&all, &changed, &ever) {
                return Ok(Err(why));
            }
            counted.extend(ever.total.map(|total| (resource.to_owned(), total)));
        }
        Ok(Ok(counted))
    }

    async fn page(&self, listing: &Listing, page: PageNo) -> Result<Reply, SisError> {
        match &listing.ask.ids {
            Some(ids) => self.one(&listing.ask, ids, page).await,
            None => self.whole_page(listing, page, Instant::now() + ENDS).await,
        }
    }

    fn facts(&self, listing: &Listing, page: PageNo, reply: &Reply) -> Result<PageFacts, SisError> {
        if let Some(ids) = &listing.ask.ids {
            return self.facts_of_one(&listing.ask, ids, page, reply);
        }
        let (call, listed) = self.page_call(listing, page)?;
        page::facts(asked(&call, listed, page, place_of(listing, page)), reply)
    }
}

/// How a page of a listing is reached, see [`OneRoster::page_call`].
const fn place_of(listing: &Listing, page: PageNo) -> Place {
    match (page.0, &listing.cursor, listing.random_access) {
        (0 | 1, ..) => Place::First,
        (_, Some(_), _) => Place::Led,
        (_, None, false) => Place::Counted,
        (_, None, true) => Place::AnyOrder,
    }
}

/// `None` where the collection, or the way it was asked for, is refused or unknown.
fn granted<T>(sampled: Result<T, SisError>) -> Result<Option<T>, SisError> {
    match sampled {
        Ok(sample) => Ok(Some(sample)),
        Err(SisError::AccessRefused { .. } | SisError::Status { status: 400 | 404 | 422 | 501, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What the first rows of a collection came to on which no status rests.
#[derive(Serialize, Deserialize)]
enum Supporting {
    /// These.
    Shown(Box<FirstRows>),
    /// It is refused or unknown.
    Refused,
    /// It is there, and what it answers is of no use.
    InTrouble,
}

/// A collection that fails by itself is no reason to give the others up. An error where the source as a whole is in trouble, or
/// asks to come back.
fn supporting(sampled: Result<FirstRows, SisError>) -> Result<Supporting, SisError> {
    use SisError::{Interrupted, NextElsewhere, NotJson, Status, Timeout, TooLarge, Unreadable};
    match granted(sampled) {
        Ok(Some(rows)) => Ok(Supporting::Shown(Box::new(rows))),
        Ok(None) => Ok(Supporting::Refused),
        Err(
            Status { .. }
            | NotJson { .. }
            | Unreadable { .. }
            | TooLarge { .. }
            | Interrupted { .. }
            | Timeout { .. }
            | NextElsewhere { .. },
        ) => Ok(Supporting::InTrouble),
        Err(error) => Err(error),
    }
}

/// Why a filter cannot be gone by, where it gets no answer of use: everything is asked for without it, and should the source
/// itself be in trouble that tells. An outer error where it asks to come back, or the turn is over.
fn tried<T>(sampled: Result<T, SisError>) -> Result<Result<T, &'static str>, SisError> {
    match granted(sampled) {
        Ok(Some(told)) => Ok(Ok(told)),
        Ok(None) => Ok(Err(changes::REFUSED)),
        Err(error @ (SisError::Busy { .. } | SisError::CircuitOpen { .. } | SisError::Unfinished { .. })) => Err(error),
        Err(_) => Ok(Err(changes::UNTRIED)),
    }
}

fn first_rows_of(resource: &str) -> String {
    format!("the first rows of {resource}")
}

fn asked<'a>(call: &'a Call, listed: Listed<'_>, page: PageNo, place: Place) -> page::Asked<'a> {
    let Listed { resource, offset, size, .. } = listed;
    page::Asked { url: &call.url, what: &call.what, envelope: envelope(resource), page: page.0, place, offset, size }
}

/// A cursor was judged when it came in; it is judged again after it has lain in the store.
fn within_origin(cursor: &str, call: &Call) -> Result<Url, SisError> {
    let url = Url::parse(cursor).ok().filter(|url| url.origin() == call.url.origin());
    url.ok_or_else(|| SisError::NextElsewhere { what: call.what.clone() })
}

/// A part of a collection.
#[derive(Clone, Copy)]
struct Listed<'a> {
    resource: &'a str,
    fields: &'a [String],
    offset: u64,
    size: u32,
    since: Option<DateTime<Utc>>,
}

/// The key, and for demographics what is kept of them.
fn fields_of(resource: &str) -> Vec<String> {
    let fields: &[&str] = if resource == DEMOGRAPHICS { &DEMOGRAPHICS_FIELDS } else { &[KEY] };
    fields.iter().map(|field| (*field).to_owned()).collect()
}

/// Keys under which a collection's rows, or a single one, may stand.
fn envelope(resource: &str) -> &'static [&'static str] {
    match resource {
        ORGS => &["orgs", "org"],
        USERS => &["users", "user"],
        DEMOGRAPHICS => &["demographics", "demographic"],
        _ => &["academicSessions", "academicSession"],
    }
}

/// What stands for "not there" on its way to the classifier.
fn gone() -> Reply {
    Reply {
        status: 404,
        content_type: None,
        retry_after: None,
        date: None,
        total_count: None,
        link: None,
        cache_control: None,
        body: Bytes::new(),
        room: Taken::default(),
    }
}

/// The first rows of a collection, for the test of a connection.
#[derive(Debug)]
pub(crate) struct Sample {
    rows: Vec<Value>,
    pub(crate) reply: Reply,
}

impl Sample {
    /// Rows.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Rows that there are, where the server counts them.
    fn total(&self) -> Option<i64> {
        self.reply.total_count.as_deref()?.trim().parse().ok().filter(|total| *total >= 0)
    }

    /// Name of the org that is the district.
    pub(crate) fn district_name(&self) -> Option<String> {
        let district = self.rows.iter().find(|row| row["type"] == "district")?;
        district["name"].as_str().map(|name| name.trim().to_owned()).filter(|name| !name.is_empty())
    }

    /// Ending years of the school years, each once.
    pub(crate) fn school_years(&self) -> Vec<String> {
        let years = self.rows.iter().filter(|row| row["type"] == "schoolYear");
        let mut years: Vec<String> = years.filter_map(|row| Some(row["schoolYear"].as_str()?.to_owned())).collect();
        years.sort();
        years.dedup();
        years
    }

    /// Whether somebody has this role, as either version spells it.
    pub(crate) fn has_role(&self, wanted: &[&str]) -> bool {
        self.rows.iter().any(|row| {
            let roles = row["roles"].as_array().into_iter().flatten().map(|role| &role["role"]);
            let mut words = roles.chain([&row["role"]]).filter_map(Value::as_str);
            words.any(|word| wanted.contains(&word))
        })
    }
}

#[cfg(test)]
#[path = "slow_tests.rs"]
mod tests;
